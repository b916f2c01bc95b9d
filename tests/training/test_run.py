"""Runs: what a folder holds, and that a run that was killed goes on as if it had not been."""

import contextlib
import json
import os
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

import ludus
from ludus.config import load
from ludus.core.errors import ConfigError, TrainingError
from ludus.training import run as run_module
from ludus.training.claims import outlook, stopped
from ludus.training.configuration import stored
from ludus.training.learner import Learner
from ludus.training.metrics import VOLATILE, Metrics
from ludus.training.run import Run, train
from ludus.training.store import Store

ARRAYS = """
name = "run"
checkpoint_every = 4
snapshot_every = 3
keep_episodes = 6
tensorboard = false
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [8]
[lineup]
player_0 = "main"
player_1 = "main@past"
[collect]
by = "arrays"
rows = 8
length = 6
[[learners]]
policy = "main"
preset = "magnet"
[[phases]]
steps = 10
[evaluate]
every = 5
"""

PLAY = """
name = "run"
checkpoint_every = 4
keep_episodes = 6
tensorboard = false
cycles = 2
[game]
name = "kuhn_poker"
[policies.first]
name = "network"
hidden = [8]
[policies.second]
name = "network"
hidden = [8]
[lineup]
player_0 = "first"
player_1 = "second"
[collect]
games = 12
samples = 3
[[learners]]
policy = "first"
preset = "ppo"
epochs = 1
minibatches = 1
[[learners]]
policy = "second"
estimator = { name = "role_baseline", decay = 0.9 }
[[phases]]
steps = 3
learners = ["first"]
[phases.lineup]
player_0 = "first"
player_1 = "second@phase_start"
[[phases]]
steps = 2
learners = ["second"]
"""

KINDS = {"arrays": ARRAYS, "play": PLAY}


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


def config_of(kind, root, *overrides):
    path = root / f"{kind}.toml"
    path.write_text(KINDS[kind])
    return load(path, [f"root={root}", *overrides])


def lines(folder):
    """The metrics without times and rates."""
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in read]


def final(folder):
    place = Store(folder).find()
    return {path.name: load_file(path) for path in place.glob("*.safetensors")}


def same_weights(one, two):
    assert one.keys() == two.keys()
    for name, arrays in one.items():
        assert arrays.keys() == two[name].keys()
        assert all(np.array_equal(array, two[name][key], equal_nan=True) for key, array in arrays.items()), (
            name
        )


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return request.param, train(config_of(request.param, root), quiet=True)


def test_a_run_is_a_folder(whole):
    kind, folder = whole
    steps = [line["step"] for line in lines(folder)]
    assert steps == list(range(0 if kind == "arrays" else 1, 11))
    assert [path.name for path in Store(folder).checkpoints()] == ["step_00000008", "step_00000010"]
    assert load(folder / "config.toml").name == "run"
    assert not list(folder.rglob("*.aside"))
    names = {"arrays": ["main"], "play": ["first", "second"]}[kind]
    for name in names:
        trained = ludus.make_agent("network", path=folder / "policies" / name)
        fresh = ludus.make_agent("network", path=folder / "policies" / f"{name}@init")
        assert trained.version > fresh.version == 0
        assert trained.fingerprint() != fresh.fingerprint()


@pytest.fixture
def pythons_own_handler():
    """Ctrl-C as a script has it: under xdist nobody answers it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def presses(monkeypatch, times, at):
    """Press Ctrl-C so often in the middle of a step."""
    collect = Run._collect

    def pressed(self, number, *rest):
        for _ in range(times if number == at else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return collect(self, number, *rest)

    monkeypatch.setattr(Run, "_collect", pressed)


@pytest.mark.usefixtures("pythons_own_handler")
@pytest.mark.parametrize(("times", "at"), [(1, 6), (2, 6), (1, 10)])
def test_ctrl_c_keeps_the_step_and_a_second_one_stops_at_once(whole, tmp_path, monkeypatch, times, at):
    kind, complete = whole
    config, folder = config_of(kind, tmp_path, "checkpoint_every=0"), tmp_path / "run"
    with monkeypatch.context() as patch:
        presses(patch, times, at)
        with pytest.raises(KeyboardInterrupt):
            train(config, quiet=True)
    kept = [f"step_{at:08d}"] * (times == 1)
    assert [path.name for path in Store(folder).checkpoints()] == kept
    told = f"kept all up to step {at}: --resume" if kept else "no checkpoint yet: the same command"
    assert told in stopped(folder)
    assert lines(train(config, resume=True, quiet=True)) == lines(complete)
    same_weights(final(folder), final(complete))


@pytest.mark.usefixtures("pythons_own_handler")
def test_a_handler_of_somebody_elses_is_left_alone(tmp_path, monkeypatch):
    heard = []
    signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    presses(monkeypatch, 1, 2)
    train(config_of("arrays", tmp_path, "phases.0.steps=3"), quiet=True)
    assert heard == [True]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_first_and_last_episodes_replay_and_verify(whole):
    _, folder = whole
    for part in ("first", "last"):
        path = folder / "episodes" / f"{part}.jsonl"
        episodes = list(ludus.read(path))
        assert len(episodes) == 6
        assert all(e.steps for e in episodes)
        for episode in episodes:
            ludus.replay(episode)
        ludus.verify(path)
    assert (folder / "episodes" / "first.jsonl").read_text() != (
        folder / "episodes" / "last.jsonl"
    ).read_text()


def test_metrics_have_cleanrls_names(whole):
    kind, folder = whole
    last = lines(folder)[-1]
    prefix = {"arrays": "", "play": "second/"}[kind]
    for name in ("policy_loss", "entropy", "approx_kl", "old_approx_kl", "clipfrac"):
        assert np.isfinite(last[f"{prefix}losses/{name}"])
    assert last["charts/episodes"] > 0
    assert any(name.startswith("charts/return/") for name in last)
    if kind == "arrays":
        assert last["eval/nash_conv/main"] == pytest.approx(2 * last["eval/exploitability/main"])
        assert [line["step"] for line in lines(folder) if "eval/nash_conv/main" in line] == [0, 5, 10]


def test_phases_alternate_and_learners_rest(whole):
    kind, folder = whole
    if kind == "arrays":
        assert all("losses/loss" in line for line in lines(folder)[1:])
        return
    for line in lines(folder):
        first = (line["step"] - 1) % 5 < 3
        assert ("first/losses/loss" in line) == first
        assert ("second/losses/loss" in line) == (not first)
        seated = {name.split("/")[2] for name in line if name.startswith("charts/return/")}
        assert seated == ({"first", "second@phase_start"} if first else {"first", "second"})
    trained = {
        n: ludus.make_agent("network", path=folder / "policies" / n).version for n in ("first", "second")
    }
    assert trained == {"first": 6, "second": 4}


def test_learners_that_take_turns_follow_the_clock_of_the_run(tmp_path):
    falling = [f"learners.{i}.optimiser.schedule='linear'" for i in (0, 1)]
    folder = train(config_of("play", tmp_path, *falling, "learners.1.optimiser.rate=2.5e-4"), quiet=True)
    rates = {
        line["step"]: rate for line in lines(folder) for name, rate in line.items() if "learning_rate" in name
    }
    assert rates == pytest.approx({step: 2.5e-4 * (11 - step) / 10 for step in range(1, 11)})


# --------------------------------------------------------------------------------- being killed
def dies_before_a_step(monkeypatch, step):
    collect = Run._collect

    def dying(self, number, lineup):
        if number == step:
            raise Killed
        return collect(self, number, lineup)

    monkeypatch.setattr(Run, "_collect", dying)


def dies_in_a_line_of_metrics(monkeypatch, step):
    write = Metrics.write

    def dying(self, number, line):
        if number == step:
            with (self.store.folder / "metrics.jsonl").open("a") as file:
                file.write('{"step": 7, "half a li')
            raise Killed
        write(self, number, line)

    monkeypatch.setattr(Metrics, "write", dying)


def dies_in_a_checkpoint(monkeypatch, step):
    save = run_module.Store.write.__globals__["_save"]

    def dying(path, parts):
        if path.parent.name == f".step_{step:08d}.aside" and path.stem.startswith("cast"):
            path.write_bytes(b"half a fi")
            raise Killed
        save(path, parts)

    monkeypatch.setitem(run_module.Store.write.__globals__, "_save", dying)


def dies_after_a_checkpoint(monkeypatch, step):
    write = Store.write

    def dying(self, number, parts, about):
        place = write(self, number, parts, about)
        if number == step:
            raise Killed
        return place

    monkeypatch.setattr(Store, "write", dying)


def dies_at_the_end(monkeypatch, step):
    def dying(self):
        raise Killed

    monkeypatch.setattr(Run, "_finish", dying)


DEATHS = [
    (dies_before_a_step, 3), (dies_before_a_step, 7), (dies_in_a_line_of_metrics, 7), (dies_in_a_checkpoint, 4),
    (dies_in_a_checkpoint, 8), (dies_after_a_checkpoint, 8), (dies_at_the_end, 10),
]  # fmt: skip


@pytest.mark.parametrize(("death", "step"), DEATHS, ids=[f"{d.__name__}-{s}" for d, s in DEATHS])
def test_a_killed_run_resumes_to_the_same_numbers(whole, death, step, tmp_path):
    kind, undisturbed = whole
    config = config_of(kind, tmp_path)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
        death(patch, step)
        train(config, quiet=True)
        pytest.fail("the run was not killed")
    folder = train(config, resume=True, quiet=True)
    assert lines(folder) == lines(undisturbed)
    same_weights(final(folder), final(undisturbed))
    for part in ("first", "last"):
        assert (folder / "episodes" / f"{part}.jsonl").read_text() == (
            undisturbed / "episodes" / f"{part}.jsonl"
        ).read_text()
    assert not list(folder.rglob("*.aside"))


def test_a_finished_run_is_resumed_to_nothing(whole, tmp_path):
    kind, _ = whole
    config = config_of(kind, tmp_path, "phases.0.steps=2")
    folder = train(config, quiet=True)
    before = (folder / "metrics.jsonl").read_text()
    assert train(config, resume=True, quiet=True) == folder
    assert (folder / "metrics.jsonl").read_text() == before


def test_a_folder_holds_one_run(tmp_path):
    config = config_of("arrays", tmp_path, "phases.0.steps=1")
    train(config, quiet=True)
    with pytest.raises(ConfigError, match="holds a run already"):
        train(config, quiet=True)
    other = config_of("arrays", tmp_path, "phases.0.steps=1", "seed=9")
    with pytest.raises(ConfigError, match="seed = 9, was 0"):
        train(other, resume=True, quiet=True)


@pytest.mark.parametrize(
    ("kind", "short", "long"),
    [("arrays", "phases.0.steps=5", "phases.0.steps=10"), ("play", "cycles=1", "cycles=2")],
)
def test_a_run_made_longer_is_the_run_that_was_long_at_once(kind, short, long, tmp_path):
    whole = [config_of(kind, tmp_path, size, *CONSTANT[kind]) for size in (short, long)]
    folder = train(whole[0], quiet=True)
    train(whole[1], resume=True, quiet=True)
    at_once = train(config_of(kind, tmp_path, long, "name=at_once", *CONSTANT[kind]), quiet=True)
    assert lines(folder) == lines(at_once)
    same_weights(final(folder), final(at_once))
    for part in ("first", "last"):
        one, other = (place / "episodes" / f"{part}.jsonl" for place in (folder, at_once))
        assert one.read_text() == other.read_text()
    assert stored(folder) == whole[1]


CONSTANT = {
    "arrays": ["learners.0.optimiser.schedule=constant"],
    "play": ["learners.0.optimiser.schedule=constant", "learners.1.optimiser.schedule=constant"],
}


def test_only_the_length_of_a_run_may_change_and_only_what_is_to_come(tmp_path):
    two = ["phases=[{steps=2}, {steps=2}]", "evaluate.every=0"]
    config = config_of("arrays", tmp_path, *two)
    folder = train(config, quiet=True)
    assert "is done, 4 steps of 4" in outlook(folder, config, resume=True)
    for overrides, says in (
        (["phases.1.steps=3", "seed=9"], r"another run: seed = 9, was 0\. "),
        (["phases.1.steps=1"], r"phases.1.steps = 1, was 2, ends it after 3: "),
        (["phases.0.steps=3"], "phases that it has been through"),
        (["phases.1.steps=3", "minutes=1e-6"], "minutes, and phases.1.steps = 3, was 2; minutes = 1e-06"),
        (["cycles=2", "learners.0.epochs=9", "checkpoint_every=1"], "checkpoint_every = 1, was 4"),
    ):
        with pytest.raises(ConfigError, match=says):
            train(config_of("arrays", tmp_path, *two, *overrides), resume=True, quiet=True)
        assert stored(folder) == config
    falling = config_of("arrays", tmp_path, *two, "phases.1.steps=3")
    assert "from step 4, with phases.1.steps = 3, was 2; rates follow" in outlook(
        folder, falling, resume=True
    )
    train(falling, resume=True, quiet=True)
    assert [line["step"] for line in lines(folder)] == [1, 2, 3, 4, 5]


def test_there_must_be_a_run_to_resume(tmp_path):
    config = config_of("arrays", tmp_path)
    with pytest.raises(ConfigError, match=r"run does not exist: .*without --resume"):
        train(config, resume=True, quiet=True)
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match=r"run holds no run: .*without --resume"):
        train(config, resume=True, quiet=True)
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_before_its_first_checkpoint_begins_again(resume, tmp_path):
    bad = config_of("arrays", tmp_path, "lineup.player_0='uniform'", "lineup.player_1='uniform'")
    with pytest.raises(TrainingError):
        train(bad, quiet=True)
    good = config_of("arrays", tmp_path, "lineup.player_1='uniform'", "phases.0.steps=4")
    told = outlook(tmp_path / "run", good, resume=resume)
    assert "nobody had anything to learn from" in told
    assert "again from step 0" in told
    assert "lineup.player_0 = 'main', was 'uniform'" in told
    folder = train(good, resume=resume, quiet=True)
    fresh = config_of("arrays", tmp_path, "lineup.player_1='uniform'", "phases.0.steps=4", "name=fresh")
    assert lines(folder) == lines(train(fresh, quiet=True))
    assert not (folder / "failed.txt").exists()
    with pytest.raises(ConfigError, match="with a checkpoint at step 4: resume it"):
        train(good, quiet=True)


def test_a_folder_in_which_another_process_may_be_training_is_not_taken(tmp_path):
    """A process that was killed at once could write nothing down, and looks like one that is still at it."""
    config = config_of("arrays", tmp_path, "phases.0.steps=3")
    Run(config)
    with pytest.raises(ConfigError, match=r"no checkpoint yet: .*--resume begins it again"):
        train(config, quiet=True)
    assert not (tmp_path / "run" / "failed.txt").exists()
    folder = train(config, resume=True, quiet=True)
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 3]


# ------------------------------------------------------------------------------- other places
def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    prepare = Learner.prepare

    def poisoned(self, ledger):
        batch = prepare(self, ledger)
        if self.updates == 2:
            batch.advantages[0] = np.nan
        return batch

    monkeypatch.setattr(Learner, "prepare", poisoned)
    config = config_of("arrays", tmp_path, "checkpoint_every=1")
    with pytest.raises(TrainingError, match=r"last good checkpoint: .*step_00000002"):
        train(config, quiet=True)


def test_nobody_to_learn_is_an_error(tmp_path):
    config = config_of("arrays", tmp_path, "lineup.player_0='uniform'", "lineup.player_1='uniform'")
    with pytest.raises(TrainingError, match="nobody had anything"):
        train(config, quiet=True)


def test_tensorboard_gets_the_same_numbers(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = train(config_of("arrays", tmp_path, "tensorboard=true", "phases.0.steps=3"), quiet=True)
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    entropy = [event.value for event in events.Scalars("losses/entropy")]
    assert entropy == pytest.approx(
        [line["losses/entropy"] for line in lines(folder) if line["step"]], rel=1e-5
    )


def test_no_measure_is_thrown_away_between_lines(tmp_path):
    config = config_of("arrays", tmp_path, "log_every=4", "evaluate.every=3", "phases.0.steps=7")
    read = lines(train(config, quiet=True))
    assert [line["step"] for line in read] == [0, 3, 4, 6, 7]
    assert [line["step"] for line in read if "eval/nash_conv/main" in line] == [0, 3, 6, 7]


def test_numbers_that_json_does_not_know_are_null(tmp_path):
    config = config_of("arrays", tmp_path)
    metrics = Metrics(config, Store(tmp_path / "folder"), 0)
    metrics.write(1, {"a": float("nan"), "b": float("-inf"), "c": 0.5})

    def unknown(name):
        pytest.fail(f"{name} is not JSON")

    (line,) = (tmp_path / "folder" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=unknown) == {"step": 1, "a": None, "b": None, "c": 0.5}


def test_a_recipe_takes_over(tmp_path):
    path = tmp_path / "play.toml"
    path.write_text(PLAY.replace("cycles = 2", 'recipe = "os.path:nothing"'))
    with pytest.raises(ConfigError, match=r"os\.path:nothing"):
        train(load(path, [f"root={tmp_path}"]))


def test_runs_with_equal_seeds_are_equal_and_others_are_not(tmp_path):
    folders = [
        train(config_of("arrays", tmp_path, f"name={name}", f"seed={seed}", "phases.0.steps=2"), quiet=True)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    a, b, c = map(lines, folders)
    assert a == b != c


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_works_offline(tmp_path):
    pytest.importorskip("wandb")
    folder = train(config_of("arrays", tmp_path, "wandb.mode=offline", "phases.0.steps=2"), quiet=True)
    assert list((folder / "wandb").glob("offline-run-*"))


def test_where_nobody_watches_nothing_is_shown(tmp_path, capsys):
    train(config_of("arrays", tmp_path, "phases.0.steps=1"), quiet=True)
    train(config_of("arrays", tmp_path, "phases.0.steps=1", "name=other"))
    assert capsys.readouterr().out.strip() == ""
