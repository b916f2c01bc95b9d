"""The one loop: matches in, episodes out as they finish.

Every live table that waits for a seat has a request in the queue of the agent sitting there. An
agent that offers `submit` and `poll` is handed its requests as they come and answers at its own
pace; one that only offers `act` is asked for everything that is ready, in waves. The order in
which tables advance or finish changes nothing in a record.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

import numpy as np

from ludus.core.agent import Agent, Decision, Failure, Reading, Request
from ludus.core.episode import Episode, Step
from ludus.core.errors import ConfigError, ContractError, CrewError
from ludus.core.game import JSON, Choice, Forfeit, Game, Move, Seat, Text
from ludus.core.match import Match
from ludus.core.registry import make, seat_up
from ludus.core.table import Pay, Table, seat_stream, stream_mark

_KEYS = itertools.count()


@overload
def play(what: Match | Iterable[Match], *, at_once: int = 1024) -> Iterator[Episode]: ...
@overload
def play(
    what: str | Game[Any],
    lineup: Mapping[Seat, Agent | str],
    seeds: Iterable[int],
    *,
    at_once: int = 1024,
    **match: Any,
) -> Iterator[Episode]: ...
def play(
    what: Match | Iterable[Match] | str | Game[Any],
    lineup: Mapping[Seat, Agent | str] | None = None,
    seeds: Iterable[int] | None = None,
    *,
    at_once: int = 1024,
    **match: Any,
) -> Iterator[Episode]:
    """Play matches, or one game with one lineup on many seeds; yield episodes as they finish.

    Args:
        what: matches, or a game (or its name) with `lineup` and `seeds`.
        lineup: agents, or names of registered ones, by seat or role.
        seeds: one episode is played for each.
        at_once: how many tables are live at a time.
        match: further fields of `Match` for the short form, such as `illegal` or `max_steps`.

    Example:
        >>> episodes = list(play("nim", {"player": "uniform"}, range(3)))
        >>> sum(episodes[0].returns.values())
        0.0
    """
    if isinstance(what, (str, Game)):
        if lineup is None or seeds is None:
            raise TypeError("play(game, lineup, seeds) needs a lineup and seeds")
        game = make(what, **match.pop("params", {})) if isinstance(what, str) else what
        table = seat_up(game, lineup)
        what = (Match(game, table, seed, **match) for seed in seeds)
    elif lineup is not None or seeds is not None:
        raise TypeError("play(matches) takes its lineups and seeds from the matches")
    return _Hall(at_once).run(iter([what] if isinstance(what, Match) else what))


class _Hall:
    """The tables that are live, and the requests that wait for agents."""

    def __init__(self, at_once: int) -> None:
        if at_once < 1:
            raise ValueError(f"at least one table must be live, not {at_once}")
        self.at_once = at_once
        self.live: dict[str, Live] = {}
        self.queues: dict[int, tuple[Agent, list[Request]]] = {}
        self.out: dict[int, tuple[Any, int]] = {}  # agents that answer at their own pace: how many are out
        self.done: list[Episode] = []
        self._games: dict[str, Game[Any]] = {}
        self._agents: dict[str, Agent] = {}  # those that matches name: one for all of them

    def run(self, matches: Iterator[Match]) -> Iterator[Episode]:
        while True:
            for match in itertools.islice(matches, self.at_once - len(self.live)):
                self._open(match)
            yield from self._finished()
            if not self.live:
                if (match := next(matches, None)) is None:  # type: ignore[assignment]
                    return
                self._open(match)
                continue
            if not self._hand_out() and not self._collect():
                time.sleep(0.0005)  # every seat that is waited for answers at its own pace
            yield from self._finished()

    def _finished(self) -> Iterator[Episode]:
        done, self.done = self.done, []
        yield from done

    def _open(self, match: Match) -> None:
        game = match.game if isinstance(match.game, Game) else self._game(match)
        if match.task is not None:
            game = with_task(game, match.task)
        live = Live(match, game, seat_up(game, match.lineup, self._agents))
        self.live[live.key] = live
        self._advance(live)

    def _game(self, match: Match) -> Game[Any]:
        name = f"{match.game}{sorted(match.params.items())!r}"
        if name not in self._games:
            self._games[name] = make(cast("str", match.game), **match.params)
        return self._games[name]

    def _advance(self, live: Live) -> None:
        """Ask the seats that have come to owe a move; or put the episode away."""
        if live.table.end is None and len(live.steps) >= live.match.max_steps:
            live.cut()
        if live.table.end is not None:
            self._close(live)
            return
        for request in live.requests():
            self._queue(live, request)

    def _queue(self, live: Live, request: Request) -> None:
        agent = live.agents[request.seat]
        self.queues.setdefault(id(agent), (agent, []))[1].append(request)

    def _hand_out(self) -> bool:
        """Put every queued request to its agent; true if any was answered."""
        queues, self.queues = self.queues, {}
        answered = False
        for agent, requests in queues.values():
            live = [r for r in requests if r.key in self.live]  # others were voided meanwhile
            if hasattr(agent, "submit"):
                agent.submit(live)
                _, count = self.out.get(id(agent), (agent, 0))
                self.out[id(agent)] = (agent, count + len(live))
            elif live:
                answered = True
                for request, decision in zip(live, ask(agent, live), strict=True):
                    self._take(request, decision)
        return answered

    def _collect(self) -> bool:
        """Take what agents that answer at their own pace have ready; true if there was any."""
        some = False
        for key, (agent, count) in list(self.out.items()):
            ready: Sequence[tuple[Request, Decision]] = agent.poll() if count else []
            self.out[key] = (agent, count - len(ready))
            for request, decision in ready:
                some = True
                self._take(request, decision)
        return some

    def _take(self, request: Request, decision: Decision) -> None:
        live = self.live.get(request.key)
        if live is None:
            return
        again = live.take(request, decision)
        if again is not None:
            self._queue(live, again)
        else:
            self._advance(live)

    def _close(self, live: Live) -> None:
        del self.live[live.key]
        for agent in {id(a): a for a in live.agents.values()}.values():
            if hasattr(agent, "close"):
                agent.close([live.key])
        self.done.append(live.episode())


def ask(agent: Agent, requests: list[Request]) -> Sequence[Decision]:
    """The agent's decisions; failures if its machinery broke.

    Raises:
        ContractError: it gives more or fewer decisions than it got requests.
    """
    try:
        decisions = agent.act(requests)
    except CrewError as fault:  # nobody knows which request it was: every one of them failed
        return [Decision(Failure(str(fault)))] * len(requests)
    if len(decisions) != len(requests):
        raise ContractError(f"{agent.name} answered {len(requests)} requests with {len(decisions)} decisions")
    return decisions


class Live:
    """One match in progress: its table, its steps so far, and who has been asked. The doors share it."""

    def __init__(self, match: Match, game: Game[Any], agents: dict[Seat, Agent]) -> None:
        self.match, self.game, self.agents = match, game, agents
        self.key = str(next(_KEYS))
        self.crew = game.crew()
        self.table = Table(game, match.seed)
        self.steps: list[tuple[int, int, Step]] = []  # (round, seat index, step)
        self.round = 0
        self.last: dict[Seat, int] = {}
        self.early: Pay = dict(self.table.opening)
        self.past: dict[Seat, list[tuple[Any, Move]]] = {seat: [] for seat in game.seats}
        self.asked: set[Seat] = set()
        self.rejected: dict[Seat, list[str]] = {}
        self.fault = ""
        self._rngs: dict[Seat, np.random.Generator] = {}

    def requests(self) -> Iterator[Request]:
        """Requests to the seats that owe a move and have not been asked."""
        for seat in self.table.waiting:
            if seat not in self.asked:
                self.asked.add(seat)
                yield self._request(seat)

    def _request(self, seat: Seat, complaint: str = "") -> Request:
        game, state = self.game, self.table.state
        sees_state = game.perfect_information or seat in self.match.privileged
        return Request(
            key=self.key,
            game=game.id,
            seat=seat,
            view=game.view(state, seat),
            options=game.options(state, seat),
            past=tuple(self.past[seat]),
            rng=self._rng(seat),
            rules=game.rules(seat),
            complete=game.view_is_complete,
            state=state if sees_state else None,
            sample=lambda rng: game.sample(state, seat, rng),
            complaint=complaint,
            attempt=len(self.rejected.get(seat, ())),
        )

    def _rng(self, seat: Seat) -> np.random.Generator:
        if seat not in self._rngs:
            self._rngs[seat] = seat_stream(self.match.seed, self.match.sample, self.game.seats.index(seat))
        return self._rngs[seat]

    def take(self, request: Request, decision: Decision) -> Request | None:
        """Settle one decision; return a new request if the same turn is asked again."""
        seat = request.seat
        move, read = decision.move, decision.read
        if isinstance(move, Failure):
            if seat in self.crew or self.match.failed == "void":
                self._void(f"{seat} ({self.agents[seat].name}): {move.reason}")
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
                self._void(f"{seat} ({self.agents[seat].name}): finding refused: {why}")
                return None
            if read != "forfeit" and len(self.rejected.get(seat, ())) < self.match.illegal.times:
                self.rejected.setdefault(seat, []).append(str(move) if decision.raw is None else decision.raw)
                return self._request(seat, complaint=why)
            move, read, penalty = self._unusable(request, move, why)
        elif self.rejected.get(seat):
            read = "retry"
        self._lay(request, dataclasses.replace(decision, move=move, read=read), penalty)
        return None

    def _unusable(self, request: Request, move: Move, why: str) -> tuple[Move, Reading, float]:
        illegal = self.match.illegal
        if illegal.policy == "skip":
            return self.game.skip(self.table.state, request.seat), "skip", -illegal.penalty
        if illegal.policy == "random":
            return self.game.sample(self.table.state, request.seat, request.rng), "fallback", 0.0
        return (move if isinstance(move, Forfeit) else Forfeit(why)), "forfeit", 0.0

    def _lay(self, request: Request, decision: Decision, penalty: float) -> None:
        seat, move = request.seat, cast("Move", decision.move)
        if isinstance(request.options, Choice) and not isinstance(move, Forfeit):
            move = int(cast("int", move))
        step = Step(
            seat=seat, move=move, digest=request.view.digest(), read=decision.read, raw=decision.raw,
            rejected=tuple(self.rejected.pop(seat, ())), penalty=penalty, tokens=decision.tokens,
            value=decision.value, note=decision.note, view=request.view, options=request.options,
        )  # fmt: skip
        self.asked.discard(seat)
        self.last[seat] = len(self.steps)
        self.steps.append((self.round, self.game.seats.index(seat), step))
        self.past[seat].append((request.view, move))
        if penalty:
            self.table.returns[seat] += penalty
            self._credit({seat: penalty})
        self._credit(self.table.put(seat, move))
        self.round += not self.table.laid

    def _credit(self, paid: Pay) -> None:
        """What a seat earns belongs to its last decision, or was earned early."""
        for seat, amount in paid.items():
            if seat in self.last:
                order, index, step = self.steps[self.last[seat]]
                self.steps[self.last[seat]] = (
                    order,
                    index,
                    dataclasses.replace(step, reward=step.reward + amount),
                )
            else:
                self.early[seat] = self.early.get(seat, 0.0) + amount

    def _void(self, fault: str) -> None:
        self.fault = fault
        self.table.stop("error")

    def cut(self) -> None:
        """Stop here, and ask each player that can tell what it still expected to earn."""
        self.bootstrap = {
            seat: float(agent.value([self._looking(seat)])[0])
            for seat, agent in self.agents.items()
            if seat not in self.crew and hasattr(agent, "value")
        }
        self.table.stop("cut")

    def _looking(self, seat: Seat) -> Request:
        """A request for a seat that may not be on turn: only its view counts."""
        game, state = self.game, self.table.state
        options = game.options(state, seat) if seat in self.table.waiting else game.interface(seat).options
        past = tuple(self.past[seat])
        return Request(
            self.key, game.id, seat, game.view(state, seat), options, past, self._rng(seat), game.rules(seat)
        )

    def _ordered(self) -> list[Step]:
        """The steps in an order that does not depend on who answered first."""
        if not self.game.independent:
            return [step for _, _, step in sorted(self.steps, key=lambda entry: entry[:2])]
        return in_waves(self.game, self.match.seed, self.table.chance, [step for _, _, step in self.steps])

    def episode(self) -> Episode:
        """The record."""
        table = self.table
        end = table.end or "error"
        prints = {s: a.fingerprint() for s, a in self.agents.items() if hasattr(a, "fingerprint")}
        return Episode(
            match=self.match.named(self.game, self.agents),
            steps=tuple(self._ordered()),
            chance=tuple(table.chance),
            returns=dict(table.returns) if end != "error" else {},
            end=end,
            early=self.early if any(self.early.values()) else {},
            bootstrap=getattr(self, "bootstrap", {}),
            fault=self.fault,
            stream=stream_mark(self.match.seed),
            game_fingerprint=self.game.fingerprint(),
            agent_fingerprints=prints,
        )


def in_waves(game: Game[Any], seed: int, chance: Sequence[int], steps: Sequence[Step]) -> list[Step]:
    """Steps of seats that did not wait for each other, in the order of a game where they do."""
    left = {seat: [step for step in reversed(steps) if step.seat == seat] for seat in game.seats}
    table, ordered = Table(game, seed, iter(chance)), list[Step]()
    while wave := [seat for seat in table.waiting if left[seat]]:
        for seat in wave:
            ordered.append(left[seat].pop())
            table.put(seat, ordered[-1].move)
    return ordered


def with_task(game: Game[Any], task: JSON) -> Game[Any]:
    """The same game, given a problem.

    Raises:
        ConfigError: the game takes no problem.
    """
    try:
        return type(game)(**{**game.params, "task": task})
    except TypeError as fault:
        raise ConfigError(f"{game.id} takes no task, and the match gives {task!r}: {fault}") from fault
