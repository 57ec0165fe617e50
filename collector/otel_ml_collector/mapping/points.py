"""Maps data points of metrics about calls of models to records.

Services that send no spans report their calls in these metrics. Spec:
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from otel_ml_collector.mapping.filing import NOT_ALLOWED, WRONG_TIME, Filing, is_project, project_of
from otel_ml_collector.mapping.values import service_name, to_sorted_json, to_text, to_type_name
from otel_ml_collector.price import provider_of
from otel_ml_collector.records import CallPoint, Records
from otel_ml_collector.span import OtlpPoint, Value
from otel_ml_collector.times import MINUTE_NS

_DURATIONS: Final = (
    "gen_ai.client.operation.duration",
    "gen_ai.client.inference.duration",  # its newest name
)
_USAGE: Final = "gen_ai.client.token.usage"
# Metrics that count one kind of token each. Spec: gen-ai-token-metrics.md, next to the above.
_NAMED_KINDS: Final = {
    f"gen_ai.client.inference.{family}.{name}": kind
    for family in ("usage", "operation")
    for name, kind in {
        "input_tokens": "input",
        "output_tokens": "output",
        "cache_read.input_tokens": "cached",
        "cache_write.input_tokens": "cache_creation",
        "reasoning.output_tokens": "reasoning",
    }.items()
}
_OF_CALLS: Final = frozenset({*_DURATIONS, _USAGE, *_NAMED_KINDS})
_KIND_SPELLINGS: Final = {"prompt": "input", "completion": "output"}
_MODELS: Final = ("gen_ai.request.model", "gen_ai.response.model")
_PROVIDERS: Final = ("gen_ai.provider.name", "gen_ai.system")
# Operations that contain or follow calls of models.
_OTHER_OPERATIONS: Final = frozenset(
    {
        *("create_agent", "invoke_agent", "invoke_workflow", "plan", "execute_tool", "retrieval"),
        *("create_memory", "create_memory_store", "delete_memory", "delete_memory_store"),
        *("search_memory", "update_memory", "upsert_memory", "fetch_response"),
    }
)
_SLOT_NS: Final = 5 * MINUTE_NS
_CHARS: Final = 256
_MOST_COUNT: Final = 2**53
INVALID_VALUE: Final = "invalid_value"
INVALID_VALUE_MEANS: Final = "a sum or count is negative, too large or not a number"
INVALID_BUCKETS: Final = "invalid_buckets"
INVALID_BUCKETS_MEANS: Final = (
    "a histogram needs finite, ascending bounds, and exactly one bucket count more than bounds"
)


def map_points(points: Iterable[OtlpPoint], filing: Filing) -> Records:
    """Map data points to records. Points that are not about calls of models are left out.

    Args:
        points: Points in any order.
        filing: Project, access and time of the request.

    Returns:
        The records, and the number of points that can never be stored, by reason.
    """
    read: list[CallPoint] = []
    rejected: Counter[str] = Counter()
    for point in points:
        if not _is_read(point):
            continue
        project = project_of({}, point.scope, filing)
        if project is None:
            rejected[NOT_ALLOWED] += 1
        elif not is_project(project):
            rejected["invalid_project"] += 1
        elif point.time_ns not in filing.window_of(point.scope):
            rejected[WRONG_TIME] += 1
        elif not _is_number(point):
            rejected[INVALID_VALUE] += 1
        elif not _has_valid_buckets(point):
            rejected[INVALID_BUCKETS] += 1
        else:
            read.append(_map_point(point, project))
    return Records(points=read, rejected=rejected)


def _is_read(point: OtlpPoint) -> bool:
    operation = point.attributes.get("gen_ai.operation.name")
    return point.name in _OF_CALLS and operation not in _OTHER_OPERATIONS


def _is_number(point: OtlpPoint) -> bool:
    return 0 <= point.total <= _MOST_COUNT and point.count <= _MOST_COUNT


def _has_valid_buckets(point: OtlpPoint) -> bool:
    """Return whether the buckets, if there are any, fit the bounds, and the bounds ascend.

    Spec: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#histogram
    """
    bounds, buckets = point.bounds, point.buckets
    if not (bounds or buckets):
        return True
    ascends = all(low <= high for low, high in pairwise(bounds))
    is_finite = all(map(math.isfinite, bounds))
    return len(buckets) == len(bounds) + 1 and is_finite and ascends and sum(buckets) <= _MOST_COUNT


def _map_point(point: OtlpPoint, project: str) -> CallPoint:
    attributes = point.attributes
    scale = 1_000 if point.name in _DURATIONS and point.unit == "ms" else 1
    kind = _text(attributes, "gen_ai.token.type") if point.name == _USAGE else ""
    start_ns = point.start_ns if point.start_ns <= point.time_ns else 0
    return CallPoint(
        project,
        service_name(point.scope.resource)[:_CHARS],
        point.name,
        _text(attributes, *_MODELS),
        provider_of(_text(attributes, *_PROVIDERS)),
        _text(attributes, "gen_ai.operation.name"),
        _KIND_SPELLINGS.get(kind, kind) or _NAMED_KINDS.get(point.name, ""),
        to_type_name(attributes.get("error.type"))[:_CHARS],
        _series_of(point),
        start_ns,
        point.time_ns,
        point.time_ns if point.is_delta else point.time_ns // _SLOT_NS,
        point.is_delta,
        point.count,
        point.total / scale,
        [bound / scale for bound in point.bounds],
        list(point.buckets),
    )


def _text(attributes: Mapping[str, Value], *names: str) -> str:
    """Return the first attribute that is not empty, as text."""
    return next(filter(None, (to_text(attributes.get(name)) for name in names)), "")[:_CHARS]


def _series_of(point: OtlpPoint) -> str:
    parts = (point.scope.resource, {"scope": point.scope.name}, point.attributes)
    text = "\n".join(map(to_sorted_json, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
