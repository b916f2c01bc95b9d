"""Expert iteration: games in which a search, guided by the policy's own network, finds every move.

    ledger column     what stands there
    policy_target     the share of the search's visits that each move of the root had
    values            the mean of the search's evaluations at the root
    rollout           the logarithm of the played move's share of visits
    rewards           what the game paid; games are played from beginning to end, so nothing is estimated but what
                      follows where one is cut at collect.length: that the network values, without a search

The search's root has Dirichlet noise; a game's first moves are drawn in proportion to visits, the later
ones are the most visited. What is learned from this is a loss like any other: `cross_entropy`.

Shape letters: T decisions of each row, N rows, A moves.

Source: Silver et al. 2018 (AlphaZero), arXiv:1712.01815; Anthony et al. 2017, arXiv:1705.08439.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.agents import tree
from ludus.agents.network import evaluator, inverse
from ludus.core.agent import Agent
from ludus.core.errors import ConfigError
from ludus.training.collect import ArrayCollector, Stretch
from ludus.training.gathering import Collect, Search
from ludus.training.whole import WholeCollector

BLOCK = 64  # positions that a network evaluates at a time at least, see `ludus.agents.network.evaluator`


class SearchCollector(WholeCollector):
    """Plays N games to their end in every step, a search before each move of an agent with a network.

    Agents without one move as they would without a search.

    Args:
        game: the rules, of perfect information for two, zero sum.
        rows: games of a step, side by side (N).
        length: decisions after which a game is cut.
        seed: decides chance, noise and moves.
        search: how positions are searched.

    Raises:
        ConfigError: the game cannot be searched.
    """

    cuts: ClassVar[bool] = True

    def __init__(self, game: Any, *, rows: int, length: int, seed: int, search: Search) -> None:
        super().__init__(game, rows=rows, length=length, seed=seed)
        self.search = search
        settings: Any = {"exploration": search.exploration, "alpha": search.alpha, "share": search.share}
        share = -(-rows // search.threads)
        # Larger blocks pad more, where leaves are the end and once few games go on. Threads do not change them, since
        # the last digit of a number in bfloat16 depends on how many positions are computed together.
        self.block = max(BLOCK, rows // 8)
        self.trees = [tree.Search(game, share, search.simulations, **settings) for _ in range(search.threads)]
        # Each searches by itself: together in every layer of the network they would wait for each other.
        self._threads = ThreadPoolExecutor(search.threads, "ludus-search", torch.set_num_threads, (1,))

    def _blank(self) -> Stretch:
        s = super()._blank()
        s.target = np.full(s.legal.shape, np.nan, np.float32)
        return s

    def _decide(
        self, s: Stretch, t: int, mine: NDArray[np.int64], agent: Agent, uniform: NDArray[np.float64]
    ) -> None:
        network = getattr(agent, "network", None)
        if network is None:
            super()._decide(s, t, mine, agent, uniform)
            return
        seeds = self.rng.integers(2**63, size=len(mine)).astype(np.uint64)
        evaluate = evaluator(network, self.block, half=self.search.precision == "bfloat16")
        shares = np.array_split(np.arange(len(mine)), min(len(self.trees), len(mine)))
        records = self.batch.records[mine]
        works = [
            self._threads.submit(trees.run, records[some], evaluate, seeds[some])
            for trees, some in zip(self.trees, shares, strict=False)
        ]
        found = [work.result() for work in works]
        visits = np.concatenate([one.visits for one in found])
        share = visits / visits.sum(1, keepdims=True)
        early = self._count[mine] < self.search.drawn
        move = np.where(early, inverse(share, uniform), share.argmax(1))
        assert s.target is not None  # `_blank` made room for it
        s.move[t, mine], s.target[t, mine] = move, share
        s.value[t, mine] = np.concatenate([one.values for one in found])
        s.logprob[t, mine] = np.log(share[np.arange(len(mine)), move])


def collector(game: Any, collect: Collect, *, seed: int) -> ArrayCollector:
    """What a configuration collects decisions of an array game with.

    Raises:
        ConfigError: it is no array game, cannot be searched, or settings do not go together.
    """
    size: dict[str, Any] = {"rows": collect.rows, "length": collect.length, "seed": seed}
    if not collect.search.simulations:
        return (WholeCollector if collect.whole else ArrayCollector)(game, **size)
    if collect.by != "arrays":
        raise ConfigError("collect.search searches the positions of arrays: collect.by = 'arrays'")
    return SearchCollector(game, **size, search=collect.search)
