"""Plan: everything that a decision is asked for, as one object and as one TOML file."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bimix_jax.files import RemotePath, absolute_path, as_path
from bimix_jax.fitting.storage import load_fit
from bimix_jax.laws import Bridged, law_named
from bimix_jax.mixture.constraints import Constraints
from bimix_jax.mixture.files import read_mixtures
from bimix_jax.quantities import number_of, quantity_text
from bimix_jax.reading.nested import read_toml
from bimix_jax.reading.settings import did_you_mean, refuse_unknown
from bimix_jax.reading.written_numbers import number_of_parameters
from bimix_jax.recipe.available import TOKENS, check_paths, read_available, read_paths
from bimix_jax.recipe.forms import WITH_PATHS, form_named
from bimix_jax.report._toml import toml_lines
from bimix_jax.sweeps.read import read_sweep
from bimix_jax.sweeps.sweep import Sweep

BEST_RUN, RUN = "best-run", "run:"
WORDS = ("uniform", "available", BEST_RUN)
"""References with a name, beside run:NAME."""
FILES = ("sweep", "losses", "mixtures", "paths", "entropy", "available")
"""Entries that name files; in a plan's file they are relative to its folder."""
NAMES = ("sweep", "exclude", "laws", "emit")
"""Fields that hold several texts; one alone needs no list."""
COUNTS = {"resamples": 2, "propose": 0, "seed": 0}
"""Fields that hold whole numbers → the least one."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that a decision is asked for; every field is optional.

    A file of a plan, TOML, has these fields as entries, and in place of `constraints` the fields of
    `Constraints`.

    Raises:
        ValueError: on a value that a field cannot have.

    >>> plan = Plan(budget="5M", constraints=Constraints(lower={"code": 0.2}))
    >>> plan.budget, Plan.from_dict(plan.to_dict()) == plan
    (5000000.0, True)
    """

    sweep: tuple[str, ...] = ()
    """the file of the sweep, or files and folders of logs"""
    losses: str | None = None
    """the second file of a pair"""
    mixtures: str | None = None
    """the table of runs that logs belong to"""
    read: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """further arguments of `read_sweep`, or of `read_logs` where there are logs"""
    exclude: tuple[str, ...] = ()
    """runs that are left out"""
    from_budget: float | None = None
    """the least budget whose points are kept"""
    budget: float | None = None
    """budget of the decision, in the sweep's unit; None for twice the sweep's largest, or for its
    only one"""
    model_size: float | None = None
    """parameters of the model of the decision, for a sweep of several sizes; None for its largest
    size"""
    constraints: Constraints = dataclasses.field(default_factory=Constraints)
    """allowed mixtures, and weights of the targets"""
    available: str | None = None
    """table of the tokens that exist, in place of those of the constraints"""
    guard_probability: float | None = None
    """probability with which the mixture is to keep each guardrail; None for what the fit predicts
    alone"""
    reference: Any = None
    """mixture to compare with: uniform, available, best-run, run:NAME, a file or a mixture; None
    for the best measured run"""
    laws: tuple[str, ...] = ()
    """laws that are compared, Bridged(small.json) for the fit of smaller models in a file; None for
    those that a decision compares by default"""
    level: float = 0.9
    """level of the intervals"""
    resamples: int = 64
    """number of resamples"""
    propose: int = 4
    """number of runs to propose; 0 for none"""
    seed: int = 0
    """of the held-out mixtures, the resamples and the proposal"""
    emit: tuple[str, ...] = ("json",)
    """forms of the recipe that are written"""
    paths: str | None = None
    """TOML file of domain = path, for forms that name the data"""
    entropy: str | None = None
    """table of a mixture made from entropies, to stand beside the others"""

    def __post_init__(self) -> None:
        """Convert numbers that are written as text, and single names to tuples."""
        for field in NAMES:
            object.__setattr__(self, field, _names(field, getattr(self, field)))
        if self.model_size is not None:
            object.__setattr__(self, "model_size", number_of_parameters(self.model_size))
        for field in ("budget", "from_budget"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, _above_0(field, getattr(self, field)))
        object.__setattr__(self, "level", _share(self.level))
        for field, least in COUNTS.items():
            object.__setattr__(self, field, _count(field, getattr(self, field), least))
        for form in self.emit:
            form_named(form)
        for law in self.laws:
            law_named(law, load_fit)
        object.__setattr__(self, "constraints", self.constraints or Constraints())
        if not isinstance(self.read, Mapping):
            raise ValueError(f"read is {self.read!r}; expected a table of options of reading.")

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Plan":
        """Build a plan from the entries of its file.

        Raises:
            ValueError: on an unknown entry, with the nearest known one, or a wrong value.
        """
        own = [field.name for field in dataclasses.fields(cls) if field.name != "constraints"]
        limits = [field.name for field in dataclasses.fields(Constraints)]
        known = list(dict.fromkeys([*own, *limits]))
        refuse_unknown("plan", set(map(str, document)) - set(known), known)
        # Tokens by domain are a constraint; a text names the table that holds them.
        file = isinstance(document.get("available"), str)
        mine = [name for name in own if name != "available" or file]
        return cls(
            **{name: document[name] for name in mine if name in document},
            constraints=Constraints.from_dict(
                {name: document[name] for name in document if name not in mine}
            ),
        )

    @classmethod
    def load(cls, path: str | Path) -> "Plan":
        """Read a plan from a TOML file; the files that it names are relative to its folder.

        Raises:
            ValueError: if it is not TOML, or an entry is unknown or of the wrong kind.
            OSError: if there is no such file.
        """
        place, document = as_path(path).parent, read_toml(path, "a plan, .toml")
        for name in document.keys() & {*FILES, "laws"}:
            document[name] = _moved(name, document[name], lambda f: _within(place, f))
        try:
            return cls.from_dict(document)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The entries that differ from the defaults, as JSON types; `from_dict` reads them."""
        bare = Plan()
        given = {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(bare, field.name)
            and field.name != "constraints"
        }
        without = Constraints().to_dict()
        asked = {k: _plain(v) for k, v in self.constraints.to_dict().items() if v != without[k]}
        return {**asked, **given}

    def to_toml(self, folder: str | Path = ".") -> str:
        """The plan as the text of a file in a folder, to which the names of files are relative."""
        document = {
            name: _moved(name, value, lambda path: _from(as_path(folder), path))
            if name in (*FILES, "laws")
            else value
            for name, value in self.to_dict().items()
        }
        return "".join(toml_lines(document))

    @property
    def has_logs(self) -> bool:
        """True where the sweep is made from logs, not read from one table."""
        several = len(self.sweep) > 1 or any(as_path(each).is_dir() for each in self.sweep)
        return self.mixtures is not None or several or "form" in self.read

    def read_measured(self) -> Sweep:
        """Read the sweep, or the logs, that the plan names.

        Raises:
            ValueError: if the plan names none, an option of reading is unknown, or as `read_sweep`.
        """
        if not self.sweep:
            raise ValueError('sweep: the plan names no table of runs; add sweep = "FILE" to it.')
        try:
            if self.has_logs:
                # Its readers of all forms are not loaded for a table.
                from bimix_jax.logs.read_logs import read_logs

                measured = read_logs(list(self.sweep), self.mixtures, **self.read)
            else:
                measured = read_sweep(self.sweep[0], self.losses, **self.read)
        except TypeError as error:  # an unknown keyword argument, with the nearest one
            raise ValueError(f"read: {error}") from error
        measured = measured.without_runs(self.exclude) if self.exclude else measured
        return measured if self.from_budget is None else measured.from_budget(self.from_budget)

    def for_sweep(self, sweep: Sweep) -> "Plan":
        """Return the plan with names as the sweep spells them, tokens and reference read from
        their files, and the budget.

        Raises:
            ValueError: on unknown domains, targets or words, a reference that is no file, or a form
                whose paths are not there.
        """
        paths = None if self.paths is None else read_paths(self.paths, sweep.domains)
        for form in set(self.emit) & set(WITH_PATHS):
            check_paths(paths, form)
        limits = self.constraints
        if self.available is not None:
            tokens = read_available(self.available, sweep.domains)[TOKENS]
            limits = dataclasses.replace(limits, available=dict(tokens))
        limits = limits.spelled_as(sweep.domains, sweep.targets)
        unknown = [domain for domain in sweep.domains if domain not in limits.available]
        if isinstance(self.reference, str) and self.reference == "available" and unknown:
            raise ValueError(
                "reference is 'available', the mixture proportional to the tokens that exist; give "
                f"the tokens of {', '.join(unknown)}, too, by available= (--available)."
            )
        return dataclasses.replace(
            self,
            constraints=limits,
            reference=_reference(self.reference, sweep),
            budget=_in_its_unit(self.budget_of(sweep), sweep),
            model_size=self._size_of(sweep),
        )

    def _size_of(self, sweep: Sweep) -> float | None:
        """Model size of the decision, for a sweep of several sizes."""
        if sweep.size is not None:
            return float(sweep.size.max()) if self.model_size is None else self.model_size
        if self.model_size is not None:
            raise ValueError(
                f"model_size is {self.model_size:g}, but the sweep has no column of model sizes; "
                'name it by read = {model_size = "COLUMN"}, or leave model_size out.'
            )
        return None

    def budget_of(self, sweep: Sweep) -> float:
        """Budget of the decision for a sweep, in its unit."""
        if self.budget is not None:
            return self.budget
        single = sweep.budget.min() == sweep.largest_budget
        return sweep.largest_budget * (1 if single else 2)


FARTHEST = 1e4
"""Steps of the decision over the most of the sweep, above which they must be tokens: no run has so
many times the steps of another."""


def _in_its_unit(budget: float, sweep: Sweep) -> float:
    """Return the budget; raise where a sweep in steps is asked about tokens."""
    ratio = budget / sweep.largest_budget
    if sweep.unit != "steps" or ratio < FARTHEST:
        return budget
    raise ValueError(
        f"budget is {quantity_text(budget)}, {ratio:.2g} times the largest of the sweep, "
        f"{quantity_text(sweep.largest_budget)} steps. If it is in tokens, divide it by the tokens "
        "per step."
    )


def _reference(given: Any, sweep: Sweep) -> Any:
    """Return a word, or the mixture of a file or a mapping."""
    if not isinstance(given, str):
        return BEST_RUN if given is None else given
    name = given.removeprefix(RUN)
    if name != given and name not in sweep.runs:
        near = did_you_mean(name, sweep.runs)
        raise ValueError(
            f"reference is {given!r}; expected one of the {len(sweep.runs)} runs.{near}"
        )
    if given in WORDS or name != given:
        return given
    if not as_path(given).exists():
        raise ValueError(
            f"reference is {given!r}; expected {', '.join(WORDS)}, {RUN}NAME or a file that "
            f"exists.{did_you_mean(given, WORDS)}"
        )
    return read_mixtures(given, sweep.domains).iloc[0].to_dict()


def _names(field: str, given: Any) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, (str, Path)) else given
    if not isinstance(listed, Sequence) or not all(isinstance(n, (str, Path)) for n in listed):
        raise ValueError(f"{field} is {given!r}; expected a text, or a list of texts.")
    return tuple(map(str, listed))


def _above_0(field: str, given: Any) -> float:
    expected = "a number above 0, like 4e10 or 40B"
    number = number_of(given, field, expected)
    if number <= 0:
        raise ValueError(f"{field} is {given}; expected {expected}.")
    return number


def _share(given: Any) -> float:
    level = number_of(given, "level", "a share between 0 and 1", percent=True)
    if not 0 < level < 1:
        raise ValueError(f"level is {given}; expected a share between 0 and 1, 0.9 for example.")
    return level


def _count(field: str, given: Any, least: int) -> int:
    number = number_of(given, field, "a whole number")
    if number != int(number) or number < least:
        raise ValueError(f"{field} is {given}; expected a whole number, {least} or more.")
    return int(number)


def _moved(entry: str, value: Any, move: Callable[[str], str]) -> Any:
    """Apply a function to the name of a file, or to each of a list; others stay.

    >>> _moved("laws", ["BiMix", "Bridged(small.json)"], lambda name: f"runs/{name}")
    ['BiMix', 'Bridged(runs/small.json)']
    """
    if isinstance(value, list):
        return [_moved(entry, each, move) for each in value]
    if not isinstance(value, str):
        return value
    if entry != "laws":
        return move(value)
    outer, opened, rest = value.partition("(")
    of_file = opened and outer.strip().lower() == Bridged.name.lower()
    return f"{outer}({move(rest.strip()[:-1])})" if of_file else value


def _within(folder: Path, name: str) -> str:
    """Return a file that a plan in a folder names."""
    whole = isinstance(as_path(name), RemotePath)
    if whole or isinstance(folder, RemotePath):
        return name if whole else str(folder / name)
    return os.path.normpath(folder / name)


def _from(folder: Path, name: str) -> str:
    """Return the name of a file for a plan in a folder."""
    file = absolute_path(name)
    if isinstance(file, RemotePath) or isinstance(folder, RemotePath):
        return str(file)
    return os.path.relpath(name, folder)


def _plain(value: Any) -> Any:
    """Tuples as lists, and nothing that is None inside mappings."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
