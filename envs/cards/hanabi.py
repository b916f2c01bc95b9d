"""Hanabi: cards that only the others see, and fireworks that all build together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.game import Forfeit, Seat
from ludus.core.position import Position
from ludus.core.registry import register

PLAY, DISCARD, COLOR, RANK = 1, 2, 3, 4  # the last move, as written in the record; 0 is "none yet"
COLORS = "RYGWB"
SMALL = (
    "deck", "dealt", "draws", "information", "tokens", "lives", "most_lives", "turn", "turns", "score", "keep", "over",
    "last", "last_seat", "last_target", "last_at", "last_card", "scored", "regained",
)  # fmt: skip
TOLD = 128  # beside the bits of what a card may be: its owner was told


@register("hanabi")
class Hanabi(ArrayGame):
    """Hanabi, for two to five players who win or lose together. You see all cards but your own.

    Cards have a color, R (red), Y (yellow), G (green), W (white) or B (blue), and a rank: R3 is the red
    three. Each color has three ones, one card of the highest rank and two of each other. Together
    you build a firework of each color: a one, on it a two, and so on. In turn each player does one of three
    things. Play a card of the own hand, by its place: if it is the next of its firework it is laid there and
    everybody earns one point, and a firework that is finished gives back an information token; else it is
    discarded and a life is lost. Discard a card, which gives back a token, unless you have all. Or spend
    a token to tell another player which of their cards have some color, or some rank; there must be
    such a card. Moves name players by how far on they sit: "tell +1 R" tells the next player which cards
    are red. Who played or discarded moves the cards behind it up, and draws one as the last. The game ends when all
    fireworks are finished; or when the deck is empty and then everybody has had one more turn; or when the
    last life is lost, and then all points are lost too.

    Args:
        players: 2 to 5.
        colors, ranks: 1 to 5; the first of both.
        hand: cards in a hand, at most 8; by default 5 for two or three players, else 4.
        information, lives: tokens and lives at the beginning.
        keep: whether points are kept when the last life is lost.

    Source: Antoine Bauza, 2010. The rules, the numbers of the moves and the features are those of the Hanabi
    Learning Environment (Nolan Bard and others, "The Hanabi challenge", 2020), after whose features come the
    turns that are left.
    """

    zero_sum = False
    version = 1
    view_is_complete = False

    def __init__(
        self,
        players: int = 2,
        colors: int = 5,
        ranks: int = 5,
        hand: int | None = None,
        information: int = 8,
        lives: int = 3,
        keep: bool = False,
    ) -> None:
        hand = (5 if players < 4 else 4) if hand is None else hand
        self._check(players, colors, ranks, hand, information, lives)
        self.seats = tuple(f"player_{k}" for k in range(players))
        self.colors, self.hand, self.keep = COLORS[:colors], hand, keep
        self.information, self.lives = information, lives
        self.copies = tuple(copies(rank, ranks) for rank in range(ranks))
        self.stake, self.outcomes = float(colors * ranks), colors * ranks
        signs = [*self.colors, *map(str, range(1, ranks + 1))]
        self.moves = tuple(
            [f"{do} {place + 1}" for do in ("discard", "play") for place in range(hand)]
            + [f"tell +{far} {sign}" for far in range(1, players) for sign in signs[:colors]]
            + [f"tell +{far} {sign}" for far in range(1, players) for sign in signs[colors:]]
        )
        cards, deck = colors * ranks, colors * sum(self.copies)
        hands = (players - 1) * hand * cards + players
        board = deck - players * hand + cards + information + lives
        last = 2 * players + 4 + colors + ranks + 2 * hand + cards + 2
        self.shape = (hands + board + deck + last + players * hand * (cards + colors + ranks) + players,)
        # Cards are kept as ranks * color + rank + 1, and what their owners know as bits of what they may be.
        self.record = np.dtype(
            [("cards", np.int8, (players, hand)), ("may_color", np.uint8, (players, hand)),
             ("may_rank", np.uint8, (players, hand)), ("fireworks", np.int8, colors),
             ("discards", np.int8, (colors, ranks)), ("left", np.int8, (colors, ranks)), ("touched", np.uint8),
             *((name, np.int8) for name in SMALL)]
        )  # fmt: skip

    @staticmethod
    def _check(players: int, colors: int, ranks: int, hand: int, information: int, lives: int) -> None:
        deck = colors * sum(copies(rank, ranks) for rank in range(ranks))
        if not (2 <= players <= 5 and 1 <= colors <= 5 and 1 <= ranks <= 5):
            wrong = f"2 to 5 players, 1 to 5 colors and ranks, not {players} players, {colors} and {ranks}"
        elif not (1 <= hand <= 8 and players * hand <= deck):
            wrong = f"hands of 1 to 8 cards, {deck} at most in all, not {players} hands of {hand}"
        elif not (0 <= information <= 50 and 1 <= lives <= 50):
            wrong = f"0 to 50 information tokens and 1 to 50 lives, not {information} and {lives}"
        else:
            return
        raise ValueError(f"hanabi needs {wrong}")

    def setup(self, s: Any) -> None:
        s.left[:] = self.copies
        s.deck = len(self.colors) * sum(self.copies)
        s.information = s.tokens = self.information
        s.lives = s.most_lives = self.lives
        s.turns, s.keep, s.draws = len(self.seats), self.keep, 1

    def forfeit(self, state: Position, losers: Mapping[Seat, Forfeit]) -> dict[Seat, float]:
        """Who gives up loses everybody's points, like the last life."""
        return dict.fromkeys(self.seats, -float(self.open(state.record).score))

    @staticmethod
    def mover(s: Any) -> int:
        if s.over:
            return OVER
        return NATURE if s.draws else s.turn

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        players, hand = s.cards.shape
        colors, ranks = s.left.shape
        spare = s.information < s.tokens
        for i in range(hand):
            held = s.cards[seat, i] > 0
            out[i] = held and spare
            out[hand + i] = held
        if s.information == 0:
            return
        for far in range(1, players):
            other = seat + far if seat + far < players else seat + far - players
            color = 2 * hand + (far - 1) * colors
            rank = 2 * hand + (players - 1) * colors + (far - 1) * ranks
            for i in range(hand):
                if s.cards[other, i]:
                    card = int(s.cards[other, i]) - 1
                    out[color + card // ranks] = 1
                    out[rank + card % ranks] = 1

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        colors, ranks = s.left.shape
        for color in range(colors):
            for rank in range(ranks):
                out[color * ranks + rank] = int(s.left[color, rank]) / int(s.deck)

    @staticmethod
    def toss(s: Any, u: float) -> int:
        colors, ranks = s.left.shape
        k = int(u * s.deck)
        for color in range(colors):
            for rank in range(ranks):
                k -= int(s.left[color, rank])
                if k < 0:
                    return color * ranks + rank  # type: ignore[no-any-return]
        return 0

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        players, hand = s.cards.shape
        if s.draws:
            draw(s, a)
            return
        seat = s.turn
        if s.deck == 0:
            s.turns -= 1
        s.last_seat = seat
        s.last_target = s.last_card = s.touched = s.scored = s.regained = 0
        if a >= 2 * hand:
            tell(s, a - 2 * hand)
        else:
            s.last, s.last_at = (DISCARD, a) if a < hand else (PLAY, a - hand)
            s.last_card = int(s.cards[seat, s.last_at])
            remove(s, seat, s.last_at)
            finish(s, pay)
        s.turn = seat + 1 if seat + 1 < players else 0
        if s.lives == 0 and not s.keep:
            for k in range(players):
                pay[k] -= s.score
            s.score = 0
        s.over = s.lives == 0 or s.score == s.left.shape[0] * s.left.shape[1] or s.turns == 0
        s.draws = a < 2 * hand and s.deck > 0 and not s.over

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        # Offsets counted from the end are known when this is compiled, and the loops come out faster.
        players, hand = s.cards.shape
        colors, ranks = s.left.shape
        turns = out.shape[0] - players
        knowledge = turns - players * hand * (colors * ranks + colors + ranks)
        last = knowledge - (2 * players + 4 + colors + ranks + 2 * hand + colors * ranks + 2)
        show_hands(s, seat, out)
        show_board(s, out, last)
        show_last(s, seat, out, last)
        show_knowledge(s, seat, out, knowledge)
        if s.deck == 0:
            for k in range(s.turns):
                out[turns + k] = 1

    def describe(self, s: Any, seat: int) -> str:
        built = " ".join(f"{c}{top}" for c, top in zip(self.colors, s.fireworks.tolist(), strict=True))
        gone = [self._name(card) for card, n in enumerate(s.discards.ravel().tolist()) for _ in range(n)]
        said = [
            f"Fireworks: {built}. Information tokens: {s.information}. Lives: {s.lives}. "
            + (f"Cards in the deck: {s.deck}." if s.deck else f"The deck is empty. Turns left: {s.turns}."),
            f"Discarded: {' '.join(gone) or 'nothing'}.",
        ]
        for far in range(len(self.seats)):
            k = (seat + far) % len(self.seats)
            cards = [self._card(s, k, i, hidden=far == 0) for i in range(self.hand) if s.cards[k, i]]
            owner = f"You ({self.seats[k]})" if far == 0 else f"{self.seats[k]} (+{far})"
            said.append(f"{owner}: {'; '.join(cards) or 'no cards'}.")
        if s.last:
            said.append(self._said(s, seat))
        return "\n".join(said)

    def _name(self, card: int) -> str:
        return f"{self.colors[card // len(self.copies)]}{card % len(self.copies) + 1}"

    def _card(self, s: Any, k: int, i: int, *, hidden: bool) -> str:
        """A card of a hand, and what its owner knows of it."""
        color, rank = int(s.may_color[k, i]), int(s.may_rank[k, i])
        colors = "".join(name for c, name in enumerate(self.colors) if color >> c & 1)
        ranks = "".join(str(r + 1) for r in range(len(self.copies)) if rank >> r & 1)
        signs = (colors if color & TOLD else "") + (ranks if rank & TOLD else "")
        told = f", told {signs}" if signs else ""
        name = "?" if hidden else self._name(int(s.cards[k, i]) - 1)
        return f"{i + 1} {name} (may be {colors} {ranks}{told})"

    def _said(self, s: Any, seat: int) -> str:
        """The last move in words."""
        who, target = ("you" if k == seat else self.seats[k] for k in (int(s.last_seat), int(s.last_target)))
        if s.last in (COLOR, RANK):
            sign = self.colors[s.last_at] if s.last == COLOR else s.last_at + 1
            places = ", ".join(str(i + 1) for i in range(self.hand) if int(s.touched) >> i & 1)
            return f"Last move: {who} told {target} of {sign}: places {places}."
        card = f"{self._name(s.last_card - 1)} from place {s.last_at + 1}"
        if s.last == DISCARD:
            return f"Last move: {who} discarded {card}."
        well = "it fits" if s.scored else "it does not fit"
        return f"Last move: {who} played {card}: {well}{', a token comes back' if s.regained else ''}."


def copies(rank: int, ranks: int) -> int:
    """How many cards of a rank each color has."""
    return 3 if rank == 0 else 1 if rank == ranks - 1 else 2


def draw(s: Any, a: int) -> None:
    """Deal card a: to fill the hands at first, then to whoever moved last."""
    players, hand = s.cards.shape
    colors, ranks = s.left.shape
    dealing = s.dealt < players * hand
    seat, at = (s.dealt // hand, s.dealt % hand) if dealing else (s.last_seat, hand - 1)
    s.cards[seat, at] = a + 1
    s.may_color[seat, at] = (1 << colors) - 1
    s.may_rank[seat, at] = (1 << ranks) - 1
    s.left[a // ranks, a % ranks] -= 1
    s.deck -= 1
    if dealing:
        s.dealt += 1
    s.draws = s.dealt < players * hand


def remove(s: Any, seat: int, at: int) -> None:
    """Take a card out of a hand; those behind it move up."""
    hand = s.cards.shape[1]
    for i in range(at, hand - 1):
        s.cards[seat, i] = s.cards[seat, i + 1]
        s.may_color[seat, i] = s.may_color[seat, i + 1]
        s.may_rank[seat, i] = s.may_rank[seat, i + 1]
    s.cards[seat, hand - 1] = s.may_color[seat, hand - 1] = s.may_rank[seat, hand - 1] = 0


def finish(s: Any, pay: Any) -> None:
    """Lay the last card on its firework, or among the discards for a token or a life."""
    ranks = s.left.shape[1]
    color, rank = (s.last_card - 1) // ranks, (s.last_card - 1) % ranks
    if s.last == DISCARD or s.fireworks[color] != rank:
        s.discards[color, rank] += 1
        s.information += s.last == DISCARD
        s.lives -= s.last == PLAY
        return
    s.fireworks[color] += 1
    s.score += 1
    s.scored = 1
    for k in range(pay.shape[0]):
        pay[k] += 1
    if rank + 1 == ranks and s.information < s.tokens:
        s.information += 1
        s.regained = 1


def tell(s: Any, a: int) -> None:
    """Tell a player of a color or a rank: what cards may be is cut down."""
    players, hand = s.cards.shape
    colors, ranks = s.left.shape
    s.information -= 1
    s.last = COLOR if a < (players - 1) * colors else RANK
    if s.last == RANK:
        a -= (players - 1) * colors
    count = colors if s.last == COLOR else ranks
    s.last_at = a % count
    other = (s.turn + 1 + a // count) % players
    s.last_target = other
    sign, touched = 1 << int(s.last_at), 0
    for i in range(hand):
        card = int(s.cards[other, i]) - 1
        if card >= 0 and s.last == COLOR:
            hit = card // ranks == s.last_at
            s.may_color[other, i] = sign | TOLD if hit else int(s.may_color[other, i]) & ~sign
            touched |= hit << i
        elif card >= 0:
            hit = card % ranks == s.last_at
            s.may_rank[other, i] = sign | TOLD if hit else int(s.may_rank[other, i]) & ~sign
            touched |= hit << i
    s.touched = touched


def show_hands(s: Any, seat: int, out: Any) -> None:
    """The other hands, nearest first, and who lacks a card."""
    players, hand = s.cards.shape
    cards = s.left.shape[0] * s.left.shape[1]
    for far in range(players):
        k = seat + far if seat + far < players else seat + far - players
        if far:
            for i in range(hand):
                if s.cards[k, i]:
                    out[((far - 1) * hand + i) * cards + int(s.cards[k, i]) - 1] = 1
        out[(players - 1) * hand * cards + far] = s.cards[k, hand - 1] == 0


def show_board(s: Any, out: Any, end: int) -> None:
    """Deck, fireworks, tokens, lives, discards."""
    players, hand = s.cards.shape
    colors, ranks = s.left.shape
    deck = colors * (3 if ranks == 1 else 2 * ranks)
    at = (players - 1) * hand * colors * ranks + players
    for i in range(min(s.deck, deck - players * hand)):
        out[at + i] = 1
    at += deck - players * hand
    for color in range(colors):
        if s.fireworks[color]:
            out[at + color * ranks + int(s.fireworks[color]) - 1] = 1
    at += colors * ranks
    for i in range(s.information):
        out[at + i] = 1
    at = end - deck - int(s.most_lives)
    for i in range(s.lives):
        out[at + i] = 1
    at = end - deck
    for color in range(colors):
        for rank in range(ranks):
            for i in range(copies(rank, ranks)):
                out[at + i] = i < s.discards[color, rank]
            at += copies(rank, ranks)


def show_last(s: Any, seat: int, out: Any, at: int) -> None:
    """The last move: who, what, to whom, color, rank, cards touched, place, card, its success, a token."""
    players, hand = s.cards.shape
    colors, ranks = s.left.shape
    if s.last == 0:
        return
    out[at + (int(s.last_seat) - int(seat) + players) % players] = 1
    out[at + players + int(s.last) - 1] = 1
    at += players + 4
    sign, place = at + players, at + players + colors + ranks
    if s.last in (COLOR, RANK):
        out[at + (int(s.last_target) - int(seat) + players) % players] = 1
        out[sign + int(s.last_at) + (colors if s.last == RANK else 0)] = 1
        for i in range(hand):
            out[place + i] = (s.touched >> i) & 1
        return
    place += hand
    out[place + int(s.last_at)] = 1
    out[place + hand + int(s.last_card) - 1] = 1
    out[place + hand + colors * ranks] = s.scored
    out[place + hand + colors * ranks + 1] = s.regained


def show_knowledge(s: Any, seat: int, out: Any, at: int) -> None:
    """Of each card in each hand, the own first: what it may be, and which color and rank were told."""
    players, hand = s.cards.shape
    colors, ranks = s.left.shape
    cards = colors * ranks
    for far in range(players):
        k = seat + far if seat + far < players else seat + far - players
        for i in range(hand):
            begin = at + (far * hand + i) * (cards + colors + ranks)
            color, rank = int(s.may_color[k, i]), int(s.may_rank[k, i])
            for c in range(colors):
                may = rank if (color >> c) & 1 else 0
                for r in range(ranks):
                    out[begin + c * ranks + r] = (may >> r) & 1
            for c in range(colors):
                out[begin + cards + c] = (color >> c) & (color >> 7)
            for r in range(ranks):
                out[begin + cards + colors + r] = (rank >> r) & (rank >> 7)
