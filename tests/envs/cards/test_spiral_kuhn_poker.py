"""Kuhn poker in rounds: who starts, what the pot holds, who wins the match, and what it is as Kuhn's own game."""

import itertools

import numpy as np
import pytest

import ludus
from ludus.core.errors import UnknownName
from ludus.core.game import CHANCE

CHECK, BET, FOLD, CALL = range(4)
DEALS = list(itertools.permutations("JQK", 2))
KUHN = {"rounds": 1, "pot": "true", "payoff": "chips"}
LINES = {  # of betting: who takes the round (None: the higher card), and the chips with the true pot
    (CHECK, CHECK): (None, 1),
    (CHECK, BET, FOLD): (1, 1),
    (CHECK, BET, CALL): (None, 2),
    (BET, FOLD): (0, 1),
    (BET, CALL): (None, 2),
}


def match(*rounds, **params):
    """Rounds of (cards, moves), from the first on; the state, and what player_0 has earned."""
    game = ludus.make("spiral_kuhn_poker", **params)
    state, earned = game.start(np.random.default_rng(0)), 0.0
    for cards, moves in rounds:
        state = game.play(state, {CHANCE: DEALS.index(tuple(cards))})
        for move in moves:
            (seat,) = game.turn(state)
            state = game.play(state, {seat: move})
            earned += game.payoff(state).get("player_0", 0.0)
    return game, state, earned


@pytest.mark.parametrize("starter", [0, 1])
@pytest.mark.parametrize("pot", ["fixed", "true"])
@pytest.mark.parametrize("line", LINES)
def test_every_line_of_betting_pays_what_it_should(line, pot, starter) -> None:
    taker, chips = LINES[line]
    for cards in DEALS:
        higher = 0 if "JQK".index(cards[0]) > "JQK".index(cards[1]) else 1
        winner = higher if taker is None else (starter + taker) % 2
        won = (1 if pot == "fixed" else chips) * (1 if winner == 0 else -1)
        params = {"rounds": 1, "pot": pot, "payoff": "chips", "starter": f"player_{starter}"}
        assert match((cards, line), **params)[2] == won


def test_player_1_starts_and_then_they_take_turns() -> None:
    game = ludus.make("spiral_kuhn_poker", rounds=4)
    state, starters = game.start(np.random.default_rng(0)), []
    for _ in range(4):
        state = game.play(state, {CHANCE: 0})
        starters += game.turn(state)
        for _ in range(2):
            (seat,) = game.turn(state)
            state = game.play(state, {seat: CHECK})
    assert starters == ["player_1", "player_0", "player_1", "player_0"]
    assert game.turn(state) == ()


WON, LOST = ("KJ", (CHECK, CHECK)), ("JK", (CHECK, CHECK))  # by player_0, one chip
WON_TWO = ("KJ", (BET, CALL))


@pytest.mark.parametrize(
    ("rounds", "last_round", "chips"),
    [
        ((WON, WON, LOST), -1, 1),
        ((LOST, LOST, WON), 1, -1),
        ((WON, LOST), -1, 0),
        ((WON,), 1, 1),
    ],
)
def test_the_last_round_or_the_chips_decide(rounds, last_round, chips) -> None:
    for pot in ("fixed", "true"):  # nobody bets: the pot is the same
        assert match(*rounds, rounds=len(rounds), match="last_round", pot=pot)[2] == last_round
        assert match(*rounds, rounds=len(rounds), match="chips", pot=pot)[2] == chips


def test_a_called_bet_counts_double_in_the_true_pot_alone() -> None:
    rounds = (WON_TWO, LOST, LOST)
    assert match(*rounds, rounds=3, match="chips", pot="true")[2] == 0  # two won, two lost
    assert match(*rounds, rounds=3, match="chips", pot="fixed")[2] == -1
    assert match(*rounds, rounds=3, payoff="chips", pot="true")[2] == 0
    assert match(*rounds, rounds=3, payoff="chips", pot="fixed")[2] == -1


def test_one_round_in_chips_is_the_game_of_kuhn() -> None:
    """Kuhn 1950: -1/18 for whoever starts; uniform play is .916667 from the equilibrium in NashConv."""
    for starter, sign in (("player_0", 1), ("player_1", -1)):
        game = ludus.make("spiral_kuhn_poker", **KUHN, starter=starter)
        assert ludus.nash_conv(game, ludus.uniform(game)) == pytest.approx(0.9166667)
        assert ludus.value(game, ludus.uniform(game))["player_0"] == pytest.approx(sign / 8)
        policy = ludus.solve(game, 1000)
        assert ludus.value(game, policy)["player_0"] == pytest.approx(-sign / 18, abs=1e-4)
        assert len(ludus.tabulate(game).names) == 12


def choices_after_a_bet(pot):
    """What folding and calling pay the caller, for every deal and both ways to come to a bet."""
    for cards in DEALS:
        for before in ((BET,), (CHECK, BET)):
            game, state, _ = match((cards, before), rounds=1, pot=pot, payoff="chips")
            (seat,) = game.turn(state)
            yield tuple(game.payoff(game.play(state, {seat: move}))[seat] for move in (FOLD, CALL))


def test_with_a_fixed_pot_never_to_fold_is_weakly_dominant() -> None:
    """Nothing follows a call or a fold, so that it is enough to compare them in every position."""
    pairs = list(choices_after_a_bet("fixed"))
    assert len(pairs) == 12
    assert all(call >= fold for fold, call in pairs)
    assert any(call > fold for fold, call in pairs)
    assert any(call < fold for fold, call in choices_after_a_bet("true"))


def test_with_a_fixed_pot_the_match_is_even() -> None:
    """By best play each round goes to the higher card, whatever is bet."""
    game = ludus.make("spiral_kuhn_poker", rounds=1)
    policy = ludus.solve(game, 200)
    assert ludus.value(game, policy)["player_0"] == pytest.approx(0.0, abs=1e-2)


def test_what_a_player_is_told() -> None:
    game, state, _ = match(("QK", (BET, FOLD)), ("QJ", (BET, CALL)), ("KQ", ()))
    mine, other = (game.view(state, seat).text for seat in game.seats)
    assert mine.splitlines() == [
        "You are player_0.",
        "Round 1 of 5. Your card: Q.",
        "player_1: bet",
        "player_0: fold",
        "player_1 wins 1 from player_0.",
        "Round 2 of 5. Your card: Q.",
        "player_0: bet",
        "player_1: call",
        "Cards: player_0 Q, player_1 J. player_0 wins 1 from player_1.",
        "Round 3 of 5. Your card: K.",
    ]
    assert "Cards: player_0 Q, player_1 K" not in other  # a fold shows nothing
    _, hidden, _ = match(("QJ", (BET, FOLD)), ("QJ", (BET, CALL)), ("KQ", ()))
    assert game.view(hidden, "player_0").digest() == game.view(state, "player_0").digest()
    assert game.view(hidden, "player_1").digest() != game.view(state, "player_1").digest()


def test_the_rules_say_what_the_switches_do() -> None:
    rules = {
        (pot, won): ludus.make("spiral_kuhn_poker", pot=pot, match=won).rules("player_0")
        for pot in ("fixed", "true")
        for won in ("last_round", "chips")
    }
    assert len(set(rules.values())) == 4
    assert "puts no chip in" in rules["fixed", "chips"]
    assert "more chips after the last round" in rules["true", "chips"]


@pytest.mark.parametrize("params", [{"pot": "real"}, {"match": "most"}, {"payoff": "x"}, {"starter": "1"}])
def test_unknown_switches_are_refused(params) -> None:
    with pytest.raises(UnknownName):
        ludus.make("spiral_kuhn_poker", **params)


def test_rounds_are_counted() -> None:
    with pytest.raises(ValueError, match="1 to 100 rounds"):
        ludus.make("spiral_kuhn_poker", rounds=0)


@pytest.mark.parametrize("params", [KUHN, {"rounds": 3, "pot": "true", "match": "chips"}])
def test_every_variant_keeps_the_contract(params) -> None:
    ludus.check_game(ludus.make("spiral_kuhn_poker", **params), episodes=8)
