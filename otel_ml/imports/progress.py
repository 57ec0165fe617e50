"""Keeps an import's progress and rejected rows, so that it can continue after it was killed."""

import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml.errors import warn_once

_SAVE_EVERY_S: Final = 1.0


class ImportProgress:
    """The progress of an import. It is kept in a file until the import is complete.

    Args:
        path: File with the progress. None to keep none.
        key: Identifies what is imported. If the file contains the progress of another import, the
            file's content is ignored.
        rejected_path: File for rejected rows, as JSON Lines. It is created with the first rejected
            row. None to write none.

    Attributes:
        done: Number of rows of the source that are stored or rejected.
        rejected: Number of rejected rows, by reason.
        resumed: Number of rows that an earlier, interrupted import has stored.
    """

    def __init__(self, path: Path | None, key: str, rejected_path: Path | None) -> None:
        self._path = path
        self._key = key
        self.rejected_path = rejected_path
        self.done = 0
        self.rejected: Counter[str] = Counter()
        self._rejected_bytes = 0
        self._saved_s = -_SAVE_EVERY_S
        self._load()
        self.resumed = self.done
        if self._rejected_bytes == 0 and rejected_path is not None:
            rejected_path.unlink(missing_ok=True)

    def _load(self) -> None:
        if self._path is None:
            return
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = orjson.loads(self._path.read_bytes())
            if kept["key"] != self._key:
                return
            if self.rejected_path is not None and kept["rejected_bytes"]:
                # Rows written after the last saved progress will be written again, so remove them.
                os.truncate(self.rejected_path, kept["rejected_bytes"])
            self.rejected = Counter({str(why): int(n) for why, n in kept["rejected"].items()})
            self._rejected_bytes = int(kept["rejected_bytes"])
            self.done = int(kept["rows"])

    def reject(self, number: int, row: Mapping[str, Any], reason: str) -> None:
        """Write a rejected row to the file.

        Args:
            number: Number of the row in the source, from 1.
            row: The values of the row.
            reason: Why it was rejected.
        """
        self.rejected[reason] += 1
        if self.rejected_path is None:
            return
        line = orjson.dumps(
            {"row": number, "reason": reason, "values": row},
            default=str,
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS,
        )
        with self.rejected_path.open("ab") as file:
            file.write(line)
        self._rejected_bytes += len(line)

    def advance(self, rows: int) -> None:
        """Record that the first `rows` rows are stored or rejected.

        The progress is saved to the file at most once a second.
        """
        self.done = rows
        if time.monotonic() - self._saved_s >= _SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        self._saved_s = time.monotonic()
        kept = {
            "key": self._key,
            "rows": self.done,
            "rejected": dict(self.rejected),
            "rejected_bytes": self._rejected_bytes,
        }
        written = self._path.with_name(f"{self._path.name}.new")
        try:
            written.write_bytes(orjson.dumps(kept))
            written.replace(self._path)
        except OSError as error:
            warn_once(
                "The import cannot be resumed, because %s cannot be written: %s",
                str(self._path),
                error.strerror or type(error).__name__,
            )
            self._path = None

    def finish(self) -> None:
        """Delete the file with the progress, because the import is complete."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
