"""The runs of a project, and a single run, in the JSON API; and the page that lists them."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml.orders import (
    BY_TIME,
    BY_WORTH,
    JUDGE,
    NEWEST,
    ORDER_CHARS,
    ORDERS,
    ListOrder,
    read_order,
)
from otel_ml.records import LABELS, Inside
from otel_ml_collector.access import ADMIN, ANNOTATE, find_access_of, note_read
from otel_ml_collector.api.parameters import (
    Cursor,
    End,
    FromReader,
    Limit,
    Since,
    Where,
    page_zone_of,
)
from otel_ml_collector.api.problems import problem_of
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.completion import explain_names
from otel_ml_collector.errors import BadInput, Unavailable
from otel_ml_collector.filter.fields import SOURCES
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.loss import find_gaps, find_refused
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.measures.facets import Facet, find_facets
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.measures.statistics import (
    bound_runs,
    count_plain_traces,
    count_roots,
    count_runs,
    count_traces,
)
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run, RunsPage, RunSummary
from otel_ml_collector.runs.errors import find_error_groups
from otel_ml_collector.runs.roots import find_calls_inside, find_roots
from otel_ml_collector.services import find_service
from otel_ml_collector.stats import MAX_GROUPS, NO_RUNS
from otel_ml_collector.store.orders import OUTERMOST
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import all_of
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, to_rfc3339
from otel_ml_collector.traces.sums import GROUPS, ListSums, find_sums
from otel_ml_collector.traces.views import View, find_views
from otel_ml_collector.unread import find_unread
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.previews import find_shared
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Buckets, Window

_MOST: Final = 24
_OFFERED: Final = 40
_ERROR_GROUPS: Final = 10
_USUAL_JUDGES: Final = 3
_USUAL_TAGS: Final = 2
_MOST_TAGS: Final = 8
BARS: Final = 45
_HEIGHT: Final = 44
_GROUND: Final = 48
# Below a histogram of more days than this, times have no hour.
_LONG_DAYS: Final = 8
_STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
# The time ranges on offer, each with its name and the short name for phones.
_OFFERED_TIMES: Final = {
    "15m": ("Last 15 minutes", "15 min"),
    "1h": ("Last hour", "1 h"),
    "24h": ("Last 24 hours", "24 h"),
    "today": ("Today", "Today"),
    "yesterday": ("Yesterday", "Yest."),
    "7d": ("Last 7 days", "7 d"),
    "30d": ("Last 30 days", "30 d"),
    "": ("All time", "All"),
}
_TIME_PARAMETERS: Final = ("last", "start", "end", "tz")
_KEPT_PARAMETERS: Final = (
    *_TIME_PARAMETERS,
    "order",
    "group",
    "live",
    "roots",
    "traces",
    "pick",
)
# Fields by which a list can be grouped. Tags are added to them.
_GROUPS: Final = {
    "model": "function",
    "provider_model": "LLM",
    "user": "user",
    "session": "session",
}
_MOST_COLUMNS: Final = 50
_EXAMPLE_CHARS: Final = 40
_FIRST: Final = {"most_tokens": "Most tokens"}

# Filter for traces whose top span is a plain span. A project without runs shows some of them.
PLAIN_ROOTS: Final = 'kind == "span" and parent_run_id == ""'
_PLAIN_TRACES: Final = 20

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

_ORDER_WORDS: Final = "; ".join(f"`{order.name}`: {order.about} first" for order in ORDERS)
Order = Annotated[
    str,
    Query(
        max_length=ORDER_CHARS,
        description=f"The order of all runs that match. {_ORDER_WORDS}. "
        "Except for orders by time, unfinished runs and runs without the value are left out",
    ),
]
Roots = Annotated[bool, Query(description="Only requests: runs that are not inside another run")]
Traces = Annotated[
    bool,
    Query(
        description="Only the top span of each trace that contains a model call. It can be a span "
        "that is not a run. `where` tests the top span, not the calls inside"
    ),
]
Keys = Annotated[list[str], Query(alias="columns", max_length=_MOST_COLUMNS, default_factory=list)]


def parse_tops(*, roots: Roots = False, traces: Traces = False) -> Mapping[str, bool]:
    """Read whether a list shows requests or traces."""
    return {"roots": roots, "traces": traces}


def parse_query(
    *,
    project: str,
    where: Where = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    start_ns: Since = 0,
    end_ns: End = None,
    order: Order = NEWEST,
    tops: Annotated[Mapping[str, bool], Depends(parse_tops)],
) -> runs.RunsQuery:
    """Read the parameters of a list of runs; the pages have the same ones.

    Raises:
        BadInput: The order does not exist.
    """
    try:
        order = read_order(order)
    except ValueError as error:
        raise BadInput(str(error), "order") from error
    return runs.RunsQuery(
        project=project,
        where=where,
        limit=limit,
        cursor=cursor,
        start_ns=start_ns,
        end_ns=end_ns,
        order=order,
        **tops,
    )


ListQuery = Annotated[runs.RunsQuery, Depends(parse_query)]


@api.get("/projects/{project:path}/runs")
def get_runs(query: ListQuery, reader: FromReader) -> RunsPage:
    """List the runs of a project, including unfinished ones.

    To list spans that are not model calls, name `kind` in `where`.
    """
    return find_roots(reader, query, time.time_ns())


@api.get("/projects/{project:path}/runs/{run_id}")
def get_project_run(project: str, run_id: str, reader: FromReader) -> Run:
    """Read a run with everything that is known about it."""
    return runs.find_run(reader, run_id, project, now_ns=time.time_ns())


@api.get("/runs/{run_id}")
def get_run(run_id: str, reader: FromReader) -> Run:
    """Read a run by its id alone, when exactly one project has it."""
    run = runs.find_run(reader, run_id, now_ns=time.time_ns())
    note_read(run.project, f"runs/{run_id}")
    return run


Group = Annotated[
    str,
    Query(
        max_length=220,
        description="Group by: model, provider_model, user, session, another field of statistics, "
        'or a tag such as tags["client"]; empty for no groups',
    ),
]


@api.get("/projects/{project:path}/sums")
def get_sums(
    query: ListQuery,
    reader: FromReader,
    group: Group = "",
    groups: Annotated[
        int, Query(ge=1, le=MAX_GROUPS, description="Maximum number of groups to list")
    ] = GROUPS,
) -> ListSums:
    """Add up all matching runs: their number, errors, tokens and cost, in total and by group.

    The order and page of the list have no effect. For a list of requests or traces, the calls
    inside them are added up. Each call belongs to the group of its request or trace, and counts
    once.
    """
    now_ns = time.time_ns()
    return find_sums(reader, query, group, now_ns, groups=groups) or ListSums(NO_RUNS)


@dataclass(frozen=True, slots=True)
class ListColumn:
    """A column of a list.

    Attributes:
        key: Name of the column in the URL, such as ``cost``. Scores, tags, ground truth, labels and
            agents have a prefix: ``score:grounded``, ``tag:client``, ``truth:…``, ``label:…``,
            ``agent:…``.
        label: The heading, with the unit.
        style: CSS classes of the heading.
    """

    key: str
    label: str
    style: str = "w3"

    @property
    def is_optional(self) -> bool:
        """Whether phones leave it out unless the user chose it."""
        return self.key not in ("ago", "outcome", "model", "input", "latency_ms")

    @property
    def kind(self) -> str:
        """``score``, ``tag``, ``truth``, ``label``, ``agent`` or the key of a field."""
        return self.key.partition(":")[0]

    @property
    def name(self) -> str:
        """The name of the judge, tag, truth or label."""
        return self.key.partition(":")[2]

    @property
    def orders(self) -> Sequence[ListOrder]:
        """The orders of a list by this column."""
        if self.kind == "score":
            by_judge = [order for order in ORDERS if order.column == "scores"]
            return [replace(order, name=order.name.replace(JUDGE, self.name)) for order in by_judge]
        column = "start" if self.key == "ago" else self.key
        return [order for order in ORDERS if order.column == column]


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a column of a list.

    Attributes:
        column: The column.
        order: The order that a click on it chooses; empty if the column has no order.
        about: What comes first in that order.
        sorted: ``ascending`` or ``descending`` if the list is sorted by this column, else empty.
    """

    column: ListColumn
    order: str = ""
    about: str = ""
    sorted: str = ""


def make_headings(columns: Sequence[ListColumn], order: str, resolved: str) -> list[Heading]:
    """Make the headings of a sorted list.

    Args:
        columns: The columns of the list.
        order: The requested order, such as worst score first.
        resolved: The order that the rows really have. For the worst scores of a judge, it is lowest
            first or highest first, depending on which direction is better.
    """
    headings = []
    for column in columns:
        orders = column.orders
        by_worth = [order for order in orders if order.name.partition(":")[0] in BY_WORTH]
        offered = by_worth or orders
        if not offered:
            headings.append(Heading(column))
            continue
        names = [item.name for item in offered]
        place = names.index(order) if order in names else -1
        follows = offered[(place + 1) % len(offered)]
        current = next((order for order in orders if order.name == resolved), None)
        way = "ascending" if current and current.is_ascending else "descending"
        headings.append(
            Heading(column, follows.name, _words_of(follows.name), way if current else "")
        )
    return headings


# Longest label that fits a column of the usual width.
_NARROW: Final = 12
FIELDS: Final = (
    ListColumn("ago", "Ago", "w1 began"),
    ListColumn("outcome", "Outcome", "mark"),
    ListColumn("model", "Function", "model"),
    ListColumn("input", "Input", "asked"),
    ListColumn("output", "Output", "answered"),
    ListColumn("latency_ms", "ms", "n w2 took"),
    ListColumn("kind", "Kind"),
    ListColumn("name", "Span"),
    ListColumn("session", "Session"),
    ListColumn("user", "User"),
    *(
        ListColumn(name, label, "w4" if len(label) > _NARROW else "w3")
        for name, label in LABELS.items()
    ),
    ListColumn("tokens", "Tokens", "n w2"),
    ListColumn("input_tokens", "Tokens in", "n w2"),
    ListColumn("output_tokens", "Tokens out", "n w2"),
    ListColumn("cost", "$", "n w3 price"),
    ListColumn("first_token_ms", "First token ms", "n w3"),
    ListColumn("stream_chunks", "Chunks", "n w2"),
    ListColumn("tokens_per_second", "Tokens/s", "n w2"),
)
_BY_KEY: Final = {column.key: column for column in FIELDS}
_DEFAULT: Final = FIELDS[:6]


def choose_columns(
    keys: Sequence[str], runs: Sequence[RunSummary], inside: Iterable[Inside] = ()
) -> list[ListColumn]:
    """Choose the columns that the URL names, or else the default columns.

    The default columns include tokens, cost and the time to the first token if any of these runs
    has them, and the judges and tags that most of these runs have. Unknown column keys are ignored,
    because a bookmarked URL can be older than this version.
    """
    if keys:
        columns = [column for key in dict.fromkeys(keys) if (column := _column(key)) is not None]
        return columns[:_MOST] or list(_DEFAULT)
    run_summaries: list[RunSummary | Inside] = [*runs, *inside]
    used = [_BY_KEY["tokens"]] * any(item.tokens.input is not None for item in run_summaries)
    used += [_BY_KEY["cost"]] * any(item.cost is not None for item in run_summaries)
    used += [_BY_KEY["first_token_ms"]] * any(run.first_token_ms is not None for run in runs)
    judges = _most_common(_judges_of(run_summaries), max(_USUAL_JUDGES - len(used), 1))
    tags = _most_common(_tags_of(runs), max(_USUAL_TAGS - len(used), 0))
    return [*_DEFAULT, *used, *map(_score, judges), *map(_tag, tags)]


def offer_columns(chosen: Sequence[ListColumn], runs: Sequence[RunSummary]) -> list[ListColumn]:
    """List the columns on offer: all fields, and the judges and tags of these runs by name."""
    judges = _most_common(_judges_of(runs), _OFFERED)
    tags = _most_common(_tags_of(runs), _OFFERED)
    facts: dict[str, list[str]] = {
        "truth": [name for run in runs for name in run.truth],
        "label": [name for run in runs for name in run.label],
        "agent": [name for run in runs for name in run.agent],
    }
    words = [
        _word(kind, name)
        for kind, all_of in facts.items()
        for name in _most_common(all_of, _OFFERED)
    ]
    known = [*FIELDS, *map(_score, judges), *map(_tag, tags), *words]
    return [*known, *(column for column in chosen if column not in known)]


def _column(key: str) -> ListColumn | None:
    kind, _, name = key.partition(":")
    if name and kind == "score":
        return _score(name)
    if name and kind == "tag":
        return _tag(name)
    if name and kind in SOURCES:
        return _word(kind, name)
    return _BY_KEY.get(key)


def _score(judge: str) -> ListColumn:
    return ListColumn(f"score:{judge}", judge, "n w3")


def _tag(name: str) -> ListColumn:
    return ListColumn(f"tag:{name}", name, "tag-value")


def _word(kind: str, name: str) -> ListColumn:
    return ListColumn(f"{kind}:{name}", name, "w4")


def _judges_of(run_summaries: Iterable[RunSummary | Inside]) -> list[str]:
    return [judge for item in run_summaries for judge in _name_judges(item)]


def _name_judges(run_summary: RunSummary | Inside) -> set[str]:
    """Return the judges that scored a run, or the runs inside it."""
    if isinstance(run_summary, Inside):
        return {*run_summary.scores}
    return {*run_summary.scores, *run_summary.passed, *run_summary.failed_judges}


def _tags_of(runs: Iterable[RunSummary]) -> list[str]:
    return [name for run in runs for name in run.tags]


def _most_common(names: Sequence[str], limit: int) -> list[str]:
    ranked = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return [name for name, _ in ranked[:limit]]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of equal width; the first and last bar can cover less time.

    Attributes:
        runs: SVG path of all runs, 10 wide per bar and 48 high.
        errors: SVG path of the failed runs, in the same box.
        labels: Times below the axis, in the time zone `zone`.
        zone: The name of the time zone.
        step: The length of a bar, in words.
        most: The count of the highest bar.
        total: All runs in the bars.
        failed: The failed runs in the bars.
        edges: The start of each bar and the end of the last, RFC 3339.
        counted: The unit that is counted, in the singular.
    """

    runs: str
    errors: str
    labels: Sequence[str]
    zone: str
    step: str
    most: int
    total: int
    failed: int
    edges: Sequence[str]
    counted: str

    @property
    def bars(self) -> int:
        """The number of bars."""
        return len(self.edges) - 1


def choose_bar_ns(window: Window) -> int:
    """Choose a round length for at most 45 bars over a window."""
    length_s = (window.end_ns - window.start_ns) / SECOND_NS
    for step_s in _STEPS_S:
        if length_s <= step_s * (BARS - 1):  # one more bar if the window begins within a bar
            return step_s * SECOND_NS
    days = int(length_s // (86_400 * (BARS - 1))) + 1
    return days * 86_400 * SECOND_NS


def draw_bars(rows: Sequence[Row], over: Buckets, counted: str = "call") -> Histogram:
    """Draw the counts of the buckets of a window."""
    window, step_ns = over.window, over.step_ns
    most = max((row["runs"] for row in rows), default=0)
    total = sum(row["runs"] for row in rows)
    failed = sum(row["errors"] for row in rows)
    scale = _HEIGHT / most if most else 0

    def draw(key: str) -> str:
        counts = [0] * len(over.starts_ns)
        for row in rows:
            counts[over.place_of(row["bucket"])] = row[key]
        return view.bars(counts, scale, ground=_GROUND, least=2, width=8)

    times = [window.start_ns, (window.start_ns + window.end_ns) // 2, window.end_ns]
    form = _label_form(window)
    return Histogram(
        runs=draw("runs"),
        errors=draw("errors"),
        labels=[
            format(datetime.fromtimestamp(time_ns // SECOND_NS, window.zone), form)
            for time_ns in times
        ],
        zone=window.zone.key,
        step=_words(step_ns // SECOND_NS),
        most=most,
        total=total,
        failed=failed,
        edges=[to_rfc3339(edge_ns) for edge_ns in over.edges_ns],
        counted=counted,
    )


def _label_form(window: Window) -> str:
    """Choose how the times below a histogram are written."""
    length_ns = window.end_ns - window.start_ns
    if length_ns > _LONG_DAYS * DAY_NS:
        return "%a %d %b"
    if length_ns >= HOUR_NS:
        return "%a %d %b %H:%M"
    return "%H:%M:%S"


def _words(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


@pages.get("/projects/{project:path}/runs", response_class=FramedPage)
def list_runs(request: Request, reader: FromReader, query: ListQuery, keys: Keys) -> Response:
    """Show the runs of a project that match a filter."""
    now_ns = time.time_ns()
    problem = None
    page = RunsPage(runs=[], next_cursor=None)
    try:
        page = find_roots(reader, query, now_ns)
    except BadInput as error:
        if error.field != "where":
            raise
        problem = problem_of(error)[1]
    context = _list_context(request, query, page, keys)
    a_run = runs.RunsQuery(query.project, limit=1)
    has_runs = bool(page.runs or runs.find_runs(reader, a_run, now_ns).runs)
    context |= {
        "problem": problem,
        "wants_counts": problem is None,
        "unknown": []
        if problem or page.runs or not has_runs
        else explain_names(reader, query.project, query.where, now_ns),
        "chips": [] if problem else conjuncts(query.where),
        "views": [
            (saved.name, _address_of(saved, query.project), _is_shown(saved, request))
            for saved in find_views(reader, query.project)
            if saved.page == "runs"
        ],
        "placeholder": _write_example(page.runs),
        "offered": offer_columns(context["columns"], page.runs),
        "has_runs": has_runs,
        "plain": None if has_runs else _find_plain(reader, query.project, now_ns),
        "unread": None
        if has_runs
        else find_unread(reader, query.project, find_service(request, Prices).own_models),
        "plain_roots": PLAIN_ROOTS,
        "elsewhere": []
        if has_runs
        else [project for project in find_projects(reader) if project.runs],
        "gaps": find_gaps(request, reader, query.project),
        "refused": find_refused(reader, query.project),
    }
    return show_page(request, "runs.html", context, 400 if problem else 200)


@pages.get("/projects/{project:path}/more-runs")
def list_more_runs(request: Request, reader: FromReader, query: ListQuery, keys: Keys) -> Response:
    """Show the rows of the next page of a list."""
    page = find_roots(reader, query, time.time_ns())
    return show_page(request, "rows.html", _list_context(request, query, page, keys))


@pages.get("/projects/{project:path}/runs/{run_id}/calls")
def list_calls(
    request: Request, reader: FromReader, project: str, run_id: str, keys: Keys
) -> Response:
    """Show the calls inside a request, as rows below it."""
    now_ns = time.time_ns()
    root = runs.find_run(reader, run_id, project, now_ns=now_ns)
    calls_inside = find_calls_inside(reader, root, now_ns)
    page = RunsPage(runs=[run for run, _ in calls_inside], next_cursor=None)
    context = _list_context(request, runs.RunsQuery(project, roots=True), page, keys)
    levels = {run.run_id: level for run, level in calls_inside}
    return show_page(request, "rows.html", context | {"levels": levels})


@pages.get("/projects/{project:path}/chart")
def show_chart(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """Show the count of a list over time, as a part that is loaded after the rows."""
    times = {name: request.query_params.get(name) for name in _TIME_PARAMETERS}
    kept = _kept_parameters(request)
    try:
        chart = _chart(reader, query, time.time_ns())
    except Unavailable:
        return show_page(request, "no_totals.html", {}, 503)
    facts = {
        "project": query.project,
        "where": query.where,
        "times": times,
        "kept": kept,
        "chart": chart,
    }
    return show_page(request, "chart.html", facts)


@pages.get("/projects/{project:path}/facets")
def show_facets(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """Show the values by which a list can be narrowed, as a part that is loaded after the rows."""
    kept = _kept_parameters(request)
    if columns := request.query_params.getlist("columns"):
        kept["columns"] = columns
    facts: dict[str, Any] = {"project": query.project, "where": query.where, "kept": kept}
    window = _find_window(reader, query, time.time_ns(), plain=query.traces)
    facets: Sequence[Facet] = ()
    if window is not None:
        condition, _ = runs.compile_query(reader, query)
        if query.is_of_tops:
            condition = all_of([condition, OUTERMOST])
        with suppress(Unavailable):
            facets = find_facets(reader, query.project, condition, window)
    chosen = set(conjuncts(query.where))
    return show_page(request, "facets.html", facts | {"facets": facets, "chosen": chosen})


@pages.get("/projects/{project:path}/switch")
def show_switch(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """Show the switch of a list with the number of rows behind each choice."""
    kept = _kept_parameters(request)
    if columns := request.query_params.getlist("columns"):
        kept["columns"] = columns
    choices = None
    with suppress(Unavailable):  # then the switch has no counts
        choices = _count_choices(reader, query, time.time_ns())
    facts = {
        "project": query.project,
        "where": query.where,
        "kept": kept,
        "is_roots": query.is_of_tops,
        "is_traces": query.traces,
        "wants_counts": False,
        "is_sessions": "sessions" in request.query_params,
        "choices": choices,
    }
    return show_page(request, "tops.html", facts)


@pages.get("/projects/{project:path}/sums")
def show_sums(
    request: Request,
    reader: FromReader,
    query: ListQuery,
    group: Group = "",
) -> Response:
    """Show the sums of a list, in total and by group, as a part that is loaded after the rows."""
    try:
        sums = find_sums(reader, query, group, time.time_ns())
    except Unavailable:
        return show_page(request, "no_totals.html", {}, 503)
    facts = {
        "project": query.project,
        "sums": sums,
        "is_roots": query.is_of_tops,
        "group": group,
        "by": _GROUPS.get(group) or group,
        "kept": _kept_parameters(request),
    }
    return show_page(request, "sums.html", facts)


@pages.get("/projects/{project:path}/error-groups")
def show_error_groups(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """Show the failed runs of a list by message, as a part that is loaded after the rows."""
    error_groups = find_error_groups(reader, query, time.time_ns(), _ERROR_GROUPS)
    facts = {
        "project": query.project,
        "where": query.where,
        "found": error_groups,
        "is_since": query.start_ns > 0,
        "times": {name: request.query_params.get(name) for name in _TIME_PARAMETERS},
    }
    return show_page(request, "error_groups.html", facts)


def _kept_parameters(request: Request) -> dict[str, Any]:
    """Return the parameters that links to a list in another state keep."""
    given = request.query_params
    return {key: given[key] for key in _KEPT_PARAMETERS if given.get(key)}


def _list_context(
    request: Request, query: runs.RunsQuery, page: RunsPage, keys: list[str]
) -> dict[str, Any]:
    """Return the context that the table and its rows share."""
    given = request.query_params
    kept = _kept_parameters(request)
    if keys:
        kept["columns"] = list(keys)
    last = given.get("last") or None
    order = None if query.order == NEWEST else query.order
    asked = {
        "start": to_rfc3339(query.start_ns) if query.start_ns else None,
        "end": None if query.end_ns is None else to_rfc3339(query.end_ns),
        "tz": zone if (zone := page_zone_of(request).key) != "UTC" else None,
        "order": order,
        "roots": "true" if query.roots else None,
        "traces": "true" if query.traces else None,
    }
    columns = choose_columns(keys, page.runs, page.inside.values())
    without_times = view.without(kept, "last", "start", "end", "live", "pick")
    return {
        "project": query.project,
        "where": query.where,
        "kept": kept,
        "runs": page.runs,
        "next_cursor": page.next_cursor,
        "columns": columns,
        "shared": _share_members(page.runs),
        "headings": make_headings(columns, query.order, page.ordered_by or query.order),
        "ordered": None if query.order in BY_TIME else _words_of(query.order),
        "ordered_since": page.ordered_since,
        "groups": {
            "": "no groups",
            **_GROUPS,
            **{f"tags[{quoted(n)}]": n for n in _most_common(_tags_of(page.runs), _MOST_TAGS)},
        },
        "times": _OFFERED_TIMES,
        "time": _OFFERED_TIMES.get(last or "", (f"Last {last}", last)),
        "choices": None,
        "wants_counts": True,
        "is_sessions": False,
        "may_annotate": has_scope(request, ANNOTATE),
        "may_delete": has_scope(request, ADMIN),
        "link": view.address(
            query.project,
            "runs",
            where=query.where,
            **without_times,
            start=asked["start"],
            end=asked["end"] or to_rfc3339(time.time_ns()),
        ),
        "inside": page.inside,
        "levels": {},
        "is_roots": query.is_of_tops,
        "is_traces": query.traces,
        "asked": asked,
        "api": view.api_address(
            "projects", query.project, "runs", where=query.where, limit=query.limit, **asked
        ),
        "python": python_call(
            "runs",
            query.where,
            **view.without(asked, "roots", "traces"),
            roots=query.roots or None,
            traces=query.traces or None,
        ),
    }


def describe_list(
    request: Request, query: runs.RunsQuery, page: RunsPage, keys: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what a list shows in a file, and `page`, the address of its page."""
    context = _list_context(request, query, page, [*keys])
    address = view.address(query.project, "runs", where=query.where, **context["asked"])
    return context | {"next_cursor": None, "page": address}


def has_scope(request: Request, scope: str) -> bool:
    """Return whether the sender of a request has a scope."""
    access = find_access_of(request.scope)
    return access is not None and access.has(scope)


def _words_of(order: str) -> str:
    """Describe what comes first in an order."""
    way, _, judge = order.partition(":")
    words = _FIRST.get(way, way.capitalize())
    return f"{words} scores of judge “{judge}”" if judge else words


def _write_example(listed: Sequence[RunSummary]) -> str:
    """Write a filter with values of these runs: a function and a tag of it."""
    models = _most_common([run.model for run in listed if run.model], 1)
    if not models:
        return 'outcome == "error"'
    example = f"model == {quoted(models[0])}"
    tagged = [run.tags for run in listed if run.model == models[0]]
    for name in _most_common([name for tags in tagged for name in tags], 1):
        value = next(tags[name] for tags in tagged if name in tags)
        if isinstance(value, str | int | float) and len(str(value)) <= _EXAMPLE_CHARS:
            return f"{example} and tags[{quoted(name)}] == {quoted(value)}"
    return f'{example} and outcome == "error"'


def _share_members(listed: Sequence[RunSummary]) -> dict[str, frozenset[str]]:
    """Find the members that all inputs and outputs of a function have in common, by function."""
    by_model: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for run in listed:
        by_model[run.model or ""].append(run)
    return {
        model: find_shared([run.inputs for run in own if run.inputs])
        for model, own in by_model.items()
    }


def _is_shown(saved: View, request: Request) -> bool:
    """Return whether a list shows a saved view: the same filter, period, order and columns."""
    given = request.query_params
    state = {
        name: given[name]
        for name in ("where", "last", "start", "end", "order", "group")
        if given.get(name)
    }
    if columns := given.getlist("columns"):
        state["columns"] = "\n".join(columns)
    return state == {name: value for name, value in saved.parameters.items() if name != "live"}


def _address_of(saved: View, project: str) -> str:
    """Write the address of a saved view, which keeps one column per line."""
    parameters: dict[str, Any] = dict(saved.parameters)
    if "columns" in parameters:
        parameters["columns"] = parameters["columns"].split("\n")
    return view.address(project, "runs", **parameters)


def _chart(reader: Reader, query: runs.RunsQuery, now_ns: int) -> Histogram | None:
    """Count the runs of a list over the requested time, or over all recorded time."""
    window = _find_window(reader, query, now_ns, plain=query.traces)
    if window is None:
        return None
    condition, _ = runs.compile_query(reader, query)
    if query.start_ns:  # the chart covers exactly the requested time
        end_ns = now_ns if query.end_ns is None else query.end_ns
        window = replace(window, start_ns=query.start_ns, end_ns=max(end_ns, window.end_ns))
    step_ns = choose_bar_ns(window)
    if not query.start_ns:  # the bars fill the width
        start_ns = min(window.start_ns, window.end_ns - (BARS - 1) * step_ns)
        window = replace(window, start_ns=start_ns)
    buckets = window.cut(step_ns)
    if query.is_of_tops:
        count = count_traces if query.traces else count_roots
        tops = count(reader, query.project, condition, buckets)
        if tops is not None:
            return draw_bars(tops, buckets, "trace" if query.traces else "request")
    return draw_bars(count_runs(reader, query.project, condition, buckets), buckets)


def _find_window(
    reader: Reader, query: runs.RunsQuery, now_ns: int, *, plain: bool
) -> Window | None:
    """Find the part of the requested time in which a project has runs; None without any."""
    whole = bound_runs(reader, query.project, plain=plain)
    if whole is None:
        return None
    window = Window(
        max(query.start_ns, whole.start_ns),
        min(query.end_ns or now_ns + HOUR_NS, whole.end_ns),
        reader.zone,
    )
    return window if window.start_ns < window.end_ns else None


@dataclass(frozen=True, slots=True)
class SwitchCounts:
    """How many rows each choice of the switch *Requests, Traces, All calls* would show.

    Attributes:
        requests: None if they were not counted.
        has_traces: Whether the choice *Traces* would show other rows than *Requests*.
    """

    requests: int | None
    traces: int
    calls: int
    has_traces: bool


def _count_choices(reader: Reader, query: runs.RunsQuery, now_ns: int) -> SwitchCounts | None:
    """Count the requests, traces and calls that match the filter and time of a list."""
    window = _find_window(reader, query, now_ns, plain=True)
    if window is None:
        return None
    buckets, project = window.cut(None), query.project
    calls_query = replace(query, roots=False, traces=False)
    of_calls, _ = runs.compile_query(reader, calls_query)
    of_traces, _ = runs.compile_query(reader, replace(calls_query, traces=True))
    traces = reader.ahead(count_traces, project, of_traces, buckets)
    plain = reader.ahead(count_plain_traces, project, of_traces, buckets)
    requests = count_roots(reader, project, of_calls, buckets)
    calls = count_runs(reader, project, of_calls, buckets)
    number_of_requests, number_of_traces = _total(requests), _total(traces.result()) or 0
    return SwitchCounts(
        number_of_requests,
        number_of_traces,
        _total(calls) or 0,
        # A trace whose top span is a run is the same row as a request. Without a row there is
        # nothing to choose: under a web framework, no top span has a model for a filter to match.
        has_traces=number_of_requests is None
        or number_of_traces not in (0, number_of_requests)
        or bool(_total(plain.result())),
    )


def _total(rows: Sequence[Row] | None) -> int | None:
    return None if rows is None else sum(row["runs"] for row in rows)


def _find_plain(reader: Reader, project: str, now_ns: int) -> RunsPage | None:
    """Find traces of a project that has only plain spans; None without any."""
    query = runs.RunsQuery(project, PLAIN_ROOTS, limit=_PLAIN_TRACES, roots=True)
    page = find_roots(reader, query, now_ns)
    return page if page.runs else None
