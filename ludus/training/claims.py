"""Whose a run's folder is.

    nothing, or no run                            a run begins
    a run that failed before its first checkpoint it begins again from step 0, with whatever settings
    a run without a checkpoint                    likewise, but only with `resume`: it may be going on elsewhere
    a run with a checkpoint                       with `resume` it goes on, with its settings; only its length may change

`config.json` says that a folder holds a run, `failed.txt` of what it failed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ludus.core.errors import ConfigError
from ludus.training.configuration import differences, dump, stored
from ludus.training.settings import RunConfig
from ludus.training.store import GROWING, checkpoints, steps_of

FAILED = "failed.txt"
LENGTH = re.compile(r"cycles|minutes|phases\.\d+\.steps")  # what may change when a run goes on
LENGTH_OF_RECIPE = re.compile(r"cycles")  # what else there is, a recipe reads in its own way


def outlook(folder: Path, config: RunConfig, *, resume: bool) -> str:
    """What a run comes to in a folder, in a sentence; nothing where it simply begins or goes on.

    Args:
        folder: of the run; nothing in it is changed.
        config: of the run.
        resume: whether a run that is there is to go on.

    Raises:
        ConfigError: the folder is another run's, or there is nothing to resume.
    """
    saved = checkpoints(folder)
    if saved and not resume:
        raise ConfigError(
            f"{folder} holds a run already, with a checkpoint at step {steps_of(saved[-1])}: resume it (--resume, in "
            "Python resume=True), or give this one another name (--out)"
        )
    if saved:
        return _going_on(folder, config, saved[-1])
    if (folder / "config.json").is_file():
        return _again(folder, config, resume=resume)
    if resume:
        what = "holds no run" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder} {what}: there is nothing to resume; start the run without --resume")
    return ""


def claim(folder: Path, config: RunConfig, *, resume: bool) -> None:
    """Make a folder a run's: write the configuration into it, and drop what a run left that begins again.

    Raises:
        ConfigError: the folder is another run's, or there is nothing to resume.
    """
    outlook(folder, config, resume=resume)
    if (folder / "config.json").is_file() and not checkpoints(folder):
        _drop(folder, same=not differences(stored(folder), config))
    folder.mkdir(parents=True, exist_ok=True)
    dump(config, folder)


def stopped(folder: Path) -> str:
    """What an interrupted run has kept, in a sentence."""
    if not (saved := checkpoints(folder)):
        return f"stopped; {folder} has no checkpoint yet: the same command begins the run again"
    unit = "cycle" if stored(folder).recipe else "step"
    return f"stopped; {folder} has kept all up to {unit} {steps_of(saved[-1])}: --resume goes on from there"


@contextmanager
def noted(folder: Path, *, writes: bool = True) -> Iterator[None]:
    """Write down of what a run failed that has no checkpoint: its folder is free for the next.

    Args:
        folder: claimed by this process.
        writes: False for all but one of several processes.
    """
    try:
        yield
    except BaseException as fault:
        if writes and not checkpoints(folder):
            told = f"{type(fault).__name__}: {fault}" if str(fault) else type(fault).__name__
            (folder / FAILED).write_text(f"{told}\n", encoding="utf-8")
        raise


def _again(folder: Path, config: RunConfig, *, resume: bool) -> str:
    """Of a run without a checkpoint, which has nothing to go on from."""
    note = folder / FAILED
    if not resume and not note.is_file():
        raise ConfigError(
            f"{folder} holds a run that has no checkpoint yet: another process is at it, or it was killed. --resume begins "
            "it again from step 0, with these settings; another name (--out) leaves it alone"
        )
    changed = "; ".join(differences(stored(folder), config).values())
    why = " ".join(note.read_text(encoding="utf-8").split()) if note.is_file() else "it was killed"
    return (
        f"{folder} holds a run that has no checkpoint ({why}): it begins again from step 0, and what it wrote is replaced"
        + (f"; new settings: {changed}" if changed else "")
    )


def _drop(folder: Path, *, same: bool) -> None:
    """Remove what a run left that has no checkpoint; what its policies were made of is good for the same run again."""
    for name in (*GROWING, FAILED):
        (folder / name).unlink(missing_ok=True)
    for left in (folder / "checkpoints").glob(".*.aside"):
        shutil.rmtree(left)
    for name in ("snapshots", "tensorboard", "members", *(() if same else ("policies",))):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def _going_on(folder: Path, config: RunConfig, newest: Path) -> str:
    """Of a run that goes on from a checkpoint."""
    before, done = stored(folder), steps_of(newest)
    changed, unit = differences(before, config), "cycle" if config.recipe else "step"
    may = LENGTH_OF_RECIPE if config.recipe else LENGTH
    refused = [words for name, words in changed.items() if not may.fullmatch(name)]
    if refused:
        length = "cycles" if config.recipe else "cycles, minutes, phases.N.steps"
        raise ConfigError(
            f"{folder} holds another run: {'; '.join(refused)}. A run goes on with its own settings, of which only its "
            f"length ({length}) may change; give this one another name (--out)"
        )
    end = config.cycles if config.recipe else config.steps
    if not changed:
        more = "cycles" if config.recipe else "phases.N.steps or cycles"
        return (
            f"{folder} is done, {done} {unit}s of {end}; resume it with larger {more} to go on"
            if done >= end
            else ""
        )
    words = "; ".join(changed.values())
    if end <= done:
        raise ConfigError(
            f"{folder} has done {done} {unit}s, and {words}, ends it after {end}: resume it with its own length, or with more"
        )
    if not config.recipe and _places(before, done) != _places(config, done):
        raise ConfigError(
            f"{folder} has done {done} steps, and {words}, changes phases that it has been through: make the last phase "
            "longer, or go through all of them more often (cycles)"
        )
    if "minutes" in changed and 0 < 60 * config.minutes <= (spent := _seconds(newest)):
        raise ConfigError(
            f"{folder} has gone on for {spent / 60:.2f} minutes, and {words}, ends it before: minutes = 0 has no limit"
        )
    falls = not config.recipe and any(one.optimiser.schedule != "constant" for one in config.learners)
    rates = "; rates follow the new length from here on, and one that had fallen may rise" if falls else ""
    return f"{folder} goes on from {unit} {done}, with {words}{rates}"


def _seconds(checkpoint: Path) -> float:
    """How long a run had taken when a checkpoint was written."""
    return float(json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["seconds"])


def _places(config: RunConfig, steps: int) -> list[tuple[int, bool]]:
    """Of each of the first steps the number of its phase, and whether it begins that phase."""
    once = [(index, not step) for index, phase in enumerate(config.phases) for step in range(phase.steps)]
    return [once[step % len(once)] for step in range(steps)]
