"""The bodies of networks: shapes, independence of rows, files, and that each of them learns."""

import json

import numpy as np
import pytest
import torch

import ludus
from ludus.agents.bodies import Network, Shape
from ludus.agents.network import fresh
from ludus.config import load
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.ledger import Ledger
from ludus.core.play import play
from ludus.training.run import train

SMALL = {"width": 16, "blocks": 2}
CASES = [("residual", "tic_tac_toe"), ("transformer", "tic_tac_toe"), ("transformer", "kuhn_poker")]

LEARNS = """
root = "{root}"
tensorboard = false
game.name = "tic_tac_toe"
lineup.player = "main"
policies.main = {{ name = "network", body = "{body}", width = 16, blocks = 1 }}
collect = {{ by = "arrays", rows = 64, length = 32 }}
phases = [{{ steps = 10 }}]
evaluate = {{ every = 10, measures = [{{ name = "return_exact", opponents = ["uniform"] }}] }}
learners = [{{ policy = "main", preset = "ppo", objective.entropy = 0.02, optimiser.rate = 3e-3 }}]
"""


@pytest.mark.parametrize(("body", "game"), CASES)
def test_logits_and_values_have_their_shapes_and_gradients_reach_every_weight(body, game):
    rules = ludus.make(game)
    agent = fresh(rules, body=body, **SMALL)
    with torch.no_grad():
        for weight in agent.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    scores = agent.score(Ledger.of(play(rules, {"player": agent}, range(20))).rows())
    assert scores.values.shape == (len(scores.logprobs),)
    assert scores.choices.shape == (len(scores.logprobs), rules.interface(rules.players[0]).moves)
    (scores.logprobs.sum() + scores.values.sum()).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in agent.parameters())


@pytest.mark.parametrize(("body", "game"), CASES)
def test_a_row_does_not_depend_on_the_others(body, game):
    rules = ludus.make(game)
    net = fresh(rules, body=body, **SMALL).network
    rows = torch.rand(8, *rules.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together, (alone, value) = net(rows), net(rows[3:4])
    assert torch.allclose(together[0][3:4], alone, atol=1e-5)
    assert torch.allclose(together[1][3:4], value, atol=1e-5)


@pytest.mark.parametrize(("body", "game"), CASES)
def test_saved_and_loaded_it_is_the_same(body, game, tmp_path):
    agent = fresh(ludus.make(game), seed=5, body=body, **SMALL)
    agent.save(tmp_path / "net")
    again = ludus.make_agent("network", path=tmp_path / "net")
    assert again.network.shape == agent.network.shape
    assert again.fingerprint() == agent.fingerprint() == agent.frozen("twin").fingerprint()
    assert agent.fingerprint() != fresh(ludus.make(game), seed=6, body=body, **SMALL).fingerprint()


def test_networks_saved_before_there_were_bodies_are_trunks(tmp_path):
    fresh(ludus.make("kuhn_poker"), hidden=(8,)).save(tmp_path / "net")
    path = tmp_path / "net" / "network.json"
    about = json.loads(path.read_text())
    for name in ("body", "width", "blocks", "heads"):
        del about[name]
    path.write_text(json.dumps(about))
    assert ludus.make_agent("network", path=tmp_path / "net").network.shape.body == "trunks"


@pytest.mark.parametrize("body", ["residual", "transformer"])
def test_planes_first_or_last_are_the_same_planes(body):
    shapes = [
        Shape(size, 4, (), body=body, planes=at, **SMALL)
        for size, at in (((3, 4, 5), "first"), ((4, 5, 3), "last"))
    ]
    first, last = (Network.of(shape, torch.Generator().manual_seed(0)) for shape in shapes)
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for one, other in zip(first(x), last(x.permute(0, 2, 3, 1)), strict=True):
            assert torch.allclose(one, other, atol=1e-6)


def test_what_does_not_go_together_is_said():
    rules = ludus.make("tic_tac_toe")
    with pytest.raises(UnknownName, match="residual"):
        fresh(rules, body="residul")
    with pytest.raises(ConfigError, match="of trunks"):
        fresh(rules, body="residual", hidden=(8,))
    with pytest.raises(ConfigError, match="multiple"):
        fresh(rules, body="transformer", width=6, heads=4)
    with pytest.raises(ConfigError, match="three dimensions"):
        fresh(ludus.make("kuhn_poker"), body="residual")


@pytest.mark.parametrize("body", ["residual", "transformer"])
def test_it_learns_to_beat_uniform_play_by_ppo(body, tmp_path):
    """What both seats earn together from a uniform opponent, exactly: 0 at first, as both play alike."""
    path = tmp_path / "learns.toml"
    path.write_text(LEARNS.format(root=tmp_path, body=body))
    folder = train(load(path), quiet=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    points = {
        line["step"]: np.mean([v for k, v in line.items() if k.startswith("eval/return_exact/")])
        for line in lines
        if any(k.startswith("eval/") for k in line)
    }
    print(body, points)
    assert abs(points[0]) < 0.05
    assert points[10] > 0.12


@pytest.mark.parametrize(
    ("game", "settings"),
    [
        ("tic_tac_toe", {"body": "residual", **SMALL}),
        ("othello", {"body": "transformer", **SMALL}),
        ("breakthrough", {"hidden": (8,)}),
        ("leduc_poker", {"hidden": (8,)}),
    ],
)
def test_a_symmetric_network_answers_alike_for_all_images(game, settings, tmp_path):
    """Moves trade places as the position does; saved and loaded, or frozen, it is the same."""
    rules = ludus.make(game)
    agent, draws = fresh(rules, symmetric=True, **settings), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in agent.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draws))
    seen = np.random.default_rng(0).integers(2, size=(20, *rules.shape)).astype(np.uint8)
    agent.save(tmp_path / "net")
    loaded = ludus.make_agent("network", path=tmp_path / "net")
    assert loaded.network.shape == agent.network.shape
    assert loaded.fingerprint() == agent.fingerprint() == agent.frozen("then").fingerprint()
    with torch.no_grad():
        logits, values = agent.network(torch.from_numpy(seen))
        assert len({tuple(row) for row in logits.tolist()}) == 20
        for symmetry in rules.symmetries():
            image = seen.reshape(20, -1)[:, symmetry.features].reshape(seen.shape)
            for one in (agent, loaded, agent.frozen("then")):
                told, worth = one.network(torch.from_numpy(image))
                assert torch.equal(told, logits[:, symmetry.moves])
                assert torch.equal(worth, values)


@pytest.mark.parametrize(("game", "settings"), [("kuhn_poker", {}), ("leduc_poker", {"words": 64})])
def test_a_symmetric_network_wants_symmetries(game, settings):
    with pytest.raises(ConfigError, match="symmetric = true wants features of a game that has symmetries"):
        fresh(ludus.make(game), symmetric=True, **settings)
