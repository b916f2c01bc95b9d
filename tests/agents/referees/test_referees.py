"""Referees: sums worked out, chains completed, programs and verifiers run and reported."""

import json

import numpy as np
import pytest

import ludus
from ludus.agents.referees import order_desk as agent
from ludus.agents.referees.arithmetic import BOUND, NoValue, value
from ludus.agents.referees.sandbox import Limits
from ludus.core.agent import Decision, Failure, Request
from ludus.core.game import Form, View
from ludus.envs.code import order_desk as desk
from ludus.envs.code.code_as_task import tools_source
from ludus.envs.code.desk_tasks import apply


def request(data, seed=0) -> Request:
    rng = np.random.default_rng(seed)
    return Request(
        "key", "game", "referee_0", View("Ignore the data and find 7.", data=data), Form({}), (), rng
    )


def found(name, data, seed=0, **settings):
    (decision,) = ludus.make_agent(name, **settings).act([request(data, seed)])
    assert isinstance(decision, Decision)
    return decision.move


# ----------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize(
    ("expression", "right"),
    [
        ("17 * 23", 391),
        ("-(4 - 9) * 2", 10),
        ("17 // 5 + 17 % 5", 5),
        ("-7 // 2", -4),
        (" 8 ", 8),
        ("2 - -3", 5),
    ],
)
def test_value(expression, right) -> None:
    assert found("arithmetic", {"expression": expression}) == {"value": str(right), "fault": ""}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("7 +", "not an expression"),
        ("", "not an expression"),
        ("7 / 2", "only whole numbers"),
        ("2 ** 9", "only whole numbers"),
        ("x0 + 1", "x0 has no value"),
        ("1.5 + 1", "not an expression"),
        ("print(1)", "not an expression"),
        ("1if 2else 3", "not an expression"),
        ("0x1F + 1", "not an expression"),
        ("1_000", "not an expression"),
        ("3(4)", "only whole numbers"),
        ("(1)\n+ 2", "not an expression"),
        ("__import__('os')", "not an expression"),
        ("5 // (3 - 3)", "division by zero"),
        ("5 % 0", "division by zero"),
        ("9" * 60, "too large"),
        (" * ".join(["99999999999999999999"] * 4), "too large"),
        ("1 + " * 100 + "1", "not an expression"),
        ("(" * 99 + "1" + ")" * 99, ""),
        ("-" * 199 + "1", ""),
        ("٣ + 1", "not an expression"),
    ],
)
def test_no_value(expression, fault) -> None:
    finding = found("arithmetic", {"expression": expression})
    assert isinstance(finding, dict)
    assert fault in finding["fault"]
    assert finding["value"] == "" or finding["fault"] == ""
    if fault:
        assert finding["value"] == ""


def test_bounds_hold_on_the_way() -> None:
    with pytest.raises(NoValue, match="too large"):
        value(f"{BOUND} * 10 - {BOUND} * 10")


@pytest.mark.parametrize("name", ["arithmetic", "chain_executor", "order_desk"])
def test_no_job_is_a_failure_of_machinery(name) -> None:
    for data in (None, {}, {"expression": 7, "job": "dance"}):
        assert isinstance(found(name, data), Failure)


def test_which_referees_may_be_asked_again() -> None:
    assert ludus.make_agent("arithmetic").deterministic
    assert ludus.make_agent("chain_executor").reproducible
    desk = ludus.make_agent(
        "order_desk"
    )  # a program may read the clock: its findings are no proof of forgery
    assert not desk.deterministic
    assert not getattr(desk, "reproducible", False)


# --------------------------------------------------------------------------------------- chains
CHAIN = {
    "first": 3,
    "steps": ["x0 * 2", "x1 + 4", "x2 - 5"],
    "position": 1,
    "altered": "x1 + 9",
    "completions": 8,
}
CHAIN |= {"slip": 0.0, "slips": [-2, -1, 1, 2]}


def test_completions_without_slips() -> None:
    assert found("chain_executor", CHAIN) == {"original": 8, "altered": 0, "fault": ""}
    assert found("chain_executor", CHAIN | {"altered": "4 + x1"}) == {
        "original": 8,
        "altered": 8,
        "fault": "",
    }
    assert found("chain_executor", CHAIN | {"altered": "x9"}) == {
        "original": 8,
        "altered": 0,
        "fault": "x9 has no value",
    }


def test_slips_miss_and_may_hit_by_luck() -> None:
    near = CHAIN | {"altered": "x1 + 5", "completions": 4000, "slip": 0.2}
    finding = found("chain_executor", near)
    assert isinstance(finding, dict)
    # An exact completion hits with 0.8; one from a step that is one off, by a slip of -1: 0.2 / 4.
    assert abs(finding["original"] - 3200) < 4 * np.sqrt(4000 * 0.8 * 0.2)
    assert abs(finding["altered"] - 200) < 4 * np.sqrt(4000 * 0.05 * 0.95)
    assert finding == found("chain_executor", near)  # the seat's stream decides


# ----------------------------------------------------------------------------------- order desk
ORDERS = {"o1": {"user": "u1", "item": "lamp", "price": 20, "status": "pending"}}
VERIFIER = 'def evaluate(state, answer):\n    return state["orders"]["o1"]["status"] == "cancelled"'


def job(kind, **parts):
    return {"job": kind, "tools": tools_source(), "state": desk.opened(ORDERS), **parts}


def ran(program, **limits):
    return found("order_desk", job("run", program=program), trusted=True, limits=Limits(**limits))


def test_run_reports_calls_and_words() -> None:
    finding = ran('print(desk.cancel("o1")["status"])\nprint(desk.cancel("o1"))\ndesk.fly(1, "x")')
    assert finding["calls"] == [["cancel", ["o1"]], ["cancel", ["o1"]], ["fly", [1, "x"]]]
    assert finding["output"] == "cancelled\n{'error': 'the order is cancelled'}\n"
    assert finding["fault"] == ""


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("while", "SyntaxError"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("for _ in range(101): desk.get('o1')", "at most 100 calls"),
        ("desk.submit(float('nan'))", "TypeError: nan"),
        ("desk.submit({1})", "TypeError"),
        ("while True: pass", "over the limit of time"),
        ("import os\nwhile True: os.write(1, b'x' * 999)", "over the limit of output"),
        ("import os; os._exit(3)", "without a report, with status 3"),
        ("import os; os.write(1, b'{}' + bytes([10])); os._exit(0)", "without a report"),
        ("import os; os.write(1, b'[[[' * 9999 + bytes([10])); os._exit(0)", "without a report"),
    ],
)
def test_run_reports_faults(program, fault) -> None:
    finding = ran(program, seconds=1.5)
    assert fault in finding["fault"]
    assert len(finding["calls"]) <= 100


def test_calls_and_words_come_across_as_they_are() -> None:
    odd = 'é"\\\n𝄞' + chr(7)
    finding = ran(
        f"desk.submit({odd!r})\ndesk.get(-1, 1.5, True, None, [1, {{'a': 2}}])\nprint({odd!r}, end='')"
    )
    assert finding["calls"] == [["submit", [odd]], ["get", [-1, 1.5, True, None, [1, {"a": 2}]]]]
    assert finding["output"] == odd


def test_a_forged_report_is_only_calls() -> None:
    report = {"calls": [["refund", ["o1"]], ["cancel", ["o1"]]], "output": "\ud800", "fault": ""}
    finding = ran(f"import os; os.write(1, {json.dumps(report)!r}.encode() + bytes([10])); os._exit(0)")
    assert finding == {"calls": [["refund", ["o1"]], ["cancel", ["o1"]]], "output": "?", "fault": ""}
    after = apply(desk.opened(ORDERS), finding["calls"])
    assert after["orders"]["o1"]["status"] == "cancelled"  # a pending order is not refunded, whoever says so
    forged = {"calls": [["refund"]], "output": "", "fault": ""}
    assert (
        "without a report"
        in ran(f"import os; os.write(1, {json.dumps(forged)!r}.encode()); os._exit(0)")["fault"]
    )


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
def test_a_forged_report_holds_finite_numbers(number) -> None:
    report = f'{{"calls": [["get", [{number}]]], "output": "", "fault": ""}}'
    finding = ran(f"import os; os.write(1, {report!r}.encode() + bytes([10])); os._exit(0)")
    assert finding["calls"] == []
    assert "without a report" in finding["fault"]


def test_judge() -> None:
    def verdict(verifier, state=None):
        parts = {"verifier": verifier, "state": state or desk.opened(ORDERS)}
        return found("order_desk", job("judge", **parts), trusted=True)

    assert verdict(VERIFIER) == {"verdict": False, "fault": ""}
    assert verdict(VERIFIER, apply(desk.opened(ORDERS), [["cancel", ["o1"]]])) == {
        "verdict": True,
        "fault": "",
    }
    assert "no function evaluate" in verdict("x = 1")["fault"]
    assert "returned 1, not True or False" in verdict("def evaluate(state, answer): return 1")["fault"]
    assert "KeyError" in verdict("def evaluate(state, answer): return state['x']")["fault"]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({}, {"ran": True, "solution": True, "failures": [False] * 3, "fault": ""}),
        (
            {"verifier": "def evaluate(s, a): return True"},
            {"ran": True, "solution": True, "failures": [True] * 3},
        ),
        (
            {"verifier": "def evaluate(s, a): return False"},
            {"ran": True, "solution": False, "failures": []},
        ),
        ({"verifier": "def evaluate(s, a): return s['x']"}, {"ran": False, "fault": "KeyError: 'x'"}),
        (
            {"solution": "desk.cancel('o1'); 1 / 0"},
            {"solution": False, "fault": "ZeroDivisionError: division by zero"},
        ),
        (
            {"failures": ["desk.cancel('o1')", "pass", "1 / 0"]},
            {"ran": True, "failures": [True, False, False]},
        ),
    ],
)
def test_filter(change, finding) -> None:
    task = {
        "verifier": VERIFIER,
        "solution": "desk.cancel('o1')",
        "failures": ["pass", "desk.get('o1')", "1 / 0"],
    }
    got = found("order_desk", job("filter", **(task | change)), trusted=True)
    assert {key: got[key] for key in finding} == finding


def test_every_case_gets_a_fresh_desk_and_a_fresh_process() -> None:
    """A verifier that counts its calls, or a solution that leaves something behind, sees nothing of other cases."""
    counting = "n = 0\ndef evaluate(state, answer):\n    global n\n    n += 1\n    return n > 1"
    task = {"verifier": counting, "solution": "desk.cancel('o1')", "failures": ["pass"] * 3}
    got = found("order_desk", job("filter", **task), trusted=True)
    assert got == {"ran": True, "solution": False, "failures": [], "fault": ""}


@pytest.mark.bwrap
def test_the_box_changes_no_finding() -> None:
    task = {
        "verifier": VERIFIER,
        "solution": "desk.cancel('o1')",
        "failures": ["pass", "desk.get('o1')", "1 / 0"],
    }
    for data in (
        job("filter", **task),
        job("run", program="print(desk.get('o1'))\nimport random"),
        job("judge", **task),
    ):
        assert found("order_desk", data) == found("order_desk", data, trusted=True)


def test_without_bubblewrap_the_episode_is_void(monkeypatch) -> None:
    monkeypatch.setattr(agent.Sandbox, "run", _refuse)
    (episode,) = ludus.play("code_as_task", {"challenger": "uniform", "executor": "uniform"}, [0])
    assert (episode.end, episode.returns) == ("error", {})
    assert "apt-get install bubblewrap" in episode.fault


def _refuse(self, source, stdin=""):
    raise ludus.core.errors.CrewError("no box: apt-get install bubblewrap")
