"""Games whose rules are integer functions over one record: written once, run many ways.

A subclass gives a numpy record type and a handful of static functions that read and write one
record. They are ordinary Python, so a debugger steps through them; compiled by numba they also run
over many records at once. From them come the scalar `Game`, the batch and the tables.

Shape letters: N rows, K seats, A moves, C chance outcomes, F features (any shape).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ludus.core.compiled import COMPILED, helpers, kernel
from ludus.core.errors import ContractError, IllegalMove
from ludus.core.game import CHANCE, Choice, Game, Interface, Seat, View

NATURE = -1  # what `mover` returns when chance decides,
OVER = -2  # when the game has ended,
TOGETHER = -3  # and when all seats move at once
REMEMBERED = 16384  # answers of each kind that a scalar game keeps

Method = TypeVar("Method", bound=Callable[..., Any])


class Position(NamedTuple):
    """A scalar state: the record's bytes, and beside it what the last move paid each seat."""

    record: bytes
    paid: tuple[float, ...]


class Record:
    """One position, its fields as attributes: numbers are plain, arrays are views of a copy.

    numpy's own records do the same ten times slower.
    """

    def __init__(self, record: bytes, kind: np.dtype[Any]) -> None:
        self._row = np.frombuffer(bytearray(record), kind)
        self._fields = kind.names or ()
        for name in self._fields:
            value = self._row[name][0]
            setattr(self, name, value if value.ndim else value.item())

    def __getattr__(self, name: str) -> Any:
        fields = ", ".join(self.__dict__.get("_fields", ()))
        raise AttributeError(f"the record has no field {name!r}; its fields are {fields}")

    def tobytes(self) -> bytes:
        """The position as it is now."""
        for name in self._fields:
            self._row[name] = getattr(self, name)
        return self._row.tobytes()


def _remembered(method: Method) -> Method:
    """Answer what was asked before without working it out again: rules are functions of the record."""
    name = f"_known_{method.__name__}"

    @functools.wraps(method)
    def ask(self: Any, state: Position, *asked: Any) -> Any:
        key = (state.record, *asked)
        try:
            return self.__dict__[name][key]
        except KeyError:
            known = self.__dict__.setdefault(name, {})
            if len(known) >= REMEMBERED:
                known.clear()
            known[key] = answer = method(self, state, *asked)
            return answer

    return cast("Method", ask)


class ArrayGame(Game[Position]):
    """Rules over one record.

    The scalar game remembers positions it was asked about lately; what it hands out for them is
    shared and must not be written to.

    `setup` is an ordinary method, run once for each game made: what the functions need to know of
    the parameters it writes into fields of the record, or they read it off the fields' lengths.

    Attributes:
        record: the numpy record type. Fields are read and written as attributes.
        moves: names of the moves (A).
        outcomes: how many outcomes a chance move has at most (C).
        shape: shape of the features (F).
        dtype: "uint8", "int16" or "float32", of the features.
        compiled: whether the scalar game, too, asks the compiled rules where numba is installed: for rules
            that take long in Python. Plain functions that rules call are compiled with them.
    """

    record: np.dtype[Any]
    moves: tuple[str, ...]
    outcomes: int = 0
    shape: tuple[int, ...]
    dtype: ClassVar[str] = "uint8"
    compiled: ClassVar[bool] = False
    view_is_complete = True

    # ----------------------------------------------------------- what a game's author writes
    def setup(self, s: Any) -> None:
        """Write the first position into a zeroed record."""

    @staticmethod
    def mover(s: Any) -> int:
        """The seat to move, by index, or `NATURE`, `OVER`, `TOGETHER`."""
        raise NotImplementedError

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        """Write 1 into out (A,) uint8 at every legal move of `seat`."""
        raise NotImplementedError

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        """Write the probabilities of nature's outcomes into out (C,) float64."""

    @staticmethod
    def toss(s: Any, u: float) -> int:
        """The outcome that u, uniform in [0, 1), makes of nature's move; optional, where `odds` are slow."""
        return 0

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        """Play move (or outcome) a; add what each seat earns by it to pay (K,) float32."""

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        """Play actions (K,) of all seats at once."""

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        """Write what `seat` sees into out (F), which is zero."""
        raise NotImplementedError

    def describe(self, s: Any, seat: int) -> str:
        """The same in prose."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ the scalar game
    @functools.cached_property
    def first(self) -> NDArray[Any]:
        """The first position, (1,) of the record type.

        Raises:
            ContractError: a field is called as something that numpy's records have anyway.
        """
        if taken := set(self.record.names or ()) & set(dir(np.record)):
            raise ContractError(
                f"{self!r}: a field of the record may not be called {', '.join(sorted(taken))}: numpy's records have "
                "that already, and uncompiled rules would read it in the field's place"
            )
        s = self.open(bytes(self.record.itemsize))
        self.setup(s)
        return np.frombuffer(bytearray(s.tobytes()), self.record)

    def open(self, record: bytes) -> Record:
        """A copy of a position, to be read and written field by field."""
        return Record(record, self.record)

    def start(self, rng: np.random.Generator) -> Position:
        return Position(self.first.tobytes(), (0.0,) * len(self.seats))

    @_remembered
    def turn(self, state: Position) -> tuple[Seat, ...]:
        return self._turn(int(self._ask("mover", state.record)))

    def _turn(self, mover: int) -> tuple[Seat, ...]:
        if mover >= 0:
            return (self.seats[mover],)
        return {OVER: (), NATURE: (CHANCE,), TOGETHER: self.seats}[mover]

    def _ask(self, rule: str, record: bytes, *given: Any) -> Any:
        """What a rule, compiled or not, says of a position."""
        if self._loops is not None:
            return getattr(self._loops, f"solo_{rule}")(np.frombuffer(bytearray(record), self.record), *given)
        return getattr(self, rule)(self.open(record), *given)

    def _after(self, rule: str, record: bytes, *given: Any) -> bytes:
        """The position that `move` or `joint` makes of one."""
        if self._loops is not None:
            copy = np.frombuffer(bytearray(record), self.record)
            getattr(self._loops, f"solo_{rule}")(copy, *given)
            return copy.tobytes()
        s = self.open(record)
        getattr(self, rule)(s, *given)
        return s.tobytes()

    @functools.cached_property
    def _loops(self) -> ModuleType | None:
        """The compiled rules, where the scalar game asks them."""
        loops = kernel(self) if self.compiled and COMPILED else None
        return loops if loops is not None and loops.COMPILED else None

    def _odds(self, record: bytes) -> NDArray[np.float64]:
        p = np.zeros(self.outcomes)
        self._ask("odds", record, p)
        return p

    def _legal(self, record: bytes, seat: int) -> NDArray[np.bool_]:
        mask = np.zeros(len(self.moves), np.uint8)
        self._ask("legal", record, seat, mask)
        return mask.astype(np.bool_)

    @_remembered
    def chance(self, state: Position) -> Sequence[tuple[int, float]]:
        return [
            (outcome, share) for outcome, share in enumerate(self._odds(state.record).tolist()) if share > 0
        ]

    @_remembered
    def options(self, state: Position, seat: Seat) -> Choice:
        legal = self._legal(state.record, self.seats.index(seat))
        legal.flags.writeable = False
        return Choice(self.moves, legal)

    @_remembered
    def view(self, state: Position, seat: Seat) -> View:
        k = self.seats.index(seat)
        features = np.zeros(self.shape, self.dtype)
        self._ask("observe", state.record, k, features)
        features.flags.writeable = False
        return View(self.describe(self.open(state.record), k), features)

    def play(self, state: Position, moves: Mapping[Seat, Any]) -> Position:
        return self._play(state, *((seat, self._whole(seat, move)) for seat, move in moves.items()))

    def _whole(self, seat: Seat, move: Any) -> int:
        if isinstance(move, (int, np.integer)) and not isinstance(move, bool):
            return int(move)
        raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here: moves are whole numbers")

    @_remembered
    def _play(self, state: Position, *laid: tuple[Seat, int]) -> Position:
        moves = dict(laid)
        mover = int(self._ask("mover", state.record))
        for seat, move in moves.items():
            self._refuse(state.record, mover, seat, move)
        pay = np.zeros(len(self.seats), np.float32)
        if mover == TOGETHER:
            together = np.array([moves[seat] for seat in self.seats], np.int32)
            record = self._after("joint", state.record, together, pay)
        else:
            ((_, move),) = moves.items()
            record = self._after("move", state.record, move, pay)
        return Position(record, tuple(pay.tolist()))

    def _refuse(self, record: bytes, mover: int, seat: Seat, move: int) -> None:
        """Raise IllegalMove unless `seat` may play `move`."""
        if seat not in (turn := self._turn(mover)):
            raise IllegalMove(f"{self.id}: it is not the turn of {seat} but of {', '.join(turn) or 'nobody'}")
        allowed = self._odds(record) > 0 if mover == NATURE else self._legal(record, self.seats.index(seat))
        if not (0 <= move < len(allowed) and allowed[move]):
            raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here")

    def payoff(self, state: Position) -> Mapping[Seat, float]:
        return {seat: paid for seat, paid in zip(self.seats, state.paid, strict=True) if paid}

    def interface(self, seat: Seat) -> Interface:
        return Interface(Choice(self.moves, np.ones(len(self.moves), np.bool_)), self.shape, self.dtype)

    def fingerprint(self) -> str:
        return _with_helpers(super().fingerprint(), type(self))

    def __getstate__(self) -> dict[str, Any]:
        made_again = ("first", "_known_", "_loops")
        return {k: v for k, v in self.__dict__.items() if not k.startswith(made_again)}


@functools.lru_cache(maxsize=256)
def _with_helpers(fingerprint: str, rules: type) -> str:
    """A fingerprint that changes with the functions that rules call, too."""
    if not (called := helpers(rules)):
        return fingerprint
    sources = "".join(inspect.getsource(function) for function in called)
    return hashlib.blake2b((fingerprint + sources).encode(), digest_size=8).hexdigest()
