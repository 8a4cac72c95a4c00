"""Fits as JSON files."""

import dataclasses
import json
import math

import jax
import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from bimix_jax.fitting import storage
from tests.fits import Geometric, frame, geometric_sweep, last_budget, web_failed


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(bx.read_sweep(frame(noise=0.01)), tied=("beta",))


@pytest.fixture(scope="module")
def failed():
    """One target without a fit, the others of a single budget: many nan."""
    return bx.fit(bx.read_sweep(last_budget(web_failed(frame()))), bx.BiMix())


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "fit.json")
    return tmp_path / "fit.json"


def assert_equal(found, expected):
    for field in dataclasses.fields(bx.Fit):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_array_equal(x, y, err_msg=field.name)
        assert type(a) is type(b), field.name


def test_a_fit_comes_back_equal(fitted, saved):
    loaded = bx.load_fit(saved)
    assert_equal(loaded, fitted)
    pd.testing.assert_frame_equal(loaded.table(), fitted.table(), check_exact=True)
    mixture = {"books": 0.5, "web": 0.2, "code": 0.3}
    pd.testing.assert_series_equal(loaded.predict(mixture, 1e10), fitted.predict(mixture, 1e10))


def test_an_emphasis_comes_back_in_a_format_that_older_readers_refuse(saved, tmp_path):
    bx.fit(bx.read_sweep(frame()), budget_power=2.0).save(tmp_path / "late.json")
    document = json.loads((tmp_path / "late.json").read_text(encoding="utf-8"))
    assert bx.load_fit(tmp_path / "late.json").options.budget_power == 2
    assert (document["format"], document["emphasis"]) == (storage.LOSSES, 2)
    assert bx.load_fit(saved).options.budget_power == 0
    assert "emphasis" not in json.loads(saved.read_text(encoding="utf-8"))


def test_nan_survives(failed, tmp_path):
    failed.save(tmp_path / "fit.json")
    loaded = bx.load_fit(tmp_path / "fit.json")
    assert_equal(loaded, failed)
    assert np.isnan(loaded.coefficients.amplitudes[0]).all()
    assert loaded.table()["beta"].isna().all()


def test_a_restraint_without_bound_comes_back(fitted, tmp_path):
    held = dataclasses.replace(fitted, shrinkage=np.full(len(fitted.targets), np.inf))
    held.save(tmp_path / "fit.json")
    assert_equal(bx.load_fit(tmp_path / "fit.json"), held)


def refuse_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_the_file_is_plain_json_that_says_what_it_is(failed, tmp_path):
    path = tmp_path / "fit.json"
    failed.save(path)
    document = json.loads(path.read_bytes(), parse_constant=refuse_constant)
    assert document["kind"] == "bimix_jax fit"
    assert document["format"] == storage.LOSSES
    assert document["version"] == bx.__version__
    assert document["law"] == {"name": "BiMix"}
    assert document["unit"] == "tokens"
    assert document["sweep_digest"] == failed.sweep_digest
    assert document["fits"][0]["code"] == "bad_data"
    assert document["fits"][1]["identified"] == {"alpha": True, "beta": False}


def test_a_law_of_ones_own_is_read_back_where_its_class_is_given(tmp_path):
    path = tmp_path / "fit.json"
    fitted = bx.fit(geometric_sweep(), Geometric(shares=(0.5, 0.3, 0.2)))
    fitted.save(path)
    with pytest.raises(ValueError, match=r"'Geometric'.*BiMix.*laws=") as caught:
        bx.load_fit(path)
    assert str(path) in str(caught.value)
    loaded = bx.load_fit(path, laws=[Geometric])
    assert loaded.law == fitted.law
    assert hash(loaded.law) == hash(fitted.law)
    assert_equal(loaded, fitted)
    pd.testing.assert_series_equal(loaded.predict([0.2, 0.3, 0.5]), fitted.predict([0.2, 0.3, 0.5]))


def leaves(value, path=()):
    """Where every number, text, truth value and null of a document stands."""
    if isinstance(value, dict):
        return [each for key, item in value.items() for each in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [each for i, item in enumerate(value) for each in leaves(item, (*path, i))]
    return [path]


def replaced(document, path, value):
    changed = json.loads(json.dumps(document))
    *parents, last = path
    inner = changed
    for key in parents:
        inner = inner[key]
    inner[last] = value(inner[last]) if callable(value) else value
    return changed


def assert_refused(path, document):
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"[Ff]it again|Upgrade|Pass the|bimix fit") as caught:
        bx.load_fit(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def another(value):
    """A value of the same type that is not the same."""
    if value is None or isinstance(value, bool):
        return 1.0 if value is None else not value
    return value + "x" if isinstance(value, str) else value * 1.25 + 1


def test_no_leaf_of_a_file_can_change_without_an_error(saved):
    document = json.loads(saved.read_text())
    for path in leaves(document):
        assert_refused(saved, replaced(document, path, another))


@pytest.mark.parametrize("wrong", [True, "steep", "1.5", {}, [[1.0]], -math.inf])
def test_wrong_types_are_found_in_files_without_a_digest(saved, wrong):
    document = json.loads(saved.read_text())
    del document["digest"]
    text = {"kind", "version", "unit", "loss", "code", "notes", "sweep_digest", "name"}
    for path in leaves(document):
        texts = path[-1] in text or path[0] in ("domains", "targets", "tied", "notes", "meaning")
        texts = texts or path[:2] == ("runs", "names")
        flags = "identified" in path and isinstance(wrong, bool)
        if not (texts or flags or path[-1] == "target"):
            assert_refused(saved, replaced(document, path, wrong))


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d | {"domains": ["webs", *d["domains"][1:]]},
        lambda d: d | {"domains": [d["domains"][0]] * 3},
        lambda d: d | {"targets": d["targets"][::-1]},
        lambda d: d | {"targets": d["targets"][:2]},
        lambda d: d | {"targets": []},
        lambda d: d | {"fits": d["fits"] + d["fits"][:1]},
        lambda d: d | {"tied": ["gamma"]},
        lambda d: d | {"huber": -1.0},
        lambda d: d | {"loss": "relativ"},
        lambda d: d | {"extra": 1},
        lambda d: d | {"observed_budgets": d["observed_budgets"][::-1]},
        lambda d: d | {"observed_proportions": d["observed_proportions"][::-1]},
        lambda d: d | {"observed_mixtures": [[0.5, 0.1, 0.1]]},
        lambda d: replaced(d, ("fits", 0, "budget_scale"), 0.0),
        lambda d: replaced(d, ("fits", 0, "points"), 0),
        lambda d: replaced(d, ("fits", 0, "points"), 3.5),
        lambda d: replaced(d, ("fits", 0, "error"), -0.1),
        lambda d: replaced(d, ("fits", 0, "agreement"), 1.5),
        lambda d: replaced(d, ("fits", 0, "code"), "CONVERGED"),
        lambda d: replaced(d, ("fits", 0, "amplitudes"), {"ab": 1.0, "ac": 1.0, "ad": 1.0}),
    ],
)
def test_damage_is_found_in_files_without_a_digest(saved, damage):
    document = json.loads(saved.read_text())
    del document["digest"]
    saved.write_text(json.dumps(document))
    bx.load_fit(saved)  # as files were before there was a digest
    assert_refused(saved, damage(document))


def test_an_entry_that_stands_twice_is_refused(saved):
    text = saved.read_text()
    saved.write_text(text.replace('"unit": "tokens"', '"unit": "tokens", "unit": "steps"'))
    with pytest.raises(ValueError, match="'unit' twice"):
        bx.load_fit(saved)


def test_a_number_beyond_the_range_of_floats_is_no_infinity(saved):
    document = json.loads(saved.read_text())
    del document["digest"]
    text = json.dumps(document).replace('"restraint": 0.0', '"restraint": 1e999', 1)
    saved.write_text(text)
    with pytest.raises(ValueError, match="restraint holds a number beyond the range"):
        bx.load_fit(saved)


def test_layout_does_not_matter_to_the_digest(saved, fitted):
    saved.write_text(json.dumps(json.loads(saved.read_text()), sort_keys=True))
    assert_equal(bx.load_fit(saved), fitted)


def test_a_newer_format_is_refused_with_both_versions(saved):
    document = json.loads(saved.read_text())
    document |= {"format": storage.FORMAT + 1, "version": "9.8.7", "fits": "unheard of"}
    saved.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="Upgrade bimix_jax") as caught:
        bx.load_fit(saved)
    words = (str(saved), f"format {storage.FORMAT + 1}", "9.8.7", bx.__version__)
    assert all(word in str(caught.value) for word in words)


def change(document, path, value):
    *parents, last = path
    for key in parents:
        document = document[key]
    if value is None:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (("law",), None, "'law'"),
        (("law",), "BiMix", ""),
        (("law", "order"), 2, "order"),
        (("fits", 1), None, "'code'"),
        (("fits", 1, "code"), "splendid", "'splendid'"),
        (("fits", 1, "exponents", "beta"), None, "'beta'"),
        (("fits", 1, "exponents", "beta"), "steep", "steep"),
        (("fits", 1, "amplitudes"), [1.0, 2.0], ""),
        (("fits",), 3, ""),
        (("observed_budgets",), [1e9], "(1,)"),
        (("observed_proportions",), [[0.1, 0.2, 0.3]], "(1, 3)"),
        (("observed_proportions", 0), [0.1], ""),
        (("domains",), None, "'domains'"),
        (("sweep_digest",), None, "'sweep_digest'"),
        (("format",), None, "format"),
        (("format",), "one", "format"),
    ],
)
def test_a_damaged_entry_is_refused_in_a_paragraph(saved, path, value, word):
    document = json.loads(saved.read_text())
    change(document, path, value)
    saved.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"damaged[;,] fit again") as caught:
        bx.load_fit(saved)
    assert str(saved) in str(caught.value)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not complete JSON"),
        (b'{"kind": "bimix_jax fit", "form', "not complete JSON"),
        (b"\x80\xfe\x00", "not text in UTF-8"),
        (b"[1, 2]", "not a fit"),
        (b'{"mixture": {"web": 1.0}}', "not a fit"),
    ],
)
def test_what_is_no_fit_is_refused(tmp_path, content, word):
    path = tmp_path / "fit.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        bx.load_fit(path)
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_refused(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not complete JSON"):
        bx.load_fit(saved)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
        bx.load_fit(tmp_path / "none.json")


class Explodes:
    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def test_a_pickle_is_never_executed(tmp_path):
    import pickle

    path = tmp_path / "fit.json"
    path.write_bytes(pickle.dumps(Explodes(), protocol=0))
    with pytest.raises(ValueError, match="not complete JSON"):
        bx.load_fit(path)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(fitted, saved, monkeypatch):
    before = saved.read_bytes()

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        dataclasses.replace(fitted, unit="steps").save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_fit_that_json_cannot_hold_leaves_the_old_file(fitted, saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        dataclasses.replace(fitted, unit=object()).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_folder_is_named_and_not_made(fitted, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        fitted.save(tmp_path / "gone" / "fit.json")
    assert list(tmp_path.iterdir()) == []


def test_fits_of_a_batch_are_files_that_every_reader_takes(tmp_path):
    fitted = bx.fit_many({"one": bx.read_sweep(frame(noise=0.01))})["one"]
    fitted.save(tmp_path / "fit.json")

    def refuse(constant):
        raise AssertionError(constant)

    json.loads((tmp_path / "fit.json").read_text(), parse_constant=refuse)
    np.testing.assert_array_equal(bx.load_fit(tmp_path / "fit.json").agreement, fitted.agreement)
