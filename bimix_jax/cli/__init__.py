"""The command line: parses, calls the package, shows; no logic of its own."""

import sys
import warnings


def main() -> None:
    """Run `bimix`; what a person did wrong ends in one paragraph and exit code 2."""
    from bimix_jax.cli.app import app

    # The commands print the notes of a sweep themselves, warnings included.
    warnings.simplefilter("ignore", UserWarning)
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"bimix: {error}", file=sys.stderr)
        sys.exit(2)
