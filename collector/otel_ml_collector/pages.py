"""All pages: parameters as the API takes them, the same `find`, one template each."""

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from otel_ml_collector.access import READ
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.home import page as home
from otel_ml_collector.metrics import page as metric_page
from otel_ml_collector.models import page as model_pages
from otel_ml_collector.projects import page as switcher
from otel_ml_collector.runs import page as run_list
from otel_ml_collector.traces import page as run_page
from otel_ml_collector.web import view
from otel_ml_collector.web.render import STATIC

router = APIRouter(include_in_schema=False)
for _part in (home, run_list, run_page, model_pages, metric_page, switcher):
    router.include_router(_part.router)


@router.get("/favicon.ico")
def favicon() -> Response:
    """What browsers ask for beside an answer that is no page."""
    return RedirectResponse("/static/icon.svg")


@router.get("/projects/{project:path}", dependencies=[Depends(needs(READ))])
def show_project(project: str) -> Response:
    """A project's first page is its runs; without a project it is home."""
    return RedirectResponse(view.address(project, "runs") if project else "/")


def static_files() -> StaticFiles:
    """Serve style, scripts and the vendored libraries."""
    return StaticFiles(directory=STATIC)
