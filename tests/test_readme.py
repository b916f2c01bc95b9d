"""The README's example runs as it stands, its commands exist, and its paths are there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ludus.cli import app
from ludus.core.registry import GAMES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def examples():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_agent_of_the_example_is_rated_in_python_and_from_the_command_line(tmp_path, monkeypatch, capsys):
    *_, example = examples()
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert re.search(r"\| 1 \| bold \|", capsys.readouterr().out)
    (tmp_path / "mine.py").write_text(example.split("mine = ")[0])
    (line,) = [line for line in commands() if "mine:Bold" in line]
    words = [*shlex.split(line)[1:], "--seeds", "2"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "bold" in (tmp_path / "runs/bold/standings.md").read_text()


def test_the_example_of_a_solver_comes_near_an_equilibrium(capsys):
    _, _, example, _ = examples()
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    gap, _, rest = capsys.readouterr().out.partition(" ")
    assert float(gap) < 0.03
    assert "player_0" in rest


def test_the_example_of_a_batch_steps_many_games():
    pytest.importorskip("torch"), pytest.importorskip("gymnasium")
    there = {"__name__": "readme"}
    exec(compile(examples()[1], "README.md", "exec"), there)
    assert there["seen"].shape == (4096, *there["games"].game.shape)
    assert (there["seen"].numpy() == there["games"].observation).all()
    assert there["envs"].reset(seed=0)[0]["action_mask"].any(-1).all()


def test_the_doors_open_by_the_names_that_are_told():
    gymnasium, pettingzoo = pytest.importorskip("gymnasium"), pytest.importorskip("pettingzoo")
    (text,) = re.findall(r"```\n(import ludus, gymnasium.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].replace("race", "kuhn_poker") for line in text.splitlines()[2:]]
    there = {"gymnasium": gymnasium, "pettingzoo": pettingzoo}
    for line in lines:
        assert "kuhn_poker" in repr(eval(line, there).unwrapped.host.game)


def test_the_example_registers_a_game_and_learns_it(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    example, *_ = examples()
    assert len([line for line in example.splitlines() if line.strip()]) <= 25
    monkeypatch.setattr(GAMES, "_makers", dict(GAMES._makers))  # other tests do not know its game
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    before, after = map(float, capsys.readouterr().out.split("->"))
    assert before == pytest.approx(1 / 3)
    assert after < 0.75 * before


def commands():
    return sorted(
        {
            line.split("#")[0].strip()
            for line in re.findall(r"^ludus .*|(?<=&& )ludus .*", README, re.MULTILINE)
        }
    )


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_readme_can_be_read(line):
    """The words are parsed as the command line does, and nothing is run."""
    import typer

    for part in line.split("&&"):
        words = shlex.split(part)[1:]
        command = typer.main.get_command(app)
        context = command.make_context("ludus", [*words], resilient_parsing=True)
        name, found, rest = command.resolve_command(context, words)
        assert found is not None, name
        found.make_context(name, rest)


def test_every_path_of_the_tree_is_there():
    tree = README.split("## The tree")[1].split("```")[1]
    parent = ROOT
    for line in tree.strip().splitlines():
        indent, names = re.match(r"( *)((?:\S+ )*?\S+)(?:  |$)", line).groups()
        for name in names.split():
            assert ((parent if indent else ROOT) / name).exists(), f"{name} of {line!r}"
        if not indent:
            parent = ROOT / names.split()[0]


def test_pictures_and_files_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README) + re.findall(r"configs/\w+\.toml", README):
        assert (ROOT / path).is_file(), path


def test_help_is_short_enough_to_read():
    shown = CliRunner().invoke(app, ["--help"]).output
    for name in (
        "games",
        "check",
        "new",
        "play",
        "train",
        "tournament",
        "leaderboard",
        "replay",
        "verify",
        "demo",
    ):
        assert re.search(rf"^\W*{name}\b", shown, re.MULTILINE)
