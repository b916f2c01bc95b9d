"""Compiled loops over many records: made for each class of array games, cached for every process.

numba's cache knows only top-level functions of real modules. So the text of `kernel.py`, put after
the imports of a game's own functions, is written to a file under the cache folder and imported from
there. Without numba the same text runs as ordinary Python, and so it does for a game whose rules numba cannot
compile. Plain functions that rules call, in whatever module, are compiled with them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pickle
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, ContractError

COMPILED = importlib.util.find_spec("numba") is not None
_PARTS = ("mover", "legal", "odds", "toss", "move", "joint", "observe")
_HEAD = "from typing import Any\n\nimport numpy as np\nfrom {} import jit\n"
TRIAL = 100  # moves that are played before compiled rules are trusted
BLOCK = 1024  # rows: some twenty microseconds of work, about what it costs to wake a thread
_SETTINGS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
_MARKS = "# ---- shared by all games ----", "# ---- of each game ----"


@functools.cache
def rows() -> ModuleType:
    """The loops that know no game: `uniform` and `refused`, cached in memory and on disk."""
    if not COMPILED:
        return _plain("rows", {}, template()[0], _as_it_is)
    module = from_disk("rows", _HEAD.format(__name__) + template()[0], "")
    with compiling("rows"):
        mask, one = np.ones((1, 1), np.uint8), np.zeros(1, np.int32)
        module.uniform(mask, one, np.zeros(1, np.uint64), 0, 1)
        module.refused(mask, one, np.zeros(1, np.int8))
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
        for helper in _called([function]):
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
    return getattr(_kernel(rules, traits_of(game)), "tried", None) or ""


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


def written(
    rules: Any, traits: tuple[tuple[str, Any], ...], body: str, compile_it: Callable[..., Any]
) -> ModuleType:
    """A module of loops over a game's rules, in a file where the rules can be imported.

    Args:
        rules: the class of the game.
        traits: constants of the loops, by name.
        body: the text of the loops.
        compile_it: what compiles rules and loops, a function called `jit` in its module.
    """
    made_of = ""
    if known := _importable(rules):
        try:
            made_of = _made_of(rules)
        except (OSError, TypeError):  # what is kept on disk could not be told from what it was before
            known = False
    if not known:
        return _plain(rules.__name__, _parts(rules) | dict(traits), body, compile_it)
    head = f"{_HEAD.format(compile_it.__module__)}from {rules.__module__} import {rules.__name__} as R\n\n"
    head += "".join(f"{part} = jit(forceinline=True)(R.{part})\n" for part in _PARTS)
    head += "".join(f"{name} = {value}\n" for name, value in traits)
    module = from_disk(rules.__name__, head + body, made_of)
    module.__dict__.update(COMPILED=True, tried=None, minded=set())
    return module


def uncompiled(game: Any) -> ModuleType:
    """The same loops as ordinary Python."""
    rules: Any = type(game)
    return _uncompiled(rules, traits_of(game))


@functools.cache
def _uncompiled(rules: Any, traits: tuple[tuple[str, Any], ...]) -> ModuleType:
    return _plain(rules.__name__, _parts(rules) | dict(traits), "".join(template()), _as_it_is)


def _parts(rules: Any) -> dict[str, Any]:
    return {part: getattr(rules, part) for part in _PARTS}


def _as_it_is(*function: Any, **_: Any) -> Any:
    """In the place of `jit`: the function itself."""
    return function[0] if function else _as_it_is


def traits_of(game: Any, block: int = BLOCK) -> tuple[tuple[str, Any], ...]:
    """What the loops may leave out, because the game has no such rule, its sizes, and rows to a line of odds."""
    from ludus.core.array_game import ArrayGame

    has = {part: getattr(type(game), part) is not getattr(ArrayGame, part) for part in _PARTS}
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
    except KeyError as fault:  # so numba says that rules write to a field which is not there
        field = str(fault.args[0]) if fault.args else ""
        if not field.isidentifier() or not (places := _written_in(type(game), field)):
            raise
        raise ContractError(
            f"{game!r}: {places[0]} writes to {field!r}, and the record's fields are {', '.join(game.record.names)}"
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
    passed = Path(file).with_suffix(f".{mark}.passed") if file else None
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


def _written_in(rules: Any, field: str) -> list[str]:
    """The lines of the rules, where their source is known, that write to a field of this name."""
    found, writes = [], re.compile(rf"\.{field}\b(\[.*\])?\s*([-+*/%&|^@]|//|\*\*|<<|>>)?=(?!=)")
    for function in (*_parts(rules).values(), *helpers(rules)):
        with suppress(OSError):
            lines, first = inspect.getsourcelines(function)
            found += [
                f"{function.__qualname__} ({inspect.getsourcefile(function)}, line {first + k})"
                for k, line in enumerate(lines)
                if writes.search(line)
            ]
    return found


def explained(fault: Exception) -> str:
    """The last line of the rules that numba names in its message, and what it says against it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(fault))
    places = re.findall(r'File "(.+?)", line (\d+)', text) + re.findall(r"Raised from (.+?) \((\d+)\)", text)
    own = [f"{file}, line {line}" for file, line in places if Path(file).exists() and _is_rule(file)]
    return f"{own[-1]}: {_reason(text)}" if own else _reason(text)


def _is_rule(file: str) -> bool:
    """Whether a file is neither one of the made kernels nor numba's own."""
    place = str(Path(file).resolve())
    return not place.startswith(str(cache_folder().resolve())) and "/numba/" not in place


def _reason(text: str) -> str:
    """The line of numba's message that says what it does not understand."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = (
        "Unknown attribute",
        "Untyped global",
        "Cannot",
        "No implementation",
        "not supported",
        "NRT required",
        "Invalid",
    )
    return next((line for line in lines if any(word in line for word in telling)), lines[0] if lines else "")


def helpers(rules: Any) -> list[FunctionType]:
    """The plain functions that a game's rules call, and those that these call."""
    return _called(_parts(rules).values())


def _called(functions: Iterable[Any]) -> list[FunctionType]:
    found: dict[FunctionType, None] = {}
    ahead = list(functions)
    while ahead:
        for value in _globals_of(ahead.pop()).values():
            if isinstance(value, FunctionType) and value not in found:
                found[value] = None
                ahead.append(value)
    return list(found)


def _globals_of(function: Any) -> dict[str, Any]:
    """The global names that a function uses, with what they stand for."""
    return {name: function.__globals__[name] for name in _names(function) if name in function.__globals__}


def _names(function: Any) -> list[str]:
    """The names that a function uses, of globals and of attributes."""
    names: set[str] = set()
    codes: list[CodeType] = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
    return sorted(names)


@functools.cache
def _compile_in_calls(helper: FunctionType) -> None:
    """Let compiled rules call a plain function, which is compiled with them."""
    from numba.extending import register_jitable

    register_jitable(**_SETTINGS)(helper)


def _made_of(rules: Any) -> str:
    """All that is compiled into a game's loops: the sources of functions, and the constants that they use.

    Followed are functions that rules call, those too that numba compiled elsewhere, and what either takes from modules.

    Raises:
        OSError: the source of a function cannot be read.
    """
    parts: set[str] = set()
    ahead: list[Any] = [*_parts(rules).values()]
    for function in ahead:  # which grows
        parts.add(inspect.getsource(sys.modules[function.__module__]))
        names = _names(function)
        spaces = [function.__globals__]
        for space in spaces:  # which grows by the modules that are named
            for name in names:
                value = getattr(space.get(name), "py_func", space.get(name))
                if isinstance(value, (bool, int, float, str, tuple, np.generic, np.ndarray)):
                    parts.add(f"{name} = {pickle.dumps(value)!r}")
                elif isinstance(value, FunctionType) and value not in ahead:
                    ahead.append(value)
                elif isinstance(value, ModuleType) and value is not np:
                    spaces += [vars(value)] * all(vars(value) is not known for known in spaces)
                elif isinstance(value, type) and value.__module__ not in ("builtins", "numpy"):
                    parts.add(inspect.getsource(value))
    return "".join(sorted(parts))


def template() -> tuple[str, str]:
    """The two parts of `kernel.py`, read as text: importing it would import numba."""
    text = Path(__file__).with_name("kernel.py").read_text(encoding="utf-8")
    shared, own = text.split(_MARKS[0])[1].split(_MARKS[1])
    return shared, own


def _plain(name: str, parts: Mapping[str, Any], body: str, compile_it: Callable[..., Any]) -> ModuleType:
    """The loops of a game that has no file of its own, compiled for this process only, or not at all."""
    module = ModuleType(f"ludus_kernel_{name}")
    module.__dict__.update(
        np=np, Any=Any, jit=compile_it, COMPILED=compile_it is not _as_it_is, tried=None, minded=set()
    )
    module.__dict__.update(
        {name: compile_it(part) if callable(part) else part for name, part in parts.items()}
    )
    exec(compile(body.replace("cache=True", "cache=False"), f"<loops of {name}>", "exec"), module.__dict__)  # noqa: S102
    return module


def _importable(rules: type) -> bool:
    module = sys.modules.get(rules.__module__)
    return rules.__module__ != "__main__" and getattr(module, rules.__name__, None) is rules


def from_disk(name: str, text: str, made_of: str) -> ModuleType:
    """Write `text` once, under a name that changes with every source it is made of; import it."""
    import numba

    stamp = hashlib.blake2b((text + made_of + numba.__version__).encode(), digest_size=8).hexdigest()
    path = cache_folder() / f"{name}_{stamp}.py"
    if not path.exists():
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    spec = importlib.util.spec_from_file_location(f"ludus_kernel_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import the loops written to {path}; empty that folder, or set LUDUS_CACHE")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where numba looks for it when it reads its cache
    spec.loader.exec_module(module)
    return module


def cache_folder() -> Path:
    """Where compiled kernels are kept: LUDUS_CACHE, or `ludus` in the user's cache folder.

    Raises:
        ConfigError: it cannot be made.
    """
    home = (
        os.environ.get("LUDUS_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ludus"
    )
    folder = Path(home) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(
            f"compiled rules are kept in {folder}, which cannot be made ({fault.strerror}): set LUDUS_CACHE to a folder "
            "that can be written to"
        ) from fault
    return folder


@contextmanager
def compiling(name: str) -> Iterator[None]:
    """Hold the lock called `name` while loops are compiled, so that of many processes one compiles."""
    if not COMPILED:
        yield
        return
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except ImportError:  # no such locks on this system: processes compile side by side
            pass
        yield


def spread(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run loop(*arguments, low, high) over `count` rows, large batches in blocks shared among threads.

    Whoever is free takes the next block, so a thread that the system does not wake holds nobody up.
    Threads that wait spin in no loop, and a process forked from this one starts its own.
    """
    if isinstance(loop, FunctionType):  # uncompiled
        with np.errstate(over="ignore"):  # SplitMix64 wraps, and numpy notices
            loop(*arguments, 0, count)
        return
    helpers = min(_cores(), -(-count // BLOCK)) - 1
    if helpers < 1:
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

    others = [_pool(os.getpid()).submit(work) for _ in range(helpers)]
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
