"""Phantom tic-tac-toe and dark hex: what a seat knows, how many such states there are, what random play earns."""

import numpy as np
import pytest

import ludus
from ludus.core.compiled import kernel
from ludus.core.tables import expand

GAMES = [  # ours, OpenSpiel's, games
    ("phantom_tic_tac_toe", {}, "phantom_ttt", 200),
    ("phantom_tic_tac_toe", {"abrupt": True}, "phantom_ttt(gameversion=abrupt)", 200),
    ("dark_hex", {}, "dark_hex", 200),
    ("dark_hex", {"abrupt": True}, "dark_hex(gameversion=adh)", 200),
    ("dark_hex", {"size": 2}, "dark_hex(num_rows=2,num_cols=2)", 200),
    ("dark_hex", {"size": 5}, "dark_hex(num_rows=5,num_cols=5)", 20),
]


def outcome(game, moves):
    """Who is to move after moves by name, and what player_0 got by the last of them."""
    state = game.start(np.random.default_rng(0))
    for move in moves.split():
        state = game.play(state, {game.turn(state)[0]: game.moves.index(move)})
    return game.turn(state), game.payoff(state).get("player_0", 0)


@pytest.mark.parametrize(
    ("abrupt", "moves", "turn", "earned"),
    [
        (False, "5 5", ("player_1",), 0),  # taken: once more
        (False, "5 5 1 4 2 6", (), 1),  # a row
        (False, "5 5 1 8 4 2", (), 1),  # a column
        (False, "5 1 3 2 7", (), 1),  # diagonals
        (False, "5 3 1 2 9", (), 1),
        (False, "1 4 2 5 9 6", (), -1),
        (False, "1 2 3 5 4 6 8 7 9", (), 0),  # the board is full
        (True, "5 5", ("player_0",), 0),  # taken: the turn is lost
        (True, "5 5 4 4 6", (), 1),
        (True, "5 5 4 1 1 2 6", (), 1),  # player_0 loses a turn, too
    ],
)
def test_phantom_tic_tac_toe_by_hand(abrupt, moves, turn, earned) -> None:
    assert outcome(ludus.make("phantom_tic_tac_toe", abrupt=abrupt), moves) == (turn, earned)


@pytest.mark.parametrize(
    ("abrupt", "moves", "turn", "earned"),
    [
        (False, "b2 b2", ("player_1",), 0),
        (False, "b1 b1 a1 b2 a2 b3", (), 1),  # top to bottom
        (False, "c1 a1 b2 a2 a3", (), 1),  # down and to the left
        (False, "a1 a3 b2 b3 c3 c2", (), -1),  # b3 and c2 touch; a1, b2 and c3 do not
        (True, "b2 b2", ("player_0",), 0),
        (True, "b2 b2 b1 b1 b3", (), 1),
    ],
)
def test_dark_hex_by_hand(abrupt, moves, turn, earned) -> None:
    assert outcome(ludus.make("dark_hex", abrupt=abrupt), moves) == (turn, earned)


@pytest.mark.parametrize(("name", "params", "known_as", "episodes"), GAMES)
def test_features_are_equal_exactly_where_openspiel_s_information_states_are(
    name, params, known_as, episodes
) -> None:
    """Of both seats, whoever is to move, until the last move: there OpenSpiel's dark hex shows who has won."""
    pyspiel = pytest.importorskip("pyspiel")
    ours, theirs = ludus.make(name, **params), pyspiel.load_game(known_as)
    rng, pairs = np.random.default_rng(5), set()
    for _ in range(episodes):
        state, known = ours.start(rng), theirs.new_initial_state()
        while not known.is_terminal():
            for k, seat in enumerate(ours.seats):
                told = np.array(known.information_state_tensor(k), np.uint8).tobytes()
                view = ours.view(state, seat)
                pairs.add(((k, view.features.tobytes()), (k, told), (k, view.text)))
            action = int(rng.choice(known.legal_actions()))
            state = ours.play(state, {ours.turn(state)[0]: action})
            known.apply_action(action)
    assert [len({pair[i] for pair in pairs}) for i in range(3)] == [len(pairs)] * 3
    assert len(pairs) > 80


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"),
    [*(game[:2] for game in GAMES[:-1]), pytest.param(*GAMES[-1][:2], marks=pytest.mark.slow)],
)
def test_compiled_rules_are_the_plain_ones(name, params) -> None:
    game, records = ludus.make(name, **params), []
    rng = np.random.default_rng(6)
    for _ in range(10):
        state = game.start(rng)
        while turn := game.turn(state):
            records.append(state.record)
            state = game.play(state, {turn[0]: game.sample(state, turn[0], rng)})
    rows = np.frombuffer(b"".join(records), game.record).copy()
    after, pay, _, mask, who = expand(game, rows)
    for k in range(2):
        seen = np.zeros((len(rows), *game.shape), game.dtype)
        kernel(game).look(rows, np.full(len(rows), k), seen)
        for record, features in zip(records, seen, strict=True):
            plain = np.zeros(game.shape, game.dtype)
            game.observe(game.open(record), k, plain)
            np.testing.assert_array_equal(plain, features)
    for i, record in enumerate(records):
        legal = np.zeros(len(game.moves), np.uint8)
        game.legal(game.open(record), who[i], legal)
        np.testing.assert_array_equal(legal, mask[i])
        for a in np.flatnonzero(legal):
            s, earned = game.open(record), np.zeros(2, np.float32)
            game.move(s, int(a), earned)
            assert s.tobytes() == after[i, a].tobytes()
            np.testing.assert_array_equal(earned, pay[i, a])


class Count:
    """How many information states a seat may come to.

    States below one that a seat has come to depend on the positions it may be in, and not on the order of its tries. So
    positions forget the tries, and in the classical versions also what the other knows: there whatever it
    knows, it can as well place its stones without a try at a taken square.
    """

    def __init__(self, name: str, seat: int, **params: object) -> None:
        self.game, self.seat, self.known = ludus.make(name, **params), seat, {}
        self.forgets = not params.get("abrupt")

    def all(self) -> int:
        return self.below(self.merged(self.answered(self.game.first.copy())))

    def below(self, may_be) -> int:
        key = may_be.tobytes()
        if key not in self.known:
            after, _, _, mask, _ = expand(self.game, may_be)
            moves = np.flatnonzero(mask[0])
            self.known[key] = 1 + sum(self.seen(after[:, a].copy()) for a in moves)
        return self.known[key]

    def seen(self, after) -> int:
        """Of all that a seat may see after a move: how many states there are from there on."""
        features = np.zeros((len(after), *self.game.shape), self.game.dtype)
        kernel(self.game).look(after, np.full(len(after), self.seat), features)
        kinds = features.reshape(len(after), -1).view(f"V{features[0].nbytes}")[:, 0]
        landed = [self.answered(after[kinds == kind]) for kind in np.unique(kinds)]
        return sum(self.below(self.merged(rows)) for rows in landed if len(rows))

    def answered(self, rows):
        """The positions in which the seat moves next, after all moves of the other."""
        here = []
        while len(rows := rows[rows["over"] == 0]):
            mine = rows["turn"] == self.seat
            here.append(rows[mine])
            after, _, _, mask, _ = expand(self.game, self.merged(rows[~mine]))
            rows = after[mask.astype(bool)]
            if self.forgets:
                rows = rows[rows["turn"] == self.seat]
        return np.concatenate([*here, rows[:0]])

    def merged(self, rows):
        """Without the tries, and each position once."""
        rows, other = rows.copy(), 1 - self.seat
        rows["tries"], rows["count"] = 0, 0
        if self.forgets and self.game.id == "dark_hex":
            rows["known"][:, other][rows["known"][:, other] == self.seat + 1] = 0
        elif self.forgets:
            rows["known"][:, other] = rows["marks"][:, other]
        return np.unique(rows.view(f"V{rows.dtype.itemsize}")).view(rows.dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"), [("dark_hex", (3720850, 2352067)), ("phantom_tic_tac_toe", (3683314, 2307355))]
)
def test_how_many_information_states_there_are(name, counts) -> None:
    """Those of dark hex are published in the README of github.com/gabrfarina/exp-a-spiel."""
    assert tuple(Count(name, seat).all() for seat in range(2)) == counts


def reached(game) -> tuple[int, ...]:
    """How many different features each seat to move sees, in all games there are."""
    seen: list[set[bytes]] = [set(), set()]
    rows = game.first.copy()
    while len(rows):
        after, _, _, mask, who = expand(game, rows)
        features = np.zeros((len(rows), *game.shape), game.dtype)
        kernel(game).look(rows, who.astype(np.int64), features)
        for k, row in zip(who, features, strict=True):
            seen[k].add(row.tobytes())
        rows = after[mask.astype(bool)]
        rows = rows[rows["over"] == 0]
    return tuple(map(len, seen))


@pytest.mark.parametrize(("abrupt", "counts"), [(False, (17, 53)), (True, (59, 35))])
def test_information_states_of_two_by_two_cells_are_counted_in_two_ways(abrupt, counts) -> None:
    assert tuple(Count("dark_hex", seat, size=2, abrupt=abrupt).all() for seat in range(2)) == counts
    assert reached(ludus.make("dark_hex", size=2, abrupt=abrupt)) == counts


@pytest.mark.parametrize("name", ["dark_hex", "phantom_tic_tac_toe"])
def test_one_network_for_both_seats_can_tell_them_apart(name) -> None:
    """Before the first try the seats know the same, and their aims are not."""
    game = ludus.make(name)
    state = game.start(np.random.default_rng(0))
    first, second = (game.view(state, seat).features for seat in game.players)
    assert np.flatnonzero(first != second).tolist() == [len(first) - 1]
