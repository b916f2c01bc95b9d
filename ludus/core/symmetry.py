"""Symmetries of games: ways to turn a position into another one that is worth the same to whoever is to move.

Learners may take each decision for any of its images (Silver et al. 2017, AlphaGo Zero, Nature 550, Methods).

Shape letters: F features, flattened; A moves; R rows, C columns of a board.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Symmetry(NamedTuple):
    """Where the entries of an image come from.

        image features = features[symmetry.features]        image legal = legal[symmetry.moves]

    Attributes:
        features: (F,) int64.
        moves: (A,) int64.
    """

    features: NDArray[np.int64]
    moves: NDArray[np.int64]


def cells(shape: Sequence[int]) -> NDArray[np.int64]:
    """The numbers (R, C) of a board's cells, for `of_board` once they are turned."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def turns(size: int) -> list[NDArray[np.int64]]:
    """A square's cells (R, C) in its seven other places: quarter turns, and mirrored."""
    grid = cells((size, size))
    every = [np.rot90(side, turn) for side in (grid, grid.T) for turn in range(4)]
    return every[1:]


def of_board(shape: Sequence[int], grid: NDArray[np.int64], moves: Any = None) -> Symmetry:
    """A board's cells put elsewhere, alike in all planes.

    Args:
        shape: of the features, (planes, R, C).
        grid: (R, C) which cell's content comes to stand where.
        moves: (A,) which move each move comes from; by default as cells, one move a cell.
    """
    planes = cells((shape[0], 1)) * grid.size + grid.reshape(1, -1)
    return Symmetry(planes.ravel(), np.asarray(grid if moves is None else moves, np.int64).ravel())
