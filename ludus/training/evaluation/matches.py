"""Games played to measure a policy: both sides of the same deals, and what came of them with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.arenas.leaderboard import UNUSABLE
from ludus.arenas.results import interval
from ludus.arenas.schedules import places
from ludus.core.agent import Agent
from ludus.core.episode import Episode, Step
from ludus.core.errors import TrainingError
from ludus.core.game import Game, role_of
from ludus.core.match import Match
from ludus.core.play import play
from ludus.training.gathering import Collect

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """Finished games of a policy, without those in which machinery broke.

    Attributes:
        episodes: the games; `match.group` names where the policy sat.
        broken: how many were left out.
    """

    episodes: tuple[Episode, ...]
    broken: int

    def against(self) -> dict[str, float]:
        """What the policy earned from other seats' occupants, with a 95 % interval of resampled deals."""
        earned = [(e.match.seed, _paid(e), _mean(e)) for e in self.episodes]
        payoff = np.array([paid for _, paid, _ in earned])
        ahead = payoff - np.array([mean for *_, mean in earned])
        low, high = resampled(np.array([seed for seed, *_ in earned]), payoff)
        own = [step for e in self.episodes for seat in _seats(e) for step in e.of(seat)]
        figures = {
            "return": float(payoff.mean()), "return_lo": low, "return_hi": high,
            "win": float((ahead > 0).mean()), "loss": float((ahead < 0).mean()),
        }  # fmt: skip
        return figures | self._lengths(own)

    def alone(self) -> dict[str, float]:
        """What became of the policy's games with itself."""
        first = np.array([next(iter(e.returns.values())) for e in self.episodes])
        ahead = first - np.array([_mean(e) for e in self.episodes])
        decided = int((ahead != 0).sum())
        figures = {
            "first_seat_wins": float((ahead > 0).sum() / decided) if decided else np.nan,
            "first_seat_return": float(first.mean()),
        }
        return figures | self._lengths([step for e in self.episodes for step in e.steps])

    def _lengths(self, own: Sequence[Step]) -> dict[str, float]:
        spoken = [len(step.tokens.ids) for step in own if step.raw is not None and step.tokens is not None]
        unusable = sum(step.read in UNUSABLE or bool(step.rejected) for step in own)
        figures = {
            "game_length": float(np.mean([len(e.steps) for e in self.episodes])),
            "unusable": unusable / max(len(own), 1),
        }
        if spoken:
            figures["reply_length"] = float(np.mean(spoken))
        if self.broken:
            figures["broken"] = float(self.broken)
        return figures


def played(game: Game[Any], policy: Agent, other: Agent, games: int, seed: int, config: Collect) -> Played:
    """At least `games` games, `policy` in each place of the game on the same deals, `other` everywhere else.

    The deals are a function of the seed alone: every measure of a run meets the same ones.

    Raises:
        TrainingError: machinery broke in all of them.
    """
    matches = _matches(game, policy, other, games, seed, config.max_steps)
    finished = sorted(play(matches, at_once=config.at_once), key=lambda e: (e.match.seed, e.match.group))
    whole = tuple(episode for episode in finished if episode.end != "error")
    if not whole:
        raise TrainingError(
            f"{policy.name} against {other.name}: every game broke; the first: {finished[0].fault}"
        )
    return Played(whole, len(finished) - len(whole))


def _matches(
    game: Game[Any], policy: Agent, other: Agent, games: int, seed: int, max_steps: int
) -> Iterator[Match]:
    if games < 1:
        raise ValueError(f"a measure needs at least one game, not {games}")
    where = places(game)
    deals = np.random.SeedSequence([seed, 0, 2]).generate_state(-(-games // len(where)))
    for deal in sorted(set(deals.tolist())):
        for place in where:
            lineup = {**dict.fromkeys(where, other), place: policy}
            yield Match(game, lineup, deal, group=place, max_steps=max_steps)


def _seats(episode: Episode) -> list[str]:
    place = episode.match.group
    return [seat for seat in episode.returns if place in (seat, role_of(seat))]


def _paid(episode: Episode) -> float:
    return float(np.mean([episode.returns[seat] for seat in _seats(episode)]))


def _mean(episode: Episode) -> float:
    return float(np.mean([*episode.returns.values()]))


def resampled(seeds: NDArray[Any], payoff: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of a mean payoff (N,) whose deals (N,) are drawn again; nan for a single deal."""
    known, row = np.unique(seeds, return_inverse=True)
    if len(known) < 2:
        return float("nan"), float("nan")
    paid, count = np.bincount(row, payoff), np.bincount(row)
    drawn = np.random.default_rng(0).multinomial(len(known), np.full(len(known), 1 / len(known)), RESAMPLES)
    low, high = interval((drawn @ paid) / (drawn @ count))
    return float(low), float(high)
