"""Leduc poker: two rounds of betting, a public card in between."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry

FOLD, CALL, RAISE = 1, 2, 3  # as written in the record; 0 is "not yet"
CARDS = ("Js", "Jh", "Qs", "Qh", "Ks", "Kh")


@register("leduc_poker")
class LeducPoker(ArrayGame):
    """Leduc poker, for two players and six cards: J, Q and K, each in spades (s) and hearts (h).

    Each player antes one chip and is dealt one card, which the other does not see. A round of
    betting follows; then one card is laid open, and a second round of betting follows. player_0
    moves first in both. To call is to put in as much as the other has, which is nothing where
    nobody has raised (a check); to raise is to call and add two chips in the first round, four in
    the second; at most two raises a round; to fold, when the other has put in more, is to lose what
    you put in. A round ends when both have called, or one has called the other's raise. In the end
    a card that pairs the open card wins, else the higher card; suits do not count, and equal cards
    split the pot. What you win or lose is counted in chips, at most thirteen.

    Source: F. Southey and others, "Bayes' Bluff: Opponent Modelling in Poker", UAI 2005; the rules
    are those of OpenSpiel's leduc_poker. Value to player_0: about -.0856.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    stake = 13.0
    record = np.dtype(
        [("cards", np.int8, 3), ("bets", np.int8, (2, 4)), ("count", np.int8, 2), ("chips", np.int8, 2),
         ("raises", np.int8), ("second", np.int8), ("over", np.int8)]
    )  # fmt: skip
    moves = ("fold", "call", "raise")
    outcomes = 6
    shape = (36,)  # own card (6); open card (6); for each of two rounds of four turns: fold, call, raise

    def setup(self, s: Any) -> None:
        s.chips[:] = 1

    def symmetries(self) -> list[Symmetry]:
        """Suits do not count: the two cards of a rank may change places, of each rank or not."""
        found = []
        for ranks in range(1, 8):
            cards = np.array([card ^ (ranks >> card // 2 & 1) for card in range(6)])
            shown = np.concatenate([cards, 6 + cards, np.arange(12, self.shape[0])])
            found.append(Symmetry(shown, np.arange(len(self.moves)), cards))
        return found

    @staticmethod
    def mover(s: Any) -> int:
        if s.over:
            return OVER
        if s.cards[1] == 0 or (s.second and s.cards[2] == 0):
            return NATURE
        return s.count[s.second] % 2  # type: ignore[no-any-return]

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[0] = s.chips[seat] < s.chips[1 - seat]
        out[1] = 1
        out[2] = s.raises < 2

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        left = 6
        for i in range(3):
            left -= s.cards[i] != 0
        for card in range(6):
            if card + 1 != s.cards[0] and card + 1 != s.cards[1]:
                out[card] = 1.0 / left

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        if s.cards[1] == 0 or (s.second and s.cards[2] == 0):
            s.cards[0 if s.cards[0] == 0 else 1 if s.cards[1] == 0 else 2] = a + 1
            return
        n = s.count[s.second]
        seat = n % 2
        s.bets[s.second, n] = a + 1
        s.count[s.second] = n + 1
        if a + 1 == FOLD:
            s.over = 1
            pay[seat] -= s.chips[seat]
            pay[1 - seat] += s.chips[seat]
            return
        s.chips[seat] = s.chips[1 - seat]
        if a + 1 == RAISE:
            s.chips[seat] += 4 if s.second else 2
            s.raises += 1
        elif n > 0:  # the second call of two, or the call of a raise
            if s.second:
                s.over = 1
                own = 10 if (s.cards[0] - 1) // 2 == (s.cards[2] - 1) // 2 else (s.cards[0] - 1) // 2
                other = 10 if (s.cards[1] - 1) // 2 == (s.cards[2] - 1) // 2 else (s.cards[1] - 1) // 2
                won = 0 if own == other else s.chips[0] if own > other else -s.chips[0]
                pay[0] += won
                pay[1] -= won
            s.second = 1
            s.raises = 0

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        if s.cards[seat]:
            out[s.cards[seat] - 1] = 1
        if s.cards[2]:
            out[5 + s.cards[2]] = 1
        for i in range(2):
            for j in range(s.count[i]):
                out[11 + 12 * i + 3 * j + s.bets[i, j]] = 1

    def describe(self, s: Any, seat: int) -> str:
        said = [f"Your card is {CARDS[s.cards[seat] - 1]}." if s.cards[seat] else "You have no card yet."]
        rounds = [", ".join(self.moves[bet - 1] for bet in row if bet) for row in s.bets.tolist()]
        said.append(f"First round: {rounds[0] or 'no moves yet'}.")
        if s.cards[2]:
            said.append(f"Open card: {CARDS[s.cards[2] - 1]}. Second round: {rounds[1] or 'no moves yet'}.")
        return " ".join(said)
