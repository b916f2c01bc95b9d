"""Engines: what continues token ids. The same small face for models in this process, vLLM and servers.

    engine.submit(jobs)      hand over prompts; an engine refills its batch as replies end
    engine.poll()            the (job, reply) pairs that are ready; in this process it also does the work
    engine.sample(jobs)      submit, and wait for all of them, in order
    engine.update(weights, version, adapter)
    engine.adapters          names of the adapters that jobs may ask for

A job carries token ids and never text, and a reply the ids that were sampled, so nothing is tokenised
twice on the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: keep the likeliest tokens that together reach this probability.
        top_k: keep so many of the likeliest tokens; 0 keeps all.
        max_new_tokens: a reply that goes on for longer is cut there.
        stop: a reply ends where its text comes to hold one of these.
        ignore_end: go on past end tokens, to the limit; for measuring throughput.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    ignore_end: bool = False

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0 or self.max_new_tokens < 1:
            raise ValueError(
                "temperature and top_k are not negative, top_p lies in (0, 1], and a reply has at least one "
                f"token: {self}"
            )


class Job(NamedTuple):
    """A prompt to be continued.

    Attributes:
        ids: the prompt's tokens.
        rng: the only randomness that may be used.
        sampling: how the reply is drawn.
        session: names the seat and episode it belongs to.
        adapter: which adapter's weights are used; "" for the model's own.
        allowed: the replies among which it may choose (token ids, end token included); None: any.
        goes_on: a later job of the session will go on from this one's tokens: worth keeping what was
            worked out.
    """

    ids: Ids
    rng: np.random.Generator
    sampling: Sampling
    session: str = ""
    adapter: str = ""
    allowed: tuple[Ids, ...] | None = None
    goes_on: bool = False


class Sampled(NamedTuple):
    """A reply.

    Attributes:
        ids: the sampled tokens, the stop token included.
        logprobs: (T,) float32, natural logarithm, each under the distribution it was drawn from.
        finish: "stop": it ended by itself or at a stop string; "length": at the token limit, or where
            the context was full.
    """

    ids: Ids
    logprobs: NDArray[np.float32]
    finish: Literal["stop", "length"]

    @property
    def stopped(self) -> bool:
        """It was not cut."""
        return self.finish == "stop"


class Engine(Protocol):
    """See the module. Faults of machinery are `CrewError`s that say what to do; prompts that do not fit
    the context are `ConfigError`s.
    """

    @property
    def adapters(self) -> Sequence[str]:
        """Names of the adapters that jobs may ask for."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on."""

    def poll(self) -> list[tuple[Job, Sampled]]:
        """Replies that are ready; none as long as none is."""

    def sample(self, jobs: Sequence[Job]) -> list[Sampled]:
        """One reply for each job, in order; the same job twice is refused (ValueError): it is drawn once."""

    def update(self, weights: Mapping[str, Any], version: int, adapter: str = "") -> None:
        """Sample under these weights from now on; no job that they concern may be under way.

        Args:
            weights: torch tensors by name: the whole model's, or with `adapter` the adapter's alone.
            version: of the weights, for messages and caches.
            adapter: which adapter they are; a new name adds one.
        """

    def drop(self, adapter: str) -> None:
        """Forget an adapter that nobody has any more; one that is not known is forgotten already."""

    def close(self, sessions: Sequence[str]) -> None:
        """Forget sessions; their jobs under way, if any, come back no more."""

    def stop(self) -> None:
        """Free what it holds: memory, processes, connections."""


def awaited(engine: Engine, jobs: Sequence[Job]) -> tuple[list[Sampled], list[tuple[Job, Sampled]]]:
    """Submit jobs and poll until all of them are answered: their replies in order, and what else came.

    Raises:
        ValueError: the same job is there twice.
    """
    place = {id(job): index for index, job in enumerate(jobs)}
    if len(place) < len(jobs):
        raise ValueError(
            f"{len(jobs)} jobs are {len(place)} objects: a job is drawn once, with a generator of its own"
        )
    engine.submit(jobs)
    mine: dict[int, Sampled] = {}
    others: list[tuple[Job, Sampled]] = []
    while len(mine) < len(jobs):
        for job, reply in engine.poll():
            if id(job) in place:
                mine[place[id(job)]] = reply
            else:
                others.append((job, reply))
    return [mine[index] for index in range(len(jobs))], others
