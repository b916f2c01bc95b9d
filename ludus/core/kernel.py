"""The inner loops over many records, made into one module for each game.

`ludus.core.compiled` writes the parts of this file between the marks into modules of their own:
the first part, which knows no game, into one that all games share, and both into one for each game,
after the imports of the game's functions. So every function here is a top-level function of a real
module, and numba's cache finds it again in the next process. Without numba the same text runs as
ordinary Python.

Names that a made module has before these parts: `Any`, `np`, `njit`, and for a game its `mover`, `legal`,
`odds`, `move`, `joint`, `observe`.

Loops over rows take the first row and the one after the last, so that threads can share a batch: they hold no
lock of the interpreter while they run, and rows have nothing to do with one another.

Shape letters: N rows, K seats, A moves, C chance outcomes, F features.
"""

# mypy: ignore-errors
from typing import Any

import numpy as np

try:
    from numba import njit
except ImportError:

    def njit(*args: Any, **_: Any) -> Any:
        """The function itself, uncompiled."""
        return args[0] if args else lambda function: function


mover: Any = None
legal: Any = None
odds: Any = None
move: Any = None
joint: Any = None
observe: Any = None


# ---- shared by all games ----
@njit
def draw(seed: Any, i: int) -> float:
    """SplitMix64: row i's own stream, whatever the batch size; uniform in [0, 1)."""
    seed[i] += np.uint64(0x9E3779B97F4A7C15)
    z = seed[i]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def uniform(mask: Any, choice: Any, seed: Any, low: int, high: int) -> None:
    """Write one uniformly drawn legal move of each row from low to high into choice (N,)."""
    for i in range(low, high):
        total = 0
        for a in range(mask.shape[1]):
            if mask[i, a]:
                total += 1
        j, seen, picked = int(draw(seed, i) * total), 0, 0
        for a in range(mask.shape[1]):
            if mask[i, a]:
                if seen == j:
                    picked = a
                seen += 1
        choice[i] = picked


@njit(cache=True)
def refused(mask: Any, choice: Any) -> int:
    """The first row whose choice is not legal, or -1."""
    for i in range(mask.shape[0]):
        if choice[i] < 0 or choice[i] >= mask.shape[1] or not mask[i, choice[i]]:
            return i
    return -1


# ---- of each game ----
NATURE, OVER, TOGETHER = -1, -2, -3
STAY, DEAL = -1, -2


@njit
def settle(s: Any, pay: Any, p: Any, seed: Any, i: int) -> int:
    """Let nature move until a seat must, or the game is over; return who is next."""
    m = mover(s)
    while m == NATURE:
        p[:] = 0.0
        odds(s, p)
        u, c = draw(seed, i), 0
        while c < p.shape[0] - 1 and u >= p[c]:
            u -= p[c]
            c += 1
        while c > 0 and p[c] == 0.0:  # rounding may carry u past the last possible outcome
            c -= 1
        move(s, c, pay)
        m = mover(s)
    return m


@njit
def show(s: Any, m: int, waiting: int, mask: Any, obs: Any) -> int:
    """Write what the mover sees and may do; return its seat."""
    seat = waiting if m == TOGETHER else m
    mask[:] = 0
    legal(s, seat, mask)
    obs[...] = 0
    observe(s, seat, obs)
    return seat


@njit
def decide(s: Any, choice: Any, aside: Any, waiting: Any, pay: Any, i: int) -> None:
    """Play row i's choice, or keep it aside until the last of those who move together has chosen."""
    if mover(s) != TOGETHER:
        move(s, choice[i], pay)
        return
    aside[i, waiting[i]] = choice[i]
    waiting[i] += 1
    if waiting[i] == aside.shape[1]:
        waiting[i] = 0
        joint(s, aside[i], pay)


@njit(nogil=True, cache=True)
def step(
    states: Any,
    first: Any,
    choice: Any,
    aside: Any,
    waiting: Any,
    seed: Any,
    obs: Any,
    mask: Any,
    pay: Any,
    opening: Any,
    done: Any,
    who: Any,
    outcomes: int,
    low: int,
    high: int,
) -> None:
    """Play choice (N,) in the rows from low to high; rows that end start anew in the same step.

    A choice below zero starts its row anew and pays nothing. A game that ends at the deal is dealt again.
    """
    p = np.zeros(outcomes)
    for i in range(low, high):
        s = states[i]
        pay[i, :] = 0.0
        m = OVER
        if choice[i] >= 0:
            decide(s, choice, aside, waiting, pay[i], i)
            m = settle(s, pay[i], p, seed, i)
        done[i] = m == OVER
        while m == OVER:
            states[i] = first[0]
            waiting[i] = 0
            opening[i, :] = 0.0
            m = settle(s, opening[i], p, seed, i)
        who[i] = show(s, m, waiting[i], mask[i], obs[i])


@njit(nogil=True, cache=True)
def forward(
    states: Any,
    first: Any,
    choice: Any,
    aside: Any,
    waiting: Any,
    seed: Any,
    obs: Any,
    mask: Any,
    pay: Any,
    who: Any,
    outcomes: int,
    low: int,
    high: int,
) -> None:
    """Play choice (N,) in some of the rows from low to high; games that end stay as they ended, with `who` OVER.

    A row whose choice is STAY is left alone, and one whose choice is DEAL starts anew. What is paid is
    added to pay (N, K).
    """
    p = np.zeros(outcomes)
    for i in range(low, high):
        if choice[i] == STAY:
            continue
        s = states[i]
        if choice[i] == DEAL:
            states[i] = first[0]
            waiting[i] = 0
        else:
            decide(s, choice, aside, waiting, pay[i], i)
        m = settle(s, pay[i], p, seed, i)
        who[i] = OVER if m == OVER else show(s, m, waiting[i], mask[i], obs[i])


@njit(cache=True)
def expand(
    states: Any, after: Any, pay: Any, odd: Any, mask: Any, who: Any, moves: int, outcomes: int
) -> None:
    """All positions one move away: after (N, X), pay (N, X, K), odd (N, X), mask (N, X), who (N,).

    X is the larger of A and C; mask marks the moves or outcomes that are possible. Rows that are
    over, or whose seats move together, have none.
    """
    for i in range(states.shape[0]):
        m = mover(states[i])
        who[i] = m
        mask[i, :] = 0
        odd[i, :] = 0.0
        if m == NATURE:
            odds(states[i], odd[i, :outcomes])
            for a in range(outcomes):
                mask[i, a] = odd[i, a] > 0.0
        elif m >= 0:
            legal(states[i], m, mask[i, :moves])
        for a in range(after.shape[1]):
            if mask[i, a]:
                after[i, a] = states[i]
                pay[i, a, :] = 0.0
                move(after[i, a], a, pay[i, a])


@njit(cache=True)
def look(states: Any, who: Any, obs: Any) -> None:
    """Write what seat who[i] sees of row i into obs (N, *F)."""
    for i in range(states.shape[0]):
        obs[i] = 0
        observe(states[i], who[i], obs[i])
