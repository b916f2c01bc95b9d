"""Standings, what they count, and the forms they are given in."""

import io
import json

import pytest
from rich.console import Console

from ludus.arenas.exploit import exploitabilities
from ludus.arenas.leaderboard import by_game, standings, to_data
from ludus.arenas.report import EXPLOITABILITY, ORDER, as_json, markdown, terminal
from ludus.arenas.schedules import round_robin
from ludus.arenas.store import Folder
from ludus.core.agent import Decision, FirstLegal, Uniform
from ludus.core.episode import Episode, Step
from ludus.core.errors import ConfigError, RecordError
from ludus.core.game import Forfeit
from ludus.core.match import Match
from ludus.core.play import play
from ludus.core.registry import make


class Bet:
    name = "always_bet"

    def act(self, requests):
        return [Decision(1) for _ in requests]


@pytest.fixture(scope="module")
def episodes():
    return list(play(round_robin("kuhn_poker", [Uniform(), FirstLegal(), Bet()], range(30))))


def test_betting_always_beats_this_field_and_the_table_says_on_what(episodes):
    table = standings(episodes)
    assert table.rows[0].agent == "always_bet"  # the others pass too often
    assert (table.games, table.seeds, table.errors) == (180, 30, 0)
    row = table.row("first_legal")
    assert row.games == 120
    assert row.on == "kuhn_poker, 30 seeds, against 2 others"
    assert row.payoff.low <= row.payoff.mean <= row.payoff.high
    assert sum(r.payoff.mean for r in table.rows) == pytest.approx(0)  # all play alike many games of zero sum
    assert table.payoffs.agents == tuple(r.agent for r in table.rows)


def test_ratings_order_the_rows(episodes):
    ratings = [row.rating.mean for row in standings(episodes).rows]
    assert ratings == sorted(ratings, reverse=True)


def test_exploitability_is_shown_where_it_is_exact(episodes):
    game = make("kuhn_poker")
    exact = exploitabilities(game, [Uniform(), FirstLegal(), Bet()])
    assert exact["uniform"] == pytest.approx(0.916667 / 2, abs=1e-6)
    assert exact["always_bet"] is None  # it does not tell its probabilities
    assert standings(episodes, exploitability=exact).row("uniform").exploitability == exact["uniform"]


def test_what_is_too_large_has_no_exploitability():
    assert exploitabilities(make("kuhn_poker"), [Uniform()], positions=10) == {"uniform": None}


def step(seat, move, read, rejected=()):
    return Step(seat, move, "0" * 16, read=read, rejected=rejected)


def test_unusable_replies_cuts_and_errors_are_counted():
    lineup = {"player_0": "a", "player_1": "b", "referee_0": "r"}
    won = {"player_0": 1.0, "player_1": -1.0}
    steps = (
        step("player_0", 0, "exact"),
        step("player_0", 0, "retry", ("what?",)),
        step("player_0", "x", "truncated"),
        step("referee_0", "ok", "normalised"),
        step("player_1", Forfeit("empty"), "forfeit"),
    )
    games = [
        Episode(Match("nim", lineup, seed=0), steps, returns=won, end="forfeit"),
        Episode(Match("nim", lineup, seed=1), steps[:1], returns=won, end="cut"),
        Episode(Match("nim", lineup, seed=2), steps[:2], end="error", fault="the referee broke"),
    ]
    table = standings(games)
    assert [row.agent for row in table.rows] == ["a", "b"]  # crew is not rated
    a, b = table.row("a"), table.row("b")
    assert (a.games, a.decisions, a.illegal, a.truncated, a.cut, a.errors) == (2, 4, 0.25, 1, 1, 1)
    assert (b.decisions, b.illegal, b.forfeits, b.errors) == (1, 1.0, 1, 1)
    assert (table.games, table.errors) == (2, 1)


def test_several_games_make_several_tables(episodes):
    nim = list(play(round_robin(make("nim", stones=7), [Uniform(), FirstLegal()], range(3))))
    with pytest.raises(ValueError, match="of 2"):
        standings(episodes + nim)
    assert [table.game for table in by_game(nim + episodes)] == ["kuhn_poker", "nim(stones=7)"]


def test_the_forms_carry_the_same_figures(episodes):
    table = standings(episodes, exploitability={"uniform": 0.25})
    text = markdown(table)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal(table))
    shown = console.export_text()
    data = json.loads(as_json([table]))[0]
    for row, kept in zip(table.rows, data["rows"], strict=True):
        assert f"{row.payoff.mean:+.3f}" in text
        assert f"{row.payoff.mean:+.3f}" in shown
        assert kept["rating"][0] == pytest.approx(row.rating.mean, abs=1e-5)
    assert "0.2500" in text
    for form in (text, " ".join(shown.split())):
        assert ORDER in form
        assert EXPLOITABILITY in form
    assert data["payoffs"]["cells"][0][0] is None
    assert to_data(table) == data


def test_one_seed_is_null_in_json():
    (row, *_) = to_data(standings(play("kuhn_poker", {"player": "uniform"}, [0])))["rows"]
    assert row["payoff"][1:] == [None, None]


# ------------------------------------------------------------------------------------ the store
def test_a_tournament_stopped_anywhere_goes_on_to_the_same_games(tmp_path):
    agents = [Uniform(), FirstLegal()]
    plan = list(round_robin("kuhn_poker", agents, range(10)))
    whole = {e.to_json() for e in play(plan)}
    folder = Folder(tmp_path)
    for number, _ in enumerate(folder.add(play(folder.remaining(plan), at_once=4))):
        if number == 6:
            break
    with folder.file.open("a") as file:
        file.write('{"format":1,"match":{"ga')  # a kill in the middle of a line
    with pytest.warns(UserWarning, match=r"episodes.jsonl:8"):
        rest = folder.remaining(plan)
    assert len(rest) == 13
    assert len(list(folder.add(play(rest)))) == 13
    assert {e.to_json() for e in folder.episodes()} == whole
    assert folder.remaining(plan) == []


def test_games_that_broke_are_played_again(tmp_path):
    match = Match("kuhn_poker", {"player_0": "uniform", "player_1": "first_legal"}, seed=3)
    folder = Folder(tmp_path)
    list(folder.add([Episode(match, (), end="error", fault="the endpoint is down")]))
    assert folder.remaining([match]) == [match]


def test_a_folder_without_episodes_says_so(tmp_path):
    with pytest.raises(RecordError, match=r"episodes\.jsonl"):
        Folder(tmp_path).episodes()


def test_a_folder_above_one_with_episodes_names_it(tmp_path):
    for name in ("b", "a/tournament"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "episodes.jsonl").write_text("")
    with pytest.raises(RecordError, match=r"there are: \S+/a/tournament, \S+/b$"):
        Folder(tmp_path).episodes()


def test_facts_are_kept(tmp_path):
    folder = Folder(tmp_path / "new")
    folder.state({"game": "nim", "exploitability": {"a": None}})
    assert folder.facts() == {"game": "nim", "exploitability": {"a": None}}


# -------------------------------------------------------------------- agents that cannot be tabulated
class Searcher(Bet):
    name = "searcher"

    def probabilities(self, requests):
        raise ConfigError("it needs to be shown the state")


def test_an_agent_that_cannot_be_asked_has_no_exploitability_and_the_reason_is_kept():
    why = {}
    exact = exploitabilities(make("kuhn_poker"), [Uniform(), Searcher(), Bet()], why=why)
    assert exact["uniform"] == pytest.approx(0.916667 / 2, abs=1e-6)
    assert (exact["searcher"], exact["always_bet"]) == (None, None)
    assert "shown the state" in why["searcher"]
    assert set(why) == {"searcher", "always_bet"}


# ----------------------------------------------------------------------------- records that are not true
def test_forged_records_are_left_out_and_played_again(tmp_path):
    plan = list(round_robin("kuhn_poker", [Uniform(), FirstLegal()], range(3)))
    folder = Folder(tmp_path)
    list(folder.add(play(plan)))
    lines = folder.file.read_text().splitlines()
    forged = json.loads(lines[2])
    forged["returns"] = {seat: 7 * paid for seat, paid in forged["returns"].items()}
    folder.file.write_text("\n".join([*lines[:2], json.dumps(forged), *lines[3:]]) + "\n")
    with pytest.warns(UserWarning, match=r"1 of 6 episodes are refused.*episode 2.*ludus verify"):
        assert [e.to_json() for e in folder.true()] == [*lines[:2], *lines[3:]]
    with pytest.warns(UserWarning, match="refused"):
        assert len(folder.remaining(plan)) == 1


def test_games_that_broke_are_not_called_forged(tmp_path, recwarn):
    match = Match("kuhn_poker", {"player_0": "uniform", "player_1": "first_legal"}, seed=3)
    folder = Folder(tmp_path)
    list(folder.add([Episode(match, (), end="error", fault="the endpoint is down")]))
    assert len(folder.true()) == 1
    assert not recwarn.list


def test_standings_of_nothing_say_so():
    with pytest.raises(ValueError, match="no episodes"):
        standings([])
