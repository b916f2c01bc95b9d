"""A learner: policy, optimiser, selector, estimator, objective. One step is `prepare`, then `learn`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.core.errors import ConfigError, TrainingError
from ludus.core.ledger import Ledger
from ludus.core.policy import Policy
from ludus.training.batch import CHUNK, Batch, gather, minibatches, rescored
from ludus.training.credit import ESTIMATORS, Credit
from ludus.training.objectives import Totals, objective
from ludus.training.select import select
from ludus.training.settings import LearnerConfig, Optimiser


class Learner:
    """Improves one policy from the decisions it selects.

    Several learners may share a policy. Prepare the batches of all learners of a step before any of
    them learns, so that what one learns from does not depend on another's update.

    Args:
        config: what it is made with.
        policy: the policy that learns.
        steps: steps of the whole run, for schedules.
        seed: decides how batches are shuffled.
        anchor: a frozen copy of the policy's first weights, where `config.reference` is "init".
    """

    def __init__(
        self, config: LearnerConfig, policy: Policy, *, steps: int, seed: int, anchor: Policy | None = None
    ) -> None:
        self.config, self.policy, self.steps = config, policy, steps
        self.name = config.name or config.policy
        self.memory: Mapping[str, float] = {}
        self.updates = 0
        self.rng = np.random.default_rng(np.random.SeedSequence(seed))
        self.weights: list[Tensor] = list(policy.parameters())
        self.optimiser = _optimiser(config.optimiser, self.weights)
        self.reference = anchor
        if config.reference == "magnet":
            self.reference = policy.frozen(f"{policy.name}@magnet")
        if config.objective.divergence and self.reference is None:
            raise ConfigError(
                f"learner {self.name}: a divergence needs a reference: reference = 'init' or 'magnet'"
            )

    # ------------------------------------------------------------------------------- one step
    def prepare(self, ledger: Ledger) -> Batch | None:
        """The batch of a step; None where the ledger holds nothing for this learner."""
        chosen, credit = self._credited(ledger)
        if not chosen.any():
            return None
        batch = gather(ledger, credit, chosen)
        ledger, size = batch.ledger, self.config.micro or CHUNK
        if self.config.old == "rollout":
            old = ledger.rollout
        else:
            old, _ = rescored(self.policy, ledger, size)
        reference = choices = None
        if self.reference is not None and self.config.objective.divergence:
            reference, choices = rescored(self.reference, ledger, size)
        if self.config.normalise == "batch":
            batch = dataclasses.replace(batch, advantages=whitened(batch.advantages))
        return dataclasses.replace(
            batch, ledger=dataclasses.replace(ledger, old=old), reference=reference, reference_choices=choices
        )

    def _credited(self, ledger: Ledger) -> tuple[NDArray[np.bool_], Credit]:
        estimate = ESTIMATORS.maker(self.config.estimator.name)
        credit: Credit = estimate(ledger, self.memory, **self.config.estimator.settings)
        self.memory = credit.memory
        policy = self.policy
        chosen = select(
            ledger, self.config.selector, policy=policy.name, version=policy.version, credit=credit
        )
        return chosen, credit

    def learn(self, batch: Batch, *, step: int, last_good: str = "none yet") -> dict[str, float]:
        """Update the policy; return metrics under CleanRL's names.

        Args:
            batch: what `prepare` made.
            step: the run's step, from 1; the schedule follows it, also over steps in which others learned.
            last_good: the newest checkpoint, for messages.

        Raises:
            TrainingError: a loss or gradient is not finite; the weights stay as they were before it.
        """
        rate = self._rate(step)
        sums: dict[str, float] = {}
        count = 0
        for _ in range(self.config.epochs):
            for rows in minibatches(batch.ledger.sequence, self.config.minibatches, self.rng):
                for name, number in self._update(batch, rows, last_good).items():
                    sums[name] = sums.get(name, 0.0) + number
                count += 1
        self.policy.version += 1
        self.updates += 1
        if self.config.reference == "magnet" and self.reference is not None:
            _follow(self.reference, self.policy, self.config.magnet_rate)
        log = {name: total / count for name, total in sums.items()}
        log["charts/learning_rate"] = rate
        log["charts/decisions"] = float(len(batch))
        log["charts/version"] = float(self.policy.version)
        if np.isfinite(batch.ledger.values).all() and np.ptp(batch.targets) > 0:
            left = np.var(batch.targets - batch.ledger.values)
            log["losses/explained_variance"] = float(1 - left / np.var(batch.targets))
        return log

    def _update(self, batch: Batch, rows: NDArray[np.int64], last_good: str) -> dict[str, float]:
        """One step of the optimiser on some rows, in micro-batches that add up."""
        advantages = batch.advantages
        if self.config.normalise == "minibatch":
            advantages = advantages.copy()
            advantages[rows] = whitened(advantages[rows])
        totals = _totals(batch, rows)
        self.optimiser.zero_grad(set_to_none=True)
        log: dict[str, float] = {}
        size = self.config.micro or len(rows)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            scores = self.policy.score(batch.ledger.rows(some))
            loss, numbers = objective(
                self.config.objective, scores, batch.part(some, advantages, scores), totals
            )
            if not math.isfinite(numbers["losses/loss"]):
                raise TrainingError(self._stopped("loss", numbers["losses/loss"], last_good))
            loss.backward()
            for name, number in numbers.items():
                log[name] = log.get(name, 0.0) + number
        log["losses/gradient_norm"] = self._clipped(last_good)
        self.optimiser.step()
        return log

    def _clipped(self, last_good: str) -> float:
        most = self.config.optimiser.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights, most))
        if not math.isfinite(norm):
            raise TrainingError(self._stopped("gradient", norm, last_good))
        return norm

    def _stopped(self, what: str, number: float, last_good: str) -> str:
        return (
            f"learner {self.name}, update {self.updates}: the {what} is {number}, and was not applied; "
            f"last good checkpoint: {last_good}"
        )

    def _rate(self, step: int) -> float:
        config = self.config.optimiser
        left = 1 - (step - 1) / self.steps if config.schedule == "linear" else 1.0
        rate = config.rate * max(left, 0.0)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    # ---------------------------------------------------------------------------- checkpoints
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and what JSON can hold."""
        tensors = {
            f"optimiser.{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for index, held in self.optimiser.state_dict()["state"].items()
            for name, value in held.items()
            if value is not None
        }
        if self.config.reference == "magnet" and self.reference is not None:
            tensors |= {f"magnet.{name}": weight for name, weight in self.reference.state().items()}
        about = {"memory": dict(self.memory), "updates": self.updates, "rng": self.rng.bit_generator.state}
        return tensors, about

    def load(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        held: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".", 2)
                held.setdefault(int(index), {})[key] = value.clone()
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": held, "param_groups": groups})
        if self.config.reference == "magnet" and self.reference is not None:
            magnet = {n.removeprefix("magnet."): w for n, w in tensors.items() if n.startswith("magnet.")}
            self.reference.load(magnet)
        self.memory, self.updates = dict(about["memory"]), int(about["updates"])
        self.rng.bit_generator.state = about["rng"]


def whitened(advantages: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean zero and (sample) deviation one, as in PPO; all alike stay at zero."""
    centred = advantages - advantages.mean()
    if len(advantages) < 2:
        return np.zeros_like(advantages)
    return np.asarray(centred / (advantages.std(ddof=1) + 1e-8), np.float64)


def _totals(batch: Batch, rows: NDArray[np.int64]) -> Totals:
    sampled = torch.from_numpy(batch.ledger.padded(batch.ledger.sampled, rows))
    replies = batch.ledger.replies
    return Totals.of(sampled, None if replies is None else torch.tensor([not replies[row] for row in rows]))


def _optimiser(config: Optimiser, weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    if config.name == "sgd":
        return torch.optim.SGD(weights, lr=config.rate)
    if config.name == "adam":
        return torch.optim.Adam(weights, lr=config.rate, eps=config.eps)
    return torch.optim.AdamW(weights, lr=config.rate, eps=config.eps, weight_decay=config.decay)


def _follow(magnet: Policy, policy: Policy, rate: float) -> None:
    """Move the magnet's weights a share `rate` towards the policy's."""
    ahead = policy.state()
    magnet.load(
        {
            name: weight.lerp(ahead[name].to(weight.dtype), rate)
            if weight.is_floating_point()
            else ahead[name]
            for name, weight in magnet.state().items()
        }
    )
