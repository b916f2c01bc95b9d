"""Modules with one line broken, to prove that tests would see it."""

import importlib.util
import sys
from pathlib import Path


def broken(module, old, new, tmp_path, monkeypatch):
    """A copy of a module in which `old`, which stands there once, is `new`."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"the line that this mutation breaks has changed: {old}"
    path = tmp_path / "broken.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"broken_{module.__name__.rsplit('.', 1)[1]}", path)
    copy = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, copy)
    spec.loader.exec_module(copy)
    return copy
