"""Checkers, on boards of up to eight by eight squares, held as bits."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.envs.board.othello import bits

# Bit 8 r + c is row r from the top, column c. Only dark squares are used, and a step over the left or right edge
# ends on a light one, so that no edge needs a mask.
ONE, NONE = np.uint64(1), np.uint64(0)
S1, S7, S9 = np.uint64(1), np.uint64(7), np.uint64(9)
WAYS = ("nw", "ne", "se", "sw")  # a way and its opposite differ by two
IDLE = 40


@register("checkers")
class Checkers(ArrayGame):
    """Checkers, or English draughts, on the dark squares of a board whose top is north; a1 is at the bottom left.

    player_0 plays o from the three bottom rows and moves first, player_1 plays x from the three top rows. Men go one
    square slanting forward, kings (O, X) one square slanting any way, onto a free square. A piece takes a neighbour
    of the other by jumping over it onto the free square behind it. Who can take must take; who has taken goes on
    taking with the same piece, one jump a move, as long as it can. A man that reaches the far row becomes a king,
    which ends the turn. Moves are a square and a way: c3ne goes from c3 to d4, or takes d4 and lands on e5. Who cannot
    move loses. After 40 moves in a row without taking the game is drawn.

    Source: the rules are those of OpenSpiel's checkers. On eight by eight squares best play is a draw (Schaeffer et
    al., Science 2007).

    Args:
        rows: 7 or 8.
        columns: 4, 6 or 8.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1
    # far: where each seat's men become kings; ways: the pieces that may move each way; taking: whether they jump;
    # idle: moves since something was taken.
    record = np.dtype(
        [("pieces", np.uint64, 2), ("kings", np.uint64), ("board", np.uint64), ("far", np.uint64, 2),
         ("ways", np.uint64, 4), ("taking", np.int8), ("idle", np.int8), ("columns", np.int8),
         ("turn", np.int8), ("over", np.int8)]
    )  # fmt: skip

    def __init__(self, rows: int = 8, columns: int = 8) -> None:
        if rows not in (7, 8) or columns not in (4, 6, 8):
            raise ValueError(f"checkers needs 7 or 8 rows and 4, 6 or 8 columns, not {rows} and {columns}")
        self.rows, self.columns = rows, columns
        self.squares = [(r, c) for r in range(rows) for c in range(columns) if (r + c) % 2]
        self.moves = tuple(f"{self._name(r, c)}{way}" for r, c in self.squares for way in WAYS)
        # Planes: own men, own kings, the other's men and kings, squares whose piece may move now; all 1 for player_0;
        # moves since something was taken.
        self.shape = (7, rows, columns)

    def _name(self, r: int, c: int) -> str:
        return f"{ascii_lowercase[c]}{self.rows - r}"

    def setup(self, s: Any) -> None:
        places = {(r, c): 1 << (8 * r + c) for r, c in self.squares}
        s.board, s.columns = np.uint64(sum(places.values())), self.columns
        s.pieces[0] = np.uint64(sum(bit for (r, _), bit in places.items() if r >= self.rows - 3))
        s.pieces[1] = np.uint64(sum(bit for (r, _), bit in places.items() if r < 3))
        s.far[0], s.far[1] = np.uint64(0xFF), np.uint64(0xFF << 8 * (self.rows - 1))
        look(s, s.pieces[0])

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        half = s.columns // 2
        for way in range(4):
            ahead = s.ways[way]
            while ahead != NONE:
                square = lowest(ahead)
                out[4 * (square // 8 * half + square % 8 // 2) + way] = 1
                ahead &= ahead - ONE

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        half, turn, way = s.columns // 2, s.turn, a % 4
        row, column = a // 4 // half, a // 4 % half
        start = ONE << np.uint64(8 * row + 2 * column + 1 - row % 2)
        end, taken, kings = stepped(start, way), NONE, np.uint64(s.kings)
        if s.taking:
            end, taken = stepped(end, way), end
        crowned = kings & start == NONE and end & s.far[turn] != NONE
        if kings & start != NONE or crowned:
            kings |= end
        s.kings = kings & ~(start | taken)
        s.pieces[turn] = s.pieces[turn] & ~start | end
        s.pieces[1 - turn] &= ~taken
        if s.taking:
            s.idle = 0
            if not crowned and look(s, end) and s.taking:
                return
        else:
            s.idle += 1
        s.turn = 1 - turn
        if not look(s, s.pieces[1 - turn]) or s.idle == IDLE:
            s.over = 1
            s.ways[:] = NONE
            if s.idle < IDLE:
                pay[turn] += 1
                pay[1 - turn] -= 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        own, other, kings = s.pieces[seat], s.pieces[1 - seat], np.uint64(s.kings)
        free = s.ways[0] | s.ways[1] | s.ways[2] | s.ways[3] if seat == s.turn else NONE
        for r in range(out.shape[1]):
            for c in range(1 - r % 2, out.shape[2], 2):
                bit = np.uint64(8 * r + c)
                crowned = (kings >> bit) & ONE
                out[0, r, c] = (own >> bit) & ONE & ~crowned
                out[1, r, c] = (own >> bit) & crowned
                out[2, r, c] = (other >> bit) & ONE & ~crowned
                out[3, r, c] = (other >> bit) & crowned
                out[4, r, c] = (free >> bit) & ONE
        if seat == 0:
            out[5, :, :] = 1
        out[6, :, :] = s.idle

    def describe(self, s: Any, seat: int) -> str:
        rows = [["."] * self.columns for _ in range(self.rows)]
        can = int(s.ways[0] | s.ways[1] | s.ways[2] | s.ways[3]) if seat == s.turn else 0
        movable = []
        for r, c in self.squares:
            bit = 8 * r + c
            king = int(s.kings) >> bit & 1
            for k, letters in enumerate(("oO", "xX")):
                if int(s.pieces[k]) >> bit & 1:
                    rows[r][c] = letters[king]
            if can >> bit & 1:
                movable.append(self._name(r, c))
        board = "\n".join(f"{self.rows - r} " + " ".join(row) for r, row in enumerate(rows))
        told = f"You play {'oO' if seat == 0 else 'xX'} and go {('up', 'down')[seat]}."
        if movable:
            told += f" Now you may {'take' if s.taking else 'move'} with {', '.join(movable)}."
        told += f" Moves since a piece was taken: {s.idle} of {IDLE}."
        return f"{told}\n{board}\n  {' '.join(ascii_lowercase[: self.columns])}"


def lowest(board: Any) -> int:
    """The number of the lowest bit that is set."""
    return bits(~board & (board - ONE))


def stepped(board: Any, way: int) -> Any:
    """All squares of a board, one step on in one of four ways."""
    if way == 0:
        return board >> S9
    if way == 1:
        return board >> S7
    if way == 2:
        return board << S9
    return board << S7


def look(s: Any, movers: Any) -> bool:
    """Write down which of these pieces of the player to move may move each way; whether any may."""
    other, kings = s.pieces[1 - s.turn], movers & np.uint64(s.kings)
    free = np.uint64(s.board) & ~(s.pieces[s.turn] | other)
    for jump in (1, 0):
        found = NONE
        for way in range(4):
            start = stepped(free, way ^ 2)
            if jump:
                start = stepped(start & other, way ^ 2)
            s.ways[way] = start & (movers if (way < 2) == (s.turn == 0) else kings)
            found |= s.ways[way]
        s.taking = jump
        if found != NONE:
            return True
    return False
