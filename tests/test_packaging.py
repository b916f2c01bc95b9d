"""The package list in pyproject.toml names every package directory in the tree."""

import os
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = PROJECT["tool"]["setuptools"]["package-dir"]


def packages_in(name: str, folder: Path) -> set[str]:
    """The packages below a folder, links not followed."""
    return {
        ".".join([name, *Path(at).relative_to(folder).parts])
        for at, _, files in os.walk(folder)
        if any(file.endswith(".py") for file in files)
    }


def test_every_package_directory_is_listed() -> None:
    found = {p for name, at in {"ludus": "ludus", **MAPPED}.items() for p in packages_in(name, ROOT / at)}
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_package_has_an_init_file() -> None:
    for name in PROJECT["tool"]["setuptools"]["packages"]:
        assert (ROOT / name.replace(".", "/") / "__init__.py").is_file(), name


def test_mapped_folders_are_linked_inside_the_package() -> None:
    for name, folder in MAPPED.items():
        link = ROOT / name.replace(".", "/")
        assert link.is_symlink(), f"{link} must be a link to ../{folder}"
        assert link.resolve() == ROOT / folder


def test_files_beside_the_code_are_packaged() -> None:
    listed = PROJECT["tool"]["setuptools"]["package-data"]
    places = {"ludus": "ludus"} | MAPPED
    for package, folder in places.items():
        patterns = [*listed["*"], *listed.get(package, ())]
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"}:
                assert any(path.match(pattern) for pattern in patterns), f"{path} would not be in the wheel"


def test_constraints_pin_every_dependency() -> None:
    named = {
        line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(need for extra in extras for need in extra)]
    names = {re.split(r"[^\w.-]", need)[0].replace("_", "-").lower() for need in wanted} - {"ludus"}
    assert names <= named, f"constraints.txt does not pin {sorted(names - named)}"
