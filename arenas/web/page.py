"""One HTML page that holds a whole run: standings, payoffs, learning curves, games move by move.

The page needs no network: style, script and data are inside it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ludus.arenas.leaderboard import Standings, to_data
from ludus.arenas.report import EXPLOITABILITY, ORDER, markdown
from ludus.arenas.web.curves import ABSCISSAE, Curve
from ludus.arenas.web.films import Reel

HUES, LINE_HUES = 8, 4  # --s0 and so on, --c0 and so on in page.css
SCRIPTS = ("page.js", "curves.js", "replay.js")


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title, lead: its heading, and one or two sentences under it.
        facts: names and values of what was run.
        boards: standings, one for each game.
        curves: learning curves.
        reel: recorded games.
        notes: paragraphs at the foot.
        command: what makes this page again.
        learners: agents of the standings by the lines that show how they learned, where these have other names.
    """

    title: str
    lead: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    boards: Sequence[Standings] = ()
    curves: Sequence[Curve] = ()
    reel: Reel = field(default_factory=Reel)
    notes: Sequence[str] = ()
    command: str = ""
    learners: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """The page as text."""
        data = {
            "title": self.title, "lead": self.lead, "facts": [[k, str(v)] for k, v in self.facts.items()],
            "boards": [to_data(board) for board in self.boards], "curves": [curve.data() for curve in self.curves],
            "films": self.reel.films, "texts": self.reel.texts, "notes": list(self.notes), "command": self.command,
            "abscissae": ABSCISSAE, "hues": self._hues(), "order": ORDER, "exploitability": EXPLOITABILITY,
        }  # fmt: skip
        parts = {
            "title": html.escape(self.title),
            "plain": html.escape("\n".join(markdown(board) for board in self.boards)),
            "style": _file("page.css"),
            "script": "\n".join(_file(name) for name in SCRIPTS),
            "data": _inert(data),
        }
        return re.sub(r"{{(\w+)}}", lambda marker: parts[marker[1]], _file("page.html"))

    def _hues(self) -> dict[str, str]:
        """The colour of every name: a line has that of its agent, and where it has none, one that no agent has.

        There are eight for agents and twelve in all; more begin again.
        """
        agents = dict.fromkeys(row.agent for board in self.boards for row in board.rows)
        hues = {agent: f"--s{k % HUES}" for k, agent in enumerate(agents)}
        lines = dict.fromkeys(line.name for curve in self.curves for line in curve.series)
        kin = {name: hues[agent] for name in lines if (agent := self.learners.get(name, name)) in hues}
        every = [*(f"--s{k}" for k in range(HUES)), *(f"--c{k}" for k in range(LINE_HUES))]
        free = [hue for hue in every if hue not in hues.values()]
        others = (name for name in lines if name not in kin)
        return hues | kin | {name: free[k % len(free)] for k, name in enumerate(others)}

    def write(self, path: str | Path) -> Path:
        """Write the page; return where it is."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.html(), encoding="utf-8")
        return path


def _file(name: str) -> str:
    return files("ludus.arenas.web").joinpath(name).read_text(encoding="utf-8")


def _inert(data: Any) -> str:
    r"""JSON that cannot end the script element it stands in, whatever a player wrote.

    >>> print(_inert("</script>"))
    "\u003c/script>"
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
