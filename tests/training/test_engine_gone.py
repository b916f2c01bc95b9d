"""A training run whose opponent's server dies stops, and goes on when it is back as if nothing had been."""

import pytest
from fake_server import Server

from ludus.config import load
from ludus.core.agent import Failure
from ludus.core.errors import CrewError, EngineGone
from ludus.core.play import play
from ludus.core.registry import AGENTS
from ludus.training.run import train

pytest.importorskip("openai")

from ludus.agents.language.endpoint import Endpoint
from ludus.training.metrics import VOLATILE

RUN = """
name = "run"
checkpoint_every = 2
tensorboard = false
[game]
name = "kuhn_poker"
[policies.main]
name = "network"
hidden = [8]
[lineup]
player_0 = "main"
player_1 = "far"
[collect]
games = 4
[[learners]]
policy = "main"
preset = "ppo"
epochs = 1
minibatches = 1
[[phases]]
steps = 5
"""


def run(home, port, resume=False):
    home.mkdir(exist_ok=True)
    (home / "run.toml").write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        far = Endpoint("far", base_url=f"http://127.0.0.1:{port}/v1", attempts=2, wait=0.01, unreachable=1)
        patch.setitem(AGENTS._makers, "far", lambda: far)
        with far:
            return train(load(home / "run.toml", [f"root={home}"]), resume=resume, quiet=True)


def lines(folder):
    import json

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: number for name, number in row.items() if name not in VOLATILE} for row in rows]


def test_a_run_stops_with_its_server_and_resumes(tmp_path):
    with Server("[bet]") as server:
        port = server.server_address[1]
        undisturbed = run(tmp_path / "whole", port)
        asked = len(server.seen)

    def dying(body, headers):
        if len(server.seen) == asked // 2:
            server.shutdown()
            server.server_close()
        return "[bet]"

    server = Server(dying, port=port)
    with pytest.raises(EngineGone, match="start the server again, and resume"):
        run(tmp_path / "cut", port)
    folder = tmp_path / "cut" / "run"
    assert [place.name for place in (folder / "checkpoints").glob("step_*")] == ["step_00000002"]
    with Server("[bet]", port=port):
        assert run(tmp_path / "cut", port, resume=True) == folder
    assert lines(folder) == lines(undisturbed)
    assert len(lines(folder)) >= 5


class Broken:
    """Fails as told, at its own pace or at once."""

    name = "broken"

    def __init__(self, fault):
        self.fault = fault

    def act(self, requests):
        raise self.fault


class Paced(Broken):
    def submit(self, requests):
        self.out = list(requests)

    def poll(self):
        raise self.fault


@pytest.mark.parametrize("kind", [Broken, Paced])
def test_what_is_gone_ends_play_and_what_broke_does_not(kind):
    lineup = {"player_0": kind(EngineGone("gone")), "player_1": "uniform"}
    with pytest.raises(EngineGone, match="gone"):
        list(play("kuhn_poker", lineup, [0]))
    (episode,) = play("kuhn_poker", {**lineup, "player_0": kind(CrewError("broke"))}, [0])
    assert (episode.end, episode.returns) == ("error", {})
    assert not isinstance(EngineGone("gone"), (CrewError, OSError, RuntimeError, MemoryError))
    assert Failure("broke").reason in episode.fault
