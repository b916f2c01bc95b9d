"""Learning curves for the page, from the metrics of runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ABSCISSAE = {"decisions": "decisions", "step": "updates", "seconds": "seconds"}
SOURCES = {"decisions": "global_step", "step": "step", "seconds": "time/seconds"}  # as runs name them
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
        rows: rows of metrics, in order; what is not known of step 0 is 0.
        key: the metric.
    """
    points = [row for row in rows if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])]
    if not points:
        return None
    stride = -(-len(points) // POINTS)
    kept = points[::-1][::stride][::-1]  # the last point is always among them
    x = {}
    for abscissa, source in SOURCES.items():
        found = [row.get(source, 0 if row.get("step") == 0 else None) for row in kept]
        if all(place is not None for place in found):
            x[abscissa] = [float(place) for place in found if place is not None]
    return Series(name, x, [float(row[key]) for row in kept])


@dataclass(frozen=True)
class Panel:
    """Which metrics of a run make one panel; the other fields are those of `Curve`.

    Attributes:
        pattern: a regular expression for the whole name of a metric. What its group matches, if it has one
            and it matches something, is added to the name of the line.
    """

    pattern: str
    label: str
    says: str = ""
    lines: Mapping[str, float] = field(default_factory=dict)
    log: bool = False
    zero: bool = True


PANELS = (
    Panel(r"eval/nash_conv/(.+)", "NashConv", "What the seats could gain in all by each answering best; 0 at an equilibrium.", log=True),
    Panel(r"charts/return/(.+)", "Return", "Mean payoff a game of those who play, by seat.", zero=False),
    Panel(r"(?:(.+)/)?losses/entropy", "Entropy", "Of the choice, in nats."),
    Panel(r"charts/forfeits", "Forfeits", "Share of games that an unusable reply ended."),
    Panel(r"(?:(.+)/)?losses/value_loss", "Value loss", "Mean squared error of what seats expected to earn."),
    Panel(r"(?:(.+)/)?losses/approx_kl", "Step", "Divergence of the policy from itself before the update, in nats."),
)  # fmt: skip


def curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], panels: Sequence[Panel] = PANELS) -> list[Curve]:
    """A panel for each of `panels` that any run has metrics for.

    Args:
        runs: rows of metrics by the name of the run.
        panels: what to show.
    """
    found = []
    for panel in panels:
        lines = [line for name, rows in runs.items() for line in _lines(name, rows, panel.pattern)]
        if lines:
            found.append(Curve(panel.label, panel.says, lines, panel.lines, log=panel.log, zero=panel.zero))
    return found


def _lines(name: str, rows: Sequence[Mapping[str, Any]], pattern: str) -> list[Series]:
    keys = {key: match for row in rows for key in row if (match := re.fullmatch(pattern, key))}
    made = []
    for key, match in sorted(keys.items()):
        part = next((group for group in match.groups() if group), "")
        title = name if not part or len(keys) == 1 else f"{name}, {part}" if name else part
        made.append(series(title, rows, key))
    return [line for line in made if line is not None]


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of metrics, one JSON object a line; a last line cut short is left out."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
