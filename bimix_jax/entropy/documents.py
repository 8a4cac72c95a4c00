"""Documents of text, out of the files people keep them in, with what was skipped."""

import contextlib
import dataclasses
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

SUFFIXES = (
    ".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".arrow",
)  # fmt: skip
BLOCK = 1 << 20


class Part(NamedTuple):
    """Some text in a row; a long document comes in several parts."""

    text: str
    starts: bool
    """if a document starts here"""


@dataclasses.dataclass
class Skipped:
    """What was left out while reading, counted."""

    undecodable: int = 0
    """lines that are not UTF-8"""
    unreadable: int = 0
    """lines that are no JSON object with the text field"""
    empty: int = 0

    def notes(self, name: str) -> list[str]:
        """A sentence each."""
        found = {
            "lines that are not valid UTF-8": self.undecodable,
            "lines without the text field or that are no JSON": self.unreadable,
            "documents without text": self.empty,
        }
        return [f"{name}: {count} {what} skipped." for what, count in found.items() if count]


class Reader:
    """Reads the files of one domain; knows how many bytes it has read and what it skipped."""

    def __init__(self, text_field: str = "text") -> None:
        self.text_field = text_field
        self.skipped = Skipped()
        self.position = 0
        """bytes of the current file, as it lies on the disk"""

    def parts(self, path: Path) -> Iterator[Part]:
        """The text of a file in order.

        Raises:
            ValueError: if the file is damaged, or has no such column.
        """
        try:
            if path.suffix in (".parquet", ".arrow"):
                yield from self._columns(path)
                return
            with self._opened(path) as stream:
                lines = path.name.removesuffix(".gz").removesuffix(".zst").endswith(".jsonl")
                yield from self._lines(stream) if lines else self._blocks(stream)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[Iterator[bytes]]:
        """Lines of a file as bytes, unpacked."""
        with open(path, "rb") as raw:
            unpacked: IO[bytes] = raw
            if path.suffix == ".gz":
                unpacked = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
            if path.suffix == ".zst":
                unpacked = _zstandard(path).ZstdDecompressor().stream_reader(raw)
                unpacked = _buffered(unpacked)
            yield self._counted(raw, unpacked)

    def _counted(self, raw: IO[bytes], unpacked: IO[bytes]) -> Iterator[bytes]:
        plain = raw is unpacked
        position = 0
        for line in unpacked:
            position += len(line)
            self.position = position if plain else raw.tell()
            yield line

    def _lines(self, lines: Iterator[bytes]) -> Iterator[Part]:
        for line in lines:
            if not line.strip():
                continue
            text = self._text_of(line)
            if text:
                yield Part(text, True)

    def _text_of(self, line: bytes) -> str | None:
        try:
            text = json.loads(line.decode())[self.text_field]
        except UnicodeDecodeError:
            self.skipped.undecodable += 1
            return None
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            self.skipped.unreadable += 1
            return None
        return self._checked(text)

    def _checked(self, text: Any) -> str | None:
        if not isinstance(text, str):
            self.skipped.unreadable += 1
            return None
        if not text:
            self.skipped.empty += 1
            return None
        # JSON may hold half of a surrogate pair, which no tokenizer takes.
        return text.encode("utf-8", "replace").decode()

    def _blocks(self, lines: Iterator[bytes]) -> Iterator[Part]:
        """A plain file is one document, in blocks of whole lines so that memory stays bounded."""
        block, size, starts = list[str](), 0, True
        for line in lines:
            try:
                block.append(line.decode())
            except UnicodeDecodeError:
                self.skipped.undecodable += 1
                continue
            size += len(line)
            if size >= BLOCK:
                yield Part("".join(block), starts)
                block, size, starts = [], 0, False
        if block:
            yield Part("".join(block), starts)

    def _columns(self, path: Path) -> Iterator[Part]:
        import pyarrow as pa

        try:
            for batch in _batches(path):
                if self.text_field not in batch.schema.names:
                    raise ValueError(
                        f"{path}: no column {self.text_field!r}; found "
                        f"{', '.join(batch.schema.names)}. Name the one that holds the text."
                    )
                for text in batch.column(self.text_field).to_pylist():
                    checked = self._checked("" if text is None else text)
                    if checked:
                        yield Part(checked, True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        self.position = path.stat().st_size


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        yield from pq.ParquetFile(path).iter_batches(4096)
        return
    with pa.OSFile(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)
            return
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ValueError(
            f"{path} needs the package zstandard: python -m pip install 'bimix_jax[text]'."
        ) from error
    return zstandard


def _buffered(reader: Any) -> IO[bytes]:
    import io

    return io.BufferedReader(reader, 1 << 20)
