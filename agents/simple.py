"""Agents without a thought: uniform, first legal, scripts and constant moves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Decision, FirstLegal, Request, Uniform
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Choice, Game, Move
from ludus.core.registry import make, register_agent

register_agent("uniform")(Uniform)
register_agent("random")(Uniform)
register_agent("first_legal")(FirstLegal)


@register_agent("scripted")
class Scripted:
    """Plays what it was told to: a list of moves, one for each turn of a seat, or a function.

    Args:
        script: moves in order, or a function from a request to a move. Where the options are a choice,
            a move may be written by its name.
        name: what it is called in records.

    Example:
        >>> import numpy as np
        >>> from ludus.core.agent import Request
        >>> from ludus.core.game import Choice, View
        >>> options = Choice(("pass", "bet"), np.array([True, True]))
        >>> request = Request("e", "kuhn_poker", "player_0", View(""), options, (), np.random.default_rng(0))
        >>> Scripted(["bet"]).act([request])[0].move
        1
    """

    def __init__(self, script: Sequence[Move] | Callable[[Request], Move], name: str = "scripted") -> None:
        if isinstance(script, str):
            raise ConfigError(
                f"a script is a list of moves, not {script!r}; for one move always, use 'constant'"
            )
        self.script, self.name = script, name

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [Decision(by_name(self._written(request), request)) for request in requests]

    def _written(self, request: Request) -> Move:
        if callable(self.script):
            return self.script(request)
        turn = len(request.past)
        if turn >= len(self.script):
            raise ConfigError(
                f"{request.game}: the script of {request.seat} has {len(self.script)} moves, and turn {turn + 1} came"
            )
        return self.script[turn]


@register_agent("constant")
class Constant:
    """Plays one named move wherever it is allowed, and the first legal move elsewhere.

    Args:
        move: the name, as in "bet".
        name: what it is called in records; by default `always_bet`.
    """

    def __init__(self, move: str, name: str = "") -> None:
        self.move, self.name = move, name or f"always_{move}"

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [Decision(self._index(request)) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        return [np.eye(len(_choice(request).names))[self._index(request)] for request in requests]

    def _index(self, request: Request) -> int:
        options = _choice(request)
        move = by_name(self.move, request)
        return move if isinstance(move, int) and move in options else int(np.argmax(options.legal))


def by_name(move: Move, request: Request) -> Move:
    """The index of a move that is written by its name; other moves as they are.

    Raises:
        UnknownName: the choice has no move of that name.
    """
    if not isinstance(move, str) or not isinstance(request.options, Choice):
        return move
    if move not in request.options.names:
        raise UnknownName(f"move of {request.game}", move, request.options.names)
    return request.options.names.index(move)


def _choice(request: Request) -> Choice:
    if not isinstance(request.options, Choice):
        raise TypeError(f"{request.game}: {request.seat} has free replies; a constant move needs named ones")
    return request.options


def rules_for(game: str | Game[Any], params: Mapping[str, Any], maker: Callable[..., Any]) -> Game[Any]:
    """The game an agent is made for; `params` go with a name only.

    Raises:
        UnknownName: the game is made already, so that what is left over can only be a misspelt setting.
    """
    if isinstance(game, str):
        return make(game, **params)
    for left in params:
        asked = inspect.signature(maker.__init__ if inspect.isclass(maker) else maker).parameters
        raise UnknownName("setting of this agent", left, set(asked) - {"self", "params"})
    return game
