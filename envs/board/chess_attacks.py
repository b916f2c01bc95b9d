"""Which squares the pieces of chess attack, on boards of 64 bits.

Square 8 r + c, in row r + 1 and column c from a to h, is bit 8 r + c. A position `s` holds in `boards[0]` one board for
each kind of piece, then one for white's pieces and one for black's; seat 0 is white. Sliding pieces are stopped by the
nearest bit that a ray meets, which is the lowest or the highest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAWN, KNIGHT, BISHOP, ROOK, QUEEN, KING, WHITE, BLACK = range(8)
ONE, NONE, ALL, LAST = np.uint64(1), np.uint64(0), ~np.uint64(0), np.uint64(1 << 63)
# The first four ways lead to higher squares, way w + 4 is opposite to way w, and the odd ones are slanting.
COMPASS = ((0, 1), (1, -1), (1, 0), (1, 1), (0, -1), (-1, 1), (-1, 0), (-1, -1))
LEAPS = ((1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2))


def _seen(square: int, step: tuple[int, int], most: int) -> list[int]:
    """The squares that so many steps in one direction come to."""
    (r, c), (dr, dc) = divmod(square, 8), step
    places = [(r + i * dr, c + i * dc) for i in range(1, most + 1)]
    return [8 * y + x for y, x in places if 0 <= y < 8 and 0 <= x < 8]


def _boards(steps: Sequence[tuple[int, int]], most: int = 1) -> NDArray[np.uint64]:
    """For each square (64,), the board of what these steps come to."""
    reached = ((to for step in steps for to in _seen(square, step, most)) for square in range(64))
    return np.array([sum(1 << to for to in squares) for squares in reached], np.uint64)


RAYS = np.array([_boards([step], 7) for step in COMPASS])  # (8, 64)
KNIGHTS, KINGS = _boards(LEAPS), _boards(COMPASS)
PAWNS = np.array([_boards([(1, -1), (1, 1)]), _boards([(-1, -1), (-1, 1)])])  # what they attack
# What must be free between a king and the rook on its side, on the queen's.
WINGS = np.array([[3 << 5, 7 << 1], [3 << 61, 7 << 57]], np.uint64)
WAYS = np.full((64, 64), -1, np.int8)  # the way from one square to another, if there is one
for _way, _step in enumerate(COMPASS):
    for _square in range(64):
        WAYS[_square, _seen(_square, _step, 7)] = _way
PLACES = np.zeros(67, np.int8)  # powers of two leave different rests when divided by 67
for _square in range(64):
    PLACES[(1 << _square) % 67] = _square


def bit(square: int) -> Any:
    """The board on which one square is marked."""
    return ONE << np.uint64(square)


def place(board: Any) -> int:
    """The lowest square that is marked; there must be one."""
    return int(PLACES[(board & ~(board - ONE)) % np.uint64(67)])


def ray(way: int, square: int, occupied: Any) -> Any:
    """All squares one way, up to the first that is occupied and with it."""
    line = RAYS[way, square]
    met = line & occupied
    if way < 4:
        met |= LAST
        return line & (met ^ (met - ONE))
    met |= met >> np.uint64(1)
    met |= met >> np.uint64(2)
    met |= met >> np.uint64(4)
    met |= met >> np.uint64(8)
    met |= met >> np.uint64(16)
    met |= met >> np.uint64(32)
    return line & ~(met >> ONE)


def straight(square: int, occupied: Any) -> Any:
    """What a rook attacks."""
    return (
        ray(0, square, occupied)
        | ray(2, square, occupied)
        | ray(4, square, occupied)
        | ray(6, square, occupied)
    )


def slanting(square: int, occupied: Any) -> Any:
    """What a bishop attacks."""
    return (
        ray(1, square, occupied)
        | ray(3, square, occupied)
        | ray(5, square, occupied)
        | ray(7, square, occupied)
    )


def between(square: int, other: int) -> Any:
    """The squares between two in one line; none if they are not in line."""
    way = WAYS[square, other]
    return NONE if way < 0 else RAYS[way, square] & RAYS[(way + 4) % 8, other]


def attackers(s: Any, seat: int, square: int, occupied: Any) -> Any:
    """The pieces of the seat's opponent that attack a square, were just these squares occupied."""
    queens = s.boards[0, QUEEN]
    found = KNIGHTS[square] & s.boards[0, KNIGHT] | KINGS[square] & s.boards[0, KING]
    found |= PAWNS[seat, square] & s.boards[0, PAWN]
    found |= straight(square, occupied) & (s.boards[0, ROOK] | queens)
    found |= slanting(square, occupied) & (s.boards[0, BISHOP] | queens)
    return found & s.boards[0, BLACK - seat] & occupied


def pins(s: Any, seat: int, king: int) -> Any:
    """The seat's pieces that alone keep the opponent's queens, rooks or bishops from its king."""
    own, other, queens = s.boards[0, WHITE + seat], s.boards[0, BLACK - seat], s.boards[0, QUEEN]
    found = NONE
    snipers = straight(king, other) & (s.boards[0, ROOK] | queens)
    snipers = (snipers | slanting(king, other) & (s.boards[0, BISHOP] | queens)) & other
    while snipers != NONE:
        held = between(king, place(snipers)) & own
        snipers &= snipers - ONE
        if held != NONE and held & (held - ONE) == NONE:
            found |= held
    return found


def limits(s: Any, seat: int) -> Any:
    """Where the seat's king is, its pinned pieces, and the squares where another piece would end every check."""
    king = place(s.boards[0, KING] & s.boards[0, WHITE + seat])
    checks = attackers(s, seat, king, s.boards[0, WHITE] | s.boards[0, BLACK])
    wanted = ALL
    if checks != NONE:
        wanted = between(king, place(checks)) | checks if checks & (checks - ONE) == NONE else NONE
    return king, pins(s, seat, king), wanted


def reach(s: Any, seat: int, kind: int, square: int, king: int, pinned: Any, wanted: Any) -> Any:
    """Where a piece may go; `limits` gives the last three."""
    own, other = s.boards[0, WHITE + seat], s.boards[0, BLACK - seat]
    if kind == KING:
        return flights(s, seat, square, own, own | other, wanted)
    goals = NONE
    if kind == PAWN:
        goals = pushes(seat, square, own | other) | PAWNS[seat, square] & other
    elif kind == KNIGHT:
        goals = KNIGHTS[square]
    if kind in (BISHOP, QUEEN):
        goals |= slanting(square, own | other)
    if kind in (ROOK, QUEEN):
        goals |= straight(square, own | other)
    goals &= wanted & ~own
    if pinned & bit(square):
        goals &= RAYS[WAYS[king, square], king]
    if kind == PAWN and s.passant and PAWNS[seat, square] & bit(s.passant):
        behind = s.passant - 8 if seat == 0 else s.passant + 8
        after = (own | other) ^ bit(square) ^ bit(behind) ^ bit(s.passant)
        if attackers(s, seat, king, after) == NONE:
            goals |= bit(s.passant)
    return goals


def pushes(seat: int, square: int, occupied: Any) -> Any:
    """One or two squares ahead of a pawn."""
    ahead, first = (8, 1) if seat == 0 else (-8, 6)
    goals = bit(square + ahead) & ~occupied
    if goals != NONE and square // 8 == first:
        goals |= bit(square + 2 * ahead) & ~occupied
    return goals


def flights(s: Any, seat: int, square: int, own: Any, occupied: Any, wanted: Any) -> Any:
    """Where a king may go: squares that are not attacked, even through it, and two squares by castling."""
    goals, ahead, without = NONE, KINGS[square] & ~own, occupied ^ bit(square)
    while ahead != NONE:
        goal = place(ahead)
        ahead &= ahead - ONE
        if attackers(s, seat, goal, without) == NONE:
            goals |= bit(goal)
    rights = s.castling >> 2 * seat & 3
    if rights == 0 or wanted != ALL:
        return goals
    for wing in range(2):
        step = 1 - 2 * wing
        clear = occupied & WINGS[seat, wing] == NONE and goals & bit(square + step) != NONE
        if rights >> wing & 1 and clear and attackers(s, seat, square + 2 * step, without) == NONE:
            goals |= bit(square + 2 * step)
    return goals


def stuck(s: Any, seat: int, king: int, pinned: Any, wanted: Any) -> bool:
    """Whether the seat has no move."""
    for kind in range(6):
        pieces = s.boards[0, kind] & s.boards[0, WHITE + seat]
        while pieces != NONE:
            if reach(s, seat, kind, place(pieces), king, pinned, wanted) != NONE:
                return False
            pieces &= pieces - ONE
    return True
