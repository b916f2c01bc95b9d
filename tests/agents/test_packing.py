"""Prefix trees of sequences: what is shared, who looks at whom, and what it costs to find out."""

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ludus.agents.language.models import packing  # noqa: E402
from ludus.agents.language.models.packing import Layout, padded, tree  # noqa: E402


def trees(count=60):
    rng = np.random.default_rng(0)
    for _ in range(count):
        rows = [tuple(rng.integers(0, 3, rng.integers(1, 7)).tolist()) for _ in range(rng.integers(1, 9))]
        yield rows, tree(*padded(rows))


def test_every_beginning_is_in_the_stream_once():
    for rows, found in trees():
        known = {}
        for row, path in zip(rows, found.path, strict=True):
            for depth in range(len(row)):
                place = path[depth]
                assert (found.ids[place], found.depth[place]) == (row[depth], depth)
                assert known.setdefault(place, row[: depth + 1]) == row[: depth + 1]
        assert len(set(known.values())) == len(known) == len(found.ids)


@pytest.mark.parametrize("gathered", [0, 16, 1000], ids=["apart", "usual", "joined"])
def test_tokens_look_at_exactly_what_leads_to_them(monkeypatch, gathered):
    monkeypatch.setattr(packing, "GATHERED", gathered)
    for rows, found in trees():
        leads = {path[d]: set(path[: d + 1].tolist()) for path, r in zip(found.path, rows, strict=True) for d in range(len(r))}  # fmt: skip
        layout, seen = Layout(found, torch.device("cpu")), []
        for number, bucket in enumerate(layout.buckets):
            mask = layout.mask(number, None, torch.float32)
            for row, queries in enumerate(bucket.queries.tolist()):
                for column, query in enumerate(queries):
                    reach = (
                        bucket.keys[row][: column + 1]
                        if mask is None
                        else bucket.keys[row][mask[row, 0, column] == 0]
                    )
                    seen.append((query, set(reach.tolist())))
        for token, place in enumerate(layout.place.tolist()):
            assert seen[place] == (token, leads[token])


def test_a_beginning_is_shared_where_that_saves_more_than_a_mask_costs():
    rng = np.random.default_rng(0)
    short, long = (rng.integers(0, 300, size).tolist() for size in (20, 90))
    rows = [
        (*start, *rng.integers(0, 300, rest))
        for start, rest in ((short, 200), (short, 200), (long, 40), (long, 40))
    ]
    found, whole = tree(*padded(rows), 100), tree(*padded(rows))
    assert (len(whole.ids), len(found.ids)) == (20 + 400 + 90 + 80, 2 * 220 + 90 + 80)
    for row, path in zip(rows, found.path, strict=True):
        assert found.ids[path[: len(row)]].tolist() == list(row)
    assert len(tree(*padded([rows[0], rows[0]]), 1e-9).ids) == 220  # the same sequence twice is read once
    kinds = {bucket.plain for bucket in Layout(found, torch.device("cpu")).buckets}
    assert kinds == {True, False}


def test_equal_sequences_without_branches_need_no_mask():
    rows = np.random.default_rng(0).integers(0, 300, (6, 20)) + np.arange(6)[:, None] * 1000
    layout = Layout(tree(rows, np.ones_like(rows, bool)), torch.device("cpu"))
    assert [bucket.plain for bucket in layout.buckets] == [True]
    assert layout.sharing == 1.0


def test_a_thousand_sequences_are_laid_out_in_milliseconds():
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(0, 300, 100).tolist()) for _ in range(100)]
    rows = [(*prompts[i % 100], *rng.integers(0, 300, 10).tolist()) for i in range(1000)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        layout = Layout(tree(*padded(rows)), torch.device("cpu"))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1  # about 10 ms on a free core
    assert layout.sharing > 5
