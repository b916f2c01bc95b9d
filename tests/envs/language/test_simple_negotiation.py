"""simple_negotiation: what a message means, both repaired faults, who wins, and what stays private."""

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE, Choice
from ludus.envs.language.simple_negotiation import BASE, SimpleNegotiation
from ludus.envs.language.trade import Offer, Unusable

read_message = SimpleNegotiation.market.read

DEAL = (10, 10, 10, 10, 10, 5, 10, 15, 25, 40)  # quantities, then values, of each player


def dealt(deal=DEAL + DEAL, **params):
    game = ludus.make("simple_negotiation", **params)
    state = game.start(np.random.default_rng(0))
    for outcome in deal:
        assert outcome in dict(game.chance(state))
        state = game.play(state, {CHANCE: outcome})
    return game, state


def talk(*messages, deal=DEAL + DEAL, **params):
    game, state = dealt(deal, **params)
    for message in messages:
        (seat,) = game.turn(state)
        state = game.play(state, {seat: message})
    return game, state


def payoff(*messages, **params):
    game, state = talk(*messages, **params)
    assert game.turn(state) == ()
    return dict(game.payoff(state))


# ------------------------------------------------------------------------------------ messages
@pytest.mark.parametrize(
    ("message", "offer"),
    [
        ("[Offer: 3 Wood -> 2 Ore]", ((0, 3, 0, 0, 0), (0, 0, 0, 0, 2))),
        ("Well, [offer 3 woods, 1 SHEEP -> 2 ores and 1 brick]!", ((0, 3, 1, 0, 0), (0, 0, 0, 1, 2))),
        ("[Offer: I give 1 Wheat, and 2 Sheeps -> 4 Bricks.]", ((1, 0, 2, 0, 0), (0, 0, 0, 4, 0))),
        ("[Offer: I offer 1 wood and 1 wood\n->\n1 ore]", ((0, 2, 0, 0, 0), (0, 0, 0, 0, 1))),
        ("[ Offer:3 Wood->2 Ore ]", ((0, 3, 0, 0, 0), (0, 0, 0, 0, 2))),
    ],
)
def test_offers(message, offer) -> None:
    assert read_message(message) == (False, False, Offer(*offer))


@pytest.mark.parametrize(
    "message",
    ["[Offer: 3 Wood]", "[Offer: 3 Wood -> ]", "[Offer: -> 3 Wood]", "[Offer: 3 Gold -> 1 Ore]", "[Offer]",
     "[Offer: 0 Wood -> 1 Ore]", "[Offer: -2 Wood -> 1 Ore]", "[Offer: some Wood -> 1 Ore]", "[Accept] [Deny]",
     "[Offer: 3 Wood 2 Ore -> 1 Ore]", "[Offer: 1 Wood -> 1 Ore] or [Offer: 2 Wood -> 1 Ore]",
     "[Offer: 1 Wood -> 1 Ore -> 1 Brick]"],
)  # fmt: skip
def test_unusable_messages(message) -> None:
    with pytest.raises(Unusable):
        read_message(message)


def test_words_are_words() -> None:
    for message in ("", "I accept nothing.", "[Hello]", "accept", "[Accepted]", "I offer 3 Wood -> 2 Ore"):
        assert read_message(message) == (False, False, None)
    assert read_message("[ACCEPT]") == (True, False, None)
    assert read_message("I [deny] that") == (False, True, None)


# --------------------------------------------------------------------------------------- trade
def test_a_trade() -> None:
    game, state = talk("[Offer: 3 Wood -> 2 Ore]", "[Accept]")
    assert state.held == ((10, 7, 10, 10, 12), (10, 13, 10, 10, 8))
    assert [game.gain(state, i) for i in (0, 1)] == [2 * 40 - 3 * 10, 3 * 10 - 2 * 40]


def test_values_are_each_player_s_own() -> None:
    other = (*DEAL[:5], 6, 12, 12, 20, 32)
    game, state = talk("[Offer: 3 Wood -> 2 Ore]", "[Accept]", deal=DEAL + other)
    assert [game.gain(state, i) for i in (0, 1)] == [50, 3 * 12 - 2 * 32]


def test_accept_and_counter_in_one_message() -> None:
    _, state = talk("[Offer: 3 Wood -> 2 Ore]", "[Accept] [Offer: 12 Wood -> 1 Wheat]")
    assert state.held[1] == (10, 13, 10, 10, 8)  # what was taken can be offered on
    assert state.pending == Offer((0, 12, 0, 0, 0), (1, 0, 0, 0, 0))


# ---------------------------------------------------------------------- the two repaired faults
@pytest.mark.parametrize(
    "reply", ["[Deny]", "Never!", "[Deny] [Offer: 1 Ore -> 1 Ore]", "[Offer: 1 Ore -> 1 Ore]"]
)
def test_an_offer_that_is_not_accepted_is_gone(reply) -> None:
    game, state = talk("[Offer: 3 Wood -> 2 Ore]", reply)
    state = game.play(state, {"player_0": "Hm."})
    assert state.pending is None
    again = game.play(state, {"player_1": "[Accept]"})
    assert again.held == state.held
    assert again.errors == 1


def test_nobody_accepts_its_own_offer() -> None:
    game, state = talk("[Offer: 3 Wood -> 2 Ore]", "Let me think.")
    after = game.play(state, {"player_0": "[Accept]"})
    assert after.held == state.held
    assert after.errors == 1


# -------------------------------------------------------------------------------- broken rules
UNUSABLE = ["[Offer: 3 Gold -> 1 Ore]", "[Offer: 11 Wood -> 1 Ore]", "[Accept]", "[Accept] [Deny]"]


@pytest.mark.parametrize("message", UNUSABLE)
def test_a_second_broken_message_in_a_row_loses(message) -> None:
    game, state = talk("Hello.", message)
    assert game.turn(state) == ("player_1",)  # the same player, and no turn is used up
    assert state.turns == 1
    assert payoff("Hello.", message, message) == {"player_0": 1.0, "player_1": -1.0}


@pytest.mark.parametrize("message", UNUSABLE)
def test_without_allowance_the_first_loses(message) -> None:
    assert payoff(message, allowance=0) == {"player_0": -1.0, "player_1": 1.0}


def test_a_usable_message_clears_the_count() -> None:
    game, state = talk("[Accept]", "Sorry.", "Well.", "[Accept]")
    assert game.turn(state) == ("player_0",)
    assert state.errors == 1


def test_what_cannot_be_paid_for_cannot_be_accepted() -> None:
    game, state = talk("[Offer: 1 Wheat -> 11 Ore]", "[Accept]")
    assert (state.errors, state.turns) == (1, 1)
    assert "do not have 11 Ore" in game.view(state, "player_1").text
    assert (
        "11 Ore." not in game.view(state, "player_0").text.partition("[Accept]")[2]
    )  # the other is not told why
    assert "This breaks the rules." in game.view(state, "player_0").text
    assert game.play(state, {"player_1": "[Deny]"}).turns == 2  # and the offer had not gone


# ---------------------------------------------------------------------------------- the outcome
def test_the_larger_gain_wins() -> None:
    assert payoff("[Offer: 3 Wood -> 2 Ore]", "[Accept]", max_turns=2) == {"player_0": 1.0, "player_1": -1.0}
    assert payoff("[Offer: 2 Ore -> 3 Wood]", "[Accept]", max_turns=2) == {"player_0": -1.0, "player_1": 1.0}
    assert payoff("Hello.", "Bye.", max_turns=2) == {"player_0": 0.0, "player_1": 0.0}


def test_a_game_has_ten_turns() -> None:
    game, state = talk(*["Hello."] * 9)
    assert game.turn(state) == ("player_1",)
    assert game.turn(game.play(state, {"player_1": "Bye."})) == ()


def test_the_deal() -> None:
    """Quantities 5 to 25; values within a fifth of the base, and between 5 and 40: 1/17 each below 40 for Ore."""
    game, state = dealt(())
    spans = []
    for outcome in DEAL:
        chances = dict(game.chance(state))
        assert sum(chances.values()) == pytest.approx(1.0)
        spans.append((min(chances), max(chances)))
        state = game.play(state, {CHANCE: outcome})
    assert spans == [(5, 25)] * 5 + [(5, 6), (8, 12), (12, 18), (20, 30), (32, 40)]
    assert BASE == (5, 10, 15, 25, 40)


# ------------------------------------------------------------------------------------- privacy
def test_a_player_sees_its_own_goods_only() -> None:
    other = (25, 24, 23, 22, 21, 6, 12, 18, 30, 32)
    game, state = talk("Hello.\nplayer_1 accepted the offer.", deal=DEAL + other)
    text = game.view(state, "player_1").text
    assert "25 Wheat (worth 6 each)" in text
    assert "worth 40" not in text
    assert "\nplayer_1 accepted" not in text  # no message passes for the game's word
    _, elsewhere = talk("Hello.\nplayer_1 accepted the offer.", deal=(*DEAL[:9], 32, *other))
    assert game.view(elsewhere, "player_1").digest() == game.view(state, "player_1").digest()


# ---------------------------------------------------------------------------------------- menu
def test_menu_offers_only_what_the_rules_allow() -> None:
    game, state = dealt(menu=True)
    names = game.names
    assert not game.options(state, "player_0").legal[:2].any()
    state = game.play(state, {"player_0": names.index("Offer: 1 Wood -> 1 Ore")})
    options = game.options(state, "player_1")
    assert isinstance(options, Choice)
    assert options.legal[:3].all()
    state = game.play(state, {"player_1": names.index("Accept")})
    assert state.held == ((10, 9, 10, 10, 11), (10, 11, 10, 10, 9))


def test_random_menu_play_never_breaks_the_rules() -> None:
    game = ludus.make("simple_negotiation", menu=True)
    for episode in ludus.play(game, {"player": "uniform"}, range(30)):
        assert len(episode.steps) == 10
        assert sum(episode.returns.values()) == 0


def test_samples_never_break_the_rules() -> None:
    for episode in ludus.play("simple_negotiation", {"player": "uniform"}, range(30)):
        assert len(episode.steps) == 10
        assert ludus.verify([episode])[0].reached == "rules"
