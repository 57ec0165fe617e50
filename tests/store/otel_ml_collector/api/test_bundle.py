"""A trace as one zip file."""

import io
import json
import zipfile
from typing import Any

from otel_ml_collector.span import Span, Value
from tests.support.examples import AT_NIGHT
from tests.support.otel_ml_collector.api.world import sha256_of
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, harder

DOCUMENT = '{"type": "otel_ml.types.Native", "params": {"data": "../../etc/passwd"}}'


def unpack(service: Service, key: str) -> dict[str, Any]:
    """Return the files of a trace's zip file after checking that each is intact."""
    answered = ask(service.app, f"/api/v1/traces/{key}?format=zip")
    assert (answered.status, answered.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answered.body)) as bundle:
        assert bundle.testzip() is None
        return {name: json.loads(bundle.read(name)) for name in bundle.namelist()}


def test_bundle(service: Service, project: str) -> None:
    """The file holds each run, each document once, and a manifest of both, under safe names."""
    key = f"order-17-{project}"  # other projects of the store have orders, too
    logged = [make_artifact(ref, DOCUMENT) for ref in ("../../table", "again")]
    root = make_call(
        "../answer", {"otel_ml.trace_key": key, "otel_ml.inputs": '"a"'}, events=logged
    )
    child = make_call(trace_id=root.trace_id, parent_span_id=root.span_id, events=logged[:1])
    told = make_record("update", root, {"otel_ml.target.trace_key": key, "otel_ml.tag.a": 1})
    service.store.take(project, root, child, told)
    files = unpack(service, key)
    document = f"artifacts/{sha256_of(DOCUMENT)}.json"
    runs = [f"runs/{id_of(span)}.json" for span in (root, child)]
    assert sorted(files) == sorted([*runs, document, "manifest.json"])
    assert files[document] == json.loads(DOCUMENT)
    for span, name in zip((root, child), runs, strict=True):
        path = f"/api/v1/projects/{project}/runs/{id_of(span)}"
        assert files[name] == ask(service.app, path).json
    manifest = files["manifest.json"]
    assert {one["file"] for one in manifest["runs"]} == set(runs)
    assert sorted((one["ref"], one["file"]) for one in manifest["artifacts"]) == [
        ("../../table", document),
        ("../../table", document),
        ("again", document),
    ]
    assert manifest["records"][0]["tags"] == {"a": 1}


@at_night
@harder
def test_many_runs(service: Service, project: str) -> None:
    """Runs that are read together equal the runs read alone, whatever records refer to them.

    They are more than one batch holds, from two traces with one key and the same span ids.
    """
    spans: list[Span] = []
    for trace in (901, 902):
        root = make_call(
            "answer",
            {"otel_ml.trace_key": "many", "session.id": f"session {trace}"},
            trace_id=trace_id(trace),
            span_id=span_id(1),
        )
        spans.append(root)
        for number in range(2, 70):
            points: dict[str, Value] = {
                "otel_ml.metric.names": ["loss"] * (number % 3 + 1),
                "otel_ml.metric.values": [number + place / 8 for place in range(number % 3 + 1)],
                "otel_ml.score.grounded": number / 100,
                "otel_ml.tag.client": f"client {number}",
            }
            call = make_call(
                "answer",
                {"otel_ml.inputs": f'"{number}"'},
                trace_id=root.trace_id,
                parent_span_id=root.span_id,
                span_id=span_id(number),
                start_ns=NOW_NS + number * MS_NS,
                events=[make_artifact(f"table {number}", DOCUMENT)] if number % 5 == 0 else [],
            )
            is_open = trace == 902 and number == 7
            spans += [make_start(call) if is_open else call]
            spans.append(make_record("update", call, points, span_id=span_id(1000 + number)))
    everything: dict[str, Value] = {"otel_ml.target.trace_key": "many", "otel_ml.tag.all": True}
    spans.append(make_record("update", spans[0], everything, span_id=span_id(2000)))
    service.store.take(project, *spans)
    files = unpack(service, "many")
    runs = [files[one["file"]] for one in files["manifest.json"]["runs"]]
    assert len(runs) == 138
    assert sum(bool(run["metrics"]) for run in runs) == 136
    assert {run["session"] for run in runs} == {"session 901", "session 902"}
    unusual = [run for run in runs if run["outcome"] != "ok"]
    assert unusual
    for run in [*unusual, *runs[:: 1 if AT_NIGHT else 7]]:
        alone = ask(service.app, f"/api/v1/projects/{project}/runs/{run['run_id']}").json
        assert run == alone


def test_no_document(service: Service, project: str) -> None:
    """An artifact whose document is missing is in the manifest, without a file."""
    gone = make_artifact("gone", sha256="ab" * 32, bytes=5)
    call = make_call(events=[gone])
    service.store.take(project, call)
    files = unpack(service, call.trace_id.hex())
    assert [one["file"] for one in files["manifest.json"]["artifacts"]] == [None]
    assert sorted(files) == ["manifest.json", f"runs/{id_of(call)}.json"]


def test_no_trace(service: Service) -> None:
    """An unknown trace gets a 404 response."""
    assert ask(service.app, "/api/v1/traces/nothing?format=zip").status == 404
