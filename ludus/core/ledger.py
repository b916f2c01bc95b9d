"""The ledger: decisions as columns.

`Ledger.of(episodes)` and the array collector of `ludus.training` fill the same columns, so that
every estimator and objective is written once. A ledger has two levels: *decisions*, and *tokens*,
which lie end to end; decision n owns tokens offset[n] : offset[n] + length[n].

Three log-probabilities are kept apart: `rollout`, as the engine reported it when it sampled;
`old`, recomputed by the policy before the first update of a batch; and the current one, which
changes with every update, carries a gradient and is therefore found in `Scores` only.

Shape letters: N decisions, M tokens in all, T tokens of the longest decision, R reward columns,
A moves or legal replies, F features, S sequences (the decisions of one seat in one episode).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.episode import Episode
from ludus.core.game import Seat
from ludus.core.policy import Prompts, Replies, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """Decisions as columns. Rows of one (episode, seat) are contiguous and ordered.

    Names are kept as whole numbers into the tuple of the same name in the plural.

    Attributes:
        episode: (N,) int64, which episode of this ledger.
        sequence: (N,) int64, numbers the (episode, seat) pairs: 0, 1, ... in order of rows.
        game, seat, role, policy, group, source: (N,) int32.
        sample: (N,) int64, which play of its seed; 0 where seeds are played once.
        version: (N,) int64, of the policy when it decided; -1 for an agent that does not learn.
        order: (N,) int64, place of the decision among all of its episode.
        rewards: (N, R) float64, earned from this decision until the seat's next one.
        early: (N,) float64, earned before the seat's first decision; on that decision's row only.
        values: (N,) float64, the seat's own estimate when it decided; NaN if it made none.
        next_values: (N,) float64, the estimate at its next decision; 0 where the game ended
            before; where it was cut, the estimate of what was still to come.
        ended: (N,) bool, the seat's last decision of its game. Where arrays are cut, the game's last moves may be missing.
        cut: (N,) bool, the seat's last decision before a limit, after which it was to move again.
        weight: (N,) float64, how much the decision counts in learning; 0: it is not learned from.
        truncated: (N,) bool, the reply was cut at the token limit.
        offset, length: (N,) int64, its tokens; length 0 for agents that leave none.
        ids: (M,) int64 tokens.
        sampled: (M,) bool, False on forced tokens.
        rollout: (M,) float32 log-probability when sampled.
        old: (M,) float32 log-probability at the start of a batch; NaN until it is recomputed.
        token_rewards: (M,) float64, earned by single tokens, beside what decisions earn.
        token_values: (M,) float32, the seat's estimate before each token; NaN if none was made.
        collision: (M,) float32, sum of squared probabilities of the distribution that each token
            was drawn from at the start of a batch; NaN until it is recomputed.
        prompts: as in `Rows`.
        legal: (N, A) bool or None.
        replies: as in `Rows`.
        columns: names of the reward columns; the first is "game".
        policy_target: (N, A) float32, how a search would mix the moves; NaN in rows without one; or None.
    """

    episode: NDArray[np.int64]
    sequence: NDArray[np.int64]
    game: NDArray[np.int32]
    seat: NDArray[np.int32]
    role: NDArray[np.int32]
    policy: NDArray[np.int32]
    group: NDArray[np.int32]
    source: NDArray[np.int32]
    sample: NDArray[np.int64]
    version: NDArray[np.int64]
    order: NDArray[np.int64]
    rewards: NDArray[np.float64]
    early: NDArray[np.float64]
    values: NDArray[np.float64]
    next_values: NDArray[np.float64]
    ended: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    weight: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    ids: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    rollout: NDArray[np.float32]
    old: NDArray[np.float32]
    token_rewards: NDArray[np.float64]
    token_values: NDArray[np.float32]
    collision: NDArray[np.float32]
    prompts: Prompts
    legal: NDArray[np.bool_] | None
    replies: tuple[Replies | None, ...] | None
    games: tuple[str, ...]
    seats: tuple[Seat, ...]
    roles: tuple[str, ...]
    policies: tuple[str, ...]
    groups: tuple[str, ...]
    sources: tuple[str, ...] = ("fresh",)
    columns: tuple[str, ...] = ("game",)
    policy_target: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n = len(self.episode)
        short = [name for name in PER_ROW if len(getattr(self, name)) != n]
        if short or len(self.prompts) != n:
            raise ValueError(
                f"a ledger of {n} decisions has columns of other lengths: {short or ['prompts']}"
            )
        if np.any(np.diff(self.sequence) < 0):
            raise ValueError("rows of one (episode, seat) must be contiguous and in order")

    def __len__(self) -> int:
        return len(self.episode)

    @staticmethod
    def of(episodes: Iterable[Episode], *, source: str = "fresh") -> Ledger:
        """The decisions of all players in episodes.

        Left out are crew, seats that were never asked, seats whose machinery failed, and episodes
        that ended in an error. Replies that could not be used stay, and what is learned from them
        depends on what became of them (`Illegal`):

        forfeit    weight 1, with what the forfeit cost
        skip       weight 1: what the seat earned after passing, the penalty included; without a
                   penalty nonsense is paid as a pass
        random     weight 0: the move that was played, and earned the reward, is not what was said
        retry      the reply that was used in the end has the row; rejected ones are in no row
        """
        from ludus.core.bookkeeping import Writer  # which makes ledgers, and so knows them

        return Writer(source).write(episodes)

    @property
    def reward(self) -> NDArray[np.float64]:
        """(N,) the sum over reward columns, and over the decision's tokens."""
        return np.asarray(self.rewards.sum(1) + self.summed(self.token_rewards), np.float64)

    def summed(self, tokens: NDArray[Any]) -> NDArray[np.float64]:
        """A token column (M,) summed over each decision (N,)."""
        ahead = np.r_[0.0, np.cumsum(tokens, dtype=np.float64)]
        return np.asarray(ahead[self.offset + self.length] - ahead[self.offset], np.float64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(S,) the first row of each sequence."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.flatnonzero(np.r_[True, np.diff(self.sequence) != 0]).astype(np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(S,) decisions of each sequence."""
        return np.diff(np.r_[self.starts, len(self)]).astype(np.int64)

    @property
    def returns(self) -> NDArray[np.float64]:
        """(S,) all that each seat earned, including what came before its first decision."""
        if not len(self):
            return np.zeros(0)
        return np.asarray(np.add.reduceat(self.reward + self.early, self.starts))

    def spread(self, per_sequence: NDArray[Any]) -> NDArray[Any]:
        """One number for each sequence (S,) as one for each of its decisions (N,)."""
        return np.repeat(per_sequence, self.lengths)

    def take(self, rows: NDArray[Any]) -> Ledger:
        """The ledger of some rows (a mask or ascending indices); tokens are packed anew."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.int64)
        length = self.length[index]
        tokens = _ranges(self.offset[index], length)
        columns = {name: getattr(self, name)[index] for name in PER_ROW if name not in ("offset", "length")}
        columns["sequence"] = _renumbered(columns["sequence"])
        return dataclasses.replace(
            self, **columns,
            offset=np.r_[0, np.cumsum(length)[:-1]].astype(np.int64) if len(index) else np.zeros(0, np.int64),
            length=length,
            **{name: getattr(self, name)[tokens] for name in PER_TOKEN},
            prompts=_pick(self.prompts, index),
            legal=None if self.legal is None else self.legal[index],
            replies=None if self.replies is None else tuple(self.replies[i] for i in index),
            policy_target=None if self.policy_target is None else self.policy_target[index],
        )  # fmt: skip

    def rows(self, rows: NDArray[np.int64] | None = None) -> Rows:
        """Decisions, all or some, in the padded form that a policy scores."""
        index = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        return Rows(
            prompts=_pick(self.prompts, index),
            ids=self.padded(self.ids, index),
            mask=self.padded(np.ones(len(self.ids), np.bool_), index),
            sampled=self.padded(self.sampled, index),
            legal=None if self.legal is None else self.legal[index],
            replies=None if self.replies is None else tuple(self.replies[i] for i in index),
            sequence=self.sequence[index],
        )

    def padded(self, tokens: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
        """A token column (M,) as (len(rows), T), zero where there is no token."""
        length = self.length[rows]
        width = int(length.max(initial=1))
        out = np.zeros((len(rows), width), tokens.dtype)
        out[np.arange(width) < length[:, None]] = tokens[_ranges(self.offset[rows], length)]
        return out

    def with_rewards(self, name: str, column: NDArray[np.float64]) -> Ledger:
        """The same decisions with one more reward column (N,); nothing is overwritten."""
        rewards = np.concatenate([self.rewards, column[:, None]], 1)
        return dataclasses.replace(self, rewards=rewards, columns=(*self.columns, name))


PER_ROW = (
    "episode", "sequence", "game", "seat", "role", "policy", "group", "source", "sample", "version", "order",
    "rewards", "early", "values", "next_values", "ended", "cut", "weight", "truncated", "offset", "length",
)  # fmt: skip
PER_TOKEN = ("ids", "sampled", "rollout", "old", "token_rewards", "token_values", "collision")
NAMED = {
    "game": "games",
    "seat": "seats",
    "role": "roles",
    "policy": "policies",
    "group": "groups",
    "source": "sources",
}


def join(ledgers: Sequence[Ledger]) -> Ledger:
    """One ledger of several, in their order; episodes and sequences are numbered on.

    Raises:
        ValueError: no ledger is given, or their reward columns or prompts are of different kinds.
    """
    if not ledgers:
        raise ValueError("join needs at least one ledger")
    if len(ledgers) == 1:
        return ledgers[0]
    if len({x.columns for x in ledgers}) > 1:
        raise ValueError(f"ledgers with different reward columns: {sorted({x.columns for x in ledgers})}")
    columns: dict[str, Any] = {}
    for name, plural in NAMED.items():
        columns[name], columns[plural] = _merged(
            [getattr(x, name) for x in ledgers], [getattr(x, plural) for x in ledgers]
        )
    for name in ("episode", "sequence"):
        ends = np.cumsum([0, *(int(getattr(x, name).max(initial=-1)) + 1 for x in ledgers)])
        columns[name] = np.concatenate(
            [getattr(x, name) + end for x, end in zip(ledgers, ends[:-1], strict=True)]
        )
    ends = np.cumsum([0, *(len(x.ids) for x in ledgers)])
    columns["offset"] = np.concatenate([x.offset + end for x, end in zip(ledgers, ends[:-1], strict=True)])
    for name in (*PER_ROW, *PER_TOKEN):
        if name not in columns:
            columns[name] = np.concatenate([getattr(x, name) for x in ledgers])
    return Ledger(
        **columns,
        prompts=_joined([x.prompts for x in ledgers]),
        legal=stacked_legal([x.legal for x in ledgers]),
        replies=_all_replies(ledgers),
        columns=ledgers[0].columns,
        policy_target=_all_targets(ledgers),
    )


def _all_replies(ledgers: Sequence[Ledger]) -> tuple[Replies | None, ...] | None:
    if all(x.replies is None for x in ledgers):
        return None
    return tuple(
        reply for x in ledgers for reply in (x.replies if x.replies is not None else (None,) * len(x))
    )


def _all_targets(ledgers: Sequence[Ledger]) -> NDArray[np.float32] | None:
    """(N, A), A that of the widest, beyond which nothing is played."""
    width = max((x.policy_target.shape[1] for x in ledgers if x.policy_target is not None), default=0)
    if not width:
        return None
    parts = []
    for x in ledgers:
        if x.policy_target is None:
            parts.append(np.full((len(x), width), np.nan, np.float32))
        else:
            parts.append(np.pad(x.policy_target, ((0, 0), (0, width - x.policy_target.shape[1]))))
    return np.concatenate(parts)


def _merged(codes: list[Any], names: list[tuple[str, ...]]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    table = {name: i for i, name in enumerate(dict.fromkeys(n for group in names for n in group))}
    maps = [np.array([table[n] for n in group], np.int32) for group in names]
    return np.concatenate([m[c] if len(m) else c for m, c in zip(maps, codes, strict=True)]), tuple(table)


def _ranges(offset: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """offset[0], offset[0] + 1, ... (length[0] of them), then the same for each next entry."""
    before = np.cumsum(length) - length
    return np.asarray(np.arange(int(length.sum())) + np.repeat(offset - before, length), np.int64)


def _renumbered(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(sequence, return_inverse=True)[1].astype(np.int64)


def _pick(prompts: Prompts, index: NDArray[np.int64]) -> Prompts:
    if isinstance(prompts, np.ndarray):
        return prompts[index]
    return stacked([prompts[i] for i in index])  # seats of one shape among seats of others


def _joined(prompts: Sequence[Prompts]) -> Prompts:
    arrays = [some for some in prompts if isinstance(some, np.ndarray)]
    if len(arrays) == len(prompts) and len({(some.shape[1:], some.dtype) for some in arrays}) == 1:
        return np.concatenate(arrays)
    return stacked([prompt for some in prompts for prompt in some])


def stacked(prompts: Sequence[NDArray[Any]]) -> Prompts:
    """(N, *F) if all prompts are features of one shape, else the tuple of them."""
    if prompts and len({(p.shape, p.dtype) for p in prompts}) == 1 and prompts[0].dtype != np.int64:
        return np.stack(prompts)
    return tuple(prompts)


def stacked_legal(masks: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """(N, A), A that of the widest; rows without a mask allow everything."""
    known = [m for m in masks if m is not None]
    if not known or len(known) != len(masks):
        return None
    width = max(m.shape[-1] for m in known)
    return np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[-1]))) for m in known])
