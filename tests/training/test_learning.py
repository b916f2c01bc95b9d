"""Learning: short runs with loose bounds by default, the full claims under `slow`."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

import ludus
from ludus.config import load
from ludus.training.run import Run, train

CONFIGS = Path(__file__).parents[2] / "configs"
ALWAYS_EVEN = 0.9166666  # NashConv of the uniform policy on Kuhn poker


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder, name="eval/nash_conv/main"):
    return {line["step"]: line[name] for line in metrics(folder) if name in line}


def test_a_network_learns_kuhn_poker(tmp_path):
    """160,000 decisions of the 3 million of the config: from .917 to well under half of it."""
    config = load(
        CONFIGS / "ppo_kuhn.toml",
        [f"root={tmp_path}", "phases.0.steps=40", "evaluate.every=40", "policies.main.hidden=[32, 32]",
         "learners.0.optimiser.rate=1e-3", "tensorboard=false"],
    )  # fmt: skip
    points = curve(train(config, quiet=True))
    assert points[0] == pytest.approx(ALWAYS_EVEN, abs=0.02)
    assert points[40] < 0.45


def test_two_policies_learn_in_turns_and_resume(tmp_path, monkeypatch):
    """Proposer and solver with weights and learners of their own, from one TOML file."""
    path, root = CONFIGS / "propose_solve_two_policies.toml", f"root={tmp_path}"
    small = ["cycles=1", "phases.0.steps=3", "phases.1.steps=12", "checkpoint_every=5", "tensorboard=false"]
    whole = train(load(path, [root, *small]), quiet=True)
    lines = metrics(whole)
    assert all(("proposer/losses/loss" in line) == (line["step"] <= 3) for line in lines)
    assert all(("solver/losses/loss" in line) == (line["step"] > 3) for line in lines)
    right = [
        np.mean([line[f"charts/return/solver/solver_{i}"] for i in range(4)])
        for line in lines
        if line["step"] > 3
    ]
    assert np.mean(right[-3:]) > np.mean(right[:3]) + 0.1
    trained = {n: ludus.make_agent("network", path=whole / "policies" / n) for n in ("proposer", "solver")}
    assert [agent.version for agent in trained.values()] == [3, 12]

    again = load(path, [root, *small, "name=again"])
    collect = Run._collect

    def dying(self, step, lineup):
        if step == 8:
            raise KeyboardInterrupt
        return collect(self, step, lineup)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_collect", dying)
        with pytest.raises(KeyboardInterrupt):
            train(again, quiet=True)
    resumed = train(again, resume=True, quiet=True)
    for name, agent in trained.items():
        assert (
            ludus.make_agent("network", path=resumed / "policies" / name).fingerprint() == agent.fingerprint()
        )


def test_a_frozen_opponent_is_learned_against(tmp_path):
    """Against the uniform player, at both seats in turn: it comes close to what the best answer earns."""
    path = CONFIGS / "ppo_kuhn.toml"
    config = load(
        path,
        [f"root={tmp_path}", "lineup={player_0='main', player_1='uniform'}", "phases.0.steps=30",
         "learners.0.preset=ppo", "learners.0.objective.entropy=0.0", "learners.0.objective.divergence=0.0",
         "learners.0.optimiser.rate=3e-3", "evaluate.every=0", "policies.main.hidden=[32, 32]", "tensorboard=false"],
    )  # fmt: skip
    lines = metrics(train(config, quiet=True))
    start, end = (
        [np.mean([line[f"charts/return/main/player_{seat}"] for line in part]) for seat in (0, 1)]
        for part in (lines[:2], lines[-5:])
    )
    game = ludus.make("kuhn_poker")
    for seat in (0, 1):
        best, _ = ludus.best_response(game, ludus.uniform(game), f"player_{seat}")
        assert end[seat] > start[seat] + 0.25
        assert end[seat] == pytest.approx(best, abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(5))
def test_ppo_on_kuhn_poker(seed, tmp_path):
    """NashConv at the last point, after 3 million decisions: at most .10 for every one of five seeds."""
    began = time.monotonic()
    config = load(CONFIGS / "ppo_kuhn.toml", [f"root={tmp_path}", f"seed={seed}"])
    folder = train(config, quiet=True)
    assert metrics(folder)[-1]["global_step"] >= 2_990_000
    points = curve(folder)
    told = ", ".join(f"{step}: {point:.3f}" for step, point in points.items())
    print(
        f"seed {seed}: NashConv {points[config.steps]:.4f} at the last point, {time.monotonic() - began:.0f} s; {told}"
    )
    assert points[config.steps] <= 0.10


def illegal_share(folder, steps=50):
    """Unusable replies among all decisions of the last steps."""
    lines = metrics(folder)[-steps:]
    games = sum(line["charts/episodes"] for line in lines)
    decisions = sum(line["charts/episodes"] * line["charts/episodic_length"] for line in lines)
    return sum(line["charts/forfeits"] * line["charts/episodes"] for line in lines) / max(decisions, games)


def test_a_tiny_language_model_learns_kuhn_poker(tmp_path):
    """60 short steps of the config's thousand, at a higher rate: from .917 down, and still speaking."""
    config = load(
        CONFIGS / "lm_kuhn.toml",
        [f"root={tmp_path}", "phases.0.steps=60", "collect.games=128", "evaluate.every=60",
         "learners.0.optimiser.rate=3e-4", "learners.0.optimiser.schedule=constant", "tensorboard=false"],
    )  # fmt: skip
    folder = train(config, quiet=True)
    points = curve(folder)
    assert points[0] == pytest.approx(ALWAYS_EVEN, abs=0.05)
    assert points[60] < 0.65
    assert illegal_share(folder) < 0.01
    assert metrics(folder)[-1]["losses/legal_mass"] > 0.98


def language_run(name, seed, root, overrides=()):
    """Train by the config; return NashConv at the last point and over the second half, and print them."""
    began = time.monotonic()
    config = load(CONFIGS / "lm_kuhn.toml", [f"root={root}", f"seed={seed}", *overrides])
    folder = train(config, quiet=True)
    points, illegal = curve(folder), illegal_share(folder)
    late = [point for step, point in points.items() if step >= config.steps // 2]
    print(
        f"{name}, seed {seed}: NashConv {points[0]:.3f} at first, {min(late):.3f} to {max(late):.3f} in the second "
        f"half, {points[config.steps]:.3f} at the last of {config.steps} steps; illegal {illegal:.2%}; "
        f"{time.monotonic() - began:.0f} s"
    )
    return points, late, illegal


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_tiny_language_model_comes_close_to_equilibrium(tmp_path):
    """Entropy over the legal replies and a magnet, three seeds: in the mean NashConv at most .15 at the last point, and
    at most .10 of the average strategy; illegal under 1 %."""
    last, average = [], []
    for seed in range(3):
        root = tmp_path / str(seed)
        points, late, illegal = language_run("entropy and magnet", seed, root)
        assert points[0] == pytest.approx(ALWAYS_EVEN, abs=0.05)
        assert illegal < 0.01
        last.append(late[-1])
        average.append([*curve(root / "lm_kuhn", "eval/nash_conv_average/main").values()][-1])
    print(f"last {last}, average strategy {average}")
    assert np.mean(last) <= 0.15
    assert np.mean(average) <= 0.10


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("game", ["kuhn", "tic_tac_toe"])
def test_spiral_gains_on_its_start_and_keeps_what_it_gained(game, tmp_path):
    """Three seeds, exactly evaluated: the last return against the start is above 0 in the mean, no point lies more than
    .1 below the best before it, and of tic-tac-toe fewer games are lost to optimal play than at the start."""
    last, losses = [], []
    for seed in range(3):
        config = load(CONFIGS / f"spiral_tiny_{game}.toml", [f"root={tmp_path / str(seed)}", f"seed={seed}"])
        folder = train(config, quiet=True)
        against = np.array([*curve(folder, "eval/return_exact/main@init/main").values()])
        assert (against >= np.maximum.accumulate(against) - 0.1).all()
        last.append(against[-1])
        lost = [*curve(folder, "eval/loss_rate/main").values()] or [0.0]
        losses.append(lost[-1] - lost[0])
        print(
            f"{game}, seed {seed}: return against the start {np.round(against, 3)}, lost {np.round(lost, 3)}"
        )
    assert np.mean(last) > 0
    assert max(losses) < 0 or game == "kuhn"


PLAIN = {
    "role baseline alone": [],
    "no baseline": ["learners.0.estimator=returns"],
}


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variant", PLAIN)
def test_plain_policy_gradients_stay_away_from_it(variant, seed, tmp_path):
    """The same model without magnet is never close over the second half: it circles, or is stuck.

    The rate is constant, for one that falls to zero brings anything to rest, and the entropy bonus
    is half of what holds it near equilibrium beside a magnet. What keeps the mass on the legal
    replies stays as it is: it asks for none of them in particular, and without it the mass is gone
    after a while and nothing is left to be measured.
    """
    plain = [
        "phases.0.steps=500", "learners.0.objective.entropy=0.05", "learners.0.objective.divergence=0.0",
        "learners.0.objective.legality=1.0", "learners.0.optimiser.rate=1e-4",
        "learners.0.optimiser.schedule=constant",
    ]  # fmt: skip
    _, late, _ = language_run(variant, seed, tmp_path, [*plain, *PLAIN[variant]])
    assert min(late) > 0.10
