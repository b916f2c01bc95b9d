"""Low-rank adapters: many policies on one base model that they share in memory.

Only an adapter's weights learn, are saved and are loaded; the base stays as it is. Files are those of
peft: adapter_config.json and adapter_model.safetensors.

Source: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludus.core.errors import ConfigError, MissingExtra, UnknownName

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer
    from safetensors.torch import load_file, save_file
    from torch import Tensor

    from ludus.agents.language.models.prints import prints
except ImportError as absent:
    raise MissingExtra("adapters of a language model", "llm") from absent

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FIRST = "default"  # the adapter that a model is made with


@dataclass(frozen=True, slots=True)
class Lora:
    """What an adapter is like.

    Attributes:
        rank: of each change of a matrix.
        alpha: changes are multiplied by alpha / rank.
        targets: "all-linear" (all but the head), or the names of modules.
        dropout: must be 0, so that the distribution that samples is the one scored.
        seed: decides the first weights; an adapter that has learned nothing changes nothing.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: str | Sequence[str] = "all-linear"
    dropout: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ConfigError(f"an adapter has a rank of at least 1 and a positive alpha: {self}")
        if self.dropout:
            raise ConfigError(
                "an adapter in self-play has dropout = 0: what is sampled must be what is scored"
            )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Lora:
        """The same from a table of settings."""
        for name in settings:
            if name not in cls.__dataclass_fields__:
                raise UnknownName("setting of an adapter", name, cls.__dataclass_fields__)
        return cls(**settings)


class Adapters:
    """The named adapters of a base model; computing takes place under one of them, or none ("").

    Args:
        model: the base, into which adapters are put; its own weights learn no more.
        base: its path, which is written beside adapters.
        new: what the first adapter is like, or the folder that it is in.

    Raises:
        ConfigError: the folder's adapter does not fit the base.
    """

    def __init__(self, model: Any, base: str, new: Lora | Path) -> None:
        self.base = str(Path(base).resolve()) if Path(base).exists() else base
        if isinstance(new, Path):
            config = _read_config(new)
            weights = load_file(new / WEIGHTS)
        else:
            targets = new.targets if isinstance(new.targets, str) else list(new.targets)
            about: dict[str, Any] = {"r": new.rank, "lora_alpha": new.alpha, "target_modules": targets}
            config = LoraConfig(task_type="CAUSAL_LM", **about)
        config.base_model_name_or_path = self.base
        config.inference_mode = False
        try:
            with torch.random.fork_rng(devices=[]):  # the library draws from the global generator
                torch.manual_seed(new.seed if isinstance(new, Lora) else 0)
                self.peft: PeftModel = get_peft_model(model, config, FIRST)
        except ValueError as fault:
            raise ConfigError(f"an adapter does not fit {self.base}: {fault}") from fault
        self.peft.eval()  # its modules are new, and may drop out
        self._layers = [layer for layer in self.peft.modules() if isinstance(layer, BaseTunerLayer)]
        self._current, self._print = FIRST, b""
        self._past: set[str] = set()  # names of copies, of those that are gone, too
        if isinstance(new, Path):
            self._fill(new, weights)

    def _fill(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        own = self.weights(FIRST)
        wrong = set(own) ^ set(weights) or {n for n in own if own[n].shape != weights[n].shape}
        if wrong:
            raise ConfigError(
                f"the adapter in {folder} was made for {base_of(folder)} and does not fit {self.base}: "
                f"{len(wrong)} weights differ in name or shape, as {min(wrong)}; give it its own base"
            )
        set_peft_model_state_dict(self.peft, dict(weights), FIRST)

    @property
    def names(self) -> tuple[str, ...]:
        """All adapters."""
        return tuple(self.peft.peft_config)

    @property
    def current(self) -> str:
        """The one that is computed under."""
        return self._current

    def weights(self, name: str) -> dict[str, torch.nn.Parameter]:
        """An adapter's weights under the names that they have in its file."""
        return {
            full.replace(f".{name}.", ".").removesuffix(f".{name}"): weight
            for full, weight in self.peft.named_parameters()
            if f".{name}." in full or full.endswith(f".{name}")
        }

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Compute under an adapter; gradients of all of them stay possible."""
        before = self._current
        self._use(name)
        try:
            yield
        finally:
            self._use(before)

    def _use(self, name: str) -> None:
        if name == self._current:
            return
        for layer in self._layers:  # not peft's set_adapter, which stops the others' gradients under way
            layer._disable_adapters = not name  # noqa: SLF001
            layer._active_adapter = [name or FIRST]  # noqa: SLF001
        self._current = name

    def copy(self, source: str, wish: str) -> str:
        """Add a copy of an adapter under a name like the one wished for; its name.

        A name never comes twice: engines may still hold what was worked out under one that is gone.
        """
        taken = {part for full, _ in self.peft.named_parameters() for part in full.split(".")} | self._past
        stem = wish.replace(".", "_") or FIRST
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}~{number}"
        self._past.add(name)
        before = self._current
        with torch.random.fork_rng(devices=[]):
            self.peft.add_adapter(name, self.peft.peft_config[source])
        new = self.weights(name)
        with torch.no_grad():
            for full, weight in self.weights(source).items():
                new[full].copy_(weight)
        for weight in (*new.values(), *self.weights(source).values()):
            weight.requires_grad = True
        self._current = "?"  # whatever peft has made current
        self._use(before)
        return name

    def drop(self, name: str) -> None:
        """Forget an adapter."""
        if name in self.names and name != FIRST:
            before = self._current
            self.peft.delete_adapter(name)
            self._current = "?"
            self._use(before if before != name else FIRST)

    def base_print(self) -> bytes:
        """A hash of the base's weights, which never change."""
        if not self._print:
            digest = hashlib.blake2b(digest_size=8)
            own = {full: weight for full, weight in self.peft.named_parameters() if not weight.requires_grad}
            for part in prints(own):
                digest.update(part)
            self._print = digest.digest()
        return self._print

    def save(self, name: str, folder: str | Path) -> None:
        """Write an adapter as peft does."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.peft.peft_config[name].save_pretrained(str(folder))
        held = {full: weight.detach().contiguous().cpu() for full, weight in self.weights(name).items()}
        save_file(held, Path(folder) / WEIGHTS, metadata={"format": "pt"})


def is_adapter(path: str | Path) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(path) / CONFIG).is_file()


def base_of(folder: str | Path) -> str:
    """The path of the base model that an adapter was made for."""
    return str(json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])


def find_base(folder: str | Path, base: str | None) -> str:
    """The base to load for an adapter: its own, or the one given, if that is the same or its own has moved.

    Raises:
        ConfigError: the adapter is another model's, or its base is not there.
    """
    own = base_of(folder)
    if base is None:
        if Path(own).is_absolute() and not Path(own).exists():
            raise ConfigError(
                f"the adapter in {folder} needs its base model {own}, which is not there: give base = its folder"
            )
        return own
    same = own == base or (Path(base).exists() and own == str(Path(base).resolve()))
    moved = Path(own).is_absolute() and not Path(own).exists()
    if not same and not moved:
        raise ConfigError(f"the adapter in {folder} was made for the base model {own}, not for {base}")
    return base


def _read_config(folder: Path) -> LoraConfig:
    try:
        config = LoraConfig.from_pretrained(str(folder))
    except (OSError, TypeError, ValueError) as fault:
        raise ConfigError(f"{folder} holds no adapter that peft can load: {fault}") from fault
    if not isinstance(config, LoraConfig):
        raise ConfigError(f"{folder} holds no low-rank adapter: {type(config).__name__}")
    config.lora_dropout = 0.0  # whatever it was first trained with: what is sampled must be what is scored
    return config
