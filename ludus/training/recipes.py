"""Presets: what a learner is made with unless its table says otherwise, by the name of the method."""

from __future__ import annotations

from typing import Any

Table = dict[str, Any]

PPO: Table = {
    "estimator": {"name": "gae", "discount": 1.0, "trace": 0.95},
    "objective": {
        "loss": {"name": "clip", "low": 0.1, "high": 0.1},
        "value": 0.5, "entropy": 0.1,
    },
    "optimiser": {"name": "adam", "rate": 2.5e-4, "schedule": "linear", "clip": 0.5},
    "epochs": 4, "minibatches": 4, "normalise": "minibatch", "old": "rollout",
}  # fmt: skip
"""Schulman et al. 2017, arXiv:1707.06347; the larger entropy bonus is that of arXiv:2502.08938."""

MAGNET: Table = {
    **PPO,
    "objective": {**PPO["objective"], "divergence": 0.1, "divergence_by": "exact"},
    "reference": "magnet", "magnet_rate": 0.01,
}  # fmt: skip
"""Magnetic mirror descent on top of PPO (Sokota et al. 2022, arXiv:2206.05825), the magnet a moving average."""

GRPO: Table = {
    "estimator": {"name": "group_mean", "scale": True, "eps": 1e-4},
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "aggregation": {"name": "decision_token_mean"},
        "divergence": 0.001, "divergence_by": "k3",
    },
    "optimiser": {"name": "adamw", "rate": 1e-5, "clip": 1.0},
    "reference": "init",
}  # fmt: skip
"""Shao et al. 2024, arXiv:2402.03300. Wants groups: collect.samples of at least two."""

DR_GRPO: Table = {
    "estimator": {"name": "group_mean", "scale": False},
    "objective": {"loss": {"name": "clip"}, "aggregation": {"name": "constant", "length": 64}},
    "optimiser": {"name": "adamw", "rate": 1e-5, "clip": 1.0},
}
"""Liu et al. 2025, arXiv:2503.20783."""

DAPO: Table = {
    "estimator": {"name": "group_mean", "scale": True},
    "objective": {"loss": {"name": "clip", "low": 0.2, "high": 0.28, "dual": 10.0}},
    "optimiser": {"name": "adamw", "rate": 1e-6, "clip": 1.0},
    "selector": {"keep": {"name": "varied"}},
}
"""Yu et al. 2025, arXiv:2503.14476, without its second drawing of unanimous groups."""

SPIRAL: Table = {
    "estimator": {"name": "role_baseline", "decay": 0.95},
    "objective": {"loss": {"name": "clip"}, "aggregation": {"name": "constant", "length": 64}},
    "optimiser": {"name": "adamw", "rate": 1e-6, "clip": 1.0},
    "selector": {"keep": {"name": "with_credit"}},
    "epochs": 2,
}
"""Liu et al. 2025, arXiv:2506.24119."""

MAGNET_LM: Table = {
    "estimator": {"name": "role_baseline", "decay": 0.95},
    "objective": {
        "loss": {"name": "clip"}, "aggregation": {"name": "decision_token_sum"},
        "entropy": 0.1, "entropy_over": "choices", "divergence": 1.0, "divergence_by": "exact",
    },
    "optimiser": {"name": "adamw", "rate": 1e-4, "clip": 1.0},
    "reference": "magnet", "magnet_rate": 0.01,
}  # fmt: skip
"""A role baseline, entropy over the legal replies and a moving magnet, for language models that choose."""

PRESETS: dict[str, Table] = {
    "ppo": PPO, "magnet": MAGNET, "grpo": GRPO, "dr_grpo": DR_GRPO, "dapo": DAPO, "spiral": SPIRAL,
    "magnet_lm": MAGNET_LM,
}  # fmt: skip
