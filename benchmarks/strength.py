"""How strong agents become: one fixed configuration a game, the last point, several seeds.

Each job is a training run that goes on where it was stopped, and ends with a row in benchmarks/results/strength.json:
what was measured of the last policy, the decisions it took and the time. The table has every seed, the mean and its 95 %
interval (Student's t over seeds), and the bound. Where NashConv is exact, rows have its curve, and strength.svg beside
them shows it. What is measured:

    nash_conv        what both players could gain by answering best; exact, of the policy as it draws its moves
    nash_conv_average  the same of the average strategy of the run, as its file weighs it: what CFR, fictitious play and
                     NFSP are measured by
    losses           of the greedy policy: what its worst opponent can win from it, over both seats; exact, 0 if it
                     never loses whatever is played against it
    optimal          share of positions of connect four in which the policy's likeliest move keeps the value that the
                     oracle found, without a search; of 1,000 positions of 12 to 32 discs, those are taken in which
                     some moves keep it and some do not. An untrained network has about a third
    optimal_of_all   the same share of all 1,000 of them
    optimal_searched the same of a search of 200 simulations, which alone, with an untrained network, does well already
    against_uct      score (a draw counts half) of the search, of 200 simulations, in 200 games with uct of 1,000
    learned_best_response
                     mean gain over the seats of best responses that are learned in two million decisions a seat: a lower
                     bound of exploitability, in games too large to tabulate; its row has the 95 % interval over games

Example:
    python benchmarks/strength.py --game kuhn_poker --seed 3
    python benchmarks/strength.py --game connect_four --seed 1 --minutes 30
    python benchmarks/strength.py --game kuhn_poker --seed 0 --ship     # what `trained` then plays
    python benchmarks/strength.py --table
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measuring import RESULTS, commit, keep_row, kept_rows, table
from numpy.typing import NDArray

from ludus.agents.connect_four_oracle import FULL, label, positions
from ludus.agents.exact import Tabular
from ludus.agents.network import NetworkAgent, evaluator, network
from ludus.agents.trained import ship
from ludus.agents.tree import Puct, Search, Uct
from ludus.arenas.web.curves import Curve, Series, series
from ludus.arenas.web.picture import write_picture
from ludus.config import load
from ludus.core.errors import LudusError
from ludus.core.exact import losses, nash_conv, tabular
from ludus.core.play import play
from ludus.core.position import Position
from ludus.core.registry import make
from ludus.training.responses import learned_exploitability
from ludus.training.run import train

HOME = Path(__file__).parents[1]
SIMULATIONS, POSITIONS, DISCS, GAMES = 200, 1000, (12, 32), 200
LARGEST = 1 << 20  # bytes of an average strategy that is shipped; in place of larger ones the last policy is


class Bound(NamedTuple):
    """What a measure should come to: `bound` at most, or at least; or a measure that is only told."""

    measure: str
    bound: float | None = None
    least: bool = False

    def judged(self, found: Sequence[float]) -> str:
        """How many seeds' figures are good enough."""
        if self.bound is None:
            return ""
        met = sum(one >= self.bound if self.least else one <= self.bound for one in found)
        return f"at {'least' if self.least else 'most'} {self.bound:g}: {met} of {len(found)} met"


BOUNDS = {
    "connect_four": [Bound("optimal", 0.84, least=True), Bound("against_uct", 0.90, least=True)],
    "dark_hex": [Bound("learned_best_response", 0.25)],
    "kuhn_poker": [Bound("nash_conv", 0.04)],
    "leduc_poker": [Bound("nash_conv_average", 0.36), Bound("nash_conv", 0.36)],
    "liars_dice": [Bound("nash_conv_average"), Bound("nash_conv")],
    "phantom_tic_tac_toe": [Bound("learned_best_response", 0.20)],
    "tic_tac_toe": [Bound("losses", 0.0)],
}
CALLED = {"nash_conv": "the last policy", "nash_conv_average": "the average strategy"}
RESPONSE = 2_000_000  # decisions in which each response is learned
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}  # of 95 %, by seeds


def optimal(game: Any, agent: NetworkAgent) -> dict[str, float]:
    """How often the policy alone, and a search, choose a move that keeps the value where not every move does."""
    records = positions(POSITIONS, DISCS, seed=0, game=game)
    found = label(records)
    matters = (found.best != (found.values != FULL)).any(1)
    records, best = records[matters], found.best[matters]
    features, legal = (
        np.stack(parts) for parts in zip(*(observed(game, one) for one in records), strict=True)
    )
    with torch.no_grad():
        logits = agent.network(torch.from_numpy(features))[0].numpy()
    alone = np.where(legal, logits, -np.inf).argmax(1)
    searches = Search(game, len(records), SIMULATIONS)
    searched = searches.run(records, evaluator(agent.network, 64)).visits.argmax(1)
    every = np.arange(len(records))
    return {
        "optimal": (share := float(best[every, alone].mean())),
        "optimal_of_all": 1 - float(matters.mean()) * (1 - share),
        "optimal_searched": float(best[every, searched].mean()),
    }


def observed(game: Any, record: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What the mover of a position sees (*F), and what it may do (A,)."""
    state = Position(record.tobytes(), (0.0, 0.0))
    (seat,) = game.turn(state)
    return game.view(state, seat).features, game.options(state, seat).legal


def against_uct(game: Any, agent: NetworkAgent) -> float:
    """The search's mean score in games with uct, the first move by turns."""
    ours, uct = Puct(game, agent, SIMULATIONS), Uct(game, 1000)
    score = 0.0
    for seat, other in (game.seats, game.seats[::-1]):
        games = play(game, {seat: ours, other: uct}, range(GAMES // 2))
        score += sum((1 + episode.returns[seat]) / 2 for episode in games)
    return score / GAMES


def measured(game: Any, folder: Path, seed: int) -> dict[str, float]:
    """Of the last policy of a run."""
    agent, measure = network(str(folder / "policies" / "main")), BOUNDS[game.id][0].measure
    if measure == "optimal":
        return {**optimal(game, agent), "against_uct": against_uct(game, agent)}
    if measure == "losses":
        return {"losses": losses(game, tabular(game, agent))}
    if measure.startswith("nash_conv"):
        found = {"nash_conv": nash_conv(game, tabular(game, agent))}
        if (table_of := folder / "averages" / "main.json").exists():
            found["nash_conv_average"] = nash_conv(game, tabular(game, Tabular.load(table_of)))
        return found
    found = learned_exploitability(game, agent, decisions=RESPONSE, seed=seed)
    interval = {name: getattr(found, name) / len(game.players) for name in ("low", "high")}
    return {measure: found.exploitability, **interval, "response_decisions": found.decisions}


def job(game: str, seed: int, *, minutes: float | None, shipped: bool) -> dict[str, Any]:
    """Train, or go on training, and measure; and put what was learned into the package, if wanted."""
    given = [f"seed={seed}", f'name="{game}_{seed}"', *([] if minutes is None else [f"minutes={minutes}"])]
    settings = load(HOME / "configs" / "strength" / f"{game}.toml", given)
    folder, (played,) = Path(settings.root) / settings.name, settings.every_game
    train(settings, resume=(folder / "config.json").is_file())
    metrics = [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    last = max((row for row in metrics if "global_step" in row), key=lambda row: row["step"])
    rules = make(played.name, **played.params)
    row = {
        "game": game, "seed": seed, **measured(rules, folder, seed), "decisions": last["global_step"],
        "minutes": round(last["time/seconds"] / 60, 2), "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "commit": commit(),
        "command": f"make strength GAME={game} SEED={seed}" + (f" MINUTES={minutes:g}" if minutes else ""),
    }  # fmt: skip
    if shipped:
        average = folder / "averages" / "main.json"
        if average.exists() and average.stat().st_size <= LARGEST:
            ship(rules, Tabular.load(average), row)
        else:
            last_policy = {name: found for name, found in row.items() if name != "nash_conv_average"}
            ship(rules, network(folder / "policies" / "main"), last_policy)
    return row | ({"curves": curves} if (curves := curves_of(metrics)) else {})


def curves_of(metrics: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """What a run measured exactly as it learned, by measure: the decisions so far, and NashConv."""
    lines = {measure: series(measure, metrics, f"eval/{measure}/main") for measure in CALLED}
    return {
        measure: [
            (round(x), round(y, 4)) for x, y in zip(line.x["decisions"], line.y, strict=True) if y is not None
        ]
        for measure, line in lines.items()
        if line is not None
    }


def draw() -> None:
    """The picture of the exact curves that rows have, for each game the mean of its seeds."""
    charts = []
    for game in BOUNDS:
        mine = [row["curves"] for row in kept_rows("strength") if row["game"] == game and "curves" in row]
        drawn = []
        for measure, name in CALLED.items():
            if lines := [curves[measure] for curves in mine if measure in curves]:
                short = min(map(len, lines))
                x, y = np.array([points[:short] for points in lines]).mean(0).T
                drawn.append(Series(name, {"decisions": x.tolist()}, y.tolist()))
        if drawn:
            charts.append(Curve(f"{game}, {len(mine)} seeds", "NashConv", drawn))
    if charts:
        write_picture(charts, RESULTS / "strength.svg", against="decisions")


def told(games: Collection[str]) -> str:
    """The table of all rows of some games, those in one line that were learned for as long."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in (row for row in kept_rows("strength") if row["game"] in games):
        groups.setdefault((row["game"], row["command"].partition(" MINUTES=")[2]), []).append(row)
    return table(
        ["game", "measure", "seeds", "mean and 95 % interval", "bound", "decisions", "minutes a seed"],
        [_line(game, bound, mine) for (game, _), mine in groups.items() for bound in BOUNDS[game]],
    )


def _line(game: str, bound: Bound, rows: Sequence[dict[str, Any]]) -> list[str]:
    found = [row[bound.measure] for row in rows]
    interval = (
        f" ± {T[len(found)] * statistics.stdev(found) / len(found) ** 0.5:.3f}" if len(found) in T else ""
    )
    return [
        game, bound.measure, " ".join(f"{number:.3f}" for number in found), f"{statistics.mean(found):.3f}{interval}",
        bound.judged(found), f"{rows[0]['decisions'] / 1e6:.1f} M", f"{statistics.mean(row['minutes'] for row in rows):.1f}",
    ]  # fmt: skip


def main() -> None:
    """One job, or the table."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--game", choices=list(BOUNDS))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--minutes", type=float, help="of training at most, in place of the file's")
    made.add_argument("--ship", action="store_true", help="put what was learned into the package")
    made.add_argument("--table", action="store_true", help="only print and draw what is kept")
    options = made.parse_args()
    if options.game and not options.table:
        try:
            row = job(options.game, options.seed, minutes=options.minutes, shipped=options.ship)
        except LudusError as fault:
            raise SystemExit(f"strength: {fault}") from fault
        except KeyboardInterrupt:
            raise SystemExit("stopped; the same command goes on") from None
        keep_row("strength", row, ("game", "seed"))
        print({name: found for name, found in row.items() if name != "curves"})
    draw()
    print(told([options.game] if options.game else BOUNDS))


if __name__ == "__main__":
    main()
