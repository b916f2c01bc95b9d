"""More loops over an array game's rules, for agents: compiled and cached as the game's own kernel is.

A file of loops has a mark; what stands below it is put into a module of its own for each game, after what it takes
from the game's kernel (`ludus.core.kernel`): the rules, `jit`, `draw`, `pick` and the constants. So every loop is a
top-level function of a real module, where numba's cache finds it again, and rules are compiled into it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType

from ludus.core.array_game import ArrayGame
from ludus.core.compiled import kernel
from ludus.core.sources import from_disk

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
        head = (
            f"from typing import Any\n\nimport numpy as np\nfrom {base.__name__} import {', '.join(TAKEN)}\n"
        )
        loops = from_disk(f"{Path(str(base.__file__)).stem}_{name}", head + body, "")
        loops.__dict__["COMPILED"] = True
        return loops
    module = ModuleType(f"{base.__name__}_{name}")
    module.__dict__.update({taken: getattr(base, taken) for taken in (*TAKEN, "np", "Any", "COMPILED")})
    text = body.replace("cache=True", "cache=False")
    exec(compile(text, f"<{name} of {base.__name__}>", "exec"), module.__dict__)  # noqa: S102
    return module
