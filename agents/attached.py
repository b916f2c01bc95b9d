"""More loops over an array game's rules, for agents: compiled and cached as the game's own kernel is.

A file of loops has a mark; what stands below it is put into a module of its own for each game, after what it takes
from the game's kernel (`ludus.core.kernel`): the rules, `jit`, `draw`, `pick` and the constants. So every loop is a
top-level function of a real module, where numba's cache finds it again, and rules are compiled into it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from ludus.core.array_game import ArrayGame
from ludus.core.compiled import cache_folder, kernel

MARK = "# ---- of each game ----"
TAKEN = (
    "CHANCY", "MOVES", "NATURE", "OVER", "draw", "jit", "legal", "move", "mover", "observe", "odds", "outcome", "pick",
)  # fmt: skip


def attached(game: ArrayGame, name: str) -> ModuleType:
    """The loops below the mark of `<name>.py`, beside this file, over the rules of `game`.

    Its `COMPILED` says whether numba compiles them.
    """
    return _attached(kernel(game), name)


@functools.cache
def _attached(base: ModuleType, name: str) -> ModuleType:
    body = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8").split(MARK)[1]
    if base.COMPILED and getattr(base, "__file__", None):
        return _from_disk(base, name, body)
    module = ModuleType(f"{base.__name__}_{name}")
    module.__dict__.update({taken: getattr(base, taken) for taken in (*TAKEN, "np", "Any", "COMPILED")})
    text = body.replace("cache=True", "cache=False")
    exec(compile(text, f"<{name} of {base.__name__}>", "exec"), module.__dict__)  # noqa: S102
    return module


def _from_disk(base: ModuleType, name: str, body: str) -> ModuleType:
    """Write the module once, under a name that changes with the game's kernel and with the loops; import it."""
    import numba

    head = f"from typing import Any\n\nimport numpy as np\nfrom {base.__name__} import {', '.join(TAKEN)}\n"
    stamp = hashlib.blake2b((head + body + numba.__version__).encode(), digest_size=8).hexdigest()
    path = cache_folder() / f"{Path(str(base.__file__)).stem}_{name}_{stamp}.py"
    if not path.exists():
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(head + body, encoding="utf-8")
        aside.replace(path)
    spec = importlib.util.spec_from_file_location(f"ludus_kernel_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import the loops written to {path}; empty that folder, or set LUDUS_CACHE")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where numba looks for it when it reads its cache
    spec.loader.exec_module(module)
    module.__dict__["COMPILED"] = True
    return module
