"""Terms: what policy losses and their modifiers read, and how their registries are filled.

    POLICY_LOSSES   loss(terms, **settings)   -> (N, T), one number a token
    MODIFIERS       weight(terms, **settings) -> (N, T), by which the policy loss is multiplied

Some of them choose tokens by comparing all those of a minibatch. What they choose, they *mark* before
the first micro-batch is scored, from what is known when a batch begins, so that cutting a minibatch
into micro-batches changes nothing.

Shape letters: N decisions, T tokens of the longest, K tokens of a minibatch that count.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.registry import Registry

POLICY_LOSSES = Registry("policy loss", "ludus.policy_losses")
MODIFIERS = Registry("modifier of the policy loss", "ludus.modifiers")
LARGEST = 20.0  # log-ratios are clamped to this before the exponential, as in verl and OpenRLHF

F = TypeVar("F", bound=Callable[..., Tensor])


def ratio_of(new: Tensor, old: Tensor) -> Tensor:
    """exp(new - old), the difference clamped so that no outlier overflows."""
    return (new - old).clamp(-LARGEST, LARGEST).exp()


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a policy loss reads of N decisions; zero, and ratios one, at tokens that do not count.

    Attributes:
        new: (N, T) current log-probabilities, attached to the graph.
        old: (N, T) log-probabilities when the batch began.
        rollout: (N, T) log-probabilities as the engine reported them.
        ratio: (N, T) exp(new - old), attached.
        advantages: (N, T).
        mask: (N, T) bool, tokens that count.
        entropy: (N, T) of the distribution each token was drawn from, detached.
        rate: (N, 1) share of a decision's peers that succeeded; None unless it is needed.
        right: (N, 1) 1 where this one succeeded, else 0; likewise.
        reference: (N, T) log-probabilities under the learner's reference; likewise.
        marked: (N, T) bool, tokens that were marked beforehand; likewise.
        choices: (N, A) current log-probabilities of the legal choices, attached; None where not known.
        policy_target: (N, A) how a search would mix them; None where none was made.
        reference_choices: (N, A) the same under the learner's reference; likewise.
        ids: (N, T) int64, the tokens themselves.
    """

    new: Tensor
    old: Tensor
    rollout: Tensor
    ratio: Tensor
    advantages: Tensor
    mask: Tensor
    entropy: Tensor
    rate: Tensor | None = None
    right: Tensor | None = None
    reference: Tensor | None = None
    marked: Tensor | None = None
    choices: Tensor | None = None
    policy_target: Tensor | None = None
    reference_choices: Tensor | None = None
    ids: Tensor | None = None

    @staticmethod
    def of(
        new: Tensor,
        old: Tensor,
        rollout: Tensor,
        advantages: Tensor,
        mask: Tensor,
        entropy: Tensor,
        **more: Any,
    ) -> Terms:
        """Terms with everything outside the mask out of the way; advantages may be (N, 1)."""
        new, old, rollout = (x.masked_fill(~mask, 0.0) for x in (new, old, rollout))
        spread = advantages.expand_as(new).masked_fill(~mask, 0.0)
        entropy = entropy.detach().masked_fill(~mask, 0.0)
        return Terms(new, old, rollout, ratio_of(new, old), spread, mask, entropy, **more)

    @property
    def count(self) -> Tensor:
        """(N, 1) tokens of each decision that count, at least one."""
        return self.mask.sum(1, keepdim=True).clamp(min=1)

    def total(self, each: Tensor) -> Tensor:
        """(N, 1) sum over the tokens that count."""
        return each.masked_fill(~self.mask, 0.0).sum(1, keepdim=True)

    def mean(self, each: Tensor) -> Tensor:
        """(N, 1) mean over the tokens that count."""
        return self.total(each) / self.count

    def marks(self, name: str) -> Tensor:
        """(N, T) the marked tokens.

        Raises:
            ConfigError: nobody marked any.
        """
        if self.marked is None:
            raise ConfigError(f"{name} needs its tokens marked over the whole minibatch: see `mark`")
        return self.marked


class Field(NamedTuple):
    """The tokens of a minibatch that count, end to end, as they were when the batch began.

    Attributes:
        old: (K,) log-probabilities.
        advantages: (K,).
        entropy: (K,) NaN unless somebody needs it.
    """

    old: NDArray[np.float64]
    advantages: NDArray[np.float64]
    entropy: NDArray[np.float64]


Marker = Callable[..., NDArray[np.bool_]]


def policy_loss(
    name: str,
    *,
    bounds: Callable[[Terms], Tensor] | None = None,
    marks: Marker | None = None,
    needs: Sequence[str] = (),
    aggregations: Sequence[str] = (),
    corrects: bool = False,
    compares: bool = True,
    pairs: Callable[..., NDArray[np.int64]] | None = None,
) -> Callable[[F], F]:
    """Decorator: make a policy loss available by name in configurations.

    Args:
        name: the name.
        bounds: the ratio that the loss holds between 1 - low and 1 + high, for `clipfrac`.
        marks: marker(field, rng, **settings) -> (K,) bool.
        needs: what a learner fills in: "rate", "reference", for markers "entropy"; or "rollout", where the
            engine has to have reported its log-probabilities; or "choices", those of all legal replies; or "policy_target",
            where a search has to have played.
        aggregations: the only ones it goes with; any if empty.
        corrects: it weighs by the engine's own log-probabilities, and takes no further correction.
        compares: it reads old log-probabilities or the ratio to them.
        pairs: pairs(ledger, advantages, chosen, **settings) -> (P, 2), where it compares decisions two by
            two: the better and the worse one of each pair then stand in neighbouring rows.
    """

    def add(function: F) -> F:
        facts = {"bounds": bounds, "marks": marks, "needs": tuple(needs), "corrects": corrects}
        vars(function).update(facts, aggregations=tuple(aggregations), compares=compares, pairs=pairs)
        return POLICY_LOSSES.add(name, function)

    return add


def modifier(name: str, *, marks: Marker | None = None, needs: Sequence[str] = ()) -> Callable[[F], F]:
    """Decorator: make a modifier available by name; see `policy_loss`."""

    def add(function: F) -> F:
        vars(function).update(marks=marks, needs=tuple(needs))
        return MODIFIERS.add(name, function)

    return add


def settings_of(function: Callable[..., Any]) -> list[str]:
    """The keyword settings of a registered function, of its marker, and of what pairs decisions for it."""
    both = [function, *(f for name in ("marks", "pairs") if (f := getattr(function, name, None)))]
    names = [
        p.name
        for each in both
        for p in inspect.signature(each).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return list(dict.fromkeys(names))


def required_of(function: Callable[..., Any]) -> list[str]:
    """Those of them that have no default."""
    takes = inspect.signature(function).parameters.values()
    return [p.name for p in takes if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def called(function: Callable[..., Any], settings: Mapping[str, Any], *args: Any) -> Any:
    """Call with those settings that the function takes; the others are its marker's, or its own."""
    takes = inspect.signature(function).parameters
    return function(*args, **{key: value for key, value in settings.items() if key in takes})


def evaluated(function: Callable[..., Any], settings: Mapping[str, Any], terms: Terms) -> Tensor:
    """A policy loss or modifier at these terms.

    Raises:
        UnknownName: it has no such setting.
    """
    known = settings_of(function)
    for key in settings:
        if key not in known:
            raise UnknownName("setting of a policy loss or modifier", key, known)
    return cast("Tensor", called(function, settings, terms))


def mark(
    function: Callable[..., Any], settings: Mapping[str, Any], field: Field, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """(K,) the tokens that a loss or modifier marks; None where it marks none."""
    marker = getattr(function, "marks", None)
    return None if marker is None else np.asarray(called(marker, settings, field, rng), np.bool_)


def with_marks(terms: Terms, marked: Tensor | None) -> Terms:
    """The same terms for somebody who marked these tokens."""
    return terms if marked is None else dataclasses.replace(terms, marked=marked & terms.mask)


def straight_through(value: Tensor, gradient: Tensor) -> Tensor:
    """The value of one, the gradient of the other."""
    return gradient + (value - gradient).detach()


def expanded(terms: Terms, per_decision: Tensor) -> Tensor:
    """(N, 1) as (N, T): every token carries the decision's number."""
    return per_decision.expand(-1, terms.new.shape[1])
