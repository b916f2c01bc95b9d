"""`ludus new game NAME`: a small plug-in package that works from its first minute."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ludus.core.errors import ConfigError

FILES = {  # template -> where it goes
    "game.py.tmpl": "ludus_$name/$name.py",
    "package.py.tmpl": "ludus_$name/__init__.py",
    "test.py.tmpl": "tests/test_$name.py",
    "pyproject.toml.tmpl": "pyproject.toml",
    "README.md.tmpl": "README.md",
    "train.toml.tmpl": "train.toml",
}


class _Kinds(TyperGroup):
    """Tells who names the game alone what comes before it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if len(args) == 1 and args[0] not in self.commands and not args[0].startswith("-"):
            raise ConfigError(f"what to write comes before its name: ludus new game {args[0]}")
        return super().resolve_command(ctx, args)


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    new = typer.Typer(cls=_Kinds, help="Write a small working plug-in package.", no_args_is_help=True)
    new.command(epilog="Example:  ludus new game race && pip install -e race && ludus check race")(game)
    new.callback(epilog="Example:  ludus new game race")(_new)
    app.add_typer(new, name="new")


def _new() -> None:
    """Write a small working plug-in package."""


def game(
    name: Annotated[str, typer.Argument(help="Lower case, an identifier: race, high_card.")],
    folder: Annotated[Path, typer.Option("--in", help="Where the package's folder is made.")] = Path(),
) -> None:
    """Write a package with one game, its test and its entry point; edit the rules and it is yours."""
    for path in write_package(name, folder):
        typer.echo(path)
    typer.echo(f"\nNow:  pip install -e {folder / name}  &&  ludus check {name}")


def write_package(name: str, folder: Path) -> list[Path]:
    """Write the package `folder/name`; return its files.

    Raises:
        ConfigError: the name is none, is taken, or the folder is there already.
    """
    from ludus.core.registry import games

    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ConfigError(
            f"{name!r} is no name for a game: lower case letters, digits and single underscores"
        )
    if keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is a word of Python, and the game's module is called like the game")
    if name in games():
        raise ConfigError(f"there is a game called {name!r} already; choose another name")
    home = folder / name
    if home.exists():
        raise ConfigError(f"{home} is there already; nothing was written")
    words = {"name": name, "Kind": "".join(word.capitalize() for word in name.split("_"))}
    written = []
    for template, place in FILES.items():
        path = home / Template(place).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = files("ludus.commands").joinpath("starter", template).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        written.append(path)
    return written
