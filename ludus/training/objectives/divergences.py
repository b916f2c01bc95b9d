"""Divergences from a reference, entropies, value losses, and the controllers of their coefficients.

    DIVERGENCE_CONTROLLERS   control(coefficient, measured, n, **settings) -> coefficient
    ENTROPY_CONTROLLERS      control(held, measured, **settings) -> (held, applied)

Shape letters: N decisions, A legal moves or replies; what is said of no shape goes for any.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ludus.core.errors import UnknownName
from ludus.core.registry import Registry
from ludus.training.objectives.terms import LARGEST

DIVERGENCE_CONTROLLERS = Registry("controller of the divergence", "ludus.divergence_controllers")
ENTROPY_CONTROLLERS = Registry("controller of the entropy", "ludus.entropy_controllers")


def value_loss(new: Tensor, target: Tensor, old: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Half the squared error; with `clip`, the larger of it and that of the clipped change.

    Where `old` is NaN nothing is known that the change could be clipped to.

    Source: Schulman et al. 2017; value clipping as in the authors' code.
    """
    loss = (new - target) ** 2
    if clip is not None and old is not None:
        near = torch.where(old.isnan(), new, old + (new - old.nan_to_num()).clamp(-clip, clip))
        loss = torch.maximum(loss, (near - target) ** 2)
    return 0.5 * loss


def divergence(new: Tensor, reference: Tensor, kind: str = "k3") -> Tensor:
    """Estimates of KL(new | reference) from log-probabilities of tokens drawn from `new`.

        x = reference - new:    k1 = -x,    k2 = x^2 / 2,    k3 = e^x - x - 1 (at most 10),    abs = |x|

    "k3+" has the value of k3 and the gradient of k2, which is that of the true divergence.

    Source: Schulman 2020, "Approximating KL divergence".
    """
    x = (reference - new).clamp(-LARGEST, LARGEST)
    if kind == "k1":
        return -x
    if kind == "abs":
        return x.abs()
    k2 = x**2 / 2
    k3 = (x.exp() - x - 1).clamp(max=10.0)
    known = {"k2": k2, "k3": k3, "k3+": k3.detach() + k2 - k2.detach()}
    if kind not in known:
        raise UnknownName("estimator of the divergence", kind, ("k1", "abs", *known))
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


# -------------------------------------------------------------------------------- controllers
def _fixed_divergence(coefficient: float, measured: float, n: int) -> float:
    """The coefficient stays."""
    return coefficient


def adaptive_divergence(
    coefficient: float, measured: float, n: int, *, target: float = 0.1, horizon: float = 10_000
) -> float:
    """Raise the coefficient where the divergence is above its target, lower it below.

        coefficient (1 + clip(measured / target - 1, -0.2, 0.2) min(n / horizon, 1))

    The papers do not say what becomes of batches beyond the horizon; without the minimum, those beyond
    five of them would turn the coefficient's sign.

    Args:
        coefficient: as it was.
        measured: the divergence of a batch: of a token in the mean, or exactly of a decision, whatever
            the aggregation.
        n: decisions in it.
        target: what the divergence should be.
        horizon: decisions over which the coefficient may change by a fifth.

    Source: Ziegler et al. 2019, arXiv:1909.08593, section 2.2; verl.
    """
    error = min(max(measured / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * min(n / horizon, 1.0))


def _fixed_entropy(held: float, measured: float | None) -> tuple[float, float]:
    """The coefficient stays, and is always applied."""
    return held, held


def adaptive_entropy(
    held: float,
    measured: float | None,
    *,
    target: float = 0.2,
    step: float = 0.005,
    least: float = 0.0,
    most: float = 1.0,
) -> tuple[float, float]:
    """One step up where the entropy is at its target or below, one step down above.

    Args:
        held: the coefficient as it was.
        measured: the entropy of an update, a token's or a choice's; None before the first.
        target: what the entropy should be.
        step: by how much the coefficient moves.
        least: the smallest coefficient.
        most: the largest.

    Returns:
        The coefficient to be held, and the one to be applied in the next update: the same, or zero
        where the entropy was above the target or is not known.

    Source: He et al. 2025 (Skywork-OR1), arXiv:2505.22312; TRL.
    """
    if measured is None:
        return held, 0.0
    low = measured <= target
    moved = min(max(held + step if low else held - step, least), most)
    return moved, moved if low else 0.0


def falling_entropy(
    held: float, measured: float | None, *, share: float = 0.9995, least: float = 0.0
) -> tuple[float, float]:
    """A share of the coefficient after each update: towards equilibrium, as a regularisation goes to nothing.

    Magnetic mirror descent stops short of an equilibrium while its regularisation stays (Sokota et al. 2023,
    arXiv:2206.05825, section 3).

    Args:
        held: the coefficient as it was.
        measured: the entropy of an update; it does not matter, and is None before the first.
        share: of the coefficient that is left after an update.
        least: where it stops falling.
    """
    now = held if measured is None else max(held * share, least)
    return now, now


DIVERGENCE_CONTROLLERS.add("fixed", _fixed_divergence)
DIVERGENCE_CONTROLLERS.add("adaptive", adaptive_divergence)
ENTROPY_CONTROLLERS.add("fixed", _fixed_entropy)
ENTROPY_CONTROLLERS.add("adaptive", adaptive_entropy)
ENTROPY_CONTROLLERS.add("falling", falling_entropy)
