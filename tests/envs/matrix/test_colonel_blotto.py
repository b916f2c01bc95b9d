"""Colonel Blotto: who wins which fields, and what that pays."""

import itertools

import numpy as np
import pytest

import ludus
from ludus.core.exact import nash_conv, value
from ludus.envs.matrix.colonel_blotto import WAYS, ColonelBlotto, lay, plans

SIZES = [(10, 3), (1, 1), (7, 1), (4, 2), (1, 6), (5, 4), (6, 6)]


def settle(game, *laid):
    moves = {seat: game.moves.index(plan) for seat, plan in zip(game.seats, laid, strict=True)}
    state = game.play(game.start(np.random.default_rng(0)), moves)
    assert game.turn(state) == ()
    return [pytest.approx(game.payoff(state).get(seat, 0.0)) for seat in game.seats], state


@pytest.mark.parametrize(("laid", "earned"), [
    (("5,5,0", "4,4,2"), [1, -1]),  # two fields to one
    (("10,0,0", "0,5,5"), [-1, 1]),
    (("4,3,3", "4,3,3"), [0, 0]),  # nobody has more anywhere
    (("6,4,0", "4,4,2"), [0, 0]),  # one each, and one that nobody wins
    (("4,4,2", "3,3,4"), [1, -1]),
])  # fmt: skip
def test_more_fields_win(laid, earned) -> None:
    assert settle(ColonelBlotto(), *laid)[0] == earned
    assert settle(ColonelBlotto(), *reversed(laid))[0] == earned[::-1]


@pytest.mark.parametrize(("laid", "earned"), [
    (("3,0,0", "0,3,0", "0,0,3"), [0, 0, 0]),  # all are ahead
    (("3,0,0", "0,3,0", "0,3,0"), [1, -0.5, -0.5]),  # two that lay as many win nothing there
    (("2,1,0", "1,2,0", "1,1,1"), [0, 0, 0]),
    (("3,0,0", "0,3,0", "1,2,0"), [0.5, 0.5, -1]),  # two are ahead and share what the third loses
    (("2,1,0", "0,2,1", "1,2,0"), [0.5, 0.5, -1]),
    (("1,1,1", "1,1,1", "1,1,1"), [0, 0, 0]),
])  # fmt: skip
def test_of_three_those_ahead_share_what_others_lose(laid, earned) -> None:
    assert settle(ColonelBlotto(players=3, coins=3), *laid)[0] == earned


@pytest.mark.parametrize(("coins", "fields"), SIZES)
def test_plans_are_all_ways_in_order(coins, fields) -> None:
    expected = [p for p in itertools.product(range(coins + 1), repeat=fields) if sum(p) == coins]
    assert list(plans(coins, fields)) == expected
    assert WAYS[fields, coins] == len(expected)
    game = ColonelBlotto(coins=coins, fields=fields)
    assert game.moves == tuple(",".join(map(str, plan)) for plan in expected)
    for a, plan in enumerate(expected):
        s = game.open(game.first.tobytes())
        lay(s, 1, a)
        assert s.laid.tolist() == [[0] * fields, list(plan)]


def test_the_largest_game_numbers_its_plans_well() -> None:
    game = ColonelBlotto(players=10, coins=17, fields=6)
    assert len(game.moves) == WAYS[6, 17] == 26_334
    for a in (0, 1, 12_345, len(game.moves) - 1):
        s = game.open(game.first.tobytes())
        lay(s, 9, a)
        assert ",".join(map(str, s.laid[9].tolist())) == game.moves[a]


def test_nobody_sees_coins_before_all_are_laid() -> None:
    game = ColonelBlotto(players=3, coins=3)
    state = game.start(np.random.default_rng(0))
    assert game.turn(state) == game.seats
    assert all(game.view(state, seat).features.tolist() == [1] + [0] * 9 for seat in game.seats)
    after = settle(game, "3,0,0", "0,3,0", "1,2,0")[1]
    # One's own coins come first, then those of the next seats.
    assert game.view(after, "player_1").features.tolist() == [1, 0, 3, 0, 1, 2, 0, 3, 0, 0]
    assert game.view(after, "player_1").text == "You laid 0,3,0, the others 1,2,0; 3,0,0."


def test_two_fields_are_always_even() -> None:
    # Who has more on one has less on the other: nothing can be gained, and all play is an equilibrium.
    game = ColonelBlotto(coins=4, fields=2)
    assert value(game, ludus.uniform(game)) == {"player_0": 0.0, "player_1": 0.0}
    assert nash_conv(game, ludus.uniform(game)) == pytest.approx(0.0)


@pytest.mark.parametrize(("params", "message"), [
    ({"players": 1}, "2 to 10 players"), ({"coins": 31}, "1 to 30 coins"), ({"fields": 7}, "1 to 6 fields"),
    ({"fields": 0}, "not 2, 10, 0"), ({"coins": 30, "fields": 6}, "324632 of 30 coins on 6 fields"),
])  # fmt: skip
def test_sizes_that_cannot_be_are_refused(params, message) -> None:
    with pytest.raises(ValueError, match=message):
        ludus.make("colonel_blotto", **params)
