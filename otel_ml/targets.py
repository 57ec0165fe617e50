"""Records about runs that are elsewhere: in another process, over, or known by a name only."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.arguments import invalid
from otel_ml.described import text_of
from otel_ml.handle import Handle
from otel_ml.recorder import Recorder
from otel_ml.redaction import Redaction
from otel_ml.tags import Details, Value, tag_attributes
from otel_ml.updates import POINTS
from otel_ml.values import clean
from otel_ml.wire import Attributes, Event, Point, point_attributes

_RUN_ID: Final = re.compile("([0-9a-f]{32})-([0-9a-f]{16})")


class Elsewhere(Handle):
    """Whatever a run id, a trace key or a tag names; each call sends a record of its own.

    Args:
        recorder: Sends them.
        target: The attributes that name it.
        span: The run's span, when its id is known: the records join its trace.
    """

    __slots__ = ("_recorder", "_span", "_target")

    def __init__(
        self, recorder: Recorder, target: Mapping[str, Value], span: trace.Span | None
    ) -> None:
        self._recorder = recorder
        self._target = target
        self._span = span

    def _add_tags(self, tags: dict[str, Value], details: Details) -> None:
        if tags:
            self._send("update", tag_attributes(self._recorder.redaction.values(tags), details))

    @property
    def _redaction(self) -> Redaction | None:
        return self._recorder.redaction if self._is_open else None

    def _add_event(self, event: Event) -> None:
        self._send("update", {}, [event])

    def _upload(self, sha256: str, document: bytes) -> str | None:
        return self._recorder.upload(sha256, document)

    def _note(self, part: str, *notes: str) -> None:
        """Nothing to do: the event says what it lacks, and the run's own span is not here."""

    def _add_points(self, points: Sequence[Point]) -> None:
        for start in range(0, len(points), POINTS):
            self._send("update", point_attributes(points[start : start + POINTS]))

    def _send_feedback(self, said: dict[str, Value]) -> None:
        self._send("evaluation", self._recorder.redaction.values(said))

    @property
    def _is_open(self) -> bool:
        return self._recorder.active() is not None

    def _send(self, record: str, said: Attributes, events: Sequence[Event] = ()) -> None:
        if self._is_open:
            about = {**said, **self._target}
            self._recorder.send_record(record, self._span, about, events)


def about(
    recorder: Recorder,
    run_id: str | None = None,
    trace_key: str | None = None,
    tag: tuple[str, object] | None = None,
) -> Elsewhere:
    """Name a run, or runs, by exactly one of these.

    Raises:
        ValueError: None or several are given, the run id is none, or the tag no pair.
    """
    if sum(item is not None for item in (run_id, trace_key, tag)) != 1:
        raise ValueError("Invalid target: expected exactly one of run_id, trace_key, tag")
    if trace_key is not None:
        return Elsewhere(recorder, {names.TARGET_TRACE_KEY: clean(text_of(trace_key))}, None)
    if tag is not None:
        if not issubclass(type(tag), tuple | list) or len(tag) != 2:  # noqa: PLR2004 - a pair
            raise invalid("tag", tag, "a pair of name and value")
        name, value = map(text_of, tag)
        return Elsewhere(recorder, {names.TARGET_TAG: clean(f"{name}={value}")}, None)
    found = _RUN_ID.fullmatch(str(run_id)) if issubclass(type(run_id), str) else None
    if found is None:
        raise invalid("run_id", run_id, "32 and 16 hex digits with a dash between")
    above = SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(TraceFlags.SAMPLED))
    return Elsewhere(recorder, {names.TARGET_RUN: found[0]}, NonRecordingSpan(above))
