"""Chats as token ids, exactly: a conversation goes on from the very ids that were fed and sampled.

What a chat template writes around replies is found from what it renders, so that any template will do:

    next prompt  =  last prompt  +  sampled reply  +  what the template writes from a reply's end on

What was fed stays as it was fed: a template that writes the system message into the last question, as
Mistral's does, has it in the first one of a conversation that goes on, where the model has read it.
Where a template cannot say what comes after a reply, or where the thoughts of earlier replies are to go,
the conversation is rendered and tokenised anew: that prompt opens a new token sequence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError

from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.prompts import Message
from ludus.core.errors import ConfigError
from ludus.core.reading import THOUGHT, split_thought

# A template for models that know no chat: the prompt, a cue, and the reply below it.
COMPLETION = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ 'Answer:\\n' }}{% endif %}"
    "{{ message['content'] + '\\n\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Answer:\\n' }}{% endif %}"
)
_ASKED, _REPLIED, _TOLD = "LudusAsked", "LudusReplied", "LudusTold"  # stand for contents in trial renderings
_KEPT = 16384  # follow-ups


class Thread(NamedTuple):
    """A conversation up to the point where the model is to reply.

    Attributes:
        ids: what the model is fed.
        messages: what was said; replies with or without their thoughts, as the context keeps them.
    """

    ids: Ids
    messages: tuple[Message, ...]


class Chat:
    """A tokenizer's chat template, and what it does.

    Args:
        tokenizer: a Hugging Face one.
        name: what messages call it.
        template: a chat template, or a file that holds one; by default the tokenizer's own.
        completion: write plain text to be continued, whatever the template.

    Attributes:
        end: the token that the template ends replies with; the tokenizer's end token if it writes none.
        takes_system: whether it has a place for a system message; if not, that becomes part of the
            first user message.

    Raises:
        ConfigError: there is no chat template or no end token, or the template cannot write a chat.
    """

    def __init__(
        self, tokenizer: Any, name: str = "the model", *, template: str | Path = "", completion: bool = False
    ) -> None:
        self.tokenizer, self.name = tokenizer, name
        if template:
            tokenizer.chat_template = _template(template)
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of {name} has no end token: set its eos_token and save it again"
            )
        if not completion and tokenizer.chat_template is None:
            raise ConfigError(
                f"the tokenizer of {name} has no chat template: give one (chat_template = a file or its text), "
                'or prompt it in plain text (style = "completion")'
            )
        self._template = COMPLETION if completion else None
        self._begin: Ids = _first(tokenizer) if completion else ()
        self._special = _special(tokenizer)
        self._follows: dict[tuple[str, bool], Ids | None] = {}
        self.takes_system = True
        self.takes_system = self._keeps_system()
        self.end: int = self._end()

    # ------------------------------------------------------------------------------- rendering
    def render(self, messages: Sequence[Message], *, opens: bool = True) -> str:
        """The text of a chat; with `opens` it waits for the model's reply."""
        chat = self._suited(messages)
        settings = {"chat_template": self._template} if self._template else {}
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    chat, tokenize=False, add_generation_prompt=opens, **settings
                )
            )
        except TemplateError as fault:
            roles = ", ".join(message["role"] for message in chat)
            raise ConfigError(f"the chat template of {self.name} cannot write {roles}: {fault}") from fault

    def _suited(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template takes them, no content holding a token that means something to it."""
        chat = [_said(message["role"], self._defused(message["content"])) for message in messages]
        if len(chat) > 1 and chat[0]["role"] == "system" and not self.takes_system:
            both = f"{chat[0]['content']}\n\n{chat[1]['content']}"
            chat[:2] = [_said(chat[1]["role"], both)]
        return chat

    def _defused(self, content: str) -> str:
        """What a player says must not end its message or begin another's: a joiner parts such tokens."""
        if self._special is None:
            return content
        return self._special.sub(lambda found: f"{found[0][0]}\u2060{found[0][1:]}", content)

    def _keeps_system(self) -> bool:
        try:
            return _TOLD in self.render([_said("system", _TOLD), _said("user", _ASKED)])
        except ConfigError:
            return False

    # ------------------------------------------------------------------------------ tokenising
    def encode(self, messages: Sequence[Message]) -> Ids:
        """Token ids of a chat that waits for the model's reply."""
        return (*self._begin, *self._encoded(self.render(messages)))

    def encode_reply(self, text: str) -> Ids:
        """Token ids of a reply with its end token."""
        return (*self._encoded(text), self.end)

    def follow_up(self, text: str, last: int | None) -> Ids | None:
        """What the template writes between a reply's last token and the next reply.

        Args:
            text: the user's next message.
            last: the last token that was sampled: where that is `end`, it is not written again.

        Returns:
            None where the template does not write an earlier reply as it was, once.
        """
        key = (text, last == self.end)
        if key not in self._follows:
            if len(self._follows) >= _KEPT:
                self._follows.clear()
            self._follows[key] = self._found(text, ended=last == self.end)
        return self._follows[key]

    def _found(self, text: str, *, ended: bool) -> Ids | None:
        chat = [_said("user", _ASKED), _said("assistant", _REPLIED), _said("user", text)]
        _, found, after = self.render(chat).partition(_REPLIED)
        if not found or _REPLIED in after:
            return None
        ids = self._encoded(after)
        return ids[self._ends(ids) :] if ended else ids

    def _ends(self, ids: Ids) -> int:
        """How many of these tokens, which follow a reply, are still part of it: its end, and blanks before."""
        if self.end not in ids:
            return 0
        place = ids.index(self.end)
        return 0 if self.tokenizer.decode(ids[:place]).strip() else place + 1

    def _end(self) -> int:
        try:
            chat = self.render([_said("user", _ASKED), _said("assistant", _REPLIED)], opens=False)
        except ConfigError:  # some templates refuse to leave the last word to the model
            chat = self.render([_said("user", _ASKED), _said("assistant", _REPLIED), _said("user", _TOLD)])
        known = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        for token in self._encoded(chat.partition(_REPLIED)[2]):
            if token in known:
                return token
            if self.tokenizer.decode([token]).strip():
                break
        return int(self.tokenizer.eos_token_id)

    def _encoded(self, text: str) -> Ids:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    # --------------------------------------------------------------------------- conversations
    def begin(self, messages: Sequence[Message]) -> Thread:
        """A conversation from its messages."""
        return Thread(self.encode(messages), tuple(messages))

    def go_on(self, thread: Thread, reply: Ids, raw: str, text: str, *, strip: bool = False) -> Thread:
        """The conversation after a reply and the user's next message.

        Args:
            thread: what the model was fed.
            reply: what it sampled.
            raw: the text of that.
            text: the user's next message.
            strip: take thoughts out of the context.

        Returns:
            A thread that begins with the tokens of the last one and the reply; else, where a thought
            is taken out or the template does not tell, one that is tokenised anew.
        """
        said = split_thought(raw)[1] if strip else raw
        messages = (*thread.messages, _said("assistant", said), _said("user", text))
        if said == raw:
            more = self.follow_up(text, reply[-1] if reply else None)
            if more is not None:
                return Thread((*thread.ids, *reply, *more), messages)
        return Thread(self.encode(messages), messages)


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _template(given: str | Path) -> str:
    """A template as it stands, or from a file; templates hold a brace, names of files none."""
    if isinstance(given, str) and "{" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError(
            f"chat_template {str(given)!r} is neither a file nor the text of a template: {fault}"
        ) from fault


def _first(tokenizer: Any) -> Ids:
    """The token that the tokenizer puts before every text, if it does."""
    ids = tokenizer.encode("a")
    return tuple(ids[:1]) if tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id else ()


def _special(tokenizer: Any) -> re.Pattern[str] | None:
    """Finds what is a token of its own and no text: special ones, and those in angles; thoughts are text."""
    every = tokenizer.added_tokens_decoder.values()
    marks: Iterable[str] = {
        token.content
        for token in every
        if token.special or (token.content.startswith("<") and token.content.endswith(">"))
    }
    chosen = sorted(set(marks) - set(THOUGHT), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, chosen))) if chosen else None
