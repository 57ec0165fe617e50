"""Addresses of Jaeger's query API, for Grafana's Jaeger data source: over the spans that are here.

It is under ``/jaeger/api`` and under ``/api``: some releases of Grafana drop the path of the data
source's address when they search.
"""

# ruff: noqa: N803 - the names are Jaeger's

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
from otel_ml_collector.jaeger.find import (
    NewSearch,
    Text,
    TraceSearch,
    find_dependencies,
    find_jaeger_trace,
    find_newly,
    find_operations,
    find_services,
    find_spans,
    read_trace_id,
    read_traces,
    search,
)
from otel_ml_collector.jaeger.traces import JaegerError, MissingTrace, Structured, make_result

PREFIXES: Final = ("/jaeger/api", "/api")
_NEW: Final = "/v3/"


class JaegerRoute(APIRoute):
    """A route whose errors are in Jaeger's shape, which is another one in its third version."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()
        is_new = _NEW in self.path

        async def handle_as_jaeger(request: Request) -> Response:
            try:
                return await handle(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return _failed(is_new, status, problem.message, headers_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                message = f"unable to parse param '{first['loc'][1]}': {first['msg']}"
                return _failed(is_new, 400, message)

        return handle_as_jaeger


def _failed(
    is_new: bool, status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    if is_new:
        return JSONResponse({"error": {"httpCode": status, "message": message}}, status, headers)
    answer = Structured(data=None, errors=[JaegerError(code=status, msg=message)])
    return JSONResponse(answer.model_dump(), status, headers)


router = APIRouter(route_class=JaegerRoute, include_in_schema=False)


@router.get("/services")
def get_services(reader: FromReader) -> Structured:
    """List services."""
    found = find_services(reader, time.time_ns())
    return Structured(data=found, total=len(found))


@router.get("/services/{service:path}/operations")
def get_service_operations(service: str, reader: FromReader) -> Structured:
    """List the names of a service's spans; null for a service that nobody knows."""
    found = find_operations(reader, service, time.time_ns())
    names = list(dict.fromkeys(one.name for one in found))
    return Structured(data=names or None, total=len(names))


@router.get("/operations")
def get_operations(reader: FromReader, service: Text, spanKind: Text = "") -> Structured:
    """List names and kinds of a service's spans."""
    found = find_operations(reader, service, time.time_ns())
    data = [one for one in found if spanKind in {"", one.spanKind}]
    return Structured(data=data, total=len(data))


@router.get("/traces")
def get_traces(reader: FromReader, asked: Annotated[TraceSearch, Query()]) -> Structured:
    """Search traces, or read those with some ids."""
    now_ns = time.time_ns()
    if not asked.traceID:
        return Structured(data=search(reader, asked, now_ns))
    wanted = [read_trace_id(text) for text in asked.traceID]
    found = read_traces(reader, wanted, now_ns)
    known = {trace.traceID for trace in found}
    missing = [MissingTrace(traceID=one) for one in wanted if one not in known]
    return Structured(data=found, errors=missing or None)


@router.get("/traces/{trace_id}")
def get_trace(trace_id: str, reader: FromReader) -> Structured:
    """Read one trace; a span of time beside its id changes nothing."""
    return Structured(data=[find_jaeger_trace(reader, trace_id, time.time_ns())])


@router.get("/dependencies")
def get_dependencies(reader: FromReader, endTs: Text = "", lookback: Text = "") -> Structured:
    """Count which service's spans began below which one's, in a time before a moment."""
    return Structured(data=find_dependencies(reader, endTs, lookback, time.time_ns()))


@router.get("/v3/services")
def get_new_services(reader: FromReader) -> dict[str, Any]:
    """List services."""
    return {"services": find_services(reader, time.time_ns())}


@router.get("/v3/operations")
def get_new_operations(reader: FromReader, service: Text = "", span_kind: Text = "") -> Response:
    """List names and kinds of a service's spans."""
    found = find_operations(reader, service, time.time_ns())
    told = [one.model_dump() for one in found if span_kind in {"", one.spanKind}]
    return JSONResponse({"operations": told})


@router.get("/v3/traces")
def get_new_traces(reader: FromReader, asked: Annotated[NewSearch, Query()]) -> Response:
    """Search traces; their spans are below one result."""
    return JSONResponse(make_result(find_newly(reader, asked, time.time_ns())))


@router.get("/v3/traces/{trace_id}")
def get_new_trace(trace_id: str, reader: FromReader) -> Response:
    """Read one trace."""
    spans, _ = find_spans(reader, trace_id, time.time_ns())
    return JSONResponse(make_result(spans))
