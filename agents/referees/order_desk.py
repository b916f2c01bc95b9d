"""The sandbox of the order desk: runs programs and verifiers, each in a box of its own, and reports.

What it is asked stands in `view.data["job"]`:

    run      run a program on a desk      -> the calls it made, what it printed, what went wrong
    judge    ask a verifier about a desk  -> its verdict
    filter   check a task, every case on a fresh copy of the desk
             -> whether the verifier ran, its verdicts on the solution and on the failure cases

The text of the desk's tools comes with the job and runs in the box too. A program hands back calls,
not a state, and a verifier sees a desk on which these calls were made again: so no program can claim
what the tools would not have done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ludus.agents.referees.sandbox import Limits, Ran, Sandbox
from ludus.core.agent import Decision, Failure, Request
from ludus.core.errors import CrewError
from ludus.core.game import Move
from ludus.core.registry import register_agent

CALLS = 100  # that one program may make

# These run in the box. Standard input: the job, as a Python literal of our own making. The last line of standard
# output: what came of it, as JSON, because the program may have written it and nothing else is safe to read. Both
# without the module json, which takes longer to import than the rest to run.
_COMMON = """
import sys
job = eval(sys.stdin.read())
tools = {}
exec(job["tools"], tools)

def written(value):
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or isinstance(value, float) and value - value == 0:
        return repr(value)
    if isinstance(value, str):
        units = value.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"{chr(92)}u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return "{" + ",".join(written(key) + ":" + written(value[key]) for key in value) + "}"
    raise TypeError(f"{value!r} cannot be handed over: it is not JSON")
"""
_RUN = f"""{_COMMON}
calls, said, state = [], [], job["state"]

class Desk:
    def __getattr__(self, tool):
        if tool.startswith("_"):
            raise AttributeError(tool)
        def use(*arguments):
            if len(calls) >= {CALLS}:
                raise RuntimeError("a program makes at most {CALLS} calls")
            written(arguments)  # else the call could not be reported
            calls.append([tool, list(arguments)])
            return tools["call"](state, tool, list(arguments))
        return use

class Said:
    def write(self, text):
        said.append(text)
    def flush(self):
        pass

out, sys.stdout, fault = sys.stdout, Said(), ""
try:
    exec(compile(job["program"], "<program>", "exec"), {{"__name__": "__main__", "desk": Desk()}})
except BaseException as error:
    fault = f"{{type(error).__name__}}: {{error}}"
report = {{"calls": calls, "output": "".join(said)[:2000], "fault": fault[:500]}}
out.write(chr(10) + written(report) + chr(10))
"""
_JUDGE = f"""{_COMMON}
state = job["state"]
for tool, arguments in job["calls"]:
    tools["call"](state, tool, arguments)
out, sys.stdout, verdict, fault = sys.stdout, sys.stderr, False, ""
try:
    verifier = {{}}
    exec(compile(job["verifier"], "<verifier>", "exec"), verifier)
    if "evaluate" not in verifier:
        raise NameError("the verifier defines no function evaluate(state, answer)")
    verdict = verifier["evaluate"](state, state["answer"])
    if verdict is not True and verdict is not False:
        raise TypeError(f"evaluate returned {{verdict!r}}, not True or False")
except BaseException as error:
    verdict, fault = False, f"{{type(error).__name__}}: {{error}}"
out.write(chr(10) + written({{"verdict": verdict, "fault": fault[:500]}}) + chr(10))
"""


@register_agent("order_desk")
@dataclass
class OrderDesk:
    """Runs the programs and verifiers of `code_as_task`.

    Args:
        trusted: run them without isolation. Only for code that you would run yourself.
        limits: what each of them may use up.
        boxes: how many run at a time.
    """

    trusted: bool = False
    limits: Limits = field(default_factory=Limits)
    boxes: int = 2
    name: str = "order_desk"
    deterministic: bool = False  # programs may look at the clock or be stopped by it, and draw at random

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        with ThreadPoolExecutor(self.boxes) as pool:
            return list(pool.map(self._answer, requests))

    def _answer(self, request: Request) -> Decision:
        data = request.view.data
        jobs = {"run": self._run, "judge": self._judge, "filter": self._filter}
        if not isinstance(data, Mapping) or data.get("job") not in jobs:
            return Decision(Failure(f"the view holds no job but {data!r}"))
        try:
            return Decision(jobs[str(data["job"])](data))
        except CrewError as fault:
            return Decision(Failure(str(fault)))

    def _run(self, data: Mapping[str, Any]) -> dict[str, Any]:
        job = {"tools": data["tools"], "state": data["state"], "program": data["program"]}
        ran = Sandbox(self.limits, self.trusted).run(_RUN, repr(job))
        return _report(ran, {"calls": list, "output": str, "fault": str})

    def _judge(self, data: Mapping[str, Any], calls: Sequence[Any] = ()) -> dict[str, Any]:
        job = {
            "tools": data["tools"],
            "state": data["state"],
            "calls": list(calls),
            "verifier": data["verifier"],
        }
        ran = Sandbox(self.limits, self.trusted).run(_JUDGE, repr(job))
        return _report(ran, {"verdict": bool, "fault": str})

    def _filter(self, data: Mapping[str, Any]) -> Move:
        """The verifier on the desk untouched, after the solution, and after each failure case; what is known to be
        refused is not run to the end.
        """
        finding: dict[str, Any] = {"ran": False, "solution": False, "failures": [], "fault": ""}
        if fault := self._judge(data)["fault"]:
            return {**finding, "fault": fault}
        verdict, stumbled, fault = self._case(data, data["solution"])
        if fault:
            return {**finding, "fault": fault}
        finding |= {"ran": True, "solution": verdict and not stumbled, "fault": stumbled}
        if not finding["solution"]:  # it must not only reach the goal but get to its end
            return finding
        for program in data["failures"]:
            verdict, _, fault = self._case(data, program)
            if fault:
                return {**finding, "ran": False, "fault": fault}
            finding["failures"].append(verdict)
        return finding

    def _case(self, data: Mapping[str, Any], program: str) -> tuple[bool, str, str]:
        """The verdict on a program, what went wrong with the program, and what with the verifier."""
        run = self._run({**data, "program": program})
        judged = self._judge(data, run["calls"])
        return bool(judged["verdict"]), str(run["fault"]), str(judged["fault"])


def _report(ran: Ran, shape: Mapping[str, type]) -> dict[str, Any]:
    """The report on the last line; where there is none such, an empty one that says why."""
    empty: dict[str, Any] = {key: kind() for key, kind in shape.items()}
    if ran.stopped:
        return {**empty, "fault": f"stopped: over the limit of {ran.stopped}"}
    try:
        report = _whole(ran.out.rstrip().rpartition("\n")[2])
        sound = set(report) == set(shape) and all(
            isinstance(report[key], kind) for key, kind in shape.items()
        )
    except (ValueError, TypeError, RecursionError):
        sound = False
    if (
        sound
        and len(report.get("calls", ())) <= CALLS
        and all(_is_call(entry) for entry in report.get("calls", ()))
    ):
        return dict(report)
    last = ran.err.strip().rpartition("\n")[2]
    return {**empty, "fault": f"ended without a report, with status {ran.code}: {last}"[:500]}


def _whole(line: str) -> Any:
    """The JSON of a line, with finite numbers and whole characters: a program may have written the line itself.

    Raises:
        ValueError: it is not JSON, or holds a number that is not finite, such as NaN or 1e400.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    report = json.loads(line, parse_constant=refuse)  # which is not asked about 1e400
    text = json.dumps(report, ensure_ascii=False, allow_nan=False)
    return json.loads(text.encode(errors="replace"))


def _is_call(entry: object) -> bool:
    """A tool and its arguments, so that whoever makes it again meets no surprise."""
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], list)
    )
