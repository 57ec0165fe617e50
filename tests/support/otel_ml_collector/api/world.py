"""A month of a small shop in a collector, and a request for each operation of the API.

``python -m tests.support.otel_ml_collector.api.world`` regenerates the examples of the API.
"""

import base64
import hashlib
import json
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from otel_ml.rubric import read_rubric
from otel_ml_collector.api import schema
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.traces.live import Listening, LivePace
from tests.store.otel_ml_collector.test_datasets import make_item, make_versions
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service

EXAMPLES: Final = Path(schema.__file__).with_name("examples.json")
JSON: Final = "application/json"
PROJECT: Final = "shop"
KEY: Final = "order-17"
# The head of a PNG of one pixel.
PIXEL: Final = base64.b64encode(
    bytes.fromhex("89504e470d0a1a0a 0000000d49484452 00000001 00000001 0802000000 907753de")
).decode()
PICTURE: Final = json.dumps(
    {"type": "otel_ml.types.Image", "params": {"data": PIXEL, "mode": "RGB"}}
)
TABLE: Final = json.dumps({"type": "otel_ml.types.Native", "params": {"data": [1, 2]}})
PART_CHARS: Final = 600
# A busy machine responds that the request must be retried.
_TRIES: Final = 30
# The folder in the examples; the tests replace it with a real one.
BACKUP: Final = "/backups/monday"


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of an operation, in addition to those its path needs."""

    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    path: Mapping[str, str] = field(default_factory=dict)


LINEAGE: Final = [
    Event(
        "otel_ml.lineage",
        NOW_NS,
        {
            "otel_ml.lineage.role": role,
            "otel_ml.lineage.kind": kind,
            "otel_ml.lineage.name": name,
            "otel_ml.lineage.version": version,
            "otel_ml.lineage.run": run,
        },
    )
    for role, kind, name, version, run in (
        ("used", "artifact", "table", "", f"{trace_id(1).hex()}-{span_id(1).hex()}"),
        ("used", "model", "answer", "v1", ""),
        ("produced", "model", "answer", "@champion", ""),
    )
]


def experiment() -> list[Span]:
    """Make an experiment with runs over two items."""
    ids = trace_id(20), span_id(20)
    told: dict[str, Value] = {
        "otel_ml.kind": "experiment",
        "otel_ml.experiment.name": "shorter prompt",
        "otel_ml.experiment.dataset": "qa",
        "otel_ml.experiment.items": 2,
        "otel_ml.experiment.repeats": 1,
        "otel_ml.params": '{"function": "answer", "version": "8c1f0e6d2b7a4953", "judges": {}}',
    }
    runs = [
        make_call(
            "answer",
            {
                "otel_ml.experiment": f"{ids[0].hex()}-{ids[1].hex()}",
                "otel_ml.experiment.dataset": "qa",
                "otel_ml.item.id": item,
                "otel_ml.item.digest": f"{place:064x}",
                "otel_ml.score.grounded": 0.9 - place / 10,
                "otel_ml.passed.grounded": place == 0,
            },
            trace_id=trace_id(21 + place),
            span_id=span_id(21 + place),
        )
        for place, item in enumerate(("late", "parcel"))
    ]
    return [make_call("shorter prompt", told, trace_id=ids[0], span_id=ids[1]), *runs]


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def calls() -> list[Span]:
    """Make three answers, the first with every attribute that a run can have."""
    told: dict[str, Value] = {
        "otel_ml.inputs": '{"question": "Where is my parcel?"}',
        "otel_ml.outputs": '"At the post office"',
        "otel_ml.model.version": "8c1f0e6d2b7a4953",
        "otel_ml.model.definition": '{"source": "def answer(question): ...", "signature": "()"}',
        "otel_ml.params": '{"temperature": 0.2}',
        "otel_ml.tag.client": "bigshot",
        "otel_ml.score.grounded": 0.9,
        "otel_ml.passed.grounded": True,
        "otel_ml.judges": '{"grounded": {"version": "5d41402abc4b2a76", "label": "good"}}',
        "otel_ml.trace_key": KEY,
        "otel_ml.process": "0a1b2c3d",
        "otel_ml.seq": 1,
        "session.id": "session-5",
        "user.id": "user-3",
        "deployment.environment.name": "production",
        "service.version": "1.4.0",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "acme-1",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "http.route": "/ask",
    }
    events = [
        make_artifact("table", TABLE, type="otel_ml.types.Native", preview="[1, 2]"),
        make_artifact("picture", PICTURE, type="otel_ml.types.Image", preview="null"),
    ]
    first = make_call("answer", told, trace_id=trace_id(1), span_id=span_id(1), events=events)
    second = make_call(
        "answer",
        {"otel_ml.model.version": "8c1f0e6d2b7a4953", "otel_ml.tag.client": "little"},
        trace_id=trace_id(2),
        span_id=span_id(2),
        start_ns=NOW_NS + MS_NS,
    )
    others: dict[str, Value] = {"otel_ml.model.version": "8c1f0e6d2b7a4953", "user.id": "user-9"}
    third = make_call("answer", others, trace_id=trace_id(3), span_id=span_id(5))
    return [first, second, third]


def fill(service: Service) -> dict[str, str]:
    """Fill a service; return the values for the paths of its operations."""
    first, second, third = calls()
    points: dict[str, Value] = {
        "otel_ml.metric.names": ["loss", "loss"],
        "otel_ml.metric.values": [0.5, 0.25],
        "otel_ml.metric.steps": [0, 1],
        "otel_ml.target.start_ns": NOW_NS,
    }
    update = make_record("update", first, points, span_id=span_id(3))
    about_key: dict[str, Value] = {"otel_ml.target.trace_key": KEY, "otel_ml.tag.refund": True}
    told = make_record("update", first, about_key, span_id=span_id(4))
    named: dict[str, Value] = {
        "otel_ml.target.model": "answer",
        "otel_ml.target.version": "8c1f0e6d2b7a4953",
        "otel_ml.alias": "champion",
        "otel_ml.alias.by": "ann",
        "otel_ml.alias.source": "sdk",
    }
    alias = make_record("update", first, named, span_id=span_id(7))
    linked = make_record("update", second, {}, events=LINEAGE, span_id=span_id(8))
    service.store.take(PROJECT, first, second, third, update, told, alias, linked)
    item = make_item(
        {"question": "Where is my parcel?"},
        "At the post office",
        {"otel_ml.item.source_run": id_of(first), "otel_ml.item.source_session": "session-5"},
        topic="parcels",
    )
    service.store.take(PROJECT, item, *make_versions("qa", {"parcel": item}))
    service.store.take(PROJECT, *experiment())
    # In the last 24 hours, which some responses cover.
    now_ns = time.time_ns()
    latest = make_call("route", trace_id=trace_id(4), span_id=span_id(6), start_ns=now_ns)
    service.store.take("orders", latest, now_ns=now_ns)
    failed = make_call(
        "refund",
        {"otel_ml.outcome": "error", "error.type": "OrderNotFound"},
        trace_id=trace_id(5),
        span_id=span_id(9),
        start_ns=now_ns,
        status_code=2,
        status_message="no order 17",
    )
    service.store.take("orders", failed, now_ns=now_ns)
    service.app.state.services.find(Listening).pace = LivePace(lifetime_s=0)
    view = {"page": "runs", "parameters": {"where": "latency_ms > 200"}}
    answered = send(service, "PUT", f"/api/v1/projects/{PROJECT}/views/slow", view)
    assert answered.status == 200, answered.text
    answered = send(service, "PUT", f"/api/v1/projects/{PROJECT}/queues/grounded", QUEUE)
    assert answered.status == 200, answered.text
    answered = send(service, "PUT", f"/api/v1/projects/{PROJECT}/targets/churned", TARGET)
    assert answered.status == 200, answered.text
    answered = send(service, "PUT", f"/api/v1/projects/{PROJECT}/alerts/slow", ALERT)
    assert answered.status == 200, answered.text
    answered = send(service, "PUT", f"/api/v1/projects/{PROJECT}/rubric-judges/grounded", POLITE)
    assert answered.status == 200, answered.text
    backfill = f"/api/v1/projects/{PROJECT}/rubric-judges/grounded/backfill"
    answered = send(service, "POST", backfill, _confirm_backfill())
    assert answered.status == 200, answered.text
    backfill_id = answered.json["id"]
    answered = send(service, "DELETE", backfill, None)
    assert answered.status == 200, answered.text
    answered = send(service, "POST", f"/api/v1/projects/{PROJECT}/mutes", MUTE)
    assert answered.status == 200, answered.text
    mute = answered.json["name"]
    answered = send(service, "POST", "/api/v1/projects/orders/known-problems", KNOWN)
    assert answered.status == 200, answered.text
    known = answered.json["name"]
    path = f"/api/v1/projects/{PROJECT}/objects?ref=table"
    (found,) = ask(service.app, path).json["objects"]
    return {
        "project": PROJECT,
        "backfill": backfill_id,
        "known": known,
        "run_id": id_of(first),
        "key": KEY,
        "model": "answer",
        "judge": "grounded",
        "number": "1",
        "sha256": sha256_of(TABLE),
        "obj_id": found["obj_id"],
        "name": "slow",
        "queue": "grounded",
        "target": "churned",
        "alert": "slow",
        "mute": mute,
        "session": "session-5",
        "user": "user-9",
    }


def send(service: Service, method: str, path: str, body: object) -> Answered:
    raw = b"" if body is None else json.dumps(body).encode()
    return ask(service.app, path, method=method, headers={"content-type": JSON}, body=[raw])


POLITE: Final = {
    "instruction": "Is the answer polite? {{outputs}}",
    "model": "gpt-4o-mini",
    "connection": "nobody",
    "where": 'model == "answer"',
    "sample": 0.1,
    "dollars_per_day": 2,
}
QUEUE: Final = {
    "where": 'kind != "judge"',
    "judge": "grounded",
    "question": "Does every claim of the answer stand in a passage?",
    "labels": [{"label": "Yes", "passed": True}, {"label": "No", "passed": False}],
    "dataset": "judged",
}
TARGET: Final = {"model": "answer", "kind": "class", "positive": "yes"}
ALERT: Final = {
    "where": 'model == "answer"',
    "when": "surely(p90(latency_ms) > 2000)",
    "window": "6h",
    "by": ['tags["client"]'],
    "severity": "page",
    "annotations": {"summary": "{{ by }}: {{ value }} ms over {{ window }}"},
}
MUTE: Final = {
    "rule": "slow",
    "where": 'client == "bigshot"',
    "until": "2100-01-01T00:00:00Z",
    "who": "mira",
    "why": "known since Monday",
}
# The project with a problem: its first error.
ORDERS: Final = {"project": "orders"}
KNOWN: Final = {"problem": "error-ordernotfound"}
QA: Final = {"name": "qa"}
TRIED: Final = {"run_id": f"{trace_id(20).hex()}-{span_id(20).hex()}"}
# The reference for drift of fields.
FIRST_DAYS: Final = "2026-11-19/2026-11-22"
# Arguments in addition to those of the path; operations without an entry need none.


def _confirm_backfill() -> dict[str, Any]:
    """Return a backfill of the judge `POLITE` as its plan describes it."""
    return {
        "digest": read_rubric(POLITE).digest,
        "start_ns": 0,
        "end_ns": 4_102_444_800_000_000_000,
        "where": 'model == "answer"',
        "sample": 1,
        "most_calls": 2,
        "most_dollars": 0.001,
    }


QUESTIONS: Final[dict[str, Question]] = {
    "GET /projects/{project}/runs": Question(
        {"where": 'tags["client"] == "bigshot"', "limit": "20"}
    ),
    "DELETE /projects/{project}/runs/{run_id}": Question(path={"run_id": id_of(calls()[1])}),
    "GET /projects/{project}/metrics": Question({"run_id": id_of(calls()[0]), "name": "loss"}),
    "GET /projects/{project}/loss": Question(
        {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
    ),
    "GET /projects/{project}/mentions": Question({"who": "bigshot"}),
    "POST /storage/rebuild": Question({"day": "2026-11-20"}),
    "GET /projects/{project}/completion": Question({"where": "model == ", "start": "2026-11-01"}),
    # The project with runs in the last 24 hours, which the overview compares with last week.
    "GET /projects/{project}/overview": Question(path=ORDERS),
    "GET /projects/{project}/stats": Question(
        {"group": "version", "start": "2026-11-20T07:00:00Z", "end": "2026-11-20T09:00:00Z"}
    ),
    "GET /projects/{project}/sums": Question({"where": 'model == "answer"', "group": "user"}),
    "GET /projects/{project}/fields": Question({"model": "answer", "than": FIRST_DAYS}),
    "GET /projects/{project}/fields/{field}": Question(
        {"model": "answer", "than": FIRST_DAYS}, path={"field": "latency_ms"}
    ),
    "POST /backup": Question(body={"folder": BACKUP}),
    "GET /projects/{project}/objects": Question({"limit": "1"}),
    "GET /objects": Question({"trace_id": KEY, "ref": "table"}),
    "GET /projects/{project}/artifacts/{sha256}/image": Question(
        path={"sha256": sha256_of(PICTURE)}
    ),
    "GET /projects/{project}/export": Question(
        {"format": "jsonl", "where": "latency_ms > 0", "columns": "run_id,model,inputs,tags"}
    ),
    "GET /projects/{project}/live": Question(headers={"last-event-id": "1"}),
    "PUT /projects/{project}/artifacts/{sha256}": Question(
        body=[1, 2, 3], path={"sha256": sha256_of("[1, 2, 3]")}
    ),
    "PUT /projects/{project}/retention": Question(body={"record_days": 400, "payload_days": 90}),
    "PUT /projects/{project}/views/{name}": Question(
        body={"page": "runs", "parameters": {"where": "latency_ms > 200"}}
    ),
    "PUT /projects/{project}/queues/{queue}": Question(body=QUEUE),
    "PUT /projects/{project}/targets/{target}": Question(body=TARGET),
    "PUT /projects/{project}/alerts/{alert}": Question(body=ALERT),
    "PUT /projects/{project}/rubric-judges/{judge}": Question(body=POLITE),
    "PUT /projects/{project}/rubric-judges/{judge}/lease": Question(
        body={"version": 0, "holder": "worker-1", "cursor_ns": 0, "trouble": ""}
    ),
    "GET /projects/{project}/rubric-judges/{judge}/due": Question(
        {"digest": read_rubric(POLITE).digest}
    ),
    # Selects no run, because there is no model to call.
    "POST /projects/{project}/rubric-judges/{judge}/try": Question(
        body={"runs": 20, "judge": {**POLITE, "where": 'model == "draft"'}}
    ),
    "POST /projects/{project}/rubric-judges/{judge}/check": Question(
        body={"ready": "correctness", "examples": 0, "judge": POLITE}
    ),
    "POST /projects/{project}/rubric-judges/{judge}/backfill-plan": Question(
        body={"last": "9000d", "where": 'model == "answer"', "sample": 1, "runs": 2}
    ),
    "PUT /projects/{project}/rubric-judges/{judge}/backfill/{backfill}/end": Question(
        body={"state": "finished"}
    ),
    "POST /projects/{project}/rubric-judges/{judge}/backfill": Question(body=_confirm_backfill()),
    "GET /projects/{project}/alerts/{alert}/check": Question({"since": "2d"}),
    "POST /projects/{project}/alert-check": Question({"since": "2d"}, body=ALERT),
    "POST /projects/{project}/mutes": Question(body=MUTE),
    "PUT /projects/{project}/mutes/{mute}": Question(body={**MUTE, "why": "known since Tuesday"}),
    "GET /projects/{project}/known-problems": Question(path=ORDERS),
    "POST /projects/{project}/known-problems": Question(body=KNOWN, path=ORDERS),
    "DELETE /projects/{project}/known-problems/{known}": Question(path=ORDERS),
    "GET /projects/{project}/targets/{target}": Question(
        {"start": "2026-11-20T07:00:00Z", "end": "2026-11-20T09:00:00Z", "bucket": "hour"}
    ),
    "POST /projects/{project}/queues/{queue}/answers": Question(
        body={"run_id": id_of(calls()[0]), "label": "Yes", "annotator": "ann", "save": True}
    ),
    "GET /projects/{project}/queues/{queue}/next": Question({"annotator": "ann"}),
    "GET /projects/{project}/queues/{queue}/answers/{run_id}": Question({"annotator": "ann"}),
    "DELETE /projects/{project}/queues/{queue}/answers/{run_id}": Question({"annotator": "ann"}),
    "POST /projects/{project}/evaluations": Question(
        body={
            "evaluations": [
                {"id": "click-1", "run_id": id_of(calls()[0]), "judge": "thumbs", "passed": True},
                {"trace_key": KEY, "judge": "churned", "actual": "yes"},
            ]
        }
    ),
    "POST /projects/{project}/runs/{run_id}/tags": Question(
        body={"tags": {"marked": True}}, path={"run_id": id_of(calls()[0])}
    ),
    "POST /projects/{project}/run-tags": Question(
        body={"run_ids": [id_of(calls()[0])], "tags": {"reviewed": True}}
    ),
    "POST /projects/{project}/run-tags/undo": Question(
        body={"run_ids": [id_of(calls()[0])], "record_ids": ["24402f053c6ff2bc"]}
    ),
    "POST /projects/{project}/queues/{queue}/runs": Question(
        body={"add": [id_of(calls()[0])], "remove": []}
    ),
    "POST /projects/{project}/delete-runs": Question(
        body={"run_ids": [id_of(calls()[1])], "inside": True}
    ),
    "GET /projects/{project}/models/{model}/versions/{number}/verdict": Question({"against": "1"}),
    "GET /projects/{project}/judges/{judge}/versions/{number}/strictness": Question(
        {"against": "1"}
    ),
    "POST /projects/{project}/models/{model}/aliases": Question(
        body={"alias": "candidate", "version": 1, "by": "ann", "id": "release-7"}
    ),
    "GET /projects/{project}/datasets/{name}/versions": Question(path=QA),
    "GET /projects/{project}/datasets/{name}/versions/{number}/items": Question(path=QA),
    "GET /projects/{project}/datasets/{name}/versions/{number}/history": Question(path=QA),
    "GET /projects/{project}/datasets/{name}/versions/{number}/coverage": Question(path=QA),
    "GET /projects/{project}/datasets/{name}/versions/{number}/diff": Question(
        {"against": "1"}, path=QA
    ),
    "POST /projects/{project}/datasets/{name}/items": Question(
        headers={"if-match": '"1"'},
        body={"items": [{"id": "late", "inputs": {"question": "Is it late?"}, "expected": "no"}]},
        path=QA,
    ),
    "POST /projects/{project}/datasets/{name}/runs": Question(
        body={"run_ids": [id_of(calls()[0])], "expected": "outputs"}, path=QA
    ),
    "GET /projects/{project}/experiments/{run_id}": Question(path=TRIED),
    "GET /projects/{project}/compare": Question({"of": [id_of(one) for one in calls()[::2]]}),
    "GET /projects/{project}/compare/file": Question({"of": [id_of(one) for one in calls()[::2]]}),
    "GET /projects/{project}/experiments/{run_id}/file": Question(path=TRIED),
    "GET /projects/{project}/experiments/{run_id}/rows": Question(path=TRIED),
    "GET /projects/{project}/experiments/{run_id}/variability": Question(path=TRIED),
    "POST /keys": Question(
        body={"name": "nightly", "scopes": ["admin", "read"], "projects": ["*"]}
    ),
}
# Deleting operations run last, and those of keys last of all: after them a key is required.
_LAST: Final = ("PUT", "POST", "DELETE")
_DELETED: Final = (
    "views",
    "queues",
    "targets",
    "mutes",
    "alerts",
    "rubric-judges",
    "runs",
    "sessions",
    "users",
    "models",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation as it was called, and its response."""

    parameters: Mapping[str, str | Sequence[str]]
    body: Any
    answered: Answered


def ask_all(
    service: Service, folder: Path, refused: Collection[str] = frozenset()
) -> dict[str, Asked]:
    """Call every operation in a service's description once; return the calls by operation.

    Args:
        service: An empty service.
        folder: The folder for a backup.
        refused: Operations that the service refuses.
    """
    places = fill(service)
    headers: dict[str, str] = {}
    asked: dict[str, Asked] = {}
    for method, path in _in_order(service.app.openapi()["paths"]):
        name = f"{method} {path.removeprefix('/api/v1')}"
        question = QUESTIONS.get(name, Question())
        told = {**places, **question.path}
        named = {key: told[key] for key in _names(path)}
        address = path.format(**{key: quote(value, safe="") for key, value in named.items()})
        query = f"?{urlencode(question.query, doseq=True)}" if question.query else ""
        text = "" if question.body is None else json.dumps(question.body)
        body = text.replace(BACKUP, str(folder)).encode()
        for _ in range(_TRIES):
            answered = ask(
                service.app,
                address + query,
                method=method,
                headers={"content-type": JSON, **question.headers, **headers},
                body=[body],
            )
            if answered.status not in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.ACCEPTED}:
                break
        is_answered = answered.status in {200, 201}
        assert is_answered == (name not in refused), (name, answered.status, answered.text)
        if name == "POST /keys":
            places["key_id"] = answered.json["id"]
            headers["x-api-key"] = answered.json["key"]
        shown = replace(answered, body=answered.body.replace(str(folder).encode(), BACKUP.encode()))
        given = {**named, **question.query, **question.headers}
        asked[name] = Asked(given, question.body, shown)
    return asked


def _in_order(paths: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    found = [(method, path) for method, path in found if path.startswith("/api/v1/")]

    def place(operation: tuple[str, str]) -> tuple[bool, int, int, int]:
        method, path = operation
        if path.startswith("/api/v1/keys"):
            return True, ("POST", "GET", "DELETE").index(method), 0, 0
        rank = _LAST.index(method) if method in _LAST else -1
        topic = path.removeprefix("/api/v1/projects/{project}").strip("/").partition("/")[0]
        order = (*_DELETED, topic).index(topic) if topic else len(_DELETED) + 1
        # Parts are deleted before the whole.
        return False, rank, order, -path.count("/") if method == "DELETE" else 0

    return sorted(found, key=place)


def _names(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def examples_of(asked: Mapping[str, Asked], paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return the examples for the API's description."""
    examples: dict[str, Any] = {}
    for name, one in sorted(asked.items()):
        method, path = name.replace(" ", " /api/v1", 1).split(" ")
        examples[f"{method} {path}"] = _example(one, paths[path][method.lower()])
    return examples


def _example(one: Asked, operation: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {
        parameter["name"]
        for parameter in operation.get("parameters", [])
        if parameter["schema"].get("type") == "integer"
    }
    given = {
        name: int(text) if name in numbers and isinstance(text, str) else text
        for name, text in one.parameters.items()
    }
    made: dict[str, Any] = {"parameters": given}
    if one.body is not None:
        made["body"] = one.body
    kind = one.answered.headers["content-type"].partition(";")[0]
    if kind == JSON:
        body = one.answered.json
        if isinstance(body, dict) and "key" in body and str(body["key"]).startswith("omk_"):
            body["key"] = f"omk_{body['id']}_{'0' * 64}"
        made["answers"] = {str(one.answered.status): {"type": kind, "body": body}}
    elif kind.startswith(("text/", "application/x-ndjson")):
        made["answers"] = {"200": {"type": kind, "body": one.answered.text[:PART_CHARS]}}
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, open_service(Path(folder) / "data") as made:
        told = examples_of(ask_all(made, Path(folder) / "backup"), made.app.openapi()["paths"])
    lines = [
        f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in told.items()
    ]
    EXAMPLES.write_text("{\n" + ",\n".join(lines) + "\n}\n")  # one line per operation
