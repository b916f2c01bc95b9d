"""A language model behind Anthropic's messages interface, answering at its own pace."""

from __future__ import annotations

from typing import Any

from ludus.agents.language.client import Nonsense, counted, ended, part
from ludus.agents.language.prompts import Message
from ludus.agents.language.remote import NO_KEY, Remote, Said, found_key
from ludus.core.agent import Request
from ludus.core.errors import CrewError, MissingExtra
from ludus.core.registry import register_agent

try:
    import anthropic
except ImportError as absent:
    raise MissingExtra("Anthropic's messages", "anthropic") from absent

_FINISH = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "model_context_window_exceeded": "length",
    "refusal": "withheld",
}  # fmt: skip


@register_agent("anthropic")
class Messages(Remote):
    """Asks a model over Anthropic's messages interface.

    Args:
        model: as Anthropic names it.
        base_url: of the server; by default Anthropic's own.
        api_key, key_variable: the key, or the environment variable that holds it; by default
            ANTHROPIC_API_KEY. Servers of one's own mostly need none.
        thinking: tokens of `max_new_tokens` that the model may think in; 0 for none.
        shared: name, style, memory, system, window, thoughts, answer, max_new_tokens, temperature, stop,
            price_in, price_out, extra and the fields of `Limits`, as in `Remote`.

    Raises:
        CrewError: there is no key, and the server is not one of your own.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_variable: str = "",
        thinking: int = 0,
        **shared: Any,
    ) -> None:
        key = found_key(api_key, key_variable, needed=base_url is None)
        try:
            http = anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0)
        except anthropic.AnthropicError as fault:
            raise CrewError(f"{model}: {fault}") from fault
        if http.api_key is None and http.auth_token is None:
            raise CrewError(f"{model}: no key was given: set ANTHROPIC_API_KEY")
        self.thinking = thinking
        super().__init__(
            model, sdk=anthropic, http=http, path="/v1/messages",
            keys=[key for key in (http.api_key, http.auth_token) if key and key != NO_KEY],
            address=str(http.base_url), **shared
        )  # fmt: skip

    def _body(self, request: Request, messages: tuple[Message, ...]) -> dict[str, Any]:
        said = [message for message in messages if message["role"] != "system"]
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.max_new_tokens, "messages": said}
        if system:
            body["system"] = system
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.stops:
            body["stop_sequences"] = list(self.stops)
        if self.thinking:
            body["thinking"] = {"type": "enabled", "budget_tokens": self.thinking}
        return body

    def _read(self, answer: dict[str, Any]) -> Said:
        blocks = part(answer, "content", list)
        if not all(isinstance(block, dict) for block in blocks):
            raise Nonsense(f"the server answered with other things than blocks as content: {blocks}")
        text = "".join(part(block, "text", str) for block in blocks if block.get("type") == "text")
        note = "".join(part(block, "thinking", str) for block in blocks if block.get("type") == "thinking")
        finish = ended(answer.get("stop_reason"), _FINISH)
        tokens_in, tokens_out = counted(answer, "input_tokens", "output_tokens")
        return Said(text, finish, note, tokens_in, tokens_out)
