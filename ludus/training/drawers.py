"""Who can move in many positions at once, as array rollouts want it: networks, and others made to.

Shape letters: N rows, A moves, F features, I information states.
"""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.agents.network import Drawn, NetworkAgent
from ludus.arenas.exploit import POSITIONS
from ludus.core.agent import Agent, Uniform
from ludus.core.array_game import ArrayGame
from ludus.core.errors import ConfigError
from ludus.core.exact import rows, tabular
from ludus.core.game import Game, Seat
from ludus.core.tables import tabulate


@runtime_checkable
class Drawer(Protocol):
    """An agent that moves in many positions at once, as `ludus.agents.network` does."""

    name: str
    version: int

    def draw(self, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]) -> Any:
        """Moves (N,), their log-probabilities (N,) and values (N,)."""


class Likeliest:
    """Plays the likeliest move of a network.

    Args:
        agent: the network.
    """

    version = -1

    def __init__(self, agent: NetworkAgent) -> None:
        self.name, self.network = f"{agent.name}, likeliest", agent.network

    def draw(self, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]) -> Drawn:
        with torch.no_grad():
            logits, _ = self.network(torch.from_numpy(features))
            moves = logits.masked_fill(~torch.from_numpy(legal), -torch.inf).argmax(1).numpy()
        return Drawn(moves, np.zeros(len(moves)), np.full(len(moves), np.nan))


class TableDrawer:
    """Draws from a tabular policy at one seat, whose features tell its information states.

    Args:
        game: an array game that can be tabulated.
        policy: probabilities (I, A).
        seat: where it sits.
        name: in records.
    """

    version = -1

    def __init__(self, game: Game[Any], policy: NDArray[np.float64], seat: Seat, name: str) -> None:
        tables = tabulate(game)
        self.name = name
        own = np.flatnonzero(tables.owner == game.players.index(seat))
        self._row = {cast("Any", tables.views[i].features).tobytes(): int(i) for i in own}
        if len(self._row) < len(own):
            raise ConfigError(
                f"{game!r}: {len(own):,} information states of {seat} have {len(self._row):,} different features, by which "
                "alone a table is played in many games at once"
            )
        self._reach = np.cumsum(policy, 1)
        self._policy = policy

    def draw(self, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]) -> Drawn:
        at = np.array([self._row[one.tobytes()] for one in features], np.int64)
        reach = self._reach[at]
        moves = (uniform[:, None] * reach[:, -1:] >= reach).sum(1)
        return Drawn(moves, np.log(self._policy[at, moves]), np.full(len(moves), np.nan))


def drawer(game: Game[Any], agent: Agent, seat: Seat) -> Agent:
    """The agent as one that moves in many positions at once.

    Args:
        game: what is played.
        agent: a network, the uniform player, or one whose probabilities can be asked for at every
            information state of a game that is small enough.
        seat: where it sits.

    Raises:
        ConfigError: it is none of these, or the game is no array game.
    """
    if not isinstance(game, ArrayGame):
        raise ConfigError(f"{game!r} is no array game, and cannot be played in many rows at once")
    if isinstance(agent, (Drawer, Uniform)):
        return agent
    if not hasattr(agent, "probabilities"):
        raise ConfigError(
            f"{agent.name} moves in one position at a time and tells no probabilities: give a network, the "
            "uniform player, or an agent that tells its probabilities in a small game"
        )
    try:
        tabulate(game, limit=POSITIONS)
    except ValueError as fault:
        raise ConfigError(
            f"{agent.name} moves in one position at a time, and {fault}: give a network"
        ) from fault
    return cast("Agent", TableDrawer(game, rows(game, tabular(game, agent)), seat, agent.name))


def draw(
    agent: Agent, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]
) -> Drawn:
    """Moves of one agent in many positions.

    Args:
        agent: a `Drawer` or the uniform player.
        features: (N, *F).
        legal: (N, A).
        uniform: (N,) in [0, 1), one number for each draw.
    """
    if isinstance(agent, Uniform):
        count = legal.sum(1)
        pick = (uniform * count).astype(np.int64)
        move = np.argmax(np.cumsum(legal, 1) > pick[:, None], 1)
        return Drawn(move, -np.log(count), np.full(len(move), np.nan))
    return Drawn(*cast("Drawer", agent).draw(features, legal, uniform))
