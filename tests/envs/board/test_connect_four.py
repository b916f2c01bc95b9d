"""Connect four: lines in four directions, full columns, boards of other sizes."""

import numpy as np
import pytest

import ludus


def drop(discs: str, **size: int):
    """The game after discs in these columns, in turn."""
    game = ludus.make("connect_four", **size)
    state = game.start(np.random.default_rng(0))
    for i, column in enumerate(discs):
        assert game.turn(state) == (f"player_{i % 2}",), f"over before disc {i + 1}"
        state = game.play(state, {f"player_{i % 2}": game.moves.index(column)})
    return game, state


@pytest.mark.parametrize(
    ("columns", "winner"),
    [
        ("1122334", 0),  # level
        ("7766554", 0),  # level, from the right
        ("1122443", 0),  # level, closed in the middle
        ("1212121", 0),  # upright
        ("71212121", 1),
        ("12233434474", 0),  # slanting up
        ("76655454414", 0),  # slanting down
    ],
)
def test_four_in_a_line_win(columns, winner) -> None:
    game, state = drop(columns)
    assert game.turn(state) == ()
    assert game.payoff(state) == {f"player_{winner}": 1.0, f"player_{1 - winner}": -1.0}


def test_three_do_not_win_and_lines_do_not_wrap_round_the_edge() -> None:
    game, state = drop("112233")
    assert game.turn(state) == ("player_0",)
    game, state = drop("5162735")  # 5, 6, 7 and, were the board a ring, 1
    assert game.turn(state) == ("player_1",)


def test_a_full_column_is_closed() -> None:
    game, state = drop("111111")
    assert game.options(state, "player_0").allowed == list("234567")


def test_a_full_board_is_a_draw() -> None:
    game, state = drop("4333341441122122", rows=4, columns=4)
    assert (game.turn(state), game.payoff(state)) == ((), {})
    assert game.view(state, "player_0").text == ("You play x.\no o x x\nx x o o\no x x o\nx o o x\n1 2 3 4")


def test_planes_are_own_other_and_ones_with_the_floor_last() -> None:
    game, state = drop("31")
    own, other, ones = game.view(state, "player_1").features
    assert (ones == 1).all()
    assert np.argwhere(own).tolist() == [[5, 0]]
    assert np.argwhere(other).tolist() == [[5, 2]]


@pytest.mark.parametrize("size", [{"rows": 3}, {"columns": 61}])
def test_impossible_boards_are_refused(size) -> None:
    with pytest.raises(ValueError, match="4 to 100 rows and 4 to 60 columns"):
        ludus.make("connect_four", **size)
