"""What a step collects: decisions enough, no figures of games that broke, no end of the run where none can be learned from."""

import json

import numpy as np
import pytest

from ludus.config import load
from ludus.core.agent import Decision, Failure
from ludus.core.errors import ConfigError, TrainingError
from ludus.core.registry import make_agent
from ludus.training.checks import check_learner
from ludus.training.configuration import parse
from ludus.training.gathering import Collect
from ludus.training.rollout import Table, tallied
from ludus.training.run import Run, train

BASE = """
name = "run"
tensorboard = false
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [8]
[lineup]
player = "main"
[collect]
by = "play"
games = 6
[[learners]]
policy = "main"
estimator = "returns"
[[phases]]
steps = 3
"""


def config(tmp_path, *overrides, text=BASE):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return load(path, [f"root={json.dumps(str(tmp_path))}", *overrides])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_more_deals_are_played_until_there_are_decisions_enough(tmp_path):
    few = lines(train(config(tmp_path, "name=few"), quiet=True))
    many = lines(train(config(tmp_path, "name=many", "collect.decisions=64"), quiet=True))
    assert max(line["charts/decisions"] for line in few) < 64
    for line in many:
        assert 64 <= line["charts/decisions"] < 128
        assert line["charts/episodes"] > 6
    again = lines(train(config(tmp_path, "name=again", "collect.decisions=64"), quiet=True))
    assert [line["losses/loss"] for line in again] == [line["losses/loss"] for line in many]


def test_a_step_without_a_lesson_is_counted_and_passed_over(tmp_path):
    filtered = "learners.0.selector.keep={name='but_sample', sample=0}"  # each seed has that sample alone
    folder = train(config(tmp_path, filtered), quiet=True)
    assert [line.get("charts/skipped") for line in lines(folder)] == [1.0] * 3
    assert [line["global_step"] for line in lines(folder)] == [0.0] * 3


def test_a_learner_of_nobody_at_the_table_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="nobody had anything to learn from"):
        train(config(tmp_path, "lineup.player=uniform"), quiet=True)


class Breaking:
    """Its machinery breaks in one game of three, or in all."""

    def __init__(self, share):
        self.name, self.share, self.asked = "breaking", share, 0

    def act(self, requests):
        out = []
        for decision in make_agent("uniform").act(requests):
            self.asked += 1
            out.append(Decision(Failure("out of order")) if self.asked % self.share == 0 else decision)
        return out


def test_games_that_broke_are_counted_and_end_the_run_where_all_did(tmp_path, monkeypatch):
    run = Run(config(tmp_path))
    some, every = Breaking(5), Breaking(1)
    monkeypatch.setattr(run.cast, "find", lambda name: some)
    _, tally, played = run.table.rollout(run.config.lineup, step=1)
    assert tally.metrics()["charts/broken"] == sum(episode.end == "error" for episode in played) > 0
    assert tally.episodes + tally.broken == len(played)
    monkeypatch.setattr(run.cast, "find", lambda name: every)
    with pytest.raises(TrainingError, match=r"all 6 games broke; the first: .*out of order"):
        run.table.rollout(run.config.lineup, step=1)


class Exhausted(Breaking):
    """Its machinery breaks for good after some answers, as a quota that is used up."""

    def act(self, requests):
        self.asked += len(requests)
        kept = make_agent("uniform").act(requests)
        return kept if self.asked <= self.share else [Decision(Failure("out of quota"))] * len(requests)


def test_a_further_round_without_decisions_ends_the_run(tmp_path, monkeypatch):
    run = Run(config(tmp_path, "collect.decisions=200"))
    quota = Exhausted(18)
    monkeypatch.setattr(run.cast, "find", lambda name: quota)
    with pytest.raises(
        TrainingError, match=r"of 200 decisions .* further games gave none; .*out of quota.*decisions = 0"
    ):
        run.table.rollout(run.config.lineup, step=1)


class Seldom:
    """It does something else than the first move in one decision of eight: few deals come out in two ways."""

    name = "seldom"

    def act(self, requests):
        ways = [
            make_agent("uniform" if request.rng.random() < 1 / 8 else "first_legal") for request in requests
        ]
        return [way.act([request])[0] for way, request in zip(ways, requests, strict=True)]


def test_no_game_is_played_twice_in_a_step(tmp_path, monkeypatch):
    more = "collect.samples=2", "collect.games=16", "collect.decisions=64", "collect.refill=6"
    run = Run(config(tmp_path, *more))
    monkeypatch.setattr(run.cast, "find", lambda name: Seldom())
    deals = []
    episodes = Table.episodes

    def watched(self, lineup, *, step, first=0, **rest):
        found = episodes(self, lineup, step=step, first=first, **rest)
        deals.append([(episode.match.group, episode.match.sample) for episode in found])
        return found

    monkeypatch.setattr(Table, "episodes", watched)
    played = run.table.rollout(run.config.lineup, step=1)[2]
    assert (
        len(deals) > 3
    )  # the step's, more for decisions, and more in the place of those that came out alike
    dealt = [key for part in deals for key in part]
    assert len(set(dealt)) == len(dealt)
    keys = [(episode.match.group, episode.match.sample) for episode in played]
    assert len(set(keys)) == len(keys) > 0


def test_greedy_games_are_baselines_and_no_results(tmp_path):
    run = Run(config(tmp_path, "collect.samples=3"))
    _, tally, played = run.table.rollout(run.config.lineup, step=1)
    assert tally.episodes == 6
    assert tallied(played, greedy=True).episodes == 4


def test_remax_learns_from_no_greedy_reply():
    def learner(**selector):
        return parse(
            {
                "game": {"name": "kuhn_poker"}, "policies": {"main": "network"}, "lineup": {"player": "main"},
                "phases": [{"steps": 1}],
                "learners": [{"policy": "main", "estimator": "remax", "selector": selector}],
            }
        ).learners[0]  # fmt: skip

    with pytest.raises(ConfigError, match="remax compares with greedy replies"):
        check_learner(learner(), Collect())
    check_learner(learner(keep={"name": "but_sample", "sample": 0}), Collect())


LANGUAGE = BASE.replace('name = "network"\nhidden = [8]', 'name = "language"\npath = "{path}"').replace(
    'estimator = "returns"', 'preset = "spiral"\nobjective.aggregation.length = 16\noptimiser.rate = 1e-3\nold = "rollout"'
)  # fmt: skip


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach

    path = make_tiny(tmp_path_factory.mktemp("spoken") / "tiny", width=32, layers=1, heads=2)
    teach(path, ["kuhn_poker"], steps=200, episodes=40, rate=1e-2)
    return LANGUAGE.replace("{path}", str(path))


def test_the_greedy_copy_of_a_policy_is_made_once(spoken, tmp_path, monkeypatch):
    from ludus.agents.language.local import LanguageModel

    made = []
    greedy = LanguageModel.greedy
    monkeypatch.setattr(LanguageModel, "greedy", lambda self: made.append(self) or greedy(self))
    run = Run(config(tmp_path, "collect.samples=2", "collect.greedy=true", text=spoken))
    played = run.table.rollout(run.config.lineup, step=1)[2]
    assert (len(played), len(made)) == (6, 1)


def test_what_is_measured_by_play_changes_nothing_of_a_language_model(spoken, tmp_path):
    measured = ["evaluate.every=1", 'evaluate.measures=["self_play", {name="against", games=8}]']
    plain = Run(config(tmp_path, "name=plain", "evaluate.every=0", text=spoken))
    plain.go(quiet=True)
    beside = Run(config(tmp_path, "name=beside", *measured, text=spoken))
    beside.go(quiet=True)
    for name, weight in plain.policies["main"].state().items():
        assert np.array_equal(weight.numpy(), beside.policies["main"].state()[name].numpy()), name


def test_the_mismatch_is_told_where_old_log_probabilities_are_the_engines(spoken, tmp_path):
    for line in lines(train(config(tmp_path, text=spoken), quiet=True)):
        assert 0 <= line["mismatch/kl"] < 1e-8
        assert line["mismatch/weight_max"] == pytest.approx(1, abs=1e-4)
