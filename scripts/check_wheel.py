"""Build sdist and wheel, and use the wheel as a stranger would: another folder, a clean environment.

First with numpy alone: `import ludus`, and one game of tic-tac-toe. Then with the base dependencies: every module is
imported, and one that needs an extra must say so by a missing third party, not by a missing piece of Ludus.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"ludus": "ludus", "ludus/envs": "envs", "ludus/agents": "agents", "ludus/arenas": "arenas"}

WITH_NUMPY = """
import sys
import ludus
episode = next(iter(ludus.play("tic_tac_toe", {"player_0": "random", "player_1": "random"}, [0])))
assert episode.returns is not None, episode
outside = {name.split(".")[0] for name in sys.modules} & {"pydantic", "rich", "torch", "typer"}
assert not outside, f"playing a board game imported {sorted(outside)}"
print("with numpy alone: one game of tic_tac_toe")
"""

EVERY_MODULE = """
import importlib, importlib.metadata, importlib.util, pkgutil
import ludus
def missing(error):
    while error is not None:
        if isinstance(error, ImportError) and error.name and error.name.split(".")[0] != "ludus":
            return error.name.split(".")[0]
        error = error.__cause__ or error.__context__
    return None
names, needy = [], {}
for module in pkgutil.walk_packages(ludus.__path__, "ludus.", onerror=lambda name: None):
    names.append(module.name)
    try:
        importlib.import_module(module.name)
    except Exception as error:
        need = missing(error)
        if need is None or importlib.util.find_spec(need) is not None:
            raise
        needy.setdefault(need, []).append(module.name)
print(f"with the base dependencies: {len(names)} modules, {sum(map(len, needy.values()))} of them need an extra")
for need, modules in sorted(needy.items()):
    print(f"  {need}: {', '.join(modules)}")
(script,) = importlib.metadata.entry_points(group="console_scripts", name="ludus")
script.load()
"""


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a program; what it says is seen, and its failure is ours."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}
    }
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=environment)


def build(folder: Path) -> Path:
    """An sdist of the tree and, from it, a wheel."""
    run(sys.executable, "-m", "build", "--quiet", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def tracked(folder: str) -> list[Path]:
    """The files below a folder of ours that git knows or would add, links left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def check_contents(wheel: Path) -> None:
    """Every file of the four source folders is in the wheel, and nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        f"{target}/{path.relative_to(ROOT / folder).as_posix()}"
        for target, folder in SOURCES.items()
        for path in tracked(folder)
    }
    if packed != ours:
        sys.exit(f"missing in the wheel: {sorted(ours - packed)}; too much in it: {sorted(packed - ours)}")
    print(f"{wheel.name}: {len(packed)} files, as in the tree")


def check_use(wheel: Path, folder: Path) -> None:
    """Install it step by step in a clean environment and use it from a folder of its own."""
    run(sys.executable, "-m", "venv", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pinned = ["--constraint", ROOT / "constraints.txt"]
    run(*pip, *pinned, "numpy", cwd=folder)
    run(*pip, "--no-deps", wheel, cwd=folder)
    run(python, "-W", "error", "-c", WITH_NUMPY, cwd=folder)
    run(*pip, *pinned, wheel, cwd=folder)
    run(python, "-W", "error", "-c", EVERY_MODULE, cwd=folder)
    run(folder / "venv" / "bin" / "ludus", "--help", cwd=folder)


def main() -> None:
    """Build, compare, install, import."""
    with tempfile.TemporaryDirectory(prefix="ludus-wheel-") as name:
        folder = Path(name)
        wheel = build(folder)
        check_contents(wheel)
        check_use(wheel, folder)


if __name__ == "__main__":
    main()
