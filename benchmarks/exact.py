"""Exact tools beside OpenSpiel's in C++: CFR+ and CFR on Leduc poker, and the NashConv of a network's policy.

Example:
    python benchmarks/exact.py
"""

from __future__ import annotations

import time

from measuring import footnote, judged, keep, parser, table

import ludus
from ludus.agents.network import fresh
from ludus.core.exact import nash_conv, tabular
from ludus.core.solvers import Solver


def main() -> None:
    """Measure and print."""
    made = parser(__doc__ or "", repetitions=5)
    made.add_argument("--iterations", type=int, default=1000)
    options = made.parse_args()
    import pyspiel

    theirs_game, rows, kept = pyspiel.load_game("leduc_poker"), [], {}
    for name, solver in (("cfr_plus", "CFRPlusSolver"), ("cfr", "CFRSolver")):
        Solver.of("leduc_poker", name).run(1)  # tabulated and compiled
        ours, theirs = Solver.of("leduc_poker", name), getattr(pyspiel, solver)(theirs_game)
        begun = time.perf_counter()
        ours.run(options.iterations)
        spent = time.perf_counter() - begun
        begun = time.perf_counter()
        for _ in range(options.iterations):
            theirs.evaluate_and_update_policy()
        known = time.perf_counter() - begun
        gaps = nash_conv(ours.tables, ours.average), pyspiel.nash_conv(theirs_game, theirs.average_policy())
        kept[name] = {"seconds": [spent, known], "nash_conv": gaps}
        rows.append(
            [f"{name}, Leduc, {options.iterations} iterations", f"{spent:.3g} s", f"{known:.3g} s",
             judged(known / spent, 2), f"{gaps[0]:.12g}, {gaps[1]:.12g}"]
        )  # fmt: skip
    print(table(["", "Ludus", "OpenSpiel", "times as fast", "NashConv"], rows))
    game = ludus.make("leduc_poker")
    agent, spent_on = fresh(game), []
    nash_conv(game, tabular(game, agent))
    for _ in range(options.repetitions):
        begun = time.perf_counter()
        nash_conv(game, tabular(game, agent))
        spent_on.append(1000 * (time.perf_counter() - begun))
    kept["nash_conv of a network, ms"] = spent_on
    most = sorted(spent_on)[len(spent_on) // 2]
    print(
        f"\nNashConv of a network's policy on Leduc: {most:.1f} ms ({'met' if most <= 50 else 'MISSED'}: at most 50)"
    )
    keep("exact", kept, options)
    footnote("exact", options)


if __name__ == "__main__":
    main()
