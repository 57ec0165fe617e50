"""Monitoring in the JSON API: findings, slices, and comparisons of new versions."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import FromReader, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.findings.find import find_project_findings
from otel_ml_collector.findings.findings import Before, Finding
from otel_ml_collector.findings.releases import Releases, find_releases
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import Slices
from otel_ml_collector.monitor.slice_fields import find_any_slices
from otel_ml_collector.stats import Past

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


class Findings(AnswerBody):
    """What is wrong in a project or has changed, worst first."""

    findings: list[Finding] = Field(
        description="Broken data, worse versions and slices, changed models and traffic, worst "
        "first"
    )
    missing: list[str] = Field(
        description="What was not checked because the store was too slow or because of an internal "
        "error, such as slices; empty if everything was checked"
    )


@api.get("/projects/{project:path}/findings")
def get_findings(
    project: str,
    reader: FromReader,
    last: Annotated[Past, Query(description="Period to check, until now")] = "24h",
    than: Annotated[Before, Query(description="Length of the earlier period to compare with")] = (
        "28d"
    ),
) -> Findings:
    """List what is wrong in a project or has changed, worst first.

    You do not have to configure anything. Runs of experiments and calls of judges are left out.
    """
    gathered = find_project_findings(reader, project, time.time_ns(), last=last, than=than)
    return Findings(findings=gathered.findings, missing=gathered.missing)


@api.get("/projects/{project:path}/slices")
def get_slices(asked: Annotated[SlicesQuery, Depends()], reader: FromReader) -> Slices:
    """Compare each slice (the runs with one tag value) with all other runs of the same model.

    The default range is the last 24 hours. The slice with the largest `excess` comes first.
    `excess` is the number of extra failures: runs that failed in addition to the failure rate of
    the other runs. It is cautious, because it is computed from the lower bound of the difference.
    Of all slices that are reported as worse or better, at most 5 % are expected to differ by chance
    only. Runs of one session count as one observation. The slice and the other runs need at least
    30 runs each.

    To compare the values of a field instead, send a `figure` such as `drift inputs.language`. Then
    only a sample is read: at most 5,000 runs, or 500 per model if there are over ten models. The
    slice and the other runs need 100 values each.
    """
    return find_any_slices(reader, asked, time.time_ns())


@api.get("/projects/{project:path}/models/{model:path}/release")
def get_release(project: str, model: str, reader: FromReader, where: Where = "") -> Releases:
    """Compare the newest version, release and LLM of a model with what ran before.

    Versions, releases and LLMs that began in the last 14 days are checked. The baseline is the one
    with the most runs in the 7 days before, or the version marked as production. The verdict
    "worse" is given as soon as it is certain. Frequent checks do not add false alarms: of a hundred
    releases without any change, at most one is ever called worse.

    `for_whom` lists the slices, such as one client, for which it is worse. All values of all tags
    are compared. With `where`, only matching runs are compared.
    """
    return Releases(releases=find_releases(reader, project, time.time_ns(), model, where))


@api.get("/projects/{project:path}/releases")
def get_releases(project: str, reader: FromReader, where: Where = "") -> Releases:
    """Compare the newest version, release and LLM of each model with what ran before."""
    return Releases(releases=find_releases(reader, project, time.time_ns(), where=where))
