"""Round robin: all pairings, the same seeds, seats exchanged."""

from collections import Counter

import pytest

from ludus.arenas.schedules import places, round_robin, seatings
from ludus.core.agent import FirstLegal, Uniform
from ludus.core.errors import ConfigError
from ludus.core.game import Choice, Game, View
from ludus.core.match import Illegal
from ludus.core.registry import make


class Three(Game):
    """Nobody does anything."""

    id = "three"
    seats = ("player_0", "player_1", "player_2")

    def start(self, rng):
        return ()

    def turn(self, state):
        return ()

    def options(self, state, seat):
        return Choice((), ())

    def view(self, state, seat):
        return View("")

    def play(self, state, moves):
        return ()

    def payoff(self, state):
        return {}


class Roles(Three):
    seats = ("proposer_0", "referee_0", "solver_0", "solver_1")

    def crew(self):
        return {"referee_0": "arithmetic"}


def test_every_pairing_plays_every_seed_from_both_sides():
    matches = list(round_robin("kuhn_poker", ["a", "b", "c"], range(5)))
    met = Counter((m.seed, *m.lineup.values()) for m in matches)
    assert len(matches) == 5 * 3 * 2
    assert set(met.values()) == {1}
    assert {(b, a) for _, a, b in met} == {(a, b) for _, a, b in met}


def test_matches_are_the_same_each_time():
    one, two = (list(round_robin("kuhn_poker", ["a", "b"], range(3), samples=2)) for _ in range(2))
    assert [(m.lineup, m.seed, m.sample) for m in one] == [(m.lineup, m.seed, m.sample) for m in two]


def test_three_seats_rotate():
    lineups = [tuple(lineup.values()) for lineup in seatings(Three(), ["a", "b", "c", "d"])]
    assert len(lineups) == 4 * 3
    for name in "abcd":
        assert Counter(lineup.index(name) for lineup in lineups if name in lineup) == {0: 3, 1: 3, 2: 3}


def test_roles_are_places_and_crew_is_left_to_the_game():
    assert places(Roles()) == ("proposer", "solver")
    assert seatings(Roles(), ["a", "b"]) == [
        {"proposer": "a", "solver": "b"},
        {"proposer": "b", "solver": "a"},
    ]


def test_settings_reach_the_matches():
    illegal = Illegal("retry", times=2)
    (first, *_) = round_robin("kuhn_poker", [Uniform(), FirstLegal()], [7], illegal=illegal, max_steps=9)
    assert (first.seed, first.illegal, first.max_steps) == (7, illegal, 9)


def test_search_is_shown_the_state_where_it_sits():
    shown = [m.privileged for m in round_robin("kuhn_poker", ["mcts", "uniform"], [0], privileged=["mcts"])]
    assert shown == [("player_0",), ("player_1",)]
    roles = [m.privileged for m in round_robin(Roles(), ["x", "y"], [0], privileged=["y"])]
    assert roles == [("solver_0", "solver_1"), ("proposer_0",)]


def test_too_few_agents_and_equal_names_are_refused_at_once():
    with pytest.raises(ConfigError, match="2 places"):
        round_robin(make("kuhn_poker"), ["uniform"], range(3))
    with pytest.raises(ConfigError, match="'uniform'"):
        round_robin(make("kuhn_poker"), [Uniform(), Uniform()], range(3))
