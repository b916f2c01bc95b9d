"""Games of bids, dice and lines through our rules and OpenSpiel's: everything equal at every step."""

import numpy as np
import pytest

import ludus
from ludus.core.errors import UnknownName
from ludus.core.exact import nash_conv, uniform
from ludus.core.game import CHANCE

pyspiel = pytest.importorskip("pyspiel")

PAIRS = {
    "goofspiel": ("goofspiel", {}, 60),
    "goofspiel, four hidden": (
        "goofspiel(num_cards=4,points_order=descending,imp_info=True)",
        {"cards": 4, "order": "descending", "imperfect": True}, 200,
    ),
    "goofspiel, three players": (
        "goofspiel(num_cards=5,players=3,points_order=ascending,returns_type=point_difference)",
        {"cards": 5, "players": 3, "order": "ascending", "returns": "point_difference"}, 200,
    ),
    "goofspiel, points": (
        "goofspiel(num_cards=6,returns_type=total_points)", {"cards": 6, "returns": "total_points"}, 100,
    ),
    "colonel_blotto": ("blotto", {}, 500),
    "colonel_blotto, three": ("blotto(players=3,coins=5,fields=4)", {"players": 3, "coins": 5, "fields": 4}, 500),
    "kuhn_poker, three": ("kuhn_poker(players=3)", {"players": 3}, 500),
    "kuhn_poker, six": ("kuhn_poker(players=6)", {"players": 6}, 200),
    "pig": ("pig", {}, 30),
    "pig, three": ("pig(players=3,winscore=20,diceoutcomes=4,horizon=60)",
                   {"players": 3, "goal": 20, "sides": 4, "horizon": 60}, 100),
    "dots_and_boxes": ("dots_and_boxes", {}, 300),
    "dots_and_boxes, three by two": ("dots_and_boxes(num_rows=3,num_cols=2,utility_margin=True)",
                                     {"rows": 3, "columns": 2, "margin": True}, 100),
    "rock_paper_scissors": ("matrix_rps", {}, 30),
    "matching_pennies": ("matrix_mp", {}, 30),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_random_games_agree_at_every_step(pair) -> None:
    name, params, episodes = PAIRS[pair]
    ours, theirs = ludus.make(pair.split(",")[0], **params), pyspiel.load_game(name)
    rng = np.random.default_rng(5)
    assert len(ours.moves) == theirs.num_distinct_actions()
    for _ in range(episodes):
        play_both(ours, theirs.new_initial_state(), rng)


def play_both(ours, theirs, rng) -> None:
    state, earned = ours.start(rng), np.zeros(len(ours.seats))
    while not theirs.is_terminal():
        turn = ours.turn(state)
        if theirs.is_chance_node():
            assert turn == (CHANCE,)
            odds, known = ours.chance(state), theirs.chance_outcomes()
            assert [outcome for outcome, _ in odds] == [outcome for outcome, _ in known]
            np.testing.assert_allclose([p for _, p in odds], [p for _, p in known], rtol=1e-12)
            moves = {CHANCE: int(rng.choice([outcome for outcome, _ in odds]))}
            theirs.apply_action(moves[CHANCE])
        elif theirs.is_simultaneous_node():
            assert turn == ours.seats
            moves = {}
            for k, seat in enumerate(turn):
                legal = np.flatnonzero(ours.options(state, seat).legal).tolist()
                assert legal == theirs.legal_actions(k)
                moves[seat] = int(rng.choice(legal))
            theirs.apply_actions(list(moves.values()))
        else:
            assert turn == (ours.seats[theirs.current_player()],)
            legal = np.flatnonzero(ours.options(state, turn[0]).legal).tolist()
            assert legal == theirs.legal_actions()
            moves = {turn[0]: int(rng.choice(legal))}
            theirs.apply_action(moves[turn[0]])
        state = ours.play(state, moves)
        earned += [ours.payoff(state).get(seat, 0.0) for seat in ours.seats]
    assert ours.turn(state) == ()
    np.testing.assert_allclose(earned, theirs.returns(), atol=1e-5)


@pytest.mark.parametrize("pair", ["goofspiel, four hidden", "colonel_blotto, small"])
def test_nash_conv_of_uniform_play_is_openspiels(pair) -> None:
    name, params = ("blotto(coins=4)", {"coins": 4}) if "blotto" in pair else PAIRS[pair][:2]
    from open_spiel.python import policy
    from open_spiel.python.algorithms import exploitability

    known = pyspiel.convert_to_turn_based(pyspiel.load_game(name))
    game = ludus.make(pair.split(",")[0], **params)
    expected = exploitability.nash_conv(known, policy.UniformRandomPolicy(known))
    assert nash_conv(game, uniform(game)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("name", "params"), [
    ("goofspiel", {"cards": 1}), ("goofspiel", {"order": "up"}), ("goofspiel", {"returns": "all"}),
    ("colonel_blotto", {"coins": 0}), ("pig", {"players": 1}), ("dots_and_boxes", {"rows": 0}),
])  # fmt: skip
def test_games_that_cannot_be_are_refused(name, params) -> None:
    with pytest.raises((ValueError, UnknownName), match=name.replace("_", " ")):
        ludus.make(name, **params)
