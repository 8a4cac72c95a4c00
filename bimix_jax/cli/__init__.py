"""The command line: parses, calls the package, shows; no logic of its own."""

import sys
import warnings


def main() -> None:
    """Run `bimix`; what a person did wrong ends in one paragraph and exit code 2."""
    from bimix_jax import SweepWarning
    from bimix_jax.cli.app import app

    with warnings.catch_warnings():
        # The commands print the notes of a sweep themselves, its warnings included.
        warnings.simplefilter("ignore", SweepWarning)
        warnings.showwarning = _say
        try:
            app()
        except (ValueError, OSError) as error:
            _say(error)
            sys.exit(2)


def _say(message: object, *where: object, **more: object) -> None:
    print(f"bimix: {message}", file=sys.stderr)
