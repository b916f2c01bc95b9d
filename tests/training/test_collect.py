"""Decisions as arrays are the decisions that play would have made."""

import numpy as np
import pytest
from decisions import played_again

import ludus
from ludus.agents.network import fresh
from ludus.core.errors import ConfigError
from ludus.core.tables import tabulate
from ludus.training.collect import ArrayCollector
from ludus.training.lineup import Cast, exchanged, turns

SELF = {"player": "main"}


def cast_of(game, tmp_path, seed=0):
    return Cast(
        {"main": fresh(game, name="main", seed=seed, hidden=(16,))}, tmp_path, np.random.default_rng(0)
    )


def collected(name, tmp_path, lineup=SELF, rows=8, length=40, times=2):
    game = ludus.make(name)
    collector = ArrayCollector(game, rows=rows, length=length, seed=3)
    cast = cast_of(game, tmp_path)
    return game, [collector.collect(cast, lineup) for _ in range(times)]


def games_of(ledger):
    """Rows of every episode that ends within the stretch, in the order in which they were played."""
    for number in np.unique(ledger.episode):
        rows = np.flatnonzero(ledger.episode == number)
        if ledger.order[rows].max() < ledger.order.max():
            yield rows[np.argsort(ledger.order[rows])]


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four"])
def test_replayed_by_the_scalar_game_rewards_add_up_to_the_same_returns(name, tmp_path):
    """No chance: the moves alone decide, and the scalar rules say who earns what."""
    game, [(ledger, _), _] = collected(name, tmp_path, length=60)
    complete = 0
    for rows in games_of(ledger):
        played_again(game, ledger, rows)
        for k in range(len(game.seats)):
            mine = rows[ledger.seat[rows] == k]
            assert ledger.ended[mine[-1]]
            assert ledger.next_values[mine[-1]] == 0
            assert np.array_equal(ledger.next_values[mine[:-1]], ledger.values[mine[1:]])
        complete += 1
    assert complete >= 5


def test_kuhn_decisions_earn_what_the_cards_and_bets_say(tmp_path):
    game, stretches = collected("kuhn_poker", tmp_path)
    complete = 0
    for ledger, _ in stretches[:1]:
        for rows in games_of(ledger):
            cards = {int(ledger.seat[row]): int(np.argmax(ledger.prompts[row][:3])) for row in rows}
            bets = [int(ledger.ids[row]) for row in rows]
            chips = 2 if bets.count(1) == 2 else 1
            if bets[-1] == 0 and 1 in bets:  # folded: whoever bet takes the pot
                winner = bets.index(1) % 2
            else:
                winner = int(cards[1] > cards[0])
            for seat in (0, 1):
                mine = rows[ledger.seat[rows] == seat]
                assert ledger.reward[mine].sum() == pytest.approx(chips if seat == winner else -chips)
            complete += 1
    assert complete > 50
    assert game.zero_sum


def test_what_is_cut_is_played_on_until_its_seat_moves_again(tmp_path, monkeypatch):
    """In Kuhn the first player alone ever moves again: after a pass and a bet."""
    game, ahead, states = ludus.make("kuhn_poker"), ArrayCollector._ahead, []

    def watched(self, s, seating):
        states.append(self.batch.state())
        sequel = ahead(self, s, seating)
        states.append(self.batch.state())
        return sequel

    monkeypatch.setattr(ArrayCollector, "_ahead", watched)
    collector, cast = ArrayCollector(game, rows=256, length=5, seed=1), cast_of(game, tmp_path)
    ledger, _ = collector.collect(cast, SELF)
    before, after = states
    assert all(np.array_equal(before[name], after[name]) for name in before)

    tables = tabulate(game)
    again = np.array([name.endswith("pass, bet.") for name in tables.names])
    seen = np.stack([tables.views[i].features for i in np.flatnonzero(again)])
    values = cast.policies["main"].draw(seen, np.ones((3, 2), bool), np.zeros(3)).values
    cut = np.flatnonzero(ledger.cut)
    assert len(cut) > 10
    assert (ledger.seat[cut] == 0).all()
    assert not ledger.ended[cut].any()
    assert np.isclose(ledger.next_values[cut][:, None], values, atol=1e-6).any(1).all()
    assert (ledger.next_values[ledger.ended] == 0).all()
    assert np.isin(ledger.reward[ledger.ended], [-2, -1, 1, 2]).all()


def test_rewards_of_finished_games_are_tallied_over_stretches(tmp_path):
    _, stretches = collected("tic_tac_toe", tmp_path, length=7, times=6)  # games longer than a stretch
    total = sum(tally.episodes for _, tally in stretches)
    earned = np.sum([np.sum([e[0] for e in tally.returns.values()]) for _, tally in stretches])
    assert total > 10
    assert earned == pytest.approx(0.0)  # zero-sum, whole games only
    assert all(5 <= t.metrics()["charts/episodic_length"] <= 9 for _, t in stretches if t.episodes)


def test_a_collector_continues_from_its_state(tmp_path):
    game = ludus.make("kuhn_poker")
    one, two = (ArrayCollector(game, rows=8, length=9, seed=s) for s in (1, 2))
    cast = cast_of(game, tmp_path)
    one.collect(cast, SELF)
    two.load(*one.state())
    (a, _), (b, _) = one.collect(cast, SELF), two.collect(cast, SELF)
    assert np.array_equal(a.ids, b.ids)
    assert np.array_equal(a.rewards, b.rewards)
    assert np.array_equal(a.rollout, b.rollout)


def test_opponents_exchange_seats_and_are_not_learned_from(tmp_path):
    game, [(ledger, tally), _] = collected(
        "kuhn_poker", tmp_path, {"player_0": "main", "player_1": "uniform"}
    )
    pairs = {(ledger.policies[p], ledger.seats[s]) for p, s in zip(ledger.policy, ledger.seat, strict=True)}
    assert pairs == {(p, s) for p in ("main", "uniform") for s in game.seats}
    assert np.isnan(ledger.values[ledger.policy == ledger.policies.index("uniform")]).all()
    assert set(tally.returns) == pairs
    assert np.exp(ledger.rollout[ledger.policy == ledger.policies.index("uniform")]) == pytest.approx(0.5)


def test_exchange_stays_within_a_role():
    game = ludus.make("kuhn_poker")
    lineup = {"player_0": "a", "player_1": "b"}
    assert [exchanged(game, lineup, t) for t in range(2)] == [lineup, {"player_0": "b", "player_1": "a"}]
    assert turns(game, lineup) == 2
    assert turns(game, {"player": "a"}) == 1


def test_only_array_games_and_drawing_agents(tmp_path):
    with pytest.raises(ConfigError, match="no array game"):
        ArrayCollector(ludus.make("simple_negotiation"), rows=2, length=2, seed=0)
    with pytest.raises(ConfigError, match="first_legal"):
        collected("kuhn_poker", tmp_path, {"player_0": "main", "player_1": "first_legal"})
