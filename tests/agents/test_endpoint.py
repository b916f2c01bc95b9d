"""The endpoint agent against a server in this process that fails in every way it is told to."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from ludus.core.agent import Failure, Request
from ludus.core.errors import CrewError, UnknownName
from ludus.core.game import Choice, Forfeit, Text, View
from ludus.core.match import Illegal, Match
from ludus.core.play import play

pytest.importorskip("openai")

from ludus.agents.language.endpoint import Endpoint, Limits


class Server(ThreadingHTTPServer):
    """Answers each request with the next item of `script` (the last one for ever).

    An item is a text, a status with headers, a number of seconds to dawdle, or a finish reason with text.
    """

    daemon_threads = True

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.seen, self.out, self.most = list(script), [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def agent(self, **settings):
        return Endpoint("a-model", base_url=self.url, **{"wait": 0.01, "timeout": 5.0, **settings})

    def __exit__(self, *fault):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append((self.path, body))
            item = server.script.pop(0) if len(server.script) > 1 else server.script[0]
            server.out += 1
            server.most = max(server.most, server.out)
        try:
            self.answer(item)
        finally:
            with server.lock:
                server.out -= 1

    def answer(self, item):
        if isinstance(item, float):
            time.sleep(item)
            item = "[bet]"
        if isinstance(item, int):
            item = (item, {})
        if isinstance(item, tuple) and isinstance(item[0], int):
            return self.send(item[0], {"error": {"message": "no"}}, item[1])
        reason, text = item if isinstance(item, tuple) else ("stop", item)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return self.send(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "a-model",
                               "choices": [choice], "usage": usage}, {})  # fmt: skip

    def send(self, status, body, headers):
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has stopped waiting, as the test wants


def ask(options=None, past=(), key="e", complaint=""):
    options = options or Choice(("pass", "bet"), np.array([True, True]))
    rng = np.random.default_rng(0)
    return Request(key, "kuhn_poker", "player_0", View("Your card is K."), options, past, rng, "The rules.",
                   complaint=complaint)  # fmt: skip


def test_a_reply_is_read_and_its_cost_counted():
    with (
        Server("I bet: [BET]") as server,
        server.agent(price_in=1.0, price_out=10.0, temperature=0.5) as agent,
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
    with Server(trouble, trouble, "[pass]") as server, server.agent() as agent:
        assert agent.act([ask()])[0].move == 0
        assert (agent.costs["player_0"].calls, agent.costs["player_0"].retries) == (3, 2)


def test_a_server_is_given_the_time_it_asks_for():
    with Server((429, {"retry-after": "0.3"}), "[pass]") as server, server.agent() as agent:
        begun = time.monotonic()
        assert agent.act([ask()])[0].move == 0
        assert time.monotonic() - begun >= 0.3


def test_waits_double():
    with Server("[pass]") as server, server.agent(wait=1.0) as agent:
        import openai

        fault = openai.APIConnectionError(request=None)
        waits = [agent._wait(fault, attempt, ()) for attempt in range(4)]
        assert all(0.5 * 2**i <= wait < 1.5 * 2**i for i, wait in enumerate(waits))
        assert agent._wait(fault, 30, ()) == 60.0


def test_slow_answers_are_not_waited_for():
    with Server(1.0, "[pass]") as server, server.agent(timeout=0.2) as agent:
        assert agent.act([ask()])[0].move == 0
        assert agent.costs["player_0"].retries == 1


@pytest.mark.parametrize(("trouble", "calls"), [(401, 1), (404, 1), (500, 3)])
def test_what_does_not_pass_is_a_failure_and_no_forfeit(trouble, calls):
    with Server(trouble) as server, server.agent(attempts=3) as agent:
        decision = agent.act([ask()])[0]
        assert isinstance(decision.move, Failure)
        assert str(trouble) in decision.move.reason
        assert (agent.costs["player_0"].calls, agent.costs["player_0"].failures) == (calls, 1)


def test_the_deadline_ends_the_attempts():
    with Server(500) as server, server.agent(attempts=100, wait=0.2, deadline=0.5) as agent:
        begun = time.monotonic()
        assert "given up" in agent.act([ask()])[0].move.reason
        assert time.monotonic() - begun < 1.0
        assert len(server.seen) < 5


def test_nobody_there_is_a_failure():
    with Server("x") as server:
        url = server.url
    with Endpoint("m", base_url=url, attempts=2, wait=0.01) as agent:
        assert isinstance(agent.act([ask()])[0].move, Failure)


def test_a_failed_seat_follows_the_match():
    for failed, end in (("void", "error"), ("forfeit", "forfeit")):
        with Server(500) as server, server.agent(attempts=1) as agent:
            match = Match("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, failed=failed)
            (episode,) = play([match])
            assert episode.end == end
            assert episode.returns.get("player_0") == (None if end == "error" else -2.0)


def test_at_most_so_many_requests_are_out():
    with Server(0.1) as server, server.agent(concurrency=3) as agent:
        decisions = agent.act([ask(key=str(i)) for i in range(9)])
        assert [d.move for d in decisions] == [1] * 9
        assert server.most == 3


def test_answers_come_back_at_their_own_pace():
    with Server(0.5, "[pass]") as server, server.agent() as agent:
        slow = ask(key="slow")
        agent.submit([slow])
        while not server.seen:
            time.sleep(0.005)
        agent.submit([ask(key="quick")])
        ready = []
        while not ready:
            ready = agent.poll()
        assert [request.key for request, _ in ready] == ["quick"]
        while not (ready := agent.poll()):
            time.sleep(0.01)
        assert ready[0][0] is slow
        assert agent.poll() == []


def test_whole_games_are_played_and_replies_kept():
    with Server("[bet]") as server, server.agent() as agent:
        episodes = list(play("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, range(6)))
        assert {e.end for e in episodes} == {"over"}
        assert {step.raw for e in episodes for step in e.of("player_0")} == {"[bet]"}
        assert agent.cost().calls == sum(len(e.of("player_0")) for e in episodes)
        assert not agent._turns


@pytest.mark.parametrize("reply", ["", "[pass] [bet]", "hm"])
def test_unreadable_replies_are_kept_and_forfeit(reply):
    with Server(reply) as server, server.agent() as agent:
        decision = agent.act([ask()])[0]
        assert isinstance(decision.move, Forfeit)
        assert decision.raw == reply


def test_cut_replies():
    with Server(("length", "[bet] because")) as server, server.agent() as agent:
        choice, text = agent.act([ask(), ask(Text(80), key="f")])
        assert isinstance(choice.move, Forfeit)
        assert (text.move, text.read) == ("[bet] because", "truncated")


def test_a_withheld_reply_is_a_failure():
    with Server(("content_filter", "")) as server, server.agent() as agent:
        assert isinstance(agent.act([ask()])[0].move, Failure)


def test_a_retry_converses():
    with Server("[raise]", "[bet]") as server, server.agent(memory="conversation") as agent:
        lineup = {"player_0": agent, "player_1": "first_legal"}
        (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=1))
        assert (episode.steps[0].move, episode.steps[0].read) == (1, "retry")
        roles = [message["role"] for message in server.seen[1][1]["messages"]]
        assert roles == ["user", "assistant", "user"]
        assert server.seen[1][1]["messages"][1]["content"] == "[raise]"
        assert "names no move" in server.seen[1][1]["messages"][2]["content"]


def test_every_retry_is_told_what_came_before_it():
    with Server("[raise]", "[raise]", "[bet]") as server, server.agent(memory="conversation") as agent:
        lineup = {"player_0": agent, "player_1": "first_legal"}
        (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=2))
        assert (episode.steps[0].move, episode.steps[0].rejected) == (1, ("[raise]", "[raise]"))
        sent = [body["messages"] for _, body in server.seen]
        assert [len(messages) for messages in sent] == [1, 3, 5]
        assert sent[2][:3] == sent[1]
        assert sent[2][3] == {"role": "assistant", "content": "[raise]"}


def test_reasoning_is_a_note_and_a_seed_is_sent_when_asked():
    with Server("<think>a bluff</think>[bet]") as server, server.agent(seeded=True) as agent:
        decision = agent.act([ask()])[0]
        assert (decision.move, decision.note) == (1, "a bluff")
        assert server.seen[0][1]["seed"] == int(np.random.default_rng(0).integers(2**31))


def test_wrong_settings_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="at least one"):
        Limits(attempts=0)
    with pytest.raises(UnknownName, match="did you mean 'compact'"):
        Endpoint("m", base_url="http://localhost", style="compct")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CrewError, match="OPENAI_API_KEY"):
        Endpoint("m")
