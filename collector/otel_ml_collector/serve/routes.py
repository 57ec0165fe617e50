"""All routes of the JSON API and of the pages, in the order in which they are matched.

`SegmentRoute` comes first: it finds the route by the segments of the address. The routes themselves
match only addresses in which the slashes of a name are not percent-encoded. The name of a project
can then be any path, so a route that ends with a project comes last.
"""

from typing import Final

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from otel_ml_collector import completion, export, loss, mentions, metrics, stats, unread
from otel_ml_collector.activity import routes as activity
from otel_ml_collector.alerts import pages as alert_pages
from otel_ml_collector.alerts import routes as alerts
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.comparison import routes as comparison
from otel_ml_collector.datasets import routes as datasets
from otel_ml_collector.experiments import routes as experiments
from otel_ml_collector.jaeger import routes as jaeger
from otel_ml_collector.judges import routes as judges
from otel_ml_collector.judges import rubric_pages, rubric_routes, worker_routes
from otel_ml_collector.models import routes as models
from otel_ml_collector.monitor import (
    field_pages,
    fields,
    problem_page,
    problem_pairs,
    profiles,
    unusual,
)
from otel_ml_collector.monitor import known as known_problems
from otel_ml_collector.monitor import page as monitor_page
from otel_ml_collector.monitor import routes as monitor
from otel_ml_collector.overview import home, projects
from otel_ml_collector.overview import routes as overview
from otel_ml_collector.project_settings import keys, storage
from otel_ml_collector.project_settings import routes as project_settings
from otel_ml_collector.quality import pages as quality_pages
from otel_ml_collector.quality import routes as quality
from otel_ml_collector.queues import pages as queue_pages
from otel_ml_collector.queues import routes as queues
from otel_ml_collector.reported import routes as reported
from otel_ml_collector.serve.addresses import SegmentRoute
from otel_ml_collector.traces import api as traces
from otel_ml_collector.traces import feedback, live, sessions, trace_file, trace_pair, views
from otel_ml_collector.traces import objects as artifacts
from otel_ml_collector.traces import page as run_page
from otel_ml_collector.traces import run_list as runs
from otel_ml_collector.web.view import link_to

_ROUTERS: Final = (
    runs.api,
    traces.router,
    models.api,
    models.writes,
    rubric_routes.api,
    worker_routes.api,
    judges.api,
    queues.api,
    quality.api,
    alerts.api,
    datasets.api,
    datasets.writes,
    experiments.api,
    comparison.api,
    monitor.api,
    known_problems.api,
    fields.api,
    profiles.api,
    sessions.api,
    trace_file.api,
    metrics.api,
    loss.router,
    reported.api,
    artifacts.router,
    completion.router,
    export.router,
    feedback.router,
    live.router,
    views.router,
    stats.router,
    mentions.api,
    activity.api,
    project_settings.api,
    storage.router,
    unread.api,
    overview.api,
    projects.api,
    keys.api,
    keys.pages,
    home.router,
    runs.pages,
    run_page.router,
    trace_pair.router,
    models.pages,
    rubric_pages.pages,
    judges.pages,
    queue_pages.pages,
    quality_pages.pages,
    alert_pages.pages,
    datasets.pages,
    experiments.pages,
    comparison.pages,
    field_pages.pages,
    unusual.pages,
    sessions.pages,
    metrics.pages,
    monitor_page.pages,
    known_problems.pages,
    problem_page.pages,
    problem_pairs.pages,
    project_settings.pages,
    projects.pages,
    activity.pages,
    overview.pages,
)

router = APIRouter(route_class=DeferredRoute)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Redirect to the icon, which browsers request for answers that are not pages."""
    return RedirectResponse(link_to("static", "icon.svg"))


# Not with `include_router`: it analyses each route again at the first request, which takes 0.2 s,
# and each request passes through one more router.
_EVERY: Final = (
    *jaeger.ROUTES,
    *(route for topic in _ROUTERS for route in topic.routes),
    *router.routes,
)
ROUTES: Final = (SegmentRoute(_EVERY), *_EVERY)
