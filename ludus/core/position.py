"""Positions of array games, one at a time: what is known of one, and how its record is read and written."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.game import Choice, Seat, View

if TYPE_CHECKING:
    from ludus.core.array_game import ArrayGame


class Position:
    """A scalar state: the record's bytes, and beside it what the last move paid each seat.

    Rules are functions of the record; what a game worked out of it is kept here, so that nothing is asked twice.
    """

    __slots__ = ("after", "chance", "game", "mover", "options", "paid", "record", "views")

    def __init__(self, record: bytes, paid: tuple[float, ...]) -> None:
        self.record, self.paid = record, paid
        self.game: Any = None  # whose rules these are
        self.mover: int | None = None
        self.chance: Sequence[tuple[int, float]] | None = None
        self.options: dict[Seat, Choice] | None = None
        self.views: dict[Seat, View] | None = None
        self.after: dict[Any, Position] | None = None  # by the moves that lead there

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and (self.record, self.paid) == (other.record, other.paid)

    def __hash__(self) -> int:
        return hash((self.record, self.paid))

    def __repr__(self) -> str:
        return f"Position({self.record!r}, {self.paid!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Position, (self.record, self.paid)


class Desk(threading.local):
    """What compiled rules read and write when one move is played, for each thread its own: nothing is allocated for it.

    Attributes:
        parts: the position (1,) of the record type, its memory, pay (K,) float32, mask (A,) uint8 and odds (C,) float64.
    """

    def __init__(self, game: ArrayGame) -> None:
        state = np.zeros(1, game.record)
        pay, mask = np.zeros(len(game.seats), np.float32), np.zeros(len(game.moves), np.uint8)
        self.parts = state, state.view(np.uint8).data, pay, mask, np.zeros(game.outcomes)


class Record:
    """One position, its fields as attributes: numbers are plain, arrays are views of a copy.

    numpy's own records do the same ten times slower.
    """

    def __init__(self, record: bytes, kind: np.dtype[Any]) -> None:
        self._row = np.frombuffer(bytearray(record), kind)
        self.__dict__.update(zip(kind.names or (), self._row.item()))  # noqa: B905 - the check takes its time

    def __getattr__(self, name: str) -> Any:
        """Called for what is no field."""
        fields = (field for field in self.__dict__ if field != "_row")
        raise AttributeError(f"the record has no field {name!r}; its fields are {', '.join(fields)}")

    def tobytes(self) -> bytes:
        """The position as it is now.

        Raises:
            AttributeError: something was written that is no field.
        """
        names = self._row.dtype.names or ()
        if len(self.__dict__) > len(names) + 1:
            wrong = ", ".join(sorted(self.__dict__.keys() - {*names, "_row"}))
            raise AttributeError(f"the record has no field {wrong}; its fields are {', '.join(names)}")
        for name in names:
            self._row[name] = self.__dict__[name]
        return self._row.tobytes()


class Sight(View):
    """What the seat with an index sees of a position: written when it is first asked for."""

    __slots__ = ("_game", "_record", "_seat", "_seen", "_told")

    def __init__(self, game: ArrayGame, record: bytes, seat: int) -> None:
        self._told: str | None = None
        self._seen: NDArray[Any] | None = None
        self._digest, self.data = "", None
        self._game, self._record, self._seat = game, record, seat

    @property
    def text(self) -> str:
        if self._told is None:
            self._told = self._game.describe(self._game.open(self._record), self._seat)
        return self._told

    @property
    def features(self) -> NDArray[Any]:
        if self._seen is None:
            self._seen = self._game.observed(self._record, self._seat)
        return self._seen
