"""A run: policies, learners and phases, from a configuration to a folder.

    from ludus.config import load
    from ludus.training.run import train

    folder = train(load("configs/ppo_kuhn.toml"))

A step collects decisions, prepares every learner's batch, lets the learners learn, and writes a
line of metrics. All that decides the next step is in a checkpoint, so that a run killed at any
moment and resumed writes the same metrics and ends with the same weights.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ludus.core.array_game import ArrayGame
from ludus.core.episode import Episode
from ludus.core.errors import ConfigError, TrainingError, UnknownName
from ludus.core.ledger import Ledger, join
from ludus.core.match import seats_filled
from ludus.core.policy import Policy
from ludus.core.registry import make
from ludus.training.cards import write_cards
from ludus.training.checks import check_learner, name_of, occupants, recipe
from ludus.training.claims import claim, noted
from ludus.training.collect import Tally
from ludus.training.distributed import ALONE, World
from ludus.training.evaluation.evaluate import Evaluation
from ludus.training.learner import Learner
from ludus.training.lineup import Cast
from ludus.training.metrics import Display, Metrics
from ludus.training.pipeline import Pipeline
from ludus.training.policies import make_policy, prepare_policy
from ludus.training.rollout import Table, smaller
from ludus.training.searching import collector
from ludus.training.settings import LearnerConfig, Phase, RunConfig
from ludus.training.sharding import cut
from ludus.training.stop import Stop
from ludus.training.store import Parts, Store, arrays_of, tensors_of
from ludus.training.transcripts import Library


def train(config: RunConfig, *, resume: bool = False, quiet: bool = False) -> Path:
    """Run what a configuration describes; return the run's folder.

    Args:
        config: what to do.
        resume: continue from the newest checkpoint in the run's folder.
        quiet: show no progress.

    Raises:
        ConfigError: the configuration cannot be run, its folder holds another run, or there is none to resume.
        TrainingError: a loss or gradient is not finite; names the last good checkpoint.
    """
    if config.recipe:
        return recipe(config.recipe)(config, resume=resume, quiet=quiet)
    return Run(config, resume=resume, world=World.here()).go(quiet=quiet)


class Run:
    """Everything that lives while a run goes on.

    Args:
        config: what to do.
        resume: continue from the newest checkpoint in the run's folder.
        world: the processes that train together.

    Attributes:
        folder: of the run.
        policies: by name; what has been learned so far.
        done: steps done.
        decisions: decisions learned from so far.
    """

    def __init__(self, config: RunConfig, *, resume: bool = False, world: World = ALONE) -> None:
        self.config, self.folder, self.world = config, Path(config.root) / config.name, world
        if world.first:
            claim(self.folder, config, resume=resume)
        world.wait()
        with noted(self.folder, writes=world.first):
            self._make(config, world, resume=resume)

    def _make(self, config: RunConfig, world: World, *, resume: bool) -> None:
        """Everybody and everything, as new or as the newest checkpoint says."""
        torch.set_num_threads(config.threads)
        self.games = tuple(make(game.name, **game.params) for game in config.every_game)
        only = self.games[0] if len(self.games) == 1 else None
        self._symmetries = only.symmetries() if isinstance(only, ArrayGame) else []
        seeds = np.random.SeedSequence(config.seed).generate_state(4 + len(config.policies))
        home = self.folder / "policies"
        home.mkdir(exist_ok=True)
        every = [
            (name, kind.name, {"seed": int(seed), "folder": home / f"{name}@made", **kind.settings})
            for (name, kind), seed in zip(config.policies.items(), seeds[4:], strict=True)
        ]
        with world.first_alone():
            for _, kind, settings in every:
                prepare_policy(kind, self.games, **settings)
        # all at once: engines may have to find each other
        self.policies: dict[str, Policy] = {
            name: make_policy(kind, self.games, name=name, **settings) for name, kind, settings in every
        }
        named = occupants(config)
        draws = np.random.default_rng(seeds[0])
        self.cast = Cast(self.policies, self.folder / "snapshots", draws, named, world, config.mixtures)
        shares = tuple(game.share for game in config.every_game)
        self.table = Table(self.games, shares, self.cast, config.collect, config.seed, world)
        self.pipeline = Pipeline(config, self.table)
        self.shards = cut(config, self.policies, named, world)
        self.learners = {name_of(one): self._learner(one, int(seeds[1])) for one in config.learners}
        for shards in self.shards.values():
            shards.whole()
        self.evaluation = Evaluation(config, self.games, self.cast, self.learners)
        self._check()
        self.library = Library(config, self.policies)
        self.collector = None
        if config.collect.by == "arrays" or config.collect.search.simulations:
            if len(self.games) > 1:
                raise ConfigError("arrays hold one game: learn several with collect.by = 'play'")
            self.collector = collector(self.games[0], config.collect, seed=int(seeds[2]))
        self.store = Store(self.folder, keep=config.keep_checkpoints, writes=world.first)
        self.done = self.decisions = 0
        self.seconds = 0.0
        self._last: deque[str] = deque(maxlen=config.keep_episodes)
        self._kept = 0
        if resume and self.store.checkpoints():
            self._restore(self.store.find())

    def _learner(self, config: LearnerConfig, seed: int) -> Learner:
        if config.policy not in self.policies:
            raise UnknownName("policy of a learner", config.policy, self.policies)
        policy = self.policies[config.policy]
        if hasattr(policy, "check_learnable"):
            policy.check_learnable()
        anchor = self.cast.anchor(config.policy) if config.reference == "init" else None
        mixed = int(np.random.SeedSequence([seed, *name_of(config).encode()]).generate_state(1)[0])
        return Learner(
            config, self.policies[config.policy], steps=self.config.steps, seed=mixed, anchor=anchor,
            symmetries=self._symmetries, world=self.world, shards=self.shards.get(config.policy),
        )  # fmt: skip

    def _check(self) -> None:
        """Refuse what would fail later: unknown occupants, learners and settings."""
        if len(self.learners) != len(self.config.learners):
            raise ConfigError("learners share a name: give each a name of its own")
        for phase in self.config.phases:
            lineup = phase.lineup or self.config.lineup
            for game in self.games:
                filled = seats_filled(game, lineup)
                for seat in game.players:
                    self.cast.check(filled[seat])
            for name in phase.learners:
                if name not in self.learners:
                    raise UnknownName("learner of a phase", name, self.learners)
        for learner in self.config.learners:
            check_learner(learner, self.config.collect)
            for name in learner.selector.of:
                self.cast.check(name)
        self.evaluation.check()

    # -------------------------------------------------------------------------------- the loop
    def go(self, *, quiet: bool = False) -> Path:
        """Do the steps that are left; return the folder.

        Raises:
            KeyboardInterrupt: Ctrl-C; a run of one process has finished its step and written a checkpoint.
        """
        alone = self.world.size == 1
        with noted(self.folder, writes=self.world.first), Stop(listens=alone) as stop:
            return self._steps(stop, quiet=quiet)

    def _steps(self, stop: Stop, *, quiet: bool) -> Path:
        began = time.monotonic() - self.seconds
        metrics = Metrics(self.config, self.store, self.done)
        if not self.done:
            self._begin(metrics)
        with Display(self.config, quiet=quiet or not self.world.first) as display:
            for step in () if self._over(self.done) else range(self.done + 1, self.config.steps + 1):
                line = self._step(step)
                self.seconds = time.monotonic() - began
                line |= {"time/seconds": self.seconds, "charts/SPS": self.decisions / max(self.seconds, 1e-9)}
                measured = any(name.startswith("eval/") for name in line)
                last = self._over(step)
                if step % self.config.log_every == 0 or last or measured:
                    metrics.write(step, line)
                display.show(step, line)
                every = self.config.checkpoint_every
                if last:
                    self._finish()
                over = last or stop.asked
                if over or (every and step % every == 0):
                    self.checkpoint()
                if over:
                    break
        metrics.close()
        return self.folder

    def _over(self, step: int) -> bool:
        """Whether the run ends with a step, because it was the last or the time is up."""
        return step == self.config.steps or bool(self.config.minutes and self._spent() >= 1)

    def _spent(self) -> float:
        """The share of the run's time that is over; 0 where it has no limit."""
        return self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0

    def _begin(self, metrics: Metrics) -> None:
        for name, policy in self.policies.items():
            if self.world.first:
                policy.save(self.folder / "policies" / f"{name}@init")
        if self.config.evaluate.every:
            metrics.write(0, self._measured(0))
        if self.collector is not None:
            self._keep_first(self._beside(0))

    def _step(self, step: int) -> dict[str, float]:
        phase, first = self._phase(step)
        if first:
            self.cast.begin_phase()
        every = self.config.snapshot_every
        if every and (step - 1) % every == 0:
            self.cast.snapshot()
        ledger, line = self._collect(step, phase)
        active = [self.learners[name] for name in phase.learners or self.learners]
        batches = [(learner, learner.prepare(ledger)) for learner in active]
        if all(batch is None for _, batch in batches):
            line["charts/skipped"] = 1.0  # all groups unanimous, all replies cut: the next step has others
        if not {learner.policy.name for learner in active} & set(ledger.policies):
            raise TrainingError(
                f"step {step}: nobody had anything to learn from; the lineup seats {list(ledger.policies)}, "
                f"and the learners learn {[learner.policy.name for learner in active]}"
            )
        with self._ahead(step):
            for learner, batch in batches:
                if batch is not None:
                    self.decisions += len(batch)
                    log = learner.learn(batch, step=step, last_good=self.store.last_good, spent=self._spent())
                    prefix = "" if len(self.learners) == 1 else f"{learner.name}/"
                    line |= {f"{prefix}{name}": number for name, number in log.items()}
        line["global_step"] = float(self.decisions)
        self.done = step
        every = self.config.evaluate.every
        if every and (step % every == 0 or step == self.config.steps):
            line |= self._measured(step)
        return line

    def _measured(self, step: int) -> dict[str, float]:
        """What the first process measures, while others wait."""
        return self.evaluation.measure(step) if self.world.first else {}

    def _phase(self, step: int) -> tuple[Phase, bool]:
        """The phase of a step, and whether the step is its first."""
        left = (step - 1) % sum(phase.steps for phase in self.config.phases)
        for phase in self.config.phases:
            if left < phase.steps:
                return phase, left == 0
            left -= phase.steps
        raise AssertionError("a step lies in one of the phases")

    def _ahead(self, step: int) -> AbstractContextManager[None]:
        """Plays the games of the step after this one, where they are played ahead."""
        if not self.config.collect.lag or step == self.config.steps:
            return nullcontext()
        phase, first = self._phase(step + 1)
        if first or all(reads.file for reads in phase.reads):
            return nullcontext()
        return self.pipeline.meanwhile(phase.lineup or self.config.lineup, step + 1)

    def _collect(self, step: int, phase: Phase) -> tuple[Ledger, dict[str, float]]:
        """What the learners of a step may learn from: played now, and read from files."""
        told = self.library.drawn(phase, step)
        if all(reads.file for reads in phase.reads):
            return join(told), Tally().metrics()
        fresh, numbers = self._play(step, phase.lineup or self.config.lineup)
        return join([fresh, *told]), numbers

    def _play(self, step: int, lineup: Mapping[str, str]) -> tuple[Ledger, dict[str, float]]:
        if self.collector is not None:
            ledger, tally = self.collector.collect(self.cast, lineup)  # every process the same
            return ledger, tally.metrics()
        _, ledger, numbers, played = self.pipeline.take(lineup, step)
        self._keep_first(played)
        if self.config.keep_episodes and self._left(step) < self.config.keep_episodes:
            self._last.extend(episode.to_json() for episode in played)
        return ledger, numbers

    def _left(self, step: int) -> int:
        """Episodes still to come after a step."""
        return (self.config.steps - step) * self.config.collect.games

    # ---------------------------------------------------------------------- episodes to be kept
    def _beside(self, step: int) -> list[Episode]:
        """Episodes played beside the arrays, which keep none, by the same policies in the same seats."""
        if not self.config.keep_episodes:
            return []
        phase, _ = self._phase(max(step, 1))
        lineup = phase.lineup or self.config.lineup
        return smaller(self.table, self.config.keep_episodes).episodes(lineup, step=step)

    def _keep_first(self, played: list[Episode]) -> None:
        some = played[: max(self.config.keep_episodes - self._kept, 0)]
        self._kept += len(some)
        self.store.append("episodes/first.jsonl", [episode.to_json() for episode in some])

    def _finish(self) -> None:
        if self.collector is not None:
            drawn = self.cast.rng.bit_generator.state  # or a run that is made longer would have drawn more
            self._last.extend(episode.to_json() for episode in self._beside(self.done))
            self.cast.rng.bit_generator.state = drawn
        if not self.world.first:
            return
        last = self.folder / "episodes" / "last.jsonl"
        aside = last.with_suffix(".aside")
        aside.write_text("".join(line + "\n" for line in self._last), encoding="utf-8")
        aside.replace(last)
        for name, policy in self.policies.items():
            policy.save(self.folder / "policies" / name)
        for place, average in self.evaluation.averages().items():
            path = self.folder / "averages" / f"{place}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            average.save(path)
        write_cards(self.folder)

    # ------------------------------------------------------------------------------ checkpoints
    def checkpoint(self) -> Path:
        """Write everything that decides the steps to come."""
        parts: dict[str, Parts] = {f"policy-{name}": policy.state() for name, policy in self.policies.items()}
        about: dict[str, Any] = {
            "decisions": self.decisions, "seconds": self.seconds, "kept": self._kept, "last": list(self._last),
            "versions": {name: policy.version for name, policy in self.policies.items()}, "learners": {},
            "ahead": self.pipeline.state(),
        }  # fmt: skip
        for name, learner in self.learners.items():
            parts[f"learner-{name}"], about["learners"][name] = learner.state()
        parts["cast"], about["cast"] = self.cast.state()
        if kept := self.evaluation.state():
            parts["evaluation"] = kept
        if self.collector is not None:
            parts["games"], about["games"] = self.collector.state()
        return self.store.write(self.done, parts, about)

    def _restore(self, place: Path) -> None:
        files, about = self.store.read(place)
        for name, policy in self.policies.items():
            policy.load(tensors_of(files[f"policy-{name}"]))
            policy.version = int(about["versions"][name])
            if name in self.shards:
                self.shards[name].keep()
        for name, learner in self.learners.items():
            learner.load(tensors_of(files[f"learner-{name}"]), about["learners"][name])
        self.cast.load(tensors_of(files["cast"]), about["cast"])
        self.pipeline.load(about.get("ahead"))
        if "evaluation" in files:
            self.evaluation.load(arrays_of(files["evaluation"]))
        if self.collector is not None:
            self.collector.load(arrays_of(files["games"]), about["games"])
        self.done, self.decisions = int(about["step"]), int(about["decisions"])
        self.seconds, self._kept = float(about["seconds"]), int(about["kept"])
        self._last.extend(about["last"])
        self.store.cut(about)
