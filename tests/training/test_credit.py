"""What holds for estimators on any ledger."""

import numpy as np
import pytest
from decisions import filled

from ludus.core.agent import Tokens
from ludus.core.episode import Episode, Step
from ludus.core.errors import UnknownName
from ludus.core.ledger import Ledger
from ludus.core.match import Match
from ludus.training.choices import Named
from ludus.training.estimators.credit import ESTIMATORS, earned, estimator, gae, role_baseline
from ludus.training.estimators.groups import group_mean, leave_one_out
from ludus.training.select import select
from ludus.training.settings import Selector


def step(seat, reward, policy="main", version=0, value=0.5):
    tokens = Tokens(np.arange(2), np.array([1]), np.zeros(1, np.float32), np.ones(1, bool), policy, version)
    return Step(seat, "word", "0" * 16, reward=reward, tokens=tokens, value=value)


def episodes(seed=0, n=12):
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        steps = [step(f"player_{j % 2}", float(rng.normal()), value=float(rng.normal())) for j in range(5)]
        returns = {s: sum(x.reward for x in steps if x.seat == s) for s in ("player_0", "player_1")}
        lineup = {"player_0": "main", "player_1": "main"}
        made.append(Episode(Match("a_game", lineup, i // 4), tuple(steps), returns=returns))
    return made


LEDGER = Ledger.of(episodes())
# with all that a learner fills in; a third of the plays are greedy
FULL = filled(
    LEDGER, sample=LEDGER.episode % 3, old=-np.ones(len(LEDGER.ids)), collision=np.full(len(LEDGER.ids), 0.5),
    token_values=np.linspace(-1, 1, len(LEDGER.ids)),
)  # fmt: skip


def shifted(ledger, amount):
    """Every seat earns so much more."""
    column = np.zeros(len(ledger))
    column[ledger.starts] = amount
    return ledger.with_rewards("gift", column)


ALL = [
    "gae", "gpg", "group_mean", "leave_one_out", "multi_critic", "normalise_then_sum", "opo", "otb", "pass_at_k",
    "reinforce_pp", "reinforce_pp_baseline", "remax", "returns", "role_baseline", "token_gae",
]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_an_estimator_is_a_pure_function(name):
    estimate = ESTIMATORS.maker(name)
    memory = {}
    first, again = estimate(FULL, memory), estimate(FULL, memory)
    assert memory == {}
    assert first.memory == again.memory
    assert first.advantages.shape == first.targets.shape == (len(FULL),)
    for a, b in zip(first, again, strict=True):
        assert a is b is None or isinstance(a, dict) or np.array_equal(a, b)
    assert np.isfinite(first.advantages).all()
    assert first.advantages.any()
    if first.token_advantages is not None:
        assert first.token_advantages.shape == first.token_targets.shape == FULL.ids.shape
    empty = estimate(FULL.take(np.zeros(0, np.int64)), {})
    assert len(empty.advantages) == len(empty.targets) == 0


def test_all_estimators_are_listed_before_they_are_imported():
    assert set(ALL) <= set(ESTIMATORS.names())


def test_a_need_that_no_learner_knows_is_refused():
    with pytest.raises(UnknownName, match="collision"):
        estimator("needy", needs=("collisions",))(gae)


@pytest.mark.parametrize("settings", [{"scale": True}, {"scale": False}])
def test_a_gift_to_everybody_changes_no_group_estimate(settings):
    plain, gifted = group_mean(LEDGER, {}, **settings), group_mean(shifted(LEDGER, 3.0), {}, **settings)
    assert gifted.advantages == pytest.approx(plain.advantages)
    assert leave_one_out(shifted(LEDGER, 3.0), {}).advantages == pytest.approx(
        leave_one_out(LEDGER, {}).advantages
    )


def test_leave_one_out_is_the_centred_mean_scaled():
    centred = group_mean(LEDGER, {}, scale=False).advantages
    assert leave_one_out(LEDGER, {}).advantages == pytest.approx(centred * 4 / 3)  # groups of four


def test_columns_add_up_to_the_return():
    two = filled(shifted(LEDGER, 3.0), early=np.where(LEDGER.order < 2, 0.5, 0.0))
    taxed = filled(two, token_rewards=np.linspace(-1, 1, len(two.ids)))
    parts = [earned(taxed, name) for name in ("game", "gift", "tokens")]
    assert sum(parts) == pytest.approx(taxed.returns)
    assert earned(taxed) == pytest.approx(taxed.returns)
    assert parts[0] == pytest.approx(LEDGER.returns + 0.5)  # what came early was paid by the game
    assert parts[1].tolist() == [3.0] * len(LEDGER.starts)
    with pytest.raises(UnknownName, match="gift"):
        earned(taxed, "gfit")


def test_gae_at_trace_one_is_the_return_to_go_less_the_value():
    got = gae(LEDGER, {}, trace=1.0)
    for start, length in zip(LEDGER.starts, LEDGER.lengths, strict=True):
        rows = slice(start, start + length)
        to_go = np.cumsum(LEDGER.reward[rows][::-1])[::-1]
        assert got.targets[rows] == pytest.approx(to_go)


def test_gae_bootstraps_where_cut():
    cut = Episode(
        Match("a_game", {"player_0": "main"}, 0), (step("player_0", 1.0, value=0.5),),
        returns={"player_0": 1.0}, end="cut", bootstrap={"player_0": 2.0},
    )  # fmt: skip
    assert gae(Ledger.of([cut]), {}, discount=0.5).advantages.tolist() == [1.0 + 0.5 * 2.0 - 0.5]


def test_solvers_of_one_problem_are_peers_by_role():
    steps = [step(f"solver_{i}", float(i)) for i in range(3)] + [step("proposer_0", 9.0)]
    returns = {s.seat: s.reward for s in steps}
    one = Episode(Match("a_game", dict.fromkeys(returns, "main"), 0), tuple(steps), returns=returns)
    ledger = Ledger.of([one])
    got = group_mean(ledger, {}, scale=False, by="role", within="episode")
    assert got.advantages.tolist() == [-1, 0, 1, 0]
    assert group_mean(ledger, {}, scale=False, by="seat", within="episode").advantages.tolist() == [0] * 4
    assert list(role_baseline(ledger, {}, by="role").memory) == ["main a_game solver", "main a_game proposer"]


def test_policies_are_no_peers_of_one_another():
    one = [
        Episode(Match("a_game", {"player_0": p}, 0), (step("player_0", r, p),), returns={"player_0": r})
        for p, r in [("main", 1.0), ("main", 3.0), ("other", 50.0)]
    ]
    assert group_mean(Ledger.of(one), {}, scale=False).advantages.tolist() == [-1, 1, 0]


def test_selection_by_policy_role_age_source_and_filter():
    mixed = [
        Episode(
            Match("a_game", {"player_0": "main", "player_1": "other"}, i),
            (step("player_0", r, "main", v), step("player_1", -r, "other", 9)),
            returns={"player_0": r, "player_1": -r},
        )
        for i, (r, v) in enumerate([(1.0, 3), (0.0, 2), (1.0, 1)])
    ]
    ledger = Ledger.of(mixed)
    credit = ESTIMATORS.maker("returns")(ledger, {})

    def chosen(version=3, **settings):
        rows = select(ledger, Selector(**settings), policy="main", version=version, credit=credit)
        return [int(v) for v in ledger.version[rows]]

    assert chosen() == [3]
    assert chosen(max_age=1) == [3, 2]
    assert chosen(max_age=5) == [3, 2, 1]
    assert chosen(max_age=5, keep=Named("with_credit")) == [3, 1]
    assert chosen(max_age=5, keep=Named("varied")) == []
    assert chosen(max_age=5, roles=("player_1",)) == []
    assert chosen(max_age=5, sources=("buffer",)) == []
    with pytest.raises(UnknownName, match="player_0"):
        chosen(roles=("player_9",))


def test_wrong_settings_are_refused():
    for wrong in ({"decay": 1.0}, {"decay": -0.1}):
        with pytest.raises(ValueError):
            role_baseline(LEDGER, {}, **wrong)
    with pytest.raises(ValueError):
        gae(LEDGER, {}, trace=1.5)
    for wrong in ({"by": "team"}, {"within": "year"}):
        with pytest.raises(UnknownName):
            group_mean(LEDGER, {}, **wrong)
    with pytest.raises(UnknownName):
        role_baseline(LEDGER, {}, update="never")
