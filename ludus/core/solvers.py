"""Solvers of small games: how close to equilibrium a game can be played, found by going through its tables.

    solver = Solver.of("leduc_poker", "cfr_plus")
    solver.run(1000)
    nash_conv(solver.tables, solver.average)

Each method is a class under its name in `METHODS`; `solve` makes one, runs it and returns its policy. A solver may be
run on, and holds nothing but arrays. Policies are arrays (I, A), in the order of the tables' information states.

Shape letters: X positions, E edges, I information states, A moves, K players.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core import sweeps
from ludus.core.errors import whole
from ludus.core.exact import Rows, named, reached
from ludus.core.game import Game
from ludus.core.mirror_descent import MirrorDescent
from ludus.core.solver import METHODS, Solver

__all__ = ["METHODS", "MirrorDescent", "Solver", "solve"]


def matched(regret: Rows, even: Rows) -> Rows:
    """The policy (I, A) that regrets (I, A) ask for: in proportion where some are positive, elsewhere even (I, A)."""
    positive = np.maximum(regret, 0.0)
    total = positive.sum(1, keepdims=True)
    policy: Rows = np.divide(positive, total, out=even.copy(), where=total > 0)
    return policy


class CFR(Solver, name="cfr"):
    """Counterfactual regret minimisation, players updating in turn.

    After iteration t, regrets and the sum of policies are discounted: positive regrets by t^alpha / (t^alpha + 1),
    negative ones by the same with beta, the sum by (t / (t + 1))^gamma.

    Attributes:
        plus: negative regrets are set to zero.
        linear: policies are weighted by the iteration.
        discount: alpha, beta, gamma, or None.

    Source: Zinkevich et al. 2007; plus and linear: Tammelin 2014, arXiv:1407.5042; discounts: Brown and Sandholm 2019,
    arXiv:1809.04040.
    """

    plus, linear = False, False
    discount: tuple[float, float, float] | None = None

    def __init__(self, game: Game[Any]) -> None:
        super().__init__(game)
        self.regret = np.zeros(self.total.shape)

    def step(self) -> None:
        for player in range(self.players):
            own = self.own[player]
            self._learn(player, self.current)
            if self.discount is not None:
                self._forget(own, *self.discount)
            self._match(own)

    def _learn(self, player: int, policy: Rows) -> None:
        own = self.own[player]
        sweeps.regrets(
            self.edges, self.pays[player], player, policy, *self._positions, self.regret, self._reach
        )
        weight = self.iteration if self.linear else 1
        self.total[own] += weight * self._reach[own, None] * policy[own]
        if self.plus:
            self.regret[own] = np.maximum(self.regret[own], 0.0)

    def _forget(self, own: NDArray[np.bool_], alpha: float, beta: float, gamma: float) -> None:
        t, regret = float(self.iteration), self.regret[own]
        with np.errstate(over="ignore"):  # t^alpha / (t^alpha + 1), which exists for infinite alpha, too
            up, down = (1 / (1 + np.power(t, -power)) for power in (alpha, beta))
        self.regret[own] = regret * np.where(regret > 0, up, down)
        self.total[own] *= (t / (t + 1)) ** gamma

    def _match(self, own: NDArray[np.bool_]) -> None:
        self.current[own] = matched(self.regret[own], self.even[own])


class CFRPlus(CFR, name="cfr_plus"):
    """CFR+: regrets are never negative, and policies weighted by the iteration (Tammelin 2014, arXiv:1407.5042)."""

    plus = linear = True


class DiscountedCFR(CFR, name="discounted_cfr"):
    """Discounted CFR with settings alpha, beta, gamma (Brown and Sandholm 2019, arXiv:1809.04040).

    Raises:
        ValueError: alpha or beta is no number, or gamma not finite or below 0.
    """

    def __init__(self, game: Game[Any], alpha: float = 1.5, beta: float = 0.0, gamma: float = 2.0) -> None:
        if math.isnan(alpha) or math.isnan(beta) or not 0 <= gamma < math.inf:
            raise ValueError(
                f"alpha and beta are numbers, infinite ones among them, and gamma is 0 or more, not {alpha=}, {beta=}, "
                f"{gamma=}"
            )
        super().__init__(game)
        self.discount = alpha, beta, gamma


class LinearCFR(CFR, name="linear_cfr"):
    """Linear CFR: discounted CFR with alpha = beta = gamma = 1 (Brown and Sandholm 2019, arXiv:1809.04040)."""

    discount = 1.0, 1.0, 1.0


class CFRBR(CFR, name="cfr_br"):
    """CFR-BR: each player minimises regret against best responses to the present policy.

    Source: Johanson et al. 2012, "Finding optimal abstract strategies in extensive-form games".
    """

    def step(self) -> None:
        answers = np.zeros(self.current.shape)
        for player in range(self.players):
            answers[self.own[player], self.answer(player, self.current)] = 1.0
        for player in range(self.players):
            own = self.own[player]
            policy = answers.copy()
            policy[own] = self.current[own]
            self._learn(player, policy)
        for own in self.own:
            self._match(own)


class FictitiousPlay(Solver, name="fictitious_play"):
    """Extensive-form fictitious play: best responses to the average policy, averaged.

    Source: Heinrich, Lanctot and Silver 2015, "Fictitious self-play in extensive-form games", algorithm 1, with step
    sizes 1 / (t + 1).
    """

    def __init__(self, game: Game[Any]) -> None:
        super().__init__(game)
        self.total = reached(self.tables, self.current)

    def step(self) -> None:
        average = self.average
        answers = np.zeros(self.current.shape)
        for player in range(self.players):
            answers[self.own[player], self.answer(player, average)] = 1.0
        self.current = answers
        self.total += reached(self.tables, answers)


class Sampling(Solver):
    """Monte-Carlo CFR: what sampled games say of regrets.

    Source: Lanctot et al. 2009, "Monte Carlo sampling for regret minimization in extensive games".
    """

    def __init__(self, game: Game[Any], seed: int = 0) -> None:
        super().__init__(game)
        t = self.tables
        self.regret = np.where(t.legal, 1e-6, 0.0)
        self.total = np.where(t.legal, 1e-6, 0.0)
        self._stream = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        depth = len(t.levels) + 1
        self._policies, self._path = np.zeros((depth, t.legal.shape[1])), np.zeros(depth, np.int64)
        order = np.argsort(t.parent, kind="stable")
        self._edges = sweeps.Edges(*(np.ascontiguousarray(column[order]) for column in self.edges))
        self._pay = np.ascontiguousarray(t.pay[order])
        self._first = np.searchsorted(t.parent[order], np.arange(len(t.mover) + 1)).astype(np.int64)

    def run(self, iterations: int) -> None:
        iterations = whole("iterations", iterations)
        self._sample(iterations)
        self.iteration += iterations
        self.current = matched(self.regret, self.even)

    def _sample(self, iterations: int) -> None:
        raise NotImplementedError

    @property
    def average(self) -> Rows:
        policy: Rows = self.total / self.total.sum(1, keepdims=True)
        return policy


class ExternalSampling(Sampling, name="external_sampling"):
    """External sampling: all moves of the player who updates, one of everybody else's. Setting: seed.

    Raises:
        ValueError: the game has one player; policies are averaged where another one updates.
    """

    def __init__(self, game: Game[Any], seed: int = 0) -> None:
        super().__init__(game, seed)
        if self.players < 2:
            raise ValueError(
                f"external sampling wants two players or more, and {game!r} has {self.players}: use cfr_plus"
            )
        self._returned = np.zeros(self._policies.shape)
        self._under_way, self._paid = np.zeros(len(self._path), np.int64), np.zeros(len(self._path))

    def _sample(self, iterations: int) -> None:
        sweeps.sample_external(
            self._first, self._edges, self._pay, self.legal, self.players, iterations, self._stream, self.regret,
            self.total, self._policies, self._returned, self._path, self._under_way, self._paid,
        )  # fmt: skip


class OutcomeSampling(Sampling, name="outcome_sampling"):
    """Outcome sampling: one game for each player's update. Settings: seed, explore."""

    def __init__(self, game: Game[Any], seed: int = 0, explore: float = 0.6) -> None:
        if not 0 < explore <= 1:
            raise ValueError(f"explore is a share above 0 and at most 1, not {explore}")
        super().__init__(game, seed)
        self.explore = explore
        self._reaches = np.zeros((len(self._path), 4))

    def _sample(self, iterations: int) -> None:
        sweeps.sample_outcomes(
            self._first, self._edges, self._pay, self.legal, self.players, iterations, self._stream, self.explore,
            self.regret, self.total, self._policies, self._path, self._reaches,
        )  # fmt: skip


def solve(
    game: Game[Any] | str, iterations: int = 1000, method: str = "cfr_plus", **settings: Any
) -> dict[str, Rows]:
    """An approximate equilibrium: the policy that a method promises after `iterations`.

    For two players and zero sums it comes close to an equilibrium; elsewhere nothing is promised.

    Args:
        game: a game that can be tabulated, or its name.
        iterations: of the method.
        method: a name of `METHODS`; CFR+ by default, which is the fastest on small games.
        settings: of the method's class.

    Raises:
        ContractError: a seat forgets what it knew, so that its own reach is not defined.
    """
    whole("iterations", iterations, least=1)
    solver = Solver.of(game, method, **settings)
    solver.run(iterations)
    return named(solver.tables, solver.policy)
