"""Several processes that train as one.

    torchrun --nproc-per-node 2 -m ludus train configs/lm_kuhn.toml
    accelerate launch --num_processes 8 -m ludus train configs/spiral_kuhn_qwen3_4b.toml

On CPUs that is `torchrun`: `accelerate launch --cpu` starts one process, however many it is asked for.

Every process plays its share of a step's matches, which are a function of seed and step, and all get all
episodes: the ledger is that of one process. Credit is worked out alike everywhere. Every process scores
and differentiates its share of the micro-batches, whose normalisers are those of the whole minibatch, the
gradients are added, and all take the same step. Only the first process writes files.

The launchers say in the environment who is who; torch reads that itself. Of `accelerate` the launcher
is enough: its `Accelerator` would divide gradients by the number of processes and draw batches of its
own, and both would have to be undone here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

T = TypeVar("T")
PATIENCE = timedelta(hours=4)  # the longest that one process waits for another: games may take their time


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together, seen from one of them; by default there is no other.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def here() -> World:
        """The processes that a launcher started, joined if they are not yet; without one, this alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return World()
        if not dist.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
                backend = "cpu:gloo,cuda:nccl"
            dist.init_process_group(backend, timeout=PATIENCE)
        return World(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of what all hold."""
        return list(items[self.rank :: self.size])

    def gathered(self, thing: T) -> list[T]:
        """What each process has, in their order."""
        if self.size == 1:
            return [thing]
        every: list[Any] = [None] * self.size
        dist.all_gather_object(every, thing)
        return every

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through, then all others: what it leaves in files they find."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def summed(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Numbers by name, added over all processes in their order, so that all come to the same."""
        total: dict[str, float] = {}
        for part in self.gathered(dict(numbers)):
            for name, number in part.items():
                total[name] = total.get(name, 0.0) + number
        return total


ALONE = World()


def add_gradients(weights: Sequence[Tensor], world: World) -> None:
    """Let the gradient of every weight be the sum of those of all processes.

    Weights that are sharded have added theirs already, when they were differentiated.
    """
    if world.size == 1:
        return
    whole = [weight for weight in weights if not isinstance(weight, DTensor)]
    have = world.gathered([weight.grad is not None for weight in whole])
    pending = []
    for weight, some in zip(whole, map(any, zip(*have, strict=True)), strict=True):
        if some:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            pending.append(dist.all_reduce(weight.grad, async_op=True))
    for work in pending:
        work.wait()


def clip_gradients(weights: Sequence[Tensor], most: float) -> float:
    """Scale gradients down to a norm of at most `most`; return the norm before that.

    Weights may be sharded; all processes come to the same.
    """
    if not any(isinstance(weight, DTensor) for weight in weights):
        return float(torch.nn.utils.clip_grad_norm_(weights, most))
    grads = [weight.grad for weight in weights if weight.grad is not None]
    parts = [grad.to_local() for grad in grads if isinstance(grad, DTensor)]
    squares = torch.stack([part.float().square().sum() for part in parts])
    total = squares.sum()
    dist.all_reduce(total)
    for grad in grads:
        if not isinstance(grad, DTensor):
            total = total + grad.float().square().sum()
    norm = total.sqrt()
    for grad in grads:
        grad.mul_((most / (norm + 1e-6)).clamp(max=1.0))
    return float(norm)
