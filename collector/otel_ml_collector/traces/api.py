"""Traces in the JSON API, as JSON and as one zip file."""

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query

from otel_ml_collector.api.parameters import Cursor, FromReader
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.export.bundle import write_bundle
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Trace
from otel_ml_collector.traces.find import find_trace

router = APIRouter(prefix="/api/v1")
_ZIP: Final = "application/zip"
_TRACE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Trace, "content": {_ZIP: {}}}}


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
