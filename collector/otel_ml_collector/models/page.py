"""The models of a project, and one model: its versions, and what changed between any two."""

import time
from operator import attrgetter
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.models import curves, diff
from otel_ml_collector.models import find as models
from otel_ml_collector.projects.find import find_projects
from otel_ml_collector.web import view
from otel_ml_collector.web.artifacts import lay_out
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.slices import cut_slice
from otel_ml_collector.web.state import read_state

_JUDGES: Final = 3
_VERSIONS: Final = 50
_number = attrgetter("version")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/projects/{project:path}/models")
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


@router.get("/projects/{project:path}/models/{model:path}")
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


@router.get("/projects/{project:path}/model-curves")
def show_curves(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    model: Annotated[str, Query(max_length=1_024)],
    last: Annotated[Literal["1h", "24h", "7d", "30d"], Query()] = "24h",
) -> Response:
    """How a model's versions did over time, as a part of its page that comes after the rest."""
    found = curves.find_curves(reader, project, model, last, time.time_ns())
    return show_page(request, "curves.html", {"project": project, "model": model, "found": found})
