"""What a learner's policy fills into a ledger before credit is given, and into a batch before it learns.

Shape letters: N decisions, M tokens in all, S sequences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.core.errors import ConfigError
from ludus.core.ledger import Ledger
from ludus.core.policy import Policy
from ludus.training.batch import CHUNK, Batch, Rescored, rescored
from ludus.training.distributed import ALONE, World
from ludus.training.estimators.credit import ESTIMATORS
from ludus.training.estimators.shaping import SHAPERS
from ludus.training.objectives.corrections import corrected, mismatch
from ludus.training.objectives.divergences import exact_divergence
from ludus.training.objectives.terms import MODIFIERS, POLICY_LOSSES
from ludus.training.references import Reference
from ludus.training.settings import LearnerConfig, Selector


class Known(NamedTuple):
    """Token columns (M,) of the policy as it is before the update; NaN where it was not asked.

    Attributes:
        old: log-probabilities.
        entropy: of the distribution each token was drawn from.
    """

    old: NDArray[np.float32]
    entropy: NDArray[np.float32]


def needs_of(config: LearnerConfig) -> tuple[set[str], set[str]]:
    """What has to be known before credit is given, and what before the first update."""
    first = [ESTIMATORS.maker(config.estimator.name), *(SHAPERS.maker(one.name) for one in config.shaping)]
    goal = config.objective
    then = [POLICY_LOSSES.maker(goal.loss.name), *(MODIFIERS.maker(one.name) for one in goal.modifiers)]
    early = {need for each in first for need in getattr(each, "needs", ())}
    late = {need for each in then for need in getattr(each, "needs", ())}
    return early, late | ({"old"} if config.old == "recompute" and compares(config) else set())


def compares(config: LearnerConfig) -> bool:
    """Whether the policy loss reads log-probabilities of before the update."""
    return bool(getattr(POLICY_LOSSES.maker(config.objective.loss.name), "compares", True))


def own(ledger: Ledger, policy: Policy) -> NDArray[np.bool_]:
    """(N,) the decisions of a policy that left tokens."""
    mine = np.array([name == policy.name for name in ledger.policies], np.bool_)[ledger.policy]
    return np.asarray(mine & (ledger.length > 0), np.bool_)


def spread(part: NDArray[np.float32], ledger: Ledger, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A token column of some decisions as one of all (M,), NaN at the others'."""
    whole = np.full(len(ledger.ids), np.nan, np.float32)
    whole[np.repeat(rows, ledger.length)] = part
    return whole


def filled(
    ledger: Ledger, policy: Policy, needs: Iterable[str], config: LearnerConfig, world: World = ALONE
) -> tuple[Ledger, Known | None]:
    """The ledger with the columns that estimator and shapers need, of the policy's own decisions.

    Raises:
        ConfigError: the policy cannot tell one of them.
    """
    wanted, mine = set(needs) - {"reference", "divergence"}, own(ledger, policy)
    if not wanted or not mine.any():
        return ledger, None
    found = scored(policy, ledger.take(mine), config, world)
    columns = {"old": found.logprobs, "token_values": found.values, "collision": found.collision}
    given: dict[str, Any] = {}
    for need, name in (("old", "old"), ("values", "token_values"), ("collision", "collision")):
        column = columns[name]
        if need in wanted and column is None:
            raise ConfigError(
                f"the estimator {config.estimator.name} needs {need} of every token, and the policy {policy.name} "
                "tells none: choose another estimator, or a policy that does"
            )
        if column is not None:
            given[name] = spread(column, ledger, mine)
    known = Known(given["old"], spread(found.entropy, ledger, mine))
    return dataclasses.replace(ledger, **given), known


def scored(policy: Reference, ledger: Ledger, config: LearnerConfig, world: World = ALONE) -> Rescored:
    """`rescored`, in micro-batches of the learner's size."""
    most = config.micro if config.micro or config.micro_tokens else CHUNK
    return rescored(policy, ledger, most=most, tokens=config.micro_tokens, world=world)


def valued(ledger: Ledger, reference: Any) -> Ledger:
    """The ledger with the values that a reference, which draws moves, now gives the decisions.

    Raises:
        ConfigError: they are no decisions of networks.
    """
    if not isinstance(ledger.prompts, np.ndarray) or ledger.legal is None:
        raise ConfigError(
            "values = 'reference' is for networks: these decisions have no features of one shape"
        )
    values = reference.draw(ledger.prompts, ledger.legal, np.zeros(len(ledger)))[2]
    return dataclasses.replace(ledger, values=values.astype(np.float64))


def diverged(
    ledger: Ledger, policy: Policy, reference: Any, config: LearnerConfig, world: World = ALONE
) -> Ledger:
    """With a reward column "divergence": minus the policy's own from its reference at each of its decisions.

    Of a policy that chooses, exactly, over the legal choices; 0 at others' decisions.

    Raises:
        ConfigError: the policy does not tell the probabilities of its choices.
    """
    mine = own(ledger, policy)
    column = np.zeros(len(ledger))
    if mine.any():
        some = ledger.take(mine)
        said = [scored(one, some, config, world).choices for one in (policy, reference)]
        if said[0] is None or said[1] is None:
            raise ConfigError(
                f"the estimator {config.estimator.name} compares all legal choices, and {policy.name} tells none"
            )
        new, old = (torch.from_numpy(choices).double() for choices in said)
        column[mine] = -exact_divergence(new, old).numpy()
    return ledger.with_rewards("divergence", column)


def read_by(ledger: Ledger, selector: Selector) -> Ledger:
    """The decisions of the sources that a learner reads: they are compared with no others."""
    if set(ledger.sources) <= set(selector.sources):
        return ledger
    read = np.array([name in selector.sources for name in ledger.sources], np.bool_)
    return ledger.take(read[ledger.source])


def without_cut(ledger: Ledger) -> Ledger:
    """The ledger without the seats' episodes that hold a reply cut at the token limit."""
    if not ledger.truncated.any():
        return ledger
    return ledger.take(~ledger.spread(np.logical_or.reduceat(ledger.truncated, ledger.starts)))


def corrected_batch(batch: Batch, config: LearnerConfig) -> Batch:
    """The batch with its corrections, and with what says how far engine and policy are apart.

    Raises:
        ConfigError: the engine reported no log-probabilities, and they are needed.
    """
    ledger, goal = batch.ledger, config.objective
    if not compares(config):
        return batch
    said = np.isfinite(ledger.rollout[batch.counted]).all()
    if not said and (goal.correction or config.old == "rollout" or "rollout" in needs_of(config)[1]):
        raise ConfigError(
            f"the engine of {config.policy} reported no log-probabilities, which a correction, the loss or "
            "old = 'rollout' compare: choose others, and old = 'recompute'"
        )
    if not said or config.old == "rollout":
        return batch
    rows = np.arange(len(ledger))
    mask = torch.from_numpy(ledger.padded(batch.counted, rows))
    gap = torch.from_numpy(ledger.padded(ledger.old - ledger.rollout, rows))
    weight = corrected(goal.correction, gap, mask)
    column = np.zeros(len(ledger.ids), np.float32)
    column[batch.counted] = weight[mask].numpy()
    counted = batch.counted & (column != 0) if goal.rejected == "drop" else batch.counted
    numbers = {**batch.numbers, **mismatch(gap[mask], weight[mask])}
    return dataclasses.replace(batch, correction=column, counted=counted, numbers=numbers)
