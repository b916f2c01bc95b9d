"""Agents without a thought, tables, and a person at a terminal."""

import numpy as np
import pytest

import ludus
from ludus.agents.exact import Tabular, exact
from ludus.agents.human import Human
from ludus.agents.simple import Constant, Scripted
from ludus.core.agent import Request
from ludus.core.errors import ConfigError, RecordError, UnknownName
from ludus.core.game import Choice, Forfeit, Text, View
from ludus.core.play import play
from ludus.core.registry import agent_for, make, make_agent

PASS_OR_BET = Choice(("pass", "bet"), np.array([True, True]))


def ask(options=PASS_OR_BET, past=(), **more):
    return Request(
        "e", "kuhn_poker", "player_0", View("a view"), options, past, np.random.default_rng(0), **more
    )


def test_registered_names_make_agents():
    assert {make_agent(name).name for name in ("uniform", "random")} == {"uniform"}
    assert make_agent("first_legal").name == "first_legal"
    assert make_agent("constant", move="bet").name == "always_bet"


def test_a_script_is_played_in_order_by_name_or_index():
    script = Scripted(["bet", 0])
    assert script.act([ask()])[0].move == 1
    assert script.act([ask(past=((View(""), 1),))])[0].move == 0
    with pytest.raises(ConfigError, match="has 2 moves, and turn 3 came"):
        script.act([ask(past=((View(""), 1),) * 2)])


def test_a_script_may_be_a_function_and_free_text_is_taken_as_it_stands():
    assert Scripted(lambda request: request.seat).act([ask(Text(80))])[0].move == "player_0"


def test_a_script_names_the_move_that_is_unknown():
    with pytest.raises(UnknownName, match="did you mean 'bet'"):
        Scripted(["bett"]).act([ask()])


def test_a_constant_move_is_played_where_allowed():
    only_pass = Choice(("pass", "bet"), np.array([True, False]))
    agent = Constant("bet")
    assert [d.move for d in agent.act([ask(), ask(only_pass)])] == [1, 0]
    assert [p.tolist() for p in agent.probabilities([ask(), ask(only_pass)])] == [[0, 1], [1, 0]]


def test_the_equilibrium_as_an_agent_is_the_table_that_was_solved():
    game = make("kuhn_poker")
    equilibrium = exact("kuhn_poker", 300)
    episodes = list(play(game, {"player_0": equilibrium, "player_1": Constant("bet")}, range(40)))
    assert all(step.move == 1 for e in episodes for step in e.of("player_1"))
    assert ludus.nash_conv(game, ludus.tabular(game, equilibrium)) < 2e-3


def test_a_table_is_saved_and_loaded(tmp_path):
    solved = exact("kuhn_poker", 20)
    solved.save(tmp_path / "table.json")
    again = exact(path=str(tmp_path / "table.json"))
    assert again.fingerprint() == solved.fingerprint()
    assert again.name == "exact"
    assert (
        agent_for(make("kuhn_poker"), "exact", path=str(tmp_path / "table.json")).table.keys()
        == again.table.keys()
    )
    assert agent_for(make("kuhn_poker"), "exact", iterations=20).fingerprint() == solved.fingerprint()
    (tmp_path / "broken.json").write_text('{"name": "x", "table": {"a": [0.5, 0.6]}}')
    with pytest.raises(RecordError, match="add up to one"):
        Tabular.load(tmp_path / "broken.json")


def test_a_table_names_the_information_state_it_lacks():
    with pytest.raises(UnknownName, match="player_0: a view"):
        Tabular({"player_0: another": [0.5, 0.5]}).act([ask()])


def test_a_table_draws_as_often_as_it_says_and_never_what_it_excludes():
    table = Tabular({"player_0: a view": [0.25, 0.0, 0.75]})
    three = Choice(("a", "b", "c"), np.array([True, True, True]))
    request = ask(three)
    moves = [table.act([request])[0].move for _ in range(2000)]
    counts = np.bincount(moves, minlength=3)
    assert counts[1] == 0
    assert abs(counts[0] / 2000 - 0.25) < 0.04


class Desk:
    """A person who types what was written down before."""

    def __init__(self, *lines):
        self.lines, self.shown = list(lines), []

    def human(self):
        return Human(ask=lambda prompt: self.lines.pop(0), show=self.shown.append)


def test_a_person_answers_by_name_or_number_and_is_asked_again():
    desk = Desk("raise", "3", "BET", "1")
    human = desk.human()
    decision = human.act([ask(rules="the rules")])[0]
    assert (decision.move, decision.raw) == (1, "BET")
    assert human.act([ask(rules="the rules")])[0].move == 0
    assert sum("the rules" in text for text in desk.shown) == 1
    assert any("1) pass  2) bet" in text for text in desk.shown)
    assert any("3 is not one of the numbers 1 to 2" in text for text in desk.shown)


def test_where_names_are_numbers_a_number_is_a_name():
    columns = Choice(("0", "1", "2"), np.array([False, True, True]))
    assert Desk("1").human().act([ask(columns)])[0].move == 1


def test_a_person_may_leave():
    decision = Desk("quit").human().act([ask()])[0]
    assert isinstance(decision.move, Forfeit)
    (episode,) = play("kuhn_poker", {"player_0": Desk("quit").human(), "player_1": "uniform"}, [0])
    assert episode.end == "forfeit"
