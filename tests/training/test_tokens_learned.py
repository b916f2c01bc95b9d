"""One step of learning from tokens: what is filled in, shaped, corrected, marked, cut and controlled."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from babbler import WORDS, Babbler, talk

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError
from ludus.core.ledger import Ledger
from ludus.training.batch import micro_batches, rescored
from ludus.training.choices import Named
from ludus.training.learner import Learner
from ludus.training.settings import LearnerConfig, Objective, Optimiser

TOKENS = Objective(Named("plain"), entropy_over="tokens")
BASE = LearnerConfig(
    policy="main",
    estimator=Named("returns"),
    objective=TOKENS,
    optimiser=Optimiser("sgd", rate=1.0, clip=0.0),
)


def learner(who=None, config=BASE, **changes):
    config, policy = dataclasses.replace(config, **changes), who or Babbler()
    anchor = Babbler("anchor", seed=9) if config.reference == "init" else None
    return Learner(config, policy, steps=10, seed=0, anchor=anchor)


def goal(**fields):
    return dataclasses.replace(TOKENS, **fields)


# -------------------------------------------------------------------- micro-batches change nothing
WAYS = {
    "token_gae": {
        "estimator": Named("token_gae"), "objective": goal(loss=Named("clip"), value=0.5, value_clip=0.1),
        "normalise": "batch",
    },
    "otb": {"estimator": Named("otb"), "normalise": "minibatch"},
    "clip_cov": {"objective": goal(loss=Named("clip_cov", {"share": 0.1, "least": 0.01}))},
    "kl_cov": {"objective": goal(loss=Named("kl_cov", {"share": 0.2})), "normalise": "minibatch"},
    "top_entropy": {"objective": goal(modifiers=(Named("top_entropy"), Named("off_policy_sequence_mask", {"delta": 0.01})))},
    "drop": {
        "objective": goal(
            correction=(Named("truncate", {"normalise": True, "most": 1.1}), Named("mask_token", {"most": 1.2})),
            rejected="drop", aggregation=Named("decision_token_mean"),
        )
    },
    "kl_in_reward": {
        "shaping": (Named("kl", {"coefficient": 0.3}),), "reference": "init", "estimator": Named("reinforce_pp"),
        "objective": goal(divergence=0.2, divergence_by="k3", divergence_weighted=True),
    },
    "nft": {"objective": goal(loss=Named("nft"), aggregation=Named("constant", {"length": 6}))},
    "gspo": {"objective": goal(loss=Named("gspo"), aggregation=Named("decision_token_mean")), "old": "rollout"},
    "vespo": {"objective": goal(loss=Named("vespo"), entropy=0.1)},
    "entropy": {
        "objective": goal(entropy=0.1, entropy_control=Named("adaptive", {"target": 1.5, "step": 0.05})),
        "truncated": "mask",
    },
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_micro_batches_change_nothing(way):
    results = []
    for size in ({}, {"micro": 1}, {"micro": 4}, {"micro_tokens": 25}, {"micro": 2, "micro_tokens": 40}):
        one = learner(epochs=2, minibatches=2, **WAYS[way], **size)
        before = one.policy.table.detach().clone()
        logs = []
        for step in (1, 2):
            ledger = talk(Babbler(), seed=step, groups=5)
            one.policy.version = 0
            logs.append(one.learn(one.prepare(ledger), step=step))
        results.append((one.policy.state(), logs, one.controls.state()))
        assert not torch.allclose(before, one.policy.table, atol=1e-3)
    for state, logs, controls in results[1:]:
        assert all(torch.allclose(state[k], results[0][0][k], atol=1e-5) for k in state)
        for mine, first in zip(logs, results[0][1], strict=True):
            assert mine == pytest.approx(first, abs=1e-4, rel=1e-4)
        assert controls == pytest.approx(results[0][2], rel=1e-4)


def test_a_budget_of_tokens_is_kept_and_equal_prompts_stand_together():
    ledger = talk(Babbler(), groups=6, size=5)
    rows = np.random.default_rng(0).permutation(len(ledger))[:-3]
    for most, tokens in ((0, 20), (0, 60), (3, 60), (0, 1), (0, 10**6)):
        parts = list(micro_batches(ledger, rows, most=most, tokens=tokens))
        assert sorted(np.concatenate(parts).tolist()) == sorted(rows.tolist())
        for part in parts:
            assert (np.diff(part) > 0).all()
            prompts = {tuple(ledger.prompts[row].tolist()) for row in part}
            cost = int(ledger.length[part].sum()) + sum(map(len, prompts))
            assert cost <= tokens or len(part) == 1
            assert not most or len(part) <= most
    homes = {}
    for number, part in enumerate(micro_batches(ledger, rows, tokens=150)):
        for row in part:
            homes.setdefault(tuple(ledger.prompts[row].tolist()), set()).add(number)
    assert max(map(len, homes.values())) <= 2
    assert sum(len(h) == 2 for h in homes.values()) < number + 1


def test_scoring_without_learning_is_the_same_however_it_is_cut():
    policy = Babbler()
    ledger = talk(policy, gap=0.0)
    whole = rescored(policy, ledger)
    for cut in (rescored(policy, ledger, most=1), rescored(policy, ledger, tokens=15)):
        for one, other in zip(whole[:4], cut[:4], strict=True):
            assert one == pytest.approx(other, abs=1e-6)
    assert whole.logprobs == pytest.approx(ledger.rollout, abs=1e-6)
    assert (np.exp(-whole.entropy) <= np.sqrt(whole.collision) + 1e-6).all()


# --------------------------------------------------------------------------- order of a step
def test_every_token_is_learned_from_with_its_own_advantage():
    """Policy gradient by hand, token by token, from advantages that an estimator gave to tokens."""
    one = learner(estimator=Named("token_gae", {"trace": 0.5, "discount": 0.9}))
    ledger = talk(one.policy)
    batch = one.prepare(ledger)
    assert batch.by_token and batch.values_by_token
    expected = torch.zeros(WORDS, WORDS)
    table = one.policy.table.detach().clone()
    rows = batch.ledger.rows()
    at = 0
    for prompt, length in zip(rows.prompts, batch.ledger.length, strict=True):
        before = int(prompt[-1])
        for place in range(at, at + length):
            word = int(batch.ledger.ids[place])
            if batch.ledger.sampled[place]:
                expected[before] -= batch.advantages[place] * torch.softmax(table[before], -1)
                expected[before, word] += batch.advantages[place]
            before = word
        at += length
    one.learn(batch, step=1)
    moved = one.policy.table.detach() - table
    assert torch.allclose(moved, expected.float() / int(batch.ledger.sampled.sum()), atol=1e-6)


def test_values_of_tokens_are_learned():
    one = learner(estimator=Named("token_gae"), objective=goal(value=1.0))
    ledger = talk(one.policy, groups=8)
    losses = []
    for _ in range(60):
        one.policy.version = 0
        losses.append(one.learn(one.prepare(ledger), step=1)["losses/value_loss"])
    assert losses[-1] < 0.9 * losses[0]
    silent = learner(Babbler(values=False), objective=goal(value=1.0))
    batch = silent.prepare(ledger)
    batch = dataclasses.replace(batch, values_by_token=True, targets=np.zeros(len(batch.ledger.ids)))
    with pytest.raises(ConfigError, match="values every token"):
        silent.learn(batch, step=1)


def test_a_policy_is_rescored_once_for_estimator_loss_and_entropy():
    policy = Babbler()
    ledger = talk(policy)
    policy.calls = 0
    one = learner(policy, estimator=Named("otb"), objective=goal(modifiers=(Named("top_entropy"),)))
    batch = one.prepare(ledger)
    assert policy.calls == 1
    assert np.isfinite(batch.ledger.collision).all() and np.isfinite(batch.entropy).all()
    assert np.isnan(ledger.old).all()  # the ledger of the step, which other learners share, is as it was
    one = learner(policy, old="rollout")
    policy.calls = 0
    assert np.array_equal(one.prepare(ledger).ledger.old, ledger.rollout)
    assert policy.calls == 0


def test_only_the_learning_policy_is_asked():
    mine, other = Babbler(), Babbler("other", seed=4)
    both = talk(mine)
    names = np.where(np.arange(len(both)) % 2, 0, 1).astype(np.int32)
    names = names[both.starts][both.sequence]
    both = dataclasses.replace(both, policies=("main", "other"), policy=names)
    batch = learner(other, policy="other", estimator=Named("otb")).prepare(both)
    assert np.isfinite(batch.advantages).all()
    assert 0 < len(batch) == int((names == 1).sum())
    shaped = learner(
        mine, shaping=(Named("kl", {"coefficient": 1.0}),), reference="init", estimator=Named("reinforce_pp")
    )
    assert len(shaped.prepare(both)) == int((names == 0).sum())


def test_the_divergence_in_the_reward_is_what_leaving_the_reference_costs():
    policy = Babbler()
    ledger = talk(policy)
    far = learner(policy, shaping=(Named("kl", {"coefficient": 0.5}),), reference="init")
    near = learner(policy)
    own, anchor = rescored(policy, ledger).logprobs, rescored(far.reference, ledger).logprobs
    cost = 0.5 * ledger.summed(np.where(ledger.sampled, own - anchor, 0.0))
    got = far.prepare(ledger)
    per_sequence = ledger.spread(np.add.reduceat(cost, ledger.starts))
    assert near.prepare(ledger).advantages - got.advantages == pytest.approx(per_sequence, abs=1e-5)
    assert got.numbers["charts/reward/tokens"] == pytest.approx(-cost.sum() / len(ledger.starts), abs=1e-6)


def test_the_reward_pays_by_the_controlled_coefficient():
    config = {
        "shaping": (Named("kl", {"coefficient": 0.5}),), "reference": "init",
        "objective": goal(divergence_control=Named("adaptive", {"target": 1e-9, "horizon": 100})),
    }  # fmt: skip
    one = learner(**config)
    ledger = talk(one.policy)
    assert len(ledger) < 100
    first = one.prepare(ledger)
    assert one.controls.reward == pytest.approx(0.5 * (1 + 0.2 * len(ledger) / 100))
    second = one.prepare(ledger)
    plain = learner(one.policy).prepare(ledger)
    ratio = (second.advantages - plain.advantages) / (first.advantages - plain.advantages)
    assert ratio == pytest.approx(np.full(len(ratio), 1 + 0.2 * len(ledger) / 100), rel=1e-5)


def test_replies_that_were_cut():
    ledger = talk(Babbler(), groups=6, cut=0.3)
    cut = ledger.spread(np.logical_or.reduceat(ledger.truncated, ledger.starts))
    assert 0 < ledger.truncated.sum() < cut.sum() < len(ledger)
    group = {"estimator": Named("group_mean", {"scale": False})}
    keep, mask, drop = (learner(truncated=how, **group).prepare(ledger) for how in ("keep", "mask", "drop"))
    assert (len(keep), len(mask), len(drop)) == (
        len(ledger),
        int((~ledger.truncated).sum()),
        int((~cut).sum()),
    )
    assert np.array_equal(mask.advantages, keep.advantages[~ledger.truncated])
    alone = learner(**group).prepare(ledger.take(~cut))
    assert np.array_equal(drop.advantages, alone.advantages)
    assert not np.array_equal(drop.advantages, keep.advantages[~cut])
    every = dataclasses.replace(ledger, truncated=np.ones(len(ledger), bool))
    assert learner(truncated="drop", **group).prepare(every) is None


def test_success_is_that_of_peers_in_the_game():
    ledger = talk(Babbler(), groups=3, size=4)
    batch = learner(objective=goal(loss=Named("nft"), aggregation=Named("constant", {"length": 6}))).prepare(
        ledger
    )
    right = (ledger.returns > 0).astype(float)
    group = ledger.group[ledger.starts]
    rate = np.array([right[group == g].mean() for g in group])
    assert np.array_equal(batch.right, ledger.spread(right))
    assert batch.rate == pytest.approx(ledger.spread(rate))
    above = learner(objective=goal(loss=Named("nft", {"above": 1.0})))
    assert above.prepare(ledger).right.sum() == 0


# --------------------------------------------------------------------------- what engines say
def test_mismatch_is_told():
    policy = Babbler()
    batch = learner(policy).prepare(talk(policy, gap=0.3))
    gap = (batch.ledger.old - batch.ledger.rollout)[batch.ledger.sampled].astype(float)
    weight = np.exp(gap)
    log = learner(policy).learn(batch, step=1)
    assert log["mismatch/kl"] == pytest.approx((weight - gap - 1).mean())
    assert log["mismatch/weight_max"] == pytest.approx(weight.max())
    assert log["mismatch/ess"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum() / len(gap))
    assert log["mismatch/masked"] == 0
    policy = Babbler()
    exact = learner(policy).prepare(talk(policy, gap=0.0)).numbers
    assert (exact["mismatch/ess"], exact["mismatch/kl"]) == pytest.approx((1, 0), abs=1e-6)
    assert not any(
        "mismatch" in name for name in learner(policy, old="rollout").prepare(talk(policy)).numbers
    )


@pytest.mark.parametrize("rejected", ["count", "drop"])
def test_rejected_tokens_carry_no_loss_and_may_leave_the_count(rejected):
    policy = Babbler()
    objective = goal(
        correction=(Named("mask_token", {"least": 0.9, "most": 1.1, "inside": "one"}),), rejected=rejected
    )
    one = learner(policy, objective=objective)
    batch = one.prepare(talk(policy))
    kept = batch.correction != 0
    sampled = int(batch.ledger.sampled.sum())
    assert 0 < kept.sum() < sampled
    assert batch.numbers["mismatch/masked"] == pytest.approx(1 - kept.sum() / sampled)
    every = np.arange(len(batch))
    assert batch.totals(every).tokens == (kept.sum() if rejected == "drop" else sampled)
    loss = one.learn(batch, step=1)["losses/policy_loss"]
    advantages = np.repeat(batch.advantages, batch.ledger.length)
    assert loss == pytest.approx(-(advantages * kept).sum() / batch.totals(every).tokens, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": goal(correction=(Named("truncate"),))},
        {"objective": goal(loss=Named("dppo"))},
        {"objective": goal(modifiers=(Named("off_policy_sequence_mask"),))},
        {"old": "rollout"},
    ],
)
def test_engines_that_tell_no_log_probabilities_are_not_compared(changes):
    policy = Babbler()
    ledger = talk(policy)
    ledger = dataclasses.replace(ledger, rollout=np.full_like(ledger.rollout, np.nan))
    assert learner(policy).prepare(ledger).numbers == {}
    with pytest.raises(ConfigError, match="reported no log-probabilities"):
        learner(policy, **changes).prepare(ledger)


def test_marks_fall_on_the_tokens_that_were_meant():
    one = learner(objective=goal(loss=Named("kl_cov", {"share": 0.1}), modifiers=(Named("top_entropy"),)))
    batch = one.prepare(talk(one.policy, groups=6))
    rows = np.arange(1, len(batch), 2)
    mine = np.isin(np.repeat(np.arange(len(batch)), batch.ledger.length), rows) & batch.ledger.sampled
    advantages = np.repeat(batch.advantages, batch.ledger.length)[mine]
    old = batch.ledger.old[mine].astype(float)
    covariance = (advantages - advantages.mean()) * (old - old.mean())
    marks = one._marks(batch, rows, batch.advantages)
    least = np.sort(covariance)[-int(0.1 * mine.sum())]
    assert np.array_equal(marks["kl_cov"][mine], covariance >= least)
    entropy = batch.entropy[mine]
    assert marks["top_entropy"][mine].sum() == pytest.approx(0.2 * mine.sum(), abs=2)
    assert entropy[marks["top_entropy"][mine]].min() > entropy[~marks["top_entropy"][mine]].max()
    assert not any(marked[~mine].any() for marked in marks.values())


@pytest.mark.parametrize("estimator", ["returns", "token_gae"])
def test_a_minibatch_is_whitened_by_itself(estimator):
    one = learner(estimator=Named(estimator))
    batch = one.prepare(talk(one.policy, groups=6))
    rows = np.arange(3, len(batch), 2)
    where = batch.places(rows) if batch.by_token else rows
    assert batch.by_token == (estimator == "token_gae")
    white = batch.whitened(rows)
    assert (white[where].mean(), white[where].std(ddof=1)) == pytest.approx((0, 1), abs=1e-6)
    rest = np.setdiff1d(np.arange(len(white)), where)
    assert len(rest) and np.array_equal(white[rest], batch.advantages[rest])
    assert np.corrcoef(white[where], batch.advantages[where])[0, 1] == pytest.approx(1)


def test_what_a_policy_cannot_tell_is_asked_of_another():
    game = ludus.make("kuhn_poker")
    network = fresh(game, name="main", hidden=(8,))
    ledger = Ledger.of(ludus.play(game, {"player": network}, range(9)))
    with pytest.raises(ConfigError, match=r"token_gae needs values .* tells none"):
        learner(network, estimator=Named("token_gae")).prepare(ledger)


# --------------------------------------------------------------------- what checkpoints keep
def test_draws_and_coefficients_go_on_where_they_were():
    config = {
        "objective": goal(
            loss=Named("clip_cov", {"share": 0.2, "least": -9.0, "most": 9.0}), entropy=0.1,
            entropy_control=Named("adaptive", {"target": 9.0}), divergence=0.1, divergence_by="k3",
            divergence_control=Named("adaptive"),
        ),
        "reference": "init",
    }  # fmt: skip
    one = learner(**config)
    ledger = talk(one.policy)
    one.learn(one.prepare(ledger), step=1)
    one.policy.version = 0
    other = learner(Babbler(seed=3), **config)
    other.policy.load(one.policy.state())
    other.load(*one.state())
    logs = [each.learn(each.prepare(ledger), step=2) for each in (one, other)]
    assert logs[0] == logs[1]
    assert torch.equal(one.policy.table, other.policy.table)
    assert logs[0]["charts/entropy_coefficient"] == pytest.approx(0.11)
    assert one.controls.state() == other.controls.state()
    other = learner(Babbler(), **config)
    marks = [np.concatenate(list(other._marks(b, np.arange(len(b)), b.advantages).values()))
             for b in itertools.repeat(other.prepare(ledger), 2)]  # fmt: skip
    assert not np.array_equal(*marks)  # drawn anew for each minibatch


def test_rates_rise_and_fall():
    one = learner(optimiser=Optimiser("sgd", rate=2.0, schedule="cosine", warmup=4))
    assert [one._rate(step, 0.0) for step in (1, 4, 6)] == pytest.approx(
        [0.5, 1 + np.cos(0.3 * np.pi), 1 + np.cos(0.5 * np.pi)]
    )
    one = learner(optimiser=Optimiser("adamw", betas=(0.9, 0.95)))
    assert one.optimiser.param_groups[0]["betas"] == (0.9, 0.95)


def test_shaping_by_the_reference_needs_one():
    with pytest.raises(ConfigError, match="reference"):
        learner(shaping=(Named("kl", {"coefficient": 0.1}),))


# ---------------------------------------------------------------------------- a language model
def test_a_language_model_gets_the_same_gradient_however_it_is_cut(tmp_path):
    from ludus.agents.language.local import LanguageModel
    from ludus.agents.language.models.tiny import make_tiny

    path = make_tiny(tmp_path, width=32, layers=2, heads=2)
    weights = []
    for size in ({}, {"micro": 1}, {"micro": 3}, {"micro_tokens": 30}, {"micro_tokens": 60}):
        policy = LanguageModel(path, name="main")
        start = [weight.detach().clone() for weight in policy.parameters()]
        one = learner(
            policy, estimator=Named("group_mean"), objective=goal(loss=Named("gspo"), entropy=0.1), **size
        )
        ledger = talk(Babbler(), groups=4)
        log = one.learn(one.prepare(ledger), step=1)
        weights.append([a.detach() - b for a, b in zip(policy.parameters(), start, strict=True)])
        assert log["losses/approx_kl"] == pytest.approx(0, abs=1e-6)
    assert max(float(moved.abs().max()) for moved in weights[0]) > 1e-2
    for other in weights[1:]:
        for one, first in zip(other, weights[0], strict=True):
            assert torch.allclose(one, first, rtol=0, atol=1e-5)
