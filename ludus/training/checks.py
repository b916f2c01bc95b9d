"""What is refused before a run begins: unknown names, settings that do not go together."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.registry import Registry
from ludus.training.choices import Named
from ludus.training.estimators.credit import ESTIMATORS
from ludus.training.estimators.shaping import SHAPERS
from ludus.training.evaluation.evaluate import seated
from ludus.training.gathering import Collect
from ludus.training.objectives.divergences import DIVERGENCE_CONTROLLERS, ENTROPY_CONTROLLERS
from ludus.training.objectives.objective import AGGREGATIONS, CORRECTIONS
from ludus.training.objectives.terms import MODIFIERS, POLICY_LOSSES, required_of, settings_of
from ludus.training.select import FILTERS
from ludus.training.settings import LearnerConfig, RunConfig


def name_of(learner: LearnerConfig) -> str:
    """A learner's name in metrics."""
    return learner.name or learner.policy


def occupants(config: RunConfig) -> set[str]:
    """Everybody who is named in a lineup, or is what a learner's divergence is from."""
    lineups = [config.lineup, *(phase.lineup for phase in config.phases)]
    members = [member for shares in config.mixtures.values() for member in shares]
    anchors = {f"{learner.policy}@init" for learner in config.learners if learner.reference == "init"}
    return anchors.union(members, seated(config.evaluate), *(lineup.values() for lineup in lineups))


def check_learner(learner: LearnerConfig, collect: Collect) -> None:
    """Refuse settings that nobody takes, and choices that do not go together.

    Raises:
        UnknownName: a setting, with those that the choice takes.
        ConfigError: choices do not go together.
    """
    goal = learner.objective
    choices: tuple[tuple[Registry, Named], ...] = (
        (ESTIMATORS, learner.estimator),
        (POLICY_LOSSES, goal.loss),
        (AGGREGATIONS, goal.aggregation),
        (FILTERS, learner.selector.keep),
        (ENTROPY_CONTROLLERS, goal.entropy_control),
        (DIVERGENCE_CONTROLLERS, goal.divergence_control),
        *((CORRECTIONS, one) for one in goal.correction),
        *((MODIFIERS, one) for one in goal.modifiers),
        *((SHAPERS, one) for one in learner.shaping),
    )
    for registry, choice in choices:
        takes = settings_of(registry.maker(choice.name))
        for key in choice.settings:
            if key not in takes:
                raise UnknownName(f"setting of the {registry.kind} {choice.name}", key, takes)
        lacking = [key for key in required_of(registry.maker(choice.name)) if key not in choice.settings]
        if lacking and registry is not SHAPERS:  # whose settings come from controllers, too
            raise ConfigError(
                f"learner {name_of(learner)}: the {registry.kind} {choice.name} wants {', '.join(lacking)}"
            )
    if learner.old == "rollout" and goal.correction:
        names = ", ".join(repr(one.name) for one in goal.correction)
        raise ConfigError(
            f"learner {name_of(learner)}: the correction {names} compares old log-probabilities with those "
            "of the rollout, and old = 'rollout' makes them the same: old = 'recompute', or no correction"
        )
    if learner.estimator.name == "remax" and learner.selector.keep.name != "but_sample":
        raise ConfigError(
            f"learner {name_of(learner)}: remax compares with greedy replies, which are not to be learned from: "
            'selector.keep = { name = "but_sample", sample = 0 }'
        )
    loss = POLICY_LOSSES.maker(goal.loss.name)
    if "policy_target" in getattr(loss, "needs", ()) and not collect.search.simulations:
        raise ConfigError(
            f"learner {name_of(learner)}: {goal.loss.name} learns what a search would play: "
            "collect.search.simulations = 64, for example"
        )
    if learner.estimator.name == "v_trace" and goal.loss.name == "neurd":
        etas = {one.settings.get("regularisation", 0.2) for one in (learner.estimator, goal.loss)}
        if len(etas) > 1:
            raise ConfigError(
                f"learner {name_of(learner)}: estimator and loss have different regularisations {sorted(etas)}: give "
                "both the same"
            )
    if collect.by == "arrays" and not collect.whole and learner.estimator.name != "gae":
        raise ConfigError(
            f"learner {name_of(learner)}: {learner.estimator.name} compares whole episodes, and arrays are cut "
            "at the end of each step: collect.whole = true, collect by = 'play', or estimator = 'gae'"
        )


def recipe(name: str) -> Callable[..., Path]:
    """The function module:function that makes a run.

    Raises:
        ConfigError: there is none.
    """
    module, _, function = name.partition(":")
    try:
        return cast("Callable[..., Path]", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as fault:
        raise ConfigError(
            f"recipe {name!r} cannot be found ({fault}); write it as module:function"
        ) from fault
