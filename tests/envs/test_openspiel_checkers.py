"""Checkers through our rules and OpenSpiel's: everything equal at every step."""

import numpy as np
import pytest

import ludus
from ludus.core.position import Position
from ludus.envs.board.checkers import IDLE, look

pyspiel = pytest.importorskip("pyspiel")


def numbered(game, action: int) -> int:
    """Our number of OpenSpiel's action: a square of all, one of four ways, and whether something is taken."""
    square, way = action // 8, action // 2 % 4
    return 4 * (square // game.columns * (game.columns // 2) + square % game.columns // 2) + way


@pytest.mark.parametrize(("rows", "columns", "episodes"), [(8, 8, 40), (7, 6, 60), (8, 4, 200)])
def test_random_games_agree_at_every_step(rows, columns, episodes) -> None:
    ours = ludus.make("checkers", rows=rows, columns=columns)
    theirs, rng = pyspiel.load_game(f"checkers(rows={rows},columns={columns})"), np.random.default_rng(4)
    seen = set()
    for _ in range(episodes):
        seen |= play_both(ours, theirs.new_initial_state(), rng)
    assert seen >= {"taken twice", "a king took", "won", "lost"}


def play_both(ours, theirs, rng) -> set[str]:
    state, paid, seen, last = ours.start(rng), np.zeros(2), set(), None
    while not theirs.is_terminal():
        k = theirs.current_player()
        assert ours.turn(state) == (ours.seats[k],)
        known = {numbered(ours, action): action for action in theirs.legal_actions()}
        legal = np.flatnonzero(ours.options(state, ours.seats[k]).legal).tolist()
        assert legal == sorted(known)
        assert board(ours, state) == str(theirs).split()[: ours.rows]
        move = int(rng.choice(legal))
        if ours.open(state.record).taking and k == last:
            seen.add("taken twice")
        if ours.open(state.record).taking and is_king(ours, state, known[move] // 8):
            seen.add("a king took")
        last = k
        state = ours.play(state, {ours.seats[k]: move})
        paid += [ours.payoff(state).get(seat, 0.0) for seat in ours.seats]
        theirs.apply_action(known[move])
    assert ours.turn(state) == ()
    assert paid.tolist() == theirs.returns()
    return seen | {("drawn", "won", "lost")[int(paid[0])]}


def is_king(game, state, square: int) -> bool:
    return board(game, state)[square // game.columns][1 + square % game.columns] in "8*"


def board(game, state) -> list[str]:
    """The rows of the board as OpenSpiel prints them."""
    rows = game.view(state, game.seats[0]).text.split("\n")[1:-1]
    return [row.replace(" ", "").translate(str.maketrans("oOxX", "o8+*")) for row in rows]


def placed(game, pieces, *, kings="", turn=0, idle=0):
    """A position with pieces of player_0 and player_1 on named squares."""
    bit = {game._name(r, c): np.uint64(1 << (8 * r + c)) for r, c in game.squares}
    s = game.open(game.first.tobytes())
    for k in range(2):
        s.pieces[k] = sum((bit[name] for name in pieces[k].split()), np.uint64(0))
    s.kings, s.turn, s.idle = sum((bit[name] for name in kings.split()), np.uint64(0)), turn, idle
    look(s, s.pieces[turn])
    return Position(s.tobytes(), (0.0, 0.0))


def allowed(game, state) -> set[str]:
    (seat,) = game.turn(state)
    return set(game.options(state, seat).allowed)


def played(game, state, name: str):
    (seat,) = game.turn(state)
    return game.play(state, {seat: game.moves.index(name)})


def test_a_chain_of_jumps_is_one_turn_of_single_moves() -> None:
    game = ludus.make("checkers")
    state = placed(game, ("a1 g1", "b2 d4 h8"))
    assert allowed(game, state) == {"a1ne"}  # taking is compulsory
    state = played(game, state, "a1ne")
    assert game.turn(state) == ("player_0",)
    assert allowed(game, state) == {"c3ne"}  # and by the same piece
    state = played(game, state, "c3ne")
    assert game.turn(state) == ("player_1",)


def test_a_new_king_ends_the_turn_though_it_could_go_on_taking() -> None:
    game = ludus.make("checkers")
    state = played(game, placed(game, ("b6", "c7 e7 h8")), "b6ne")
    assert game.turn(state) == ("player_1",)
    assert played(game, state, "h8sw").record  # and nobody must take
    king = placed(game, ("d8", "e7 a7"), kings="d8")
    assert allowed(game, king) == {"d8se"}


def test_games_end_by_taking_all_by_blocking_and_by_idling() -> None:
    game = ludus.make("checkers")
    last = played(game, placed(game, ("a1", "b2")), "a1ne")
    assert (game.turn(last), game.payoff(last)) == ((), {"player_0": 1.0, "player_1": -1.0})
    blocked = played(game, placed(game, ("c1 b2 d4", "a3")), "d4ne")  # a3 may not move down past b2 and c1
    assert (game.turn(blocked), game.payoff(blocked)) == ((), {"player_0": 1.0, "player_1": -1.0})
    drawn = played(game, placed(game, ("c1", "h8"), idle=IDLE - 1), "c1nw")
    assert (game.turn(drawn), game.payoff(drawn)) == ((), {})


@pytest.mark.parametrize("given", [{"rows": 6}, {"columns": 5}, {"columns": 10}])
def test_boards_that_cannot_be_are_refused(given) -> None:
    with pytest.raises(ValueError, match="checkers needs 7 or 8 rows"):
        ludus.make("checkers", **given)
