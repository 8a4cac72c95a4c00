"""Diagnosis of sweeps that could be read; `checks` refuses those that could not."""
