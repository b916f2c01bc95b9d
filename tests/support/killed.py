"""A run that is killed, and goes on."""

from pathlib import Path

import pytest

from ludus.training.run import Run, train


def killed(config, monkeypatch, *, before: int) -> Path:
    """Begin a run, kill it before this step, and let it go on from its newest checkpoint; its folder."""
    step = Run._step

    def dying(self, number):
        if number == before:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            train(config, quiet=True)
    return train(config, resume=True, quiet=True)
