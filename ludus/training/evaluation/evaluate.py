"""Measures of policies while they train: registered functions of a game and a policy.

A measure is called for every game and policy of the run, or those it is told, and returns figures by name;
they are logged as `eval/<name>/<policy>`, with the game before the policy where a run has several.

    nash_conv           what the players could gain by answering best, and exploitability; exact
    nash_conv_sampled   the same from replies as they come, with a 95 % interval and the share of unusable ones:
                        for what is thought before a reply, whose probabilities nobody can add up
    nash_conv_average   the same of the average of all policies measured so far, each weighted by its own reach; the
                        run keeps it as a table, averages/<policy>.json, that agents read: exact(path=...)
    return_exact        mean payoff, wins and losses against opponents, at all seats alike; exact
    loss_rate           how often it loses against optimal play, all optimal moves alike; exact
    seat_balance        of games of a policy with itself: the first seat's share of decided ones, its payoff; exact
    legal_mass          mean and least probability of all legal replies together, over the information states
    against             games played against opponents: payoff with a 95 % interval, lengths, unusable replies
    self_play           games played with itself: seat balance, lengths, unusable replies

The moving average of a learner's weights is measured as the policy `main@magnet`. Nothing that is measured
touches what decides the steps to come.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ludus.agents.exact import Tabular
from ludus.arenas.exploit import exploit, masses
from ludus.core.agent import Agent
from ludus.core.encounters import against, encounter
from ludus.core.errors import ConfigError, ContractError, UnknownName
from ludus.core.exact import Rows, averaged, nash_conv, reached, remembered
from ludus.core.game import Game
from ludus.core.registry import Registry
from ludus.core.tables import tabulate
from ludus.training.choices import Named
from ludus.training.evaluation.matches import played
from ludus.training.evaluation.opponents import (
    Spec,
    Specs,
    changes,
    check_optimal,
    copies,
    labelled,
    opponent,
)
from ludus.training.learner import Learner
from ludus.training.lineup import Cast
from ludus.training.settings import Evaluate, RunConfig

EVALUATORS = Registry("measure", "ludus.evaluators")
Figures = dict[str, float]
Maker = TypeVar("Maker", bound=Callable[..., Figures])
EVERYWHERE = ("only", "policies")  # settings of all measures


def evaluator(name: str, *, wants: Callable[[Game[Any]], object] | None = None) -> Callable[[Maker], Maker]:
    """Decorator: make a function known as a measure, `function(context, **settings) -> figures by name`.

    Args:
        name: what a configuration calls it.
        wants: is called with each game before the run begins, and raises where it cannot be measured.
    """

    def add(function: Maker) -> Maker:
        function.wants = wants  # type: ignore[attr-defined]
        return EVALUATORS.add(name, function)

    return add


@dataclass(slots=True, eq=False)
class Context:
    """What a measure is taken of.

    Attributes:
        game: one of the run's.
        policy: who is measured.
        label: the policy's name in metrics.
        step: of the run.
        seed: of the run.
        config: of the run.
        memory: arrays that this measure keeps of this policy and game; they are in checkpoints.
    """

    game: Game[Any]
    policy: Agent
    label: str
    step: int
    seed: int
    config: RunConfig
    memory: dict[str, NDArray[np.float64]]
    _find: Callable[[Spec, Game[Any]], Agent]
    _asked: dict[tuple[str, str], NDArray[np.float64]]

    def opponents(self, given: Specs) -> dict[str, tuple[Spec, Agent]]:
        """Opponents by label, and how the configuration names them."""
        return {label: (spec, self._find(spec, self.game)) for label, spec in labelled(given).items()}

    def masses(self) -> Rows:
        """(I, A) the probability of each legal move; of language models they need not add up to one."""
        return self._ask(self.label, self.policy)

    def rows(self) -> Rows:
        """(I, A) the policy, its legal moves brought to sum one."""
        masses = self.masses()
        return np.asarray(masses / masses.sum(1, keepdims=True))

    def rival(self, spec: Spec, agent: Agent) -> Rows:
        """(I, A) an opponent's policy; those that stay as they are are asked in the first measure only."""
        masses = self._ask(f"rival {spec!r}", agent)
        return np.asarray(masses / masses.sum(1, keepdims=True))

    def _ask(self, label: str, agent: Any) -> Rows:
        key = repr(self.game), label
        if key not in self._asked:
            self._asked[key] = masses(tabulate(self.game), agent)
        return self._asked[key]


# ------------------------------------------------------------------------------------- measures
def _small(game: Game[Any]) -> None:
    tabulate(game)


def _solvable(game: Game[Any]) -> None:
    check_optimal(game)
    tabulate(game)


@evaluator("nash_conv", wants=_small)
def _nash_conv(context: Context) -> Figures:
    conv = nash_conv(context.game, context.rows())
    return {"nash_conv": conv, "exploitability": conv / len(context.game.players)}


@evaluator("nash_conv_sampled", wants=_small)
def _nash_conv_sampled(context: Context, *, samples: int = 32, convention: str = "renormalise") -> Figures:
    """From `samples` replies at each information state, as `ludus exploit --samples` tells it."""
    found = exploit(context.game, context.policy, samples=samples, convention=convention, seed=context.seed)
    bounds = {"low": found.low, "high": found.high, "unusable": float(found.unusable.mean())}
    return {"nash_conv_sampled": found.nash_conv} | {f"nash_conv_sampled_{k}": v for k, v in bounds.items()}


@evaluator("nash_conv_average", wants=lambda game: remembered(tabulate(game)))
def _nash_conv_average(context: Context, *, weighting: str = "uniform", after: int = 0) -> Figures:
    """Of the average strategy; `weighting` "linear" counts each policy by its step, `after` leaves out the first."""
    weights = {"uniform": 1.0, "linear": float(context.step)}
    if weighting not in weights:
        raise UnknownName("weighting of the average", weighting, weights)
    if context.step < after:
        return {}
    tables = tabulate(context.game)
    total = context.memory.get("total", np.zeros(tables.legal.shape))
    context.memory["total"] = total + weights[weighting] * reached(tables, context.rows())
    return {"nash_conv_average": nash_conv(tables, averaged(tables, context.memory["total"]))}


@evaluator("return_exact", wants=_small)
def _return_exact(context: Context, *, opponents: Specs = ("uniform",)) -> Figures:
    figures: Figures = {}
    for label, (spec, agent) in context.opponents(opponents).items():
        met = against(context.game, context.rows(), context.rival(spec, agent))
        figures |= {
            f"return_exact/{label}": met.payoff, f"win_exact/{label}": met.win, f"loss_exact/{label}": met.lose,
        }  # fmt: skip
    return figures


@evaluator("loss_rate", wants=_solvable)
def _loss_rate(context: Context) -> Figures:
    ((spec, agent),) = context.opponents(("optimal",)).values()
    return {"loss_rate": against(context.game, context.rows(), context.rival(spec, agent)).lose}


@evaluator("seat_balance", wants=_small)
def _seat_balance(context: Context) -> Figures:
    players = context.game.players
    first = encounter(context.game, dict.fromkeys(players, context.rows()))[players[0]]
    decided = first.win + first.lose
    wins = first.win / decided if decided else np.nan
    return {"first_seat_wins_exact": wins, "first_seat_return_exact": first.payoff}


@evaluator("legal_mass", wants=_small)
def _legal_mass(context: Context) -> Figures:
    mass = context.masses().sum(1)
    return {"legal_mass": float(mass.mean()), "legal_mass_least": float(mass.min())}


@evaluator("against")
def _against(context: Context, *, opponents: Specs = ("uniform",), games: int = 256) -> Figures:
    figures: Figures = {}
    for label, (_, agent) in context.opponents(opponents).items():
        found = played(context.game, context.policy, agent, games, context.seed, context.config.collect)
        figures |= {f"{name}/{label}": figure for name, figure in found.against().items()}
    return figures


@evaluator("self_play")
def _self_play(context: Context, *, games: int = 256) -> Figures:
    found = played(context.game, context.policy, context.policy, games, context.seed, context.config.collect)
    return found.alone()


# ---------------------------------------------------------------------------------------- a run
@dataclass(slots=True, eq=False)
class Evaluation:
    """The measures of a run.

    Args:
        config: of the run.
        games, cast, learners: the run's.
    """

    config: RunConfig
    games: tuple[Game[Any], ...]
    cast: Cast
    learners: Mapping[str, Learner]
    memory: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    _kept: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    _made: dict[tuple[str, str], Agent] = field(default_factory=dict)
    _stays: set[tuple[str, str]] = field(default_factory=set)

    def measure(self, step: int) -> Figures:
        """All figures of a step, by their names in the metrics."""
        line: Figures = {}
        asked = dict(self._kept)
        for choice in self.config.evaluate.measures:
            function, settings = EVALUATORS.maker(choice.name), _own(choice)
            for name in self._policies(choice):
                for game in self._games(choice):
                    place = self._place(game, name)
                    memory = self.memory.setdefault(self._remembered(choice, place), {})
                    context = Context(
                        game, self._subject(name), name, step, self.config.seed, self.config, memory, self.find, asked
                    )  # fmt: skip
                    found = {
                        f"eval/{k}/{place}": number for k, number in function(context, **settings).items()
                    }
                    twice = sorted(line.keys() & found)
                    if twice:
                        raise ConfigError(
                            f"two measures say {twice[0]}: leave one of them out of evaluate.measures"
                        )
                    line |= found
        self._kept = {key: rows for key, rows in asked.items() if key in self._stays}
        return line

    @staticmethod
    def _remembered(choice: Named, place: str) -> str:
        """Under what a measure remembers what it has seen of a policy."""
        return f"{choice.name} {_own(choice)}|{place}"

    def find(self, spec: Spec, game: Game[Any]) -> Agent:
        """An opponent, made once for a game."""
        key = repr(game), f"rival {spec!r}"
        if key not in self._made:
            self._made[key] = opponent(spec, game, self.cast)
            if not changes(spec, self.cast):
                self._stays.add(key)
        return self._made[key]

    def check(self) -> None:
        """Refuse measures that could not be taken, before the run begins.

        Raises:
            UnknownName: a measure, a setting, a policy, a game or an opponent that nobody knows.
            ConfigError: a game is too large or too open for the measure, or an opponent cannot play it.
        """
        evaluate = self.config.evaluate
        for choice in evaluate.measures:
            function = EVALUATORS.maker(choice.name)
            takes = [p for p in inspect.signature(function).parameters if p != "context"]
            for key in choice.settings:
                if key not in (*takes, *EVERYWHERE):
                    raise UnknownName(f"setting of the measure {choice.name}", key, [*takes, *EVERYWHERE])
            for name in self._policies(choice):
                self._subject(name)
            for game in self._games(choice):
                if evaluate.every:
                    self._check(choice, function, game)

    def _check(self, choice: Named, function: Any, game: Game[Any]) -> None:
        try:
            if function.wants is not None:
                function.wants(game)
        except (ContractError, ValueError) as fault:
            raise ConfigError(
                f"evaluate.every = {self.config.evaluate.every}: {game.id} cannot be measured by {choice.name} "
                f"({fault}); set it to 0, take other measures, or name the games of this one (only = [...])"
            ) from fault
        for label, spec in labelled(choice.settings.get("opponents", ())).items():
            agent = self.find(spec, game)
            if function.wants is not None and not hasattr(agent, "probabilities"):
                raise ConfigError(
                    f"{label} does not tell its probabilities: measure {choice.name} against others, and play "
                    "against this one (the measure 'against')"
                )

    def _policies(self, choice: Named) -> tuple[str, ...]:
        given = choice.settings.get("policies", self.config.evaluate.policies)
        return tuple(given) or tuple(self.cast.policies)

    def _games(self, choice: Named) -> tuple[Game[Any], ...]:
        only = choice.settings.get("only", ())
        known = [game.id for game in self.games]
        for name in only:
            if name not in known:
                raise UnknownName(f"game of the measure {choice.name}", name, known)
        return tuple(game for game in self.games if not only or game.id in only)

    def _place(self, game: Game[Any], name: str) -> str:
        if len(self.games) == 1:
            return name
        alike = [other.id for other in self.games].count(game.id) > 1
        return f"{game!r}/{name}" if alike else f"{game.id}/{name}"

    def _subject(self, name: str) -> Agent:
        """The policy that a configuration asks to be measured."""
        policy, at, copy = name.partition("@")
        if copy != "magnet":
            if policy not in self.cast.policies or (at and copy not in ("init", "phase_start")):
                known = [*self.cast.policies, *(f"{own}@magnet" for own in self.cast.policies)]
                raise UnknownName("policy to be evaluated", name, known)
            return self.cast.find(name)
        for learner in self.learners.values():
            if learner.config.policy == policy and learner.average is not None:
                return cast("Agent", learner.average)
        raise ConfigError(f"{name}: no learner of {policy or 'that policy'} has reference = 'magnet'")

    def averages(self) -> dict[str, Tabular]:
        """The average strategies that have been measured, by policy, with the game before it where there are several."""
        found = {}
        for choice in self.config.evaluate.measures:
            for name in self._policies(choice) if choice.name == "nash_conv_average" else ():
                for game in self._games(choice):
                    place, tables = self._place(game, name), tabulate(game)
                    total = self.memory.get(self._remembered(choice, place), {}).get("total")
                    if total is not None:
                        rows = zip(tables.names, averaged(tables, total), strict=True)
                        found[place] = Tabular(dict(rows), f"{name} average")
        return found

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What measures remember, as arrays by name."""
        return {f"{place}|{key}": a for place, kept in self.memory.items() for key, a in kept.items()}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned."""
        self.memory = {}
        for name, array in arrays.items():
            place, _, key = name.rpartition("|")
            self.memory.setdefault(place, {})[key] = array.copy()


def _own(choice: Named) -> dict[str, Any]:
    return {key: value for key, value in choice.settings.items() if key not in EVERYWHERE}


def seated(config: Evaluate) -> set[str]:
    """The copies of policies that measures name, which the run's cast must be made with."""
    specs: list[Spec] = list(config.policies)
    for choice in config.measures:
        given = choice.settings.get("opponents", ())
        specs += list(given.values() if isinstance(given, Mapping) else given)
        specs += choice.settings.get("policies", ())
    return {name for name in copies(specs) if not name.endswith("@magnet")}
