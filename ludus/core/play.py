"""The one loop: matches in, episodes out as they finish.

Every live table that waits for a seat has a request in the queue of the agent sitting there. An
agent that offers `submit` and `poll` is handed its requests as they come and answers at its own
pace; one that only offers `act` is asked for everything that is ready, in waves. The order in
which tables advance or finish changes nothing in a record.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, overload

from ludus.core.agent import Agent, Decision, Request
from ludus.core.episode import Episode
from ludus.core.errors import ContractError
from ludus.core.game import Game, Seat
from ludus.core.live import MACHINERY, Live, ask, broken, with_task
from ludus.core.match import Match
from ludus.core.registry import make, seat_up

FEW, MANY = 64, 1024  # tables


@overload
def play(what: Match | Iterable[Match], *, at_once: int | None = None) -> Iterator[Episode]: ...
@overload
def play(
    what: str | Game[Any],
    lineup: Mapping[Seat, Agent | str],
    seeds: Iterable[int],
    *,
    at_once: int | None = None,
    **match: Any,
) -> Iterator[Episode]: ...
def play(
    what: Match | Iterable[Match] | str | Game[Any],
    lineup: Mapping[Seat, Agent | str] | None = None,
    seeds: Iterable[int] | None = None,
    *,
    at_once: int | None = None,
    **match: Any,
) -> Iterator[Episode]:
    """Play matches, or one game with one lineup on many seeds; yield episodes as they finish.

    Args:
        what: matches, or a game (or its name) with `lineup` and `seeds`.
        lineup: agents, or names of registered ones, by seat or role.
        seeds: one episode is played for each.
        at_once: how many tables are live at a time. By default 1024 once somebody sits down who answers at a pace of its
            own, as language models do, who answer many sooner than few; else 64, with which agents that answer at once
            play most games a second, and slow ones finish their first soon. A network on a GPU wants more.
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
        if not isinstance(seeds, Iterable):
            raise TypeError(
                f"seeds are whole numbers, one for each episode, such as range(10), not {seeds!r}"
            )
        table = _Seated(seat_up(game, lineup))
        what = (Match(game, table, seed, **match) for seed in seeds)
    elif lineup is not None or seeds is not None:
        raise TypeError("play(matches) takes its lineups and seeds from the matches")
    return _Hall(at_once).run(iter([what] if isinstance(what, Match) else what))


class _Seated(dict[Seat, Agent]):
    """A lineup with an agent at every seat already."""


class _Hall:
    """The tables that are live, and the requests that wait for agents."""

    def __init__(self, at_once: int | None) -> None:
        if at_once is not None and at_once < 1:
            raise ValueError(f"at least one table must be live, not {at_once}")
        self.at_once, self._given = at_once or FEW, at_once is not None
        self.live: dict[str, Live] = {}
        self.queues: dict[int, tuple[Agent, list[Request]]] = {}
        self.out: dict[int, tuple[Any, dict[int, Request]]] = {}  # held by agents with a pace of their own
        self.done: list[Episode] = []
        self._games: dict[str, Game[Any]] = {}
        self._agents: dict[str, Agent] = {}  # those that matches name: one for all of them

    def run(self, matches: Iterator[Match]) -> Iterator[Episode]:
        try:
            yield from self._run(matches)
        finally:  # whoever stops listening early leaves no session open
            for live in self.live.values():
                live.close()

    def _run(self, matches: Iterator[Match]) -> Iterator[Episode]:
        while True:
            for match in itertools.islice(matches, self.at_once - len(self.live)):
                self._open(match)
            yield from self._finished()
            if not self.live:
                if (match := next(matches, None)) is None:  # type: ignore[assignment]
                    return
                self._open(match)
                continue
            answered, came = self._hand_out(), self._collect()
            if not answered and not came:
                time.sleep(0.0005)  # every seat that is waited for answers at its own pace
            yield from self._finished()

    def _finished(self) -> Iterator[Episode]:
        done, self.done = self.done, []
        yield from done

    def _open(self, match: Match) -> None:
        game = match.game if isinstance(match.game, Game) else self._game(match)
        if match.task is not None:
            game = with_task(game, match.task)
        seated = isinstance(match.lineup, _Seated) and match.task is None
        agents: Any = match.lineup if seated else seat_up(game, match.lineup, self._agents)
        if not self._given and any(hasattr(agent, "submit") for agent in agents.values()):
            self.at_once = MANY
        live = Live(match, game, agents)
        self.live[live.key] = live
        self._advance(live)

    def _game(self, match: Match) -> Game[Any]:
        name = f"{match.game}{sorted(match.params.items())!r}"
        if name not in self._games:
            self._games[name] = make(cast("str", match.game), **match.params)
        return self._games[name]

    def _advance(self, live: Live) -> None:
        """Ask the seats that have come to owe a move; or put the episode away."""
        live.limit()
        if live.table.end is not None:
            self._close(live)
            return
        for request in live.requests():
            self._queue(live, request)

    def _queue(self, live: Live, request: Request) -> None:
        agent = live.agents[request.seat]
        if (queue := self.queues.get(id(agent))) is None:
            queue = self.queues[id(agent)] = agent, []
        queue[1].append(request)

    def _hand_out(self) -> bool:
        """Put every queued request to its agent; true if any was answered."""
        queues, self.queues = self.queues, {}
        answered = False
        for agent, requests in queues.values():
            live = [r for r in requests if r.key in self.live]  # others were voided meanwhile
            if live and hasattr(agent, "submit"):
                self.out.setdefault(id(agent), (agent, {}))[1].update((id(r), r) for r in live)
                answered |= self._submit(agent, live)
            elif live:
                answered = True
                for request, decision in zip(live, ask(agent, live), strict=True):
                    self._take(request, decision)
        return answered

    def _submit(self, agent: Any, requests: list[Request]) -> bool:
        try:
            agent.submit(requests)
        except MACHINERY as fault:
            return self._lost(agent, fault)
        return False

    def _collect(self) -> bool:
        """Take what agents that answer at their own pace have ready; true if there was any."""
        some = False
        for agent, waiting in list(self.out.values()):
            if not waiting:
                continue
            try:
                ready: Sequence[tuple[Request, Decision]] = agent.poll()
            except MACHINERY as fault:
                some |= self._lost(agent, fault)
                continue
            for request, decision in ready:
                some = True
                if waiting.pop(id(request), None) is None:
                    raise ContractError(
                        f"{agent.name} gave back a request of {request.seat} in {request.game} that it does not hold: "
                        "poll hands back the very objects that submit was given, each once"
                    )
                self._take(request, decision)
        return some

    def _lost(self, agent: Any, fault: BaseException) -> bool:
        """Whatever was out with an agent that broke has failed."""
        _, waiting = self.out.pop(id(agent))
        for request in waiting.values():
            self._take(request, Decision(broken(fault)))
        return True

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
        live.close()
        self.done.append(live.episode())
