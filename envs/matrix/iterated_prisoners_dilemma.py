"""The prisoner's dilemma, played several times by the same two."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, TOGETHER, ArrayGame
from ludus.core.registry import register


@register("iterated_prisoners_dilemma")
class IteratedPrisonersDilemma(ArrayGame):
    """The prisoner's dilemma, repeated. In each round both players choose at the same time.

    If both cooperate, each earns 3; if both defect, each earns 1; if one defects alone, the defector
    earns 5 and the other 0. You see all earlier rounds and know how many there are. You want to earn
    as much as you can; it is no gain of yours that the other earns little.

    Source: R. Axelrod, "The Evolution of Cooperation", 1984; payoffs of his tournament. Defecting
    in every round is what every equilibrium does.
    """

    seats = ("player_0", "player_1")
    zero_sum = False

    def __init__(self, rounds: int = 10) -> None:
        if not 1 <= rounds <= 1000:
            raise ValueError(f"the prisoner's dilemma is repeated 1 to 1000 times, not {rounds}")
        self.rounds = rounds
        self.stake = 5.0 * rounds  # the most that the other could have earned
        self.record = np.dtype([("count", np.int16), ("chosen", np.int8, (rounds, 2))])  # 0 is "not yet"
        self.moves = ("cooperate", "defect")
        self.shape = (4 * rounds + 1,)  # for each round: own choice, the other's; then always 1

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.count == s.chosen.shape[0] else TOGETHER

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        for seat in range(2):
            own, other = actions[seat], actions[1 - seat]
            s.chosen[s.count, seat] = own + 1
            if own == other:
                pay[seat] += 1 if own else 3
            elif own:
                pay[seat] += 5
        s.count += 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        for i in range(s.count):
            out[4 * i + s.chosen[i, seat] - 1] = 1
            out[4 * i + s.chosen[i, 1 - seat] + 1] = 1
        out[out.shape[0] - 1] = 1

    def describe(self, s: Any, seat: int) -> str:
        pairs = [
            (self.moves[row[seat] - 1], self.moves[row[1 - seat] - 1]) for row in s.chosen[: s.count].tolist()
        ]
        past = "".join(
            f"\nRound {i + 1}: you {own}, the other {other}s." for i, (own, other) in enumerate(pairs)
        )
        now = (
            "All rounds are over."
            if s.count == self.rounds
            else f"This is round {s.count + 1} of {self.rounds}."
        )
        return now + past
