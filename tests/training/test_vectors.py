"""Published numbers of estimators and objectives, and proof that these tests would see them broken.

Expected values are those of the algorithms' papers and reference implementations, computed in
double precision apart from the code under test.
"""

import numpy as np
import pytest
import torch
from mutants import broken

from ludus.core.agent import Tokens
from ludus.core.episode import Episode, Step
from ludus.core.ledger import Ledger
from ludus.core.match import Match
from ludus.core.policy import Scores
from ludus.core.registry import Registry
from ludus.training.choices import Named
from ludus.training.estimators import credit, groups
from ludus.training.objectives import objective as objectives
from ludus.training.settings import Objective

MODULES = {"credit": credit, "groups": groups, "objectives": objectives}


def spoken(reward, value=None, seat="player_0"):
    tokens = Tokens(np.arange(2), np.array([1]), np.zeros(1, np.float32), np.ones(1, bool), "main", 0)
    return Step(seat, "word", "0" * 16, reward=reward, tokens=tokens, value=value)


def said(reward, tokens):
    """A reply of so many tokens."""
    known = Tokens(
        np.arange(2),
        np.ones(tokens, np.int64),
        np.zeros(tokens, np.float32),
        np.ones(tokens, bool),
        "main",
        0,
    )
    return Step("player_0", "word", "0" * 16, reward=reward, tokens=known)


def episode(*steps, group="", seed=0, game="a_game"):
    returns = {}
    for step in steps:
        returns[step.seat] = returns.get(step.seat, 0.0) + step.reward
    lineup = dict.fromkeys(returns, "main")
    return Episode(Match(game, lineup, seed, group=group), steps, returns=returns)


def group(*returns, **fields):
    return [episode(spoken(r), **fields) for r in returns]


ONE_OF_FOUR = Ledger.of(group(1, 0, 0, 0))


# --------------------------------------------------------------------------------- the vectors
def grpo_verl(m):
    got = m["groups"].group_mean(ONE_OF_FOUR, {}, eps=1e-6).advantages
    assert got == pytest.approx([1.499997, -0.499999, -0.499999, -0.499999], abs=5e-7)


def grpo_trl(m):
    got = m["groups"].group_mean(ONE_OF_FOUR, {}, eps=1e-4).advantages
    assert got == pytest.approx([1.4997000600, *[-0.4999000200] * 3], abs=1e-9)


def grpo_far_from_one(m):
    """Two returns, deviation sqrt 2: 1 / (1.41421356 + 0.1), by hand."""
    got = m["groups"].group_mean(Ledger.of(group(2, 0)), {}, eps=0.1).advantages
    assert got == pytest.approx([0.66040880, -0.66040880], abs=1e-7)


def dr_grpo(m):
    got = m["groups"].group_mean(ONE_OF_FOUR, {}, scale=False).advantages
    assert got.tolist() == [0.75, -0.25, -0.25, -0.25]


def leave_one_out(m):
    got = m["groups"].leave_one_out(ONE_OF_FOUR, {}).advantages
    assert got == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


def opo(m):
    """Replies of 10, 20, 30 and 40 tokens: the baseline is .1."""
    ledger = Ledger.of(
        [episode(said(r, tokens)) for r, tokens in zip((1, 0, 0, 0), (10, 20, 30, 40), strict=True)]
    )
    assert m["groups"].opo(ledger, {}).advantages == pytest.approx([0.9, -0.1, -0.1, -0.1])


def pass_at_k(m):
    got = m["groups"].pass_at_k(Ledger.of(group(0.5, 0.9, 0.1)), {}).advantages
    assert got == pytest.approx([0, 0.9999975, 0], abs=1e-9)


def groups_are_apart(m):
    """Two deals, two seats: each is compared with its own deal and its own seat only."""
    both = [
        episode(spoken(a), spoken(b, seat="player_1"), group=deal)
        for deal, a, b in [("x", 1, 5), ("x", 3, 9), ("y", 10, 0), ("y", 20, 8)]
    ]
    got = m["groups"].group_mean(Ledger.of(both), {}, scale=False).advantages
    assert got.tolist() == [-1, -2, 1, 2, -5, -4, 5, 4]


def unanimous_groups_are_zero(m):
    ledger = Ledger.of(group(0.1, 0.1, 0.1, group="x") + group(0, 1, group="y") + group(7, group="alone"))
    for estimate in (m["groups"].group_mean, m["groups"].leave_one_out):
        got = estimate(ledger, {}).advantages
        assert got[:3].tolist() == [0, 0, 0]
        assert got[3] < 0 < got[4]
        assert got[5] == 0


def gae_trace(m):
    ledger = Ledger.of([episode(spoken(0, 0.2), spoken(0, 0.4), spoken(1, 0.6))])
    got = m["credit"].gae(ledger, {}, discount=1.0, trace=0.95)
    assert got.advantages == pytest.approx([0.751, 0.58, 0.4])
    assert got.targets == pytest.approx([0.951, 0.98, 1.0])


def gae_returns(m):
    ledger = Ledger.of([episode(spoken(0, 0.2), spoken(0, 0.4), spoken(1, 0.6))])
    assert m["credit"].gae(ledger, {}, discount=1.0, trace=1.0).advantages == pytest.approx([0.8, 0.6, 0.4])


def gae_masked(m):
    for middle in (0.4, -17.0):
        rewards, values = np.array([[0.0, 0.0, 1.0]]), np.array([[0.2, middle, 0.6]])
        valid = np.array([[True, False, True]])
        got = m["credit"].generalised(rewards, values, np.zeros(1), valid, discount=1.0, trace=0.95)
        assert got[0, [0, 2]] == pytest.approx([0.78, 0.4])
    ledger = Ledger.of([episode(spoken(0, 0.2), spoken(0), spoken(1, 0.6))])
    assert m["credit"].gae(ledger, {}).advantages[[0, 2]] == pytest.approx([0.78, 0.4])


def rae(m):
    results, memory = [], {}
    for reward in (1, -1, 1, 1):
        got = m["credit"].role_baseline(Ledger.of(group(reward)), memory)
        memory = got.memory
        results.append((got.advantages[0], *memory.values()))
    advantages, means = zip(*results, strict=True)
    assert advantages == pytest.approx([1, -1.05, 1.0025, 0.952375])
    assert means == pytest.approx([0.05, -0.0025, 0.047625, 0.09524375])


def rae_before(m):
    got = m["credit"].role_baseline(Ledger.of(group(1, -1, 1, 1)), {}, update="before")
    assert got.advantages == pytest.approx([0.95, -0.9975, 0.952375, 0.90475625])


def rae_before_is_after_scaled(m):
    """SPIRAL's paper and its code: their baselines are equal, their advantages differ by the factor `decay`."""
    ledger = Ledger.of(group(1, 1, -1, 0.5))
    after = m["credit"].role_baseline(ledger, {})
    before = m["credit"].role_baseline(ledger, {}, update="before")
    assert after.advantages == pytest.approx([1, 0.95, -1.0975, 0.457375])
    assert before.advantages == pytest.approx([0.95, 0.9025, -1.042625, 0.43450625])
    assert before.advantages == pytest.approx(0.95 * after.advantages)
    assert before.memory == after.memory
    assert list(after.memory.values()) == pytest.approx([0.06549375])


def rae_moves_once_for_each_trajectory(m):
    long = episode(spoken(0.0), spoken(0.0), spoken(1.0), spoken(-1.0, seat="player_1"))
    got = m["credit"].role_baseline(Ledger.of([long]), {})
    assert sorted(got.memory.values()) == pytest.approx([-0.05, 0.05])
    assert got.advantages.tolist() == [1, 1, 1, -1]
    other = m["credit"].role_baseline(Ledger.of(group(1, game="b_game")), got.memory)
    assert len(other.memory) == 3


def masked_tokens_do_not_count(m):
    """A forced token carries no loss, whatever its log-probability."""
    new = torch.tensor([[-0.5, -9.0, -0.2]], requires_grad=True)
    mask = torch.tensor([[True, False, True]])
    scores = Scores(logprobs=new, mask=torch.ones_like(mask), entropy=torch.zeros(1, 3))
    part = m["objectives"].Part(
        mask=mask, advantages=torch.tensor([[2.0]]), targets=torch.zeros(1), values=None,
        old=torch.tensor([[-0.5, 0.0, -0.2]]), rollout=torch.zeros(1, 3), weight=torch.ones(1, 1),
        correction=torch.ones(1, 3),
    )  # fmt: skip
    goal = Objective(aggregation=Named("token_mean"), entropy_over="tokens")
    loss, log = m["objectives"].objective(goal, scores, part, m["objectives"].Totals.of(mask))
    loss.backward()
    assert loss.item() == pytest.approx(-2.0)
    assert new.grad.tolist() == [[pytest.approx(-1.0), 0.0, pytest.approx(-1.0)]]
    assert log["losses/policy_loss"] == pytest.approx(-2.0)


CHECKS = [
    grpo_verl, grpo_trl, grpo_far_from_one, dr_grpo, leave_one_out, opo, pass_at_k, groups_are_apart, unanimous_groups_are_zero, gae_trace,
    gae_returns, gae_masked, rae, rae_before, rae_before_is_after_scaled,
    rae_moves_once_for_each_trajectory, masked_tokens_do_not_count,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_vector(check):
    check(MODULES)


# ------------------------------------------------------------------------------- the mutations
MUTATIONS = [
    ("sign", "groups", "(pool - pool.mean()) / spread", "(pool.mean() - pool) / spread", {grpo_verl, dr_grpo}),
    ("epsilon place", "groups", "np.std(pool, ddof=1) + eps", "np.sqrt(np.var(pool, ddof=1) + eps)",
     {grpo_trl, grpo_far_from_one}),
    ("epsilon place", "groups", "(pool - pool.mean()) / spread", "(pool - pool.mean()) / (spread - eps) + eps",
     {grpo_verl, grpo_trl}),
    ("mask", "objectives", "mask = scores.mask & part.mask", "mask = scores.mask", {masked_tokens_do_not_count}),
    ("mask", "credit", "np.where(here, values[:, t], following)", "values[:, t]", {gae_masked}),
    ("baseline order", "credit", 'before if update == "after" else', 'before if update == "before" else',
     {rae, rae_before, rae_before_is_after_scaled}),
    ("weight", "groups", "np.average(returns[pool], weights=length[pool])", "returns[pool].mean()", {opo}),
    ("order", "groups", "second, best = np.sort(pool)[-2:]", "best, second = np.sort(pool)[-2:]", {pass_at_k}),
    ("group key", "groups", "(ledger.policy, ledger.game, scopes[within], seats)",
     "(ledger.policy, ledger.game, seats)", {groups_are_apart}),
    ("group key", "groups", "(ledger.policy, ledger.game, scopes[within], seats)",
     "(ledger.policy, ledger.game, scopes[within])", {groups_are_apart}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "module", "old", "new", "seen_by"),
    MUTATIONS,
    ids=[f"{m[0]}-{i}" for i, m in enumerate(MUTATIONS)],
)
def test_mutation_is_caught(kind, module, old, new, seen_by, tmp_path, monkeypatch):
    monkeypatch.setattr(credit, "ESTIMATORS", Registry("estimator", "none"))  # its names are taken
    copy = broken(MODULES[module], old, new, tmp_path, monkeypatch)
    for check in seen_by:
        with pytest.raises(AssertionError):
            check({**MODULES, module: copy})
