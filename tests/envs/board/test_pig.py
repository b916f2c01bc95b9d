"""Pig: rolling, holding, the goal and the horizon, and what best play is worth."""

import functools

import numpy as np
import pytest

import ludus
from ludus.core.exact import optimal, value
from ludus.core.game import CHANCE
from ludus.core.tables import expand
from ludus.envs.board.pig import Pig

HOLD, ROLL = 1, 0


def play(game, *turns):
    """Turns of what the die shows; a turn that does not end with a one ends by holding."""
    state, earned = game.start(np.random.default_rng(0)), np.zeros(len(game.seats))
    for shown in turns:
        for die in shown:
            (seat,) = game.turn(state)
            state = game.play(state, {seat: ROLL})
            state = game.play(state, {CHANCE: die - 1})
        if not shown or shown[-1] != 1:
            (seat,) = game.turn(state)
            state = game.play(state, {seat: HOLD})
            earned += [game.payoff(state).get(seat, 0.0) for seat in game.seats]
    return state, [pytest.approx(x) for x in earned]


def test_a_one_loses_the_points_of_the_turn_only() -> None:
    game = Pig()
    state, _ = play(game, [6, 2], [3], [4, 1], [])
    s = game.open(state.record)
    # Five rolls, and three times hold, once with nothing.
    assert (s.points.tolist(), s.turn_points, s.count) == ([8, 3], 0, 8)
    assert game.turn(state) == ("player_0",)
    assert game.view(state, "player_0").text == (
        "You have 8 of 100 points, player_1 3. It is your turn, which has 0 points so far. "
        "Decisions so far: 8 of 1000."
    )


def test_whoever_holds_the_goal_wins_and_may_not_roll_on() -> None:
    game = Pig(goal=10)
    state, earned = play(game, [6], [5, 4])
    assert earned == [0, 0]
    (seat,) = game.turn(state)
    state = game.play(state, {seat: ROLL})
    state = game.play(state, {CHANCE: 4})
    assert game.options(state, seat).allowed == ["hold"]
    state = game.play(state, {seat: HOLD})
    assert game.turn(state) == ()
    assert dict(game.payoff(state)) == {"player_0": 1.0, "player_1": -1.0}


def test_of_three_the_others_share_the_loss() -> None:
    state, earned = play(Pig(players=3, goal=12, sides=12), [4], [12])
    assert earned == [-0.5, 1, -0.5]
    assert Pig(players=3, goal=12).turn(state) == ()


def test_too_many_decisions_are_a_draw() -> None:
    game = Pig(goal=10, horizon=5)
    state, earned = play(game, [6], [5])
    assert game.turn(state) == ("player_0",)
    state = game.play(state, {"player_0": HOLD})
    assert game.turn(state) == () and earned == [0, 0] and not game.payoff(state)
    # The goal reached with the last decision still wins.
    state, earned = play(Pig(goal=10, horizon=3), [4, 6])
    assert earned == [1, -1]


def test_shares_of_the_goal_are_seen_from_the_own_seat() -> None:
    game = Pig(players=3, goal=20, horizon=10)
    state, _ = play(game, [5], [6], [])
    state = game.play(state, {"player_0": ROLL})
    state = game.play(state, {CHANCE: 3})
    seen = [game.view(state, seat).features for seat in game.seats]
    np.testing.assert_allclose(seen[0], [1, 0, 0, 5 / 20, 6 / 20, 0, 4 / 20, 6 / 10], rtol=1e-6)
    np.testing.assert_allclose(seen[1], [0, 0, 1, 6 / 20, 0, 5 / 20, 4 / 20, 6 / 10], rtol=1e-6)
    np.testing.assert_allclose(seen[2], [0, 1, 0, 0, 5 / 20, 6 / 20, 4 / 20, 6 / 10], rtol=1e-6)


def worth(goal, sides, horizon):
    """The value to the first player, from points alone."""

    @functools.cache
    def best(own, other, turn, left):
        if left == 0:
            return 0.0
        if own + turn >= goal:
            return 1.0
        hold = -best(other, own + turn, 0, left - 1)
        if left == 1:
            return max(hold, 0.0)  # the die is not rolled any more
        shown = [best(own, other, turn + die, left - 1) for die in range(2, sides + 1)]
        return max(hold, (sum(shown) - best(other, own, 0, left - 1)) / sides)

    return best(0, 0, 0, horizon)


@pytest.mark.parametrize(("goal", "sides", "horizon"), [(2, 2, 40), (6, 6, 9)])
def test_best_play_is_worth_what_it_is(goal, sides, horizon) -> None:
    game = Pig(goal=goal, sides=sides, horizon=horizon)
    assert value(game, optimal(game))["player_0"] == pytest.approx(worth(goal, sides, horizon))


def test_a_coin_with_one_throw_to_win() -> None:
    # The mover wins with 1/2 and else the other is the mover: p = 1/2 + (1 - p) / 2 = 2/3, which is worth 1/3.
    game = Pig(goal=2, sides=2, horizon=60)
    assert value(game, optimal(game))["player_0"] == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.slow
def test_the_first_of_two_wins_as_often_as_is_known() -> None:
    """Neller and Presser 2004: 53.06 of 100 games, with best play; from moves of all positions by the game's rules."""
    game, goal = Pig(), 100
    own, other, turn = (x.ravel() for x in np.indices((goal, goal, goal)))
    keep = own + turn < goal
    records = np.repeat(game.first, keep.sum())
    records["points"][:, 0], records["points"][:, 1] = own[keep], other[keep]
    records["turn_points"] = turn[keep]
    after, pay = expand(game, records)[:2]
    rolled, _, _, mask, _ = expand(game, after[:, ROLL].copy())
    assert mask.all()
    held, wins = after[:, HOLD], pay[:, HOLD, 0] > 0
    assert not wins.any()
    number = np.full((goal, goal, goal + 6), -1)
    number[own[keep], other[keep], turn[keep]] = np.arange(keep.sum())
    hold = number[held["points"][:, 1], held["points"][:, 0], 0]
    loses = number[rolled["points"][:, 0, 1], rolled["points"][:, 0, 0], 0]
    shown = [number[r["points"][:, 0], r["points"][:, 1], r["turn_points"]] for r in rolled.T[1:]]
    chance = np.append(np.full(len(records), 0.5), 1.0)  # of the mover; the last is for who has the goal
    for _ in range(2000):
        roll = (1 - chance[loses] + sum(chance[s] for s in shown)) / 6
        better = np.maximum(1 - chance[hold], roll)
        if abs(better - chance[:-1]).max() < 1e-6:
            break
        chance[:-1] = better
    assert chance[number[0, 0, 0]] == pytest.approx(0.5306, abs=5e-5)


@pytest.mark.parametrize("params", [
    {"players": 11}, {"goal": 0}, {"goal": 10_001}, {"sides": 1}, {"sides": 21}, {"horizon": 0}, {"horizon": 30_001},
])  # fmt: skip
def test_sizes_that_cannot_be_are_refused(params) -> None:
    with pytest.raises(ValueError, match="pig needs 2 to 10 players"):
        ludus.make("pig", **params)
