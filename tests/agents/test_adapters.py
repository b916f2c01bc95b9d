"""Low-rank adapters: they alone learn, they share a base, they are saved and found again."""

import gc
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import ludus
from ludus.cli import app
from ludus.commands.seating import agent_by
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.core.match import Match
from ludus.core.play import play
from ludus.training.evaluation.opponents import _saved

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from ludus.agents.language.local import LanguageModel  # noqa: E402
from ludus.agents.language.models.causal import CausalModel  # noqa: E402
from ludus.agents.language.models.tiny import make_tiny  # noqa: E402

SEATS = ("player_0", "player_1")
ASKED = [(1, 2, 3), (1, 2, 4, 5)], [(0, (6, 7)), (1, (8,)), (1, (9, 10, 11))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("adapters") / "base", width=32, heads=4)


@pytest.fixture
def agent(folder):
    return LanguageModel(folder, name="main", lora={"rank": 4})


def scores(model):
    with torch.no_grad():
        return model.score(*ASKED).logprobs


def moved(agent, by=0.1):
    agent.load({name: weight + by for name, weight in agent.state().items()})
    return agent


def test_a_new_adapter_changes_nothing_and_learns_alone(folder, agent):
    assert torch.equal(scores(agent.model), scores(CausalModel(folder)))
    before = {name: weight.clone() for name, weight in agent.model.model.named_parameters()}
    optimiser = torch.optim.SGD(agent.parameters(), lr=1.0)
    for _ in range(2):  # in the first step only one of each pair of matrices has a gradient
        optimiser.zero_grad()
        agent.model.score(*ASKED).logprobs.sum().backward()
        optimiser.step()
    changed = {
        name for name, weight in agent.model.model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert changed == {name for name in before if "lora_" in name}
    assert len(agent.parameters()) == len(changed)
    assert set(agent.state()) == {f"base_model.model.{name.replace('.default', '')}" for name in changed}


def test_targets_and_the_first_weights_are_settings(folder):
    one = CausalModel(folder, lora={"targets": ["q_proj"], "seed": 1})
    assert {name.split(".")[-3] for name in one.weights()} == {"q_proj"}
    prints = [LanguageModel(folder, lora={"seed": seed}).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_making_an_adapter_leaves_the_global_generator_alone(folder):
    before = torch.random.get_rng_state()
    CausalModel(folder, lora={}).twin("other")
    assert torch.equal(before, torch.random.get_rng_state())


def test_frozen_copies_share_the_base_and_keep_their_weights(agent):
    old = agent.frozen("main@0.1")
    assert old.model.model is agent.model.model
    assert old.model.adapter != agent.model.adapter
    was = scores(old.model)
    moved(agent)
    assert torch.equal(scores(old.model), was)
    assert not torch.allclose(scores(agent.model), was, atol=1e-3)
    with agent.model.using(""):
        assert torch.allclose(agent.model.head(torch.ones(1, 32)), old.model.head(torch.ones(1, 32)))
    agent.load(old.state())
    assert torch.equal(scores(agent.model), was)
    assert agent.fingerprint() == old.fingerprint()


def test_copies_that_nobody_needs_are_dropped(agent):
    copies = [agent.frozen("same") for _ in range(3)]
    assert len(set(agent.model.adapters)) == 4
    was = scores(agent.model)
    del copies
    gc.collect()
    assert agent.model.adapters == ("default",)
    assert torch.equal(scores(agent.model), was)


def test_an_engine_forgets_adapters_that_are_gone_and_their_names_never_come_again(agent):
    def say(who):
        return [
            step.tokens.logprobs
            for e in play([Match("kuhn_poker", dict.fromkeys(SEATS, who), seed=1)])
            for step in e.steps
        ]

    first = moved(agent.frozen("same"))
    name, was = first.model.adapter, say(first)
    del first
    gc.collect()
    again = agent.frozen("same")
    assert again.model.adapter != name
    assert not np.array_equal(say(again)[0], was[0])
    assert [*agent.desk.engine._batches] == [again.model.adapter]
    assert name not in agent.desk.versions


@pytest.mark.parametrize("checkpoint", [False, True])
def test_gradients_survive_another_adapter_in_between(folder, checkpoint):
    agent = moved(LanguageModel(folder, lora={"rank": 4}, checkpoint=checkpoint))
    other = moved(agent.frozen("other"), 0.2)
    agent.model.score(*ASKED).logprobs.sum().backward()
    alone = [weight.grad.clone() for weight in agent.parameters()]
    for weight in agent.parameters():
        weight.grad = None
    loss = agent.model.score(*ASKED).logprobs.sum()
    scores(other.model)
    with agent.model.using(other.model.adapter):
        loss.backward()
    assert all(torch.equal(weight.grad, was) for weight, was in zip(agent.parameters(), alone, strict=True))
    assert all(weight.grad is None for weight in other.parameters())


def test_two_adapters_play_each_other(agent):
    other = moved(agent.frozen("other"), 0.3)
    first = play("kuhn_poker", {"player_0": agent, "player_1": other}, range(6))
    second = play("kuhn_poker", {"player_0": other, "player_1": agent}, range(6))
    ledger = Ledger.of([*first, *second])
    rows = ledger.rows()
    rollout = ledger.padded(ledger.rollout, np.arange(len(ledger)))
    for name, policy in (("main", agent), ("other", other)):
        mine = (ledger.policy == ledger.policies.index(name))[:, None] & rows.mask
        with torch.no_grad():
            again = policy.score(rows).logprobs.numpy()
        np.testing.assert_allclose(again[mine], rollout[mine], atol=1e-4)


# --------------------------------------------------------------------------------------- folders
def test_an_adapter_is_saved_as_peft_does_and_finds_its_base(agent, folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    moved(agent).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "ludus.json", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    again = LanguageModel(tmp_path)
    assert torch.equal(scores(again.model), scores(agent.model))
    assert again.fingerprint() == agent.fingerprint()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(tmp_path))
    with torch.no_grad():
        logits = theirs(torch.tensor([[1, 2, 3, 6]])).logits[0].log_softmax(-1)
    ours = scores(agent.model)[0, :2]
    assert torch.allclose(torch.stack([logits[2, 6], logits[3, 7]]), ours, atol=1e-5)


def test_an_adapter_sits_down_by_its_folder(agent, tmp_path):
    moved(agent).save(tmp_path)
    game = ludus.make("kuhn_poker")
    for name in (str(tmp_path), f"language(path={tmp_path})"):
        assert agent_by(name, game).fingerprint() == agent.fingerprint()
    assert _saved(tmp_path, {}).fingerprint() == agent.fingerprint()
    with pytest.raises(
        ConfigError, match=r"neither a network .* nor a language model \(config.json, adapter_config"
    ):
        agent_by(str(tmp_path.parent), game)


@pytest.mark.parametrize("written", ["learned={}", "learned=language(path={})"])
def test_an_adapter_plays_a_tournament_by_its_folder(written, agent, tmp_path):
    moved(agent).save(tmp_path / "adapter")
    agents = f"uniform, {written.format(tmp_path / 'adapter')}"
    out = tmp_path / "cup"
    told = CliRunner().invoke(
        app, ["tournament", "kuhn_poker", "--agents", agents, "--seeds", "1", "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    assert "learned" in told.output


def test_an_adapter_that_was_trained_with_dropout_has_none_here(agent, tmp_path):
    moved(agent)
    agent.save(tmp_path)
    about = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(about | {"lora_dropout": 0.5}))
    again = LanguageModel(tmp_path)
    assert not any(module.training for module in again.model.model.modules())
    assert torch.equal(scores(again.model), scores(agent.model))


def test_a_copy_saves_its_own_weights(agent, tmp_path):
    other = moved(agent.frozen("other"))
    other.save(tmp_path)
    assert torch.equal(scores(CausalModel(tmp_path)), scores(other.model))


def test_an_adapter_of_another_base_is_refused(agent, folder, tmp_path):
    agent.save(tmp_path / "adapter")
    other = make_tiny(tmp_path / "other", width=64, heads=4)
    with pytest.raises(ConfigError, match=rf"made for the base model {folder}, not for {other}"):
        CausalModel(tmp_path / "adapter", base=str(other))
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(other)}))
    with pytest.raises(ConfigError, match=rf"made for {other} and does not fit"):
        CausalModel(tmp_path / "adapter")


def test_a_base_that_has_moved_is_asked_for(agent, folder, tmp_path):
    agent.save(tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/gone"}))
    with pytest.raises(ConfigError, match=r"needs its base model /gone.*give base"):
        CausalModel(tmp_path)
    assert torch.equal(scores(CausalModel(tmp_path, base=str(folder))), scores(agent.model))


def test_bad_settings_are_refused(folder, agent, tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'rank'"):
        CausalModel(folder, lora={"ranks": 3})
    with pytest.raises(ConfigError, match="dropout = 0"):
        CausalModel(folder, lora={"dropout": 0.1})
    with pytest.raises(ConfigError, match="does not fit"):
        CausalModel(folder, lora={"targets": ["nothing"]})
    agent.save(tmp_path)
    with pytest.raises(ConfigError, match="adapter already"):
        CausalModel(tmp_path, lora={"rank": 2})


def test_weights_of_another_shape_are_refused(agent, folder):
    with pytest.raises(ValueError, match="other names"):
        agent.load({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="has shape"):
        agent.load(LanguageModel(folder, lora={"rank": 2}).state())
