"""Kuhn poker: three cards, one chip to bet, and a bluff worth making a third of the time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.game import Game, Seat
from ludus.core.registry import register

PASS, BET = 1, 2  # as written in the record; 0 is "not yet"
RANKS = "3456789TJQK"
_MANY = """Kuhn poker, for {players} players and a deck of {cards} cards: {ranks}, of which K is the highest.

Each player puts one chip in the pot and is dealt one card, which the others do not see. player_0 moves first. To bet is
to add one chip; to bet after a bet is to call it. To pass after a bet is to fold. Once somebody has bet, every other
player moves once more. In the end the highest card takes the pot: of those who bet, or of all if nobody did. What you
win or lose is counted in chips."""


@register("kuhn_poker")
class KuhnPoker(ArrayGame):
    """Kuhn poker, for two players and a deck of three cards: J, Q and K, of which K is the highest.

    Each player puts one chip in the pot and is dealt one card, which the other does not see.
    player_0 moves first. To bet is to add one chip; to bet after a bet is to call it. To pass after
    a bet is to fold: the other takes the pot. If both pass, or a bet is called, the cards are shown
    and the higher one takes the pot. What you win or lose is counted in chips: one or two.

    Source: H. W. Kuhn, "A simplified two-person poker", 1950. Value to player_0: -1/18. For more players the rules
    are those of Szafron, Gibson and Sturtevant 2013, and of OpenSpiel's kuhn_poker.

    Args:
        players: 2 to 10; there is one card more.
    """

    zero_sum = True
    stake = 2.0
    moves = ("pass", "bet")

    def __init__(self, players: int = 2) -> None:
        if not 2 <= players <= 10:
            raise ValueError(f"kuhn poker needs 2 to 10 players, not {players}")
        self.seats = tuple(f"player_{k}" for k in range(players))
        self.outcomes = players + 1
        turns = 2 * players - 1
        self.record = np.dtype(
            [("cards", np.int8, players), ("bets", np.int8, turns), ("count", np.int8), ("first", np.int8)]
        )  # first: how many moves there were with the first bet
        self.shape = (players + 1 + 2 * turns,)  # card, the lowest first; then for each turn: pass, bet

    @staticmethod
    def mover(s: Any) -> int:
        players = s.cards.shape[0]
        if s.cards[players - 1] == 0:
            return NATURE
        if s.count == (s.first + players - 1 if s.first else players):
            return OVER
        return s.count % players  # type: ignore[no-any-return]

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        left = out.shape[0]
        out[:] = 1.0
        for k in range(s.cards.shape[0]):
            if s.cards[k]:
                out[s.cards[k] - 1] = 0.0
                left -= 1
        for card in range(out.shape[0]):
            out[card] /= left

    @staticmethod
    def toss(s: Any, u: float) -> int:
        cards, dealt = s.cards.shape[0] + 1, 0
        while s.cards[dealt]:
            dealt += 1
        card, left = -1, int(u * (cards - dealt)) + 1
        while left > 0:
            card += 1
            left -= 1
            for k in range(dealt):
                if s.cards[k] == card + 1:
                    left += 1
        return card

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        players = s.cards.shape[0]
        if s.cards[players - 1] == 0:
            k = 0
            while s.cards[k]:
                k += 1
            s.cards[k] = a + 1
            return
        s.bets[s.count] = a + 1
        s.count += 1
        if a + 1 == BET and s.first == 0:
            s.first = s.count
        if s.count < (s.first + players - 1 if s.first else players):
            return
        winner, pot = -1, 0
        for k in range(players):
            chips = staked(s, k)
            pot += chips
            pay[k] -= chips
            if (chips == 2 or s.first == 0) and (winner < 0 or s.cards[k] > s.cards[winner]):
                winner = k
        pay[winner] += pot

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        if s.cards[seat]:
            out[s.cards[seat] - 1] = 1
        for i in range(s.count):
            out[s.cards.shape[0] + 2 * i + s.bets[i]] = 1

    def describe(self, s: Any, seat: int) -> str:
        card = (
            f"Your card is {RANKS[-len(self.seats) - 1 :][s.cards[seat] - 1]}."
            if s.cards[seat]
            else "You have no card yet."
        )
        bets = ", ".join(self.moves[s.bets[i] - 1] for i in range(s.count))
        return f"{card} {f'Moves so far: {bets}.' if bets else 'No moves so far.'}"

    def rules(self, seat: Seat) -> str:
        players = len(self.seats)
        if players == 2:
            return Game.rules(self, seat)
        return _MANY.format(players=players, cards=players + 1, ranks=", ".join(RANKS[-players - 1 :]))


def staked(s: Any, k: int) -> int:
    """How many chips a player has put in."""
    players = s.cards.shape[0]
    again = k + players < s.count and s.bets[k + players] == BET
    return 2 if s.bets[k] == BET or again else 1
