"""Emitted files go through the libraries they are for, where those are installed."""

import json

import numpy as np
import pandas as pd
import pytest

import bimix_jax as bx
from tests.fits import DOMAINS, frame

LENGTHS = np.array([5, 20, 100])
AVAILABLE = pd.DataFrame(
    {"domain": DOMAINS, "tokens": LENGTHS * 20_000.0, "tokens_per_document": LENGTHS}
)


@pytest.fixture(scope="module")
def recipe():
    fitted = bx.fit(bx.read_sweep(frame(noise=0.01)))
    return bx.make_recipe(bx.optimize_mixture(fitted), fitted, AVAILABLE, tokens=3e5)


def test_datasets_interleaves_the_shares_of_tokens(recipe, tmp_path):
    datasets = pytest.importorskip("datasets")
    paths = {domain: (str(tmp_path / domain),) for domain in DOMAINS}
    for domain, length in zip(DOMAINS, LENGTHS, strict=True):
        documents = datasets.Dataset.from_dict({"domain": [domain] * 20_000})
        documents.add_column("length", [int(length)] * 20_000).save_to_disk(tmp_path / domain)
    recipe.save(tmp_path / "recipe.json", "hf", paths)
    document = json.loads((tmp_path / "recipe.json").read_text())
    sources = [datasets.load_from_disk(path) for (path,) in document["paths"]]
    mixed = datasets.interleave_datasets(sources, **document["interleave_datasets"]).to_pandas()
    seen = mixed[mixed["length"].cumsum() <= 3e5]
    tokens = seen.groupby("domain")["length"].sum() / seen["length"].sum()
    count = len(seen)
    for domain in DOMAINS:
        assert tokens[domain] == pytest.approx(recipe.weights[domain], abs=4 / np.sqrt(count))


def test_streaming_takes_the_proportions(recipe, tmp_path):
    streaming = pytest.importorskip("streaming")
    yaml = pytest.importorskip("yaml")
    paths = {domain: {"local": str(tmp_path / domain)} for domain in DOMAINS}
    for domain in DOMAINS:
        with streaming.MDSWriter(out=str(tmp_path / domain), columns={"domain": "str"}) as writer:
            for _ in range(200):
                writer.write({"domain": domain})
    recipe.save(tmp_path / "recipe.yaml", "streaming", paths)
    streams = yaml.safe_load((tmp_path / "recipe.yaml").read_text())["streams"]
    dataset = streaming.StreamingDataset(
        streams=[streaming.Stream(**stream) for stream in streams.values()],
        epoch_size=5000, batch_size=1,
    )  # fmt: skip
    drawn = pd.Series([sample["domain"] for sample in dataset]).value_counts(normalize=True)
    for domain in DOMAINS:
        assert drawn[domain] == pytest.approx(recipe.weights[domain], abs=1e-3)


def test_megatron_reads_weights_and_prefixes(recipe, tmp_path):
    """Its rule, from its source: split at white space, a weight before every prefix."""
    paths = {domain: (f"/data/{domain}",) for domain in DOMAINS}
    recipe.save(tmp_path / "blend.txt", "megatron", paths)
    blend = (tmp_path / "blend.txt").read_text().split()
    assert [float(word) for word in blend[::2]] == pytest.approx(recipe.weights.tolist())
    assert blend[1::2] == [f"/data/{domain}" for domain in DOMAINS]
    assert len(blend) % 2 == 0
    assert min(map(float, blend[::2])) > 0
