"""Templates, style and scripts of a page, which lie beside the code."""

from importlib.resources import files


def asset(name: str) -> str:
    """Return the text of a file in the folder of assets."""
    return (files("bimix_jax.report") / "assets" / name).read_text(encoding="utf-8")
