"""Exact tools against published values and hand computation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from small_games import GuessCoin, Jammed, Stuck

from ludus.core import compiled
from ludus.core.agent import FirstLegal, Uniform
from ludus.core.array_game import OVER
from ludus.core.errors import ContractError, TooLarge, UnknownName
from ludus.core.exact import best_response, exploitability, nash_conv, optimal, tabular, uniform, value
from ludus.core.game import Choice, Game, View
from ludus.core.registry import make
from ludus.core.sizes import clearly_more, estimated
from ludus.core.solvers import solve
from ludus.core.sources import COMPILED
from ludus.core.tables import _Growth, tabulate


# OpenSpiel's regression constants and solver runs, seen in its tests
@pytest.mark.parametrize(
    ("name", "expected"), [("kuhn_poker", 0.916667), ("leduc_poker", 4.747222), ("liars_dice", 1.561489)]
)
def test_nash_conv_of_uniform_play(name: str, expected: float) -> None:
    game = make(name)
    assert nash_conv(game, uniform(game)) == pytest.approx(expected, abs=1e-6)


def test_first_move_policy_of_kuhn_poker() -> None:
    assert nash_conv(make("kuhn_poker"), FirstLegal()) == pytest.approx(2.0)


@pytest.mark.parametrize(("name", "expected"), [("kuhn_poker", 1.7473e-4), ("leduc_poker", 5.1430e-4)])
def test_cfr_plus_after_a_thousand_iterations(name: str, expected: float) -> None:
    game = make(name)
    policy = solve(game, 1000)
    assert nash_conv(game, policy) == pytest.approx(expected, rel=0.01)
    known = {"kuhn_poker": (-1 / 18, 2e-4), "leduc_poker": (-0.0856, 3e-4)}[name]
    assert value(game, policy)["player_0"] == pytest.approx(known[0], abs=known[1])


def test_value_of_liars_dice() -> None:
    game = make("liars_dice")
    assert value(game, solve(game, 60))["player_0"] == pytest.approx(-0.0278, abs=0.002)


def test_tic_tac_toe_is_a_draw_of_5478_positions() -> None:
    game = make("tic_tac_toe")
    tables = tabulate(game)
    assert len(tables.mover) == 5478
    assert int((tables.mover == OVER).sum()) == 958
    policy = uniform(game)
    for _ in range(9):  # each best response settles one more ply
        for seat in game.seats:
            _, policy = best_response(game, policy, seat)
    assert value(game, policy) == {"player_0": 0.0, "player_1": 0.0}
    assert nash_conv(game, policy) == pytest.approx(0.0, abs=1e-12)


def test_simultaneous_moves_are_not_seen() -> None:
    game = make("rock_paper_scissors")
    assert nash_conv(game, uniform(game)) == pytest.approx(0.0, abs=1e-12)
    always_rock = {name: [1.0, 0.0, 0.0] for name in uniform(game)}
    assert nash_conv(game, always_rock) == pytest.approx(2.0)


def test_views_that_are_not_complete_are_told_apart_by_the_past() -> None:
    game = GuessCoin()
    # Two states of each seat: what the coin shows, and what was said.
    assert len(uniform(game)) == 4
    honest = {name: ([1.0, 0.0] if "heads" in name else [0.0, 1.0]) for name in uniform(game)}
    assert value(game, honest) == {"player_0": -1.0, "player_1": 1.0}
    assert nash_conv(game, honest) == pytest.approx(2.0)  # player_0 should lie


def test_a_general_game_and_its_arrays_agree() -> None:
    """The two ways of tabulating find the same game."""
    game = make("kuhn_poker")

    class Scalar(type(game)):  # type: ignore[misc]
        @staticmethod
        def joint(s, actions, pay) -> None:  # a game with a `joint` of its own is walked state by state
            raise NotImplementedError

    slow = Scalar()
    assert sorted(uniform(game)) == sorted(uniform(slow))
    assert nash_conv(slow, uniform(slow)) == pytest.approx(nash_conv(game, uniform(game)))


def test_any_agent_becomes_a_tabular_policy() -> None:
    game = make("kuhn_poker")
    assert nash_conv(game, Uniform()) == pytest.approx(0.916667, abs=1e-6)

    class Mute:
        name = "mute"

        def act(self, requests):
            return Uniform().act(requests)

    with pytest.raises(ValueError, match=r"samples=64\)`.*--samples 64"):
        tabular(game, Mute())
    sampled = tabular(game, Mute(), samples=2000)
    assert max(abs(row[0] - 0.5) for row in sampled.values()) < 0.06


def test_policies_are_checked() -> None:
    game = make("kuhn_poker")
    policy = uniform(game)
    missing = dict(list(policy.items())[1:])
    with pytest.raises(UnknownName, match="information state"):
        nash_conv(game, missing)
    with pytest.raises(ValueError, match="needs 2 probabilities"):
        nash_conv(game, {**policy, next(iter(policy)): np.array([0.9, 0.9])})
    with pytest.raises(ValueError, match="needs 2 probabilities"):
        nash_conv(game, {**policy, next(iter(policy)): np.array([np.nan, np.nan])})
    with pytest.raises(TypeError, match=r"an array \(12, 2\), an agent or the name of one, not 3"):
        nash_conv(game, 3)
    with pytest.raises(TypeError, match="a game or the name of one is wanted, not 3"):
        nash_conv(3, policy)


def coins(stake):
    """A class made anew for each stake, as a cell of a notebook does when it is run again."""

    class Coins(Game[tuple[int, ...]]):
        """Two coins; if both show heads, player_1 pays the stake, else player_0 pays one."""

        seats, zero_sum, view_is_complete = ("player_0", "player_1"), True, True

        def start(self, rng):
            return ()

        def turn(self, state):
            return () if state else self.seats

        def options(self, state, seat):
            return Choice(("heads", "tails"), np.ones(2, np.bool_))

        def view(self, state, seat):
            return View("?", np.float32([seat == "player_0"]))

        def play(self, state, moves):
            return moves["player_0"], moves["player_1"]

        def payoff(self, state):
            won = 0.0 if not state else stake if state == (0, 0) else -1.0
            return {"player_0": won, "player_1": -won}

    return Coins()


def test_classes_of_one_name_are_told_apart() -> None:
    for stake in (1.0, 5.0, 100.0):
        game = coins(stake)
        assert value(game, uniform(game))["player_0"] == (stake - 3) / 4


def test_large_arrays_among_the_parameters_are_told_apart() -> None:
    class Matrix(type(coins(1.0))):
        """A matrix of payoffs."""

        def __init__(self, pay) -> None:
            self.pay = pay

        def options(self, state, seat):
            return Choice(tuple(map(str, range(len(self.pay)))), np.ones(len(self.pay), np.bool_))

        def payoff(self, state):
            won = float(self.pay[state]) if state else 0.0
            return {"player_0": won, "player_1": -won}

    pay = np.zeros((40, 40))
    for middle in (0.0, 1.0):
        pay[10:30, 10:30] = middle  # what the array's repr leaves out
        game = Matrix(pay.copy())
        assert value(game, uniform(game))["player_0"] == pytest.approx(pay.mean())


def test_what_is_told_in_the_same_words_is_refused() -> None:
    class Terse(type(make("kuhn_poker"))):
        """Kuhn poker that does not tell the card."""

        def describe(self, s, seat) -> str:
            return "Your turn."

    with pytest.raises(ContractError, match=r"6 information states are all told as 'player_0: Your turn\.'"):
        tabulate(Terse())

    class Mumbled(GuessCoin):
        """What player_1 hears is in the numbers alone."""

        def view(self, state, seat):
            seen = super().view(state, seat)
            return seen if seat == "player_0" else View("Guess.", np.int16([state[1]]))

    with pytest.raises(ContractError, match=r"2 information states are all told as 'player_1: Guess\.'"):
        tabulate(Mumbled())


def test_whoever_has_no_move_is_told(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "mind", lambda *_: None)  # which would see it before
    with pytest.raises(ContractError, match="nothing is legal at 'player_0: "):
        tabulate(Jammed())

    class Barred(type(coins(1.0))):
        """Nobody may do anything."""

        def options(self, state, seat):
            return Choice(("heads", "tails"), np.zeros(2, np.bool_))

    with pytest.raises(ContractError, match=r"nothing is legal at 'player_0: \?'"):
        tabulate(Barred())


def test_a_game_in_which_nobody_moves_has_no_tables() -> None:
    class Idle(type(coins(1.0))):
        """Nobody moves."""

        def turn(self, state):
            return ()

    with pytest.raises(ContractError, match="is over before anybody moves"):
        tabulate(Idle())


def test_moves_may_be_many() -> None:
    class Wide(type(coins(1.0))):
        """player_0 names a number, and wins by one of them."""

        names = tuple(map(str, range(40_000)))

        def turn(self, state):
            return () if state else ("player_0",)

        def options(self, state, seat):
            return Choice(self.names, np.ones(len(self.names), np.bool_))

        def play(self, state, moves):
            return (moves["player_0"],)

        def payoff(self, state):
            won = float(state == (35_000,))
            return {"player_0": won, "player_1": -won}

    worth, answer = best_response(Wide(), "uniform", "player_0")
    assert worth == 1.0
    assert next(iter(answer.values())).argmax() == 35_000
    assert value(Wide(), answer)["player_0"] == 1.0


def test_games_and_policies_go_by_their_names() -> None:
    game = make("kuhn_poker")
    assert nash_conv("kuhn_poker", "uniform") == nash_conv(game, uniform(game))
    assert exploitability("kuhn_poker", "exact") < 1e-3
    assert nash_conv("kuhn_poker", tabular(tabulate(game), Uniform())) == nash_conv(
        game, uniform("kuhn_poker")
    )
    assert optimal("nim").keys() == optimal(make("nim")).keys()


def test_a_seat_that_forgets_is_refused_by_cfr() -> None:
    class Forgetful(type(make("kuhn_poker"))):  # type: ignore[misc]
        def describe(self, s, seat) -> str:
            return "?"

        @staticmethod
        def observe(s, seat, out) -> None:
            out[0] = 1

    with pytest.raises(ContractError, match=r"perfect recall|forgets"):
        solve(Forgetful(), 1)


class Absent(Game):
    """player_0 moves twice and forgets its first move; player_1 watches."""

    seats, zero_sum, view_is_complete = ("player_0", "player_1"), True, True
    pays = {(0, 0): 3.0, (0, 1): 0.0, (1, 0): -10.0, (1, 1): 1.0}  # noqa: RUF012

    def start(self, rng):
        return ()

    def turn(self, state):
        return ("player_0",) if len(state) < 2 else ()

    def options(self, state, seat):
        return Choice(("l", "r"), np.ones(2, bool))

    def view(self, state, seat):
        return View(f"Move {len(state) + 1}.")

    def play(self, state, moves):
        return (*state, moves["player_0"])

    def payoff(self, state):
        paid = self.pays.get(state, 0.0)
        return {"player_0": paid, "player_1": -paid}


def test_whoever_forgets_has_no_best_response() -> None:
    """The best is l, l: but summed over what it forgot, r looks better in the second state, which would pay 1."""
    game = Absent()
    with pytest.raises(ContractError, match="forgets"):
        best_response(game, uniform(game), "player_0")
    with pytest.raises(ContractError, match="forgets"):
        nash_conv(game, uniform(game))


def test_exploitability_is_nash_conv_by_player() -> None:
    game = make("kuhn_poker")
    assert exploitability(game, uniform(game)) == pytest.approx(0.916667 / 2, abs=1e-6)


def test_too_many_positions_are_refused() -> None:
    with pytest.raises(TooLarge, match=r"more than 100 positions, about 10\^4 as a tree.*--learn"):
        tabulate(make("leduc_poker"), limit=100)
    assert 10 ** estimated(make("kuhn_poker")) == pytest.approx(
        len(tabulate(make("kuhn_poker")).mover), rel=0.1
    )
    with pytest.raises(ContractError, match=r"player_0 is to move and has no legal move"):
        estimated(Stuck())


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
@pytest.mark.parametrize("name", ["connect_four", "goofspiel"])
def test_large_games_are_refused_soon(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ludus.core.tables.SOME", 1000)
    grown: list[int] = []
    refuse = _Growth.refuse
    monkeypatch.setattr(_Growth, "refuse", lambda self, count: (grown.append(count), refuse(self, count)))
    with pytest.raises(ValueError, match=r"more than 2,000,000 positions, about 10\^\d+ as a tree: too many"):
        tabulate(make(name))
    assert grown[-1] < 100_000


@pytest.mark.parametrize("name", ["kuhn_poker", "leduc_poker", "rock_paper_scissors", "tic_tac_toe"])
def test_random_games_do_not_show_more_positions_than_there_are(name: str) -> None:
    game = make(name)
    assert not clearly_more(game, len(tabulate(game).mover), unfold=False)
    if name == "tic_tac_toe":
        assert clearly_more(game, 10, unfold=False) is COMPILED


def test_trees_of_games_that_are_not_compiled_are_refused_by_their_estimate() -> None:
    game = GuessCoin()
    assert not clearly_more(game, 10, unfold=True)
    assert clearly_more(game, 0.1, unfold=True)
    assert not clearly_more(game, 0.1, unfold=False)


def test_what_crew_might_do_is_not_counted() -> None:
    class Filed(type(coins(1.0))):
        """player_0 names three sides, and a clerk files each under one of thirty numbers."""

        seats = ("player_0", "clerk_0")

        def crew(self):
            return {"clerk_0": "first_legal"}

        def turn(self, state):
            return () if len(state) == 6 else (self.seats[len(state) % 2],)

        def options(self, state, seat):
            many = 2 if seat == "player_0" else 30
            return Choice(tuple(map(str, range(many))), np.ones(many, np.bool_))

        def play(self, state, moves):
            return (*state, *moves.values())

    assert 10 ** estimated(Filed()) == pytest.approx(1 + 2 + 2 + 4 + 4 + 8 + 8)


@pytest.mark.slow
def test_chess_is_refused_within_a_minute() -> None:
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=r"2,000,000 positions, about 10\^\d{3} as a tree") as refused:
        tabulate(make("chess"))
    taken = time.perf_counter() - begun
    print(f"{refused.value} ({taken:.0f} s)")
    assert taken < 60
