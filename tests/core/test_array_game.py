"""One set of integer rules: scalar game, compiled batch and uncompiled batch agree position by position."""

import gc
import importlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import ludus
from ludus.core import array_game, compiled
from ludus.core.array_game import NATURE, ArrayGame
from ludus.core.batch import Batch
from ludus.core.compiled import BLOCK, kernel, rows, spread
from ludus.core.errors import IllegalMove
from ludus.core.position import Position
from ludus.core.sources import COMPILED

GAMES = (
    "connect_four",
    "iterated_prisoners_dilemma",
    "kuhn_poker",
    "leduc_poker",
    "liars_dice",
    "matching_pennies",
    "nim",
    "rock_paper_scissors",
    "spiral_kuhn_poker",
    "tic_tac_toe",
)
made = pytest.mark.parametrize("game", [ludus.make(name) for name in GAMES], ids=repr)
ARRAYS = ("observation", "legal", "mover", "reward", "done", "opening")


def after(game: ArrayGame, position: Position) -> set[bytes]:
    """The records that a batch may hold once nature has had its turns."""
    if game.mover(game.open(position.record)) != NATURE:
        return {position.record}
    return set().union(
        *(after(game, game.play(position, {"chance": outcome})) for outcome, _ in game.chance(position))
    )


def trace(game: ArrayGame, n: int, steps: int, seed: int = 7) -> dict[str, np.ndarray]:
    """Everything that a batch shows in `steps` random steps, (steps, n, ...)."""
    batch = ludus.batch(game, n, seed)
    shown: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    for _ in range(steps):
        for name in ARRAYS:
            shown[name].append(getattr(batch, name).copy())
        batch.step(batch.random_actions())
    return {name: np.stack(column) for name, column in shown.items()}


@made
def test_every_step_of_a_batch_is_a_move_of_the_scalar_game(game) -> None:
    batch, zeros = Batch(game, 8, seed=1), (0.0,) * len(game.seats)
    first = after(game, game.start(np.random.default_rng(0)))
    for _ in range(30):
        before = [Position(record.tobytes(), zeros) for record in batch._states]
        together = [len(game.turn(position)) > 1 for position in before]
        movers, aside = batch.mover.copy(), batch._aside.copy()
        for position, mover, mask, seen in zip(before, movers, batch.legal, batch.observation, strict=True):
            seat = game.seats[mover]
            assert seat in game.turn(position)
            np.testing.assert_array_equal(game.options(position, seat).legal, mask)
            np.testing.assert_array_equal(game.view(position, seat).features, seen)
        actions = batch.random_actions().copy()
        batch.step(actions)
        for i, position in enumerate(before):
            if together[i] and movers[i] == 0:
                assert (batch._states[i].tobytes(), batch.mover[i], batch.done[i]) == (
                    position.record,
                    1,
                    False,
                )
                continue
            moves = {game.seats[movers[i]]: actions[i]}
            if together[i]:
                moves |= {game.seats[0]: aside[i, 0]}
            landed = game.play(position, moves)
            over = not game.turn(landed)
            np.testing.assert_array_equal(batch.reward[i], np.float32(landed.paid))
            assert batch.done[i] == over
            assert batch._states[i].tobytes() in (first if over else after(game, landed))


@made
def test_rows_depend_neither_on_the_size_of_the_batch_nor_on_threads(game, monkeypatch) -> None:
    few = trace(game, 3, 25)
    monkeypatch.setattr(compiled, "_cores", lambda: 3)
    many = trace(game, 3000, 25)  # several blocks
    for name in ARRAYS:
        np.testing.assert_array_equal(few[name], many[name][:, :3], err_msg=name)


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_threads_share_every_row_once_and_report_faults(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "_cores", lambda: 3)
    seen, blocks = np.zeros(10_000, np.int32), []

    def count(array: np.ndarray, low: int, high: int) -> None:
        array[low:high] += 1
        blocks.append(low)

    spread(partial(count), len(seen), seen)  # a plain function would be taken for uncompiled rules
    assert (seen == 1).all()
    assert sorted(blocks) == list(range(0, len(seen), BLOCK))

    def fail(low: int, high: int) -> None:
        raise OverflowError(f"{low} to {high}")

    with pytest.raises(OverflowError, match=" to "):
        spread(partial(fail), 10_000)


@made
def test_a_restored_batch_continues_exactly(game) -> None:
    kept, other = Batch(game, 5, seed=3), Batch(game, 5, seed=4)
    for _ in range(7):
        kept.step(kept.random_actions())
    other.restore(pickle.loads(pickle.dumps(kept.state())))
    for _ in range(20):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(kept, name), getattr(other, name), err_msg=name)
        kept.step(kept.random_actions())
        other.step(other.random_actions())


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    kuhn, ttt = ludus.batch("kuhn_poker", 4), ludus.batch("tic_tac_toe", 4)
    before = kuhn.state()
    for foreign in (ttt.state(), ludus.batch("kuhn_poker", 5).state(), {}):
        with pytest.raises(ValueError, match="does not fit"):
            kuhn.restore(foreign)
    for name, array in kuhn.state().items():
        np.testing.assert_array_equal(array, before[name])


UNCOMPILED = """
import sys
sys.modules["numba"] = None  # as if it were not installed
sys.path.insert(0, sys.argv[1])
import numpy as np
import test_array_game as here
import ludus
assert not here.COMPILED
for name in here.GAMES:
    np.savez(f"{sys.argv[2]}/{name}.npz", **here.trace(ludus.make(name), 4, 40))
"""


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_without_numba_the_same_rows_come_out(tmp_path) -> None:
    command = [sys.executable, "-W", "error", "-c", UNCOMPILED, str(Path(__file__).parent), str(tmp_path)]
    subprocess.run(command, check=True, timeout=120)
    for name in GAMES:
        plain = np.load(tmp_path / f"{name}.npz")
        for array, values in trace(ludus.make(name), 4, 40).items():
            np.testing.assert_array_equal(plain[array], values, err_msg=f"{name}: {array}")


CACHED = """
import ludus
from ludus.core.compiled import kernel, rows, spread
batch = ludus.batch("kuhn_poker", 4)
batch.step(batch.random_actions())
for loop in (kernel(batch.game).step, rows().uniform, rows().refused):
    assert loop.stats.cache_hits and not loop.stats.cache_misses, loop
"""


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_another_process_finds_the_compiled_loops() -> None:
    batch = ludus.batch("kuhn_poker", 4)
    batch.step(batch.random_actions())
    assert kernel(batch.game) is kernel(ludus.make("kuhn_poker"))
    assert rows().uniform.signatures
    subprocess.run([sys.executable, "-c", CACHED], check=True, timeout=120)


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_an_edited_rule_is_compiled_anew(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LUDUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []
    for rules, prize in [(1, 1), (1, 1), (25, 1), (25, 25)]:  # what a rule imports counts too
        (tmp_path / "edited_prize.py").write_text(f"PRIZE = {prize}\n")
        (tmp_path / "edited_rules.py").write_text(EDITED.replace("BONUS", str(rules)))
        for module in ("edited_prize", "edited_rules"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        names.append(kernel(importlib.import_module("edited_rules").One()).__name__)
    assert names[0] == names[1]
    assert len(set(names)) == 3


EDITED = """
import numpy as np
from edited_prize import PRIZE
from ludus.core.array_game import ArrayGame

class One(ArrayGame):
    seats, moves, shape = ("player_0",), ("take",), (1,)
    record = np.dtype([("over", np.int8)])

    @staticmethod
    def mover(s):
        return -2 if s.over else 0

    @staticmethod
    def legal(s, seat, out):
        out[:] = 1

    @staticmethod
    def move(s, a, pay):
        s.over = 1
        pay[0] += worth(s.over)

    @staticmethod
    def observe(s, seat, out):
        out[0] = s.over


def worth(n):
    return n * PRIZE + BONUS
"""


def test_a_game_that_ends_at_the_deal_is_dealt_again() -> None:
    batch = Batch(Deal(), 64, seed=2)
    assert not batch.done.any()
    for _ in range(5):
        assert batch.observation.ravel().tolist() == [1] * 64
        assert batch.opening[:, 0].tolist() == [2.0] * 64
        batch.step(batch.random_actions())
        assert batch.done.all()
        assert batch.reward[:, 0].tolist() == [7.0] * 64


class Deal(ArrayGame):
    """Nature throws a coin: tails ends the game at once, heads pays 2 and lets player_0 take 7."""

    seats = ("player_0",)
    record = np.dtype([("coin", np.int8), ("over", np.int8)])
    moves = ("take",)
    outcomes = 2
    shape = (1,)

    @staticmethod
    def mover(s) -> int:
        return -1 if s.coin == 0 else -2 if s.over or s.coin == 1 else 0

    @staticmethod
    def legal(s, seat, out) -> None:
        out[:] = 1

    @staticmethod
    def odds(s, out) -> None:
        out[:] = 0.5

    @staticmethod
    def move(s, a, pay) -> None:
        if s.coin == 0:
            s.coin = a + 1
            pay[0] += 2 * a
        else:
            s.over = 1
            pay[0] += 7

    @staticmethod
    def observe(s, seat, out) -> None:
        out[0] = s.coin - 1


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(3, np.int32), r"shape \(4,\)"),
        (np.zeros(4), "whole numbers"),
        (np.array([0, 1, 9, 0]), "row 2: player_0 cannot play 9; legal are"),
        (np.array([0, 1, 2, -1]), "row 3: player_0 cannot play -1"),
    ],
)
def test_actions_that_cannot_be_played_change_nothing(actions, message) -> None:
    batch = ludus.batch("tic_tac_toe", 4)
    before = batch.state()
    with pytest.raises(ValueError, match=message):
        batch.step(actions)
    for name, array in batch.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_batch_needs_rows_and_an_array_game() -> None:
    with pytest.raises(ValueError, match="whole number from 1 on, not 0"):
        ludus.batch("kuhn_poker", 0)
    with pytest.raises(TypeError, match="no array game"):
        ludus.batch("propose_solve", 4)


def test_the_scalar_game_refuses_what_the_rules_do_not_allow() -> None:
    game = ludus.make("kuhn_poker")
    start = game.start(np.random.default_rng(0))
    with pytest.raises(IllegalMove, match="not the turn of player_0 but of chance"):
        game.play(start, {"player_0": 1})
    dealt = game.play(start, {"chance": 2})
    with pytest.raises(IllegalMove, match="chance cannot play 2"):
        game.play(dealt, {"chance": 2})
    with pytest.raises(IllegalMove, match=r"player_0 cannot play 2 here; legal are 0 \(pass\), 1 \(bet\)"):
        game.play(game.play(dealt, {"chance": 0}), {"player_0": 2})


def test_what_is_written_to_no_field_is_an_error() -> None:
    s = ludus.make("kuhn_poker").open(bytes(ludus.make("kuhn_poker").record.itemsize))
    s.cuont = 1
    with pytest.raises(AttributeError, match="no field cuont; its fields are cards"):
        s.tobytes()


def test_rules_say_what_the_parameters_are() -> None:
    rules = ludus.make("dark_hex", abrupt=True).rules("player_0")
    assert rules.endswith(
        "- size: rows and columns. Here 3.\n- abrupt: whether a try at a taken cell costs the turn. Here yes."
    )
    assert "Here 2 3." in ludus.make("battleship", ship_sizes=[2, 3]).rules("player_0")
    assert "Here" not in ludus.make("kuhn_poker").rules("player_0")


class Sized(Deal):
    """A game.

    Args:
        size (int): how large.
        other: what no parameter is called.
    """

    def __init__(self, size: int = 3) -> None:
        self.size = size


def test_rules_tell_parameters_in_other_styles_of_docstrings_too() -> None:
    assert Sized(4).rules("player_0") == "A game.\n\n- size (int): how large. Here 4."


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there is nothing to compare with")
@pytest.mark.parametrize("name", ["spiral_kuhn_poker", "leduc_poker", "pig"])
def test_nature_does_compiled_what_it_does_in_python(name) -> None:
    game, plain = ludus.make(name), ludus.make(name)
    game._loops, game._remembers, drawn = game._compiled(), False, set()
    for seed in range(20):
        rngs = np.random.default_rng(seed), np.random.default_rng(seed)
        states = tuple(made.start(rng) for made, rng in zip((game, plain), rngs, strict=True))
        for _ in range(200):
            turn = game.turn(states[0])
            assert plain.turn(states[1]) == turn
            if not turn:
                break
            if turn == (ludus.CHANCE,):
                assert game.chance(states[0]) == plain.chance(states[1])
                told = [
                    made.happen(state, rng)
                    for made, state, rng in zip((game, plain), states, rngs, strict=True)
                ]
                (outcome, *_), (other, *_) = told
                states = told[0][1], told[1][1]
                assert (outcome, states[0]) == (other, states[1])
                drawn.add(outcome)
                continue
            legal = np.flatnonzero(plain.options(states[1], turn[0]).legal)
            assert np.flatnonzero(game.options(states[0], turn[0]).legal).tolist() == legal.tolist()
            move = {turn[0]: int(legal[seed % len(legal)])}
            states = game.play(states[0], move), plain.play(states[1], move)
    assert len(drawn) > 1


@pytest.mark.parametrize("remembers", [True, False])
def test_threads_may_play_one_compiled_game(remembers, monkeypatch) -> None:
    """What the rules write in while a move is played belongs to the thread."""
    game = ludus.make("connect_four")
    game._loops = game._compiled()

    def played(seed):
        return [tuple(step.move for step in e.steps) for e in ludus.play(game, {"player": "uniform"}, [seed])]

    monkeypatch.setattr(array_game, "REMEMBERED", 50)  # so that what is kept is thrown away again and again
    before = sys.getswitchinterval()
    alone = [played(seed) for seed in range(40)]
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as threads:
            again = threads.map(
                lambda seed: (setattr(game, "_remembers", remembers), played(seed))[1], range(40)
            )
            assert list(again) == alone
    finally:
        sys.setswitchinterval(before)


def test_a_made_game_can_be_pickled() -> None:
    game = ludus.make("nim", stones=[2, 3])
    _ = game.first
    game.first_of_all = 7  # a game may have attributes of its own
    again = pickle.loads(pickle.dumps(game))
    assert again.first_of_all == 7
    assert (repr(again), again.first.tobytes()) == (repr(game), game.first.tobytes())


def test_only_whole_numbers_are_moves_whatever_was_asked_before() -> None:
    game = ludus.make("kuhn_poker")
    state = game.start(np.random.default_rng(0))
    for card in (0, 1):
        state = game.play(state, {ludus.CHANCE: card})
    game.play(state, {"player_0": 1})
    for move in (True, 1.0, "1", {"a": 1}, None):
        with pytest.raises(IllegalMove):
            game.play(state, {"player_0": move})
    with pytest.raises(IllegalMove, match="player_0 must move"):
        game.play(state, {})
    hands = ludus.make("rock_paper_scissors")
    with pytest.raises(IllegalMove, match="must move"):
        hands.play(hands.start(np.random.default_rng(0)), {"player_0": 1})


@pytest.mark.parametrize("asked", [0, 1_000_000])
def test_positions_are_kept_while_a_game_comes_back_to_them(asked, monkeypatch) -> None:
    monkeypatch.setattr(array_game, "TRIED", 32)
    game = ludus.make("connect_four")
    game._asked = asked
    list(ludus.play(game, {"player": "uniform"}, range(10)))
    assert game._remembers == bool(asked)
    assert (len(game._known) > 100) == bool(asked)


@pytest.mark.parametrize("asked", [0, 1_000_000])
def test_a_position_that_is_held_does_not_hold_what_was_played_from_it(asked, monkeypatch) -> None:
    """A search asks thousands of positions beyond the one it was given: those are kept for as long as they pay."""
    monkeypatch.setattr(array_game, "REMEMBERED", 64)
    monkeypatch.setattr(ArrayGame, "_compiled", lambda self: None)
    game, rng = ludus.make("connect_four"), np.random.default_rng(0)
    game._asked = asked  # many: as if it came back to its positions all the time
    root = game.start(rng)
    for _ in range(40):
        state = root
        while turn := game.turn(state):
            state = game.play(state, {turn[0]: game.sample(state, turn[0], rng)})
    gc.collect()
    held = [one for one in gc.get_objects() if type(one) is Position and one.game is game]
    assert root in held
    assert len(held) <= 64 + 8  # and those one move from the first
