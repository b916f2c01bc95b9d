"""Kuhn poker: three cards, one chip to bet, and a bluff worth making a third of the time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.registry import register

PASS, BET = 1, 2  # as written in the record; 0 is "not yet"


@register("kuhn_poker")
class KuhnPoker(ArrayGame):
    """Kuhn poker, for two players and a deck of three cards: J, Q and K, of which K is the highest.

    Each player puts one chip in the pot and is dealt one card, which the other does not see.
    player_0 moves first. To bet is to add one chip; to bet after a bet is to call it. To pass after
    a bet is to fold: the other takes the pot. If both pass, or a bet is called, the cards are shown
    and the higher one takes the pot. What you win or lose is counted in chips: one or two.

    Source: H. W. Kuhn, "A simplified two-person poker", 1950. Value to player_0: -1/18.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    stake = 2.0
    record = np.dtype([("cards", np.int8, 2), ("bets", np.int8, 3), ("count", np.int8)])
    moves = ("pass", "bet")
    outcomes = 3
    shape = (9,)  # card: J, Q, K; then for each of three turns: pass, bet

    @staticmethod
    def mover(s: Any) -> int:
        if s.cards[1] == 0:
            return NATURE
        if s.count == 3 or (s.count == 2 and not (s.bets[0] == PASS and s.bets[1] == BET)):
            return OVER
        return s.count % 2  # type: ignore[no-any-return]

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        left = 3 if s.cards[0] == 0 else 2
        for card in range(3):
            if s.cards[0] != card + 1:
                out[card] = 1.0 / left

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        if s.cards[1] == 0:
            s.cards[0 if s.cards[0] == 0 else 1] = a + 1
            return
        n = s.count
        s.bets[n] = a + 1
        s.count = n + 1
        if n == 0 or (n == 1 and s.bets[0] == PASS and s.bets[1] == BET):
            return
        if s.bets[n] == PASS and s.bets[n - 1] == BET:
            winner, chips = 1 - n % 2, 1
        else:
            winner, chips = int(s.cards[1] > s.cards[0]), int(s.bets[n])
        pay[winner] += chips
        pay[1 - winner] -= chips

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        if s.cards[seat]:
            out[s.cards[seat] - 1] = 1
        for i in range(s.count):
            out[2 + 2 * i + s.bets[i]] = 1

    def describe(self, s: Any, seat: int) -> str:
        card = f"Your card is {'JQK'[s.cards[seat] - 1]}." if s.cards[seat] else "You have no card yet."
        bets = ", ".join(self.moves[s.bets[i] - 1] for i in range(s.count))
        return f"{card} {f'Moves so far: {bets}.' if bets else 'No moves so far.'}"
