"""Choices: what values in a configuration are made of: names with their settings, and numbers of a range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer

STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True, "validate_default": True}
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Number: TypeAlias = Annotated[int, Field(ge=1)]
Rate: TypeAlias = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Named:
    """A registered name and the keyword values that go with it."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


def _split(given: Any) -> Any:
    """`"gae"` or `{name = "gae", trace = 0.9}` as a `Named`."""
    if isinstance(given, str):
        return Named(given)
    if isinstance(given, Mapping) and "name" in given and "settings" not in given:
        return Named(str(given["name"]), {key: value for key, value in given.items() if key != "name"})
    return given


def _flat(named: Named | None) -> dict[str, Any] | None:
    return None if named is None else {"name": named.name, **named.settings}


def _listed(given: Any) -> Any:
    """One choice or a list of them as a list; "none" is no choice."""
    several = given if isinstance(given, (list, tuple)) else [given]
    return [one for one in several if _split(one) != Named("none")]


Choice: TypeAlias = Annotated[Named, BeforeValidator(_split), PlainSerializer(_flat)]
Choices: TypeAlias = Annotated[tuple[Choice, ...], BeforeValidator(_listed)]
