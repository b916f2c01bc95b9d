"""Learned best responses: what they gain, against what can at most be gained."""

import json

import numpy as np
import pytest

from ludus.agents.exact import Tabular
from ludus.agents.network import fresh
from ludus.cli import main
from ludus.core.agent import Uniform
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.exact import best_response, mixed, nash_conv, reached, rows, together, uniform, value
from ludus.core.registry import make
from ludus.core.solvers import solve
from ludus.core.tables import tabulate
from ludus.training import drawers
from ludus.training.collect import ArrayCollector
from ludus.training.drawers import Likeliest, drawer
from ludus.training.responses import Mixture, Seats, learn_response, learned_exploitability, returns, training

KUHN = make("kuhn_poker")
EARLY = Tabular(solve(KUHN, 2), "early")


def test_returns_are_those_of_the_tables():
    """Of a table against a network, at either seat, within four standard errors."""
    network = fresh(KUHN, seed=3)
    for seats in ({"player_0": EARLY, "player_1": network}, {"player_0": network, "player_1": Uniform()}):
        exact = value(KUHN, together(KUHN, seats))
        found = returns(KUHN, seats, games=9000, seed=1)
        assert found.shape == (9000, 2)
        np.testing.assert_array_equal(found.sum(1), 0.0)
        error = found[:, 0].std() / len(found) ** 0.5
        assert found[:, 0].mean() == pytest.approx(exact["player_0"], abs=4 * error)
    np.testing.assert_array_equal(found, returns(KUHN, seats, games=9000, seed=1))


def test_a_learned_response_comes_near_the_best_one_and_never_above():
    exact = nash_conv(KUHN, EARLY.table)
    found = learned_exploitability(KUHN, EARLY, decisions=20_000, games=40_000)
    assert found.nash_conv == pytest.approx(exact, abs=0.06)
    assert found.low < exact
    assert found.low < found.nash_conv < found.high
    assert found.exploitability == found.nash_conv / 2
    assert found.decisions == 2 * 5 * 128 * 32  # whole steps, for two seats
    assert 0.3 * found.decisions < found.learned_from < 0.7 * found.decisions
    for seat, gain in found.gains.items():
        most = best_response(KUHN, EARLY.table, seat)[0] - value(KUHN, EARLY.table)[seat]
        assert gain < most + 0.05


def test_an_equilibrium_leaves_nothing_to_gain():
    found = learned_exploitability(KUHN, Tabular(solve(KUHN, 1000)), decisions=20_000, games=40_000)
    assert found.low < 1e-3


def test_the_interval_is_as_wide_as_the_figure_moves():
    """Of one response measured again and again, the middle 95 % is about as wide as the interval says."""
    agent = Likeliest(fresh(KUHN, seed=1))
    seats = {"player_0": agent, "player_1": EARLY}
    truth = np.mean([returns(KUHN, seats, games=4000, seed=s)[:, 0].mean() for s in range(20)])
    held = 0
    for seed in range(100, 200):
        paid = returns(KUHN, seats, games=200, seed=seed)[:, 0]
        half = 1.96 * paid.std(ddof=1) / 200**0.5
        held += abs(paid.mean() - truth) <= half
    assert 88 <= held <= 100


def test_a_mixture_draws_an_agent_for_each_game():
    """What is earned against it is what is earned against the policy that the tables make of it."""
    tables = tabulate(KUHN)
    always, never = (Tabular({n: np.eye(2)[k] for n in tables.names}, "x") for k in (1, 0))
    policies = [rows(tables, always), rows(tables, never)]
    joint = mixed(tables, policies, [0.3, 0.7])
    np.testing.assert_allclose(
        reached(tables, joint), 0.3 * reached(tables, policies[0]) + 0.7 * reached(tables, policies[1])
    )
    seats = Seats(KUHN, {"player_0": Mixture([always, never], [0.3, 0.7]), "player_1": Uniform()})
    collector = ArrayCollector(KUHN, rows=256, length=128, seed=2, exchange=False)
    exact = value(tables, together(tables, {"player_0": joint, "player_1": uniform(KUHN)}))["player_0"]
    earned, games = collector.collect(seats, {seat: seat for seat in KUHN.seats})[1].returns["x", "player_0"]
    assert games > 12_000
    assert earned / games == pytest.approx(exact, abs=4 * 1.5 / 12_000**0.5)
    assert (
        abs(
            exact
            - value(tables, together(tables, {"player_0": policies[0], "player_1": uniform(KUHN)}))[
                "player_0"
            ]
        )
        > 0.1
    )


def test_what_cannot_be_answered_is_refused(monkeypatch):
    class Mute:
        name = "mute"

    with pytest.raises(ConfigError, match="tells no probabilities"):
        learned_exploitability(KUHN, Mute(), decisions=10)
    with pytest.raises(ConfigError, match="no array game"):
        learned_exploitability(make("propose_solve", menu=True), Uniform(), decisions=10)
    with pytest.raises(ConfigError, match="at least 1 decision"):
        learned_exploitability(KUHN, Uniform(), decisions=0)
    with pytest.raises(UnknownName, match="player_1"):
        learn_response(KUHN, "player_2", {"player_0": Uniform()}, steps=1)
    with pytest.raises(ConfigError, match="v_trace compares whole episodes"):
        training(estimator={"name": "v_trace"})
    monkeypatch.setattr(drawers, "POSITIONS", 2000)
    with pytest.raises(ConfigError, match="more than 2,000"):
        drawer(make("dark_hex"), Tabular({}), "player_0")


def test_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "exploit",
                "kuhn_poker",
                "uniform",
                "--learn",
                "5000",
                "--games",
                "500",
                "--json",
                str(tmp_path / "x.json"),
            ]
        )
    assert stopped.value.code == 0
    (data,) = json.loads((tmp_path / "x.json").read_text())
    assert data["bound"] == "lower"
    assert data["low"] < data["nash_conv"] < data["high"]
    assert "lower bound" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["exploit", "kuhn_poker", "uniform", "--learn", "5000", "--samples", "4"])
    assert stopped.value.code == 2
    assert "--samples" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "near"), [("kuhn_poker", 0.05), ("leduc_poker", 0.25)])
def test_at_a_few_hundred_thousand_decisions(name, near):
    game = make(name)
    agent = Tabular(solve(game, 5), "cfr_plus_5")
    exact = nash_conv(game, agent.table)
    found = learned_exploitability(game, agent, decisions=400_000, games=100_000)
    print(f"{name}: exact {exact:.3f}, learned {found.nash_conv:.3f} ({found.low:.3f} to {found.high:.3f})")
    assert exact - near < found.nash_conv
    assert found.low < exact
