"""Dots and boxes: who closes a box has it, and moves again."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register


@register("dots_and_boxes")
class DotsAndBoxes(ArrayGame):
    """Dots and boxes, on a grid of dots.

    In turn, player_0 first, each draws a line between two neighbouring dots, level or upright. Who draws the fourth
    side of a box owns it, and draws again. When all lines are drawn, whoever owns more boxes wins. Level lines are
    h1-1 and so on: row of dots from the top, and column of boxes; upright ones v1-1: row of boxes, and column of dots.

    Source: Edouard Lucas 1889; the rules are those of OpenSpiel's dots_and_boxes.

    Args:
        rows: of boxes.
        columns: of boxes.
        margin: whether what one wins is by how many boxes.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1

    def __init__(self, rows: int = 2, columns: int = 2, margin: bool = False) -> None:
        if not (1 <= rows <= 20 and 1 <= columns <= 20):
            raise ValueError(f"dots and boxes needs 1 to 20 rows and columns, not {rows} and {columns}")
        self.rows, self.columns, self.margin = rows, columns, margin
        self.stake = float(rows * columns) if margin else 1.0
        level = [f"h{r + 1}-{c + 1}" for r in range(rows + 1) for c in range(columns)]
        upright = [f"v{r + 1}-{c + 1}" for r in range(rows) for c in range(columns + 1)]
        self.moves = (*level, *upright)
        self.record = np.dtype(
            [("lines", np.int8, len(self.moves)), ("boxes", np.int8, (rows, columns)), ("left", np.int16),
             ("ahead", np.int16), ("turn", np.int8), ("margin", np.int8)]
        )  # fmt: skip
        self.shape = (
            1 + len(self.moves) + 2 * rows * columns,
        )  # always 1; lines drawn; own boxes; the other's

    def setup(self, s: Any) -> None:
        s.left, s.margin = len(self.moves), self.margin

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.left == 0 else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(out.shape[0]):
            out[a] = 1 - s.lines[a]

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        rows, columns = s.boxes.shape
        level, turn = (rows + 1) * columns, s.turn
        s.lines[a] = 1
        s.left -= 1
        if a < level:  # the boxes above and below, or left and right
            r, c = a // columns, a % columns
            closed = close(s, r - 1, c) + close(s, r, c)
        else:
            r, c = (a - level) // (columns + 1), (a - level) % (columns + 1)
            closed = close(s, r, c - 1) + close(s, r, c)
        s.ahead += closed if turn == 0 else -closed
        if closed == 0:
            s.turn = 1 - turn
        if s.left == 0:
            ahead = int(s.ahead)
            won = ahead if s.margin else (ahead > 0) - (ahead < 0)
            pay[0] += won
            pay[1] -= won

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        rows, columns = s.boxes.shape
        lines = s.lines.shape[0]
        out[0] = 1
        for a in range(lines):
            out[1 + a] = s.lines[a]
        for r in range(rows):
            for c in range(columns):
                owner = s.boxes[r, c]
                out[1 + lines + r * columns + c] = owner == seat + 1
                out[1 + lines + (rows + r) * columns + c] = owner == 2 - seat

    def describe(self, s: Any, seat: int) -> str:
        lines, boxes = s.lines.tolist(), s.boxes.tolist()
        level = (self.rows + 1) * self.columns
        rows = []
        for r in range(self.rows + 1):
            drawn = lines[r * self.columns : (r + 1) * self.columns]
            rows.append("+" + "+".join("---" if line else "   " for line in drawn) + "+")
            if r < self.rows:
                first = level + r * (self.columns + 1)
                cells = [f" {' xo'[owner]} " for owner in boxes[r]] + [""]
                rows.append(
                    "".join(("|" if lines[first + c] else " ") + cells[c] for c in range(self.columns + 1))
                )
        return f"You play {'xo'[seat]}.\n" + "\n".join(rows)


def close(s: Any, r: int, c: int) -> int:
    """Give the mover a box if its four sides are drawn; whether it was given."""
    rows, columns = s.boxes.shape
    if not (0 <= r < rows and 0 <= c < columns):
        return 0
    top, left = r * columns + c, (rows + 1) * columns + r * (columns + 1) + c
    if s.lines[top] and s.lines[top + columns] and s.lines[left] and s.lines[left + 1]:
        s.boxes[r, c] = s.turn + 1
        return 1
    return 0
