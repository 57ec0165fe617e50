"""The runs of a project, and a single run, in the JSON API; and the page of their list.

It has one filter box, a histogram over time, and a table of chosen columns.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import SOURCES
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.loss import find_gaps, find_refused
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.projects import find_projects
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run, RunsPage, RunSummary
from otel_ml_collector.runs.errors import find_error_groups
from otel_ml_collector.runs.roots import find_calls_inside, find_roots
from otel_ml_collector.runs.sums import ListSums, find_sums
from otel_ml_collector.services import find_service
from otel_ml_collector.stats import NO_RUNS
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.statistics import (
    bound_runs,
    count_roots,
    count_runs,
    count_traces,
)
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, to_rfc3339
from otel_ml_collector.unread import find_unread
from otel_ml_collector.views import View, find_views
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Buckets, Window, write_local

_MOST: Final = 24
_OFFERED: Final = 40
_ERROR_GROUPS: Final = 10
_USUAL_JUDGES: Final = 3
_USUAL_TAGS: Final = 2
_MOST_TAGS: Final = 8
_ON_PHONES: Final = ("ago", "outcome", "model", "input", "latency_ms")
BARS: Final = 45
_HEIGHT: Final = 44
_GROUND: Final = 48
_STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
# The times that are offered, and what they are called.
_OFFERED_TIMES: Final = {
    "": "All time",
    "15m": "Last 15 minutes",
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
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
# By what a list is grouped, beside the tags of its runs.
_GROUPS: Final = {
    "model": "model",
    "provider_model": "provider's model",
    "user": "user",
    "session": "session",
}
_MOST_COLUMNS: Final = 50

# The traces of a project by their plain roots; and how many are shown where there is no run.
PLAIN_ROOTS: Final = 'kind == "span" and parent_run_id == ""'
_PLAIN_TRACES: Final = 20

api = APIRouter(prefix="/api/v1")
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

_ORDER_WORDS: Final = "; ".join(f"`{order.name}`: {order.about} first" for order in ORDERS)
Order = Annotated[
    str,
    Query(
        max_length=ORDER_CHARS,
        description=f"What comes first, of all that match and not of a page alone. {_ORDER_WORDS}. "
        "Beside those by time, runs without an end or without such a value are left out",
    ),
]
Roots = Annotated[bool, Query(description="Only runs that stand inside no other one")]
Traces = Annotated[
    bool, Query(description="Only what stands at the top of a trace with a call, plain spans too")
]
Keys = Annotated[list[str], Query(alias="columns", max_length=_MOST_COLUMNS, default_factory=list)]


def parse_tops(*, roots: Roots = False, traces: Traces = False) -> Mapping[str, bool]:
    """Read whether a list is of roots or of traces."""
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
    """Read the parameters of a list of runs; the pages take the same ones.

    Raises:
        BadInput: There is no such order.
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
    """List the runs of a project, also those that have no end.

    Spans that are no model calls need `kind` in `where`.
    """
    return find_roots(reader, query, time.time_ns())


@api.get("/projects/{project:path}/runs/{run_id}")
def get_project_run(project: str, run_id: str, reader: FromReader) -> Run:
    """Read a run with everything that is known of it."""
    return runs.find_run(reader, run_id, project, now_ns=time.time_ns())


@api.get("/runs/{run_id}")
def get_run(run_id: str, reader: FromReader) -> Run:
    """Read a run by its id alone, when exactly one project has it."""
    return runs.find_run(reader, run_id, now_ns=time.time_ns())


Group = Annotated[
    str,
    Query(
        max_length=220,
        description="By what: model, provider_model, user, session, another field that statistics "
        'are grouped by, or a tag such as tags["client"]; empty for nothing',
    ),
]


@api.get("/projects/{project:path}/sums")
def get_sums(query: ListQuery, reader: FromReader, group: Group = "") -> ListSums:
    """Add up the runs of a list, in all and by groups, whatever its order and page.

    Of roots and traces the calls inside them, by what stands at the top; each call counts once.
    """
    return find_sums(reader, query, group, time.time_ns()) or ListSums(NO_RUNS)


@dataclass(frozen=True, slots=True)
class ListColumn:
    """One column.

    Attributes:
        key: As it stands in the address; ``score:``, ``tag:``, ``truth:``, ``label:`` and
            ``agent:`` go before a name.
        label: Its head, with the unit.
        style: Classes of its head.
    """

    key: str
    label: str
    style: str = "w3"

    @property
    def is_optional(self) -> bool:
        """Return whether phones leave it out unless it was chosen."""
        return self.key not in _ON_PHONES

    @property
    def kind(self) -> str:
        """Return ``score``, ``tag``, ``truth``, ``label``, ``agent`` or the key of a field."""
        return self.key.partition(":")[0]

    @property
    def name(self) -> str:
        """Return the name of the judge, tag, truth or label."""
        return self.key.partition(":")[2]

    @property
    def orders(self) -> Sequence[ListOrder]:
        """Return the orders in which a list may be by this column."""
        if self.kind == "score":
            by_judge = [order for order in ORDERS if order.column == "scores"]
            return [replace(order, name=order.name.replace(JUDGE, self.name)) for order in by_judge]
        column = "start" if self.key == "ago" else self.key
        return [order for order in ORDERS if order.column == column]


@dataclass(frozen=True, slots=True)
class Heading:
    """The head of a column of a list.

    Attributes:
        column: Of which.
        order: What a click on it orders the list by; empty where nothing does.
        about: What then comes first.
        sorted: ``ascending`` or ``descending`` where the list is in its order, else empty.
    """

    column: ListColumn
    order: str = ""
    about: str = ""
    sorted: str = ""


def make_headings(columns: Sequence[ListColumn], order: str, settled: str) -> list[Heading]:
    """Make the heads of a list that is in an order.

    Args:
        columns: Of the list.
        order: As it was asked for.
        settled: What the worst or best of a judge came to; else the same.
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
        current = next((order for order in orders if order.name == settled), None)
        way = "ascending" if current and current.is_ascending else "descending"
        headings.append(Heading(column, follows.name, follows.about, way if current else ""))
    return headings


# Labels of a column of the usual width.
_NARROW: Final = 12
FIELDS: Final = (
    ListColumn("ago", "Ago", "w1 began"),
    ListColumn("outcome", "Outcome", "mark"),
    ListColumn("model", "Model", "model"),
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
    ListColumn("first_token_ms", "First ms", "n w2"),
    ListColumn("stream_chunks", "Chunks", "n w2"),
    ListColumn("tokens_per_second", "Tokens/s", "n w2"),
)
_BY_KEY: Final = {column.key: column for column in FIELDS}
_DEFAULT: Final = FIELDS[:6]


def choose_columns(
    keys: Sequence[str], runs: Sequence[RunSummary], inside: Iterable[Inside] = ()
) -> list[ListColumn]:
    """Choose columns by the address, else the usual columns and those that these runs fill most.

    Tokens, cost and the time to the first token are among the usual columns where any of these runs
    has them.

    Unknown keys are left out: an address may be older than this program.
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
    """List the columns that may be chosen: all fields, and these runs' judges and tags by name."""
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
    """Name the judges with a score of a run, or of the runs inside it."""
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
    """Bars of equal width; the times of the first and the last may be shorter.

    Attributes:
        runs: SVG path of all runs; errors: of the failed ones; both in a box of 10 a bar by 48.
        labels: Times below the axis, as clocks in `zone` show them.
        zone: The name of the time zone.
        step: The time of a bar, in words.
        most: Height of the highest bar.
        total: Runs in all bars; failed: failed ones among them.
        edges: Where each bar begins, and where the last one ends, RFC 3339.
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
        """How many there are."""
        return len(self.edges) - 1


def choose_bar_ns(window: Window) -> int:
    """Choose a round time for each of at most 45 bars over a window."""
    length_s = (window.end_ns - window.start_ns) / SECOND_NS
    for step_s in _STEPS_S:
        if length_s <= step_s * (BARS - 1):  # one more when the window begins within a bar
            return step_s * SECOND_NS
    days = int(length_s // (86_400 * (BARS - 1))) + 1
    return days * 86_400 * SECOND_NS


def draw_bars(rows: Sequence[Row], over: Buckets, counted: str = "run") -> Histogram:
    """Draw the counts of the buckets of a window, of runs or of another unit."""
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
    cut = slice(5, 16) if window.end_ns - window.start_ns > DAY_NS else slice(11, 19)
    return Histogram(
        runs=draw("runs"),
        errors=draw("errors"),
        labels=[write_local(time_ns, window.zone)[cut] for time_ns in times],
        zone=window.zone.key,
        step=_words(step_ns // SECOND_NS),
        most=most,
        total=total,
        failed=failed,
        edges=[to_rfc3339(edge_ns) for edge_ns in over.edges_ns],
        counted=counted,
    )


def _words(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


@pages.get("/projects/{project:path}/runs")
def list_runs(request: Request, reader: FromReader, query: ListQuery, keys: Keys) -> Response:
    """The runs of a project, filtered."""
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
        "chips": [] if problem else conjuncts(query.where),
        "views": [
            (saved.name, _address_of(saved, query.project))
            for saved in find_views(reader, query.project)
            if saved.page == "runs"
        ],
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
    """The rows of the next page of a list."""
    page = find_roots(reader, query, time.time_ns())
    return show_page(request, "rows.html", _list_context(request, query, page, keys))


@pages.get("/projects/{project:path}/runs/{run_id}/calls")
def list_calls(
    request: Request, reader: FromReader, project: str, run_id: str, keys: Keys
) -> Response:
    """The calls inside a root, as rows below it."""
    now_ns = time.time_ns()
    root = runs.find_run(reader, run_id, project, now_ns=now_ns)
    calls_inside = find_calls_inside(reader, root, now_ns)
    page = RunsPage(runs=[run for run, _ in calls_inside], next_cursor=None)
    context = _list_context(request, runs.RunsQuery(project, roots=True), page, keys)
    levels = {run.run_id: level for run, level in calls_inside}
    return show_page(request, "rows.html", context | {"levels": levels})


@pages.get("/projects/{project:path}/chart")
def show_chart(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """The count of a list and its course over time, as a part that comes after the rows."""
    chart = _chart(reader, query, time.time_ns())
    times = {name: request.query_params.get(name) for name in _TIME_PARAMETERS}
    facts = {"chart": chart, "project": query.project, "where": query.where, "times": times}
    return show_page(request, "chart.html", facts)


@pages.get("/projects/{project:path}/sums")
def show_sums(
    request: Request,
    reader: FromReader,
    query: ListQuery,
    group: Group = "",
) -> Response:
    """Show the sums of a list, in all and by groups, as a part that comes after the rows."""
    facts = {
        "project": query.project,
        "sums": find_sums(reader, query, group, time.time_ns()),
        "group": group,
        "by": _GROUPS.get(group) or group,
        "kept": _kept_parameters(request),
    }
    return show_page(request, "sums.html", facts)


@pages.get("/projects/{project:path}/error-groups")
def show_error_groups(request: Request, reader: FromReader, query: ListQuery) -> Response:
    """The failed runs of a list by the shape of their message, as a part that comes later."""
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
    """Return the context that table and rows share; the columns stay when more rows are fetched."""
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
    return {
        "project": query.project,
        "where": query.where,
        "kept": kept,
        "runs": page.runs,
        "next_cursor": page.next_cursor,
        "columns": columns,
        "headings": make_headings(columns, query.order, page.ordered_by or query.order),
        "ordered": None if query.order in BY_TIME else _words_of(query.order),
        "ordered_since": page.ordered_since,
        "by": f"by {_GROUPS.get(group, group)}" if (group := given.get("group")) else "",
        "groups": {
            "": "nothing",
            **_GROUPS,
            **{f"tags[{view.quoted(n)}]": n for n in _most_common(_tags_of(page.runs), _MOST_TAGS)},
        },
        "times": _OFFERED_TIMES,
        "time": _OFFERED_TIMES.get(last or "", f"Last {last}"),
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


def _words_of(order: str) -> str:
    """Describe the order of a list: the value that comes first."""
    way, _, judge = order.partition(":")
    about = next(order.about for order in ORDERS if order.name.partition(":")[0] == way)
    return about.replace("a judge", judge) if judge else about


def _address_of(saved: View, project: str) -> str:
    """Write the address that a view stands for; its columns are kept a line each."""
    parameters: dict[str, Any] = dict(saved.parameters)
    if "columns" in parameters:
        parameters["columns"] = parameters["columns"].split("\n")
    return view.address(project, "runs", **parameters)


def _chart(reader: Reader, query: runs.RunsQuery, now_ns: int) -> Histogram | None:
    """Count over the asked time, or over all that is there when none is asked."""
    whole = bound_runs(reader, query.project, plain=query.traces)
    if whole is None:
        return None
    window = Window(
        max(query.start_ns, whole.start_ns),
        min(query.end_ns or now_ns + HOUR_NS, whole.end_ns),
        reader.zone,
    )
    if window.start_ns >= window.end_ns:
        return None
    condition, _ = runs.compile_query(reader, query)
    step_ns = choose_bar_ns(window)
    # Without a start the bars fill the width; else none begins before it.
    start_ns = max(min(window.start_ns, window.end_ns - (BARS - 1) * step_ns), query.start_ns)
    buckets = replace(window, start_ns=start_ns).cut(step_ns)
    if query.is_of_tops:
        count = count_traces if query.traces else count_roots
        tops = count(reader, query.project, condition, buckets)
        if tops is not None:
            return draw_bars(tops, buckets, "trace" if query.traces else "root")
    counted = count_runs(reader, query.project, condition, buckets)
    return draw_bars(counted, buckets)


def _find_plain(reader: Reader, project: str, now_ns: int) -> RunsPage | None:
    """Find the traces of a project that holds plain spans alone; None where there are none."""
    query = runs.RunsQuery(project, PLAIN_ROOTS, limit=_PLAIN_TRACES, roots=True)
    page = find_roots(reader, query, now_ns)
    return page if page.runs else None
