"""What the tests of the doors share: which games there are, and games that doors find awkward."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Options, Seat, Text, View

with warnings.catch_warnings():  # PettingZoo's own tests import by a way that PettingZoo deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

__all__ = [
    "GAMES",
    "MENUS",
    "TOGETHER",
    "Awkward",
    "api_test",
    "parallel_api_test",
    "parallel_seed_test",
    "seed_test",
]

SANDBOXED = {"order_desk"}  # crew that runs programs


def _marked(name: str) -> Any:
    crew = set(ludus.make(name).crew().values())
    return pytest.param(name, marks=pytest.mark.bwrap) if crew & SANDBOXED else name


GAMES = [_marked(name) for name in ludus.games()]
MENUS = [
    pytest.param(name, marks=pytest.mark.bwrap) if name == "code_as_task" else name
    for name in ("code_as_task", "propose_solve", "simple_negotiation", "sneaky_critic", "spiral_negotiation")
]
TOGETHER = [
    "colonel_blotto",
    "goofspiel",
    "iterated_prisoners_dilemma",
    "matching_pennies",
    "rock_paper_scissors",
]


class Awkward(Game[tuple[int, ...]]):
    """A coin is thrown, which pays player_0 a chip; on heads all is over. Then player_0 may leave the game
    with another chip, or stay; players 1 and 2 name a number each, and the higher one is paid by the lower."""

    id = "awkward"
    seats = ("player_0", "player_1", "player_2")

    def start(self, rng: np.random.Generator) -> tuple[int, ...]:
        return ()

    def turn(self, state: tuple[int, ...]) -> tuple[Seat, ...]:
        if state[:1] == (0,) or len(state) == 4:
            return ()
        return ((CHANCE,), *((s,) for s in self.seats))[len(state)]

    def chance(self, state: tuple[int, ...]) -> Sequence[tuple[int, float]]:
        return [(0, 0.5), (1, 0.5)]

    def options(self, state: tuple[int, ...], seat: Seat) -> Options:
        return Choice(("low", "middle", "high"), np.array([True, seat != "player_0", True]))

    def view(self, state: tuple[int, ...], seat: Seat) -> View:
        return View(f"{len(state)} of four moves were made.", np.array([1, len(state)], np.int16))

    def play(self, state: tuple[int, ...], moves: Mapping[Seat, Any]) -> tuple[int, ...]:
        (move,) = moves.values()
        return (*state, -1 if isinstance(move, Forfeit) else int(move))

    def payoff(self, state: tuple[int, ...]) -> Mapping[Seat, float]:
        if len(state) in (1, 2):
            return {"player_0": 1.0}
        if len(state) == 4:
            gain = float(np.sign(state[2] - state[3]))
            return {"player_1": gain, "player_2": -gain}
        return {}

    def out(self, state: tuple[int, ...], seat: Seat) -> bool:
        return seat == "player_0" and len(state) >= 2

    def skip(self, state: tuple[int, ...], seat: Seat) -> int:
        return 0


class Rumour(Game[tuple[str, ...]]):
    """player_0 says a word, player_1 another; the longer one wins."""

    id = "rumour"
    seats = ("player_0", "player_1")

    def start(self, rng: np.random.Generator) -> tuple[str, ...]:
        return ()

    def turn(self, state: tuple[str, ...]) -> tuple[Seat, ...]:
        return (self.seats[len(state)],) if len(state) < 2 else ()

    def options(self, state: tuple[str, ...], seat: Seat) -> Options:
        return Text(8)

    def view(self, state: tuple[str, ...], seat: Seat) -> View:
        return View(f"Said so far: {' '.join(state)}")

    def play(self, state: tuple[str, ...], moves: Mapping[Seat, Any]) -> tuple[str, ...]:
        return (*state, *moves.values())

    def payoff(self, state: tuple[str, ...]) -> Mapping[Seat, float]:
        if len(state) < 2:
            return {}
        gain = float(np.sign(len(state[0]) - len(state[1])))
        return {"player_0": gain, "player_1": -gain}

    def sample(self, state: tuple[str, ...], seat: Seat, rng: np.random.Generator) -> str:
        return "é" * int(rng.integers(1, 9))
