"""What rated games say, as arrays: the one form that ratings and payoff tables are computed from.

Shape letters: D seeds, M agents, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.episode import Episode

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure with its 95 % interval; `low` and `high` are nan where one seed is all there is."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over games, kept apart by seed, because seeds are what intervals resample.

    Attributes:
        agents: the names (M).
        seeds: the seeds (D).
        games: (D, M) games played.
        earned: (D, M) payoff in them; of an agent in several seats, the mean of its seats.
        met: (D, M, M) games in which i met j.
        against: (D, M, M) payoff of i in those.
        won: (D, M, M) points of i against j: one for earning more, half for earning the same.
    """

    agents: tuple[str, ...]
    seeds: tuple[int, ...]
    games: Array
    earned: Array
    met: Array
    against: Array
    won: Array

    def weights(self, resamples: int, seed: int) -> Array:
        """How often each seed is drawn in each resample: (R, D) integers that sum to D in a row."""
        d = len(self.seeds)
        return (
            np.random.default_rng(seed).multinomial(d, np.full(d, 1 / d), size=resamples).astype(np.float64)
        )


def rated(episode: Episode) -> bool:
    """Whether a game counts: those in which machinery broke do not."""
    return episode.end != "error" and bool(episode.returns)


def earnings(episode: Episode) -> dict[str, float]:
    """What each agent earned: the mean of the seats it sat in. Crew earns nothing and is left out."""
    by_agent: dict[str, list[float]] = {}
    for seat, agent in episode.lineup.items():
        if seat in episode.returns:
            by_agent.setdefault(agent, []).append(float(episode.returns[seat]))
    return {agent: sum(paid) / len(paid) for agent, paid in by_agent.items()}


def tally(episodes: Iterable[Episode], *, agents: Sequence[str] = ()) -> Tally:
    """Count rated games; `agents` fixes the order of names, by default alphabetical."""
    scored = [(e.match.seed, earnings(e)) for e in episodes if rated(e)]
    names = tuple(agents) or tuple(sorted({name for _, earned in scored for name in earned}))
    seeds = tuple(sorted({seed for seed, _ in scored}))
    row, column = {s: d for d, s in enumerate(seeds)}, {name: i for i, name in enumerate(names)}
    d, m = len(seeds), len(names)
    sums = Tally(
        names, seeds, games=np.zeros((d, m)), earned=np.zeros((d, m)), met=np.zeros((d, m, m)),
        against=np.zeros((d, m, m)), won=np.zeros((d, m, m)),
    )  # fmt: skip
    for seed, earned in scored:
        _count(sums, row[seed], {column[name]: paid for name, paid in earned.items()})
    return sums


def _count(sums: Tally, d: int, earned: dict[int, float]) -> None:
    for i, paid in earned.items():
        sums.games[d, i] += 1
        sums.earned[d, i] += paid
        for j, other in earned.items():
            if i != j:
                sums.met[d, i, j] += 1
                sums.against[d, i, j] += paid
                sums.won[d, i, j] += 0.5 + 0.5 * np.sign(paid - other)


def interval(draws: Array, *, axis: int = 0) -> tuple[Array, Array]:
    """The middle 95 % of resampled figures; nan where a resample met nobody is passed over."""
    low, high = np.nanquantile(draws, (0.025, 0.975), axis=axis)
    return low, high


def ratio(above: Array, below: Array) -> Array:
    """The quotient, nan where nothing was played."""
    out: Array = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=np.asarray(below) > 0)
    return out
