"""Transcripts: decisions to learn from that this run did not play, read from files of episodes.

Files are replayed, so a record that contradicts its rules teaches nothing. What the learning policy
said itself stays token by token as it was recorded; the decisions of others (experts, random play,
other models) are put into its words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Request, Tokens
from ludus.core.episode import Episode, Step, read
from ludus.core.errors import ConfigError, ForgedError
from ludus.core.game import Forfeit, Game
from ludus.core.ledger import Ledger
from ludus.core.policy import Policy
from ludus.core.replay import game_of, replay
from ludus.core.verify import requests
from ludus.training.checks import name_of
from ludus.training.settings import LearnerConfig, Phase, Reads, RunConfig

SHUFFLES = 2  # keeps the orders of files apart from other draws of the run's seed


class Transcripts:
    """The decisions of a file, as one policy would have made them.

    Args:
        config: which file, and what of it.
        policy: the policy that learns from it.
        seed: of the run; decides the order of episodes.

    Attributes:
        ledger: all decisions, in the order of the file.

    Raises:
        ConfigError: there is no such file, nothing in it is to be learned from, the policy cannot put
            others' decisions into its own words, or its own tokens are those of another tokenizer.
        ForgedError: an episode contradicts its rules.
    """

    def __init__(self, config: Reads, policy: Policy, seed: int) -> None:
        self.config, self.seed = config, seed
        if not Path(config.file).is_file():
            raise ConfigError(f"{config.file} does not exist: a phase reads a file of episodes (JSON lines)")
        games: dict[str, Game[Any]] = {}
        sound = (episode for episode in read(config.file) if episode.end != "error")
        ledger = Ledger.of([_told(e, config, policy, games) for e in sound], source="file")
        self.ledger = ledger.take(np.array([name == policy.name for name in ledger.policies])[ledger.policy])
        self._episodes = np.unique(self.ledger.episode)
        if not self.ledger.length.any():
            whose = f" of {', '.join(config.agents)}" if config.agents else ""
            raise ConfigError(f"{config.file} holds no decisions{whose} that {policy.name} could learn from")

    def drawn(self, step: int) -> Ledger:
        """The decisions of a step, a function of the run's seed and the step alone."""
        count, games = len(self._episodes), self.config.games
        if not 0 < games < count:
            return self.ledger
        places = np.arange((step - 1) * games, step * games)
        chosen = np.concatenate(
            [self._order(p)[places[places // count == p] % count] for p in np.unique(places // count)]
        )
        return self.ledger.take(np.isin(self.ledger.episode, chosen))

    def _order(self, number: int) -> NDArray[np.int64]:
        """The episodes, in the order of one pass through the file."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, SHUFFLES, number]))
        order: NDArray[np.int64] = rng.permutation(self._episodes)
        return order


class Library:
    """The transcripts that a run's phases read, each for every policy that learns from it.

    Args:
        config: of the run.
        policies: by name.

    Raises:
        ConfigError: a learner reads nothing of what its phase offers; and as `Transcripts`.
    """

    def __init__(self, config: RunConfig, policies: Mapping[str, Policy]) -> None:
        self._held: dict[tuple[Reads, str], Transcripts] = {}
        for phase in config.phases:
            for learner in _learning(config, phase):
                kinds = {"file" if reads.file else "fresh" for reads in phase.reads}
                if not kinds & set(learner.selector.sources):
                    raise ConfigError(
                        f"learner {name_of(learner)} learns from {', '.join(learner.selector.sources)}, and its phase "
                        f"reads {', '.join(sorted(kinds))}: change selector.sources, or the phase's reads or learners"
                    )
            for reads, name in _wanted(config, phase):
                if (reads, name) not in self._held:
                    self._held[reads, name] = Transcripts(reads, policies[name], config.seed)
        self.config = config

    def drawn(self, phase: Phase, step: int) -> list[Ledger]:
        """What the files of a phase give to a step."""
        return [self._held[key].drawn(step) for key in _wanted(self.config, phase)]


def _learning(config: RunConfig, phase: Phase) -> list[LearnerConfig]:
    return [one for one in config.learners if not phase.learners or name_of(one) in phase.learners]


def _wanted(config: RunConfig, phase: Phase) -> list[tuple[Reads, str]]:
    """The files of a phase, each with every policy that learns from files."""
    policies = dict.fromkeys(one.policy for one in _learning(config, phase) if "file" in one.selector.sources)
    return [(reads, name) for reads in phase.reads if reads.file for name in policies]


def _told(episode: Episode, config: Reads, policy: Policy, games: dict[str, Game[Any]]) -> Episode:
    """The episode with the tokens of those decisions that are to be learned from, and of no others."""
    key = f"{episode.game} {episode.match.params} {episode.match.task}"
    game = games[key] = games.get(key) or game_of(episode)
    where = f"{config.file}: {game.id}, seed {episode.match.seed}"
    lineup = {seat: _renamed(name, config, policy) for seat, name in episode.lineup.items()}
    steps = []
    try:
        for step, request in requests(episode, game, replay(episode, game)):
            taught = step.seat in game.players and lineup[step.seat] == policy.name
            tokens = _tokens(step, request, config, policy, where) if taught else None
            steps.append(dataclasses.replace(step, tokens=tokens))
    except ForgedError as fault:
        raise ForgedError(fault.level, f"{config.file}: {str(fault).partition('] ')[2]}") from fault
    match = dataclasses.replace(
        episode.match, lineup=lineup, group=f"{config.file} {episode.match.group or episode.match.seed}"
    )
    return dataclasses.replace(episode, match=match, steps=tuple(steps))


def _renamed(name: str, config: Reads, policy: Policy) -> str:
    """Those who are learned from by the policy's name; others never by it."""
    if not config.agents or name in config.agents:
        return policy.name
    return f"{name} (file)"


def _tokens(step: Step, request: Request, config: Reads, policy: Any, where: str) -> Tokens | None:
    """The tokens of a decision; none where what was played is not what somebody said."""
    if step.tokens is not None and step.tokens.policy == policy.name:
        _check(step, request, policy, where)
        return step.tokens
    if isinstance(step.move, Forfeit) or step.read in ("skip", "fallback"):
        return None
    if not hasattr(policy, "written"):
        raise ConfigError(f"{where}: {policy.name} cannot put the decisions of others into its own words")
    given = step.raw if config.words == "given" else None
    tokens: Tokens = policy.written(request, step.move, given)
    return tokens


def _check(step: Step, request: Request, policy: Any, where: str) -> None:
    """Recorded tokens must be this policy's: they spell the reply, and follow what it is fed."""
    assert step.tokens is not None  # the caller looked
    fed = policy.fed(request) if hasattr(policy, "fed") else None
    spelt = policy.decode(step.tokens.ids.tolist()) if hasattr(policy, "decode") else step.raw
    if spelt != step.raw or (fed is not None and not np.array_equal(fed, step.tokens.prompt)):
        raise ConfigError(
            f"{where}: the tokens of {step.seat} are not those that {policy.name} reads and writes (another tokenizer or "
            "another way of prompting): name the learning policy otherwise, and they are written anew"
        )
