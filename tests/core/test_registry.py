"""Names: the known ones, the nearest match, and plug-ins that may be broken."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from ludus.core import registry
from ludus.core.errors import ConfigError, UnknownName, nearest
from ludus.core.registry import GAMES, games, make, make_agent

ENTRY_POINTS = """[ludus.games]
plug_pennies = plug_pennies
plug_broken = plug_broken
"""
PENNIES = """
import ludus

@ludus.register("plug_pennies")
class Pennies(type(ludus.make("matching_pennies"))):
    "Matching pennies from another package."
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A distribution with one sound game and one whose module fails."""
    (tmp_path / "plug_pennies.py").write_text(PENNIES)
    (tmp_path / "plug_broken.py").write_text("raise RuntimeError('no license')")
    info = tmp_path / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.metadata.MetadataPathFinder.invalidate_caches(None)
    yield
    for name in ("plug_pennies", "plug_broken"):
        sys.modules.pop(name, None)
        GAMES._makers.pop(name, None)
        GAMES._broken.discard(name)


def test_plugins_are_known_before_they_are_imported(plugin) -> None:
    assert {"plug_pennies", "plug_broken"} <= set(games())
    assert "plug_pennies" not in sys.modules
    assert make("plug_pennies").id == "plug_pennies"


def test_a_broken_plugin_is_named_and_the_rest_works(plugin) -> None:
    with (
        pytest.warns(UserWarning, match=r"'plug_broken'.*cannot be imported.*no license"),
        pytest.raises(UnknownName),
    ):
        make("plug_broken")
    assert "plug_broken" not in games()
    assert make("plug_pennies").id == "plug_pennies"
    assert make("nim").id == "nim"


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown game 'kuhn_pokr'; did you mean 'kuhn_poker'"):
        make("kuhn_pokr")
    with pytest.raises(UnknownName, match="unknown agent 'randm'; did you mean 'random'"):
        make_agent("randm")
    with pytest.raises(UnknownName, match="parameter of nim 'stons'; did you mean 'stones'"):
        make("nim", stons=3)
    with pytest.raises(UnknownName, match="parameter of kuhn_poker 'cards'"):
        make("kuhn_poker", cards=4)
    with pytest.raises(UnknownName, match="parameter of leduc_poker 'cards'"):
        make("leduc_poker", cards=4)
    with pytest.raises(UnknownName, match="parameter of openspiel 'gam'; did you mean 'game'"):
        make("openspiel", gam="leduc_poker")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"openspiel cannot be made without game=\.\.\."):
        make("openspiel")
    with pytest.raises(ConfigError, match=r"agent minimax cannot be made without game=\.\.\."):
        make_agent("minimax")


def test_agents_of_one_game_are_told_which() -> None:
    made = {}
    small, large = (
        registry.seat_up(make("nim", stones=stones), {"player": "minimax"}, made) for stones in (3, 7)
    )
    assert small["player_0"] is small["player_1"]
    assert repr(small["player_0"].game) == "nim(stones=3)"
    assert repr(large["player_0"].game) == "nim(stones=7)"
    assert (
        registry.seat_up(make("nim", stones=3), {"player": "minimax"}, made)["player_0"] is small["player_0"]
    )


def test_the_doors_names_are_understood() -> None:
    assert make("ludus/kuhn_poker-v0").id == "kuhn_poker"
    assert make("dark_hex-v2").version == 2
    with pytest.raises(ConfigError, match="another version now, ludus/dark_hex-v2"):
        make("ludus/dark_hex-v0")


@pytest.mark.parametrize("imported", [True, False])
def test_a_name_is_given_once(imported, monkeypatch) -> None:
    make("nim")
    if not imported:
        monkeypatch.delitem(registry.GAMES._makers, "nim")
        monkeypatch.delitem(sys.modules, "ludus.envs.board.nim")
    with pytest.raises(ValueError, match=r"already registered by ludus\.envs\.board\.nim"):
        registry.register("nim")(type("Other", (), {"__module__": "elsewhere"}))


def test_nearest_is_none_for_strangers() -> None:
    assert nearest("zzzz", ["kuhn_poker"]) is None
