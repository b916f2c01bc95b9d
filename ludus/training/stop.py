"""Ctrl-C while a run goes on: the first lets it finish its step and write a checkpoint, the second interrupts at once."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Self


class Stop:
    """Notes an interrupt while it is entered.

    Only where Python's own handler would answer: not in other threads, nor under a handler that somebody else has set.

    Attributes:
        asked: whether there was one.
    """

    def __init__(self) -> None:
        self.asked = self._placed = False

    def __enter__(self) -> Self:
        mine = threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._placed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._placed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr.write("\nfinishing this step, to write a checkpoint; Ctrl-C again stops at once\n")
