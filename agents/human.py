"""A person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from ludus.core.agent import Decision, Request
from ludus.core.game import Choice, Forfeit, Form, Options, Text
from ludus.core.reading import Read, instruction, read_reply
from ludus.core.registry import register_agent


def _show(text: str) -> None:
    sys.stdout.write(text + "\n")


@register_agent("human")
class Human:
    """Asks a person: the view, the legal moves with numbers; takes a name, a number, or `quit`.

    What cannot be read is asked again; `quit` forfeits. Where a move's own name is a number, moves are
    not numbered: then a number is a name.

    Args:
        ask: puts a prompt and returns the line that was typed (`input`).
        show: prints a text.
        name: what the person is called in records.
    """

    def __init__(
        self, ask: Callable[[str], str] = input, show: Callable[[str], None] = _show, name: str = "human"
    ) -> None:
        self.ask, self.show, self.name = ask, show, name
        self._told: set[tuple[str, str]] = set()  # (episode, seat) that have read the rules

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._decide(request) for request in requests]

    def close(self, keys: Sequence[str]) -> None:
        self._told = {(key, seat) for key, seat in self._told if key not in set(keys)}

    def _decide(self, request: Request) -> Decision:
        if request.rules and (request.key, request.seat) not in self._told:
            self._told.add((request.key, request.seat))
            self.show(f"\n{request.game}: you are {request.seat}\n{request.rules}")
        self.show(f"\n{request.view.text}")
        if request.complaint:
            self.show(request.complaint)
        self.show(_offer(request.options))
        while True:
            try:
                line = self.ask(f"{request.seat}> ").strip()
            except EOFError:
                line = "quit"
            if line.lower() in ("quit", "exit"):
                return Decision(Forfeit("left the table"), raw=line, read="forfeit")
            read = _understand(line, request.options)
            if not isinstance(read.move, Forfeit):
                return Decision(read.move, raw=line, read=read.how)
            self.show(read.move.reason)


def _numbered(options: Choice) -> bool:
    return not any(name.strip().lstrip("-").isdigit() for name in options.names)


def _offer(options: Options) -> str:
    if not isinstance(options, Choice):
        return f"{instruction(options)} Or: quit"
    if not _numbered(options):
        return f"Moves: {', '.join(options.allowed)}, or quit"
    return "  ".join(f"{number}) {name}" for number, name in enumerate(options.allowed, 1)) + "  or quit"


def _understand(line: str, options: Options) -> Read:
    """A typed line as a move: a number of the offered list, or what `read_reply` makes of it."""
    if isinstance(options, Choice) and _numbered(options) and line.isdecimal():
        allowed = [index for index, legal in enumerate(options.legal) if legal]
        if not 1 <= int(line) <= len(allowed):
            return Read(Forfeit(f"{line} is not one of the numbers 1 to {len(allowed)}"), "forfeit")
        return Read(allowed[int(line) - 1], "exact")
    if isinstance(options, (Text, Form)) and not line:
        return Read(Forfeit("the line is empty"), "forfeit")
    return read_reply(line, options)
