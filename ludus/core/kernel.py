"""The inner loops over many records, made into one module for each game.

`ludus.core.sources` writes the parts of this file between the marks into modules of their own:
the first part, which knows no game, into one that all games share, and both into one for each game,
after the imports of the game's functions. So every function here is a top-level function of a real
module, and numba's cache finds it again in the next process. Without numba the same text runs as
ordinary Python.

Names that a made module has before these parts: `Any`, `np`, `jit`, and for a game its `mover`, `legal`,
`odds`, `toss`, `move`, `joint`, `observe`, whether it has chance at all (CHANCY), tosses by itself
(TOSSES), has seats that move together (JOINT), how many rows share a line of odds (BLOCK), and its sizes, which as
constants halve the time of small games.
`jit` compiles without counting references to arrays, which would take as long as a small game's rules: nothing
here, and nothing in rules, may allocate. Seats and moves are given to rules as `int` of what arrays hold: uncompiled,
a number of numpy's would make their sums wrap.

Loops over rows take the first row and the one after the last, so that threads can share a batch: they hold no
lock of the interpreter while they run, and rows have nothing to do with one another.

Shape letters: N rows, K seats, A moves, C chance outcomes, F features.
"""

# mypy: ignore-errors
from typing import Any

import numpy as np


def jit(*args: Any, **_: Any) -> Any:
    """The function itself, uncompiled."""
    return args[0] if args else lambda function: function


mover: Any = None
legal: Any = None
odds: Any = None
toss: Any = None
move: Any = None
joint: Any = None
observe: Any = None
CHANCY = TOSSES = JOINT = True
SEATS = MOVES = OUTCOMES = 0
BLOCK = 1
SHAPE: tuple[int, ...] = ()


# ---- shared by all games ----
CHUNK = 32  # moves that are counted at a time
STAY, DEAL = -3, -2  # choices that leave a row alone, and that start it anew


@jit(forceinline=True)
def draw(seed: Any, i: int) -> float:
    """SplitMix64: row i's own stream, whatever the batch size; uniform in [0, 1)."""
    seed[i] += np.uint64(0x9E3779B97F4A7C15)
    z = seed[i]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@jit(forceinline=True)
def pick(mask: Any, i: int, u: float) -> int:
    """The legal move of row i that u in [0, 1) falls on, all being as likely; -1 if there is none.

    It is found by counting those before it, without a branch that the processor could not foresee.
    """
    moves, total, low = mask.shape[1], 0, 0
    for a in range(moves):
        total += int(mask[i, a])
    if total == 0:
        return -1
    j = int(u * total)
    while moves - low > CHUNK:
        here = 0
        for a in range(low, low + CHUNK):
            here += int(mask[i, a])
        if j < here:
            break
        j -= here
        low += CHUNK
    found = low
    for a in range(low, min(low + CHUNK, moves)):
        j -= int(mask[i, a])
        found += j >= 0
    return found


@jit(nogil=True, cache=True)
def uniform(mask: Any, choice: Any, seed: Any, low: int, high: int) -> None:
    """Write one uniformly drawn legal move of each row from low to high into choice (N,)."""
    for i in range(low, high):
        choice[i] = pick(mask, i, draw(seed, i))


@jit(cache=True)
def refused(mask: Any, choice: Any, who: Any, empty: bool) -> int:
    """The first row that is not left alone and whose choice is not legal, though somebody is to move there, or -1.

    With `empty`, the first of these rows where nothing is legal.
    """
    for i in range(mask.shape[0]):
        if who[i] < 0 or choice[i] == STAY:
            continue
        illegal = choice[i] < 0 or choice[i] >= mask.shape[1] or not mask[i, choice[i]]
        if illegal and (not empty or pick(mask, i, 0.0) < 0):
            return i
    return -1


# ---- of each game ----
NATURE, OVER, TOGETHER = -1, -2, -3
SAME_STEP, NEXT_STEP, DISABLED = 0, 1, 2
RAISE, FORFEIT, RANDOM = 0, 1, 2
DEALS = 100_000  # after so many that end before anybody moves, a row stays over


@jit(forceinline=True)
def unlike(mask: Any, obs: Any, pay: Any, p: Any) -> bool:
    """Whether sizes are not those of the game: never, and the compiler learns here that they are constant."""
    if mask.shape[1] != MOVES or pay.shape[1] != SEATS or p.shape[0] != OUTCOMES:
        return True
    return obs.shape[1:] != SHAPE


@jit(forceinline=True)
def outcome(s: Any, p: Any, u: float) -> int:
    """What u in [0, 1) makes of nature's move."""
    if TOSSES:
        return toss(s, u)
    p[:] = 0.0
    odds(s, p)
    return fall(p, u)


@jit(forceinline=True)
def fall(p: Any, u: float) -> int:
    """The outcome that u in [0, 1) falls on."""
    c = 0
    while c < p.shape[0] - 1 and u >= p[c]:
        u -= p[c]
        c += 1
    while c > 0 and p[c] == 0.0:  # rounding may carry u past the last possible outcome
        c -= 1
    return c


@jit(forceinline=True)
def settle(
    states: Any,
    first: Any,
    a: int,
    aside: Any,
    waiting: Any,
    seed: Any,
    pay: Any,
    opening: Any,
    done: Any,
    p: Any,
    anew: bool,
    i: int,
) -> int:
    """Play a in row i, or with DEAL start it anew; let nature move until a seat must; return who is next.

    Of seats that move together each one's move is kept aside until the last has chosen. A game that ends is marked
    done; with `anew` the next one follows, and what this pays before any decision goes to `opening`, unless all that
    follow end before anybody moves.
    Every rule is called in one place only, so that it can be compiled into the loop.
    """
    dealing, deals = a == DEAL, 0
    earned = opening[i] if dealing else pay[i]
    while True:
        if a == DEAL:
            states[i] = first[0]
            waiting[i] = 0
            earned[:] = 0.0
        elif JOINT and mover(states[i]) == TOGETHER:
            aside[i, waiting[i]] = a
            waiting[i] += 1
            if waiting[i] < aside.shape[1]:
                return int(waiting[i])
            waiting[i] = 0
            joint(states[i], aside[i], earned)
        else:
            move(states[i], a, earned)
        m = mover(states[i])
        if CHANCY and m == NATURE:
            a = outcome(states[i], p, draw(seed, i))
        elif m == OVER:
            done[i] = done[i] or not dealing
            if not anew or deals == DEALS:
                return m
            a, dealing, deals = DEAL, True, deals + 1
            earned = opening[i]
        else:
            return 0 if JOINT and m == TOGETHER else m


@jit(forceinline=True)
def lost(who: int, stake: float, pay: Any) -> None:
    """The price of an illegal action: the mover loses the stake, the others share it."""
    share = stake / max(1, pay.shape[0] - 1)
    for k in range(pay.shape[0]):
        pay[k] += -stake if k == who else share


@jit(nogil=True, cache=True)
def step(
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
    low: int,
    high: int,
) -> None:
    """Play choice (N,) in the rows from low to high, or so many `drawn` legal moves in each.

    A choice of DEAL starts its row anew and pays nothing; STAY leaves it alone.
    """
    p = odd[low // BLOCK]
    if unlike(mask, obs, pay, p):
        return
    for _ in range(max(1, drawn)):
        for i in range(low, high):
            a = pick(mask, i, draw(dice, i)) if drawn else int(choice[i])
            if a == STAY:
                continue
            pay[i, :] = 0.0
            if (done[i] and reset == NEXT_STEP) or (who[i] == OVER and reset == SAME_STEP):
                a = DEAL
            elif done[i] and reset == DISABLED and a != DEAL:
                continue
            anew, m = reset == SAME_STEP or a == DEAL, OVER
            done[i] = False
            if a != DEAL and (a < 0 or a >= mask.shape[1] or mask[i, a] == 0):
                a = pick(mask, i, draw(dice, i) if illegal == RANDOM else 0.0)
                if a >= 0:
                    faults[i] += 1
                elif faults[i] >= 0:  # in a stroll somebody may do nothing: a negative number says so
                    faults[i] = ~faults[i]
                a = a if illegal == RANDOM else -1
                if a < 0:
                    lost(who[i], stake, pay[i])
                    done[i] = True
                    a = DEAL if anew else STAY
            if a != STAY:
                m = settle(states, first, a, aside, waiting, seed, pay, opening, done, p, anew, i)
            mask[i, :] = 0
            if m != OVER:
                who[i] = m
                legal(states[i], m, mask[i])
            obs[i] = 0
            observe(states[i], int(who[i]), obs[i])
            if m == OVER:
                who[i] = m


@jit(cache=True)
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


@jit(cache=True)
def look(states: Any, who: Any, obs: Any) -> None:
    """Write what seat who[i] sees of row i into obs (N, *F); nobody, a negative number, sees zeros."""
    for i in range(states.shape[0]):
        obs[i] = 0
        if who[i] >= 0:
            observe(states[i], int(who[i]), obs[i])


# One position at a time, for games whose rules take long in Python.
@jit(cache=True)
def solo_mover(states: Any) -> int:
    """Who moves in the first record."""
    return mover(states[0])


@jit(cache=True)
def solo_legal(states: Any, seat: int, mask: Any) -> None:
    """`legal` of the first record."""
    legal(states[0], seat, mask)


@jit(cache=True)
def solo_odds(states: Any, p: Any) -> None:
    """`odds` of the first record."""
    odds(states[0], p)


@jit(cache=True)
def solo_play(states: Any, a: int, actions: Any, pay: Any, mask: Any, p: Any) -> int:
    """Play a, or the actions of all seats at once, in the first record; write what whoever is next may do; return it.

    Where nature is next, its odds are written. What was in pay, mask and p before does not matter.
    """
    pay[:] = 0.0
    if JOINT and mover(states[0]) == TOGETHER:
        joint(states[0], actions, pay)
    else:
        move(states[0], a, pay)
    return shown(states[0], mask, p)


@jit(forceinline=True)
def shown(s: Any, mask: Any, p: Any) -> int:
    """Write what whoever is next may do, or nature's odds; return who is next."""
    m = mover(s)
    if m >= 0:
        mask[:] = 0
        legal(s, m, mask)
    elif CHANCY and m == NATURE:
        p[:] = 0.0
        odds(s, p)
    return m


@jit(cache=True)
def solo_happen(states: Any, u: float, pay: Any, mask: Any, p: Any) -> tuple[int, int]:
    """The same for nature's move: play what u in [0, 1) makes of it; return the outcome, and who is next."""
    p[:] = 0.0
    odds(states[0], p)
    a = fall(p, u)
    pay[:] = 0.0
    move(states[0], a, pay)
    return a, shown(states[0], mask, p)


@jit(cache=True)
def solo_observe(states: Any, seat: int, obs: Any) -> None:
    """`observe` of the first record."""
    observe(states[0], seat, obs)


@jit(cache=True)
def probe(states: Any, mask: Any, p: Any, pay: Any, obs: Any, actions: Any, go: bool) -> None:
    """Call every rule if told to: compiled, it says whether numba can compile the rules."""
    if go:
        s = states[0]
        if CHANCY:
            odds(s, p)
        if TOSSES:
            move(s, toss(s, 0.0), pay)
        if JOINT:
            joint(s, actions, pay)
        legal(s, mover(s), mask)
        move(s, 0, pay)
        observe(s, 0, obs)
