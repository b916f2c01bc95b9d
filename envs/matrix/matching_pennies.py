"""Matching pennies: the smallest game that only mixing solves."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, TOGETHER, ArrayGame
from ludus.core.registry import register


@register("matching_pennies")
class MatchingPennies(ArrayGame):
    """Matching pennies. Both players show a coin at the same time, heads or tails.

    If the coins match, player_0 wins one from player_1; if they differ, player_1 wins one.

    Source: J. von Neumann, "Zur Theorie der Gesellschaftsspiele", 1928. Value 0, both mixing evenly.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    record = np.dtype([("coins", np.int8, 2)])  # 0 is "not shown yet"
    moves = ("heads", "tails")
    shape = (6,)  # seat; own coin; the other's coin

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.coins[0] else TOGETHER

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        s.coins[0] = actions[0] + 1
        s.coins[1] = actions[1] + 1
        won = 1 if actions[0] == actions[1] else -1
        pay[0] += won
        pay[1] -= won

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        out[seat] = 1
        if s.coins[0]:
            out[1 + s.coins[seat]] = 1
            out[3 + s.coins[1 - seat]] = 1

    def describe(self, s: Any, seat: int) -> str:
        goal = f"You win if the coins {('match', 'differ')[seat]}."
        if not s.coins[0]:
            return goal
        return f"{goal} You showed {self.moves[s.coins[seat] - 1]}, the other {self.moves[s.coins[1 - seat] - 1]}."
