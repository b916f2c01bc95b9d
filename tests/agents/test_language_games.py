"""The tiny language model at the games with open replies: taught on samples, seated everywhere, replayed alone."""

from functools import partial

import pytest

import ludus
from ludus.core.game import Forfeit
from ludus.core.registry import AGENTS, make
from ludus.core.replay import replay

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ludus.agents.language.local import LanguageModel
from ludus.agents.language.models.tiny import make_tiny
from ludus.agents.language.teach import teach, texts

ECHO = {  # a task that every desk admits
    "instruction": "Submit the word done.",
    "verifier": 'def evaluate(state, answer):\n    return answer == "done"',
    "solution": 'desk.submit("done")',
    "failures": ["pass", 'desk.submit("o1")', 'desk.get("o1")'],
}


def taught(folder, games, *, vocabulary, steps, episodes, heard=20, **settings):
    """A model that has learnt to speak in `games`, its vocabulary made of what is said in `heard` episodes."""
    corpus = texts(games, episodes=heard)
    make_tiny(folder, width=64, vocabulary=vocabulary, corpus=corpus)
    teach(folder, games, steps=steps, episodes=episodes, **settings)
    return LanguageModel(folder, name="tiny")


def played(game, model, count):
    """Episodes with the model at every player's seat, on seeds that no lesson came from."""
    episodes = list(ludus.play(game, dict.fromkeys(game.players, model), range(10_000, 10_000 + count)))
    assert {episode.end for episode in episodes} <= {"over", "forfeit"}, [e.fault for e in episodes]
    return episodes


def legal(game, episodes):
    """The share of the model's replies that were read as moves."""
    steps = [step for episode in episodes for step in episode.steps if step.seat in game.players]
    for step in steps:
        assert step.raw is not None
        assert isinstance(step.move, Forfeit) == (step.read == "forfeit")
    return sum(step.read != "forfeit" for step in steps) / len(steps)


def nobody(*_, **__):
    raise AssertionError("somebody was called to the table")


def replayed(episodes, model, monkeypatch):
    """The last state of each episode, replayed from JSON with nobody to be had; then all of them verified."""
    copies = [ludus.Episode.from_json(episode.to_json()) for episode in episodes]
    with monkeypatch.context() as away:
        away.setattr(AGENTS, "maker", nobody)
        away.setattr("ludus.agents.referees.sandbox.Sandbox.run", nobody)
        away.setattr(LanguageModel, "act", nobody)
        last = [list(replay(copy))[-1].state for copy in copies]
    for verdict in ludus.verify(copies, {"tiny": model}):
        assert verdict.ok, verdict.notes
        assert verdict.reached == "tokens", (
            verdict.notes
        )  # above the rules, and above the crew where there is one
    return last


# ------------------------------------------------------------------------------- propose and solve
@pytest.mark.parametrize(
    ("steps", "episodes", "legal_share", "sound_share"),
    [
        pytest.param(150, 200, 0.8, 0.15, id="short"),
        pytest.param(600, 400, 0.97, 0.75, id="long", marks=pytest.mark.slow),
    ],
)
def test_propose_solve(tmp_path, monkeypatch, steps, episodes, legal_share, sound_share) -> None:
    game = make("propose_solve", solvers=2)
    model = taught(tmp_path, [game], vocabulary=400, steps=steps, episodes=episodes)
    seen = played(game, model, 60)
    findings = [step.move for episode in seen for step in episode.of("referee_0")]
    sound = [episode for episode in seen if episode.end == "over" and episode.of("solver_0")]
    print(f"propose_solve: {legal(game, seen):.3f} legal, {len(sound)} of {len(seen)} problems sound")
    assert legal(game, seen) >= legal_share
    assert len(sound) >= sound_share * len(seen)
    assert len(sound) == sum(not finding["fault"] for finding in findings)
    assert all(len(state.answers) == 2 for state in replayed(seen, model, monkeypatch))


# ---------------------------------------------------------------------------------- sneaky critic
@pytest.mark.parametrize(
    ("steps", "episodes", "legal_share", "judged_share"),
    [
        pytest.param(110, 200, 0.8, 0.1, id="short"),
        pytest.param(500, 400, 0.97, 0.6, id="long", marks=pytest.mark.slow),
    ],
)
def test_sneaky_critic(tmp_path, monkeypatch, steps, episodes, legal_share, judged_share) -> None:
    game = make("sneaky_critic", steps=2)
    model = taught(tmp_path, [game], vocabulary=400, steps=steps, episodes=episodes)
    seen = played(game, model, 60)
    judged = [episode for episode in seen if episode.end == "over" and episode.of("critic_0")]
    print(f"sneaky_critic: {legal(game, seen):.3f} legal, {len(judged)} of {len(seen)} alterations judged")
    assert legal(game, seen) >= legal_share
    assert len(judged) >= judged_share * len(seen)
    assert all(episode.of("referee_0")[0].move["fault"] == "" for episode in judged)
    assert {episode.returns["critic_0"] for episode in judged} <= {-1.0, 1.0}
    replayed(seen, model, monkeypatch)


# ----------------------------------------------------------------------------------- code as task
DESK = partial(make, "code_as_task", executors=1, orders=2)


@pytest.mark.bwrap
def test_code_as_task(tmp_path, monkeypatch) -> None:
    free, given = DESK(explorations=1, turns=1), DESK(turns=2, task=ECHO)
    model = taught(tmp_path, [given, free], vocabulary=700, steps=50, episodes=4, heard=2, batch=4, rate=6e-3)
    own, echo = played(free, model, 4), played(given, model, 4)
    print(
        f"code_as_task: {legal(free, own):.3f} legal, {sum(e.returns['executor_0'] for e in echo)} of 4 done"
    )
    assert any(episode.of("sandbox_0") for episode in own)  # a program of the model's was run
    for episode in own:
        if episode.end == "forfeit":  # by a task that is no form, and that only
            assert isinstance(episode.steps[-1].move, Forfeit)
            assert episode.steps[-1].raw is not None
            assert episode.returns == {"challenger_0": -1.0, "executor_0": 0.0}
    for episode in echo:
        assert episode.end == "over"
        assert episode.of("sandbox_0")[0].move["failures"] == [False] * 3
        assert isinstance(episode.of("sandbox_1")[-1].move["verdict"], bool)
    assert all(state.refused == "" for state in replayed(echo, model, monkeypatch))
    replayed(own, model, monkeypatch)


@pytest.mark.slow
@pytest.mark.bwrap
def test_a_tiny_challenger_sets_tasks_that_survive_the_filters(tmp_path, monkeypatch) -> None:
    game = DESK(explorations=1, turns=2)
    model = taught(tmp_path, [game], vocabulary=900, steps=400, episodes=60, heard=12, batch=8, rate=4e-3)
    seen = played(game, model, 100)
    states = replayed(seen, model, monkeypatch)
    accepted = [state for state in states if state.refused == ""]
    print(f"code_as_task: {legal(game, seen):.3f} legal, {len(accepted)} of {len(seen)} tasks accepted")
    assert sum(state.refused is not None for state in states) >= len(seen) / 2  # a form that could be read
    assert accepted
    assert all(state.work[0].verdict is not None for state in accepted)


# ------------------------------------------------------------------------------------ negotiation
def test_simple_negotiation(tmp_path, monkeypatch) -> None:
    game = make("simple_negotiation", max_turns=4)
    model = taught(tmp_path, [game], vocabulary=600, steps=60, episodes=20, heard=10, batch=8, rate=4e-3)
    seen = played(game, model, 20)
    states = replayed(seen, model, monkeypatch)
    taken = sum(state.turns for state in states)
    print(f"simple_negotiation: {legal(game, seen):.3f} legal, {taken} turns taken in {len(seen)} games")
    assert legal(game, seen) >= 0.8
    assert taken >= len(seen) / 2
