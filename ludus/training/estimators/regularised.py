"""Credit in games of two players, zero sum, whose rewards are regularised: the v-trace of R-NaD.

Each player pays for leaving a reference policy and is paid for it by the other, so that the game stays zero-sum:

    r'(s, a) = r(s, a) - eta log pi(a | s) / pi_ref(a | s)     where the player moves itself
    r'(s, a) = r(s, a) + eta log pi(a | s) / pi_ref(a | s)     where the other one does

Of both the expectation over the legal moves is taken, which is the divergence from the reference.

Shape letters: N decisions, E episodes, L decisions of the longest, K = 2 players.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError
from ludus.core.ledger import Ledger
from ludus.training.estimators.credit import Credit, estimator, share

Floats = NDArray[np.float64]


@estimator("v_trace", needs=("old", "divergence"))
def v_trace(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    regularisation: float = 0.2,
    trace: float = 1.0,
    most_trace: float = 1.0,
    most_ratio: float = math.inf,
) -> Credit:
    """Values and advantages of each player, past the other's decisions, which importance ratios correct for.

    Going back in time, with c = pi / mu of a decision, and for each player what was carried since its next one
    (d rewards, corrected; u the same uncorrected; W and w the value and the target there; x the ratios in between):

        its own      v = V + min(rho, c x) (r + u - eta D + W - V) + trace min(c_max, c x) (w - W)
                     A = r x + d + x w - V;   then d = u = 0, W = V, w = v, x = 1
        the other's  d <- eta D + c d,   u <- u + eta D,   x <- c x

    D is the divergence from the reference at the decision. What a player earns until its next decision is taken to
    come after the other's moves; the expectation is the same wherever it comes. Advantages are of the move made, and
    are to be divided by its probability: see the loss `neurd`.

    Args:
        ledger: whole games of two players, the reward column "divergence" minus D.
        memory: not used.
        regularisation: eta, what one nat from the reference costs.
        trace: 0 trusts the values, 1 the returns.
        most_trace: c_max.
        most_ratio: rho.

    Raises:
        ConfigError: there are not two players, or games were cut.

    Source: Perolat et al. 2022, arXiv:2206.15378, supplement, and OpenSpiel's code; Espeholt et al. 2018,
    arXiv:1802.01561 (v-trace).
    """
    share("trace", trace)
    if len(ledger.seats) != 2 or ledger.cut.any():
        raise ConfigError(
            f"v_trace wants whole games of two players, not {int(ledger.cut.sum())} that were cut, of "
            f"{', '.join(ledger.seats)}: collect.whole = true, and a collect.length that suffices"
        )
    column = ledger.rewards[:, ledger.columns.index("divergence")]
    rewards, costs, ratios = ledger.reward - column, -regularisation * column, _ratios(ledger)
    targets, advantages = np.zeros(len(ledger)), np.zeros(len(ledger))
    table = _by_time(ledger)
    carried = _Carried.nothing(len(table))
    for rows in table.T[::-1]:
        here = np.flatnonzero(rows >= 0)
        row = rows[here]
        own, other = ledger.seat[row], 1 - ledger.seat[row]
        past = _Carried(*(part[here, own] for part in carried.parts))
        value, reward, ratio = ledger.values[row], rewards[row], ratios[row] * past.ratio
        delta = reward + past.uncorrected - costs[row] + past.value - value
        targets[row] = (
            value
            + np.minimum(most_ratio, ratio) * delta
            + trace * np.minimum(most_trace, ratio) * (past.target - past.value)
        )
        advantages[row] = reward * past.ratio + past.corrected + past.ratio * past.target - value
        carried.begin(here, own, value, targets[row])
        carried.pass_by(here, other, costs[row], ratios[row])
    return Credit(advantages, targets, {})


@dataclass(slots=True, eq=False)
class _Carried:
    """What a player's next decision hands back: (E, K) each, or (E,) of one player."""

    corrected: Floats
    uncorrected: Floats
    value: Floats
    target: Floats
    ratio: Floats

    @staticmethod
    def nothing(episodes: int) -> _Carried:
        d, u, value, target = np.zeros((4, episodes, 2))
        return _Carried(d, u, value, target, np.ones((episodes, 2)))

    @property
    def parts(self) -> tuple[Floats, ...]:
        return self.corrected, self.uncorrected, self.value, self.target, self.ratio

    def begin(self, e: NDArray[np.int64], k: NDArray[np.int32], value: Floats, target: Floats) -> None:
        """A decision of its own."""
        self.corrected[e, k] = self.uncorrected[e, k] = 0.0
        self.value[e, k], self.target[e, k], self.ratio[e, k] = value, target, 1.0

    def pass_by(self, e: NDArray[np.int64], k: NDArray[np.int32], cost: Floats, ratio: Floats) -> None:
        """A decision of the other one, who pays."""
        self.corrected[e, k] = cost + ratio * self.corrected[e, k]
        self.uncorrected[e, k] += cost
        self.ratio[e, k] *= ratio


def _ratios(ledger: Ledger) -> Floats:
    """(N,) probability of each decision under the policy over that with which it was made; 1 where that is not known."""
    gap = ledger.old.astype(np.float64) - ledger.rollout
    return np.asarray(np.exp(ledger.summed(np.where(ledger.sampled & np.isfinite(gap), gap, 0.0))))


def _by_time(ledger: Ledger) -> NDArray[np.int64]:
    """(E, L) the rows of each episode in the order in which decisions were made, -1 after the last."""
    order = np.lexsort((ledger.order, ledger.episode))
    starts = np.flatnonzero(np.r_[True, np.diff(ledger.episode[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    table = np.full((len(starts), int(lengths.max())), -1)
    table[np.arange(table.shape[1]) < lengths[:, None]] = order
    return table
