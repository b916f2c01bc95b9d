"""Best responses that are learned, and what they say of exploitability in games too large to tabulate.

One seat learns with the shared trainer while the others play fixed policies, on the batch engine. What it then
gains can be earned, so that the mean of the gains is a lower bound of exploitability: how close it comes
depends on the decisions spent, and on nothing that the bound itself could show.

    found = learned_exploitability(make("phantom_tic_tac_toe"), agent, decisions=2_000_000)

Shape letters: G games, K players.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ludus.agents.network import NetworkAgent, fresh
from ludus.core.agent import Agent
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Game, Seat
from ludus.training.checks import check_learner
from ludus.training.collect import ArrayCollector
from ludus.training.configuration import merged
from ludus.training.drawers import Likeliest, draw, drawer
from ludus.training.gathering import Collect
from ludus.training.learner import Learner
from ludus.training.recipes import BEST_RESPONSE
from ludus.training.settings import LearnerConfig

AT_ONCE = 4096  # evaluation games side by side
Z = 1.96  # of a normal 95 % interval
Told = Callable[[float], None]  # is told the share of the decisions that have been played


class Trained(NamedTuple):
    """A learned response, and the decisions it learned from."""

    agent: NetworkAgent
    decisions: int


@dataclass(frozen=True, slots=True)
class Training:
    """How a response is learned.

    Attributes:
        learner: its policy, estimator, objective and optimiser; that named policy is not read.
        rows: games side by side.
        length: decisions of each row in a step.
        network: what the network is made with: hidden, channels, activation and so on.

    Raises:
        UnknownName: the learner has a setting that nobody takes.
        ConfigError: its choices do not go together, or want whole games.
    """

    learner: LearnerConfig
    rows: int = 128
    length: int = 32
    network: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_learner(self.learner, Collect(by="arrays", rows=self.rows, length=self.length))


def training(**changes: Any) -> Training:
    """As responses are learned unless something else is asked for: the preset "best_response".

    Args:
        changes: laid over the learner's table.
    """
    table = merged(BEST_RESPONSE, {"policy": "response", **changes})
    learner = TypeAdapter(LearnerConfig).validate_python(table)
    return Training(learner, network={"hidden": (128, 128), "activation": "relu"})


class Mixture(NamedTuple):
    """One of several agents, drawn anew for each game by their weights: a mixture over whole policies."""

    agents: Sequence[Agent]
    weights: Sequence[float]


class Seats:
    """Who sits at each seat, or one of whom, where collectors look for them.

    Args:
        game: an array game.
        seats: agents and mixtures; see `ludus.training.drawers.drawer` for who can play.

    Raises:
        ConfigError: the game is no array game, or somebody cannot play in many rows at once.
    """

    def __init__(self, game: Game[Any], seats: Mapping[Seat, Agent | Mixture]) -> None:
        self._agents: dict[str, Agent] = {}
        self._shares: dict[Seat, dict[str, float]] = {}
        for seat, there in seats.items():
            agents, weights = there if isinstance(there, Mixture) else ((there,), (1.0,))
            names = [f"{seat} {i}" for i in range(len(agents))]
            self._agents |= {n: drawer(game, agent, seat) for n, agent in zip(names, agents, strict=True)}
            self._shares[seat] = dict(zip(names, weights, strict=True))

    def find(self, name: str) -> Agent:
        """The agent called `name`."""
        return self._agents[name]

    def shares(self, name: str) -> Mapping[str, float]:
        """The names of those who may sit at a seat, and how often."""
        return self._shares[name]


def learn_response(
    game: Game[Any],
    seat: Seat,
    others: Mapping[Seat, Agent | Mixture],
    *,
    steps: int,
    seed: int = 0,
    how: Training | None = None,
    told: Told | None = None,
) -> Trained:
    """A network that learned to answer fixed policies from one seat.

    Args:
        game: an array game.
        seat: who learns.
        others: who plays at the other seats, as `Seats` takes them.
        steps: of the trainer, each of rows times length decisions, the others' among them.
        seed: decides the first weights, chance and moves.
        how: see `training`.
        told: called with the share of the steps that are done.

    Raises:
        UnknownName: no such seat.
        ConfigError: the game is no array game, or somebody cannot play in many rows at once.
    """
    if seat not in game.players:
        raise UnknownName(f"player of {game.id}", seat, game.players)
    how = how or training()
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(3)]
    agent = fresh(game, name=f"response of {seat}", seed=seeds[0], roles=[seat], **(how.network or {}))
    seats = Seats(game, {**others, seat: cast("Agent", agent)})
    collector = ArrayCollector(game, rows=how.rows, length=how.length, seed=seeds[1], exchange=False)
    learner = Learner(how.learner, agent, steps=steps, seed=seeds[2])
    decisions = 0
    for step in range(1, steps + 1):
        ledger, _ = collector.collect(seats, {one: one for one in game.players})
        batch = learner.prepare(ledger)
        if batch is not None:
            decisions += len(batch)
            learner.learn(batch, step=step)
        if told is not None:
            told(step / steps)
    return Trained(agent, decisions)


# --------------------------------------------------------------------------------- what it earns
def returns(game: Game[Any], seats: Mapping[Seat, Agent], *, games: int, seed: int) -> NDArray[np.float64]:
    """What every player earns in so many games, (G, K), on the batch engine.

    Args:
        game: an array game.
        seats: who plays where.
        games: how many.
        seed: decides chance and moves.

    Raises:
        ConfigError: the game is no array game, or somebody cannot play in many rows at once.
    """
    agents = [drawer(game, seats[seat], seat) for seat in game.players]
    parts = [min(AT_ONCE, games - first) for first in range(0, games, AT_ONCE)]
    seeds = np.random.SeedSequence(seed).spawn(len(parts))
    found = [_played(cast("ArrayGame", game), agents, n, s) for n, s in zip(parts, seeds, strict=True)]
    return np.concatenate(found)


def _played(
    game: ArrayGame, agents: Sequence[Agent], games: int, seed: np.random.SeedSequence
) -> NDArray[np.float64]:
    chance, moves = seed.generate_state(2)
    batch, rng = Batch(game, games, int(chance), autoreset="disabled"), np.random.default_rng(moves)
    earned = batch.opening.astype(np.float64)
    while not batch.done.all():
        chosen, live, uniform = np.zeros(games, np.int64), ~batch.done, rng.random(games)
        for k, agent in enumerate(agents):
            mine = np.flatnonzero(batch.mover == k)
            if len(mine):
                chosen[mine] = draw(agent, batch.observation[mine], batch.legal[mine], uniform[mine]).moves
        batch.step(chosen)
        earned += batch.reward * live[:, None]
    return earned


@dataclass(frozen=True, slots=True)
class LearnedExploitability:
    """What learned responses gain against an agent: a lower bound of what best responses gain.

    Attributes:
        agent, game: names.
        gains: by seat, how much more its response earns than the agent does at that seat.
        nash_conv: the sum of the gains; a lower bound.
        low, high: a 95 % interval for what these responses gain together. It is none for the true figure, of which
            `low` is a bound from below and nothing is one from above.
        decisions: played by all seats while the responses were learned.
        learned_from: those of the responses among them.
        games: of evaluation, for each response.
        seconds: spent on all of it.
    """

    agent: str
    game: str
    gains: Mapping[Seat, float]
    nash_conv: float
    low: float
    high: float
    decisions: int
    learned_from: int
    games: int
    seconds: float

    @property
    def exploitability(self) -> float:
        """NashConv divided by the number of players: the mean of the gains."""
        return self.nash_conv / len(self.gains)

    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "agent": self.agent, "game": self.game, "by": "learned best response", "bound": "lower",
            "nash_conv": self.nash_conv, "exploitability": self.exploitability, "low": self.low, "high": self.high,
            "gains": dict(self.gains), "decisions": self.decisions, "learned_from": self.learned_from,
            "games": self.games, "seconds": round(self.seconds, 1),
        }  # fmt: skip


def learned_exploitability(
    game: Game[Any],
    agent: Agent,
    *,
    decisions: int,
    games: int = 20_000,
    seed: int = 0,
    how: Training | None = None,
    told: Told | None = None,
) -> LearnedExploitability:
    """Approximate exploitability: what a learned best response gains at each seat, a lower bound.

    The responses play their likeliest moves in games that none of them learned from. Where payoffs add up to
    zero, so does what the agent earns against itself, and only the responses' earnings are sampled.

    Args:
        game: an array game of any size.
        agent: a network, the uniform player, or one that tells its probabilities in a small game.
        decisions: played for each response, rounded up to whole steps; the other seats' count.
        games: played with each response to measure it.
        seed: of everything.
        how: see `training`.
        told: called with the share of the decisions that have been played.

    Raises:
        ConfigError: the game is no array game, the agent cannot play it in many rows at once, or there are fewer
            than 2 games or 1 decision.

    Source: approximate exploitability as in Sokota et al. 2023, arXiv:2206.05825, table 2 (there with DQN); Timbers et
    al. 2020, arXiv:2004.09677.
    """
    if decisions < 1 or games < 2:
        raise ConfigError(f"at least 1 decision and 2 games, not {decisions} and {games}")
    began, how = time.monotonic(), how or training()
    steps = -(-decisions // (how.rows * how.length))
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(2 * len(game.players) + 1)]
    own = returns(game, dict.fromkeys(game.players, agent), games=games, seed=seeds[-1])
    gains, spread, learned_from = {}, np.zeros(len(game.players)), 0
    for k, seat in enumerate(game.players):
        share = _share_of(told, k, len(game.players))
        seats: dict[Seat, Agent] = dict.fromkeys(game.players, agent)
        trained = learn_response(game, seat, seats, steps=steps, seed=seeds[2 * k], how=how, told=share)
        seats[seat] = cast("Agent", Likeliest(trained.agent))
        paid = returns(game, seats, games=games, seed=seeds[2 * k + 1])[:, k]
        gains[seat] = float(paid.mean() - own[:, k].mean())
        spread[k] = paid.var(ddof=1) / games
        learned_from += trained.decisions
    total = sum(gains.values())
    error = float(spread.sum() + own.sum(1).var(ddof=1) / games) ** 0.5
    return LearnedExploitability(
        agent.name, game.id, gains, total, total - Z * error, total + Z * error,
        steps * how.rows * how.length * len(game.players), learned_from, games, time.monotonic() - began,
    )  # fmt: skip


def _share_of(told: Told | None, k: int, players: int) -> Told | None:
    return None if told is None else lambda share: told((k + share) / players)
