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
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ludus.core.compiled import kernel
from ludus.core.errors import ContractError, IllegalMove, no_mover, no_odds, odd
from ludus.core.game import CHANCE, Choice, Game, Interface, Seat, View, settings
from ludus.core.position import Desk, Position, Record, Sight
from ludus.core.sources import COMPILED, PARTS, helpers
from ludus.core.symmetry import Symmetry

NATURE = -1  # what `mover` returns when chance decides,
OVER = -2  # when the game has ended,
TOGETHER = -3  # and when all seats move at once
MADE_AGAIN = frozenset({  # attributes of a game that no copy of it takes along
    "first", "_opening", "_known", "_choices", "_chances", "_desk", "_loops", "_turns", "_unpaid", "_asked", "_played", "_remembers",
    "_rules",
})  # fmt: skip
DTYPES = ("uint8", "int16", "float32")  # of features
NOBODY = np.zeros(0, np.int32)  # the moves of those who move at once, where one moves alone
TRIED = 8192  # positions after which a scalar game asks whether it pays to keep what it was asked about them,
REMEMBERED = 1 << 16  # and how many it keeps if so, a kilobyte or so each,
LEAVES = 1 << 24  # and bytes of them, or of masks


class ArrayGame(Game[Position]):
    """Rules over one record.

    The scalar game remembers positions it was asked about lately; what it hands out for them is
    shared and must not be written to.

    Compiled rules do not mind where arrays end: what a rule writes beyond one is not caught. So before they are
    trusted random moves are played by the rules as they are, which do; `ludus.core.batch.PlainBatch` plays more.

    `setup` is an ordinary method, run once for each game made: what the functions need to know of
    the parameters it writes into fields of the record, or they read it off the fields' lengths.

    Attributes:
        record: the numpy record type. Fields are read and written as attributes.
        moves: names of the moves (A).
        outcomes: how many outcomes a chance move has at most (C).
        shape: shape of the features (F).
        dtype: "uint8", "int16" or "float32", of the features.
        compiled: whether the scalar game, too, asks the compiled rules from the first: for rules that take long in
            Python. Every other game does so once it has played 8,192 new moves. Plain functions
            that rules call are compiled with them.
    """

    record: np.dtype[Any]
    moves: tuple[str, ...]
    outcomes: int = 0
    shape: tuple[int, ...]
    dtype: ClassVar[str] = "uint8"
    compiled: ClassVar[bool] = False
    view_is_complete = True
    _asked = 0  # moves played in the scalar game,
    _played = 0  # and those of them that were new
    _remembers = True

    # ----------------------------------------------------------- what a game's author writes
    def setup(self, s: Any) -> None:
        """Write the first position into a zeroed record."""

    @staticmethod
    def mover(s: Any) -> int:
        """The seat to move, by index, or `NATURE`, `OVER`, `TOGETHER`."""
        raise NotImplementedError("an array game has to say `mover(s)`, and this one does not")

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        """Write 1 into out (A,) uint8 at every legal move of `seat`."""
        raise NotImplementedError("an array game has to say `legal(s, seat, out)`, and this one does not")

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
        raise NotImplementedError("an array game has to say `observe(s, seat, out)`, and this one does not")

    def describe(self, s: Any, seat: int) -> str:
        """The same in prose."""
        raise NotImplementedError("an array game has to say `describe(self, s, seat)`, and this one does not")

    def symmetries(self) -> list[Symmetry]:
        """Where the parts of a position stand in others of the same worth, such as its mirror image; see `ludus.core.symmetry`."""
        return []

    # ------------------------------------------------------------------------ the scalar game
    @functools.cached_property
    def first(self) -> NDArray[Any]:
        """The first position, (1,) of the record type.

        Raises:
            ContractError: the class leaves something out, a rule is no static function, or a field is called as something
                that numpy's records have anyway.
        """
        for name in ("record", "moves", "shape"):
            if inspect.getattr_static(self, name, None) is None:
                raise ContractError(f"an array game has to say `{name}`, and {type(self).__name__} does not")
        if not isinstance(self.shape, tuple):
            raise ContractError(
                f"{self!r}: shape is {self.shape!r}, and not a tuple of lengths such as (3, 3)"
            )
        if self.dtype not in DTYPES:
            raise ContractError(f"{self!r}: dtype is {self.dtype!r}, and not {', '.join(map(repr, DTYPES))}")
        for part in PARTS:
            if not isinstance(inspect.getattr_static(type(self), part), staticmethod):
                raise ContractError(
                    f"{self!r}: `{part}` is a function of the record: write @staticmethod above it"
                )
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

    def begin(self, stream: Callable[[], np.random.Generator]) -> Position:
        return self._shared(self._opening)

    @final
    def start(self, rng: np.random.Generator) -> Position:
        return self.begin(lambda: rng)

    @functools.cached_property
    def _opening(self) -> Position:
        return Position(self.first.tobytes(), (0.0,) * len(self.seats))

    @functools.cached_property
    def _known(self) -> dict[bytes, Position]:
        return {}

    def turn(self, state: Position) -> tuple[Seat, ...]:
        mover = state.mover if state.game is self else None
        return self._turns[self._mover(state) if mover is None else mover]

    def _own(self, state: Position) -> Position:
        """The position, without what another game has worked out of it."""
        if state.game is None:
            state.game = self
        elif state.game is not self:
            state = Position(state.record, state.paid)
            state.game = self
        return state

    def _mover(self, state: Position) -> int:
        if state.game is not self:
            state = self._own(state)
        if state.mover is None:
            state.mover = self._checked(self._ask("mover", state.record))
        return state.mover

    def _checked(self, mover: Any) -> int:
        """What `mover` has returned, if it is one that may move."""
        if mover not in self._turns:
            raise no_mover(repr(self), mover, len(self.seats))
        return int(mover)

    @functools.cached_property
    def _turns(self) -> dict[int, tuple[Seat, ...]]:
        """The seats that move, by what `mover` returns."""
        kind = type(self)
        turns: dict[int, tuple[Seat, ...]] = {k: (seat,) for k, seat in enumerate(self.seats)}
        turns[OVER] = ()
        if kind.odds is not ArrayGame.odds or kind.toss is not ArrayGame.toss:
            turns[NATURE] = (CHANCE,)
        if kind.joint is not ArrayGame.joint:
            turns[TOGETHER] = self.seats
        return turns

    def _ask(self, rule: str, record: bytes, *given: Any) -> Any:
        """What a rule, compiled or not, says of a position."""
        if self._loops is not None:
            state, octets, *_ = self._desk.parts
            octets[:] = record
            return getattr(self._loops, f"solo_{rule}")(state, *given)
        return getattr(self, rule)(self.open(record), *given)

    @functools.cached_property
    def _loops(self) -> ModuleType | None:
        """The compiled rules, where the scalar game asks them."""
        return self._compiled() if self.compiled else None

    def _compiled(self) -> ModuleType | None:
        loops = kernel(self) if COMPILED else None
        return loops if loops is not None and loops.COMPILED else None

    def _odds(self, record: bytes) -> NDArray[np.float64]:
        p = np.zeros(self.outcomes)
        self._ask("odds", record, p)
        return p

    def _possible(self, odds: bytes) -> tuple[tuple[int, float], ...]:
        """The outcomes that these odds leave, in the same way."""
        chance = self._chances.get(odds)
        if chance is None:
            if len(self._chances) * len(odds) >= LEAVES:
                self._chances.clear()
            shares = np.frombuffer(odds).tolist()
            if odd(shares):
                raise no_odds(repr(self), shares)
            chance = self._chances[odds] = tuple(
                (one, share) for one, share in enumerate(shares) if share > 0
            )
        return chance

    def chance(self, state: Position) -> Sequence[tuple[int, float]]:
        if state.game is not self:
            state = self._own(state)
        if state.chance is None:
            state.chance = self._possible(self._odds(state.record).tobytes())
        return state.chance

    def options(self, state: Position, seat: Seat) -> Choice:
        if state.game is not self:
            state = self._own(state)
        if state.options is None:
            state.options = {}
        if seat not in state.options:
            mask = np.zeros(len(self.moves), np.uint8)
            self._ask("legal", state.record, self.seats.index(seat), mask)
            state.options[seat] = self._choice(mask.tobytes())
        return state.options[seat]

    def _choice(self, mask: bytes) -> Choice:
        """The moves that a mask marks: one object for all positions with this mask."""
        choice = self._choices.get(mask)
        if choice is None:
            legal = np.frombuffer(mask, np.uint8).astype(np.bool_)
            legal.setflags(write=False)
            if len(self._choices) * len(mask) >= LEAVES:
                self._choices.clear()
            choice = self._choices[mask] = Choice(self.moves, legal)
        return choice

    @functools.cached_property
    def _choices(self) -> dict[bytes, Choice]:
        return {}

    @functools.cached_property
    def _chances(self) -> dict[bytes, tuple[tuple[int, float], ...]]:
        return {}

    def view(self, state: Position, seat: Seat) -> View:
        if state.game is not self:
            state = self._own(state)
        if state.views is None:
            state.views = {}
        if seat not in state.views:
            state.views[seat] = Sight(self, state.record, self.seats.index(seat))
        return state.views[seat]

    def observed(self, record: bytes, seat: int) -> NDArray[Any]:
        """What the seat with this index sees of a position, as numbers (F) that cannot be written to."""
        features = np.zeros(self.shape, self.dtype)
        self._ask("observe", record, seat, features)
        features.flags.writeable = False
        return features

    def play(self, state: Position, moves: Mapping[Seat, Any]) -> Position:
        laid = tuple(moves.items())
        for _, move in laid:
            if type(move) is not int:  # True is no 1, though they are equal
                laid = tuple((seat, self._whole(seat, move)) for seat, move in laid)
                break
        if state.game is not self:
            state = self._own(state)
        self._asked += 1
        known = state.after
        if known is not None and (after := known.get(laid)) is not None:
            return after
        after = self._shared(self._play(state, laid))
        if self._remembers:
            if known is None:
                known = state.after = {}
            known[laid] = after
        return after

    def _shared(self, state: Position) -> Position:
        """The same position, if moves led there lately; games that seldom come back to one keep none."""
        if not self._remembers:
            return state
        known, pays = self._known, self._asked > 2 * self._played
        full = len(known) * len(state.record) >= LEAVES or len(known) >= REMEMBERED
        if full or (len(known) >= TRIED and not pays):
            self._remembers, self._known = pays, {}
            for one in list(known.values()):  # or whoever holds one would hold all that were played from it
                one.after = None
            known = self._known
        same = known.setdefault(state.record, state)
        return same if same.paid == state.paid else state

    def _whole(self, seat: Seat, move: Any) -> int:
        if isinstance(move, (int, np.integer)) and not isinstance(move, bool):
            return int(move)
        raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here: moves are whole numbers")

    def _play(self, state: Position, laid: tuple[tuple[Seat, int], ...]) -> Position:
        mover = self._mover(state)
        turn = self._turns[mover]
        for seat, move in laid:
            self._refuse(state, turn, seat, move)
        if len(laid) != len(turn):
            raise IllegalMove(
                f"{self.id}: {', '.join(turn) or 'nobody'} must move, and not {len(laid)} of them"
            )
        self._played += 1
        if self._played == TRIED and self._loops is None:
            self._loops = self._compiled()
        together = NOBODY
        if mover == TOGETHER:
            moves = dict(laid)
            together = np.array([moves[seat] for seat in self.seats], np.int32)
        if self._loops is not None:
            return self._swift(self._loops, state.record, laid[0][1], together)
        s, pay = self.open(state.record), np.zeros(len(self.seats), np.float32)
        if mover == TOGETHER:
            self.joint(s, together, pay)
        else:
            self.move(s, laid[0][1], pay)
        return Position(s.tobytes(), tuple(pay.tolist()))

    def _swift(self, loops: ModuleType, record: bytes, move: int, together: NDArray[np.int32]) -> Position:
        """The position after a move, and in the same call who is next and what it may do."""
        state, octets, pay, mask, odds = self._desk.parts
        octets[:] = record
        mover = loops.solo_play(state, move, together, pay, mask, odds)
        return self._reached(mover, state, pay, mask, odds)

    def happen(self, state: Position, rng: np.random.Generator) -> tuple[int, Position]:
        loops = self._loops
        if (
            loops is None or self._remembers or loops.TOSSES
        ):  # a toss may take another outcome for the same number
            return super().happen(state, rng)
        after, octets, pay, mask, odds = self._desk.parts
        octets[:] = state.record
        outcome, mover = loops.solo_happen(after, float(rng.random()), pay, mask, odds)
        return outcome, self._reached(mover, after, pay, mask, odds)

    def _reached(
        self, mover: int, state: NDArray[Any], pay: NDArray[Any], mask: NDArray[Any], odds: NDArray[Any]
    ) -> Position:
        """The position that compiled rules have left on the desk."""
        paid, earned = self._unpaid, pay.tobytes()
        after = Position(state.tobytes(), paid[earned] if earned in paid else tuple(pay.tolist()))
        after.mover, after.game = self._checked(mover), self
        if mover >= 0:
            after.options = {self.seats[mover]: self._choice(mask.tobytes())}
        elif mover == NATURE:
            after.chance = self._possible(odds.tobytes())
        return after

    @functools.cached_property
    def _unpaid(self) -> dict[bytes, tuple[float, ...]]:
        return {bytes(4 * len(self.seats)): (0.0,) * len(self.seats)}

    @functools.cached_property
    def _desk(self) -> Desk:
        return Desk(self)

    def _refuse(self, state: Position, turn: tuple[Seat, ...], seat: Seat, move: int) -> None:
        """Raise IllegalMove unless `seat` may play `move`."""
        if seat not in turn:
            raise IllegalMove(f"{self.id}: it is not the turn of {seat} but of {', '.join(turn) or 'nobody'}")
        if seat == CHANCE:
            possible = [outcome for outcome, _ in self.chance(state)]
            if move in possible:
                return
        else:
            legal = self.options(state, seat).legal
            if 0 <= move < len(legal) and legal[move]:
                return
            possible = np.flatnonzero(legal).tolist()
        some = ", ".join(self._called(seat, one) for one in possible[:12]) + ", ..." * (len(possible) > 12)
        raise IllegalMove(f"{self.id}: {seat} cannot play {self._called(seat, move)} here; legal are {some}")

    def _called(self, seat: Seat, move: int) -> str:
        """A move's number, and its name where it has one."""
        return f"{move} ({self.moves[move]})" if seat != CHANCE and 0 <= move < len(self.moves) else str(move)

    def payoff(self, state: Position) -> Mapping[Seat, float]:
        if not any(state.paid):
            return {}
        return {seat: paid for seat, paid in zip(self.seats, state.paid, strict=True) if paid}

    def rules(self, seat: Seat) -> str:
        return self._rules

    @functools.cached_property
    def _rules(self) -> str:
        """What the docstring says, and the parameters, which decide what is played."""
        return "\n\n".join(filter(None, (super().rules(""), settings(self))))

    def interface(self, seat: Seat) -> Interface:
        return Interface(Choice(self.moves, np.ones(len(self.moves), np.bool_)), self.shape, self.dtype)

    def fingerprint(self) -> str:
        return _with_helpers(super().fingerprint(), type(self))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in MADE_AGAIN}


@functools.lru_cache(maxsize=256)
def _with_helpers(fingerprint: str, rules: type) -> str:
    """A fingerprint that changes with the functions that rules call, too."""
    if not (called := helpers(rules)):
        return fingerprint
    sources = "".join(inspect.getsource(function) for function in called)
    return hashlib.blake2b((fingerprint + sources).encode(), digest_size=8).hexdigest()
