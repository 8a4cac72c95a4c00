"""What a result depends on is read off its program, never guessed from numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from bimix_jax import BiMix
from bimix_jax.fitting.kernel._dependence import dependences
from bimix_jax.laws import LAWS

FIVE = np.linspace(0.1, 0.5, 5)


def test_entries_taken_out_are_told_apart_and_all_else_depends_on_all():
    found = dependences(
        lambda x: (x[1] ** 2, x[-1] * x[0], jnp.where(x[2] > 9, x[3], 1.0), x[1:3].sum(), x @ x, 1),
        FIVE,
    )
    every = set(range(5))
    assert found == [{1}, {0, 4}, {2, 3}, {1, 2}, every, set()]


def test_what_changes_a_column_of_bimix():
    point = (jnp.zeros(()), jnp.zeros(()))
    assert dependences(lambda x: BiMix().basis(x, point), np.ones(2)) == [{0, 1}, {0}]


@pytest.mark.parametrize("name", sorted(LAWS))
def test_an_entry_that_is_not_named_changes_nothing(name):
    law = LAWS[name]()
    count = len(law.names(("a", "b")))
    own, mixture = jnp.array([1.0, 0.0]), jnp.array([0.3, 0.7])
    features = law.features(mixture, own, jnp.array(0.5))
    x = np.linspace(0.2, 0.4, count)
    found = dependences(lambda x: law.basis(x, features), x)
    before = law.basis(jnp.asarray(x), features)
    for i in range(count):
        after = law.basis(jnp.asarray(x).at[i].add(0.1), features)
        for k, named in enumerate(found):
            assert i in named or after[k] == before[k]
