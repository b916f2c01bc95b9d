"""Objectives: what is made small. Parts of a minibatch, and the sum of all that is lost on one.

    total = sum over tokens of  share x weight x correction x modifiers x policy loss
            + divergence + value loss - entropy + illegality

Each factor is chosen by name from a registry of its own, whatever the others and the estimator are:
losses (`.losses`, `.sequence_losses`), modifiers (`.losses`), shares (`.aggregations`), corrections
(`.corrections`). Everything that depends on more than the decision itself is worked out before a
minibatch is cut into micro-batches, so that the parts add up to the whole.

Shape letters: N decisions, T tokens of the longest, A legal moves or replies.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
from torch import Tensor

from ludus.core.errors import ConfigError
from ludus.core.policy import Scores
from ludus.training.choices import Named
from ludus.training.objectives import losses, neurd, sequence_losses, supervised
from ludus.training.objectives.aggregations import AGGREGATIONS, Totals
from ludus.training.objectives.corrections import CORRECTIONS
from ludus.training.objectives.divergences import (
    choice_entropy,
    divergence,
    exact_divergence,
    value_loss,
)
from ludus.training.objectives.terms import LARGEST, MODIFIERS, POLICY_LOSSES, Terms, evaluated, with_marks
from ludus.training.settings import Objective

__all__ = [
    "AGGREGATIONS", "CORRECTIONS", "LARGEST", "MODIFIERS", "POLICY_LOSSES", "Part", "Terms", "Totals", "choice_entropy",
    "divergence", "exact_divergence", "losses", "neurd", "objective", "sequence_losses", "supervised", "value_loss",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Decisions of a minibatch with everything an objective reads, as tensors.

    Attributes:
        mask: (N, T) bool, tokens that count.
        advantages: (N, 1) or (N, T).
        targets: (N,) for the value head, or (N, T) for a head that values every token.
        values: like `targets`, what the head said before the update, NaN where that is unknown.
        old: (N, T) log-probabilities before the update.
        rollout: (N, T) log-probabilities when sampled.
        weight: (N, 1) how much each decision counts.
        correction: (N, T) what `corrected` made of old and rollout.
        reference: (N, T) log-probabilities under the reference, or None.
        reference_choices: (N, A) the same over the legal choices, or None.
        rate: (N, 1) share of a decision's peers that succeeded, or None.
        right: (N, 1) whether it did itself, or None.
        policy_target: (N, A) how a search would mix the legal choices, or None.
        ids: (N, T) int64, the tokens themselves, or None.
        marks: (N, T) bool, the tokens marked by the loss or modifier of that name.
    """

    mask: Tensor
    advantages: Tensor
    targets: Tensor
    values: Tensor | None
    old: Tensor
    rollout: Tensor
    weight: Tensor
    correction: Tensor
    reference: Tensor | None = None
    reference_choices: Tensor | None = None
    rate: Tensor | None = None
    right: Tensor | None = None
    policy_target: Tensor | None = None
    ids: Tensor | None = None
    marks: Mapping[str, Tensor] = field(default_factory=dict)


def objective(goal: Objective, scores: Scores, part: Part, totals: Totals) -> tuple[Tensor, dict[str, float]]:
    """The loss of a part of a minibatch, and its share of the minibatch's metrics.

    Raises:
        ConfigError: the goal needs values, a reference, marks, or the legal choices of every decision
            that counts, and there are none; or its loss does not go with its aggregation.
    """
    mask = scores.mask & part.mask
    share = AGGREGATIONS.maker(goal.aggregation.name)(mask, totals, **goal.aggregation.settings) * part.weight
    anchor = None if part.reference is None else part.reference.masked_fill(~mask, 0.0)
    terms = Terms.of(
        scores.logprobs, part.old, part.rollout, part.advantages, mask, scores.entropy,
        rate=part.rate, right=part.right, reference=anchor, choices=scores.choices,
        reference_choices=part.reference_choices, ids=part.ids, policy_target=part.policy_target,
    )  # fmt: skip
    loss = _policy_loss(goal, terms, part)
    total = policy = (share * loss).masked_fill(~mask, 0.0).sum()
    counted = mask.any(1) * part.weight[:, 0] / totals.decisions
    log = {"losses/policy_loss": policy, **_drift(goal, terms, totals)}
    chosen = _entropy_of_choices(goal, scores, counted, totals)
    if chosen is not None:
        log["losses/entropy"] = chosen
    if goal.entropy:
        total = total - goal.entropy * (_entropy_of_tokens(scores, share) if chosen is None else chosen)
    if goal.value:
        worth = _value(goal, scores, part, counted, totals)
        total, log["losses/value_loss"] = total + goal.value * worth, worth
    if goal.divergence:
        away, log["losses/kl"] = _divergence(goal, scores, terms, part, share, counted, totals)
        total = total + goal.divergence * away
    if goal.legality:
        total = total + goal.legality * _illegality(scores, counted)
    if scores.legal_mass is not None and totals.open < totals.decisions:
        mass = (counted * scores.legal_mass).masked_fill(torch.isnan(scores.legal_mass), 0.0).sum()
        log["losses/legal_mass"] = mass * totals.decisions / (totals.decisions - totals.open)
    log["losses/loss"] = total
    return total, {name: float(number.detach()) for name, number in log.items()}


def check_goal(goal: Objective) -> None:
    """Refuse combinations that would not do what they say.

    Raises:
        ConfigError: a loss with an aggregation or a correction that it does not go with.
    """
    loss = POLICY_LOSSES.maker(goal.loss.name)
    fitting = getattr(loss, "aggregations", ())
    if fitting and goal.aggregation.name not in fitting:
        raise ConfigError(
            f"the loss {goal.loss.name} does not go with the aggregation {goal.aggregation.name}: "
            f"choose {' or '.join(fitting)}"
        )
    if goal.correction and not getattr(loss, "compares", True):
        raise ConfigError(f"the loss {goal.loss.name} compares with no old log-probabilities: no correction")
    if goal.correction and getattr(loss, "corrects", False):
        raise ConfigError(
            f"the loss {goal.loss.name} weighs by the engine's log-probabilities itself, and "
            f"{', '.join(one.name for one in goal.correction)} would do it again: no correction"
        )


def _policy_loss(goal: Objective, terms: Terms, part: Part) -> Tensor:
    check_goal(goal)
    function = POLICY_LOSSES.maker(goal.loss.name)
    loss = evaluated(function, goal.loss.settings, with_marks(terms, part.marks.get(goal.loss.name)))
    for choice in goal.modifiers:
        weigh = MODIFIERS.maker(choice.name)
        marked = with_marks(terms, part.marks.get(choice.name))
        loss = loss * evaluated(weigh, choice.settings, marked).detach()
    return loss * part.correction.masked_fill(~terms.mask, 0.0)


def reads_choices(goal: Objective) -> bool:
    """Whether an objective wants to know the probability of every legal reply, and not of those given alone."""
    over = goal.entropy_over == "choices" and (goal.entropy or goal.entropy_control.name != "fixed")
    read = "choices" in getattr(POLICY_LOSSES.maker(goal.loss.name), "needs", ())
    return bool(read or over or goal.legality or (goal.divergence and goal.divergence_by == "exact"))


def _entropy_of_choices(goal: Objective, scores: Scores, counted: Tensor, totals: Totals) -> Tensor | None:
    """None where it is not asked for, or some replies are open."""
    if goal.entropy_over == "tokens":
        return None
    if not totals.open and _chosen(scores.choices, counted):
        return (counted * choice_entropy(scores.choices)).sum()
    if goal.entropy or goal.entropy_control.name != "fixed":
        raise ConfigError("some replies are open: take the entropy over tokens (entropy_over = 'tokens')")
    return None


def _entropy_of_tokens(scores: Scores, share: Tensor) -> Tensor:
    entropy: Tensor = scores.entropy
    return (share * entropy).masked_fill(share == 0, 0.0).sum()


def _value(goal: Objective, scores: Scores, part: Part, counted: Tensor, totals: Totals) -> Tensor:
    """A mean over decisions, or over tokens where those have targets."""
    each = scores.values if part.targets.dim() == 1 else scores.token_values
    if each is None:
        where = "" if part.targets.dim() == 1 else " that values every token"
        raise ConfigError(f"the objective has a value loss and the policy has no value head{where}")
    lost = value_loss(each, part.targets, part.values, goal.value_clip)
    if part.targets.dim() == 1:
        return (counted * lost).sum()
    return (part.weight * lost).masked_fill(~(scores.mask & part.mask), 0.0).sum() / totals.tokens


def _divergence(
    goal: Objective, scores: Scores, terms: Terms, part: Part, share: Tensor, counted: Tensor, totals: Totals
) -> tuple[Tensor, Tensor]:
    """What it adds to the loss, by the aggregation; and what it is: of a decision, or of a token in the mean."""
    if goal.divergence_by == "exact":
        if not _chosen(scores.choices, counted) or not _chosen(part.reference_choices, counted):
            raise ConfigError(
                "some replies are open: estimate the divergence on tokens (divergence_by = 'k3')"
            )
        exact = (counted * exact_divergence(scores.choices, part.reference_choices)).sum()
        return exact, exact
    if part.reference is None:
        raise ConfigError("a divergence needs a reference: reference = 'init' or 'magnet'")
    each = divergence(terms.new, part.reference.masked_fill(~terms.mask, 0.0), goal.divergence_by)
    each = (each * terms.ratio if goal.divergence_weighted else each).masked_fill(~terms.mask, 0.0)
    return (share * each).sum(), (part.weight * each).sum() / totals.tokens


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


def _drift(goal: Objective, terms: Terms, totals: Totals) -> dict[str, Tensor]:
    """How far the policy has moved from the one before the update, under CleanRL's names.

    `clipfrac` is the share of tokens whose ratio, as the loss makes it, is beyond the loss's own
    bounds; a loss without bounds has none.
    """
    loss = POLICY_LOSSES.maker(goal.loss.name)
    with torch.no_grad():
        log = {"losses/token_entropy": terms.entropy.sum() / totals.tokens}
        if not getattr(loss, "compares", True):
            return log
        gap = (terms.new - terms.old).clamp(-LARGEST, LARGEST)
        log["losses/old_approx_kl"] = (-gap).sum() / totals.tokens
        log["losses/approx_kl"] = ((gap.exp() - 1) - gap).sum() / totals.tokens
        ratio = getattr(loss, "bounds", None)
        if ratio is not None:
            low, high = _bounds(goal.loss)
            held = ratio(terms)
            beyond = ((held < 1 - low) | (held > 1 + high)) & terms.mask
            log["losses/clipfrac"] = beyond.sum() / totals.tokens
        return log


def _bounds(loss: Named) -> tuple[float, float]:
    """How far a loss that takes `low` and `high` lets its ratio fall and rise."""
    takes = inspect.signature(POLICY_LOSSES.maker(loss.name)).parameters
    low, high = (float(loss.settings.get(name, takes[name].default)) for name in ("low", "high"))
    return low, high
