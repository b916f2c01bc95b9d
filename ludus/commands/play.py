"""`ludus play`, `ludus replay` and `ludus verify`."""

from __future__ import annotations

import secrets
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ludus.commands.games import Settings

if TYPE_CHECKING:
    from ludus.core.agent import Agent, Decision, Request
    from ludus.core.episode import Episode
    from ludus.core.game import Game

OTHERWISE = "take an agent that plays from its view"  # where the state is not shown
NO_EPISODES = "; a training run keeps episodes where keep_episodes is above 0"
FEW = 20  # verdicts that are printed one by one unless asked for otherwise


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command(epilog="Example:  ludus play tic_tac_toe --seat player_0=human --seat player_1=mcts")(play)
    app.command(epilog="Example:  ludus replay runs/tournament/episodes.jsonl --index 12")(replay)
    app.command(epilog="Example:  ludus verify runs/tournament")(verify)


def play(
    game: Annotated[str, typer.Argument(help="A registered name; `ludus games` lists them.")],
    seat: Annotated[
        list[str] | None,
        typer.Option(metavar="SEAT=AGENT", help="Who sits where, by seat or role; again for each seat."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Decides chance; drawn, and told, unless given.")
    ] = None,
    games: Annotated[int, typer.Option(min=1, help="How many, on seeds one after the other.")] = 1,
    settings: Settings = None,
    show_state: Annotated[
        list[str] | None,
        typer.Option(metavar="SEAT", help="Show this seat the hidden parts too: search agents need that."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Append the episodes to this file.")] = None,
) -> None:
    """Play a game: you, in the first seat that you leave open, against agents that play at random elsewhere."""
    from ludus.agents.human import Human
    from ludus.commands.seating import game_by, lineup_by
    from ludus.core import play as core
    from ludus.core.agent import Uniform
    from ludus.core.episode import write
    from ludus.core.errors import HiddenState
    from ludus.core.match import Match

    rules = game_by(game, settings or [])
    lineup: dict[str, Agent | str] = lineup_by(with_human(seat or [], rules), rules, "uniform")
    lineup = {place: Uniform() if who == "uniform" else who for place, who in lineup.items()}
    if rules.perfect_information and any(isinstance(who, Human) for who in lineup.values()):
        lineup = {p: who if isinstance(who, Human) else _Aloud(who, rules) for p, who in lineup.items()}
    shown = tuple(show_state or ())
    first = secrets.randbelow(1_000_000) if seed is None else seed
    for number in range(games):
        try:
            (episode,) = core.play(Match(rules, lineup, first + number, privileged=shown))
        except HiddenState as fault:
            raise fault.instead(f"--show-state {fault.seat}, or {OTHERWISE}") from fault
        tell(episode, short="human" in episode.lineup.values())
        if out is not None:
            write([episode], out, append=True)


class _Aloud:
    """An agent whose moves are printed as it makes them, so that a person sees what a changed board came of.

    For games in which nothing is hidden. Where all move at the same time nothing is told: the next view tells.
    """

    def __init__(self, agent: Any, game: Game[Any]) -> None:
        self._agent, self._game, self.name = agent, game, agent.name

    def __getattr__(self, what: str) -> Any:
        if what.startswith("_"):  # not made yet, or a question of Python's own
            raise AttributeError(what)
        return getattr(self._agent, what)

    def act(self, requests: Sequence[Request]) -> Sequence[Decision]:
        decisions: Sequence[Decision] = self._agent.act(requests)
        pairs = zip(requests, decisions or (), strict=False)  # the loop says if they do not fit
        for request, decision in pairs:
            self._tell(request, decision)
        return decisions

    def poll(self) -> Sequence[tuple[Request, Decision]]:
        ready: Sequence[tuple[Request, Decision]] = self._agent.poll()
        for request, decision in ready:
            self._tell(request, decision)
        return ready

    def _tell(self, request: Request, decision: Decision) -> None:
        from ludus.core.game import Choice

        options, move = request.options, getattr(decision, "move", None)
        if move in options and self._game.turn(request.state) == (request.seat,):
            told = options.names[cast("int", move)] if isinstance(options, Choice) else move
            typer.echo(f"{request.seat} ({self.name}) plays {told}")


def with_human(seats: list[str], rules: Game[Any]) -> list[str]:
    """Who sits where, with a person in the first player's seat that nobody was given."""
    from ludus.core.game import role_of

    given = {text.partition("=")[0].strip() for text in seats}
    free = [seat for seat in rules.players if seat not in given and role_of(seat) not in given]
    return [*seats, f"{free[0]}=human"] if free else seats


def replay(
    file: Annotated[Path, typer.Argument(help="A file of episodes, or a folder that holds episodes.jsonl.")],
    index: Annotated[int | None, typer.Option(min=0, help="Only this episode, counted from zero.")] = None,
) -> None:
    """Print recorded games move by move, as the rules replay them."""
    from ludus.arenas.store import there_are
    from ludus.core.episode import read
    from ludus.core.errors import RecordError, UnknownName

    path = file / "episodes.jsonl" if file.is_dir() else file
    if not path.exists():
        below = there_are((*file.rglob("episodes.jsonl"), *file.rglob("episodes/*.jsonl")))
        raise RecordError(
            f"{path} does not exist: replay takes a file of episodes, or a folder that holds episodes.jsonl{below}"
        )
    count = 0
    for number, episode in enumerate(read(path)):
        count += 1
        if index is None or number == index:
            typer.echo(f"# {number}")
            tell(episode)
        if number == index:
            return
    if not count:
        raise RecordError(f"{path} holds no episode that can be read{NO_EPISODES}")
    if index is not None:
        raise UnknownName(f"episode of {path}", index, [f"0 to {count - 1}"])


def tell(episode: Episode, *, short: bool = False) -> None:
    """Print a game: what was seen and done, and what came of it; `short` leaves the views out."""
    from ludus.core.game import CHANCE
    from ludus.core.replay import replay as frames

    lineup = ", ".join(f"{seat}: {name}" for seat, name in episode.lineup.items())
    typer.echo(f"{episode.variant}, seed {episode.match.seed} ({lineup})")
    for frame in frames(episode):
        if frame.seat is None:
            continue
        if frame.seat == CHANCE:
            typer.echo(f"  chance: {frame.name}")
            continue
        assert frame.view is not None
        assert frame.step is not None  # frames of seats have both
        if short:
            typer.echo(f"  {frame.seat} ({episode.lineup[frame.seat]}) played {frame.name}")
            continue
        seen = "\n".join(f"    | {line}" for line in frame.view.text.splitlines())
        typer.echo(f"  {frame.seat} ({episode.lineup[frame.seat]}) sees\n{seen}")
        for reply in frame.step.rejected:
            typer.echo(f"    could not use {reply!r}")
        raw = f"   [{frame.step.raw!r}]" if frame.step.raw not in (None, frame.name) else ""
        how = "" if frame.step.read == "exact" else f"   ({frame.step.read})"
        typer.echo(f"    plays {frame.name}{how}{raw}")
        paid = ", ".join(f"{seat} {amount:+g}" for seat, amount in frame.paid.items() if amount)
        if paid:
            typer.echo(f"    pays {paid}")
    returns = ", ".join(
        f"{episode.lineup[seat]} ({seat}) {paid:+g}" for seat, paid in episode.returns.items()
    )
    ends = {"over": "the game is over", "forfeit": "ended by forfeit", "cut": "cut by the limit on steps"}
    typer.echo(
        f"  {ends.get(episode.end, f'machinery broke: {episode.fault}')}: {returns or 'nobody is paid'}\n"
    )


def verify(
    path: Annotated[Path, typer.Argument(help="A file of episodes, or a folder with such files.")],
    agent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="A policy of the records, to score its tokens again."),
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Only the counts and what was refused.")] = False,
    each: Annotated[bool, typer.Option("--each", help=f"Every episode, also of more than {FEW}.")] = False,
) -> None:
    """Say of every episode which level of verification it reached: rules, crew, tokens.

    Of more than 20 only the counts are printed, and what was refused.

    Ends with exit code 1 if any is refused or cannot be read, or there is none.
    """
    from ludus.core.verify import files_of
    from ludus.core.verify import verify as verdicts

    with warnings.catch_warnings(record=True) as unreadable:
        warnings.simplefilter("always")
        found = verdicts(path, _at_hand(agent or []))
    summary = summary or (len(found) > FEW and not each)
    for warning in unreadable:
        typer.echo(f"unreadable  {warning.message}")
    for verdict in found:
        why = next((note for level, note in verdict.notes.items() if level == verdict.refused), "")
        if verdict.refused:
            typer.echo(f"{verdict.index:6d}  {verdict.game}  REFUSED at {verdict.refused}: {why}")
        elif not summary:
            notes = "; ".join(f"{level}: {note}" for level, note in verdict.notes.items())
            typer.echo(f"{verdict.index:6d}  {verdict.game}  {verdict.reached}  ({notes})")
    levels = Counter(verdict.reached for verdict in found if verdict.ok)
    refused = sum(not verdict.ok for verdict in found)
    reached = ", ".join(f"{count} reached {level!r}" for level, count in sorted(levels.items()))
    typer.echo(
        f"{len(found)} episodes: {reached or 'none passed'}; {refused} refused; {len(unreadable)} unreadable"
    )
    if not found:
        files = ", ".join(map(str, files_of(path)))
        typer.echo(f"nothing was verified: there is no episode in {files}{NO_EPISODES}", err=True)
    if refused or unreadable or not found:
        raise typer.Exit(1)


def _at_hand(texts: list[str]) -> dict[str, Agent]:
    """Agents by the names that records know them by."""
    from ludus.commands.seating import _kind
    from ludus.core.errors import ConfigError
    from ludus.core.registry import AGENTS

    agents: dict[str, Agent] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r} names no policy: write NAME=FOLDER")
        agents[name] = AGENTS.maker(_kind(Path(folder)))(path=folder, name=name)
    return agents
