"""Between agents and engines: which engine a setting asks for, and whose reply is whose."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.agents.language.engines.continuous import TransformersEngine
from ludus.agents.language.engines.engine import Engine, Job, Sampled
from ludus.agents.language.models.causal import CausalModel
from ludus.core.agent import Request
from ludus.core.errors import UnknownName


class Desk:
    """What hands the jobs of several agents to the engine that they share, and each its replies.

    Args:
        engine: what samples.
        instead: of the engine that was asked for, where that has no room for these weights.

    Attributes:
        engine: what samples.
        versions: by adapter, the version of the weights that the engine has.
        gone: adapters that nobody has any more; the engine is told when it is next asked for something.
    """

    def __init__(self, engine: Engine, instead: str = "") -> None:
        self.engine, self._instead = engine, instead
        self.versions: dict[str, int] = {}
        self.gone: list[str] = []
        self._out: dict[int, tuple[int, Request, Job]] = {}  # by the job's identity: whose it is
        self._held: dict[tuple[int, str], set[int]] = {}  # by agent and episode: its jobs that are out
        self._ready: dict[int, list[tuple[Request, Job, Sampled]]] = {}  # by the agent's identity

    def ready(self, name: str) -> None:
        """Before jobs of an agent: forget adapters that are gone, and say once who samples in another's place."""
        while self.gone:
            adapter = self.gone.pop()
            self.versions.pop(adapter, None)
            self.engine.drop(adapter)
        if self._instead:
            warnings.warn(
                f"{name} is a copy of a whole model, for which {self._instead} has no room: it is sampled in this process, "
                "by transformers. Copies of adapters (lora) share the engine",
                stacklevel=2,
            )
            self._instead = ""

    def submit(self, agent: object, pairs: Sequence[tuple[Request, Job]]) -> None:
        """Take on an agent's jobs."""
        self.engine.submit([job for _, job in pairs])
        for request, job in pairs:
            self._out[id(job)] = id(agent), request, job
            self._held.setdefault((id(agent), request.key), set()).add(id(job))

    def poll(self, agent: object) -> list[tuple[Request, Job, Sampled]]:
        """An agent's replies that are ready."""
        for job, reply in self.engine.poll():
            if id(job) in self._out:  # else its episode was closed meanwhile
                owner, request, job = self._out.pop(id(job))
                self._held[owner, request.key].discard(id(job))
                self._ready.setdefault(owner, []).append((request, job, reply))
        return self._ready.pop(id(agent), [])

    def close(self, agent: object, keys: set[str]) -> None:
        """Drop an agent's jobs in finished episodes."""
        mine = set().union(*(self._held.pop((id(agent), key), set()) for key in keys))
        if mine:
            self.engine.close([self._out[place][2].session for place in mine])
        for place in mine:
            del self._out[place]
        left = [one for one in self._ready.pop(id(agent), []) if one[0].key not in keys]
        if left:
            self._ready[id(agent)] = left


def make_engine(spec: str | Mapping[str, Any] | Engine, model: CausalModel, at_once: int) -> Engine:
    """The engine that a setting asks for: one that is there, a name, or a table of name and options."""
    if not isinstance(spec, (str, Mapping)):
        return spec
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", "transformers")
    if name == "transformers":
        return TransformersEngine(model, at_once=at_once, **options)
    if name == "vllm":
        from ludus.agents.language.engines.vllm_engine import VLLMEngine

        return VLLMEngine(
            model.home, lora=model.lora, stops=model.stops, **{"max_num_seqs": at_once, **options}
        )
    if name == "server":
        from ludus.agents.language.engines.server import ServerEngine

        return ServerEngine(lora=model.lora, stops=model.stops, **options)
    raise UnknownName("engine", name, ("transformers", "vllm", "server"))
