"""Rock, paper, scissors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, TOGETHER, ArrayGame
from ludus.core.registry import register


@register("rock_paper_scissors")
class RockPaperScissors(ArrayGame):
    """Rock, paper, scissors. Both players show a hand at the same time.

    Paper beats rock, scissors beat paper, rock beats scissors; the winner takes one from the other.
    Equal hands pay nothing.

    Source: folklore. Value 0, both mixing the three evenly.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    record = np.dtype([("hands", np.int8, 2)])  # 0 is "not shown yet"
    moves = ("rock", "paper", "scissors")
    shape = (7,)  # always 1; own hand; the other's hand

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.hands[0] else TOGETHER

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        s.hands[0] = actions[0] + 1
        s.hands[1] = actions[1] + 1
        ahead = (actions[0] - actions[1]) % 3  # each hand beats the one before it
        won = -1 if ahead == 2 else ahead
        pay[0] += won
        pay[1] -= won

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        out[0] = 1
        if s.hands[0]:
            out[s.hands[seat]] = 1
            out[3 + s.hands[1 - seat]] = 1

    def describe(self, s: Any, seat: int) -> str:
        if not s.hands[0]:
            return "Nobody has shown a hand yet."
        return f"You showed {self.moves[s.hands[seat] - 1]}, the other {self.moves[s.hands[1 - seat] - 1]}."
