"""The engine in this process: a transformers model that samples many replies at once, refilled as they end.

Replies that so far consist of the same tokens share one lane of the cache and are computed once; they
part where their tokens do. Prompts that begin as earlier ones did are read from where they differ. Every
reply is drawn with its job's own generator by inverse cumulative distribution, so what it says does not
depend on who else is in the batch, up to rounding in the matrix products.

Shape letters: R replies under way, n lanes, B lanes that begin, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.agents.language.engines.drawing import distributions, drawn
from ludus.agents.language.engines.engine import Ids, Job, Sampled, Sampling, awaited
from ludus.agents.language.engines.lanes import Lanes, Shelf
from ludus.core.errors import ConfigError, EngineGone, UnknownName

if TYPE_CHECKING:
    from ludus.agents.language.models.causal import CausalModel

READ_AT_ONCE = 16384  # tokens of new prompts in one forward pass
UNIFORMS = 16  # numbers drawn from a reply's generator at a time
REFILL = 8  # new prompts are read when one in so many replies has ended


@dataclass(slots=True, eq=False)
class _Reply:
    """A reply under way."""

    job: Job
    limit: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    uniforms: Sequence[float] = ()

    @property
    def longest(self) -> int:
        """Tokens of prompt and reply, were this to become as long as it may."""
        return len(self.job.ids) + self.limit

    def draw(self) -> float:
        place = len(self.ids) % UNIFORMS
        if not place:
            self.uniforms = self.job.rng.random(UNIFORMS).tolist()
        return self.uniforms[place]


class TransformersEngine:
    """An `Engine` over a model in this process.

    Args:
        model: the model and its tokenizer. Its weights are used where they are: `update` is for others'.
        at_once: replies under way at a time.
        cache_bytes: what prefixes of earlier prompts may take.
        lane_bytes: what the replies under way may take, were each as long as it may become: as many begin
            as this has room for, at least one. Memory grows in doublings, so up to four times of it may be held
            for a while.
    """

    def __init__(
        self, model: CausalModel, *, at_once: int = 512, cache_bytes: int = 2**28, lane_bytes: int = 2**33
    ) -> None:
        self.model, self.at_once = model, at_once
        self.cache_bytes, self.lane_bytes = cache_bytes, lane_bytes
        self._batches: dict[str, _Batch] = {}
        self._ready: list[tuple[Job, Sampled]] = []

    @property
    def adapters(self) -> tuple[str, ...]:
        """Adapters of the model."""
        return self.model.adapters

    @property
    def fed(self) -> int:
        """Tokens of all prompts so far."""
        return sum(batch.shelf.fed for batch in self._batches.values())

    @property
    def saved(self) -> int:
        """Tokens of prompts that did not have to be read, because an earlier prompt began alike."""
        return sum(batch.shelf.saved for batch in self._batches.values())

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on; see `Engine`.

        Raises:
            ConfigError: a prompt does not fit the model's context.
        """
        for job in jobs:
            if job.adapter not in ("", *self.adapters):
                raise UnknownName(f"adapter of {self.model.path}", job.adapter, self.adapters)
            if len(job.ids) >= self.model.context:
                raise ConfigError(
                    f"a prompt of {len(job.ids)} tokens leaves no room in a context of {self.model.context}: "
                    "let the model see less (memory = 'turn' or 'window'), or take one with a longer context"
                )
        for job in jobs:
            if job.adapter not in self._batches:
                self._batches[job.adapter] = _Batch(self, job.adapter)
            limit = min(job.sampling.max_new_tokens, self.model.context - len(job.ids))
            self._batches[job.adapter].waiting.append(_Reply(job, limit))

    def poll(self) -> list[tuple[Job, Sampled]]:
        """Sample until some replies have ended, and hand them out; nothing if there is nothing to do.

        Raises:
            EngineGone: there was no memory for it, or torch failed.
        """
        ready, self._ready = self._ready, []
        try:
            with torch.inference_mode():
                for batch in self._batches.values():
                    ready += batch.run()
        except (RuntimeError, MemoryError) as fault:
            raise EngineGone(
                f"sampling from {self.model.path} failed with {type(fault).__name__}: {fault}. With less at a time "
                "(rows_at_once, engine.lane_bytes) it may have room; resume the run then"
            ) from fault
        return ready

    def sample(self, jobs: Sequence[Job]) -> list[Sampled]:
        """One reply for each job, in order."""
        replies, others = awaited(self, jobs)
        self._ready += others
        return replies

    def update(self, weights: Mapping[str, Any], version: int, adapter: str = "") -> None:
        """Copy weights into the model; see `Engine`."""
        self.forget(adapter)
        self.model.load(weights, adapter)

    def forget(self, adapter: str = "") -> None:
        """Drop every prefix that was read with an adapter, or at all: the weights are others now.

        Raises:
            RuntimeError: replies are under way, half of which would be another model's.
        """
        concerned = [batch for name, batch in self._batches.items() if adapter in ("", name)]
        if any(batch.active or batch.waiting for batch in concerned):
            raise RuntimeError("weights cannot change while replies are under way")
        for batch in concerned:
            batch.shelf.clear()
            batch.lanes.clear()

    def drop(self, adapter: str) -> None:
        """Free what was read with an adapter; see `Engine`."""
        self._batches.pop(adapter, None)

    def close(self, sessions: Sequence[str]) -> None:
        """Drop the jobs of sessions; prefixes age of themselves."""
        gone = set(sessions)
        with torch.inference_mode():
            for batch in self._batches.values():
                batch.drop(gone)
                if not batch.active and not batch.waiting:
                    batch.lanes.clear()  # whoever learns next may need the room

    def stop(self) -> None:
        """Free the cache."""
        self._batches.clear()


class _Batch:
    """The replies under way with one set of weights."""

    def __init__(self, engine: TransformersEngine, adapter: str) -> None:
        self.model, self.adapter, self.at_once = engine.model, adapter, engine.at_once
        model = engine.model
        self.lanes = Lanes(model.device)
        self.shelf = Shelf(engine.cache_bytes, model.device)
        self.tokens = engine.lane_bytes // model.token_bytes  # that all lanes together may hold
        self.waiting: deque[_Reply] = deque()
        self.active: list[_Reply] = []
        self.lane = np.zeros(0, np.int64)  # (R,) of each reply
        self.length = np.zeros(0, np.int64)  # (n,) tokens in each lane
        self.sampling: list[Sampling] = []  # of each lane
        self.allowed: list[tuple[Ids, ...] | None] = []  # what may still follow in each lane
        self.logits = torch.zeros(0)  # (n, V) after each lane
        self.stops = np.array(sorted(model.stops))

    def drop(self, sessions: set[str]) -> None:
        """Forget the replies of sessions."""
        self.waiting = deque(r for r in self.waiting if r.job.session not in sessions)
        keep = np.array([r.job.session not in sessions for r in self.active], np.bool_)
        if not keep.all():
            self._keep(keep)

    def run(self) -> list[tuple[Job, Sampled]]:
        """Let waiting replies begin, and sample until one in REFILL has ended."""
        if self.waiting:
            with self.model.using(self.adapter):
                self._admit()
        if not self.active:
            return []
        ended: list[tuple[Job, Sampled]] = []
        enough = max(1, len(self.active) // REFILL)
        with self.model.using(self.adapter):
            while self.active and len(ended) < enough:
                ended += self._step()
        return ended

    # ------------------------------------------------------------------------------ beginning
    def _admit(self) -> None:
        """Read the prompts of waiting replies, each distinct one once."""
        begin: list[_Reply] = []
        longest = max((reply.longest for reply in self.active), default=0)
        while self.waiting and len(self.active) + len(begin) < self.at_once:
            longest = max(longest, self.waiting[0].longest)
            if (len(self.active) + len(begin) + 1) * longest > self.tokens and (self.active or begin):
                break
            begin.append(self.waiting.popleft())
        alike: dict[Any, list[_Reply]] = {}
        for reply in begin:
            job = reply.job
            alike.setdefault((job.ids, job.sampling, job.allowed), []).append(reply)
        groups = sorted(alike.values(), key=lambda group: len(group[0].job.ids))
        while groups:
            longest, count = len(groups[0][0].job.ids), 1
            while count < len(groups) and (count + 1) * len(groups[count][0].job.ids) <= READ_AT_ONCE:
                longest, count = len(groups[count][0].job.ids), count + 1
            self._begin(groups[:count], longest)
            del groups[:count]

    def _begin(self, groups: list[list[_Reply]], longest: int) -> None:
        """Read the prompts of some groups into new lanes, from where they differ from earlier ones."""
        first = len(self.length)
        prompts = [group[0].job.ids for group in groups]
        found = [self.shelf.find(ids) for ids in prompts]
        self.lanes.make_room(longest, first + len(groups))
        self.shelf.fetch(self.lanes, first, [f.blocks for f in found])
        logits: list[Tensor | None] = [f.logits for f in found]
        unread = [i for i, f in enumerate(found) if f.logits is None]
        # Those that must be read come first among the new lanes, side by side.
        if unread:
            known = [i for i, f in enumerate(found) if f.logits is not None]
            if known and unread != list(range(len(unread))):
                self._reorder(first, [*unread, *known])
                groups, prompts = ([x[i] for i in (*unread, *known)] for x in (groups, prompts))  # type: ignore[assignment]
                logits = [logits[i] for i in (*unread, *known)]
                found = [found[i] for i in (*unread, *known)]
            read = self._read(first, prompts[: len(unread)], [f.tokens for f in found[: len(unread)]])
            logits[: len(unread)] = list(read)
            self.shelf.keep(
                self.lanes, [(first + i, prompts[i], read[i].clone()) for i in range(len(unread))]
            )
        rows = [reply for group in groups for reply in group]
        lanes = np.repeat(np.arange(first, first + len(groups)), [len(group) for group in groups])
        self.active += rows
        self.lane = np.concatenate([self.lane, lanes])
        self.length = np.concatenate([self.length, [len(ids) for ids in prompts]])
        self.sampling += [group[0].job.sampling for group in groups]
        self.allowed += [group[0].job.allowed for group in groups]
        new = torch.stack([row for row in logits if row is not None])
        self.logits = torch.cat([self.logits, new]) if first else new

    def _reorder(self, first: int, order: list[int]) -> None:
        index = torch.as_tensor([first + i for i in order], device=self.lanes.device)
        for held in self.lanes.tensors():
            held[first : first + len(order)] = held[index]

    def _read(self, first: int, prompts: Sequence[Ids], known: Sequence[int]) -> Tensor:
        """Logits (B, V) after prompts whose first `known` tokens are in their lanes already."""
        rest = [ids[have:] for ids, have in zip(prompts, known, strict=True)]
        width = max(map(len, rest))
        ids = np.zeros((len(rest), width), np.int64)
        for row, part in enumerate(rest):
            ids[row, : len(part)] = part
        at = np.array(known)[:, None] + np.arange(width)
        hidden = self._forward(first, ids, at)
        last = torch.as_tensor([len(part) - 1 for part in rest], device=hidden.device)
        return self.model.head(hidden[torch.arange(len(rest), device=hidden.device), last])

    def _forward(self, first: int, ids: NDArray[np.int64], at: NDArray[np.int64]) -> Tensor:
        """Hidden states (B, T, width) of tokens at their places in lanes first, first + 1, ..."""
        device = self.lanes.device
        reach = int(at.max()) + 1
        self.lanes.aim(first, at, reach)
        places = torch.as_tensor(at, device=device)
        seen = torch.arange(reach, device=device) <= places[:, None, :, None]  # (B, 1, T, reach)
        places = places.clamp(max=self.model.context - 1)  # padding may lie beyond
        return self.model.hidden(torch.as_tensor(ids, device=device), places, seen, self.lanes)

    # ------------------------------------------------------------------------------- sampling
    def _step(self) -> list[tuple[Job, Sampled]]:
        """Draw a token for every reply; those that end leave."""
        logp = distributions(self.logits, self.sampling, self.allowed)
        token, logprob = drawn(logp, self.lane, [reply.draw() for reply in self.active])
        for reply, t, p in zip(self.active, token.tolist(), logprob.tolist(), strict=True):
            reply.ids.append(t)
            reply.logprobs.append(p)
        stopped = np.isin(token, self.stops)
        for i, reply in enumerate(self.active):
            if reply.job.sampling.ignore_end:
                stopped[i] = False
            elif reply.job.sampling.stop and not stopped[i]:
                stopped[i] = self._at_stop_string(reply)
        full = np.array([len(reply.ids) >= reply.limit for reply in self.active], np.bool_)
        over = stopped | full
        ended = [
            (reply.job, Sampled(tuple(reply.ids), np.array(reply.logprobs, np.float32), "stop" if stop else "length"))
            for reply, gone, stop in zip(self.active, over.tolist(), stopped.tolist(), strict=True)
            if gone
        ]  # fmt: skip
        self._shelve(over)
        self._keep(~over, token)
        return ended

    def _at_stop_string(self, reply: _Reply) -> bool:
        text = self.model.decode(tuple(reply.ids[-64:]))
        return any(mark in text for mark in reply.job.sampling.stop)

    def _shelve(self, over: NDArray[np.bool_]) -> None:
        """Keep what was said in sessions, which go on from there."""
        held = []
        for i in np.flatnonzero(over).tolist():
            reply = self.active[i]
            if reply.job.goes_on:
                ids = (*reply.job.ids, *reply.ids)[: self.length[self.lane[i]]]
                held.append((int(self.lane[i]), ids, None))
        if held:
            self.shelf.keep(self.lanes, held)

    def _keep(self, keep: NDArray[np.bool_], token: NDArray[np.int64] | None = None) -> None:
        """Go on with some replies; with `token` (R,), feed each its token."""
        self.active = [reply for reply, stays in zip(self.active, keep.tolist(), strict=True) if stays]
        lane = self.lane[keep]
        fed = np.zeros(len(lane), np.int64) if token is None else token[keep]
        nodes, inverse = np.unique(np.stack([lane, fed], 1), axis=0, return_inverse=True)
        parent, place = self._arrange(nodes[:, 0])
        order = np.argsort(place)
        self.lane = place[inverse.ravel()]
        parent, tokens = parent[order], nodes[order, 1]
        self.length = self.length[parent]
        self.sampling = [self.sampling[i] for i in parent]
        self.allowed = [self.allowed[i] for i in parent]
        if token is None:
            self.logits = self.logits[torch.as_tensor(parent, device=self.logits.device)]
        elif len(parent):
            self._feed(tokens)

    def _arrange(self, parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bring what `parent` (n',) lanes hold into lanes 0 to n' - 1; each one's parent and its new lane."""
        count = len(parent)
        first = np.r_[True, np.diff(parent) != 0] if count else np.zeros(0, np.bool_)  # parent is sorted
        stays = first & (parent < count)
        place = np.where(stays, parent, -1)
        free = np.setdiff1d(np.arange(count), parent[stays], assume_unique=True)
        place[~stays] = free
        moved = ~stays
        if moved.any():
            self.lanes.copy(parent[moved], place[moved], int(self.length[parent[moved]].max()))
        return parent, place

    def _feed(self, tokens: NDArray[np.int64]) -> None:
        at = self.length[:, None]
        self.logits = self.model.head(self._forward(0, tokens[:, None], at)[:, -1])
        self.length = self.length + 1
        if any(self.allowed):
            self.allowed = [
                None if left is None else tuple(r[1:] for r in left if r[:1] == (t,))
                for left, t in zip(self.allowed, tokens.tolist(), strict=True)
            ]
