"""The public face: its names, and what importing it costs."""

import subprocess
import sys
import types

import ludus


def test_all_is_exactly_the_public_names() -> None:
    public = [
        n for n, v in vars(ludus).items() if not n.startswith("_") and not isinstance(v, types.ModuleType)
    ]
    registries = {"GAMES", "AGENTS", "annotations"}
    assert sorted(ludus.__all__) == sorted(set(public) - registries)


def test_importing_and_playing_a_board_game_needs_numpy_only() -> None:
    code = """
import sys
heavy = ["torch", "gymnasium", "pettingzoo", "transformers", "pydantic", "rich", "typer", "numba", "openai"]
sys.modules.update(dict.fromkeys(heavy))  # None in sys.modules: importing it fails
import ludus
(episode,) = ludus.play("tic_tac_toe", {"player": "uniform"}, [0])
assert ludus.verify([episode])[0].ok
assert sum(episode.returns.values()) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_names_for_scripts() -> None:
    batch = ludus.batch("kuhn_poker", 64, seed=0)
    assert batch.observation.shape == (64, 9)
    assert (batch.legal.shape, batch.legal.dtype) == ((64, 2), bool)
    batch.step(batch.random_actions())
    assert (batch.reward.shape, str(batch.reward.dtype)) == ((64, 2), "float32")
    assert (str(batch.done.dtype), str(batch.mover.dtype)) == ("bool", "int8")
