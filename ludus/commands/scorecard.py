"""The scorecard of a game: what `ludus.testing` examines, every door, determinism, speed, and what to add."""

from __future__ import annotations

import contextlib
import inspect
import io
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ludus.core.array_game import ArrayGame
from ludus.core.compiled import refusal
from ludus.core.errors import ContractError, LudusError, MissingExtra
from ludus.core.game import Game
from ludus.testing import Line, examine

if TYPE_CHECKING:
    from rich.table import Table

FEW_WORDS = 12  # fewer are no rules

# What PettingZoo advises against and masks, prose and free replies need; nothing else is passed over.
ADVICE = (
    "Observation is not a NumPy array",
    "Observation space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Action space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
)


class Skipped(Exception):
    """A trial that does not concern this game."""


@dataclass(frozen=True)
class Card:
    """What was found.

    Attributes:
        game: the game's repr.
        parts: lines by part: contract, doors, determinism.
        speed: what is counted, and how many a second.
        advice: lines that the author may add, each with what it brings.
        plain: why the rules of an array game run as ordinary Python; empty where they are compiled.
    """

    game: str
    parts: dict[str, tuple[Line, ...]]
    speed: dict[str, float]
    advice: tuple[tuple[str, str], ...]
    plain: str = ""

    @property
    def broken(self) -> list[Line]:
        """What does not hold."""
        return [line for lines in self.parts.values() for line in lines if line.problem]

    def table(self) -> Table:
        """The card for rich to print."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        names = ", ".join(line.name for line in self.broken)
        verdict = f"{len(self.broken)} broken: {names}" if names else "all that was tried holds"
        shown = Table(title=f"{self.game}: {verdict}", box=box.SIMPLE_HEAD, title_justify="left")
        for head in ("part", "clause", "", "what it says"):
            shown.add_column(head, no_wrap=head in ("part", "clause"))
        for part, lines in self.parts.items():
            for k, line in enumerate(lines):
                mark = (
                    "[red]broken[/]" if line.problem else "[dim]–[/]" if line.skipped else "[green]holds[/]"
                )
                says = line.problem or (f"{line.promise} ({line.skipped})" if line.skipped else line.promise)
                shown.add_row(part if k == 0 else "", line.name, mark, escape(says))
            shown.add_section()
        for k, (what, rate) in enumerate(self.speed.items()):
            shown.add_row("" if k else "speed", what, "", f"{rate:,.0f} a second")
        if self.plain:
            shown.add_row("", "", "", f"[yellow]not compiled[/]: {escape(self.plain)}")
        shown.add_section()
        for k, (code, brings) in enumerate(self.advice):
            shown.add_row("" if k else "to add", "", "", f"[bold]{escape(code)}[/]\n{escape(brings)}")
        return shown


def score(game: Game[Any], *, episodes: int = 20, seed: int = 0) -> Card:
    """Examine a game from all sides."""
    report = examine(game, episodes=episodes, seed=seed)
    plays = not {line.name for line in report.broken} & {"random play", "arrays"}
    doors = [_tried(game, *door, plays=plays) for door in DOORS]
    again = _tried(game, *AGAIN, plays=plays)
    speed, why = {"decisions, scalar rules": report.steps_per_second}, ""
    if isinstance(game, ArrayGame) and plays:
        why = refusal(game)
        speed["decisions, batch of 1024"] = _batch_speed(game)
    parts = {"contract": report.lines, "doors": tuple(doors), "determinism": (again,)}
    return Card(report.game, parts, speed, tuple(_advice(game, plays=plays)), why)


def _tried(
    game: Game[Any], name: str, promise: str, trial: Callable[[Game[Any]], None], *, plays: bool
) -> Line:
    if not plays:
        return Line(name, promise, skipped="not tried: the game cannot be played to its end")
    try:
        with contextlib.redirect_stdout(io.StringIO()), _only_advice():
            trial(game)
    except Skipped as reason:
        return Line(name, promise, skipped=str(reason))
    except MissingExtra as absent:
        return Line(name, promise, skipped=str(absent))
    except Exception as fault:  # noqa: BLE001 - whatever a game raises is what its author is told
        return Line(
            name, promise, problem=f"{type(fault).__name__}: {fault}{_place(game, fault)}{_remedy(fault)}"
        )
    return Line(name, promise)


def _place(game: Game[Any], fault: Exception) -> str:
    """The last line of the game's own file that an error went through."""
    own = None
    with contextlib.suppress(TypeError, OSError):  # typed at a prompt
        own = inspect.getsourcefile(type(game))
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == own]
    return f" ({Path(own).name}, line {lines[-1]})" if own and lines else ""


def _remedy(fault: Exception) -> str:
    if "all zeros" in str(fault):  # as PettingZoo warns
        return " Let one number always be 1, for example whose turn it is."
    return ""


@contextlib.contextmanager
def _only_advice() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in ADVICE:
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


# -------------------------------------------------------------------------------------- doors
def _aec(game: Game[Any]) -> None:
    from ludus.envs.doors.pettingzoo import aec

    api_test, seed_test = _their("api_test"), _their("seed_test")
    api_test(aec(game), num_cycles=100, verbose_progress=False)
    seed_test(lambda: aec(game), num_cycles=20)


def _parallel(game: Game[Any]) -> None:
    from ludus.envs.doors.pettingzoo import moves_together, parallel

    if not moves_together(game):
        raise Skipped("its players move by turns")
    _their("parallel_api_test")(parallel(game), num_cycles=100)


def _their(name: str) -> Callable[..., Any]:
    """One of PettingZoo's own tests; importing them warns of something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pettingzoo.test
    test: Callable[..., Any] = getattr(pettingzoo.test, name)
    return test


def _gymnasium(game: Game[Any]) -> None:
    from ludus.envs.doors.gymnasium import Against

    from gymnasium.utils.env_checker import check_env  # isort: skip

    for seat in game.players:
        check_env(Against(game, seat), skip_render_check=True)


def _vector(game: Game[Any]) -> None:
    from ludus.envs.doors.vector import Vector

    if not isinstance(game, ArrayGame):
        raise Skipped("not an array game")
    envs, rng = Vector(game, num_envs=16), np.random.default_rng(0)
    seen, _ = envs.reset(seed=0)
    ended = 0
    for _ in range(200):
        mask = seen["action_mask"]
        seen, rewards, over, cut, _ = envs.step(np.argmax(rng.random(mask.shape) * mask, axis=1))
        ended += int((over | cut).sum())
        if not np.isfinite(rewards).all():
            raise ContractError(f"rewards {rewards}")
    envs.close()
    if not ended:
        raise ContractError("no game of sixteen ended in 200 steps")


def _text(game: Game[Any]) -> None:
    from ludus.core.reading import write_move
    from ludus.envs.doors.text import Conversation, Turn

    rng, talk = np.random.default_rng(0), Conversation(game)
    replies = 0
    turn: Turn | None = talk.reset(seed=0)
    while turn is not None:
        request = talk.live.open[turn.seat]
        assert request.sample is not None  # the loop and the doors always give one
        turn = talk.reply(write_move(request.sample(rng), turn.options))
        replies += 1
        if replies > 2000:
            raise ContractError("no end after 2000 replies")
    if set(talk.returns) != set(game.players):
        raise ContractError(f"returns of {set(talk.returns)}, and {set(game.players)} play")


DOORS = (
    ("pettingzoo aec", "PettingZoo's api_test and seed_test pass", _aec),
    ("pettingzoo parallel", "PettingZoo's parallel_api_test passes", _parallel),
    ("gymnasium", "Gymnasium's check_env passes for every player's seat", _gymnasium),
    ("gymnasium vector", "sixteen games step together", _vector),
    ("text", "a game can be played in prose", _text),
)


# ------------------------------------------------------------------------ determinism and speed
def _again(game: Game[Any]) -> None:
    from ludus.core.agent import Uniform
    from ludus.core.play import play

    lineup = dict.fromkeys(game.players, Uniform())
    together = {e.match.seed: e.to_json() for e in play(game, lineup, range(6))}
    for seed in reversed(range(6)):
        (alone,) = play(game, lineup, [seed], at_once=1)
        if alone.to_json() != together[seed]:
            raise ContractError(f"seed {seed} gives one record alone and another among others")


AGAIN = ("same again", "the same match gives the same record, alone or among others", _again)


def _batch_speed(game: ArrayGame, rows: int = 1024, seconds: float = 0.3) -> float:
    from ludus.core.batch import Batch

    batch = Batch(game, rows)
    batch.step(batch.random_actions())
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        batch.step(batch.random_actions())
        steps += rows
    return steps / (time.perf_counter() - begun)


# --------------------------------------------------------------------------------- what to add
def _advice(game: Game[Any], *, plays: bool) -> Iterator[tuple[str, str]]:
    """Lines that would make more of the game, and what each brings."""
    from ludus.core.registry import GAMES

    if type(game).__module__.startswith("ludus.envs.doors."):
        return  # a game from elsewhere, which its authors write
    kind = type(game).__name__
    if game.id not in GAMES.names():
        yield (
            f'@register("{kind.lower()}")   above class {kind}',
            "then it has a name: commands, doors, records, replay",
        )
    try:
        faces = [game.interface(seat) for seat in game.players]
    except LudusError:
        return  # the contract says what is wrong
    if any(face.shape is None for face in faces):
        yield (
            "return View(text, np.array([...], np.float32))   in view(state, seat)",
            "numbers, for networks",
        )
    elif not isinstance(game, ArrayGame):
        yield (
            f"class {kind}(ArrayGame):   with setup, mover, legal, move, observe",
            "batches, the vector door, speed",
        )
    if any(face.moves is None for face in faces):
        yield (
            "return Choice(names, legal)   in options(state, seat)",
            "finite replies: tables, exact exploitability",
        )
    if plays and not game.zero_sum and len(game.players) > 1 and _sums_to_zero(game):
        yield (
            "zero_sum = True",
            "every game tried summed to zero; minimax and the contract may then rely on it",
        )
    if (words := len(game.rules(game.players[0]).split())) < FEW_WORDS:
        yield (
            '"""The rules, as a player reads them, whole."""   under the class line',
            f"language models read them first, and these have {words} words",
        )


def _sums_to_zero(game: Game[Any]) -> bool:
    from ludus.core.agent import Uniform
    from ludus.core.play import play

    episodes = [e for e in play(game, dict.fromkeys(game.players, Uniform()), range(20)) if e.returns]
    return bool(episodes) and all(abs(sum(e.returns.values())) < 1e-9 for e in episodes)
