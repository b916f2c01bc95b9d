"""Liar's dice: which bids stand, and the wild face."""

import numpy as np
import pytest

import ludus


def called(params, dice, *bids):
    """What player_0 wins when, after these bids, the next player calls the last one a lie."""
    game = ludus.make("liars_dice", **params)
    state = game.start(np.random.default_rng(0))
    for die in dice:
        state = game.play(state, {"chance": die - 1})
    for i, bid in enumerate((*bids, "liar")):
        state = game.play(state, {f"player_{i % 2}": game.moves.index(bid)})
    assert game.turn(state) == ()
    return game.payoff(state)["player_0"]


@pytest.mark.parametrize(
    ("dice", "bids", "paid"),
    [
        ((3, 5), ["1x3"], 1),  # true: the bidder wins
        ((5, 3), ["1x3"], 1),  # the other's die counts too
        ((2, 5), ["1x3"], -1),
        ((6, 5), ["1x3"], 1),  # six is wild
        ((6, 3), ["2x3"], 1),
        ((3, 5), ["2x3"], -1),
        ((6, 3), ["2x6"], -1),  # but only six is six
        ((6, 6), ["2x6"], 1),
        ((2, 4), ["1x2", "1x3"], 1),  # the second bid is the second player's
        ((2, 4), ["1x2", "1x4"], -1),
    ],
)
def test_one_die_of_six_faces(dice, bids, paid) -> None:
    assert called({}, dice, *bids) == paid


def test_more_dice_with_fewer_faces() -> None:
    params = {"dice": 2, "faces": 4}
    assert called(params, (2, 4, 2, 1), "3x2") == 1  # two twos and a wild four
    assert called(params, (2, 4, 2, 1), "4x2") == -1


def test_bids_rise_and_the_last_one_must_be_called() -> None:
    game = ludus.make("liars_dice")
    state = game.start(np.random.default_rng(0))
    for _ in range(2):
        state = game.play(state, {"chance": 0})
    assert game.options(state, "player_0").allowed == list(game.moves[:-1])  # nothing to call yet
    state = game.play(state, {"player_0": game.moves.index("2x4")})
    assert game.options(state, "player_1").allowed == ["2x5", "2x6", "liar"]
    state = game.play(state, {"player_1": game.moves.index("2x6")})
    assert game.options(state, "player_0").allowed == ["liar"]


def test_dice_are_the_same_in_whatever_order_they_fell() -> None:
    game = ludus.make("liars_dice", dice=2)
    ends = set()
    for dice in ((1, 4, 0, 0), (4, 1, 0, 0)):
        state = game.start(np.random.default_rng(0))
        for die in dice:
            state = game.play(state, {"chance": die})
        ends.add((state, game.view(state, "player_0").text))
    ((_, text),) = ends
    assert text == "Your dice show 2, 5. No bids so far."


@pytest.mark.parametrize("params", [{"dice": 0}, {"faces": 1}, {"dice": 21}])
def test_impossible_dice_are_refused(params) -> None:
    with pytest.raises(ValueError, match="1 to 20 dice each, with 2 to 20 faces"):
        ludus.make("liars_dice", **params)
