"""Tree search over array games of perfect information, many searches side by side.

`Search` grows N trees in arrays made once. With `run` the leaves of all trees are evaluated together, by a network or
any other function (PUCT); with `play_out` each by one random playout (UCT). Two players, zero sum; chance has nodes of
its own, whose outcomes are drawn by their odds.

Shape letters: N searches, M nodes, W edges (the larger of moves and outcomes), A moves, C outcomes, K seats, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.agents.attached import attached
from ludus.agents.search import Searcher, searchable
from ludus.core.agent import Decision, Request
from ludus.core.array_game import NATURE, ArrayGame
from ludus.core.compiled import called, kernel, opened
from ludus.core.errors import ConfigError, ContractError
from ludus.core.game import Game
from ludus.core.registry import make_agent, register_agent

Evaluate: TypeAlias = Callable[[NDArray[Any], NDArray[np.bool_]], tuple[NDArray[Any], NDArray[Any]]]
BLOCK = 8  # rows that a network evaluates at a time
ROOM = 1 << 28  # bytes that an agent's trees may take; one tree may take more

# A node: who moves (or `NATURE`, `OVER`), where it hangs, what entering it paid the first player, and how often the
# search came through, its own evaluation included.
NODE = np.dtype(
    [("who", np.int32), ("parent", np.int32), ("edge", np.int32), ("count", np.int32), ("paid", np.float32)]
)
# An edge: its node, -1 while there is none; the prior of a move or the odds of an outcome, -1 where neither is possible;
# visits; and what the first player earned beyond it, summed.
EDGE = np.dtype([("total", np.float64), ("child", np.int32), ("visits", np.int32), ("prior", np.float32)])
# A row (numpy's records have a size of their own): nodes in use; what the root was evaluated to; and the leaf at hand:
# its node, who is to move there, and, if it is not kept in the tree, by which move and with which gain it was reached.
ROW = np.dtype(
    [("first", np.float64), ("gain", np.float64), ("used", np.int32), ("leaf", np.int32), ("asked", np.int32),
     ("via", np.int32)]
)  # fmt: skip


class Tree(NamedTuple):
    """The arrays of N trees.

    Attributes:
        records: (N, M) positions.
        nodes: (N, M) of type `NODE`.
        edges: (N, M, W) of type `EDGE`.
        rows: (N,) of type `ROW`.
        scratch: (N,) the position of the leaf at hand.
        pay: (N, K) float32; mask: (N, A) uint8; obs: (N, *F); odds: (N, C) and noise: (N, A) float64, room to work in.
        seed: (N,) uint64, the rows' streams.
    """

    records: Any
    nodes: Any
    edges: Any
    rows: Any
    scratch: Any
    pay: Any
    mask: Any
    obs: Any
    odds: Any
    noise: Any
    seed: Any


_RECORDS = ("records", "nodes", "edges", "rows", "scratch")


class Found(NamedTuple):
    """What searches found: visits (N, A) int32 of the root's moves, values (N,) float64 of the root for its mover."""

    visits: NDArray[np.int32]
    values: NDArray[np.float64]


class Search:
    """N searches side by side. What happens in a row depends on its position and seed, not on N.

    score(a) = Q(a) + c P(a) sqrt(N) / (1 + n(a))          with `run`
    score(a) = Q(a) + c sqrt(ln N / n(a))                  with `play_out`

    Args:
        game: an array game of perfect information, two players and zero sum.
        n: searches at most.
        simulations: leaves of each search, besides its root.
        exploration: c, in units of payoff.
        alpha: of the Dirichlet noise at the root; used where `share` is not 0.
        share: how much of the root's priors is noise, 0 to 1.

    Raises:
        ConfigError: the game cannot be searched like this.
        ValueError: a number out of its range.

    Source: `run`: Silver et al. 2018, "A general reinforcement learning algorithm that masters chess, shogi, and Go
    through self-play" (arXiv:1712.01815), with c constant; `play_out`: Kocsis and Szepesvári 2006, "Bandit based
    Monte-Carlo planning".
    """

    def __init__(
        self,
        game: ArrayGame,
        n: int,
        simulations: int,
        *,
        exploration: float = 1.25,
        alpha: float = 0.3,
        share: float = 0.0,
    ) -> None:
        searchable(game)
        if n < 1 or simulations < 1:
            raise ValueError(f"{n} searches of {simulations} simulations: there must be at least one of each")
        if not (exploration >= 0 and alpha > 0 and 0 <= share <= 1):
            raise ValueError(
                f"exploration is not negative, alpha positive and share 0 to 1, not {exploration}, {alpha}, {share}"
            )
        self.game, self.n, self.simulations = game, n, simulations
        self.exploration, self.alpha, self.share = float(exploration), float(alpha), float(share)
        self._loops = attached(game, "tree_loops")
        nodes = 1 + simulations * (2 if game.outcomes else 1)  # chance has nodes of its own
        self.tree = _tree(game, n, nodes)
        loops = kernel(game)
        self._logits, self._values = np.zeros((n, len(game.moves)), np.float32), np.zeros(n, np.float32)
        records = {name: opened(loops, getattr(self.tree, name)) for name in _RECORDS}
        self._opened = self.tree._replace(**records)

    def run(
        self, records: NDArray[Any], evaluate: Evaluate, seeds: NDArray[np.uint64] | None = None
    ) -> Found:
        """Search from records, the leaves of every simulation evaluated in one call.

        Args:
            records: (n,) positions, n at most N. Rows that are over are left alone: no visits, value 0.
            evaluate: features (m, *F) and legal moves (m, A) bool of the leaves that are not the end, m of n, to
                logits (m, A), or logarithms of priors, and values (m,), what the mover expects to earn from there on.
            seeds: (n,) of noise and chance; by default the rows' numbers.

        Raises:
            ValueError: the records or answers are of another type or shape; chance is to move at a root.
            ContractError: somebody is to move, there or later, and has no legal move.
        """
        n, t = self._plant(records, seeds), self._opened
        self._loops.unfold(t, *self._asked(evaluate, n), 0, n)
        if self.share:
            self._loops.stir(t, self.alpha, self.share, 0, n)
        for _ in range(self.simulations):
            self._loops.descend(t, self.exploration, 0, n)
            self._loops.unfold(t, *self._asked(evaluate, n), 0, n)
        return self._found(n)

    def play_out(self, records: NDArray[Any], seeds: NDArray[np.uint64] | None = None) -> Found:
        """Search from records (n,), each leaf evaluated by one playout of uniformly drawn moves; see `run`."""
        n = self._plant(records, seeds)
        self._loops.play_out(self._opened, self.exploration, self.simulations, 0, n)
        found = self._found(n)
        if np.isnan(found.values).any():
            raise self._stuck(int(np.isnan(found.values).argmax()))
        return found

    def means(self, n: int) -> NDArray[np.float64]:
        """What the moves of the first n roots were worth to their movers, on average: (n, A), nan without visits."""
        sign, edges = self._signs(n)[:, None], self.tree.edges[:n, 0, : len(self.game.moves)]
        with np.errstate(invalid="ignore"):
            worth: NDArray[np.float64] = sign * edges["total"] / edges["visits"]
        return worth

    # ------------------------------------------------------------------------------ inside
    def _plant(self, records: NDArray[Any], seeds: NDArray[np.uint64] | None) -> int:
        n, t = len(records), self.tree
        if records.dtype != self.game.record or records.shape != (n,) or not 1 <= n <= self.n:
            raise ValueError(
                f"{self.game!r}: a search takes records of shape (n,), n from 1 to {self.n}, of the game's type "
                f"{self.game.record}; not {records.shape} of {records.dtype}"
            )
        if seeds is not None and np.shape(seeds) != (n,):
            raise ValueError(f"{n} searches take as many seeds, not {np.shape(seeds)}")
        t.records[:n, 0] = records
        t.seed[:n] = np.arange(n) if seeds is None else seeds
        with np.errstate(over="ignore"):
            called(type(self.game).__name__, self._loops.plant, self._opened, 0, n)
        if (t.nodes["who"][:n, 0] == NATURE).any():
            row = int(np.argmax(t.nodes["who"][:n, 0] == NATURE))
            raise ValueError(
                f"{self.game!r}, row {row}: chance is to move; play its outcome before searching"
            )
        return n

    def _asked(self, evaluate: Evaluate, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
        asked = np.flatnonzero(self.tree.rows["asked"][:n] >= 0)
        if asked.size:
            mask = self.tree.mask[asked].view(np.bool_)
            if not mask.any(1).all():
                raise self._stuck(int(asked[mask.any(1).argmin()]))
            logits, values = evaluate(self.tree.obs[asked], mask)
            here = len(asked), len(self.game.moves)
            if logits.shape != here or values.shape != here[:1]:
                raise ValueError(
                    f"{self.game!r}: an evaluation gives logits {here} and values {here[:1]}, not {logits.shape} and "
                    f"{values.shape}"
                )
            self._logits[asked], self._values[asked] = logits, values
        return self._logits[:n], self._values[:n]

    def _stuck(self, row: int) -> ContractError:
        return ContractError(
            f"{self.game!r}, row {row}: in the search a seat was to move and had no legal move"
        )

    def _signs(self, n: int) -> NDArray[np.float64]:
        return np.where(self.tree.nodes["who"][:n, 0] == 1, -1.0, 1.0)

    def _found(self, n: int) -> Found:
        """The root's value is the mean of all evaluations, a network's of the root itself among them."""
        visits = self.tree.edges["visits"][:n, 0, : len(self.game.moves)].copy()
        own = np.where(visits.any(1), self.tree.nodes["count"][:n, 0] - visits.sum(1), 1)
        worth = self.tree.edges["total"][:n, 0].sum(1) + own * self.tree.rows["first"][:n]
        return Found(visits, self._signs(n) * worth / (own + visits.sum(1)))


def _tree(game: ArrayGame, n: int, nodes: int) -> Tree:
    width, a, k = max(len(game.moves), game.outcomes), len(game.moves), len(game.seats)
    return Tree(
        records=np.zeros((n, nodes), game.record), nodes=np.zeros((n, nodes), NODE),
        edges=np.zeros((n, nodes, width), EDGE), rows=np.zeros(n, ROW), scratch=np.zeros(n, game.record),
        pay=np.zeros((n, k), np.float32), mask=np.zeros((n, a), np.uint8), obs=np.zeros((n, *game.shape), game.dtype),
        odds=np.zeros((n, game.outcomes)), noise=np.zeros((n, a)), seed=np.zeros(n, np.uint64),
    )  # fmt: skip


# -------------------------------------------------------------------------------------- agents
class TreeAgent(Searcher):
    """What both agents share: a search as wide as there are requests, if there is room, and the choice of a move."""

    def __init__(
        self, game: str | Game[Any], name: str, params: dict[str, Any], temperature: float, **settings: Any
    ) -> None:
        super().__init__(game, name, params)
        if not temperature >= 0:
            raise ValueError(f"a temperature is 0 or more, not {temperature}")
        self.rules, self.temperature = searchable(self.game), temperature
        self._made_with, self._searches = settings, Search(self.rules, 1, **settings)
        self._most = max(1, ROOM // sum(array.nbytes for array in self._searches.tree))
        self._settings = f"{type(self).__name__} {self.rules!r} {temperature} {settings}"

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        if not requests:
            return []
        if self._searches.n < (n := min(len(requests), self._most)):
            self._searches = Search(self.rules, n, **self._made_with)
        parts = [self._answers(requests[low : low + n]) for low in range(0, len(requests), n)]
        return [decision for part in parts for decision in part]

    def _answers(self, requests: Sequence[Request]) -> list[Decision]:
        states = b"".join(self._state(request).record for request in requests)
        seeds = np.array([request.rng.integers(2**63) for request in requests], np.uint64)
        found = self._search(np.frombuffer(states, self.rules.record), seeds)
        means = self._searches.means(len(requests))
        rows = zip(requests, found.visits, means, found.values, strict=True)
        return [Decision(self._choice(n, q, r.rng), value=float(v), note=_note(n)) for r, n, q, v in rows]

    def _search(self, records: NDArray[Any], seeds: NDArray[np.uint64]) -> Found:
        raise NotImplementedError

    def _choice(self, visits: NDArray[np.int32], means: NDArray[np.float64], rng: np.random.Generator) -> int:
        """The most visited move, of several the best; or one drawn in proportion to visits ** (1 / temperature)."""
        if self.temperature == 0:
            return int(np.argmax(np.where(visits == visits.max(), means, -np.inf)))
        share = (visits / visits.max()) ** (1 / self.temperature)
        return int(rng.choice(len(visits), p=share / share.sum()))

    def fingerprint(self) -> str:
        """A hash of the game and the settings."""
        return hashlib.blake2b(self._settings.encode(), digest_size=8).hexdigest()


def _note(visits: NDArray[np.int32]) -> str:
    return "visits " + ", ".join(f"{move}: {visits[move]}" for move in np.flatnonzero(visits))


@register_agent("puct")
class Puct(TreeAgent):
    """Tree search guided by a network's priors and values, as AlphaZero's; see `Search`.

    Args:
        game: the game it plays, made or by name.
        network: the folder of a saved network, or an agent that has one.
        simulations: evaluations for each move.
        c_puct: weight of the priors.
        alpha, share: of the Dirichlet noise at the root; none by default.
        temperature: 0 plays the most visited move, 1 in proportion to visits.
        name: what it is called in records.
        params: what the game is made with, if it is given by name.

    Raises:
        ConfigError: the game cannot be searched, or the network is made for another.
    """

    def __init__(
        self,
        game: str | Game[Any],
        network: Any,
        simulations: int = 100,
        c_puct: float = 1.25,
        alpha: float = 0.3,
        share: float = 0.0,
        temperature: float = 0.0,
        name: str = "",
        **params: Any,
    ) -> None:
        super().__init__(
            game, name or f"puct_{simulations}", params, temperature, simulations=simulations,
            exploration=c_puct, alpha=alpha, share=share,
        )  # fmt: skip
        from ludus.agents.network import evaluator  # wants torch, which UCT does without

        policy: Any = make_agent("network", path=network) if isinstance(network, (str, Path)) else network
        if getattr(policy, "network", None) is None:
            raise ConfigError(
                f"{name or 'puct'} needs a saved network's folder or a NetworkAgent, not {network!r}"
            )
        made = policy.network.shape
        if made.words or (made.features, made.moves) != (self.rules.shape, len(self.rules.moves)):
            raise ConfigError(
                f"{policy.name} reads {'prose' if made.words else made.features} and has {made.moves} moves; in "
                f"{self.rules!r} there are features {self.rules.shape} and {len(self.rules.moves)} moves"
            )
        self.policy, self._evaluate = policy, evaluator(policy.network, BLOCK)

    def _search(self, records: NDArray[Any], seeds: NDArray[np.uint64]) -> Found:
        return self._searches.run(records, self._evaluate, seeds)

    def fingerprint(self) -> str:
        """A hash of the game, the settings and the weights."""
        return hashlib.blake2b(
            (self._settings + self.policy.fingerprint()).encode(), digest_size=8
        ).hexdigest()


@register_agent("uct")
class Uct(TreeAgent):
    """Tree search with the UCT rule and compiled random playouts; see `Search`.

    Args:
        game: the game it plays, made or by name.
        simulations: playouts for each move.
        exploration: weight of the confidence term, in units of payoff.
        temperature: 0 plays the most visited move, 1 in proportion to visits.
        name: what it is called in records.
        params: what the game is made with, if it is given by name.

    Raises:
        ConfigError: the game cannot be searched like this.
    """

    def __init__(
        self,
        game: str | Game[Any],
        simulations: int = 1000,
        exploration: float = 1.4,
        temperature: float = 0.0,
        name: str = "",
        **params: Any,
    ) -> None:
        super().__init__(
            game, name or f"uct_{simulations}", params, temperature, simulations=simulations,
            exploration=exploration,
        )  # fmt: skip

    def _search(self, records: NDArray[Any], seeds: NDArray[np.uint64]) -> Found:
        return self._searches.play_out(records, seeds)
