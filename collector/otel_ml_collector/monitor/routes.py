"""Monitoring in the JSON API: the findings of a project, its slices, and its new versions."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.monitor.find import find_project_findings
from otel_ml_collector.monitor.findings import Before, Finding
from otel_ml_collector.monitor.releases import Releases, find_releases
from otel_ml_collector.monitor.slice_fields import find_any_slices
from otel_ml_collector.monitor.slice_sums import SlicesQuery
from otel_ml_collector.monitor.slices import Slices
from otel_ml_collector.stats import Past

api = APIRouter(prefix="/api/v1")


class Findings(BaseModel):
    """What is wrong in a project, or other than before, worst first."""

    findings: list[Finding] = Field(
        description="Broken data, models that changed, slices by runs lost, other traffic"
    )
    missing: list[str] = Field(
        description="What the store did not answer in time, such as slices: of that nothing is "
        "said; empty where all of it was looked at"
    )


@api.get("/projects/{project:path}/findings")
def get_findings(
    project: str,
    reader: FromReader,
    last: Annotated[Past, Query(description="Whose runs are judged")] = "24h",
    than: Annotated[Before, Query(description="How much before that they are held against")] = (
        "28d"
    ),
) -> Findings:
    """Say what is wrong in a project, or other than before, worst first.

    Nothing has to be set up. Runs of experiments, and calls that judges make, are left out.
    """
    gathered = find_project_findings(reader, project, time.time_ns(), last=last, than=than)
    return Findings(findings=gathered.findings, missing=gathered.missing)


@api.get("/projects/{project:path}/slices")
def get_slices(asked: Annotated[SlicesQuery, Depends()], reader: FromReader) -> Slices:
    """Hold each value of tags and labels against the rest of its model, the worst first.

    By default the last 24 hours. Ordered by excess: how many runs a slice lost at least, by the
    lower bound of its difference. Of what is called worse or better over the whole answer at most
    5 % is chance; sessions, or traces without one, are the units. Both sides need 30 runs.
    A figure such as `drift inputs.language` asks instead in which slices a field has other values
    than in the rest, by as many as 5,000 runs; there both sides need 100 values.
    """
    return find_any_slices(reader, asked, time.time_ns())


@api.get("/projects/{project:path}/models/{model:path}/release")
def get_release(project: str, model: str, reader: FromReader) -> Releases:
    """Judge the newest version of a model, release and provider's model, unasked.

    Each that is new in the last 14 days beside what had most runs in the 7 days before it, or the
    version called production. Worse is said as soon as it is sure, however often one looks: of a
    hundred releases that change nothing at most one is ever called worse.
    """
    return Releases(releases=find_releases(reader, project, time.time_ns(), model))


@api.get("/projects/{project:path}/releases")
def get_releases(project: str, reader: FromReader) -> Releases:
    """Judge the newest versions, releases and provider's models of all models, the newest first."""
    return Releases(releases=find_releases(reader, project, time.time_ns()))
