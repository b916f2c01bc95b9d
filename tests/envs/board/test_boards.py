"""What is peculiar to othello, hex, breakthrough and the games of hidden boards."""

import numpy as np
import pytest

import ludus
from ludus.core.tables import expand


def played(game, moves):
    """The state after moves by name, whoever is to move."""
    state = game.start(np.random.default_rng(0))
    for move in moves.split():
        (seat,) = game.turn(state)
        state = game.play(state, {seat: game.moves.index(move)})
    return state


def leaves(game, depth: int) -> int:
    """How many ways there are to play so many moves."""
    here = game.first.copy()
    for _ in range(depth):
        after, _, _, mask, _ = expand(game, here)
        here = after[mask.astype(bool)]
    return len(here)


@pytest.mark.parametrize(("depth", "known"), [(1, 4), (2, 12), (3, 56), (4, 244), (5, 1396), (6, 8200)])
def test_othello_has_as_many_ways_as_published(depth, known) -> None:
    assert (
        leaves(ludus.make("othello"), depth) == known
    )  # perft figures of the othello community (aartbik.com)


def test_othello_passes_only_where_nothing_else_can_be_played() -> None:
    game, rng, passes = ludus.make("othello", size=4), np.random.default_rng(1), 0
    for _ in range(60):
        state = game.start(rng)
        while turn := game.turn(state):
            legal = np.flatnonzero(game.options(state, turn[0]).legal)
            assert (16 in legal) == (len(legal) == 1 and 16 in legal)
            passes += 16 in legal
            state = game.play(state, {turn[0]: int(rng.choice(legal))})
        first, second = (int(disc).bit_count() for disc in game.open(state.record)._row["discs"][0])
        assert game.payoff(state).get("player_0", 0) == np.sign(first - second)
    assert passes > 0


def test_hex_is_won_by_the_sides_of_ones_own() -> None:
    game = ludus.make("hex", size=3)
    assert game.payoff(played(game, "b1 a1 b2 a2 b3")) == {"player_0": 1.0, "player_1": -1.0}
    assert game.payoff(played(game, "a1 a2 b1 b2 b3 c2")) == {"player_0": -1.0, "player_1": 1.0}
    assert game.payoff(played(game, "c1 a1 b2 a2 a3")) == {
        "player_0": 1.0,
        "player_1": -1.0,
    }  # up and to the right
    assert game.turn(played(game, "a1 c1 b2 c2 c3"))  # down and to the right is not next to


def test_a_swap_takes_the_first_stone_mirrored() -> None:
    game = ludus.make("hex", size=4, swap=True)
    state = played(game, "c1")
    assert "swap" in game.options(state, "player_1").allowed
    assert "You may swap." in game.view(state, "player_1").text
    swapped = played(game, "c1 swap")
    assert np.argwhere(game.view(swapped, "player_1").features[0]).tolist() == [[2, 0]]
    assert not game.view(swapped, "player_1").features[1].any()
    assert game.turn(swapped) == ("player_0",)
    assert "swap" not in game.options(swapped, "player_0").allowed
    assert "swap" not in game.options(played(game, "c1 a1 b1"), "player_1").allowed


def test_breakthrough_takes_slanting_only_and_wins_on_the_far_row() -> None:
    game = ludus.make("breakthrough", rows=4, columns=2)
    state = game.start(np.random.default_rng(0))
    assert game.options(state, "player_0").allowed == ["a3>", "b3<"]  # straight on stands a piece
    state = played(game, "a3>")
    assert game.payoff(played(game, "a3> a2^ b2<")) == {"player_0": 1.0, "player_1": -1.0}
    assert "b1<" not in game.options(state, "player_1").allowed


def test_a_refused_try_is_seen_by_who_made_it_alone() -> None:
    for name in ("phantom_tic_tac_toe", "dark_hex"):
        game = ludus.make(name)
        first, before = game.moves[0], played(game, game.moves[0])
        after = played(game, f"{first} {first}")
        assert game.turn(after) == ("player_1",)
        assert game.view(before, "player_0").digest() == game.view(after, "player_0").digest()
        assert game.view(before, "player_1").digest() != game.view(after, "player_1").digest()
        assert first not in game.options(after, "player_1").allowed
        abrupt = ludus.make(name, abrupt=True)
        assert abrupt.turn(played(abrupt, f"{first} {first}")) == ("player_0",)


@pytest.mark.parametrize(("name", "params"), [
    ("othello", {"size": 5}), ("othello", {"size": 10}), ("hex", {"size": 1}), ("dark_hex", {"size": 12}),
    ("breakthrough", {"rows": 3}), ("breakthrough", {"columns": 27}),
])  # fmt: skip
def test_boards_that_cannot_be_are_refused(name, params) -> None:
    with pytest.raises(ValueError, match=f"{name.replace('_', ' ')} needs"):
        ludus.make(name, **params)


@pytest.mark.slow
def test_uniform_play_of_dark_hex_is_worth_what_was_published() -> None:
    """.333684 to player_0 (github.com/gabrfarina/exp-a-spiel)."""
    batch, total, rounds = ludus.batch("dark_hex", 100_000, seed=3, autoreset="disabled"), 0.0, 40
    for _ in range(rounds):  # whole games: of those that end within so many steps, short ones are too many
        batch.reset()
        while not batch.done.all():
            batch.step(batch.random_actions())
            total += float(batch.reward[:, 0].sum())
    games = rounds * batch.n
    assert total / games == pytest.approx(0.333684, abs=4 / games**0.5)
    print(f"dark hex, uniform play: {total / games:.6f}")
