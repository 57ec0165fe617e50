"""Imports what another tool exported: sends its records as history, and can be resumed.

A module for each tool converts its formats to records, see `ToolExport`. Batches, retries, progress
and the file of rejected records are the same for all tools.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml.imports.otlp_records import BadRecord, JsonDestination, SourceRecord
from otel_ml.imports.progress import ImportProgress
from otel_ml.imports.sender import HistorySender, ImportBatch
from otel_ml.outlet import Route

# Maximum number of records and bytes in a request. The collector accepts 20 MiB.
_BATCH_RECORDS: Final = 2_000
_BATCH_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """A data set of an export. The rows have the keys that `Dataset` accepts."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    description: str = ""


class ToolExport(ABC):
    """An export of another tool, as the source of an import.

    Attributes:
        source: Name of the format, such as ``phoenix``.
        records: Types of records, such as ``spans``. The report shows their counts even if they are
            0.
        left_out: Number of records that cannot be imported, by type. It is complete when all
            records have been read.
    """

    source: str
    records: Sequence[str] = ()

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    @abstractmethod
    def key(self) -> Any:
        """Return what identifies the content of the export, such as `key_of_files`."""

    @abstractmethod
    def read(self) -> Iterator[SourceRecord | BadRecord]:
        """Yield the records, in the same order each time."""

    def read_datasets(self) -> Iterator[DatasetRows]:
        """Yield the data sets. Called after `read`."""
        yield from ()

    def absent(self) -> Sequence[str]:
        """Return which data of the tool are missing in this export. Call it after `read`."""
        return ()


@dataclass(frozen=True, slots=True)
class ToolImport:
    """The result of importing an export.

    Attributes:
        stored: Number of stored records, by type.
        left_out: Number of records that cannot be imported, by type.
        rejected: Number of rejected records, by reason.
        rejected_file: File that contains the rejected records. None if there are none.
        resumed: Number of records that an earlier, interrupted import had read.
        seconds: Duration of the import in seconds.
    """

    stored: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    rejected_file: Path | None = None
    resumed: int = 0
    seconds: float = 0.0

    def __bool__(self) -> bool:
        """Whether nothing was rejected."""
        return not self.rejected


def key_of_files(files: Sequence[Path]) -> list[Any]:
    """Return what identifies the content of files."""
    found = [(str(file.resolve()), file.stat()) for file in files]
    return [[path, about.st_size, about.st_mtime_ns] for path, about in found]


def import_export(
    export: ToolExport,
    route: Route,
    *,
    rejected: Path,
    progress_file: Path,
    on_progress: Callable[[int], None],
) -> ToolImport:
    """Import the records of an export.

    Importing an export twice stores each record once. If the import is interrupted, call it again
    with the same arguments to continue.

    Args:
        export: The export.
        route: Where to send the records. Its project is used for records that name none.
        rejected: File for rejected records, as JSON Lines.
        progress_file: File that contains the progress until the import is complete.
        on_progress: Called with the number of records that are stored or rejected.

    Raises:
        ValueError: A file is not in the format of the tool that the export comes from.
        OSError: A file cannot be read.
        ImportStopped: The collector does not store the records.
    """
    return _Importer(export, route, on_progress).run(rejected, progress_file)


class _Importer:
    """One import. All records of an export are numbered together, bad ones too."""

    def __init__(self, export: ToolExport, route: Route, report: Callable[[int], None]) -> None:
        self._export = export
        self._sender = HistorySender(route, connect=JsonDestination)
        self._project = route.project
        self._report = report
        self._read: Counter[str] = Counter(dict.fromkeys(export.records, 0))

    def run(self, rejected_path: Path, progress_path: Path) -> ToolImport:
        began_s = time.monotonic()
        progress = ImportProgress(progress_path, self._key(), rejected_path)
        with self._sender.open() as send:
            for batch in send(self._batches(progress.done)):
                self._conclude(batch, progress)
        progress.finish()
        stored = self._read.copy()
        for reason, count in progress.rejected.items():
            stored[reason.partition(":")[0]] -= count
        return ToolImport(
            stored={
                name: stored[name]
                for name in stored
                if stored[name] or name in self._export.records
            },
            left_out=dict(self._export.left_out),
            rejected=dict(progress.rejected),
            rejected_file=rejected_path if progress.rejected else None,
            resumed=progress.resumed,
            seconds=time.monotonic() - began_s,
        )

    def _key(self) -> str:
        facts = [self._export.source, self._export.key(), self._project, self._sender.page]
        return hashlib.sha256(orjson.dumps(facts, default=str)).hexdigest()

    def _batches(self, done: int) -> Iterator[ImportBatch]:
        """Yield the records after the first `done`, in batches of one signal."""
        batch, size = ImportBatch(context={}), 0
        number = 0
        for number, record in enumerate(self._export.read(), 1):
            self._read[record.name] += 1
            if number <= done:
                continue
            weight = _weigh(record, batch)
            if _is_full(batch, record, size + weight):
                yield batch
                batch, size = ImportBatch(context={}), 0
            batch.context[number - 1] = record
            if isinstance(record, BadRecord):
                batch.rejected[number - 1] = record.reason
            else:
                batch.spans.append(record)
                batch.owners.append(number - 1)
            batch.upto, size = number, size + weight
        batch.upto = number
        yield batch

    def _conclude(self, batch: ImportBatch, progress: ImportProgress) -> None:
        for number, reason in sorted(batch.rejected.items()):
            record = batch.context[number]
            is_bad = isinstance(record, BadRecord)
            content = record.content if is_bad else orjson.loads(record.item)
            row = {"file": record.place.file, record.name.removesuffix("s"): _writable(content)}
            progress.reject(record.place.number, row, f"{record.name}: {reason}")
        progress.advance(max(batch.upto, progress.done))
        self._report(progress.done)


def _writable(content: Any) -> Any:
    """Return a value that can be written as JSON: the value, or a note if it is too deep."""
    try:
        orjson.dumps(content, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return "(nested too deeply to be written)"
    return content


def _weigh(record: SourceRecord | BadRecord, batch: ImportBatch) -> int:
    """Return by how many bytes a record makes a request larger."""
    if isinstance(record, BadRecord):
        return 0
    is_shared = batch.spans and batch.spans[-1].resource is record.resource
    return len(record.item) + (0 if is_shared else record.resource.size)


def _is_full(batch: ImportBatch, record: SourceRecord | BadRecord, size: int) -> bool:
    """Return whether a record must not be added to a batch, because it would get too large.

    The records of a batch have the same signal.
    """
    if not batch.context:
        return False
    is_other = (
        isinstance(record, SourceRecord)
        and batch.spans
        and batch.spans[-1].signal is not record.signal
    )
    return bool(is_other or len(batch.context) >= _BATCH_RECORDS or size > _BATCH_BYTES)
