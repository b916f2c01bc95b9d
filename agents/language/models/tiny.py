"""A tiny causal model from scratch: Qwen3 configuration, bytes or a small trained vocabulary as tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ludus.core.errors import ConfigError, MissingExtra

try:
    import torch
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from ludus.agents.language.models.loading import quietly
except ImportError as absent:
    raise MissingExtra("a tiny language model", "llm") from absent

PAD, END = "<|pad|>", "<|end|>"
SPECIAL = (PAD, END, "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tiny(
    path: str | Path,
    *,
    seed: int = 0,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    vocabulary: int = 0,
    corpus: Iterable[str] = (),
    words: Sequence[str] = (),
) -> Path:
    """Write a fresh model and tokenizer in Hugging Face format; by default about half a million weights.

    Args:
        path: the folder to write.
        seed: decides the first weights.
        width: of the hidden states; the inner width of the feed-forward part is three times that.
        layers: how many.
        heads: of attention; half as many for keys and values.
        vocabulary: 0 for bytes as tokens; else a vocabulary of this size is trained on `corpus`; it is
            smaller where the corpus has not that many pieces.
        corpus: texts to train the vocabulary on, as `texts` of `teach.py` gives them.
        words: texts that are one token each wherever they stand, as a scratch string should be.

    Returns:
        The folder.
    """
    if width % heads or heads % 2:
        raise ConfigError(f"width {width} must divide by heads {heads}, and heads by two")
    tokenizer = _tokenizer(vocabulary, corpus, words)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads // 2, head_dim=width // heads,
        max_position_embeddings=4096, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # the library draws from the global generator: lend it ours
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    with quietly():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
    return Path(path)


def _tokenizer(vocabulary: int, corpus: Iterable[str], words: Sequence[str]) -> Any:
    """Byte pair encoding over bytes; without merges, that is a byte a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocabulary:
        tokenizer = Tokenizer(models.BPE())
    else:
        tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    # A bracketed or boxed reply is a word of its own, so that its tokens do not depend on what stands before it.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\[[^\[\]]*\]|\\boxed\{[^{}]*\}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if vocabulary:
        texts, least = list(corpus), len(alphabet) + len(SPECIAL) + len(words)
        if not texts:
            raise ConfigError(
                f"a vocabulary of {vocabulary} tokens is trained on a corpus, and none was given: name games"
            )
        if vocabulary < least:
            raise ConfigError(
                f"a vocabulary of {vocabulary} is too small: with all bytes it has at least {least}"
            )
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary - len(SPECIAL) - len(words), initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, chat_template=CHAT_TEMPLATE,
        additional_special_tokens=list(SPECIAL[2:]), clean_up_tokenization_spaces=False,
    )  # fmt: skip
