"""The network as an agent and as a policy."""

import numpy as np
import pytest
import torch

import ludus
from ludus.agents.network import NetworkAgent, fresh, hashed
from ludus.core.errors import ConfigError
from ludus.core.ledger import Ledger
from ludus.core.play import play

GAME = ludus.make("leduc_poker")


def strong(seed=0, game=GAME, **settings):
    """A network far from uniform, so that tests see differences."""
    network = fresh(game, seed=seed, hidden=(32,), **settings)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3.0)
        list(network.network.policy.parameters())[-2].mul_(100.0)
    return network


def test_weights_come_from_the_seed_and_touch_no_global_generator():
    before = torch.random.get_rng_state()
    same, other = fresh(GAME, seed=1).fingerprint(), fresh(GAME, seed=2).fingerprint()
    assert fresh(GAME, seed=1).fingerprint() == same != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_playing_together_or_alone_is_the_same():
    network = strong()
    together = sorted(play(GAME, {"player": network}, range(70)), key=lambda e: e.match.seed)
    for seed in (0, 33, 69):
        (alone,) = play(GAME, {"player": network}, [seed])
        assert alone.to_json() == together[seed].to_json()


def test_probabilities_are_what_it_plays():
    network = strong()
    tally = {}
    for episode in play(GAME, {"player": network}, range(500)):
        step = episode.of("player_0")[0]
        tally.setdefault(step.view.text, []).append(step.move)
    policy = ludus.tabular(GAME, network)
    for text, moves in tally.items():
        odds = policy[f"player_0: {text}"]
        for move, chance in enumerate(odds):
            spread = 4 * np.sqrt(chance * (1 - chance) / len(moves)) + 1e-9
            assert abs(moves.count(move) / len(moves) - chance) <= spread
    assert max(abs(odds - 0.5).max() for odds in policy.values()) > 0.2


def test_score_agrees_with_what_was_sampled():
    network = strong()
    ledger = Ledger.of(play(GAME, {"player": network}, range(30)))
    scores = network.score(ledger.rows())
    assert scores.logprobs[:, 0].detach().numpy() == pytest.approx(ledger.rollout, abs=1e-5)
    assert scores.values.detach().numpy() == pytest.approx(ledger.values, abs=1e-5)
    assert scores.mask.all()
    mixing = scores.choices.exp()
    assert torch.allclose(mixing.sum(1), torch.ones(len(ledger)))
    assert (mixing.detach().numpy()[~ledger.legal] == 0).all()
    assert not ledger.legal.all()
    (scores.logprobs.sum() + scores.entropy.sum() + scores.values.sum()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_never_illegal_even_at_the_edges_of_the_draw():
    network = strong()
    features = np.zeros((3, *GAME.shape), GAME.dtype)
    legal = np.array([[False, True, False]] * 3)
    drawn = network.draw(features, legal, np.array([0.0, 0.5, np.nextafter(1.0, 0.0)]))
    assert drawn.moves.tolist() == [1, 1, 1]
    assert drawn.logprobs == pytest.approx([0, 0, 0])


def test_saved_and_loaded_it_is_the_same(tmp_path):
    network = strong()
    network.version = 7
    network.save(tmp_path / "net")
    again = ludus.make_agent("network", path=tmp_path / "net")
    assert isinstance(again, NetworkAgent)
    assert (again.name, again.version, again.fingerprint()) == ("network", 7, network.fingerprint())
    for path, says in (
        (tmp_path / "nets", rf"no folder {tmp_path}/nets .*has no nets.*; there are {tmp_path}/net$"),
        (tmp_path, rf"{tmp_path} has no network.json$"),
    ):
        with pytest.raises(ConfigError, match=says):
            ludus.make_agent("network", path=path)


def test_it_says_so_when_it_is_asked_at_another_game():
    network, words = strong(), fresh(GAME, words=16)
    assert network.misfit(GAME) == words.misfit(GAME) == ""
    assert (
        "made for prose and 3 moves; in kuhn_poker there is: player_0 features of shape (9,) and 2 moves"
        in (words.misfit(ludus.make("kuhn_poker")))
    )
    for lost in (network, words):
        with pytest.raises(
            ConfigError, match=r"kuhn_poker: player_0 has .* and 2 moves, and the network network was made"
        ):
            list(play("kuhn_poker", {"player": lost}, [0]))


def test_a_frozen_copy_keeps_still():
    network = strong()
    copy = network.frozen("copy")
    before = copy.fingerprint()
    with torch.no_grad():
        next(iter(network.parameters())).add_(1.0)
    assert copy.fingerprint() == before != network.fingerprint()
    assert not any(weight.requires_grad for weight in copy.parameters())
    copy.load(network.state())
    assert copy.fingerprint() == network.fingerprint()


def test_convolutions_read_planes():
    game = ludus.make("connect_four")
    network = fresh(game, hidden=(16,), channels=(8,), activation="relu", planes="first")
    episodes = list(play(game, {"player": network}, range(3)))
    assert all(e.end == "over" for e in episodes)
    assert network.score(Ledger.of(episodes).rows()).values.isfinite().all()
    with pytest.raises(ConfigError, match="three dimensions"):
        fresh(GAME, channels=(8,))


def test_prose_is_read_through_hashed_words():
    assert hashed("a b a", 64).sum() == 5  # three words, two pairs
    assert np.array_equal(hashed("a b", 64), hashed("a  b", 64))
    network = fresh(GAME, words=256, hidden=(16,))
    (episode,) = play(GAME, {"player": network}, [0])
    assert episode.steps[0].tokens.prompt.shape == (256,)


def test_what_a_network_cannot_play_is_said():
    with pytest.raises(ConfigError, match="words"):
        fresh(ludus.make("simple_negotiation"))
    with pytest.raises(ConfigError, match="free replies"):
        fresh(ludus.make("simple_negotiation"), words=64)
    with pytest.raises(ConfigError, match=r"hidden = 64: .* \[64, 64\]"):
        fresh(GAME, hidden=64)
