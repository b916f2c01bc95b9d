"""Tic-tac-toe."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.errors import UnknownName
from ludus.core.game import Game, Seat
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, of_board, rotations

TEXTS = ("plain", "textarena")
_TEXTARENA = """Tic-tac-toe, on a board of three by three squares, numbered 0 to 8 row by row.

player_0 plays O and moves first, player_1 plays X. In turn each marks a free square. Three own
marks in a row, a column or a diagonal win; a full board without them is a draw."""


@register("tic_tac_toe")
class TicTacToe(ArrayGame):
    """Tic-tac-toe, on a board of three by three squares, numbered 1 to 9 row by row.

    player_0 plays x and moves first, player_1 plays o. In turn each marks a free square. Three own
    marks in a row, a column or a diagonal win; a full board without them is a draw.

    Source: folklore. With best play it is a draw; 5,478 positions can be reached. The form of the
    other text is that of TextArena's TicTacToe-v0 (Guertler et al., 2025, arXiv 2504.11442).

    Args:
        text: how it is told: "plain", or "textarena": squares 0 to 8, O moves first, a drawn board
            and the moves that are left.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    record = np.dtype([("marks", np.int16, 2), ("turn", np.int8), ("over", np.int8)])
    moves = tuple("123456789")
    shape = (3, 3, 3)  # planes: own marks, the other's, free squares: no board is all zeros

    def __init__(self, text: str = "plain") -> None:
        if text not in TEXTS:
            raise UnknownName("text of tic_tac_toe", text, TEXTS)
        self.textarena = text == "textarena"
        self.marks = "OX" if self.textarena else "xo"
        if self.textarena:
            self.moves = tuple("012345678")

    def symmetries(self) -> list[Symmetry]:
        return [of_board(self.shape, grid) for grid in rotations(3)]

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
        squares = list(self.moves)
        for a in range(9):
            for player in (0, 1):
                if s.marks[player] >> a & 1:
                    squares[a] = self.marks[player]
        rows = [squares[i : i + 3] for i in (0, 3, 6)]
        if not self.textarena:
            return f"You play {self.marks[seat]}.\n" + "\n".join(map(" ".join, rows))
        board = "\n---+---+---\n".join(f" {' | '.join(row)} " for row in rows)
        free = "" if s.over else ", ".join(f"'[{square}]'" for square in squares if square in self.moves)
        return f"You play {self.marks[seat]}.\n\n{board}\n\nAvailable Moves: {free or 'none'}"

    def rules(self, seat: Seat) -> str:
        return _TEXTARENA if self.textarena else Game.rules(self, seat)
