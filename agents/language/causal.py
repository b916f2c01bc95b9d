"""A causal language model in this process: loading, sampling token by token, scoring with gradients.

Rows that have been fed the same tokens so far share their computation: prompts are read once however
many rows ask them, and sampled branches part only where their tokens do. Every row draws with its own
generator by inverse cumulative distribution, so what it says does not depend on who else is in the
batch, up to rounding in the matrix products.

Shape letters: R rows, U distinct prefixes, P tokens of the longest prompt, W continuations,
T tokens of the longest continuation, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, MissingExtra, UnknownName

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
    from transformers.utils import logging as transformers_logging
except ImportError as absent:
    raise MissingExtra("a local language model", "llm") from absent

Ids: TypeAlias = tuple[int, ...]


class Sampled(NamedTuple):
    """One sampled continuation.

    Attributes:
        ids: the sampled tokens, the stop token included.
        logprobs: (T,) float32, each under the distribution it was drawn from.
        stopped: it ended with a stop token, and not at the limit.
    """

    ids: Ids
    logprobs: NDArray[np.float32]
    stopped: bool


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
        temperature: divides the logits, in sampling and in scoring alike.
        rows_at_once: how many rows are sampled together.

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
        rows_at_once: int = 512,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"the temperature must be positive, not {temperature}")
        self.path, self.temperature, self.rows_at_once = str(path), temperature, rows_at_once
        self.device = torch.device(device)
        _refuse_missing(Path(path))
        try:
            with quietly():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(self.path)
                self.model: Any = AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype)
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{path} holds no causal model that transformers can load: {fault}") from fault
        if self.tokenizer.chat_template is None or self.tokenizer.eos_token_id is None:
            raise ConfigError(f"the tokenizer of {path} has no chat template or no end token: give it both")
        torch.nn.Module.to(self.model, self.device)
        self.model.eval()  # no dropout: the distribution that samples is the one scored
        self.end: int = self.tokenizer.eos_token_id
        self.stops = {self.end, *_listed(self.model.generation_config.eos_token_id)}

    # ------------------------------------------------------------------------------- sampling
    def sample(
        self, prompts: Sequence[Ids], rngs: Sequence[np.random.Generator], limit: int
    ) -> list[Sampled]:
        """Continue each prompt with at most `limit` tokens, drawn with the row's own generator."""
        out: list[Sampled] = []
        with torch.inference_mode():
            for first in range(0, len(prompts), self.rows_at_once):
                rows = slice(first, first + self.rows_at_once)
                out += self._sample(prompts[rows], rngs[rows], limit)
        return out

    def _sample(
        self, prompts: Sequence[Ids], rngs: Sequence[np.random.Generator], limit: int
    ) -> list[Sampled]:
        distinct = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompts))}
        branch = np.array([distinct[prompt] for prompt in prompts])  # (R,) which prefix a row has
        ids: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        active = np.arange(len(prompts))
        stops = np.array(sorted(self.stops))
        logits, cache, mask = self._read(list(distinct))
        for step in range(limit):
            uniform = np.array([rngs[row].random() for row in active.tolist()])
            drawn, logprob = self._draw(logits, branch[active], uniform)
            for row, token, p in zip(active.tolist(), drawn.tolist(), logprob.tolist(), strict=True):
                ids[row].append(token)
                logprobs[row].append(p)
            going = ~np.isin(drawn, stops)
            active, drawn = active[going], drawn[going]
            if not len(active) or step == limit - 1:
                break
            pairs = np.stack([branch[active], drawn], 1)
            nodes, inverse = np.unique(pairs, axis=0, return_inverse=True)
            branch[active] = inverse.reshape(-1)
            logits, mask = self._feed(cache, mask, nodes)
        return [
            Sampled(tuple(row), np.array(p, np.float32), bool(row) and row[-1] in self.stops)
            for row, p in zip(ids, logprobs, strict=True)
        ]

    def _draw(
        self, logits: torch.Tensor, branch: NDArray[Any], uniform: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """A token for each row and its log-probability: the first whose cumulative probability exceeds u."""
        logp = torch.log_softmax(logits.double() / self.temperature, -1)  # (U, V)
        edges = logp.exp().cumsum(-1)
        where = torch.as_tensor(branch, device=self.device)
        u = torch.as_tensor(uniform, device=self.device) * edges[where, -1]
        token = torch.searchsorted(edges[where], u[:, None], right=True)[:, 0]
        token = token.clamp(max=logp.shape[-1] - 1)
        return token.cpu().numpy(), logp[where, token].cpu().numpy()

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

    def _feed(
        self, cache: DynamicCache, mask: torch.Tensor, nodes: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Go on from prefixes by one token each; `nodes` (U', 2) are (prefix, token)."""
        parent = torch.as_tensor(nodes[:, 0], device=self.device)
        if not np.array_equal(nodes[:, 0], np.arange(len(mask))):
            self._select(cache, parent)
            mask = mask.index_select(0, parent)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        token = torch.as_tensor(nodes[:, 1:], device=self.device)
        return self._forward(cache, token, mask)[:, -1], mask

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

    # ----------------------------------------------------------------------------------- texts
    def encode(self, messages: Sequence[dict[Any, str]]) -> Ids:
        """Token ids of a chat that waits for the model's reply."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_reply(self, text: str) -> Ids:
        """Token ids of a reply with its end token."""
        return (*self.tokenizer.encode(text, add_special_tokens=False), self.end)

    def encode_follow_up(self, text: str, *, stopped: bool) -> Ids:
        """What a chat template writes between a reply and the next: its end, the user's message, the opening.

        The reply's own tokens stay as they were sampled; `stopped` says that they include the end token.
        """
        marks = ("\x02user\x03", "\x02reply\x03")
        chat = [
            {"role": "user", "content": marks[0]},
            {"role": "assistant", "content": marks[1]},
            {"role": "user", "content": text},
        ]
        whole = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        after = whole.split(marks[1])[-1]
        end = self.tokenizer.eos_token
        return tuple(
            self.tokenizer.encode(after.removeprefix(end) if stopped else after, add_special_tokens=False)
        )

    def decode(self, ids: Ids) -> str:
        """The text of sampled tokens, without the stop token."""
        kept = ids[:-1] if ids and ids[-1] in self.stops else ids
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def save(self, folder: str | Path) -> None:
        """Write model and tokenizer in Hugging Face format."""
        with quietly():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def twin(self) -> CausalModel:
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
