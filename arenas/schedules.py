"""Schedules: who meets whom, in which seats, on which seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError
from ludus.core.game import Game, role_of
from ludus.core.match import Illegal, Match
from ludus.core.registry import make

FORFEIT_AT_ONCE = Illegal()


def places(game: Game[Any]) -> tuple[str, ...]:
    """Where one agent sits down: at a seat, or, where players have several roles, at all seats of a role.

    >>> places(make("kuhn_poker"))
    ('player_0', 'player_1')
    """
    roles = tuple(dict.fromkeys(role_of(seat) for seat in game.players))
    return roles if len(roles) > 1 else game.players


def seatings(game: Game[Any], agents: Sequence[Agent | str]) -> list[dict[str, Agent | str]]:
    """Every lineup of a round robin: all groups of agents that fill the table, seats exchanged.

    Two agents meet in both orders; larger groups in all rotations, so that each sits once in each place.

    Raises:
        ConfigError: there are fewer agents than places, or two agents of the same name.
    """
    names = [agent if isinstance(agent, str) else agent.name for agent in agents]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two agents are called {twice[0]!r}: standings tell agents apart by name")
    where = places(game)
    if len(agents) < len(where):
        raise ConfigError(
            f"{game.id} has {len(where)} places ({', '.join(where)}) and there are only {len(agents)} agents "
            f"({', '.join(names)}): give at least {len(where)}"
        )
    groups = itertools.combinations(agents, len(where))
    turns = [
        tuple(group[(k + r) % len(group)] for k in range(len(group)))
        for group in groups
        for r in range(len(group))
    ]
    return [dict(zip(where, turn, strict=True)) for turn in turns]


def round_robin(
    game: Game[Any] | str,
    agents: Sequence[Agent | str],
    seeds: Iterable[int],
    *,
    samples: int = 1,
    illegal: Illegal = FORFEIT_AT_ONCE,
    max_steps: int = 1000,
    privileged: Sequence[str] = (),
) -> Iterator[Match]:
    """Everybody against everybody, every pairing on the same seeds with seats exchanged.

    Matches come seed by seed, so that a tournament cut short has met all pairings about equally often.

    Args:
        game: a game, or a registered name.
        agents: at least as many as the game has places, of different names.
        seeds: the deals; each is played by every pairing from every side.
        samples: how often each lineup plays each seed: same cards, other replies.
        illegal: what happens to replies that cannot be used.
        max_steps: after so many decisions a game is cut.
        privileged: names of agents that are shown the state: search in games with hidden parts.

    Raises:
        ConfigError: too few agents, or two of the same name.

    Example:
        >>> [(m.seed, *m.lineup.values()) for m in round_robin("kuhn_poker", ["uniform", "first_legal"], range(2))]
        [(0, 'uniform', 'first_legal'), (0, 'first_legal', 'uniform'), (1, 'uniform', 'first_legal'), (1, 'first_legal', 'uniform')]
    """
    rules = make(game) if isinstance(game, str) else game
    lineups = seatings(rules, agents)  # faults are raised here, before the first match is asked for
    shown = [_shown(rules, lineup, privileged) for lineup in lineups]
    return (
        Match(rules, lineup, seed, sample=sample, illegal=illegal, max_steps=max_steps, privileged=seats)
        for seed in seeds
        for sample in range(samples)
        for lineup, seats in zip(lineups, shown, strict=True)
    )


def _shown(game: Game[Any], lineup: dict[str, Agent | str], privileged: Sequence[str]) -> tuple[str, ...]:
    """The seats of a lineup whose agents are shown the state."""
    who = {place: agent if isinstance(agent, str) else agent.name for place, agent in lineup.items()}
    return tuple(seat for seat in game.players if who.get(seat, who.get(role_of(seat))) in privileged)
