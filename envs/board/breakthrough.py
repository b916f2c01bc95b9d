"""Breakthrough: reach the other side."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, numbered, of_board


@register("breakthrough")
class Breakthrough(ArrayGame):
    """Breakthrough, on a board of squares named a1 and so on: letters are columns, numbers rows from the bottom.

    player_0 plays x from the two top rows downwards and moves first, player_1 plays o from the two bottom rows
    upwards. In turn each moves one piece one row forward, straight or slanting, onto a free square; slanting it may
    also take a piece of the other. Who brings a piece to the far row, or takes the other's last piece, wins.

    Source: Dan Troyka 2000; the rules are those of OpenSpiel's breakthrough.

    Args:
        rows: at least 4.
        columns: at least 2.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1

    def __init__(self, rows: int = 8, columns: int = 8) -> None:
        if not (4 <= rows <= 26 and 2 <= columns <= 26):
            raise ValueError(f"breakthrough needs 4 to 26 rows and 2 to 26 columns, not {rows} and {columns}")
        self.rows, self.columns = rows, columns
        self.record = np.dtype(  # row 0 is the top; squares hold 0 or seat + 1
            [
                ("squares", np.int8, (rows, columns)),
                ("pieces", np.int16, 2),
                ("turn", np.int8),
                ("over", np.int8),
            ]
        )
        # A move is a square and a direction as the board is looked at: to the left, straight on, to the right.
        self.moves = tuple(
            f"{ascii_lowercase[c]}{rows - r}{way}"
            for r in range(rows)
            for c in range(columns)
            for way in "<^>"
        )
        self.shape = (
            3,
            rows,
            columns,
        )  # planes: own pieces, the other's, free; the mover looks down the board

    def setup(self, s: Any) -> None:
        for row in range(2):
            for column in range(self.columns):
                s.squares[row, column] = 1
                s.squares[self.rows - 1 - row, column] = 2
        s.pieces[:] = 2 * self.columns

    def symmetries(self) -> list[Symmetry]:
        mirrored = numbered(self.rows, self.columns)[:, ::-1]
        return [of_board(self.shape, mirrored, numbered(self.rows, self.columns, 3)[:, ::-1, ::-1])]

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        rows, columns = s.squares.shape
        ahead, own = 1 - 2 * seat, seat + 1
        for r in range(rows):
            if not 0 <= r + ahead < rows:
                continue
            for c in range(columns):
                if s.squares[r, c] == own:
                    a = 3 * (r * columns + c)
                    if c > 0:
                        out[a] = s.squares[r + ahead, c - 1] != own
                    out[a + 1] = s.squares[r + ahead, c] == 0
                    if c < columns - 1:
                        out[a + 2] = s.squares[r + ahead, c + 1] != own

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        rows, columns = s.squares.shape
        turn = s.turn
        r, c = a // 3 // columns, a // 3 % columns
        row, column = r + 1 - 2 * turn, c + a % 3 - 1
        if s.squares[row, column]:
            s.pieces[1 - turn] -= 1
        s.squares[r, c] = 0
        s.squares[row, column] = turn + 1
        if row == (rows - 1 if turn == 0 else 0) or s.pieces[1 - turn] == 0:
            s.over = 1
            pay[turn] += 1
            pay[1 - turn] -= 1
        s.turn = 1 - turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        rows, columns = s.squares.shape
        for r in range(rows):
            row = r if seat == 0 else rows - 1 - r
            for c in range(columns):
                piece = s.squares[row, c]
                out[0, r, c] = piece == seat + 1
                out[1, r, c] = piece == 2 - seat
                out[2, r, c] = piece == 0

    def describe(self, s: Any, seat: int) -> str:
        board = [
            f"{self.rows - r:>2} " + " ".join(".xo"[piece] for piece in row)
            for r, row in enumerate(s.squares.tolist())
        ]
        way = ("down", "up")[seat]
        letters = " ".join(ascii_lowercase[: self.columns])
        return f"You play {'xo'[seat]} and move {way}.\n" + "\n".join(board) + f"\n   {letters}"
