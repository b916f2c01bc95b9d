"""What a model thinks of replies: log-probabilities, entropies and values, with gradients.

Every token is read once, whoever asked (see `packing.py`); logits are worked out only where a reply goes
on, and not all at once where the vocabulary is large.

Shape letters: W replies, T tokens of the longest, N sequences, L tokens of the longest, S tokens read,
U distinct places at which replies go on, G distinct (place, token) pairs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding

from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.models.packing import Index, Layout, padded, sort, tree
from ludus.core.errors import ConfigError

if TYPE_CHECKING:
    from ludus.agents.language.models.causal import CausalModel

READ_AT_ONCE = 65_536  # tokens of all sequences together, where no gradient is tracked
LOGITS_AT_ONCE = 2**25  # numbers
SAVED_BY_TOKEN = 12  # a layer's weights, in squares of its width: what a token costs besides attention


class Continued(NamedTuple):
    """Scores of replies; torch tensors, float32, attached to the graph; zero at padding.

    Attributes:
        logprobs: (W, T) of each token.
        entropy: (W, T) of the distribution each token would be drawn from.
        collision: (W, T) sum of its squared probabilities; where no gradient is tracked.
        values: (W, T) what the value head says before each token, if there is one.
    """

    logprobs: Tensor
    entropy: Tensor
    collision: Tensor | None = None
    values: Tensor | None = None


def score(model: CausalModel, prompts: Sequence[Ids], replies: Sequence[tuple[int, Ids]]) -> Continued:
    """Score replies (which prompt, tokens) under the model's temperature.

    The last token of a reply may be `model.any_end`, the sum of all that end one.

    Raises:
        ConfigError: a sequence is longer than the model's context.
    """
    ids, mask = padded([(*prompts[which], *tokens[:-1]) for which, tokens in replies])
    if ids.shape[1] > model.context:
        raise ConfigError(
            f"{model.path} has a context of {model.context} tokens, and was asked to score {ids.shape[1]}: let "
            "prompts hold less (memory = 'turn'), or choose a model with a longer context"
        )
    begins = np.array([len(prompts[which]) - 1 for which, _ in replies])
    targets, present = padded([tokens for _, tokens in replies])
    if torch.is_grad_enabled() or mask.sum() <= READ_AT_ONCE:
        return _score(model, ids, mask, begins, targets, present)
    order = sort(ids, mask)
    part = np.cumsum(mask[order].sum(1)) // READ_AT_ONCE
    shares = np.split(order, np.flatnonzero(np.diff(part)) + 1)
    done = [_score(model, ids[r], mask[r], begins[r], targets[r], present[r]) for r in shares]
    back = torch.from_numpy(np.argsort(order)).to(model.device)
    columns = [None if some[0] is None else torch.cat(some)[back] for some in zip(*done, strict=True)]
    return Continued(*columns)  # type: ignore[arg-type]


def values(model: CausalModel, prompts: Sequence[Ids]) -> Tensor:
    """What the value head says (W,) at the end of prompts."""
    ids, mask = padded(prompts)
    hidden, path = read(model, ids, mask)
    last = torch.from_numpy(path[np.arange(len(path)), mask.sum(1) - 1]).to(model.device)
    return model.worth(embedding(last, hidden))


def read(model: CausalModel, ids: Index, mask: NDArray[np.bool_]) -> tuple[Tensor, Index]:
    """Hidden states (S, width), and which of them (N, L) belongs to each token of sequences (N, L)."""
    if not model.packing:
        states = model.states(torch.from_numpy(ids).to(model.device), torch.from_numpy(mask).to(model.device))
        return states.flatten(0, 1), np.arange(ids.size).reshape(ids.shape)
    found = tree(ids, mask, SAVED_BY_TOKEN * model.model.config.get_text_config().hidden_size)
    return model.packed(found, Layout(found, model.device)), found.path


def _score(
    model: CausalModel,
    ids: Index,
    mask: NDArray[np.bool_],
    begins: Index,
    targets: Index,
    present: NDArray[np.bool_],
) -> Continued:
    """Score rows: sequences (N, L), where their replies begin (N,), and the replies (N, T)."""
    hidden, path = read(model, ids, mask)
    rows, steps = np.nonzero(present)
    size = model.vocabulary + 1
    marks, pair = np.unique(
        path[rows, begins[rows] + steps] * size + targets[rows, steps], return_inverse=True
    )
    places, place = np.unique(marks // size, return_inverse=True)  # (U,), and (G,) into it
    hidden = embedding(torch.from_numpy(places).to(model.device), hidden)
    logprobs, entropy, collision = _spread(model, hidden, place, marks % size)

    def laid_out(numbers: Tensor, index: Index) -> Tensor:
        at = np.full(present.shape, len(numbers))
        at[rows, steps] = index
        table = torch.cat([numbers, numbers.new_zeros(1)])[:, None]
        return embedding(torch.from_numpy(at).to(model.device), table)[..., 0]

    pair = pair.reshape(-1)
    return Continued(
        laid_out(logprobs, pair),
        laid_out(entropy, place[pair]),
        None if torch.is_grad_enabled() else laid_out(collision, place[pair]),
        None if model.value_head is None else laid_out(model.worth(hidden), place[pair]),
    )


def _spread(model: CausalModel, hidden: Tensor, place: Index, token: Index) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (G,) of tokens at places, and entropy and collision (U,) of all places.

    Args:
        model: whose head and temperature are used.
        hidden: (U, width).
        place: (G,) ascending, a row of `hidden` each.
        token: (G,).
    """
    size = max(1, LOGITS_AT_ONCE // model.vocabulary)
    parts = []
    for first in range(0, len(hidden), size):
        some = slice(*np.searchsorted(place, (first, first + size)))
        wide = model.vocabulary + bool((token[some] == model.vocabulary).any())
        index = torch.from_numpy((place[some] - first) * wide + token[some]).to(model.device)
        run = model.checkpointed if torch.is_grad_enabled() and len(hidden) > size else _call
        parts.append(run(_distribution, model, hidden[first : first + size], index, wide))
    a, b, c = (torch.cat(column) for column in zip(*parts, strict=True))
    return a, b, c


def _call(function: object, *args: object) -> tuple[Tensor, Tensor, Tensor]:
    return function(*args)  # type: ignore[operator, no-any-return]


def _distribution(
    model: CausalModel, hidden: Tensor, index: Tensor, wide: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of rows (U, width): log-probabilities at an index into (U * wide), entropy and collision (U,).

    Where `wide` is V + 1, the last column is the probability of all tokens that end a reply.
    """
    logp = torch.log_softmax(model.head(hidden).float() / model.temperature, -1)
    every = logp
    if wide > model.vocabulary:
        every = torch.cat([logp, logp[:, sorted(model.stops)].logsumexp(1, keepdim=True)], 1)
    chosen = every.reshape(-1).index_select(0, index)
    p = logp.exp()
    entropy = -(p * logp).sum(-1)
    with torch.no_grad():
        collision = p.square().sum(-1) if not logp.requires_grad else p.new_zeros(len(p))
    return chosen, entropy, collision
