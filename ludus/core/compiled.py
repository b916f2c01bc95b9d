"""Compiled loops over many records: made for each class of array games, tried, and run on many threads.

Without numba the same loops run as ordinary Python, and so they do for a game whose rules numba cannot
compile. Plain functions that rules call, in whatever module, are compiled with them. What loops are made of, and
where they are kept, is in `sources.py`.
"""

from __future__ import annotations

import functools
import os
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.diagnosis import explained, uses
from ludus.core.errors import ContractError, no_mover, no_odds, odd
from ludus.core.kernel import NATURE, OVER, TOGETHER
from ludus.core.sources import (
    COMPILED,
    HEAD,
    PARTS,
    as_it_is,
    called_by,
    compiling,
    from_disk,
    helpers,
    in_memory,
    rule_functions,
    template,
    written,
)

TRIAL = 100  # moves that are played before compiled rules are trusted
BLOCK = 1024  # rows: some twenty microseconds of work, about what it costs to wake a thread
_SETTINGS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}


@functools.cache
def rows() -> ModuleType:
    """The loops that know no game: `uniform` and `refused`, cached in memory and on disk."""
    if not COMPILED:
        return in_memory("rows", {}, template()[0], as_it_is)
    module = from_disk("rows", HEAD.format(__name__) + template()[0], "")
    with compiling("rows"):
        mask, one = np.ones((1, 1), np.uint8), np.zeros(1, np.int32)
        module.uniform(mask, one, np.zeros(1, np.uint64), 0, 1)
        module.refused(mask, one, np.zeros(1, np.int8), False)
    return module


def jit(*function: Any, **settings: Any) -> Any:
    """Numba's `njit`, without counts of references and checks for division by zero, for loops and rules."""
    from numba import njit

    return njit(*function, **_SETTINGS, **settings)


def loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function over arrays, compiled at its first call, with the plain functions that it calls, where numba is."""

    @functools.cache
    def ready() -> Callable[..., Any]:
        if not COMPILED:
            return function
        for helper in called_by([function]):
            _compile_in_calls(helper)
        compiled: Callable[..., Any] = jit(nogil=True, cache=True)(function)
        return compiled

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return called(function.__name__, ready(), *arguments)

    return call


def called(name: str, loop: Callable[..., Any], *arguments: Any) -> Any:
    """What a loop returns. Where it has yet to be compiled, of many processes one does, under the lock called `name`."""
    if getattr(loop, "signatures", None) == []:
        with compiling(name):
            loop.compile(tuple(map(loop.typeof_pyval, arguments)))  # type: ignore[attr-defined]
    return loop(*arguments)


def kernel(game: Any) -> ModuleType:
    """The loops over an array game's own functions: `step`, `expand`, `look`, cached like `rows`.

    Its `COMPILED` says whether numba compiles them; where it cannot, one warning says why.
    """
    rules: Any = type(game)
    traits = traits_of(game)
    loops: Any = _kernel(rules, traits)
    if loops.COMPILED and loops.tried is None:
        loops.tried = _trial(game, loops)
        if loops.tried:
            warnings.warn(loops.tried, stacklevel=3)
    if loops.COMPILED and not loops.tried:
        mind(game, loops)
    return _uncompiled(rules, traits) if loops.tried else loops


def refusal(game: Any) -> str:
    """Why an array game's rules run as ordinary Python; nothing where they are compiled."""
    if not COMPILED:
        return "numba is not installed"
    kernel(game)
    rules: Any = type(game)
    return _kernel(rules, traits_of(game)).tried or ""


def opened(loops: ModuleType, records: NDArray[Any]) -> NDArray[Any]:
    """Records as these loops want them: their fields are attributes."""
    return records if loops.COMPILED else plain(records)


def plain(records: NDArray[Any]) -> NDArray[Any]:
    """The same records, each a `Row`."""
    return records.view(np.dtype((Row, records.dtype)))


class Row(np.void):
    """A record that rules read as ordinary Python: fields are attributes, and numbers are Python's.

    numpy's own keep the size of their field: 2 * s.squares of a byte would not pass 127, as compiled it does.
    """

    __slots__ = ()

    def __getitem__(self, field: Any) -> Any:
        value = super().__getitem__(field)
        return value if isinstance(value, np.ndarray) else value.item()

    def __getattr__(self, field: str) -> Any:
        """A field of the record."""
        try:
            return self[field]
        except ValueError as fault:
            raise AttributeError(str(fault)) from fault

    def __setattr__(self, field: str, value: Any) -> None:
        self[field] = value


def odds_for(game: Any, n: int, block: int = BLOCK) -> NDArray[np.float64]:
    """Room for the odds of nature's moves while the loops run over n rows: a line for each block."""
    return np.zeros((-(-n // block), game.outcomes))


@functools.cache
def _kernel(rules: Any, traits: tuple[tuple[str, Any], ...]) -> ModuleType:
    if not COMPILED:
        return _uncompiled(rules, traits)
    for helper in helpers(rules):
        _compile_in_calls(helper)
    return written(rules, traits, "".join(template()), jit)


def uncompiled(game: Any) -> ModuleType:
    """The same loops as ordinary Python."""
    rules: Any = type(game)
    return _uncompiled(rules, traits_of(game))


@functools.cache
def _uncompiled(rules: Any, traits: tuple[tuple[str, Any], ...]) -> ModuleType:
    return in_memory(rules.__name__, _minded(rules, **dict(traits)), "".join(template()), as_it_is)


def _minded(rules: Any, **traits: Any) -> dict[str, Any]:
    """The rules, which as ordinary Python refuse a mover or odds that are none; compiled they would go on."""
    movers = {OVER, *range(traits["SEATS"]), *[NATURE] * traits["CHANCY"], *[TOGETHER] * traits["JOINT"]}

    def mover(s: Any) -> int:
        who: int = rules.mover(s)
        if who not in movers:
            raise no_mover(rules.__name__, who, traits["SEATS"])
        return who

    def odds(s: Any, out: Any) -> None:
        rules.odds(s, out)
        if odd(shares := out.tolist()):
            raise no_odds(rules.__name__, shares)

    def toss(s: Any, u: float) -> int:
        outcome: int = rules.toss(s, u)
        if outcome not in range(traits["OUTCOMES"]):
            raise ContractError(
                f"{rules.__name__}: toss returned {outcome!r}; outcomes are 0 to {traits['OUTCOMES'] - 1}"
            )
        return outcome

    return {**rule_functions(rules), **traits, "mover": mover, "odds": odds, "toss": toss}


def traits_of(game: Any, block: int = BLOCK) -> tuple[tuple[str, Any], ...]:
    """What the loops may leave out, because the game has no such rule, its sizes, and rows to a line of odds."""
    from ludus.core.array_game import ArrayGame

    has = {part: getattr(type(game), part) is not getattr(ArrayGame, part) for part in PARTS}
    return (
        ("CHANCY", has["odds"] or has["toss"]), ("TOSSES", has["toss"]), ("JOINT", has["joint"]),
        ("SEATS", len(game.seats)), ("MOVES", len(game.moves)), ("OUTCOMES", game.outcomes),
        ("SHAPE", tuple(game.shape)), ("BLOCK", block),
    )  # fmt: skip


def _trial(game: Any, loops: ModuleType) -> str:
    """Compile the rules for the first position; what numba says against it, if it cannot."""
    from numba.core.errors import NumbaError, UnsupportedBytecodeError

    mask, pay = np.zeros(len(game.moves), np.uint8), np.zeros(len(game.seats), np.float32)
    try:
        with compiling(type(game).__name__):
            loops.probe(
                game.first.copy(), mask, np.zeros(game.outcomes), pay, np.zeros(game.shape, game.dtype),
                np.zeros(len(game.seats), np.int32), False,
            )  # fmt: skip
    except (NumbaError, UnsupportedBytecodeError) as fault:
        return (
            f"{game!r}: numba cannot compile its rules, which run as ordinary Python, hundreds of times slower (rules may "
            f"not allocate, and use numbers and the record's fields alone). {explained(fault)}"
        )
    except KeyError as fault:  # so numba says that rules name a field which is not there
        field = str(fault.args[0]) if fault.args else ""
        if not field.isidentifier() or not (places := uses(type(game), field)):
            raise
        raise ContractError(
            f"{game!r}: {places[0]} names {field!r}, and the record's fields are {', '.join(game.record.names)}"
        ) from fault
    return ""


def mind(game: Any, loops: ModuleType) -> None:
    """Play random moves by the rules as ordinary Python, which minds where arrays end: compiled rules do not.

    Whatever the position, all seats look at it. Games that have passed are not played again, nor, where their loops are
    kept on disk, in another process.

    Raises:
        ContractError: a rule goes beyond an array or a number's range, or somebody is to move and may do nothing.
    """
    from ludus.core.batch import PlainBatch

    if (mark := game.fingerprint()) in loops.minded:
        return
    file = getattr(loops, "__file__", None)
    passed = Path(file).with_suffix(f".{mark}.minded") if file else None
    if not (passed and passed.exists()):
        try:
            one = PlainBatch(game, 1, autoreset="next_step")
            for _ in range(TRIAL):
                one.step(one.random_actions())
                for seat in range(len(game.seats)):
                    one.look(seat)
        except (IndexError, ArithmeticError) as fault:
            last = traceback.extract_tb(fault.__traceback__)[-1]
            raise ContractError(
                f"{game!r}: {last.filename}, line {last.lineno}: {fault}; compiled, the rules would go on unnoticed"
            ) from fault
        if passed:
            passed.touch()
    loops.minded.add(mark)


@functools.cache
def _compile_in_calls(helper: FunctionType) -> None:
    """Let compiled rules call a plain function, which is compiled with them."""
    from numba.extending import register_jitable

    register_jitable(**_SETTINGS)(helper)


def spread(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run loop(*arguments, low, high) over `count` rows, large batches in blocks shared among threads.

    Whoever is free takes the next block, so a thread that the system does not wake holds nobody up.
    Threads that wait spin in no loop, and a process forked from this one starts its own.
    """
    if isinstance(loop, FunctionType):  # uncompiled
        with np.errstate(over="ignore"):  # SplitMix64 wraps, and numpy notices
            loop(*arguments, 0, count)
        return
    extra = min(_cores(), -(-count // BLOCK)) - 1
    if extra < 1:
        loop(*arguments, 0, count)
        return
    blocks, lock = iter(range(0, count, BLOCK)), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                low = next(blocks, -1)
            if low < 0:
                return
            loop(*arguments, low, min(count, low + BLOCK))

    others = [_pool(os.getpid()).submit(work) for _ in range(extra)]
    try:
        work()
    finally:
        for other in others:
            if not other.cancel():  # it has begun
                other.result()


@functools.cache
def _cores() -> int:
    import numba

    return int(numba.config.NUMBA_NUM_THREADS)


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _cores() - 1), thread_name_prefix="ludus-rows")
