"""Agents whose model answers over the network: conversations, threads, and what an answer means.

Requests go out on threads, at most so many at a time. What a server cannot or will not answer becomes a
`Failure`: broken machinery, never a score. A server that is gone ends the play (`EngineGone`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from ludus.agents.language.client import Client, Cost, Limits
from ludus.agents.language.engines.engine import Ids
from ludus.agents.language.keys import bare, secrets_in, secrets_of
from ludus.agents.language.prompts import Conversations, Message, Prompter
from ludus.core.agent import Decision, Failure, Request, Tokens
from ludus.core.errors import ConfigError, CrewError, EngineGone, UnknownName
from ludus.core.game import Forfeit, Seat, Text
from ludus.core.reading import split_thought

NO_KEY = "none needed"  # what a server of one's own is sent


class Said(NamedTuple):
    """What a server answered.

    Attributes:
        text: the reply.
        finish: "stop", "length" (cut at the limit) or "withheld" (the server will not say it).
        note: reasoning that came apart from the reply.
        tokens_in, tokens_out: as the server counts them.
        fed, ids, logprobs: the prompt's tokens, the sampled ones and their log-probabilities, from
            servers that give them.
    """

    text: str
    finish: str
    note: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    fed: Ids | None = None
    ids: Ids | None = None
    logprobs: tuple[float, ...] | None = None


def found_key(given: str | None, variable: str, *, needed: bool) -> str | None:
    """A key given outright or by the name of an environment variable; the SDKs insist on some key.

    Raises:
        ConfigError: there is no such variable.
    """
    if given is None and variable:
        if variable not in os.environ:
            raise ConfigError(f"the environment holds no {variable}, which is to hold the key: set it")
        return os.environ[variable]
    return given or (None if needed else NO_KEY)


def _sorted(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of prompts, and settings of limits."""
    prompts, limits = ({field.name for field in dataclasses.fields(kind)} for kind in (Prompter, Limits))
    for name in settings:
        if name not in prompts | limits:
            raise UnknownName("setting of an agent on a server", name, prompts | limits)
    prompting = {name: value for name, value in settings.items() if name in prompts}
    return prompting, {name: value for name, value in settings.items() if name in limits}


class Remote:
    """What agents over the network share; each says what it sends (`_body`) and how answers read (`_read`).

    Args:
        model: as the server names it.
        sdk: the module whose client `http` is.
        http: the client.
        path: where requests go.
        keys: what no text may hold.
        address: of the server.
        name: what it is called in records; by default the model.
        max_new_tokens: a reply that goes on for longer is cut by the server.
        temperature: left to the server if None.
        stop: a reply ends where its text comes to hold one of these.
        price_in, price_out: per million tokens.
        extra: further fields of the request's body.
        settings: of `Prompter` (style, memory, system, window, thoughts, answer, ...) and of `Limits`.

    Raises:
        UnknownName: there is no such setting.
    """

    def __init__(
        self,
        model: str,
        *,
        sdk: Any,
        http: Any,
        path: str,
        keys: Sequence[str],
        address: str,
        name: str = "",
        max_new_tokens: int = 1024,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        price_in: float = 0.0,
        price_out: float = 0.0,
        extra: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.model, self.name, self.path, self.address = model, name or model, path, bare(address)
        prompting, limiting = _sorted(settings)
        self.prompter = Prompter(**prompting)
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.stops = tuple(stop) or self.prompter.stops
        self.extra, self.limits = dict(extra or {}), Limits(**limiting)
        secrets = [*keys, *secrets_of(address), *secrets_in(self.extra)]
        self.client = Client(self.name, sdk, http, self.limits, secrets=secrets, prices=(price_in, price_out))
        self._turns: Conversations[tuple[Message, ...], str] = Conversations()
        self._out: dict[Future[Decision], Request] = {}
        self._pool = ThreadPoolExecutor(self.limits.concurrency, thread_name_prefix=self.name)

    def _body(self, request: Request, messages: tuple[Message, ...]) -> dict[str, Any]:
        """What is sent for a request."""
        raise NotImplementedError

    def _read(self, answer: dict[str, Any]) -> Said:
        """What an answer says; `Nonsense` where it is not of the form it should have."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------- playing
    def submit(self, requests: Sequence[Request]) -> None:
        """Send requests; `poll` hands the answers back as they come."""
        self.client.begin()
        for request in requests:
            messages = self.messages(request)
            body = {**self._body(request, messages), **self.extra}
            self._out[self._pool.submit(self._answer, request, messages, body)] = request

    def poll(self) -> list[tuple[Request, Decision]]:
        """The requests answered since the last call.

        Raises:
            EngineGone: the server is gone; whatever was out with it is dropped.
        """
        ready = [future for future in self._out if future.done()]
        try:
            return [(self._out.pop(future), future.result()) for future in ready]
        except EngineGone:
            self._drop([*self._out])
            raise

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        """Send requests and wait for all of them."""
        self.submit(requests)
        waiting = {id(request): future for future, request in self._out.items()}
        futures = [waiting[id(request)] for request in requests]
        try:
            decisions = [future.result() for future in futures]
        except EngineGone:
            self._drop([*self._out])
            raise
        for future in futures:
            self._out.pop(future, None)
        return decisions

    def _drop(self, futures: Sequence[Future[Decision]]) -> None:
        for future in futures:
            future.cancel()
            self._out.pop(future, None)

    def close(self, keys: Sequence[str]) -> None:
        """Forget finished episodes; what is still out for them comes back no more."""
        self._turns.close(keys)
        gone = set(keys)
        self._drop([future for future, request in self._out.items() if request.key in gone])

    def fingerprint(self) -> str:
        mark = (
            self.model,
            self.address,
            self.path,
            self.prompter,
            self.max_new_tokens,
            self.temperature,
            self.stops,
            self.client.clean(repr(self.extra)),
        )
        return hashlib.blake2b(repr(mark).encode(), digest_size=8).hexdigest()

    def stop(self) -> None:
        """Give up what is waiting, and close every connection."""
        self.client.stop()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def costs(self) -> Mapping[Seat, Cost]:
        """What every seat has cost so far."""
        return self.client.costs

    def cost(self) -> Cost:
        """What all seats together have cost."""
        return self.client.cost()

    def messages(self, request: Request) -> tuple[Message, ...]:
        """What is sent for a request; a conversation under way goes on with the replies as they came."""

        def go_on(messages: tuple[Message, ...], reply: str) -> tuple[Message, ...]:
            kept = split_thought(reply)[1] if self.prompter.thoughts == "strip" else reply
            said: Message = {"role": "assistant", "content": kept}
            return (*messages, said, {"role": "user", "content": self.prompter.follow_up(request)})

        return self._turns.prompt(request, lambda: tuple(self.prompter.messages(request)), go_on)

    # --------------------------------------------------------------------------- on a thread
    def _answer(self, request: Request, messages: tuple[Message, ...], body: dict[str, Any]) -> Decision:
        try:
            said = self.client.ask(request.seat, self.path, body, self._read)
        except CrewError as fault:
            self.client.failed(request.seat)
            return Decision(Failure(str(fault)))
        raw = self.client.clean(said.text)
        if self.prompter.converses(request):
            self._turns.keep(request, messages, raw)
        if said.finish == "withheld":
            self.client.failed(request.seat)
            return Decision(Failure(f"{self.name}: the server withheld the reply"), raw=raw)
        return self._decide(request, raw, said)

    def _decide(self, request: Request, raw: str, said: Said) -> Decision:
        whole, tokens = said.finish != "length", self._tokens(said)
        note, read = self.prompter.read(raw, request.options)
        note = self.client.clean(said.note) or note
        if not whole and not isinstance(request.options, Text):
            why = f"the reply is longer than {self.max_new_tokens} tokens"
            return Decision(Forfeit(why), raw=raw, tokens=tokens, note=note)
        if isinstance(read.move, Forfeit):
            return Decision(read.move, raw=raw, tokens=tokens, note=note)
        how = read.how if whole else "truncated"
        return Decision(read.move, raw=raw, read=how, tokens=tokens, note=note)

    def _tokens(self, said: Said) -> Tokens | None:
        """How it was sampled, if the server says so whole."""
        if said.fed is None or said.ids is None or said.logprobs is None:
            return None
        return Tokens(
            prompt=np.array(said.fed, np.int64),
            ids=np.array(said.ids, np.int64),
            logprobs=np.array(said.logprobs, np.float32),
            sampled=np.ones(len(said.ids), np.bool_),
            policy=self.name,
            truncated=said.finish == "length",
        )
