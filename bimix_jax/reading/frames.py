"""Tables of other libraries as DataFrames, through the interface that they share."""

from typing import Any

import pandas as pd
import pyarrow


def as_frame(table: Any) -> Any:
    """Convert a table of Arrow, Polars, DuckDB and others to a DataFrame.

    Such tables offer a stream of Arrow's format (the PyCapsule interface), so that none of these
    libraries is needed here. A DataFrame of pandas, and everything that is not a table, is returned
    as it is.

    >>> as_frame(pyarrow.table({"web": [0.25], "code": [0.75]})).to_dict("list")
    {'web': [0.25], 'code': [0.75]}
    >>> as_frame("runs.csv")
    'runs.csv'
    """
    if isinstance(table, (pd.DataFrame, pd.Series)):
        return table
    if hasattr(table, "collect") and not hasattr(table, "__arrow_c_stream__"):
        table = table.collect()  # a lazy frame of Polars, which is a plan and no table yet
    if not hasattr(table, "__arrow_c_stream__"):
        return table
    try:
        return pyarrow.table(table).to_pandas()
    except pyarrow.ArrowInvalid:  # a single column
        return table
