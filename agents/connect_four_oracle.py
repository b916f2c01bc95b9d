"""A perfect player of connect four on six rows and seven columns, and positions with their true values.

From some twelve discs on an answer takes milliseconds to a second; before, it takes longer the fewer there are, up to
minutes after the first move. Values
are what the mover gets if both play their best: 1, 0 or -1.

Shape letters: N positions, 7 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.agents.connect_four_loops import BOARD, COLUMNS, FLOOR, HIGH, ROWS, completing, lined, reaches
from ludus.agents.search import Searcher
from ludus.core.agent import Decision, Request
from ludus.core.array_game import ArrayGame
from ludus.core.errors import ConfigError
from ludus.core.game import Game
from ludus.core.registry import make, register_agent

FULL = -2  # in the place of a value: the column is full
PLACES = 8_388_593  # of the table, a prime
LINE = (1 << ROWS) - 1


class Board(NamedTuple):
    """A position as sets of squares, see `ludus.agents.connect_four_loops`: the mover's discs, and all."""

    own: int
    both: int


class Labels(NamedTuple):
    """True values of moves.

    Attributes:
        values: (N, 7) int8, -1, 0 or 1 for the mover, `FULL` where a column is full.
        best: (N, 7) bool, the moves that keep the value of the position.
    """

    values: NDArray[np.int8]
    best: NDArray[np.bool_]


class Solver:
    """Finds the true value of any position, and remembers what it found.

    It asks by search to the end whether the mover can win, and if not, whether it can draw; see `reaches`.

    Args:
        places: of the table of positions, eight bytes each. More help where there are few discs.

    Source: our own code of what is textbook: sets of squares as numbers (John Tromp's Connect-4 playground, tromp.github.io),
    proofs with a table of positions (Victor Allis 1988, "A knowledge-based approach of Connect-Four").
    """

    def __init__(self, places: int = PLACES) -> None:
        if places < 1:
            raise ValueError(f"a table has at least one place, not {places}")
        self._table = np.zeros(places, np.int64)
        self._room = (
            np.zeros((ROWS * COLUMNS + 1, 4), np.int64),
            np.zeros((ROWS * COLUMNS + 1, COLUMNS, 2), np.int64),
        )
        self._nodes = np.zeros(1, np.int64)

    @property
    def nodes(self) -> int:
        """How many positions have been searched so far."""
        return int(self._nodes[0])

    def value(self, board: Board) -> int:
        """What the mover gets, 1, 0 or -1. No line may be complete yet."""
        if self._reaches(board, 1):
            return 1
        return 0 if self._reaches(board, 0) else -1

    def values(self, board: Board) -> list[int]:
        """What the mover gets after each of its seven moves; `FULL` where there is none."""
        return [self._after(board, column, 1, -1) for column in range(COLUMNS)]

    def best(self, board: Board) -> list[int]:
        """The columns, from 0, that keep the value of the position: faster than `values`."""
        value = self.value(board)
        moves = [column for column in range(COLUMNS) if dropped(board, column) is not None]
        if value == -1:
            return moves
        return [column for column in moves if self._after(board, column, value, value - 1) == value]

    def _reaches(self, board: Board, target: int) -> bool:
        return bool(reaches(board.own, board.both, target, self._table, *self._room, self._nodes))

    def _after(self, board: Board, column: int, high: int, low: int) -> int:
        """What a move is worth, between high and low: no more is asked than whether it is above or below."""
        after = dropped(board, column)
        if after is None:
            return FULL
        if lined(after.own ^ after.both):  # the discs of who has just moved
            return 1
        if after.both == BOARD:
            return 0
        for value in range(high, low, -1):
            if not self._reaches(after, 1 - value):
                return value
        return low


def dropped(board: Board, column: int) -> Board | None:
    """The position after a disc is dropped into a column, from 0; None if it is full."""
    move = (board.both + (1 << (HIGH * column))) & (LINE << (HIGH * column))
    return Board(board.own ^ board.both, board.both | move) if move else None


def boards(records: NDArray[Any]) -> list[Board]:
    """The positions of records (N,) of `connect_four`.

    Raises:
        ValueError: the records are of another game or another size of board, or a game is over.
    """
    fields = records.dtype.names or ()
    if not {"discs", "height", "turn", "over"} <= set(fields) or records["discs"].shape[1:] != (2, ROWS):
        raise ValueError(f"the oracle reads records of connect_four on {ROWS} rows, not {records.dtype}")
    if records["height"].shape[1:] != (COLUMNS,):
        raise ValueError(
            f"the oracle knows {COLUMNS} columns, and these records have {records['height'].shape[1]}; "
            "for other boards take the agent alpha_beta"
        )
    if records["over"].any():
        raise ValueError(f"position {int(np.argmax(records['over']))} is over: there is no move to judge")
    found = []
    for discs, turn in zip(records["discs"].tolist(), records["turn"].tolist(), strict=True):
        sets = [
            sum(1 << (HIGH * c + r) for r in range(ROWS) for c in range(COLUMNS) if level[r] >> c & 1)
            for level in discs
        ]
        found.append(Board(sets[turn], sets[0] | sets[1]))
    return found


def label(records: NDArray[Any], solver: Solver | None = None) -> Labels:
    """The true values of all moves of records (N,) of `connect_four`, and which keep the value of their position.

    Example:
        >>> import ludus
        >>> label(positions(3, 30, seed=1)).best.shape
        (3, 7)
    """
    solver = solver or Solver()
    values = np.array([solver.values(board) for board in boards(records)], np.int8).reshape(-1, COLUMNS)
    return Labels(values, values == values.max(1, keepdims=True, initial=FULL))


def positions(
    n: int, discs: int | tuple[int, int], seed: int = 0, *, care: float = 0.5, game: ArrayGame | None = None
) -> NDArray[Any]:
    """Different positions that came up in mixed play, no two mirror images; nobody has won yet.

    Each move is drawn uniformly; with probability `care` a seat first takes a win, else prevents one, if it can.

    Args:
        n: how many.
        discs: how many have been played, or the least and the most.
        seed: decides everything.
        care: 0 is random play; careful play comes to sharper positions.
        game: connect four of six rows and seven columns; made by default.

    Returns:
        Records (n,).

    Raises:
        ValueError: there are no such positions, or fewer than n were found.
    """
    low, high = (discs, discs) if isinstance(discs, int) else discs
    if not 0 <= low <= high < ROWS * COLUMNS or not 0 <= care <= 1 or n < 1:
        raise ValueError(
            f"{n} positions of {low} to {high} discs, care {care}: discs are 0 to 41 and care 0 to 1"
        )
    made: Any = game or make("connect_four")
    rng, found, seen = np.random.default_rng(seed), [], set()
    for _ in range(1000 * n):
        moves = _played(int(rng.integers(low, high + 1)), care, rng)
        if moves is None:
            continue
        name = min(_trace(moves), _trace([COLUMNS - 1 - move for move in moves]))
        if name not in seen:
            seen.add(name)
            found.append(record(moves, made))
        if len(found) == n:
            return np.concatenate(found)
    raise ValueError(
        f"only {len(found)} of {n} positions of {low} to {high} discs came up in {1000 * n} games; ask for fewer, or "
        "for more discs"
    )


def record(moves: Sequence[int], game: ArrayGame | None = None) -> NDArray[Any]:
    """The record (1,) of `connect_four` after moves, columns from 0."""
    made: Any = game or make("connect_four")
    s, pay = made.open(made.first.tobytes()), np.zeros(2, np.float32)
    for move in moves:
        made.move(s, move, pay)
    return np.frombuffer(bytearray(s.tobytes()), made.record)


def _trace(moves: Sequence[int]) -> Board:
    board = Board(0, 0)
    for move in moves:
        board = dropped(board, move) or board
    return board


def _played(discs: int, care: float, rng: np.random.Generator) -> list[int] | None:
    """The moves of a game of so many discs; None if it ended before."""
    board, moves = Board(0, 0), list[int]()
    while len(moves) < discs:
        playable = (board.both + FLOOR) & BOARD
        options = playable
        if rng.random() < care:
            wins, threats = completing(board.own) & playable, completing(board.own ^ board.both) & playable
            options = wins or threats or playable
        columns = [c for c in range(COLUMNS) if options & (LINE << (HIGH * c))]
        moves.append(columns[int(rng.integers(len(columns)))])
        board = dropped(board, moves[-1]) or board
        if lined(board.own ^ board.both):
            return None
    return moves


@register_agent("oracle")
class Oracle(Searcher):
    """Plays connect four perfectly: a move that keeps the true value, each as likely.

    Its first move is the middle, which alone wins (James Allen and Victor Allis, 1988). The next few moves may take
    minutes each; with `openings=False` it refuses positions of less than ten discs instead.

    Args:
        game: connect four, six rows and seven columns.
        openings: whether it answers positions of one to nine discs, which takes long.
        places: of its table, eight bytes each.
        name: what it is called in records.
        params: what the game is made with, if it is given by name.

    Raises:
        ConfigError: it is another game, or another size of board.
    """

    def __init__(
        self,
        game: str | Game[Any] = "connect_four",
        places: int = PLACES,
        name: str = "oracle",
        *,
        openings: bool = True,
        **params: Any,
    ) -> None:
        super().__init__(game, name, params)
        rules: Any = self.game
        if rules.id != "connect_four" or rules.shape[1:] != (ROWS, COLUMNS):
            raise ConfigError(
                f"the oracle knows connect_four on {ROWS} rows and {COLUMNS} columns, not {rules!r}; elsewhere take the "
                "agent alpha_beta"
            )
        self.rules, self.openings, self.solver = rules, openings, Solver(places)

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decide(request) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Uniform over the moves that keep the value, and nothing elsewhere."""
        best = [self._best(self._board(request)) for request in requests]
        return [np.bincount(columns, minlength=COLUMNS) / len(columns) for columns in best]

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """What each seat gets if both play their best."""
        return np.array([self._value(self._board(request)) for request in requests], np.float64)

    def _decide(self, request: Request) -> Decision:
        board = self._board(request)
        best = self._best(board)
        return Decision(best[int(request.rng.integers(len(best)))], value=float(self._value(board)))

    def _board(self, request: Request) -> Board:
        (board,) = boards(np.frombuffer(self._state(request).record, self.rules.record))
        if not self.openings and 0 < board.both.bit_count() < 10:
            raise ConfigError(
                f"{self.name} was made with openings=False, and there are {board.both.bit_count()} discs on the board; "
                "start from positions of ten or more, or make it with openings=True and wait"
            )
        return board

    def _best(self, board: Board) -> list[int]:
        return self.solver.best(board) if board.both else [COLUMNS // 2]

    def _value(self, board: Board) -> int:
        return self.solver.value(board) if board.both else 1
