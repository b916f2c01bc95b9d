"""One reply means one move everywhere."""

import re

import numpy as np
import pytest

from ludus.core.game import Choice, Forfeit, Form, Text
from ludus.core.reading import instruction, read_reply, write_move


def choice(*names, illegal=()):
    return Choice(names, np.array([name not in illegal for name in names]))


BETS = choice("pass", "bet", "1 six", illegal=())


@pytest.mark.parametrize(
    ("reply", "move", "how"),
    [
        ("[bet]", 1, "exact"),
        ("bet", 1, "exact"),
        (" [bet]\n", 1, "exact"),
        ("[BET]", 1, "normalised"),
        ("Bet.", 1, "normalised"),
        ("**pass**", 0, "normalised"),
        ("[1SIX]", 2, "normalised"),
        ("[ 1  six ]", 2, "normalised"),
        ("I never bluff, so [pass]", 0, "normalised"),
        ("[bet], yes, [bet]", 1, "normalised"),
        ("[[bet", 1, "normalised"),
        ("see [1] of the rules: [bet]", 1, "normalised"),
    ],
)
def test_a_choice_is_read(reply, move, how):
    assert read_reply(reply, BETS) == (move, how)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("[pass] [bet]", r"two moves: \[pass\], \[bet\]"),
        ("I would never bet", r"names no move.*in the prose stand \[bet\]"),
        ("pass or bet", r"in the prose stand \[pass\], \[bet\]"),
        ("[fold]", "names no move"),
        ("bet \ud800", "surrogate"),
    ],
)
def test_what_is_not_one_move_is_refused(reply, why):
    move, how = read_reply(reply, BETS)
    assert how == "forfeit"
    assert isinstance(move, Forfeit)
    assert re.search(why, move.reason), move.reason


def test_an_illegal_move_is_named_as_such():
    move, how = read_reply("[bet]", choice("pass", "bet", illegal=["bet"]))
    assert how == "forfeit"
    assert move.reason == "[bet] is not allowed now; Answer with [pass]."


def test_names_that_differ_in_case_only_are_told_apart_when_written_exactly():
    options = choice("a", "A")
    assert read_reply("[A]", options) == (1, "exact")
    assert read_reply("well, [A]", options) == (1, "normalised")
    assert read_reply("[ a ]", choice("a b", "AB")).how == "forfeit"
    assert "two moves" in read_reply("[Ab]", choice("a b", "AB")).move.reason


def test_a_name_inside_another_is_not_read():
    options = choice("1", "11")
    assert read_reply("11", options) == (1, "exact")
    assert read_reply("[11]", options) == (1, "exact")
    assert read_reply("so: [1]", options) == (0, "normalised")


def test_text_is_cut_at_its_limit():
    assert read_reply("as it stands ", Text(20)) == ("as it stands ", "exact")
    assert read_reply("ünïcödé 🎲", Text(9)) == ("ünïcödé 🎲", "exact")
    assert read_reply("12345", Text(4)) == ("1234", "truncated")
    assert read_reply("", Text(4)).how == "forfeit"


FORM = Form({"problem": "string", "answer": "integer"}, max_chars=80)


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        ('{"problem": "1+1", "answer": 2}', "exact"),
        ('```json\n{"problem": "1+1", "answer": 2}\n```', "normalised"),
        ('Here: {"answer": 2, "problem": "1+1"} .', "normalised"),
    ],
)
def test_a_form_is_json(reply, how):
    assert read_reply(reply, FORM) == ({"problem": "1+1", "answer": 2}, how)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ('{"problem": "1+1"}', "missing 'answer'"),
        ('{"problem": "1+1", "answer": 2, "x": 1}', "unknown 'x'"),
        ('{"problem": "1+1", "answer": true}', "'answer' is True, not of type integer"),
        ('{"problem": "1", "problem": "2", "answer": 2}', "given twice"),
        ('{"problem": "1+1", "answer": 2} {"problem": "2", "answer": 2}', "not JSON"),
        ('{"problem": "\\ud800", "answer": 2}', "surrogate"),
        ("[1, 2]", "it is a list"),
        ("no json at all", "not JSON"),
        ('{"problem": "' + "x" * 80 + '", "answer": 2}', "at most 80"),
        ("[" * 79, "not JSON"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(reply, why):
    move, how = read_reply(reply, FORM)
    assert how == "forfeit"
    assert why in move.reason


def test_numbers_that_json_cannot_hold_are_refused():
    assert "not JSON" in read_reply('{"x": NaN}', Form({"x": "number"})).move.reason
    assert "not JSON" in read_reply('{"x": 1e999}', Form({"x": "number"})).move.reason
    assert "not JSON" in read_reply("[" * 9_000, Form({"x": "number"})).move.reason


@pytest.mark.parametrize(
    ("move", "options"),
    [(2, BETS), (0, choice("a", "A")), ("any\ntext", Text(20)), ({"problem": "é", "answer": 2}, FORM)],
)
def test_what_is_written_is_read_back(move, options):
    assert read_reply(write_move(move, options), options) == (move, "exact")


def test_a_forfeit_cannot_be_written():
    with pytest.raises(TypeError, match="no reply that means it"):
        write_move(Forfeit("tired"), BETS)


def test_instructions_name_what_may_be_done():
    assert instruction(choice("pass", "bet")) == "Answer with exactly one of [pass], [bet]."
    assert instruction(choice("pass", "bet", illegal=["pass"])) == "Answer with [bet]."
    assert instruction(FORM) == 'Answer with one JSON object: {"problem": string, "answer": integer}.'
