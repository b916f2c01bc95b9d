"""Connect four, on boards of any size."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, numbered, of_board


@register("connect_four")
class ConnectFour(ArrayGame):
    """Connect four, on an upright board.

    player_0 plays x and moves first, player_1 plays o. In turn each drops a disc into a column that
    is not full; it falls to the lowest free square. Four own discs in a line, level, upright or
    slanting, win; a full board without them is a draw.

    Source: Howard Wexler and Ned Strongin, Milton Bradley 1974. On seven columns and six rows
    player_0 wins with best play (James Allen and Victor Allis, 1988).
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1

    def __init__(self, rows: int = 6, columns: int = 7) -> None:
        if not (4 <= rows <= 100 and 4 <= columns <= 60):
            raise ValueError(
                f"connect four needs 4 to 100 rows and 4 to 60 columns, not {rows} rows, {columns} columns"
            )
        # Each row of a player's discs is a number, column by column its bits; row 0 is the lowest.
        bits = np.int16 if columns < 15 else np.int64
        self.record = np.dtype(
            [("discs", bits, (2, rows)), ("height", np.int8, columns), ("left", np.int16), ("turn", np.int8),
             ("over", np.int8)]
        )  # fmt: skip
        self.moves = tuple(str(column + 1) for column in range(columns))
        self.shape = (3, rows, columns)  # planes: own discs, the other's, ones; the lowest row last

    def setup(self, s: Any) -> None:
        s.left = s.discs.shape[1] * len(self.moves)

    def symmetries(self) -> list[Symmetry]:
        mirrored = numbered(*self.shape[1:])[:, ::-1]
        return [of_board(self.shape, mirrored, numbered(len(self.moves))[::-1])]

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(out.shape[0]):
            out[a] = s.height[a] < s.discs.shape[1]

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        rows, row, turn = s.discs.shape[1], int(s.height[a]), s.turn
        level = int(s.discs[turn, row]) | (1 << a)
        s.discs[turn, row] = level
        s.height[a] = row + 1
        s.left -= 1
        lines = level & (level >> 1) & (level >> 2) & (level >> 3)
        lowest, highest = max(0, row - 3), min(row, rows - 4)  # of any four rows, this one among them
        if rows <= 8:  # or of all: that is sooner done, because the compiler knows how often
            lowest, highest = 0, rows - 4
        for low in range(lowest, highest + 1):
            first, second = int(s.discs[turn, low]), int(s.discs[turn, low + 1])
            third, fourth = int(s.discs[turn, low + 2]), int(s.discs[turn, low + 3])
            lines |= first & second & third & fourth
            lines |= first & (second >> 1) & (third >> 2) & (fourth >> 3)
            lines |= first & (second << 1) & (third << 2) & (fourth << 3)
        if lines:
            pay[turn] += 1
            pay[1 - turn] -= 1
        s.over = lines != 0 or s.left == 0
        s.turn = 1 - turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        rows, columns = out.shape[1:]
        out[2] = 1  # where the board is: convolutions see its edges, and no board is all zeros
        for row in range(rows):
            own, other = int(s.discs[seat, rows - 1 - row]), int(s.discs[1 - seat, rows - 1 - row])
            for column in range(columns):
                out[0, row, column], out[1, row, column] = (own >> column) & 1, (other >> column) & 1

    def describe(self, s: Any, seat: int) -> str:
        columns = len(self.moves)
        rows = [_row(own, other, columns) for own, other in zip(*s.discs.tolist(), strict=True)]
        return "\n".join((f"You play {'xo'[seat]}.", *reversed(rows), _numbers(columns)))


@functools.lru_cache(maxsize=4096)
def _row(own: int, other: int, columns: int) -> str:
    """A row of the board in signs, as wide as its columns' numbers."""
    wide = len(str(columns))
    return " ".join(f"{'.xo'[(own >> c & 1) + 2 * (other >> c & 1)]:>{wide}}" for c in range(columns))


@functools.cache
def _numbers(columns: int) -> str:
    """The columns' numbers, under the board."""
    wide = len(str(columns))
    return " ".join(f"{column + 1:>{wide}}" for column in range(columns))
