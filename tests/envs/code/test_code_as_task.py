"""code_as_task: the three filters, who is paid, desks that do not touch each other, and the menu."""

import json
from dataclasses import dataclass, field

import pytest

import ludus
from ludus.agents.referees.order_desk import OrderDesk
from ludus.agents.referees.sandbox import Limits
from ludus.core.agent import Decision
from ludus.core.errors import ConfigError
from ludus.core.game import CHANCE, Forfeit, Form, Text
from ludus.core.table import Table
from ludus.envs.code import order_desk
from ludus.envs.code.desk_tasks import Goal, apply, filtered, program, ran, refusal, templates, written

CANCEL = {
    "instruction": "Cancel order o1.",
    "verifier": 'def evaluate(state, answer):\n    return state["orders"]["o1"]["status"] == "cancelled"',
    "solution": 'desk.cancel("o1")',
    "failures": ["pass", 'desk.cancel("o2")', 'desk.get("o1")'],
}


@dataclass
class Script:
    """Plays its replies for each seat in order."""

    replies: dict
    name: str = "script"
    at: dict = field(default_factory=dict)

    def act(self, requests):
        return [Decision(self._next(request)) for request in requests]

    def _next(self, request):
        seat = (request.key, request.seat)
        self.at[seat] = self.at.get(seat, -1) + 1
        return self.replies[request.seat][self.at[seat]]


TRUSTED = OrderDesk(trusted=True, limits=Limits(seconds=2))


def pending_seed() -> int:
    """A seed whose desk has o1 and o2 pending."""
    game = ludus.make("code_as_task")
    tables = (Table(game, seed) for seed in range(200))
    orders = {table.seed: game.desk(table.state)["orders"] for table in tables}
    return next(seed for seed, o in orders.items() if o["o1"]["status"] == o["o2"]["status"] == "pending")


SEED = pending_seed()


def played(challenger, executors=(), *, sandbox=TRUSTED, **params):
    game = ludus.make("code_as_task", **params)
    replies = {"challenger_0": challenger} | {f"executor_{i}": r for i, r in enumerate(executors)}
    agent = Script(replies)
    (episode,) = ludus.play(game, {"challenger": agent, "executor": agent, "sandbox": sandbox}, [SEED])
    return episode


LOOKS = ["print(desk.list('u1'))", "print(desk.get('o1')['status'])"]


# -------------------------------------------------------------------------------- in free text
def test_scripted_play_and_replay_without_the_sandbox(monkeypatch) -> None:
    executors = (["print(desk.get('o1'))", "desk.cancel('o1')\ndesk.submit('done')"], ["desk.submit('done')"])
    episode = played([*LOOKS, CANCEL], executors)
    assert episode.returns == {"challenger_0": 0.0, "executor_0": 1.0, "executor_1": 0.0}
    assert "pending" in episode.of("challenger_0")[2].view.text
    assert [step.move for step in episode.of("sandbox_0")][2] == {
        "ran": True, "solution": True, "failures": [False] * 3, "fault": "",
    }  # fmt: skip
    assert len(episode.of("sandbox_1")) == 3  # two programs and the verdict, at its own desk
    assert len(episode.of("sandbox_2")) == 2
    monkeypatch.setattr("ludus.agents.referees.sandbox.Sandbox.run", None)  # nobody at the table
    again = list(ludus.replay(ludus.Episode.from_json(episode.to_json())))
    assert again[-1].paid == {"executor_0": 1.0, "executor_1": 0.0}


@pytest.mark.bwrap
def test_the_same_in_the_box() -> None:
    executors = (["print(desk.get('o1'))", "desk.cancel('o1')\ndesk.submit('done')"], ["desk.submit('done')"])
    episode = played([*LOOKS, CANCEL], executors, sandbox="order_desk")
    assert episode.returns == {"challenger_0": 0.0, "executor_0": 1.0, "executor_1": 0.0}
    (verdict,) = ludus.verify([episode])
    assert verdict.ok
    assert verdict.reached == "crew"


BAD = {
    "(i) a verifier that raises": (
        {"verifier": "def evaluate(state, answer): return state['x']"},
        "does not run",
    ),
    "(i) a verifier that is no Python": ({"verifier": "def evaluate(state"}, "does not run"),
    "(i) a verifier that returns no truth value": (
        {"verifier": "def evaluate(s, a): return 1"},
        "does not run",
    ),
    "(i) a verifier that does not end": ({"verifier": "while True: pass"}, "does not run"),
    "(ii) a verifier that always returns False": (
        {"verifier": "def evaluate(s, a): return False"},
        "refuses the sol",
    ),
    "(ii) a solution that does something else": ({"solution": "desk.cancel('o2')"}, "refuses the solution"),
    "(ii) a solution that stumbles": ({"solution": "desk.cancel('o1')\n1 / 0"}, "refuses the solution"),
    "(iii) a verifier that always returns True": (
        {"verifier": "def evaluate(s, a): return True"},
        "accepts failure",
    ),
    "(iii) a failure case that succeeds": (
        {"failures": ["pass", "desk.cancel('o1')", "pass"]},
        "accepts failure",
    ),
    "too few failure cases": ({"failures": ["pass", "pass"]}, "at least 3"),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_filter(change) -> None:
    parts, reason = change
    episode = played([*LOOKS, CANCEL | parts])
    assert set(episode.returns.values()) == {0.0}
    assert not episode.of("executor_0")
    *_, last = ludus.replay(episode, ludus.make("code_as_task"))
    assert reason in last.state.refused


def test_a_fixed_number_of_turns_and_a_verdict_at_the_end() -> None:
    idle = ["pass"] * 3
    late = ["pass", "1 / 0", "desk.cancel('o1')"]
    episode = played([*LOOKS, CANCEL], (idle, late))
    assert (episode.returns["executor_0"], episode.returns["executor_1"]) == (0.0, 1.0)
    assert "ZeroDivisionError" in episode.of("executor_1")[2].view.text


def test_desks_are_apart_and_exploration_leaves_no_trace() -> None:
    explore = ["desk.cancel('o1')", "print(desk.get('o1')['status'])"]
    episode = played([*explore, CANCEL], (["desk.cancel('o1')\ndesk.submit('')"], ["pass"] * 3))
    assert ">>> print(desk.get('o1')['status'])\npending" in episode.of("challenger_0")[2].view.text
    assert (episode.returns["executor_0"], episode.returns["executor_1"]) == (1.0, 0.0)


def test_an_answer_is_what_was_submitted() -> None:
    task = CANCEL | {
        "verifier": "def evaluate(state, answer): return answer == '7'",
        "solution": "desk.submit(7)",
    }
    episode = played([*LOOKS, task], (["desk.submit('7')"], ["desk.submit('8')"]))
    assert (episode.returns["executor_0"], episode.returns["executor_1"]) == (1.0, 0.0)


def test_an_executor_without_a_reply_leaves_its_desk() -> None:
    episode = played([*LOOKS, CANCEL], ([Forfeit("silent")], ["desk.cancel('o1')\ndesk.submit('')"]))
    assert (episode.end, episode.returns) == (
        "over",
        {"challenger_0": 0.0, "executor_0": 0.0, "executor_1": 1.0},
    )


def test_a_challenger_without_a_reply_loses_its_stake() -> None:
    episode = played([Forfeit("silent")])
    assert (episode.end, episode.returns["challenger_0"]) == ("forfeit", -1.0)
    episode = played([*LOOKS, "no form"])
    assert (episode.end, episode.returns["challenger_0"]) == ("forfeit", -1.0)


def test_a_given_task_skips_the_challenger_and_is_filtered() -> None:
    episode = played([], (["desk.cancel('o1')\ndesk.submit('')"], ["pass"] * 3), task=CANCEL)
    assert not episode.of("challenger_0")
    assert (episode.returns["executor_0"], episode.returns["executor_1"]) == (1.0, 0.0)
    assert not played([], task=CANCEL | {"solution": "pass"}).of("executor_0")


def test_executors_do_not_wait_for_each_other() -> None:
    game = ludus.make("code_as_task", task=CANCEL)
    state = game.start(None)
    while game.turn(state) == (CHANCE,):
        state = game.play(state, {CHANCE: 0})
    state = game.play(
        state, {"sandbox_0": {"ran": True, "solution": True, "failures": [False] * 3, "fault": ""}}
    )
    assert game.turn(state) == ("executor_0", "executor_1")
    seen = game.view(state, "executor_0").digest()
    state = game.play(state, {"executor_1": "pass"})
    assert game.turn(state) == ("executor_0", "sandbox_2")
    assert game.view(state, "executor_0").digest() == seen
    state = game.play(state, {"sandbox_2": {"calls": [["submit", ["x"]]], "output": "", "fault": ""}})
    assert game.turn(state) == ("executor_0", "sandbox_2")
    assert game.view(state, "sandbox_2").data["job"] == "judge"
    state = game.play(state, {"sandbox_2": {"verdict": True, "fault": ""}})
    assert game.payoff(state) == {}
    state = game.play(state, {"executor_0": Forfeit()})
    assert game.payoff(state) == {"executor_0": 0.0, "executor_1": 1.0}


def test_options_by_phase() -> None:
    game = ludus.make("code_as_task", explorations=0, executors=1)
    state = game.start(None)
    while game.turn(state) == (CHANCE,):
        state = game.play(state, {CHANCE: 0})
    assert isinstance(game.options(state, "challenger_0"), Form)
    assert isinstance(ludus.make("code_as_task").options(state, "challenger_0"), Text)


def test_wrong_arguments() -> None:
    for settings, error in [
        ({"executors": 0}, ValueError), ({"orders": 1}, ValueError), ({"turns": 0}, ValueError),
        ({"task": {"instruction": "x"}}, ConfigError), ({"menu": True, "task": CANCEL}, ConfigError),
    ]:  # fmt: skip
        with pytest.raises(error):
            ludus.make("code_as_task", **settings)


# ------------------------------------------------------------------------------------- the desk
DESK = order_desk.opened(
    {
        "o1": {"user": "u1", "item": "desk lamp", "price": 20, "status": "pending"},
        "o2": {"user": "u2", "item": "rug", "price": 30, "status": "delivered"},
    }
)


@pytest.mark.parametrize(
    ("calls", "place", "want"),
    [
        ([["cancel", ["o1"]]], ("orders", "o1", "status"), "cancelled"),
        ([["cancel", ["o2"]]], ("orders", "o2", "status"), "delivered"),
        ([["refund", ["o1"]]], ("orders", "o1", "status"), "pending"),
        ([["refund", ["o2"]]], ("users", "u2", "credit"), 30),
        ([["refund", ["o2"]], ["refund", ["o2"]]], ("users", "u2", "credit"), 30),
        ([["cancel", ["o1"]], ["refund", ["o1"]]], ("users", "u1", "credit"), 20),
        ([["set", ["o1", "address", "here"]]], ("orders", "o1", "address"), "here"),
        ([["set", ["o2", "address", "here"]]], ("orders", "o2", "address"), "1 Oak Lane"),
        ([["set", ["o1", "status", "refunded"]]], ("orders", "o1", "status"), "pending"),
        ([["set", ["u1", "email", "a@b"]]], ("users", "u1", "email"), "a@b"),
        ([["set", ["u1", "credit", 99]]], ("users", "u1", "credit"), 0),
        ([["submit", [7]]], ("answer",), "7"),
        ([["fly", []], "no call", ["cancel"], ["cancel", ["o1", "o2"]], [7, [{}]]], ("orders", "o1", "status"), "pending"),
    ],
)  # fmt: skip
def test_calls(calls, place, want) -> None:
    after = apply(DESK, calls)
    for key in place:
        after = after[key]
    assert after == want
    assert DESK["orders"]["o1"]["status"] == "pending"


def test_results() -> None:
    desk = json.loads(json.dumps(DESK))
    assert order_desk.call(desk, "search", ["LAMP"]) == ["o1"]
    assert order_desk.call(desk, "list", ["u2"]) == ["o2"]
    assert order_desk.call(desk, "get", ["u1"])["name"] == "Ada"
    for tool, arguments in [
        ("get", ["x"]),
        ("set", ["x", "a", "b"]),
        ("cancel", ["x"]),
        ("refund", ["o1"]),
        ("get", []),
    ]:
        assert "error" in order_desk.call(desk, tool, arguments)


def test_every_tool_is_told_of() -> None:
    for tool in ("get", "set", "list", "search", "cancel", "refund", "submit"):
        assert f"desk.{tool}(" in order_desk.TOOLS


# ------------------------------------------------------------------------------------- the menu
def test_menu_tasks_meet_each_filter() -> None:
    reasons = [refusal(filtered(DESK, task), len(task.failures)) for task in templates("o1", "o2", "u1")]
    assert reasons[:4] == [""] * 4
    assert "accepts failure" in reasons[4]
    assert "refuses the solution" in reasons[5]
    assert "does not run" in reasons[6]
    delivered = apply(DESK, [])
    delivered["orders"]["o1"]["status"] = "delivered"
    reasons = [refusal(filtered(delivered, task), 3) for task in templates("o1", "o2", "u1")]
    assert [bool(reason) for reason in reasons] == [True, False, True, False, True, True, True]


def test_menu_finds_what_the_sandbox_finds() -> None:
    """Tasks and programs of the menu, written as Python and run, come to what the rules say of them."""
    from ludus.envs.code.code_as_task import tools_source

    base = {"tools": tools_source(), "state": DESK}
    for task in templates("o1", "o2", "u1"):
        parts = {key: value for key, value in written(task).items() if key != "instruction"}
        found = TRUSTED._filter({**base, **parts})
        assert refusal(found, 3).partition(":")[0] == refusal(filtered(DESK, task), 3).partition(":")[0]


def test_menu_payoffs() -> None:
    game = ludus.make("code_as_task", menu=True, executors=2)
    state = game.play(game.play(game.start(None), {CHANCE: 0}), {CHANCE: 1})  # o1 pending, o2 delivered
    assert game.payoff(game.play(state, {"challenger_0": 4})) == {}
    assert game.turn(game.play(state, {"challenger_0": 4})) == ()
    state = game.play(state, {"challenger_0": 1})
    names = [p.name for p in game.programs]
    moves = {"executor_0": names.index("cancel o1, refund o1"), "executor_1": names.index("cancel o1")}
    state = game.play(state, moves)
    assert game.payoff(state) == {"executor_0": 1.0, "executor_1": 0.0}


def test_menu_by_exact_tools() -> None:
    """An executor that knows the programs does every task that passes the filter: 2 or 4 of 7, each half of the time."""
    game = ludus.make("code_as_task", menu=True, executors=1)
    uniform = ludus.uniform(game)
    best, _ = ludus.best_response(game, uniform, "executor_0")
    assert best == pytest.approx((4 + 2) / 2 / 7)
    assert ludus.value(game, uniform)["executor_0"] < best / 4
    assert ludus.value(game, uniform)["challenger_0"] == 0


def test_programs_in_words_and_in_python() -> None:
    both = program("cancel o1", "refund o1")
    assert (both.name, both.source) == ("cancel o1, refund o1", 'desk.cancel("o1")\ndesk.refund("o1")')
    assert ran(DESK, both)["orders"]["o1"]["status"] == "refunded"
    assert (program().name, program().source) == ("do nothing", "pass")
    assert Goal(("answer",), "x").source == 'def evaluate(state, answer):\n    return state["answer"] == "x"'
