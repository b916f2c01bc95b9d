"""The Gymnasium door, for every registered game: Gymnasium's own check, and the loop's payoffs."""

import collections
import copy
import pickle

import gymnasium
import numpy as np
import pytest
from doors import GAMES, MENUS, Awkward, Rumour
from gymnasium.utils.env_checker import check_env

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.errors import ConfigError, IllegalMove, UnknownName
from ludus.core.match import Illegal
from ludus.envs.doors.gymnasium import Against


@pytest.mark.parametrize("name", GAMES)
def test_check_env(name):
    game = ludus.make(name)
    for seat in game.players if isinstance(game, ArrayGame) else game.players[:1]:
        check_env(gymnasium.make(f"ludus/{name}-v{ludus.make(name).version}", seat=seat).unwrapped)


@pytest.mark.parametrize("name", MENUS)
def test_check_env_with_a_menu(name):
    check_env(gymnasium.make(f"ludus/{name}-v0", menu=True).unwrapped)


def test_the_first_player_is_played_unless_another_is_named():
    assert gymnasium.make("ludus/kuhn_poker-v0").unwrapped.seat == "player_0"
    assert gymnasium.make("ludus/propose_solve-v0").unwrapped.seat == "proposer_0"


class Recorded:
    """Plays what a given episode played, by seat."""

    name = "recorded"

    def __init__(self, episode):
        self.moves = {seat: [step.move for step in episode.of(seat)] for seat in episode.lineup}

    def act(self, requests):
        return [ludus.Decision(self.moves[r.seat].pop(0)) for r in requests]


@pytest.mark.parametrize("name", [g for g in ludus.games() if isinstance(ludus.make(g), ArrayGame)])
def test_the_same_moves_earn_what_they_earn_in_the_loop(name):
    game = ludus.make(name)
    for episode in ludus.play(game, {"player": "uniform"}, range(6)):
        for seat in {step.seat for step in episode.steps} & set(game.players):  # the others were dealt anew
            env = Against(game, seat, Recorded(episode))
            env.reset(seed=episode.match.seed)
            earned, over = 0.0, False
            for step in episode.of(seat):
                _, reward, over, cut, info = env.step(step.move)
                earned += reward
            assert over
            assert not cut
            assert info["end"] == "over"
            assert earned == pytest.approx(episode.returns[seat])
            assert env.episode().returns == episode.returns


def test_deals_that_end_before_the_seats_turn_are_dealt_again_and_counted():
    env = Against(Awkward(), seat="player_1")
    counts = [env.reset(seed=seed)[1]["redeals"] for seed in range(400)]
    assert collections.Counter(counts)[0] == pytest.approx(200, abs=40)
    assert np.mean(counts) == pytest.approx(1.0, abs=0.3)
    _, reward, *_, info = env.step(0)
    assert info["redeals"] == counts[-1]
    assert abs(reward) <= 1.0


def test_what_was_earned_before_the_first_action_is_paid_with_it():
    env = Against(Awkward(), seat="player_0")
    env.reset(seed=0)
    _, reward, over, _, _ = env.step(2)
    assert (reward, over) == (
        2.0,
        True,
    )  # a chip for the coin, a chip for leaving; the others play on without it


@pytest.mark.parametrize(
    ("opponents", "said"),
    [
        ("first_legal", "pass"),
        (ludus.make_agent("constant", move="bet"), "bet"),
        ({"player_0": "first_legal"}, "pass"),
        ({"player": "first_legal"}, "pass"),
    ],
)
def test_opponents_are_a_name_an_agent_or_either_by_seat_or_role(opponents, said):
    env = gymnasium.make("ludus/kuhn_poker-v0", seat="player_1", opponents=opponents)
    for seed in range(5):
        assert env.reset(seed=seed)[0]["text"].endswith(f"Moves so far: {said}.")


@pytest.mark.parametrize("opponents", ["minimax", "trained"])
def test_opponents_that_are_made_for_a_game_go_by_name(opponents):
    env = gymnasium.make("ludus/tic_tac_toe-v0", seat="player_1", opponents=opponents)
    assert env.reset(seed=0)[1]["action_mask"].sum() == 8
    many = gymnasium.make_vec("ludus/tic_tac_toe-v0", num_envs=2, seat="player_1", opponents=opponents)
    assert many.reset(seed=0)[1]["action_mask"].sum(1).tolist() == [8, 8]


def test_wrong_seats_and_opponents_are_named():
    with pytest.raises(UnknownName, match="did you mean 'player_1'"):
        Against("kuhn_poker", seat="player1")
    with pytest.raises(ConfigError, match="nobody sits at player_1"):
        Against("kuhn_poker", seat="player_0", opponents={})
    with pytest.raises(ConfigError, match="crew"):
        Against("propose_solve", seat="referee_0")
    with pytest.raises(UnknownName, match="agent"):
        Against("kuhn_poker", opponents="unicorn")
    with pytest.raises(IllegalMove, match=r"reset\(\)"):
        Against("kuhn_poker").step(0)


def test_an_illegal_action_ends_the_game_as_the_rules_say():
    env = Against("kuhn_poker")
    env.reset(seed=0)
    _, reward, over, cut, info = env.step(5)
    assert (reward, over, cut, info["end"]) == (-2.0, True, False, "forfeit")
    with pytest.raises(IllegalMove, match="reset"):
        env.step(0)


def test_a_retry_asks_again():
    env = Against("kuhn_poker", illegal=Illegal("retry", times=2))
    env.reset(seed=0)
    _, reward, over, _, info = env.step(5)
    assert (reward, over) == (0.0, False)
    assert info["complaint"]
    assert env.action_masks().tolist() == [True, True]


def test_a_long_game_is_cut():
    env = Against("nim", opponents="first_legal", max_steps=4)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)


def test_free_text_is_played_as_it_stands():
    env = Against(Rumour(), opponents="first_legal")
    seen, info = env.reset(seed=0)
    assert seen == {"text": "Said so far: "}
    assert "action_mask" not in info
    with pytest.raises(ConfigError, match="no mask"):
        env.action_masks()
    _, _, over, _, info = env.step("こんにちは")
    assert over
    assert info["read"] == "exact"


def test_spaces_can_be_copied_and_sent():
    env = Against(Rumour())
    env.reset(seed=0)
    for twin in (copy.deepcopy(env.action_space), pickle.loads(pickle.dumps(env.action_space))):
        assert twin == env.action_space
        assert twin.sample().isalnum()  # a copy knows of no turn
    assert env.action_space.sample().strip("é") == ""


def test_many_copies_in_one_process_and_in_several():
    for kind in (gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv):
        envs = kind(
            [lambda: gymnasium.make("ludus/kuhn_poker-v0")] * 2,
            **({"shared_memory": False} if "Async" in kind.__name__ else {}),
        )
        seen, _ = envs.reset(seed=1)
        assert seen["observation"].shape == (2, 9)
        assert all(text.startswith("Your card is") for text in seen["text"])
        envs.close()


def test_prose_can_be_dropped():
    env = gymnasium.wrappers.FilterObservation(
        gymnasium.make("ludus/kuhn_poker-v0"), ["observation", "action_mask"]
    )
    assert set(env.reset(seed=0)[0]) == {"observation", "action_mask"}
