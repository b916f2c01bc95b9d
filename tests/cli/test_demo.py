"""A very short demo: everything that the long one writes is there, and true."""

import json
import re

import pytest
from typer.testing import CliRunner

from ludus import verify
from ludus.cli import app
from ludus.core.episode import read
from ludus.core.errors import ConfigError

AGENTS = {
    "random", "always bet", "network, before", "network, after", "language, before", "language, after", "equilibrium",
}  # fmt: skip
SHORT = ("--decisions", "4096", "--updates", "2", "--lessons", "20", "--deals", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("demo") / "run"
    result = CliRunner().invoke(app, ["demo", "--out", str(folder), *SHORT], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_the_path_of_the_page_is_printed_last(made):
    folder, output = made
    assert output.rstrip().splitlines()[-1] == str((folder / "index.html").resolve())
    assert (folder / "index.html").stat().st_size > 50_000


def test_every_tournament_game_is_kept_and_everybody_is_rated(made):
    folder, _ = made
    assert len(list(read(folder / "tournament" / "episodes.jsonl"))) == 7 * 6 * 2
    (table,) = json.loads((folder / "standings.json").read_text())
    rows = {row["agent"]: row for row in table["rows"]}
    assert set(rows) == AGENTS
    assert rows["equilibrium"]["exploitability"] == pytest.approx(1.7473e-4 / 2, rel=0.01)
    assert rows["random"]["exploitability"] == pytest.approx(0.916667 / 2, abs=1e-6)
    assert all(row["exploitability"] is not None for row in rows.values())


def test_the_first_and_last_256_games_of_each_learner_are_kept(made):
    folder, _ = made
    for run in ("network", "language"):
        for part in ("first", "last"):
            assert len(list(read(folder / run / "episodes" / f"{part}.jsonl"))) == 256


def test_all_that_is_kept_is_verified_by_the_rules(made):
    folder, _ = made
    verdicts = verify(folder)
    assert len(verdicts) == 7 * 6 * 2 + 4 * 256
    assert {verdict.reached for verdict in verdicts if verdict.ok} == {"rules"}
    assert all(verdict.ok for verdict in verdicts)


def test_the_page_shows_both_learners_and_their_games(made):
    folder, _ = made
    page = (folder / "index.html").read_text()
    for shown in ("NashConv", "Illegal replies", "random play", "training of the language, last games"):
        assert shown in page
    (hues,) = map(json.loads, re.findall(r'"hues":(\{.*?\})', page))
    assert set(hues) == AGENTS | {"network", "language model"}
    assert hues["network"] == hues["network, after"]
    assert hues["language model"] == hues["language, after"]
    assert len(set(hues.values())) == len(AGENTS)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        CliRunner().invoke(app, ["demo", "--out", str(tmp_path)], catch_exceptions=False)
