"""Policy-space response oracles: a population that grows by best responses to mixtures of itself.

    recipe = "ludus.training.psro:psro"
    recipe_settings = { meta_solver = "nash", oracle = "learned" }

Each cycle works out how to mix the policies that each seat has so far (`ludus.arenas.metasolvers`), and adds to
each seat a best response to the other's mixture. It is learned by the run's learner in the steps of its phase, or
exact; with exact responses and equilibria this is the double oracle method. Both seats begin with the uniform player.

In games that can be tabulated payoffs are exact, and each line of metrics has the exact NashConv of the mixture, which
is turned into one policy by how likely each member comes to a state. In others payoffs are means over games, and
`psro/gain` is what the new responses gain on the mixture they answer: a lower bound of its NashConv.

The folder holds, besides what every run has, members/ (networks, or tables as JSON), weights.json, and for small games
policies/mixture.json, which `exact(path=...)` plays.

Source: Lanctot et al. 2017, arXiv:1711.00832; double oracle: McMahan, Gordon and Blum, ICML 2003.

Shape letters: N policies of player_0, M of player_1, I information states, A moves.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from ludus.agents.exact import Tabular
from ludus.agents.network import network
from ludus.arenas.exploit import POSITIONS
from ludus.arenas.metasolvers import METASOLVERS
from ludus.core.agent import Agent, Uniform
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.exact import (
    Rows,
    answer_rows,
    mixed,
    named,
    nash_conv,
    remembered,
    rows,
    tabular,
    together,
    value,
)
from ludus.core.game import Game, Seat
from ludus.core.registry import make
from ludus.core.tables import Tables, tabulate
from ludus.training.choices import Number
from ludus.training.claims import claim, noted
from ludus.training.metrics import Display, Metrics
from ludus.training.policies import known_settings
from ludus.training.responses import Mixture, Training, learn_response, returns
from ludus.training.settings import Phase, RunConfig
from ludus.training.store import Store, arrays_of

NEAR = 1e-9  # a NashConv that counts as none


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration may say in `recipe_settings`."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    meta_solver: str = "nash"
    """A name of `ludus.arenas.metasolvers.METASOLVERS`: nash, prd, uniform."""
    oracle: Literal["learned", "exact"] = "learned"
    """How best responses are found; exact ones are of games that can be tabulated."""
    games: Number = 2000
    """Games behind each payoff, where payoffs are not exact."""


def psro(config: RunConfig, *, resume: bool = False, quiet: bool = False) -> Path:
    """Run what a configuration describes; return the run's folder.

    Args:
        config: with one policy, a network, and one learner where responses are learned; `cycles` is how often responses
            are added, and the steps of the one phase are those in which each is learned.
        resume: continue after the newest complete cycle in the run's folder.
        quiet: show no progress.

    Raises:
        ConfigError: the configuration cannot be run, its folder holds another run, or there is none to resume.
        UnknownName: no such meta-solver.
    """
    return Psro(config, resume=resume).go(quiet=quiet)


class Psro:
    """Everything that lives while the population grows.

    Args:
        config: what to do.
        resume: continue after the newest complete cycle in the run's folder.

    Attributes:
        members: of each seat, oldest first.
        pay: (2, N, M) what each player earns where the members meet.
        done: cycles done.
        decisions: played while responses were learned.
    """

    def __init__(self, config: RunConfig, *, resume: bool = False) -> None:
        self.config, self.settings, self.folder = config, _settings(config), Path(config.root) / config.name
        self.game, self.tables = _game(config, self.settings)
        self.how = _training(config) if self.settings.oracle == "learned" else None
        claim(self.folder, config, resume=resume)
        torch.set_num_threads(config.threads)
        self.store = Store(self.folder, keep=config.keep_checkpoints)
        self.members: dict[Seat, list[Agent]] = {seat: [] for seat in self.game.players}
        self.rows: dict[Seat, list[Rows]] = {seat: [] for seat in self.game.players}
        self.pay = np.zeros((2, 0, 0))
        self.done = self.decisions = 0
        self.seconds = 0.0
        with noted(self.folder):
            for seat in self.game.players:
                self._add(seat, Uniform())
            if resume and self.store.checkpoints():
                self._restore()
            else:
                self._meet()

    # -------------------------------------------------------------------------------- the loop
    def go(self, *, quiet: bool = False) -> Path:
        """Do the cycles that are left, or stop where nobody can gain any more; return the folder."""
        with noted(self.folder):
            return self._cycles(quiet=quiet)

    def _cycles(self, *, quiet: bool) -> Path:
        began = time.monotonic() - self.seconds
        metrics = Metrics(self.config, self.store, self.done)
        weights, line = self._measured()
        if not self.done:
            metrics.write(0, line)
        with Display(dataclasses.replace(self.config, phases=(Phase(1),)), quiet=quiet) as display:
            for cycle in range(self.done + 1, self.config.cycles + 1):
                if line.get("eval/nash_conv/mixture", np.inf) <= NEAR:
                    break
                gains = self._cycle(cycle, weights)
                weights, line = self._measured()
                self.seconds = time.monotonic() - began
                metrics.write(cycle, line | gains | {"time/seconds": self.seconds})
                display.show(cycle, line)
                self._checkpoint(cycle)
        metrics.close()
        self._finish(weights)
        return self.folder

    def _cycle(self, cycle: int, weights: Mapping[Seat, NDArray[np.float64]]) -> dict[str, float]:
        """Add a best response for each seat; what each gains on the mixture by which it was asked."""
        found = {seat: self._response(seat, cycle, weights) for seat in self.game.players}
        x, y = (weights[seat] for seat in self.game.players)
        now = np.einsum("i,kij,j->k", x, self.pay, y)
        for seat, agent in found.items():
            self._keep(seat, agent)
            self._add(seat, agent)
        self._meet(cycle)
        gains = self.pay[0, -1, : len(y)] @ y - now[0], x @ self.pay[1, : len(x), -1] - now[1]
        told = {f"psro/gain/{seat}": float(gain) for seat, gain in zip(self.game.players, gains, strict=True)}
        return told | {"psro/gain": float(sum(gains))}

    def _response(self, seat: Seat, cycle: int, weights: Mapping[Seat, NDArray[np.float64]]) -> Agent:
        name = f"{seat}_{cycle:04d}"
        if self.how is None:
            assert self.tables is not None  # _game saw to it
            _, answer = answer_rows(self.tables, self._behaviour(weights), seat)
            return Tabular(named(self.tables, answer), name)
        (other,) = (one for one in self.game.players if one != seat)
        mixture = Mixture(self.members[other], weights[other].tolist())
        steps, (_, seed) = self.config.phases[0].steps, self._seeds(cycle, self.game.players.index(seat))
        trained = learn_response(self.game, seat, {other: mixture}, steps=steps, seed=seed, how=self.how)
        self.decisions += steps * self.how.rows * self.how.length
        trained.agent.name = name
        return cast("Agent", trained.agent)

    def _seeds(self, *place: int) -> list[int]:
        return [int(s) for s in np.random.SeedSequence([self.config.seed, *place]).generate_state(2)]

    # --------------------------------------------------------------------------- the population
    def _add(self, seat: Seat, agent: Agent) -> None:
        self.members[seat].append(agent)
        if self.tables is not None:
            self.rows[seat].append(rows(self.tables, tabular(self.game, agent)))

    def _meet(self, cycle: int = 0) -> None:
        """Let those meet who have not met before."""
        first, second = self.game.players
        shape = 2, len(self.members[first]), len(self.members[second])
        pay = np.full(shape, np.nan)
        pay[:, : self.pay.shape[1], : self.pay.shape[2]] = self.pay
        for i, j in np.argwhere(np.isnan(pay[0])).tolist():
            if self.tables is not None:
                joint = together(self.tables, {first: self.rows[first][i], second: self.rows[second][j]})
                pay[:, i, j] = list(value(self.tables, joint).values())
            else:
                seats = {first: self.members[first][i], second: self.members[second][j]}
                (seed, _) = self._seeds(cycle, i, j)
                pay[:, i, j] = returns(self.game, seats, games=self.settings.games, seed=seed).mean(0)
        self.pay = pay

    def _behaviour(self, weights: Mapping[Seat, NDArray[np.float64]]) -> Rows:
        """(I, A) the mixtures of both seats as one policy."""
        assert self.tables is not None  # the caller looked
        return together(
            self.tables, {seat: mixed(self.tables, self.rows[seat], weights[seat]) for seat in self.rows}
        )

    def _measured(self) -> tuple[dict[Seat, NDArray[np.float64]], dict[str, float]]:
        """The mixture by seat, and what is known of it."""
        found = METASOLVERS[self.settings.meta_solver](_balanced(self.pay, zero_sum=self.game.zero_sum))
        weights = dict(zip(self.game.players, found, strict=True))
        line = {"global_step": float(self.decisions)}
        for seat, mixture in weights.items():
            line[f"psro/members/{seat}"] = float(len(mixture))
            line[f"psro/support/{seat}"] = float((mixture > 1e-6).sum())
        if self.tables is not None:
            conv = nash_conv(self.tables, self._behaviour(weights))
            line |= {"eval/nash_conv/mixture": conv, "eval/exploitability/mixture": conv / 2}
        return weights, line

    # ------------------------------------------------------------------------------ the folder
    def _place(self, name: str) -> Path:
        return self.folder / "members" / (name if self.how else f"{name}.json")

    def _keep(self, seat: Seat, agent: Any) -> None:
        place = self._place(agent.name)
        place.parent.mkdir(exist_ok=True)
        agent.save(place)

    def _checkpoint(self, cycle: int) -> None:
        self.done = cycle
        about = {"decisions": self.decisions, "seconds": self.seconds}
        self.store.write(cycle, {"payoffs": {"pay": self.pay}}, about)

    def _restore(self) -> None:
        files, about = self.store.read(self.store.find())
        self.pay = arrays_of(files["payoffs"])["pay"]
        self.done, self.decisions = int(about["step"]), int(about["decisions"])
        self.seconds = float(about["seconds"])
        for cycle in range(1, self.done + 1):
            for seat in self.game.players:
                place = self._place(f"{seat}_{cycle:04d}")
                self._add(seat, cast("Agent", network(place) if self.how else Tabular.load(place)))
        self.store.cut(about)

    def _finish(self, weights: Mapping[Seat, NDArray[np.float64]]) -> None:
        names = {seat: [agent.name for agent in members] for seat, members in self.members.items()}
        table = {seat: dict(zip(names[seat], weights[seat].tolist(), strict=True)) for seat in names}
        (self.folder / "weights.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        if self.tables is not None:
            place = self.folder / "policies" / "mixture.json"
            place.parent.mkdir(exist_ok=True)
            Tabular(named(self.tables, self._behaviour(weights)), "mixture").save(place)


def _balanced(pay: NDArray[np.float64], *, zero_sum: bool) -> NDArray[np.float64]:
    """Payoffs of a zero-sum game with exactly opposite signs; others as they are."""
    return np.stack([pay[0], -pay[0]]) if zero_sum else pay


# ------------------------------------------------------------------------------ what is refused
def _settings(config: RunConfig) -> Settings:
    try:
        settings = TypeAdapter(Settings).validate_python(config.recipe_settings)
    except ValidationError as fault:
        first = fault.errors()[0]
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = [one.name for one in dataclasses.fields(Settings)]
            raise UnknownName("setting of the recipe psro", first["loc"][-1], known) from None
        raise ConfigError(
            f"recipe_settings.{first['loc'][0]}: {first['msg']} (given: {first['input']!r})"
        ) from None
    if settings.meta_solver not in METASOLVERS:
        raise UnknownName("meta-solver", settings.meta_solver, METASOLVERS)
    return settings


def _game(config: RunConfig, settings: Settings) -> tuple[Game[Any], Tables | None]:
    """The game, and its tables if it is small enough."""
    if config.game is None:
        raise ConfigError("the recipe psro plays one game: name it in [game]")
    game = make(config.game.name, **config.game.params)
    if len(game.players) != 2:
        raise ConfigError(f"the recipe psro is for two players, and {game.id} has {len(game.players)}")
    if settings.meta_solver == "nash" and not game.zero_sum:
        raise ConfigError(f"{game.id} is not zero-sum: meta_solver = 'prd' or 'uniform'")
    try:
        tables = tabulate(game, unfold=True, limit=POSITIONS)
    except ValueError as fault:
        if settings.oracle == "exact":
            raise ConfigError(f"oracle = 'exact' wants tables: {fault}; oracle = 'learned'") from fault
        return game, None
    remembered(tables)  # or say that a seat forgets
    return game, tables


def _training(config: RunConfig) -> Training:
    """How responses are learned, from the one policy and the one learner of a configuration."""
    if len(config.policies) != 1 or len(config.learners) != 1 or len(config.phases) != 1:
        raise ConfigError("the recipe psro learns responses by one policy, one learner and one phase")
    ((name, policy),) = config.policies.items()
    if policy.name != "network" or "path" in policy.settings or config.collect.by != "arrays":
        raise ConfigError(
            f"the recipe psro learns fresh networks on arrays: policies.{name}.name, collect.by = 'arrays'"
        )
    if config.collect.whole or config.collect.search.simulations:
        raise ConfigError(
            "the recipe psro cuts games where a step ends: leave out collect.whole and collect.search"
        )
    for key in policy.settings:
        if key not in known_settings("network"):
            raise UnknownName("setting of a policy of kind 'network'", key, known_settings("network"))
    (learner,) = config.learners
    return Training(learner, config.collect.rows, config.collect.length, policy.settings)
