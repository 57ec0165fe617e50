"""All API responses about a project, to compare two projects with each other."""

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ml import attributes as names
from tests.support.collector import CollectorProcess

# Fields that depend on when and where something arrived.
_OWN: Final = frozenset({"project", "url", "first_seen_time", "next_cursor"})
_SAMPLE: Final = 20


def answers_about(collector: CollectorProcess, project: str) -> Mapping[str, Any]:
    """Return lists, counts, statistics, quantiles, metrics and scores without the project's name.

    Runs are ordered by id. For a sample of runs with metrics, everything is read.
    """
    path = f"/projects/{project}"
    runs = sorted(collector.runs(project), key=lambda run: str(run["run_id"]))
    metrics = collector.get(f"{path}/metrics")
    sample = sorted(run["run_id"] for run in metrics["runs"])[:_SAMPLE]
    models = collector.get(f"{path}/models")["models"]
    projects = collector.get("/projects")["projects"]
    return {
        "runs": _plain(runs),
        "project": _plain([one for one in projects if one["project"] == project]),
        "models": _plain(models),
        "versions": [
            _plain(collector.get(f"{path}/models/{model['model']}/versions")) for model in models
        ],
        "metrics": _plain(metrics),
        "details": [_plain(collector.get(f"{path}/runs/{run_id}")) for run_id in sample],
        "series": [_plain(collector.get(f"{path}/metrics", run_id=run_id)) for run_id in sample],
    }


def filed_under(project: str, body: bytes) -> bytes:
    """Return the same spans with another project."""
    request = ExportTraceServiceRequest.FromString(body)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                for pair in span.attributes:
                    if pair.key == names.PROJECT:
                        pair.value.string_value = project
    return request.SerializeToString()


def _plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_plain(item) for item in answer]
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items() if key not in _OWN}
    return answer
