"""spiral_negotiation: Wood and Gold, offers that stand, and the two faults of TextArena as switches."""

import numpy as np
import pytest

import ludus
from ludus.core.errors import UnknownName
from ludus.core.game import Forfeit
from ludus.envs.language.trade import Offer

OFFER = "[Offer: 3 Wood -> 2 Gold]"
TAKEN = ((7, 12), (13, 8))  # by player_1


def talk(*messages, name="spiral_negotiation", **params):
    game = ludus.make(name, **params)
    state = game.start(np.random.default_rng(0))
    for message in messages:
        (seat,) = game.turn(state)
        state = game.play(state, {seat: message})
    return game, state


def payoff(*messages, **params):
    game, state = talk(*messages, **params)
    assert game.turn(state) == ()
    return tuple(game.payoff(state)[seat] for seat in game.seats)


def test_the_deal_is_no_matter_of_chance() -> None:
    game, state = talk()
    assert game.turn(state) == ("player_0",)
    assert state.held == ((10, 10), (10, 10))
    assert "10 Wood (worth 5 each), 10 Gold (worth 15 each)" in game.view(state, "player_0").text
    assert "10 Wood (worth 15 each), 10 Gold (worth 5 each)" in game.view(state, "player_1").text


def test_a_trade_is_worth_what_it_is_to_each() -> None:
    game, state = talk(OFFER, "[Accept]")
    assert state.held == TAKEN
    assert [game.gain(state, i) for i in (0, 1)] == [2 * 15 - 3 * 5, 3 * 15 - 2 * 5]
    assert payoff(OFFER, "[Accept]", max_turns=2) == (-1, 1)
    assert payoff("[Offer: 2 Wood -> 2 Gold]", "[Accept]", max_turns=2) == (0, 0)
    assert payoff("[Offer: 1 Wood -> 2 Gold]", "[Accept]", max_turns=2) == (1, -1)


def test_there_are_ten_turns() -> None:
    game, state = talk(*["Hello."] * 9)
    assert game.turn(state) == ("player_1",)
    assert payoff(*["Hello."] * 10) == (0, 0)


def test_silence_leaves_an_offer_standing() -> None:
    game, state = talk(OFFER, "Let me think.", "Take your time.")
    assert state.pending == Offer((3, 0), (0, 2))
    assert "player_0 offers you 3 Wood -> 2 Gold" in game.view(state, "player_1").text
    assert "did not accept" not in game.view(state, "player_1").text
    assert game.play(state, {"player_1": "[Accept]"}).held == TAKEN
    assert "Your offer stands: 3 Wood -> 2 Gold" in game.view(talk(OFFER, "Hm.")[1], "player_0").text


def test_whoever_made_an_offer_may_replace_it() -> None:
    _, state = talk(OFFER, "Hm.", "[Offer: 4 Wood -> 2 Gold]", "[Accept]")
    assert state.held == ((6, 12), (14, 8))


@pytest.mark.parametrize("answer", ["[Deny]", "[Offer: 1 Gold -> 4 Wood]"])
def test_a_denial_and_a_counter_offer_end_it(answer) -> None:
    _, state = talk(OFFER, answer)
    assert state.pending != Offer((3, 0), (0, 2))
    assert payoff(OFFER, "[Deny]", "Well.", "[Accept]") == (1, -1)  # player_1 accepts what is gone


@pytest.mark.parametrize(
    "message",
    ["[Accept]", "[Offer: 11 Wood -> 1 Gold]", "[Offer: much Wood -> 1 Gold]", "[Offer: 1 Ore -> 1 Gold]"],
)
def test_a_message_that_breaks_the_rules_loses_at_once(message) -> None:
    assert payoff(message) == (-1, 1)
    assert payoff(message, fault=(-1.5, 0.5)) == (-1.5, 0.5)
    assert payoff("Hello.", message, fault=(-1.5, 0.5)) == (0.5, -1.5)


def test_a_reply_that_is_none_costs_what_a_broken_rule_costs() -> None:
    game, state = talk("Hello.", fault=(-1.5, 0.5))
    assert game.forfeit(state, {"player_1": Forfeit()}) == {"player_0": 0.5, "player_1": -1.5}


def test_an_offer_that_cannot_be_paid_for_cannot_be_accepted() -> None:
    assert payoff("[Offer: 1 Wood -> 11 Gold]", "[Accept]") == (1, -1)


def test_nobody_accepts_its_own_offer_unless_it_is_switched_on() -> None:
    assert payoff(OFFER, "Hm.", "[Accept]") == (-1, 1)
    _, state = talk(OFFER, "Hm.", "[Accept]", self_accept=True)
    assert state.held == ((10, 10), (10, 10))
    assert (state.pending, state.errors, state.turns) == (None, 0, 3)
    assert payoff("[Offer: 1 Wood -> 11 Gold]", "Hm.", "[Accept]", self_accept=True) == (-1, 1)


def test_a_rejected_offer_can_be_accepted_where_offers_never_lapse() -> None:
    """As at TextArena's head: announced as rejected, and acceptable until another takes its place."""
    game, state = talk(OFFER, "[Deny]", "Sure?", "[Accept]", lapse="never")
    assert state.held == TAKEN
    assert "player_1 denied the offer." in game.view(state, "player_0").text
    _, state = talk(OFFER, "[Deny] [Offer: 1 Gold -> 1 Wood]", "[Accept]", lapse="never")
    assert state.held == ((9, 11), (11, 9))


def test_the_other_negotiation_has_the_same_switches() -> None:
    for lapse, held in (("silence", False), ("deny", True), ("never", True)):
        _, state = talk(name="simple_negotiation", lapse=lapse)
        game = ludus.make("simple_negotiation", lapse=lapse)
        for outcome in (10, 10, 10, 10, 10, 5, 10, 15, 25, 40) * 2:
            state = game.play(state, {"chance": outcome})
        for message in ("[Offer: 3 Wood -> 2 Ore]", "Hm."):
            state = game.play(state, {game.turn(state)[0]: message})
        assert (state.pending is not None) == held


def test_the_rules_say_what_the_switches_do() -> None:
    said = {
        lapse: ludus.make("spiral_negotiation", lapse=lapse).rules("player_0") for lapse in ("deny", "never")
    }
    assert "Until then it stands." in said["deny"]
    assert "and yet it can be accepted" in said["never"]
    assert "A message that breaks the rules loses the game." in said["deny"]
    costly = ludus.make("spiral_negotiation", fault=(-1.5, 0.5), allowance=2)
    assert "number 3 in a row ends the game: you earn -1.5 by it, the other 0.5." in costly.rules("player_0")
    assert "accept your own offer" in ludus.make("spiral_negotiation", self_accept=True).rules("player_0")


def test_the_menu_is_finite_and_never_breaks_the_rules() -> None:
    game = ludus.make("spiral_negotiation", menu=True)
    assert len(game.names) == 3 + 2 * 3 * 3
    assert {"Offer: 3 Wood -> 1 Gold", "Offer: 1 Gold -> 2 Wood"} <= set(game.names)
    for episode in ludus.play(game, {"player": "uniform"}, range(20)):
        assert len(episode.steps) == 10
        assert ludus.verify([episode])[0].reached == "rules"


def test_the_menu_answers_an_offer_that_still_stands() -> None:
    game, state = talk(menu=True)
    names = game.names
    for name in ("Offer: 3 Wood -> 2 Gold", "Talk"):
        state = game.play(state, {game.turn(state)[0]: names.index(name)})
    assert not game.options(state, "player_0").legal[:2].any()  # its own
    state = game.play(state, {"player_0": names.index("Talk")})
    assert game.options(state, "player_1").legal[:2].all()
    assert game.play(state, {"player_1": names.index("Accept")}).held == TAKEN


@pytest.mark.parametrize("name", ["simple_negotiation", "spiral_negotiation"])
@pytest.mark.parametrize(
    "params", [{"menu": True}, {"lapse": "never", "self_accept": True, "menu": True}, {"fault": [-1.5, 0.5]}]
)
def test_every_variant_keeps_the_contract(name, params) -> None:
    ludus.check_game(ludus.make(name, **params), episodes=4)


def test_wrong_switches_are_refused() -> None:
    with pytest.raises(UnknownName, match="deny, never, silence"):
        ludus.make("spiral_negotiation", lapse="always")
    for fault in ((1, -1), (-1,), (float("nan"), 0)):
        with pytest.raises(ValueError, match="fault="):
            ludus.make("spiral_negotiation", fault=fault)
