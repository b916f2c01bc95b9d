"""The negotiation that SPIRAL trained on: Wood and Gold, each worth more to the other player."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ludus.core.registry import register
from ludus.envs.language.simple_negotiation import SimpleNegotiation, Talk
from ludus.envs.language.trade import Market

DEAL = (10, 10, 5, 15), (10, 10, 15, 5)  # quantities, then values, of each player


@register("spiral_negotiation")
class SpiralNegotiation(SimpleNegotiation):
    """Two traders hold ten Wood and ten Gold each, and each values one three times as the other does.

    Nothing is drawn. An offer stands until it is accepted, denied or answered by another one. See
    `rules` for the whole, as players read it, and `simple_negotiation` for what the switches do.

    Source: SPIRAL's copy of TextArena's SimpleNegotiation (Liu et al., 2025, arXiv 2506.24119). There
    a message must be one of a short list of which a part is drawn anew at each turn; here it is what
    the rules of the game make of it, so that every offer a player can keep is a legal one.

    Args:
        max_turns: turns of both players together.
        allowance: messages in a row that may break the rules before the next one loses.
        menu: a finite choice: accept, deny, talk, or one to three pieces of one for as many of the other.
        lapse: when an offer that is not accepted is gone.
        self_accept: whether a player may accept its own offer, by which nothing changes hands.
        fault: what the player earns that breaks the rules once too often, and what the other earns;
            -1.5 and .5 where SPIRAL trains.
    """

    market: ClassVar[Market] = Market(("Wood", "Gold"), "3 Wood -> 2 Gold")
    most: ClassVar[int] = 3
    goods: ClassVar[str] = (
        "Two players hold Wood and Gold. Each knows its own quantities and what each resource is worth to "
        "itself, and is not told the other's."
    )
    sample_offer: ClassVar[str] = "3 Wood -> 2 Gold"

    def __init__(
        self,
        max_turns: int = 10,
        allowance: int = 0,
        menu: bool = False,
        lapse: str = "deny",
        self_accept: bool = False,
        fault: Sequence[float] = (-1.0, 1.0),
    ) -> None:
        super().__init__(max_turns, allowance, menu, lapse, self_accept, fault)

    def start(self, rng: np.random.Generator) -> Talk:
        return Talk(draws=(*DEAL[0], *DEAL[1]), held=(DEAL[0][:2], DEAL[1][:2]))
