"""Compiled alpha-beta over array games of perfect information without chance, two players and zero sum.

Shape letters: D plies, A moves, K seats, B bytes of a record, T places of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.agents.attached import attached
from ludus.agents.search import Searcher, searchable
from ludus.core.agent import Decision, Request
from ludus.core.array_game import ArrayGame
from ludus.core.compiled import called, kernel, opened
from ludus.core.errors import ConfigError, ContractError
from ludus.core.game import Game
from ludus.core.registry import register_agent

DEEPEST = 200  # plies, where no depth is given
PLACES = 262_139  # of the table, a prime
# What is known of a position: its value lies between low and high, searched so deep, in the search numbered `age`.
ENTRY = np.dtype(
    [("key", np.uint64), ("low", np.float64), ("high", np.float64), ("age", np.int32), ("depth", np.int16),
     ("move", np.int16)]
)  # fmt: skip

# A ply of the search: its window, what was found, what the move at hand earned and whether the mover moves again.
FRAME = np.dtype(
    [("alpha", np.float64), ("beta", np.float64), ("first", np.float64), ("best", np.float64), ("gain", np.float64),
     ("key", np.uint64), ("horizons", np.int64), ("mover", np.int32), ("chosen", np.int32), ("move", np.int32),
     ("hint", np.int32), ("again", np.int32)]
)  # fmt: skip


class Room(NamedTuple):
    """The arrays of a search.

    Attributes:
        stack: (D + 1,) records, and raw: (D + 1, B) uint8, their bytes.
        mask: (D + 1, A) uint8; pay: (D + 1, K) float32.
        history: (K, A) float64, how often a move has cut off others.
        frames: (D + 1,) of type `FRAME`.
        table: (T,) of type `ENTRY`.
        tally: (6,) int64: positions searched, how many may be, whether that was reached, how often the search stopped at its
            horizon, its number, and whether somebody was to move and had no legal move.
    """

    stack: Any
    raw: Any
    mask: Any
    pay: Any
    history: Any
    frames: Any
    table: Any
    tally: Any


class Answer(NamedTuple):
    """What a search found.

    Attributes:
        best: (A,) bool, the best moves.
        value: what the mover earns from here on by one of them; 0 stands for what lies beyond the horizon.
        depth: how many plies were searched in full; 0 if the budget ended before the first.
        complete: whether that was to the end, and the value therefore exact.
    """

    best: NDArray[np.bool_]
    value: float
    depth: int
    complete: bool


class AlphaBetaSearch:
    """Alpha-beta with a table of positions and iterative deepening under a budget.

    Every search begins with an empty table, so that an answer depends on nothing but the position.

    Args:
        game: an array game of perfect information without chance, two players and zero sum.
        nodes: positions searched at most.
        depth: plies at most; None looks as far as the budget lasts.
        places: of the table, 32 bytes each.

    Raises:
        ConfigError: the game cannot be searched like this.
        ValueError: a number out of its range.

    Source: Knuth and Moore 1975, "An analysis of alpha-beta pruning"; deepening and the table of positions: Slate and
    Atkin 1977, "Chess 4.5"; the order of moves by history: Schaeffer 1983, "The history heuristic".
    """

    def __init__(
        self, game: ArrayGame, nodes: int = 100_000, depth: int | None = None, *, places: int = PLACES
    ) -> None:
        searchable(game)
        if game.outcomes:
            raise ConfigError(
                f"{game!r} has chance, and alpha-beta looks for certain wins; take the agent uct or minimax"
            )
        if len(game.moves) > np.iinfo(ENTRY["move"]).max:
            raise ConfigError(
                f"{game!r} has {len(game.moves):,} moves, more than the table of alpha-beta can tell apart"
            )
        if nodes < 1 or places < 1 or not (depth is None or 1 <= depth <= DEEPEST):
            raise ValueError(
                f"nodes and places are 1 or more, and depth 1 to {DEEPEST} or None, not {nodes}, {places}, {depth}"
            )
        self.game, self.nodes, self.depth = game, nodes, depth or DEEPEST
        plies, a, k = self.depth + 2, len(game.moves), len(game.seats)
        stack = np.zeros(plies, game.record)
        self._loops, rules = attached(game, "alpha_beta_loops"), kernel(game)
        self._stack = stack
        self._room = Room(
            opened(rules, stack), stack.view(np.uint8).reshape(plies, -1), np.zeros((plies, a), np.uint8),
            np.zeros((plies, k), np.float32), np.zeros((k, a)), opened(rules, np.zeros(plies, FRAME)),
            opened(rules, np.zeros(places, ENTRY)),
            np.zeros(6, np.int64),
        )  # fmt: skip

    def search(self, record: NDArray[Any]) -> Answer:
        """The best moves of a position, (1,) of the game's records.

        Of several depths the last one that was searched in full counts. Where all moves turn out to be as good (all
        lose, say), those that were best before are kept: they withstood a shorter search.

        Raises:
            ValueError: it is not one record of the game, or the game is over.
            ContractError: somebody is to move, there or later, and has no legal move.
        """
        if record.dtype != self.game.record or record.shape != (1,):
            raise ValueError(
                f"{self.game!r}: a search takes one record, not {record.shape} of {record.dtype}"
            )
        b = self._room
        self._stack[0] = record[0]
        b.tally[:] = 0, self.nodes, 0, 0, b.tally[4] + 1, 0
        b.history[:] = 0.0
        legal = self._legal(record)
        answer, worth = Answer(legal, 0.0, 0, complete=False), np.where(legal, 0.0, -np.inf)
        with np.errstate(over="ignore"):
            for depth in range(1, self.depth + 1):
                b.tally[3] = 0
                fresh = worth.copy()
                value = float(called(type(self.game).__name__, self._loops.look, b, depth, fresh))
                if b.tally[5]:
                    raise ContractError(
                        f"{self.game!r}: beyond {record}, a seat was to move and had no legal move"
                    )
                if b.tally[2]:
                    break
                worth = fresh
                best = worth > value - self._loops.SLACK
                if (best == legal).all():
                    best = answer.best
                answer = Answer(best, value, depth, complete=bool(b.tally[3] == 0))
                if answer.complete:
                    break
        return answer

    def _legal(self, record: NDArray[Any]) -> NDArray[np.bool_]:
        rules, mask = kernel(self.game), np.zeros(len(self.game.moves), np.uint8)
        position = opened(rules, record.copy())
        seat = int(rules.solo_mover(position))
        if seat < 0:
            raise ValueError(f"{self.game!r}: the game is over in {record}; there is no move to look for")
        rules.solo_legal(position, seat, mask)
        if not mask.any():
            raise ContractError(f"{self.game!r}: in {record} a seat is to move and has no legal move")
        return mask.astype(np.bool_)


@register_agent("alpha_beta")
class AlphaBeta(Searcher):
    """Plays a best move by `AlphaBetaSearch`, of several any, each as likely.

    Args:
        game: the game it plays, made or by name.
        nodes: positions searched for each move at most.
        depth: plies at most; None looks as far as the budget lasts.
        name: what it is called in records.
        params: what the game is made with, if it is given by name.

    Raises:
        ConfigError: the game cannot be searched like this.
    """

    def __init__(
        self,
        game: str | Game[Any],
        nodes: int = 100_000,
        depth: int | None = None,
        name: str = "alpha_beta",
        **params: Any,
    ) -> None:
        super().__init__(game, name, params)
        self.rules = searchable(self.game)
        self._searcher = AlphaBetaSearch(self.rules, nodes, depth)

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decide(request) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Uniform over the best moves it sees, and nothing elsewhere."""
        return [(best := self._answer(request).best) / best.sum() for request in requests]

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """What each seat earns as far as it sees."""
        return np.array([self._answer(request).value for request in requests])

    def _answer(self, request: Request) -> Answer:
        return self._searcher.search(np.frombuffer(self._state(request).record, self.rules.record))

    def _decide(self, request: Request) -> Decision:
        answer = self._answer(request)
        best = np.flatnonzero(answer.best)
        note = f"depth {answer.depth}{', to the end' if answer.complete else ''}"
        return Decision(int(best[request.rng.integers(len(best))]), value=answer.value, note=note)
