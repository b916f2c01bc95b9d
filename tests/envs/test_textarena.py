"""The same random games through our rules and TextArena's: the same moves are legal, the same side wins."""

import itertools

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE

pytest.importorskip("textarena")

BOARDS = {"tic_tac_toe": ("TicTacToe-v0", 15), "connect_four": ("ConnectFour-v0", 6)}  # and how many games


@pytest.mark.parametrize("name", BOARDS)
def test_random_board_games_agree_at_every_step(name) -> None:
    """Squares and columns are numbered alike, from 0 there."""
    rng = np.random.default_rng(3)
    ours, (theirs, games) = ludus.make(name), BOARDS[name]
    theirs = ludus.make("textarena", game=theirs)
    results = set()
    for _ in range(games):
        state, known = ours.start(rng), theirs.start(rng)
        while turn := ours.turn(state):
            assert theirs.turn(known) == turn
            (seat,) = turn
            after = [theirs.play(known, {seat: f"[{move}]"}) for move in range(len(ours.moves) + 1)]
            legal = np.flatnonzero(ours.options(state, seat).legal)
            assert legal.tolist() == [move for move, then in enumerate(after) if theirs.turn(then) != turn]
            move = int(rng.choice(legal))
            state, known = ours.play(state, {seat: move}), after[move]
        assert theirs.turn(known) == ()
        paid = {seat: reward for seat, reward in ours.payoff(state).items() if reward}
        assert theirs.payoff(known) == paid
        results.add(tuple(paid.values()))
    assert len(results) > 1


def dealt(theirs, known) -> list[int]:
    """The cards of a round of TextArena's, 0 to 2, as each player was last told its own."""
    told = [theirs.view(known, f"player_{k}").text.rpartition("Your card is: '")[2][0] for k in range(2)]
    return ["JQK".index(card) for card in told]


def deal(ours, state, cards):
    """Our state after chance has dealt these cards, player_0's first."""
    for card in cards:
        assert ours.turn(state) == (CHANCE,)
        state = ours.play(state, {CHANCE: card})
    return state


def in_words(move, bets) -> str:
    """To pass is to check, or to fold after a bet; to bet after a bet is to call."""
    return [["[check]", "[bet]"], ["[fold]", "[call]"]]["bet" in bets][move == "bet"]


def test_kuhn_poker_is_played_alike_and_won_by_the_same_side() -> None:
    """TextArena lets player 1 begin, and pays who wins the match 1 whatever was bet: cards and seats are turned round."""
    ours = ludus.make("kuhn_poker")
    theirs = ludus.make("textarena", game="KuhnPoker-v0", kwargs={"max_rounds": 1})
    other = {"player_0": "player_1", "player_1": "player_0"}
    rng, lines = np.random.default_rng(4), set()
    for _ in range(60):
        known = theirs.start(rng)
        cards = dealt(theirs, known)[::-1]
        state, bets = deal(ours, ours.start(rng), cards), []
        while turn := ours.turn(state):
            (seat,) = turn
            assert theirs.turn(known) == (other[seat],)
            legal = {in_words(ours.moves[m], bets) for m in np.flatnonzero(ours.options(state, seat).legal)}
            assert legal == judged_legal(theirs, known, other[seat])
            move = ours.moves[int(rng.integers(2))]
            state = ours.play(state, {seat: ours.moves.index(move)})
            known = theirs.play(known, {other[seat]: in_words(move, bets)})
            bets.append(move)
        assert theirs.turn(known) == ()
        won = {other[seat]: float(np.sign(chips)) for seat, chips in ours.payoff(state).items()}
        assert theirs.payoff(known) == won
        lines.add((*cards, *bets))
    assert len(lines) > 20  # of thirty


def judged_legal(theirs, known, seat) -> set[str]:
    """The words to which TextArena does not answer that they are invalid."""
    legal = set()
    for words in ("[check]", "[bet]", "[fold]", "[call]"):
        after = theirs.play(known, {seat: words})
        messages = theirs.view(after, seat).data
        if not any(kind == "GAME_ADMIN" for _, _, kind in messages):
            legal.add(words)
    return legal


def test_spirals_kuhn_poker_is_textarenas_where_chips_decide() -> None:
    """Three rounds: legal moves, who moves, and who wins the match."""
    ours = ludus.make("spiral_kuhn_poker", rounds=3, match="chips")
    theirs = ludus.make("textarena", game="KuhnPoker-v0")
    rng, results = np.random.default_rng(5), set()
    for _ in range(30):
        state, known = ours.start(rng), theirs.start(rng)
        cards = dealt(theirs, known)
        while turn := ours.turn(state):
            if turn == (CHANCE,):
                state = ours.play(
                    state, {CHANCE: list(itertools.permutations(range(3), 2)).index(tuple(cards))}
                )
                continue
            assert theirs.turn(known) == turn
            (seat,) = turn
            legal = ours.options(state, seat).allowed
            assert {f"[{move}]" for move in legal} == judged_legal(theirs, known, seat)
            move = str(rng.choice(legal))
            state, known = (
                ours.play(state, {seat: ours.moves.index(move)}),
                theirs.play(known, {seat: f"[{move}]"}),
            )
            if ours.turn(state) == (CHANCE,):
                cards = dealt(theirs, known)
        paid = {seat: reward for seat, reward in ours.payoff(state).items() if reward}
        assert theirs.turn(known) == ()
        assert theirs.payoff(known) == paid
        results.add(tuple(paid.values()))
    assert len(results) > 1
