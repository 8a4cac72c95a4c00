"""What the parts of a batch hold, counted one part at a time."""

import collections
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow.parquet

SHOWN = 20


@dataclasses.dataclass
class Summary:
    """Counts over the parts of a batch."""

    parts: int = 0
    sweeps: int = 0
    failed: int = 0
    """sweeps that could not be read or fitted"""
    codes: dict[str, int] = dataclasses.field(default_factory=dict)
    """targets by result code"""
    reasons: list[str] = dataclasses.field(default_factory=list)
    """of the first sweeps that failed"""

    def table(self) -> pd.DataFrame:
        """Targets by code."""
        return pd.DataFrame(
            {"targets": list(self.codes.values())}, index=pd.Index(list(self.codes), name="code")
        )


def summary(folder: Path, parts: Iterable[str]) -> Summary:
    """Read the codes and reasons of those parts that are there."""
    found, codes = Summary(), collections.Counter[str]()
    for part in (folder / name for name in sorted(parts) if (folder / name).is_file()):
        table = pyarrow.parquet.read_table(part, columns=["sweep", "target", "code", "reason"])
        rows = table.to_pandas()
        lost = rows[(rows["reason"] != "") & (rows["target"] == "")]
        found.parts += 1
        found.sweeps += rows["sweep"].nunique()
        found.failed += len(lost)
        codes.update(rows.loc[rows["target"] != "", "code"])
        room = SHOWN - len(found.reasons)
        found.reasons += [
            f"sweep {r.sweep} ({part.name}): {r.reason}" for r in lost[:room].itertuples()
        ]
    found.codes = dict(codes)
    if found.failed > SHOWN:
        found.reasons.append(f"… and {found.failed - SHOWN} sweeps more")
    return found
