"""Moves per second of array games under uniformly random legal play, beside peers in the same run.

A move is one decision of one seat; chance is settled inside the step, finished games start again in it, and what the
next mover sees and may do is written every time. Peers do the same work. Pgx: `vmap`, `jit` and a compiled scan of 50
steps with automatic reset, of 4 where 50 would take it a minute, with JAX's default random numbers, its fastest here.
OpenSpiel: its Python loop, one game at a time in one process and in two, observation tensors and legal moves written.
PettingZoo: its classic environments, one process. Ours in two ways: `stroll`, which plays 50 steps in one call as Pgx's
scan does, and `step(random_actions())`, which returns to Python after each. Of two batch sizes each side is measured
with the one that does more in a second of trying. The limit is what memory could move: the bytes that a move reads and
writes, at the speed at which numpy copies an array too large for the caches, on as many threads; none is told for
records of over a kilobyte, of which a move touches a part.

A peer that is not installed, or has no such game, is left out. What is found is kept after each game, beside what was
found of others before.

With --device cuda ours and Pgx's are measured on one GPU, with larger batches, and kept in speed_cuda.json.

Example:
    python benchmarks/speed.py --games kuhn_poker tic_tac_toe --seconds 2
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from measuring import (
    Run,
    about,
    cell,
    earlier,
    footnote,
    judged,
    keep,
    measure,
    parser,
    repeated,
    table,
    times,
)

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Device

SIZES = {"cpu": (1024, 8192), "cuda": (8192, 65_536, 524_288)}
STEPS = 50  # in one call of a compiled loop, ours and Pgx's
BOUND = (
    "tic_tac_toe",
    "connect_four",
    "kuhn_poker",
    "leduc_poker",
    "othello",
)  # to times other peers' loops, too
# Our name with its parameters, and the peers' names for the same game.
GAMES: dict[str, dict[str, Any]] = {
    "tic_tac_toe": {"pgx": "tic_tac_toe", "spiel": "tic_tac_toe", "zoo": "tictactoe_v3", "least": 5, "aim": 10},
    "connect_four": {"pgx": "connect_four", "spiel": "connect_four", "zoo": "connect_four_v3", "least": 5, "aim": 10},
    "kuhn_poker": {"pgx": "kuhn_poker", "spiel": "kuhn_poker", "least": 5, "aim": 10},
    "leduc_poker": {"pgx": "leduc_holdem", "spiel": "leduc_poker", "zoo": "leduc_holdem_v4", "least": 10},
    "othello": {"pgx": "othello", "spiel": "othello", "least": 10},
    "hex": {"pgx": "hex", "spiel": "hex", "least": 5},
    "go": {"params": {"size": 9}, "pgx": "go_9x9", "spiel": "go(board_size=9)", "least": 5},
    "go 19": {"params": {"size": 19}, "pgx": "go_19x19", "spiel": "go(board_size=19)", "zoo": "go_v5", "least": 5,
              "scan": 4},
    "chess": {"pgx": "chess", "scan": 4, "spiel": "chess", "zoo": "chess_v6", "least": 5},
    "backgammon": {"pgx": "backgammon", "spiel": "backgammon"},
    "liars_dice": {"spiel": "liars_dice"},
    "breakthrough": {"spiel": "breakthrough"},
    "checkers": {"spiel": "checkers"},
    "phantom_tic_tac_toe": {"spiel": "phantom_ttt"},
    "dark_hex": {"spiel": "dark_hex(num_cols=3,num_rows=3)"},
    "hanabi": {"spiel": "hanabi"},
}  # fmt: skip


def ours(game: ArrayGame, rows: int, *, stroll: bool, device: Device) -> Run:
    """Our batch; compiled before the clock starts."""
    batch = ludus.batch(game, rows, seed=0, device=device)
    batch.stroll(STEPS)

    def work() -> int:
        if stroll:
            batch.stroll(STEPS)
        else:
            for _ in range(STEPS):
                batch.step(batch.random_actions())
        return STEPS * rows

    return repeated(work)


def pgx(name: str, rows: int, steps: int = STEPS) -> Run:
    """Pgx: random legal moves, step with automatic reset, in one compiled scan."""
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
            after = step(state, action, jax.random.split(reset, rows))
            return after, (
                state.rewards.sum(),
                after.observation.sum(),
            )  # or the compiler leaves observations out

        return jax.lax.scan(one, state, jax.random.split(key, steps))

    state = jax.vmap(env.init)(jax.random.split(jax.random.PRNGKey(0), rows))
    state, _ = jax.block_until_ready(scan(state, jax.random.PRNGKey(1)))
    count = 0

    def work() -> int:
        nonlocal state, count
        count += 1
        state, _ = jax.block_until_ready(scan(state, jax.random.PRNGKey(count)))
        return steps * rows

    return repeated(work)


def open_spiel(name: str) -> Run:
    """OpenSpiel's Python loop, observation tensor and legal moves of the mover written at every decision."""
    import pyspiel
    from open_spiel.python.observation import make_observation

    game, rng = pyspiel.load_game(name), np.random.default_rng(0)
    draws = rng.random(1 << 16).tolist()
    seen, at = make_observation(game), 0

    def work() -> int:
        nonlocal at
        state, moves = game.new_initial_state(), 0
        while not state.is_terminal():
            at = (at + 1) & 0xFFFF
            if state.is_chance_node():
                outcomes, odds = zip(*state.chance_outcomes(), strict=True)
                u, k = draws[at], 0
                while k < len(odds) - 1 and u >= odds[k]:
                    u -= odds[k]
                    k += 1
                state.apply_action(outcomes[k])
                continue
            legal = state.legal_actions()
            seen.set_from(state, state.current_player())
            state.apply_action(legal[int(draws[at] * len(legal))])
            moves += 1
        return moves

    return repeated(work)


def two_processes(name: str) -> Run:
    """OpenSpiel's loop in two processes at once."""
    context = multiprocessing.get_context("spawn")

    def run(seconds: float) -> float:
        with context.Pool(2) as pool:
            pool.map(_spiel_for, [(name, 0.1)] * 2, chunksize=1)  # both have loaded the game
            return sum(pool.map(_spiel_for, [(name, seconds)] * 2, chunksize=1))

    return run


def _spiel_for(asked: tuple[str, float]) -> float:
    return open_spiel(asked[0])(asked[1])


class Picker:
    """A uniformly random legal move of a mask in well under a microsecond: what each mask allows is looked up."""

    def __init__(self) -> None:
        self.known: dict[bytes, list[int]] = {}
        self.draws, self.at = np.random.default_rng(0).random(1 << 16).tolist(), 0

    def __call__(self, mask: np.ndarray) -> int:
        self.at = (self.at + 1) & 0xFFFF
        key = mask.tobytes()
        legal = self.known.get(key)
        if legal is None:
            if len(self.known) > 1 << 16:
                self.known.clear()
            legal = self.known[key] = np.flatnonzero(mask).tolist()
        return legal[int(self.draws[self.at] * len(legal))]


def walk_aec(env: Any) -> Run:
    """Random legal moves through an AEC environment of PettingZoo's, with what `last` shows."""
    pick = Picker()

    def work() -> int:
        env.reset()
        moves = 0
        for _ in env.agent_iter():
            observation, _, ended, cut, _ = env.last()
            if ended or cut:
                env.step(None)
                continue
            env.step(pick(observation["action_mask"]))
            moves += 1
        return moves

    return repeated(work)


def classic(name: str, *, raw: bool = False) -> Run:
    """A classic environment of PettingZoo's, in its wrappers or without."""
    module = importlib.import_module(f"pettingzoo.classic.{name}")
    return walk_aec(module.raw_env() if raw else module.env())


def copied(threads: int = 2, size: int = 1 << 26) -> float:
    """Bytes a second that memory moves, read and written, when numpy copies arrays on so many threads."""
    arrays = [(np.zeros(size, np.uint8), np.ones(size, np.uint8)) for _ in range(threads)]
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        workers = [threading.Thread(target=np.copyto, args=pair) for pair in arrays]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, 2 * threads * size / (time.perf_counter() - begun))
    return best


def bytes_of(game: ArrayGame) -> int:
    """What a move reads and writes: the record both ways, and the arrays that are shown."""
    shown = (
        int(np.prod(game.shape)) * np.dtype(game.dtype).itemsize + len(game.moves) + 4 * len(game.seats) + 2
    )
    return 2 * game.record.itemsize + shown + 4 + 2 * 8 * 2  # action, and two random streams


def better(who: str, made: Callable[[int], Run], device: Device) -> dict[str, Run]:
    """The run of the batch size that does more in a second of trying, named after both."""
    runs = {size: made(size) for size in SIZES[device]}
    tried = {}
    for size, run in runs.items():
        run(0.2)
        tried[size] = run(1.0)
    size = max(tried, key=tried.__getitem__)
    return {f"{who} {size}": runs[size]}


def runs_of(name: str, peers: set[str], device: Device) -> dict[str, Run]:
    """Ours, and the peers that have the game."""
    entry = GAMES[name]
    game = ludus.make(name.split(maxsplit=1)[0], **entry.get("params", {}))
    assert isinstance(game, ArrayGame)
    runs = better("ludus stroll", partial(ours, game, stroll=True, device=device), device)
    runs |= better("ludus step", partial(ours, game, stroll=False, device=device), device)
    if "pgx" in peers and "pgx" in entry:
        steps = entry.get("scan", STEPS) if device == "cpu" else STEPS
        runs |= better("pgx", partial(pgx, entry["pgx"], steps=steps), device)
    if "pyspiel" in peers and "spiel" in entry:
        runs |= {"spiel": open_spiel(entry["spiel"]), "spiel 2": two_processes(entry["spiel"])}
    if "pettingzoo" in peers and "zoo" in entry:
        runs["zoo"] = classic(entry["zoo"])
    return runs


def row(name: str, found: dict[str, list[float]], limit: float, *, bound: bool) -> list[str]:
    """A line of the table; with `bound`, times Pgx are judged."""
    of = {who.rsplit(" ", 1)[0]: speeds for who, speeds in found.items()}  # without the sizes of batches
    stroll, step, pgx_ = of["ludus stroll"], of["ludus step"], of.get("pgx")
    said = [name, cell(stroll), cell(step)]
    spiel, zoo = found.get("spiel"), found.get("zoo")
    bounds = (GAMES[name].get("least", 0), GAMES[name].get("aim", 0)) if bound else (0, 0)
    said += [cell(pgx_) if pgx_ else "", judged(times(stroll, pgx_), *bounds) if pgx_ else ""]
    two = found.get("spiel 2")
    loop, env = (50, 1000) if name in BOUND else (0, 0)
    said += [cell(spiel) if spiel else "", judged(times(stroll, spiel), loop) if spiel else ""]
    said += [f"{times(stroll, two):.3g}" if two else ""]
    said += [cell(zoo) if zoo else "", judged(times(stroll, zoo), env) if zoo else ""]
    return [*said, f"{limit / 1e6:.0f} ({100 * statistics.median(stroll) / limit:.0f} %)" if limit else ""]


HEAD = (
    "game", "Ludus stroll", "Ludus step", "Pgx", "stroll : Pgx", "OpenSpiel, 1 process", "stroll : OpenSpiel",
    "stroll : OpenSpiel in 2 processes", "PettingZoo classic", "stroll : PettingZoo", "memory's limit (we reach)",
)  # fmt: skip


def compare(names: Sequence[str], options: argparse.Namespace) -> None:
    """The table of all games."""
    here = options.device == "cpu"
    peers = {name for name in ("pyspiel", "pgx", "pettingzoo") if importlib.util.find_spec(name)}
    if not here:
        peers &= {"pgx"}
    os.environ["JAX_PLATFORMS"] = options.device  # for "cuda" JAX wants pip install 'jax[cuda13]'
    moved, file = copied() if here else 0.0, "speed" if here else "speed_cuda"
    kept = earlier(file).get("games", {})
    print(f"M moves/s{f'; memory copies {moved / 1e9:.1f} GB/s' if here else ''}\n\n{table(HEAD, [])}")
    for name in names:
        found = measure(runs_of(name, peers, options.device), options)
        game: Any = ludus.make(name.split()[0], **GAMES[name].get("params", {}))
        limit = moved / bytes_of(game) if game.record.itemsize <= 1024 else 0.0
        kept[name] = {"moves a second": found, "limit": limit, "about": about(options)}
        print(f"| {' | '.join(row(name, found, limit, bound=here))} |", flush=True)
        keep(file, {"games": kept}, options)
    footnote(file, options)


def main() -> None:
    """Measure and print a markdown table."""
    made = parser(__doc__ or "")
    made.add_argument("--games", nargs="*", default=list(GAMES), choices=list(GAMES), metavar="GAME")
    made.add_argument(
        "--device", choices=list(SIZES), default="cpu", help="of ours and Pgx (default: %(default)s)"
    )
    options = made.parse_args()
    compare(options.games, options)


if __name__ == "__main__":
    main()
