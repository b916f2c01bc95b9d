"""What the benchmarks share: runs that take turns, and tables that are printed and kept as JSON.

A run is a function that works for some seconds and says how much it did in each. Those that are compared take turns,
so that all meet the same load; a cell is the median, in brackets the range.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"

Run = Callable[[float], float]


def parser(doc: str, *, seconds: float = 10.0, repetitions: int = 5) -> argparse.ArgumentParser:
    """A parser of the command line with what all benchmarks take."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--seconds", type=float, default=seconds, help="of each repetition (default: %(default)s)"
    )
    made.add_argument("--repetitions", type=int, default=repetitions, help="(default: %(default)s)")
    return made


def repeated(work: Callable[[], int]) -> Run:
    """A run that calls `work` again and again; it returns how much it did."""

    def run(seconds: float) -> float:
        done, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds:
            done += work()
        return done / taken

    return run


def measure(runs: Mapping[str, Run], options: argparse.Namespace) -> dict[str, list[float]]:
    """What each run did a second, repetition by repetition; they take turns."""
    gc.collect()
    gc.freeze()  # what peers brought along when they were imported is no work of anybody's
    found: dict[str, list[float]] = {who: [] for who in runs}
    for run in runs.values():
        run(0.2)
    for _ in range(options.repetitions):
        for who, run in runs.items():
            found[who].append(run(options.seconds))
    return found


def cell(speeds: Sequence[float], unit: float = 1e6) -> str:
    """The median in units, and in brackets the range."""
    return f"{statistics.median(speeds) / unit:.3g} ({min(speeds) / unit:.3g} to {max(speeds) / unit:.3g})"


def times(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as fast the medians say that we are."""
    return statistics.median(ours) / statistics.median(theirs)


def judged(ratio: float, least: float = 0.0, aim: float = 0.0) -> str:
    """A ratio, with the bound that it misses."""
    if least and ratio < least:
        return f"{ratio:.3g} (MISSED: at least {least:g})"
    if aim and ratio < aim:
        return f"{ratio:.3g} (at least {least:g} met, aim {aim:g} missed)"
    return f"{ratio:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def about(options: argparse.Namespace) -> dict[str, Any]:
    """The day, the machine and the command."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}".strip(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}, numpy {np.__version__}",
        "seconds": options.seconds, "repetitions": options.repetitions, "commit": commit(),
    }  # fmt: skip


def _processor() -> str:
    """What kind it is, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    kind = " ".join(re.findall(r"^(?:model name|cpu family|model)\s*: (.+)$", told, re.MULTILINE)[:3])
    return f"{platform.machine()} ({kind})" if kind else platform.machine()


def commit() -> str:
    """What was measured, where this is a checkout; "-dirty" after it where more than results has been changed since."""
    git = ["git", "-C", str(RESULTS.parents[1])]
    changed = [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results"]
    try:
        asked = [
            subprocess.run(one, capture_output=True, text=True, check=True).stdout.strip()
            for one in ([*git, "rev-parse", "--short", "HEAD"], changed)
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked[0] + ("-dirty" if asked[1] else "")


def keep(name: str, what: Any, options: argparse.Namespace) -> None:
    """Write results as JSON, with the day, the machine and the command."""
    RESULTS.mkdir(exist_ok=True)
    told = json.dumps({"about": about(options), "results": what}, indent=1)
    (RESULTS / f"{name}.json").write_text(told + "\n", encoding="utf-8")


def earlier(name: str) -> dict[str, Any]:
    """The results that are kept so far."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}


def kept_rows(name: str) -> list[dict[str, Any]]:
    """The rows of jobs so far."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def keep_row(name: str, row: dict[str, Any], key: Sequence[str]) -> None:
    """Put a job's row in the place of that of the same job, which `key` tells; jobs may end at the same time."""
    RESULTS.mkdir(exist_ok=True)
    folder = os.open(RESULTS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        others = [one for one in kept_rows(name) if any(one[k] != row[k] for k in key)]
        every = sorted([*others, row], key=lambda one: [one[k] for k in key])
        lines = ",\n".join(json.dumps(one) for one in every)
        (RESULTS / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    finally:
        os.close(folder)


def footnote(name: str, options: argparse.Namespace) -> None:
    """Print when and how a table was made, and where its figures are kept."""
    told, each = about(options), f" of {options.seconds:g} s" * bool(options.seconds)
    print(f"\n{told['date']}, {told['machine']}; medians (ranges) of {options.repetitions} runs{each}")
    print(f"kept in {(RESULTS / name).relative_to(Path(__file__).parents[1])}.json\n", flush=True)
