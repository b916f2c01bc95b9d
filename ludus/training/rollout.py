"""Collecting whole episodes with `ludus.play`: language models, several policies, any game."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ludus.core.agent import Agent
from ludus.core.episode import Episode
from ludus.core.game import Game, Seat
from ludus.core.ledger import Ledger
from ludus.core.match import Illegal, Match
from ludus.core.play import play
from ludus.training.collect import Tally
from ludus.training.lineup import Cast, exchanged, turns
from ludus.training.settings import Collect


def episodes(
    game: Game[Any], cast: Cast, lineup: Mapping[Seat, str], config: Collect, *, seed: int, step: int
) -> list[Episode]:
    """The episodes of one step, in the order of their seeds.

    Seeds are a function of the run's seed and the step, so that a step can be played again.
    """
    finished = list(play(_matches(game, cast, lineup, config, seed, step), at_once=config.at_once))
    return sorted(finished, key=lambda e: (e.match.group, e.match.sample))


def _matches(
    game: Game[Any], cast: Cast, lineup: Mapping[Seat, str], config: Collect, seed: int, step: int
) -> Iterator[Match]:
    count = turns(game, lineup)
    deals = -(-config.games // config.samples)
    seeds = np.random.SeedSequence([seed, step, 1]).generate_state(deals)
    illegal = Illegal(config.illegal, config.retries, config.penalty)
    for number in range(config.games):
        deal, sample = divmod(number, config.samples)
        names = exchanged(game, lineup, deal % count)
        seats: dict[Seat, Agent | str] = {seat: cast.find(name) for seat, name in names.items()}
        yield Match(
            game, seats, int(seeds[deal]), sample=sample, group=f"step {step} deal {deal:06d}",
            illegal=illegal, max_steps=config.max_steps,
        )  # fmt: skip


def tallied(played: list[Episode]) -> Tally:
    """What episodes came to, by agent and seat."""
    tally = Tally()
    for episode in played:
        if episode.end == "error":
            continue
        tally.episodes += 1
        tally.decisions += len(episode.steps)
        tally.forfeits += episode.end == "forfeit"
        for seat, amount in episode.returns.items():
            tally.earned(episode.lineup[seat], seat, amount)
    return tally


def rollout(
    game: Game[Any], cast: Cast, lineup: Mapping[Seat, str], config: Collect, *, seed: int, step: int
) -> tuple[Ledger, Tally, list[Episode]]:
    """The decisions of one step, what they came to, and the episodes they are from."""
    played = episodes(game, cast, lineup, config, seed=seed, step=step)
    return Ledger.of(played), tallied(played), played
