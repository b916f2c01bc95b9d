"""A language model behind an OpenAI-compatible endpoint, answering at its own pace.

Most servers speak this: vLLM, llama.cpp, Ollama and hosted models. With `interface = "completion"` it is
a plain text that is continued, for models that know no chat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ludus.agents.language.client import Nonsense, counted, ended, first, part
from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.prompts import Message
from ludus.agents.language.remote import NO_KEY, Remote, Said, found_key
from ludus.core.agent import Request
from ludus.core.errors import CrewError, MissingExtra, UnknownName
from ludus.core.registry import register_agent

try:
    import openai
except ImportError as absent:
    raise MissingExtra("an OpenAI-compatible endpoint", "llm") from absent

ROUNDING = 1e-3  # how far above 0 a log-probability may come out
PATHS = {"chat": "/chat/completions", "completion": "/completions"}
_FINISH = {"stop": "stop", "length": "length", "content_filter": "withheld"}


@register_agent("openai")
class Endpoint(Remote):
    """Asks a model over the interface of OpenAI, which most servers speak.

    Args:
        model: as the endpoint names it.
        base_url: of the endpoint, as in "http://localhost:8000/v1"; by default OpenAI's own.
        api_key, key_variable: the key, or the environment variable that holds it; for OpenAI's own by
            default OPENAI_API_KEY. Endpoints of one's own mostly need none.
        interface: "chat", or "completion" of the messages set one under the other.
        seeded: send a seed drawn from the seat's own generator, for endpoints that heed one.
        limit_field: what the token limit is called; by default "max_completion_tokens" in chats at OpenAI's own
            endpoint, where models that reason take no other, and else "max_tokens", as everywhere.
        tokens: ask for token ids and log-probabilities, and record them where they come; vLLM's servers
            know how (start them with `--logprobs-mode processed_logprobs`), others may refuse.
        shared: name, style, memory, system, window, thoughts, answer, max_new_tokens, temperature, stop,
            price_in, price_out, extra and the fields of `Limits`, as in `Remote`.

    Raises:
        CrewError: there is no key, and the endpoint is not one of your own.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_variable: str = "",
        interface: str = "chat",
        seeded: bool = False,
        limit_field: str = "",
        tokens: bool = False,
        **shared: Any,
    ) -> None:
        if interface not in PATHS:
            raise UnknownName("interface", interface, PATHS)
        key = found_key(api_key, key_variable, needed=base_url is None)
        try:
            http = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
        except openai.OpenAIError as fault:
            raise CrewError(f"{model}: {fault}") from fault
        self.interface, self.seeded, self.tokens = interface, seeded, tokens
        newer = base_url is None and interface == "chat"
        self.limit_field = limit_field or ("max_completion_tokens" if newer else "max_tokens")
        super().__init__(
            model, sdk=openai, http=http, path=PATHS[interface],
            keys=[key for key in (http.api_key,) if key != NO_KEY], address=str(http.base_url), **shared
        )  # fmt: skip

    def _body(self, request: Request, messages: tuple[Message, ...]) -> dict[str, Any]:
        chat = self.interface == "chat"
        body: dict[str, Any] = {"model": self.model, self.limit_field: self.max_new_tokens}
        body |= {"messages": list(messages)} if chat else {"prompt": transcript(messages)}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seeded:
            body["seed"] = int(request.rng.integers(2**31))
        if self.stops:
            body["stop"] = list(self.stops)
        if self.tokens:
            body |= {"return_token_ids": True, "logprobs": True if chat else 0}
        return body

    def _read(self, answer: dict[str, Any]) -> Said:
        choice = first(answer, "choices")
        tokens_in, tokens_out = counted(answer, "prompt_tokens", "completion_tokens")
        message = part(choice, "message", dict) if self.interface == "chat" else {}
        text, note = message.get("content") if message else part(choice, "text", str), ""
        if text is not None and not isinstance(text, str):
            raise Nonsense(f"the server answered with a {type(text).__name__} as content")
        for name in ("reasoning_content", "reasoning"):
            note = note or (message[name] if isinstance(message.get(name), str) else "")
        fed, ids, logprobs = sampled(answer, choice) if self.tokens else (None, None, None)
        finish = ended(choice.get("finish_reason"), _FINISH)
        return Said(text or "", finish, note, tokens_in, tokens_out, fed, ids, logprobs)


def transcript(messages: Sequence[Message]) -> str:
    """A chat as a text to be continued, as the style "completion" writes it for models of this process.

    >>> transcript([{"role": "user", "content": "Your card is K."}]).splitlines()
    ['Your card is K.', '', 'Answer:']
    """
    parts = [("Answer:\n" if m["role"] == "assistant" else "") + m["content"] + "\n\n" for m in messages]
    return "".join([*parts, "Answer:\n"])


def sampled(
    answer: dict[str, Any], choice: dict[str, Any]
) -> tuple[Ids | None, Ids | None, tuple[float, ...] | None]:
    """Prompt, reply and its log-probabilities as vLLM's servers give them; None for what is not given.

    Raises:
        Nonsense: there are not as many log-probabilities as tokens.
    """
    fed = _numbers(choice.get("prompt_token_ids", answer.get("prompt_token_ids")), int)
    ids, about = _numbers(choice.get("token_ids"), int), choice.get("logprobs")
    logprobs = None
    if isinstance(about, dict) and isinstance(about.get("content"), list):  # of a chat
        logprobs = _numbers([one.get("logprob") for one in about["content"] if isinstance(one, dict)], float)
    elif isinstance(about, dict):  # of a completion
        logprobs = _numbers(about.get("token_logprobs"), float)
    if ids is not None and logprobs is not None and len(ids) != len(logprobs):
        raise Nonsense(f"the server answered {len(ids)} tokens with {len(logprobs)} log-probabilities")
    return fed, ids, logprobs


def _numbers(given: Any, kind: type[Any]) -> tuple[Any, ...] | None:
    if not isinstance(given, list):
        return None
    if not all(isinstance(one, (int, kind)) and not isinstance(one, bool) for one in given):
        raise Nonsense(f"the server answered with other things than numbers as tokens: {given}")
    numbers = tuple(kind(one) for one in given)
    if kind is int and any(one < 0 for one in numbers):
        raise Nonsense(f"the server answered with negative tokens: {given}")
    if kind is float and not all(math.isfinite(one) and one <= ROUNDING for one in numbers):
        raise Nonsense(f"the server answered with log-probabilities that are none: {given}")
    return numbers
