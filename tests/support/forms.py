"""Games recorded once, as moves and outcomes of chance, and followed by every form that the rules take.

Shape letters: N games, K seats, A moves, F features.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ludus.core.array_game import NATURE, OVER, TOGETHER, ArrayGame
from ludus.core.compiled import _uncompiled, kernel, odds_for, opened, traits_of
from ludus.core.tables import Tables

DEAL, STAY = -2, -3


@dataclass
class Moment:
    """A position of a game, as some form of the rules shows it, and what comes next.

    `who` moves: a seat's index, NATURE, or OVER; `aside` are the moves of those who move together and have chosen.
    """

    record: bytes
    who: int
    legal: list[int]
    seen: bytes
    paid: tuple[float, ...]
    next: int


class Rows:
    """The batch with chance given: N games in step, each fed its own moves and outcomes."""

    def __init__(self, game: ArrayGame, n: int, loops: ModuleType | None = None) -> None:
        self.game, self.n, self.loops = game, n, loops or kernel(game)
        k = len(game.seats)
        self.states = np.zeros(n, game.record)
        self.aside, self.waiting = np.zeros((n, k), np.int32), np.zeros(n, np.int8)
        self.obs = np.zeros((n, *game.shape), game.dtype)
        self.mask, self.pay = np.zeros((n, len(game.moves)), np.uint8), np.zeros((n, k), np.float32)
        self.done, self.who = np.zeros(n, np.bool_), np.zeros(n, np.int8)
        self.streams, self.odds = np.zeros(n, np.uint64), odds_for(game, n)
        self.feed(np.full(n, DEAL, np.int32))

    def feed(self, choice: np.ndarray) -> None:
        self.pay[:] = 0
        self.loops.forward(
            opened(self.loops, self.states), opened(self.loops, self.game.first), choice, self.aside, self.waiting,
            self.streams, self.obs, self.mask, self.pay, self.done, self.who, self.odds, True, 0, self.n,
        )  # fmt: skip


def record(game: ArrayGame, n: int, seed: int = 0, most: int = 10_000) -> list[list[Moment]]:
    """N games by uniformly drawn moves and outcomes with their odds, each at most so many moments long."""
    rows, rng = Rows(game, n), np.random.default_rng(seed)
    games: list[list[Moment]] = [[] for _ in range(n)]
    for _ in range(most):
        alive = np.flatnonzero(rows.who != OVER)
        choice = np.full(n, STAY, np.int32)
        shown = {i: (int(rows.who[i]), rows.states[i].tobytes()) for i in alive}
        for i in alive:
            if rows.who[i] == NATURE:
                odds = np.zeros(game.outcomes)
                rows.loops.solo_odds(opened(rows.loops, rows.states[i : i + 1]), odds)
                choice[i] = rng.choice(len(odds), p=odds / odds.sum())
            else:
                choice[i] = rng.choice(np.flatnonzero(rows.mask[i]))
        masks = {i: np.flatnonzero(rows.mask[i]).tolist() for i in alive}
        seen = {i: rows.obs[i].tobytes() for i in alive}
        rows.feed(choice)
        for i in alive:
            who, before = shown[i]
            legal, saw = (masks[i], seen[i]) if who >= 0 else ([], b"")
            games[i].append(Moment(before, who, legal, saw, tuple(rows.pay[i].tolist()), int(choice[i])))
        if not (rows.who != OVER).any():
            break
    for i, moments in enumerate(games):
        moments.append(Moment(rows.states[i].tobytes(), int(rows.who[i]), [], b"", (), -1))
    return games


def recorded(game: ArrayGame, seed: int) -> Iterator[list[Moment]]:
    """Games without end, recorded some at a time: as many as keep the memory for them within reason."""
    moment = game.record.itemsize + int(np.prod(game.shape)) * np.dtype(game.dtype).itemsize
    for part in itertools.count():
        yield from record(game, min(1000, max(20, (1 << 20) // moment)), seed=seed + part)


def compiled_rules(game: ArrayGame, moments: list[Moment]) -> Iterator[Moment]:
    """The same by the compiled rules, one position at a time."""
    loops = kernel(game)

    def ask(rule, record, *given):
        states = np.frombuffer(bytearray(record), game.record)
        if rule in ("move", "joint"):
            (played, pay), nobody = given, np.zeros(0, np.int32)
            moves = (played, nobody) if rule == "move" else (0, played)
            loops.solo_play(opened(loops, states), *moves, pay, np.zeros(len(game.moves), np.uint8))
            return None, states.tobytes()
        return getattr(loops, f"solo_{rule}")(opened(loops, states), *given), states.tobytes()

    yield from _followed(game, moments, ask)


def plain_rules(game: ArrayGame, moments: list[Moment]) -> Iterator[Moment]:
    """The same by the rules as ordinary Python."""

    def ask(rule, record, *given):
        s = game.open(record)
        return getattr(game, rule)(s, *given), s.tobytes()

    yield from _followed(game, moments, ask)


def plain_batch(game: ArrayGame, moments: list[Moment]) -> Iterator[Moment]:
    """The same by a batch of one row, whose loops and rules run as ordinary Python."""
    rows = Rows(game, 1, _uncompiled(type(game), traits_of(game)))
    for moment in moments:
        who, record = int(rows.who[0]), rows.states[0].tobytes()
        if moment.next == -1:
            yield Moment(record, who, [], b"", (), -1)
            return
        shown = (np.flatnonzero(rows.mask[0]).tolist(), rows.obs[0].tobytes()) if who >= 0 else ([], b"")
        rows.feed(np.array([moment.next], np.int32))
        yield Moment(record, who, *shown, tuple(rows.pay[0].tolist()), moment.next)


def _followed(game, moments, ask) -> Iterator[Moment]:
    """Walk through a game by its moves alone; whatever else is shown comes from the rules that are asked."""
    here, aside = game.first.tobytes(), []
    for moment in moments:
        mover = int(ask("mover", here)[0])
        who = len(aside) if mover == TOGETHER else mover
        legal, seen = np.zeros(len(game.moves), np.uint8), np.zeros(game.shape, game.dtype)
        if who >= 0:
            ask("legal", here, who, legal)
            ask("observe", here, who, seen)
        shown = np.flatnonzero(legal).tolist(), seen.tobytes() if who >= 0 else b""
        pay, record = np.zeros(len(game.seats), np.float32), here
        if who == NATURE:
            odds = np.zeros(game.outcomes)
            ask("odds", here, odds)
            assert odds[moment.next] > 0
            assert abs(odds.sum() - 1) < 1e-9
        if mover == OVER or moment.next == -1:
            yield Moment(record, who, [], b"", (), -1)
            return
        if mover == TOGETHER and len(aside) + 1 < len(game.seats):
            aside.append(moment.next)
        elif mover == TOGETHER:
            here = ask("joint", here, np.array([*aside, moment.next], np.int32), pay)[1]
            aside = []
        else:
            here = ask("move", here, moment.next, pay)[1]
        yield Moment(record, who, *shown, tuple(pay.tolist()), moment.next)


def tabled_rules(tables: Tables, moments: list[Moment]) -> Iterator[Moment]:
    """The same by going along the edges of the game's tables; they hold no records."""
    edges, x = _edges(tables), 0
    for moment in moments:
        who, info = int(tables.mover[x]), int(tables.info[x])
        if moment.next == -1:
            yield Moment(b"", who, [], b"", (), -1)
            return
        edge = edges[x, moment.next]
        legal = np.flatnonzero(tables.legal[info]).tolist() if who >= 0 else []
        seen = tables.views[info].features.tobytes() if who >= 0 else b""
        yield Moment(b"", who, legal, seen, tuple(tables.pay[edge].tolist()), moment.next)
        x = int(tables.child[edge])


@functools.lru_cache(maxsize=1)
def _edges(tables: Tables) -> dict[tuple[int, int], int]:
    """The edge at each position by each move."""
    return {
        move: edge
        for edge, move in enumerate(zip(tables.parent.tolist(), tables.action.tolist(), strict=True))
    }
