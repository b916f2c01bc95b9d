"""How decisions are gathered, as a configuration says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ludus.training.choices import STRICT, Count, Number, Rate, Share


@dataclass(frozen=True, slots=True)
class Search:
    """Tree search guided by the policy's network, in games of perfect information for two, zero sum."""

    __pydantic_config__: ClassVar[Any] = STRICT

    simulations: Count = 0
    """Leaves of the search before every move; 0: no search."""
    exploration: Rate = 1.25
    """Weight of the priors, in units of payoff."""
    alpha: Annotated[float, Field(gt=0)] = 0.3
    """Of the Dirichlet noise at the root; about 10 / moves of a position."""
    share: Share = 0.25
    """How much of the root's priors is noise."""
    drawn: Count = 12
    """Moves of each game that are drawn in proportion to their visits; the later ones are the most visited."""
    threads: Number = 1
    """Threads that search a share of the games each, whatever the threads of torch. Changes time, not results."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In which numbers the network is computed while searching; bfloat16 is faster where the processor has it."""


@dataclass(frozen=True, slots=True)
class Collect:
    """How decisions are gathered for each step."""

    __pydantic_config__: ClassVar[Any] = STRICT

    by: Literal["arrays", "play"] = "play"
    """Arrays: networks on array games, games running on from step to step. Play: whole episodes."""
    rows: Number = 64
    """Arrays: games side by side."""
    length: Number = 32
    """Arrays: decisions of each row in a step; of whole games, and with a search, after which a game is cut."""
    whole: bool = False
    """Arrays: every step plays one game in each row, from its beginning to its end."""
    search: Search = Search()
    """Arrays: a search before every move of a policy. Every step then plays games from their beginning to their end."""
    games: Number = 256
    """Play: episodes in a step."""
    decisions: Count = 0
    """Play: so many decisions at least, for which more deals are played than `games` where those hold fewer."""
    samples: Number = 1
    """Play: episodes that share a seed, and so the deal; the group of group estimators."""
    greedy: bool = False
    """Play: the first of the episodes that share a seed is played by likeliest replies; wanted by remax."""
    refill: Count = 0
    """Play: how often further games may be played in the place of groups in which all episodes came to the same
    (dynamic sampling); what is still missing then stays missing."""
    lag: Annotated[int, Field(ge=0, le=1)] = 0
    """Play: 1 samples each step's games with the weights from before the update of the step before; wants learners
    whose selector.max_age allows it."""
    apart: bool = False
    """Play, with a lag: sample in a thread, on weights of its own, while the learners learn; else before they do."""
    at_once: Number = 1024
    """Play: live tables."""
    max_steps: Number = 1000
    """Play: decisions after which an episode is cut."""
    illegal: Literal["forfeit", "retry", "skip", "random"] = "forfeit"
    """Play: what happens to a reply that cannot be used. A forfeit and a skipped turn are learned from with what they
    cost, replies that a random move stood in for and those rejected before a retry are not learned from."""
    retries: Count = 0
    """Play: how often a seat is asked again, where illegal = "retry"."""
    penalty: Rate = 0.0
    """Play: what a skipped turn costs, where illegal = "skip"."""
    forfeit_payoff: tuple[float, float] | None = None
    """Play: in games of two, what whoever forfeits earns, and what the other does; absent: the game's own price."""
    empty_payoff: tuple[float, float] | None = None
    """Play: the same for a forfeit whose reply had nothing in it; absent: as any other forfeit."""
