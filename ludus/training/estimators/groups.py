"""Credit from peers: estimators that compare a seat's return with those of its group.

Peers are sequences of one policy, one game, one seat (or role), and one group (or episode, or
batch); groups may have any size. All decisions of a sequence share its advantage. A sequence
without peers, and peers that all earned the same, get zero.

Three settings choose the peers, and are the same everywhere:

    by            peers have the same "seat", or the same "role" (the solvers of one problem)
    within        peers belong to the same "group" (by default the seed), "episode" or "batch"
    untruncated   sequences with a reply that was cut at the token limit are nobody's peers: they
                  get zero, and move neither the others' baseline nor their deviation

Shape letters: N decisions, S sequences (the decisions of one seat in one episode), P peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.training.estimators.credit import Credit, earned, estimator, outcome, seats_by


# ------------------------------------------------------------------------------ who is compared
def pools(ledger: Ledger, by: str, within: str, untruncated: bool = False) -> list[NDArray[np.int64]]:
    """Indices of the sequences (S) of each set of peers: one policy, one game, one seat or role.

    Raises:
        UnknownName: `by` or `within` is neither of the known ones.
    """
    scopes: dict[str, NDArray[Any]] = {
        "group": ledger.group, "episode": ledger.episode, "batch": np.zeros(len(ledger), np.int32),
    }  # fmt: skip
    if within not in scopes:
        raise UnknownName("scope of peers", within, scopes)
    seats = seats_by(ledger, by)
    if not len(ledger):
        return []
    first = ledger.starts
    key = np.stack([x[first] for x in (ledger.policy, ledger.game, scopes[within], seats)], 1)
    _, pool = np.unique(key, axis=0, return_inverse=True)
    order = np.argsort(pool.ravel(), kind="stable")
    found = np.split(order, np.cumsum(np.bincount(pool.ravel()))[:-1])
    if not untruncated:
        return found
    cut = np.logical_or.reduceat(ledger.truncated, first)
    return [peers[~cut[peers]] for peers in found if not cut[peers].all()]


def _centred(
    ledger: Ledger, peers: list[NDArray[np.int64]], centre: Callable[[NDArray[np.float64]], Any]
) -> NDArray[np.float64]:
    """(S,) `centre` of the returns (P,) of each pool that has peers who earned differently."""
    returns = ledger.returns
    out = np.zeros(len(returns))
    for pool in peers:
        if varies(returns[pool]):
            out[pool] = centre(returns[pool])
    return out


def varies(pool: NDArray[np.float64]) -> bool:
    """Whether peers earned differently; exact, as a deviation is not."""
    return len(pool) > 1 and bool(np.ptp(pool) > 0)


def by_policy(
    ledger: Ledger,
    peers: list[NDArray[np.int64]],
    function: Callable[[NDArray[np.float64]], Any],
    of: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(S,) a function of all numbers `of` (S,) that belong to one policy's peers; one for nobody's peers."""
    owners, out = ledger.policy[ledger.starts], np.ones(len(of))
    held = np.concatenate([*peers, np.zeros(0, np.int64)])
    for owner in np.unique(owners[held]):
        mine = held[owners[held] == owner]
        out[mine] = function(of[mine])
    return out


def deviation(numbers: NDArray[np.float64]) -> float:
    """The sample's deviation (ddof 1); 0 of a single number."""
    return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0


# ---------------------------------------------------------------------------------- estimators
@estimator("group_mean")
def group_mean(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    scale: bool = True,
    std: str = "group",
    eps: float = 1e-6,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """A seat's return against the mean of its peers', the same for all its decisions.

        A_i = (R_i - mean R) / (std R + eps)        without `scale`: A_i = R_i - mean R

    The standard deviation is the sample's (ddof 1).

    Args:
        ledger: the decisions.
        memory: not used.
        scale: divide by a standard deviation (GRPO) or not (Dr. GRPO).
        std: whose deviation: that of the "group", of the returns of the policy's whole "batch", or
            "none", which is the same as `scale = false`.
        eps: added to the standard deviation: 1e-6 in verl, 1e-4 in TRL.
        by: see above.
        within: see above.
        untruncated: see above.

    Source: Shao et al. 2024, arXiv:2402.03300, section 4.1.2; Liu et al. 2025, arXiv:2503.20783;
    arXiv:2508.08221 (the batch's deviation).
    """
    if std not in ("group", "batch", "none"):
        raise UnknownName("standard deviation to divide by", std, ("group", "batch", "none"))
    if std == "batch" and not scale:
        raise ConfigError("group_mean: scale = false divides by nothing; leave out std = 'batch'")

    def centre(pool: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = np.std(pool, ddof=1) + eps if scale and std == "group" else 1.0
        return np.asarray((pool - pool.mean()) / spread, np.float64)

    peers = pools(ledger, by, within, untruncated)
    advantages = _centred(ledger, peers, centre)
    if std == "batch":
        advantages /= by_policy(ledger, peers, deviation, ledger.returns) + eps
    return outcome(ledger, advantages)


@estimator("leave_one_out")
def leave_one_out(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    normalise: bool = False,
    eps: float = 1e-4,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """A seat's return against the mean of its peers without itself (RLOO).

        A_i = R_i - mean_{j != i} R_j = n / (n - 1) (R_i - mean R)

    Args:
        ledger: the decisions.
        memory: not used.
        normalise: bring the advantages of a policy's whole batch to mean zero and deviation one,
            as TRL's `normalize_advantages` does.
        eps: added to the deviation where they are normalised.
        by: see above.
        within: see above.
        untruncated: see above.

    Source: Ahmadian et al. 2024, arXiv:2402.14740; Kool et al. 2019.
    """

    def centre(pool: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(pool - (pool.sum() - pool) / (len(pool) - 1), np.float64)

    peers = pools(ledger, by, within, untruncated)
    advantages = _centred(ledger, peers, centre)
    if normalise:
        # the mean is zero up to rounding: every pool's advantages add up to zero
        advantages /= by_policy(ledger, peers, deviation, advantages) + eps
    return outcome(ledger, advantages)


@estimator("opo")
def opo(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """A seat's return against the mean of its peers', each counted by its length (OPO).

        A_i = R_i - sum_j L_j R_j / sum_j L_j

    L is the number of tokens that the policy sampled in the sequence: under the assumption that
    the gradients of single tokens are about orthogonal and of one size, this baseline has the least
    variance. Peers that sampled nothing get zero.

    Args:
        ledger: the decisions.
        memory: not used.
        by: see above.
        within: see above.
        untruncated: see above.

    Source: Hao et al. 2025, arXiv:2505.23585.
    """
    returns = ledger.returns
    length = sampled_tokens(ledger)
    advantages = np.zeros(len(returns))
    for pool in pools(ledger, by, within, untruncated):
        if varies(returns[pool]) and length[pool].any():
            advantages[pool] = returns[pool] - np.average(returns[pool], weights=length[pool])
    return outcome(ledger, advantages)


def sampled_tokens(ledger: Ledger) -> NDArray[np.float64]:
    """(S,) tokens that were sampled in each sequence."""
    if not len(ledger):
        return np.zeros(0)
    return np.asarray(np.add.reduceat(ledger.summed(ledger.sampled), ledger.starts))


@estimator("pass_at_k")
def pass_at_k(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    scale: bool = True,
    eps: float = 1e-6,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """Credit for the best of a group only, by how far it leads: what raises the best of k.

        A_best = (R_best - R_second) / (std R + eps)        all others: 0

    Where two are best, nobody leads.

    Args:
        ledger: the decisions.
        memory: not used.
        scale: divide by the standard deviation or not.
        eps: added to the standard deviation.
        by: see above.
        within: see above.
        untruncated: see above.

    Source: Tang et al. 2025, arXiv:2503.19595; as `grpo_passk` in verl.
    """

    def lead(pool: NDArray[np.float64]) -> NDArray[np.float64]:
        second, best = np.sort(pool)[-2:]
        spread = deviation(pool) + eps if scale else 1.0
        return np.where(pool == best, (best - second) / spread, 0.0)

    return outcome(ledger, _centred(ledger, pools(ledger, by, within, untruncated), lead))


@estimator("gpg")
def gpg(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    divisor: float = 1.0,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """Centred returns, scaled up where few of the batch earned anything (GPG).

        A_i = alpha (R_i - mean R) / divisor        alpha = batch / number of returns that are not 0

    Both are counted over all the policy's sequences that have peers or may have.

    Args:
        ledger: the decisions.
        memory: not used.
        divisor: the paper's F_norm; 1 in its experiments.
        by: see above.
        within: see above.
        untruncated: see above.

    Source: Chu et al. 2025, arXiv:2504.02546; as `gpg` in verl.
    """
    peers = pools(ledger, by, within, untruncated)
    centred = _centred(ledger, peers, lambda pool: pool - pool.mean())
    alpha = by_policy(
        ledger, peers, lambda some: len(some) / max(int(np.count_nonzero(some)), 1), ledger.returns
    )
    return outcome(ledger, alpha * centred / divisor)


@estimator("remax")
def remax(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    greedy: int = 0,
    by: str = "seat",
    within: str = "group",
) -> Credit:
    """A seat's return against what the greedy replies earned from the same start (ReMax).

        A_i = R_i - R_greedy

    One play of each seed takes the likeliest tokens: `collect.greedy`. It serves as baseline alone
    and has advantage zero; the filter "but_sample" keeps it out of what is learned. Groups whose
    greedy play is missing (its machinery broke) get zero.

    Args:
        ledger: the decisions.
        memory: not used.
        greedy: which sample of a seed is the greedy one.
        by: see above; of several greedy peers the mean is taken.
        within: see above.

    Raises:
        ConfigError: no group holds that sample.

    Source: Li et al. 2024, arXiv:2310.10505.
    """
    returns = ledger.returns
    is_greedy = ledger.sample[ledger.starts] == greedy
    if len(ledger) and not is_greedy.any():
        raise ConfigError(
            f"remax: no episode is sample {greedy} of its seed; the greedy ones are the baseline"
        )
    advantages = np.zeros(len(returns))
    for pool in pools(ledger, by, within):
        others, baseline = pool[~is_greedy[pool]], pool[is_greedy[pool]]
        if len(baseline):
            advantages[others] = returns[others] - returns[baseline].mean()
    return outcome(ledger, advantages)


# ------------------------------------------------------------------------------------ success
class Success(NamedTuple):
    """How many peers succeeded, and who did.

    Attributes:
        rate: (N,) float64, the share of a decision's peers, itself included, that succeeded.
        right: (N,) bool, whether its own sequence did.
    """

    rate: NDArray[np.float64]
    right: NDArray[np.bool_]


def success(
    ledger: Ledger, by: str = "seat", within: str = "group", threshold: float = 0.0, column: str = "game"
) -> Success:
    """Who succeeded: earned more than a threshold.

    Args:
        ledger: the decisions.
        by: see above.
        within: see above.
        threshold: what a success earns more than.
        column: the reward column that decides; "" is all of them, shaping included.

    Source: Chen et al. 2025 (NFT), arXiv:2505.18116: the rate of a prompt's right answers.
    """
    right = earned(ledger, column) > threshold
    rate = np.zeros(len(right))
    for pool in pools(ledger, by, within):
        rate[pool] = right[pool].mean()
    return Success(ledger.spread(rate), ledger.spread(right))
