"""A project with distinguishable records, for tests of what a deletion removes and keeps."""

import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    SECOND_NS,
    make_artifact,
    make_call,
    make_record,
    make_span,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.otel_ml_collector.wire import encode
from tests.support.waiting import wait_until

BEGAN_NS: Final = time.time_ns() - 3600 * SECOND_NS
# Tables of deletions keep names, to recognize deleted objects later.
_TOMBSTONES: Final = ("deletions", "deleted_owners", "deleted_runs")


def make_told(mark: str, session: str, user: str, model: str) -> list[Span]:
    """Make spans of one trace: a call, a span below it, and later records about the call.

    Args:
        mark: A text that occurs in every text of these spans.
        session: The session of the call; the span below has none.
        user: The user of the call; the span below has none.
        model: The model that is called.
    """
    call = make_call(
        model,
        {
            "session.id": session,
            "user.id": user,
            "otel_ml.trace_key": f"key {mark}",
            "otel_ml.model.version": f"version of {model}",
            "otel_ml.model.definition": f'{{"source":"code of {model}"}}',
            "otel_ml.inputs": f'"{mark}"',
            "otel_ml.outputs": f'"{mark}"',
            "otel_ml.tag.client": mark,
            "otel_ml.score.grounded": 0.5,
            "otel_ml.score.grounded.explanation": mark,
            "gen_ai.response.id": f"response {mark}",
        },
        start_ns=BEGAN_NS,
        events=[
            make_artifact("data", f'"{mark}"'),
            Event("otel_ml.log", BEGAN_NS, {"otel_ml.log.message": mark}),
        ],
    )
    late: dict[str, Value] = {
        "otel_ml.tag.late": mark,
        "otel_ml.metric.names": [mark],
        "otel_ml.metric.values": [0.5],
    }
    times = {"start_ns": BEGAN_NS + SECOND_NS}
    below = make_span(
        mark,
        {"detail": mark},
        trace_id=call.trace_id,
        parent_span_id=call.span_id,
        start_ns=BEGAN_NS + MS_NS,
    )
    update = make_record(
        "update",
        call,
        late,
        events=[Event("otel_ml.log", BEGAN_NS, {"otel_ml.log.message": mark})],
        **times,
    )
    feedback: dict[str, Value] = {
        "otel_ml.judge.name": "people",
        "otel_ml.target.trace_key": f"key {mark}",
        "otel_ml.score.value": 1.0,
        "otel_ml.explanation": mark,
    }
    told = make_record("evaluation", make_span("no run"), feedback, **times)
    return [call, below, update, told]


@dataclass(slots=True)
class Project:
    """One project of a collector, accessed through OTLP, the API and its tables."""

    service: Service
    name: str
    sent: list[Span] = field(default_factory=list)

    def send(self, *spans: Span) -> None:
        """Send spans in one request and check that all are accepted."""
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": self.name}
        answer = ask(
            self.service.app, "/v1/traces", method="POST", headers=headers, body=[encode(spans)]
        )
        assert (answer.status, answer.body) == (200, b"")
        self.sent += spans

    def send_refused(self, *spans: Span) -> tuple[int, str]:
        """Send spans and return how many are refused, and the error message."""
        headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": self.name}
        answer = ask(
            self.service.app, "/v1/traces", method="POST", headers=headers, body=[encode(spans)]
        )
        partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
        return partial.rejected_spans, partial.error_message

    def send_again(self, *spans: Span) -> None:
        """Store spans as a restarted collector does, which has not seen any of them."""
        writer = Writer(self.service.store.connections)
        for span in spans:
            writer.write(map_spans([span], Filing(self.name, BEGAN_NS)))

    def get(self, path: str = "") -> Any:
        """Send a GET request about the project to the API."""
        return ask(self.service.app, f"/api/v1/projects/{quote(self.name)}{path}").json

    def delete(self, path: str = "") -> Any:
        """Delete something and wait until that is done; return the response of any status."""
        target = f"/api/v1/projects/{quote(self.name)}{path}"
        answer = ask(self.service.app, target, method="DELETE").json

        def is_done() -> bool:
            left = self.get("/deletions")["deletions"]
            answer.update(next((one for one in left if one["target"] == answer["target"]), {}))
            return not left

        if answer.get("state", "done") != "done":  # on a busy machine
            wait_until(is_done, 60)
        return answer

    def names(self) -> list[str]:
        """List the names of all runs and spans, sorted."""
        return sorted(run["name"] for run in self.get('/runs?where=kind!=""')["runs"])

    def tables_with(self, text: str) -> list[str]:
        """List the tables whose rows of the project contain a text, without tombstones."""
        rows = self.service.store.reader.rows(
            Sql(
                "SELECT table FROM system.columns WHERE database = currentDatabase() "
                "AND name = 'project' ORDER BY table"
            ),
            {},
        )
        tables = [row["table"] for row in rows if row["table"] in TABLE_NAMES]
        return [table for table in tables if self._has(table, text)]

    def _has(self, table: str, text: str) -> bool:
        if table in _TOMBSTONES:
            return False
        (row,) = self.service.store.reader.rows(
            Sql(
                "SELECT count() AS found FROM {table} WHERE project = {project:String} "
                "AND (position(toString(tuple(*)), {text:String}) > 0"
                " OR position(toString(tuple(*)), {bytes:String}) > 0)"
            ).fill(table=identifier(table, TABLE_NAMES)),
            {"project": self.name, "text": text, "bytes": text},
        )
        return bool(row["found"])
