"""Goofspiel: who takes which prize, what that pays, and what a seat knows."""

import numpy as np
import pytest

import ludus
from ludus.core.exact import nash_conv, uniform, value
from ludus.core.game import CHANCE
from ludus.envs.cards.goofspiel import Goofspiel


def finish(game, bids, prizes=()):
    """Play cards (by value), round by round, turning up prizes where chance does."""
    state, prizes = game.start(np.random.default_rng(0)), iter(prizes)
    for laid in bids:
        if game.turn(state) == (CHANCE,):
            state = game.play(state, {CHANCE: next(prizes) - 1})
        state = game.play(state, {seat: card - 1 for seat, card in zip(game.seats, laid, strict=True)})
    return state


def earned(game, state):
    return [pytest.approx(game.payoff(state).get(seat, 0.0), abs=1e-5) for seat in game.seats]


@pytest.mark.parametrize(("bids", "points"), [
    # Prizes are 4, 3, 2, and 1 with the last cards.
    ([(4, 1), (3, 2), (2, 3)], [7, 3]),
    ([(4, 4), (3, 3), (2, 2)], [0, 0]),
    ([(1, 4), (4, 3), (2, 2)], [4, 4]),  # nobody takes the 2; then 3 against 1
    ([(1, 2), (2, 3), (3, 4)], [1, 9]),  # one less each time, until 4 against 1
])  # fmt: skip
def test_the_higher_card_takes_the_prize(bids, points) -> None:
    won = (points[0] > points[1]) - (points[0] < points[1])
    for returns, expected in [
        ("win_loss", [won, -won]),
        ("point_difference", [(points[0] - points[1]) / 2, (points[1] - points[0]) / 2]),
        ("total_points", points),
    ]:
        game = Goofspiel(cards=4, order="descending", returns=returns)
        state = finish(game, bids)
        assert game.turn(state) == ()
        assert earned(game, state) == expected
        assert game.open(state.record).points.tolist() == points


def test_prizes_come_in_the_order_that_is_asked_for() -> None:
    bids = [(4, 1), (3, 2), (2, 3)]
    up, down = Goofspiel(cards=4, order="ascending"), Goofspiel(cards=4, order="descending")
    assert up.open(finish(up, bids).record).prizes.tolist() == [1, 2, 3, 4]
    assert down.open(finish(down, bids).record).prizes.tolist() == [4, 3, 2, 1]
    chance = Goofspiel(cards=4)
    state = finish(chance, bids, prizes=[3, 1, 4])
    assert chance.open(state.record).prizes.tolist() == [3, 1, 4, 2]  # the last is left over
    assert chance.open(state.record).takers.tolist() == [1, 1, 2, 2]
    assert earned(chance, state) == [-1, 1]  # 4 to 6


@pytest.mark.parametrize(("bids", "expected"), [
    # Prizes are 4, 3, 2, and 1 with the last cards.
    ([(4, 4, 4), (3, 3, 1), (2, 2, 3)], [-1 / 2, -1 / 2, 1]),  # equal bids for the 3, then 2 and 1
    ([(3, 4, 4), (4, 1, 3), (1, 2, 1)], [1 / 2, 1 / 2, -1]),  # nobody, 3 for player_0, 2 and 1 for player_1
    ([(4, 3, 3), (2, 4, 4), (1, 2, 2)], [1, -1 / 2, -1 / 2]),  # where the highest are equal, the third gets nothing
    ([(4, 4, 4), (3, 3, 3), (2, 2, 2)], [0, 0, 0]),
])  # fmt: skip
def test_of_three_the_winners_share_one(bids, expected) -> None:
    game = Goofspiel(cards=4, players=3, order="descending")
    assert earned(game, finish(game, bids)) == expected


def test_bids_are_told_or_not() -> None:
    bids = [(4, 1), (2, 3)]
    told, hidden = (Goofspiel(cards=4, order="descending", imperfect=i) for i in (False, True))
    assert told.view(finish(told, bids), "player_0").text == (
        "Prize 4: you bid 4, player_1 1; taken by you. Prize 3: you bid 2, player_1 3; taken by player_1. "
        "The prize is now 2."
    )
    assert hidden.view(finish(hidden, bids), "player_0").text == (
        "Prize 4: you bid 4; taken by you. Prize 3: you bid 2; taken by player_1. The prize is now 2."
    )
    others = [(4, 2), (2, 4)]  # with the same outcomes
    for seat, alike in [("player_0", True), ("player_1", False)]:
        views = [hidden.view(finish(hidden, b), seat) for b in (bids, others)]
        assert (views[0].text == views[1].text) == alike
        assert (views[0].features.tobytes() == views[1].features.tobytes()) == alike
    assert "who took each prize. Here yes." in hidden.rules("player_0")
    assert "who took each prize. Here no." in told.rules("player_0")
    assert "Here point_difference." in Goofspiel(returns="point_difference").rules("player_0")


def test_a_card_is_played_once() -> None:
    game = Goofspiel(cards=5)
    state = finish(game, [(2, 5), (4, 1)], prizes=[5, 1])
    assert [p for _, p in game.chance(state)] == [pytest.approx(1 / 3)] * 3
    assert [outcome + 1 for outcome, _ in game.chance(state)] == [2, 3, 4]
    state = game.play(state, {CHANCE: 1})
    assert game.options(state, "player_0").allowed == ["1", "3", "5"]
    assert game.options(state, "player_1").allowed == ["2", "3", "4"]


@pytest.mark.parametrize("params", [
    {"cards": 3}, {"cards": 3, "imperfect": True}, {"cards": 3, "order": "ascending", "returns": "point_difference"},
    {"cards": 4, "order": "descending", "imperfect": True},
])  # fmt: skip
def test_uniform_play_is_even_and_there_are_as_many_information_states_as_openspiel_has(params) -> None:
    game = Goofspiel(**params)
    tables = ludus.tabulate(game)
    assert value(tables, uniform(game)) == pytest.approx({"player_0": 0.0, "player_1": 0.0}, abs=1e-12)
    pyspiel = pytest.importorskip("pyspiel")
    name = (
        f"goofspiel(num_cards={game.cards},points_order={game.order},imp_info={game.imperfect},"
        f"returns_type={game.returns})"
    )
    told = set()
    look(pyspiel.convert_to_turn_based(pyspiel.load_game(name)).new_initial_state(), told)
    assert len(tables.names) == len(told)


def look(state, told) -> None:
    if state.is_terminal():
        return
    if not state.is_chance_node():
        told.add((state.current_player(), state.information_state_string()))
    for action in state.legal_actions():
        look(state.child(action), told)


def test_hidden_goofspiel_of_four_cards_is_openspiels() -> None:
    game = Goofspiel(cards=4, order="descending", imperfect=True)
    tables = ludus.tabulate(game)
    assert len(tables.names) == 162
    assert len(tables.mover) == 1077
    assert nash_conv(tables, uniform(game)) == pytest.approx(17 / 12, abs=1e-9)


def test_the_stake_is_what_one_loses_who_takes_nothing() -> None:
    assert Goofspiel().stake == 1.0
    assert Goofspiel(cards=4, returns="point_difference").stake == 5.0  # ten points, less the mean of all
    assert Goofspiel(cards=5, players=3, returns="point_difference").stake == 5.0


@pytest.mark.parametrize("params", [{"cards": 17}, {"players": 7}, {"players": 1}])
def test_sizes_that_cannot_be_are_refused(params) -> None:
    with pytest.raises(ValueError, match="2 to 16 cards and 2 to 6 players"):
        ludus.make("goofspiel", **params)
