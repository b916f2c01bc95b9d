"""Dots and boxes: closing boxes, moving again, and the value of small boards."""

import functools

import numpy as np
import pytest

import ludus
from ludus.core.exact import optimal, value
from ludus.envs.board.dots_and_boxes import DotsAndBoxes


def play(game, names):
    """The position after some lines, whose turn it was at each, and what was earned."""
    state, turns, earned = game.start(np.random.default_rng(0)), [], np.zeros(2)
    for name in names.split():
        (seat,) = game.turn(state)
        turns.append(int(seat[-1]))
        state = game.play(state, {seat: game.moves.index(name)})
        earned += [game.payoff(state).get(seat, 0.0) for seat in game.seats]
    return state, turns, earned.tolist()


def test_lines_are_numbered_level_ones_first() -> None:
    assert DotsAndBoxes(rows=1, columns=2).moves == ("h1-1", "h1-2", "h2-1", "h2-2", "v1-1", "v1-2", "v1-3")
    assert len(DotsAndBoxes().moves) == 12
    assert len(DotsAndBoxes(rows=3, columns=5).moves) == 4 * 5 + 3 * 6


def test_who_closes_a_box_moves_again() -> None:
    game = DotsAndBoxes(rows=1, columns=2)
    state, turns, _ = play(game, "h1-1 h2-1 v1-1 v1-2 h1-2")
    assert turns == [0, 1, 0, 1, 1]  # the upright line in the middle closes the left box
    assert game.turn(state) == ("player_0",)
    assert game.view(state, "player_0").text == "You play x.\n+---+---+\n| o |    \n+---+   +"
    state, turns, earned = play(game, "h1-1 h2-1 v1-1 v1-2 h1-2 h2-2 v1-3")
    assert turns[-2:] == [0, 1]
    assert game.turn(state) == () and earned == [-1, 1]  # two boxes to none


def test_one_line_may_close_two_boxes() -> None:
    game = DotsAndBoxes(rows=1, columns=2, margin=True)
    state, turns, earned = play(game, "h1-1 h2-1 v1-1 h1-2 h2-2 v1-3 v1-2")
    assert turns == [0, 1, 0, 1, 0, 1, 0]
    assert earned == [2, -2]
    assert game.open(state.record).boxes.tolist() == [[1, 1]]
    upright = DotsAndBoxes(rows=2, columns=1)
    assert play(upright, "h1-1 v1-1 v1-2 v2-1 v2-2 h3-1 h2-1")[2] == [1, -1]


def test_a_seat_sees_lines_and_whose_boxes_they_are() -> None:
    game = DotsAndBoxes(rows=1, columns=2)
    state, _, _ = play(game, "h1-1 h2-1 v1-1 v1-2")  # the left box is player_1's
    lines = [1, 0, 1, 0, 1, 1, 0]
    assert game.view(state, "player_0").features.tolist() == [1, *lines, 0, 0, 1, 0]
    assert game.view(state, "player_1").features.tolist() == [1, *lines, 1, 0, 0, 0]


def test_equal_shares_are_a_draw() -> None:
    game = DotsAndBoxes(rows=1, columns=2, margin=True)
    state, _, earned = play(game, "h1-1 h2-1 h1-2 v1-1 v1-2 h2-2 v1-3")
    assert game.turn(state) == () and earned == [0, 0]
    assert "by how many boxes. Here yes." in game.rules("player_0")
    assert "by how many boxes. Here no." in DotsAndBoxes().rules("player_0")


def boxes_ahead(rows, columns):
    """By how many boxes the mover wins, from sets of lines alone."""
    level, wide = (rows + 1) * columns, columns + 1
    boxes = [
        1 << r * columns + c | 1 << (r + 1) * columns + c | 1 << level + r * wide + c | 1 << level + r * wide + c + 1
        for r in range(rows) for c in range(columns)
    ]  # fmt: skip
    lines = level + rows * wide

    @functools.cache
    def best(drawn):
        found = []
        for line in range(lines):
            if not drawn >> line & 1:
                after = drawn | 1 << line
                closed = sum(box & after == box and box & drawn != box for box in boxes)
                found.append(closed + best(after) if closed else -best(after))
        return max(found, default=0)

    return best(0)


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (2, 2)])
def test_the_value_of_small_boards(rows, columns) -> None:
    known = boxes_ahead(rows, columns)
    for margin, expected in [(True, known), (False, np.sign(known))]:
        game = DotsAndBoxes(rows=rows, columns=columns, margin=margin)
        assert value(game, optimal(game))["player_0"] == pytest.approx(expected)


@pytest.mark.parametrize("size", [{"rows": 0}, {"columns": 0}, {"rows": 21}, {"columns": 21}])
def test_sizes_that_cannot_be_are_refused(size) -> None:
    with pytest.raises(ValueError, match="needs 1 to 20 rows and columns"):
        ludus.make("dots_and_boxes", **size)
