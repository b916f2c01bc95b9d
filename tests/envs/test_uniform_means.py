"""What uniform play earns: the batch's mean against the exact value."""

import numpy as np
import pytest

import ludus

# What player_0 earns, where a hand can count it; None where the tables do.
GAMES = {
    "iterated_prisoners_dilemma": 10 * (3 + 0 + 5 + 1) / 4,
    "kuhn_poker": 1 / 4 - 1 / 8,  # bet and pass; pass, bet and pass; what is shown is even
    "leduc_poker": None,
    "liars_dice": None,
    "matching_pennies": 0.0,
    "nim": None,
    "rock_paper_scissors": 0.0,
    "spiral_kuhn_poker": -(1 / 4 - 1 / 8),  # of the last round, which player_1 starts
    "tic_tac_toe": 737 / 1260 - 121 / 420,  # the known share of random games won and lost
}


@pytest.mark.parametrize("name", GAMES)
def test_the_batch_earns_the_exact_mean(name) -> None:
    game = ludus.make(name)
    exact = GAMES[name]
    if exact is None:
        exact = ludus.value(game, ludus.uniform(game))["player_0"]
    n = 8192
    batch, returns = ludus.batch(game, n, seed=5), np.zeros(n)
    ends = [[] for _ in range(n)]
    for _ in range(100):
        batch.step(batch.random_actions())
        returns += batch.reward[:, 0]
        for row in np.flatnonzero(batch.done):
            if len(ends[row]) < 3:  # the same number from every row: short games must not count more
                ends[row].append(returns[row])
        returns[batch.done] = 0
    paid = np.array(ends)
    error = paid.std() / np.sqrt(paid.size)
    assert paid.shape == (n, 3)
    assert paid.mean() == pytest.approx(exact, abs=4 * error)
    assert error < 0.02 * game.stake
