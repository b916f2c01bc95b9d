"""The same random games through our rules and OpenSpiel's: everything equal at every step.

Its matrix_pd is no game of ours: it pays 5, 0, 10 and 1 where the iterated prisoner's dilemma has Axelrod's 3, 0, 5 and 1.
"""

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
# Larger boards, with how many games.
BOARDS = {
    "breakthrough": ("breakthrough", {}, 40),
    "breakthrough, six by five": ("breakthrough(rows=6,columns=5)", {"rows": 6, "columns": 5}, 100),
    "dark_hex": ("dark_hex", {}, 500),
    "dark_hex, abrupt, four": (
        "dark_hex(board_size=4,num_rows=4,num_cols=4,gameversion=adh)", {"size": 4, "abrupt": True}, 200,
    ),
    "hex": ("hex", {}, 20),
    "hex, five": ("hex(board_size=5,num_rows=5,num_cols=5)", {"size": 5}, 200),
    "nim": ("nim(is_misere=False,pile_sizes=1;3;5;7)", {"stones": [1, 3, 5, 7], "most": 7}, 200),
    "othello": ("othello", {}, 60),
    "phantom_tic_tac_toe": ("phantom_ttt", {}, 1000),
    "phantom_tic_tac_toe, abrupt": ("phantom_ttt(gameversion=abrupt)", {"abrupt": True}, 1000),
}  # fmt: skip
HIDDEN = [pair for pair in BOARDS if "dark" in pair or "phantom" in pair]


def breakthrough(ours, action) -> int:
    """OpenSpiel numbers a square, one of six directions and whether something is taken."""
    square, way = action // 12, action // 2 % 6
    return 3 * square + way % 3


def nim(ours, action) -> int:
    """OpenSpiel numbers first how many are taken, then the heap."""
    return action % len(ours.heaps) * ours.most + action // len(ours.heaps)


NUMBERED = {"breakthrough": breakthrough, "nim": nim}  # and all others as we do


@pytest.mark.parametrize("pair", BOARDS)
def test_random_board_games_agree_at_every_step(pair) -> None:
    name, params, episodes = BOARDS[pair]
    ours, theirs = ludus.make(pair.split(",")[0], **params), pyspiel.load_game(name)
    rng = np.random.default_rng(12)
    for _ in range(episodes):
        play_both(ours, theirs.new_initial_state(), rng, NUMBERED.get(ours.id))


@pytest.mark.parametrize("pair", HIDDEN)
def test_what_a_seat_knows_is_what_openspiel_says_it_knows(pair) -> None:
    """Two positions look the same to a seat exactly where OpenSpiel's information states are the same."""
    name, params, episodes = BOARDS[pair]
    ours, theirs = ludus.make(pair.split(",")[0], **params), pyspiel.load_game(name)
    rng = np.random.default_rng(13)
    pairs = set()
    for _ in range(episodes):
        state, known = ours.start(rng), theirs.new_initial_state()
        while not known.is_terminal():
            seat = known.current_player()
            seen = ours.view(state, ours.seats[seat]).features.tobytes()
            told = known.information_state_string(seat)
            if "dark" in pair:  # the line before the last counts everybody's tries, which a seat is not told
                lines = told.split("\n")
                told = "\n".join(lines[:-2] + lines[-1:])
            pairs.add(((seat, seen), (seat, told)))
            action = int(rng.choice(known.legal_actions()))
            state = ours.play(state, {ours.seats[seat]: action})
            known.apply_action(action)
    assert len({left for left, _ in pairs}) == len({right for _, right in pairs}) == len(pairs) > 100


@pytest.mark.parametrize("pair", PAIRS)
def test_random_games_agree_at_every_step(pair) -> None:
    name, params = PAIRS[pair]
    ours, theirs = ludus.make(pair.split(",")[0], **params), pyspiel.load_game(name)
    rng = np.random.default_rng(11)
    assert len(ours.moves) == theirs.num_distinct_actions()
    assert ours.outcomes == theirs.max_chance_outcomes()
    for _ in range(EPISODES):
        play_both(ours, theirs.new_initial_state(), rng)


def play_both(ours, theirs, rng, ours_for=None) -> None:
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
            known = theirs.legal_actions()
            assert actions == sorted(ours_for(ours, a) if ours_for else a for a in known)
        action = given = actions[rng.integers(len(actions))]
        if ours_for and seat != CHANCE:
            given = next(a for a in known if ours_for(ours, a) == action)
        state = ours.play(state, {seat: action})
        theirs.apply_action(given)
        earned += [ours.payoff(state).get(s, 0.0) for s in ours.seats]
    assert ours.turn(state) == ()
    np.testing.assert_array_equal(earned, theirs.returns())
