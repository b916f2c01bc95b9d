"""A live game with some seats played from outside: what all doors share.

Chance, crew and the agents that sit inside are settled here, by the same code that `play` runs, so that a door
pays what `play` pays and its games can be kept as episodes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from ludus.core.agent import Agent, Decision, Request
from ludus.core.episode import Episode
from ludus.core.errors import ConfigError, CrewError, IllegalMove, UnknownName
from ludus.core.game import Choice, Forfeit, Game, Move, Options, Seat, View
from ludus.core.live import Live, ask
from ludus.core.match import Match
from ludus.core.reading import read_reply
from ludus.core.registry import make, seat_up
from ludus.core.table import Pay, Table

REDEALS = 10_000  # deals in a row in which nobody outside was asked


@dataclass
class Outside:
    """Holds the seats that are played from outside; the door answers for it."""

    name: str = "outside"

    def act(self, requests: Sequence[Request]) -> Sequence[Decision]:
        raise IllegalMove("a seat that is played from outside has no agent to ask")


class Hosted(Live):
    """One game in progress, standing wherever a seat from outside owes a move.

    Attributes:
        open: the requests of the outside seats that owe a move, by seat.
        earned: what each seat has earned since it was last collected.
    """

    def __init__(
        self, match: Match, game: Game[Any], agents: dict[Seat, Agent], outside: frozenset[Seat]
    ) -> None:
        super().__init__(match, game, agents)
        self.outside = outside
        self.open: dict[Seat, Request] = {}
        self.earned: Pay = dict(self.credit.early)
        self._run()

    def answer(self, seat: Seat, action: Any) -> Hosted:
        """Play `action` for an outside seat, and on until one of them owes a move or the game is over; itself.

        Raises:
            IllegalMove: the seat owes no move.
            CrewError: a seat inside broke; the game is void.
        """
        if seat not in self.open:
            raise IllegalMove(
                f"{self.game.id}: {seat} owes no move; waiting for {', '.join(self.open) or 'nobody: reset first'}"
            )
        request = self.open.pop(seat)
        again = self.take(request, understood(action, request.options))
        if again is not None:
            self.open[seat] = again
        self._run()
        return self

    @property
    def owing(self) -> tuple[Seat, ...]:
        """The outside seats that owe a move."""
        return tuple(self.open)

    def options(self, seat: Seat) -> Options | None:
        """What a seat may do that owes a move; else None."""
        return self.open[seat].options if seat in self.open else None

    def collect(self, seat: Seat) -> float:
        """What a seat has earned since this was last asked."""
        return self.earned.pop(seat, 0.0)

    def sight(self, seat: Seat) -> View:
        """What a seat sees: for one that owes a move, the view it was asked with."""
        return self.open[seat].view if seat in self.open else self.game.view(self.table.state, seat)

    def gone(self, seat: Seat) -> bool:
        """Whether the seat neither moves nor earns any more."""
        return self.table.end is not None or self.game.out(self.table.state, seat)

    def account(self, seat: Seat) -> dict[str, Any]:
        """How the seat's last reply was read, why it is asked again, what it forfeited by, how the game ended."""
        step = self.steps[self.credit.last[seat]] if seat in self.credit.last else None
        return {
            "read": step.read if step else "",
            "complaint": self.open[seat].complaint if seat in self.open else "",
            "forfeit": step.move.reason if step and isinstance(step.move, Forfeit) else "",
            "end": self.table.end or "",
        }

    def draw(self, seat: Seat, rng: np.random.Generator) -> Move | None:
        """A legal reply for a seat that owes one, drawn by the game's own `sample`; else None."""
        return self.game.sample(self.table.state, seat, rng) if seat in self.open else None

    def earn(self, paid: Pay) -> None:
        super().earn(paid)
        for seat, amount in paid.items():
            self.earned[seat] = self.earned.get(seat, 0.0) + amount

    def _run(self) -> None:
        while self.table.end is None:
            self.limit()
            if self.table.end is None and not self._ask_inside():
                return
        self.limit()
        self.open.clear()
        self.close()
        if self.table.end == "error":
            raise CrewError(f"{self.game.id}, seed {self.match.seed}: {self.fault}")

    def _ask_inside(self) -> bool:
        """Put the new requests to the agents inside; false if none of them was asked."""
        queues: dict[int, list[Request]] = {}
        for request in self.requests():
            if request.seat in self.outside:
                self.open[request.seat] = request
            else:
                queues.setdefault(id(self.agents[request.seat]), []).append(request)
        for queue in queues.values():
            while queue and self.table.end is None:
                decisions = ask(self.agents[queue[0].seat], queue)
                queue = self._taken(queue, decisions)
        return bool(queues)

    def _taken(self, requests: Sequence[Request], decisions: Sequence[Decision]) -> list[Request]:
        """Settle decisions; return the requests that are put again."""
        again = []
        for request, decision in zip(requests, decisions, strict=True):
            if self.table.end is None and (once_more := self.take(request, decision)) is not None:
                again.append(once_more)
        return again


class Light:
    """One game in progress while nothing happens in it but legal moves of seats from outside.

    It stands for the `Hosted` game with the same moves and answers like it, several times faster, because it keeps
    no record. That game takes its place as soon as an action is anything but the number of a legal move, or a record
    is asked for.

    Attributes:
        earned: what each seat has earned since it was last collected.
    """

    def __init__(self, host: Host, seed: int) -> None:
        self.host, self.game, self.seed = host, host.game, seed
        self.table = Table(host.game, seed)
        self.moves: list[tuple[Seat, int]] = []
        self.moved: set[Seat] = set()
        self.earned: Pay = dict(self.table.opening)
        self.most = host.most_steps - 1

    @property
    def owing(self) -> tuple[Seat, ...]:
        """The seats that owe a move."""
        return self.table.waiting

    def answer(self, seat: Seat, action: Any) -> Light | Hosted:
        """Play `action`, as `Hosted.answer` does; itself, or the game that has taken its place."""
        options = self.options(seat)
        if isinstance(action, np.integer):
            action = int(action)
        if (
            type(action) is not int
            or type(options) is not Choice
            or action not in options
            or len(self.moves) >= self.most
        ):
            return self.whole().answer(seat, action)
        self.moves.append((seat, action))
        self.moved.add(seat)
        for who, amount in self.table.put(seat, action).items():
            self.earned[who] = self.earned.get(who, 0.0) + amount
        return self

    def whole(self) -> Hosted:
        """The same game with its record."""
        live = self.host.hosted(self.seed)
        for seat, move in self.moves:
            live.answer(seat, move)
        live.earned = self.earned
        return live

    def options(self, seat: Seat) -> Options | None:
        """What a seat may do that owes a move; else None."""
        return self.game.options(self.table.state, seat) if seat in self.table.waiting else None

    def collect(self, seat: Seat) -> float:
        """What a seat has earned since this was last asked."""
        return self.earned.pop(seat, 0.0)

    def sight(self, seat: Seat) -> View:
        """What a seat sees."""
        return self.game.view(self.table.state, seat)

    def gone(self, seat: Seat) -> bool:
        """Whether the seat neither moves nor earns any more."""
        return self.table.end is not None or self.game.out(self.table.state, seat)

    def account(self, seat: Seat) -> dict[str, Any]:
        """As that of `Hosted`."""
        read = "exact" if seat in self.moved else ""
        return {"read": read, "complaint": "", "forfeit": "", "end": self.table.end or ""}

    def draw(self, seat: Seat, rng: np.random.Generator) -> Move | None:
        """A legal reply for a seat that owes one; else None."""
        return self.game.sample(self.table.state, seat, rng) if seat in self.table.waiting else None

    def episode(self) -> Episode:
        """The record."""
        return self.whole().episode()

    def close(self) -> None:
        """Nobody sits inside."""


def understood(action: Any, options: Options) -> Decision:
    """An action from outside as a decision: numbers as they are, strings by the common reader of replies.

    Raises:
        ValueError: the action is None, which only a finished seat may be stepped with.
    """
    if action is None:
        raise ValueError("None is the action of a seat that has finished, and this one owes a move")
    if isinstance(action, str):
        move, read = read_reply(action, options)
        return Decision(move, raw=action, read="exact" if isinstance(move, Forfeit) else read)
    if isinstance(action, np.ndarray) and action.size == 1:
        action = action.reshape(())[()]
    return Decision(int(action) if isinstance(options, Choice) and action in options else action)


L = TypeVar("L", bound="Hosted | Light")


class Door(Generic[L]):
    """What a door shows of the game behind it.

    Attributes:
        game: the rules.
    """

    game: Game[Any]
    _live: L | None = None

    @property
    def live(self) -> L:
        """The present game.

        Raises:
            IllegalMove: there is none yet.
        """
        if self._live is None:
            raise IllegalMove(f"{self.game.id}: call reset() first")
        return self._live

    def episode(self) -> Episode:
        """The record of the present game, once it has ended."""
        return self.live.episode()


@dataclass(frozen=True)
class Host:
    """Deals games with the same agents inside.

    Attributes:
        game: the rules.
        agents: who sits where; `Outside` at the seats played from outside.
        outside: those seats.
        settings: further fields of the matches: `illegal`, `max_steps`, `privileged`.
    """

    game: Game[Any]
    agents: dict[Seat, Agent]
    outside: tuple[Seat, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def hosted(self, seed: int) -> Hosted:
        """The game of one deal."""
        match = Match(self.game, self.agents, seed, **self.settings)
        return Hosted(match, self.game, self.agents, frozenset(self.outside))

    @functools.cached_property
    def most_steps(self) -> int:
        """How many decisions a game may have.

        Raises:
            ConfigError: the settings of the matches do not suit the game.
        """
        match = Match(self.game, self.agents, **self.settings)
        match.illegal.check(self.game)
        return match.max_steps

    @functools.cached_property
    def nobody_inside(self) -> bool:
        """Whether every seat is played from outside."""
        return set(self.outside) == set(self.game.seats)

    def deal(self, seed: int, more: np.random.Generator) -> tuple[Hosted, int]:
        """A game in which an outside seat owes a move, and how many deals ended before that.

        Args:
            seed: of the first deal.
            more: draws the seeds of further deals.

        Raises:
            ConfigError: no deal ever asks an outside seat.
        """
        return self._dealt(self.hosted, seed, more)

    def lightly(self, seed: int, more: np.random.Generator) -> tuple[Hosted | Light, int]:
        """As `deal`; without a record as long as none is needed."""
        if self.nobody_inside:
            return self._dealt(functools.partial(Light, self), seed, more)
        return self.deal(seed, more)

    def _dealt(self, deal: Callable[[int], L], seed: int, more: np.random.Generator) -> tuple[L, int]:
        for redeals in range(REDEALS):
            live = deal(seed)
            if live.owing:
                return live, redeals
            seed = fresh_seed(more)
        raise ConfigError(f"{self.game!r}: {REDEALS} deals ended before {', '.join(self.outside)} was asked")


def fresh_seed(rng: np.random.Generator) -> int:
    """A seed for a match."""
    return int(rng.integers(2**31))


def host(
    game: str | Game[Any],
    outside: Sequence[Seat] | None,
    inside: Mapping[Seat, Agent | str],
    params: Mapping[str, Any],
    **settings: Any,
) -> Host:
    """A host for `game`, with `outside` (default: every player) played from outside and `inside` seated.

    Raises:
        UnknownName: a seat that the game does not have.
        ConfigError: crew is played from outside, or nobody sits at a seat.
    """
    if isinstance(game, str):
        game = make(game, **params)
    elif params:
        raise ConfigError(f"{game!r} is made already: params {dict(params)} come too late")
    seats = game.players if outside is None else tuple(outside)
    for seat in seats:
        if seat not in game.seats:
            raise UnknownName(f"seat of {game.id}", seat, game.players)
        if seat in game.crew():
            raise ConfigError(
                f"{game.id}: {seat} is crew and never played from outside; players are {game.players}"
            )
    stand_in = Outside()
    agents = seat_up(game, {**inside, **dict.fromkeys(seats, stand_in)})
    return Host(game, agents, seats, settings)
