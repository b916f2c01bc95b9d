"""Hex: connect two opposite sides of a board of hexagons."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, numbered, of_board

ROWS, COLUMNS = (-1, -1, 0, 0, 1, 1), (0, 1, -1, 1, -1, 0)  # the six neighbours of a cell
FIRST, SECOND = 4, 8  # a stone is joined to its player's first side (top or left), to the second


@register("hex")
class Hex(ArrayGame):
    """Hex, on a rhombus of hexagonal cells, named a1 and so on: letters are columns, numbers rows from the top.

    player_0 plays x and moves first, player_1 plays o. In turn each puts a stone on a free cell. A cell touches
    those left and right of it, those above it and above to the right, and those below it and below to the left.
    player_0 wins by joining top and bottom with a chain of own stones, player_1 by joining left and right. There
    are no draws. With the swap rule, the second player may answer the first stone by taking it over: it becomes
    theirs, mirrored on the diagonal a1, b2, ...

    Source: Piet Hein 1942, John Nash 1948; without swap the rules are those of OpenSpiel's hex. The first
    player wins (Nash).

    Args:
        size: rows and columns.
        swap: whether the second player may take over the first stone.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1

    def __init__(self, size: int = 11, swap: bool = False) -> None:
        if not 2 <= size <= 26:
            raise ValueError(f"hex needs 2 to 26 rows and columns, not {size}")
        self.size, self.swap = size, swap
        # Cells hold 0 or seat + 1, and which sides the stone is joined to; the path is empty between moves.
        self.record = np.dtype(
            [("cells", np.int8, (size, size)), ("path", np.int16, size * size), ("count", np.int16),
             ("over", np.int8), ("swap", np.int8)]
        )  # fmt: skip
        cells = tuple(f"{ascii_lowercase[c]}{r + 1}" for r in range(size) for c in range(size))
        self.moves = (*cells, "swap") if swap else cells
        self.shape = (
            5,
            size,
            size,
        )  # planes: own stones, the other's, free; all 1 for player_0; all 1 if swap may be

    def setup(self, s: Any) -> None:
        s.swap = self.swap

    def symmetries(self) -> list[Symmetry]:
        half_turn = numbered(self.size, self.size)[::-1, ::-1]
        return [of_board(self.shape, half_turn, further=int(self.swap))]

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.count % 2

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        size = s.cells.shape[0]
        for r in range(size):
            for c in range(size):
                out[r * size + c] = s.cells[r, c] == 0
        if s.swap and s.count == 1:
            out[size * size] = 1

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        size, seat = s.cells.shape[0], s.count % 2
        s.count += 1
        r, c = a // size, a % size
        if a == size * size:
            for cell in range(size * size):
                if s.cells[cell // size, cell % size]:
                    r, c = cell % size, cell // size
                    s.cells[c, r] = 0
        if joined(s, r, c, seat) == FIRST + SECOND:
            s.over = 1
            pay[seat] += 1
            pay[1 - seat] -= 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        size = s.cells.shape[0]
        for r in range(size):
            for c in range(size):
                stone = s.cells[r, c] & 3
                out[0, r, c] = stone == seat + 1
                out[1, r, c] = stone == 2 - seat
                out[2, r, c] = stone == 0
        if seat == 0:
            out[3, :, :] = 1
        if s.swap and s.count == 1:
            out[4, :, :] = 1

    def describe(self, s: Any, seat: int) -> str:
        letters = " ".join(ascii_lowercase[: self.size])
        rows = [
            " " * r + f"{r + 1:>2} " + " ".join(".xo"[cell & 3] for cell in row)
            for r, row in enumerate(s.cells.tolist())
        ]
        sides = ("top and bottom", "left and right")[seat]
        told = f"You play {'xo'[seat]} and join {sides}.\n   {letters}\n" + "\n".join(rows)
        return told + ("\nYou may swap." if s.swap and s.count == 1 and seat == 1 else "")


def joined(s: Any, r: int, c: int, seat: int) -> int:
    """Put a stone; tell its whole chain which sides it is joined to, and return those."""
    size = s.cells.shape[0]
    at = r if seat == 0 else c
    sides = (FIRST if at == 0 else 0) | (SECOND if at == size - 1 else 0)
    for k in range(6):
        row, column = r + ROWS[k], c + COLUMNS[k]
        if 0 <= row < size and 0 <= column < size and s.cells[row, column] & 3 == seat + 1:
            sides |= s.cells[row, column] & (FIRST + SECOND)
    s.cells[r, c] = seat + 1 + sides
    if sides == 0:
        return 0
    s.path[0] = r * size + c
    high = 1
    while high > 0:
        high -= 1
        cell = s.path[high]
        s.path[high] = 0
        for k in range(6):
            row, column = cell // size + ROWS[k], cell % size + COLUMNS[k]
            if not (0 <= row < size and 0 <= column < size):
                continue
            stone = s.cells[row, column]
            if stone & 3 == seat + 1 and stone & sides != sides:
                s.cells[row, column] = stone | sides
                s.path[high] = row * size + column
                high += 1
    return sides
