"""`ludus tournament` and `ludus leaderboard`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ludus.commands.games import Settings
from ludus.commands.play import OTHERWISE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ludus.arenas.leaderboard import Standings
    from ludus.core.episode import Episode
    from ludus.core.match import Match

FILMS = 120  # games on the page of a tournament


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command(
        epilog="Example:  ludus tournament tic_tac_toe --agents 'uniform, first_legal, mcts(simulations=50)' "
        "--seeds 20 --out runs/cup"
    )(tournament)
    app.command(epilog="Example:  ludus leaderboard runs/cup")(leaderboard)


def tournament(
    game: Annotated[str, typer.Argument(help="A registered name; `ludus games` lists them.")],
    agents: Annotated[str, typer.Option(help="With commas: names, name(key=value), label=name, folders.")],
    seeds: Annotated[
        int, typer.Option(min=1, help="How many deals every pairing plays from every side.")
    ] = 100,
    samples: Annotated[int, typer.Option(min=1, help="How often it plays each of them.")] = 1,
    first_seed: Annotated[int, typer.Option(min=0, help="The first deal.")] = 0,
    out: Annotated[Path, typer.Option(help="The folder; a tournament found there goes on.")] = Path(
        "runs/tournament"
    ),
    settings: Settings = None,
    show_state: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An agent that is shown hidden parts (search).")
    ] = None,
) -> None:
    """Hold a round robin: every pairing on the same seeds, seats exchanged. Stopped, it can go on."""
    from ludus.arenas.exploit import exploitabilities
    from ludus.arenas.schedules import round_robin
    from ludus.arenas.store import Folder
    from ludus.commands.seating import agents_by, game_by
    from ludus.core.errors import ConfigError, HiddenState

    rules = game_by(game, settings or [])
    field = agents_by(agents, rules)
    deals = range(first_seed, first_seed + seeds)
    plan = list(round_robin(rules, field, deals, samples=samples, privileged=show_state or ()))
    folder = Folder(out)
    if (other := folder.facts().get("game", repr(rules))) != repr(rules):
        raise ConfigError(f"{out} holds a tournament of {other}: give one of {rules!r} another folder, --out")
    remaining = folder.remaining(plan)
    if len(remaining) < len(plan):
        typer.echo(f"{out}: {len(plan) - len(remaining)} of {len(plan)} games are played already")
    why: dict[str, str] = {}
    try:
        play_on(folder, remaining)
        exact = exploitabilities(rules, field, why=why)
    except HiddenState as fault:
        shown = " ".join(f"--show-state {shlex.quote(name)}" for name in (*(show_state or ()), fault.agent))
        raise fault.instead(f"{shown}, or {OTHERWISE}") from fault
    except KeyboardInterrupt as stop:
        typer.echo(
            f"stopped; games kept in {out}: {folder.kept}, and the same command goes on from there", err=True
        )
        raise typer.Exit(130) from stop
    folder.state({"game": repr(rules), **merged(folder.facts(), exact, why)})
    show(folder, command=f"ludus tournament {game} --agents '{agents}' --seeds {seeds} --out {out}")


def merged(
    before: Mapping[str, Any], exact: Mapping[str, float | None], why: Mapping[str, str]
) -> dict[str, Any]:
    """What a folder says of its agents after a field has been measured: of the others, what it said before."""
    now: dict[str, dict[str, Any]] = {"exploitability": {**exact}, "no_exploitability": {**why}}
    kept = {key: {n: said for n, said in before.get(key, {}).items() if n not in exact} for key in now}
    agents = list(dict.fromkeys([*before.get("agents", ()), *exact]))
    return {"agents": agents, **{key: kept[key] | now[key] for key in now}}


def play_on(folder: Any, matches: Sequence[Match], label: str = "games") -> None:
    """Play matches into a folder, with a bar that says how far it has come, and how long it has taken.

    The spinner and the clock go on while a slow agent thinks about its first move and no game has ended.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from ludus.core.play import play

    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("gone,"), TimeRemainingColumn(), TextColumn("to go"),
    )  # fmt: skip
    with Progress(*columns, disable=not matches) as bar:
        for _ in bar.track(folder.add(play(matches)), total=len(matches), description=label):
            pass


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="The folder of a tournament.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; by default the same folder.")] = None,
) -> None:
    """Work the standings out again from the episodes, and write them again in every form."""
    from ludus.arenas.store import Folder

    show(Folder(folder), out=out, command=f"ludus leaderboard {folder}")


def show(folder: Any, *, out: Path | None = None, command: str = "") -> None:
    """Print the standings of a folder's episodes, and write markdown, JSON and the page beside them."""
    from rich.console import Console

    from ludus.arenas.leaderboard import by_game, title
    from ludus.arenas.report import as_json, markdown, terminal
    from ludus.core.errors import RecordError

    episodes, facts = folder.true(), folder.facts()
    if not episodes:
        what = "no episode that counts" if folder.file.stat().st_size else "nothing"
        raise RecordError(
            f"{folder.file} holds {what}: there is nobody to rank; see ludus verify {folder.path}, or play the tournament again"
        )
    exact = {title(e): facts.get("exploitability", {}) for e in episodes}
    tables = by_game(episodes, exploitability=exact)
    where = out or folder.path
    where.mkdir(parents=True, exist_ok=True)
    (where / "standings.json").write_text(as_json(tables), encoding="utf-8")
    (where / "standings.md").write_text("\n".join(map(markdown, tables)), encoding="utf-8")
    for table in tables:
        Console().print(terminal(table))
    for line in missing(facts):
        typer.echo(line)
    path = page(tables, episodes, facts, command).write(where / "index.html")
    typer.echo(f"{path}")


def missing(facts: Mapping[str, Any]) -> list[str]:
    """Sentences about agents without an exploitability, one for each reason; none if nobody has one."""
    if all(value is None for value in facts.get("exploitability", {}).values()):
        return []
    agents: dict[str, list[str]] = {}
    for name, reason in facts.get("no_exploitability", {}).items():
        agents.setdefault(reason, []).append(name)
    return [f"No exploitability of {', '.join(names)}: {reason}." for reason, names in agents.items()]


def page(tables: list[Standings], episodes: list[Episode], facts: Mapping[str, Any], command: str) -> Any:
    """The page of a tournament."""
    from ludus.arenas.web.films import Reel
    from ludus.arenas.web.page import Page

    reel = Reel()
    reel.add(a_few(episodes, FILMS))
    agents = sorted({row.agent for table in tables for row in table.rows})
    return Page(
        title=f"{', '.join(table.game for table in tables)}: a tournament",
        lead=f"{len(agents)} agents, everybody against everybody, every pairing on the same deals from every side.",
        facts={
            "Game": ", ".join(table.game for table in tables),
            "Agents": len(agents),
            "Games": sum(table.games for table in tables),
            "Seeds": max(table.seeds for table in tables),
            "Date": time.strftime("%Y-%m-%d"),
        },
        boards=tables,
        reel=reel,
        notes=[
            "Everything on this page is computed from the episodes beside it; the viewer replays them by the rules.",
            *missing(facts),
        ],
        command=command,
    )


def a_few(episodes: list[Episode], most: int) -> list[Episode]:
    """At most about `most` episodes: of every lineup its first ones."""
    lineups: dict[tuple[str, ...], list[Episode]] = {}
    for episode in sorted(episodes, key=lambda e: (e.game, e.match.seed, e.match.sample)):
        lineups.setdefault((episode.game, *episode.lineup.values()), []).append(episode)
    each = max(1, most // max(1, len(lineups)))
    return [episode for group in lineups.values() for episode in group[:each]]
