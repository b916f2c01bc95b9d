"""Batches: the chosen decisions of a step with their credit, cut into minibatches and micro-batches.

Shape letters: N decisions, M tokens in all, T tokens of the longest, A legal moves or replies, K tokens
of a minibatch that count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.core.ledger import Ledger
from ludus.core.policy import Scores
from ludus.training.distributed import ALONE, World
from ludus.training.estimators.credit import Credit
from ludus.training.objectives.aggregations import Totals
from ludus.training.objectives.objective import Part
from ludus.training.objectives.terms import Field
from ludus.training.references import Reference

CHUNK = 4096  # decisions scored at once where nothing is learned


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one learner learns from in one step; nothing in it changes while it learns.

    Attributes:
        ledger: the chosen decisions, with `old` filled in.
        advantages: (N,) float64, or (M,) where every token has its own.
        targets: (N,) float64, or (M,) for a head that values every token.
        counted: (M,) bool, the tokens that are learned from.
        correction: (M,) float32, what each token's loss is multiplied by.
        reference: (M,) log-probabilities of the tokens under the reference; or None.
        reference_choices: (N, A) the same over the legal choices; or None.
        entropy: (M,) of the policy before the update; or None.
        rate: (N,) share of a decision's peers that succeeded; or None.
        right: (N,) whether it did itself; or None.
        numbers: metrics of the batch as it was made.
        by_token: advantages are (M,).
        values_by_token: targets are (M,).
        together: neighbouring rows that are learned from at once: 2 where decisions stand in pairs.
    """

    ledger: Ledger
    advantages: NDArray[np.float64]
    targets: NDArray[np.float64]
    counted: NDArray[np.bool_]
    correction: NDArray[np.float32]
    reference: NDArray[np.float32] | None = None
    reference_choices: NDArray[np.float32] | None = None
    entropy: NDArray[np.float32] | None = None
    rate: NDArray[np.float64] | None = None
    right: NDArray[np.bool_] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    by_token: bool = False
    values_by_token: bool = False
    together: int = 1

    def __len__(self) -> int:
        return len(self.ledger)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(K,) where in the token columns the tokens of some rows lie that count."""
        return places(self.ledger, rows, self.counted)

    def totals(self, rows: NDArray[np.int64]) -> Totals:
        """Of a minibatch of these rows."""
        counted = torch.from_numpy(self.ledger.padded(self.counted, rows))
        replies = self.ledger.replies
        return Totals.of(
            counted, None if replies is None else torch.tensor([not replies[row] for row in rows])
        )

    def whitened(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """All advantages, those of some rows brought to mean zero and deviation one."""
        where = self.places(rows) if self.by_token else rows
        out = self.advantages.copy()
        out[where] = whitened(out[where])
        return out

    def field(
        self, rows: NDArray[np.int64], advantages: NDArray[np.float64]
    ) -> tuple[Field, NDArray[np.int64]]:
        """What markers see of a minibatch, and where its tokens lie."""
        where = self.places(rows)
        each = advantages if self.by_token else np.repeat(advantages, self.ledger.length)
        entropy = np.full(len(self.counted), np.nan) if self.entropy is None else self.entropy
        return Field(
            self.ledger.old[where].astype(np.float64), each[where], entropy[where].astype(np.float64)
        ), where

    def part(
        self,
        rows: NDArray[np.int64],
        advantages: NDArray[np.float64],
        scores: Scores,
        marks: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> Part:
        """Everything an objective reads of some rows, on the device of their scores."""
        device = scores.logprobs.device
        ledger = self.ledger

        def tensor(column: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(column, np.float32)).to(device)

        def tokens(column: NDArray[Any]) -> torch.Tensor:
            return tensor(ledger.padded(column, rows))

        def flags(column: NDArray[np.bool_]) -> torch.Tensor:
            return torch.from_numpy(ledger.padded(column, rows)).to(device)

        def either(per_decision: NDArray[Any], per_token: NDArray[Any]) -> torch.Tensor:
            return tokens(per_token) if self.values_by_token else tensor(per_decision[rows])

        choices = self.reference_choices
        width = 0 if scores.choices is None else scores.choices.shape[1]
        return Part(
            mask=flags(self.counted),
            advantages=tokens(advantages) if self.by_token else tensor(advantages[rows, None]),
            targets=either(self.targets, self.targets),
            values=either(ledger.values, ledger.token_values),
            old=tokens(ledger.old),
            rollout=tokens(ledger.rollout),
            weight=tensor(ledger.weight[rows, None]),
            correction=tokens(self.correction),
            reference=None if self.reference is None else tokens(self.reference),
            reference_choices=None if choices is None else tensor(choices[rows][:, :width]),
            rate=None if self.rate is None else tensor(self.rate[rows, None]),
            right=None if self.right is None else tensor(self.right[rows, None]),
            policy_target=None
            if ledger.policy_target is None
            else tensor(ledger.policy_target[rows][:, :width]),
            ids=torch.from_numpy(ledger.padded(ledger.ids, rows)).to(device),
            marks={name: flags(column) for name, column in (marks or {}).items()},
        )


def gather(ledger: Ledger, credit: Credit, chosen: NDArray[np.bool_]) -> Batch:
    """The chosen decisions with their credit; all sampled tokens count, uncorrected.

    Raises:
        ValueError: a chosen decision or one of its sampled tokens has no advantage, because its agent
            estimates no values.
    """
    rows = np.flatnonzero(chosen)
    mine = np.repeat(chosen, ledger.length)
    lacking = np.isnan(credit.advantages)
    if credit.token_advantages is not None:
        lacking = lacking | (ledger.summed(np.isnan(credit.token_advantages) & ledger.sampled) > 0)
    if lacking[rows].any():
        row = rows[np.argmax(lacking[rows])]
        raise ValueError(
            f"decision {row} of {ledger.policies[ledger.policy[row]]} at {ledger.seats[ledger.seat[row]]} "
            "has no advantage: its policy estimates no values; choose an estimator that needs none, or for language "
            "models with a value head token_gae"
        )
    taken = ledger.take(rows)
    by_token, for_token = credit.token_advantages, credit.token_targets
    return Batch(
        taken,
        credit.advantages[rows] if by_token is None else by_token[mine],
        credit.targets[rows] if for_token is None else for_token[mine],
        counted=taken.sampled,
        correction=np.ones(len(taken.ids), np.float32),
        by_token=by_token is not None,
        values_by_token=for_token is not None,
    )


def places(ledger: Ledger, rows: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the tokens of some rows lie that count, in the order of the rows."""
    index = ledger.padded(np.arange(len(ledger.ids)), rows)
    return np.asarray(index[ledger.padded(counted, rows)], np.int64)


def paired(batch: Batch, pairs: NDArray[np.int64]) -> Batch:
    """The batch with the decisions of each pair (P, 2) in neighbouring rows; one of several pairs comes as often."""
    index, ledger = pairs.ravel(), batch.ledger
    where = _tokens(ledger, index)
    free = dataclasses.replace(ledger, sequence=np.zeros(len(ledger), np.int64)).take(index)
    columns: dict[str, Any] = {}
    for names, at in (("reference_choices", "rate", "right"), index), (("reference", "entropy"), where):
        columns |= {name: None if (c := getattr(batch, name)) is None else c[at] for name in names}
    return dataclasses.replace(
        batch,
        **columns,
        ledger=dataclasses.replace(free, sequence=np.repeat(np.arange(len(pairs)), 2)),
        advantages=batch.advantages[where if batch.by_token else index],
        targets=batch.targets[where if batch.values_by_token else index],
        counted=batch.counted[where],
        correction=batch.correction[where],
        together=2,
    )


def _tokens(ledger: Ledger, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in the token columns all tokens of some rows lie, row by row."""
    return places(ledger, rows, np.ones(len(ledger.ids), np.bool_))


def whitened(advantages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean zero and (sample) deviation one, as in PPO; all alike stay at zero."""
    if len(advantages) < 2:
        return np.zeros_like(advantages)
    centred = advantages - advantages.mean()
    return np.asarray(centred / (advantages.std(ddof=1) + 1e-8), np.float64)


# ------------------------------------------------------------------------------------ scoring
Columns: TypeAlias = dict[str, NDArray[np.float32]]


class Rescored(NamedTuple):
    """What a policy says of decisions without learning.

    Attributes:
        logprobs: (M,) of all tokens.
        entropy: (M,) of the distribution each was drawn from.
        values: (M,) before each token; None of a policy that does not value tokens.
        collision: (M,) sum of squared probabilities; None of a policy that does not tell.
        choices: (N, A) log-probabilities of the legal choices; None where none are known.
    """

    logprobs: NDArray[np.float32]
    entropy: NDArray[np.float32]
    values: NDArray[np.float32] | None
    collision: NDArray[np.float32] | None
    choices: NDArray[np.float32] | None


def rescored(
    policy: Reference, ledger: Ledger, *, most: int = CHUNK, tokens: int = 0, world: World = ALONE
) -> Rescored:
    """Score all decisions without gradients, in micro-batches; several processes score a share each."""
    columns: Columns = {}
    choices: NDArray[np.float32] | None = None
    for index in world.share(row_sets(ledger, np.arange(len(ledger)), world, most=most, tokens=tokens)):
        rows = ledger.rows(index)
        with torch.no_grad():
            scores = policy.score(rows)
        where = _tokens(ledger, index)
        for name in ("logprobs", "entropy", "token_values", "collision"):
            if (found := getattr(scores, name)) is not None:
                columns.setdefault(name, np.zeros(len(ledger.ids), np.float32))
                columns[name][where] = found.float().cpu().numpy()[rows.mask]
        if scores.choices is not None:
            choices = _widened(choices, len(ledger), scores.choices.shape[1])
            choices[index, : scores.choices.shape[1]] = scores.choices.float().cpu().numpy()
    columns, choices = _joined(world.gathered((columns, choices)), len(ledger))
    none = np.zeros(0, np.float32)
    return Rescored(
        columns.get("logprobs", none), columns.get("entropy", none), columns.get("token_values"),
        columns.get("collision"), choices,
    )  # fmt: skip


def _joined(parts: list[tuple[Columns, NDArray[np.float32] | None]], rows: int) -> tuple[Columns, Any]:
    """What processes scored, each a share: nothing stands where others did."""
    if len(parts) == 1:
        return parts[0]
    columns: Columns = {}
    for part, _ in parts:
        for name, column in part.items():
            columns[name] = columns[name] + column if name in columns else column
    known = [choices for _, choices in parts if choices is not None]
    width = max((choices.shape[1] for choices in known), default=0)
    wide = [_widened(choices, rows, width) for choices in known]
    return columns, np.maximum.reduce(wide) if wide else None


def _widened(held: NDArray[np.float32] | None, rows: int, width: int) -> NDArray[np.float32]:
    if held is None:
        return np.full((rows, width), -np.inf, np.float32)
    return np.pad(held, ((0, 0), (0, max(width - held.shape[1], 0))), constant_values=-np.inf)


# ------------------------------------------------------------------------------------ cutting
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


def row_sets(
    ledger: Ledger,
    rows: NDArray[np.int64],
    world: World,
    *,
    most: int = 0,
    tokens: int = 0,
    together: int = 1,
) -> list[NDArray[np.int64]]:
    """`micro_batches`, at least one for each process where there are rows enough."""
    sets = list(micro_batches(ledger, rows, most=most, tokens=tokens, together=together))
    if len(sets) < world.size:
        share = -(-len(rows) // world.size)
        sets = list(micro_batches(ledger, rows, most=share, tokens=tokens, together=together))
    return sets


def micro_batches(
    ledger: Ledger, rows: NDArray[np.int64], *, most: int = 0, tokens: int = 0, together: int = 1
) -> Iterator[NDArray[np.int64]]:
    """Rows to be scored together, each row in one of the sets; how they fall changes no result.

    With a budget of tokens, rows with the same prompt stand together, so that it is read once, and so
    do those whose prompts go on from one another. A row (or block of rows) beyond the budget is alone.

    Args:
        ledger: the decisions.
        rows: those of a minibatch.
        most: rows in a set; 0: any number.
        tokens: of the replies and the distinct prompts of a set; 0: any number.
        together: rows come in blocks of so many, of one prompt, that are never parted.
    """
    blocks = rows.reshape(-1, together)
    most = -(-most // together)
    if not tokens:
        size = most or max(len(blocks), 1)
        yield from (blocks[start : start + size].ravel() for start in range(0, len(blocks), size))
        return
    prompts = [
        b"" if p.dtype != np.int64 else p.astype(">i8").tobytes()
        for p in (ledger.prompts[r] for r in blocks[:, 0])
    ]
    replies = ledger.length[blocks].sum(1)
    held: list[int] = []
    size, before = 0, b""
    for at in sorted(range(len(blocks)), key=prompts.__getitem__):
        reply, prompt = int(replies[at]), len(prompts[at]) // 8
        more = reply + (prompt if prompts[at] != before or not held else 0)
        if held and (size + more > tokens or len(held) == (most or len(blocks))):
            yield np.sort(blocks[held].ravel())
            held, size, more = [], 0, reply + prompt
        held.append(at)
        size, before = size + more, prompts[at]
    if held:
        yield np.sort(blocks[held].ravel())
