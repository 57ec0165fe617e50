"""How the collector's own log is written: as text, or as one JSON object a line."""

import json
import logging
from datetime import datetime, timezone
from typing import Final

from otel_ml_collector.log_rate import LogRate

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger and message, then what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line; a value that JSON has not is written as text."""
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
    """Let the process log to its standard error.

    Args:
        level: debug, info, warning or error.
        form: text or json.
    """
    handler = logging.StreamHandler()
    handler.addFilter(LogRate())
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # Its warnings are one line for each bad request, as many as somebody likes to send.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
