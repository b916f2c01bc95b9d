"""Backgammon through our rules, one checker at a time, and OpenSpiel's, two at a time: whole turns lead to the same."""

import re

import numpy as np
import pytest

import ludus
from ludus.core.array_game import Position
from ludus.core.errors import UnknownName
from ludus.core.game import CHANCE
from ludus.envs.board.backgammon import BAR, note

pyspiel = pytest.importorskip("pyspiel")

PAIRS = {
    "": ("backgammon", {}, 8),
    "full": ("backgammon(scoring_type=full_scoring)", {"scoring": "full"}, 12),
    "gammons": ("backgammon(scoring_type=enable_gammons)", {"scoring": "gammons"}, 8),
    "hyper": ("backgammon(hyper_backgammon=true,scoring_type=full_scoring)", {"hyper": True, "scoring": "full"}, 60),
    "short": ("backgammon(max_player_turns=9)", {"turns": 9}, 60),
}


def ours_after(game, state) -> dict[tuple, list]:
    """Where a whole turn may lead: the moves to each board."""
    found, ahead = {}, [(state, [])]
    seen = {state.record}
    (seat,) = game.turn(state)
    while ahead:
        at, moves = ahead.pop()
        for move in np.flatnonzero(game.options(at, seat).legal).tolist():
            after = game.play(at, {seat: move})
            if after.record in seen:
                continue
            seen.add(after.record)
            if game.turn(after) == (seat,):
                ahead.append((after, [*moves, move]))
            else:
                found.setdefault(board(game, after), [*moves, move])
    return found


def theirs_after(state) -> dict[tuple, list]:
    """The same by OpenSpiel's actions: of equal dice there are two."""
    player, found, ahead, seen = state.current_player(), {}, [(state, [])], set()
    while ahead:
        at, actions = ahead.pop()
        for action in at.legal_actions():
            after = at.child(action)
            if not after.is_terminal() and after.current_player() == player:
                if (key := known(after)) not in seen:
                    seen.add(key)
                    ahead.append((after, [*actions, action]))
            else:
                found.setdefault(known(after), [*actions, action])
    return found


def board(game, state) -> tuple:
    checkers = game.open(state.record).checkers
    return tuple(map(tuple, checkers.tolist()))


def known(state) -> tuple:
    """Checkers of each seat as it counts places itself: off, points, bar."""
    off = [int(n) for n in re.search(r"Scores, X: (\d+), O: (\d+)", str(state)).groups()]
    points = [[state.board(k, p) for p in range(24)] for k in range(2)]
    bar = re.search(r"Bar:(.*)", str(state)).group(1)
    return tuple(
        (off[k], *(points[k][::-1] if k == 0 else points[k]), bar.count("xo"[k])) for k in range(2)
    )


def dice_of(state, action: int) -> tuple[int, int, bool]:
    told = state.action_to_string(action)
    x, y = re.search(r"roll: (\d)(\d)", told).groups()
    return int(x), int(y), "X starts" in told


@pytest.mark.parametrize("pair", PAIRS)
def test_whole_turns_lead_where_openspiels_lead(pair) -> None:
    name, params, episodes = PAIRS[pair]
    ours, theirs, rng = ludus.make("backgammon", **params), pyspiel.load_game(name), np.random.default_rng(6)
    ends = set()
    for _ in range(episodes):
        ends.add(play_both(ours, theirs.new_initial_state(), rng))
    expected = {"full": {2, 3}, "gammons": {2}, "short": {0}}
    assert ends >= expected.get(pair, {1}), ends


def play_both(ours, theirs, rng) -> float:
    """Play a random game by both; what it was worth."""
    state, paid = ours.start(rng), np.zeros(2)
    while not theirs.is_terminal():
        (seat,) = ours.turn(state)
        if theirs.is_chance_node():
            assert seat == CHANCE
            state = throw(ours, state, theirs, int(rng.choice([a for a, _ in theirs.chance_outcomes()])))
            continue
        assert seat == ours.seats[theirs.current_player()]
        there, here = theirs_after(theirs), ours_after(ours, state)
        assert set(here) == set(there)
        end = sorted(here)[rng.integers(len(here))]
        for move in here[end]:
            state = ours.play(state, {seat: move})
            paid += [ours.payoff(state).get(s, 0.0) for s in ours.seats]
        for action in there[end]:
            theirs.apply_action(action)
    assert ours.turn(state) == ()
    assert paid.tolist() == theirs.returns()
    return abs(paid[0])


def throw(ours, state, theirs, outcome: int):
    """The same dice in both; the odds of all dice are the same."""
    first = theirs.move_number() == 0
    odds, shares = dict(ours.chance(state)), {}
    for action, p in theirs.chance_outcomes():
        x, y, starts = dice_of(theirs, action)
        x, y = (max(x, y), min(x, y)) if starts or not first else (min(x, y), max(x, y))
        ours_is = 6 * (x - 1) + y - 1
        shares[ours_is] = shares.get(ours_is, 0.0) + p
        if action == outcome:
            chosen = ours_is
    assert set(odds) == set(shares)
    np.testing.assert_allclose([odds[o] for o in shares], list(shares.values()), rtol=1e-12)
    theirs.apply_action(outcome)
    return ours.play(state, {CHANCE: chosen})
