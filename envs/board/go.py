"""Go, on boards of five by five to nineteen by nineteen points, with strings and their liberties kept from move to move."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register
from ludus.core.symmetry import Symmetry, of_board, rotations

LARGEST = 19
LETTERS = "abcdefghjklmnopqrst"  # of columns: GTP leaves out i
SHOWN = 8  # positions that are seen: the present one and those before it


def neighbours() -> Any:
    """Of every size of board and point of it the four points beside it, or -1: (20, 361, 4) int16."""
    near = np.full((LARGEST + 1, LARGEST * LARGEST, 4), -1, np.int16)
    for size in range(5, LARGEST + 1):
        for p in range(size * size):
            r, c = divmod(p, size)
            for k, (row, column) in enumerate(((r - 1, c), (r, c - 1), (r, c + 1), (r + 1, c))):
                if 0 <= row < size and 0 <= column < size:
                    near[size, p, k] = row * size + column
    return near


NEAR = neighbours()
# A position's code is the exclusive or of its stones' codes (Zobrist 1970). Positions with equal codes are taken for
# equal: of the 722 positions that a game of nineteen by nineteen has at most, two differ so with odds of one to 10^14.
CODES = np.random.SeedSequence(19).generate_state(2 * LARGEST**2, np.uint64).reshape(2, LARGEST**2)
NONE = np.uint64(0)


@register("go")
class Go(ArrayGame):
    """Go, on a board of points named a1 and so on: letters are columns, without i, numbers rows from the bottom.

    player_0 plays x, black, and moves first, player_1 plays o, white. In turn each puts a stone on a free point or
    passes. Stones of one colour that touch, level or upright, form a string; the free points that it touches are
    its liberties. A string of the other's without a liberty is taken off the board. A stone may not be put where its
    own string would then have no liberty, nor so that a position comes about that was on the board before, whoever
    is to move. Two passes in a row end the game, and so does the limit of moves. Who owns more points wins: those
    with own stones, and free ones from which one comes along free points to own stones only. White gets komi points
    more. No stones are taken off as dead. A view shows the last eight positions and where no stone may be put now;
    it shows neither older positions nor how many moves are left.

    Source: area scoring and positional superko as Tromp and Taylor wrote them down, but without suicide. OpenSpiel's
    go ends in a draw where a position comes again, Pgx's is won by whoever was to move then: here such moves are not
    legal. Everything else, the limit too, is theirs. Strings count liberties once for each stone that touches them,
    with the sums of their numbers and squares, which tell a last liberty from several (as in Pgx and OpenSpiel).

    Args:
        size: rows and columns, 5 to 19.
        komi: points that white gets for moving second. A whole number allows draws.
        limit: moves after which the game is counted as it stands; by default twice as many as there are points.
            Players who fill no eyes end by passing long before it, and uniformly random ones mostly do.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    perfect_information = True
    version = 1
    view_is_complete = False  # what was on the board more than eight moves ago may not come about again
    compiled: ClassVar[bool] = True

    def __init__(self, size: int = 9, komi: float = 7.5, limit: int | None = None) -> None:
        if not 5 <= size <= LARGEST:
            raise ValueError(f"go needs 5 to 19 rows and columns, not {size}")
        points = size * size
        if not abs(komi) <= points:
            raise ValueError(
                f"go needs a komi of at most {points} points, as many as the board has, not {komi}"
            )
        if limit is not None and not 2 <= limit <= 16384:
            raise ValueError(f"go needs a limit of 2 to 16384 moves, not {limit}")
        self.size, self.komi, self.limit = size, komi, 2 * points if limit is None else limit
        places = 1 << (3 * self.limit // 2).bit_length()  # a third of them at least stay free
        self.record = np.dtype(
            [
                ("code", np.uint64),
                ("komi", np.float64),
                ("codes", np.uint64, points),  # of strings; this and what follows is kept at a string's head
                ("squares", np.int32, points),  # of the numbers of its liberties, counted for each stone
                ("total", np.int32, points),
                ("breaths", np.int16, points),  # how many they are
                ("stones", np.int16, points),
                ("head", np.int16, points),  # of a stone's string: one of its stones
                ("link", np.int16, points),  # to the string's next stone, in a ring
                ("known", np.uint64, places),  # codes of all positions, hashed
                ("limit", np.int16),
                ("side", np.int8),  # rows, and columns
                ("count", np.int16),
                ("passes", np.int8),
                ("over", np.int8),
                ("board", np.int8, points),  # 0, or seat + 1
                ("beside", np.int8, (2, points)),  # stones of a seat that touch a point; edges count for both
                ("last", np.int8, (2, points)),  # of these, those of strings with no other liberty
                ("lost", np.int8, (2, points)),  # whether a stone of a seat was ever taken here
                ("free", np.uint8, points),  # where the mover may put a stone
                ("boards", np.uint8, (SHOWN, 2, points)),  # stones of both; after move i at i % 8
            ]
        )
        self.moves = (*(f"{LETTERS[c]}{r + 1}" for r in range(size) for c in range(size)), "pass")
        # Planes: own stones and the other's, now and after each of the seven moves before; all 1 for player_0;
        # free points where the mover may put no stone; all 1 if the last move was a pass.
        self.shape = (2 * SHOWN + 3, size, size)

    def setup(self, s: Any) -> None:
        s.komi, s.limit, s.side = self.komi, self.limit, self.size
        s.beside[:] = (NEAR[self.size, : self.size**2] < 0).sum(1)
        s.free[:] = 1

    def symmetries(self) -> list[Symmetry]:
        return [of_board(self.shape, grid, further=1) for grid in rotations(self.shape[1])]

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.count % 2

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        points = s.board.shape[0]
        for p in range(points):
            out[p] = s.free[p]
        out[points] = 1

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        points, seat = s.board.shape[0], s.count % 2
        before, now = s.count % SHOWN, (s.count + 1) % SHOWN
        s.count += 1
        for k in range(2):
            for p in range(points):
                s.boards[now, k, p] = s.boards[before, k, p]
        if a == points:
            s.passes += 1
        else:
            s.passes = 0
            put(s, a, seat, now)
            remember(s)
        if s.passes < 2 and s.count < s.limit:
            allow(s, 1 - seat)
            return
        s.over = 1
        lead = area(s) - s.komi
        won = int(lead > 0) - int(lead < 0)
        pay[0] += won
        pay[1] -= won

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        points = s.board.shape[0]
        planes = out.reshape((2 * SHOWN + 3, points))
        for t in range(SHOWN):
            then = (s.count - t) % SHOWN
            for p in range(points):
                planes[2 * t, p] = s.boards[then, seat, p]
            for p in range(points):
                planes[2 * t + 1, p] = s.boards[then, 1 - seat, p]
        if seat == 0:
            out[2 * SHOWN, :, :] = 1
        if seat == s.count % 2 and not s.over:
            for p in range(points):
                planes[2 * SHOWN + 1, p] = s.board[p] == 0 and s.free[p] == 0
        if s.passes:
            out[2 * SHOWN + 2, :, :] = 1

    def describe(self, s: Any, seat: int) -> str:
        asked = seat == s.count % 2 and not s.over
        marks = np.where((s.board + s.free == 0) & asked, 3, s.board).reshape(self.size, self.size)
        lines = [f"{r + 1:>2} " + " ".join(".xo#"[mark] for mark in marks[r]) for r in range(self.size)]
        board = "\n".join([*reversed(lines), f"   {' '.join(LETTERS[: self.size])}"])
        changes = [self._changes(s, t) for t in range(SHOWN - 1)]
        told = f"You play {'xo'[seat]}; o gets {self.komi:g} points more. At the latest after {self.limit} moves "
        told += f"points are counted. Where # is you may put no stone now.\n{board}"
        told += "\nThe last move was a pass." if s.passes else ""
        return f"{told}\nStones put (+) and taken (-) by the last seven moves, newest first: {'; '.join(changes)}"

    def _changes(self, s: Any, t: int) -> str:
        """What the move t moves ago changed, like "+x e5 -o d5 d6"; "none" for a pass and before the first move."""
        after, before = (s.boards[(s.count - i) % SHOWN].astype(np.int8) for i in (t, t + 1))
        said = []
        for sign, which in (("+", after > before), ("-", after < before)):
            for stone, points in zip("xo", which, strict=True):
                if points.any():
                    said.append(f"{sign}{stone} " + " ".join(self.moves[p] for p in np.flatnonzero(points)))
        return " ".join(said) or "none"


# ------------------------------------------------------------------------------------ strings
def put(s: Any, p: int, seat: int, now: int) -> None:
    """Put a stone on point p, join it to its string, and take what has no liberty left."""
    size, n, total, squares = int(s.side), 0, 0, 0
    s.board[p] = seat + 1
    s.boards[now, seat, p] = 1
    for k in range(4):
        q = int(NEAR[size, p, k])
        if q < 0:
            continue
        s.beside[seat, q] += 1
        if s.board[q]:
            breathe(s, s.head[q], s.board[q] - 1, p, -1)
        else:
            n, total, squares = n + 1, total + q, squares + q * q
    s.head[p], s.link[p], s.stones[p], s.codes[p] = p, p, 1, CODES[seat, p]
    s.breaths[p], s.total[p], s.squares[p] = n, total, squares
    s.code = np.uint64(s.code) ^ CODES[seat, p]
    threaten(s, p, seat, 1)
    for k in range(4):
        q = int(NEAR[size, p, k])
        if q >= 0 and s.board[q] == seat + 1 and s.head[q] != s.head[p]:
            join(s, s.head[p], s.head[q], seat)
    for k in range(4):
        q = int(NEAR[size, p, k])
        if q >= 0 and s.board[q] == 2 - seat and s.breaths[s.head[q]] == 0:
            take(s, s.head[q], 1 - seat, now)


def lone(s: Any, head: int) -> bool:
    """Whether a string has exactly one liberty: by Cauchy and Schwarz, only equal numbers make the two sides equal."""
    n, total = int(s.breaths[head]), int(s.total[head])
    return n > 0 and total * total == n * int(s.squares[head])


def threaten(s: Any, head: int, seat: int, sign: int) -> None:
    """Note the last liberty of a string, if it has but one, or with sign -1 take the note back."""
    if lone(s, head):
        s.last[seat, s.total[head] // s.breaths[head]] += sign * s.breaths[head]


def breathe(s: Any, head: int, seat: int, p: int, sign: int) -> None:
    """One stone of a string gains the liberty p, or with sign -1 loses it."""
    threaten(s, head, seat, -1)
    s.breaths[head] += sign
    s.total[head] += sign * p
    s.squares[head] += sign * p * p
    threaten(s, head, seat, 1)


def join(s: Any, head: int, other: int, seat: int) -> None:
    """Make two strings one: the smaller's stones get the larger's head, and their rings become one ring."""
    if s.stones[head] < s.stones[other]:
        head, other = other, head
    threaten(s, head, seat, -1)
    threaten(s, other, seat, -1)
    s.breaths[head] += s.breaths[other]
    s.total[head] += s.total[other]
    s.squares[head] += s.squares[other]
    s.stones[head] += s.stones[other]
    s.codes[head] ^= s.codes[other]
    threaten(s, head, seat, 1)
    p = other
    for _ in range(s.stones[other]):
        s.head[p] = head
        p = s.link[p]
    after = int(s.link[head])
    s.link[head] = s.link[other]
    s.link[other] = after


def take(s: Any, head: int, seat: int, now: int) -> None:
    """Take a string of `seat` off the board."""
    size, p = int(s.side), int(head)
    s.code = np.uint64(s.code) ^ s.codes[head]
    for _ in range(s.stones[head]):
        s.board[p] = 0
        s.boards[now, seat, p] = 0
        s.lost[seat, p] = 1
        for k in range(4):
            q = int(NEAR[size, p, k])
            if q < 0:
                continue
            s.beside[seat, q] -= 1
            if s.board[q] == 2 - seat:
                breathe(s, s.head[q], 1 - seat, p, 1)
        p = int(s.link[p])


# ------------------------------------------------------------------------- what may be played
def allow(s: Any, seat: int) -> None:
    """Work out where `seat` may put a stone.

    A stone lives where one of the four sides of its point is free or an own stone whose string has another liberty,
    or takes a string whose last liberty the point is.

    Captures are not the only moves that can repeat a position. Of two white stones a, b, played in the order b, a,
    black takes both, white takes back at a, black passes, and white at b, without taking anything, makes the
    position after the second stone again; that before it was never there. But if putting a stone of some colour on p
    repeats a position, then p held that colour in it and is free now, so a stone of that colour was taken at p since.
    Only there are positions compared.
    """
    points = s.board.shape[0]
    for p in range(points):
        lives = s.beside[1 - seat, p] + s.last[seat, p] < 4 or s.last[1 - seat, p] > 0
        s.free[p] = s.board[p] == 0 and lives
    for p in range(points):
        if s.free[p] and s.lost[seat, p] and repeats(s, p, seat):
            s.free[p] = 0


def repeats(s: Any, p: int, seat: int) -> bool:
    """Whether a stone of `seat` on p makes a position that was on the board before."""
    size, code = int(s.side), np.uint64(s.code) ^ CODES[seat, p]
    if s.last[1 - seat, p]:
        for k in range(4):
            q = int(NEAR[size, p, k])
            if q < 0 or s.board[q] != 2 - seat or not lone(s, s.head[q]):
                continue
            counted = False
            for j in range(k):
                o = int(NEAR[size, p, j])
                counted = counted or (o >= 0 and s.board[o] == 2 - seat and s.head[o] == s.head[q])
            if not counted:
                code ^= s.codes[s.head[q]]
    return bool(s.known[slot(s, code)] == code)


def slot(s: Any, code: Any) -> int:
    """Where the code of a position is kept, or would be. The first position, whose code is 0, never comes again."""
    i: Any = np.int64(code & np.uint64(s.known.shape[0] - 1))  # signed, or numba adds in floats
    while s.known[i] != NONE and s.known[i] != code:
        i = (i + 1) % s.known.shape[0]
    return i  # type: ignore[no-any-return]


def remember(s: Any) -> None:
    """Keep the code of the position."""
    code = np.uint64(s.code)
    s.known[slot(s, code)] = code


def area(s: Any) -> int:
    """How many points more the first player owns than the second; leaves `free` empty."""
    points, size, lead, changed = s.board.shape[0], int(s.side), 0, True
    for p in range(points):
        s.free[p] = s.board[p]  # whose stones a point reaches: 1, 2 or both
    while changed:
        changed = False
        for i in range(2 * points):
            p = i if i < points else 2 * points - 1 - i
            if s.board[p] == 0:
                reached = int(s.free[p])
                for k in range(4):
                    q = int(NEAR[size, p, k])
                    if q >= 0:
                        reached |= s.free[q]
                changed = changed or reached != s.free[p]
                s.free[p] = reached
    for p in range(points):
        lead += (0, 1, -1, 0)[s.free[p]]
        s.free[p] = 0
    return lead
