"""OpenSpiel's games as ours: they keep the contract, and tables say of them what OpenSpiel says."""

import pickle

import numpy as np
import pytest

import ludus
from ludus.core.errors import ConfigError, IllegalMove, UnknownName
from ludus.core.exact import nash_conv, uniform
from ludus.core.game import CHANCE
from ludus.core.verify import verify
from ludus.testing import check_game, examine

pyspiel = pytest.importorskip("pyspiel")

GAMES = (
    "kuhn_poker", "kuhn_poker(players=3)", "leduc_poker", "liars_dice", "tic_tac_toe", "connect_four", "matrix_rps",
    "matrix_pd", "goofspiel(num_cards=4,imp_info=True)", "blotto", "pig(winscore=20)", "catch", "first_sealed_auction", "trade_comm", "tiny_hanabi", "phantom_ttt", "dark_hex", "mancala", "sheriff", "nim",
    "y(board_size=5)", "hex(board_size=5,num_rows=5,num_cols=5)",
)  # fmt: skip


@pytest.mark.parametrize("name", GAMES)
def test_a_game_of_openspiels_keeps_the_contract(name) -> None:
    check_game(ludus.make("openspiel", game=name), episodes=2)


@pytest.mark.parametrize(
    "name", ["kuhn_poker", "leduc_poker", "matrix_rps", "goofspiel(num_cards=3,imp_info=True)"]
)
def test_exact_tools_say_what_openspiels_say(name) -> None:
    from open_spiel.python import policy
    from open_spiel.python.algorithms import exploitability

    known = pyspiel.load_game(name)
    if known.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        known = pyspiel.convert_to_turn_based(known)
    expected = exploitability.nash_conv(known, policy.UniformRandomPolicy(known))
    game = ludus.make("openspiel", game=name)
    assert nash_conv(game, uniform(game)) == pytest.approx(expected, abs=1e-9)


def test_games_are_played_recorded_and_verified(tmp_path) -> None:
    game = ludus.make("openspiel", game="leduc_poker")
    episodes = list(ludus.play(game, {"player": "uniform"}, range(20)))
    ludus.write(episodes, tmp_path / "episodes.jsonl")
    verdicts = verify(tmp_path / "episodes.jsonl")
    assert len(verdicts) == 20
    assert all(verdict.ok for verdict in verdicts)


def test_a_state_that_is_kept_no_more_is_played_again() -> None:
    game, rng = ludus.make("openspiel", game="leduc_poker"), np.random.default_rng(1)
    state = game.start(rng)
    for _ in range(3):
        (seat,) = game.turn(state)
        move = game.chance(state)[0][0] if seat == CHANCE else game.sample(state, seat, rng)
        state = game.play(state, {seat: move})
    seen = game.view(state, "player_0").digest()
    game._kept.clear()
    assert game.view(state, "player_0").digest() == seen
    again = pickle.loads(pickle.dumps(game))
    assert again.view(state, "player_0").digest() == seen


def test_moves_have_names_where_openspiel_names_them() -> None:
    assert ludus.make("openspiel", game="kuhn_poker").moves == ("Pass", "Bet")
    assert ludus.make("openspiel", game="leduc_poker").moves[0] == "Fold"


def test_what_cannot_be_played_is_an_error() -> None:
    with pytest.raises(UnknownName, match=r"'kuhn_pokre'.*kuhn_poker"):
        ludus.make("openspiel", game="kuhn_pokre")
    with pytest.raises(ConfigError, match="cannot load"):
        ludus.make("openspiel", game="kuhn_poker(players=99)")
    with pytest.raises(ConfigError, match="draws its chance by itself"):
        ludus.make("openspiel", game="negotiation")
    with pytest.raises(ConfigError, match="mean-field"):
        ludus.make("openspiel", game="mfg_crowd_modelling")
    game = ludus.make("openspiel", game="tic_tac_toe")
    state = game.play(game.start(np.random.default_rng(0)), {"player_0": 4})
    with pytest.raises(IllegalMove, match="player_1 cannot play 4 here"):
        game.play(state, {"player_1": 4})
    with pytest.raises(IllegalMove, match="turn of player_1, not of player_0"):
        game.play(state, {"player_0": 3})


@pytest.mark.slow
def test_most_of_all_games_keep_the_contract() -> None:
    fine, rest = [], {}
    for name in pyspiel.registered_names():
        try:
            broken = examine(ludus.make("openspiel", game=name), episodes=1).broken
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with one game is told
            rest[name] = f"{type(fault).__name__}: {fault}"[:120]
            continue
        if broken:
            rest[name] = f"{broken[0].name}: {broken[0].problem}"[:120]
        else:
            fine.append(name)
    print(f"{len(fine)} of {len(pyspiel.registered_names())} games as they are: {' '.join(fine)}")
    for name, why in rest.items():
        print(f"  {name}: {why}")
    assert len(fine) >= 95
