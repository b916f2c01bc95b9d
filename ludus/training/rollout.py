"""Collecting whole episodes with `ludus.play`: language models, several policies, any game, several games."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.arenas.leaderboard import UNUSABLE
from ludus.core.agent import Agent
from ludus.core.episode import Episode
from ludus.core.errors import ConfigError, TrainingError
from ludus.core.game import Game, Seat
from ludus.core.ledger import Ledger
from ludus.core.match import Illegal, Match
from ludus.core.play import play
from ludus.training.collect import Tally
from ludus.training.distributed import ALONE, World
from ludus.training.gathering import Collect
from ludus.training.lineup import Cast, exchanged, turns


@dataclass(frozen=True, slots=True)
class Table:
    """What is played in a run: games and their shares of the deals, and who may sit where.

    Attributes:
        games: one or several.
        shares: of the deals, in any unit.
        cast: finds agents by name.
        config: how much is played, and how.
        seed: of the run.
        world: the processes that play it together.
    """

    games: tuple[Game[Any], ...]
    shares: tuple[float, ...]
    cast: Cast
    config: Collect
    seed: int
    world: World = ALONE

    def rollout(self, lineup: Mapping[Seat, str], *, step: int) -> tuple[Ledger, Tally, list[Episode]]:
        """The decisions of one step, what they came to, and the episodes they are from.

        With `refill`, groups whose episodes all came to the same for everybody make place for others; with
        `decisions`, more deals are played until there are so many.

        Raises:
            TrainingError: machinery broke in every one of them, or in every one of a further round.
        """
        played, dealt = self._enough(lineup, step)
        if all(episode.end == "error" for episode in played):
            raise TrainingError(f"step {step}: all {len(played)} games broke; the first: {played[0].fault}")
        tally = tallied(played, greedy=self.config.greedy)
        if self.config.refill:
            played, dropped = self._refilled(lineup, step, played, dealt)
            tally.dropped = dropped
        return Ledger.of(played), tally, played

    def episodes(
        self, lineup: Mapping[Seat, str], *, step: int, first: int = 0, deals: int = 0
    ) -> list[Episode]:
        """Episodes of one step, in the order of their seeds.

        Seeds are a function of the run's seed, the step and the number of the deal, so that a step can
        be played again.

        Args:
            lineup: who sits where.
            step: of the run.
            first: number of the first deal.
            deals: how many; by default as many as the step has.
        """
        count = deals or -(-self.config.games // self.config.samples)
        matches = self.world.share(list(self._matches(lineup, step, range(first, first + count))))
        for agent in {id(a): a for match in matches for a in match.lineup.values()}.values():
            if hasattr(agent, "forget_prefixes"):  # or a run that is resumed would begin otherwise
                agent.forget_prefixes()
        mine = list(play(matches, at_once=self.config.at_once))
        every = [mine] if self.world.size == 1 else self.world.gathered([_told(e) for e in mine])
        finished = [episode for part in every for episode in part]
        return sorted(finished, key=lambda e: (e.match.group, e.match.sample))

    def _enough(self, lineup: Mapping[Seat, str], step: int) -> tuple[list[Episode], int]:
        """The deals of a step and how many; more of them, as many at a time as seem to be missing, where decisions are wanted."""
        played, wanted = self.episodes(lineup, step=step), self.config.decisions
        dealt = -(-self.config.games // self.config.samples)
        while played and (have := _decided(played)) and (missing := wanted - have) > 0:
            more = -(-missing * dealt // have)
            found = self.episodes(lineup, step=step, first=dealt, deals=more)
            if not _decided(found):
                why = next((episode.fault for episode in found if episode.fault), found[0].end)
                raise TrainingError(
                    f"step {step}: {have} of {wanted} decisions (collect.decisions), and {len(found)} further games "
                    f"gave none; the first: {why}. Mend what broke and resume, or collect.decisions = 0"
                )
            played, dealt = played + found, dealt + more
        return played, dealt

    def _refilled(
        self, lineup: Mapping[Seat, str], step: int, played: list[Episode], dealt: int
    ) -> tuple[list[Episode], int]:
        wanted, kept = -(-self.config.games // self.config.samples), _varied(played)
        for _ in range(self.config.refill):
            missing = wanted - len({episode.match.group for episode in kept})
            if missing <= 0:
                break
            kept += _varied(self.episodes(lineup, step=step, first=dealt, deals=missing))
            dealt += missing
        return kept, dealt - len({episode.match.group for episode in kept})

    def _matches(self, lineup: Mapping[Seat, str], step: int, deals: range) -> Iterator[Match]:
        config = self.config
        illegal = Illegal(
            config.illegal, config.retries, config.penalty, config.forfeit_payoff, config.empty_payoff
        )
        seeds = np.random.SeedSequence([self.seed, step, 1]).generate_state(deals.stop)
        limit = config.games if deals.start == 0 else deals.stop * config.samples
        places = _places(self, deals.stop)
        copies: dict[str, Agent] = {}
        for deal in deals:
            game, place = self.games[places[deal][0]], places[deal][1]
            names = exchanged(game, lineup, place % turns(game, lineup))
            seats: dict[Seat, Agent | str] = {seat: self.cast.find(name) for seat, name in names.items()}
            for sample in range(min(config.samples, limit - deal * config.samples)):
                yield Match(
                    game, _greedy(seats, copies) if config.greedy and sample == 0 else seats, int(seeds[deal]),
                    sample=sample, group=f"step {step} deal {deal:06d}", illegal=illegal, max_steps=config.max_steps,
                )  # fmt: skip


def _told(episode: Episode) -> Episode:
    """What of an episode other processes need: all but what was seen, which may be large."""
    steps = tuple(
        dataclasses.replace(step, mark=step.digest, view=None, options=None) for step in episode.steps
    )
    return dataclasses.replace(episode, steps=steps)


def _places(table: Table, deals: int) -> list[tuple[int, int]]:
    """For each deal its game, and how many deals of that game came before.

    At any point the counts are as near to the shares as whole numbers can be.
    """
    part = np.array(table.shares) / sum(table.shares)
    counts = np.zeros(len(part), np.int64)
    out = []
    for number in range(deals):
        chosen = int(np.argmax(part * (number + 1) - counts))
        out.append((chosen, int(counts[chosen])))
        counts[chosen] += 1
    return out


def _greedy(seats: Mapping[Seat, Agent | str], copies: dict[str, Agent]) -> dict[Seat, Agent | str]:
    """The same agents, those that learn saying what is likeliest: a copy of each, made once."""
    out: dict[Seat, Agent | str] = {}
    for seat, agent in seats.items():
        if not isinstance(agent, str) and hasattr(agent, "version"):
            if not hasattr(agent, "greedy"):
                raise ConfigError(f"{agent.name} at {seat} cannot play greedily: collect.greedy = false")
            agent = copies.get(agent.name) or copies.setdefault(agent.name, agent.greedy())
        out[seat] = agent
    return out


def _varied(played: Sequence[Episode]) -> list[Episode]:
    """The episodes of groups in which some seat's returns differ."""
    groups: dict[str, list[Episode]] = {}
    for episode in played:
        groups.setdefault(episode.match.group, []).append(episode)
    return [
        episode
        for group in groups.values()
        if len({tuple(sorted(e.returns.items())) for e in group if e.end != "error"}) > 1
        for episode in group
    ]


def _decided(played: Sequence[Episode]) -> int:
    return sum(len(episode.steps) for episode in played if episode.end != "error")


def tallied(played: Sequence[Episode], *, greedy: bool = False) -> Tally:
    """What episodes came to, by agent and seat, in all and of each game; greedy ones are baselines, and no results."""
    tally = Tally()
    for episode in played:
        if episode.end == "error":
            tally.broken += 1
        elif not (greedy and episode.match.sample == 0):
            for part in (tally, tally.games.setdefault(episode.game, Tally())):
                _book(part, episode)
    return tally


def _book(tally: Tally, episode: Episode) -> None:
    tally.episodes += 1
    tally.decisions += len(episode.steps)
    tally.forfeits += episode.end == "forfeit"
    tally.first = tally.first or next(iter(episode.returns))
    for step in episode.steps:
        tally.unusable += step.read in UNUSABLE or bool(step.rejected)
        if step.raw is not None and step.tokens is not None:
            tally.replies += 1
            tally.tokens += len(step.tokens.ids)
            tally.truncated += step.tokens.truncated
    for seat, amount in episode.returns.items():
        tally.earned(episode.lineup[seat], seat, amount)


def smaller(table: Table, games: int) -> Table:
    """The same table, with fewer games in a step."""
    return dataclasses.replace(table, config=dataclasses.replace(table.config, games=games, refill=0))
