"""Entropy proxies: the mixture that needs no training, from the text alone."""
