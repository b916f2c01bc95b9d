"""Collecting whole games as arrays: in every step one game a row, from its beginning to its end.

Nothing is cut, so that nothing has to be estimated, and estimators that compare whole episodes have them.

Shape letters: T decisions of the longest game, N rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ludus.core.batch import Autoreset
from ludus.core.errors import TrainingError
from ludus.core.game import Seat
from ludus.core.ledger import Ledger
from ludus.training.collect import ArrayCollector, Finder, Stretch, Tally

TIMED = (
    "observation", "legal", "mover", "who", "move", "logprob", "value", "done", "pay", "opening", "target",
)  # fmt: skip


class WholeCollector(ArrayCollector):
    """Plays N games to their end in every step.

    Args:
        game: the rules; every seat is a player.
        rows: games of a step, side by side (N).
        length: how many decisions a game may have.
        seed: decides chance and moves.
    """

    autoreset: ClassVar[Autoreset] = "disabled"
    cuts: ClassVar[bool] = False
    """Whether games that go on after `length` decisions are cut; else they are an error."""

    def collect(self, cast: Finder, lineup: Mapping[Seat, str]) -> tuple[Ledger, Tally]:
        """N whole games.

        Raises:
            TrainingError: one is longer than `length`.
        """
        self.batch.reset()
        self._earned[:], self._count[:] = self.batch.opening, 0
        seating = self._seated(cast, lineup)
        self._deal(seating, np.arange(self.batch.n))
        tally = Tally(first=self.game.seats[0])
        s, played = self._blank(), 0
        while played < self.length and not self.batch.done.all():
            self._step(s, played, seating, tally)
            played += 1
        if not (self.cuts or self.batch.done.all()):
            raise TrainingError(
                f"{self.game.id}: {int((~self.batch.done).sum())} of {self.batch.n} games go on after "
                f"{self.length} decisions, and whole ones are wanted: raise collect.length"
            )
        timed = {name: part[:played] for name in TIMED if (part := getattr(s, name)) is not None}
        s = dataclasses.replace(s, **timed)
        live = (s.mover >= 0).ravel()
        s.mover[s.mover < 0] = 0  # of rows that are over: they are left out of the ledger
        ledger = self._ledger(s, seating, self._ahead(s, seating))
        assert ledger.legal is not None  # of arrays it never is
        whole = ledger.take(np.asarray(ledger.legal.any(1)))
        assert len(whole) == live.sum()  # who may do nothing decides nothing
        return whole, tally

    def _blank(self) -> Stretch:
        began = np.ones(self.batch.n, np.bool_)
        return Stretch.blank(self.length, self.batch, began, self._earned.copy())
