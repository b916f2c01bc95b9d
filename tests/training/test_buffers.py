"""Buffers: what is kept, what is drawn, and that what follows comes along."""

import dataclasses

import numpy as np
import pytest

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError, UnknownName
from ludus.training.buffers import Buffer, make_buffer, reservoir
from ludus.training.choices import Named
from ludus.training.lineup import Cast
from ludus.training.whole import WholeCollector


def games(tmp_path, rows=4, seed=1, name="kuhn_poker"):
    game = ludus.make(name)
    policy = fresh(game, name="main", hidden=(8,))
    cast = Cast({"main": policy}, tmp_path, np.random.default_rng(0))
    ledger, _ = WholeCollector(game, rows=rows, length=9, seed=seed).collect(cast, {"player": "main"})
    return ledger


def numbered(ledger, start):
    """The value of every decision is its number."""
    return dataclasses.replace(ledger, values=start + np.arange(len(ledger), dtype=np.float64))


def everything(ledger):
    return np.ones(len(ledger), np.bool_)


def test_a_circular_buffer_holds_the_newest(tmp_path):
    rng, seen = np.random.default_rng(0), 0
    buffer = Buffer("circular", capacity=13, draw=13, least=5)
    for seed in range(5):
        ledger = numbered(games(tmp_path, seed=seed), seen)
        seen += len(ledger)
        buffer.add(ledger, everything(ledger), rng)
    drawn = buffer.drawn(rng, "main", 7)
    assert sorted(drawn.values[drawn.starts]) == list(range(seen - 13, seen))  # all, each once
    assert (len(buffer), buffer.seen) == (13, seen)
    assert drawn.policies == ("main",)
    assert set(drawn.version.tolist()) == {7}


@pytest.mark.parametrize("capacity", [1000, 150])
def test_a_decision_is_drawn_with_those_that_follow_it_in_its_seats_game(capacity, tmp_path):
    rng, ledger = np.random.default_rng(0), numbered(games(tmp_path, rows=32, name="tic_tac_toe"), 0)
    buffer = Buffer("circular", capacity=capacity, draw=100, least=1)
    buffer.add(ledger, everything(ledger), rng)
    drawn = buffer.drawn(rng, "main", 0)
    first = drawn.starts
    assert drawn.weight[first].sum() == drawn.weight.sum() == 100
    source = drawn.values.astype(int)
    assert source.min() >= len(ledger) - capacity
    for name in ("ids", "seat", "rewards", "legal", "prompts", "ended"):
        assert (getattr(drawn, name) == getattr(ledger, name)[source]).all()
    assert (np.diff(source)[np.diff(drawn.sequence) == 0] == 1).all()
    assert drawn.ended[np.r_[first[1:] - 1, len(drawn) - 1]].all()  # of whole games
    assert set(drawn.lengths) == {1, 2, 3, 4, 5}


def test_a_reservoir_keeps_every_decision_alike(tmp_path):
    """A hundred are offered to ten places, in unequal parts: each is there in a tenth of 600 tries."""
    kept = np.zeros(100)
    for seed in range(600):
        rng, places, seen = np.random.default_rng(seed), np.full(10, -1), 0
        for part in (3, 20, 1, 76):
            where = reservoir(seen, part, 10, rng)
            places[where[where >= 0]] = (seen + np.arange(part))[where >= 0]
            seen += part
        assert len(set(places)) == 10
        kept[places] += 1
    assert abs(kept / 600 - 0.1).max() < 0.05  # four deviations
    assert abs(kept[:10].mean() - kept[-10:].mean()) < 0.03 * 600
    ledger, rng = games(tmp_path), np.random.default_rng(0)
    buffer = Buffer("reservoir", capacity=10, draw=30, least=1)
    buffer.add(ledger, everything(ledger), rng)
    assert set(buffer.drawn(rng, "main", 0).lengths) == {1}


def test_nothing_is_drawn_before_there_is_enough_and_state_continues(tmp_path):
    rng, ledger = np.random.default_rng(0), games(tmp_path)
    buffer = Buffer("circular", capacity=40, draw=9, least=len(ledger) + 1)
    buffer.add(ledger, everything(ledger), rng)
    assert buffer.drawn(rng, "main", 0) is None
    buffer.add(ledger, everything(ledger), rng)
    other = Buffer("circular", capacity=40, draw=9, least=1)
    arrays, about = buffer.state()
    other.load({name: array.copy() for name, array in arrays.items()}, about)
    one, two = (b.drawn(np.random.default_rng(5), "main", 0) for b in (buffer, other))
    for name in ("ids", "prompts", "rewards", "sequence"):
        assert (getattr(one, name) == getattr(two, name)).all()


@pytest.mark.parametrize(
    ("choice", "kind"),
    [
        (Named("circle", {"capacity": 5, "draw": 2}), UnknownName),
        (Named("circular", {"capacity": 5, "draw": 2, "size": 3}), UnknownName),
        (Named("circular", {"capacity": 5}), ConfigError),
        (Named("circular", {"capacity": 5, "draw": 2, "least": 6}), ConfigError),
    ],
)
def test_impossible_buffers_are_refused(choice, kind):
    with pytest.raises(kind):
        make_buffer(choice)


def test_none_is_none():
    assert make_buffer(Named("none")) is None
