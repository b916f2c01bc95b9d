"""What a forfeit costs where the match names its price, and that a record cannot name another."""

from __future__ import annotations

import dataclasses

import pytest
from small_games import Says

from ludus.core.agent import Decision
from ludus.core.episode import Episode
from ludus.core.errors import ConfigError
from ludus.core.game import Forfeit
from ludus.core.match import Illegal
from ludus.core.play import play
from ludus.core.verify import verify


class Speaks(Says):
    """Says something, and this is what its reply was read as."""

    def __init__(self, move, raw) -> None:
        super().__init__(move)
        self.raw = raw

    def act(self, requests):
        return [Decision(self.move, raw=self.raw) for _ in requests]


SPIRAL = Illegal(payoff=(-1.5, 0.5), empty=(-1, 1))


@pytest.mark.parametrize("loser", [0, 1])
@pytest.mark.parametrize(
    ("raw", "own", "other"), [("[fly]", -1.5, 0.5), ("", -1, 1), (" \n", -1, 1), (None, -1.5, 0.5)]
)
def test_a_match_may_name_the_price_of_a_forfeit(loser, raw, own, other) -> None:
    """As SPIRAL trains: -1.5 and .5 for a reply that is no move, -1 and 1 for one with nothing in it."""
    mute, seats = Speaks(Forfeit("what?"), raw), ("player_0", "player_1")
    lineup = {seats[loser]: mute, seats[1 - loser]: Says(0)}
    (episode,) = play("kuhn_poker", lineup, [0], illegal=SPIRAL)
    assert episode.end == "forfeit"
    assert dict(episode.returns) == {seats[loser]: own, seats[1 - loser]: other}
    again = Episode.from_json(episode.to_json())
    assert again.match.illegal == SPIRAL
    assert verify([again])[0].reached == "rules"
    dearer = dataclasses.replace(again.match, illegal=Illegal(payoff=(-1.5, 0.25), empty=(-1, 0.75)))
    assert verify([dataclasses.replace(again, match=dearer)])[0].refused == "rules"
    assert dict(next(play("kuhn_poker", lineup, [0])).returns) == {seats[loser]: -2, seats[1 - loser]: 2}


def test_a_reply_cannot_be_emptied_afterwards() -> None:
    (episode,) = play("kuhn_poker", {"player": Speaks(Forfeit("what?"), "[fly]")}, [0], illegal=SPIRAL)
    emptied = dataclasses.replace(episode.steps[0], raw="")
    assert verify([dataclasses.replace(episode, steps=(emptied,))])[0].refused == "rules"


def test_both_may_forfeit_at_once() -> None:
    lineup = {"player_0": Speaks(Forfeit("what?"), "hm"), "player_1": Speaks(Forfeit("what?"), "")}
    (episode,) = play("matching_pennies", lineup, [0], illegal=SPIRAL)
    assert dict(episode.returns) == {"player_0": -1.5, "player_1": -1.0}
    assert verify([episode])[0].reached == "rules"


def test_one_retry_for_each_turn_as_in_textarena() -> None:
    """The count goes back with every usable reply: one retry in each of two turns, and the third in a row loses."""

    class Stumbles(Says):
        turn = 0

        def act(self, requests):
            self.turn += 1
            return [
                Decision(
                    int(request.options.legal.argmax()) if self.turn % 2 == 0 and self.turn < 5 else 9,
                    raw="x",
                )
                for request in requests
            ]

    lineup = {"player_0": Stumbles(0), "player_1": "first_legal"}
    (episode,) = play("tic_tac_toe", lineup, [0], illegal=Illegal("retry", 1, payoff=(-1, 1)))
    assert [(s.read, len(s.rejected)) for s in episode.of("player_0")] == [
        ("retry", 1),
        ("retry", 1),
        ("forfeit", 1),
    ]
    assert dict(episode.returns) == {"player_0": -1, "player_1": 1}
    assert verify([episode])[0].reached == "rules"


def test_prices_are_for_two_players_and_for_forfeits() -> None:
    lineup = {"proposer": "uniform", "solver": "uniform"}
    with pytest.raises(ConfigError, match="named for two"):
        list(play("propose_solve", lineup, [0], illegal=SPIRAL))
    with pytest.raises(ConfigError, match="nobody forfeits"):
        Illegal("skip", payoff=(-1, 1))
    for wrong in ((-1,), (-1, 1, 0), (float("nan"), 0)):
        with pytest.raises(ConfigError, match="two finite numbers"):
            Illegal(payoff=wrong)
