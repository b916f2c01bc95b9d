"""Corrections for engines that sample otherwise than the policy scores.

    CORRECTIONS     weight(gap, mask, **settings) -> (N, T)

`gap` is the old log-probability minus that of the rollout, zero outside `mask`. Weights are worked out
once for a batch, carry no gradient, and multiply the policy loss alone. Several corrections multiply,
so that a token is learned from where all of them keep it.

Shape letters: N decisions, T tokens of the longest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
from torch import Tensor

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.registry import Registry
from ludus.training.choices import Named
from ludus.training.objectives.terms import LARGEST

CORRECTIONS = Registry("mismatch correction", "ludus.corrections")

F = TypeVar("F", bound=Callable[..., Tensor])


def correction(name: str) -> Callable[[F], F]:
    """Decorator: make a correction available by name in configurations."""
    return lambda function: CORRECTIONS.add(name, function)


def corrected(chosen: Sequence[Named], gap: Tensor, mask: Tensor) -> Tensor:
    """The product of the chosen corrections' weights (N, T); one without any, zero outside the mask.

    Args:
        chosen: names and settings.
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T) bool.
    """
    gap = gap.masked_fill(~mask, 0.0)
    weight = mask.to(gap.dtype)
    for choice in chosen:
        weight = weight * CORRECTIONS.maker(choice.name)(gap, mask, **choice.settings)
    return weight.detach()


def mismatch(gap: Tensor, weight: Tensor) -> dict[str, float]:
    """How far engine and policy are apart, over the tokens of a batch that were sampled.

        w = exp(gap):   kl = mean(w - gap - 1),  weight_mean, weight_max,  chi2 = mean(w^2) - 1,
                        ess = (sum w)^2 / sum w^2, as a share of the tokens

    `kl` estimates KL(rollout | old). `masked` is the share of tokens whose weight a correction made zero.

    Args:
        gap: (K,) old minus rollout log-probability.
        weight: (K,) what `corrected` made of it.
    """
    gap = gap.double()
    w = gap.clamp(-LARGEST, LARGEST).exp()
    numbers = {
        "kl": (w - gap - 1).mean(), "weight_mean": w.mean(), "weight_max": w.max(),
        "chi2": (w**2).mean() - 1, "ess": w.sum() ** 2 / (w**2).sum() / len(w),
        "masked": (weight == 0).double().mean(),
    }  # fmt: skip
    return {f"mismatch/{name}": float(number) for name, number in numbers.items()}


# ------------------------------------------------------------------------------------ weights
def _sum(gap: Tensor) -> Tensor:
    return gap.sum(1, keepdim=True).clamp(-LARGEST, LARGEST)


def _mean(gap: Tensor, mask: Tensor) -> Tensor:
    return gap.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def _token(gap: Tensor) -> Tensor:
    return gap.clamp(-LARGEST, LARGEST).exp()


def _over_mean(weight: Tensor, mask: Tensor) -> Tensor:
    return weight / (weight * mask).sum() * mask.sum()


@correction("none")
def no_correction(gap: Tensor, mask: Tensor) -> Tensor:
    """The engine that sampled and the policy that learns agree: weight one."""
    return torch.ones_like(gap)


@correction("truncate")
def truncate(gap: Tensor, mask: Tensor, *, most: float = 2.0, normalise: bool = False) -> Tensor:
    """min(exp(old - rollout), most) for each token (truncated importance sampling).

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        most: the bound.
        normalise: divide by the batch's mean weight of a token.

    Source: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"; verl.
    """
    weight = _token(gap).clamp(max=most)
    return _over_mean(weight, mask) if normalise else weight


@correction("truncate_sequence")
def truncate_sequence(gap: Tensor, mask: Tensor, *, most: float = 2.0, normalise: bool = False) -> Tensor:
    """min(exp(sum(old - rollout)), most), the same for all tokens of a decision.

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        most: the bound.
        normalise: divide by the batch's mean weight of a decision, however long.

    Source: verl, TRL (`sequence_truncate`).
    """
    weight = _sum(gap).exp().clamp(max=most)
    weight = _over_mean(weight, mask.any(1, keepdim=True)) if normalise else weight
    return weight.expand_as(gap)


def _held(ratio: Tensor, weight: Tensor, least: float, most: float, inside: str) -> Tensor:
    if inside not in ("one", "weight"):
        raise UnknownName("weight inside the bounds", inside, ("one", "weight"))
    keep = (ratio >= least) & (ratio <= most)
    return keep.to(weight.dtype).expand_as(weight) if inside == "one" else weight * keep


@correction("mask_token")
def mask_token(
    gap: Tensor,
    mask: Tensor,
    *,
    least: float = 0.0,
    most: float = 3.0,
    inside: Literal["one", "weight"] = "weight",
) -> Tensor:
    """Drop tokens whose ratio leaves [least, most].

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        least: lower bound.
        most: upper bound.
        inside: the others keep their ratio as "weight", as in TRL (`token_mask`), or weigh "one".
    """
    ratio = _token(gap)
    return _held(ratio, ratio, least, most, inside)


@correction("icepop")
def icepop(gap: Tensor, mask: Tensor, *, least: float = 0.5, most: float = 5.0) -> Tensor:
    """The ratio of tokens within [least, most], zero for the others.

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        least: lower bound.
        most: upper bound.

    Source: Ling Team 2025 (Ring-1T), arXiv:2510.18855; OpenRLHF.
    """
    return mask_token(gap, mask, least=least, most=most)


@correction("mask_sequence")
def mask_sequence(
    gap: Tensor,
    mask: Tensor,
    *,
    least: float = 0.5,
    most: float = 2.0,
    inside: Literal["one", "weight"] = "one",
) -> Tensor:
    """Drop decisions whose summed ratio leaves [least, most].

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        least: lower bound.
        most: upper bound.
        inside: the others weigh "one", as in verl, or keep their summed ratio as "weight", as in TRL
            (`sequence_mask`, with most = 3 and least = 0).
    """
    ratio = _sum(gap).exp()
    return _held(ratio, ratio.expand_as(gap), least, most, inside)


@correction("mask_geometric")
def mask_geometric(
    gap: Tensor,
    mask: Tensor,
    *,
    least: float = 0.999,
    most: float = 1.001,
    inside: Literal["one", "weight"] = "one",
) -> Tensor:
    """Drop decisions whose geometric mean of ratios leaves [least, most].

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        least: lower bound.
        most: upper bound.
        inside: the tokens of the others weigh "one", as in verl, or keep their own ratio as "weight", as
            in OpenRLHF (`seq-mask-tis`).
    """
    return _held(_mean(gap, mask).exp(), _token(gap), least, most, inside)


@correction("reject")
def reject(
    gap: Tensor,
    mask: Tensor,
    *,
    by: Literal["k1", "k2", "k3"] = "k3",
    level: Literal["token", "sum", "mean", "max"] = "mean",
    least: float = -math.inf,
    most: float = 0.01,
) -> Tensor:
    """Drop tokens, or whole decisions, whose divergence leaves [least, most]; the others weigh one.

        k1 = rollout - old (a summed or mean k1 bounds the logarithm of a ratio),  k2 = gap^2 / 2,
        k3 = exp(gap) - gap - 1

    Args:
        gap: (N, T) old minus rollout log-probability.
        mask: (N, T).
        by: the estimator.
        level: of each "token", or of a decision: the "sum", "mean" or "max" over its tokens.
        least: lower bound.
        most: upper bound; 0.01 is for the mean of k3.

    Source: verl (rollout correction).
    """
    x = gap.clamp(-LARGEST, LARGEST)
    each = {"k1": -x, "k2": x**2 / 2, "k3": x.exp() - x - 1}
    if by not in each:
        raise UnknownName("estimator of a rejection", by, each)
    found = each[by].masked_fill(~mask, 0.0)
    levels = {
        "token": found, "sum": found.sum(1, keepdim=True), "mean": _mean(found, mask),
        "max": each[by].masked_fill(~mask, -math.inf).amax(1, keepdim=True),
    }  # fmt: skip
    if level not in levels:
        raise UnknownName("level of a rejection", level, levels)
    if least > most:
        raise ConfigError(f"least = {least} lies above most = {most}: nothing would be kept")
    measure = levels[level]
    return ((measure >= least) & (measure <= most)).to(gap.dtype).expand_as(gap)
