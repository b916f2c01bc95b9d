"""Environments of third parties, played again from their seeds: what the doors inwards have in common.

A state is the seed and the actions so far, so that it is a value whatever the environment is made of. Live
environments are a cache at the tips of the games in progress; any other state is reached by stepping a fresh
environment from the same seed. An environment must be a function of its seed and its actions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ludus.core.game import Game, Seat

LIVE = 64  # environments kept live at most; games beyond that are stepped again from their seeds


@dataclass(frozen=True, slots=True)
class Played:
    """A state: the seed that the environment was reset with, and the actions since.

    `paid` is what the last action earned each seat; it follows from the others.
    """

    seed: int
    actions: tuple[int | str, ...] = ()
    paid: tuple[tuple[Seat, float], ...] = ()


class Tip(Protocol):
    """A live environment, and how far it has been played."""

    seed: int
    actions: tuple[int | str, ...]


class Replayed(Game[Played]):
    """A game whose rules are a live environment: write `_begin` and `_step` beside the rest of a game."""

    _tips: list[Any]  # the least recently used first

    @abstractmethod
    def _begin(self, seed: int, spare: Any | None) -> Any:
        """A tip at the first state; `spare` is one that is not needed any more and may be used again."""

    @abstractmethod
    def _step(self, tip: Any, action: int | str) -> dict[Seat, float]:
        """Play `action`, add it to the tip's, and say what each seat earned."""

    def _steps(self, tip: Any, actions: tuple[int | str, ...]) -> dict[Seat, float]:
        """Play one action after the other, and say what the last one earned."""
        paid: dict[Seat, float] = {}
        for action in actions:
            paid = self._step(tip, action)
        return paid

    def start(self, rng: np.random.Generator) -> Played:
        return Played(int(rng.integers(2**31)))

    def payoff(self, state: Played) -> Mapping[Seat, float]:
        return dict(state.paid)

    def _after(self, state: Played, action: int | str) -> Played:
        """The state after one more action."""
        tip = self._at(state)
        self._tips.remove(tip)  # should the environment raise, it is not used again
        paid = self._steps(tip, (action,))
        self._tips.append(tip)
        return Played(state.seed, tip.actions, tuple((s, r) for s, r in paid.items() if r))

    def _at(self, state: Played) -> Any:
        """An environment as it stands in `state`: the live one furthest on the way there, or one begun for it."""
        on_the_way = [
            t for t in self._tips if t.seed == state.seed and state.actions[: len(t.actions)] == t.actions
        ]
        if on_the_way:
            tip = max(on_the_way, key=lambda t: len(t.actions))
            self._tips.remove(tip)
        else:
            tip = self._begin(state.seed, self._tips.pop(0) if len(self._tips) >= LIVE else None)
        if behind := state.actions[len(tip.actions) :]:
            self._steps(tip, behind)
        self._tips.append(tip)
        return tip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tips": []}
