"""Backgammon, one checker at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ludus.core.array_game import NATURE, OVER, ArrayGame
from ludus.core.errors import UnknownName
from ludus.core.registry import register

# Places as a player counts them: 0 is off the board, 1 to 24 are the points, 25 is the bar; p of the one player is
# 25 - p of the other. Sets of places are bits.
BAR = 25
POINTS = (1 << BAR) - 2
HOME = (1 << 7) - 1
PASS = 6 * BAR
SCORING = ("winloss", "gammons", "full")
START = {24: 2, 13: 5, 8: 3, 6: 5}
HYPER = {24: 1, 23: 1, 22: 1}


@register("backgammon")
class Backgammon(ArrayGame):
    """Backgammon without the doubling cube: bring all your checkers home and off the board first.

    Each player counts the points from 24 down to 1, the way that own checkers go; point p of the one is point 25 - p
    of the other. For the first turn each player throws a die, again if they are equal, and whoever has thrown more
    plays both; then the players throw two dice in turn. Each die moves one checker so many points down; equal dice are
    played twice each. A checker may not land where the other has two or more; if the other has one there, this goes to
    the bar. Who has checkers on the bar must first bring them in, from 25. Who has all checkers on the points 1 to 6
    may bear them off, with a die of exactly their point, or a higher one if none is on a higher point. As many dice
    must be played as can be; if either, but not both, the higher one. Who can play none, or no more, passes.

    Moves name from and to: 13/8, bar/20, 6/off; 4/off(6) bears off with a die higher than the point. Who has all
    checkers off wins 1. Depending on the scoring a gammon (the loser has borne off none) wins 2, and a backgammon (and
    has one on the bar or in the winner's home) wins 3. After so many turns the game is drawn.

    Source: the rules are those of OpenSpiel's backgammon, where one action is two checkers' moves; moves are those of
    Pgx (Koyamada et al. 2023, arXiv 2303.17503), whose rules do not ask for as many dice as can be played. OpenSpiel's
    hyper_backgammon pays nobody (it waits for fifteen checkers); here who wins is paid 1. Its max_player_turns is one less
    than our turns.

    Args:
        scoring: "winloss"; "gammons", which count 2; "full", backgammons count 3.
        hyper: whether there are only three checkers each, on the points 24, 23 and 22; always one point to win.
        turns: after so many turns the game is drawn.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1
    outcomes = 36  # 6 (x - 1) + y - 1 for dice x and y: in the first throw of player_0 and 1, then the higher and lower
    # Sets of places, as each seat counts: held by own checkers, by a lone one, by two or more of the other.
    record = np.dtype(
        [("checkers", np.int8, (2, 26)), ("held", np.int32, 2), ("single", np.int32, 2), ("closed", np.int32, 2),
         ("dice", np.int8, 2), ("left", np.int8, 2), ("turns", np.int16), ("limit", np.int16), ("best", np.int8),
         ("turn", np.int8), ("over", np.int8)]
    )  # fmt: skip
    moves = (
        *(
            f"{'bar' if place == BAR else place}/"
            + (str(place - die) if place > die else "off" if place == die else f"off({die})")
            for place in range(1, BAR + 1)
            for die in range(1, 7)
        ),
        "pass",
    )
    # Own checkers less the other's on the points 24 to 1; on the bar and off, own ones, less the other's; how often
    # each die from 1 to 6 is still to be played; whether it is the own turn; turns so far.
    shape = (36,)
    dtype = "int16"

    def __init__(self, scoring: str = "winloss", hyper: bool = False, turns: int = 500) -> None:
        if scoring not in SCORING:
            raise UnknownName("scoring of backgammon", scoring, SCORING)
        if not 1 <= turns <= 30_000:
            raise ValueError(f"backgammon needs 1 to 30,000 turns, not {turns}")
        self.scoring, self.hyper, self.turns = scoring, hyper, turns
        self.best = 1 if hyper else 1 + SCORING.index(scoring)  # what a game may be worth
        self.stake = float(self.best)

    def setup(self, s: Any) -> None:
        s.best, s.limit = self.best, self.turns
        for place, count in (HYPER if self.hyper else START).items():
            s.checkers[:, place] = count
            for seat in range(2):
                note(s, seat, place)

    @staticmethod
    def mover(s: Any) -> int:
        if s.over:
            return OVER
        return s.turn if s.left[0] + s.left[1] > 0 else NATURE

    @staticmethod
    def odds(s: Any, out: Any) -> None:
        for x in range(6):
            for y in range(6):
                if s.turns == 0:
                    out[6 * x + y] = (x != y) / 30.0
                else:
                    out[6 * x + y] = ((x >= y) + (x > y)) / 36.0

    @staticmethod
    def toss(s: Any, u: float) -> int:
        if s.turns == 0:
            x, y = int(30 * u) // 5, int(30 * u) % 5
            return 6 * x + y + (y >= x)
        x, y = int(36 * u) // 6, int(36 * u) % 6
        return 6 * max(x, y) + min(x, y)

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        high, low = int(s.dice[0]), int(s.dice[1])
        held, free = int(s.held[seat]), POINTS & ~int(s.closed[seat])
        first = playable(held, free, high) if s.left[0] else 0
        second = playable(held, free, low) if s.left[1] else 0
        # With equal dice no move takes a later one away: each checker has but one move, which others' moves leave be.
        if s.left[0] and s.left[1]:
            both = followed(first, held, int(s.single[seat]), free, high, low)
            other = followed(second, held, int(s.single[seat]), free, low, high)
            if both or other:
                first, second = both, other
            elif first:
                second = 0
        if not (first or second):
            out[PASS] = 1
            return
        for place in range(1, BAR + 1):
            if s.left[0]:
                out[6 * place - 7 + high] = (first >> place) & 1
            if s.left[1]:
                out[6 * place - 7 + low] = (second >> place) & 1

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        if s.left[0] + s.left[1] == 0:
            throw(s, a // 6 + 1, a % 6 + 1)
            return
        if a == PASS:
            s.left[:] = 0
        else:
            die = a % 6 + 1
            s.left[0 if die == s.dice[0] else 1] -= 1
            carry(s, a // 6 + 1, die)
        if s.held[s.turn] == 0:
            s.left[:] = 0
            s.over = 1
            won = worth(s)
            pay[s.turn] += won
            pay[1 - s.turn] -= won
        elif s.left[0] + s.left[1] == 0:
            s.turn = 1 - s.turn
            s.turns += 1
            s.over = s.turns == s.limit
        if s.left[0] + s.left[1] == 0:
            s.dice[:] = 0

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        other = 1 - seat
        for i in range(24):
            out[i] = s.checkers[seat, 24 - i] - s.checkers[other, 1 + i]
        out[24], out[25] = s.checkers[seat, BAR], -s.checkers[other, BAR]
        out[26], out[27] = s.checkers[seat, 0], -s.checkers[other, 0]
        for i in range(2):
            if s.left[i]:
                out[27 + s.dice[i]] = s.left[i]
        out[34] = seat == s.turn
        out[35] = s.turns

    def describe(self, s: Any, seat: int) -> str:
        own, other = s.checkers[seat].tolist(), s.checkers[1 - seat].tolist()[::-1]
        points = [
            f"{p}: {own[p]} {'yours' if own[p] else 'theirs'}" if own[p] else f"{p}: {other[p]} theirs"
            for p in range(24, 0, -1)
            if own[p] or other[p]
        ]
        dice = ", ".join(
            str(die) for die, left in zip(s.dice.tolist(), s.left.tolist(), strict=True) for _ in range(left)
        )
        whose = "It is your turn" if seat == s.turn else "It is the other's turn"
        return (
            f"Points: {', '.join(points)}.\n"
            f"On the bar: {own[BAR]} yours, {other[0]} theirs. Off: {own[0]} yours, {other[BAR]} theirs.\n"
            f"{whose}; dice to play: {dice or 'none'}. Turns so far: {s.turns} of {self.turns}."
        )


def throw(s: Any, x: int, y: int) -> None:
    """Lay down two dice, the higher first; the first throw says who begins."""
    if s.turns == 0:
        s.turn = y > x
    s.dice[0], s.dice[1] = max(x, y), min(x, y)
    s.left[0], s.left[1] = (4, 0) if x == y else (1, 1)


def playable(held: int, free: int, die: int) -> int:
    """From which of the places held a checker may be moved by a die, if it may land where it is free."""
    if held >> BAR:
        held = 1 << BAR
    found = held & (free << die)
    if held <= HOME:
        exact = 1 << die
        if held >= exact:
            found |= held & exact
        else:
            while exact & held == 0:
                exact >>= 1
            found |= exact
    return found


def followed(starts: int, held: int, single: int, free: int, die: int, other: int) -> int:
    """From which of these places a checker may be moved by a die such that the other die can be played then."""
    found = 0
    while starts:
        start = starts & -starts
        starts ^= start
        after = (held & ~(start & single)) | (start >> die & ~1)
        if after and playable(after, free, other):
            found |= start
    return found


def carry(s: Any, start: int, die: int) -> None:
    """Move a checker of the player whose turn it is, and what it hits."""
    seat, other, end = s.turn, 1 - s.turn, max(start - die, 0)
    s.checkers[seat, start] -= 1
    s.checkers[seat, end] += 1
    note(s, seat, start)
    note(s, seat, end)
    if end and s.checkers[other, BAR - end] == 1:
        s.checkers[other, BAR - end] = 0
        s.checkers[other, BAR] += 1
        note(s, other, BAR - end)
        note(s, other, BAR)


def note(s: Any, seat: int, place: int) -> None:
    """Enter how many checkers a seat has on a place into the sets of places; what is off is in none."""
    if place == 0:
        return
    count, bit = s.checkers[seat, place], 1 << place
    s.held[seat] = s.held[seat] | bit if count else s.held[seat] & ~bit
    s.single[seat] = s.single[seat] | bit if count == 1 else s.single[seat] & ~bit
    across = 1 << (BAR - place)
    s.closed[1 - seat] = s.closed[1 - seat] | across if count > 1 else s.closed[1 - seat] & ~across


def worth(s: Any) -> int:
    """What the player whose turn it is has won: 1, or 2 for a gammon, 3 for a backgammon, if they count."""
    loser = 1 - s.turn
    if s.checkers[loser, 0] or s.best == 1:
        return 1
    return min(int(s.best), 3 if s.held[loser] >> 19 else 2)
