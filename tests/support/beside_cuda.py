"""The batch on a card beside the batch on the processor: run by test_cuda.py, as a process of its own.

NUMBA_ENABLE_CUDASIM=1, set before numba is imported, puts numba's simulator in the place of the card.
"""

import sys
import time

import numpy as np
from small_games import Stuck

import ludus
from ludus.core import compiled, cuda
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.cuda import CudaBatch, _simulated

LeducPoker = type(ludus.make("leduc_poker"))
SHOWN = ("observation", "legal", "mover", "reward", "done", "opening", "faults")


def pair(game, rows, **settings):
    return [kind(game, rows, seed=7, **settings) for kind in (Batch, CudaBatch)]


def same(here, there) -> None:
    """Every array, and all that decides the future, is equal: bit for bit but for a card's rounding of floats."""
    for name in SHOWN:
        equal(getattr(there, name).copy_to_host(), getattr(here, name), name)
    state = there.state()
    for name, array in here.state().items():
        if name == "states":  # field by field
            mine, other = (rows.view(here.game.record) for rows in (array, state[name]))
            for field in here.game.record.names:
                equal(other[field], mine[field], field)
        else:
            equal(state[name], array, name)


def equal(told, known, name) -> None:
    if known.dtype.kind == "f" and not _simulated():
        np.testing.assert_allclose(told, known, rtol=1e-6, atol=1e-6, err_msg=name)
    else:
        np.testing.assert_array_equal(told, known, name)


def follow(game, rows, games, seconds=0.0, *, wrong=0.0, **settings) -> int:
    """Play until so many games have ended and so many seconds are over, some of the actions wrong; how many have."""
    here, there = pair(game, rows, **settings)
    rng, begun, ended = np.random.default_rng(0), time.perf_counter(), 0
    same(here, there)
    while ended < games or time.perf_counter() - begun < seconds:
        actions = here.random_actions().copy()
        np.testing.assert_array_equal(there.random_actions().copy_to_host(), actions)
        astray = rng.random(rows) < wrong
        actions[astray] = rng.integers(-3, len(game.moves) + 2, astray.sum())
        here.step(actions)
        there.step(actions.astype(np.int64))
        same(here, there)
        ended += int(here.done.sum())
        if settings.get("autoreset") == "disabled" and here.done.all():
            for batch in (here, there):
                batch.reset(np.arange(rows) % 2 == 0)
            same(here, there)
    return ended


def rate(kind, game, rows, seconds=1.0) -> float:
    """Moves a second of uniformly random play, all rows together, once everything is compiled."""
    many, steps, taken = kind(game, rows, seed=1), 1, 0.0
    many.stroll(1)
    while taken < seconds:
        steps *= 2
        begun = time.perf_counter()
        many.stroll(steps)  # waits for the card
        taken = time.perf_counter() - begun
    return rows * steps / taken


def refusal(act) -> str:
    try:
        act()
    except (ludus.LudusError, ValueError) as fault:
        return f"{type(fault).__name__}: {fault}"
    raise AssertionError("nothing was refused")


def small() -> None:
    """Every mode of the batch on small games."""
    for name in ("kuhn_poker", "tic_tac_toe", "leduc_poker", "rock_paper_scissors"):
        game = ludus.make(name)
        follow(game, 5, 10)
        follow(game, 5, 8, autoreset="next_step", illegal="forfeit", wrong=0.2)
        follow(game, 5, 8, autoreset="disabled", illegal="random", wrong=0.2)
    here, there = pair(ludus.make("leduc_poker"), 5)
    for batch in (here, there):
        batch.stroll(9)
    same(here, there)
    for seat in range(2):
        np.testing.assert_array_equal(there.look(seat).copy_to_host(), here.look(seat))
    seats = np.array([1, -1, 0, 0, 1])
    np.testing.assert_array_equal(there.look(seats).copy_to_host(), here.look(seats))
    for batch in (here, there):
        batch.step(np.full(5, 1), seats == 0)
    same(here, there)
    kept = there.state()
    for batch in (here, there):
        batch.stroll(1)
    assert any((kept[name] != array).any() for name, array in there.state().items())
    for batch in (here, there):
        batch.restore(kept)
    same(here, there)
    for actions in (np.array([1, 1, 7, 1, 0]), np.ones(4, np.int8), np.ones(5)):
        said = {refusal(lambda batch=batch: batch.step(actions)) for batch in (here, there)}  # noqa: B023
        assert len(said) == 1, said
        same(here, there)
    compiled.mind = cuda.mind = lambda *_: None  # which would see it before
    for illegal in ("raise", "forfeit", "random"):
        here, there = pair(Stuck(), 3, illegal=illegal)
        for batch in (here, there):
            batch.stroll(2)
        for act in (lambda b: b.random_actions(), lambda b: b.step(np.zeros(3, int)), lambda b: b.stroll(1)):
            assert refusal(lambda: act(there)) == refusal(lambda: act(here))  # noqa: B023


class Blind(LeducPoker):
    """Leduc poker whose players do not see their cards."""

    @staticmethod
    def observe(s, seat, out) -> None:
        out[0] = 0


def unlike() -> None:
    """Another seed, and rules that say otherwise there: the comparison sees both."""
    here = Batch(LeducPoker(), 5, seed=7)
    for there in (CudaBatch(LeducPoker(), 5, seed=8), CudaBatch(Blind(), 5, seed=7)):
        try:
            same(here, there)
        except AssertionError:
            continue
        raise SystemExit("the comparison sees nothing")


def main() -> None:
    """Arguments: small; or a game, rows, least games and seconds that are compared, and rows that are timed."""
    what, *rest = sys.argv[1:]
    if what == "small":
        small()
        unlike()
        return
    game, (rows, games, seconds, *timed) = ludus.make(what), map(int, rest)
    assert isinstance(game, ArrayGame)
    begun = time.perf_counter()
    print(
        f"{what}: {follow(game, rows, games, seconds):,} games in {time.perf_counter() - begun:.0f} s",
        flush=True,
    )
    for many in timed:
        here, there = (rate(kind, game, many) for kind in (Batch, CudaBatch))
        print(
            f"{what}: {there:,.0f} moves a second of {many:,} rows on the card, {here:,.0f} on the processor"
        )


if __name__ == "__main__":
    main()
