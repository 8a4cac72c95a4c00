"""A table of many small sweeps of a world where BiMix is true."""

import numpy as np
import pandas as pd

from tests.conftest import synthetic_points

DOMAINS = ("web", "code")


def table_of_sweeps(count, runs=4, budgets=4, noise=0.01):
    """`count` sweeps of 2 domains in wide form, labelled s0, s1, …"""
    return pd.concat([_frame(i, runs, budgets, noise) for i in range(count)], ignore_index=True)


def _frame(seed, runs, budgets, noise):
    mixture, budget, loss, _ = synthetic_points(seed, runs, budgets, len(DOMAINS), noise)
    columns = {"sweep": f"s{seed}", "run": np.repeat([f"r{i}" for i in range(runs)], budgets)}
    columns |= {"tokens": budget}
    columns |= {f"r_{d}": mixture[:, i] for i, d in enumerate(DOMAINS)}
    columns |= {f"loss_{d}": loss[:, i] for i, d in enumerate(DOMAINS)}
    return pd.DataFrame(columns)
