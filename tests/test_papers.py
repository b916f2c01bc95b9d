"""What papers.md says is where it says."""

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
ROWS = [line.split("|") for line in (HOME / "papers.md").read_text(encoding="utf-8").splitlines()]
CODE = [(row[1].strip(), row[2]) for row in ROWS if len(row) > 3 and ".py" in row[2]]


def files(name: str) -> list[Path]:
    """A file by its path, or all of that name in the package."""
    if "/" in name:
        return [HOME / name]
    return [path for part in ("ludus", "agents", "arenas", "envs") for path in (HOME / part).rglob(name)]


@pytest.mark.parametrize(("paper", "code"), CODE, ids=[paper[:40] for paper, _ in CODE])
def test_every_place_is_there(paper, code) -> None:
    for place in re.split(r"; (?=\S+\.py)", code.strip()):
        name, _, named = place.partition(":")
        lines = [line for path in files(name) for line in path.read_text(encoding="utf-8").splitlines()]
        source = "\n".join(line for line in lines if not line.startswith(("from ", "import ")))
        assert source, f"{paper}: no file {name}"
        for spelt in re.findall(r"`([^`]+)`", named):
            word = re.match(r"[\w.]+", spelt)
            for part in word[0].split(".") if word else ():
                assert re.search(rf"\b{part}\b", source), f"{paper}: no {part} in {name}"
