"""Tables to configurations and back: presets filled in, unknown keys refused with the nearest known."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ludus.agents.language.keys import places_of_secrets
from ludus.core.errors import ConfigError, UnknownName
from ludus.training.recipes import PRESETS
from ludus.training.settings import RunConfig

_ADAPTER: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)
_CHOICES = (
    "estimator", "loss", "aggregation", "correction", "modifiers", "keep", "entropy_control", "divergence_control",
)  # fmt: skip
"""Replaced whole by another name."""


def parse(tables: Mapping[str, Any], where: str = "configuration") -> RunConfig:
    """The configuration that nested tables describe.

    Args:
        tables: as read from TOML or JSON.
        where: named in messages.

    Raises:
        ConfigError: a value is missing or of the wrong kind, or is a secret.
        UnknownName: a key that nobody knows, with the nearest known one.
    """
    _refuse_secrets(tables, where)
    filled = dict(tables)
    if isinstance(filled.get("learners"), list):
        filled["learners"] = [_with_preset(learner) for learner in filled["learners"]]
    if bool(filled.get("game")) == bool(filled.get("games")):
        raise ConfigError(f"{where}: name the game in [game], or several in [[games]]")
    try:
        return _ADAPTER.validate_python(filled)
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = _known(first["loc"][:-1])
            raise UnknownName(f"key in {where}, at {place}:", first["loc"][-1], known) from None
        given = "" if first["type"].startswith("missing") else f" (given: {first['input']!r})"
        raise ConfigError(f"{where}: {place}: {first['msg']}{given}") from None


def _refuse_secrets(tables: Mapping[str, Any], where: str) -> None:
    if secrets := places_of_secrets(tables):
        raise ConfigError(
            f"{where}: {secrets[0]} holds a key or a password, and the files of a run would show it: put it into an "
            "environment variable, and name that (key_variable); a server that wants none needs no such setting"
        )


def _with_preset(learner: Any) -> Any:
    if not isinstance(learner, Mapping) or not learner.get("preset"):
        return learner
    if learner["preset"] not in PRESETS:
        raise UnknownName("preset", learner["preset"], PRESETS)
    return merged(PRESETS[learner["preset"]], learner)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with what `above` says, table by table; a choice of another name is replaced whole."""
    out = dict(below)
    for key, value in above.items():
        held = out.get(key)
        out[key] = value
        if isinstance(held, Mapping) and isinstance(value, Mapping):
            another = key in _CHOICES and value.get("name", held["name"]) != held["name"]
            out[key] = value if another else merged(held, value)
    return out


def _known(place: tuple[int | str, ...]) -> list[str]:
    """The keys that a table at `place` may have."""
    kind: Any = RunConfig
    for part in place:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(str(part), Any)
        elif typing.get_origin(kind) in (tuple, dict):
            arguments = typing.get_args(kind)
            kind = arguments[1] if typing.get_origin(kind) is dict else arguments[0]
    return [entry.name for entry in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def tables(config: RunConfig) -> dict[str, Any]:
    """The configuration as nested tables, every default spelled out.

    Raises:
        ConfigError: it was not parsed, and holds a secret.
    """
    out: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    _refuse_secrets(out, "configuration")
    return out


def dump(config: RunConfig, folder: Path) -> None:
    """Write the resolved configuration as config.json and, for people, config.toml."""
    everything = tables(config)
    (folder / "config.toml").write_text(toml(everything), encoding="utf-8")
    aside = folder / ".config.json.aside"
    aside.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    aside.replace(folder / "config.json")


def stored(folder: str | Path) -> RunConfig:
    """The configuration of a run's folder.

    Raises:
        ConfigError: the folder holds no run.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ConfigError(f"{folder} holds no run: it has no config.json")
    return parse(json.loads(path.read_text(encoding="utf-8")), str(path))


def differences(old: RunConfig, new: RunConfig) -> dict[str, str]:
    """What changed from one configuration to another, in words, by the name of each value."""
    before, after = _leaves(tables(old)), _leaves(tables(new))
    names = dict.fromkeys([*before, *after])
    return {
        n: f"{n} = {after.get(n)!r}, was {before.get(n)!r}" for n in names if before.get(n) != after.get(n)
    }


def _leaves(table: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(table, Mapping):
        pairs = table.items()
    elif isinstance(table, list) and any(isinstance(item, Mapping) for item in table):
        pairs = {str(i): item for i, item in enumerate(table)}.items()
    else:
        return {prefix: table}
    return {n: v for key, value in pairs for n, v in _leaves(value, f"{prefix}.{key}".lstrip(".")).items()}


def toml(table: Mapping[str, Any]) -> str:
    """TOML of nested tables; what is None is left out, which says the same."""
    return "\n".join(_lines(table, "")) + "\n"


def _lines(table: Mapping[str, Any], prefix: str) -> list[str]:
    lines, below = [], []
    for key, value in table.items():
        name = f"{prefix}{_key(key)}"
        if isinstance(value, Mapping) and value:
            below += ["", f"[{name}]", *_lines(value, f"{name}.")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                below += ["", f"[[{name}]]", *_lines(item, f"{name}.")]
        elif value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    return lines + below


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
