"""The PettingZoo door, for every registered game: PettingZoo's own tests, and the loop's payoffs."""

import collections

import numpy as np
import pettingzoo
import pytest
from doors import (
    GAMES,
    MENUS,
    TOGETHER,
    Awkward,
    Rumour,
    api_test,
    parallel_api_test,
    parallel_seed_test,
    seed_test,
)
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

import ludus
from ludus.core.errors import ConfigError, ContractError, IllegalMove
from ludus.core.game import Forfeit
from ludus.core.match import Illegal
from ludus.core.reading import write_move
from ludus.envs.doors.host import host
from ludus.envs.doors.pettingzoo import AEC, aec, moves_together, parallel


class Counted(AEC):
    """Counts how its games end."""

    def __init__(self, *args, **settings):
        self.ends = collections.Counter()
        super().__init__(*args, **settings)

    def step(self, action):
        before = self.live.table.end
        super().step(action)
        if self.live.table.end != before:
            self.ends[self.live.table.end] += 1


def counted(game):
    return Counted(host(game, None, {}, {}, illegal=Illegal(), max_steps=1000))


@pytest.mark.parametrize("name", GAMES)
def test_api_and_a_game_without_a_forfeit(name):
    env = counted(name)
    api_test(env, num_cycles=1000)  # random games of chess, backgammon and pig are long
    assert env.ends["over"] >= 1
    assert env.ends["forfeit"] == 0


def named(game: str) -> str:
    return f"ludus/{game}-v{ludus.make(game).version}"


@pytest.mark.parametrize("name", GAMES)
def test_seeds(name):
    seed_test(lambda: pettingzoo.make("aec", named(name)), num_cycles=20)


@pytest.mark.parametrize("name", GAMES)
def test_a_parallel_environment_or_a_reason(name):
    if name not in TOGETHER:
        with pytest.raises(ConfigError, match="take turns"):
            pettingzoo.make("parallel", named(name))
        return
    parallel_api_test(pettingzoo.make("parallel", named(name)), num_cycles=50)
    parallel_seed_test(lambda: parallel(name), num_cycles=50)


def test_the_games_in_which_all_move_together():
    assert [name for name in ludus.games() if moves_together(ludus.make(name))] == TOGETHER


@pytest.mark.parametrize("name", TOGETHER)
def test_conversions_of_pettingzoo_fit(name):
    parallel_api_test(aec_to_parallel(aec(name)), num_cycles=50)
    api_test(parallel_to_aec(parallel(name)), num_cycles=50)


def replies(episode, seat):
    """What a player did, as it is written to a door."""
    for step in episode.of(seat):
        yield step.move if isinstance(step.move, int) else write_move(step.move, step.options)


def earns_what_the_loop_pays(game):
    """Play the loop's moves through the door, and compare."""
    lineup = dict.fromkeys(game.players, "uniform")
    for episode in ludus.play(game, lineup, range(2 if game.crew() else 5)):
        env, earned = aec(game), collections.Counter()
        moves = {seat: replies(episode, seat) for seat in game.players}
        env.reset(seed=episode.match.seed)
        for seat in env.agent_iter():
            seen, reward, terminated, truncated, _ = env.last()
            assert seen in env.observation_space(seat)
            earned[seat] += reward
            env.step(None if terminated or truncated else next(moves[seat]))
        assert {s: earned[s] for s in game.players} == pytest.approx(episode.returns)
        assert [s.digest for s in env.episode().steps] == [s.digest for s in episode.steps]
        assert ludus.replay(env.episode())


@pytest.mark.parametrize("name", GAMES)
def test_the_same_moves_earn_what_they_earn_in_the_loop(name):
    earns_what_the_loop_pays(ludus.make(name))


@pytest.mark.parametrize("name", MENUS)
def test_seats_with_menus_of_their_own(name):
    earns_what_the_loop_pays(ludus.make(name, menu=True))


@pytest.mark.parametrize("name", TOGETHER)
def test_parallel_rewards_are_those_of_the_loop(name):
    game = ludus.make(name)
    for episode in ludus.play(game, dict.fromkeys(game.players, "uniform"), range(5)):
        env, earned = parallel(game), collections.Counter()
        moves = {seat: replies(episode, seat) for seat in game.players}
        env.reset(seed=episode.match.seed)
        while env.agents:
            _, rewards, *_ = env.step({seat: next(moves[seat]) for seat in env.agents})
            earned.update(rewards)
        assert dict(earned) == pytest.approx(episode.returns)


@pytest.mark.parametrize("name", GAMES)
def test_masks_stand_in_observation_and_info_and_are_never_empty(name):
    env = aec(name)
    env.reset(seed=3)
    keys = {seat: set(info) for seat, info in env.infos.items()}
    for _ in range(30):
        seat = env.agent_selection
        seen, _, terminated, truncated, info = env.last()
        if terminated or truncated:
            break
        assert {"observation", "action_mask"} <= set(seen) or set(seen) == {"text"}
        assert set(info) == keys[seat]
        mask = info.get("action_mask")
        if mask is not None:
            assert mask.dtype == np.int8
            assert mask.any()
            assert mask.astype(bool).tolist() == env.live.options(seat).legal.tolist()
        if "observation" in seen:
            assert np.array_equal(seen["action_mask"], mask)
            assert seen["observation"].dtype == env.observation_space(seat)["observation"].dtype
        env.step(env.action_space(seat).sample(mask))


def test_an_illegal_move_is_the_forfeit_of_the_rules():
    env = aec("kuhn_poker")
    for action in (2, -1, True, 0.5, "[raise]", "no"):
        env.reset(seed=1)
        env.step(action)
        assert env.rewards == {"player_0": -2.0, "player_1": 2.0}
        assert env.terminations == {"player_0": True, "player_1": True}
        assert env.infos["player_0"]["forfeit"]
        assert env.infos["player_0"]["read"] == "forfeit"
        assert env.infos["player_1"]["end"] == "forfeit"
        assert isinstance(env.episode().steps[-1].move, Forfeit)


@pytest.mark.parametrize("action", [1, np.int32(1), np.int64(1), np.array(1), np.array([1]), "[bet]", "BET"])
def test_actions_come_in_many_types(action):
    env = aec("kuhn_poker", text=True)
    env.reset(seed=1)
    env.step(action)
    assert env.observe("player_1")["text"].endswith("Moves so far: bet.")


def test_policies_for_illegal_moves_are_those_of_matches():
    env = aec("kuhn_poker", illegal=Illegal("retry", times=1))
    env.reset(seed=1)
    env.step(7)
    assert env.agent_selection == "player_0"
    assert "7" in env.infos["player_0"]["complaint"]
    assert env.rewards == {"player_0": 0.0, "player_1": 0.0}
    env.step(0)
    assert env.infos["player_0"]["read"] == "retry"
    assert env.infos["player_0"]["complaint"] == ""
    env = aec(Awkward(), illegal=Illegal("skip", penalty=0.25))
    env.reset(seed=0)
    env.step(1)
    assert env.rewards["player_0"] == 1.75
    env = aec("kuhn_poker", illegal=Illegal("random"))
    env.reset(seed=1)
    env.step("what?")
    assert env.infos["player_0"]["read"] == "fallback"
    assert env.agent_selection == "player_1"


def test_seats_that_finish_early_leave_one_by_one():
    env = aec(Awkward())
    api_test(env, num_cycles=20)
    env.reset(seed=0)
    env.step(2)
    assert env.agent_selection == "player_0"
    assert env.last()[1:4] == (2.0, True, False)
    env.step(None)
    assert env.agents == ["player_1", "player_2"]
    assert env.agent_selection == "player_1"
    env.step(0)
    env.step(2)
    gone = []
    while env.agents:
        gone.append((env.agent_selection, env.last()[1]))
        env.step(None)
    assert gone == [("player_1", -1.0), ("player_2", 1.0)]


def test_a_seat_that_is_out_earns_no_more():
    class Generous(Awkward):
        def payoff(self, state):
            return {**super().payoff(state), "player_0": 1.0}

    env = aec(Generous())
    env.reset(seed=0)
    env.step(2)
    env.step(None)
    with pytest.raises(ContractError, match="player_0 earned after being out"):
        env.step(0)


def test_deals_that_end_before_anybody_is_asked_are_dealt_again():
    env, redeals = aec(Awkward()), 0
    for seed in range(400):
        env.reset(seed=seed)
        redeals += env.infos["player_0"]["redeals"]
        assert not any(env.terminations.values())
    assert redeals / 400 == pytest.approx(1.0, abs=0.3)  # half of the deals: 1 on average, deviation 1.4


def test_text_of_any_script_is_played_and_cut_at_its_limit():
    env = aec(Rumour())
    env.reset(seed=0)
    assert set(env.observe("player_0")) == {"text"}
    assert "ünïcödé" in env.action_space("player_0")
    assert "" not in env.action_space("player_0")
    assert env.action_space("player_0").sample().strip("é") == ""
    env.step("far too long a word")
    assert env.infos["player_0"]["read"] == "truncated"
    env.step("漢字")
    assert env.rewards == {"player_0": 1.0, "player_1": -1.0}
    env.reset(seed=0)
    env.step("")
    assert env.infos["player_0"]["forfeit"].startswith("the reply is empty")


def test_a_game_is_cut_after_max_cycles():
    env = aec("nim", max_cycles=3)
    env.reset(seed=0)
    for _ in range(3):
        env.step(0)
    assert env.truncations == {"player_0": True, "player_1": True}
    assert env.terminations == {"player_0": False, "player_1": False}
    assert env.infos["player_0"]["end"] == "cut"


def test_misuse_says_what_to_do():
    env = aec("kuhn_poker")
    with pytest.raises(IllegalMove, match=r"call reset\(\) first"):
        env.observe("player_0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finished"):
        env.step(None)
    with pytest.raises(ConfigError, match="render_mode"):
        aec("kuhn_poker", render_mode="human")
    with pytest.raises(ConfigError, match="asked again"):
        parallel("matching_pennies", illegal=Illegal("retry", times=1))
    both = parallel("matching_pennies")
    both.reset(seed=0)
    with pytest.raises(ValueError, match=r"\['player_0', 'player_1'\] expected"):
        both.step({"player_0": 0})


def test_rendering_is_the_view_of_the_seat_to_move():
    env = aec("kuhn_poker", render_mode="ansi", text=True)
    env.reset(seed=1)
    assert env.render() == env.observe("player_0")["text"]
    assert parallel_text().startswith("player_0: ")


def parallel_text():
    env = parallel("matching_pennies", render_mode="ansi")
    env.reset(seed=1)
    return env.render()


def test_crew_is_inside_and_can_be_replaced():
    env = aec("propose_solve")
    assert env.possible_agents == ["proposer_0", "solver_0", "solver_1", "solver_2", "solver_3"]

    class Broken:
        name = "broken"

        def act(self, requests):
            raise ludus.core.errors.CrewError("the abacus fell down")

    env = aec("propose_solve", crew={"referee": Broken()})

    def play():
        for seed in range(20):
            env.reset(seed=seed)
            for seat in env.agent_iter():
                _, _, terminated, truncated, _ = env.last()
                env.step(None if terminated or truncated else env.action_space(seat).sample())

    with pytest.raises(ludus.core.errors.CrewError, match="abacus"):
        play()


def test_prices_of_forfeits_that_do_not_suit_the_game_are_refused_at_once():
    env = aec("kuhn_poker", players=3, illegal=Illegal(payoff=(-1, 1)))
    with pytest.raises(ConfigError, match="named for two"):
        env.reset(seed=1)
