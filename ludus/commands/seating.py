"""Agents as people write them on the command line.

uniform                                a registered name
mcts(simulations=50, name=patient)     with settings, written as in TOML; bare words are strings
rookie=mcts(simulations=5)             under another name
runs/x/policies/net                    a folder that training or `ludus tiny` wrote
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError
from ludus.core.game import Game, Seat, role_of
from ludus.core.registry import AGENTS, make

_WRITTEN = re.compile(r"(?:(?P<label>[^=()]+)=)?(?P<name>[^=()]+?)(?:\((?P<settings>.*)\))?", re.DOTALL)


def game_by(name: str, settings: Iterable[str] = ()) -> Game[Any]:
    """The game called `name`, made with settings written `key=value`."""
    return make(name, **_values(list(settings), f"the game {name}"))


def agents_by(text: str, game: Game[Any]) -> list[Agent]:
    """The agents of a list with commas, made to play `game`."""
    return [agent_by(part, game) for part in _split(text)]


def agent_by(text: str, game: Game[Any]) -> Agent:
    """One agent, made to play `game`.

    Raises:
        ConfigError: the text cannot be read.
        UnknownName: nobody is called that.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no agent; write a name, name(key=value, ...), label=name or a folder")
    name, settings = found["name"].strip(), _values(_split(found["settings"] or ""), f"the agent {text}")
    if (folder := Path(name)).is_dir():
        settings, name = {"path": str(folder), **settings}, _kind(folder)
    maker = AGENTS.maker(name)
    accepted = inspect.signature(maker).parameters
    if "game" in accepted and "path" not in settings:
        settings = {"game": game, **settings}
    if found["label"] and "name" in accepted:
        settings["name"] = found["label"].strip()
    try:
        agent: Agent = maker(**settings)
    except TypeError as fault:
        raise ConfigError(f"{text!r} cannot be made: {fault}; it takes {', '.join(accepted)}") from fault
    return agent


def lineup_by(seats: Iterable[str], game: Game[Any], otherwise: str) -> dict[Seat, Agent | str]:
    """Who sits where, from texts `seat=agent` or `role=agent`; `otherwise` takes the other players' seats."""
    lineup: dict[Seat, Agent | str] = {}
    for text in seats:
        seat, equals, who = text.partition("=")
        if not equals:
            raise ConfigError(
                f"{text!r} seats nobody: write seat=agent, for example {game.players[0]}={otherwise}"
            )
        lineup[seat.strip()] = agent_by(who, game)
    for seat in game.players:
        if seat not in lineup and role_of(seat) not in lineup:
            lineup[seat] = agent_by(otherwise, game)
    return lineup


def _kind(folder: Path) -> str:
    """Which agent reads the folder."""
    if (folder / "network.json").exists():
        return "network"
    if (folder / "config.json").exists():
        return "language"
    raise ConfigError(f"{folder} holds neither a network (network.json) nor a language model (config.json)")


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        quote = "" if letter == quote else letter if not quote and letter in "\"'" else quote
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _values(parts: list[str], whose: str) -> dict[str, Any]:
    """Settings `key=value`; a value is read as TOML, and as a string where it is none.

    >>> _values(["simulations=50", "name=patient", "hidden=[8, 8]"], "it")
    {'simulations': 50, 'name': 'patient', 'hidden': [8, 8]}
    """
    found: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ConfigError(f"{part!r} is no setting of {whose}: write key=value")
        try:
            found[key.strip()] = tomllib.loads(f"x = {value.strip()}")["x"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found
