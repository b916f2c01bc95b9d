"""A policy small enough to differentiate by hand: the next of eight tokens depends on the last one alone."""

import dataclasses

import numpy as np
import torch
from decisions import episode, said

from ludus.core.ledger import Ledger
from ludus.core.policy import Scores

WORDS = 8


class Babbler:
    """Logits (8, 8) of the next token and a value (8,) of each token; it values tokens and tells collisions."""

    def __init__(self, name="main", seed=0, *, values=True):
        g = torch.Generator().manual_seed(seed)
        self.name, self.version, self.calls = name, 0, 0
        self.table = torch.randn(WORDS, WORDS, generator=g).requires_grad_()
        self.worth = (0.3 * torch.randn(WORDS, generator=g)).requires_grad_() if values else None

    def score(self, rows):
        self.calls += 1
        ids = torch.from_numpy(rows.ids)
        first = torch.tensor([int(prompt[-1]) for prompt in rows.prompts])[:, None]
        before = torch.cat([first, ids[:, :-1]], 1)
        logp = torch.log_softmax(self.table[before], -1)
        return Scores(
            logprobs=logp.gather(-1, ids[..., None])[..., 0],
            mask=torch.from_numpy(rows.mask & rows.sampled),
            entropy=-(logp.exp() * logp).sum(-1),
            token_values=None if self.worth is None else self.worth[before],
            collision=None if torch.is_grad_enabled() else (2 * logp).exp().sum(-1),
        )

    def parameters(self):
        return [self.table] + ([] if self.worth is None else [self.worth])

    def state(self):
        return {str(i): weight.detach() for i, weight in enumerate(self.parameters())}

    def load(self, state):
        with torch.no_grad():
            for name, weight in self.state().items():
                weight.copy_(state[name])

    def frozen(self, name):
        other = Babbler(name, values=self.worth is not None)
        other.load(self.state())
        return other


def talk(policy, *, groups=4, size=3, seed=0, gap=0.2, forced=0.1, cut=0.15):
    """A ledger of conversations of one or two replies, paid 0 or 1 at their end.

    Args:
        policy: whose log-probabilities the engine reports, but for a gap.
        groups, size: so many groups of so many conversations with the same first prompt.
        seed: decides everything.
        gap: deviation of the engine's log-probabilities from the policy's.
        forced: share of tokens that were not sampled.
        cut: share of replies cut at the limit.
    """
    rng = np.random.default_rng(seed)
    played = []
    for group in range(groups):
        for _ in range(size):
            turns = rng.integers(1, 3)
            steps = [
                said(
                    float(turn == turns - 1 and rng.random() < 0.5),
                    tokens=[True, *(rng.random(rng.integers(0, 6)) >= forced).tolist()],
                    truncated=rng.random() < cut,
                )
                for turn in range(turns)
            ]
            played.append(episode(*steps, group=f"group {group}", seed=group))
    ledger = Ledger.of(played)
    ids = rng.integers(0, WORDS, len(ledger.ids))
    prompts = tuple(
        np.arange(3 + ledger.group[row], dtype=np.int64) % WORDS
        if not row or ledger.sequence[row] != ledger.sequence[row - 1]
        else rng.integers(0, WORDS, 12)
        for row in range(len(ledger))
    )
    ledger = dataclasses.replace(ledger, ids=ids, prompts=prompts)
    rows = ledger.rows()
    with torch.no_grad():
        now = policy.score(rows).logprobs.numpy()[rows.mask]
    rollout = (now + gap * rng.standard_normal(len(now))).astype(np.float32)
    return dataclasses.replace(ledger, rollout=rollout)
