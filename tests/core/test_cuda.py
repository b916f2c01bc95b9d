"""The batch on a GPU, in numba's simulator of one: the same games as on the processor, bit for bit.

By default some small games; `make slow` plays a minute, and twenty games at least, of every array game. Where
numba-cuda is installed, all rules are also compiled for a real card, which needs none; where such a card is, thousands
of games of each are compared and moves a second told, which `make bench-gpu` does by itself.
"""

import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.cuda import aligned
from ludus.core.errors import ConfigError, MissingExtra, UnknownName
from ludus.core.sources import COMPILED

SUPPORT = Path(__file__).parents[1] / "support"
GAMES = [name for name in ludus.games() if isinstance(ludus.make(name), ArrayGame)]
pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")


def run(script, *given, **variables) -> str:
    command = [
        sys.executable,
        "-W",
        "ignore::RuntimeWarning",
        SUPPORT / script,
        *map(str, given),
    ]  # numbers wrap
    tested = {"PYTHONPATH": str(Path(ludus.__file__).parents[1])}
    done = subprocess.run(
        command, env=os.environ | tested | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout


def test_small_games_are_the_same_on_a_simulated_card() -> None:
    run("beside_cuda.py", "small", NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_every_game_is_the_same_on_a_simulated_card(name) -> None:
    run("beside_cuda.py", name, 5, 20, 60, NUMBA_ENABLE_CUDASIM="1")


@pytest.mark.slow
def test_moves_a_second_are_told() -> None:
    told = run("beside_cuda.py", "kuhn_poker", 5, 5, 0, 2, NUMBA_ENABLE_CUDASIM="1")
    assert re.search(
        r"kuhn_poker: [\d,]+ moves a second of 2 rows on the card, [\d,]+ on the processor", told
    )


@functools.cache
def without_a_card() -> str:
    """Why no kernel can run on a card here, or nothing."""
    try:
        ludus.batch("tic_tac_toe", 1, device="cuda")
    except (ConfigError, MissingExtra) as fault:
        return str(fault)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_every_game_is_the_same_on_a_real_card(name) -> None:
    if missing := without_a_card():
        pytest.skip(missing)
    run("beside_cuda.py", name, 1024, 2000, 10, 65_536)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_all_rules_compile_for_a_card() -> None:
    run("compiled_cuda.py")


def test_fields_stand_where_a_card_can_read_them() -> None:
    packed = ludus.make("hex").record
    there = aligned(packed)
    assert packed.fields["path"][1] % 2 == 1
    assert all(offset % kind.base.alignment == 0 for kind, offset in there.fields.values())
    assert [there[name] for name in there.names] == [packed[name] for name in packed.names]


def test_what_is_missing_is_said(monkeypatch) -> None:
    with pytest.raises(UnknownName, match=r"device 'gpu'.*cpu, cuda"):
        ludus.batch("tic_tac_toe", 2, device="gpu")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'ludus\[cuda\]'"):
        ludus.batch("tic_tac_toe", 2, device="cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr("numba.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"NVIDIA card.*nvidia-smi.*device='cpu'"):
        ludus.batch("tic_tac_toe", 2, device="cuda")
