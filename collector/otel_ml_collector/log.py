"""The collector's own log: text or JSON lines, with a limit on repeated lines."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from otel_ml_collector.errors import CollectorError, InternalError

LINES: Final = 300
WINDOW_S: Final = 60.0
_LINE_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_logger = logging.getLogger(__name__)
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@contextmanager
def going_on(report: Callable[[Exception], object]) -> Iterator[None]:
    """Pass an exception in this block to `report` and continue after it; for worker loops."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the only place: `errors` lists who uses it
        report(error)


@contextmanager
def contained(part: str, *passed: type[Exception]) -> Iterator[None]:
    """Log an unexpected error in this block, and raise it as `InternalError`.

    Args:
        part: What the block computes, as a noun such as `slices`. It is logged and shown, and is a
            constant in the code.
        passed: Further types of errors that the caller handles.

    Raises:
        InternalError: The block raised an error that is none of the collector's own.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (CollectorError, *passed)):
            raise
        if _PART_ERRORS.is_due(f"{part} {type(error).__name__}"):
            _logger.exception("An internal error in %s; other parts are not affected", part)
        raise InternalError(part, type(error).__name__) from error


class OnceAMinute:
    """Allows each problem to be logged once per `WINDOW_S`. Metrics still count every occurrence.

    Each problem has a name, its topic. Topics are constants in the code, so there are few. Safe to
    call from any thread.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._until_s: dict[str, float] = {}

    def is_due(self, topic: str) -> bool:
        """Return whether to log a topic now. If so, the topic is silent for `WINDOW_S` seconds."""
        with self._lock:
            now_s = self._now_s()
            if now_s < self._until_s.get(topic, now_s):
                return False
            self._until_s[topic] = now_s + WINDOW_S
            return True


@dataclass(slots=True)
class _Line:
    until_s: float
    lines: int = 0
    left_out: int = 0


_PART_ERRORS: Final = OnceAMinute()


class LogRate(logging.Filter):
    """Allows each log statement `LINES` lines a minute; the next line counts those left out."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._lock = threading.Lock()
        # At most one entry per log statement.
        self._places: dict[tuple[str, int], _Line] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record."""
        with self._lock:
            now_s = self._now_s()
            name = (record.pathname, record.lineno)
            place = self._places.setdefault(name, _Line(now_s + WINDOW_S))
            left_out = 0
            if now_s >= place.until_s:
                left_out = place.left_out
                place = self._places[name] = _Line(now_s + WINDOW_S)
            place.lines += 1
            place.left_out += place.lines > LINES
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} lines like this were left out)"
            record.args = ()
        return place.lines <= LINES


class JsonFormatter(logging.Formatter):
    """Formats time, level, logger and message as JSON, followed by the fields in ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line. Values that JSON cannot represent become text."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging(level: str, form: str) -> None:
    """Log to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text`` or ``json``.
    """
    handler = logging.StreamHandler()
    handler.addFilter(LogRate())
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_LINE_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # It logs a warning per invalid request, so any client could fill the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
