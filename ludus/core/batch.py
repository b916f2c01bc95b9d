"""Many games of an array game, stepped together over arrays that are made once.

Shape letters: N rows, K seats, A moves, F features (any shape).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ludus.core.array_game import OVER, ArrayGame
from ludus.core.compiled import kernel, odds_for, opened, rows, spread, uncompiled
from ludus.core.errors import ContractError, IllegalMove, UnknownName, whole
from ludus.core.game import Game
from ludus.core.sources import compiling

Autoreset: TypeAlias = Literal["same_step", "next_step", "disabled"]
Illegal: TypeAlias = Literal["raise", "forfeit", "random"]
Device: TypeAlias = Literal["cpu", "cuda"]
RANDOM = 2  # the policy for illegal actions,
DEAL, STAY = -2, -3  # choices that start a row anew, and that leave it alone,
DEALS = 100_000  # and after how many games in a row that end before anybody moves one stays over: as in ludus.core.kernel


class Batch:
    """N games stepped together.

    Chance is resolved inside `step`; where seats move together they are asked one by one and their
    moves kept aside, so that every row has one mover. The arrays are overwritten by each step, and stay where
    they are: `torch.from_numpy` of one is a view of it for good.

    Args:
        game: an array game.
        n: rows.
        seed: of all chance. Rows have streams of their own: what happens in row i depends on the seed and i,
            not on N. The same seed deals other cards here than in `play`, whose streams are numpy's.
        autoreset: what becomes of a row whose game has ended, in Gymnasium's three ways. "same_step": the next
            game begins in the same step, and the arrays show it. "next_step": the arrays show the end, as the
            seat that moved last sees it; the next step ignores the row's action and begins the next game.
            "disabled": the row stays as it is, whatever is played in it, until `reset`.
        illegal: what becomes of an illegal action. "raise": an error, and nothing is played. "forfeit": the
            row's game ends, the mover pays the game's `stake` and the others share it. "random": a legal move is
            drawn in its place, from the row's stream.

    Attributes:
        observation: (N, *F) what the mover of each row sees.
        legal: (N, A) bool, what it may do; nothing where the game is over.
        mover: (N,) int8, its seat; -2 where the game is over.
        reward: (N, K) float32, what the last step paid every seat.
        done: (N,) bool, whether the last step ended the game; with "disabled", whether it is over.
        opening: (N, K) float32, what the deal of a row's present game paid, before any decision.
        faults: (N,) int64, how many illegal actions were settled in each row.

    Raises:
        ValueError: the number of rows or the seed is no whole number from 1, or 0, on.
        UnknownName: no such autoreset or policy.
        ContractError: illegal="forfeit" in a game that has a price of its own for forfeits, or a game that, whatever
            is dealt, is over before anybody moves.
    """

    def __init__(
        self,
        game: ArrayGame,
        n: int,
        seed: int = 0,
        *,
        autoreset: Autoreset = "same_step",
        illegal: Illegal = "raise",
    ) -> None:
        n, seed = whole("a batch's n", n, least=1), whole("a batch's seed", seed)
        self._reset = _index("autoreset", autoreset, get_args(Autoreset))
        self._illegal = _index("policy for illegal actions", illegal, get_args(Illegal))
        if illegal == "forfeit" and type(game).forfeit is not Game.forfeit:
            raise ContractError(f"{game!r} has a price of its own for forfeits: illegal='raise' or 'random'")
        self.game, self.n = game, n
        self._states = np.zeros(n, game.first.dtype)  # or `first` says what the class leaves out
        a, k = len(game.moves), len(game.seats)
        self._streams = np.random.SeedSequence(seed).generate_state(n, np.uint64)
        self._dice = np.random.SeedSequence([seed, 1]).generate_state(n, np.uint64)
        self.observation = np.zeros((n, *game.shape), game.dtype)
        self._mask = np.zeros((n, a), np.uint8)
        self.legal = self._mask.view(np.bool_)
        self.reward = np.zeros((n, k), np.float32)
        self.opening = np.zeros((n, k), np.float32)
        self.done = np.zeros(n, np.bool_)
        self.mover = np.zeros(n, np.int8)
        self.faults = np.zeros(n, np.int64)
        self._aside = np.zeros((n, k), np.int32)
        self._waiting = np.zeros(n, np.int8)
        self._choice = np.full(n, DEAL, np.int32)
        self._prepare()
        with compiling(type(game).__name__):
            self._play(self._choice)
        if (over := self._fetched(self.mover) == OVER).any():
            raise ContractError(
                f"{game!r}, row {int(over.argmax())}: {DEALS:,} games in a row ended before anybody was to move"
            )

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        ends, wrong = get_args(Autoreset)[self._reset], get_args(Illegal)[self._illegal]
        return f"{type(self).__name__}({self.game!r}, n={self.n}, autoreset={ends!r}, illegal={wrong!r})"

    def random_actions(self) -> NDArray[np.int32]:
        """A uniformly drawn legal move for each row, (N,) int32, from each row's own stream; -1 where it is over.

        It is one array, which the next call fills anew.

        Raises:
            ContractError: somebody is to move and may do nothing.
        """
        self._run(self._rows.uniform, self._mask, self._choice, self._dice)
        if self._drawn_short() and (row := self._refused(self._choice, empty=True)) >= 0:
            raise self._stuck(row)
        return self._choice

    def step(self, actions: NDArray[Any], which: NDArray[np.bool_] | None = None) -> None:
        """Play actions (N,), whole numbers, of the movers.

        Args:
            actions: what is played.
            which: (N,) bool, the rows to play in, by default all. Others are left alone, whatever their action: all
                arrays stay there as they are, the reward of their last step too.

        Raises:
            ValueError: these are no N whole numbers, or no N bools; nothing has been played.
            IllegalMove: an action is not legal, and the batch was made with illegal="raise"; nothing has been
                played.
            ContractError: somebody was to move and had no legal move; nothing has been played.
        """
        try:
            given = self._placed(actions)
        except ValueError as fault:  # lists of several lengths
            raise ValueError(f"step takes whole numbers of shape ({self.n},), not {actions!r:.80}") from fault
        if given.shape != (self.n,) or given.dtype.kind not in "iu":
            raise ValueError(
                f"step takes whole numbers of shape ({self.n},), not {given.dtype} of {tuple(given.shape)}"
            )
        choice = self._taken(given)
        if which is not None:
            self._spare(self._marks("step", which), choice)
        settled = self._illegal > 0  # what is not legal is, but where nothing is
        if (row := self._refused(choice, empty=settled)) >= 0:
            if (stuck := row if settled else self._refused(choice, empty=True)) >= 0:
                raise self._stuck(stuck)
            self._refuse(row, self._fetched(given)[row])
        self._play(choice)

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Begin new games in the rows marked by which (N,) bool, or in all; what they earned is dropped."""
        choice = self._placed(np.full(self.n, DEAL, np.int32))
        if which is not None:
            self._spare(self._marks("reset", which), choice)
        self._play(choice)

    def stroll(self, steps: int) -> None:
        """Play so many steps of uniformly drawn legal moves in every row, without returning in between.

        It is `step(random_actions())` again and again, with the same result, and several times faster.

        Raises:
            ValueError: steps is no whole number from 0 on.
            ContractError: somebody is to move and may do nothing.
        """
        if not whole("steps", steps):
            return
        states, first = self._opened
        empty = self._placed(np.zeros(self.n, np.int64))
        self._run(
            self._loops.step, states, first, self._choice, self._aside, self._waiting, self._streams, self._dice,
            self.observation, self._mask, self.reward, self.opening, self.done, self.mover, empty,
            self._odds, self._reset, RANDOM, 0.0, steps,
        )  # fmt: skip
        if (stuck := self._fetched(empty)).any():
            raise ContractError(_without_a_move(self.game, int(stuck.argmin())))

    def look(self, seat: int | NDArray[Any]) -> NDArray[Any]:
        """What `seat` now sees of every row, whoever is to move: (N, *F).

        Args:
            seat: the number of a seat, or of one for each row (N,); with -1 a row is not looked at and gives zeros.

        Raises:
            ValueError: it is no whole number or none of a seat.
        """
        seen = np.empty_like(self.observation)
        self._loops.look(self._opened[0], self._seats(seat), seen)
        return seen

    def _seats(self, seat: int | NDArray[Any]) -> NDArray[np.int64]:
        given, last = np.asarray(seat), len(self.game.seats) - 1
        if not np.issubdtype(given.dtype, np.integer) or given.shape not in ((), (self.n,)):
            raise ValueError(
                f"{self.game!r}: look at the number of a seat, or at {self.n} of them, not {seat!r}"
            )
        if given.min() < -1 or given.max() > last:
            raise ValueError(f"{self.game!r}: seats are numbered 0 to {last}, and nobody is -1; not {seat!r}")
        return np.full(self.n, given, np.int64)

    @property
    def records(self) -> NDArray[Any]:
        """(N,) the positions, of the game's record type; not to be written to."""
        seen = self._fetched(self._states).view()
        seen.flags.writeable = False
        return seen

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that decides the future of the batch, as plain arrays; `restore` takes it back."""
        kept = {name.removeprefix("_"): np.array(self._fetched(getattr(self, name))) for name in _STATE}
        return kept | {"states": kept["states"].view(np.uint8).reshape(self.n, -1)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned, on a batch of the same game and size.

        Raises:
            ValueError: the state is that of another game or size; nothing has been changed.
        """
        mine = self.state()
        for name, array in mine.items():
            if name not in state or state[name].shape != array.shape or state[name].dtype != array.dtype:
                raise ValueError(
                    f"{name!r} does not fit {self.game!r} with {self.n} rows: another game or size?"
                )
        for name in _STATE:
            array = state[name.removeprefix("_")]
            if name == "_states":
                array = np.ascontiguousarray(array).view(self.game.record)[:, 0]
            self._fill(getattr(self, name), array)

    # ------------------------------------------------ where the arrays are, and what runs there
    def _prepare(self) -> None:
        """Find the loops, and the records as they want them."""
        self._given = np.zeros(self.n, np.int32)
        self._odds = odds_for(self.game, self.n)
        self._rows, self._loops = rows(), self._kernel()
        self._opened: Any = opened(self._loops, self._states), opened(self._loops, self.game.first)

    def _kernel(self) -> ModuleType:
        return kernel(self.game)

    def _run(self, loop: Any, *arguments: Any) -> None:
        """Run a loop over all rows."""
        spread(loop, self.n, *arguments)

    def _placed(self, array: Any) -> Any:
        """An array where the loops can read it."""
        return np.asarray(array)

    def _fetched(self, array: Any) -> NDArray[Any]:
        """An array where Python can read it."""
        return array  # type: ignore[no-any-return]

    def _fill(self, mine: Any, array: NDArray[Any]) -> None:
        mine[...] = array

    def _drawn_short(self) -> bool:
        """Whether some row, over or not, had no legal move to draw."""
        return bool(self._choice.min() < 0)

    def _taken(self, given: Any) -> Any:
        """Actions as the loops want them, to whom numbers below -1 mean something else, and 2^32 is 0."""
        if given.dtype == np.int32:
            return np.maximum(given, -1, out=self._given)
        known = np.iinfo(given.dtype)
        low, high = max(-1, known.min), min(len(self.game.moves), known.max)
        return np.clip(given, low, high, out=self._given, casting="unsafe")

    def _spare(self, which: Any, choice: Any) -> None:
        """Change the choice of rows that are not marked, so that they are left alone."""
        np.putmask(choice, ~which, STAY)

    def _refused(self, choice: Any, *, empty: bool) -> int:
        """The first row where a seat is to move and cannot move so, with `empty` where it cannot move at all, or -1."""
        return int(self._rows.refused(self._mask, choice, self.mover, empty))

    # ------------------------------------------------------------------------------ inside
    def _marks(self, what: str, which: Any) -> Any:
        """Marks of rows where the loops can read them."""
        marks = self._placed(which)
        if marks.shape != (self.n,) or marks.dtype != np.bool_:
            raise ValueError(
                f"{what} takes bool of shape ({self.n},), not {marks.dtype} of {tuple(marks.shape)}"
            )
        return marks

    def _play(self, choice: Any) -> None:
        states, first = self._opened
        self._run(
            self._loops.step, states, first, choice, self._aside, self._waiting, self._streams, self._dice,
            self.observation, self._mask, self.reward, self.opening, self.done, self.mover, self.faults,
            self._odds, self._reset, self._illegal, float(self.game.stake), 0,
        )  # fmt: skip

    def _refuse(self, row: int, action: int) -> None:
        legal, mover = self._fetched(self.legal)[row], self._fetched(self.mover)[row]
        possible = np.flatnonzero(legal).tolist()
        some = ", ".join(f"{move} ({self.game.moves[move]})" for move in possible[:12])
        raise IllegalMove(
            f"{self.game.id}, row {row}: {self.game.seats[mover]} cannot play {action}; legal are {some}"
            f"{', ...' * (len(possible) > 12)}. No row has moved"
        )

    def _stuck(self, row: int) -> ContractError:
        return ContractError(_without_a_move(self.game, row, f"seat {self._fetched(self.mover)[row]}"))


class PlainBatch(Batch):
    """A batch whose rules run as ordinary Python, hundreds of times slower: to step through them, and to check them."""

    def _kernel(self) -> ModuleType:
        return uncompiled(self.game)


def _without_a_move(game: ArrayGame, row: int, seat: str = "a seat") -> str:
    return f"{game!r}, row {row}: {seat} was to move and had no legal move"


_STATE = (
    "_states", "_streams", "_dice", "observation", "_mask", "reward", "opening", "done", "mover", "faults", "_aside",
    "_waiting",
)  # fmt: skip


def _index(kind: str, given: str, known: tuple[str, ...]) -> int:
    if given not in known:
        raise UnknownName(kind, given, known)
    return known.index(given)


def batch(
    game: ArrayGame | str,
    n: int,
    seed: int = 0,
    *,
    autoreset: Autoreset = "same_step",
    illegal: Illegal = "raise",
    device: Device = "cpu",
    **params: Any,
) -> Batch:
    """`n` games of an array game, stepped together; see `Batch`, and for device="cuda" `ludus.core.cuda.CudaBatch`.

    Example:
        >>> many = batch("tic_tac_toe", 1000, seed=1)
        >>> many.step(many.random_actions())
        >>> many.observation.shape, int(many.legal.sum())
        ((1000, 3, 3, 3), 8000)

    Raises:
        TypeError: the game is not an array game, or has been made and comes with parameters.
        UnknownName: no such device.
    """
    if isinstance(game, str):
        from ludus.core.registry import make

        game = make(game, **params)  # type: ignore[assignment]
    elif params:
        raise TypeError(f"{game!r} has been made already: {', '.join(params)} cannot be set")
    if not isinstance(game, ArrayGame):
        raise TypeError(
            f"batch takes an array game or its name, not the class {game.__name__}: {game.__name__}()"
            if isinstance(game, type)
            else f"{game!r} is no array game: only games over records can be stepped in a batch; play it by `play`, or as "
            "gymnasium.make_vec does"
        )
    kind = Batch
    if _index("device", device, get_args(Device)):
        from ludus.core.cuda import CudaBatch

        kind = CudaBatch
    return kind(game, n, seed, autoreset=autoreset, illegal=illegal)
