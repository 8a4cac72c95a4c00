"""CSV files: every cell as it is written, or an error that says where the file is damaged."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimix_jax import SweepError, read_sweep
from bimix_jax.reading.metadata import notes_of
from bimix_jax.reading.tables import read_table
from tests.frames import long_frame, wide_frame

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
NAMES = TEXT.filter(lambda name: name.strip() and not name.startswith("\ufeff"))


def read(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


def refused(tmp_path, content, name="table.csv"):
    with pytest.raises(SweepError) as caught:
        read(tmp_path, content, name)
    assert str(tmp_path / name) in str(caught.value)
    return str(caught.value)


@given(
    st.lists(NAMES, min_size=1, max_size=6),
    st.lists(st.floats(allow_nan=False), min_size=6, max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(
        [("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_NONNUMERIC), ("\n", csv.QUOTE_ALL)]
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_names_and_numbers_come_back_as_the_csv_module_wrote_them(
    tmp_path_factory, names, numbers, separator, form, encoding
):
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=separator, lineterminator=form[0], quoting=form[1])
    writer.writerow(["run", "loss_a"])
    writer.writerows(zip(names, numbers, strict=False))
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes(lines.getvalue().encode(encoding))
    table = read_table(path)
    assert table["run"].tolist() == names
    np.testing.assert_array_equal(table["loss_a"].to_numpy(float), numbers[: len(names)])


@pytest.mark.parametrize("label", ["00", "12e3", "1e5", "1.10", "NA", "null", "None", "n/a", "+1"])
def test_cells_of_columns_of_names_are_text(tmp_path, label):
    for column in ("run", "Run_ID", "index", "domain", "target", "name"):
        table = read(tmp_path, f"{column},x\n{label},1\n1,2\n")
        assert table[column].tolist() == [label, "1"]


def test_numbers_of_other_columns_are_numbers_unless_they_are_like_labels(tmp_path):
    table = read(
        tmp_path,
        "whole,gap,part,flag,hash,padded,huge,word\n"
        "1,1,1.5,True,1e5,01,9007199254740993,a\n"
        "2,,NaN,false,2,2,9007199254740995000000,NA\n",
    )
    assert table["whole"].tolist() == [1, 2]
    assert table["gap"].tolist()[0] == 1.0
    assert table["gap"].isna().tolist() == [False, True]
    assert table["part"].isna().tolist() == [False, True]
    assert table["flag"].tolist() == [True, False]
    assert table["hash"].tolist() == ["1e5", "2"]
    assert table["padded"].tolist() == ["01", "2"]
    assert table["huge"].tolist() == ["9007199254740993", "9007199254740995000000"]
    assert table["word"].tolist() == ["a", "NA"]


def test_a_column_that_is_asked_for_as_names_is_text(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("version,x\n1.10,1\n1.1,2\n")
    assert read_table(path, ["version"])["version"].tolist() == ["1.10", "1.1"]
    assert read_table(path)["version"].tolist() == [1.1, 1.1]


def test_runs_whose_labels_are_one_number_are_two_runs(tmp_path):
    frame = wide_frame().replace({"run": {"a": "04", "b": "4", "c": "4.0"}})
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    assert read_sweep(tmp_path / "sweep.csv").runs == ("04", "4", "4.0")
    selected = read_sweep(tmp_path / "sweep.csv", select={"run": ["4", "4.0"]})
    assert selected.runs == ("4", "4.0")
    with pytest.raises(SweepError, match=r"no row has run = 004; it takes the values 04, 4, 4\.0"):
        read_sweep(tmp_path / "sweep.csv", select={"run": "004"})


def test_domains_that_are_words_for_missing_are_domains(tmp_path):
    frame = long_frame().replace({"domain": {"web": "null", "code": "NA"}})
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    sweep = read_sweep(tmp_path / "sweep.csv")
    assert (sweep.domains, sweep.targets) == (("null", "NA"),) * 2
    np.testing.assert_array_equal(sweep.loss, read_sweep(long_frame()).loss)


def test_an_empty_name_is_missing(tmp_path):
    frame = wide_frame()
    frame.loc[3, "run"] = " "
    frame.to_csv(tmp_path / "sweep.csv", index=False)
    with pytest.raises(SweepError, match=r"column run: run names missing \(row 4"):
        read_sweep(tmp_path / "sweep.csv")


def test_rows_and_columns_without_a_cell_are_left_out_and_rows_keep_their_numbers(tmp_path):
    frame = wide_frame(loss_web=[2.0] * 8 + [-1])
    lines = [line + ",," for line in frame.to_csv(index=False).splitlines()]
    width = lines[0].count(",")
    lines[3:3] = ["", "," * width]
    text = "\r\n".join([*lines, "," * width, ""])
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SweepError, match=r"column loss_web: .*\(row 11: -1"):
        read_sweep(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text(text.replace("-1.0", "1.5"))
    sweep = read_sweep(tmp_path / "a.csv")
    assert "3 rows without any cell left out." in sweep.notes
    assert len(sweep.budget) == 9
    assert not [column for column in sweep.extra if "Unnamed" in column]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"run,x\na,1\n\xff\xfeb,2\n", "line 3 holds"),
        (b"run,x\na,1\nb,\0002\n", "line 3 holds a NUL byte"),
        (b'run,x\na,1\nb,"2\nc,3\n', "line 3 opens a quote that never closes"),
        (b'run,x\na,1\nb,3" disk\nc,"3"\n', "line 3 has a quote within a cell"),
        (b'run,x\n"a"b,1\n', "line 2 has a quote within a cell"),
        (b"run,x\na,1\nb\nc,3\n", "row 2 has 1 cells, fewer cells than the header"),
        (b"run,x\na,1\nb,2,3\nc,3\n", "row 2 has 3 cells, more cells than the header"),
        (b" \n\n", "it is empty"),
        (b"PK\x03\x04rest", "it is a workbook or archive"),
        (b"\x1f\x8brest", "it is compressed by gzip"),
        (b"<!DOCTYPE html>\n", "it is a web page"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, content, said):
    assert said in refused(tmp_path, content)


def test_a_header_of_any_length_is_read(tmp_path):
    name = "x" * 200_000
    assert read(tmp_path, f"run,{name}\na,1\n").columns.tolist() == ["run", name]


def test_the_last_row_of_a_file_that_was_cut_is_filled_up(tmp_path):
    table = read(tmp_path, "run,x,y\na,1,2\n\nb,3")
    assert table.isna().to_numpy().tolist() == [[False] * 3, [False, False, True]]
    assert table.index.tolist() == [0, 2]
    assert any("The last row has 2 of 3 cells" in note for note in notes_of(table))


def test_columns_of_numbers_without_a_name_are_said_and_an_index_is_not(tmp_path):
    table = read(tmp_path, ",run,x,,y\n0,a,1,4.5,2\n1,b,3,5.5,4\n")
    assert notes_of(table) == ["Columns without a name were not read: the columns 4; name them."]
    assert notes_of(read(tmp_path, ",run\n7,a\n8,b\n")) == []


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_what_separates_cells_is_told_by_the_header(tmp_path, separator):
    text = "run;x,y;z\n1,5;2;3\n2,5;4;5\n".replace(";", separator)
    table = read(tmp_path, text)
    assert table.columns.tolist() == ["run", "x,y", "z"]
    assert table["run"].tolist() == ["1,5", "2,5"]
    assert any("separated by" in note for note in notes_of(table))


def test_a_spreadsheet_may_say_what_separates_cells(tmp_path):
    assert read(tmp_path, "sep=;\r\nrun;x\r\na;1\r\n").to_dict("list") == {"run": ["a"], "x": [1]}


def test_a_file_of_tabs_is_usual_as_tsv(tmp_path):
    table = read(tmp_path, "run\tx, y\na\t1\n", "table.tsv")
    assert table.columns.tolist() == ["run", "x, y"]
    assert notes_of(table) == []


def test_a_sweep_comes_back_from_csv_with_names_of_any_kind(tmp_path):
    names = {"web": 'a,"b"', "code": "=1+1\nü;'"}
    frame = wide_frame().rename(columns=lambda c: "_".join(names.get(p, p) for p in c.split("_")))
    frame = frame.replace({"run": {"a": "nan", "b": "007", "c": "-\n\u2028,x"}})
    sweep = read_sweep(frame)
    sweep.to_frame().to_csv(tmp_path / "sweep.csv", index=False)
    sweep.save(tmp_path / "sweep.parquet")
    for ending in ("csv", "parquet"):
        again = read_sweep(tmp_path / f"sweep.{ending}")
        assert again.digest() == sweep.digest()
        assert (again.domains, again.runs) == (tuple(names.values()), sweep.runs)


@pytest.mark.parametrize("beside", ["0.25", "2.451", "1,234", "0,25"])
def test_the_mark_of_a_number_with_an_exponent_is_a_decimal_one(tmp_path, beside):
    table = read(tmp_path, f'run,x,y\na,"4,586E-01","{beside}"\nb,"1,698E+00","{beside}"\n')
    assert table["x"].tolist() == [0.4586, 1.698]
    held = "Column x holds" if "," not in beside else "Columns x, y hold"
    assert f"{held} decimal commas: 4,586E-01 was read as 4.586E-01." in notes_of(table)


def test_columns_with_one_mark_share_a_note(tmp_path):
    many = {f"c{i}": [f"{i},5", f"1.000,{i}5"] for i in range(6)}
    rows = [";".join(cells) for cells in (many, *zip(*many.values(), strict=True))]
    table = read(tmp_path, "\n".join(rows))
    np.testing.assert_allclose(table, [np.arange(6) + 0.5, 1000.05 + np.arange(6) / 10])
    assert notes_of(table)[1:] == [
        "Columns c0, c1, c2, c3 and 2 more hold decimal commas: 0,5 was read as 0.5."
    ]


def test_a_column_with_both_decimal_marks_stays_text(tmp_path):
    assert read(tmp_path, 'run,x\na,"4,586E-01"\nb,0.25\n')["x"].tolist() == ["4,586E-01", "0.25"]


def test_what_is_noted_of_the_losses_of_a_pair_names_their_file(tmp_path):
    mixtures = pd.DataFrame({"run": list("abc"), "de": [0.5, 0.4, 0.3], "fr": [0.5, 0.6, 0.7]})
    path = tmp_path / "losses.csv"
    path.write_text("run;de;fr\na;2,25;1.5\nb;2,5;1.75\nc;2,75;1.625\n")
    sweep = read_sweep(mixtures, path)
    assert sweep.loss[:, 0].tolist() == [2.25, 2.5, 2.75]
    assert f"{path}: Column de holds decimal commas: 2,25 was read as 2.25." in sweep.notes
    assert f"{path}: The cells of the file are separated by semicolons." in sweep.notes


def test_text_stays_as_pandas_has_it():
    frame = pd.DataFrame({"run": ["007", "nan"], "note": ["1.50", "n/a"]})
    assert read_table(frame).to_dict("list") == frame.to_dict("list")


def test_percent_cells_are_shares_and_suffixes_are_powers_of_1000():
    frame = wide_frame()
    percent = frame.assign(r_web=[f"{100 * x:g} %" for x in frame["r_web"]])
    assert read_sweep(percent).digest() == read_sweep(frame).digest()
    tokens = frame.assign(tokens=[f"{x / 1e9:g}B" for x in frame["tokens"]])
    assert read_sweep(tokens).digest() == read_sweep(frame).digest()
    with pytest.raises(SweepError, match="column loss_web: losses that are text"):
        read_sweep(frame.assign(loss_web="2.5%"))


@pytest.mark.parametrize("column", ["de", "fr", "it"])
def test_a_column_of_a_pair_never_vanishes_because_of_its_type(column):
    mixtures = pd.DataFrame({"run": list("abc"), "de": 0.5, "fr": [0.1, 0.2, 0.3]})
    mixtures["it"] = 0.5 - mixtures["fr"]
    losses = pd.DataFrame({"run": list("abc"), "de": [1.0, 2, 3], "fr": 2.0, "it": 3.0})
    whole = read_sweep(mixtures, losses)
    percent = mixtures.assign(**{column: [f"{100 * x:.3g}%" for x in mixtures[column]]})
    np.testing.assert_allclose(read_sweep(percent, losses).mixture, whole.mixture, rtol=1e-14)
    with pytest.raises(SweepError, match=rf"column {column} .*losses that are text"):
        read_sweep(mixtures, losses.assign(**{column: "3.2*"}))


def test_flipped_bytes_of_a_saved_sweep_are_found(tmp_path):
    path = tmp_path / "sweep.parquet"
    read_sweep(wide_frame()).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 8] ^= 255
    path.write_bytes(content)
    with pytest.raises(SweepError, match=r"sweep\.parquet cannot be read as parquet"):
        read_sweep(path)


def test_whole_numbers_with_a_sign_are_numbers(tmp_path):
    (tmp_path / "runs.csv").write_text("run,shift,code\na,+5,+007\nb,-3,8\n")
    table = read_table(tmp_path / "runs.csv")
    assert table["shift"].tolist() == [5, -3]
    assert table["code"].tolist() == ["+007", "8"]


def test_dots_between_groups_are_said_to_separate_thousands(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("seen;y\n7.340.032;1\n14.680.064;2\n")
    table = read_table(path)
    assert table["seen"].tolist() == [7340032, 14680064]
    assert "Column seen holds separated thousands: 7.340.032 was read as 7340032." in notes_of(
        table
    )
