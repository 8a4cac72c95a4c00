"""Tables of other libraries are read as those of pandas are."""

import numpy as np
import pandas as pd
import pyarrow
import pytest

import bimix_jax as bx
from bimix_jax.reading.frames import as_frame
from tests.fits import frame

TABLE = frame(noise=0.01)


def converters():
    polars = pytest.importorskip("polars")
    return {
        "arrow": pyarrow.Table.from_pandas,
        "polars": polars.from_pandas,
        "lazy": lambda table: polars.from_pandas(table).lazy(),
    }


@pytest.mark.parametrize("kind", ["arrow", "polars", "lazy"])
def test_a_table_of_another_library_goes_wherever_one_of_pandas_does(kind):
    convert = converters()[kind]
    sweep, other = bx.read_sweep(TABLE), bx.read_sweep(convert(TABLE))
    assert other.runs == sweep.runs
    np.testing.assert_array_equal(other.loss, sweep.loss)
    logged = bx.read_logs(convert(TABLE))
    np.testing.assert_array_equal(np.sort(logged.loss, axis=0), np.sort(sweep.loss, axis=0))
    fitted = bx.fit(sweep, "BiMix")
    mixtures = sweep.mixtures.reset_index(drop=True).head(3)
    expected = fitted.predict(mixtures)
    pd.testing.assert_frame_equal(fitted.predict(convert(mixtures)), expected)
    offered = pd.DataFrame({"domain": ["web", "code", "books"], "tokens": [3e9, 1e9, 2e9]})
    pd.testing.assert_frame_equal(bx.read_available(convert(offered)), bx.read_available(offered))
    with pytest.raises(ValueError, match=r"expected a Sweep: bimix_jax\.read_sweep"):
        bx.fit(convert(TABLE))


def test_what_is_no_table_stays_as_it_is():
    assert as_frame(TABLE) is TABLE
    column = pyarrow.chunked_array([[1, 2]])
    assert as_frame(column) is column
    assert as_frame(None) is None
