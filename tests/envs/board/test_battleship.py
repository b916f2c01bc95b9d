"""Battleship: what shots tell and earn, room for the ships to come, and OpenSpiel step by step."""

import numpy as np
import pytest

import ludus
from ludus.core.compiled import kernel
from ludus.core.tables import expand
from ludus.envs.board.battleship import Battleship
from ludus.testing import check_game


class Plain(Battleship):
    """The rules as ordinary Python: small grids need not be compiled to be played a few times."""

    compiled = False


SMALL = {
    "rows": 3,
    "columns": 3,
    "ship_sizes": (2, 3),
    "ship_values": (1, 5),
    "shots": 5,
    "loss_multiplier": 2,
}
GRIDS = [  # ours, OpenSpiel's, games
    ({}, "", 3),
    (
        {"rows": 3, "columns": 2, "ship_sizes": (2, 3), "ship_values": (1, 2), "shots": 4, "loss_multiplier": 2.0},
        "board_height=3,board_width=2,ship_sizes=[2;3],ship_values=[1;2],num_shots=4,loss_multiplier=2.0",
        100,
    ),
    (
        {"rows": 1, "columns": 6, "ship_sizes": (2, 1, 3), "shots": 4, "repeated_shots": False},
        "board_height=1,board_width=6,ship_sizes=[2;1;3],ship_values=[1;1;1],num_shots=4,allow_repeated_shots=false",
        100,
    ),
    (
        {"rows": 4, "columns": 4, "ship_sizes": (1, 1, 2, 4, 4), "ship_values": (0.5, 1.25, 2, 0, 1), "shots": 12,
         "repeated_shots": False, "loss_multiplier": 0.5},
        ("board_height=4,board_width=4,ship_sizes=[1;1;2;4;4],ship_values=[0.5;1.25;2;0;1],num_shots=12,"
         "allow_repeated_shots=false,loss_multiplier=0.5"),
        15,
    ),
    (
        {"rows": 5, "columns": 2, "ship_sizes": (2,) * 5, "shots": 8},
        "board_height=5,board_width=2,ship_sizes=[2;2;2;2;2],ship_values=[1;1;1;1;1],num_shots=8",
        30,
    ),
]  # fmt: skip


def played(game, moves):
    """The state after moves by name, and what each has earned."""
    state, earned = game.start(np.random.default_rng(0)), np.zeros(2)
    for move in moves.split():
        (seat,) = game.turn(state)
        state = game.play(state, {seat: game.moves.index(move)})
        earned += [game.payoff(state).get(seat, 0) for seat in game.seats]
    return state, earned.tolist()


@pytest.mark.parametrize(
    ("shots", "told", "earned", "over"),
    [
        ("a1 a1", "a1 hit", [0, 0], False),
        ("c1 a1 c2", "c1 hit, c2 sunk", [1, -2], False),
        ("c1 a1 c1 b1 c2", "c1 hit, c1 hit, c2 sunk", [-1, -1], False),  # player_1 has sunk a1, b1
        ("c1 a2 c2 a2 c1", "c1 hit, c2 sunk, c1 sunk", [1, -2], False),  # shot at again, told anew
        ("c1 a2 c2 a2 a1 a2 a2 a2 a3", "c1 hit, c2 sunk, a1 hit, a2 hit, a3 sunk", [6, -12], True),
        ("a2 a3 a2 b3 a2 c3 a2 a1 b2 b1", "a2 hit, a2 hit, a2 hit, a2 hit, b2 water", [-12, 6], True),
        ("b1 a2 b1 a2 b1 a2 b1 a2 b1 a2", "b1 water, b1 water, b1 water, b1 water, b1 water", [0, 0], True),
    ],
)
def test_what_shots_tell_and_earn(shots, told, earned, over) -> None:
    game = Plain(**SMALL)
    state, total = played(game, f"a1> c1v a3> a1v {shots}")
    assert f"Your shots: {told}." in game.view(state, "player_0").text
    assert total == earned
    assert (game.turn(state) == ()) == over


def test_who_is_shot_at_sees_where_and_who_shoots_not_what_lies_there() -> None:
    game = Plain(**SMALL)
    state, _ = played(game, "a1> c1v a3> a1v c1 b2 b2")
    text = game.view(state, "player_0").text
    assert text == (
        "Your ships (capitals: hit; *: shot into the water):\n   a b c\n 1 a a .\n 2 . * .\n 3 b b b\n"
        "What you know of the other's (o: water, x: hit, #: sunk):\n   a b c\n 1 . . x\n 2 . o .\n 3 . . .\n"
        "Your shots: c1 hit, b2 water.\nThe other's shots: b2."
    )
    other, _ = played(game, "a1> c1v a3> b1v c1 b2 c3")  # another ship, another shot into other water
    assert game.view(other, "player_0").text.splitlines()[:5] == text.splitlines()[:5]


def test_ships_leave_room_for_those_to_come() -> None:
    game = Plain(rows=1, columns=6, ship_sizes=(2, 1, 3))
    assert game.options(played(game, "")[0], "player_0").allowed == ["a1>", "b1>", "d1>", "e1>"]
    assert game.options(played(game, "b1> b1>")[0], "player_0").allowed == ["a1>"]
    assert game.options(played(game, "a1> a1>")[0], "player_0").allowed == ["c1>", "f1>"]
    tiled = Plain(rows=3, columns=3, ship_sizes=(3, 3, 3))
    assert (
        len(tiled.options(played(tiled, "")[0], "player_0").allowed) == 4 + 2
    )  # b1v and a2> split the rest in two
    assert tiled.options(played(tiled, "a1> a1v")[0], "player_0").allowed == ["a2>", "a3>"]


def test_shots_may_be_once_only() -> None:
    once = Plain(**SMALL | {"repeated_shots": False})
    state, _ = played(once, "a1> c1v a3> a1v b2 c1")
    assert "b2" not in once.options(state, "player_0").allowed
    assert "b2" in once.options(state, "player_0").names
    again = Plain(**SMALL)
    assert "b2" in again.options(played(again, "a1> c1v a3> a1v b2 c1")[0], "player_0").allowed


@pytest.mark.parametrize(("params", "name", "episodes"), GRIDS)
def test_random_games_agree_with_openspiel_at_every_step(params, name, episodes) -> None:
    """And what a seat to move sees is the same exactly where OpenSpiel's information states are."""
    pyspiel = pytest.importorskip("pyspiel")
    ours, theirs = Plain(**params), pyspiel.load_game(f"battleship({name})")
    rng, pairs = np.random.default_rng(3), set()
    assert len(ours.moves) == theirs.num_distinct_actions()
    assert ours.zero_sum == (theirs.get_type().utility == pyspiel.GameType.Utility.ZERO_SUM)
    assert ours.stake >= -theirs.min_utility()
    for _ in range(episodes):
        state, known, earned = ours.start(rng), theirs.new_initial_state(), np.zeros(2)
        while not known.is_terminal():
            seat = ours.seats[known.current_player()]
            assert ours.turn(state) == (seat,)
            legal = np.flatnonzero(ours.options(state, seat).legal).tolist()
            assert legal == sorted(known.legal_actions())
            view, told = ours.view(state, seat), known.information_state_string(known.current_player())
            pairs.add(((seat, view.features.tobytes()), (seat, told)))
            action = int(rng.choice(legal))
            state = ours.play(state, {seat: action})
            known.apply_action(action)
            earned += [ours.payoff(state).get(s, 0) for s in ours.seats]
        assert ours.turn(state) == ()
        np.testing.assert_allclose(earned, known.returns(), atol=1e-6)
    assert len({left for left, _ in pairs}) == len({right for _, right in pairs}) == len(pairs) > 100


def agree_compiled(plain, game, episodes: int) -> None:
    """Every rule, compiled, does to the positions of random games what it does as ordinary Python."""
    rng, records = np.random.default_rng(4), []
    for _ in range(episodes):
        state = plain.start(rng)
        while turn := plain.turn(state):
            records.append(state.record)
            legal = np.flatnonzero(plain.options(state, turn[0]).legal)
            state = plain.play(state, {turn[0]: int(rng.choice(legal))})
    rows = np.frombuffer(b"".join(records), game.record).copy()
    after, pay, _, mask, who = expand(game, rows)
    seen = np.zeros((2, len(rows), *game.shape), game.dtype)
    for k in range(2):
        kernel(game).look(rows, np.full(len(rows), k), seen[k])
    for i, record in enumerate(records):
        s, here = plain.open(record), np.zeros(len(game.moves), np.uint8)
        assert plain.mover(s) == who[i]
        plain.legal(s, who[i], here)
        assert s.tobytes() == record
        np.testing.assert_array_equal(here, mask[i])
        for k in range(2):
            features = np.zeros(game.shape, game.dtype)
            plain.observe(s, k, features)
            np.testing.assert_array_equal(features, seen[k, i])
        for a in rng.choice(np.flatnonzero(here), 3):
            s, earned = plain.open(record), np.zeros(2, np.float32)
            plain.move(s, int(a), earned)
            assert s.tobytes() == after[i, a].tobytes()
            np.testing.assert_array_equal(earned, pay[i, a])


@pytest.mark.slow
def test_compiled_rules_are_the_plain_ones() -> None:
    agree_compiled(Plain(), ludus.make("battleship"), 1)


@pytest.mark.slow  # every size is compiled by itself
@pytest.mark.parametrize(("params", "name", "episodes"), GRIDS[2:4])
def test_other_grids_keep_the_contract_and_compile_to_the_plain_rules(params, name, episodes) -> None:
    agree_compiled(Plain(**params), Battleship(**params), episodes // 3)
    check_game(Battleship(**params), episodes=3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rows": 11}, "1 to 10 rows and columns, not 11 rows"),
        ({"columns": 0}, "not 10 rows, 0 columns"),
        ({"ship_sizes": ()}, "1 to 26 ships"),
        ({"ship_sizes": (11,)}, "of sizes 1 to 10"),
        ({"rows": 3, "columns": 3, "ship_sizes": (3, 3, 3, 1)}, "which take 10"),
        ({"rows": 2, "columns": 5, "ship_sizes": (4, 3, 3)}, "ships that fit on 2 rows and 5 columns"),
        (
            {"rows": 3, "columns": 3, "ship_sizes": (2, 2, 2, 2), "ship_values": (1, 2)},
            "a value, zero or more",
        ),
        ({"ship_values": (1, 1, 1, 1, -1)}, "a value, zero or more"),
        ({"shots": 0}, "1 to 1000 shots"),
        ({"shots": 101, "repeated_shots": False}, "100 shots at most"),
        ({"loss_multiplier": -1}, "a loss multiplier of zero or more"),
    ],
)
def test_games_that_cannot_be_are_refused(params, message) -> None:
    with pytest.raises(ValueError, match=f"battleship needs .*{message}"):
        Plain(**params)
