"""Filters: which decisions are left."""

import numpy as np
import pytest
from decisions import episode, filled, one_reply_each, said
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.core.ledger import Ledger
from ludus.training.estimators.credit import Credit
from ludus.training.estimators.groups import group_mean
from ludus.training.select import FILTERS, unanimous


def kept(name, ledger, credit=None, **settings):
    credit = group_mean(ledger, {}) if credit is None else credit
    return FILTERS.maker(name)(ledger, credit, **settings).tolist()


def replies(*groups):
    return one_reply_each([[(r, 1) for r in group] for group in groups])


def test_varied_judges_each_seat_by_itself():
    """Two seats of one role: in "x" the first always wins, in "y" each wins once."""
    ledger = Ledger.of(
        [
            episode(said(a), said(-a, seat="player_1"), group=group)
            for group, a in [("x", 1), ("x", 1), ("y", 1), ("y", -1)]
        ]
    )
    assert kept("varied", ledger) == [False] * 4 + [True] * 4
    assert kept("varied", ledger, by="role") == [True] * 8
    assert unanimous(ledger) == 0.5
    assert unanimous(ledger, by="role") == 0


def test_varied_by_the_game_alone():
    ledger = replies([1, 1], [0, 1]).with_rewards("overlong", np.array([0, -0.5, 0, 0]))
    assert kept("varied", ledger) == [True] * 4
    assert kept("varied", ledger, column="game") == [False, False, True, True]


def test_quantile_keeps_the_groups_that_spread_most():
    ledger = replies([0, 8], [0, 2], [0, 4], [0, 6])
    assert kept("quantile", ledger) == [True, True, False, False, True, True, True, True]
    assert kept("quantile", ledger, share=0.5) == [True, True, False, False, False, False, True, True]
    assert kept("quantile", ledger, share=0.26) == kept("quantile", ledger, share=0.5)
    assert all(kept("quantile", ledger, share=1.0))
    tied = replies([0, 1], [0, 1], [0, 1], [5, 5])
    assert kept("quantile", tied, share=0.25) == [True] * 6 + [False] * 2
    assert kept("quantile", tied, share=1.0) == [True] * 6 + [False] * 2
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="share of groups"):
            kept("quantile", ledger, share=wrong)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(-4, 4), min_size=1, max_size=4), min_size=1, max_size=8),
    st.floats(0.01, 1.0),
)
def test_quantile_keeps_a_share_of_groups_and_none_that_spreads_less_than_one_left_out(groups, share):
    ledger = replies(*groups)
    mask = np.array(kept("quantile", ledger, share=share))
    spread = [np.std(g, ddof=1) if len(g) > 1 else 0.0 for g in groups]
    stays = [bool(part[0]) for part in np.split(mask, np.cumsum([len(g) for g in groups])[:-1])]
    varying = sum(s > 0 for s in spread)
    assert sum(stays) >= min(varying, int(np.ceil(share * len(groups))))
    for a, left in zip(spread, stays, strict=True):
        assert not (left and a == 0)
        assert not any(keeps and b < a - 1e-9 for b, keeps in zip(spread, stays, strict=True) if not left)


def test_quantile_of_a_policy_does_not_depend_on_others():
    mine = [episode(said(r), group=g) for g, r in [("x", 0), ("x", 1), ("y", 0), ("y", 2)]]
    others = [episode(said(r, policy="other"), group=g, policy="other") for g in "abcd" for r in (0, 99)]
    assert kept("quantile", Ledger.of([*mine, *others]), share=0.5) == [False, False] + [True] * 10


def test_cut_replies_are_left_out_but_still_move_the_baseline():
    ledger = Ledger.of([episode(said(r, truncated=r > 3), group="x") for r in (0, 2, 4)])
    assert kept("untruncated", ledger) == [True, True, False]
    assert group_mean(ledger, {}, scale=False).advantages.tolist() == [-2, 0, 2]


def test_the_greedy_play_is_left_out():
    ledger = Ledger.of([episode(said(1), group="x", sample=i) for i in range(3)])
    assert kept("but_sample", ledger) == [False, True, True]
    assert kept("but_sample", ledger, sample=2) == [True, True, False]


def test_credit_of_tokens_that_cancel_is_credit():
    ledger = Ledger.of([episode(said(tokens=2), said(tokens=2), said(tokens=None))])
    tokens = np.array([1.0, -1, 0, 0])
    credit = Credit(np.array([0, 0, np.nan]), np.zeros(3), {}, tokens, tokens)
    assert kept("with_credit", ledger, credit) == [True, False, False]
    assert kept("with_credit", ledger, credit._replace(token_advantages=None)) == [False, False, True]


def test_the_share_of_unanimous_groups():
    assert unanimous(replies([1, 1], [0, 1], [3], [2, 2, 2])) == 0.75
    assert unanimous(replies([0.1] * 7)) == 1
    empty = filled(replies([1])).take(np.zeros(0, np.int64))
    assert unanimous(empty) == 0
    assert kept("varied", empty) == kept("quantile", empty) == []
