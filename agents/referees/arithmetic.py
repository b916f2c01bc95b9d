"""A referee that works out sums without running them: only whole numbers and a few signs are evaluated."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ludus.core.agent import Decision, Failure, Request
from ludus.core.registry import register_agent

_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
# Nothing else reaches the parser: what it thinks of "1if 2" or "0x1F" depends on its version and its warnings.
_WRITTEN = re.compile(r"(?:\bx[0-9]{1,3}\b|\b[0-9]+\b|[\s+\-*/%()])+", re.ASCII)
BOUND = 10**50  # values stay within plus and minus this


class NoValue(ValueError):
    """The expression has no value that the referee accepts; the text says why."""


@register_agent("arithmetic")
@dataclass
class Arithmetic:
    """Finds the value of `view.data["expression"]`, or what is wrong with it."""

    name: str = "arithmetic"
    deterministic: bool = True

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        return [self._find(request) for request in requests]

    @staticmethod
    def _find(request: Request) -> Decision:
        data = request.view.data
        if not isinstance(data, Mapping) or not isinstance(data.get("expression"), str):
            return Decision(Failure(f"the view holds no expression but {data!r}"))
        try:
            return Decision({"value": str(value(str(data["expression"]))), "fault": ""})
        except NoValue as fault:
            return Decision({"value": "", "fault": str(fault)})


def value(expression: str, variables: Mapping[str, int] | None = None) -> int:
    """The value of an expression of whole numbers with + - * // % and brackets.

    Args:
        expression: at most 200 characters.
        variables: values of the names that may occur in it: x0, x1 and so on.

    Raises:
        NoValue: it is no such expression, divides by zero, or leaves the bounds.

    >>> value("7 * (3 - 5)"), value("x0 * 2", {"x0": 3})
    (-14, 6)
    """
    if len(expression) > 200 or not _WRITTEN.fullmatch(expression):
        raise NoValue("not an expression of at most 200 digits, signs and brackets")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        return _value(tree.body, variables or {})
    except (SyntaxError, RecursionError, MemoryError) as fault:
        raise NoValue("not an expression") from fault
    except ZeroDivisionError as fault:
        raise NoValue("division by zero") from fault


def _value(node: ast.expr, variables: Mapping[str, int]) -> int:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        found = _BINARY[type(node.op)](_value(node.left, variables), _value(node.right, variables))
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        found = _UNARY[type(node.op)](_value(node.operand, variables))
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        found = node.value
    elif isinstance(node, ast.Name) and node.id in variables:
        found = variables[node.id]
    elif isinstance(node, ast.Name):
        raise NoValue(f"{node.id} has no value")
    else:
        raise NoValue("only whole numbers, + - * // % and brackets")
    if abs(found) > BOUND:
        raise NoValue("too large")
    return found
