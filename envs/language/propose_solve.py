"""Propose and solve: one seat sets a sum, the referee works it out, the others try to, all at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import (
    JSON,
    Choice,
    Forfeit,
    Form,
    Game,
    Interface,
    Move,
    Options,
    Seat,
    Text,
    View,
    role_of,
)  # fmt: skip
from ludus.core.registry import register

#: What the proposer earns, by the share p of solvers that were right.
REWARDS: dict[str, Callable[[float], float]] = {
    "learnability": lambda p: 4 * p * (1 - p),  # the variance of one answer, scaled to 1
    "uncertainty": lambda p: 1 - 2 * abs(p - 0.5),  # R-Zero
    "one_minus_accuracy": lambda p: 1 - p,  # SSP
}
FINDING = {"value": "string", "fault": "string"}
UNREADABLE = ""
MALFORMED = "7 +"  # the last entry of a menu

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,100}")

Answer: TypeAlias = "str | Forfeit | None"  # None: still owed


class Problem(NamedTuple):
    """An entry of the menu: an expression, and the answers among which a solver chooses."""

    expression: str
    candidates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """The state: what was proposed, what the referee found (value, fault), who answered what."""

    problem: str | None
    answers: tuple[Answer, ...]
    finding: tuple[str, str] | None = None


@register("propose_solve")
class ProposeSolve(Game[Round]):
    """A proposer writes one arithmetic expression of whole numbers with + - * // % and brackets. Then
    all solvers, none of whom sees the others' answers, write its value.

    A solver earns 1 for the right value and 0 for any other. The proposer earns most for a problem
    that about half of the solvers can do, nothing for one that all or none of them can do, and
    loses 1 for something that is no such expression; then the solvers are not asked.

    Source: R-Zero (Huang et al., 2025, arXiv 2508.05004) for the roles, the uncertainty reward and
    the majority's label; SSP (Lu et al., 2025, arXiv 2510.18821) for one minus accuracy;
    learnability as in Foster et al., 2025, arXiv 2502.12272, scaled to at most 1.

    Args:
        solvers: how many.
        reward: what the proposer earns by the share of right answers: "learnability" 4p(1-p),
            "uncertainty" 1-2|p-1/2|, or "one_minus_accuracy" 1-p.
        truth: what counts as right: "referee", the value the referee finds; or "majority", the
            answer most solvers give, of equals the one that stands at the first seat.
        menu: True or a number k: the proposer chooses among k problems of rising difficulty and one
            malformed one, solvers among candidate answers, one more for each harder problem.
        task: a given problem; nobody proposes then.
    """

    view_is_complete = True
    independent = True

    def __init__(
        self,
        solvers: int = 4,
        reward: str = "learnability",
        truth: str = "referee",
        menu: bool | int = False,
        task: JSON = None,
    ) -> None:
        if solvers < 1:
            raise ValueError(f"at least one solver, not {solvers}")
        if reward not in REWARDS:
            raise UnknownName("reward for the proposer", reward, REWARDS)
        if truth not in ("referee", "majority"):
            raise UnknownName("truth", truth, ("referee", "majority"))
        self.reward, self.truth = REWARDS[reward], truth
        self.solvers = tuple(f"solver_{i}" for i in range(solvers))
        self.seats = ("proposer_0", "referee_0", *self.solvers)
        self.menu = _menu(8 if menu is True else int(menu))
        self.values = tuple(sorted({value for problem in self.menu for value in problem.candidates}))
        self.task = self._given(task)

    def _given(self, task: JSON) -> str | None:
        problem = task.get("problem") if isinstance(task, Mapping) else task
        known = [entry.expression for entry in self.menu]
        if problem is not None and not isinstance(problem, str):
            raise ConfigError(
                f'{self.id}: the task is {task!r}; give an expression, or {{"problem": expression}}'
            )
        if problem is not None and self.menu and problem not in known:
            raise UnknownName("problem on the menu", problem, known)
        return problem

    # --------------------------------------------------------------------------------- order
    def start(self, rng: np.random.Generator) -> Round:
        return Round(self.task, (None,) * len(self.solvers))

    def turn(self, state: Round) -> tuple[Seat, ...]:
        if state.problem is None:
            return ("proposer_0",)
        if state.finding is None:
            return ("referee_0",)
        _, fault = state.finding
        owing = (seat for seat, answer in zip(self.solvers, state.answers, strict=True) if answer is None)
        return () if fault else tuple(owing)

    def play(self, state: Round, moves: Mapping[Seat, Move]) -> Round:
        if state.problem is None:
            return replace(state, problem=self._written("proposer_0", moves["proposer_0"]))
        if state.finding is None:
            found = moves["referee_0"]
            assert isinstance(found, Mapping)  # the options admit nothing else
            return replace(state, finding=(str(found["value"]), str(found["fault"])))
        given = {
            seat: move if isinstance(move, Forfeit) else self._written(seat, move)
            for seat, move in moves.items()
        }
        answers = (given.get(seat, old) for seat, old in zip(self.solvers, state.answers, strict=True))
        return replace(state, answers=tuple(answers))

    def _written(self, seat: Seat, move: Move) -> str:
        """A move in words."""
        return self._names(seat)[move] if isinstance(move, int) else str(move)

    def _names(self, seat: Seat) -> tuple[str, ...]:
        if seat == "proposer_0":
            return tuple(problem.expression for problem in self.menu)
        return tuple(str(value) for value in self.values)

    # ----------------------------------------------------------------------------------- pay
    def payoff(self, state: Round) -> Mapping[Seat, float]:
        if state.finding is None or self.turn(state):
            return {}
        value, fault = state.finding
        if fault:
            return {} if self.task else {"proposer_0": -self.stake}
        given = [
            (seat, read_answer(a))
            for seat, a in zip(self.solvers, state.answers, strict=True)
            if isinstance(a, str)
        ]
        label = value if self.truth == "referee" else majority([answer for _, answer in given])
        right = {seat: answer != UNREADABLE and answer == label for seat, answer in given}
        earned = {seat: float(ok) for seat, ok in right.items()}
        if self.task is None and given:  # of nobody's answers there is no share
            earned["proposer_0"] = self.reward(sum(right.values()) / len(given))
        return earned

    def forfeit(self, state: Round, losers: Mapping[Seat, Forfeit]) -> Mapping[Seat, float] | None:
        """A proposer that gives nothing loses its stake; a solver that does is left out of the count."""
        return {"proposer_0": -self.stake} if "proposer_0" in losers else None

    # --------------------------------------------------------------------------------- seats
    def crew(self) -> Mapping[Seat, str]:
        return {"referee_0": "arithmetic"}

    def options(self, state: Round, seat: Seat) -> Options:
        if seat == "referee_0":
            return Form(FINDING)
        if not self.menu:
            return Text(200)
        names = self._names(seat)
        if seat == "proposer_0":
            return Choice(names, np.ones(len(names), np.bool_))
        # A referee that lets a malformed problem pass leaves its solvers every answer.
        candidates = (
            next((p.candidates for p in self.menu if p.expression == state.problem), ()) or self.values
        )
        return Choice(names, np.isin(self.values, candidates))

    def interface(self, seat: Seat) -> Interface:
        if seat not in self.seats:
            raise UnknownName(f"seat of {self.id}", seat, self.seats)
        if seat == "referee_0" or not self.menu:
            return Interface(self.options(self.start(np.random.default_rng(0)), seat))
        names = self._names(seat)
        width = len(self.menu) + (0 if seat == "proposer_0" else len(names))
        return Interface(Choice(names, np.ones(len(names), np.bool_)), (width,), "float32")

    def view(self, state: Round, seat: Seat) -> View:
        if seat == "referee_0":
            return View(f"Work out: {state.problem}", data={"expression": state.problem})
        text = self._propose(state) if seat == "proposer_0" else self._solve(state, seat)
        return View(text, self._features(state, seat) if self.menu else None)

    def _propose(self, state: Round) -> str:
        if state.problem is not None:
            return f"The problem is: {state.problem}"
        form = "" if self.menu else " Answer with one expression and nothing else, such as 17 * (4 + 9)."
        return f"Set a problem that about half of {len(self.solvers)} solvers will get right.{form}"

    def _solve(self, state: Round, seat: Seat) -> str:
        if state.problem is None:
            return "There is no problem yet."
        answer = state.answers[self.solvers.index(seat)]
        if answer is not None:
            said = "nothing that can be used" if isinstance(answer, Forfeit) else answer
            return f"The problem is: {state.problem}\nYou answered: {said}"
        form = "" if self.menu else "\nAnswer with the value as one whole number, such as 42."
        return f"The problem is: {state.problem}{form}"

    def _features(self, state: Round, seat: Seat) -> NDArray[np.float32]:
        """Which problem, one of M; and for a solver which answer it gave, one of its names."""
        problem = np.array([p.expression == state.problem for p in self.menu], np.float32)
        if seat == "proposer_0":
            return problem
        answer = state.answers[self.solvers.index(seat)]
        names = np.array([name == answer for name in self._names(seat)], np.float32)
        if isinstance(answer, Forfeit):
            names[:] = -1
        return np.concatenate([problem, names])

    def sample(self, state: Round, seat: Seat, rng: np.random.Generator) -> Move:
        if seat == "referee_0":
            sound = state.problem != MALFORMED
            return {
                "value": str(int(rng.integers(100))) if sound else "",
                "fault": "" if sound else "malformed",
            }
        if self.menu:
            return super().sample(state, seat, rng)
        if role_of(seat) == "proposer":
            return _expression(rng)
        value = read_answer(state.finding[0]) if state.finding else UNREADABLE
        slip = int(rng.choice([0, 0, 0, 1, -1, 10]))  # right half of the time
        return str(int(value or 0) + slip)


def read_answer(text: str) -> str:
    r"""The whole number in an answer, in one spelling; "" if it is none.

    >>> read_answer(" +042 "), read_answer(r"so it is \\boxed{-7}"), read_answer("about 9")
    ('42', '-7', '')
    """
    boxed = _BOXED.findall(text)
    inner = (boxed[-1] if boxed else text).strip()
    return str(int(inner)) if _WHOLE.fullmatch(inner) else UNREADABLE


def majority(answers: list[str]) -> str:
    """The answer given most often, of equals the first; what cannot be read has no vote.

    >>> majority(["3", "", "", "5", "5", "3"]), majority(["", ""])
    ('3', '')
    """
    votes = Counter(answer for answer in answers if answer != UNREADABLE)
    return max(votes, key=lambda answer: votes[answer], default=UNREADABLE)


def _menu(k: int) -> tuple[Problem, ...]:
    """A menu of k problems and one that is none; the i-th problem has i + 1 candidates, so that guesses
    are right less and less often.
    """
    if k == 0:
        return ()
    if not 2 <= k <= 12:
        raise ValueError(f"a menu has 2 to 12 problems, not {k}")
    misses = (1, -1, 10, -10, 2, -2, 20, -20, 3, -3, 30)
    problems = []
    for i in range(k):
        a, b, c = 3 + 2 * i, 2 + 5 * i, 4 + i
        expression, value = [(f"{a} + {b}", a + b), (f"{a} * {b}", a * b), (f"{a} * {b} - {c}", a * b - c)][
            3 * i // k
        ]
        problems.append(Problem(expression, tuple(sorted([value, *(value + miss for miss in misses[:i])]))))
    return (*problems, Problem(MALFORMED, ()))


def _expression(rng: np.random.Generator) -> str:
    a, b, c = (int(n) for n in rng.integers(1, 30, 3))
    first, second = (str(sign) for sign in rng.choice(["+", "-", "*"], 2))
    return f"{a} {first} {b}" if rng.random() < 0.5 else f"({a} {first} {b}) {second} {c}"
