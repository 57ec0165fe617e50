"""Looks at the directory from time to time: keeps its limits, finds what the dead left."""

import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from otel_ml.export.spool.adopter import Adopter, count_unsent
from otel_ml.export.spool.chain import Chain
from otel_ml.export.spool.counters import Counters
from otel_ml.export.spool.directory import SegmentFile, list_files, lock_file, remove
from otel_ml.export.spool.gate import Gate

# With very many files a look takes long: it may cost a fiftieth of the time.
_SHARE: Final = 50

_logger = logging.getLogger(__name__)


class Keeper:
    """Removes the oldest segments of the directory, whoever wrote them, beyond its limits.

    Only the newest segment of a process that lives is spared. A removed one of another process
    that lives is counted there, as vanished.
    """

    def __init__(
        self,
        directory: str,
        gate: Gate,
        counters: Counters,
        *,
        limit_bytes: int,
        max_age_s: float,
        look_every_s: float,
    ) -> None:
        self._directory = directory
        self._gate = gate
        self._counters = counters
        self._limit_bytes = limit_bytes
        self._max_age_s = max_age_s
        self._look_every_s = look_every_s
        self._due_at = 0.0
        self._bytes = 0
        self._is_drop_told = False

    def look(self, chain: Chain, adopter: Adopter) -> None:
        """Do what is due. Called by the reader, outside the gate."""
        self._tell()
        began = time.monotonic()
        if began < self._due_at:
            return
        files = list_files(self._directory)
        with self._gate.entered():
            if not chain.is_current_here():
                with suppress(OSError):
                    chain.choose()
            self._keep(files, chain, adopter)
            others = [file for file in files if file.owner != chain.owner]
            adopter.offer(dict.fromkeys(file.owner for file in others if not file.suffix))
        self._tell()
        _remove_unborn(others)
        if self._look_every_s:
            now = time.monotonic()
            self._due_at = now + max(self._look_every_s, (now - began) * _SHARE)

    def rotated(self, size: int, chain: Chain, adopter: Adopter) -> None:
        """Keep the limits after a segment of so many bytes was filled. Called inside the gate."""
        self._bytes += size
        if self._bytes > self._limit_bytes or time.monotonic() >= self._due_at:
            self._keep(list_files(self._directory), chain, adopter)

    def _keep(self, files: list[SegmentFile], chain: Chain, adopter: Adopter) -> None:
        total = sum(file.size for file in files)
        oldest_s = time.time() - self._max_age_s
        newest = {file.owner: file.path for file in sorted(files, key=_number) if not file.suffix}
        for file in files:
            if total <= self._limit_bytes and file.changed_s >= oldest_s:
                break
            unsent = chain.drop(file.path)
            if unsent is None:
                unsent = adopter.drop(file.path)
            if unsent is None and file.owner != chain.owner:
                unsent = _drop_foreign(file, newest.get(file.owner))
            if unsent is not None:
                total -= file.size
                self._counters.dropped_by_limit += unsent
        self._bytes = total

    def _tell(self) -> None:
        """Say once that spans were dropped, outside the gate: a log handler may hold locks."""
        if self._counters.dropped_by_limit and not self._is_drop_told:
            self._is_drop_told = True
            _logger.warning(
                "Spool %s is over its limits: %d spans were dropped, counted from now on",
                self._directory,
                self._counters.dropped_by_limit,
            )


def _number(file: SegmentFile) -> int:
    return file.number


def _drop_foreign(file: SegmentFile, newest: str | None) -> int | None:
    """Remove a file of another process; None when it must stay."""
    if file.suffix or newest is None:
        remove(file.path)
        return 0
    fd = lock_file(newest)
    if fd is None:  # its process lives, or another one has adopted it
        if file.path == newest:
            return None
        remove(file.path)
        return 0
    try:
        unsent = count_unsent(file.path)
        remove(file.path)
    finally:
        os.close(fd)
    return unsent


def _remove_unborn(files: Iterable[SegmentFile]) -> None:
    """Remove segments whose process was killed while it created them."""
    for file in files:
        fd = lock_file(file.path) if file.suffix == ".new" else None
        if fd is not None:
            remove(file.path)
            os.close(fd)
