"""Shaping: what is added to the rewards that games pay, before credit is given.

A shaper is a pure function

    shaper(ledger, **settings) -> Shaped

What it gives to decisions becomes one more reward column under the shaper's name, what it gives to
tokens is added to `token_rewards`: what games paid stays as it was, in column "game". What only
the learning policy can fill in, a shaper `needs`, as estimators do.

Shape letters: N decisions, M tokens in all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry
from ludus.training.choices import Named
from ludus.training.estimators.credit import earned, needing

SHAPERS = Registry("shaper", "ludus.shapers")


class Shaped(NamedTuple):
    """What a shaper adds.

    Attributes:
        column: (N,) float64 to each decision's reward; None: nothing.
        tokens: (M,) float64 to each token's; None: nothing.
    """

    column: NDArray[np.float64] | None = None
    tokens: NDArray[np.float64] | None = None


def shaper(name: str, needs: Sequence[str] = ()) -> Callable[[Callable[..., Shaped]], Callable[..., Shaped]]:
    """Decorator: make a shaper available by name in configurations.

    Args:
        name: the name, and that of its reward column.
        needs: what a learner fills in before it calls: "old" log-probabilities; for "reference" it
            passes `reference`, (M,) log-probabilities under its reference, and `coefficient`.
    """
    return lambda function: SHAPERS.add(name, needing(function, needs))


def shape(ledger: Ledger, shaping: Sequence[Named], **given: Any) -> Ledger:
    """The ledger with what every shaper adds; each sees the ledger as the one before left it.

    Args:
        ledger: the decisions.
        shaping: shapers by name, with their settings.
        given: `reference` and `coefficient`, handed to shapers that need a reference.

    Raises:
        UnknownName: no such shaper.
        ConfigError: the same shaper twice.
    """
    for named in shaping:
        function = SHAPERS.maker(named.name)
        extra = given if "reference" in getattr(function, "needs", ()) else {}
        ledger = added(ledger, named.name, function(ledger, **{**extra, **named.settings}))
    return ledger


def added(ledger: Ledger, name: str, shaped: Shaped) -> Ledger:
    """The ledger with what one shaper adds.

    Raises:
        ConfigError: the ledger has a reward column of that name already.
    """
    if shaped.column is not None:
        if name in ledger.columns:
            raise ConfigError(f"shaping: {name!r} is a reward column already: {', '.join(ledger.columns)}")
        ledger = ledger.with_rewards(name, shaped.column)
    if shaped.tokens is not None:
        ledger = dataclasses.replace(ledger, token_rewards=ledger.token_rewards + shaped.tokens)
    return ledger


def rewards_by_column(ledger: Ledger) -> dict[str, float]:
    """For logs: what a sequence earned on average, by reward column and in "tokens"."""
    if not len(ledger):
        return {}
    return {
        f"charts/reward/{name}": float(earned(ledger, name).mean()) for name in (*ledger.columns, "tokens")
    }


# ------------------------------------------------------------------------------------- shapers
@shaper("overlong")
def overlong(ledger: Ledger, *, limit: int, buffer: int, factor: float = 1.0) -> Shaped:
    """A penalty that grows over the last stretch before the token limit (DAPO's soft punishment).

        0 up to limit - buffer sampled tokens, then linear, -factor from limit on

    Args:
        ledger: the decisions.
        limit: the most tokens a reply may have.
        buffer: over how many of the last of these the penalty grows, from 1 to limit.
        factor: the largest penalty.

    Raises:
        ConfigError: the buffer is not within the limit.

    Source: Yu et al. 2025, arXiv:2503.14476, equation 13.
    """
    if not 1 <= buffer <= limit:
        raise ConfigError(f"overlong: buffer = {buffer} must be from 1 to limit = {limit}")
    over = ledger.summed(ledger.sampled) - (limit - buffer)
    return Shaped(column=-factor * np.clip(over / buffer, 0.0, 1.0))


@shaper("missing_end")
def missing_end(ledger: Ledger, *, penalty: float = 1.0) -> Shaped:
    """A penalty for replies that were cut at the token limit, as TRL's `missing_eos_penalty`.

    Args:
        ledger: the decisions.
        penalty: what a cut reply costs.
    """
    return Shaped(column=np.where(ledger.truncated, -penalty, 0.0))


@shaper("kl", needs=("old", "reference"))
def kl(ledger: Ledger, *, reference: NDArray[Any], coefficient: float) -> Shaped:
    """What leaving the reference costs, at each sampled token: -coefficient (log old - log reference).

    Args:
        ledger: the decisions, with `old` of the policy that learns; tokens of others, NaN there,
            cost nothing.
        reference: (M,) log-probabilities of the tokens under the reference; not read on forced
            tokens, nor where `old` is NaN.
        coefficient: what one nat costs.

    Raises:
        ValueError: the reference says nothing about a token that `old` knows, or is of another length.

    Source: Ziegler et al. 2019, arXiv:1909.08593, equation 2; the estimate k1 of Schulman 2020.
    """
    if len(reference) != len(ledger.ids):
        raise ValueError(f"kl: {len(reference)} reference log-probabilities for {len(ledger.ids)} tokens")
    known = ledger.sampled & ~np.isnan(ledger.old)
    if np.isnan(reference[known]).any():
        raise ValueError(
            "kl: the reference has no log-probability of a token that the policy was rescored on"
        )
    gap = np.zeros(len(ledger.ids))
    gap[known] = ledger.old[known].astype(np.float64) - reference[known]
    return Shaped(tokens=-coefficient * gap)
