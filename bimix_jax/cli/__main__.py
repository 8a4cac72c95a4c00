"""`python -m bimix_jax.cli`."""

from bimix_jax.cli import main

main()
