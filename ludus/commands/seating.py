"""Agents as people write them on the command line.

uniform                                a registered name
mcts(simulations=50, name=patient)     with settings, written as in TOML; bare words are strings
rookie=mcts(simulations=5)             under another name
runs/x/policies/net                    a folder that training or `ludus tiny` wrote
mine:Careful(depth=2)                  a class or function of a module of yours, mine.py
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ludus.agents.language.keys import redact
from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, LudusError, UnknownName, nearest
from ludus.core.game import Game, Seat, role_of
from ludus.core.registry import AGENTS, GAMES, make, parameters, with_game

_WRITTEN = re.compile(r"(?:(?P<label>[^=()]+)=)?(?P<name>[^=()]+?)(?:\((?P<settings>.*)\))?", re.DOTALL)


def game_by(name: str, settings: Iterable[str] = ()) -> Game[Any]:
    """The game called `name`, or `module:Class`, made with settings written `key=value`."""
    given = _values(list(settings), f"the game {name}")
    maker = named(name, "game") if ":" in name else known_game(name)
    given |= _as_written(maker, given, settings)
    try:
        game: Game[Any] = maker(**given) if ":" in name else make(name, **given)
    except LudusError:
        raise
    except (TypeError, ValueError) as fault:
        raise ConfigError(f"{name} cannot be made with {given or 'nothing set'}: {fault}") from fault
    return game


def known_game(name: str) -> Callable[..., Any]:
    """What makes the game of a name.

    Raises:
        ConfigError: nobody knows it, and a package in a folder here that is not installed would.
        UnknownName: nobody knows it.
    """
    try:
        return GAMES.maker(name)
    except UnknownName as fault:
        for file in sorted({*Path().glob("pyproject.toml"), *Path().glob("*/pyproject.toml")}):
            try:
                told = tomllib.loads(file.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, OSError):  # some other folder's, of which nothing was asked
                continue
            if name in told.get("project", {}).get("entry-points", {}).get("ludus.games", {}):
                raise ConfigError(
                    f"the game {name!r} is that of a package in {file.parent.absolute()}, which is not installed: "
                    f"pip install -e {file.parent}"
                ) from fault
        if nearest(name, GAMES.names()):
            raise
        raise ConfigError(
            f"{fault}. A game of a package is known once that is installed (pip install -e FOLDER), and one outside any "
            "package is written module:Class"
        ) from fault


def _as_written(maker: Callable[..., Any], given: dict[str, Any], settings: Iterable[str]) -> dict[str, str]:
    """The settings that the maker wants as text, where what was written looked like something else: pot=true."""
    takes = parameters(maker)
    texts = {key for key in given if key in takes and takes[key].annotation in ("str", str)}
    pairs = (part.partition("=") for part in settings)
    return {
        key.strip(): value.strip()
        for key, _, value in pairs
        if key.strip() in texts and not isinstance(given[key.strip()], str)
    }


def named(name: str, kind: str) -> Callable[..., Any]:
    """What `module:name` means; the folder that one stands in is searched first.

    Raises:
        UnknownName: there is no such module, or it holds nothing of that name.
    """
    module, _, what = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = vars(importlib.import_module(module))
    except ModuleNotFoundError as fault:
        if fault.name is None or not f"{module}.".startswith(f"{fault.name}."):
            raise ConfigError(f"{module} cannot be imported: {fault}") from fault
        raise UnknownName("module", module, sorted(path.stem for path in Path().glob("*.py"))) from fault
    if not callable(found.get(what)):
        own = (k for k, v in found.items() if getattr(v, "__module__", "") == module and callable(v))
        raise UnknownName(f"{kind} in {module}", what, own)
    maker: Callable[..., Any] = found[what]
    return maker


def agents_by(text: str, game: Game[Any]) -> list[Agent]:
    """The agents of a list with commas, made to play `game`, each of a name of its own.

    Agents of the same name are told apart by their folders; a label stays what it is.

    Raises:
        ConfigError: two are called the same, and do not come from two folders.
    """
    parts = _split(text)
    agents = [agent_by(part, game) for part in parts]
    names = Counter(agent.name for agent in agents)
    for part, agent in zip(parts, agents, strict=True):
        label, folder = _origin(part)
        if names[agent.name] > 1 and folder and not label:
            agent.name = folder
    if twice := [name for name, count in Counter(agent.name for agent in agents).items() if count > 1]:
        raise ConfigError(f"two agents are called {twice[0]!r}: give one of them a label, label={twice[0]}")
    return agents


def _origin(text: str) -> tuple[str, str]:
    """The label or name that a text gives an agent, and the folder that it comes from; of both perhaps nothing."""
    found = _WRITTEN.fullmatch(text.strip())
    assert found is not None  # an agent has been made of it
    settings = _values(_split(found["settings"] or ""), text)
    name = found["name"].strip()
    folder = str(Path(name)) if Path(name).is_dir() else str(settings.get("path", ""))
    return (found["label"] or "").strip() or str(settings.get("name", "")), folder


def agent_by(text: str, game: Game[Any]) -> Agent:
    """One agent, made to play `game`.

    Raises:
        ConfigError: the text cannot be read.
        UnknownName: nobody is called that.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no agent; write a name, name(key=value, ...), label=name or a folder")
    name, settings = (
        found["name"].strip(),
        _values(_split(found["settings"] or ""), redact(f"the agent {text}")),
    )
    if (folder := Path(name)).is_dir():
        settings, name = {"path": str(folder), **settings}, _kind(folder)
    elif "/" in name and name not in AGENTS:
        raise ConfigError(f"there is no folder {name}{_beside(folder)}")
    if name == "language" and isinstance(settings.get("path"), str):
        check_model(settings["path"])
    maker = named(name, "agent") if ":" in name else AGENTS.maker(name)
    settings = with_game(maker, game, settings)
    label = (found["label"] or "").strip()
    if label and "name" in parameters(maker):
        settings["name"] = label
    agent = _made(text, maker, settings)
    if "path" in settings and hasattr(agent, "misfit") and (differs := agent.misfit(game)):
        raise ConfigError(f"{text.strip()}: {differs}{_trained_for(Path(settings['path']))}")
    if label or not getattr(agent, "name", ""):
        agent.name = label or name.partition(":")[2]
    return agent


def _made(text: str, maker: Callable[..., Any], settings: dict[str, Any]) -> Agent:
    """An agent of its maker; whatever fails is said of the text that asked for it."""
    try:
        agent: Agent = maker(**settings)
    except LudusError:
        raise
    except Exception as fault:
        broken = unreadable(Path(str(settings["path"]))) if "path" in settings else ""
        takes = f"; it takes {', '.join(parameters(maker))}" if not broken else ""
        raise ConfigError(redact(f"{text!r} cannot be made: {broken or fault}{takes}")) from fault
    if not callable(getattr(agent, "act", None)):
        raise ConfigError(f"{text!r} makes {agent!r}, which is no agent: it has no act(requests)")
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
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}{_beside(folder)}")
    if (folder / "network.json").exists():
        return "network"
    if (folder / "policies").is_dir():
        names = sorted(f"{path}" for path in (folder / "policies").iterdir() if path.is_dir())
        raise ConfigError(f"{folder} is a run; its policies are {', '.join(names) or 'not there yet'}")
    if any((folder / file).exists() for file in ("config.json", "adapter_config.json")):
        return "language"
    raise ConfigError(
        f"{folder} holds neither a network (network.json) nor a language model (config.json, adapter_config.json)"
    )


def check_model(path: str) -> None:
    """Refuse what is neither a model's folder nor a name `owner/model` of the hub, before anything is loaded."""
    folder = Path(path)
    if folder.is_dir():
        if _kind(folder) != "language":
            raise ConfigError(f"{folder} holds a network, not a language model")
        return
    of_hub = re.fullmatch(r"(?!runs/)[\w-][\w.-]*/[\w.-]+", path) and not folder.parent.is_dir()
    if not of_hub:
        raise ConfigError(
            f"there is no model folder {path}{_beside(folder)} (a model of the hub is written owner/model)"
        )


def _beside(folder: Path) -> str:
    """What may have been meant by a folder that is not there."""
    parent = next((p for p in folder.parents if p.is_dir()), Path())
    names = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
    missing = folder.relative_to(parent).parts[0] if folder.is_relative_to(parent) else folder.name
    above = f", for there is no folder {parent / missing}" if parent / missing != folder else ""
    if near := nearest(missing, names):
        return f"{above}; did you mean {parent / near}?"
    return f"{above}; in {parent.absolute()} there are: {', '.join(names[:12]) or 'no folders'}"


def _trained_for(policy: Path) -> str:
    """What a policy was trained for, as the run says in whose folder it is; nothing where that is not known."""
    run = policy.parent.parent / "config.json"
    if policy.parent.name != "policies" or not run.is_file():
        return ""
    told = json.loads(run.read_text(encoding="utf-8"))
    games = told.get("games") or [told["game"]]
    settings = [f"{key}={value}" for one in games for key, value in one["params"].items()]
    made = f" with {', '.join(settings)}" if settings else ""
    return f". It was trained for {', '.join(one['name'] for one in games)}{made}, says {run}"


def unreadable(folder: Path) -> str:
    """The first file of saved numbers or settings in a folder that cannot be read, and why; nothing if all can."""
    for path in sorted(folder.rglob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as fault:
            return f"{path} cannot be read: {fault}"
    for path in sorted(folder.rglob("*.safetensors")):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except (SafetensorError, OSError) as fault:
            return f"{path} cannot be read: {fault}"
    return ""


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
