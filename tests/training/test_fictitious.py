"""Neural fictitious self-play and R-NaD: short runs on Kuhn poker, measured exactly, and resumed to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from killed import killed

import ludus
from ludus.agents.q_network import QNetworkAgent, fresh_q_network
from ludus.config import load
from ludus.core.errors import ConfigError, UnknownName
from ludus.training.run import train

CONFIGS = Path(__file__).parents[2] / "configs"
KUHN = ludus.make("kuhn_poker")


def curve(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def short(config, root, *more):
    return load(CONFIGS / config, [f"root={root}", "tensorboard=false", *more])


# -------------------------------------------------------------------------------- Q-networks
def test_a_q_network_plays_the_best_move_and_now_and_then_any():
    agent = fresh_q_network(KUHN, exploration=(0.5, 0.1, 4), hidden=(8,))
    features, legal = np.zeros((2000, *agent.network.shape.features), np.uint8), np.ones((2000, 2), np.bool_)
    legal[1000:, 0] = False
    with torch.no_grad():
        worth = agent.network(torch.from_numpy(features[:1]))[0][0].numpy()
    drawn = agent.draw(features, legal, np.random.default_rng(0).random(2000))
    assert (drawn.moves[:1000] == worth.argmax()).mean() == pytest.approx(0.75, abs=0.05)
    assert set(np.exp(drawn.logprobs[:1000]).round(4)) == {0.75, 0.25}
    assert drawn.values[:1000] == pytest.approx(worth.max())
    assert (drawn.moves[1000:] == 1).all()
    assert drawn.values[1000:] == pytest.approx(worth[1])
    agent.version = 2
    assert agent.epsilon == pytest.approx(0.3)
    agent.version = 9
    assert agent.epsilon == pytest.approx(0.1)


def test_a_q_network_is_saved_and_copied(tmp_path):
    agent = fresh_q_network(KUHN, name="best", exploration=(0.5, 0.1, 4), hidden=(8,))
    agent.version = 3
    agent.save(tmp_path / "best")
    again = ludus.make_agent("q_network", path=tmp_path / "best")
    for twin in (again, agent.frozen("best")):
        assert isinstance(twin, QNetworkAgent)
        assert (twin.name, twin.version, twin.epsilon) == ("best", 3, agent.epsilon)
        assert twin.fingerprint() == agent.fingerprint()
    with pytest.raises(ConfigError, match=r"no saved network.*best"):
        ludus.make_agent("q_network", path=tmp_path / "other")
    with pytest.raises(ConfigError, match="falling"):
        fresh_q_network(KUHN, exploration=(0.1, 0.5, 4))


# ---------------------------------------------------------------------------------- learning
ALONE = """
[game]
name = "kuhn_poker"
[policies.best]
name = "q_network"
hidden = [32]
activation = "relu"
exploration = [0.2, 0.0, 100]
[lineup]
player_0 = "best"
player_1 = "uniform"
[collect]
by = "arrays"
whole = true
rows = 128
length = 3
[[learners]]
policy = "best"
preset = "dqn"
optimiser = { name = "adam", rate = 0.003 }
buffer = { name = "circular", capacity = 20000, draw = 512 }
minibatches = 4
reference_every = 5
[[phases]]
steps = 120
[evaluate]
every = 120
measures = ["return_exact"]
"""


def test_q_learning_finds_the_best_response(tmp_path):
    """Against uniform play, from both seats in turn: within .05 of what the best response earns, as `best_response` says."""
    path = tmp_path / "alone.toml"
    path.write_text(ALONE)
    earned = curve(
        train(load(path, [f"root={tmp_path}", "tensorboard=false"]), quiet=True),
        "eval/return_exact/uniform/best",
    )
    best = np.mean([ludus.best_response(KUHN, ludus.uniform(KUHN), f"player_{seat}")[0] for seat in (0, 1)])
    assert earned[0] < best - 0.2
    assert earned[120] == pytest.approx(best, abs=0.05)


FAST = (
    "learners.0.optimiser={name='adam', rate=0.003}", "learners.1.optimiser={name='adam', rate=0.003}",
    "learners.0.reference_every=5", "policies.best.hidden=[32]", "policies.average.hidden=[32]",
    "learners.0.buffer.capacity=20000", "learners.1.buffer.capacity=20000", "learners.1.buffer.least=50",
)  # fmt: skip


def test_the_average_of_best_responses_comes_closer_to_equilibrium(tmp_path):
    """20,000 decisions of the 1.5 million of the config, at higher rates: from .917 to under .55."""
    config = short("nfsp_kuhn.toml", tmp_path, "phases.0.steps=80", "evaluate.every=80", *FAST)
    points = curve(train(config, quiet=True), "eval/nash_conv/average")
    assert points[0] == pytest.approx(0.917, abs=0.02)
    assert points[80] < 0.55


def test_buffers_and_targets_are_resumed(tmp_path, monkeypatch):
    small = (
        "phases.0.steps=9",
        "checkpoint_every=3",
        "evaluate.every=0",
        "learners.0.reference_every=2",
        *FAST,
    )
    whole = train(short("nfsp_kuhn.toml", tmp_path, *small, "name=whole"), quiet=True)
    resumed = killed(short("nfsp_kuhn.toml", tmp_path, *small, "name=again"), monkeypatch, before=8)
    for kind, name in (("q_network", "best"), ("network", "average")):
        one, two = (ludus.make_agent(kind, path=folder / "policies" / name) for folder in (whole, resumed))
        assert one.version > 3
        assert one.fingerprint() == two.fingerprint()


SMALL = ("learners.0.optimiser={rate=0.01, schedule='constant'}",)


def test_regularised_dynamics_come_close_to_equilibrium(tmp_path):
    """Seventy thousand decisions, in its second iteration: from .917 to under .2."""
    config = short("rnad_kuhn.toml", tmp_path, "phases.0.steps=120", "evaluate.every=120", *SMALL)
    folder = train(config, quiet=True)
    points = curve(folder, "eval/nash_conv/main")
    assert points[0] == pytest.approx(0.917, abs=0.02)
    assert points[120] < 0.3
    assert curve(folder, "eval/nash_conv/main@magnet")[120] < 0.2


def test_regularisation_is_resumed(tmp_path, monkeypatch):
    small = (
        *SMALL,
        "phases.0.steps=8",
        "checkpoint_every=3",
        "evaluate.every=0",
        "learners.0.reference_every=2",
    )
    whole = train(short("rnad_kuhn.toml", tmp_path, *small, "name=whole"), quiet=True)
    resumed = killed(short("rnad_kuhn.toml", tmp_path, *small, "name=again"), monkeypatch, before=6)
    one, two = (ludus.make_agent("network", path=folder / "policies" / "main") for folder in (whole, resumed))
    assert one.fingerprint() == two.fingerprint()


def test_different_regularisations_and_missing_references_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="different regularisations"):
        train(
            short("rnad_kuhn.toml", tmp_path, "learners.0.objective.loss.regularisation=0.1", "name=a"),
            quiet=True,
        )
    with pytest.raises(ConfigError, match="needs a reference"):
        train(short("rnad_kuhn.toml", tmp_path, "learners.0.reference=''", "name=b"), quiet=True)
    with pytest.raises(ConfigError, match=r"collect\.whole = true"):
        train(short("rnad_kuhn.toml", tmp_path, "collect.whole=false", "name=c"), quiet=True)
    with pytest.raises(UnknownName, match="occupant"):
        train(short("nfsp_kuhn.toml", tmp_path, "learners.1.selector.of=['bset']", "name=d"), quiet=True)
