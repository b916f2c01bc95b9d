"""Agents that look ahead: alpha-beta with expectation over chance, and Monte Carlo tree search.

Both are made for one game and need `Request.state`, which a seat is shown where the game has perfect
information or the match marks the seat privileged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.agents.simple import rules_for
from ludus.core.agent import Decision, Request
from ludus.core.array_game import ArrayGame
from ludus.core.errors import ConfigError, HiddenState
from ludus.core.game import CHANCE, Choice, Game, Seat
from ludus.core.registry import register_agent

INFINITE = float("inf")
NO_HORIZON = -1  # plies left, where the search looks to the end


class Searcher:
    """What both searches share: the game, and the checks at the border."""

    def __init__(self, game: str | Game[Any], name: str, params: dict[str, Any]) -> None:
        self.game: Game[Any] = rules_for(game, params, type(self))
        self.name = name

    def _state(self, request: Request) -> Any:
        if request.game != self.game.id:
            raise ConfigError(f"{self.name} was made for {self.game.id} and sits at {request.game}")
        if request.state is None:
            raise HiddenState(self.name, request.seat, request.game)
        return request.state

    def _mover(self, state: Any) -> Seat | None:
        """The one seat to move, or None when the game is over."""
        turn = self.game.turn(state)
        if len(turn) > 1:
            raise ConfigError(
                f"{self.name} searches turn by turn; in {self.game.id} {', '.join(turn)} move together"
            )
        return turn[0] if turn else None

    def _moves(self, state: Any, seat: Seat) -> list[int]:
        options = self.game.options(state, seat)
        if not isinstance(options, Choice):
            raise ConfigError(f"{self.name} needs finite moves; {seat} of {self.game.id} has free replies")
        return [int(move) for move in np.flatnonzero(options.legal)]


def searchable(game: Game[Any]) -> ArrayGame:
    """The game, if it is one whose records the compiled searches search.

    Raises:
        ConfigError: says what the game is not, and which agent to take instead.
    """
    if not isinstance(game, ArrayGame):
        raise ConfigError(f"{game!r} is no array game, whose records are searched; take the agent mcts")
    if type(game).joint is not ArrayGame.joint or not game.perfect_information:
        raise ConfigError(
            f"{game!r} has no perfect information or seats that move together, and a tree of positions would know "
            "what its seats do not; take an agent that plays from its view"
        )
    if len(game.seats) != 2 or not game.zero_sum:
        raise ConfigError(f"{game!r} is not of two players and zero sum; take the agent mcts")
    return game


def _key(state: Any) -> Hashable:
    """What makes two positions equal: for records the record, without what the last move paid."""
    key: Hashable = getattr(state, "record", state)
    return key


class _Bound(NamedTuple):
    """What is known of a position: its value lies between `low` and `high`."""

    low: float
    high: float


@register_agent("minimax")
class Minimax(Searcher):
    """Alpha-beta over a two-player zero-sum game, with a table of positions; expectation over chance.

    Args:
        game: the game it plays, made or by name.
        depth: how many moves it looks ahead; None looks to the end, which is exact.
        evaluate: what a position at the horizon is worth to the first player; by default nothing.
        name: what it is called in records.
        params: what the game is made with, if it is given by name.

    Source: Knuth and Moore 1975, "An analysis of alpha-beta pruning"; Ballard 1983 for chance.
    """

    def __init__(
        self,
        game: str | Game[Any],
        depth: int | None = None,
        evaluate: Callable[[Any], float] | None = None,
        name: str = "minimax",
        **params: Any,
    ) -> None:
        super().__init__(game, name, params)
        if len(self.game.players) != 2 or not self.game.zero_sum:
            raise ConfigError(f"minimax is for two players and zero sum, and {self.game.id} is not")
        self.depth, self.evaluate = depth, evaluate
        self._known: dict[tuple[Hashable, int], _Bound] = {}

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decide(request) for request in requests]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Uniform over the best moves, and nothing elsewhere."""
        return [self._best(request)[0] for request in requests]

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """What each seat earns from here on if both play their best."""
        return np.array([self._best(request)[1] for request in requests])

    def _decide(self, request: Request) -> Decision:
        p, worth = self._best(request)
        best = np.flatnonzero(p)
        return Decision(int(best[request.rng.integers(len(best))]), value=worth)

    def _best(self, request: Request) -> tuple[NDArray[np.float64], float]:
        state, seat = self._state(request), request.seat
        sign = 1.0 if seat == self.game.players[0] else -1.0
        moves = self._moves(state, seat)
        horizon = NO_HORIZON if self.depth is None else max(self.depth, 1)
        worth = np.array([sign * self._after(state, seat, m, horizon, -INFINITE, INFINITE) for m in moves])
        p = np.zeros(len(self.game.options(state, seat).names))  # type: ignore[union-attr]
        p[np.array(moves)[worth >= worth.max() - 1e-9]] = 1.0
        return p / p.sum(), float(worth.max())

    def _after(self, state: Any, seat: Seat, move: int, horizon: int, alpha: float, beta: float) -> float:
        """What the first player earns by `move` and everything after it."""
        child = self.game.play(state, {seat: move})
        paid = float(self.game.payoff(child).get(self.game.players[0], 0.0))
        left = horizon - (horizon > 0)  # without a horizon there is none to come nearer to
        return paid + self._worth(child, left, alpha - paid, beta - paid)

    def _worth(self, state: Any, horizon: int, alpha: float, beta: float) -> float:
        """What the first player earns from here on, exact if between alpha and beta, else a bound."""
        seat = self._mover(state)
        if seat is None:
            return 0.0
        if horizon == 0:
            return self.evaluate(state) if self.evaluate else 0.0
        if seat == CHANCE:  # chance takes no ply, and its mean needs every outcome exactly
            return sum(
                odds * self._after(state, CHANCE, outcome, horizon + (horizon > 0), -INFINITE, INFINITE)
                for outcome, odds in self.game.chance(state)
            )
        key = (_key(state), horizon)
        known = self._known.get(key, _Bound(-INFINITE, INFINITE))
        if known.low >= beta or known.low == known.high:
            return known.low
        if known.high <= alpha:
            return known.high
        found = self._search(state, seat, horizon, max(alpha, known.low), min(beta, known.high))
        low = found if found > alpha else known.low
        high = found if found < beta else known.high
        self._known[key] = _Bound(low, high)
        return found

    def _search(self, state: Any, seat: Seat, horizon: int, alpha: float, beta: float) -> float:
        maximising = seat == self.game.players[0]
        best = -INFINITE if maximising else INFINITE
        for move in self._moves(state, seat):
            worth = self._after(state, seat, move, horizon, alpha, beta)
            if maximising:
                best, alpha = max(best, worth), max(alpha, worth)
            else:
                best, beta = min(best, worth), min(beta, worth)
            if alpha >= beta:
                break
        return best


@dataclass(slots=True, eq=False)
class _Node:
    """A position in the tree, or one that several moves lead to.

    Attributes:
        seat: who moves there; None when the game is over.
        untried: moves without a child yet.
        children: the child of each move (of each outcome, for chance),
        taken: and how often the search went there from here.
        visits: how often the search came through, from wherever.
        earned: (K,) what each player earned in all on entering this node and after it, summed.
    """

    state: Any
    seat: Seat | None
    untried: list[int]
    paid: NDArray[np.float64]
    earned: NDArray[np.float64]
    children: dict[int, _Node] = field(default_factory=dict)
    taken: Counter[int] = field(default_factory=Counter)
    visits: int = 0


def _key_of(node: _Node) -> Hashable:
    """What makes two nodes one: the position, and what entering it paid."""
    return _key(node.state), node.paid.tobytes()


@register_agent("mcts")
class MCTS(Searcher):
    """Monte Carlo tree search with the UCT rule, random playouts and chance nodes, for any number of players.

    Each player maximises what it earns itself. Plays the most visited move.

    Args:
        game: the game it plays, made or by name.
        simulations: playouts for each move.
        exploration: weight of the confidence term, in units of payoff.
        name: what it is called in records.
        transpositions: whether what several orders of moves lead to is one node. A move is then worth what its node is,
            and its bound counts how often it was taken itself (UCT2).
        params: what the game is made with, if it is given by name.

    Source: Kocsis and Szepesvári 2006, "Bandit based Monte-Carlo planning"; transpositions: Childs, Brodeur and Kocsis
    2008, "Transpositions and move groups in Monte Carlo tree search".
    """

    def __init__(
        self,
        game: str | Game[Any],
        simulations: int = 200,
        exploration: float = 1.4,
        name: str = "",
        *,
        transpositions: bool = False,
        **params: Any,
    ) -> None:
        super().__init__(game, name or f"mcts_{simulations}", params)
        if simulations < 1:
            raise ValueError(f"a search needs at least one simulation, not {simulations}")
        self.simulations, self.exploration, self.transpositions = simulations, exploration, transpositions
        self._known: dict[Hashable, _Node] = {}  # the nodes of the search that goes on

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decide(request) for request in requests]

    def _decide(self, request: Request) -> Decision:
        root = self._node(self._state(request), np.zeros(len(self.game.players)))
        self._known = {_key_of(root): root}
        player = self.game.players.index(request.seat)
        for _ in range(self.simulations):
            self._simulate(root, request.rng)
        move = max(root.children, key=root.taken.__getitem__)
        best = root.children[move]
        note = ", ".join(f"{m}: {root.taken[m]}" for m in sorted(root.children))
        self._known = {}
        return Decision(move, value=float(best.earned[player] / best.visits), note=f"visits {note}")

    def _node(self, state: Any, paid: NDArray[np.float64]) -> _Node:
        seat = self._mover(state)
        moves = [] if seat in (None, CHANCE) else self._moves(state, str(seat))
        return _Node(state, seat, moves, paid, np.zeros(len(paid)))

    def _child(self, node: _Node, move: int) -> _Node:
        state = self.game.play(node.state, {node.seat: move} if node.seat else {})
        fresh = self._node(state, self._pay(state))
        return self._known.setdefault(_key_of(fresh), fresh) if self.transpositions else fresh

    def _pay(self, state: Any) -> NDArray[np.float64]:
        payoff = self.game.payoff(state)
        return np.array([payoff.get(seat, 0.0) for seat in self.game.players])

    def _simulate(self, root: _Node, rng: np.random.Generator) -> None:
        """Walk down the tree, add one node, play out at random, and book what was earned."""
        path, node = [root], root
        while node.seat is not None:
            move = self._step(node, rng)
            if move not in node.children:
                node.children[move] = self._child(node, move)
            node.taken[move] += 1
            node = node.children[move]
            # With transpositions moves may lead round in a circle.
            again = self.transpositions and any(node is one for one in path)
            path.append(node)
            if again or (not node.visits and node.seat != CHANCE):
                break
        earned = self._playout(node.state, rng)
        for node in reversed(path):
            earned = earned + node.paid
            node.earned += earned
            node.visits += 1

    def _step(self, node: _Node, rng: np.random.Generator) -> int:
        """Nature's outcome by its odds; an untried move at random; else the best upper bound."""
        if node.seat == CHANCE:
            return _drawn(self.game.chance(node.state), rng)
        if node.untried:
            return node.untried.pop(int(rng.integers(len(node.untried))))
        player = self.game.players.index(str(node.seat))
        # UCT: mean + c * sqrt(ln N / n)
        spread = self.exploration * np.sqrt(np.log(node.visits))

        def bound(move: int) -> float:
            child = node.children[move]
            return float(child.earned[player] / child.visits + spread / np.sqrt(node.taken[move]))

        return max(node.children, key=bound)

    def _playout(self, state: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        earned = np.zeros(len(self.game.players))
        while (seat := self._mover(state)) is not None:
            if seat == CHANCE:
                move = _drawn(self.game.chance(state), rng)
            else:
                moves = self._moves(state, seat)
                move = moves[int(rng.integers(len(moves)))]
            state = self.game.play(state, {seat: move})
            earned += self._pay(state)
        return earned


def _drawn(chance: Sequence[tuple[int, float]], rng: np.random.Generator) -> int:
    outcomes, odds = zip(*chance, strict=True)
    edges = np.cumsum(odds)
    index = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
    return int(outcomes[min(index, len(outcomes) - 1)])
