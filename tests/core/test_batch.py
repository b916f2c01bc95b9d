"""Batches: what becomes of ended games, of illegal actions, and of rules that numba cannot compile."""

import importlib
import inspect
import pickle
import re
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from small_games import Stuck

import ludus
from ludus.core import compiled
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.compiled import kernel
from ludus.core.errors import ConfigError, ContractError, IllegalMove, UnknownName
from ludus.core.game import CHANCE
from ludus.core.position import Position
from ludus.core.sources import COMPILED, _made_of, cache_folder

ARRAYS = ("observation", "legal", "mover", "reward", "done", "opening")
GAMES = ("connect_four", "kuhn_poker", "leduc_poker", "rock_paper_scissors", "tic_tac_toe")


def snapshot(batch):
    return {name: getattr(batch, name).copy() for name in ARRAYS}


def same(one, other, where=slice(None)):
    for name in ARRAYS:
        np.testing.assert_array_equal(one[name][where], other[name][where], err_msg=name)


@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
@pytest.mark.parametrize("name", GAMES)
def test_a_stroll_is_as_many_random_steps(name, autoreset) -> None:
    walked, stepped = (ludus.batch(name, 1500, seed=2, autoreset=autoreset) for _ in range(2))
    walked.stroll(23)
    for _ in range(23):
        stepped.step(stepped.random_actions())
    same(snapshot(walked), snapshot(stepped))
    np.testing.assert_array_equal(walked._states, stepped._states)


@pytest.mark.parametrize("name", GAMES)
def test_next_step_shows_the_end_and_then_deals(name) -> None:
    batch = ludus.batch(name, 64, seed=3, autoreset="next_step")
    ended = 0
    for _ in range(40):
        over, before = batch.done.copy(), batch.mover.copy()
        actions = batch.random_actions().copy()
        assert (actions[over] == -1).all()
        batch.step(actions)
        assert not batch.done[over].any()
        assert (batch.reward[over] == 0).all()
        assert batch.legal[over].any(1).all()
        done = batch.done
        assert (batch.mover[done] == -2).all()
        assert not batch.legal[done].any()
        for row in np.flatnonzero(done):
            position = Position(batch._states[row].tobytes(), (0.0,) * len(batch.game.seats))
            assert batch.game.turn(position) == ()
            view = batch.game.view(position, batch.game.seats[before[row]])
            np.testing.assert_array_equal(view.features, batch.observation[row])
        ended += done.sum()
    assert ended > 64


def test_disabled_rows_stay_until_they_are_reset() -> None:
    batch = ludus.batch("kuhn_poker", 64, seed=4, autoreset="disabled")
    for _ in range(3):
        batch.step(batch.random_actions())
    assert batch.done.all()
    still = snapshot(batch)
    batch.step(np.full(64, 99))
    same({**still, "reward": np.zeros_like(still["reward"])}, snapshot(batch))
    which = np.arange(64) % 2 == 0
    batch.reset(which)
    assert not batch.done[which].any()
    assert batch.done[~which].all()
    assert (batch.reward == 0).all()
    with pytest.raises(ValueError, match=r"bool of shape \(64,\), not int64"):
        batch.reset(np.arange(64))


def test_reset_rows_and_the_others_go_on_as_they_would() -> None:
    reset, kept = ludus.batch("tic_tac_toe", 16, seed=1), ludus.batch("tic_tac_toe", 16, seed=1)
    for one in (reset, kept):
        one.step(one.random_actions())
    which = np.arange(16) < 5
    reset.reset(which)
    same(snapshot(reset), snapshot(kept), ~which)
    assert (reset.legal[which].sum(1) == 9).all()


@pytest.mark.parametrize("autoreset", ["same_step", "next_step", "disabled"])
@pytest.mark.parametrize("name", GAMES)
def test_rows_that_are_left_alone_stay_as_they_are(name, autoreset) -> None:
    some, every = (ludus.batch(name, 64, seed=5, autoreset=autoreset) for _ in range(2))
    which = np.arange(64) % 3 == 0
    for _ in range(60):
        before, actions = some.state(), every.random_actions().copy()
        every.step(actions)
        some.step(np.where(which, actions, 99), which)
        for key, array in some.state().items():
            np.testing.assert_array_equal(array[~which], before[key][~which], err_msg=key)
        same(snapshot(some), snapshot(every), which)
    with pytest.raises(IllegalMove, match="cannot play 99"):
        ludus.batch(name, 64).step(np.where(which, 99, 0), np.arange(64) == 3)
    with pytest.raises(ValueError, match=r"step takes bool of shape \(64,\), not int64 of \(64,\)"):
        some.step(actions, np.arange(64))


def test_each_row_may_be_seen_by_another_seat() -> None:
    batch = ludus.batch("kuhn_poker", 9, seed=2)
    for nobody in (2, -2, 0.5, np.array([0, 1])):
        with pytest.raises(ValueError, match="kuhn_poker"):
            batch.look(nobody)
    views, seats = [batch.look(0), batch.look(1)], np.arange(9) % 3 - 1
    seen = batch.look(seats)
    for row, seat in enumerate(seats):
        np.testing.assert_array_equal(seen[row], np.zeros_like(seen[row]) if seat < 0 else views[seat][row])
    assert (views[0] != views[1]).any(1).all()


def test_an_illegal_action_forfeits_its_row_alone() -> None:
    batch = ludus.batch("leduc_poker", 8, seed=1, autoreset="next_step", illegal="forfeit")
    actions = np.ones(8, np.int64)
    actions[[2, 5]] = [0, -7]  # nobody has raised: there is nothing to fold
    mover = batch.mover.copy()
    batch.step(actions)
    assert batch.faults.tolist() == [0, 0, 1, 0, 0, 1, 0, 0]
    assert batch.done.tolist() == [row in (2, 5) for row in range(8)]
    for row in (2, 5):
        assert batch.reward[row, mover[row]] == -13
        assert batch.reward[row].sum() == 0
    again = ludus.batch("leduc_poker", 8, seed=1, illegal="forfeit")
    again.step(actions)
    assert again.done.tolist() == batch.done.tolist()
    assert again.legal.any(1).all()


def test_an_illegal_action_may_be_replaced_by_a_random_one() -> None:
    batch = ludus.batch("tic_tac_toe", 4000, seed=1, illegal="random")
    batch.step(np.full(4000, 4))
    batch.step(np.full(4000, 4))
    assert (batch.faults == 1).all()
    assert not batch.done.any()
    marks = batch.observation[:, 0].reshape(4000, 9).sum(0)  # whose turn it is has one mark, in the middle
    assert marks.tolist() == [0, 0, 0, 0, 4000, 0, 0, 0, 0]
    theirs = batch.observation[:, 1].reshape(4000, 9).sum(0).astype(int)
    assert theirs[4] == 0
    assert (abs(theirs[[0, 1, 2, 3, 5, 6, 7, 8]] - 500) < 100).all()


def test_what_cannot_be_declared_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"'same_steps'.*same_step"):
        ludus.batch("tic_tac_toe", 2, autoreset="same_steps")
    with pytest.raises(UnknownName, match="illegal actions"):
        ludus.batch("tic_tac_toe", 2, illegal="skip")
    with pytest.raises(TypeError, match=r"nim\(\) has been made already: stones"):
        ludus.batch(ludus.make("nim"), 2, stones=3)
    with pytest.raises(TypeError, match=r"not the class Stuck: Stuck\(\)"):
        ludus.batch(Stuck, 2)
    with pytest.raises(TypeError, match=r"simple_negotiation.*no array game.*by `play`"):
        ludus.batch("simple_negotiation", 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: ludus.batch("nim", 0), "n must be a whole number from 1 on, not 0"),
        (lambda: ludus.batch("nim", 2.5), "n must be a whole number from 1 on, not 2.5"),
        (lambda: ludus.batch("nim", "8"), "n must be a whole number from 1 on, not '8'"),
        (lambda: ludus.batch("nim", 2, seed=None), "seed must be a whole number from 0 on, not None"),
        (lambda: ludus.batch("nim", 2, seed=-1), "seed must be a whole number from 0 on, not -1"),
        (lambda: ludus.batch("nim", 2).stroll(-1), "steps must be a whole number from 0 on, not -1"),
        (lambda: ludus.batch("nim", 2).stroll(1.5), "steps must be a whole number from 0 on, not 1.5"),
        (lambda: ludus.batch("nim", 2).step([[1], [1, 2]]), r"shape \(2,\), not \[\[1\], \[1, 2\]\]"),
        (lambda: ludus.batch("leduc_poker", 2).step([7, 1]), r"player_0 cannot play 7; legal are 1 \(call\)"),
    ],
)
def test_what_is_no_number_of_anything_is_refused(wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        wrong()


def test_a_batch_says_what_it_is() -> None:
    batch = ludus.batch("nim", np.int64(3), illegal="random")
    assert repr(batch) == "Batch(nim(), n=3, autoreset='same_step', illegal='random')"
    assert len(batch) == 3
    before = snapshot(batch)
    batch.stroll(0)
    same(before, snapshot(batch))


def test_arrays_stay_where_they_are() -> None:
    batch = ludus.batch("tic_tac_toe", 4)
    seen, legal = torch.from_numpy(batch.observation), torch.from_numpy(batch.legal)
    batch.step(np.zeros(4, np.int64))
    assert seen[:, 1, 0, 0].tolist() == [1] * 4
    assert legal.sum(1).tolist() == [8] * 4


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
@pytest.mark.parametrize("illegal", ["raise", "forfeit", "random"])
def test_a_mask_without_a_move_is_an_error(mode, illegal, monkeypatch) -> None:
    monkeypatch.setattr(compiled, "mind", lambda *_: None)  # which would see it before
    step = lambda b: b.step(np.zeros(2, np.int64))  # noqa: E731
    for run in (lambda b: b.random_actions(), step, lambda b: b.stroll(1)):
        batch = Batch(Stuck(), 2, autoreset=mode, illegal=illegal)
        batch.step(batch.random_actions())
        batch.step(batch.random_actions())
        assert batch.faults.tolist() == [0, 0]
        before = pickle.dumps(batch.state())
        with pytest.raises(ContractError, match=r"row 0: .* was to move and had no legal move"):
            run(batch)
        if run is step:
            assert pickle.dumps(batch.state()) == before


@pytest.mark.parametrize("illegal", ["raise", "forfeit", "random"])
def test_a_mask_without_a_move_may_be_left_alone(illegal, monkeypatch) -> None:
    monkeypatch.setattr(compiled, "mind", lambda *_: None)
    batch = Batch(Stuck(), 2, illegal=illegal)
    for _ in range(2):
        batch.step(np.zeros(2, np.int64), which=np.array([True, False]))
    batch.step(np.zeros(2, np.int64), which=np.array([False, True]))
    assert batch.observation[:, 0].tolist() == [1, 2]
    with pytest.raises(ContractError, match=r"row 0: seat 0 was to move"):
        batch.step(np.zeros(2, np.int64))
    assert batch.observation[:, 0].tolist() == [1, 2]


def test_a_mask_without_a_move_is_forgotten_when_it_has_been_told(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "mind", lambda *_: None)
    batch = Batch(Stuck(), 1, illegal="forfeit")
    batch.step(np.array([1]))
    batch.step(np.array([0]))
    batch.step(np.array([0]))
    with pytest.raises(ContractError, match="no legal move"):
        batch.step(np.array([0]))
    batch.reset()
    batch.step(np.array([0]))
    assert batch.faults.tolist() == [1]


class Beyond(ArrayGame):
    """Moves of which there are more than room; and a number that falls below zero."""

    seats = ("player_0",)
    moves = ("a", "b", "c", "d")
    shape = (1,)

    def __init__(self, room: int = 3, twice: bool = False) -> None:
        self.record = np.dtype([("seen", np.int8, room), ("left", np.uint8), ("twice", np.int8)])
        self.twice = twice

    def setup(self, s) -> None:
        s.left = 1
        s.twice = self.twice

    @staticmethod
    def mover(s) -> int:
        return 0 if s.left == 1 else -2

    @staticmethod
    def legal(s, seat, out) -> None:
        out[:] = 1

    @staticmethod
    def move(s, a, pay) -> None:
        s.left -= 1
        if s.twice:
            s.left -= 1
        s.seen[a] = 1

    @staticmethod
    def observe(s, seat, out) -> None:
        out[0] = s.left


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_rules_that_go_beyond_an_array_are_refused_before_they_are_trusted() -> None:
    Batch(Beyond(room=4), 2)  # and what has passed is not taken for what has other parameters
    for _ in range(2):  # nor what failed for what has passed
        with pytest.raises(ContractError, match=r"room=3.*test_batch.py, line \d+: index 3 is out of bounds"):
            Batch(Beyond(room=3), 2)
    with pytest.raises(ContractError, match=r"line \d+: .*out of bounds for uint8"):
        Batch(Beyond(room=4, twice=True), 2)
    with pytest.raises(ContractError, match=r"line \d+: index 9 is out of bounds"):
        Batch(Peeping(room=4), 2)


class Peeping(Beyond):
    """Whoever looks when all is over looks too far."""

    @staticmethod
    def observe(s, seat, out) -> None:
        out[9 * (1 - s.left)] = s.left


class Vain(Stuck):
    """It is over before it begins."""

    @staticmethod
    def mover(s) -> int:
        return -2


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_a_game_in_which_nobody_moves_is_an_error(mode) -> None:
    with pytest.raises(
        ContractError, match=r"row 0: 100,000 games in a row ended before anybody was to move"
    ):
        Batch(Vain(), 2, autoreset=mode)


def test_what_is_kept_of_rules_changes_with_the_modules_they_use(tmp_path, monkeypatch) -> None:
    (tmp_path / "its_rules.py").write_text(
        """import its_prizes
from small_games import Stuck

class Prize(Stuck):
    @staticmethod
    def move(s, a, pay):
        pay[0] += its_prizes.FIRST + its_prizes.others.SECOND + its_prizes.scales.weigh(1)
""",
        encoding="utf-8",
    )
    package = tmp_path / "its_prizes"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from . import others, scales\nfrom .deep import FIRST", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (package / "scales.py").write_text(
        """from .others import MORE, TIMES

def made(times):
    def weigh(x, more=MORE):
        return times * x + more
    return weigh

weigh = made(TIMES)
""",
        encoding="utf-8",
    )
    made = []
    for first, second, more, times in (
        (1, 2, 0, 1), (1, 2, 0, 1), (3, 2, 0, 1), (3, 4, 0, 1), (3, 4, 5, 1), (3, 4, 5, 6),
    ):  # fmt: skip
        (package / "deep.py").write_text(f"FIRST = {first}", encoding="utf-8")
        (package / "others.py").write_text(
            f"SECOND, MORE, TIMES = {second}, {more}, {times}", encoding="utf-8"
        )
        for name in [name for name in sys.modules if name.startswith("its_")]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        made.append(_made_of(importlib.import_module("its_rules").Prize))
    assert made[0] == made[1]
    assert len(set(made)) == 5


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_rules_without_a_source_are_not_kept(monkeypatch) -> None:
    module = ModuleType("its_rules_in_memory")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(compiled, "mind", lambda *_: None)
    source = "from small_games import Stuck\nclass Prize(Stuck):\n    @staticmethod\n    def mover(s):\n        return 0"
    exec(source, vars(module))
    assert getattr(kernel(module.Prize()), "__file__", None) is None
    assert kernel(Stuck()).__file__


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_a_folder_for_compiled_rules_that_cannot_be_made_is_named(monkeypatch) -> None:
    monkeypatch.setenv("LUDUS_CACHE", "/dev/null/kept")
    with pytest.raises(ConfigError, match=r"/dev/null/kept/kernels.*Not a directory.*set LUDUS_CACHE"):
        cache_folder()


class Wordy(Stuck):
    """Its rules use what numba cannot compile."""

    @staticmethod
    def move(s, a, pay) -> None:
        s.stones -= len(f"{s.stones:d}".split())


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
def test_rules_that_cannot_be_compiled_run_as_they_are() -> None:
    line = inspect.getsourcelines(Wordy.move)[1] + 2
    with pytest.warns(UserWarning, match="numba cannot compile") as said:
        batch = Batch(Wordy(), 3)
    (message,) = [str(one.message) for one in said]
    assert re.search(rf"numba cannot compile.*ordinary Python.*test_batch\.py, line {line}", message)
    batch.step(batch.random_actions())  # and no second warning
    assert batch.observation[:, 0].tolist() == [2, 2, 2]
    assert not kernel(Wordy()).COMPILED


class Misspelt(Stuck):
    """Its rules write to a field that the record has not."""

    @staticmethod
    def move(s, a, pay) -> None:
        s.stoens = 2


class Misread(Stuck):
    """Its rules read a field that the record has not."""

    @staticmethod
    def move(s, a, pay) -> None:
        s.stones -= s.stoens


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
@pytest.mark.parametrize("rules", [Misspelt, Misread])
def test_a_misspelt_field_is_told_with_its_line(rules) -> None:
    told = rf"{rules.__name__}\.move \(.*test_batch\.py, line \d+\) names 'stoens'.*stones"
    with pytest.raises(ContractError, match=told):
        Batch(rules(), 3)


class Listing(Stuck):
    """Its rules make a list."""

    @staticmethod
    def move(s, a, pay) -> None:
        s.stones -= len([k for k in range(3) if k])


class Mixing(Stuck):
    """Its rules hold things of two kinds in one dictionary."""

    @staticmethod
    def move(s, a, pay) -> None:
        known = {"a": (1, 2), 3: None}
        s.stones -= len(known)


@pytest.mark.skipif(not COMPILED, reason="numba is not installed")
@pytest.mark.parametrize(("rules", "line", "why"), [(Listing, 2, "makes a list"), (Mixing, 2, "dict")])
def test_what_numba_says_is_told_with_line_and_reason(rules, line, why) -> None:
    place = inspect.getsourcelines(rules.move)[1] + line
    with pytest.warns(UserWarning, match=rf"test_batch\.py, line {place}: (?!Failed).*{why}"):
        Batch(rules(), 3)


def doubled(n):
    return twice(n) if n else 0


def twice(n):
    return n * 2


class Helped(Stuck):
    """Its rules call plain functions, and the scalar game asks the compiled rules."""

    compiled = True

    @staticmethod
    def mover(s) -> int:
        return 0 if s.stones > 1 else -2

    @staticmethod
    def move(s, a, pay) -> None:
        s.stones -= 1
        pay[0] += doubled(s.stones)

    def describe(self, s, seat) -> str:
        return f"{s.stones}"


def test_plain_functions_may_be_called_from_rules() -> None:
    game = Helped()
    batch = Batch(game, 2)
    batch.step(batch.random_actions())
    assert batch.reward[:, 0].tolist() == [4, 4]
    state = game.play(game.start(np.random.default_rng(0)), {"player_0": 0})
    assert state.paid == (4.0,)
    assert game.view(state, "player_0").features.tolist() == [2]
    assert (game._loops is not None) is COMPILED


def test_a_fingerprint_changes_with_what_rules_call(monkeypatch) -> None:
    before = Helped().fingerprint()
    monkeypatch.setitem(globals(), "twice", doubled)
    ludus.core.array_game._with_helpers.cache_clear()
    assert Helped().fingerprint() != before


class Asked(type(ludus.make("leduc_poker"))):
    """Leduc poker whose scalar game asks the compiled rules."""

    compiled = True


def test_the_scalar_game_is_the_same_compiled() -> None:
    plain, asked = ludus.make("leduc_poker"), Asked()
    rng = np.random.default_rng(1)
    for _ in range(30):
        state = plain.start(rng)
        while turn := plain.turn(state):
            assert asked.turn(state) == turn
            if turn == (CHANCE,):
                assert asked.chance(state) == plain.chance(state)
                move = int(rng.choice([outcome for outcome, _ in plain.chance(state)]))
            else:
                assert asked.options(state, turn[0]) == plain.options(state, turn[0])
                assert asked.view(state, turn[0]).digest() == plain.view(state, turn[0]).digest()
                move = int(rng.choice(np.flatnonzero(plain.options(state, turn[0]).legal)))
            after = plain.play(state, {turn[0]: move})
            assert asked.play(state, {turn[0]: move}) == after
            state = after


class Sized(Stuck):
    record = np.dtype([("size", np.int8)])


def test_a_field_called_as_numpys_own_is_refused() -> None:
    with pytest.raises(ContractError, match="may not be called size"):
        Batch(Sized(), 2)


@pytest.mark.parametrize("kind", [np.uint64, np.int64])
def test_no_number_is_taken_for_a_smaller_one(kind) -> None:
    many = ludus.batch("tic_tac_toe", 2, seed=1)
    with pytest.raises(IllegalMove, match="cannot play 4294967296"):
        many.step(np.array([0, 2**32], kind))
    many.step(np.array([0, 1], kind))
    assert many.legal.sum() == 16
