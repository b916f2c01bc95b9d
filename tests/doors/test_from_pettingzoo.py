"""A third party's environments as games."""

import pickle

import gymnasium
import numpy as np
import pettingzoo
import pytest
from pettingzoo import AECEnv

import ludus
from ludus.commands.scorecard import score
from ludus.core.errors import ConfigError, IllegalMove, MissingExtra
from ludus.core.ledger import Ledger
from ludus.envs.doors import replayed
from ludus.envs.doors.from_pettingzoo import FromPettingZoo, Played, from_pettingzoo
from ludus.envs.doors.gymnasium import Against
from ludus.envs.doors.pettingzoo import aec
from ludus.testing import check_game

CLASSIC = ["classic/tictactoe_v3", "classic/connect_four_v3", "classic/leduc_holdem_v4"]


def game_of(env):
    stake = 7.0 if "leduc" in env else 1.0  # half of thirteen chips can be lost
    return ludus.make("pettingzoo", env=env, zero_sum=True, stake=stake)


@pytest.mark.parametrize("env", CLASSIC)
def test_a_game_earns_what_the_environment_pays(env):
    game = game_of(env)
    for episode in ludus.play(game, dict.fromkeys(game.seats, "uniform"), range(12)):
        assert episode.end == "over"
        theirs = pettingzoo.make("aec", env)
        theirs.reset(seed=game.start(np.random.default_rng(np.random.SeedSequence(episode.match.seed))).seed)
        moves, earned = iter(episode.steps), dict.fromkeys(game.seats, 0.0)
        for seat in theirs.agent_iter():
            seen, reward, terminated, truncated, _ = theirs.last()
            earned[seat] += reward
            if terminated or truncated:
                theirs.step(None)
                continue
            step = next(moves)
            assert step.seat == seat
            assert np.array_equal(step.view.features, seen["observation"])
            assert np.array_equal(step.options.legal, seen["action_mask"])
            theirs.step(step.move)
        assert earned == pytest.approx(episode.returns)


@pytest.mark.parametrize("env", CLASSIC)
def test_it_keeps_the_contract_of_games(env):
    check_game(game_of(env), episodes=5)


@pytest.mark.parametrize("env", CLASSIC)
def test_it_replays_from_its_record(env):
    game = game_of(env)
    (episode,) = ludus.play(game, dict.fromkeys(game.seats, "uniform"), [4])
    again = ludus.Episode.from_json(episode.to_json())
    assert again.match.params["env"] == env
    assert len(list(ludus.replay(again))) >= len(episode.steps)


def states(game, seed, length):
    """States of one random game, the first first."""
    rng = np.random.default_rng(seed)
    state = game.start(rng)
    for _ in range(length):
        if not game.turn(state):
            break
        yield state
        (seat,) = game.turn(state)
        state = game.play(state, {seat: game.sample(state, seat, rng)})


@pytest.mark.parametrize("env", CLASSIC)
@pytest.mark.parametrize("live", [1, 64])
def test_a_state_is_a_value_whatever_was_asked_before(env, live, monkeypatch):
    monkeypatch.setattr(replayed, "LIVE", live)
    game = game_of(env)
    several = [s for seed in range(3) for s in states(game, seed, 6)]
    first = [(game.turn(s), [game.view(s, seat).digest() for seat in game.seats]) for s in several]
    for i in np.random.default_rng(0).permutation(len(several)):
        state = several[i]
        assert (game.turn(state), [game.view(state, seat).digest() for seat in game.seats]) == first[i]
        assert game.payoff(state) == game.payoff(Played(state.seed, state.actions, state.paid))
    assert len(game._tips) <= live


def test_it_travels_between_processes():
    game = game_of("classic/tictactoe_v3")
    state = list(states(game, 0, 4))[-1]
    twin, same = pickle.loads(pickle.dumps((game, state)))
    assert twin.view(same, "player_1").digest() == game.view(state, "player_1").digest()


def test_names_of_all_kinds_make_the_same_game():
    for env in (
        "classic/tictactoe_v3",
        "pettingzoo.classic.tictactoe_v3",
        "pettingzoo.classic.tictactoe.tictactoe:env",
    ):
        assert from_pettingzoo(env).seats == ("player_1", "player_2")
    assert from_pettingzoo(lambda: pettingzoo.make("aec", "classic/tictactoe_v3")).seats == (
        "player_1",
        "player_2",
    )
    named = from_pettingzoo("classic/tictactoe_v3", moves=tuple("abcdefghi"))
    assert named.options(named.start(np.random.default_rng(0)), "player_1").names == tuple("abcdefghi")


def test_it_is_makeable_but_not_listed():
    assert "pettingzoo" not in ludus.games()
    assert ludus.make("pettingzoo", env="classic/tictactoe_v3").id == "pettingzoo"


def test_it_goes_through_our_doors_again():
    env = Against(game_of("classic/connect_four_v3"), seat="player_1")
    seen, info = env.reset(seed=0)
    assert seen["observation"].shape == (6, 7, 2)
    assert seen["action_mask"].tolist() == [1] * 7
    assert info["redeals"] == 0
    back = aec(game_of("classic/tictactoe_v3"))
    back.reset(seed=0)
    for action in (0, 3, 1, 4, 2):
        back.step(action)
    assert back.rewards == {"player_1": 1.0, "player_2": -1.0}


def test_views_say_in_prose_what_the_features_say():
    game = game_of("classic/tictactoe_v3")
    state = game.start(np.random.default_rng(0))
    after = game.play(state, {"player_1": 4})
    texts = {game.view(s, "player_2").text for s in (state, after)}
    assert len(texts) == 2
    assert "tictactoe_v3" in game.rules("player_1")


def test_an_illegal_move_never_reaches_the_environment():
    game = game_of("classic/tictactoe_v3")
    state = game.play(game.start(np.random.default_rng(0)), {"player_1": 4})
    with pytest.raises(IllegalMove, match="player_2 cannot play 4"):
        game.play(state, {"player_2": 4})
    lineup = {"player_1": "uniform", "player_2": ludus.make_agent("scripted", script=[99])}
    (episode,) = ludus.play(game, lineup, [0])
    assert (episode.end, episode.returns) == ("forfeit", {"player_1": 1.0, "player_2": -1.0})


class Leaving(AECEnv):
    """Agents go in turn; each is asked once and leaves; the mask is in info, actions count from one."""

    def __init__(self, space=None):
        self.metadata = {"name": "leaving_v0"}
        self.possible_agents = ["a_0", "b_0", "c_0"]
        self._space = space or gymnasium.spaces.Discrete(3, start=1)

    def observation_space(self, agent):
        return gymnasium.spaces.Box(0, 9, (2,), np.float64)

    def action_space(self, agent):
        return self._space

    def observe(self, agent):
        if agent not in self.agents:
            raise KeyError(agent)  # as many environments do
        return np.array([self.possible_agents.index(agent), self.total], np.float64)

    def reset(self, seed=None, options=None):
        self.agents, self.total = list(self.possible_agents), 0
        self.rewards = dict.fromkeys(self.agents, 0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {a: {"action_mask": np.array([1, 0, 1], np.int8)} for a in self.agents}
        self.agent_selection = "a_0"

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        assert action in (1, 3), action
        self.total += action
        self.rewards = {a: float(action) if a == agent else 0.5 for a in self.agents}
        self._cumulative_rewards[agent] = 0
        self._accumulate_rewards()
        self.terminations[agent] = True
        left = [a for a in self.agents if not self.terminations[a]]
        self.agent_selection = left[0] if left else agent
        self._deads_step_first()


def test_agents_that_leave_early_and_masks_in_info():
    game = from_pettingzoo(Leaving, stake=3.0)
    assert game.interface("a_0").dtype == "float32"
    state = game.start(np.random.default_rng(0))
    assert game.options(state, "a_0").legal.tolist() == [True, False, True]
    state = game.play(state, {"a_0": 2})
    assert game.payoff(state) == {"a_0": 3.0, "b_0": 0.5, "c_0": 0.5}
    assert game.out(state, "a_0")
    assert game.view(state, "a_0").features.tolist() == [0.0, 3.0]  # what it saw when it left
    assert game.turn(state) == ("b_0",)
    env = aec(game)
    env.reset(seed=0)
    earned = dict.fromkeys(game.seats, 0.0)
    for seat in env.agent_iter():
        _, reward, terminated, truncated, _ = env.last()
        earned[seat] += reward
        env.step(None if terminated or truncated else 2)
    assert earned == {"a_0": 3.0, "b_0": 3.5, "c_0": 4.0}


class Stopping(AECEnv):
    """Two agents take turns; after four moves the environment stops them, each in the way it is told."""

    def __init__(self, ways=("truncated", "truncated")):
        self.metadata = {"name": "stopping_v0"}
        self.possible_agents, self._ways = ["a_0", "b_0"], ways

    def observation_space(self, agent):
        return gymnasium.spaces.Box(0, 9, (1,), np.float32)

    def action_space(self, agent):
        return gymnasium.spaces.Discrete(2)

    def observe(self, agent):
        return np.array([self.count], np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.count, self.agent_selection = list(self.possible_agents), 0, "a_0"
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0), dict.fromkeys(self.agents, 0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self.count += 1
        self.agent_selection = self.possible_agents[self.count % 2]
        for stopped, way in zip(self.agents, self._ways if self.count == 4 else (), strict=False):
            self.truncations[stopped], self.terminations[stopped] = "truncated" in way, "terminated" in way


class Hopeful(ludus.core.agent.Uniform):
    def value(self, requests):
        return np.array([10.0 + float(request.view.features[0]) for request in requests])


@pytest.mark.parametrize(
    ("ways", "end", "bootstrap"),
    [
        (("truncated", "truncated"), "cut", {"a_0": 14.0, "b_0": 14.0}),
        (("truncated", "terminated"), "cut", {"a_0": 14.0, "b_0": 0.0}),
        (("terminated", "terminated"), "over", {}),
        (("truncated and terminated", "terminated"), "over", {}),
    ],
)
def test_what_an_environment_truncates_is_cut_and_not_over(ways, end, bootstrap):
    game = from_pettingzoo(Stopping, kwargs={"ways": ways})
    (episode,) = ludus.play(game, dict.fromkeys(game.seats, Hopeful()), [0])
    assert (len(episode.steps), episode.end, dict(episode.bootstrap)) == (4, end, bootstrap)
    assert list(ludus.replay(episode, game))
    following = Ledger.of([episode]).next_values
    assert following[-1] == bootstrap.get("b_0", 0.0)
    env = aec(game)
    env.reset(seed=0)
    for _ in env.agent_iter():
        _, _, terminated, truncated, _ = env.last()
        assert not (terminated and truncated)
        last = (terminated, truncated)
        env.step(None if terminated or truncated else 0)
    assert last == (end == "over", end == "cut")


def test_an_agent_that_ended_before_a_cut_is_out():
    game = from_pettingzoo(Stopping, kwargs={"ways": ("truncated", "terminated")})
    *_, state = states(game, 0, 4)
    state = game.play(state, {"b_0": 0})
    assert (game.turn(state), game.cut(state)) == ((), True)
    assert [game.out(state, seat) for seat in game.seats] == [False, True]


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ConfigError, match="only Discrete and Text"):
        from_pettingzoo(Leaving, kwargs={"space": gymnasium.spaces.Box(0, 1, (2,))})
    with pytest.raises(ConfigError, match="9 moves, and 2 names"):
        from_pettingzoo("classic/tictactoe_v3", moves=("x", "y"))
    with pytest.raises(MissingExtra, match="no_such_module"):
        from_pettingzoo("no_such_module:env")
    assert issubclass(FromPettingZoo, ludus.Game)


def test_the_scorecard_of_a_foreign_game_tells_nobody_to_write_it_anew():
    assert score(game_of("classic/tictactoe_v3"), episodes=1).advice == ()
