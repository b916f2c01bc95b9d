"""Selection: which decisions of a ledger a learner learns from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry
from ludus.training.credit import Credit
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
    """Keep decisions whose advantage is not zero."""
    return np.asarray(credit.advantages != 0, np.bool_)


@_filter("varied")
def varied(ledger: Ledger, credit: Credit) -> NDArray[np.bool_]:
    """Keep groups in which a seat's returns differ: unanimous ones teach nothing (DAPO, arXiv:2503.14476)."""
    returns = ledger.spread(ledger.returns)
    key = np.stack([ledger.policy, ledger.game, ledger.group, ledger.role], 1)
    _, pool = np.unique(key, axis=0, return_inverse=True)
    pool = pool.ravel()
    low = np.full(pool.max(initial=0) + 1, np.inf)
    high = -low
    np.minimum.at(low, pool, returns)
    np.maximum.at(high, pool, returns)
    return np.asarray(high[pool] > low[pool], np.bool_)


def select(
    ledger: Ledger, selector: Selector, *, policy: str, version: int, credit: Credit
) -> NDArray[np.bool_]:
    """The decisions (N,) bool that `policy`, now at `version`, is to learn from: spoken, and of some weight.

    Args:
        ledger: all decisions of a step.
        selector: roles, age, sources and filter.
        policy: only decisions of the policy of this name.
        version: its present version.
        credit: of all decisions.

    Raises:
        UnknownName: the selector names a role that nobody in the ledger has.
    """
    chosen = np.array([name == policy for name in ledger.policies], np.bool_)[ledger.policy]
    if selector.roles:
        known = {*ledger.roles, *ledger.seats}
        for role in selector.roles:
            if role not in known:
                raise UnknownName("role or seat in this step's episodes", role, known)
        by_role = np.array([name in selector.roles for name in ledger.roles], np.bool_)[ledger.role]
        chosen &= by_role | np.array([name in selector.roles for name in ledger.seats], np.bool_)[ledger.seat]
    chosen &= version - ledger.version <= selector.max_age
    chosen &= np.array([name in selector.sources for name in ledger.sources], np.bool_)[ledger.source]
    chosen &= _speaks(ledger) & (ledger.weight > 0)
    kept = FILTERS.maker(selector.keep.name)(ledger, credit, **selector.keep.settings)
    return np.asarray(chosen & kept, np.bool_)


def _speaks(ledger: Ledger) -> NDArray[np.bool_]:
    """Decisions with at least one sampled token."""
    count = np.cumsum(np.r_[0, ledger.sampled])
    return np.asarray(count[ledger.offset + ledger.length] > count[ledger.offset], np.bool_)
