"""Meta-solvers: equilibria known by hand, and the definition of an equilibrium on random matrices."""

import numpy as np
import pytest

from ludus.arenas.metasolvers import METASOLVERS, nash, prd, uniform
from ludus.core.errors import ContractError

ROCK = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])


def zero_sum(matrix):
    return np.stack([matrix, -np.asarray(matrix)]).astype(float)


def gain(pay, x, y):
    """What both could gain by the best pure answers."""
    return (pay[0] @ y).max() - x @ pay[0] @ y + (x @ pay[1]).max() - x @ pay[1] @ y


def test_known_equilibria():
    np.testing.assert_allclose(nash(zero_sum(ROCK)), np.full((2, 3), 1 / 3), atol=1e-12)
    x, y = nash(zero_sum([[3.0, -1.0], [-2.0, 1.0]]))  # by indifference: x = 3/7, y = 2/7
    np.testing.assert_allclose([x[0], y[0]], [3 / 7, 2 / 7], atol=1e-12)
    x, y = nash(zero_sum([[1.0, 5.0], [0.0, 9.0]]))  # a saddle point
    np.testing.assert_allclose([x[0], y[0]], 1.0)
    np.testing.assert_allclose(nash(zero_sum([[2.0]])), [[1.0], [1.0]])


@pytest.mark.parametrize("shape", [(1, 4), (3, 7), (12, 12), (40, 25)])
def test_nobody_gains_at_equilibrium(shape):
    rng = np.random.default_rng(7)
    for _ in range(20):
        matrices = rng.normal(size=shape), rng.integers(-2, 3, size=shape)  # the second is full of ties
        for matrix in matrices:
            x, y = nash(zero_sum(matrix))
            assert min(x.min(), y.min()) >= 0
            assert gain(zero_sum(matrix), x, y) < 1e-9


def test_replicator_dynamics_come_near():
    pay = zero_sum([[3.0, -1.0], [-2.0, 1.0]])
    assert gain(pay, *prd(pay)) < 0.05 < gain(pay, *uniform(pay))
    x, y = prd(np.array([[[3.0, 0.0], [5.0, 1.0]], [[3.0, 5.0], [0.0, 1.0]]]))  # the prisoners' dilemma
    assert min(x[1], y[1]) > 0.99
    x, _ = prd(pay, steps=2000, least=0.1)
    assert x.min() >= 0.1 - 1e-12


def test_all_take_the_same_and_give_mixtures():
    pay = zero_sum(np.random.default_rng(0).normal(size=(3, 5)))
    for solver in METASOLVERS.values():
        x, y = solver(pay)
        assert x.shape == (3,)
        assert y.shape == (5,)
        np.testing.assert_allclose([x.sum(), y.sum()], 1.0)


def test_general_sums_are_refused_by_the_linear_programme():
    with pytest.raises(ContractError, match="zero-sum"):
        nash(np.array([[[3.0, 0.0], [5.0, 1.0]], [[3.0, 5.0], [0.0, 1.0]]]))
