"""Configurations: what is read, what is refused, what is written down."""

import dataclasses
import functools
import tomllib
from pathlib import Path

import pytest

from ludus.config import TABLES, explain, field_help, load
from ludus.core.errors import ConfigError, UnknownName
from ludus.training.configuration import differences, dump, merged, parse, stored, tables, toml
from ludus.training.evaluation import evaluate as evaluate_module
from ludus.training.recipes import PRESETS
from ludus.training.run import Run

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = """
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [8]
[lineup]
player = "main"
[[learners]]
policy = "main"
preset = "ppo"
[[phases]]
steps = 2
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_config_in_the_repository_is_read_and_written_back(path, tmp_path):
    config = load(path)
    assert config.name == path.stem
    assert parse(tomllib.loads(toml(tables(config)))) == config
    dump(config, tmp_path)
    assert stored(tmp_path) == config


def test_presets_fill_what_is_not_given(small):
    learner = load(small).learners[0]
    assert (learner.epochs, learner.objective.value) == (PRESETS["ppo"]["epochs"], 0.5)
    learner = load(small, ["learners.0.epochs=1", "learners.0.objective.loss.low=0.3"]).learners[0]
    assert learner.epochs == 1
    assert learner.objective.loss.settings == {"low": 0.3, "high": 0.1}
    learner = load(small, ["learners.0.estimator=returns"]).learners[0]
    assert (learner.estimator.name, learner.estimator.settings) == ("returns", {})


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_learner(name, small):
    assert load(small, [f"learners.0.preset={name}"]).learners[0].preset == name


def test_overrides_are_toml_or_words(small):
    config = load(
        small,
        [
            "seed=3",
            "name=other",
            "collect.rows=7",
            "policies.main.hidden=[4, 4]",
            "lineup.player = 'uniform'",
        ],
    )
    assert (config.seed, config.name, config.collect.rows) == (3, "other", 7)
    assert config.policies["main"].settings == {"hidden": [4, 4]}
    assert config.lineup == {"player": "uniform"}


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("sed=1", "did you mean 'seed'"),
        ("collect.row=1", "did you mean 'rows'"),
        ("learners.0.epoch=1", "did you mean 'epochs'"),
        ("learners.0.objective.entropi=1", "did you mean 'entropy'"),
        ("phases.0.step=1", "did you mean 'steps'"),
        ("learners.0.preset=ppp", "did you mean 'ppo'"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest(small, override, hint):
    with pytest.raises(UnknownName, match=hint):
        load(small, [override])


@pytest.mark.parametrize(
    "override",
    ["seed=-1", "collect.rows=0", "collect.by='arays'", "threads='two'", "learners.1.epochs=2", "seed", "game=7",
     "learners.0.optimiser.name='adamm'", "lineup.player.x=1"],
)  # fmt: skip
def test_wrong_values_are_refused(small, override):
    with pytest.raises(ConfigError):
        load(small, [override])


def test_files_that_cannot_be_read_are_named(tmp_path, small):
    with pytest.raises(ConfigError, match=r"small\.toml"):
        load(tmp_path / "smalls.toml")
    small.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="not TOML"):
        load(small)
    with pytest.raises(ConfigError, match="holds no run"):
        stored(tmp_path)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("lineup.player=mainn", "did you mean 'main'"),
        ("lineup.player=main@pasts", "did you mean 'main@past'"),
        ("lineup.playr=main", "did you mean 'player'"),
        ("learners.0.policy=mainn", "did you mean 'main'"),
        ("learners.0.estimator=gea", "did you mean 'gae'"),
        ("learners.0.estimator.trase=1", "did you mean 'trace'"),
        ("learners.0.objective.loss=clippy", "did you mean 'clip'"),
        ("phases.0.learners=['man']", "did you mean 'main'"),
        ("evaluate.policies=['mian']", "did you mean 'main'"),
        ("policies.main.name=netwrk", "did you mean 'network'"),
        ("game.name=kuhn_pokr", "did you mean 'kuhn_poker'"),
    ],
)
def test_unknown_names_are_refused_before_the_first_step(small, tmp_path, override, hint):
    with pytest.raises(UnknownName, match=hint):
        Run(load(small, [override, f"root={tmp_path}"]))


def test_arrays_are_cut_so_whole_episodes_cannot_be_compared(small, tmp_path):
    with pytest.raises(ConfigError, match="by = 'play'"):
        Run(load(small, ["collect.by=arrays", "learners.0.estimator=group_mean", f"root={tmp_path}"]))


def test_a_correction_of_nothing_is_refused(small, tmp_path):
    given = ["learners.0.objective.correction=truncate", f"root={tmp_path}"]
    with pytest.raises(ConfigError, match=r"'truncate' .* old = 'recompute', or no correction"):
        Run(load(small, given))
    Run(load(small, [*given, "name=other", "learners.0.old=recompute"]))


def test_what_cannot_be_tabulated_is_not_measured(small, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_module, "tabulate", functools.partial(evaluate_module.tabulate, limit=10))
    with pytest.raises(ConfigError, match=r"evaluate.every = 5: kuhn_poker .* more than 10 .* set it to 0"):
        Run(load(small, ["evaluate.every=5", f"root={tmp_path}"]))
    Run(load(small, ["name=unmeasured", f"root={tmp_path}"]))


def test_differences_are_named(small):
    assert differences(load(small), load(small)) == {}
    assert differences(load(small), load(small, ["learners.0.epochs=9"])) == {
        "learners.0.epochs": "learners.0.epochs = 9, was 4"
    }


def test_choices_of_another_name_are_replaced_whole():
    below = {"estimator": {"name": "gae", "trace": 1.0}, "optimiser": {"name": "adam", "rate": 1.0}}
    above = {"estimator": {"name": "returns"}, "optimiser": {"name": "sgd"}}
    assert merged(below, above) == {
        "estimator": {"name": "returns"},
        "optimiser": {"name": "sgd", "rate": 1.0},
    }


@pytest.mark.parametrize("kind", TABLES.values(), ids=lambda kind: kind.__name__)
def test_every_field_has_help(kind):
    assert list(field_help(kind)) == [entry.name for entry in dataclasses.fields(kind)]
    assert all(name in explain() for name in field_help(kind))
