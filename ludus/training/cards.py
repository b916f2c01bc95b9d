"""Model cards: what a saved policy is, how it came to be, and how well it plays, beside its weights.

A card is a function of the run's folder: its configuration, metrics and episodes. It can be written
again later, with ratings from a tournament.

    from ludus.training.cards import write_cards

    write_cards("runs/spiral", leaderboard="runs/cup/standings.json")

The front matter is that of the Hugging Face Hub, with its `model-index`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ludus.arenas.results import Estimate, interval, rated
from ludus.core.episode import Episode, read
from ludus.core.errors import ConfigError
from ludus.core.game import Game
from ludus.core.registry import make
from ludus.training.choices import Named
from ludus.training.configuration import stored, toml
from ludus.training.settings import LearnerConfig, RunConfig

CARD = "README.md"
RESAMPLES = 1000  # of the seeds, for intervals
CITED = "`ludus train config.toml`"


class Earned(NamedTuple):
    """What a policy earned in a seat, with the 95 % interval of resampled seeds."""

    game: str
    seat: str
    against: str
    games: int
    payoff: Estimate


def write_cards(folder: str | Path, *, leaderboard: str | Path | None = None) -> list[Path]:
    """Write a card into the folder of every policy that the run saved at its end.

    Args:
        folder: of the run.
        leaderboard: a `standings.json` of `ludus tournament`; the run's own, if it has one.

    Returns:
        The cards.

    Raises:
        ConfigError: the folder holds no run, or the leaderboard cannot be read.
    """
    run = Path(folder)
    config = stored(run)
    games = [make(game.name, **game.params) for game in config.every_game]
    last = run / "episodes" / "last.jsonl"
    played = list(read(last)) if last.is_file() else []
    board = Path(leaderboard) if leaderboard is not None else run / "standings.json"
    ratings = _ratings(board) if leaderboard is not None or board.is_file() else []
    out = []
    for name in config.policies:
        place = run / "policies" / name
        if place.is_dir():
            facts = Facts(run, config, games, name, place, played, [r for r in ratings if r["agent"] == name])
            (place / CARD).write_text(facts.card(), encoding="utf-8")
            out.append(place / CARD)
    return out


class Facts(NamedTuple):
    """What one card is written from."""

    run: Path
    config: RunConfig
    games: list[Game[Any]]
    name: str
    place: Path
    played: list[Episode]
    ratings: list[dict[str, Any]]

    # ------------------------------------------------------------------------------ the parts
    def card(self) -> str:
        """The whole card."""
        parts = [
            f"---\n{yaml(self.front())}---\n",
            f"# {self.name}, from the run {self.config.name}\n",
            self._lead(),
            _section("Games", ("game", "version", "fingerprint"), [_game(game) for game in self.games]),
            _section("Met in training", ("phase", "seats", "read from"), self._met()),
            _section("Method", ("learner", "what", "choice"), self._method()),
            _section("Measured", ("metric", "value", "step"), [(f"`{k}`", f"{v:.6g}", str(s)) for k, v, s in self.measured()]),
            _section("Earned in the last games of training", ("game", "seat", "against", "games", "payoff"), self._earned()),
            _section("Rated", ("game", "rating", "payoff", "games", "on"), [_rated(row) for row in self.ratings]),
            self._again(),
        ]  # fmt: skip
        return "\n".join(part for part in parts if part)

    def front(self) -> dict[str, Any]:
        """The front matter."""
        library, base = _library(self.place, self.config.policies[self.name])
        out: dict[str, Any] = {"library_name": library}
        if base:
            out["base_model"] = base
        if library in ("transformers", "peft"):
            out["pipeline_tag"] = "text-generation"
        out["tags"] = [
            "ludus",
            "reinforcement-learning",
            "self-play",
            *dict.fromkeys(g.id for g in self.games),
        ]
        results = [_result(game, metrics) for game in self.games if (metrics := self._metrics(game))]
        if results:
            out["model-index"] = [{"name": f"{self.config.name}/{self.name}", "results": results}]
        return out

    def measured(self) -> list[tuple[str, float, int]]:
        """The newest value of each `eval/` metric of this policy, and its step."""
        found: dict[str, tuple[str, float, int]] = {}
        path = self.run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in map(json.loads, lines):
            for key, value in line.items():
                if key.startswith("eval/") and value is not None and self._mine(key):
                    found[key] = (key, float(value), int(line["step"]))
        return list(found.values())

    def _mine(self, key: str) -> bool:
        named = set(key.split("/")) & set(self.config.policies)
        return not named or self.name in named

    def _metrics(self, game: Game[Any]) -> list[dict[str, Any]]:
        others = {g.id for g in self.games} - {game.id}
        return [
            {"type": key.split("/")[1], "name": f"{key.removeprefix('eval/')}, step {step}", "value": value}
            for key, value, step in self.measured()
            if not others & set(key.split("/"))
        ] + [
            {
                "type": "mean_payoff", "name": f"{e.seat} against {e.against}, last {e.games} games of training",
                "value": e.payoff.mean, "confidence_interval_95": [e.payoff.low, e.payoff.high],
            }
            for e in earned(self.played, self.name)
            if e.game == game.id
        ]  # fmt: skip

    def _lead(self) -> str:
        steps = self._last().get("step", 0)
        learned = self._last().get("global_step", 0)
        about = (
            f"Ludus {_version('ludus')}, torch {_version('torch')}, transformers {_version('transformers')}"
        )
        return (
            f"A policy trained by {CITED} (below), seed {self.config.seed}: {steps} steps, {learned:,.0f} decisions "
            f"learned from by all learners. Written by {about}.\n"
        )

    def _last(self) -> dict[str, Any]:
        path = self.run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return last

    def _met(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for number, phase in enumerate(self.config.phases, 1):
            lineup = phase.lineup or self.config.lineup
            fresh = any(not reads.file for reads in phase.reads)
            seats = ", ".join(f"{seat}: {who}" for seat, who in lineup.items()) if fresh else "nobody plays"
            files = ", ".join(f"`{r.file}` ({_digest(r.file)})" for r in phase.reads if r.file)
            rows.append((f"{number} ({phase.steps} steps)", seats, files or "play"))
        return rows

    def _method(self) -> list[tuple[str, ...]]:
        return [
            (one.name or one.policy, what, choice)
            for one in self.config.learners
            if one.policy == self.name
            for what, choice in _choices(one)
        ]

    def _earned(self) -> list[tuple[str, ...]]:
        return [
            (e.game, e.seat, e.against, str(e.games), _told(e.payoff)) for e in earned(self.played, self.name)
        ]

    def _again(self) -> str:
        kept = [self.run / "episodes" / f"{name}.jsonl" for name in ("first", "last")]
        digests = [f"`episodes/{path.name}` {_digest(path)}" for path in kept if path.is_file()]
        sets = f"\nEpisodes kept (SHA-256): {', '.join(digests)}.\n" if digests else ""
        text = toml(_tables(self.run))
        return (
            f"## To make it again\n{sets}\nSave this as `config.toml` and run {CITED}:\n\n"
            f"<details><summary>config.toml</summary>\n\n```toml\n{text}```\n\n</details>\n"
        )


def earned(episodes: Iterable[Episode], name: str) -> list[Earned]:
    """What a policy earned, by game, seat and who sat in the other seats; intervals resample seeds."""
    paid: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for episode in filter(rated, episodes):
        lineup = {seat: who for seat, who in episode.lineup.items() if seat in episode.returns}
        for seat, who in lineup.items():
            if who == name:
                others = ", ".join(
                    sorted({"itself" if o == name else o for s, o in lineup.items() if s != seat})
                )
                place = (episode.game, seat, others or "nobody")
                paid.setdefault(place, []).append((episode.match.seed, float(episode.returns[seat])))
    return [Earned(*place, len(rows), _estimate(rows)) for place, rows in sorted(paid.items())]


def _estimate(rows: Sequence[tuple[int, float]]) -> Estimate:
    seeds, place = np.unique([seed for seed, _ in rows], return_inverse=True)
    total = np.bincount(place, [amount for _, amount in rows])
    count = np.bincount(place)
    mean = float(total.sum() / count.sum())
    if len(seeds) < 2:
        return Estimate(mean, math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(len(seeds), size=(RESAMPLES, len(seeds)))
    low, high = interval(total[drawn].sum(1) / count[drawn].sum(1))
    return Estimate(mean, float(low), float(high))


# --------------------------------------------------------------------------------- small facts
def _library(place: Path, kind: Named) -> tuple[str, str]:
    """The library that loads the folder, and the model it was made from where that has a name on the Hub."""
    path = str(kind.settings.get("path", ""))
    adapter = place / "adapter_config.json"
    if adapter.is_file():
        path = str(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or path)
    named = path.count("/") == 1 and not path.startswith((".", "/")) and not Path(path).exists()
    library = (
        "peft" if adapter.is_file() else "transformers" if (place / "config.json").is_file() else "ludus"
    )
    return library, path if named and library != "ludus" else ""


def _game(game: Game[Any]) -> tuple[str, ...]:
    params = ", ".join(f"{key} = {value!r}" for key, value in game.params.items())
    return f"{game.id} ({params})" if params else game.id, str(game.version), f"`{game.fingerprint()}`"


def _choices(one: LearnerConfig) -> list[tuple[str, str]]:
    goal, rule = one.objective, one.optimiser
    held = [
        ("preset", one.preset), ("estimator", _named(one.estimator)), ("loss", _named(goal.loss)),
        ("modifiers", " ".join(map(_named, goal.modifiers))), ("aggregation", _named(goal.aggregation)),
        ("correction", " ".join(map(_named, goal.correction))), ("shaping", " ".join(map(_named, one.shaping))),
        ("learned from", f"{', '.join(one.selector.sources)}; {_named(one.selector.keep)}"),
        ("divergence", f"{goal.divergence} ({goal.divergence_by}) from {one.reference}" if goal.divergence else ""),
        ("optimiser", f"{rule.name}, rate {rule.rate}, {rule.schedule}"),
        ("updates a step", str(one.epochs * one.minibatches)),
    ]  # fmt: skip
    return [(what, choice) for what, choice in held if choice]


def _named(choice: Named) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in choice.settings.items())
    return f"{choice.name} ({settings})" if settings else choice.name


def _result(game: Game[Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "task": {"type": "reinforcement-learning", "name": game.id},
        "dataset": {"type": f"ludus/{game.id}-v{game.version}", "name": game.id},
        "metrics": metrics,
    }


def _ratings(path: Path) -> list[dict[str, Any]]:
    """The lines of a leaderboard, each with its game."""
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        return [{**row, "game": table["game"]} for table in tables for row in table["rows"]]
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise ConfigError(
            f"{path} is no leaderboard (standings.json of `ludus tournament`): {fault!r}"
        ) from fault


def _rated(row: Mapping[str, Any]) -> tuple[str, ...]:
    rating, payoff = (
        _told(Estimate(*(math.nan if x is None else x for x in row[key]))) for key in ("rating", "payoff")
    )
    return row["game"], rating, payoff, str(row["games"]), row["on"]


def _told(value: Estimate) -> str:
    span = "" if math.isnan(value.low) else f" [{value.low:.4g}, {value.high:.4g}]"
    return f"{value.mean:.4g}{span}"


def _digest(path: str | Path) -> str:
    place = Path(path)
    return hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else "no longer there"


def _tables(run: Path) -> dict[str, Any]:
    tables: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return tables


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


# -------------------------------------------------------------------------------------- writing
def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def yaml(value: Any, indent: str = "") -> str:
    """Block YAML of nested tables and lists; scalars as JSON writes them, so that nothing is taken for something else.

    >>> print(yaml({"tags": ["a", "b"], "rate": 1e-5}), end="")
    tags:
    - "a"
    - "b"
    rate: 1.0e-05
    """
    pairs = value.items() if isinstance(value, Mapping) else (("-", item) for item in value)
    out = ""
    for key, item in pairs:
        head = f"{indent}-" if key == "-" else f"{indent}{key}:"
        if isinstance(item, (Mapping, list)) and item:
            deeper = indent + "  " if key == "-" or isinstance(item, Mapping) else indent
            below = yaml(item, deeper)
            out += f"{head} {below[len(deeper) :]}" if key == "-" else f"{head}\n{below}"
        else:
            out += f"{head} {_scalar(item)}\n"
    return out


def _scalar(item: Any) -> str:
    if isinstance(item, float):
        if not math.isfinite(item):
            return "null"
        text = repr(item)
        return (
            text.replace("e", ".0e") if "e" in text and "." not in text else text
        )  # else it is text to YAML 1.1
    return json.dumps(item, ensure_ascii=False)
