"""Chess, its pieces held as bits.

Features are planes of the board, row 1 first for both players. For each of the last eight positions, latest first:
own pawns, knights, bishops, rooks, queens and king, the other's, whether the position is new, whether it was there
before. Then whether one plays black; how many moves were made; own right to castle on the queen's side and on the
king's, the other's; for how many moves nothing was taken and no pawn moved. In the planes of these two numbers, row r
holds bit r in columns a to d, and bit 8 + r in columns e to h.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.envs.board.chess_attacks import (
    ALL,
    BISHOP,
    BLACK,
    KING,
    KNIGHT,
    KNIGHTS,
    NONE,
    ONE,
    PAWN,
    PAWNS,
    QUEEN,
    RAYS,
    ROOK,
    WHITE,
    bit,
    limits,
    place,
    reach,
    stuck,
)

HISTORY, EMPTY = 8, 6  # positions that are shown; no kind of piece
PATIENCE = 100  # moves without a capture or a pawn's move that end the game
LETTERS, SQUARES = "pnbrqk", tuple(f"{'abcdefgh'[c]}{r + 1}" for r in range(8) for c in range(8))
LIGHT = np.uint64(0x55AA55AA55AA55AA)
# A move is a pair of squares, one a queen's or a knight's move from the other, or a pawn's promotion.
PAIRS = [(a, b) for a in range(64) for b in range(64) if int(RAYS[:, a].sum() | KNIGHTS[a]) >> b & 1]
FILES = [(a, b) for a in range(8) for b in range(8) if abs(a - b) < 2]
LIFTS = [(48 + a, 56 + b) for a, b in FILES] + [(8 + a, b) for a, b in FILES]
PLAIN = len(PAIRS)
STARTS, GOALS = np.array(PAIRS + [pair for pair in LIFTS for _ in range(4)], np.int16).T.copy()
NUMBERS = np.full((64, 64), -1, np.int16)  # which move goes from one square to another
NUMBERS[STARTS[:PLAIN], GOALS[:PLAIN]] = np.arange(PLAIN)
KEPT = np.full(64, 15, np.int8)  # rights to castle that remain when a piece leaves a square, or comes to it
KEPT[[4, 7, 0, 60, 63, 56]] = 15 - np.array([3, 1, 2, 12, 4, 8])
_draw = np.random.default_rng(1970)
# Zobrist's keys: 6 kinds of each colour, rights to castle, squares of pawns that may be taken in passing.
KEYS = _draw.integers(1 << 64, size=(2, 6, 64), dtype=np.uint64)
RIGHT_KEYS, PASSING_KEYS = _draw.integers(1 << 64, size=(2, 64), dtype=np.uint64)
PASSING_KEYS[0] = 0


@register("chess")
class Chess(ArrayGame):
    """Chess. Moves are written as in UCI: from square to square, as e2e4, with the piece at a promotion, as e7e8q.

    player_0 plays white and moves first, player_1 plays black. Castling is a move of the king by two squares, as
    e1g1; taking a pawn in passing is a move to the square that it passed. Checkmate wins. The game is drawn by
    stalemate; when a position comes for the third time, with the same rights to castle and to take in passing; when
    50 moves of each player took nothing and moved no pawn; and when neither can be mated, because there are only
    kings and one knight, or only kings and bishops on squares of one shade.

    Source: the rules are those of OpenSpiel's chess. The features hold those of AlphaZero (Silver et al. 2017, arXiv
    1712.01815) and Pgx. Repetitions are found by hashes of positions (Zobrist 1970).
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    view_is_complete = False  # a position of more than eight moves ago counts as a repetition
    compiled = True
    moves = tuple(
        SQUARES[a] + SQUARES[b] + ("qrbn"[i % 4] if i >= PLAIN else "")
        for i, (a, b) in enumerate(zip(STARTS.tolist(), GOALS.tolist(), strict=True))
    )
    shape = (14 * HISTORY + 7, 8, 8)
    # The boards of the last positions, latest first: of each kind of piece, of white, of black. How often each was
    # there before. The hashes of all positions since something was taken or a pawn moved, `clock` moves ago.
    record = np.dtype(
        [("boards", np.uint64, (HISTORY, 8)), ("hashes", np.uint64, PATIENCE + 1), ("repeats", np.int8, HISTORY),
         ("ply", np.int16), ("clock", np.int8), ("castling", np.int8), ("passant", np.int8), ("over", np.int8)]
    )  # fmt: skip

    def setup(self, s: Any) -> None:
        for c, kind in enumerate((ROOK, KNIGHT, BISHOP, QUEEN, KING, BISHOP, KNIGHT, ROOK)):
            for seat, row in ((0, 0), (1, 7)):
                toggle(s, seat, kind, 8 * row + c)
                toggle(s, seat, PAWN, 8 * (1 + 5 * seat) + c)
        s.castling = 15

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.ply % 2

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        king, pinned, wanted = limits(s, seat)
        for kind in range(6):
            pieces = s.boards[0, kind] & s.boards[0, WHITE + seat]
            while pieces != NONE:
                square = place(pieces)
                pieces &= pieces - ONE
                goals = reach(s, seat, kind, square, king, pinned, wanted)
                while goals != NONE:
                    goal = place(goals)
                    goals &= goals - ONE
                    if kind == PAWN and (goal < 8 or goal >= 56):
                        promotion = PLAIN + 88 * seat + 4 * (2 * (square % 8) + goal % 8)
                        for a in range(promotion, promotion + 4):
                            out[a] = 1
                    else:
                        out[NUMBERS[square, goal]] = 1

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        seat, key = s.ply % 2, s.hashes[s.clock]
        key ^= RIGHT_KEYS[s.castling] ^ PASSING_KEYS[s.passant]
        remember(s)
        key ^= carry(s, seat, a)
        key ^= RIGHT_KEYS[s.castling] ^ PASSING_KEYS[s.passant]
        other = 1 - seat
        quiet = (
            s.boards[0, PAWN] == s.boards[1, PAWN]
            and s.boards[0, WHITE + other] == s.boards[1, WHITE + other]
        )
        if not quiet:
            for i in range(s.clock + 1):
                s.hashes[i] = NONE
        s.clock = s.clock + 1 if quiet else 0
        s.hashes[s.clock] = key
        for i in range(s.clock - 4, -1, -2):
            s.repeats[0] += s.hashes[i] == key
        s.ply += 1
        king, pinned, wanted = limits(s, other)
        if stuck(s, other, king, pinned, wanted):
            s.over = 1
            if wanted != ALL:
                pay[seat] += 1
                pay[other] -= 1
        elif s.clock == PATIENCE or s.repeats[0] == 2 or barren(s):
            s.over = 1

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        for t in range(HISTORY):
            own, other = s.boards[t, WHITE + seat], s.boards[t, BLACK - seat]
            if own == NONE:  # the game had not begun
                break
            for kind in range(6):
                show(out, 14 * t + kind, s.boards[t, kind] & own)
                show(out, 14 * t + 6 + kind, s.boards[t, kind] & other)
            out[14 * t + 12 + (s.repeats[t] > 0), :, :] = 1
        out[14 * HISTORY, :, :] = seat
        count(out, 14 * HISTORY + 1, s.ply)
        for k in range(2):
            rights = s.castling >> 2 * (seat if k == 0 else 1 - seat)
            out[14 * HISTORY + 2 + 2 * k, :, :] = rights >> 1 & 1
            out[14 * HISTORY + 3 + 2 * k, :, :] = rights & 1
        count(out, 14 * HISTORY + 6, s.clock)

    def describe(self, s: Any, seat: int) -> str:
        drawn = squares(s.boards[0])
        rows = [f"{r + 1} {' '.join(drawn[8 * r : 8 * r + 8])}" for r in reversed(range(8))]
        rights = "".join(letter for k, letter in enumerate("KQkq") if s.castling >> k & 1) or "-"
        passant = SQUARES[s.passant] if s.passant else "-"
        now, *before = [
            placement(boards) + (" (was there before)" if repeated else "")
            for boards, repeated in zip(s.boards, s.repeats, strict=True)
            if boards.any()
        ]
        board, _, again = now.partition(" ")
        fen = f"{board} {'wb'[s.ply % 2]} {rights} {passant} {s.clock} {s.ply // 2 + 1}"
        told = ["You play white, the capital letters.", "You play black, the small letters."][seat : seat + 1]
        told += [*rows, "  a b c d e f g h", f"FEN: {fen} {again}".rstrip()]
        return "\n".join([*told, "Positions before, latest first:", *before] if before else told)


def toggle(s: Any, seat: int, kind: int, square: int) -> Any:
    """Put a piece on a free square, or take it away; what that does to the hash."""
    s.boards[0, kind] ^= bit(square)
    s.boards[0, WHITE + seat] ^= bit(square)
    return KEYS[seat, kind, square]


def remember(s: Any) -> None:
    """Make room for a new position, so far the same as the last."""
    for t in range(HISTORY - 1, 0, -1):
        for k in range(8):
            s.boards[t, k] = s.boards[t - 1, k]
        s.repeats[t] = s.repeats[t - 1]
    s.repeats[0] = 0


def kind_on(s: Any, square: int) -> int:
    """The kind of the piece on a square, or EMPTY."""
    for kind in range(6):
        if s.boards[0, kind] & bit(square):
            return kind
    return EMPTY


def carry(s: Any, seat: int, a: int) -> Any:
    """Move the pieces; what that does to the hash."""
    start, goal = int(STARTS[a]), int(GOALS[a])
    kind, taken = kind_on(s, start), kind_on(s, goal)
    key = toggle(s, seat, kind, start)
    if taken != EMPTY:
        key ^= toggle(s, 1 - seat, taken, goal)
    elif kind == PAWN and s.passant and goal == s.passant:
        key ^= toggle(s, 1 - seat, PAWN, goal - 8 if seat == 0 else goal + 8)
    elif kind == KING and abs(goal - start) == 2:
        corner = start + 3 if goal > start else start - 4
        key ^= toggle(s, seat, ROOK, corner) ^ toggle(s, seat, ROOK, (start + goal) // 2)
    key ^= toggle(s, seat, kind if a < PLAIN else QUEEN - a % 4, goal)
    s.castling &= KEPT[start] & KEPT[goal]
    s.passant, passed = 0, (start + goal) // 2
    takers = PAWNS[seat, passed] & s.boards[0, PAWN] & s.boards[0, BLACK - seat]
    if kind == PAWN and abs(goal - start) == 16 and takers != NONE:
        s.passant = passed
    return key


def barren(s: Any) -> bool:
    """Whether neither can be mated: there are only kings, with one knight, or with bishops on squares of one shade."""
    if s.boards[0, PAWN] | s.boards[0, ROOK] | s.boards[0, QUEEN] != NONE:
        return False
    knights, bishops = s.boards[0, KNIGHT], s.boards[0, BISHOP]
    if knights != NONE:
        return bool(bishops == NONE and knights & (knights - ONE) == NONE)
    return bool(bishops & LIGHT == NONE or bishops & ~LIGHT == NONE)


def show(out: Any, plane: int, board: Any) -> None:
    """Mark a board's squares on a plane."""
    while board != NONE:
        square = place(board)
        board &= board - ONE
        out[plane, square // 8, square % 8] = 1


def count(out: Any, plane: int, number: int) -> None:
    """Write a number of up to sixteen bits over a plane."""
    for r in range(8):
        for c in range(8):
            out[plane, r, c] = number >> (r + 8 * (c // 4)) & 1


def squares(boards: Any) -> list[str]:
    """The letters of the pieces on all squares, white's as capitals, and dots on free ones."""
    drawn = ["."] * 64
    for kind, letter in enumerate(LETTERS):
        for square in range(64):
            if int(boards[kind]) >> square & 1:
                drawn[square] = letter.upper() if int(boards[WHITE]) >> square & 1 else letter
    return drawn


def placement(boards: Any) -> str:
    """The first field of FEN: the rows of the board from the last to the first, free squares counted."""
    drawn = "".join(squares(boards))
    rows = "/".join(drawn[8 * r : 8 * r + 8] for r in reversed(range(8)))
    return re.sub(r"\.+", lambda free: str(len(free[0])), rows)
