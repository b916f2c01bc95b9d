"""Buffers: what is kept, what is drawn, and that what follows comes along."""

import dataclasses
from collections import Counter

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


def test_decisions_are_drawn_as_their_images(tmp_path):
    """By hand: a tic-tac-toe ledger whose decisions come back as all eight images of a board, moves and targets alike."""
    game, rng = ludus.make("tic_tac_toe"), np.random.default_rng(0)
    ledger = numbered(games(tmp_path, rows=1, name="tic_tac_toe"), 0)
    targets = rng.random(ledger.legal.shape).astype(np.float32)
    ledger = dataclasses.replace(ledger, policy_target=targets)
    sizes = {"capacity": 100, "draw": 4, "least": 1}
    buffer = make_buffer(Named("circular", {**sizes, "augment": True}), game.symmetries())
    buffer.add(ledger, everything(ledger), rng)
    boards = [np.rot90(board, turn) for board in (np.arange(9).reshape(3, 3),) for turn in range(4)]
    boards = [image.ravel() for board in boards for image in (board, board[:, ::-1])]
    found = Counter()
    for _ in range(100):
        drawn, image_of = buffer.drawn(rng, "main", 0), {}
        for row, place in enumerate(drawn.values.astype(int)):
            (image,) = [
                k for k, board in enumerate(boards)
                if (drawn.policy_target[row] == targets[place][board]).all()
            ]  # fmt: skip
            board = boards[image]
            planes = ledger.prompts[place].reshape(3, 9)[:, board].reshape(3, 3, 3)
            assert (drawn.prompts[row] == planes).all()
            assert (drawn.legal[row] == ledger.legal[place][board]).all()
            assert board[drawn.ids[row]] == ledger.ids[place]
            found[image] += drawn.weight[row] > 0
            image_of.setdefault(int(drawn.sequence[row]), image)
            assert image_of[int(drawn.sequence[row])] == image  # what follows comes with it
    assert len(found) == 8
    assert 20 < min(found.values()) <= max(found.values()) < 90  # of 400, each as likely


def test_images_want_symmetries():
    with pytest.raises(ConfigError, match="where one array game is learned that has symmetries"):
        make_buffer(Named("circular", {"capacity": 10, "draw": 10, "least": 1, "augment": True}))
    with pytest.raises(ConfigError, match="augment = 'no' is false, or true"):
        make_buffer(Named("circular", {"capacity": 10, "draw": 10, "least": 1, "augment": "no"}))


def test_what_is_read_as_prose_has_no_images(tmp_path):
    ledger, rng = games(tmp_path, name="tic_tac_toe"), np.random.default_rng(0)
    ledger = dataclasses.replace(ledger, prompts=np.zeros((len(ledger), 64), np.float32))
    settings = {"capacity": 100, "draw": 4, "least": 1, "augment": True}
    buffer = make_buffer(Named("circular", settings), ludus.make("tic_tac_toe").symmetries())
    with pytest.raises(
        ConfigError, match=r"features and moves, \(27, 9\), not \(64, 9\): a network that reads prose"
    ):
        buffer.add(ledger, everything(ledger), rng)
