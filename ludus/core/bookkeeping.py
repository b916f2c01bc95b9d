"""From episodes to a ledger: whose decisions count, and what stands in each column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.episode import Episode, Step
from ludus.core.game import Forfeit, Seat, role_of
from ludus.core.ledger import NAMED, PER_ROW, Ledger, stacked, stacked_legal
from ludus.core.policy import Prompts


class Writer:
    """Collects the decisions of episodes, then turns the lists into columns."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.names: dict[str, dict[str, int]] = {plural: {} for plural in NAMED.values()}
        self.names["sources"][source] = 0
        self.columns: dict[str, list[Any]] = {name: [] for name in PER_ROW}
        self.steps: list[Step] = []
        self.sequences = 0

    def write(self, episodes: Iterable[Episode]) -> Ledger:
        for number, episode in enumerate(episodes):
            if episode.end == "error":
                continue
            failed = {step.seat for step in episode.steps if _failed(step)}
            for seat in episode.returns:
                if seat not in failed:
                    self._sequence(number, episode, seat)
        return self._ledger()

    def _sequence(self, number: int, episode: Episode, seat: Seat) -> None:
        mine = [(order, step) for order, step in enumerate(episode.steps) if step.seat == seat]
        group = episode.match.group or f"seed {episode.match.seed}"
        for place, (order, step) in enumerate(mine):
            last = place == len(mine) - 1
            tokens = step.tokens
            following = None if last else mine[place + 1][1].value
            row = {
                "episode": number, "sequence": self.sequences, "game": self._code("games", episode.variant),
                "seat": self._code("seats", seat), "role": self._code("roles", role_of(seat)),
                "policy": self._code("policies", tokens.policy if tokens else episode.lineup[seat]),
                "group": self._code("groups", group), "source": 0, "sample": episode.match.sample,
                "version": tokens.version if tokens else -1, "order": order,
                "rewards": step.reward, "early": 0.0 if place else episode.early.get(seat, 0.0),
                "values": np.nan if step.value is None else step.value,
                "next_values": _next_value(episode, seat, following, last=last),
                "ended": last and episode.end != "cut", "cut": last and episode.end == "cut",
                "weight": 0.0 if step.read == "fallback" else 1.0, "truncated": bool(tokens and tokens.truncated),
            }  # fmt: skip
            for name, value in row.items():
                self.columns[name].append(value)
            self.steps.append(step)
        self.sequences += bool(mine)

    def _code(self, plural: str, name: str) -> int:
        return self.names[plural].setdefault(name, len(self.names[plural]))

    def _ledger(self) -> Ledger:
        kinds: dict[str, Any] = dict.fromkeys(NAMED, np.int32)
        kinds |= dict.fromkeys(("episode", "sequence", "sample", "version", "order"), np.int64)
        kinds |= dict.fromkeys(("ended", "cut", "truncated"), np.bool_)
        columns: dict[str, Any] = {
            name: np.array(values, kinds.get(name, np.float64))
            for name, values in self.columns.items()
            if name not in ("offset", "length")
        }
        columns["rewards"] = columns["rewards"][:, None]
        columns |= {plural: tuple(table) for plural, table in self.names.items()}
        length = np.array([0 if s.tokens is None else len(s.tokens.ids) for s in self.steps], np.int64)
        rollout = self._tokens("logprobs", np.float32)
        masks = [
            None if s.tokens is None or s.tokens.legal is None else s.tokens.legal[None] for s in self.steps
        ]
        replies = tuple(None if s.tokens is None else s.tokens.replies for s in self.steps)
        return Ledger(
            **columns,
            offset=(np.cumsum(length) - length).astype(np.int64),
            length=length,
            ids=self._tokens("ids", np.int64),
            sampled=self._tokens("sampled", np.bool_),
            rollout=rollout,
            old=np.full(len(rollout), np.nan, np.float32),
            token_rewards=np.zeros(len(rollout)),
            token_values=np.full(len(rollout), np.nan, np.float32),
            collision=np.full(len(rollout), np.nan, np.float32),
            prompts=self._prompts(),
            legal=self._legal(masks),
            replies=None if all(r is None for r in replies) else replies,
        )

    def _tokens(self, name: str, kind: Any) -> NDArray[Any]:
        parts = [np.asarray(getattr(s.tokens, name), kind) for s in self.steps if s.tokens is not None]
        return np.concatenate(parts) if parts else np.zeros(0, kind)

    def _prompts(self) -> Prompts:
        """Decisions that left no tokens borrow the kind of prompt of those that did."""
        some = next((s.tokens.prompt for s in self.steps if s.tokens is not None), np.zeros(0, np.int64))
        blank = np.zeros(0, np.int64) if some.dtype == np.int64 else np.zeros_like(some)
        return stacked([blank if s.tokens is None else s.tokens.prompt for s in self.steps])

    def _legal(self, masks: list[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
        some = next((m for m in masks if m is not None), None)
        if some is None:
            return None
        return stacked_legal([np.ones_like(some) if m is None else m for m in masks])


def _failed(step: Step) -> bool:
    """Machinery broke at this step, and the seat forfeited by it; see `ludus.core.play`."""
    return isinstance(step.move, Forfeit) and step.move.reason.startswith("failed: ")


def _next_value(episode: Episode, seat: Seat, following: float | None, *, last: bool) -> float:
    if not last:
        return np.nan if following is None else following
    return episode.bootstrap.get(seat, np.nan) if episode.end == "cut" else 0.0
