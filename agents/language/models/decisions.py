"""Decisions of a language model scored: what was said, and every legal reply where those are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.models.causal import CausalModel
from ludus.agents.language.models.scoring import Continued
from ludus.core.policy import Rows, Scores


def continued(
    model: CausalModel, pairs: Iterable[tuple[Ids, Ids]]
) -> tuple[Continued, dict[tuple[Ids, Ids], int]]:
    """The scores of each distinct (prompt, continuation), and in which row each is."""
    place = {pair: index for index, pair in enumerate(dict.fromkeys(pairs))}
    prompts = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in place))}
    found = model.score(list(prompts), [(prompts[prompt], ids) for prompt, ids in place])
    return found, place


def scored(model: CausalModel, rows: Rows) -> Scores:
    """Decisions under the model's present weights, with gradients.

    Equal prompts are read once and equal continuations scored once, whoever asked. Rows whose replies
    are open have -inf in all of `choices` and NaN as `legal_mass`.

    Raises:
        ValueError: there is no token to score.
    """
    if not rows.mask.any():
        raise ValueError("these decisions have no tokens: a language model scores what it sampled")
    prompts = [tuple(prompt.tolist()) for prompt in rows.prompts]
    own = [tuple(ids[mask].tolist()) for ids, mask in zip(rows.ids, rows.mask, strict=True)]
    replies = rows.replies if rows.replies is not None else (None,) * len(own)
    asked = [(p, ids) for p, ids in zip(prompts, own, strict=True) if ids]
    legal = [None if several is None else tuple(map(model.whichever, several)) for several in replies]
    asked += [(p, r) for p, several in zip(prompts, legal, strict=True) for r in several or ()]
    found, place = continued(model, asked)
    index = _tensor(model, [place.get(pair, 0) for pair in zip(prompts, own, strict=True)])
    width = rows.ids.shape[1]
    choices, mass = (None, None)
    if rows.replies is not None:
        choices, mass = _choices(model, found.logprobs.sum(1), place, prompts, legal)
    logprobs, entropy, collision, values = (
        None if column is None else column.index_select(0, index)[:, :width] for column in found
    )
    return Scores(
        logprobs=logprobs,
        mask=_tensor(model, rows.mask & rows.sampled),
        entropy=entropy,
        values=None if values is None else values[:, 0],
        choices=choices,
        legal_mass=mass,
        token_values=values,
        collision=collision,
    )


def _choices(
    model: CausalModel,
    total: torch.Tensor,
    place: Mapping[tuple[Ids, Ids], int],
    prompts: Sequence[Ids],
    replies: Sequence[tuple[Ids, ...] | None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised log-probabilities (N, A) of the legal replies, and their mass (N,) before that."""
    width = max((len(several) for several in replies if several), default=1)
    index = np.zeros((len(prompts), width), np.int64)
    given = np.zeros((len(prompts), width), np.bool_)
    for row, (prompt, several) in enumerate(zip(prompts, replies, strict=True)):
        for column, reply in enumerate(several or ()):
            index[row, column], given[row, column] = place[prompt, reply], True
    known, valid = _tensor(model, given.any(1)), _tensor(model, given)
    picked = total.index_select(0, _tensor(model, index.reshape(-1))).reshape(index.shape)
    picked = picked.masked_fill(~valid & known[:, None], -torch.inf)  # unknown rows stay finite for now
    whole = picked.logsumexp(1)
    choices = (picked - whole[:, None]).masked_fill(~valid, -torch.inf)
    return choices, whole.exp().masked_fill(~known, torch.nan)


def _tensor(model: CausalModel, array: Any) -> torch.Tensor:
    return torch.as_tensor(array, device=model.device)
