"""Weights on their way to an engine elsewhere: what of them it takes, and the files that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the greatest ranks that vLLM can be told


def sampled_with(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Those weights that replies are sampled with: all but a value head's."""
    return {name: weight.detach() for name, weight in weights.items() if not name.startswith("value_head.")}


def write_model(folder: Path, weights: Mapping[str, Any]) -> None:
    """Write a whole model's weights, for an engine that has everything else of it.

    Args:
        folder: where; made if it is not there.
        weights: torch tensors by Hugging Face's names.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    held = {name: weight.cpu().contiguous() for name, weight in sampled_with(weights).items()}
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def write_adapter(folder: Path, weights: Mapping[str, Any], lora: Mapping[str, Any]) -> None:
    """Write an adapter as peft does.

    Args:
        folder: where; made if it is not there.
        weights: torch tensors by peft's names, with or without the adapter's name in them.
        lora: fields of peft's `LoraConfig`.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {plain(name): weight.cpu().contiguous() for name, weight in sampled_with(weights).items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    modules = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in tensors})
    config = {"peft_type": "LORA", "bias": "none", **lora, "target_modules": modules}
    (folder / "adapter_config.json").write_text(json.dumps(config, default=str), encoding="utf-8")


def plain(name: str) -> str:
    """A weight's name as peft saves it: without the adapter's name, and from the model's root.

    >>> plain("model.layers.0.mlp.up_proj.lora_A.main.weight")
    'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'
    """
    name = re.sub(r"\.(lora_(?:embedding_)?[AB])\.(?!weight$)[^.]+", r".\1", name)
    return name if name.startswith("base_model.model.") else f"base_model.model.{name}"


def greatest_rank(rank: int) -> int:
    """The least of vLLM's ranks that holds this one."""
    return next((known for known in RANKS if known >= rank), rank)
