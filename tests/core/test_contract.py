"""Every registered game keeps the contract, and every clause of it can be seen to fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import gauss
from typing import Any

import numpy as np
import pytest
from numpy import random as legacy
from small_games import Errands, GuessCoin

from ludus.core.agent import Decision, Failure, FirstLegal, Uniform
from ludus.core.errors import ContractError
from ludus.core.game import Choice, Forfeit, Game, Text, View
from ludus.core.position import Position
from ludus.core.registry import GAMES, games, make, register
from ludus.core.symmetry import of_board, rotations
from ludus.envs.board.connect_four import ConnectFour
from ludus.envs.board.othello import Othello
from ludus.envs.board.tic_tac_toe import TicTacToe
from ludus.envs.cards.kuhn_poker import KuhnPoker
from ludus.envs.matrix.iterated_prisoners_dilemma import IteratedPrisonersDilemma
from ludus.testing import CLAUSES, check_agent, check_game, examine

HALF = np.ones(2, np.bool_)
LONG = (  # their games are
    "backgammon",
    "battleship",
    "breakthrough",
    "checkers",
    "chess",
    "go",
    "goofspiel",
    "hanabi",
    "hex",
    "no_limit_holdem",
    "othello",
    "pig",
)
GAMES.lazily(
    dict.fromkeys(("bad_name", "bad_replay"), __name__), listed=False
)  # made here, offered to nobody


@pytest.mark.parametrize("name", games())
def test_every_registered_game_keeps_the_contract(name: str) -> None:
    check_game(make(name), episodes=3 if name in LONG else 8)


@pytest.mark.parametrize("name", ["propose_solve", "sneaky_critic", "code_as_task"])
def test_menus_keep_the_contract_too(name: str) -> None:
    check_game(make(name, menu=True), episodes=8)


# ---------------------------------------------------------------------------- the broken twins
class BadSeats(GuessCoin):
    def crew(self):
        return {"referee_0": "uniform"}  # who has no seat


class BadStart(GuessCoin):
    calls = 0

    def start(self, rng):
        type(self).calls += 1
        return (-1, -1, -1) if self.calls % 2 else (0, -1, -1)


class BadRules(GuessCoin):
    def rules(self, seat) -> str:
        return " "


class BadTurn(GuessCoin):
    def turn(self, state):
        return super().turn(state) * (2 if state[0] >= 0 else 1)


class BadChance(GuessCoin):
    def chance(self, state):
        return [(0, 0.5), (1, 0.6)]


class BadOptions(GuessCoin):
    def options(self, state, seat):
        wide = 2 + (state[0] > 0)
        return Choice(("a", "b", "c")[:wide], np.arange(wide) < 2)


class BadSample(GuessCoin):
    def sample(self, state, seat, rng) -> int:
        return int(rng.integers(3))


class BadView(GuessCoin):
    def view(self, state, seat):
        seen = super().view(state, seat)
        return View(seen.text, seen.features.astype(np.float32) * np.nan)


class BadLook(GuessCoin):
    def view(self, state, seat):
        self.__dict__["count"] = self.__dict__.get("count", 0) + 1
        return View(f"look {self.__dict__['count']}", super().view(state, seat).features)


class BadAgreement(GuessCoin):
    def view(self, state, seat):
        return View("always the same", super().view(state, seat).features)


class BadClaim(GuessCoin):
    """player_1 sees nothing of what it heard and guesses twice; it cannot see its first guess."""

    view_is_complete = True

    def start(self, rng):
        return (-1, -1, -1, -1)

    def turn(self, state):
        return super().turn(state[:3]) or (("player_1",) if state[3] < 0 else ())

    def view(self, state, seat):
        return View("Once more." if state[2] >= 0 else "Say something.", np.array([state[2] >= 0], np.int16))

    def payoff(self, state):
        return super().payoff(state[:3]) if state[3] >= 0 else {}


class Mutates(GuessCoin):
    def start(self, rng):
        return [-1, -1, -1]

    def play(self, state, moves):
        state[state.index(-1)] = int(next(iter(moves.values())))
        return list(state)


class Unpicklable(GuessCoin):
    def start(self, rng):
        return _Shy((-1, -1, -1))

    def play(self, state, moves):
        return _Shy(super().play(state, moves))


class _Shy(tuple):  # equal only to itself after a round trip
    __slots__ = ()

    def __reduce__(self):
        return tuple, ((9,),)


class BadPayoff(GuessCoin):
    def payoff(self, state):
        return {"player_1": 1.0} if super().payoff(state) else {}


class BadForfeit(GuessCoin):
    def forfeit(self, state, losers):
        return dict.fromkeys(losers, 1.0)


class BadOrder(Errands):
    def __init__(self) -> None:
        super().__init__()

    def play(self, state, moves):
        after = super().play(state, moves)
        return type(after)(after.done, (*state.paid, *after.paid))


class BadRandomness(GuessCoin):
    def sample(self, state, seat, rng) -> int:
        return int(np.random.randint(1)) if state is None else 0


@register("bad_name")
class BadName(GuessCoin):
    version = 1

    def __init__(self, sides: tuple[str, ...] = ("heads", "tails")) -> None:
        self.params = {} if sides == ("heads", "tails") else {"sides": ("heads", "tails")}


@register("bad_replay")
class BadReplay(GuessCoin):
    def view(self, state, seat):
        text = f"{super().view(state, seat).text} {type(self).salt}"
        return View(text, super().view(state, seat).features)

    salt = 0

    def payoff(self, state):
        type(self).salt += 1
        return super().payoff(state)


class BadArrays(KuhnPoker):
    def play(self, state, moves):  # the scalar rules say something else than the compiled ones
        after = super().play(state, moves)
        return Position(after.record, tuple(2 * p for p in after.paid))


class NumpyByName(GuessCoin):
    def options(self, state, seat):
        legacy.rand()
        return super().options(state, seat)


class DrawsByName(GuessCoin):
    def forfeit(self, state, losers):
        gauss(0, 1)
        return super().forfeit(state, losers)


class BadJoint(IteratedPrisonersDilemma):
    def play(self, state, moves):
        after = super().play(state, moves)
        return Position(after.record, tuple(2 * p for p in after.paid))


class BadJointMoves(IteratedPrisonersDilemma):
    def options(self, state, seat):
        names = super().options(state, seat).names
        return Choice(names, np.array([True, seat == "player_0"]))


class BadToss(KuhnPoker):
    @staticmethod
    def toss(s, u) -> int:
        return 0 if s.cards[0] == 0 else 1 if s.cards[0] == 1 else 0


class BadMirror(ConnectFour):
    def symmetries(self):
        (mirror,) = super().symmetries()
        return [mirror._replace(moves=np.roll(mirror.moves, 1))]


class Repeated(ConnectFour):
    def symmetries(self):
        return super().symmetries() * 2


class BadPlaces(ConnectFour):
    def symmetries(self):
        (mirror,) = super().symmetries()
        return [mirror._replace(moves=np.zeros(len(self.moves), np.int64))]


class BadRotation(Othello):
    def symmetries(self):
        swaps_the_first_discs = rotations(self.size)[0]
        return [of_board(self.shape, swaps_the_first_discs, further=1)]


class NoCorner(TicTacToe):
    @staticmethod
    def legal(s, seat, out) -> None:
        taken = s.marks[0] | s.marks[1] | (s.marks[0] & 16) >> 4  # the first corner goes with the middle
        for a in range(9):
            out[a] = 1 - ((taken >> a) & 1)


class Lopsided(TicTacToe):
    @staticmethod
    def move(s, a, pay) -> None:
        TicTacToe.move(s, a, pay)
        if pay[0] and a == 0:
            pay[0], pay[1] = 2, -2


class Endless(GuessCoin):
    def turn(self, state):
        return ("player_0",)

    def play(self, state, moves):
        return state


TWINS: dict[str, Callable[[], Game[Any]]] = {
    "random play": Endless,
    "seats": BadSeats,
    "start": BadStart,
    "rules": BadRules,
    "turn": BadTurn,
    "chance": BadChance,
    "options": BadOptions,
    "sample": BadSample,
    "view": BadView,
    "view is pure": BadLook,
    "views agree": BadAgreement,
    "complete views": BadClaim,
    "play is pure": Mutates,
    "states are values": Unpicklable,
    "payoff": BadPayoff,
    "forfeit": BadForfeit,
    "independent": BadOrder,
    "randomness": BadRandomness,
    "name": lambda: BadName(("edge",)),
    "replay": BadReplay,
    "arrays": BadArrays,
    "symmetries": BadMirror,
}


FURTHER = [
    ("randomness", NumpyByName),
    ("randomness", DrawsByName),
    ("arrays", BadJoint),
    ("arrays", BadJointMoves),
    ("arrays", BadToss),
]


@pytest.mark.parametrize(("clause", "twin"), FURTHER, ids=lambda part: getattr(part, "__name__", part))
def test_further_broken_twins(clause, twin) -> None:
    assert clause in {line.name for line in examine(twin(), episodes=8).broken}


@pytest.mark.parametrize(
    ("twin", "complaint"),
    [
        (BadMirror, "does not see the image"),
        (BadPlaces, "does not name all of 7 once"),
        (Repeated, "moves nothing, or as an earlier one"),
        (BadRotation, "does not see the image"),
        (NoCorner, "may play .* in the image"),
        (Lopsided, r"the image paid \(1.0, -1.0\), not \(2.0, -2.0\)|the image paid \(2.0, -2.0\), not"),
    ],
)
def test_a_wrong_symmetry_is_told(twin, complaint) -> None:
    (line,) = [line for line in examine(twin(), episodes=30).broken if line.name == "symmetries"]
    assert re.search(complaint, line.problem)


def test_the_sound_twin_is_sound() -> None:
    assert examine(GuessCoin(), episodes=8).broken == ()
    assert examine(Errands(), episodes=8).broken == ()


def test_every_clause_has_a_broken_twin() -> None:
    assert set(TWINS) == {*CLAUSES, "random play"}


@pytest.mark.parametrize("clause", TWINS)
def test_each_broken_twin_fails_its_clause(clause: str) -> None:
    report = examine(TWINS[clause](), episodes=8)
    assert clause in {line.name for line in report.broken}, [line for line in report.lines if line.problem]
    with pytest.raises(ContractError):
        check_game(TWINS[clause](), episodes=8)


# ------------------------------------------------------------------------------------- agents
@pytest.mark.parametrize("agent", [Uniform(), FirstLegal()])
def test_simple_agents_keep_the_contract(agent) -> None:
    check_agent(agent, make("kuhn_poker"))
    check_agent(agent, make("simple_negotiation"), episodes=2)


class Short(Uniform):
    def act(self, requests):
        return super().act(requests)[1:]


class Illegal(Uniform):
    def act(self, requests):
        return [Decision(7) for _ in requests]


class Crowd(Uniform):
    def act(self, requests):
        return [Decision(min(len(requests), 2) - 1) for _ in requests]


class Boastful(Uniform):
    def probabilities(self, requests):
        return [np.ones(2) for _ in requests]


class GivesUp(Uniform):
    def act(self, requests):
        return [Decision(Forfeit("no idea")) for _ in requests]


class Broken(Uniform):
    def act(self, requests):
        return [Decision(Failure("no connection")) for _ in requests]


@pytest.mark.parametrize(
    "agent", [Short(), Illegal(), Crowd(), Boastful(), Uniform(name=""), GivesUp(), Broken()]
)
def test_broken_agents_fail(agent) -> None:
    with pytest.raises(ContractError):
        check_agent(agent, make("kuhn_poker"))


class Unasked(GuessCoin):
    def turn(self, state):
        return ()


def test_an_agent_that_is_never_asked_is_not_checked() -> None:
    with pytest.raises(ContractError, match="was asked nothing"):
        check_agent(Uniform(), Unasked())
    with pytest.raises(ContractError, match="was asked nothing"):
        check_agent(Uniform(), make("kuhn_poker"), episodes=0)


def test_text_options_have_no_choice() -> None:
    assert "hello" in Text(8)
    assert "too long!" not in Text(8)
    assert True not in Choice(("a", "b"), HALF)  # a truth value is no index
