"""Raymon's API as requests to the collector. Responses look like those of `requests`."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn

from otel_ml.compat.raymon.tag import normalize
from otel_ml.reader.api import Api, Question

Moment = str | datetime | None

_PROFILES: Final = "send a profile with client.profile(profile, action=model), see profiling"
_NO_CREATION: Final = "a project is created by its first record: use Client(project)"
_NO_ACCOUNTS: Final = "the collector has no accounts: set a key in OTEL_ML_API_KEY"
_REDUCERS: Final = (
    "instead of a reducer, save an alert rule with hold='2 of 3' by Reader.save_alert"
)
_RULES: Final = f"there are no manifests: {_REDUCERS}"
_REDUCED: Final = (
    "use Reader.fields(model, than='profile:NAME', where=slice), which compares runs with a "
    f"profile; {_REDUCERS}"
)
_PAGE: Final = 1_000  # maximum number of items in a response
_HTTP: Final = "the routes differ from Raymon's: see docs/api.md"
# Methods that are not available, and what to use instead.
_ELSEWHERE: Final = {
    "profile_create": _PROFILES,
    "profile_ls": _PROFILES,
    "profile_get": _PROFILES,
    "profile_reduce": _REDUCED,
    "project_create": _NO_CREATION,
    "project_search": _NO_CREATION,
    "project_ls": "use GET /api/v1/projects",
    "projects_ls": "use GET /api/v1/projects",
    "project_transfer": _NO_ACCOUNTS,
    "project_m2mclient_add": _NO_ACCOUNTS,
    "project_m2mclient_get": _NO_ACCOUNTS,
    "org_create": _NO_ACCOUNTS,
    "org_get": _NO_ACCOUNTS,
    "org_add_user": _NO_ACCOUNTS,
    "org_rm_user": _NO_ACCOUNTS,
    "login": _NO_ACCOUNTS,
    "orchestration_apply": _RULES,
    "orchestration_get": _RULES,
    "get": _HTTP,
    "post": _HTTP,
    "put": _HTTP,
    "delete": _HTTP,
}
_ERROR: Final = 400
_CONDITION: Final = re.compile(r"([^=!<>]*)(==|!=|<=|>=|<|>)(.*)", re.DOTALL)
_SLICE_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTES: Final = ("''", '""')


class RequestFailed(RuntimeError):
    """Raised by `Response.raise_for_status` if the collector responded with an error."""


@dataclass(frozen=True, slots=True)
class Response:
    """The collector's response to a request, with the attribute names of `requests`.

    Attributes:
        status_code: HTTP status.
        content: Body of the response.
        headers: Headers of the response.
        url: Address of the request.
    """

    status_code: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    @property
    def ok(self) -> bool:
        """Whether the request succeeded (status below 400)."""
        return self.status_code < _ERROR

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """Raise an exception if the status is an error.

        Raises:
            RequestFailed: The status is an error.
        """
        if not self.ok:
            raise RequestFailed(f"{self.status_code} of {self.url}: {self.text[:1_000]}")


class RaymonAPI:
    """Reads traces, tags and data from the collector, with raymon's method names.

    Each method returns a `Response` with ``ok``, ``status_code``, ``text`` and ``json()``. You can
    pass times as datetimes or as ISO 8601 text, which is UTC if it has no offset. To select traces
    by their tags, pass a slice such as ``client==Remax``.

    Args:
        url: Base address of the collector. Default: that of `otel_ml.Client`.
        project_id: Accepted for compatibility and ignored. Each method takes its project.
        auth_path: Accepted for compatibility and ignored. The key is ``OTEL_ML_API_KEY``.
        env: Accepted for compatibility and ignored.
    """

    def __init__(
        self,
        url: str | None = None,
        project_id: str | None = None,
        auth_path: object = None,
        env: object = None,
    ) -> None:
        self.url = url
        self.project_id = project_id
        self._api = Api(url)

    def __getattr__(self, name: str) -> Any:
        if name not in _ELSEWHERE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        def refuse(*args: object, **kwargs: object) -> NoReturn:
            raise NotImplementedError(f"RaymonAPI.{name}: {_ELSEWHERE[name]}")

        return refuse

    def object_search(self, project_id: str, trace_id: str, ref: str) -> Response:
        """Return the value that was logged last under a name in a trace.

        The JSON has the keys ``obj_id`` and ``obj_data``.
        """
        return self._objects(project_id, trace_id=str(trace_id), ref=ref)

    def object_get(self, project_id: str, object_id: str) -> Response:
        """Return a logged value by its ``obj_id``, in the form of `object_search`."""
        return self._get("projects", str(project_id), "objects", str(object_id))

    def object_ls(  # noqa: PLR0917 - same parameters and order as in raymon
        self,
        project_id: str,
        ref: str,
        slicestr: str | None = None,
        begin: Moment = None,
        end: Moment = None,
        limit: int = 250,
    ) -> Response:
        """List the values that were logged under a name, the newest first, without their data.

        Args:
            project_id: The project.
            ref: Name under which the values were logged. Empty for all.
            slicestr: Condition on tags, such as ``client==Remax``. Only values from traces with a
                matching run are listed. None for all traces.
            begin: Only values logged at or after this time.
            end: Only values logged before this time.
            limit: Maximum number of values. With a slice, only the newest `limit` runs that match
                it are searched.

        Raises:
            ValueError: `slicestr` is not a valid condition.
        """
        within = {"start": _moment(begin), "end": _moment(end)}
        if not to_filter(slicestr):
            answer = self._objects(project_id, ref=ref or None, limit=limit, **within)
            return _made(answer.json()["objects"]) if answer.ok else answer
        runs = self.trace_ls(project_id, slicestr, limit=limit)
        if not runs.ok:
            return runs
        object_ls: list[Any] = []
        for trace_id in dict.fromkeys(run["trace_id"] for run in runs.json()["runs"]):
            # Ask without the reference: with it, the response contains the data.
            answer = self._objects(project_id, trace_id=trace_id, limit=_PAGE, **within)
            if not answer.ok:
                return answer
            object_ls += [item for item in answer.json()["objects"] if ref in ("", item["ref"])]
        return _made(object_ls[:limit])

    def _objects(self, project_id: str, **parameters: object) -> Response:
        return self._get("projects", str(project_id), "objects", **parameters)

    def _get(self, *path: str, **parameters: object) -> Response:
        """Send a GET request to ``/api/v1/<path>``. Parameters with the value None are left out."""
        reply = self._api.exchange(Question(path, parameters))
        return Response(reply.status, reply.content, reply.headers, reply.url)

    def trace_ls(
        self,
        project_id: str,
        slicestr: str | None = None,
        begin: Moment = None,
        end: Moment = None,
        limit: int = 250,
    ) -> Response:
        """List runs, the newest first, as ``{"runs": [...]}``.

        Args:
            project_id: The project.
            slicestr: Condition on tags, such as ``client==Remax``. Only matching runs are listed.
                None for all runs.
            begin: Only runs that started at or after this time.
            end: Only runs that started before this time.
            limit: Maximum number of runs.

        Raises:
            ValueError: `slicestr` is not a valid condition.
        """
        return self._get(
            *("projects", str(project_id), "runs"),
            where=to_filter(slicestr) or None,
            start=_moment(begin),
            end=_moment(end),
            limit=limit,
        )

    def trace_get(self, project_id: str, trace_id: str) -> Response:
        """Return all runs of a trace, the oldest first, as ``{"runs": [...]}``."""
        answer = self._get("traces", str(trace_id))
        if not answer.ok:
            return answer
        trace = answer.json()
        for part in ("runs", "records"):
            trace[part] = [item for item in trace[part] if item["project"] == str(project_id)]
        return _made(trace)

    def refs_ls(
        self,
        project_id: str,
        slicestr: str | None = None,
        begin: Moment = None,
        end: Moment = None,
        limit: int = 250,
    ) -> Response:
        """List the names under which values were logged, as a sorted list of strings.

        Args:
            project_id: The project.
            slicestr: Condition on tags, such as ``client==Remax``. None for all traces.
            begin: Only values logged at or after this time.
            end: Only values logged before this time.
            limit: Maximum number of values to search, the newest first.

        Raises:
            ValueError: `slicestr` is not a valid condition.
        """
        answer = self.object_ls(project_id, "", slicestr, begin, end, limit)
        return _made(sorted({item["ref"] for item in answer.json()})) if answer.ok else answer

    def tags_ls(self, project_id: str) -> Response:
        """List the tag names of the newest 1,000 runs, as a list of texts."""
        answer = self.trace_ls(project_id, limit=_PAGE)
        if not answer.ok:
            return answer
        return _made(sorted({name for run in answer.json()["runs"] for name in run["tags"]}))

    def tags_get(self, project_id: str, trace_id: str) -> Response:
        """Return the tags of a trace: a list of dicts with name, value, type and group."""
        trace = self.trace_get(project_id, trace_id)
        if not trace.ok:
            return trace
        tags: dict[str, Any] = {}
        for run in trace.json()["runs"]:
            answer = self._get("projects", str(project_id), "runs", run["run_id"])
            if not answer.ok:
                return answer
            tags.update(_tags_of(answer.json()))
        return _made(list(tags.values()))


def _tags_of(run: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    details = {detail["name"]: detail for detail in run["tag_details"]}
    for name, value in run["tags"].items():
        detail = details.get(name, {})
        facts = {"type": detail.get("type") or None, "group": detail.get("group") or None}
        yield name, {"name": name, "value": value, **facts}


def _made(value: object) -> Response:
    return Response(200, json.dumps(value).encode())


def _moment(moment: Moment) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else moment


def to_filter(slicestr: str | None) -> str:
    """Translate a raymon slice to a filter of the collector: ``a==b`` to ``tags['a'] == 'b'``.

    None or an empty slice gives an empty filter. Names and values are quoted, so a slice cannot
    inject filter syntax.

    Args:
        slicestr: One or more conditions ``tag==value``, joined by ``&&``. ``!=`` is allowed too.
            For numbers you can also use ``<``, ``<=``, ``>`` and ``>=``. A value can be quoted.

    Raises:
        ValueError: A part is not a condition.
    """
    if slicestr is None or not slicestr.strip():
        return ""
    return " and ".join(_condition(part) for part in slicestr.split("&&"))


def _condition(part: str) -> str:
    match = _CONDITION.fullmatch(part.strip())
    if match is None or "||" in part:
        raise ValueError(
            f"Invalid slice {part.strip()!r}: expected conditions such as client==Remax, "
            "joined by &&"
        )
    name, operator, value = normalize(match[1].strip()), match[2], _unquoted(match[3].strip())
    literal = repr(value) if operator in {"==", "!="} else _number(value)
    return f"tags[{name!r}] {operator} {literal}"


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] + value[-1:] in _QUOTES and len(value) > 1 else value


def _number(value: str) -> str:
    number = float(value) if _SLICE_NUMBER.fullmatch(value) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"Invalid slice value {value!r}: expected a number after < and >")
    return repr(number)
