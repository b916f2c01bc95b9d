"""Recorded games, fed to every form of the rules: moves, rewards, ends and observations are the same everywhere.

By default 5 games of every array game uncompiled, and 200 compiled of all but two; `make slow` takes these, too, feeds
10,000, and uncompiled as many as fit into a minute, half of it in batches, at least 20 each. The batch on a simulated
card is in tests/core/test_cuda.py.
"""

import time

import numpy as np
import pytest
from forms import compiled_rules, plain_batch, plain_rules, record, recorded, tabled_rules

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.tables import tabulate

GAMES = {name: game for name in ludus.games() if isinstance(game := ludus.make(name), ArrayGame)}
# These compile for more than ten seconds: by default the contract compares their rules move by move.
LONG = ("chess", "go")
FEW, MANY, LEAST, HALF_MINUTE = 200, 10_000, 20, 30.0
SMALL = ("colonel_blotto", "kuhn_poker", "leduc_poker", "matching_pennies", "rock_paper_scissors")

every = pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in GAMES
])  # fmt: skip


def same(form, moments) -> None:
    for number, (told, moment) in enumerate(zip(form, moments, strict=True)):
        assert told == moment, f"moment {number}"


@every
def test_compiled_rules_and_batch_play_the_same_games(name) -> None:
    for moments in record(GAMES[name], FEW):
        same(compiled_rules(GAMES[name], moments), moments)


@pytest.mark.parametrize("name", GAMES)
def test_plain_rules_and_batch_play_the_same_games(name) -> None:
    for moments in record(GAMES[name], 5, seed=1, most=60, plain=name in LONG):
        same(plain_rules(GAMES[name], moments), moments)


@every
def test_a_batch_of_plain_rules_plays_the_same_games(name) -> None:
    for moments in record(GAMES[name], 5, seed=4, most=60):
        same(plain_batch(GAMES[name], moments), moments)


def play_all(name, form, least, seconds=0.0, seed=100) -> None:
    """Feed a form so many games and for so long; tell how many that were."""
    begun, moves = time.perf_counter(), 0
    for played, moments in enumerate(recorded(GAMES[name], seed)):
        if played >= least and time.perf_counter() - begun > seconds:
            break
        same(form(GAMES[name], moments), moments)
        moves += len(moments) - 1
    taken = time.perf_counter() - begun
    print(f"{name}, {form.__name__}: {played:,} games of {moves:,} moves in {taken:.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_ten_thousand_games(name) -> None:
    play_all(name, compiled_rules, MANY)


@pytest.mark.slow
@pytest.mark.parametrize("form", [plain_rules, plain_batch])
@pytest.mark.parametrize("name", GAMES)
def test_a_minute_of_plain_games(name, form) -> None:
    play_all(name, form, LEAST, HALF_MINUTE, seed=2)


@pytest.mark.parametrize("name", [
    name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in GAMES
])  # fmt: skip
def test_tables_hold_the_same_games(name) -> None:
    game, begun = GAMES[name], time.perf_counter()
    try:
        tables = tabulate(game)
    except ValueError as fault:
        if "too many to tabulate" not in str(fault):
            raise
        pytest.skip(str(fault))
    for moments in record(game, FEW, seed=3):
        for told, moment in zip(tabled_rules(tables, moments), moments, strict=True):
            moment.record = b""
            np.testing.assert_allclose(told.paid, moment.paid, atol=1e-6)
            told.paid = moment.paid
            assert told == moment
    taken = time.perf_counter() - begun
    print(f"{name}, table of {len(tables.mover):,} positions: {FEW} games in {taken:.0f} s")
