"""`ludus curves`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

SEED = re.compile(
    r"[-_.]?(?:seed|s)?[-_]?\d+$"
)  # what tells the seeds of one setting apart in names of folders


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    app.command(
        epilog="Example:  ludus curves rae=runs/rae_s0 rae=runs/rae_s1 off=runs/off_s0 off=runs/off_s1 "
        "--metric 'eval/loss_rate/(.+)' --metric charts/reply_length --out runs/rae.html"
    )(curves)


def curves(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of runs, or label=folder; one label for the seeds of one setting. Without labels a folder's "
            "name stands for it, a number at its end left out.",
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A regular expression for whole names of metrics, a panel for each; what its group matches is added "
            "to the line's name. By default the panels that a run's own page has."
        ),
    ] = None,
    against: Annotated[str, typer.Option(help="Of an SVG picture: step, decisions or seconds.")] = "step",
    out: Annotated[Path, typer.Option(help="A page (.html) or a picture (.svg).")] = Path("runs/curves.html"),
) -> None:
    """Draw the learning curves of several runs over each other: each seed, and the mean of the seeds of a setting."""
    from ludus.arenas.web.curves import PANELS, Panel, overlaid
    from ludus.arenas.web.page import Page
    from ludus.arenas.web.picture import write_picture
    from ludus.core.errors import ConfigError

    found = gathered(runs)
    panels = (
        tuple(Panel(_compiled(pattern), _title(pattern), zero=False) for pattern in metric)
        if metric
        else PANELS
    )
    drawn = overlaid(found, panels)
    if not drawn:
        known = sorted({key for seeds in found.values() for rows in seeds for row in rows for key in row})
        raise ConfigError(f"no run has such a metric; they have {', '.join(known)}")
    if out.suffix == ".svg":
        typer.echo(write_picture(drawn, out, against=against))
        return
    page = Page(
        title=", ".join(found),
        lead="Thick lines are means over seeds, faint ones the seeds.",
        facts={
            label: f"{len(seeds)} runs, {max(len(rows) for rows in seeds)} points"
            for label, seeds in found.items()
        },
        curves=drawn,
        command=f"ludus curves {' '.join(runs)}"
        + "".join(f" --metric '{m}'" for m in metric or ())
        + f" --out {out}",
    )
    typer.echo(page.write(out))


def _title(pattern: str) -> str:
    """What a panel is called: the pattern without what matches anything.

    >>> _title("eval/nash_conv/(.+)$")
    'eval/nash_conv'
    """
    return re.sub(r"[()\\^$]|\.[+*]", "", pattern).strip("/") or pattern


def gathered(runs: list[str]) -> dict[str, list[list[dict[str, Any]]]]:
    """The metrics of runs, by label.

    Raises:
        ConfigError: a folder holds no metrics.
    """
    from ludus.arenas.web.curves import read_metrics
    from ludus.core.errors import ConfigError

    found: dict[str, list[list[dict[str, Any]]]] = {}
    for text in runs:
        label, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        file = path / "metrics.jsonl"
        if not file.is_file():
            raise ConfigError(f"{path} holds no run: it has no metrics.jsonl")
        rows = read_metrics(file)
        if not rows:
            raise ConfigError(f"{file} is empty: the run has not done a step yet")
        found.setdefault(label if equals else SEED.sub("", path.name) or path.name, []).append(rows)
    return found


def _compiled(pattern: str) -> str:
    from ludus.core.errors import ConfigError

    try:
        re.compile(pattern)
    except re.error as fault:
        raise ConfigError(f"{pattern!r} is no regular expression: {fault}") from fault
    return pattern
