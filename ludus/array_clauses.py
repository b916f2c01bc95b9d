"""The clauses of array games: compiled rules do what the scalar ones do, and symmetries keep what a position is worth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ludus.clauses import Moment, Skip, clause, require
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.game import CHANCE, Game
from ludus.core.position import Position
from ludus.core.symmetry import Symmetry
from ludus.core.tables import expand, rows_at_once

MOVES = 32  # tried at most in a position, evenly spread over those that are possible
JOINT_MOVES = 256  # tried at most in a position where seats move together
TOSSES = 400  # of each of nature's moves


@clause
def clause_arrays(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The rules of an array game do in a batch what they do alone, for every move (of many, for some)."""
    if not isinstance(game, ArrayGame):
        raise Skip("not an array game")
    unique, rows = list({m.state.record: m for m in walk}.values()), rows_at_once(game)
    for low in range(0, len(unique), rows):
        _check_moves(game, unique[low : low + rows])


@clause
def clause_symmetries(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Images of a game's moves and outcomes lead to images of its positions, which end, allow and pay alike."""
    if not isinstance(game, ArrayGame) or not (every := game.symmetries()):
        raise Skip("has no symmetries")
    size = int(np.prod(game.shape)), len(game.moves), game.outcomes
    known = {tuple(tuple(range(n)) for n in size[:2])}
    for number, symmetry in enumerate(every):
        for part, n in zip(symmetry, size, strict=True):
            whole = part is None or sorted(part) == list(range(n))
            require(whole, game, None, f"symmetry {number}: {part} does not name all of {n} once")
        places = tuple(symmetry.features.tolist()), tuple(symmetry.moves.tolist())
        require(
            places not in known, game, None, f"symmetry {number} moves nothing, or as an earlier one does"
        )
        known.add(places)
        _check_images(game, walk, number, symmetry)


def _check_images(game: ArrayGame, walk: Sequence[Moment], number: int, symmetry: Symmetry) -> None:
    """Play the image of every game beside it."""
    outcomes = np.arange(game.outcomes) if symmetry.outcomes is None else np.argsort(symmetry.outcomes)
    image, places = walk[0].state, np.argsort(symmetry.moves)
    for m in walk:
        image = image if m.number else m.state
        turn = game.turn(m.state)
        require(
            game.turn(image) == turn,
            game,
            m,
            f"symmetry {number}: {game.turn(image)} is to move in the image",
        )
        moves: dict[str, Any] = dict(m.moves)
        for seat in turn:
            if seat == CHANCE:
                moves[seat] = int(outcomes[moves[seat]])
                continue
            seen, told = (np.ravel(game.view(state, seat).features) for state in (m.state, image))  # type: ignore[arg-type]
            may, might = (game.options(state, seat).legal for state in (m.state, image))
            alike = np.array_equal(seen[symmetry.features], told)
            require(alike, game, m, f"symmetry {number}: {seat} does not see the image of what it sees here")
            alike = np.array_equal(may[symmetry.moves], might)
            require(
                alike, game, m, f"symmetry {number}: {seat} may play {np.flatnonzero(might)} in the image"
            )
            moves[seat] = int(places[moves[seat]])
        if turn:
            image = game.play(image, moves)
            alike = image.paid == m.after.paid
            require(alike, game, m, f"symmetry {number}: the image paid {image.paid}, not {m.after.paid}")


def _check_moves(game: ArrayGame, moments: Sequence[Moment]) -> None:
    """Compare compiled moves with scalar ones in some positions, all of which are expanded together."""
    records = np.frombuffer(b"".join(m.state.record for m in moments), game.record).copy()
    after, pay, _, mask, _ = expand(game, records)
    for i, m in enumerate(moments):
        turn = game.turn(m.state)
        if len(turn) > 1:
            _check_joint(game, m)
        if len(turn) != 1:
            continue
        moves = (
            [o for o, _ in game.chance(m.state)]
            if turn == (CHANCE,)
            else np.flatnonzero(game.options(m.state, turn[0]).legal)
        )
        if turn == (CHANCE,):
            _check_toss(game, m)
        seen = np.flatnonzero(mask[i])
        require(seen.tolist() == list(moves), game, m, f"compiled moves {seen}")
        for move in moves[:: -(-len(moves) // MOVES)]:
            scalar = game.play(m.state, {turn[0]: int(move)})
            compiled = Position(after[i, move].tobytes(), tuple(float(x) for x in pay[i, move]))
            require(scalar == compiled, game, m, f"move {move}: scalar {scalar}, compiled {compiled}")


def _check_toss(game: ArrayGame, m: Moment) -> None:
    """Where the game tosses by itself, its outcomes come with their odds, as u goes from 0 to 1 in even steps."""
    if type(game).toss is ArrayGame.toss:
        return
    s = game.open(m.state.record)
    shares, u = np.zeros(game.outcomes), (np.arange(TOSSES) + 0.5) / TOSSES
    for each in u.tolist():
        shares[game.toss(s, each)] += 1 / TOSSES
    odds = np.zeros(game.outcomes)
    game.odds(s, odds)
    require(
        np.allclose(shares, odds, atol=2 / TOSSES), game, m, f"tosses come as {shares}, their odds are {odds}"
    )


def _check_joint(game: ArrayGame, m: Moment) -> None:
    """Lay down joint moves seat by seat, as batches do, and compare with one scalar `play`."""
    legal = [np.flatnonzero(game.options(m.state, seat).legal).tolist() for seat in game.seats]
    joint = list(itertools.islice(itertools.product(*legal), JOINT_MOVES))
    rows = _standing(game, m.state.record, len(joint))
    for k, seat in enumerate(game.seats):
        seen = np.flatnonzero(rows.legal[0]).tolist()
        require(k == 0 or seen == legal[k], game, m, f"compiled moves {seen} of {seat}")
        rows.step(np.array([moves[k] for moves in joint]))
    for i, moves in enumerate(joint):
        after = game.play(m.state, dict(zip(game.seats, moves, strict=True)))
        compiled = (rows.records[i].tobytes(), rows.reward[i])
        found = any(
            record == compiled[0] and np.allclose(pay, compiled[1], atol=1e-5)
            for record, pay in _settled(game, after, np.zeros(len(game.seats)))
        )
        require(found, game, m, f"joint move {moves}: scalar {after}, compiled {compiled}")


def _standing(game: ArrayGame, record: bytes, n: int) -> Batch:
    """N rows in one position where all seats move, the first of which is asked."""
    batch = Batch(game, n, autoreset="disabled")
    state = batch.state()
    state["states"][:], state["mask"][:] = np.frombuffer(record, np.uint8), 1
    state["mover"][:], state["waiting"][:], state["done"][:] = 0, 0, False
    batch.restore(state)
    return batch


def _settled(game: ArrayGame, position: Position, paid: NDArray[Any]) -> list[tuple[bytes, NDArray[Any]]]:
    """Where nature may take a position before a seat is asked again, and what is paid on the way."""
    paid = paid + np.array(position.paid)
    if game.turn(position) != (CHANCE,):
        return [(position.record, paid)]
    nature = [game.play(position, {CHANCE: outcome}) for outcome, _ in game.chance(position)]
    return [landing for after in nature for landing in _settled(game, after, paid)]
