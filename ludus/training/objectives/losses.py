"""Policy losses that weigh each token by its own ratio, and modifiers that go with any loss.

Those with one ratio for a whole reply are in `ludus.training.objectives.sequence_losses`. At a ratio of one the
gradient of every loss is minus the advantage times that of the log-probability; NFT has advantages of
its own (right minus rate), and tokens that Clip-Cov marks have none.

Shape letters: N decisions, T tokens of the longest, K tokens of a minibatch that count.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.core.errors import ConfigError, UnknownName
from ludus.training.objectives.terms import Field, Terms, modifier, policy_loss, ratio_of, straight_through


def _ratio(terms: Terms) -> Tensor:
    return terms.ratio


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """max(-A ratio, -A clip(ratio, 1 - low, 1 + high))."""
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high))


@policy_loss("clip", bounds=_ratio)
def clip(terms: Terms, *, low: float = 0.2, high: float = 0.2, dual: float | None = None) -> Tensor:
    """The clipped surrogate.

        L = max(-A ratio, -A clip(ratio, 1 - low, 1 + high));   with `dual`, where A < 0: min(L, -A dual)

    Args:
        terms: of the decisions.
        low: how far the ratio may fall.
        high: how far it may rise; more than `low` in DAPO.
        dual: bounds the loss where a bad token has become much likelier; more than 1 + high.

    Source: Schulman et al. 2017, arXiv:1707.06347, equation 7; Ye et al. 2020, arXiv:1912.09729,
    equation 5 (dual); Yu et al. 2025 (DAPO), arXiv:2503.14476 (two sides).
    """
    if dual is not None and dual <= 1 + high:
        raise ConfigError(f"dual = {dual} must exceed 1 + high = {1 + high}")
    advantages = terms.advantages
    loss = clipped(terms.ratio, advantages, low, high)
    if dual is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual), loss)


@policy_loss("plain")
def plain(terms: Terms) -> Tensor:
    """Policy gradient without a trust region: L = -A ratio.

    Source: Williams 1992 (REINFORCE), with importance weights.
    """
    return -terms.advantages * terms.ratio


@policy_loss("two_sided", bounds=_ratio)
def two_sided(terms: Terms, *, low: float = 0.2, high: float = 0.2, most: float = 4.0) -> Tensor:
    """The clipped surrogate with the ratio capped in its unclipped branch too.

        L = max(-A min(ratio, most), -A clip(ratio, 1 - low, 1 + high))

    Args:
        terms: of the decisions.
        low: how far the ratio may fall.
        high: how far it may rise.
        most: the cap; more than 1 + high.

    Source: INTELLECT-2 (Prime Intellect 2025), arXiv:2505.07291; `delta` in TRL.
    """
    if most <= 1 + high:
        raise ConfigError(f"most = {most} must exceed 1 + high = {1 + high}")
    bounded = -terms.advantages * terms.ratio.clamp(1 - low, 1 + high)
    return torch.maximum(-terms.advantages * terms.ratio.clamp(max=most), bounded)


@policy_loss("cispo")
def cispo(terms: Terms, *, most: float = 5.0) -> Tensor:
    """Policy gradient with a capped, detached ratio: clipped tokens keep a gradient.

        L = -sg(min(ratio, most)) A log pi

    The cap is absolute and there is none below, as in the paper's own runs (which set the lower bound
    so wide that it never acts) and in ScaleRL, which found results insensitive to it around 5; see
    `cispo_clip` for two sides.

    Args:
        terms: of the decisions.
        most: the cap.

    Source: MiniMax-M1 (2025), arXiv:2506.13585, equations 4 and 5; Khatri et al. 2025 (ScaleRL),
    arXiv:2510.13786; TRL.
    """
    return -terms.ratio.clamp(max=most).detach() * terms.advantages * terms.new


@policy_loss("cispo_clip", bounds=_ratio)
def cispo_clip(terms: Terms, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """As `cispo`, the ratio held between 1 - low and 1 + high, as in verl."""
    return -terms.ratio.clamp(1 - low, 1 + high).detach() * terms.advantages * terms.new


@policy_loss("sapo")
def sapo(terms: Terms, *, good: float = 1.0, bad: float = 1.05) -> Tensor:
    """A soft gate in place of clipping.

        L = -A (4 / tau) sigmoid(tau (ratio - 1)),   tau = good where A > 0, else bad

    Args:
        terms: of the decisions.
        good: temperature of tokens with a positive advantage.
        bad: of the others; the larger, the sooner they stop counting.

    Source: Gao et al. 2025, arXiv:2511.20347.
    """
    advantages = terms.advantages
    tau = torch.where(advantages > 0, advantages.new_tensor(good), advantages.new_tensor(bad))
    return -advantages * torch.sigmoid(tau * (terms.ratio - 1)) * 4 / tau


@policy_loss("nft", needs=("rate",))
def nft(
    terms: Terms,
    *,
    balance: Literal["centred", "standard", "none"] = "centred",
    negative: float = 1.0,
    above: float = 0.0,
) -> Tensor:
    """Learn from failures through the policy that they imply; advantages are not read.

        succeeded:  L = -w log R            R = exp(min(log pi - log old, 10))
        failed:     L = -w negative log max((1 - p R) / (1 - p), 1)

    p is the share of peers that succeeded, held in [0.02, 0.98]; the maximum's gradient passes straight
    through. At R = 1 and "centred" this is the policy gradient with the advantage right - p.

    Args:
        terms: of the decisions, with `rate` and `right`.
        balance: w = 1 - p ("centred", the scale of Dr. GRPO), sqrt((1 - p) / p) ("standard", that of
            GRPO), or 1 ("none").
        negative: what failures count; 0 learns from successes only.
        above: a seat succeeded whose return is more than this; the learner reads it.

    Source: Chen et al. 2025, arXiv:2505.18116, and the authors' code.
    """
    if terms.rate is None or terms.right is None:
        raise ConfigError("nft needs to know which decisions succeeded, and how many of their peers")
    p = terms.rate.clamp(0.02, 0.98)
    weights = {"centred": 1 - p, "standard": ((1 - p) / p).sqrt(), "none": torch.ones_like(p)}
    if balance not in weights:
        raise UnknownName("balance of nft", balance, weights)
    gap = (terms.new - terms.old).clamp(max=10.0)
    left = (1 - p * gap.exp()) / (1 - p)
    failed = -negative * straight_through(left.clamp(min=1.0), left).log()
    return weights[balance] * torch.where(terms.right > 0, -gap, failed)


# ----------------------------------------------------------------- covariance, over a minibatch
def covariance(field: Field) -> NDArray[np.float64]:
    """(K,) each token's share of the covariance of advantage and log-probability."""
    return np.asarray(
        (field.advantages - field.advantages.mean()) * (field.old - field.old.mean()), np.float64
    )


def _in_band(
    field: Field, rng: np.random.Generator, *, share: float = 2e-4, least: float = 1.0, most: float = 5.0
) -> NDArray[np.bool_]:
    found = covariance(field)
    band = np.flatnonzero((found > least) & (found < most))
    marked = np.zeros(len(found), np.bool_)
    marked[rng.permutation(band)[: max(int(share * len(found)), 1)]] = True
    return marked


def _highest(field: Field, rng: np.random.Generator, *, share: float = 2e-4) -> NDArray[np.bool_]:
    found = covariance(field)
    marked = np.zeros(len(found), np.bool_)
    marked[np.argsort(-found, kind="stable")[: max(int(share * len(found)), 1)]] = True
    return marked


@policy_loss("clip_cov", bounds=_ratio, marks=_in_band)
def clip_cov(terms: Terms, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """The clipped surrogate, without gradient at some tokens that drain entropy.

        c = (A - mean A) (log old - mean log old)

    Among the minibatch's tokens with `least` < c < `most`, `share` of all its tokens (at least one) are
    drawn, and count nothing. The authors use the current log-probabilities of a micro-batch and leave
    clipped tokens out of the draw; here it is made before the minibatch is scored, from the old ones,
    and so does not depend on micro-batches. In the first update the two are the same.

    Args:
        terms: of the decisions, with the drawn tokens marked.
        low: how far the ratio may fall.
        high: how far it may rise.

    Settings of the draw: share (2e-4), least (1.0), most (5.0).

    Source: Cui et al. 2025, arXiv:2505.22617.
    """
    drawn = terms.marks("clip_cov")
    return clipped(terms.ratio, terms.advantages, low, high).masked_fill(drawn, 0.0)


@policy_loss("kl_cov", marks=_highest)
def kl_cov(terms: Terms, *, coefficient: float = 1.0) -> Tensor:
    """Policy gradient, held back at the tokens that drain entropy most.

        L = -A ratio,   and at marked tokens   L = -A ratio + coefficient |log pi - log old|

    Marked is the `share` of the minibatch's tokens (at least one) with the highest c of `clip_cov`, of
    the old log-probabilities. What is added has no gradient at a ratio of one.

    Args:
        terms: of the decisions, with tokens marked.
        coefficient: 1 in the paper, 0.1 in the authors' scripts.

    Setting of the marks: share (2e-4).

    Source: Cui et al. 2025, arXiv:2505.22617.
    """
    held = (terms.new - terms.old).abs().masked_fill(~terms.marks("kl_cov"), 0.0)
    return -terms.advantages * terms.ratio + coefficient * held


# ------------------------------------------------------------------- how far probabilities moved
def _kept(terms: Terms, keep: Tensor, penalty: float) -> Tensor:
    ratio = ratio_of(terms.new, terms.rollout)
    return -(keep * terms.advantages) * ratio + penalty * (terms.new - terms.rollout) ** 2


def _moved(terms: Terms) -> Tensor:
    return (terms.new.exp() - terms.rollout.exp()).detach()


@policy_loss("dppo", needs=("rollout",), corrects=True)
def dppo(terms: Terms, *, low: float = 0.2, high: float = 0.2, penalty: float = 1e-3) -> Tensor:
    """Drop tokens whose probability has moved too far the way their advantage pushes it.

        L = -keep A pi / rollout + penalty (log pi - log rollout)^2
        keep = 0 where A > 0 and pi - rollout > high, or A < 0 and pi - rollout < -low

    The ratio is that to the engine's own log-probabilities, so it corrects for a mismatch by itself.

    Args:
        terms: of the decisions.
        low: how far the probability of a bad token may fall.
        high: how far that of a good one may rise.
        penalty: holds the policy near the engine's, as in Kimi K2.5 (arXiv:2602.02276).

    Source: Qi et al. 2026, arXiv:2602.04879; prime-rl's default loss.
    """
    moved, advantages = _moved(terms), terms.advantages
    beyond = ((advantages > 0) & (moved > high)) | ((advantages < 0) & (moved < -low))
    return _kept(terms, ~beyond, penalty)


@policy_loss("ipo", needs=("rollout",), corrects=True)
def ipo(terms: Terms, *, most: float = 0.1, penalty: float = 1e-3) -> Tensor:
    """As `dppo`, dropping tokens whose probability moved more than `most` either way.

    Source: prime-rl.
    """
    return _kept(terms, _moved(terms).abs() <= most, penalty)


# ---------------------------------------------------------------------------------- modifiers
@modifier("off_policy_sequence_mask", needs=("rollout",))
def off_policy_sequence_mask(terms: Terms, *, delta: float = 0.5) -> Tensor:
    """Zero for bad replies that the policy has left: A < 0 and mean(log rollout - log pi) > delta.

    Args:
        terms: of the decisions.
        delta: how far a bad reply may be left and still be learned from.

    Source: DeepSeek-V3.2 (2025), arXiv:2512.02556; TRL.
    """
    left = terms.mean(terms.rollout - terms.new.detach())
    dropped = (terms.mean(terms.advantages) < 0) & (left > delta)
    return (~dropped).to(terms.new.dtype).expand_as(terms.new)


def _uncertain(field: Field, rng: np.random.Generator, *, share: float = 0.2) -> NDArray[np.bool_]:
    return np.asarray(field.entropy >= np.quantile(field.entropy, 1 - share), np.bool_)


@modifier("top_entropy", marks=_uncertain, needs=("entropy",))
def top_entropy(terms: Terms) -> Tensor:
    """One at the `share` (0.2) of the minibatch's tokens with the highest entropy, zero at the others.

    Entropies are those of the policy when the batch began, over the whole minibatch.

    Source: Wang et al. 2025, arXiv:2506.01939; TRL.
    """
    return terms.marks("top_entropy").to(terms.new.dtype)
