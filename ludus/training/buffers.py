"""Buffers: decisions of earlier steps, from which a learner draws its batches.

    BUFFERS    places(seen, n, capacity, rng) -> (n,) where new decisions are put, -1: nowhere

circular     the newest decisions; each is drawn with those that follow in its seat's game, for estimators to look at
reservoir    of all decisions so far as many as there is room for, each as likely as any other

A circular buffer and `estimator = { name = "gae", trace = 0 }` with `values = "reference"` are Q-learning from
replayed transitions (Mnih et al. 2015); with `trace = 1` and a search, the games of expert iteration (Silver et al.
2018, arXiv:1712.01815). A reservoir and the loss `sft` learn the average of all earlier selves (Heinrich and Silver
2016, arXiv:1603.01121).

Shape letters: N decisions, C capacity, B decisions of a batch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.core.registry import Registry
from ludus.core.symmetry import Symmetry, stacked
from ludus.training.choices import Named

BUFFERS = Registry("buffer", "ludus.buffers")
KEPT = (
    "game", "seat", "role", "rewards", "early", "values", "next_values", "ended", "cut", "ids", "rollout", "prompts",
    "legal", "policy_target",
)  # fmt: skip
NAMES = ("games", "seats", "roles", "columns")
Places = Callable[[int, int, int, np.random.Generator], NDArray[np.int64]]


def _buffer(name: str, *, follows: bool) -> Callable[[Places], Places]:
    def add(function: Places) -> Places:
        vars(function).update(follows=follows)
        return BUFFERS.add(name, function)

    return add


@_buffer("circular", follows=True)
def circular(seen: int, n: int, capacity: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One place after the other, the oldest decision giving way."""
    return (seen + np.arange(n)) % capacity


@_buffer("reservoir", follows=False)
def reservoir(seen: int, n: int, capacity: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The next free place, and then that of a random decision: the i-th is kept with probability C / i.

    Source: Vitter 1985, ACM TOMS 11(1), algorithm R.
    """
    number = seen + np.arange(n)
    drawn = np.floor(rng.random(n) * (number + 1)).astype(np.int64)
    return np.where(number < capacity, number, np.where(drawn < capacity, drawn, -1))


class Buffer:
    """Decisions of one token each, as columns.

    Args:
        kind: "circular" or "reservoir".
        capacity: decisions that there is room for (C).
        draw: decisions of a batch (B), drawn with replacement; all, each once, where there are no more.
        least: how many there must be before anything is drawn.
        augment: take every decision that is drawn for a random one of its images, itself among them, by the game's
            symmetries (Silver et al. 2017, Nature 550).
        symmetries: of the game.

    Attributes:
        seen: decisions that were ever offered.

    Raises:
        ConfigError: a setting is impossible, or `augment` wants symmetries and there are none.
    """

    def __init__(
        self,
        kind: str,
        *,
        capacity: int,
        draw: int,
        least: int = 1000,
        augment: bool = False,
        symmetries: Sequence[Symmetry] = (),
    ) -> None:
        self.places: Places = BUFFERS.maker(kind)
        if not 1 <= least <= capacity or draw < 1:
            raise ConfigError(
                f"buffer {kind}: capacity = {capacity}, draw = {draw} and least = {least} must be positive, and least "
                "at most the capacity"
            )
        if augment not in (True, False) or (augment and not symmetries):
            raise ConfigError(
                f"buffer {kind}: augment = {augment!r} is false, or true where one array game is learned that has symmetries"
            )
        self.capacity, self.draw, self.least, self.seen = capacity, draw, least, 0
        self._augmentation = Augmentation(symmetries) if augment else None
        self._held: dict[str, NDArray[Any]] = {}
        self._names: dict[str, Any] = {}

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, ledger: Ledger, chosen: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Take in the chosen decisions (N,) bool of a ledger.

        Raises:
            ConfigError: they are not of one token and features of one shape, or are of other games than before.
        """
        rows = np.flatnonzero(chosen)
        columns = _columns(ledger, rows, follows=getattr(self.places, "follows", False))
        names = {name: getattr(ledger, name) for name in NAMES}
        if not self._held:
            self._names = names
            self._held = {k: np.zeros((self.capacity, *c.shape[1:]), c.dtype) for k, c in columns.items()}
        shapes = [{k: c.shape[1:] for k, c in held.items()} for held in (columns, self._held)]
        if names != self._names or shapes[0] != shapes[1]:
            raise ConfigError(f"a buffer of {self._names} cannot take in decisions of {names}")
        if self._augmentation is not None:
            self._augmentation.check(columns)
        places = self.places(self.seen, len(rows), self.capacity, rng)
        kept = places >= 0
        for name, column in columns.items():
            self._held[name][places[kept]] = column[kept]
        self.seen += len(rows)

    def drawn(self, rng: np.random.Generator, policy: str, version: int) -> Ledger | None:
        """A batch, as decisions that the policy of this name has just made; None as long as there are too few.

        Decisions that are known to follow one stand behind it in its sequence, where they have weight 0.
        """
        if len(self) < self.least:
            return None
        every = self.draw >= len(self)
        first = np.arange(len(self)) if every else rng.integers(len(self), size=self.draw)
        count = 1 + self._held["followed"][first]
        sequence, n = np.repeat(np.arange(len(first)), count), int(count.sum())
        place = np.arange(n) - np.repeat(np.cumsum(count) - count, count)  # in its sequence
        held = {k: c for k, c in self._held.items() if k != "followed"}
        columns = {k: c[(np.repeat(first, count) + place) % self.capacity] for k, c in held.items()}
        if self._augmentation is not None:
            columns = self._augmentation.of(
                columns, np.repeat(self._augmentation.drawn(len(first), rng), count)
            )
        return Ledger(
            **columns, episode=sequence, sequence=sequence, policy=np.zeros(n, np.int32), group=np.zeros(n, np.int32),
            source=np.zeros(n, np.int32), sample=np.zeros(n, np.int64), version=np.full(n, version, np.int64),
            order=place, weight=np.where(place, 0.0, 1.0), truncated=np.zeros(n, np.bool_),
            offset=np.arange(n), length=np.ones(n, np.int64), sampled=np.ones(n, np.bool_),
            old=np.full(n, np.nan, np.float32), token_rewards=np.zeros(n), token_values=np.full(n, np.nan, np.float32),
            collision=np.full(n, np.nan, np.float32), replies=None, policies=(policy,),
            groups=("drawn",), **self._names,
        )  # fmt: skip

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name, and what JSON can hold."""
        held = {name: column[: len(self)] for name, column in self._held.items()}
        return held, {"seen": self.seen, "names": {name: list(n) for name, n in self._names.items()}}

    def load(self, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.seen, self._held = int(about["seen"]), {}
        self._names = {name: tuple(n) for name, n in about["names"].items()}
        for name, column in arrays.items():
            self._held[name] = np.zeros((self.capacity, *column.shape[1:]), column.dtype)
            self._held[name][: len(column)] = column


class Augmentation:
    """Decisions as what a game's symmetries make of them; number 0 is the decision itself.

    Shape letters: N decisions, I images of each, F features, flattened, A moves.
    """

    def __init__(self, symmetries: Sequence[Symmetry]) -> None:
        self._features, self._moves = stacked(symmetries)  # (I, F), (I, A)
        self._places = np.argsort(self._moves, 1)  # (I, A) where moves come to stand

    def check(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Raise ConfigError where decisions are not of the game's own features and moves."""
        given = int(np.prod(columns["prompts"].shape[1:])), columns["legal"].shape[1]
        if given != (wanted := (self._features.shape[1], self._moves.shape[1])):
            raise ConfigError(
                f"augment = true wants decisions of the game's features and moves, {wanted}, not {given}: a network that "
                "reads prose has no symmetries"
            )

    def drawn(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n,) numbers of images, each as likely."""
        return rng.integers(len(self._moves), size=n)

    def of(self, columns: Mapping[str, NDArray[Any]], image: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Columns of N decisions as images (N,) of those numbers."""
        made = {
            name: columns[name].copy() for name in ("prompts", "legal", "policy_target") if name in columns
        }
        flat = made["prompts"].reshape(len(image), -1)
        for k in range(1, len(self._moves)):
            rows = np.flatnonzero(image == k)
            flat[rows] = flat[rows][:, self._features[k]]
            for name in made.keys() - {"prompts"}:
                made[name][rows] = made[name][rows][:, self._moves[k]]
        return {**columns, **made, "ids": self._places[image, columns["ids"]]}


def make_buffer(choice: Named, symmetries: Sequence[Symmetry] = ()) -> Buffer | None:
    """The buffer that a configuration asks for, for a game of these symmetries.

    Raises:
        UnknownName: there is no such buffer, or it has no such setting.
        ConfigError: a setting is missing or impossible.
    """
    if choice.name == "none":
        return None
    known = inspect.signature(Buffer).parameters.keys() - {"kind", "symmetries"}
    for key in choice.settings:
        if key not in known:
            raise UnknownName(f"setting of the buffer {choice.name}", key, known)
    lacking = [key for key in ("capacity", "draw") if key not in choice.settings]
    if lacking:
        raise ConfigError(f"the buffer {choice.name} wants {', '.join(lacking)}")
    return Buffer(choice.name, **choice.settings, symmetries=symmetries)


def _columns(ledger: Ledger, rows: NDArray[np.int64], *, follows: bool) -> dict[str, NDArray[Any]]:
    if not isinstance(ledger.prompts, np.ndarray) or ledger.legal is None or (ledger.length[rows] != 1).any():
        raise ConfigError(
            "a buffer holds decisions of networks: features of one shape, and moves of one token"
        )
    single = dataclasses.replace(ledger, replies=None).take(rows)
    columns = {name: column for name in KEPT if (column := getattr(single, name)) is not None}
    columns["followed"] = np.zeros(len(rows), np.int64)
    if follows and len(rows):  # by how many decisions that stand behind it here
        last = np.flatnonzero(np.r_[(np.diff(rows) != 1) | (np.diff(ledger.sequence[rows]) != 0), True])
        columns["followed"] = np.repeat(last, np.diff(last, prepend=-1)) - np.arange(len(rows))
    return columns
