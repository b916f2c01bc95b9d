"""`ludus tiny` and `ludus teach`: a tiny language model, and a game's language for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command(epilog="Example:  ludus tiny runs/tiny --width 128 --layers 2")(tiny)
    app.command(epilog="Example:  ludus teach runs/tiny --game kuhn_poker --to runs/taught")(teach)


def tiny(
    path: Annotated[Path, typer.Argument(help="The folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides the first weights.")] = 0,
    width: Annotated[int, typer.Option(min=8, help="Of the hidden states.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="How many.")] = 2,
    heads: Annotated[int, typer.Option(min=2, help="Of attention.")] = 4,
    vocabulary: Annotated[
        int, typer.Option(min=0, help="Tokens, trained on what is said in the games; 0 for bytes.")
    ] = 0,
    game: Annotated[
        list[str] | None, typer.Option(help="A game whose language the vocabulary is for; again for each.")
    ] = None,
) -> None:
    """Make a tiny causal language model from scratch in Hugging Face format; its tokens are bytes, or words of games."""
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import texts

    corpus = texts(game, seed=seed) if game and vocabulary else ()
    made = make_tiny(
        path, seed=seed, width=width, layers=layers, heads=heads, vocabulary=vocabulary, corpus=corpus
    )
    typer.echo(made)


def teach(
    path: Annotated[Path, typer.Argument(help="The model's folder.")],
    game: Annotated[list[str], typer.Option(help="A game whose language it is taught; again for each.")],
    to: Annotated[Path | None, typer.Option(help="Where to save; by default the same folder.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of supervised learning.")] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Decides transcripts and their order.")] = 0,
    style: Annotated[str, typer.Option(help="Of prompts: compact, full, spiral or completion.")] = "compact",
    answer: Annotated[str, typer.Option(help="Of replies: auto, bracket, boxed or spiral.")] = "auto",
    scratch: Annotated[str, typer.Option(help="What a reply may begin with, again and again.")] = "",
    scratch_most: Annotated[int, typer.Option(min=0, help="How often at most.")] = 0,
) -> None:
    """Teach a model a game's language on transcripts of random legal play, so that it starts legal and weak."""
    from ludus.commands.seating import check_model

    check_model(str(path))
    from ludus.agents.language.teach import teach as taught

    result = taught(
        path, game, steps=steps, seed=seed, style=style, answer=answer, scratch=scratch,
        scratch_most=scratch_most, to=to, show=True,
    )  # fmt: skip
    typer.echo(
        f"{to or path}: {result.lessons} different prompts; loss {result.loss:.4f} nats a reply, "
        f"{result.floor:.4f} would be perfect"
    )
