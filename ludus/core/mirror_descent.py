"""Magnetic mirror descent on the tables of a small game.

Shape letters: X positions, E edges, I information states, A moves, K players.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core import sweeps
from ludus.core.errors import ContractError, UnknownName
from ludus.core.exact import Rows, edge_weights, own_moves, reached, remembered
from ludus.core.game import Game
from ludus.core.solver import Solver


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
        if not (0 <= alpha < math.inf and 0 < eta < math.inf and 0 <= follow <= 1):
            raise ValueError(
                f"alpha >= 0, eta > 0, both finite, and 0 <= follow <= 1, not {alpha=}, {eta=}, {follow=}"
            )
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
        at = own_moves(t)[player, child]
        paid = np.zeros(t.legal.size)
        np.add.at(paid, at[at >= 0], led[at >= 0])
        return paid.reshape(t.legal.shape)

    @functools.cached_property
    def _sequences(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(I,) the state and the move of the same player before each state; -1 before its first."""
        t, some = self.tables, remembered(self.tables)
        before = own_moves(t)[t.owner, some]
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
