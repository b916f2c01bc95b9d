"""Loops over a game's tables that solvers run thousands of times; compiled where numba is installed.

Edges are sorted so that a parent comes before its children, and the edges of a parent lie together. A policy is an
array (I, A).

Shape letters: X positions, E edges, I information states, A moves.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ludus.core.compiled import loop


class Edges(NamedTuple):
    """The edges of a tree (E,): where each leads from and to, by what move, and whose position it leaves."""

    parent: Any
    child: Any
    action: Any
    mover: Any
    info: Any
    odds: Any  # read where chance or crew decide


@loop
def counterfactual(
    edges: Edges,
    pay: Any,
    player: int,
    policy: Any,
    own: Any,
    others: Any,
    worth: Any,
    values: Any,
    mass: Any,
    reach: Any,
) -> float:
    """What each move of a player's information states is worth, weighted by how often the others lead there.

    Args:
        edges: of the tree.
        pay: (E,) what an edge pays the player.
        player: its index.
        policy: (I, A) what everybody plays.
        own, others, worth: (X,) room to work in.
        values: (I, A) gets, at the player's states, the sum over positions of the others' reach times worth.
        mass: (I,) gets the others' reach.
        reach: (I,) gets the player's own reach.

    Returns:
        What the player earns.
    """
    parent, child, action, mover, info, odds = edges
    own[0] = 1.0
    others[0] = 1.0
    worth[:] = 0.0
    for e in range(len(parent)):
        p, c = parent[e], child[e]
        if mover[e] == player:
            own[c] = own[p] * policy[info[e], action[e]]
            others[c] = others[p]
            values[info[e], action[e]] = 0.0
            mass[info[e]] = 0.0
            reach[info[e]] = own[p]
        else:
            own[c] = own[p]
            others[c] = others[p] * (policy[info[e], action[e]] if mover[e] >= 0 else odds[e])
    for e in range(len(parent) - 1, -1, -1):
        p = parent[e]
        earned = pay[e] + worth[child[e]]
        if mover[e] == player:
            values[info[e], action[e]] += others[p] * earned
        worth[p] += earned * (policy[info[e], action[e]] if mover[e] >= 0 else odds[e])
        if mover[e] == player and (e == 0 or parent[e - 1] != p):
            mass[info[e]] += others[p]
    return worth[0]


@loop
def regrets(
    edges: Edges,
    pay: Any,
    player: int,
    policy: Any,
    own: Any,
    others: Any,
    nature: Any,
    worth: Any,
    regret: Any,
    reach: Any,
) -> None:
    """Add to a player's regrets (I, A) those of one walk over the tree, and write its own reach (I,).

    The sums are taken in the order in which a walk in depth takes them, and chance apart from the other players, so
    that the result is that of OpenSpiel's walk to the last bit: what is above zero by rounding alone decides games.

    Args:
        own, others, nature, worth: (X,) room to work in.
        edges, pay, player, policy: as of `counterfactual`.
    """
    parent, child, action, mover, info, odds = edges
    own[0] = 1.0
    others[0] = 1.0
    nature[0] = 1.0
    worth[0] = 0.0
    for e in range(len(parent)):
        p, c = parent[e], child[e]
        worth[c] = 0.0
        own[c], others[c], nature[c] = own[p], others[p], nature[p]
        if mover[e] == player:
            own[c] *= policy[info[e], action[e]]
            reach[info[e]] = own[p]
        elif mover[e] >= 0:
            others[c] *= policy[info[e], action[e]]
        else:
            nature[c] *= odds[e]
    high = len(parent)
    while high > 0:
        p, low = parent[high - 1], high - 1
        while low > 0 and parent[low - 1] == p:
            low -= 1
        for e in range(low, high):
            weight = policy[info[e], action[e]] if mover[e] >= 0 else odds[e]
            worth[p] += weight * (pay[e] + worth[child[e]])
        high = low
    for e in range(len(parent)):
        if mover[e] == player:
            p = parent[e]
            regret[info[e], action[e]] += others[p] * nature[p] * (pay[e] + worth[child[e]] - worth[p])


@loop
def answer(
    edges: Edges,
    pay: Any,
    level: Any,
    player: int,
    policy: Any,
    legal: Any,
    others: Any,
    worth: Any,
    values: Any,
    best: Any,
) -> float:
    """The best response of a player to a policy; return what it earns.

    Args:
        level: (L + 1,) the first edge of each level, and the number of edges.
        legal: (I, A) uint8.
        best: (I,) gets the best move of each of the player's states, the first of equal ones.
        values: (I, A) room to work in, and what each move is worth times the others' reach.
        edges, pay, player, policy, others, worth: as of `counterfactual`.
    """
    parent, child, action, mover, info, odds = edges
    others[0] = 1.0
    worth[:] = 0.0
    for e in range(len(parent)):
        c, m = child[e], mover[e]
        others[c] = others[parent[e]]
        if m == player:
            values[info[e], action[e]] = 0.0
            best[info[e]] = -1
        else:
            others[c] *= policy[info[e], action[e]] if m >= 0 else odds[e]
    for at in range(len(level) - 2, -1, -1):
        low, high = level[at], level[at + 1]
        for e in range(low, high):
            if mover[e] == player:
                values[info[e], action[e]] += others[parent[e]] * (pay[e] + worth[child[e]])
        for e in range(low, high):
            earned = pay[e] + worth[child[e]]
            if mover[e] != player:
                worth[parent[e]] += earned * (policy[info[e], action[e]] if mover[e] >= 0 else odds[e])
                continue
            i = info[e]
            if best[i] < 0:
                for a in range(legal.shape[1]):
                    if legal[i, a] and (best[i] < 0 or values[i, a] > values[i, best[i]]):
                        best[i] = a
            if action[e] == best[i]:
                worth[parent[e]] = earned
    return worth[0]


def spin(stream: Any) -> float:
    """`ludus.core.kernel.draw` of a stream (1,): its own copy, for numba's cache sees changes of this file alone."""
    stream[0] += np.uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return float((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


def match(regret: Any, legal: Any, i: int, policy: Any) -> None:
    """Write what regrets (I, A) say to play at state i into policy (A,): in proportion where positive, else alike."""
    total, moves = 0.0, 0
    for a in range(len(policy)):
        total += max(regret[i, a], 0.0)
        moves += legal[i, a]
    for a in range(len(policy)):
        policy[a] = max(regret[i, a], 0.0) / total if total > 0 else legal[i, a] / moves


@loop
def sample_external(
    first: Any,
    edges: Edges,
    pay: Any,
    legal: Any,
    players: int,
    iterations: int,
    stream: Any,
    regret: Any,
    total: Any,
    policy: Any,
    values: Any,
    path: Any,
    edge: Any,
    past: Any,
) -> None:
    """External sampling: each player in turn walks over all its moves, and one is drawn for everybody else.

    Args:
        first: (X + 1,) the first edge of each position.
        pay: (E, K).
        iterations: how many; in each, every player updates once.
        stream: (1,) uint64.
        regret, total: (I, A) are updated: regrets, and the sum of the policies of the player after the updating one.
        policy, values: (D, A) room for each position on the path, of which there are at most D.
        path, edge: (D,) int64 room: the position, and the edge under way there.
        past: (D,) float64 room: what was paid on the way to each position.
        edges, legal: as of `counterfactual` and `answer`.
    """
    _, child, action, mover, info, odds = edges
    for round_ in range(iterations * players):
        player = round_ % players
        path[0], edge[0], past[0], depth, back = 0, -1, 0.0, 0, 0.0
        while depth >= 0:
            x = path[depth]
            low, high = first[x], first[x + 1]
            if low == high:  # over
                back = past[depth]
                depth -= 1
                continue
            walks = mover[low] == player
            i = info[low]
            if edge[depth] < 0:
                drawn = low
                if mover[low] >= 0:
                    match(regret, legal, i, policy[depth])
                if not walks:
                    u = spin(stream)
                    while drawn < high - 1:
                        u -= policy[depth, action[drawn]] if mover[low] >= 0 else odds[drawn]
                        if u < 0:
                            break
                        drawn += 1
                    while mover[low] >= 0 and drawn > low and policy[depth, action[drawn]] == 0:
                        drawn -= 1
                    if mover[low] == (player + 1) % players:
                        for a in range(legal.shape[1]):
                            total[i, a] += policy[depth, a]
                edge[depth] = drawn
            elif walks:
                values[depth, action[edge[depth]]] = back
                edge[depth] += 1
            else:
                depth -= 1  # what came back is worth as much here
                continue
            if walks and edge[depth] == high:
                back = 0.0
                for e in range(low, high):
                    back += policy[depth, action[e]] * values[depth, action[e]]
                for e in range(low, high):
                    regret[i, action[e]] += values[depth, action[e]] - back
                depth -= 1
                continue
            taken = edge[depth]
            path[depth + 1] = child[taken]
            past[depth + 1] = past[depth] + pay[taken, player]
            depth += 1
            edge[depth] = -1


@loop
def sample_outcomes(
    first: Any,
    edges: Edges,
    pay: Any,
    legal: Any,
    players: int,
    iterations: int,
    stream: Any,
    explore: float,
    regret: Any,
    total: Any,
    policy: Any,
    path: Any,
    reach: Any,
) -> None:
    """Outcome sampling: each player in turn learns from one game, in which it explores.

    Args:
        explore: how much of the updating player's moves is drawn uniformly.
        regret, total: (I, A) are updated: regrets, and reach-weighted policies of the updating player.
        policy: (D, A) room for the policy at each position of the game.
        path: (D,) int64 room: the edges of the game.
        reach: (D, 4) room: own, others' and the sampled reach, and the probability of the move as drawn.
        first, edges, pay, legal, players, iterations, stream: as of `sample_external`.
    """
    _, child, action, mover, info, odds = edges
    for round_ in range(iterations * players):
        player = round_ % players
        x, depth, own, others, sampled, earned = 0, 0, 1.0, 1.0, 1.0, 0.0
        while first[x] < first[x + 1]:
            low, high = first[x], first[x + 1]
            m, i = mover[low], info[low]
            if m >= 0:
                match(regret, legal, i, policy[depth])
            share = 1.0 / (high - low)
            u, e, chance = spin(stream), low, 0.0
            while True:
                likely = policy[depth, action[e]] if m >= 0 else odds[e]
                chance = explore * share + (1.0 - explore) * likely if m == player else likely
                u -= chance
                if u < 0 or e == high - 1:
                    break
                e += 1
            while chance == 0.0:  # rounding may carry u past the last possible move
                e -= 1
                chance = policy[depth, action[e]] if m >= 0 else odds[e]
            reach[depth, 0], reach[depth, 1], reach[depth, 2], reach[depth, 3] = own, others, sampled, chance
            path[depth] = e
            likely = policy[depth, action[e]] if m >= 0 else odds[e]
            if m == player:
                own *= likely
            else:
                others *= likely
            sampled *= chance
            earned += pay[e, player]
            x = child[e]
            depth += 1
        for at in range(depth - 1, -1, -1):
            e = path[at]
            m, i, taken = mover[e], info[e], earned / reach[at, 3]
            earned = taken * (policy[at, action[e]] if m >= 0 else odds[e])
            if m != player:
                continue
            scale = reach[at, 1] / reach[at, 2]
            for a in range(legal.shape[1]):
                if legal[i, a]:
                    regret[i, a] += scale * ((taken if a == action[e] else 0.0) - earned)
                    total[i, a] += policy[at, a] * reach[at, 0] / reach[at, 2]


@loop
def dilate(
    parent_info: Any,
    parent_action: Any,
    order: Any,
    legal: Any,
    gain: Any,
    policy: Any,
) -> None:
    """One step of magnetic mirror descent in the dilated entropy, over one player's information states.

    g(a) = -(step u(a) + log pi(a)) / (1 + step magnet) + sum of V of the states that follow a,
    V = -log sum exp(-g), pi'(a) = exp(-g(a) + V); from the last states to the first.

    Args:
        parent_info, parent_action: (I,) the state and the move of the same player that lead to each state, -1 at first.
        order: (n,) the player's states, later ones first.
        legal: (I, A) uint8.
        gain: (I, A) the first part of g, where u is what a move pays before the player moves again, times the
            others' reach; the second is added.
        policy: (I, A) is overwritten.

    Source: Sokota et al. 2023, arXiv:2206.05825, appendix on sequence form.
    """
    for j in range(len(order)):
        i = order[j]
        top, low = 0.0, math.inf
        for a in range(legal.shape[1]):
            if legal[i, a]:
                low = min(low, gain[i, a])
        for a in range(legal.shape[1]):
            if legal[i, a]:
                top += math.exp(low - gain[i, a])
        worth = low - math.log(top)
        for a in range(legal.shape[1]):
            if legal[i, a]:
                policy[i, a] = math.exp(worth - gain[i, a])
        if parent_info[i] >= 0:
            gain[parent_info[i], parent_action[i]] += worth
