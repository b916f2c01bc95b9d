"""Small games and agents that only the tests need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ludus.core.agent import Decision, Request
from ludus.core.array_game import ArrayGame
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Options, Seat, Text, View
from ludus.core.registry import make

SIDES = ("heads", "tails")


class GuessCoin(Game[tuple[int, int, int]]):
    """A coin falls, half hidden. player_0 sees it and says a side; player_1 hears it and guesses.

    player_1 wins one from player_0 by guessing right, and loses one by guessing wrong.
    """

    id = "guess_coin"
    seats = ("player_0", "player_1")
    zero_sum = True
    view_is_complete = False

    def start(self, rng: np.random.Generator) -> Any:
        return (-1, -1, -1)

    def turn(self, state: Any) -> tuple[Seat, ...]:
        coin, said, guess = state
        return (CHANCE,) if coin < 0 else ("player_0",) if said < 0 else ("player_1",) if guess < 0 else ()

    def chance(self, state: Any) -> Sequence[tuple[int, float]]:
        return [(0, 0.5), (1, 0.5)]

    def options(self, state: Any, seat: Seat) -> Options:
        return Choice(SIDES, np.ones(2, np.bool_))

    def view(self, state: Any, seat: Seat) -> View:
        coin, said, _ = state
        known = coin if seat == "player_0" else said
        text = f"You see {SIDES[known]}." if known >= 0 else "You see nothing."
        return View(
            text, np.array([known, said], np.int16) if seat == "player_0" else np.array([known, -1], np.int16)
        )

    def play(self, state: Any, moves: Mapping[Seat, Any]) -> Any:
        ((_, move),) = moves.items()
        i = state.index(-1)
        return (*state[:i], int(move), *state[i + 1 :])

    def payoff(self, state: Any) -> Mapping[Seat, float]:
        coin, _, guess = state
        if guess < 0:
            return {}
        win = 1.0 if guess == coin else -1.0
        return {"player_0": -win, "player_1": win}


@dataclass(frozen=True)
class Tally:
    done: tuple[int, ...]
    paid: tuple[int, ...] = ()


class Errands(Game[Tally]):
    """Each solver counts to its own number, one step a turn, without waiting for the others."""

    seats = ("solver_0", "solver_1", "solver_2")
    independent = True
    id = "errands"

    def __init__(self, lengths: tuple[int, ...] = (1, 3, 2)) -> None:
        self.lengths = lengths

    def start(self, rng: np.random.Generator) -> Tally:
        return Tally((0, 0, 0))

    def turn(self, state: Tally) -> tuple[Seat, ...]:
        left = zip(self.seats, state.done, self.lengths, strict=True)
        return tuple(seat for seat, done, length in left if done < length)

    def options(self, state: Tally, seat: Seat) -> Options:
        return Text(8)

    def view(self, state: Tally, seat: Seat) -> View:
        return View(f"You are at {state.done[self.seats.index(seat)]}. Say the next number.")

    def play(self, state: Tally, moves: Mapping[Seat, Any]) -> Tally:
        done = list(state.done)
        for seat in moves:
            done[self.seats.index(seat)] += 1
        return replace(state, done=tuple(done), paid=tuple(self.seats.index(seat) for seat in moves))

    def payoff(self, state: Tally) -> Mapping[Seat, float]:
        return {self.seats[i]: 1.0 for i in state.paid if state.done[i] == self.lengths[i]}

    def forfeit(self, state: Tally, losers: Mapping[Seat, Forfeit]) -> None:
        return None

    def sample(self, state: Tally, seat: Seat, rng: np.random.Generator) -> str:
        return str(int(rng.integers(100)))


class Says:
    """Gives the same move to everything, after drawing `waste` numbers."""

    def __init__(self, move: Any, name: str = "says", waste: int = 0) -> None:
        self.name, self.move, self.waste = name, move, waste
        self.asked: list[Request] = []
        self.closed: list[str] = []

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        self.asked += requests
        for request in requests:
            request.rng.random(self.waste)
        return [Decision(self.move, raw=str(self.move)) for _ in requests]

    def close(self, keys: Sequence[str]) -> None:
        self.closed += keys


class Dawdler:
    """Answers by `submit` and `poll`, the last request first, `per_poll` at a time."""

    name = "dawdler"

    def __init__(self, per_poll: int = 1) -> None:
        self.waiting: list[Request] = []
        self.per_poll = per_poll

    def submit(self, requests: Sequence[Request]) -> None:
        self.waiting += requests

    def poll(self) -> list[tuple[Request, Decision]]:
        ready = [self.waiting.pop() for _ in range(min(self.per_poll, len(self.waiting)))]
        return [(request, self._answer(request)) for request in ready]

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._answer(request) for request in requests]

    @staticmethod
    def _answer(request: Request) -> Decision:
        assert request.sample is not None
        return Decision(request.sample(request.rng))


class Jammed(type(make("tic_tac_toe"))):  # type: ignore[misc]
    """Tic-tac-toe on its first four cells: whoever comes next may do nothing."""

    @staticmethod
    def legal(s, seat, out) -> None:
        for cell in range(4):
            out[cell] = ((s.marks[0] | s.marks[1]) >> cell & 1) == 0


class Stuck(ArrayGame):
    """Take one stone of three; with one left, nothing may be done."""

    seats = ("player_0",)
    record = np.dtype([("stones", np.int8)])
    moves = ("take",)
    shape = (1,)

    def setup(self, s) -> None:
        s.stones = 3

    @staticmethod
    def mover(s) -> int:
        return 0

    @staticmethod
    def legal(s, seat, out) -> None:
        out[0] = s.stones > 1

    @staticmethod
    def move(s, a, pay) -> None:
        s.stones -= 1

    @staticmethod
    def observe(s, seat, out) -> None:
        out[0] = s.stones
