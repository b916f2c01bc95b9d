"""Corrections for a mismatch, divergences and controllers: by hand, and mutations that are seen."""

import math

import pytest
import torch
from mutants import broken

from ludus.core.errors import ConfigError, UnknownName
from ludus.training.choices import Named
from ludus.training.objectives import corrections, divergences
from ludus.training.objectives.control import Controls
from ludus.training.objectives.corrections import CORRECTIONS
from ludus.training.settings import Objective

MODULES = {"corrections": corrections, "divergences": divergences}
RATIOS = torch.tensor([[0.5, 4.0, 1.0], [1.0, 3.0, 9.0], [1.0, 1.0, 1.0]]).double()
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 0, 0]]).bool()  # summed ratios 2, 3; the last one says nothing
GAP = RATIOS.log().masked_fill(~MASK, 0.0)
ROOT = 2 ** (1 / 3), 3**0.5  # geometric means


def got(m, name, **settings):
    return getattr(m["corrections"], name)(GAP, MASK, **settings)[MASK].tolist()


def weights_of_tokens(m):
    assert got(m, "truncate") == pytest.approx([0.5, 2, 1, 1, 2])
    assert got(m, "truncate", most=3.5) == pytest.approx([0.5, 3.5, 1, 1, 3])
    assert got(m, "truncate", normalise=True) == pytest.approx([x / 1.3 for x in (0.5, 2, 1, 1, 2)])
    assert got(m, "mask_token", most=3.1) == pytest.approx([0.5, 0, 1, 1, 3])
    assert got(m, "mask_token", least=0.6, most=3.1, inside="one") == [0, 0, 1, 1, 1]
    assert got(m, "icepop", least=0.75, most=3.5) == pytest.approx([0, 0, 1, 1, 3])
    assert got(m, "icepop") == pytest.approx([0.5, 4, 1, 1, 3])


def weights_of_sequences(m):
    assert got(m, "truncate_sequence") == pytest.approx([2, 2, 2, 2, 2])
    assert got(m, "truncate_sequence", most=2.5) == pytest.approx([2, 2, 2, 2.5, 2.5])
    assert got(m, "truncate_sequence", most=9, normalise=True) == pytest.approx([2 / 2.5] * 3 + [3 / 2.5] * 2)
    assert got(m, "mask_sequence", most=2.1) == [1, 1, 1, 0, 0]
    assert got(m, "mask_sequence", least=2.1, most=4.0) == [0, 0, 0, 1, 1]
    assert got(m, "mask_sequence", most=2.1, inside="weight") == pytest.approx([2, 2, 2, 0, 0])
    assert got(m, "mask_geometric", least=1, most=1.3) == [1, 1, 1, 0, 0]
    assert got(m, "mask_geometric", least=1.3, most=1.8, inside="weight") == pytest.approx([0, 0, 0, 1, 3])


def rejections(m):
    """The divergences k3 of the five tokens are .193, 1.614, 0, 0, .901; of k2 .24, .961, 0, 0, .603."""
    assert got(m, "reject", level="token") == [0, 0, 1, 1, 0]
    assert got(m, "reject", by="k2", level="token", most=0.7) == [1, 0, 1, 1, 1]
    assert got(m, "reject", most=0.5) == [0, 0, 0, 1, 1]  # means .602, .451
    assert got(m, "reject", level="sum", most=1.0) == [0, 0, 0, 1, 1]  # sums 1.807, .901
    assert got(m, "reject", level="sum", most=1.9) == [1, 1, 1, 1, 1]
    assert got(m, "reject", level="max", most=1.0) == [0, 0, 0, 1, 1]
    assert got(m, "reject", level="max", most=1.7) == [1, 1, 1, 1, 1]
    edge = math.log(ROOT[1])
    assert got(m, "reject", by="k1", least=-edge + 1e-6, most=1) == [1, 1, 1, 0, 0]
    assert got(m, "reject", by="k1", level="sum", least=-9, most=-1) == [0, 0, 0, 1, 1]


def several_are_all_asked(m):
    chosen = [
        Named("truncate"), Named("mask_sequence", {"most": 2.1}), Named("reject", {"by": "k2", "level": "token", "most": 0.7}),
    ]  # fmt: skip
    weight = m["corrections"].corrected(chosen, RATIOS.log(), MASK)
    assert weight[0].tolist() == pytest.approx([0.5, 0, 1])
    assert weight[1:].abs().sum() == 0
    assert m["corrections"].corrected((), RATIOS.log(), MASK).tolist() == MASK.double().tolist()


def the_mismatch(m):
    """Weights .5, 4, 1, 1, 3: sum 9.5, squares 27.25."""
    weight = torch.tensor([1.0, 0, 1, 1, 0])
    numbers = m["corrections"].mismatch(GAP[MASK], weight)
    k3 = sum(w - math.log(w) - 1 for w in (0.5, 4, 1, 1, 3)) / 5
    assert numbers == pytest.approx(
        {
            "mismatch/kl": k3, "mismatch/weight_mean": 1.9, "mismatch/weight_max": 4, "mismatch/chi2": 4.45,
            "mismatch/ess": 9.5**2 / 27.25 / 5, "mismatch/masked": 0.4,
        }
    )  # fmt: skip


def kl_estimators(m):
    new, reference = torch.tensor([-1.0]).double(), torch.tensor([-1.5]).double()
    found = [m["divergences"].divergence(new, reference, k).item() for k in ("k1", "k2", "k3", "k3+", "abs")]
    assert found == pytest.approx([0.5, 0.125, 0.106531, 0.106531, 0.5], abs=5e-7)
    far = m["divergences"].divergence(reference, new + 5, "k3").item()
    assert far == 10  # as verl clamps it


def value_clipping(m):
    new, target, old = torch.tensor([1.0, 0.1]), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.0])
    assert m["divergences"].value_loss(new, target).tolist() == pytest.approx([0.5, 0.005])
    assert m["divergences"].value_loss(new, target, old, 0.2).tolist() == pytest.approx([0.5 * 1.8**2, 0.005])
    old[1] = torch.nan  # nothing is known of that one, and the other is clipped all the same
    assert m["divergences"].value_loss(new, target, old, 0.2).tolist() == pytest.approx([0.5 * 1.8**2, 0.005])


def controllers(m):
    move = m["divergences"].adaptive_divergence
    assert move(0.2, 0.11, 100) == pytest.approx(0.2 * 1.001)
    assert move(0.2, 5.0, 100) == pytest.approx(0.2 * 1.002)
    assert move(0.2, 0.0, 500, target=0.05, horizon=1000) == pytest.approx(0.2 * 0.9)
    assert move(0.2, 0.0, 9000, target=0.05, horizon=1000) == pytest.approx(0.2 * 0.8)  # and not below zero
    step = m["divergences"].adaptive_entropy
    assert step(0.1, None) == (0.1, 0.0)
    assert step(0.1, 0.2) == pytest.approx((0.105, 0.105))
    assert step(0.1, 0.3) == pytest.approx((0.095, 0.0))
    assert step(0.1, 0.3, step=0.2, least=0.01) == (0.01, 0.0)
    assert step(0.1, 0.1, step=2, most=0.5) == (0.5, 0.5)
    fall = m["divergences"].falling_entropy
    assert fall(0.1, None) == (0.1, 0.1)
    assert fall(0.1, 0.7, share=0.5) == (0.05, 0.05)
    assert fall(0.1, 0.7, share=0.5, least=0.08) == (0.08, 0.08)


CHECKS = [
    weights_of_tokens, weights_of_sequences, rejections, several_are_all_asked, the_mismatch, kl_estimators,
    value_clipping, controllers,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_vector(check):
    check(MODULES)


def test_every_correction_is_finite_and_blind_to_what_is_masked():
    gap = torch.tensor([[0.1, -400.0, 400.0], [0.0, math.nan, math.inf]]).double()
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    for name in CORRECTIONS.names():
        weight = corrections.corrected((Named(name),), gap, mask)
        assert torch.isfinite(weight).all(), name
        assert weight[1].tolist() == [1, 0, 0], name


def test_unknown_settings_of_a_correction_are_refused():
    for name, settings, kind in (
        ("mask_token", {"inside": "two"}, UnknownName),
        ("reject", {"by": "k4"}, UnknownName),
        ("reject", {"level": "word"}, UnknownName),
        ("reject", {"least": 1.0, "most": 0.0}, ConfigError),
    ):
        with pytest.raises(kind):
            corrections.corrected((Named(name, settings),), GAP, MASK)


def test_controls_move_what_they_control_and_nothing_else():
    goal = Objective(
        entropy=0.1, entropy_over="tokens", entropy_control=Named("adaptive", {"target": 1.0, "step": 0.02}),
        divergence=0.2, divergence_control=Named("adaptive"),
    )  # fmt: skip
    controls = Controls(goal, (Named("kl", {"coefficient": 0.05}),))
    assert (controls.goal.entropy, controls.goal.divergence, controls.reward) == (0.0, 0.2, 0.05)
    controls.updated({"losses/entropy": 9.0, "losses/token_entropy": 0.9})
    assert controls.goal.entropy == pytest.approx(0.12)
    controls.updated({"losses/entropy": 0.0, "losses/token_entropy": 1.1})
    assert (controls.goal.entropy, controls.entropy) == (0.0, pytest.approx(0.1))
    controls.learned({"losses/kl": 1.0}, 1000)
    controls.rewarded(0.0, 1000)
    assert (controls.goal.divergence, controls.reward) == pytest.approx((0.2 * 1.02, 0.05 * 0.98))
    again = Controls(goal)
    again.load(controls.state())
    assert again.state() == controls.state()
    fixed = Controls(Objective(entropy=0.1, divergence=0.2))
    fixed.updated({"losses/entropy": 0.0})
    fixed.learned({"losses/kl": 1.0}, 1000)
    assert (fixed.goal.entropy, fixed.goal.divergence, fixed.numbers()) == (0.1, 0.2, {})
    with pytest.raises(ConfigError, match="coefficient"):
        Controls(goal, (Named("kl"),))


MUTATIONS = [
    ("corrections", "_token(gap).clamp(max=most)", "_token(gap).clamp(min=most)", {weights_of_tokens}),
    ("corrections", "weight / (weight * mask).sum() * mask.sum()", "weight / weight.mean()", {weights_of_tokens}),
    ("corrections", "(ratio >= least) & (ratio <= most)", "(ratio <= most)", {weights_of_tokens, weights_of_sequences}),
    ("corrections", "weight * keep", "keep.to(weight.dtype).expand_as(weight)", {weights_of_tokens}),
    ("corrections", "_held(_mean(gap, mask).exp()", "_held(_sum(gap).exp()", {weights_of_sequences}),
    ("corrections", '{"k1": -x,', '{"k1": x,', {rejections}),
    ("corrections", '"max": each[by].masked_fill(~mask, -math.inf).amax', '"max": found.amin', {rejections}),
    ("corrections", "weight = weight * CORRECTIONS", "weight = mask * CORRECTIONS", {several_are_all_asked}),
    ("corrections", "(w - gap - 1).mean()", "(w + gap - 1).mean()", {the_mismatch}),
    ("divergences", "old + (new - old.nan_to_num()).clamp(-clip, clip)", "new.clamp(-clip, clip) + new", {value_clipping}),
    ("divergences", "x = (reference - new)", "x = (new - reference)", {kl_estimators}),
    ("divergences", "measured / target - 1, -0.2), 0.2", "measured / target - 1, -0.2), 0.3", {controllers}),
    ("divergences", "low = measured <= target", "low = measured > target", {controllers}),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new", "seen_by"), MUTATIONS, ids=range(len(MUTATIONS)))
def test_mutation_is_caught(module, old, new, seen_by, tmp_path, monkeypatch):
    copy = broken(MODULES[module], old, new, tmp_path, monkeypatch)
    for check in seen_by:
        with pytest.raises(AssertionError):
            check({**MODULES, module: copy})
