"""Solvers of small games: how close to equilibrium a game can be played, found by going through its tables.

    solver = Solver.of("leduc_poker", "cfr_plus")
    solver.run(1000)
    nash_conv(solver.tables, solver.average)

Each method is a class under its name in `METHODS`; `solve` makes one, runs it and returns its policy. A solver may be
run on, and holds nothing but arrays. Policies are arrays (I, A), in the order of the tables' information states.

Shape letters: X positions, E edges, I information states, A moves, K players.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ludus.core import sweeps
from ludus.core.errors import ContractError, UnknownName
from ludus.core.exact import Rows, averaged, edge_weights, named, reached, remembered
from ludus.core.game import Game
from ludus.core.tables import tabulate

METHODS: dict[str, type[Solver]] = {}


class Solver:
    """What all methods share: the tables as flat arrays, and room to work in.

    Attributes:
        tables: the game's, unfolded: a tree.
        iteration: how many were run.
        current: (I, A) the policy that the next iteration begins with.
    """

    last: ClassVar[bool] = (
        False  # whether the last policy, and not the average, is what comes near equilibrium
    )

    def __init_subclass__(cls, name: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if name:
            METHODS[name] = cls

    def __init__(self, game: Game[Any]) -> None:
        self.tables = t = tabulate(game, unfold=True)
        self.iteration = 0
        self.legal = t.legal.astype(np.uint8)
        self.even: Rows = t.legal / t.legal.sum(1, keepdims=True)
        self.current = self.even.copy()
        self.total = np.zeros(t.legal.shape)
        self.players = len(game.players)
        self.own = [t.owner == k for k in range(self.players)]
        remembered(t)  # or say that a seat forgets
        mover, info = t.mover[t.parent], t.info[t.parent]
        self.edges = t.parent, t.child, t.action, mover, info, np.nan_to_num(t.odds)
        self.pays = [np.ascontiguousarray(t.pay[:, k]) for k in range(self.players)]
        self._level = np.array([span.start for span in t.levels] + [len(t.parent)], np.int64)
        self._positions = [np.zeros(len(t.mover)) for _ in range(4)]
        self._values = np.zeros(t.legal.shape)
        self._mass, self._reach = np.zeros(len(t.legal)), np.zeros(len(t.legal))
        self._best = np.zeros(len(t.legal), np.int64)

    @staticmethod
    def of(game: Game[Any] | str, method: str = "cfr_plus", **settings: Any) -> Solver:
        """A solver by the name of its method.

        Raises:
            UnknownName: no such method, or it has no such setting.
            ValueError: the game is too large to tabulate.
            ContractError: a seat forgets what it knew, so that its own reach is not defined.
        """
        if isinstance(game, str):
            from ludus.core.registry import make

            game = make(game)
        if method not in METHODS:
            raise UnknownName("method", method, METHODS)
        known = [
            name
            for name in inspect.signature(METHODS[method].__init__).parameters
            if name not in ("self", "game")
        ]
        for name in settings:
            if name not in known:
                raise UnknownName(f"setting of {method}", name, known)
        return METHODS[method](game, **settings)

    def run(self, iterations: int) -> None:
        """So many iterations more."""
        for _ in range(iterations):
            self.iteration += 1
            self.step()

    def step(self) -> None:
        """One iteration."""
        raise NotImplementedError

    @property
    def average(self) -> Rows:
        """(I, A) the average of the policies so far, weighted by how often each leads to a state."""
        return averaged(self.tables, self.total)

    @property
    def policy(self) -> Rows:
        """(I, A) what the method promises to be near an equilibrium."""
        return self.current if self.last else self.average

    # --------------------------------------------------------------------------- for methods
    def sweep(self, player: int, policy: Rows) -> None:
        """Fill `_values`, `_mass`, `_reach` at a player's information states; see `sweeps.counterfactual`."""
        sweeps.counterfactual(
            *self.edges,
            self.pays[player],
            player,
            policy,
            *self._positions[:3],
            self._values,
            self._mass,
            self._reach,
        )

    def answer(self, player: int, policy: Rows) -> NDArray[np.int64]:
        """(n,) the player's best moves, at its own information states."""
        others, worth = self._positions[:2]
        sweeps.answer(
            *self.edges,
            self.pays[player],
            self._level,
            player,
            policy,
            self.legal,
            others,
            worth,
            self._values,
            self._best,
        )
        best: NDArray[np.int64] = self._best[self.own[player]]
        return best


class CFR(Solver, name="cfr"):
    """Counterfactual regret minimisation, players updating in turn.

    After iteration t, regrets and the sum of policies are discounted: positive regrets by t^alpha / (t^alpha + 1),
    negative ones by the same with beta, the sum by (t / (t + 1))^gamma.

    Args:
        game: a game that can be tabulated.
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
            *self.edges, self.pays[player], player, policy, *self._positions, self.regret, self._reach
        )
        weight = self.iteration if self.linear else 1
        self.total[own] += weight * self._reach[own, None] * policy[own]
        if self.plus:
            self.regret[own] = np.maximum(self.regret[own], 0.0)

    def _forget(self, own: NDArray[np.bool_], alpha: float, beta: float, gamma: float) -> None:
        t, regret = float(self.iteration), self.regret[own]
        up, down = t**alpha / (t**alpha + 1), t**beta / (t**beta + 1)
        self.regret[own] = regret * np.where(regret > 0, up, down)
        self.total[own] *= (t / (t + 1)) ** gamma

    def _match(self, own: NDArray[np.bool_]) -> None:
        positive = np.maximum(self.regret[own], 0.0)
        whole = positive.sum(1, keepdims=True)
        self.current[own] = np.divide(positive, whole, out=self.even[own], where=whole > 0)


class CFRPlus(CFR, name="cfr_plus"):
    """CFR+: regrets are never negative, and policies weighted by the iteration (Tammelin 2014, arXiv:1407.5042)."""

    plus = linear = True


class DiscountedCFR(CFR, name="discounted_cfr"):
    """Discounted CFR with settings alpha, beta, gamma (Brown and Sandholm 2019, arXiv:1809.04040)."""

    def __init__(self, game: Game[Any], alpha: float = 1.5, beta: float = 0.0, gamma: float = 2.0) -> None:
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
        self._edges = tuple(np.ascontiguousarray(column[order]) for column in (*self.edges[1:], t.pay))
        self._first = np.searchsorted(t.parent[order], np.arange(len(t.mover) + 1)).astype(np.int64)

    def run(self, iterations: int) -> None:
        self._sample(iterations)
        self.iteration += iterations

    def _sample(self, iterations: int) -> None:
        raise NotImplementedError

    @property
    def average(self) -> Rows:
        policy: Rows = self.total / self.total.sum(1, keepdims=True)
        return policy


class ExternalSampling(Sampling, name="external_sampling"):
    """External sampling: all moves of the player who updates, one of everybody else's. Setting: seed."""

    def __init__(self, game: Game[Any], seed: int = 0) -> None:
        super().__init__(game, seed)
        self._returned = np.zeros(self._policies.shape)
        self._under_way, self._paid = np.zeros(len(self._path), np.int64), np.zeros(len(self._path))

    def _sample(self, iterations: int) -> None:
        sweeps.sample_external(
            self._first, *self._edges, self.legal, self.players, iterations, self._stream, self.regret, self.total,
            self._policies, self._returned, self._path, self._under_way, self._paid,
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
            self._first, *self._edges, self.legal, self.players, iterations, self._stream, self.explore, self.regret,
            self.total, self._policies, self._path, self._reaches,
        )  # fmt: skip


class MirrorDescent(Solver, name="mmd"):
    """Magnetic mirror descent: towards higher values, and towards a magnet.

    At each information state, with Q the value of a move when the state is reached,

        pi'(a) is proportional to [pi(a) rho(a)^(alpha eta) exp(eta Q(a))]^(1 / (1 + alpha eta)).

    With a fixed alpha and a uniform magnet it converges to a quantal response equilibrium; with alpha and eta falling
    as 1 / sqrt(t), or a magnet that follows, its last policy comes near an equilibrium.

    Args:
        game: a game that can be tabulated.
        alpha: the pull of the magnet.
        eta: the step size.
        anneal: divide both by sqrt(t).
        form: "behavioural", as above; or "dilated": the mirror map is the dilated entropy of the sequence form, and
            the magnet its largest point.
        follow: the magnet moves by this share towards the policy each iteration, rho^(1 - follow) pi^follow.

    Source: Sokota et al. 2023, arXiv:2206.05825, section 3 and appendix on tabular play.
    """

    last = True

    def __init__(
        self,
        game: Game[Any],
        alpha: float = 1.0,
        eta: float = 1.0,
        *,
        anneal: bool = True,
        form: str = "behavioural",
        follow: float = 0.0,
    ) -> None:
        if alpha < 0 or eta <= 0 or not 0 <= follow <= 1:
            raise ValueError(f"alpha >= 0, eta > 0 and 0 <= follow <= 1, not {alpha=}, {eta=}, {follow=}")
        if form not in ("behavioural", "dilated"):
            raise UnknownName("form of mmd", form, ("behavioural", "dilated"))
        if form == "dilated" and follow:
            raise ContractError(
                "the magnet of form='dilated' does not move: follow = 0, or form='behavioural'"
            )
        super().__init__(game)
        self.alpha, self.eta, self.anneal, self.form, self.follow = alpha, eta, anneal, form, follow
        self.magnet = np.log(self.even, where=self.tables.legal, out=np.zeros(self.even.shape))
        self._log = self.magnet.copy()

    def step(self) -> None:
        fall = self.iteration**-0.5 if self.anneal else 1.0
        alpha, eta = self.alpha * fall, self.eta * fall
        policy = np.zeros(self.current.shape)
        self.total += reached(self.tables, self.current)
        for player in range(self.players):
            own = self.own[player]
            if self.form == "dilated":
                self._dilated(player, alpha, eta, policy)
                continue
            self.sweep(player, self.current)
            mass = self._mass[own, None]
            value = np.divide(self._values[own], mass, out=np.zeros(self._values[own].shape), where=mass > 0)
            logits = (self._log[own] + alpha * eta * self.magnet[own] + eta * value) / (1 + alpha * eta)
            self._log[own] = _log_softmax(logits, self.tables.legal[own])
            policy[own] = np.where(self.tables.legal[own], np.exp(self._log[own]), 0.0)
        self.current = policy
        if self.follow:
            moved = (1 - self.follow) * self.magnet + self.follow * self._log
            self.magnet = _log_softmax(moved, self.tables.legal)

    def _dilated(self, player: int, alpha: float, eta: float, policy: Rows) -> None:
        own = self.own[player]
        gain = np.zeros(policy.shape)
        gain[own] = -(eta * self._paid(player)[own] + self._log[own]) / (1 + eta * alpha)
        sweeps.dilate(*self._sequences, self._order[player], self.legal, gain, policy)
        logs = np.log(policy[own], where=self.tables.legal[own], out=np.zeros(policy[own].shape))
        self._log[own] = logs

    def _paid(self, player: int) -> Rows:
        """(I, A) what follows a player's move until it moves again, weighted by the others' reach."""
        t = self.tables
        self.sweep(player, self.current)
        others = self._positions[1]
        parent, child, _, mover, *_ = self.edges
        weight = edge_weights(t, self.current)
        led = np.where(mover == player, others[parent], others[parent] * weight) * self.pays[player]
        at = self._last[player, child]
        paid = np.zeros(t.legal.size)
        np.add.at(paid, at[at >= 0], led[at >= 0])
        return paid.reshape(t.legal.shape)

    @functools.cached_property
    def _last(self) -> NDArray[np.int64]:
        """(K, X) each player's last own state and move before a position, as one number; -1 before the first."""
        t = self.tables
        last = np.full((self.players, len(t.mover)), -1, np.int64)
        for span in t.levels:
            parent, child = t.parent[span], t.child[span]
            last[:, child] = last[:, parent]
            for k in range(self.players):
                mine = t.mover[parent] == k
                last[k, child[mine]] = t.info[parent[mine]] * t.legal.shape[1] + t.action[span][mine]
        return last

    @functools.cached_property
    def _sequences(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(I,) the state and the move of the same player before each state; -1 before its first."""
        t, some = self.tables, remembered(self.tables)
        before = self._last[t.owner, some]
        return np.where(before >= 0, before // t.legal.shape[1], -1), np.maximum(before, 0) % t.legal.shape[1]

    @functools.cached_property
    def _order(self) -> list[NDArray[np.int64]]:
        """(n,) each player's states, later ones first."""
        t, some = self.tables, remembered(self.tables)
        level = np.zeros(len(t.mover), np.int64)
        for number, span in enumerate(t.levels):
            level[t.child[span]] = number + 1
        late = np.argsort(-level[some], kind="stable")
        return [late[t.owner[late] == k] for k in range(self.players)]


def _log_softmax(logits: Rows, legal: NDArray[np.bool_]) -> Rows:
    shifted = np.where(legal, logits - np.where(legal, logits, -np.inf).max(1, keepdims=True), 0.0)
    whole = np.log((np.exp(shifted) * legal).sum(1, keepdims=True))
    return np.where(legal, shifted - whole, 0.0)


def solve(
    game: Game[Any], iterations: int = 1000, method: str = "cfr_plus", **settings: Any
) -> dict[str, Rows]:
    """An approximate equilibrium: the policy that a method promises after `iterations`.

    For two players and zero sums it comes close to an equilibrium; elsewhere nothing is promised.

    Args:
        game: a game that can be tabulated.
        iterations: of the method.
        method: a name of `METHODS`; CFR+ by default, which is the fastest on small games.
        settings: of the method's class.

    Raises:
        ContractError: a seat forgets what it knew, so that its own reach is not defined.
    """
    if iterations < 1:
        raise ValueError(f"at least one iteration, not {iterations}")
    solver = Solver.of(game, method, **settings)
    solver.run(iterations)
    return named(solver.tables, solver.policy)
