"""Chains of arithmetic steps, and ways to spoil one: what `sneaky_critic` is played over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MUTATORS = ("operand", "operator", "off by one", "wrong variable", "reformat")
SIGNS = ("+", "-", "*")
WORDS = {"+": "plus", "-": "minus", "*": "times"}


class Step(NamedTuple):
    """One step: variable `source`, a sign, an operand; and what an alteration may add to it."""

    source: int
    sign: str
    operand: int
    extra: int = 0
    swapped: bool = False

    def __str__(self) -> str:
        if self.swapped and self.sign == "-":
            written = f"-{self.operand} + x{self.source}"
        elif self.swapped:
            written = f"{self.operand} {self.sign} x{self.source}"
        else:
            written = f"x{self.source} {self.sign} {self.operand}"
        return f"{written} + {self.extra}" if self.extra else written

    def value(self, known: Sequence[int]) -> int:
        """What the step works out, given the variables before it."""
        x = known[self.source]
        found = {"+": x + self.operand, "-": x - self.operand, "*": x * self.operand}[self.sign]
        return found + self.extra


class Chain(NamedTuple):
    """x0 is `first`; step i says what x(i+1) is."""

    first: int
    steps: tuple[Step, ...]

    def last(self, position: int = -1, altered: Step | None = None) -> int:
        """The value of the last variable, if need be with the step at `position` altered."""
        known = [self.first]
        for i, step in enumerate(self.steps):
            known.append((altered if altered and i == position else step).value(known))
        return known[-1]

    def problem(self) -> str:
        """The problem in words."""
        parts = [f"x{i + 1} is x{s.source} {WORDS[s.sign]} {s.operand}." for i, s in enumerate(self.steps)]
        return f"x0 is {self.first}. {' '.join(parts)} What is x{len(self.steps)}?"

    def solution(self, count: int) -> str:
        """The first `count` steps of its solution."""
        return "; ".join(
            [f"x0 = {self.first}", *(f"x{i + 1} = {s}" for i, s in enumerate(self.steps[:count]))]
        )


def mutate(step: Step, position: int, kind: str) -> Step:
    """The step, altered; `position` counts from 0, so x0 to x(position) are known to it."""
    if kind == "operand":
        return step._replace(operand=step.operand + 2)
    if kind == "operator":
        return step._replace(sign={"+": "-", "-": "+", "*": "+"}[step.sign])
    if kind == "off by one":
        return step._replace(extra=1)
    if kind == "wrong variable":
        return step._replace(source=step.source - 1 if step.source else min(1, position))
    return step._replace(swapped=True)


def chain_of(first: int, *steps: tuple[int, str, int]) -> Chain:
    """A chain from plain steps: source, sign, operand."""
    return Chain(first, tuple(Step(*step) for step in steps))


_KNOWN = (
    chain_of(3, (0, "*", 2), (1, "+", 4), (2, "-", 5)),
    chain_of(5, (0, "+", 7), (0, "*", 3), (2, "-", 4)),
    chain_of(7, (0, "-", 2), (1, "*", 4), (2, "+", 9)),
    chain_of(2, (0, "*", 6), (1, "-", 3), (1, "+", 8)),
    chain_of(4, (0, "*", 5), (1, "-", 6), (2, "*", 2)),
    chain_of(6, (0, "+", 3), (1, "*", 2), (1, "-", 7)),
    chain_of(9, (0, "*", 3), (1, "+", 5), (2, "*", 2)),
    chain_of(8, (0, "-", 5), (0, "+", 2), (2, "*", 3)),
)


def known_chains(count: int) -> tuple[Chain, ...]:
    """Known chains. In every other one a step is not used further on, so that to alter it does nothing."""
    if count == 0:
        return ()
    if not 1 <= count <= len(_KNOWN):
        raise ValueError(f"a menu has 1 to {len(_KNOWN)} chains, not {count}")
    return _KNOWN[:count]
