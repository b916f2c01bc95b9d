"""A client: asks a server and gets its answer or a fault, within limits, counting what it costs.

What can pass is tried again, with growing waits; what cannot, or does not in time, is a `CrewError`.
A server that nobody can reach any more is an `EngineGone`. No text that leaves here holds a key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from ludus.agents.language.keys import SHORTEST, redact
from ludus.core.errors import CrewError, EngineGone

LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
LONGEST_QUOTE = 200  # characters of a server's words that an error repeats


@dataclass(slots=True)
class Cost:
    """What one seat has cost so far.

    Attributes:
        calls: requests that went out, failed ones included.
        retries: how many of them were further attempts.
        failures: requests that were given up.
        tokens_in, tokens_out: as the server counts them.
        seconds: spent waiting for answers.
        money: by the prices that the client was given, in their currency.
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
    """How long and how often a server is asked.

    Attributes:
        timeout: seconds for one attempt.
        deadline: seconds for one request with all of its attempts and waits.
        attempts: how often a request is tried.
        wait: seconds before the second attempt; doubles with each further one.
        concurrency: how many requests are out at a time.
        unreachable: so many requests given up in a row because no connection was to be had, and the
            server counts as gone; 0: it never does. One that answers too late is slow and not gone.
    """

    timeout: float = 60.0
    deadline: float = 300.0
    attempts: int = 5
    wait: float = 1.0
    concurrency: int = 16
    unreachable: int = 3

    def __post_init__(self) -> None:
        if min(self.timeout, self.deadline) <= 0 or self.wait < 0 or min(self.attempts, self.concurrency) < 1:
            raise ValueError(f"times must be positive, attempts and concurrency at least one: {self}")
        if self.unreachable < 0:
            raise ValueError(f"unreachable counts requests, and is not {self.unreachable}")


class Nonsense(CrewError):
    """An answer that is not of the form it should have."""


class Counted(Protocol):
    """Something read off an answer, with what the server counted."""

    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...


class Done(NamedTuple):
    """An answer of which nothing is wanted."""

    text: str
    tokens_in: int = 0
    tokens_out: int = 0


Answer = TypeVar("Answer", bound=Counted)


class _Trouble(NamedTuple):
    """A fault, read.

    Attributes:
        told: what to say of it.
        passes: it may be gone at the next attempt.
        asked: seconds that the server asks to wait; 0 if it asks for nothing.
        reached: somebody was there.
    """

    told: str
    passes: bool
    asked: float = 0.0
    reached: bool = True


class Client:
    """Asks one server; threads may share it.

    Args:
        name: begins every message.
        sdk: the module whose errors `http` raises: `openai` or `anthropic`.
        http: a client of that module, which tries once.
        limits: how long and how often.
        secrets: what no text may hold.
        prices: per million tokens, in and out.

    Attributes:
        costs: of every seat.
    """

    def __init__(
        self,
        name: str,
        sdk: Any,
        http: Any,
        limits: Limits,
        *,
        secrets: Iterable[str] = (),
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.name, self.limits, self.prices = name, limits, prices
        self.costs: dict[str, Cost] = {}
        self._sdk, self._http = sdk, http
        self._secrets = tuple(secret for secret in secrets if len(secret) >= SHORTEST)
        self._lock, self._halt = threading.Lock(), threading.Event()
        self._unreached, self._gone = 0, ""

    def ask(
        self, seat: str, path: str, body: Mapping[str, Any] | None, read: Callable[[dict[str, Any]], Answer]
    ) -> Answer:
        """One answer, after as many attempts as it takes and the limits allow.

        Args:
            seat: whom it costs.
            path: where to, from the server's base address on, or a whole address.
            body: of the request; None only fetches.
            read: what is wanted of the answer's object; raises `Nonsense` where it is not there.

        Raises:
            CrewError: no attempt succeeded, or the fault will not pass.
            EngineGone: nobody has been there for too many requests in a row.
        """
        return self._ask(seat, path, body, lambda text: read(_object(text)))

    def tell(self, path: str, body: Mapping[str, Any]) -> None:
        """Have something done, whatever is said of it; see `ask`."""
        self._ask("", path, body, Done)

    def _ask(
        self, seat: str, path: str, body: Mapping[str, Any] | None, read: Callable[[str], Answer]
    ) -> Answer:
        if self._halt.is_set():
            raise EngineGone(f"{self.name}: {self._gone or 'the connections are closed'}")
        begun = time.monotonic()
        for attempt in range(self.limits.attempts):
            self._count(seat, calls=1, retries=int(attempt > 0))
            sent = time.monotonic()
            left = self.limits.deadline - (sent - begun)
            found = self._try(path, body, read, min(self.limits.timeout, left))
            self._count(seat, seconds=time.monotonic() - sent)
            if not isinstance(found, _Trouble):
                self._book(seat, found)
                return found
            if found.reached:
                self._unreached = 0
            wait = min(found.asked or self.pause(attempt, str(body)), LONGEST_WAIT)
            over = time.monotonic() + wait - begun >= self.limits.deadline
            if not found.passes:
                raise CrewError(f"{self.name}: {found.told}")
            if over or attempt + 1 == self.limits.attempts or self._halt.wait(wait):
                raise self._given_up(found, attempt + 1)
        raise AssertionError("the last attempt returns or raises")

    def _given_up(self, found: _Trouble, attempts: int) -> CrewError | EngineGone:
        told = f"{self.name}: {found.told}; given up after {attempts} attempts"
        if found.reached:
            return CrewError(told)
        with self._lock:
            self._unreached += 1
        if not self.limits.unreachable or self._unreached < self.limits.unreachable:
            return CrewError(told)
        self._gone = f"the last {self._unreached} requests reached nobody: start the server again, and resume"
        self._halt.set()
        return EngineGone(f"{told}; {self._gone}")

    def _try(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[str], Answer], timeout: float
    ) -> Answer | _Trouble:
        options = {"timeout": timeout}
        try:
            if body is None:
                return read(self._http.get(path, cast_to=str, options=options))
            return read(self._http.post(path, cast_to=str, body=body, options=options))
        except self._sdk.APIError as fault:  # a message may quote what was sent, keys included
            return self._trouble(fault, timeout)
        except Nonsense as fault:
            return _Trouble(self.clean(str(fault))[:LONGEST_QUOTE], passes=True)

    def _trouble(self, fault: Any, waited: float) -> _Trouble:
        if isinstance(fault, self._sdk.APITimeoutError):
            setting = "timeout" if waited == self.limits.timeout else "deadline"
            return _Trouble(
                f"no answer within {waited:.4g} s: if it is busy and not stuck, raise {setting} (now "
                f"{getattr(self.limits, setting):g})",
                passes=True,
            )
        if isinstance(fault, self._sdk.APIStatusError):
            status, asked = fault.status_code, fault.response.headers.get("retry-after", "")
            return _Trouble(
                f"the server answered {status}: {self.clean(str(fault.message))[:LONGEST_QUOTE]}",
                passes=status in (408, 409, 425, 429) or status >= 500,
                asked=float(asked) if asked.replace(".", "", 1).isdigit() else 0.0,
            )
        unreached = isinstance(fault, self._sdk.APIConnectionError)
        told = f"{type(fault).__name__}: {self.clean(str(fault))[:LONGEST_QUOTE]}"
        return _Trouble(told, passes=unreached, reached=not unreached)

    def pause(self, attempt: int, mark: str) -> float:
        """Seconds until the attempt after this one: twice as long each time.

        Spread by a hash of the request, so that many that are refused together do not return together.
        """
        digest = hashlib.blake2b(f"{attempt}{mark}".encode(), digest_size=4).digest()
        spread = 0.5 + int.from_bytes(digest) / 2**32
        return min(float(self.limits.wait * 2**attempt * spread), LONGEST_WAIT)

    def clean(self, text: str) -> str:
        """A text, without keys."""
        return redact(text, self._secrets)

    def begin(self) -> None:
        """Somebody wants something again: a server that was gone may be back."""
        self._halt.clear()

    def stop(self) -> None:
        """End the waits of requests under way, and close every connection."""
        self._halt.set()
        self._http.close()

    # ---------------------------------------------------------------------------------- costs
    def _book(self, seat: str, answer: Counted) -> None:
        self._unreached = 0
        money = (answer.tokens_in * self.prices[0] + answer.tokens_out * self.prices[1]) / 1e6
        self._count(seat, tokens_in=answer.tokens_in, tokens_out=answer.tokens_out, money=money)

    def failed(self, seat: str) -> None:
        """Count a request that was given up."""
        self._count(seat, failures=1)

    def _count(self, seat: str, **more: float) -> None:
        with self._lock:
            cost = self.costs.setdefault(seat, Cost())
            for name, amount in more.items():
                setattr(cost, name, getattr(cost, name) + amount)

    def cost(self) -> Cost:
        """What all seats together have cost."""
        names = [field.name for field in dataclasses.fields(Cost)]
        with self._lock:
            return Cost(**{name: sum(getattr(cost, name) for cost in self.costs.values()) for name in names})


# ------------------------------------------------------------------------------------- reading
def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise Nonsense(f"the server answered what is not JSON: {text!r}") from None
    if not isinstance(found, dict):
        raise Nonsense(f"the server answered {type(found).__name__}, not an object: {text!r}")
    return found


T = TypeVar("T")


def part(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A field of an answer.

    Raises:
        Nonsense: it is not there, or is of another type.
    """
    found = answer.get(name)
    if not isinstance(found, kind):
        there = f"a {type(found).__name__}" if name in answer else f"only {', '.join(answer) or 'nothing'}"
        raise Nonsense(f"the server answered without a {kind.__name__} {name!r}: there is {there}")
    return found


def first(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The first object of a list in an answer.

    Raises:
        Nonsense: there is none.
    """
    items = part(answer, name, list)
    if not items or not isinstance(items[0], dict):
        raise Nonsense(f"the server answered without an object in {name!r}: {items}")
    found: dict[str, Any] = items[0]
    return found


def counted(answer: Mapping[str, Any], fed: str, replied: str) -> tuple[int, int]:
    """Numbers of tokens, in and out, from an answer's `usage`; 0 where the server does not count."""
    usage = answer.get("usage")
    numbers = [usage.get(name) if isinstance(usage, dict) else 0 for name in (fed, replied)]
    tokens_in, tokens_out = (number if isinstance(number, int) else 0 for number in numbers)
    return tokens_in, tokens_out


def ended(reason: Any, known: Mapping[str, str]) -> str:
    """What the server's reason for the end of its reply means.

    Raises:
        Nonsense: it is none of those known: the reply is not whole, and no move may be read from it.
    """
    if not isinstance(reason, str) or reason not in known:
        raise Nonsense(
            f"the server answered with a reply that ended by {reason!r}, not by {', '.join(known)}"
        )
    return known[reason]
