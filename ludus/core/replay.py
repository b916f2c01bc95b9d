"""An episode again, with nobody at the table; and whether a record is true.

`verify` has levels, and says which it reached:

    rules   chance drawn again from the seed; every view, move, penalty and return compared
    crew    findings worked out again by crew that is deterministic; agreement counted elsewhere
    tokens  ids decoded to the reply and its move; log-probabilities scored again, where the agent
            that sampled them is at hand
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludus.core.agent import Agent, Failure, Request
from ludus.core.episode import Episode, Step, read
from ludus.core.errors import ForgedError, IllegalMove, LudusError, RecordError
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Move, Options, Seat, View
from ludus.core.play import with_task
from ludus.core.registry import make, make_agent
from ludus.core.table import Pay, Table, chance_stream, seat_stream, stream_mark

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
    if episode.stream != stream_mark(episode.match.seed):
        raise ForgedError("rules", f"{where}: the chance stream {episode.stream!r} is not the seed's own")
    try:
        yield from _frames(episode, game, where)
    except ForgedError:
        raise
    except (RecordError, IllegalMove) as fault:
        raise ForgedError("rules", f"{where}: {fault}") from fault


def _frames(episode: Episode, game: Game[Any], where: str) -> Iterator[Frame]:
    table = Table(game, episode.match.seed, iter(episode.chance))
    returns = dict(table.returns)
    dealt = 0
    yield Frame(game.start(chance_stream(episode.match.seed)))
    yield from _deals(game, table, dealt, table.opening)
    dealt = len(table.chance)
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
        if step.penalty:
            table.returns[step.seat] += step.penalty
        paid = table.put(step.seat, step.move)
        yield Frame(
            table.state, step.seat, step.move, move_name(step.move, options), paid, view, options, step
        )
        yield from _deals(game, table, dealt, {})
        dealt = len(table.chance)
    _check_end(episode, table, where, returns)


def _deals(game: Game[Any], table: Table, dealt: int, paid: Pay) -> Iterator[Frame]:
    for outcome in table.chance[dealt:]:
        yield Frame(table.state, CHANCE, outcome, str(outcome), paid)


def move_name(move: Move, options: Options) -> str:
    """A move in words.

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
    elif step.move not in options:
        raise ForgedError("rules", f"{at}: {step.seat} cannot play {step.move!r}")
    due = -e.match.illegal.penalty if step.read == "skip" else 0.0
    if step.penalty != due:
        raise ForgedError("rules", f"{at}: a penalty of {step.penalty}, and the match takes {due}")
    if step.read == "skip" and step.move != game.skip(table.state, step.seat):
        raise ForgedError("rules", f"{at}: {step.move!r} is not the move that passes")
    if len(step.rejected) > e.match.illegal.times:
        raise ForgedError(
            "rules", f"{at}: {len(step.rejected)} retries, and the match allows {e.match.illegal.times}"
        )


def _check_end(e: Episode, table: Table, where: str, returns: Pay) -> None:
    if len(table.chance) != len(e.chance):
        raise ForgedError(
            "rules", f"{where}: {len(e.chance)} chance outcomes, and the game drew {len(table.chance)}"
        )
    if e.end == "error":
        if e.returns:
            raise ForgedError("rules", f"{where}: an episode that ended in an error pays nobody")
        return
    if e.end == "cut":
        if table.end is not None or len(e.steps) < e.match.max_steps:
            raise ForgedError("rules", f"{where}: cut after {len(e.steps)} of {e.match.max_steps} steps")
    elif table.end != e.end:
        raise ForgedError("rules", f"{where}: the record ends {e.end!r}, the game {table.end or 'goes on'!r}")
    if set(e.returns) != set(returns) or any(
        abs(table.returns[s] - r) > TOLERANCE for s, r in e.returns.items()
    ):
        raise ForgedError("rules", f"{where}: returns {dict(e.returns)}, and the game pays {table.returns}")
    _check_rewards(e, where)


def _check_rewards(e: Episode, where: str) -> None:
    """Rewards of steps, and what came before them, must add up to the returns."""
    for seat, due in e.returns.items():
        earned = e.early.get(seat, 0.0) + sum(step.reward for step in e.of(seat))
        if abs(earned - due) > TOLERANCE:
            raise ForgedError("rules", f"{where}: the steps of {seat} earn {earned}, and its return is {due}")


# ------------------------------------------------------------------------------------- levels
@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification found of one episode.

    Attributes:
        index: place in the file, from zero.
        game: name of the game.
        reached: the highest level that was reached and passed: "", "rules", "crew", "tokens".
        refused: the level that refused the record, or "".
        notes: what was seen at each level, or why it was not reached.
    """

    index: int
    game: str
    reached: str = ""
    refused: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no level refused the record."""
        return not self.refused


def verify(what: str | Path | Iterable[Episode], agents: Mapping[str, Agent] | None = None) -> list[Verdict]:
    """Verify episodes, or a file of them, or every `*.jsonl` file of episodes in a folder.

    Args:
        what: a path or episodes.
        agents: agents by name as the records name them, for the tokens level.
    """
    return [_verdict(i, episode, agents or {}) for i, episode in enumerate(_episodes(what))]


def _episodes(what: str | Path | Iterable[Episode]) -> Iterator[Episode]:
    if not isinstance(what, (str, Path)):
        yield from what
        return
    path = Path(what)
    if not path.exists():
        raise RecordError(f"{path} does not exist: verify takes a file of episodes or a folder of them")
    files = (
        sorted(path.rglob("episodes*.jsonl")) + sorted(path.rglob("episodes/*.jsonl"))
        if path.is_dir()
        else [path]
    )
    for file in dict.fromkeys(files):
        yield from read(file)


def _verdict(index: int, episode: Episode, agents: Mapping[str, Agent]) -> Verdict:
    notes: dict[str, str] = {}
    reached = ""
    try:
        game = game_of(episode)
        frames = list(replay(episode, game))
        _check_chance(episode, game)
        reached = "rules"
        notes["rules"] = _fingerprint_note(episode, game)
        for level, check in (("crew", _check_crew), ("tokens", _check_tokens)):
            passed, notes[level] = check(episode, game, frames, agents)
            reached = level if passed else reached
    except ForgedError as fault:
        return Verdict(index, episode.game, reached, fault.level, {**notes, fault.level: str(fault)})
    except LudusError as fault:
        return Verdict(index, episode.game, reached, "rules", {**notes, "rules": str(fault)})
    return Verdict(index, episode.game, reached, "", notes)


def _fingerprint_note(episode: Episode, game: Game[Any]) -> str:
    same = episode.game_fingerprint == game.fingerprint()
    return (
        "same rules"
        if same
        else "played under other rules: the game's fingerprint differs; what they decide agrees"
    )


def _check_chance(episode: Episode, game: Game[Any]) -> None:
    """Nature's outcomes must be those that the seed draws."""
    drawn = Table(game, episode.match.seed)
    for step in episode.steps:
        drawn.put(step.seat, step.move)
    if tuple(drawn.chance) != episode.chance:
        raise ForgedError(
            "rules",
            f"{game.id} seed {episode.match.seed}: chance gave {list(episode.chance)}, the seed gives {drawn.chance}",
        )


def _check_crew(
    episode: Episode, game: Game[Any], frames: list[Frame], agents: Mapping[str, Agent]
) -> tuple[bool, str]:
    asked = [frame for frame in frames if frame.step is not None and frame.seat in game.crew()]
    if not asked:
        return False, "no crew was asked"
    agreed, total = 0, 0
    crews: dict[str, Agent] = {}
    rngs: dict[Seat, Any] = {}
    for frame in asked:
        step, seat = _of(frame)
        name = episode.lineup[seat]
        registered = game.crew()[seat]
        agent = agents.get(name) or crews.setdefault(seat, make_agent(registered))
        if agent.name != name:
            return False, f"{seat} was {name!r}, which is not at hand"
        index = game.seats.index(seat)
        rng = rngs.setdefault(seat, seat_stream(episode.match.seed, episode.match.sample, index))
        assert frame.view is not None  # frames of steps have both
        assert frame.options is not None
        request = Request(f"verify-{id(episode)}", game.id, seat, frame.view, frame.options, (), rng)
        (decision,) = agent.act([request])
        if isinstance(decision.move, Failure):
            return False, f"{seat} cannot work here: {decision.move.reason}"
        same = decision.move == step.move
        if not same and getattr(agent, "deterministic", False):
            raise ForgedError(
                "crew",
                f"{game.id}: {seat} recorded the finding {step.move!r}, and {name} finds {decision.move!r}",
            )
        agreed, total = agreed + same, total + 1
    return True, f"{agreed} of {total} findings found again"


def _of(frame: Frame) -> tuple[Step, Seat]:
    assert frame.step is not None  # only frames of steps come here
    assert frame.seat is not None
    return frame.step, frame.seat


def _check_tokens(
    episode: Episode, game: Game[Any], frames: list[Frame], agents: Mapping[str, Agent]
) -> tuple[bool, str]:
    sampled = [frame for frame in frames if frame.step is not None and frame.step.tokens is not None]
    if not sampled:
        return False, "no move was sampled from tokens"
    rescored = 0
    for frame in sampled:
        step, seat = _of(frame)
        _check_network_token(step, frame, game.id)
        agent = agents.get(episode.lineup[seat])
        recheck = getattr(agent, "recheck", None)
        if recheck is None:
            return False, f"{episode.lineup[seat]!r} is not at hand to decode and score its tokens"
        if agent is not None and hasattr(agent, "fingerprint"):
            known = episode.agent_fingerprints.get(seat)
            if known != agent.fingerprint():
                return (
                    False,
                    f"{episode.lineup[seat]!r} has other weights now ({agent.fingerprint()}, then {known})",
                )
        problem = recheck(step, frame.options)
        if problem:
            raise ForgedError("tokens", f"{game.id}: {seat}: {problem}")
        rescored += 1
    return True, f"{rescored} of {len(sampled)} decisions decoded and scored again"


def _check_network_token(step: Step, frame: Frame, game: str) -> None:
    tokens = step.tokens
    assert tokens is not None  # the caller chose steps with tokens
    if not (len(tokens.ids) == len(tokens.logprobs) == len(tokens.sampled)):
        raise ForgedError(
            "tokens", f"{game}: {step.seat} has {len(tokens.ids)} ids and {len(tokens.logprobs)} scores"
        )
    if any(not math.isfinite(x) or x > TOLERANCE for x in tokens.logprobs):
        raise ForgedError("tokens", f"{game}: {step.seat} has a log-probability above zero or not finite")
    single = tokens.legal is not None and len(tokens.ids) == 1
    if single and step.read == "exact" and int(tokens.ids[0]) != step.move:
        raise ForgedError(
            "tokens", f"{game}: {step.seat} sampled {int(tokens.ids[0])} and played {step.move!r}"
        )
