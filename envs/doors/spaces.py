"""Spaces: what a seat sees and may do, in Gymnasium's terms. F features, A moves.

Where a seat has features its observation is

    observation  Box (F), in the features' own dtype, bounded by what the dtype holds
    action_mask  Box (A,) int8, where the seat chooses among moves: 1 where legal; all 1 while it is not asked,
                 so that no learner divides by zero on a view that needs no choice
    text         the same in prose; in PettingZoo's environments only where it is asked for

and otherwise `text` alone. The mask of a choice is in `info["action_mask"]` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import shared_memory
from numpy.typing import NDArray

from ludus.core.game import Choice, Form, Game, Interface, Options, Seat, Text, View

INT8 = np.dtype(np.int8)  # which numpy takes faster than the type's name
VIEW_CHARS = 1 << 20
SAMPLED_CHARS = 64

Draw = Callable[[np.random.Generator], "str | None"]


class UnicodeText(spaces.Text):
    """Strings of at most `max_length` characters, of whatever script.

    Gymnasium's own `Text` holds letters and digits only, so that a space or a full stop is outside of it.

    Args:
        max_length: in characters.
        min_length: in characters.
        draw: gives a string for `sample`, or None where it has none to give; a door's action space draws
            legal replies to the turn at hand. A copy of the space has no `draw`.
        seed: for sampling.
    """

    def __init__(
        self, max_length: int, *, min_length: int = 0, draw: Draw | None = None, seed: int | None = None
    ) -> None:
        super().__init__(max_length, min_length=min_length, seed=seed)
        self._draw = draw

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A string that `draw` gives; without one, letters and digits."""
        if mask is None and probability is None:
            drawn = self._draw(self.np_random) if self._draw else None
            if drawn is not None:
                return drawn
            longest = min(self.max_length, max(self.min_length, SAMPLED_CHARS))
            mask = (int(self.np_random.integers(self.min_length, longest + 1)), None)
        return str(super().sample(mask, probability))

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_draw": None}

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, UnicodeText)
        return same and (self.min_length, self.max_length) == (other.min_length, other.max_length)  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"UnicodeText({self.min_length}, {self.max_length})"


@shared_memory.create_shared_memory.register(UnicodeText)
def _unshared(space: UnicodeText, n: int = 1, ctx: Any = None) -> Any:
    """Gymnasium's shared memory holds the characters of a known set; make it say so at once."""
    raise CustomSpaceError("text of any script does not fit into shared memory")


def observation_space(interface: Interface, *, text: bool = True) -> spaces.Dict:
    """What a seat with this interface sees; `text` says whether in prose, too, where it has features."""
    parts: dict[str, spaces.Space[Any]] = {}
    if text or interface.shape is None:
        parts["text"] = UnicodeText(VIEW_CHARS)
    if interface.shape is not None:
        parts["observation"] = box(interface.shape, interface.dtype)
        if interface.moves is not None:
            parts["action_mask"] = spaces.Box(0, 1, (interface.moves,), np.int8)
    return spaces.Dict(parts)


def action_space(interface: Interface, draw: Draw | None = None) -> spaces.Space[Any]:
    """What a seat with this interface may do: the index of a move, or a string (a form is JSON text)."""
    if interface.moves is not None:
        return spaces.Discrete(interface.moves)
    options = interface.options
    assert isinstance(options, (Text, Form))
    return UnicodeText(options.max_chars, min_length=1, draw=draw)


def box(shape: tuple[int, ...], dtype: str) -> spaces.Box:
    """Features of this shape, bounded by what the dtype holds."""
    bounds = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    return spaces.Box(bounds.min, bounds.max, shape, np.dtype(dtype))


def mask_of(options: Options | None, interface: Interface) -> NDArray[np.int8] | None:
    """(A,) int8: the legal moves of a choice, all ones while nothing is asked; None where there is no choice."""
    if isinstance(options, Choice):
        return options.legal.astype(INT8)
    return None if interface.moves is None else np.ones(interface.moves, np.int8)


def observation(
    view: View, options: Options | None, interface: Interface, *, text: bool = True
) -> dict[str, Any]:
    """What a seat sees, fit for `observation_space(interface, text=text)`; fresh arrays each time."""
    seen: dict[str, Any] = {"text": view.text} if text or interface.shape is None else {}
    if interface.shape is not None:
        assert view.features is not None  # of the interface's own shape and dtype
        seen["observation"] = view.features.copy()
        if (mask := mask_of(options, interface)) is not None:
            seen["action_mask"] = mask
    return seen


def interfaces(game: Game[Any]) -> Mapping[Seat, Interface]:
    """The interface of every player."""
    return {seat: game.interface(seat) for seat in game.players}
