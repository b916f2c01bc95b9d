"""How strong agents become: one fixed configuration a game, the last point, several seeds.

Each job is a training run that goes on where it was stopped, and ends with a row in benchmarks/results/strength.json:
what was measured of the last policy, the decisions it took and the time. The table has every seed, the mean and its 95 %
interval (Student's t over seeds), and the bound. What is measured:

    nash_conv        what both players could gain by answering best; exact, of the policy as it draws its moves
    losses           of the greedy policy: what its worst opponent can win from it, over both seats; exact, 0 if it
                     never loses whatever is played against it
    learned_best_response
                     mean gain over the seats of best responses that are learned in two million decisions a seat: a lower
                     bound of exploitability, in games too large to tabulate; its row has the 95 % interval over games

Example:
    python benchmarks/strength.py --game kuhn_poker --seed 3
    python benchmarks/strength.py --table
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, table

from ludus.agents.network import network
from ludus.config import load
from ludus.core.exact import answer_rows, nash_conv, rows, tabular
from ludus.core.registry import make
from ludus.core.tables import tabulate
from ludus.training.responses import learned_exploitability
from ludus.training.run import train

HOME = Path(__file__).parents[1]
ROWS = RESULTS / "strength.json"
BOUNDS = {
    "kuhn_poker": ("nash_conv", 0.04),
    "leduc_poker": ("nash_conv", 0.36),
    "tic_tac_toe": ("losses", 0.0),
    "phantom_tic_tac_toe": ("learned_best_response", 0.20),
    "dark_hex": ("learned_best_response", 0.25),
}
RESPONSE = 2_000_000  # decisions in which each response is learned
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # of 95 %, by seeds


def losses(game: Any, agent: Any) -> float:
    """What the worst opponents win from the greedy policy, summed over both seats."""
    tables = tabulate(game)
    drawn = rows(tables, tabular(game, agent))
    greedy = np.eye(drawn.shape[1])[drawn.argmax(1)]
    return sum(max(0.0, answer_rows(tables, greedy, seat)[0]) for seat in game.seats)


def measured(game: Any, folder: Path, seed: int) -> dict[str, float]:
    """Of the last policy of a run."""
    agent, measure = network(str(folder / "policies" / "main")), BOUNDS[game.id][0]
    if measure == "losses":
        return {"losses": losses(game, agent)}
    if measure == "nash_conv":
        return {"nash_conv": nash_conv(game, tabular(game, agent))}
    found = learned_exploitability(game, agent, decisions=RESPONSE, seed=seed)
    interval = {name: getattr(found, name) / len(game.players) for name in ("low", "high")}
    return {measure: found.exploitability, **interval, "response_decisions": found.decisions}


def job(game: str, seed: int) -> dict[str, Any]:
    """Train, or go on training, and measure."""
    settings = load(HOME / "configs" / "strength" / f"{game}.toml", [f"seed={seed}", f'name="{game}_{seed}"'])
    folder, (played,) = Path(settings.root) / settings.name, settings.every_game
    train(settings, resume=folder.exists())
    metrics = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    last = max((row for row in metrics if "global_step" in row), key=lambda row: row["step"])
    return {
        "game": game, "seed": seed, **measured(make(played.name, **played.params), folder, seed), "decisions": last["global_step"],
        "minutes": round(last["time/seconds"] / 60, 2), "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "command": f"make strength GAME={game} SEED={seed}",
    }  # fmt: skip


def kept() -> list[dict[str, Any]]:
    """The rows so far."""
    return json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []


def keep(row: dict[str, Any]) -> None:
    """Put a row in the place of the same job's."""
    RESULTS.mkdir(exist_ok=True)
    others = [one for one in kept() if (one["game"], one["seed"]) != (row["game"], row["seed"])]
    every = sorted([*others, row], key=lambda one: (one["game"], one["seed"]))
    ROWS.write_text("[\n" + ",\n".join(json.dumps(one) for one in every) + "\n]\n", encoding="utf-8")


def told() -> str:
    """The table of all rows."""
    lines = []
    for game, (measure, bound) in BOUNDS.items():
        mine = [row for row in kept() if row["game"] == game]
        if not mine:
            continue
        found = [row[measure] for row in mine]
        mean = statistics.mean(found)
        half = (
            T[len(found)] * statistics.stdev(found) / len(found) ** 0.5 if len(found) in T else float("nan")
        )
        lines.append(
            [game, measure, " ".join(f"{number:.3f}" for number in found), f"{mean:.3f} ± {half:.3f}",
             f"at most {bound:g}: {sum(number <= bound for number in found)} of {len(found)} met",
             f"{mine[0]['decisions'] / 1e6:.1f} M", f"{statistics.mean(row['minutes'] for row in mine):.1f}"]
        )  # fmt: skip
    return table(
        ["game", "measure", "seeds", "mean and 95 % interval", "bound", "decisions", "minutes a seed"], lines
    )


def main() -> None:
    """One job, or the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--game", choices=list(BOUNDS))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--table", action="store_true", help="only print what is kept")
    options = made.parse_args()
    if options.game and not options.table:
        row = job(options.game, options.seed)
        keep(row)
        print(row)
    print(told())


if __name__ == "__main__":
    main()
