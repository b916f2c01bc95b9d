"""Recorded games, fed to every form of the rules: moves, rewards, ends and observations are the same everywhere.

By default 200 games of some array games compiled and 5 uncompiled; `make slow` takes all of them, feeds 10,000, and
uncompiled as many as fit into a minute, at least 20.
"""

import time

import numpy as np
import pytest
from forms import compiled_rules, plain_rules, record, tabled_rules

import ludus
from ludus.core.array_game import ArrayGame
from ludus.core.tables import tabulate

GAMES = {name: game for name in ludus.games() if isinstance(game := ludus.make(name), ArrayGame)}
# By default some of each kind: all others compile for long, and the contract compares their rules move by move.
SOME = (
    "connect_four",
    "dark_hex",
    "goofspiel",
    "kuhn_poker",
    "leduc_poker",
    "othello",
    "rock_paper_scissors",
    "tic_tac_toe",
)
FEW, MANY, MINUTE = 200, 10_000, 60.0
TABLED = 2_000_000  # positions
SMALL = ("colonel_blotto", "kuhn_poker", "leduc_poker", "matching_pennies", "rock_paper_scissors")

every = pytest.mark.parametrize("name", [
    name if name in SOME else pytest.param(name, marks=pytest.mark.slow) for name in GAMES
])  # fmt: skip


def same(form, moments) -> None:
    for number, (told, moment) in enumerate(zip(form, moments, strict=True)):
        assert told == moment, f"moment {number}"


@every
def test_compiled_rules_and_batch_play_the_same_games(name) -> None:
    for moments in record(GAMES[name], FEW):
        same(compiled_rules(GAMES[name], moments), moments)


@every
def test_plain_rules_and_batch_play_the_same_games(name) -> None:
    for moments in record(GAMES[name], 5, seed=1, most=60):
        same(plain_rules(GAMES[name], moments), moments)


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_ten_thousand_games(name) -> None:
    for part in range(MANY // 1000):
        for moments in record(GAMES[name], 1000, seed=100 + part):
            same(compiled_rules(GAMES[name], moments), moments)


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_a_minute_of_plain_games(name) -> None:
    begun, played = time.perf_counter(), 0
    for moments in record(GAMES[name], 2000, seed=2):
        same(plain_rules(GAMES[name], moments), moments)
        played += 1
        if time.perf_counter() - begun > MINUTE and played >= 20:
            break
    print(f"{name}: {played} games as ordinary Python")


@pytest.mark.parametrize("name", [
    name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in GAMES
])  # fmt: skip
def test_tables_hold_the_same_games(name) -> None:
    game = GAMES[name]
    try:
        tables = tabulate(game, unfold=True, limit=TABLED)
    except ValueError:
        pytest.skip(f"more than {TABLED} positions")
    for moments in record(game, FEW, seed=3):
        for told, moment in zip(tabled_rules(tables, moments), moments, strict=True):
            moment.record = b""
            np.testing.assert_allclose(told.paid, moment.paid, atol=1e-6)
            told.paid = moment.paid
            assert told == moment
