"""Imitation and preferences: cross-entropy, DPO beside TRL's own code, pairs and filters by hand."""

import dataclasses
from collections import defaultdict
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from babbler import Babbler, talk
from decisions import filled, one_reply_each
from torch.nn.functional import cross_entropy

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.policy import Rows, Scores
from ludus.training.batch import micro_batches
from ludus.training.choices import Named
from ludus.training.estimators.credit import Credit
from ludus.training.learner import Learner
from ludus.training.objectives import objective as o
from ludus.training.objectives.supervised import paired_decisions
from ludus.training.select import FILTERS
from ludus.training.settings import LearnerConfig, Objective, Optimiser, Selector

DPO = Objective(Named("dpo", {"beta": 0.5}), aggregation=Named("decision_token_mean"), entropy_over="tokens")
SFT = Objective(Named("sft"), entropy_over="tokens")
SGD = Optimiser("sgd", rate=1.0, clip=0.0)


def learner(goal, policy=None, **changes):
    policy = policy or Babbler()
    reference = "init" if goal.loss.name == "dpo" else ""
    config = LearnerConfig(
        "main", estimator=Named("returns"), objective=goal, optimiser=SGD, reference=reference
    )
    config = dataclasses.replace(config, **changes)
    anchor = Babbler("anchor", seed=9) if config.reference == "init" else None
    return Learner(config, policy, steps=10, seed=0, anchor=anchor)


# -------------------------------------------------------------------------------- imitation
def test_sft_is_cross_entropy():
    one = learner(SFT)
    ledger = talk(one.policy, forced=0.2)
    ledger = dataclasses.replace(ledger, rollout=np.full_like(ledger.rollout, np.nan))  # nobody reported any
    one.policy.calls = 0
    batch = one.prepare(ledger)
    table = one.policy.table.detach().clone().requires_grad_()
    rows = batch.ledger.rows()
    before = np.concatenate([[p[-1], *ids[:-1]] for p, ids in zip(rows.prompts, rows.ids, strict=True)])
    counted = torch.from_numpy((rows.mask & rows.sampled).ravel())
    expected = cross_entropy(
        table[torch.from_numpy(before)][counted], torch.from_numpy(rows.ids.ravel())[counted]
    )
    (gradient,) = torch.autograd.grad(expected, table)
    log = one.learn(batch, step=1)
    assert log["losses/policy_loss"] == pytest.approx(expected.item(), abs=1e-6)
    assert torch.allclose(table.detach() - one.policy.table.detach(), gradient, atol=1e-6)
    assert not any("approx_kl" in name for name in log)
    assert one.policy.calls == 1  # nothing was scored to compare with


def test_sft_is_what_a_causal_model_calls_its_loss(tmp_path):
    from ludus.agents.language.local import LanguageModel
    from ludus.agents.language.models.tiny import make_tiny

    policy = LanguageModel(make_tiny(tmp_path / "tiny", width=32, layers=1, heads=2))
    rng = np.random.default_rng(0)
    prompt, reply = rng.integers(5, 200, 7), rng.integers(5, 200, (1, 5))
    all_true = np.ones((1, 5), bool)
    rows = Rows((prompt,), reply, all_true, all_true, None, None, np.zeros(1, np.int64))
    scores = policy.score(rows)
    mask = torch.ones(1, 5, dtype=torch.bool)
    blank = torch.zeros(1, 5)
    part = o.Part(mask, torch.ones(1, 1), torch.zeros(1), None, blank, blank, torch.ones(1, 1), blank + 1)
    ours, _ = o.objective(SFT, scores, part, o.Totals.of(mask))
    ids = torch.from_numpy(np.r_[prompt, reply[0]])[None]
    labels = torch.cat([torch.full((1, 7), -100), torch.from_numpy(reply)], 1)
    theirs = policy.model.model(input_ids=ids, labels=labels).loss
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_rejection_fine_tuning_learns_from_winners_alone():
    ledger = one_reply_each([[(1, 2), (-1, 3)], [(0, 1), (0, 2)], [(2, 1), (3, 1), (3, 1)]])
    credit = Credit(np.zeros(len(ledger)), np.zeros(len(ledger)), {})

    def kept(name, **settings):
        return np.flatnonzero(FILTERS.maker(name)(ledger, credit, **settings)).tolist()

    assert kept("won") == [0, 4, 5, 6]
    assert kept("won", above=2) == [5, 6]
    assert kept("best") == [0, 5]
    assert kept("best", count=2) == [0, 1, 5, 6]
    with pytest.raises(ValueError, match="at least one"):
        kept("best", count=0)
    one = learner(SFT, selector=Selector(keep=Named("won")))
    assert one.prepare(ledger).ledger.returns.tolist() == [1, 2, 3, 3]


def test_a_correction_has_nothing_to_compare():
    with pytest.raises(ConfigError, match="no correction"):
        learner(dataclasses.replace(SFT, correction=(Named("truncate"),)))


# ------------------------------------------------------------------------------------- pairs
def test_pairs_by_hand():
    """Two groups at the same prompt, whose third reply is the same as its first."""
    ledger = one_reply_each([[(1, 1), (0, 1), (3, 1), (2, 1)], [(5, 1), (5, 1)]])
    ledger = filled(ledger, ids=[1, 2, 1, 3, 4, 5])
    returns = ledger.returns

    def pairs(**settings):
        return paired_decisions(ledger, returns, **settings).tolist()

    assert pairs() == [[2, 1]]
    assert pairs(pairs="all") == [[0, 1], [2, 1], [2, 3], [3, 0], [3, 1]]  # 2 and 0 said the same
    assert pairs(within="batch") == [[4, 1]]
    with pytest.raises(UnknownName, match="pair decisions"):
        pairs(pairs="some")
    other = dataclasses.replace(ledger, prompts=tuple(np.array([row], np.int64) for row in range(6)))
    assert paired_decisions(other, returns).tolist() == []


@pytest.mark.parametrize("way", ["extremes", "all"])
@pytest.mark.parametrize("form", ["sigmoid", "ipo"])
def test_micro_batches_never_part_a_pair(way, form):
    goal = dataclasses.replace(DPO, loss=Named("dpo", {"pairs": way, "form": form}))
    results = []
    for cut in ({}, {"micro": 1}, {"micro": 3}, {"micro_tokens": 30}, {"micro": 4, "micro_tokens": 60}):
        one = learner(goal, minibatches=2, epochs=2, **cut)
        batch = one.prepare(talk(Babbler(), groups=5, size=4))
        assert batch.together == 2
        assert (batch.advantages[0::2] > batch.advantages[1::2]).all()
        parts = list(
            micro_batches(
                batch.ledger,
                np.arange(len(batch)),
                most=one.config.micro,
                tokens=one.config.micro_tokens,
                together=2,
            )
        )
        assert all((part[0::2] % 2 == 0).all() and (part[0::2] + 1 == part[1::2]).all() for part in parts)
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(batch)))
        results.append((one.learn(batch, step=1), one.policy.table.detach().clone()))
    for log, table in results[1:]:
        assert torch.allclose(table, results[0][1], atol=1e-5)
        assert log == pytest.approx(results[0][0], abs=1e-4)


def test_preferences_are_learned():
    one = learner(DPO)
    ledger = talk(one.policy, groups=8, size=4)
    losses = []
    for step in range(1, 11):
        one.policy.version = 0
        losses.append(one.learn(one.prepare(ledger), step=step)["losses/policy_loss"])
    assert losses[-1] < 0.7 * losses[0]
    with pytest.raises(ConfigError, match="needs a reference"):
        learner(DPO, reference="")
    alike = dataclasses.replace(ledger, rewards=np.zeros_like(ledger.rewards))
    assert one.prepare(alike) is None


# ------------------------------------------------------------------------------ beside TRL's
class Pairs:
    """Pairs of replies of different lengths."""

    def __init__(self, pairs=5, width=7):
        g = torch.Generator().manual_seed(2)
        self.mask = torch.arange(width) < torch.randint(1, width + 1, (2 * pairs, 1), generator=g)
        self.new = (-2 * torch.rand(2 * pairs, width, generator=g)).requires_grad_()
        self.reference = self.new.detach() + torch.randn(self.new.shape, generator=g)

    def of_ours(self, **settings):
        goal = dataclasses.replace(DPO, loss=Named("dpo", settings))
        scores, one = Scores(self.new, self.mask, torch.zeros_like(self.new)), torch.ones(len(self.mask), 1)
        blank = torch.zeros_like(self.new)
        part = o.Part(
            self.mask,
            one,
            torch.zeros(len(self.mask)),
            None,
            blank,
            blank,
            one,
            blank + 1,
            reference=self.reference,
        )
        loss, _ = o.objective(goal, scores, part, o.Totals.of(self.mask))
        return loss, torch.autograd.grad(loss, self.new)[0]

    def of_trl(self, dpo, kind, beta, smoothing):
        one = dpo.__new__(dpo)
        accelerator = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x, device="cpu")
        vars(one).update(
            model=SimpleNamespace(training=True), accelerator=accelerator, _metrics={"train": defaultdict(list)},
            aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=False, ref_model=self.model(self.reference),
            f_divergence_type="reverse_kl", loss_types=[kind], loss_weights=[1.0], beta=beta, label_smoothing=smoothing,
            use_weighting=False, _total_train_tokens=0, _tp_size=1,
            args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        )  # fmt: skip
        ours_first = torch.cat([torch.zeros(len(self.mask), 1), self.mask], 1).long()  # a prompt of one token
        mask = self.theirs(ours_first)
        loss = one._compute_loss(
            self.model(self.new), {"input_ids": mask, "attention_mask": mask, "completion_mask": mask}, False
        )
        return loss, torch.autograd.grad(loss, self.new)[0]

    @staticmethod
    def theirs(column):
        """Better ones first, then worse ones."""
        return torch.cat([column[0::2], column[1::2]])

    def model(self, column):
        said, blank = self.theirs(column * self.mask), torch.zeros(self.mask.shape)

        def call(**inputs):
            return SimpleNamespace(log_probs=said, entropy=blank, mean_logits=blank, is_top1=blank.bool())

        return call


@pytest.mark.parametrize(
    ("form", "kind", "smoothing"), [("sigmoid", "sigmoid", 0), ("robust", "robust", 0.2), ("ipo", "ipo", 0)]
)
def test_dpo_is_trls(form, kind, smoothing):
    imports = pytest.importorskip("trl.import_utils", reason="needs trl")
    with mock.patch.object(imports, "is_vllm_available", return_value=False):
        module = pytest.importorskip("trl.trainer.dpo_trainer")
    pairs = Pairs()
    with (
        mock.patch.object(module, "is_peft_model", return_value=False),
        mock.patch.object(module, "disable_gradient_checkpointing", return_value=mock.MagicMock()),
    ):
        theirs = pairs.of_trl(module.DPOTrainer, kind, 0.3, smoothing)
    ours = pairs.of_ours(beta=0.3, form=form, smoothing=smoothing)
    assert torch.allclose(ours[0], theirs[0], atol=1e-6)
    assert torch.allclose(ours[1], theirs[1], atol=1e-6)
    assert theirs[1].abs().max() > 1e-3


def test_smoothing_is_the_loss_with_labels_turned_round():
    pairs = Pairs()
    plain, _ = pairs.of_ours(beta=0.3)
    smooth, _ = pairs.of_ours(beta=0.3, smoothing=0.25)
    turned = Pairs()
    turned.mask, turned.reference = (
        x.reshape(-1, 2, x.shape[1]).flip(1).reshape(x.shape) for x in (pairs.mask, pairs.reference)
    )
    turned.new = (
        pairs.new.detach()
        .reshape(-1, 2, pairs.new.shape[1])
        .flip(1)
        .reshape(pairs.new.shape)
        .requires_grad_()
    )
    other, _ = turned.of_ours(beta=0.3)
    assert smooth.item() == pytest.approx(0.75 * plain.item() + 0.25 * other.item(), abs=1e-6)
    for wrong in ({"beta": 0.0}, {"smoothing": 0.5}):
        with pytest.raises(ConfigError, match="must be positive"):
            pairs.of_ours(**wrong)
