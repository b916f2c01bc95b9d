"""Copies of policies: only those that are named, and few of the past at once."""

import json

import numpy as np
import pytest

import ludus
from ludus.agents.network import NetworkAgent, fresh
from ludus.config import load
from ludus.core.errors import ConfigError
from ludus.training import lineup
from ludus.training.lineup import Cast
from ludus.training.run import Run
from ludus.training.store import tensors_of

GAME = ludus.make("kuhn_poker")
TABLE = """
tensorboard = false
[game]
name = "kuhn_poker"
[policies.one]
name = "network"
hidden = [8]
[policies.two]
name = "network"
hidden = [8]
[lineup]
player_0 = "one"
player_1 = "two"
[collect]
games = 4
[[learners]]
policy = "one"
estimator = "returns"
[[phases]]
steps = 2
"""


@pytest.fixture
def copies(monkeypatch):
    """The names of all copies that are made."""
    made = []
    frozen = NetworkAgent.frozen

    def counted(self, name):
        made.append(name)
        return frozen(self, name)

    monkeypatch.setattr(NetworkAgent, "frozen", counted)
    return made


def run_of(root, *overrides):
    path = root / "small.toml"
    path.write_text(TABLE)
    return Run(load(path, [f"root={root}", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), []),
        (("lineup.player_1='two@init'",), ["two@init"]),
        (("lineup.player_1='two@past'",), ["two@init"]),
        (("phases.0.lineup={player_0='one', player_1='one@phase_start'}",), ["one@phase_start"]),
        (("learners.0.reference=init", "learners.0.objective.divergence=0.1"), ["one@init"]),
    ],
)
def test_only_named_copies_are_made(overrides, names, copies, tmp_path):
    run = run_of(tmp_path, *overrides)
    assert copies == names
    folder = run.go(quiet=True)
    assert copies == names
    assert {path.name for path in (folder / "policies").glob("*@init")} == {"one@init", "two@init"}


def test_checkpoints_hold_the_phase_copies_that_are_named(tmp_path):
    sizes = {}
    for number, there in enumerate(("one", "one@phase_start")):
        run = run_of(tmp_path, f"name=run{number}", f"lineup.player_1='{there}'")
        run.go(quiet=True)
        place = run.store.find()
        held = tensors_of(place / "cast.safetensors")
        versions = json.loads((place / "state.json").read_text())["cast"]["phase_versions"]
        sizes[there] = {name.partition("|")[0] for name in held}, set(versions)
    assert sizes == {"one": (set(), set()), "one@phase_start": ({"one"}, {"one"})}


def test_a_copy_that_was_not_named_is_not_found(tmp_path):
    cast = Cast({"one": fresh(GAME, name="one", hidden=(4,))}, tmp_path, np.random.default_rng(0), ["one"])
    for name in ("one@init", "one@phase_start", "one@past"):
        with pytest.raises(ConfigError, match="is not kept"):
            cast.find(name)


def test_whoever_is_made_for_one_game_takes_no_seat_in_a_run(tmp_path):
    cast = Cast({"one": fresh(GAME, name="one", hidden=(4,))}, tmp_path, np.random.default_rng(0), ["one"])
    with pytest.raises(ConfigError, match=r"minimax is made for one game.*\[evaluate\]"):
        cast.find("minimax")


def past_of(folder, seed):
    """A cast with 30 snapshots, whose weights tell their version."""
    policy = fresh(GAME, name="one", hidden=(4,))
    cast = Cast({"one": policy}, folder, np.random.default_rng(seed), ["one@past"])
    assert cast.find("one@past").name == "one@init"
    for version in range(30):
        policy.version = version
        policy.load({name: weight * 0 + version for name, weight in policy.state().items()})
        cast.snapshot()
    return cast


def test_few_past_selves_are_held_and_all_can_be_drawn(tmp_path):
    cast = past_of(tmp_path, 0)
    drawn = []
    for _ in range(300):
        earlier = cast.find("one@past")
        assert all(bool((weight == earlier.version).all()) for weight in earlier.state().values())
        assert len(cast._past) <= lineup.PAST
        drawn.append(earlier.version)
    assert set(drawn) == set(range(30))


def test_which_draws_share_a_copy_does_not_depend_on_what_was_held(tmp_path):
    """As after resuming, when nothing is held: the sharing of a step's draws is the same."""
    warm = past_of(tmp_path, 0)
    for _ in range(50):
        warm.find("one@past")
    cold = past_of(tmp_path, 0)
    cold.rng.bit_generator.state = warm.rng.bit_generator.state
    shared = []
    for cast in (warm, cold):
        step = [cast.find("one@past") for _ in range(60)]
        first = {id(earlier): place for place, earlier in reversed(list(enumerate(step)))}
        shared.append([first[id(earlier)] for earlier in step])
        assert len({earlier.version for earlier in step}) < len(first) < 60  # some shared, some read again
    assert shared[0] == shared[1]
