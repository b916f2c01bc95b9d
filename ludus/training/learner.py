"""A learner: policy, optimiser, selector, estimator, objective. One step is `prepare`, then `learn`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.core.errors import TrainingError
from ludus.core.ledger import Ledger
from ludus.core.policy import Policy
from ludus.core.symmetry import Symmetry
from ludus.training import preparation
from ludus.training.batch import Batch, gather, minibatches, paired, row_sets
from ludus.training.buffers import make_buffer
from ludus.training.choices import Named
from ludus.training.distributed import ALONE, World, add_gradients, clip_gradients
from ludus.training.estimators.credit import ESTIMATORS, Credit
from ludus.training.estimators.groups import success
from ludus.training.estimators.shaping import rewards_by_column, shape
from ludus.training.objectives.control import Controls
from ludus.training.objectives.corrections import mismatch
from ludus.training.objectives.objective import check_goal, objective, reads_choices
from ludus.training.objectives.terms import MODIFIERS, POLICY_LOSSES, called, mark
from ludus.training.references import average_of, follow, make_reference
from ludus.training.select import eligible, select
from ludus.training.settings import LearnerConfig, Optimiser, Selector
from ludus.training.sharding import Shards, spread_state, whole_of


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
        symmetries: of the game, for buffers.
        world: the processes that learn together.
        shards: the policy's weights in parts, which they are when the learner is made.
    """

    def __init__(
        self,
        config: LearnerConfig,
        policy: Policy,
        *,
        steps: int,
        seed: int,
        anchor: Policy | None = None,
        symmetries: Sequence[Symmetry] = (),
        world: World = ALONE,
        shards: Shards | None = None,
    ) -> None:
        self.config, self.policy, self.steps = config, policy, steps
        self.name = config.name or config.policy
        self.world, self.shards = world, shards
        self.memory: Mapping[str, float] = {}
        self.updates = 0
        self.rng = np.random.default_rng(np.random.SeedSequence(seed))
        self.draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))  # of losses
        self.controls = Controls(config.objective, config.shaping)
        self.needs = preparation.needs_of(config)
        check_goal(config.objective)
        self._pairs = getattr(POLICY_LOSSES.maker(config.objective.loss.name), "pairs", None)
        self._as_sampled = config.old == "rollout" and preparation.compares(config)
        self.weights: list[Tensor] = list(policy.parameters())
        self.optimiser = _optimiser(config.optimiser, self.weights, one_by_one=shards is not None)
        self.reference = make_reference(config, policy, anchor, self.needs[0] | self.needs[1])
        self.buffer = make_buffer(config.buffer, symmetries)

    @property
    def average(self) -> Any:
        """The moving average of the policy's weights, as an agent; None where the learner keeps none."""
        return average_of(self.reference, self.config)

    # ------------------------------------------------------------------------------- one step
    def prepare(self, ledger: Ledger) -> Batch | None:
        """The batch of a step; None where the ledger holds nothing for this learner.

        In order: what estimator and shapers need to know of the policy's own decisions, shaping, the
        estimator, selection, what the loss needs to know, corrections, and normalised advantages.
        """
        if self.config.truncated == "drop":
            ledger = preparation.without_cut(ledger)
        ledger = preparation.read_by(ledger, self.config.selector)
        if self.buffer is not None and len(ledger):
            ledger = self._drawn(ledger)
        if not len(ledger):
            return None
        if self.config.values == "reference":
            ledger = preparation.valued(ledger, self.reference)
        ledger, known = preparation.filled(ledger, self.policy, self.needs[0], self.config, self.world)
        ledger = self._shaped(ledger)
        chosen, credit = self._credited(ledger)
        if not chosen.any():
            return None
        batch = gather(ledger, credit, chosen)
        if not reads_choices(self.config.objective):  # or every legal reply is scored for nothing
            batch = dataclasses.replace(batch, ledger=dataclasses.replace(batch.ledger, replies=None))
        batch = self._filled(batch, known, np.repeat(chosen, ledger.length))
        if "rate" in self.needs[1]:
            above = float(self.config.objective.loss.settings.get("above", 0.0))
            found = success(ledger, threshold=above)
            batch = dataclasses.replace(batch, rate=found.rate[chosen], right=found.right[chosen])
        batch = preparation.corrected_batch(batch, self.config)
        if self.config.normalise == "batch":
            batch = dataclasses.replace(batch, advantages=batch.whitened(np.arange(len(batch))))
        if self._pairs is not None:
            batch = paired(batch, self._paired(batch.ledger, credit.advantages[chosen]))
        if self.config.shaping:
            numbers = rewards_by_column(ledger.take(preparation.own(ledger, self.policy)))
            batch = dataclasses.replace(batch, numbers={**batch.numbers, **numbers})
        return batch

    def _drawn(self, ledger: Ledger) -> Ledger:
        """What the buffer gives for what it is given; an empty ledger as long as that is too little."""
        assert self.buffer is not None  # the caller looked
        policy = self.policy
        chosen = eligible(ledger, self.config.selector, policy=policy.name, version=policy.version)
        self.buffer.add(ledger, chosen, self.rng)
        drawn = self.buffer.drawn(self.rng, policy.name, policy.version)
        return ledger.take(np.zeros(0, np.int64)) if drawn is None else drawn

    def _shaped(self, ledger: Ledger) -> Ledger:
        """With what shapers add; the coefficient of the divergence is the controller's."""
        given: dict[str, Any] = {}
        shaping = self.config.shaping
        if "reference" in self.needs[0]:
            mine = preparation.own(ledger, self.policy)
            reference = np.full(len(ledger.ids), np.nan, np.float32)
            if mine.any() and self.reference is not None:
                found = preparation.scored(self.reference, ledger.take(mine), self.config, self.world)
                reference = preparation.spread(found.logprobs, ledger, mine)
            given = {"reference": reference, "coefficient": self.controls.reward}
            shaping = tuple(
                Named(
                    one.name,
                    {k: v for k, v in one.settings.items() if one.name != "kl" or k != "coefficient"},
                )
                for one in shaping
            )
            asked = np.repeat(mine, ledger.length) & ledger.sampled
            if asked.any():
                self.controls.rewarded(float((ledger.old - reference)[asked].mean()), int(mine.sum()))
        return shape(ledger, shaping, **given)

    def _credited(self, ledger: Ledger) -> tuple[NDArray[np.bool_], Credit]:
        estimate = ESTIMATORS.maker(self.config.estimator.name)
        if "divergence" in self.needs[0]:
            ledger = preparation.diverged(ledger, self.policy, self.reference, self.config, self.world)
        credit: Credit = estimate(ledger, self.memory, **self.config.estimator.settings)
        self.memory = credit.memory
        policy = self.policy
        selector = self.config.selector
        if self.buffer is not None:  # which took in no others
            selector = Selector(keep=selector.keep)
        chosen = select(ledger, selector, policy=policy.name, version=policy.version, credit=credit)
        if self.config.truncated == "mask":
            chosen = chosen & ~ledger.truncated
        most = self.config.selector.most
        if most and chosen.sum() > most:
            kept = self.rng.choice(np.flatnonzero(chosen), most, replace=False)
            chosen = np.isin(np.arange(len(chosen)), kept)
        if self._pairs is not None and chosen.any():
            held = np.zeros_like(chosen)
            held[np.flatnonzero(chosen)[self._paired(ledger.take(chosen), credit.advantages[chosen])]] = True
            chosen = held
        return chosen, credit

    def _paired(self, ledger: Ledger, advantages: NDArray[np.float64]) -> NDArray[np.int64]:
        """(P, 2) the better and the worse decision of each pair."""
        settings = self.config.objective.loss.settings
        assert self._pairs is not None  # the caller looked
        return np.asarray(called(self._pairs, settings, ledger, advantages), np.int64)

    def _filled(self, batch: Batch, known: preparation.Known | None, mine: NDArray[np.bool_]) -> Batch:
        """With old log-probabilities, entropies and the reference, as far as they are needed."""
        ledger, late = batch.ledger, self.needs[1]
        if known is not None:
            old, entropy = known.old[mine], known.entropy[mine]
        elif late & {"old", "entropy"}:
            found = preparation.scored(self.policy, ledger, self.config, self.world)
            old, entropy = found.logprobs, found.entropy
        else:
            old = entropy = np.zeros(len(ledger.ids), np.float32)
        reference = choices = None
        if self.reference is not None and (self.config.objective.divergence or "reference" in late):
            said = preparation.scored(self.reference, ledger, self.config, self.world)
            reference, choices = said.logprobs, said.choices
        return dataclasses.replace(
            batch,
            ledger=dataclasses.replace(ledger, old=ledger.rollout if self._as_sampled else old),
            reference=reference,
            reference_choices=choices,
            entropy=entropy if "entropy" in late else None,
        )

    def learn(
        self, batch: Batch, *, step: int, last_good: str = "none yet", spent: float = 0.0
    ) -> dict[str, float]:
        """Update the policy; return metrics under CleanRL's names.

        Args:
            batch: what `prepare` made.
            step: the run's step, from 1; the schedule follows it, also over steps in which others learned.
            last_good: the newest checkpoint, for messages.
            spent: the share of the run's time that is over, which the schedule follows where it is further on.

        Raises:
            TrainingError: a loss or gradient is not finite; the weights stay as they were before it.
        """
        rate = self._rate(step, spent)
        sums: dict[str, float] = {}
        apart: dict[str, float] = {}
        count = 0
        with nullcontext() if self.shards is None else self.shards.apart():
            for _ in range(self.config.epochs):
                for rows in minibatches(batch.ledger.sequence, self.config.minibatches, self.rng):
                    gaps: list[Tensor] | None = [] if self._as_sampled and not count else None
                    log = self._update(batch, rows, last_good, gaps)
                    apart = apart or self._mismatch(gaps)
                    self.controls.updated(log)
                    for name, number in log.items():
                        sums[name] = sums.get(name, 0.0) + number
                    count += 1
        self.optimiser.zero_grad(set_to_none=True)  # whoever samples next may need the room
        self.policy.version += 1
        self.updates += 1
        follow(self.reference, self.policy, self.config, self.updates)
        log = {name: total / count for name, total in sums.items()}
        log |= {**batch.numbers, **apart, **self.controls.numbers()}
        self.controls.learned(log, len(batch))
        log["charts/learning_rate"] = rate
        log["charts/decisions"] = float(len(batch))
        log["charts/version"] = float(self.policy.version)
        return log | _explained(batch)

    def _mismatch(self, gaps: list[Tensor] | None) -> dict[str, float]:
        """How far engine and policy are apart on the first minibatch, whose old log-probabilities nobody worked out."""
        if gaps is None:
            return {}
        every = torch.cat([gap for part in self.world.gathered([g.cpu() for g in gaps]) for gap in part])
        return mismatch(every, torch.ones_like(every))

    def _update(
        self, batch: Batch, rows: NDArray[np.int64], last_good: str, gaps: list[Tensor] | None = None
    ) -> dict[str, float]:
        """One step of the optimiser on some rows, in micro-batches that add up; `gaps` takes what the engine said amiss."""
        config = self.config
        advantages = batch.whitened(rows) if config.normalise == "minibatch" else batch.advantages
        marks, totals, goal = self._marks(batch, rows, advantages), batch.totals(rows), self.controls.goal
        self.optimiser.zero_grad(set_to_none=True)
        log: dict[str, float] = {}
        for some, counted in self._shares(batch, rows):
            scores = self.policy.score(batch.ledger.rows(some))
            part = batch.part(some, advantages, scores, marks)
            loss, numbers = objective(goal, scores, part, totals)
            if gaps is not None and counted:
                gaps.append((scores.logprobs.detach() - part.rollout)[scores.mask & part.mask])
            (loss * counted).backward()
            for name, number in numbers.items():
                log[name] = log.get(name, 0.0) + number * counted
        log = self.world.summed(log)
        if not math.isfinite(log["losses/loss"]):
            raise TrainingError(self._stopped("loss", log["losses/loss"], last_good))
        add_gradients(self.weights, self.world)
        log["losses/gradient_norm"] = self._clipped(last_good)
        self.optimiser.step()
        return log

    def _shares(self, batch: Batch, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], float]]:
        """The sets of rows that this process learns from, each once.

        Processes that hold weights in parts wait for each other at every set: who has fewer sets than
        another scores one that counts nothing.
        """
        config = self.config
        cut = {"most": config.micro, "tokens": config.micro_tokens, "together": batch.together}
        sets = row_sets(batch.ledger, rows, self.world, **cut)
        mine = [(some, 1.0) for some in self.world.share(sets)]
        if self.shards is not None:
            mine += [(sets[0], 0.0)] * (-(-len(sets) // self.world.size) - len(mine))
        return mine

    def _marks(
        self, batch: Batch, rows: NDArray[np.int64], advantages: NDArray[np.float64]
    ) -> dict[str, NDArray[np.bool_]]:
        """The tokens (M,) that loss and modifiers mark among all those of a minibatch."""
        goal, marks = self.config.objective, {}
        choices = [(POLICY_LOSSES, goal.loss), *((MODIFIERS, one) for one in goal.modifiers)]
        markers = [(one, f) for kind, one in choices if getattr(f := kind.maker(one.name), "marks", None)]
        if not markers:
            return {}
        field, where = batch.field(rows, advantages)
        for choice, function in markers:
            marks[choice.name] = np.zeros(len(batch.counted), np.bool_)
            if len(where):
                marks[choice.name][where] = mark(function, choice.settings, field, self.draws)
        return marks

    def _clipped(self, last_good: str) -> float:
        most = self.config.optimiser.clip or math.inf
        norm = clip_gradients(self.weights, most)
        if not math.isfinite(norm):
            raise TrainingError(self._stopped("gradient", norm, last_good))
        return norm

    def _stopped(self, what: str, number: float, last_good: str) -> str:
        return (
            f"learner {self.name}, update {self.updates}: the {what} is {number}, and was not applied; "
            f"last good checkpoint: {last_good}"
        )

    def _rate(self, step: int, spent: float) -> float:
        config, done = self.config.optimiser, max((step - 1) / self.steps, spent)
        falls = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * min(done, 1.0))) / 2}
        rises = min(step / config.warmup, 1.0) if config.warmup else 1.0
        rate = config.rate * rises * max(falls[config.schedule], 0.0)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    # ---------------------------------------------------------------------------- checkpoints
    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and what JSON can hold."""
        tensors = {
            f"optimiser.{index}.{name}": whole_of(torch.as_tensor(value))
            for index, held in self.optimiser.state_dict()["state"].items()
            for name, value in held.items()
            if value is not None
        }
        if self.config.reference not in ("", "init") and self.reference is not None:
            tensors |= {f"magnet.{name}": weight for name, weight in self.reference.state().items()}
        kept: dict[str, Any] = {}
        if self.buffer is not None:
            held, kept = self.buffer.state()
            tensors |= {f"buffer.{name}": torch.from_numpy(column) for name, column in held.items()}
        about = {
            "memory": dict(self.memory), "updates": self.updates, "rng": self.rng.bit_generator.state,
            "draws": self.draws.bit_generator.state, "controls": self.controls.state(),
            "buffer": kept,
        }  # fmt: skip
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
        spread_state(self.optimiser)
        if self.config.reference not in ("", "init") and self.reference is not None:
            self.reference.load(_below("magnet.", tensors))
        if self.buffer is not None:
            held_there = {name: t.numpy() for name, t in _below("buffer.", tensors).items()}
            self.buffer.load(held_there, about["buffer"])
        self.memory, self.updates = dict(about["memory"]), int(about["updates"])
        self.rng.bit_generator.state = about["rng"]
        self.draws.bit_generator.state = about["draws"]
        self.controls.load(about["controls"])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _explained(batch: Batch) -> dict[str, float]:
    """How much of what the value head should have said it did say, where it said something."""
    where = np.flatnonzero(batch.counted) if batch.values_by_token else np.arange(len(batch))
    said = (batch.ledger.token_values if batch.values_by_token else batch.ledger.values)[where]
    targets = batch.targets[where]
    if not np.isfinite(said).all() or not np.isfinite(targets).all() or np.ptp(targets) == 0:
        return {}
    return {"losses/explained_variance": float(1 - np.var(targets - said) / np.var(targets))}


def _optimiser(config: Optimiser, weights: Iterable[Tensor], *, one_by_one: bool) -> torch.optim.Optimizer:
    """`one_by_one`: weights in parts and whole ones cannot be updated in one call."""
    each = False if one_by_one else None
    if config.name == "sgd":
        return torch.optim.SGD(weights, lr=config.rate, foreach=each)
    moments: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "foreach": each}
    if config.name == "adam":
        return torch.optim.Adam(weights, lr=config.rate, **moments)
    return torch.optim.AdamW(weights, lr=config.rate, weight_decay=config.decay, **moments)
