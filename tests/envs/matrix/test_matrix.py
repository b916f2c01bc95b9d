"""The payoff tables of the games in which both seats move together."""

import numpy as np
import pytest

import ludus


def table(name: str) -> list[list[tuple[float, float]]]:
    """What both seats earn, by player_0's move and player_1's."""
    game = ludus.make(name)
    state = game.start(np.random.default_rng(0))
    assert game.turn(state) == ("player_0", "player_1")
    n = len(game.moves)
    paid = [
        [game.payoff(game.play(state, {"player_0": a, "player_1": b})) for b in range(n)] for a in range(n)
    ]
    return [[(cell.get("player_0", 0), cell.get("player_1", 0)) for cell in row] for row in paid]


def test_matching_pennies() -> None:
    assert table("matching_pennies") == [[(1, -1), (-1, 1)], [(-1, 1), (1, -1)]]


def test_rock_paper_scissors() -> None:
    draw, win, loss = (0, 0), (1, -1), (-1, 1)
    assert table("rock_paper_scissors") == [[draw, loss, win], [win, draw, loss], [loss, win, draw]]


def test_prisoners_dilemma() -> None:
    assert table("iterated_prisoners_dilemma") == [[(3, 3), (0, 5)], [(5, 0), (1, 1)]]


@pytest.mark.parametrize("rounds", [1, 4])
def test_the_dilemma_is_paid_round_by_round_and_seen_from_both_sides(rounds) -> None:
    game = ludus.make("iterated_prisoners_dilemma", rounds=rounds)
    state, earned = game.start(np.random.default_rng(0)), 0.0
    for _ in range(rounds):
        state = game.play(state, {"player_0": 1, "player_1": 0})
        earned += game.payoff(state)["player_0"]
    assert (game.turn(state), earned) == ((), 5.0 * rounds)
    assert game.view(state, "player_1").features[:4].tolist() == [
        1,
        0,
        0,
        1,
    ]  # own cooperation, other's defection
    assert "Round 1: you cooperate, the other defects." in game.view(state, "player_1").text


def test_no_move_is_seen_before_both_are_made() -> None:
    """In a batch the seats are asked one by one; the second must not see what the first chose."""
    for first in (0, 1):
        batch = ludus.batch("matching_pennies", 2)
        batch.step(np.full(2, first))
        assert batch.mover.tolist() == [1, 1]
        assert batch.observation.tolist() == [[0, 1, 0, 0, 0, 0]] * 2
        batch.step(np.zeros(2, np.int32))
        assert batch.reward[:, 0].tolist() == [1 - 2 * first] * 2


def test_the_dilemma_is_repeated_at_least_once() -> None:
    with pytest.raises(ValueError, match="1 to 1000 times, not 0"):
        ludus.make("iterated_prisoners_dilemma", rounds=0)
