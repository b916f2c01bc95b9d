"""One reply means one move everywhere."""

import re

import numpy as np
import pytest

from ludus.core.errors import UnknownName
from ludus.core.game import Choice, Forfeit, Form, Text
from ludus.core.reading import (
    boxed,
    could_mean,
    instruction,
    read_answer,
    read_boxed,
    read_reply,
    split_thought,
    write_answer,
    write_move,
)


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


# ---------------------------------------------------------------------------------------- boxes
@pytest.mark.parametrize(
    ("reply", "inside"),
    [
        (r"\boxed{bet}", "bet"),
        (r"\boxed {bet}", "bet"),
        (r"so \boxed{pass}, no: \boxed{bet}.", "bet"),  # the last
        (r"\boxed{bet} and then \boxed{pass", "bet"),  # of those whose braces close
        (r"\boxed{a {b} c}", "a {b} c"),
        (r"\boxed{\boxed{bet}}", "bet"),
        (r"\boxed{\text{bet}}", "bet"),
        (r"\boxed{\text{a} \text{b}}", r"a} \text{b"),  # as a pattern from end to end takes it
        (r"\fbox{bet}", "bet"),
        (r"\boxed{pass} \fbox{bet}", "pass"),  # a frame counts where there is no box
        (r"\boxed{}", ""),
        (r"\boxed bet", None),
        ("[bet]", None),
    ],
)
def test_the_last_box_that_closes_is_found(reply, inside):
    assert boxed(reply) == inside


@pytest.mark.parametrize(
    ("reply", "move"),
    [
        (r"A king. \boxed{bet}", 1),
        (r"\boxed{[bet]}", 1),
        ("[bet]", 1),
        ("  bet\n", 1),  # the whole of it, without the space around it
        (r"\fbox{bet}", 1),
        (r"\boxed{\text{bet}}", 1),
        ("\\boxed{1\n  six}", 2),  # white space becomes one space
        (r"I bet \boxed{[1 six]}", 2),
        (r"<think>\boxed{bet}</think> it is", 1),  # the box is looked for everywhere
        (r"\boxed{Bet}", None),  # to the letter
        (r"\boxed{ bet }", None),  # a space within brackets stays
        (r"\boxed{I will [bet]}", None),
        ("I bet", None),
        ("so I say: \\boxed{bet", None),
        (r"\boxed{}", None),
        (" \n", None),
        ("", None),
        (r"\boxed{fold}", None),
    ],
)
def test_spiral_reads_to_the_letter(reply, move):
    read = read_boxed(reply, BETS, strict=True)
    assert read == read_answer(reply, BETS, "spiral")
    assert (read.move, read.how) == (move, "exact") if move is not None else read.how == "forfeit"


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("", ""),  # nothing is handed on as nothing
        (" \n", "[]"),
        (r"\boxed{}", "[]"),
        ("one two three four five", "[one two three four five]"),
        ("one two three four five six", "one two three four five six"),
        ("so [Accept]", "so [Accept]"),
        ("half]", "half]"),
        ("one\n\ttwo   three", "[one two three]"),
        (r"\fbox{take \boxed{it}}", "[it]"),
        (r"\boxed{a} \boxed{b", "[a]"),
        (r"x \boxed {y", r"[x \boxed {y]"),
        (r"\boxed{a \boxed{b}", "[b]"),
    ],
)
def test_spiral_brings_free_text_to_its_form(reply, action):
    assert read_boxed(reply, Text(80), strict=True) == (action, "exact")


def test_spiral_turns_a_box_within_what_is_read_into_brackets():
    text = r"\fbox{\boxed{bet}"  # neither frame closes but the box within: that is the last box
    assert read_boxed(text, BETS, strict=True).move == 1
    assert read_boxed(r"\boxed{x", Text(80), strict=True).move == r"[\boxed{x]"
    assert read_boxed("12345", Text(4), strict=True) == ("[123", "truncated")


def test_illegal_moves_are_none_of_the_legal_ones():
    options = choice("pass", "bet", illegal=["pass"])
    assert read_boxed(r"\boxed{pass}", options, strict=True).move == Forfeit(
        "the answer [pass] is none of [bet]"
    )
    assert read_boxed(r"\boxed{bet}", options, strict=True) == (1, "exact")
    assert "not allowed" in read_boxed(r"\boxed{pass}", options).move.reason


@pytest.mark.parametrize(
    ("reply", "move", "how"),
    [
        (r"A king. \boxed{bet}", 1, "exact"),
        (r"\boxed{Bet}", 1, "normalised"),
        (r"\boxed{ bet }", 1, "exact"),
        (r"\boxed{I will [bet]}", 1, "normalised"),
        (r"[pass]? no: \boxed{[bet]}", 1, "exact"),
        ("I never bluff, so [pass]", 0, "normalised"),  # without a box, as without the setting
    ],
)
def test_a_box_is_read_leniently(reply, move, how):
    assert read_answer(reply, BETS, "boxed") == (move, how)


def test_boxed_forms_and_texts():
    reply = r'My task: \boxed{{"problem": "1+1", "answer": 2}}'
    for answer in ("boxed", "spiral"):
        assert read_answer(reply, FORM, answer).move == {"problem": "1+1", "answer": 2}
    assert read_answer(r"Well, \boxed{I offer one.}", Text(80), "boxed") == ("I offer one.", "exact")
    with pytest.raises(UnknownName, match="did you mean 'boxed'"):
        read_answer("bet", BETS, "box")


@pytest.mark.parametrize("answer", ["bracket", "boxed", "spiral"])
@pytest.mark.parametrize(
    ("move", "options"),
    [
        (1, BETS),
        (2, BETS),
        (0, choice("a name of more than five words")),
        ({"x": "}{"}, Form({"x": "string"})),
    ],
)
def test_answers_are_written_as_they_are_read(answer, move, options):
    assert read_answer(write_answer(move, options, answer), options, answer).move == move


def test_what_cannot_be_written_says_so():
    with pytest.raises(ValueError, match="cannot be written as an answer of the form 'spiral'"):
        write_answer(0, choice("two  spaces"), "spiral")


def test_a_record_is_held_to_the_move_it_names():
    for reply in ("[bet]", r"hm \boxed{bet}", " hm hm bet", "<think>[pass]</think>bet"):
        assert could_mean(reply, BETS, 1)
        assert not could_mean(reply, BETS, 2)
    assert could_mean(" hm I offer.", Text(80), "I offer.")
    assert not could_mean(" hm I offer.", Text(80), "You offer.")


@pytest.mark.parametrize(
    ("raw", "note", "answer"),
    [
        ("[bet]", "", "[bet]"),
        ("a king</think>[bet]", "a king", "[bet]"),  # the prompt opened the thought
        ("<think>a</think>b<think>c</think>[bet]", "abc", "[bet]"),
        ("<think>a</think>[bet]<think>or", "a[bet]or", ""),
        ("<think>[bet]", "[bet]", ""),
    ],
)
def test_thoughts_are_split_off(raw, note, answer):
    assert split_thought(raw) == (note, answer)
