"""What a prompt shows, how moves are spelt, and how replies are read."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import ludus
from ludus.core.agent import Request
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Choice, Forfeit, Form, Text, View

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ludus.agents.language.local import LanguageModel
from ludus.agents.language.manner import Manner, read_manner
from ludus.agents.language.models.causal import CausalModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.prompts import Prompter
from ludus.agents.language.teach import lessons, teach, texts
from ludus.cli import app
from ludus.core.registry import make
from ludus.training.policies import make_policy

BETS = Choice(("pass", "bet"), np.array([True, True]))
PAST = tuple((View(f"view {turn}"), turn % 2) for turn in range(4))


def request(past=PAST, view="view 4", options=BETS, **settings):
    rng = np.random.default_rng(0)
    return Request("e", "g", "player_0", View(view), options, past, rng, rules="The rules.", **settings)


def shown(prompter, asked):
    return [(message["role"][0], message["content"]) for message in prompter.messages(asked)]


# ------------------------------------------------------------------------------- context policies
def test_what_each_memory_shows():
    def compact(memory, **settings):
        return shown(Prompter("compact", memory, **settings), request())

    now = "view 4\n[pass] [bet]"
    assert compact("turn") == [("u", now)]
    whole = [
        ("u", "view 0"),
        ("a", "[pass]"),
        ("u", "view 1"),
        ("a", "[bet]"),
        ("u", "view 2"),
        ("a", "[pass]"),
    ]
    assert compact("conversation") == [*whole, ("u", "view 3"), ("a", "[bet]"), ("u", now)]
    assert compact("auto") == compact("conversation")
    assert compact("window", window=2) == [*whole[-2:], ("u", "view 3"), ("a", "[bet]"), ("u", now)]
    assert compact("window", window=9) == compact("conversation")
    assert compact("window", window=0) == compact("turn")
    assert compact("first_last") == [("u", f"view 0\n{now}")]
    assert shown(Prompter("compact", "first_last"), request(past=())) == [("u", now)]


def test_only_conversations_go_on_from_their_tokens():
    complete = request(complete=True)
    for memory in ("turn", "window", "first_last"):
        assert not Prompter(memory=memory).converses(request())
    assert Prompter(memory="conversation").converses(complete)
    assert Prompter().converses(request())
    assert not Prompter().converses(complete)
    assert not Prompter("spiral", "conversation").converses(request())


@pytest.mark.parametrize("memory", ["turn", "conversation", "window", "first_last"])
def test_rules_and_complaint_stand_once_wherever_a_prompt_begins(memory):
    told = shown(Prompter(memory=memory), request(complaint="No such move.", attempt=1))
    assert [content for _, content in told if "The rules." in content] == [told[0][1]]
    assert told[0][1].startswith("The rules.\n\nYou are player_0.\n\nview")
    assert told[-1][1].endswith("[pass], [bet].\nNo such move.")


def test_a_window_moves_over_a_game_and_is_fed_as_the_request_says(taught):
    agent = LanguageModel(taught, memory="window", window=1)
    states = [request(PAST[:turn], f"view {turn}") for turn in range(4)]
    decisions = [agent.act([state])[0] for state in states]
    for state, decision in zip(states, decisions, strict=True):
        assert np.array_equal(agent.fed(state), decision.tokens.prompt)
    fed = [agent.decode(decision.tokens.prompt.tolist()) for decision in decisions]
    assert "view 2<|end|><|assistant|>[pass]<|end|><|user|>view 3" in fed[3]
    assert "view 1" not in fed[3]


# ---------------------------------------------------------------------------------------- styles
def test_spiral_is_one_message_of_events():
    told = Prompter("spiral", "conversation").messages(request(PAST[:2], view="view 2"))
    ((role, text),) = [(message["role"], message["content"]) for message in told]
    head, _, rest = text.partition("\nObservation: ")
    assert role == "user"
    assert "zero-sum" in head
    assert rest.splitlines()[:-1] == [
        "[GAME] The rules.", "[GAME] You are player_0.", "[GAME] view 0", "[player_0] [pass]", "[GAME] view 1",
        "[player_0] [bet]", "[GAME] view 2", "Available actions: [pass] [bet]",
    ]  # fmt: skip
    assert "step by step" in text.splitlines()[-1]
    assert text.endswith(r"\boxed{}.")


def test_spiral_shows_first_and_last_and_names_actions_once():
    told = shown(Prompter("spiral", "first_last"), request(view="Choose [pass] or [bet]."))[0][1]
    assert "view 0\n[GAME] Choose [pass] or [bet].\nThink" in told
    assert "view 1" not in told
    assert "[player_0]" not in told
    assert shown(Prompter("spiral", system="Be brief."), request())[0] == ("s", "Be brief.")


def test_a_box_is_asked_for():
    assert shown(Prompter(answer="boxed", memory="turn"), request())[-1][1].endswith(
        r"Put the answer in \boxed{}."
    )
    assert "boxed" not in shown(Prompter(), request())[-1][1]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"style": "loud"}, "unknown prompt style"),
        ({"memory": "all"}, "unknown prompt memory"),
        ({"thoughts": "drop"}, "unknown prompt thoughts"),
        ({"answer": "box"}, "did you mean 'boxed'"),
        ({"style": "spiral", "answer": "bracket"}, "asks for a box"),
        ({"window": -1}, "not negative"),
        ({"scratch_most": 3}, "given as scratch"),
        ({"scratch": "[x", "scratch_most": 1}, "holds a mark"),
    ],
)
def test_settings_that_are_none_are_refused(settings, match):
    with pytest.raises((ConfigError, UnknownName), match=match):
        Prompter(**settings)
    with pytest.raises((ConfigError, UnknownName), match=match):
        Manner(**settings).prompter()


# --------------------------------------------------------------------------- spelling and reading
SPELT = {
    "bracket": ("[bet]", "~[bet]", "~~[bet]"),
    "boxed": (r"\boxed{bet}", r"~\boxed{bet}", r"~~\boxed{bet}"),
    "spiral": (r"\boxed{bet}", r"~\boxed{bet}", r"~~\boxed{bet}"),
}


@pytest.mark.parametrize("answer", SPELT)
def test_every_spelling_is_read_as_the_move(answer):
    prompter = Prompter(answer=answer, scratch="~", scratch_most=2)
    assert prompter.spellings(1, BETS) == SPELT[answer]
    for way in SPELT[answer]:
        assert prompter.read(way, BETS)[1] == (1, "exact")
        note, read = prompter.read(f"<think>A king.</think>{way}", BETS)
        assert read == (1, "exact")
        assert note.startswith("A king.")
    assert prompter.replies(BETS)[0] == tuple(way.replace("bet", "pass") for way in SPELT[answer])


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1, max_size=12)


@given(
    name=NAMES.filter(lambda name: name == " ".join(name.split())),
    answer=st.sampled_from(["boxed", "spiral"]),
)
def test_any_name_can_be_written_in_a_box(name, answer):
    options = Choice((name, "another move of more than five words"), np.array([True, True]))
    prompter = Prompter(answer=answer)
    for move in (0, 1):
        try:
            (way,) = prompter.spellings(move, options)
        except ValueError as fault:
            assert "cannot be written" in str(fault)  # noqa: PT017
            assert {"{", "}", "\\"} & set(name)
        else:
            assert prompter.read(way, options)[1].move == move


def test_scratch_is_passed_over_however_long():
    prompter = Prompter(scratch=" hm", scratch_most=2)
    assert prompter.read(" hm hm hm hmbet", BETS) == ("hm hm hm hm", (1, "exact"))
    assert prompter.read(" hm hm", BETS)[1].how == "forfeit"
    assert prompter.read(' hm{"x": 1}', Form({"x": "integer"}))[1].move == {"x": 1}
    boxed = Prompter(answer="boxed", scratch=" hm", scratch_most=1)
    assert boxed.spellings("I offer.", Text(30)) == (r"\boxed{I offer.}", r" hm\boxed{I offer.}")
    assert boxed.read(r" hm\boxed{ hm, I offer.}", Text(30))[1].move == " hm, I offer."


def test_an_earlier_move_that_is_not_legal_now_is_written_still():
    only_pass = Choice(("pass", "bet"), np.array([True, False]))
    told = shown(Prompter("compact", "conversation", answer="boxed"), request(options=only_pass))
    assert told[3] == ("a", r"\boxed{bet}")
    forfeited = ((View("view 0"), Forfeit("none")),)
    assert shown(Prompter("compact", answer="boxed"), request(forfeited))[1] == ("a", "...")


# ----------------------------------------------------------------------------- constrained replies
@pytest.mark.parametrize("scratch_most", [0, 2])
def test_constrained_replies_are_spellings_of_legal_moves(taught, scratch_most):
    settings = {"answer": "boxed", "scratch": "~", "scratch_most": scratch_most, "max_new_tokens": 16}
    agent = LanguageModel(taught, constrain="replies", **settings)
    only_bet = Choice(("pass", "bet"), np.array([False, True]))
    asked = request(options=only_bet, complete=True)
    ways = [agent.decode(reply) for reply in agent.allowed(asked)]
    assert ways == list(SPELT["boxed"][: scratch_most + 1])
    several = [asked.replace(rng=np.random.default_rng(seed)) for seed in range(40)]
    decisions = agent.act(several)
    assert {decision.raw for decision in decisions} <= set(ways)
    assert {decision.move for decision in decisions} == {1}
    assert {decision.tokens.constraint for decision in decisions} == {"replies"}


@pytest.mark.parametrize("options", [Text(80), Form({"x": "integer"})])
def test_open_replies_cannot_be_constrained(taught, options):
    agent = LanguageModel(taught, constrain="replies")
    with pytest.raises(ConfigError, match=r"are open: .*constrain = \"\""):
        agent.act([request(options=options)])


# --------------------------------------------------------------------------------------- teaching
def test_lessons_with_scratch_hold_every_length(taught):
    model = CausalModel(taught)
    prompter = Prompter("compact", answer="boxed", scratch="~", scratch_most=2)
    found = lessons(model, prompter, ["kuhn_poker"], 60, 0, [1, 0, 3])
    assert len(found.prompts) == 12
    said = [model.decode(reply) for reply in found.replies[0]]
    assert said == [way.replace("bet", move) for move in ("pass", "bet") for way in SPELT["boxed"]]
    assert found.odds(0).tolist() == [0.125, 0, 0.375] * 2
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found.floor(None) == pytest.approx(np.log(2) + entropy)
    alike = lessons(model, prompter, ["kuhn_poker"], 60, 0)
    assert alike.odds(0) is None
    assert alike.floor(None) == pytest.approx(np.log(2) + np.log(3))
    with pytest.raises(ConfigError, match="are 3 numbers"):
        lessons(model, prompter, ["kuhn_poker"], 5, 0, [0.5, 0.5])


def test_scratch_of_varying_length_is_learnt_and_read(tmp_path):
    odds = [4, 2, 1, 1]
    folder = make_tiny(tmp_path, width=48, layers=2, heads=4, seed=0)
    result = teach(
        folder, ["matching_pennies"], steps=130, episodes=4, answer="boxed", scratch="~", scratch_most=3,
        scratch_odds=odds, rate=6e-3,
    )  # fmt: skip
    share = np.array(odds) / 8
    assert result.floor == pytest.approx(np.log(2) - (share * np.log(share)).sum())
    assert result.floor - 0.05 < result.loss < result.floor + 0.25
    assert read_manner(folder).prompter() == Prompter("compact", answer="boxed", scratch="~", scratch_most=3)
    agent = LanguageModel(folder, name="it")
    episodes = list(ludus.play("matching_pennies", {"player": agent}, range(150)))
    steps = [step for episode in episodes for step in episode.steps if step.raw is not None]
    legal = [step for step in steps if step.read != "forfeit"]
    assert len(legal) > 0.93 * len(steps)
    lengths = np.bincount([step.raw.count("~") for step in legal], minlength=4)[:4] / len(legal)
    np.testing.assert_allclose(lengths, share, atol=0.12)
    assert {v.reached for v in ludus.verify(episodes, {"it": agent})} == {"tokens"}
    assert all(v.ok for v in ludus.verify(episodes))  # without the agent to say how it reads
    step = dataclasses.replace(episodes[0].steps[0], raw=r"~\boxed{call}")
    forged = dataclasses.replace(episodes[0], steps=(step, *episodes[0].steps[1:]))
    assert ludus.verify([forged])[0].refused == "tokens"


def test_saved_settings_of_before_are_valid(tmp_path):
    (tmp_path / "ludus.json").write_text(
        json.dumps({"style": "compact", "memory": "auto", "max_new_tokens": 9})
    )
    assert read_manner(tmp_path).prompter() == Prompter("compact")
    assert Manner().sampling("player_0").stop == ()
    assert Manner(style="completion", answer="boxed").sampling("").stop == ("\n\n",)
    assert Manner(style="completion", stop=("##",)).sampling("").stop == ("##",)


# ------------------------------------------------------------------------------------ tiny models
def test_scratch_is_one_token_wherever_it_stands(tmp_path):
    corpus = texts(["kuhn_poker"], answer="boxed")
    folder = make_tiny(tmp_path, width=16, layers=1, heads=2, vocabulary=320, corpus=corpus, words=[" hm"])
    model = CausalModel(folder)
    base = model.encode_reply(r"\boxed{bet}")
    lengths = [len(model.encode_reply(" hm" * count + r"\boxed{bet}")) - len(base) for count in range(6)]
    assert lengths == list(range(6))
    assert model.decode(model.encode_reply(r" hm hm\boxed{bet}")) == r" hm hm\boxed{bet}"
    assert len(model.tokenizer) <= 320


def test_a_config_makes_a_vocabulary_of_its_games(tmp_path):
    games = [make("kuhn_poker"), make("tic_tac_toe")]
    policy = make_policy(
        "tiny_language", games, name="it", seed=0, folder=tmp_path / "it",
        model={"width": 256, "layers": 4, "heads": 8, "vocabulary": 300},
        lessons={"steps": 1, "episodes": 2, "answer": "boxed", "scratch": " hm", "scratch_most": 1},
    )  # fmt: skip
    assert sum(weight.numel() for weight in policy.parameters()) == pytest.approx(3.2e6, rel=0.05)
    assert len(policy.model.tokenizer) == 300
    assert len(policy.model.encode_reply(" hm")) == 2
    assert policy.prompter == Prompter("compact", answer="boxed", scratch=" hm", scratch_most=1)


def test_a_vocabulary_without_games_says_so(tmp_path):
    with pytest.raises(ConfigError, match="name games"):
        make_tiny(tmp_path, vocabulary=512)
    with pytest.raises(ConfigError, match="at least 262"):
        make_tiny(tmp_path, vocabulary=200, corpus=["x"], words=["y"])


def test_the_commands_make_a_vocabulary_and_teach_scratch(tmp_path):
    folder, small = str(tmp_path / "tiny"), ["--width", "16", "--layers", "1", "--heads", "2"]
    made = CliRunner().invoke(app, ["tiny", folder, *small, "--vocabulary", "290", "--game", "kuhn_poker"])
    assert made.exit_code == 0, made.output
    assert len(CausalModel(folder).tokenizer) == 290
    scratch = ["--answer", "boxed", "--scratch", "~", "--scratch-most", "2"]
    told = CliRunner().invoke(app, ["teach", folder, "--game", "kuhn_poker", "--steps", "1", *scratch])
    assert told.exit_code == 0, told.output
    assert f"{np.log(2) + np.log(3):.4f} would be perfect" in told.output.replace("\n", " ")
    assert read_manner(folder).prompter() == Prompter("compact", answer="boxed", scratch="~", scratch_most=2)
