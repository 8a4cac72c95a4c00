"""Measurements of the project's claims: each file prints a table and writes JSON."""
