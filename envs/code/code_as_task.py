"""Code as task: a challenger at an order desk writes tasks with their tests, executors do them with tools."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

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
from ludus.envs.code import desk_tasks, order_desk
from ludus.envs.code.desk_tasks import TASK, Desk, Task, templates

FINDINGS = {
    "run": Form({"calls": "list", "output": "string", "fault": "string"}, max_chars=1 << 20),
    "filter": Form({"ran": "boolean", "solution": "boolean", "failures": "list", "fault": "string"}),
    "judge": Form({"verdict": "boolean", "fault": "string"}),
}
ITEMS, PRICES, USERS = ("lamp", "chair", "desk lamp", "rug"), (10, 20, 30, 40), ("u1", "u2")
FIELDS = {"user": USERS, "item": ITEMS, "price": PRICES, "status": order_desk.STATUSES}
MENU_ORDERS = ({"user": "u1", "item": "lamp", "price": 20}, {"user": "u2", "item": "rug", "price": 30})
MENU_STATUSES = ("pending", "delivered")


class Work(NamedTuple):
    """An executor at its own desk.

    Attributes:
        done: programs, and what they printed.
        running: the program that the sandbox has.
        desk: as JSON.
        finished: it handed in an answer, has no turns left, or gave up.
        verdict: the verifier's.
    """

    done: tuple[tuple[str, str], ...] = ()
    running: str | None = None
    desk: str = ""
    finished: bool = False
    verdict: bool | None = None


@dataclass(frozen=True, slots=True)
class Shop:
    """The state: the draws of the orders, the challenger's exploration and task, and the executors' work.

    `refused` is None before the filter, "" for a task that was accepted, else the reason.
    """

    draws: tuple[int, ...] = ()
    explored: tuple[tuple[str, str], ...] = ()
    running: str | None = None
    task: Task | None = None
    chosen: int | None = None
    refused: str | None = None
    work: tuple[Work, ...] = ()


@register("code_as_task")
class CodeAsTask(Game[Shop]):
    """A shop's order desk has users, orders, and tools that programs call. The challenger first explores
    the desk with programs of its own. Then it writes a task: an instruction; a verifier, a Python
    function evaluate(state, answer) that returns True if the desk's state, or the answer handed in,
    is as the instruction wants it; a solution, a program; and three or more failure cases, programs
    that nearly do it.

    The sandbox runs them, each on a fresh copy of the desk. The task is refused unless (i) the
    verifier runs without a fault, (ii) it returns True after the solution, and (iii) False after
    every failure case. If it is accepted, each executor gets the instruction and a fresh copy of
    the desk, and works on it with programs until it submits an answer or has no turns left.

    An executor earns 1 if the verifier then returns True, else 0. The challenger earns nothing: its
    tasks are filtered, and it loses 1 only if it gives no usable reply.

    Source: Self-Challenging Agents (Zhou et al., 2025, arXiv 2506.01716).

    Args:
        executors: how many.
        orders: at the desk.
        explorations: how many programs the challenger runs before it writes the task.
        turns: how many programs an executor may run.
        menu: the challenger chooses among known tasks, good and bad, and each executor among known
            programs, in one turn; nobody needs a sandbox.
        task: a given task, an object with instruction, verifier, solution and failures; it is
            filtered like any other.
    """

    view_is_complete = True
    independent = True

    def __init__(
        self,
        executors: int = 2,
        orders: int = 3,
        explorations: int = 2,
        turns: int = 3,
        menu: bool = False,
        task: JSON = None,
    ) -> None:
        if min(executors, turns) < 1 or orders < 2 or explorations < 0:
            raise ValueError(
                "at least one executor and turn, two orders and no negative explorations; "
                f"not {executors=}, {turns=}, {orders=}, {explorations=}"
            )
        self.executors = tuple(f"executor_{i}" for i in range(executors))
        self.sandboxes = tuple(f"sandbox_{i}" for i in range(executors + 1))
        self.seats = ("challenger_0", *self.sandboxes, *self.executors)
        self.explorations, self.turns, self.menu = explorations, turns, menu
        self.task = desk_tasks.given(task)
        if menu and self.task:
            raise ConfigError("code_as_task: a menu has tasks of its own; leave out the task, or the menu")
        order = {"status": MENU_STATUSES} if menu else FIELDS
        self.fields = [
            (f"o{i + 1}", name, order[name]) for i in range(2 if menu else orders) for name in order
        ]
        self.tasks = templates("o1", "o2", "u1") if menu else ()
        known = [p for t in self.tasks for p in (t.solution, *t.failures)]
        self.programs = tuple(dict.fromkeys(known))

    # --------------------------------------------------------------------------------- order
    def start(self, rng: np.random.Generator) -> Shop:
        return Shop(task=self.task)

    def turn(self, state: Shop) -> tuple[Seat, ...]:
        if len(state.draws) < len(self.fields):
            return (CHANCE,)
        if state.running is not None:
            return ("sandbox_0",)
        if state.task is None and state.chosen is None:
            return ("challenger_0",)
        if state.refused is None:
            return ("sandbox_0",)
        return tuple(self._at_work(i, work) for i, work in enumerate(state.work) if work.verdict is None)

    def _at_work(self, i: int, work: Work) -> Seat:
        """Who acts next at desk i: its executor, or its sandbox."""
        return self.sandboxes[i + 1] if work.finished or work.running is not None else self.executors[i]

    def chance(self, state: Shop) -> Sequence[tuple[int, float]]:
        _, _, values = self.fields[len(state.draws)]
        return [(i, 1 / len(values)) for i in range(len(values))]

    def play(self, state: Shop, moves: Mapping[Seat, Move]) -> Shop:
        for seat, move in moves.items():
            if seat == CHANCE:
                assert isinstance(move, (int, np.integer))
                state = replace(state, draws=(*state.draws, int(move)))
            elif seat == "challenger_0":
                state = self._challenge(state, move)
            elif seat == "sandbox_0":
                state = self._report(state, move)
            else:
                i = int(seat.rpartition("_")[2]) - (seat in self.sandboxes)
                state = self._work(state, i, move)
        return state

    def _challenge(self, state: Shop, move: Move) -> Shop:
        if isinstance(move, int):
            task = self.tasks[move]
            refused = desk_tasks.refusal(desk_tasks.filtered(self.desk(state), task), len(task.failures))
            return replace(state, chosen=move, refused=refused, work=self._desks(state, refused))
        if isinstance(move, str):
            return replace(state, running=move)
        task_ = desk_tasks.given(move)  # type: ignore[arg-type]  # the options admit forms only
        assert task_ is not None
        return replace(state, task=task_, refused=desk_tasks.too_few(task_))

    def _report(self, state: Shop, finding: Move) -> Shop:
        assert isinstance(finding, Mapping)  # the options admit nothing else
        if state.running is not None:
            return replace(state, explored=(*state.explored, (state.running, _output(finding))), running=None)
        assert state.task is not None
        refused = desk_tasks.refusal(finding, len(state.task.failures))
        return replace(state, refused=refused, work=self._desks(state, refused))

    def _desks(self, state: Shop, refused: str) -> tuple[Work, ...]:
        fresh = Work(desk=json.dumps(self.desk(state)))
        return () if refused else (fresh,) * len(self.executors)

    def _work(self, state: Shop, i: int, move: Move) -> Shop:
        work = state.work[i]
        if isinstance(move, Forfeit):
            work = work._replace(finished=True, verdict=False)
        elif isinstance(move, int):
            chosen = self.programs[move]
            assert state.chosen is not None  # executors act when a task is chosen
            reached = self.tasks[state.chosen].goal.holds(desk_tasks.ran(json.loads(work.desk), chosen))
            work = work._replace(done=((chosen.name, ""),), finished=True, verdict=reached)
        elif isinstance(move, str):
            work = work._replace(running=move)
        elif work.running is None:
            work = work._replace(verdict=bool(move["verdict"]))
        else:
            work = self._after_run(work, move)
        return replace(state, work=(*state.work[:i], work, *state.work[i + 1 :]))

    def _after_run(self, work: Work, finding: Mapping[str, JSON]) -> Work:
        """The desk after the calls that a program made: the rules make them again themselves."""
        assert isinstance(finding["calls"], (list, tuple))
        desk = desk_tasks.apply(json.loads(work.desk), finding["calls"])
        done = (*work.done, (work.running or "", _output(finding)))
        submitted = any(
            entry[0] == "submit" for entry in finding["calls"] if isinstance(entry, (list, tuple)) and entry
        )
        finished = submitted or len(done) == self.turns
        return work._replace(done=done, running=None, desk=json.dumps(desk), finished=finished)

    def desk(self, state: Shop) -> Desk:
        """The desk as it was drawn; orders not drawn yet are missing."""
        orders: dict[str, dict[str, Any]] = {}
        for (order, name, values), draw in zip(self.fields, state.draws, strict=False):
            first = MENU_ORDERS[len(orders)] if self.menu and order not in orders else {}
            orders.setdefault(order, dict(first))[name] = values[draw]
        return order_desk.opened(orders)

    # ----------------------------------------------------------------------------------- pay
    def payoff(self, state: Shop) -> Mapping[Seat, float]:
        if not state.work or self.turn(state):
            return {}
        desks = zip(self.executors, state.work, strict=True)
        return {seat: float(bool(work.verdict)) for seat, work in desks}

    def forfeit(self, state: Shop, losers: Mapping[Seat, Forfeit]) -> Mapping[Seat, float] | None:
        """A challenger that gives nothing loses its stake; an executor that does leaves its desk."""
        return {"challenger_0": -self.stake} if "challenger_0" in losers else None

    # --------------------------------------------------------------------------------- seats
    def crew(self) -> Mapping[Seat, str]:
        return dict.fromkeys(self.sandboxes, "order_desk")

    def options(self, state: Shop, seat: Seat) -> Options:
        if seat in self.sandboxes:
            return FINDINGS[self._job(state, seat)]
        if self.menu:
            names = self._names(seat)
            return Choice(names, np.ones(len(names), np.bool_))
        return TASK if seat == "challenger_0" and len(state.explored) == self.explorations else Text(4000)

    def _names(self, seat: Seat) -> tuple[str, ...]:
        tasks, programs = (task.instruction for task in self.tasks), (p.name for p in self.programs)
        return tuple(tasks if seat == "challenger_0" else programs)

    def _job(self, state: Shop, seat: Seat) -> str:
        if seat == "sandbox_0":
            return "run" if state.running is not None else "filter"
        i = int(seat.rpartition("_")[2]) - 1
        return "judge" if state.work and state.work[i].running is None else "run"

    def interface(self, seat: Seat) -> Interface:
        if seat not in self.seats:
            raise UnknownName(f"seat of {self.id}", seat, self.seats)
        state = Shop()
        features = self.view(state, seat).features
        return Interface(self.options(state, seat), None if features is None else features.shape, "float32")

    def view(self, state: Shop, seat: Seat) -> View:
        if seat in self.sandboxes:
            return self._to_run(state, seat)
        if self.menu:
            return View(self._summary(state, seat), self._features(state, seat))
        told = f"Programs are Python and call these tools:\n{order_desk.TOOLS}\n"
        return View(told + (self._to_write(state) if seat == "challenger_0" else self._to_do(state, seat)))

    def _to_run(self, state: Shop, seat: Seat) -> View:
        job = self._job(state, seat)
        data: dict[str, JSON] = {"job": job, "tools": tools_source(), "state": self.desk(state)}
        if seat == "sandbox_0":
            data |= (
                {"program": state.running}
                if job == "run"
                else dict(state.task._asdict() if state.task else {})
            )
            data = {**data, "failures": list(state.task.failures)} if job == "filter" and state.task else data
        elif state.work and state.task:
            work = state.work[int(seat.rpartition("_")[2]) - 1]
            data |= {"state": json.loads(work.desk), "program": work.running, "verifier": state.task.verifier}
        return View(f"Job: {job}", data=data)

    def _to_write(self, state: Shop) -> str:
        seen = _transcript(state.explored)
        if state.task is not None and state.running is None:
            return f"{seen}You set the task: {json.dumps(state.task._asdict())}"
        if state.running is not None:
            return f"{seen}Running: {state.running}"
        left = self.explorations - len(state.explored)
        if left:
            return f"{seen}Explore the desk: answer with a program and nothing else; {left} left before you set a task."
        return (
            f"{seen}Set a task. Answer with one JSON object: "
            '{"instruction": what to do, "verifier": "def evaluate(state, answer): ...", "solution": a program, '
            '"failures": [at least three programs that nearly do it]}. '
            'state is {"users": {id: {...}}, "orders": {id: {...}}, "answer": ...}.'
        )

    def _to_do(self, state: Shop, seat: Seat) -> str:
        if not state.work or state.task is None:
            return "There is no task yet."
        work = state.work[self.executors.index(seat)]
        told = f"Task: {state.task.instruction}\n{_transcript(work.done)}"
        if work.finished:
            return f"{told}You have finished."
        if work.running is not None:
            return f"{told}Running: {work.running}"
        left = self.turns - len(work.done)
        return f"{told}Answer with a program and nothing else; {left} left, and desk.submit(answer) finishes."

    # ---------------------------------------------------------------------------------- menu
    def _summary(self, state: Shop, seat: Seat) -> str:
        orders = self.desk(state)["orders"]
        stands = ", ".join(f"{key} is {order['status']}" for key, order in orders.items()) or "none yet"
        told = f"Orders: {stands}."
        if seat == "challenger_0":
            task = (
                "Set a task." if state.chosen is None else f"You set: {self.tasks[state.chosen].instruction}"
            )
            return f"{told}\n{task}"
        if not state.work or state.chosen is None:
            return f"{told}\nThere is no task yet."
        work = state.work[self.executors.index(seat)]
        did = (
            f"\nYou did: {work.done[0][0]}"
            if work.done
            else "\nYou gave no usable reply."
            if work.finished
            else ""
        )
        return f"{told}\nTask: {self.tasks[state.chosen].instruction}{did}"

    def _features(self, state: Shop, seat: Seat) -> NDArray[np.float32]:
        """The orders' states (one of 2 each); which task; for an executor which program, -1 for none usable."""
        stands = np.zeros((len(self.fields), len(MENU_STATUSES)), np.float32)
        stands[range(len(state.draws)), list(state.draws)] = 1
        shown = state.chosen is not None and (seat == "challenger_0" or bool(state.work))
        task = np.array([shown and i == state.chosen for i in range(len(self.tasks))], np.float32)
        if seat == "challenger_0":
            return np.concatenate([stands.ravel(), task])
        work = state.work[self.executors.index(seat)] if state.work else Work()
        did = np.array([bool(work.done) and work.done[0][0] == p.name for p in self.programs], np.float32)
        return np.concatenate([stands.ravel(), task, did - float(work.finished and not work.done)])

    # -------------------------------------------------------------------------------- sample
    def sample(self, state: Shop, seat: Seat, rng: np.random.Generator) -> Move:
        if self.menu and seat not in self.sandboxes:
            return super().sample(state, seat, rng)
        if seat in self.sandboxes:
            return self._plausible(state, seat, rng)
        options = self.options(state, seat)
        drawn = desk_tasks.any_template(self.desk(state), rng)
        if isinstance(options, Form):
            return desk_tasks.written(drawn)
        if seat != "challenger_0" and state.task is not None and rng.random() < 0.5:
            return state.task.solution
        looks = [f'print(desk.get("{key}"))' for key, _, _ in self.fields] + ['print(desk.list("u1"))']
        return str(rng.choice([*looks, drawn.solution.source]))

    def _plausible(self, state: Shop, seat: Seat, rng: np.random.Generator) -> Move:
        job = self._job(state, seat)
        if job == "run":
            return {"calls": [["get", ["o1"]]], "output": "", "fault": ""}
        if job == "judge":
            return {"verdict": bool(rng.random() < 0.5), "fault": ""}
        count = len(state.task.failures) if state.task else 3
        return {"ran": True, "solution": bool(rng.random() < 0.8), "failures": [False] * count, "fault": ""}


@functools.cache
def tools_source() -> str:
    """The text of the desk's tools, which the sandbox runs beside programs."""
    return Path(order_desk.__file__).read_text(encoding="utf-8")


def _output(finding: Mapping[str, JSON]) -> str:
    """What a program printed, and what went wrong with it."""
    fault = f"\n{finding['fault']}" if finding["fault"] else ""
    return f"{finding['output']}{fault}".strip()


def _transcript(done: Sequence[tuple[str, str]]) -> str:
    return "".join(f">>> {program}\n{output or '(no output)'}\n" for program, output in done)
