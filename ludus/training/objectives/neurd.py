"""Losses that do not weigh log-probabilities of moves: neural replicator dynamics, and none at all.

Shape letters: N decisions, T = 1 token of each, A legal moves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ludus.core.errors import ConfigError
from ludus.training.objectives.terms import Terms, policy_loss


@policy_loss("none", compares=False)
def none(terms: Terms) -> Tensor:
    """Zero: what is learned are values alone, as in Q-learning."""
    return torch.zeros_like(terms.new)


@policy_loss(
    "neurd", needs=("reference", "rollout", "choices"), aggregations=("decision_token_mean", "token_mean")
)
def neurd(
    terms: Terms, *, regularisation: float = 0.2, threshold: float = 2.0, most: float = 10_000.0
) -> Tensor:
    """Neural replicator dynamics: the advantage of every legal move pushes its logit, however unlikely it is.

        q(a) = -eta log pi(a) / pi_ref(a) + [a was played] A / mu(a)
        F(a) = clip(q(a) - sum_b pi(b) q(b), -most, most)
        y(a) = logit(a) - mean of the legal logits
        L = -sum over legal a of  y(a) sg(F(a)),  without those a where F(a) would push y(a) beyond +-threshold

    Args:
        terms: of decisions of one token, with the legal choices, the reference's, and `rollout`, the log of mu.
        regularisation: eta, that of the estimator `v_trace`.
        threshold: how far a logit may be pushed from the mean.
        most: bounds the force.

    Raises:
        ConfigError: the choices are not known.

    Source: Hennes et al. 2020, arXiv:1906.00190; Perolat et al. 2022, arXiv:2206.15378, supplement. There the mean
    is over all moves, illegal ones counted as 0.
    """
    if terms.choices is None or terms.reference_choices is None or terms.ids is None:
        raise ConfigError("neurd looks at all legal choices, and these decisions do not list them")
    legal = torch.isfinite(terms.choices)
    logp = terms.choices.masked_fill(~legal, 0.0)
    logits = logp - logp.sum(1, keepdim=True) / legal.sum(1, keepdim=True)  # the normaliser falls out
    force = _force(terms, logp.detach(), legal, regularisation).clamp(-most, most)
    free = ((force < 0) & (logits > -threshold)) | ((force > 0) & (logits < threshold))
    return -(logits * force * (free & legal)).sum(1, keepdim=True)


def _force(terms: Terms, logp: Tensor, legal: Tensor, regularisation: float) -> Tensor:
    """(N, A) what each legal move promises beyond the policy's mean."""
    assert terms.reference_choices is not None  # the caller looked
    assert terms.ids is not None
    away = logp - terms.reference_choices.masked_fill(~legal, 0.0)
    played = one_hot(terms.ids[:, 0], legal.shape[1])
    worth = played * terms.advantages * torch.exp(-terms.rollout) - regularisation * away
    return worth - (logp.exp() * legal * worth).sum(1, keepdim=True)
