"""A run's folder: checkpoints that are whole or absent, and files that are cut back when resuming.

    config.toml, config.json    the resolved configuration
    metrics.jsonl               a line of metrics for each step
    episodes/first.jsonl        the first training episodes that are kept, and last.jsonl
    checkpoints/step_00000100/  policies, optimisers, generators, estimators, snapshots, games
    snapshots/                  earlier selves of the policies
    policies/, averages/        what was learned, and average strategies that were measured, as tables
    tensorboard/, wandb/        the same metrics for other readers
    failed.txt                  of what a run failed that has no checkpoint

A checkpoint is written beside its place and renamed into it; a process that is killed at any moment
leaves the one before. It says how long the growing files were when it was written, and resuming
cuts them to that length.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from ludus.core.errors import UnknownName

PREFIX = "step_"
GROWING = ("metrics.jsonl", "episodes/first.jsonl")


class Store:
    """The folder of one run.

    Args:
        folder: made if absent.
        keep: how many checkpoints are kept.
        writes: False for all but one of several processes: they read only.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, writes: bool = True) -> None:
        self.folder, self.keep, self.writes = Path(folder), keep, writes
        for part in ("checkpoints", "episodes"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return checkpoints(self.folder)

    @property
    def last_good(self) -> str:
        """The newest checkpoint, for messages."""
        known = self.checkpoints()
        return str(known[-1]) if known else "none yet"

    def find(self, name: str = "") -> Path:
        """The checkpoint called `name`, or the newest.

        Raises:
            UnknownName: with the known checkpoints.
        """
        known = {path.name: path for path in self.checkpoints()}
        if not name and known:
            return list(known.values())[-1]
        if name not in known:
            raise UnknownName(f"checkpoint in {self.folder}", name or "(newest)", known)
        return known[name]

    def write(self, step: int, parts: Mapping[str, Parts], about: Mapping[str, Any]) -> Path:
        """Write a checkpoint aside, force it to disk, and rename it into its place.

        Args:
            step: steps done.
            parts: tensors or arrays by the name of their file.
            about: what JSON can hold.
        """
        place = self.folder / "checkpoints" / f"{PREFIX}{step:08d}"
        if not self.writes:
            return place
        aside = self.folder / "checkpoints" / f".{place.name}.aside"
        for path in (aside, place):
            shutil.rmtree(path, ignore_errors=True)
        aside.mkdir()
        for name, tensors in parts.items():
            _save(aside / f"{name}.safetensors", tensors)
        lengths = {name: self._length(name) for name in GROWING}
        text = json.dumps({**about, "step": step, "lengths": lengths}, indent=1)
        (aside / "state.json").write_text(text + "\n", encoding="utf-8")
        for path in aside.iterdir():
            _synced(path)
        aside.replace(place)
        _synced(place.parent)
        for old in self.checkpoints()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return place

    def read(self, place: Path) -> tuple[dict[str, Path], dict[str, Any]]:
        """The files of a checkpoint by name, and what JSON held."""
        about: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))
        return {path.stem: path for path in place.glob("*.safetensors")}, about

    def cut(self, about: Mapping[str, Any]) -> None:
        """Cut growing files to where they stood, and drop what killed writers left behind."""
        if not self.writes:
            return
        for name, length in about["lengths"].items():
            path = self.folder / name
            if path.is_file() and path.stat().st_size > length:
                os.truncate(path, length)
        for left in (self.folder / "checkpoints").glob(".*.aside"):
            shutil.rmtree(left, ignore_errors=True)

    def append(self, name: str, lines: list[str]) -> None:
        """Add lines to a growing file."""
        if not self.writes:
            return
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)

    def _length(self, name: str) -> int:
        path = self.folder / name
        if not path.is_file():
            return 0
        _synced(path)
        return path.stat().st_size


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run's folder, oldest first."""
    return sorted((folder / "checkpoints").glob(f"{PREFIX}*"))


def steps_of(checkpoint: Path) -> int:
    """How many steps were done when a checkpoint was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


Parts = Mapping[str, torch.Tensor] | Mapping[str, NDArray[Any]]


def _save(path: Path, parts: Parts) -> None:
    """Tensors are cloned: tied weights share memory, which the format refuses."""
    arrays = {
        name: np.ascontiguousarray(part) for name, part in parts.items() if isinstance(part, np.ndarray)
    }
    if arrays:
        save_arrays(arrays, path)
        return
    tensors = {name: part.detach().cpu() for name, part in parts.items() if isinstance(part, torch.Tensor)}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """The torch tensors of a file."""
    return dict(load_file(path))


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """The numpy arrays of a file."""
    return dict(load_arrays(path))


def _synced(path: Path) -> None:
    """Force a file or folder to disk, where the system can."""
    flags = os.O_RDONLY
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
