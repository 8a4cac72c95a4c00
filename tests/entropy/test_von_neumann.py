"""Von Neumann entropy against the N × N spectrum, and what is refused."""

import numpy as np
import pytest
import scipy.stats

import bimix_jax as bx
from bimix_jax.entropy.von_neumann import embed, read_embeddings, read_word_vectors


def slow(embeddings):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    spectrum = np.linalg.eigvalsh(unit @ unit.T / len(unit))
    return scipy.stats.entropy(np.clip(spectrum, 0, None))


@pytest.mark.parametrize("shape", [(1, 3), (5, 20), (200, 7)])
def test_the_small_spectrum_is_that_of_all_similarities(shape, monkeypatch):
    monkeypatch.setattr("bimix_jax.entropy.von_neumann.BLOCK_BYTES", 900)
    embeddings = np.random.default_rng(0).standard_normal(shape) * 3
    assert bx.von_neumann_entropy(embeddings) == pytest.approx(slow(embeddings), abs=1e-12)
    assert bx.von_neumann_entropy(1e200 * embeddings) == pytest.approx(slow(embeddings), abs=1e-12)


def test_single_precision_costs_its_rounding_only():
    embeddings = np.random.default_rng(0).standard_normal((20_000, 30)) * np.arange(1, 31)
    single = embeddings.astype(np.float32)
    exact = bx.von_neumann_entropy(single.astype(float))
    assert bx.von_neumann_entropy(single) == pytest.approx(exact, abs=1e-6)
    assert bx.von_neumann_entropy(single * np.float32(1e30)) == pytest.approx(exact, abs=1e-6)


def test_other_kernels_take_a_sample():
    embeddings = np.random.default_rng(0).standard_normal((50, 4))

    def gaussian(x):
        return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(-1))

    expected = scipy.stats.entropy(np.linalg.eigvalsh(gaussian(embeddings) / 50))
    assert bx.von_neumann_entropy(embeddings, gaussian) == pytest.approx(expected, abs=1e-10)
    sampled = bx.von_neumann_entropy(embeddings, gaussian, sample=20)
    assert 0 < sampled < np.log(20) + 1e-9
    assert sampled == bx.von_neumann_entropy(embeddings, gaussian, sample=20)


def test_zero_vectors_are_left_out_and_said():
    embeddings = np.vstack([np.eye(3), np.zeros((2, 3))])
    with pytest.warns(bx.EntropyWarning, match="2 of 5 vectors are zero and were left out"):
        assert bx.von_neumann_entropy(embeddings) == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("embeddings", "kernel", "message"),
    [
        (np.full((2, 2), np.nan), "cosine", "row 0 holds a number that is not finite"),
        (np.ones(3), "cosine", "shape \\(3,\\)"),
        (np.ones((0, 3)), "cosine", "at least one sample"),
        (np.array([["a"]]), "cosine", "expected numbers"),
        (np.eye(3), "rbf", "kernel is 'rbf'"),
        (np.eye(3), lambda x: x[:2], "the kernel gave shape"),
        (np.eye(3), lambda x: np.triu(np.ones((3, 3))), "not symmetric"),
    ],
)
def test_bad_embeddings_and_kernels_are_refused(embeddings, kernel, message):
    with pytest.raises(ValueError, match=message):
        bx.von_neumann_entropy(embeddings, kernel)


@pytest.mark.filterwarnings("ignore::bimix_jax.EntropyWarning")
def test_only_zero_vectors_are_refused():
    with pytest.raises(ValueError, match="all 2 vectors are zero"):
        bx.von_neumann_entropy(np.zeros((2, 3)))


def test_word_vectors_are_averaged(tmp_path):
    path = tmp_path / "words.vec"
    path.write_text("3 2\nle 1 0\nchat 0 1\nbroken 1\n", encoding="utf-8")
    with pytest.warns(bx.EntropyWarning, match="1 lines without 2 finite numbers"):
        vectors = read_word_vectors(path)
    assert embed(["Le chat", "chien"], vectors).tolist() == [[0.5, 0.5], [0, 0]]


@pytest.mark.parametrize("text", ["", "le 1 0\n", "1 2\nle x y\n"])
@pytest.mark.filterwarnings("ignore::bimix_jax.EntropyWarning")
def test_what_is_no_word_vectors_is_refused(tmp_path, text):
    (tmp_path / "words.vec").write_text(text)
    with pytest.raises(ValueError, match=r"words\.vec"):
        read_word_vectors(tmp_path / "words.vec")


def test_what_is_no_array_of_embeddings_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(ValueError, match="expected real numbers of shape"):
        read_embeddings(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as"):
        read_embeddings(tmp_path / "b.npy")
