"""Credit for single tokens: published numbers, and the formulas by another way."""

import statistics

import numpy as np
import pytest
from decisions import episode, filled, one_reply_each, said
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.core.ledger import Ledger
from ludus.training.estimators.groups import group_mean
from ludus.training.estimators.tokens import otb, reinforce_pp, reinforce_pp_baseline, token_gae

quick = settings(max_examples=30, deadline=None)
# a batch: for each episode its group, and for each reply the reward and which tokens are sampled
replies = st.tuples(st.integers(-8, 8).map(lambda n: n / 4), st.lists(st.booleans(), max_size=4))
batches = st.lists(
    st.tuples(st.integers(0, 2), st.lists(replies, min_size=1, max_size=3)), min_size=1, max_size=6
)
seeds = st.integers(0, 2**31)


def ledger_of(batch, seed):
    """The batch with random token rewards, values, probabilities and collisions."""
    made = [
        episode(*(said(r, tokens=mask, value=0.0) for r, mask in steps), group=f"group {g}")
        for g, steps in batch
    ]
    ledger, rng = Ledger.of(made), np.random.default_rng(seed)
    m = len(ledger.ids)
    old = -rng.exponential(size=m)
    others = (1 - np.exp(old)) ** 2  # the most that the squared probabilities of other tokens come to
    return filled(
        ledger, token_rewards=rng.integers(-4, 4, m) / 8, token_values=rng.normal(size=m),
        old=old, collision=np.exp(2 * old) + rng.random(m) * others,
    )  # fmt: skip


def paid_out(ledger):
    """For each sequence its sampled tokens as [place, reward], found by walking forwards."""
    out = []
    for start, count in zip(ledger.starts, ledger.lengths, strict=True):
        tokens = []
        for n in range(start, start + count):
            for m in range(ledger.offset[n], ledger.offset[n] + ledger.length[n]):
                if ledger.sampled[m]:
                    tokens.append([m, ledger.token_rewards[m]])
                elif tokens:
                    tokens[-1][1] += ledger.token_rewards[m]
            if tokens:
                tokens[-1][1] += ledger.rewards[n].sum()
        out.append(tokens)
    return out


def whitened_slowly(numbers):
    if len(set(numbers)) < 2:
        return [0.0] * len(numbers)
    mean, variance = statistics.fmean(numbers), statistics.variance(numbers)
    return [(x - mean) / (variance + 1e-8) ** 0.5 for x in numbers]


def three_tokens(sampled=(True, True, True), values=(0.2, 0.4, 0.6)):
    ledger = Ledger.of([episode(said(1.0, tokens=list(sampled)))])
    return filled(ledger, token_values=values)


# ------------------------------------------------------------------------------ published numbers
def test_token_gae_vectors():
    got = token_gae(three_tokens(), {})
    assert got.token_advantages == pytest.approx([0.751, 0.58, 0.4], abs=1e-6)
    assert got.token_targets == pytest.approx([0.951, 0.98, 1.0], abs=1e-6)
    assert got.advantages == pytest.approx([(0.751 + 0.58 + 0.4) / 3], abs=1e-6)
    assert got.targets == pytest.approx([0.951], abs=1e-6)
    plain = token_gae(three_tokens(), {}, trace=1.0)
    assert plain.token_advantages == pytest.approx([0.8, 0.6, 0.4], abs=1e-6)


@pytest.mark.parametrize("middle", [0.4, -17.0, np.nan])
def test_a_forced_token_hands_on_value_and_advantage(middle):
    got = token_gae(three_tokens((True, False, True), (0.2, middle, 0.6)), {})
    assert got.token_advantages == pytest.approx([0.78, 0, 0.4], abs=1e-6)


def test_whitening_comes_after_the_targets():
    """.751, .58, .4 have mean .577 and variance .030807."""
    got = token_gae(three_tokens(), {}, whiten=True)
    want = (np.array([0.751, 0.58, 0.4]) - 0.577) / 0.030807**0.5
    assert got.token_advantages == pytest.approx(want, abs=1e-5)
    assert got.token_targets == pytest.approx([0.951, 0.98, 1.0], abs=1e-6)


def test_a_cut_game_goes_on_with_the_bootstrap():
    cut = episode(said(1.0, tokens=2), end="cut", bootstrap={"player_0": 2.0})
    ledger = filled(Ledger.of([cut]), token_values=[0.5, 0.25])
    got = token_gae(ledger, {}, discount=0.5, trace=0.5)
    last = 1.0 + 0.5 * 2.0 - 0.25
    assert got.token_advantages == pytest.approx([0.5 * 0.25 - 0.5 + 0.25 * last, last])


def test_tokens_that_nobody_valued_have_no_advantage():
    ledger = Ledger.of([episode(said(1.0, tokens=2)), episode(said(tokens=None), said(2.0, tokens=1))])
    got = token_gae(filled(ledger, token_values=[0.5, np.nan, 1.0]), {})
    assert got.token_advantages == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)
    assert got.advantages == pytest.approx([np.nan, np.nan, 1.0], nan_ok=True)


# ---------------------------------------------------------------------------------- other ways
@quick
@given(batches, seeds)
def test_token_gae_is_the_discounted_sum_of_errors(batch, seed):
    ledger = ledger_of(batch, seed)
    got = token_gae(ledger, {}, discount=0.9, trace=0.8)
    for tokens in paid_out(ledger):
        value = [float(ledger.token_values[m]) for m, _ in tokens] + [0.0]
        error = [r + 0.9 * value[t + 1] - value[t] for t, (_, r) in enumerate(tokens)]
        for t, (m, _) in enumerate(tokens):
            want = sum(0.72**k * e for k, e in enumerate(error[t:]))
            assert got.token_advantages[m] == pytest.approx(want)
            assert got.token_targets[m] == pytest.approx(want + value[t])
    assert (got.token_advantages[~ledger.sampled] == 0).all()


@quick
@given(batches, seeds)
def test_reinforce_pp_whitens_returns_to_go(batch, seed):
    ledger = ledger_of(batch, seed)
    got = reinforce_pp(ledger, {}, discount=0.5)
    place, to_go = [], []
    for tokens in paid_out(ledger):
        for t, (m, _) in enumerate(tokens):
            place.append(m)
            to_go.append(sum(0.5**k * r for k, (_, r) in enumerate(tokens[t:])))
    assert got.token_targets[place] == pytest.approx(to_go)
    assert got.token_advantages[place] == pytest.approx(whitened_slowly(to_go), abs=1e-6)


@quick
@given(batches, seeds)
def test_reinforce_pp_baseline_whitens_centred_returns_over_tokens(batch, seed):
    ledger = ledger_of(batch, seed)
    got = reinforce_pp_baseline(ledger, {}).advantages
    centred = group_mean(ledger, {}, scale=False).advantages
    count = [int(ledger.sampled[o : o + n].sum()) for o, n in zip(ledger.offset, ledger.length, strict=True)]
    want = iter(whitened_slowly([float(a) for a, n in zip(centred, count, strict=True) for _ in range(n)]))
    for a, n in zip(got, count, strict=True):
        for _ in range(n):
            assert a == pytest.approx(next(want), abs=1e-6)


@quick
@given(batches, seeds)
def test_otb_is_the_weighted_baseline_at_each_place(batch, seed):
    ledger = ledger_of(batch, seed)
    got = otb(ledger, {})
    tokens = paid_out(ledger)
    to_go = [[sum(r for _, r in some[t:]) for t in range(len(some))] for some in tokens]
    weight = []
    for some in tokens:
        size = [1 - 2 * np.exp(float(ledger.old[m])) + float(ledger.collision[m]) for m, _ in some]
        weight.append([sum(size[: t + 1]) for t in range(len(size))])
    group = ledger.group[ledger.starts]
    for s, some in enumerate(tokens):
        for t, (m, _) in enumerate(some):
            peers = [i for i in range(len(tokens)) if group[i] == group[s] and len(tokens[i]) > t]
            if len({to_go[i][t] for i in peers}) == 1:
                assert got.token_advantages[m] == 0
            else:
                total = sum(weight[i][t] for i in peers)
                baseline = sum(weight[i][t] * to_go[i][t] for i in peers) / total
                assert got.token_advantages[m] == pytest.approx(to_go[s][t] - baseline, rel=1e-6, abs=1e-6)


# --------------------------------------------------------------------------------- what is counted
def test_otb_by_hand():
    """Certain tokens weigh nothing: (1 - 2 x .5 + .5) = .5 against (1 - 2 + 1) = 0, then .5 against .5."""
    ledger = one_reply_each([[(1.0, 2), (0.0, 2)], [(5.0, 1)]])
    half = np.log(0.5)
    ledger = filled(ledger, old=[half, 0, 0, half, half], collision=[0.5, 1, 1, 0.5, 0.5])
    got = otb(ledger, {})
    assert got.token_advantages == pytest.approx([0, 0.5, -1, -0.5, 0])
    assert got.advantages == pytest.approx([0.25, -0.75, 0])


@quick
@given(batches, seeds, st.integers(-8, 8))
def test_otb_does_not_mind_a_gift_to_everybody(batch, seed, gift):
    # every reply ends in a sampled token, so that the gift reaches all tokens of all
    ledger = ledger_of([(g, [(r, [*mask, True]) for r, mask in steps]) for g, steps in batch], seed)
    column = np.zeros(len(ledger))
    column[np.r_[ledger.starts[1:] - 1, len(ledger) - 1]] = gift
    got = otb(ledger.with_rewards("gift", column), {}).token_advantages
    assert got == pytest.approx(otb(ledger, {}).token_advantages, abs=1e-6)


def test_replies_that_do_not_count_do_not_move_the_mean():
    ledger = one_reply_each([[(1, 1), (0, 1), (50, 3)]])
    counted = filled(ledger, weight=[1, 1, 0])
    deviation = 0.5**0.5
    for estimate in (reinforce_pp, reinforce_pp_baseline):
        assert estimate(counted, {}).advantages[:2] == pytest.approx([0.5 / deviation, -0.5 / deviation])


def test_policies_are_whitened_apart():
    mine = [episode(said(r, tokens=2), group="x") for r in (1, 0)]
    others = [episode(said(r, policy="other"), group="x", policy="other") for r in (50, 90)]
    for estimate in (reinforce_pp, reinforce_pp_baseline):
        alone = estimate(Ledger.of(mine), {}).advantages
        assert estimate(Ledger.of([*mine, *others]), {}).advantages[:2] == pytest.approx(alone)


def test_each_estimator_says_what_it_needs():
    assert token_gae.needs == ("values",)
    assert otb.needs == ("old", "collision")
    assert reinforce_pp.needs == group_mean.needs == ()
