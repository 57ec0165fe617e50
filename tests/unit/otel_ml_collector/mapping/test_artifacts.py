"""Tests of mapping artifact events to artifacts."""

import hashlib
from dataclasses import replace

import pytest

from otel_ml_collector.records import ArtifactRecord
from otel_ml_collector.span import Event, Value
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_artifact,
    make_call,
    make_record,
    make_start,
    map_all,
)

DOCUMENT = '{"type":"otel_ml.types.Native","params":{"data":"Zoë"}}'
DIGEST = hashlib.sha256(DOCUMENT.encode()).hexdigest()


def read(event: Event) -> ArtifactRecord:
    """Map a run with an event, and return its only artifact."""
    (artifact,) = map_all(make_call(events=[event])).artifacts
    return artifact


def test_inline() -> None:
    """An artifact that includes its document is mapped field by field."""
    event = make_artifact(
        "sample", DOCUMENT, type="otel_ml.types.Native", preview='{"of":"str"}', at_ns=NOW_NS + 1
    )
    call = make_call(events=[event])
    records = map_all(call, project="p")
    assert [replace(one, rank=0) for one in records.artifacts] == [
        ArtifactRecord(
            project="p",
            owner=id_of(call),
            ref="sample",
            type="otel_ml.types.Native",
            sha256=bytes.fromhex(DIGEST),
            bytes=len(DOCUMENT.encode()),
            json=DOCUMENT,
            preview='{"of":"str"}',
            time_ns=NOW_NS + 1,
            record_id=call.span_id.hex(),
            position=0,
            rank=0,
        )
    ]
    assert records.runs[0].events == ""


def test_uploaded() -> None:
    """An uploaded artifact has the hash and size that its event reports."""
    found = read(make_artifact("sample", sha256=DIGEST, bytes=123, uri="http://elsewhere/x"))
    assert (found.sha256.hex(), found.bytes, found.json) == (DIGEST, 123, "")


def test_size_and_hash_are_ours() -> None:
    """If the document is included, its size and hash are computed, not taken from the event."""
    found = read(make_artifact("sample", json=DOCUMENT, bytes=7))
    assert (found.sha256.hex(), found.bytes) == (DIGEST, len(DOCUMENT.encode()))


@pytest.mark.parametrize(
    ("told", "digest", "size"),
    [
        ({"json": DOCUMENT[:-9], "sha256": DIGEST, "bytes": 56}, DIGEST, 56),
        ({"json": DOCUMENT, "sha256": "0a" * 32}, "0a" * 32, 0),
        ({"json": "no JSON"}, "00" * 32, 0),
        ({"json": 3, "sha256": "nonsense", "bytes": -1}, "00" * 32, 0),
        ({"sha256": DIGEST.upper(), "bytes": "many"}, "00" * 32, 0),
    ],
    ids=str,
)
def test_broken_document(told: dict[str, Value], digest: str, size: int) -> None:
    """A document that is cut, or does not match its hash, is dropped. The artifact is kept."""
    found = read(make_artifact("sample", **told))  # type: ignore[arg-type]  # times are not among them
    assert (found.ref, found.json, found.sha256.hex(), found.bytes) == ("sample", "", digest, size)


@pytest.mark.parametrize(
    ("preview", "kept"),
    [
        ('{"shape": [2, 3]}', '{"shape":[2,3]}'),
        ("not JSON", '"not JSON"'),
        ('{"a": NaN}', '{"a":null}'),
        ("x" * 5_000, f'"{"x" * 4_096}"'),
        (None, ""),
        (7, "7"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_preview(preview: Value, kept: str) -> None:
    """A preview is stored as JSON, or as a JSON string, with at most 4,096 characters."""
    assert read(make_artifact("sample", preview=preview)).preview == kept


@pytest.mark.parametrize("ref", [None, "", 7, "x" * 1_025], ids=lambda ref: str(ref)[:9])
def test_without_a_reference(ref: Value) -> None:
    """A run keeps an artifact event without a valid reference as an event. An update fails."""
    event = Event("otel_ml.artifact", NOW_NS, {"otel_ml.artifact.ref": ref})
    call = make_call(events=[event])
    records = map_all(call, make_record("update", call, events=[event]))
    assert (records.artifacts, dict(records.rejected)) == ([], {"invalid_artifact": 1})
    assert "otel_ml.artifact" in records.runs[0].events


def test_positions() -> None:
    """Artifacts of one span are distinguished by their position among its artifacts."""
    other = Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "line"})
    call = make_call(events=[make_artifact("a"), other, make_artifact("a"), make_artifact("b")])
    assert [(one.ref, one.position) for one in map_all(call).artifacts] == [
        ("a", 0),
        ("a", 1),
        ("b", 2),
    ]


@pytest.mark.parametrize(
    ("target", "owner"),
    [
        ({"otel_ml.target.trace_key": "order 7"}, "key:order 7"),
        ({"otel_ml.target.tag": "order=7"}, "tag:order=7"),
        (
            {"otel_ml.target.model": "churn", "otel_ml.target.version": "aa"},
            "model:aa:churn",
        ),
    ],
)
def test_targets(target: dict[str, Value], owner: str) -> None:
    """An update adds an artifact to whatever target it names."""
    update = make_record("update", make_call(), target, events=[make_artifact("sample")])
    records = map_all(update)
    assert [one.owner for one in records.artifacts] == [owner]
    assert len(records) == len(records.artifacts) + len(records.versions)


def test_start_and_end() -> None:
    """If a run's start record and its span log the same artifact, it is one artifact."""
    event = make_artifact("sample", DOCUMENT)
    call = make_call(events=[event])
    start = make_start(call, events=[event])
    assert map_all(call).artifacts == map_all(start).artifacts
