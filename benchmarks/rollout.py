"""Tokens per second of language models in self-play, beside the same engine without games.

A tiny Qwen3 of about three million weights, taught each game's language with a free scratch part of varying
length, plays itself with 256 seats in flight; games that end are replaced. What the engine is asked in these games is
recorded beforehand, and put to the same engine again, 256 at a time, with no games around it: the same prompts, the
same random numbers, and so the same replies. The clock of either runs from when as many replies have come as there
are seats until `--replies` more have, all seats being in flight all the while. The two take turns, the cache emptied
before each; medians of the rounds are printed, and the median, least and greatest ratio.

With `--turns`, how many prompt tokens a cache that outlives the turns of a conversation saves.

Example:
    python benchmarks/rollout.py --engine transformers --games tic_tac_toe kuhn_poker
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ludus import Match, make, play
from ludus.agents.language.desk import Desk
from ludus.agents.language.engines.continuous import TransformersEngine
from ludus.agents.language.engines.engine import Engine, Job, Sampled
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.teach import teach, texts

MODEL = {"width": 256, "layers": 4, "heads": 8, "vocabulary": 512}
SCRATCH = {"scratch": " hm", "scratch_most": 24}


class Watch:
    """An engine that counts the tokens that come while a clock runs.

    Args:
        engine: which samples.
        warm: replies before the clock starts.
        timed: replies until it stops.
        jobs: takes what is submitted, each with the generator as it was.
    """

    def __init__(self, engine: Engine, warm: int, timed: int, jobs: list[Job] | None = None) -> None:
        self.engine, self.warm, self.last, self.jobs = engine, warm, warm + timed, jobs
        self.came = self.tokens = 0
        self.start = self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    @property
    def over(self) -> bool:
        """The clock has stopped."""
        return self.came >= self.last

    @property
    def speed(self) -> float:
        """Tokens a second while the clock ran."""
        return self.tokens / self.seconds

    def submit(self, jobs: Sequence[Job]) -> None:
        """As the engine's."""
        if self.jobs is not None:
            self.jobs += [job._replace(rng=copy.deepcopy(job.rng)) for job in jobs]
        self.engine.submit(jobs)

    def poll(self) -> list[tuple[Job, Sampled]]:
        """As the engine's, counted."""
        ready = self.engine.poll()
        if self.start and not self.over:
            self.tokens += sum(len(reply.ids) for _, reply in ready)
            self.seconds = time.perf_counter() - self.start
        self.came += len(ready)
        if not self.start and self.came >= self.warm:
            self.start = time.perf_counter()
        return ready


def model_for(game: str, folder: Path, steps: int, memory: str = "auto") -> Path:
    """A taught model, made once."""
    if not (folder / "ludus.json").is_file():
        corpus = texts([game], episodes=50)
        make_tiny(folder, seed=0, **MODEL, corpus=corpus)
        teach(folder, [game], steps=steps, show=True, memory=memory, **SCRATCH)
    return folder


def matches(game: str, agent: LanguageModel, seeds: Iterable[int]) -> Iterator[Match]:
    """Games in which an agent plays every seat."""
    rules = make(game)
    return (Match(rules, dict.fromkeys(rules.players, agent), seed) for seed in seeds)


def self_play(game: str, agent: LanguageModel, watch: Watch, seats: int) -> None:
    """Games without end, until the clock has stopped."""
    watched = copy.copy(agent)
    watched.forget()  # what it keeps of prompts and replies is its own
    watched.desk = Desk(watch)
    for _ in play(matches(game, watched, itertools.count()), at_once=seats):
        if watch.over:
            return


def alone(watch: Watch, jobs: Sequence[Job], seats: int) -> None:
    """The same jobs with no games, until the clock has stopped."""
    jobs = [job._replace(rng=copy.deepcopy(job.rng)) for job in jobs]
    place = seats
    watch.submit(jobs[:place])
    while not watch.over:
        more = jobs[place : place + len(watch.poll())]
        place += len(more)
        if more:
            watch.submit(more)
    watch.close([job.session for job in jobs[:place]])


def emptied(agent: LanguageModel) -> None:
    """Forget every prefix."""
    agent.desk.engine.forget()


def compare(game: str, path: Path, options: argparse.Namespace) -> dict[str, float]:
    """Medians over rounds of self-play and of the engine alone."""
    agent = LanguageModel(path, engine=options.engine, rows_at_once=options.seats)
    engine = agent.desk.engine
    jobs: list[Job] = []
    self_play(game, agent, Watch(engine, options.seats, options.replies, jobs), options.seats)
    speeds: dict[str, list[float]] = {"self_play": [], "alone": []}
    tokens = set()
    for number in range(options.rounds):
        for name in sorted(speeds, reverse=bool(number % 2)):  # whoever drifts meets both alike
            watch = Watch(engine, options.seats, options.replies)
            emptied(agent)
            if name == "self_play":
                self_play(game, agent, watch, options.seats)
            else:
                alone(watch, jobs, options.seats)
            speeds[name].append(watch.speed)
            tokens.add(watch.tokens)
    assert max(tokens) < 1.05 * min(tokens), f"not the same work: {tokens} tokens"
    engine.stop()
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    return {
        **{name: statistics.median(each) for name, each in speeds.items()},
        "ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "greatest_ratio": max(ratios),
        "tokens_a_reply": max(tokens) / options.replies,
    }


def turns(game: str, path: Path, options: argparse.Namespace) -> dict[str, float]:
    """Prompt tokens that a conversation's cache saves, beside the arithmetic of equally long turns."""
    agent = LanguageModel(path, rows_at_once=options.seats)
    episodes = list(play(matches(game, agent, range(options.seats)), at_once=options.seats))
    counts = np.array([len(e.of(seat)) for e in episodes for seat in e.returns])
    engine = agent.desk.engine
    assert isinstance(engine, TransformersEngine)
    return {
        "turns_a_seat": float(counts.mean()),
        "arithmetic": float((counts * (counts + 1) / 2).sum() / counts.sum()),
        "fed": float(engine.fed),
        "read": float(engine.fed - engine.saved),
        "saved_factor": engine.fed / (engine.fed - engine.saved),
    }


def main() -> None:
    """Print a line for each game, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=["tic_tac_toe", "kuhn_poker"])
    parser.add_argument("--engine", default="transformers", choices=["transformers", "vllm"])
    parser.add_argument("--seats", type=int, default=256, help="in flight at a time")
    parser.add_argument("--replies", type=int, default=2048, help="timed in a round")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lessons", type=int, default=150, help="steps of teaching")
    parser.add_argument("--models", type=Path, help="where taught models are kept between runs")
    parser.add_argument("--turns", action="store_true", help="measure the cache over turns instead")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {}
    with tempfile.TemporaryDirectory() as aside:
        for game in options.games:
            folder = (options.models or Path(aside)) / (f"{game}_turns" if options.turns else game)
            memory = "conversation" if options.turns else "auto"
            path = model_for(game, folder, options.lessons, memory)
            found[game] = (turns if options.turns else compare)(game, path, options)
            print(
                game, *(f"{name} {value:,.3f}" for name, value in found[game].items()), sep="  ", flush=True
            )
    if options.json:
        options.json.write_text(json.dumps({"engine": options.engine, "games": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
