"""Kuhn poker: the payoff of every line of betting, in chips."""

import itertools

import numpy as np
import pytest

import ludus
from ludus.core.exact import nash_conv, uniform

PASS, BET = 0, 1


def settle(cards: tuple[int, int], bets: tuple[int, ...]):
    game = ludus.make("kuhn_poker")
    state = game.start(np.random.default_rng(0))
    for card in cards:
        state = game.play(state, {"chance": card})
    for i, bet in enumerate(bets):
        assert game.turn(state) == (f"player_{i % 2}",)
        state = game.play(state, {f"player_{i % 2}": bet})
    assert game.turn(state) == ()
    return game.payoff(state)["player_0"], game.payoff(state)["player_1"]


@pytest.mark.parametrize(
    ("bets", "higher_wins", "chips"),
    [  # Kuhn 1950: antes of one, a bet of one
        ((PASS, PASS), True, 1),
        ((BET, BET), True, 2),
        ((PASS, BET, BET), True, 2),
        ((BET, PASS), False, 1),
        ((PASS, BET, PASS), False, -1),
    ],
)
def test_every_deal_pays_what_the_betting_says(bets, higher_wins, chips) -> None:
    for cards in itertools.permutations(range(3), 2):
        expected = chips * (1 if cards[0] > cards[1] else -1) if higher_wins else chips
        assert settle(cards, bets) == (expected, -expected)


def test_there_are_twelve_information_states() -> None:
    assert len(ludus.tabulate(ludus.make("kuhn_poker")).names) == 12


def test_uniform_play_pays_an_eighth() -> None:
    # By hand: 1/4 of games pass-pass (even), bet-pass 1/4 (+1), pass-bet-pass 1/8 (-1), showdowns even.
    game = ludus.make("kuhn_poker")
    assert ludus.value(game, ludus.uniform(game))["player_0"] == pytest.approx(1 / 8)


def test_three_players_are_known_to_openspiel() -> None:
    game = ludus.make("kuhn_poker", players=3)
    assert nash_conv(game, uniform(game)) == pytest.approx(2.0625)  # OpenSpiel's regression constant
    with pytest.raises(ValueError, match="10 players, not 11"):
        ludus.make("kuhn_poker", players=11)
    assert "for 3 players and a deck of 4 cards: T, J, Q, K" in game.rules("player_0")
