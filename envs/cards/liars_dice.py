"""Liar's dice for two players."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.registry import register


@register("liars_dice")
class LiarsDice(ArrayGame):
    """Liar's dice, for two players, who roll their dice under a cup and see only their own.

    In turn, player_0 first, each makes a bid about all the dice together: 2x5 says that there are
    at least two fives. The highest face is wild and counts as every face. A bid must be higher
    than the last one: more dice, or as many with a higher face. Instead of bidding you may call
    the last bid a lie: then all dice are shown, and if there are as many as was bid, the bidder wins
    one from you, else you win one.

    Source: the rules are those of OpenSpiel's liars_dice. Value to player_0 with one die of six
    faces: about -.0278.
    """

    seats = ("player_0", "player_1")
    zero_sum = True

    def __init__(self, dice: int = 1, faces: int = 6) -> None:
        if not (1 <= dice <= 20 and 2 <= faces <= 20):
            raise ValueError(
                f"liar's dice needs 1 to 20 dice each, with 2 to 20 faces, not {dice} with {faces}"
            )
        self.dice, self.outcomes = dice, faces
        bids = 2 * dice * faces
        # Dice are kept as how many show each face, since the order in which they fell means nothing.
        self.record = np.dtype(
            [("shown", np.int16, (2, faces)), ("dice", np.int16), ("rolled", np.int16), ("bid", np.int8, bids),
             ("last", np.int16), ("count", np.int16), ("called", np.int16)]
        )  # fmt: skip
        self.moves = (*(f"{b // faces + 1}x{b % faces + 1}" for b in range(bids)), "liar")
        self.shape = (
            faces + bids + 1,
        )  # how many own dice show each face; bids made; whether a lie was called

    def setup(self, s: Any) -> None:
        s.dice = self.dice
        s.last = -1

    @staticmethod
    def mover(s: Any) -> int:
        if s.rolled < 2 * s.dice:
            return NATURE
        return OVER if s.called else s.count % 2

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        for a in range(s.last + 1, out.shape[0] - 1):
            out[a] = 1
        out[out.shape[0] - 1] = s.last >= 0

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        out[:] = 1.0 / out.shape[0]

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        faces = s.shown.shape[1]
        if s.rolled < 2 * s.dice:
            s.shown[s.rolled // s.dice, a] += 1
            s.rolled += 1
        elif a < s.bid.shape[0]:
            s.bid[a] = 1
            s.last = a
            s.count += 1
        else:
            s.called = 1
            face, wild, count = s.last % faces, faces - 1, 0
            for seat in range(2):
                count += s.shown[seat, face] + (s.shown[seat, wild] if face != wild else 0)
            caller = s.count % 2
            winner = 1 - caller if count > s.last // faces else caller
            pay[winner] += 1
            pay[1 - winner] -= 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        faces, bids = s.shown.shape[1], s.bid.shape[0]
        for face in range(faces):
            out[face] = s.shown[seat, face]
        for a in range(bids):
            out[faces + a] = s.bid[a]
        out[faces + bids] = s.called

    def describe(self, s: Any, seat: int) -> str:
        own = [str(face + 1) for face, count in enumerate(s.shown[seat].tolist()) for _ in range(count)]
        bids = [name for name, made in zip(self.moves, s.bid.tolist(), strict=False) if made]
        shows = f"Your {'die shows' if self.dice == 1 else 'dice show'} {', '.join(own)}."
        said = f"Bids so far: {', '.join(bids)}." if bids else "No bids so far."
        return f"{shows if own else 'Nothing is rolled yet.'} {said}{' Liar called.' if s.called else ''}"
