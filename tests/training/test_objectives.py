"""What holds for every loss, aggregation and correction."""

import numpy as np
import pytest
import torch

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.policy import Scores
from ludus.training.choices import Named
from ludus.training.objectives import objective as o
from ludus.training.objectives.terms import LARGEST
from ludus.training.settings import Objective


def part(new, mask, advantages, **fields):
    n = len(mask)
    given = {
        "mask": mask, "advantages": advantages, "targets": torch.zeros(n), "values": None,
        "old": new.detach().clone(), "rollout": new.detach().clone(), "weight": torch.ones(n, 1),
        "correction": torch.ones_like(new.detach()),
    }  # fmt: skip
    return o.Part(**(given | fields))


def tokens(seed=0, n=6, t=5):
    g = torch.Generator().manual_seed(seed)
    new = (-torch.rand(n, t, generator=g)).requires_grad_()
    mask = torch.rand(n, t, generator=g) < 0.7
    mask[0] = False  # a decision without a sampled token
    mask[1, 0] = True
    return new, mask, torch.randn(n, 1, generator=g)


def scores(new, mask, **fields):
    return Scores(logprobs=new, mask=mask, entropy=torch.zeros_like(new), **fields)


SHARES = [
    ("token_mean", {}), ("decision_token_mean", {}), ("decision_token_sum", {}), ("constant", {"length": 7}),
]  # fmt: skip


@pytest.mark.parametrize(("share", "length"), SHARES)
def test_parts_of_a_minibatch_add_up_to_the_whole(share, length):
    new, mask, advantages = tokens()
    totals = o.Totals.of(mask)
    goal = Objective(aggregation=Named(share, length), entropy=0.3, entropy_over="tokens")
    whole, log = o.objective(goal, scores(new, mask), part(new, mask, advantages), totals)
    halves = [
        o.objective(goal, scores(new[i : i + 2], mask[i : i + 2]),
                    part(new[i : i + 2], mask[i : i + 2], advantages[i : i + 2]), totals)
        for i in (0, 2, 4)
    ]  # fmt: skip
    assert sum(float(half.detach()) for half, _ in halves) == pytest.approx(float(whole.detach()))
    for name, number in log.items():
        assert sum(each[name] for _, each in halves) == pytest.approx(number, abs=1e-7)


def test_aggregations_by_hand():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()
    totals = o.Totals.of(mask)
    assert totals == (4, 2, 0)  # a fully masked decision is not counted
    sums = {name: o.AGGREGATIONS.maker(name)(mask, totals, **s).sum(1).tolist() for name, s in SHARES}
    assert sums["token_mean"] == pytest.approx([3 / 4, 1 / 4, 0])
    assert sums["decision_token_mean"] == pytest.approx([1 / 2, 1 / 2, 0])
    assert sums["decision_token_sum"] == pytest.approx([3 / 2, 1 / 2, 0])
    assert sums["constant"] == pytest.approx([3 / 14, 1 / 14, 0])


@pytest.mark.parametrize(("share", "length"), SHARES)
def test_masked_tokens_change_nothing(share, length):
    new, mask, advantages = tokens()
    goal = Objective(aggregation=Named(share, length), entropy_over="tokens")
    before, _ = o.objective(goal, scores(new, mask), part(new, mask, advantages), o.Totals.of(mask))
    more = torch.cat([new, torch.full((6, 3), -4.0)], 1)
    wide = torch.cat([mask, torch.zeros(6, 3, dtype=torch.bool)], 1)
    after, _ = o.objective(goal, scores(more, wide), part(more, wide, advantages), o.Totals.of(wide))
    assert float(after.detach()) == pytest.approx(float(before.detach()))


def test_no_ratio_overflows():
    new, mask, advantages = tokens()
    far = part(new, mask, advantages, old=new.detach() - 500)
    total, log = o.objective(
        Objective(Named("plain"), entropy_over="tokens"), scores(new, mask), far, o.Totals.of(mask)
    )
    assert np.isfinite(float(total.detach()))
    assert log["losses/old_approx_kl"] == -LARGEST


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        ({}, 0.25),
        ({"low": 0.1, "high": 0.1}, 0.75),
        ({"high": 0.28}, 0.0),
        ({"low": 0.1, "high": 0.28}, 0.25),
    ],
)
def test_clipfrac_is_what_the_loss_clips(loss, share):
    """Ratios 1, 1.25, .85 and 1.15, against the bounds that the loss is given."""
    old, mask = torch.zeros(4, 1), torch.ones(4, 1, dtype=torch.bool)
    new = torch.tensor([[1.0], [1.25], [0.85], [1.15]]).log()
    args = scores(new, mask), part(new, mask, torch.ones(4, 1), old=old), o.Totals.of(mask)
    _, log = o.objective(Objective(Named("clip", loss), entropy_over="tokens"), *args)
    assert log["losses/clipfrac"] == pytest.approx(share)
    _, log = o.objective(Objective(Named("plain"), entropy_over="tokens"), *args)
    assert "losses/clipfrac" not in log


def test_divergence_and_entropy_over_choices_by_hand():
    new = torch.tensor([[0.25, 0.75, 0.0]]).log()
    reference = torch.tensor([[0.5, 0.5, 0.0]]).log()
    assert o.exact_divergence(new, reference).item() == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5))
    assert o.choice_entropy(new).item() == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


def test_gradients_stay_finite_beside_illegal_choices():
    logits = torch.zeros(2, 3, requires_grad=True)
    legal = torch.tensor([[True, True, False], [True, False, False]])
    choices = torch.log_softmax(logits.masked_fill(~legal, -1e9), 1).masked_fill(~legal, -torch.inf)
    total = o.choice_entropy(choices).sum() + o.exact_divergence(choices, choices.detach()).sum()
    total.backward()
    assert torch.isfinite(logits.grad).all()


def test_straight_through_k3_has_the_gradient_of_k2():
    new = torch.tensor([-1.0], requires_grad=True)
    reference = torch.tensor([-1.5])
    o.divergence(new, reference, "k3+").sum().backward()
    assert new.grad.item() == pytest.approx(0.5)  # d/dnew of (reference - new)^2 / 2


def test_what_cannot_be_had_is_refused():
    new, mask, advantages = tokens()
    args = scores(new, mask), part(new, mask, advantages), o.Totals.of(mask)
    for goal in (
        Objective(value=0.5),
        Objective(entropy=0.1, entropy_over="choices"),
        Objective(divergence=0.1, entropy_over="tokens"),
        Objective(divergence=0.1, divergence_by="k3", entropy_over="tokens"),
        Objective(Named("clip", {"dual": 1.1})),
    ):
        with pytest.raises(ConfigError):
            o.objective(goal, *args)
    with pytest.raises(UnknownName, match="did you mean 'clip'"):
        o.objective(Objective(Named("clipp")), *args)


def test_legality_pulls_the_mass_of_legal_replies_up_and_refuses_networks():
    new, mask, advantages = tokens()
    mass = torch.full((6,), 0.5, requires_grad=True)
    replies = {"choices": torch.full((6, 2), 0.5).log(), "legal_mass": mass}
    totals = o.Totals.of(mask)
    goal = Objective(legality=0.3)
    without, _ = o.objective(Objective(), scores(new, mask, **replies), part(new, mask, advantages), totals)
    total, _ = o.objective(goal, scores(new, mask, **replies), part(new, mask, advantages), totals)
    counted = mask.any(1).float() / totals.decisions
    assert float((total - without).detach()) == pytest.approx(0.3 * np.log(2) * float(counted.sum()))
    (pull,) = torch.autograd.grad(total, mass)
    assert torch.allclose(pull, -0.3 * counted / 0.5)
    with pytest.raises(ConfigError, match="legality = 0"):
        o.objective(goal, scores(new, mask), part(new, mask, advantages), totals)


def mixed():
    """Two decisions that list their replies, and one whose replies are open, as a language model scores them."""
    new, mask = torch.full((3, 1), -1.0), torch.ones(3, 1, dtype=torch.bool)
    choices = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.0, 0.0]]).log()
    given = {"choices": choices, "legal_mass": torch.tensor([0.5, 0.9, torch.nan])}
    one = part(new, mask, torch.ones(3, 1), reference=new, reference_choices=choices)
    return scores(new, mask, **given), one, o.Totals.of(mask, torch.tensor([False, False, True]))


@pytest.mark.parametrize(
    ("goal", "advice"),
    [
        (Objective(entropy=0.1), "entropy_over = 'tokens'"),
        (Objective(divergence=0.1), "divergence_by = 'k3'"),
    ],
)
def test_open_replies_beside_listed_ones_are_refused_and_not_left_out(goal, advice):
    with pytest.raises(ConfigError, match=advice):
        o.objective(goal, *mixed())
    new, one, _ = mixed()
    unseen = Scores(new.logprobs, torch.tensor([[True], [True], [False]]), new.entropy, None, new.choices)
    total, _ = o.objective(goal, unseen, one, o.Totals.of(unseen.mask))
    assert torch.isfinite(total)  # a decision that does not count need not list anything


def test_legal_mass_is_that_of_the_decisions_that_list_their_replies():
    new, one, totals = mixed()
    _, log = o.objective(Objective(), new, one, totals)
    assert log["losses/legal_mass"] == pytest.approx(0.7)
    assert "losses/entropy" not in log  # one decision is open
    blind = Scores(new.logprobs, new.mask, new.entropy, None, new.choices, torch.full((3,), torch.nan))
    _, log = o.objective(Objective(), blind, one, o.Totals.of(new.mask, torch.ones(3, dtype=torch.bool)))
    assert "losses/legal_mass" not in log


def test_only_some_objectives_read_every_legal_reply():
    assert not o.reads_choices(Objective())
    assert not o.reads_choices(
        Objective(entropy=0.1, entropy_over="tokens", divergence=1.0, divergence_by="k3")
    )
    assert o.reads_choices(Objective(entropy=0.1))
    assert o.reads_choices(Objective(legality=1.0))
    assert o.reads_choices(Objective(divergence=1.0))
    assert o.reads_choices(Objective(entropy_control=Named("adaptive", {"target": 0.5})))
