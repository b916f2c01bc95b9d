"""What solvers of small games share: tables as flat arrays, a policy that gets better, and its average.

Shape letters: X positions, E edges, I information states, A moves, K players.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ludus.core import sweeps
from ludus.core.errors import UnknownName, whole
from ludus.core.exact import Rows, averaged, remembered
from ludus.core.game import Game
from ludus.core.registry import as_game, parameters
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
        self.edges = sweeps.Edges(t.parent, t.child, t.action, mover, info, np.nan_to_num(t.odds))
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
        if method not in METHODS:
            raise UnknownName("method", method, METHODS)
        made: Any = METHODS[method]
        known = [name for name in parameters(made) if name != "game"]
        for name in settings:
            if name not in known:
                raise UnknownName(f"setting of {method}", name, known)
        solver: Solver = made(as_game(game), **settings)
        return solver

    def run(self, iterations: int) -> None:
        """So many iterations more.

        Raises:
            ValueError: they are no whole number from 0 on.
        """
        for _ in range(whole("iterations", iterations)):
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
            self.edges,
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
            self.edges,
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
