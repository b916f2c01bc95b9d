"""Games played one step ahead: by which weights, with what result, and that a killed run goes on the same."""

import json
import threading

import numpy as np
import pytest
import torch
from killed import killed
from safetensors.numpy import load_file

from ludus.agents.language.engines.continuous import TransformersEngine
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.causal import CausalModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.config import load
from ludus.core.errors import ConfigError
from ludus.training.metrics import VOLATILE
from ludus.training.pipeline import Pipeline, _follow, _twin
from ludus.training.run import Run, train
from ludus.training.store import Store

RUN = """
name = "run"
tensorboard = false
keep_episodes = 12
checkpoint_every = 3
snapshot_every = 2
cycles = 2
[game]
name = "kuhn_poker"
[policies.main]
{policy}
[lineup]
player_0 = "main"
player_1 = "main@past"
[collect]
games = 12
lag = 1
[[learners]]
policy = "main"
{learner}
selector.max_age = 1
[[phases]]
steps = 3
[[phases]]
steps = 1
lineup = {{ player_0 = "main", player_1 = "main@phase_start" }}
"""
NETWORK = {"policy": 'name = "network"\nhidden = [8]', "learner": 'preset = "ppo"\noptimiser.rate = 1e-2'}


def configured(tmp_path, *overrides, **choices):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(**(choices or NETWORK)))
    return load(path, [f"root={json.dumps(str(tmp_path / 'runs'))}", *overrides])


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load_file(Store(folder).find() / "policy-main.safetensors")
    kept = [(folder / "episodes" / f"{name}.jsonl").read_text() for name in ("first", "last")]
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines], weights, kept


def said(text):
    """What every seat said in a file of episodes."""
    return [[step["raw"] for step in json.loads(line)["steps"]] for line in text.splitlines()]


def same(one, other):
    assert one[0] == other[0]
    assert all(np.array_equal(one[1][name], other[1][name]) for name in one[1])
    assert one[2] == other[2]


def test_what_is_learned_from_is_one_version_old_but_at_the_start_of_a_phase(tmp_path, monkeypatch):
    ages, collect = [], Run._collect

    def watched(self, step, phase):
        ledger, numbers = collect(self, step, phase)
        mine = ledger.policy == ledger.policies.index("main")
        ages.append(set((self.policies["main"].version - ledger.version[mine]).tolist()))
        return ledger, numbers

    monkeypatch.setattr(Run, "_collect", watched)
    train(configured(tmp_path), quiet=True)
    assert ages == [{0}, {1}, {1}, {0}] * 2


def test_apart_and_by_turns_are_the_same_and_another_than_without_a_lag(tmp_path):
    turns = outcome(train(configured(tmp_path), quiet=True))
    apart = outcome(train(configured(tmp_path, "name=apart", "collect.apart=true"), quiet=True))
    newest = outcome(train(configured(tmp_path, "name=newest", "collect.lag=0"), quiet=True))
    same(turns, apart)
    assert turns[0][0] == newest[0][0]  # of the first step
    assert turns[0][1] != newest[0][1]


def test_language_models_play_apart_as_by_turns(tmp_path):
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach

    path = make_tiny(tmp_path / "tiny", width=32, layers=1, heads=2)
    teach(path, ["kuhn_poker"], steps=200, episodes=40, rate=1e-2)
    choices = {
        "policy": f'name = "language"\npath = {json.dumps(str(path))}\nstyle = "compact"',
        "learner": 'preset = "spiral"\nobjective.aggregation.length = 64\noptimiser.rate = 1e-3\nobjective.correction = "truncate"',
    }
    lines, weights, kept = outcome(train(configured(tmp_path, "cycles=1", **choices), quiet=True))
    apart = train(configured(tmp_path, "name=apart", "cycles=1", "collect.apart=true", **choices), quiet=True)
    others = outcome(apart)
    # Two engines read prompts in other batches, and round log-probabilities otherwise.
    assert all(
        one == pytest.approx(two, rel=1e-5, abs=1e-6) for one, two in zip(lines, others[0], strict=True)
    )
    assert all(np.allclose(weights[name], others[1][name], atol=1e-6) for name in weights)
    assert [said(text) for text in kept] == [said(text) for text in others[2]]


@pytest.mark.parametrize(("moment", "apart"), [(5, "false"), (7, "false"), (7, "true")])
def test_a_killed_run_goes_on_the_same(moment, apart, tmp_path, monkeypatch):
    whole = outcome(train(configured(tmp_path, "name=whole", f"collect.apart={apart}"), quiet=True))
    resumed = killed(configured(tmp_path, f"collect.apart={apart}"), monkeypatch, before=moment)
    same(outcome(resumed), whole)


def test_a_fault_of_games_ahead_stops_the_run(tmp_path, monkeypatch):
    play = Pipeline._play

    def broken(self, table, lineup, step):
        if step == 2:
            raise OSError("the engine is gone")
        return play(self, table, lineup, step)

    monkeypatch.setattr(Pipeline, "_play", broken)
    with pytest.raises(OSError, match="the engine is gone"):
        train(configured(tmp_path, "collect.apart=true"), quiet=True)


def test_what_cannot_be_played_ahead_is_refused(tmp_path):
    for number, (overrides, why) in enumerate(
        [
            (["learners.0.selector.max_age=0"], r"1 version\(s\) old, and it allows 0: selector.max_age = 1"),
            (["collect.lag=0", "collect.apart=true"], "with collect.lag = 1"),
            (['collect.by="arrays"'], "arrays run on"),
            (["collect.lag=2"], "collect.lag"),
        ]
    ):
        with pytest.raises(ConfigError, match=why):
            Run(configured(tmp_path, f"name=refused{number}", *overrides))


class Engine:
    """An engine with weights of its own."""

    def __init__(self):
        self.versions = []


class Speaker:
    """What a policy with such an engine is to its twin."""

    def __init__(self):
        self.name, self.version = "main", 3
        self.desk = type("Desk", (), {"engine": Engine()})()

    def forget(self):
        self.forgot = True

    def fingerprint(self):
        return str(self.version)

    def submit(self, requests):
        assert requests == []
        self.desk.engine.versions.append(self.version)


def test_an_engine_with_weights_of_its_own_needs_no_copy():
    policy = Speaker()
    twin = _twin(policy)
    assert twin is not policy
    assert twin.desk is policy.desk
    policy.version = 4
    _follow(twin, policy)
    policy.version = 5  # it learns
    assert twin.version == 4
    assert policy.desk.engine.versions == [4]


class Owner:
    """An engine with weights of its own, in this process."""

    def __init__(self, folder):
        self.inner = TransformersEngine(CausalModel(folder))

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_a_twin_names_the_weights_that_it_samples_with(tmp_path):
    folder = make_tiny(tmp_path, width=16, layers=1, heads=2)
    policy = LanguageModel(folder, engine=Owner(folder))
    twin = _twin(policy)
    policy.version = 1
    _follow(twin, policy)
    before = policy.fingerprint()
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.1)  # it learns, in another thread than the twin plays in
    policy.version = 2
    assert twin.fingerprint() == before != policy.fingerprint()


@pytest.mark.parametrize("greedy", ["false", "true"])
def test_an_engine_with_weights_of_its_own_plays_apart_as_by_turns(greedy, tmp_path, monkeypatch):
    folder = make_tiny(tmp_path / "tiny", width=16, layers=1, heads=2)
    monkeypatch.setattr("ludus.agents.language.local.make_engine", lambda spec, model, most: Owner(folder))
    learned, play = threading.Event(), Pipeline._play

    def late(self, *given):
        if threading.current_thread() is not threading.main_thread():
            assert learned.wait(60)
        return play(self, *given)

    monkeypatch.setattr(Pipeline, "_play", late)
    policy = f'name = "language"\npath = {json.dumps(str(folder))}\nstyle = "compact"'
    learner = 'preset = "spiral"\nobjective.aggregation.length = 64'
    played = {}
    for apart in ("false", "true"):
        more = (
            f"name=apart_{apart}",
            f"collect.apart={apart}",
            f"collect.greedy={greedy}",
            "collect.samples=2",
        )
        run = Run(configured(tmp_path, *more, policy=policy, learner=learner))
        lineup, learns = {"player": "main"}, run.policies["main"]
        with run.pipeline.meanwhile(lineup, 2):
            with torch.no_grad():
                for weight in learns.parameters():
                    weight.add_(0.1)
            learns.version += 1
            learned.set()
        learned.clear()
        played[apart] = run.pipeline.take(lineup, 2).episodes
    assert [one.to_json() for one in played["true"]] == [one.to_json() for one in played["false"]]
    for apart in played.values():
        for sample in (0, 1):  # the first may be played by likeliest replies, which is another manner
            mine = [one for one in apart if one.match.sample == sample]
            assert len({mark for one in mine for mark in one.agent_fingerprints.values()}) == 1
