"""The engine in this process: what it samples, what it shares, and what it refuses."""

import numpy as np
import pytest

from ludus.core.errors import ConfigError, EngineGone, UnknownName

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ludus.agents.language.engines.continuous import TransformersEngine  # noqa: E402
from ludus.agents.language.engines.engine import Job, Sampling  # noqa: E402
from ludus.agents.language.engines.lanes import BLOCK  # noqa: E402
from ludus.agents.language.models.causal import CausalModel  # noqa: E402
from ludus.agents.language.models.tiny import make_tiny  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return CausalModel(make_tiny(tmp_path_factory.mktemp("tiny"), width=32, layers=2, heads=4))


def prompts(count, *, low=5, high=60, seed=0):
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 250, rng.integers(low, high)).tolist()) for _ in range(count)]


def job(ids, seed=0, **settings):
    extra = {key: settings.pop(key) for key in ("allowed", "session", "goes_on") if key in settings}
    return Job(ids, np.random.default_rng(seed), Sampling(**{"max_new_tokens": 24, **settings}), **extra)


def plain(model, ids, reply):
    """Log-probabilities of a reply, from one pass over all of it."""
    with torch.no_grad():
        logits = model.model(torch.tensor([[*ids, *reply]])).logits[0, len(ids) - 1 : -1]
    return logits.double().log_softmax(-1)


def test_replies_are_drawn_from_the_model_whatever_else_is_under_way(model):
    jobs = [(ids, seed) for seed, ids in enumerate(prompts(12) * 3)]
    alone = [TransformersEngine(model).sample([job(*one)])[0] for one in jobs]
    for at_once in (3, 36):
        engine = TransformersEngine(model, at_once=at_once)
        for one, reply, other in zip(jobs, engine.sample([job(*one) for one in jobs]), alone, strict=True):
            assert reply.ids == other.ids
            logp = plain(model, one[0], reply.ids)
            chosen = logp[torch.arange(len(reply.ids)), torch.tensor(reply.ids)]
            np.testing.assert_allclose(reply.logprobs, chosen.numpy(), atol=2e-5)
            assert reply.stopped == (reply.ids[-1] in model.stops)


def test_as_many_replies_are_under_way_as_memory_was_given_for(model):
    jobs = [job(ids, seed) for seed, ids in enumerate(prompts(12, low=40, high=41))]
    at_once = []

    def most(room):
        engine = TransformersEngine(model, lane_bytes=room)
        engine.submit(jobs)
        replies = {}
        while len(replies) < len(jobs):
            replies |= {id(one): reply for one, reply in engine.poll()}
            at_once.append(len(engine._batches[""].active))
        engine.forget()
        assert engine._batches[""].lanes.tensors() == []
        return max(at_once), [replies[id(one)].ids for one in jobs]

    assert model.token_bytes == 2 * 2 * 2 * 8 * 4
    three, few = most(3 * 64 * model.token_bytes)  # forty tokens and a reply of up to 24 each
    assert three <= 3
    jobs = [job(ids, seed) for seed, ids in enumerate(prompts(12, low=40, high=41))]
    one, alone = most(1)
    assert alone == few
    assert one <= 3


def test_a_failure_of_torch_is_the_engines_end(model, monkeypatch):
    engine = TransformersEngine(model)
    engine.submit([job((1, 2, 3))])

    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(engine._batches[""], "_step", fail)
    with pytest.raises(EngineGone, match=r"CUDA out of memory.*resume the run"):
        engine.poll()


def test_a_job_is_drawn_once(model):
    one = job((1, 2, 3))
    with pytest.raises(ValueError, match="2 jobs are 1 objects"):
        TransformersEngine(model).sample([one, one])


def test_tokens_come_as_often_as_they_are_likely(model):
    ids = prompts(1)[0]
    replies = TransformersEngine(model).sample([job(ids, seed, max_new_tokens=1) for seed in range(4000)])
    expected = plain(model, ids, (0,)).exp()[0].numpy()
    seen = np.bincount([reply.ids[0] for reply in replies], minlength=len(expected)) / len(replies)
    assert np.abs(seen - expected).max() < 5 * np.sqrt(expected.max() / len(replies))


def test_equal_prompts_are_read_once_and_conversations_go_on_from_the_cache(model):
    engine = TransformersEngine(model)
    ids = prompts(1, low=40, high=41)[0]
    first = engine.sample([job(ids, seed, session=str(seed), goes_on=True) for seed in range(8)])
    assert engine.saved == 0
    engine.sample([job(ids, 99)])
    assert engine.saved == len(ids)  # the whole prompt, logits and all
    again = [(*ids, *reply.ids, 7, 8, 9) for reply in first]
    replies = engine.sample([job(longer, seed) for seed, longer in enumerate(again)])
    known = [(len(ids) + len(reply.ids) - 1) // BLOCK * BLOCK for reply in first]
    assert engine.saved == len(ids) + sum(known)
    for seed, (longer, reply) in enumerate(zip(again, replies, strict=True)):
        fresh = TransformersEngine(model).sample([job(longer, seed)])[0]
        assert reply.ids == fresh.ids
        np.testing.assert_allclose(reply.logprobs, fresh.logprobs, atol=2e-5)


def test_a_small_shelf_gives_up_what_was_not_used_and_changes_nothing(model):
    jobs = [(ids, seed) for seed, ids in enumerate(prompts(20, low=30, high=90) * 2)]
    roomy = TransformersEngine(model, at_once=4).sample([job(*one) for one in jobs])
    engine = TransformersEngine(model, at_once=4, cache_bytes=12 * BLOCK * 2 * 2 * 2 * 8 * 4)
    tight = engine.sample([job(*one) for one in jobs])
    assert [reply.ids for reply in tight] == [reply.ids for reply in roomy]
    assert engine.saved < sum(len(ids) for ids, _ in jobs) / 4  # the second round found little of the first


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"temperature": 0.0}, lambda p: p == p.max()),
        ({"top_k": 3}, lambda p: p >= np.sort(p)[-3]),
        ({"top_p": 0.3}, lambda p: np.cumsum(np.sort(p)[::-1])[np.argsort(np.argsort(-p))] - p < 0.3),
    ],
)
def test_narrowed_sampling_draws_from_the_likeliest(model, settings, kept):
    ids = prompts(1)[0]
    p = plain(model, ids, (0,)).exp()[0].numpy()
    allowed = kept(p)
    replies = TransformersEngine(model).sample(
        [job(ids, seed, max_new_tokens=1, **settings) for seed in range(300)]
    )
    for reply in replies:
        assert allowed[reply.ids[0]]
        assert np.exp(reply.logprobs[0]) == pytest.approx(p[reply.ids[0]] / p[allowed].sum(), rel=1e-4)


def test_temperature_is_that_of_each_job(model):
    ids = prompts(1)[0]
    warm, cold = TransformersEngine(model).sample(
        [job(ids, 1, temperature=2.0), job(ids, 1, temperature=0.5)]
    )
    logits = plain(model, ids, (0,))[0]
    for reply, temperature in ((warm, 2.0), (cold, 0.5)):
        logp = (logits / temperature).log_softmax(-1)
        assert reply.logprobs[0] == pytest.approx(float(logp[reply.ids[0]]), abs=1e-4)


def test_a_constrained_reply_is_one_of_those_allowed(model):
    ids, end = prompts(1)[0], model.end
    allowed = ((1, 2, end), (1, 3, end), (4, end))
    replies = TransformersEngine(model).sample([job(ids, seed, allowed=allowed) for seed in range(60)])
    assert {reply.ids for reply in replies} == set(allowed)
    for reply in replies:
        logp = plain(model, ids, reply.ids)
        shares = [logp[0, [1, 4]].exp(), logp[1, [2, 3]].exp() if reply.ids[0] == 1 else torch.ones(1)]
        first = shares[0][[1, 4].index(reply.ids[0])] / shares[0].sum()
        second = shares[1][reply.ids[1] - 2] / shares[1].sum() if reply.ids[0] == 1 else 1.0
        assert np.exp(reply.logprobs[:2].sum()) == pytest.approx(float(first * second), rel=1e-3)


def test_a_stop_string_ends_a_reply(model):
    ids = prompts(1)[0]
    free = TransformersEngine(model).sample([job(ids, seed) for seed in range(30)])
    cut = TransformersEngine(model).sample([job(ids, seed, stop=("a", "e")) for seed in range(30)])
    for whole, reply in zip(free, cut, strict=True):
        ends = [n for n in range(1, len(whole.ids) + 1) if set("ae") & set(model.decode(whole.ids[:n]))]
        assert reply.ids == whole.ids[: ends[0] if ends else None]
        assert reply.stopped == (bool(ends) or whole.stopped)
    assert any(len(reply.ids) < len(whole.ids) for whole, reply in zip(free, cut, strict=True))


def test_what_does_not_fit_is_refused_and_what_nearly_fits_is_cut(model):
    engine = TransformersEngine(model)
    with pytest.raises(ConfigError, match="4096"):
        engine.submit([job((1,) * 4096)])
    reply = engine.sample([job((1,) * 4090, max_new_tokens=50)])[0]
    assert len(reply.ids) <= 6
    with pytest.raises(UnknownName, match="adapter"):
        engine.sample([job((1,)), job((1,))._replace(adapter="other")])
    engine.forget()  # nothing of it is under way


def test_weights_do_not_change_under_way_and_sessions_can_be_dropped(model):
    engine = TransformersEngine(model)
    engine.submit([job(ids, session=f"s{i}") for i, ids in enumerate(prompts(4))])
    with pytest.raises(RuntimeError, match="under way"):
        engine.forget()
    engine.close([f"s{i}" for i in range(4)])
    engine.forget()
    assert engine.poll() == []
    engine.submit([job(ids, i, session=f"s{i}") for i, ids in enumerate(prompts(4))])
    came = [one.session for one, _ in engine.poll()]
    left = sorted({"s0", "s1", "s2", "s3"} - set(came))
    engine.close(left[:1])
    while ready := engine.poll():
        came += [one.session for one, _ in ready]
    assert sorted(came) == sorted({"s0", "s1", "s2", "s3"} - set(left[:1]))


def test_memory_is_given_back_when_nothing_is_under_way(model):
    engine = TransformersEngine(model)
    one, other = (job(prompts(1)[0], seed)._replace(session=str(seed)) for seed in range(2))
    engine.sample([one])
    engine.submit([other])
    engine.close(["0"])
    batch = engine._batches[""]
    engine.poll()
    assert batch.lanes.layers
    engine.close(["1"])
    assert not batch.lanes.layers
    assert len(engine.sample([job(prompts(1)[0])])) == 1


def test_a_window_that_all_layers_have_is_heeded(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    folder = make_tiny(tmp_path, width=32, layers=2, heads=4)
    vocabulary = CausalModel(folder).vocabulary
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=6, max_position_embeddings=128,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    model = CausalModel(folder)
    ids = prompts(1, low=40, high=41)[0]
    reply = TransformersEngine(model).sample([job(ids)])[0]
    logp = plain(model, ids, reply.ids)
    chosen = logp[torch.arange(len(reply.ids)), torch.tensor(reply.ids)]
    np.testing.assert_allclose(reply.logprobs, chosen.numpy(), atol=2e-5)


def test_layers_that_look_at_a_window_are_sampled_as_they_score(tmp_path):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = make_tiny(tmp_path, width=32, layers=2, heads=4)
    config = Qwen3Config.from_pretrained(folder)
    config.layer_types, config.use_sliding_window, config.sliding_window = (
        ["sliding_attention", "full_attention"], True, 8,
    )  # fmt: skip
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    model = CausalModel(folder)
    ids = prompts(1, low=40, high=41)[0]
    reply = TransformersEngine(model).sample([job(ids)])[0]
    logp = plain(model, ids, reply.ids)
    np.testing.assert_allclose(
        reply.logprobs, logp[torch.arange(len(reply.ids)), torch.tensor(reply.ids)].numpy(), atol=2e-5
    )
