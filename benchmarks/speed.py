"""Moves per second of every array game under random play, beside OpenSpiel and Pgx in the same run.

A move is one decision of one seat; chance is settled inside the step, finished games start again in
it, and what the next mover sees and may do is written every time. Peers run the same job: OpenSpiel
by its Python loop, one game at a time, without observations; Pgx by `vmap` and `jit` over as many
rows, with observations and automatic reset. A peer that is not installed, or has no such game, is left out.

Example:
    python benchmarks/speed.py --games kuhn_poker tic_tac_toe --rows 8192
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

import ludus
from ludus.core.array_game import ArrayGame

# Our names and theirs, where the rules are the same (Pgx's Leduc differs in how many moves a hand has).
OPEN_SPIEL = {
    "connect_four": "connect_four",
    "kuhn_poker": "kuhn_poker",
    "leduc_poker": "leduc_poker",
    "liars_dice": "liars_dice",
    "matching_pennies": "matrix_mp",
    "rock_paper_scissors": "matrix_rps",
    "tic_tac_toe": "tic_tac_toe",
}
PGX = {
    "connect_four": "connect_four",
    "kuhn_poker": "kuhn_poker",
    "leduc_poker": "leduc_holdem",
    "tic_tac_toe": "tic_tac_toe",
}

Run = Callable[[float], float]  # plays for so many seconds; how many moves a second it made


def ours(game: ArrayGame, rows: int) -> Run:
    """Our batch; compiled before the clock starts."""
    batch = ludus.batch(game, rows, seed=0)
    batch.step(batch.random_actions())

    def run(seconds: float) -> float:
        steps, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            for _ in range(20):
                batch.step(batch.random_actions())
            steps += 20
        return steps * rows / taken

    return run


def open_spiel(name: str) -> Run:
    """OpenSpiel's Python loop."""
    import pyspiel

    game, rng = pyspiel.load_game(name), np.random.default_rng(0)

    def play() -> int:
        state, moves = game.new_initial_state(), 0
        while not state.is_terminal():
            if state.is_simultaneous_node():
                actions = [state.legal_actions(seat) for seat in range(game.num_players())]
                state.apply_actions([legal[int(rng.random() * len(legal))] for legal in actions])
                moves += len(actions)
                continue
            if state.is_chance_node():  # even odds in all of these games
                legal = [outcome for outcome, _ in state.chance_outcomes()]
            else:
                legal = state.legal_actions()
                moves += 1
            state.apply_action(legal[int(rng.random() * len(legal))])
        return moves

    def run(seconds: float) -> float:
        moves, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            moves += sum(play() for _ in range(20))
        return moves / taken

    return run


def pgx(name: str, rows: int, steps: int = 50) -> Run:
    """Pgx: random legal moves, step with automatic reset, `steps` of them in one compiled scan."""
    import jax
    from pgx import make
    from pgx.experimental import auto_reset

    env = make(name)
    step = jax.vmap(auto_reset(env.step, env.init))

    @jax.jit
    def scan(state: object, key: object) -> object:
        def one(state, key):  # noqa: ANN001, ANN202 - Pgx's own types
            choose, reset = jax.random.split(key)
            logits = jax.numpy.log(state.legal_action_mask.astype(jax.numpy.float32))
            action = jax.random.categorical(choose, logits, axis=1)
            return step(state, action, jax.random.split(reset, rows)), state.rewards.sum()

        return jax.lax.scan(one, state, jax.random.split(key, steps))

    state = jax.vmap(env.init)(jax.random.split(jax.random.PRNGKey(0), rows))
    state, _ = jax.block_until_ready(scan(state, jax.random.PRNGKey(1)))

    def run(seconds: float) -> float:
        nonlocal state
        done, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            state, _ = jax.block_until_ready(scan(state, jax.random.PRNGKey(done)))
            done += 1
        return done * steps * rows / taken

    return run


def measure(runs: dict[str, Run], seconds: float, repetitions: int) -> dict[str, list[float]]:
    """Moves per second, repetition by repetition; the runs take turns, so that all meet the same load."""
    speeds: dict[str, list[float]] = {who: [] for who in runs}
    for _ in range(repetitions):
        for who, run in runs.items():
            speeds[who].append(run(seconds))
    return speeds


def cell(speeds: list[float]) -> str:
    """The median in millions, and in brackets the range."""
    return f"{statistics.median(speeds) / 1e6:.3g} ({min(speeds) / 1e6:.3g} to {max(speeds) / 1e6:.3g})"


def runs_of(name: str, rows: int, peers: set[str]) -> dict[str, Run]:
    """Ours, and the peers that have the game."""
    game = ludus.make(name)
    if not isinstance(game, ArrayGame):
        return {}
    runs = {"ludus": ours(game, rows)}
    if "pyspiel" in peers and name in OPEN_SPIEL:
        runs["OpenSpiel"] = open_spiel(OPEN_SPIEL[name])
    if "pgx" in peers and name in PGX:
        runs["Pgx"] = pgx(PGX[name], rows)
    return runs


def main() -> None:
    """Measure and print a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--games", nargs="*", default=ludus.games(), help="default: every registered array game"
    )
    parser.add_argument(
        "--rows", type=int, default=8192, help="games stepped together (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="of each repetition (default: %(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="(default: %(default)s)")
    options = parser.parse_args()
    peers = {name for name in ("pyspiel", "pgx") if importlib.util.find_spec(name)}
    print(
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end=""
    )
    print(f"{options.rows} rows; millions of moves a second, median (range) of {options.repetitions}\n")
    print("| game | Ludus | OpenSpiel | Pgx | Ludus : OpenSpiel | Ludus : Pgx |\n|---|--:|--:|--:|--:|--:|")
    for name in options.games:
        speeds = measure(runs_of(name, options.rows, peers), options.seconds, options.repetitions)
        if not speeds:
            continue
        row = [cell(speeds[who]) if who in speeds else "" for who in ("ludus", "OpenSpiel", "Pgx")]
        for who in ("OpenSpiel", "Pgx"):
            ratio = (
                statistics.median(speeds["ludus"]) / statistics.median(speeds[who]) if who in speeds else None
            )
            row.append("" if ratio is None else f"{ratio:.3g}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
