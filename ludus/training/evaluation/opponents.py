"""Whom a policy is measured against.

uniform            any agent that is registered under this name; a table {name = "mcts", simulations = 500} makes it
                   with settings, and agents that are made for a game are made for the one that is measured
optimal            exact: where nothing is hidden, uniform among the best moves of backward induction; else, in games
                   of two players and zero sum, an equilibrium by CFR+
main, main@init    the run's policies and their copies, as in a lineup
runs/a/policies/b  a saved policy, by its folder
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ludus.agents.exact import Tabular
from ludus.agents.search import Searcher
from ludus.core.agent import Agent
from ludus.core.errors import ConfigError
from ludus.core.exact import optimal
from ludus.core.game import Game
from ludus.core.registry import agent_for, make_agent
from ludus.core.solvers import solve
from ludus.training.lineup import Cast

Spec: TypeAlias = "str | Mapping[str, Any]"
Specs: TypeAlias = "Sequence[str] | Mapping[str, Spec]"
ITERATIONS = 1000  # of CFR+; Kuhn poker comes to a NashConv of 2e-4, Leduc poker to 5e-4


def labelled(given: Specs) -> dict[str, Spec]:
    """Opponents by the label they have in metrics: a list of names is its own labels.

    Raises:
        ConfigError: a label would not be a part of a metric's name.
    """
    found: dict[str, Spec] = {}
    found |= given if isinstance(given, Mapping) else {name: name for name in given}
    for label in found:
        if "/" in label:
            raise ConfigError(f'an opponent {label!r} needs a label: opponents = {{rival = "{label}"}}')
    return found


def copies(specs: Iterable[Spec]) -> set[str]:
    """The names among opponents that a cast must be made with."""
    names = {str(spec if isinstance(spec, str) else spec.get("name", "")) for spec in specs}
    return {name for name in names if "@" in name and "/" not in name}


def changes(spec: Spec, cast: Cast) -> bool:
    """Whether an opponent is another one at the next measure."""
    return isinstance(spec, str) and (spec in cast.policies or spec.endswith("@phase_start"))


def opponent(spec: Spec, game: Game[Any], cast: Cast) -> Agent:
    """The opponent that a configuration names, made to play `game`.

    Raises:
        ConfigError: it cannot play this game, or the folder holds no policy.
        UnknownName: nobody is called that.
    """
    settings = {} if isinstance(spec, str) else dict(spec)
    name = spec if isinstance(spec, str) else str(settings.pop("name", ""))
    if "/" in name:
        return _saved(Path(name), settings)
    if name == "optimal":
        return _optimal(game, **settings)
    if name in cast.policies or "@" in name:
        if name.endswith("@past"):
            raise ConfigError(f"{name} is another one each time: measure against a copy that stays")
        return cast.find(name)
    agent = agent_for(game, name, **settings)
    if isinstance(agent, Searcher) and not game.perfect_information:
        raise ConfigError(
            f"{name} would have to be shown what {game.id} hides: measure against 'optimal' there, or name the "
            "games of this measure (only = [...])"
        )
    return agent


def check_optimal(game: Game[Any]) -> None:
    """Refuse games in which no play is optimal whatever the others do.

    Raises:
        ConfigError: the game hides parts, and is not of two players and zero sum.
    """
    if not game.perfect_information and (len(game.players) != 2 or not game.zero_sum):
        raise ConfigError(
            f"no play of {game.id} is optimal: it hides parts, and is not of two players and zero sum"
        )


def _optimal(game: Game[Any], iterations: int = ITERATIONS) -> Tabular:
    check_optimal(game)
    table = optimal(game) if game.perfect_information else solve(game, iterations)
    return Tabular(table, "optimal")


def _saved(folder: Path, settings: Mapping[str, Any]) -> Agent:
    kinds = {
        "network.json": "network",
        "q_network.json": "q_network",
        "config.json": "language",
        "adapter_config.json": "language",
    }
    for file, kind in kinds.items():
        if (folder / file).is_file():
            return make_agent(kind, path=str(folder), **settings)
    raise ConfigError(f"{folder} holds no policy: none of {', '.join(kinds)} is there")
