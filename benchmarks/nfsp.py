"""Neural fictitious self-play and R-NaD on Kuhn and Leduc poker beside OpenSpiel's own NFSP: NashConv as they learn.

Each job learns from a million and a half decisions and ends with a row in benchmarks/results/nfsp.json: the exact NashConv
of what it would play, by the decisions made so far, and the processor time. What would be played is the average policy
of NFSP, and of R-NaD its moving average. Ours are configs/nfsp_*.toml and configs/rnad_*.toml; OpenSpiel's has the
numbers of its own examples (nfsp_kuhn_pytorch.py, nfsp_leduc_pytorch.py), and wants `pip install '.[peers]'`.

Example:
    python benchmarks/nfsp.py --game leduc_poker --who nfsp openspiel
    python benchmarks/nfsp.py --table
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, commit, keep_row, kept_rows, table

from ludus.arenas.web.curves import Curve, Series
from ludus.arenas.web.picture import write_picture
from ludus.config import load
from ludus.training.run import train

HOME = Path(__file__).parents[1]
GAMES = ("kuhn_poker", "leduc_poker")
WHO = {"nfsp": "Ludus, NFSP", "openspiel": "OpenSpiel, NFSP", "rnad": "Ludus, R-NaD"}
DECISIONS, POINTS = 1_500_000, 15
Points = list[tuple[int, float]]

TURNS = {"kuhn_poker": 3_000_000, "leduc_poker": 20_000_000}  # over which exploration falls
TARGET = {"kuhn_poker": 1000, "leduc_poker": 19_200}  # turns between updates of the target network


# ------------------------------------------------------------------------------------------ ours
def ours(who: str, game: str, seed: int, share: float) -> Points:
    """The curve of a run of ours, cut to a share of its length."""
    path = HOME / "configs" / f"{who}_{game.removesuffix('_poker')}.toml"
    steps = round(load(path).steps * share)
    with tempfile.TemporaryDirectory() as root:
        given = [f"root={root}", f"seed={seed}", "tensorboard=false", f"phases.0.steps={steps}"]
        folder = train(load(path, [*given, f"evaluate.every={max(1, steps // POINTS)}"]))
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points, played = [], 0.0
    policy = "average" if who == "nfsp" else "main@magnet"
    for line in map(json.loads, lines):
        played += line.get("charts/episodes", 0.0) * line.get("charts/episodic_length", 0.0)
        if (found := line.get(f"eval/nash_conv/{policy}")) is not None:
            points.append((round(played), found))
    return points


# ------------------------------------------------------------------------------------- OpenSpiel
def openspiel(who: str, game: str, seed: int, share: float) -> Points:
    """The curve of OpenSpiel's agents, one for each seat, learning as in its examples."""
    import torch
    from open_spiel.python import rl_environment
    from open_spiel.python.pytorch import nfsp

    torch.set_num_threads(1)
    env = rl_environment.Environment(game, players=2)
    env.seed(seed)
    width, moves = env.observation_spec()["info_state"][0], env.action_spec()["num_actions"]
    agents = [
        nfsp.NFSP(
            player, width, moves, [128], reservoir_buffer_capacity=2_000_000, anticipatory_param=0.1, seed=seed,
            replay_buffer_capacity=200_000, epsilon_decay_duration=TURNS[game], epsilon_start=0.06, epsilon_end=0.001,
            update_target_network_every=TARGET[game],
        )
        for player in range(2)
    ]  # fmt: skip
    measure = _measure(env.game, agents)
    points, played, total = [(0, measure())], 0, round(DECISIONS * share)
    while played < total:
        step = env.reset()
        while not step.last():
            step = env.step([agents[step.observations["current_player"]].step(step).action])
            played += 1
        for agent in agents:
            agent.step(step)
        if played >= total * len(points) / POINTS:
            points.append((played, measure()))
    return points


def _measure(game: Any, agents: list[Any]) -> Callable[[], float]:
    """NashConv of what the agents' average networks play, all positions asked at once."""
    import pyspiel
    import torch
    from open_spiel.python import policy

    states: dict[str, Any] = {}
    rows = policy.TabularPolicy(game)
    for state in rows.states:
        states[state.information_state_string()] = state
    who = np.array([state.current_player() for state in states.values()])
    features = torch.tensor([state.information_state_tensor() for state in states.values()])
    legal = torch.tensor([state.legal_actions_mask() for state in states.values()]).bool()

    def measured() -> float:
        with torch.no_grad():
            logits = torch.stack([agent._avg_network(features) for agent in agents])  # noqa: SLF001
            mixed = torch.softmax(logits.masked_fill(~legal, -torch.inf), -1).double().numpy()
        told = {
            name: [(move, mixed[who[i], i, move]) for move in state.legal_actions()]
            for i, (name, state) in enumerate(states.items())
        }
        return float(pyspiel.nash_conv(game, pyspiel.TabularPolicy(told)))

    return measured


# ------------------------------------------------------------------------------------------ rows
def job(who: str, game: str, seed: int, share: float) -> dict[str, Any]:
    """Learn and measure; a row of the results."""
    began = time.process_time()
    points = (openspiel if who == "openspiel" else ours)(who, game, seed, share)
    command = f"python benchmarks/nfsp.py --game {game} --who {who} --seed {seed}"
    return {
        "game": game, "who": who, "seed": seed, "share": share, "cpu_seconds": round(time.process_time() - began),
        "date": time.strftime("%Y-%m-%d"), "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "commit": commit(),
        "command": command if share == 1 else f"{command} --share {share:g}",
        "points": [(played, round(found, 4)) for played, found in points],
    }  # fmt: skip


def draw() -> None:
    """The picture of all rows; of several seeds the mean."""
    curves = []
    for game in GAMES:
        series = []
        for who, name in WHO.items():
            mine = [row["points"] for row in kept_rows("nfsp") if (row["game"], row["who"]) == (game, who)]
            if mine:
                short = min(map(len, mine))
                x, y = np.array([points[:short] for points in mine]).mean(0).T
                series.append(Series(name, {"decisions": x.tolist()}, y.tolist()))
        curves.append(Curve(game, "NashConv", series))
    if any(curve.series for curve in curves):
        write_picture(curves, RESULTS / "nfsp.svg", against="decisions")


def told() -> str:
    """The table of all rows."""
    rows = []
    for row in kept_rows("nfsp"):
        points = row["points"]
        some = [points[round(part * (len(points) - 1))] for part in (0, 0.2, 0.5, 1)]
        curve = ", ".join(f"{found:.3f} @ {played / 1e6:.2f} M" for played, found in some)
        rows.append([f"{row['game']}, {WHO[row['who']]}", str(row["seed"]), curve, f"{row['cpu_seconds']}"])
    return table(["", "seed", "NashConv @ decisions", "CPU seconds"], rows)


def main() -> None:
    """Some jobs, then the table and the picture."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--game", nargs="*", choices=GAMES, default=GAMES)
    made.add_argument("--who", nargs="*", choices=list(WHO), default=list(WHO))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--share", type=float, default=1.0, help="of a run's full length (default: %(default)s)"
    )
    made.add_argument("--table", action="store_true", help="only print what is kept")
    options = made.parse_args()
    for game in options.game if not options.table else ():
        for who in options.who:
            keep_row("nfsp", job(who, game, options.seed, options.share), ("game", "who", "seed"))
    draw()
    print(told())


if __name__ == "__main__":
    main()
