"""Credit: estimators that turn a ledger into one advantage for each decision.

Every estimator is a pure function

    estimator(ledger, memory, **settings) -> Credit

`memory` is what it returned as `Credit.memory` for the batch before, {} at first; a run keeps it in
its checkpoints. Time runs over a seat's own decisions: the other seats are part of the environment.

Shape letters: N decisions, S sequences (the decisions of one seat in one episode), L decisions of
the longest sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry

ESTIMATORS = Registry("estimator", "ludus.estimators")


class Credit(NamedTuple):
    """What an estimator makes of a ledger.

    Attributes:
        advantages: (N,) float64, NaN for decisions it can say nothing about.
        targets: (N,) float64, what a value head should have said; NaN likewise.
        memory: what the estimator wants to see again with the next batch.
    """

    advantages: NDArray[np.float64]
    targets: NDArray[np.float64]
    memory: Mapping[str, float]


def estimator(name: str) -> Callable[[Callable[..., Credit]], Callable[..., Credit]]:
    """Decorator: make an estimator available by name in configurations."""
    return lambda function: ESTIMATORS.add(name, function)


# -------------------------------------------------------------------- generalised advantages
@estimator("gae")
def gae(ledger: Ledger, memory: Mapping[str, float], *, discount: float = 1.0, trace: float = 0.95) -> Credit:
    """Generalised advantages along each seat's own decisions.

        delta_t = r_t + discount V_{t+1} - V_t        A_t = delta_t + discount trace A_{t+1}

    Decisions without a value (of agents that estimate none) are passed over: they hand on the
    value and the advantage that follow, and what they earned goes to the decision before.

    Args:
        ledger: the decisions.
        memory: not used.
        discount: what the next decision counts for, in [0, 1].
        trace: 0 trusts the values, 1 trusts the returns.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16; passing over masked steps as in verl.
    """
    _within("discount", discount)
    _within("trace", trace)
    if not len(ledger):
        return Credit(np.zeros(0), np.zeros(0), {})
    place = np.arange(len(ledger)) - ledger.spread(ledger.starts)
    ends = ledger.next_values[np.r_[ledger.starts[1:] - 1, len(ledger) - 1]]
    shape = len(ledger.starts), int(ledger.lengths.max())
    at = ledger.spread(np.arange(shape[0])), place
    rewards, values = np.zeros(shape), np.full(shape, np.nan)
    rewards[at], values[at] = ledger.reward, ledger.values
    advantages = generalised(rewards, values, ends, ~np.isnan(values), discount=discount, trace=trace)[at]
    return Credit(advantages, advantages + ledger.values, {})


def generalised(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    ends: NDArray[np.float64],
    valid: NDArray[np.bool_],
    *,
    discount: float,
    trace: float,
) -> NDArray[np.float64]:
    """The recursion of `gae` for S sequences at once.

    Args:
        rewards: (S, L); zero in padding.
        values: (S, L); not read where not valid.
        ends: (S,) value of what follows the last valid entry: 0 where the game ended.
        valid: (S, L) bool; False on entries to be passed over and on padding.
        discount: as in `gae`.
        trace: as in `gae`.

    Returns:
        (S, L) advantages, NaN where not valid.
    """
    advantages = np.full(rewards.shape, np.nan)
    ahead, following = np.zeros(len(rewards)), ends.astype(np.float64)
    carried = np.zeros(len(rewards))  # earned at entries that were passed over
    for t in reversed(range(rewards.shape[1])):
        here = valid[:, t]
        carried = carried + rewards[:, t]
        delta = carried + discount * following - values[:, t]
        ahead = np.where(here, delta + discount * trace * ahead, ahead)
        following = np.where(here, values[:, t], following)
        carried = np.where(here, 0.0, carried)
        advantages[here, t] = ahead[here]
    return advantages


# ---------------------------------------------------------------------------- group baselines
@estimator("group_mean")
def group_mean(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    scale: bool = True,
    eps: float = 1e-6,
    by: str = "seat",
    within: str = "group",
) -> Credit:
    """A seat's return against the mean of its peers', the same for all its decisions.

        A_i = (R_i - mean R) / (std R + eps)        without `scale`: A_i = R_i - mean R

    The standard deviation is the sample's (ddof 1). A seat without peers, and peers that all
    earned the same, get zero.

    Args:
        ledger: the decisions.
        memory: not used.
        scale: divide by the standard deviation (GRPO) or not (Dr. GRPO).
        eps: added to the standard deviation: 1e-6 in verl, 1e-4 in TRL.
        by: peers have the same "seat", or the same "role" (the solvers of one problem).
        within: peers belong to the same "group" (by default the seed), "episode" or "batch".

    Source: Shao et al. 2024, arXiv:2402.03300, section 4.1.2; Liu et al. 2025, arXiv:2503.20783.
    """
    returns = ledger.returns
    advantages = np.zeros(len(returns))
    for peers in _pools(ledger, by, within):
        pool = returns[peers]
        if len(pool) > 1 and np.ptp(pool) > 0:
            spread = np.std(pool, ddof=1) + eps if scale else 1.0
            advantages[peers] = (pool - pool.mean()) / spread
    return _outcome(ledger, advantages)


@estimator("leave_one_out")
def leave_one_out(
    ledger: Ledger, memory: Mapping[str, float], *, by: str = "seat", within: str = "group"
) -> Credit:
    """A seat's return against the mean of its peers without itself (RLOO).

        A_i = R_i - mean_{j != i} R_j = n / (n - 1) (R_i - mean R)

    Args:
        ledger: the decisions.
        memory: not used.
        by: as in `group_mean`.
        within: as in `group_mean`.

    Source: Ahmadian et al. 2024, arXiv:2402.14740; Kool et al. 2019.
    """
    returns = ledger.returns
    advantages = np.zeros(len(returns))
    for peers in _pools(ledger, by, within):
        pool = returns[peers]
        if len(pool) > 1 and np.ptp(pool) > 0:
            others = (pool.sum() - pool) / (len(pool) - 1)
            advantages[peers] = pool - others
    return _outcome(ledger, advantages)


@estimator("role_baseline")
def role_baseline(
    ledger: Ledger,
    memory: Mapping[str, float],
    *,
    decay: float = 0.95,
    by: str = "seat",
    update: str = "after",
) -> Credit:
    """A seat's return against a running mean of what that seat earns in that game (RAE).

        A = R - b,  then  b <- decay b + (1 - decay) R        (b starts at 0)

    In self-play the mean over both seats is the same whatever is learned, so a baseline they share
    would book the first mover's edge as merit. The mean moves once for each trajectory: a seat's
    whole episode, however many decisions it holds.

    Args:
        ledger: the decisions.
        memory: the running means, by policy, game and seat (or role).
        decay: of the running mean, in [0, 1).
        by: one mean for each "seat", or for each "role".
        update: "after" reads the mean before it moves, as SPIRAL's code does; "before" moves it
            first.

    Source: Liu et al. 2025 (SPIRAL), arXiv:2506.24119.
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay must lie in [0, 1), not {decay}")
    if update not in ("after", "before"):
        raise UnknownName("update of the role baseline", update, ("after", "before"))
    means = dict(memory)
    advantages = np.zeros(len(ledger.starts))
    returns = ledger.returns
    for i, key in enumerate(_roles(ledger, by)):
        before = means.get(key, 0.0)
        means[key] = decay * before + (1 - decay) * float(returns[i])
        advantages[i] = returns[i] - (before if update == "after" else means[key])
    return _outcome(ledger, advantages)._replace(memory=means)


@estimator("returns")
def plain_returns(ledger: Ledger, memory: Mapping[str, float]) -> Credit:
    """A seat's return as it is: policy gradient without a baseline.

    Source: Williams 1992 (REINFORCE).
    """
    return _outcome(ledger, ledger.returns)


# ------------------------------------------------------------------------------------- inside
def _outcome(ledger: Ledger, per_sequence: NDArray[np.float64]) -> Credit:
    return Credit(ledger.spread(per_sequence), ledger.spread(ledger.returns), {})


def _within(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], not {share}")


def _seats(ledger: Ledger, by: str) -> NDArray[np.int32]:
    if by not in ("seat", "role"):
        raise UnknownName("kind of peers", by, ("seat", "role"))
    return ledger.seat if by == "seat" else ledger.role


def _pools(ledger: Ledger, by: str, within: str) -> list[NDArray[np.int64]]:
    """Indices of the sequences (S) of each set of peers: one policy, one game, one seat or role."""
    scopes: dict[str, NDArray[Any]] = {
        "group": ledger.group, "episode": ledger.episode, "batch": np.zeros(len(ledger), np.int32),
    }  # fmt: skip
    if within not in scopes:
        raise UnknownName("scope of peers", within, scopes)
    if not len(ledger):
        return []
    first = ledger.starts
    key = np.stack([x[first] for x in (ledger.policy, ledger.game, scopes[within], _seats(ledger, by))], 1)
    _, pool = np.unique(key, axis=0, return_inverse=True)
    order = np.argsort(pool.ravel(), kind="stable")
    return np.split(order, np.cumsum(np.bincount(pool.ravel()))[:-1])


def _roles(ledger: Ledger, by: str) -> list[str]:
    """The key of each sequence's running mean (S)."""
    names = ledger.seats if by == "seat" else ledger.roles
    first = ledger.starts
    columns = (ledger.policy[first], ledger.game[first], _seats(ledger, by)[first])
    return [f"{ledger.policies[p]} {ledger.games[g]} {names[s]}" for p, g, s in zip(*columns, strict=True)]
