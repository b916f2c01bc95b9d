"""`ludus games` and `ludus check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ludus.core.game import Game, Options

FEW = 12  # moves that are named

Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="What the game is made with.")
]


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command(epilog="Example:  ludus games  |  ludus games nim --set stones=7")(games)
    app.command(epilog="Example:  ludus check nim --set stones=7")(check)


def games(
    game: Annotated[str | None, typer.Argument(help="Only this one, with its parameters and rules.")] = None,
    settings: Settings = None,
) -> None:
    """List the games: who plays, how many moves there are, and what each is about; or tell all about one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ludus.commands.seating import game_by
    from ludus.core.registry import games as names

    if game is not None:
        typer.echo(described(game_by(game, settings or [])))
        return
    if settings:
        raise typer.BadParameter("--set is for a game: name one")
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("game", "players", "moves", "sum", "about"):
        table.add_column(head, no_wrap=head != "about")
    for name in names():
        table.add_row(name, *_facts(name))
    Console().print(table)


def described(game: Game[Any]) -> str:
    """A game in full: its form, what it can be made with, the agent that comes with the package, and its rules."""
    from ludus.agents.trained import about, shipped
    from ludus.core.array_game import ArrayGame
    from ludus.core.game import settings
    from ludus.core.registry import parameters

    faces = {seat: game.interface(seat) for seat in game.players}
    shapes = dict.fromkeys(f"{face.shape} {face.dtype}" if face.shape else "none" for face in faces.values())
    made = [
        f"{name} (no default)" if taken.default is taken.empty else f"{name} = {taken.default!r}"
        for name, taken in parameters(type(game)).items()
    ]
    facts = {
        "seats": ", ".join(game.seats),
        "moves": "; ".join(dict.fromkeys(_named(face.options) for face in faces.values())),
        "features": ", ".join(shapes),
        "zero sum": _yes(game.zero_sum),
        "perfect information": _yes(game.perfect_information),
        "array game": _yes(isinstance(game, ArrayGame)),
        "parameters": ", ".join(made) or "none",
    }
    if game.id in shipped():
        params = ", ".join(f"{name}={value}" for name, value in about(game.id)["params"].items())
        facts["agent"] = f"trained, for {params or 'the defaults'}"
    lines = [f"{game!r}", *(f"  {name:20} {fact}" for name, fact in facts.items())]
    rules, told = game.rules(game.players[0]), settings(game)
    return "\n".join([*lines, "", rules, *(["", told] if told not in rules else [])])


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _named(options: Options) -> str:
    """What a seat may do, the names of moves among it where they are few."""
    from ludus.core.game import Choice

    if not isinstance(options, Choice):
        return f"{type(options).__name__.lower()} replies"
    names = options.names
    few = ", ".join(names[:FEW])
    return f"{len(names)}: {few}" + (", ..." if len(names) > FEW else "")


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
