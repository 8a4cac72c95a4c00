"""The sweep's tokenizer: byte-level BPE of 4 096 types, trained on what is trained on."""

from pathlib import Path

from bimix_jax.entropy._documents import Reader
from bimix_jax.files import atomic_path

VOCABULARY = 4096


def train_tokenizer(folder: Path, vocabulary: int = VOCABULARY) -> Path:
    """Train on FOLDER/train alone, all domains alike, and write FOLDER/tokenizer.json.

    Raises:
        ValueError: if there is no text.
    """
    from tokenizers import ByteLevelBPETokenizer

    files = sorted((folder / "train").glob("*.jsonl"))
    if not files:
        raise ValueError(f"{folder}/train holds no .jsonl; build the corpus first.")
    tokenizer = ByteLevelBPETokenizer()
    texts = (part.text for file in files for part in Reader().parts(file))
    tokenizer.train_from_iterator(texts, vocabulary, min_frequency=2, show_progress=False)
    with atomic_path(folder / "tokenizer.json") as beside:
        tokenizer.save(str(beside))
    return folder / "tokenizer.json"
