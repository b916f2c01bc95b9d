"""Whole games as arrays: nothing is cut; and mixtures, in whole games or not, are drawn for each seat of each game."""

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


@pytest.mark.parametrize(("kind", "rows", "length"), [(WholeCollector, 4000, 3), (ArrayCollector, 100, 96)])
def test_a_mixture_is_drawn_for_each_seat_and_game(kind, rows, length, tmp_path):
    game, cast = table("kuhn_poker", tmp_path)
    ledger, _ = kind(game, rows=rows, length=length, seed=3).collect(cast, {"player": "both"})
    names = np.array(ledger.policies)[ledger.policy]
    assert all(len(set(names[ledger.sequence == s])) == 1 for s in range(200))
    first = names[ledger.starts]
    seat, episode = ledger.seat[ledger.starts], ledger.episode[ledger.starts]
    assert (first == "two").mean() == pytest.approx(0.75, abs=0.02)
    openers, answerers = (dict(zip(episode[seat == k], first[seat == k], strict=True)) for k in range(2))
    alike = np.mean([openers[e] == who for e, who in answerers.items() if e in openers])
    assert alike == pytest.approx(0.75**2 + 0.25**2, abs=0.03)


def test_whoever_was_drawn_plays_the_game_to_its_end_over_steps_and_checkpoints(tmp_path):
    """One row, a decision in each step, and each step by a collector of its own, which is told how things stand."""
    game, cast = table("tic_tac_toe", tmp_path)
    state, seated, met = None, {}, []
    for _ in range(400):
        collector = ArrayCollector(game, rows=1, length=1, seed=0)
        if state is not None:
            collector.load(*state)
        ledger, tally = collector.collect(cast, {"player": "both"})
        state = collector.state()
        who = ledger.policies[ledger.policy[0]]
        assert seated.setdefault(ledger.seat[0], who) == who
        if tally.episodes:
            assert {seat for _, seat in tally.returns} == {"player_0", "player_1"}
            met.append((seated[0], seated[1]))
            seated = {}
    assert set(met) == {(a, b) for a in ("one", "two") for b in ("one", "two")}


def test_what_cannot_be_is_refused(tmp_path):
    game, cast = table("tic_tac_toe", tmp_path)
    with pytest.raises(TrainingError, match=r"raise collect\.length"):
        WholeCollector(game, rows=20, length=6, seed=0).collect(cast, {"player": "one"})
    with pytest.raises(ConfigError, match="name of its own"):
        Cast(cast.policies, tmp_path, cast.rng, mixtures={"one": {"two": 1.0}})
    for mixtures in ({"both": {"two": 0.0}}, {"both": {"both": 1.0}}):
        with pytest.raises(ConfigError, match="a member a share, and members that are no mixtures"):
            Cast(cast.policies, tmp_path, cast.rng, mixtures=mixtures)


def test_a_cast_draws_members_by_their_shares(tmp_path):
    _, cast = table("kuhn_poker", tmp_path)
    names = [cast.find("both").name for _ in range(1000)]
    assert names.count("two") == pytest.approx(750, abs=60)
    assert cast.shares("both") == MIXTURES["both"]
    assert cast.shares("one") == {"one": 1.0}
