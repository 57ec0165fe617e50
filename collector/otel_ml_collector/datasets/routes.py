"""The JSON API and the pages of data sets, and how well they cover production."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from otel_ml.items import find_documents
from otel_ml.records import CoveredSlice, DatasetCoverage, DatasetDiff, DatasetItem, DatasetVersion
from otel_ml.statistics.comparison import LEAST_ITEMS
from otel_ml_collector.access import ANNOTATE, Access
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import Cursor, FromReader, needs
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.datasets.history import DatasetHistory, ItemHistory, Show
from otel_ml_collector.evaluations.dataset_changes import (
    MOST_ITEMS,
    SavedRuns,
    WantedItems,
    WantedRuns,
)
from otel_ml_collector.evaluations.dataset_turns import Turns, save_items, save_runs
from otel_ml_collector.evaluations.datasets import (
    LINES,
    PAGE,
    SHOWN,
    DatasetItems,
    Datasets,
    DatasetVersions,
    choose_version,
    count_stored,
    find_datasets,
    find_diff,
    find_newest,
    find_versions,
    list_datasets,
    list_versions,
    make_version,
    version_row,
    versions_of,
)
from otel_ml_collector.evaluations.experiments import find_experiments
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.mapping.chat import line_in, line_out
from otel_ml_collector.measures.questions import choose_groups
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.stats import StatsQuery, make_question
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.experiments import MOST_RUNS
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.times import DAY_NS, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.previews import leave_out_shared, write_preview
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Window

_ON_A_PAGE: Final = 50
_MEASURED: Final = 4  # versions whose data metrics are compared
_MOST_METRICS: Final = 500
_DAYS: Final = 28
_EXPERIMENTS: Final = 6
_MODELS: Final = 6
_SLICED_TAGS: Final = 5
_SLICES: Final = 10
_SMALLEST: Final = 0.01

# One row per item with tags.
_TAGGED: Final = Sql("""
    SELECT digest, tags FROM (SELECT right(line, 64) AS digest FROM ({lines})) AS line
    INNER JOIN (
      SELECT digest, tags FROM items
      WHERE project = {project:String} AND tags NOT IN ('', '{}')
        AND digest IN (SELECT right(line, 64) FROM ({lines}))
      ORDER BY digest, rank DESC LIMIT 1 BY digest
    ) AS content USING (digest)""").fill(lines=LINES)
_TAG_NAMES: Final = Sql("""
    SELECT name, count() AS items FROM ({tagged}) ARRAY JOIN JSONExtractKeys(tags) AS name
    WHERE match(name, '^[^"\\\\\\\\]{1,200}$')
    GROUP BY name ORDER BY items DESC, name LIMIT {most}""").fill(tagged=_TAGGED, most=_SLICED_TAGS)
_COUNTS: Final = Sql("""
    SELECT tag.1 AS name, {text} AS value, count() AS items
    FROM ({tagged}) ARRAY JOIN JSONExtractKeysAndValuesRaw(tags) AS tag
    WHERE name IN {names:Array(String)} AND value IN {values:Array(String)}
    GROUP BY name, value""").fill(text=TAG_TEXT.fill(value=Sql("tag.2")), tagged=_TAGGED)
# Models of the recorded runs from which items were made.
_SOURCES: Final = Sql("""
    SELECT model, uniqExact(start_ns, trace_id, span_id) AS runs FROM {deliveries}
    WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
      AND model != '' AND (trace_id, span_id) IN (
        SELECT toFixedString(unhex(left(source_run, 32)), 16),
          toFixedString(unhex(right(source_run, 16)), 8)
        FROM items WHERE project = {project:String} AND source_run != ''
          AND digest IN (SELECT right(line, 64) FROM ({lines})))
    GROUP BY model ORDER BY runs DESC, model LIMIT {most}""").fill(
    deliveries=DELIVERIES, lines=LINES, most=_MODELS
)

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
writes = APIRouter(prefix="/api/v1", route_class=JsonRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@api.get("/projects/{project:path}/datasets")
def get_datasets(project: str, reader: FromReader) -> Datasets:
    """List the data sets of a project, each as its newest version, latest first."""
    return Datasets(datasets=find_datasets(reader, project))


@api.get("/projects/{project:path}/datasets/{name:path}/versions")
def get_dataset_versions(
    project: str,
    name: str,
    reader: FromReader,
    limit: Annotated[int, Query(ge=1, le=100)] = SHOWN,
    cursor: Cursor = None,
) -> DatasetVersions:
    """List the versions of a data set with the changes of each, newest first."""
    return find_versions(reader, project, name, limit, cursor)


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/items")
def get_dataset_items(
    *,
    project: str,
    name: str,
    number: int,
    reader: FromReader,
    limit: Annotated[int, Query(ge=1, le=MOST_ITEMS)] = PAGE,
    cursor: Cursor = None,
    show: Annotated[
        Show, Query(description="Which items, by their results in the last experiments")
    ] = "all",
) -> DatasetItems:
    """Read items of a version of a data set, ordered by ID."""
    row = version_row(reader, project, name, number)
    asked = ItemHistory(reader, project, row, time.time_ns())
    return asked.find_items(show, limit, cursor)


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/history")
def get_dataset_history(
    *,
    project: str,
    name: str,
    number: int,
    reader: FromReader,
    item: Annotated[
        list[str] | None, Query(max_length=100, description="Ids of items; may be repeated")
    ] = None,
) -> DatasetHistory:
    """Read the results of a data set version's items in the last experiments."""
    row = version_row(reader, project, name, number)
    asked = ItemHistory(reader, project, row, time.time_ns())
    return asked.find(asked.find_digests(item) if item else {})


def find_coverage(
    reader: Reader, project: str, name: str, number: int, now_ns: int
) -> DatasetCoverage:
    """Compare the tags of a data set version's items with those of production runs of 28 days.

    Raises:
        Missing: There is no such version.
    """
    row = version_row(reader, project, name, number)
    end_ns = (now_ns // DAY_NS + 1) * DAY_NS  # the rollup has totals of whole days
    window = Window(end_ns - _DAYS * DAY_NS, end_ns)
    asked = {"project": project, "owners": [own_dataset(name, row["digest"])]}
    models = _find_models(reader, project, name, now_ns)
    if not models:
        rows = reader.rows(_SOURCES, {**asked, "start": window.start_ns, "end": window.end_ns})
        models = [row["model"] for row in rows]
    among = " or ".join(f"model == {quoted(model)}" for model in models)
    runs, coverage = 0, []
    if models and (tags := [row["name"] for row in reader.rows(_TAG_NAMES, asked)]):
        runs = sum(count for _, count in _count(reader, project, among, "outcome", window))
        coverage = [
            (tag, value, count)
            for tag in tags
            for value, count in _count(reader, project, among, f'tags["{tag}"]', window)
            if value and count >= _SMALLEST * runs
        ]
    values = {"names": [tag for tag, *_ in coverage], "values": [value for _, value, _ in coverage]}
    counted = reader.rows(_COUNTS, asked | values) if coverage else []
    items = {(item["name"], item["value"]): item["items"] for item in counted}
    whole = make_version(row, count_stored(reader, project, [row])).items
    return DatasetCoverage(
        name=name,
        version=number,
        models=models,
        start_time=to_rfc3339(window.start_ns),
        end_time=to_rfc3339(window.end_ns),
        runs=runs,
        items=whole,
        slices=[
            CoveredSlice(
                tag=tag,
                value=value,
                where=narrow(among, f"tags[{quoted(tag)}] == {quoted(value)}"),
                runs=count,
                run_share=count / runs,
                items=like,
                item_share=like / whole if whole else 0.0,
                enough="enough" if like >= LEAST_ITEMS else "few" if like else "no item",
            )
            for tag, value, count in coverage
            for like in (items.get((tag, value), 0),)
        ],
    )


def _find_models(reader: Reader, project: str, name: str, now_ns: int) -> list[str]:
    """Find the models that recent experiments on a data set ran, newest first."""
    where = f"dataset == {quoted(name)}"
    last = find_experiments(reader, project, now_ns, where=where, limit=_EXPERIMENTS).experiments
    return [*dict.fromkeys(item.function for item in last if item.function)]


def _count(
    reader: Reader, project: str, where: str, group: str, window: Window
) -> Sequence[tuple[str, int]]:
    """Count production runs by group, largest first."""
    query = StatsQuery(project, where, group, window, None, _SLICES)
    rows = choose_groups(reader, make_question(reader, query), _SLICES)
    return [(row["label"], row["number"]) for row in rows]


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/coverage")
def get_dataset_coverage(
    project: str, name: str, number: int, reader: FromReader
) -> DatasetCoverage:
    """Return how well a version of a data set covers production, for each tag value."""
    return find_coverage(reader, project, name, number, time.time_ns())


@api.get("/projects/{project:path}/datasets/{name:path}/versions/{number}/diff")
def get_dataset_diff(
    project: str,
    name: str,
    number: int,
    reader: FromReader,
    against: Annotated[int, Query(ge=1, description="The other version's number")],
) -> DatasetDiff:
    """List the items that differ between two versions of a data set."""
    return find_diff(reader, project, name, number, against)


@writes.post("/projects/{project:path}/datasets/{name:path}/items")
async def post_items(
    *,
    project: str,
    name: str,
    wanted: WantedItems,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    turns: Annotated[Turns, Depends(service_of(Turns))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
    if_match: Annotated[
        str | None,
        Header(description="The number of the version that it is made from, 0 for a new data set"),
    ] = None,
) -> DatasetVersion:
    """Add, change or remove items of a data set. This creates a new version of it.

    The new version starts from the newest one, and is on disk when the answer arrives. Existing
    versions stay as they are. If the content equals that of an earlier version, that version is
    returned. If two changes arrive at the same time, the second is applied to the result of the
    first.
    """
    reader = find_service(request, Reader).narrow(access)
    return await save_items(turns, pipeline, reader, (project, name), wanted, base=if_match)


@writes.post("/projects/{project:path}/datasets/{name:path}/runs")
async def post_runs(
    *,
    project: str,
    name: str,
    wanted: WantedRuns,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    turns: Annotated[Turns, Depends(service_of(Turns))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> SavedRuns:
    """Make items from recorded runs and add them to a data set. This creates a new version of it.

    The new version is on disk when the answer arrives. Each item stores the ID of its run. Runs
    without complete inputs are left out, and the answer says how many. If the data set already has
    an item with the same inputs, the new item replaces it.
    """
    reader = find_service(request, Reader).narrow(access)
    return await save_runs(turns, pipeline, reader, (project, name), wanted)


@pages.get("/projects/{project:path}/datasets", response_class=FramedPage)
def show_datasets(request: Request, project: str, reader: FromReader) -> Response:
    """The data sets of a project."""
    context = {
        "datasets": list_datasets(reader, project),
        "api": view.api_address("projects", project, "datasets"),
        "python": python_call("datasets"),
    }
    return show_page(request, "datasets.html", context)


@pages.get("/projects/{project:path}/dataset-coverage")
def show_coverage(
    request: Request,
    project: str,
    reader: FromReader,
    name: str,
    version: Annotated[int, Query(ge=1)],
) -> Response:
    """Show how well a version covers production: a part of its page, loaded later."""
    coverage = find_coverage(reader, project, name, version, time.time_ns())
    context = {
        "coverage": coverage,
        "least": LEAST_ITEMS,
        "missing": [item for item in coverage.slices if not item.items],
    }
    return show_page(request, "dataset_coverage.html", context)


@pages.get("/projects/{project:path}/dataset-item", response_class=FramedPage)
def show_item(
    *,
    request: Request,
    project: str,
    reader: FromReader,
    name: str,
    version: Annotated[int, Query(ge=1)],
    item: Annotated[str, Query(max_length=256)],
) -> Response:
    """Show the values of an item in the same forms as those of a run, and its results."""
    row = version_row(reader, project, name, version)
    asked = ItemHistory(reader, project, row, time.time_ns())
    found = asked.find_item(item)
    path = ("projects", project, "datasets", name, "versions", str(version), "items")
    context = {
        "item": found,
        "dataset": name,
        "number": version,
        "history": asked.find({found.id: found.digest}),
        "api": view.api_address(*path),
        "python": python_call("dataset_items", name, version),
    }
    return show_page(request, "dataset_item.html", context)


@pages.get("/projects/{project:path}/datasets/{name:path}", response_class=FramedPage)
def show_dataset(
    *,
    request: Request,
    project: str,
    name: str,
    reader: FromReader,
    version: Annotated[int | None, Query(ge=1)] = None,
    cursor: Cursor = None,
    versions: Cursor = None,
    show: Show = "all",
) -> Response:
    """Show a data set: its versions with the changes of each, and the items of one."""
    rows = versions_of(reader, project, name)
    newest = find_newest(reader, project, rows).get(name)
    listed = list_versions(reader, project, rows, cursor=versions)
    number = version or (newest or rows[-1])["number"]
    base = newest["number"] if newest else 0
    is_first = version is None and versions is None
    asked = ItemHistory(reader, project, choose_version(rows, name, number), time.time_ns())
    page = asked.find_items(show, _ON_A_PAGE, cursor)
    history = asked.find({item.id: item.digest for item in page.items})
    path = ("projects", project, "datasets", name, "versions", str(number), "items")
    measured = [version for version in listed.versions if version.metrics][:_MEASURED]
    lines = _write_lines(page.items)
    context = {
        "chosen": page.version,
        "newest": base,
        "incomplete": listed.versions[0] if is_first and number != rows[-1]["number"] else None,
        "is_editable": number == (base or rows[-1]["number"]),
        "next_number": rows[-1]["number"] + 1,
        "measured": measured,
        "metrics": sorted({name for item in measured for name in item.metrics})[:_MOST_METRICS],
        "versions": listed.versions,
        "older": listed.next_cursor,
        "show": show,
        "shown": _shown(history, number),
        "history": history,
        "most_runs": MOST_RUNS,
        "items": page.items,
        "next_cursor": page.next_cursor,
        "inputs_of": lambda item: write_preview(lines.get(item.id)),
        "expected_of": lambda item: (
            "–" if item.expected is None else write_preview(_expected(item.expected))
        ),
        "content_of": _content_of,
        "api": view.api_address(*path, limit=_ON_A_PAGE, show=None if show == "all" else show),
        "python": python_call("dataset_items", name, number),
    }
    return show_page(request, "dataset.html", context)


def _shown(history: DatasetHistory, number: int) -> list[tuple[Show, str, int | None]]:
    """List the filters for items: the value in the address, the label, and the count."""
    items: list[tuple[Show, str, int | None]] = [("all", "All", None)]
    if history.experiments:
        items += [
            ("never", "Never pass", history.never),
            ("mixed", "Different results", history.mixed),
            ("always", "Always pass", history.always),
            ("flaky", "Flaky", history.flaky),
        ]
    if number > 1:
        items.append(("changed", f"New in v{number}", None))
    return [*items, ("runs", "From runs", None)]


def _content_of(item: DatasetItem) -> dict[str, Any] | None:
    """Return the content of an item, to be edited as text; None for typed values."""
    if not item.is_whole or any(find_documents([item.inputs, item.expected])):
        return None
    return {
        "id": item.id,
        "inputs": item.inputs,
        "expected": item.expected,
        "tags": item.tags,
        "source_run": item.source_run or "",
        "source_session": item.source_session or "",
    }


def _write_lines(items: Sequence[DatasetItem]) -> dict[str, str]:
    """Write the inputs of items as one line each, by ID, without what all of them share."""
    present = [item for item in items if item.is_here]
    different = leave_out_shared([item.inputs for item in present])
    return {
        item.id: line_in(inputs) or _line(inputs)
        for item, inputs in zip(present, different, strict=True)
    }


def _expected(value: object) -> str:
    """Write an item's expected value as one line, like an output in a list."""
    return line_out(value) or _line(value)


def _line(value: object) -> str:
    """Write a value of an item as one line: text unchanged, any other value as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
