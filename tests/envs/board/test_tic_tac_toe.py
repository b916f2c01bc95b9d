"""Tic-tac-toe: lines, draws and the number of positions."""

import numpy as np
import pytest

import ludus
from ludus.core.errors import UnknownName


def play(squares: str):
    """The end of the game in which these squares are marked in turn, each legal, none after the end."""
    game = ludus.make("tic_tac_toe")
    state = game.start(np.random.default_rng(0))
    for i, square in enumerate(squares):
        state = game.play(state, {f"player_{i % 2}": game.moves.index(square)})
    return game, state


@pytest.mark.parametrize("line", ["123", "456", "789", "147", "258", "369", "159", "357"])
@pytest.mark.parametrize("winner", [0, 1])
def test_each_line_wins(line, winner) -> None:
    free = [square for square in "123456789" if square not in line]
    # Squares of the loser that are no line themselves; the second player needs one more of them.
    other = next(
        trio
        for trio in (free[:3], [free[0], free[1], free[3]], [free[0], free[2], free[3]])
        if "".join(trio) not in ("123", "456", "789", "147", "258", "369", "159", "357")
    )
    pairs = zip(line, other, strict=True) if winner == 0 else zip(other, line, strict=True)
    game, state = play("".join(a + b for a, b in pairs)[: 5 + winner])
    assert game.turn(state) == ()
    assert game.payoff(state) == {f"player_{winner}": 1.0, f"player_{1 - winner}": -1.0}


def test_a_full_board_is_a_draw_unless_the_last_mark_wins() -> None:
    game, state = play("864231579")
    assert (game.turn(state), game.payoff(state)) == ((), {})
    game, state = play("286945731")
    assert game.turn(state) == ()
    assert game.payoff(state) == {"player_0": 1.0, "player_1": -1.0}


def test_uniform_play_pays_the_known_mean() -> None:
    # The first player wins 737/1260 of uniformly random games and loses 121/420 (a known count).
    game = ludus.make("tic_tac_toe")
    assert ludus.value(game, ludus.uniform(game))["player_0"] == pytest.approx(737 / 1260 - 121 / 420)


# ------------------------------------------------------------------------------ TextArena's text
def test_the_board_as_textarena_draws_it() -> None:
    game = ludus.make("tic_tac_toe", text="textarena")
    state = game.start(np.random.default_rng(0))
    for i, square in enumerate("408"):
        state = game.play(state, {f"player_{i % 2}": game.moves.index(square)})
    assert game.view(state, "player_1").text == (
        "You play X.\n\n"
        " X | 1 | 2 \n---+---+---\n 3 | O | 5 \n---+---+---\n 6 | 7 | O \n\n"
        "Available Moves: '[1]', '[2]', '[3]', '[5]', '[6]', '[7]'"
    )
    assert game.options(state, "player_1").allowed == list("123567")
    assert "numbered 0 to 8" in game.rules("player_0")
    assert "player_0 plays O and moves first" in game.rules("player_0")


def test_only_the_text_differs() -> None:
    plain, other = (ludus.make("tic_tac_toe", text=text) for text in ("plain", "textarena"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        state = plain.start(rng)
        while turn := plain.turn(state):
            assert other.turn(state) == turn
            views = [game.view(state, turn[0]) for game in (plain, other)]
            assert np.array_equal(views[0].features, views[1].features)
            assert views[0].text != views[1].text
            move = {turn[0]: plain.sample(state, turn[0], rng)}
            assert other.play(state, move) == plain.play(state, move)
            state = plain.play(state, move)
            assert other.payoff(state) == plain.payoff(state)
    ludus.check_game(other, episodes=4)


def test_unknown_texts_are_refused() -> None:
    with pytest.raises(UnknownName, match="textarena"):
        ludus.make("tic_tac_toe", text="textarea")
