"""Prompts: how a request is put to a language model.

A prompt is a list of messages in the form every chat interface takes. Two styles: "full" gives the
rules, the view and how to answer; "compact" gives the view and the legal replies alone, for models of a
few hundred thousand weights that have been taught one game's language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from ludus.core.agent import Request
from ludus.core.errors import UnknownName
from ludus.core.game import Choice, Forfeit, Form, Move, Options, Seat, View
from ludus.core.reading import instruction, write_move

Message: TypeAlias = dict[Literal["role", "content"], str]
Prompt = TypeVar("Prompt")
Reply = TypeVar("Reply")
STYLES = ("full", "compact")
MEMORIES = ("auto", "turn", "conversation")


@dataclass(frozen=True, slots=True)
class Prompter:
    """Writes the messages for a request.

    Attributes:
        style: "full" or "compact".
        memory: "turn" shows each view alone; "conversation" shows the seat's earlier views and replies
            before it; "auto" converses unless one view carries everything the seat knows.
        system: a system message put before everything, if not empty.
    """

    style: str = "full"
    memory: str = "auto"
    system: str = ""

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UnknownName("prompt style", self.style, STYLES)
        if self.memory not in MEMORIES:
            raise UnknownName("prompt memory", self.memory, MEMORIES)

    def converses(self, request: Request) -> bool:
        """Whether earlier turns of the seat are part of the prompt."""
        return self.memory == "conversation" or (self.memory == "auto" and not request.complete)

    def messages(self, request: Request) -> list[Message]:
        """The whole prompt; earlier replies are written as their moves would be."""
        out: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        past = request.past if self.converses(request) else ()
        for turn, (view, move) in enumerate(past):
            out.append({"role": "user", "content": self._told(request, view, None, first=turn == 0)})
            out.append({"role": "assistant", "content": _written(move, request.options)})
        text = self._told(request, request.view, request.options, first=not past)
        out.append(
            {"role": "user", "content": text + (f"\n{request.complaint}" if request.complaint else "")}
        )
        return out

    def follow_up(self, request: Request) -> str:
        """What the next user message of a conversation that is under way says."""
        if request.complaint:
            reminder = "" if self.style == "compact" else f"\n{instruction(request.options)}"
            return f"Your reply could not be used: {request.complaint}{reminder}"
        return self._told(request, request.view, request.options, first=False)

    def _told(self, request: Request, view: View, options: Options | None, *, first: bool) -> str:
        """Rules (once, in full style), view, and how to answer (in the turn that is asked)."""
        if self.style == "compact":
            parts = [view.text, "" if options is None else menu(options)]
            return "\n".join(part for part in parts if part)
        how = "" if options is None else instruction(options)
        parts = [request.rules if first else "", f"You are {request.seat}." if first else "", view.text, how]
        return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Turn(Generic[Prompt, Reply]):
    """The last turn of a conversation: when it was asked, what was put, and what came."""

    past: int
    attempt: int
    prompt: Prompt
    reply: Reply


class Conversations(Generic[Prompt, Reply]):
    """The last turn of every conversation under way: so it goes on from what was said, word for word.

    Threads may share it: every access is one operation of a dictionary.
    """

    def __init__(self) -> None:
        self._turns: dict[tuple[str, Seat], _Turn[Prompt, Reply]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def keep(self, request: Request, prompt: Prompt, reply: Reply) -> None:
        """Remember what was put for a request and what came."""
        turn = _Turn(len(request.past), request.attempt, prompt, reply)
        self._turns[request.key, request.seat] = turn

    def prompt(
        self, request: Request, begin: Callable[[], Prompt], go_on: Callable[[Prompt, Reply], Prompt]
    ) -> Prompt:
        """The prompt for a request.

        Args:
            request: if it is the last one, looked at again, what was put then is put again.
            begin: writes the whole prompt, where there is no last turn that this one follows.
            go_on: adds to the prompt and the reply of the last turn.
        """
        turn = self._turns.get((request.key, request.seat))
        if turn is None:
            return begin()
        now = (len(request.past), request.attempt)
        if now == (turn.past, turn.attempt):
            return turn.prompt
        follows = now in ((turn.past, turn.attempt + 1), (turn.past + 1, 0))
        return go_on(turn.prompt, turn.reply) if follows else begin()

    def close(self, keys: Sequence[str]) -> None:
        """Forget finished episodes."""
        gone = set(keys)
        for place in [*self._turns]:
            if place[0] in gone:
                self._turns.pop(place, None)


def menu(options: Options) -> str:
    """The legal replies side by side, for compact prompts; nothing where replies are free.

    >>> import numpy as np
    >>> menu(Choice(("pass", "bet"), np.array([True, True])))
    '[pass] [bet]'
    """
    if isinstance(options, Choice):
        return " ".join(f"[{name}]" for name in options.allowed)
    return "{" + ", ".join(options.schema) + "}" if isinstance(options, Form) else ""


def _written(move: Move, options: Options) -> str:
    """An earlier move as a reply. Its own options are gone: an index is named by the present ones."""
    if isinstance(move, Forfeit):
        return "..."
    if isinstance(move, int) and not (isinstance(options, Choice) and move < len(options.names)):
        return str(move)
    return write_move(move, options)
