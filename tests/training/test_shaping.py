"""Shaping adds to what games pay, and overwrites nothing."""

import numpy as np
import pytest
from decisions import episode, filled, one_reply_each, said

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.training.choices import Named
from ludus.training.estimators.credit import earned
from ludus.training.estimators.groups import group_mean
from ludus.training.estimators.shaping import (
    SHAPERS,
    kl,
    missing_end,
    overlong,
    rewards_by_column,
    shape,
    shaper,
)
from ludus.training.estimators.tokens import reinforce_pp


def test_overlong_vectors():
    """DAPO's published script: 20480 tokens at most, of which the last 4096 are the buffer."""
    ledger = one_reply_each([[(1, n) for n in (16000, 16384, 18432, 20480)]])
    assert overlong(ledger, limit=20480, buffer=4096).column == pytest.approx([0, 0, -0.5, -1])
    assert overlong(ledger, limit=20480, buffer=4096, factor=0.2).column == pytest.approx([0, 0, -0.1, -0.2])
    assert overlong(ledger, limit=18432, buffer=2048).column == pytest.approx(
        [0, 0, -1, -1]
    )  # beyond: no more


def test_only_sampled_tokens_make_a_reply_long():
    ledger = Ledger.of([episode(said(tokens=[True] * 3 + [False] * 9), said(tokens=4), said(tokens=None))])
    assert overlong(ledger, limit=4, buffer=2).column == pytest.approx([-0.5, -1, 0])


def test_a_cut_reply_costs_the_penalty():
    ledger = Ledger.of([episode(said(1), said(1, truncated=True))])
    assert missing_end(ledger, penalty=0.25).column.tolist() == [0, -0.25]


def test_columns_are_added_and_what_the_game_paid_stays():
    ledger = Ledger.of(
        [episode(said(1, tokens=4), said(2, tokens=2, truncated=True)), episode(said(5, tokens=1))]
    )
    shaping = [Named("overlong", {"limit": 4, "buffer": 2}), Named("missing_end", {"penalty": 2.0})]
    shaped = shape(ledger, shaping)
    assert shaped.columns == ("game", "overlong", "missing_end")
    assert shaped.rewards[:, 0].tolist() == ledger.rewards[:, 0].tolist() == [1, 2, 5]
    assert shaped.reward.tolist() == [0, 0, 5]
    assert shaped.returns.tolist() == [0, 5]
    assert ledger.columns == ("game",)
    log = rewards_by_column(shaped)
    assert log == {
        "charts/reward/game": 4.0, "charts/reward/overlong": -0.5, "charts/reward/missing_end": -1.0,
        "charts/reward/tokens": 0.0,
    }  # fmt: skip
    assert rewards_by_column(ledger.take(np.zeros(0, np.int64))) == {}


def test_kl_is_in_the_reward_of_tokens():
    ledger = Ledger.of([episode(said(1, tokens=[True, False, True]), said(2, tokens=1))])
    ledger = filled(ledger, old=[-1.0, -9.0, -2.0, -0.5])
    reference = np.array([-1.5, np.nan, -1.0, -0.5], np.float32)
    shaped = shape(ledger, [Named("kl")], reference=reference, coefficient=0.1)
    assert shaped.token_rewards == pytest.approx([-0.05, 0, 0.1, 0])
    assert shaped.columns == ("game",)
    assert shaped.reward == pytest.approx([1.05, 2])
    assert earned(shaped, "tokens") == pytest.approx([0.05])
    assert reinforce_pp(shaped, {}).token_targets == pytest.approx([3.05, 0, 3.1, 2])


def test_kl_costs_those_nothing_who_were_not_rescored():
    ledger = Ledger.of([episode(said(1, tokens=2)), episode(said(0, tokens=1, policy="other"))])
    ledger = filled(ledger, old=[-1.0, -2.0, np.nan])
    reference = np.array([-1.5, -1.0, np.nan], np.float32)
    assert kl(ledger, reference=reference, coefficient=1.0).tokens == pytest.approx([-0.5, 1, 0])
    with pytest.raises(ValueError, match="no log-probability"):
        kl(ledger, reference=np.array([np.nan, -1, -1], np.float32), coefficient=1.0)
    with pytest.raises(ValueError, match="2 reference log-probabilities for 3 tokens"):
        kl(ledger, reference=reference[:2], coefficient=1.0)


def test_shaping_reaches_estimators():
    """Two equal wins, one of them too long: only the penalty tells them apart."""
    ledger = one_reply_each([[(1, 2), (1, 4)]])
    shaped = shape(ledger, [Named("overlong", {"limit": 4, "buffer": 2})])
    assert group_mean(ledger, {}, scale=False).advantages.tolist() == [0, 0]
    assert group_mean(shaped, {}, scale=False).advantages.tolist() == [0.5, -0.5]


def test_wrong_shaping_is_refused():
    ledger = one_reply_each([[(1, 2)]])
    for limit, buffer in ((4, 5), (4, 0)):
        with pytest.raises(ConfigError, match=f"buffer = {buffer}"):
            overlong(ledger, limit=limit, buffer=buffer)
    with pytest.raises(ConfigError, match="reward column already: game, missing_end"):
        shape(ledger, [Named("missing_end"), Named("missing_end")])
    with pytest.raises(UnknownName, match="missing_end"):
        shape(ledger, [Named("missing_ende")])
    with pytest.raises(UnknownName, match="Known: collision, divergence, old, reference, values"):
        shaper("needy", needs=("refs",))(overlong)
    assert SHAPERS.maker("kl").needs == ("old", "reference")
    assert SHAPERS.maker("overlong").needs == ()
