"""The findings of a project: all that contribute them, behind the API, pages and assistants."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.monitor import drift, releases, slices, tag_values
from otel_ml_collector.monitor.findings import (
    Before,
    Contributor,
    Finding,
    FindingsQuestion,
    find_findings,
    make_question,
    order_findings,
)
from otel_ml_collector.monitor.slice_sums import SlicesQuery
from otel_ml_collector.monitor.slices import Slices, find_slices, tell_worse
from otel_ml_collector.stats import Past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import MINUTE_NS

# Whoever has something to tell: each answers `FindingsQuestion` with a list of `Finding`.
CONTRIBUTORS: Final[tuple[Contributor, ...]] = (
    drift.contribute,
    releases.contribute,
    slices.contribute,
    tag_values.contribute,
)


def find_project_findings(
    reader: Reader, project: str, now_ns: int, *, last: Past = "24h", than: Before = "28d"
) -> list[Finding]:
    """Say what is wrong in a project, or other than before, worst first."""
    return find_findings(make_question(reader, project, now_ns, last=last, than=than), CONTRIBUTORS)


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What the page Monitor shows: the findings of a project, the worst first, and its slices."""

    findings: list[Finding]
    slices: Slices


def find_monitor(reader: Reader, project: str, last: Past, now_ns: int) -> MonitorState:
    """Find the content of the page Monitor; within a minute it is asked for once."""
    question = make_question(reader, project, now_ns, last=last)
    return reader.memory.work_out(
        ("monitor", project, last, now_ns // MINUTE_NS),
        lambda: _find_monitor(question),
        lambda state: len(state.findings) + len(state.slices.slices),
    )


def _find_monitor(question: FindingsQuestion) -> MonitorState:
    """Ask all contributors, and for the slices only once."""
    reader, window = question.reader, question.window
    asked = [
        reader.ahead(_ask, contributor, question)
        for contributor in CONTRIBUTORS
        if contributor is not slices.contribute
    ]
    query = SlicesQuery(question.project, start_ns=window.start_ns, end_ns=window.end_ns)
    answer = find_slices(reader, query, question.now_ns)
    findings = [finding for item in asked for finding in item.result()]
    return MonitorState(order_findings([*findings, *tell_worse(answer.slices, window)]), answer)


def _ask(_: Reader, contributor: Contributor, question: FindingsQuestion) -> list[Finding]:
    return contributor(question)
