"""Sampling one step ahead: the next step's games are played by the policies as they are before they learn.

    collect.lag = 0     play with the newest weights, then learn
    collect.lag = 1     play the next step's games with the weights from before the update of this step

With `collect.apart` the games are played in a thread while the learners learn, by twins of the policies
with weights of their own, or by an engine that holds its own weights anyway. Without it they are played
first, on the same engine: slower, and the same to the last bit.

What is learned from is as many versions old as learners have moved its policy since. Ratios are to the
log-probabilities that the policy gives the replies when the batch begins (old = "recompute"); how far
those are from the engine's is what corrections weigh by. The first step of a phase is not played ahead.

Source: Noukhovitch et al. 2025, arXiv:2410.18252 (one step off-policy); Hilton et al. 2022,
arXiv:2110.00641 (decoupled correction).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch

from ludus.core.episode import Episode
from ludus.core.errors import ConfigError
from ludus.core.game import Seat
from ludus.core.ledger import Ledger
from ludus.core.policy import Policy
from ludus.training.checks import name_of
from ludus.training.lineup import Cast
from ludus.training.rollout import Table
from ludus.training.settings import RunConfig


class Played(NamedTuple):
    """The games of a step.

    Attributes:
        step: that they were played for.
        ledger: their decisions.
        numbers: metrics of them.
        episodes: themselves.
    """

    step: int
    ledger: Ledger
    numbers: dict[str, float]
    episodes: list[Episode]


class Pipeline:
    """Plays the games of a run's steps, ahead where the configuration says so.

    Args:
        config: of the run.
        table: what is played.

    Raises:
        ConfigError: batches would be older than a learner allows, or cannot be sampled ahead.
    """

    def __init__(self, config: RunConfig, table: Table) -> None:
        check(config, table)
        self.config, self.table = config, table
        self._ahead: Played | None = None
        self._twins: dict[str, Policy] = {}
        if config.collect.apart:
            self._twins = {name: _twin(policy) for name, policy in table.cast.policies.items()}

    def take(self, lineup: Mapping[Seat, str], step: int) -> Played:
        """The games of a step, which may have been played already."""
        ahead, self._ahead = self._ahead, None
        assert ahead is None or ahead.step == step  # phases and steps follow from the configuration
        return ahead or self._play(self.table, lineup, step)

    @contextmanager
    def meanwhile(self, lineup: Mapping[Seat, str], step: int) -> Iterator[None]:
        """Play the games of a coming step, before or while the body of the `with` changes the policies."""
        if not self.config.collect.apart:
            self._ahead = self._play(self.table, lineup, step)
            yield
            return
        table = self._aside()
        # How many threads torch computes with is a setting of each thread that asks it to.
        with ThreadPoolExecutor(1, "ludus-ahead", torch.set_num_threads, (self.config.threads,)) as threads:
            games = threads.submit(self._play, table, lineup, step)
            yield
            self._ahead = games.result()

    def _play(self, table: Table, lineup: Mapping[Seat, str], step: int) -> Played:
        ledger, tally, episodes = table.rollout(lineup, step=step)
        return Played(step, ledger, tally.metrics(), episodes)

    def _aside(self) -> Table:
        """The table with the policies' twins, as the policies now are."""
        for name, policy in self.table.cast.policies.items():
            _follow(self._twins[name], policy)
        seated: Cast = copy.copy(self.table.cast)
        seated.policies = self._twins
        return dataclasses.replace(self.table, cast=seated)

    # ------------------------------------------------------------------------------ checkpoints
    def state(self) -> dict[str, Any] | None:
        """The games that were played ahead, as JSON holds them; None where there are none."""
        if self._ahead is None:
            return None
        step, _, numbers, episodes = self._ahead
        return {"step": step, "numbers": numbers, "episodes": [episode.to_json() for episode in episodes]}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Continue from what `state` returned."""
        if state is None:
            self._ahead = None
            return
        episodes = [Episode.from_json(line) for line in state["episodes"]]
        self._ahead = Played(int(state["step"]), Ledger.of(episodes), dict(state["numbers"]), episodes)


def check(config: RunConfig, table: Table) -> None:
    """Refuse what cannot be sampled ahead, and learners that would be given nothing.

    Raises:
        ConfigError: with what to change.
    """
    collect = config.collect
    if collect.apart and not collect.lag:
        raise ConfigError("collect.apart = true plays while learners learn: that is with collect.lag = 1")
    if not collect.lag:
        return
    if collect.by == "arrays":
        raise ConfigError(
            "collect.lag = 1 is for collect.by = 'play': arrays run on from step to step, lag = 0"
        )
    if collect.apart and table.world.size > 1:
        raise ConfigError(
            "collect.apart = true is for one process: several wait for each other in one order, apart = false"
        )
    for name, policy in table.cast.policies.items():
        if collect.apart and getattr(getattr(policy, "model", None), "value_head", None) is not None:
            raise ConfigError(
                f"{name} has a value head, which games that are cut ask while it learns: apart = false"
            )
    for phase in config.phases:
        active = [one for one in config.learners if not phase.learners or name_of(one) in phase.learners]
        ages = Counter(one.policy for one in active)
        for one in active:
            if "fresh" in one.selector.sources and one.selector.max_age < ages[one.policy]:
                raise ConfigError(
                    f"learner {name_of(one)}: with collect.lag = 1 what it learns from is {ages[one.policy]} version(s) old, "
                    f"and it allows {one.selector.max_age}: selector.max_age = {ages[one.policy]}"
                )


def _twin(policy: Policy) -> Policy:
    """Who plays in a policy's place while it learns, under the same name.

    An engine with weights of its own goes on with those it has; else the weights are copied.

    Raises:
        ConfigError: the policy is an adapter of a model that samples and learns by turns.
    """
    model: Any = policy
    desk = getattr(model, "desk", None)
    if desk is None:
        return policy.frozen(policy.name)
    from ludus.agents.language.engines.continuous import TransformersEngine

    if not isinstance(desk.engine, TransformersEngine):
        other = copy.copy(model)
        other.forget()
        return cast("Policy", other)
    if model.model.adapter:
        raise ConfigError(
            f"collect.apart = true: {policy.name} is an adapter, and its model cannot sample and learn at once: "
            "engine = 'vllm', or apart = false"
        )
    return policy.frozen(policy.name)


def _follow(twin: Policy, policy: Policy) -> None:
    """Let a twin play as the policy now is."""
    desk = getattr(twin, "desk", None)
    twin.version = policy.version
    if desk is not None and desk is getattr(policy, "desk", None):
        cast("Any", twin).submit([])  # hands the engine the weights before they change
        cast("Any", twin).fingerprint()
        return
    twin.load(policy.state())
