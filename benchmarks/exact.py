"""Exact tools beside OpenSpiel's in C++: CFR+ and CFR on Leduc poker, and the NashConv of a network's policy.

Example:
    python benchmarks/exact.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measuring import footnote, judged, keep, parser, table, times

import ludus
from ludus.agents.network import fresh
from ludus.core.exact import nash_conv, tabular
from ludus.core.solvers import Solver


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "", seconds=0)
    made.add_argument("--iterations", type=int, default=1000)
    options = made.parse_args()
    import pyspiel

    known, rows, kept = pyspiel.load_game("leduc_poker"), [], {}
    for name, solver in (("cfr_plus", "CFRPlusSolver"), ("cfr", "CFRSolver")):
        Solver.of("leduc_poker", name).run(1)  # tabulated and compiled
        speeds: dict[str, list[float]] = {"ludus": [], "openspiel": []}
        for _ in range(options.repetitions):
            ours, theirs = Solver.of("leduc_poker", name), getattr(pyspiel, solver)(known)
            speeds["ludus"].append(1 / timed(partial(ours.run, options.iterations)))
            speeds["openspiel"].append(1 / timed(partial(updated, theirs, options.iterations)))
        gaps = nash_conv(ours.tables, ours.average), pyspiel.nash_conv(known, theirs.average_policy())
        kept[name] = {"runs a second": speeds, "nash_conv": gaps}
        spent = [f"{1 / statistics.median(found):.3g} s" for found in speeds.values()]
        ratio = judged(times(speeds["ludus"], speeds["openspiel"]), 2)
        rows.append(
            [
                f"{name}, Leduc, {options.iterations} iterations",
                *spent,
                ratio,
                f"{gaps[0]:.12g}, {gaps[1]:.12g}",
            ]
        )
    print(table(["", "Ludus", "OpenSpiel", "times as fast", "NashConv"], rows))
    game = ludus.make("leduc_poker")
    agent = fresh(game)
    nash_conv(game, tabular(game, agent))
    spent_on = [
        1000 * timed(lambda: nash_conv(game, tabular(game, agent))) for _ in range(options.repetitions)
    ]
    kept["nash_conv of a network, ms"] = spent_on
    most = statistics.median(spent_on)
    print(
        f"\nNashConv of a network's policy on Leduc: {most:.1f} ms ({'met' if most <= 50 else 'MISSED'}: at most 50)"
    )
    keep("exact", kept, options)
    footnote("exact", options)


def timed(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def updated(solver: Any, iterations: int) -> None:
    """So many iterations of a solver of OpenSpiel's."""
    for _ in range(iterations):
        solver.evaluate_and_update_policy()


if __name__ == "__main__":
    main()
