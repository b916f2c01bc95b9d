"""Compiled alpha-beta, against exact values by other means."""

import numpy as np
import pytest
from small_games import Jammed

from ludus.agents.alpha_beta import AlphaBeta, AlphaBetaSearch
from ludus.agents.attached import attached
from ludus.agents.search import Minimax
from ludus.core import compiled
from ludus.core.errors import ConfigError, ContractError
from ludus.core.play import play
from ludus.core.position import Position
from ludus.core.registry import make


def wandered(game, rng, moves):
    """The record (1,) after so many random moves, or fewer if the game ends."""
    record, pay = game.first.copy(), np.zeros(2, np.float32)
    for _ in range(moves):
        s, mask = game.open(record.tobytes()), np.zeros(len(game.moves), np.uint8)
        game.legal(s, int(game.mover(s)), mask)
        game.move(s, int(rng.choice(np.flatnonzero(mask))), pay)
        if game.mover(s) < 0:
            break
        record = np.frombuffer(bytearray(s.tobytes()), game.record)
    return record


def exactly(game, solver, record):
    """The best moves and the value for the mover, by `Minimax` over the scalar game."""
    state, sign = Position(record.tobytes(), (0.0, 0.0)), 1
    seat = game.turn(state)[0]
    sign = 1 if seat == game.seats[0] else -1
    legal = game.options(state, seat).legal
    worth = [
        sign * solver._after(state, seat, a, -1, -np.inf, np.inf) if ok else -np.inf
        for a, ok in enumerate(legal)
    ]
    return np.array(worth) >= max(worth) - 1e-9, max(worth)


CASES = [
    ("tic_tac_toe", {}, range(8)),
    ("nim", {"stones": 13}, range(3)),
    ("dots_and_boxes", {}, range(2, 11)),  # who closes a box moves again
    ("dots_and_boxes", {"margin": True}, range(2, 11)),  # other payoffs than 1, 0 and -1
    ("connect_four", {"rows": 4, "columns": 4}, range(6, 14)),
]


@pytest.mark.parametrize(
    ("name", "params", "moves"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] * (case[0] != "tic_tac_toe"), id=f"{case[0]}-{case[1]}")
        for case in CASES
    ],
)
def test_values_and_best_moves_are_exact(name, params, moves):
    game, rng = make(name, **params), np.random.default_rng(0)
    search, solver = AlphaBetaSearch(game, nodes=10_000_000), Minimax(make(name, **params))
    for count in moves:
        record = wandered(game, rng, count)
        best, value = exactly(game, solver, record)
        found = search.search(record)
        assert found.complete
        assert found.value == pytest.approx(value)
        assert not (found.best & ~best).any()
        if not best.all() or found.depth == 1:
            legal = search._legal(record)
            assert (found.best == best).all() or (best == legal).all()


def test_it_never_loses_tic_tac_toe_and_draws_with_itself():
    game = make("tic_tac_toe")
    agent = AlphaBeta(game, nodes=1_000_000)
    for mine, other in (("player_0", "player_1"), ("player_1", "player_0")):
        returns = [e.returns[mine] for e in play(game, {mine: agent, other: "uniform"}, range(20))]
        assert min(returns) >= 0
        assert sum(returns) > 8
    (episode,) = play(game, {"player": agent}, [0])
    assert episode.returns == {"player_0": 0.0, "player_1": 0.0}


@pytest.mark.slow  # it compiles for several games
def test_it_takes_the_quickest_win_and_does_not_lose_sooner_than_it_must():
    game = make("connect_four")
    search = AlphaBetaSearch(game, nodes=200_000)
    # x has three in the first column: o must stop it there, and if it is x's turn x wins at once.
    record = _after(game, [0, 1, 0, 1, 0])
    assert np.flatnonzero(search.search(record).best).tolist() == [0]
    mate = search.search(_after(game, [0, 1, 0, 1, 0, 6]))
    assert (np.flatnonzero(mate.best).tolist(), mate.value) == ([0], 1.0)
    rng, seen = np.random.default_rng(3), 0
    while seen < 3:  # positions that are lost, by some moves sooner than by others
        record = wandered(game, rng, 24)
        lost = search.search(record)
        if lost.value != -1 or lost.best.all() or (lost.best == search._legal(record)).all():
            continue
        seen += 1
        lasts = np.zeros(7)
        for move in np.flatnonzero(search._legal(record)):
            s, pay = game.open(record.tobytes()), np.zeros(2, np.float32)
            game.move(s, int(move), pay)
            lasts[move] = search.search(np.frombuffer(bytearray(s.tobytes()), game.record)).depth
        assert lasts[lost.best].min() > 1  # nothing that loses at once, when something loses later


def _after(game, moves):
    s, pay = game.open(game.first.tobytes()), np.zeros(2, np.float32)
    for move in moves:
        game.move(s, move, pay)
    return np.frombuffer(bytearray(s.tobytes()), game.record)


def test_the_budget_and_the_depth_are_kept():
    game = make("connect_four")
    few = AlphaBetaSearch(game, nodes=5000)
    found = few.search(game.first)
    assert few._room.tally[0] <= 5001
    assert 2 <= found.depth < 20
    assert not found.complete
    assert AlphaBetaSearch(game, nodes=1_000_000, depth=3).search(game.first).depth == 3
    nothing = AlphaBetaSearch(game, nodes=1).search(game.first)
    assert (nothing.depth, nothing.best.sum()) == (0, 7)


def test_an_answer_depends_on_the_position_alone():
    game, rng = make("connect_four"), np.random.default_rng(1)
    used = AlphaBetaSearch(game, nodes=3000)
    for count in range(12):
        record = wandered(game, rng, count)
        fresh = AlphaBetaSearch(game, nodes=3000).search(record)
        again = used.search(record)
        assert (fresh.best == again.best).all()
        assert fresh[1:] == again[1:]


def test_a_table_of_one_place_gives_the_same_values():
    game, rng = make("tic_tac_toe"), np.random.default_rng(2)
    for count in range(8):
        record = wandered(game, rng, count)
        small = AlphaBetaSearch(game, 10_000_000, places=1).search(record)
        assert small.value == AlphaBetaSearch(game, 10_000_000).search(record).value


@pytest.mark.slow
def test_it_beats_random_play_at_larger_games():
    game = make("connect_four")
    lineup = {"player_0": "uniform", "player_1": AlphaBeta(game, nodes=5000)}
    assert [e.returns["player_1"] for e in play(game, lineup, range(5))] == [1.0] * 5


def test_uncompiled_loops_find_the_same(monkeypatch):
    game = make("tic_tac_toe")
    here, there = AlphaBetaSearch(game, 3000), AlphaBetaSearch(game, 3000)
    if not here._loops.COMPILED:
        pytest.skip("numba is not installed: there is nothing to compare with")
    plain = compiled._uncompiled(type(game), compiled.traits_of(game))
    monkeypatch.setattr("ludus.agents.attached.kernel", lambda _: plain)
    there._loops = attached(game, "alpha_beta_loops")
    records = {name: getattr(there._room, name).view(np.recarray) for name in ("stack", "frames", "table")}
    there._room = there._room._replace(**records)
    record = _after(game, [0, 4])
    assert (here.search(record).best == there.search(record).best).all()
    assert here.search(record)[1:] == there.search(record)[1:]


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ConfigError, match="has chance"):
        AlphaBeta("pig")
    with pytest.raises(ConfigError, match="no perfect information"):
        AlphaBeta("kuhn_poker")
    game = make("tic_tac_toe")
    with pytest.raises(ValueError, match="depth 1 to 200 or None"):
        AlphaBeta(game, depth=0)
    with pytest.raises(ValueError, match="one record"):
        AlphaBetaSearch(game).search(np.repeat(game.first, 2))
    with pytest.raises(ValueError, match="the game is over"):
        AlphaBetaSearch(game).search(_after(game, [0, 3, 1, 4, 2]))


def test_whoever_has_no_move_is_told(monkeypatch):
    monkeypatch.setattr(compiled, "mind", lambda *_: None)  # which would see it before
    game = Jammed()
    assert AlphaBetaSearch(game, depth=2).search(game.first).depth == 2  # which does not look as far
    for moves in ([], [0, 1, 2]):
        with pytest.raises(ContractError, match="a seat was to move and had no legal move"):
            AlphaBetaSearch(game).search(_after(game, moves))
    with pytest.raises(ContractError, match="a seat is to move and has no legal move"):
        AlphaBetaSearch(game).search(_after(game, [0, 1, 2, 3]))
