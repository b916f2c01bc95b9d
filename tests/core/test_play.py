"""The loop: deals belong to seeds, replies are settled seat by seat, order changes no record."""

from __future__ import annotations

import pytest
from small_games import Dawdler, Errands, GuessCoin, Says

from ludus.core.agent import Decision, Failure, Uniform
from ludus.core.errors import ConfigError, ContractError, CrewError, IllegalMove, UnknownName
from ludus.core.game import Forfeit
from ludus.core.match import Illegal, Match
from ludus.core.play import play
from ludus.core.registry import make


def records(episodes) -> list[str]:
    return sorted(e.to_json() for e in episodes)


def test_a_seed_deals_the_same_cards_whoever_plays() -> None:
    deals = [
        {e.match.seed: e.chance for e in play("kuhn_poker", {"player": Says(1, waste=w)}, range(50))}
        for w in (0, 7)
    ]
    assert deals[0] == deals[1]
    assert len(set(deals[0].values())) == 6  # all six deals come up


def test_samples_of_a_seed_share_the_deal_and_differ_in_the_replies() -> None:
    matches = [Match("kuhn_poker", {"player": "uniform"}, seed=5, sample=s) for s in range(40)]
    episodes = list(play(matches))
    assert len({e.chance for e in episodes}) == 1
    assert len({tuple(s.move for s in e.steps) for e in episodes}) > 1


def test_playing_together_or_alone_gives_the_same_records() -> None:
    together = records(play("leduc_poker", {"player": "uniform"}, range(20)))
    alone = records(
        e for seed in range(20) for e in play("leduc_poker", {"player": "uniform"}, [seed], at_once=1)
    )
    assert together == alone


@pytest.mark.parametrize("per_poll", [1, 3])
def test_who_answers_first_changes_no_record(per_poll: int) -> None:
    waves = records(play(Errands(), {"solver": Uniform("dawdler")}, range(6)))
    queue = records(play(Errands(), {"solver": Dawdler(per_poll)}, range(6)))
    assert waves == queue


def test_independent_seats_do_not_wait_for_each_other() -> None:
    dawdler = Dawdler(1)
    (episode,) = play(Errands(), {"solver": dawdler}, [0])
    assert [s.seat for s in episode.steps] == [
        "solver_0",
        "solver_1",
        "solver_2",
        "solver_1",
        "solver_2",
        "solver_1",
    ]
    assert dict(episode.returns) == dict.fromkeys(Errands.seats, 1.0)


def test_rewards_of_steps_and_early_ones_sum_to_the_returns() -> None:
    for episode in play("kuhn_poker", {"player": "uniform"}, range(200)):
        for seat, due in episode.returns.items():
            assert sum(s.reward for s in episode.of(seat)) + episode.early.get(seat, 0.0) == due


# ------------------------------------------------------------------------------ unusable replies
def test_an_unusable_reply_forfeits_and_is_kept() -> None:
    (episode,) = play("kuhn_poker", {"player_0": Says(7), "player_1": "uniform"}, [0])
    assert episode.end == "forfeit"
    assert isinstance(episode.steps[0].move, Forfeit)
    assert (episode.steps[0].read, episode.steps[0].raw) == ("forfeit", "7")
    assert dict(episode.returns) == {"player_0": -2.0, "player_1": 2.0}  # the stake of Kuhn poker


class Learns(Says):
    """Answers nonsense until it has been told so twice."""

    def act(self, requests):
        self.asked += requests
        return [Decision(1 if len(self.asked) > 2 else Forfeit("mumbling"), raw="hm") for _ in requests]


def test_retries_show_the_complaint_and_keep_what_was_said() -> None:
    agent = Learns(None)
    lineup = {"player_0": agent, "player_1": Says(0)}
    (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=2))
    assert episode.steps[0].read == "retry"
    assert episode.steps[0].rejected == ("hm", "hm")
    assert [r.complaint for r in agent.asked[:3]] == ["", "mumbling", "mumbling"]


def test_retries_run_out() -> None:
    lineup = {"player_0": Learns(None), "player_1": Says(0)}
    (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=1))
    assert episode.end == "forfeit"
    assert episode.steps[0].rejected == ("hm",)


def test_a_random_legal_move_may_stand_in() -> None:
    lineup = {"player_0": Says(9), "player_1": Says(1)}
    episodes = list(play("kuhn_poker", lineup, range(30), illegal=Illegal("random")))
    assert {e.end for e in episodes} == {"over"}
    assert {s.read for e in episodes for s in e.of("player_0")} == {"fallback"}
    assert {e.steps[0].move for e in episodes} == {0, 1}


class Passing(GuessCoin):
    def skip(self, state, seat) -> int:
        return 0


def test_a_seat_may_be_charged_and_pass() -> None:
    game = Passing()
    lineup = {"player_0": Says(9), "player_1": Says(0)}
    (episode,) = play(game, lineup, [0], illegal=Illegal("skip", penalty=0.25))
    step = episode.steps[0]
    assert (step.read, step.move, step.penalty) == ("skip", 0, -0.25)
    assert sum(episode.returns.values()) == -0.25
    with pytest.raises(IllegalMove, match="no move that passes"):
        list(play("kuhn_poker", lineup, [0], illegal=Illegal("skip", penalty=0.25)))


def test_long_text_is_cut_and_marked() -> None:
    (episode,) = play(Errands((1, 1, 1)), {"solver": Says("123456789012")}, [0])
    assert {(s.move, s.read) for s in episode.steps} == {("12345678", "truncated")}


def test_independent_seats_go_on_without_one_that_forfeits() -> None:
    lineup = {"solver_0": Says(Forfeit("mute")), "solver_1": "uniform", "solver_2": "uniform"}
    (episode,) = play(Errands(), lineup, [0])
    assert episode.end == "over"
    assert episode.returns["solver_1"] == 1.0


# ------------------------------------------------------------------------------ broken machinery
class Breaks(Says):
    def act(self, requests):
        raise CrewError("the wire is cut")


def test_a_failed_player_voids_the_episode_and_nobody_is_paid() -> None:
    (episode,) = play("kuhn_poker", {"player_0": Breaks(0), "player_1": Says(0)}, [0])
    assert (episode.end, dict(episode.returns)) == ("error", {})
    assert "the wire is cut" in episode.fault


def test_a_failed_player_pays_where_that_is_declared() -> None:
    agent = Says(Failure("out of memory"))
    (episode,) = play("kuhn_poker", {"player_0": agent, "player_1": Says(0)}, [0], failed="forfeit")
    assert episode.end == "forfeit"
    assert episode.returns["player_0"] == -2.0


def test_broken_wires_fail_the_seat_and_bugs_are_raised() -> None:
    class Wire(Says):
        def act(self, requests):
            raise self.move

    (episode,) = play("kuhn_poker", {"player_0": Wire(TimeoutError("slow")), "player_1": Says(0)}, [0])
    assert (episode.end, episode.failed) == ("error", "player_0")
    assert "TimeoutError: slow" in episode.fault
    for bug in (KeyError("bug"), NotImplementedError("bug"), RecursionError("bug")):
        with pytest.raises(type(bug), match="bug"):
            list(play("kuhn_poker", {"player_0": Wire(bug), "player_1": Says(0)}, [0]))


@pytest.mark.parametrize(
    ("answer", "told"),
    [([1], r"says answered player_0 of kuhn_poker.* with 1, .*Decision\(move\)"), (None, "act returned None"),
     ((Decision(0) for _ in range(1)), "act returned <generator"), ([], "1 requests with 0 decisions")],
)  # fmt: skip
def test_an_agent_that_gives_no_decisions_is_told(answer, told) -> None:
    wordless = Says(0)
    wordless.act = lambda requests: answer
    with pytest.raises(ContractError, match=told):
        list(play("kuhn_poker", {"player": wordless}, [0]))


def test_an_agent_that_hands_over_no_decisions_is_told() -> None:
    class Bare(Dawdler):
        @staticmethod
        def _answer(request):
            return 0

    with pytest.raises(ContractError, match=r"dawdler answered player_0 .*with 0, .*Decision\(move\)"):
        list(play("kuhn_poker", {"player": Bare()}, [0]))


def test_an_agent_that_answers_twice_is_told() -> None:
    class Twice(Dawdler):
        def poll(self):
            return super().poll() * 2

    with pytest.raises(
        ContractError, match=r"gave back a request of player_. in kuhn_poker that it does not hold"
    ):
        list(play("kuhn_poker", {"player": Twice()}, [0]))


def test_agents_with_a_pace_of_their_own_are_heard_beside_busy_ones() -> None:
    quick, busy = Dawdler(9), Says(0)
    matches = [Match("kuhn_poker", {"player": quick}, seed=0)]
    matches += [Match("kuhn_poker", {"player": busy}, seed=s) for s in range(100)]
    order = [e.lineup["player_0"] for e in play(matches, at_once=2)]
    assert order.index("dawdler") < 10


@pytest.mark.parametrize(("given", "most"), [({}, 64), ({"at_once": 100}, 100)])
def test_few_tables_are_live_unless_somebody_keeps_a_pace_of_its_own(given, most) -> None:
    class Counts(Uniform):
        most = 0

        def act(self, requests):
            self.most = max(self.most, len(requests))
            return super().act(requests)

    class Waits(Dawdler):
        most = 0

        def submit(self, requests):
            super().submit(requests)
            self.most = max(self.most, len(self.waiting))

    at_once, patient = Counts(), Waits(per_poll=1000)
    list(play("kuhn_poker", {"player": at_once}, range(300), **given))
    list(play("kuhn_poker", {"player": patient}, range(300), **given))
    assert at_once.most == most
    assert patient.most == given.get("at_once", 300)


def test_who_stops_listening_leaves_no_session_open() -> None:
    agent = Says(0)
    episodes = play("kuhn_poker", {"player": agent}, range(50), at_once=5)
    next(episodes)
    episodes.close()
    assert {r.key for r in agent.asked} == set(agent.closed)


def test_one_table_breaks_and_the_others_play_on() -> None:
    class Half(Says):
        def act(self, requests):
            return [Decision(Failure("odd") if int(r.key) % 2 else 0) for r in requests]

    ends = [e.end for e in play("kuhn_poker", {"player": Half(0)}, range(10))]
    assert sorted(ends) == ["error"] * 5 + ["over"] * 5


# --------------------------------------------------------------------------------- the border
def test_sessions_are_closed_with_the_keys_they_had() -> None:
    agent = Says(0)
    list(play("kuhn_poker", {"player": agent}, range(3)))
    assert sorted(agent.closed) == sorted({r.key for r in agent.asked})
    assert len(agent.closed) == 3


def test_long_games_are_cut_and_worth_what_the_agents_expect() -> None:
    class Hopes(Says):
        def value(self, requests):
            return [0.5 for _ in requests]

    hopes = Hopes(0)
    (episode,) = play("tic_tac_toe", {"player_0": hopes, "player_1": "uniform"}, [0], max_steps=1)
    assert (episode.end, dict(episode.bootstrap)) == ("cut", {"player_0": 0.5})


def test_state_is_shown_only_where_allowed() -> None:
    open_game, hidden, privileged = Says(0), Says(0), Says(0)
    list(play("tic_tac_toe", {"player_0": open_game, "player_1": "uniform"}, [0], max_steps=1))
    list(play("kuhn_poker", {"player": hidden}, [0]))
    list(play("kuhn_poker", {"player_0": privileged, "player_1": hidden}, [0], privileged=("player_0",)))
    assert all(r.state is not None for r in open_game.asked + privileged.asked)
    assert all(r.state is None for r in hidden.asked)


def test_lineups_are_checked() -> None:
    with pytest.raises(UnknownName, match="did you mean 'player_1'"):
        list(play("kuhn_poker", {"player_0": "uniform", "plyer_1": "uniform"}, [0]))
    with pytest.raises(ConfigError, match="nobody sits at player_1"):
        list(play("kuhn_poker", {"player_0": "uniform"}, [0]))
    with pytest.raises(UnknownName, match="unknown agent 'uniformm'; did you mean 'uniform'"):
        list(play("kuhn_poker", {"player": "uniformm"}, [0]))
    with pytest.raises(ConfigError, match=r"a lineup says who sits where, .*not 'uniform'"):
        list(play("kuhn_poker", "uniform", [0]))
    for nobody in (3, Says, object()):
        with pytest.raises(TypeError, match=r"player_0 is given .*not an agent, which has a `name` and `act"):
            list(play("kuhn_poker", {"player": nobody}, [0]))
    with pytest.raises(TypeError, match=r"one for each episode, such as range\(10\), not 3"):
        list(play("kuhn_poker", {"player": "uniform"}, 3))
    with pytest.raises(ConfigError, match="takes no task"):
        list(play(Match("kuhn_poker", {"player": "uniform"}, task="1 + 1")))


def test_what_a_seat_knows_comes_with_its_requests() -> None:
    game = make("kuhn_poker")
    agent = Says(0)
    list(play(game, {"player_0": agent, "player_1": Says(1)}, [0]))
    first, second = agent.asked
    assert first.past == ()
    assert [move for _, move in second.past] == [0]
    assert second.information == f"player_0: {second.view.text}"  # a Kuhn view is complete
