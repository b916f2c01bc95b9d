"""Games and agents by name; those of other packages by entry point, loaded when asked for.

A package makes its games known in its `pyproject.toml`:

    [project.entry-points."ludus.games"]
    pennies = "my_package.pennies"
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Game, Seat
from ludus.core.match import seats_filled

Maker = TypeVar("Maker", bound=Callable[..., Any])


class Registry:
    """Makers by name. A maker may be there already, in a module of ours, or in a plug-in."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._makers: dict[str, Callable[..., Any]] = {}
        self._modules: dict[str, str] = {}  # name -> module whose import registers it
        self._versions: dict[str, int] = {}  # of games whose rules have changed
        self._broken: set[str] = set()
        self._unlisted: set[str] = set()
        self._followers: list[Callable[[str], None]] = []

    def lazily(
        self, names: Mapping[str, str], *, versions: Mapping[str, int] | None = None, listed: bool = True
    ) -> None:
        """Make names known whose modules are imported only when they are asked for.

        Unlisted ones can be made, but are not among `names`: they say nothing without parameters. `versions` are those
        that are not 0, for whoever names games without importing them.
        """
        self._modules.update(names)
        self._versions.update(versions or {})
        if not listed:
            self._unlisted.update(names)
        self._announce(names)

    def follow(self, follower: Callable[[str], None]) -> None:
        """Call `follower` with every listed name, and with those that come to be known later."""
        self._followers.append(follower)
        for name in self.names():
            follower(name)

    def _announce(self, names: Iterable[str]) -> None:
        for name in set(names) - self._unlisted:
            for follower in self._followers:
                follower(name)

    def version(self, name: str) -> int:
        """The version of `name` as far as it is known without importing anything: a plug-in's is 0 at first."""
        return int(getattr(self._makers.get(name), "version", self._versions.get(name, 0)))

    def add(self, name: str, maker: Maker) -> Maker:
        """Register `maker`; the same maker may be registered twice, another may not, nor under a name of ours."""
        known, module = self._makers.get(name), self._modules.get(name)
        ours = module is not None and module not in sys.modules and module != _running()
        if ours or (known is not None and _place(known) != _place(maker)):
            place = module if known is None else _place(known)
            raise ValueError(f"{self.kind} {name!r} is already registered by {place}: take another name")
        self._makers[name] = maker
        self._announce([name])
        return maker

    def names(self) -> list[str]:
        """Every listed name, plug-ins included, none of them imported."""
        plugins = set(_plugins(self.group, tuple(sys.path))) - self._broken
        return sorted({*self._makers, *self._modules, *plugins} - self._unlisted)

    def __contains__(self, name: str) -> bool:
        return name in self._makers or name in self._modules or name in self.names()

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


@functools.lru_cache(maxsize=8)
def _plugins(group: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The entry points of a group, as of an import path: reading them opens a file a distribution."""
    return tuple(plug.name for plug in entry_points(group=group))


def _running() -> str:
    """The module that is run as a script, by its own name; empty where a file is."""
    return getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "")


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
    bare = _bare(name)
    maker = GAMES.maker(bare)
    now = f"{bare}-v{getattr(maker, 'version', 0)}"
    if name.removeprefix("ludus/") not in (bare, now):
        raise ConfigError(f"{name}: the rules of {bare} are another version now, ludus/{now}")
    _check_parameters("parameter", name, maker, params)
    game: Game[Any] = maker(**params)
    return game


def as_game(game: Game[Any] | str) -> Game[Any]:
    """A game, or the one of a name.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(game, str):
        return make(game)
    if not isinstance(game, Game):
        class_ = isinstance(game, type) and issubclass(game, Game) and not inspect.isabstract(game)
        made = f": {game.__name__}() is one" if class_ else ""
        raise TypeError(f"a game or the name of one is wanted, not {game!r}{made}")
    return game


def make_agent(name: str, **settings: Any) -> Agent:
    """The agent called `name`, made with `settings`."""
    maker = AGENTS.maker(_bare(name))
    _check_parameters("setting", f"agent {name}", maker, settings)
    agent: Agent = maker(**settings)
    return agent


def agent_for(game: Game[Any], name: str, **settings: Any) -> Agent:
    """The agent called `name`, which is told the game that it is to play if it asks for one."""
    return make_agent(name, **with_game(AGENTS.maker(_bare(name)), game, settings))


def with_game(maker: Callable[..., Any], game: Game[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's settings, and the game it is to play if its maker asks for one and no file says what it plays."""
    wanted = "game" in parameters(maker) and "path" not in settings
    return {**({"game": game} if wanted else {}), **settings}


def takes_game(name: str) -> bool:
    """Whether the agent called `name` is made for one game: a search, an equilibrium, one that comes with the package."""
    return "game" in parameters(AGENTS.maker(_bare(name)))


@functools.cache
def parameters(maker: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What a class or function is made with, by name."""
    asked = inspect.signature(maker.__init__ if inspect.isclass(maker) else maker).parameters
    return {name: taken for name, taken in asked.items() if name != "self"}


def _check_parameters(kind: str, of: str, maker: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Name the nearest known parameter of one that `maker` does not take, and one that is missing."""
    asked = parameters(maker)
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if all(taken.kind is not inspect.Parameter.VAR_KEYWORD for taken in asked.values()):
        for name in given:
            if name not in asked:
                raise UnknownName(f"{kind} of {of}", name, asked)
    for name, taken in asked.items():
        if taken.default is taken.empty and taken.kind not in rest and name not in given:
            raise ConfigError(f"{of} cannot be made without {name}=...")


def seat_up(
    game: Game[Any], lineup: Mapping[Seat, Agent | str], made: dict[str, Agent] | None = None
) -> dict[Seat, Agent]:
    """An agent for every seat: roles spread, names made, missing crew filled from the registry.

    One name makes one agent, shared by all the seats it is written at, and by all lineups that are
    given the same `made`; of those that are made for a game, one for each game.

    Raises:
        TypeError: what a seat is given is neither an agent nor the name of one.
    """
    made = {} if made is None else made
    table: dict[Seat, Agent] = {}
    for seat, occupant in seats_filled(game, lineup).items():
        if isinstance(occupant, str):
            key = f"{occupant} for {game!r}" if takes_game(occupant) else occupant
            if key not in made:
                made[key] = agent_for(game, occupant)
            occupant = made[key]
        if isinstance(occupant, type) or not (hasattr(occupant, "act") and hasattr(occupant, "name")):
            raise TypeError(
                f"{game.id}: {seat} is given {occupant!r}, and not an agent, which has a `name` and `act(requests)`"
            )
        table[seat] = occupant
    return table


def _bare(name: str) -> str:
    """`nim` of `ludus/nim-v0`: the doors' names are understood too."""
    head, _, version = name.removeprefix("ludus/").rpartition("-v")
    return head if head and version.isdigit() else name.removeprefix("ludus/")
