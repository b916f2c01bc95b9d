"""Objectives: what is made small. Policy losses, aggregations and corrections by name, and their sum.

Three registries of pure functions on tensors, independent of one another and of the estimators:

    POLICY_LOSSES   loss(ratio, advantages, **settings) -> (N, T), one number a token
    AGGREGATIONS    share(mask, totals, **settings)     -> (N, T), what each token counts
    CORRECTIONS     weight(gap, mask, **settings)       -> (N, T), for engines that sample otherwise

The loss is the sum over tokens of share x weight x loss. Shares are made with `Totals` of the whole
minibatch, so that cutting it into micro-batches changes nothing.

Shape letters: N decisions, T tokens of the longest, A legal moves or replies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard, TypeVar

import torch
from torch import Tensor

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.policy import Scores
from ludus.core.registry import Registry
from ludus.training.settings import Named, Objective

POLICY_LOSSES = Registry("policy loss", "ludus.policy_losses")
AGGREGATIONS = Registry("aggregation", "ludus.aggregations")
CORRECTIONS = Registry("mismatch correction", "ludus.corrections")
LARGEST = 20.0  # log-ratios are clamped to this before the exponential, as in verl and OpenRLHF

F = TypeVar("F", bound=Callable[..., Tensor])


def _named(registry: Registry, name: str) -> Callable[[F], F]:
    return lambda function: registry.add(name, function)


def ratio_of(new: Tensor, old: Tensor) -> Tensor:
    """exp(new - old), the difference clamped so that no outlier overflows."""
    return (new - old).clamp(-LARGEST, LARGEST).exp()


# ------------------------------------------------------------------------------ policy losses
@_named(POLICY_LOSSES, "clip")
def clip(
    ratio: Tensor, advantages: Tensor, *, low: float = 0.2, high: float = 0.2, dual: float | None = None
) -> Tensor:
    """The clipped surrogate.

        L = max(-A ratio, -A clip(ratio, 1 - low, 1 + high));   with `dual`, where A < 0: min(L, -A dual)

    Args:
        ratio: (N, T) new to old probability.
        advantages: (N, T).
        low: how far the ratio may fall.
        high: how far it may rise; more than `low` in DAPO.
        dual: bounds the loss where a bad token has become much likelier; more than 1 + high.

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7; Ye et al. 2020, arXiv:1912.09729,
    equation 5 (dual); Yu et al. 2025 (DAPO), arXiv:2503.14476 (two sides).
    """
    if dual is not None and dual <= 1 + high:
        raise ConfigError(f"dual = {dual} must exceed 1 + high = {1 + high}")
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high))
    if dual is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual), loss)


@_named(POLICY_LOSSES, "plain")
def plain(ratio: Tensor, advantages: Tensor) -> Tensor:
    """Policy gradient without a trust region: L = -A ratio.

    Source: Williams 1992 (REINFORCE), with importance weights.
    """
    return -advantages * ratio


# ------------------------------------------------------------------------------- aggregations
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


@_named(AGGREGATIONS, "token_mean")
def token_mean(mask: Tensor, totals: Totals) -> Tensor:
    """Every token counts alike (DAPO). Source: arXiv:2503.14476."""
    return mask / totals.tokens


@_named(AGGREGATIONS, "decision_token_mean")
def decision_token_mean(mask: Tensor, totals: Totals) -> Tensor:
    """Every decision counts alike, its tokens share (GRPO). Source: arXiv:2402.03300, equation 3."""
    return mask / mask.sum(1, keepdim=True).clamp(min=1) / totals.decisions


@_named(AGGREGATIONS, "decision_token_sum")
def decision_token_sum(mask: Tensor, totals: Totals) -> Tensor:
    """The tokens of a decision add up, decisions are averaged."""
    return mask / totals.decisions


@_named(AGGREGATIONS, "constant")
def constant(mask: Tensor, totals: Totals, *, length: float) -> Tensor:
    """As `decision_token_sum`, over a constant length (Dr. GRPO): long replies are not favoured.

    Args:
        mask: (N, T).
        totals: of the minibatch.
        length: the most tokens a reply may have.

    Source: Liu et al. 2025, arXiv:2503.20783, section 3.
    """
    return mask / totals.decisions / length


# -------------------------------------------------------------------------------- corrections
@_named(CORRECTIONS, "none")
def no_correction(gap: Tensor, mask: Tensor) -> Tensor:
    """The engine that sampled and the policy that learns agree: weight one."""
    return torch.ones_like(gap)


@_named(CORRECTIONS, "truncate")
def truncate(gap: Tensor, mask: Tensor, *, most: float = 2.0) -> Tensor:
    """min(exp(old - rollout), most) for each token (truncated importance sampling).

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        most: the bound.
    """
    return gap.clamp(-LARGEST, LARGEST).exp().clamp(max=most)


@_named(CORRECTIONS, "mask_sequence")
def mask_sequence(gap: Tensor, mask: Tensor, *, least: float = 0.5, most: float = 2.0) -> Tensor:
    """Drop decisions whose summed ratio leaves [least, most]; the others keep weight one.

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        least: lower bound.
        most: upper bound.
    """
    ratio = torch.where(mask, gap, 0.0).sum(1, keepdim=True).clamp(-LARGEST, LARGEST).exp()
    return ((ratio >= least) & (ratio <= most)).to(gap.dtype).expand_as(gap)


# ------------------------------------------------------------------- value, divergence, entropy
def value_loss(new: Tensor, target: Tensor, old: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Half the squared error (N,); with `clip`, the larger of it and that of the clipped change.

    Source: Schulman et al. 2017; value clipping as in the authors' code.
    """
    loss = (new - target) ** 2
    if clip is not None and old is not None:
        near = old + (new - old).clamp(-clip, clip)
        loss = torch.maximum(loss, (near - target) ** 2)
    return 0.5 * loss


def divergence(new: Tensor, reference: Tensor, kind: str = "k3") -> Tensor:
    """Estimates of KL(new | reference) from log-probabilities of tokens drawn from `new`.

        x = reference - new:    k1 = -x,    k2 = x^2 / 2,    k3 = e^x - x - 1 (at most 10)

    "k3+" has the value of k3 and the gradient of k2, which is that of the true divergence.

    Source: Schulman 2020, "Approximating KL divergence".
    """
    x = (reference - new).clamp(-LARGEST, LARGEST)
    if kind == "k1":
        return -x
    k2 = x**2 / 2
    k3 = (x.exp() - x - 1).clamp(max=10.0)
    known = {"k2": k2, "k3": k3, "k3+": k3.detach() + k2 - k2.detach()}
    if kind not in known:
        raise UnknownName("estimator of the divergence", kind, ("k1", *known))
    return known[kind]


def exact_divergence(new: Tensor, reference: Tensor) -> Tensor:
    """KL(new | reference) (N,) over the legal choices, from log-probabilities (N, A), -inf if illegal."""
    legal = torch.isfinite(new) & torch.isfinite(reference)
    p, q = new.masked_fill(~legal, 0.0), reference.masked_fill(~legal, 0.0)
    return (p.exp() * (p - q)).masked_fill(~legal, 0.0).sum(1)


def choice_entropy(choices: Tensor) -> Tensor:
    """Entropy (N,) over the legal choices, from log-probabilities (N, A), -inf if illegal."""
    legal = torch.isfinite(choices)
    p = choices.masked_fill(~legal, 0.0)
    return -(p.exp() * p).masked_fill(~legal, 0.0).sum(1)


# ------------------------------------------------------------------------------ the objective
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Decisions of a minibatch with everything an objective reads, as tensors.

    Attributes:
        mask: (N, T) bool, sampled tokens.
        advantages: (N, 1).
        targets: (N,) for the value head.
        values: (N,) what the value head said before the update; None if unknown.
        old: (N, T) log-probabilities before the update.
        rollout: (N, T) log-probabilities when sampled.
        weight: (N, 1) how much each decision counts.
        reference: (N, T) log-probabilities under the reference, or None.
        reference_choices: (N, A) the same over the legal choices, or None.
    """

    mask: Tensor
    advantages: Tensor
    targets: Tensor
    values: Tensor | None
    old: Tensor
    rollout: Tensor
    weight: Tensor
    reference: Tensor | None = None
    reference_choices: Tensor | None = None


def objective(goal: Objective, scores: Scores, part: Part, totals: Totals) -> tuple[Tensor, dict[str, float]]:
    """The loss of a part of a minibatch, and its share of the minibatch's metrics.

    Raises:
        ConfigError: the goal needs values, a reference, or the legal choices of every decision that
            counts, and there are none.
    """
    mask = scores.mask & part.mask
    share = AGGREGATIONS.maker(goal.aggregation.name)(mask, totals, **goal.aggregation.settings) * part.weight
    ratio = ratio_of(scores.logprobs, part.old).masked_fill(~mask, 1.0)
    loss = POLICY_LOSSES.maker(goal.loss.name)(ratio, part.advantages, **goal.loss.settings)
    gap = (part.old - part.rollout).masked_fill(~mask, 0.0)
    loss = loss * CORRECTIONS.maker(goal.correction.name)(gap, mask, **goal.correction.settings).detach()
    total = policy = (share * loss).masked_fill(~mask, 0.0).sum()
    counted = mask.any(1) * part.weight[:, 0] / totals.decisions
    bonus = _entropy(goal, scores, share, counted, totals)
    total = total - goal.entropy * bonus
    log = {"losses/policy_loss": policy, "losses/entropy": bonus, **_drift(goal, scores, part, mask, totals)}
    if goal.value:
        if scores.values is None:
            raise ConfigError("the objective has a value loss and the policy has no value head")
        worth = (counted * value_loss(scores.values, part.targets, part.values, goal.value_clip)).sum()
        total, log["losses/value_loss"] = total + goal.value * worth, worth
    if goal.divergence:
        away = _divergence(goal, scores, part, share, counted)
        total, log["losses/kl"] = total + goal.divergence * away, away
    if goal.legality:
        total = total + goal.legality * _illegality(scores, counted)
    if scores.legal_mass is not None and totals.open < totals.decisions:
        mass = (counted * scores.legal_mass).masked_fill(torch.isnan(scores.legal_mass), 0.0).sum()
        log["losses/legal_mass"] = mass * totals.decisions / (totals.decisions - totals.open)
    log["losses/loss"] = total
    return total, {name: float(number.detach()) for name, number in log.items()}


def _entropy(goal: Objective, scores: Scores, share: Tensor, counted: Tensor, totals: Totals) -> Tensor:
    if goal.entropy_over == "choices":
        if not totals.open and _chosen(scores.choices, counted):
            return (counted * choice_entropy(scores.choices)).sum()
        if goal.entropy:
            raise ConfigError("some replies are open: take the entropy over tokens (entropy_over = 'tokens')")
    entropy: Tensor = scores.entropy
    return (share * entropy).masked_fill(share == 0, 0.0).sum()


def _divergence(goal: Objective, scores: Scores, part: Part, share: Tensor, counted: Tensor) -> Tensor:
    if goal.divergence_by == "exact":
        if not _chosen(scores.choices, counted) or not _chosen(part.reference_choices, counted):
            raise ConfigError(
                "some replies are open: estimate the divergence on tokens (divergence_by = 'k3')"
            )
        return (counted * exact_divergence(scores.choices, part.reference_choices)).sum()
    if part.reference is None:
        raise ConfigError("a divergence needs a reference: reference = 'init' or 'magnet'")
    each = divergence(scores.logprobs, part.reference, goal.divergence_by)
    return (share * each).masked_fill(share == 0, 0.0).sum()


def _chosen(choices: Tensor | None, counted: Tensor) -> TypeGuard[Tensor]:
    """Whether the legal choices (N, A) of every row that counts are known."""
    return choices is not None and bool((torch.isfinite(choices).any(1) | (counted == 0)).all())


def _illegality(scores: Scores, counted: Tensor) -> Tensor:
    """Minus the log-probability of all legal replies together."""
    if scores.legal_mass is None or bool(torch.isnan(scores.legal_mass).any()):
        raise ConfigError(
            "legality = 0 for networks and open replies: only language models that choose can drift"
        )
    mass: Tensor = scores.legal_mass.clamp_min(1e-12)
    return -(counted * mass.log()).sum()


def _drift(goal: Objective, scores: Scores, part: Part, mask: Tensor, totals: Totals) -> dict[str, Tensor]:
    """How far the policy has moved from the one before the update, under CleanRL's names.

    `clipfrac` is the share of tokens whose ratio is beyond the loss's own bounds; a loss without
    bounds has none.
    """
    with torch.no_grad():
        gap = (scores.logprobs - part.old).masked_fill(~mask, 0.0).clamp(-LARGEST, LARGEST)
        ratio = gap.exp()
        log = {
            "losses/old_approx_kl": (-gap).sum() / totals.tokens,
            "losses/approx_kl": ((ratio - 1) - gap).sum() / totals.tokens,
        }
        bounds = _bounds(goal.loss)
        if bounds is not None:
            beyond = (ratio < 1 - bounds[0]) | (ratio > 1 + bounds[1])
            log["losses/clipfrac"] = beyond.sum() / totals.tokens
        return log


def _bounds(loss: Named) -> tuple[float, float] | None:
    """How far a loss that takes `low` and `high` lets the ratio fall and rise."""
    takes = inspect.signature(POLICY_LOSSES.maker(loss.name)).parameters
    if not {"low", "high"} <= takes.keys():
        return None
    low, high = (float(loss.settings.get(name, takes[name].default)) for name in ("low", "high"))
    return low, high
