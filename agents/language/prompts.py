"""Prompts: how a request is put to a language model, and how its reply is written and read.

A prompt is a list of messages in the form every chat interface takes. The styles:

    full        the rules, the view and how to answer
    compact     the view and the legal replies alone, for models of a few hundred thousand weights that
                have been taught one game's language
    spiral      one message: a two-player zero-sum game, an observation of events, reason and box the answer
                (Liu et al., 2025, arXiv 2506.24119)
    completion  as full, in plain text to be continued, for base models that know no chat
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np

from ludus.core.agent import Request
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Choice, Forfeit, Form, Move, Options, Seat, View
from ludus.core.reading import ANSWERS, Read, instruction, read_answer, split_thought, write_answer

Message: TypeAlias = dict[Literal["role", "content"], str]
Prompt = TypeVar("Prompt")
Reply = TypeVar("Reply")
STYLES = ("full", "compact", "spiral", "completion")
MEMORIES = ("auto", "turn", "conversation", "window", "first_last")
THOUGHTS = ("keep", "strip")
ZERO_SUM = (
    "You are one of two players in a zero-sum game: what you win the other loses. Only a valid action can "
    "win, so make sure that yours is one."
)
REASON = "Think it through step by step, then give your final answer inside \\boxed{}."


@dataclass(frozen=True, slots=True)
class Prompter:
    r"""Writes the messages for a request, and says how moves are spelt and replies read.

    Attributes:
        style: one of those above.
        memory: what a prompt shows of the seat's earlier turns. "turn": nothing. "conversation": all of
            them; one that is under way goes on from the very tokens that were fed and sampled. "window":
            the last `window` of them, as views and moves. "first_last": the first view, in one message
            with the present one. "auto": a conversation, unless one view carries everything the seat
            knows. Windows, first and last, and everything in the style "spiral" are written anew every
            turn, so that each turn is a token sequence of its own.
        system: a system message put before everything, if not empty.
        window: how many earlier turns a window shows.
        thoughts: what a conversation keeps of earlier reasoning (<think>): with "keep" all of it, token
            by token; with "strip" nothing: after a reply with a thought the conversation is written
            anew from the replies without their thoughts, and opens a new token sequence.
        answer: how answers stand in replies: "bracket" ([bet], as in `read_reply`), "boxed" (\boxed{bet},
            leniently read), "spiral" (the same, read to the letter: `read_boxed`); "auto" is "boxed" in
            the style "spiral" and "bracket" otherwise.
        scratch, scratch_most: a taught reply may begin with the scratch string 0 to `scratch_most`
            times; when a reply is read, any number of them is passed over. Free text that is not boxed
            loses what it begins with, if that is the scratch string.
    """

    style: str = "full"
    memory: str = "auto"
    system: str = ""
    window: int = 2
    thoughts: str = "keep"
    answer: str = "auto"
    scratch: str = ""
    scratch_most: int = 0

    def __post_init__(self) -> None:
        for what, known in (("style", STYLES), ("memory", MEMORIES), ("thoughts", THOUGHTS)):
            if getattr(self, what) not in known:
                raise UnknownName(f"prompt {what}", getattr(self, what), known)
        if self.answer not in ("auto", *ANSWERS):
            raise UnknownName("form of answer", self.answer, ("auto", *ANSWERS))
        if self.style == "spiral" and self.answer == "bracket":
            raise ConfigError("the style 'spiral' asks for a box: answer is 'auto', 'boxed' or 'spiral'")
        if self.window < 0 or self.scratch_most < 0 or (self.scratch_most and not self.scratch):
            raise ConfigError(
                "window and scratch_most are not negative, and what is to be repeated is given as scratch: "
                f"{self.window=}, {self.scratch=}, {self.scratch_most=}"
            )
        if any(mark in self.scratch for mark in ("[", "]", "{", "}", "<", "\\")):
            raise ConfigError(
                f"scratch {self.scratch!r} holds a mark that answers are found by: choose another"
            )

    # --------------------------------------------------------------------------------- asking
    def converses(self, request: Request) -> bool:
        """Whether the prompt goes on from the seat's earlier turns, token by token where it can."""
        return self.style != "spiral" and self._remembers(request)

    def _remembers(self, request: Request) -> bool:
        return self.memory == "conversation" or (self.memory == "auto" and not request.complete)

    def _shown(self, request: Request) -> Sequence[tuple[View, Move]]:
        """The earlier turns that the prompt shows."""
        if self.memory == "first_last":
            return request.past[:1]
        if self.memory == "window":
            return request.past[max(0, len(request.past) - self.window) :]
        return request.past if self._remembers(request) else ()

    def messages(self, request: Request) -> list[Message]:
        """The whole prompt; earlier replies are written as their moves would be."""
        out: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        shown = self._shown(request)
        before = ""
        if self.style == "spiral":
            text = self._observation(request, shown)
        else:
            if self.memory == "first_last" and shown:
                before = self._told(request, shown[0][0], None, first=True) + self._gap
            else:
                out += self._earlier(request, shown)
            text = before + self._told(request, request.view, request.options, first=not shown)
        text += f"\n{request.complaint}" if request.complaint else ""
        return [*out, {"role": "user", "content": text}]

    def _earlier(self, request: Request, shown: Sequence[tuple[View, Move]]) -> list[Message]:
        out: list[Message] = []
        for turn, (view, move) in enumerate(shown):
            out.append({"role": "user", "content": self._told(request, view, None, first=turn == 0)})
            out.append({"role": "assistant", "content": _written(move, request.options, self.form)})
        return out

    def follow_up(self, request: Request) -> str:
        """What the next user message of a conversation that is under way says."""
        if request.complaint:
            reminder = "" if self.style == "compact" else f"\n{self._how(request.options)}"
            return f"Your reply could not be used: {request.complaint}{reminder}"
        return self._told(request, request.view, request.options, first=False)

    @property
    def _gap(self) -> str:
        return "\n" if self.style == "compact" else "\n\n"

    def _told(self, request: Request, view: View, options: Options | None, *, first: bool) -> str:
        """Rules (once, except in compact style), view, and how to answer (in the turn that is asked)."""
        if self.style == "compact":
            parts = [view.text, "" if options is None else menu(options)]
        else:
            how = "" if options is None else self._how(options)
            parts = [
                request.rules if first else "",
                f"You are {request.seat}." if first else "",
                view.text,
                how,
            ]
        return self._gap.join(part for part in parts if part)

    def _observation(self, request: Request, shown: Sequence[tuple[View, Move]]) -> str:
        """SPIRAL's single message: the game's own events and the seat's moves, one under the other."""
        events = [f"[GAME] {part}" for part in (request.rules, f"You are {request.seat}.") if part]
        for view, move in shown:
            events.append(f"[GAME] {view.text}")
            if self.memory != "first_last":
                events.append(f"[{request.seat}] {_written(move, request.options, 'bracket')}")
        legal = menu(request.options)
        listed = all(name in request.view.text for name in legal.split(" ")) if legal else True
        events.append(f"[GAME] {request.view.text}" + ("" if listed else f"\nAvailable actions: {legal}"))
        return "\n".join([ZERO_SUM, f"Observation: {events[0]}", *events[1:], REASON])

    def _how(self, options: Options) -> str:
        box = "" if self.form == "bracket" else " Put the answer in \\boxed{}."
        return instruction(options) + box

    # ----------------------------------------------------------------------- writing and reading
    @property
    def form(self) -> str:
        """How answers stand in replies: one of `ANSWERS`."""
        return ("boxed" if self.style == "spiral" else "bracket") if self.answer == "auto" else self.answer

    @property
    def stops(self) -> tuple[str, ...]:
        """Where replies end if nobody says otherwise: plain text has no end token that a model must know."""
        if self.style != "completion":
            return ()
        return ("\n",) if self.form == "bracket" else ("\n\n",)

    def spellings(self, move: Move, options: Options) -> tuple[str, ...]:
        r"""All taught ways to write a move, by the length of their scratch; the first has none.

        >>> prompter = Prompter(answer="boxed", scratch=".", scratch_most=2)
        >>> prompter.spellings(0, Choice(("5",), np.array([True])))
        ('\\boxed{5}', '.\\boxed{5}', '..\\boxed{5}')
        """
        plain = write_answer(move, options, self.form)
        return tuple(self.scratch * count + plain for count in range(self.scratch_most + 1))

    def replies(self, options: Options) -> tuple[tuple[str, ...], ...]:
        """The ways to write each legal move, in order: what a constrained reply is chosen among.

        Raises:
            ConfigError: the replies are open.
        """
        if not isinstance(options, Choice):
            raise ConfigError(
                f"replies of the kind {type(options).__name__} are open: they cannot be constrained to a list "
                'of legal ones (leave `constrain = ""` for this game)'
            )
        return tuple(self.spellings(int(move), options) for move in np.flatnonzero(options.legal))

    def read(self, raw: str, options: Options) -> tuple[str, Read]:
        """What stands before the answer (a thought, scratch), and the move that the answer means."""
        thought, answer = split_thought(raw)
        if self.form == "spiral":
            return thought, read_answer(raw, options, "spiral")  # SPIRAL looks for the box everywhere
        rest = answer
        while self.scratch and rest.startswith(self.scratch):
            rest = rest[len(self.scratch) :]
        note = "\n".join(part for part in (thought, answer[: len(answer) - len(rest)].strip()) if part)
        return note, read_answer(rest.strip() if self.style == "completion" else rest, options, self.form)


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


def _written(move: Move, options: Options, form: str) -> str:
    """An earlier move as a reply. Its own options are gone: an index is named by the present ones."""
    if isinstance(move, Forfeit):
        return "..."
    if isinstance(move, int) and not (isinstance(options, Choice) and move < len(options.names)):
        return str(move)
    return write_answer(move, options, form)
