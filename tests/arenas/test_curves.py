"""Curves of several runs: means over seeds, in pages and pictures."""

import json
import xml.etree.ElementTree as ET

import pytest

from ludus.arenas.web.curves import Curve, Panel, Series, overlaid
from ludus.arenas.web.picture import picture
from ludus.cli import main

PANEL = Panel(r"eval/nash_conv/(.+)", "NashConv")


def rows(*figures, every=10, start=0):
    return [
        {"step": start + k * every, "global_step": k * 100, "eval/nash_conv/main": y}
        for k, y in enumerate(figures)
    ]


def test_means_are_over_the_steps_that_all_seeds_have():
    (curve,) = overlaid({"on": [rows(1.0, 0.5, 0.4), rows(2.0, 0.7)], "off": [rows(0.9)]}, [PANEL])
    faint = [line for line in curve.series if line.faint]
    mean, off = (line for line in curve.series if not line.faint)
    assert [line.y for line in faint] == [[1.0, 0.5, 0.4], [2.0, 0.7]]
    assert mean.name == "on"
    assert mean.y == pytest.approx([1.5, 0.6])
    assert mean.x["step"] == [0, 10]
    assert mean.x["decisions"] == [0, 100]
    assert (off.name, off.y) == ("off", [0.9])


def test_seeds_measured_at_different_steps_have_no_mean():
    (curve,) = overlaid({"on": [rows(1.0), rows(2.0, start=5)]}, [PANEL])
    assert all(line.faint for line in curve.series)


def test_metrics_of_one_run_are_never_averaged():
    both = [{"step": 0, "eval/a/main": 1.0, "eval/b/main": 3.0}]
    (curve,) = overlaid({"on": [both]}, [Panel(r"eval/(?:a|b)/(.+)", "Both")])
    assert [line.y for line in curve.series] == [[1.0], [3.0]]


def test_a_picture_draws_what_it_was_given():
    seeds = overlaid({"a<b": [rows(1.0, 0.5), rows(0.8, 0.4)]}, [PANEL])
    tree = ET.fromstring(picture([*seeds, Curve("Empty", "", [])]))
    paths = [e for e in tree.iter("{http://www.w3.org/2000/svg}path") if e.get("fill") == "none"]
    assert [path.get("stroke-width") for path in paths] == ["1", "1", "2"]
    heights = [float(path.get("d").split("L")[0].split()[1]) for path in paths]
    assert heights[2] == pytest.approx((heights[0] + heights[1]) / 2, abs=0.1)
    assert heights[0] < heights[1]  # the greater figure stands higher
    texts = [e.text for e in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "NashConv" in texts
    assert "a<b" in texts
    assert "Empty" not in texts
    line = Curve("Flat", "", [Series("x", {"step": [0.0]}, [0.0])], {"value": 0.0})
    ET.fromstring(picture([line]))
    with pytest.raises(ValueError, match="no curve has a point against 'seconds'"):
        picture(seeds, against="seconds")


@pytest.fixture
def runs(tmp_path):
    for name, figure in {"rae_s0": 1.0, "rae_s1": 0.5, "off_s0": 0.2}.items():
        (tmp_path / name).mkdir()
        text = "\n".join(map(json.dumps, rows(figure, figure / 2)))
        (tmp_path / name / "metrics.jsonl").write_text(text)
    return tmp_path


def called(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["curves", *map(str, arguments)])
    return stopped.value.code


def test_the_abscissa_names_no_number_at_another_ones_place():
    line = Series("a", {"step": [0.0, 256.0]}, [0.1, 0.9])
    tree = ET.fromstring(picture([Curve("One", "", [line])]))
    places = {e.text: float(e.get("x")) for e in tree.iter("{http://www.w3.org/2000/svg}text")}
    left, end = places["0"], 52 + 352  # where the plot begins, and as wide as it is
    assert "300" not in places
    assert places["200"] == pytest.approx(left + 200 / 256 * (end - left), abs=0.1)


def test_the_command_groups_seeds(runs, capsys):
    folders = [runs / name for name in ("rae_s0", "rae_s1", "off_s0")]
    assert called(*folders, "--out", runs / "x.html") == 0
    page = (runs / "x.html").read_text()
    assert '"name":"rae"' in page
    assert '"faint":true' in page
    assert (
        called(
            *(f"all={folder}" for folder in folders),
            "--metric",
            "eval/nash_conv/main",
            "--out",
            runs / "x.svg",
        )
        == 0
    )
    ET.parse(runs / "x.svg")
    capsys.readouterr()
    for wrong, told in (
        ([runs], "holds no run"),
        ([folders[0], "--metric", "eval/none"], "they have eval/nash_conv/main"),
        ([folders[0], "--metric", "("], "no regular expression"),
    ):
        assert called(*wrong, "--out", runs / "y.html") == 2
        assert told in capsys.readouterr().err
