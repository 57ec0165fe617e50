"""All routes of the JSON API and of the pages, in the order in which they are matched.

`SegmentRoute` comes first: it finds the route by the segments of the address. The routes themselves
match only addresses in which the slashes of a name are not percent-encoded. The name of a project
can then be any path, so a route that ends with a project comes last.
"""

from typing import Final

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from otel_ml_collector import completion, export, loss, mentions, metrics, stats, unread
from otel_ml_collector.activity.topic import topic as activity
from otel_ml_collector.alerts.topic import topic as alerts
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.comparison.topic import topic as comparison
from otel_ml_collector.datasets.topic import topic as datasets
from otel_ml_collector.experiments.topic import topic as experiments
from otel_ml_collector.jaeger import routes as jaeger
from otel_ml_collector.judges.topic import topic as judges
from otel_ml_collector.models.topic import topic as models
from otel_ml_collector.monitor.topic import topic as monitor
from otel_ml_collector.overview.topic import topic as overview
from otel_ml_collector.project_settings.topic import topic as project_settings
from otel_ml_collector.quality.topic import topic as quality
from otel_ml_collector.queues.topic import topic as queues
from otel_ml_collector.reported import routes as reported
from otel_ml_collector.serve.addresses import SegmentRoute
from otel_ml_collector.services import Topic
from otel_ml_collector.traces.topic import topic as traces
from otel_ml_collector.web.view import link_to

# What several topics share.
_SHARED: Final = Topic(
    api=[loss.router, reported.api, completion.router, export.router, stats.router, unread.api]
)
TOPICS: Final = (
    _SHARED,
    traces,
    models,
    judges,
    queues,
    quality,
    alerts,
    datasets,
    experiments,
    comparison,
    monitor,
    Topic(api=[metrics.api], pages=[metrics.pages]),
    Topic(api=[mentions.api]),
    activity,
    project_settings,
    overview,
)
router = APIRouter(route_class=DeferredRoute)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Redirect to the icon, which browsers request for answers that are not pages."""
    return RedirectResponse(link_to("static", "icon.svg"))


_APIS: Final = [own for topic in TOPICS for own in topic.api]
_PAGES: Final = [own for topic in TOPICS for own in topic.pages]
# Not with `include_router`: it analyses each route again at the first request, which takes 0.2 s,
# and each request passes through one more router.
_EVERY: Final = (
    *jaeger.ROUTES,
    *(route for own in (*_APIS, *_PAGES) for route in own.routes),
    *router.routes,
)
ROUTES: Final = (SegmentRoute(_EVERY), *_EVERY)
