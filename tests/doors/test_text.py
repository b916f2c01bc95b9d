"""The text door: prose in, prose out."""

import pytest
from doors import GAMES, Awkward, Rumour

import ludus
from ludus.core.errors import IllegalMove
from ludus.core.game import Forfeit
from ludus.core.match import Illegal
from ludus.core.reading import write_move
from ludus.envs.doors.text import Conversation


def replies(episode):
    """What each player said, by seat, in order."""
    said = {seat: [] for seat in episode.lineup}
    for step in episode.steps:
        said[step.seat].append(write_move(step.move, step.options))
    return said


@pytest.mark.parametrize("name", GAMES)
def test_the_same_replies_earn_what_they_earn_in_the_loop(name):
    game = ludus.make(name)
    for episode in ludus.play(game, dict.fromkeys(game.players, "uniform"), range(2)):
        talk, said = Conversation(game), replies(episode)
        turn = talk.reset(seed=episode.match.seed)
        while turn:
            turn = talk.reply(said[turn.seat].pop(0))
        assert talk.returns == pytest.approx({s: episode.returns[s] for s in game.players})
        assert [s.digest for s in talk.episode().steps] == [s.digest for s in episode.steps]


@pytest.mark.parametrize("name", GAMES)
def test_one_seat_against_agents(name):
    game = ludus.make(name)
    talk = Conversation(name, seat=game.players[0])
    turn = talk.reset(seed=2)
    assert turn.seat == game.players[0]
    assert turn.messages[0] == {"role": "system", "content": game.rules(turn.seat)}
    assert [m["role"] for m in turn.messages] == ["system", "user"]


def test_the_chat_of_a_seat_grows_by_its_own_replies():
    talk = Conversation("nim", seat="player_0", opponents="first_legal")
    talk.reset(seed=0)
    turn = talk.reply("I take [2]")
    assert [m["role"] for m in turn.messages] == ["system", "user", "assistant", "user"]
    assert turn.messages[2]["content"] == "I take [2]"
    assert turn.prompt == "18 stones are left.\nAnswer with exactly one of [1], [2], [3]."
    turn.messages[2]["content"] = "spoiled"
    assert talk.turn.messages[2]["content"] == "I take [2]"


def test_a_reply_that_names_no_move_is_the_forfeit_of_the_rules_and_kept():
    talk = Conversation("kuhn_poker", seat="player_0")
    talk.reset(seed=1)
    assert talk.reply("I would rather not say") is None
    assert talk.returns == {"player_0": -2.0, "player_1": 2.0}
    step = talk.episode().steps[-1]
    assert isinstance(step.move, Forfeit)
    assert step.raw == "I would rather not say"
    assert talk.account("player_0")["read"] == "forfeit"
    with pytest.raises(IllegalMove, match="has ended"):
        talk.reply("[pass]")


def test_a_retry_is_asked_with_the_complaint():
    talk = Conversation("kuhn_poker", seat="player_0", illegal=Illegal("retry", times=1))
    talk.reset(seed=1)
    turn = talk.reply("[pass] or [bet]")
    assert turn.prompt.startswith("Your reply could not be used: the reply names two moves")
    assert [m["role"] for m in turn.messages] == ["system", "user", "assistant", "user"]
    talk.reply("BET!")
    assert talk.account("player_0")["read"] == "retry"


def test_players_are_asked_one_after_the_other():
    talk = Conversation(Rumour())
    assert talk.reset().seat == "player_0"
    assert talk.reply("long").prompt == "Said so far: long\nAnswer in at most 8 characters."
    assert talk.reply("longer") is None
    assert talk.returns == {"player_0": -1.0, "player_1": 1.0}


def test_deals_that_ask_nobody_are_dealt_again():
    talk = Conversation(Awkward(), seat="player_2")
    counts = []
    for seed in range(50):
        assert talk.reset(seed).seat == "player_2"
        counts.append(talk.redeals)
    assert 0 < sum(counts) < 150


def test_misuse_says_what_to_do():
    talk = Conversation("kuhn_poker")
    with pytest.raises(IllegalMove, match=r"reset\(\)"):
        talk.reply("[bet]")
    talk.reset()
    with pytest.raises(TypeError, match="a reply is a string, not int"):
        talk.reply(1)
