"""Credit from peers: formulas by another way, and what holds whatever the returns are."""

import statistics

import numpy as np
import pytest
from decisions import episode, one_reply_each, said
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.training.estimators.columns import normalise_then_sum
from ludus.training.estimators.groups import gpg, group_mean, leave_one_out, opo, pass_at_k, remax, success
from ludus.training.estimators.tokens import reinforce_pp_baseline

ONE_OF_FOUR = [(1, 10), (0, 20), (0, 30), (0, 40)]
# eighths add up without rounding, so that unanimous groups are exactly that
returns = st.integers(-16, 16).map(lambda n: n / 8)
members = st.tuples(returns, st.integers(1, 5))
batches = st.lists(st.lists(members, min_size=1, max_size=6), min_size=1, max_size=5)
ALL = [group_mean, leave_one_out, opo, pass_at_k, gpg]
quick = settings(max_examples=40, deadline=None)


def by_group(numbers, groups):
    """One advantage for each member, cut into groups again."""
    return np.split(numbers, np.cumsum([len(g) for g in groups])[:-1])


# ----------------------------------------------------------------------------- whatever is earned
@quick
@given(batches)
def test_centred_estimates_add_up_to_zero_in_each_group(groups):
    ledger = one_reply_each(groups)
    for credit in (
        group_mean(ledger, {}), group_mean(ledger, {}, scale=False), group_mean(ledger, {}, std="batch"),
        leave_one_out(ledger, {}), leave_one_out(ledger, {}, normalise=True), gpg(ledger, {}),
    ):  # fmt: skip
        for got in by_group(credit.advantages, groups):
            assert got.sum() == pytest.approx(0, abs=1e-9)
    for got, members in zip(by_group(opo(ledger, {}).advantages, groups), groups, strict=True):
        assert got @ [tokens for _, tokens in members] == pytest.approx(0, abs=1e-9)


@quick
@given(batches)
def test_lone_members_and_unanimous_groups_get_exactly_zero(groups):
    ledger = one_reply_each(groups)
    for estimate in ALL:
        for got, members in zip(by_group(estimate(ledger, {}).advantages, groups), groups, strict=True):
            if len({reward for reward, _ in members}) == 1:
                assert got.tolist() == [0] * len(members)


@quick
@given(batches)
def test_leave_one_out_is_dr_grpo_scaled(groups):
    ledger = one_reply_each(groups)
    centred, left_out = (
        group_mean(ledger, {}, scale=False).advantages,
        leave_one_out(ledger, {}).advantages,
    )
    for a, b in zip(by_group(centred, groups), by_group(left_out, groups), strict=True):
        if len(a) > 1:
            assert b == pytest.approx(a * len(a) / (len(a) - 1))


@quick
@given(batches, st.lists(returns, min_size=5, max_size=5))
def test_a_gift_to_a_whole_group_changes_nothing(groups, gifts):
    given_more = [[(r + gift, n) for r, n in g] for g, gift in zip(groups, gifts, strict=False)]
    before, after = one_reply_each(groups), one_reply_each(given_more)
    for estimate in (group_mean, leave_one_out, opo, pass_at_k):
        assert estimate(after, {}).advantages == pytest.approx(estimate(before, {}).advantages, abs=1e-9)
    plain, gifted = (group_mean(x, {}, scale=False).advantages for x in (before, after))
    assert gifted == pytest.approx(plain, abs=1e-9)


@quick
@given(batches, st.randoms(use_true_random=False))
def test_the_order_of_groups_and_members_does_not_matter(groups, random):
    places = [(g, m) for g, members in enumerate(groups) for m in range(len(members))]
    shuffled = random.sample(places, len(places))
    mixed = Ledger.of(
        [episode(said(groups[g][m][0], tokens=groups[g][m][1]), group=f"group {g}") for g, m in shuffled]
    )
    index = [places.index(place) for place in shuffled]
    for estimate in ALL:
        straight = estimate(one_reply_each(groups), {}).advantages
        assert estimate(mixed, {}).advantages == pytest.approx(straight[index], abs=1e-12)


# ------------------------------------------------------------------------------- formulas, slowly
@quick
@given(batches)
def test_every_formula_by_hand(groups):
    ledger = one_reply_each(groups)
    batch = [reward for members in groups for reward, _ in members]
    deviation = statistics.stdev(batch) if len(batch) > 1 else 0.0
    alpha = len(batch) / max(sum(reward != 0 for reward in batch), 1)
    want = {name: [] for name in ("group", "batch", "opo", "pass", "gpg")}
    for members in groups:
        pool, length = [r for r, _ in members], [n for _, n in members]
        mean = statistics.fmean(pool)
        best = max(pool)
        if len(set(pool)) == 1:
            for column in want.values():
                column += [0.0] * len(pool)
            continue
        spread = statistics.stdev(pool)
        weighted = sum(r * n for r, n in members) / sum(length)
        want["group"] += [(r - mean) / (spread + 1e-6) for r in pool]
        want["batch"] += [(r - mean) / (deviation + 1e-4) for r in pool]
        want["opo"] += [r - weighted for r in pool]
        lead = (best - sorted(pool)[-2]) / (spread + 1e-6)
        want["pass"] += [lead if r == best else 0.0 for r in pool]
        want["gpg"] += [alpha * (r - mean) / 2 for r in pool]
    got = {
        "group": group_mean(ledger, {}), "batch": group_mean(ledger, {}, std="batch", eps=1e-4),
        "opo": opo(ledger, {}), "pass": pass_at_k(ledger, {}), "gpg": gpg(ledger, {}, divisor=2.0),
    }  # fmt: skip
    for name, credit in got.items():
        assert credit.advantages == pytest.approx(want[name], abs=1e-9), name


def test_the_deviation_of_the_batch():
    """Returns 1, 0, 0, 0 and 4, 2: centred they are .75, -.25 x3, 1, -1; their own deviation is 1.6020820."""
    ledger = one_reply_each([ONE_OF_FOUR, [(4, 1), (2, 1)]])
    got = group_mean(ledger, {}, std="batch", eps=0.0).advantages
    assert got == pytest.approx(np.array([0.75, -0.25, -0.25, -0.25, 1, -1]) / 1.6020820, abs=1e-7)
    for same in ({"scale": False}, {"std": "none"}, {"std": "none", "scale": False}):
        assert group_mean(ledger, {}, **same).advantages.tolist() == [0.75, -0.25, -0.25, -0.25, 1, -1]


def test_leave_one_out_normalised():
    ledger = one_reply_each([ONE_OF_FOUR, [(4, 1), (2, 1)]])
    plain = leave_one_out(ledger, {}).advantages
    got = leave_one_out(ledger, {}, normalise=True, eps=1e-4).advantages
    assert got == pytest.approx(plain / (statistics.stdev(plain) + 1e-4))


def test_other_policies_move_neither_the_batch_deviation_nor_alpha():
    mine = [episode(said(r), group="x") for r in (1, 0, 0)]
    others = [episode(said(r, policy="other"), group="x", policy="other") for r in (50, 0, 90)]
    for estimate, more in ((group_mean, {"std": "batch"}), (leave_one_out, {"normalise": True}), (gpg, {})):
        alone = estimate(Ledger.of(mine), {}, **more).advantages
        assert estimate(Ledger.of([*mine, *others]), {}, **more).advantages[:3] == pytest.approx(alone)


def test_length_is_what_a_seat_sampled_in_the_whole_episode():
    long = episode(said(0, tokens=[True, False, True, True]), said(1, tokens=2), group="x")
    ledger = Ledger.of([long, episode(said(0, tokens=15), group="x")])
    baseline = 5 / 20
    assert opo(ledger, {}).advantages == pytest.approx([1 - baseline, 1 - baseline, -baseline])
    silent = Ledger.of([episode(said(r, tokens=None), group="x") for r in (1, 0)])
    assert opo(silent, {}).advantages.tolist() == [0, 0]


def test_two_best_lead_nobody():
    assert pass_at_k(one_reply_each([[(1, 1), (1, 1), (0, 1)]]), {}).advantages.tolist() == [0, 0, 0]
    assert pass_at_k(one_reply_each([[(1, 1), (3, 1)]]), {}, scale=False).advantages.tolist() == [0, 2]


# ---------------------------------------------------------------------------- who is compared
def test_remax_takes_the_greedy_play_of_the_same_start():
    def play(group, sample, a, b):
        return episode(said(a), said(b, seat="player_1"), group=group, sample=sample)

    ledger = Ledger.of([play("x", 0, 1, -1), play("x", 1, 3, -3), play("x", 2, 2, -2), play("y", 1, 9, 9)])
    # rows: player_0 and player_1 of each play; the greedy one is compared with nothing, nor is "y"
    assert remax(ledger, {}).advantages.tolist() == [0, 0, 2, -2, 1, -1, 0, 0]
    assert remax(ledger, {}, greedy=2).advantages.tolist() == [-1, 1, 1, -1, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match="no episode is sample 7"):
        remax(ledger, {}, greedy=7)


def test_cut_replies_can_be_left_out_of_the_group():
    replies = [(said(1),), (said(0),), (said(0), said(-4, truncated=True))]
    ledger = Ledger.of([episode(*some, group="x") for some in replies])
    assert group_mean(ledger, {}, scale=False).advantages.tolist() == [2, 1, -3, -3]
    assert group_mean(ledger, {}, scale=False, untruncated=True).advantages.tolist() == [0.5, -0.5, 0, 0]
    all_cut = Ledger.of([episode(said(r, truncated=True), group="x") for r in (1, 0)])
    assert leave_one_out(all_cut, {}, untruncated=True).advantages.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (group_mean, {"std": "batch"}),
        (leave_one_out, {"normalise": True}),
        (gpg, {}),
        (normalise_then_sum, {}),
        (reinforce_pp_baseline, {}),
    ],
)
def test_cut_replies_that_are_left_out_move_no_figure_of_the_batch(function, settings):
    whole = [episode(said(r), group=group) for r, group in ((1, "x"), (0, "x"), (3, "y"), (-2, "y"))]
    cut = [episode(said(r, truncated=True), group="x") for r in (7, 0)]
    expected = function(Ledger.of(whole), {}, untruncated=True, **settings).advantages
    found = function(Ledger.of([*whole, *cut]), {}, untruncated=True, **settings).advantages
    assert found.tolist() == [*expected.tolist(), 0, 0]


def test_success_by_the_game_column_alone():
    ledger = Ledger.of(
        [
            *(episode(said(r), said(0), group="x") for r in (1, 0, -1, 2)),
            *(episode(said(r), group="y") for r in (0.5, 0.5)),
        ]
    )
    fined = ledger.with_rewards("fine", np.full(len(ledger), -10.0))
    for some in (ledger, fined):
        got = success(some)
        assert got.rate.tolist() == [0.5] * 8 + [1, 1]
        assert got.right.tolist() == [True, True, False, False, False, False, True, True, True, True]
    assert success(fined, column="").rate.tolist() == [0] * 10
    assert success(ledger, threshold=1).rate.tolist() == [0.25] * 8 + [0, 0]
    assert success(ledger, within="batch").rate == pytest.approx([4 / 6] * 10)
    with pytest.raises(UnknownName, match="fine"):
        success(fined, column="fin")


def test_contradictory_and_unknown_settings_are_refused():
    ledger = one_reply_each([ONE_OF_FOUR])
    with pytest.raises(UnknownName, match="batch"):
        group_mean(ledger, {}, std="bacth")
    with pytest.raises(ConfigError, match="leave out std"):
        group_mean(ledger, {}, std="batch", scale=False)
