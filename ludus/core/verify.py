"""Whether a record is true.

Verification has levels, and says which it reached:

    rules   chance drawn again from the seed; every view, move, penalty and return compared
    crew    findings worked out again by crew that is deterministic, or reproducible (draws from
            its own stream and nothing else); of other crew the agreement is counted, and
            the level is reached where all agree
    tokens  ids decoded to the reply and its move; log-probabilities scored again, where the agent
            that sampled them is at hand with the weights it had

A file shows that it is consistent, not who made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ludus.core.agent import Agent, Failure, Request
from ludus.core.episode import Episode, Step, read
from ludus.core.errors import ForgedError, LudusError, RecordError
from ludus.core.game import Choice, Game, Move, Seat, View
from ludus.core.ledger import Ledger
from ludus.core.reading import could_mean
from ludus.core.registry import agent_for
from ludus.core.replay import Frame, game_of, replay
from ludus.core.table import Table, seat_stream

CLOSE = 1e-3  # log-probabilities scored again, in another batch or on another machine
Asked: TypeAlias = tuple[Step, Request]  # a decision, and what the loop had asked


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

    Raises:
        RecordError: there is no such file, and no file of episodes in the folder.
    """
    return [_verdict(i, episode, agents or {}) for i, episode in enumerate(_episodes(what))]


def _episodes(what: str | Path | Iterable[Episode]) -> Iterator[Episode]:
    if not isinstance(what, (str, Path)):
        yield from what
        return
    for file in files_of(what):
        yield from read(file)


def files_of(where: str | Path) -> list[Path]:
    """The file itself, or every file of episodes in a folder.

    Raises:
        RecordError: there is none.
    """
    path = Path(where)
    if not path.exists():
        raise RecordError(f"{path} does not exist: verify takes a file of episodes or a folder of them")
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("episodes*.jsonl")) + sorted(path.rglob("episodes/*.jsonl"))
    if not files:
        raise RecordError(
            f"{path} holds no file of episodes: a tournament writes episodes.jsonl, and a training run episodes/"
        )
    return list(dict.fromkeys(files))


def _verdict(index: int, episode: Episode, agents: Mapping[str, Agent]) -> Verdict:
    notes: dict[str, str] = {}
    reached, level = "", "rules"
    try:
        game = game_of(episode)
        frames = list(replay(episode, game))
        _check_chance(episode, game)
        reached, notes["rules"] = "rules", _fingerprint_note(episode, game)
        asked = list(requests(episode, game, frames))
        for level, check in (("crew", _check_crew), ("tokens", _check_tokens)):
            passed, notes[level] = check(episode, game, asked, agents)
            reached = level if passed else reached
    except ForgedError as fault:
        return Verdict(index, episode.game, reached, fault.level, {**notes, fault.level: str(fault)})
    except (LudusError, ArithmeticError, LookupError, TypeError, ValueError) as fault:
        # a record may hold anything, and what its rules then raise is a reason to refuse it
        return Verdict(
            index, episode.game, reached, level, {**notes, level: f"{type(fault).__name__}: {fault}"}
        )
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
    episode: Episode, game: Game[Any], asked: list[Asked], agents: Mapping[str, Agent]
) -> tuple[bool, str]:
    agreed, total = 0, 0
    crews: dict[str, Agent] = {}
    for step, request in asked:
        seat = request.seat
        if seat not in game.crew():
            continue
        name = episode.lineup[seat]
        agent = agents.get(name) or crews.setdefault(seat, agent_for(game, game.crew()[seat]))
        if agent.name != name:
            return False, f"{seat} was {name!r}, which is not at hand"
        (decision,) = agent.act([request])
        if isinstance(decision.move, Failure):
            return False, f"{seat} cannot work here: {decision.move.reason}"
        same = decision.move == step.move
        sure = getattr(agent, "deterministic", False) or getattr(agent, "reproducible", False)
        if not same and sure:
            raise ForgedError(
                "crew",
                f"{game.id}: {seat} recorded the finding {step.move!r}, and {name} finds {decision.move!r}",
            )
        agreed, total = agreed + same, total + 1
    if not total:
        return False, "no crew was asked"
    return agreed == total, f"{agreed} of {total} findings found again"


def requests(episode: Episode, game: Game[Any], frames: Iterable[Frame]) -> Iterator[Asked]:
    """What every seat was asked at each step, as the loop asked it, with the seat's own stream."""
    rngs: dict[Seat, np.random.Generator] = {}
    past: dict[Seat, list[tuple[View, Move]]] = {seat: [] for seat in game.seats}
    for frame in frames:
        if frame.step is None or frame.seat is None:
            continue
        seat = frame.seat
        assert frame.view is not None  # frames of steps have both
        assert frame.options is not None
        index = game.seats.index(seat)
        rng = rngs.setdefault(seat, seat_stream(episode.match.seed, episode.match.sample, index))
        yield frame.step, Request(
            f"verify-{id(episode)}", game.id, seat, frame.view, frame.options, tuple(past[seat]), rng,
            rules=game.rules(seat), complete=game.view_is_complete,
        )  # fmt: skip
        past[seat].append((frame.view, frame.step.move))


def _check_tokens(
    episode: Episode, game: Game[Any], asked: list[Asked], agents: Mapping[str, Agent]
) -> tuple[bool, str]:
    sampled = [(step, request) for step, request in asked if step.tokens is not None]
    if not sampled:
        return False, "no move was sampled from tokens"
    for step, request in sampled:
        _check_form(step, request)
    for seat in dict.fromkeys(step.seat for step, _ in sampled):
        name = episode.lineup[seat]
        agent: Any = agents.get(name)
        if not hasattr(agent, "score"):
            return False, f"{name!r} is not at hand to decode and score its tokens"
        known = episode.agent_fingerprints.get(seat)
        if known != agent.fingerprint():
            return False, f"{name!r} has other weights now ({agent.fingerprint()}, then {known})"
        _check_fed([row for row in sampled if row[0].seat == seat], agent)
        _check_scores(episode, seat, agent, game.id)
    return True, f"{len(sampled)} decisions decoded and scored again"


def _check_form(step: Step, request: Request) -> None:
    """What can be seen of tokens without the agent: shapes, signs, and the move that they mean."""
    tokens, game = step.tokens, request.game
    assert tokens is not None  # the caller chose steps with tokens
    if not len(tokens.ids) == len(tokens.logprobs) == len(tokens.sampled):
        raise ForgedError(
            "tokens", f"{game}: {step.seat} has {len(tokens.ids)} ids and {len(tokens.logprobs)} scores"
        )
    if not ((tokens.logprobs <= CLOSE) & np.isfinite(tokens.logprobs)).all():
        raise ForgedError("tokens", f"{game}: {step.seat} has a log-probability that is none")
    if step.read in ("forfeit", "fallback", "skip"):
        return  # what was sampled is not what was played
    if tokens.legal is not None:
        options = request.options
        if not isinstance(options, Choice) or not np.array_equal(tokens.legal, options.legal):
            raise ForgedError("tokens", f"{game}: {step.seat} did not choose among the legal moves")
        if tokens.ids.tolist() != [step.move]:
            raise ForgedError(
                "tokens", f"{game}: {step.seat} sampled {tokens.ids.tolist()} and played {step.move!r}"
            )
        features = request.view.features
        if (
            features is not None
            and features.shape == tokens.prompt.shape
            and not np.array_equal(features, tokens.prompt)
        ):
            raise ForgedError("tokens", f"{game}: {step.seat} chose by another view than it had")
    elif step.raw is not None and not could_mean(step.raw, request.options, step.move):
        raise ForgedError(
            "tokens", f"{game}: the reply {step.raw!r} of {step.seat} does not say {step.move!r}"
        )


def _check_fed(rows: list[Asked], agent: Any) -> None:
    """The tokens must spell the reply that was kept, and follow what the agent is fed for this request."""
    for step, request in rows:
        tokens = step.tokens
        assert tokens is not None  # as above
        if hasattr(agent, "decode") and agent.decode(tokens.ids.tolist()) != step.raw:
            spelt = agent.decode(tokens.ids.tolist())
            raise ForgedError(
                "tokens",
                f"{request.game}: the tokens of {step.seat} spell {spelt!r}, the reply is {step.raw!r}",
            )
        fed = agent.fed(request) if hasattr(agent, "fed") else None
        if fed is not None and not np.array_equal(fed, tokens.prompt):
            raise ForgedError("tokens", f"{request.game}: {step.seat} was fed something else than its view")


def _check_scores(episode: Episode, seat: Seat, agent: Any, game: str) -> None:
    ledger = Ledger.of([episode])
    own = ledger.take((ledger.seat == ledger.seats.index(seat)) & (ledger.length > 0))
    rows = own.rows()
    scores = agent.score(rows)
    now = np.asarray(scores.logprobs.detach().cpu().numpy(), np.float64)
    then = own.padded(own.rollout, np.arange(len(own)))
    counted = rows.mask & rows.sampled
    gap = float(np.abs(now[:, : then.shape[1]] - then)[counted].max(initial=0.0))
    if gap > CLOSE:
        raise ForgedError(
            "tokens", f"{game}: log-probabilities of {seat} differ by {gap:.2g} when scored again"
        )
