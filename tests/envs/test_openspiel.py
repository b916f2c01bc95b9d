"""The same 2,000 random games through our rules and OpenSpiel's: everything equal at every step."""

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE

pyspiel = pytest.importorskip("pyspiel")

# OpenSpiel numbers moves and outcomes as we do in all of these.
PAIRS = {
    "kuhn_poker": ("kuhn_poker", {}),
    "leduc_poker": ("leduc_poker", {}),
    "liars_dice": ("liars_dice", {}),
    "liars_dice, two dice": ("liars_dice(numdice=2,dice_sides=4)", {"dice": 2, "faces": 4}),
    "tic_tac_toe": ("tic_tac_toe", {}),
    "connect_four": ("connect_four", {}),
}
EPISODES = 2000


@pytest.mark.parametrize("pair", PAIRS)
def test_random_games_agree_at_every_step(pair) -> None:
    name, params = PAIRS[pair]
    ours, theirs = ludus.make(pair.split(",")[0], **params), pyspiel.load_game(name)
    rng = np.random.default_rng(11)
    assert len(ours.moves) == theirs.num_distinct_actions()
    assert ours.outcomes == theirs.max_chance_outcomes()
    for _ in range(EPISODES):
        play_both(ours, theirs.new_initial_state(), rng)


def play_both(ours, theirs, rng) -> None:
    state, earned = ours.start(rng), np.zeros(2)
    while not theirs.is_terminal():
        (seat,) = ours.turn(state)
        if theirs.is_chance_node():
            assert seat == CHANCE
            odds, known = ours.chance(state), theirs.chance_outcomes()
            assert [outcome for outcome, _ in odds] == [outcome for outcome, _ in known]
            np.testing.assert_allclose([p for _, p in odds], [p for _, p in known], rtol=1e-12)
            actions = [outcome for outcome, _ in odds]
        else:
            assert seat == ours.seats[theirs.current_player()]
            actions = np.flatnonzero(ours.options(state, seat).legal).tolist()
            assert actions == theirs.legal_actions()
        action = actions[rng.integers(len(actions))]
        state = ours.play(state, {seat: action})
        theirs.apply_action(action)
        earned += [ours.payoff(state).get(s, 0.0) for s in ours.seats]
    assert ours.turn(state) == ()
    np.testing.assert_array_equal(earned, theirs.returns())
