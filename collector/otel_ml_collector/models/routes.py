"""The models of a project, and one model: its versions, and what changed between any two."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.artifacts.page import lay_out
from otel_ml_collector.models import diff
from otel_ml_collector.models import find as models
from otel_ml_collector.models.find import Models, VersionDetail, Versions
from otel_ml_collector.projects import find_projects
from otel_ml_collector.stats import Figures, StatsBucket, StatsQuery, draw_curve, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Window
from otel_ml_collector.times import DAY_NS, HOUR_NS
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import cut_slice, quoted, read_state

_SPANS: Final = {
    "1h": (HOUR_NS, HOUR_NS // 60),
    "24h": (DAY_NS, HOUR_NS),
    "7d": (7 * DAY_NS, 6 * HOUR_NS),
    "30d": (30 * DAY_NS, DAY_NS),
}
_CURVES: Final = 6
_CURVE_JUDGES: Final = 3
_JUDGES: Final = 3
_METRICS: Final = 4
_VERSIONS: Final = 50
_number = attrgetter("version")

api = APIRouter(prefix="/api/v1")
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@api.get("/projects/{project:path}/models")
def get_models(project: str, reader: FromReader) -> Models:
    """List the models of a project, the one that ran last first."""
    return Models(models=models.find_models(reader, project))


@api.get("/projects/{project:path}/models/{model:path}/versions")
def get_versions(project: str, model: str, reader: FromReader) -> Versions:
    """Read the versions of a model with source and statistics, newest first."""
    return Versions(versions=models.find_versions(reader, project, model))


@api.get("/projects/{project:path}/models/{model:path}/versions/{number}")
def get_version(project: str, model: str, number: int, reader: FromReader) -> VersionDetail:
    """Read one version of a model."""
    return models.find_version(reader, project, model, number)


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure of a version over time, as SVG points, with its value over all of it."""

    points: str
    value: float | None


@dataclass(frozen=True, slots=True)
class VersionCurves:
    """The curves of one version; `judges` are pass rates, or mean scores where nothing passes."""

    version: str
    total: Figures
    runs: str
    errors: str
    latency: str
    judges: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of the versions with most runs, and the judges that they are told for."""

    judges: Sequence[str]
    versions: Sequence[VersionCurves]


def find_curves(reader: Reader, project: str, model: str, last: str, now_ns: int) -> Curves:
    """Find how the versions of a model did in the last hour, 24 hours, 7 or 30 days."""
    length_ns, step_ns = _SPANS[last]
    end_ns = -(-now_ns // step_ns) * step_ns
    window = Window(end_ns - length_ns, end_ns)
    where = f"model == {quoted(model)}"
    query = StatsQuery(project, where, "version", window, step_ns, _CURVES)
    stats = find_stats(reader, query)
    judges = [judge.judge for judge in stats.total.judges[:_CURVE_JUDGES]]

    def curve(buckets: Sequence[StatsBucket], of: Callable[[Figures], float | None]) -> str:
        return draw_curve(buckets, of, window, step_ns)

    return Curves(
        judges,
        [
            VersionCurves(
                version=group.group,
                total=group.total,
                runs=curve(group.buckets, lambda figures: figures.runs),
                errors=curve(group.buckets, lambda figures: figures.error_share),
                latency=curve(group.buckets, lambda figures: figures.p90_ms),
                judges=[
                    Curve(curve(group.buckets, partial(_said, judge)), _said(judge, group.total))
                    for judge in judges
                ],
            )
            for group in stats.groups
        ],
    )


def _said(judge: str, figures: Figures) -> float | None:
    """Return a judge's pass rate, or its mean score where it says nothing of passing."""
    for one in figures.judges:
        if one.judge == judge:
            return one.mean_score if one.pass_rate is None else one.pass_rate
    return None


@pages.get("/projects/{project:path}/models")
def list_models(request: Request, reader: FromReader, project: str) -> Response:
    """The models of a project."""
    found = models.find_models(reader, project)
    context = {
        "project": project,
        "models": found,
        "elsewhere": [] if found else [one for one in find_projects(reader) if one.runs],
        "api": view.api_address("projects", project, "models"),
        "python": python_call("models"),
    }
    return show_page(request, "models.html", context)


@pages.get("/projects/{project:path}/models/{model:path}")
def show_model(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: str,
    old: Annotated[int | None, Query(alias="from", ge=1)] = None,
    new: Annotated[int | None, Query(alias="to", ge=1)] = None,
    last: Annotated[Literal["1h", "24h", "7d", "30d"], Query()] = "24h",
) -> Response:
    """One model: its versions, and what changed between two of them."""
    versions = models.find_versions(reader, project, model)
    by_number = {version.version: version for version in versions}
    after = by_number.get(new or 0, versions[0])
    before = by_number.get(old or after.version - 1)
    shown = cut_slice(versions, read_state(request).first("versions"), _VERSIONS)
    near = [*shown.items, after, *([before] if before else [])]
    judges = sorted({judge.judge for version in versions for judge in version.judges})
    logged = Counter(name for version in versions for name in version.last_metrics)
    metrics = sorted(logged, key=lambda name: (-logged[name], name))  # of most versions first
    context = {
        "project": project,
        "model": model,
        "versions": versions,
        "shown": shown,
        "choices": sorted({one.version: one for one in near}.values(), key=_number),
        "changes": {
            version.version: diff.changes(
                by_number[version.version - 1].definition
                if version.version - 1 in by_number
                else None,
                version.definition,
            )
            for version in shown.items
        },
        "judges": judges[:_JUDGES],
        "metrics": metrics[:_METRICS],
        "more_metrics": len(metrics[_METRICS:]),
        "last": last,
        "before": before,
        "after": after,
        "artifacts": lay_out(request, reader, project, after.artifacts),
        "facts": diff.facts(before.definition, after.definition) if before else [],
        "blocks": diff.blocks(before.definition, after.definition, model) if before else [],
        "api": view.api_address("projects", project, "models", model, "versions"),
        "python": python_call("versions", model),
    }
    return show_page(request, "model.html", context)


@pages.get("/projects/{project:path}/model-curves")
def show_curves(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: Annotated[str, Query(max_length=1_024)],
    last: Annotated[Literal["1h", "24h", "7d", "30d"], Query()] = "24h",
) -> Response:
    """How a model's versions did over time, as a part of its page that comes after the rest."""
    found = find_curves(reader, project, model, last, time.time_ns())
    return show_page(request, "curves.html", {"project": project, "model": model, "found": found})
