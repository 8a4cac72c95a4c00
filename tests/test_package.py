"""What importing the package costs and gives."""

import importlib
import json
import subprocess
import sys

import pytest

import bimix_jax as bx

LOOK = """
import json, sys
import bimix_jax
at_import = sorted(sys.modules)
bimix_jax.fit_arrays
at_core = sorted(sys.modules)
import matplotlib
backend = repr(dict.__getitem__(matplotlib.rcParams, "backend"))
from matplotlib.figure import Figure
bimix_jax.plots.save_figure(Figure(), sys.argv[1])
kept = backend == repr(dict.__getitem__(matplotlib.rcParams, "backend"))
print(json.dumps([at_import, at_core, sorted(sys.modules), kept]))
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """What is imported by the package, its core and its pictures, and if the backend stayed."""
    picture = tmp_path_factory.mktemp("look") / "a.png"
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(picture)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_importing_the_package_imports_nothing_it_does_not_need(modules):
    roots = {name.partition(".")[0] for name in modules[0]}
    assert "bimix_jax" in roots
    assert not roots & {
        "pandas",
        "matplotlib",
        "typer",
        "rich",
        "optax",
        "scipy",
        "pyarrow",
        "fsspec",
    }


def test_the_pure_core_needs_no_tables_pictures_or_commands(modules):
    roots = {name.partition(".")[0] for name in modules[1]}
    assert "jax" in roots
    assert not roots & {"pandas", "matplotlib", "typer", "rich", "pyarrow"}


def test_pictures_neither_import_pyplot_nor_choose_a_backend(modules):
    assert "matplotlib.figure" in modules[2]
    assert "matplotlib.pyplot" not in modules[2]
    assert modules[3]


@pytest.mark.parametrize("name", bx.__all__)
def test_every_public_name_resolves_to_something_with_a_docstring(name):
    value = getattr(bx, name)
    assert value.__doc__
    assert name in dir(bx)
    assert getattr(bx, name) is value


def test_public_names_are_those_of_their_homes():
    for name, home in bx._HOMES.items():
        assert getattr(bx, name) is getattr(importlib.import_module(f"bimix_jax.{home}"), name)


def test_all_names_are_there_once_and_star_import_gives_them():
    assert len(set(bx.__all__)) == len(bx.__all__)
    given = {}
    exec("from bimix_jax import *", given)
    assert set(bx.__all__) <= given.keys()


def test_names_that_type_checkers_see_are_those_that_resolve():
    import ast
    from pathlib import Path

    tree = ast.parse(Path(bx.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname for node in block.body for alias in node.names}
    assert seen | {"plots"} == set(bx.__all__)


@pytest.mark.parametrize("name", ["fits", "read", "_secret", "cli_app"])
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"'bimix_jax' has no attribute '{name}'"):
        getattr(bx, name)
    assert not hasattr(bx, name)


def test_the_package_says_that_it_is_typed():
    from importlib.resources import files

    assert files("bimix_jax").joinpath("py.typed").is_file()
    assert bx.__version__.count(".") == 2
