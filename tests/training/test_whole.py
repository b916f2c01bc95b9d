"""Whole games as arrays: nothing is cut, and mixtures are drawn for each seat of each game."""

import numpy as np
import pytest

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError, TrainingError
from ludus.training.collect import ArrayCollector
from ludus.training.lineup import Cast
from ludus.training.whole import WholeCollector

MIXTURES = {"both": {"one": 1.0, "two": 3.0}}


def table(name, tmp_path):
    game = ludus.make(name)
    policies = {who: fresh(game, name=who, seed=i, hidden=(8,)) for i, who in enumerate(("one", "two"))}
    return game, Cast(policies, tmp_path, np.random.default_rng(0), mixtures=MIXTURES)


@pytest.mark.parametrize(("name", "length"), [("kuhn_poker", 3), ("tic_tac_toe", 9), ("leduc_poker", 8)])
def test_every_row_plays_one_game(name, length, tmp_path):
    game, cast = table(name, tmp_path)
    collector = WholeCollector(game, rows=50, length=length, seed=3)
    for _ in range(3):
        ledger, tally = collector.collect(cast, {"player": "one"})
        assert tally.episodes == len(np.unique(ledger.episode)) == 50
        assert tally.decisions == len(ledger)
        assert ledger.ended.sum() == len(ledger.starts)
        assert not ledger.cut.any()
        total = np.bincount(ledger.episode[ledger.starts], ledger.returns)
        assert total[np.unique(ledger.episode)] == pytest.approx(0)  # zero-sum, and all of it is there
        expected = tally.returns["one", "player_0"][0]
        assert ledger.returns[ledger.seat[ledger.starts] == 0].sum() == pytest.approx(expected)
        assert (ledger.next_values[ledger.ended] == 0).all()
        assert ledger.legal[np.arange(len(ledger)), ledger.ids].all()


def test_a_mixture_is_drawn_for_each_seat_and_game(tmp_path):
    game, cast = table("kuhn_poker", tmp_path)
    ledger, _ = WholeCollector(game, rows=4000, length=3, seed=3).collect(cast, {"player": "both"})
    names = np.array(ledger.policies)[ledger.policy]
    assert all(len(set(names[ledger.sequence == s])) == 1 for s in range(200))
    first = names[ledger.starts]
    seat, episode = ledger.seat[ledger.starts], ledger.episode[ledger.starts]
    assert (first == "two").mean() == pytest.approx(0.75, abs=0.02)
    by_episode = dict(zip(episode[seat == 0], first[seat == 0], strict=True))
    alike = np.mean(
        [by_episode[e] == who for e, who in zip(episode[seat == 1], first[seat == 1], strict=True)]
    )
    assert alike == pytest.approx(0.75**2 + 0.25**2, abs=0.03)


def test_what_cannot_be_is_refused(tmp_path):
    game, cast = table("tic_tac_toe", tmp_path)
    with pytest.raises(TrainingError, match=r"raise collect\.length"):
        WholeCollector(game, rows=20, length=6, seed=0).collect(cast, {"player": "one"})
    with pytest.raises(ConfigError, match=r"collect\.whole = true"):
        ArrayCollector(game, rows=4, length=5, seed=0).collect(cast, {"player": "both"})
    with pytest.raises(ConfigError, match="name of its own"):
        Cast(cast.policies, tmp_path, cast.rng, mixtures={"one": {"two": 1.0}})
    with pytest.raises(ConfigError, match="a member a share"):
        Cast(cast.policies, tmp_path, cast.rng, mixtures={"both": {"two": 0.0}})


def test_a_cast_draws_members_by_their_shares(tmp_path):
    _, cast = table("kuhn_poker", tmp_path)
    names = [cast.find("both").name for _ in range(1000)]
    assert names.count("two") == pytest.approx(750, abs=60)
    assert cast.shares("both") == MIXTURES["both"]
    assert cast.shares("one") == {"one": 1.0}
