"""Games played once by the batch, and followed by every form that the rules take.

The forms draw nature's outcomes by themselves, from the streams of the batch. Shape letters: N games, C outcomes.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ludus.core.array_game import NATURE, OVER, TOGETHER, ArrayGame
from ludus.core.batch import Batch, PlainBatch
from ludus.core.compiled import kernel, opened
from ludus.core.tables import Tables

WHOLE = 2**64


@dataclass
class Moment:
    """A decision, or the end, of a game, as some form of the rules shows it.

    `who` decides: a seat's index, or OVER; of those who move together, each at a moment of its own. `paid` is what
    led here paid; `stream` what nature drew from on the way here; `next` is the move.
    """

    record: bytes
    who: int
    legal: list[int]
    seen: bytes
    paid: tuple[float, ...]
    stream: int
    next: int


def record(
    game: ArrayGame, n: int, seed: int = 0, most: int = 10_000, *, plain: bool = False
) -> list[list[Moment]]:
    """N games by uniformly drawn moves, each at most so many moments long; by a batch that is compiled or plain."""
    batch = (PlainBatch if plain else Batch)(game, n, seed, autoreset="disabled")
    streams = batch.state()["streams"]
    batch.reset()
    games: list[list[Moment]] = [[] for _ in range(n)]
    running, paid = np.arange(n), batch.opening
    for _ in range(most):
        choice = batch.random_actions()
        for i in running:
            who, legal = int(batch.mover[i]), np.flatnonzero(batch.legal[i]).tolist()
            seen = b"" if who == OVER else batch.observation[i].tobytes()
            shown = batch.records[i].tobytes(), who, legal, seen, tuple(paid[i].tolist())
            games[i].append(Moment(*shown, int(streams[i]), int(choice[i])))
        running = np.flatnonzero(~batch.done)
        if not running.size:
            break
        streams = batch.state()["streams"]
        batch.step(choice)
        paid = batch.reward
    return games


def recorded(game: ArrayGame, seed: int) -> Iterator[list[Moment]]:
    """Games without end, recorded some at a time: as many as keep the memory for them within reason."""
    moment = game.record.itemsize + int(np.prod(game.shape)) * np.dtype(game.dtype).itemsize
    for part in itertools.count():
        yield from record(game, min(1000, max(20, (1 << 20) // moment)), seed=seed + part)


def draw(stream: int) -> tuple[float, int]:
    """SplitMix64 as in ludus.core.kernel, in whole numbers that do not wrap: one in [0, 1), and the stream after it."""
    stream = z = (stream + 0x9E3779B97F4A7C15) % WHOLE
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WHOLE
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WHOLE
    return ((z ^ z >> 31) >> 11) / 2**53, stream


def fallen(odds: np.ndarray, u: float) -> int:
    """The outcome that u in [0, 1) falls on, of outcomes with odds (C,) side by side."""
    assert abs(odds.sum() - 1) < 1e-9
    return int(np.searchsorted(np.cumsum(odds), u, side="right"))


def compiled_rules(game: ArrayGame, moments: list[Moment]) -> Iterator[Moment]:
    """The same by the compiled rules, one position at a time."""
    loops = kernel(game)

    def ask(rule, record, *given):
        states = np.frombuffer(bytearray(record), game.record)
        if rule in ("move", "joint"):
            played, pay = given
            earned = np.zeros_like(pay)  # `solo_play` begins at 0, and several moves may lead to a moment
            moves = (played, np.zeros(0, np.int32)) if rule == "move" else (0, played)
            room = np.zeros(len(game.moves), np.uint8), np.zeros(game.outcomes)
            loops.solo_play(opened(loops, states), *moves, earned, *room)
            pay += earned
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
    """The same by a batch of one row that is not compiled, from the stream on with which the game began."""
    batch = PlainBatch(game, 1, autoreset="disabled")
    batch.restore(batch.state() | {"streams": np.array([moments[0].stream], np.uint64)})
    stream = batch.state()["streams"]
    batch.reset()
    paid = batch.opening
    for moment in moments:
        who, legal = int(batch.mover[0]), np.flatnonzero(batch.legal[0]).tolist()
        seen = b"" if who == OVER else batch.observation[0].tobytes()
        shown = batch.records[0].tobytes(), who, legal, seen, tuple(paid[0].tolist())
        yield Moment(*shown, int(stream[0]), moment.next)
        if who != OVER:
            stream = batch.state()["streams"]
            batch.step(np.array([moment.next]))
            paid = batch.reward


def _followed(game, moments, ask) -> Iterator[Moment]:
    """Walk through a game by its moves and streams alone; whatever else is shown comes from the rules that are asked."""
    here, aside, pay = game.first.tobytes(), [], np.zeros(len(game.seats), np.float32)
    for moment in moments:
        stream = moment.stream
        while (mover := int(ask("mover", here)[0])) == NATURE:
            u, stream = draw(stream)
            here = ask("move", here, _outcome(game, ask, here, u), pay)[1]
        who = len(aside) if mover == TOGETHER else mover
        legal, seen = np.zeros(len(game.moves), np.uint8), np.zeros(game.shape, game.dtype)
        if who >= 0:
            ask("legal", here, who, legal)
            ask("observe", here, who, seen)
        shown = np.flatnonzero(legal).tolist(), seen.tobytes() if who >= 0 else b""
        yield Moment(here, who, *shown, tuple(pay.tolist()), moment.stream, moment.next)
        pay[:] = 0
        if mover == TOGETHER and len(aside) + 1 < len(game.seats):
            aside.append(moment.next)
        elif mover == TOGETHER:
            here = ask("joint", here, np.array([*aside, moment.next], np.int32), pay)[1]
            aside = []
        elif mover != OVER:
            here = ask("move", here, moment.next, pay)[1]


def _outcome(game, ask, here, u) -> int:
    odds = np.zeros(game.outcomes)
    ask("odds", here, odds)
    if type(game).toss is ArrayGame.toss:
        return fallen(odds, u)
    outcome = game.toss(game.open(here), u)
    assert odds[outcome] > 0
    return outcome


def tabled_rules(tables: Tables, moments: list[Moment]) -> Iterator[Moment]:
    """The same by going along the edges of the game's tables; they hold no records."""
    edges = _edges(tables)
    x, pay = 0, np.zeros(len(tables.game.seats))
    for moment in moments:
        stream = moment.stream
        while tables.mover[x] == NATURE:
            u, stream = draw(stream)
            odds = np.zeros(tables.game.outcomes)
            odds[list(edges[x])] = tables.odds[list(edges[x].values())]
            edge = edges[x][fallen(odds, u)]
            x, pay = int(tables.child[edge]), pay + tables.pay[edge]
        who, info = int(tables.mover[x]), int(tables.info[x])
        legal = np.flatnonzero(tables.legal[info]).tolist() if who >= 0 else []
        seen = tables.views[info].features.tobytes() if who >= 0 else b""
        yield Moment(b"", who, legal, seen, tuple(pay.tolist()), moment.stream, moment.next)
        if who != OVER:
            edge = edges[x][moment.next]
            x, pay = int(tables.child[edge]), tables.pay[edge]


@functools.lru_cache(maxsize=1)
def _edges(tables: Tables) -> dict[int, dict[int, int]]:
    """The edge at each position by each move."""
    edges: dict[int, dict[int, int]] = {}
    for edge, (position, action) in enumerate(
        zip(tables.parent.tolist(), tables.action.tolist(), strict=True)
    ):
        edges.setdefault(position, {})[action] = edge
    return edges
