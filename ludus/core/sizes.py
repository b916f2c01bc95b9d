"""How many positions a game has, from random games: before anybody makes a table of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.compiled import kernel
from ludus.core.game import CHANCE, Choice, Game, Move, Seat

DESCENT = 10_000  # positions in all that an estimate goes by
LONG = 1000  # moves after which random games tell no more
FAR = 2  # powers of ten by which an estimated tree must be too large: the estimate spreads


def clearly_more(game: Game[Any], limit: int, *, unfold: bool) -> bool:
    """Whether random games show that a game has more positions than `limit`, or its tree if it is unfolded.

    Of compiled array games positions are counted: of N games that go on after so many moves, the fewest are at one
    position with another if all positions that there are, at most `limit`, are as likely: N² / 2 limit, Poisson
    distributed, and at least 100 here. So a game that fits is taken for a larger one, with 20 or fewer, once in 10^20
    times. Of other games the tree is estimated.
    """
    if not isinstance(game, ArrayGame) or not kernel(game).COMPILED:
        return unfold and estimated(game) > math.log10(limit) + FAR
    enough, steps = math.isqrt(200 * limit) + 1, 1
    many = Batch(game, 3 * enough // 2, autoreset="disabled")
    while steps < LONG:
        many.stroll(steps)
        steps *= 2
        going = many.records[~many.done]
        if len(going) < enough:
            return False
        if len(going) - len(set(_digests(going).tolist())) <= 20:
            return True
    return False


def _digests(records: NDArray[Any]) -> NDArray[np.uint64]:
    """(N,) a number for each record: where two differ, so do the records."""
    octets = records.view(np.uint8).reshape(len(records), -1)
    words = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 8))).view(np.uint64)
    factors = np.random.default_rng(0).integers(1 << 63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    digests: NDArray[np.uint64] = ((words ^ (words >> 32)) * factors).sum(1, dtype=np.uint64)
    return digests


def estimated(game: Game[Any], *, games: int = 100, seed: int = 0) -> float:
    """The decimal logarithm of about how many positions the game's tree has, from random games.

    Of long games fewer are played, and each is cut after a tenth of all the positions that are gone by.

    Source: D. E. Knuth, "Estimating the efficiency of backtrack programs", 1975: the mean, over random descents,
    of the sum of the products of how many ways there were so far.
    """
    rng, sums, gone, crew = np.random.default_rng(seed), [-np.inf], 0, game.crew()
    while len(sums) <= games and gone < DESCENT:
        state = game.start(rng)
        ways, total = 0.0, -np.inf  # logarithms: chess has more than a float holds
        for _ in range(DESCENT // 10):
            total, gone = np.logaddexp(total, ways), gone + 1
            if not (turn := game.turn(state)):
                break
            moves: dict[Seat, Move] = {}
            for seat in turn:
                options = None if seat == CHANCE else game.options(state, seat)
                if options is None:
                    outcomes = [outcome for outcome, _ in game.chance(state)]
                    moves[seat], ways = outcomes[rng.integers(len(outcomes))], ways + np.log(len(outcomes))
                else:
                    moves[seat] = game.sample(state, seat, rng)
                    if isinstance(options, Choice) and seat not in crew:
                        ways += np.log(int(options.legal.sum()))
            state = game.play(state, moves)
        sums.append(total)
    return float((np.logaddexp.reduce(sums) - np.log(len(sums) - 1)) / np.log(10))
