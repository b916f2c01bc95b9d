"""Many games at once earn what one game earns."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import ludus
from ludus.core.errors import ConfigError, ContractError, IllegalMove, UnknownName
from ludus.envs.doors.gymnasium import Against
from ludus.envs.doors.vector import Vector, vector

GAMES = ["kuhn_poker", "liars_dice", "matching_pennies", "tic_tac_toe"]


def legal(rng, mask):
    """A uniformly drawn legal action for each row."""
    return (rng.random(mask.shape) * mask).argmax(1)


def played(envs, games, seed=0):
    """Returns and lengths of the first `games` episodes of every row, played by random legal actions."""
    rng, played = np.random.default_rng(seed), np.zeros(envs.num_envs, int)
    seen, _ = envs.reset(seed=seed)
    returns, lengths = [], []
    while played.min() < games:
        seen, _, done, cut, infos = envs.step(legal(rng, seen["action_mask"]))
        assert not cut.any()
        if (counted := done & (played < games)).any():
            told = infos["final_info"]["episode"]
            returns.extend(told["r"][counted])
            lengths.extend(told["l"][counted])
        played += done
    return np.array(returns), np.array(lengths)


@pytest.mark.parametrize("name", GAMES)
def test_statistics_equal_those_of_single_games(name):
    game = ludus.make(name)
    episodes = list(ludus.play(game, {"player": "uniform"}, range(600)))
    for seat in game.seats:
        returns, lengths = played(Vector(game, 500, seat), games=4)
        single = np.array([episode.returns[seat] for episode in episodes])
        decisions = np.array([len(episode.of(seat)) for episode in episodes])
        for ours, theirs in ((returns, single), (lengths, decisions)):
            error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
            assert abs(ours.mean() - theirs.mean()) <= 4 * error


def test_kuhn_against_uniform_earns_the_exact_value():
    game = ludus.make("kuhn_poker")
    returns, _ = played(Vector(game, 4096), games=8)
    assert returns.mean() == pytest.approx(ludus.value(game, ludus.uniform(game))["player_0"], abs=0.02)


def test_registered_spaces_and_autoreset():
    envs = gymnasium.make_vec("ludus/kuhn_poker-v0", num_envs=8, vectorization_mode="vector_entry_point")
    assert isinstance(envs, Vector)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    seen, infos = envs.reset(seed=0)
    for _ in range(20):
        assert seen in envs.observation_space
        assert seen["action_mask"].any(1).all()
        assert np.array_equal(infos["action_mask"], seen["action_mask"])
        assert all(len(infos[f"_{key}"]) == 8 for key in infos if not key.startswith("_"))
        seen, reward, done, cut, infos = envs.step(envs.action_space.sample())
        assert (reward.dtype, done.dtype, cut.dtype) == (np.float64, np.bool_, np.bool_)
        assert ("final_obs" in infos) == done.any()
        if done.any():
            assert np.array_equal(infos["_final_obs"], done)
            assert [final is not None for final in infos["final_obs"]] == done.tolist()
            assert all(final in envs.single_observation_space for final in infos["final_obs"][done])
    envs.close()
    envs.close()


def test_what_was_seen_at_the_end_is_the_end():
    envs = Vector(
        "kuhn_poker", 64, "player_0", "first_legal"
    )  # which passes: to the first pass there is a showdown
    envs.reset(seed=0)
    seen, reward, done, _, infos = envs.step(np.zeros(64, int))
    assert done.all()
    final = np.array([final["observation"] for final in infos["final_obs"]])
    assert (final[:, 3] == 1).all()  # both passes stand in the final observation,
    assert (final[:, 5] == 1).all()
    assert not seen["observation"][:, 3:].any()  # and none in the next game's first
    assert set(reward) == {-1.0, 1.0}
    assert (reward[final[:, 2] == 1] == 1.0).all()  # the king wins


def test_rows_do_not_depend_on_how_many_there_are():
    few, many = Vector("leduc_poker", 3), Vector("leduc_poker", 7)
    assert np.array_equal(few.reset(seed=5)[0]["observation"], many.reset(seed=5)[0]["observation"][:3])
    for _ in range(10):
        a, b = few.step(np.ones(3, int)), many.step(np.ones(7, int))
        assert np.array_equal(a[0]["observation"], b[0]["observation"][:3])
        assert np.array_equal(a[1], b[1][:3])


def test_a_seed_gives_the_same_games_again():
    envs = Vector("kuhn_poker", 32)
    first = played(envs, 5, seed=3)
    again = played(envs, 5, seed=3)
    other = played(envs, 5, seed=4)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])


def test_an_illegal_action_is_a_forfeit_of_its_row_alone():
    envs = Vector("tic_tac_toe", 4, opponents="first_legal")
    envs.reset(seed=0)
    envs.step(np.array([8, 8, 8, 8]))
    _, reward, done, _, infos = envs.step(np.array([8, 4, 99, -1]))
    assert reward.tolist() == [-1.0, 0.0, -1.0, -1.0]
    assert done.tolist() == [True, False, True, True]
    assert infos["final_info"]["forfeit"].tolist() == [True, False, True, True]
    scalar = Against("tic_tac_toe", opponents="first_legal")
    scalar.reset(seed=0)
    scalar.step(8)
    assert scalar.step(8)[1:3] == (-1.0, True)


def test_agents_play_here_as_they_play_there():
    game = ludus.make("tic_tac_toe")
    agent = ludus.make_agent("minimax", game=game)
    returns, _ = played(Vector(game, 6, "player_1", agent), games=2)
    assert len(returns) == 12
    assert returns.max() <= 0.0


def test_each_row_may_play_another_seat():
    envs = Vector("kuhn_poker", 6, "each", {"player": "first_legal"})
    seen, infos = envs.reset(seed=0)
    assert infos["seat"].tolist() == [0, 1, 0, 1, 0, 1]
    assert (seen["observation"][:, 3] == [0, 1, 0, 1, 0, 1]).all()  # player_1 has seen a pass


def test_one_learner_may_play_every_seat():
    envs = Vector("kuhn_poker", 256, "mover")
    seen, infos = envs.reset(seed=0)
    rng, acted = np.random.default_rng(0), []
    for _ in range(30):
        mover = infos["seat"]
        seen, reward, done, _, infos = envs.step(legal(rng, seen["action_mask"]))
        assert np.array_equal(reward, infos["rewards"][np.arange(256), mover])
        assert np.abs(infos["rewards"].sum(1)).max() == 0.0
        assert (infos["seat"][done] == 0).all()
        acted.append(mover)
    assert {0, 1} == set(np.concatenate(acted).tolist())


def test_the_wrapper_for_statistics_agrees_with_ours():
    envs = RecordEpisodeStatistics(Vector("kuhn_poker", 16))
    seen, _ = envs.reset(seed=1)
    rng = np.random.default_rng(1)
    for _ in range(10):
        seen, _, done, _, infos = envs.step(legal(rng, seen["action_mask"]))
        if done.any():
            assert np.allclose(infos["episode"]["r"], infos["final_info"]["episode"]["r"])
            assert np.array_equal(infos["episode"]["l"], infos["final_info"]["episode"]["l"])


def test_games_that_are_no_records_are_stepped_in_turn():
    envs = vector("propose_solve", 2)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert set(envs.reset(seed=0)[0]) == {"text"}
    envs.close()


def test_misuse_says_what_to_do():
    with pytest.raises(UnknownName, match="player_0"):
        Vector("kuhn_poker", 2, "player")
    with pytest.raises(ConfigError, match="array game"):
        Vector("propose_solve", 2)
    envs = Vector("kuhn_poker", 2)
    with pytest.raises(IllegalMove, match=r"reset\(\)"):
        envs.step(np.zeros(2, int))
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="2 whole numbers"):
        envs.step(np.zeros(2))


class Greedy(type(ludus.make("nim"))):
    """Nim in which player_1 takes nothing and moves on for ever."""

    @staticmethod
    def mover(s):
        return 1

    @staticmethod
    def move(s, a, pay):
        return


def test_a_learner_who_is_never_asked_is_told(monkeypatch):
    monkeypatch.setattr("ludus.envs.doors.vector.PATIENCE", 50)
    with pytest.raises(
        ContractError, match=r"row 0: 50 moves, and neither did the game end nor was player_0 asked"
    ):
        Vector(Greedy(), num_envs=2, seat="player_0").reset(seed=1)
