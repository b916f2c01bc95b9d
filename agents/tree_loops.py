"""The inner loops of tree search, made into one module for each game by `ludus.agents.attached`.

A tree `t` is a `ludus.agents.tree.Tree` of arrays: row i is a search of its own, node 0 its root. Totals, payments and
values are the first player's; `select` turns them round where the second is to move. Nothing here may allocate.

Shape letters: N searches, M nodes, W edges (the larger of moves and outcomes), A moves, F features.
"""

# mypy: ignore-errors
from typing import Any

import numpy as np

from ludus.core.kernel import draw, jit, legal, move, mover, observe, odds, outcome, pick

CHANCY = True
MOVES, NATURE, OVER = 0, -1, -2


# ---- of each game ----
PUCT, UCT = 0, 1


@jit(nogil=True, cache=True)
def plant(t: Any, low: int, high: int) -> None:
    """Make node 0 of every row, whose record is written already, the root of a tree of one leaf."""
    for i in range(low, high):
        t.rows[i].used = 1
        t.nodes[i, 0].count = 1
        t.nodes[i, 0].paid = 0.0
        t.nodes[i, 0].parent = -1
        t.rows[i].first = 0.0
        t.rows[i].gain = 0.0
        t.rows[i].via = -1
        clear(t.edges[i, 0])
        m = mover(t.records[i, 0])
        t.nodes[i, 0].who = m
        show(t, i, 0, m)


@jit(nogil=True, cache=True)
def clear(edges: Any) -> None:
    """Make the edges (W,) of a node new: nothing is possible, nothing was visited."""
    for a in range(edges.shape[0]):
        edges[a].child = -1
        edges[a].prior = -1.0
        edges[a].visits = 0
        edges[a].total = 0.0


@jit(nogil=True, cache=True)
def show(t: Any, i: int, node: int, m: int) -> None:
    """Note the position in scratch[i] (of the root: the root's) as the leaf of row i, and what its mover m sees."""
    if node == 0:
        t.scratch[i] = t.records[i, 0]
    t.rows[i].leaf = node
    t.rows[i].asked = m
    t.obs[i] = 0
    t.mask[i, :] = 0
    if m >= 0:
        legal(t.scratch[i], m, t.mask[i])
        observe(t.scratch[i], m, t.obs[i])


@jit(nogil=True, cache=True)
def by_prior(t: Any, i: int, node: int, c: float) -> int:
    """The move of the largest Q + c P sqrt(N) / (1 + n); Q of a move without visits is 0."""
    sign = 1.0 if t.nodes[i, node].who == 0 else -1.0
    reach = c * np.sqrt(float(t.nodes[i, node].count))
    best, chosen = -np.inf, -1
    for a in range(MOVES):
        p = t.edges[i, node, a].prior
        if p >= 0.0:
            n = t.edges[i, node, a].visits
            score = reach * p / (1 + n)
            if n > 0:
                score += sign * t.edges[i, node, a].total / n
            if score > best:
                best, chosen = score, a
    return chosen


@jit(nogil=True, cache=True)
def by_bound(t: Any, i: int, node: int, c: float) -> int:
    """A move without visits, each as likely; else that of the largest Q + c sqrt(ln N / n)."""
    fresh = 0
    for a in range(MOVES):
        fresh += t.edges[i, node, a].prior >= 0.0 and t.edges[i, node, a].visits == 0
    if fresh > 0:
        j = int(draw(t.seed, i) * fresh)
        for a in range(MOVES):
            if t.edges[i, node, a].prior >= 0.0 and t.edges[i, node, a].visits == 0:
                j -= 1
                if j < 0:
                    return a
    sign = 1.0 if t.nodes[i, node].who == 0 else -1.0
    reach = np.log(float(t.nodes[i, node].count))
    best, chosen = -np.inf, -1
    for a in range(MOVES):
        n = t.edges[i, node, a].visits
        if n > 0:
            score = sign * t.edges[i, node, a].total / n + c * np.sqrt(reach / n)
            if score > best:
                best, chosen = score, a
    return chosen


@jit(nogil=True, cache=True)
def by_odds(t: Any, i: int, node: int) -> int:
    """An outcome of chance, drawn by its odds, which are the priors of its node."""
    u, chosen = draw(t.seed, i), -1
    for c in range(t.edges.shape[2]):
        if t.edges[i, node, c].prior > 0.0:
            chosen = c
            u -= t.edges[i, node, c].prior
            if u < 0.0:
                break
    return chosen


@jit(nogil=True, cache=True)
def grow(t: Any, i: int, node: int, a: int, m: int) -> int:
    """A new node for the position in scratch[i], which move a of `node` led to, where m is to move."""
    new = t.rows[i].used
    t.rows[i].used = new + 1
    t.records[i, new] = t.scratch[i]
    t.nodes[i, new].who = m
    t.nodes[i, new].paid = t.pay[i, 0]
    t.nodes[i, new].parent = node
    t.nodes[i, new].edge = a
    t.edges[i, node, a].child = new
    t.nodes[i, new].count = 0
    clear(t.edges[i, new])
    if CHANCY and m == NATURE:
        p = t.odds[i]
        p[:] = 0.0
        odds(t.scratch[i], p)
        for c in range(p.shape[0]):
            t.edges[i, new, c].prior = p[c]
    return new


@jit(nogil=True, cache=True)
def walk(t: Any, i: int, c: float, rule: int) -> int:
    """Go down the tree of row i and add what lies beyond; the last node.

    `asked` is who is to move there, and scratch the position. Where there is no more room for nodes (chance may take
    several), the position is played out to the next decision without being kept; `via` is then the last node's move,
    else -1, and `gain` what was earned on the way.
    """
    node = 0
    t.rows[i].gain = 0.0
    t.rows[i].via = -1
    t.rows[i].asked = OVER
    while t.nodes[i, node].who != OVER:
        if CHANCY and t.nodes[i, node].who == NATURE:
            a = by_odds(t, i, node)
        elif rule == UCT:
            a = by_bound(t, i, node, c)
        else:
            a = by_prior(t, i, node, c)
        if t.edges[i, node, a].child >= 0:
            node = t.edges[i, node, a].child
            continue
        t.scratch[i] = t.records[i, node]
        t.pay[i, :] = 0.0
        room, step = t.rows[i].used < t.nodes.shape[1], a
        while True:
            move(t.scratch[i], step, t.pay[i])
            m = mover(t.scratch[i])
            if room or not CHANCY or m != NATURE:
                break
            step = outcome(t.scratch[i], t.odds[i], draw(t.seed, i))
        if room:
            node = grow(t, i, node, a, m)
            if CHANCY and m == NATURE:
                continue
        else:
            t.rows[i].via = a
            t.rows[i].gain = t.pay[i, 0]
        t.rows[i].asked = m
        break
    return node


@jit(nogil=True, cache=True)
def backup(t: Any, i: int, node: int, value: float) -> None:
    """Book value, the first player's from the leaf on, in every edge from the last node up to the root."""
    value += t.rows[i].gain
    if t.rows[i].via >= 0:
        t.edges[i, node, t.rows[i].via].visits += 1
        t.edges[i, node, t.rows[i].via].total += value
    t.nodes[i, node].count += 1
    while node > 0:
        value += t.nodes[i, node].paid
        up, a = t.nodes[i, node].parent, t.nodes[i, node].edge
        t.edges[i, up, a].visits += 1
        t.edges[i, up, a].total += value
        t.nodes[i, up].count += 1
        node = up


@jit(nogil=True, cache=True)
def descend(t: Any, c: float, low: int, high: int) -> None:
    """Walk once in every row whose root is not the end, and show the leaf to be evaluated."""
    for i in range(low, high):
        if t.nodes[i, 0].who >= 0:
            node = walk(t, i, c, PUCT)
            show(t, i, node, t.rows[i].asked)


@jit(nogil=True, cache=True)
def unfold(t: Any, logits: Any, values: Any, low: int, high: int) -> None:
    """Give leaves priors, the softmax of logits (N, A) over legal moves, and book values (N,) of their movers."""
    for i in range(low, high):
        node, m, value = t.rows[i].leaf, t.rows[i].asked, 0.0
        if t.nodes[i, 0].who < 0:
            continue
        if m >= 0:
            value = float(values[i]) if m == 0 else -float(values[i])
            if t.rows[i].via < 0:
                spread(t.edges[i, node], logits[i], t.mask[i])
        if node == 0:
            t.rows[i].first = value
        else:
            backup(t, i, node, value)


@jit(nogil=True, cache=True)
def spread(edges: Any, logits: Any, mask: Any) -> None:
    """Write the softmax of logits (A,) over the moves of mask (A,) into priors; -1 marks the others."""
    top, total = -np.inf, 0.0
    for a in range(MOVES):
        if mask[a]:
            top = max(top, float(logits[a]))
    for a in range(MOVES):
        edges[a].prior = -1.0
        if mask[a]:
            edges[a].prior = np.exp(float(logits[a]) - top) if top > -np.inf else 1.0
            total += edges[a].prior
    for a in range(MOVES):
        if mask[a]:
            edges[a].prior /= total


@jit(nogil=True, cache=True)
def gamma(alpha: float, seed: Any, i: int) -> float:
    """A draw from the gamma distribution of shape alpha (Marsaglia and Tsang 2000, ACM TOMS 26(3))."""
    boost = 1.0
    if alpha < 1.0:
        boost = draw(seed, i) ** (1.0 / alpha)
        alpha += 1.0
    d = alpha - 1.0 / 3.0
    c = 1.0 / np.sqrt(9.0 * d)
    while True:
        x = np.sqrt(-2.0 * np.log(1.0 - draw(seed, i))) * np.cos(2.0 * np.pi * draw(seed, i))
        v = (1.0 + c * x) ** 3
        if v > 0.0 and np.log(1.0 - draw(seed, i)) < 0.5 * x * x + d - d * v + d * np.log(v):
            return boost * d * v


@jit(nogil=True, cache=True)
def stir(t: Any, alpha: float, share: float, low: int, high: int) -> None:
    """Mix so large a share of Dirichlet(alpha) into the priors of the roots."""
    for i in range(low, high):
        total = 0.0
        for a in range(MOVES):
            if t.edges[i, 0, a].prior >= 0.0:
                t.noise[i, a] = gamma(alpha, t.seed, i)
                total += t.noise[i, a]
        for a in range(MOVES):
            if t.edges[i, 0, a].prior >= 0.0 and total > 0.0:
                t.edges[i, 0, a].prior = (1.0 - share) * t.edges[i, 0, a].prior + share * t.noise[
                    i, a
                ] / total


@jit(nogil=True, cache=True)
def playout(t: Any, i: int) -> float:
    """What the first player earns from scratch[i] on if both, and chance, play uniformly; nan where nobody can move."""
    t.pay[i, :] = 0.0
    while True:
        m = mover(t.scratch[i])
        if m == OVER:
            return t.pay[i, 0]
        if CHANCY and m == NATURE:
            a = outcome(t.scratch[i], t.odds[i], draw(t.seed, i))
        else:
            t.mask[i, :] = 0
            legal(t.scratch[i], m, t.mask[i])
            a = pick(t.mask, i, draw(t.seed, i))
            if a < 0:
                return np.nan
        move(t.scratch[i], a, t.pay[i])


@jit(nogil=True, cache=True)
def play_out(t: Any, c: float, simulations: int, low: int, high: int) -> None:
    """A whole search in every row: UCT with one uniform playout from each new leaf."""
    for i in range(low, high):
        if t.nodes[i, 0].who < 0:
            continue
        open_up(t, i, 0)
        worth = playout(t, i)
        t.rows[i].first = worth
        for _ in range(simulations):
            if np.isnan(worth):  # which the sums keep
                break
            node = walk(t, i, c, UCT)
            if t.rows[i].asked >= 0 and t.rows[i].via < 0:
                open_up(t, i, node)
            worth = playout(t, i) if t.rows[i].asked >= 0 else 0.0
            backup(t, i, node, worth)


@jit(nogil=True, cache=True)
def open_up(t: Any, i: int, node: int) -> None:
    """Mark the legal moves of a node by a prior of 0."""
    t.mask[i, :] = 0
    legal(t.records[i, node], t.nodes[i, node].who, t.mask[i])
    for a in range(MOVES):
        t.edges[i, node, a].prior = 0.0 if t.mask[i, a] else -1.0
