"""Leduc poker: limits on raises, chips, pairs and split pots."""

import numpy as np
import pytest

import ludus

JS, JH, QS, QH, KS, KH = range(6)
F, C, R = range(3)


def play(cards, first, second=()):
    """The game after two private cards, the first round, and, if there is one, card and second round."""
    game = ludus.make("leduc_poker")
    state = game.start(np.random.default_rng(0))
    for card in cards[:2]:
        state = game.play(state, {"chance": card})
    for i, move in enumerate(first):
        state = game.play(state, {f"player_{i % 2}": move})
    if len(cards) == 3:
        state = game.play(state, {"chance": cards[2]})
    for i, move in enumerate(second):
        state = game.play(state, {f"player_{i % 2}": move})
    return game, state


@pytest.mark.parametrize(
    ("cards", "first", "second", "paid"),
    [
        ((JS, QS), (R, F), (), 1),  # the ante alone
        ((JS, QS), (C, R, F), (), -1),
        ((JS, QS), (R, R, F), (), -3),
        ((JS, QS, KS), (C, C), (C, C), -1),  # the higher card
        ((JS, QS, JH), (C, C), (C, C), 1),  # the pair
        ((QS, QH, KS), (R, R, C), (R, R, C), 0),  # a split pot
        ((KS, QS, KH), (R, R, C), (R, R, C), 13),  # the most there is to win
        ((KS, QS, QH), (R, C), (C, R, C), -7),
        ((KS, QS, QH), (C, R, R, C), (R, F), 5),
    ],
)
def test_what_a_hand_pays(cards, first, second, paid) -> None:
    game, state = play(cards, first, second)
    assert game.turn(state) == ()
    assert game.payoff(state) == ({"player_0": paid, "player_1": -paid} if paid else {})


@pytest.mark.parametrize(
    ("first", "allowed"),
    [
        ((), ["call", "raise"]),
        ((C,), ["call", "raise"]),
        ((R,), ["fold", "call", "raise"]),
        ((R, R), ["fold", "call"]),
        ((C, R, R), ["fold", "call"]),
    ],
)
def test_two_raises_a_round_and_no_fold_without_a_bet(first, allowed) -> None:
    game, state = play((JS, QS), first)
    (seat,) = game.turn(state)
    assert game.options(state, seat).allowed == allowed
    game, state = play((JS, QS, KS), (R, R, C), first)  # the second round counts its own raises
    (seat,) = game.turn(state)
    assert game.options(state, seat).allowed == allowed


def test_the_open_card_is_one_of_the_four_left() -> None:
    game, state = play((JS, KH), (C, C))
    assert list(game.chance(state)) == [(card, 0.25) for card in (JH, QS, QH, KS)]


def test_there_are_936_information_states() -> None:
    assert len(ludus.tabulate(ludus.make("leduc_poker")).names) == 936
