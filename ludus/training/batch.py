"""Batches: the chosen decisions of a step with their credit, cut into minibatches and padded parts.

Shape letters: N decisions, T tokens of the longest, A legal moves or replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.core.ledger import Ledger
from ludus.core.policy import Policy, Scores
from ludus.training.credit import Credit
from ludus.training.objectives import Part

CHUNK = 4096  # decisions scored at once where nothing is learned


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one learner learns from in one step; nothing in it changes while it learns.

    Attributes:
        ledger: the chosen decisions, with `old` filled in.
        advantages: (N,) float64.
        targets: (N,) float64.
        reference: log-probabilities of the tokens under the reference, like `ledger.old`; or None.
        reference_choices: (N, A) the same over the legal choices; or None.
    """

    ledger: Ledger
    advantages: NDArray[np.float64]
    targets: NDArray[np.float64]
    reference: NDArray[np.float32] | None = None
    reference_choices: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ledger)

    def part(self, rows: NDArray[np.int64], advantages: NDArray[np.float64], scores: Scores) -> Part:
        """Everything an objective reads of some rows, on the device of their scores."""
        device = scores.logprobs.device
        ledger = self.ledger

        def tensor(column: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(column, np.float32)).to(device)

        values = ledger.values[rows]
        choices = self.reference_choices
        width = 0 if scores.choices is None else scores.choices.shape[1]
        return Part(
            mask=torch.from_numpy(ledger.padded(ledger.sampled, rows)).to(device),
            advantages=tensor(advantages[rows, None]),
            targets=tensor(self.targets[rows]),
            values=None if np.isnan(values).any() else tensor(values),
            old=tensor(ledger.padded(ledger.old, rows)),
            rollout=tensor(ledger.padded(ledger.rollout, rows)),
            weight=tensor(ledger.weight[rows, None]),
            reference=None if self.reference is None else tensor(ledger.padded(self.reference, rows)),
            reference_choices=None if choices is None else tensor(choices[rows][:, :width]),
        )


def gather(ledger: Ledger, credit: Credit, chosen: NDArray[np.bool_]) -> Batch:
    """The chosen decisions with their credit.

    Raises:
        ValueError: a chosen decision has no advantage, because its agent estimates no values.
    """
    rows = np.flatnonzero(chosen)
    advantages = credit.advantages[rows]
    if np.isnan(advantages).any():
        row = rows[np.argmax(np.isnan(advantages))]
        raise ValueError(
            f"decision {row} of {ledger.policies[ledger.policy[row]]} at {ledger.seats[ledger.seat[row]]} "
            "has no advantage: its policy estimates no values; choose an estimator that needs none"
        )
    return Batch(ledger.take(rows), advantages, credit.targets[rows])


def rescored(
    policy: Policy, ledger: Ledger, size: int = CHUNK
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Log-probabilities of all tokens (M,) and of all choices (N, A), `size` decisions at a time."""
    tokens = np.zeros(len(ledger.ids), np.float32)
    choices: list[NDArray[np.float32]] = []
    for start in range(0, len(ledger), size):
        index = np.arange(start, min(start + size, len(ledger)))
        rows = ledger.rows(index)
        with torch.no_grad():
            scores = policy.score(rows)
        at = int(ledger.offset[start])
        flat = scores.logprobs.float().cpu().numpy()[rows.mask]
        tokens[at : at + len(flat)] = flat
        if scores.choices is not None:
            choices.append(scores.choices.float().cpu().numpy())
    if not choices:
        return tokens, None
    width = max(part.shape[1] for part in choices)
    return tokens, np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-np.inf) for part in choices]
    )


def minibatches(
    sequence: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """About equal shares of all rows, in random order, cut between sequences only.

    Args:
        sequence: (N,) which sequence each row belongs to, ascending.
        count: how many shares; fewer come where there are fewer sequences.
        rng: shuffles the sequences.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(sequence) != 0])
    lengths = np.diff(np.r_[starts, len(sequence)])
    order = rng.permutation(len(starts))
    before = np.cumsum(lengths[order]) - lengths[order]
    share = np.minimum(before * count // len(sequence), count - 1)
    for number in range(count):
        mine = order[share == number]
        if len(mine):
            ahead = np.cumsum(lengths[mine]) - lengths[mine]
            yield np.arange(int(lengths[mine].sum())) + np.repeat(starts[mine] - ahead, lengths[mine])
