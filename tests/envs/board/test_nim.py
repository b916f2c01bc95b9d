"""Nim: the last stone, and Bouton's theorem."""

import functools
import operator

import numpy as np
import pytest

import ludus
from ludus.core.position import Position


def winner(game, state) -> int:
    """The seat that wins with best play, by going through every line."""

    @functools.cache
    def wins(record) -> bool:
        position = Position(record, state.paid)
        (seat,) = game.turn(position) or (None,)
        if seat is None:
            return False  # the other has just taken the last stone
        legal = np.flatnonzero(game.options(position, seat).legal)
        return any(not wins(game.play(position, {seat: move}).record) for move in legal.tolist())

    return 0 if wins(state.record) else 1


@pytest.mark.parametrize(
    ("stones", "most"),
    [(n, 3) for n in range(1, 13)] + [([1, 2, 3], 3), ([2, 2], 2), ([3, 4, 5], 5), ([5, 3], 2)],
)
def test_the_mover_loses_just_when_the_heaps_cancel(stones, most) -> None:
    game = ludus.make("nim", stones=stones, most=most)
    heaps = [stones] if isinstance(stones, int) else stones
    cancel = functools.reduce(operator.xor, (heap % (most + 1) for heap in heaps)) == 0
    assert winner(game, game.start(np.random.default_rng(0))) == int(cancel)


def test_the_last_stone_wins() -> None:
    game = ludus.make("nim", stones=2)
    state = game.start(np.random.default_rng(0))
    assert game.options(state, "player_0").allowed == ["1", "2"]
    state = game.play(game.play(state, {"player_0": 0}), {"player_1": 0})
    assert game.payoff(state) == {"player_1": 1.0, "player_0": -1.0}


@pytest.mark.parametrize("params", [{"stones": 0}, {"stones": [3, 0]}, {"stones": []}, {"most": 0}])
def test_impossible_heaps_are_refused(params) -> None:
    with pytest.raises(ValueError, match="nim"):
        ludus.make("nim", **params)
