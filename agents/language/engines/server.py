"""A vLLM server as an engine: sampling on another machine, or beside the learner.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server \
        --model MODEL --logprobs-mode processed_logprobs \
        --worker-extension-cls ludus.agents.language.engines.vllm_worker.Refreshing --enable-lora --max-loras 4

The first variable and the last options are for adapters, the second variable and the extension for
whole models; the CPU build also needs `--no-enable-chunked-prefill`. Weights travel as files, in a
folder that both sides see. The server reads prompts as token ids and says which it sampled: one that
does not is refused, since nothing is tokenised twice.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from ludus.agents.language.client import Client, Limits, Nonsense, counted, first, part
from ludus.agents.language.endpoint import sampled
from ludus.agents.language.engines.branching import Reply
from ludus.agents.language.engines.engine import Ids, Job, Sampled
from ludus.agents.language.engines.handover import write_adapter, write_model
from ludus.agents.language.keys import bare, secrets_of
from ludus.agents.language.remote import NO_KEY, found_key
from ludus.core.errors import ConfigError, CrewError, EngineGone, MissingExtra, UnknownName

try:
    import openai
except ImportError as absent:
    raise MissingExtra("a vLLM server", "llm") from absent

PATIENCE: dict[str, Any] = {"concurrency": 256, "timeout": 3600.0, "deadline": 7200.0}
SERVE = "python -m vllm.entrypoints.openai.api_server"
FOR_ADAPTERS = (
    f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 {SERVE} ... --enable-lora --max-loras 4 --max-lora-rank 16"
)
FOR_MODELS = f"VLLM_SERVER_DEV_MODE=1 {SERVE} ... --worker-extension-cls ludus.agents.language.engines.vllm_worker.Refreshing"


class _Drawn(NamedTuple):
    """What the server sampled."""

    ids: Ids
    logprobs: tuple[float, ...]
    stopped: bool
    tokens_in: int
    tokens_out: int
    saved: int


class _Served(NamedTuple):
    """A model that the server offers, and its context; 0 where the server does not say."""

    model: str
    context: int
    tokens_in: int = 0
    tokens_out: int = 0


class ServerEngine:
    """An `Engine` behind the completions interface of a vLLM server.

    Args:
        base_url: of the server, as in "http://localhost:8000/v1".
        model: as the server names it; by default the first that it offers.
        lora: fields of peft's `LoraConfig` that adapters are made with, or nothing where there are none.
        stops: tokens that end a reply, beside those that the server knows of.
        shared: a folder that the server sees under the same path, for weights on their way; by default
            one for temporary files on this machine.
        key_variable: the environment variable that holds the server's key, if it wants one.
        settings: of `Limits`; long replies and new weights are waited for, by default an hour.

    Attributes:
        context: how many tokens prompt and reply may have together.
        saved: tokens of prompts that the server says it did not read (`--enable-prompt-tokens-details`).

    Raises:
        CrewError: nobody answers.
        UnknownName: the server does not offer the model.
        ConfigError: the server's answers are not exact: no token ids, or log-probabilities of another
            distribution.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        *,
        lora: Mapping[str, Any] | None = None,
        stops: Iterable[int] = (),
        shared: str | Path | None = None,
        key_variable: str = "",
        **settings: Any,
    ) -> None:
        limits = Limits(**{**PATIENCE, **settings})
        key = found_key(None, key_variable, needed=False)
        http = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
        secrets = [*secrets_of(base_url), *([key] if key and key != NO_KEY else [])]
        self.address, self.lora, self.stops = bare(base_url), dict(lora or {}), sorted(stops)
        self.client = Client(self.address, openai, http, limits, secrets=secrets)
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._folder = Path(tempfile.mkdtemp(prefix="ludus-weights-", dir=shared))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._pool = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="server")
        self._out: dict[Future[Sampled], Job] = {}
        self._named: dict[str, str] = {}  # by adapter: what the server calls its present version
        self._serial = self.saved = 0
        self._lock = threading.Lock()
        try:
            self.model, self.context = self._serving(model)
            self._probe()
        except BaseException:
            self.stop()
            raise

    def _serving(self, model: str) -> tuple[str, int]:
        def read(answer: dict[str, Any]) -> _Served:
            offered = {part(one, "id", str): one for one in part(answer, "data", list)}
            if model and model not in offered:
                raise UnknownName(f"model of {self.address}", model, offered)
            name = model or part(first(answer, "data"), "id", str)
            length = offered[name].get("max_model_len")
            return _Served(name, length if isinstance(length, int) else 0)

        served = self.client.ask("", "/models", None, read)
        return served.model, served.context or 2**31

    def _probe(self) -> None:
        """See that log-probabilities are those of what is drawn from: one token alone has probability one."""
        alone = {**self._body((1,), 1, ""), "temperature": 1.0, "allowed_token_ids": [1]}
        drawn = self._draw(alone, (1,))
        if drawn.ids != (1,) or abs(drawn.logprobs[0]) > 1e-3:
            raise ConfigError(
                f"{self.address}: log-probabilities are not those of the distribution that is drawn from: "
                "start the server with --logprobs-mode processed_logprobs"
            )

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that jobs may ask for."""
        return tuple(name for name in self._named if name)

    @property
    def fed(self) -> int:
        """Tokens of all prompts so far."""
        return self.client.cost().tokens_in

    # ------------------------------------------------------------------------------- sampling
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on; see `Engine`.

        Raises:
            ConfigError: a prompt does not fit the context.
            UnknownName: there is no such adapter.
        """
        for job in jobs:
            if len(job.ids) >= self.context:
                raise ConfigError(
                    f"a prompt of {len(job.ids)} tokens leaves no room in a context of {self.context}: "
                    "let the model see less (memory = 'turn' or 'window'), or start the server with --max-model-len"
                )
            if job.adapter and job.adapter not in self._named:
                raise UnknownName(f"adapter at {self.address}", job.adapter, self.adapters)
        self.client.begin()
        for job in jobs:
            self._out[self._pool.submit(self._reply, job)] = job

    def poll(self) -> list[tuple[Job, Sampled]]:
        """Replies that have come.

        Raises:
            EngineGone: the server could not answer within the limits; whatever was out is dropped.
        """
        ready = [future for future in self._out if future.done()]
        try:
            return [(self._out.pop(future), future.result()) for future in ready]
        except (EngineGone, ConfigError):
            self._drop(list(self._out))
            raise

    def sample(self, jobs: Sequence[Job]) -> list[Sampled]:
        """One reply for each job, in order."""
        if len({id(job) for job in jobs}) < len(jobs):
            raise ValueError(f"the same job twice among {len(jobs)}: a job is drawn once")
        self.submit(jobs)
        futures = {id(job): future for future, job in self._out.items()}
        mine = [futures[id(job)] for job in jobs]
        try:
            replies = [future.result() for future in mine]
        except (EngineGone, ConfigError):
            self._drop(list(self._out))
            raise
        for future in mine:
            self._out.pop(future, None)
        return replies

    def close(self, sessions: Sequence[str]) -> None:
        """Drop the jobs of sessions; the server keeps nothing for them."""
        gone = set(sessions)
        self._drop([future for future, job in self._out.items() if job.session in gone])

    def _drop(self, futures: Sequence[Future[Sampled]]) -> None:
        for future in futures:
            future.cancel()
            self._out.pop(future, None)

    # ---------------------------------------------------------------------------- on a thread
    def _reply(self, job: Job) -> Sampled:
        reply = Reply(job, min(job.sampling.max_new_tokens, self.context - len(job.ids)))
        try:
            if job.allowed is None:
                return self._free(reply)
            while (fork := reply.fork()) is not None:
                body = {**self._body(reply.fed, 1, job.adapter), **_drawing(job), "allowed_token_ids": fork}
                drawn = self._draw(body, reply.fed)
                reply.ids += drawn.ids
                reply.logprobs += drawn.logprobs if job.sampling.temperature else [0.0]
            return reply.done()
        except CrewError as fault:
            raise EngineGone(f"{fault}. Resume the run when the server answers again") from None

    def _free(self, reply: Reply) -> Sampled:
        job = reply.job
        endless = job.sampling.ignore_end
        ends = {"stop_token_ids": [] if endless else self.stops, "ignore_eos": endless}
        body = {**self._body(job.ids, reply.limit, job.adapter), **_drawing(job), **ends}
        if job.sampling.stop:
            body["stop"] = list(job.sampling.stop)
        drawn = self._draw(body, job.ids)
        logprobs = np.array(drawn.logprobs, np.float32)
        if not job.sampling.temperature:
            logprobs = np.zeros_like(logprobs)  # one token has all the probability
        return Sampled(drawn.ids, logprobs, "stop" if drawn.stopped else "length")

    def _body(self, prompt: Ids, limit: int, adapter: str) -> dict[str, Any]:
        return {
            "model": self._named.get(adapter, self.model), "prompt": list(prompt), "max_tokens": limit,
            "logprobs": 0, "return_token_ids": True, "skip_special_tokens": False,
        }  # fmt: skip

    def _draw(self, body: dict[str, Any], prompt: Ids) -> _Drawn:
        drawn = self.client.ask("", "/completions", body, lambda answer: self._read(answer, prompt))
        with self._lock:
            self.saved += drawn.saved
        return drawn

    def _read(self, answer: dict[str, Any], prompt: Ids) -> _Drawn:
        choice = first(answer, "choices")
        fed, ids, logprobs = sampled(answer, choice)
        if ids is None or logprobs is None:
            raise ConfigError(
                f"{self.address} answers without token ids and log-probabilities, and nothing is tokenised again: "
                "start vLLM's server, or only play through the agent 'openai'"
            )
        if fed is not None and fed != prompt:
            raise ConfigError(f"{self.address} fed the model other tokens than it was sent: {fed[:8]}...")
        finish = part(choice, "finish_reason", str)
        if not ids or finish not in ("stop", "length"):
            raise Nonsense(f"the server answered {len(ids)} tokens, ended by {finish!r}")
        cost = counted(answer, "prompt_tokens", "completion_tokens")
        return _Drawn(ids, logprobs, finish == "stop", *cost, _cached(answer))

    # -------------------------------------------------------------------------------- weights
    def update(self, weights: Mapping[str, Any], version: int, adapter: str = "") -> None:
        """Have the server sample under these weights from now on; see `Engine`.

        Raises:
            RuntimeError: replies are under way, half of which would be another model's.
            ConfigError: the server was not started for this, or cannot read the weights.
        """
        if any(adapter in ("", job.adapter) for job in self._out.values()):
            raise RuntimeError("weights cannot change while replies are under way")
        if adapter:
            self._adapt(weights, version, adapter)
            if "" not in self._named:
                # A CPU build computes rows without an adapter as if they had the last one, so they get an
                # adapter that changes nothing.
                self._adapt({name: weight * 0 for name, weight in weights.items()}, 0, "")
            return
        folder = self._place("model", version)
        write_model(folder, weights)
        rpc = {"method": "ludus_refresh", "kwargs": {"path": str(folder)}}
        self._order(f"{self._root}/collective_rpc", rpc, FOR_MODELS)
        self._order(f"{self._root}/reset_prefix_cache", {}, FOR_MODELS)
        shutil.rmtree(folder)

    def _adapt(self, weights: Mapping[str, Any], version: int, adapter: str) -> None:
        folder = self._place(adapter or "none", version)
        write_adapter(folder, weights, self.lora)
        self._order("/load_lora_adapter", {"lora_name": folder.name, "lora_path": str(folder)}, FOR_ADAPTERS)
        before = self._named.get(adapter)
        self._named[adapter] = folder.name
        self._remove(before)

    def drop(self, adapter: str) -> None:
        """Have the server forget an adapter; see `Engine`."""
        self._remove(self._named.pop(adapter, None))

    def _remove(self, before: str | None) -> None:
        if before is not None:
            self._order("/unload_lora_adapter", {"lora_name": before}, FOR_ADAPTERS)
            shutil.rmtree(self._folder / before)

    def _place(self, name: str, version: int) -> Path:
        self._serial += 1
        return self._folder / f"{name}-{version}-{self._serial}".replace("/", "_")

    def _order(self, path: str, body: dict[str, Any], command: str) -> None:
        try:
            self.client.tell(path, body)
        except CrewError as fault:
            raise ConfigError(
                f"{fault}. The server takes no weights: start it with {command}, and see that it can read "
                f"{self._folder} (shared = a folder of both sides)"
            ) from None

    # ------------------------------------------------------------------------------- the end
    def stop(self) -> None:
        """Give up what is out, close every connection, and remove the files; safe to call twice."""
        self.client.stop()
        self._pool.shutdown(cancel_futures=True)
        wait(list(self._out))
        self._out.clear()
        self._tidy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _cached(answer: dict[str, Any]) -> int:
    """Tokens of the prompt that the server says it did not read; 0 where it says nothing of the kind."""
    held: Any = answer
    for name in ("usage", "prompt_tokens_details", "cached_tokens"):
        held = held.get(name) if isinstance(held, dict) else None
    return held if isinstance(held, int) else 0


def _drawing(job: Job) -> dict[str, Any]:
    """How a job's reply is drawn, in the server's words."""
    sampling = job.sampling
    words = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": int(job.rng.integers(2**31)),
    }
    return {**words, "top_k": sampling.top_k} if sampling.top_k else words
