"""Exact tools on tables: expected values, best responses, NashConv, equilibria by CFR+.

A tabular policy is a mapping from information states (`Request.information`) to probabilities over
the moves of the choice there, an array (A,). One mapping covers all seats: the names begin with
the seat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ludus.core.agent import Agent, Request
from ludus.core.errors import ContractError, UnknownName
from ludus.core.game import Game, Seat
from ludus.core.table import seat_stream
from ludus.core.tables import Tables, tabulate

TabularPolicy: TypeAlias = Mapping[str, ArrayLike]
Rows = NDArray[np.float64]


# ------------------------------------------------------------------------------------ policies
def uniform(game: Game[Any]) -> dict[str, Rows]:
    """The policy that plays every legal move alike."""
    tables = tabulate(game)
    return _named(tables, tables.legal / tables.legal.sum(1, keepdims=True))


def tabular(game: Game[Any], agent: Agent, *, samples: int = 0, seed: int = 0) -> dict[str, Rows]:
    """What an agent does at every information state.

    Args:
        game: a game that can be tabulated.
        agent: if it offers `probabilities`, those are exact; else it is asked `samples` times.
        samples: how often to ask an agent that only acts. Its sampling error is yours to judge.
        seed: of the generators it is given.

    Raises:
        ValueError: the agent does not tell its probabilities, and `samples` is 0.
    """
    tables = tabulate(game)
    requests = [_request(tables, i, seat_stream(seed, 0, i)) for i in range(len(tables.names))]
    if hasattr(agent, "probabilities"):
        return dict(
            zip(tables.names, (np.asarray(p, np.float64) for p in agent.probabilities(requests)), strict=True)
        )
    if samples < 1:
        raise ValueError(
            f"{agent.name} does not tell its probabilities: say how many `samples` to ask it for"
        )
    counts = [np.zeros(len(options.names)) for options in tables.options]
    for _ in range(samples):
        for count, decision in zip(counts, agent.act(requests), strict=True):
            if not isinstance(decision.move, (int, np.integer)):
                raise ContractError(f"{agent.name} answered {decision.move!r} where it was given a choice")
            count[int(decision.move)] += 1
    return {name: count / samples for name, count in zip(tables.names, counts, strict=True)}


def _request(tables: Tables, i: int, rng: np.random.Generator) -> Request:
    game, seat = tables.game, tables.game.players[tables.owner[i]]
    return Request(
        f"tabular-{i}", game.id, seat, tables.views[i], tables.options[i], tables.pasts[i], rng,
        rules=game.rules(seat), complete=game.view_is_complete,
    )  # fmt: skip


def _named(tables: Tables, rows: Rows) -> dict[str, Rows]:
    widths = [len(options.names) for options in tables.options]
    return {name: rows[i, : widths[i]].copy() for i, name in enumerate(tables.names)}


def _rows(tables: Tables, policy: TabularPolicy | Agent) -> Rows:
    """A policy as an array (I, A)."""
    mapping = policy if isinstance(policy, Mapping) else tabular(tables.game, policy)
    rows = np.zeros(tables.legal.shape)
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
        rows[i, :width] = row
    return rows


# -------------------------------------------------------------------------------------- values
def value(game: Game[Any], policy: TabularPolicy | Agent) -> dict[Seat, float]:
    """What each player earns on average when all play `policy`; exact."""
    tables = tabulate(game)
    weights = _weights(tables, _rows(tables, policy))
    worth = np.zeros((len(tables.mover), len(game.players)))
    for span, starts in zip(reversed(tables.levels), reversed(tables.starts), strict=True):
        earned = weights[span, None] * (tables.pay[span] + worth[tables.child[span]])
        worth[tables.parent[span][starts]] = np.add.reduceat(earned, starts)
    return {seat: float(worth[0, k]) for k, seat in enumerate(game.players)}


def best_response(
    game: Game[Any], policy: TabularPolicy | Agent, seat: Seat
) -> tuple[float, dict[str, Rows]]:
    """What `seat` can earn at most when the others play `policy`, and how; exact.

    Returns:
        The value, and a policy that earns it: pure at the seat's own information states, as given
        elsewhere.
    """
    if seat not in game.players:
        raise UnknownName(f"player of {game.id}", seat, game.players)
    tables = tabulate(game)
    rows = _rows(tables, policy)
    worth, best = _best_response(tables, rows, game.players.index(seat))
    answer = rows.copy()
    own = tables.owner == game.players.index(seat)
    answer[own] = np.eye(rows.shape[1])[best[own]]
    return worth, _named(tables, answer)


def nash_conv(game: Game[Any], policy: TabularPolicy | Agent) -> float:
    """What all players together could gain by each answering best; zero at an equilibrium.

    Source: Lanctot et al. 2017, arXiv:1711.00832, section 2.
    """
    tables = tabulate(game)
    rows = _rows(tables, policy)
    now = value(game, policy if isinstance(policy, Mapping) else _named(tables, rows))
    return sum(_best_response(tables, rows, k)[0] - now[seat] for k, seat in enumerate(game.players))


def exploitability(game: Game[Any], policy: TabularPolicy | Agent) -> float:
    """NashConv divided by the number of players."""
    return nash_conv(game, policy) / len(game.players)


def _weights(tables: Tables, rows: Rows) -> NDArray[np.float64]:
    """(E,) the probability of each edge at its parent."""
    chosen = np.isnan(tables.odds)
    weights = np.where(chosen, 0.0, tables.odds)
    weights[chosen] = rows[tables.info[tables.parent[chosen]], tables.action[chosen]]
    return weights


def _best_response(tables: Tables, rows: Rows, player: int) -> tuple[float, NDArray[np.intp]]:
    """The value to `player` of answering best, and its best move at each information state."""
    weights = _weights(tables, rows)
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
        best[info] = gain[info].argmax(1)
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
def solve(game: Game[Any], iterations: int = 1000) -> dict[str, Rows]:
    """An approximate equilibrium by CFR+: the average policy after `iterations`.

    Alternating updates, the first player first; regret matching plus; linear averaging. For two
    players and zero sums the average policy comes close to an equilibrium; elsewhere nothing is
    promised.

    Source: Tammelin 2014, arXiv:1407.5042.

    Raises:
        ContractError: a seat forgets what it knew, so that its own reach is not defined.
    """
    if iterations < 1:
        raise ValueError(f"at least one iteration, not {iterations}")
    return _CFR(tabulate(game, unfold=True)).run(iterations)


class _CFR:
    def __init__(self, tables: Tables) -> None:
        self.t = t = tables
        self.players = len(t.game.players)
        self.regret = np.zeros(t.legal.shape)
        self.sum = np.zeros(t.legal.shape)
        self.policy = t.legal / t.legal.sum(1, keepdims=True)
        self.chosen = np.flatnonzero(np.isnan(t.odds))
        self.edge_info = t.info[t.parent]
        self.edge_mover = t.mover[t.parent]
        owned = np.flatnonzero(t.info >= 0)
        self.any_node = np.zeros(len(t.legal), np.intp)  # some position of each information state
        self.any_node[t.info[owned]] = owned
        self._check_recall(owned)

    def _check_recall(self, owned: NDArray[np.intp]) -> None:
        """All positions of an information state must follow the same own moves."""
        t = self.t
        sequence = np.full((self.players, len(t.mover)), -1, np.int64)
        for span in t.levels:
            sequence[:, t.child[span]] = sequence[:, t.parent[span]]
            for k in range(self.players):
                mine = self.edge_mover[span] == k
                edge_info, action = self.edge_info[span][mine], t.action[span][mine]
                sequence[k, t.child[span][mine]] = edge_info.astype(np.int64) * t.legal.shape[1] + action
        own = sequence[t.mover[owned], owned]
        if not np.array_equal(own, own[np.searchsorted(owned, self.any_node[t.info[owned]])]):
            raise ContractError(f"{t.game!r}: a seat forgets what it knew: CFR needs perfect recall")

    def run(self, iterations: int) -> dict[str, Rows]:
        for iteration in range(1, iterations + 1):
            for player in range(self.players):
                self._update(player, iteration)
        total = self.sum.sum(1, keepdims=True)
        even = self.t.legal / self.t.legal.sum(1, keepdims=True)
        average = np.divide(self.sum, total, out=even, where=total > 0)
        return _named(self.t, average)

    def _update(self, player: int, iteration: int) -> None:
        t = self.t
        weights = t.odds.copy()
        weights[self.chosen] = self.policy[self.edge_info[self.chosen], t.action[self.chosen]]
        mine = self.edge_mover == player
        own, others = np.zeros(len(t.mover)), np.zeros(len(t.mover))
        own[0] = others[0] = 1.0
        own_share, others_share = np.where(mine, weights, 1.0), np.where(mine, 1.0, weights)
        for span in t.levels:
            own[t.child[span]] = own[t.parent[span]] * own_share[span]
            others[t.child[span]] = others[t.parent[span]] * others_share[span]
        worth, earned = np.zeros(len(t.mover)), np.zeros(len(t.parent))
        for span, starts in zip(reversed(t.levels), reversed(t.starts), strict=True):
            earned[span] = t.pay[span, player] + worth[t.child[span]]
            worth[t.parent[span][starts]] = np.add.reduceat(weights[span] * earned[span], starts)
        states = t.owner == player
        reach = own[self.any_node[states], None]
        self.sum[states] += iteration * reach * self.policy[states]
        parent = t.parent[mine]
        np.add.at(
            self.regret,
            (self.edge_info[mine], t.action[mine]),
            others[parent] * (earned[mine] - worth[parent]),
        )
        np.maximum(self.regret, 0.0, out=self.regret)
        total = self.regret[states].sum(1, keepdims=True)
        even = t.legal[states] / t.legal[states].sum(1, keepdims=True)
        self.policy[states] = np.divide(self.regret[states], total, out=even, where=total > 0)
