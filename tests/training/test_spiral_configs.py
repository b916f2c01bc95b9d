"""SPIRAL's runs in configs/: the published numbers, games that can be made, settings that somebody takes."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from ludus.agents.language.engines.engine import Sampling
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.manner import Manner
from ludus.agents.language.models.causal import CausalModel
from ludus.agents.language.prompts import Prompter
from ludus.agents.language.teach import teach
from ludus.config import load
from ludus.core.match import Illegal
from ludus.core.registry import make
from ludus.training.run import train

CONFIGS = Path(__file__).parents[2] / "configs"
SPIRAL = sorted(CONFIGS.glob("spiral_*.toml"))
FULL = [path for path in SPIRAL if "qwen3" in path.stem]
TINY = [path for path in SPIRAL if "tiny" in path.stem]


def takes(*functions):
    return {name for function in functions for name in inspect.signature(function).parameters}


@pytest.mark.parametrize("path", FULL, ids=lambda p: p.stem)
def test_full_scale_has_the_published_numbers(path):
    """Table 6 of arXiv 2506.24119, and what its released code pays for replies that are no move."""
    config = load(path)
    (learner,), (phase,) = config.learners, config.phases
    assert learner.estimator.name == "role_baseline"
    assert learner.estimator.settings["decay"] == 0.95
    assert learner.objective.loss.settings == {"low": 0.2, "high": 0.2}
    assert (learner.objective.divergence, learner.objective.entropy, learner.objective.value) == (0, 0, 0)
    optimiser = learner.optimiser
    assert (optimiser.name, optimiser.rate, optimiser.schedule) == ("adamw", 1e-6, "constant")
    assert (optimiser.betas, optimiser.decay, optimiser.clip) == ((0.9, 0.95), 0.0, 1.0)
    assert (learner.epochs, learner.minibatches, phase.steps) == (2, 1, 400)
    settings = config.policies["main"].settings
    assert (settings["max_new_tokens"], settings["temperature"], settings["top_p"]) == (8192, 1.0, 1.0)
    assert learner.objective.aggregation.settings == {"length": settings["max_new_tokens"]}
    collect = config.collect
    assert (collect.max_steps, collect.forfeit_payoff, collect.empty_payoff) == (50, (-1.5, 0.5), (-1.0, 1.0))


@pytest.mark.parametrize("path", FULL, ids=lambda p: p.stem)
def test_full_scale_policies_are_made_with_settings_that_exist(path):
    manner = {field.name for field in fields(Manner)}
    assert {field.name for field in fields(Sampling)} - {"ignore_end"} <= manner
    settings = load(path).policies["main"].settings
    assert set(settings) <= manner | takes(LanguageModel, CausalModel)
    Manner(**{name: value for name, value in settings.items() if name in manner}).prompter()


@pytest.mark.parametrize("path", SPIRAL, ids=lambda p: p.stem)
def test_games_can_be_made_and_their_forfeits_priced(path):
    config = load(path)
    price = Illegal(payoff=config.collect.forfeit_payoff, empty=config.collect.empty_payoff)
    for game in config.every_game:
        price.check(make(game.name, **game.params))


@pytest.mark.parametrize("path", TINY, ids=lambda p: p.stem)
def test_tiny_runs_take_a_step(path, tmp_path):
    lessons = load(path).policies["main"].settings["lessons"]
    assert set(lessons) <= takes(teach, Prompter)
    short = ["phases.0.steps=1", "collect.games=6", "evaluate.every=0", f"root={tmp_path}"]
    short += [
        "policies.main.lessons.steps=20",
        "policies.main.lessons.episodes=6",
        "policies.main.model.width=32",
    ]
    folder = train(load(path, short), quiet=True)
    assert (folder / "metrics.jsonl").read_text().strip()
