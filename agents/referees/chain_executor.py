"""A referee that completes chains of arithmetic steps, with slips, to see which step they survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.agents.referees.arithmetic import NoValue, value
from ludus.core.agent import Decision, Failure, Request
from ludus.core.registry import register_agent


@register_agent("chain_executor")
@dataclass
class ChainExecutor:
    """Counts the completions that reach the right result from the original step and from the altered one.

    A completion works the remaining steps out exactly; with probability `slip` it then goes astray
    by one of `slips`. The slips come from the seat's own stream: findings are samples, and can be
    drawn again.
    """

    name: str = "chain_executor"
    reproducible: bool = True

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._find(request) for request in requests]

    @staticmethod
    def _find(request: Request) -> Decision:
        data = request.view.data
        try:
            assert isinstance(data, Mapping)
            right = _last(data, altered=False)
        except (AssertionError, KeyError, TypeError, NoValue) as fault:
            return Decision(Failure(f"the view holds no chain but {data!r}: {fault!r}"))
        original = _hits(data, right, right, request.rng)
        try:
            reached = _last(data, altered=True)
        except NoValue as fault:
            return Decision({"original": original, "altered": 0, "fault": str(fault)})
        return Decision(
            {"original": original, "altered": _hits(data, reached, right, request.rng), "fault": ""}
        )


def _last(data: Mapping[str, Any], *, altered: bool) -> int:
    """The value of the last variable, worked out exactly."""
    known = {"x0": int(data["first"])}
    for i, step in enumerate(data["steps"]):
        spoilt = altered and i == data["position"]
        known[f"x{i + 1}"] = value(data["altered"] if spoilt else step, known)
    return known[f"x{len(data['steps'])}"]


def _hits(data: Mapping[str, Any], reached: int, right: int, rng: np.random.Generator) -> int:
    """How many of the completions that aim at `reached` come to `right`."""
    count = int(data["completions"])
    slipped = rng.random(count) < float(data["slip"])
    missed = rng.choice(np.array(data["slips"]), count)
    return sum(reached + int(miss) * int(slip) == right for slip, miss in zip(slipped, missed, strict=True))
