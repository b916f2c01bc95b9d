"""Policies given as tables: an equilibrium, or any mapping of information states to probabilities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ludus.agents.simple import rules_for
from ludus.core.agent import Decision, Request
from ludus.core.errors import RecordError, UnknownName
from ludus.core.game import Choice, Game, canonical
from ludus.core.registry import register_agent

Table: TypeAlias = Mapping[str, ArrayLike]
MISSED = 1e-4  # how far from one the probabilities of a row may add up


class Tabular:
    """Plays a table: at each information state it draws from the probabilities written there.

    Args:
        table: information state -> probabilities of the moves, (A,).
        name: what it is called in records.
    """

    def __init__(self, table: Table, name: str = "tabular") -> None:
        self.name = name
        self.table = {state: _distribution(state, row) for state, row in table.items()}

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [
            Decision(_draw(p, r.rng)) for p, r in zip(self.probabilities(requests), requests, strict=True)
        ]

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        return [self._row(request) for request in requests]

    def fingerprint(self) -> str:
        table = {state: [round(float(p), 12) for p in row] for state, row in self.table.items()}
        return hashlib.blake2b(canonical(table), digest_size=8).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the table as JSON; `Tabular.load` reads it."""
        table = {state: row.tolist() for state, row in self.table.items()}
        Path(path).write_text(json.dumps({"name": self.name, "table": table}, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path, name: str = "") -> Tabular:
        """The table of a file.

        Raises:
            RecordError: the file is not such a table.
        """
        try:
            content = json.loads(Path(path).read_text())
            return cls(content["table"], name or content["name"])
        except (KeyError, TypeError, ValueError) as fault:
            raise RecordError(f"{path} is not a table of probabilities: {fault!r}") from fault

    def _row(self, request: Request) -> NDArray[np.float64]:
        row = self.table.get(request.information)
        if row is None:
            raise UnknownName(f"information state of {self.name}", request.information, list(self.table)[:20])
        if not isinstance(request.options, Choice) or len(row) != len(request.options.names):
            raise ValueError(
                f"{request.game}: {request.seat} has other moves than the {len(row)} of the table"
            )
        return row


@register_agent("exact")
def exact(
    game: str | Game[Any] = "", iterations: int = 1000, path: str = "", name: str = "", **params: Any
) -> Tabular:
    """The equilibrium of a small game by CFR+, or the table of a file.

    Args:
        game: which game to solve, by name or made.
        iterations: of CFR+; a thousand bring Kuhn poker to a NashConv of 2e-4.
        path: a file written by `Tabular.save`, instead of solving.
        name: what it is called in records; by default "exact", or as the file says.
        params: what the game is made with.

    Raises:
        ValueError: neither or both of `game` and `path`.
    """
    if bool(game) == bool(path):
        raise ValueError("an exact agent takes either game=... to solve or path=... to read")
    if path:
        return Tabular.load(path, name)
    from ludus.core.solvers import solve

    rules = rules_for(game, params, exact)
    return Tabular(solve(rules, iterations), name or "exact")


def _distribution(state: str, row: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(row, np.float64)
    if p.ndim != 1 or (p < 0).any() or abs(p.sum() - 1) > MISSED:
        raise ValueError(
            f"at {state!r} the table gives {p.tolist()}, and not probabilities that add up to one"
        )
    scaled: NDArray[np.float64] = p / p.sum()
    return scaled


def _draw(p: NDArray[np.float64], rng: np.random.Generator) -> int:
    """One index, by inverse cumulative distribution; never one of probability zero."""
    possible = np.flatnonzero(p)
    edges = np.cumsum(p[possible])
    index = np.searchsorted(edges, rng.random() * edges[-1], side="right")
    return int(possible[min(int(index), len(possible) - 1)])  # rounding may carry the last edge away
