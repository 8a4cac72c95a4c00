"""The sweep of small language models: its corpus, tokenizer, entropies, mixtures and training.

`python -m benchmarks.proxy_sweep --help` explains a first run.
"""
