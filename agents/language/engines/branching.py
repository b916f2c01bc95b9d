"""Replies among which a model may choose, as a tree of tokens: engines elsewhere are asked at its forks alone.

Where one token can follow it is forced: it has probability one and nobody is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ludus.agents.language.engines.engine import Ids, Job, Sampled


@dataclass(slots=True, eq=False)
class Reply:
    """A reply under way.

    Attributes:
        job: what was asked.
        limit: how many tokens it may have.
        ids, logprobs: so far.
    """

    job: Job
    limit: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def fed(self) -> Ids:
        """Prompt and reply so far."""
        return (*self.job.ids, *self.ids)

    def fork(self) -> list[int] | None:
        """The tokens that may follow, two or more, after those are taken that must; None at the reply's end."""
        while len(self.ids) < self.limit and (following := self._following()):
            if len(following) > 1:
                return following
            self.ids.append(following[0])
            self.logprobs.append(0.0)
        return None

    def _following(self) -> list[int]:
        so_far, length = tuple(self.ids), len(self.ids)
        replies = self.job.allowed or ()
        return sorted({r[length] for r in replies if len(r) > length and r[:length] == so_far})

    def done(self) -> Sampled:
        """It as it is now."""
        whole = self.job.allowed is not None and tuple(self.ids) in self.job.allowed
        return Sampled(tuple(self.ids), np.array(self.logprobs, np.float32), "stop" if whole else "length")
