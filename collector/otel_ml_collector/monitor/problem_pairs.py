"""Pairs of examples of a problem: the same input, answered by the baseline and the new version."""

import time
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml.statistics.comparison import Word
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.evaluations.output_pairs import (
    MOST_PAIRS,
    PairSides,
    find_live_pairs,
    lay_out_pairs,
)
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.problems.problems import Sign
from otel_ml_collector.times import from_rfc3339, to_rfc3339
from otel_ml_collector.versions import diff
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, show_page
from otel_ml_collector.windows import Window

_NO_CONTENT: Final = 204

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class PairsQuery:
    """Which runs to compare: the parameters of the part of a page that shows pairs."""

    where: Annotated[str, Query(max_length=8_000, description="The runs with the problem")]
    before: Annotated[str, Query(max_length=8_000, description="The runs of the baseline")]
    start: Annotated[
        str,
        Query(max_length=40, description="Start of the time range of the runs with the problem"),
    ]
    end: Annotated[str, Query(max_length=40, description="Their end")]
    version: Annotated[int, Query(description="The version with the problem")]
    baseline: Annotated[int, Query(description="The version that it is compared with")]
    measured: Annotated[
        str, Query(max_length=1_024, description="Name of the figure or of the judge")
    ] = ""
    every: Annotated[
        bool, Query(alias="all", description="Whether to show pairs with equal outputs, too")
    ] = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the address."""
        given = asdict(self)
        return {**given, "all": "1" if given.pop("every") else ""}


def ask_pairs(sign: Sign, finding: Finding) -> PairsQuery | None:
    """Make the query of the pairs of a new version; None for any other problem."""
    if finding.version is None or finding.baseline is None:
        return None
    baseline = f"model == {quoted(finding.model)} and version == {finding.baseline}"
    return PairsQuery(
        where=sign.where,
        before=narrow(baseline, finding.condition),
        start=to_rfc3339(sign.window.start_ns),
        end=to_rfc3339(sign.window.end_ns),
        version=finding.version,
        baseline=finding.baseline,
        measured=finding.measured,
    )


@pages.get("/projects/{project:path}/problem-pairs")
def show_pairs(
    request: Request, project: str, reader: FromReader, query: Annotated[PairsQuery, Depends()]
) -> Response:
    """Show pairs above the examples of a problem. Without pairs, the part stays empty.

    Raises:
        BadInput: A filter or a time is invalid.
    """
    window = Window(from_rfc3339(query.start, "start"), from_rfc3339(query.end, "end"))
    sides = PairSides(query.before, query.where, window)
    versions = query.baseline, query.version
    answer = find_live_pairs(
        reader,
        project,
        sides,
        time.time_ns(),
        versions=versions,
        figure=query.measured,
        word=Word.WORSE,
        limit=MOST_PAIRS,
    )
    if not answer.pairs:
        return Response(status_code=_NO_CONTENT)
    context = {
        **lay_out_pairs(
            answer,
            lambda is_all: view.address(
                project, "problem-pairs", **replace(query, every=is_all).parameters
            ),
            every=query.every,
        ),
        "versions": versions,
        "verdict_word": "worse",
        "compare_words": diff.compare,
        "figure": query.measured,
        "may_annotate": access_of(request.scope).has(ANNOTATE),
    }
    return show_page(request, "pairs.html", context)
