"""What spans of ours say of the processes that send them: that they live, and their numbers."""

from dataclasses import dataclass, field
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.values import to_int
from otel_ml_collector.records import Arrivals, ProcessSign
from otel_ml_collector.span import Span

NO_PROCESS: Final = "record_without_process"
SIGNS: Final = frozenset({"heartbeat", "goodbye"})
_MAX_CHARS: Final = 64
_HOUR_NS: Final = 3600 * 10**9
_MINUTE_NS: Final = 60 * 10**9
_LATE_NS: Final = 5 * _MINUTE_NS
_HIGHEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Heard:
    """What is heard of processes over the spans of one request.

    Attributes:
        now_ns: When the request came.
        signs: That they live, by project and process.
        arrivals: Their numbers, by project, process and hour.
    """

    now_ns: int
    signs: dict[tuple[str, str], ProcessSign] = field(default_factory=dict)
    arrivals: dict[tuple[str, str, int], Arrivals] = field(default_factory=dict)


def process_of(span: Span) -> str:
    """Name the process that sent a span of ours; empty when it is not told."""
    process = span.attributes.get(names.PROCESS)
    return process if isinstance(process, str) and len(process) <= _MAX_CHARS else ""


def hear(span: Span, project: str, heard: Heard) -> None:
    """Add that the process of a span lives, its number, and what it tells of itself."""
    process = process_of(span)
    if not process:
        return
    arrivals = _note_number(span, project, process, heard)
    record = span.attributes.get(names.RECORD, "run")
    told = record in SIGNS if isinstance(record, str) else False
    key = (project, process)
    if key in heard.signs and not told:
        return
    sign = ProcessSign(
        project,
        process,
        heartbeat_ns=span.start_ns if record == "heartbeat" else 0,
        goodbye_ns=span.start_ns if record == "goodbye" else 0,
        seq=_count(span, names.SEQ) if told else 0,
        dropped=_count(span, names.DROPPED) if told else 0,
    )
    heard.signs[key] = heard.signs[key].join(sign) if key in heard.signs else sign
    if arrivals is not None:
        arrivals.dropped = max(arrivals.dropped, sign.dropped)
        if record == "goodbye":  # the last that it sends: nothing is on its way after it
            arrivals.settled = max(arrivals.settled, sign.seq)


def _note_number(span: Span, project: str, process: str, heard: Heard) -> Arrivals | None:
    """Add the number of a span, if it has one, to those of its process and hour."""
    number = span.attributes.get(names.SEQ)
    if type(number) is not int or not 0 < number <= _HIGHEST:
        return None
    key = (project, process, span.end_ns // _HOUR_NS)
    arrivals = heard.arrivals.get(key)
    if arrivals is None:
        arrivals = heard.arrivals[key] = Arrivals(*key, heard.now_ns // _MINUTE_NS)
    is_late = heard.now_ns - span.end_ns > _LATE_NS
    (arrivals.late if is_late else arrivals.timely).append(number)
    return arrivals


def _count(span: Span, name: str) -> int:
    return min(max(to_int(span.attributes.get(name)) or 0, 0), _HIGHEST)
