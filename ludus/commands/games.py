"""`ludus games` and `ludus check`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="What the game is made with.")
]


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command(epilog="Example:  ludus games")(games)
    app.command(epilog="Example:  ludus check nim --set stones=7")(check)


def games() -> None:
    """List the games: who plays, how many moves there are, and what each is about."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ludus.core.registry import games as names

    table = Table(box=box.SIMPLE_HEAD)
    for head in ("game", "players", "moves", "sum", "about"):
        table.add_column(head, no_wrap=head != "about")
    for name in names():
        table.add_row(name, *_facts(name))
    Console().print(table)


def _facts(name: str) -> list[str]:
    """Players, moves, sum and the first line about a game; or why it cannot be made."""
    import inspect

    from ludus.core.errors import LudusError
    from ludus.core.registry import make

    try:
        game = make(name)
    except (LudusError, TypeError) as fault:
        return ["–", "–", "–", f"cannot be made: {fault}"]
    about = " ".join(inspect.cleandoc(type(game).__doc__ or "").split("\n\n")[0].split())
    about = about.split(". ")[0].rstrip(".") + "."
    return [str(len(game.players)), _moves(game), "zero" if game.zero_sum else "any", about]


def _moves(game: Any) -> str:
    """How many moves the players have, or what they write."""
    kinds = dict.fromkeys(
        str(face.moves) if face.moves is not None else type(face.options).__name__.lower()
        for face in (game.interface(seat) for seat in game.players)
    )
    return ", ".join(kinds)


def check(
    game: Annotated[str, typer.Argument(help="A registered name, or module:Class of a game that is not.")],
    settings: Settings = None,
    episodes: Annotated[int, typer.Option(min=1, help="Random games to walk through.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the first of them.")] = 0,
) -> None:
    """Print the scorecard of a game: contract, doors, view agreement, determinism, replay, speed.

    Ends with exit code 1 if anything is broken.
    """
    from rich.console import Console

    from ludus.commands.scorecard import score
    from ludus.commands.seating import game_by

    card = score(game_by(game, settings or []), episodes=episodes, seed=seed)
    Console().print(card.table())
    if card.broken:
        raise typer.Exit(1)
