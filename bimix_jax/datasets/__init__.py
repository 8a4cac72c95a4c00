"""Real sweeps that come with the package, trained for it by `benchmarks/proxy_sweep`."""

from pathlib import Path

DEBIAN = {"1.3M": "debian_1_3m.csv", "11.5M": "debian_11_5m.csv"}


def debian_sweep(model: str = "1.3M") -> Path:
    """Return the path of one of two sweeps of the same 32 mixtures at two model sizes: wide tables.

    The seven text domains come from Debian packages (C, database documentation, a dictionary, an
    essay, German and Perl manuals, Python), 2.7 to 4.1 million tokens each, in a byte-level BPE of
    4 096 types. The mixtures are the uniform one, those of four entropies, and 27 scattered over
    the simplex, with every proportion at least 1 %; the uniform one and scattered-01 have three
    seeds. Losses are in nats per token of held-out text, at 12 checkpoints with even distances in
    log budget, from twice the warm-up on, at a constant learning rate. The models are decoder-only
    transformers of four layers with contexts of 128 tokens, trained by AdamW on one H100 GPU.

    - "1.3M": width 128, four heads, batches of 16 × 128 tokens, learning rate 2e-3, warm-up of 64
      steps, up to 2.95 million tokens, at most 0.56 of a domain's text; matrix products in TF32
      (`python -m benchmarks.proxy_sweep corpus --mixtures 32 --together 36`).
    - "11.5M": width 448, seven heads, batches of 32 × 128 tokens, learning rate 1e-3, warm-up of
      128 steps, up to 23.5 million tokens, for which the text of a domain is seen up to 4.4 times;
      matrix products in bfloat16 (the same command with `--width 448 --heads 7 --batch 32 --steps
      5741 --warm-up 128 --learning-rate 1e-3 --products bfloat16 --no-decay`).

    The SHA-256 of the corpus' files are in benchmarks/results/proxy_corpus.json.

    Raises:
        ValueError: if there is no such size.

    >>> from bimix_jax import read_sweep
    >>> small, large = (read_sweep(debian_sweep(model)) for model in ("1.3M", "11.5M"))
    >>> print(small.summary())
    36 runs of 32 mixtures at 12 budgets up to 2.949M tokens: 432 points, 7 domains, 7 targets
    >>> bool((small.mixtures == large.mixtures).all(axis=None))
    True
    """
    if model not in DEBIAN:
        raise ValueError(f"model is {model!r}; expected one of {', '.join(DEBIAN)}.")
    return Path(__file__).parent / DEBIAN[model]


def proxy_sweep() -> Path:
    """Return the path of the smallest embedded sweep, a long table.

    Its columns are run, step, tokens, domain, proportion and loss. It holds 16 runs of a
    transformer of 1.3 million parameters (4 layers, width 128, byte-level BPE of 4 096 types) on 7
    text domains, with 11 checkpoints each, up to 2.87 million tokens. The mixtures are drawn from a
    Dirichlet distribution with a floor of about 1 %; the uniform one has two seeds, whose losses
    differ by 0.2 to 1.1 %.

    >>> proxy_sweep().name
    'proxy_sweep.csv'
    """
    return Path(__file__).parent / "proxy_sweep.csv"
