"""A language model behind an OpenAI-compatible endpoint, answering at its own pace.

Requests go out on threads, at most so many at a time. What can pass is tried again, with growing waits;
what cannot, or does not in time, becomes a `Failure`: broken machinery, never a score. What every seat
has cost is counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from ludus.agents.language.prompts import Conversations, Message, Prompter
from ludus.core.agent import Decision, Failure, Request
from ludus.core.errors import CrewError, MissingExtra
from ludus.core.game import Forfeit, Seat, Text
from ludus.core.reading import read_reply, split_thought
from ludus.core.registry import register_agent

try:
    import openai
except ImportError as absent:
    raise MissingExtra("an OpenAI-compatible endpoint", "llm") from absent

LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for


@dataclass(slots=True)
class Cost:
    """What one seat has cost so far.

    Attributes:
        calls: requests that went out, failed ones included.
        retries: how many of them were further attempts.
        failures: requests that were given up.
        tokens_in, tokens_out: as the endpoint counts them.
        seconds: spent waiting for answers.
        money: by the prices that the agent was given, in their currency.
    """

    calls: int = 0
    retries: int = 0
    failures: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often an endpoint is asked.

    Attributes:
        timeout: seconds for one attempt.
        deadline: seconds for one request with all of its attempts and waits.
        attempts: how often a request is tried.
        wait: seconds before the second attempt; doubles with each further one.
        concurrency: how many requests are out at a time.
    """

    timeout: float = 60.0
    deadline: float = 300.0
    attempts: int = 5
    wait: float = 1.0
    concurrency: int = 16

    def __post_init__(self) -> None:
        if min(self.timeout, self.deadline) <= 0 or self.wait < 0 or min(self.attempts, self.concurrency) < 1:
            raise ValueError(f"times must be positive, attempts and concurrency at least one: {self}")


@register_agent("openai")
class Endpoint:
    """Asks a model over the chat interface of OpenAI, which most servers speak.

    Args:
        model: as the endpoint names it.
        base_url: of the endpoint, as in "http://localhost:8000/v1"; by default OpenAI's own.
        api_key: by default from OPENAI_API_KEY; endpoints of one's own mostly need none.
        name: what it is called in records; by default the model.
        style, memory, system: as in `Prompter`.
        max_new_tokens: a reply that goes on for longer is cut by the endpoint.
        temperature: left to the endpoint if None.
        seeded: send a seed drawn from the seat's own generator, for endpoints that heed one.
        price_in, price_out: per million tokens.
        settings: of `Limits`: timeout, deadline, attempts, wait, concurrency.
        extra: further fields of the request body.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        name: str = "",
        style: str = "full",
        memory: str = "auto",
        system: str = "",
        max_new_tokens: int = 1024,
        temperature: float | None = None,
        seeded: bool = False,
        price_in: float = 0.0,
        price_out: float = 0.0,
        extra: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.model, self.name = model, name or model
        self.prompter = Prompter(style, memory, system)
        self.max_new_tokens, self.temperature, self.seeded = max_new_tokens, temperature, seeded
        self.prices, self.extra, self.limits = (price_in, price_out), extra or {}, Limits(**settings)
        key = api_key or ("none needed" if base_url else None)  # the library insists on a key
        try:
            self.client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
        except openai.OpenAIError as fault:
            raise CrewError(f"{self.name}: {fault}") from fault
        self.costs: dict[Seat, Cost] = {}
        self._turns: Conversations[tuple[Message, ...], str] = Conversations()
        self._out: dict[Future[Decision], Request] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.limits.concurrency, thread_name_prefix=self.name)

    # ------------------------------------------------------------------------------- playing
    def submit(self, requests: Sequence[Request]) -> None:
        """Send requests; `poll` hands the answers back as they come."""
        for request in requests:
            messages = self.messages(request)
            seed = int(request.rng.integers(2**31)) if self.seeded else None
            self._out[self._pool.submit(self._answer, request, messages, seed)] = request

    def poll(self) -> list[tuple[Request, Decision]]:
        """The requests answered since the last call."""
        ready = [future for future in self._out if future.done()]
        return [(self._out.pop(future), future.result()) for future in ready]

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        """Send requests and wait for all of them."""
        self.submit(requests)
        waiting = {id(request): future for future, request in self._out.items()}
        futures = [waiting[id(request)] for request in requests]
        decisions = [future.result() for future in futures]
        for future in futures:
            self._out.pop(future, None)
        return decisions

    def close(self, keys: Sequence[str]) -> None:
        self._turns.close(keys)

    def fingerprint(self) -> str:
        mark = (
            self.model,
            str(self.client.base_url),
            self.prompter,
            self.max_new_tokens,
            self.temperature,
            self.extra,
        )
        return hashlib.blake2b(repr(mark).encode(), digest_size=8).hexdigest()

    def stop(self) -> None:
        """Wait for what is out, and close every connection."""
        self._pool.shutdown(cancel_futures=True)
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def messages(self, request: Request) -> tuple[Message, ...]:
        """What is sent for a request; a conversation under way goes on with the replies as they came."""

        def go_on(messages: tuple[Message, ...], reply: str) -> tuple[Message, ...]:
            said: Message = {"role": "assistant", "content": reply}
            return (*messages, said, {"role": "user", "content": self.prompter.follow_up(request)})

        return self._turns.prompt(request, lambda: tuple(self.prompter.messages(request)), go_on)

    # --------------------------------------------------------------------------- on a thread
    def _answer(self, request: Request, messages: tuple[Message, ...], seed: int | None) -> Decision:
        try:
            answer = self._ask(request.seat, messages, seed)
        except CrewError as fault:
            self._count(request.seat, failures=1)
            return Decision(Failure(str(fault)))
        choice = answer.choices[0]
        raw = choice.message.content or ""
        if self.prompter.converses(request):
            self._turns.keep(request, messages, raw)
        if choice.finish_reason == "content_filter":
            self._count(request.seat, failures=1)
            return Decision(
                Failure(f"{self.name}: the endpoint withheld the reply (content_filter)"), raw=raw
            )
        note, reply = split_thought(raw)
        note = getattr(choice.message, "reasoning_content", None) or note
        return self._decide(request, raw, reply, note, whole=choice.finish_reason != "length")

    def _decide(self, request: Request, raw: str, reply: str, note: str, *, whole: bool) -> Decision:
        if not whole and not isinstance(request.options, Text):
            return Decision(
                Forfeit(f"the reply is longer than {self.max_new_tokens} tokens"), raw=raw, note=note
            )
        read = read_reply(reply, request.options)
        if isinstance(read.move, Forfeit):
            return Decision(read.move, raw=raw, note=note)
        return Decision(read.move, raw=raw, read=read.how if whole else "truncated", note=note)

    def _ask(self, seat: Seat, messages: tuple[Message, ...], seed: int | None) -> Any:
        """One answer, after as many attempts as it takes and the limits allow.

        Raises:
            CrewError: no attempt succeeded, or the fault will not pass.
        """
        begun = time.monotonic()
        for attempt in range(self.limits.attempts):
            self._count(seat, calls=1, retries=int(attempt > 0))
            sent = time.monotonic()
            try:
                left = self.limits.deadline - (sent - begun)
                answer = self._send(messages, seed, min(self.limits.timeout, left))
            except openai.OpenAIError as fault:
                self._count(seat, seconds=time.monotonic() - sent)
                if not _passes(fault):
                    raise CrewError(f"{self.name}: {_told(fault)}") from fault
                wait = self._wait(fault, attempt, messages)
                over = time.monotonic() + wait - begun >= self.limits.deadline
                if over or attempt + 1 == self.limits.attempts:
                    raise CrewError(
                        f"{self.name}: {_told(fault)}; given up after {attempt + 1} attempts"
                    ) from fault
                time.sleep(wait)
            else:
                self._book(seat, answer, time.monotonic() - sent)
                if not answer.choices:
                    raise CrewError(f"{self.name}: the endpoint answered without a choice")
                return answer
        raise AssertionError("the last attempt returns or raises")

    def _send(self, messages: tuple[Message, ...], seed: int | None, timeout: float) -> Any:
        optional = {"temperature": self.temperature, "seed": seed}
        create = cast("Callable[..., Any]", self.client.chat.completions.create)
        return create(
            model=self.model,
            messages=list(messages),
            max_tokens=self.max_new_tokens,
            timeout=timeout,
            extra_body=self.extra,
            **{key: value for key, value in optional.items() if value is not None},
        )

    def _wait(self, fault: openai.OpenAIError, attempt: int, messages: tuple[Message, ...]) -> float:
        """Seconds until the next attempt: what the server asks for, or twice as long each time.

        Spread by a hash of the prompt, so that many requests refused together do not return together.
        """
        headers = fault.response.headers if isinstance(fault, openai.APIStatusError) else {}
        asked = headers.get("retry-after", "")
        if asked.replace(".", "", 1).isdigit():
            return min(float(asked), LONGEST_WAIT)
        mark = hashlib.blake2b(f"{attempt}{messages}".encode(), digest_size=4).digest()
        spread = 0.5 + int.from_bytes(mark) / 2**32
        return min(float(self.limits.wait * 2**attempt * spread), LONGEST_WAIT)

    # ---------------------------------------------------------------------------------- costs
    def _book(self, seat: Seat, answer: Any, seconds: float) -> None:
        usage = answer.usage
        tokens_in = usage.prompt_tokens if usage else 0
        tokens_out = usage.completion_tokens if usage else 0
        money = (tokens_in * self.prices[0] + tokens_out * self.prices[1]) / 1e6
        self._count(seat, tokens_in=tokens_in, tokens_out=tokens_out, seconds=seconds, money=money)

    def _count(self, seat: Seat, **more: float) -> None:
        with self._lock:
            cost = self.costs.setdefault(seat, Cost())
            for name, amount in more.items():
                setattr(cost, name, getattr(cost, name) + amount)

    def cost(self) -> Cost:
        """What all seats together have cost."""
        names = [field.name for field in dataclasses.fields(Cost)]
        with self._lock:
            return Cost(**{name: sum(getattr(cost, name) for cost in self.costs.values()) for name in names})


def _passes(fault: openai.OpenAIError) -> bool:
    """Whether a fault may be gone at the next attempt: no connection, too late, too many, their error."""
    if isinstance(fault, openai.APIStatusError):
        return fault.status_code in (408, 409, 425, 429) or fault.status_code >= 500
    return isinstance(fault, openai.APIConnectionError)  # time-outs are among these


def _told(fault: openai.OpenAIError) -> str:
    if isinstance(fault, openai.APITimeoutError):
        return "no answer in time"
    if isinstance(fault, openai.APIStatusError):
        return f"the endpoint answered {fault.status_code}: {fault.message[:200]}"
    return f"{type(fault).__name__}: {str(fault)[:200]}"
