"""How a model is prompted and how it replies: kept beside the model, so that it is played as it was taught."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludus.agents.language.engines.engine import Sampling
from ludus.agents.language.prompts import Prompter
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Seat, role_of

SETTINGS = "ludus.json"  # the file beside the model
_OF_PROMPTS = {field.name for field in dataclasses.fields(Prompter)}
_OF_SAMPLING = {field.name for field in dataclasses.fields(Sampling)} - {"ignore_end"}


@dataclass(frozen=True, slots=True)
class Manner:
    """Settings of prompts and of sampling.

    Attributes:
        style, memory, system, window, thoughts, answer, scratch, scratch_most: as in `Prompter`.
        temperature, top_p, top_k, max_new_tokens, stop: as in `Sampling`. What is learned from is scored
            at this temperature, and over the whole vocabulary. Without `stop`, the style "completion"
            ends replies at a line break (at an empty line where answers are boxed).
        constrain: "replies" lets the model choose among the legal replies alone, where they are finite;
            it is recorded with every decision. "" lets it say anything.
        seats: by seat or role, what of the sampling is otherwise there: {"player_1": {"temperature": 0.6}}.
    """

    style: str = "full"
    memory: str = "auto"
    system: str = ""
    window: int = 2
    thoughts: str = "keep"
    answer: str = "auto"
    scratch: str = ""
    scratch_most: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    constrain: str = ""
    seats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.constrain not in ("", "replies"):
            raise UnknownName("constraint", self.constrain, ("", "replies"))
        for seat, settings in self.seats.items():
            for name in settings:
                if name not in _OF_SAMPLING:
                    raise UnknownName(f"setting of sampling at {seat}", name, _OF_SAMPLING)
        for seat in ("", *self.seats):
            try:
                self.sampling(seat)
            except (TypeError, ValueError) as fault:
                raise ConfigError(f"sampling{' at ' * bool(seat)}{seat}: {fault}") from fault

    def prompter(self) -> Prompter:
        """What writes its prompts and reads its replies."""
        return Prompter(**{name: getattr(self, name) for name in _OF_PROMPTS})

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end replies, its own or those of its style."""
        return tuple(self.stop) or self.prompter().stops

    def sampling(self, seat: Seat) -> Sampling:
        """How it samples at a seat."""
        settings = {name: getattr(self, name) for name in _OF_SAMPLING}
        settings["stop"] = self.stops
        here = {**self.seats.get(role_of(seat), {}), **self.seats.get(seat, {})} if seat else {}
        return Sampling(**{**settings, **here})


def read_manner(folder: str | Path) -> Manner:
    """The manner saved beside a model, or the default one.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        return Manner()
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return Manner(**{**settings, "stop": tuple(settings.get("stop", ()))})
    except (TypeError, ValueError) as fault:
        raise ConfigError(f"{path} does not hold the settings of a language model: {fault}") from fault


def write_manner(folder: str | Path, manner: Manner) -> None:
    """Keep a manner beside a model."""
    text = json.dumps(dataclasses.asdict(manner), indent=1, ensure_ascii=False)
    (Path(folder) / SETTINGS).write_text(text + "\n", encoding="utf-8")
