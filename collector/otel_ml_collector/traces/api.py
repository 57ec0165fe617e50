"""Traces in the JSON API, as JSON and as a zip file; and the deletion of runs with those inside."""

import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import ADMIN, note_read
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import Cursor, FromReader, reader_for
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.artifacts.find import LinkedArtifact, open_document, suffix_of
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.export import Outgoing
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run, Trace, run_writer
from otel_ml_collector.runs.find import find_whole_runs
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.services import service_of
from otel_ml_collector.store.deletion import RUN_SEPARATOR, Deleter
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.tombstones import RUN as A_RUN

_LEVEL: Final = 1
# The zip file is sent in parts of at least this size.
_PART_BYTES: Final = 64 * 1024
# A time that any zip file can hold. The times of the records are in the records.
_DATE: Final = (1980, 1, 1, 0, 0, 0)
# Maximum number of runs and spans per deletion.
_MOST_DELETED: Final = 2_000
router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
_ZIP: Final = "application/zip"
_TRACE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Trace, "content": {_ZIP: {}}}}


def write_bundle(reader: Reader, trace: Trace, now_ns: int) -> Iterator[bytes]:
    """Write a trace as a zip file, with only a few runs in memory at a time.

    File names consist of IDs and hashes, never of names that users chose. If a run is deleted
    before it is written, the zip file has neither its file nor its entry in `manifest.json`, the
    list of all files.
    """
    sent = Outgoing()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for _ in _Bundle(file, reader).write(trace, now_ns):
            if sent.waiting > _PART_BYTES:
                yield sent.take()
    yield sent.take()


@dataclass(slots=True)
class _Bundle:
    """A zip file that is being written, part by part, and what it contains so far."""

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
        yield from self._write(name, [run_writer().dump_json(run)])
        self._runs.append({"run_id": run.run_id, "project": run.project, "file": name})
        for artifact in run.artifacts:
            yield from self._add_artifact(artifact, run.project, run.run_id)

    def _add_artifact(
        self, artifact: LinkedArtifact, project: str, run_id: str | None
    ) -> Iterator[None]:
        """Add an artifact to the list, and its document, once, to the file."""
        name: str | None = None
        if artifact.sha256 and artifact.url:
            name = f"artifacts/{artifact.sha256}{suffix_of(artifact)}"
            if artifact.sha256 not in self._written:
                document = open_document(self._reader, project, artifact.sha256)
                self._written.add(artifact.sha256)
                yield from self._write(name, document.parts)
        facts = {
            name: getattr(artifact, name) for name in ("ref", "type", "bytes", "sha256", "time")
        }
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
    limit: Annotated[int, Query(ge=1, le=10_000, description="Maximum number of runs")] = 10_000,
    cursor: Cursor = None,
    parent: Annotated[
        str | None, Query(max_length=49, description="ID of a run, to get only its children")
    ] = None,
) -> Trace | Stream:
    """Read the runs of a trace, oldest first.

    The path ends with the ID of the trace, or with a key that you gave to the trace. If several
    traces have this key, you get the runs of all of them. With `format=zip`, you get a zip file
    with everything: each run with its inputs and outputs, the logged documents, and
    `manifest.json`, which lists the runs and documents.
    """
    now_ns = time.time_ns()
    page = runs.TracePage() if file_format == "zip" else runs.TracePage(limit, cursor, parent)
    trace = find_trace(reader, key, now_ns=now_ns, page=page)
    for project in {run.project for run in trace.runs}:
        note_read(project, f"traces/{key}")
    if file_format == "json":
        return trace
    return Stream(write_bundle(reader, trace, now_ns), _ZIP, "trace.zip", places.take())


class UnwantedRuns(BaseModel):
    """Runs to delete."""

    model_config = ConfigDict(extra="forbid")

    run_ids: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9a-f]{16}$")]],
        Field(min_length=1, max_length=100),
    ]
    inside: bool = Field(
        default=False, description="Whether to delete all runs and spans inside these runs, too"
    )


class DeletedRuns(AnswerBody):
    """A deletion of several runs that was carried out."""

    project: str
    deleted_runs: int = Field(
        description="Number of deleted runs and spans, including unfinished ones"
    )


@router.post("/projects/{project:path}/delete-runs")
def delete_runs(
    project: str,
    unwanted: UnwantedRuns,
    reader: Annotated[Reader, Depends(reader_for(ADMIN))],
    deleter: Annotated[Deleter, Depends(service_of(Deleter))],
) -> DeletedRuns:
    """Delete several runs with all records about them, and with `inside` the runs inside them."""
    run_ids = dict.fromkeys(unwanted.run_ids)
    if unwanted.inside:
        for run_id in unwanted.run_ids:
            run_ids |= dict.fromkeys(_list_below(reader, project, run_id))
    if len(run_ids) > _MOST_DELETED:
        raise BadInput(
            f"Too many runs: {len(run_ids):,} including their calls, at most {_MOST_DELETED:,}",
            "run_ids",
        )
    _, number = deleter.delete(project, A_RUN, RUN_SEPARATOR.join(run_ids))
    return DeletedRuns(project=project, deleted_runs=number)


def _list_below(reader: Reader, project: str, run_id: str) -> list[str]:
    """List the runs and spans below a run, in the first 10,000 of its trace."""
    trace_id = run_id.partition("-")[0]
    try:
        trace = find_trace(reader, trace_id, project, now_ns=time.time_ns())
    except Missing:
        return []
    below: defaultdict[str | None, list[str]] = defaultdict(list)
    for run in trace.runs:
        below[run.parent_run_id].append(run.run_id)
    listed: dict[str, None] = {}
    waiting = [run_id]
    while waiting:  # not recursive: a trace can be deeper than Python's stack
        for child in below.pop(waiting.pop(), ()):
            listed[child] = None
            waiting.append(child)
    return [*listed]
