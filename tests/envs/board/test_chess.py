"""Chess: moves counted in positions whose counts are known, and how games end."""

import numpy as np
import pytest

import ludus
from ludus.core.compiled import kernel, opened
from ludus.core.position import Position
from ludus.envs.board.chess import LETTERS, SQUARES, toggle

# Counts by the Chess Programming Wiki (Perft Results), whose positions these are.
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
KIWIPETE = "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1"
COUNTS = {
    START: (20, 400, 8902, 197281, 4865609),
    KIWIPETE: (48, 2039, 97862, 4085603),
    "8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1": (14, 191, 2812, 43238, 674624),
    "r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1": (6, 264, 9467, 422333),
    "rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8": (44, 1486, 62379, 2103487),
    "r4rk1/1pp1qppp/p1np1n2/2b1p1B1/2B1P1b1/P1NP1N2/1PP1QPPP/R4RK1 w - - 0 10": (46, 2079, 89890, 3894594),
}
QUICK = 200_000


def set_up(game, fen: str) -> bytes:
    """The record of a position written in FEN."""
    s = game.open(bytes(game.record.itemsize))
    board, turn, rights, passant, clock, number = fen.split()
    for r, row in enumerate(reversed(board.split("/"))):
        for c, letter in enumerate("".join("." * int(x) if x.isdigit() else x for x in row)):
            if letter != ".":
                toggle(s, int(letter.islower()), LETTERS.index(letter.lower()), 8 * r + c)
    s.castling = sum(1 << "KQkq".index(right) for right in rights if right != "-")
    s.passant = 0 if passant == "-" else SQUARES.index(passant)
    s.clock, s.ply = int(clock), 2 * (int(number) - 1) + (turn == "b")
    return s.tobytes()


class Player:
    """Plays moves by name from a position, legal ones only, whether or not the game is over."""

    def __init__(self, fen: str = START) -> None:
        self.game = ludus.make("chess")
        self.state = Position(set_up(self.game, fen), (0.0, 0.0))

    def __call__(self, moves: str) -> "Player":
        for move in moves.split():
            (seat,) = self.game.turn(self.state)
            self.state = self.game.play(self.state, {seat: self.game.moves.index(move)})
        return self

    @property
    def legal(self) -> list[str]:
        (seat,) = self.game.turn(self.state)
        return self.game.options(self.state, seat).allowed

    @property
    def over(self) -> bool:
        return not self.game.turn(self.state)

    @property
    def paid(self) -> dict[str, float]:
        return dict(self.game.payoff(self.state))


def ways(game, states: np.ndarray, depth: int) -> int:
    """How many ways there are to play so many moves (perft)."""
    loops, mask = kernel(game), np.zeros(len(game.moves), np.uint8)
    loops.solo_legal(opened(loops, states), int(states["ply"][0]) % 2, mask)
    if depth == 1:
        return int(mask.sum())
    total = 0
    for a in np.flatnonzero(mask).tolist():
        after = states.copy()
        loops.solo_play(
            opened(loops, after),
            a,
            np.zeros(0, np.int32),
            np.zeros(2, np.float32),
            np.zeros(mask.shape, np.uint8),
            np.zeros(0),
        )
        total += ways(game, after, depth - 1)
    return total


@pytest.mark.parametrize(("fen", "depth", "known"), [
    pytest.param(fen, depth, known, marks=pytest.mark.slow if known > QUICK else ())
    for fen, counts in COUNTS.items() for depth, known in enumerate(counts, 1)
])  # fmt: skip
def test_moves_are_as_many_as_published(fen, depth, known) -> None:
    game = ludus.make("chess")
    assert ways(game, np.frombuffer(bytearray(set_up(game, fen)), game.record), depth) == known


def test_moves_are_those_that_uci_can_name() -> None:
    moves = ludus.make("chess").moves
    assert len(moves) == len(set(moves)) == 1968
    assert sum(len(move) == 5 for move in moves) == 176
    assert {"e2e4", "g1f3", "a1h8", "e1c1", "e7e8", "e7e8q", "h2g1n"} <= set(moves)
    assert not {"a1b4", "e6e8q", "e2e4q", "a7c8q"} & set(moves)


def test_mate_wins() -> None:
    assert Player()("f2f3 e7e5 g2g4 d8h4").paid == {"player_0": -1.0, "player_1": 1.0}
    game = Player()("e2e4 e7e5 d1h5 b8c6 f1c4 g8f6 h5f7")
    assert game.over
    assert game.paid == {"player_0": 1.0, "player_1": -1.0}


@pytest.mark.parametrize(("fen", "move"), [
    ("7k/8/5KQ1/8/8/8/8/8 w - - 0 1", "g6f7"),  # stalemate
    ("7k/8/5K2/8/8/8/8/1n4Q1 b - - 0 1", "b1a3"),  # none: two squares are left
    ("8/8/4k3/8/8/3nK3/8/8 w - - 0 1", "e3d3"),  # kings alone
    ("8/8/4k3/8/8/3nK3/8/1N6 w - - 0 1", "e3d3"),  # and a knight
    ("8/8/4kb2/8/8/3nK3/8/B7 w - - 0 1", "e3d3"),  # and bishops on dark squares
    ("8/8/4k3/8/8/4K3/7R/8 w - - 99 80", "h2h3"),  # fifty moves
])  # fmt: skip
def test_draws(fen, move) -> None:
    game = Player(fen)(move)
    assert game.over == (move != "b1a3")
    assert game.paid == {}


@pytest.mark.parametrize(("fen", "move"), [
    ("8/8/4kb2/8/8/3nK3/8/1B6 w - - 0 1", "e3d3"),  # bishops on both shades
    ("8/8/4k3/8/8/3nK3/8/BN6 w - - 0 1", "e3d3"),  # a bishop and a knight
    ("8/8/4kn2/8/8/3nK3/8/1N6 w - - 0 1", "e3d3"),  # two knights
    ("8/8/4k3/8/8/4K3/7R/8 w - - 98 80", "h2h3"),
    ("8/8/4k3/8/8/4K3/6pR/8 w - - 99 80", "h2g2"),  # something is taken
])  # fmt: skip
def test_these_go_on(fen, move) -> None:
    assert not Player(fen)(move).over


def test_mate_comes_before_the_fifty_moves() -> None:
    assert Player("7k/8/6K1/8/8/8/8/R7 w - - 99 80")("a1a8").paid == {"player_0": 1.0, "player_1": -1.0}


def test_a_position_that_comes_for_the_third_time_is_drawn() -> None:
    game = Player()("g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1")
    assert not game.over
    assert "(was there before)" in game.game.view(game.state, "player_0").text
    assert game("f6g8").over
    assert game.paid == {}


def test_rights_tell_positions_apart() -> None:
    # The kings' first steps lose the rights to castle: the position with both kings ahead is the first to come back.
    game = Player("r3k2r/p7/8/8/8/8/P7/R3K2R w KQkq - 0 1")(2 * "e1e2 e8e7 e2e1 e7e8 " + "e1e2")
    assert not game.over
    assert game("e8e7").over
    # After a pawn's double step the other's pawn may take it in passing; one move later it may not.
    game = Player("4k3/8/8/8/3p4/8/4P2R/4K3 w - - 0 1")("e2e4" + 2 * " e8e7 h2h3 e7e8 h3h2")
    assert not game.over
    assert game("e8e7").over


def test_castling() -> None:
    board = "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1"
    assert {"e1g1", "e1c1"} <= set(Player(board).legal)
    assert not {"e1g1", "e1c1"} & set(Player(board.replace("KQkq", "kq")).legal)
    assert {"e8g8", "e8c8"} & set(Player(board)("h1h8").legal) == set()  # in check
    assert {"e8g8", "e8c8"} & set(Player(board)("h1f1").legal) == {"e8c8"}  # over an attacked square
    assert {"e8g8", "e8c8"} & set(Player(board)("a1b1").legal) == {
        "e8g8",
        "e8c8",
    }  # the rook's way does not matter
    text = Player(board)("e1c1 e8g8").game.view(Player(board)("e1c1 e8g8").state, "player_0").text
    assert "r4rk1/8/8/8/8/8/8/2KR3R w - - 2 2" in text


def test_taking_in_passing() -> None:
    game = Player("4k3/3p4/8/4P3/8/8/8/4K3 b - - 0 1")("d7d5")
    assert "e5d6" in game.legal
    assert "4k3/8/3P4/8/8/8/8/4K3 b - - 0 2" in game("e5d6").game.view(game.state, "player_1").text
    assert "e5d6" not in Player("8/3p4/8/K3P2r/8/8/8/4k3 b - - 0 1")("d7d5").legal  # both pawns leave the row


@pytest.mark.parametrize(("fen", "move", "after"), [
    ("8/8/8/8/8/2k5/p6K/8 b - - 3 9", "a2a1b", "8/8/8/8/8/2k5/7K/b7"),  # square 0, which is not one passed
    ("1r2k3/P7/8/8/8/8/8/4K3 w - - 0 1", "a7b8n", "1N2k3/8/8/8/8/8/8/4K3"),
    ("4k3/8/8/8/8/8/7p/4K3 b - - 0 1", "h2h1q", "4k3/8/8/8/8/8/8/4K2q"),
])  # fmt: skip
def test_promotions(fen, move, after) -> None:
    game = Player(fen)
    assert {move[:4] + kind for kind in "qrbn"} <= set(game.legal)
    assert move[:4] not in game.legal
    game(move)
    assert f"FEN: {after} " in game.game.view(game.state, "player_0").text


@pytest.mark.parametrize("episodes", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_random_games_are_openspiels(episodes) -> None:
    """At every step the same moves and the same position in FEN, where player_0 is OpenSpiel's player 1."""
    pyspiel = pytest.importorskip("pyspiel")
    theirs, rng = pyspiel.load_game("chess"), np.random.default_rng(6)
    for _ in range(episodes):
        ours, known = Player(), theirs.new_initial_state()
        while not known.is_terminal():
            (seat,) = ours.game.turn(ours.state)
            assert seat == ours.game.seats[1 - known.current_player()]
            names = {known.parse_move_to_action(move): move for move in ours.legal}
            assert sorted(names) == known.legal_actions()
            assert f"FEN: {known}" in ours.game.view(ours.state, seat).text
            action = int(rng.choice(known.legal_actions()))
            known.apply_action(action)
            ours(names[action])
        assert ours.over
        assert [ours.paid.get(seat, 0.0) for seat in ours.game.seats] == known.returns()[::-1]


def test_what_is_seen() -> None:
    game = Player()("e2e4 c7c5")
    seen = game.game.view(game.state, "player_0").features
    assert seen.shape == (119, 8, 8)
    assert seen[0].sum() == seen[6].sum() == 8
    assert (seen[0, 3, 4], seen[6, 4, 2], seen[14 + 6, 6, 2], seen[28, 1, 4]) == (1, 1, 1, 1)
    assert seen[12].all()
    assert seen[40].all()
    assert not seen[42:112].any()  # the game had not begun
    assert not seen[112].any()
    assert [seen[113, r, c] for r, c in ((0, 0), (1, 0), (2, 7))] == [0, 1, 0]  # two moves
    assert seen[114:118].all()
    assert game.game.view(game.state, "player_1").features[112].all()
