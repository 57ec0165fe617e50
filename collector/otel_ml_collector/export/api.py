"""The part of the JSON API that answers with all runs of a project as one file."""

import time
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from otel_ml_collector.api.parameters import FromReader, Time, Where
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.export.find import ExportQuery, choose_columns, export_runs, schema_of
from otel_ml_collector.export.formats import WRITERS
from otel_ml_collector.times import HOUR_NS, from_rfc3339

_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {media_type: {} for media_type, _ in WRITERS.values()}}
}
_COLUMNS: Final = "Names with commas, `*` for all; unless told those that a list shows"

router = APIRouter(prefix="/api/v1")

Columns = Annotated[str, Query(max_length=2_000, description=_COLUMNS)]
Format = Literal["jsonl", "csv", "parquet"]


def parse_export(
    *,
    project: str,
    file_format: Annotated[Format, Query(alias="format")] = "jsonl",
    where: Where = "",
    start: Time = None,
    end: Time = None,
    columns: Columns = "",
) -> tuple[str, ExportQuery]:
    """Read what to export, and as which kind of file.

    Raises:
        BadQuery: A time cannot be read, or a column is unknown.
    """
    query = ExportQuery(
        project=project,
        where=where,
        start_ns=from_rfc3339(start, "start") if start else 0,
        end_ns=from_rfc3339(end, "end") if end else time.time_ns() + HOUR_NS,
        columns=choose_columns(columns),
        json_tags=file_format != "parquet",
    )
    return file_format, query


@router.get(
    "/projects/{project:path}/export",
    response_class=StreamingResponse,
    response_model=None,
    responses=_FILES,
)
def get_export(
    wanted: Annotated[tuple[str, ExportQuery], Depends(parse_export)],
    reader: FromReader,
    places: FromPlaces,
) -> Stream:
    """Download the runs of a project that have ended, oldest first, as JSON lines, CSV or Parquet.

    A body that breaks off before its end is no export: it is sent in chunks, and its last one is
    missing.
    """
    file_format, query = wanted
    media_type, write = WRITERS[file_format]
    parts = write(schema_of(query), export_runs(reader, query))
    return Stream(parts, media_type, f"runs.{file_format}", places.take())
