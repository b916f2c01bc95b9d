"""Presets: each of them is a whole configuration, and learns."""

import dataclasses

import numpy as np
import pytest
from babbler import Babbler, talk

from ludus.core.errors import ConfigError
from ludus.training.checks import check_learner
from ludus.training.configuration import parse, tables
from ludus.training.learner import Learner
from ludus.training.recipes import PRESETS

OF_TOKENS = sorted(
    {*PRESETS} - {"ppo", "magnet", "best_response", "magnet_lm", "sft"}
)  # those are for legal moves, or files


def chosen(preset, **changes):
    return parse(
        {
            "game": {"name": "kuhn_poker"}, "policies": {"main": "network"}, "lineup": {"player": "main"},
            "phases": [{"steps": 1}], "learners": [{"policy": "main", "preset": preset, **changes}],
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", OF_TOKENS)
def test_every_preset_learns(name):
    constant = PRESETS[name]["objective"].get("aggregation", {}) == {"name": "constant"}
    run = chosen(name, objective={"aggregation": {"length": 64}} if constant else {})
    (config,) = run.learners
    check_learner(config, arrays=False)
    assert parse(tables(run)) == run
    fast = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, rate=0.05))
    policy = Babbler()
    one = Learner(fast, policy, steps=10, seed=0, anchor=Babbler("anchor", seed=9))
    log = one.learn(one.prepare(talk(policy, groups=6)), step=1)
    assert np.isfinite(list(log.values())).all()
    assert log["losses/gradient_norm"] > 0


def test_a_constant_length_is_asked_for_and_not_guessed():
    (config,) = chosen("spiral").learners
    with pytest.raises(ConfigError, match="learner main: the aggregation constant wants length"):
        check_learner(config, arrays=False)
