"""A network that values moves and plays the best: the other half of a policy that learns by Q-learning.

What `ludus.agents.network` takes for logits are here the values of moves; the best legal one is played, and now and
then another. Its value of a position is that of the best move, and what it learns from are the values of moves made.

Shape letters: N rows, A moves, F features.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ludus.agents.network import NetworkAgent, fresh, network, no_network
from ludus.core.errors import ConfigError
from ludus.core.game import Game
from ludus.core.registry import register_agent

ABOUT, VALUES = "q_network.json", "values"


class QNetworkAgent(NetworkAgent):
    """Plays the move of the highest value, or with a small probability any legal one alike.

        probability of the latter:  max(last, first + (last - first) version / over)

    Args:
        name: its name in records.
        network: whose logits are values of moves.
        version: how often it has been updated.
        exploration: first, last and over.

    Source: Watkins 1989; Mnih et al. 2015, Nature 518.
    """

    def __init__(
        self,
        name: str,
        network: Any,
        version: int = 0,
        exploration: tuple[float, float, float] = (0.06, 0.001, 10_000),
    ) -> None:
        super().__init__(name, network, version)
        self.exploration = exploration

    @property
    def epsilon(self) -> float:
        """The probability of any legal move alike."""
        first, last, over = self.exploration
        return max(last, first + (last - first) * self.version / over)

    def read(self, logits: Tensor, values: Tensor, legal: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-probabilities (N, A) of the moves, and the value (N,) of the best one."""
        allowed = torch.ones_like(logits, dtype=torch.bool) if legal is None else legal
        best, at = logits.masked_fill(~allowed, -torch.inf).max(-1)
        share = self.epsilon * allowed / allowed.sum(-1, keepdim=True)
        share = share.scatter_add(-1, at[:, None], torch.full_like(share[:, :1], 1 - self.epsilon))
        return share.log(), best

    def learned(self, logits: Tensor, values: Tensor, legal: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The values are of the moves that were made, and the only part with a gradient."""
        return self.read(logits.detach(), values, legal)[0], logits.gather(1, ids)[:, 0]

    def frozen(self, name: str) -> QNetworkAgent:
        """A copy under another name that shares no memory and keeps this version."""
        return QNetworkAgent(name, super().frozen(name).network, self.version, self.exploration)

    def save(self, folder: str | Path) -> None:
        """Write weights and settings; `q_network` reads them."""
        super().save(Path(folder) / VALUES)  # or it would be taken for a policy
        about = {"name": self.name, "exploration": self.exploration}
        (Path(folder) / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def fresh_q_network(
    game: Game[Any],
    *,
    name: str = "q_network",
    exploration: Sequence[float] = (0.06, 0.001, 10_000),
    **settings: Any,
) -> QNetworkAgent:
    """A new network for the players of a game.

    Args:
        game: the rules.
        name: its name in records.
        exploration: the share of random moves at first and at last, and over how many updates it falls.
        settings: of `ludus.agents.network.fresh`.

    Raises:
        ConfigError: the exploration makes no sense.
    """
    if len(exploration) != 3 or not 0 <= exploration[1] <= exploration[0] <= 1 or exploration[2] <= 0:
        raise ConfigError(
            f"exploration = {list(exploration)} must be [first, last, updates], falling, in [0, 1]"
        )
    first, last, over = exploration
    return QNetworkAgent(name, fresh(game, name=name, **settings).network, 0, (first, last, over))


@register_agent("q_network")
def q_network(path: str | Path, name: str | None = None) -> QNetworkAgent:
    """The network saved in folder `path`.

    Raises:
        ConfigError: there is no saved network; names those beside it.
    """
    folder = Path(path)
    if not (folder / ABOUT).is_file():
        raise ConfigError(no_network(folder, ABOUT))
    first, last, over = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["exploration"]
    plain = network(folder / VALUES, name)
    return QNetworkAgent(plain.name, plain.network, plain.version, (first, last, over))
