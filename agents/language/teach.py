"""Teaching a model a game's language: supervised learning on transcripts of random legal play.

The lessons are what a seat is asked in games played at random, each with the replies that are legal
there. The loss is on reply tokens only, and every legal reply of a choice counts alike, so that self-play
from the taught model starts legal and weak: at the uniform policy, near enough. Replies may begin with a
free scratch part, whose length is drawn apart from the move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Decision, Request, Uniform
from ludus.core.errors import ConfigError, MissingExtra, TrainingError
from ludus.core.game import Choice, Forfeit, Game
from ludus.core.match import Match
from ludus.core.play import play
from ludus.core.registry import make

try:
    import torch

    from ludus.agents.language.models.causal import CausalModel
except ImportError as absent:
    raise MissingExtra("teaching a language model", "llm") from absent

from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.manner import read_manner, write_manner
from ludus.agents.language.prompts import Prompter

REPLIES_AT_ONCE = 8  # of one prompt in one batch
WARM_UP = 10  # steps


class Lessons(NamedTuple):
    """What is taught.

    Attributes:
        prompts: token ids.
        replies: beside each prompt the replies that are legal there (of open ones, those seen), every
            one with every length of scratch in turn.
        asked: how often each prompt was put.
        lengths: how likely each length of scratch is: 1 at nothing, where there is none.
    """

    prompts: tuple[Ids, ...]
    replies: tuple[tuple[Ids, ...], ...]
    asked: tuple[int, ...]
    lengths: tuple[float, ...] = (1.0,)

    def odds(self, prompt: int) -> NDArray[np.float64] | None:
        """How much each reply (R,) to a prompt counts; None where all count alike."""
        if len(set(self.lengths)) == 1:
            return None
        moves = len(self.replies[prompt]) // len(self.lengths)
        return np.tile(np.array(self.lengths) / moves, moves)

    def floor(self, weights: NDArray[np.float64] | None) -> float:
        """The least mean loss, in nats: the entropy of the move and that of the scratch's length."""
        moves = [len(replies) / len(self.lengths) for replies in self.replies]
        length = -sum(share * np.log(share) for share in self.lengths if share)
        return float(np.average(np.log(moves), weights=weights) + length)


class Taught(NamedTuple):
    """What came of teaching.

    Attributes:
        lessons: distinct prompts.
        loss: mean loss of a reply, in nats, over the last tenth of the steps.
        floor: the least loss there can be: the mean logarithm of how many moves are legal (of open
            replies, how many were seen), and the entropy of the scratch's length.
    """

    lessons: int
    loss: float
    floor: float


class _Asked:
    """A prompt as it was put: how often, and what may be replied."""

    def __init__(self) -> None:
        self.times = 0
        self.replies: dict[tuple[str, ...], None] = {}  # each a move, in all its spellings


class _Scribe(Uniform):
    """Plays at random, and writes down what it was asked and what may be replied."""

    def __init__(self, prompter: Prompter) -> None:
        super().__init__("scribe")
        self.prompter = prompter
        self.found: dict[tuple[tuple[str, str], ...], _Asked] = {}

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        decisions = super().act(requests)
        for request, decision in zip(requests, decisions, strict=True):
            if isinstance(decision.move, Forfeit):
                continue
            options = request.options
            moves: list[Any] = [decision.move]
            if isinstance(options, Choice):
                moves = [int(move) for move in np.flatnonzero(options.legal)]
            messages = self.prompter.messages(request)
            mark = tuple((message["role"], message["content"]) for message in messages)
            asked = self.found.setdefault(mark, _Asked())
            asked.times += 1
            asked.replies.update(dict.fromkeys(self.prompter.spellings(move, options) for move in moves))
        return decisions


def _listened(
    prompter: Prompter, games: Sequence[str | Game[Any]], episodes: int, seed: int
) -> dict[tuple[tuple[str, str], ...], _Asked]:
    scribe = _Scribe(prompter)
    for game in games:
        rules = make(game) if isinstance(game, str) else game
        lineup = dict.fromkeys(rules.players, scribe)
        for episode in play([Match(rules, lineup, seed=seed + number) for number in range(episodes)]):
            if episode.end == "error":
                raise ConfigError(f"{rules.id} cannot be taught, a random game of it failed: {episode.fault}")
    return scribe.found


def lessons(
    model: CausalModel,
    prompter: Prompter,
    games: Sequence[str | Game[Any]],
    episodes: int,
    seed: int,
    lengths: Sequence[float] = (),
) -> Lessons:
    """What is asked, and may be replied, in `episodes` random games of each of `games`.

    Raises:
        ConfigError: `lengths` are not the odds of `prompter.scratch_most + 1` lengths.
    """
    prompts: list[Ids] = []
    replies: list[tuple[Ids, ...]] = []
    times: list[int] = []
    known: dict[str, Ids] = {}  # the same few replies are legal nearly everywhere
    for mark, asked in _listened(prompter, games, episodes, seed).items():
        prompts.append(model.encode([{"role": role, "content": content} for role, content in mark]))
        ways = [way for spellings in asked.replies for way in spellings]
        known.update((way, model.encode_reply(way)) for way in ways if way not in known)
        replies.append(tuple(known[way] for way in ways))
        times.append(asked.times)
    return Lessons(tuple(prompts), tuple(replies), tuple(times), _lengths(prompter, lengths))


def _lengths(prompter: Prompter, odds: Sequence[float]) -> tuple[float, ...]:
    count = prompter.scratch_most + 1
    given = np.array(odds or [1.0] * count, np.float64)
    if len(given) != count or not (given >= 0).all() or not given.sum():
        raise ConfigError(
            f"scratch_odds are {count} numbers, for 0 to {prompter.scratch_most} repetitions: {odds}"
        )
    return tuple((given / given.sum()).tolist())


def texts(
    games: Sequence[str | Game[Any]],
    *,
    episodes: int = 20,
    seed: int = 0,
    style: str = "compact",
    **prompts: Any,
) -> list[str]:
    """What is said in random games: the corpus for a vocabulary that makes long prompts short.

    Args:
        games: registered names, or games.
        episodes: of each game.
        seed: of the first.
        style: of the prompts.
        prompts: further fields of `Prompter`.

    Example:
        >>> sorted(texts(["matching_pennies"], episodes=1))[-1]
        '[tails]'
    """
    found = _listened(Prompter(style, **prompts), games, episodes, seed)
    return [
        text
        for mark, asked in found.items()
        for text in (*(said for _, said in mark), *(ways[0] for ways in asked.replies))
    ]


def teach(
    path: str | Path,
    games: Sequence[str | Game[Any]],
    *,
    steps: int = 150,
    seed: int = 0,
    episodes: int = 200,
    batch: int = 16,
    rate: float = 3e-3,
    style: str = "compact",
    memory: str = "auto",
    answer: str = "auto",
    scratch: str = "",
    scratch_most: int = 0,
    scratch_odds: Sequence[float] = (),
    to: str | Path | None = None,
    device: str = "cpu",
    show: bool = False,
    **prompts: Any,
) -> Taught:
    """Teach a model the language of games, and save it with the style it was taught.

    Args:
        path: the model's folder, in Hugging Face format.
        games: registered names, or games.
        steps: of AdamW, with a short warm-up and a cosine decay to nothing.
        seed: decides the transcripts and the order of the lessons.
        episodes: random games played of each game.
        batch: prompts a step; all of them if there are no more, else drawn as often as they were asked.
        rate: the highest learning rate.
        style: of the prompts, as in `Prompter`.
        memory: as there.
        answer: as there.
        scratch: as there.
        scratch_most: as there.
        scratch_odds: how likely 0 to `scratch_most` repetitions of the scratch are, in any unit; by
            default all are alike.
        to: where to save; by default the folder it came from.
        device: where it computes.
        show: draw a progress bar.
        prompts: further fields of `Prompter`.

    Raises:
        TrainingError: the loss is not finite.
    """
    prompter = Prompter(style, memory, answer=answer, scratch=scratch, scratch_most=scratch_most, **prompts)
    model = CausalModel(path, device=device, completion=style == "completion")
    found = lessons(model, prompter, games, episodes, seed, scratch_odds)
    odds = _odds(found, batch)
    losses = _fit(model, found, odds, steps, batch, rate, np.random.default_rng(seed), show=show)
    folder = Path(to or path)
    model.save(folder)
    longest = max(len(reply) for replies in found.replies for reply in replies)
    taught = {field.name: getattr(prompter, field.name) for field in dataclasses.fields(prompter)}
    manner = dataclasses.replace(read_manner(path), **taught, max_new_tokens=longest + max(4, longest // 8))
    write_manner(folder, manner)
    last = losses[-max(1, steps // 10) :]
    return Taught(len(found.prompts), float(np.mean(last)), found.floor(odds))


def _fit(
    model: CausalModel,
    found: Lessons,
    odds: NDArray[np.float64] | None,
    steps: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
    *,
    show: bool,
) -> list[float]:
    optimiser = torch.optim.AdamW(model.model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    losses: list[float] = []
    with _progress(show=show) as bar:
        task = bar.add_task("teaching", total=steps, loss="") if bar else None
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * step / steps))
            loss = _loss(model, found, odds, batch, rng)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"teaching: the loss is {loss.item()} at step {step}; a lower rate may help"
                )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.model.parameters(), 1.0)
            optimiser.step()
            losses.append(loss.item())
            if bar and task is not None:
                bar.update(task, advance=1, loss=f"loss {losses[-1]:.3f}")
    return losses


def _odds(found: Lessons, batch: int) -> NDArray[np.float64] | None:
    """How likely each prompt is to be drawn (prompts,); None where one batch holds them all."""
    if len(found.prompts) <= batch:
        return None
    times = np.array(found.asked, np.float64)
    shares: NDArray[np.float64] = times / times.sum()
    return shares


def _loss(
    model: CausalModel,
    found: Lessons,
    odds: NDArray[np.float64] | None,
    batch: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Mean over prompts and their replies of minus the log-probability of the reply.

    A prompt that is drawn several times is read once and weighs as much as it was drawn.
    """
    times: NDArray[Any]
    if odds is None:
        chosen = rng.choice(len(found.prompts), len(found.prompts), replace=False)
        times = np.ones(len(chosen))
    else:
        chosen, times = np.unique(rng.choice(len(odds), batch, p=odds), return_counts=True)
    pairs: list[tuple[int, Ids]] = []
    weights: list[float] = []
    for index, (prompt, weight) in enumerate(zip(chosen.tolist(), times / times.sum(), strict=True)):
        replies, shares = found.replies[prompt], found.odds(prompt)
        if shares is None:
            some, counts = rng.permutation(len(replies))[:REPLIES_AT_ONCE], None
        else:
            some, counts = np.unique(rng.choice(len(replies), REPLIES_AT_ONCE, p=shares), return_counts=True)
        part = np.full(len(some), 1 / len(some)) if counts is None else counts / counts.sum()
        pairs += [(index, replies[i]) for i in some]
        weights += (float(weight) * part).tolist()
    scored = model.score([found.prompts[prompt] for prompt in chosen.tolist()], pairs)
    total: torch.Tensor = -(scored.logprobs.sum(1) * torch.tensor(weights, device=model.device)).sum()
    return total


def _progress(*, show: bool) -> Any:
    if not show:
        return nullcontext()
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
