"""Phantom tic-tac-toe: tic-tac-toe without seeing the other's marks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register


@register("phantom_tic_tac_toe")
class PhantomTicTacToe(ArrayGame):
    """Phantom tic-tac-toe, on a board of three by three squares, numbered 1 to 9 row by row.

    player_0 plays x and moves first, player_1 plays o. Neither sees the other's marks. In turn each tries a
    square that it does not know to be taken. If it is free, it is marked. If it is not, its player learns so and
    tries again; in the abrupt version the turn is lost. Three own marks in a row, a column or a diagonal win; a
    full board without them is a draw.

    Source: the rules are those of OpenSpiel's phantom_ttt (obstype=reveal-nothing, gameversion classical or
    abrupt). Value to player_0: .6667, in the abrupt version .5502 (Rudolph et al. 2025, arXiv 2502.08938).

    Args:
        abrupt: whether a try at a taken square costs the turn.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    version = 2
    record = np.dtype(
        [("marks", np.int16, 2), ("known", np.int16, 2), ("tries", np.int8, (2, 9)), ("count", np.int8, 2),
         ("turn", np.int8), ("over", np.int8), ("abrupt", np.int8)]
    )  # fmt: skip
    moves = tuple("123456789")
    # Own marks, the other's as far as known, unknown squares (9 each); own tries in order (9 x 9); player_0's view or not.
    shape = (109,)

    def __init__(self, abrupt: bool = False) -> None:
        self.abrupt = abrupt

    def setup(self, s: Any) -> None:
        s.abrupt = self.abrupt

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        known = int(s.known[seat])
        for a in range(9):
            out[a] = 1 - ((known >> a) & 1)

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        turn, bit = s.turn, 1 << a
        s.known[turn] |= bit
        s.tries[turn, s.count[turn]] = a + 1
        s.count[turn] += 1
        if int(s.marks[1 - turn]) & bit:
            s.turn = 1 - turn if s.abrupt else turn
            return
        m = int(s.marks[turn]) | bit
        s.marks[turn] = m
        # Octal digits are rows: 7 is a full row, 111 a column, 421 and 124 the diagonals.
        row = (m & 0o7) == 0o7 or (m & 0o70) == 0o70 or (m & 0o700) == 0o700
        column = (m & 0o111) == 0o111 or (m & 0o222) == 0o222 or (m & 0o444) == 0o444
        if row or column or (m & 0o421) == 0o421 or (m & 0o124) == 0o124:
            pay[turn] += 1
            pay[1 - turn] -= 1
            s.over = 1
        elif (m | int(s.marks[1 - turn])) == 0o777:
            s.over = 1
        s.turn = 1 - turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        own, known = int(s.marks[seat]), int(s.known[seat])
        for a in range(9):
            out[a] = (own >> a) & 1
            out[9 + a] = ((known & ~own) >> a) & 1
            out[18 + a] = 1 - ((known >> a) & 1)
        for i in range(s.count[seat]):
            out[26 + 9 * i + s.tries[seat, i]] = 1
        out[108] = seat == 0

    def describe(self, s: Any, seat: int) -> str:
        own, known = int(s.marks[seat]), int(s.known[seat])
        marks = "xo" if seat == 0 else "ox"
        board = [
            marks[0] if own >> a & 1 else marks[1] if known >> a & 1 else self.moves[a] for a in range(9)
        ]
        tried = ", ".join(str(a) for a in s.tries[seat, : s.count[seat]].tolist())
        rows = "\n".join(" ".join(board[i : i + 3]) for i in (0, 3, 6))
        return f"You play {marks[0]}. What you know:\n{rows}\nYour tries so far: {tried or 'none'}."
