"""What numba says against rules, told with the lines of the rules."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ludus.core.sources import cache_folder, helpers, rule_functions


def uses(rules: Any, field: str) -> list[str]:
    """The lines of the rules, where their source is known, that name a field."""
    found, named = [], re.compile(rf"\.{field}\b")
    for function in (*rule_functions(rules).values(), *helpers(rules)):
        with suppress(OSError):
            lines, first = inspect.getsourcelines(function)
            found += [
                f"{function.__qualname__} ({inspect.getsourcefile(function)}, line {first + k})"
                for k, line in enumerate(lines)
                if named.search(line)
            ]
    return found


def explained(fault: Exception) -> str:
    """The innermost line of the rules that numba names in its message, and what it says against it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(fault))
    places = re.findall(r'(?:File "| at |[Rr]aised from )([^"\n]+?)(?:", line | \(|:)(\d+)', text)
    own = [f"{file}, line {line}" for file, line in places if Path(file).exists() and _is_rule(file)]
    return f"{own[0]}: {_reason(text)}" if own else _reason(text)


def _is_rule(file: str) -> bool:
    """Whether a file is neither one of the made kernels nor numba's own."""
    place = str(Path(file).resolve())
    return not place.startswith(str(cache_folder().resolve())) and "/numba/" not in place


def _reason(text: str) -> str:
    """The line of numba's message that says what it does not understand."""
    if "NRT required" in text:
        return "this makes a list, a dictionary, a string or an array, and rules may not allocate"
    text = re.sub(r"Function\(<function (\w+) at 0x\w+>\)", r"\1", text)
    text = re.sub(r"found for signature:\s+>>> ", "for ", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = (
        "Unknown attribute",
        "Untyped global",
        "Cannot",
        "No implementation",
        "not supported",
        "Invalid",
        "forbidden",
    )
    told = [line for line in lines if not line.startswith("Failed in nopython mode pipeline")]
    return next((line for line in told if any(word in line for word in telling)), told[0] if told else text)
