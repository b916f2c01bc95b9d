"""The endpoint agent against a server in this process that fails in every way it is told to."""

import threading
import time

import numpy as np
import pytest

from ludus.core.agent import Failure
from ludus.core.errors import CrewError, EngineGone, UnknownName
from ludus.core.game import Forfeit, Text, View
from ludus.core.match import Illegal, Match
from ludus.core.play import play

pytest.importorskip("openai")

from at_a_server import ask, seated
from fake_server import Server

from ludus.agents.language.client import Limits
from ludus.agents.language.endpoint import Endpoint


def test_a_reply_is_read_and_its_cost_counted():
    with (
        Server("I bet: [BET]") as server,
        seated(server, price_in=1.0, price_out=10.0, temperature=0.5) as agent,
    ):
        decision = agent.act([ask()])[0]
        assert (decision.move, decision.read, decision.raw) == (1, "normalised", "I bet: [BET]")
        cost = agent.costs["player_0"]
        assert (cost.calls, cost.retries, cost.tokens_in, cost.tokens_out) == (1, 0, 100, 10)
        assert cost.money == pytest.approx(100e-6 + 100e-6)
        assert cost.seconds > 0
        path, body = server.seen[0]
        assert path == "/v1/chat/completions"
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("a-model", 0.5, 1024)
        assert "The rules." in body["messages"][0]["content"]
        assert "exactly one of [pass], [bet]" in body["messages"][0]["content"]


@pytest.mark.parametrize("trouble", [429, 500, 503, 408, (429, {"retry-after": "0.05"})])
def test_what_can_pass_is_tried_again(trouble):
    with Server(trouble, trouble, "[pass]") as server, seated(server) as agent:
        assert agent.act([ask()])[0].move == 0
        assert (agent.costs["player_0"].calls, agent.costs["player_0"].retries) == (3, 2)


def test_a_server_is_given_the_time_it_asks_for():
    with Server((429, {"retry-after": "0.3"}), "[pass]") as server, seated(server) as agent:
        begun = time.monotonic()
        assert agent.act([ask()])[0].move == 0
        assert time.monotonic() - begun >= 0.3


def test_waits_double():
    with Server("[pass]") as server, seated(server, wait=1.0) as chosen:
        waits = [chosen.client.pause(attempt, "") for attempt in range(4)]
        assert all(0.5 * 2**i <= wait < 1.5 * 2**i for i, wait in enumerate(waits))
        assert chosen.client.pause(30, "") == 60.0


def test_slow_answers_are_not_waited_for():
    with Server(5.0, "[pass]") as server, seated(server, timeout=0.3, attempts=20) as agent:
        assert agent.act([ask()])[0].move == 0  # where the slow answer is another move
        assert agent.costs["player_0"].retries >= 1


@pytest.mark.parametrize(("trouble", "calls"), [(401, 1), (404, 1), (500, 3)])
def test_what_does_not_pass_is_a_failure_and_no_forfeit(trouble, calls):
    with Server(trouble) as server, seated(server, attempts=3) as agent:
        decision = agent.act([ask()])[0]
        assert isinstance(decision.move, Failure)
        assert str(trouble) in decision.move.reason
        assert (agent.costs["player_0"].calls, agent.costs["player_0"].failures) == (calls, 1)


def test_the_deadline_ends_the_attempts():
    with Server(500) as server, seated(server, attempts=100, wait=0.2, deadline=0.5) as agent:
        assert "given up" in agent.act([ask()])[0].move.reason
        assert len(server.seen) < 5


def test_nobody_there_is_a_failure():
    with Server("x") as server:
        url = server.url
    with Endpoint("m", base_url=url, attempts=2, wait=0.01) as agent:
        assert isinstance(agent.act([ask()])[0].move, Failure)


def test_a_failed_seat_follows_the_match():
    for failed, end in (("void", "error"), ("forfeit", "forfeit")):
        with Server(500) as server, seated(server, attempts=1) as agent:
            match = Match("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, failed=failed)
            (episode,) = play([match])
            assert episode.end == end
            assert episode.returns.get("player_0") == (None if end == "error" else -2.0)


def test_at_most_so_many_requests_are_out():
    three = threading.Barrier(3, timeout=60)

    def answer(body, headers):
        three.wait()
        time.sleep(0.05)  # for a fourth, if it may come
        return "[bet]"

    with Server(answer) as server, seated(server, concurrency=3) as agent:
        decisions = agent.act([ask(key=str(i)) for i in range(9)])
        assert [d.move for d in decisions] == [1] * 9
        assert server.most == 3


def test_answers_come_back_at_their_own_pace():
    go_on = threading.Event()

    def dawdle(body, headers):
        go_on.wait(60)
        return "[bet]"

    with Server(dawdle, "[pass]") as server, seated(server) as agent:
        slow = ask(key="slow")
        agent.submit([slow])
        while not server.seen:
            time.sleep(0.005)
        agent.submit([ask(key="quick")])
        ready = []
        while not ready:
            ready = agent.poll()
        assert [request.key for request, _ in ready] == ["quick"]
        go_on.set()
        while not (ready := agent.poll()):
            time.sleep(0.01)
        assert ready[0][0] is slow
        assert agent.poll() == []


def test_whole_games_are_played_and_replies_kept():
    with Server("[bet]") as server, seated(server) as agent:
        episodes = list(play("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, range(6)))
        assert {e.end for e in episodes} == {"over"}
        assert {step.raw for e in episodes for step in e.of("player_0")} == {"[bet]"}
        assert agent.cost().calls == sum(len(e.of("player_0")) for e in episodes)
        assert not agent._turns


@pytest.mark.parametrize("reply", ["", "[pass] [bet]", "hm"])
def test_unreadable_replies_are_kept_and_forfeit(reply):
    with Server(reply) as server, seated(server) as agent:
        decision = agent.act([ask()])[0]
        assert isinstance(decision.move, Forfeit)
        assert decision.raw == reply


def test_cut_replies():
    with Server(("length", "[bet] because")) as server, seated(server) as agent:
        choice, text = agent.act([ask(), ask(Text(80), key="f")])
        assert isinstance(choice.move, Forfeit)
        assert (text.move, text.read) == ("[bet] because", "truncated")


def test_a_withheld_reply_is_a_failure():
    with Server(("content_filter", "")) as server, seated(server) as agent:
        assert isinstance(agent.act([ask()])[0].move, Failure)


def test_a_retry_converses():
    with Server("[raise]", "[bet]") as server, seated(server, memory="conversation") as agent:
        lineup = {"player_0": agent, "player_1": "first_legal"}
        (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=1))
        assert (episode.steps[0].move, episode.steps[0].read) == (1, "retry")
        roles = [message["role"] for message in server.seen[1][1]["messages"]]
        assert roles == ["user", "assistant", "user"]
        assert server.seen[1][1]["messages"][1]["content"] == "[raise]"
        assert "names no move" in server.seen[1][1]["messages"][2]["content"]


def test_every_retry_is_told_what_came_before_it():
    with Server("[raise]", "[raise]", "[bet]") as server, seated(server, memory="conversation") as agent:
        lineup = {"player_0": agent, "player_1": "first_legal"}
        (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=2))
        assert (episode.steps[0].move, episode.steps[0].rejected) == (1, ("[raise]", "[raise]"))
        sent = [body["messages"] for _, body in server.seen]
        assert [len(messages) for messages in sent] == [1, 3, 5]
        assert sent[2][:3] == sent[1]
        assert sent[2][3] == {"role": "assistant", "content": "[raise]"}


def test_reasoning_is_a_note_and_a_seed_is_sent_when_asked():
    with Server("<think>a bluff</think>[bet]") as server, seated(server, seeded=True) as agent:
        decision = agent.act([ask()])[0]
        assert (decision.move, decision.note) == (1, "a bluff")
        assert server.seen[0][1]["seed"] == int(np.random.default_rng(0).integers(2**31))


def test_wrong_settings_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="at least one"):
        Limits(attempts=0)
    with pytest.raises(UnknownName, match="did you mean 'memory'"):
        Endpoint("m", base_url="http://localhost", memoryy="turn")
    with pytest.raises(UnknownName, match="did you mean 'compact'"):
        Endpoint("m", base_url="http://localhost", style="compct")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CrewError, match="OPENAI_API_KEY"):
        Endpoint("m")


# ------------------------------------------------------------------------------------- nonsense
NONSENSE = {
    "no JSON": b"<html>busy</html>",
    "no object": b"[1, 2]",
    "no choices": {"id": "1"},
    "empty choices": {"choices": []},
    "choices of another kind": {"choices": "[bet]"},
    "a choice of another kind": {"choices": ["[bet]"]},
    "no message": {"choices": [{"finish_reason": "stop"}]},
    "content of another kind": {"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]},
    **{
        f"ended by {reason}": {"choices": [{"message": {"content": "[bet] or"}, "finish_reason": reason}]}
        for reason in ("error", "abort", "tool_calls", None, ["stop"])
    },
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_tried_again_and_then_a_failure(answer):
    with Server(answer) as server, seated(server, attempts=2) as agent:
        decision = agent.act([ask()])[0]
        assert isinstance(decision.move, Failure)
        assert "the server answered" in decision.move.reason
        assert (agent.cost().calls, agent.cost().failures) == (2, 1)
    with Server(answer, "[bet]") as server, seated(server) as agent:
        assert agent.act([ask()])[0].move == 1


def test_a_usage_of_another_kind_costs_nothing():
    body = {"choices": [{"message": {"content": "[bet]"}, "finish_reason": "stop"}], "usage": "much"}
    with Server(body) as server, seated(server, price_in=1.0) as agent:
        assert agent.act([ask()])[0].move == 1
        assert (agent.cost().tokens_in, agent.cost().money) == (0, 0.0)


# ------------------------------------------------------------------------------- text and tokens
def test_a_completion_continues_the_text():
    with Server("[bet]") as server, seated(server, interface="completion", stop=["\n"]) as agent:
        assert agent.act([ask()])[0].move == 1
        path, body = server.seen[0]
        assert path == "/v1/completions"
        assert (body["stop"], body["prompt"][-3:-1]) == (["\n"], "r:")
        assert "The rules." in body["prompt"]
        assert "messages" not in body


def chat_with_tokens(**more):
    content = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]
    choice = {
        "message": {"content": "[bet]"},
        "finish_reason": "stop",
        "token_ids": [7, 8],
        "logprobs": {"content": content},
    }
    return {"prompt_token_ids": [1, 2, 3], "choices": [{**choice, **more}]}


def test_tokens_are_recorded_where_they_are_asked_for_and_come():
    with Server(chat_with_tokens()) as server, seated(server, tokens=True, name="me") as agent:
        tokens = agent.act([ask()])[0].tokens
        assert (tokens.prompt.tolist(), tokens.ids.tolist()) == ([1, 2, 3], [7, 8])
        assert (tokens.logprobs.tolist(), tokens.policy, tokens.truncated) == ([-0.5, -1.0], "me", False)
        body = server.seen[0][1]
        assert (body["return_token_ids"], body["logprobs"]) == (True, True)
    completion = {
        "text": "[bet]",
        "finish_reason": "stop",
        "prompt_token_ids": [1],
        "token_ids": [7],
        "logprobs": {"token_logprobs": [-2.0]},
    }
    with (
        Server({"choices": [completion]}) as server,
        seated(server, tokens=True, interface="completion") as agent,
    ):
        tokens = agent.act([ask()])[0].tokens
        assert (tokens.prompt.tolist(), tokens.ids.tolist(), tokens.logprobs.tolist()) == ([1], [7], [-2.0])
    for body, wanted in ((chat_with_tokens(token_ids=None), True), (chat_with_tokens(), False)):
        with Server(body) as server, seated(server, tokens=wanted) as agent:
            decision = agent.act([ask()])[0]
            assert (decision.move, decision.tokens) == (1, None)


@pytest.mark.parametrize(
    "more", [
        {"token_ids": [7]}, {"token_ids": ["7", "8"]}, {"token_ids": [True, False]}, {"token_ids": [7, -1]},
        {"logprobs": {"content": [{"logprob": -1.0}, {"logprob": float("nan")}]}},
        {"logprobs": {"content": [{"logprob": -1.0}, {"logprob": 0.5}]}},
    ],
)  # fmt: skip
def test_tokens_that_do_not_fit_are_nonsense(more):
    with Server(chat_with_tokens(**more)) as server, seated(server, tokens=True, attempts=1) as agent:
        assert "the server answered" in agent.act([ask()])[0].move.reason


# ---------------------------------------------------------------------------------- a dead server
def test_a_server_that_is_gone_ends_the_play_and_a_slow_one_does_not():
    with Server("x") as server:
        url = server.url
    with Endpoint("m", base_url=url, attempts=1, unreachable=3, concurrency=1) as agent:
        lineup = {"player_0": agent, "player_1": "uniform"}
        with pytest.raises(EngineGone, match="the last 3 requests reached nobody: start the server again"):
            list(play("kuhn_poker", lineup, range(8)))
        assert agent.cost().calls == 3
        assert not agent._out
    with Endpoint("m", base_url=url, attempts=1, unreachable=0) as agent:
        assert all(isinstance(d.move, Failure) for d in agent.act([ask(key=str(i)) for i in range(8)]))
    with Server(5.0) as server, seated(server, attempts=1, timeout=0.5, unreachable=1) as agent:
        assert all(isinstance(d.move, Failure) for d in agent.act([ask(key=str(i)) for i in range(3)]))


def test_any_answer_shows_that_a_server_is_there():
    with Server("x") as server:
        url, port = server.url, server.server_address[1]
    with Endpoint("m", base_url=url, attempts=1, unreachable=2) as agent:
        for answer in ("[bet]", 500, 404):
            assert isinstance(agent.act([ask()])[0].move, Failure)
            with Server(answer, port=port):
                agent.act([ask()])
        agent.act([ask()])
        with pytest.raises(EngineGone):
            agent.act([ask()])
        with Server("[bet]", port=port):
            assert agent.act([ask()])[0].move == 1


def test_requests_that_wait_for_another_attempt_do_not_outlive_the_server():
    with Server("x") as server:
        url = server.url
    begun = time.monotonic()
    with Endpoint("m", base_url=url, attempts=2, wait=1000.0, unreachable=1) as agent:
        agent.submit([ask()])
        time.sleep(0.1)
    assert time.monotonic() - begun < 50  # seconds; the wait is a minute


@pytest.mark.parametrize(("thoughts", "kept"), [("keep", "<think>a bluff</think>"), ("strip", "")])
def test_boxes_are_read_and_thoughts_kept_or_not(thoughts, kept):
    said = r"<think>a bluff</think>so \boxed{Bet}"
    settings = {"memory": "conversation", "answer": "boxed", "thoughts": thoughts}
    with Server(said, r"\boxed{pass}") as server, seated(server, **settings) as agent:
        first = agent.act([ask()])[0]
        assert (first.move, first.read, first.note) == (1, "normalised", "a bluff")
        assert agent.act([ask(past=((View("Your card is K."), 1),))])[0].move == 0
        assert server.seen[1][1]["messages"][1]["content"] == rf"{kept}so \boxed{{Bet}}"


def test_requests_of_finished_episodes_come_back_no_more():
    with Server(lambda body, headers: (200, {}, "[bet]")) as server, seated(server, concurrency=1) as agent:
        agent.submit([ask(key="gone"), ask(key="here")])
        agent.close(["gone"])
        answered = []
        while not answered:
            answered += agent.poll()
        assert [request.key for request, _ in answered] == ["here"]
        assert agent.poll() == []


def test_the_limit_is_called_what_the_endpoint_calls_it():
    def sent(**settings):
        agent = Endpoint("m", api_key="none", **settings)
        return agent._body(ask(), ({"role": "user", "content": "?"},))

    assert sent()["max_completion_tokens"] == 1024
    assert sent(interface="completion")["max_tokens"] == 1024
    assert sent(base_url="http://h/v1")["max_tokens"] == 1024
    assert sent(base_url="http://h/v1", limit_field="n_predict")["n_predict"] == 1024
