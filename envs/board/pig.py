"""Pig: roll on, or hold what you have."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.registry import register


@register("pig")
class Pig(ArrayGame):
    """Pig, a race with a die.

    In turn, player_0 first, each player rolls the die as often as they like, and what it shows is added to the points
    of the turn; but when it shows a one, the turn is over and its points are lost. Holding ends the turn and adds its
    points to one's own. Whoever holds the goal or more wins; who could may not roll on. A game of too many moves is
    a draw.

    Source: John Scarne 1945; the rules are those of OpenSpiel's pig. With best play the first of two players wins
    53.06 of 100 games (Neller and Presser 2004).

    Args:
        players: 2 to 10.
        goal: points.
        sides: of the die.
        horizon: after so many decisions the game is drawn.
    """

    zero_sum = True
    perfect_information = True
    version = 1

    def __init__(self, players: int = 2, goal: int = 100, sides: int = 6, horizon: int = 1000) -> None:
        if not (2 <= players <= 10 and 1 <= goal <= 10_000 and 2 <= sides <= 20 and 1 <= horizon <= 30_000):
            raise ValueError(
                "pig needs 2 to 10 players, a goal of 1 to 10,000, a die of 2 to 20 sides and a horizon of 1 to 30,000, "
                f"not {players}, {goal}, {sides}, {horizon}"
            )
        self.seats = tuple(f"player_{k}" for k in range(players))
        self.goal, self.outcomes, self.horizon = goal, sides, horizon
        self.moves = ("roll", "hold")
        self.record = np.dtype(
            [("points", np.int16, players), ("turn_points", np.int16), ("count", np.int16), ("goal", np.int16),
             ("horizon", np.int16), ("turn", np.int8), ("rolling", np.int8), ("over", np.int8)]
        )  # fmt: skip
        # Whose turn it is, counted from the own seat; then, in shares of the goal, own points, the others' in turn,
        # those of the turn; and decisions so far, as a share of the horizon.
        self.shape = (2 * players + 2,)

    dtype = "float32"

    def setup(self, s: Any) -> None:
        s.goal, s.horizon = self.goal, self.horizon

    @staticmethod
    def mover(s: Any) -> int:
        if s.over:
            return OVER
        return NATURE if s.rolling else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[0] = s.points[seat] + s.turn_points < s.goal
        out[1] = 1

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        out[:] = 1.0 / out.shape[0]

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        players = s.points.shape[0]
        if s.rolling:
            s.rolling = 0
            s.turn_points = s.turn_points + a + 1 if a > 0 else 0
            if a == 0:
                s.turn = (s.turn + 1) % players
            return
        s.count += 1
        if a == 0:
            s.rolling = 1
        else:
            s.points[s.turn] += s.turn_points
            s.turn_points = 0
            if s.points[s.turn] >= s.goal:
                s.over = 1
                for k in range(players):
                    pay[k] += 1.0 if k == s.turn else -1.0 / (players - 1)
            s.turn = (s.turn + 1) % players
        if s.count >= s.horizon:
            s.over = 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        players = s.points.shape[0]
        out[(s.turn - seat) % players] = 1
        for k in range(players):
            out[players + k] = s.points[(seat + k) % players] / s.goal
        out[2 * players] = s.turn_points / s.goal
        out[2 * players + 1] = s.count / s.horizon

    def describe(self, s: Any, seat: int) -> str:
        others = [(k, s.points[k]) for k in range(len(self.seats)) if k != seat]
        told = ", ".join(f"{self.seats[k]} {points}" for k, points in others)
        whose = "your turn" if s.turn == seat else f"the turn of {self.seats[s.turn]}"
        return (
            f"You have {s.points[seat]} of {self.goal} points, {told}. It is {whose}, which has {s.turn_points} points "
            f"so far. Decisions so far: {s.count} of {self.horizon}."
        )
