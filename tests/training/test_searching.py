"""Expert iteration: what a search plays is what is learned, and it makes a policy better."""

import json

import numpy as np
import pytest
import torch
from decisions import played_again
from killed import killed
from pydantic import TypeAdapter

import ludus
from ludus.agents.network import fresh
from ludus.config import load
from ludus.core.errors import ConfigError
from ludus.training.configuration import merged
from ludus.training.gathering import Search
from ludus.training.learner import Learner
from ludus.training.lineup import Cast
from ludus.training.objectives.supervised import cross_entropy
from ludus.training.objectives.terms import Terms
from ludus.training.policies import make_policy
from ludus.training.recipes import EXPERT_ITERATION
from ludus.training.run import Run, train
from ludus.training.searching import SearchCollector
from ludus.training.settings import LearnerConfig

SELF = {"player": "main"}

LEARNS = """
root = "{root}"
tensorboard = false
game.name = "tic_tac_toe"
lineup.player = "main"
policies.main = {{ name = "network", body = "residual", width = 16, blocks = 1 }}
evaluate = {{ every = {steps}, measures = ["loss_rate", {{ name = "return_exact", opponents = ["uniform"] }}] }}
phases = [{{ steps = {steps} }}]

[collect]
by = "arrays"
rows = 48
length = 9
search = {{ simulations = 24, alpha = 1.0, drawn = 4 }}

[[learners]]
policy = "main"
preset = "expert_iteration"
optimiser.rate = 3e-3
buffer = {{ name = "circular", capacity = 1900, draw = 1024, least = 1 }}
minibatches = 4
"""


def config_of(root, steps, *overrides):
    path = root / "learns.toml"
    path.write_text(LEARNS.format(root=root, steps=steps))
    return load(path, overrides)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def cast_of(game, tmp_path):
    main = fresh(game, name="main", body="residual", width=8, blocks=1)
    return Cast({"main": main}, tmp_path, np.random.default_rng(0))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    game = ludus.make("tic_tac_toe")
    collector = SearchCollector(game, rows=12, length=9, seed=3, search=Search(12, drawn=2))
    cast = cast_of(game, tmp_path_factory.mktemp("cast"))
    return game, [collector.collect(cast, SELF) for _ in range(3)]


def test_whole_games_are_played_and_the_scalar_rules_pay_the_same(played):
    game, [(ledger, tally), *_] = played
    assert tally.episodes == len(np.unique(ledger.episode)) == 12
    assert tally.decisions == len(ledger)
    assert not ledger.cut.any()
    for number in np.unique(ledger.episode):
        rows = np.flatnonzero(ledger.episode == number)
        rows = rows[np.argsort(ledger.order[rows])]
        played_again(game, ledger, rows)


def test_targets_are_shares_of_visits_and_moves_follow_them(played):
    _, [(ledger, _), *_] = played
    share = ledger.policy_target
    assert share.sum(1) == pytest.approx(1)
    assert np.all(share[~ledger.legal] == 0)
    assert np.allclose(share * 12, np.rint(share * 12), atol=1e-5)  # of twelve visits
    chosen = share[np.arange(len(ledger)), ledger.ids]
    assert np.all(chosen > 0)
    assert ledger.rollout == pytest.approx(np.log(chosen), abs=1e-6)
    late = ledger.order >= 2
    assert np.all(chosen[late] == share[late].max(1))
    assert np.any(chosen[~late] < share[~late].max(1))


def test_a_batch_is_of_earlier_games_too_what_was_searched_and_what_became_of_them(played):
    game, steps = played
    buffer = {"name": "circular", "capacity": 1000, "draw": 1000, "least": 1}
    table = merged(EXPERT_ITERATION, {"policy": "main", "buffer": buffer})
    learner = Learner(
        TypeAdapter(LearnerConfig).validate_python(table), fresh(game, name="main"), steps=3, seed=0
    )
    *_, batch = [learner.prepare(ledger) for ledger, _ in steps]
    assert len(batch) == sum(len(ledger) for ledger, _ in steps)  # there is room for all
    for name in ("policy_target", "prompts", "ids"):
        offered = np.concatenate([getattr(ledger, name) for ledger, _ in steps])
        assert np.array_equal(getattr(batch.ledger, name), offered)
    earned = np.concatenate([ledger.spread(ledger.returns) for ledger, _ in steps])
    assert set(earned) == {-1, 0, 1}
    assert batch.targets == pytest.approx(earned)


def test_threads_find_what_one_finds(played, tmp_path):
    game, [(ledger, _), *_] = played
    collector = SearchCollector(game, rows=12, length=9, seed=3, search=Search(12, drawn=2, threads=2))
    other, _ = collector.collect(cast_of(game, tmp_path), SELF)
    assert np.array_equal(ledger.ids, other.ids)
    assert np.array_equal(ledger.policy_target, other.policy_target)


def test_longer_games_are_cut_and_closed_with_a_value(tmp_path):
    game = ludus.make("tic_tac_toe")
    collector = SearchCollector(game, rows=3, length=4, seed=0, search=Search(4))
    ledger, tally = collector.collect(cast_of(game, tmp_path), SELF)
    assert (len(ledger), tally.episodes) == (12, 0)
    assert ledger.cut.sum() == 6
    assert np.isfinite(ledger.next_values).all()
    assert not ledger.ended.any()


def test_opponents_without_a_network_search_nothing_and_teach_nothing(tmp_path):
    game = ludus.make("tic_tac_toe")
    collector = SearchCollector(game, rows=4, length=9, seed=0, search=Search(4))
    ledger, _ = collector.collect(cast_of(game, tmp_path), {"player_0": "main", "player_1": "uniform"})
    of_main = np.array(ledger.policies)[ledger.policy] == "main"
    assert np.isfinite(ledger.policy_target[of_main]).all()
    assert np.isnan(ledger.policy_target[~of_main]).all()


def test_cross_entropy_is_minus_the_targets_logarithms_by_hand():
    choices = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0]])).requires_grad_()
    target = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    column, mask = torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool)
    terms = Terms.of(column, column, column, column, mask, column, choices=choices, policy_target=target)
    loss = cross_entropy(terms)
    assert loss[:, 0].tolist() == pytest.approx([1.5 * np.log(2), np.log(10)])
    loss.sum().backward()
    assert choices.grad.isfinite().all()
    for missing in ({"choices": choices}, {"choices": choices, "policy_target": target * torch.nan}):
        with pytest.raises(ConfigError, match="search"):
            cross_entropy(Terms.of(column, column, column, column, mask, column, **missing))


def test_what_does_not_go_together_is_said(tmp_path):
    for override, words in (
        ("collect.search.simulations=0", "collect.search"),
        ('collect.by="play"', "arrays"),
        ('game.name="kuhn_poker"', "perfect information|three dimensions"),
    ):
        with pytest.raises(ConfigError, match=words):
            Run(config_of(tmp_path, 1, override, f'name="{len(override)}"'))


@pytest.mark.parametrize(
    "further", [(), ("learners.0.buffer.augment=true", 'policies.main.autocast="bfloat16"')]
)
def test_killed_and_resumed_it_is_the_same_run(further, tmp_path, monkeypatch):
    small = ("collect.rows=8", "collect.search.simulations=4", "checkpoint_every=2",
             *further)  # fmt: skip
    whole = train(config_of(tmp_path, 5, *small, 'name="whole"'), quiet=True)
    resumed = killed(config_of(tmp_path, 5, *small, 'name="again"'), monkeypatch, before=4)
    prints = [
        ludus.make_agent("network", path=f / "policies" / "main").fingerprint() for f in (whole, resumed)
    ]
    assert prints[0] == prints[1]


def test_layers_learn_in_bfloat16_nearly_the_same(tmp_path):
    small = ("collect.rows=8", "collect.search.simulations=4", "evaluate.every=0")
    told = []
    for kind in ("", "bfloat16"):
        named = f"policies.main.autocast={kind!r}", f"name='of {kind}'"
        saved = train(config_of(tmp_path, 2, *small, *named), quiet=True) / "policies" / "main"
        assert ludus.make_agent("network", path=saved).state()["stem.weight"].dtype == torch.float32
        told.append(lines(saved.parents[1])[0]["losses/policy_loss"])
    assert told[0] != told[1]
    assert told[0] == pytest.approx(told[1], abs=0.02)


def test_a_frozen_copy_scores_as_the_policy_does(tmp_path, played):
    game, [(ledger, _), *_] = played
    fresh(game, body="residual", width=8, blocks=1).save(tmp_path / "net")
    plain, half = (
        make_policy(
            "network", [game], name="main", seed=0, folder=tmp_path, path=tmp_path / "net", autocast=kind
        )
        for kind in ("", "bfloat16")
    )
    rows = ledger.rows(np.arange(len(ledger)))
    scored = half.score(rows).choices
    assert not torch.equal(scored, plain.score(rows).choices)
    assert torch.equal(scored, half.frozen("then").score(rows).choices)


@pytest.mark.parametrize(
    ("kind", "settings", "complaint"),
    [
        (
            "network",
            {"autocast": "float8"},
            "autocast is 'bfloat16', or '' for the weights' own type, not 'float8'",
        ),
        (
            "network",
            {"path": "{saved}", "width": 8, "blocks": 2},
            "is as it was made; leave out width, blocks",
        ),
        ("q_network", {"path": "{saved}", "width": 8}, "is as it was made; leave out width"),
    ],
)
def test_what_a_network_is_made_with(kind, settings, complaint, tmp_path):
    game = ludus.make("tic_tac_toe")
    given = {name: tmp_path if value == "{saved}" else value for name, value in settings.items()}
    with pytest.raises(ConfigError, match=complaint):
        make_policy(kind, [game], name="main", seed=0, folder=tmp_path, **given)


def test_symmetries_are_the_games(tmp_path):
    with pytest.raises(ConfigError, match="where one array game is learned that has symmetries"):
        Run(
            config_of(
                tmp_path, 1, "game.name=nim", "learners.0.buffer.augment=true", "policies.main.body=trunks"
            )
        )


def test_a_run_ends_when_its_time_is_up(tmp_path):
    config = config_of(tmp_path, 500, "minutes=0.01", "evaluate.every=0", "collect.rows=4")
    folder = train(config, quiet=True)
    told = lines(folder)
    assert told[-1]["step"] < 500
    assert told[-1]["time/seconds"] >= 0.6 > (told[-2]["time/seconds"] if len(told) > 1 else 0.0)
    rates = [line["charts/learning_rate"] for line in told]
    assert rates == sorted(rates, reverse=True)
    assert train(config, quiet=True, resume=True) == folder
    assert lines(folder) == told


@pytest.mark.slow
def test_expert_iteration_learns_tic_tac_toe(tmp_path):
    """The policy alone, without a search: at first uniform. Figures are exact, of both seats in the mean."""
    folder = train(config_of(tmp_path, 40), quiet=True)
    points = {line["step"]: line for line in lines(folder) if "eval/loss_rate/main" in line}
    for step, line in points.items():
        print(step, {name: number for name, number in line.items() if name.startswith("eval/")})
    assert points[0]["eval/return_exact/uniform/main"] == pytest.approx(0, abs=0.02)
    assert points[40]["eval/return_exact/uniform/main"] > 0.3
    assert points[40]["eval/loss_exact/uniform/main"] < 0.7 * points[0]["eval/loss_exact/uniform/main"]
    assert points[40]["eval/loss_rate/main"] < points[0]["eval/loss_rate/main"]
