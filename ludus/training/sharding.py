"""Weights in shards: a language model's blocks, held in parts by several processes while it learns.

While a policy plays, scores without learning, is measured or saved, its weights are whole in every
process. While it learns, each block is gathered when it is needed, and its weights, their gradients and
the optimiser's state are kept in parts (FSDP2). Embeddings, norms outside blocks and heads are in no
block, and stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from ludus.core.errors import ConfigError
from ludus.core.policy import Policy
from ludus.training.distributed import World
from ludus.training.settings import RunConfig


class Shards:
    """The blocks of one policy; in parts when made, and ready for optimisers to take its weights.

    Args:
        policy: a language model all of whose weights learn.

    Raises:
        ConfigError: it is none, or it learns by an adapter.
    """

    def __init__(self, policy: Any) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        from transformers.modeling_layers import GradientCheckpointingLayer

        model = getattr(getattr(policy, "model", None), "model", None)
        blocks: list[Any] = (
            [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
            if model
            else []
        )
        if not blocks or policy.model.adapter:
            raise ConfigError(
                f"distributed.shard: {policy.name} has no blocks that could be held in parts, or learns by an adapter, "
                "which is small: shard = false"
            )
        self.policy, self.blocks = policy, blocks
        mesh = init_device_mesh(policy.model.device.type, (torch.distributed.get_world_size(),))
        for block in blocks:
            fully_shard(block, mesh=mesh)
            block.set_gradient_divide_factor(1.0)  # parts of one sum, not means
            block.set_force_sum_reduction_for_comms(True)  # gloo knows no other

    def whole(self) -> None:
        """Gather all weights, and keep them."""
        for block in self.blocks:
            block.set_reshard_after_forward(False)
            block.unshard()
            for (
                part
            ) in block.modules():  # hooks of FSDP2 that would cut the weights when they are named or saved
                part._state_dict_pre_hooks.clear()  # noqa: SLF001

    @contextmanager
    def apart(self) -> Iterator[None]:
        """In parts for a while; every process scores and differentiates as often as the others."""
        for block in self.blocks:
            block.reshard()
            block.set_reshard_after_forward(True)
        try:
            yield
        finally:
            self.whole()

    def keep(self) -> None:
        """Take over what was written into the weights while they were whole."""
        full = {name: weight.detach().clone() for name, weight in self.policy.state().items()}
        with self.apart(), torch.no_grad():
            for name, weight in self.policy.state().items():
                if isinstance(weight, DTensor):
                    weight.copy_(distribute_tensor(full[name], weight.device_mesh, weight.placements))


def whole_of(value: Tensor) -> Tensor:
    """A tensor in one piece; all processes that hold a part of it ask at once."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def spread_state(optimiser: torch.optim.Optimizer) -> None:
    """Cut the state of weights that are held in parts as they are, after it was loaded whole."""
    for weight, held in optimiser.state.items():
        if isinstance(weight, DTensor):
            for key, value in held.items():
                if value.shape == weight.shape and not isinstance(value, DTensor):
                    held[key] = distribute_tensor(value, weight.device_mesh, weight.placements)


def cut(
    config: RunConfig, policies: Mapping[str, Policy], named: set[str], world: World
) -> dict[str, Shards]:
    """The policies that learn, cut into parts where the configuration asks for it and there are several processes.

    Args:
        config: of the run.
        policies: by name.
        named: everybody who is named in the run.
        world: the processes.

    Raises:
        ConfigError: a policy cannot be cut, or is copied after it was.
    """
    if not config.distributed.shard or world.size == 1:
        return {}
    late = sorted(name for name in named if name.endswith("@past"))
    late += [f"{one.policy}@{one.reference}" for one in config.learners if one.reference not in ("", "init")]
    if late:
        raise ConfigError(
            f"distributed.shard: {', '.join(late)} would be copied from parts: shard = false, or others"
        )
    learning = dict.fromkeys(one.policy for one in config.learners if one.policy in policies)
    return {name: Shards(policies[name]) for name in learning}
