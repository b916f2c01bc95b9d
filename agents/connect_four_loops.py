"""Connect four on six rows and seven columns as two sets of squares, solved: the loops of the oracle.

A set of squares is a whole number of 49 bits, seven for each column from the left, from the lowest square up; the
seventh of each stands for no square, and keeps lines from running over into the next column. Positions are kept in
arrays `own`, `both`: the discs of whoever is to move, and all discs.

What is searched is whether the mover can reach a result (1: a win, 0: at least a draw). A position has four facts of
two bits: a win was found to be possible or not, and so was a draw.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from ludus.core.compiled import loop

COLUMNS, ROWS, HIGH = 7, 6, 7
FLOOR = sum(1 << (HIGH * column) for column in range(COLUMNS))
BOARD = FLOOR * ((1 << ROWS) - 1)
WIN, NO_WIN, DRAW, NO_DRAW = 1, 2, 4, 8  # what may be known of a position
FACTS = 4  # bits of them
UNKNOWN, REACHED, MISSED = -1, 1, 0
FOUND = -1  # among the moves of a position is one that reaches what is wanted
PROBED = 30  # up to so many discs, all moves are looked up in the table before one is searched
CLOSED = 20  # from so many discs on, it is asked whether a line is left to a seat
SYMMETRIC = 14  # up to so many discs, a position and its mirror image are one in the table


def completing(discs: int) -> int:
    """Squares, free or not, that make a line of four with three of these discs; of an upright one the highest."""
    found = (discs << 1) & (discs << 2) & (discs << 3)
    for step in (HIGH - 1, HIGH, HIGH + 1):
        right, left = discs << step, discs >> step
        pair = right & (discs << 2 * step)
        found |= pair & (discs << 3 * step)
        found |= pair & left
        pair = left & (discs >> 2 * step)
        found |= pair & right
        found |= pair & (discs >> 3 * step)
    return found & BOARD


def lined(squares: int) -> bool:
    """Whether there is a line of four among these squares."""
    for step in (1, HIGH - 1, HIGH, HIGH + 1):
        pairs = squares & (squares >> step)
        if pairs & (pairs >> 2 * step):
            return True
    return False


def counted(squares: int) -> int:
    """How many squares these are."""
    squares = squares - ((squares >> 1) & 0x5555555555555555)
    squares = (squares & 0x3333333333333333) + ((squares >> 2) & 0x3333333333333333)
    squares = (squares + (squares >> 4)) & 0x0F0F0F0F0F0F0F0F
    squares = squares + (squares >> 8)
    squares = squares + (squares >> 16)
    return (squares + (squares >> 32)) & 0x7F


def mirrored(squares: int) -> int:
    """The same squares seen from behind the board."""
    found = 0
    for column in range(COLUMNS):
        found |= ((squares >> (HIGH * column)) & 0x7F) << (HIGH * (COLUMNS - 1 - column))
    return found


def named(own: int, both: int, discs: int) -> int:
    """The position as one number, 49 bits: the mover's discs and one more above the highest of each column."""
    name = own + both + FLOOR
    if discs <= SYMMETRIC:
        other = mirrored(own) + mirrored(both) + FLOOR
        name = min(name, other)
    return name


def judged(own: int, both: int, target: int, discs: int) -> int:
    """What can be said at once of whether the mover, who cannot win at once, reaches the target: UNKNOWN where nothing."""
    playable = (both + FLOOR) & BOARD
    if playable == 0:
        return REACHED if target == 0 else MISSED
    threats = completing(own ^ both)
    forced = threats & playable
    if forced & (forced - 1):
        return MISSED  # two threats at once
    if forced:
        if threats & (forced << 1):
            return MISSED  # above the one square that must be taken lies another
    elif (playable & ~(threats >> 1)) == 0:
        return MISSED  # whatever is played, the square above it completes the other's line
    if discs >= CLOSED:
        free = BOARD & ~both
        if target == 1 and not lined(own | free):
            return MISSED  # no line is left to the mover
        if target == 0 and not lined((own ^ both) | free):
            return REACHED  # none is left to the other
    return UNKNOWN


def recalled(table: Any, name: int, target: int) -> int:
    """What the table knows of the position and the target."""
    entry = table[name % table.shape[0]]
    if entry >> FACTS != name:
        return UNKNOWN
    if target == 1:
        return REACHED if entry & WIN else (MISSED if entry & NO_WIN else UNKNOWN)
    return REACHED if entry & DRAW else (MISSED if entry & NO_DRAW else UNKNOWN)


def kept(table: Any, name: int, target: int, reached: int) -> None:
    """Write a fact into the table, and what follows from it; the place may have been another position's."""
    place = name % table.shape[0]
    facts = table[place] & ((1 << FACTS) - 1) if table[place] >> FACTS == name else 0
    if target == 1:
        facts |= WIN | DRAW if reached else NO_WIN
    else:
        facts |= DRAW if reached else NO_DRAW | NO_WIN
    table[place] = (name << FACTS) | facts


def listed(own: int, both: int, wanted: int, discs: int, table: Any, moves: Any, depth: int) -> int:
    """Write the moves that have to be searched into moves[depth], the most promising first.

    A move is put before others if it threatens more squares, then if it lies nearer to the middle.

    Returns:
        How many there are; `FOUND` if one is known to reach what is wanted. Those known to miss it are left out.
    """
    playable = (both + FLOOR) & BOARD
    threats = completing(own ^ both)
    forced = threats & playable
    able = forced or playable & ~(threats >> 1)
    free = BOARD & ~both
    count = 0
    for step in range(COLUMNS):
        column = COLUMNS // 2 + ((step + 1) // 2) * (1 if step % 2 else -1)
        move = able & (((1 << ROWS) - 1) << (HIGH * column))
        if move == 0:
            continue
        answer = judged(own ^ both, both | move, 1 - wanted, discs + 1)
        if answer == UNKNOWN and discs < PROBED:
            answer = recalled(table, named(own ^ both, both | move, discs + 1), 1 - wanted)
        if answer == MISSED:
            return FOUND
        if answer == REACHED:
            continue
        worth = counted(completing(own | move) & free & ~move)
        at = count
        while at > 0 and moves[depth, at - 1, 1] < worth:
            moves[depth, at, 0] = moves[depth, at - 1, 0]
            moves[depth, at, 1] = moves[depth, at - 1, 1]
            at -= 1
        moves[depth, at, 0] = move
        moves[depth, at, 1] = worth
        count += 1
    return count


@loop
def reaches(own: int, both: int, target: int, table: Any, stack: Any, moves: Any, nodes: Any) -> int:
    """Whether whoever is to move gets at least target (1: a win, 0: a draw): 1 or 0, by search to the end.

    The mover reaches a win if after some move the other misses a draw, and a draw if the other misses a win: targets
    are 1 - target from ply to ply, and the search is one for a winning move in an and-or tree.

    Args:
        own: the discs of whoever is to move; no line is complete.
        both: all discs.
        target: 0 or 1.
        table: (T,) int64, what is known; 0 where nothing.
        stack: (43, 4) int64, room to work in.
        moves: (43, 7, 2) int64, the same.
        nodes: (1,) int64, to which the number of positions searched is added.
    """
    discs = counted(both)
    if completing(own) & (both + FLOOR) & BOARD:
        return REACHED
    known = judged(own, both, target, discs)
    if known == UNKNOWN:
        known = recalled(table, named(own, both, discs), target)
    if known != UNKNOWN:
        return known
    depth, entering = 0, True
    stack[0, 0], stack[0, 1] = own, both
    while True:
        own, both, wanted = stack[depth, 0], stack[depth, 1], (target + depth) & 1
        result = UNKNOWN
        if entering:
            nodes[0] += 1
            stack[depth, 2], stack[depth, 3] = (
                listed(own, both, wanted, discs + depth, table, moves, depth),
                0,
            )
            result = REACHED if stack[depth, 2] == FOUND else UNKNOWN
            entering = False
        if result == UNKNOWN and stack[depth, 3] == stack[depth, 2]:
            result = MISSED
        if result == UNKNOWN:
            move = moves[depth, stack[depth, 3], 0]
            stack[depth, 3] += 1
            # The child's mover is the other; a sibling's search may have met it.
            answer = recalled(table, named(own ^ both, both | move, discs + depth + 1), 1 - wanted)
            if answer == UNKNOWN:
                depth += 1
                stack[depth, 0], stack[depth, 1], entering = own ^ both, both | move, True
            elif answer == MISSED:
                result = REACHED
        while result != UNKNOWN:
            own, both, wanted = stack[depth, 0], stack[depth, 1], (target + depth) & 1
            kept(table, named(own, both, discs + depth), wanted, result)
            if depth == 0:
                return result
            depth -= 1
            result = UNKNOWN if result == REACHED else REACHED
