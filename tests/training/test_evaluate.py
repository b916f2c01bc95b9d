"""Measures taken while training: each against another way to the same figure, and through a run that is killed."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ludus.agents.exact import Tabular
from ludus.agents.network import fresh
from ludus.arenas.exploit import exploit
from ludus.config import load
from ludus.core.agent import Decision, Failure, FirstLegal, Uniform
from ludus.core.encounters import against, encounter
from ludus.core.errors import ConfigError, TrainingError, UnknownName
from ludus.core.exact import averaged, nash_conv, optimal, reached, rows, tabular, uniform
from ludus.core.game import Forfeit
from ludus.core.play import play
from ludus.core.registry import make, make_agent
from ludus.core.solvers import solve
from ludus.core.tables import tabulate
from ludus.training.evaluation.evaluate import EVALUATORS, Evaluation, evaluator
from ludus.training.evaluation.matches import played, resampled
from ludus.training.evaluation.opponents import labelled, opponent
from ludus.training.gathering import Collect
from ludus.training.run import Run, train
from ludus.training.store import Store

KUHN = make("kuhn_poker")
BASE = """
name = "run"
tensorboard = false
checkpoint_every = 2
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [8]
[lineup]
player = "main"
[collect]
games = 16
[[learners]]
policy = "main"
estimator = "returns"
reference = "magnet"
magnet_rate = 0.2
objective = { divergence = 0.1 }
optimiser = { rate = 3e-2 }
[[phases]]
steps = 6
[evaluate]
every = 2
"""


def config(tmp_path, measures, *overrides, text=BASE):
    path = tmp_path / "run.toml"
    path.write_text(text + measures)
    return load(path, [f"root={tmp_path}", *overrides])


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


MEASURES = """
measures = ["nash_conv", "nash_conv_average", "seat_balance", "legal_mass", "loss_rate",
            { name = "return_exact", opponents = ["uniform", "optimal", "main@init"] },
            { name = "nash_conv", policies = ["main@magnet"] }, { name = "nash_conv_sampled", samples = 16 },
            { name = "against", opponents = { old = "main@init", fixed = { name = "constant", move = "bet" } }, games = 8 },
            { name = "self_play", games = 8 }]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was not interrupted, with every measure."""
    root = tmp_path_factory.mktemp("whole")
    made = Run(config(root, MEASURES))
    seen = []
    measure = Evaluation.measure

    def keeping(self, step):
        seen.append(tabular(KUHN, made.policies["main"]))
        return measure(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluation, "measure", keeping)
        return made, made.go(quiet=True), seen


def test_every_figure_is_what_it_says(run):
    _, folder, seen = run
    first, last = lines(folder)[0], lines(folder)[-1]
    assert [line["step"] for line in lines(folder) if "eval/nash_conv/main" in line] == [0, 2, 4, 6]
    policy = seen[-1]
    assert last["eval/nash_conv/main"] == pytest.approx(nash_conv(KUHN, policy))
    assert last["eval/exploitability/main"] == pytest.approx(nash_conv(KUHN, policy) / 2)
    for label, other in {"uniform": uniform(KUHN), "optimal": solve(KUHN), "main@init": seen[0]}.items():
        met = against(KUHN, policy, other)
        assert last[f"eval/return_exact/{label}/main"] == pytest.approx(met.payoff)
        assert last[f"eval/loss_exact/{label}/main"] == pytest.approx(met.lose)
    assert first["eval/return_exact/main@init/main"] == pytest.approx(0, abs=1e-12)
    assert last["eval/return_exact/main@init/main"] != 0
    assert last["eval/loss_rate/main"] == pytest.approx(against(KUHN, policy, solve(KUHN)).lose)
    counted = exploit(KUHN, Tabular(policy, "main"), samples=16)
    assert last["eval/nash_conv_sampled/main"] == pytest.approx(counted.nash_conv, abs=0.3)
    assert (
        last["eval/nash_conv_sampled_low/main"]
        < nash_conv(KUHN, policy)
        < last["eval/nash_conv_sampled_high/main"]
    )
    assert last["eval/nash_conv_sampled_unusable/main"] == 0
    alone = encounter(KUHN, dict.fromkeys(KUHN.players, policy))["player_0"]
    assert last["eval/first_seat_wins_exact/main"] == pytest.approx(alone.win)
    assert last["eval/legal_mass/main"] == pytest.approx(1.0)


def test_no_two_measures_say_the_same(tmp_path):
    twice = 'measures = ["nash_conv_average", { name = "nash_conv_average", weighting = "linear" }]'
    with pytest.raises(ConfigError, match="two measures say eval/nash_conv_average/main"):
        train(config(tmp_path, twice), quiet=True)


def test_the_magnet_and_the_average_are_measured(run):
    made, folder, seen = run
    last = lines(folder)[-1]
    magnet = made.learners["main"].reference
    assert last["eval/nash_conv/main@magnet"] == pytest.approx(nash_conv(KUHN, magnet))
    tables = tabulate(KUHN)
    total = sum(reached(tables, rows(KUHN, policy)) for policy in seen)
    expected = nash_conv(tables, averaged(tables, total))
    assert last["eval/nash_conv_average/main"] == pytest.approx(expected)
    assert expected != pytest.approx(last["eval/nash_conv/main"])


def test_played_measures_are_those_of_the_deals(run):
    _, folder, _ = run
    last = lines(folder)[-1]
    low, middle, high = (last[f"eval/{name}/old/main"] for name in ("return_lo", "return", "return_hi"))
    assert low <= middle <= high
    assert low < high
    assert last["eval/win/fixed/main"] + last["eval/loss/fixed/main"] == 1
    assert last["eval/unusable/fixed/main"] == 0
    assert 2 <= last["eval/game_length/main"] <= 3
    assert "eval/reply_length/main" not in last  # networks say nothing


def test_a_run_that_was_killed_measures_the_same(run, tmp_path, monkeypatch):
    _, folder, _ = run
    made = Run(config(tmp_path, MEASURES))
    collect = Run._collect

    def dying(self, step, lineup):
        if step == 6:
            raise KeyboardInterrupt
        return collect(self, step, lineup)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_collect", dying)
        with pytest.raises(KeyboardInterrupt):
            made.go(quiet=True)
    assert len(Store(made.folder).checkpoints()) == 2
    resumed = train(made.config, resume=True, quiet=True)
    for one, other in zip(lines(folder), lines(resumed), strict=True):
        figures = {k for k in one if k.startswith("eval/")}
        assert {k: one[k] for k in figures} == {k: other[k] for k in figures}


def test_measuring_changes_nothing_of_the_training(run, tmp_path):
    made, *_ = run
    plain = Run(config(tmp_path, "", "evaluate.every=0"))
    plain.go(quiet=True)
    assert plain.policies["main"].fingerprint() == made.policies["main"].fingerprint()


def test_averages_may_be_linear_and_begin_late(tmp_path):
    folder = train(
        config(tmp_path, 'measures = [{ name = "nash_conv_average", weighting = "linear", after = 4 }]'),
        quiet=True,
    )
    measured = {line["step"]: line.get("eval/nash_conv_average/main") for line in lines(folder)}
    assert [step for step, figure in measured.items() if figure is not None] == [4, 6]
    kept = make_agent("exact", path=folder / "averages" / "main.json")
    assert nash_conv(KUHN, tabular(KUHN, kept)) == pytest.approx(measured[6])


SEVERAL = """
name = "run"
tensorboard = false
[policies.main]
name = "tiny_language"
model = { width = 16, layers = 1, heads = 2 }
lessons = { steps = 2 }
max_new_tokens = 6
style = "compact"
[[games]]
name = "kuhn_poker"
[[games]]
name = "nim"
params = { stones = 5 }
[lineup]
player = "main"
[collect]
games = 8
[[learners]]
policy = "main"
estimator = "returns"
[[phases]]
steps = 1
[evaluate]
every = 1
measures = ["legal_mass", { name = "loss_rate", only = ["nim"] },
            { name = "against", opponents = ["mcts"], only = ["nim"], games = 2 }, { name = "self_play", games = 4 }]
"""


def test_a_language_model_in_several_games(tmp_path):
    folder = train(config(tmp_path, "", text=SEVERAL), quiet=True)
    first, last = lines(folder)[0], lines(folder)[-1]
    for game in ("kuhn_poker", "nim"):
        assert 0 <= last[f"eval/legal_mass_least/{game}/main"] <= last[f"eval/legal_mass/{game}/main"] < 0.9
        assert 1 <= last[f"eval/reply_length/{game}/main"] <= 6
        assert last[f"eval/unusable/{game}/main"] > 0
        assert 1 <= last[f"charts/reply_length/{game}"] <= 6
    assert 0 < first["eval/loss_rate/nim/main"] <= 1
    assert "eval/loss_rate/kuhn_poker/main" not in first
    assert -1 <= last["eval/return/mcts/nim/main"] <= 1
    assert last["charts/unusable"] > 0


# --------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("measures", "hint"),
    [
        ('measures = ["nash_konv"]', "did you mean 'nash_conv'"),
        ('measures = [{ name = "against", game = 3 }]', "did you mean 'games'"),
        ('measures = [{ name = "against", opponents = ["uniforn"] }]', "did you mean 'uniform'"),
        ('measures = [{ name = "nash_conv", only = ["kuhn"] }]', "did you mean 'kuhn_poker'"),
        ('measures = [{ name = "nash_conv", policies = ["mainn"] }]', "did you mean 'main'"),
    ],
)
def test_unknown_names_are_refused(tmp_path, measures, hint):
    with pytest.raises(UnknownName, match=hint):
        Run(config(tmp_path, measures))


@pytest.mark.parametrize(
    ("measures", "why"),
    [
        ('measures = [{ name = "against", opponents = ["mcts"] }]', "shown what kuhn_poker hides"),
        ('measures = [{ name = "against", opponents = ["main@past"] }]', "a copy that stays"),
        ('measures = [{ name = "against", opponents = ["runs/x"] }]', "needs a label"),
        ('measures = [{ name = "against", opponents = { a = "no/such" } }]', "no/such holds no policy"),
        ('measures = [{ name = "return_exact", opponents = { a = { name = "scripted", script = [1] } } }]', "the measure 'against'"),
    ],
)  # fmt: skip
def test_opponents_that_cannot_be_met_are_refused(tmp_path, measures, why):
    with pytest.raises(ConfigError, match=why):
        Run(config(tmp_path, measures))


def test_a_magnet_needs_a_learner_that_has_one(tmp_path):
    given = config(tmp_path, 'policies = ["main@magnet"]', "learners.0.reference=init")
    with pytest.raises(ConfigError, match="no learner of main has reference = 'magnet'"):
        Run(given)


def test_games_without_recall_have_no_average(tmp_path):
    with pytest.raises(ConfigError, match="nim cannot be measured by nash_conv_average"):
        Run(config(tmp_path, 'measures = ["nash_conv_average"]', "game.name=nim"))


def test_measures_are_registered_by_plug_ins(tmp_path):
    @evaluator("steps_so_far")
    def steps_so_far(context, *, times=1):
        return {"steps_so_far": float(context.step * times)}

    try:
        folder = train(config(tmp_path, 'measures = [{ name = "steps_so_far", times = 3 }]'), quiet=True)
    finally:
        del EVALUATORS._makers["steps_so_far"]
    assert [line["eval/steps_so_far/main"] for line in lines(folder) if "eval/steps_so_far/main" in line] == [
        0,
        6,
        12,
        18,
    ]


# ------------------------------------------------------------------------------------------ games
def test_both_sides_of_the_same_deals():
    found = played(KUHN, FirstLegal(), Uniform(), 40, 3, Collect())
    seeds = [episode.match.seed for episode in found.episodes]
    assert sorted(seeds)[::2] == sorted(seeds)[1::2]
    assert len(found.episodes) == 40
    assert all(e.lineup[e.match.group] == "first_legal" for e in found.episodes)
    figures = found.against()
    exact = against(KUHN, FirstLegal(), uniform(KUHN))
    assert figures["return_lo"] < exact.payoff < figures["return_hi"]
    again = played(KUHN, FirstLegal(), Uniform(), 40, 3, Collect())
    assert again.against() == figures


def test_the_interval_resamples_deals():
    seeds = np.repeat(np.arange(50), 2)
    deal = np.random.default_rng(0).normal(size=50)
    low, high = resampled(seeds, np.repeat(deal, 2))
    assert (high - low) / 2 == pytest.approx(1.96 * deal.std() / 50**0.5, rel=0.1)
    tight = resampled(seeds, np.stack([deal, -deal], 1).ravel())  # luck that both sides share
    assert tight == pytest.approx((0, 0), abs=1e-12)
    assert np.isnan(resampled(np.zeros(4), np.ones(4))).all()


def test_unusable_replies_are_counted_and_broken_games_left_out():
    class Mumbles:
        name = "mumbles"

        def act(self, requests):
            return [Decision(Forfeit("?"), raw="?") for _ in requests]

    class Dies:
        name = "dies"

        def act(self, requests):
            return [Decision(Failure("gone")) for _ in requests]

    figures = played(KUHN, Mumbles(), Uniform(), 10, 0, Collect()).against()
    assert figures["unusable"] == 1
    assert figures["return"] == -2
    with pytest.raises(TrainingError, match=r"every game broke; .*gone"):
        played(KUHN, Dies(), Uniform(), 4, 0, Collect())


def test_roles_change_places_too():
    class Solves(FirstLegal):
        name = "solves"

    game = make("propose_solve")
    found = played(game, Solves(), Uniform(), 6, 0, Collect())
    assert {e.match.group for e in found.episodes} == {"proposer", "solver"}
    assert all(np.isfinite(list(found.against().values())))


# -------------------------------------------------------------------------------------- opponents
def test_opponents_are_made_for_the_game(tmp_path):
    nobody = SimpleNamespace(policies={})
    fresh(KUHN, name="main", seed=0, hidden=[8]).save(tmp_path / "saved")
    assert opponent(str(tmp_path / "saved"), KUHN, nobody).name
    nim = make("nim", stones=5)
    best = opponent("optimal", nim, nobody)
    assert isinstance(best, Tabular)
    assert against(nim, best, optimal(nim)) == against(nim, optimal(nim), optimal(nim))
    searcher = opponent({"name": "mcts", "simulations": 20}, nim, nobody)
    (episode,) = play(nim, {"player_0": searcher, "player_1": best}, [0])
    assert episode.end == "over"
    with pytest.raises(ConfigError, match="no play of"):
        opponent("optimal", make("iterated_prisoners_dilemma"), nobody)
    assert labelled(["uniform"]) == {"uniform": "uniform"}
