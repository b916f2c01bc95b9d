"""Policy losses and modifiers: published numbers, what holds for all of them, and mutations that are seen."""

import math

import numpy as np
import pytest
import torch
from mutants import broken

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.policy import Scores
from ludus.core.registry import Registry
from ludus.training.choices import Named
from ludus.training.objectives import aggregations, losses, sequence_losses, terms
from ludus.training.objectives import objective as o
from ludus.training.objectives.terms import Field, Terms, mark, settings_of
from ludus.training.settings import Objective

MODULES = {"losses": losses, "sequence_losses": sequence_losses, "aggregations": aggregations}


def of(ratios, advantages, *, rollout=None, **more):
    """Terms whose old log-probabilities are -1 and whose ratios are given, (N, T) or (T,) for one decision."""
    gap = torch.tensor(ratios, dtype=torch.float64).log()
    gap = gap[None] if gap.dim() == 1 else gap
    old = torch.full_like(gap, -1.0)
    new = (old + gap).requires_grad_()
    given = torch.tensor(advantages, dtype=torch.float64).reshape(
        -1, 1 if np.ndim(advantages) == 0 else gap.shape[1]
    )
    rollout = old if rollout is None else torch.tensor(rollout, dtype=torch.float64).reshape(old.shape)
    mask = torch.ones_like(old, dtype=torch.bool)
    return Terms.of(new, old, rollout, given, mask, torch.zeros_like(old), **more), new


def gradient(loss, new):
    return torch.autograd.grad(loss.sum(), new)[0].flatten().tolist()


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


# --------------------------------------------------------------------------------- the vectors
def ppo_clip(m):
    here, _ = of([1.5, 0.5, 1.5, 5.0, 0.5], [1.0, 1.0, -1.0, -1.0, -1.0])
    got = m["losses"].clip(here, low=0.2, high=0.2, dual=3.0)
    assert got.flatten().tolist() == pytest.approx([-1.2, -0.5, 1.5, 3.0, 0.8])
    assert m["losses"].clip(here).flatten().tolist() == pytest.approx([-1.2, -0.5, 1.5, 5.0, 0.8])


def ppo_clip_sides(m):
    """Clipping higher (DAPO) moves the upper bound only."""
    here, _ = of([1.25, 2.0, 0.5], [1.0, 1.0, -1.0])
    assert m["losses"].clip(here, high=0.28).flatten().tolist() == pytest.approx([-1.25, -1.28, 0.8])


def two_sided_by_hand(m):
    here, _ = of([5.0, 3.0, 5.0, 0.1], [-1.0, -1.0, 1.0, -1.0])
    assert m["losses"].two_sided(here).flatten().tolist() == pytest.approx([4.0, 3.0, -1.2, 0.8])


def sapo_gate(m):
    here, _ = of([1.5, 1.5], [1.0, -1.0])
    assert m["losses"].sapo(here).flatten().tolist() == pytest.approx([-2.489837, 2.393585], abs=5e-7)


def cispo_keeps_the_gradient_of_clipped_tokens(m):
    here, new = of([10.0, 0.1, 10.0], [2.0, 2.0, -2.0])
    assert gradient(m["losses"].cispo(here), new) == pytest.approx([-10.0, -0.2, 10.0])
    here, new = of([10.0, 0.1, 10.0], [2.0, 2.0, -2.0])
    assert gradient(m["losses"].cispo_clip(here), new) == pytest.approx([-2.4, -1.6, 2.4])


def nft_wrong(m):
    here, _ = of([[1.0], [1.2], [0.8]], 1.0, rate=column(0.25, 0.25, 0.25), right=column(0, 0, 0))
    got = m["losses"].nft(here, balance="none")
    assert got.flatten().tolist() == pytest.approx([0.0, 0.0, -0.064539], abs=5e-7)
    assert m["losses"].nft(here, balance="none", negative=0.0).abs().sum() == 0


def nft_right_and_its_weights(m):
    here, _ = of([[1.5], [1.5]], 1.0, rate=column(0.25, 0.0), right=column(1, 1))
    log = math.log(1.5)
    assert m["losses"].nft(here).flatten().tolist() == pytest.approx([-0.75 * log, -0.98 * log])
    got = m["losses"].nft(here, balance="standard").flatten().tolist()
    assert got == pytest.approx([-math.sqrt(3) * log, -7 * log])


def nft_is_the_centred_policy_gradient(m):
    rate, right = column(0.25, 0.25, 0.75), column(1, 0, 0)
    here, new = of([[1.0], [1.0], [1.0]], 1.0, rate=rate, right=right)
    assert gradient(m["losses"].nft(here), new) == pytest.approx([-0.75, 0.25, 0.75])


def dppo_looks_at_probabilities(m):
    """From .3 to .6 and from .6 to .3, and from .01 to .02: only what goes too far with its advantage is dropped."""
    old = [math.log(p) for p in (0.3, 0.3, 0.6, 0.6, 0.01)]
    here = Terms.of(
        torch.tensor([[math.log(p) for p in (0.6, 0.6, 0.3, 0.3, 0.02)]]).double(), torch.zeros(1, 5).double(),
        torch.tensor([old]).double(), torch.tensor([[1.0, -1, 1, -1, 1]]).double(), torch.ones(1, 5).bool(),
        torch.zeros(1, 5),
    )  # fmt: skip
    pull = 1e-3 * math.log(2) ** 2
    got = m["losses"].dppo(here).flatten().tolist()
    assert got == pytest.approx([pull, 2 + pull, -0.5 + pull, pull, -2 + pull])
    got = m["losses"].ipo(here).flatten().tolist()
    assert got == pytest.approx([pull, pull, pull, pull, -2 + pull])


def gspo_by_hand(m):
    ratios = [math.exp(0.1), math.exp(0.3)]
    here, new = of(ratios, 2.0)
    loss = m["sequence_losses"].gspo(here, low=0.5, high=0.5)
    assert loss.flatten().tolist() == pytest.approx([-2 * math.exp(0.2)] * 2)
    assert gradient(loss, new) == pytest.approx([-2 * math.exp(0.2)] * 2)
    here, new = of(ratios, [2.0, 1.0])  # every token has a gradient of its own
    loss = m["sequence_losses"].gspo(here, low=0.5, high=0.5)
    assert gradient(loss, new) == pytest.approx([-2 * math.exp(0.2), -math.exp(0.2)])
    here, new = of(ratios, 2.0)
    loss = m["sequence_losses"].gspo(here)
    assert loss.flatten().tolist() == pytest.approx([-2 * 1.0004] * 2)
    assert gradient(loss, new) == [0, 0]


def gspo_of_one_token_is_ppo(m):
    for name in ("gspo", "luspo"):
        one, new = of([[1.5], [0.5], [1.1], [0.9]], [[1.0], [1.0], [-1.0], [-1.0]])
        other, now = of([[1.5], [0.5], [1.1], [0.9]], [[1.0], [1.0], [-1.0], [-1.0]])
        got = getattr(m["sequence_losses"], name)(one, low=0.2, high=0.3)
        expected = losses.clip(other, low=0.2, high=0.3)
        assert got.flatten().tolist() == pytest.approx(expected.flatten().tolist())
        assert gradient(got, new) == pytest.approx(gradient(expected, now))


def gmpo_by_hand(m):
    here, _ = of([math.exp(0.9), math.exp(-0.8)], 1.0)
    assert m["sequence_losses"].gmpo(here).flatten().tolist() == pytest.approx([-math.exp(-0.2)] * 2)
    here, _ = of([math.exp(-0.9), math.exp(0.1)], -1.0)
    assert m["sequence_losses"].gmpo(here, low=0.3).flatten().tolist() == pytest.approx([math.exp(-0.1)] * 2)


def rloo_by_hand(m):
    for ratios, held in (([math.exp(0.1), math.exp(0.05)], math.exp(0.15)), ([1.2, 1.2], 1.2)):
        here, _ = of(ratios, 3.0)
        got = m["sequence_losses"].rloo_sequence(here)
        assert got.flatten().tolist() == pytest.approx([-3 * held / 2] * 2)


def vespo_phi(m):
    for w, advantage, phi in ((1, 1, 1), (2, 1, 0.199148), (0.5, -1, 0.339785)):
        here, new = of([[float(w)]], [[float(advantage)]])
        got = gradient(m["sequence_losses"].vespo(here), new)
        assert got == pytest.approx([-phi * advantage], abs=5e-7)


def vespo_weighs_whole_replies_and_the_mismatch(m):
    """Ratios 2 and 1/2, and an engine that thought both tokens 1/sqrt(2) as likely: together w = 2."""
    here, new = of([2.0, 0.5], 1.0, rollout=[-1 - math.log(2) / 2] * 2)
    assert gradient(m["sequence_losses"].vespo(here), new) == pytest.approx([-0.199148] * 2, abs=5e-7)


FIELD = Field(
    np.array([-0.5, -2.5, -0.5, -2.5]), np.array([3.0, -3.0, -3.0, 3.0]), np.array([0.1, 0.4, 0.2, 0.3])
)  # covariances 3, 3, -3, -3


def covariances_by_hand(m):
    assert m["losses"].covariance(FIELD).tolist() == [3, 3, -3, -3]
    drawn = mark(m["losses"].clip_cov, {"share": 0.5}, FIELD, np.random.default_rng(0))
    assert drawn.tolist() == [True, True, False, False]
    one = {tuple(mark(m["losses"].clip_cov, {}, FIELD, np.random.default_rng(s)).tolist()) for s in range(20)}
    assert one == {(True, False, False, False), (False, True, False, False)}
    assert not mark(m["losses"].clip_cov, {"most": 2.0}, FIELD, np.random.default_rng(0)).any()
    lop = FIELD._replace(advantages=np.array([5.0, -3.0, -3.0, 1.0]))  # 5, 3, -3, -1
    assert mark(m["losses"].kl_cov, {}, lop, np.random.default_rng(0)).tolist() == [True, False, False, False]
    assert mark(m["losses"].kl_cov, {"share": 0.5}, lop, None).tolist() == [True, True, False, False]


def covariance_losses_by_hand(m):
    marked = torch.tensor([[True, False]])
    here, new = of([1.1, 1.1], 2.0, marked=marked)
    loss = m["losses"].clip_cov(here)
    assert loss.flatten().tolist() == pytest.approx([0.0, -2.2])
    assert gradient(loss, new) == pytest.approx([0.0, -2.2])
    here, _ = of([1.1, 1.1], 2.0, marked=marked)
    got = m["losses"].kl_cov(here, coefficient=0.5).flatten().tolist()
    assert got == pytest.approx([-2.2 + 0.5 * math.log(1.1), -2.2])


def left_replies_are_dropped(m):
    ratios = [[1.0, 0.3], [1.0, 0.3], [1.0, 0.9]]
    here, _ = of(ratios, [[1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    assert m["losses"].off_policy_sequence_mask(here, delta=0.5).tolist() == [[1, 1], [0, 0], [1, 1]]
    assert m["losses"].off_policy_sequence_mask(here, delta=0.7).tolist() == [[1, 1], [1, 1], [1, 1]]


def uncertain_tokens_are_kept(m):
    kept = mark(m["losses"].top_entropy, {"share": 0.5}, FIELD, np.random.default_rng(0))
    assert kept.tolist() == [False, True, False, True]
    here, _ = of([1.0, 1.0, 1.0, 1.0], 1.0, marked=torch.from_numpy(kept)[None])
    assert m["losses"].top_entropy(here).tolist() == [[0, 1, 0, 1]]


CHECKS = [
    ppo_clip, ppo_clip_sides, two_sided_by_hand, sapo_gate, cispo_keeps_the_gradient_of_clipped_tokens, nft_wrong,
    nft_right_and_its_weights, nft_is_the_centred_policy_gradient, dppo_looks_at_probabilities, gspo_by_hand,
    gspo_of_one_token_is_ppo, gmpo_by_hand, rloo_by_hand, vespo_phi, vespo_weighs_whole_replies_and_the_mismatch,
    covariances_by_hand, covariance_losses_by_hand, left_replies_are_dropped, uncertain_tokens_are_kept,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_vector(check):
    check(MODULES)


# ------------------------------------------------------------------------ what holds for all
EVERY = [
    ("clip", {}), ("clip", {"dual": 3.0}), ("plain", {}), ("two_sided", {}), ("cispo", {}), ("cispo_clip", {}),
    ("sapo", {}), ("nft", {}), ("clip_cov", {}), ("kl_cov", {}), ("dppo", {}), ("ipo", {}), ("gspo", {}), ("luspo", {}),
    ("gmpo", {}), ("rloo_sequence", {}), ("vespo", {}),
]  # fmt: skip
SHARES = [
    ("token_mean", {}), ("decision_token_mean", {}), ("decision_token_sum", {}), ("constant", {"length": 7}),
]  # fmt: skip


def case(name, *, moved=0.0, n=6, t=5):
    """Decisions of which one has no token that counts, and what NFT and marking losses want."""
    g = torch.Generator().manual_seed(0)
    new = (-torch.rand(n, t, generator=g) - 0.1).requires_grad_()
    mask = torch.rand(n, t, generator=g) < 0.7
    mask[0], mask[1, 0] = False, True
    old = new.detach() + moved * torch.randn(n, t, generator=g)
    right = (torch.arange(n) % 2).float()[:, None]
    rate = torch.full((n, 1), 0.5)
    advantages = right - rate if name == "nft" else torch.randn(n, 1, generator=g)
    marks = {name: torch.rand(n, t, generator=g) < 0.3} if name in ("clip_cov", "kl_cov") else {}
    return new, mask, {
        "mask": mask, "advantages": advantages, "targets": torch.zeros(n), "values": None, "old": old,
        "rollout": old, "weight": torch.ones(n, 1), "correction": torch.ones(n, t), "rate": rate, "right": right,
        "marks": marks,
    }  # fmt: skip


def total(goal, new, mask, fields, totals):
    scores = Scores(new, mask, torch.zeros_like(new))
    return o.objective(goal, scores, o.Part(**fields), totals)


def cut(fields, rows):
    return {
        name: {k: v[rows] for k, v in value.items()} if isinstance(value, dict) else None if value is None else value[rows]
        for name, value in fields.items()
    }  # fmt: skip


def _fitting():
    for loss, settings in EVERY:
        takes = getattr(o.POLICY_LOSSES.maker(loss), "aggregations", ())
        for share, length in SHARES:
            if not takes or share in takes:
                yield pytest.param(
                    Objective(Named(loss, settings), aggregation=Named(share, length), entropy_over="tokens"),
                    id=f"{loss}-{share}-{len(settings)}",
                )


FITTING = list(_fitting())


def test_every_loss_is_among_them():
    ours = {losses.__name__, sequence_losses.__name__}
    known = {name for name in o.POLICY_LOSSES.names() if o.POLICY_LOSSES.maker(name).__module__ in ours}
    assert {name for name, _ in EVERY} == known
    assert len(known) == 16


@pytest.mark.parametrize("goal", FITTING)
def test_at_ratio_one_the_gradient_is_that_of_the_policy_gradient(goal):
    name = goal.loss.name
    new, mask, fields = case(name)
    totals = o.Totals.of(mask)
    loss, _ = total(goal, new, mask, fields, totals)
    (got,) = torch.autograd.grad(loss, new)
    share = o.AGGREGATIONS.maker(goal.aggregation.name)(mask, totals, **goal.aggregation.settings)
    expected = -fields["advantages"] * share
    if name == "clip_cov":  # the tokens that it draws are left alone
        expected = expected.masked_fill(fields["marks"][name], 0.0)
    assert torch.allclose(got, expected)
    assert got.abs().sum() > 0


@pytest.mark.parametrize("goal", FITTING)
def test_masked_tokens_and_the_cut_into_micro_batches_change_nothing(goal):
    new, mask, fields = case(goal.loss.name, moved=0.3)
    totals = o.Totals.of(mask)
    loss, log = total(goal, new, mask, fields, totals)
    (expected,) = torch.autograd.grad(loss, new)
    parts, summed = torch.zeros_like(new), dict.fromkeys(log, 0.0)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        part, numbers = total(goal, new[rows], mask[rows], cut(fields, rows), totals)
        parts += torch.autograd.grad(part, new)[0]
        summed = {key: summed[key] + numbers[key] for key in numbers}
    assert torch.allclose(parts, expected, atol=1e-7)
    assert summed == pytest.approx(log, abs=1e-6)

    junk = torch.full((6, 3), -400.0)
    wide = {
        key: torch.cat([value, junk.bool() if value.dtype == torch.bool else junk], 1)
        if isinstance(value, torch.Tensor) and value.shape == mask.shape and key != "mask"
        else value
        for key, value in fields.items()
    }
    wide["marks"] = {key: torch.cat([value, junk.bool()], 1) for key, value in fields["marks"].items()}
    wide["mask"] = torch.cat([mask, torch.zeros(6, 3, dtype=torch.bool)], 1)
    more = torch.cat([new, junk.nan_to_num()], 1)
    again, _ = total(goal, more, wide["mask"], wide, o.Totals.of(wide["mask"]))
    assert torch.allclose(torch.autograd.grad(again, new)[0], expected, atol=1e-7)


@pytest.mark.parametrize(("name", "settings"), EVERY)
def test_no_ratio_overflows(name, settings):
    new, mask, fields = case(name)
    for far in (-500.0, 500.0):
        here = Terms.of(
            new, fields["old"] + far, fields["rollout"] + far, fields["advantages"], mask, torch.zeros_like(new),
            rate=fields["rate"], right=fields["right"], marked=torch.zeros_like(mask),
        )  # fmt: skip
        loss = o.POLICY_LOSSES.maker(name)(here, **settings)
        assert torch.isfinite(loss[mask]).all()
        assert torch.isfinite(torch.autograd.grad(loss[mask].sum(), new)[0]).all()


def test_modifiers_multiply():
    new, mask, fields = case("clip", moved=0.3)
    totals = o.Totals.of(mask)
    marked = torch.rand(6, 5, generator=torch.Generator().manual_seed(5)) < 0.5
    fields |= {"marks": {"top_entropy": marked}}
    both = Objective(
        Named("plain"), (Named("off_policy_sequence_mask", {"delta": -9.0}), Named("top_entropy")),
        entropy_over="tokens",
    )  # fmt: skip
    loss, _ = total(both, new, mask, fields, totals)
    (got,) = torch.autograd.grad(loss, new)
    ratio = (new - fields["old"]).exp().detach()
    keep = marked & mask & (fields["advantages"] >= 0)
    assert torch.allclose(got, -fields["advantages"] * ratio * keep / totals.tokens)


def test_what_does_not_go_together_is_refused():
    new, mask, fields = case("clip")
    totals = o.Totals.of(mask)
    for goal, why in (
        (Objective(Named("luspo")), "decision_token_sum or constant"),
        (Objective(Named("dppo"), correction=(Named("truncate"),)), "no correction"),
        (Objective(Named("clip", {"dual": 1.1})), "must exceed"),
        (Objective(Named("two_sided", {"most": 1.1})), "must exceed"),
        (Objective(Named("clip_cov")), "marked"),
        (Objective(Named("plain"), (Named("top_entropy"),)), "marked"),
    ):
        with pytest.raises(ConfigError, match=why):
            total(goal, new, mask, fields, totals)
    with pytest.raises(ConfigError, match="succeeded"):
        total(Objective(Named("nft")), new, mask, fields | {"rate": None}, totals)
    with pytest.raises(UnknownName, match="balance"):
        total(Objective(Named("nft", {"balance": "centered"})), new, mask, fields, totals)
    with pytest.raises(UnknownName, match="high"):
        total(Objective(Named("clip", {"hihg": 0.3})), new, mask, fields, totals)


def test_markers_settings_are_the_losses_own():
    assert settings_of(losses.clip_cov) == ["low", "high", "share", "least", "most"]
    assert settings_of(losses.top_entropy) == ["share"]


# ------------------------------------------------------------------------------- the mutations
MUTATIONS = [
    ("losses", "torch.maximum(-advantages * ratio, -advantages", "torch.minimum(-advantages * ratio, -advantages", {ppo_clip}),
    ("losses", "-advantages * ratio.clamp(1 - low, 1 + high))", "-advantages * ratio.clamp(1 - high, 1 + low))", {ppo_clip_sides}),
    ("losses", "torch.where(advantages < 0, torch.minimum(loss", "torch.where(advantages > 0, torch.minimum(loss", {ppo_clip}),
    ("losses", "terms.ratio.clamp(max=most), bounded", "terms.ratio, bounded", {two_sided_by_hand}),
    ("losses", "terms.ratio.clamp(max=most).detach()", "terms.ratio.clamp(max=most)", {cispo_keeps_the_gradient_of_clipped_tokens}),
    ("losses", "advantages > 0, advantages.new_tensor(good)", "advantages < 0, advantages.new_tensor(good)", {sapo_gate}),
    ("losses", "left.clamp(min=1.0), left)", "left, left)", {nft_wrong}),
    ("losses", "straight_through(left.clamp(min=1.0), left)", "left.clamp(min=1.0 + 1e-9)", {nft_is_the_centred_policy_gradient}),
    ("losses", "terms.rate.clamp(0.02, 0.98)", "terms.rate.clamp(0.01, 0.99)", {nft_right_and_its_weights}),
    ("losses", "(advantages > 0) & (moved > high)", "(advantages < 0) & (moved > high)", {dppo_looks_at_probabilities}),
    ("losses", "_moved(terms).abs() <= most", "_moved(terms) <= most", {dppo_looks_at_probabilities}),
    ("losses", "(found > least) & (found < most)", "(found > least)", {covariances_by_hand}),
    ("losses", "np.argsort(-found", "np.argsort(found", {covariances_by_hand}),
    ("losses", "(terms.mean(terms.advantages) < 0) & (left", "(terms.mean(terms.advantages) > 0) & (left", {left_replies_are_dropped}),
    ("losses", "terms.mean(terms.rollout - terms.new.detach())", "terms.total(terms.rollout - terms.new.detach())", {left_replies_are_dropped}),
    ("losses", "np.quantile(field.entropy, 1 - share)", "np.quantile(field.entropy, share / 2)", {uncertain_tokens_are_kept}),
    ("sequence_losses", "mean = terms.mean(terms.new", "mean = terms.total(terms.new", {gspo_by_hand}),
    ("sequence_losses", "straight_through(expanded(terms, mean), terms.new)", "expanded(terms, mean)", {gspo_by_hand}),
    ("sequence_losses", "gap.clamp(max=high), gap.clamp(min=-low)", "gap.clamp(-low, high), gap.clamp(-low, high)", {gmpo_by_hand}),
    ("sequence_losses", "low, high) / terms.count", "low, high)", {rloo_by_hand}),
    ("sequence_losses", "rate + k * log_w - rate * log_w.exp()", "k * log_w - rate * log_w.exp()", {vespo_phi}),
    ("sequence_losses", "+ terms.old - terms.rollout", "", {vespo_weighs_whole_replies_and_the_mismatch}),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "seen_by"), MUTATIONS, ids=range(len(MUTATIONS)))
def test_mutation_is_caught(module, old, new, seen_by, tmp_path, monkeypatch):
    monkeypatch.setattr(terms, "POLICY_LOSSES", Registry("policy loss", "none"))  # its names are taken
    monkeypatch.setattr(terms, "MODIFIERS", Registry("modifier", "none"))
    copy = broken(MODULES[module], old, new, tmp_path, monkeypatch)
    for check in seen_by:
        with pytest.raises(AssertionError):
            check({**MODULES, module: copy})
