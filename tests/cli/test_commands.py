"""The commands, as a person types them."""

import json
import re
import shlex
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ludus.arenas.exploit import NO_MIXING, NO_VIEW
from ludus.arenas.schedules import round_robin
from ludus.arenas.store import Folder
from ludus.cli import app, main
from ludus.commands.tournament import merged, missing, play_on
from ludus.core.agent import FirstLegal, Uniform
from ludus.core.episode import read
from ludus.core.errors import ConfigError, LudusError
from ludus.core.play import _Hall
from ludus.core.registry import make
from ludus.core.sources import COMPILED

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = (
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
    "tiny",
    "teach",
)


def run(*arguments, stdin=None):
    result = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command):
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert f"Example:  ludus {command}" in shown.output


def test_games_lists_every_game_with_what_it_is():
    shown = run("games").output
    assert re.search(r"kuhn_poker +2 +2 +zero +Kuhn", shown)
    assert re.search(r"simple_negotiation +2 +text", shown)


def test_games_tells_all_about_one():
    shown = run("games", "dark_hex").output
    for line in (
        r"^dark_hex\(\)$",
        r"  seats +player_0, player_1$",
        r"  moves +9: a1, b1, .*c3$",
        r"  features +\(109,\) uint8$",
        r"  zero sum +yes$",
        r"  perfect information +no$",
        r"  array game +yes$",
        r"  parameters +size = 3, abrupt = False$",
        r"  agent +trained, for size=3, abrupt=True$",
        r"^In turn|^player_0 plays x and moves first",
    ):
        assert re.search(line, shown, re.MULTILINE), line
    assert shown.count("- size: rows and columns.") == 1
    shown = run("games", "nim", "--set", "stones=7").output
    assert shown.startswith("nim(stones=7)\n")
    assert "agent" not in shown
    assert re.search(r"moves +text replies", run("games", "simple_negotiation").output)
    with pytest.raises(LudusError, match="did you mean 'kuhn_poker'"):
        run("games", "kuhn")
    assert run("games", "--set", "stones=7").exit_code == 2


def test_the_version_is_told():
    shown = run("--version")
    assert shown.exit_code == 0
    assert shown.output == f"ludus {version('ludus')}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["play", "kuhn"], "did you mean 'kuhn_poker'"),
        (["play", "kuhn_poker", "--seat", "player_2=uniform"], "player_2"),
        (["play", "kuhn_poker", "--seat", "player_0=uniformm"], "did you mean 'uniform'"),
        (["play", "kuhn_poker", "--seat", "player_0"], "write seat=agent"),
        (["play", "kuhn_poker", "--seat", "player_0=constant(mov=bet)"], "it takes move, name"),
        (["tournament", "kuhn_poker", "--agents", "uniform"], "2 places"),
        (["leaderboard", "/nowhere"], "episodes.jsonl"),
        (["replay", "/nowhere.jsonl"], "does not exist: replay takes"),
        (["play", "nim", "--set", "stones=abc"], "stones"),
        (["play", "nim", "--set", "stones=-3"], "1 to 10,000 stones"),
        (["play", "kuhn_poker", "--seat", "player_0=mcts(simulations=0)"], "at least one simulation"),
        (["play", "kuhn_poker", "--seat", "player_0=language(path=configz)"], "did you mean configs?"),
        (["play", "kuhn_poker", "--seat", "player_0=runs_there_not/x"], "there is no folder"),
        (
            ["play", "kuhn_poker", "--seat", "player_0=language(path=gone/x/y)"],
            "model folder gone/x/y, for there is no folder gone",
        ),
        (
            ["play", "kuhn_poker", "--seat", "player_0=network(path=gone/x)"],
            "no saved network: there is no folder gone/x",
        ),
        (["check", "rase_x"], "pip install -e FOLDER"),
        (["exploit", "kuhn_poker", "uniform, uniform"], "give one of them a label, label=uniform"),
        (["exploit", "kuhn_poker", "minimax"], "exploitability is worked out from what the seats see"),
        (["play", "kuhn_poker", "--seat", "player_0=no_module:Agent"], "unknown module 'no_module'"),
        (["teach", "nosuch", "--game", "kuhn_poker"], "there is no model folder nosuch"),
        (
            ["train", "configs/lm_kuhn.toml", 'policies.main={name="language", path="runs/nosuch"}'],
            "there is no model folder runs/nosuch",
        ),
        (["verify", "configs", "--agent", "net=nosuch"], "there is no folder nosuch"),
        (["new", "game", "class"], "word of Python"),
        (["verify", "/nowhere.jsonl"], "does not exist"),
        (["train", "nowhere.toml"], "there is no nowhere.toml"),
        (["new", "game", "Kuhn Poker"], "lower case"),
        (["new", "game", "kuhn_poker"], "already"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_two(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("ludus: ")
    assert said.count("\n") == 1
    assert says in said


def test_wrong_arguments_of_any_kind_are_one_line_and_a_traceback_is_there_for_the_asking(
    capsys, monkeypatch
):
    def app(arguments):
        raise ValueError("seven is no number\nof seats")

    monkeypatch.setattr("ludus.cli.app", app)
    for debug, lines in (("", 1), ("1", 5)):
        monkeypatch.setenv("LUDUS_DEBUG", debug)
        with pytest.raises(SystemExit) as stopped:
            main([])
        assert stopped.value.code == 2
        said = capsys.readouterr().err
        assert said.splitlines()[-1].startswith("ludus: seven is no number of seats (ValueError")
        assert ("Traceback" in said) == bool(debug)
        assert said.count("\n") >= lines


MINE = """
from ludus import Decision

class Bold:
    name = "bold"
    def __init__(self, move=1): self.move = move
    def act(self, requests): return [Decision(self.move) for _ in requests]

def timid(): return Bold(0)
def nobody(): return 7
"""


def test_an_agent_of_ones_own_sits_down_by_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "my_agents.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    agents = "my_agents:Bold, t=my_agents:timid, odd=my_agents:Bold(move=0)"
    run("tournament", "kuhn_poker", "--agents", agents, "--seeds", 2, "--out", "cup")
    rows = json.loads((tmp_path / "cup/standings.json").read_text())[0]["rows"]
    assert {row["agent"] for row in rows} == {"bold", "t", "odd"}
    shown = run("play", "kuhn_poker", "--seat", "player_0=my_agents:Bold", "--seat", "player_1=first_legal")
    assert "bold (player_0)" in shown.output
    for text, says in (
        ("my_agents:Bolt", "Bold"),
        ("my_agents:nobody", "no agent"),
        ("my_agents:Bold(x=1)", "move"),
    ):
        with pytest.raises(LudusError, match=says):
            run("play", "kuhn_poker", "--seat", f"player_0={text}", "--seat", "player_1=uniform")
    sys.modules.pop("my_agents")


def test_the_person_keeps_the_seat_that_is_left_open(tmp_path):
    shown = run(
        "play", "kuhn_poker", "--seat", "player_1=constant(move=bet)", "--seed", 1, stdin="pass\npass\n"
    )
    assert "player_0: human, player_1: always_bet" in shown.output
    assert "player_1 (always_bet) played bet" in shown.output  # what the other did is told


def test_a_person_is_told_what_the_other_did_where_all_of_it_may_be_seen():
    shown = run(
        "play", "nim", "--set", "stones=7", "--seat", "player_1=first_legal", stdin="1\nquit\n"
    ).output
    before, told, _ = shown.partition("player_1 (first_legal) plays 1\n")
    assert before.count("player_0> ") == 1
    assert told  # before the next question
    shown = run("play", "kuhn_poker", "--seat", "player_1=first_legal", stdin="pass\nquit\n").output
    assert "first_legal) plays" not in shown
    shown = run("play", "nim", "--set", "stones=7", "--seat", "player=first_legal").output
    assert shown.count("plays") == 7  # as the transcript has it, once


PATIENT = """
from ludus import Decision

class Patient:
    name, held = "patient", []
    def submit(self, requests): self.held += requests
    def poll(self):
        ready, self.held = [(request, Decision(2)) for request in self.held], []
        return ready
    def act(self, requests): raise AssertionError("who has submit is not asked like this")
"""


def test_who_answers_at_its_own_pace_is_told_of_too(tmp_path, monkeypatch):
    (tmp_path / "waiting.py").write_text(PATIENT)
    monkeypatch.chdir(tmp_path)
    nim = ["play", "nim", "--set", "stones=7", "--seat", "player_1=waiting:Patient"]
    assert "player_1 (patient) plays 3\n" in run(*nim, stdin="1\nquit\n").output
    sys.modules.pop("waiting")


def test_what_all_do_at_once_is_not_told_before_all_have_done_it(monkeypatch):
    monkeypatch.setattr(type(make("matching_pennies")), "perfect_information", True)
    shown = run("play", "matching_pennies", "--seat", "player_1=first_legal", stdin="heads\n").output
    assert "first_legal) plays" not in shown


def test_a_person_plays_and_the_episode_is_kept(tmp_path):
    path = tmp_path / "e.jsonl"
    shown = run("play", "kuhn_poker", "--seat", "player_0=human", "--seat", "player_1=constant(move=bet)",
                "--seed", 1, "--out", path, stdin="bet\nbet\n")  # fmt: skip
    assert "Your card is Q." in shown.output
    (episode,) = read(path)
    assert episode.lineup == {"player_0": "human", "player_1": "always_bet"}
    assert f"{episode.returns['player_0']:+g}" in shown.output


def test_search_needs_to_be_shown_hidden_parts():
    with pytest.raises(LudusError, match="not shown it: --show-state player_0, or take an agent"):
        run("play", "kuhn_poker", "--seat", "player_0=mcts(simulations=5)", "--seat", "player_1=uniform")
    shown = run("play", "kuhn_poker", "--seat", "player_0=mcts(simulations=5)", "--seat", "player_1=uniform",
                "--show-state", "player_0")  # fmt: skip
    assert "mcts_5 (player_0)" in shown.output


def test_a_tournament_tells_its_own_option_to_who_needs_the_state(tmp_path):
    arguments = ["tournament", "kuhn_poker", "--seeds", 1, "--out", tmp_path / "cup", "--agents"]
    with pytest.raises(LudusError, match="not shown it: --show-state 'the one', or take an agent"):
        run(*arguments, "uniform, the one=minimax")
    shown = run(*arguments, "uniform, minimax", "--show-state", "minimax").output
    assert "No exploitability of minimax: a search begins at the state" in shown
    assert "privileged" not in shown


def test_reasons_read_right_of_one_agent_and_of_several():
    for reason in (NO_VIEW, NO_MIXING):
        for names in (["a"], ["a", "b"]):
            (line,) = missing(
                {"exploitability": {"c": 1.0}, "no_exploitability": dict.fromkeys(names, reason)}
            )
            assert line == f"No exploitability of {', '.join(names)}: {reason}."
        assert not re.search(r"\b(it|its|they|their)\b", reason.replace("it is", ""))


def test_a_smaller_field_in_the_same_folder_leaves_what_is_known_of_the_others(tmp_path):
    arguments = ["tournament", "tic_tac_toe", "--seeds", 1, "--out", tmp_path, "--agents"]
    run(*arguments, "uniform, first_legal, minimax")
    before = Folder(tmp_path).facts()
    assert set(before["no_exploitability"]) == {"minimax"}
    shown = run(*arguments, "minimax, mcts(simulations=5)").output
    facts = Folder(tmp_path).facts()
    assert facts["agents"] == ["uniform", "first_legal", "minimax", "mcts_5"]
    for name in ("uniform", "first_legal"):
        assert facts["exploitability"][name] == before["exploitability"][name] > 0
    assert "No exploitability of minimax" in shown


def test_who_is_measured_again_replaces_what_was_known_of_it():
    before = {
        "agents": ["a", "b"],
        "exploitability": {"a": 0.1, "b": None},
        "no_exploitability": {"b": "because"},
    }
    assert merged(before, {"b": 0.2, "a": None}, {"a": "so"}) == {
        "agents": ["a", "b"],
        "exploitability": {"b": 0.2, "a": None},
        "no_exploitability": {"a": "so"},
    }


SLOW = """
class Slow:
    name, left = "slow", 3
    def act(self, requests):
        Slow.left -= 1
        if Slow.left < 0:
            raise KeyboardInterrupt
        from ludus import Decision
        return [Decision(0) for _ in requests]
"""


def test_a_tournament_stopped_by_hand_tells_what_is_kept_and_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "snail.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_Hall, "__init__", lambda self, _, made=_Hall.__init__: made(self, 1))
    command = [
        "tournament",
        "matching_pennies",
        "--agents",
        "snail:Slow, uniform",
        "--seeds",
        "4",
        "--out",
        "cup",
    ]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 130
    told = capsys.readouterr()
    assert told.err == "stopped; games kept in cup: 3, and the same command goes on from there\n"
    assert "3/8" in told.out
    sys.modules["snail"].Slow.left = 99
    assert "cup: 3 of 8 games are played already" in run(*command).output
    sys.modules.pop("snail")


def test_the_bar_counts_games_and_time_from_the_beginning(tmp_path, capsys):
    play_on(Folder(tmp_path), list(round_robin("matching_pennies", [FirstLegal(), Uniform()], range(1))))
    assert re.search(r"games \S+ +2/2 0:00:0\d gone", capsys.readouterr().out)


def test_a_leaderboard_of_a_folder_above_names_those_that_are_meant(tmp_path):
    run(
        "tournament",
        "matching_pennies",
        "--agents",
        "uniform, first_legal",
        "--seeds",
        1,
        "--out",
        tmp_path / "x/y",
    )
    with pytest.raises(LudusError, match=r"holds no episodes.jsonl: .*; there are: .*x/y$"):
        run("leaderboard", tmp_path / "x")


@pytest.mark.parametrize("command", ["replay", "verify", "leaderboard"])
@pytest.mark.parametrize("holds", [None, "", "{\n"])
def test_where_no_episode_is_nothing_is_well(command, holds, tmp_path, capsys):
    if holds is not None:
        (tmp_path / "episodes.jsonl").write_text(holds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a line cannot be read
        with pytest.raises(SystemExit) as stopped:
            main([command, str(tmp_path)])
    assert stopped.value.code in (1, 2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert str(tmp_path) in said
    words = "does not exist|holds no" if holds is None else "holds (no episode|nothing)|no episode in"
    assert re.search(words, said)


def test_replay_prints_one_game_or_all(tmp_path):
    path = tmp_path / "e.jsonl"
    run(
        "play",
        "nim",
        "--seat",
        "player=uniform",
        "--games",
        3,
        "--seed",
        0,
        "--out",
        path,
        "--set",
        "stones=5",
    )
    every, one = run("replay", path).output, run("replay", path, "--index", 2).output
    assert every.count("the game is over") == 3
    assert one.startswith("# 2\nnim(stones=5), seed 2")
    assert one.strip() in every
    (tmp_path / "e/episodes").mkdir(parents=True)
    (tmp_path / "e/episodes/last.jsonl").write_text("")
    with pytest.raises(LudusError, match=r"there are: .*e/episodes/last.jsonl"):
        run("replay", tmp_path / "e")
    with pytest.raises(LudusError, match="0 to 2"):
        run("replay", path, "--index", 3)


def test_verify_tells_levels_and_refuses_a_forgery(tmp_path):
    path = tmp_path / "e.jsonl"
    run("play", "kuhn_poker", "--seat", "player=uniform", "--games", 3, "--out", path)
    good = run("verify", path)
    assert good.exit_code == 0
    assert "3 episodes: 3 reached 'rules'; 0 refused; 0 unreadable" in good.output
    lines = path.read_text().splitlines()
    forged = json.loads(lines[1])
    forged["returns"] = {seat: 2 * paid for seat, paid in forged["returns"].items()}
    path.write_text("\n".join([lines[0], json.dumps(forged), "{", lines[2]]) + "\n")
    bad = run("verify", path)
    assert bad.exit_code == 1
    assert re.search(r"1  kuhn_poker  REFUSED at rules: .*returns", bad.output)
    assert "e.jsonl:3" in bad.output
    assert "3 episodes: 2 reached 'rules'; 1 refused; 1 unreadable" in bad.output


def test_verify_of_many_prints_the_counts_unless_each_is_asked_for(tmp_path):
    path = tmp_path / "e.jsonl"
    run("play", "kuhn_poker", "--seat", "player=uniform", "--games", 21, "--out", path)
    assert run("verify", path).output.count("\n") == 1
    assert run("verify", path, "--each").output.count("\n") == 22


def test_a_tournament_goes_on_where_it_stopped_and_is_rendered_again(tmp_path):
    out = tmp_path / "cup"
    agents = "uniform, first_legal, bettor=constant(move=bet), exact(iterations=50)"
    arguments = ["tournament", "kuhn_poker", "--agents", agents, "--out", out]
    run(*arguments, "--seeds", 4)
    again = run(*arguments, "--seeds", 6)
    assert "48 of 72 games are played already" in again.output
    table = json.loads((out / "standings.json").read_text())[0]
    assert (table["games"], table["seeds"]) == (72, 6)
    rows = {row["agent"]: row for row in table["rows"]}
    assert set(rows) == {"uniform", "first_legal", "bettor", "exact"}
    assert rows["exact"]["exploitability"] < 0.02 < rows["uniform"]["exploitability"]
    before = (out / "standings.json").read_text()
    shown = run("leaderboard", out)
    assert shown.output.rstrip().endswith(str(out / "index.html"))
    assert (out / "standings.json").read_text() == before


def test_a_tournament_of_another_game_wants_another_folder(tmp_path):
    arguments = ["--agents", "uniform, first_legal", "--seeds", 1, "--out", tmp_path / "cup"]
    run("tournament", "kuhn_poker", *arguments)
    with pytest.raises(
        ConfigError, match=r"cup holds a tournament of kuhn_poker\(.*nim\(.*another folder, --out"
    ):
        run("tournament", "nim", *arguments)


def test_a_tournament_with_search_keeps_its_standings(tmp_path):
    out = tmp_path / "cup"
    (line,) = re.findall(r"^ludus (tournament tic_tac_toe .*)$", README, re.MULTILINE)
    words = shlex.split(line.replace("--seeds 50", "--seeds 1").replace("runs/cup", str(out)))
    shown = run(*words).output
    (table,) = json.loads((out / "standings.json").read_text())
    assert table["games"] == 6
    rows = {row["agent"]: row for row in table["rows"]}
    assert set(rows) == {"uniform", "minimax", "mcts_50"}
    assert rows["uniform"]["exploitability"] > 0.5
    assert rows["minimax"]["exploitability"] is None
    assert "No exploitability of minimax: " in shown
    assert "No exploitability of minimax: " in (out / "index.html").read_text()


def test_a_leaderboard_leaves_forgeries_out(tmp_path):
    out = tmp_path / "cup"
    run("tournament", "kuhn_poker", "--agents", "uniform, first_legal", "--seeds", 3, "--out", out)
    path = out / "episodes.jsonl"
    path.write_text(path.read_text().replace('"returns":{"player_0":1.0', '"returns":{"player_0":9.0', 1))
    with pytest.warns(UserWarning, match="1 of 6 episodes are refused"):
        run("leaderboard", out)
    assert json.loads((out / "standings.json").read_text())[0]["games"] == 5
    path.write_text("")
    with pytest.raises(LudusError, match="nobody to rank"):
        run("leaderboard", out)


def test_check_gives_a_scorecard_and_what_to_add():
    shown = run("check", "nim", "--episodes", 4)
    assert shown.exit_code == 0
    for part in ("contract", "doors", "determinism", "speed", "gymnasium vector", "replay", "views agree"):
        assert part in shown.output


HALF_DONE = '''
from ludus import Choice, Game, View
import numpy as np

class Coin(Game):
    seats = ("player_0", "player_1")
    def start(self, rng): return ()
    def turn(self, state): return self.seats[len(state):len(state) + 1]
    def options(self, state, seat): return Choice(("heads", "tails"), np.ones(2, bool))
    def view(self, state, seat): return View(f"{len(state)} coins lie.")
    def play(self, state, moves): return (*state, *moves.values())
    def payoff(self, state):
        if len(state) < 2: return {}
        win = 1.0 if state[0] == state[1] else -1.0
        return {"player_0": win, "player_1": -win}

class Endless(Coin):
    """player_1 moves on for ever; nobody has won anything by then."""
    def turn(self, state): return self.seats[bool(state):][:1]
    def payoff(self, state): return {}

class Dark(Coin):
    """Its numbers are all zero at first."""
    def view(self, state, seat): return View(f"{len(state)} coins lie.", np.array([len(state), 0], np.float32))

class Loose(Coin):
    """This one draws from a generator that nobody gave it, which the scorecard has to find."""
    def play(self, state, moves): return (*state, int(np.random.default_rng().integers(1 << 60)))
'''


def test_a_package_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("new", "game", "race")
    for place, folder in ((".", "race"), ("race", ".")):
        monkeypatch.chdir(tmp_path / place)
        with pytest.raises(
            LudusError, match=rf"{tmp_path / 'race'}, which is not installed: pip install -e {folder}$"
        ):
            run("check", "race")
    with pytest.raises(LudusError, match="not installed"):
        run("train", "train.toml", "--quiet")


def test_check_ends_where_a_game_does_not(tmp_path, monkeypatch):
    (tmp_path / "half_done.py").write_text(HALF_DONE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("check", "half_done:Endless", "--episodes", 1)
    assert "no end after 2000 turns" in shown.output
    assert shown.output.count("(not tried: the ") == 6
    shown = run("check", "half_done:Dark", "--episodes", 1)
    assert "Let one number always be 1" in " ".join(shown.output.split())
    sys.modules.pop("half_done")


def test_check_takes_a_game_that_is_not_registered(tmp_path, monkeypatch):
    (tmp_path / "half_done.py").write_text(HALF_DONE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    shown = run("check", "half_done:Coin", "--episodes", 3)
    for line in (
        '@register("coin")',
        "View(text, np.array",
        "zero_sum = True",
        "The rules, as a player reads",
    ):
        assert line in shown.output
    assert shown.exit_code == 1  # no rules to read
    loose = run("check", "half_done:Loose", "--episodes", 3)
    assert loose.exit_code == 1
    assert re.search(r"play is pure +broken", loose.output)
    assert "broken: " in loose.output.splitlines()[0]
    with pytest.raises(LudusError, match="Coin"):
        run("check", "half_done:Con")
    sys.modules.pop("half_done")


FAULTY = """
import re
import ludus

class Misspelt(type(ludus.make("nim"))):
    @staticmethod
    def move(s, a, pay):
        s.stoens -= a + 1

class Wordy(type(ludus.make("nim"))):
    @staticmethod
    def legal(s, seat, out):
        for a in range(len(out)):
            out[a] = len(re.findall("x", "xxx")) > a and a < s.heaps[0]
"""


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_check_tells_of_rules_that_cannot_be_compiled(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    shown = run("check", "faulty:Misspelt", "--episodes", 3)
    assert shown.exit_code == 1
    assert "no field 'stoens'" in shown.output
    with pytest.warns(UserWarning, match=r"faulty\.py, line \d+: .*findall"):
        shown = run("check", "faulty:Wordy", "--episodes", 3)
    assert re.search(r"not compiled: .*numba cannot compile", shown.output)
    monkeypatch.setenv("COLUMNS", "80")  # a long reason leaves room for everything else
    shown = run("check", "faulty:Wordy", "--episodes", 3)
    assert re.search(r"decisions, batch of 1024 +[\d,]+ a", shown.output)
    assert shown.output.count("holds") > 10
    sys.modules.pop("faulty")


TRAIN = (
    'game.name = "kuhn_poker"\npolicies.net = {name = "network", hidden = [8]}\nlineup.player = "net"\n'
    'learners = [{policy = "net", preset = "ppo"}]\nphases = [{steps = 1}]\nkeep_episodes = 0\n'
    'collect = {by = "arrays", rows = 8, length = 4}\ntensorboard = false\n'
)


def test_a_run_that_never_began_leaves_its_place_free(tmp_path):
    pytest.importorskip("torch")
    toml, out = tmp_path / "run.toml", tmp_path / "x"
    toml.write_text(TRAIN)
    with pytest.raises((LudusError, TypeError, ValueError)):
        run("train", toml, "policies.net.hidenn=[4]", "--out", out, "--quiet")
    assert not out.exists()
    with pytest.raises(LudusError, match=r"x does not exist: .*without --resume"):
        run("train", toml, "--out", out, "--quiet", "--resume")
    nobody = ["train", toml, 'lineup.player="uniform"', "--out", out, "--quiet"]
    with pytest.raises(LudusError, match="nobody had anything to learn from"):
        run(*nobody)
    assert "nobody had anything" in (out / "failed.txt").read_text()
    assert "begins again from step 0" in run("train", toml, "--out", out, "--quiet").stderr
    with pytest.raises(LudusError, match="resume"):
        run("train", toml, "seed=9", "--out", out, "--quiet")
    assert (out / "policies" / "net" / "network.json").is_file()  # what was there before is left alone
    with pytest.raises(LudusError, match=r"its policies are .*x/policies/net"):
        run("play", "kuhn_poker", "--seat", f"player_0={out}", "--seat", "player_1=uniform")
    newest = max((out / "checkpoints").iterdir())
    for weights in (*(out / "policies" / "net").glob("*.safetensors"), newest / "policy-net.safetensors"):
        weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(LudusError, match="safetensors"):
        run("play", "kuhn_poker", "--seat", f"player_0={out}/policies/net", "--seat", "player_1=uniform")
    with pytest.raises(LudusError, match=r"policy-net.safetensors"):
        run("train", toml, "--out", out, "--quiet", "--resume")


def test_train_writes_a_run_with_a_page_and_resumes(tmp_path):
    pytest.importorskip("torch")
    toml = tmp_path / "run.toml"
    toml.write_text(
        'game.name = "kuhn_poker"\npolicies.net = {name = "network", hidden = [8]}\nlineup.player = "net"\n'
        'learners = [{policy = "net", preset = "ppo"}]\nphases = [{steps = 2}]\nkeep_episodes = 3\n'
        'collect = {by = "arrays", rows = 8, length = 4}\nevaluate.every = 1\ntensorboard = false\n'
    )
    out = tmp_path / "x"
    shown = run("train", toml, "seed=5", "--out", out, "--quiet")
    assert shown.output.rstrip() == str(out / "index.html")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert np.isfinite(rows[-1]["eval/nash_conv/net"])
    page = (out / "index.html").read_text()
    assert "NashConv" in page
    assert "first games" in page
    with pytest.raises(LudusError, match="resume"):
        run("train", toml, "seed=5", "--out", out, "--quiet")
    assert "is done, 2 steps of 2" in run("train", toml, "seed=5", "--out", out, "--quiet", "--resume").stderr
    longer = run("train", toml, "seed=5", "phases.0.steps=3", "--out", out, "--quiet", "--resume")
    assert "goes on from step 2, with phases.0.steps = 3, was 2; rates follow the new length" in longer.stderr
    assert (out / "metrics.jsonl").read_text().count("\n") == 4
    assert run("train", toml, "--explain").output.count("\n") > 30


def test_a_trained_policy_sits_down_by_its_folder(tmp_path):
    pytest.importorskip("torch")
    from ludus.agents.network import fresh
    from ludus.core.registry import make

    fresh(make("kuhn_poker"), name="net", seed=0, hidden=(8,)).save(tmp_path / "net")
    shown = run(
        "play", "kuhn_poker", "--seat", f"player_0=pupil={tmp_path / 'net'}", "--seat", "player_1=uniform"
    )
    assert "pupil (player_0)" in shown.output


def test_a_network_of_another_game_is_told_from_one_of_this(tmp_path):
    pytest.importorskip("torch")
    toml, out = tmp_path / "run.toml", tmp_path / "x"
    toml.write_text(TRAIN)
    run("train", toml, "--out", out, "--quiet")
    saved = out / "policies" / "net"
    says = (
        r"features of shape \(9,\) and 2 moves; in leduc_poker .*\(36,\) and 3 moves.*trained for kuhn_poker"
    )
    for more in ((), ("--learn", 100)):
        with pytest.raises(LudusError, match=says):
            run("exploit", "leduc_poker", saved, *more)
    with pytest.raises(LudusError, match=r"net: the network net was made for features of shape \(9,\)"):
        run("train", toml, "game.name=leduc_poker", f'policies.net={{name="network", path="{saved}"}}', "--quiet",
            "--out", tmp_path / "y")  # fmt: skip
    found = tmp_path / "found.json"
    run("exploit", "kuhn_poker", f"{saved}, {saved}@init, u=uniform", "--json", found)
    assert [one["agent"] for one in json.loads(found.read_text())] == [str(saved), f"{saved}@init", "u"]
    with pytest.raises(LudusError, match="two agents are called"):
        run("exploit", "kuhn_poker", f"{saved}, {saved}")
