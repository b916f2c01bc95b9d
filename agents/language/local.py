"""A language model as a policy: it reads prompts, replies token by token, and can be trained.

The model itself is in `causal.py`, prompts are in `prompts.py`, and replies are read by
`ludus.core.reading`. What it was fed and what it sampled are kept as token ids; nothing is tokenised
twice.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Decision, Request, Tokens
from ludus.core.errors import ConfigError, MissingExtra
from ludus.core.game import Choice, Forfeit, Move, Text
from ludus.core.policy import Rows, Scores
from ludus.core.registry import register_agent

try:
    import torch

    from ludus.agents.language.desk import Desk, make_engine
    from ludus.agents.language.engines.continuous import TransformersEngine
    from ludus.agents.language.models.causal import CausalModel
    from ludus.agents.language.models.decisions import continued, scored
    from ludus.agents.language.models.prints import prints
except ImportError as absent:
    raise MissingExtra("a local language model", "llm") from absent

from ludus.agents.language.engines.engine import Engine, Ids, Job, Sampled
from ludus.agents.language.manner import Manner, read_manner, write_manner
from ludus.agents.language.prompts import Conversations
from ludus.agents.language.tokens import Thread

T = TypeVar("T")
SCORED_AT_ONCE = 256  # requests whose replies are scored together


@register_agent("language")
class LanguageModel:
    """A causal language model at the table; a `Policy` as the trainer knows it.

    Args:
        path: a Hugging Face folder or name. Settings not given are those saved in the folder.
        name: what the policy is called in records.
        version: the version of its weights.
        engine: what samples: "transformers", on the very weights that learn; or "vllm" or "server", alone
            or as a table with options, to which the weights are sent whenever they have changed; or an
            `Engine`. Adapters of one model share it.
        rows_at_once: replies under way at a time.
        settings: fields of `Manner`; and, as in `CausalModel`, device, dtype and how it is loaded.

    Raises:
        ConfigError: the path holds no model, or its settings are none.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str = "language",
        version: int = 0,
        engine: str | Mapping[str, Any] | Engine = "transformers",
        rows_at_once: int = 512,
        **settings: Any,
    ) -> None:
        mine = {field.name for field in dataclasses.fields(Manner)}
        given = {key: settings.pop(key) for key in [*settings] if key in mine and settings[key] is not None}
        self.name, self.version = name, version
        self.manner = dataclasses.replace(read_manner(path), **given)
        self.prompter = self.manner.prompter()
        self.model = CausalModel(
            path,
            temperature=self.manner.temperature,
            completion=self.manner.style == "completion",
            **settings,
        )
        self.rows_at_once = rows_at_once
        self.desk = Desk(make_engine(engine, self.model, rows_at_once))
        self.forget()

    def forget(self, printed: tuple[int, str] | None = None) -> None:
        """Drop conversations under way, and everything that was worked out before but a print of the weights."""
        self._turns: Conversations[Thread, Sampled] = Conversations()
        self._fed: dict[str, Thread] = {}  # by session: what its job under way was made from
        self._known: dict[Any, Any] = {}
        self._print = printed

    # ------------------------------------------------------------------------------- playing
    def submit(self, requests: Sequence[Request]) -> None:
        """Let the engine begin with requests; `poll` hands the answers back as they come."""
        self.desk.submit(self, list(zip(requests, self._jobs(requests), strict=True)))

    def poll(self) -> list[tuple[Request, Decision]]:
        """The requests answered since the last call."""
        return [(request, self._decide(request, job, reply)) for request, job, reply in self.desk.poll(self)]

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        jobs = self._jobs(requests)
        replies = self.desk.engine.sample(jobs)
        return [self._decide(*row) for row in zip(requests, jobs, replies, strict=True)]

    def close(self, keys: Sequence[str]) -> None:
        self._turns.close(keys)
        gone = set(keys)
        self._fed = {
            session: thread for session, thread in self._fed.items() if session.rpartition(" ")[0] not in gone
        }
        self.desk.close(self, gone)

    def _jobs(self, requests: Sequence[Request]) -> list[Job]:
        self._synchronise()
        jobs = []
        for request in requests:
            thread = self._thread(request)
            job = Job(
                self.model.fitting(thread.ids, f"{request.game}, {request.seat}"),
                request.rng,
                self._kept(("sampling", request.seat), partial(self.manner.sampling, request.seat)),
                session=f"{request.key} {request.seat}",
                adapter=self.model.adapter,
                allowed=self.allowed(request) if self.manner.constrain else None,
                goes_on=self.prompter.converses(request),
            )
            if job.goes_on:
                self._fed[job.session] = thread
            jobs.append(job)
        return jobs

    def _synchronise(self) -> None:
        """Let the engine sample under the present weights."""
        adapter, engine = self.model.adapter, self.desk.engine
        self.desk.ready(self.name)
        if self.desk.versions.get(adapter) != self.version:
            if isinstance(engine, TransformersEngine):
                engine.forget(adapter)
            else:
                engine.update(self.state(), self.version, adapter)
            self.desk.versions[adapter] = self.version

    def forget_prefixes(self) -> None:
        """Let the engine of this process read every prompt anew: from a warm cache, sums round otherwise."""
        if isinstance(self.desk.engine, TransformersEngine):
            self.desk.engine.forget(self.model.adapter)

    def prompt(self, request: Request) -> Ids:
        """The token ids that the model is fed for a request.

        A conversation under way goes on from the very tokens of its last turn.
        """
        return self._thread(request).ids

    def _thread(self, request: Request) -> Thread:
        chat, strip = self.model.chat, self.prompter.thoughts == "strip"

        def begin() -> Thread:
            messages = self.prompter.messages(request)
            mark = tuple((message["role"], message["content"]) for message in messages)
            return self._kept(mark, lambda: chat.begin(messages))

        def go_on(thread: Thread, reply: Sampled) -> Thread:
            raw = self.model.decode(reply.ids)
            return chat.go_on(thread, reply.ids, raw, self.prompter.follow_up(request), strip=strip)

        return self._turns.prompt(request, begin, go_on)

    def _kept(self, mark: Any, make: Callable[[], T]) -> T:
        """Texts and token ids that were seen before are not worked out again."""
        if mark not in self._known:
            if len(self._known) >= 16384:
                self._known.clear()
            self._known[mark] = make()
        found: T = self._known[mark]
        return found

    def fed(self, request: Request) -> NDArray[np.int64] | None:
        """The token ids (P,) that this request alone decides; None where a conversation decides them."""
        return None if self.prompter.converses(request) else np.array(self.prompt(request), np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The reply that tokens spell."""
        return self.model.decode(tuple(ids))

    def replies(self, request: Request) -> tuple[Ids, ...] | None:
        """The token ids of every legal reply, end token included, in order.

        None where they are open: free text, and moves that scratch may stand before, or that stop strings end.
        """
        if not isinstance(request.options, Choice) or self.prompter.scratch_most or self.manner.stops:
            return None
        options = request.options
        return self._kept(
            ("replies", options.names, options.legal.tobytes()),
            lambda: tuple(self.model.encode_reply(ways[0]) for ways in self.prompter.replies(options)),
        )

    def allowed(self, request: Request) -> tuple[Ids, ...]:
        """What a constrained reply is chosen among: every way to write each legal move.

        Raises:
            ConfigError: the replies are open.
        """
        options = request.options
        mark = (
            ("allowed", options.names, options.legal.tobytes()) if isinstance(options, Choice) else "allowed"
        )
        return self._kept(
            mark,
            lambda: tuple(
                self.model.encode_reply(way) for ways in self.prompter.replies(options) for way in ways
            ),
        )

    def _decide(self, request: Request, job: Job, reply: Sampled) -> Decision:
        if job.goes_on:
            self._turns.keep(request, self._fed.pop(job.session), reply)
        raw = self.model.decode(reply.ids)
        note, read = self.prompter.read(raw, request.options)
        tokens = Tokens(
            prompt=np.array(job.ids, np.int64),
            ids=np.array(reply.ids, np.int64),
            logprobs=reply.logprobs,
            sampled=np.ones(len(reply.ids), np.bool_),
            policy=self.name,
            version=self.version,
            replies=self.replies(request),
            truncated=not reply.stopped,
            constraint="" if job.allowed is None else self.manner.constrain,
        )
        if not reply.stopped and not isinstance(request.options, Text):
            why = f"the reply is longer than {job.sampling.max_new_tokens} tokens"
            return Decision(Forfeit(why), raw=raw, tokens=tokens, note=note)
        if isinstance(read.move, Forfeit):
            return Decision(read.move, raw=raw, tokens=tokens, note=note)
        how = read.how if reply.stopped else "truncated"
        return Decision(read.move, raw=raw, read=how, tokens=tokens, note=note)

    def written(self, request: Request, move: Move, raw: str | None = None) -> Tokens:
        """A move that somebody else made, as this model would write it, or `raw` word for word."""
        ways = (raw,) if raw is not None else self.prompter.spellings(move, request.options)
        ids = self.model.encode_reply(ways[int(request.rng.integers(len(ways)))])
        return Tokens(
            prompt=np.array(self.prompt(request), np.int64),
            ids=np.array(ids, np.int64),
            logprobs=np.full(len(ids), np.nan, np.float32),
            sampled=np.ones(len(ids), np.bool_),
            policy=self.name,
            version=self.version,
            replies=self.replies(request),
        )

    # --------------------------------------------------------------------------- probabilities
    def masses(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """The probability (A,) that the model replies with each legal move, its end token included.

        Where scratch may stand before a move, it has the probability of all replies with scratch that end
        within the token limit. What is missing from one is the probability of everything else that the
        model may say.

        Raises:
            TypeError: the replies are open.
            ConfigError: stop strings end them, in as many ways as there are tokens that hold one.
        """
        out: list[NDArray[np.float64]] = []
        with torch.no_grad():
            for first in range(0, len(requests), SCORED_AT_ONCE):
                out += self._masses(requests[first : first + SCORED_AT_ONCE])
        return out

    def _masses(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        self._check_spelt()
        asked = [(self.prompt(request), self._ways(request)) for request in requests]
        pairs = [(prompt, reply) for prompt, moves in asked for ways in moves for reply in ways]
        found, place = continued(self.model, pairs)
        total = found.logprobs.sum(1).double().exp().cpu().numpy()
        out = []
        for request, (prompt, moves) in zip(requests, asked, strict=True):
            legal = request.options.legal  # type: ignore[union-attr]
            row = np.zeros(len(legal))
            row[legal] = [sum(total[place[prompt, reply]] for reply in ways) for ways in moves]
            out.append(row)
        return out

    def _ways(self, request: Request) -> tuple[tuple[Ids, ...], ...]:
        """For each legal move the replies that mean it: with as much scratch as a reply has room for."""
        options = request.options
        if not isinstance(options, Choice):
            raise TypeError(
                f"{request.game}: {request.seat} has free replies, which have no probabilities here"
            )
        longest = self.manner.sampling(request.seat).max_new_tokens
        return self._kept(
            ("ways", options.names, options.legal.tobytes(), longest),
            lambda: tuple(self._spelt(int(move), options, longest) for move in np.flatnonzero(options.legal)),
        )

    def _spelt(self, move: int, options: Choice, longest: int) -> tuple[Ids, ...]:
        plain = self.prompter.spellings(move, options)[0]
        scratch = self.prompter.scratch
        ways = [self.model.encode_reply(plain)]
        while scratch and len(ways[-1]) < longest:
            ways.append(self.model.encode_reply(scratch * len(ways) + plain))
        return tuple(
            self.model.whichever(w) for w in (*(way for way in ways if len(way) <= longest),) or ways[:1]
        )

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """The mixing over moves: the masses of legal replies, brought to sum one.

        Raises:
            ConfigError: it does not sample as it is scored.
        """
        self._check_scored()
        return [mass / mass.sum() for mass in self.masses(requests)]

    def check_learnable(self) -> None:
        """Refuse what self-play could not learn from, or would lose what it learned in.

        Raises:
            ConfigError: replies are constrained, narrowed, or drawn otherwise at some seat; or the weights
                that learn have 16 bits, and nobody said that they should.
        """
        self._check_scored()
        kinds = {str(weight.dtype).removeprefix("torch.") for weight in self.parameters()} & {
            "bfloat16",
            "float16",
        }
        if kinds and self.model.dtype == "auto":
            kind = min(kinds)
            raise ConfigError(
                f"{self.name}: the weights were saved in {kind}, in which steps of a learning rate of 1e-6 are lost: "
                f"dtype = 'float32' with autocast = 'bfloat16', or lora, or dtype = {kind!r} to have it so all the same"
            )

    def _check_spelt(self) -> None:
        """Refuse to add up the ways in which a stop string may be reached."""
        if self.manner.stops:
            raise ConfigError(
                f"{self.name} ends replies at {list(self.manner.stops)}, in more ways than can be added up: count its "
                "replies (nash_conv_sampled, or ludus exploit --samples), or let an end token end them"
            )

    def _check_scored(self) -> None:
        """Refuse manners whose replies have other probabilities than those that are scored."""
        manner = self.manner
        narrowed = manner.temperature == 0 or manner.top_p < 1 or manner.top_k > 0
        if manner.constrain or narrowed or manner.seats:
            raise ConfigError(
                f"{self.name} samples with constrain = {manner.constrain!r}, temperature = {manner.temperature}, "
                f"top_p = {manner.top_p}, top_k = {manner.top_k}, seats = {dict(manner.seats)}, and its probabilities "
                "are those of free replies at one temperature above 0: to learn or to measure, leave these out"
            )

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        """What the value head says (N,); zeros without one."""
        if self.model.value_head is None:
            return np.zeros(len(requests))
        with torch.no_grad():
            said = self.model.values([self.prompt(request) for request in requests])
        return np.asarray(said.double().cpu().numpy())

    def score(self, rows: Rows) -> Scores:
        """Score decisions under the present weights, with gradients; see `scored`.

        Raises:
            ValueError: there is no token to score.
        """
        return scored(self.model, rows)

    # --------------------------------------------------------------------------------- weights
    def parameters(self) -> list[Any]:
        """The weights that learn, in the order of the model."""
        return self.model.parameters()

    def state(self) -> dict[str, Any]:
        """Every weight by name, tied weights once; of an adapter, that alone."""
        return {name: weight.detach() for name, weight in self.model.weights().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Copy weights in.

        Raises:
            ValueError: names or shapes differ.
        """
        self.model.load(state)
        self._print = None
        self.desk.versions.pop(self.model.adapter, None)

    def frozen(self, name: str) -> LanguageModel:
        """A copy under another name that shares no memory and keeps this version."""
        other = copy.copy(self)
        other.model, other.name = self.model.twin(name), name
        engine = self.desk.engine
        if other.model.adapter:  # those of one model share its engine
            weakref.finalize(other, self.desk.gone.append, other.model.adapter).atexit = False
        else:
            instead = "" if isinstance(engine, TransformersEngine) else type(engine).__name__
            other.desk = Desk(TransformersEngine(other.model, at_once=self.rows_at_once), instead)
        other.forget()
        return other

    def greedy(self) -> LanguageModel:
        """The same policy, saying what is likeliest."""
        other = copy.copy(self)
        other.manner = dataclasses.replace(self.manner, temperature=0.0, seats={})
        other.forget(self._print)  # of the same weights, which may have moved on since
        return other

    def fingerprint(self) -> str:
        """A hash of weights and manner; of the weights it is worked out once for each version."""
        if self._print is None or self._print[0] != self.version:
            digest = hashlib.blake2b(self.model.base_print(), digest_size=8)
            for part in prints(self.state()):
                digest.update(part)
            self._print = (self.version, digest.hexdigest())
        return hashlib.blake2b((repr(self.manner) + self._print[1]).encode(), digest_size=8).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write the model in Hugging Face format, and its manner beside it."""
        self.model.save(folder)
        write_manner(folder, self.manner)
