"""Ratings, payoffs and their intervals, against hand computation and independent methods."""

import math

import numpy as np
import pytest

from ludus.arenas.payoffs import payoffs
from ludus.arenas.ratings import bradley_terry, mean_payoff
from ludus.arenas.results import earnings, tally
from ludus.core.episode import Episode
from ludus.core.match import Match


def game(a, b, paid, seed=0, end="over", sample=0):
    match = Match("nim", {"player_0": a, "player_1": b}, seed=seed, sample=sample)
    returns = {} if end == "error" else {"player_0": paid, "player_1": -paid}
    return Episode(match, (), returns=returns, end=end)


def test_two_players_at_three_to_one_are_191_points_apart():
    episodes = [game("a", "b", 1, s) for s in range(3)] + [game("a", "b", -1, 3)]
    rating = bradley_terry(episodes, prior=0)
    assert rating["a"].mean - rating["b"].mean == pytest.approx(400 * math.log10(3), abs=1e-3)
    assert rating["a"].mean + rating["b"].mean == pytest.approx(2000)


def test_ties_count_half():
    episodes = [game("a", "b", 0, s) for s in range(4)] + [game("a", "b", 1, 4), game("a", "b", 1, 5)]
    rating = bradley_terry(episodes, prior=0)  # 2 + 4 / 2 points to 4 / 2
    assert rating["a"].mean - rating["b"].mean == pytest.approx(400 * math.log10(2), abs=1e-3)


def test_three_players_satisfy_the_likelihood_equations():
    # at the maximum, every player's expected points equal its points: an equation MM does not use as such
    rng = np.random.default_rng(3)
    episodes = [
        game(a, b, int(rng.choice([-1, 0, 1], p=p)), s)
        for s in range(40)
        for a, b, p in (("a", "b", (0.2, 0.1, 0.7)), ("b", "c", (0.3, 0.2, 0.5)), ("c", "a", (0.5, 0.1, 0.4)))
    ]
    rating = bradley_terry(episodes, prior=0)
    strength = {name: 10 ** (r.mean / 400) for name, r in rating.items()}
    expected, points = dict.fromkeys("abc", 0.0), dict.fromkeys("abc", 0.0)
    for e in episodes:
        (a, b), paid = e.lineup.values(), e.returns["player_0"]
        expected[a] += strength[a] / (strength[a] + strength[b])
        expected[b] += strength[b] / (strength[a] + strength[b])
        points[a] += 0.5 + 0.5 * np.sign(paid)
        points[b] += 0.5 - 0.5 * np.sign(paid)
    for name in "abc":
        assert expected[name] == pytest.approx(points[name], abs=1e-3)


def test_a_prior_keeps_the_unbeaten_finite():
    episodes = [game("a", "b", 1, s) for s in range(10)]
    # one drawn game beside ten won ones: 10.5 points to 0.5
    rating = bradley_terry(episodes, prior=1)
    assert rating["a"].mean - rating["b"].mean == pytest.approx(400 * math.log10(21), abs=1e-2)


def test_mean_payoff_and_payoff_table_by_hand():
    episodes = [game("a", "b", 2, 0), game("b", "a", 1, 0), game("a", "c", 1, 1), game("a", "b", -1, 1)]
    paid = mean_payoff(episodes)
    assert paid["a"].mean == pytest.approx((2 - 1 + 1 - 1) / 4)
    assert paid["c"].mean == -1
    table = payoffs(episodes)
    assert table.cell("a", "b").mean == pytest.approx((2 - 1 - 1) / 3)
    assert table.cell("b", "a").mean == -table.cell("a", "b").mean
    assert np.isnan(table.cell("b", "c").mean)
    assert table.games[table.agents.index("a"), table.agents.index("b")] == 3
    assert table.ordered(["c", "b", "a"]).cell("a", "b") == pytest.approx(table.cell("a", "b"))


def test_intervals_resample_seeds_and_not_games():
    # ten seeds with fifty equal games each carry as much as ten games
    few = [game("a", "b", 1 if s % 2 else -1, s) for s in range(10)]
    many = [game("a", "b", 1 if s % 2 else -1, s, sample=k) for s in range(10) for k in range(50)]
    one, fifty = mean_payoff(few)["a"], mean_payoff(many)["a"]
    assert one == pytest.approx(fifty)
    deviation = 1 / math.sqrt(10)
    assert one.high - one.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(120):
        episodes = [game("a", "b", float(x), s) for s, x in enumerate(rng.normal(0.3, 1.0, 60))]
        low, high = mean_payoff(episodes, resamples=400, seed=trial)["a"][1:]
        inside += low <= 0.3 <= high
    assert 0.88 <= inside / 120 <= 0.99


def test_one_seed_gives_no_interval():
    for figures in (mean_payoff([game("a", "b", 1)]), bradley_terry([game("a", "b", 1)])):
        assert np.isnan(figures["a"].low)
        assert np.isnan(figures["a"].high)


def test_the_same_episodes_give_the_same_figures_in_any_order():
    episodes = [game("a", "b", int(x), s) for s, x in enumerate(np.random.default_rng(1).integers(-1, 2, 30))]
    assert bradley_terry(episodes) == bradley_terry(episodes[::-1])
    assert mean_payoff(episodes) == mean_payoff(episodes[::-1])


def test_broken_games_are_left_out():
    sums = tally([game("a", "b", 1, 0), game("a", "b", 1, 1, end="error")])
    assert sums.seeds == (0,)
    assert sums.games.sum() == 2


def test_an_agent_in_several_seats_earns_their_mean_and_crew_earns_nothing():
    lineup = {"proposer_0": "p", "referee_0": "arithmetic", "solver_0": "s", "solver_1": "s"}
    e = Episode(Match("propose_solve", lineup), (), returns={"proposer_0": 0.5, "solver_0": 1, "solver_1": 0})
    assert earnings(e) == {"p": 0.5, "s": 0.5}
