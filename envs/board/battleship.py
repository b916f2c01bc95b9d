"""Battleship: ships are hidden on a grid, and shots fired at the other's."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any, ClassVar

import numpy as np

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.registry import register

WATER, HIT, SUNK = 1, 2, 3  # what a shot told who fired it; 0 is "no shot"
RESULTS = ("", "water", "hit", "sunk")
PLY = 3  # features of one shot: row and column, counted from 1, and what it told


@register("battleship")
class Battleship(ArrayGame):
    """Battleship, for two players, each with a grid and ships that the other does not see.

    Squares are named a1 and so on: letters are columns, numbers rows from the top. First the ships are placed:
    player_0 places the first of its ships, player_1 the first of its own, player_0 its second, and so on, in the
    same order of sizes. A ship lies on as many squares in line as its size says; b3> puts it on b3 and the squares to
    the right, b3v on b3 and the squares below. Ships of one player may touch, but not overlap, and must leave room for
    those still to be placed. Then the players, player_0 first, take turns to shoot at a square of the other's
    grid. Who shoots is told whether it is water, a hit, or a hit that completes a ship, all of whose squares
    have then been hit: sunk; not which ship. Who is shot at sees where. The game ends when all ships of a player are
    sunk, or when both players have fired all their shots. A ship sunk earns who sank it the ship's value and costs
    its owner that value times the loss multiplier.

    Args:
        rows, columns: of each grid, ten at most.
        ship_sizes: in the order of placing.
        ship_values: of the ships; 1 each where none are given.
        shots: of each player.
        repeated_shots: whether a square may be shot at again; that tells what the square's ship is by then.
        loss_multiplier: what the loss of a ship counts against its value; other than 1 the sum is not zero.

    Source: the rules are those of OpenSpiel's battleship, after Farina and others, "Coarse Correlation in
    Extensive-Form Games", AAAI 2020. Its returns come at the end; here a ship is paid for when it sinks.
    """

    seats = ("player_0", "player_1")
    version = 1
    compiled: ClassVar[bool] = True

    def __init__(
        self,
        rows: int = 10,
        columns: int = 10,
        ship_sizes: Sequence[int] = (2, 3, 3, 4, 5),
        ship_values: Sequence[float] = (),
        shots: int = 50,
        repeated_shots: bool = True,
        loss_multiplier: float = 1.0,
    ) -> None:
        sizes, squares = tuple(ship_sizes), rows * columns
        values = tuple(ship_values) or (1.0,) * len(sizes)
        self._check(rows, columns, sizes, values, shots, repeated_shots, loss_multiplier)
        self.rows, self.columns, self.sizes, self.values = rows, columns, sizes, values
        self.repeated, self.multiplier = repeated_shots, float(loss_multiplier)
        self.zero_sum = self.multiplier == 1
        self.stake = max(1.0, self.multiplier) * sum(values)
        ships = len(sizes)
        # Of each seat: its ships, as ship + 1 on their squares; what its own shots told last, at the other's
        # squares; all its shots; how many squares of its ships are not hit.
        self.record = np.dtype(
            [("grid", np.int8, (2, squares)), ("told", np.int8, (2, squares)), ("fired", np.int8, (2, shots * PLY)),
             ("whole", np.int8, (2, ships)), ("afloat", np.int8, 2), ("count", np.int16), ("over", np.int8),
             ("columns", np.int8), ("repeated", np.int8), ("tight", np.int8), ("long", np.int8, ships),
             ("search", np.int16, ships), ("gain", np.float32, ships), ("loss", np.float32, ships)]
        )  # fmt: skip
        names = tuple(f"{ascii_lowercase[c]}{r + 1}" for r in range(rows) for c in range(columns))
        self.moves = (*names, *(f"{name}>" for name in names), *(f"{name}v" for name in names))
        # Own ships, one by one; own shots that told water, a hit, a ship sunk; the other's shots; both lists of shots; 1.
        self.shape = ((ships + 4) * squares + 2 * PLY * shots + 1,)
        if not self._room():
            raise ValueError(
                f"battleship needs ships that fit on {rows} rows and {columns} columns, not {sizes}"
            )

    @staticmethod
    def _check(
        rows: int,
        columns: int,
        sizes: Sequence[int],
        values: Sequence[float],
        shots: int,
        repeated: bool,
        multiplier: float,
    ) -> None:
        squares = rows * columns
        if not (1 <= rows <= 10 and 1 <= columns <= 10):
            wrong = f"1 to 10 rows and columns, not {rows} rows, {columns} columns"
        elif not (1 <= len(sizes) <= 26 and all(1 <= size <= max(rows, columns) for size in sizes)):
            wrong = f"1 to 26 ships of sizes 1 to {max(rows, columns)}, not sizes {sizes}"
        elif sum(sizes) > squares:
            wrong = f"ships that fit on {squares} squares, not {sizes}, which take {sum(sizes)}"
        elif len(values) != len(sizes) or min(values) < 0:
            wrong = f"a value, zero or more, for each of {len(sizes)} ships, not {values}"
        elif not (1 <= shots <= 1000):
            wrong = f"1 to 1000 shots, not {shots}"
        elif not (repeated or shots <= squares):
            wrong = f"{squares} shots at most where none may be repeated, not {shots}"
        elif multiplier < 0:
            wrong = f"a loss multiplier of zero or more, not {multiplier}"
        else:
            return
        raise ValueError(f"battleship needs {wrong}")

    def _room(self) -> bool:
        """Whether all ships can be placed at all."""
        s = self.open(bytes(self.record.itemsize))
        self.setup(s)
        return not s.tight or fits(s, 0, 0)

    def setup(self, s: Any) -> None:
        s.columns, s.repeated = self.columns, self.repeated
        s.long[:] = self.sizes
        s.whole[:] = self.sizes
        s.afloat[:] = len(self.sizes)
        s.gain[:] = self.values
        s.loss[:] = [self.multiplier * value for value in self.values]
        # Each square taken spoils one of the places in a row at most: with more places there is always room.
        places = [
            max(self.rows * (self.columns // size), self.columns * (self.rows // size)) for size in self.sizes
        ]
        s.tight = any(sum(self.sizes[:k]) >= place for k, place in enumerate(places))

    @staticmethod
    def mover(s: Any) -> int:
        return OVER if s.over else s.count & 1

    @staticmethod
    def legal(s: Any, seat: int, out: Any) -> None:
        squares, ships = s.grid.shape[1], s.long.shape[0]
        if s.count >= 2 * ships:
            for a in range(squares):
                out[a] = s.repeated | (s.told[seat, a] == 0)
            return
        ship = s.count >> 1
        places(s, seat, int(s.long[ship]), out)
        if s.tight and ship + 1 < ships:
            for a in range(squares, 3 * squares):
                if out[a]:
                    lay(s, seat, a, ship, ship + 1)
                    out[a] = fits(s, seat, ship + 1)
                    lay(s, seat, a, ship, 0)

    @staticmethod
    def move(s: Any, a: int, pay: Any) -> None:
        ships, shots, seat = s.long.shape[0], s.fired.shape[1] // PLY, s.count & 1
        turn = (s.count >> 1) - ships
        s.count += 1
        if turn < 0:
            lay(s, seat, a, turn + ships, turn + ships + 1)
            return
        told, ship = WATER, s.grid[1 - seat, a] - 1
        if ship >= 0:
            if s.told[seat, a] == 0:
                s.whole[1 - seat, ship] -= 1
                if s.whole[1 - seat, ship] == 0:
                    s.afloat[1 - seat] -= 1
                    pay[seat] += s.gain[ship]
                    pay[1 - seat] -= s.loss[ship]
            told = SUNK if s.whole[1 - seat, ship] == 0 else HIT
        s.told[seat, a] = told
        row = a // s.columns
        s.fired[seat, PLY * turn] = row + 1
        s.fired[seat, PLY * turn + 1] = a - row * s.columns + 1
        s.fired[seat, PLY * turn + 2] = told
        s.over = s.afloat[1 - seat] == 0 or s.count == 2 * (ships + shots)

    @staticmethod
    def observe(s: Any, seat: int, out: Any) -> None:
        squares, ships, length = s.grid.shape[1], s.long.shape[0], s.fired.shape[1]
        for ship in range(ships):
            for a in range(squares):
                out[ship * squares + a] = s.grid[seat, a] == ship + 1
        start = ships * squares
        for told in range(WATER, SUNK + 1):
            for a in range(squares):
                out[start + a] = s.told[seat, a] == told
            start += squares
        for a in range(squares):
            out[start + a] = s.told[1 - seat, a] != 0
        start += squares
        for i in range(length):
            out[start + i] = s.fired[seat, i]
        start += length
        for i in range(length):
            out[start + i] = s.fired[1 - seat, i]
        out[start + length] = 1

    def describe(self, s: Any, seat: int) -> str:
        ships = len(self.sizes)
        grid, told, shot = s.grid[seat].tolist(), s.told[seat].tolist(), s.told[1 - seat].tolist()
        signs = "." + ascii_lowercase[:ships]
        own = [(signs[k].upper() if k else "*") if at else signs[k] for k, at in zip(grid, shot, strict=True)]
        said = ["Your ships (capitals: hit; *: shot into the water):", self._drawn(own)]
        ship = max(grid)
        if ship < ships:
            sizes = ", ".join(
                f"{sign} of size {size}" for sign, size in zip(signs[1:], self.sizes, strict=True)
            )
            said.append(f"Ships: {sizes}. You have placed {ship} of {ships}.")
        else:
            said += [
                "What you know of the other's (o: water, x: hit, #: sunk):",
                self._drawn([".ox#"[t] for t in told]),
            ]
        said.append(f"Your shots: {self._listed(s.fired[seat].tolist(), told=True) or 'none'}.")
        said.append(f"The other's shots: {self._listed(s.fired[1 - seat].tolist(), told=False) or 'none'}.")
        return "\n".join(said)

    def _drawn(self, signs: Sequence[str]) -> str:
        rows = [" ".join(signs[r * self.columns : (r + 1) * self.columns]) for r in range(self.rows)]
        letters = " ".join(ascii_lowercase[: self.columns])
        return "\n".join((f"   {letters}", *(f"{r + 1:>2} {row}" for r, row in enumerate(rows))))

    @staticmethod
    def _listed(fired: Sequence[int], *, told: bool) -> str:
        shots = [fired[i : i + PLY] for i in range(0, len(fired), PLY) if fired[i]]
        return ", ".join(
            f"{ascii_lowercase[column - 1]}{row}{' ' + RESULTS[result] if told else ''}"
            for row, column, result in shots
        )


def places(s: Any, seat: int, size: int, out: Any) -> None:
    """Mark the moves that place a ship of this size on free squares: by their last square, they run on."""
    squares, columns = s.grid.shape[1], s.columns
    for first in range(0, squares, columns):
        free = 0
        for column in range(columns):
            free = free + 1 if s.grid[seat, first + column] == 0 else 0
            if free >= size:
                out[squares + first + column - size + 1] = 1
    if size == 1:  # lies to the right only
        return
    for column in range(columns):
        free = 0
        for a in range(column, squares, columns):
            free = free + 1 if s.grid[seat, a] == 0 else 0
            if free >= size:
                out[2 * squares + a - (size - 1) * columns] = 1


def lay(s: Any, seat: int, a: int, ship: int, sign: int) -> None:
    """Write a sign on the squares of a ship placed by move a."""
    squares = s.grid.shape[1]
    start, by = (a - squares, 1) if a < 2 * squares else (a - 2 * squares, s.columns)
    for i in range(int(s.long[ship])):
        s.grid[seat, start + i * by] = sign


def free(s: Any, seat: int, a: int, ship: int) -> bool:
    """Whether move a would place a ship on free squares of the grid."""
    squares, size, columns = s.grid.shape[1], int(s.long[ship]), s.columns
    down = a >= 2 * squares
    start, by = (a - 2 * squares, columns) if down else (a - squares, 1)
    if down and (size == 1 or start + (size - 1) * columns >= squares):
        return False
    if not down and start % columns + size > columns:
        return False
    taken = 0
    for i in range(size):
        taken += s.grid[seat, start + i * by] != 0
    return bool(taken == 0)


def fits(s: Any, seat: int, first: int) -> bool:
    """Whether the ships from `first` on can all be placed on the free squares; nothing is left of the search."""
    squares, ships = s.grid.shape[1], s.long.shape[0]
    s.search[first] = squares
    ship = first
    while first <= ship < ships:
        a = int(s.search[ship])
        while a < 3 * squares and not free(s, seat, a, ship):
            a += 1
        if a < 3 * squares:
            lay(s, seat, a, ship, ship + 1)
            s.search[ship] = a
            ship += 1
            if ship < ships:  # of ships as long the later is tried behind: it would be the same
                s.search[ship] = a + 1 if s.long[ship] == s.long[ship - 1] else squares
        else:
            s.search[ship] = 0
            ship -= 1
            if ship >= first:
                lay(s, seat, int(s.search[ship]), ship, 0)
                s.search[ship] += 1
    found = bool(ship == ships)
    while ship > first:
        ship -= 1
        lay(s, seat, int(s.search[ship]), ship, 0)
        s.search[ship] = 0
    return found
