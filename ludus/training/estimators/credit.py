"""Credit: estimators that turn a ledger into one advantage for each decision, or for each token.

Every estimator is a pure function

    estimator(ledger, memory, **settings) -> Credit

`memory` is what it returned as `Credit.memory` for the batch before, {} at first; a run keeps it in
its checkpoints. Time runs over a seat's own decisions: the other seats are part of the environment.
What an estimator reads of the ledger that only the learning policy can fill in, it `needs`.

Here are the registry, generalised advantages and baselines that ask for no peers; peers are
compared in `ludus.training.estimators.groups`, single tokens in `.tokens`, several rewards in `.columns`.

Shape letters: N decisions, M tokens in all, S sequences (the decisions of one seat in one episode),
L decisions of the longest sequence, K numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry

ESTIMATORS = Registry("estimator", "ludus.estimators")
ESTIMATORS.lazily(
    dict.fromkeys(
        ("group_mean", "leave_one_out", "opo", "pass_at_k", "gpg", "remax"),
        "ludus.training.estimators.groups",
    )
    | dict.fromkeys(
        ("token_gae", "reinforce_pp", "reinforce_pp_baseline", "otb"), "ludus.training.estimators.tokens"
    )
    | {"v_trace": "ludus.training.estimators.regularised"}
    | dict.fromkeys(("multi_critic", "normalise_then_sum"), "ludus.training.estimators.columns")
)
NEEDS = ("old", "values", "collision", "reference", "divergence")


class Credit(NamedTuple):
    """What an estimator makes of a ledger.

    Attributes:
        advantages: (N,) float64, NaN for decisions it can say nothing about; of an estimator of
            tokens, the mean over each decision's sampled ones.
        targets: (N,) float64, what a value head should have said; NaN likewise.
        memory: what the estimator wants to see again with the next batch.
        token_advantages: (M,) float64, one for each token, 0 on forced ones; where it is given,
            the loss takes it instead of `advantages`.
        token_targets: (M,) float64, what a head that values every token should have said.
    """

    advantages: NDArray[np.float64]
    targets: NDArray[np.float64]
    memory: Mapping[str, float]
    token_advantages: NDArray[np.float64] | None = None
    token_targets: NDArray[np.float64] | None = None


def estimator(
    name: str, needs: Sequence[str] = ()
) -> Callable[[Callable[..., Credit]], Callable[..., Credit]]:
    """Decorator: make an estimator available by name in configurations.

    Args:
        name: the name.
        needs: what a learner fills in before it calls: "old" log-probabilities, token "values",
            "collision"; or "divergence", a reward column of minus the policy's own from its reference; readable as the
            function's attribute `needs`.

    Raises:
        UnknownName: nothing of that name can be needed.
    """
    return lambda function: ESTIMATORS.add(name, needing(function, needs))


def needing(function: Callable[..., Any], needs: Sequence[str]) -> Callable[..., Any]:
    """The same function with an attribute `needs` that learners read."""
    for need in needs:
        if need not in NEEDS:
            raise UnknownName("column that a learner fills in", need, NEEDS)
    function.needs = tuple(needs)  # type: ignore[attr-defined]
    return function


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
    share("discount", discount)
    share("trace", trace)
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


# ------------------------------------------------------------- baselines that ask for no peers
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
    return outcome(ledger, advantages)._replace(memory=means)


@estimator("returns")
def plain_returns(ledger: Ledger, memory: Mapping[str, float]) -> Credit:
    """A seat's return as it is: policy gradient without a baseline.

    Source: Williams 1992 (REINFORCE).
    """
    return outcome(ledger, ledger.returns)


# --------------------------------------------------------------------- what estimators share
def outcome(ledger: Ledger, per_sequence: NDArray[np.float64]) -> Credit:
    """Credit that all decisions of a sequence (S) share."""
    return Credit(ledger.spread(per_sequence), ledger.spread(ledger.returns), {})


def earned(ledger: Ledger, column: str = "") -> NDArray[np.float64]:
    """(S,) what each seat earned in a reward column, in "tokens", or in all of them ("").

    What came before a seat's first decision belongs to the first column.

    Raises:
        UnknownName: the ledger has no such column.
    """
    if not column or not len(ledger):
        return ledger.returns
    known = (*ledger.columns, "tokens")
    if column not in known:
        raise UnknownName("reward column", column, known)
    if column == "tokens":
        return np.asarray(np.add.reduceat(ledger.summed(ledger.token_rewards), ledger.starts))
    index = ledger.columns.index(column)
    rewards = ledger.rewards[:, index] + (ledger.early if index == 0 else 0.0)
    return np.asarray(np.add.reduceat(rewards, ledger.starts))


def whitened(numbers: NDArray[np.float64], counts: NDArray[Any], owners: NDArray[Any]) -> NDArray[np.float64]:
    """Mean zero and deviation one over all that one policy did: (A - mean) / sqrt(variance + 1e-8).

    Args:
        numbers: (K,) advantages.
        counts: (K,) how many tokens each stands for; 0 keeps it out.
        owners: (K,) the policy of each.

    Returns:
        (K,): NaN stays NaN and counts nowhere; 0 where a policy's numbers are all alike, or the count is 0.

    Source: Huang et al. 2022, The 37 implementation details of PPO; the sample's variance as in verl.
    """
    out = np.where(np.isnan(numbers), np.nan, 0.0)
    counted = (counts > 0) & ~np.isnan(numbers)
    for owner in np.unique(owners):
        mine = np.flatnonzero(counted & (owners == owner))
        some, count = numbers[mine], counts[mine].astype(np.float64)
        if len(some) and np.ptp(some) > 0:
            centred = some - (count * some).sum() / count.sum()
            out[mine] = centred / np.sqrt((count * centred**2).sum() / (count.sum() - 1) + 1e-8)
    return out


def share(name: str, number: float) -> None:
    """Refuse what does not lie in [0, 1]."""
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], not {number}")


def seats_by(ledger: Ledger, by: str) -> NDArray[np.int32]:
    """(N,) the "seat" or the "role" of each decision."""
    if by not in ("seat", "role"):
        raise UnknownName("kind of peers", by, ("seat", "role"))
    return ledger.seat if by == "seat" else ledger.role


def _roles(ledger: Ledger, by: str) -> list[str]:
    """The key of each sequence's running mean (S)."""
    names = ledger.seats if by == "seat" else ledger.roles
    first = ledger.starts
    columns = (ledger.policy[first], ledger.game[first], seats_by(ledger, by)[first])
    return [f"{ledger.policies[p]} {ledger.games[g]} {names[s]}" for p, g, s in zip(*columns, strict=True)]
