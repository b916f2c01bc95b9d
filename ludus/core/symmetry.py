"""Symmetries of games: a position has images, other positions that are worth the same to whoever is to move.

Learners may take each decision for any of its images (Silver et al. 2017, AlphaGo Zero, Nature 550, Methods).

Shape letters: F features, flattened; A moves; C outcomes of chance; R x C cells of a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Symmetry(NamedTuple):
    """Where the entries of an image come from.

        image features = features[symmetry.features]        image legal = legal[symmetry.moves]

    Attributes:
        features: (F,) int64.
        moves: (A,) int64.
        outcomes: (C,) int64, likewise of chance; None where outcomes are their own images.
    """

    features: NDArray[np.int64]
    moves: NDArray[np.int64]
    outcomes: NDArray[np.int64] | None = None


def stacked(pairs: Iterable[Sequence[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Features (I, F) and moves (I, A) of all images, the position itself as number 0, from those of each symmetry."""
    features, moves = (
        np.stack([np.arange(len(part[0])), *part]) for part in zip(*(pair[:2] for pair in pairs), strict=True)
    )
    return features, moves


def numbered(*shape: int) -> NDArray[np.int64]:
    """The numbers of a board's cells (R, C), or of its moves, for `of_board` once they are turned."""
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)


def rotations(size: int) -> list[NDArray[np.int64]]:
    """A square's cells (R, C) in its seven other places: rotated, mirrored, or both."""
    grid = numbered(size, size)
    every = [np.rot90(side, quarters) for side in (grid, grid.T) for quarters in range(4)]
    return every[1:]


def of_board(
    shape: Sequence[int], grid: NDArray[np.int64], moves: NDArray[np.int64] | None = None, *, further: int = 0
) -> Symmetry:
    """A board's cells put elsewhere, alike in all planes.

    Args:
        shape: of the features, (planes, R, C).
        grid: (R, C) which cell's content comes to stand where.
        moves: which move each comes from, in any shape; by default as cells, one move a cell.
        further: moves behind those, such as a pass, that stay as they are.
    """
    planes = np.arange(shape[0])[:, None] * grid.size + grid.reshape(1, -1)
    places = np.ravel(grid if moves is None else moves)
    return Symmetry(planes.ravel(), np.concatenate([places, len(places) + np.arange(further)]))
