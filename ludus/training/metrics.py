"""Metrics: JSON lines, TensorBoard and Weights & Biases, and a progress display for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ludus.core.errors import MissingExtra
from ludus.training.settings import RunConfig
from ludus.training.store import Store

#: What differs between equal runs: how fast they went.
VOLATILE = ("charts/SPS", "time/seconds")


class Metrics:
    """Writes one line of metrics to every place that was asked for.

    Args:
        config: of the run.
        store: the run's folder.
        step: steps already done; later entries of a killed run are dropped.
    """

    def __init__(self, config: RunConfig, store: Store, step: int) -> None:
        self.store = store
        self._board = _tensorboard(store, step) if config.tensorboard and store.writes else None
        self._wandb = _wandb(config, store) if config.wandb.mode != "disabled" and store.writes else None

    def write(self, step: int, line: Mapping[str, float]) -> None:
        """Write the metrics of a step.

        JSON knows no NaN and no infinity: such a number is null in metrics.jsonl. The other places
        take it as it is. Losses and gradients never come here so; they stop a run.
        """
        told = {name: number if math.isfinite(number) else None for name, number in line.items()}
        self.store.append("metrics.jsonl", [json.dumps({"step": step, **told}, allow_nan=False)])
        for name, number in line.items():
            if self._board is not None:
                self._board.add_scalar(name, number, step)
        if self._wandb is not None:
            self._wandb.log(dict(line), step=step)

    def close(self) -> None:
        """Let every place finish."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _tensorboard(store: Store, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as absent:
        raise MissingExtra("TensorBoard files (or set tensorboard = false)", "torch") from absent
    folder = str(store.folder / "tensorboard")
    return SummaryWriter(folder, purge_step=step + 1 if step else None)


def _wandb(config: RunConfig, store: Store) -> Any:
    try:
        import wandb
    except ImportError as absent:
        raise MissingExtra("Weights & Biases", "wandb") from absent
    return wandb.init(
        project=config.wandb.project, name=config.name, mode=config.wandb.mode, dir=str(store.folder),
        id=f"{config.name}-{config.seed}", resume="allow", settings=wandb.Settings(silent=True),
    )  # fmt: skip


class Display:
    """A live progress bar with the numbers that matter; silent when nobody watches.

    Args:
        config: of the run.
        quiet: show nothing.
    """

    SHOWN = ("eval/nash_conv", "eval/loss_rate", "losses/entropy", "losses/legal_mass", "charts/forfeits")

    def __init__(self, config: RunConfig, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console()
        self._bar = Progress(
            TextColumn("[bold]{task.fields[title]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=config.steps, title=config.name)
        self._numbers: dict[str, float] = {}

    def show(self, step: int, line: Mapping[str, float]) -> None:
        """Move the bar to a step."""
        for name, number in line.items():
            if name == "charts/SPS" or name.startswith(self.SHOWN):
                self._numbers[name.partition("/")[2]] = number
        words = "  ".join(
            f"{name} {number:,.0f}" if name == "SPS" else f"{name} {number:.3f}"
            for name, number in self._numbers.items()
        )
        self._bar.update(self._task, completed=step, description=words)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
