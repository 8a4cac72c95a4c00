"""Result of each choice: means and standard errors over seeds, regret, tokens needed."""

import numpy as np
import pandas as pd

from benchmarks.proof.choices import Choice, Choices

REFERENCE = "uniform"


def mean_curves(losses: pd.DataFrame) -> pd.Series:
    """Mean loss over targets by run (index mixture, seed, tokens), of a table of losses."""
    indexed = losses.set_index(["mixture", "seed", "tokens"]).sort_index()
    return indexed.filter(regex="^loss_").mean(axis=1)


def losses_at(curves: pd.Series, tokens: float) -> pd.DataFrame:
    """(mixtures, seeds) mean losses at a budget, nan where a run has not come so far."""
    there = np.isclose(curves.index.get_level_values("tokens"), tokens)
    return curves[there].droplevel("tokens").unstack("seed")


def judged_table(losses: pd.DataFrame, choices: Choices) -> pd.DataFrame:
    """One row a choice and budget, those of a budget in the order of their regret.

    Columns: budget (name), loss and its standard error over seeds, what the law predicted that
    recommends the choice, the mean difference to the uniform mixture of the same seed and its
    standard error, regret (that difference above the least one), millions of tokens at which runs
    reach what the uniform run of their seed has at the budget (nan if one never does), seeds that
    were measured, and the choice whose runs these are, if not its own. Differences are
    of the same seeds, so that a choice is not better or worse by the seeds that are missing.

    Args:
        losses: of the runs so far, as the trainer writes it.
        choices: what was trained.
    """
    curves = mean_curves(losses)
    tables = []
    for position, (name, tokens) in enumerate(choices.budgets().items()):
        found = losses_at(curves, tokens)
        rows = [_row(choice, found, curves, position) for choice in choices.choices]
        table = pd.DataFrame(rows, index=[choice.name for choice in choices.choices])
        table.insert(0, "budget", name)
        table.insert(6, "regret", table["− uniform"] - table["− uniform"].min())
        tables.append(table.sort_values(["regret", "loss"], kind="stable"))
    return pd.concat(tables).rename_axis("choice")


def _row(
    choice: Choice, found: pd.DataFrame, curves: pd.Series, position: int
) -> dict[str, object]:
    measured = _of(found, choice.trained_as)
    reference = _of(found, REFERENCE).reindex(measured.index)
    difference = (measured - reference).dropna()
    needed = [
        tokens_to_reach(curves[choice.trained_as, seed], float(loss))
        for seed, loss in reference[difference.index].items()
    ]
    return {
        "loss": measured.mean(),
        "±": standard_error(measured),
        "predicted": choice.predicted[position] if choice.predicted else np.nan,
        "− uniform": difference.mean(),
        "− uniform ±": standard_error(difference),
        "M tokens needed": np.mean(needed) / 1e6 if needed else np.nan,
        "seeds": len(measured),
        "trained as": "" if choice.trained_as == choice.name else choice.trained_as,
    }


def _of(found: pd.DataFrame, name: str) -> pd.Series:
    """Losses by seed of a mixture, as far as they are known."""
    return found.loc[name].dropna() if name in found.index else pd.Series(dtype=float)


def standard_error(values: pd.Series) -> float:
    """Standard error of a mean; nan for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def tokens_to_reach(curve: pd.Series, loss: float) -> float:
    """Tokens (the index) at which a curve first is at a loss, linear in the log of the tokens.

    nan if it never is; the first measured budget if it is there already.

    >>> tokens_to_reach(pd.Series([5.0, 4.0], index=[100, 400]), 4.5)
    200.0
    """
    reached = np.flatnonzero(curve.to_numpy() <= loss)
    if not len(reached):
        return float("nan")
    at = int(reached[0])
    if at == 0:
        return float(curve.index[0])
    later, earlier = curve.iloc[at], curve.iloc[at - 1]
    logs = np.log(curve.index[[at - 1, at]].to_numpy(float))
    return float(np.exp(np.interp(-loss, [-earlier, -later], logs)).round(6))
