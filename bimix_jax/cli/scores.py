"""The table of signal and noise of scores, which `bimix check` and `compare` print."""

from bimix_jax.cli.show import number, show_table
from bimix_jax.reading.targets import are_scores
from bimix_jax.sweeps.sweep import Sweep

COLUMNS = {
    "signal": ("spread of mixtures", number),
    "noise": ("noise of a run", number),
    "ratio": ("ratio", number),
    "basis": ("noise by", number),
    "clear": ("signal", number),
}


def show_signal(sweep: Sweep) -> None:
    """Print signal and noise of the scores of a sweep, the clearest first; nothing without any."""
    scores = are_scores(sweep.described)
    table = sweep.signal()[scores]
    if not len(table) or not (table["basis"] != "").any():
        return
    table["clear"] = table["clear"].map({True: "yes", False: "no"}).where(table["basis"] != "", "?")
    show_table(
        table.sort_values("ratio", ascending=False).rename_axis("score"),
        "Signal of the scores at the last common budget, in their units",
        COLUMNS,
        below="No signal: mixtures differ by no more than single runs do, so the score says "
        "nothing about mixtures and does not count unless it is named.",
    )
