"""`ludus demo`: two learners teach themselves Kuhn poker, and meet their betters and their former selves."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ludus.arenas.leaderboard import Standings
    from ludus.arenas.store import Folder
    from ludus.arenas.web.curves import Curve
    from ludus.core.agent import Agent
    from ludus.core.episode import Episode
    from ludus.core.game import Game
    from ludus.core.match import Match

GAME = "kuhn_poker"
ITERATIONS = 1000  # of CFR+ for the equilibrium: NashConv 1.7e-4
TRAINING_FILMS = 6  # of each learner's first and last games, on the page
TOURNAMENT_FILMS = 84


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    app.command(epilog="Example:  ludus demo --out runs/tonight")(demo)


def demo(
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/demo-<time>.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is random.")] = 0,
    decisions: Annotated[int, typer.Option(min=2048, help="The network learns from.")] = 500_000,
    updates: Annotated[int, typer.Option(min=1, help="Of the language model.")] = 300,
    lessons: Annotated[
        int, typer.Option(min=1, help="Steps in which it is taught the game's language first.")
    ] = 150,
    deals: Annotated[int, typer.Option(min=1, help="Seeds of the tournament.")] = 150,
) -> None:
    """Train a network and a tiny language model on Kuhn poker, hold a tournament, write a page.

    Five minutes on two cores. The path of the page is printed last.
    """
    from rich.console import Console

    from ludus.arenas.report import terminal

    begun = time.monotonic()
    folder = out or Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    _refuse(folder)
    console = Console()
    console.print(f"Everything goes to {folder}.")
    runs = {
        "network": _network(folder, seed, decisions, console),
        "language model": _language(folder, seed, updates, lessons, console),
    }
    rules, field = _field(folder)
    board, tournament = _tournament(folder, rules, field, deals, console)
    console.print(terminal(board))
    facts = {
        "Game": GAME,
        "Agents": len(field),
        "Tournament": f"{board.games:,} games".replace(",", "\u2009"),
        "Deals": board.seeds,
        "Network": f"{_last(runs['network'], 'global_step'):,.0f} decisions".replace(",", "\u2009"),
        "Language model": f"{_last(runs['language model'], 'step'):,.0f} updates",
        "Seed": seed,
        "Wall time": _clock(time.monotonic() - begun),
    }
    path = _page(folder, rules, board, tournament, runs, facts)
    console.print(f"Verify what was kept:  ludus verify {folder}")
    console.print(f"Done in {_clock(time.monotonic() - begun)}. The page:")
    typer.echo(path.resolve())


def _refuse(folder: Path) -> None:
    from ludus.core.errors import ConfigError

    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: give the demo a new folder with --out")


# ---------------------------------------------------------------------------------- learning
def _config(name: str, folder: Path, overrides: Sequence[str]) -> Any:
    from ludus.config import load

    with as_file(files("ludus.commands") / name) as path:
        return load(path, [f'root="{folder}"', *overrides])


def _network(folder: Path, seed: int, decisions: int, console: Console) -> list[dict[str, Any]]:
    """Train the network; return its metrics."""
    from ludus.training.run import train

    console.rule("A network learns by playing itself")
    config = _config("demo_network.toml", folder, [f"seed={seed}"])
    steps = max(1, round(decisions / (config.collect.rows * config.collect.length)))
    train(_config("demo_network.toml", folder, [f"seed={seed}", f"phases.0.steps={steps}"]))
    return _told("network", "network", folder, console)


def _language(folder: Path, seed: int, updates: int, lessons: int, console: Console) -> list[dict[str, Any]]:
    """Make the language model, teach it the game's language, train it; return its metrics."""
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach
    from ludus.training.run import train

    console.rule("A tiny language model learns the game's language, and then the game")
    model = make_tiny(folder / "model", seed=seed)
    taught = teach(model, [GAME], steps=lessons, seed=seed, show=True)
    console.print(
        f"taught {taught.lessons} prompts: {taught.loss:.3f} nats a reply, {taught.floor:.3f} is every legal reply alike"
    )
    overrides = [f"seed={seed}", f"phases.0.steps={updates}", f'policies.language.path="{model}"']
    train(_config("demo_language.toml", folder, overrides))
    return _told("language model", "language", folder, console)


def _told(name: str, run: str, folder: Path, console: Console) -> list[dict[str, Any]]:
    """Say how far a learner came; return its metrics."""
    from ludus.arenas.web.curves import read_metrics

    rows = read_metrics(folder / run / "metrics.jsonl")
    conv = [row[f"eval/nash_conv/{run}"] for row in rows if f"eval/nash_conv/{run}" in row]
    took = _clock(_last(rows, "time/seconds"))
    console.print(f"{name}: NashConv {conv[0]:.3f} at first, {conv[-1]:.3f} at last, in {took}")
    return rows


def _last(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(next(row[key] for row in reversed(rows) if key in row))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# ------------------------------------------------------------------------------- tournament
def _field(folder: Path) -> tuple[Game[Any], list[Agent]]:
    """The game, and who plays in the tournament."""
    from ludus.agents.exact import Tabular
    from ludus.agents.language.local import LanguageModel
    from ludus.agents.network import network
    from ludus.agents.simple import Constant
    from ludus.core.agent import Uniform
    from ludus.core.registry import make
    from ludus.core.solvers import solve

    rules = make(GAME)
    equilibrium = Tabular(solve(rules, ITERATIONS), "equilibrium")
    equilibrium.save(folder / "equilibrium.json")
    networks, models = folder / "network" / "policies", folder / "language" / "policies"
    return rules, [
        Uniform("random"),
        Constant("bet", "always bet"),
        network(networks / "network@init", name="network, before"),
        network(networks / "network", name="network, after"),
        LanguageModel(models / "language@init", name="language, before"),
        LanguageModel(models / "language", name="language, after"),
        equilibrium,
    ]


def _tournament(
    folder: Path, rules: Game[Any], field: Sequence[Agent], deals: int, console: Console
) -> tuple[Standings, Folder]:
    """Everybody against everybody; every episode is kept."""
    from ludus.arenas.exploit import exploitabilities
    from ludus.arenas.leaderboard import standings
    from ludus.arenas.report import as_json, markdown
    from ludus.arenas.schedules import round_robin
    from ludus.arenas.store import Folder
    from ludus.commands.tournament import play_on

    console.rule("A tournament")
    held = Folder(folder / "tournament")
    plan: list[Match] = list(round_robin(rules, field, range(deals)))
    play_on(held, plan)
    exact = exploitabilities(rules, field)
    held.state({"game": repr(rules), "agents": [agent.name for agent in field], "exploitability": exact})
    board = standings(held.episodes(), exploitability=exact)
    (folder / "standings.json").write_text(as_json([board]), encoding="utf-8")
    (folder / "standings.md").write_text(markdown(board), encoding="utf-8")
    return board, held


# ------------------------------------------------------------------------------------- the page
def _page(
    folder: Path,
    rules: Game[Any],
    board: Standings,
    tournament: Folder,
    runs: Mapping[str, list[dict[str, Any]]],
    facts: Mapping[str, object],
) -> Path:
    from ludus.arenas.web.films import Reel
    from ludus.arenas.web.page import Page
    from ludus.commands.tournament import a_few
    from ludus.core.episode import read

    note = (
        f"Standings and payoffs are computed from {tournament.file.relative_to(folder)}, curves from the metrics of "
        "the two runs, and the viewer replays recorded games by the rules from seed and moves alone."
    )
    reel = Reel()
    reel.add(a_few(tournament.episodes(), TOURNAMENT_FILMS))
    for run in ("network", "language"):
        for part in ("first", "last"):
            kept: list[Episode] = list(read(folder / run / "episodes" / f"{part}.jsonl"))
            reel.add(kept[:TRAINING_FILMS], group=f"training of the {run}, {part} games")
    return Page(
        title="Kuhn poker, learned by self-play",
        lead="A network and a tiny language model, trained from scratch by playing themselves, meet random play, "
        "a bot that always bets, their own former selves, and the equilibrium.",
        facts=facts,
        boards=[board],
        curves=_curves(rules, runs),
        learners={"network": "network, after", "language model": "language, after"},
        reel=reel,
        notes=[note],
        command="ludus demo",
    ).write(folder / "index.html")


def _curves(rules: Game[Any], runs: Mapping[str, list[dict[str, Any]]]) -> list[Curve]:
    """Learning curves, with what random play and the equilibrium would measure beside them."""
    from ludus.arenas.web.curves import Panel, curves
    from ludus.core.exact import nash_conv, uniform, value
    from ludus.core.solvers import solve

    worth = value(rules, solve(rules, ITERATIONS))[rules.players[0]]
    told = {
        name: [
            {**row, "illegal": 1 - row["losses/legal_mass"]} if "losses/legal_mass" in row else row
            for row in rows
        ]
        for name, rows in runs.items()
    }
    first = rules.players[0]
    panels = (
        Panel(
            r"eval/nash_conv/.+", "NashConv",
            "What both seats could gain in all by each answering best. Exact; zero at an equilibrium; exploitability is half of it.",
            {"random play": nash_conv(rules, uniform(rules))}, log=True,
        ),
        Panel(
            r"losses/entropy", "Entropy of the choice", "In nats, over the legal moves. A coin has ln\u00a02.",
            {"a coin": math.log(2)},
        ),
        Panel(
            rf"charts/return/[^/]+/{first}", f"What {first} earns", "Chips a game against itself, and what the game is worth.",
            {f"value {worth:.4f}".replace("-", "\u2212"): worth}, zero=False,
        ),
        Panel(
            r"illegal", "Illegal replies", "Probability that the language model writes something that is no legal move.",
        ),
    )  # fmt: skip
    return curves(told, panels)
