"""The ledger against the episodes it was made of."""

import numpy as np
import pytest

import ludus
from ludus.core.agent import Decision, Tokens
from ludus.core.episode import Episode, Step
from ludus.core.game import Forfeit
from ludus.core.ledger import Ledger, join
from ludus.core.match import Match


class Coin:
    """Plays at random and says how, as a learning policy would."""

    name = "coin"

    def act(self, requests):
        return [self._one(r) for r in requests]

    def _one(self, request):
        legal = request.options.legal
        move = int(request.rng.choice(np.flatnonzero(legal)))
        tokens = Tokens(
            prompt=request.view.features,
            ids=np.array([move]),
            logprobs=np.log([1 / legal.sum()]).astype(np.float32),
            sampled=np.ones(1, bool),
            policy="coin",
            version=3,
            legal=legal,
        )
        return Decision(move, tokens=tokens, value=float(request.rng.random()))


def kuhn(n=50, **lineup):
    return list(ludus.play("kuhn_poker", lineup or {"player": Coin()}, range(n)))


def seats_asked(episode):
    return {step.seat for step in episode.steps}


def test_sums_of_rewards_are_the_returns_of_the_episodes():
    episodes = sorted(kuhn(), key=lambda e: e.match.seed)
    ledger = Ledger.of(episodes)
    for start, total in zip(ledger.starts, ledger.returns, strict=True):
        episode = episodes[ledger.episode[start]]
        assert total == pytest.approx(episode.returns[ledger.seats[ledger.seat[start]]])
    assert len(ledger.starts) == sum(len(seats_asked(e)) for e in episodes)


def test_rows_of_a_seat_are_contiguous_and_ordered():
    ledger = Ledger.of(kuhn())
    for start, length in zip(ledger.starts, ledger.lengths, strict=True):
        rows = slice(start, start + length)
        assert len({(e, s) for e, s in zip(ledger.episode[rows], ledger.seat[rows], strict=True)}) == 1
        assert np.all(np.diff(ledger.order[rows]) > 0)
    assert len({(e, s) for e, s in zip(ledger.episode, ledger.seat, strict=True)}) == len(ledger.starts)


def test_next_values_follow_the_seat_and_are_zero_at_the_end():
    ledger = Ledger.of(kuhn())
    last = np.r_[ledger.starts[1:] - 1, len(ledger) - 1]
    assert np.array_equal(np.flatnonzero(ledger.ended), last)
    assert np.all(ledger.next_values[last] == 0)
    inner = np.setdiff1d(np.arange(len(ledger)), last)
    assert len(inner) > 0
    assert np.array_equal(ledger.next_values[inner], ledger.values[inner + 1])


def step(seat, reward=0.0, move=0, value=None):
    return Step(seat, move, "0" * 16, reward=reward, value=value)


def episode(*steps, returns, seed=0, **fields):
    lineup = dict.fromkeys(returns, "somebody")
    return Episode(Match("a_game", lineup, seed), tuple(steps), returns=returns, **fields)


def test_what_is_earned_early_is_kept_on_the_first_row_only():
    one = episode(
        step("player_1", 2.0), step("player_0", 1.0), step("player_1", 3.0),
        returns={"player_0": 1.0, "player_1": 4.5}, early={"player_1": -0.5},
    )  # fmt: skip
    ledger = Ledger.of([one])
    assert ledger.early.tolist() == [0.0, -0.5, 0.0]
    assert ledger.returns.tolist() == [1.0, 4.5]
    assert ledger.reward.tolist() == [1.0, 2.0, 3.0]


def test_a_cut_episode_bootstraps_and_does_not_end():
    one = episode(
        step("player_0", value=0.5), step("player_0", value=0.25),
        returns={"player_0": 0.0}, end="cut", bootstrap={"player_0": 0.75},
    )  # fmt: skip
    ledger = Ledger.of([one])
    assert ledger.next_values.tolist() == [0.25, 0.75]
    assert ledger.cut.tolist() == [False, True]
    assert not ledger.ended.any()


def test_crew_errors_failed_and_silent_seats_are_left_out():
    crew = episode(
        step("solver_0"), step("referee_0", move="right"), step("solver_1", move=Forfeit("failed: no answer")),
        returns={"solver_0": 1.0, "solver_1": 0.0, "solver_2": 0.0},
    )  # fmt: skip
    broken = episode(step("solver_0"), returns={}, end="error", fault="sandbox gone")
    ledger = Ledger.of([broken, crew])
    assert [ledger.seats[s] for s in ledger.seat] == ["solver_0"]
    assert ledger.roles == ("solver",)
    assert ledger.episode.tolist() == [1]


def test_an_illegal_reply_stays_to_be_learned_from():
    one = episode(step("player_0", -1.0, Forfeit("unreadable")), returns={"player_0": -1.0, "player_1": 1.0})
    assert len(Ledger.of([one])) == 1


class Babbler:
    """Says a move that is not there at its first decision of a game, and complains about nothing."""

    name = "babbler"

    def act(self, requests):
        return [self._one(r) for r in requests]

    def _one(self, request):
        move = int(np.flatnonzero(request.options.legal)[-1]) if request.past or request.complaint else 77
        tokens = Tokens(
            np.zeros(2, np.float32), np.array([move]), np.zeros(1, np.float32), np.ones(1, bool), "babbler", 0
        )
        return Decision(move, raw=str(move), tokens=tokens)


def babbled(**illegal):
    matches = [
        ludus.Match("tic_tac_toe", {"player": Babbler()}, seed, illegal=ludus.Illegal(**illegal))
        for seed in range(5)
    ]
    return list(ludus.play(matches))


def test_a_move_drawn_for_a_seat_does_not_teach_what_the_seat_said():
    ledger = Ledger.of(babbled(policy="random"))
    said = ledger.ids[ledger.offset]
    assert (said == 77).sum() == 10  # each seat's first reply
    assert np.array_equal(ledger.weight, np.where(said == 77, 0.0, 1.0))
    returns = ledger.returns
    assert set(returns) <= {-1.0, 0.0, 1.0}
    assert returns.any()  # the moves count for the game, whoever drew them


def test_rejected_replies_have_no_row():
    ledger = Ledger.of(babbled(policy="retry", times=1))
    assert 77 not in ledger.ids
    assert np.all(ledger.weight == 1)


def test_a_forfeit_is_learned_from():
    ledger = Ledger.of(babbled(policy="forfeit"))
    assert ledger.ids.tolist() == [77] * 5
    assert ledger.weight.tolist() == [1.0] * 5
    assert np.all(ledger.reward < 0)


def test_take_packs_tokens_and_keeps_rows():
    ledger = Ledger.of(kuhn())
    rows = np.flatnonzero(ledger.seat == 1)
    part = ledger.take(rows)
    assert np.array_equal(part.ids[part.offset], ledger.ids[ledger.offset[rows]])
    assert np.array_equal(part.prompts, ledger.prompts[rows])
    assert part.starts.size == len(np.unique(ledger.sequence[rows]))
    again = ledger.take(ledger.seat == 1)
    assert np.array_equal(again.rewards, part.rewards)


def test_join_numbers_on_and_merges_names():
    left, right = Ledger.of(kuhn(5)), Ledger.of(kuhn(7, player_0="uniform", player_1=Coin()))
    both = join([left, right])
    assert len(both) == len(left) + len(right)
    assert both.policies == ("coin", "uniform")
    assert np.allclose(both.returns, np.r_[left.returns, right.returns])
    tail = both.take(np.arange(len(left), len(both)))
    assert [both.policies[p] for p in tail.policy] == [right.policies[p] for p in right.policy]
    assert np.array_equal(tail.ids, right.ids)
    assert len(np.unique(both.episode)) == 12


def test_ragged_tokens_are_padded():
    def spoken(seat, *ids):
        n = len(ids)
        tokens = Tokens(np.arange(3), np.array(ids), np.zeros(n, np.float32), np.arange(n) != 1, "lm", 0)
        return Step(seat, "word", "0" * 16, tokens=tokens)

    ledger = Ledger.of(
        [episode(spoken("player_0", 7), spoken("player_0", 4, 5, 6), returns={"player_0": 0.0})]
    )
    rows = ledger.rows()
    assert rows.ids.tolist() == [[7, 0, 0], [4, 5, 6]]
    assert rows.mask.tolist() == [[True, False, False], [True, True, True]]
    assert rows.sampled.tolist() == [[True, False, False], [True, False, True]]
    assert isinstance(rows.prompts, tuple)
    assert np.isnan(ledger.old).all()


def test_a_reward_column_is_added_and_none_overwritten():
    ledger = Ledger.of(kuhn(3))
    shaped = ledger.with_rewards("length", np.ones(len(ledger)))
    assert shaped.columns == ("game", "length")
    assert np.allclose(shaped.reward, ledger.reward + 1)
    assert np.array_equal(shaped.rewards[:, 0], ledger.rewards[:, 0])


def test_seats_of_different_shapes_share_a_ledger():
    def seen(seat, *features, legal):
        tokens = Tokens(np.array(features, np.float32), np.zeros(1, int), np.zeros(1, np.float32), np.ones(1, bool), "net",
                        0, legal=np.array(legal))  # fmt: skip
        return Step(seat, 0, "0" * 16, tokens=tokens)

    steps = seen("a_0", 1, 2, legal=[True]), seen("b_0", 3, legal=[True, False])
    ledger = Ledger.of([episode(*steps, returns={"a_0": 0.0, "b_0": 0.0})])
    assert isinstance(ledger.prompts, tuple)
    assert ledger.legal.tolist() == [[True, False], [True, False]]
    part = ledger.take(ledger.seat == 0)
    assert part.rows().prompts.tolist() == [[1, 2]]
