"""What the project claims, measured: each file prints a table and writes JSON."""
