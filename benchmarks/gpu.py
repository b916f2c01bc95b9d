"""A language model of Qwen3-0.6B's shape on one GPU: games a second of self-play, tokens a second of a training step.

The model has random weights and a local tokenizer in an embedding of the published size; a short lesson teaches it
to answer within a few tokens. Self-play samples in this process, with so many seats in flight. A training step is
`Learner.learn` as runs call it, in bfloat16 over float32 weights with checkpoints of every layer: on the decisions
that self-play gave, read as a prefix tree and, beside it, padded; and on sequences of 16,384 tokens that share
nothing, the length at which prime-rl publishes 11.9k tokens a second for this model on one H100, all weights
learning. MFU counts six operations a weight and token and those of causal attention, and nothing twice.

Example:
    python benchmarks/gpu.py --games tic_tac_toe kuhn_poker --seats 512 --json gpu.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trainer
from rollout import matches
from transformers import Qwen3Config, Qwen3ForCausalLM

import ludus
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.teach import teach, texts
from ludus.core.ledger import Ledger

SHAPE: dict[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40_960,
}  # fmt: skip
LONG = 16_384  # tokens
PEAK = 989e12  # dense bfloat16 operations a second of an H100 or H200
GPU = {"device": "cuda", "dtype": "float32", "autocast": "bfloat16"}


def make(folder: Path, games: list[str], lessons: int) -> None:
    """A model of this shape that speaks the games."""
    make_tiny(folder, seed=0, vocabulary=512, corpus=texts(games, episodes=50))
    config = Qwen3Config.from_pretrained(folder)
    config.update(SHAPE)
    config.layer_types = ["full_attention"] * config.num_hidden_layers
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen3ForCausalLM(config)
    model.cpu().save_pretrained(folder)
    teach(folder, games, steps=lessons, rate=2e-4, batch=32, device="cuda", **trainer.SCRATCH)


def self_play(
    game: str, agent: LanguageModel, options: argparse.Namespace
) -> tuple[dict[str, float], Ledger]:
    """Games, replies and tokens a second, and the decisions."""
    seats, count = options.seats, options.play
    list(ludus.play(matches(game, agent, range(count // 4)), at_once=seats))  # warms up
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    episodes = list(ludus.play(matches(game, agent, range(count, 2 * count)), at_once=seats))
    taken = time.perf_counter() - start
    ledger = Ledger.of(episodes)
    return {
        "games_a_second": count / taken, "replies_a_second": len(ledger) / taken,
        "tokens_a_second": len(ledger.ids) / taken, "tokens_a_reply": len(ledger.ids) / len(ledger),
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }, ledger  # fmt: skip


def long(ledger: Ledger, rows: int) -> Ledger:
    """So many decisions of a prompt of one token and a reply up to LONG tokens, of random ids."""
    some = ledger.take(np.arange(len(ledger)) < rows)
    rng, size = np.random.default_rng(0), rows * (LONG - 1)
    rollout = np.full(size, -np.log(SHAPE["vocab_size"]), np.float32)
    return dataclasses.replace(
        some, replies=None, prompts=tuple(rng.integers(0, 500, (rows, 1))),
        offset=np.arange(rows) * (LONG - 1), length=np.full(rows, LONG - 1), ids=rng.integers(0, 500, size),
        sampled=np.ones(size, np.bool_), rollout=rollout, old=rollout, token_rewards=np.zeros(size),
        token_values=np.full(size, np.nan, np.float32), collision=np.full(size, np.nan, np.float32),
    )  # fmt: skip


def training(
    folder: Path, ledger: Ledger, steps: int, micro: dict[str, int], **model: Any
) -> dict[str, float]:
    """Tokens a second of a step, memory, and the share of the card's arithmetic."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    advantages = np.random.default_rng(0).normal(size=len(ledger))
    step = trainer.ludus(folder, ledger, advantages, checkpoint=True, **micro, **GPU, **model)
    first, times = step(), []
    for _ in range(steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    lengths = np.array([len(ids) for ids in ledger.prompts]) + ledger.length
    taken = statistics.median(times)
    return {
        "rows": len(ledger), "tokens": int(lengths.sum()), "tokens_a_second": lengths.sum() / taken,
        "seconds": taken, "mfu": operations(lengths) / taken / PEAK, "loss": first,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }  # fmt: skip


def operations(lengths: np.ndarray) -> float:
    """Floating-point operations of forward and backward over sequences, none of them shared."""
    width, inner, heads = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_attention_heads"]
    across = heads * SHAPE["head_dim"]
    attention = width * (2 * across + 2 * SHAPE["num_key_value_heads"] * SHAPE["head_dim"])
    layers = SHAPE["num_hidden_layers"]
    weights = layers * (attention + 3 * width * inner) + width * SHAPE["vocab_size"]
    return float(6 * weights * lengths.sum() + 6 * layers * across * (lengths.astype(float) ** 2).sum())


def main() -> None:
    """Print a line for each figure, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=["tic_tac_toe", "kuhn_poker"])
    parser.add_argument("--seats", type=int, default=512, help="in flight at a time")
    parser.add_argument("--play", type=int, default=2048, help="games of self-play that are timed")
    parser.add_argument(
        "--steps", type=int, default=3, help="training steps that are timed; medians are told"
    )
    parser.add_argument("--rows", type=int, default=8, help=f"sequences of {LONG} tokens a step")
    parser.add_argument("--lessons", type=int, default=100, help="steps of teaching")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    print(found, flush=True)

    def tell(name: str, figures: dict[str, float]) -> None:
        found[name] = figures
        print(name, *(f"{key} {value:,.4g}" for key, value in figures.items()), sep="  ", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / "model"
        start = time.perf_counter()
        make(folder, options.games, options.lessons)
        print(f"made and taught in {time.perf_counter() - start:.0f} s", flush=True)
        agent = LanguageModel(folder, rows_at_once=options.seats, **GPU)
        ledgers = {}
        for game in options.games:
            figures, ledgers[game] = self_play(game, agent, options)
            tell(f"{game}, self-play", figures)
        del agent
        tell(
            f"sequences of {LONG}",
            training(folder, long(ledgers[game], options.rows), options.steps, {"micro": 1}),
        )
        for game, ledger in ledgers.items():
            part = ledger.take(np.arange(len(ledger)) < 4096)
            part = dataclasses.replace(part, old=part.rollout, replies=None)
            for name, packing in (("prefix tree", True), ("padded", False)):
                figures = training(folder, part, options.steps, {"micro_tokens": 32_768}, packing=packing)
                tell(f"{game}, decisions, {name}", figures)


if __name__ == "__main__":
    main()
