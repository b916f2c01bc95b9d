"""The page: whole, self-contained, and safe to open whatever the players wrote."""

import json
import re

from ludus.arenas.leaderboard import standings
from ludus.arenas.report import ORDER
from ludus.arenas.schedules import round_robin
from ludus.arenas.web.curves import POINTS, Curve, curves, read_metrics, series
from ludus.arenas.web.films import Reel
from ludus.arenas.web.page import HUES, LINE_HUES, Page, _file
from ludus.core.agent import Decision, FirstLegal, Uniform
from ludus.core.match import Illegal
from ludus.core.play import play

EVIL = "</script><script>alert(1)</script> {{data}} \u2028"


class Talker:
    name = "talker <b>"

    def act(self, requests):
        return [Decision(EVIL, raw=EVIL, note="hm") for _ in requests]


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def test_the_page_needs_nothing_from_outside_and_holds_everything():
    episodes = list(play(round_robin("kuhn_poker", [Uniform(), FirstLegal()], range(3))))
    reel = Reel()
    reel.add(episodes)
    curve = Curve("NashConv", "", [series("net", [{"step": 1, "nash_conv": 0.5}], "nash_conv")])
    page = Page("A title", "A lead.", {"Games": 6}, [standings(episodes)], [curve], reel).html()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "{{" not in page
    data = data_of(page)
    assert data["facts"] == [["Games", "6"]]
    assert len(data["boards"][0]["rows"]) == 2
    assert data["curves"][0]["series"][0] == {"name": "net", "x": {"step": [1.0]}, "y": [0.5]}
    assert len(data["films"]) == 6
    assert data["order"] == ORDER  # what the order of the rows counts, and what it does not


def line(name):
    return series(name, [{"step": 1, "y": 0.5}], "y")


def test_one_colour_is_one_name_or_a_line_and_the_agent_whose_learning_it_shows():
    board = standings(play(round_robin("kuhn_poker", [Uniform(), FirstLegal()], range(3))))
    curve = Curve("", "", [line("first_legal"), line("net"), line("other")])
    hues = data_of(Page("t", boards=[board], curves=[curve], learners={"net": "uniform"}).html())["hues"]
    assert set(hues) == {"uniform", "first_legal", "net", "other"}
    assert hues["net"] == hues["uniform"]
    assert len(set(hues.values())) == 3
    many = Curve("", "", [line(f"line {k}") for k in range(9)])
    hues = data_of(Page("t", boards=[board], curves=[many]).html())["hues"]
    theirs = {hues.pop(agent) for agent in ("uniform", "first_legal")}
    assert not theirs & set(hues.values())
    css = _file("page.css")
    for name in (f"{kind}{k}" for kind, count in (("s", HUES), ("c", LINE_HUES)) for k in range(count)):
        assert len(re.findall(rf"--{name}: #", css)) == 2  # in the light and in the dark


def test_lines_of_a_page_without_standings_have_the_colours_of_agents():
    hues = data_of(Page("t", curves=[Curve("", "", [line(""), line("b")])]).html())["hues"]
    assert hues == {"": "--s0", "b": "--s1"}


def test_nothing_a_player_writes_becomes_markup():
    match = round_robin("kuhn_poker", [Uniform(), Talker()], range(2), illegal=Illegal("retry", times=1))
    reel = Reel()
    reel.add(list(play(match)))
    page = Page("t", reel=reel).html()
    assert page.count("</script>") == 2
    assert "alert(1)</script>" not in page
    films = data_of(page)["films"]
    moves = [
        f
        for film in films
        for f in film["frames"]
        if f.get("seat") and film["agents"][f["seat"]] == Talker.name
    ]
    assert moves[0]["rejected"] == [EVIL]
    assert moves[0]["raw"] == EVIL
    assert moves[0]["forfeit"] is True


def test_films_show_each_seat_its_own_view_and_add_up():
    reel = Reel()
    reel.add(list(play("kuhn_poker", {"player_0": "uniform", "player_1": "first_legal"}, [4])))
    (film,) = reel.films
    first, *rest = film["frames"]
    assert first["kind"] == "start"
    assert len(first["chance"]) == 2
    views = [reel.texts[i] for i in first["views"]]
    assert views[0] != views[1]
    assert all("Your card is" in view for view in views)
    assert film["frames"][-1]["sums"] == [seat["return"] for seat in film["seats"]]
    assert all(move["legal"] == ["pass", "bet"] for move in rest)


def test_long_curves_are_thinned_and_keep_their_last_point():
    rows = [{"step": i, "global_step": 10 * i, "loss": float(i), "nash_conv": None} for i in range(2001)]
    line = series("net", rows, "loss")
    assert len(line.y) <= POINTS
    assert line.y[-1] == 2000.0
    assert line.x["decisions"][-1] == 20000.0
    assert series("net", rows, "nash_conv") is None


def test_metrics_cut_short_are_read_as_far_as_they_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


def test_runs_become_panels_and_step_zero_is_at_zero():
    rows = [{"step": 0, "eval/nash_conv/net": 0.9}, {"step": 1, "global_step": 64, "eval/nash_conv/net": 0.5}]
    two = [{"step": 1, "a/losses/entropy": 0.5, "b/losses/entropy": 0.4}]
    conv, entropy = curves({"one": rows, "two": two})
    assert (conv.label, entropy.label) == ("NashConv", "Entropy")
    assert [line.name for line in conv.series] == ["one"]
    assert conv.series[0].x == {"decisions": [0.0, 64.0], "step": [0.0, 1.0]}
    assert [line.name for line in entropy.series] == ["two, a", "two, b"]
