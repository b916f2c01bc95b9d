"""Tokens per second of one optimiser step on a language model, beside TRL's GRPO, and the memory it takes.

A step goes from stored token ids, log-probabilities and advantages to updated weights: loss, gradient, clipping
and AdamW, in float32, one update, nothing sampled and no old log-probabilities computed again. Ours is
`Learner.learn` as runs call it, and begins with the ledger; TRL's is `GRPOTrainer._compute_loss` and what its
trainer does after it, and begins with padded tensors. Both count the same tokens: those of prompts and replies.

Workloads are decisions of recorded self-play, as games give them, and as many with prompts and replies of equal
length that share nothing. Each trainer has a process of its own, and the two take turns.

Example:
    python benchmarks/trainer.py --games tic_tac_toe kuhn_poker --rows 256
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pickle
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch

from ludus import Match, make, play
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.teach import teach, texts
from ludus.core.ledger import Ledger

MODEL = {"width": 256, "layers": 4, "heads": 8, "vocabulary": 512}
SCRATCH = {"scratch": " hm", "scratch_most": 24}
RATE, LOW, HIGH = 1e-5, 0.2, 0.2


# ------------------------------------------------------------------------------------ workloads
def record(game: str, folder: Path, rows: int, lessons: int) -> Ledger:
    """Decisions of a taught model in self-play: whole games, as many as make at least so many rows."""
    make_tiny(folder, seed=0, **MODEL, corpus=texts([game], episodes=50))
    teach(folder, [game], steps=lessons, **SCRATCH)
    agent, rules = LanguageModel(folder), make(game)
    found: list[Any] = []
    count = 0
    while count < rows:
        lineup = dict.fromkeys(rules.players, agent)
        found += play([Match(rules, lineup, seed) for seed in range(len(found), len(found) + 16)])
        count = sum(len(episode.steps) for episode in found)
    ledger = Ledger.of(found)
    return dataclasses.replace(ledger, old=ledger.rollout, replies=None)


def equal(ledger: Ledger, vocabulary: int) -> Ledger:
    """As many decisions, prompts and replies all as long as these are in the mean, and random."""
    rng, count = np.random.default_rng(0), len(ledger)
    prompt = round(float(np.mean([len(ids) for ids in ledger.prompts])))
    length = round(float(ledger.length.mean()))
    size = count * length
    rollout = np.full(size, -np.log(vocabulary), np.float32)
    return dataclasses.replace(
        ledger,
        prompts=tuple(rng.integers(0, vocabulary, (count, prompt))),
        offset=np.arange(count) * length, length=np.full(count, length), ids=rng.integers(0, vocabulary, size),
        sampled=np.ones(size, np.bool_), rollout=rollout, old=rollout, token_rewards=np.zeros(size),
        token_values=np.full(size, np.nan, np.float32), collision=np.full(size, np.nan, np.float32),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------- arms
def ludus(
    folder: Path, ledger: Ledger, advantages: np.ndarray, micro: int = 0, micro_tokens: int = 0, **model: Any
) -> Callable[[], float]:
    """Our step; it returns the loss."""
    from ludus.training.batch import Batch
    from ludus.training.choices import Named
    from ludus.training.learner import Learner
    from ludus.training.settings import LearnerConfig, Objective, Optimiser

    policy = LanguageModel(folder, **model)
    goal = Objective(
        loss=Named("clip", {"low": LOW, "high": HIGH}),
        aggregation=Named("decision_token_mean"),
        entropy_over="tokens",
    )
    optimiser = Optimiser(name="adamw", rate=RATE, clip=1.0)
    config = LearnerConfig(
        policy=policy.name, objective=goal, optimiser=optimiser, old="rollout",
        micro=micro, micro_tokens=micro_tokens,
    )  # fmt: skip
    learner = Learner(config, policy, steps=1000, seed=0)
    ones = np.ones(len(ledger.ids), np.float32)
    batch = Batch(ledger, advantages, np.zeros(len(ledger)), ledger.sampled, ones)
    return lambda: learner.learn(batch, step=1)["losses/loss"]


def trl(folder: Path, ledger: Ledger, advantages: np.ndarray, micro: int) -> Callable[[], float]:
    """TRL's step; its trainer is made without its constructor, which would want data sets and rewards."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging
    from trl import import_utils

    transformers_logging.disable_progress_bar()
    with mock.patch.object(import_utils, "is_vllm_available", return_value=False):  # it is not used here
        from trl.trainer.grpo_trainer import GRPOTrainer
        from trl.trainer.utils import add_fused_lm_head

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    add_fused_lm_head(model, temperature=1.0, outputs=("log_probs", "entropy"))
    one = GRPOTrainer.__new__(GRPOTrainer)
    one.model, one._metrics = model, {"train": defaultdict(list)}  # noqa: SLF001
    one.args = SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1, report_to=[])
    one.accelerator = SimpleNamespace(
        num_processes=1, is_main_process=True, sync_gradients=True, autocast=contextlib.nullcontext, gather=lambda x: x,
        reduce=lambda x, reduction: x, pad_across_processes=lambda x, dim, pad_index: x,
    )  # fmt: skip
    rows = np.arange(len(ledger))
    parts = [trl_inputs(ledger, some, advantages) for some in np.split(rows, rows[:: micro or len(rows)][1:])]
    vars(one).update(
        loss_type="grpo", importance_sampling_level="token", epsilon_low=LOW, epsilon_high=HIGH, beta=0.0,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, temperature=1.0,
        vllm_importance_sampling_correction=False, aux_loss_enabled=False, _entropy_bonus_enabled=False,
        max_completion_length=256, current_gradient_accumulation_steps=len(parts),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)

    def step() -> float:
        total = 0.0
        for part in parts:
            loss = one._compute_loss(model, part)  # noqa: SLF001
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return total

    return step


def trl_inputs(ledger: Ledger, rows: np.ndarray, advantages: np.ndarray) -> dict[str, torch.Tensor]:
    """Rows as TRL pads them: prompts on the left, replies on the right."""
    prompts = [torch.from_numpy(ledger.prompts[row]) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_side="left")
    ones = [torch.ones_like(prompt) for prompt in prompts]
    mask = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True, padding_side="left")
    return {
        "prompt_ids": ids, "prompt_mask": mask,
        "completion_ids": torch.from_numpy(ledger.padded(ledger.ids, rows)),
        "completion_mask": torch.from_numpy(ledger.padded(ledger.sampled, rows)).long(),
        "old_per_token_logps": torch.from_numpy(ledger.padded(ledger.old, rows)),
        "advantages": torch.from_numpy(advantages[rows]).float(),
        "num_items_in_batch": torch.tensor(int(ledger.length.sum())),
    }  # fmt: skip


def run_arm(options: argparse.Namespace) -> None:
    """One trainer on one workload: a step for every line that comes in, and a line of JSON about each."""
    torch.set_num_threads(options.threads)
    ledger: Ledger = pickle.loads(options.workload.read_bytes())  # noqa: S301 - written by this very script
    advantages = np.random.default_rng(0).normal(size=len(ledger))
    step = {"ludus": ludus, "trl": trl}[options.arm](options.model, ledger, advantages, options.micro)
    before = peak()
    for _ in sys.stdin:
        start, worked = time.perf_counter(), time.process_time()
        loss = step()
        taken, busy = time.perf_counter() - start, time.process_time() - worked
        figures = {
            "seconds": taken,
            "processor": busy,
            "loss": loss,
            "peak": peak(),
            "grown": peak() - before,
        }
        print(json.dumps(figures), flush=True)


def peak() -> float:
    """The most memory that this process has taken so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux lets a process inherit the maximum that getrusage tells
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


# ---------------------------------------------------------------------------------------- table
def measure(model: Path, ledger: Ledger, aside: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both trainers on a workload: tokens a second, their ratio, memory."""
    path = aside / "workload.pickle"
    path.write_bytes(pickle.dumps(ledger))
    tokens = sum(map(len, ledger.prompts)) + int(ledger.length.sum())
    arms = {}
    for name in ("ludus", "trl"):
        command = [sys.executable, __file__, "--arm", name, "--model", model, "--workload", path]
        command += ["--threads", str(options.threads), "--micro", str(options.micro)]
        arms[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for _ in range(1 + options.repetitions):  # they take turns, so that both meet the same load
        for name, arm in arms.items():
            assert arm.stdin is not None
            assert arm.stdout is not None
            print("step", file=arm.stdin, flush=True)
            figures = json.loads(arm.stdout.readline() or f'"{name} has failed"')
            steps[name].append(figures)
    for arm in arms.values():
        arm.communicate()
    found: dict[str, Any] = {"rows": len(ledger), "tokens": tokens}
    for name, (first, *rest) in steps.items():  # the first step warms up, from the same weights
        times = [each["seconds"] for each in rest]
        found[name] = {
            "loss": first["loss"], "times": times, "processor": [each["processor"] for each in rest],
            "speed": tokens / statistics.median(times), "peak": rest[-1]["peak"], "grown": rest[-1]["grown"],
        }  # fmt: skip
    ratios = [b / a for a, b in zip(found["ludus"]["times"], found["trl"]["times"], strict=True)]
    found["ratio"] = statistics.median(ratios)
    return found


def row(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    ours, theirs = found["ludus"], found["trl"]
    cells = [
        name, f"{found['rows']}", f"{found['tokens'] / found['rows']:.0f}", f"{ours['speed']:,.0f}",
        f"{theirs['speed']:,.0f}", f"{found['ratio']:.2f}", f"{ours['peak']:,.0f} (+{ours['grown']:,.0f})",
        f"{theirs['peak']:,.0f} (+{theirs['grown']:,.0f})",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=["tic_tac_toe", "kuhn_poker"])
    parser.add_argument("--rows", type=int, default=256, help="decisions in a step, at least")
    parser.add_argument("--micro", type=int, default=0, help="decisions in a forward pass; 0: all")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lessons", type=int, default=60, help="steps of teaching")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--arm", choices=["ludus", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workload", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        run_arm(options)
        return
    torch.set_num_threads(options.threads)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {options.threads} threads, torch {torch.__version__}\n"
    )
    print("| workload | rows | tokens a row | Ludus tokens/s | TRL tokens/s | ratio | Ludus MiB | TRL MiB |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for game in options.games:
            model = Path(folder) / game
            ledger = record(game, model, options.rows, options.lessons)
            vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
            for kind, work in (("self-play", ledger), ("equal lengths", equal(ledger, vocabulary))):
                figures[f"{game}, {kind}"] = measure(model, work, Path(folder), options)
                print(row(f"{game}, {kind}", figures[f"{game}, {kind}"]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
