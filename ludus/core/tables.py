"""Small games as arrays: every position, every edge, every information state.

Seats that move together are asked one after the other, in positions that look alike to them. Crew
that is deterministic is asked once for each position; its findings become forced moves.

Shape letters: X positions, E edges, I information states, K players, A moves of a choice.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Agent, Request, information
from ludus.core.array_game import NATURE, OVER, TOGETHER, ArrayGame
from ludus.core.compiled import called, kernel, opened
from ludus.core.errors import ROUNDING, ContractError, TooLarge, no_mover, no_odds
from ludus.core.game import CHANCE, Choice, Game, Move, Seat, View
from ludus.core.position import Position
from ludus.core.registry import agent_for, as_game
from ludus.core.sizes import clearly_more, estimated

Past: TypeAlias = tuple[tuple[View, Move], ...]
FORCED = -4  # the mover of positions where deterministic crew acts
LIMIT = 2_000_000
SOME = 5000  # positions: a game with more is first played at random, to see whether it has too many


@dataclass(frozen=True, eq=False)
class Tables:
    """A game as arrays. Edges are sorted by the level of their parent, then by parent.

    Attributes:
        game: the game.
        mover: (X,) int8, index of the player to move, `NATURE`, `OVER` or `FORCED`.
        info: (X,) int32, information state of the mover, -1 where no player moves.
        parent, child: (E,) int32 positions.
        action: (E,) int32, the move or outcome.
        odds: (E,) float64, chance probability; 1 where forced; nan where a player chooses.
        pay: (E, K) float64, what the edge pays the players.
        levels: slices of the edges, level by level: an edge leads to a later level than its own.
        starts: for each level the first edge of each parent, counted from the level's first edge.
        owner: (I,) int8, player whose information state it is.
        legal: (I, A) bool.
        names: the information states' names, as `Request.information` spells them.
        tree: no two edges lead to one position.
        views, pasts, options: (I) what the player sees there, has seen and done, and may do.
    """

    game: Game[Any]
    mover: NDArray[np.int8]
    info: NDArray[np.int32]
    parent: NDArray[np.int32]
    child: NDArray[np.int32]
    action: NDArray[np.int32]
    odds: NDArray[np.float64]
    pay: NDArray[np.float64]
    levels: tuple[slice, ...]
    starts: tuple[NDArray[np.intp], ...]
    owner: NDArray[np.int8]
    legal: NDArray[np.bool_]
    names: tuple[str, ...]
    tree: bool
    views: tuple[View, ...]
    pasts: tuple[Past, ...]
    options: tuple[Choice, ...]

    def __repr__(self) -> str:
        return f"Tables({self.game!r}: {len(self.mover):,} positions, {len(self.names):,} information states)"


def tabulate(game: Game[Any] | str, *, unfold: bool | None = None, limit: int = LIMIT) -> Tables:
    """Every position of a finite game.

    Args:
        game: or its name. Its players must choose among named moves, and `start` must draw nothing.
        unfold: keep positions apart that were reached differently. By default games of perfect information whose views
            tell all merge them, and others do not.
        limit: of positions.

    Raises:
        TooLarge: the game has more positions than `limit`.
        ContractError: a seat has free replies or crew that is not deterministic, is to move and may do nothing, or
            sees different things in the same words; or nobody is ever to move.
    """
    game = as_game(game)
    unfold = not (game.perfect_information and game.view_is_complete) if unfold is None else unfold
    tables = _tabulate(_Same(game, limit), unfold)
    if len(tables.mover) > limit:
        raise too_many(game, limit)
    return tables


def too_many(game: Game[Any], limit: int) -> TooLarge:
    """What to raise for a game of more positions than the limit."""
    return TooLarge(
        f"{game!r} has more than {limit:,} positions, about 10^{estimated(game):.0f} as a tree: too many to tabulate; "
        "what best responses gain can be learned instead (`ludus exploit --learn`, ludus.training.responses), or a larger "
        "table asked for (ludus.tabulate(game, limit=...))"
    )


class _Same:
    """A game as a cache key, whatever the limit of its positions: equal if made alike by the same class."""

    def __init__(self, game: Game[Any], limit: int) -> None:
        self.game, self.limit = game, limit
        # Classes of one name, made by a function or anew, may differ.
        self.key = type(game), game.fingerprint()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@functools.lru_cache(maxsize=16)
def _tabulate(same: _Same, unfold: bool) -> Tables:
    game, limit = same.game, same.limit
    fast = isinstance(game, ArrayGame) and type(game).joint is ArrayGame.joint and game.view_is_complete
    grown = _Records(game, unfold, limit) if fast else _States(game, unfold, limit)
    grown.grow()
    return _assemble(grown, unfold)


class _Growth:
    """Positions and edges found so far; the two ways of finding them differ in what a state is."""

    def __init__(self, game: Game[Any], unfold: bool, limit: int) -> None:
        self.game, self.unfold, self.limit = game, unfold, limit
        self.mover: list[int] = []
        self.info: list[int] = []
        self.edges: list[tuple[NDArray[Any], ...]] = []  # parent, child, action, odds, pay
        self.known: dict[Any, int] = {}  # information states
        self.views: list[View] = []
        self.pasts: list[Past] = []
        self.options: list[Choice] = []
        self.names: list[str] = []
        self.owner: list[int] = []
        self.tried = False  # whether random games have been played

    def grow(self) -> None:
        raise NotImplementedError

    def refuse(self, count: int) -> None:
        """Raise TooLarge if there are more positions than the limit, so many having been found."""
        larger = count > self.limit
        if not larger and count > SOME and not self.tried:
            self.tried, larger = True, clearly_more(self.game, self.limit, unfold=self.unfold)
        if larger:
            raise too_many(self.game, self.limit)

    def information(self, key: Any, seat: Seat, view: View, options: Choice, past: Past = ()) -> int:
        if key not in self.known:
            self.known[key] = len(self.known)
            self.views.append(view)
            self.pasts.append(past)
            self.options.append(options)
            self.names.append(information(seat, view, past))
            self.owner.append(self.game.players.index(seat))
        return self.known[key]


class _Records(_Growth):
    """Positions of an array game, a whole level at a time, by its compiled functions."""

    game: ArrayGame

    def grow(self) -> None:
        game = self.game
        seen: dict[bytes, int] = {game.first.tobytes(): 0}
        here, numbers, count = game.first.copy(), np.zeros(1, np.int32), 1
        while len(here):
            next_, rows = [], rows_at_once(game)
            for low in range(0, len(here), rows):
                part, parents = here[low : low + rows], numbers[low : low + rows]
                after, pay, odds, mask, who = expand(game, part)
                if (strange := (who <= TOGETHER) | (who >= len(game.seats))).any():
                    raise no_mover(repr(game), int(who[strange][0]), len(game.seats))
                self.mover += who.tolist()
                self.info += self._look(part, who, mask[:, : len(game.moves)]).tolist()
                row, action = np.nonzero(mask)
                children = after[row, action]
                fresh, child, count = self._number(children, seen, count)
                self.refuse(count)
                chosen = np.where(who[row] == NATURE, odds[row, action], np.nan)
                self.edges.append((parents[row], child, action, chosen, pay[row, action].astype(np.float64)))
                next_.append((children[fresh], child[fresh]))
            here, numbers = (np.concatenate(parts) for parts in zip(*next_, strict=True))

    def _number(
        self, children: NDArray[Any], seen: dict[bytes, int], count: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int32], int]:
        if self.unfold:
            return (
                np.ones(len(children), np.bool_),
                np.arange(count, count + len(children), dtype=np.int32),
                (count + len(children)),
            )
        fresh, numbers = np.zeros(len(children), np.bool_), np.zeros(len(children), np.int32)
        for i, record in enumerate(children):
            key = record.tobytes()
            fresh[i] = key not in seen
            numbers[i] = seen.setdefault(key, len(seen))
        return fresh, numbers, len(seen)

    def _look(self, here: NDArray[Any], who: NDArray[np.int8], mask: NDArray[np.uint8]) -> NDArray[np.int32]:
        game = self.game
        info = np.full(len(here), -1, np.int32)
        rows = np.flatnonzero(who >= 0)
        features = np.zeros((len(rows), *game.shape), game.dtype)
        loops = kernel(game)
        loops.look(opened(loops, here[rows]), who[rows], features)
        for i, row in enumerate(rows):
            seat = int(who[row])
            key = (seat, features[i].tobytes())
            if key not in self.known:
                view = game.view(Position(here[row].tobytes(), (0.0,) * len(game.seats)), game.seats[seat])
                options = Choice(game.moves, mask[row].astype(np.bool_))
                self.information(key, game.seats[seat], view, options)
            info[row] = self.known[key]
        return info


def rows_at_once(game: ArrayGame) -> int:
    """How many records `expand` may be given so that those it makes take 256 MiB at most."""
    return max(1, (1 << 28) // (max(len(game.moves), game.outcomes) * game.record.itemsize))


def expand(game: ArrayGame, records: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """All positions one move away from records (N,), by the game's compiled functions.

    Returns:
        after (N, W) records, pay (N, W, K), odds (N, W), mask (N, W) uint8 and the movers (N,) int8;
        W is the larger of A and C.
    """
    n, width = len(records), max(len(game.moves), game.outcomes)
    after, pay = np.zeros((n, width), game.record), np.zeros((n, width, len(game.seats)), np.float32)
    odds, mask, who = np.zeros((n, width)), np.zeros((n, width), np.uint8), np.zeros(n, np.int8)
    loops = kernel(game)
    called(
        type(game).__name__, loops.expand, opened(loops, records), opened(loops, after), pay, odds, mask, who,
        len(game.moves), game.outcomes,
    )  # fmt: skip
    return after, pay, odds, mask, who


class _States(_Growth):
    """Positions of any game, one at a time, through its public methods."""

    def __init__(self, game: Game[Any], unfold: bool, limit: int) -> None:
        super().__init__(game, unfold, limit)
        self.crew: dict[Seat, Agent] = {}
        self.seen: dict[Any, int] = {}
        self.queue: list[tuple[Any, dict[Seat, Move], dict[Seat, Past]]] = []

    def grow(self) -> None:
        state = self.game.start(np.random.default_rng(0))
        if self.game.start(np.random.default_rng(1)) != state:
            raise ContractError(
                f"{self.game!r} draws in start: what it draws must be chance moves to be tabulated"
            )
        self._add(state, {}, dict.fromkeys(self.game.players, ()))
        for number, (at, laid, past) in enumerate(self.queue):
            self._visit(number, at, laid, past)

    def _add(self, state: Any, laid: dict[Seat, Move], past: dict[Seat, Past]) -> int:
        key = len(self.queue) if self.unfold else (state, tuple(laid.items()))
        if key not in self.seen:
            self.seen[key] = len(self.queue)
            self.queue.append((state, laid, past))
            self.refuse(len(self.queue))
        return self.seen[key]

    def _visit(self, number: int, state: Any, laid: dict[Seat, Move], past: dict[Seat, Past]) -> None:
        game = self.game
        turn = [seat for seat in game.turn(state) if seat not in laid]
        if not turn:
            self.mover.append(OVER)
            self.info.append(-1)
            return
        seat, last = turn[0], len(turn) == 1
        if seat == CHANCE:
            self.mover.append(NATURE)
            self.info.append(-1)
            for outcome, share in game.chance(state):
                self._edge(number, outcome, share, *self._after(state, {CHANCE: outcome}), past)
            return
        view, options = game.view(state, seat), game.options(state, seat)
        if seat in game.crew():
            self.mover.append(FORCED)
            self.info.append(-1)
            move = self._finding(seat, view, options)
            after, pay = (
                self._after(state, {**laid, seat: move}) if last else (state, np.zeros(len(game.players)))
            )
            self._edge(number, 0, 1.0, after, pay, past, {} if last else {**laid, seat: move})
            return
        if not isinstance(options, Choice):
            raise ContractError(
                f"{game!r}: {seat} has free replies; only choices can be tabulated (try menu=True)"
            )
        self.mover.append(game.players.index(seat))
        known = () if game.view_is_complete else past[seat]
        key = information(seat, view, known), view.digest()
        self.info.append(self.information(key, seat, view, options, known))
        for move in np.flatnonzero(options.legal).tolist():
            then = past if game.view_is_complete else {**past, seat: (*past[seat], (view, move))}
            if last:
                self._edge(number, move, np.nan, *self._after(state, {**laid, seat: move}), then)
            else:
                self._edge(
                    number, move, np.nan, state, np.zeros(len(game.players)), then, {**laid, seat: move}
                )

    def _after(self, state: Any, moves: dict[Seat, Move]) -> tuple[Any, NDArray[np.float64]]:
        after = self.game.play(state, moves)
        payoff = self.game.payoff(after)
        return after, np.array([payoff.get(seat, 0.0) for seat in self.game.players])

    def _edge(
        self, number: int, action: int, odds: float, after: Any, pay: NDArray[np.float64],
        past: dict[Seat, Past], laid: dict[Seat, Move] | None = None,
    ) -> None:  # fmt: skip
        child = self._add(after, laid or {}, past)
        ends = (np.array([x]) for x in (number, child, action, odds))
        self.edges.append((*ends, pay[None]))

    def _finding(self, seat: Seat, view: View, options: Any) -> Move:
        if seat not in self.crew:
            self.crew[seat] = agent_for(self.game, self.game.crew()[seat])
        agent = self.crew[seat]
        if not getattr(agent, "deterministic", False):
            raise ContractError(
                f"{self.game!r}: {seat} ({agent.name}) is not deterministic and cannot be tabulated"
            )
        request = Request("tables", self.game.id, seat, view, options, (), np.random.default_rng(0))
        return agent.act([request])[0].move  # type: ignore[return-value]


# -------------------------------------------------------------------------------- assembling
def _assemble(grown: _Growth, unfold: bool) -> Tables:
    if not grown.options:
        raise ContractError(f"{grown.game!r} is over before anybody moves")
    for name, count in Counter(grown.names).items():
        if count > 1:  # policies are kept by these names
            raise ContractError(
                f"{grown.game!r}: {count} information states are all told as {name!r}: see `describe`"
            )
    moves = max(len(options.names) for options in grown.options)
    legal = np.zeros((len(grown.options), moves), np.bool_)
    for i, options in enumerate(grown.options):
        legal[i, : len(options.legal)] = options.legal
    if not (some := legal.any(1)).all():
        raise ContractError(f"{grown.game!r}: nothing is legal at {grown.names[int(some.argmin())]!r}")
    columns = [np.concatenate(column) for column in zip(*grown.edges, strict=True)]
    parent, child = columns[0].astype(np.int32), columns[1].astype(np.int32)
    info, mover = np.array(grown.info, np.int32), np.array(grown.mover, np.int8)
    odds = columns[3].astype(np.float64)
    sums = np.bincount(parent, odds, len(mover))
    if (wrong := np.flatnonzero((mover == NATURE) & ~(abs(sums - 1) < ROUNDING))).size:
        raise no_odds(repr(grown.game), odds[parent == wrong[0]].tolist())
    if (level := _levels(parent, child, info, len(grown.known))) is None:
        raise ContractError(
            f"{grown.game!r}: positions lead back to themselves, or a seat forgets what it knew: not a finite game with "
            "perfect recall. A count of moves in the state ends it; where views leave out what was seen before, "
            "view_is_complete = False"
        )
    order = np.lexsort((columns[2], parent, level[parent]))
    parent, child = parent[order], child[order]
    bounds = np.flatnonzero(np.diff(level[parent], prepend=-1))
    levels = tuple(slice(int(a), int(b)) for a, b in zip(bounds, [*bounds[1:], len(parent)], strict=True))
    return Tables(
        game=grown.game, mover=mover, info=info, parent=parent, child=child,
        action=columns[2][order].astype(np.int32), odds=odds[order], pay=columns[4][order],
        levels=levels, starts=tuple(np.flatnonzero(np.diff(parent[span], prepend=-1)) for span in levels),
        owner=np.array(grown.owner, np.int8), legal=legal, names=tuple(grown.names), tree=unfold,
        views=tuple(grown.views), pasts=tuple(grown.pasts), options=tuple(grown.options),
    )  # fmt: skip


def _levels(
    parent: NDArray[np.int32], child: NDArray[np.int32], info: NDArray[np.int32], infos: int
) -> NDArray[np.int32] | None:
    """(X,) the longest way to each position, positions of one information state on one level; None if there is no longest."""
    owned = info >= 0
    node = np.where(
        owned, info, infos + np.cumsum(~owned) - 1
    )  # an information state, or a position of nobody's
    begin, end = node[parent], node[child]
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    nodes = infos + int((~owned).sum())
    level, owed = (
        np.zeros(nodes, np.int32),
        np.bincount(end, minlength=nodes),
    )  # how many edges to it are to come
    first = np.searchsorted(begin, np.arange(nodes + 1))
    ready, settled = np.flatnonzero(owed == 0), 0
    while len(ready):
        settled += len(ready)
        count = first[ready + 1] - first[ready]
        edges = np.repeat(first[ready] - np.cumsum(count) + count, count) + np.arange(count.sum())
        np.maximum.at(level, end[edges], level[begin[edges]] + 1)
        np.subtract.at(owed, end[edges], 1)
        reached = np.unique(end[edges])
        ready = reached[owed[reached] == 0]
    levels: NDArray[np.int32] = level[node]
    return levels if settled == nodes else None
