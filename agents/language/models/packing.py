"""Many sequences as one stream of distinct tokens: a prefix tree without padding.

Sequences are sorted, and each adds only the suffix that none before it has; equal prompts, equal replies
and conversations that go on from each other are computed once. A token's position is its depth in the
tree. Attention alone still knows rows: the stream is cut into *segments*, each of which looks at its own
tokens and at what leads to its first one, and segments of similar size are computed together.

In this order (depth first) a token j leads to a token i exactly if j <= i < end[j], which is the whole
attention mask.

Shape letters: N sequences, L tokens of the longest, S tokens of the stream, B segments of a bucket,
Q and K their queries and keys, H heads, D width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward, use_gqa_in_sdpa
from transformers.masking_utils import sdpa_mask

ATTENTION = "ludus_packed"  # its name among transformers' attention implementations
GATHERED = 16  # looking a key up costs about as much as this many pairs of query and key
CALLED = 50_000  # and a call of its own as much as so many pairs

Index = NDArray[np.int64]


class Tree(NamedTuple):
    """Sequences as a prefix tree, its tokens in depth-first order.

    Attributes:
        ids, depth: (S,) tokens and their positions.
        end: (S,) one past the last token that each leads to.
        path: (N, L) where in the stream each token of each sequence is; -1 at padding.
        starts, firsts, rows: (R,) of each run of new tokens: where it begins in the stream, at which
            depth, and a sequence that it is part of.
    """

    ids: Index
    depth: Index
    end: Index
    path: Index
    starts: Index
    firsts: Index
    rows: Index


def padded(rows: Sequence[Sequence[int]]) -> tuple[Index, NDArray[np.bool_]]:
    """Rows side by side (N, L), zero at padding, and where they are."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return ids, mask


def sort(ids: Index, mask: NDArray[np.bool_]) -> Index:
    """The order (N,) of rows (N, L) in which equal beginnings are neighbours."""
    keys = np.ascontiguousarray((ids + mask).astype(">u4"))  # big-endian: bytes compare as numbers do
    return np.argsort(keys.view(f"S{4 * keys.shape[1]}")[:, 0], kind="stable")


def tree(ids: Index, mask: NDArray[np.bool_], worth: float = math.inf) -> Tree:
    """The prefix tree of sequences (N, L), in any order.

    Args:
        ids: the sequences.
        mask: where they are.
        worth: a beginning is shared if its length times this exceeds the square of what follows it, for what
            follows then needs a mask, and attention without one is faster. By default all are.

    Example:
        >>> found = tree(*padded([(5, 6), (5, 7, 8), (5, 6)]))
        >>> found.ids.tolist(), found.depth.tolist(), found.end.tolist()
        ([5, 6, 7, 8], [0, 1, 1, 2], [4, 2, 4, 4])
        >>> found.path.tolist()
        [[0, 1, -1], [0, 2, 3], [0, 1, -1]]
    """
    order = sort(ids, mask)
    ids, mask = ids[order], mask[order]
    count, width = ids.shape
    same = (ids[1:] == ids[:-1]) & mask[1:] & mask[:-1]
    shared = np.zeros(count, np.int64)  # how many tokens each row has in common with the one before
    shared[1:] = np.where(same.all(1), width, same.argmin(1))
    lengths = mask.sum(1)
    shared[shared <= np.square(lengths - shared, dtype=np.float64) / worth] = 0
    fresh = lengths - shared
    starts = np.cumsum(fresh) - fresh
    columns = np.arange(width)
    new = mask & (columns >= shared[:, None])
    owner = np.maximum.accumulate(np.where(columns >= shared[:, None], np.arange(count)[:, None], 0), axis=0)
    path = np.where(mask, starts[owner] + columns - shared[owner], -1)
    # A token leads to all that follows, up to the next row that has another one in its place.
    total = int(fresh.sum())
    parts = np.where(columns >= shared[:, None], starts[:, None], total)[1:]
    end = np.full((count, width), total)
    end[:-1] = np.minimum.accumulate(parts[::-1], axis=0)[::-1]
    runs = np.flatnonzero(fresh)
    back = np.empty_like(path)
    back[order] = path
    return Tree(
        ids=ids[new], depth=np.broadcast_to(columns, ids.shape)[new], end=end[new], path=back,
        starts=starts[runs], firsts=shared[runs], rows=order[runs],
    )  # fmt: skip


class _Cut(NamedTuple):
    """Segments (B,): first token, tokens, depth of the first, a sequence it is part of; `plain`: one run."""

    start: Index
    size: Index
    depth: Index
    row: Index
    plain: NDArray[np.bool_]


def _segments(found: Tree) -> _Cut:
    """Join runs where one look at what leads to them is cheaper than several."""
    sizes = np.diff(np.append(found.starts, len(found.ids)))
    segments: list[list[int]] = []  # first run, tokens, depth, runs
    for run, (size, depth) in enumerate(zip(sizes.tolist(), found.firsts.tolist(), strict=True)):
        if segments and depth:
            last = segments[-1]
            alone = size * (depth + size) + GATHERED * (depth + size)
            joint = (last[1] + size) * (last[2] + last[1] + size) - last[1] * (last[2] + last[1])
            if joint + GATHERED * size <= alone:
                last[1], last[3] = last[1] + size, last[3] + 1
                continue
        segments.append([run, size, depth, 1])
    table = np.array(segments, np.int64)
    runs = table[:, 0]
    return _Cut(found.starts[runs], table[:, 1], table[:, 2], found.rows[runs], table[:, 3] == 1)


def _buckets(cut: _Cut) -> list[Index]:
    """Segments of similar size, so that padding costs less than another call would."""
    keys = cut.size + cut.depth
    order = np.lexsort((keys, cut.size * keys))
    found: list[list[int]] = []
    most = (0, 0)
    real = 0
    sizes = zip(order.tolist(), cut.size[order].tolist(), keys[order].tolist(), strict=True)
    for segment, q, k in sizes:
        wide = (max(most[0], q), max(most[1], k))
        area = q * k + GATHERED * k
        if found:
            grown = (len(found[-1]) + 1) * (wide[0] * wide[1] + GATHERED * wide[1])
            if grown <= 1.1 * (real + area) + CALLED:
                found[-1].append(segment)
                most, real = wide, real + area
                continue
        found.append([segment])
        most, real = (q, k), area
    return [np.array(bucket) for bucket in found]


@dataclass(slots=True, eq=False)
class Bucket:
    """Segments whose attention is computed in one call.

    Attributes:
        queries, keys: (B, Q) and (B, K) places in the stream.
        begins: where all of them are one piece of the stream, and keys are the queries: its first place.
        valid: (B, K) where keys are, and not padding.
        plain: they are whole sequences from their first token on, so that no mask is needed.
    """

    queries: Tensor
    keys: Tensor
    valid: Tensor
    plain: bool
    begins: int | None

    def gather(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its rows (B, Q or K, ...) of tensors (S, ...)."""
        if self.begins is not None:
            piece = slice(self.begins, self.begins + self.queries.numel())
            q, k, v = (x[piece].unflatten(0, self.queries.shape) for x in (query, key, value))
            return q, k, v
        # embedding: its gradient is summed in a fixed order, and faster than that of indexing
        return embedding(self.queries, query), embedding(self.keys, key), embedding(self.keys, value)


class Layout:
    """How attention reads a stream; handed through a model's forward pass to every layer.

    Args:
        found: the sequences.
        device: where attention is computed.

    Attributes:
        calls: how many layers have asked.
        sharing: tokens of all sequences, by those of the stream.
    """

    def __init__(self, found: Tree, device: torch.device) -> None:
        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.calls = 0
        self.sharing = float((found.path >= 0).sum() / len(found.ids))
        self.longest = int(found.depth.max()) + 1
        self.depth, self.end = tensor(found.depth), tensor(found.end)
        self.buckets: list[Bucket] = []
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor | None] = {}
        cut, place, before = _segments(found), np.empty(len(found.ids), np.int64), 0
        for segments in _buckets(cut):
            start, size, depth = (column[segments, None] for column in cut[:3])
            columns = np.arange(size.max())
            queries = start + np.where(columns < size, columns, 0)
            rows, ranks = np.nonzero(columns < size)
            place[queries[rows, ranks]] = before + rows * len(columns) + ranks
            before += queries.size
            columns = np.arange((size + depth).max())
            ahead = found.path[cut.row[segments, None], np.minimum(columns, found.path.shape[1] - 1)]
            keys = np.where(columns < depth, ahead, start + columns - depth)
            valid = columns < depth + size
            plain = bool((depth == 0).all() and cut.plain[segments].all())
            keys = np.where(valid, keys, keys[:, :1])
            piece = (
                keys.shape == queries.shape
                and (keys == queries).all()
                and (np.diff(queries.ravel()) == 1).all()
            )
            begins = int(queries[0, 0]) if piece else None
            self.buckets.append(Bucket(tensor(queries), tensor(keys), tensor(valid), plain, begins))
        self.ordered = before == len(place) and bool((np.diff(place) == 1).all())
        self.place = tensor(place)

    def mask(self, number: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores of a bucket (B, 1, Q, K): 0 or -inf; None where order alone decides."""
        mark = number, window, dtype
        if mark not in self._masks:
            self._masks[mark] = self._mask(self.buckets[number], window, dtype)
        return self._masks[mark]

    def _mask(self, bucket: Bucket, window: int | None, dtype: torch.dtype) -> Tensor | None:
        near = self.longest if window is None else window
        if bucket.plain and near >= self.longest:
            return None
        i, j = bucket.queries[:, :, None], bucket.keys[:, None, :]
        seen = (j <= i) & (i < self.end[bucket.keys][:, None, :]) & bucket.valid[:, None, :]
        if near < self.longest:
            seen &= self.depth[bucket.queries][:, :, None] - self.depth[bucket.keys][:, None, :] < near
        out = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return out.masked_fill_(~seen, -math.inf)[:, None]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers' models call it: over a layout if they are given one, else as usual.

    Args:
        module: the layer's attention.
        query: (1, H, S, D).
        key: (1, H', S, D), H' dividing H.
        value: like `key`.
        attention_mask: read only without a layout.
        scaling: of the scores; by default 1 / sqrt(D).
        sliding_window: how far a token looks back, itself included.
        layout: of the stream.
        settings: of the layer; a soft cap on scores or sinks are refused with a layout.

    Returns:
        (1, S, H, D), and no attention weights.
    """
    if layout is None:
        if _one_token(query, key, attention_mask, settings):
            return _folded(query, key, value, attention_mask, scaling), None
        if sliding_window is not None:
            settings["sliding_window"] = sliding_window
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **settings)
    strange = [name for name in ("softcap", "s_aux", "position_bias") if settings.get(name) is not None]
    if strange:
        raise NotImplementedError(f"attention with {', '.join(strange)}")
    layout.calls += 1
    heads, shape = query.shape[1], (*value.shape[1:2], value.shape[3])
    flat = [x[0].transpose(0, 1).flatten(1) for x in (query, key, value)]
    out = []
    for number, bucket in enumerate(layout.buckets):
        q, k, v = (
            x.unflatten(2, (-1, part.shape[3])).transpose(1, 2)
            for x, part in zip(bucket.gather(*flat), (query, key, value), strict=True)
        )
        mask = layout.mask(number, sliding_window, query.dtype)
        if mask is None:
            k, v = k[:, :, : q.shape[2]], v[:, :, : q.shape[2]]
        grouped = heads != shape[0]
        if grouped and q.is_cuda and not use_gqa_in_sdpa(mask, k, v):  # else CUDA takes its slowest kernel
            k, v = (repeat_kv(x, heads // shape[0]) for x in (k, v))
            grouped = False
        seen = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
        out.append(seen.transpose(1, 2).reshape(-1, heads * shape[1]))
    together = torch.cat(out) if len(out) > 1 else out[0]
    if not layout.ordered:
        together = embedding(layout.place, together)
    return together.view(1, -1, heads, shape[1]), None


def _one_token(query: Tensor, key: Tensor, mask: Tensor | None, settings: dict[str, Any]) -> bool:
    """Whether heads that share keys can be put side by side in place of repeating the keys."""
    plain = not any(settings.get(name) for name in ("dropout", "softcap", "s_aux", "position_bias", "cache"))
    shares = query.shape[1] != key.shape[1] and query.shape[2] == 1
    return plain and shares and mask is not None and mask.dtype == torch.bool and mask.dim() == 4


def _folded(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """Attention of one token a row, the H / H' heads of one key as so many queries: (B, 1, H, D)."""
    queries = query.view(len(query), key.shape[1], -1, query.shape[3])
    seen = scaled_dot_product_attention(queries, key, value, attn_mask=mask, scale=scaling)
    return seen.reshape(len(query), 1, query.shape[1], -1)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
