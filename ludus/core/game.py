"""Games: rules as pure functions over an immutable state.

A game never samples, remembers or reads prose. Whoever acts is a *seat*: players, `CHANCE`, and
the crew (referees, sandboxes, tools), whose findings are moves like any other.

Shape letters used in every docstring of Ludus:

    N  episodes or rows      K  seats                  A  moves of a choice
    F  features of a view    T  tokens of a decision   P  tokens of a prompt
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ContractError, IllegalMove, UnknownName

Seat: TypeAlias = str
CHANCE: Seat = "chance"


@dataclass(frozen=True, slots=True)
class Forfeit:
    """The move of a seat that gave no usable reply; `reason` says why, for people."""

    reason: str = "no usable reply"


JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
Move: TypeAlias = "int | str | Mapping[str, JSON] | Forfeit"


# --------------------------------------------------------------------------- what a seat may do
@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of `names`, by index; `legal` marks the ones allowed now (shape (A,), bool)."""

    names: tuple[str, ...]
    legal: NDArray[np.bool_]

    def __contains__(self, move: object) -> bool:
        if type(move) is not int:
            if not isinstance(move, (int, np.integer)) or isinstance(move, bool):
                return False
            move = int(move)
        return 0 <= move < len(self.names) and bool(self.legal[move])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Choice)
            and self.names == other.names
            and np.array_equal(self.legal, other.legal)
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def allowed(self) -> list[str]:
        """The names of the legal moves, in order."""
        return [name for name, ok in zip(self.names, self.legal, strict=True) if ok]


@dataclass(frozen=True, slots=True)
class Text:
    """Free text of at most `max_chars` characters."""

    max_chars: int = 4096

    def __contains__(self, move: object) -> bool:
        return isinstance(move, str) and len(move) <= self.max_chars


@dataclass(frozen=True, slots=True)
class Form:
    """A JSON object with exactly the keys of `schema`, each of the JSON type named there.

    Types are "string", "integer", "number", "boolean", "object", "strings" (a list of strings)
    and "list". A form's move is a mapping; a language model writes it as JSON text.
    """

    schema: Mapping[str, str]
    max_chars: int = 16384

    def __contains__(self, move: object) -> bool:
        return (
            isinstance(move, Mapping)
            and set(move) == set(self.schema)
            and all(_of_type(move[key], kind) for key, kind in self.schema.items())
        )


def _of_type(value: object, kind: str) -> bool:
    if kind == "strings":
        return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    types: dict[str, tuple[type, ...]] = {
        "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
        "object": (Mapping,), "list": (list, tuple),
    }  # fmt: skip
    if kind not in types:
        raise UnknownName("form type", kind, [*types, "strings"])
    return isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool))


Options: TypeAlias = Choice | Text | Form


class View:
    """What one seat sees.

    Args:
        text: prose, for people and language models; or a function that writes it when it is first asked for.
        features: numbers, for networks; any shape, one of uint8, int16, float32; None if none; or, again, a function.
        data: JSON, for programs. Crew read this and never the prose, so nobody injects into them.
    """

    __slots__ = ("_digest", "_features", "_text", "data")

    def __init__(
        self,
        text: str | Callable[[], str],
        features: NDArray[Any] | Callable[[], NDArray[Any]] | None = None,
        data: JSON = None,
    ) -> None:
        self._text, self._features, self.data = text, features, data
        self._digest = ""

    @property
    def text(self) -> str:
        """Prose."""
        if not isinstance(self._text, str):
            self._text = self._text()
        return self._text

    @property
    def features(self) -> NDArray[Any] | None:
        """Numbers, or None."""
        if callable(self._features):
            self._features = self._features()
        return self._features

    def digest(self) -> str:
        """Sixteen hexadecimal digits that change when anything seen changes."""
        if not self._digest:
            self._digest = self._hash()
        return self._digest

    def _hash(self) -> str:
        h = hashlib.blake2b(self.text.encode(), digest_size=8)
        if (features := self.features) is not None:
            h.update(_kind(features.dtype, features.shape))
            h.update(np.ascontiguousarray(features).tobytes())
        if self.data is not None:
            h.update(b"|" + canonical(self.data))
        return h.hexdigest()

    def __repr__(self) -> str:
        return f"View({self.text!r}, {self.features!r}, {self.data!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return View, (self.text, self.features, self.data)


@functools.lru_cache(maxsize=1024)
def _kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """How features of this kind begin in a digest: numpy is slow to write a dtype's name."""
    return f"|{dtype}{shape}".encode()


def canonical(data: Any) -> bytes:
    """JSON with sorted keys and no spaces: one spelling for equal values."""
    import json

    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Interface:
    """The static shape of what a seat sees and may do.

    Attributes:
        options: the options as of the first turn; only names and limits are meaningful.
        shape: shape of `View.features`, or None where the seat has no features.
        dtype: dtype of `View.features`.
    """

    options: Options
    shape: tuple[int, ...] | None = None
    dtype: str = "float32"

    @property
    def moves(self) -> int | None:
        """How many moves a choice has (A), or None for text and forms."""
        return len(self.options.names) if isinstance(self.options, Choice) else None


# --------------------------------------------------------------------------------------- games
S = TypeVar("S")


class Game(ABC, Generic[S]):
    """Rules as pure functions over an immutable state of type S.

    Write `seats`, `start`, `turn`, `options`, `view`, `play` and `payoff`; the rest has defaults.
    Everything a game is made with is kept in `params`, so that `make(game.id, **game.params)`
    is the same game.
    """

    id: ClassVar[str] = ""
    version: ClassVar[int] = 0
    seats: tuple[Seat, ...]
    params: Mapping[str, Any]
    zero_sum: bool = False
    #: True if one view carries everything its seat has seen and done; else views and moves add up.
    view_is_complete: bool = False
    #: True if every seat sees the whole state: search agents may then be given it.
    perfect_information: bool = False
    #: Seats that move together need not wait for each other: `play` takes any subset of them.
    independent: bool = False
    #: What a forfeit costs: the largest loss the rules know, so that no forfeit is a refuge.
    stake: float = 1.0

    def __new__(cls, *args: Any, **kwargs: Any) -> Game[S]:
        game = super().__new__(cls)
        if args or kwargs:
            bound = inspect.signature(cls.__init__).bind(game, *args, **kwargs).arguments
            self_name = next(iter(bound))
            game.params = {k: v for k, v in bound.items() if k != self_name}
        else:
            game.params = {}
        return game

    def __init__(self) -> None:
        """Games without parameters need not say so; others have an `__init__` of their own."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> S:
        """The first state. Draw nothing here that can be a chance move: exact tools need those."""

    def begin(self, stream: Callable[[], np.random.Generator]) -> S:
        """The first state, by a generator that `stream` makes: games that draw nothing in `start` ask for none."""
        return self.start(stream())

    @abstractmethod
    def turn(self, state: S) -> tuple[Seat, ...]:
        """The seats that move now; several move together; `(CHANCE,)` for nature; () when over."""

    @abstractmethod
    def options(self, state: S, seat: Seat) -> Options:
        """What a seat whose turn it is may do."""

    @abstractmethod
    def view(self, state: S, seat: Seat) -> View:
        """What a seat sees, whether or not it is its turn."""

    @abstractmethod
    def play(self, state: S, moves: Mapping[Seat, Any]) -> S:
        """The state after `moves`, one for each seat of `turn(state)`."""

    @abstractmethod
    def payoff(self, state: S) -> Mapping[Seat, float]:
        """What each seat earns on *entering* `state`; seats that earn nothing may be left out."""

    def chance(self, state: S) -> Sequence[tuple[int, float]]:
        """Outcomes and their probabilities when `turn(state) == (CHANCE,)`."""
        raise NotImplementedError(f"{self.id} has no chance moves")

    def happen(self, state: S, rng: np.random.Generator) -> tuple[int, S]:
        """Nature's move, drawn by one uniform number: the outcome, and the state after it."""
        outcome = draw(float(rng.random()), self.chance(state))
        return outcome, self.play(state, {CHANCE: outcome})

    def cut(self, state: S) -> bool:
        """Whether a game in which nobody moves any more was stopped by a limit, and did not end."""
        return False

    def rules(self, seat: Seat) -> str:
        """The prose a player reads before its first move."""
        return _prose(type(self))

    def crew(self) -> Mapping[Seat, str]:
        """Crew seats and the registered agent that sits there unless the lineup says otherwise."""
        return {}

    def interface(self, seat: Seat) -> Interface:
        """The static shape of a seat, by default read off its view of the first state it acts in."""
        return _first_interface(self, seat)

    def forfeit(self, state: S, losers: Mapping[Seat, Forfeit]) -> Mapping[Seat, float] | None:
        """What every player earns when `losers` give no usable reply, which ends the game.

        Return None if the game goes on: then `play` receives the `Forfeit` as the seat's move.
        By default each loser pays `stake` and the other players share what was paid.
        """
        others = [seat for seat in self.players if seat not in losers]
        share = self.stake * len(losers) / len(others) if others else 0.0
        return {seat: -self.stake if seat in losers else share for seat in self.players}

    def skip(self, state: S, seat: Seat) -> Move:
        """The move that passes, for matches that penalise an unusable reply and go on."""
        raise IllegalMove(f"{self.id} has no move that passes: choose another policy for illegal moves")

    def sample(self, state: S, seat: Seat, rng: np.random.Generator) -> Move:
        """A legal reply, drawn at random. Games with free text or forms must say how."""
        options = self.options(state, seat)
        if isinstance(options, Choice):
            if not (legal := np.flatnonzero(options.legal)).size:
                raise ContractError(f"{self!r}: {seat} is to move and has no legal move")
            return int(rng.choice(legal))
        raise NotImplementedError(f"{self.id} has free replies: define sample(state, seat, rng)")

    def out(self, state: S, seat: Seat) -> bool:
        """True once a seat neither moves nor earns any more while others play on: doors let it leave."""
        return False

    @property
    def players(self) -> tuple[Seat, ...]:
        """The seats that are not crew."""
        crew = self.crew()
        return tuple(seat for seat in self.seats if seat not in crew)

    def fingerprint(self) -> str:
        """A hash of the rules' source, their version and the parameters."""
        return _fingerprint(type(self), self._canonical_params)

    @functools.cached_property
    def _canonical_params(self) -> bytes:
        return canonical(_jsonable(self.params))

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v!r}" for k, v in self.params.items())
        return f"{self.id or type(self).__name__}({settings})"


@functools.cache
def _prose(kind: type) -> str:
    """The rules as the nearest docstring of a game's own classes tells them, sources and parameters left out."""
    games = (c for c in kind.__mro__ if issubclass(c, Game) and not c.__module__.startswith("ludus.core"))
    own = (c.__doc__ for c in games)
    told = inspect.cleandoc(next(filter(None, own), ""))
    return told.split("\n\nSource:")[0].split("\n\nArgs:")[0]


@functools.cache
def _documented(kind: type) -> tuple[tuple[str, str], ...]:
    """The parameters that a docstring tells of: names, with commas where several share a line, and what is said."""
    _, _, told = inspect.cleandoc(kind.__doc__ or "").partition("\n\nArgs:\n")
    lines = told.split("\n\n")[0].replace("\n        ", " ").splitlines()
    return tuple((names.strip(), said.strip()) for names, _, said in (line.partition(":") for line in lines))


def arguments(game: Game[Any]) -> dict[str, Any]:
    """What a game is made with, the defaults of what was not given among it."""
    bound = inspect.signature(type(game).__init__).bind(game, **game.params)
    bound.apply_defaults()
    return dict(list(bound.arguments.items())[1:])


def settings(game: Game[Any]) -> str:
    """What a game's parameters mean, as its docstring says, and what they are here: a line for each, if any."""
    every, lines = arguments(game), []
    for names, said in _documented(type(game)):
        given = [_plain(every[name]) for name in names.split(" (")[0].split(", ") if name in every]
        if any(given):
            lines.append(f"- {names}: {said} Here {', '.join(given)}.")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(_plain, value))
    return "" if value is None else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, np.ndarray):  # whose repr leaves out the middle of large ones
        return [str(value.dtype), *map(_jsonable, value.tolist())] if value.ndim else _jsonable(value.item())
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)


@functools.lru_cache(maxsize=1024)
def _fingerprint(kind: type, params: bytes) -> str:
    h = hashlib.blake2b(params, digest_size=8)
    for cls in kind.__mro__:
        if cls.__module__.startswith("ludus.core") or cls in (object, ABC, Generic):
            continue
        try:
            h.update(inspect.getsource(cls).encode())
        except (OSError, TypeError):  # typed at a prompt: the name is all there is
            h.update(cls.__qualname__.encode())
    return h.hexdigest()


def draw(u: float, chance: Sequence[tuple[int, float]]) -> int:
    """The outcome that u, uniform in [0, 1), falls on; the probabilities beside them add up to one.

    >>> draw(0.5, [(3, 0.25), (1, 0.75)])
    1
    """
    for outcome, share in chance:
        u -= share
        if u < 0:
            return int(outcome)
    return int([outcome for outcome, share in chance if share > 0][-1])  # rounding carried u past the last


def role_of(seat: Seat) -> str:
    """The role of a seat: `solver` of `solver_3`.

    >>> role_of("solver_3"), role_of("player_0")
    ('solver', 'player')
    """
    head, _, tail = seat.rpartition("_")
    return head if head and tail.isdigit() else seat


def _first_interface(game: Game[Any], seat: Seat) -> Interface:
    if seat not in game.seats:
        raise UnknownName(f"seat of {game.id}", seat, game.seats)
    cache: dict[Seat, Interface] = game.__dict__.setdefault("_interfaces", {})
    if not cache:
        _walk_interfaces(game, cache)
    if seat not in cache:
        raise IllegalMove(f"{game.id}: {seat} was never asked in 64 random games; define interface(seat)")
    return cache[seat]


def _walk_interfaces(game: Game[Any], found: dict[Seat, Interface]) -> None:
    """Fill `found` by playing a few random games until every player has been asked once."""
    for seed in range(64):
        rng = np.random.default_rng(seed)
        state = game.start(rng)
        for _ in range(256):
            turn = game.turn(state)
            if not turn or set(game.players) <= set(found):
                break
            moves: dict[Seat, Any] = {}
            for seat in turn:
                if seat == CHANCE:
                    outcomes, odds = zip(*game.chance(state), strict=True)
                    moves[seat] = outcomes[int(rng.choice(len(odds), p=odds))]
                    continue
                if seat not in found:
                    features = game.view(state, seat).features
                    shape = None if features is None else features.shape
                    dtype = "float32" if features is None else str(features.dtype)
                    found[seat] = Interface(game.options(state, seat), shape, dtype)
                moves[seat] = game.sample(state, seat, rng)
            state = game.play(state, moves)
