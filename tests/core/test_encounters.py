"""Exact meetings of policies: against known counts, other ways to work them out, and hand computation."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from small_games import GuessCoin

from ludus.agents.search import Minimax
from ludus.core.agent import Decision, information
from ludus.core.array_game import OVER
from ludus.core.encounters import Encounter, against, encounter, joined, with_forfeits
from ludus.core.errors import ContractError, UnknownName
from ludus.core.exact import (
    averaged,
    best_response,
    nash_conv,
    optimal,
    questions,
    reached,
    rows,
    together,
    uniform,
    value,
)
from ludus.core.game import Forfeit
from ludus.core.play import play
from ludus.core.registry import make
from ludus.core.solvers import solve
from ludus.core.table import Table
from ludus.core.tables import tabulate


def test_random_tic_tac_toe_as_everybody_counts_it() -> None:
    """Of random games 58.5 % are won by the first player, 28.8 % by the second (Wikipedia, and many others)."""
    game = make("tic_tac_toe")
    met = encounter(game, dict.fromkeys(game.players, uniform(game)))
    assert met["player_0"] == pytest.approx((0.29682540, 0.58492063, 0.12698413, 0.28809524), abs=1e-8)
    assert met["player_1"].lose == met["player_0"].win
    unfolded = tabulate(make("nim", stones=5), unfold=True)
    policy = rows(unfolded, uniform(unfolded.game))
    for seat, found in encounter(
        unfolded.game, dict.fromkeys(unfolded.game.players, uniform(unfolded.game))
    ).items():
        assert encounter(unfolded, dict.fromkeys(unfolded.game.players, policy))[seat] == pytest.approx(found)


def test_optimal_play_never_loses_and_is_that_of_the_search() -> None:
    game = make("tic_tac_toe")
    policy = optimal(game)
    assert nash_conv(game, policy) == 0.0
    assert against(game, policy, policy) == pytest.approx(Encounter(0.0, 0.0, 1.0, 0.0))
    assert against(game, policy, uniform(game)).lose == 0.0
    tables, search = tabulate(game), Minimax(game)
    table = Table(game, seed=0)
    for move in (0, 4, 8, 3, 5):
        state, seat = table.state, table.waiting[0]
        name = information(seat, game.view(state, seat), ())
        request = questions(tables)[tables.names.index(name)]
        (p,) = search.probabilities([request.replace(state=state)])
        np.testing.assert_allclose(policy[name], p)
        table.put(seat, move)


def test_the_loss_rate_of_random_nim_by_recursion() -> None:
    game = make("nim", stones=9)
    best = optimal(game)
    tables = tabulate(game)
    by_view = {
        (tables.owner[i], tables.views[i].digest()): best[tables.names[i]] for i in range(len(tables.names))
    }

    @functools.cache
    def lost(record: bytes, at: int, state_of: object) -> float:
        state = state_of
        turn = game.turn(state)
        if not turn:
            return float(game.payoff(state)[game.players[at]] < 0)
        seat = turn[0]
        legal = np.flatnonzero(game.options(state, seat).legal)
        k = game.players.index(seat)
        shares = (
            dict.fromkeys(legal, 1 / len(legal))
            if k == at
            else dict(enumerate(by_view[k, game.view(state, seat).digest()]))
        )
        after = {move: game.play(state, {seat: int(move)}) for move, share in shares.items() if share > 0}
        return sum(shares[move] * lost(s.record, at, s) for move, s in after.items())

    start = game.start(np.random.default_rng(0))
    expected = sum(lost(start.record, at, start) for at in (0, 1)) / 2
    assert 0 < expected < 1
    assert against(game, uniform(game), best).lose == pytest.approx(expected, abs=1e-12)


def test_games_that_pay_on_the_way_are_unfolded() -> None:
    game = make("iterated_prisoners_dilemma", rounds=2)
    tables = tabulate(game)
    assert tables.pay[tables.mover[tables.child] != OVER].any()
    defect = {name: [0.0, 1.0] for name in uniform(game)}
    met = encounter(game, {"player_0": defect, "player_1": uniform(game)})
    worth = value(game, together(game, {"player_0": defect, "player_1": uniform(game)}))
    assert met["player_0"].payoff == pytest.approx(worth["player_0"])
    assert met["player_0"][1:] == pytest.approx((0.75, 0.25, 0.0))  # ahead unless the other defects twice


def test_seats_have_policies_of_their_own() -> None:
    game = make("kuhn_poker")
    best = best_response(game, uniform(game), "player_0")
    mixed = together(game, {"player_0": best[1], "player_1": uniform(game)})
    assert value(game, mixed)["player_0"] == pytest.approx(best[0])
    with pytest.raises(UnknownName, match="player_9"):
        together(game, {"player_0": uniform(game), "player_9": uniform(game)})
    with pytest.raises(UnknownName, match="player_1"):
        together(game, {"player_0": uniform(game)})
    with pytest.raises(ValueError, match="tables of"):
        nash_conv(game, np.ones((3, 2)))
    with pytest.raises(ValueError, match="no such probabilities"):
        nash_conv(game, np.full((12, 2), 0.4))


def test_backward_induction_refuses_hidden_parts() -> None:
    with pytest.raises(ContractError, match="hidden parts"):
        optimal(make("kuhn_poker"))


# ------------------------------------------------------------------------------------ averages
def test_an_average_plays_as_a_draw_among_its_policies_does() -> None:
    game = make("kuhn_poker")
    tables = tabulate(game)
    one, other = rows(game, uniform(game)), rows(game, solve(game, 3))
    mixed = averaged(tables, 1 * reached(tables, one) + 3 * reached(tables, other))
    rival = rows(game, solve(game, 50))
    for seat, rest in (("player_0", "player_1"), ("player_1", "player_0")):
        expected = sum(
            share * value(game, together(game, {seat: policy, rest: rival}))[seat]
            for share, policy in ((0.25, one), (0.75, other))
        )
        assert value(game, together(game, {seat: mixed, rest: rival}))[seat] == pytest.approx(expected)
    plain = (one + 3 * other) / 4
    assert not np.allclose(mixed, plain), "reach matters, or this test says nothing"


def test_averages_need_perfect_recall() -> None:
    tables = tabulate(make("nim", stones=5))
    with pytest.raises(ContractError, match="merged"):
        reached(tables, rows(tables, uniform(tables.game)))


# ------------------------------------------------------------------------------------ forfeits
def test_forfeits_by_hand() -> None:
    """The first to decide forfeits a tenth of the time, then the other, then the first again."""
    game = make("kuhn_poker")
    tables = with_forfeits(game)
    policy = joined(0.9 * rows(game, {name: [1.0, 0.0] for name in uniform(game)}))  # passes, or says nothing
    # passing twice shows the cards, worth 0 on average
    assert value(tables, policy)["player_0"] == pytest.approx(-2 * 0.1 + 2 * 0.9 * 0.1)
    assert nash_conv(tables, joined(rows(game, uniform(game)))) == pytest.approx(0.9166666667)
    dear = with_forfeits(game, (-10.0, 1.0))
    assert value(dear, policy) == pytest.approx({"player_0": -1 + 0.09, "player_1": 0.1 - 0.9})


def test_exact_forfeits_are_those_of_played_games() -> None:
    class Stammers:
        name = "stammers"

        def act(self, requests):
            return [
                Decision(Forfeit("silence") if r.rng.random() < 0.3 else int(r.rng.integers(2)))
                for r in requests
            ]

    game = make("kuhn_poker")
    policy = joined(0.7 * rows(game, uniform(game)))
    expected = value(with_forfeits(game), policy)["player_0"]
    paid = [e.returns["player_0"] for e in play(game, {"player": Stammers()}, range(4000))]
    assert np.mean(paid) == pytest.approx(expected, abs=4 * np.std(paid) / 4000**0.5)
    assert abs(expected - value(game, uniform(game))["player_0"]) > 0.2


def test_games_with_a_rule_of_their_own_for_forfeits_name_a_price() -> None:
    class Kind(GuessCoin):
        def forfeit(self, state, losers):
            return dict.fromkeys(self.players, 0.0)

    with pytest.raises(ContractError, match="name their price"):
        with_forfeits(Kind())
    assert with_forfeits(Kind(), (-1.0, 1.0)).legal.shape[1] == 3
