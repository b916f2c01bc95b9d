"""Agents: what is put to them, what they answer, and the two simplest of them.

An agent has a `name` and `act(requests)`. It may also have

    submit(requests), poll()   to answer at its own pace (language-model engines); `poll` returns
                               the (request, decision) pairs that are ready, at once
    value(requests)            (N,) what each seat expects to earn from here on
    probabilities(requests)    a list of N arrays (A,), where it knows its own mixing; requests may be put again and
                               again, and their generators are not drawn from
    close(keys)                ends the sessions of finished episodes
    fingerprint()              a hash of what it is: weights, settings
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ludus.core.game import Choice, Forfeit, Move, Options, Seat, View

Reading: TypeAlias = Literal["exact", "normalised", "retry", "fallback", "forfeit", "truncated", "skip"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer of an agent whose machinery broke; unlike a forfeit it is nobody's move."""

    reason: str


class Request:
    """A seat's turn, put to an agent; not to be written to.

    Attributes:
        key: names the episode; stable from its first request to its last, unique in a process.
        game: id of the game.
        seat: who is asked.
        view: what the seat sees now.
        options: what it may do.
        past: its own (view, move) pairs so far, oldest first.
        rng: the seat's own stream; the only randomness an agent may use.
        rules: the prose of the rules for this seat.
        complete: the view alone carries everything the seat knows.
        state: the game's state, only where the seat is allowed to see it (search agents).
        sample: draws a legal reply from a generator, for agents that play free replies at random.
        complaint: why the last reply could not be used, when the same turn is asked again.
        attempt: how many replies to this turn could not be used.
    """

    __slots__ = (
        "attempt", "complaint", "complete", "game", "key", "options", "past", "rng", "rules", "sample", "seat", "state",
        "view",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        game: str,
        seat: Seat,
        view: View,
        options: Options,
        past: Sequence[tuple[View, Move]],
        rng: np.random.Generator,
        rules: str = "",
        complete: bool = False,
        state: Any = None,
        sample: Callable[[np.random.Generator], Move] | None = None,
        complaint: str = "",
        attempt: int = 0,
    ) -> None:
        self.key, self.game, self.seat = key, game, seat
        self.view, self.options, self.past = view, options, past
        self.rng, self.rules = rng, rules
        self.complete, self.state, self.sample = complete, state, sample
        self.complaint, self.attempt = complaint, attempt

    @property
    def information(self) -> str:
        """The information state: seat, and all it has seen and done."""
        return information(self.seat, self.view, () if self.complete else self.past)

    def replace(self, **changes: Any) -> Request:
        """The same request but for some attributes."""
        return Request(**{name: getattr(self, name) for name in Request.__slots__} | changes)


def information(seat: Seat, view: View, past: Sequence[tuple[View, Move]] = ()) -> str:
    """The name of an information state: what tables and tabular policies are keyed by.

    >>> information("player_0", View("Your card is J."))
    'player_0: Your card is J.'
    """
    before = "".join(f"{seen.text} -> {move}\n" for seen, move in past)
    return f"{seat}: {before}{view.text}"


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """How a move was sampled: one token for a network, many for a language model.

    Attributes:
        prompt: (P,) int64 token ids, or a network's features in their own shape.
        ids: (T,) int64 what followed the prompt.
        logprobs: (T,) float32 under the policy that sampled, natural logarithm; 0 where forced.
        sampled: (T,) bool, False on forced tokens such as tool output.
        policy: name of the policy.
        version: its version when it sampled.
        legal: (A,) bool, the legal moves a network chose among; None for text.
        replies: language models over a choice: the token ids of every legal reply, so that
            exact probabilities of replies can be had; None where the replies are open.
        truncated: the reply was cut at the token limit.
        constraint: what kept the reply within bounds while it was sampled: "" (nothing) or "replies"
            (the legal replies alone); `logprobs` are those of the constrained distribution.
    """

    prompt: NDArray[Any]
    ids: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    sampled: NDArray[np.bool_]
    policy: str = ""
    version: int = 0
    legal: NDArray[np.bool_] | None = None
    replies: tuple[tuple[int, ...], ...] | None = None
    truncated: bool = False
    constraint: str = ""


@dataclass(slots=True, eq=False)
class Decision:
    """An agent's answer to a request.

    Attributes:
        move: the move; `Forfeit(reason)` when the agent could not read its own reply;
            `Failure(reason)` when its machinery broke.
        raw: the reply as it came, for agents that speak.
        read: how the move was read off the reply.
        tokens: how it was sampled, for agents that learn.
        value: what the seat expects to earn from here on, if the agent estimates that.
        note: reasoning and other remarks; kept in the record, never read by rules.
    """

    move: Move | Failure
    raw: str | None = None
    read: Reading = "exact"
    tokens: Tokens | None = None
    value: float | None = None
    note: str = ""


@runtime_checkable
class Agent(Protocol):
    """Anything with a name that answers requests, in order, one decision each."""

    name: str

    def act(self, requests: Sequence[Request]) -> Sequence[Decision]:
        """One decision for each request; no answer may depend on the others in the batch."""


@dataclass
class Uniform:
    """Plays every legal move alike; free replies are drawn by the game's own `sample`."""

    name: str = "uniform"

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [Decision(self._draw(request)) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        return [_legal(r) / _legal(r).sum() for r in requests]

    @staticmethod
    def _draw(request: Request) -> Move:
        if isinstance(request.options, Choice):
            legal = np.flatnonzero(request.options.legal)
            return int(legal[request.rng.integers(len(legal))])
        if request.sample is None:
            raise ValueError(
                f"{request.game}: {request.seat} has free replies and no sample to draw them from"
            )
        return request.sample(request.rng)


@dataclass
class FirstLegal:
    """Plays the first legal move; of free replies, whatever `sample` draws from a fixed generator."""

    name: str = "first_legal"
    _seed: int = field(default=0, repr=False)

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [Decision(self._first(request)) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        return [np.eye(len(_legal(r)))[int(np.argmax(_legal(r)))] for r in requests]

    def _first(self, request: Request) -> Move:
        if isinstance(request.options, Choice):
            return int(np.argmax(request.options.legal))
        if request.sample is None:
            return Forfeit("free replies have no first one, and the game gives no sample")
        return request.sample(np.random.default_rng(self._seed))


def _legal(request: Request) -> NDArray[np.float64]:
    if not isinstance(request.options, Choice):
        raise TypeError(f"{request.game}: {request.seat} has free replies, which have no probabilities here")
    return request.options.legal.astype(np.float64)
