"""Policies: agents that learn, what they are asked to score, and what they answer.

The same interface for networks and language models; a learner needs nothing else.

Shape letters: N decisions, T tokens of the longest decision, P tokens of a prompt, A moves or
legal replies, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Decision, Request

Prompts: TypeAlias = "NDArray[Any] | tuple[NDArray[Any], ...]"
Replies: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Decisions that a policy is asked to score.

    Attributes:
        prompts: what stood before each decision: (N, *F) features for networks, or N arrays (P,)
            of token ids for language models.
        ids: (N, T) int64 tokens that followed, padded with 0; a network's move is one token.
        mask: (N, T) bool, True where a token stands and not padding.
        sampled: (N, T) bool, True on tokens that the policy sampled (a part of `mask`).
        legal: (N, A) bool, the legal moves a network chose among; None for text. A is that of the
            seat with the most moves: what goes beyond a policy's own moves is padding, and False.
        replies: for each decision the token ids of every legal reply, or None where those are
            open; None if no decision knows its replies.
        sequence: (N,) int64, equal for decisions of one seat in one episode, in their order.
    """

    prompts: Prompts
    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    legal: NDArray[np.bool_] | None
    replies: tuple[Replies | None, ...] | None
    sequence: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a policy now thinks of decisions; torch tensors, attached to the graph.

    Attributes:
        logprobs: (N, T) of `ids`; whatever it is outside `mask` is not read.
        mask: (N, T) bool, True on the tokens that count: sampled ones.
        entropy: (N, T) of the distribution each token was drawn from, natural logarithm.
        values: (N,) what the seat expects to earn when it decides; None without a value head.
        token_values: (N, T) the same before each token of `ids`, of policies that value every token.
        choices: (N, A) log-probabilities of the legal moves or replies, normalised over the legal
            ones of each row; -inf at illegal ones and padding; None where not known.
        legal_mass: (N,) the probability of all legal replies together before normalising, for
            language models; None for networks, where it is one.
        collision: (N, T) sum of squared probabilities of the distribution each token was drawn
            from; of language models, and where no gradient is tracked.
    """

    logprobs: Any
    mask: Any
    entropy: Any
    values: Any | None = None
    choices: Any | None = None
    legal_mass: Any | None = None
    token_values: Any | None = None
    collision: Any | None = None


class Policy(Protocol):
    """An agent that learns: networks and language models alike.

    A policy writes `Tokens` into its decisions, with its own name and version. A learner raises
    `version` by one after each step.
    """

    name: str
    version: int

    def act(self, requests: Sequence[Request]) -> Sequence[Decision]:
        """One decision for each request, drawn with the request's own generator."""

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """(N,) what each seat expects to earn from here on; zeros without a value head."""

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """The policy's mixing over all A moves of each request, zero where illegal, sum one."""

    def score(self, rows: Rows) -> Scores:
        """Score decisions under the present weights, with gradients."""

    def parameters(self) -> Iterable[Any]:
        """The weights that learn, always in the same order."""

    def state(self) -> dict[str, Any]:
        """Every weight by name: detached tensors that may share memory with the policy."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Copy weights in; names and shapes must agree exactly."""

    def frozen(self, name: str) -> Policy:
        """A copy under another name that shares no memory and keeps this version."""

    def fingerprint(self) -> str:
        """A hash of weights and settings."""

    def save(self, folder: str | Path) -> None:
        """Write the policy so that a registered agent can be made of the folder."""
