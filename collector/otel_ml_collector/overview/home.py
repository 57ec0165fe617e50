"""The home page: all projects with their figures."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml.records import ProjectCounts
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import InternalError, Missing, Unavailable
from otel_ml_collector.figures import draw_curve, split_unfinished
from otel_ml_collector.log import contained
from otel_ml_collector.loss import find_gaps, find_refused
from otel_ml_collector.measures.projects import find_projects, select_projects
from otel_ml_collector.problems.news import FromSources
from otel_ml_collector.problems.problems import ProjectProblem, find_problems
from otel_ml_collector.runs.answers import RunSummary, summarise
from otel_ml_collector.services import find_service
from otel_ml_collector.stats import (
    ProjectStats,
    cut_past,
    find_all_stats,
)
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.open_runs import find_open_runs, list_open_projects
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention
from otel_ml_collector.telemetry.service import Telemetry
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.unread import UnreadSpans, find_all_unread
from otel_ml_collector.verdicts.claims import MEASURES
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.view import cut_slice, read_state
from otel_ml_collector.windows import Buckets, Window

_UNFINISHED: Final = 10
_SHOWN_PROJECTS: Final = 50
# Projects that are checked at once, so that a page with many projects shows the first ones soon.
_CHECKED_AT_ONCE: Final = 4
# Age of a record that is not in the rows of its runs yet, from which the page shows it.
_BEHIND_S: Final = 10.0

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Runs that have started, but not ended, in all projects together.

    Only the 50 projects in which runs started last are searched. For each of them, the newest 2,000
    such runs are counted.

    Attributes:
        running: Number of runs whose process still sends heartbeats.
        crashed: Number of runs whose process no longer sends heartbeats.
        runs: The ten newest runs, running or crashed.
    """

    running: int
    crashed: int
    runs: list[RunSummary]


def find_unfinished(reader: Reader, now_ns: int) -> Unfinished:
    """Find the runs without an end, of all projects. They crashed if their process is silent."""
    window = Window(0, now_ns + HOUR_NS)
    rows = [
        row
        for project in list_open_projects(reader)
        for row in find_open_runs(reader, project, window, now_ns)
    ]
    rows.sort(key=lambda row: (row["start_ns"], row["span_id"]), reverse=True)
    outcomes = Counter(row["outcome"] for row in rows)
    newest = [run for row in rows[:_UNFINISHED] for run in summarise(reader, row["project"], [row])]
    return Unfinished(outcomes["running"], outcomes["crashed"], newest)


@dataclass(frozen=True, slots=True)
class ShownProject:
    """A project on the home page, with figures of the last 24 hours.

    Attributes:
        day: Runs, errors, latency and cost of these 24 hours. None if there were no runs.
        unread: Hint for a project with spans but without runs, such as `10 spans by genkit-tracer,
            none recognized as a model call`. Empty for any other project.
        runs: Points of an SVG curve of the number of runs in each hour.
        unfinished: The part of the curve that leads to the current hour, which is not over.
    """

    project: ProjectCounts
    day: ProjectStats | None
    unread: str
    runs: str
    unfinished: str


@router.get("/", response_class=FramedPage)
def show_home(
    request: Request,
    reader: FromReader,
    find: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """Show all projects, fifty at a time, or those whose names contain a text."""
    now_ns = time.time_ns()
    counted = reader.ahead(find_all_stats, now_ns)
    projects = find_projects(reader)
    stats = {group.project: group for group in counted.result().groups}
    costs = [stat.cost for stat in stats.values() if stat.cost is not None]
    day = cut_past(reader, "24h", now_ns)
    stored_projects = select_projects(projects, find)
    page = cut_slice(stored_projects, read_state(request).first("projects"), _SHOWN_PROJECTS)
    unread = find_all_unread(reader, [item.project for item in page.items if not item.runs])
    context = {
        "projects": projects,
        "find": find,
        "some": page,
        "shown": [
            _show(project, stats.get(project.project), day, unread.get(project.project))
            for project in page.items
        ],
        "active": [item.project for item in page.items if item.project in stats],
        "day_runs": sum(stat.runs for stat in stats.values()),
        "day_errors": sum(stat.errors for stat in stats.values()),
        "failed_traces": sum(stat.failed_traces for stat in stats.values()),
        "day_cost": sum(costs) if costs else None,
        "unfinished": find_unfinished(reader, now_ns),
        "gaps": find_gaps(request, reader),
        "retention_warning": find_service(request, Retention).warning,
        "refused": find_refused(reader),
        "left_points": find_service(request, Telemetry).left_points,
        "elsewhere": [],
        "api": view.api_address("projects", find=find, limit=_SHOWN_PROJECTS),
        "python": python_call("projects", find),
    }
    return show_page(request, "home.html", context)


@dataclass(frozen=True, slots=True)
class CheckedProject:
    """The status of a project on the home page.

    Attributes:
        place: Its index in the list of projects to check.
        problems: Its problems, the most important first; None if it could not be checked.
        trouble: Why it could not be checked; empty if it was.
    """

    name: str
    place: int
    problems: Sequence[ProjectProblem] | None
    trouble: str = ""

    @property
    def rank(self) -> str:
        """A text by which the page sorts projects: the worst first, those without problems last.

        What changed comes before known weak spots, then broken data before quality, errors, latency
        and cost, then many problems before few.
        """
        if self.problems is None:
            return "1"
        if not self.problems:
            return "2"
        first = self.problems[0]
        weak = int(first.is_weak_spot)
        return f"0{weak}{MEASURES.index(first.first.measure)}{max(999 - len(self.problems), 0):03}"


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Query parameters of a request that checks a few projects of the home page for problems.

    The browser sends such requests until all projects are checked. The answer to each request
    contains the address of the next one.

    Attributes:
        project: The projects that are not checked yet.
        of: How many projects are checked in total.
        wrong: The projects in which earlier requests found problems. `3 triage` means that project
            `triage` has 3.
        unchecked: How many projects could not be checked.
    """

    project: Annotated[list[str], Query(max_length=_SHOWN_PROJECTS)]
    of: Annotated[int, Query(ge=1, le=_SHOWN_PROJECTS)]
    wrong: Annotated[list[str], Query(max_length=_SHOWN_PROJECTS, default_factory=list)]
    unchecked: Annotated[int, Query(ge=0, le=_SHOWN_PROJECTS)] = 0


@router.get("/status")
def show_status(
    request: Request,
    reader: FromReader,
    sources: FromSources,
    query: Annotated[StatusQuery, Depends()],
) -> Response:
    """Show on the home page which projects have problems.

    This part loads after the page. Each request checks a few projects and fills their rows. The
    answer makes the browser send a request for the projects that are left.
    """
    now_ns = time.time_ns()
    behind_s = find_service(request, CallResolver).behind_s
    asked = [
        (name, reader.ahead(find_problems, name, "24h", now_ns, sources=sources))
        for name in query.project[:_CHECKED_AT_ONCE]
    ]
    checked = []
    for place, (name, future) in enumerate(asked, query.of - len(query.project)):
        try:
            with contained("the check of this project"):
                problems = future.result().problems
        except InternalError as error:
            checked.append(CheckedProject(name, place, None, str(error)))
        except (Missing, Unavailable) as error:
            checked.append(CheckedProject(name, place, None, str(error)))
        else:
            checked.append(CheckedProject(name, place, problems))
    wrong = [f"{len(item.problems)} {item.name}" for item in checked if item.problems]
    wrong = [*query.wrong, *wrong]
    counts = [text.partition(" ") for text in wrong]
    context = {
        "checked": checked,
        "remaining": query.project[_CHECKED_AT_ONCE:],
        "of": query.of,
        "wrong": wrong,
        "counts": sorted(
            [(name, int(count)) for count, _, name in counts if count.isdecimal()],
            key=lambda entry: -entry[1],
        ),
        "unchecked": query.unchecked + sum(item.problems is None for item in checked),
        "behind_ms": behind_s * 1_000 if behind_s >= _BEHIND_S else None,
    }
    return show_page(request, "status.html", context)


def _show(
    project: ProjectCounts, did: ProjectStats | None, day: Buckets, unread: UnreadSpans | None
) -> ShownProject:
    buckets = did.buckets if did else []
    curve = draw_curve(buckets, lambda bucket: bucket.runs, day, 0)
    runs, unfinished = split_unfinished(curve)
    return ShownProject(
        project=project,
        day=did,
        unread=str(unread or ""),
        runs=runs,
        unfinished=unfinished,
    )
