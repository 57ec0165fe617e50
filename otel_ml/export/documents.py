"""Documents that wait for their upload: in memory, bounded in bytes, or on disk."""

import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from otel_ml.errors import report

MAX_BYTES: Final = 256 * 1024 * 1024
LOOK_EVERY_S: Final = 2.0

_NEW: Final = ".new"
_ABANDONED_S: Final = 3_600.0
_SHA256_CHARS: Final = 64


class Document(NamedTuple):
    """JSON text and its hash, in hex."""

    sha256: str
    body: bytes


class DocumentBatch:
    """One document on its way."""

    count = 1

    def __init__(self, document: Document) -> None:
        self.document = document

    def halves(self) -> "list[DocumentBatch]":
        """Return itself: a document has no halves."""
        return [self]


class DocumentQueue:
    """Documents in memory; what is taken takes its room until it is settled."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Begin empty, also in a forked child, where a lock of the parent's may be held."""
        self._lock = threading.RLock()
        self._waiting: deque[Document] = deque()
        self._sizes: dict[str, int] = {}

    @property
    def look_every_s(self) -> float | None:
        """Never: nobody else puts documents here."""
        return None

    @property
    def pending(self) -> int:
        """How many documents are neither uploaded nor given up."""
        return len(self._sizes)

    def holds(self, sha256: str) -> bool:
        """Tell whether a document is on its way."""
        return sha256 in self._sizes

    def put(self, document: Document, /) -> bool:
        """Append a document; returns False when there is no room."""
        with self._lock:
            if document.sha256 in self._sizes:
                return True
            if sum(self._sizes.values()) + len(document.body) > self._max_bytes:
                return False
            self._sizes[document.sha256] = len(document.body)
            self._waiting.append(document)
        return True

    def hold(self, document: Document, /) -> None:
        """Nothing to do: memory ends with its process."""

    def take(self, max_spans: int, max_bytes: int) -> DocumentBatch | None:
        """Take the oldest document, or None when there is none."""
        with self._lock:
            return DocumentBatch(self._waiting.popleft()) if self._waiting else None

    def settle(self, batch: DocumentBatch) -> None:
        """Forget a document that was taken: it is uploaded or given up."""
        with self._lock:
            self._sizes.pop(batch.document.sha256, None)

    def leave(self, batch: DocumentBatch) -> int:
        """Give up a document that was taken; returns how many are lost with it."""
        self.settle(batch)
        return 1

    def close(self) -> int:
        """Give up what waits; returns how many documents are lost: all."""
        with self._lock:
            left = len(self._sizes)
            self._waiting.clear()
            self._sizes.clear()
        return left


class SpooledDocuments:
    """Documents on disk, each a file of its own, written before `put` returns.

    Processes of one destination may share the directory: each uploads what is there, and to
    upload twice is harmless. The directory is made with the first document.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] = {}
        self.clear()
        self._remove_abandoned()
        self._look()

    def clear(self) -> None:
        """Begin anew in a forked child; what is on disk is anybody's."""
        self._lock = threading.RLock()  # one of the parent's may be held

    @property
    def look_every_s(self) -> float | None:
        """How often to take though nothing is pending: other processes leave documents behind."""
        return LOOK_EVERY_S

    @property
    def pending(self) -> int:
        """How many documents were there when somebody looked last."""
        return len(self._sizes)

    def holds(self, sha256: str) -> bool:
        """Tell whether a document is on its way."""
        return sha256 in self._sizes

    def put(self, document: Document, /) -> bool:
        """Write a document; returns False when there is no room for it, or the disk refuses."""
        size = len(document.body)
        with self._lock:
            if document.sha256 in self._sizes:
                return True
            if sum(self._sizes.values()) + size > self._max_bytes:
                return False
            self._sizes[document.sha256] = size
            try:
                self._write(document)
            except OSError as error:
                report("spool", error)
                del self._sizes[document.sha256]
                return False
        return True

    def hold(self, document: Document, /) -> None:
        """Nothing to do: a document is sent whatever becomes of its run."""

    def take(self, max_spans: int, max_bytes: int) -> DocumentBatch | None:
        """Take a document, also one of a process that ended; None when there is none."""
        self._look()
        with self._lock:
            for sha256 in list(self._sizes):
                try:
                    body = (self._directory / sha256).read_bytes()
                except OSError:  # another process uploaded it
                    del self._sizes[sha256]
                else:
                    return DocumentBatch(Document(sha256, body))
        return None

    def settle(self, batch: DocumentBatch) -> None:
        """Remove a document that is uploaded, or refused for good."""
        with self._lock:
            with suppress(OSError):
                (self._directory / batch.document.sha256).unlink()
            self._sizes.pop(batch.document.sha256, None)

    def leave(self, batch: DocumentBatch) -> int:
        """Leave a document on disk; returns how many are lost by that: none."""
        return 0

    def close(self) -> int:
        """Leave what waits to the next process; returns how many are lost: none."""
        return 0

    def _write(self, document: Document) -> None:
        """Write a file that is there whole or not at all."""
        unfinished = self._directory / f"{document.sha256}.{os.getpid()}{_NEW}"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        try:
            unfinished.write_bytes(document.body)
            unfinished.replace(self._directory / document.sha256)
        finally:
            unfinished.unlink(missing_ok=True)

    def _look(self) -> None:
        found: list[tuple[float, str, int]] = []
        with self._lock:
            with suppress(OSError), os.scandir(self._directory) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if len(entry.name) == _SHA256_CHARS:
                            status = entry.stat(follow_symlinks=False)
                            found.append((status.st_mtime, entry.name, status.st_size))
            self._sizes = {name: size for _, name, size in sorted(found)}

    def _remove_abandoned(self) -> None:
        """Remove what processes that were killed did not finish to write."""
        for path in self._directory.glob(f"*{_NEW}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
