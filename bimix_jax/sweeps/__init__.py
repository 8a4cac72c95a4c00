"""Sweeps of training runs: reading, checking, splitting and saving them."""
