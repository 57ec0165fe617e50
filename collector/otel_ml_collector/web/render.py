"""Renders pages: the templates with their helpers, and errors as pages that help."""

import os
import re
from collections.abc import Callable, Coroutine, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from otel_ml.counts import write_count
from otel_ml_collector import wording
from otel_ml_collector.access import ANNOTATE, READ, Access, find_access_of, find_user_of
from otel_ml_collector.api.parameters import page_zone_of
from otel_ml_collector.api.problems import Problem, problem_of
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.errors import BadInput, CollectorError, MissingProject, NotPermitted
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.keyring import SESSION_COOKIE
from otel_ml_collector.log import contained
from otel_ml_collector.measures.statistics import explain_missing, has_project
from otel_ml_collector.price import write_cost, write_dollars
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.settings.values import Address
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import ago, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.amounts import column_writer, duration_writer, write_amount
from otel_ml_collector.web.frame import FramedPage, answer_framed, opens_page
from otel_ml_collector.web.payload import make_payload, write_setting
from otel_ml_collector.web.previews import write_preview
from otel_ml_collector.web.view import (
    BASE_PATH,
    address,
    cut_slice,
    link_to,
    read_state,
    short,
    show,
    whole,
)
from otel_ml_collector.windows import read_zone, write_local

STATIC: Final = Path(__file__).parent / "static"
# Templates are in the folders of their topics, so each has a unique file name.
_COLLECTOR: Final = Path(__file__).parents[1]
# Parts of a project in the navigation, with their labels.
PARTS: Final[Mapping[str, str]] = {
    "runs": "Runs",
    "models": "Models",
    "metrics": "Metrics",
    "datasets": "Data sets",
    "experiments": "Experiments",
    "judges": "Judges",
    "monitor": "Monitor",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
_HASH: Final = re.compile(r"[0-9a-f]{16}")

_FILES: Final = blake2b(
    b"".join(file.read_bytes() for file in sorted(STATIC.rglob("*.*"))), digest_size=8
).hexdigest()


class Assets(StaticFiles):
    """Serves scripts and styles below a path with a hash of all files, so that browsers cache them.

    The hash is not in the names of single files, because scripts import each other by relative
    paths. If the hash in the path is that of another version, as during a rolling upgrade, browsers
    do not cache the file.
    """

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def get_path(self, scope: Scope) -> str:
        """Find the path of a file, without the hash."""
        path = super().get_path(scope)
        head, _, below = path.partition(os.sep)
        return below if _HASH.fullmatch(head) else path

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with a file. Browsers keep it forever under the current hash."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        is_current = f"/{_FILES}/" in scope["path"]
        answer.headers["Cache-Control"] = _FOREVER if is_current else "no-cache"
        return answer


class _StaticFiles:
    """Writes the link to the folder of static files."""

    def __str__(self) -> str:
        return link_to("static", _FILES)


def endpoint_of(request: Request) -> str:
    """Return the address under which users reach this collector, without a slash at the end."""
    here = str(request.base_url).rstrip("/")
    return find_service(request, Settings).public_url or f"{here}{BASE_PATH.get()}"


def grpc_endpoint_of(request: Request) -> str:
    """Return the address for OTLP over gRPC; empty if it is not known, as behind a proxy."""
    settings = find_service(request, Settings)
    host = request.url.hostname or ""
    if settings.public_url or not settings.grpc.port:
        return ""
    return str(Address(host, settings.grpc.port))


TEMPLATES: Final = Environment(
    loader=FileSystemLoader(sorted(_COLLECTOR.glob("*/templates"))),
    autoescape=True,
    auto_reload=False,
    finalize=show,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals.update(
    address=view.address,
    api_address=view.api_address,
    column_writer=column_writer,
    duration_writer=duration_writer,
    cut_slice=cut_slice,
    base_path=BASE_PATH.get,
    endpoint_of=endpoint_of,
    grpc_endpoint_of=grpc_endpoint_of,
    link_to=link_to,
    make_payload=make_payload,
    narrow=narrow,
    path_of=view.path_of,
    percent=wording.percent,
    quoted=quoted,
    sparks=view.sparks,
    static=_StaticFiles(),
    without=view.without,
)
TEMPLATES.filters.update(
    ago=ago,
    amount=write_amount,
    breakable=view.breakable,
    count=wording.count,
    counted=write_count,
    cut_id=view.cut_id,
    dollars=write_dollars,
    duration=wording.duration,
    elapsed_ms=view.elapsed_ms,
    evidence=wording.name_interval,
    local=lambda time_ns, zone: write_local(time_ns, read_zone(zone)),
    moment=view.moment,
    money=write_cost,
    number=wording.number,
    percentile=wording.percentile,
    preview=write_preview,
    rfc3339=to_rfc3339,
    score=wording.score,
    setting=write_setting,
    signed=wording.signed,
    short=short,
    size=view.size,
    slice_name=wording.slice_name,
    spaced=view.spaced,
    tag_value=wording.tag_value,
    whole=whole,
)
_PAGES: Final = Jinja2Templates(env=TEMPLATES)


def python_call(method: str, *values: object, **named: object) -> str:
    """Write a call of `otel_ml.reader`. Empty values are left out."""
    given = [repr(value) for value in values if value not in (None, "")]
    given += [f"{name}={value!r}" for name, value in named.items() if value not in (None, "")]
    return f"reader.{method}({', '.join(given)})"


# Errors that are answered here or by the application.
_HANDLED: Final = (RequestValidationError, HTTPException, ClientDisconnect)


class PageRoute(DeferredRoute):
    """Answers errors with a page that explains the error and how to fix it.

    If its `response_class` is `FramedPage`, a page that takes time arrives after its frame.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of the page."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                part = "this part" if "hx-request" in request.headers else "this page"
                with contained(part, *_HANDLED):
                    return await handler(request)
            except CollectorError as error:
                if isinstance(error, NotPermitted) and (queues := _queues_of(request)):
                    return RedirectResponse(queues, 303)
                return _show_error(request, error)
            except RequestValidationError as error:
                first = error.errors()[0]
                field = str(first["loc"][-1])
                status, problem = problem_of(BadInput(f"{field}: {first['msg']}", field))
                return show_problem(request, status, problem)

        async def answer_in_project(request: Request) -> Response:
            try:
                with contained("this page"):
                    await run_sync(_check_project, request)
            except CollectorError as error:
                return _show_error(request, error)
            if self.response_class is FramedPage and opens_page(request) and _may_read(request):
                return await answer_framed(request, answer, _make_frame)
            return await answer(request)

        return answer_in_project


def _may_read(request: Request) -> bool:
    """Return whether a request may read. Otherwise pages have no navigation, or another one."""
    access = find_access_of(request.scope)
    return access is None or access.has(READ)


def _show_error(request: Request, error: CollectorError) -> Response:
    """Show one of the collector's own errors; that of a missing project below its parent."""
    status, problem = problem_of(error)
    parent = error.parent if isinstance(error, MissingProject) else None
    return show_problem(request, status, problem, project=parent)


def _make_frame(request: Request) -> str:
    """Render a page without content."""
    return TEMPLATES.get_template("base.html").render(
        complete_context(request, {"request": request})
    )


def labelling_address(access: Access, project: str = "") -> str:
    """Return the link to the labelling queues of a key: of one project, or of all its projects."""
    own = access.projects
    if not (project and access.reaches(project)):
        project = own[0] if own is not None and len(own) == 1 else ""
    return address(project, "queues") if project else link_to("queues")


def _queues_of(request: Request) -> str:
    """Return the link to which a session that can only label is redirected; empty for none."""
    access = find_access_of(request.scope)
    is_page = request.method == "GET" and "hx-request" not in request.headers
    if access is None or access.has(READ) or not access.has(ANNOTATE) or not is_page:
        return ""
    target = labelling_address(access, request.path_params.get("project", ""))
    is_session = SESSION_COOKIE in request.cookies or access.is_user
    return target if is_session and BASE_PATH.get() + request.url.path != target else ""


def _check_project(request: Request) -> None:
    """Refuse the page of a project that does not exist and has a slash in its name.

    A project's name can contain slashes. Without this check, every wrong address below a project
    would be the empty page of a new project.

    Raises:
        MissingProject: There is no such project.
    """
    project = request.path_params.get("project", "")
    if "/" not in project:
        return
    access = find_access_of(request.scope)
    if access is not None and project in (access.projects or ()):
        return
    reader = find_service(request, Reader)
    if not has_project(reader, project):
        raise explain_missing(reader if access is None else reader.narrow(access), project)


def show_problem(
    request: Request, status: int, problem: Problem, *, project: str | None = None
) -> Response:
    """Show a problem on a page, or in place of the requested part of a page.

    Args:
        request: The request that has the problem.
        status: Status of the answer.
        problem: What is shown.
        project: The project of the page; empty for none. Default: the one in the address.
    """
    is_part = "hx-request" in request.headers
    name = "problem.html" if is_part else "error.html"
    access = find_access_of(request.scope)
    has_queues = access is not None and access.has(ANNOTATE) and not access.has(READ)
    queues = labelling_address(access) if access is not None and has_queues else ""
    context: dict[str, Any] = {"problem": problem, "queues": queues}
    if project is not None:
        context["project"] = project
    return show_page(request, name, context, status)


def show_page(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    """Render a page in its frame. The address names its project, if any."""
    return _PAGES.TemplateResponse(request, name, complete_context(request, context), status)


def complete_context(request: Request, context: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the frame of a page needs to what the page itself shows."""
    project = request.path_params.get("project")
    access, settings = find_access_of(request.scope), find_service(request, Settings)
    signed_on = find_user_of(request.scope)
    has_other = access is not None and not access.is_user  # a key of the request or of a session
    user = signed_on.name if signed_on and not has_other else ""
    defaults: dict[str, Any] = {
        "project": project,
        "part": _part(request),
        "parts": PARTS,
        "api": None,
        "python": None,
        "path": request.url.path,
        "state": read_state(request),
        "is_signed_in": bool(user) or SESSION_COOKIE in request.cookies,
        "user": user,
        "has_activity": bool(project) and access is not None and access.may(READ, project or ""),
        "sign_out": settings.auth_sign_out,
        "clock_trouble": find_service(request, ClockTracker).trouble,
        "zone": page_zone_of(request).key,
        "frame": "base.html",
        "is_file": False,
        "omitted": frozenset[str](),
    }
    return defaults | dict(context)


def _part(request: Request) -> str:
    """Return the part of a project to which a page belongs; empty for its overview."""
    path = getattr(request.scope.get("route"), "path", "")  # no route: an unknown address
    rest = path.removeprefix("/projects/{project:path}").removeprefix("/")
    if path and not rest:
        return ""
    if rest.startswith(("settings", "activity")):
        return rest.partition("/")[0]
    if rest.startswith(("queue", "judge")):  # labelling queues belong to Judges
        return "judges"
    if rest.startswith("dataset"):
        return "datasets"
    if rest.startswith(("fields", "problems", "targets", "alert")):
        return "monitor"
    return next((part for part in PARTS if rest.startswith(part)), next(iter(PARTS)))
