"""What training pays for replies that cannot be used reaches the decisions that are learned from."""

import numpy as np
import pytest

import ludus
from ludus.core.agent import Decision, Tokens
from ludus.core.errors import ConfigError
from ludus.core.game import Forfeit
from ludus.training.configuration import parse
from ludus.training.lineup import Cast
from ludus.training.rollout import Table

CONFIG = {
    "game": {"name": "kuhn_poker"},
    "policies": {"main": {"name": "network"}},
    "lineup": {"player": "main"},
    "learners": [{"policy": "main", "estimator": "returns"}],
    "phases": [{"steps": 1}],
}
SPIRAL = {"forfeit_payoff": [-1.5, 0.5], "empty_payoff": [-1, 1]}


class Babbler:
    """Says a word of one token that means no move, or nothing."""

    name = "main"

    def __init__(self, raw: str) -> None:
        self.raw = raw

    def act(self, requests):
        tokens = Tokens(np.array([1]), np.array([2]), np.array([-1.0], np.float32), np.array([True]), "main")
        return [Decision(Forfeit("no move"), raw=self.raw, tokens=tokens) for _ in requests]


def ledger_of(tmp_path, raw, collect):
    config = parse({**CONFIG, "collect": {"games": 6, **collect}}, "test").collect
    cast = Cast({"main": Babbler(raw)}, tmp_path, np.random.default_rng(0))
    table = Table((ludus.make("spiral_kuhn_poker"),), (1.0,), cast, config, 0)
    played = table.episodes({"player_0": "main", "player_1": "uniform"}, step=0)
    return played, ludus.core.ledger.Ledger.of(played)


@pytest.mark.parametrize(
    ("raw", "collect", "own", "other"),
    [
        ("hm", SPIRAL, -1.5, 0.5),
        ("", SPIRAL, -1, 1),
        ("", {"forfeit_payoff": [-3, 0]}, -3, 0),
        ("hm", {}, -1, 1),
    ],
)
def test_forfeits_are_learned_from_at_the_price_of_the_match(tmp_path, raw, collect, own, other) -> None:
    played, ledger = ledger_of(tmp_path, raw, collect)
    assert [sorted(episode.returns.values()) for episode in played] == [sorted((own, other))] * 6
    mine = ledger.policy == ledger.policies.index("main")
    assert mine.sum() == 6
    assert ledger.reward[mine].tolist() == [own] * 6
    assert (ledger.length[mine] == 1).all()


def test_the_price_is_two_numbers() -> None:
    with pytest.raises(ConfigError, match="forfeit_payoff"):
        parse({**CONFIG, "collect": {"forfeit_payoff": [-1.5]}}, "test")
