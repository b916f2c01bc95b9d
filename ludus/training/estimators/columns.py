"""Credit from several rewards: estimators that bring each reward column to one scale, then add.

Where rewards are added first, the one of the largest scale decides alone. A component is a reward
column of the ledger; what single tokens earn is one more, "tokens", where anything was earned so.

Shape letters: N decisions, S sequences (the decisions of one seat in one episode), C components.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.training.estimators.credit import Credit, earned, estimator, gae, outcome, share
from ludus.training.estimators.groups import by_policy, deviation, pools, varies


@estimator("multi_critic")
def multi_critic(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    weights: Mapping[str, float] | None = None,
    discount: float = 1.0,
    trace: float = 0.95,
    eps: float = 1e-8,
) -> Credit:
    """Advantages of each component, brought to mean zero and deviation one, then added (SLIM).

        A = sum_c w_c (A_c - mean A_c) / (std A_c + eps)

    Mean and (sample) deviation are over all decisions of a policy that count. With a single
    component A_c are generalised advantages under the ledger's values. Of several, no critic knows
    the parts: the ledger's values are of their sum, and A_c are the returns to go of component c.

    How the paper normalises, and its numbers, are [unverified].

    Args:
        ledger: the decisions.
        memory: not used.
        weights: w by component, 1 where none is given.
        discount: what the next decision counts for, in [0, 1].
        trace: as in `gae`, for a single component.
        eps: added to each deviation.

    Raises:
        UnknownName: a weight is of no component.

    Source: SLIM, arXiv:2402.00823.
    """
    share("discount", discount)
    weight = _weights(ledger, weights)
    if len(weight) == 1:
        whole = gae(ledger, memory, discount=discount, trace=trace)
        parts = dict.fromkeys(weight, whole.advantages)
    else:
        whole = _to_go(ledger, ledger.reward, discount)
        parts = {name: _to_go(ledger, _rewards(ledger, name), discount).advantages for name in weight}
    total = np.zeros(len(ledger))
    for name, advantages in parts.items():
        total += weight[name] * _scaled(ledger, advantages, eps)
    return Credit(total, whole.targets, {})


def _to_go(ledger: Ledger, rewards: NDArray[np.float64], discount: float) -> Credit:
    """Returns to go (N,) of some rewards (N,): advantages of a critic that expects nothing."""
    nothing = np.zeros(len(ledger))
    bare = dataclasses.replace(
        ledger, rewards=rewards[:, None], columns=("game",), values=nothing, next_values=nothing,
        token_rewards=np.zeros(len(ledger.ids)),
    )  # fmt: skip
    return gae(bare, {}, discount=discount, trace=1.0)


def _scaled(ledger: Ledger, advantages: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """Mean zero, deviation one over each policy's decisions that count; 0 where they are all alike."""
    out = np.where(np.isnan(advantages), np.nan, 0.0)
    counted = (ledger.weight > 0) & ~np.isnan(advantages)
    for policy in np.unique(ledger.policy):
        mine = counted & (ledger.policy == policy)
        if varies(advantages[mine]):
            out[mine] = (advantages[mine] - advantages[mine].mean()) / (deviation(advantages[mine]) + eps)
    return out


@estimator("normalise_then_sum")
def normalise_then_sum(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    weights: Mapping[str, float] | None = None,
    eps: float = 1e-4,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """Each component against its group's mean, in its group's deviations; their sum brought to scale (GDPO).

        Z_i = sum_c w_c (R_ci - mean R_c) / (std R_c + eps)        A = (Z - mean Z) / (std Z + eps)

    The outer mean and deviation are over all sequences of the policy. A component in which a group
    does not differ adds nothing to it.

    Args:
        ledger: the decisions.
        memory: not used.
        weights: w by component, 1 where none is given.
        eps: added to each deviation, as in TRL.
        by: as in `ludus.training.estimators.groups`.
        within: likewise.
        untruncated: likewise.

    Raises:
        UnknownName: a weight is of no component.

    Source: Liu et al. 2026 (GDPO), arXiv:2601.05242; TRL's `normalize_then_sum`.
    """
    weight = _weights(ledger, weights)
    peers = pools(ledger, by, within, untruncated)
    total = np.zeros(len(ledger.starts))
    for name, times in weight.items():
        returns = earned(ledger, name)
        for pool in peers:
            some = returns[pool]
            if varies(some):
                total[pool] += times * (some - some.mean()) / (deviation(some) + eps)
    # the outer mean is zero up to rounding: every group's parts add up to zero
    return outcome(ledger, total / (by_policy(ledger, peers, deviation, total) + eps))


def _weights(ledger: Ledger, given: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each component that the ledger has."""
    names = [*ledger.columns, *(["tokens"] if ledger.token_rewards.any() else [])]
    for name in given or {}:
        if name not in (*ledger.columns, "tokens"):
            raise UnknownName("reward column", name, [*ledger.columns, "tokens"])
    return {name: (given or {}).get(name, 1.0) for name in names}


def _rewards(ledger: Ledger, name: str) -> NDArray[np.float64]:
    """(N,) the rewards of a component."""
    if name == "tokens":
        return ledger.summed(ledger.token_rewards)
    return ledger.rewards[:, ledger.columns.index(name)]
