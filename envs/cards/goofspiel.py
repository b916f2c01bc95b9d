"""Goofspiel: sealed bids for prizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, TOGETHER, ArrayGame
from ludus.core.errors import UnknownName
from ludus.core.registry import register

ORDERS, RETURNS = ("random", "ascending", "descending"), ("win_loss", "point_difference", "total_points")


@register("goofspiel")
class Goofspiel(ArrayGame):
    """Goofspiel, also called the Game of Pure Strategy. Each player holds the cards 1, 2, 3 and so on.

    Prizes of the same values are turned up one by one. For each, all players bid one card of their hand at the same
    time. The highest bid takes the prize; where the highest bids are equal, nobody does. A card that was bid is gone.
    With the last prize there is no choice: it goes to the highest of the last cards. In the end whoever has won the most points wins.

    Source: Merrill Flood, 1930s; Ross 1971; the rules are those of OpenSpiel's goofspiel.

    Args:
        cards: of each player, and as many prizes: 2 to 16.
        players: 2 to 6.
        order: how prizes are turned up: "random", "ascending" or "descending".
        imperfect: whether bids are never shown, only who took each prize.
        returns: "win_loss": 1 shared by the winners, the others lose 1 together; "point_difference": points less
            the mean of all; "total_points".
    """

    version = 1

    def __init__(
        self,
        cards: int = 13,
        players: int = 2,
        order: str = "random",
        imperfect: bool = False,
        returns: str = "win_loss",
    ) -> None:
        if not (2 <= cards <= 16 and 2 <= players <= 6):
            raise ValueError(f"goofspiel needs 2 to 16 cards and 2 to 6 players, not {cards} and {players}")
        if order not in ORDERS:
            raise UnknownName("order of goofspiel", order, ORDERS)
        if returns not in RETURNS:
            raise UnknownName("returns of goofspiel", returns, RETURNS)
        self.cards, self.order, self.imperfect, self.returns = cards, order, imperfect, returns
        self.zero_sum = returns != "total_points"
        points = cards * (cards + 1) / 2
        self.stake = {"win_loss": 1.0, "point_difference": points / players, "total_points": points}[returns]
        self.seats = tuple(f"player_{k}" for k in range(players))
        self.moves = tuple(str(card + 1) for card in range(cards))
        self.outcomes = cards if order == "random" else 0
        self.record = np.dtype(
            [("bids", np.int8, (players, cards)), ("prizes", np.int8, cards), ("takers", np.int8, cards),
             ("points", np.int16, players), ("played", np.int8), ("order", np.int8), ("hidden", np.int8),
             ("returns", np.int8)]
        )  # fmt: skip
        # Of each round: the prize (a card), who took it (own, each other in turn, nobody), own bid, and the others'
        # bids where those are shown.
        self.shape = (cards * (cards + players + 1 + cards + (0 if imperfect else (players - 1) * cards)),)

    def setup(self, s: Any) -> None:
        s.order, s.hidden = ORDERS.index(self.order), self.imperfect
        s.returns = RETURNS.index(self.returns)
        if self.order != "random":
            s.prizes[0] = 1 if self.order == "ascending" else self.cards

    @staticmethod
    def mover(s: Any) -> int:
        if s.played == s.prizes.shape[0]:
            return OVER
        return TOGETHER if s.prizes[s.played] else NATURE

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        out[:] = 1
        for i in range(s.played):
            out[s.bids[seat, i] - 1] = 0

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        left = out.shape[0] - s.played
        out[:] = 1.0 / left
        for i in range(s.played):
            out[s.prizes[i] - 1] = 0.0

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        s.prizes[s.played] = a + 1

    @staticmethod
    def joint(s: Any, actions: Any, pay: Any) -> None:
        for k in range(s.bids.shape[0]):
            s.bids[k, s.played] = actions[k] + 1
        take(s, pay)

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        players, cards = s.bids.shape
        wide = 2 * cards + players + 1 + (0 if s.hidden else (players - 1) * cards)
        for i in range(cards):
            at = i * wide
            if s.prizes[i]:
                out[at + int(s.prizes[i]) - 1] = 1
            if i < s.played:
                taker = int(s.takers[i])
                out[at + cards + ((taker - 1 - seat) % players if taker else players)] = 1
                out[at + cards + players + int(s.bids[seat, i])] = 1
                for k in range(1, players):
                    if not s.hidden:
                        bid = int(s.bids[(seat + k) % players, i])
                        out[at + (1 + k) * cards + players + bid] = 1

    def describe(self, s: Any, seat: int) -> str:
        players = len(self.seats)
        told = []
        for i in range(s.played):
            taker = int(s.takers[i])
            by = "nobody" if not taker else "you" if taker - 1 == seat else self.seats[taker - 1]
            bids = [f"you bid {s.bids[seat, i]}"]
            if not self.imperfect:
                bids += [f"{self.seats[k]} {s.bids[k, i]}" for k in range(players) if k != seat]
            told.append(f"Prize {s.prizes[i]}: {', '.join(bids)}; taken by {by}.")
        if s.played < self.cards and s.prizes[s.played]:
            told.append(f"The prize is now {s.prizes[s.played]}.")
        return " ".join(told) or "No prize is turned up yet."


def last_bids(s: Any) -> None:
    """Turn up the only prize that is left; everybody bids their only card."""
    players, cards = s.bids.shape
    prize = cards * (cards + 1) // 2
    for i in range(s.played):
        prize -= int(s.prizes[i])
    s.prizes[s.played] = prize
    for k in range(players):
        left = cards * (cards + 1) // 2
        for i in range(s.played):
            left -= int(s.bids[k, i])
        s.bids[k, s.played] = left


def take(s: Any, pay: Any) -> None:
    """Give the prize to the highest bid, go on to the next round, and pay after the last."""
    players, cards = s.bids.shape
    while True:
        highest, taker = 0, 0
        for k in range(players):
            bid = int(s.bids[k, s.played])
            if bid == highest:
                taker = 0
            elif bid > highest:
                highest, taker = bid, k + 1
        s.takers[s.played] = taker
        if taker:
            s.points[taker - 1] += s.prizes[s.played]
        s.played += 1
        if s.played == cards:
            pay_points(s, pay)
            return
        if s.played < cards - 1:
            if s.order:
                s.prizes[s.played] = s.played + 1 if s.order == 1 else cards - s.played
            return
        last_bids(s)


def pay_points(s: Any, pay: Any) -> None:
    """What everybody earns in the end."""
    players = s.points.shape[0]
    most, ahead, total = -1, 0, 0
    for k in range(players):
        points = int(s.points[k])
        total += points
        ahead = 1 if points > most else ahead + (points == most)
        most = max(most, points)
    for k in range(players):
        points = int(s.points[k])
        if s.returns == 2:
            pay[k] += points
        elif s.returns == 1:
            pay[k] += points - total / players
        elif ahead < players:
            pay[k] += 1.0 / ahead if points == most else -1.0 / (players - ahead)
