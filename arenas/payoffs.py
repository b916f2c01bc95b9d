"""Payoff tables: what each agent earns against each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ludus.arenas.results import Array, Estimate, Tally, interval, ratio, tally
from ludus.core.episode import Episode


@dataclass(frozen=True, slots=True, eq=False)
class Payoffs:
    """Row's mean payoff a game against column, with its 95 % interval.

    Attributes:
        agents: names of rows and columns (M).
        mean, low, high: (M, M), nan where the two never met.
        games: (M, M) how many games stand behind each cell.
    """

    agents: tuple[str, ...]
    mean: Array
    low: Array
    high: Array
    games: Array

    def cell(self, row: str, column: str) -> Estimate:
        """One cell."""
        i, j = self.agents.index(row), self.agents.index(column)
        return Estimate(float(self.mean[i, j]), float(self.low[i, j]), float(self.high[i, j]))

    def ordered(self, agents: Iterable[str]) -> Payoffs:
        """The same table with rows and columns in the given order."""
        order = [self.agents.index(name) for name in agents]
        pick = np.ix_(order, order)
        names = tuple(self.agents[i] for i in order)
        return Payoffs(names, self.mean[pick], self.low[pick], self.high[pick], self.games[pick])


def payoffs(episodes: Iterable[Episode] | Tally, *, resamples: int = 1000, seed: int = 0) -> Payoffs:
    """The payoff table of rated games; intervals resample seeds.

    Args:
        episodes: games of one sort, or their tally.
        resamples: how many times the seeds are drawn again.
        seed: of those draws.
    """
    sums = episodes if isinstance(episodes, Tally) else tally(episodes)
    met = sums.met.sum(0)
    mean = ratio(sums.against.sum(0), met)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    if len(sums.seeds) > 1:
        drawn = sums.weights(resamples, seed)
        i, j = np.nonzero(met)
        low[i, j], high[i, j] = interval(ratio(drawn @ sums.against[:, i, j], drawn @ sums.met[:, i, j]))
    return Payoffs(sums.agents, mean, low, high, met)
