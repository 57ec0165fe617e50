"""Spans, annotations and examples in the formats of Phoenix."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml.imports.otlp_records import BadRecord, SourceRecord
from otel_ml.imports.phoenix import PhoenixExport
from tests.support.folders import ROOT

EXPORTED = ROOT / "tests/support/phoenix_files"
IDS = {"trace_id": "1" * 32, "span_id": "2" * 16}


def read_export(*files: Path) -> list[SourceRecord | BadRecord]:
    """Return the records of files."""
    return list(PhoenixExport(files, "p").read())


def read_spans(*files: Path) -> list[dict[str, Any]]:
    """Return the spans of files, the oldest first, with attributes as plain values."""
    spans = [
        json.loads(record.item)
        for record in read_export(*files)
        if isinstance(record, SourceRecord)
    ]
    for part in [*spans, *(event for span in spans for event in span["events"])]:
        part["attributes"] = {
            item["key"]: next(iter(item["value"].values())) for item in part["attributes"]
        }
    return sorted(spans, key=lambda span: str(span["startTimeUnixNano"]))


@pytest.mark.parametrize("form", ["rest_spans.json", "rest_otlp.json"])
def test_every_form_has_the_same_spans(form: str) -> None:
    """The table and both forms of the REST API have the same spans, attribute by attribute."""
    assert read_spans(EXPORTED / form) == read_spans(EXPORTED / "spans.parquet")


def write_rows(folder: Path, *rows: dict[str, Any]) -> Path:
    """Write rows as JSON Lines."""
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_attributes_of_a_table(tmp_path: Path) -> None:
    """Counts become integers, mappings JSON text, and lists of mappings several attributes."""
    row = {
        **{f"context.{name}": text for name, text in IDS.items()},
        "start_time": 1_705_312_800_000,
        "end_time": None,
        "span_kind": "LLM",
        "attributes.llm.token_count.prompt": 7.0,
        "attributes.llm.cost.total": 7.0,
        "attributes.llm.tools": [{"tool.json_schema": "{}"}, {"tool.json_schema": None}],
        "attributes.metadata": {"region": "EU", "n": None, "deep": {"list": [1, 2]}},
        "attributes.tag.tags": ["a", "b"],
        "attributes.own": {"nested": {"key": True}},
    }
    [span] = read_spans(write_rows(tmp_path, row))
    assert span["attributes"] == {
        "llm.token_count.prompt": "7",
        "llm.cost.total": 7.0,
        "llm.tools.0.tool.json_schema": "{}",
        "metadata": '{"region":"EU","deep":{"list":[1,2]}}',
        "tag.tags": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]},
        "own.nested.key": True,
        "openinference.span.kind": "LLM",
    }
    assert span["startTimeUnixNano"] == span["endTimeUnixNano"] == "1705312800000000000"


def test_metadata_of_the_api(tmp_path: Path) -> None:
    """Attributes that the API flattened from JSON text become JSON text again."""
    attributes = {"metadata.a.b": 1, "metadata.list.0.c": 2, "metadata.list.1.c": 3}
    row = {"context": IDS, "start_time": "2024-01-15T10:00:00Z", "attributes": attributes}
    [span] = read_spans(write_rows(tmp_path, row))
    kept = span["attributes"]["metadata"]
    assert json.loads(kept) == {"a": {"b": 1}, "list": [{"c": 2}, {"c": 3}]}


def test_deep_values(tmp_path: Path) -> None:
    """A value that is nested too deeply is rejected; the next row is read."""
    row = json.dumps({"context": IDS, "start_time": "2024-01-15T10:00:00Z", "attributes": 0})
    deep = '{"a":' * 1_000 + "1" + "}" * 1_000  # as deep as Python's recursion limit
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([row, row.replace(": 0", f": {deep}"), row]))
    records = read_export(path)
    assert [isinstance(record, BadRecord) for record in records] == [False, True, False]


@pytest.mark.parametrize(
    ("identifier", "user_id", "annotator"),
    [("ada", None, "ada"), ("px-app:VXNlcjox", "VXNlcjox", "VXNlcjox"), ("", None, None)],
)
def test_annotators(
    identifier: str, user_id: str | None, annotator: str | None, tmp_path: Path
) -> None:
    """A reviewer is named by the identifier, or by Phoenix's ID of the user."""
    row = {
        "annotator_kind": "HUMAN",
        "annotation_name": "helpful",
        "trace_id": IDS["trace_id"],
        "identifier": identifier,
        "user_id": user_id,
        "updated_at": "2024-01-15T10:00:00Z",
        "result.score": 1.0,
        "result.label": None,
        "result.explanation": None,
    }
    [record] = read_export(write_rows(tmp_path, row))
    assert isinstance(record, SourceRecord)
    attributes = {
        item["key"]: next(iter(item["value"].values()))
        for item in json.loads(record.item)["attributes"]
    }
    assert attributes.get("otel_ml.annotator") == annotator
    assert attributes["otel_ml.source"] == "human"
    assert attributes["otel_ml.target.trace_key"] == IDS["trace_id"]
