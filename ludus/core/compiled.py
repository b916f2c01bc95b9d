"""Compiled loops over many records: made for each class of array games, cached for every process.

numba's cache knows only top-level functions of real modules. So the text of `kernel.py`, put after
the imports of a game's own functions, is written to a file under the cache folder and imported from
there. Without numba the same text runs as ordinary Python.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

COMPILED = importlib.util.find_spec("numba") is not None
_PARTS = ("mover", "legal", "odds", "move", "joint", "observe")
_HEAD = "from typing import Any\n\nimport numpy as np\nfrom numba import njit\n"
_MARKS = "# ---- shared by all games ----", "# ---- of each game ----"


@functools.cache
def rows() -> ModuleType:
    """The loops that know no game: `uniform` and `refused`, cached in memory and on disk."""
    if not COMPILED:
        return _plain("rows", {}, _template()[0])
    module = _from_disk("rows", _HEAD + _template()[0], "")
    with compiling("rows"):
        module.uniform(np.ones((1, 1), np.uint8), np.zeros(1, np.int32), np.zeros(1, np.uint64), 0, 1)
        module.refused(np.ones((1, 1), np.uint8), np.zeros(1, np.int32))
    return module


def kernel(game: Any) -> ModuleType:
    """The loops over an array game's own functions: `step`, `expand`, `look`, cached like `rows`."""
    rules: Any = type(game)
    return _kernel(rules)


@functools.cache
def _kernel(rules: Any) -> ModuleType:
    if not COMPILED or not _importable(rules):
        return _plain(rules.__name__, {part: getattr(rules, part) for part in _PARTS}, "".join(_template()))
    head = f"{_HEAD}from {rules.__module__} import {rules.__name__} as R\n\n"
    head += "".join(f"{part} = njit(R.{part})\n" for part in _PARTS)
    return _from_disk(rules.__name__, head + "".join(_template()), _made_of(rules))


def _made_of(rules: Any) -> str:
    """All that is compiled into a game's loops: its modules' sources, and what these import and use."""
    functions = [getattr(rules, part) for part in _PARTS]
    parts = {inspect.getsource(sys.modules[function.__module__]) for function in functions}
    for function in functions:
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, (bool, int, float, str, tuple, np.generic, np.ndarray)):
                parts.add(f"{name} = {pickle.dumps(value)!r}")
            elif callable(value) and not isinstance(value, type):
                parts.add(inspect.getsource(getattr(value, "py_func", value)))
    return "".join(sorted(parts))


def _template() -> tuple[str, str]:
    """The two parts of `kernel.py`, read as text: importing it would import numba."""
    text = Path(__file__).with_name("kernel.py").read_text(encoding="utf-8")
    shared, own = text.split(_MARKS[0])[1].split(_MARKS[1])
    return shared, own


def _plain(name: str, parts: Mapping[str, Any], body: str) -> ModuleType:
    """The loops of a game that has no file of its own, compiled for this process only, or not at all."""
    template: Any = importlib.import_module("ludus.core.kernel")
    module = ModuleType(f"ludus_kernel_{name}")
    module.__dict__.update(np=np, Any=Any, njit=template.njit)
    module.__dict__.update({part: template.njit(function) for part, function in parts.items()})
    exec(compile(body.replace("cache=True", "cache=False"), f"<loops of {name}>", "exec"), module.__dict__)  # noqa: S102
    return module


def _importable(rules: type) -> bool:
    module = sys.modules.get(rules.__module__)
    return rules.__module__ != "__main__" and getattr(module, rules.__name__, None) is rules


def _from_disk(name: str, text: str, made_of: str) -> ModuleType:
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
        raise ImportError(f"cannot import the kernel written to {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where numba looks for it when it reads its cache
    spec.loader.exec_module(module)
    return module


def cache_folder() -> Path:
    """Where compiled kernels are kept: LUDUS_CACHE, or `ludus` in the user's cache folder."""
    home = (
        os.environ.get("LUDUS_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ludus"
    )
    folder = Path(home) / "kernels"
    folder.mkdir(parents=True, exist_ok=True)
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


BLOCK = 1024  # rows: some twenty microseconds of work, about what it costs to wake a thread


def spread(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Run loop(*arguments, low, high) over `count` rows, large batches in blocks shared among threads.

    Whoever is free takes the next block, so a thread that the system does not wake holds nobody up.
    Threads that wait spin in no loop, and a process forked from this one starts its own.
    """
    if not COMPILED:
        with np.errstate(over="ignore"):  # SplitMix64 wraps, and uncompiled numpy notices
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
