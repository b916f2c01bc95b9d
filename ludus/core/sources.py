"""What compiled loops are made of, and the modules they are put in, kept on disk for every process.

numba's cache knows only top-level functions of real modules. So the text of `kernel.py`, put after
the imports of a game's own functions, is written to a file under the cache folder and imported from
there. The name of the file changes with all that is compiled into it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import itertools
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ludus.core.errors import ConfigError

COMPILED = importlib.util.find_spec("numba") is not None
PARTS = ("mover", "legal", "odds", "toss", "move", "joint", "observe")
HEAD = "from typing import Any\n\nimport numpy as np\nfrom {} import jit\n"
_MARKS = "# ---- shared by all games ----", "# ---- of each game ----"


def template() -> tuple[str, str]:
    """The two parts of `kernel.py`, read as text: importing it would import numba."""
    text = Path(__file__).with_name("kernel.py").read_text(encoding="utf-8")
    shared, own = text.split(_MARKS[0])[1].split(_MARKS[1])
    return shared, own


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
    if (sources := _sources(rules)) is None:
        return in_memory(rules.__name__, rule_functions(rules) | dict(traits), body, compile_it)
    head = f"{HEAD.format(compile_it.__module__)}from {rules.__module__} import {rules.__name__} as R\n\n"
    head += "".join(f"{part} = jit(forceinline=True)(R.{part})\n" for part in PARTS)
    head += "".join(f"{name} = {value}\n" for name, value in traits)
    module = from_disk(rules.__name__, head + body, sources)
    module.__dict__.update(COMPILED=True, tried=None, minded=set())
    return module


def in_memory(name: str, parts: Mapping[str, Any], body: str, compile_it: Callable[..., Any]) -> ModuleType:
    """The loops of a game that has no file of its own, compiled for this process only, or not at all."""
    module = ModuleType(f"ludus_kernel_{name}")
    module.__dict__.update(
        np=np, Any=Any, jit=compile_it, COMPILED=compile_it is not as_it_is, tried=None, minded=set()
    )
    module.__dict__.update(
        {name: compile_it(part) if callable(part) else part for name, part in parts.items()}
    )
    exec(compile(body.replace("cache=True", "cache=False"), f"<loops of {name}>", "exec"), module.__dict__)  # noqa: S102
    return module


def as_it_is(*function: Any, **_: Any) -> Any:
    """In the place of `jit`: the function itself."""
    return function[0] if function else as_it_is


def rule_functions(rules: Any) -> dict[str, Any]:
    """What a class of games says of each part of its rules."""
    return {part: getattr(rules, part) for part in PARTS}


def helpers(rules: Any) -> list[FunctionType]:
    """The plain functions that a game's rules call, and those that these call."""
    return called_by(rule_functions(rules).values())


def called_by(functions: Iterable[Any]) -> list[FunctionType]:
    """The plain functions that these call by a global name, and those that they call in turn."""
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


def _sources(rules: Any) -> str | None:
    """All that is compiled into a game's loops: the sources of functions, and the constants that they use.

    Followed are functions that rules call, those too that numba compiled elsewhere, and what either takes from modules,
    from outer functions, and where a parameter is not given.
    None where the class cannot be imported or a source cannot be read, so that a change of the rules would go unseen.
    """
    home = sys.modules.get(rules.__module__)
    if rules.__module__ == "__main__" or getattr(home, rules.__name__, None) is not rules:
        return None
    try:
        return _made_of(rules)
    except (OSError, TypeError, ValueError):  # no source, or a name of an outer function that has no value
        return None


def _made_of(rules: Any) -> str:
    parts: set[str] = set()
    ahead: list[Any] = [*rule_functions(rules).values()]
    for function in ahead:  # which grows
        parts.add(inspect.getsource(sys.modules[function.__module__]))
        names = _names(function)
        spaces = [function.__globals__]  # which grows by the modules that are named
        named = ((name, space[name]) for space in spaces for name in names if name in space)
        for name, value in itertools.chain(_held(function), named):
            plain = getattr(value, "py_func", value)
            if isinstance(plain, (bool, int, float, str, tuple, np.generic, np.ndarray)):
                parts.add(f"{name} = {pickle.dumps(plain)!r}")
            elif isinstance(plain, FunctionType) and plain not in ahead:
                ahead.append(plain)
            elif isinstance(plain, ModuleType) and plain is not np:
                spaces += [vars(plain)] * all(vars(plain) is not known for known in spaces)
            elif isinstance(plain, type) and plain.__module__ not in ("builtins", "numpy"):
                parts.add(inspect.getsource(plain))
    return "".join(sorted(parts))


def _held(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function holds itself: the values that its parameters take unless given, and those of an outer function."""
    code, defaults = function.__code__, function.__defaults__ or ()
    yield from zip(
        code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True
    )
    yield from (function.__kwdefaults__ or {}).items()
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


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
