"""Standings: a pure function of episodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.arenas.payoffs import Payoffs, payoffs
from ludus.arenas.ratings import bradley_terry, mean_payoff
from ludus.arenas.results import Estimate, rated, tally
from ludus.core.episode import Episode, Step
from ludus.core.game import Forfeit

UNUSABLE = ("retry", "fallback", "forfeit", "skip")  # readings of replies that could not be used as they came


@dataclass(frozen=True, slots=True)
class Row:
    """One agent's line.

    Attributes:
        agent: its name.
        games: rated games it played.
        payoff: mean payoff a game.
        rating: Bradley-Terry, Elo scale, the field's mean at 1000.
        exploitability: what a best response earns above the game's value; None where not computed.
        decisions: how many it took in rated games.
        illegal: share of decisions whose reply could not be used as it came.
        forfeits: decisions that ended in a forfeit.
        truncated: replies cut for being too long.
        cut: rated games that a limit on steps ended.
        errors: games with it in which machinery broke; these count nowhere else.
        on: what the figures rest on.
    """

    agent: str
    games: int
    payoff: Estimate
    rating: Estimate
    exploitability: float | None
    decisions: int
    illegal: float
    forfeits: int
    truncated: int
    cut: int
    errors: int
    on: str


@dataclass(frozen=True, slots=True, eq=False)
class Standings:
    """The agents of one game, best rating first, with the payoff table in the same order.

    Attributes:
        game: the game with its parameters.
        rows: one for each agent.
        payoffs: row against column.
        seeds, games, errors: how many; games are the rated ones.
    """

    game: str
    rows: tuple[Row, ...]
    payoffs: Payoffs
    seeds: int
    games: int
    errors: int

    def row(self, agent: str) -> Row:
        """The line of one agent."""
        return next(row for row in self.rows if row.agent == agent)


def title(episode: Episode) -> str:
    """A game's name with its parameters: `nim(stones=7)`; standings never mix two of these."""
    settings = ", ".join(
        f"{k}={json.dumps(v, default=repr)}" for k, v in sorted(episode.match.params.items())
    )
    return f"{episode.game}({settings})" if settings else episode.game


def standings(
    episodes: Iterable[Episode],
    *,
    exploitability: Mapping[str, float | None] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Standings:
    """The standings of one game.

    Args:
        episodes: games of one game with one set of parameters, in any order.
        exploitability: by agent, where it has been computed (`ludus.arenas.exploit`).
        resamples: how many times the seeds are drawn again for the intervals.
        seed: of those draws.

    Raises:
        ValueError: there are no episodes, or they are of several games; `by_game` takes those apart.
    """
    games = list(episodes)
    if not games:
        raise ValueError("standings are of games, and there are no episodes")
    if len(titles := sorted({title(e) for e in games})) != 1:
        raise ValueError(f"standings are of one game, and these are of {len(titles)}: {', '.join(titles)}")
    counts = _counts(games)
    sums = tally(games, agents=sorted({name for name, _ in counts}))
    paid = mean_payoff(sums, resamples=resamples, seed=seed)
    strength = bradley_terry(sums, resamples=resamples, seed=seed)
    table = payoffs(sums, resamples=resamples, seed=seed)
    order = sorted(sums.agents, key=lambda name: (-strength[name].mean, name))
    met = dict(zip(sums.agents, (sums.met.sum(0) > 0).sum(1), strict=True))
    played = dict(zip(sums.agents, sums.games.sum(0), strict=True))
    rows = tuple(
        Row(
            agent=name, games=int(played[name]), payoff=paid[name], rating=strength[name],
            exploitability=(exploitability or {}).get(name), decisions=counts[name, "decisions"],
            illegal=counts[name, "illegal"] / max(1, counts[name, "decisions"]), forfeits=counts[name, "forfeits"],
            truncated=counts[name, "truncated"], cut=counts[name, "cut"], errors=counts[name, "errors"],
            on=f"{titles[0]}, {len(sums.seeds)} seeds, against {met[name]} others",
        )
        for name in order
    )  # fmt: skip
    counted = sum(rated(e) for e in games)
    return Standings(titles[0], rows, table.ordered(order), len(sums.seeds), counted, len(games) - counted)


def by_game(
    episodes: Iterable[Episode], *, exploitability: Mapping[str, Mapping[str, float | None]] | None = None
) -> list[Standings]:
    """Standings for each game among the episodes, by name; `exploitability` by game's title and agent."""
    found: dict[str, list[Episode]] = {}
    for episode in episodes:
        found.setdefault(title(episode), []).append(episode)
    return [standings(found[t], exploitability=(exploitability or {}).get(t)) for t in sorted(found)]


def _counts(episodes: Sequence[Episode]) -> Counter[tuple[str, str]]:
    """How often each thing happened to each player; every agent has a "seen"."""
    players = {seat for episode in episodes for seat in episode.returns}
    counts: Counter[tuple[str, str]] = Counter()
    for episode in episodes:
        # games that broke have no returns; who plays and who is crew is known from the others
        lineup = {seat: name for seat, name in episode.lineup.items() if seat in players or not players}
        counts.update((name, "seen") for name in set(lineup.values()))
        if not rated(episode):
            counts.update((name, "errors") for name in set(lineup.values()))
            continue
        counts.update((name, "cut") for name in set(lineup.values()) if episode.end == "cut")
        for step in episode.steps:
            if step.seat in lineup:
                counts.update((lineup[step.seat], what) for what in _happened(step))
    return counts


def _happened(step: Step) -> list[str]:
    events = {
        "decisions": True,
        "illegal": step.read in UNUSABLE or bool(step.rejected),
        "forfeits": isinstance(step.move, Forfeit),
        "truncated": step.read == "truncated",
    }
    return [name for name, happened in events.items() if happened]


def to_data(table: Standings) -> dict[str, Any]:
    """Standings as JSON data; what is not known is null."""
    cells = [
        [
            None
            if i == j or not table.payoffs.games[i, j]
            else [*map(_finite, table.payoffs.cell(a, b)), int(table.payoffs.games[i, j])]
            for j, b in enumerate(table.payoffs.agents)
        ]
        for i, a in enumerate(table.payoffs.agents)
    ]
    rows = [
        {
            name: [*map(_finite, value)] if isinstance(value, Estimate) else value
            for name, value in ((name, getattr(row, name)) for name in Row.__slots__)
        }
        for row in table.rows
    ]
    return {
        "game": table.game, "seeds": table.seeds, "games": table.games, "errors": table.errors,
        "rows": rows, "payoffs": {"agents": list(table.payoffs.agents), "cells": cells},
    }  # fmt: skip


def _finite(x: float) -> float | None:
    return round(x, 6) if x == x and abs(x) != float("inf") else None  # noqa: PLR0124 - nan differs from itself
