"""Moves per second against the size of the batch and the number of threads: a table, and a picture of it.

Example:
    python benchmarks/scaling.py --games tic_tac_toe kuhn_poker --seconds 1
"""

from __future__ import annotations

import math
import os
import statistics

import numpy as np
from measuring import RESULTS, footnote, keep, measure, parser, repeated, table

import ludus
from ludus.arenas.web.curves import Curve, Series
from ludus.arenas.web.picture import write_picture
from ludus.core import compiled

SIZES = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1_000_000)


def main() -> None:
    """Measure, print, draw."""
    made = parser(__doc__ or "", seconds=1.0, repetitions=3)
    made.add_argument(
        "--games", nargs="*", default=["tic_tac_toe", "connect_four", "kuhn_poker", "leduc_poker"]
    )
    options = made.parse_args()
    threads = range(1, (os.cpu_count() or 1) + 1)
    kept: dict[str, dict[str, list[float]]] = {}
    for game in options.games:
        kept[game] = {}
        for count in threads:
            compiled._cores = lambda count=count: count  # noqa: SLF001 - what the machine has, for this run
            speeds = []
            for size in SIZES:
                batch = ludus.batch(game, size, seed=0)
                steps = max(1, 20_000 // size)

                def work(batch=batch, steps=steps) -> int:  # noqa: ANN001
                    batch.stroll(steps)
                    return steps * batch.n

                speeds.append(statistics.median(measure({"": repeated(work)}, options)[""]))
            kept[game][f"{count} threads" if count > 1 else "1 thread"] = speeds
    rows = [
        [f"{game}, {threads}", *(f"{speed / 1e6:.3g}" for speed in speeds)]
        for game, of in kept.items() for threads, speeds in of.items()
    ]  # fmt: skip
    print(table(["M moves/s", *map(str, SIZES)], rows))
    x = {"step": [math.log2(size) for size in SIZES]}
    curves = [
        Curve(game, "M moves a second against log2 of the rows of a batch",
              [Series(threads, x, (np.array(speeds) / 1e6).tolist()) for threads, speeds in of.items()])
        for game, of in kept.items()
    ]  # fmt: skip
    write_picture(curves, RESULTS / "scaling.svg")
    keep("scaling", {"rows": SIZES, "moves a second": kept}, options)
    footnote("scaling", options)


if __name__ == "__main__":
    main()
