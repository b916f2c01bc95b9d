"""The batch's loops as CUDA kernels, a thread for each row.

`ludus.core.cuda` puts what stands below the mark after the loops of `kernel.py`, which then are device functions,
compiled for the GPU from the same text as for the processor. A kernel's grid may be larger than the rows.
"""

# mypy: ignore-errors
from types import SimpleNamespace
from typing import Any

from ludus.core.kernel import MOVES, STAY, jit, observe, refused, step, uniform

cuda: Any = SimpleNamespace(jit=jit)  # in a made module, numba's


# ---- on a GPU ----
@cuda.jit(cache=True)
def step_rows(
    states: Any,
    first: Any,
    choice: Any,
    aside: Any,
    waiting: Any,
    seed: Any,
    dice: Any,
    obs: Any,
    mask: Any,
    pay: Any,
    opening: Any,
    done: Any,
    who: Any,
    faults: Any,
    odd: Any,
    reset: int,
    illegal: int,
    stake: float,
    drawn: int,
) -> None:
    """`step` in every row."""
    i = cuda.grid(1)
    if i < states.shape[0]:
        step(
            states, first, choice, aside, waiting, seed, dice, obs, mask, pay, opening, done, who, faults, odd, reset,
            illegal, stake, drawn, i, i + 1,
        )  # fmt: skip


@cuda.jit(cache=True)
def uniform_rows(mask: Any, choice: Any, seed: Any) -> None:
    """`uniform` in every row."""
    i = cuda.grid(1)
    if i < choice.shape[0]:
        uniform(mask, choice, seed, i, i + 1)


@cuda.jit(cache=True)
def take_rows(given: Any, choice: Any) -> None:
    """Write given (N,), of any whole numbers, into choice (N,) int32; what numbers no move as -1."""
    i = cuda.grid(1)
    if i < choice.shape[0]:
        choice[i] = given[i] if 0 <= given[i] < MOVES else -1


@cuda.jit(cache=True)
def spare_rows(which: Any, choice: Any) -> None:
    """Write into choice (N,) int32 that rows are left alone where which (N,) bool does not mark them."""
    i = cuda.grid(1)
    if i < choice.shape[0] and not which[i]:
        choice[i] = STAY


@cuda.jit(cache=True)
def refuse_rows(mask: Any, choice: Any, who: Any, empty: bool, lowest: Any) -> None:
    """Lower lowest (1,) to the first row whose choice is refused, with `empty` where nothing is legal."""
    i = cuda.grid(1)
    if i < choice.shape[0] and refused(mask[i : i + 1], choice[i : i + 1], who[i : i + 1], empty) >= 0:
        cuda.atomic.min(lowest, 0, i)


@cuda.jit(cache=True)
def look_rows(states: Any, who: Any, obs: Any) -> None:
    """Write what seat who[i] sees of row i into obs (N, *F), which is zero."""
    i = cuda.grid(1)
    if i < states.shape[0] and who[i] >= 0:
        observe(states[i], who[i], obs[i])
