"""`ludus train`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ludus.training.settings import RunConfig

PAGE_FILMS = 40  # training games on the page of a run


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    app.command(
        epilog="Example:  ludus train configs/ppo_kuhn.toml seed=3 learners.0.optimiser.rate=1e-3 --out runs/x"
    )(train)


def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; configs/ has some.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Laid over it: a.b=value.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default as the file says.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in the folder: from its newest checkpoint, or from step 0 where it has none. It "
            "is an error if no run is there. Settings must be as they were; only phases.N.steps, cycles and minutes "
            "may change, which makes a run longer, and rates then follow the new length.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress display.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print every key with its help, and stop.")
    ] = False,
) -> None:
    """Train policies as a TOML file describes; write a run folder with a page of its learning curves."""
    from ludus import config as configuration
    from ludus.commands.seating import check_model, known_game
    from ludus.training.distributed import World

    if explain:
        typer.echo(configuration.explain())
        return
    laid = list(overrides or [])
    if out is not None:
        laid += [f'root="{out.parent}"', f'name="{out.name}"']
    settings = configuration.load(config, laid)
    for game in settings.every_game:
        known_game(game.name)
    for policy in settings.policies.values():
        if policy.name == "language" and isinstance(policy.settings.get("path"), str):
            check_model(policy.settings["path"])
    folder = _run(settings, resume=resume, quiet=quiet)
    if not World.here().first:
        return
    command = f"ludus train {' '.join([str(config), *(overrides or [])])}" + (f" --out {out}" if out else "")
    typer.echo(write_page(folder, command))


def _run(settings: RunConfig, *, resume: bool, quiet: bool) -> Path:
    """Train; leave no folder of a run that never began, so that the mended command finds its place free.

    Raises:
        ConfigError: the configuration cannot be run, or a file of the checkpoint cannot be read.
    """
    from ludus.commands.seating import unreadable
    from ludus.core.errors import ConfigError, LudusError
    from ludus.training.claims import outlook, stopped
    from ludus.training.distributed import World
    from ludus.training.run import train as run
    from ludus.training.store import checkpoints

    folder = Path(settings.root) / settings.name
    new = not folder.exists() and World.here().first
    saved = checkpoints(folder)
    if World.here().first and (told := outlook(folder, settings, resume=resume)):
        typer.echo(told, err=True)
    try:
        return run(settings, resume=resume, quiet=quiet)
    except KeyboardInterrupt as stop:
        if World.here().first:
            typer.echo(stopped(folder), err=True)
        raise typer.Exit(130) from stop
    except Exception as fault:
        if new and folder.exists() and not any(folder.glob("policies/*@init")):
            shutil.rmtree(folder)
        broken = unreadable(saved[-1]) if resume and saved and not isinstance(fault, LudusError) else ""
        if broken:
            raise ConfigError(
                f"{broken}; remove {saved[-1]} to go on from the checkpoint before it"
            ) from fault
        raise


def write_page(folder: Path, command: str) -> Path:
    """The page of a run: its learning curves, and the games that it kept."""
    from ludus.arenas.web.curves import curves, read_metrics
    from ludus.arenas.web.films import Reel
    from ludus.arenas.web.page import Page
    from ludus.core.episode import read

    rows = read_metrics(folder / "metrics.jsonl")
    reel = Reel()
    for file in ("first", "last"):
        path = folder / "episodes" / f"{file}.jsonl"
        if path.exists():
            reel.add(list(read(path))[:PAGE_FILMS], group=f"{file} games")
    facts = {"Steps": rows[-1]["step"], "Decisions": f"{rows[-1].get('global_step', 0):,.0f}"} if rows else {}
    page = Page(
        title=f"The run {folder.name}",
        lead="What its learners measured while they trained, and some of the games they trained on.",
        facts=facts,
        curves=curves({"": rows}),
        reel=reel,
        notes=["The whole configuration is in config.toml beside this page, every default written out."],
        command=command,
    )
    return page.write(folder / "index.html")
