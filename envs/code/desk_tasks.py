"""Tasks at the order desk made from goals and lists of calls: for menus, samples and tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ludus.core.errors import ConfigError
from ludus.core.game import JSON, Form
from ludus.envs.code import order_desk

Desk: TypeAlias = dict[str, Any]
Call: TypeAlias = tuple[str, ...]  # a tool, and what it is called with


TASK = Form({"instruction": "string", "verifier": "string", "solution": "string", "failures": "strings"})


class Task(NamedTuple):
    """What a challenger emits: four parts, three of them programs."""

    instruction: str
    verifier: str
    solution: str
    failures: tuple[str, ...]


class Program(NamedTuple):
    """Calls in order."""

    calls: tuple[Call, ...]

    @property
    def name(self) -> str:
        """In words, such as "cancel o1, refund o1"."""
        return ", ".join(" ".join(call) for call in self.calls) or "do nothing"

    @property
    def source(self) -> str:
        """As Python."""
        lines = (f"desk.{tool}({', '.join(map(json.dumps, arguments))})" for tool, *arguments in self.calls)
        return "\n".join(lines) or "pass"


class Goal(NamedTuple):
    """A value that must stand at a place of the desk."""

    path: tuple[str, ...]
    want: str

    @property
    def source(self) -> str:
        """As a verifier in Python."""
        place = "".join(f"[{json.dumps(key)}]" for key in self.path)
        return f"def evaluate(state, answer):\n    return state{place} == {json.dumps(self.want)}"

    def holds(self, desk: Desk) -> bool:
        """Whether it is reached. Raises KeyError where there is no such place."""
        found: Any = desk
        for key in self.path:
            found = found[key]
        return bool(found == self.want)


class Template(NamedTuple):
    """A task of the menu."""

    instruction: str
    goal: Goal
    solution: Program
    failures: tuple[Program, ...]


def program(*calls: str) -> Program:
    r"""A program from calls in words.

    >>> program("cancel o1", "refund o1").source
    'desk.cancel("o1")\ndesk.refund("o1")'
    """
    return Program(tuple(tuple(call.split()) for call in calls))


def apply(desk: Desk, calls: Sequence[Any]) -> Desk:
    """A copy of the desk after calls, each [tool, [arguments]]; what is no call is passed over."""
    after = copy.deepcopy(desk)
    for entry in calls:
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], (list, tuple)):
            order_desk.call(after, str(entry[0]), list(entry[1]))
    return after


def ran(desk: Desk, what: Program) -> Desk:
    """A copy of the desk after a program."""
    return apply(desk, [(tool, arguments) for tool, *arguments in what.calls])


def filtered(desk: Desk, task: Template) -> Mapping[str, Any]:
    """What a sandbox would find of a task of the menu (see `refusal`)."""
    cases = [ran(desk, case) for case in (Program(()), task.solution, *task.failures)]
    try:
        _, solution, *failures = [task.goal.holds(case) for case in cases]
    except KeyError as fault:
        return {"ran": False, "solution": False, "failures": [], "fault": f"KeyError: {fault}"}
    return {"ran": True, "solution": solution, "failures": failures, "fault": ""}


def refusal(finding: Mapping[str, Any], count: int) -> str:
    """Why a task is refused, by what the sandbox found of it; "" if it is accepted.

    Args:
        finding: "ran": the verifier ran in every case; "solution": its verdict on the solution;
            "failures": its verdicts on the failure cases; "fault": in words.
        count: of failure cases.
    """
    if not finding["ran"]:
        return f"the verifier does not run: {finding['fault']}"
    if finding["solution"] is not True:
        return "the verifier refuses the solution" + (f": {finding['fault']}" if finding["fault"] else "")
    passed = [i for i, verdict in enumerate(finding["failures"]) if verdict is not False]
    if passed or len(finding["failures"]) != count:
        return f"the verifier accepts failure cases {passed}"
    return ""


def templates(order: str, other: str, buyer: str) -> tuple[Template, ...]:
    """Tasks about one order; on some desks some of them are refused, and the last three on all."""
    status = ("orders", order, "status")
    cancel, refund, nothing = program(f"cancel {order}"), program(f"refund {order}"), program()
    move = Program((("set", order, "address", "12 Elm Street"),))
    astray = Program((("set", other, "address", "12 Elm Street"),))
    both = program(f"cancel {order}", f"refund {order}")
    wrong = (nothing, program(f"cancel {other}"), program(f"get {order}"))
    return (
        Template(f"Cancel order {order}.", Goal(status, "cancelled"), cancel, (nothing, both, wrong[1])),
        Template(
            f"Give the buyer of {order} the money back.",
            Goal(status, "refunded"),
            both,
            (nothing, cancel, wrong[1]),
        ),
        Template(
            f"Send order {order} to 12 Elm Street.",
            Goal(("orders", order, "address"), "12 Elm Street"),
            move,
            (nothing, astray, refund),
        ),
        Template(
            f"Find out who bought {order} and submit the user's id.",
            Goal(("answer",), buyer),
            program(f"get {order}", f"submit {buyer}"),
            (nothing, program(f"submit {order}"), program(f"submit {buyer}0")),
        ),
        Template(
            f"Look at order {order}.", Goal(("orders", order, "address"), "1 Oak Lane"), wrong[2], wrong
        ),
        Template(f"Lose order {order}.", Goal(status, "lost"), refund, wrong),
        Template("Cancel order o99.", Goal(("orders", "o99", "status"), "cancelled"), cancel, wrong),
    )


def any_template(desk: Desk, rng: np.random.Generator) -> Template:
    """A task about two orders of the desk."""
    order, other = (str(key) for key in rng.choice(list(desk["orders"]), 2, replace=False))
    known = templates(order, other, desk["orders"][order]["user"])
    return known[int(rng.integers(len(known)))]


def written(task: Template) -> dict[str, JSON]:
    """A task of the menu as a challenger would write it."""
    sources: list[Program] = [task.solution, *task.failures]
    solution, *failures = (program.source for program in sources)
    return {
        "instruction": task.instruction,
        "verifier": task.goal.source,
        "solution": solution,
        "failures": failures,
    }


def given(task: JSON) -> Task | None:
    """A task that was given, or emitted by a challenger; None for none."""
    if task is None:
        return None
    if task not in TASK:
        raise ConfigError(
            f"code_as_task: the task is {task!r:.200}; give an object with {', '.join(TASK.schema)}"
        )
    assert isinstance(task, Mapping)
    instruction, verifier, solution = (str(task[key]) for key in ("instruction", "verifier", "solution"))
    return Task(instruction, verifier, solution, tuple(map(str, task["failures"])))  # type: ignore[arg-type]


def too_few(task: Task) -> str | None:
    """Why a task need not be run at all."""
    return (
        f"{len(task.failures)} failure cases, and at least 3 are needed" if len(task.failures) < 3 else None
    )
