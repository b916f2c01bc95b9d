"""What tells weights apart, without copying them from where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

SUMMED_AT_ONCE = 2**20  # numbers


def prints(weights: Mapping[str, Tensor]) -> Iterator[bytes]:
    """What tells weights apart, by name, to be hashed: each one's name, type, shape and a sum over its bits.

    Sums are worked out where the weights lie, in integers, so that they are the same on every device and billions
    of weights cost no copy.
    """
    most = min(SUMMED_AT_ONCE, max([1, *(weight.numel() for weight in weights.values())]))
    factors: dict[torch.device, Tensor] = {}
    for name, weight in sorted(weights.items()):
        if weight.device not in factors:
            factors[weight.device] = _odd(most, weight.device)
        total = _sum(weight.detach(), factors[weight.device])
        yield f"{name} {weight.dtype} {tuple(weight.shape)} {total}\n".encode()


def _odd(count: int, device: torch.device) -> Tensor:
    """So many odd numbers (count,) int32 without a pattern."""
    out = torch.arange(1, count + 1, device=device) * -0x61C8864680B583EB
    out ^= out >> 29
    out *= -0x40A7B892E31B1A47
    return (out >> 32).int() | 1


def _sum(weight: Tensor, factors: Tensor) -> int:
    """The bits of every number times its place's odd number, modulo 2^32, summed: no one of them can change unseen."""
    kind = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int32}[weight.element_size()]
    total = 0
    for bits in weight.contiguous().view(-1).view(kind).split(len(factors)):
        total = total * 0x9E3779B97F4A7C15 + int((bits * factors[: len(bits)]).sum())
    return total % 2**64
