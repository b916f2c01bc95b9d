"""Ctrl-C while a run goes on: the first lets it finish its step, the second interrupts at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import Any, Self


class Stop:
    """Notes an interrupt while it is entered, and raises it at the end.

    Only where Python's own handler would answer: not in other threads, nor under a handler that somebody else has set.

    Args:
        listens: False where an interrupt is to act at once, as of one of several processes.

    Attributes:
        asked: whether there was one.
    """

    def __init__(self, *, listens: bool = True) -> None:
        self.listens, self.asked = listens, False

    def __enter__(self) -> Self:
        mine = self.listens and threading.current_thread() is threading.main_thread()
        if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.asked and kind is None:
            raise KeyboardInterrupt

    def _note(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):  # and not by sys.stderr, which may be writing just now
            os.write(2, b"\nfinishing this step; Ctrl-C again stops at once\n")
