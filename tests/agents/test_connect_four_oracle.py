"""The oracle of connect four, against searches that share nothing with it and against what is known."""

import time

import numpy as np
import pytest

from ludus.agents.connect_four_loops import BOARD, HIGH, completing, counted, lined, mirrored
from ludus.agents.connect_four_oracle import (
    FULL,
    Board,
    Oracle,
    Solver,
    boards,
    dropped,
    label,
    positions,
    record,
)
from ludus.agents.search import Minimax
from ludus.core.errors import ConfigError
from ludus.core.play import play
from ludus.core.position import Position
from ludus.core.registry import make


@pytest.fixture(scope="module")
def game():
    return make("connect_four")


@pytest.fixture(scope="module")
def solver():
    return Solver(1_000_003)


# ------------------------------------------------------------------------------ sets of squares
def squares(number):
    return {(i // HIGH, i % HIGH) for i in range(49) if number >> i & 1}


def lines():
    """All sets of four squares in a line, spelt out."""
    for column in range(7):
        for row in range(6):
            for across, up in ((1, 0), (0, 1), (1, 1), (1, -1)):
                ends = (column + 3 * across, row + 3 * up)
                if 0 <= ends[0] < 7 and 0 <= ends[1] < 6:
                    yield {(column + k * across, row + k * up) for k in range(4)}


def test_lines_and_the_squares_that_complete_them():
    rng, every = np.random.default_rng(0), list(lines())
    assert len(every) == 69
    for _ in range(300):
        discs = sum(1 << i for i in range(49) if BOARD >> i & 1 and rng.random() < 0.35)
        mine = squares(discs)
        assert lined(discs) == any(line <= mine for line in every)
        lacking = [(line, next(iter(line - mine))) for line in every if len(line - mine) == 1]
        # Discs stack up: in an upright line only the highest can be missing.
        free = {square for line, square in lacking if len({c for c, _ in line}) > 1 or square == max(line)}
        assert squares(completing(discs) & ~discs) == free
        assert counted(discs) == len(mine)
        assert squares(mirrored(discs)) == {(6 - column, row) for column, row in mine}


def test_boards_are_read_off_records(game):
    moves = [3, 3, 2, 6, 3]
    (board,) = boards(record(moves, game))
    assert squares(board.both) == {(3, 0), (3, 1), (2, 0), (6, 0), (3, 2)}
    assert squares(board.own) == {(3, 1), (6, 0)}  # player_1 is to move
    step = Board(0, 0)
    for move in moves:
        step = dropped(step, move)
    assert step == board
    for _ in range(3):
        step = dropped(step, 3)
    assert dropped(step, 3) is None


# -------------------------------------------------------------------------- independent searches
def plain(board, seen):
    """The value of a position by search alone: win, else the best of the moves, else the board is full."""
    if board not in seen:
        best = -2
        for column in range(7):
            after = dropped(board, column)
            if after is None:
                continue
            if any(line <= squares(after.own ^ after.both) for line in LINES):
                best = 1
                break
            best = max(best, 0 if after.both == BOARD else -plain(after, seen))
            if best == 1:
                break
        seen[board] = best
    return seen[board]


LINES = list(lines())


@pytest.mark.slow
def test_late_positions_have_the_values_of_an_exhaustive_search(solver):
    records, seen = positions(40, (34, 40), seed=3, care=0.6), {}
    labels = label(records, solver)
    counts = np.zeros(3, int)
    for board, values, best in zip(boards(records), *labels, strict=True):
        for column in range(7):
            after = dropped(board, column)
            if after is None:
                assert values[column] == FULL
                continue
            won = any(line <= squares(after.own ^ after.both) for line in LINES)
            worth = 1 if won else 0 if after.both == BOARD else -plain(after, seen)
            assert values[column] == worth
        assert best.tolist() == [v == values.max() for v in values]
        assert solver.best(board) == np.flatnonzero(best).tolist()
        assert solver.value(board) == values.max()
        counts[values.max() + 1] += 1
    assert counts.min() > 0  # wins, draws and losses are all among them


@pytest.mark.slow
def test_positions_of_28_discs_have_the_values_of_minimax(game, solver):
    """The scalar rules and a search of another module, over several hundred positions."""
    records, exact = positions(150, (28, 33), seed=4, care=0.6), Minimax(game)
    for row, values in zip(records, label(records, solver).values, strict=True):
        sign = 1 - 2 * int(row["turn"])
        state = Position(row.tobytes(), (0.0, 0.0))
        for column in np.flatnonzero(values != FULL):
            seat = game.seats[int(row["turn"])]
            worth = sign * exact._after(state, seat, int(column), -1, -np.inf, np.inf)
            assert worth == values[column]


def test_mirror_images_have_mirrored_values(solver):
    for board in boards(positions(15, 18, seed=5)):
        twin = Board(mirrored(board.own), mirrored(board.both))
        assert Solver(100_003).values(twin) == solver.values(board)[::-1]


def test_a_table_of_one_place_gives_the_same_values(solver):
    for board in boards(positions(10, 26, seed=6)):
        assert Solver(1).values(board) == solver.values(board)


def test_the_value_is_the_best_moves(solver):
    for board in boards(positions(15, 16, seed=7)):
        values = solver.values(board)
        assert solver.value(board) == max(values)
        assert solver.best(board) == [c for c, v in enumerate(values) if v == max(values)]


def test_wins_and_threats_by_hand(game, solver):
    # x has 1, 2 and 3 of the lowest row, o sits above: x wins at 4; were it o's turn, it would have to play there.
    (board,) = boards(record([0, 0, 1, 1, 2, 2], game))
    assert solver.value(board) == 1
    assert solver._after(board, 3, 1, -1) == 1
    (board,) = boards(record([0, 0, 1, 1, 2], game))
    assert [solver._after(board, column, 1, -1) for column in (0, 1, 2, 4, 5, 6)] == [-1] * 6
    # 2, 3 and 4 of the lowest row with both ends free: o cannot stop both.
    (board,) = boards(record([3, 3, 2, 2, 1], game))
    assert solver.values(board) == [-1] * 7


# ----------------------------------------------------------------------------- made positions
def test_positions_are_those_of_the_seed_and_all_different():
    some, again, other = positions(30, 14, seed=1), positions(30, 14, seed=1), positions(30, 14, seed=2)
    assert (some == again).all()
    assert (some != other).any()
    assert len(set(boards(some))) == 30
    assert all(board.both.bit_count() == 14 for board in boards(some))
    assert {b.both.bit_count() for b in boards(positions(40, (12, 15), seed=1))} == {12, 13, 14, 15}


def test_what_cannot_be_made_or_read_is_refused(game):
    with pytest.raises(ValueError, match="discs are 0 to 41"):
        positions(1, 42)
    with pytest.raises(ValueError, match="only 1 of 2 positions of 0 to 0"):
        positions(2, 0)
    with pytest.raises(ValueError, match="7 columns, and these records have 6"):
        label(make("connect_four", columns=6).first)
    with pytest.raises(ValueError, match="connect_four on 6 rows"):
        label(make("tic_tac_toe").first)
    with pytest.raises(ValueError, match="position 0 is over"):
        label(record([0, 1, 0, 1, 0, 1, 0], game))
    with pytest.raises(ValueError, match="at least one place"):
        Solver(0)
    with pytest.raises(ConfigError, match="take the agent alpha_beta"):
        Oracle("connect_four", rows=5)


# -------------------------------------------------------------------------------------- agent
def test_the_agent_plays_the_values_it_knows(game):
    from ludus.core.agent import Request

    oracle = Oracle(game, places=1_000_003, openings=False)
    records = positions(6, 20, seed=8)
    requests = []
    for i, row in enumerate(records):
        state, seat = Position(row.tobytes(), (0.0, 0.0)), game.seats[int(row["turn"])]
        requests.append(
            Request(
                f"e{i}", "connect_four", seat, game.view(state, seat), game.options(state, seat), (),
                np.random.default_rng(i), state=state,
            )
        )  # fmt: skip
    labels = label(records)
    assert oracle.value(requests).tolist() == labels.values.max(1).tolist()
    for decision, chances, best in zip(
        oracle.act(requests), oracle.probabilities(requests), labels.best, strict=True
    ):
        assert best[decision.move]
        assert ((chances > 0) == best).all()
    with pytest.raises(ConfigError, match="openings=False, and there are 1 discs"):
        list(play(game, {"player": oracle}, [0]))


# -------------------------------------------------------------------------------- known facts
@pytest.mark.slow
def test_positions_of_twelve_discs_take_well_under_a_second():
    records, solver, times = positions(100, 12, seed=9), Solver(), []
    solver.values(boards(records[:1])[0])
    for board in boards(records):
        start = time.perf_counter()
        solver.values(board)
        times.append(time.perf_counter() - start)
    print(f"12 discs, all seven values: {np.mean(times):.3f} s on average, {max(times):.2f} s at most")
    assert np.mean(times) < 1


@pytest.mark.slow
def test_the_first_player_wins_by_the_middle_alone(game):
    """Known since 1988 (Allen; Allis): the middle wins, its neighbours draw, all others lose. Some six minutes."""
    solver = Solver(50_000_017)
    for column, value in ((3, 1), (0, -1), (1, -1), (2, 0)):
        start = time.perf_counter()
        (board,) = boards(record([column], game))
        assert -solver.value(board) == value
        print(
            f"first move {column + 1}: {value}, {solver.nodes:,} positions, {time.perf_counter() - start:.0f} s"
        )
