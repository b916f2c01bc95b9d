"""Connect four, on boards of any size."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register


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

    def __init__(self, rows: int = 6, columns: int = 7) -> None:
        if not (4 <= rows <= 100 and 4 <= columns <= 100):
            raise ValueError(
                f"connect four needs from 4 to 100 rows and columns, not {rows} rows, {columns} columns"
            )
        # Squares hold 0 (free) or seat + 1; row 0 is the lowest.
        squares = ("squares", np.int8, (rows, columns))
        self.record = np.dtype([squares, ("height", np.int8, columns), ("turn", np.int8), ("over", np.int8)])
        self.moves = tuple(str(column + 1) for column in range(columns))
        self.shape = (3, rows, columns)  # planes: own discs, the other's, free places; the lowest row last

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(out.shape[0]):
            out[a] = s.height[a] < s.squares.shape[0]

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        rows, columns = s.squares.shape
        row, own = s.height[a], s.turn + 1
        s.squares[row, a] = own
        s.height[a] = row + 1
        full = True
        for column in range(columns):
            full = full and s.height[column] == rows
        won = False
        for up, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            length = 1
            for sign in (-1, 1):
                r, c = row + sign * up, a + sign * right
                while 0 <= r < rows and 0 <= c < columns and s.squares[r, c] == own:
                    length += 1
                    r, c = r + sign * up, c + sign * right
            won = won or length >= 4
        if won:
            pay[s.turn] += 1
            pay[1 - s.turn] -= 1
        s.over = won or full
        s.turn = 1 - s.turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        rows, columns = s.squares.shape
        for column in range(columns):
            for row in range(rows):
                plane = 2 if row >= s.height[column] else 0 if s.squares[row, column] == seat + 1 else 1
                out[plane, rows - 1 - row, column] = 1

    def describe(self, s: Any, seat: int) -> str:
        wide = len(self.moves[-1])
        lines = [
            " ".join(f"{'.xo'[square]:>{wide}}" for square in row) for row in reversed(s.squares.tolist())
        ]
        numbers = " ".join(f"{name:>{wide}}" for name in self.moves)
        return "\n".join((f"You play {'xo'[seat]}.", *lines, numbers))
