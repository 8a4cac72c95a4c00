"""The readers that are fuzzed: a sound file, how the package reads it, how the oracle does."""

import dataclasses
import io
import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

import bimix_jax as bx
from tests.fuzz import oracles
from tests.fuzz.oracles import DOMAINS, Doubt

BUDGETS = (1e9, 2e9, 4e9)


@dataclasses.dataclass(frozen=True)
class Reader:
    """One way into the package."""

    name: str
    file: str
    sound: Callable[[], bytes]
    """a file that is read without a doubt"""
    read: Callable[[Path], tuple[Any, tuple[str, ...]]]
    """content and notes, by the package"""
    oracle: Callable[[bytes], Any]
    """content, by the independent reader; Doubt where it is not sure"""
    beside: Callable[[Path], None] = lambda folder: None
    """writes what else the reader needs into the folder"""
    edited: bool = False
    """a table that people edit, and so do edits"""


def table(seed: int = 0) -> pd.DataFrame:
    """A wide table of six runs at three budgets."""
    rng = np.random.default_rng(seed)
    mixtures = np.round(rng.dirichlet([2, 2, 2], 6) * 0.9 + 0.03, 4)
    mixtures[:, 0] += 1 - mixtures.sum(axis=1)
    rows = []
    for i, mixture in enumerate(mixtures.round(4)):
        for budget in BUDGETS:
            loss = 2 * mixture**-0.1 * (0.5 * (budget / 1e9) ** -0.3 + 0.6)
            cells = {f"loss_{d}": x for d, x in zip(DOMAINS, loss.round(5), strict=True)}
            shares = {f"r_{d}": x for d, x in zip(DOMAINS, mixture, strict=True)}
            rows.append({"run": f"mix{i}", "tokens": int(budget), **shares, **cells})
    return pd.DataFrame(rows)


def content_of(sweep: bx.Sweep) -> Any:
    """A sweep as the oracle writes it."""
    return oracles.measured(
        {
            (run, float(budget)): (
                dict(zip(sweep.domains, map(float, mixture), strict=True)),
                dict(zip(sweep.targets, map(float, loss), strict=True)),
            )
            for run, budget, mixture, loss in zip(
                sweep.run, sweep.budget, sweep.mixture, sweep.loss, strict=True
            )
        }
    )


def _of_sweep(sweep: bx.Sweep) -> tuple[Any, tuple[str, ...]]:
    return content_of(sweep), sweep.notes


# ---- tables ----------------------------------------------------------------------------------


def _json_lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table().to_dict("records")).encode()


def _oracle_of_lines(data: bytes) -> Any:
    rows = oracles.objects_of_lines(data)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return oracles.sweep_of(
        [{n.strip(): oracles.cell_of(row.get(n)).strip() for n in names} for row in rows]
    )


def _long() -> bytes:
    wide = table()
    rows = [
        {"run": row.run, "tokens": row.tokens, "domain": d,
         "proportion": getattr(row, f"r_{d}"), "loss": getattr(row, f"loss_{d}")}
        for row in wide.itertuples() for d in DOMAINS
    ]  # fmt: skip
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _oracle_of_long(data: bytes) -> Any:
    rows = oracles.rows_of_csv(data)
    if not {"run", "tokens", "domain", "proportion", "loss"} <= rows[0].keys():
        raise Doubt("columns")
    wide: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        point = wide.setdefault(
            (row["run"], row["tokens"]), {"run": row["run"], "tokens": row["tokens"]}
        )
        if not row["domain"] or f"r_{row['domain']}" in point:
            raise Doubt("domain")
        point[f"r_{row['domain']}"], point[f"loss_{row['domain']}"] = row["proportion"], row["loss"]
    if len({frozenset(point) for point in wide.values()}) > 1:
        raise Doubt("domains that some runs lack")
    return oracles.sweep_of(list(wide.values()))


def _pair_losses() -> bytes:
    return table()[["run", "tokens", *(f"loss_{d}" for d in DOMAINS)]].to_csv(index=False).encode()


def _pair_mixtures(folder: Path) -> None:
    mixtures = table()[["run", *(f"r_{d}" for d in DOMAINS)]].drop_duplicates()
    mixtures.to_csv(folder / "mixtures.csv", index=False)


def _mixtures() -> bytes:
    return (
        table()[["run", *(f"r_{d}" for d in DOMAINS)]]
        .drop_duplicates()
        .to_csv(index=False)
        .encode()
    )


def _beside_mixtures(folder: Path) -> None:
    (folder / "losses.csv").write_bytes(_pair_losses())


def _oracle_of_mixtures(data: bytes) -> Any:
    """Shares of another table beside the sound losses, all runs once."""
    return _with_shares(oracles.rows_of_csv(data))


def _with_shares(rows: list[dict[str, str]]) -> Any:
    named = {row.get("run", ""): row for row in rows}
    wide = table().astype(str).to_dict("records")
    if len(named) < len(rows) or named.keys() != {row["run"] for row in wide}:
        raise Doubt("runs")
    shares = lambda row: {k: v for k, v in named[row["run"]].items() if k != "run"}  # noqa: E731
    rest = lambda row: {k: v for k, v in row.items() if not k.startswith("r_")}  # noqa: E731
    return oracles.sweep_of([rest(row) | shares(row) for row in wide])


def _oracle_of_pair(data: bytes) -> Any:
    shares = {row.run: row for row in table().itertuples()}
    rows = oracles.rows_of_csv(data)
    if any(row.get("run") not in shares for row in rows):
        raise Doubt("a run without a mixture")
    if {row["run"] for row in rows} != shares.keys():
        raise Doubt("a mixture without a run")
    of = lambda run: {f"r_{d}": str(getattr(shares[run], f"r_{d}")) for d in DOMAINS}  # noqa: E731
    return oracles.sweep_of([row | of(row["run"]) for row in rows])


def _parquet() -> bytes:
    buffer, wide = io.BytesIO(), table()
    wide.to_parquet(buffer, write_page_checksum=True, use_dictionary=False)
    return buffer.getvalue()


def _oracle_of_parquet(data: bytes) -> Any:
    """The sound numbers; names are as the footer has them, of which Parquet keeps no checksum."""
    wide = table()
    names = pyarrow.parquet.read_schema(io.BytesIO(data)).names
    if len(names) != len(wide.columns):
        raise Doubt("columns")
    named = wide.set_axis([name.strip() for name in names], axis=1)
    return oracles.sweep_of(oracles.rows_of_csv(named.to_csv(index=False).encode()))


# ---- logs ------------------------------------------------------------------------------------


def _runs(folder: Path) -> None:
    mixtures = table()[["run", *(f"r_{d}" for d in DOMAINS)]].drop_duplicates()
    mixtures.columns = ["run", *DOMAINS]
    mixtures.to_csv(folder / "runs.csv", index=False)
    for run, rows in table().groupby("run"):
        if run != "mix0":
            (folder / "logs" / f"{run}.jsonl").write_bytes(_history(rows))


def _history(rows: pd.DataFrame) -> bytes:
    lines = [
        {"global_step": int(row.tokens / 1e6)}
        | {f"eval/{d}/loss": getattr(row, f"loss_{d}") for d in DOMAINS}
        for row in rows.itertuples()
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _first_history() -> bytes:
    return _history(table().query("run == 'mix0'"))


def _oracle_of_history(data: bytes) -> Any:
    rows = oracles.objects_of_lines(data)
    wide = table()
    shares = {d: str(wide.loc[0, f"r_{d}"]) for d in DOMAINS}
    known = {"global_step", *(f"eval/{d}/loss" for d in DOMAINS)}
    points = []
    for row in rows:
        if not row.keys() & (known - {"global_step"}):
            continue  # of training, not of evaluation
        if not known <= row.keys():
            raise Doubt("keys")
        row = {key: row[key] for key in known}
        cells = {k: oracles.cell_of(v) for k, v in row.items()}
        points.append(
            {"run": "mix0", "tokens": str(oracles.number(cells["global_step"]) * 1e6),
             **{f"r_{d}": s for d, s in shares.items()},
             **{f"loss_{d}": cells[f"eval/{d}/loss"] for d in DOMAINS}}
        )  # fmt: skip
    others = oracles.rows_of_csv(wide[wide.run != "mix0"].to_csv(index=False).encode())
    return oracles.sweep_of([*points, *others])


def _logs_beside(folder: Path) -> None:
    (folder / "logs").mkdir()
    _runs(folder)
    (folder / "logs" / "mix0.jsonl").write_bytes(_first_history())


def _oracle_of_runs(data: bytes) -> Any:
    rows = oracles.rows_of_csv(data)
    if any("run" not in row or "nameless" in " ".join(row) for row in rows):
        raise Doubt("columns")
    # A domain may have any name, also one that no target has.
    return _with_shares(
        [{k if k == "run" else f"r_{k}": v for k, v in row.items()} for row in rows]
    )


def _csv_log(rows: pd.DataFrame) -> bytes:
    lines = [json.loads(line) for line in _history(rows).splitlines()]
    return pd.DataFrame(lines).to_csv(index=False).encode()


def _csv_logs(folder: Path) -> None:
    _runs(folder)
    for path in (folder / "logs").glob("*.jsonl"):
        path.with_suffix(".csv").write_bytes(_csv_log(table().query(f"run == '{path.stem}'")))
        path.unlink()


def _oracle_of_csv_log(data: bytes) -> Any:
    return _oracle_of_history("\n".join(map(json.dumps, oracles.rows_of_csv(data))).encode())


def _read_logs(path: Path) -> Any:
    return _of_sweep(
        bx.read_logs(path.parent, path.parent.parent / "runs.csv", tokens_per_step=1e6)
    )


def _trainer_state() -> bytes:
    rows = table().query("run == 'mix0'")
    history = [
        {"step": int(row.tokens / 1e6), f"eval_{d}_loss": getattr(row, f"loss_{d}")}
        for row in rows.itertuples() for d in DOMAINS
    ]  # fmt: skip
    return json.dumps({"global_step": 4000, "log_history": history}, indent=1).encode()


def _states(folder: Path) -> None:
    _runs(folder)
    for path in (folder / "logs").glob("*.jsonl"):
        rows = table().query(f"run == '{path.stem}'")
        history = [
            {"step": int(r.tokens / 1e6), f"eval_{d}_loss": getattr(r, f"loss_{d}")}
            for r in rows.itertuples() for d in DOMAINS
        ]  # fmt: skip
        (folder / "logs" / path.stem).mkdir()
        state = {"global_step": 4000, "log_history": history}
        (folder / "logs" / path.stem / "trainer_state.json").write_text(json.dumps(state))
        path.unlink()


def _oracle_of_state(data: bytes) -> Any:
    state = oracles.json_value(data)
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise Doubt("history")
    losses: dict[float, dict[str, str]] = {}
    for entry in state["log_history"]:
        if not isinstance(entry, dict) or len(entry) != 2 or "step" not in entry:
            raise Doubt("entry")
        (key,) = entry.keys() - {"step"}
        step = oracles.number(oracles.cell_of(entry["step"]))
        target = key.removeprefix("eval_").removesuffix("_loss")
        if f"eval_{target}_loss" != key or target not in DOMAINS or target in losses.get(step, {}):
            raise Doubt("key")
        losses.setdefault(step, {})[target] = oracles.cell_of(entry[key])
    lines = [
        {"global_step": step, **{f"eval/{d}/loss": of[d] for d in DOMAINS}}
        for step, of in losses.items() if len(of) == 3
    ]  # fmt: skip
    if len(lines) < len(losses) or not lines:
        raise Doubt("targets")
    return _oracle_of_history("\n".join(map(json.dumps, lines)).encode())


def _read_states(path: Path) -> Any:
    return _of_sweep(
        bx.read_logs(path.parent.parent, path.parents[2] / "runs.csv", tokens_per_step=1e6)
    )


# ---- fits, constraints, paths, what exists -----------------------------------------------------


def _fit_file(digest: bool) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        bx.fit(bx.read_sweep(table()), bx.BiMix()).save(Path(folder) / "fit.json")
        data = (Path(folder) / "fit.json").read_bytes()
    if digest:
        return data
    document = json.loads(data)
    del document["digest"]
    return json.dumps(document, indent=1).encode()


def _read_fit(path: Path) -> Any:
    again = path.with_name("again.json")
    bx.load_fit(path).save(again)
    return _without_stamps(json.loads(again.read_bytes())), ()


def _without_stamps(document: Any) -> Any:
    if not isinstance(document, dict):
        raise Doubt("document")
    left_out = ("digest", "version", "format")
    for row in document.get("fits", []) if isinstance(document.get("fits"), list) else []:
        if isinstance(row, dict):  # what the first format had not
            row.setdefault("restraint", 0.0)
            row.setdefault("agreement", 1.0)
    return {k: v for k, v in document.items() if k not in left_out and v not in ([], {}, None)}


CONSTRAINTS = b"""epochs = 2.5
tokens = 4e9

[lower]
web = 0.1

[upper]
code = 0.4
books = 0.6

[available]
web = 3e9
"""


def _read_constraints(path: Path) -> Any:
    found = bx.read_constraints(path).to_dict()
    return {k: v for k, v in found.items() if v not in ({}, None, (), 0.0)}, ()


def _oracle_of_constraints(data: bytes) -> Any:
    document = oracles.toml_value(data)
    for key, value in document.items():
        if key not in (
            "epochs",
            "tokens",
            "lower",
            "upper",
            "available",
            "fixed",
            "tokens_per_step",
        ):
            raise Doubt(key)
        numbers = list(value.values()) if isinstance(value, dict) else [value]
        if any(type(n) not in (int, float) or not n >= 0 for n in numbers):
            raise Doubt("number")
    return {k: v for k, v in document.items() if v not in ({}, 0)}


PATHS = b"""web = "/data/web"
code = ["/data/code_0", "/data/code_1"]

[books]
remote = "s3://bucket/books"
"""


def _read_paths(path: Path) -> Any:
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in bx.read_paths(path, DOMAINS).items()
    }, ()


def _oracle_of_paths(data: bytes) -> Any:
    return {
        name: [where] if isinstance(where, str) else where
        for name, where in oracles.toml_value(data).items()
    }


AVAILABLE = b"domain,tokens,documents\nweb,3e9,1000000\ncode,2000000000,5e5\nbooks,1.5e9,20000\n"


def _read_available(path: Path) -> Any:
    found = bx.read_available(path, DOMAINS)
    return {
        str(d): [float(x) for x in row]
        for d, row in zip(found.index, found.to_numpy(), strict=True)
    }, ()


def _oracle_of_available(data: bytes) -> Any:
    rows = oracles.rows_of_csv(data)
    if not {"domain", "tokens"} <= set(rows[0]) or len({r["domain"] for r in rows}) != 3:
        raise Doubt("columns")
    found = {
        r["domain"]: (oracles.amount(r["tokens"]), oracles.amount(r.get("documents", "")))
        for r in rows
    }
    return {
        d: [tokens, tokens / documents if documents else np.nan]
        for d, (tokens, documents) in found.items()
    }


# ---- corpora -----------------------------------------------------------------------------------

TEXTS = ["the quick brown fox", "jumps over the lazy dog", "a b a b a b", "größer und kleiner"] * 3


def _documents() -> bytes:
    return "".join(
        json.dumps({"text": t, "id": i}, ensure_ascii=False) + "\n" for i, t in enumerate(TEXTS)
    ).encode()


SEQUENCE = 1024
STATISTICS = ("Plug-in entropies", "The pairs seen")
"""What notes on the sample begin with, which say nothing of the file."""


def _read_corpus(path: Path, **options: Any) -> Any:
    found = bx.corpus_entropies([path], curve=False, **options)
    plug_in = found.estimates["plug-in"].iloc[0]
    values = [plug_in["SE"], plug_in["CE"], found.sizes["tokens"].iloc[0]]
    notes = [note for note in found.notes if not note.startswith(STATISTICS)]
    return [float(value) for value in values], tuple(notes)


def _oracle_of_documents(data: bytes) -> Any:
    rows = oracles.objects_of_lines(data)
    if not all(isinstance(row.get("text"), str) and row["text"] for row in rows):
        raise Doubt("text")
    return entropies([list(row["text"].encode()) for row in rows])


def entropies(documents: list[list[int]]) -> list[float]:
    """SE, CE and tokens of documents; a pair lies within one, and all within a sequence."""
    ids = [i for document in documents for i in document]
    if len(ids) < 2:
        raise Doubt("length")
    starts = {0, *itertools.accumulate(map(len, documents)), *range(0, len(ids), SEQUENCE)}
    pairs = [pair for i, pair in enumerate(itertools.pairwise(ids), 1) if i not in starts]
    if not pairs:
        raise Doubt("pairs")
    return [_entropy(ids), _entropy(pairs) - _entropy([a for a, _ in pairs]), float(len(ids))]


def _entropy(items: list[Any]) -> float:
    counts = np.array(list(_counted(items).values()), float)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def _counted(items: list[Any]) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for item in items:
        found[item] = found.get(item, 0) + 1
    return found


def _ids() -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 50, 300) ** 2 // 50).astype(np.uint16)


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, _ids())
    return buffer.getvalue()


def _oracle_of_npy(data: bytes) -> Any:
    try:
        ids = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        raise Doubt("npy") from error
    if (
        ids.ndim != 1
        or ids.dtype != np.uint16
        or len(data) != 128 + ids.nbytes
        or ids.max(initial=0) >= 500
    ):
        raise Doubt("ids")
    return entropies([ids.tolist()])


def _oracle_of_bin(data: bytes) -> Any:
    ids = np.frombuffer(data[: len(data) // 2 * 2], "<u2")
    if len(data) % 2 or ids.max(initial=0) >= 500:
        raise Doubt("ids")
    return entropies([ids.tolist()])


READERS = [
    Reader("wide", "sweep.csv", lambda: table().to_csv(index=False).encode(),
           lambda p: _of_sweep(bx.read_sweep(p)),
           lambda d: oracles.sweep_of(oracles.rows_of_csv(d)), edited=True),
    Reader("lines", "sweep.jsonl", _json_lines, lambda p: _of_sweep(bx.read_sweep(p)),
           _oracle_of_lines, edited=True),
    Reader("long", "sweep.csv", _long, lambda p: _of_sweep(bx.read_sweep(p)), _oracle_of_long,
           edited=True),
    Reader("pair", "losses.csv", _pair_losses,
           lambda p: _of_sweep(bx.read_sweep(p.parent / "mixtures.csv", p)), _oracle_of_pair,
           _pair_mixtures, edited=True),
    Reader("mixtures", "mixtures.csv", _mixtures,
           lambda p: _of_sweep(bx.read_sweep(p, p.parent / "losses.csv")), _oracle_of_mixtures,
           _beside_mixtures, edited=True),
    Reader("parquet", "sweep.parquet", _parquet, lambda p: _of_sweep(bx.read_sweep(p)),
           _oracle_of_parquet),
    Reader("history", "logs/mix0.jsonl", _first_history, _read_logs, _oracle_of_history, _runs,
           edited=True),
    Reader("csv log", "logs/mix0.csv", lambda: _csv_log(table().query("run == 'mix0'")),
           _read_logs, _oracle_of_csv_log, _csv_logs, edited=True),
    Reader("run table", "runs.csv", lambda: _mixtures().replace(b"r_", b""),
           lambda p: _of_sweep(bx.read_logs(p.parent / "logs", p, tokens_per_step=1e6)),
           _oracle_of_runs, _logs_beside, edited=True),
    Reader("trainer", "logs/mix0/trainer_state.json", _trainer_state, _read_states,
           _oracle_of_state, _states),
    Reader("fit", "fit.json", lambda: _fit_file(True), _read_fit,
           lambda d: _without_stamps(oracles.json_value(d))),
    Reader("old fit", "fit.json", lambda: _fit_file(False), _read_fit,
           lambda d: _without_stamps(oracles.json_value(d))),
    Reader("constraints", "plan.toml", lambda: CONSTRAINTS, _read_constraints,
           _oracle_of_constraints),
    Reader("paths", "paths.toml", lambda: PATHS, _read_paths, _oracle_of_paths),
    Reader("available", "available.csv", lambda: AVAILABLE, _read_available,
           _oracle_of_available, edited=True),
    Reader("documents", "web.jsonl", _documents, lambda p: _read_corpus(p, tokenizer="bytes"),
           _oracle_of_documents),
    Reader("npy", "web.npy", _npy, lambda p: _read_corpus(p, vocabulary=500), _oracle_of_npy),
    Reader("bin", "web.bin", lambda: _ids().tobytes(),
           lambda p: _read_corpus(p, vocabulary=500, dtype="uint16"), _oracle_of_bin),
]  # fmt: skip
"""Every reader, in the order in which mutations go round."""


def placed(reader: Reader, folder: Path) -> Path:
    """An empty folder with what the reader needs beside its file, and the path of that."""
    shutil.rmtree(folder, ignore_errors=True)
    path = folder / reader.file
    path.parent.mkdir(parents=True)
    reader.beside(folder)
    return path


def rng_of(seed: int, number: int) -> random.Random:
    """The random numbers of one mutation, whatever came before."""
    return random.Random(f"{seed} {number}")
