"""Backgammon through our rules, one checker at a time, and OpenSpiel's, two at a time: whole turns lead to the same."""

import re

import numpy as np
import pytest

import ludus
from ludus.core.errors import UnknownName
from ludus.core.game import CHANCE
from ludus.core.position import Position
from ludus.envs.board.backgammon import BAR, note
from ludus.envs.board.backgammon import throw as throw_dice

pyspiel = pytest.importorskip("pyspiel")

PAIRS = {  # with how many games, and what they must have been worth among others
    "win or loss": ("backgammon", {}, 1, {1}),
    "gammons": ("backgammon(scoring_type=enable_gammons)", {"scoring": "gammons"}, 1, {2}),
    "full": ("backgammon(scoring_type=full_scoring)", {"scoring": "full"}, 2, {2, 3}),
    "hyper": ("backgammon(hyper_backgammon=true)", {"hyper": True, "scoring": "full"}, 20, {1}),
    "short": ("backgammon(max_player_turns=9)", {"turns": 10}, 20, {0}),
}  # fmt: skip


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


def placed(game, own: dict[int, int], other: dict[int, int], dice=()):
    """A position of player_0's turn; each seat's checkers as it counts places itself."""
    s = game.open(game.first.tobytes())
    s.checkers[:] = 0
    for k, checkers in enumerate((own, other)):
        for place, count in checkers.items():
            s.checkers[k, place] = count
        for place in range(1, BAR + 1):
            note(s, k, place)
    s.turns = 2
    if dice:
        throw_dice(s, *dice)
    return Position(s.tobytes(), (0.0, 0.0))


def board(game, state) -> tuple:
    checkers = game.open(state.record).checkers
    return tuple(map(tuple, checkers.tolist()))


def known(state) -> tuple:
    """Checkers of each seat as it counts places itself: off, points, bar."""
    off = [int(n) for n in re.search(r"Scores, X: (\d+), O: (\d+)", str(state)).groups()]
    points = [[state.board(k, p) for p in range(24)] for k in range(2)]
    bar = re.search(r"Bar:(.*)", str(state)).group(1)
    return tuple((off[k], *(points[k][::-1] if k == 0 else points[k]), bar.count("xo"[k])) for k in range(2))


def dice_of(state, action: int) -> tuple[int, int, bool]:
    told = state.action_to_string(action)
    x, y = re.search(r"roll: (\d)(\d)", told).groups()
    return int(x), int(y), "X starts" in told


@pytest.mark.parametrize("pair", PAIRS)
def test_whole_turns_lead_where_openspiels_lead(pair) -> None:
    name, params, episodes, worth = PAIRS[pair]
    ours, theirs, rng = ludus.make("backgammon", **params), pyspiel.load_game(name), np.random.default_rng(3)
    assert {play_both(ours, theirs.new_initial_state(), rng) for _ in range(episodes)} >= worth


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
        s = ours.open(state.record)
        if (
            s.turns + 1 == ours.turns and s.left[0] == 4
        ):  # OpenSpiel breaks off after two of the last four moves
            there = {board: next(iter(there.values())) for board in here}
        assert set(here) == set(there)
        end = sorted(here)[rng.integers(len(here))]
        for move in here[end]:
            state = ours.play(state, {seat: move})
            paid += [ours.payoff(state).get(s, 0.0) for s in ours.seats]
        for action in there[end]:
            theirs.apply_action(action)
    assert ours.turn(state) == ()
    if ours.hyper:  # OpenSpiel pays for fifteen checkers borne off only
        assert theirs.returns() == [0, 0]
        assert paid.tolist() == [1 - 2 * k for k in range(2)][:: 1 if known(theirs)[0][0] == 3 else -1]
    else:
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


def allowed(game, state) -> set[str]:
    (seat,) = game.turn(state)
    return set(game.options(state, seat).allowed)


def played(game, state, *names: str):
    for name in names:
        (seat,) = game.turn(state)
        state = game.play(state, {seat: game.moves.index(name)})
    return state


def points(*closed: int) -> dict[int, int]:
    """Two checkers of the other on each of these points of player_0."""
    return {BAR - point: 2 for point in closed}


@pytest.mark.parametrize(("own", "closed", "expected"), [
    ({20: 1}, (15,), {"20/14"}),  # then 14/9; 15 is closed
    ({20: 1}, (9,), {"20/14"}),  # either, but not both: the higher
    ({20: 1}, (9, 14), {"20/15"}),
    ({20: 1}, (14, 15), {"pass"}),
    ({20: 1, 12: 1}, (14, 9, 1), {"12/6", "20/15"}),  # after 12/7 no six could be played
    ({BAR: 1, 12: 1}, (), {"bar/19", "bar/20"}),
    ({BAR: 1, 12: 1}, (19, 20), {"pass"}),
    ({4: 1, 3: 1}, (), {"4/off(6)", "4/off(5)"}),
    ({6: 1, 2: 1}, (), {"6/off", "6/1"}),
    ({7: 1, 2: 1}, (), {"7/1", "7/2"}),
])  # fmt: skip
def test_as_many_dice_as_can_be_are_played(own, closed, expected) -> None:
    game = ludus.make("backgammon")
    assert allowed(game, placed(game, own, points(*closed), (6, 5))) == expected


def test_with_equal_dice_every_order_plays_as_many() -> None:
    """Which is why the mask need not look ahead then."""
    game, rng, counts = ludus.make("backgammon"), np.random.default_rng(1), set()
    for _ in range(150):
        reach = int(rng.choice([4, 7, 9, 12, 24, 25]))
        places = rng.integers(1, reach + 1, 5)
        closed = [p for p in range(1, BAR) if p not in places and rng.random() < 0.5]
        own = {int(p): int((places == p).sum()) for p in places}
        state = placed(game, own, points(*closed), (int(die := rng.integers(1, 7)), int(die)))
        lengths = ends(game, state, 0)
        assert len(lengths) == 1, (own, closed, die)
        counts |= lengths
    assert counts == {0, 1, 2, 3, 4}


def ends(game, state, depth: int) -> set[int]:
    """How many checkers' moves the ways to end this turn have."""
    if game.turn(state) != ("player_0",) or allowed(game, state) == {"pass"}:
        return {depth}
    return set().union(*(ends(game, played(game, state, name), depth + 1) for name in allowed(game, state)))


def test_what_is_hit_goes_to_the_bar_and_comes_in_first() -> None:
    game = ludus.make("backgammon")
    state = played(game, placed(game, {20: 2}, {11: 1, 3: 1}, (6, 5)), "20/14", "20/15")
    assert game.open(state.record).checkers[1, BAR] == 1
    state = game.play(state, {CHANCE: 6 * (2 - 1) + 1 - 1})
    assert game.turn(state) == ("player_1",)
    assert allowed(game, state) == {"bar/23", "bar/24"}


@pytest.mark.parametrize(("loser", "worth"), [
    ({0: 1, 24: 1}, [1, 1, 1]), ({18: 1}, [1, 2, 2]), ({19: 1}, [1, 2, 3]), ({BAR: 1}, [1, 2, 3]),
])  # fmt: skip
def test_what_a_win_is_worth(loser, worth) -> None:
    for scoring, value in zip(("winloss", "gammons", "full"), worth, strict=True):
        game = ludus.make("backgammon", scoring=scoring)
        state = played(game, placed(game, {1: 1, 0: 14}, loser, (3, 1)), "1/off(3)")
        assert game.turn(state) == ()
        assert game.payoff(state) == {"player_0": value, "player_1": -value}
        assert game.stake >= value


def test_games_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownName, match="backgammon"):
        ludus.make("backgammon", scoring="gammon")
    with pytest.raises(ValueError, match="backgammon needs 1 to 30,000 turns"):
        ludus.make("backgammon", turns=0)
