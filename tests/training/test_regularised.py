"""R-NaD: v-trace and the loss of NeuRD against numbers worked out by hand, and the references' schedule."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError
from ludus.training.estimators.regularised import v_trace
from ludus.training.lineup import Cast
from ludus.training.objectives.neurd import neurd, none
from ludus.training.objectives.terms import Terms
from ludus.training.references import Regularisation
from ludus.training.whole import WholeCollector


def kuhn(tmp_path, rows=200):
    game = ludus.make("kuhn_poker")
    policy = fresh(game, name="main", hidden=(8,))
    cast = Cast({"main": policy}, tmp_path, np.random.default_rng(0))
    return WholeCollector(game, rows=rows, length=3, seed=1).collect(cast, {"player": "main"})[0]


def three_decisions(tmp_path):
    """One game: the first player passes and calls, the second bets in between and loses 1."""
    ledger = kuhn(tmp_path)
    long = np.bincount(ledger.episode, minlength=ledger.episode.max() + 1) == 3
    one = ledger.take(ledger.episode == np.flatnonzero(long)[0])
    assert one.order.tolist() == [0, 2, 1]  # the first player's two decisions, then the other's
    return dataclasses.replace(
        one,
        rewards=np.array([[0.0, -0.4], [1.0, -0.6], [-1.0, -0.2]]),  # divergences .4, .6 and .2
        columns=("game", "divergence"),
        values=np.array([0.2, 0.5, -0.1]),
        rollout=np.zeros(3, np.float32),
        old=np.log([0.5, 1.5, 2.0]).astype(np.float32),
    )


def test_v_trace_by_hand(tmp_path):
    """Going back: the call .2 above its value, times 1.5; the bet pays .1 and is paid .3; the pass sees both."""
    credit = v_trace(three_decisions(tmp_path), {}, regularisation=0.5)
    assert credit.targets == pytest.approx([0.7, 0.8, -2.2])
    assert credit.advantages == pytest.approx([1.5, 0.5, -1.1])


def test_v_trace_clips_ratios_and_stops_at_values(tmp_path):
    ledger = three_decisions(tmp_path)
    clipped = v_trace(ledger, {}, regularisation=0.5, most_ratio=1.0)
    assert clipped.targets == pytest.approx([0.2 + 0.2 + (0.7 - 0.5), 0.7, -0.8])
    short = v_trace(ledger, {}, regularisation=0.5, trace=0.0)
    assert short.targets == pytest.approx([0.4, 0.8, -2.2])


def test_on_policy_and_without_regularisation_targets_are_returns(tmp_path):
    ledger = kuhn(tmp_path)
    ledger = dataclasses.replace(ledger, old=ledger.rollout).with_rewards("divergence", np.ones(len(ledger)))
    credit = v_trace(ledger, {}, regularisation=0.0)
    paid = ledger.spread(ledger.take(np.arange(len(ledger))).returns) - ledger.spread(ledger.lengths)
    assert credit.targets == pytest.approx(paid)
    assert credit.advantages == pytest.approx(paid - ledger.values)


def test_v_trace_refuses_cut_games(tmp_path):
    ledger = three_decisions(tmp_path)
    with pytest.raises(ConfigError, match="whole games of two players"):
        v_trace(dataclasses.replace(ledger, cut=np.array([False, True, False])), {})


def terms(logits, played, mu, advantage):
    legal = torch.isfinite(logits)
    choices = torch.log_softmax(logits, -1)
    reference = torch.where(legal, torch.log(legal / legal.sum(1, keepdim=True)), -torch.inf)
    new = choices.gather(1, torch.tensor([[played]]))
    one, mask = torch.ones_like(new), torch.ones_like(new, dtype=torch.bool)
    return Terms.of(
        new, new.detach(), math.log(mu) * one, advantage * one, mask, one,
        choices=choices, reference_choices=reference, ids=torch.tensor([[played]]),
    )  # fmt: skip


def test_neurd_by_hand():
    """Probabilities .75 and .25 and an illegal move; the second was played, by .5, and earned 1 more than expected."""
    logits = torch.tensor([[math.log(3.0), -torch.inf, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = neurd(terms(logits, 2, 0.5, 1.0))
    worth = np.array([-0.2 * math.log(1.5), 2.0 - 0.2 * math.log(0.5)])
    force = worth - (0.75 * worth[0] + 0.25 * worth[1])
    assert force == pytest.approx([-0.554930, 1.664791], abs=1e-6)
    assert loss.item() == pytest.approx(0.549306 * 0.554930 + 0.549306 * 1.664791, abs=1e-5)
    loss.sum().backward()
    pushed = -(force - force.mean())
    assert logits.grad[0, [0, 2]].tolist() == pytest.approx(pushed)
    assert logits.grad[0, 1] == 0


def test_neurd_pushes_no_logit_beyond_the_threshold():
    logits = torch.tensor([[math.log(3.0), -torch.inf, 0.0]], dtype=torch.float64, requires_grad=True)
    assert (
        neurd(terms(logits, 0, 0.5, 1.0), threshold=0.5).item() == 0
    )  # further apart than .5 from their mean
    assert neurd(terms(logits, 0, 0.5, 1.0), threshold=0.6).item() != 0
    back = neurd(terms(logits, 2, 0.5, 1.0), threshold=0.5)
    assert back.item() == pytest.approx(
        neurd(terms(logits, 2, 0.5, 1.0)).item()
    )  # towards each other they may
    bounded = neurd(terms(logits, 2, 0.5, 1.0), most=0.1)
    assert bounded.item() == pytest.approx(2 * 0.1 * 0.549306, abs=1e-6)


def test_neurd_wants_choices_and_none_is_zero():
    logits = torch.zeros(1, 3, dtype=torch.float64)
    known = terms(logits, 0, 0.5, 1.0)
    with pytest.raises(ConfigError, match="all legal choices"):
        neurd(dataclasses.replace(known, choices=None))
    assert none(known).tolist() == [[0.0]]


def test_references_move_on_at_the_end_of_an_iteration(tmp_path):
    game = ludus.make("kuhn_poker")
    policy = fresh(game, name="main", hidden=(8,))
    held = Regularisation(policy, every=4)
    first = {name: weight.clone() for name, weight in policy.state().items()}
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(1.0)
    shares = []
    for _ in range(4):
        shares.append(held.share)
        held.follow(policy, 0.5)
    assert shares == [0.0, 0.5, 1.0, 1.0]
    state = held.state()
    for name, weight in first.items():
        assert torch.allclose(state[f"before.{name}"], weight)
        assert torch.allclose(state[f"now.{name}"], weight + 1 - 0.5**4, atol=1e-5)
    rows = kuhn(tmp_path, rows=3).rows()
    held.steps = 5  # half way between the two
    choices = held.score(rows).choices
    assert torch.isfinite(choices).equal(torch.from_numpy(rows.legal))
    other = Regularisation(policy, every=4)
    other.load({name: part.clone() for name, part in held.state().items()})
    assert other.steps == 5
    assert torch.equal(other.score(rows).choices, choices)
    held.steps = 4
    before = held.score(rows).choices
    held.steps = 6
    now = held.score(rows).choices
    legal = torch.from_numpy(rows.legal)
    assert torch.allclose(choices[legal], ((before + now) / 2)[legal])
