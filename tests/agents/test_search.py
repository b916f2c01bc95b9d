"""Agents that look ahead."""

import numpy as np
import pytest

from ludus.agents.search import MCTS, Minimax
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Choice, Game, View
from ludus.core.play import play
from ludus.core.registry import make, make_agent


@pytest.fixture(scope="module")
def solver():
    return Minimax("tic_tac_toe")


def test_minimax_never_loses_tic_tac_toe(solver):
    for lineup, mine in (({"player_0": solver, "player_1": "uniform"}, "player_0"),
                         ({"player_0": "uniform", "player_1": solver}, "player_1")):  # fmt: skip
        returns = [episode.returns[mine] for episode in play("tic_tac_toe", lineup, range(15))]
        assert min(returns) >= 0
        assert sum(returns) > 5


def test_minimax_against_itself_draws_and_knows_it(solver):
    (episode,) = play("tic_tac_toe", {"player": solver}, [3])
    assert episode.returns == {"player_0": 0.0, "player_1": 0.0}
    assert all(step.value == 0.0 for step in episode.steps)


def test_exact_minimax_searches_a_position_once_whoever_comes_to_it():
    agent = Minimax("tic_tac_toe")
    list(play("tic_tac_toe", {"player": agent}, [3]))
    assert len(agent._known) == len({position for position, _ in agent._known})
    before = len(agent._known)
    list(play("tic_tac_toe", {"player": agent}, [3]))
    assert len(agent._known) == before


def test_minimax_finds_the_winning_moves_of_nim():
    # Take one to three of the last stones: multiples of four are lost for the mover, and the one
    # winning move leaves a multiple of four. Whether taking the last wins or loses is asked of the rules.
    game = make("nim", stones=7)
    (episode,) = play(game, {"player": Minimax(game)}, [0])
    best = {step.value for step in episode.of("player_0")}
    assert best <= {1.0, -1.0}
    assert len(best) == 1
    assert episode.returns["player_0"] == best.pop()


def test_minimax_takes_the_mean_over_chance():
    # The state of Kuhn poker, shown to both: the value of knowing the cards, worked out by hand.
    # The higher card bets and is passed to, or both pass: the higher card wins one chip. By symmetry 0.
    game = make("kuhn_poker")
    agent = Minimax(game)
    value = agent._worth(game.start(np.random.default_rng(0)), -1, -np.inf, np.inf)
    assert value == pytest.approx(0.0)


def test_a_searcher_without_a_state_says_what_to_do():
    for agent in (Minimax("kuhn_poker"), MCTS("kuhn_poker", simulations=5)):
        with pytest.raises(ConfigError, match=r"not shown it: name the seat in Match\(privileged"):
            list(play("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, [0]))


def test_a_privileged_searcher_sees_the_cards():
    agent = MCTS("kuhn_poker", simulations=60)
    lineup = {"player_0": agent, "player_1": "uniform"}
    episodes = list(play("kuhn_poker", lineup, range(20), privileged=("player_0",)))
    assert np.mean([e.returns["player_0"] for e in episodes]) > 0.2


def test_searchers_refuse_what_they_cannot_search():
    with pytest.raises(ConfigError, match="zero sum"):
        Minimax("iterated_prisoners_dilemma")
    with pytest.raises(ConfigError, match="was made for nim and sits at tic_tac_toe"):
        list(play("tic_tac_toe", {"player": MCTS("nim")}, [0]))
    game = make("matching_pennies")
    with pytest.raises(ConfigError, match="move together"):
        list(play(game, {"player": MCTS(game)}, [0], privileged=game.players))


def test_mcts_beats_random_at_connect_four():
    lineup = {"player_0": MCTS("connect_four", simulations=40), "player_1": "uniform"}
    returns = [episode.returns["player_0"] for episode in play("connect_four", lineup, range(4))]
    assert returns == [1.0] * 4


def test_mcts_plays_the_same_from_the_same_seed():
    def moves():
        agent = MCTS("tic_tac_toe", simulations=30)
        (episode,) = play("tic_tac_toe", {"player": agent}, [11])
        return [step.move for step in episode.steps]

    assert moves() == moves()


def test_a_misspelt_setting_is_refused_and_not_passed_over() -> None:
    game = make("tic_tac_toe")
    with pytest.raises(UnknownName, match="setting of this agent 'simulation'; did you mean 'simulations'"):
        make_agent("mcts", game=game, simulation=5)
    with pytest.raises(UnknownName, match="parameter of tic_tac_toe 'foo'"):
        make_agent("minimax", game="tic_tac_toe", foo=1)


def test_a_search_with_transpositions_keeps_a_position_once(monkeypatch):
    """To 21 stones there is a tree of all ways to take them, and fewer than 42 positions."""
    grown = []
    for transpositions in (False, True):
        agent, known = MCTS("nim", simulations=500, transpositions=transpositions), []
        monkeypatch.setattr(
            agent, "_simulate", lambda *a, s=agent._simulate, k=known: (s(*a), k.append(a[0]))
        )
        list(play("nim", {"player_0": agent, "player_1": "first_legal"}, [0], max_steps=1))
        ahead, nodes = [known[0]], {}
        while ahead:
            node = ahead.pop()
            if id(node) not in nodes:
                nodes[id(node)] = node
                ahead += node.children.values()
        grown.append((len(nodes), len({node.state.record for node in nodes.values()})))
    (tree, positions), (graph, same) = grown
    assert tree > positions > 30
    assert graph == same > 30


def test_without_transpositions_both_searches_are_one():
    """Kuhn poker's record holds the bets so far: no two ways lead to one position."""
    notes = []
    for transpositions in (False, True):
        agent = MCTS("kuhn_poker", simulations=50, transpositions=transpositions)
        episodes = play("kuhn_poker", {"player": agent}, range(5), privileged=("player_0", "player_1"))
        notes.append([step.note for episode in episodes for step in episode.steps])
    assert notes[0] == notes[1]


class Roundabout(Game):
    """Walk round a circle of three for as long as one likes, or leave it where that pays most."""

    seats = ("player_0",)
    zero_sum = False
    perfect_information = True

    def start(self, rng):
        return 0

    def turn(self, state):
        return ("player_0",) if state >= 0 else ()

    def options(self, state, seat):
        return Choice(("on", "off"), np.ones(2, np.bool_))

    def play(self, state, moves):
        return (state + 1) % 3 if moves["player_0"] == 0 else -1 - state

    def payoff(self, state):
        return {"player_0": float(-1 - state)} if state < 0 else {}

    def view(self, state, seat):
        return View(f"You are at {state}.")


def test_a_search_that_goes_round_in_a_circle_ends():
    agent = MCTS(Roundabout(), simulations=200, transpositions=True)
    (episode,) = play(Roundabout(), {"player_0": agent}, [0])
    assert episode.returns == {"player_0": 2.0}
