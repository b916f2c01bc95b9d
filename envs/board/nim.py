"""Nim: take stones; whoever takes the last one wins."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register


@register("nim")
class Nim(ArrayGame):
    """Nim, with one or more heaps of stones.

    In turn, player_0 first, each player takes some stones from one heap: at least one, and at most
    as many as the moves allow. Whoever takes the last stone of all wins. With one heap a move is the
    number of stones; with more, the heap's letter and the number: b2 takes two stones from heap b.

    Source: C. L. Bouton, "Nim, a game with a complete mathematical theory", 1901. The mover loses
    just when the heaps' sizes modulo (most + 1), combined by exclusive or, give 0.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True

    def __init__(self, stones: int | Sequence[int] = 21, most: int = 3) -> None:
        self.heaps = (stones,) if isinstance(stones, int) else tuple(stones)
        if not 1 <= len(self.heaps) <= 26 or not all(1 <= heap <= 10_000 for heap in self.heaps):
            raise ValueError(f"nim has 1 to 26 heaps of 1 to 10,000 stones, not {stones!r}")
        if not 1 <= most <= 100:
            raise ValueError(f"nim lets a player take at most 1 to 100 stones at once, not {most}")
        self.most, self.bits = most, max(self.heaps).bit_length()
        self.record = np.dtype([("heaps", np.int16, len(self.heaps)), ("most", np.int16), ("turn", np.int16)])
        self.letters = ascii_lowercase[: len(self.heaps)] if len(self.heaps) > 1 else ("",)
        self.moves = tuple(f"{letter}{take + 1}" for letter in self.letters for take in range(most))
        # Each heap in binary, the lowest bit first; whether no stones are left.
        self.shape = (len(self.heaps) * self.bits + 1,)

    def setup(self, s: Any) -> None:
        s.heaps[:] = self.heaps
        s.most = self.most

    @staticmethod
    def mover(s: Any) -> int:
        for heap in s.heaps:
            if heap:
                return s.turn  # type: ignore[no-any-return]
        return OVER

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(out.shape[0]):
            out[a] = s.heaps[a // s.most] > a % s.most

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        s.heaps[a // s.most] -= a % s.most + 1
        left = 0
        for heap in s.heaps:
            left |= heap
        if left == 0:
            pay[s.turn] += 1
            pay[1 - s.turn] -= 1
        s.turn = 1 - s.turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        bits, left = (out.shape[0] - 1) // s.heaps.shape[0], 0
        for i in range(bits * s.heaps.shape[0]):
            out[i] = (s.heaps[i // bits] >> (i % bits)) & 1
            left |= s.heaps[i // bits]
        out[-1] = left == 0

    def describe(self, s: Any, seat: int) -> str:
        if len(self.heaps) == 1:
            return "1 stone is left." if s.heaps[0] == 1 else f"{s.heaps[0]} stones are left."
        left = ", ".join(f"{letter} {heap}" for letter, heap in zip(self.letters, s.heaps, strict=True))
        return f"Stones left in each heap: {left}."
