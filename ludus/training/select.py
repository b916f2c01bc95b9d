"""Selection: which decisions of a ledger a learner learns from.

Shape letters: N decisions, S sequences, G groups of peers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry
from ludus.training.estimators.credit import Credit, earned
from ludus.training.estimators.groups import deviation, pools, varies
from ludus.training.settings import Selector

FILTERS = Registry("filter", "ludus.filters")

Filter = Callable[..., NDArray[np.bool_]]


def _filter(name: str) -> Callable[[Filter], Filter]:
    return lambda function: FILTERS.add(name, function)


@_filter("all")
def everything(ledger: Ledger, credit: Credit) -> NDArray[np.bool_]:
    """Keep every decision."""
    return np.ones(len(ledger), np.bool_)


@_filter("with_credit")
def with_credit(ledger: Ledger, credit: Credit) -> NDArray[np.bool_]:
    """Keep decisions whose advantage, or that of any of their tokens, is not zero."""
    if credit.token_advantages is None:
        return np.asarray(credit.advantages != 0, np.bool_)
    return np.asarray(ledger.summed(credit.token_advantages != 0) > 0, np.bool_)


@_filter("varied")
def varied(
    ledger: Ledger, credit: Credit, *, by: str = "seat", within: str = "group", column: str = ""
) -> NDArray[np.bool_]:
    """Keep groups in which a seat's returns differ: unanimous ones teach nothing.

    Args:
        ledger: the decisions.
        credit: not used.
        by: as in `ludus.training.estimators.groups`.
        within: likewise.
        column: the reward column that has to differ; "" is all of them, shaping included.

    Source: Yu et al. 2025 (DAPO), arXiv:2503.14476, section 3.2.
    """
    return _kept(ledger, spreads(ledger, by, within, column), lambda spread, policy: spread > 0)


@_filter("quantile")
def quantile(
    ledger: Ledger,
    credit: Credit,
    *,
    share: float = 0.75,
    by: str = "seat",
    within: str = "group",
    column: str = "",
) -> NDArray[np.bool_]:
    """Keep the share of a policy's groups whose returns spread most; unanimous ones are never among them.

    Groups that spread as much as the last one kept are kept too.

    Args:
        ledger: the decisions.
        credit: not used.
        share: of the groups, in (0, 1].
        by: as in `ludus.training.estimators.groups`.
        within: likewise.
        column: the reward column that counts; "" is all of them, shaping included.

    Source: Qin et al. 2025 (SPEAR), arXiv:2509.22601: its baseline keeps three quarters.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share of groups to keep must lie in (0, 1], not {share}")

    def most(spread: NDArray[np.float64], policy: NDArray[np.int32]) -> NDArray[np.bool_]:
        least = np.zeros(len(spread))
        for one in np.unique(policy):
            mine = np.sort(spread[policy == one])[::-1]
            least[policy == one] = mine[math.ceil(share * len(mine)) - 1]
        return (spread >= least) & (spread > 0)

    return _kept(ledger, spreads(ledger, by, within, column), most)


@_filter("untruncated")
def untruncated(ledger: Ledger, credit: Credit) -> NDArray[np.bool_]:
    """Keep replies that were not cut at the token limit.

    Their returns still move their group's baseline; the setting `untruncated` of an estimator
    keeps them out of that too.

    Source: Yu et al. 2025 (DAPO), arXiv:2503.14476, section 3.4: overlong filtering.
    """
    return ~ledger.truncated


@_filter("but_sample")
def but_sample(ledger: Ledger, credit: Credit, *, sample: int = 0) -> NDArray[np.bool_]:
    """Keep every play of a seed but one: the greedy one, which is the baseline of `remax`."""
    return np.asarray(ledger.sample != sample, np.bool_)


@_filter("won")
def won(ledger: Ledger, credit: Credit, *, above: float = 0.0, column: str = "") -> NDArray[np.bool_]:
    """Keep the decisions of seats that earned more than `above`: rejection fine-tuning.

    Args:
        ledger: the decisions.
        credit: not used.
        above: what has to be exceeded.
        column: the reward column that counts; "" is all of them, shaping included.

    Source: Yuan et al. 2023, arXiv:2308.01825, section 3.3 (there without duplicates).
    """
    return np.asarray(ledger.spread(earned(ledger, column) > above), np.bool_)


@_filter("best")
def best(
    ledger: Ledger,
    credit: Credit,
    *,
    count: int = 1,
    by: str = "seat",
    within: str = "group",
    column: str = "",
) -> NDArray[np.bool_]:
    """Keep the `count` best sequences of each group, the first of those that earned alike.

    A group in which all earned alike has no best one, and is left out.

    Args:
        ledger: the decisions.
        credit: not used.
        count: how many.
        by: as in `ludus.training.estimators.groups`.
        within: likewise.
        column: the reward column that counts; "" is all of them, shaping included.

    Source: Dong et al. 2023 (RAFT), arXiv:2304.06767.
    """
    if count < 1:
        raise ValueError(f"best keeps at least one sequence of each group, not {count}")
    returns = earned(ledger, column)
    kept = np.zeros(len(returns), np.bool_)
    for pool in pools(ledger, by, within):
        if varies(returns[pool]):
            kept[pool[np.argsort(-returns[pool], kind="stable")[:count]]] = True
    return np.asarray(ledger.spread(kept), np.bool_)


# ------------------------------------------------------------------------------ spread of groups
class Spreads(NamedTuple):
    """How far the returns of each set of peers lie apart.

    Attributes:
        members: the sequences of each set.
        spread: (G,) the sample's deviation of each, exactly 0 where all are alike.
        policy: (G,) whose sequences they are.
    """

    members: list[NDArray[np.int64]]
    spread: NDArray[np.float64]
    policy: NDArray[np.int32]


def spreads(ledger: Ledger, by: str = "seat", within: str = "group", column: str = "") -> Spreads:
    """The deviation of each group's returns; see `ludus.training.estimators.groups`."""
    returns, members = earned(ledger, column), pools(ledger, by, within)
    spread = [deviation(returns[pool]) if varies(returns[pool]) else 0.0 for pool in members]
    owners = ledger.policy[ledger.starts]
    policy = np.array([owners[pool[0]] for pool in members], np.int32)
    return Spreads(members, np.array(spread, np.float64), policy)


def unanimous(ledger: Ledger, by: str = "seat", within: str = "group", column: str = "") -> float:
    """The share of groups in which all returns are alike, lone members included; 0 of an empty ledger.

    TRL logs it as `frac_reward_zero_std`.
    """
    spread = spreads(ledger, by, within, column).spread
    return float((spread == 0).mean()) if len(spread) else 0.0


def _kept(
    ledger: Ledger,
    groups: Spreads,
    rule: Callable[[NDArray[np.float64], NDArray[np.int32]], NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    """(N,) the decisions of the groups that a rule keeps."""
    kept = np.zeros(len(ledger.starts), np.bool_)
    for pool, keep in zip(groups.members, rule(groups.spread, groups.policy), strict=True):
        kept[pool] = keep
    return np.asarray(ledger.spread(kept), np.bool_)


# ------------------------------------------------------------------------------------- selection
def select(
    ledger: Ledger, selector: Selector, *, policy: str, version: int, credit: Credit
) -> NDArray[np.bool_]:
    """The decisions (N,) bool that `policy`, now at `version`, is to learn from: spoken, and of some weight.

    Args:
        ledger: all decisions of a step.
        selector: roles, age (of what was played in this run), sources and filter.
        policy: only decisions of the policy of this name.
        version: its present version.
        credit: of all decisions.

    Raises:
        UnknownName: the selector names a role that nobody in the ledger has.
    """
    chosen = eligible(ledger, selector, policy=policy, version=version)
    kept = FILTERS.maker(selector.keep.name)(ledger, credit, **selector.keep.settings)
    return np.asarray(chosen & kept, np.bool_)


def eligible(ledger: Ledger, selector: Selector, *, policy: str, version: int) -> NDArray[np.bool_]:
    """As `select`, before the filter, which has to know the credit.

    Age is that of the policy's own decisions; those of others have none.
    """
    own = np.array([name == policy for name in ledger.policies], np.bool_)[ledger.policy]
    whose = selector.of or (policy,)
    chosen = np.array([name in whose for name in ledger.policies], np.bool_)[ledger.policy]
    if selector.roles:
        known = {*ledger.roles, *ledger.seats}
        for role in selector.roles:
            if role not in known:
                raise UnknownName("role or seat in this step's episodes", role, known)
        by_role = np.array([name in selector.roles for name in ledger.roles], np.bool_)[ledger.role]
        chosen &= by_role | np.array([name in selector.roles for name in ledger.seats], np.bool_)[ledger.seat]
    of_file = np.array([name == "file" for name in ledger.sources], np.bool_)[ledger.source]
    aged = own & ~of_file  # what a file holds has no age
    chosen &= ~aged | (version - ledger.version <= selector.max_age)
    chosen &= np.array([name in selector.sources for name in ledger.sources], np.bool_)[ledger.source]
    return np.asarray(chosen & _speaks(ledger) & (ledger.weight > 0), np.bool_)


def _speaks(ledger: Ledger) -> NDArray[np.bool_]:
    """Decisions with at least one sampled token."""
    count = np.cumsum(np.r_[0, ledger.sampled])
    return np.asarray(count[ledger.offset + ledger.length] > count[ledger.offset], np.bool_)
