"""Coefficients that change while a learner learns: of the divergence, in loss and reward, and of the entropy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ludus.core.errors import ConfigError
from ludus.training.choices import Named
from ludus.training.objectives.divergences import DIVERGENCE_CONTROLLERS, ENTROPY_CONTROLLERS
from ludus.training.settings import Objective


class Controls:
    """The coefficients of one learner, as its controllers move them.

    Args:
        goal: its objective, with the first coefficients and the controllers.
        shaping: its shapers; one called "kl" has the first coefficient of the reward's divergence.

    Attributes:
        divergence: in the loss.
        reward: of the divergence in the reward.
        entropy: held by the entropy's controller.
        applied: of the entropy, in the next update.
    """

    def __init__(self, goal: Objective, shaping: tuple[Named, ...] = ()) -> None:
        self._goal = goal
        self.divergence = goal.divergence
        self.reward = _in_reward(shaping)
        self.entropy, self.applied = self._entropy(goal.entropy, None)

    def _entropy(self, held: float, measured: float | None) -> tuple[float, float]:
        choice = self._goal.entropy_control
        both: tuple[float, float] = ENTROPY_CONTROLLERS.maker(choice.name)(held, measured, **choice.settings)
        return both

    def _moved(self, coefficient: float, measured: float, n: int) -> float:
        choice = self._goal.divergence_control
        moved: float = DIVERGENCE_CONTROLLERS.maker(choice.name)(coefficient, measured, n, **choice.settings)
        return moved

    @property
    def goal(self) -> Objective:
        """The objective of the next update."""
        return dataclasses.replace(self._goal, divergence=self.divergence, entropy=self.applied)

    def updated(self, log: Mapping[str, float]) -> None:
        """After an update of the weights, with its metrics."""
        over = "losses/entropy" if self._goal.entropy_over == "choices" else "losses/token_entropy"
        self.entropy, self.applied = self._entropy(self.entropy, log.get(over))

    def learned(self, log: Mapping[str, float], decisions: int) -> None:
        """After a step, with the means of its metrics."""
        if "losses/kl" in log:
            self.divergence = self._moved(self.divergence, log["losses/kl"], decisions)

    def rewarded(self, measured: float, decisions: int) -> None:
        """After the reward of a step was charged for leaving the reference."""
        self.reward = self._moved(self.reward, measured, decisions)

    def numbers(self) -> dict[str, float]:
        """For logs: the coefficients that are not fixed."""
        told = {}
        if self._goal.entropy_control.name != "fixed":
            told["charts/entropy_coefficient"] = self.applied
        if self._goal.divergence_control.name != "fixed":
            told["charts/divergence_coefficient"] = self.divergence or self.reward
        return told

    def state(self) -> dict[str, Any]:
        """What JSON can hold of them."""
        return {name: getattr(self, name) for name in ("divergence", "reward", "entropy", "applied")}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name, value in state.items():
            setattr(self, name, float(value))


def _in_reward(shaping: tuple[Named, ...]) -> float:
    for choice in shaping:
        if choice.name == "kl":
            if "coefficient" not in choice.settings:
                raise ConfigError("the shaper kl needs a coefficient: what one nat from the reference costs")
            return float(choice.settings["coefficient"])
    return 0.0
