"""Standings for people and programs: a terminal table, markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ludus.arenas.leaderboard import Row, Standings, to_data
from ludus.arenas.results import Estimate

if TYPE_CHECKING:
    from rich.table import Table

HEADS = (
    "",
    "agent",
    "rating",
    "95 %",
    "payoff",
    "95 %",
    "exploitability",
    "games",
    "illegal",
    "forfeits",
    "errors",
)


def cells(rank: int, row: Row) -> list[str]:
    """One line of the table, as text."""
    return [
        str(rank),
        row.agent,
        f"{row.rating.mean:.0f}",
        _interval(row.rating, "{:.0f}"),
        f"{row.payoff.mean:+.3f}",
        _interval(row.payoff, "{:+.3f}"),
        "–" if row.exploitability is None else f"{row.exploitability:.4f}",
        str(row.games),
        f"{row.illegal:.2%}" if row.illegal else "0",
        str(row.forfeits),
        str(row.errors),
    ]


def _interval(value: Estimate, form: str) -> str:
    if value.low != value.low:  # nan differs from itself
        return "–"
    return f"{form.format(value.low)} to {form.format(value.high)}"


def foot(table: Standings) -> str:
    """What the figures rest on."""
    broken = f"; {table.errors} games in which machinery broke are left out" if table.errors else ""
    return (
        f"{table.game}: {table.games} games on {table.seeds} seeds, every pairing on the same seeds with seats "
        f"exchanged{broken}. Intervals resample seeds. Ratings: Bradley-Terry, Elo scale, the field's mean at 1000."
    )


def terminal(table: Standings) -> Table:
    """A table for rich to print."""
    from rich import box
    from rich.table import Table

    shown = Table(
        title=f"Standings, {table.game}", caption=foot(table), box=box.SIMPLE_HEAD, caption_justify="left"
    )
    for head in HEADS:
        shown.add_column(head, justify="left" if head == "agent" else "right", no_wrap=head != "agent")
    for rank, row in enumerate(table.rows, 1):
        shown.add_row(*cells(rank, row))
    return shown


def markdown(table: Standings) -> str:
    """Standings and payoff table as markdown."""
    ruler = ["--:", ":--", *["--:"] * (len(HEADS) - 2)]
    lines = [_line(HEADS), _line(ruler), *(_line(cells(rank, row)) for rank, row in enumerate(table.rows, 1))]
    agents = table.payoffs.agents
    pays = [_line(["row's payoff against", *agents]), _line([":--", *["--:"] * len(agents)])]
    for i, name in enumerate(agents):
        pays.append(
            _line(
                [
                    name,
                    *(
                        "" if not n else f"{x:+.3f}"
                        for x, n in zip(table.payoffs.mean[i], table.payoffs.games[i], strict=True)
                    ),
                ]
            )
        )
    return "\n".join([f"### {table.game}", "", *lines, "", foot(table), "", *pays, ""])


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(parts) + " |"


def as_json(tables: Sequence[Standings]) -> str:
    """Standings as JSON text."""
    return json.dumps([to_data(table) for table in tables], indent=1, ensure_ascii=False) + "\n"
