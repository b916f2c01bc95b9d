"""All rules compiled for a card that need not be there: run by test_cuda.py, as a process of its own.

numba asks a driver for the kind of card only; told it, it writes the card's code without one.
"""

import types

import numba.cuda.dispatcher
import numpy as np
from numba import cuda
from numba.cuda.typing.typeof import typeof

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.cuda import aligned, kernels

HOPPER = (9, 0)
numba.cuda.dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=HOPPER)


def arguments(game) -> dict[str, tuple[object, ...]]:
    """What CudaBatch gives each kernel."""
    seats, moves = len(game.seats), len(game.moves)
    states, whole = np.zeros(1, aligned(game.record)), np.zeros(1, np.int32)
    streams, bytes_, flags, counts = (np.zeros(1, kind) for kind in (np.uint64, np.int8, np.bool_, np.int64))
    seen, mask = np.zeros((1, *game.shape), game.dtype), np.zeros((1, moves), np.uint8)
    pay, aside, odds = (
        np.zeros((1, seats), np.float32),
        np.zeros((1, seats), np.int32),
        np.zeros((1, game.outcomes)),
    )
    return {
        "step": (
            states, states, whole, aside, bytes_, streams, streams, seen, mask, pay, pay, flags, bytes_, counts, odds,
            0, 0, 1.0, 0,
        ),
        "uniform": (mask, whole, streams), "take": (counts, whole), "spare": (flags, whole), "refuse": (mask, whole, bytes_, True, whole),
        "look": (states, counts, seen),
    }  # fmt: skip


def main() -> None:
    for name in ludus.games():
        game = ludus.make(name)
        if not isinstance(game, ArrayGame):
            continue
        for kernel, given in arguments(game).items():
            function = getattr(kernels(game), kernel).py_func
            code, _ = cuda.compile_ptx(function, tuple(map(typeof, given)), cc=HOPPER)
            assert ".visible .entry" in code, (name, kernel)
        print(name, "compiles for CUDA")


if __name__ == "__main__":
    main()
