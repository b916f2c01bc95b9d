"""Configurations: a TOML file and dotted overrides, to a checked `RunConfig`.

load("configs/ppo_kuhn.toml", ["seed=3", "learners.0.optimiser.rate=1e-3"])
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ludus.core.errors import ConfigError
from ludus.training.configuration import parse
from ludus.training.gathering import Collect, Search
from ludus.training.policies import known_settings
from ludus.training.recipes import PRESETS
from ludus.training.settings import (
    Evaluate,
    GameConfig,
    LearnerConfig,
    Objective,
    Optimiser,
    Phase,
    RunConfig,
    Selector,
    Wandb,
)

TABLES: dict[str, type] = {
    "": RunConfig, "game": GameConfig, "collect": Collect, "collect.search": Search, "learners": LearnerConfig,
    "learners.objective": Objective, "learners.optimiser": Optimiser, "learners.selector": Selector,
    "phases": Phase, "evaluate": Evaluate, "wandb": Wandb,
}  # fmt: skip


def load(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in a TOML file, with overrides laid over it.

    Args:
        path: of the file.
        overrides: `a.b=value`; the value is read as TOML, or as a plain word; entries of a list are
            counted from 0.

    Raises:
        ConfigError: the file cannot be read, or an override does not fit it.
        UnknownName: a key that nobody knows, with the nearest known one.
    """
    file = Path(path)
    if not file.is_file():
        near = ", ".join(sorted(p.name for p in file.parent.glob("*.toml"))) or "no TOML files"
        raise ConfigError(f"there is no {file}; {file.parent} has {near}")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{file} is not TOML: {fault}") from fault
    for override in overrides:
        _lay(table, override)
    return parse(table, str(file))


def _lay(table: Any, override: str) -> None:
    """Put one `a.b=value` into nested tables; tables on the way are made."""
    name, equals, text = override.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"an override is written a.b=value, not {override!r}")
    for part, after in itertools.pairwise(parts):
        table = _inside(table, part, override)
        if isinstance(table, str):
            raise ConfigError(
                f"{override!r}: {part} is the name {table!r}; to set {after}, give it as a table"
            )
    if isinstance(table, list):
        table[_index(table, parts[-1], override)] = _read(text)
    else:
        table[parts[-1]] = _read(text)


def _inside(table: Any, part: str, override: str) -> Any:
    if isinstance(table, list):
        return table[_index(table, part, override)]
    if not isinstance(table, dict):
        raise ConfigError(f"{override!r}: there is nothing inside {table!r}")
    return table.setdefault(part, {})


def _index(items: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"{override!r}: {part!r} is no entry of a list of {len(items)}, counted from 0")
    return int(part)


def _read(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def explain() -> str:
    """Every key of a configuration with its default and its help, table by table; what policies take; presets."""
    lines = []
    for name, kind in TABLES.items():
        lines.append(f"[{name}]" if name else "at the top")
        defaults = {one.name: _default(one) for one in dataclasses.fields(kind)}
        lines += [f"  {key:<18} {words}{defaults[key]}" for key, words in field_help(kind).items()]
        lines.append("")
    for kind_of_policy in ("network", "q_network", "language", "tiny_language"):
        lines.append(f"[policies.NAME] with name = {kind_of_policy!r}")
        lines += [f"  {key:<18} {told}" for key, told in known_settings(kind_of_policy).items()] + [""]
    lines.append(f"presets of learners: {', '.join(PRESETS)}")
    return "\n".join(lines)


def _default(one: dataclasses.Field[Any]) -> str:
    if one.default is dataclasses.MISSING:
        return "" if one.default_factory is not dataclasses.MISSING else " (must be given)"
    if dataclasses.is_dataclass(one.default):
        return ""
    return f" (default: {one.default!r})"


def field_help(kind: type) -> dict[str, str]:
    """The text under each field of a settings record."""
    (record,) = ast.parse(inspect.getsource(kind)).body
    found: dict[str, str] = {}
    field = ""
    for statement in record.body if isinstance(record, ast.ClassDef) else []:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            field = statement.target.id
        elif field and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found[field] = inspect.cleandoc(str(statement.value.value))
    return found
