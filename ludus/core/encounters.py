"""What comes of policies meeting, worked out exactly on tables: mean payoff, and who wins how often.

A seat wins where it earns more than the players do on average, loses where it earns less, and draws
where it earns the same: in games of two players whose payoffs add up to zero, by the sign.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ludus.core.array_game import OVER
from ludus.core.errors import ContractError
from ludus.core.exact import TIE, AnyPolicy, Rows, Rules, edge_weights, rows, together
from ludus.core.game import Forfeit, Game, Seat
from ludus.core.match import Price
from ludus.core.tables import Tables, tabulate


class Encounter(NamedTuple):
    """What a seat may expect: its mean payoff, and the probabilities to win, to draw and to lose."""

    payoff: float
    win: float
    draw: float
    lose: float


def encounter(game: Rules, seats: Mapping[Seat, AnyPolicy]) -> dict[Seat, Encounter]:
    """What each player may expect of a game, each seat with a policy of its own; exact.

    Example:
        >>> from ludus.core.exact import uniform
        >>> from ludus.core.registry import make
        >>> game = make("tic_tac_toe")
        >>> first = encounter(game, dict.fromkeys(game.players, uniform(game)))["player_0"]
        >>> [round(x, 4) for x in first]  # known from counting games: .5850 won, .1270 drawn, .2881 lost
        [0.2968, 0.5849, 0.127, 0.2881]
    """
    tables = _ending(game)
    weights = edge_weights(tables, together(tables, _along(tables, game, seats)))
    reach = np.zeros(len(tables.mover))
    paid = np.zeros((len(tables.mover), len(tables.game.players)))  # on the way, where ways do not merge
    reach[0] = 1.0
    for span in tables.levels:
        parent, child = tables.parent[span], tables.child[span]
        np.add.at(reach, child, reach[parent] * weights[span])
        if tables.tree:
            paid[child] = paid[parent] + tables.pay[span]
    last = tables.mover[tables.child] == OVER
    share = reach[tables.parent[last]] * weights[last]
    total = paid[tables.child[last]] if tables.tree else tables.pay[last]
    above = total - total.mean(1, keepdims=True)
    return {
        seat: Encounter(
            float(share @ total[:, k]),
            float(share[above[:, k] > TIE].sum()),
            float(share[abs(above[:, k]) <= TIE].sum()),
            float(share[above[:, k] < -TIE].sum()),
        )
        for k, seat in enumerate(tables.game.players)
    }


def against(game: Rules, policy: AnyPolicy, other: AnyPolicy) -> Encounter:
    """What `policy` may expect of sitting at each player's seat equally often, `other` at the others; exact."""
    tables = game if isinstance(game, Tables) else tabulate(game)
    own, others = rows(tables, policy), rows(tables, other)
    met = [
        encounter(tables, {**dict.fromkeys(tables.game.players, others), seat: own})[seat]
        for seat in tables.game.players
    ]
    return Encounter(*(sum(column) / len(met) for column in zip(*met, strict=True)))


def _ending(game: Rules) -> Tables:
    """Tables in which what is paid in all is known at the end: only the last move pays, or nothing is merged."""
    tables = game if isinstance(game, Tables) else tabulate(game)
    early = tables.mover[tables.child] != OVER
    if tables.tree or not tables.pay[early].any():
        return tables
    return tabulate(tables.game, unfold=True)


def _along(tables: Tables, game: Rules, seats: Mapping[Seat, AnyPolicy]) -> Mapping[Seat, AnyPolicy]:
    """Arrays in the order of other tables of the same game as mappings, which have no order."""
    given = game if isinstance(game, Tables) else tabulate(game)
    if given is tables:
        return seats
    return {
        seat: {name: row[: len(options.names)] for name, row, options in zip(given.names, policy, given.options, strict=True)}
        if isinstance(policy, np.ndarray) else policy
        for seat, policy in seats.items()
    }  # fmt: skip


# ------------------------------------------------------------------------------ unusable replies
def with_forfeits(game: Game[Any], price: Price | None = None) -> Tables:
    """Tables with one more move everywhere, the last: to give no usable reply, which ends the game.

    A policy on them is (I, A + 1); `joined` makes one. What a forfeit costs must not depend on where it
    happens.

    Args:
        game: a game that can be tabulated.
        price: what the loser and the other of two players earn; by default as the game says.

    Raises:
        ContractError: the game has a rule of its own for forfeits.
    """
    tables = tabulate(game)
    if price is None and type(game).forfeit is not Game.forfeit:
        raise ContractError(f"{game!r} has a rule of its own for forfeits: name their price")
    players, width = game.players, tables.legal.shape[1]
    cost = np.array([_cost(game, loser, price) for loser in players])
    level = np.zeros(len(tables.mover), np.intp)
    for number, span in enumerate(tables.levels):
        level[tables.parent[span]] = number
    owned = np.flatnonzero(tables.info >= 0)
    parent = np.concatenate([tables.parent, owned])
    action = np.concatenate([tables.action, np.full(len(owned), width)])
    order = np.lexsort((action, parent, level[parent]))
    bounds = np.flatnonzero(np.diff(level[parent[order]], prepend=-1, append=-1))
    levels = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(bounds))
    over = np.arange(len(tables.mover), len(tables.mover) + len(owned))
    return replace(
        tables,
        mover=np.concatenate([tables.mover, np.full(len(owned), OVER, np.int8)]),
        info=np.concatenate([tables.info, np.full(len(owned), -1, np.int32)]),
        parent=parent[order].astype(np.int32),
        child=np.concatenate([tables.child, over])[order].astype(np.int32),
        action=action[order].astype(np.int32),
        odds=np.concatenate([tables.odds, np.full(len(owned), np.nan)])[order],
        pay=np.concatenate([tables.pay, cost[tables.mover[owned]]])[order],
        levels=levels,
        starts=tuple(np.flatnonzero(np.diff(parent[order][span], prepend=-1)) for span in levels),
        legal=np.pad(tables.legal, ((0, 0), (0, 1)), constant_values=True),
    )


def _cost(game: Game[Any], loser: Seat, price: Price | None) -> list[float]:
    """What each player earns when one forfeits."""
    if price is None:
        paid = game.forfeit(None, {loser: Forfeit("an unusable reply")}) or {}
        return [paid[seat] for seat in game.players]
    return [price[seat != loser] for seat in game.players]


def joined(masses: Rows) -> Rows:
    """Probabilities (I, A) of usable replies, and as a last column what is missing to one: (I, A + 1)."""
    return np.concatenate([masses, 1 - masses.sum(1, keepdims=True)], 1)
