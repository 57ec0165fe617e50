"""Looks once a minute for what was sent but is not here: for the log, Prometheus and the pages."""

import logging
from collections.abc import Sequence
from typing import Final

from otel_ml_collector.access import Access
from otel_ml_collector.loss.find import last_day, read_loss, read_totals
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.telemetry import LossNumbers, Missed, Remembered
from otel_ml_collector.times import HOUR_NS, to_rfc3339

_LINES: Final = 10
_ROWS: Final = 1_000
_TOLD: Final = 20_000
_SHOWN: Final = 10

_logger = logging.getLogger(__name__)


class LossWatch:
    """Asks the store what is missing of the last 24 hours, and keeps the answer.

    Args:
        reader: The store.
        numbers: Are told what is found.
    """

    def __init__(self, reader: Reader, numbers: LossNumbers) -> None:
        self._reader = reader
        self._numbers = numbers
        self._missing: Sequence[tuple[str, int]] = ()
        self._told: Remembered[tuple[str, str, int], bool] = Remembered(_TOLD)

    def look(self, now_ns: int) -> None:
        """Look once; log what is missing, once for each process and hour, at most ten lines."""
        hours = last_day(now_ns)
        totals = read_totals(self._reader, hours)
        self._numbers.tell({row["project"]: Missed(row["missing"], row["late"]) for row in totals})
        missing = [(row["project"], row["missing"]) for row in totals if row["missing"]]
        self._missing = sorted(missing, key=lambda one: (-one[1], one[0]))
        if missing:
            rows = read_loss(self._reader, hours, limit=_ROWS, only_missing=True)
            self._log([row for row in rows if self._is_news(row)])

    def missing_of(self, access: Access, project: str | None = None) -> list[tuple[str, int]]:
        """Name projects that miss spans, and how many: ten that may be read, or the one asked."""
        return [
            (name, number)
            for name, number in self._missing
            if access.reaches(name) and project in {None, name}
        ][:_SHOWN]

    def _is_news(self, row: Row) -> bool:
        return self._told.put((row["project"], row["process"], row["hour"]), True)

    def _log(self, rows: Sequence[Row]) -> None:
        for row in rows[:_LINES]:
            _logger.warning(
                "%d spans of process %r, project %r, were sent but are not here (lost, or dropped "
                "by sampling on the way), in the hour from %s",
                row["missing"],
                row["process"],
                row["project"],
                to_rfc3339(row["hour"] * HOUR_NS),
            )
        rest = rows[_LINES:]
        if rest:
            _logger.warning(
                "%d spans of %d other processes and hours were sent but are not here",
                sum(row["missing"] for row in rest),
                len(rest),
            )
