"""Exact tools on tables: expected values, best responses, NashConv, backward induction.

A tabular policy is a mapping from information states (`Request.information`) to probabilities over
the moves of the choice there, an array (A,). One mapping covers all seats: the names begin with
the seat. The same as one array is (I, A), in the order of `tabulate(game).names`; wherever a policy is
asked for here it may be a mapping, such an array, or an agent that tells its probabilities, or the name of one, and
wherever a game is, its name or its tables.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ludus.core.agent import Agent, Request
from ludus.core.errors import ContractError, UnknownName
from ludus.core.game import Game, Seat
from ludus.core.registry import agent_for, as_game
from ludus.core.table import seat_stream
from ludus.core.tables import Tables, tabulate

TabularPolicy: TypeAlias = Mapping[str, ArrayLike]
Rows: TypeAlias = NDArray[np.float64]
Rules: TypeAlias = Game[Any] | Tables | str
AnyPolicy: TypeAlias = TabularPolicy | Rows | Agent | str
TIE = 1e-9  # values that differ by less are equal


# ------------------------------------------------------------------------------------ policies
def uniform(game: Rules) -> dict[str, Rows]:
    """The policy that plays every legal move alike."""
    tables = _tables(game)
    return named(tables, tables.legal / tables.legal.sum(1, keepdims=True))


def tabular(game: Rules, agent: Agent, *, samples: int = 0, seed: int = 0) -> dict[str, Rows]:
    """What an agent does at every information state; `ludus.arenas.exploit` also counts unusable replies.

    Args:
        game: a game that can be tabulated, its name or its tables.
        agent: if it offers `probabilities`, those are exact; else it is asked `samples` times.
        samples: how often to ask an agent that only acts. Its sampling error is yours to judge.
        seed: of the generators it is given.

    Raises:
        ValueError: the agent does not tell its probabilities, and `samples` is 0.
    """
    tables = _tables(game)
    if hasattr(agent, "probabilities"):
        told = agent.probabilities(_asked_often(tables))
        return dict(zip(tables.names, (np.asarray(p, np.float64) for p in told), strict=True))
    requests = questions(tables, seed=seed)
    if samples < 1:
        raise ValueError(
            f"{agent.name} does not tell its probabilities: say how many decisions to count at each information state, "
            "`tabular(game, agent, samples=64)`, on the command line --samples 64"
        )
    counts = [np.zeros(len(options.names)) for options in tables.options]
    for _ in range(samples):
        for count, decision in zip(counts, agent.act(requests), strict=True):
            if not isinstance(decision.move, (int, np.integer)):
                raise ContractError(f"{agent.name} answered {decision.move!r} where it was given a choice")
            count[int(decision.move)] += 1
    return {name: count / samples for name, count in zip(tables.names, counts, strict=True)}


def questions(tables: Tables, *, seed: int = 0, sample: int = 0) -> list[Request]:
    """A request for every information state, in their order; `seed` and `sample` decide their generators."""
    return [_request(tables, i, seat_stream(seed, sample, i), sample) for i in range(len(tables.names))]


@functools.lru_cache(maxsize=4)
def _asked_often(tables: Tables) -> list[Request]:
    """The questions to those who tell their probabilities and draw nothing: made once, since a network learns for long."""
    return questions(tables)


def _request(tables: Tables, i: int, rng: np.random.Generator, sample: int) -> Request:
    game, seat = tables.game, tables.game.players[tables.owner[i]]
    return Request(
        f"tabular-{i}-{sample}", game.id, seat, tables.views[i], tables.options[i], tables.pasts[i], rng,
        rules=game.rules(seat), complete=game.view_is_complete,
    )  # fmt: skip


def named(tables: Tables, rows: Rows) -> dict[str, Rows]:
    """A policy (I, A) as a mapping from information states, each with the moves of its own choice."""
    widths = [len(options.names) for options in tables.options]
    return {name: rows[i, : widths[i]].copy() for i, name in enumerate(tables.names)}


def rows(game: Rules, policy: AnyPolicy) -> Rows:
    """A policy as an array (I, A).

    Raises:
        UnknownName: it says nothing of some information state.
        ValueError: at one it does not give probabilities over the legal moves.
    """
    tables = _tables(game)
    if isinstance(policy, np.ndarray):
        if policy.shape != tables.legal.shape:
            raise ValueError(
                f"{tables.game!r} has tables of {tables.legal.shape}, and the policy is {policy.shape}"
            )
        array: Rows = policy
        wrong = (abs(policy.sum(1) - 1) > 1e-6) | ~(policy >= 0).all(1) | (policy * ~tables.legal).any(1)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ValueError(f"{tables.names[at]!r} has no such probabilities: {policy[at].tolist()}")
        return array
    if isinstance(policy, str):
        policy = agent_for(tables.game, policy)
    if not isinstance(policy, Mapping) and not hasattr(policy, "act"):
        raise TypeError(
            f"a policy is a mapping from information states, an array {tables.legal.shape}, an agent or the name of one, "
            f"not {policy!r}"
        )
    mapping = policy if isinstance(policy, Mapping) else tabular(tables.game, policy)
    array = np.zeros(tables.legal.shape)
    for i, name in enumerate(tables.names):
        if name not in mapping:
            raise UnknownName(
                f"information state of this policy for {tables.game.id}", name, list(mapping)[:12]
            )
        row = np.asarray(mapping[name], np.float64)
        width = len(tables.options[i].names)
        fits = row.shape == (width,) and abs(row.sum() - 1) <= 1e-6 and bool((row >= 0).all())
        if not fits or row[~tables.legal[i, :width]].any():
            raise ValueError(f"{name!r} needs {width} probabilities over its legal moves, not {row.tolist()}")
        array[i, :width] = row
    return array


def _tables(game: Rules) -> Tables:
    return game if isinstance(game, Tables) else tabulate(game)


def together(game: Rules, seats: Mapping[Seat, AnyPolicy]) -> Rows:
    """One policy (I, A) of several: each player's information states as the policy at its seat has them.

    Example:
        >>> from ludus.core.registry import make
        >>> from ludus.core.solvers import solve
        >>> kuhn = make("kuhn_poker")
        >>> both = together(kuhn, {"player_0": uniform(kuhn), "player_1": solve(kuhn, 100)})
        >>> value(kuhn, both)["player_0"] < -1 / 18  # against an equilibrium nothing else earns more
        True

    Raises:
        UnknownName: a seat is no player's, or a player has no policy.
    """
    tables = _tables(game)
    players = tables.game.players
    for seat in (*seats, *players):
        if seat not in players or seat not in seats:
            raise UnknownName(f"player of {tables.game.id} with a policy", seat, set(players) & set(seats))
    out = np.zeros(tables.legal.shape)
    for k, seat in enumerate(players):
        own = tables.owner == k
        out[own] = rows(tables, seats[seat])[own]
    return out


# -------------------------------------------------------------------------------------- values
def value(game: Rules, policy: AnyPolicy) -> dict[Seat, float]:
    """What each player earns on average when all play `policy`; exact. See `together` for different ones."""
    tables = _tables(game)
    weights = edge_weights(tables, rows(tables, policy))
    worth = np.zeros((len(tables.mover), len(tables.game.players)))
    for span, starts in zip(reversed(tables.levels), reversed(tables.starts), strict=True):
        earned = weights[span, None] * (tables.pay[span] + worth[tables.child[span]])
        worth[tables.parent[span][starts]] = np.add.reduceat(earned, starts)
    return {seat: float(worth[0, k]) for k, seat in enumerate(tables.game.players)}


def best_response(game: Rules, policy: AnyPolicy, seat: Seat) -> tuple[float, dict[str, Rows]]:
    """What `seat` can earn at most when the others play `policy`, and how; exact.

    Returns:
        The value, and a policy that earns it: pure at the seat's own information states, as given
        elsewhere.
    """
    tables = _tables(game)
    worth, answer = answer_rows(tables, rows(tables, policy), seat)
    return worth, named(tables, answer)


def answer_rows(tables: Tables, policy: Rows, seat: Seat) -> tuple[float, Rows]:
    """As `best_response`, of an array and as an array (I, A)."""
    players = tables.game.players
    if seat not in players:
        raise UnknownName(f"player of {tables.game.id}", seat, players)
    worth, best = _best_response(tables, policy, players.index(seat))
    answer = policy.copy()
    own = tables.owner == players.index(seat)
    answer[own] = _pure(best[own], policy.shape[1])
    return worth, answer


def nash_conv(game: Rules, policy: AnyPolicy) -> float:
    """What all players together could gain by each answering best; zero at an equilibrium.

    Source: Lanctot et al. 2017, arXiv:1711.00832, section 2.
    """
    tables = _tables(game)
    array = rows(tables, policy)
    now = value(tables, array)
    return sum(_best_response(tables, array, k)[0] - now[seat] for k, seat in enumerate(tables.game.players))


def exploitability(game: Rules, policy: AnyPolicy) -> float:
    """NashConv divided by the number of players."""
    tables = _tables(game)
    return nash_conv(tables, policy) / len(tables.game.players)


def losses(game: Rules, policy: AnyPolicy) -> float:
    """What the worst opponents win from the likeliest moves of a policy, over all seats: 0 if these never lose.

    Of games of two players where nobody starts ahead, as far as the payoff of an end goes.
    """
    tables = _tables(game)
    drawn = rows(tables, policy)
    likeliest = _pure(drawn.argmax(1), drawn.shape[1])
    return sum(max(0.0, answer_rows(tables, likeliest, seat)[0]) for seat in tables.game.players)


def _pure(moves: NDArray[np.intp], width: int) -> Rows:
    """(n, A) the policy that plays these moves (n,)."""
    array: Rows = np.zeros((len(moves), width))
    array[np.arange(len(moves)), moves] = 1.0
    return array


def edge_weights(tables: Tables, policy: Rows) -> NDArray[np.float64]:
    """(E,) the probability of each edge at its parent."""
    chosen = np.isnan(tables.odds)
    weights = np.where(chosen, 0.0, tables.odds)
    weights[chosen] = policy[tables.info[tables.parent[chosen]], tables.action[chosen]]
    return weights


def _best_response(tables: Tables, policy: Rows, player: int) -> tuple[float, NDArray[np.intp]]:
    """The value to `player` of answering best, and its best move at each information state.

    Raises:
        ContractError: a seat forgets what it knew, so that its best move here depends on its own moves elsewhere.
    """
    if tables.tree:
        remembered(tables)
    weights = edge_weights(tables, policy)
    own = tables.mover[tables.parent] == player
    reach = np.zeros(len(tables.mover))  # by everybody but the player
    reach[0] = 1.0
    for span in tables.levels:
        np.add.at(
            reach, tables.child[span], reach[tables.parent[span]] * np.where(own[span], 1.0, weights[span])
        )
    _count_unreached(tables, reach)
    worth = np.zeros(len(tables.mover))
    gain = np.where(tables.legal, 0.0, -np.inf)  # (I, A) counterfactual value of each move
    best = np.zeros(len(tables.legal), np.intp)
    for span, starts in zip(reversed(tables.levels), reversed(tables.starts), strict=True):
        parent, action, mine = tables.parent[span], tables.action[span], own[span]
        earned = tables.pay[span, player] + worth[tables.child[span]]
        info = tables.info[parent[mine]]
        np.add.at(gain, (info, action[mine]), reach[parent[mine]] * earned[mine])
        there = tables.info[parent[starts][mine[starts]]]
        best[there] = gain[there].argmax(1)
        share = weights[span].copy()
        share[mine] = action[mine] == best[info]
        worth[parent[starts]] = np.add.reduceat(share * earned, starts)
    return float(worth[0]), best


def _count_unreached(tables: Tables, reach: NDArray[np.float64]) -> None:
    """Where the others never come, answer as if they came to every position alike."""
    owned = np.flatnonzero(tables.info >= 0)
    total = np.bincount(tables.info[owned], reach[owned], len(tables.legal))
    unreached = owned[total[tables.info[owned]] == 0]
    reach[unreached] = 1.0


# ---------------------------------------------------------------------------------- equilibria
def optimal(game: Game[Any] | str) -> dict[str, Rows]:
    """Backward induction: at every position each of the mover's best moves alike.

    Of games of perfect information; each player earns as much as it can from there on, and cares
    neither for how long that takes nor for what the others earn.

    Raises:
        ContractError: the game hides something, or a view leaves out what tells positions apart.
    """
    game = as_game(game)
    tables = tabulate(game)
    if not game.perfect_information:
        raise ContractError(f"{game!r} has hidden parts, where no move is best by itself: `solve` it instead")
    worth = np.zeros((len(tables.mover), len(game.players)))
    policy = np.zeros(tables.legal.shape)
    weights = np.nan_to_num(tables.odds)
    for span, starts in zip(reversed(tables.levels), reversed(tables.starts), strict=True):
        parent = tables.parent[span]
        earned = tables.pay[span] + worth[tables.child[span]]
        chosen = np.isnan(tables.odds[span])
        own = np.where(chosen, earned[np.arange(len(parent)), np.maximum(tables.mover[parent], 0)], 0.0)
        block = np.cumsum(np.diff(parent, prepend=parent[0]) != 0)
        best = chosen & (own >= np.maximum.reduceat(own, starts)[block] - TIE)
        count = np.add.reduceat(best, starts, dtype=np.int64)[block]
        weights[span][chosen] = (best / np.maximum(count, 1))[chosen]
        policy[tables.info[parent[chosen]], tables.action[span][chosen]] = weights[span][chosen]
        worth[parent[starts]] = np.add.reduceat(weights[span, None] * earned, starts)
    if not np.array_equal(edge_weights(tables, policy), weights):
        raise ContractError(f"{game!r}: positions with different best moves look alike to a seat")
    return named(tables, policy)


# ------------------------------------------------------------------------------------ averages
@functools.lru_cache(maxsize=16)
def own_moves(tables: Tables) -> NDArray[np.int64]:
    """(K, X) each player's last own state and move before a position of a tree, as one number; -1 before the first.

    The number is that of an element of an array (I, A). Not to be written to.
    """
    t = tables
    last = np.full((len(t.game.players), len(t.mover)), -1, np.int64)
    for span in t.levels:
        parent, child = t.parent[span], t.child[span]
        last[:, child] = last[:, parent]
        for k in range(len(last)):
            mine = t.mover[parent] == k
            last[k, child[mine]] = (
                t.info[parent[mine]].astype(np.int64) * t.legal.shape[1] + t.action[span][mine]
            )
    last.flags.writeable = False
    return last


@functools.lru_cache(maxsize=16)
def remembered(tables: Tables) -> NDArray[np.intp]:
    """(I,) some position of each information state, in a game whose seats remember their own moves; not to be written to.

    Raises:
        ContractError: positions of an information state follow different own moves, or were merged.
    """
    t = tables
    if not t.tree:
        raise ContractError(f"{t.game!r}: positions are merged, so that no seat's own moves are known")
    owned = np.flatnonzero(t.info >= 0)
    some = np.zeros(len(t.legal), np.intp)
    some[t.info[owned]] = owned
    sequence = own_moves(t)
    own = sequence[t.mover[owned], owned]
    if not np.array_equal(own, sequence[t.mover[owned], some[t.info[owned]]]):
        raise ContractError(
            f"{t.game!r}: a seat forgets what it knew or did: exact tools, and averages, need perfect recall"
        )
    some.flags.writeable = False
    return some


def reached(tables: Tables, policy: Rows) -> Rows:
    """(I, A) each probability times the probability that the seat's own moves lead so far.

    Sums of these over policies, whatever their weights, are what `averaged` brings back to a policy:
    the one whose every outcome is as likely as under a draw of one of the policies before each game.

    Source: Zinkevich et al. 2007, "Regret minimization in games with incomplete information", eq. 4.
    """
    some = remembered(tables)
    weights = edge_weights(tables, policy)
    reach = np.ones((len(tables.game.players), len(tables.mover)))
    for span in tables.levels:
        parent = tables.parent[span]
        reach[:, tables.child[span]] = reach[:, parent]
        for k in range(len(reach)):
            mine = tables.mover[parent] == k
            reach[k, tables.child[span][mine]] *= weights[span][mine]
    own: Rows = reach[tables.owner, some][:, None] * policy
    return own


def averaged(tables: Tables, total: Rows) -> Rows:
    """The policy (I, A) of a weighted sum (I, A); uniform where nothing ever led."""
    whole = total.sum(1, keepdims=True)
    even = tables.legal / tables.legal.sum(1, keepdims=True)
    policy: Rows = np.divide(total, whole, out=even, where=whole > 0)
    return policy


def mixed(tables: Tables, policies: Sequence[Rows], weights: ArrayLike) -> Rows:
    """The policy (I, A) whose every outcome is as likely as if one of `policies` were drawn before each game.

    Args:
        tables: of a game whose seats remember their own moves.
        policies: (I, A) each.
        weights: how likely each is drawn, one number a policy.

    Raises:
        ContractError: a seat forgets what it knew.
    """
    share = np.asarray(weights, np.float64)
    total = sum(w * reached(tables, one) for w, one in zip(share, policies, strict=True) if w)
    return averaged(tables, np.asarray(total))
