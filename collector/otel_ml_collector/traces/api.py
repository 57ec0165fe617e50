"""Traces in the JSON API, as JSON and as a zip file."""

import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query

from otel_ml_collector.api.parameters import Cursor, FromReader
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.artifacts.find import LinkedArtifact, open_document
from otel_ml_collector.export import Outgoing
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import RUN, Run, Trace
from otel_ml_collector.runs.find import find_whole_runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.traces.find import find_trace

_LEVEL: Final = 1
_FACTS: Final = ("ref", "type", "bytes", "sha256", "time")
# What was gathered is sent once it is this much.
_PART_BYTES: Final = 64 * 1024
# A time that every zip file may hold; when the records are from stands in them.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
router = APIRouter(prefix="/api/v1")
_ZIP: Final = "application/zip"
_TRACE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Trace, "content": {_ZIP: {}}}}


def write_bundle(reader: Reader, trace: Trace, now_ns: int) -> Iterator[bytes]:
    """Write a trace as a zip file: a few runs after the others, never all of them in memory.

    Names of files are made of ids and hashes alone, never of what a user called anything.
    A run that was deleted meanwhile is left out, of the list too.
    """
    sent = Outgoing()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for _ in _Bundle(file, reader).write(trace, now_ns):
            if sent.waiting > _PART_BYTES:
                yield sent.take()
    yield sent.take()


@dataclass(slots=True)
class _Bundle:
    """A zip file that is being written, and its content by now; it stops after each part."""

    _file: zipfile.ZipFile
    _reader: Reader
    _runs: list[dict[str, str]] = field(default_factory=list)
    _artifacts: list[dict[str, Any]] = field(default_factory=list)
    _written: set[str] = field(default_factory=set)

    def write(self, trace: Trace, now_ns: int) -> Iterator[None]:
        for run in find_whole_runs(self._reader, trace.runs, now_ns):
            yield from self._add_run(run)
        for record in trace.records:
            for artifact in record.artifacts:
                yield from self._add_artifact(artifact, record.project, record.run_id)
        facts = {
            "key": trace.key,
            "runs": self._runs,
            "artifacts": self._artifacts,
            "records": trace.records,
            "truncated": trace.truncated,
            "hidden_parents": trace.hidden_parents,
        }
        yield from self._write("manifest.json", [orjson.dumps(facts, option=orjson.OPT_INDENT_2)])

    def _add_run(self, run: Run) -> Iterator[None]:
        name = f"runs/{run.run_id}.json"
        yield from self._write(name, [RUN.dump_json(run)])
        self._runs.append({"run_id": run.run_id, "project": run.project, "file": name})
        for artifact in run.artifacts:
            yield from self._add_artifact(artifact, run.project, run.run_id)

    def _add_artifact(
        self, artifact: LinkedArtifact, project: str, run_id: str | None
    ) -> Iterator[None]:
        """Add an artifact to the list, and its document, once, to the file."""
        name: str | None = None
        if artifact.sha256 and artifact.url:
            name = f"artifacts/{artifact.sha256}.json"
            if artifact.sha256 not in self._written:
                document = open_document(self._reader, project, artifact.sha256)
                self._written.add(artifact.sha256)
                yield from self._write(name, document.parts)
        facts = {name: getattr(artifact, name) for name in _FACTS}
        self._artifacts.append({**facts, "project": project, "run_id": run_id, "file": name})

    def _write(self, name: str, parts: Iterable[bytes]) -> Iterator[None]:
        entry = zipfile.ZipInfo(name, _DATE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        with self._file.open(entry, "w", force_zip64=True) as file:
            for part in parts:
                file.write(part)
                yield


@router.get("/traces/{key:path}", response_model=None, responses=_TRACE)
def get_trace(
    *,
    key: str,
    reader: FromReader,
    places: FromPlaces,
    file_format: Annotated[Literal["json", "zip"], Query(alias="format")] = "json",
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many runs")] = 10_000,
    cursor: Cursor = None,
    parent: Annotated[
        str | None, Query(max_length=49, description="A run id: its children alone")
    ] = None,
) -> Trace | Stream:
    """Read the runs of the traces that have this trace id or key, oldest first.

    As a zip file it is all of it: each run with its payload, the documents that were logged, and a
    list of them, `manifest.json`.
    """
    now_ns = time.time_ns()
    page = runs.TracePage() if file_format == "zip" else runs.TracePage(limit, cursor, parent)
    trace = find_trace(reader, key, now_ns=now_ns, page=page)
    if file_format == "json":
        return trace
    return Stream(write_bundle(reader, trace, now_ns), _ZIP, "trace.zip", places.take())
