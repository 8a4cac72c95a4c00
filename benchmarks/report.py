"""Report of a benchmark: a table for people, JSON for machines."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import scipy

from bimix_jax import __version__
from bimix_jax.cli.show import percent, plain, show_table
from bimix_jax.files import write_atomically

RESULTS = Path(__file__).parent / "results"
FRACTIONS = ("error", "mre", "worst", "difference", "se", "gain")
PERCENT = {name: (f"{name}, %", percent) for name in FRACTIONS}
"""Columns that hold fractions."""


def report(name: str, table: pd.DataFrame, title: str, **settings: Any) -> None:
    """Print a table and write it with settings and machine to results/<name>.json."""
    show_table(table, title, PERCENT)
    write_results(RESULTS, name, table, settings)


def write_results(folder: Path, name: str, table: pd.DataFrame, settings: dict[str, Any]) -> None:
    """Write a table with settings and machine to FOLDER/<name>.json."""
    folder.mkdir(exist_ok=True)
    document = {"benchmark": name, "settings": settings, "machine": machine()}
    document["rows"] = table.reset_index().to_dict("records")
    text = json.dumps(plain(document), indent=1, ensure_ascii=False)
    write_atomically(folder / f"{name}.json", text + "\n")


def machine() -> dict[str, Any]:
    """Processor, device and versions that a number belongs to."""
    return {
        "processor": _processor(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "bimix_jax": __version__,
    }


def _processor() -> str:
    try:
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return platform.processor()
    found = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    return f"{found.get('Model name', '?').strip()}, {found.get('CPU(s)', '?').strip()} cores"
