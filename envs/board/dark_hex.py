"""Dark hex: hex without seeing the other's stones."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.envs.board.hex import FIRST, SECOND, joined


@register("dark_hex")
class DarkHex(ArrayGame):
    """Dark hex: hex in which neither player sees the other's stones.

    player_0 plays x and moves first, player_1 plays o. In turn each tries a cell that it does not know to be
    taken. If it is free, a stone is put there. If it is not, its player learns so and tries again; in the abrupt
    version the turn is lost. Cells are named a1 and so on: letters are columns, numbers rows from the top. A cell
    touches those left and right of it, those above it and above to the right, and those below it and below to the
    left. player_0 wins by joining top and bottom with a chain of own stones, player_1 by joining left and right.

    Source: the rules are those of OpenSpiel's dark_hex (obstype=reveal-nothing, gameversion cdh or adh), and a seat
    knows what its information_state_tensor tells. Value to player_0 on three by three cells: 1, in the abrupt
    version .3844 (Rudolph et al. 2025, arXiv 2502.08938).

    Args:
        size: rows and columns.
        abrupt: whether a try at a taken cell costs the turn.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    version = 2

    def __init__(self, size: int = 3, abrupt: bool = False) -> None:
        if not 2 <= size <= 11:
            raise ValueError(f"dark hex needs 2 to 11 rows and columns, not {size}")
        self.size, self.abrupt = size, abrupt
        cells = size * size
        self.record = np.dtype(
            [("cells", np.int8, (size, size)), ("path", np.int16, cells), ("known", np.int8, (2, cells)),
             ("tries", np.int16, (2, cells)), ("count", np.int16, 2), ("turn", np.int8), ("over", np.int8),
             ("abrupt", np.int8)]
        )  # fmt: skip
        self.moves = tuple(f"{ascii_lowercase[c]}{r + 1}" for r in range(size) for c in range(size))
        # Own stones, the other's as far as known, unknown cells; own tries in order; whether it is player_0's view.
        self.shape = (3 * cells + cells * cells + 1,)

    def setup(self, s: Any) -> None:
        s.abrupt = self.abrupt

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(out.shape[0]):
            out[a] = s.known[seat, a] == 0

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        size, turn = s.cells.shape[0], s.turn
        s.tries[turn, s.count[turn]] = a + 1
        s.count[turn] += 1
        taken = s.cells[a // size, a % size]
        if taken:
            s.known[turn, a] = 2 - turn
            s.turn = 1 - turn if s.abrupt else turn
            return
        s.known[turn, a] = turn + 1
        if joined(s, a // size, a % size, turn) == FIRST + SECOND:
            s.over = 1
            pay[turn] += 1
            pay[1 - turn] -= 1
        s.turn = 1 - turn

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        cells = s.known.shape[1]
        for a in range(cells):
            stone = s.known[seat, a]
            out[a] = stone == seat + 1
            out[cells + a] = stone == 2 - seat
            out[2 * cells + a] = stone == 0
        for i in range(s.count[seat]):
            out[3 * cells + cells * i + s.tries[seat, i] - 1] = 1
        out[3 * cells + cells * cells] = seat == 0

    def describe(self, s: Any, seat: int) -> str:
        known, tried = s.known[seat].tolist(), s.tries[seat, : s.count[seat]].tolist()
        rows = [
            " " * r
            + f"{r + 1:>2} "
            + " ".join(".xo"[cell] for cell in known[r * self.size : (r + 1) * self.size])
            for r in range(self.size)
        ]
        sides = ("top and bottom", "left and right")[seat]
        board = f"   {' '.join(ascii_lowercase[: self.size])}\n" + "\n".join(rows)
        told = ", ".join(self.moves[a - 1] for a in tried)
        return f"You play {'xo'[seat]} and join {sides}. What you know:\n{board}\nYour tries so far: {told or 'none'}."
