"""A causal language model in this process: loading, tokenising, adapters, a value head.

It is sampled by `continuous.py` and scored by `scoring.py`.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.tokens import Chat
from ludus.core.errors import ConfigError, MissingExtra, UnknownName

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    from ludus.agents.language.models import scoring
    from ludus.agents.language.models.adapters import FIRST, Adapters, Lora, find_base, is_adapter
    from ludus.agents.language.models.loading import (
        listed,
        logit_settings,
        precision,
        quietly,
        read_model,
        read_tokenizer,
        refuse_missing,
        refuse_packing,
    )
    from ludus.agents.language.models.packing import ATTENTION, Layout, Tree
    from ludus.agents.language.models.scoring import Continued
except ImportError as absent:
    raise MissingExtra("a local language model", "llm") from absent

VALUE_HEAD = "value_head.safetensors"  # the file beside the model


class CausalModel:
    """A Hugging Face causal model and its tokenizer.

    Args:
        path: a folder, or a name on the hub; or the folder of an adapter.
        device: where it computes, as torch writes it.
        dtype: of the weights: "float32", "bfloat16", "auto" (as they were saved).
        temperature: divides the logits in scoring; 0 (the likeliest token) is scored as 1.
        autocast: compute in this type over weights of another: "bfloat16" over float32 weights.
        packing: score without padding, every shared token once; False for models that cannot.
        checkpoint: keep one hidden state a layer for the gradient, and compute the rest again.
        value_head: a linear layer on the last hidden state says what the seat will earn.
        lora: let an adapter learn, and not the model: settings of `Lora`, all of which have defaults.
        base: where an adapter's base model is now.
        chat_template: a Jinja template, or the file it is in; by default the tokenizer's own.
        completion: write plain text to be continued in place of chats.

    Attributes:
        dtype: as it was given.
        chat: writes messages as tokens.
        stops: tokens that end a reply.
        any_end: stands in what is scored for whichever of them comes; the size of the vocabulary if there are several.
        adapter: the name of the adapter that learns and is scored; "" for the model's own weights.
        value_head: says what a seat will earn, from hidden states; None without one.

    Raises:
        UnknownName: there is no such folder; names its neighbours.
        ConfigError: the path holds no model, or a tokenizer without chat template or end token; it cannot
            be packed; an adapter is another model's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        dtype: str = "auto",
        temperature: float = 1.0,
        autocast: str = "",
        packing: bool = True,
        checkpoint: bool = False,
        value_head: bool = False,
        lora: Mapping[str, Any] | None = None,
        base: str | None = None,
        chat_template: str | Path = "",
        completion: bool = False,
    ) -> None:
        self.path, self.temperature, self.dtype = str(path), temperature or 1.0, dtype
        self.device, self.packing = torch.device(device), packing
        self._cast = precision(autocast)
        refuse_missing(Path(path))
        adapted = is_adapter(path)
        if adapted and lora is not None:
            raise ConfigError(f"{path} is an adapter already, with settings of its own: leave out lora")
        whole = find_base(path, base) if adapted else self.path
        self.home = whole  # where the model lies that adapters change
        self.model = read_model(whole, dtype)
        own = not adapted or (Path(path) / "tokenizer_config.json").is_file()
        self.tokenizer = read_tokenizer(self.path if own else whole)
        self.chat = Chat(self.tokenizer, self.path, template=chat_template, completion=completion)
        self.end = self.chat.end
        eos = listed(self.model.generation_config.eos_token_id)
        self.stops = {self.end, self.tokenizer.eos_token_id, *eos}
        self.any_end = (
            self.end if len(self.stops) == 1 else int(self.model.config.get_text_config().vocab_size)
        )
        self._prepare(checkpoint=checkpoint)
        self._adapters: Adapters | None = None
        self.adapter = ""
        if adapted or lora is not None:
            self._adapters = Adapters(self.model, whole, Path(path) if adapted else Lora.of(lora or {}))
            self.adapter = FIRST
            for block in self._blocks:
                block._gradient_checkpointing_func = self.checkpointed  # noqa: SLF001
        self.value_head = _value_head(self, Path(path), wanted=value_head)
        torch.nn.Module.to(self.model, self.device)

    def _prepare(self, *, checkpoint: bool) -> None:
        """Set up packing, checkpoints and the head."""
        config = self.model.config.get_text_config()
        self.vocabulary = int(config.vocab_size)
        self._scale, self._cap = logit_settings(config)
        if self.packing:
            refuse_packing(self.model, config, self.path)
            self.model.set_attn_implementation(ATTENTION)
        self._blocks: list[Any] = []
        if checkpoint:
            self._blocks = _blocks(self.model)
            if not self._blocks:
                raise ConfigError(f"{self.path} cannot compute layers again: checkpoint = false")
            self.model.gradient_checkpointing_enable({"use_reentrant": False})

    # -------------------------------------------------------------------------------- scoring
    def score(self, prompts: Sequence[Ids], continuations: Sequence[tuple[int, Ids]]) -> Continued:
        """Score continuations (prompt index, tokens) with gradients; see `scoring.score`."""
        with self.using(self.adapter), self._computing():
            return scoring.score(self, prompts, continuations)

    def values(self, prompts: Sequence[Ids]) -> torch.Tensor:
        """What the value head says (W,) at the end of prompts; zeros without one."""
        if self.value_head is None:
            return torch.zeros(len(prompts), device=self.device)
        with self.using(self.adapter), self._computing():
            return scoring.values(self, prompts)

    def packed(self, found: Tree, layout: Layout) -> torch.Tensor:
        """Hidden states (S, width) of a stream of distinct tokens.

        Raises:
            ConfigError: some layers do not look at other tokens by the layout.
        """
        ids, at = (torch.from_numpy(x).to(self.device)[None] for x in (found.ids, found.depth))
        # A mask of four dimensions is handed on as it is: nobody builds one of S by S.
        blank = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.device)
        try:
            out = self.model.base_model(
                input_ids=ids, position_ids=at, attention_mask=blank, use_cache=False, layout=layout
            ).last_hidden_state
        except (NotImplementedError, TypeError) as fault:
            raise ConfigError(
                f"{self.path} cannot be scored without padding ({fault}): packing = false"
            ) from fault
        expected = self.model.config.get_text_config().num_hidden_layers
        if layout.calls != expected:
            raise ConfigError(
                f"{layout.calls} of {expected} layers of {self.path} can be scored without padding: packing = false"
            )
        hidden: torch.Tensor = out[0]
        return hidden

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states (N, L, width) of padded sequences (N, L)."""
        out: torch.Tensor = self.model.base_model(
            input_ids=ids, attention_mask=mask.long(), use_cache=False
        ).last_hidden_state
        return out

    def worth(self, hidden: torch.Tensor) -> torch.Tensor:
        """What the value head makes (U,) of hidden states (U, width)."""
        assert self.value_head is not None
        with torch.autocast(self.device.type, enabled=False):
            out: torch.Tensor = self.value_head(hidden.float())[:, 0]
        return out

    def checkpointed(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, keep what it was given instead of what it computed, and call it again for the gradient."""
        adapters, name = self._adapters, self._adapters.current if self._adapters else ""

        def again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            # By then another adapter may be in use, or none.
            return nullcontext(), nullcontext() if adapters is None else adapters.using(name)

        return checkpoint(function, *args, use_reentrant=False, context_fn=again)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Keep checkpoints if they were asked for, and gradients are."""
        for block in self._blocks:  # only they: no dropout
            block.training = torch.is_grad_enabled()
        try:
            yield
        finally:
            for block in self._blocks:
                block.training = False

    # -------------------------------------------------------------------------------- weights
    def weights(self) -> dict[str, torch.Tensor]:
        """What learns, or would be lost, by name: the model's weights, or its adapter's; the value head's."""
        if self._adapters is not None:
            held: dict[str, torch.Tensor] = {**self._adapters.weights(self.adapter)}
        else:
            every = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
            kept = set(self.model.state_dict())
            held = {name: tensor for name, tensor in every.items() if name in kept}  # tied ones once
        if self.value_head is not None:
            held |= {f"value_head.{name}": weight for name, weight in self.value_head.named_parameters()}
        return held

    def base_print(self) -> bytes:
        """A hash of what an adapter stands on; nothing where the model itself learns."""
        return b"" if self._adapters is None else self._adapters.base_print()

    def parameters(self) -> list[torch.Tensor]:
        """The weights that learn, always in the same order."""
        return [weight for weight in self.weights().values() if weight.requires_grad]

    def load(self, weights: Mapping[str, torch.Tensor], adapter: str = "") -> None:
        """Copy weights in; a new adapter's name adds one.

        Raises:
            ValueError: names or shapes differ.
        """
        if self._adapters is not None and adapter not in ("", *self.adapters):
            self._adapters.copy(self.adapter, adapter)
        own = self.weights()
        if self._adapters is not None and adapter:
            own = {**self._adapters.weights(adapter)}
        if set(own) != set(weights):
            differ = sorted(set(own) ^ set(weights))
            raise ValueError(f"{self.path}: the weights to load have other names: {', '.join(differ[:8])}")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(weights[name].shape)}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(weights[name])

    def twin(self, name: str) -> CausalModel:
        """The same model with weights of its own; of an adapter, a copy of that alone on the same base."""
        other = copy.copy(self)
        other.value_head = copy.deepcopy(self.value_head)
        if self._adapters is None:
            other.model = copy.deepcopy(self.model)
            if self._blocks:
                other._blocks = _blocks(other.model)  # noqa: SLF001
            return other
        other.adapter = self._adapters.copy(self.adapter, name)
        weakref.finalize(other, self._adapters.drop, other.adapter).atexit = False
        return other

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer in Hugging Face format; of an adapter, that alone, in peft's."""
        with quietly():
            if self._adapters is None:
                self.model.save_pretrained(folder)
            else:
                self._adapters.save(self.adapter, folder)
            self.tokenizer.save_pretrained(folder)
        if self.value_head is not None:
            save_file(
                {n: w.detach().cpu() for n, w in self.value_head.state_dict().items()},
                Path(folder) / VALUE_HEAD,
            )

    # ------------------------------------------------------------------ for engines that sample
    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters it holds."""
        return () if self._adapters is None else self._adapters.names

    @property
    def lora(self) -> dict[str, Any] | None:
        """The settings of its adapters as peft writes them; None without adapters."""
        return None if self._adapters is None else self._adapters.peft.peft_config[self.adapter].to_dict()

    @property
    def context(self) -> int:
        """How many tokens prompt and reply may have together."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 2**31))

    @property
    def token_bytes(self) -> int:
        """What the keys and values of one token take, in all layers."""
        config = self.model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        kind = self._cast or self.model.dtype
        return int(2 * config.num_hidden_layers * heads * width * kind.itemsize)

    def fitting(self, prompt: Ids, whose: str) -> Ids:
        """A prompt, if it leaves room for a reply.

        Raises:
            ConfigError: it does not fit the context; says whose it is and what to do.
        """
        if len(prompt) < self.context:
            return prompt
        raise ConfigError(
            f"{whose}: a prompt of {len(prompt)} tokens leaves no room in the context of {self.path}, which is "
            f"{self.context}: let the model see less (memory = 'turn' or 'window'), or take one with a longer context"
        )

    @contextmanager
    def using(self, adapter: str) -> Iterator[None]:
        """Compute with an adapter's weights; "" for the model as it is."""
        if adapter not in ("", *self.adapters):
            raise UnknownName(f"adapter of {self.path}", adapter, self.adapters)
        under = nullcontext() if self._adapters is None else self._adapters.using(adapter)
        with under, torch.autocast(self.device.type, self._cast, enabled=self._cast is not None):
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
        if self._scale != 1:
            logits = logits * self._scale
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def _masks(self, seen: torch.Tensor, at: torch.Tensor) -> Any:
        """The mask, and where some layers look at a window only, a mask for each kind of layer."""
        config = self.model.config.get_text_config()
        window = int(getattr(config, "sliding_window", None) or 0)
        named = getattr(config, "layer_types", None)
        kinds = set(named or ["sliding_attention" if window else "full_attention"])
        if kinds == {"full_attention"}:
            return seen
        if kinds - {"full_attention", "sliding_attention"}:
            raise ConfigError(f"{self.path}: layers of kind {sorted(kinds)} cannot be sampled here: use vLLM")
        near = torch.arange(seen.shape[-1], device=at.device) > at[:, None, :, None] - window
        if not named:  # every layer looks at the window
            return seen & near
        return {"full_attention": seen, "sliding_attention": seen & near}

    # ----------------------------------------------------------------------------------- texts
    def encode(self, messages: Sequence[dict[Any, str]]) -> Ids:
        """Token ids of a chat that waits for the model's reply."""
        return self.chat.encode(messages)

    def whichever(self, reply: Ids) -> Ids:
        """A reply as a choice, whichever token ends it."""
        return (*reply[:-1], self.any_end)

    def encode_reply(self, text: str) -> Ids:
        """Token ids of a reply with its end token."""
        return self.chat.encode_reply(text)

    def decode(self, ids: Ids) -> str:
        """The text of sampled tokens, without the stop token."""
        kept = ids[:-1] if ids and ids[-1] in self.stops else ids
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _value_head(model: CausalModel, path: Path, *, wanted: bool) -> torch.nn.Linear | None:
    """The head that is saved beside a model, or a new one, which says 0."""
    saved = path / VALUE_HEAD
    if not wanted and not saved.is_file():
        return None
    head: torch.nn.Linear = torch.nn.utils.skip_init(
        torch.nn.Linear, model.model.config.get_text_config().hidden_size, 1
    )
    for weight in head.parameters():
        torch.nn.init.zeros_(weight)
    if saved.is_file():
        head.load_state_dict(load_file(saved))
    torch.nn.Module.to(head, model.device)
    return head


def _blocks(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
