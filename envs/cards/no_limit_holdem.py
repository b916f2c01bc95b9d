"""Heads-up no-limit Texas hold'em, with any blinds, stacks and choice of bets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.registry import register

FOLD, CALL, RAISE = 1, 2, 3  # as written in the record; 0 is "not yet"
RANKS, SUITS = "23456789TJQKA", "cdhs"  # card number = 4 * rank + suit
ROUNDS = ("Before the flop", "Flop", "Turn", "River")
DUE = (4, 7, 8, 9)  # cards dealt before each round of betting
GROUP = (
    0,
    0,
    2,
    2,
    4,
    4,
    4,
    7,
    8,
)  # where the cards begin that are dealt with each card, and sorted among them
PLACE = (0, 0, 0, 0, 1, 1, 1, 2, 3)  # its plane of the features: own hand, flop, turn, river
LANE = 8191  # thirteen ranks of one suit, as bits
PLY = 9  # features of one move: round (4), own, fold, call, raise, chips in the pot after it
HEAD = 4 * 52 + 7  # features before the moves


@register("no_limit_holdem")
class NoLimitHoldem(ArrayGame):
    """No-limit Texas hold'em for two players, one hand.

    player_0 has the button and puts in the small blind, player_1 the big blind. Each is dealt two cards
    that the other does not see. There are four rounds of betting: before any card is open, after three open
    cards (the flop), after a fourth (the turn) and after a fifth (the river). player_0 moves first in
    the first round, player_1 in the others. To fold, when the other has put in more, is to lose what you
    put in. To call is to put in as much as the other has, which is nothing where nobody has bet (a check). A
    bet of half the pot, or of the pot, is to call and then add that share of the pot as it then is, in
    whole chips; all-in is to put in your whole stack. A bet must add at least the big blind and
    as much as the last raise of its round, unless it is all-in. A round ends when both have called, or one has
    called the other's bet. Once a player is all-in and called, the rest of the five open cards are
    dealt without betting. In the end the best five of one's own two and the five open cards win the
    pot: straight flush, four of a kind, full house, flush, straight, three of a kind, two pairs, pair, high card;
    equal hands split it. What you win or lose is counted in chips.

    Args:
        stack: chips each player begins with. The default is a hundred big blinds.
        small_blind, big_blind: chips.
        bets: the bets there are beside all-in, as shares of the pot, in hundredths; or "any": a bet of every
            whole number of chips, where a move says how many one has then put in since the hand began.

    Source: rules of betting and of the deal as in the Annual Computer Poker Competition and in OpenSpiel's
    universal_poker, with `blind=1 2, firstPlayer=1 2 2 2`; "any" numbers moves as its "fullgame" does.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    version = 1
    outcomes = 52
    dtype = "float32"

    def __init__(
        self,
        stack: int = 200,
        small_blind: int = 1,
        big_blind: int = 2,
        bets: Sequence[float] | str = (0.5, 1.0),
    ) -> None:
        self._check(stack, small_blind, big_blind, bets)
        self.stack, self.blinds, self.stake = stack, (small_blind, big_blind), float(stack)
        self.exact = isinstance(bets, str)
        shares = () if isinstance(bets, str) else tuple(round(100 * share) for share in bets)
        self.percent = (*shares, 0)  # of the pot; 0 is all-in
        if self.exact:
            self.moves = ("fold", "call", *(f"bet to {chips}" for chips in range(2, stack + 1)))
        else:
            self.moves = ("fold", "call", *map(_share, shares), "all-in")
        length = self._longest()
        self.shape = (HEAD + PLY * length,)  # as `observe` writes them
        # Cards are kept as number + 1: two of each player, then the open ones.
        self.record = np.dtype(
            [("bet", np.int16, length), ("percent", np.int16, len(self.percent)), ("chips", np.int16, 2),
             ("stack", np.int16), ("blind", np.int16), ("least", np.int16), ("count", np.int16),
             ("kind", np.int8, length), ("cards", np.int8, 9), ("dealt", np.int8), ("due", np.int8),
             ("street", np.int8), ("acted", np.int8), ("turn", np.int8), ("exact", np.int8), ("over", np.int8)]
        )  # fmt: skip

    @staticmethod
    def _check(stack: int, small_blind: int, big_blind: int, bets: Sequence[float] | str) -> None:
        if not (1 <= small_blind <= big_blind and 2 * big_blind <= stack <= 30_000):
            raise ValueError(
                "no-limit hold'em needs 1 <= small blind <= big blind, and a stack of 2 big blinds to 30,000 chips, "
                f"not blinds of {small_blind} and {big_blind} and a stack of {stack}"
            )
        if isinstance(bets, str):
            if bets != "any" or stack > 1000:
                raise ValueError(
                    f"bets are shares of the pot, or 'any' with a stack of at most 1,000, not {bets!r} with {stack}"
                )
        elif len(bets) > 20 or not all(
            0.01 <= share <= 10 and abs(100 * share - round(100 * share)) < 1e-6 for share in bets
        ):
            raise ValueError(
                f"bets are at most 20 shares of the pot, from 0.01 to 10 in hundredths, not {bets!r}"
            )
        elif len({round(100 * share) for share in bets}) < len(bets):
            raise ValueError(f"bets name a share of the pot twice: {bets!r}")

    def _longest(self) -> int:
        """The most moves of a hand: the smallest bets, and in each round one check and one last call."""
        smallest = min((share for share in self.percent if share), default=0)
        chips, raises = self.blinds[1], 0
        while chips < self.stack:
            share = (2 * chips * smallest + 50) // 100
            if smallest or self.exact:
                chips += max(self.blinds[1], share)
            else:
                chips = self.stack
            raises += 1
        return raises + 2 * len(ROUNDS)

    def setup(self, s: Any) -> None:
        s.chips[:] = self.blinds
        s.percent[:] = self.percent
        s.stack, s.exact = self.stack, self.exact
        s.blind = s.least = self.blinds[1]
        s.due = DUE[0]

    @staticmethod
    def mover(s: Any) -> int:
        if s.over:
            return OVER
        return NATURE if s.dealt < s.due else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        chips, other, stack = int(s.chips[seat]), int(s.chips[1 - seat]), s.stack
        out[0] = chips < other
        out[1] = 1
        if other == stack:
            return
        least, moves = min(other + s.least, stack), out.shape[0]
        if s.exact:
            for a in range(least, moves):
                out[a] = 1
            return
        for a in range(2, moves - 1):
            out[a] = least <= target(s, a) < stack
        out[moves - 1] = 1

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        out[:] = 1.0 / (52 - s.dealt)
        for i in range(s.dealt):
            out[s.cards[i] - 1] = 0.0

    @staticmethod
    def toss(s: Any, u: float) -> int:
        # Card k of those left is k and as many more as were dealt up to there.
        k, last = int(u * (52 - s.dealt)), -1
        card = k
        while card != last:
            last = card
            card = k
            for i in range(9):
                card += 0 < s.cards[i] <= last + 1
        return card

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        if s.dealt < s.due:
            deal(s, a)
            if s.dealt == 9 and s.chips[0] == s.stack and s.chips[1] == s.stack:
                showdown(s, pay)
            return
        seat, n = s.turn, s.count
        other = int(s.chips[1 - seat])
        chips = int(s.chips[seat]) if a == 0 else other if a == 1 else target(s, a)
        s.kind[n] = min(a, 2) + 1 + 4 * int(s.street) + 16 * seat
        s.bet[n] = chips
        s.count = n + 1
        s.chips[seat] = chips
        s.turn = 1 - seat
        if a == 0:
            s.over = 1
            pay[seat] -= chips
            pay[1 - seat] += chips
        elif a > 1:
            s.least = max(s.least, chips - other)
            s.acted = 1
        elif s.acted:
            close(s, pay)
        else:
            s.acted = 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        for i in range(2):
            if s.cards[2 * seat + i]:
                out[int(s.cards[2 * seat + i]) - 1] = 1
        for i in range(4, s.dealt):
            out[52 * PLACE[i] + int(s.cards[i]) - 1] = 1
        out[208 + int(s.street)] = 1
        out[212] = seat == 0
        share = 1.0 / s.stack
        out[213] = s.chips[seat] * share
        out[214] = s.chips[1 - seat] * share
        for i in range(s.count):
            at, kind = HEAD + PLY * i, int(s.kind[i])
            out[at + ((kind >> 2) & 3)] = 1
            out[at + 4] = (kind >> 4) == seat
            out[at + 4 + (kind & 3)] = 1
            out[at + 8] = s.bet[i] * share

    def describe(self, s: Any, seat: int) -> str:
        cards = [RANKS[card >> 2] + SUITS[card & 3] if card >= 0 else "" for card in (s.cards - 1).tolist()]
        hand = " ".join(filter(None, cards[2 * seat : 2 * seat + 2]))
        said = [f"You have the {'button' if seat == 0 else 'big blind'}. Your cards: {hand or 'none yet'}."]
        own, other = int(s.chips[seat]), int(s.chips[1 - seat])
        said.append(f"In the pot: {own} of your {self.stack} chips, {other} of the other's.")
        for number, title in enumerate(ROUNDS):
            begin = DUE[number - 1] if number else DUE[0]
            shown = [card for card in cards[begin : DUE[number]] if card]
            if number > s.street and not shown:
                break
            moves = [
                self._said(kind, chips, seat)
                for kind, chips in zip(s.kind.tolist(), s.bet.tolist(), strict=True)
                if kind and (kind >> 2) & 3 == number
            ]
            said.append(f"{' '.join([title, *shown])}: {', '.join(moves) or 'no moves yet'}.")
        return "\n".join(said)

    def _said(self, kind: int, chips: int, seat: int) -> str:
        """A move of the record in words."""
        who = "you" if kind >> 4 == seat else "the other"
        if kind & 3 == FOLD:
            return f"{who} fold" + ("" if who == "you" else "s")
        if kind & 3 == CALL:
            return f"{who} call" + ("" if who == "you" else "s") + f" at {chips}"
        return f"{who} bet" + ("" if who == "you" else "s") + f" to {chips}"


def _share(percent: int) -> str:
    """The name of a bet."""
    return {50: "half pot", 100: "pot"}.get(percent, f"{percent / 100:g} pot")


def target(s: Any, a: int) -> int:
    """Chips that the mover has put in after bet a."""
    if s.exact:
        return a
    share = int(s.percent[a - 2])
    other = int(s.chips[1 - s.turn])
    return other + (2 * other * share + 50) // 100 if share else s.stack


def deal(s: Any, card: int) -> None:
    """Lay a card to those dealt with it, sorted, since the order in which they came means nothing."""
    i = s.dealt
    while i > GROUP[s.dealt] and s.cards[i - 1] > card + 1:
        s.cards[i] = s.cards[i - 1]
        i -= 1
    s.cards[i] = card + 1
    s.dealt += 1


def close(s: Any, pay: Any) -> None:
    """End a round of betting: the next follows, or the rest of the cards, or the showdown."""
    if s.street == 3:
        showdown(s, pay)
    elif s.chips[0] == s.stack:
        s.due = 9
        if s.dealt == 9:
            showdown(s, pay)
    else:
        s.street += 1
        s.due = DUE[s.street]
        s.turn = 1
        s.acted = 0
        s.least = s.blind


def showdown(s: Any, pay: Any) -> None:
    """Pay whoever has the better hand."""
    shared = 0
    for i in range(4, 9):
        shared |= bit(int(s.cards[i]) - 1)
    own = strength(shared | bit(int(s.cards[0]) - 1) | bit(int(s.cards[1]) - 1))
    other = strength(shared | bit(int(s.cards[2]) - 1) | bit(int(s.cards[3]) - 1))
    chips = int(s.chips[0])
    won = chips if own > other else -chips if own < other else 0
    pay[0] += won
    pay[1] -= won
    s.over = 1


def bit(card: int) -> int:
    """A card in a set of cards: sixteen bits for each suit, the lowest rank first."""
    return 1 << (16 * (card & 3) + (card >> 2))


def highest(ranks: int) -> int:
    """The highest bit alone, of thirteen."""
    ranks |= ranks >> 1
    ranks |= ranks >> 2
    ranks |= ranks >> 4
    ranks |= ranks >> 8
    return ranks ^ (ranks >> 1)


def best(ranks: int, count: int) -> int:
    """The highest `count` bits, or all where there are fewer."""
    kept = 0
    for _ in range(count):
        kept |= highest(ranks ^ kept)
    return kept


def straight(ranks: int) -> int:
    """The highest bit of five in a row, where the ace is also below the two; 0 without."""
    low = (ranks << 1) | (ranks >> 12)
    return highest(low & (low << 1) & (low << 2) & (low << 3) & (low << 4)) >> 1 if low else 0


def strength(cards: int) -> int:
    """How good the best five cards of a set of five to seven are: a greater number beats a smaller.

    The category times 2**26, then the ranks that make it times 2**13, then the ranks beside them. Sets of
    as many ranks compare like the numbers that their bits spell.
    """
    a, b, c, d = cards & LANE, (cards >> 16) & LANE, (cards >> 32) & LANE, (cards >> 48) & LANE
    flush = 0
    for suit in (a, b, c, d):
        rest = suit & (suit - 1)
        rest &= rest - 1
        rest &= rest - 1
        if rest & (rest - 1):
            flush = suit
    if flush and straight(flush):
        return (8 << 26) | straight(flush)
    # How often each rank occurs, added up in binary, all ranks side by side.
    once, twice = (a ^ b) ^ (c ^ d), (a & b) ^ (c & d) ^ ((a ^ b) & (c ^ d))
    ranks, four, three, two = a | b | c | d, a & b & c & d, once & twice, twice & ~once
    if four:
        return (7 << 26) | (four << 13) | highest(ranks ^ four)
    triple = highest(three)
    if triple and (two | (three ^ triple)):
        return (6 << 26) | (triple << 13) | highest(two | (three ^ triple))
    if flush:
        return (5 << 26) | best(flush, 5)
    if straight(ranks):
        return (4 << 26) | straight(ranks)
    if triple:
        return (3 << 26) | (triple << 13) | best(ranks ^ triple, 2)
    pairs = best(two, 2)
    if pairs & (pairs - 1):
        return (2 << 26) | (pairs << 13) | highest(ranks ^ pairs)
    if pairs:
        return (1 << 26) | (pairs << 13) | best(ranks ^ pairs, 3)
    return best(ranks, 5)
