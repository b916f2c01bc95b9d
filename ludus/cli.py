"""The command line: `ludus games | check | new | play | train | tournament | leaderboard | exploit | curves | replay | verify | demo`.

Each command is a function in `ludus.commands`, which imports what it needs when it is called.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from ludus.commands import curves, demo, exploit, games, language, new, play, tournament, train
from ludus.core.errors import LudusError

app = typer.Typer(
    name="ludus",
    help="Games in which language models and neural networks play each other, learn, and are judged.",
    epilog="Start with:  ludus demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"ludus {version('ludus')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What can be asked without a command."""


for module in (games, new, play, train, tournament, exploit, curves, language, demo):
    module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong is said in one line, with exit code 2.

    With `LUDUS_DEBUG=1` in the environment the traceback is shown as well.
    """
    warnings.showwarning = _say
    try:
        app(None if arguments is None else list(arguments))
    except BrokenPipeError:  # `ludus replay ... | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LudusError, OSError) as fault:
        _stop(str(fault))
    except (ValueError, TypeError) as fault:  # wrong arguments of a function that the command called
        _stop(f"{fault} ({type(fault).__name__}; LUDUS_DEBUG=1 shows where)")


def _stop(message: str) -> None:
    if os.environ.get("LUDUS_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    sys.stderr.write(f"ludus: {' '.join(message.split())}\n")
    raise SystemExit(2)


def _say(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"ludus: warning: {message}\n")


if __name__ == "__main__":
    main()
