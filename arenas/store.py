"""Episodes on disk: a folder of JSON lines that a tournament fills and may be stopped and continued in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ludus.core.agent import Agent
from ludus.core.episode import Episode, read
from ludus.core.errors import RecordError
from ludus.core.game import Game, role_of
from ludus.core.match import Match
from ludus.core.registry import make
from ludus.core.verify import verify

EPISODES = "episodes.jsonl"
FACTS = "tournament.json"
NAMED = 8  # places that a message names


class Folder:
    """A folder with one file of episodes and one of facts about what was played."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        """The file of episodes."""
        return self.path / EPISODES

    @property
    def kept(self) -> int:
        """How many games are on disk."""
        if not self.file.exists():
            return 0
        with self.file.open("rb") as lines:
            return sum(1 for _ in lines)

    def episodes(self) -> list[Episode]:
        """All episodes, in the order in which they finished.

        Raises:
            RecordError: the folder holds none.
        """
        if not self.file.exists():
            what = f"holds no {EPISODES}" if self.path.exists() else "does not exist"
            raise RecordError(
                f"{self.path} {what}: the folder of a tournament is wanted, which has {EPISODES}"
                f"{there_are(file.parent for file in self.path.rglob(EPISODES))}"
            )
        return list(read(self.file))

    def true(self) -> list[Episode]:
        """The episodes that verification does not refuse; a warning says how many it does.

        Games in which machinery broke are handed on as they are: they count nowhere.

        Raises:
            RecordError: the folder holds no episodes.
        """
        episodes = self.episodes()
        verdicts = verify(episodes)
        refused = [v for v, e in zip(verdicts, episodes, strict=True) if not v.ok and e.end != "error"]
        if refused:
            first = refused[0]
            warnings.warn(
                f"{self.file}: {len(refused)} of {len(episodes)} episodes are refused and left out, the first of them "
                f"episode {first.index} ({first.notes.get(first.refused, first.refused)}); see ludus verify {self.path}",
                stacklevel=2,
            )
        out = {verdict.index for verdict in refused}
        return [episode for number, episode in enumerate(episodes) if number not in out]

    def facts(self) -> dict[str, Any]:
        """What was written beside the episodes; empty if nothing was."""
        path = self.path / FACTS
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def state(self, facts: Mapping[str, Any]) -> None:
        """Write facts beside the episodes, replacing what stood there at once or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        aside = self.path / f"{FACTS}.new"
        aside.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        aside.replace(self.path / FACTS)

    def remaining(self, matches: Iterable[Match]) -> list[Match]:
        """The matches that have not been played here.

        Games in which machinery broke are played again, and so are those whose record is refused.
        """
        done = {identity(e.match) for e in self.true() if e.end != "error"} if self.file.exists() else set()
        return [match for match in matches if identity(match) not in done]

    def add(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """Append episodes as they come, each on disk before it is handed on."""
        self.path.mkdir(parents=True, exist_ok=True)
        _mend(self.file)
        with self.file.open("a", encoding="utf-8") as file:
            for episode in episodes:
                file.write(episode.to_json() + "\n")
                file.flush()
                yield episode


def there_are(places: Iterable[Path]) -> str:
    """The end of a message: what may have been meant instead, or nothing.

    >>> there_are([Path("runs/b"), Path("runs/a")])
    '; there are: runs/a, runs/b'
    """
    found = sorted(set(places))[:NAMED]
    return f"; there are: {', '.join(map(str, found))}" if found else ""


def identity(match: Match) -> str:
    """What two plays of the same match have in common: game, parameters, players by seat, seed and sample."""
    game = make(match.game, **match.params) if isinstance(match.game, str) else match.game
    lineup = {seat: _name(match, game, seat) for seat in game.players}
    params = {k: v for k, v in game.params.items() if k != "task"}
    what = [game.id, params, lineup, match.seed, match.sample, match.task]
    return json.dumps(what, sort_keys=True, default=repr)


def _name(match: Match, game: Game[Any], seat: str) -> str:
    agent: Agent | str = match.lineup.get(seat, match.lineup.get(role_of(seat), ""))
    return agent if isinstance(agent, str) else agent.name


def _mend(file: Path) -> None:
    """Cut off a last line that a killed process left unfinished: its match will be played again."""
    if not file.exists() or not (size := file.stat().st_size):
        return
    with file.open("rb+") as raw:
        raw.seek(size - 1)
        if raw.read(1) == b"\n":
            return
        raw.seek(0)
        raw.truncate(raw.read().rfind(b"\n") + 1)
