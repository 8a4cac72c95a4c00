"""Tables of runs that several test files read."""

import itertools

import numpy as np
import pandas as pd

MIXTURES = {"a": (0.2, 0.8), "b": (0.6, 0.4), "c": (0.5, 0.5)}
BUDGETS = (1e9, 2e9, 4e9)


def wide_frame(**columns):
    """Three runs of two domains at three budgets, 9 rows; columns replace or join."""
    rows = [
        {
            "run": run,
            "tokens": budget,
            "r_web": web,
            "r_code": code,
            "loss_web": 2 * web**-0.2 * (budget / 1e9) ** -0.3 + 1,
            "loss_code": 1.5 * code**-0.1 * (budget / 1e9) ** -0.4 + 0.5,
        }
        for (run, (web, code)), budget in itertools.product(MIXTURES.items(), BUDGETS)
    ]
    return pd.DataFrame(rows).assign(**columns)


def with_cell(frame, row, column, value):
    """A copy with one cell replaced; rows count from 1 as in messages."""
    cells = frame[column].astype(object).tolist()
    cells[row - 1] = value
    return frame.assign(**{column: cells})


def long_frame(**columns):
    """The same runs in long form, 18 rows: first web, then code of every point."""
    wide = wide_frame()
    rows = [
        {
            "run": point["run"],
            "tokens": point["tokens"],
            "domain": name,
            "proportion": point[f"r_{name}"],
            "loss": point[f"loss_{name}"],
        }
        for _, point in wide.iterrows()
        for name in ("web", "code")
    ]
    return pd.DataFrame(rows).assign(**columns)


def random_frame(rng, runs=6, budgets=4, domains=4):
    """A wide table with random mixtures, and random losses that fall along each run."""
    mixture = np.repeat(rng.dirichlet(np.ones(domains), runs), budgets, axis=0)
    columns = {"run": np.repeat([f"run{i}" for i in range(runs)], budgets)}
    columns["steps"] = np.tile(100.0 * np.arange(1, budgets + 1), runs)
    columns |= {f"r_d{i}": mixture[:, i] for i in range(domains)}
    falling = -np.sort(-rng.uniform(1, 5, (domains, runs, budgets)), axis=-1)
    columns |= {f"loss_d{i}": falling[i].ravel() for i in range(domains)}
    return pd.DataFrame(columns)
