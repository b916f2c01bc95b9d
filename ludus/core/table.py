"""A table: one live game.

Chance, seats that move together, forfeits and pay are settled here, once, for the loop, for replay
and for the doors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ludus.core.episode import End
from ludus.core.errors import IllegalMove, RecordError
from ludus.core.game import CHANCE, Forfeit, Game, Move, Seat

Pay = dict[Seat, float]
_NATURE = (CHANCE,)  # whose turn it is where chance decides


def chance_stream(seed: int) -> np.random.Generator:
    """Nature's generator: a function of the seed alone."""
    return np.random.default_rng(np.random.SeedSequence(seed))


def seat_stream(seed: int, sample: int, index: int) -> np.random.Generator:
    """The generator of the seat with this index: a function of seed, sample and seat."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(sample, index)))


class Table:
    """One game in progress.

    `waiting` names the seats that owe a move. `put(seat, move)` lays one down and returns what
    every seat earned by it: nothing while others still owe theirs.

    Args:
        game: the rules.
        seed: decides chance.
        chance: recorded outcomes to use instead of drawing; they must be possible.

    Attributes:
        state: the game's state.
        chance: nature's outcomes so far.
        returns: what each seat has earned so far.
        laid: moves laid down by seats that wait for others.
        opening: what was earned before any decision.
        turn: the seats whose turn it is by the rules.
        waiting: those of them that still owe a move, in the order of `turn`; nobody once the game has ended.
        end: None while the game goes on.
    """

    def __init__(self, game: Game[Any], seed: int, chance: Iterator[int] | None = None) -> None:
        self.game, self.seed = game, seed
        self.state: Any = None
        self._rng: np.random.Generator | None = None
        self._given = chance
        self.chance: list[int] = []
        self.returns: Pay = dict.fromkeys(game.players, 0.0)
        self.end: End | None = None
        self.laid: dict[Seat, Move] = {}
        self.turn: tuple[Seat, ...] = ()
        self.waiting: tuple[Seat, ...] = ()
        self._losers: dict[Seat, Forfeit] = {}
        self._prices: dict[Seat, tuple[float, float]] = {}
        self.opening: Pay = {}
        self._settle(game.begin(self._stream), self.opening)

    def put(self, seat: Seat, move: Move, price: tuple[float, float] | None = None) -> Pay:
        """Lay down a seat's move; when nobody owes one any more, play them.

        Args:
            seat: who moves.
            move: its move.
            price: where the move is a forfeit, what the seat earns by it and what the other player does,
                if that is not for the game to say.

        Raises:
            IllegalMove: the seat does not owe a move. Whether the move is legal is for the caller.
        """
        if seat not in self.waiting:
            raise IllegalMove(
                f"{self.game.id}: {seat} owes no move; waiting for {', '.join(self.waiting) or 'nobody'}"
            )
        self.laid[seat] = move
        if isinstance(move, Forfeit):
            self._losers[seat] = move
            if price is not None:
                self._prices[seat] = price
        self.waiting = tuple(one for one in self.waiting if one != seat) if len(self.waiting) > 1 else ()
        if self.waiting and not self.game.independent:
            return {}
        moves, self.laid = self.laid, {}
        return self._play(moves)

    def _stream(self) -> np.random.Generator:
        """Nature's generator, made when it is first drawn from."""
        if self._rng is None:
            self._rng = chance_stream(self.seed)
        return self._rng

    def stop(self, end: End) -> None:
        """End the game here: cut, or voided by an error."""
        self.end, self.waiting = end, ()

    def _play(self, moves: Mapping[Seat, Move]) -> Pay:
        paid: Pay = {}
        if self._losers:
            losers, self._losers = self._losers, {}
            price = self._forfeited(losers)
            if price is not None:
                self._pay(price, paid)
                self.stop("forfeit")
                return paid
        state = self.game.play(self.state, moves)
        if payoff := self.game.payoff(state):
            self._pay(payoff, paid)
        self._settle(state, paid)
        return paid

    def _forfeited(self, losers: Mapping[Seat, Forfeit]) -> Pay | None:
        """What a forfeit pays: the game's price, and over it what was named; None if the game goes on."""
        named, self._prices = self._prices, {}
        price = self.game.forfeit(self.state, losers)
        if price is None:
            return None
        paid = dict(price)
        for seat in named.keys() & losers.keys():
            own, other = named[seat]
            paid |= {who: other for who in self.game.players if who not in losers} | {seat: own}
        return paid

    def _settle(self, state: Any, paid: Pay) -> None:
        """Let nature move until a seat must or the game is over."""
        game = self.game
        turn = game.turn(state)
        while turn == _NATURE:
            if self._given is None:
                outcome, state = game.happen(state, self._stream())
            else:
                outcome = self._recorded(state, self._given)
                state = game.play(state, {CHANCE: outcome})
            self.chance.append(outcome)
            if payoff := game.payoff(state):
                self._pay(payoff, paid)
            turn = game.turn(state)
        self.state, self.turn, self.waiting = state, turn, turn
        if not turn:
            self.end = "cut" if game.cut(state) else "over"

    def _recorded(self, state: Any, given: Iterator[int]) -> int:
        outcome, possible = next(given, None), [outcome for outcome, _ in self.game.chance(state)]
        if outcome is None or outcome not in possible:
            raise RecordError(f"{self.game.id}: chance cannot give {outcome!r} here; possible are {possible}")
        return int(outcome)

    def _pay(self, payoff: Mapping[Seat, float], paid: Pay) -> None:
        for seat, amount in payoff.items():
            self.returns[seat] = self.returns.get(seat, 0.0) + float(amount)
            paid[seat] = paid.get(seat, 0.0) + float(amount)


class Credit:
    """What each decision earned: pay belongs to its seat's last decision, or came before its first.

    Attributes:
        rewards: what each decision has earned so far, in the order of `decide`.
        early: what seats earned before their first decision.
    """

    def __init__(self, opening: Pay) -> None:
        self.rewards: list[float] = []
        self.early: Pay = dict(opening)
        self.last: dict[Seat, int] = {}

    def decide(self, seat: Seat) -> None:
        """A seat has decided."""
        self.last[seat] = len(self.rewards)
        self.rewards.append(0.0)

    def pay(self, paid: Pay) -> None:
        """Book what every seat has earned."""
        for seat, amount in paid.items():
            if seat in self.last:
                self.rewards[self.last[seat]] += amount
            else:
                self.early[seat] = self.early.get(seat, 0.0) + amount
