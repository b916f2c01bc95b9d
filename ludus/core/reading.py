"""Replies and moves: how prose becomes a move, how a move is written, and what a seat is told about both.

Every reader of replies uses these functions (language agents, the text door, the text spaces of the other
doors), so that one reply means one move everywhere. Reasoning is cut off by whoever asked for it; what comes
in here is the answer.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from ludus.core.agent import Reading
from ludus.core.errors import UnknownName
from ludus.core.game import Choice, Forfeit, Form, Move, Options, Text

THOUGHT = ("<think>", "</think>")
ANSWERS = ("bracket", "boxed", "spiral")  # how an answer stands in a reply
_BOXES = (re.compile(r"\\boxed\s*\{"), re.compile(r"\\fbox\s*\{"))
_SMALL_BOX = re.compile(r"\\boxed\{([^}]*)\}")
_TEXT = re.compile(r"\\text\{(.*)\}", re.DOTALL)
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_WORDS = re.compile(r"[^\W_]+")
_FENCE = re.compile(r"```(?:json)?\s*\n?(.*?)```", re.DOTALL | re.IGNORECASE)


class Read(NamedTuple):
    """What a reply was read as.

    `how` is "exact" (the reply as it should be), "normalised" (the move found in it), "truncated"
    (free text cut to the limit) or "forfeit" (not read: `move` is a `Forfeit` that says why).
    """

    move: Move
    how: Reading


def read_reply(reply: str, options: Options) -> Read:
    """The move that `reply` means.

    A choice is written `[name]`, anywhere in the reply but only one of them, or as the bare name and nothing
    else; letter case and spaces do not matter. A form is a JSON object, alone, fenced, or in the midst of
    prose. Free text is taken as it stands and cut at its limit.

    >>> import numpy as np
    >>> from ludus.core.game import Text
    >>> read_reply("I am strong: [BET]", Choice(("pass", "bet"), np.array([True, True])))
    Read(move=1, how='normalised')
    >>> read_reply("[pass] or [bet]?", Choice(("pass", "bet"), np.array([True, True]))).move
    Forfeit(reason='the reply names two moves: [pass], [bet]; name one')
    >>> read_reply("far too long", Text(3))
    Read(move='far', how='truncated')
    """
    if not reply.strip():
        return _refuse(f"the reply is empty; {instruction(options)}")
    if not _encodes(reply):
        return _refuse("the reply holds half a character (a lone surrogate)")
    if isinstance(options, Choice):
        return _read_choice(reply, options)
    if isinstance(options, Form):
        return _read_form(reply, options)
    return Read(reply, "exact") if reply in options else Read(reply[: options.max_chars], "truncated")


def write_move(move: Move, options: Options) -> str:
    """The reply that `read_reply` reads as `move`: the other direction.

    >>> import numpy as np
    >>> write_move(1, Choice(("pass", "bet"), np.array([True, True])))
    '[bet]'
    """
    if isinstance(move, Forfeit):
        raise TypeError(f"a forfeit ({move.reason}) has no reply that means it")
    if isinstance(options, Choice):
        return f"[{options.names[int(move)]}]"  # type: ignore[arg-type]
    return move if isinstance(move, str) else json.dumps(move, ensure_ascii=False)


def instruction(options: Options) -> str:
    """One sentence that says how to answer.

    >>> from ludus.core.game import Text
    >>> instruction(Text(80))
    'Answer in at most 80 characters.'
    """
    if isinstance(options, Choice):
        names = [f"[{name}]" for name in options.allowed]
        return (
            f"Answer with {names[0]}."
            if len(names) == 1
            else f"Answer with exactly one of {', '.join(names)}."
        )
    if isinstance(options, Form):
        fields = ", ".join(f'"{key}": {kind}' for key, kind in options.schema.items())
        return f"Answer with one JSON object: {{{fields}}}."
    return f"Answer in at most {options.max_chars} characters."


def split_thought(raw: str) -> tuple[str, str]:
    """Reasoning and answer of a reply; a thought that never ends leaves no answer.

    >>> split_thought("<think>He may bluff.</think>[bet]")
    ('He may bluff.', '[bet]')
    """
    opening, closing = THOUGHT
    thought, _, answer = raw.rpartition(closing)
    if opening in answer:
        thought, answer = raw, ""
    return thought.replace(opening, "").replace(closing, "").strip(), answer


# ---------------------------------------------------------------------------------------- boxes
def read_answer(reply: str, options: Options, answer: str) -> Read:
    """The move that a reply means when answers are given as "bracket", "boxed" or "spiral"."""
    if answer not in ANSWERS:
        raise UnknownName("form of answer", answer, ANSWERS)
    return (
        read_reply(reply, options)
        if answer == "bracket"
        else read_boxed(reply, options, strict=answer == "spiral")
    )


def write_answer(move: Move, options: Options, answer: str) -> str:
    r"""The reply that `read_answer` reads as `move`, or as free text's normal form where that is "spiral".

    Raises:
        ValueError: there is none.

    >>> import numpy as np
    >>> write_answer(1, Choice(("pass", "bet"), np.array([True, True])), "boxed")
    '\\boxed{bet}'
    """
    plain = write_move(move, options)
    if answer == "bracket":
        return plain
    inside, meant = plain, [move]
    if isinstance(options, Choice):  # an earlier move need not be legal now
        inside, options = plain[1:-1], Choice(options.names, options.legal | True)
    elif isinstance(options, Text) and answer == "spiral":
        meant.append(_normal(plain))
    for reply in (f"\\boxed{{{inside}}}", f"\\boxed{{{plain}}}", plain):
        if read_answer(reply, options, answer).move in meant:
            return reply
    raise ValueError(f"{plain!r} cannot be written as an answer of the form {answer!r}")


def boxed(reply: str) -> str | None:
    r"""What stands in the last box of a reply: of the last `\boxed{}` whose braces close, or else the last `\fbox{}`.

    A `\text{}` around all of it is taken off.

    >>> boxed(r"first \boxed{pass}, no: \boxed{\text{bet}}")
    'bet'
    """
    for box in _BOXES:
        for start in reversed([found.end() for found in box.finditer(reply)]):
            if (end := _closing(reply, start)) is not None:
                inside = reply[start:end]
                text = _TEXT.fullmatch(inside)
                return text[1] if text else inside
    return None


def read_boxed(reply: str, options: Options, *, strict: bool = False) -> Read:
    r"""The move in the last box of a reply; of a reply without a box, the reply itself.

    What is in the box is read as `read_reply` reads a reply. With `strict` it is brought to a normal
    form and must then be a legal reply to the letter, as SPIRAL does it, in this order: an empty reply
    is no move (of free text, the empty one); the content of the last box, or else the whole reply
    without the space around it; `\boxed{x}` within it becomes `[x]`; five words or fewer without a
    bracket are put in brackets; every run of white space becomes one space.

    >>> import numpy as np
    >>> options = Choice(("pass", "bet"), np.array([True, True]))
    >>> read_boxed(r"A king, so \boxed{Bet}", options)
    Read(move=1, how='normalised')
    >>> read_boxed(r"A king, so \boxed{Bet}", options, strict=True).move
    Forfeit(reason='the answer [Bet] is none of [pass], [bet]')

    Source: Liu et al., 2025, arXiv 2506.24119, and the order of its released code.
    """
    inside = boxed(reply)
    if not strict or isinstance(options, Form):
        return read_reply(reply if inside is None else inside, options)
    if not _encodes(reply):
        return _refuse("the reply holds half a character (a lone surrogate)")
    action = _normal(reply.strip() if inside is None else inside) if reply else ""
    if isinstance(options, Text):
        return Read(action[: options.max_chars], "exact" if action in options else "truncated")
    legal = [f"[{name}]" for name in options.allowed]
    if action not in legal:
        return _refuse(
            f"the answer {action} is none of {', '.join(legal)}" if action else "the reply is empty"
        )
    return Read(int(options.legal.nonzero()[0][legal.index(action)]), "exact")


def could_mean(reply: str, options: Options, move: Move) -> bool:
    """Whether some way of reading makes `move` of a reply that may begin with a thought or scratch.

    For records whose agent is not at hand to say how it reads: other moves than the one named are
    refused, whatever the form of the answer.
    """
    texts = {reply, split_thought(reply)[1]}
    if any(read_answer(text, options, how).move == move for text in texts for how in ANSWERS):
        return True
    if isinstance(options, Choice) and move in options:
        return reply.rstrip().endswith(options.names[int(move)])  # type: ignore[arg-type]
    return isinstance(options, Text) and isinstance(move, str) and bool(move) and move in reply


def _closing(text: str, start: int) -> int | None:
    """Where the brace closes that was opened before `start`."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return None


def _normal(action: str) -> str:
    action = _SMALL_BOX.sub(r"[\1]", action)
    if "[" not in action and "]" not in action and len(action.split()) <= 5:
        action = f"[{action}]"
    return re.sub(r"\s+", " ", action).strip()


# ---------------------------------------------------------------------------------------- parts
def _read_choice(reply: str, options: Choice) -> Read:
    bare = reply.strip()
    for index, name in enumerate(options.names):
        if bare in (f"[{name}]", name):
            return _allowed(index, options, "exact")
    whole = _named(bare.strip("[](){}<>\"'`*_.,;:! \t\r\n"), options) | _named(bare, options)
    bracketed = [_named(inside, options) for inside in _BRACKETS.findall(reply)]
    found = set().union(*bracketed) or whole
    if len(found) == 1:
        return _allowed(found.pop(), options, "normalised")
    if found:
        return _refuse(f"the reply names two moves: {_list(found, options)}; name one")
    return _refuse(f"the reply names no move; {instruction(options)}{_hint(reply, options)}")


def _allowed(index: int, options: Choice, how: Reading) -> Read:
    if not options.legal[index]:
        return _refuse(f"[{options.names[index]}] is not allowed now; {instruction(options)}")
    return Read(index, how)


def _named(piece: str, options: Choice) -> set[int]:
    """The moves whose name is `piece`: the very name, or else those that differ in case and spaces."""
    exact = {i for i, name in enumerate(options.names) if name == piece}
    return exact or {i for i, name in enumerate(options.names) if _fold(name) == _fold(piece)}


def _fold(name: str) -> str:
    return "".join(name.split()).casefold()


def _hint(reply: str, options: Choice) -> str:
    """Names that stand in the prose: not read, because "I would never bet" is no bet."""
    words = " " + " ".join(_WORDS.findall(reply.casefold())) + " "
    seen = {i for i, name in enumerate(options.names) if f" {name.casefold()} " in words}
    return f" (in the prose stand {_list(seen, options)})" if seen else ""


def _list(indices: set[int], options: Choice) -> str:
    return ", ".join(f"[{options.names[i]}]" for i in sorted(indices))


def _read_form(reply: str, options: Form) -> Read:
    if len(reply) > options.max_chars:
        return _refuse(f"the reply has {len(reply)} characters, and at most {options.max_chars} are read")
    fenced = [block.strip() for block in _FENCE.findall(reply)]
    inner = reply[reply.find("{") : reply.rfind("}") + 1]
    fault = ""
    for candidate in (reply.strip(), *(fenced if len(fenced) == 1 else ()), inner):
        try:
            move = _json(candidate)
        except (ValueError, RecursionError) as error:
            fault = fault or str(error)
            continue
        if move not in options:
            return _refuse(f"the JSON does not fit: {_misfit(move, options)}; {instruction(options)}")
        return Read(move, "exact" if candidate == reply.strip() else "normalised")
    return _refuse(f"the reply is not JSON ({fault}); {instruction(options)}")


def _json(text: str) -> Any:
    """Strict JSON: every key once, every number finite, every character whole."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is given twice")
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=once)
    if not _encodes(json.dumps(value, allow_nan=False, ensure_ascii=False)):
        raise ValueError("a lone surrogate")
    return value


def _misfit(move: Any, options: Form) -> str:
    if not isinstance(move, dict):
        return f"it is a {type(move).__name__}, not an object"
    missing = [key for key in options.schema if key not in move]
    unknown = [key for key in move if key not in options.schema]
    if missing or unknown:
        return "; ".join(
            f"{what} {', '.join(map(repr, keys))}"
            for what, keys in (("missing", missing), ("unknown", unknown))
            if keys
        )
    wrong = [key for key, kind in options.schema.items() if {key: move[key]} not in Form({key: kind})]
    return "; ".join(f"{key!r} is {move[key]!r:.40}, not of type {options.schema[key]}" for key in wrong)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(reason: str) -> Read:
    return Read(Forfeit(reason), "forfeit")
