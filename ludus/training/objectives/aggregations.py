"""Aggregations: what each token counts in the sum that is made small.

    AGGREGATIONS    share(mask, totals, **settings) -> (N, T)

Shares are made with `Totals` of the whole minibatch, so that cutting it into micro-batches changes
nothing. Decisions without a token that counts are not counted either.

Shape letters: N decisions, T tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from ludus.core.registry import Registry

AGGREGATIONS = Registry("aggregation", "ludus.aggregations")

F = TypeVar("F", bound=Callable[..., Tensor])


def aggregation(name: str) -> Callable[[F], F]:
    """Decorator: make an aggregation available by name in configurations."""
    return lambda function: AGGREGATIONS.add(name, function)


class Totals(NamedTuple):
    """Of a whole minibatch: tokens that count, decisions with at least one, and those of them that are open.

    Replies are open where the legal ones are not known.
    """

    tokens: float
    decisions: float
    open: float = 0.0

    @staticmethod
    def of(mask: Tensor, open_rows: Tensor | None = None) -> Totals:
        """Count (N, T) bool; `open_rows` is (N,) bool, by default no row."""
        counted = mask.any(1)
        unlisted = 0.0 if open_rows is None else float((counted & open_rows).sum())
        return Totals(max(float(mask.sum()), 1.0), max(float(counted.sum()), 1.0), unlisted)


@aggregation("token_mean")
def token_mean(mask: Tensor, totals: Totals) -> Tensor:
    """Every token counts alike (DAPO). Source: arXiv:2503.14476."""
    return mask / totals.tokens


@aggregation("decision_token_mean")
def decision_token_mean(mask: Tensor, totals: Totals) -> Tensor:
    """Every decision counts alike, its tokens share (GRPO). Source: arXiv:2402.03300, equation 3."""
    return mask / mask.sum(1, keepdim=True).clamp(min=1) / totals.decisions


@aggregation("decision_token_sum")
def decision_token_sum(mask: Tensor, totals: Totals) -> Tensor:
    """The tokens of a decision add up, decisions are averaged."""
    return mask / totals.decisions


@aggregation("constant")
def constant(mask: Tensor, totals: Totals, *, length: float) -> Tensor:
    """As `decision_token_sum`, over a constant length (Dr. GRPO): long replies are not favoured.

    Args:
        mask: (N, T).
        totals: of the minibatch.
        length: the most tokens a reply may have.

    Source: Liu et al. 2025, arXiv:2503.20783, section 3.
    """
    return mask / totals.decisions / length
