"""Uploads documents that are too large for a span event, each once, identified by hash.

Documents have their own pipeline. One can have 64 MiB, and spans must not wait for such an upload.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from otel_ml.addresses import write_segment
from otel_ml.errors import report
from otel_ml.export.delivery import Counters, Delivery
from otel_ml.export.pipeline import AnyDestination, LateDestination, Pace, Pipeline
from otel_ml.export.settings import ExportSettings

MAX_BYTES: Final = 256 * 1024 * 1024
CHECK_EVERY_S: Final = 2.0

_NEW: Final = ".new"
_ABANDONED_S: Final = 3_600.0
_SHA256_CHARS: Final = 64
_KNOWN_DOCUMENTS: Final = 4_096
_KNOWN_DOCUMENT_S: Final = 3_600.0  # then upload again: the collector may have deleted it

MakeDestination = Callable[[str, Callable[[str], None]], "AnyDestination[HashedText]"]


@dataclass(frozen=True, slots=True)
class HashedText:
    """A value that is too large for a span and is uploaded separately: a file and its SHA-256.

    A `Pipeline` sends it like a batch of spans.
    """

    sha256: str
    body: bytes
    count: ClassVar[int] = 1

    def halves(self) -> "list[HashedText]":
        """Return itself, because a document cannot be split."""
        return [self]


class DocumentQueue:
    """A queue of values to upload, called documents, with a limit on their total size.

    The queue is in memory or on disk. On disk, each document is a file, which is written before
    `put` returns. Several processes can share the directory and upload each other's documents. If
    two of them upload the same document, nothing is stored twice.

    Args:
        directory: Directory of the queue. It is created with the first document. None for memory.
        max_bytes: Maximum total size in bytes, including documents that are being uploaded.
    """

    def __init__(self, directory: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        # check only a directory: other processes may leave documents in it
        self.check_every_s = None if directory is None else CHECK_EVERY_S
        self._directory = directory
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        self._bodies: dict[str, bytes] = {}  # only for a queue in memory
        self.clear()
        if directory is not None:
            _remove_abandoned(directory)
            self._check(directory)

    def clear(self) -> None:
        """Reset the queue in a forked child process. Documents on disk stay."""
        self._lock = threading.RLock()  # a lock that was copied while held stays locked
        if self._directory is None:
            self._sizes, self._bodies = {}, {}

    @property
    def pending(self) -> int:
        """Number of documents that still have to be uploaded."""
        return len(self._sizes)

    def rescan(self) -> None:
        """Do nothing, because every `take` looks for documents of other processes."""

    def holds(self, sha256: str) -> bool:
        """Tell whether a document is queued."""
        return sha256 in self._sizes

    def put(self, document: HashedText, /) -> bool:
        """Queue a document. Returns False if there is no space or writing to disk fails."""
        sha256, size = document.sha256, len(document.body)
        with self._lock:
            if sha256 in self._sizes:
                return True
            if sum(self._sizes.values()) + size > self._max_bytes:
                return False
            self._sizes[sha256] = size
            try:
                if self._directory is None:
                    self._bodies[sha256] = document.body
                else:
                    _write(self._directory, document)
            except OSError as error:
                report("spool", error)
                del self._sizes[sha256]
                return False
        return True

    def hold(self, document: HashedText, /) -> None:
        """Do nothing. Only spans need this; documents are sent whether or not their run ends."""

    def has_batch(self, max_spans: int, max_bytes: int) -> bool:
        """Tell whether a document waits. The arguments are ignored."""
        return bool(self._sizes)

    def report_batch(self, max_spans: int, max_bytes: int, report: Callable[[], object]) -> None:
        """Do nothing, because documents are sent without delay."""

    def take(self, max_spans: int, max_bytes: int) -> HashedText | None:
        """Return the oldest value that is waiting for upload, or None if there is none.

        If the queue is on disk, it may be a value that another process left when it ended.

        Args:
            max_spans: Ignored. Queues of spans have this argument too.
            max_bytes: Ignored, too.
        """
        if self._directory is not None:
            self._check(self._directory)
        with self._lock:
            for sha256 in list(self._sizes):
                try:
                    body = self._bodies.get(sha256)
                    if self._directory is not None:
                        body = (self._directory / sha256).read_bytes()
                except OSError:  # another process has uploaded it
                    body = None
                if body is not None:
                    return HashedText(sha256, body)
                del self._sizes[sha256]
        return None

    def remove(self, document: HashedText) -> None:
        """Remove a document that was uploaded or given up."""
        with self._lock:
            self._bodies.pop(document.sha256, None)
            if self._directory is not None:
                with suppress(OSError):
                    (self._directory / document.sha256).unlink()
            self._sizes.pop(document.sha256, None)

    def leave(self, document: HashedText) -> int:
        """Give up on uploading a document, because the process is ending.

        Returns:
            Number of lost documents: 1 if the document was only in memory. 0 if it is on disk,
            because a later process uploads it then.
        """
        if self._directory is not None:
            return 0
        self.remove(document)
        return 1

    def close(self) -> int:
        """Close the queue. Returns how many documents are lost: all in memory, none on disk."""
        if self._directory is not None:
            return 0
        with self._lock:
            left = len(self._sizes)
            self._sizes, self._bodies = {}, {}
        return left

    def _check(self, directory: Path) -> None:
        items: list[tuple[float, str, int]] = []
        with self._lock:
            with suppress(OSError), os.scandir(directory) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if len(entry.name) == _SHA256_CHARS:
                            status = entry.stat(follow_symlinks=False)
                            items.append((status.st_mtime, entry.name, status.st_size))
            self._sizes = {name: size for _, name, size in sorted(items)}


def _write(directory: Path, document: HashedText) -> None:
    """Write a file atomically."""
    unfinished = directory / f"{document.sha256}.{os.getpid()}{_NEW}"
    directory.mkdir(mode=0o700, exist_ok=True)
    try:
        unfinished.write_bytes(document.body)
        unfinished.replace(directory / document.sha256)
    finally:
        unfinished.unlink(missing_ok=True)


def _remove_abandoned(directory: Path) -> None:
    """Remove files that killed processes did not finish writing."""
    for path in directory.glob(f"*{_NEW}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()


class _Uploaded:
    """The documents that this process uploaded in the last hour."""

    def __init__(self) -> None:
        self._at_s: OrderedDict[str, float] = OrderedDict()

    def note(self, sha256: str) -> None:
        """Record an upload."""
        self._at_s[sha256] = time.monotonic()
        while len(self._at_s) > _KNOWN_DOCUMENTS:
            self._at_s.popitem(last=False)

    def has(self, sha256: str) -> bool:
        """Tell whether a document was uploaded recently."""
        at_s = self._at_s.get(sha256)
        return at_s is not None and time.monotonic() - at_s < _KNOWN_DOCUMENT_S


class DocumentUploads:
    """Uploads values that are too large for a span, in a background thread.

    A value is identified by its hash, and uploaded once. The thread starts with the first value.

    Args:
        settings: Export settings, as for spans.
        project: Project that the values belong to.
        make: Function that creates an `ArtifactDestination` with the arguments `below` and `note`.
        spool: Directory for values that are not uploaded yet. None keeps them in memory.
    """

    def __init__(
        self,
        settings: ExportSettings,
        project: str,
        make: MakeDestination,
        spool: Path | None = None,
    ) -> None:
        self._below = f"/api/v1/projects/{write_segment(project)}/artifacts/"
        self._uploaded = _Uploaded()
        destination = self._destination_at(settings, make)
        if spool is not None:
            import hashlib  # imported here because it takes 7 ms and few clients have a spool

            # hashed, because a project name may not be a valid file name
            name = hashlib.sha256(project.encode("utf-8", "replace")).hexdigest()[:16]
            spool /= f"artifacts-{name}"
        self._queue = DocumentQueue(spool)
        # one document per request, without delay
        pace = Pace(batch_spans=1, delay_s=0.0)
        self._pipeline = Pipeline(self._queue, destination, pace, what="artifacts")
        self._is_used = self._queue.pending > 0
        if self._is_used:  # left behind by an earlier process
            self._pipeline.wake()

    def redirect(self, settings: ExportSettings, make: MakeDestination) -> None:
        """Upload to another collector from now on, also the values that are queued."""
        self._pipeline.redirect(self._destination_at(settings, make))

    def _destination_at(
        self, settings: ExportSettings, make: MakeDestination
    ) -> LateDestination[HashedText]:
        self._address = settings.page + self._below
        return LateDestination(settings.page, lambda: make(self._below, self._uploaded.note))

    def put(self, document: HashedText) -> str | None:
        """Queue a value for upload. Returns its future URL, or None if the queue is full.

        Each value is uploaded once: a value that is already queued, or was uploaded by this process
        in the last hour, is not queued again. If the queue is full, the call waits briefly for
        space.

        Args:
            document: The value as a file, with its SHA-256.
        """
        sha256 = document.sha256
        if not self._uploaded.has(sha256):
            self._is_used = True
            self._pipeline.put(document)
            if not (self._queue.holds(sha256) or self._uploaded.has(sha256)):
                return None
        return self._address + sha256

    @property
    def pending(self) -> int:
        """Number of values that are neither uploaded nor lost."""
        return self._pipeline.pending

    @property
    def counters(self) -> Counters:
        """Counts of uploaded and lost values. Reasons for losses are messages of the receiver."""
        return self._pipeline.counters

    @property
    def lost(self) -> dict[str, int]:
        """Number of values that are lost for good, by reason."""
        return _of_artifacts(self.counters.lost)

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> Delivery:
        """Wait until the values queued so far are uploaded or lost, see `Pipeline.flush`."""
        if not self._is_used:
            return Delivery()
        delivery = self._pipeline.flush(timeout_s, is_hasty=is_hasty)
        return replace(delivery, lost=_of_artifacts(delivery.lost))

    def hasten(self) -> None:
        """Upload immediately instead of with delay. Called when the process is ending."""
        if self._is_used:
            self._pipeline.hasten()

    def close(self, timeout_s: float) -> None:
        """Upload all queued values, then stop."""
        if self._is_used:
            self._pipeline.close(timeout_s)


def _of_artifacts(lost: Mapping[str, int]) -> dict[str, int]:
    return {f"artifact: {reason}": count for reason, count in lost.items()}
