"""Ratings with intervals: mean payoff, and Bradley-Terry on the Elo scale.

Games of one seed share their cards, and every pairing meets the same seeds from both sides, so games
are not independent and seeds are: intervals resample seeds.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ludus.arenas.results import Array, Estimate, Tally, interval, ratio, tally
from ludus.core.episode import Episode

ELO = 400.0  # points that make the odds ten to one


def mean_payoff(
    episodes: Iterable[Episode] | Tally, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """What each agent earned a game, with the 95 % interval of resampled seeds.

    Args:
        episodes: games of one sort, or their tally.
        resamples: how many times the seeds are drawn again.
        seed: of those draws; the same episodes give the same interval.
    """
    sums = episodes if isinstance(episodes, Tally) else tally(episodes)
    mean = ratio(sums.earned.sum(0), sums.games.sum(0))
    if len(sums.seeds) < 2:
        return {name: Estimate(float(mean[i]), np.nan, np.nan) for i, name in enumerate(sums.agents)}
    drawn = sums.weights(resamples, seed)
    low, high = interval(ratio(drawn @ sums.earned, drawn @ sums.games))
    return {n: Estimate(float(mean[i]), float(low[i]), float(high[i])) for i, n in enumerate(sums.agents)}


def bradley_terry(
    episodes: Iterable[Episode] | Tally,
    *,
    prior: float = 1.0,
    centre: float = 1000.0,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Strengths that explain who beats whom: P(i beats j) = s_i / (s_i + s_j), on the Elo scale.

    Ties count half for each. What is rated is the sign of the difference in payoff, so a rating says who
    beats this field, by however little; see the mean payoff for how much.

    Args:
        episodes: games of one sort, or their tally.
        prior: drawn games that each agent is credited with, shared among the others, so that ratings
            stay finite and connected.
        centre: the mean rating of the field.
        resamples: how many times the seeds are drawn again.
        seed: of those draws.

    Source: Hunter 2004, "MM algorithms for generalized Bradley-Terry models", eq. 3.

    Example:
        >>> from ludus.core.episode import Episode
        >>> from ludus.core.match import Match
        >>> lineup = {"player_0": "a", "player_1": "b"}
        >>> won = Episode(Match("nim", lineup, seed=0), (), returns={"player_0": 1, "player_1": -1})
        >>> lost = Episode(Match("nim", lineup, seed=1), (), returns={"player_0": -1, "player_1": 1})
        >>> rating = bradley_terry([won, won, won, lost], prior=0)["a"].mean
        >>> round(rating - 1000, 1)  # half of 400 log10(3)
        95.4
    """
    sums = episodes if isinstance(episodes, Tally) else tally(episodes)
    m = len(sums.agents)
    if m < 2:
        return {name: Estimate(centre, np.nan, np.nan) for name in sums.agents}
    drawn_games = prior / (m - 1) / 2 * (1 - np.eye(m))
    point = _strengths(sums.won.sum(0)[None] + drawn_games, np.ones((1, m)))
    elo = centre + ELO * np.log10(point[0])
    if len(sums.seeds) < 2:
        return {name: Estimate(float(elo[i]), np.nan, np.nan) for i, name in enumerate(sums.agents)}
    won = np.tensordot(sums.weights(resamples, seed), sums.won, 1) + drawn_games
    low, high = interval(centre + ELO * np.log10(_strengths(won, np.repeat(point, resamples, 0))))
    return {n: Estimate(float(elo[i]), float(low[i]), float(high[i])) for i, n in enumerate(sums.agents)}


def _strengths(won: Array, start: Array, *, tolerance: float = 1e-6, most: int = 5000) -> Array:
    """(R, M) strengths of geometric mean one for (R, M, M) points won, by minorise-maximise.

    s_i <- W_i / sum_j n_ij / (s_i + s_j), all i at once, until no logarithm moves by `tolerance`.
    """
    strengths, wins, games = start, won.sum(2), won + won.swapaxes(1, 2)
    for _ in range(most):
        pairs = games / (strengths[:, :, None] + strengths[:, None, :])
        logs = np.log(np.maximum(wins, 1e-12)) - np.log(np.maximum(pairs.sum(2), 1e-300))
        logs -= logs.mean(1, keepdims=True)
        moved = np.abs(logs - np.log(strengths)).max()
        strengths = np.exp(logs)
        if moved < tolerance:
            break
    return strengths
