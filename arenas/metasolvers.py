"""Meta-solvers: how to mix the policies of a population, from what they earn against each other.

A meta-solver is a function of `pay` (2, N, M), what row player and column player earn where row plays its policy i and
column its policy j, and gives a mixture (N,) and a mixture (M,). `METASOLVERS` has them by name.

Shape letters: N row policies, M column policies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ludus.arenas.results import Array
from ludus.core.errors import ContractError

Mixtures: TypeAlias = tuple[Array, Array]
SAME = 1e-9  # payoffs and pivots that differ by less are equal


def uniform(pay: Array) -> Mixtures:
    """All policies alike, which makes population learning fictitious play of whole policies."""
    _, n, m = pay.shape
    return np.full(n, 1 / n), np.full(m, 1 / m)


def nash(pay: Array) -> Mixtures:
    """An equilibrium of a zero-sum matrix, by the simplex method.

    With all payoffs A above zero, column's mixture is y / sum(y) for the y >= 0 with A y <= 1 of the largest sum, and
    row's is proportional to the prices of these constraints. Bland's rule keeps ties from going round in circles.

    Raises:
        ContractError: the payoffs do not add up to the same everywhere.

    Source: G. B. Dantzig, "A proof of the equivalence of the programming problem and the game problem", 1951; R. G. Bland,
    "New finite pivoting rules for the simplex method", 1977.
    """
    if np.ptp(pay.sum(0)) > 1e-6:
        raise ContractError("meta_solver = 'nash' is for zero-sum games: take 'prd' or 'uniform' here")
    n, m = pay.shape[1:]
    above = pay[0] - pay[0].min() + 1.0
    table = np.block([[above, np.eye(n), np.ones((n, 1))], [-np.ones((1, m)), np.zeros((1, n + 1))]])
    basis = np.arange(m, m + n)
    while (entering := np.flatnonzero(table[-1, :-1] < -SAME)).size:
        _pivot(table, basis, int(entering[0]))
    column = np.zeros(n + m)
    column[basis] = np.maximum(table[:-1, -1], 0.0)
    row = np.maximum(table[-1, m : m + n], 0.0)
    return row / row.sum(), column[:m] / column[:m].sum()


def _pivot(table: Array, basis: Array, entering: int) -> None:
    """Bring a column into the basis, in the place of the tightest row; of equal ones, the first variable's."""
    slope, room = table[:-1, entering], table[:-1, -1]
    limit = np.full(len(room), np.inf)
    np.divide(room, slope, out=limit, where=slope > SAME)
    tight = np.flatnonzero(limit <= limit.min() + SAME)
    leaving = int(tight[basis[tight].argmin()])
    table[leaving] /= table[leaving, entering]
    factor = table[:, entering].copy()
    factor[leaving] = 0.0
    table -= factor[:, None] * table[leaving]
    basis[leaving] = entering


def prd(pay: Array, *, steps: int = 20_000, rate: float = 1e-2, least: float = 1e-10) -> Mixtures:
    """Projected replicator dynamics: shares grow with what they earn above the mean, and never below `least`.

    What comes back is the mean over the last half of the steps, for the dynamics go round an equilibrium.

    Args:
        pay: (2, N, M).
        steps: of Euler's method.
        rate: its step size.
        least: share of each policy at every step.

    Source: Lanctot et al. 2017, arXiv:1711.00832, section 3.1.
    """
    x, y = uniform(pay)
    total = [np.zeros_like(x), np.zeros_like(y)]
    for step in range(steps):
        row, column = pay[0] @ y, x @ pay[1]
        x = _projected(x + rate * x * (row - x @ row), least)
        y = _projected(y + rate * y * (column - y @ column), least)
        if 2 * step >= steps:
            total[0] += x
            total[1] += y
    return total[0] / total[0].sum(), total[1] / total[1].sum()


def _projected(x: Array, least: float) -> Array:
    """The nearest mixture whose shares are all at least `least`."""
    if x.min() >= least:
        inside: Array = x / x.sum()
        return inside
    room = 1 - least * len(x)
    ordered = np.sort(x - least)[::-1]
    excess = (np.cumsum(ordered) - room) / np.arange(1, len(x) + 1)
    shift: float = excess[np.flatnonzero(ordered > excess)[-1]]
    nearest: Array = np.maximum(x - least - shift, 0.0) + least
    return nearest


METASOLVERS: dict[str, Callable[[Array], Mixtures]] = {"nash": nash, "prd": prd, "uniform": uniform}
