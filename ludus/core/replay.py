"""An episode again, with nobody at the table; a record that does not fit the rules is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from ludus.core.agent import Reading
from ludus.core.episode import Episode, Step, stream_mark
from ludus.core.errors import ConfigError, ForgedError, IllegalMove, RecordError
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Move, Options, Seat, View
from ludus.core.live import with_task
from ludus.core.registry import make
from ludus.core.table import Credit, Pay, Table, chance_stream

TOLERANCE = 1e-6  # of returns: sums of the same numbers in the same order


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A moment of a game.

    Attributes:
        state: the state after what happened.
        seat: who acted: a seat, `CHANCE`, or None at the start.
        move: what was played.
        name: the move in words.
        paid: what every seat earned by it.
        view: what the seat saw before it acted.
        options: what it could do.
        step: the record of it.
    """

    state: Any
    seat: Seat | None = None
    move: Move | None = None
    name: str = ""
    paid: Mapping[Seat, float] = field(default_factory=dict)
    view: View | None = None
    options: Options | None = None
    step: Step | None = None


def game_of(episode: Episode) -> Game[Any]:
    """The game an episode was played in, made again."""
    game = make(episode.game, **episode.match.params)
    return game if episode.match.task is None else with_task(game, episode.match.task)


def replay(episode: Episode, game: Game[Any] | None = None) -> Iterator[Frame]:
    """The moments of an episode, first to last.

    Args:
        episode: the record.
        game: the rules; made by name if left out.

    Raises:
        ForgedError: the record contradicts the rules or itself.
    """
    game = game or game_of(episode)
    where = f"{game.id} seed {episode.match.seed}"
    if episode.stream not in (None, stream_mark(episode.match.seed)):
        raise ForgedError("rules", f"{where}: the chance stream {episode.stream!r} is not the seed's own")
    try:
        yield from _frames(episode, game, where)
    except ForgedError:
        raise
    except (ConfigError, RecordError, IllegalMove) as fault:
        raise ForgedError("rules", f"{where}: {fault}") from fault


def _frames(episode: Episode, game: Game[Any], where: str) -> Iterator[Frame]:
    if set(episode.match.lineup) != set(game.seats):
        raise ForgedError(
            "rules", f"{where}: the lineup seats {sorted(episode.match.lineup)}, not {list(game.seats)}"
        )
    episode.match.illegal.check(game)
    table = Table(game, episode.match.seed, iter(episode.chance))
    credit, dealt = Credit(table.opening), len(table.chance)
    yield Frame(game.start(chance_stream(episode.match.seed)))
    yield from _deals(table, 0, table.opening)
    for number, step in enumerate(episode.steps):
        at = f"{where}, step {number}"
        if step.seat not in table.waiting:
            raise ForgedError(
                "rules", f"{at}: {step.seat} owes no move; waiting for {', '.join(table.waiting)}"
            )
        view, options = game.view(table.state, step.seat), game.options(table.state, step.seat)
        if view.digest() != step.digest:
            raise ForgedError(
                "rules", f"{at}: {step.seat} saw {step.digest}, and the rules show {view.digest()}"
            )
        _check_move(episode, game, table, step, options, at)
        credit.decide(step.seat)
        if step.penalty:
            table.returns[step.seat] += step.penalty
            credit.pay({step.seat: step.penalty})
        paid = table.put(step.seat, step.move, episode.match.illegal.price(step.raw))
        credit.pay(paid)
        yield Frame(
            table.state, step.seat, step.move, move_name(step.move, options), paid, view, options, step
        )
        yield from _deals(table, dealt, {})
        dealt = len(table.chance)
    _check_end(episode, table, where)
    _check_credit(episode, credit, where)


def _deals(table: Table, dealt: int, paid: Pay) -> Iterator[Frame]:
    for outcome in table.chance[dealt:]:
        yield Frame(table.state, CHANCE, outcome, str(outcome), paid)


def move_name(move: Move, options: Options) -> str:
    """A move in words.

    >>> from ludus import Forfeit, Text
    >>> move_name(Forfeit("empty reply"), Text())
    'forfeit (empty reply)'
    """
    if isinstance(move, Forfeit):
        return f"forfeit ({move.reason})"
    if isinstance(options, Choice) and isinstance(move, int):
        return options.names[move]
    return str(move)


def _check_move(e: Episode, game: Game[Any], table: Table, step: Step, options: Options, at: str) -> None:
    if isinstance(step.move, Forfeit):
        if step.read != "forfeit" or step.seat in game.crew():
            raise ForgedError("rules", f"{at}: a forfeit of {step.seat} that was read as {step.read!r}")
    elif step.read == "forfeit" or step.move not in options:
        raise ForgedError("rules", f"{at}: {step.seat} cannot play {step.move!r}, read as {step.read!r}")
    _check_reading(e, step, at)
    due = -e.match.illegal.penalty if step.read == "skip" else 0.0
    if not step.penalty == due:
        raise ForgedError("rules", f"{at}: a penalty of {step.penalty}, and the match takes {due}")
    if step.read == "skip" and step.move != game.skip(table.state, step.seat):
        raise ForgedError("rules", f"{at}: {step.move!r} is not the move that passes")


def _check_reading(e: Episode, step: Step, at: str) -> None:
    """How a move was read must be a way that the match knows."""
    if step.read not in get_args(Reading):
        raise ForgedError("rules", f"{at}: no move is read as {step.read!r}")
    policies = {"skip": "skip", "fallback": "random", "retry": "retry"}
    if policies.get(step.read, e.match.illegal.policy) != e.match.illegal.policy:
        raise ForgedError(
            "rules", f"{at}: read as {step.read!r} in a match of policy {e.match.illegal.policy!r}"
        )
    if len(step.rejected) > e.match.illegal.times or (step.read == "retry") > bool(step.rejected):
        raise ForgedError(
            "rules",
            f"{at}: read as {step.read!r} after {len(step.rejected)} retries; the match allows {e.match.illegal.times}",
        )


def _check_end(e: Episode, table: Table, where: str) -> None:
    if len(table.chance) != len(e.chance):
        raise ForgedError(
            "rules", f"{where}: {len(e.chance)} chance outcomes, and the game drew {len(table.chance)}"
        )
    if e.end == "error":
        if e.returns or not e.fault or e.failed not in table.waiting:
            raise ForgedError(
                "rules", f"{where}: an episode in error names a seat that owed a move, and pays nobody"
            )
        return
    if e.end == "cut" and table.end is None:
        if len(e.steps) < e.match.max_steps:
            raise ForgedError("rules", f"{where}: cut after {len(e.steps)} of {e.match.max_steps} steps")
    elif table.end != e.end:
        raise ForgedError("rules", f"{where}: the record ends {e.end!r}, the game {table.end or 'goes on'!r}")
    if not _same(e.returns, table.returns):
        raise ForgedError("rules", f"{where}: returns {dict(e.returns)}, and the game pays {table.returns}")


def _check_credit(e: Episode, credit: Credit, where: str) -> None:
    """Every reward, and what came before the first decision, must be what the game paid there."""
    if not _same(e.early, {seat: amount for seat, amount in credit.early.items() if amount}):
        raise ForgedError("rules", f"{where}: {dict(e.early)} earned early, and the game pays {credit.early}")
    for number, (step, due) in enumerate(zip(e.steps, credit.rewards, strict=True)):
        if not abs(step.reward - due) <= TOLERANCE:
            raise ForgedError(
                "rules", f"{where}, step {number}: a reward of {step.reward}, and the game pays {due}"
            )


def _same(told: Mapping[Seat, float], paid: Mapping[Seat, float]) -> bool:
    """Equal up to rounding; a NaN equals nothing."""
    return set(told) == set(paid) and all(abs(told[s] - paid[s]) <= TOLERANCE for s in paid)
