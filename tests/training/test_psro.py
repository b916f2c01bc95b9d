"""Population learning: the double oracle method on Kuhn poker, learned responses, and resuming."""

import json
from pathlib import Path

import numpy as np
import pytest

import ludus
from ludus.config import load
from ludus.core.errors import ConfigError, UnknownName
from ludus.training import psro
from ludus.training.claims import outlook
from ludus.training.psro import Psro
from ludus.training.run import train

CONFIG = Path(__file__).parents[2] / "configs" / "psro_kuhn.toml"
EXACT = "recipe_settings.oracle=exact"


def config(tmp_path, *overrides):
    return load(CONFIG, [f"root={tmp_path}", "tensorboard=false", *overrides])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder):
    return [line["eval/nash_conv/mixture"] for line in lines(folder)]


def test_exact_responses_are_double_oracle(tmp_path):
    folder = train(config(tmp_path, EXACT), quiet=True)
    points = curve(folder)
    assert points[0] == pytest.approx(11 / 12)  # the uniform player
    assert points[-1] < 1e-9
    assert len(points) < 12  # it stops where nobody can gain
    game = ludus.make("kuhn_poker")
    mixture = ludus.make_agent("exact", path=str(folder / "policies" / "mixture.json"))
    assert ludus.nash_conv(game, mixture) < 1e-9
    assert ludus.value(game, mixture)["player_0"] == pytest.approx(-1 / 18)
    gains = [line["psro/gain"] for line in lines(folder)[1:]]
    np.testing.assert_allclose(gains, points[:-1], atol=1e-9)  # a response gains the NashConv it was asked by
    weights = json.loads((folder / "weights.json").read_text())
    assert all(sum(mixture.values()) == pytest.approx(1.0) for mixture in weights.values())


@pytest.mark.parametrize("solver", ["prd", "uniform"])
def test_other_meta_solvers_come_nearer(tmp_path, solver):
    folder = train(config(tmp_path, EXACT, f"recipe_settings.meta_solver={solver}", "cycles=4"), quiet=True)
    assert curve(folder)[-1] < 0.5 * curve(folder)[0]


def test_learned_responses_shrink_what_can_be_gained(tmp_path):
    folder = train(config(tmp_path, "cycles=2", "collect.rows=16"), quiet=True)
    assert curve(folder)[-1] < 0.45
    last = lines(folder)[-1]
    assert last["global_step"] == 2 * 2 * 15 * 16 * 16
    assert last["psro/members/player_1"] == 3
    saved = ludus.make_agent("network", path=folder / "members" / "player_0_0002")
    assert saved.name == "player_0_0002"


@pytest.mark.parametrize("oracle", ["exact", "learned"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, oracle):
    small = [f"recipe_settings.oracle={oracle}", "cycles=2", "phases.0.steps=2", "collect.rows=32"]
    whole = train(config(tmp_path, *small, "name=whole"), quiet=True)
    cycle = Psro._cycle

    def dying(self, number, weights):
        found = cycle(self, number, weights)
        if number == 2:
            raise KeyboardInterrupt
        return found

    again = config(tmp_path, *small, "name=again")
    with monkeypatch.context() as patch:
        patch.setattr(Psro, "_cycle", dying)
        with pytest.raises(KeyboardInterrupt):
            train(again, quiet=True)
    resumed = train(again, resume=True, quiet=True)
    same = [
        [{k: v for k, v in line.items() if k != "time/seconds"} for line in lines(f)]
        for f in (whole, resumed)
    ]
    assert same[0] == same[1]
    assert (whole / "weights.json").read_text() == (resumed / "weights.json").read_text()


def test_a_population_grows_on_by_more_cycles(tmp_path):
    small = [EXACT, "cycles=1"]
    folder = train(config(tmp_path, *small), quiet=True)
    with pytest.raises(ConfigError, match=r"phases.0.steps = 9, was .*its length \(cycles\)"):
        train(config(tmp_path, *small, "phases.0.steps=9"), resume=True, quiet=True)
    longer = config(tmp_path, *small, "cycles=3")
    assert outlook(folder, longer, resume=True).endswith("goes on from cycle 1, with cycles = 3, was 1")
    train(longer, resume=True, quiet=True)
    at_once = train(config(tmp_path, EXACT, "cycles=3", "name=at_once"), quiet=True)
    assert (folder / "weights.json").read_text() == (at_once / "weights.json").read_text()
    with pytest.raises(ConfigError, match="has done 3 cycles, and cycles = 2, was 3, ends it after 2"):
        train(config(tmp_path, EXACT, "cycles=2"), resume=True, quiet=True)


def test_games_too_large_for_tables_are_played(tmp_path, monkeypatch):
    monkeypatch.setattr(psro, "POSITIONS", 2000)
    folder = train(
        config(
            tmp_path,
            "game.name=phantom_tic_tac_toe",
            "cycles=1",
            "phases.0.steps=2",
            "collect.rows=32",
            "recipe_settings.games=64",
        ),
        quiet=True,
    )
    first, last = lines(folder)
    assert "eval/nash_conv/mixture" not in last
    assert np.isfinite(last["psro/gain"])
    assert first["psro/members/player_0"] == 1


def test_what_cannot_be_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(psro, "POSITIONS", 2000)
    refused = [
        (["recipe_settings.meta_solver=nesh"], UnknownName, "nash"),
        (["recipe_settings.oracles=exact"], UnknownName, "oracle"),
        (["recipe_settings.games=0"], ConfigError, "recipe_settings.games"),
        (["game.name=iterated_prisoners_dilemma"], ConfigError, "not zero-sum"),
        ([EXACT, "game.name=connect_four"], ConfigError, "oracle = 'learned'"),
        (["collect.by=play"], ConfigError, "on arrays"),
        (["collect.whole=true"], ConfigError, "collect.whole"),
        (["policies.main.breadth=3"], UnknownName, "setting of a policy"),
    ]
    for overrides, kind, match in refused:
        with pytest.raises(kind, match=match):
            train(config(tmp_path, *overrides), quiet=True)
    assert not list(tmp_path.iterdir())
