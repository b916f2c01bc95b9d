"""Credit for single tokens: estimators whose time runs over what a seat's policy sampled.

The tokens of all decisions of a sequence follow one another. A decision earns its reward at its
last sampled token, and `token_rewards` come on top; what is earned where nothing was sampled goes
to the sampled token before. Forced tokens (tool output) hand on the value and the advantage that
follow them, and get 0.

Shape letters: N decisions, M tokens in all, S sequences (the decisions of one seat in one episode),
L tokens of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.ledger import Ledger
from ludus.training.estimators.credit import Credit, estimator, generalised, share, whitened
from ludus.training.estimators.groups import group_mean, pools


@estimator("token_gae", needs=("values",))
def token_gae(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    discount: float = 1.0,
    trace: float = 0.95,
    whiten: bool = False,
) -> Credit:
    """Generalised advantages along the tokens that a seat's policy sampled.

        delta_t = r_t + discount V_{t+1} - V_t        A_t = delta_t + discount trace A_{t+1}

    Where a game was cut, the value that follows the last token is the seat's bootstrap.

    Args:
        ledger: the decisions, with `token_values`; sampled tokens without one have no advantage.
        memory: not used.
        discount: what the next token counts for, in [0, 1].
        trace: 0 trusts the values, 1 trusts the returns.
        whiten: bring each policy's advantages to mean zero and deviation one, after the targets
            are made.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16; passing over forced tokens and
    whitening as in verl, which loses what forced tokens earn.
    """
    share("discount", discount)
    share("trace", trace)
    if not len(ledger):
        return _credit(ledger, np.zeros(0), np.zeros(0))
    values = ledger.token_values.astype(np.float64)
    ends = ledger.next_values[np.r_[ledger.starts[1:] - 1, len(ledger) - 1]]
    advantages = _backwards(ledger, values, ends, discount=discount, trace=trace)
    targets = advantages + values
    if whiten:
        advantages = whitened(advantages, _learned(ledger), _owners(ledger))
    return _credit(ledger, advantages, targets)


@estimator("reinforce_pp")
def reinforce_pp(ledger: Ledger, memory: Mapping[str, float], *, discount: float = 1.0) -> Credit:
    """Returns to go of each token, whitened over the policy's whole batch (REINFORCE++).

        G_t = r_t + discount G_{t+1}        A = (G - mean G) / sqrt(var G + 1e-8)

    No groups are needed. The penalty for leaving the reference is part of the reward: the shaper
    "kl". Mean and variance are over sampled tokens of decisions that count.

    Args:
        ledger: the decisions.
        memory: not used.
        discount: what the next token counts for, in [0, 1].

    Source: Hu et al. 2025, arXiv:2501.03262.
    """
    share("discount", discount)
    to_go = _to_go(ledger, discount)
    return _credit(ledger, whitened(to_go, _learned(ledger), _owners(ledger)), to_go)


@estimator("reinforce_pp_baseline")
def reinforce_pp_baseline(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    by: str = "seat",
    within: str = "group",
    untruncated: bool = False,
) -> Credit:
    """Returns less their group's mean, whitened over the tokens of the policy's whole batch.

    A sequence without peers, and peers that all earned the same, come to the whitening with zero.
    Long sequences count more in its mean and variance, as every token counts once; that mean is
    then taken from all.

    Args:
        ledger: the decisions.
        memory: not used.
        by: as in `ludus.training.estimators.groups`.
        within: likewise.
        untruncated: likewise.

    Source: Hu et al. 2025, arXiv:2501.03262 (REINFORCE++-baseline); as in verl.
    """
    credit = group_mean(ledger, memory, scale=False, by=by, within=within, untruncated=untruncated)
    known = np.zeros(len(ledger.starts), np.bool_)
    for peers in pools(ledger, by, within, untruncated):
        known[peers] = True
    counts = ledger.summed(ledger.sampled) * (ledger.weight > 0) * ledger.spread(known)
    return credit._replace(advantages=whitened(credit.advantages, counts, ledger.policy))


@estimator("otb", needs=("old", "collision"))
def otb(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    discount: float = 1.0,
    by: str = "seat",
    within: str = "group",
) -> Credit:
    """Returns to go less the baseline of least variance at each token (OTB).

        A_t = G_t - B_t        B_t = sum_i G_it W_it / sum_i W_it
        W_it = sum_{j <= t} (1 - 2 pi_ij + sum_v pi_ij(v)^2)

    Sums run over the peers that sampled a t-th token. The summand of W is the squared length of a
    token's gradient by the logits, so that W stands for the gradient's variance so far. A token
    that no peer has reached, and tokens whose peers all have the same G, get zero.

    Args:
        ledger: the decisions, with `old` and `collision` of the policy that learns; tokens of
            others have no advantage.
        memory: not used.
        discount: what the next token counts for, in [0, 1].
        by: as in `ludus.training.estimators.groups`.
        within: likewise.

    Source: Li et al. 2026, arXiv:2602.07078; as `optimal_token_baseline` in verl, without its
    importance weights.
    """
    share("discount", discount)
    to_go = _to_go(ledger, discount)
    at = np.flatnonzero(ledger.sampled)
    sequence = _sequences(ledger)[at]
    pool = np.zeros(len(ledger.starts), np.int64)
    for number, peers in enumerate(pools(ledger, by, within)):
        pool[peers] = number
    begin = np.flatnonzero(np.r_[True, np.diff(sequence) != 0])[: len(at)]
    run = np.diff(np.r_[begin, len(at)])
    place = np.arange(len(at)) - np.repeat(begin, run)
    size = 1 - 2 * np.exp(ledger.old[at].astype(np.float64)) + ledger.collision[at]
    weight = np.concatenate([np.cumsum(part) for part in np.split(size, begin[1:])])
    _, key = np.unique(pool[sequence] * run.max(initial=0) + place, return_inverse=True)
    advantages = np.zeros(len(ledger.ids))
    advantages[at] = _less_weighted_mean(to_go[at], weight, key.ravel())
    return _credit(ledger, advantages, to_go)


def _less_weighted_mean(
    numbers: NDArray[np.float64], weight: NDArray[np.float64], key: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Numbers less the weighted mean of those with the same key; 0 where these are all alike, or weigh nothing."""
    count = int(key.max(initial=-1)) + 1
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, key, numbers)
    np.maximum.at(high, key, numbers)
    total = np.bincount(key, weight, count)
    mean = np.bincount(key, numbers * weight, count) / np.where(total == 0, 1.0, total)
    differ = (high > low) & (total != 0)
    return np.asarray(np.where(differ[key], numbers - mean[key], 0.0), np.float64)


# ------------------------------------------------------------------------------------- inside
def _to_go(ledger: Ledger, discount: float) -> NDArray[np.float64]:
    """(M,) returns to go: advantages of a critic that expects nothing and is not trusted."""
    if not len(ledger):
        return np.zeros(0)
    nothing = np.zeros(len(ledger.ids))
    return _backwards(ledger, nothing, np.zeros(len(ledger.starts)), discount=discount, trace=1.0)


def _backwards(
    ledger: Ledger,
    values: NDArray[np.float64],
    ends: NDArray[np.float64],
    *,
    discount: float,
    trace: float,
) -> NDArray[np.float64]:
    """`generalised` over the tokens of each sequence: (M,), NaN on forced tokens and those without a value."""
    row = _sequences(ledger)
    count = np.bincount(row, minlength=len(ledger.starts))
    at = row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    shape = len(count), int(count.max(initial=0))
    rewards, worth, valid = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.bool_)
    rewards[at], worth[at] = _paid(ledger), values
    valid[at] = ledger.sampled & ~np.isnan(values)
    advantages = generalised(rewards, worth, ends, valid, discount=discount, trace=trace)
    return np.asarray(advantages[at], np.float64)


def _paid(ledger: Ledger) -> NDArray[np.float64]:
    """(M,) what each token earns: its own, and a decision's reward at the last sampled one up to its end."""
    paid = ledger.token_rewards.copy()
    if not len(paid):
        return paid
    last = np.maximum.accumulate(np.where(ledger.sampled, np.arange(len(paid)), -1))
    end = ledger.offset + ledger.length
    at = np.where(end > 0, last[end - 1], -1)
    known = at >= ledger.spread(ledger.offset[ledger.starts])  # else nothing was sampled so far
    np.add.at(paid, at[known], ledger.rewards.sum(1)[known])
    return paid


def _decisions(ledger: Ledger) -> NDArray[np.int64]:
    """(M,) the decision of each token."""
    return np.repeat(np.arange(len(ledger)), ledger.length)


def _sequences(ledger: Ledger) -> NDArray[np.int64]:
    """(M,) the sequence of each token, numbered as in `starts`."""
    return np.repeat(ledger.spread(np.arange(len(ledger.starts))), ledger.length)


def _owners(ledger: Ledger) -> NDArray[np.int32]:
    return ledger.policy[_decisions(ledger)]


def _learned(ledger: Ledger) -> NDArray[np.bool_]:
    """(M,) sampled tokens of decisions that count."""
    return ledger.sampled & (ledger.weight > 0)[_decisions(ledger)]


def _credit(ledger: Ledger, advantages: NDArray[np.float64], targets: NDArray[np.float64]) -> Credit:
    """Credit by token; each decision has the mean advantage and the first target of its sampled tokens."""
    tokens: NDArray[Any] = np.where(ledger.sampled, advantages, 0.0)
    decisions, n = _decisions(ledger), len(ledger)
    count = np.bincount(decisions, ledger.sampled, n)
    total = np.bincount(decisions, tokens, n)
    mean = np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
    first = np.full(n, np.nan)
    backwards = np.flatnonzero(ledger.sampled)[::-1]  # the first of a decision is written last
    first[decisions[backwards]] = targets[backwards]
    return Credit(mean, first, {}, tokens, np.where(ledger.sampled, targets, 0.0))
