"""Othello, on boards of up to eight by eight squares, held as bits."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, numbered, of_board

# Bit 8 r + c is row r from the top, column c. A step leaves the board over an edge only where a mask forbids it.
ONE, NONE = np.uint64(1), np.uint64(0)
NOT_LEFT, NOT_RIGHT = np.uint64(0xFEFEFEFEFEFEFEFE), np.uint64(0x7F7F7F7F7F7F7F7F)
S1, S7, S8, S9 = np.uint64(1), np.uint64(7), np.uint64(8), np.uint64(9)


@register("othello")
class Othello(ArrayGame):
    """Othello, also called Reversi, on a board of squares named a1 and so on: letters are columns, numbers rows from the top.

    player_0 plays x and moves first, player_1 plays o. In turn each puts a disc on a free square such that at
    least one straight line of the other's discs, level, upright or slanting, is held between it and another own
    disc; all discs held so are turned over. Who can put no disc passes. When neither can, whoever has more discs
    wins.

    Source: the rules are those of OpenSpiel's othello. On eight by eight squares best play is a draw (Takizawa
    2023, arXiv 2310.19387).

    Args:
        size: rows and columns: 4, 6 or 8.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1
    record = np.dtype(
        [
            ("discs", np.uint64, 2),
            ("free", np.uint64),
            ("board", np.uint64),
            ("turn", np.int8),
            ("over", np.int8),
        ]
    )  # free: where the mover may put a disc

    def __init__(self, size: int = 8) -> None:
        if size not in (4, 6, 8):
            raise ValueError(f"othello needs 4, 6 or 8 rows and columns, not {size}")
        self.size = size
        self.moves = (*(f"{ascii_lowercase[c]}{r + 1}" for r in range(size) for c in range(size)), "pass")
        self.shape = (3, size, size)  # planes: own discs, the other's, where the mover may put one

    def setup(self, s: Any) -> None:
        half = self.size // 2
        s.board = np.uint64(sum(1 << (8 * r + c) for r in range(self.size) for c in range(self.size)))
        s.discs[0] = np.uint64(1 << (8 * (half - 1) + half) | 1 << (8 * half + half - 1))
        s.discs[1] = np.uint64(1 << (9 * (half - 1)) | 1 << (9 * half))
        s.free = placeable(s.discs[0], s.discs[1], np.uint64(s.board))

    def symmetries(self) -> list[Symmetry]:
        """Those that leave the first four discs in their colours: a half turn, and the mirrors on the diagonals."""
        grid = numbered(self.size, self.size)
        kept = grid[::-1, ::-1], grid.T, grid[::-1, ::-1].T
        return [of_board(self.shape, one, further=1) for one in kept]

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        size = side(out.shape[0])
        free = np.uint64(s.free)
        for r in range(size):
            for c in range(size):
                out[r * size + c] = (free >> np.uint64(8 * r + c)) & ONE
        out[size * size] = free == NONE

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        size, turn = 8 if s.board == ~NONE else 6 if s.board >> np.uint64(40) else 4, s.turn
        own, other, board = s.discs[turn], s.discs[1 - turn], np.uint64(s.board)
        if a < size * size:
            disc = ONE << np.uint64(8 * (a // size) + a % size)
            turned = taken(disc, own, other)
            own, other = own | turned | disc, other & ~turned
            s.discs[turn], s.discs[1 - turn] = own, other
        s.turn = 1 - turn
        s.free = placeable(other, own, board)
        if s.free == NONE and placeable(own, other, board) == NONE:
            s.over = 1
            first, second = bits(s.discs[0]), bits(s.discs[1])
            won = (first > second) - (first < second)
            pay[0] += won
            pay[1] -= won

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        size = out.shape[1]
        own, other = s.discs[seat], s.discs[1 - seat]
        free = np.uint64(s.free) if seat == s.turn else NONE
        for r in range(size):
            for c in range(size):
                out[0, r, c] = (own >> np.uint64(8 * r + c)) & ONE
            for c in range(size):
                out[1, r, c] = (other >> np.uint64(8 * r + c)) & ONE
            for c in range(size):
                out[2, r, c] = (free >> np.uint64(8 * r + c)) & ONE

    def describe(self, s: Any, seat: int) -> str:
        first, second, free = int(s.discs[0]), int(s.discs[1]), int(s.free) if seat == s.turn else 0
        rows = []
        for r in range(self.size):
            places = [8 * r + c for c in range(self.size)]
            row = [
                "x" if first >> b & 1 else "o" if second >> b & 1 else "*" if free >> b & 1 else "."
                for b in places
            ]
            rows.append(f"{r + 1} " + " ".join(row))
        told = f"You play {'xo'[seat]}; * is where you may put a disc now."
        return f"{told}\n  {' '.join(ascii_lowercase[: self.size])}\n" + "\n".join(rows)


def side(moves: int) -> int:
    """The size of the board of a game with so many moves."""
    return 8 if moves == 65 else 6 if moves == 37 else 4


def bits(board: Any) -> int:
    """How many bits are set."""
    b = board - ((board >> np.uint64(1)) & np.uint64(0x5555555555555555))
    b = (b & np.uint64(0x3333333333333333)) + ((b >> np.uint64(2)) & np.uint64(0x3333333333333333))
    b = (b + (b >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    b = b + (b >> np.uint64(8))
    b = b + (b >> np.uint64(16))
    return int((b + (b >> np.uint64(32))) & np.uint64(0x7F))


def ahead(board: Any, way: int) -> Any:
    """All squares of a board, a step on in one of eight directions."""
    if way == 0:
        return (board & NOT_RIGHT) << S1
    if way == 1:
        return (board & NOT_LEFT) >> S1
    if way == 2:
        return board << S8
    if way == 3:
        return board >> S8
    if way == 4:
        return (board & NOT_RIGHT) << S9
    if way == 5:
        return (board & NOT_LEFT) >> S9
    if way == 6:
        return (board & NOT_LEFT) << S7
    return (board & NOT_RIGHT) >> S7


def placeable(own: Any, other: Any, board: Any) -> Any:
    """Where a player may put a disc: at the end of a line of the other's discs that begins at an own one."""
    found = NONE
    for way in range(8):
        line = ahead(own, way) & other
        for _ in range(5):
            line |= ahead(line, way) & other
        found |= ahead(line, way)
    return found & board & ~(own | other)


def taken(disc: Any, own: Any, other: Any) -> Any:
    """The discs that a new disc turns over."""
    found = NONE
    for way in range(8):
        line = ahead(disc, way) & other
        for _ in range(5):
            line |= ahead(line, way) & other
        if ahead(line, way) & own:
            found |= line
    return found
