"""Growth of times and memory with domains, runs, targets and points, by law, and a picture.

    python -m benchmarks.sizes --missing --within 480
    python -m benchmarks.sizes optimise fit --limit 60

A row is a process of its own. "cold" is its first call, compilation included; "warm" the median of
the calls after it; "again" the first call of a second process, which finds the compiled programs of
the first in a folder. Times are seconds by the clock and, as "CPU", of all processors together,
which a busy machine changes less. A row that takes longer than the limit is given up: what it has
not measured by then is left out, as are larger rows of its kind. "growth" is the exponent of the
warm processor time over the larger sizes, see `LARGE`. SciPy does the same work where it has a
solver for it: an optimum by SLSQP with our slopes; a fit of BiMix, or of TransferBiMix to targets
that are no domains, by `least_squares` from as many starts; a refit of BiMix to every resample.

Small rows come first, and results are written after each. Rows that are not asked for stay as they
were. All rows take hours: `--missing` leaves out those that the results have, or that were given
up, and `--within` begins none after so many seconds, so that they can be measured piece by piece.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.optimize import minimize

import bimix_jax as bx
from benchmarks import scipy_fit, sizes_worlds
from benchmarks.report import RESULTS, write_results
from bimix_jax.cli.show import show_table
from bimix_jax.mixture._near import near_mixture

DOMAINS = (3, 7, 12, 24, 39, 64, 100, 200)
SOME = (3, 7, 24, 64, 200)
"""Domains of rows other than those of an optimum."""
RUNS = (20, 60, 200, 1000)
TARGETS = (7, 100, 300, 1000)
BUDGETS = (10, 100, 1000, 10_000)
"""Budgets of each of 100 runs, up to a million points."""
LAWS = ("BiMix", "TransferBiMix", "SubstitutionBiMix")
SCIPY, ALL = "SciPy", "all laws"
CALLS, LONG = 3, 10.0
"""Number of warm calls, and the seconds of a first call after which one has to do."""
LARGE = {"domains": 24, "runs": 60, "targets": 100, "points": 10_000}
"""Sizes from which on an exponent of growth is fitted."""
BUDGET = 2e10
RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: what is done, by which law, at which size."""

    what: str
    law: str
    domains: int
    runs: int
    budgets: int = 1
    by: str = "domains"
    """the size that grows in its series"""
    targets: int = 0
    """number of targets, none of which is a domain; 0 where they are the domains"""

    @property
    def points(self) -> int:
        """Number of points of the sweep."""
        return self.runs * self.budgets

    @property
    def size(self) -> int:
        """Number of proportions and losses of the sweep."""
        return self.points * (self.domains + (self.targets or self.domains))

    @property
    def series(self) -> tuple[str, str, str]:
        """Rows that are alike but for the size that grows."""
        return self.what, self.law, self.by


Calls = dict[str, Callable[[], Any]]
"""Timed calls by name, in the order in which they are made."""


def optimise(case: Case) -> Calls:
    """The best mixture with its certificate, then everything that a report shows."""
    if case.law == SCIPY:
        fitted = sizes_worlds.fitted(bx.TransferBiMix(), case.domains, case.runs)
        return {"optimum": lambda: _slsqp(fitted)}
    fitted = sizes_worlds.fitted(bx.law_named(case.law), case.domains, case.runs)
    kept: list[bx.Optimum] = []

    def optimum() -> None:
        kept.append(bx.optimize_mixture(fitted, BUDGET))
        assert abs(kept[-1].gap) < 1e-7

    return {
        "optimum": optimum,
        "report": lambda: _report(dataclasses.replace(kept[-1])),
    }


def _report(best: bx.Optimum) -> tuple[Any, ...]:
    """Read all that a report shows, of an optimum that has computed none of it."""
    return best.table(), best.binding, best.alternatives, best.saved, best.notes


def fit(case: Case) -> Calls:
    """A fit of all targets."""
    sweep = sizes_worlds.sweep(case.domains, case.runs, case.budgets, case.targets)
    if case.law == SCIPY:
        law = bx.TransferBiMix() if case.targets else bx.BiMix()
        starts = len(np.asarray(law.starts(case.domains)))
        return {
            "fit": lambda: [scipy_fit.best_of_starts(law, sweep, t, starts) for t in sweep.targets]
        }
    return {"fit": lambda: bx.fit(sweep, bx.law_named(case.law))}


def compare(case: Case) -> Calls:
    """The judge of all laws."""
    sweep = sizes_worlds.sweep(case.domains, case.runs, case.budgets)
    return {"compare": lambda: bx.compare(sweep)}


def bootstrap(case: Case) -> Calls:
    """200 resamples of a fit."""
    sweep = sizes_worlds.sweep(case.domains, case.runs, case.budgets)
    if case.law == SCIPY:
        return {"bootstrap": lambda: _resampled(sweep)}
    return {"bootstrap": lambda: bx.bootstrap(sweep, bx.law_named(case.law), n=RESAMPLES)}


def _resampled(sweep: bx.Sweep) -> list[tuple[float, np.ndarray]]:
    """Fits of BiMix by SciPy to resamples of the runs, from one start each."""
    rng, rows = np.random.default_rng(0), [np.flatnonzero(sweep.run == r) for r in sweep.runs]
    draws = rng.integers(len(rows), size=(RESAMPLES, len(rows)))
    drawn = (sweep.take(np.concatenate([rows[i] for i in draw])) for draw in draws)
    return [scipy_fit.best_of_starts(bx.BiMix(), s, t, 1) for s in drawn for t in s.targets]


def _optimise_cases() -> Iterator[Case]:
    for law in (*LAWS, SCIPY):
        yield from (Case("optimise", law, n, 500) for n in DOMAINS)


def _fit_cases() -> Iterator[Case]:
    for law in (*LAWS, SCIPY):
        yield from (Case("fit", law, n, max(20, 5 * n // 2), 4) for n in SOME)
        yield from (Case("fit", law, 7, n, 4, "runs") for n in RUNS)
    for law in ("BiMix", "TransferBiMix", SCIPY):
        yield from (Case("fit", law, 7, 100, n, "points") for n in BUDGETS)
    for law in ("TransferBiMix", SCIPY):
        yield from (Case("fit", law, 7, 60, 4, "targets", n) for n in TARGETS)


def _compare_cases() -> Iterator[Case]:
    yield from (Case("compare", ALL, n, max(60, 4 * n), 4) for n in SOME)
    yield from (Case("compare", ALL, 7, n, 4, "runs") for n in RUNS)


def _bootstrap_cases() -> Iterator[Case]:
    for law in ("BiMix", "TransferBiMix", SCIPY):
        yield from (Case("bootstrap", law, n, max(20, 5 * n // 2), 4) for n in SOME)
    for law in ("BiMix", "TransferBiMix"):
        yield from (Case("bootstrap", law, 7, n, 4, "runs") for n in RUNS)


MEASURED: dict[str, tuple[Callable[[Case], Calls], Callable[[], Iterator[Case]]]] = {
    "optimise": (optimise, _optimise_cases),
    "fit": (fit, _fit_cases),
    "compare": (compare, _compare_cases),
    "bootstrap": (bootstrap, _bootstrap_cases),
}
"""What can be measured: the calls of a row, and its rows."""


def _slsqp(fitted: bx.Fit) -> np.ndarray:
    """The least mean loss by SciPy, from the same losses and slopes."""
    count = len(fitted.domains)

    def mean(shares: np.ndarray) -> tuple[float, np.ndarray]:
        near = near_mixture(fitted.law, fitted.coefficients, BUDGET, np.maximum(shares, 1e-12))
        return float(near.losses.mean()), near.slopes.mean(axis=0)

    found = minimize(
        mean,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda r: r.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    return found.x


def main() -> None:
    """Measure and report, or measure the one row that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=[], help=f"some of {', '.join(MEASURED)}")
    parser.add_argument("--limit", type=float, default=120, help="seconds a row may take")
    parser.add_argument("--laws", nargs="*", default=[*LAWS, ALL, SCIPY])
    parser.add_argument("--largest", type=int, default=max(DOMAINS), help="number of domains")
    parser.add_argument("--missing", action="store_true", help="only rows without results")
    parser.add_argument("--within", type=float, default=np.inf, help="seconds to begin rows in")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=CALLS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        for row in measured_here(Case(**json.loads(arguments.row)), arguments.calls):
            print(json.dumps(row), flush=True)
        return
    chosen = arguments.what or list(MEASURED)
    cases = [case for what in chosen for case in MEASURED[what][1]()]
    cases = [
        case for case in cases if case.domains <= arguments.largest and case.law in arguments.laws
    ]
    kept = Kept.last()
    if arguments.missing:
        known = {_case_of(row) for row in kept.rows}
        cases = [case for case in cases if case not in known]
    else:
        kept = Kept(kept.rows, [case for case in kept.given_up if case not in cases])
    table = measured(cases, kept, arguments.limit, arguments.within)
    show_table(table.set_index("what"), "Growth")
    draw(table, RESULTS / "sizes.png")


class Kept(NamedTuple):
    """Results so far."""

    rows: list[dict[str, Any]]
    given_up: list[Case]
    """cases that took longer than the limit"""

    @classmethod
    def last(cls) -> "Kept":
        """Read the last results."""
        path = RESULTS / "sizes.json"
        known = json.loads(path.read_text()) if path.exists() else {"rows": [], "settings": {}}
        return cls(known["rows"], [Case(**one) for one in known["settings"].get("given_up", [])])

    def write(self, limit: float) -> None:
        """Write the results."""
        settings = {"limit": limit, "calls": CALLS}
        settings["given_up"] = [dataclasses.asdict(one) for one in self.given_up]
        write_results(RESULTS, "sizes", with_growth(self.rows).set_index("what"), settings)


def _case_of(row: dict[str, Any]) -> Case:
    """The case of a row."""
    return Case(**{field.name: row[field.name] for field in dataclasses.fields(Case)})


def measured(cases: list[Case], kept: Kept, limit: float, within: float) -> pd.DataFrame:
    """Measure cases in processes of their own, write the results after each, and return them all.

    Cases larger than one given up are left out, and those that are not begun within so many
    seconds.
    """
    begun = time.perf_counter()
    for case in sorted(cases, key=lambda case: case.size):
        if any(one.series == case.series and one.size <= case.size for one in kept.given_up):
            continue
        if time.perf_counter() - begun > within:
            print("Time is up; the next is", case)
            break
        found, whole = in_processes(case, limit)
        if not whole:
            kept.given_up.append(case)
        kept.rows[:] = [row for row in kept.rows if _case_of(row) != case]
        for row in found:
            print(case, row, flush=True)
            kept.rows.append(dataclasses.asdict(case) | {"points": case.points} | row)
        kept.write(limit)
    return with_growth(kept.rows)


def in_processes(case: Case, limit: float) -> tuple[list[dict[str, Any]], bool]:
    """Measure a row in two processes that share compiled programs, and whether all was measured."""
    with tempfile.TemporaryDirectory() as programs:
        found, whole = _in_process(case, limit, programs, CALLS)
        second, _ = _in_process(case, limit, programs, 0) if whole else ([], False)
    again = {row["call"]: row["cold, s"] for row in second}
    return [row | {"again, s": again.get(row["call"], np.nan)} for row in found], whole


def _in_process(
    case: Case, limit: float, programs: str, calls: int
) -> tuple[list[dict[str, Any]], bool]:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": programs,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    row = json.dumps(dataclasses.asdict(case))
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sizes", "--row", row]
    command += ["--calls", str(calls)]
    try:
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, timeout=limit
        )
    except subprocess.TimeoutExpired as late:
        return _rows(late.stdout or b""), False
    return _rows(done.stdout), True


def _rows(printed: bytes) -> list[dict[str, Any]]:
    """Rows that a process has printed, one a line."""
    lines = [line for line in printed.decode().split("\n")[:-1] if line.startswith("{")]
    return [json.loads(line) for line in lines]


def measured_here(case: Case, calls: int) -> Iterator[dict[str, Any]]:
    """Time the calls of a row in this process."""
    every = MEASURED[case.what][0](case)
    before = _memory()
    for name, call in every.items():
        clock, processors = _seconds(call)
        memory = _memory() - before
        warm = [_seconds(call) for _ in range(min(calls, 1 if clock > LONG else calls))]
        again = np.median(warm, axis=0).tolist() if warm else [np.nan, np.nan]
        yield {
            "call": name,
            "cold, s": clock,
            "cold, CPU s": processors,
            "warm, s": again[0],
            "warm, CPU s": again[1],
            "memory, MB": memory,
        }


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a call by the clock, and of all processors."""
    started, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started, time.process_time() - used


def _memory() -> float:
    """Largest memory of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_growth(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Add the exponent of growth of each series to its rows; nan with fewer than three sizes."""
    order = ["what", "law", "by", "domains", "runs", "budgets", "targets"]
    table = pd.DataFrame(rows).sort_values(order, kind="stable").reset_index(drop=True)
    table = table.assign(growth=np.nan)
    for (_, _, _, by), part in table.groupby(["what", "call", "law", "by"]):
        known = part[(part[by] >= LARGE[by]) & part["warm, CPU s"].notna()]
        if len(known) >= 3:
            slope = np.polyfit(np.log(known[by]), np.log(known["warm, CPU s"].astype(float)), 1)[0]
            table.loc[part.index, "growth"] = slope
    return table


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw times against sizes on log axes, a panel per call and growing size."""
    known = table[table["warm, CPU s"].notna()]
    panels = list(known.groupby(["call", "by"], sort=False))
    columns = min(3, len(panels))
    size = (4.2 * columns, 3.6 * -(-len(panels) // columns))
    figure, axes = plt.subplots(
        -(-len(panels) // columns), columns, figsize=size, layout="constrained", squeeze=False
    )
    colours = {law: f"C{i}" for i, law in enumerate(dict.fromkeys(known["law"]))}
    for panel, ((call, by), part) in zip(axes.flat, panels, strict=False):
        for law, rows in part.groupby("law", sort=False):
            style = {"color": "0.5"} if law == SCIPY else {"color": colours[law]}
            panel.plot(rows[by], rows["warm, CPU s"], "o-", label=law, markersize=4, **style)
            if law != SCIPY:
                panel.plot(rows[by], rows["cold, CPU s"], "--", alpha=0.5, **style)
        panel.set(xscale="log", yscale="log", xlabel=by, ylabel="processor seconds", title=call)
        sizes = sorted(set(part[by]))
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        least, most = panel.get_ylim()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 100 * least else (1,)))
        panel.yaxis.set_major_formatter("{x:g}")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_minor_formatter(NullFormatter())  # they would overlap
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    for panel in axes.flat[len(panels) :]:
        panel.set_axis_off()
    figure.suptitle("Solid: again in a process. Dashed: first call, compilation included.")
    figure.savefig(path, dpi=160)
    plt.close(figure)


if __name__ == "__main__":
    main()
