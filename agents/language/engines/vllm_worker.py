"""What runs inside vLLM's workers, wherever they are: weights taken in without loading anew.

`VLLMEngine` mixes it in by itself; a server is started with
`--worker-extension-cls ludus.agents.language.engines.vllm_worker.Refreshing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Refreshing:
    """Mixed into vLLM's worker classes, whose members it uses."""

    reload_weights: Callable[..., None]
    model_runner: Any

    def ludus_refresh(self, weights: Mapping[str, Any] | None = None, path: str | None = None) -> None:
        """Take a whole model's weights.

        Args:
            weights: by Hugging Face's names; or
            path: a folder that holds them as `save_pretrained` writes it.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        named = None if weights is None else iter(weights.items())
        self.reload_weights(weights_iterator=named, weights_path=path)
        # vLLM packs the output layer anew only where the checkpoint names it; a tied one it does not name.
        for module in self.model_runner.get_model().modules():
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)
