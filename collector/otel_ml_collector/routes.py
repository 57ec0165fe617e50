"""All routes of the JSON API and of the pages, in the order in which they are tried.

The name of a project may hold any path: what ends with it stands behind what goes on from it.
"""

from typing import Final

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.access import READ
from otel_ml_collector.api import completion, keys
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.artifacts import api as artifacts
from otel_ml_collector.export import api as export
from otel_ml_collector.feedback import api as feedback
from otel_ml_collector.home import page as home_page
from otel_ml_collector.jaeger import api as jaeger
from otel_ml_collector.live import api as live
from otel_ml_collector.loss import api as loss
from otel_ml_collector.metrics import api as metrics
from otel_ml_collector.metrics import page as metrics_page
from otel_ml_collector.models import api as models
from otel_ml_collector.models import page as models_page
from otel_ml_collector.projects import api as projects
from otel_ml_collector.projects import page as projects_page
from otel_ml_collector.runs import api as runs
from otel_ml_collector.runs import page as runs_page
from otel_ml_collector.stats import api as stats
from otel_ml_collector.storage import api as storage
from otel_ml_collector.traces import api as traces
from otel_ml_collector.traces import page as traces_page
from otel_ml_collector.views import api as views
from otel_ml_collector.web import sign_in, view

_API: Final = (
    runs,
    traces,
    models,
    metrics,
    loss,
    artifacts,
    completion,
    export,
    feedback,
    live,
    views,
    stats,
    storage,
    projects,
    keys,
)
_PAGES: Final = (
    sign_in,
    home_page,
    runs_page,
    traces_page,
    models_page,
    metrics_page,
    projects_page,
)

router = APIRouter()
for _topic in _API:
    router.include_router(_topic.router)
for _prefix in jaeger.PREFIXES:
    router.include_router(jaeger.router, prefix=_prefix)
for _page in _PAGES:
    router.include_router(_page.router)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """What browsers ask for beside an answer that is no page."""
    return RedirectResponse("/static/icon.svg")


@router.get(
    "/projects/{project:path}", dependencies=[Depends(needs(READ))], include_in_schema=False
)
def show_project(project: str) -> Response:
    """A project's first page is its runs; without a project it is home."""
    return RedirectResponse(view.address(project, "runs") if project else "/")
