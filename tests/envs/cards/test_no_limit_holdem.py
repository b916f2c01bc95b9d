"""No-limit hold'em: hands and their order, bets and their limits, all-in, and OpenSpiel's universal_poker."""

import itertools
from collections import Counter

import numpy as np
import pytest

from ludus.core.compiled import jit, kernel
from ludus.core.game import CHANCE
from ludus.envs.cards.no_limit_holdem import RANKS, SUITS, NoLimitHoldem, bit, strength

F, C, HALF, POT, ALL = range(5)
HIGH, PAIR, TWO, THREE, STRAIGHT, FLUSH, HOUSE, FOUR, STRAIGHT_FLUSH = range(9)
DEAL = "Ah Ad Kh Kd 2c 3c 4d 9s 8s"  # two of each player, and the open ones; aces win


def cards(text):
    return [4 * RANKS.index(card[0]) + SUITS.index(card[1]) for card in text.split()]


def value(hand):
    return strength(sum(bit(card) for card in hand))


def play(moves, deal=DEAL, **params):
    """The game after moves, cards being dealt as they come."""
    game, left = NoLimitHoldem(**params), iter(cards(deal))
    state = game.start(np.random.default_rng(0))
    for move in [*moves, None]:
        while game.turn(state) == (CHANCE,):
            state = game.play(state, {CHANCE: next(left)})
        if move is not None:
            state = game.play(state, {game.turn(state)[0]: move})
    return game, state


def by_hand(hand):
    """How good five cards are, worked out by counting ranks."""
    ranks = sorted((card // 4 for card in hand), reverse=True)
    groups = sorted(((count, rank) for rank, count in Counter(ranks).items()), reverse=True)
    counts, order = [count for count, _ in groups], [rank for _, rank in groups]
    flush = len({card % 4 for card in hand}) == 1
    row = len(order) == 5 and (ranks[0] - ranks[4] == 4 or ranks == [12, 3, 2, 1, 0])
    if row:
        order = [3 if ranks[1] == 3 else ranks[0]]
    kinds = {(4, 1): FOUR, (3, 2): HOUSE, (3, 1, 1): THREE, (2, 2, 1): TWO, (2, 1, 1, 1): PAIR}
    plain = kinds.get(tuple(counts), HIGH)
    kind = STRAIGHT_FLUSH if row and flush else FLUSH if flush else STRAIGHT if row else plain
    return kind, order


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Ts Js Qs Ks As", "9h Th Jh Qh Kh"),
        ("Ah 2h 3h 4h 5h Kc Kd", "7c 7d 7h 7s Ac As Ks"),
        ("7c 7d 7h 7s Ac 2s 3s", "7c 7d 7h 7s Kc Ks Kh"),
        ("2c 2d 2h 2s 3c 3d 4c", "Ac Ad Ah Kc Kd Kh Qs"),
        ("Ac Ad Ah Kc Kd Kh Qs", "Ac Ad Ah Qc Qd 2c 3c"),
        ("2c 2d 2h 3c 3d 9s 8s", "2s 4s 6s 8s As Ks 3d"),
        ("As Js 9s 8s 7s 2s 3d", "As Js 9s 8s 6s Kd Kc"),
        ("2s 4s 6s 8s 9s Tc Jd", "Ac Kd Qs Jh Td 9c 8c"),
        ("2c 3d 4h 5s 6c 6d 6h", "Ac 2d 3h 4s 5c Ad Ah"),
        ("Ac 2d 3h 4s 5c Kd Kh", "Ac Ad Ah Ks Qc 9d 8h"),
        ("2c 2d 2h 3c 4s 9h 7d", "Ac Ad Kc Kd Qc Qd Js"),
        ("Ac Ad Kc Kd Qc Qd Js", "Ac Ad Kc Kd Jc Ts 9s"),
        ("2c 2d Ah Kh 9s 7s 4c", "2h 2s Ac Kd 8s 7s 4c"),
        ("2c 2d Ah Kh 9s 7s 4c", "Ac Kd Qs Jh 9c 8c 7c"),
        ("Ac Kd Qs Jh 9c 3d 2c", "Ac Kd Qs Jh 8c 7d 6c"),
    ],
)
def test_which_hand_is_better(better, worse) -> None:
    assert value(cards(better)) > value(cards(worse))


def test_cards_beyond_the_best_five_do_not_count() -> None:
    assert value(cards("Ac Kd Qs Jh 9c 3d 2c")) == value(cards("Ad Kh Qc Js 9d 8d 7c"))
    assert value(cards("As Ks 9s 8s 7s 2s 3d")) == value(cards("As Ks 9s 8s 7s 4s 3s"))
    assert value(cards("Ac Ad Kc Kd Qc Qd 2s")) == value(cards("Ac Ad Kc Kd Qc Js 9s"))


def test_seven_cards_are_worth_their_best_five() -> None:
    rng, seen = np.random.default_rng(1), []
    for deck in (52, 28, 16):  # the fewer ranks, the rarer hands
        for _ in range(250):
            hand = (52 - deck + rng.permutation(deck)[:7]).tolist()
            known = max(by_hand(five) for five in itertools.combinations(hand, 5))
            assert value(hand) >> 26 == known[0], hand
            seen.append((known, value(hand)))
    for (known, found), (other_known, other_found) in itertools.pairwise(seen):
        assert (known < other_known) == (found < other_found)
        assert (known == other_known) == (found == other_found)


@pytest.mark.parametrize("library", ["phevaluator", "treys"])
def test_seven_cards_are_ordered_as_in_well_kept_libraries(library) -> None:
    module = pytest.importorskip(library)
    if library == "treys":
        evaluator = module.Evaluator()
        new = module.Card.new

        def rank(hand):
            known = [new(RANKS[card >> 2] + SUITS[card & 3]) for card in hand]
            return evaluator.evaluate(known[:5], known[5:])
    else:

        def rank(hand):
            return module.evaluate_cards(*(RANKS[card >> 2] + SUITS[card & 3] for card in hand))

    rng, order = np.random.default_rng(2), {}
    for _ in range(5000):
        hand = rng.permutation(52)[:7].tolist()
        assert order.setdefault(rank(hand), value(hand)) == value(hand)
    values = [order[place] for place in sorted(order)]  # in both libraries 1 is the best hand
    assert values == sorted(set(values), reverse=True)


@pytest.mark.slow
def test_how_many_hands_there_are_of_each_kind() -> None:
    """All 2,598,960 hands of five cards, and all 133,784,560 of seven."""
    pytest.importorskip("numba")
    kernel(NoLimitHoldem())  # lets compiled code call `strength`
    namespace = {"strength": strength, "bit": bit, "np": np}
    for size, known in (
        (5, (1302540, 1098240, 123552, 54912, 10200, 5108, 3744, 624, 40)),
        (7, (23294460, 58627800, 31433400, 6461620, 6180020, 4047644, 3473184, 224848, 41584)),
    ):
        lines = ["def count(kinds):"]
        for i in range(size):
            low = "0" if i == 0 else f"c{i - 1} + 1"
            lines.append(f"{' ' * (i + 1)}for c{i} in range({low}, 52):")
            lines.append(f"{' ' * (i + 2)}s{i} = {'0' if i == 0 else f's{i - 1}'} | bit(c{i})")
        lines.append(f"{' ' * (size + 1)}kinds[strength(s{size - 1}) >> 26] += 1")
        exec("\n".join(lines), namespace)
        kinds = np.zeros(9, np.int64)
        jit(namespace["count"])(kinds)
        assert tuple(kinds.tolist()) == known


@pytest.mark.parametrize(
    ("moves", "deal", "paid"),
    [
        ((F,), DEAL, -1),  # the small blind
        ((C, C, C, C, C, C, C, C), DEAL, 2),  # checked down
        ((HALF, F), DEAL, 2),
        ((HALF, HALF, F), DEAL, -4),
        ((POT, C, POT, F), DEAL, -6),
        ((POT, C, POT, C, POT, C, ALL, F), DEAL, -54),
        ((ALL, C), DEAL, 200),
        ((ALL, F), DEAL, 2),
        ((C, ALL, C), DEAL, 200),
        ((ALL, C), "Kh Kd Ah Ad 2c 3c 4d 9s 8s", -200),
        ((ALL, C), "Ah Kd As Kc 2c 3c 4d 9s 8s", 0),
        ((ALL, C), "Ah Ad Kh Kd Ts Js Qs Ks As", 0),  # the open cards are best
        ((C, C, C, C, C, C, HALF, C), DEAL, 4),
    ],
)
def test_what_a_hand_pays(moves, deal, paid) -> None:
    game, state = play(moves, deal)
    assert game.turn(state) == ()
    assert game.payoff(state) == ({"player_0": paid, "player_1": -paid} if paid else {})


@pytest.mark.parametrize(
    ("moves", "seat", "allowed"),
    [
        ((), 0, "fold call half pot all"),
        ((C,), 1, "call half pot all"),
        ((C, C), 1, "call half pot all"),
        ((C, C, C), 0, "call half pot all"),
        ((POT, POT), 0, "fold call half pot all"),  # 6, 18
        ((POT, POT, POT), 1, "fold call half pot all"),  # 54; half the pot makes it 108, and the pot 162
        ((POT, POT, POT, HALF), 0, "fold call all"),
        ((ALL,), 1, "fold call"),
        ((POT, POT, ALL), 1, "fold call"),
    ],
)
def test_who_may_do_what(moves, seat, allowed) -> None:
    game, state = play(moves)
    assert game.turn(state) == (f"player_{seat}",)
    words = game.options(state, f"player_{seat}").allowed
    assert [word.split()[0].removesuffix("-in") for word in words] == allowed.split()


def test_a_raise_is_at_least_as_large_as_the_last() -> None:
    game, state = play((10, 30), bets="any", stack=100)
    legal = np.flatnonzero(game.options(state, "player_0").legal).tolist()
    assert legal == [0, 1, *range(50, 101)]
    game, state = play((10, 30, 1), bets="any", stack=100)  # on the flop the big blind is the least again
    assert np.flatnonzero(game.options(state, "player_1").legal).tolist() == [1, *range(32, 101)]
    game, state = play((10, 60), bets="any", stack=100)  # what is left is less than a raise: all-in
    assert np.flatnonzero(game.options(state, "player_0").legal).tolist() == [0, 1, 100]


def test_a_seat_sees_its_own_cards_and_the_betting_but_not_the_other_cards() -> None:
    game, state = play((POT, C))
    assert game.view(state, "player_0").text.splitlines() == [
        "You have the button. Your cards: Ad Ah.",
        "In the pot: 6 of your 200 chips, 6 of the other's.",
        "Before the flop: you bet to 6, the other calls at 6.",
        "Flop 2c 3c 4d: no moves yet.",
    ]
    _, other = play((POT, C), "Ah Ad Qh Qd 4d 3c 2c 9s 8s")
    for mine, alike in (("player_0", True), ("player_1", False)):
        same = game.view(state, mine).features == game.view(other, mine).features
        assert same.all() == alike


@pytest.mark.parametrize("params", [{}, {"bets": "any", "stack": 60}, {"bets": (), "stack": 30}])
def test_what_the_loop_draws_follows_the_odds(params) -> None:
    game = NoLimitHoldem(**params)
    for dealt in ("", "2c", "As", "Ah 2c 2d", DEAL[:11]):
        state = game.start(np.random.default_rng(0))
        for card in cards(dealt):
            state = game.play(state, {CHANCE: card})
        outcomes = [card for card, _ in game.chance(state)] if game.turn(state) == (CHANCE,) else []
        record, count = game.open(state.record), len(outcomes)
        assert [game.toss(record, (k + 0.5) / count) for k in range(count)] == outcomes


@pytest.mark.parametrize(
    "params",
    [
        {"stack": 3},
        {"stack": 30_001},
        {"small_blind": 0},
        {"small_blind": 3},
        {"bets": "all"},
        {"bets": "any", "stack": 1001},
        {"bets": (0.001,)},
        {"bets": (0.333,)},
        {"bets": (11,)},
        {"bets": (0.5, 0.5)},
        {"bets": (1,) * 21},
    ],
)
def test_bad_parameters_are_refused(params) -> None:
    with pytest.raises(ValueError, match=r"hold'em needs|bets"):
        NoLimitHoldem(**params)


@pytest.mark.parametrize(
    ("params", "episodes"),
    [
        ({"bets": "any"}, 150),
        ({"bets": "any", "stack": 20}, 150),
        ({"bets": "any", "stack": 13, "small_blind": 3, "big_blind": 5}, 100),
        ({"bets": "any", "stack": 400, "small_blind": 5, "big_blind": 10}, 50),
        ({}, 150),
        ({"stack": 400}, 100),
        ({"bets": (0.1, 0.33, 0.5, 0.75, 1, 1.5, 3), "stack": 2000, "small_blind": 5, "big_blind": 10}, 100),
        ({"bets": (), "stack": 10}, 50),
    ],
)
def test_random_hands_agree_with_openspiel_at_every_step(params, episodes) -> None:
    pyspiel = pytest.importorskip("pyspiel")
    ours = NoLimitHoldem(**params)
    small, big = ours.blinds
    theirs = pyspiel.load_game(
        f"universal_poker(betting=nolimit,numPlayers=2,numRounds=4,blind={small} {big},firstPlayer=1 2 2 2,"
        f"numSuits=4,numRanks=13,numHoleCards=2,numBoardCards=0 3 1 1,stack={ours.stack} {ours.stack},"
        "bettingAbstraction=fullgame)"
    )
    rng = np.random.default_rng(5)
    for _ in range(episodes):
        play_both(ours, theirs.new_initial_state(), rng)


def play_both(ours, theirs, rng) -> None:
    state, earned, spent = ours.start(rng), np.zeros(2), list(ours.blinds)
    while not theirs.is_terminal():
        (seat,) = ours.turn(state)
        if theirs.is_chance_node():
            assert seat == CHANCE
            assert list(ours.chance(state)) == [(o, pytest.approx(p)) for o, p in theirs.chance_outcomes()]
            action = amount = int(rng.choice(theirs.legal_actions()))
        else:
            k = theirs.current_player()
            assert seat == ours.seats[k]
            amounts = bets(ours, max(spent), theirs.legal_actions())
            assert np.flatnonzero(ours.options(state, seat).legal).tolist() == sorted(amounts)
            low = 1 if rng.random() < 0.7 and len(amounts) > 1 else 0  # fold less often than others
            action = sorted(amounts)[rng.integers(low, len(amounts))]
            amount = amounts[action]
            spent[k] = spent[k] if amount == 0 else max(spent) if amount == 1 else amount
        state = ours.play(state, {seat: action})
        theirs.apply_action(amount)
        earned += [ours.payoff(state).get(s, 0.0) for s in ours.seats]
    assert ours.turn(state) == ()
    np.testing.assert_array_equal(earned, theirs.returns())


def bets(game, most, legal):
    """Our legal moves, and what each is in the game in which every whole number of chips may be bet."""
    if game.exact:
        return {amount: amount for amount in legal}
    found = {a: a for a in legal if a < 2}
    for i, share in enumerate(game.percent[:-1]):
        amount = int(np.floor(most + 2 * most * share / 100 + 0.5))
        if amount in legal and amount < game.stack:
            found[2 + i] = amount
    if max(legal) == game.stack > 1:
        found[len(game.moves) - 1] = game.stack
    return found
