"""Games whose rules are integer functions over one record: written once, run many ways.

A subclass gives a numpy record type and a handful of static functions that read and write one
record. They are ordinary Python, so a debugger steps through them; compiled by numba they also run
over many records at once. From them come the scalar `Game`, the batch and the tables.

Shape letters: N rows, K seats, A moves, C chance outcomes, F features (any shape).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ludus.core.compiled import COMPILED, compiling, kernel, rows, spread
from ludus.core.errors import IllegalMove
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
        known = self.__dict__.setdefault(name, {})
        key = (state.record, *asked)
        if key not in known:
            if len(known) >= REMEMBERED:
                known.clear()
            known[key] = method(self, state, *asked)
        return known[key]

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
    """

    record: np.dtype[Any]
    moves: tuple[str, ...]
    outcomes: int = 0
    shape: tuple[int, ...]
    dtype: ClassVar[str] = "uint8"
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
        """The first position, (1,) of the record type."""
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
        return self._turn(self.mover(self.open(state.record)))

    def _turn(self, mover: int) -> tuple[Seat, ...]:
        if mover >= 0:
            return (self.seats[mover],)
        return {OVER: (), NATURE: (CHANCE,), TOGETHER: self.seats}[mover]

    @_remembered
    def chance(self, state: Position) -> Sequence[tuple[int, float]]:
        p = np.zeros(self.outcomes)
        self.odds(self.open(state.record), p)
        return [(outcome, float(share)) for outcome, share in enumerate(p) if share > 0]

    @_remembered
    def options(self, state: Position, seat: Seat) -> Choice:
        mask = np.zeros(len(self.moves), np.uint8)
        self.legal(self.open(state.record), self.seats.index(seat), mask)
        legal = mask.astype(np.bool_)
        legal.flags.writeable = False
        return Choice(self.moves, legal)

    @_remembered
    def view(self, state: Position, seat: Seat) -> View:
        s, k = self.open(state.record), self.seats.index(seat)
        features = np.zeros(self.shape, self.dtype)
        self.observe(s, k, features)
        features.flags.writeable = False
        return View(self.describe(s, k), features)

    def play(self, state: Position, moves: Mapping[Seat, Any]) -> Position:
        return self._play(state, *((seat, self._whole(seat, move)) for seat, move in moves.items()))

    def _whole(self, seat: Seat, move: Any) -> int:
        if isinstance(move, (int, np.integer)) and not isinstance(move, bool):
            return int(move)
        raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here: moves are whole numbers")

    @_remembered
    def _play(self, state: Position, *laid: tuple[Seat, Any]) -> Position:
        moves = dict(laid)
        s = self.open(state.record)
        pay = np.zeros(len(self.seats), np.float32)
        mover = self.mover(s)
        for seat, move in moves.items():
            self._refuse(s, mover, seat, move)
        if mover == TOGETHER:
            self.joint(s, np.array([int(moves[seat]) for seat in self.seats], np.int32), pay)
        else:
            ((_, move),) = moves.items()
            self.move(s, int(move), pay)
        return Position(s.tobytes(), tuple(float(p) for p in pay))

    def _refuse(self, s: Any, mover: int, seat: Seat, move: Any) -> None:
        """Raise IllegalMove unless `seat` may play `move`."""
        if seat not in (turn := self._turn(mover)):
            raise IllegalMove(f"{self.id}: it is not the turn of {seat} but of {', '.join(turn) or 'nobody'}")
        if mover == NATURE:
            names, odds = tuple(map(str, range(self.outcomes))), np.zeros(self.outcomes)
            self.odds(s, odds)
            allowed = Choice(names, odds > 0)
        else:
            mask = np.zeros(len(self.moves), np.uint8)
            self.legal(s, self.seats.index(seat), mask)
            allowed = Choice(self.moves, mask.astype(np.bool_))
        if move not in allowed:
            raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here")

    def payoff(self, state: Position) -> Mapping[Seat, float]:
        return {seat: paid for seat, paid in zip(self.seats, state.paid, strict=True) if paid}

    def interface(self, seat: Seat) -> Interface:
        return Interface(Choice(self.moves, np.ones(len(self.moves), np.bool_)), self.shape, self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        made_again = ("first", "_known_")
        return {k: v for k, v in self.__dict__.items() if not k.startswith(made_again)}


# ---------------------------------------------------------------------------------- the batch
class Batch:
    """N games stepped together; a finished game starts again in the same step.

    Chance is resolved inside `step`; where seats move together they are asked one by one and their
    moves kept aside, so that every row has one mover. The arrays are overwritten by each step.

    Attributes:
        observation: (N, *F) what the mover of each row sees.
        legal: (N, A) bool, what it may do.
        mover: (N,) int8, its seat.
        reward: (N, K) float32, what the last step paid every seat.
        done: (N,) bool, whether the last step ended the game; the arrays above are the next one's.
        opening: (N, K) float32, what the deal of a row's present game paid, before any decision.

    Rows have streams of their own: what happens in row i depends on the seed and i, not on N.
    """

    def __init__(self, game: ArrayGame, n: int, seed: int = 0) -> None:
        if n < 1:
            raise ValueError(f"a batch has at least one row, not {n}")
        a, k = len(game.moves), len(game.seats)
        self.game, self.n = game, n
        self._states = np.zeros(n, game.record)
        self._streams = np.random.SeedSequence(seed).generate_state(n, np.uint64)
        self._dice = np.random.SeedSequence([seed, 1]).generate_state(n, np.uint64)
        self.observation = np.zeros((n, *game.shape), game.dtype)
        self._mask = np.zeros((n, a), np.uint8)
        self.legal = self._mask.view(np.bool_)
        self.reward = np.zeros((n, k), np.float32)
        self.opening = np.zeros((n, k), np.float32)
        self.done = np.zeros(n, np.bool_)
        self.mover = np.zeros(n, np.int8)
        self._aside = np.zeros((n, k), np.int32)
        self._waiting = np.zeros(n, np.int8)
        self._choice = np.full(n, -1, np.int32)
        self._rows, self._loops = rows(), kernel(game)
        with compiling(type(game).__name__):
            self._play(self._choice)  # below zero: every row starts anew
        self.done[:] = False

    def random_actions(self) -> NDArray[np.int32]:
        """A uniformly drawn legal move for each row, (N,) int32, from each row's own stream."""
        spread(self._rows.uniform, self.n, self._mask, self._choice, self._dice)
        return self._choice

    def step(self, actions: NDArray[Any]) -> None:
        """Play actions (N,), whole numbers, of the movers.

        Raises:
            IllegalMove: an action is not legal; nothing has been played.
        """
        given = np.asarray(actions)
        if given.shape != (self.n,) or given.dtype.kind not in "iu":
            raise ValueError(
                f"step takes whole numbers of shape ({self.n},), not {given.dtype} of {given.shape}"
            )
        choice = np.ascontiguousarray(given, np.int32)
        if (row := self._rows.refused(self._mask, choice)) >= 0:
            raise IllegalMove(
                f"{self.game.id}, row {row}: seat {self.mover[row]} cannot play {choice[row]}; "
                f"legal are {np.flatnonzero(self.legal[row]).tolist()}"
            )
        self._play(choice)

    def _play(self, choice: NDArray[np.int32]) -> None:
        states, first = self._states, self.game.first
        if not COMPILED:
            states, first = states.view(np.recarray), first.view(np.recarray)
        spread(
            self._loops.step, self.n, states, first, choice, self._aside, self._waiting, self._streams,
            self.observation, self._mask, self.reward, self.opening, self.done, self.mover, self.game.outcomes,
        )  # fmt: skip

    def look(self, seat: int) -> NDArray[Any]:
        """What `seat` now sees of every row, whoever is to move: (N, *F)."""
        seen = np.zeros_like(self.observation)
        states = self._states if COMPILED else self._states.view(np.recarray)
        self._loops.look(states, np.full(self.n, seat, np.int64), seen)
        return seen

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that decides the future of the batch, as plain arrays; `restore` takes it back."""
        kept = {name.removeprefix("_"): getattr(self, name).copy() for name in _STATE}
        return kept | {"states": kept["states"].view(np.uint8).reshape(self.n, -1)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, on a batch of the same game and size.

        Raises:
            ValueError: the state is that of another game or size; nothing has been changed.
        """
        mine = self.state()
        for name, array in mine.items():
            if name not in state or state[name].shape != array.shape or state[name].dtype != array.dtype:
                raise ValueError(
                    f"{name!r} does not fit {self.game!r} with {self.n} rows: another game or size?"
                )
        for name in _STATE:
            array = state[name.removeprefix("_")]
            if name == "_states":
                array = np.ascontiguousarray(array).view(self.game.record)[:, 0]
            getattr(self, name)[...] = array


_STATE = (
    "_states", "_streams", "_dice", "observation", "_mask", "reward", "opening", "done", "mover", "_aside",
    "_waiting",
)  # fmt: skip


def batch(game: ArrayGame | str, n: int, seed: int = 0, **params: Any) -> Batch:
    """`n` games of an array game, stepped together.

    Raises:
        TypeError: the game is not an array game.
    """
    if isinstance(game, str):
        from ludus.core.registry import make

        game = make(game, **params)  # type: ignore[assignment]
    if not isinstance(game, ArrayGame):
        raise TypeError(f"{game!r} is no array game: only games over records can be stepped in a batch")
    return Batch(game, n, seed)
