"""Keys and values of many sequences side by side, and of prefixes that may come again.

A *lane* holds what one sequence has been fed so far; the lanes in use are the first n. The *shelf*
keeps blocks of BLOCK tokens, each known by its tokens and by the block before it, so that a prompt
which begins as an earlier one did, or goes on from an earlier turn, is not read again.

Shape letters: n lanes in use, B lanes that are written, H heads, L tokens a lane has room for, D width
of a head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ludus.agents.language.engines.engine import Ids

BLOCK = 16  # tokens


class Lanes:
    """A cache as transformers' models expect it, whose rows are written where each one's next token goes.

    It grows with what it has to hold: lanes, and tokens of the longest.

    Args:
        device: where they are kept.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clear()

    def clear(self) -> None:
        """Give the memory back; nothing is held any more."""
        self.count = self.room = 0  # lanes, and tokens in each, that there is room for
        self.layers: list[tuple[Tensor, Tensor]] = []  # by layer: keys and values (count, H, L, D)
        self._first = self._last = self._reach = 0
        self._rows = self._at = torch.zeros(0, dtype=torch.int64, device=self.device)

    def begin(self, like: Sequence[Tensor]) -> None:
        """Have layers, if there are none yet: keys and values (..., H, ..., D) by turns."""
        if not self.layers:
            self.layers = [
                (self._blank(k, self.room), self._blank(v, self.room))
                for k, v in zip(like[::2], like[1::2], strict=True)
            ]

    def aim(self, first: int, at: NDArray[np.int64], reach: int) -> None:
        """Say where the next forward pass writes: lanes first, first + 1, ...

        Args:
            first: the first of B lanes.
            at: (B, T) places of its T tokens.
            reach: tokens that may be looked at.
        """
        self.make_room(max(reach, int(at.max()) + 1), first + len(at))
        self._first, self._last, self._reach = first, first + len(at), reach
        self._rows = torch.arange(first, first + len(at), device=self.device)[:, None]
        self._at = torch.as_tensor(at, device=self.device)

    def update(
        self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, H, T, D) of a layer; all of these lanes' so far (B, H, reach, D)."""
        while len(self.layers) <= layer:
            self.layers.append((self._blank(key, self.room), self._blank(value, self.room)))
        out = []
        for held, new in zip(self.layers[layer], (key, value), strict=True):
            if self._at.shape[1] == 1:
                held[self._rows[:, 0], :, self._at[:, 0]] = new[:, :, 0]
            else:
                held[self._rows, :, self._at] = new.transpose(1, 2)
            out.append(held[self._first : self._last, :, : self._reach])
        return out[0], out[1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Part of what transformers asks of a cache; positions are always given beside it."""
        return 0

    def copy(self, source: NDArray[np.int64], target: NDArray[np.int64], length: int) -> None:
        """Copy the first `length` tokens of some lanes into others, none of which is among the first."""
        if not len(source):
            return
        self.make_room(length, int(target.max()) + 1)
        a, b = (torch.as_tensor(x, device=self.device) for x in (source, target))
        for held in self.tensors():
            held[b, :, :length] = held[a, :, :length]

    def tensors(self) -> list[Tensor]:
        """Keys and values (count, H, L, D) of every layer."""
        return [held for pair in self.layers for held in pair]

    def _blank(self, like: Tensor, room: int) -> Tensor:
        return like.new_zeros(self.count, like.shape[1], room, like.shape[3])

    def make_room(self, tokens: int, lanes: int = 0) -> None:
        """Let so many lanes hold at least so many tokens."""
        if tokens <= self.room and lanes <= self.count:
            return
        self.room, self.count = _doubled(max(64, self.room), tokens), _doubled(max(8, self.count), lanes)
        self.layers = [(self._wider(k), self._wider(v)) for k, v in self.layers]

    def _wider(self, held: Tensor) -> Tensor:
        out = self._blank(held, self.room)
        out[: len(held), :, : held.shape[2]] = held
        return out


def _doubled(size: int, need: int) -> int:
    while size < need:
        size *= 2
    return size


class Found(NamedTuple):
    """What the shelf has of a prompt: how many tokens, in which blocks, and the logits if it has all of it."""

    tokens: int
    blocks: list[int]
    logits: Tensor | None


_Key = tuple[int, Ids]  # the serial number of the block before (-1: none), and the tokens of this one


class Shelf:
    """Blocks of keys and values, the least recently used of which are given up.

    Blocks have serial numbers that never come again, so what followed a block that was given up is not
    found behind another; it ages, and is given up in its turn.

    Args:
        room: bytes it may take.
        device: where it is kept.

    Attributes:
        fed: tokens of all prompts that were looked up.
        saved: tokens of them that did not have to be read again.
    """

    def __init__(self, room: int, device: torch.device) -> None:
        self.room, self.device = room, device
        self.fed = self.saved = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._pools: list[Tensor] = []  # by layer, keys then values: (blocks, H, BLOCK, D)
        self._index: OrderedDict[_Key, tuple[int, int]] = OrderedDict()  # place, serial number
        self._logits: dict[int, Tensor] = {}  # by the serial number of the block that ends a prompt
        self._free: list[int] = []
        self._serial = 0

    def find(self, ids: Ids) -> Found:
        """The longest known beginning of a prompt; at least its last token is left unless the logits are known."""
        blocks: list[int] = []
        before = -1
        for start in range(0, len(ids), BLOCK):
            key = (before, ids[start : start + BLOCK])
            if key not in self._index:
                break
            self._index.move_to_end(key)
            place, before = self._index[key]
            blocks.append(place)
        tokens = min(len(blocks) * BLOCK, len(ids))
        logits = self._logits.get(before) if tokens == len(ids) else None
        if tokens == len(ids) and logits is None:
            blocks, tokens = blocks[:-1], (len(blocks) - 1) * BLOCK
        self.fed += len(ids)
        self.saved += tokens
        return Found(tokens, blocks, logits)

    def fetch(self, lanes: Lanes, first: int, blocks: Sequence[Sequence[int]]) -> None:
        """Write blocks into lanes first, first + 1, ..., from the first token on."""
        width = max(map(len, blocks), default=0)
        if not width:
            return
        index = torch.as_tensor([[*row, *[0] * (width - len(row))] for row in blocks], device=self.device)
        lanes.make_room(width * BLOCK, first + len(blocks))
        lanes.begin(self._pools)
        for held, pool in zip(lanes.tensors(), self._pools, strict=True):
            found = pool[index].transpose(1, 2)  # (B, H, blocks, BLOCK, D)
            held[first : first + len(blocks), :, : width * BLOCK] = found.flatten(2, 3)

    def keep(self, lanes: Lanes, held: Sequence[tuple[int, Ids, Tensor | None]]) -> None:
        """Keep what lanes hold: (lane, its tokens, the logits after them or None) each.

        The last block is kept if it is full, or if the logits are given.
        """
        new: dict[int, tuple[int, int]] = {}  # place: lane, first token
        for lane, ids, logits in held:
            before = -1
            for start in range(0, len(ids), BLOCK):
                key = (before, ids[start : start + BLOCK])
                if len(key[1]) < BLOCK and logits is None:
                    break
                if key not in self._index:
                    place = self._place(lanes, new)
                    if place is None:
                        break
                    new[place] = lane, start
                    self._serial += 1
                    self._index[key] = place, self._serial
                before = self._index[key][1]
            else:
                if logits is not None:
                    self._logits[before] = logits
        self._write(lanes, new)

    def _write(self, lanes: Lanes, new: dict[int, tuple[int, int]]) -> None:
        if not new:
            return
        place = torch.as_tensor([*new], device=self.device)
        lane, start = torch.as_tensor([*new.values()], device=self.device).unbind(1)
        at = start[:, None] + torch.arange(BLOCK, device=self.device)
        lanes.make_room(max(first for _, first in new.values()) + BLOCK)
        for held, pool in zip(lanes.tensors(), self._pools, strict=True):
            pool[place] = held[lane[:, None], :, at].transpose(1, 2)

    def _place(self, lanes: Lanes, busy: dict[int, tuple[int, int]]) -> int | None:
        """A free block, or the one that was not used for longest; None where all are just being written."""
        if not self._free:
            self._more(lanes)
        if self._free:
            return self._free.pop()
        oldest, (place, serial) = next(iter(self._index.items()), (None, (-1, -1)))
        if oldest is None or place in busy:
            return None
        del self._index[oldest]
        self._logits.pop(serial, None)
        return place

    def _more(self, lanes: Lanes) -> None:
        """Twice as many blocks, as long as there is room."""
        size = sum(held[0, :, 0].numel() * held.element_size() for held in lanes.tensors()) * BLOCK
        have = len(self._pools[0]) if self._pools else 0
        want = min(max(64, 2 * have), self.room // size)
        if want <= have:
            return
        grown = []
        for i, held in enumerate(lanes.tensors()):
            pool = held.new_zeros(want, held.shape[1], BLOCK, held.shape[3])
            if have:
                pool[:have] = self._pools[i]
            grown.append(pool)
        self._pools = grown
        self._free = [*range(want - 1, have - 1, -1)]
