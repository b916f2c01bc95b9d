"""Alpha-beta over records, made into one module for each game by `ludus.agents.attached`.

A board `b` is a `ludus.agents.alpha_beta.Room` of arrays. Values are those of whoever is to move, from there on, so they
change their sign only where the mover changes. Nothing here may allocate.

Shape letters: D plies, A moves, K seats, B bytes of a record, T places of the table.
"""

# mypy: ignore-errors
from typing import Any

import numpy as np

from ludus.core.kernel import jit, legal, move, mover

MOVES, OVER = 0, -2


# ---- of each game ----
NODES, BUDGET, STOPPED, HORIZONS, AGE, STUCK = 0, 1, 2, 3, 4, 5
COMPLETE = 30000  # the depth of what was searched to the end
SLACK = 1e-9  # two moves are as good if their values differ by less


@jit(nogil=True, cache=True)
def hashed(raw: Any, ply: int) -> Any:
    """A number of 64 bits for the bytes of a record (FNV-1a, Fowler, Noll and Vo 1991)."""
    h = np.uint64(0xCBF29CE484222325)
    for j in range(raw.shape[1]):
        h = (h ^ np.uint64(raw[ply, j])) * np.uint64(0x100000001B3)
    return h ^ (h >> np.uint64(32))


@jit(nogil=True, cache=True)
def next_move(b: Any, ply: int, m: int, hint: int) -> int:
    """The move to be tried next, which is taken off the list: the table's, then those that cut most before; or -1."""
    chosen = -1
    if hint >= 0 and b.mask[ply, hint]:
        chosen = hint
    else:
        for a in range(MOVES):
            if b.mask[ply, a] and (chosen < 0 or b.history[m, a] > b.history[m, chosen]):
                chosen = a
    if chosen >= 0:
        b.mask[ply, chosen] = 0
    return chosen


@jit(nogil=True, cache=True)
def enter(b: Any, ply: int, left: int) -> bool:
    """Begin with the position stack[ply]; whether it is answered already, and if so write the answer into its frame."""
    f = b.frames[ply]
    b.tally[NODES] += 1
    if b.tally[NODES] > b.tally[BUDGET]:
        b.tally[STOPPED] = 1
        return True
    f.best = 0.0
    if left == 0:
        b.tally[HORIZONS] += 1
        return True
    f.key, f.hint = hashed(b.raw, ply), -1
    known = b.table[int(f.key % np.uint64(b.table.shape[0]))]
    if known.key == f.key and known.age == b.tally[AGE]:
        f.hint = known.move
        if known.depth >= left and (known.low >= f.beta or known.high <= f.alpha or known.low == known.high):
            b.tally[HORIZONS] += known.depth < COMPLETE
            f.best = known.low if known.low >= f.beta or known.low == known.high else known.high
            return True
    f.mover, f.first, f.best, f.chosen = mover(b.stack[ply]), f.alpha, -np.inf, -1
    f.horizons = b.tally[HORIZONS]
    b.mask[ply, :] = 0
    legal(b.stack[ply], f.mover, b.mask[ply])
    return False


@jit(nogil=True, cache=True)
def close(b: Any, ply: int, left: int) -> None:
    """Write what was found of the position stack[ply] into the table, and credit the move that cut others off."""
    f = b.frames[ply]
    if f.chosen < 0:
        b.tally[STUCK], b.tally[STOPPED] = 1, 1
        return
    if f.best >= f.beta:
        b.history[f.mover, f.chosen] += left * left
    known = b.table[int(f.key % np.uint64(b.table.shape[0]))]
    known.key, known.age, known.move = f.key, b.tally[AGE], f.chosen
    known.depth = COMPLETE if b.tally[HORIZONS] == f.horizons else left
    known.low = f.best if f.best > f.first else -np.inf
    known.high = f.best if f.best < f.beta else np.inf


@jit(nogil=True, cache=True)
def improve(b: Any, ply: int, worth: float) -> None:
    """Take note of what the move at hand is worth."""
    f = b.frames[ply]
    if worth > f.best:
        f.best, f.chosen = worth, f.move
    f.alpha = max(f.alpha, f.best)


@jit(nogil=True, cache=True)
def seek(b: Any, depth: int, alpha: float, beta: float) -> float:
    """What the mover of stack[1] earns from there on: exact between alpha and beta, else a bound; 0 at the horizon.

    Frames are what a recursive search would keep in local variables; numba does not reload recursive functions.
    """
    ply = 1
    b.frames[1].alpha, b.frames[1].beta = alpha, beta
    done = enter(b, 1, depth - 1)
    while not b.tally[STOPPED]:
        f = b.frames[ply]
        if done:
            if ply == 1:
                return f.best
            ply -= 1
            up = b.frames[ply]
            improve(b, ply, up.gain + f.best if up.again else up.gain - f.best)
            done = False
            continue
        a = next_move(b, ply, f.mover, f.hint) if f.best < f.beta else -1
        if a < 0:
            close(b, ply, depth - ply)
            done = True
            continue
        b.stack[ply + 1] = b.stack[ply]
        b.pay[ply, :] = 0.0
        move(b.stack[ply + 1], a, b.pay[ply])
        worth, after = float(b.pay[ply, f.mover]), mover(b.stack[ply + 1])
        f.move = a
        if after == OVER:
            improve(b, ply, worth)
            continue
        f.gain, f.again = worth, after == f.mover
        below = b.frames[ply + 1]
        below.alpha = f.alpha - worth if f.again else worth - f.beta
        below.beta = f.beta - worth if f.again else worth - f.alpha
        ply += 1
        done = enter(b, ply, depth - ply)
    return 0.0


@jit(nogil=True, cache=True)
def look(b: Any, depth: int, worth: Any) -> float:
    """Write into worth (A,) what the moves of stack[0] are worth, those of the best ones exactly; the best worth.

    worth has what the moves were worth before, by which they are ordered; -inf marks what is not legal.
    """
    m, best = mover(b.stack[0]), -np.inf
    b.mask[0, :] = 0
    legal(b.stack[0], m, b.mask[0])
    while not b.tally[STOPPED]:
        a = -1
        for other in range(MOVES):
            if b.mask[0, other] and (a < 0 or worth[other] > worth[a]):
                a = other
        if a < 0:
            break
        b.mask[0, a] = 0
        b.stack[1] = b.stack[0]
        b.pay[0, :] = 0.0
        move(b.stack[1], a, b.pay[0])
        value, after, alpha = float(b.pay[0, m]), mover(b.stack[1]), best - SLACK
        if after == m:
            value += seek(b, depth, alpha - value, np.inf)
        elif after != OVER:
            value -= seek(b, depth, -np.inf, value - alpha)
        worth[a] = value
        best = max(best, value)
    return best
