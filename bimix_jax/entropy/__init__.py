"""Entropy proxies: a mixture from the text alone, without training."""
