"""The contracts, for us and for plug-ins: what every game and every agent promises.

`examine(game)` returns a report with one line a clause of `ludus.clauses`; `check_game(game)` raises
on the first clause that is broken; `check_agent(agent, game)` does the same for an agent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ludus.array_clauses  # noqa: F401 - enters its clauses
from ludus.clauses import CLAUSES, Clause, Moment, Skip
from ludus.core.agent import Agent, Decision, Failure, Request
from ludus.core.errors import ContractError, LudusError
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Move, Seat, View, draw
from ludus.core.play import play
from ludus.core.registry import as_game

MAX_TURNS = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One clause of a report: `problem` is empty if it holds, `skipped` says why it was not tried."""

    name: str
    promise: str
    problem: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What `examine` found.

    Attributes:
        game: the game's repr.
        lines: one a clause.
        steps_per_second: decisions a second of the scalar rules under random play.
    """

    game: str
    lines: tuple[Line, ...]
    steps_per_second: float

    @property
    def broken(self) -> tuple[Line, ...]:
        """The clauses that do not hold."""
        return tuple(line for line in self.lines if line.problem)


def check_game(game: Game[Any] | str, *, episodes: int = 20, seed: int = 0) -> Report:
    """Play random games and check every clause of the contract of `Game`.

    Raises:
        ContractError: naming the broken clause, the seed and the turn.

    Example:
        >>> import ludus
        >>> check_game(ludus.make("nim"), episodes=2).broken
        ()
    """
    report = examine(as_game(game), episodes=episodes, seed=seed)
    for line in report.broken:
        raise ContractError(f"{report.game} breaks {line.name!r} ({line.promise}): {line.problem}")
    return report


def examine(game: Game[Any], *, episodes: int = 20, seed: int = 0) -> Report:
    """The same as a report: every clause, broken or not."""
    begun = time.perf_counter()
    walk: list[Moment] = []
    trouble = ""
    try:
        for deal in range(seed, seed + episodes):
            walk += _walk(game, deal)
    except ContractError as fault:
        trouble = str(fault)
    except Exception as fault:  # noqa: BLE001 - whatever a game raises is what it is told
        trouble = f"random play raised {fault!r}"
    speed = sum(len(m.moves) for m in walk) / (time.perf_counter() - begun)
    lines = [Line("random play", "random games come to an end without an error", trouble)]
    if walk:
        lines += [_try(name, clause, game, walk) for name, clause in CLAUSES.items()]
    return Report(repr(game), tuple(lines), speed)


def _try(name: str, clause: Clause, game: Game[Any], walk: list[Moment]) -> Line:
    promise = (clause.__doc__ or "").strip().splitlines()[0].rstrip(".")
    try:
        clause(game, walk)
    except Skip as reason:
        return Line(name, promise, skipped=str(reason))
    except ContractError as fault:
        return Line(name, promise, str(fault))
    except Exception as fault:  # noqa: BLE001 - as above
        return Line(name, promise, f"raised {fault!r}")
    return Line(name, promise)


def _walk(game: Game[Any], seed: int) -> list[Moment]:
    """One random game, crew played by `sample`."""
    rng = np.random.default_rng(seed)
    state = game.start(np.random.default_rng(seed))
    past: dict[Seat, tuple[tuple[View, Move], ...]] = dict.fromkeys(game.seats, ())
    moments: list[Moment] = []
    for number in range(MAX_TURNS):
        turn = game.turn(state)
        if not turn:
            return [*moments, Moment(seed, number, state, {}, None, dict(past))]
        moves: dict[Seat, Move] = {}
        seen = dict(past)
        for seat in turn:
            if seat == CHANCE:
                moves[seat] = draw(float(rng.random()), game.chance(state))
            else:
                moves[seat] = game.sample(state, seat, rng)
                past[seat] = (*past[seat], (game.view(state, seat), moves[seat]))
        after = game.play(state, moves)
        moments.append(Moment(seed, number, state, moves, after, seen))
        state = after
    raise ContractError(f"seed {seed}: no end after {MAX_TURNS} turns")


# ------------------------------------------------------------------------------------- agents
@dataclass
class _Recorder:
    """Sits in for an agent and keeps what it was asked."""

    agent: Agent
    requests: list[Request] = field(default_factory=list)
    name: str = "recorder"

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        self.requests += requests
        return [Decision(request.sample(request.rng)) for request in requests if request.sample]


def check_agent(agent: Agent, game: Game[Any], *, episodes: int = 5) -> None:
    """Check that an agent answers in order, with usable moves, and alike alone and in a batch.

    A reply that is a forfeit or a failure is none of the agent's moves; if all are, the agent is broken.

    Raises:
        ContractError: naming the clause that is broken.
    """
    if not getattr(agent, "name", ""):
        raise ContractError(f"{agent!r} has no name")
    recorder = _Recorder(agent)
    lineup = dict.fromkeys(game.players, recorder)
    list(play(game, lineup, range(episodes), privileged=game.seats))
    requests = recorder.requests
    together = agent.act(_fresh(requests))
    if len(together) != len(requests):
        raise ContractError(f"{agent.name} answered {len(requests)} requests with {len(together)} decisions")
    _check_moves(agent, requests, together)
    alone = [agent.act(_fresh([request]))[0].move for request in requests]
    for request, one, many in zip(requests, alone, together, strict=True):
        if one != many.move:
            raise ContractError(
                f"{agent.name} plays {one!r} alone and {many.move!r} in a batch: {request.view.text!r}"
            )
    if hasattr(agent, "probabilities"):
        choices = [r for r in _fresh(requests) if isinstance(r.options, Choice)]
        for request, p in zip(choices, agent.probabilities(choices), strict=True):
            legal = request.options.legal  # type: ignore[union-attr]
            if abs(float(np.sum(p)) - 1) > 1e-5 or np.any(np.asarray(p)[~legal] > 0):
                raise ContractError(f"{agent.name} gives probabilities {p} where {legal} is legal")


def _check_moves(agent: Agent, requests: Sequence[Request], decisions: Sequence[Decision]) -> None:
    """Moves are among the options; now and then a reply may be a forfeit or a failure, but not always."""
    if not requests:
        raise ContractError(f"{agent.name} was asked nothing: take a game and episodes in which players move")
    unusable = [d.move for d in decisions if isinstance(d.move, (Forfeit, Failure))]
    if len(unusable) == len(requests):
        raise ContractError(f"{agent.name} answered none of {len(requests)} requests: {unusable[0]}")
    for request, decision in zip(requests, decisions, strict=True):
        if not isinstance(decision.move, (Forfeit, Failure)) and decision.move not in request.options:
            raise ContractError(
                f"{agent.name} played {decision.move!r} in {request.view.text!r}: not among the options"
            )


def _fresh(requests: Sequence[Request]) -> list[Request]:
    """The same requests, each with a generator that begins anew and depends on the turn alone."""
    return [r.replace(rng=np.random.default_rng([11, int(r.view.digest(), 16)])) for r in requests]


__all__ = ["CLAUSES", "Line", "LudusError", "Report", "check_agent", "check_game", "examine"]
