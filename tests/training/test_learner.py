"""One step of learning."""

import dataclasses

import numpy as np
import pytest
import torch

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError, TrainingError
from ludus.core.ledger import Ledger
from ludus.training.batch import minibatches, whitened
from ludus.training.choices import Named
from ludus.training.learner import Learner
from ludus.training.settings import LearnerConfig, Objective, Optimiser, Selector

GAME = ludus.make("kuhn_poker")
PPO = LearnerConfig(
    policy="main", objective=Objective(value=0.5, entropy=0.1), epochs=2, minibatches=2, normalise="minibatch"
)


def policy(seed=0):
    return fresh(GAME, name="main", seed=seed, hidden=(16,))


def ledger_of(network, n=40):
    return Ledger.of(sorted(ludus.play(GAME, {"player": network}, range(n)), key=lambda e: e.match.seed))


def learner(network=None, config=PPO, **changes):
    return Learner(dataclasses.replace(config, **changes), network or policy(), steps=10, seed=0)


def weights(network):
    return {name: weight.clone() for name, weight in network.state().items()}


def same(one, two, **close):
    return all(torch.allclose(one[name], two[name], **close) for name in one)


def step(one, ledger):
    return one.learn(one.prepare(ledger), step=1)


def test_micro_batches_change_nothing():
    results = []
    for micro in (0, 1, 7):
        one = learner(micro=micro, objective=Objective(value=0.5, entropy=0.1, value_clip=0.2))
        log = step(one, ledger_of(policy()))
        results.append((weights(one.policy), log))
    for other, log in results[1:]:
        assert same(results[0][0], other, atol=1e-6)
        assert log["losses/entropy"] == pytest.approx(results[0][1]["losses/entropy"], rel=1e-5)
    assert not same(results[0][0], weights(policy()), atol=1e-6)


def test_the_first_update_has_ratio_one_and_entropy_of_the_policy():
    network = policy()
    log = step(learner(network, epochs=1, minibatches=1, normalise="none"), ledger_of(network))
    assert log["losses/clipfrac"] == 0
    assert log["losses/approx_kl"] == pytest.approx(0, abs=1e-7)
    assert log["losses/entropy"] == pytest.approx(np.log(2), abs=1e-3)
    assert network.version == 1


def test_without_entropy_it_climbs_to_what_pays():
    """Against one who always passes, betting wins a chip whatever the card."""
    network = policy()
    one = learner(network, objective=Objective(value=0.5), optimiser=Optimiser(rate=0.02))
    for i in range(8):
        lineup = {"player_0": network, "player_1": "first_legal"}
        step(one, Ledger.of(ludus.play(GAME, lineup, range(i * 50, i * 50 + 50))))
    table = ludus.tabular(GAME, network)
    openings = [odds[1] for name, odds in table.items() if name.startswith("player_0") and "No moves" in name]
    assert len(openings) == 3
    assert min(openings) > 0.9


@pytest.mark.parametrize("poison", ["advantage", "weight"])
def test_what_is_not_finite_stops_before_it_reaches_the_weights(poison):
    network = policy()
    one = learner(network, epochs=1, minibatches=1, normalise="none")
    batch = one.prepare(ledger_of(network))
    if poison == "advantage":
        batch.advantages[3] = np.inf
    else:
        batch.targets[3] = 1e30  # a finite value whose square is not
    before = weights(network)
    with pytest.raises(TrainingError, match=r"runs/x/checkpoints/step_00000007"):
        one.learn(batch, step=1, last_good="runs/x/checkpoints/step_00000007")
    assert same(before, weights(network), rtol=0, atol=0)


def test_a_magnet_follows_slowly_and_holds_back():
    free, held = policy(), policy()
    config = dataclasses.replace(PPO, objective=Objective(), optimiser=Optimiser(rate=0.02))
    one = learner(free, config)
    two = learner(held, config, objective=Objective(divergence=10.0), reference="magnet", magnet_rate=0.1)
    for i in range(4):
        step(one, ledger_of(free, 40 + i))
        step(two, ledger_of(held, 40 + i))
    start = weights(policy())

    def moved(state):
        return sum(float((state[name] - start[name]).abs().sum()) for name in start)

    assert 0 < moved(two.reference.state()) < moved(held.state())
    table = [ludus.tabular(GAME, p) for p in (free, held)]
    away = [max(abs(odds[1] - 0.5) for odds in t.values()) for t in table]
    assert away[1] < away[0] / 2


def test_state_continues_bit_for_bit():
    one = learner(
        reference="magnet", objective=Objective(value=0.5, divergence=0.1), estimator=Named("role_baseline")
    )
    ledger = ledger_of(one.policy)
    step(one, ledger)
    one.policy.version = 0
    other = learner(policy(5), one.config)
    other.policy.load(one.policy.state())
    other.load(*one.state())
    logs = [step(each, ledger) for each in (one, other)]
    assert logs[0] == logs[1]
    assert same(weights(one.policy), weights(other.policy), rtol=0, atol=0)
    assert one.memory == other.memory != {}


def test_linear_rates_fall_to_zero():
    one = learner(optimiser=Optimiser(rate=1.0, schedule="linear"))
    ledger = ledger_of(one.policy)
    rates = []
    for number in (1, 6, 10):  # of ten; at the others somebody else learned
        one.policy.version = 0
        rates.append(one.learn(one.prepare(ledger), step=number)["charts/learning_rate"])
    assert rates == pytest.approx([1.0, 0.5, 0.1])
    assert [group["lr"] for group in one.optimiser.param_groups] == pytest.approx([0.1])


def test_nothing_selected_is_no_batch():
    one = learner()
    other = fresh(GAME, name="other", hidden=(8,))
    assert one.prepare(ledger_of(other)) is None


def test_some_of_the_decisions_are_drawn_at_random():
    network = policy()
    ledger = ledger_of(network)
    batches = [
        learner(network, selector=Selector(most=17)).prepare(ledger),
        learner(network, selector=Selector(most=17)).prepare(ledger),
        learner(network, selector=Selector(most=10_000)).prepare(ledger),
    ]
    assert [len(batch) for batch in batches] == [17, 17, len(ledger)]
    assert (batches[0].ledger.ids == batches[1].ledger.ids).all()
    one = learner(network, selector=Selector(most=17))
    again = [one.prepare(ledger).ledger.order.tolist() for _ in range(2)]
    assert again[0] != again[1]


def test_decisions_without_weight_teach_nothing():
    network = policy()
    one, ledger = learner(network), ledger_of(network)
    weight = np.where(np.arange(len(ledger)) % 3 == 0, 0.0, 1.0)
    batch = one.prepare(dataclasses.replace(ledger, weight=weight))
    assert len(batch) == int(weight.sum())
    assert batch.advantages.mean() == pytest.approx(one.prepare(ledger).advantages[weight > 0].mean())
    assert one.prepare(dataclasses.replace(ledger, weight=np.zeros(len(ledger)))) is None


def test_totals_know_how_many_replies_are_open():
    one, ledger = learner(), ledger_of(policy())
    batch = one.prepare(ledger)
    assert batch.totals(np.arange(7)) == (7, 7, 0)
    replies = tuple(((0,), (1,)) if row % 3 else None for row in range(len(batch)))
    mixed = dataclasses.replace(batch, ledger=dataclasses.replace(batch.ledger, replies=replies))
    assert mixed.totals(np.arange(7)) == (7, 7, 3)
    with pytest.raises(ConfigError, match="entropy_over = 'tokens'"):
        one.learn(mixed, step=1)


def test_an_agent_without_values_needs_another_estimator():
    network = policy()
    ledger = ledger_of(network)
    blind = dataclasses.replace(ledger, values=np.full(len(ledger), np.nan))
    with pytest.raises(ValueError, match="estimates no values"):
        learner(network).prepare(blind)
    assert learner(network, estimator=Named("returns")).prepare(blind) is not None


def test_a_divergence_needs_a_reference():
    with pytest.raises(ConfigError, match="reference"):
        learner(objective=Objective(divergence=0.1))


def test_minibatches_share_out_whole_sequences():
    sequence = np.repeat(np.arange(50), np.random.default_rng(0).integers(1, 5, 50))
    shares = list(minibatches(sequence, 4, np.random.default_rng(1)))
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(sequence)))
    owners = [set(sequence[rows]) for rows in shares]
    assert sum(len(o) for o in owners) == 50
    assert max(map(len, shares)) - min(map(len, shares)) <= 8
    assert all(
        (np.diff(rows) == 1).sum() >= len(rows) - len(o) for rows, o in zip(shares, owners, strict=True)
    )
    assert len(list(minibatches(np.zeros(3, np.int64), 4, np.random.default_rng(1)))) == 1


def test_whitening():
    white = whitened(np.array([1.0, 2.0, 6.0]))
    assert white.mean() == pytest.approx(0)
    assert white.std(ddof=1) == pytest.approx(1)
    assert whitened(np.array([3.0])).tolist() == [0.0]
    assert whitened(np.full(4, 0.1)) == pytest.approx(np.zeros(4))
