"""The sneaky generator and the critic: one seat spoils a step of a solution, the other judges a step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import (
    CHANCE,
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
)
from ludus.core.registry import register
from ludus.envs.language.chains import MUTATORS, SIGNS, Chain, Step, chain_of, known_chains, mutate

FINDING = {"original": "integer", "altered": "integer", "fault": "string"}
VERDICTS = ("Correct", "Incorrect")
SLIPS = (-2, -1, 1, 2)  # by how much a completion that slips misses, each alike
QUALIFIES, INEFFECTIVE, WEAK = 0, 1, 2
SHOWN = ("altered", "original")
ENOUGH = 0.75  # share of completions from the original step that must succeed

_STEP = re.compile(r"x([0-9]{1,3})\s*=\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Attack:
    """The state.

    Attributes:
        draws: what nature drew of the chain so far.
        position: which step was altered, from 0; -1 if the reply alters none.
        altered: what stands right of its "=" now.
        outcome: `QUALIFIES`, `INEFFECTIVE` or `WEAK`; None before the validation.
        shown: 0 the altered step, 1 the original; None before that is drawn.
        verdict: what the critic said, an index into `VERDICTS`.
        made: the generator's move in a menu.
    """

    draws: tuple[int, ...] = ()
    position: int | None = None
    altered: str = ""
    outcome: int | None = None
    shown: int | None = None
    verdict: int | None = None
    made: int | None = None


@register("sneaky_critic")
class SneakyCritic(Game[Attack]):
    """A problem is given with its correct solution, a chain of arithmetic steps. The generator
    alters one step so that it looks right and is wrong. The referee completes the solution several
    times, each time with a small chance of a slip, from the original step and from the altered one.
    Then the critic sees the problem, the steps before, and one step, and says whether that step is
    correct. Half of the time it is the original step that it sees.

    The alteration is ineffective if a completion from it still reaches the right result: the
    generator loses 1 and the critic is not asked. If fewer than three quarters of the completions
    from the original step succeed, the round is discarded and nobody is paid. Else, for the altered
    step: if the critic says Correct it loses 1 and the generator earns 1, if it says Incorrect the
    other way round. For the original step: the critic earns 1 for Correct and loses 1 for
    Incorrect, and the generator earns nothing.

    Source: SPC (Chen et al., 2025, arXiv 2504.19162). Where the sources are silent: a weak original
    is discarded; a wrong verdict on an original costs 1; chance, not a second question, decides
    which step of the pair is shown, since a critic that saw both could tell one by the other.

    Args:
        steps: length of the chain; with a menu always 3.
        completions: from each of the two steps.
        slip: how likely a completion is to go astray.
        shows: "drawn", "altered" or "original": which step of a qualified pair the critic sees. Two
            matches on one seed with the latter two are the pair of the paper.
        menu: True or a number of known chains: the generator chooses a step and a mutator, and
            nature draws what the referee would find, by its exact odds.
        task: a given chain, {"first": 3, "steps": [[0, "*", 2], [1, "+", 4]]}.
    """

    seats = ("generator_0", "referee_0", "critic_0")
    view_is_complete = True

    def __init__(
        self,
        steps: int = 3,
        completions: int = 8,
        slip: float = 0.05,
        shows: str = "drawn",
        menu: bool | int = False,
        task: JSON = None,
    ) -> None:
        if not 1 <= steps <= 12 or completions < 1 or not 0 <= slip < 1:
            raise ValueError(
                f"1 to 12 steps, at least one completion and 0 <= slip < 1; "
                f"not steps={steps}, completions={completions}, slip={slip}"
            )
        if shows not in ("drawn", *SHOWN):
            raise UnknownName("step to show", shows, ("drawn", *SHOWN))
        if menu and (steps != 3 or task is not None):
            raise ConfigError("the chains of the menu are given and have 3 steps: leave out steps and task")
        self.completions, self.slip, self.shows = completions, slip, shows
        self.menu = known_chains(4 if menu is True else int(menu))
        self.task = _given(task)
        self.length = len(self.task.steps) if self.task else steps
        kinds = (
            ["chain"]
            if self.menu
            else ["first", "sign", "operand", *["source", "sign", "operand"] * (steps - 1)]
        )
        self.kinds = [] if self.task else kinds
        self.names = tuple(f"step {i + 1}: {kind}" for i in range(self.length) for kind in MUTATORS)

    # --------------------------------------------------------------------------------- order
    def start(self, rng: np.random.Generator) -> Attack:
        return Attack()

    def turn(self, state: Attack) -> tuple[Seat, ...]:
        if len(state.draws) < len(self.kinds):
            return (CHANCE,)
        if state.position is None:
            return ("generator_0",)
        if state.outcome is None:
            return (CHANCE,) if self.menu else ("referee_0",)
        if state.outcome != QUALIFIES or state.verdict is not None:
            return ()
        return (CHANCE,) if state.shown is None else ("critic_0",)

    def chance(self, state: Attack) -> Sequence[tuple[int, float]]:
        if len(state.draws) < len(self.kinds):
            kind = self.kinds[len(state.draws)]
            if kind == "source":  # how far back: mostly the step before
                return [(1, 0.75), (2, 0.25)]
            sizes = {
                "chain": range(len(self.menu)),
                "first": range(2, 10),
                "sign": range(3),
                "operand": range(2, 10),
            }
            return [(outcome, 1 / len(sizes[kind])) for outcome in sizes[kind]]
        if state.outcome is None:
            return self._odds(state)
        return [(shown, 0.5) for shown in range(len(SHOWN))]

    def _odds(self, state: Attack) -> list[tuple[int, float]]:
        """The distribution of the referee's finding, for an alteration of the menu."""
        assert state.position is not None  # nature is asked after the generator
        n, chain = self.completions, self.chain(state)
        assert chain is not None
        strong = sum(
            math.comb(n, k) * (1 - self.slip) ** k * self.slip ** (n - k)
            for k in range(math.ceil(ENOUGH * n), n + 1)
        )
        step = mutate(chain.steps[state.position], state.position, self._mutator(state))
        missed = chain.last() - chain.last(state.position, step)
        hit = 1 - self.slip if missed == 0 else self.slip / len(SLIPS) if missed in SLIPS else 0.0
        clean = (1 - hit) ** n
        odds = [(QUALIFIES, strong * clean), (INEFFECTIVE, strong * (1 - clean)), (WEAK, 1 - strong)]
        return [(outcome, p) for outcome, p in odds if p > 0]

    def chain(self, state: Attack) -> Chain | None:
        """The chain that was drawn, once it is."""
        if self.task:
            return self.task
        if len(state.draws) < len(self.kinds):
            return None
        if self.menu:
            return self.menu[state.draws[0]]
        first, sign, operand, *rest = state.draws
        steps = [Step(0, SIGNS[sign], operand)]
        for i in range(0, len(rest), 3):
            back, sign, operand = rest[i : i + 3]
            steps.append(Step(len(steps) + 1 - back, SIGNS[sign], operand))
        return Chain(first, tuple(steps))

    def play(self, state: Attack, moves: Mapping[Seat, Move]) -> Attack:
        ((seat, move),) = moves.items()
        if seat == "generator_0":
            return self._alter(state, move)
        if seat == "referee_0":
            assert isinstance(move, Mapping)  # the options admit nothing else
            return self._judge(state, self._outcome(move))
        assert isinstance(move, (int, np.integer))
        if seat == "critic_0":
            return replace(state, verdict=int(move))
        if len(state.draws) < len(self.kinds):
            return replace(state, draws=(*state.draws, int(move)))
        return self._judge(state, int(move)) if state.outcome is None else replace(state, shown=int(move))

    def _alter(self, state: Attack, move: Move) -> Attack:
        chain = self.chain(state)
        assert chain is not None  # the generator moves when the chain is drawn
        if isinstance(move, int):
            position, kind = divmod(move, len(MUTATORS))
            altered = str(mutate(chain.steps[position], position, MUTATORS[kind]))
            return replace(state, position=position, altered=altered, made=move)
        written = read_step(str(move))
        if written is None or not 1 <= written[0] <= self.length:
            return replace(state, position=-1, outcome=INEFFECTIVE)
        return replace(state, position=written[0] - 1, altered=written[1])

    def _outcome(self, finding: Mapping[str, JSON]) -> int:
        """The row of the table that a finding of the referee belongs to."""
        if int(str(finding["original"])) < ENOUGH * self.completions:
            return WEAK
        return INEFFECTIVE if finding["fault"] or finding["altered"] != 0 else QUALIFIES

    def _judge(self, state: Attack, outcome: int) -> Attack:
        shown = None if self.shows == "drawn" else SHOWN.index(self.shows)
        return replace(state, outcome=outcome, shown=shown if outcome == QUALIFIES else None)

    # ----------------------------------------------------------------------------------- pay
    def payoff(self, state: Attack) -> Mapping[Seat, float]:
        if state.outcome == INEFFECTIVE:
            return {"generator_0": -1.0}
        if state.verdict is None:
            return {}
        if SHOWN[state.shown or 0] == "original":
            return {"critic_0": 1.0 if VERDICTS[state.verdict] == "Correct" else -1.0}
        fooled = 1.0 if VERDICTS[state.verdict] == "Correct" else -1.0
        return {"generator_0": fooled, "critic_0": -fooled}

    def forfeit(self, state: Attack, losers: Mapping[Seat, Forfeit]) -> Mapping[Seat, float]:
        """Who gives nothing loses 1; the other has done nothing to earn it."""
        return dict.fromkeys(losers, -self.stake)

    # --------------------------------------------------------------------------------- seats
    def crew(self) -> Mapping[Seat, str]:
        return {"referee_0": "chain_executor"}

    def options(self, state: Attack, seat: Seat) -> Options:
        if seat == "referee_0":
            return Form(FINDING)
        if seat == "critic_0":
            return Choice(VERDICTS, np.ones(2, np.bool_))
        if not self.menu:
            return Text(1000)
        # x1 is made of x0 alone: there is no wrong variable to take.
        return Choice(self.names, np.array([name != "step 1: wrong variable" for name in self.names]))

    def interface(self, seat: Seat) -> Interface:
        if seat not in self.seats:
            raise UnknownName(f"seat of {self.id}", seat, self.seats)
        features = self.view(Attack(), seat).features
        shape = None if features is None else features.shape
        return Interface(self.options(Attack(), seat), shape, "float32")

    def view(self, state: Attack, seat: Seat) -> View:
        chain = self.chain(state)
        if seat == "referee_0":
            return View("Complete the solution from both steps.", data=self._data(state, chain))
        text = "There is no problem yet." if chain is None else self._prose(state, seat, chain)
        return View(text, self._features(state, seat, chain) if self.menu else None)

    def _data(self, state: Attack, chain: Chain | None) -> JSON:
        if chain is None:
            return None
        return {
            "first": chain.first,
            "steps": [str(step) for step in chain.steps],
            "position": state.position,
            "altered": state.altered,
            "completions": self.completions,
            "slip": self.slip,
            "slips": list(SLIPS),
        }

    def _prose(self, state: Attack, seat: Seat, chain: Chain) -> str:
        if seat == "critic_0":
            return self._to_judge(state, chain)
        told = f"Problem: {chain.problem()}\nSolution: {chain.solution(self.length)}\n"
        if state.position is not None:
            altered = f"x{state.position + 1} = {state.altered}" if state.position >= 0 else "nothing"
            return f"{told}You altered: {altered}"
        how = "Choose one." if self.menu else "Answer with the altered step, such as: x2 = x1 + 5"
        return f"{told}Alter one step so that it looks right and the result comes out wrong. {how}"

    def _to_judge(self, state: Attack, chain: Chain) -> str:
        if state.shown is None or state.position is None:
            return f"Problem: {chain.problem()}"
        i = state.position
        step = state.altered if SHOWN[state.shown] == "altered" else str(chain.steps[i])
        said = "" if state.verdict is None else f" You said: {VERDICTS[state.verdict]}."
        return (
            f"Problem: {chain.problem()}\nPartial solution: {chain.solution(i)}\n"
            f"Last step: x{i + 1} = {step}\nIs the last step correct?{said}"
        )

    def _features(self, state: Attack, seat: Seat, chain: Chain | None) -> NDArray[np.float32]:
        """Which chain, one of M; what was done (the generator's move, the critic's verdict); then for the
        generator the chain's steps, for the critic the step's place, the step as it should be and as it is shown.
        """
        which = np.array([entry == chain for entry in self.menu], np.float32)
        if seat == "generator_0":
            made = (
                np.eye(len(self.names), dtype=np.float32)[state.made]
                if state.made is not None
                else np.zeros(len(self.names))
            )
            steps = [_row(step) for step in chain.steps] if chain else [_row(None)] * self.length
            return np.concatenate([which, made, *steps], dtype=np.float32)
        said = [float(state.verdict == i) for i in range(len(VERDICTS))]
        if chain is None or state.shown is None or state.position is None:
            return np.concatenate([which, said, np.zeros(self.length), _row(None), _row(None)]).astype(
                np.float32
            )
        right = chain.steps[state.position]
        shown = (
            right if SHOWN[state.shown] == "original" else mutate(right, state.position, self._mutator(state))
        )
        place = np.eye(self.length)[state.position]
        return np.concatenate([which, said, place, _row(right), _row(shown)], dtype=np.float32)

    def _mutator(self, state: Attack) -> str:
        assert state.made is not None  # asked of menus after the generator's move only
        return MUTATORS[state.made % len(MUTATORS)]

    def sample(self, state: Attack, seat: Seat, rng: np.random.Generator) -> Move:
        if seat == "referee_0":
            return {
                "original": int(rng.integers(self.completions + 1)),
                "altered": int(rng.integers(2)),
                "fault": "",
            }
        if seat == "critic_0" or self.menu:
            return super().sample(state, seat, rng)
        chain = self.chain(state)
        assert chain is not None  # nobody is asked before the chain is drawn
        position = int(rng.integers(self.length))
        kind = str(rng.choice([m for m in MUTATORS if position or m != "wrong variable"]))
        return f"x{position + 1} = {mutate(chain.steps[position], position, kind)}"


def read_step(text: str) -> tuple[int, str] | None:
    r"""The number of the variable and the expression, from the last line of a reply that is a step.

    >>> read_step("Let me see.\nx2 =  x1 +  5"), read_step("no step")
    ((2, 'x1 + 5'), None)
    """
    lines = [match for line in text.splitlines() if (match := _STEP.fullmatch(line.strip(" `*.\t")))]
    return (int(lines[-1][1]), " ".join(lines[-1][2].split())) if lines else None


def _row(step: Step | None) -> NDArray[np.float32]:
    """A step as numbers (7,); zeros for none."""
    if step is None:
        return np.zeros(7, np.float32)
    sign = [float(step.sign == known) for known in SIGNS]
    return np.array([step.source + 1, *sign, step.operand / 10, step.extra, step.swapped], np.float32)


def _given(task: JSON) -> Chain | None:
    if task is None:
        return None
    try:
        assert isinstance(task, Mapping)
        steps = [(int(source), str(sign), int(operand)) for source, sign, operand in task["steps"]]  # type: ignore[union-attr,misc,arg-type]
        assert steps
        assert all(0 <= source <= i and sign in SIGNS for i, (source, sign, _) in enumerate(steps))
        return chain_of(int(task["first"]), *steps)  # type: ignore[arg-type]
    except (AssertionError, KeyError, TypeError, ValueError) as fault:
        example = '{"first": 3, "steps": [[0, "*", 2], [1, "+", 4]]}'
        raise ConfigError(f"sneaky_critic: the task is {task!r}; give a chain such as {example}") from fault
