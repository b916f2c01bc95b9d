"""Several rewards at once: scales do not matter, and TRL says the same."""

import numpy as np
import pytest
from decisions import episode, filled, said

from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.training.estimators.columns import multi_critic, normalise_then_sum
from ludus.training.estimators.credit import earned, gae


def ledger(scale=1.0, seed=0):
    """Two groups of three, two replies each; columns "game", "reach" (times `scale`) and "safe"."""
    rng = np.random.default_rng(seed)
    made = [
        episode(*(said(float(r), value=float(r)) for r in rng.normal(size=2)), group=f"group {i // 3}")
        for i in range(6)
    ]
    plain = Ledger.of(made)
    reach, safe = rng.normal(size=(2, len(plain)))
    return plain.with_rewards("reach", scale * reach).with_rewards("safe", 0.1 * safe)


@pytest.mark.parametrize("estimate", [multi_critic, normalise_then_sum])
def test_the_scale_of_a_component_changes_nothing(estimate):
    plain, scaled = (estimate(ledger(scale), {}, eps=1e-12) for scale in (1.0, 100.0))
    assert np.ptp(plain.advantages) > 1
    assert scaled.advantages == pytest.approx(plain.advantages, abs=1e-9)
    assert scaled.targets != pytest.approx(plain.targets, abs=1)  # a sum of rewards first would not do


def test_multi_critic_by_hand():
    """Returns to go 3, 2 and 0, 1 of two components: each is +-1/sqrt 2 after scaling."""
    made = Ledger.of([episode(said(1.0), said(2.0))])
    both = made.with_rewards("other", np.array([-10.0, 10.0]))
    half = 0.5**0.5
    got = multi_critic(both, {}, weights={"other": 3.0})
    assert got.advantages == pytest.approx([half - 3 * half, -half + 3 * half])
    assert got.targets == pytest.approx([3 + 0, 2 + 10])
    discounted = multi_critic(both, {}, discount=0.5)
    assert discounted.targets == pytest.approx([2 - 5, 2 + 10])


def test_policies_are_brought_to_scale_apart():
    mine = [episode(said(r)) for r in (1, 0, 0)]
    others = [episode(said(r, policy="other"), policy="other") for r in (50, 90)]
    made = [Ledger.of(some) for some in (mine, [*mine, *others])]
    both = [some.with_rewards("other", np.arange(len(some)) ** 2.0) for some in made]
    for estimate in (multi_critic, normalise_then_sum):
        alone, among = (
            estimate(some, {}, **({"within": "batch"} if estimate is normalise_then_sum else {}))
            for some in both
        )
        assert among.advantages[:3] == pytest.approx(alone.advantages)


def test_multi_critic_of_one_component_is_gae_brought_to_scale():
    one = filled(Ledger.of([episode(said(1.0), said(2.0), said(0.0))]), values=[0.1, 0.7, 0.2])
    plain = gae(one, {}, trace=0.9)
    got = multi_critic(one, {}, trace=0.9)
    want = (plain.advantages - plain.advantages.mean()) / plain.advantages.std(ddof=1)
    assert got.advantages == pytest.approx(want)
    assert got.targets == pytest.approx(plain.targets)
    assert np.isnan(multi_critic(filled(one, values=[np.nan] * 3), {}).advantages).all()


def test_normalise_then_sum_is_trl():
    """TRL's lines for `normalize_then_sum`, in torch."""
    torch = pytest.importorskip("torch")
    made = ledger()
    weights = {"game": 1.0, "reach": 0.5, "safe": 2.0}
    each = torch.tensor(np.stack([earned(made, name) for name in weights], 1))
    grouped = each.view(-1, 3, 3)
    scaled = (grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)
    total = (scaled.view(-1, 3) * torch.tensor(list(weights.values()))).sum(1)
    want = (total - total.mean()) / (total.std() + 1e-4)
    got = normalise_then_sum(made, {}, weights=weights).advantages
    assert got == pytest.approx(made.spread(want.numpy()))


def test_unanimous_groups_and_lone_members_get_zero():
    made = Ledger.of(
        [episode(said(r), group=g) for r, g in [(1, "x"), (1, "x"), (3, "y"), (1, "z"), (0, "z")]]
    )
    got = normalise_then_sum(made.with_rewards("other", np.array([2.0, 2, 7, 0, 0])), {}).advantages
    assert got[:3].tolist() == [0, 0, 0]
    assert got[3] == -got[4] > 0


def test_what_tokens_earn_is_a_component():
    made = Ledger.of([episode(said(r, tokens=2), group="x") for r in (1, 0)])
    taxed = filled(made, token_rewards=[0, -1, 0, -5])
    tokens_only = normalise_then_sum(taxed, {}, weights={"game": 0.0}).advantages
    assert tokens_only[0] == -tokens_only[1] > 0
    against = filled(made, token_rewards=[0, -9, 0, 0])
    for weight, sign in ((2.0, 1), (0.5, -1)):  # both components are of one size: the weight decides
        got = normalise_then_sum(against, {}, weights={"game": weight}).advantages
        assert np.sign(got).tolist() == [sign, -sign]
    assert multi_critic(taxed, {}, weights={"game": 0.0}).advantages == pytest.approx([0.5**0.5, -(0.5**0.5)])


def test_a_weight_of_nothing_is_refused():
    for estimate in (multi_critic, normalise_then_sum):
        with pytest.raises(UnknownName, match="reach"):
            estimate(ledger(), {}, weights={"raech": 1.0})
