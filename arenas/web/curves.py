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
    """One line: `y` against each of the abscissae in `x`, all of one length; `faint` where it is one of several seeds."""

    name: str
    x: Mapping[str, Sequence[float]]
    y: Sequence[float | None]
    faint: bool = False

    def data(self) -> dict[str, Any]:
        """The line as JSON data."""
        line = {"name": self.name, "x": {k: list(v) for k, v in self.x.items()}, "y": list(self.y)}
        return line | ({"faint": True} if self.faint else {})


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
            "series": [line.data() for line in self.series],
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
    Panel(r"eval/nash_conv_average/(.+)", "NashConv of the average", "Of all policies measured so far, each weighted by its own reach.", log=True),
    Panel(r"eval/loss_rate/(.+)", "Loss rate", "How often it loses against a uniform choice among optimal moves, from all seats alike."),
    Panel(r"eval/return_exact/(.+)", "Return against, exactly", "Mean payoff against a fixed opponent, from all seats alike.", zero=False),
    Panel(r"eval/return/(.+)", "Return against, played", "Mean payoff of games against a fixed opponent, from all seats alike.", zero=False),
    Panel(r"charts/return/(.+)", "Return", "Mean payoff a game of those who play, by seat.", zero=False),
    Panel(r"(?:(.+)/)?losses/entropy", "Entropy", "Of the choice, in nats."),
    Panel(r"charts/reply_length(?:/(.+))?", "Reply length", "Tokens of a reply, on average."),
    Panel(r"charts/truncated(?:/(.+))?", "Cut replies", "Share of replies that reached the limit of tokens."),
    Panel(r"charts/episodic_length(?:/(.+))?", "Game length", "Decisions of all seats in a game, on average."),
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
    return overlaid({name: [rows] for name, rows in runs.items()}, panels)


def overlaid(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], panels: Sequence[Panel] = PANELS
) -> list[Curve]:
    """As `curves`, of runs that differ in their seed alone: their mean, and behind it each of them.

    Args:
        runs: rows of metrics of each seed, by what the runs have in common.
        panels: what to show.
    """
    found = []
    for panel in panels:
        lines: list[Series] = []
        for name, seeds in runs.items():
            every: dict[str, list[Series]] = {}
            for rows in seeds:
                for key, line in _lines(name, rows, panel.pattern).items():
                    every.setdefault(key, []).append(line)
            lines += [mean for alike in every.values() for mean in _averaged(alike)]
        if lines:
            found.append(Curve(panel.label, panel.says, lines, panel.lines, log=panel.log, zero=panel.zero))
    return found


def _averaged(alike: Sequence[Series]) -> list[Series]:
    """Lines of several seeds, faint, and over them their mean where all of them have a point."""
    if len(alike) == 1 or not all("step" in line.x for line in alike):
        return [*alike]
    shared = sorted(set.intersection(*(set(line.x["step"]) for line in alike)))
    at = [[list(line.x["step"]).index(step) for step in shared] for line in alike]

    def mean(columns: Sequence[Sequence[float | None]]) -> list[float]:
        picked = [[float(c[k] or 0.0) for k in places] for c, places in zip(columns, at, strict=True)]
        return [sum(point) / len(point) for point in zip(*picked, strict=True)]

    x = {
        key: mean([line.x[key] for line in alike])
        for key in alike[0].x
        if all(key in line.x for line in alike)
    }
    faint = [Series(line.name, line.x, line.y, faint=True) for line in alike]
    return [*faint, Series(alike[0].name, x, mean([line.y for line in alike]))] if shared else faint


def _lines(name: str, rows: Sequence[Mapping[str, Any]], pattern: str) -> dict[str, Series]:
    """The lines of one run by their metrics."""
    keys = {key: match for row in rows for key in row if (match := re.fullmatch(pattern, key))}
    made = {}
    for key, match in sorted(keys.items()):
        part = next((group for group in match.groups() if group), "")
        title = name if not part or len(keys) == 1 else f"{name}, {part}" if name else part
        made[key] = series(title, rows, key)
    return {key: line for key, line in made.items() if line is not None}


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of metrics, one JSON object a line; a last line cut short is left out."""
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
