"""Kuhn poker over several rounds with one winner, as TextArena has it and SPIRAL trained on it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.errors import UnknownName
from ludus.core.game import Seat
from ludus.core.registry import register

CHECK, BET, FOLD, CALL = 1, 2, 3, 4  # as written in the record; 0 is "not yet"
SIZE = 15  # features of a round
SWITCHES = {
    "pot": ("fixed", "true"),
    "match": ("last_round", "chips"),
    "payoff": ("match", "chips"),
    "starter": ("player_0", "player_1"),
}
_POT = {
    "fixed": "To bet and to call puts no chip in: every round is played for the two in the pot.",
    "true": "To bet is to put one more chip in the pot, to call a bet is to put in as much.",
}
_WINS = {
    ("match", "last_round"): "Whoever wins the last round wins the match, 1 from the other.",
    (
        "match",
        "chips",
    ): "Whoever has more chips after the last round wins the match, 1 from the other; as many are a draw.",
    ("chips", "last_round"): "What you win or lose is counted in chips.",
    ("chips", "chips"): "What you win or lose is counted in chips.",
}


@register("spiral_kuhn_poker")
class SpiralKuhnPoker(ArrayGame):
    """Several rounds of Kuhn poker that make one match.

    With its defaults these are the rules that SPIRAL trained on, in which a bet moves no chips and
    the last round decides: never to fold is then as good as anything. `match="chips"` gives
    TextArena's rules. `rounds=1, pot="true", payoff="chips"` is the game of Kuhn, of value -1/18 to
    the player who starts; `kuhn_poker` is the same game with two moves instead of four.

    Source: TextArena's KuhnPoker-v1 (Guertler et al., 2025, arXiv 2504.11442) and the copy of it in
    SPIRAL (Liu et al., 2025, arXiv 2506.24119).

    Args:
        rounds: how many rounds, each with new cards, from 1 to 100. TextArena plays 3, 5, 9, 15 or 25.
        pot: "fixed", always the two antes; or "true": a bet and a call add a chip each.
        match: who wins: "last_round", its winner; "chips", whoever has more, and equals draw.
        payoff: "match", 1 for winning it; or "chips", those of every round when it ends.
        starter: who moves first in the first round; the other does in the second, and so on.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    moves = ("check", "bet", "fold", "call")
    outcomes = 6  # who is dealt which two of three cards
    version = 1

    def __init__(
        self,
        rounds: int = 5,
        pot: str = "fixed",
        match: str = "last_round",
        payoff: str = "match",
        starter: str = "player_1",
    ) -> None:
        if not 1 <= rounds <= 100:
            raise ValueError(f"a match has 1 to 100 rounds, not {rounds}")
        given = {"pot": pot, "match": match, "payoff": payoff, "starter": starter}
        for name, value in given.items():
            if value not in SWITCHES[name]:
                raise UnknownName(f"value of {name}", value, SWITCHES[name])
        self.rounds, self.given = rounds, given
        self.stake = 1.0 if payoff == "match" else rounds * (1.0 if pot == "fixed" else 2.0)
        switches = [(name, np.int8) for name in SWITCHES]
        self.record = np.dtype(
            [("cards", np.int8, (rounds, 2)), ("bets", np.int8, (rounds, 3)), ("count", np.int8, rounds),
             ("played", np.int16), ("chips", np.int16, 2), *switches]
        )  # fmt: skip
        # For each round: own card (3), the other's if shown (3), whether one moves first, the first move
        # (check, bet), the second (check, bet, fold, call), the third (fold, call).
        self.shape = (SIZE * rounds,)

    def setup(self, s: Any) -> None:
        for name, value in self.given.items():
            setattr(s, name, SWITCHES[name].index(value))

    @staticmethod
    def mover(s: Any) -> int:
        r = s.played
        if r == s.bets.shape[0]:
            return OVER
        if s.cards[r, 1] == 0:
            return NATURE
        return (s.starter + r + s.count[r]) % 2  # type: ignore[no-any-return]

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        r = min(s.played, s.bets.shape[0] - 1)
        n = s.count[r]
        raised = n > 0 and s.bets[r, n - 1] == BET
        out[0] = out[1] = not raised
        out[2] = out[3] = raised

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        for deal in range(6):
            out[deal] = 1.0 / 6

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        r = s.played
        if s.cards[r, 1] == 0:
            first, second = a // 2, a % 2  # the second of those that the first leaves
            s.cards[r, 0], s.cards[r, 1] = first + 1, (second if second < first else second + 1) + 1
            return
        n = s.count[r]
        s.bets[r, n] = a + 1
        s.count[r] = n + 1
        if a + 1 == BET or (a + 1 == CHECK and n == 0):
            return
        winner = int(s.cards[r, 1] > s.cards[r, 0])
        if a + 1 == FOLD:
            winner = 1 - (s.starter + r + n) % 2
        won = 2 if a + 1 == CALL and s.pot == 1 else 1
        s.chips[winner] += won
        s.chips[1 - winner] -= won
        s.played = r + 1
        if s.payoff == 1:
            pay[winner] += won
            pay[1 - winner] -= won
        elif r + 1 == s.bets.shape[0] and (s.match == 0 or s.chips[0] != s.chips[1]):
            best = winner if s.match == 0 else int(s.chips[1] > s.chips[0])
            pay[best] += 1
            pay[1 - best] -= 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        rounds = s.bets.shape[0]
        for r in range(min(s.played + 1, rounds)):
            at, n = SIZE * r, s.count[r]
            if s.cards[r, seat]:
                out[at + s.cards[r, seat] - 1] = 1
                out[at + 6] = (s.starter + r) % 2 == seat
            if r < s.played and s.bets[r, n - 1] != FOLD:
                out[at + 2 + s.cards[r, 1 - seat]] = 1
            for i in range(n):
                offset = 6 if i == 0 else 8 if i == 1 else 10  # before the first move's names, and so on
                out[at + offset + s.bets[r, i]] = 1

    # -------------------------------------------------------------------------------- in words
    def describe(self, s: Any, seat: int) -> str:
        cards, bets, played, pot = s.cards.tobytes(), s.bets.tobytes(), s.played, s.pot
        lines = [f"You are {self.seats[seat]}."]
        for r in range(min(played + 1, self.rounds)):
            dealt, made, first = cards[2 * r : 2 * r + 2], bets[3 * r : 3 * r + 3], (s.starter + r) % 2
            lines.append(_told(r, self.rounds, dealt, made, first, seat, r < played, pot))
        if played == self.rounds:
            lines.append(f"The match is over. Chips: {s.chips[seat]:+d} for you.")
        return "\n".join(lines)

    def rules(self, seat: Seat) -> str:
        first = self.given["starter"]
        order = f"{first} moves first" + (
            " in the first round, the other in the next, and so on" if self.rounds > 1 else ""
        )
        return (
            f"Kuhn poker, for two players and three cards: J, Q and K, of which K is the highest. A match has "
            f"{self.rounds} {'rounds' if self.rounds > 1 else 'round'}. In each, both put one chip in the pot "
            f"and are dealt one card, which the other does not see; {order}.\n\n"
            "Where nobody has bet you may check or bet, and after a bet fold or call. To fold is to leave the "
            "pot to the other. When both have checked, or a bet is called, the cards are shown and the higher "
            f"one takes the pot. {_POT[self.given['pot']]}\n\n"
            f"{_WINS[self.given['payoff'], self.given['match']]}"
        )


@functools.cache
def _told(r: int, rounds: int, cards: bytes, bets: bytes, first: int, seat: int, over: bool, pot: int) -> str:
    """Round r as `seat` sees it, which the seat numbered `first` began."""
    seats, moves = SpiralKuhnPoker.seats, SpiralKuhnPoker.moves
    card = f"Your card: {'JQK'[cards[seat] - 1]}." if cards[seat] else "No card yet."
    lines = [f"Round {r + 1} of {rounds}. {card}"]
    bets = bets.rstrip(b"\0")
    lines += [f"{seats[(first + n) % 2]}: {moves[bet - 1]}" for n, bet in enumerate(bets)]
    if over:
        if bets[-1] == FOLD:
            winner, shown = 1 - (first + len(bets) - 1) % 2, ""
        else:
            winner = int(cards[1] > cards[0])
            names = ["JQK"[card - 1] for card in cards]
            shown = f"Cards: {seats[0]} {names[0]}, {seats[1]} {names[1]}. "
        won = 2 if bets[-1] == CALL and pot == 1 else 1
        lines.append(f"{shown}{seats[winner]} wins {won} from {seats[1 - winner]}.")
    return "\n".join(lines)
