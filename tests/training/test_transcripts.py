"""Decisions from files of episodes: whose they are, what they become, and that they teach."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import ludus
from ludus.agents.network import fresh, network
from ludus.config import load
from ludus.core.agent import FirstLegal, Uniform
from ludus.core.episode import read, write
from ludus.core.errors import ConfigError, ForgedError
from ludus.core.match import Match
from ludus.training.metrics import VOLATILE
from ludus.training.run import Run, train
from ludus.training.settings import Reads
from ludus.training.store import Store
from ludus.training.transcripts import Transcripts

GAME = ludus.make("kuhn_poker")


def recorded(path, games=20, *, first=None, second=None):
    lineup = {"player_0": first or FirstLegal("expert"), "player_1": second or Uniform()}
    write(ludus.play([Match(GAME, lineup, seed=seed) for seed in range(games)]), path)
    return str(path)


@pytest.fixture
def file(tmp_path):
    return recorded(tmp_path / "expert.jsonl")


def test_only_those_who_are_named_teach(file):
    policy = fresh(GAME, name="main", hidden=(8,))
    every = Transcripts(Reads(file), policy, 0).ledger
    expert = Transcripts(Reads(file, agents=("expert",)), policy, 0).ledger
    assert len(every) == sum(len(episode.steps) for episode in read(file))
    assert {every.seats[i] for i in every.seat} == {"player_0", "player_1"}
    assert {expert.seats[i] for i in expert.seat} == {"player_0"}
    assert (expert.ids == 0).all()
    assert not (every.ids == 0).all()
    assert expert.sources == ("file",)
    assert np.isnan(every.rollout).all()
    returns = [episode.returns["player_0"] for episode in read(file)]
    assert expert.returns.tolist() == returns


def test_a_pass_reads_every_episode_once(file):
    held = Transcripts(Reads(file, games=7), fresh(GAME, name="main", hidden=(8,)), seed=3)
    drawn = [np.unique(held.drawn(step).episode) for step in range(1, 21)]  # seven passes in twenty steps
    assert all(len(some) == 7 or step in (3, 6, 9, 12, 15, 18) for step, some in enumerate(drawn, 1))
    count = np.bincount(np.concatenate(drawn[:2]), minlength=20)
    assert count.max() == 1
    again = Transcripts(Reads(file, games=7), fresh(GAME, name="main", hidden=(8,)), seed=3)
    assert np.array_equal(again.drawn(5).ids, held.drawn(5).ids)
    assert not np.array_equal(np.unique(held.drawn(21).episode), drawn[0])  # another pass, another order
    assert len(Transcripts(Reads(file), fresh(GAME, name="main", hidden=(8,)), 0).drawn(9)) == len(
        held.ledger
    )


RUN = """
name = "run"
tensorboard = false
keep_episodes = 4
checkpoint_every = 3
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [16]
[lineup]
player = "main"
[collect]
games = 16
[[learners]]
name = "teacher"
policy = "main"
preset = "sft"
optimiser = {{ name = "adam", rate = 0.05 }}
[[learners]]
name = "player"
policy = "main"
preset = "ppo"
[[phases]]
steps = {steps}
reads = [{{ file = "{file}", agents = ["expert"], games = 10 }}]
learners = ["teacher"]
[[phases]]
steps = 2
reads = ["fresh", "file:{file}"]
learners = ["player", "teacher"]
"""


def started(tmp_path, file, steps=12, **more):
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(file=file, steps=steps))
    overrides = [f"{key}={value}" for key, value in more.items()]
    return load(path, [f"root={json.dumps(str(tmp_path / 'runs'))}", *overrides])


def test_a_phase_teaches_what_an_expert_played(file, tmp_path):
    folder = train(started(tmp_path, file), quiet=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["teacher/losses/policy_loss"] for line in lines]
    assert losses[11] < 0.1 * losses[0]
    assert all(line["charts/episodes"] == 0 for line in lines[:12])
    assert all(line["charts/episodes"] == 16 for line in lines[12:])
    assert "player/losses/value_loss" in lines[12]
    assert "player/losses/value_loss" not in lines[11]


def test_the_taught_policy_plays_like_the_expert(file, tmp_path):
    config = started(tmp_path, file)
    config = dataclasses.replace(config, phases=config.phases[:1], learners=config.learners[:1])
    folder = train(config, quiet=True)
    policy = network(folder / "policies" / "main")
    played = ludus.play([Match(GAME, {"player_0": policy, "player_1": Uniform()}, seed=s) for s in range(50)])
    moves = [step.move for episode in played for step in episode.of("player_0")]
    assert moves.count(0) > 0.9 * len(moves)


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = load_file(Store(folder).find() / "policy-main.safetensors")
    return [{k: v for k, v in line.items() if k not in VOLATILE} for line in lines], weights


def test_a_killed_run_reads_on_where_it_was(file, tmp_path, monkeypatch):
    whole = outcome(train(started(tmp_path, file, steps=6), quiet=True))
    config = started(tmp_path, file, steps=6, name="killed")
    step = Run._step

    def dying(self, number):
        if number == 5:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Run, "_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train(config, quiet=True)
    monkeypatch.setattr(Run, "_step", step)
    lines, weights = outcome(train(config, resume=True, quiet=True))
    assert lines == whole[0]
    assert all(np.array_equal(weights[name], whole[1][name]) for name in weights)


def test_what_cannot_be_read_is_refused(file, tmp_path):
    policy = fresh(GAME, name="main", hidden=(8,))
    with pytest.raises(ConfigError, match="does not exist"):
        Transcripts(Reads("nowhere.jsonl"), policy, 0)
    with pytest.raises(ConfigError, match="no decisions of nobody"):
        Transcripts(Reads(file, agents=("nobody",)), policy, 0)
    with pytest.raises(ConfigError, match="nothing to read"):
        started(tmp_path, file, **{"phases.0.reads": '["buffer:x"]'})
    wrong = started(tmp_path, file, **{"learners.0.selector.sources": '["fresh"]'})
    with pytest.raises(ConfigError, match="its phase reads file"):
        Run(wrong)
    forged = tmp_path / "forged.jsonl"
    lines = [json.loads(line) for line in (tmp_path / "expert.jsonl").read_text().splitlines()]
    lines[3]["returns"]["player_0"] += 1
    forged.write_text("".join(json.dumps(line) + "\n" for line in lines))
    where = rf"forged.jsonl: kuhn_poker seed {lines[3]['match']['seed']}: "
    with pytest.raises(ForgedError, match=where):
        Transcripts(Reads(str(forged)), policy, 0)


# -------------------------------------------------------------------------- language models
@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from ludus.agents.language.models.tiny import make_tiny

    return make_tiny(tmp_path_factory.mktemp("tiny"), width=32, layers=1, heads=2)


def speaker(path, name="main", **settings):
    from ludus.agents.language.local import LanguageModel

    return LanguageModel(path, name=name, style="compact", max_new_tokens=6, **settings)


def test_moves_are_put_into_the_models_own_words(tiny, file):
    policy = speaker(tiny, scratch="~", scratch_most=3)
    ledger = Transcripts(Reads(file, agents=("expert",)), policy, 0).ledger
    said = [
        policy.decode(tuple(ids[mask]))
        for ids, mask in zip(ledger.rows().ids, ledger.rows().mask, strict=True)
    ]
    assert {text.lstrip("~") for text in said} == {"[pass]"}
    assert {len(text) - len("[pass]") for text in said} == {0, 1, 2, 3}
    prompts = {policy.decode(tuple(prompt)) for prompt in ledger.prompts}
    assert any("Your card" in prompt or "card" in prompt for prompt in prompts)


def test_its_own_words_stay_and_another_models_are_written_anew(tiny, tmp_path):
    policy = speaker(tiny)
    own = recorded(tmp_path / "own.jsonl", 6, first=policy)
    ledger = Transcripts(Reads(own, agents=("main",)), policy, 0).ledger
    steps = [step for episode in read(own) for step in episode.steps if step.tokens is not None]
    assert np.array_equal(ledger.ids, np.concatenate([step.tokens.ids for step in steps]))
    assert np.array_equal(ledger.rollout, np.concatenate([step.tokens.logprobs for step in steps]))
    with pytest.raises(ConfigError, match="another tokenizer or another way of prompting"):
        Transcripts(Reads(own, agents=("main",)), speaker(tiny, system="Play well."), 0)
    other = speaker(tiny, "other", system="Play well.")
    with pytest.raises(ConfigError, match="no decisions"):  # the untrained model only ever forfeits
        Transcripts(Reads(own, agents=("main",)), other, 0)
