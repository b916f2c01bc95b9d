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
    assert {"kuhn_poker", "leduc_poker", "tic_tac_toe"} <= set(shipped())
    (episode,) = ludus.play(
        "tic_tac_toe",
        {"player_0": "uniform", "player_1": ludus.make_agent("trained", game="tic_tac_toe")},
        [0],
    )
    assert episode.end == "over"


def test_other_rules_are_refused():
    with pytest.raises(UnknownName, match="game that an agent comes for"):
        ludus.make_agent("trained", game="nim")
    with pytest.raises(ConfigError, match="trained for kuhn_poker with its defaults"):
        ludus.make_agent("trained", game="kuhn_poker", players=3)
