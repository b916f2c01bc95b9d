"""Standings for people and programs: a terminal table, markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ludus.arenas.leaderboard import Row, Standings, to_data
from ludus.arenas.results import Estimate

if TYPE_CHECKING:
    from rich.table import Table

MISHAPS = ("illegal", "forfeits", "truncated", "cut", "errors")


def columns(table: Standings) -> tuple[str, ...]:
    """The heads of the table; of what can go wrong, only what did."""
    exact = any(row.exploitability is not None for row in table.rows)
    wrong = (name for name in MISHAPS if any(getattr(row, name) for row in table.rows))
    return ("", "agent", "rating", "payoff", *(["exploitability"] if exact else []), "games", *wrong)


def cell(head: str, rank: int, row: Row) -> str:
    """One cell as text; intervals as half their width."""
    if head == "":
        return str(rank)
    if head == "rating":
        return _estimate(row.rating, "{:.0f}", "{:.0f}")
    if head == "payoff":
        return _estimate(row.payoff, "{:+.3f}", "{:.3f}")
    if head == "exploitability":
        return "–" if row.exploitability is None else f"{row.exploitability:.4f}"
    if head == "illegal":
        return f"{row.illegal:.2%}" if row.illegal else "0"
    return str(getattr(row, head))


def _estimate(value: Estimate, form: str, width: str) -> str:
    if value.low != value.low:  # nan differs from itself
        return form.format(value.mean)
    return f"{form.format(value.mean)} ±{width.format((value.high - value.low) / 2)}"


ORDER = (
    "The order is by rating, which counts who earned more in each game and not how much: a bold agent that a weak "
    "field pays can outrate the equilibrium, which nobody beats and which hunts for nobody's mistakes."
)
EXPLOITABILITY = "Exploitability is NashConv divided by the number of players."


def foot(table: Standings) -> str:
    """What the figures rest on."""
    broken = f"; {table.errors} games in which machinery broke are left out" if table.errors else ""
    exact = any(row.exploitability is not None for row in table.rows)
    return (
        f"{table.game}: {table.games} games on {table.seeds} seeds, every pairing on the same seeds with seats "
        f"exchanged{broken}. 95 % intervals, from resampled seeds. Ratings: Bradley-Terry, Elo scale, the field's mean at 1000. "
        f"{ORDER}{' ' + EXPLOITABILITY if exact else ''}"
    )


def terminal(table: Standings) -> Table:
    """A table for rich to print."""
    from rich import box
    from rich.table import Table

    shown = Table(
        title=f"Standings, {table.game}",
        caption=foot(table),
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 0),
        pad_edge=False,
        show_edge=False,
        caption_justify="left",
    )
    heads = columns(table)
    for head in heads:
        words = head.replace("exploitability", "exploit-\nability")  # so that eighty columns hold the table
        shown.add_column(words, justify="left" if head == "agent" else "right", no_wrap=True)
    for rank, row in enumerate(table.rows, 1):
        shown.add_row(*(cell(head, rank, row) for head in heads))
    return shown


def markdown(table: Standings) -> str:
    """Standings and payoff table as markdown."""
    heads = columns(table)
    lines = [_line(heads), _line(["--:", ":--", *["--:"] * (len(heads) - 2)])]
    lines += [_line([cell(head, rank, row) for head in heads]) for rank, row in enumerate(table.rows, 1)]
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
