"""Everything that Ludus raises on purpose.

    LudusError
    ├── UnknownName      a game, agent, seat, key or checkpoint that nobody knows; names the nearest
    ├── MissingExtra     an optional dependency is absent; names the extra to install
    ├── IllegalMove      a move that the rules do not allow reached the rules
    ├── TooLarge         a game has more positions than its tables may have
    ├── ContractError    a game, an agent or an estimator breaks its contract
    ├── RecordError      an episode does not fit the rules, or a file of episodes cannot be read
    │   └── ForgedError  a record that can be read and is not true; names the level that saw it
    ├── CrewError        machinery broke: a sandbox, a referee, an endpoint
    ├── EngineGone       what generates for an agent is gone for good: play stops, and a run can be resumed
    ├── ConfigError      a configuration that cannot be run
    │   └── HiddenState  an agent that needs the state sits where it is not shown; knows agent, seat and game
    └── TrainingError    a loss or a gradient is not finite; names the last good checkpoint

Wrong arguments of a function raise `ValueError`, as everywhere in Python.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

ROUNDING = 1e-6  # by which odds may miss their sum


class LudusError(Exception):
    """The root of the tree drawn above."""


class UnknownName(LudusError, KeyError):
    """A name that is not among the known ones.

    >>> str(UnknownName("game", "kuhn", ["kuhn_poker", "nim"]))
    "unknown game 'kuhn'; did you mean 'kuhn_poker'? Known: kuhn_poker, nim"
    """

    def __init__(self, kind: str, given: object, known: Iterable[object]) -> None:
        names = sorted(str(name) for name in known)
        near = nearest(str(given), names)
        hint = f"; did you mean {near!r}?" if near else "."
        self.message = f"unknown {kind} {str(given)!r}{hint} Known: {', '.join(names) or 'none'}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class MissingExtra(LudusError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: pip install 'ludus[{extra}]'")


class IllegalMove(LudusError, ValueError):
    """A move that the rules do not allow."""


class TooLarge(LudusError, ValueError):
    """A game has more positions than its tables may have; names its size and the limit."""


class ContractError(LudusError, AssertionError):
    """A clause of a contract is broken; the text names the clause and where it broke."""


class RecordError(LudusError, ValueError):
    """A record does not fit the rules, or cannot be read."""


class ForgedError(RecordError):
    """A record that contradicts itself or its seed.

    `level` is the level of verification that saw it: "rules", "crew" or "tokens".
    """

    def __init__(self, level: str, message: str) -> None:
        super().__init__(f"[{level}] {message}")
        self.level = level


class CrewError(LudusError, RuntimeError):
    """Machinery broke; nobody at the table is to blame."""


class EngineGone(LudusError):
    """What generates an agent's replies is gone: nothing more can come, for this request or the next.

    Unlike a `CrewError` it fails no seat. It ends `play` and a training run, which resumes from its last
    checkpoint.
    """


class ConfigError(LudusError, ValueError):
    """A configuration that cannot be run."""


class HiddenState(ConfigError):
    """An agent that searches from the state sits where it is not shown.

    `remedy` says what to do, in the words of whoever asked for the game: Python's, or those of the command line.

    >>> str(HiddenState("minimax", "player_0", "kuhn_poker", "--show-state minimax"))
    'minimax searches from the state, and player_0 of kuhn_poker is not shown it: --show-state minimax'
    """

    def __init__(
        self,
        agent: str,
        seat: str,
        game: str,
        remedy: str = "name the seat in Match(privileged=...), or take an agent that plays from its view",
    ) -> None:
        super().__init__(agent, seat, game, remedy)
        self.agent, self.seat, self.game, self.remedy = agent, seat, game, remedy

    def __str__(self) -> str:
        return f"{self.agent} searches from the state, and {self.seat} of {self.game} is not shown it: {self.remedy}"

    def instead(self, remedy: str) -> HiddenState:
        """The same with other words of what to do."""
        return HiddenState(self.agent, self.seat, self.game, remedy)


class TrainingError(LudusError, FloatingPointError):
    """Training cannot go on."""


def no_mover(game: Any, given: Any, seats: int) -> ContractError:
    """What to raise where `mover` names nobody."""
    return ContractError(
        f"{game}: mover returned {given!r}; it is a seat's index, 0 to {seats - 1}, OVER (-2), NATURE (-1) in a game with "
        "`odds`, or TOGETHER (-3) in one with `joint`"
    )


def odd(odds: Sequence[float]) -> bool:
    """Whether odds are none: not from 0 on, or with another sum than 1."""
    return not (abs(sum(odds) - 1) < ROUNDING and min(odds) >= 0)


def no_odds(game: Any, odds: Sequence[float]) -> ContractError:
    """What to raise where nature's odds are none."""
    some = ", ".join(f"{share:.9g}" for share in odds[:8]) + ", ..." * (len(odds) > 8)
    return ContractError(
        f"{game}: the odds of a chance move are {some}, and their sum {sum(odds):.9g}: they are numbers from 0 on that sum to 1"
    )


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name closest to `given`, if any is close."""
    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.5)
    return lowered[found[0]] if found else None


def whole(what: str, given: Any, *, least: int = 0) -> int:
    """A whole number from `least` on.

    Raises:
        ValueError: it is none.
    """
    if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
        raise ValueError(f"{what} must be a whole number from {least} on, not {given!r}")
    return int(given)
