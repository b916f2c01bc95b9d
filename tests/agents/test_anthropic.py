"""The anthropic agent against a server in this process."""

import numpy as np
import pytest
from fake_server import Server as Plain

from ludus.core.agent import Failure, Request
from ludus.core.errors import CrewError, EngineGone
from ludus.core.game import Choice, Forfeit, View
from ludus.core.play import play
from ludus.core.registry import AGENTS

pytest.importorskip("anthropic")

from ludus.agents.language.anthropic import Messages


class Server(Plain):
    """Answers as Anthropic's does; a script's finish reason is the `stop_reason`."""

    @property
    def url(self):
        return super().url.removesuffix("/v1")

    def answer(self, finish, text):
        content = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}]
        return {"id": "m", "type": "message", "role": "assistant", "model": "a-model", "content": content,
                "stop_reason": {"stop": "end_turn"}.get(finish, finish), "usage": {"input_tokens": 100, "output_tokens": 10}}  # fmt: skip


def seated(server, **settings):
    return Messages("a-model", base_url=server.url, **{"wait": 0.01, "timeout": 5.0, **settings})


def ask(**more):
    options = Choice(("pass", "bet"), np.array([True, True]))
    rng = np.random.default_rng(0)
    return Request(
        "e", "kuhn_poker", "player_0", View("Your card is K."), options, (), rng, "The rules.", **more
    )


def test_a_reply_is_read_and_its_cost_counted():
    settings = {"system": "Play well.", "temperature": 0.5, "stop": ["!"], "price_in": 1.0, "price_out": 10.0}
    with Server("I bet: [BET]") as server, seated(server, api_key="k", **settings) as agent:
        decision = agent.act([ask()])[0]
        assert (decision.move, decision.read, decision.raw, decision.note) == (
            1,
            "normalised",
            "I bet: [BET]",
            "hm",
        )
        cost = agent.costs["player_0"]
        assert (cost.calls, cost.tokens_in, cost.tokens_out) == (1, 100, 10)
        assert cost.money == pytest.approx(200e-6)
        path, body = server.seen[0]
        assert (path, body["system"], body["model"], body["max_tokens"]) == (
            "/v1/messages",
            "Play well.",
            "a-model",
            1024,
        )
        assert (body["temperature"], body["stop_sequences"]) == (0.5, ["!"])
        assert [message["role"] for message in body["messages"]] == ["user"]
        sent = server.headers[0]
        assert "k" in (sent.get("x-api-key"), sent.get("authorization", "").removeprefix("Bearer "))
        assert "anthropic-version" in sent


def test_whole_games_are_played():
    with Server("[bet]") as server, seated(server) as agent:
        episodes = list(play("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, range(6)))
        assert {e.end for e in episodes} == {"over"}
        assert {step.raw for e in episodes for step in e.of("player_0")} == {"[bet]"}


def test_a_retry_converses():
    with Server("[raise]", "[bet]") as server, seated(server, memory="conversation", system="S") as agent:
        from ludus.core.match import Illegal

        lineup = {"player_0": agent, "player_1": "first_legal"}
        (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=1))
        assert (episode.steps[0].move, episode.steps[0].read) == (1, "retry")
        assert [m["role"] for m in server.seen[1][1]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("trouble", "calls"), [(401, 1), (529, 3), (429, 3), (b"nonsense", 3), ({"content": 3}, 3),
                                                ({"content": ["x"], "stop_reason": "end_turn"}, 3),
                                                (("tool_use", "[bet]"), 3), (("pause_turn", "[bet]"), 3)])  # fmt: skip
def test_what_does_not_pass_is_a_failure(trouble, calls):
    with Server(trouble) as server, seated(server, attempts=3) as agent:
        assert isinstance(agent.act([ask()])[0].move, Failure)
        assert (agent.cost().calls, agent.cost().failures) == (calls, 1)


def test_cut_and_withheld_replies():
    with Server(("max_tokens", "[bet] because")) as server, seated(server) as agent:
        assert isinstance(agent.act([ask()])[0].move, Forfeit)
    with Server(("refusal", "no")) as server, seated(server) as agent:
        assert "withheld" in agent.act([ask()])[0].move.reason


def test_thinking_is_asked_for():
    with Server("[bet]") as server, seated(server, thinking=512) as agent:
        agent.act([ask()])
        assert server.seen[0][1]["thinking"] == {"type": "enabled", "budget_tokens": 512}


def test_a_key_is_not_told():
    def echo(body, headers):
        return 400, {}, {"error": {"message": f"bad key {headers['X-Api-Key'] or headers['Authorization']}"}}

    with Server(echo) as server, seated(server, api_key="zq-4711-do-not-tell") as agent:
        reason = agent.act([ask()])[0].move.reason
        assert "bad key" in reason
        assert "[redacted]" in reason
        assert "zq-4711-do-not-tell" not in reason


def test_a_server_that_is_gone_ends_the_play():
    with Server("x") as server:
        url = server.url
    with Messages("m", base_url=url, attempts=1, unreachable=1) as agent, pytest.raises(EngineGone):
        agent.act([ask()])


def test_it_is_known_by_name_and_needs_a_key(monkeypatch):
    assert AGENTS.maker("anthropic") is Messages
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CrewError, match="ANTHROPIC_API_KEY"):
        Messages("m")
