"""On the menus of the asymmetric games, every role learns against uniform partners, one role at a time."""

from __future__ import annotations

import numpy as np
import pytest

from ludus.core.episode import Episode
from ludus.core.game import role_of
from ludus.core.play import play
from ludus.core.registry import make, make_agent
from ludus.training.configuration import parse
from ludus.training.run import Run

ROLES = [
    ("propose_solve", {"menu": True}, "proposer", 40),
    ("propose_solve", {"menu": True}, "solver", 40),
    ("sneaky_critic", {"menu": True}, "generator", 60),
    ("sneaky_critic", {"menu": True}, "critic", 120),
    ("code_as_task", {"menu": True}, "executor", 60),
]


def trained(game: str, params: dict, role: str, steps: int, seed: int, root) -> Run:
    roles = {role_of(seat) for seat in make(game, **params).players}
    config = parse(
        {
            "name": f"{role}-{seed}", "root": str(root), "seed": seed, "tensorboard": False,
            "game": {"name": game, "params": params},
            "policies": {"main": {"name": "network", "roles": [role], "hidden": [64]}},
            "lineup": {**dict.fromkeys(roles, "uniform"), role: "main"},
            "collect": {"games": 64},
            "learners": [{
                "policy": "main", "estimator": {"name": "role_baseline", "by": "role"}, "epochs": 4,
                "objective": {"entropy": 0.01}, "optimiser": {"rate": 3e-3},
            }],
            "phases": [{"steps": steps}],
        }
    )  # fmt: skip
    run = Run(config)
    run.go(quiet=True)
    return run


def earned(episodes: list[Episode], role: str) -> np.ndarray:
    """(episodes,) what the seats of the role earned on average, by seed."""
    ordered = sorted(episodes, key=lambda e: e.match.seed)
    return np.array([np.mean([r for s, r in e.returns.items() if role_of(s) == role]) for e in ordered])


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("game", "params", "role", "steps"), ROLES, ids=[row[2] for row in ROLES])
def test_a_role_learns_against_uniform_partners(game, params, role, steps, seed, tmp_path) -> None:
    run = trained(game, params, role, steps, seed, tmp_path)
    lineup = {**{role_of(s): "uniform" for s in run.games[0].players}}
    deals = range(10_000, 10_256)  # none of them met in training
    start = make_agent("network", path=run.folder / "policies" / "main@init")
    before = earned(list(play(run.games[0], {**lineup, role: start}, deals)), role)
    after = earned(list(play(run.games[0], {**lineup, role: run.policies["main"]}, deals)), role)
    gain = after - before  # paired by deal
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    print(
        f"{role}, seed {seed}: {before.mean():+.3f} -> {after.mean():+.3f}, gain {gain.mean() / error:.1f} s.e."
    )
    assert gain.mean() > 2 * error
