"""A game in a package of its own: installed, checked, played through every door, trained on, rated."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ludus.cli import app
from ludus.commands.new import write_package
from ludus.core.errors import ConfigError


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The package, installed beside Ludus without touching the environment; a function that runs Python there."""
    home = tmp_path_factory.mktemp("plugin")
    write_package("race", home)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", home / "site", home / "race"], check=True, capture_output=True)

    def there(*arguments, ok=True):
        environment = {
            **os.environ,
            "PYTHONPATH": str(home / "site"),
            "COLUMNS": "160",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    there.home = home
    return there


def test_the_game_is_short(plugin):
    assert len((plugin.home / "race" / "ludus_race" / "race.py").read_text().splitlines()) < 60


def test_it_passes_the_scorecard_with_every_door(plugin):
    card = plugin("-m", "ludus.cli", "check", "race")
    assert "all that was tried holds" in card
    for door in ("pettingzoo aec", "gymnasium", "gymnasium vector", "text"):
        assert any(
            line.strip().startswith((door, f"doors         {door}")) and "holds" in line
            for line in card.splitlines()
        )
    assert "to add" not in card


def test_its_own_tests_pass(plugin):
    plugin("-m", "pytest", "-q", "-p", "no:cacheprovider", "race/tests")


def test_it_trains_and_appears_on_a_leaderboard(plugin):
    pytest.importorskip("torch")
    plugin("-m", "ludus.cli", "train", "race/train.toml", "--out", "runs/race", "--quiet")
    rows = [json.loads(line) for line in (plugin.home / "runs/race/metrics.jsonl").read_text().splitlines()]
    conv = [row["eval/nash_conv/net"] for row in rows if "eval/nash_conv/net" in row]
    assert conv[-1] < 0.5 * conv[0]  # it learns: half of what could be won from random play is gone
    agents = "uniform, first_legal, mcts(simulations=20), runs/race/policies/net"
    plugin("-m", "ludus.cli", "tournament", "race", "--agents", agents, "--seeds", "8", "--out", "runs/cup")
    rated = json.loads((plugin.home / "runs/cup/standings.json").read_text())[0]["rows"]
    place = {row["agent"]: k for k, row in enumerate(rated)}
    assert place["net"] < place["uniform"]
    assert "race" in plugin("-m", "ludus.cli", "replay", "runs/cup", "--index", "0")


def test_names_that_cannot_be_are_refused(tmp_path):
    for name, why in (
        ("Race", "lower case"),
        ("nim", "already"),
        ("2fast", "lower case"),
        ("a__b", "lower case"),
        ("class", "word of Python"),
    ):
        with pytest.raises(ConfigError, match=why):
            write_package(name, tmp_path)
    write_package("high_card", tmp_path)
    assert "class HighCard(ArrayGame)" in (tmp_path / "high_card/ludus_high_card/high_card.py").read_text()
    with pytest.raises(ConfigError, match="nothing was written"):
        write_package("high_card", tmp_path)


def test_a_name_alone_is_told_what_comes_before_it():
    with pytest.raises(ConfigError, match="ludus new game bluff"):
        CliRunner().invoke(app, ["new", "bluff"], catch_exceptions=False)
