"""Jaeger's query API, for Grafana's Jaeger data source: over the spans that are here.

It is under ``/jaeger/api`` and under ``/api``: some releases of Grafana drop the path of the data
source's address when they search.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.problems import headers_of, problem_of
from otel_ml_collector.errors import CollectorError
from otel_ml_collector.jaeger import find as jaeger
from otel_ml_collector.jaeger.spans import JaegerError, Operation, Structured

PREFIXES: Final = ("/jaeger/api", "/api")
_MOST_IDS: Final = 100

_Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
Text = Annotated[str, Query(max_length=1_000)]
Texts = Annotated[list[Annotated[str, Query(max_length=4_000)]], Query(max_length=20)]


class JaegerRoute(APIRoute):
    """A route whose errors are in Jaeger's shape."""

    def get_route_handler(self) -> _Endpoint:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def handle_as_jaeger(request: Request) -> Response:
            try:
                return await handle(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return _failed(status, problem.message, headers_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                return _failed(400, f"unable to parse param '{first['loc'][1]}': {first['msg']}")

        return handle_as_jaeger


router = APIRouter(route_class=JaegerRoute, include_in_schema=False)


@router.get("/services")
def get_services(reader: FromReader) -> Structured:
    """List services."""
    found = jaeger.find_services(reader, time.time_ns())
    return Structured(data=found, total=len(found))


@router.get("/services/{service:path}/operations")
def get_service_operations(service: str, reader: FromReader) -> Structured:
    """List the names of a service's spans."""
    found = jaeger.find_operations(reader, service, time.time_ns())
    names = list(dict.fromkeys(str(row["name"]) for row in found))
    return Structured(data=names, total=len(names))


@router.get("/operations")
def get_operations(reader: FromReader, service: Text, spanKind: Text = "") -> Structured:  # noqa: N803 - Jaeger's name
    """List names and kinds of a service's spans."""
    found = [
        Operation(name=row["name"], spanKind=row["span_kind"])
        for row in jaeger.find_operations(reader, service, time.time_ns())
        if spanKind in {"", row["span_kind"]}
    ]
    return Structured(data=found, total=len(found))


@router.get("/traces")
def get_traces(  # noqa: PLR0913 - Jaeger's parameters
    reader: FromReader,
    *,
    service: Text = "",
    operation: Text = "",
    tag: Texts = [],  # noqa: B006 - the framework copies it
    tags: Texts = [],  # noqa: B006 - the framework copies it
    start: Text = "",
    end: Text = "",
    minDuration: Text = "",  # noqa: N803 - Jaeger's name
    maxDuration: Text = "",  # noqa: N803 - Jaeger's name
    limit: Annotated[int, Query(ge=1)] = jaeger.DEFAULT_LIMIT,
    traceID: Annotated[list[str], Query(max_length=_MOST_IDS)] = [],  # noqa: B006, N803 - Jaeger's name
) -> Structured:
    """Search traces, or read those with some ids."""
    now_ns = time.time_ns()
    if traceID:
        wanted = [jaeger.read_trace_id(text) for text in traceID]
        return Structured(data=jaeger.read_traces(reader, wanted, now_ns))
    asked = jaeger.TraceQuery(service, operation, tags, tag, start, end, minDuration, maxDuration)
    return Structured(data=jaeger.search(reader, asked, min(limit, jaeger.MAX_LIMIT), now_ns))


@router.get("/traces/{trace_id}")
def get_trace(trace_id: str, reader: FromReader) -> Structured:
    """Read one trace; a span of time beside its id changes nothing."""
    return Structured(data=[jaeger.find_jaeger_trace(reader, trace_id, time.time_ns())])


@router.get("/dependencies")
def get_dependencies(reader: FromReader) -> Structured:
    """List none: who calls whom is not computed here."""
    return Structured(data=[])


def _failed(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    answer = Structured(data=None, errors=[JaegerError(code=status, msg=message)])
    return JSONResponse(answer.model_dump(), status, headers)
