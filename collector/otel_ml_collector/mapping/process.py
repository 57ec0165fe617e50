"""Signs of life of sending processes: `heartbeat`, `goodbye`, and every other span of ours."""

from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.values import to_int
from otel_ml_collector.records import ProcessSign
from otel_ml_collector.span import Span

NO_PROCESS: Final = "record_without_process"
SIGNS: Final = frozenset({"heartbeat", "goodbye"})
_MAX_CHARS: Final = 64


def process_of(span: Span) -> str:
    """Name the process that sent a span of ours; empty when it is not told."""
    process = span.attributes.get(names.PROCESS)
    return process if isinstance(process, str) and len(process) <= _MAX_CHARS else ""


def hear(span: Span, project: str, signs: dict[tuple[str, str], ProcessSign]) -> None:
    """Add that the process of a span lives, or what it tells of itself, to what is known."""
    key = (project, process_of(span))
    record = span.attributes.get(names.RECORD, "run")
    told = record in SIGNS if isinstance(record, str) else False
    if not key[1] or (key in signs and not told):
        return
    sign = ProcessSign(
        *key,
        heartbeat_ns=span.start_ns if record == "heartbeat" else 0,
        goodbye_ns=span.start_ns if record == "goodbye" else 0,
        seq=_count(span, names.SEQ) if told else 0,
        dropped=_count(span, names.DROPPED) if told else 0,
    )
    signs[key] = signs[key].join(sign) if key in signs else sign


def _count(span: Span, name: str) -> int:
    return max(to_int(span.attributes.get(name)) or 0, 0)
