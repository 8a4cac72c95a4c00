"""What the numbers of a sweep mean travels with them, and unlike sweeps do not mix."""

import json

import numpy as np
import pytest

import bimix_jax as bx
from bimix_jax.fitting import storage
from tests.fits import frame
from tests.frames import wide_frame, with_cell

NATS = {
    "nats": lambda nats: nats,
    "bits": lambda nats: nats / np.log(2),
    "perplexity": np.exp,
    "bits per byte": lambda nats: nats / np.log(2),
}


@pytest.mark.parametrize("unit", NATS)
def test_losses_are_converted_from_the_unit_stated(unit):
    table = wide_frame()
    written = table.assign(**{c: NATS[unit](table[c]) for c in ("loss_web", "loss_code")})
    sweep = bx.read_sweep(written, metadata={"loss_unit": unit})
    expected = bx.read_sweep(table)
    np.testing.assert_allclose(sweep.loss, expected.loss, rtol=1e-12)
    assert sweep.metadata.loss_unit == ("nats per byte" if "byte" in unit else "nats")
    assert bool(sweep.notes) == (unit != "nats")
    assert bx.read_sweep(sweep.to_frame()).notes == sweep.notes
    np.testing.assert_array_equal(bx.read_sweep(sweep.to_frame()).loss, sweep.loss)


def test_perplexities_of_one_or_less_are_none():
    table = with_cell(wide_frame(), 4, "loss_web", 1.0)
    with pytest.raises(bx.SweepError, match=r"perplexities that are not above 1.*row 4: 1"):
        bx.read_sweep(table, metadata={"loss_unit": "perplexity"})


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"loss_unit": "dits"}, "loss_unit is 'dits'; expected one of nats, bits"),
        ({"share_unit": "bytes"}, "share_unit is 'bytes'"),
        ({"model_size": "large"}, "model size is 'large'"),
        ({"vocabulary": 3}, "vocabulary is not an entry; expected some of tokenizer"),
    ],
)
def test_what_is_no_entry_is_refused(metadata, words):
    with pytest.raises(ValueError, match=words):
        bx.read_sweep(wide_frame(), metadata=metadata)


def test_what_a_file_says_of_itself_is_not_contradicted(tmp_path):
    sweep = bx.read_sweep(wide_frame(), metadata={"tokenizer": "gpt2"})
    sweep.save(tmp_path / "sweep.parquet")
    assert bx.read_sweep(tmp_path / "sweep.parquet").metadata == sweep.metadata
    more = bx.read_sweep(tmp_path / "sweep.parquet", metadata={"schedule": "wsd"})
    assert more.metadata.stated() == {"tokenizer": "gpt2", "schedule": "wsd"}
    with pytest.raises(ValueError, match=r"tokeniser of metadata= is llama, that of .* gpt2"):
        bx.read_sweep(tmp_path / "sweep.parquet", metadata={"tokenizer": "llama"})


def test_a_sweep_is_saved_as_parquet_only(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name in \.parquet"):
        bx.read_sweep(wide_frame()).save(tmp_path / "sweep.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def fitted():
    return bx.fit(
        bx.read_sweep(frame(), metadata={"tokenizer": "gpt2", "model_size": "70M"}), bx.BiMix()
    )


def test_a_fit_carries_it_and_names_once_what_is_absent(fitted, tmp_path):
    absent = [note for note in fitted.notes if note.startswith("Not stated")]
    assert absent == [
        "Not stated with the sweep, so not checked: unit of the losses, unit of the shares, "
        "learning-rate schedule."
    ]
    fitted.save(tmp_path / "fit.json")
    assert bx.load_fit(tmp_path / "fit.json").metadata == fitted.metadata


def test_a_file_of_the_format_before_is_still_read(fitted, tmp_path):
    fitted.save(tmp_path / "fit.json")
    document = json.loads((tmp_path / "fit.json").read_text())
    del document["meaning"], document["digest"]
    (tmp_path / "fit.json").write_text(json.dumps(document | {"format": 1}))
    old = bx.load_fit(tmp_path / "fit.json")
    assert storage.FORMAT >= 2
    assert old.metadata == bx.Metadata()
    assert old.table().equals(fitted.table())


def test_unlike_sweeps_are_refused(fitted):
    other = bx.read_sweep(frame(), metadata={"tokenizer": "llama"})
    with pytest.raises(
        ValueError, match="the tokeniser of the fit is gpt2, that of the sweep llama"
    ):
        bx.evaluate(fitted, other)
    with pytest.raises(ValueError, match="differ: the tokeniser"):
        bx.stack_sizes({"70M": bx.read_sweep(frame(), metadata={"tokenizer": "gpt2"}), "1B": other})
    silent = bx.read_sweep(frame())
    assert bx.evaluate(fitted, silent).table().loc["overall", "mre"] < 1e-6


def test_sizes_stack_and_are_not_absent():
    sizes = {size: bx.read_sweep(frame(), metadata={"model_size": size}) for size in ("70M", "1B")}
    stacked = bx.stack_sizes(sizes)
    assert stacked.metadata.model_size is None
    table = frame().assign(model_size="70M")
    assert bx.read_sweep(table).metadata.model_size == 7e7
