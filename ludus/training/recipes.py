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

EXPERT_ITERATION: Table = {
    "estimator": {"name": "gae", "discount": 1.0, "trace": 1.0},
    "objective": {"loss": {"name": "cross_entropy"}, "value": 1.0},
    "optimiser": {"name": "adamw", "rate": 1e-3, "schedule": "cosine", "decay": 1e-4, "clip": 1.0},
    "minibatches": 8,
}  # fmt: skip
"""AlphaZero (Silver et al. 2018, arXiv:1712.01815), and Anthony et al. 2017, arXiv:1705.08439: the visits of a search and
what became of the game. Wants collect.search, and a circular buffer for earlier steps. Adam in place of momentum."""

BEST_RESPONSE: Table = {
    **PPO,
    "objective": {
        **PPO["objective"], "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "entropy": 0.2, "entropy_control": {"name": "falling", "share": 0.998},
    },
    "optimiser": {**PPO["optimiser"], "rate": 3e-3}, "epochs": 8,
}  # fmt: skip
"""PPO against opponents that stay as they are: faster, with an entropy bonus that is larger at first and falls to nothing."""

_LM: Table = {"name": "adamw", "rate": 1e-6, "eps": 1e-8, "clip": 1.0}

GRPO: Table = {
    "estimator": {"name": "group_mean", "scale": True, "eps": 1e-4},
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2},
        "aggregation": {"name": "decision_token_mean"},
        "divergence": 0.001, "divergence_by": "k3",
    },
    "optimiser": {**_LM, "rate": 1e-5},
    "reference": "init",
}  # fmt: skip
"""Shao et al. 2024, arXiv:2402.03300. Wants groups: collect.samples of at least two."""

DR_GRPO: Table = {
    "estimator": {"name": "group_mean", "scale": False},
    "objective": {"loss": {"name": "clip"}, "aggregation": {"name": "constant"}},
    "optimiser": {**_LM, "rate": 1e-5},
}
"""Liu et al. 2025, arXiv:2503.20783. Wants objective.aggregation.length: the most tokens of a reply."""

DAPO: Table = {
    "estimator": {"name": "group_mean", "scale": True},
    "objective": {"loss": {"name": "clip", "low": 0.2, "high": 0.28, "dual": 10.0}},
    "optimiser": _LM,
    "selector": {"keep": {"name": "varied"}},
}
"""Yu et al. 2025, arXiv:2503.14476. Wants groups, and collect.refill for others in the place of unanimous ones."""

SPIRAL: Table = {
    "estimator": {"name": "role_baseline", "decay": 0.95},
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2}, "aggregation": {"name": "constant"}, "entropy_over": "tokens",
    },
    "optimiser": {**_LM, "betas": [0.9, 0.95]},
    "selector": {"keep": {"name": "with_credit"}}, "epochs": 2,
}  # fmt: skip
"""Liu et al. 2025, arXiv:2506.24119. Wants objective.aggregation.length: the most tokens of a reply."""

MAGNET_LM: Table = {
    "estimator": {"name": "role_baseline", "decay": 0.95},
    "objective": {
        "loss": {"name": "clip"}, "aggregation": {"name": "decision_token_sum"},
        "entropy": 0.1, "entropy_over": "choices", "divergence": 1.0, "divergence_by": "exact",
    },
    "optimiser": {"name": "adamw", "rate": 1e-4, "clip": 1.0},
    "reference": "magnet", "magnet_rate": 0.01,
}  # fmt: skip
"""A role baseline, entropy over the legal replies and a moving magnet, for language models that choose.

Adam's eps is that of PPO above, with which the figures of configs/lm_kuhn.toml were measured.
"""

# ------------------------------------------------------- equilibria of games with hidden parts
DQN: Table = {
    "estimator": {"name": "gae", "discount": 1.0, "trace": 0.0}, "values": "reference",
    "objective": {"loss": {"name": "none"}, "value": 2.0, "entropy_over": "tokens"},
    "optimiser": {"name": "sgd", "rate": 0.01, "clip": 0.0},
    "buffer": {"name": "circular", "capacity": 200_000, "draw": 128},
    "reference": "target",
}  # fmt: skip
"""Mnih et al. 2015, Nature 518, with the numbers of OpenSpiel's NFSP; for policies of kind q_network."""

NFSP_AVERAGE: Table = {
    "estimator": {"name": "returns"},
    "objective": {"loss": {"name": "sft"}, "entropy_over": "tokens"},
    "optimiser": {"name": "sgd", "rate": 0.01, "clip": 0.0},
    "buffer": {"name": "reservoir", "capacity": 2_000_000, "draw": 128},
}
"""Heinrich and Silver 2016, arXiv:1603.01121: the other half of NFSP beside DQN. Wants selector.of: whose average."""

RNAD: Table = {
    "estimator": {"name": "v_trace", "regularisation": 0.2}, "values": "reference",
    "objective": {
        "loss": {"name": "neurd", "regularisation": 0.2, "threshold": 2.0, "most": 10_000.0},
        "aggregation": {"name": "decision_token_mean"}, "value": 1.0,
    },
    "optimiser": {"name": "adam", "rate": 5e-5, "betas": [0.0, 0.999], "eps": 1e-7, "clip": 10_000.0},
    "old": "rollout", "reference": "regularisation", "magnet_rate": 0.001, "reference_every": 20_000,
}  # fmt: skip
"""Perolat et al. 2022, arXiv:2206.15378, with the numbers of OpenSpiel's code. Wants collect.whole."""

# ------------------------------------------------------- as public trainers of language models have them
PPO_VERL: Table = {
    "estimator": {"name": "token_gae", "discount": 1.0, "trace": 1.0, "whiten": True},
    "shaping": [{"name": "kl", "coefficient": 0.001}],
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2, "dual": 3.0}, "aggregation": {"name": "token_mean"},
        "value": 1.0, "value_clip": 0.5, "entropy_over": "tokens",
    },
    "optimiser": _LM, "reference": "init",
}  # fmt: skip
"""PPO of verl; there the value model is another network with an optimiser of its own."""

PPO_TRL: Table = {
    "estimator": {"name": "token_gae", "discount": 1.0, "trace": 0.95},
    "shaping": [{"name": "kl", "coefficient": 0.05}, {"name": "missing_end", "penalty": 1.0}],
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2}, "aggregation": {"name": "token_mean"},
        "value": 0.1, "value_clip": 0.2, "entropy_over": "tokens",
    },
    "optimiser": {**_LM, "rate": 3e-6}, "epochs": 4, "reference": "init",
}  # fmt: skip
"""PPO of TRL."""

GRPO_CLASSIC: Table = {
    **GRPO, "objective": {**GRPO["objective"], "entropy_over": "tokens"}, "optimiser": _LM,
}  # fmt: skip
"""GRPO of DeepSeek-R1 (arXiv:2501.12948) and verl; the paper that named it has a divergence of 0.04."""

GSPO: Table = {
    "estimator": {"name": "group_mean", "scale": True, "eps": 1e-4},
    "objective": {
        "loss": {"name": "gspo", "low": 3e-4, "high": 4e-4}, "aggregation": {"name": "decision_token_mean"},
        "entropy_over": "tokens",
    },
    "optimiser": _LM,
}  # fmt: skip
"""Zheng et al. 2025, arXiv:2507.18071."""

CISPO: Table = {
    "estimator": {"name": "group_mean", "scale": True, "std": "batch", "eps": 1e-4},
    "objective": {
        "loss": {"name": "cispo", "most": 5.0}, "aggregation": {"name": "token_mean"}, "entropy_over": "tokens",
    },
    "optimiser": _LM,
}  # fmt: skip
"""As ScaleRL has it: Khatri et al. 2025, arXiv:2510.13786, with the loss of arXiv:2506.13585."""

RLOO_TRL: Table = {
    "estimator": {"name": "leave_one_out"},
    "shaping": [{"name": "kl", "coefficient": 0.05}],
    "objective": {
        "loss": {"name": "rloo_sequence", "low": 0.2, "high": 0.2}, "aggregation": {"name": "decision_token_sum"},
        "entropy_over": "tokens",
    },
    "optimiser": _LM, "reference": "init",
}  # fmt: skip
"""Ahmadian et al. 2024, arXiv:2402.14740, as TRL has it: one ratio for each reply, the divergence in the reward."""

REINFORCE_PP: Table = {
    "estimator": {"name": "reinforce_pp", "discount": 1.0},
    "shaping": [{"name": "kl", "coefficient": 0.01}],
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2}, "aggregation": {"name": "token_mean"},
        "entropy_over": "tokens",
    },
    "optimiser": _LM, "reference": "init",
}  # fmt: skip
"""Hu et al. 2025, arXiv:2501.03262. Needs no groups."""

ICEPOP: Table = {
    "estimator": {"name": "group_mean", "scale": True, "eps": 1e-4},
    "objective": {
        "loss": {"name": "clip", "low": 0.2, "high": 0.2}, "aggregation": {"name": "token_mean"},
        "correction": [{"name": "icepop", "least": 0.5, "most": 5.0}], "entropy_over": "tokens",
    },
    "optimiser": _LM,
}  # fmt: skip
"""GRPO without the tokens on which engine and policy disagree (arXiv:2510.18855)."""

PRIME_DPPO: Table = {
    "estimator": {"name": "group_mean", "scale": False},
    "objective": {
        "loss": {"name": "dppo", "low": 0.2, "high": 0.2, "penalty": 1e-3}, "aggregation": {"name": "token_mean"},
        "entropy_over": "tokens",
    },
    "optimiser": _LM,
}  # fmt: skip
"""The default of prime-rl."""

# --------------------------------------------------------------------- imitation and preferences
SFT: Table = {
    "estimator": {"name": "returns"},
    "objective": {"loss": {"name": "sft"}, "aggregation": {"name": "token_mean"}, "entropy_over": "tokens"},
    "optimiser": {**_LM, "rate": 2e-5}, "selector": {"sources": ["file"]},
}  # fmt: skip
"""Cross-entropy on the decisions of a file, the rate as in TRL."""

RFT: Table = {**SFT, "selector": {"sources": ["fresh"], "keep": {"name": "won"}}}
"""The same on what has just been played, winners only (Yuan et al. 2023, arXiv:2308.01825)."""

DPO: Table = {
    "estimator": {"name": "returns"},
    "objective": {
        "loss": {"name": "dpo", "beta": 0.1}, "aggregation": {"name": "decision_token_mean"}, "entropy_over": "tokens",
    },
    "optimiser": _LM, "reference": "init",
}  # fmt: skip
"""Rafailov et al. 2023, arXiv:2305.18290. Wants groups: collect.samples of at least two."""

PRESETS: dict[str, Table] = {
    "ppo": PPO, "magnet": MAGNET, "best_response": BEST_RESPONSE, "expert_iteration": EXPERT_ITERATION,
    "dqn": DQN, "nfsp_average": NFSP_AVERAGE, "rnad": RNAD,
    "grpo": GRPO, "dr_grpo": DR_GRPO, "dapo": DAPO, "spiral": SPIRAL, "rae_selfplay": SPIRAL, "magnet_lm": MAGNET_LM,
    "ppo_verl": PPO_VERL, "ppo_trl": PPO_TRL, "grpo_classic": GRPO_CLASSIC, "gspo": GSPO, "cispo": CISPO,
    "rloo_trl": RLOO_TRL, "reinforce++": REINFORCE_PP, "icepop": ICEPOP, "prime_dppo": PRIME_DPPO,
    "sft": SFT, "rft": RFT, "dpo": DPO,
}  # fmt: skip
