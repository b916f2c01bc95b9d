"""A causal language model in this process: loading, tokenising, scoring with gradients.

It is sampled by `continuous.py`.

Shape letters: U distinct prompts, P tokens of the longest prompt, W continuations, T tokens of the
longest continuation, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ludus.agents.language.engine import Ids
from ludus.agents.language.tokens import Chat
from ludus.core.errors import ConfigError, MissingExtra, UnknownName

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
    from transformers.utils import logging as transformers_logging
except ImportError as absent:
    raise MissingExtra("a local language model", "llm") from absent


class Continued(NamedTuple):
    """Scores of continuations; torch tensors, attached to the graph.

    Attributes:
        logprobs: (W, T) of each token; zero at padding.
        entropy: (W, T) of the distribution each token would be drawn from; zero at padding.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor


class CausalModel:
    """A Hugging Face causal model and its tokenizer.

    Args:
        path: a folder, or a name on the hub.
        device: where it computes, as torch writes it.
        dtype: of the weights: "float32", "bfloat16", "auto" (as they were saved).
        temperature: divides the logits in scoring; 0 (the likeliest token) is scored as 1.
        chat_template: a template, or a file that holds one; by default the tokenizer's own.
        completion: write plain text to be continued in place of chats.

    Attributes:
        chat: writes messages as tokens.

    Raises:
        UnknownName: there is no such folder; names its neighbours.
        ConfigError: the path holds no model, or a tokenizer without chat template or end token.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        temperature: float = 1.0,
        chat_template: str | Path = "",
        completion: bool = False,
    ) -> None:
        self.path, self.temperature, self.adapter = str(path), temperature or 1.0, ""
        self.device = torch.device(device)
        _refuse_missing(Path(path))
        try:
            with quietly():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(self.path)
                self.model: Any = AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype)
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{path} holds no causal model that transformers can load: {fault}") from fault
        self.chat = Chat(self.tokenizer, self.path, template=chat_template, completion=completion)
        torch.nn.Module.to(self.model, self.device)
        self.model.eval()  # no dropout: the distribution that samples is the one scored
        self.end = self.chat.end
        self.stops = {
            self.end,
            self.tokenizer.eos_token_id,
            *_listed(self.model.generation_config.eos_token_id),
        }

    # -------------------------------------------------------------------------------- scoring
    def score(self, prompts: Sequence[Ids], continuations: Sequence[tuple[int, Ids]]) -> Continued:
        """Log-probabilities and entropies of continuations (prompt index, tokens), with gradients.

        Each prompt is read once; its keys and values are shared by all of its continuations.
        """
        last, cache, mask = self._read(prompts)
        which = torch.tensor([index for index, _ in continuations], device=self.device)
        ids, present = self._padded([tokens for _, tokens in continuations], left=False)  # (W, T)
        logits = last.index_select(0, which)[:, None]
        if ids.shape[1] > 1:
            self._select(cache, which)
            seen = torch.cat([mask.index_select(0, which), present[:, :-1]], 1)
            logits = torch.cat([logits, self._forward(cache, ids[:, :-1], seen)], 1)
        logp = torch.log_softmax(logits.float() / self.temperature, -1)  # (W, T, V)
        chosen = logp.gather(-1, ids[..., None])[..., 0]
        entropy = -(logp.exp() * logp).sum(-1)
        return Continued(
            chosen.where(present, chosen.new_zeros(())), entropy.where(present, entropy.new_zeros(()))
        )

    # ------------------------------------------------------------------------- the model itself
    def _read(self, prompts: Sequence[Ids]) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
        """Logits (U, V) after each prompt, the keys and values of it, and the mask (U, P) of its tokens."""
        cache = DynamicCache(config=self.model.config)
        ids, mask = self._padded(prompts, left=True)
        return self._forward(cache, ids, mask, keep=1)[:, -1], cache, mask

    @staticmethod
    def _select(cache: DynamicCache, rows: torch.Tensor) -> None:
        """Keep, drop or repeat rows of a cache. It uses index_select, whose gradient adds up in a fixed order."""
        cache.reorder_cache(rows)  # type: ignore[arg-type]

    def _forward(
        self, cache: DynamicCache, ids: torch.Tensor, mask: torch.Tensor, keep: int = 0
    ) -> torch.Tensor:
        """Logits of `ids` after what the cache holds; positions count real tokens only."""
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out: torch.Tensor = self.model(
            input_ids=ids, attention_mask=mask.long(), position_ids=positions, past_key_values=cache,
            use_cache=True, logits_to_keep=keep,
        ).logits  # fmt: skip
        return out

    def _padded(self, rows: Sequence[Ids], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids of equal width, int64, and a mask, bool, of where they are."""
        width = max(len(row) for row in rows)
        ids, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.bool_)
        for index, row in enumerate(rows):
            place = slice(width - len(row), None) if left else slice(len(row))
            ids[index, place], mask[index, place] = row, True
        return torch.as_tensor(ids, device=self.device), torch.as_tensor(mask, device=self.device)

    # ------------------------------------------------------------------ for engines that sample
    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters it holds."""
        return ()

    @property
    def context(self) -> int:
        """How many tokens prompt and reply may have together."""
        return int(getattr(self.model.config, "max_position_embeddings", 2**31))

    @contextmanager
    def using(self, adapter: str) -> Iterator[None]:
        """Compute with an adapter's weights; "" for the model as it is."""
        if adapter not in ("", *self.adapters):
            raise UnknownName(f"adapter of {self.path}", adapter, self.adapters)
        yield

    def hidden(self, ids: torch.Tensor, at: torch.Tensor, seen: torch.Tensor, cache: Any) -> torch.Tensor:
        """Hidden states (B, T, width) of tokens at positions `at` (B, T).

        Args:
            ids: (B, T).
            at: (B, T).
            seen: (B, 1, T, L) bool, which of the cache's L tokens each may look at.
            cache: what transformers' models write keys and values to.
        """
        out: torch.Tensor = self.model.base_model(
            input_ids=ids, position_ids=at, attention_mask=self._masks(seen, at), past_key_values=cache, use_cache=True
        ).last_hidden_state  # fmt: skip
        return out

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of hidden states (..., width)."""
        logits: torch.Tensor = self.model.get_output_embeddings()(hidden)
        return logits

    def _masks(self, seen: torch.Tensor, at: torch.Tensor) -> Any:
        """The mask, and where some layers look at a window only, a mask for each kind of layer."""
        kinds = set(getattr(self.model.config, "layer_types", None) or ["full_attention"])
        if kinds == {"full_attention"}:
            return seen
        if kinds - {"full_attention", "sliding_attention"}:
            raise ConfigError(f"{self.path}: layers of kind {sorted(kinds)} cannot be sampled here: use vLLM")
        near = (
            torch.arange(seen.shape[-1], device=at.device)
            > at[:, None, :, None] - self.model.config.sliding_window
        )
        return {"full_attention": seen, "sliding_attention": seen & near}

    # ----------------------------------------------------------------------------------- texts
    def encode(self, messages: Sequence[dict[Any, str]]) -> Ids:
        """Token ids of a chat that waits for the model's reply."""
        return self.chat.encode(messages)

    def encode_reply(self, text: str) -> Ids:
        """Token ids of a reply with its end token."""
        return self.chat.encode_reply(text)

    def decode(self, ids: Ids) -> str:
        """The text of sampled tokens, without the stop token."""
        kept = ids[:-1] if ids and ids[-1] in self.stops else ids
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer in Hugging Face format."""
        with quietly():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def twin(self, name: str) -> CausalModel:
        """The same model with weights of its own."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        return other


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


def _refuse_missing(path: Path) -> None:
    """Tell a folder that is not there from a name on the hub, which is at most `owner/name`."""
    if path.exists() or (len(path.parts) <= 2 and not str(path).startswith((".", "/", "~"))):
        return
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    known = [str(other) for other in beside if (other / "config.json").is_file()]
    raise UnknownName("model folder", path, known)


def _listed(value: int | Sequence[int] | None) -> list[int]:
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
