"""sneaky_critic: every row of SPC's payoff table, the two thresholds, the pairing, and the odds of the menu."""

from dataclasses import dataclass

import numpy as np
import pytest

import ludus
from ludus import replay, verify
from ludus.agents.referees.arithmetic import value
from ludus.core.agent import Decision
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import CHANCE, Forfeit
from ludus.envs.language.chains import MUTATORS, Chain, Step, mutate
from ludus.envs.language.sneaky_critic import VERDICTS, read_step

TASK = {"first": 3, "steps": [[0, "*", 2], [1, "+", 4], [2, "-", 5]]}
CORRECT, INCORRECT = 0, 1


@dataclass
class Script:
    """Says what stands written for its seat."""

    replies: dict
    name: str = "script"

    def act(self, requests):
        return [Decision(self.replies[request.seat]) for request in requests]


def finding(original, altered, fault=""):
    return {"original": original, "altered": altered, "fault": fault}


def end(game, written, found, verdict=None):
    """The payoff after an alteration, a finding and, if it comes to that, a verdict."""
    state = game.play(game.start(np.random.default_rng(0)), {"generator_0": written})
    if game.turn(state) == ("referee_0",):
        state = game.play(state, {"referee_0": found})
    if verdict is not None:
        assert game.turn(state) == ("critic_0",)
        state = game.play(state, {"critic_0": verdict})
    assert game.turn(state) == ()
    return dict(game.payoff(state))


# -------------------------------------------------------------------------------- the table
@pytest.mark.parametrize(
    ("shows", "found", "verdict", "earned"),
    [
        ("altered", finding(8, 0), CORRECT, {"generator_0": 1.0, "critic_0": -1.0}),  # fooled
        ("altered", finding(8, 0), INCORRECT, {"generator_0": -1.0, "critic_0": 1.0}),  # caught
        ("original", finding(8, 0), CORRECT, {"critic_0": 1.0}),  # the paired step
        ("original", finding(8, 0), INCORRECT, {"critic_0": -1.0}),
        ("altered", finding(8, 1), None, {"generator_0": -1.0}),  # ineffective
        ("altered", finding(8, 8), None, {"generator_0": -1.0}),
        ("altered", finding(8, 0, "x9 has no value"), None, {"generator_0": -1.0}),  # no step at all
        ("altered", finding(5, 0), None, {}),  # weak original
        ("altered", finding(5, 5), None, {}),  # weak goes before ineffective
        ("altered", finding(6, 0), INCORRECT, {"generator_0": -1.0, "critic_0": 1.0}),  # 6 of 8 are enough
    ],
)
def test_row(shows, found, verdict, earned) -> None:
    game = ludus.make("sneaky_critic", task=TASK, shows=shows)
    assert end(game, "x2 = x1 + 5", found, verdict) == earned


@pytest.mark.parametrize("written", ["", "no step", "x0 = 4", "x4 = x3 + 1", "x2 + 5", "x2 == x1"])
def test_what_alters_no_step_is_ineffective(written) -> None:
    game = ludus.make("sneaky_critic", task=TASK)
    state = game.play(game.start(np.random.default_rng(0)), {"generator_0": written})
    if game.turn(state) == ("referee_0",):  # it names a step; whether it is one the referee finds out
        request = type("R", (), {"view": game.view(state, "referee_0"), "rng": np.random.default_rng(0)})
        state = game.play(state, {"referee_0": ludus.make_agent("chain_executor")._find(request).move})
    assert game.turn(state) == ()
    assert game.payoff(state) == {"generator_0": -1.0}


def test_forfeits_cost_the_loser_and_pay_nobody() -> None:
    game = ludus.make("sneaky_critic")
    for seat in game.players:
        assert game.forfeit(None, {seat: Forfeit()}) == {seat: -1.0}


def test_the_game_is_not_zero_sum_and_says_so() -> None:
    assert ludus.make("sneaky_critic").zero_sum is False


# ----------------------------------------------------------------------------------- in play
def play(written, verdict, **params):
    agent = Script({"generator_0": written, "critic_0": verdict})
    params = {"task": TASK, "slip": 0.0, "shows": "altered"} | params
    game = ludus.make("sneaky_critic", **params)
    (episode,) = ludus.play(game, {"generator": agent, "critic": agent}, [1])
    return episode


def test_scripted_play_and_replay_without_the_referee(monkeypatch) -> None:
    episode = play("I change the operand.\nx2 = x1 + 5", CORRECT)
    assert episode.returns == {"generator_0": 1.0, "critic_0": -1.0}
    assert episode.of("referee_0")[0].move == finding(8, 0)
    assert "Last step: x2 = x1 + 5\nIs" in episode.of("critic_0")[0].view.text
    monkeypatch.setattr("ludus.agents.referees.chain_executor._hits", None)  # nobody at the table
    game = ludus.make("sneaky_critic", task=TASK, slip=0.0, shows="altered")
    assert list(replay(ludus.Episode.from_json(episode.to_json()), game))[-1].paid == episode.returns


@pytest.mark.parametrize(
    ("written", "found"),
    [("x2 = 4 + x1", finding(8, 8)), ("x2 = x1 + 4 + 0 * x0", finding(8, 8)), ("x1 = 6", finding(8, 8)),
     ("x2 = x2 + 1", finding(8, 0, "x2 has no value")), ("x3 = x2 - 5 (trust me)", None)],
)  # fmt: skip
def test_the_referee_executes_what_was_written(written, found) -> None:
    episode = play(written, CORRECT)
    move = episode.of("referee_0")[0].move
    assert move == found if found else move["fault"]
    assert episode.returns == {"generator_0": -1.0, "critic_0": 0.0}


def test_original_and_altered_are_shown_in_equal_parts() -> None:
    agent = Script({"generator_0": "x1 = 99999", "critic_0": INCORRECT})
    episodes = list(ludus.play("sneaky_critic", {"generator": agent, "critic": agent}, range(600)))
    asked = [e for e in episodes if e.of("critic_0")]
    altered = sum("x1 = 99999" in e.of("critic_0")[0].view.text for e in asked)
    assert len(asked) > 400  # chains in which x1 is used
    assert abs(altered / len(asked) - 0.5) < 4 * 0.5 / np.sqrt(len(asked))


def test_paired_matches_share_the_chain() -> None:
    agent = Script({"generator_0": "x3 = 77", "critic_0": CORRECT})
    shown = {}
    for shows in ("altered", "original"):
        game = ludus.make("sneaky_critic", shows=shows, slip=0.0)
        (episode,) = ludus.play(game, {"generator": agent, "critic": agent}, [3])
        shown[shows] = episode.of("critic_0")[0].view.text.split("Last step: ")
    assert shown["altered"][0] == shown["original"][0]
    assert shown["altered"][1] != shown["original"][1]


def test_weak_originals_are_discarded_in_play() -> None:
    agent = Script({"generator_0": "x1 = 99999", "critic_0": INCORRECT})
    game = ludus.make("sneaky_critic", task=TASK, slip=0.9)
    for episode in ludus.play(game, {"generator": agent, "critic": agent}, range(5)):
        assert episode.returns == {"generator_0": 0.0, "critic_0": 0.0}
        assert not episode.of("critic_0")


def test_findings_are_samples_that_verify_counts() -> None:
    agent = Script({"generator_0": "x1 = 99999", "critic_0": CORRECT})
    (episode,) = ludus.play("sneaky_critic", {"generator": agent, "critic": agent}, [0])
    (verdict,) = verify([episode])
    assert (verdict.reached, verdict.notes["crew"]) == ("crew", "1 of 1 findings found again")


# --------------------------------------------------------------------------------------- chains
def test_chain_by_hand() -> None:
    chain = Chain(3, (Step(0, "*", 2), Step(1, "+", 4), Step(0, "-", 5)))
    assert chain.last() == -2
    assert chain.problem() == "x0 is 3. x1 is x0 times 2. x2 is x1 plus 4. x3 is x0 minus 5. What is x3?"
    assert chain.solution(2) == "x0 = 3; x1 = x0 * 2; x2 = x1 + 4"


@pytest.mark.parametrize(
    ("kind", "written", "worth"),
    [("operand", "x1 + 6", 13), ("operator", "x1 - 4", 3), ("off by one", "x1 + 4 + 1", 12),
     ("wrong variable", "x0 + 4", 7), ("reformat", "4 + x1", 11)],
)  # fmt: skip
def test_mutators(kind, written, worth) -> None:
    altered = mutate(Step(1, "+", 4), 1, kind)
    assert (str(altered), altered.value([3, 7])) == (written, worth)


def test_a_reformatted_step_is_worth_the_same() -> None:
    for sign in "+-*":
        step = Step(1, sign, 4)
        assert mutate(step, 1, "reformat").value([3, 7]) == step.value([3, 7])
        assert value(str(mutate(step, 1, "reformat")), {"x1": 7}) == step.value([3, 7])


def test_read_step() -> None:
    assert read_step("x1 = 2\n**x12 =  x1 *  3.**") == (12, "x1 * 3")
    assert read_step("x = 3") is None


def test_chains_are_drawn_step_by_step() -> None:
    game = ludus.make("sneaky_critic", steps=2)
    state = game.start(np.random.default_rng(0))
    for outcome in (5, 2, 3, 2, 0, 7):  # first 5; * 3; two back, + 7
        assert game.turn(state) == (CHANCE,)
        assert outcome in dict(game.chance(state))
        state = game.play(state, {CHANCE: outcome})
    assert game.chain(state) == Chain(5, (Step(0, "*", 3), Step(0, "+", 7)))


def test_wrong_arguments() -> None:
    for settings, error in [
        ({"steps": 0}, ValueError), ({"slip": 1.0}, ValueError), ({"completions": 0}, ValueError),
        ({"shows": "both"}, UnknownName), ({"menu": 9}, ValueError), ({"menu": True, "steps": 4}, ConfigError),
        ({"task": {"first": 1}}, ConfigError), ({"task": {"first": 1, "steps": [[1, "+", 2]]}}, ConfigError),
        ({"task": {"first": 1, "steps": [[0, "/", 2]]}}, ConfigError), ({"menu": True, "task": TASK}, ConfigError),
    ]:  # fmt: skip
        with pytest.raises(error):
            ludus.make("sneaky_critic", **settings)


# ---------------------------------------------------------------------------------------- menu
def odds(game, chain, move):
    state = game.play(game.start(np.random.default_rng(0)), {CHANCE: chain})
    return dict(game.chance(game.play(state, {"generator_0": move})))


def test_menu_odds_agree_with_the_referee() -> None:
    """Nature draws in the menu what the executing referee finds elsewhere: compared over 1,500 findings a move."""
    game = ludus.make("sneaky_critic", menu=True, slip=0.2)
    referee, rng, n = ludus.make_agent("chain_executor"), np.random.default_rng(0), 1500
    for move in (0, 2, 7, 12, 14):
        state = game.play(game.play(game.start(rng), {CHANCE: 1}), {"generator_0": move})
        request = type("R", (), {"view": game.view(state, "referee_0"), "rng": rng})
        drawn = [game._outcome(referee._find(request).move) for _ in range(n)]
        for outcome, p in odds(game, 1, move).items():
            assert abs(drawn.count(outcome) / n - p) < 4 * np.sqrt(p * (1 - p) / n) + 1e-9


def test_menu_odds_by_hand() -> None:
    game = ludus.make("sneaky_critic", menu=True, completions=4, slip=0.5)  # 3 of 4 needed: (4 + 1) / 16
    operand = game.names.index(
        "step 1: operand"
    )  # x0 = 3: x0 * 4 + 4 - 5 = 11, not 5: no slip makes up for it
    assert odds(game, 0, operand) == {0: 5 / 16, 2: 11 / 16}
    last = game.names.index("step 3: off by one")  # off by 1: a slip of -1, one of four, hits
    clean = (1 - 0.5 / 4) ** 4
    assert odds(game, 0, last) == pytest.approx({0: 5 / 16 * clean, 1: 5 / 16 * (1 - clean), 2: 11 / 16})
    exact = ludus.make("sneaky_critic", menu=True, slip=0.0)
    assert odds(exact, 0, game.names.index("step 2: reformat")) == {1: 1.0}
    assert odds(exact, 0, operand) == {0: 1.0}


def test_an_unused_step_cannot_be_spoilt() -> None:
    game = ludus.make("sneaky_critic", menu=True, slip=0.0)
    assert odds(game, 1, game.names.index("step 1: operand")) == {1: 1.0}  # x2 is made of x0


def test_menu_by_exact_tools() -> None:
    """A critic that compares is never fooled; a generator that it always believes wins every shown attack."""
    game = ludus.make("sneaky_critic", menu=2, slip=0.0)
    uniform = ludus.uniform(game)
    start = ludus.value(game, uniform)
    assert start["critic_0"] == pytest.approx(0.0)
    # Ineffective moves of 14: in chain 0 the three reformats; in chain 1, where x1 is not used, also the other
    # three of step 1 (x1 has no wrong variable), and at step 2, which uses x0, the wrong variable changes all.
    spoilt = [sum(odds(game, c, m) == {1: 1.0} for m in range(15) if m != 3) for c in (0, 1)]
    assert spoilt == [3, 6]
    assert start["generator_0"] == pytest.approx(-np.mean([3 / 14, 6 / 14]))
    asked = 1 - np.mean([3 / 14, 6 / 14])
    values = {seat: ludus.best_response(game, uniform, seat)[0] for seat in game.players}
    assert values["critic_0"] == pytest.approx(asked)
    assert values["generator_0"] == pytest.approx(0.0)


def test_menu_names() -> None:
    game = ludus.make("sneaky_critic", menu=True)
    assert len(game.names) == 3 * len(MUTATORS)
    assert not game.options(game.start(np.random.default_rng(0)), "generator_0").legal[3]
    assert VERDICTS == ("Correct", "Incorrect")
