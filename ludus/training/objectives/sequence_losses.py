"""Policy losses with one ratio for a whole reply.

Where a paper's loss is one number for a reply, it is spread over the reply's tokens so that every
aggregation gives the tokens the gradient of the policy gradient at a ratio of one; each docstring says
under which aggregation the sum is the paper's.

Shape letters: N decisions, T tokens of the longest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ludus.training.objectives.losses import clipped
from ludus.training.objectives.terms import LARGEST, Terms, expanded, policy_loss, straight_through


def mean_ratio(terms: Terms) -> Tensor:
    """(N, T) exp of the mean log-ratio, whose gradient at a token is its own alone (GSPO-token)."""
    mean = terms.mean(terms.new - terms.old)
    return straight_through(expanded(terms, mean), terms.new).clamp(-LARGEST, 10.0).exp()


def _summed_ratio(terms: Terms) -> Tensor:
    summed = terms.total(terms.new - terms.old).clamp(-LARGEST, LARGEST).exp()
    return expanded(terms, summed)


@policy_loss("gspo", bounds=mean_ratio)
def gspo(terms: Terms, *, low: float = 3e-4, high: float = 4e-4) -> Tensor:
    """The clipped surrogate with the geometric mean of a reply's ratios.

        s = exp(mean(log pi - log old)),  at token t  log s_t = sg(log s) + log pi_t - sg(log pi_t)

    The paper's under `decision_token_mean`. Bounds are much narrower than those of token ratios.

    Args:
        terms: of the decisions.
        low: how far s may fall.
        high: how far it may rise.

    Source: Zheng et al. 2025, arXiv:2507.18071 (GSPO-token); verl.
    """
    return clipped(mean_ratio(terms), terms.advantages, low, high)


@policy_loss("luspo", bounds=mean_ratio, aggregations=("decision_token_sum", "constant"))
def luspo(terms: Terms, *, low: float = 3e-4, high: float = 4e-4) -> Tensor:
    """`gspo` times the reply's own length: its tokens are summed, and so it takes no mean over them.

    Args:
        terms: of the decisions.
        low: how far the ratio may fall.
        high: how far it may rise.

    Source: LUSPO (2026), arXiv:2602.05261; TRL.
    """
    return clipped(mean_ratio(terms), terms.advantages, low, high)


def _shifted(terms: Terms) -> Tensor:
    """What GMPO bounds, put where ratios are bounded: one more than the log-ratio."""
    return 1 + terms.new - terms.old


@policy_loss("gmpo", bounds=_shifted)
def gmpo(terms: Terms, *, low: float = 0.4, high: float = 0.4) -> Tensor:
    """The geometric mean of a reply's ratios, each clipped by itself.

        L = -mean(A) exp(mean of g),   g = log pi - log old, at most high where A > 0, at least -low where A < 0

    The paper's under `decision_token_mean`.

    Args:
        terms: of the decisions.
        low: how far a log-ratio may fall.
        high: how far it may rise.

    Source: Zhao et al. 2025, arXiv:2507.20673; verl.
    """
    gap = terms.new - terms.old
    held = torch.where(terms.advantages > 0, gap.clamp(max=high), gap.clamp(min=-low))
    held = torch.where(terms.advantages == 0, 0.0, held)
    return expanded(terms, -terms.mean(terms.advantages) * terms.mean(held).clamp(-LARGEST, LARGEST).exp())


@policy_loss("rloo_sequence", bounds=_summed_ratio)
def rloo_sequence(terms: Terms, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """The clipped surrogate with a reply's probability as a whole, shared out among its tokens.

        s = exp(sum(log pi - log old)),   L_t = max(-A s, -A clip(s, 1 - low, 1 + high)) / length

    TRL's under `decision_token_sum`. A is the mean of the reply's advantages.

    Args:
        terms: of the decisions.
        low: how far s may fall.
        high: how far it may rise.

    Source: Ahmadian et al. 2024, arXiv:2402.14740, as TRL's RLOOTrainer has it.
    """
    advantages = expanded(terms, terms.mean(terms.advantages))
    return clipped(_summed_ratio(terms), advantages, low, high) / terms.count


@policy_loss("vespo", needs=("rollout",), corrects=True)
def vespo(
    terms: Terms, *, good: tuple[float, float] = (2.0, 3.0), bad: tuple[float, float] = (3.0, 2.0)
) -> Tensor:
    """Policy gradient with a soft weight of a reply's probability as a whole.

        L = -sg(phi(w)) A log pi,   phi(w) = e^(lambda) w^k e^(-lambda w),   w = exp(sum(log pi - log rollout))

    The weight covers both what the updates moved and what the engine sampled otherwise.

    Args:
        terms: of the decisions.
        good: (k, lambda) where A is not negative.
        bad: (k, lambda) where it is.

    Source: VESPO (2026), arXiv:2602.10693; TRL.
    """
    drift = (terms.new - terms.old).clamp(-LARGEST, LARGEST) + terms.old - terms.rollout
    log_w = terms.total(drift).detach().clamp(math.log(1e-8), LARGEST)
    positive = terms.mean(terms.advantages) >= 0
    k, rate = (torch.where(positive, one, other) for one, other in zip(good, bad, strict=True))
    phi = (rate + k * log_w - rate * log_w.exp()).exp()
    return -phi * terms.advantages * terms.new
