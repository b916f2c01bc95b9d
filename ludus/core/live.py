"""One match in progress: who is asked what, and how replies are settled. The loop and the doors share it."""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from ludus.core.agent import Agent, Decision, Failure, Reading, Request
from ludus.core.episode import Episode, Step
from ludus.core.errors import ConfigError, ContractError, CrewError
from ludus.core.game import JSON, Choice, Forfeit, Game, Move, Seat, Text, View
from ludus.core.match import Match
from ludus.core.table import Credit, Pay, Table, seat_stream

_KEYS = itertools.count()
#: What is machinery breaking; anything else that an agent raises is a bug of its own.
MACHINERY = (CrewError, OSError, RuntimeError, MemoryError)


def broken(fault: BaseException) -> Failure:
    """What a fault of machinery makes of the seats that were waiting for it."""
    if isinstance(fault, (NotImplementedError, RecursionError)):  # which are runtime errors to Python
        raise fault
    return Failure(str(fault) if isinstance(fault, CrewError) else f"{type(fault).__name__}: {fault}")


def ask(agent: Agent, requests: list[Request]) -> Sequence[Decision]:
    """An agent's decisions; failures where its machinery breaks. Other errors are bugs, and are raised."""
    try:
        decisions = agent.act(requests)
    except MACHINERY as fault:  # nobody knows which request it was: every one of them failed
        return [Decision(broken(fault))] * len(requests)
    if not isinstance(decisions, Sequence):
        raise ContractError(
            f"{agent.name}.act returned {decisions!r}, and not a list of decisions, one for each request"
        )
    if len(decisions) != len(requests):
        raise ContractError(f"{agent.name} answered {len(requests)} requests with {len(decisions)} decisions")
    return decisions


class Turn(Request):
    """A request of a match in progress: what few agents read is worked out for those who do."""

    __slots__ = ("_before", "_live", "_state")

    def __init__(self, live: Live, seat: Seat, complaint: str = "") -> None:
        game, state = live.game, live.table.state
        self.key, self.game, self.seat = live.key, game.id, seat
        self.view = game.view(state, seat)
        due = seat in live.table.turn
        self.options = game.options(state, seat) if due else game.interface(seat).options
        self.complete = game.view_is_complete
        self.complaint = complaint
        self.attempt = len(live.rejected[seat]) if seat in live.rejected else 0
        self._live, self._state, self._before = live, state, len(live.steps)

    @property
    def past(self) -> tuple[tuple[View, Move], ...]:  # type: ignore[override]
        return self._live.past(self.seat, self._before)

    @property
    def rng(self) -> np.random.Generator:  # type: ignore[override]
        return self._live.stream(self.seat)

    @property
    def rules(self) -> str:  # type: ignore[override]
        return self._live.game.rules(self.seat)

    @property
    def state(self) -> Any:
        live = self._live
        return self._state if live.game.perfect_information or self.seat in live.match.privileged else None

    @property
    def sample(self) -> Callable[[np.random.Generator], Move]:  # type: ignore[override]
        return partial(self._live.game.sample, self._state, self.seat)


class Live:
    """One match in progress: its table, its steps so far, and who has been asked."""

    def __init__(self, match: Match, game: Game[Any], agents: dict[Seat, Agent]) -> None:
        self.match, self.game, self.agents = match, game, agents
        self.key = str(next(_KEYS))
        self.crew = game.crew()
        match.illegal.check(game)
        self.table = Table(game, match.seed)
        self.steps: list[Step] = []  # as seats answered,
        self.places: list[int] = []  # and where each belongs in the record: by round, and in this by seat
        self.round = 0
        self.credit = Credit(self.table.opening)
        self.asked: set[Seat] = set()
        self.rejected: dict[Seat, list[str]] = {}
        self.fault = ""
        self.failed: Seat = ""
        self.bootstrap: dict[Seat, float] = {}
        self._pasts: dict[Seat, tuple[int, tuple[tuple[View, Move], ...]]] = {}
        self._streams: dict[Seat, np.random.Generator] = {}

    def requests(self) -> list[Request]:
        """Requests to the seats that owe a move and have not been asked."""
        due: list[Request] = []
        for seat in self.table.waiting:
            if seat not in self.asked:
                self.asked.add(seat)
                due.append(Turn(self, seat))
        return due

    def past(self, seat: Seat, before: int) -> tuple[tuple[View, Move], ...]:
        """What a seat saw and did in so many steps."""
        known, past = self._pasts.get(seat, (0, ()))
        if known > before:
            known, past = 0, ()
        if since := [step for step in self.steps[known:before] if step.seat == seat]:
            past += tuple([(cast("View", step.view), step.move) for step in since])
        self._pasts[seat] = before, past
        return past

    def stream(self, seat: Seat) -> np.random.Generator:
        """A seat's own generator."""
        if seat not in self._streams:
            index = self.game.seats.index(seat)
            self._streams[seat] = seat_stream(self.match.seed, self.match.sample, index)
        return self._streams[seat]

    def take(self, request: Request, decision: Decision) -> Request | None:
        """Settle one decision; return a new request if the same turn is asked again."""
        seat = request.seat
        if not isinstance(decision, Decision):
            who = self.agents[seat].name
            raise ContractError(
                f"{who} answered {seat} of {self.game!r} with {decision!r}, and not with a Decision(move)"
            )
        move, read = decision.move, decision.read
        if isinstance(move, Failure):
            if seat in self.crew or self.match.failed == "void":
                self._void(seat, move.reason)
                return None
            move, read = Forfeit(f"failed: {move.reason}"), "forfeit"
        if (
            isinstance(request.options, Text)
            and isinstance(move, str)
            and len(move) > request.options.max_chars
        ):
            move, read = move[: request.options.max_chars], "truncated"
        penalty = 0.0
        if move not in request.options:
            why = move.reason if isinstance(move, Forfeit) else f"{move!r} is not among the options"
            if seat in self.crew:
                self._void(seat, f"finding refused: {why}")
                return None
            if read != "forfeit" and len(self.rejected.get(seat, ())) < self.match.illegal.times:
                self.rejected.setdefault(seat, []).append(str(move) if decision.raw is None else decision.raw)
                return Turn(self, seat, why)
            move, read, penalty = self._unusable(request, move, why)
        elif seat in self.rejected:
            read = "retry"
        self._lay(request, decision, move, read, penalty)
        return None

    def _unusable(self, request: Request, move: Move, why: str) -> tuple[Move, Reading, float]:
        illegal = self.match.illegal
        if illegal.policy == "skip":
            return self.game.skip(self.table.state, request.seat), "skip", -illegal.penalty
        if illegal.policy == "random":
            return self.game.sample(self.table.state, request.seat, request.rng), "fallback", 0.0
        return (move if isinstance(move, Forfeit) else Forfeit(why)), "forfeit", 0.0

    def _lay(self, request: Request, decision: Decision, move: Move, read: Reading, penalty: float) -> None:
        seat, view, options, raw = request.seat, request.view, request.options, decision.raw
        forfeit = isinstance(move, Forfeit)
        if type(move) is not int and isinstance(options, Choice) and not forfeit:
            move = int(cast("int", move))
        rejected = tuple(self.rejected.pop(seat)) if seat in self.rejected else ()
        # In the order of the fields, of which `mark` and `reward` are to come: by their names it takes twice as long.
        step = Step(
            seat, move, "", 0.0, read, raw, rejected, penalty, decision.tokens, decision.value, decision.note, view, options
        )  # fmt: skip
        self.asked.discard(seat)
        self.credit.decide(seat)
        self.steps.append(step)
        beside = self.game.seats.index(seat) if len(self.table.turn) > 1 else 0
        self.places.append(self.round * len(self.game.seats) + beside)
        if penalty:
            self.table.returns[seat] += penalty
            self.earn({seat: penalty})
        paid = self.table.put(seat, move, self.match.illegal.price(raw) if forfeit else None)
        if paid:
            self.earn(paid)
        self.round += not self.table.laid

    def earn(self, paid: Pay) -> None:
        """Book what a step has paid."""
        self.credit.pay(paid)

    def _void(self, seat: Seat, why: str) -> None:
        self.failed, self.fault = seat, f"{seat} ({self.agents[seat].name}): {why}"
        self.table.stop("error")

    def limit(self) -> None:
        """Cut a game that has gone on for as long as the match allows; note what a cut game was still worth.

        To each seat as it then sees it, to those who are not to move as well, which no critic has learned.
        """
        if self.table.end is None and len(self.steps) >= self.match.max_steps:
            self.table.stop("cut")
        if self.table.end == "cut" and not self.bootstrap:
            self.bootstrap = {
                seat: 0.0
                if self.game.out(self.table.state, seat)
                else float(agent.value([Turn(self, seat)])[0])
                for seat, agent in self.agents.items()
                if seat not in self.crew and hasattr(agent, "value")
            }

    def close(self) -> None:
        """End the sessions of the agents; safe to call twice."""
        for agent in {id(a): a for a in self.agents.values()}.values():
            if hasattr(agent, "close"):
                agent.close([self.key])

    def _recorded(self) -> tuple[list[Step], Pay]:
        """The steps with what they earned, in an order that does not depend on who answered first."""
        if self.game.independent:
            return in_waves(self.game, self.match, self.table, self.steps)
        for step, reward in zip(self.steps, self.credit.rewards, strict=True):
            step.reward = reward
        placed = sorted(zip(self.places, self.steps, strict=True), key=operator.itemgetter(0))
        return [step for _, step in placed], self.credit.early

    def episode(self) -> Episode:
        """The record."""
        table = self.table
        end = table.end or "error"
        prints = {s: a.fingerprint() for s, a in self.agents.items() if hasattr(a, "fingerprint")}
        steps, early = self._recorded()
        return Episode(
            match=self.match.named(self.game, self.agents),
            steps=tuple(steps),
            chance=tuple(table.chance),
            returns=dict(table.returns) if end != "error" else {},
            end=end,
            early={seat: amount for seat, amount in early.items() if amount},
            bootstrap=self.bootstrap,
            fault=self.fault,
            failed=self.failed,
            game_fingerprint=self.game.fingerprint(),
            agent_fingerprints=prints,
        )


def in_waves(game: Game[Any], match: Match, played: Table, steps: Sequence[Step]) -> tuple[list[Step], Pay]:
    """Steps of seats that did not wait for each other, in the order of a game where they do, and early pay."""
    left = {seat: [step for step in reversed(steps) if step.seat == seat] for seat in game.seats}
    table, ordered = Table(game, match.seed, iter(played.chance)), list[Step]()
    credit = Credit(table.opening)
    while wave := [seat for seat in table.waiting if left[seat]]:
        for seat in wave:
            ordered.append(left[seat].pop())
            credit.decide(seat)
            credit.pay({seat: ordered[-1].penalty})
            credit.pay(table.put(seat, ordered[-1].move, match.illegal.price(ordered[-1].raw)))
    rewards = zip(ordered, credit.rewards, strict=True)
    return [dataclasses.replace(step, reward=reward) for step, reward in rewards], credit.early


def with_task(game: Game[Any], task: JSON) -> Game[Any]:
    """The same game, given a problem.

    Raises:
        ConfigError: the game takes no problem.
    """
    try:
        return type(game)(**{**game.params, "task": task})
    except TypeError as fault:
        raise ConfigError(f"{game.id} takes no task, and the match gives {task!r}: {fault}") from fault
