"""The sweep of small language models: its corpus, its tokenizer, its entropies."""
