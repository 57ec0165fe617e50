"""Tests of the artifact API: artifacts of runs, objects, documents and images."""

import base64
import hashlib
import io
import itertools
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import numpy as np
import pyarrow as pa
import pytest

from otel_ml import artifact, types
from otel_ml.redaction import Redaction
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Span, Value
from otel_ml_collector.store.artifacts import ArtifactWriter
from tests.support.otel_ml.types.trips import same
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

DOCUMENT: Final = '{"type":"otel_ml.types.Native","params":{"data":"Zoë"}}'
SHA256: Final = hashlib.sha256(DOCUMENT.encode()).hexdigest()
TIME: Final = "2026-11-20T07:00:00.000000000Z"


class Api:
    """One project in a collector, with helpers to store spans and call the API."""

    numbers = itertools.count()

    def __init__(self, service: Service) -> None:
        self.service = service
        self.project = f"objects {next(self.numbers)}"
        self.base = f"/api/v1/projects/{quote(self.project)}"

    def take(self, *spans: Span) -> None:
        self.service.store.take(self.project, *spans)

    def upload(self, document: bytes) -> str:
        sha256 = hashlib.sha256(document).hexdigest()
        writer = ArtifactWriter(self.service.store.connections)
        writer.write(self.project, sha256, io.BytesIO(document))
        return sha256

    def ask(self, path: str, **given: Any) -> Answered:
        return ask(self.service.app, self.base + path, **given)

    def run(self, span: Span) -> Any:
        return self.ask(f"/runs/{id_of(span)}").json

    def objects(self, **parameters: object) -> Any:
        answered = self.ask(f"/objects?{urlencode(parameters)}")
        assert answered.status == 200, answered.text
        return answered.json

    def refs(self, **parameters: object) -> list[str]:
        return [one["ref"] for one in self.objects(**parameters)["objects"]]


@pytest.fixture
def api(service: Service) -> Api:
    return Api(service)


def logging_call(*refs: str, **fields: Any) -> Span:
    """Make a run that logs an artifact under each reference, one second apart."""
    events = [
        make_artifact(ref, DOCUMENT, at_ns=NOW_NS + place * SECOND_NS)
        for place, ref in enumerate(refs)
    ]
    return make_call("train", events=events, **fields)


def test_artifacts_of_a_run(api: Api) -> None:
    """A run lists its artifacts newest first, each with the URL of its document."""
    uploaded = api.upload(b'{"type":"x"}')
    call = make_call(
        events=[
            make_artifact("sample", DOCUMENT, type="otel_ml.types.Native", preview='{"of":"str"}'),
            make_artifact("sample", sha256=uploaded, bytes=12, at_ns=NOW_NS + 1),
            make_artifact("lost", sha256="0a" * 32, bytes=7, at_ns=NOW_NS + 2),
            make_artifact("large", preview='{"shape":[9]}', at_ns=NOW_NS + 3),
        ]
    )
    api.take(call)
    assert api.run(call)["artifacts"] == [
        {
            "ref": "large",
            "type": "",
            "bytes": 0,
            "sha256": None,
            "preview": {"shape": [9]},
            "time": "2026-11-20T07:00:00.000000003Z",
            "url": None,
        },
        {
            "ref": "lost",
            "type": "",
            "bytes": 7,
            "sha256": "0a" * 32,
            "preview": None,
            "time": "2026-11-20T07:00:00.000000002Z",
            "url": None,
        },
        {
            "ref": "sample",
            "type": "",
            "bytes": 12,
            "sha256": uploaded,
            "preview": None,
            "time": "2026-11-20T07:00:00.000000001Z",
            "url": f"{api.base}/artifacts/{uploaded}",
        },
        {
            "ref": "sample",
            "type": "otel_ml.types.Native",
            "bytes": len(DOCUMENT.encode()),
            "sha256": SHA256,
            "preview": {"of": "str"},
            "time": TIME,
            "url": f"{api.base}/artifacts/{SHA256}",
        },
    ]


@sampled(1)
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "ended"])
@pytest.mark.parametrize("repeat", [1, 2])
def test_artifacts_apart(api: Api, is_open: bool, repeat: int) -> None:
    """A run, open or ended, lists each artifact sent by ID, key or tag once, even if sent again."""
    key = f"{api.project}/key"
    tagged: dict[str, Value] = {"otel_ml.trace_key": key, "otel_ml.tag.order": 7}
    run = make_call("train", tagged)
    targets: list[dict[str, Value]] = [
        {"otel_ml.target.run": id_of(run)},
        {"otel_ml.target.trace_key": key},
        {"otel_ml.target.tag": "order=7"},
        {"otel_ml.target.tag": "order=8"},
    ]
    updates = [
        make_span(
            "update",
            {"otel_ml.record": "update", **target},
            events=[make_artifact(f"ref {place}", DOCUMENT, at_ns=NOW_NS + place)],
        )
        for place, target in enumerate(targets)
    ]
    child = make_record("update", run, events=[make_artifact("child", at_ns=NOW_NS + 9)])
    spans = [make_start(run, tagged) if is_open else run, *updates, child]
    for _ in range(repeat):
        api.take(*spans)
        api.take(*reversed(spans))
    found = api.run(run)
    assert [one["ref"] for one in found["artifacts"]] == ["child", "ref 2", "ref 1", "ref 0"]
    assert api.refs(run_id=id_of(run)) == ["child", "ref 2", "ref 1", "ref 0"]
    assert api.refs(trace_id=run.trace_id.hex()) == ["child", "ref 2", "ref 1", "ref 0"]
    assert api.refs(trace_id=key) == ["child", "ref 2", "ref 1", "ref 0"]
    assert sorted(api.refs()) == ["child", "ref 0", "ref 1", "ref 2", "ref 3"]


def test_key_without_a_run(api: Api) -> None:
    """A trace key with an artifact is a trace, even without any run."""
    key = f"{api.project}/3f8e"
    told: dict[str, Value] = {"otel_ml.record": "update", "otel_ml.target.trace_key": key}
    api.take(make_span("update", told, events=[make_artifact("sample", DOCUMENT)]))
    trace = ask(api.service.app, f"/api/v1/traces/{quote(key, safe='')}").json
    (records,) = trace["records"]
    assert [one["ref"] for one in records["artifacts"]] == ["sample"]
    found = api.objects(trace_id=key, ref="sample")
    assert (found["trace_id"], found["run_id"]) == (key, None)
    assert found["obj_data"] == json.loads(DOCUMENT)
    anywhere = ask(api.service.app, f"/api/v1/objects?{urlencode({'trace_id': key})}")
    assert [one["ref"] for one in anywhere.json["objects"]] == ["sample"]


def test_artifacts_of_a_version(api: Api) -> None:
    """An artifact logged for a model version is listed on that version."""
    told: dict[str, Value] = {
        "otel_ml.record": "update",
        "otel_ml.target.model": "churn",
        "otel_ml.target.version": "00000000000000aa",
    }
    api.take(make_span("update", told, events=[make_artifact("weights", DOCUMENT)]))
    version = api.ask("/models/churn/versions/1").json
    assert [one["ref"] for one in version["artifacts"]] == ["weights"]


def test_one_object(api: Api) -> None:
    """A reference in a trace returns its newest document, and so does the object's ID."""
    newer = DOCUMENT.replace("Zoë", "Zoe")
    call = make_call(
        "train",
        events=[
            make_artifact("sample", newer, type="otel_ml.types.Native", at_ns=NOW_NS + 1),
            make_artifact("sample", DOCUMENT),
        ],
    )
    api.take(call)
    for named in ({"trace_id": call.trace_id.hex()}, {"run_id": id_of(call)}):
        found = api.objects(ref="sample", **named)
        obj_id = found.pop("obj_id")
        assert found == {
            "ref": "sample",
            "type": "otel_ml.types.Native",
            "trace_id": call.trace_id.hex(),
            "run_id": id_of(call),
            "time": "2026-11-20T07:00:00.000000001Z",
            "obj_data": json.loads(newer),
        }
        assert api.ask(f"/objects/{obj_id}").json == {"obj_id": obj_id, **found}


def test_uploaded_object(api: Api) -> None:
    """A large document is returned whole, with its content length."""
    document = json.dumps({"type": "x", "params": {"data": "日" * 3_000_000}}, ensure_ascii=False)
    sha256 = api.upload(document.encode())
    call = make_call(events=[make_artifact("sample", sha256=sha256)])
    api.take(call)
    answered = api.ask(f"/objects?run_id={id_of(call)}&ref=sample")
    assert answered.json["obj_data"] == json.loads(document)
    assert int(answered.headers["content-length"]) == len(answered.body)


@sampled(1)
@pytest.mark.parametrize(
    "query",
    [
        "run_id={run}&ref=other",
        "run_id={run}0&ref=sample",
        "trace_id=nonsense&ref=sample",
        "trace_id=日本日本日本日本日本日本日本日本日本日本日本日本日本日本日本日本&ref=sample",
        "run_id={run}&ref=large",
    ],
)
def test_absent_object(api: Api, query: str) -> None:
    """An unknown reference, or one without a document, is answered with 404 or 400."""
    call = make_call(events=[make_artifact("sample", DOCUMENT), make_artifact("large")])
    api.take(call)
    answered = api.ask(f"/objects?{query.format(run=id_of(call))[:240]}")
    assert answered.status in {400, 404}
    assert answered.json["error"]["code"] in {"bad_query", "not_found"}


@sampled(1)
@pytest.mark.parametrize("obj_id", ["x", "W10", "WyJhIiwiYiIsMV0", "WyJhIiwiYiIsLTFd", "%2e%2e"])
def test_absent_id(api: Api, obj_id: str) -> None:
    """An unknown object ID is answered with 404."""
    answered = api.ask(f"/objects/{obj_id}")
    assert (answered.status, answered.json["error"]["code"]) == (404, "not_found")


def test_pages(api: Api) -> None:
    """A list is read page by page, newest first, and contains each artifact once."""
    calls = [logging_call(*"abc"), logging_call(*"abc")]
    api.take(*calls)
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.objects(limit=2, **cursor)
        assert len(page["objects"]) <= 2
        found += page["objects"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [one["ref"] for one in found] == list("ccbbaa")
    assert {(one["run_id"], one["ref"]) for one in found} == {
        (id_of(call), ref) for call in calls for ref in "abc"
    }
    assert len({one["obj_id"] for one in found}) == 6
    assert api.refs(ref="b") == ["b", "b"]
    assert api.refs(start="2026-11-20T07:00:01Z", end="2026-11-20T07:00:02Z") == ["b", "b"]


@sampled(1)
@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsImEiLCJiIiwtMV0", "WyIxIiwiYSIsImIiLDFd"])
def test_bad_cursor(api: Api, cursor: str) -> None:
    """An invalid cursor is answered with 400."""
    answered = api.ask(f"/objects?cursor={cursor}")
    assert (answered.status, answered.json["error"]["field"]) == (400, "cursor")


def test_objects_anywhere(api: Api) -> None:
    """An object is found without a project only if exactly one project has its trace."""
    call = logging_call("sample")
    path = f"/api/v1/objects?run_id={id_of(call)}&ref=sample"
    assert ask(api.service.app, path).status == 404
    api.take(call)
    assert ask(api.service.app, path).json["obj_data"] == json.loads(DOCUMENT)
    other = map_spans([call], Filing(f"{api.project} b", NOW_NS))
    api.service.store.writer.write(other)
    assert ask(api.service.app, path).json["error"]["field"] == "project"
    assert ask(api.service.app, "/api/v1/objects").json["error"]["field"] == "trace_id"


@sampled(1)
@pytest.mark.parametrize("is_uploaded", [True, False], ids=["uploaded", "inline"])
@pytest.mark.parametrize(
    ("ref", "value", "media_type", "name"),
    [
        ("Größen/a b", pa.table({"a": [1, 2]}), "application/vnd.apache.parquet", "Größen_a_b"),
        ("a.npy", np.arange(6), "application/x-npy", "a.npy"),
        ("note", 'a "text"', "text/plain; charset=utf-8", "note.txt"),
        ("params", {"a": [1]}, "application/json", "params.json"),
        ("..", {1, 2}, "application/json", None),
        ("raw", b"\xff" * 7, "application/octet-stream", "raw.bin"),
    ],
    ids=["table", "array", "text", "JSON", "typed", "bytes"],
)
def test_file(
    api: Api, ref: str, value: Any, media_type: str, name: str | None, *, is_uploaded: bool
) -> None:
    """A logged value is downloaded as a file with its media type and name, and read by `load`."""
    made = artifact.make_artifact(ref, value, Redaction())
    facts = dict(made.facts)
    if is_uploaded:
        text = str(facts.pop("otel_ml.artifact.json", ""))
        encoded = str(facts.pop("otel_ml.artifact.base64", ""))
        api.upload(text.encode() or base64.b64decode(encoded))
    call = make_call(events=[Event("otel_ml.artifact", NOW_NS, facts)])
    api.take(call)
    [found] = api.run(call)["artifacts"]
    answered = api.ask(f"/artifacts/{made.sha256}")
    assert hashlib.sha256(answered.body).hexdigest() == made.sha256
    assert answered.headers["content-type"] == media_type
    suffix = ".parquet" if ref.startswith("G") else ""
    expected = quote((name or f"{made.sha256}.json") + suffix)
    assert answered.headers["content-disposition"] == f"attachment; filename*=UTF-8''{expected}"
    assert same(types.load(answered.body, found["type"]).data, value)
    whole = api.objects(ref=ref, run_id=id_of(call))
    assert same(types.load(whole["obj_data"]).data, value)


@sampled(1)
@pytest.mark.parametrize("is_uploaded", [True, False], ids=["uploaded", "inline"])
def test_document(api: Api, is_uploaded: bool) -> None:
    """A document is sent as an immutable attachment that no browser executes."""
    if is_uploaded:
        api.upload(DOCUMENT.encode())
    else:
        api.take(logging_call("sample"))
    answered = api.ask(f"/artifacts/{SHA256}")
    wanted = {
        "cache-control": "private, max-age=31536000, immutable",
        "content-disposition": f"attachment; filename*=UTF-8''{SHA256 if is_uploaded else 'sample'}"
        ".json",
        "content-length": str(len(DOCUMENT.encode())),
        "content-type": "application/json",
        "etag": f'"{SHA256}"',
        "x-content-type-options": "nosniff",
    }
    assert (answered.status, answered.body.decode()) == (200, DOCUMENT)
    assert {name: answered.headers.get(name) for name in wanted} == wanted
    head = api.ask(f"/artifacts/{SHA256}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {name: head.headers.get(name) for name in wanted} == wanted
    again = api.ask(f"/artifacts/{SHA256}", headers={"if-none-match": f'"{SHA256}"'})
    assert (again.status, again.body) == (304, b"")


@sampled(1)
@pytest.mark.parametrize(
    "sha256",
    ["0" * 64, SHA256.upper(), SHA256[:-1], f"{SHA256}0", "..", "%2e%2e%2fx", "é" * 64],
)
def test_absent_document(api: Api, sha256: str) -> None:
    """An invalid or unknown hash is answered with 404."""
    api.take(logging_call("sample"), make_call(events=[make_artifact("large")]))
    answered = api.ask(f"/artifacts/{quote(sha256, safe='%')}")
    assert (answered.status, answered.json["error"]["code"]) == (404, "not_found")


def test_document_of_another_project(api: Api, service: Service) -> None:
    """A document is found only in its own project."""
    other = Api(service)
    api.upload(b'{"type":"secret"}')
    api.take(logging_call("sample"))
    for document in (b'{"type":"secret"}', DOCUMENT.encode()):
        sha256 = hashlib.sha256(document).hexdigest()
        assert api.ask(f"/artifacts/{sha256}").status == 200
        assert other.ask(f"/artifacts/{sha256}").status == 404
        assert other.ask(f"/artifacts/{sha256}/image").status == 404
        other.take(make_call(events=[make_artifact("guess", sha256=sha256)]))
        assert other.ask(f"/objects?ref=guess&trace_id={'0' * 32}").status == 404
        assert other.ask(f"/artifacts/{sha256}").status == 404
    assert [one["url"] for one in other.objects()["objects"]] == [None, None]


def png(width: int, rows: Sequence[bytes]) -> bytes:
    """Return an 8-bit RGB PNG."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def image_document(content: bytes, kind: str = "otel_ml.types.Image") -> bytes:
    data = base64.b64encode(content).decode()
    return json.dumps({"type": kind, "params": {"data": data, "lossless": True}}).encode()


PNG: Final = png(1, [b"\xff\0\0"])
JPEG: Final = bytes.fromhex("ffd8 ffe00004 4a46 ffc0000b 08 0001 0001 01 011100") + b" and more"


@sampled(2)
@pytest.mark.parametrize(
    ("content", "kind", "media_type"),
    [
        (PNG, "", "image/png"),
        (JPEG, "", "image/jpeg"),
        (PNG, "otel_ml.types.Image", "image/png"),
        (JPEG, "otel_ml.types.Image", "image/jpeg"),
        (JPEG, "raymon.types.Image", "image/jpeg"),
    ],
    ids=["png file", "jpeg file", "png", "jpeg", "raymon"],
)
def test_image(api: Api, content: bytes, kind: str, media_type: str) -> None:
    """An image is sent with the media type of its first bytes, under the strict content policy."""
    sha256 = api.upload(image_document(content, kind) if kind else content)
    answered = api.ask(f"/artifacts/{sha256}/image")
    assert (answered.status, answered.body) == (200, content)
    assert answered.headers["content-type"] == media_type
    assert answered.headers["x-content-type-options"] == "nosniff"
    assert answered.headers["content-security-policy"].startswith("default-src 'none'; ")


@sampled(3)
@pytest.mark.parametrize(
    "document",
    [
        image_document(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        image_document(b"<html><script>alert(1)</script>"),
        image_document(b"GIF89a"),
        image_document(b" " + PNG),
        image_document(PNG, "otel_ml.types.Numpy"),
        b'{"type": "otel_ml.types.Image", "params": {"data": "?!"}}',
        b'{"type": "otel_ml.types.Image", "params": {"data": 7}}',
        b'{"type": "otel_ml.types.Image", "params": []}',
        b'{"type": ["otel_ml.types.Image"], "params": {}}',
        b'["otel_ml.types.Image"]',
        b'{"type": "otel_ml.types.Image", "params": {"data": "',
        image_document(PNG + b"x" * (12 * 1024 * 1024)),
    ],
    ids=[
        *("svg", "html", "gif", "padded", "array", "no base64", "number", "list"),
        *("odd type", "no object", "cut", "large"),
    ],
)
def test_no_image(api: Api, document: bytes) -> None:
    """Image content that is not PNG or JPEG, or is very large, is answered with 404."""
    sha256 = api.upload(document)
    answered = api.ask(f"/artifacts/{sha256}/image")
    assert (answered.status, answered.json["error"]["code"]) == (404, "not_found")
    assert answered.headers["content-type"] == "application/json"


@at_night
def test_counts(api: Api) -> None:
    """A project has its number of distinct documents and their total bytes."""
    size = len(DOCUMENT.encode())
    api.upload(DOCUMENT.encode())
    api.upload(b'{"type":"x"}')
    api.take(logging_call("a", "b"), logging_call("c"), make_call(events=[make_artifact("large")]))
    projects = ask(api.service.app, "/api/v1/projects").json["projects"]
    (found,) = [one for one in projects if one["project"] == api.project]
    assert (found["artifacts"], found["artifact_bytes"]) == (2, size + 12)
