"""Ledgers made by hand: replies of so many tokens, that earned so much, in episodes of some group."""

import dataclasses

import numpy as np

from ludus.core.agent import Tokens
from ludus.core.episode import Episode, Step
from ludus.core.ledger import Ledger
from ludus.core.match import Match


def said(reward=0.0, *, seat="player_0", tokens=1, policy="main", value=None, truncated=False):
    """A reply of `tokens` sampled tokens; of True and False, for sampled and forced ones; None: of no tokens."""
    if tokens is None:
        return Step(seat, "word", "0" * 16, reward=reward, value=value)
    mask = np.ones(tokens, bool) if isinstance(tokens, int) else np.array(tokens, bool)
    known = Tokens(
        np.arange(2), np.ones(len(mask), np.int64), np.zeros(len(mask), np.float32), mask, policy, 0,
        truncated=truncated,
    )  # fmt: skip
    return Step(seat, "word", "0" * 16, reward=reward, tokens=known, value=value)


def episode(*steps, group="", seed=0, game="a_game", sample=0, policy="main", **fields):
    """An episode in which every seat earned what its replies did."""
    returns = {}
    for step in steps:
        returns[step.seat] = returns.get(step.seat, 0.0) + step.reward
    lineup = dict.fromkeys(returns, policy)
    return Episode(Match(game, lineup, seed, group=group, sample=sample), steps, returns=returns, **fields)


def one_reply_each(groups):
    """A ledger of one-reply episodes: for each group the (return, tokens) of its members."""
    return Ledger.of(
        [
            episode(said(reward, tokens=tokens), group=f"group {number}")
            for number, members in enumerate(groups)
            for reward, tokens in members
        ]
    )


def filled(ledger, **columns):
    """The ledger with some columns replaced, in their own kind of number."""
    kinds = {name: np.asarray(values, getattr(ledger, name).dtype) for name, values in columns.items()}
    return dataclasses.replace(ledger, **kinds)


def played_again(game, ledger, rows):
    """Go through one episode's decisions by the scalar rules: the same turns, features, legal moves and returns."""
    state, returns = game.start(np.random.default_rng(0)), dict.fromkeys(game.seats, 0.0)
    for row in rows:
        seat = ledger.seats[ledger.seat[row]]
        assert game.turn(state) == (seat,)
        assert np.array_equal(game.view(state, seat).features, ledger.prompts[row])
        assert np.array_equal(game.options(state, seat).legal, ledger.legal[row])
        state = game.play(state, {seat: int(ledger.ids[row])})
        for who, amount in game.payoff(state).items():
            returns[who] += amount
    assert game.turn(state) == ()
    for k, seat in enumerate(game.seats):
        assert np.isclose(ledger.reward[rows[ledger.seat[rows] == k]].sum(), returns[seat])
