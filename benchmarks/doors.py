"""The doors beside their peers: moves per second through PettingZoo's AEC interface, and turns per second in prose.

AEC: our door and PettingZoo's own classic environments, in its wrappers and, raw, without, driven by one picker that costs
well under a microsecond a move; an AEC environment that does nothing at all, for the same loop, bounds what any can reach.
Prose: our `play` with an agent that reads each view, which tells all that its seat has seen, and at a seat's first turn
the rules, and draws a legal move, episodes recorded, beside TextArena's environments, a new one for each game in its
default wrappers (one that is used again keeps all earlier games' text) and, raw, without wrappers; the same rules, legal
moves only, by the same picker.

Example:
    python benchmarks/doors.py --seconds 2
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from measuring import Run, cell, footnote, judged, keep, measure, parser, repeated, table, times
from pettingzoo import AECEnv
from speed import Picker, classic, walk_aec

import ludus
from ludus.core.agent import Decision, Request
from ludus.core.play import play
from ludus.envs.doors.pettingzoo import aec

ZOO = {"tic_tac_toe": "tictactoe_v3", "connect_four": "connect_four_v3", "leduc_poker": "leduc_holdem_v4"}
ARENA = {"tic_tac_toe": "TicTacToe-v0", "connect_four": "ConnectFour-v0", "spiral_kuhn_poker": "KuhnPoker-v0"}
PARAMS = {"spiral_kuhn_poker": {"rounds": 3, "match": "chips"}}  # as KuhnPoker-v0 has them


class Nothing(AECEnv):  # type: ignore[misc]
    """Two agents in turn, for nine moves, whose observations are always the same."""

    metadata = {"name": "nothing"}  # noqa: RUF012 - as PettingZoo has it
    possible_agents = ["player_0", "player_1"]  # noqa: RUF012

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        """Begin."""
        self.agents = self.possible_agents[:]
        self.rewards = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agent_selection, self.moves = "player_0", 0
        self.seen = {"action_mask": np.ones(9, np.int8)}

    def observe(self, agent: str) -> dict[str, Any]:
        """The same as ever."""
        return self.seen

    def step(self, action: Any) -> None:
        """The other's turn."""
        if self.terminations[self.agent_selection]:
            self._was_dead_step(action)
            return
        self.moves += 1
        self.agent_selection = self.possible_agents[self.moves % 2]
        if self.moves == 9:
            self.terminations = dict.fromkeys(self.agents, True)


def through_aec(options: argparse.Namespace) -> dict[str, Any]:
    """The table of the AEC interface."""
    kept, lines = {}, []
    empty = measure({"": walk_aec(Nothing())}, options)[""]
    for game, name in ZOO.items():
        runs = {"ludus": walk_aec(aec(game)), "classic": classic(name), "raw": classic(name, raw=True)}
        found = measure(runs, options)
        ratio, raw, bound = (
            times(ours, found[peer])
            for ours, peer in ((found["ludus"], "classic"), (found["ludus"], "raw"), (empty, "classic"))
        )
        speeds = [cell(found[who], 1e3) for who in runs]
        lines.append([game, *speeds, judged(ratio, 3, 5), f"{raw:.3g}", f"{bound:.3g}"])
        kept[game] = found
    print(f"AEC, thousand moves a second; an environment that does nothing: {cell(empty, 1e3)}\n")
    head = [
        "game",
        "Ludus",
        "PettingZoo classic",
        "its raw form",
        "times",
        "times, raw",
        "an empty one would be",
    ]
    print(table(head, lines), "\n", flush=True)
    return kept | {"empty": empty}


class Reader:
    """Reads what it is shown, and draws a legal move."""

    name = "reader"

    def __init__(self) -> None:
        self.pick, self.read = Picker(), 0

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        """One decision for each."""
        for request in requests:
            self.read += len(request.view.text) + (0 if request.past else len(request.rules))
        return [Decision(self.pick(request.options.legal)) for request in requests]  # type: ignore[union-attr]


def prose(game: str) -> Run:
    """Our loop, with episodes recorded."""
    seed = 0
    made, agent = ludus.make(game, **PARAMS.get(game, {})), Reader()

    def work() -> int:
        nonlocal seed
        seed += 1024
        episodes = play(made, {"player": agent}, range(seed, seed + 1024), at_once=32)
        return sum(len(episode.steps) for episode in episodes)

    return repeated(work)


def arena(name: str, *, raw: bool) -> Run:
    """TextArena's environment, a new one for each game."""
    import textarena

    pick, legal, seed = Picker(), LEGAL[name], 0

    def work() -> int:
        nonlocal seed
        seed, turns = seed + 1, 0
        env = textarena.make(name + "-raw" if raw else name)
        env.reset(num_players=2, seed=seed)
        rules = env
        while hasattr(rules, "env"):
            rules = rules.env
        over = False
        while not over:
            env.get_observation()
            words = legal(rules.state.game_state)
            over, _ = env.step(words[pick(np.ones(len(words), np.int8))])
            turns += 1
        env.close()
        return turns

    return repeated(work)


def _squares(state: dict[str, Any]) -> list[str]:
    return [
        f"[{3 * r + c}]" for r, row in enumerate(state["board"]) for c, mark in enumerate(row) if not mark
    ]


def _columns(state: dict[str, Any]) -> list[str]:
    return [f"[col {c}]" for c, mark in enumerate(state["board"][0]) if mark == "."]


def _bets(state: dict[str, Any]) -> list[str]:
    return [f"[{move}]" for move in state["current_legal_action_tree"]]


LEGAL: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "TicTacToe-v0": _squares, "ConnectFour-v0": _columns, "KuhnPoker-v0": _bets,
}  # fmt: skip


def in_prose(options: argparse.Namespace) -> dict[str, Any]:
    """The table of prose."""
    kept, lines = {}, []
    for game, name in ARENA.items():
        runs = {"ludus": prose(game), "wrapped": arena(name, raw=False), "raw": arena(name, raw=True)}
        found = measure(runs, options)
        ratio = judged(times(found["ludus"], found["wrapped"]), 1, 2)
        raw = f"{times(found['ludus'], found['raw']):.3g}"
        lines.append([game, *(cell(found[who], 1e3) for who in ("ludus", "wrapped", "raw")), ratio, raw])
        kept[game] = found
    print("prose, thousand turns a second\n")
    print(table(["game", "Ludus", "TextArena", "TextArena, raw", "times", "times, raw"], lines), flush=True)
    return kept


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "").parse_args()
    warnings.simplefilter("ignore")
    kept = {"aec": through_aec(options)}
    if importlib.util.find_spec("textarena"):
        kept["prose"] = in_prose(options)
    keep("doors", kept, options)
    footnote("doors", options)


if __name__ == "__main__":
    main()
