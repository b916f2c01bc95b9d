"""What a next token is drawn from, and drawing it.

Shape letters: n distributions, R draws, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.agents.language.engines.engine import Ids, Sampling


def drawn(
    logp: Tensor, which: NDArray[np.int64], uniforms: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens (R,) and their log-probabilities (R,): the first whose cumulative probability exceeds a uniform number.

    Args:
        logp: (n, V).
        which: (R,) of the distributions each is drawn from.
        uniforms: (R,) in [0, 1).
    """
    edges = logp.exp().cumsum(-1)
    where = torch.as_tensor(which, device=logp.device)
    u = torch.as_tensor(uniforms, dtype=logp.dtype, device=logp.device)
    rows = edges if np.array_equal(which, np.arange(len(edges))) else edges[where]
    token = torch.searchsorted(rows, (u * rows[:, -1])[:, None], right=True)[:, 0]
    token = token.clamp(max=logp.shape[-1] - 1)
    chosen = logp[where, token]
    return token.cpu().numpy(), chosen.double().cpu().numpy()


def distributions(
    logits: Tensor, sampling: Sequence[Sampling], allowed: Sequence[tuple[Ids, ...] | None]
) -> Tensor:
    """Log-probabilities (n, V) from which next tokens are drawn.

    Args:
        logits: (n, V).
        sampling: how, for each.
        allowed: what may still follow, for each; None: anything.
    """
    kinds = set(sampling)
    logits = logits.double()
    if any(kind.temperature != 1.0 for kind in kinds):
        warmth = [kind.temperature or 1.0 for kind in sampling]
        logits = logits / torch.as_tensor(warmth, dtype=logits.dtype, device=logits.device)[:, None]
    if any(allowed):
        logits = logits.masked_fill(_forbidden(allowed, logits), -torch.inf)
    for kind in kinds:
        if kind.temperature == 0 or kind.top_k or kind.top_p < 1:
            rows = torch.as_tensor([s == kind for s in sampling], device=logits.device)
            logits[rows] = _narrowed(logits[rows], kind)
    return torch.log_softmax(logits, -1)


def _forbidden(allowed: Sequence[tuple[Ids, ...] | None], like: Tensor) -> Tensor:
    """(n, V) True on tokens that lead to no allowed reply."""
    mask = np.zeros(like.shape, np.bool_)
    for row, left in enumerate(allowed):
        if left is not None:
            mask[row] = True
            mask[row, [reply[0] for reply in left if reply]] = False
    return torch.as_tensor(mask, device=like.device)


def _narrowed(logits: Tensor, kind: Sampling) -> Tensor:
    """Logits (N, V), -inf outside the likeliest tokens that a sampling keeps."""
    if kind.temperature == 0:
        return torch.full_like(logits, -torch.inf).scatter(1, logits.argmax(1, keepdim=True), 0.0)
    if kind.top_k and kind.top_k < logits.shape[1]:
        least = logits.topk(kind.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if kind.top_p < 1:
        ranked, order = logits.sort(descending=True)
        share = torch.softmax(ranked, -1)
        beyond = share.cumsum(-1) - share >= kind.top_p
        logits = logits.scatter(1, order, ranked.masked_fill(beyond, -torch.inf))
    return logits
