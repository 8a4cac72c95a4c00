"""Columns of domains are found whatever stands beside them, or asked for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimix_jax.logs._domains import domains_of
from bimix_jax.logs._settings import Asked
from bimix_jax.reading.errors import SweepError

DOMAINS = ["north", "south", "east", "id"]
RUNS = [f"run {i}" for i in range(7)]
SCALE = st.sampled_from(["shares", "percentages", "tokens of one sum", "tokens"])
OTHERS = st.dictionaries(
    st.sampled_from(["eta", "seed", "hours", "depth", "name", "x_loss", "wall"]),
    st.tuples(st.booleans(), st.floats(1e-5, 1e6)),
    max_size=4,
)


def table_of(scale, others, seed):
    """Mixtures in some unit between other columns, in any order."""
    rng = np.random.default_rng(seed)
    total = {"shares": 1.0, "percentages": 100.0, "tokens of one sum": 3e9}.get(scale)
    total = total or rng.uniform(1e9, 9e9, (len(RUNS), 1))
    columns = dict(zip(DOMAINS, (rng.dirichlet(np.ones(4), len(RUNS)) * total).T, strict=True))
    for name, (varies, size) in others.items():
        columns[name] = size * (rng.uniform(size=len(RUNS)) if varies else np.ones(len(RUNS)))
    order = rng.permutation(list(columns))
    return pd.DataFrame({c: columns[c] for c in order}).assign(run=RUNS)


def found_or_asked(table, targets):
    """The domains, or None where the error asks to list them."""
    try:
        return set(domains_of(table, "run", targets, Asked(), "runs.csv").names)
    except SweepError as error:
        return None if "--domain" in str(error) else str(error)


@settings(max_examples=150, deadline=None)
@given(SCALE, OTHERS, st.integers(0, 2**32 - 1))
def test_other_numbers_are_no_domains_or_it_is_asked(scale, others, seed):
    found = found_or_asked(table_of(scale, others, seed), DOMAINS)
    assert found == set(DOMAINS) or (found is None and scale == "tokens" and others)


@settings(max_examples=150, deadline=None)
@given(SCALE, OTHERS, st.integers(0, 2**32 - 1))
def test_a_domain_without_a_loss_is_found_by_sums_or_it_is_asked(scale, others, seed):
    found = found_or_asked(table_of(scale, others, seed), ["north", "south", "id"])
    assert found == (None if scale == "tokens" else set(DOMAINS))


def test_a_prefix_and_a_list_say_it_without_asking():
    table = table_of("tokens", {"eta": (True, 3.0)}, 0)
    listed = domains_of(table, "run", ["a", "b"], Asked(domains=["south", "id"]), "runs.csv")
    assert listed.names == {"south": "south", "id": "id"}
    prefixed = table.rename(columns={d: f"p_{d}" for d in DOMAINS})
    found = domains_of(prefixed, "run", ["a", "b"], Asked(mixture_prefix="p_"), "runs.csv")
    assert {c: f"p_{d}" for c, d in found.names.items()} == {c: c for c in found.names}
    with pytest.raises(SweepError, match="no column begins with 'q_'"):
        domains_of(prefixed, "run", ["a", "b"], Asked(mixture_prefix="q_"), "runs.csv")
