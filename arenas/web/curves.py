"""Learning curves for the page, from the metrics of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ABSCISSAE = {"decisions": "decisions", "step": "updates", "seconds": "seconds"}
POINTS = 400  # of a series; longer ones are thinned, for a page is as wide as a page


@dataclass(frozen=True)
class Series:
    """One line: `y` against each of the abscissae in `x`, all of one length."""

    name: str
    x: Mapping[str, Sequence[float]]
    y: Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """One panel.

    Attributes:
        label: its heading.
        says: a sentence under the heading: what it means and where it should go.
        series: the lines.
        lines: horizontal lines to compare with, by label.
        log: a logarithmic ordinate makes sense.
        zero: the ordinate begins at zero.
    """

    label: str
    says: str
    series: Sequence[Series]
    lines: Mapping[str, float] = field(default_factory=dict)
    log: bool = False
    zero: bool = True

    def data(self) -> dict[str, Any]:
        """The panel as JSON data."""
        return {
            "label": self.label, "says": self.says, "log": self.log, "zero": self.zero,
            "lines": [{"label": label, "y": y} for label, y in self.lines.items()],
            "series": [{"name": s.name, "x": {k: list(v) for k, v in s.x.items()}, "y": list(s.y)} for s in self.series],
        }  # fmt: skip


def series(name: str, rows: Iterable[Mapping[str, Any]], key: str) -> Series | None:
    """The line of one metric through the rows that have it; None if none has.

    Args:
        name: what the line is called.
        rows: rows of metrics, in order.
        key: the metric.
    """
    points = [row for row in rows if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])]
    if not points:
        return None
    stride = -(-len(points) // POINTS)
    kept = points[::-1][::stride][::-1]  # the last point is always among them
    x = {a: [float(row[a]) for row in kept] for a in ABSCISSAE if all(a in row for row in kept)}
    return Series(name, x, [float(row[key]) for row in kept])


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of metrics, one JSON object a line; a last line cut short is left out."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
