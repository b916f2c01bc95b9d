"""Runs killed with SIGKILL, in processes of their own, and resumed."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from safetensors.numpy import load_file

from ludus.training.metrics import VOLATILE
from ludus.training.store import Store

NETWORK = """
name = "run"
checkpoint_every = 4
keep_episodes = 20
snapshot_every = 5
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [16, 16]
[lineup]
player_0 = "main"
player_1 = "main@past"
[collect]
by = "arrays"
rows = 32
length = 16
[[learners]]
policy = "main"
preset = "magnet"
[[phases]]
steps = 14
[evaluate]
every = 3
"""

LANGUAGE = """
name = "run"
checkpoint_every = 4
keep_episodes = 20
[game]
name = "kuhn_poker"
[policies.main]
name = "tiny_language"
model = { width = 32, layers = 1 }
lessons = { steps = 60, episodes = 60 }
[lineup]
player = "main"
[collect]
games = 32
[[learners]]
policy = "main"
preset = "magnet_lm"
[[phases]]
steps = 14
[evaluate]
every = 7
"""

#: The process kills itself, as nothing else can hit a checkpoint half written every time.
CHILD = """
import os, signal, sys
from ludus.config import load
from ludus.training import store
from ludus.training.metrics import Metrics
from ludus.training.run import Run, train
from ludus.training.store import Store

path, root, moment, resume = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(holder, name, when):
    inner = getattr(holder, name)
    def wrapped(*args, **kwargs):
        if when(*args, **kwargs):
            die()
        return inner(*args, **kwargs)
    setattr(holder, name, wrapped)

def half_a_line(self, step, line):
    if step == 9:
        with (self.store.folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 9, "half')
            file.flush()
        return True

def half_a_checkpoint(path, parts):
    if path.parent.name == ".step_00000008.aside" and path.stem == "cast":
        path.write_bytes(b"half")
        return True

moments = {
    "first steps": lambda: before(Run, "_collect", lambda self, step, lineup: step == 2),
    "collecting": lambda: before(Run, "_collect", lambda self, step, lineup: step == 7),
    "a line of metrics": lambda: before(Metrics, "write", half_a_line),
    "a checkpoint": lambda: before(store, "_save", half_a_checkpoint),
    "the end": lambda: before(Run, "_finish", lambda self: True),
    "never": lambda: None,
}
moments[moment]()
train(load(path, [f"root={root}"]), resume=resume == "resume", quiet=True)
"""


def start(tmp_path, config, moment, resume=""):
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    path = tmp_path / "run.toml"
    path.write_text(config)
    command = [
        sys.executable,
        str(tmp_path / "child.py"),
        str(path),
        str(tmp_path),
        moment,
        resume or "begin",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    fields = [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines]
    weights = {path.name: load_file(path) for path in Store(folder).find().glob("*.safetensors")}
    kept = {p: (folder / "episodes" / f"{p}.jsonl").read_text() for p in ("first", "last")}
    return fields, weights, kept


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("config", [NETWORK, LANGUAGE], ids=["network", "language"])
def test_killed_at_five_moments_it_resumes_to_the_same(config, tmp_path):
    whole = tmp_path / "undisturbed"
    whole.mkdir()
    done = start(whole, config, "never")
    assert done.returncode == 0, done.stderr
    fields, weights, kept = outcome(whole / "run")
    for moment in ("first steps", "collecting", "a line of metrics", "a checkpoint", "the end"):
        place = tmp_path / moment.replace(" ", "_")
        place.mkdir()
        killed = start(place, config, moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        resumed = start(place, config, "never", "resume")
        assert resumed.returncode == 0, resumed.stderr
        again, same, episodes = outcome(place / "run")
        assert again == fields, moment
        assert episodes == kept, moment
        assert same.keys() == weights.keys()
        for name, arrays in same.items():
            assert all(np.array_equal(array, weights[name][key]) for key, array in arrays.items()), (
                moment,
                name,
            )
