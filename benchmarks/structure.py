"""Measure the structure of the package: `python -m benchmarks.structure [--tree FOLDER]`.

A room is a folder of the package or a module beside the folders. An arrow is an import of one room
by another, also inside functions and for types alone. A floor is a place on the longest way up from
a room that imports none. A circle is a group of rooms that reach each other, and its arrows up are
those against the order that leaves the fewest. The way of an argument is the sequence of files
whose functions it is passed to while a call runs; a return is a stay in a file it was in before.
"""

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.report import report

PACKAGE = "bimix_jax"
FACE = 40
"""An __init__.py shorter than this only hands names on."""
MANY = 7
"""Parameters from which a function counts as one of many."""
WAY = """
import os, sys
import jax
import bimix_jax as bx
stays = []
def follow(thing):
    def heard(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and "bimix_jax" in name and any(v is thing for v in
                                                            frame.f_locals.values()):
            if not stays or stays[-1] != name:
                stays.append(name)
    sys.setprofile(heard)
sweep = bx.read_sweep(bx.datasets.proxy_sweep()).from_budget(573_440)
if sys.argv[1] == "fit":
    follow(sweep)
    bx.fit(sweep, bx.BiMix())
else:
    fitted = bx.fit(sweep, bx.BiMix())
    follow(fitted)
    bx.optimize_mixture(fitted)
sys.setprofile(None)
print(len(stays), len(stays) - len(set(stays)))
"""


def sources(tree: Path) -> dict[Path, str]:
    """The package's modules by their path in it, without the faces of folders."""
    root = tree / PACKAGE
    texts = {path.relative_to(root): path.read_text("utf-8") for path in root.rglob("*.py")}
    return {
        path: text
        for path, text in sorted(texts.items())
        if path.name != "__init__.py" or len(text.splitlines()) >= FACE
    }


def room_of(path: Path) -> str:
    """The folder of a module, or its own name beside the folders."""
    return path.parts[0].removesuffix(".py")


def arrows(texts: dict[Path, str]) -> dict[str, set[str]]:
    """Room → rooms that it imports."""
    rooms = {room_of(path) for path in texts}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for path, text in texts.items():
        if path.name == "__init__.py" and len(path.parts) == 1:
            continue  # the door, which only hands names on
        for name in _imported(ast.parse(text)):
            place = name.split(".")
            other = place[1] if len(place) > 1 else ""
            if place[0] == PACKAGE and other in rooms and other != room_of(path):
                found[room_of(path)].add(other)
    return found


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of more than one room that reach each other."""
    reached = {room: _reach(graph, room) for room in graph}
    groups = {frozenset(b for b in graph if b in reached[a] and a in reached[b]) for a in graph}
    return [set(group) for group in groups if len(group) > 1]


def _reach(graph: dict[str, set[str]], room: str) -> set[str]:
    seen, left = set[str](), [room]
    while left:
        for other in graph[left.pop()] - seen:
            seen.add(other)
            left.append(other)
    return seen


def arrows_up(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Arrows of circles against the order by arrows out less arrows in."""
    found = []
    for group in circles(graph):
        inner = {room: graph[room] & group for room in group}
        inward = {room: sum(room in others for others in inner.values()) for room in group}
        rank = {room: (len(inner[room]) - inward[room], room) for room in group}
        found += [(a, b) for a in group for b in inner[a] if rank[a] < rank[b]]
    return sorted(found)


def floors(graph: dict[str, set[str]]) -> int:
    """Rooms on the longest way up, arrows up left out."""
    down = {a: {b for b in graph[a] if (a, b) not in set(arrows_up(graph))} for a in graph}
    height: dict[str, int] = {}

    def floor(room: str, above: frozenset[str] = frozenset()) -> int:
        if room not in height:
            below = down[room] - above
            height[room] = 1 + max((floor(b, above | {room}) for b in below), default=0)
        return height[room]

    return max(map(floor, graph))


def functions(texts: dict[Path, str]) -> pd.DataFrame:
    """One row per function: where it is, its lines and its parameters, self and cls left out."""
    rows = []
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                count = sum(arg.arg not in ("self", "cls") for arg in given)
                rows.append((f"{path}:{node.name}", _length(node), count))
    return pd.DataFrame(rows, columns=["name", "lines", "parameters"]).set_index("name")


def _length(node: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    last = node.end_lineno or node.lineno
    whole = last - node.lineno + 1
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    return whole - (((first.end_lineno or 0) - first.lineno + 1) if documented else 0)


def definitions(texts: dict[Path, str], private: set[str]) -> int:
    """Functions and classes without underscore at the top level of modules that are not private."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return sum(
        isinstance(node, kinds) and not node.name.startswith("_")
        for path, text in texts.items()
        if not path.name.startswith("_") and room_of(path) not in private
        for node in ast.parse(text).body
    )


def private_rooms(tree: Path) -> set[str]:
    """Rooms whose docstring begins with "Private": other rooms use them, users do not."""
    faces = (tree / PACKAGE).glob("*/__init__.py")
    return {face.parent.name for face in faces if _doc(face).startswith("Private")}


def _doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def comment_share(texts: dict[Path, str]) -> float:
    """Comments per line of code, without marks for tools."""
    comments, code = 0, set[tuple[Path, int]]()
    blank = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for path, text in texts.items():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                marks = ("# fmt", "# type:", "# noqa")
                comments += not token.string.startswith(marks)
            elif token.type not in blank:
                code |= {(path, line) for line in range(token.start[0], token.end[0] + 1)}
    return comments / len(code)


def single_importers(texts: dict[Path, str]) -> int:
    """Modules that one other module imports."""
    modules = {".".join((PACKAGE, *path.with_suffix("").parts)): path for path in texts}
    by = defaultdict[str, set[Path]](set)
    for path, text in texts.items():
        if path == Path("__init__.py"):
            continue
        for name in _imported(ast.parse(text)):
            for module in (name, name.rpartition(".")[0]):
                if module in modules and modules[module] != path:
                    by[module].add(path)
    return sum(len(importers) == 1 for importers in by.values())


def way(tree: Path, verb: str) -> tuple[int, int]:
    """Stays and returns of the first argument of `fit` or `optimize_mixture` while it runs."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WAY, verb],
        cwd=tree, capture_output=True, text=True, check=True,
    )  # fmt: skip
    stays, returns = map(int, done.stdout.split()[-2:])
    return stays, returns


def measure(tree: Path) -> dict[str, Any]:
    """Every figure of a checkout."""
    texts = sources(tree)
    graph, made = arrows(texts), functions(texts)
    lines = [len(text.splitlines()) for text in texts.values()]
    of_fit, of_optimum = way(tree, "fit"), way(tree, "optimize_mixture")
    return {
        "modules": len(texts),
        "lines per module (mean)": round(statistics.mean(lines)),
        "modules with one importer": single_importers(texts),
        "rooms": len(graph),
        "floors": floors(graph),
        "arrows": sum(map(len, graph.values())),
        "arrows up": len(arrows_up(graph)),
        "circles": len(circles(graph)),
        "public top-level definitions": definitions(texts, private_rooms(tree)),
        f"functions with {MANY} parameters or more": int((made["parameters"] >= MANY).sum()),
        "parameters of a function (most)": int(made["parameters"].max()),
        "lines of a function (median)": int(made["lines"].median()),
        "lines of a function (90th percentile)": int(made["lines"].quantile(0.9)),
        "lines of a function (most)": int(made["lines"].max()),
        "fmt: skip": sum(text.count("# fmt: skip") for text in texts.values()),
        "comments per line of code": round(comment_share(texts), 4),
        "way of fit(sweep): stays, returns": "{}, {}".format(*of_fit),
        "way of optimize_mixture(fitted): stays, returns": "{}, {}".format(*of_optimum),
        "README lines": len((tree / "README.md").read_text("utf-8").splitlines()),
    }


def main() -> None:
    """Measure a checkout, or several side by side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, action="append", help="several are put side by side")
    trees = parser.parse_args().tree or [Path(__file__).parents[1]]
    columns = {tree.resolve().name: measure(tree) for tree in trees}
    table = pd.DataFrame(columns).rename_axis("measure")
    report("structure", table, "The structure of the package")


if __name__ == "__main__":
    main()
