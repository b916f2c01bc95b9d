"""Every game stands in both registries, and nothing happens where there are none."""

import os
import subprocess
import sys

import gymnasium
import pettingzoo
import pytest
from doors import Rumour

import ludus
from ludus.core.registry import GAMES


@pytest.mark.parametrize("name", ludus.games())
def test_every_game_is_registered_under_its_version(name):
    identity = f"ludus/{name}-v{ludus.make(name).version}"
    assert identity in gymnasium.registry
    assert identity in pettingzoo.aec_registry
    assert identity in pettingzoo.parallel_registry


def test_a_game_registered_later_is_there_at_once():
    class Gossip(Rumour):
        """Say a word."""

    try:
        ludus.register("gossip_for_this_test")(Gossip)
        env = gymnasium.make("ludus/gossip_for_this_test-v0")
        assert env.reset(seed=0)[0]["text"] == "Said so far: "
        assert pettingzoo.make("aec", "ludus/gossip_for_this_test-v0").possible_agents == [
            "player_0",
            "player_1",
        ]
    finally:
        del GAMES._makers["gossip_for_this_test"]
        del gymnasium.registry["ludus/gossip_for_this_test-v0"]
        del pettingzoo.aec_registry["ludus/gossip_for_this_test-v0"]
        del pettingzoo.parallel_registry["ludus/gossip_for_this_test-v0"]


def python(code):
    """Run code in a fresh process in which warnings are errors; return what it printed."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


ABSENT = "import sys; sys.modules.update(dict.fromkeys({names!r})); import ludus; "


def test_without_the_libraries_everything_else_works_in_silence():
    code = ABSENT.format(names=["gymnasium", "pettingzoo", "numba"])
    code += "episode, = ludus.play('tic_tac_toe', {'player': 'uniform'}, [0]); print(episode.end); "
    code += "from ludus.envs.doors.text import Conversation; print(Conversation('kuhn_poker').reset().seat)"
    assert python(code) == ["over", "player_0"]


@pytest.mark.parametrize("door", ["gymnasium", "pettingzoo", "vector"])
def test_a_door_without_its_library_names_the_extra(door):
    code = ABSENT.format(names=["gymnasium", "pettingzoo"])
    code += f"import importlib\ntry: importlib.import_module('ludus.envs.doors.{door}')\n"
    code += "except ludus.LudusError as fault: print(fault)"
    assert "'ludus[doors]'" in python(code)


def test_one_library_without_the_other():
    code = ABSENT.format(names=["pettingzoo"])
    assert python(code + "import gymnasium; print(gymnasium.make('ludus/nim-v0').unwrapped.seat)") == [
        "player_0"
    ]


def test_versions_are_known_before_a_game_is_imported():
    known = python(
        "import ludus, gymnasium; print(*[one for one in gymnasium.registry if one.startswith('ludus/')])"
    )
    assert set(known) == {f"ludus/{name}-v{ludus.make(name).version}" for name in ludus.games()}


def test_importing_ludus_imports_no_game_and_nothing_heavy():
    code = "import sys, ludus; print(*(m for m in sys.modules if m.startswith('ludus.envs.') or m in "
    code += "('torch', 'numba', 'transformers', 'pygame', 'rlcard')))"
    assert set(python(code)) == {"ludus.envs.doors", "ludus.envs.doors.registration"}
