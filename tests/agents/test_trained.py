"""Agents that come with the package: as strong as is told of them, and only for the rules they were trained for."""

import pytest

import ludus
from ludus.agents.trained import about, shipped
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.exact import losses, nash_conv, tabular


@pytest.mark.parametrize("game", [name for name in shipped() if "nash_conv" in about(name)])
def test_they_are_what_is_told_of_them(game):
    made, told = ludus.make(game), about(game)
    found = nash_conv(made, tabular(made, ludus.make_agent("trained", game=made)))
    assert found == pytest.approx(told.get("nash_conv_average", told["nash_conv"]), abs=1e-6)


@pytest.mark.parametrize("game", [name for name in shipped() if "losses" in about(name)])
def test_they_lose_as_little_as_is_told(game):
    made = ludus.make(game)
    assert losses(made, tabular(made, ludus.make_agent("trained", game=made))) == about(game)["losses"] == 0
    assert (
        losses(made, tabular(made, ludus.make_agent("first_legal"))) == 2
    )  # which whoever knows it beats in both seats


def test_they_play():
    known = "connect_four dark_hex kuhn_poker leduc_poker liars_dice phantom_tic_tac_toe tic_tac_toe"
    assert set(known.split()) <= set(shipped())
    (episode,) = ludus.play(
        "tic_tac_toe",
        {"player_0": "uniform", "player_1": ludus.make_agent("trained", game="tic_tac_toe")},
        [0],
    )
    assert episode.end == "over"


@pytest.mark.parametrize(("game", "params"), [("phantom_tic_tac_toe", {}), ("dark_hex", {"abrupt": True})])
def test_those_of_games_without_a_table_beat_random_play(game, params):
    made = ludus.make(game, **params)
    learned, earned = ludus.make_agent("trained", game=made), 0.0
    for seat, other in (made.seats, made.seats[::-1]):
        games = ludus.play(made, {seat: learned, other: "uniform"}, range(100))
        earned += sum(episode.returns[seat] for episode in games) / 200
    assert earned > 0.5  # the best responses to random play earn .78 and .74


def test_other_rules_are_refused():
    with pytest.raises(UnknownName, match="game with a trained agent"):
        ludus.make_agent("trained", game="nim")
    with pytest.raises(ConfigError, match="trained for kuhn_poker with its defaults"):
        ludus.make_agent("trained", game="kuhn_poker", players=3)
    with pytest.raises(ConfigError, match="this is dark_hex"):
        ludus.make_agent("trained", game="dark_hex")
