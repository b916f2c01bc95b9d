"""Losses that imitate or prefer: log-probabilities of replies, without a ratio to what they were.

With them supervised fine-tuning, rejection fine-tuning and preference learning are learners like any
other: decisions of this run or of a file, a filter, a loss.

    supervised    loss sft, selector.sources = ["file"]
    rejection     loss sft, selector.keep = "won" or "best"
    search        loss cross_entropy, collect.search
    preferences   loss dpo, reference = "init", collect.samples > 1

Shape letters: N decisions, T tokens of the longest, P pairs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.training.objectives.terms import Terms, expanded, policy_loss


@policy_loss("sft", compares=False)
def sft(terms: Terms) -> Tensor:
    """Minus the log-probability of what was said; advantages are not read.

    Under `token_mean` this is the cross-entropy of supervised fine-tuning, under
    `decision_token_sum` minus the mean log-likelihood of a reply.
    """
    return -terms.new


@policy_loss("cross_entropy", needs=("policy_target",), compares=False)
def cross_entropy(terms: Terms) -> Tensor:
    """The cross-entropy of the policy to what a search would play; what was played is not read.

        L = -sum_a target(a) log pi(a)

    Raises:
        ConfigError: a decision that counts has no target, or the legal choices are not known.

    Source: Silver et al. 2018 (AlphaZero), arXiv:1712.01815, equation 1; Anthony et al. 2017 (expert iteration),
    arXiv:1705.08439, section 3.3.
    """
    if terms.policy_target is None or terms.choices is None:
        raise ConfigError(
            "cross_entropy learns what a search would play, of networks: collect.search.simulations = 64, for example"
        )
    target = terms.policy_target.masked_fill(~terms.mask.any(1, keepdim=True), 0.0)
    if bool(target.isnan().any()):
        raise ConfigError(
            "cross_entropy: some decisions were made without a search; let a selector leave them out"
        )
    return expanded(terms, -(target * terms.choices.masked_fill(target == 0, 0.0)).sum(1, keepdim=True))


# ------------------------------------------------------------------------------------- pairs
def paired_decisions(
    ledger: Ledger,
    advantages: NDArray[np.float64],
    *,
    pairs: Literal["extremes", "all"] = "extremes",
    within: Literal["group", "batch"] = "group",
) -> NDArray[np.int64]:
    """(P, 2) decisions of one seat after the same prompt: one with more credit, and one with less.

    Pairs of the same reply say nothing and are left out.

    Args:
        ledger: the decisions that may be learned from.
        advantages: (N,) their credit.
        pairs: "extremes": of each prompt the best and the worst; "all": every two that differ.
        within: a prompt is compared with itself in its "group" alone, where the deal is the same, or in
            the whole "batch".
    """
    for given, known in ((pairs, ("extremes", "all")), (within, ("group", "batch"))):
        if given not in known:
            raise UnknownName("way to pair decisions", given, known)
    peers: dict[tuple[object, ...], list[int]] = {}
    for row in range(len(ledger)):
        group = ledger.group[row] if within == "group" else -1
        prompt = np.ascontiguousarray(ledger.prompts[row]).tobytes()
        peers.setdefault((ledger.game[row], ledger.seat[row], group, prompt), []).append(row)
    found = [pair for rows in peers.values() for pair in _ordered(rows, advantages, pairs)]
    return np.array(
        [(good, bad) for good, bad in found if _said(ledger, good) != _said(ledger, bad)], np.int64
    ).reshape(-1, 2)


def _ordered(rows: list[int], advantages: NDArray[np.float64], which: str) -> list[tuple[int, int]]:
    if which == "extremes":
        ends = max(rows, key=advantages.__getitem__), min(rows, key=advantages.__getitem__)
        return [ends] if advantages[ends[0]] > advantages[ends[1]] else []
    return [(good, bad) for good in rows for bad in rows if advantages[good] > advantages[bad]]


def _said(ledger: Ledger, row: int) -> list[int]:
    words: list[int] = ledger.ids[ledger.offset[row] : ledger.offset[row] + ledger.length[row]].tolist()
    return words


# -------------------------------------------------------------------------------- preferences
@policy_loss(
    "dpo",
    needs=("reference",),
    aggregations=("decision_token_mean",),
    compares=False,
    pairs=paired_decisions,
)
def dpo(
    terms: Terms,
    *,
    beta: float = 0.1,
    form: Literal["sigmoid", "robust", "ipo"] = "sigmoid",
    smoothing: float = 0.0,
) -> Tensor:
    """Prefer the better reply of each pair, measured from the reference.

        h = sum_t log pi - log reference,   d = h of the better reply - h of the worse one
        sigmoid:  L = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)
        robust:   L = (-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2 e)
        ipo:      L = (d - 1 / (2 beta))^2, with h the mean over a reply's tokens

    The mean over pairs is what is made small.

    Args:
        terms: of the decisions, better and worse ones in turn, with the reference.
        beta: how dear it is to leave the reference.
        form: of the loss.
        smoothing: e, the share of pairs that are thought to be the wrong way round, in [0, 0.5).

    Settings of the pairs: pairs ("extremes"), within ("group").

    Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7; Mitchell 2023 (conservative DPO, the
    smoothing of "sigmoid"); Chowdhury et al. 2024 (robust DPO), arXiv:2403.00409, equation 12; Azar et
    al. 2023 (IPO), arXiv:2310.12036, equation 17, with means over tokens as in TRL.
    """
    if terms.reference is None:
        raise ConfigError("dpo needs a reference: reference = 'init' or 'magnet'")
    if beta <= 0 or not 0.0 <= smoothing < 0.5:
        raise ConfigError(f"dpo: beta = {beta} must be positive, and smoothing = {smoothing} in [0, 0.5)")
    away = terms.new - terms.reference
    moved = (terms.mean(away) if form == "ipo" else terms.total(away)).reshape(-1, 2)
    ahead = moved[:, 0] - moved[:, 1]
    right, wrong = -logsigmoid(beta * ahead), -logsigmoid(-beta * ahead)
    forms = {
        "sigmoid": (1 - smoothing) * right + smoothing * wrong,
        "robust": ((1 - smoothing) * right - smoothing * wrong) / (1 - 2 * smoothing),
        "ipo": (ahead - 1 / (2 * beta)) ** 2,
    }
    if form not in forms:
        raise UnknownName("form of dpo", form, forms)
    return expanded(terms, torch.repeat_interleave(forms[form], 2)[:, None])
