"""The loop: damage, read twice, compare."""

import collections
import dataclasses
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.edits import Right, edited
from tests.fuzz.mutations import mutated
from tests.fuzz.oracles import Doubt, same
from tests.fuzz.readers import READERS, Reader, placed, rng_of

EDITS = 0.4
"""Part of the mutations of tables that are edits, not damage."""
PATIENCE = 20
"""Seconds after which a reader hangs."""


@dataclasses.dataclass
class Findings:
    """Counts of outcomes, and the faults; none where all is well."""

    counts: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)
    """of each reader, outcomes"""
    faults: list[str] = dataclasses.field(default_factory=list)

    def table(self) -> str:
        """A line per reader."""
        names = sorted({name for counts in self.counts.values() for name in counts})
        lines = [f"{'reader':14}" + "".join(f"{name:>22}" for name in names)]
        for reader, counts in self.counts.items():
            lines.append(f"{reader:14}" + "".join(f"{counts[name]:>22}" for name in names))
        return "\n".join(lines)


class _Hang(BaseException):
    pass


def fuzz(count: int, seed: int) -> Findings:
    """Read `count` damaged files, each reader in turn."""
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        sound = {reader.name: _sound(reader, Path(folder) / "sound") for reader in READERS}
        for number in range(count):
            reader = READERS[number % len(READERS)]
            data, name, right = changed(reader, sound[reader.name][0], rng_of(seed, number))
            place = Path(folder) / "mutated"
            outcome, what = _outcome(reader, data, right, sound[reader.name], place)
            findings.counts.setdefault(reader.name, collections.Counter())[outcome] += 1
            if what:
                findings.faults.append(
                    f"{reader.name}, seed {seed}, number {number}, {name}: {what}"
                )
    return findings


def changed(reader: Reader, data: bytes, rng: random.Random) -> tuple[bytes, str, Right]:
    """A damaged or edited file, what was done to it, and what is right."""
    found = edited(data, rng) if reader.edited and rng.random() < EDITS else None
    return found or (mutated(data, rng), "damage", Right.WRITTEN)


def _sound(reader: Reader, folder: Path) -> tuple[bytes, Any, tuple[str, ...]]:
    """Bytes, content and notes of the sound file, which both readers must take alike."""
    data, path = reader.sound(), placed(reader, folder)
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        content, notes = reader.read(path)
    notes = (*notes, *(str(each.message) for each in warned))
    assert same(content, reader.oracle(data)), f"{reader.name}: the sound file is read otherwise"
    return data, content, notes


def _outcome(
    reader: Reader, data: bytes, right: Right, sound: Any, folder: Path
) -> tuple[str, str]:
    """Outcome of reading a changed file, and the fault if it is one."""
    path = placed(reader, folder)
    path.write_bytes(data)
    begin = time.monotonic()
    try:
        with _patience(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            content, notes = reader.read(path)
    except (ValueError, OSError) as error:
        return _refusal(error, path)
    except _Hang:
        return "HANG", f"more than {PATIENCE} s"
    except BaseException as error:
        return "RAW", traceback.format_exc(
            limit=-4
        ) + f" after {time.monotonic() - begin:.1f} s: {error}"
    notes = (*notes, *(str(each.message) for each in warned))
    said = [note for note in notes if note not in sound[2]]
    as_sound = same(content, sound[1])
    if right is Right.SAME and not as_sound:
        return "SILENT", f"read as {str(content)[:300]}, which the edit did not say; notes: {said}"
    if said:
        return "read, with a note", ""
    if right is not Right.WRITTEN:
        return ("read as if sound", "") if as_sound else ("SILENT", f"read as {str(content)[:300]}")
    try:
        expected = reader.oracle(data)
    except Doubt as doubt:
        if as_sound:
            return "read as if sound", ""
        return "SILENT", f"read without a note where the oracle is in doubt ({doubt})"
    if same(content, expected):
        return "read alike", ""
    return "SILENT", f"read as {str(content)[:300]} where {str(expected)[:300]} stands"


def _refusal(error: Exception, path: Path) -> tuple[str, str]:
    """An error in words names the file, or a name in it, and comes from the package itself."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    if not str(error).strip() or "bimix_jax" not in last:
        return "RAW", f"{type(error).__name__} from {last}: {error}"
    if not any(str(each) in str(error) for each in (path.name, path.stem, path.parent.name)):
        return "NAMELESS", f"the file is not named: {error}"
    return "refused", ""


@contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
