"""Agents that come with the package: the best of `make strength` that are small enough.

`shipped/<game>/` holds a network (`ludus.agents.network`) or, where an average strategy was measured and is small, its
table (`ludus.agents.exact`), and `about.json`: for which rules it was trained, how, and what it was measured to be.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ludus.agents.exact import Tabular
from ludus.agents.simple import rules_for
from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Game, arguments
from ludus.core.registry import make, register_agent

SHIPPED = Path(__file__).with_name("shipped")
TABLE, ABOUT = "table.json", "about.json"


@register_agent("trained")
def trained(game: str | Game[Any], name: str = "", **params: Any) -> Agent:
    """The agent that comes with the package for a game.

    Args:
        game: which game, by name or made.
        name: what it is called in records; by default "trained".
        params: what the game is made with.

    Raises:
        UnknownName: no agent comes with the package for this game.
        ConfigError: it was trained for other rules than these.
    """
    rules = rules_for(game, params, trained)
    folder = SHIPPED / rules.id
    if not folder.is_dir():
        raise UnknownName("game with a trained agent", rules.id, shipped())
    told = about(rules.id)
    trained_for = arguments(make(rules.id, **told["params"]))
    if trained_for != arguments(rules) or told["version"] != rules.version:
        raise ConfigError(
            f"the agent that comes with the package was trained for {rules.id} with {told['params'] or 'its defaults'}, "
            f"version {told['version']}; this is {rules!r}, version {rules.version}"
        )
    if (folder / TABLE).is_file():
        return Tabular.load(folder / TABLE, name or "trained")
    from ludus.agents.network import network

    return network(folder, name or "trained")


def shipped() -> list[str]:
    """The games for which an agent comes with the package."""
    return sorted(place.parent.name for place in SHIPPED.glob(f"*/{ABOUT}"))


def ship(game: Game[Any], agent: Any, told: dict[str, Any]) -> Path:
    """Put an agent that was trained for a game where `trained` finds it, in place of another; with what is to be told."""
    folder = SHIPPED / game.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    agent.save(folder / TABLE if isinstance(agent, Tabular) else folder)
    rules = {"params": dict(game.params), "version": game.version}
    (folder / ABOUT).write_text(json.dumps(rules | told, indent=1) + "\n", encoding="utf-8")
    return folder


def about(game: str) -> dict[str, Any]:
    """How the agent of a game was trained, and what it was measured to be."""
    told: dict[str, Any] = json.loads((SHIPPED / game / ABOUT).read_text(encoding="utf-8"))
    return told
