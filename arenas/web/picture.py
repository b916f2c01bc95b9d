"""Learning curves as one SVG picture, for places that show images and run no scripts, such as a README."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from ludus.arenas.web.curves import ABSCISSAE, Curve, Series

WIDTH, HEIGHT, COLUMNS = 420, 250, 2
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 36
KEYS = 28  # height of the line that names the colours
HUES = ("#2f6fb0", "#c8553d", "#3d8c5f", "#8b5fb0", "#b8862b", "#4a4a4a", "#c05a8e", "#3a9aa8")


def picture(curves: Sequence[Curve], *, against: str = "step") -> str:
    """The panels of `curves` side by side.

    Args:
        curves: what to draw; panels without a point are left out.
        against: the abscissa, "step", "decisions" or "seconds".

    Raises:
        ValueError: no curve has a point against this abscissa.
    """
    shown = [c for c in curves if any(_points(s, against) for s in c.series)]
    if not shown:
        raise ValueError(f"no curve has a point against {against!r}; abscissae are {', '.join(ABSCISSAE)}")
    names = list(dict.fromkeys(s.name for c in shown for s in c.series))
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    size = columns * WIDTH, KEYS + rows * HEIGHT
    frame = f'width="{size[0]}" height="{size[1]}"'
    style = 'font-family="system-ui, sans-serif" font-size="11" fill="#333"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {frame} viewBox="0 0 {size[0]} {size[1]}" {style}>',
        f'<rect {frame} fill="#fff"/>',
        *_legend(names),
    ]
    for number, curve in enumerate(shown):
        x, y = number % columns * WIDTH, KEYS + number // columns * HEIGHT
        parts += [f'<g transform="translate({x},{y})">', *_panel(curve, names, against), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def write_picture(curves: Sequence[Curve], path: str | Path, *, against: str = "step") -> Path:
    """Write the picture; return where it is."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(picture(curves, against=against), encoding="utf-8")
    return path


def _hue(names: Sequence[str], name: str) -> str:
    return HUES[names.index(name) % len(HUES)]


def _legend(names: Sequence[str]) -> list[str]:
    out, x = [], LEFT
    for name in names if len(names) > 1 or names[0] else ():
        out.append(f'<rect x="{x}" y="12" width="14" height="4" fill="{_hue(names, name)}"/>')
        out.append(f'<text x="{x + 20}" y="18">{html.escape(name)}</text>')
        x += 36 + 7 * len(name)
    return out


def _points(line: Series, against: str) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x.get(against, ()), line.y, strict=False) if y is not None]


def _panel(curve: Curve, names: Sequence[str], against: str) -> list[str]:
    lines = [(s, _points(s, against)) for s in curve.series]
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points] + list(curve.lines.values())
    low, high = min([0.0, *ys] if curve.zero else ys), max(ys)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    most = max(xs) or 1.0

    def place(x: float, y: float) -> str:
        across = LEFT + x / most * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f} {HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    out = [f'<text x="{LEFT}" y="20" font-size="13" font-weight="600">{html.escape(curve.label)}</text>']
    for tick in ticks:
        x, y = place(0, tick).split()
        out.append(f'<path d="M{x} {y}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in (tick for tick in _ticks(0, most) if tick <= most):
        x = place(tick, low).split()[0]
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:,.0f}</text>')
    out.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{ABSCISSAE[against]}</text>'
    )
    for label, level in curve.lines.items():
        out.append(
            f'<path d="M{place(0, level)}L{place(most, level)}" stroke="#888" stroke-dasharray="4 3"/>'
        )
        above = float(place(0, level).split()[1]) - 4
        out.append(f'<text x="{WIDTH - RIGHT}" y="{above:.1f}" text-anchor="end">{html.escape(label)}</text>')
    for line, points in lines:
        path = "M" + "L".join(place(x, y) for x, y in points)
        width, opacity = (1, 0.4) if line.faint else (2, 1)
        hue = _hue(names, line.name)
        out.append(
            f'<path d="{path}" fill="none" stroke="{hue}" stroke-width="{width}" opacity="{opacity}"/>'
        )
    return out


def _ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that span the range.

    >>> _ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    unit = 10 ** math.floor(math.log10(span / most))
    step = next(m * unit for m in (1, 2, 5, 10) if span / (m * unit) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]
