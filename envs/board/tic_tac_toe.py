"""Tic-tac-toe."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register


@register("tic_tac_toe")
class TicTacToe(ArrayGame):
    """Tic-tac-toe, on a board of three by three squares, numbered 1 to 9 row by row.

    player_0 plays x and moves first, player_1 plays o. In turn each marks a free square. Three own
    marks in a row, a column or a diagonal win; a full board without them is a draw.

    Source: folklore. With best play it is a draw; 5,478 positions can be reached.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    record = np.dtype([("marks", np.int16, 2), ("turn", np.int8), ("over", np.int8)])
    moves = tuple("123456789")
    shape = (3, 3, 3)  # planes: own marks, the other's, free squares: no board is all zeros

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        taken = s.marks[0] | s.marks[1]
        for a in range(9):
            out[a] = 1 - ((taken >> a) & 1)

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        m = s.marks[s.turn] | (1 << a)
        s.marks[s.turn] = m
        # Octal digits are rows: 7 is a full row, 111 a column, 421 and 124 the diagonals.
        row = (m & 0o7) == 0o7 or (m & 0o70) == 0o70 or (m & 0o700) == 0o700
        column = (m & 0o111) == 0o111 or (m & 0o222) == 0o222 or (m & 0o444) == 0o444
        if row or column or (m & 0o421) == 0o421 or (m & 0o124) == 0o124:
            pay[s.turn] += 1
            pay[1 - s.turn] -= 1
            s.over = 1
        elif (s.marks[0] | s.marks[1]) == 0o777:
            s.over = 1
        s.turn = 1 - s.turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        own, other = s.marks[seat], s.marks[1 - seat]
        for a in range(9):
            out[0, a // 3, a % 3] = (own >> a) & 1
            out[1, a // 3, a % 3] = (other >> a) & 1
            out[2, a // 3, a % 3] = 1 - (((own | other) >> a) & 1)

    def describe(self, s: Any, seat: int) -> str:
        squares = [
            "x" if s.marks[0] >> a & 1 else "o" if s.marks[1] >> a & 1 else self.moves[a] for a in range(9)
        ]
        board = "\n".join(" ".join(squares[i : i + 3]) for i in (0, 3, 6))
        return f"You play {'xo'[seat]}.\n{board}"
