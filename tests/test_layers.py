"""Imports only point down: core < envs, agents, arenas < training < the root modules."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "core": "ludus/core",
    "envs": "envs",
    "agents": "agents",
    "arenas": "arenas",
    "training": "ludus/training",
}
MAY_IMPORT = {
    "core": set(),
    "envs": {"core"},
    "agents": {"core"},
    "arenas": {"core"},
    "training": {"core", "agents", "arenas"},
}
# What a layer may take from outside, wherever in a file the import stands.
OUTSIDE = {"core": {"numpy", "numba"}, "envs": {"numpy"}}
DOORS = {"gymnasium", "pettingzoo", "pyspiel", "textarena"}
FILES = [(layer, path) for layer, folder in FOLDERS.items() for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """The line and the full name of everything imported; `package` is where relative imports start."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            whole = ".".join(part for part in (start, node.module) if part)
            if whole == "ludus":
                yield from ((node.lineno, f"ludus.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, whole


def faults(layer: str, source: str, package: str, outside: set[str] | None = None) -> list[str]:
    """What a file of a layer imports that it must not."""
    found = []
    for line, name in imports(source, package):
        head, _, rest = name.partition(".")
        if head in FOLDERS:
            found.append(f"line {line}: import ludus.{name}, not {name}")
        elif head == "ludus":
            below = rest.split(".")[0]
            if below not in MAY_IMPORT[layer] | {layer}:
                found.append(f"line {line}: {layer} must not import {name}")
        elif outside is not None and head not in outside | set(sys.stdlib_module_names):
            found.append(f"line {line}: {layer} must not need {head}")
    return found


@pytest.mark.parametrize(("layer", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])
def test_imports_point_down(layer: str, path: Path) -> None:
    inside = path.parent.relative_to(ROOT / FOLDERS[layer]).parts
    outside = OUTSIDE.get(layer)
    if layer == "envs" and inside[:1] == ("doors",):
        outside = OUTSIDE["envs"] | DOORS
    assert faults(layer, path.read_text(), ".".join(["ludus", layer, *inside]), outside) == []


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("core", "import ludus.envs.board"),
        ("core", "from ludus import play"),
        ("core", "from ..training import run"),
        ("core", "import torch"),
        ("envs", "from ludus.agents.simple import Random"),
        ("envs", "def f():\n    import gymnasium"),
        ("agents", "from ludus.envs import cards"),
        ("arenas", "import envs.board"),
        ("training", "from ludus.envs.cards import kuhn_poker"),
        ("training", "from ludus.cli import main"),
    ],
)
def test_imports_that_point_up_are_seen(layer: str, source: str) -> None:
    assert faults(layer, source, f"ludus.{layer}", OUTSIDE.get(layer))


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("core", "from .game import Game\nimport numpy as np\nfrom ludus.core import play"),
        ("envs", "from ludus.core.game import Game\nfrom . import nim"),
        ("training", "import torch\nfrom ludus.agents import network\nfrom ludus.arenas import population"),
    ],
)
def test_imports_that_point_down_pass(layer: str, source: str) -> None:
    assert faults(layer, source, f"ludus.{layer}", OUTSIDE.get(layer)) == []
