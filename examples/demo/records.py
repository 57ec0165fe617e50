"""Reads the records of the demo from the API of the collector."""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import urllib3

from examples.demo.errors import DemoError

Json = Any  # a decoded response of the API

# The project whose new versions are compared on their production traffic.
FORMS: Final = "forms"
_RELEASES: Final = 2
_PAUSE_S: Final = 0.1
_TIMEOUT_S: Final = 60


class Api:
    """The JSON API of a collector.

    Args:
        address: The URL of the collector.
    """

    def __init__(self, address: str) -> None:
        self._base = f"{address}/api/v1"
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S)

    def ask(self, *parts: str, **parameters: str) -> Json:
        """Get the resource whose path has these parts.

        Raises:
            DemoError: The request failed.
        """
        return self._send("GET", parts, fields=parameters)

    def put(self, *parts: str, body: Json) -> Json:
        """Save the resource whose path has these parts.

        Raises:
            DemoError: The request failed.
        """
        return self._send("PUT", parts, json=body)

    def _send(self, method: str, parts: Sequence[str], **content: Any) -> Json:
        path = "/".join(quote(part, safe="") for part in parts)
        try:
            answer = self._pool.request(method, f"{self._base}/{path}", **content)
        except urllib3.exceptions.HTTPError as error:
            raise DemoError(f"The API request /{path} failed: {error}") from error
        if answer.status != 200:  # noqa: PLR2004 - 200 OK
            raise DemoError(f"The API request /{path} returned {answer.status}: {answer.data!r}")
        return answer.json()


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one metric, and the project and name of the run that logged them."""

    project: str
    model: str
    name: str
    points: list[Json]


@dataclass(frozen=True, slots=True)
class Records:
    """All records that the demo shows and checks.

    Attributes:
        projects: The projects, as the API lists them.
        models: The models of each project.
        versions: The versions of each model, by project and name.
        newest: The newest model and chain runs of each project.
        errors: The newest failed runs of each project.
        series: All metric series.
        experiments: The results of each experiment, newest first.
        alerts: For each alert rule, when it would have fired.
        releases: The new versions of the project `FORMS`, compared with the versions before.
    """

    projects: list[Json]
    models: Mapping[str, list[Json]]
    versions: Mapping[tuple[str, str], list[Json]]
    newest: Mapping[str, list[Json]]
    errors: Mapping[str, list[Json]]
    series: list[Series]
    experiments: list[Json]
    alerts: list[Json]
    releases: list[Json]


def read_records(api: Api, newest: int = 4) -> Records:
    """Read all records that the demo shows, with `newest` runs of each project."""
    projects = api.ask("projects")["projects"]
    names = [project["project"] for project in projects]
    models = {name: api.ask("projects", name, "models")["models"] for name in names}

    def runs(where: str) -> dict[str, list[Json]]:
        return {
            name: api.ask("projects", name, "runs", where=where, limit=str(newest))["runs"]
            for name in names
        }

    return Records(
        projects=projects,
        models=models,
        versions=_read_versions(api, models),
        newest=runs('kind in ("model", "chain")'),
        errors=runs('outcome == "error"'),
        series=[series for name in names for series in _read_series(api, name)],
        experiments=[found for name in names for found in _read_experiments(api, name)],
        alerts=[found for name in names for found in _check_alerts(api, name)],
        releases=_read_releases(api),
    )


def _read_releases(api: Api) -> list[Json]:
    releases: list[Json] = api.ask("projects", FORMS, "releases")["releases"]
    return releases


def _check_alerts(api: Api, project: str) -> list[Json]:
    alerts = api.ask("projects", project, "alerts")["alerts"]
    names = [alert["rule"]["name"] for alert in alerts]
    return [api.ask("projects", project, "alerts", name, "check") for name in names]


def wait_for_runs(api: Api, sent: Mapping[tuple[str, str], int], timeout_s: float = 120.0) -> None:
    """Wait until the API shows a run for each request and the scores of every judge.

    Raises:
        DemoError: Runs or scores are missing after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while unseen := _find_unseen(api, sent):
        if time.monotonic() > deadline:
            raise DemoError(f"After {timeout_s:.0f} s the API does not show {', '.join(unseen)}")
        pause.wait(_PAUSE_S)


def wait_for_releases(api: Api, timeout_s: float = 120.0) -> None:
    """Wait until the API says that both new versions of the project `FORMS` are worse.

    Raises:
        DemoError: It does not after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        releases = _read_releases(api)
        worse = [one["model"] for one in releases if one["word"] == "worse" or one["for_whom"]]
        if len(worse) == _RELEASES:
            return
        if time.monotonic() > deadline:
            raise DemoError(f"After {timeout_s:.0f} s, only these new versions are worse: {worse}")
        pause.wait(_PAUSE_S)


def _find_unseen(api: Api, sent: Mapping[tuple[str, str], int]) -> list[str]:
    projects = {project for project, _ in sent}
    models = {name: api.ask("projects", name, "models")["models"] for name in projects}
    seen = {(name, model["model"]): model["runs"] for name in models for model in models[name]}
    unseen = [
        f"{count - seen.get(model, 0)} runs of {model[1]}"
        for model, count in sent.items()
        if seen.get(model, 0) < count
    ]
    for (_, model), versions in _read_versions(api, models).items():
        returned = sum(version["runs"] - version["errors"] for version in versions)
        scores: Counter[str] = Counter()
        for judge in (judge for version in versions for judge in version["judges"]):
            scores[judge["judge"]] += judge["evaluations"]
        unseen += [
            f"{returned - count} scores of {model} by {judge}"
            for judge, count in scores.items()
            if count < returned
        ]
    return unseen


def _read_versions(api: Api, models: Mapping[str, list[Json]]) -> dict[tuple[str, str], list[Json]]:
    return {
        (project, model["model"]): api.ask(
            "projects", project, "models", model["model"], "versions"
        )["versions"]
        for project, found in models.items()
        for model in found
        if model["versions"]
    }


def _read_series(api: Api, project: str) -> list[Series]:
    found = []
    for owner in api.ask("projects", project, "metrics")["runs"]:
        run = api.ask("projects", project, "runs", owner["run_id"])
        answer = api.ask("projects", project, "metrics", run_id=owner["run_id"])
        found += [
            Series(project, run["model"], series["name"], series["points"])
            for series in answer["series"]
        ]
    return found


def _read_experiments(api: Api, project: str) -> list[Json]:
    experiments = ("projects", project, "experiments")
    return [api.ask(*experiments, one["run_id"]) for one in api.ask(*experiments)["experiments"]]
