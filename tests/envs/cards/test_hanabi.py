"""Hanabi: fireworks, lives, tokens, hints, the last turns, and the Hanabi Learning Environment step by step."""

import numpy as np
import pytest

from ludus.core.errors import IllegalMove
from ludus.core.game import CHANCE, Forfeit
from ludus.envs.cards.hanabi import Hanabi

SMALL = {"colors": 2, "ranks": 2, "hand": 2, "information": 3, "lives": 2}  # R1 R1 R1 R2 Y1 Y1 Y1 Y2
DEAL = "R1 R2 Y1 Y2 R1 Y1 R1 Y1"  # two cards of each player, and the rest of the deck
ALMOST = "tell +1 Y, discard 1, play 1, tell +1 R, play 1, play 2"  # leaves one more turn for each


def play(moves, **params):
    """The game after moves, by name, and what it has paid each player so far."""
    game, deck = Hanabi(**SMALL | params), iter(DEAL.split())
    state, earned = game.start(np.random.default_rng(0)), np.zeros(2)
    for move in [*moves.split(", "), ""]:
        while game.turn(state) == (CHANCE,):
            color, rank = next(deck)
            state = game.play(state, {CHANCE: 2 * game.colors.index(color) + int(rank) - 1})
        if move:
            state = game.play(state, {game.turn(state)[0]: game.moves.index(move)})
            earned += [game.payoff(state).get(seat, 0) for seat in game.seats]
    return game, state, earned.tolist()


@pytest.mark.parametrize(
    ("moves", "earned", "over"),
    [
        ("play 1", 1, False),
        ("play 2", 0, False),  # a two where a one is wanted
        ("play 1, play 1, play 1, play 1", 4, True),  # all fireworks
        ("play 2, play 2", 0, True),  # both lives
        ("tell +1 Y, discard 1, play 1", 1, False),
        (ALMOST, 2, False),
        (f"{ALMOST}, play 1", 3, False),
        (f"{ALMOST}, play 1, tell +1 R", 3, True),  # everybody has had one more turn
        (f"{ALMOST}, play 1, play 1", 4, True),
        (f"{ALMOST}, play 2", 0, True),  # the last life, and with it two points
    ],
)
def test_what_is_earned(moves, earned, over) -> None:
    game, state, total = play(moves)
    assert total == [earned, earned]
    assert (game.turn(state) == ()) == over


def test_points_may_be_kept_when_the_last_life_is_lost() -> None:
    game, state, total = play(f"{ALMOST}, play 2", keep=True)
    assert total == [2, 2]
    assert game.turn(state) == ()


def test_giving_up_loses_all_points() -> None:
    game, state, _ = play(ALMOST)
    assert game.forfeit(state, {"player_0": Forfeit("no reply")}) == {"player_0": -2, "player_1": -2}


@pytest.mark.parametrize(
    ("moves", "allowed"),
    [
        ("", "play 1, play 2, tell +1 Y, tell +1 1, tell +1 2"),  # all tokens are there: no discards
        ("tell +1 Y", "discard 1, discard 2, play 1, play 2, tell +1 R, tell +1 1, tell +1 2"),
        ("tell +1 Y, tell +1 R, tell +1 1", "discard 1, discard 2, play 1, play 2"),  # and now no tokens
        ("play 1, play 1, play 1", "play 1, play 2, tell +1 R, tell +1 1"),  # no two is left to tell of
    ],
)
def test_what_may_be_done(moves, allowed) -> None:
    game, state, _ = play(moves)
    (seat,) = game.turn(state)
    assert game.options(state, seat).allowed == allowed.split(", ")


def test_a_finished_firework_gives_back_a_token_unless_all_are_there() -> None:
    game, state, _ = play("play 1, tell +1 1, play 1")  # the red two
    assert game.open(state.record).information == 3
    assert "you played R2 from place 1: it fits, a token comes back." in game.view(state, "player_0").text
    game, state, _ = play("play 1, play 1, play 1")
    assert game.open(state.record).information == 3
    assert game.view(state, "player_0").text.endswith("it fits.")


def test_hints_say_what_cards_are_and_what_the_others_are_not() -> None:
    game, state, _ = play("tell +1 1, tell +1 R, play 2")
    assert game.view(state, "player_1").text.splitlines() == [
        "Fireworks: R0 Y0. Information tokens: 1. Lives: 1. Cards in the deck: 3.",
        "Discarded: R2.",
        "You (player_1): 1 ? (may be RY 1, told 1); 2 ? (may be RY 2).",
        "player_0 (+1): 1 R1 (may be R 12, told R); 2 R1 (may be RY 12).",
        "Last move: player_0 played R2 from place 2: it does not fit.",
    ]
    assert "told you of R: places 1, 2." in game.view(play("tell +1 1, tell +1 R")[1], "player_0").text


def test_a_seat_does_not_see_its_own_cards() -> None:
    game, state, _ = play("tell +1 1")
    record = game.open(state.record)
    record.cards[1, 0] = 1  # a red one in the place of the yellow one
    other = type(state)(record.tobytes(), state.paid)
    same = [(game.view(state, seat).features == game.view(other, seat).features).all() for seat in game.seats]
    assert same == [False, True]


def test_moves_are_refused_that_the_rules_do_not_know() -> None:
    for moves in ("discard 1", "tell +1 R", "tell +1 Y, tell +1 R, tell +1 1, tell +1 1"):
        with pytest.raises(IllegalMove):
            play(moves)


def test_what_the_loop_draws_follows_the_odds() -> None:
    game, state, _ = play("play 1, play 1")
    record = game.open(state.record)
    record.draws = 1
    left = [card for card, count in enumerate(record.left.ravel().tolist()) for _ in range(count)]
    assert [game.toss(record, (k + 0.5) / len(left)) for k in range(len(left))] == left


@pytest.mark.parametrize(
    "params",
    [
        {"players": 1},
        {"players": 6},
        {"colors": 0},
        {"colors": 6},
        {"ranks": 6},
        {"hand": 9},
        {"hand": 0},
        {"colors": 1, "ranks": 1},  # three cards for two hands of five
        {"information": -1},
        {"lives": 0},
    ],
)
def test_bad_parameters_are_refused(params) -> None:
    with pytest.raises(ValueError, match="hanabi needs"):
        Hanabi(**params)


@pytest.mark.parametrize(
    ("params", "episodes", "careful"),
    [
        ({}, 60, False),
        ({}, 6, True),
        ({"players": 3}, 5, True),
        ({"players": 4}, 5, True),
        ({"players": 5}, 5, True),
        ({"colors": 2, "ranks": 2, "hand": 2, "information": 3, "lives": 1}, 60, False),
        ({"colors": 2, "ranks": 2, "hand": 2, "information": 3, "lives": 1}, 60, True),
        ({"players": 3, "colors": 2, "ranks": 5, "hand": 2}, 20, True),
        ({"colors": 3, "ranks": 1, "hand": 2, "lives": 9}, 40, False),
        ({"colors": 1, "ranks": 1, "hand": 1}, 20, False),
        ({"colors": 2, "hand": 8, "information": 2, "lives": 20}, 10, False),
    ],
)
def test_random_games_agree_with_openspiel_at_every_step(params, episodes, careful) -> None:
    pyspiel = pytest.importorskip("pyspiel")
    names = {"hand": "hand_size", "information": "max_information_tokens", "lives": "max_life_tokens"}
    spelled = ",".join(f"{names.get(key, key)}={value}" for key, value in ({"players": 2} | params).items())
    ours, theirs = Hanabi(**params), pyspiel.load_game(f"hanabi({spelled})")
    assert len(ours.moves) == theirs.num_distinct_actions()
    assert ours.outcomes == theirs.max_chance_outcomes()
    assert ours.shape[0] - len(ours.seats) == theirs.observation_tensor_shape()[0]
    rng = np.random.default_rng(3)
    for _ in range(episodes):
        play_both(ours, theirs.new_initial_state(), rng, careful=careful)


def play_both(ours, theirs, rng, *, careful) -> None:
    state, earned = ours.start(rng), np.zeros(len(ours.seats))
    while not theirs.is_terminal():
        (seat,) = ours.turn(state)
        if theirs.is_chance_node():
            assert seat == CHANCE
            assert list(ours.chance(state)) == [(o, pytest.approx(p)) for o, p in theirs.chance_outcomes()]
            cards, odds = zip(*theirs.chance_outcomes(), strict=True)
            action = int(rng.choice(cards, p=odds))
        else:
            assert seat == ours.seats[theirs.current_player()]
            legal = np.flatnonzero(ours.options(state, seat).legal).tolist()
            assert legal == theirs.legal_actions()
            compare_views(ours, state, theirs)
            action = int(rng.choice(good(ours, state, legal) if careful else legal))
        state = ours.play(state, {seat: action})
        theirs.apply_action(action)
        earned += [ours.payoff(state).get(seat, 0.0) for seat in ours.seats]
    assert ours.turn(state) == ()
    compare_views(ours, state, theirs)
    np.testing.assert_array_equal(earned, theirs.returns())


def compare_views(ours, state, theirs) -> None:
    """Their features are the first of ours, for every seat."""
    for k, seat in enumerate(ours.seats):
        features, known = ours.view(state, seat).features, theirs.observation_tensor(k)
        np.testing.assert_array_equal(features[: len(known)], known)


def good(game, state, legal):
    """The plays that fit, which only somebody who sees all cards knows, or else what plays nothing."""
    s = game.open(state.record)
    ranks = len(game.copies)
    fits = [
        game.hand + i
        for i, card in enumerate(s.cards[s.turn].tolist())
        if card and s.fireworks[(card - 1) // ranks] == (card - 1) % ranks
    ]
    return fits or [a for a in legal if not game.hand <= a < 2 * game.hand] or legal
