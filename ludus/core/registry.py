"""Games and agents by name; those of other packages by entry point, loaded when asked for.

A package makes its games known in its `pyproject.toml`:

    [project.entry-points."ludus.games"]
    pennies = "my_package.pennies"
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from ludus.core.agent import Agent
from ludus.core.errors import UnknownName
from ludus.core.game import Game, Seat
from ludus.core.match import seats_filled

Maker = TypeVar("Maker", bound=Callable[..., Any])


class Registry:
    """Makers by name. A maker may be there already, in a module of ours, or in a plug-in."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._makers: dict[str, Callable[..., Any]] = {}
        self._modules: dict[str, str] = {}  # name -> module whose import registers it
        self._broken: set[str] = set()

    def lazily(self, names: Mapping[str, str]) -> None:
        """Make names known whose modules are imported only when they are asked for."""
        self._modules.update(names)

    def add(self, name: str, maker: Maker) -> Maker:
        """Register `maker`; the same maker may be registered twice, another may not."""
        known = self._makers.get(name)
        if known is not None and _place(known) != _place(maker):
            raise ValueError(f"{self.kind} {name!r} is already registered by {_place(known)}")
        self._makers[name] = maker
        return maker

    def names(self) -> list[str]:
        """Every known name, plug-ins included, none of them imported."""
        plugins = {plug.name for plug in entry_points(group=self.group)} - self._broken
        return sorted({*self._makers, *self._modules, *plugins})

    def maker(self, name: str) -> Callable[..., Any]:
        """What makes `name`, imported now if it was not before.

        Raises:
            UnknownName: with the known names and the nearest of them.
        """
        if name not in self._makers and name in self._modules:
            importlib.import_module(self._modules[name])
        if name not in self._makers:
            self._load_plugin(name)
        if name not in self._makers:
            raise UnknownName(self.kind, name, self.names())
        return self._makers[name]

    def _load_plugin(self, name: str) -> None:
        for plug in entry_points(group=self.group, name=name):
            try:
                loaded = plug.load()
            except Exception as fault:  # noqa: BLE001 - a plug-in may fail in any way; the rest goes on
                self._broken.add(name)
                warnings.warn(
                    f"plug-in {plug.value!r} ({self.kind} {name!r}) cannot be imported: {fault!r}",
                    stacklevel=4,
                )
                continue
            if callable(loaded) and name not in self._makers:
                self._makers[name] = loaded


def _place(maker: Callable[..., Any]) -> str:
    return f"{maker.__module__}.{maker.__qualname__}"


GAMES = Registry("game", "ludus.games")
AGENTS = Registry("agent", "ludus.agents")


def register(name: str) -> Callable[[Maker], Maker]:
    """Class decorator: make a game available as `make(name)`, and everywhere games are named."""

    def add(kind: Maker) -> Maker:
        kind.id = name  # type: ignore[attr-defined]
        return GAMES.add(name, kind)

    return add


def register_agent(name: str) -> Callable[[Maker], Maker]:
    """Decorator: make a class or function available as `make_agent(name, **settings)`."""
    return lambda maker: AGENTS.add(name, maker)


def games() -> list[str]:
    """The names of all games that `make` knows."""
    return GAMES.names()


def agents() -> list[str]:
    """The names of all agents that `make_agent` knows."""
    return AGENTS.names()


def make(name: str, **params: Any) -> Game[Any]:
    """The game called `name`, made with `params`.

    Example:
        >>> make("nim", stones=7)
        nim(stones=7)
    """
    game: Game[Any] = GAMES.maker(_bare(name))(**params)
    return game


def make_agent(name: str, **settings: Any) -> Agent:
    """The agent called `name`, made with `settings`."""
    agent: Agent = AGENTS.maker(_bare(name))(**settings)
    return agent


def seat_up(game: Game[Any], lineup: Mapping[Seat, Agent | str]) -> dict[Seat, Agent]:
    """An agent for every seat: roles spread, names made, missing crew filled from the registry.

    One name makes one agent, shared by all the seats it is written at.
    """
    made: dict[str, Agent] = {}
    table: dict[Seat, Agent] = {}
    for seat, occupant in seats_filled(game, lineup).items():
        if isinstance(occupant, str):
            occupant = made.setdefault(occupant, made.get(occupant) or make_agent(occupant))  # noqa: PLW2901
        table[seat] = occupant
    return table


def _bare(name: str) -> str:
    """`nim` of `ludus/nim-v0`: the doors' names are understood too."""
    head, _, version = name.removeprefix("ludus/").rpartition("-v")
    return head if head and version.isdigit() else name.removeprefix("ludus/")
