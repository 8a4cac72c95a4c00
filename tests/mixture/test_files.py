"""Files of mixtures."""

import json

import pytest

from bimix_jax.mixture.files import read_mixtures

SHARES = {"web": 0.5, "code": 0.3, "books": 0.2}


@pytest.mark.parametrize(
    "document",
    [SHARES, {"mixture": SHARES}, [{"domain": d, "weight": w} for d, w in SHARES.items()]],
)
def test_forms_of_one_mixture_in_json(tmp_path, document):
    (tmp_path / "m.json").write_text(json.dumps(document))
    found = read_mixtures(tmp_path / "m.json", tuple(SHARES))
    assert found.to_dict("records") == [SHARES]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"web": 0.5', "not complete JSON"),
        ("[" * 9000, "nested deeper"),
        ('[{"domain": "web", "weight": 1}, {"domain": "web", "weight": 0}]', "each once"),
        ('{"web": 0.5, "web": 0.5, "code": 0, "books": 0}', "twice"),
        ('{"web": true, "code": 0, "books": 0}', "web is True; expected proportions"),
        ('{"web": "half", "code": 0, "books": 0}', "web is 'half'; expected proportions"),
        ("[1, 2]", "expected a JSON object"),
    ],
)
def test_damage_is_named(tmp_path, text, words):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_mixtures(tmp_path / "m.json", tuple(SHARES))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Run,WEB,Code, books\nx,50%,30%,20%\n", "'WEB' is 'web', 'Code' is 'code'"),
        ("run,r_web,r_code,r_books\nx,50,30,20\n", "Percentages were divided by their sums"),
        ("name,web,code,books\nx,5B,3B,2B\n", "Amounts were divided by their sums"),
    ],
)
def test_mixtures_are_read_as_the_table_of_runs_is(tmp_path, text, words):
    (tmp_path / "m.csv").write_text(text)
    with pytest.warns(UserWarning, match=words):
        found = read_mixtures(tmp_path / "m.csv", tuple(SHARES))
    assert found.loc["x"].to_dict() == pytest.approx(SHARES)


@pytest.mark.parametrize("row", ["0.5,0.3,0.4", "3,2,1", "-50,100,50", "0.5,,0.5"])
def test_a_sum_that_is_no_percentage_names_the_file_and_the_row(tmp_path, row):
    (tmp_path / "m.csv").write_text(f"web,code,books\n0.5,0.3,0.2\n{row}\n")
    with pytest.raises(ValueError, match=r"m\.csv: mixture 2 is \[.*sums to"):
        read_mixtures(tmp_path / "m.csv", tuple(SHARES))
