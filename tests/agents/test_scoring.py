"""Scoring without padding: the same numbers and gradients as with it, whatever the model and the split."""

import json

import numpy as np
import pytest

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.core.play import play

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ludus.agents.language.local import LanguageModel  # noqa: E402
from ludus.agents.language.models import scoring  # noqa: E402
from ludus.agents.language.models.causal import CausalModel  # noqa: E402
from ludus.agents.language.models.tiny import make_tiny  # noqa: E402

SIZES = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
CONFIGS = {
    "qwen3": lambda: transformers.Qwen3Config(**SIZES),
    "llama": lambda: transformers.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"], final_logit_softcapping=4.0
    ),
    "granite": lambda: transformers.GraniteConfig(
        **{k: v for k, v in SIZES.items() if k != "head_dim"}, logits_scaling=3.0
    ),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=256),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("scoring"), width=32, heads=4)


@pytest.fixture(scope="module")
def asked():
    """Prompts, some of which go on from others, and replies, some of which are asked twice."""
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(0, 250, rng.integers(5, 40)).tolist()) for _ in range(6)]
    prompts += [(*prompt, 1, 2, 3) for prompt in prompts]
    replies = [
        (int(rng.integers(12)), tuple(rng.integers(0, 250, rng.integers(1, 8)).tolist())) for _ in range(30)
    ]
    return prompts, [*replies, *replies[:5]]


def of(kind, folder, path):
    """A model of another family, with the tiny one's tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(CONFIGS[kind]())
    model.save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(path)
    return path


def learn(model, asked, rows=None):
    """Scores, and the gradient of a sum over them, weighted by what is asked and not by where it stands."""
    prompts, replies = asked
    rows = range(len(replies)) if rows is None else rows
    scored = model.score(prompts, [replies[row] for row in rows])
    weight = torch.cos(
        torch.tensor([[row + 3.0 * t for t in range(scored.logprobs.shape[1])] for row in rows])
    )
    loss = (scored.logprobs * weight).sum() + (scored.entropy * weight.sin()).sum()
    if scored.values is not None:
        loss = loss + (scored.values * weight).sum()
    (loss / 20).backward()
    return scored, {name: weight.grad for name, weight in model.weights().items() if weight.grad is not None}


def same(ones, others, tolerance=1e-5):
    assert set(ones) == set(others)
    assert all(
        torch.allclose(ones[name].float(), others[name].float(), rtol=0, atol=tolerance) for name in ones
    )
    assert max(gradient.abs().max() for gradient in ones.values()) > 1e-2


# ------------------------------------------------------------------------------------- equality
@pytest.mark.parametrize("kind", CONFIGS)
def test_packed_and_padded_agree_for_any_family(kind, folder, tmp_path, asked):
    path = of(kind, folder, tmp_path)
    one, ours = learn(CausalModel(path), asked)
    other, theirs = learn(CausalModel(path, packing=False), asked)
    assert torch.allclose(one.logprobs, other.logprobs, atol=1e-5)
    assert torch.allclose(one.entropy, other.entropy, atol=1e-5)
    same(ours, theirs)


@pytest.mark.parametrize("packing", [True, False])
def test_scores_are_those_of_a_plain_pass(folder, asked, packing):
    model = CausalModel(folder, packing=packing, temperature=1.7)
    with torch.no_grad():
        scored = model.score(*asked)
        for row, (which, tokens) in enumerate(asked[1]):
            ids = torch.tensor([[*asked[0][which], *tokens]])
            logp = (model.model(ids).logits[0] / 1.7).log_softmax(-1)[len(asked[0][which]) - 1 : -1]
            count = len(tokens)
            chosen = logp[torch.arange(count), torch.tensor(tokens)]
            assert torch.allclose(scored.logprobs[row, :count], chosen, atol=1e-5)
            assert torch.allclose(scored.entropy[row, :count], -(logp.exp() * logp).sum(-1), atol=1e-5)
            assert torch.allclose(scored.collision[row, :count], logp.exp().square().sum(-1), atol=1e-6)
            assert not scored.logprobs[row, count:].any()


@pytest.mark.parametrize("settings", [{}, {"packing": False}, {"checkpoint": True}, {"lora": {"rank": 2}}])
def test_gradients_do_not_depend_on_how_a_batch_is_split(folder, asked, settings):
    whole = CausalModel(folder, **settings)
    parts = CausalModel(folder, **settings)
    _, ours = learn(whole, asked)
    for rows in np.array_split(np.random.default_rng(1).permutation(len(asked[1])), 4):
        _, theirs = learn(parts, asked, rows.tolist())
    same(ours, theirs)


@pytest.mark.parametrize("packing", [True, False])
def test_checkpoints_and_pieces_of_the_vocabulary_change_nothing(folder, asked, monkeypatch, packing):
    _, ours = learn(CausalModel(folder, packing=packing), asked)
    _, again = learn(CausalModel(folder, packing=packing, checkpoint=True), asked)
    same(ours, again)
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 2000)
    _, pieces = learn(CausalModel(folder, packing=packing), asked)
    same(ours, pieces)


def test_much_is_scored_in_parts(folder, asked, monkeypatch):
    model = CausalModel(folder)
    with torch.no_grad():
        whole = model.score(*asked)
        monkeypatch.setattr(scoring, "READ_AT_ONCE", 200)
        parts = model.score(*asked)
    for one, other in zip(whole[:3], parts[:3], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_same_batch_gives_the_same_bits(folder, asked):
    prints = []
    for _ in range(2):
        _, gradients = learn(CausalModel(folder), asked)
        prints.append(b"".join(gradient.numpy().tobytes() for gradient in gradients.values()))
    assert prints[0] == prints[1]


def test_checkpoints_leave_less_behind_for_the_gradient(folder, asked):
    kept = []
    for checkpoint in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            CausalModel(folder, checkpoint=checkpoint).score(*asked)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


# ------------------------------------------------------------------------------- types and heads
@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"autocast": "bfloat16"}])
@pytest.mark.parametrize("packing", [True, False])
def test_half_the_bits_are_near_enough(folder, asked, settings, packing):
    exact, _ = learn(CausalModel(folder, packing=packing), asked)
    model = CausalModel(folder, packing=packing, **settings)
    rough, gradients = learn(model, asked)
    assert rough.logprobs.dtype == torch.float32
    assert 0 < (exact.logprobs - rough.logprobs).abs().max() < 0.05
    kind = torch.bfloat16 if "dtype" in settings else torch.float32
    assert {gradient.dtype for gradient in gradients.values()} == {kind}


def test_a_new_value_head_says_nothing_learns_and_is_saved(folder, tmp_path, asked):
    model = LanguageModel(folder, value_head=True)
    rows = Ledger.of(list(play("kuhn_poker", {"player": model}, range(4)))).rows()
    scores = model.score(rows)
    assert not scores.values.any()
    scores.values.sum().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.model.value_head.parameters())
    model.load({name: weight + 0.1 * ("value" in name) for name, weight in model.state().items()})
    scores = model.score(rows)
    assert scores.token_values.shape == rows.ids.shape
    assert torch.equal(scores.values, scores.token_values[:, 0])
    model.save(tmp_path)
    again = LanguageModel(tmp_path)
    assert again.fingerprint() == model.fingerprint()
    assert torch.equal(again.score(rows).values, scores.values)
    frozen = model.frozen("frozen")
    frozen.load({name: weight + 1 for name, weight in frozen.state().items()})
    assert torch.equal(model.score(rows).values, scores.values)


def test_values_are_those_at_the_ends_of_prompts(folder, asked):
    model = CausalModel(folder, value_head=True)
    torch.nn.init.constant_(model.value_head.weight, 0.3)
    with torch.no_grad():
        alone, scored = model.values(asked[0]), model.score(*asked)
    which = [index for index, _ in asked[1]]
    assert torch.allclose(scored.values[:, 0], alone[which], atol=1e-5)
    assert alone.std() > 1e-3


# ------------------------------------------------------------------------------------- refusals
def test_models_that_cannot_be_packed_say_so(folder, tmp_path, asked):
    path = of("qwen3", folder, tmp_path)
    config = json.loads((path / "config.json").read_text())
    mamba = transformers.MambaConfig(
        vocab_size=300, hidden_size=16, state_size=4, num_hidden_layers=1, pad_token_id=0
    )
    transformers.AutoModelForCausalLM.from_config(mamba).save_pretrained(path)
    assert json.loads((path / "config.json").read_text()) != config
    with pytest.raises(ConfigError, match="packing = false"):
        CausalModel(path)
    scored = CausalModel(path, packing=False).score(*asked)
    assert torch.isfinite(scored.logprobs).all()


def test_layers_that_do_not_ask_the_layout_are_found_out(folder, asked):
    model = CausalModel(folder)
    model.model.set_attn_implementation("sdpa")
    with pytest.raises(ConfigError, match=r"0 of 2 layers .* packing = false"):
        model.score(*asked)


def test_what_does_not_fit_the_context_is_not_scored(folder):
    with pytest.raises(ConfigError, match=r"context of 4096 tokens.*5000"):
        CausalModel(folder).score([(1,) * 5000], [(0, (1,))])


def test_a_prompt_that_does_not_fit_names_game_and_seat(folder):
    model = LanguageModel(folder)
    model.model.model.config.max_position_embeddings = 20
    with pytest.raises(ConfigError, match=r"kuhn_poker, player_0: a prompt of \d+ tokens .* is 20: .*memory"):
        list(play("kuhn_poker", {"player": model}, [0]))


def test_unknown_types_are_refused(folder):
    with pytest.raises(UnknownName, match="did you mean 'bfloat16'"):
        CausalModel(folder, autocast="bfloat")
