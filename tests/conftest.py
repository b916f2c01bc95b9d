"""What every test process needs: one thread each, and a word about the sandbox."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

collect_ignore = [
    "support/compiled_cuda.py",
    "support/beside_cuda.py",
]  # programs of test_cuda.py, for processes of their own


# Two test processes share the cores, so each computes on one thread. Set before numpy, torch or numba start.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test may reach for the network, not even to look for a newer file.
for _variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

NO_BWRAP = "bubblewrap (bwrap) cannot isolate a program here; install it with: apt-get install bubblewrap"


@functools.cache
def bwrap_works() -> bool:
    """Whether bubblewrap is installed and the kernel lets it make its namespaces."""
    if shutil.which("bwrap") is None:
        return False
    command = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("bwrap") and not bwrap_works():
        pytest.skip(NO_BWRAP)


DEMANDED = {"LUDUS_REQUIRE_BWRAP": ("bwrap", "bubblewrap"), "LUDUS_REQUIRE_VLLM": ("vLLM",)}


def demand(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where isolation or vLLM is demanded, what is skipped for lack of it has failed."""
    if not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    for variable, words in DEMANDED.items():
        if os.environ.get(variable) == "1" and any(word in reason for word in words):
            report.outcome = "failed"
            report.longrepr = f"{variable}=1, yet: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    demand(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    demand(report)
    return report
