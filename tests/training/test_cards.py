"""Model cards: what their front matter says, and that the folder they describe still loads."""

import hashlib
import json
import math

import numpy as np
import pytest
import yaml as reader
from huggingface_hub import ModelCard

import ludus
from ludus.agents.network import network
from ludus.config import load
from ludus.core.agent import FirstLegal
from ludus.core.errors import ConfigError
from ludus.core.match import Match
from ludus.training.cards import earned, write_cards, yaml
from ludus.training.configuration import parse
from ludus.training.run import train

RUN = """
name = "run"
tensorboard = false
keep_episodes = 12
[game]
name = "kuhn_poker"
[policies.main]
name = "{kind}"
{settings}
[lineup]
player_0 = "main"
player_1 = "uniform"
[collect]
games = 16
[[learners]]
policy = "main"
{learner}
[[phases]]
steps = 2
[evaluate]
every = 1
"""
NETWORK = {"kind": "network", "settings": "hidden = [8]", "learner": 'preset = "ppo"'}
LANGUAGE = {
    "kind": "tiny_language",
    "settings": "model = { width = 32, layers = 1 }\nlessons = { steps = 20, episodes = 20 }",
    "learner": 'preset = "spiral"\nobjective.aggregation.length = 64',
}


def done(tmp_path, **choices):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(**choices))
    return train(load(path, [f"root={json.dumps(str(tmp_path))}"]), quiet=True)


def parts(folder, name="main"):
    text = (folder / "policies" / name / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return reader.safe_load(front), body


def test_a_networks_card(tmp_path):
    folder = done(tmp_path, **NETWORK)
    front, body = parts(folder)
    assert front["library_name"] == "ludus"
    assert "base_model" not in front
    assert {"ludus", "self-play", "kuhn_poker"} <= set(front["tags"])
    (result,) = front["model-index"][0]["results"]
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    found = {metric["type"]: metric for metric in result["metrics"]}
    assert found["nash_conv"]["value"] == pytest.approx(last["eval/nash_conv/main"])
    assert found["exploitability"]["value"] == pytest.approx(last["eval/exploitability/main"])
    paid = found["mean_payoff"]
    assert " against uniform, last " in paid["name"]
    assert paid["confidence_interval_95"][0] <= paid["value"] <= paid["confidence_interval_95"][1]
    game = ludus.make("kuhn_poker")
    assert f"| kuhn_poker | {game.version} | `{game.fingerprint()}` |" in body
    assert "player_1: uniform" in body
    assert "| main | loss | clip (low = 0.1, high = 0.1) |" in body
    for name in ("first", "last"):
        assert hashlib.sha256((folder / "episodes" / f"{name}.jsonl").read_bytes()).hexdigest() in body
    assert network(folder / "policies" / "main").fingerprint()


def test_the_configuration_in_a_card_is_the_runs_own(tmp_path):
    import tomllib

    folder = done(tmp_path, **NETWORK)
    _, body = parts(folder)
    text = body.split("```toml\n")[1].split("```")[0]
    told = parse(tomllib.loads(text))
    assert told == load(folder / "config.toml")


def test_a_language_models_card_and_its_folder(tmp_path):
    from ludus.agents.language.local import LanguageModel

    folder = done(tmp_path, **LANGUAGE)
    front, body = parts(folder)
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-generation")
    assert "role_baseline" in body
    card = ModelCard.load(folder / "policies" / "main" / "README.md")  # as the Hub reads it
    assert card.data.library_name == "transformers"
    assert {result.metric_type for result in card.data.eval_results} >= {"nash_conv", "mean_payoff"}
    policy = LanguageModel(folder / "policies" / "main")
    assert policy.parameters()


def test_the_base_of_a_model_is_named(tmp_path):
    folder = done(tmp_path, **NETWORK)
    config = json.loads((folder / "config.json").read_text())
    config["policies"]["main"] = {"name": "language", "path": "Qwen/Qwen3-4B-Base"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "policies" / "main" / "config.json").write_text("{}")
    write_cards(folder)
    assert parts(folder)[0]["base_model"] == "Qwen/Qwen3-4B-Base"
    adapter = {"base_model_name_or_path": "Qwen/Qwen3-0.6B"}
    (folder / "policies" / "main" / "adapter_config.json").write_text(json.dumps(adapter))
    write_cards(folder)
    front, _ = parts(folder)
    assert (front["library_name"], front["base_model"]) == ("peft", "Qwen/Qwen3-0.6B")


def test_ratings_of_a_leaderboard_are_told(tmp_path):
    folder = done(tmp_path, **NETWORK)
    board = tmp_path / "standings.json"
    row = {
        "agent": "main",
        "rating": [1043.2, 1001.0, 1090.5],
        "payoff": [0.1, None, None],
        "games": 40,
        "on": "kuhn",
    }
    board.write_text(json.dumps([{"game": "kuhn_poker", "rows": [row, {**row, "agent": "other"}]}]))
    assert "## Rated" not in parts(folder)[1]
    write_cards(folder, leaderboard=board)
    body = parts(folder)[1]
    assert "| kuhn_poker | 1043 [1001, 1090] | 0.1 | 40 | kuhn |" in body
    board.write_text("[]]")
    with pytest.raises(ConfigError, match="is no leaderboard"):
        write_cards(folder, leaderboard=board)
    with pytest.raises(ConfigError, match="holds no run"):
        write_cards(tmp_path / "nowhere")


def test_what_was_earned_by_hand():
    game = ludus.make("kuhn_poker")
    lineup = {"player_0": FirstLegal("main"), "player_1": FirstLegal("rival")}
    episodes = list(ludus.play([Match(game, lineup, seed=seed) for seed in range(30)]))
    (row,) = earned(episodes, "main")
    returns = [episode.returns["player_0"] for episode in episodes]
    assert (row.seat, row.against, row.games) == ("player_0", "rival", 30)
    assert row.payoff.mean == pytest.approx(np.mean(returns))
    spread = 1.96 * np.std(returns) / math.sqrt(30)
    assert row.payoff.low == pytest.approx(np.mean(returns) - spread, abs=0.1)
    assert row.payoff.high == pytest.approx(np.mean(returns) + spread, abs=0.1)
    mirror = list(ludus.play([Match(game, dict.fromkeys(lineup, FirstLegal("main")), seed=0)]))
    assert {row.against for row in earned(mirror, "main")} == {"itself"}
    assert math.isnan(earned(mirror, "main")[0].payoff.low)


@pytest.mark.parametrize(
    "table",
    [
        {
            "a": 1,
            "b": [1, "x: y", None, True],
            "c": {"d": [{"e": 1e-5, "f": [0.5, -2.0]}, {"e": 3}], "g": {}},
        },
        {"a": "no", "b": "1.0", "c": ["- x", "#"], "d": "é\n", "e": [], "f": 1e300, "g": [[1, 2], [3]]},
    ],
)
def test_yaml_is_read_back(table):
    assert reader.safe_load(yaml(table)) == table


def test_numbers_that_are_none_are_null():
    assert reader.safe_load(yaml({"a": math.nan, "b": [math.inf]})) == {"a": None, "b": [None]}
