"""`fit_table`: parts of a table give the rows of the whole, whatever their order and kind."""

import jax
import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

import bimix_jax as bx
from bimix_jax.batching._compiled import BatchMethod, compiled_chunk
from tests.batching.tables import table_of_sweeps

BROKEN = "s3"
"""A sweep whose proportions do not sum to 1."""


@pytest.fixture(scope="module")
def table():
    table = table_of_sweeps(6)
    table.loc[table["sweep"] == BROKEN, "r_web"] += 0.2
    return table


@pytest.fixture(scope="module")
def fits(table):
    return bx.fit_table(table)


def assert_same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_rows_are_those_of_many_fits(table, fits):
    assert_same(fits, bx.fit_many(table).table())
    assert fits.loc[fits["reason"] != "", "sweep"].tolist() == [BROKEN]


def test_parts_in_any_order_give_the_rows_of_the_whole_to_the_bit(table, fits):
    compiled = compiled_chunk(BatchMethod(bx.BiMix()), tuple(jax.local_devices()), True)
    before = compiled.compilations()
    for sweeps in (["s0"], ["s4", "s1"], ["s2", BROKEN, "s5"]):
        part = table[table["sweep"].isin(sweeps)]
        # Rows of a sweep stay in their order, rows of different sweeps are mixed.
        mixed = part.iloc[np.argsort(np.arange(len(part)) % 16, kind="stable")]
        expected = fits[fits["sweep"].isin(sweeps)].reset_index(drop=True)
        assert_same(bx.fit_table(mixed), expected)
    assert compiled.compilations() == before > 0


@pytest.mark.parametrize("labels", ["text", "categories", "numbers"])
def test_arrow_tables_give_arrow_tables_of_the_same_rows(table, fits, labels):
    given, label = {
        "text": (table, pa.string()),
        "categories": (table.astype({"sweep": "category"}), pa.string()),
        "numbers": (table.assign(sweep=table["sweep"].str[1:].astype("int32")), pa.int32()),
    }[labels]
    found = bx.fit_table(pa.Table.from_pandas(given, preserve_index=False))
    assert found.schema.field("sweep").type == label
    expected = fits.assign(sweep=fits["sweep"].str[1:].astype("int32"))
    shown = fits if labels != "numbers" else expected
    assert_same(found.to_pandas(), shown)
    assert_same(bx.fit_table(given), shown)


def test_a_table_of_polars_is_taken(table, fits):
    found = bx.fit_table(polars.from_pandas(table))
    assert_same(found.to_pandas(), fits)


@pytest.mark.parametrize("law", ["BiMix", "TransferBiMix", "LogLinear"])
def test_columns_and_types_do_not_depend_on_the_sweeps(table, law):
    nothing, failed = table[:0], table[table["sweep"] == BROKEN]
    whole = table[table["sweep"].isin(["s0", BROKEN])]
    for convert in (lambda t: t, lambda t: pa.Table.from_pandas(t, preserve_index=False)):
        empty, lost, some = (bx.fit_table(convert(t), law) for t in (nothing, failed, whole))
        assert len(empty) == 0
        if isinstance(empty, pa.Table):
            assert empty.schema.equals(some.schema)
            assert lost.schema.equals(some.schema)
        else:
            assert empty.dtypes.to_dict() == lost.dtypes.to_dict() == some.dtypes.to_dict()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sweeps.parquet", "table is 'sweeps.parquet', a str; expected a DataFrame or an Arrow"),
        (pd.DataFrame({"run": ["a"]}), "table has the columns run; expected a column sweep"),
    ],
)
def test_what_is_no_table_of_sweeps_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        bx.fit_table(given)
