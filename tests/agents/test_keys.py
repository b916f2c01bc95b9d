"""API keys: they reach no episode, no log, no fingerprint and no error text."""

import pytest

pytest.importorskip("openai")

from at_a_server import ask, seated
from fake_server import Server

from ludus.agents.language.endpoint import Endpoint
from ludus.agents.language.keys import places_of_secrets
from ludus.commands.seating import agent_by
from ludus.core.errors import ConfigError
from ludus.core.match import Match
from ludus.core.play import play
from ludus.core.registry import make
from ludus.training.configuration import dump, parse, tables
from ludus.training.run import train

KEY = "zq-4711-do-not-tell"


def echoing(status):
    """An answer that quotes the key that it was sent."""

    def answer(body, headers):
        said = f"no: {headers['Authorization']} ({KEY})"
        return (
            (status, {}, {"error": {"message": said}})
            if status != 200
            else f"[bet] {headers['Authorization']}"
        )

    return answer


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_key_reaches_no_episode_and_no_log(status, caplog, capfd):
    caplog.set_level("WARNING")
    with Server(echoing(status)) as server, seated(server, api_key=KEY, attempts=2) as agent:
        (episode,) = play(Match("kuhn_poker", {"player_0": agent, "player_1": "first_legal"}))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
        assert KEY not in episode.to_json()
        assert (episode.end == "error") == (status != 200)
        assert "[redacted]" in episode.to_json()
        assert KEY not in caplog.text + "".join(capfd.readouterr())


def test_a_key_in_the_address_or_in_further_fields_stays_there_too():
    with Server(
        lambda body, headers: (400, {}, {"error": {"message": f"{KEY} {body['extra_key']} Bearer abc-1"}})
    ) as server:
        url = server.url.replace("http://", f"http://me:{KEY}@")
        with Endpoint("m", base_url=url, extra={"extra_key": "hush-hush"}) as agent:
            reason = agent.act([ask()])[0].move.reason
            assert "[redacted]" in reason
            assert not any(secret in reason for secret in (KEY, "hush-hush", "abc-1"))
            assert KEY not in agent.address


def test_a_fingerprint_does_not_depend_on_keys():
    def printed(url="http://h/v1", **settings):
        with Endpoint("m", base_url=url, **settings) as agent:
            return agent.fingerprint()

    same = printed(api_key="key-number-one", extra={"secret": "secret-one"})
    assert same == printed(api_key="key-number-two", extra={"secret": "secret-two"})
    assert same == printed("http://me:three@h/v1?key=four", extra={"secret": "secret-three"})
    assert same != printed("http://other/v1", extra={"secret": "secret-one"})


def test_replies_are_not_mangled_for_placeholders():
    with Server("[bet] x, for EMPTY, me and 12") as server:
        url = server.url.replace("http://", "http://me:bet@") + "?version=12"
        with Endpoint("m", base_url=server.url, api_key="EMPTY", extra={"stop_token": "x"}) as agent:
            assert agent.act([ask()])[0].raw == "[bet] x, for EMPTY, me and 12"
        with Endpoint("m", base_url=url) as agent:
            assert agent.client._secrets == ()


def test_a_key_comes_from_the_environment(monkeypatch):
    with Server("[bet]") as server:
        with pytest.raises(ConfigError, match="holds no MY_KEY"):
            seated(server, key_variable="MY_KEY")
        monkeypatch.setenv("MY_KEY", KEY)
        with seated(server, key_variable="MY_KEY") as agent:
            agent.act([ask()])
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_key_on_the_command_line_is_not_repeated():
    for wrong in ("timeout=soon", "oops"):
        with pytest.raises(ConfigError, match="redacted") as caught:
            agent_by(f"openai(model=m, base_url=http://h/v1, api_key={KEY}, {wrong})", make("kuhn_poker"))
        assert KEY not in str(caught.value)


def running(rival, root):
    """Tables of a run that measures itself against somebody."""
    return {
        "root": str(root), "game": {"name": "kuhn_poker"}, "policies": {"main": "network"},
        "lineup": {"player": "main"}, "learners": [{"policy": "main"}], "phases": [{"steps": 1}],
        "evaluate": {"measures": [{"name": "against", "opponents": {"rival": rival}}]},
    }  # fmt: skip


@pytest.mark.parametrize("rival", [
    {"name": "openai", "model": "m", "base_url": "http://h/v1", "api_key": KEY},
    {"name": "openai", "model": "m", "base_url": "http://h/v1", "api_key": KEY[:6]},
    {"name": "openai", "model": "m", "base_url": f"http://me:{KEY[:6]}@h/v1"},
    {"name": "openai", "model": "m", "extra": {"secret": [KEY]}},
    f"openai(model=m, base_url=http://me:{KEY}@h/v1)",
    f"openai(model=m, base_url=http://h/v1?key={KEY})",
    {"name": "openai", "model": "m", "base_url": f"http://me:{KEY}@h/v1"},
    {"name": "openai", "model": "m", "extra": {"headers": {"Authorization": f"Bearer {KEY}"}}},
    f"openai(model=m, base_url=http://h/v1, api_key={KEY})",
], ids=["key", "short", "short password", "list", "address in text", "query in text", "address", "header", "text"])  # fmt: skip
def test_a_key_reaches_no_run(rival, tmp_path):
    with pytest.raises(
        ConfigError, match=r"evaluate\.measures\.0\.opponents\.rival.* holds a key .*key_variable"
    ) as told:
        train(parse(running(rival, tmp_path)))
    assert KEY[:6] not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_key_that_was_not_parsed_is_not_written_either(tmp_path):
    config = parse(running("uniform", tmp_path))
    config.evaluate.measures[0].settings["opponents"]["rival"] = {"name": "openai", "api_key": KEY}
    for write in (tables, lambda config: dump(config, tmp_path)):
        with pytest.raises(ConfigError, match=r"rival\.api_key holds a key") as told:
            write(config)
        assert KEY not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_settings_without_keys_hold_none():
    assert not places_of_secrets(
        {
            "key_variable": "MY_API_KEY",
            "url": "http://host:81/v1?version=2",
            "path": "a/b",
            "n": [1],
            "api_key": "",
            "rival": "openai(model=m, base_url=http://h:81/v1, key_variable=MY_API_KEY)",
            "system": "Say x@y: [bet]",
        }
    )
