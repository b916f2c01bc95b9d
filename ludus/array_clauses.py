"""The clause of array games: their compiled rules do what the scalar rules do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.clauses import Moment, Skip, clause, require
from ludus.core.array_game import ArrayGame, Position
from ludus.core.compiled import compiling, kernel, odds_for, opened
from ludus.core.game import CHANCE, Game
from ludus.core.tables import expand, rows_at_once

MOVES = 32  # tried at most in a position, evenly spread over those that are possible
JOINT_MOVES = 256  # tried at most in a position where seats move together
TOSSES = 400  # of each of nature's moves


@clause
def clause_arrays(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The compiled rules of an array game do what the scalar rules do, for every move (of many, for some)."""
    if not isinstance(game, ArrayGame):
        raise Skip("not an array game")
    unique, rows = list({m.state.record: m for m in walk}.values()), rows_at_once(game)
    for low in range(0, len(unique), rows):
        _check_moves(game, unique[low : low + rows])


def _check_moves(game: ArrayGame, moments: Sequence[Moment]) -> None:
    """Compare compiled moves with scalar ones in some positions, all of which are expanded together."""
    records = np.frombuffer(b"".join(m.state.record for m in moments), game.record).copy()
    after, pay, _, mask, _ = expand(game, records)
    for i, m in enumerate(moments):
        turn = game.turn(m.state)
        if len(turn) > 1:
            _check_joint(game, m)
        if len(turn) != 1:
            continue
        moves = (
            [o for o, _ in game.chance(m.state)]
            if turn == (CHANCE,)
            else np.flatnonzero(game.options(m.state, turn[0]).legal)
        )
        if turn == (CHANCE,):
            _check_toss(game, m)
        seen = np.flatnonzero(mask[i])
        require(seen.tolist() == list(moves), game, m, f"compiled moves {seen}")
        for move in moves[:: -(-len(moves) // MOVES)]:
            scalar = game.play(m.state, {turn[0]: int(move)})
            compiled = Position(after[i, move].tobytes(), tuple(float(x) for x in pay[i, move]))
            require(scalar == compiled, game, m, f"move {move}: scalar {scalar}, compiled {compiled}")


def _check_toss(game: ArrayGame, m: Moment) -> None:
    """Where the game tosses by itself, its outcomes come with their odds, as u goes from 0 to 1 in even steps."""
    if type(game).toss is ArrayGame.toss:
        return
    s = game.open(m.state.record)
    shares, u = np.zeros(game.outcomes), (np.arange(TOSSES) + 0.5) / TOSSES
    for each in u.tolist():
        shares[game.toss(s, each)] += 1 / TOSSES
    odds = np.zeros(game.outcomes)
    game.odds(s, odds)
    require(
        np.allclose(shares, odds, atol=2 / TOSSES), game, m, f"tosses come as {shares}, their odds are {odds}"
    )


def _check_joint(game: ArrayGame, m: Moment) -> None:
    """Lay down joint moves seat by seat, as batches do, and compare with one scalar `play`."""
    legal = [np.flatnonzero(game.options(m.state, seat).legal).tolist() for seat in game.seats]
    joint = list(itertools.islice(itertools.product(*legal), JOINT_MOVES))
    rows = _Rows(game, m.state.record, len(joint))
    for k, seat in enumerate(game.seats):
        seen = np.flatnonzero(rows.mask[0]).tolist()
        require(k == 0 or seen == legal[k], game, m, f"compiled moves {seen} of {seat}")
        rows.lay([moves[k] for moves in joint])
    for i, moves in enumerate(joint):
        after = game.play(m.state, dict(zip(game.seats, moves, strict=True)))
        compiled = (rows.states[i].tobytes(), rows.pay[i])
        found = any(
            record == compiled[0] and np.allclose(pay, compiled[1], atol=1e-5)
            for record, pay in _settled(game, after, np.zeros(len(game.seats)))
        )
        require(found, game, m, f"joint move {moves}: scalar {after}, compiled {compiled}")


class _Rows:
    """N rows in one position, stepped by the game's compiled loop."""

    def __init__(self, game: ArrayGame, record: bytes, n: int) -> None:
        k = len(game.seats)
        self.game, self.n = game, n
        self.states = np.frombuffer(record * n, game.record).copy()
        self.mask, self.pay = np.zeros((n, len(game.moves)), np.uint8), np.zeros((n, k), np.float32)
        self._aside, self._waiting = np.zeros((n, k), np.int32), np.zeros(n, np.int8)
        self._streams, self._who = np.arange(n, dtype=np.uint64), np.zeros(n, np.int8)
        self._done = np.zeros(n, np.bool_)
        self._seen = np.zeros((n, *game.shape), game.dtype)

    def lay(self, moves: Sequence[int]) -> None:
        """Lay down the next seat's move (N,) in every row; after the last seat's, nature settles."""
        loops = kernel(self.game)
        states, first = opened(loops, self.states), opened(loops, self.game.first)
        with compiling(type(self.game).__name__):
            loops.forward(
                states, first, np.array(moves, np.int32), self._aside, self._waiting, self._streams, self._seen,
                self.mask, self.pay, self._done, self._who, odds_for(self.game, self.n), False, 0, self.n,
            )  # fmt: skip


def _settled(game: ArrayGame, position: Position, paid: NDArray[Any]) -> list[tuple[bytes, NDArray[Any]]]:
    """Where nature may take a position before a seat is asked again, and what is paid on the way."""
    paid = paid + np.array(position.paid)
    if game.turn(position) != (CHANCE,):
        return [(position.record, paid)]
    nature = [game.play(position, {CHANCE: outcome}) for outcome, _ in game.chance(position)]
    return [landing for after in nature for landing in _settled(game, after, paid)]
