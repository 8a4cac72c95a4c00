import errno
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from bimix_jax import BiMix
from bimix_jax.batching._reading import ahead
from bimix_jax.batching.batch import Share, run_batch
from bimix_jax.cli.app import app
from bimix_jax.fitting.options import FitOptions
from tests.batching.tables import table_of_sweeps

LAW, FEW = BiMix(), Share(rows=64)
"""What is fitted, and pieces of few rows."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a Parquet and a CSV file of twelve sweeps each."""
    folder = tmp_path_factory.mktemp("sweeps")
    table_of_sweeps(12).to_parquet(folder / "a.parquet", row_group_size=50)
    table_of_sweeps(12).to_csv(folder / "b.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """What an uninterrupted run writes."""
    output = tmp_path_factory.mktemp("whole")
    report = run_batch(source, output, LAW, share=FEW)
    assert not report.failed
    return output


def written(output):
    parts = sorted(p for p in output.glob("*.parquet") if not p.name.startswith("."))
    return {part.name: pd.read_parquet(part) for part in parts}


def assert_same(one, other):
    assert list(one) == list(other)
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name])


def test_both_formats_give_the_same_rows_in_pieces_of_whole_sweeps(whole):
    parts = written(whole)
    files = [[t for n, t in parts.items() if n.startswith(f)] for f in ("a.parquet", "b.csv")]
    one, other = (pd.concat(tables, ignore_index=True) for tables in files)
    assert len(files[0]) > 2
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)
    assert one["sweep"].unique().tolist() == [f"s{i}" for i in range(12)]


def test_labels_may_be_categories_or_numbers(whole, tmp_path):
    expected = pd.concat([t for n, t in written(whole).items() if n.startswith("a.parquet")])
    expected = expected.reset_index(drop=True)
    table = table_of_sweeps(12)
    for kind, labels in {
        "categories": table["sweep"].astype("category"),
        "numbers": table["sweep"].str[1:].astype(int),
    }.items():
        table.assign(sweep=labels).to_parquet(tmp_path / f"{kind}.parquet", row_group_size=50)
        report = run_batch(tmp_path / f"{kind}.parquet", tmp_path / kind, LAW, share=FEW)
        assert (report.failed, report.fits) == ([], len(expected))
        found = pd.concat(written(tmp_path / kind).values(), ignore_index=True)
        pd.testing.assert_frame_equal(found.drop(columns="sweep"), expected.drop(columns="sweep"))


@pytest.mark.parametrize("labels", [["007", "7"], ["1e1", "10"], ["+3", "3"], ["a", "A"]])
def test_runs_whose_labels_are_alike_as_numbers_stay_apart(tmp_path, labels):
    table = table_of_sweeps(1).drop(columns="sweep")
    # The other two are numbers, so that a column of numbers could be read.
    alike = dict(zip(table["run"].unique(), [*labels, "21", "22"], strict=True))
    table = table.assign(sweep="one")
    tables = {"plain": table, "alike": table.assign(run=table["run"].map(alike))}
    for name, each in tables.items():
        each.to_csv(tmp_path / f"{name}.csv", index=False)
        run_batch(tmp_path / f"{name}.csv", tmp_path / name, LAW)
    plain, found = (written(tmp_path / name)[f"{name}.csv-00000.parquet"] for name in tables)
    assert (found["reason"] == "").all(), found["reason"].tolist()
    pd.testing.assert_frame_equal(found, plain)


def test_pieces_that_are_read_ahead_come_in_order_and_end_with_what_broke():
    def items():
        yield from (1, 2)
        raise ValueError("torn")

    torn = ahead(items())
    assert [next(torn), next(torn)] == [1, 2]
    with pytest.raises(ValueError, match="torn"):
        next(torn)
    several = ahead(iter([1, 2, 3]))
    assert next(several) == 1
    several.close()
    assert list(ahead(iter([]))) == []


def test_what_is_there_is_not_done_again_and_what_is_missing_is(source, whole, tmp_path):
    for part in whole.iterdir():
        (tmp_path / part.name).write_bytes(part.read_bytes())
    (tmp_path / "b.csv-00001.parquet").unlink()
    report = run_batch(source, tmp_path, LAW, share=FEW)
    assert (report.written, report.there) == (1, len(written(whole)) - 1)
    assert_same(written(tmp_path), written(whole))


@pytest.mark.parametrize("change", ["loss", "order", "label"])
def test_an_input_edited_without_a_change_of_size_is_fitted_again(tmp_path, change):
    table, out = table_of_sweeps(4), tmp_path / "out"
    numbers = {"loss": lambda t: t.assign(loss_web=t["loss_web"].round(3)),
               "order": lambda t: t[::-1], "label": lambda t: t.replace("s1", "z1")}  # fmt: skip
    file = tmp_path / "grid.csv"
    table.round(6).to_csv(file, index=False)
    size = file.stat().st_size
    run_batch(file, out, LAW, share=FEW)
    changed = numbers[change](table.round(6))
    changed.to_csv(file, index=False, float_format="%.6f")
    file.write_bytes(file.read_bytes()[:-1].ljust(size - 1, b" ") + b"\n")
    report = run_batch(file, out, LAW, share=FEW)
    run_batch(file, tmp_path / "fresh", LAW, share=FEW)
    assert report.written >= 1
    assert any("its input has changed" in note for note in report.notes)
    assert_same(written(out), written(tmp_path / "fresh"))


def test_parts_of_what_an_input_no_longer_holds_are_removed(tmp_path):
    out, file = tmp_path / "out", tmp_path / "runs.parquet"
    table_of_sweeps(12).to_parquet(file)
    run_batch(file, out, LAW, share=FEW)
    bystander = out / "runs.parquet-00099.parquet"
    pd.DataFrame({"mine": [1]}).to_parquet(bystander)
    table_of_sweeps(3).to_parquet(file)
    report = run_batch(file, out, LAW, share=FEW)
    assert any(str(file) in note and "shorter" in note for note in report.notes)
    assert bystander.exists()
    bystander.unlink()
    found = pd.concat(written(out).values())
    assert found["sweep"].unique().tolist() == ["s0", "s1", "s2"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", "flipped"])
def test_a_damaged_part_is_named_and_made_again(tmp_path, damage):
    out, file = tmp_path / "out", tmp_path / "runs.parquet"
    table_of_sweeps(3).to_parquet(file)
    run_batch(file, out, LAW, share=FEW)
    before, part = written(out), sorted(out.iterdir())[0]
    content = part.read_bytes()
    if damage == "flipped":
        middle = len(content) // 4
        broken = content[:middle] + bytes([content[middle] ^ 64]) + content[middle + 1 :]
    else:
        broken = damage(content)
    part.write_bytes(broken)
    report = run_batch(file, out, LAW, share=FEW)
    assert report.written == 1
    assert str(part) in report.notes[0]
    assert_same(written(out), before)


def test_a_file_that_is_no_part_is_not_overwritten(tmp_path):
    file, out = tmp_path / "runs.parquet", tmp_path / "out"
    table_of_sweeps(2).to_parquet(file)
    out.mkdir()
    pd.DataFrame({"mine": [1]}).to_parquet(out / "runs.parquet-00000.parquet")
    with pytest.raises(ValueError, match=r"00000\.parquet is not a part of a batch"):
        run_batch(file, out, LAW, share=FEW)


def test_parts_of_other_inputs_are_said_and_not_counted(tmp_path):
    for name, count in {"one": 2, "two": 3}.items():
        table_of_sweeps(count).to_parquet(tmp_path / f"{name}.parquet")
        given = ["batch", str(tmp_path / f"{name}.parquet"), "-o", str(tmp_path / "out"), "--json"]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["sweeps"] == 3
    assert "one.parquet-00000.parquet" in found["notes"][0]


def test_ranks_share_the_input(source, whole, tmp_path):
    for rank in (1, 0):
        run_batch(source, tmp_path, LAW, share=Share(rank, 2, 64))
    assert_same(written(tmp_path), written(whole))


def test_another_method_does_not_mix_with_what_is_there(source, whole):
    with pytest.raises(ValueError, match="write to another folder"):
        run_batch(source, whole, LAW, FitOptions(huber=0.01), FEW)
    with pytest.raises(ValueError, match="'emphasis': 2"):
        run_batch(
            source,
            whole,
            LAW,
            FitOptions(budget_power=2.0),
            FEW,
        )


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_ends_with_the_same_rows(source, whole, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "bimix_jax.cli", "batch", str(source), "-o", str(output)]
    command += ["--rows", str(FEW.rows)]
    for parts in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(output.glob("[!.]*.parquet"))) < parts:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert_same(written(output), written(whole))


def test_the_rest_is_done_and_what_failed_is_listed(source, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    table = table_of_sweeps(2)
    (folder / "a.parquet").write_bytes(b"PAR1 cut off")
    table.drop(columns="sweep").to_parquet(folder / "b.parquet")
    (folder / "c.csv").write_text("")
    table.drop(columns="r_web").to_parquet(folder / "d.parquet")
    table.to_parquet(folder / "e.parquet")
    table[:0].to_parquet(folder / "f.parquet")
    result = CliRunner().invoke(app, ["batch", str(folder), "-o", str(output)])
    assert result.exit_code == 1
    for words in ("a.parquet", "b.parquet", "c.csv", "sweep s0 (d.parquet-00000.parquet)"):
        assert words in result.output
    assert list(written(output)) == ["d.parquet-00000.parquet", "e.parquet-00000.parquet"]
    table.to_parquet(folder / "a.parquet")
    again = CliRunner().invoke(app, ["batch", str(folder), "-o", str(output)])
    assert "1 part written, 2 already there" in again.output


def test_without_a_terminal_no_bar_is_drawn_and_without_fits_no_table(tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    table_of_sweeps(2).drop(columns="r_web").to_csv(tmp_path / "a.csv", index=False)
    result = CliRunner().invoke(app, ["batch", str(tmp_path / "a.csv"), "-o", str(tmp_path / "o")])
    assert result.exit_code == 1
    assert result.stderr == ""
    first, second, *_ = result.stdout.splitlines()
    assert first == f"{tmp_path / 'o'}: 2 sweeps in 1 part, nothing fitted."
    assert second == "1 part written, 0 already there."
    assert "code" not in result.stdout
    assert "1 problem: - proportions" in result.stdout


def test_a_removed_part_is_counted_in_the_singular(tmp_path):
    file = tmp_path / "runs.parquet"
    table_of_sweeps(2).to_parquet(file)
    run_batch(file, tmp_path / "out", LAW, share=Share(rows=16))
    table_of_sweeps(1).to_parquet(file)
    report = run_batch(file, tmp_path / "out", LAW, share=Share(rows=16))
    assert any("1 part of what it held before was removed" in note for note in report.notes)


def test_a_disk_that_fills_up_costs_the_parts_it_cannot_hold(source, whole, tmp_path, monkeypatch):
    write, full = pyarrow.parquet.write_table, {"b.csv-00001", "b.csv-00002"}

    def until_full(table, path, **options):
        if any(name in path.name for name in full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(table, path, **options)

    monkeypatch.setattr(pyarrow.parquet, "write_table", until_full)
    report = run_batch(source, tmp_path, LAW, share=FEW)
    assert [line.split(":")[0] for line in report.failed] == [
        f"{tmp_path / name}.parquet cannot be written" for name in sorted(full)
    ]
    assert not list(tmp_path.glob(".*"))
    full.clear()
    assert run_batch(source, tmp_path, LAW, share=FEW).written == 2
    assert_same(written(tmp_path), written(whole))


def test_a_rank_is_one_of_the_processes():
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        Share(2, 2)
