"""TRL's own loss code and ours: the same loss and gradient from the same tensors.

TRL's methods run as they are, on trainers made without their constructors; mismatch correction is off.
"""

import contextlib
from collections import defaultdict
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch

from ludus.core.policy import Rows, Scores
from ludus.training.choices import Named
from ludus.training.objectives import objective as o
from ludus.training.objectives.terms import Field, mark
from ludus.training.settings import Objective

LENGTH = 16  # the most tokens a completion may have


@pytest.fixture(scope="module")
def trl():
    """TRL's trainers and what they add to models; it need not load vLLM for that."""
    imports = pytest.importorskip("trl.import_utils", reason="needs trl")
    with mock.patch.object(imports, "is_vllm_available", return_value=False):
        grpo = pytest.importorskip("trl.trainer.grpo_trainer")
        rloo = pytest.importorskip("trl.trainer.rloo_trainer")
        utils = pytest.importorskip("trl.trainer.utils")
    return SimpleNamespace(grpo=grpo.GRPOTrainer, rloo=rloo.RLOOTrainer, add_head=utils.add_fused_lm_head)


def accelerator():
    return SimpleNamespace(
        num_processes=1, is_main_process=True, sync_gradients=True, autocast=contextlib.nullcontext, gather=lambda x: x,
        reduce=lambda x, reduction: x, pad_across_processes=lambda x, dim, pad_index: x,
    )  # fmt: skip


def trainer(kind, **changes):
    """A trainer of TRL's with what its loss reads, and nothing else."""
    args = {
        "delta": None, "use_bias_correction_kl": False, "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05,
        "vespo_k_pos": 2.0, "vespo_lambda_pos": 3.0, "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0,
        "steps_per_generation": 1, "report_to": [],
    }  # fmt: skip
    given = {
        "loss_type": "grpo", "importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0,
        "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "use_vllm": False,
        "vllm_importance_sampling_correction": False, "aux_loss_enabled": False, "_entropy_bonus_enabled": False,
        "max_completion_length": LENGTH, "current_gradient_accumulation_steps": 1, "temperature": 1.0,
    }  # fmt: skip
    one = kind.__new__(kind)
    one.args = SimpleNamespace(**{key: changes.pop(key, value) for key, value in args.items()})
    one.model = SimpleNamespace(training=True)
    one.accelerator = accelerator()
    one._metrics = {"train": defaultdict(list)}
    vars(one).update(given | changes)
    return one


class Case:
    """Six replies of different lengths, with log-probabilities that have moved by about a tenth."""

    def __init__(self, seed=0, spread=0.15, rows=6, width=9):
        g = torch.Generator().manual_seed(seed)
        self.mask = torch.arange(width) < torch.randint(1, width + 1, (rows, 1), generator=g)
        self.new = (-torch.rand(rows, width, generator=g) - 0.1).requires_grad_()
        moved = spread * torch.randn(rows, width, generator=g)
        self.old = self.new.detach() + moved
        self.reference = self.new.detach() + 0.3 * torch.randn(rows, width, generator=g)
        self.entropy = torch.rand(rows, width, generator=g)
        self.advantages = torch.randn(rows, generator=g)

    def of_trl(self, one, rloo=False):
        one._get_per_token_logps_and_entropies = lambda *args, **kwargs: (self.new, self.entropy, None)
        loss = one._compute_loss(None, self.inputs(rloo))
        return loss.detach(), torch.autograd.grad(loss, self.new)[0]

    def inputs(self, rloo=False):
        n = len(self.mask)
        tokens = self.mask.long()
        given = {
            "prompt_ids": tokens[:, :1], "prompt_mask": torch.ones(n, 1).long(), "completion_ids": tokens,
            "completion_mask": tokens, "advantages": self.advantages, "num_items_in_batch": self.mask.sum(),
            "old_per_token_logps": self.old, "ref_per_token_logps": self.reference,
        }  # fmt: skip
        return given | ({"old_logps": (self.old * self.mask).sum(1)} if rloo else {})

    def of_ours(self, goal, marks=None):
        scores = Scores(self.new, self.mask, self.entropy)
        part = o.Part(
            mask=self.mask, advantages=self.advantages[:, None], targets=torch.zeros(len(self.mask)), values=None,
            old=self.old, rollout=self.old, weight=torch.ones(len(self.mask), 1),
            correction=torch.ones_like(self.old), reference=self.reference, marks=marks or {},
        )  # fmt: skip
        loss, _ = o.objective(goal, scores, part, o.Totals.of(self.mask))
        return loss.detach(), torch.autograd.grad(loss, self.new)[0]


def same(one, other, tolerance=1e-6):
    assert torch.allclose(one[0], other[0], rtol=0, atol=tolerance)
    assert torch.allclose(one[1], other[1], rtol=0, atol=tolerance)
    assert other[1].abs().max() > 1e-3


BY_DECISION = Named("decision_token_mean")
SUM = Named("decision_token_sum")
CONSTANT = Named("constant", {"length": LENGTH})
PAIRS = {
    "grpo": ({}, Objective(Named("clip"), aggregation=BY_DECISION)),
    "grpo_kl": (
        {"beta": 0.04},
        Objective(Named("clip"), aggregation=BY_DECISION, divergence=0.04, divergence_by="k3"),
    ),
    "grpo_unbiased_kl": (
        {"beta": 0.04, "use_bias_correction_kl": True},
        Objective(
            Named("clip"),
            aggregation=BY_DECISION,
            divergence=0.04,
            divergence_by="k3",
            divergence_weighted=True,
        ),
    ),
    "dr_grpo": ({"loss_type": "dr_grpo"}, Objective(Named("clip"), aggregation=CONSTANT)),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, Objective(Named("clip", {"high": 0.28}))),
    "two_sided": ({"delta": 1.3}, Objective(Named("two_sided", {"most": 1.3}), aggregation=BY_DECISION)),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.1}, Objective(Named("cispo", {"most": 1.1}))),
    "gspo": (
        {"importance_sampling_level": "sequence", "epsilon_low": 0.02, "epsilon_high": 0.03},
        Objective(Named("gspo", {"low": 0.02, "high": 0.03}), aggregation=BY_DECISION),
    ),
    "luspo": (
        {
            "loss_type": "luspo",
            "importance_sampling_level": "sequence",
            "epsilon_low": 0.02,
            "epsilon_high": 0.03,
        },
        Objective(Named("luspo", {"low": 0.02, "high": 0.03}), aggregation=SUM),
    ),
    "sapo": ({"loss_type": "sapo"}, Objective(Named("sapo"), aggregation=BY_DECISION)),
    "vespo": ({"loss_type": "vespo"}, Objective(Named("vespo"))),
    "off_policy_sequence_mask": (
        {"off_policy_mask_threshold": 0.01},
        Objective(Named("clip"), (Named("off_policy_sequence_mask", {"delta": 0.01}),), BY_DECISION),
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PAIRS)
def test_loss_and_gradient_are_those_of_grpo_trainer(name, seed, trl):
    changes, goal = PAIRS[name]
    case = Case(seed)
    same(case.of_trl(trainer(trl.grpo, **changes)), case.of_ours(goal))


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradient_are_those_of_rloo_trainer(seed, trl):
    case = Case(seed)
    one = trainer(trl.rloo)
    same(case.of_trl(one, rloo=True), case.of_ours(Objective(Named("rloo_sequence"), aggregation=SUM)))


def test_the_most_uncertain_tokens_are_those_of_grpo_trainer(trl):
    case = Case(1)
    field = Field(np.zeros(0), np.zeros(0), case.entropy[case.mask].double().numpy())
    choice = Named("top_entropy", {"share": 0.2})
    marked = torch.zeros_like(case.mask)
    kept = mark(o.MODIFIERS.maker("top_entropy"), choice.settings, field, np.random.default_rng(0))
    marked[case.mask] = torch.from_numpy(kept)
    goal = Objective(Named("clip"), (choice,), BY_DECISION)
    theirs = case.of_trl(trainer(trl.grpo, top_entropy_quantile=0.2))
    same(theirs, case.of_ours(goal, {"top_entropy": marked}))
    assert 0 < kept.sum() < 0.3 * len(kept)


# ----------------------------------------------------------------------------- a whole model
SIX = {
    "grpo": ("grpo", *PAIRS["grpo"]),
    "dr_grpo": ("grpo", *PAIRS["dr_grpo"]),
    "dapo": ("grpo", *PAIRS["dapo"]),
    "cispo": ("grpo", *PAIRS["cispo"]),
    "gspo": ("grpo", *PAIRS["gspo"]),
    "rloo": ("rloo", {}, Objective(Named("rloo_sequence"), aggregation=SUM)),
}


@pytest.fixture(scope="module")
def language(tmp_path_factory, trl):
    from ludus.agents.language.local import LanguageModel
    from ludus.agents.language.models.tiny import make_tiny

    path = make_tiny(tmp_path_factory.mktemp("tiny"), width=32, layers=2, heads=2, seed=3)
    policy = LanguageModel(path)
    trl.add_head(policy.model.model, outputs=("log_probs", "entropy"))
    return policy


def dialogue(vocabulary, n=5, seed=0):
    """Prompts and replies of different lengths, as arrays."""
    rng = np.random.default_rng(seed)
    prompts = tuple(rng.integers(5, vocabulary, rng.integers(3, 9)).astype(np.int64) for _ in range(n))
    replies = [rng.integers(5, vocabulary, rng.integers(1, 8)) for _ in range(n)]
    ids, mask = np.zeros((n, max(map(len, replies))), np.int64), np.zeros((n, max(map(len, replies))), bool)
    for row, reply in enumerate(replies):
        ids[row, : len(reply)], mask[row, : len(reply)] = reply, True
    return Rows(prompts, ids, mask, mask, None, None, np.arange(n))


def padded(prompts):
    width = max(map(len, prompts))
    ids, mask = np.zeros((len(prompts), width), np.int64), np.zeros((len(prompts), width), np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


@pytest.mark.parametrize("name", SIX)
def test_weights_of_a_model_get_the_same_gradient(name, language, trl):
    kind, changes, goal = SIX[name]
    model, rows = language.model.model, dialogue(200)
    mask = torch.from_numpy(rows.mask)
    g = torch.Generator().manual_seed(1)
    advantages = torch.randn(len(rows), generator=g)
    with torch.no_grad():
        now = language.score(rows).logprobs
    old = now + 0.15 * torch.randn(now.shape, generator=g)

    scores = language.score(rows)
    part = o.Part(
        mask=mask, advantages=advantages[:, None], targets=torch.zeros(len(rows)), values=None, old=old,
        rollout=old, weight=torch.ones(len(rows), 1), correction=torch.ones_like(old),
    )  # fmt: skip
    loss, _ = o.objective(goal, scores, part, o.Totals.of(mask))
    ours = torch.autograd.grad(loss, language.parameters())

    prompt_ids, prompt_mask = padded(rows.prompts)
    inputs = {
        "prompt_ids": prompt_ids, "prompt_mask": prompt_mask, "completion_ids": torch.from_numpy(rows.ids),
        "completion_mask": mask.long(), "advantages": advantages, "num_items_in_batch": mask.sum(),
        "old_per_token_logps": old, "old_logps": (old * mask).sum(1),
    }  # fmt: skip
    theirs = trainer(getattr(trl, kind), **changes)._compute_loss(model, inputs)
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    for one, other in zip(ours, torch.autograd.grad(theirs, language.parameters()), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in ours) > 1e-2
