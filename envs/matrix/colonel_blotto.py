"""Colonel Blotto: forces divided among battlefields."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, TOGETHER, ArrayGame
from ludus.core.registry import register

MOST = 32_767  # ways to divide the coins
# How many ways there are to divide so many coins (column) among so many fields (row).
WAYS = np.array([[math.comb(coins + fields - 1, coins) if fields else coins == 0 for coins in range(31)]
                 for fields in range(7)], np.int64)  # fmt: skip


@register("colonel_blotto")
class ColonelBlotto(ArrayGame):
    """Colonel Blotto. All players divide their coins among the fields, at the same time.

    Whoever has more coins on a field than everybody else wins that field; a field where several have the most is
    nobody's. Those who win the most fields, one or several, together earn one, in equal shares, which all others
    lose, in equal shares; if everybody wins as many, nobody earns or loses anything. A move is how many coins lie on
    each field, with commas in between.

    Source: Emile Borel 1921; the rules are those of OpenSpiel's blotto.

    Args:
        players: 2 to 10.
        coins: 1 to 30 of each player, all of which are laid.
        fields: 1 to 6, with at most 32,767 ways to divide the coins.
    """

    version = 2  # the rules say who earns how much
    zero_sum = True

    def __init__(self, players: int = 2, coins: int = 10, fields: int = 3) -> None:
        if not (2 <= players <= 10 and 1 <= coins <= 30 and 1 <= fields <= 6):
            raise ValueError(
                f"colonel blotto needs 2 to 10 players, 1 to 30 coins and 1 to 6 fields, not {players}, {coins}, {fields}"
            )
        if WAYS[fields, coins] > MOST:
            raise ValueError(
                f"colonel blotto allows at most {MOST} ways to divide the coins, and there are {WAYS[fields, coins]} "
                f"of {coins} coins on {fields} fields: use fewer"
            )
        self.seats = tuple(f"player_{k}" for k in range(players))
        self.moves = tuple(",".join(map(str, plan)) for plan in plans(coins, fields))
        self.coins, self.fields = coins, fields
        self.record = np.dtype([("laid", np.int8, (players, fields)), ("coins", np.int8), ("over", np.int8)])
        self.shape = (1 + players * fields,)  # always 1; in the end, own coins, and the others' in turn

    def setup(self, s: Any) -> None:
        s.coins = self.coins

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else TOGETHER

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        players = s.laid.shape[0]
        s.over = 1
        for k in range(players):
            lay(s, k, int(actions[k]))
        most, ahead = -1, 0
        for k in range(players):
            won = fields_won(s, k)
            ahead = 1 if won > most else ahead + (won == most)
            most = max(most, won)
        for k in range(players):
            if ahead == players:
                break
            pay[k] += 1.0 / ahead if fields_won(s, k) == most else -1.0 / (players - ahead)

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        players, fields = s.laid.shape
        out[0] = 1
        for k in range(players):
            for field in range(fields):
                out[1 + k * fields + field] = s.laid[(seat + k) % players, field]

    def describe(self, s: Any, seat: int) -> str:
        if not s.over:
            return f"Nobody has laid their {self.coins} coins on the {self.fields} fields yet."
        rows = [",".join(map(str, row)) for row in s.laid.tolist()]
        others = "; ".join(rows[(seat + k) % len(rows)] for k in range(1, len(rows)))
        return f"You laid {rows[seat]}, the others {others}."


def plans(coins: int, fields: int) -> Iterator[tuple[int, ...]]:
    """All ways to divide coins among fields, in the order of their numbers as words are in a dictionary."""
    if fields == 1:
        yield (coins,)
        return
    for first in range(coins + 1):
        for others in plans(coins - first, fields - 1):
            yield (first, *others)


def lay(s: Any, k: int, a: int) -> None:
    """Lay a player's coins after plan a, found by counting the plans with fewer coins on each field in turn."""
    fields = s.laid.shape[1]
    left, number = int(s.coins), a
    for field in range(fields - 1):
        here = 0
        while number >= WAYS[fields - 1 - field, left - here]:
            number -= WAYS[fields - 1 - field, left - here]
            here += 1
        s.laid[k, field] = here
        left -= here
    s.laid[k, fields - 1] = left


def fields_won(s: Any, k: int) -> int:
    """On how many fields a player has more coins than everybody else."""
    players, fields = s.laid.shape
    count = 0
    for field in range(fields):
        alone = True
        for other in range(players):
            alone = alone and (other == k or s.laid[other, field] < s.laid[k, field])
        count += alone
    return count
