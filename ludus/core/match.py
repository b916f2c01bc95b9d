"""Matches: what gets played."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import JSON, Game, Seat, role_of

Price: TypeAlias = tuple[float, float]  # of a forfeit: what the loser earns, and what the other does


@dataclass(frozen=True, slots=True)
class Illegal:
    """What happens to a reply that cannot be used, before it becomes a forfeit.

    Attributes:
        policy: "forfeit" at once; "retry" up to `times`, the complaint shown to the seat;
            "skip": the seat loses `penalty` and passes; "random": a legal move is drawn for it.
        times: how often a turn is asked again; a usable reply sets the count back.
        penalty: what a skipped turn costs.
        payoff: in games of two, what whoever forfeits earns, and what the other does, in place of the
            game's own price; None: the game's price.
        empty: the same for a forfeit whose reply had nothing in it; None: as any other forfeit.
    """

    policy: str = "forfeit"
    times: int = 0
    penalty: float = 0.0
    payoff: Price | None = None
    empty: Price | None = None

    def __post_init__(self) -> None:
        known = ("forfeit", "retry", "skip", "random")
        if self.policy not in known:
            raise UnknownName("policy for illegal moves", self.policy, known)
        if (self.policy == "retry") != (self.times > 0):
            raise ConfigError(
                f"Illegal({self.policy!r}, times={self.times}): retry, and only retry, counts times"
            )
        for name in ("payoff", "empty"):
            object.__setattr__(self, name, _price(name, getattr(self, name)))
        if self.prices and self.policy in ("skip", "random"):
            raise ConfigError(f"Illegal({self.policy!r}): nobody forfeits, so that no price can be named")

    @property
    def prices(self) -> bool:
        """Whether the match names what a forfeit costs."""
        return self.payoff is not None or self.empty is not None

    def price(self, raw: str | None) -> Price | None:
        """What whoever forfeits with this reply earns, and what the other does; None: the game's price.

        >>> Illegal(payoff=(-1.5, 0.5), empty=(-1, 1)).price("  ")
        (-1.0, 1.0)
        """
        nothing = raw is not None and not raw.strip()
        return self.empty if nothing and self.empty is not None else self.payoff

    def check(self, game: Game[Any]) -> None:
        """Refuse prices in games that are not of two players.

        Raises:
            ConfigError: a price is named, and the game has more or fewer than two players.
        """
        if self.prices and len(game.players) != 2:
            raise ConfigError(
                f"{game.id} has {len(game.players)} players, and the price of a forfeit is named for two"
            )


def _price(name: str, given: Sequence[float] | None) -> Price | None:
    if given is None:
        return None
    if len(given) != 2 or not all(math.isfinite(amount) for amount in given):
        raise ConfigError(f"Illegal({name}={given!r}): two finite numbers, the loser's and the other's")
    return float(given[0]), float(given[1])


@dataclass(frozen=True, slots=True)
class Match:
    """What gets played: one game, one lineup, one seed.

    Attributes:
        game: a registered name, or a game (then `params` are its own).
        params: what the game is made with.
        lineup: for each seat or role an agent, or the registered name of one. Crew may be left
            out: the game names its own. A record of a match holds names only.
        seed: decides every chance outcome.
        sample: distinguishes plays of one seed: same cards, other replies.
        task: a given problem, handed to games that accept one as the parameter `task`.
        group: episodes with equal groups are compared with one another by group estimators.
        parent: key of the episode this match came from.
        illegal: what happens to unusable replies.
        failed: a player whose machinery breaks makes the episode "void", or pays a "forfeit".
        max_steps: after so many decisions the episode is cut.
        privileged: seats that are shown the state (search agents in games with hidden parts).
    """

    game: str | Game[Any]
    lineup: Mapping[Seat, Agent | str]
    seed: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    task: JSON = None
    group: str = ""
    parent: str = ""
    illegal: Illegal = Illegal()
    failed: str = "void"
    max_steps: int = 1000
    privileged: tuple[Seat, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0 or self.sample < 0:
            raise ValueError(f"seed and sample count from zero, not seed={self.seed}, sample={self.sample}")
        if self.failed not in ("void", "forfeit"):
            raise UnknownName("policy for failed players", self.failed, ("void", "forfeit"))
        if isinstance(self.game, Game) and self.params:
            raise ValueError(f"{self.game!r} is made already: params {dict(self.params)} come too late")

    def named(self, game: Game[Any], lineup: Mapping[Seat, Agent]) -> Match:
        """The same match in names only, fit for a record."""
        params = {k: v for k, v in game.params.items() if k != "task"}
        names: dict[Seat, Agent | str] = {seat: agent.name for seat, agent in lineup.items()}
        task = game.params.get("task", self.task)
        # In the order of the fields, as it was checked already: `dataclasses.replace` takes twice as long.
        return Match(
            game.id, names, self.seed, params, self.sample, task, self.group, self.parent, self.illegal, self.failed,
            self.max_steps, self.privileged,
        )  # fmt: skip


def seats_filled(game: Game[Any], lineup: Mapping[Seat, Any]) -> dict[Seat, Any]:
    """`lineup` by seat: roles spread over their seats, crew filled in by the game's own names.

    Raises:
        UnknownName: the lineup names a seat or role that the game does not have.
        ConfigError: a player's seat is left empty, or this is no lineup.
    """
    if not isinstance(lineup, Mapping):
        raise ConfigError(
            f"a lineup says who sits where, as {{{game.players[0]!r}: 'uniform', ...}}, not {lineup!r}"
        )
    roles = {role_of(seat) for seat in game.seats}
    for name in lineup:
        if name not in game.seats and name not in roles:
            raise UnknownName(f"seat or role of {game.id}", name, [*game.seats, *roles])
    crew = game.crew()
    filled: dict[Seat, Any] = {}
    for seat in game.seats:
        occupant = lineup.get(seat, lineup.get(role_of(seat), crew.get(seat)))
        if occupant is None:
            raise ConfigError(
                f"{game.id}: nobody sits at {seat}; the lineup has {', '.join(lineup) or 'no seats'}"
            )
        filled[seat] = occupant
    return filled
