"""`bimix bench`."""

import jax
import numpy as np
import pandas as pd

from bimix_jax.batching.ceilings import measure_ceilings
from bimix_jax.batching.rates import Case, measure
from bimix_jax.cli.options import Json
from bimix_jax.cli.show import number, percent, quantity, show_json, show_line, show_table

CASES = (
    Case(),
    Case(dtype="float32"),
    Case("log"),
    Case(huber=0.02),
    Case(points=200),
    Case(dtype="float32", fits=100_000),
)
MANY = 1 << 20
LARGE_CASES = (
    Case(fits=MANY),
    Case(dtype="float32", fits=MANY),
    Case("log", fits=MANY),
    Case(huber=0.02, fits=MANY),
)
"""Cases for devices that run hundreds of thousands of fits at once, and compile for longer."""

COLUMNS = {
    "fits/s": ("fits per second", quantity),
    "with compile": ("with compilation", quantity),
    "on device": ("on the device alone", quantity),
    "excess": ("excess of sums of squares", number),
    "bound": ("bound by", number),
    "of it": ("reached of that, %", percent),
    "load": ("load of the machine", number),
}


def bench(output: Json) -> None:
    """Measure the number of fits per second on this machine, and its share of the machine's peak.

    This takes about a minute. Rates are after compilation, medians of at least five calls of the
    batch that `bimix batch` runs; "on device" is the compiled search alone, on data in the memory
    of a GPU or TPU; "of it" is the share of the ceiling that binds, measured here.

    Example: `bimix bench`
    """
    ceilings = {dtype: measure_ceilings(dtype) for dtype in ("float64", "float32")}
    cases = CASES if jax.default_backend() == "cpu" else LARGE_CASES
    rows = [measure(case, ceilings[case.dtype]) for case in cases]
    device = f"{len(jax.local_devices())} × {jax.devices()[0].device_kind}, jax {jax.__version__}"
    if output.json:
        return show_json({"device": device, "ceilings": ceilings_of(ceilings), "rows": rows})
    show_table(pd.DataFrame(rows).set_index("method"), f"Fits per second on {device}", COLUMNS)
    for dtype, found in ceilings.items():
        show_line(
            f"Ceilings in {dtype}: {found.flops / 1e9:.3g} billion operations and "
            f"{found.bytes / 1e9:.3g} GB a second."
        )
    return show_line(_to_quote(rows))


def _to_quote(rows: list[dict]) -> str:
    """Return the highest rate, and its share of the ceiling."""
    best = max(rows, key=lambda row: np.fmax(row["fits/s"], row["on device"]))
    rate = np.fmax(best["fits/s"], best["on device"])
    where = " of data on the device" if best["on device"] > best["fits/s"] else ""
    return (
        f"{rate:,.0f} fits a second in {best['dtype']}{where}, {100 * best['of it']:.0f} % of "
        f"the ceiling ({best['bound']})."
    )


def ceilings_of(ceilings: dict) -> dict[str, dict[str, float]]:
    """Return ceilings as nested dictionaries, for JSON."""
    return {dtype: found._asdict() for dtype, found in ceilings.items()}
