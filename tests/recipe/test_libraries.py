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
    fitted = bx.fit(bx.read_sweep(frame(noise=0.01)), bx.BiMix())
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


SEVERAL = {"web": ("/data/web0", "/data/web1"), "code": ("/data/code",), "books": ("/data/books",)}


def of_paths(paths, weights):
    """Sum of the weights of a domain's paths, by domain."""
    where = {path: domain for domain, listed in SEVERAL.items() for path in listed}
    return pd.Series(weights, [where[path] for path in paths]).groupby(level=0).sum()[list(DOMAINS)]


def test_nanotron_and_levanter_read_their_configurations(recipe):
    """Fields of NanosetDatasetsArgs and LMMixtureDatasetConfig, from their sources."""
    yaml = pytest.importorskip("yaml")
    (stage,) = yaml.safe_load(recipe.emit("nanotron", SEVERAL))["data_stages"]
    assert stage["start_training_step"] == 1
    dataset = stage["data"]["dataset"]
    found = of_paths(dataset["dataset_folder"], dataset["dataset_weights"])
    np.testing.assert_allclose(found, recipe.weights)
    data = yaml.safe_load(recipe.emit("levanter", SEVERAL))["data"]
    assert data["configs"].keys() == data["train_weights"].keys() == set(DOMAINS)
    assert data["configs"]["web"] == {"train_urls": list(SEVERAL["web"])}
    np.testing.assert_allclose(pd.Series(data["train_weights"])[list(DOMAINS)], recipe.weights)


def test_nemo_reads_weights_and_prefixes_in_turns(recipe):
    zipped = json.loads(recipe.emit("nemo", SEVERAL))["paths"]
    assert all(isinstance(text, str) for text in zipped)
    found = of_paths(zipped[1::2], [float(text) for text in zipped[::2]])
    np.testing.assert_allclose(found, recipe.weights)


def test_ray_mixes_rows_so_that_tokens_have_the_shares(recipe):
    """Rows in the weights, each with the tokens of a document of its domain."""
    document = json.loads(recipe.emit("ray", SEVERAL))
    length = dict(zip(DOMAINS, LENGTHS, strict=True))
    tokens = np.array(document["mix"]["weights"]) * [length[d] for d in document["domains"]]
    np.testing.assert_allclose(tokens / tokens.sum(), recipe.weights[document["domains"]])
    enough = recipe.weights * 3e5 <= np.array(document["copies"]) * LENGTHS * 20_000
    assert enough.all()


def test_megatron_reads_weights_and_prefixes(recipe, tmp_path):
    """Its rule, from its source: split at white space, a weight before every prefix."""
    paths = {domain: (f"/data/{domain}",) for domain in DOMAINS}
    recipe.save(tmp_path / "blend.txt", "megatron", paths)
    blend = (tmp_path / "blend.txt").read_text().split()
    assert [float(word) for word in blend[::2]] == pytest.approx(recipe.weights.tolist())
    assert blend[1::2] == [f"/data/{domain}" for domain in DOMAINS]
    assert len(blend) % 2 == 0
    assert min(map(float, blend[::2])) > 0
