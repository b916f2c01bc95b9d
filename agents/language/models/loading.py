"""Loading models and tokenizers, and finding out what they can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from ludus.core.errors import ConfigError, MissingExtra, UnknownName

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging
except ImportError as absent:
    raise MissingExtra("a local language model", "llm") from absent

LAYERS = {"full_attention", "sliding_attention"}  # kinds that can be packed


def read_model(path: str, dtype: str) -> Any:
    """A causal model from a folder or the hub.

    Raises:
        UnknownName: there is no such folder.
        ConfigError: it holds no model.
    """
    refuse_missing(Path(path))
    try:
        with quietly():
            model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError) as fault:
        raise ConfigError(f"{path} holds no causal model that transformers can load: {fault}") from fault
    return model.eval()  # no dropout: the distribution that samples is the one scored


def read_tokenizer(path: str) -> Any:
    """A tokenizer from a folder or the hub.

    Raises:
        ConfigError: it holds none.
    """
    try:
        with quietly():
            return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as fault:
        raise ConfigError(f"{path} holds no tokenizer that transformers can load: {fault}") from fault


@contextmanager
def quietly() -> Iterator[None]:
    """Without the progress bars that transformers draws for every file, in the midst of ours."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def refuse_missing(path: Path) -> None:
    """Tell a folder that is not there from a name on the hub, which is at most `owner/name`."""
    if path.exists() or (len(path.parts) <= 2 and not str(path).startswith((".", "/", "~"))):
        return
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    known = [str(other) for other in beside if (other / "config.json").is_file()]
    raise UnknownName("model folder", path, known)


def listed(value: int | Sequence[int] | None) -> list[int]:
    """One number or several, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)


def precision(name: str) -> torch.dtype | None:
    """The type that a setting names; None for ""."""
    kinds = {"": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in kinds:
        raise UnknownName("type to compute in", name, kinds)
    return kinds[name]


def logit_settings(config: Any) -> tuple[float, float | None]:
    """What a model multiplies its logits by, and its soft cap on them, under the names that models give these."""
    scale = 1.0
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    scale = scale * divisor if config.model_type == "hyperclovax" else scale / divisor
    return scale, getattr(config, "final_logit_softcapping", None)


def refuse_packing(model: Any, config: Any, path: str) -> None:
    """Find out before the first step what would go wrong in it."""
    kinds = set(getattr(config, "layer_types", None) or LAYERS) - LAYERS
    takes = signature(model.base_model.forward).parameters.values()
    why = ""
    if model.base_model is model or not model.is_backend_compatible():
        why = "its attention cannot be exchanged"
    elif kinds:
        why = f"it has layers of kind {', '.join(sorted(kinds))}"
    elif not any(p.kind is Parameter.VAR_KEYWORD for p in takes):
        why = "it hands nothing on to its attention"
    elif getattr(config, "attn_logit_softcapping", None):
        why = "its attention caps scores"
    if why:
        raise ConfigError(f"{path} cannot be scored without padding, {why}: packing = false")
