"""Decisions as arrays are the decisions that play would have made."""

from typing import ClassVar

import numpy as np
import pytest
from decisions import played_again

import ludus
from ludus.agents.network import Drawn, fresh
from ludus.core.batch import Batch
from ludus.core.errors import ConfigError
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


class Lowest:
    """Plays the first legal move; what it sees is worth a fixed sum of it."""

    version = 0

    def __init__(self, name, values=True):
        self.name = name
        if values:
            self.value = self.worth

    def worth(self, seen):
        return np.cos(np.arange(seen[0].size)) @ seen.reshape(len(seen), -1).T

    def draw(self, features, legal, uniform):
        worth = self.worth(features) if hasattr(self, "value") else np.full(len(features), np.nan)
        return Drawn(legal.argmax(1), np.zeros(len(features)), worth)


class Table:
    """Who plays under a name."""

    agents: ClassVar = {"main": Lowest("main"), "mute": Lowest("mute", values=False)}

    def find(self, name):
        return self.agents[name]

    def shares(self, name):
        return {name: 1.0}


@pytest.mark.parametrize("opponent", ["main", "mute"])
@pytest.mark.parametrize(
    ("name", "params", "length"),
    [
        ("kuhn_poker", {}, 5), ("kuhn_poker", {"players": 3}, 7), ("leduc_poker", {}, 6), ("dots_and_boxes", {}, 19),
        ("goofspiel", {}, 5),
    ],
)  # fmt: skip
def test_what_is_open_where_a_stretch_ends_is_played_on_until_its_seat_moves_again(
    name, params, length, opponent, monkeypatch
):
    """Row by row, seat by seat, as one would by hand; in dots and boxes one seat moves thrice while the other waits."""
    game, ahead, seen = ludus.make(name, **params), ArrayCollector._ahead, {}

    def watched(self, s, seating):
        seen.update(before=self.batch.state(), stretch=s, agents=seating.agents, table=seating.table)
        seen["sequel"] = ahead(self, s, seating)
        seen["after"] = self.batch.state()
        return seen["sequel"]

    monkeypatch.setattr(ArrayCollector, "_ahead", watched)
    rows = 24
    lineup = dict.fromkeys(game.seats, opponent) | {game.seats[0]: "main"}
    ledger, _ = ArrayCollector(game, rows=rows, length=length, seed=1).collect(Table(), lineup)
    before, s, sequel = seen["before"], seen["stretch"], seen["sequel"]
    same = [key for key in before if key != "streams" and not np.array_equal(before[key], seen["after"][key])]
    assert same == []

    booked = {
        *zip(ledger.order, ledger.seat, ledger.reward.round(4), ledger.next_values.round(4), strict=True)
    }
    batch, closed = Batch(game, rows), 0
    for row in range(rows):
        only = np.arange(rows) == row
        first = max((t + 1 for t in range(length) if s.done[t, row]), default=0)  # of the game that goes on
        for seat in sorted(set(s.mover[first:, row])):
            if not hasattr(seen["agents"][seen["table"][row, seat]], "value"):
                assert np.isnan(sequel.worth[row, seat])
                continue
            batch.restore(before)
            paid, ended = 0.0, False
            while batch.mover[row] != seat and not ended:
                batch.step(np.where(only, batch.legal.argmax(1), -1), only)
                paid, ended = paid + batch.reward[row, seat], bool(batch.done[row])
            worth = 0.0 if ended else Lowest("main").value(batch.observation[[row]])[0]
            found = (each[row, seat] for each in (sequel.pay, sequel.worth, sequel.ended))
            assert [*found] == pytest.approx([paid, worth, ended])
            last = np.flatnonzero(s.mover[:, row] == seat)[-1]
            whole = s.pay[last:, row, seat].sum() + paid
            assert (last, seat, np.round(whole, 4), np.round(worth, 4)) in booked
            closed += 1
    assert closed >= 6


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
