"""References: earlier selves of a policy, which its divergence is from and which may value positions for it.

init            the first weights
magnet          a moving average of the weights
target          the weights as they were at most so many steps ago
regularisation  for values a moving average of the weights; divergences are from the state it was in when the present
                iteration began, and from the one before as long as that fades

A reference that moves does so after each step in which its policy learned.

Source: Mnih et al. 2015, Nature 518 (targets); Perolat et al. 2022, arXiv:2206.15378 (regularisation).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.core.errors import ConfigError
from ludus.core.policy import Policy, Rows, Scores
from ludus.training.settings import LearnerConfig


class Reference(Protocol):
    """What a learner asks of one; every policy is one."""

    name: str

    def score(self, rows: Rows) -> Scores:
        """Log-probabilities of decisions."""

    def state(self) -> dict[str, Any]:
        """Everything that decides the answers, by name."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""


class Regularisation:
    """The references of R-NaD: a slow average of the policy, and two of its earlier states.

        log pi_reg = share log pi_now + (1 - share) log pi_before,   share = min(1, 2 n / every)

    n steps into an iteration of `every` steps; at the end of one `now` takes the place of `before`, and the
    average that of `now`.

    Args:
        policy: what it starts as.
        every: steps of an iteration.

    Attributes:
        average: the moving average of the policy's weights: the target network.
        steps: done so far.

    Source: Perolat et al. 2022, arXiv:2206.15378, supplement; OpenSpiel's R-NaD.
    """

    def __init__(self, policy: Policy, every: int) -> None:
        self.name, self.every, self.steps = f"{policy.name}@regularisation", every, 0
        self.average = policy.frozen(f"{policy.name}@magnet")
        self._now, self._before = policy.frozen(f"{self.name}_now"), policy.frozen(f"{self.name}_before")

    @property
    def share(self) -> float:
        """How much the newer of the two states counts."""
        return min(1.0, 2 * (self.steps % self.every) / self.every)

    def score(self, rows: Rows) -> Scores:
        """The mixed log-probabilities, which are not normalised; entropy and values are those of the newer state."""
        now, before = self._now.score(rows), self._before.score(rows)
        return Scores(
            logprobs=_mixed(now.logprobs, before.logprobs, self.share), mask=now.mask, entropy=now.entropy,
            choices=None if now.choices is None else _mixed(now.choices, before.choices, self.share),
        )  # fmt: skip

    def draw(self, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]) -> Any:
        """Moves, log-probabilities and values of the average."""
        draw = getattr(self.average, "draw", None)
        if draw is None:
            raise ConfigError(f"{self.average.name} draws no moves for many positions: values = 'rollout'")
        return draw(features, legal, uniform)

    def follow(self, policy: Policy, rate: float) -> None:
        """After a step: move the average, and begin the next iteration where this one is over."""
        approach(self.average, policy, rate)
        self.steps += 1
        if self.steps % self.every == 0:
            self._before.load(self._now.state())
            self._now.load(self.average.state())

    def state(self) -> dict[str, Tensor]:
        """Weights by name, and the steps done."""
        parts = (("average", self.average), ("now", self._now), ("before", self._before))
        weights = {f"{part}.{name}": weight for part, held in parts for name, weight in held.state().items()}
        return weights | {"steps": torch.tensor(self.steps)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        for part, held in (("average", self.average), ("now", self._now), ("before", self._before)):
            held.load({n.partition(".")[2]: w for n, w in state.items() if n.partition(".")[0] == part})
        self.steps = int(state["steps"])


def _mixed(now: Any, before: Any, share: float) -> Tensor:
    """The newer by its share and the older by the rest of one, where both are finite; else the newer."""
    finite = torch.isfinite(now) & torch.isfinite(before)
    mixed = share * now.masked_fill(~finite, 0.0) + (1 - share) * before.masked_fill(~finite, 0.0)
    return torch.where(finite, mixed, now)


def make_reference(
    config: LearnerConfig, policy: Policy, anchor: Policy | None, needs: AbstractSet[str] = frozenset()
) -> Reference | None:
    """The reference that a learner's configuration asks for.

    Args:
        config: of the learner.
        policy: the policy that learns.
        anchor: what it was at first.
        needs: what estimator, shapers, loss and modifiers need to know.

    Raises:
        ConfigError: there is none, and something needs it; or it values nothing, and has to.
    """
    found: Reference | None = anchor
    if config.reference == "regularisation":
        found = Regularisation(policy, config.reference_every)
    elif config.reference in ("magnet", "target"):
        found = policy.frozen(f"{policy.name}@{config.reference}")
    name = config.name or config.policy
    if found is None and (config.objective.divergence or needs & {"reference", "divergence"}):
        raise ConfigError(
            f"learner {name}: a divergence, the estimator {config.estimator.name} or the loss "
            f"{config.objective.loss.name} needs a reference: reference = 'init' or 'magnet'"
        )
    if config.values == "reference" and not hasattr(found, "draw"):
        raise ConfigError(
            f"learner {name}: values = 'reference' needs one, of a network: reference = 'target'"
        )
    return found


def follow(reference: Reference | None, policy: Policy, config: LearnerConfig, updates: int) -> None:
    """Move a reference after a step of its policy, the `updates`-th."""
    if isinstance(reference, Regularisation):
        reference.follow(policy, config.magnet_rate)
    elif reference is not None and config.reference == "magnet":
        approach(reference, policy, config.magnet_rate)
    elif reference is not None and config.reference == "target" and updates % config.reference_every == 0:
        reference.load(policy.state())


def average_of(reference: Reference | None, config: LearnerConfig) -> Any:
    """The moving average of a policy's weights, as an agent; None where the reference keeps none."""
    if isinstance(reference, Regularisation):
        return reference.average
    return reference if config.reference == "magnet" else None


def approach(average: Reference, policy: Policy, rate: float) -> None:
    """Move weights a share `rate` towards the policy's."""
    ahead = policy.state()
    average.load(
        {
            name: weight.lerp(ahead[name].to(weight.dtype), rate)
            if weight.is_floating_point()
            else ahead[name]
            for name, weight in average.state().items()
        }
    )
