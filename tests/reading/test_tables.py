"""Files of every kind give the same table; files that cannot be read say why."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from bimix_jax import SweepError, read_sweep
from bimix_jax.reading.tables import listed, read_table
from tests.frames import random_frame, wide_frame


def write(frame, path):
    """The table in the format of the extension."""
    if path.name.endswith((".csv", ".csv.gz")):
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    return path


def error(path, content):
    """The message of a file with this content."""
    path.write_bytes(content)
    with pytest.raises(SweepError) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".CSV"])
def test_every_format_gives_the_same_sweep_bit_for_bit(tmp_path, ending):
    frame = random_frame(np.random.default_rng(0))
    direct = read_sweep(frame)
    path = tmp_path / f"sweep{ending}"
    sweep = read_sweep(write(frame, path if ending != ".CSV" else tmp_path / "sweep.csv"))
    assert sweep.digest() == direct.digest()
    pd.testing.assert_frame_equal(sweep.to_frame(), direct.to_frame(), check_exact=True)


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson"])
def test_json_lines_keep_every_bit_python_writes(tmp_path, ending):
    frame = random_frame(np.random.default_rng(0))
    path = tmp_path / f"sweep{ending}"
    rows = (pd.Series(row).to_dict() for row in frame.to_dict("records"))
    path.write_text("\n".join(repr(row).replace("'", '"') for row in rows) + "\n\n")
    assert read_sweep(path).digest() == read_sweep(frame).digest()


def test_json_lines_that_pandas_writes_are_read(tmp_path):
    path = write(wide_frame(loss_web=[None] + [2.0] * 8), tmp_path / "sweep.jsonl")
    assert "1 of 18 loss cells" in read_sweep(path).notes[0]


def test_json_labels_are_not_taken_for_numbers_or_dates(tmp_path):
    path = tmp_path / "sweep.jsonl"
    write(wide_frame(run=["01"] * 3 + ["02"] * 3 + ["03"] * 3, seen_at=5), path)
    sweep = read_sweep(path)
    assert sweep.runs == ("01", "02", "03")
    assert sweep.extra["seen_at"].tolist() == [5] * 9


def test_a_named_index_is_a_column_like_any_other(tmp_path):
    frame = wide_frame()
    indexed = frame.set_index(["run", "tokens"])
    assert read_sweep(indexed).digest() == read_sweep(frame).digest()
    indexed.to_parquet(tmp_path / "sweep.parquet")
    assert read_sweep(tmp_path / "sweep.parquet").digest() == read_sweep(frame).digest()


def test_names_are_stripped_and_made_text():
    table = read_table(pd.DataFrame([[1, 2]], columns=[" run ", 7]))
    assert table.columns.tolist() == ["run", "7"]


def test_reading_leaves_the_frame_alone():
    frame = wide_frame().drop(columns="run")
    before = frame.copy()
    read_sweep(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SweepError, match=r"gone\.csv does not exist"):
        read_sweep(tmp_path / "gone.csv")


def test_a_missing_file_of_losses_is_named(tmp_path):
    with pytest.raises(SweepError, match=r"gone\.csv does not exist"):
        read_sweep(wide_frame(), losses=tmp_path / "gone.csv")


def test_an_unknown_extension_lists_the_known(tmp_path):
    text = error(tmp_path / "sweep.md", b"x")
    assert "unknown extension" in text
    assert ".csv, .csv.gz, .parquet, .jsonl, .ndjson" in text


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".jsonl"])
def test_an_empty_file_is_an_error(tmp_path, ending):
    text = error(tmp_path / f"sweep{ending}", b"")
    assert "cannot be read" in text or "is empty" in text


def test_a_header_alone_has_no_rows(tmp_path):
    assert "has no rows" in error(tmp_path / "a.csv", b"run,tokens,r_a,loss_a\n")


def test_a_corrupted_parquet_file_is_an_error(tmp_path):
    whole = write(wide_frame(), tmp_path / "whole.parquet").read_bytes()
    text = error(tmp_path / "half.parquet", whole[: len(whole) // 2])
    assert "cannot be read as parquet" in text
    assert "Check that it is complete" in text


def test_a_truncated_json_line_is_named_by_its_number(tmp_path):
    whole = write(wide_frame(), tmp_path / "whole.jsonl").read_bytes()
    text = error(tmp_path / "cut.jsonl", whole[:-30])
    assert "line 9 is not complete JSON" in text


def test_a_json_line_that_is_no_object_is_named(tmp_path):
    assert "line 1 is not a JSON object, but [1, 2]" in error(tmp_path / "a.jsonl", b"[1, 2]\n")


def test_objects_inside_a_json_line_become_columns(tmp_path):
    path, rows = tmp_path / "sweep.jsonl", []
    for row in wide_frame().to_dict("records"):
        mixture = {name[2:]: row[name] for name in row if name.startswith("r_")}
        losses = {name[5:]: row[name] for name in row if name.startswith("loss_")}
        rows.append({"run": row["run"], "tokens": row["tokens"], "mix": mixture, "eval": losses})
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_sweep(path).digest() == read_sweep(wide_frame()).digest()
    text = error(tmp_path / "twice.jsonl", b'{"mix": {"web": 1}, "mix.web": 1}')
    assert "line 1 names mix.web twice" in text


def test_json_that_is_no_lines_is_told_to_become_them(tmp_path):
    assert "one per line to a .jsonl file" in error(tmp_path / "sweep.json", b"[{}]")


def test_a_cut_or_damaged_archive_is_an_error(tmp_path):
    packed = gzip.compress(wide_frame().to_csv(index=False).encode())
    assert "cannot be read" in error(tmp_path / "cut.csv.gz", packed[:-20])
    damaged = packed[:15] + b"\x00\xff" * 10 + packed[35:]
    assert "cannot be read" in error(tmp_path / "bad.csv.gz", damaged)
    assert "cannot be read" in error(tmp_path / "plain.csv.gz", b"run,tokens\n")


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    assert "utf-8" in error(tmp_path / "a.csv", "run,r_é\n1,2\n".encode("latin1"))


def test_rows_longer_than_the_header_do_not_shift_the_columns(tmp_path):
    content = b"run,tokens,r_a,r_b,loss_a\nx,1,.5,.5,2,\ny,1,.2,.8,2,\n"
    assert "more cells than the header" in error(tmp_path / "a.csv", content)


def test_an_object_that_goes_on_in_the_next_line_is_damage(tmp_path):
    whole = write(wide_frame(), tmp_path / "whole.jsonl").read_bytes()
    broken = whole.replace(b',"', b'\n,"', 1)
    assert "line 1 is not complete JSON" in error(tmp_path / "broken.jsonl", broken)


def test_a_parquet_file_whose_metadata_rename_a_column_is_damaged(tmp_path):
    path = tmp_path / "sweep.parquet"
    wide_frame().to_parquet(path, write_page_checksum=True)
    content = path.read_bytes()
    assert content.count(b'"name": "loss_web"') == 1
    text = error(path, content.replace(b'"name": "loss_web"', b'"name": "loss_wab"'))
    assert "its metadata name a column 'loss_wab' that it does not hold" in text


def test_columns_of_one_name_are_an_error_in_a_file(tmp_path):
    text = error(tmp_path / "a.csv", b"run,tokens,r_a,r_b,r_a,loss_a\nx,1,.5,.2,.3,2\n")
    assert "the columns r_a appear twice; rename them" in text


def test_columns_of_one_name_are_an_error_in_a_frame():
    frame = wide_frame()
    with pytest.raises(SweepError, match="the columns loss_web appear twice"):
        read_sweep(pd.concat([frame, frame[["loss_web"]]], axis=1))
    with pytest.raises(SweepError, match="the columns run appear twice"):
        read_sweep(frame.set_index("run", drop=False))


def test_long_lists_are_cut_with_a_count():
    assert listed(range(3)) == "0, 1, 2"
    assert listed(range(25)).endswith("18, 19 and 5 more")


def dotted_sweep(tokens):
    rows = [{**row, "tokens": cell} for row in ROWS_OF_TWO for cell in tokens]
    return pd.DataFrame([{**row, "loss_web": 3 - i / 10} for i, row in enumerate(rows)])


ROWS_OF_TWO = [
    {"run": "oak", "r_web": 0.2, "r_sea": 0.8},
    {"run": "elm", "r_web": 0.6, "r_sea": 0.4},
]


@pytest.mark.parametrize(
    ("tokens", "read", "said"),
    [
        (["100.000", "200.000"], [100, 200], "'100.000', which was read as 100, not as 100000"),
        (["500", "1.000", "2.000"], [500, 1000, 2000], "'1.000', which was read as 1000."),
        (["1.500", "2.250"], [1.5, 2.25], "'1.500', which was read as 1.5, not as 1500"),
        (["0.500", "1.000"], [0.5, 1], None),
        (["1.125", "2"], [1.125, 2], None),
        (["5.000", "10.000", "12"], [5, 10, 12], "'5.000', which was read as 5, not as 5000"),
        (["4.000", "1.000", "500"], [4000, 1000, 500], "'4.000', which was read as 4000."),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_dots_before_three_digits_in_budgets_get_a_note(tmp_path, tokens, read, said, in_memory):
    frame, path = dotted_sweep(tokens), tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    sweep = read_sweep(frame if in_memory else path)
    assert sweep.budget[: len(read)].tolist() == read
    notes = [n for n in sweep.notes if "Column tokens holds text like" in n]
    assert len(notes) == (said is not None)
    assert all(said in n for n in notes)


def test_a_workbook_is_told_to_be_saved_as_csv(tmp_path):
    assert "is a workbook; save its sheet as CSV" in error(tmp_path / "sweep.xls", b"x")
