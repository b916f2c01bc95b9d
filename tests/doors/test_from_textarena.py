"""TextArena's games as ours: the same prompts, rewards and ends as TextArena has by itself."""

import pickle
import random
import sys
from collections import Counter

import numpy as np
import pytest

import ludus
from ludus.core.errors import ConfigError, CrewError, IllegalMove, MissingExtra, UnknownName
from ludus.core.game import Forfeit
from ludus.core.verify import verify
from ludus.envs.doors import replayed
from ludus.testing import check_game

ta = pytest.importorskip("textarena")
registration = pytest.importorskip("textarena.envs.registration")

GAMES = {
    "2048-v0-ultra-easy": 1, "Bandit-v0": 1, "Blackjack-v0": 1, "Minesweeper-v0-small": 1, "TowerOfHanoi-v0": 1,
    "ConnectFour-v0": 2, "IteratedPrisonersDilemma-v0": 2, "KuhnPoker-v0": 2, "Nim-v0": 2, "SimpleNegotiation-v0-raw": 2,
    "TicTacToe-v0": 2, "TwoDollar-v0": 2,
    "LiarsDice-v0-small": 3, "Poker-v0-small": 4, "SecretMafia-v0": 7, "Snake-v0": 5, "ThreePlayerTicTacToe-v0": 3,
}  # fmt: skip


def make(name, **settings):
    return ludus.make("textarena", game=name, players=GAMES.get(name), **settings)


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_textarena_by_itself_says_and_pays_the_same(name, seed) -> None:
    game, rng = make(name), np.random.default_rng(seed)
    state = game.start(rng)
    told, earned = dict.fromkeys(game.seats, ""), Counter()
    theirs = direct(name, state.seed)
    for _ in range(100):
        (seat,) = game.turn(state)
        told[seat] += f"\n{game.view(state, seat).text}"
        mover, observation = theirs.get_observation()
        assert (f"player_{mover}", observation) == (seat, told[seat])
        reply = game.sample(state, seat, rng)
        state = game.play(state, {seat: reply})
        earned.update(game.payoff(state))
        over, _ = theirs.step(reply)
        assert over == (game.turn(state) == ())
        if over:
            rewards = {f"player_{k}": reward for k, reward in theirs.close()[0].items() if reward}
            assert rewards == {seat: reward for seat, reward in earned.items() if reward}
            return
    pytest.fail("no end in sight")


def direct(name, seed):
    """TextArena's own environment, as its users have it, on the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    env = ta.make(name)
    if name.endswith("-raw"):
        env = ta.wrappers.LLMObservationWrapper(env)
    env.reset(num_players=GAMES[name], seed=seed)
    return env


@pytest.mark.parametrize(
    "name",
    ["Blackjack-v0", "KuhnPoker-v0", "Nim-v0", "SimpleNegotiation-v0-raw", "TicTacToe-v0", "LiarsDice-v0-small", "Poker-v0-small"],
)  # fmt: skip
def test_a_game_of_textarenas_keeps_the_contract(name) -> None:
    check_game(make(name), episodes=1)


# ------------------------------------------------------------------- replies that break the rules
def played(game, *replies, seed=0):
    """The states of a game in which whoever is on turn says the next reply."""
    state = game.start(np.random.default_rng(seed))
    states = [state]
    for reply in replies:
        (seat,) = game.turn(state)
        state = game.play(state, {seat: reply})
        states.append(state)
    return states


def test_textarena_asks_once_more_and_then_has_had_enough() -> None:
    game = make("TicTacToe-v0")
    lineup = {"player_0": ludus.make_agent("scripted", script=["[4]", "[4]", "[9]"]), "player_1": "uniform"}
    lineup["player_1"] = ludus.make_agent("scripted", script=["[0]"])
    (episode,) = ludus.play(game, lineup, [0])
    assert [(step.seat, step.move) for step in episode.steps] == [
        ("player_0", "[4]"), ("player_1", "[0]"), ("player_0", "[4]"), ("player_0", "[9]"),
    ]  # fmt: skip
    assert (
        "Player 0 attempted an invalid move. Reason: cell 4 is already occupied."
        in episode.steps[3].view.text
    )
    assert (episode.end, episode.returns) == ("over", {"player_0": -1.0, "player_1": 1.0})
    assert all(not step.rejected for step in episode.steps)  # nobody but TextArena judged


def test_a_usable_reply_restores_textarenas_patience() -> None:
    game = make("TicTacToe-v0")
    *_, state = played(game, "nothing", "[4]", "nothing", "[0]", "nothing")
    assert game.turn(state) == ("player_0",)
    assert game.payoff(state) == {}


def test_who_gives_no_usable_reply_has_said_nothing() -> None:
    game = make("KuhnPoker-v0")
    _, once, twice = played(game, Forfeit("lost for words"), Forfeit("again"))
    assert (once, twice) == tuple(played(game, "", "")[1:])
    assert game.turn(once) == ("player_1",)
    assert "Action must be" in game.view(once, "player_1").text
    assert game.payoff(twice) == {"player_0": 1.0, "player_1": -1.0}
    assert game.skip(once, "player_1") == ""


def test_out_of_several_who_breaks_the_rules_the_others_play_on() -> None:
    game = make("Poker-v0-small")
    (first,) = game.turn(game.start(np.random.default_rng(0)))
    *_, state = played(game, "nothing", "still nothing")
    assert game.turn(state) not in ((), (first,))


# -------------------------------------------------------------------------- views, seeds, states
def test_a_view_is_what_came_since_the_seats_last_turn() -> None:
    game = make("KuhnPoker-v0")
    first, second, third = played(game, "[bet]", "[call]")
    assert "You are Player 1 in a 3 round game of Kuhn Poker." in game.view(first, "player_1").text
    assert game.view(second, "player_1").data == [
        [1, "[bet]", "PLAYER_ACTION"],
        [-1, "Player 1, submitted move: '[bet]'.", "GAME_ACTION_DESCRIPTION"],
    ]
    assert game.view(second, "player_1").text == "[Player 1] [bet]\n[GAME] Player 1, submitted move: '[bet]'."
    assert game.view(second, "player_0").text.startswith("[GAME] You are Player 0 in a 3 round game")
    assert "3 round game" not in game.view(third, "player_0").text
    assert "### Starting round 2" in game.view(third, "player_0").text
    assert "Player 0" in game.rules("player_0")


def test_a_seed_decides_a_game_and_nobody_else_notices() -> None:
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist()
    hands = set()
    for seed in range(8):
        game = make("Poker-v0-small")
        states = played(game, "[Call]", "[Call]", "[Fold]", seed=seed)
        again = played(make("Poker-v0-small"), "[Call]", "[Call]", "[Fold]", seed=seed)
        seen = [[game.view(s, seat).digest() for seat in game.seats] for s in states]
        assert [[game.view(s, seat).digest() for seat in game.seats] for s in again] == seen
        hands.add(tuple(seen[0]))
    assert len(hands) > 1
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_games_that_are_played_side_by_side_do_not_mix_their_draws() -> None:
    """PigDice draws at every turn: alone or alternating with another, a game throws the same dice."""
    game = make("PigDice-v0")
    alone = [
        [game.view(s, "player_0").text for s in played(game, *["[roll]"] * 6, seed=seed)] for seed in (1, 2)
    ]
    states = [game.start(np.random.default_rng(seed)) for seed in (1, 2)]
    together = [[game.view(s, "player_0").text] for s in states]
    for _ in range(6):
        for k, state in enumerate(states):
            states[k] = game.play(state, {game.turn(state)[0]: "[roll]"})
            together[k].append(game.view(states[k], "player_0").text)
    assert together == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("live", [1, 64])
def test_a_state_is_a_value_whatever_was_asked_before(live, monkeypatch) -> None:
    monkeypatch.setattr(replayed, "LIVE", live)
    game, rng = make("LiarsDice-v0-small"), np.random.default_rng(0)
    states = []
    for seed in range(3):
        state = game.start(np.random.default_rng(seed))
        while game.turn(state) and len(states) < 6 * (seed + 1):
            states.append(state)
            (seat,) = game.turn(state)
            state = game.play(state, {seat: game.sample(state, seat, rng)})
    seen = [[game.view(s, seat).digest() for seat in game.seats] for s in states]
    for i in rng.permutation(len(states)):
        assert [game.view(states[i], seat).digest() for seat in game.seats] == seen[i]
    assert len(game._tips) <= live
    twin, same = pickle.loads(pickle.dumps((game, states[-1])))
    assert [twin.view(same, seat).digest() for seat in game.seats] == seen[-1]


def test_games_are_played_recorded_and_verified(tmp_path) -> None:
    game = make("Poker-v0-small", kwargs={"num_rounds": 2})
    episodes = list(ludus.play(game, {"player": "uniform"}, range(3)))
    ludus.write(episodes, tmp_path / "episodes.jsonl")
    verdicts = verify(tmp_path / "episodes.jsonl")
    assert [verdict.ok for verdict in verdicts] == [True] * 3
    assert "-textarena-" in episodes[0].game_fingerprint


# ------------------------------------------------------------------------------- how many, and what not
def test_two_play_unless_the_game_is_for_others() -> None:
    for name, players in {"Poker-v0": 2, "Bandit-v0": 1, "ThreePlayerIPD-v0": 3, "Taboo-v0": 4}.items():
        assert len(ludus.make("textarena", game=name).seats) == players
    with pytest.raises(ConfigError, match="does not start with 3 players; it does with 2 "):
        ludus.make("textarena", game="TicTacToe-v0", players=3)


def test_it_is_makeable_but_not_listed() -> None:
    assert "textarena" not in ludus.games()
    assert ludus.make("textarena", game="TicTacToe-v0").id == "textarena"


def test_what_cannot_be_played_is_an_error(monkeypatch) -> None:
    with pytest.raises(UnknownName, match=r"'Pokre-v0'.*Poker-v0"):
        ludus.make("textarena", game="Pokre-v0")
    with pytest.raises(ConfigError, match=r"cannot make TicTacToe-v0 with \{'size': 4\}: TypeError"):
        ludus.make("textarena", game="TicTacToe-v0", kwargs={"size": 4})
    with pytest.raises(ConfigError, match="a language model of OpenRouter's judges within"):
        ludus.make("textarena", game="Debate-v0")
    monkeypatch.setenv("OPENROUTER_API_KEY", "none")
    with pytest.raises(ConfigError, match="a language model of OpenRouter's judges within"):
        ludus.make("textarena", game="Debate-v0")
    monkeypatch.setitem(sys.modules, "textarena.envs.registration", None)
    with pytest.raises(MissingExtra, match=r"ludus\[textarena\]"):
        ludus.make("textarena", game="TicTacToe-v0")


def test_a_move_out_of_turn_or_too_long_is_refused() -> None:
    game = make("TicTacToe-v0")
    state = game.start(np.random.default_rng(0))
    with pytest.raises(IllegalMove, match="turn of player_0, not of player_1"):
        game.play(state, {"player_1": "[4]"})
    with pytest.raises(IllegalMove, match="at most 16384 characters"):
        game.play(state, {"player_0": "x" * 16385})
    with pytest.raises(IllegalMove, match="in text"):
        game.play(state, {"player_0": 4})


class Odd(ta.Env):
    """A game for one that fails in the way that its setting and its reply say."""

    def __init__(self, at_once=""):
        if at_once == "words":
            raise LookupError(
                "\n****\n  Resource 'words' not found.\n  Please use the NLTK Downloader to obtain it\n"
            )
        if at_once == "syntax":
            raise SyntaxError("f-string: unmatched '['")

    def reset(self, num_players, seed=None):
        self.state = ta.SinglePlayerState(num_players=num_players, seed=seed)
        self.state.reset(
            player_prompt_function=lambda player_id, game_state: "Say 'crash', 'string' or 'nothing'."
        )

    def step(self, action):
        if action == "crash":
            raise IndexError("list index out of range")
        self.state.done, self.state.rewards = True, {"string": {0: "Bad format."}, "nothing": None}[action]
        return self.state.step()


@pytest.fixture
def odd(monkeypatch):
    monkeypatch.setitem(registration.ENV_REGISTRY, "Odd-v0", registration.EnvSpec("Odd-v0", Odd, None))
    return lambda **settings: ludus.make("textarena", game="Odd-v0", **settings)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("crash", "fails at 'crash' of player_0, seed [0-9]+, after 0 replies: IndexError: list index"),
        ("string", "pays 'Bad format.', which is no number"),
        ("nothing", "pays None, not a number to each player"),
    ],
)
def test_a_fault_of_textarenas_is_no_seats_fault(odd, reply, fault) -> None:
    game = odd()
    with pytest.raises(CrewError, match=fault):
        played(game, reply)
    assert game.view(game.start(np.random.default_rng(0)), "player_0").text.endswith("or 'nothing'.")


def test_what_a_game_lacks_is_said_with_what_to_do(odd) -> None:
    with pytest.raises(ConfigError, match=r"run once: python -m nltk.downloader words"):
        odd(kwargs={"at_once": "words"})
    with pytest.raises(ConfigError, match="written for a newer Python"):
        odd(kwargs={"at_once": "syntax"})
