"""Reads inputs and outputs of calls that arrived as log records."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.chat import line_in, line_of_error, line_out
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CallEvent,
    event_of,
    read_content,
    read_error,
    read_names,
)
from otel_ml_collector.records import LateLog, Run

_MOST_EVENTS: Final = 1_000  # per run


@dataclass(frozen=True, slots=True)
class CallContent:
    """Content of a run from its log records. Missing parts are empty.

    Attributes:
        texts: Values of text fields of the run, by name.
        amounts: Tokens and cost, by name.
    """

    texts: Mapping[str, str]
    amounts: Sequence[tuple[str, Any]] = ()

    def complete(self, run: Run) -> dict[str, Any]:
        """Return the fields that a run lacks and that its log records contain."""
        found = {name: text for name, text in self.texts.items() if not getattr(run, name)}
        missing = ((name, value) for name, value in self.amounts if getattr(run, name) is None)
        return found | dict(missing)


def group_events(logs: Iterable[LateLog]) -> dict[str, list[CallEvent]]:
    """Group log records by the run that they are about: each once, oldest first."""
    unique = {(log.owner, log.record_id, log.position): log for log in logs}
    ordered = sorted(
        unique.values(), key=lambda log: (log.line.time_ns, log.record_id, log.position)
    )
    events: defaultdict[str, list[CallEvent]] = defaultdict(list)
    for log in ordered:
        line = log.line
        events[log.owner].append(event_of(log.event, line.time_ns, line.message, log.attributes))
    return dict(events)


def read_contents(events: Sequence[CallEvent], run: Run) -> CallContent:
    """Read content, session and user of a call from its log records, and its error if any."""
    events = events[:_MOST_EVENTS]
    content = read_content(events)
    error_type, message = read_error(events) if run.outcome == "error" else ("", "")
    outputs = line_out(content["outputs"][0], run.kind) if "outputs" in content else ""
    amounts = tuple((name, content[name]) for name in (*TOKENS, "cost") if name in content)
    failure = line_of_error(error_type, message) if error_type or message else ""
    texts = {
        "inputs_preview": line_in(content["inputs"][0], run.kind) if "inputs" in content else "",
        "outputs_preview": failure or outputs,
        "error_type": error_type,
        "error_message": message,
        **read_names(events),
    }
    return CallContent({name: text for name, text in texts.items() if text}, amounts)
