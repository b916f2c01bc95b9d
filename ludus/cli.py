"""The command line: `ludus games | check | new | play | train | tournament | leaderboard | replay | verify | demo`.

Each command is a function in `ludus.commands`, which imports what it needs when it is called.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import typer

from ludus.commands import demo, games, language, new, play, tournament, train
from ludus.core.errors import LudusError

app = typer.Typer(
    name="ludus",
    help="Games in which language models and neural networks play each other, learn, and are judged.",
    epilog="Start with:  ludus demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (games, new, play, train, tournament, language, demo):
    module.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what is wrong is said in one line, with exit code 2."""
    warnings.showwarning = _say
    try:
        app(None if arguments is None else list(arguments))
    except LudusError as fault:
        _stop(str(fault))
    except BrokenPipeError:  # `ludus replay ... | head`: whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        _stop(str(fault))


def _stop(message: str) -> None:
    sys.stderr.write(f"ludus: {' '.join(message.split())}\n")
    raise SystemExit(2)


def _say(message: Warning | str, *_: object, **__: object) -> None:
    sys.stderr.write(f"ludus: warning: {message}\n")


if __name__ == "__main__":
    main()
