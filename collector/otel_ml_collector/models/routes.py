"""The models of a project, and a model's page: its versions, and what changed between two."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Annotated, Final, Literal

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from otel_ml import attributes as names
from otel_ml.records import Aliases, ModelCounts
from otel_ml_collector import feedback
from otel_ml_collector.access import ANNOTATE, Access, access_of
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import FromReader, needs
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.artifacts.page import lay_out
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.figures import (
    ORDERS,
    SPANS,
    FiguresQuery,
    choose_judges,
    choose_user_group,
    draw_curve,
    draw_curves,
    find_figures_at,
    is_lower_better,
    list_choices,
    list_user_groups,
    make_table,
    make_tiles,
    rank,
    value_of,
    write_quality,
)
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.mapping.lineage import is_alias
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.stats import (
    JudgeFigures,
    Past,
    RunFigures,
    StatsBucket,
    StatsQuery,
    cut_past,
    find_stats,
    newest_versions,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.verdicts.lines import write_bounds, write_value
from otel_ml_collector.versions import diff
from otel_ml_collector.versions import find as models
from otel_ml_collector.versions.find import Models, VersionDetail, Versions
from otel_ml_collector.versions.variability import (
    GROUPS,
    MOST_GROUPS,
    ModelVariability,
    find_variability,
)
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import column_writer
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import cut_slice, read_state

_CURVES: Final = 6
_TILED_JUDGES: Final = 2
_CURVE_JUDGES: Final = 3
_SHOWN_JUDGES: Final = 3
_SHOWN_METRICS: Final = 4
_SHOWN_VERSIONS: Final = 50
_number = attrgetter("version")

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
writes = APIRouter(prefix="/api/v1", route_class=JsonRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@api.get("/projects/{project:path}/models")
def get_models(project: str, reader: FromReader) -> Models:
    """List the models of a project; the one with the latest run comes first."""
    return Models(models=models.find_models(reader, project))


@api.get("/projects/{project:path}/models/{model:path}/versions")
def get_versions(project: str, model: str, reader: FromReader) -> Versions:
    """Read the versions of a model with source and statistics, newest first."""
    return Versions(versions=models.find_versions(reader, project, model))


@api.get("/projects/{project:path}/models/{model:path}/versions/{number}")
def get_version(project: str, model: str, number: int, reader: FromReader) -> VersionDetail:
    """Read a version of a model."""
    return models.find_version(reader, project, model, number)


@api.get("/projects/{project:path}/models/{model:path}/variability")
def get_variability(
    *,
    project: str,
    model: str,
    reader: FromReader,
    version: Annotated[
        int | None,
        Query(
            ge=1,
            description="Number of the version whose groups are listed. Default: the newest one "
            "with repeated inputs",
        ),
    ] = None,
    against: Annotated[
        int | None,
        Query(
            ge=1,
            description="Number of the version to compare with. Default: the previous one with "
            "repeated inputs",
        ),
    ] = None,
    limit: Annotated[
        int,
        Query(
            ge=1,
            le=MOST_GROUPS,
            description="Maximum number of groups to list; the runs of a group have equal inputs",
        ),
    ] = GROUPS,
) -> ModelVariability:
    """Return how often versions of a model gave the same answer when an input was repeated.

    The newest 10,000 live runs of each version are grouped by equal inputs. For confidence
    intervals, each input counts as one observation. The field `where` of each group is a filter
    that lists the runs of the group.
    """
    return find_variability(reader, project, model, version=version, against=against, limit=limit)


@api.get("/projects/{project:path}/models/{model:path}/aliases")
def get_aliases(project: str, model: str, reader: FromReader) -> Aliases:
    """Read the current aliases of a model's versions, and the history of their changes."""
    return models.find_aliases(reader, project, model)


class WantedAlias(BaseModel):
    """An alias to set to a version of a model."""

    model_config = ConfigDict(extra="forbid")

    alias: Annotated[str, Field(max_length=128)] = Field(
        description="Alias, such as `champion`: letters, digits and `_.-`, not starting with `.` "
        "or `-`, and not a version number such as `3` or `v3`"
    )
    version: Annotated[int, Field(ge=1)] | None = Field(
        description="Number of the version that gets the alias; null removes the alias"
    )
    by: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Who moves the alias. Default: the name of the key"
    )
    source: Annotated[str, Field(max_length=256)] = "api"
    id: Annotated[str, Field(max_length=256)] = Field(
        default="",
        description="Your own ID of this move. If you send the move again with the same ID, "
        "it is stored once",
    )
    time: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="When the alias moves, RFC 3339. Default: now. If there are several "
        "moves, the latest one is valid",
    )


@writes.post("/projects/{project:path}/models/{model:path}/aliases")
async def post_alias(
    *,
    project: str,
    model: str,
    wanted: WantedAlias,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> Aliases:
    """Set an alias to a version of a model, or remove it, and return all aliases of the model.

    When the response arrives, the change is on disk. If you send a change again with the same `id`,
    it is stored once.
    """
    reader = find_service(request, Reader).narrow(access)
    with pipeline.hold() as held:
        body = await run_sync(_make_move, reader, project, model, wanted, access.name)
        await feedback.store_request(pipeline, held, body, access, project)
    return await run_sync(models.find_aliases, reader, project, model)


def _make_move(reader: Reader, project: str, model: str, wanted: WantedAlias, sender: str) -> bytes:
    """Make the record of a change of an alias.

    Raises:
        BadInput: The alias or the time is invalid.
        Missing: The version does not exist, or no version has the alias to remove.
    """
    if not is_alias(wanted.alias):
        expected = (
            "letters, digits and _.-, such as champion or 2.0, but not a version such as 2 or v2"
        )
        raise BadInput(f"Invalid alias {wanted.alias!r}: expected {expected}", "alias")
    now_ns = time.time_ns()
    time_ns = now_ns if wanted.time is None else from_rfc3339(wanted.time, "time")
    if wanted.version is None:
        current = {
            alias.alias: alias for alias in models.find_aliases(reader, project, model).aliases
        }
        if wanted.alias not in current:
            raise Missing(f"No version of {model!r} is called {wanted.alias!r}")
        digest = current[wanted.alias].digest
    else:
        digest = models.find_digest(reader, project, model, wanted.version)
    facts = {
        names.RECORD: "update",
        names.PROJECT: project,
        names.TARGET_MODEL: model,
        names.TARGET_VERSION: digest,
        names.ALIAS: wanted.alias,
        names.ALIAS_REMOVED: True if wanted.version is None else None,
        names.ALIAS_BY: wanted.by or sender or None,
        names.ALIAS_SOURCE: wanted.source or None,
    }
    identity = feedback.identify(project, f"alias {wanted.id}" if wanted.id else "")
    span = feedback.make_span("otel_ml.update", identity, time_ns, facts)
    return orjson.dumps(feedback.make_request([span]))


@dataclass(frozen=True, slots=True)
class FigureCurve:
    """A figure of a version over time, as SVG points, and its value over the whole time."""

    points: str
    value: str


@dataclass(frozen=True, slots=True)
class VersionCurves:
    """The curves of a version. `judges` are pass rates, or mean scores."""

    version: str
    total: RunFigures
    runs: str
    errors: str
    latency: str
    judges: Sequence[FigureCurve]


@dataclass(frozen=True, slots=True)
class Curves:
    """Line charts of runs, errors, latency and scores, for the model versions with most runs.

    Attributes:
        judges: The judges whose scores are drawn, each with its newest version.
        others: For each judge, its other versions with scores in the time range of the page.
    """

    judges: Sequence[JudgeFigures]
    others: Sequence[tuple[str, Sequence[JudgeFigures]]]
    versions: Sequence[VersionCurves]

    @property
    def has_curves(self) -> bool:
        """Whether any version has runs at two times, so that a line can be drawn."""
        return any(" " in version.latency for version in self.versions)


def find_curves(reader: Reader, project: str, model: str, last: Past, now_ns: int) -> Curves:
    """Read the figures of a model's versions over the last hour, 24 hours, 7 or 30 days."""
    over = cut_past(reader, last, now_ns)
    where = f"model == {quoted(model)}"
    query = StatsQuery(project, where, "version", over.window, over.step_ns, _CURVES)
    stats = find_stats(reader, query)
    judges = [newest for newest, _ in newest_versions(stats.total.judges)][:_CURVE_JUDGES]

    def curve(buckets: Sequence[StatsBucket], of: Callable[[RunFigures], float | None]) -> str:
        return draw_curve(buckets, of, over)

    return Curves(
        judges,
        [(judge.judge, others) for judge, others in newest_versions(stats.total.judges) if others],
        [
            VersionCurves(
                version=group.group,
                total=group.total,
                runs=curve(group.buckets, lambda figures: figures.runs),
                errors=curve(group.buckets, lambda figures: figures.error_share),
                latency=curve(group.buckets, lambda figures: figures.p95_ms),
                judges=[
                    FigureCurve(
                        curve(group.buckets, partial(value_of, judge)),
                        write_quality(judge, group.total),
                    )
                    for judge in judges
                ],
            )
            for group in stats.groups
        ],
    )


ListOrder = Literal["last", "model", "runs", "errors", "p95", "cost", "quality"]


@pages.get("/projects/{project:path}/models", response_class=FramedPage)
def list_models(
    request: Request,
    reader: FromReader,
    project: str,
    order: Annotated[ListOrder, Query()] = "last",
) -> Response:
    """Show the models of a project, with their figures of the last 30 days."""
    found = models.find_models(reader, project)
    over = cut_past(reader, "30d", time.time_ns())
    query = StatsQuery(project, "", "model", over.window, over.step_ns, max(len(found), 1))
    stats = find_stats(reader, query) if found else None
    groups = stats.groups if stats else []
    figures = {group.group: group.total for group in groups}
    judge = next(iter(choose_judges(stats.total, 1)), None) if stats else None
    context = {
        "models": _order_models(
            found,
            order,
            figures,
            judge,
            lower_is_better=order == "quality" and is_lower_better(reader, project, judge),
        ),
        "figures": figures,
        "curves": draw_curves(
            {group.group: (group.buckets, lambda figures: figures.runs) for group in groups}, over
        ),
        "order": order,
        "judge": judge,
        "quality_curves": draw_curves(
            {group.group: (group.buckets, partial(value_of, judge)) for group in groups}, over
        )
        if judge
        else {},
        "quality": {name: write_quality(judge, figure) for name, figure in figures.items()},
        "elsewhere": []
        if found
        else [project for project in find_projects(reader) if project.runs],
        "api": view.api_address("projects", project, "models"),
        "python": python_call("models"),
    }
    return show_page(request, "models.html", context)


def _order_models(
    items: Sequence[ModelCounts],
    order: ListOrder,
    figures: Mapping[str, RunFigures],
    judge: JudgeFigures | None,
    *,
    lower_is_better: bool,
) -> list[ModelCounts]:
    """Order models; those without a known value come last, the latest to run first."""
    if order == "last":
        return [*items]
    if order == "model":
        return sorted(items, key=lambda entry: entry.model.casefold())
    if order == "runs":  # all-time number, like the column
        return sorted(items, key=lambda entry: -entry.runs)
    if order == "errors":
        return sorted(items, key=lambda entry: -(entry.errors / entry.runs if entry.runs else 0))
    place = rank(order, judge, lower_is_better=lower_is_better)
    known = [item for item in items if item.model in figures]
    others = [item for item in items if item.model not in figures]
    return sorted(known, key=lambda entry: place(figures[entry.model])) + others


def _choose_pair(
    versions: Mapping[int, models.VersionDetail], new: int | None, old: int | None
) -> tuple[models.VersionDetail, models.VersionDetail | None]:
    """Choose the pair to compare: the requested versions, else the newest two with runs."""
    recorded = [number for number in sorted(versions) if versions[number].runs]
    if new is None and old is None and len(recorded) > 1:
        old, new = recorded[-2:]
    after = versions.get(new or 0, versions[max(versions)])
    return after, versions.get(old or after.version - 1)


@pages.get("/projects/{project:path}/models/{model:path}", response_class=FramedPage)
def show_model(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: str,
    old: Annotated[int | None, Query(alias="from", ge=1)] = None,
    new: Annotated[int | None, Query(alias="to", ge=1)] = None,
    asked: Annotated[FiguresQuery, Depends()],
) -> Response:
    """Show a model: its versions, and the changes between two. Without versions, its figures."""
    try:
        versions = models.find_versions(reader, project, model)
    except Missing:
        return _show_alone(request, reader, project, model, asked)
    by_number = {version.version: version for version in versions}
    after, before = _choose_pair(by_number, new, old)
    shown = cut_slice(versions, read_state(request).first("versions"), _SHOWN_VERSIONS)
    near = [*shown.items, after, *([before] if before else [])]
    logged = Counter(name for version in versions for name in version.last_metrics)
    metrics = sorted(logged, key=lambda name: (-logged[name], name))  # most versions first
    # The newest version of each judge that scored the model.
    scoring = newest_versions(judge for version in versions for judge in version.judges)
    facts = diff.facts(before.definition, after.definition) if before else []
    context = {
        "model": model,
        "versions": versions,
        # The newest version that ran outside of experiments.
        "newest": next((one for one in versions if one.runs or not one.experiment_runs), after),
        "shown": shown,
        "choices": sorted({version.version: version for version in near}.values(), key=_number),
        "changes": {
            version.version: diff.changes(
                by_number[version.version - 1].definition
                if version.version - 1 in by_number
                else None,
                version.definition,
            )
            for version in shown.items
        },
        "moves": models.find_moves(reader, project, model, versions),
        "metrics": metrics[:_SHOWN_METRICS],
        "writers": {
            name: column_writer(version.last_metrics.get(name) for version in shown.items)
            for name in metrics[:_SHOWN_METRICS]
        },
        "more_metrics": len(metrics[_SHOWN_METRICS:]),
        "judges": [newest for newest, _ in scoring[:_SHOWN_JUDGES]],
        "last": asked.last,
        "before": before,
        "after": after,
        # The versions that the reader chose, if any.
        "chosen": new if new in by_number else None,
        "compared": old if old in by_number else None,
        "artifacts": lay_out(request, reader, project, after.artifacts),
        "facts": [fact for fact in facts if not fact.is_same],
        "blocks": diff.changed_blocks(before.definition, after.definition, model) if before else [],
        "may_annotate": access_of(request.scope).has(ANNOTATE),
        "api": view.api_address("projects", project, "models", model, "versions"),
        "python": python_call("versions", model),
    }
    return show_page(request, "model.html", context)


def _show_alone(
    request: Request, reader: Reader, project: str, model: str, asked: FiguresQuery
) -> Response:
    """Show a model without a version: latency, tokens, cost, errors over time, and its users.

    Raises:
        Missing: There is no such model.
    """
    known = next(
        (item for item in models.find_models(reader, project) if item.model == model), None
    )
    if known is None:
        raise Missing(f"Project {project!r} has no model {model!r}")
    where = f"model == {quoted(model)}"
    over = cut_past(reader, asked.last, time.time_ns())
    groups = list_user_groups(reader, project)
    by = choose_user_group(asked, groups)
    at = find_figures_at(
        reader,
        project,
        over,
        by=[by] if by else [],
        order=asked.order,
        where=where,
    )
    compared = at.compared
    judges = choose_judges(compared.total, _TILED_JUDGES)
    table = None
    if compared.total.runs and at.groups:
        judge = next(iter(judges), None)
        table = make_table(project, at.groups[0], compared.total, judge=judge, where=where)

    context = {
        "model": model,
        "known": known,
        "where": where,
        "asked": asked,
        "span": SPANS[asked.last],
        "tiles": make_tiles(compared, judges, reader.zone, where)
        if compared.total.runs or compared.before.runs
        else [],
        "table": table,
        "people": list_choices(asked, groups),
        "orders": ORDERS,
        "here": lambda **changes: view.address(
            project, "models", model, **asked.parameters(**changes)
        ),
        "api": view.api_address("projects", project, "stats", where=where, group=by),
    }
    return show_page(request, "model_alone.html", context)


@pages.get("/projects/{project:path}/model-curves")
def show_curves(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: Annotated[str, Query(max_length=1_024)],
    last: Annotated[Past, Query()] = "24h",
) -> Response:
    """Show the figures of a model's versions over time: a part of its page, loaded later."""
    curves = find_curves(reader, project, model, last, time.time_ns())
    return show_page(request, "curves.html", {"model": model, "found": curves})


@pages.get("/projects/{project:path}/model-variability")
def show_variability(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: Annotated[str, Query(max_length=1_024)],
    version: Annotated[int | None, Query(ge=1)] = None,
    against: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Show how consistent repeated answers are: a part of a model's page, loaded later."""
    variability = find_variability(reader, project, model, version=version, against=against)
    agreements = [version.agreement for version in variability.versions if version.agreement]
    context = {
        "model": model,
        "found": variability,
        "is_steady": all(agreement.value == 1 for agreement in agreements),
        # The newest version of each judge that scored several runs of one input.
        "judges": [
            newest
            for newest, _ in newest_versions(
                spread for version in variability.versions for spread in version.spreads
            )[:_SHOWN_JUDGES]
        ],
        "write_value": write_value,
        "write_bounds": write_bounds,
    }
    return show_page(request, "variability.html", context)
