"""Gathers the findings of a project for the API, the pages and assistants."""

import math
from dataclasses import dataclass, field
from typing import Final

from otel_ml_collector.findings import drift, levels, releases, tag_values
from otel_ml_collector.findings.drift import CheckedDays, count_checked_days
from otel_ml_collector.findings.findings import (
    Before,
    Contributor,
    Finding,
    FindingsQuestion,
    GatheredFindings,
    ask_ahead,
    find_findings,
    gather_findings,
    leave_decided,
    make_question,
)
from otel_ml_collector.findings.releases import (
    Release,
    find_changes_of,
    find_releases_of,
    find_worse_releases,
)
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import Slices, find_slices, find_worse
from otel_ml_collector.findings.weak_spots import mark_weak_spots
from otel_ml_collector.stats import Past
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import READABLE, Reader
from otel_ml_collector.store.scores import read_arrivals
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, MINUTE_NS
from otel_ml_collector.windows import Window

FIELDS: Final = Contributor("fields", drift.contribute)
NEW_VERSIONS: Final = Contributor("new versions", releases.contribute)


def _find_worse_slices(question: FindingsQuestion) -> list[Finding]:
    """Find the slices that do worse than all other runs."""
    query = SlicesQuery(
        question.project, start_ns=question.window.start_ns, end_ns=question.window.end_ns
    )
    return _choose_worse(question, find_slices(question.reader, query, question.now_ns))


def _choose_worse(question: FindingsQuestion, answer: Slices) -> list[Finding]:
    """Make findings of the slices that do worse, and mark those that did so before.

    Versions, releases and LLMs that are compared with a baseline are left out.
    """
    findings = leave_decided(find_worse(answer, question.window), _list_decided(question))
    return mark_weak_spots(question, findings, answer)


def _list_decided(question: FindingsQuestion) -> set[tuple[str, str]]:
    """List the versions, releases and LLMs that are compared: the new ones and their baselines."""
    return {
        (change.model, condition)
        for change in find_changes_of(question)
        for condition in change.conditions
    }


SLICES: Final = Contributor("slices", _find_worse_slices)
TAG_VALUES: Final = Contributor("new values of tags", tag_values.contribute)
LEVELS: Final = Contributor("failures and cost", levels.contribute)
CONTRIBUTORS: Final = (FIELDS, NEW_VERSIONS, SLICES, LEVELS, TAG_VALUES)


def find_project_findings(
    reader: Reader, project: str, now_ns: int, *, last: Past = "24h", than: Before = "28d"
) -> GatheredFindings:
    """Find what is wrong in a project or has changed, worst first."""
    return find_findings(make_question(reader, project, now_ns, last=last, than=than), CONTRIBUTORS)


@dataclass(frozen=True, slots=True)
class MonitorState:
    """The content of the page Monitor.

    Attributes:
        findings: All findings, worst first.
        missing: Names of the sources, such as `slices`, that could not be checked.
        failed: Those of them that failed with an internal error; the store was too slow for the
            others.
        checked: How many of the days have been checked for drift. After an import, the summaries
            of some days are still being computed; these days are compared later.
        slices: All slices; None if they could not be checked.
        releases: Verdicts on the model versions, releases and LLMs that are new in the last 14
            days; empty if they could not be checked.
        made_ns: When the content was computed, in nanoseconds since 1970.
    """

    findings: list[Finding]
    missing: list[str]
    checked: CheckedDays
    slices: Slices | None
    releases: list[Release]
    made_ns: int
    failed: list[str] = field(default_factory=list)


# The content of a page is cached for 5 minutes. A longer time would delay verdicts on new versions,
# which can change whenever one of their windows ends.
KEPT_ANSWER_NS: Final = 5 * MINUTE_NS
# Content of a large project is shown for up to 6 times as long, until newer content is computed.
_SHOWN_TIMES: Final = 6
# Above this number of runs, newly arrived runs do not cause a new computation.
_MANY: Final = 50_000
_STATE_OF_DAYS: Final = Sql(""", (
    SELECT (max(marked_ns), max(sketched_ns)) FROM daily
    WHERE project = {project:String}) AS days_ns""")

# Projects with many runs in a day and the 28 days before.
_LARGE: Final = Sql("""
    SELECT project FROM {deliveries} WHERE {readable} AND start_ns >= {start:Int64}
      AND start_ns < {end:Int64}
    GROUP BY project HAVING count() > {many} ORDER BY count() DESC, project LIMIT {most:UInt32}
    """).fill(deliveries=DELIVERIES, readable=READABLE, many=_MANY)


def find_large_projects(reader: Reader, now_ns: int, most: int) -> list[str]:
    """Return the projects with so many runs that their page Monitor is cached, largest first.

    Raises:
        Unavailable: The store does not answer.
    """
    values = {"start": now_ns - 29 * DAY_NS, "end": now_ns, "most": most}
    return [row["project"] for row in reader.rows(_LARGE, values)]


def find_monitor(reader: Reader, project: str, last: Past, now_ns: int) -> MonitorState:
    """Compute the content of the page Monitor, or return it from the cache.

    The content of a small project is cached until new data arrives, at most five minutes. That of a
    large project (more than 50,000 runs) is cached for five minutes.

    Raises:
        Missing: The caller may not read the project.
        Unavailable: The store does not answer.
    """
    return _work_out(*_ask(reader, project, last, now_ns))


def find_shown_monitor(reader: Reader, project: str, last: Past, now_ns: int) -> MonitorState:
    """Return the content of the page Monitor; for a large project, up to half an hour old.

    Raises:
        Missing: The caller may not read the project.
        Unavailable: The store does not answer.
    """
    question, name = _ask(reader, project, last, now_ns)
    return _recall(reader, name) or _work_out(question, name)


def renew_monitor(reader: Reader, project: str, last: Past, now_ns: int) -> MonitorState | None:
    """Update the cached content of a large project's page Monitor if it is five minutes old.

    Returns:
        The content; None for a small project, whose page is computed when a user opens it.

    Raises:
        Missing: The caller may not read the project.
        Unavailable: The store does not answer.
    """
    question, name = _ask(reader, project, last, now_ns)
    return None if name[-1] else _work_out(question, name)


# The content of a large project is computed again when the number of checked days changes, or when
# the number of runs has grown by some per cent, such as after an import.
_Size = tuple[CheckedDays, int] | None
_AnswerName = tuple[str, str, Past, _Size, int, str]
_STEPS_OF_SIZE: Final = 20


def _work_out(question: FindingsQuestion, name: _AnswerName) -> MonitorState:
    return question.reader.memory.work_out(
        name,
        lambda: _find_monitor(question),
        # Incomplete content is not cached.
        lambda state: (
            _NOT_KEPT
            if state.missing
            else len(state.findings) + len(state.slices.slices if state.slices else ())
        ),
    )


def _recall(reader: Reader, name: _AnswerName) -> MonitorState | None:
    *of_project, slot, state = name
    if state:
        return None
    keys = ((*of_project, slot - age, state) for age in range(_SHOWN_TIMES + 1))
    answers = (reader.memory.recall_answer(key) for key in keys)
    kept: MonitorState | None = next((answer for answer in answers if answer is not None), None)
    return kept


def _ask(
    reader: Reader, project: str, last: Past, now_ns: int
) -> tuple[FindingsQuestion, _AnswerName]:
    """Return the question, and the cache key of its answer: its time and the store's state.

    The state is empty for a large project. The rights of the reader are checked on each call, so
    users only get answers that they may read.
    """
    question = make_question(reader, project, now_ns, last=last)
    window = Window(question.reference.start_ns, question.window.end_ns)
    delivered = read_arrivals(reader, question.project, window, _STATE_OF_DAYS)
    runs = delivered["runs"]
    size: _Size = None
    state = repr(delivered)
    if runs > _MANY:
        size, state = (count_checked_days(question), int(math.log(runs) * _STEPS_OF_SIZE)), ""
    return question, ("monitor", project, last, size, now_ns // KEPT_ANSWER_NS, state)


def find_checked_days(reader: Reader, project: str, last: Past, now_ns: int) -> CheckedDays:
    """Return how many of the days that page Monitor compares have been checked for drift.

    Raises:
        Missing: The caller may not read the project.
        Unavailable: The store does not answer.
    """
    return count_checked_days(make_question(reader, project, now_ns, last=last))


_NOT_KEPT: Final = 10**9


def _find_monitor(question: FindingsQuestion) -> MonitorState:
    """Run all sources of findings. Also return the slices and releases that two of them compute."""
    reader, window = question.reader, question.window
    # Days are counted before the fields are read, so that the number is never too high.
    checked = count_checked_days(question)
    query = SlicesQuery(question.project, start_ns=window.start_ns, end_ns=window.end_ns)
    asked_slices = reader.ahead(find_slices, query, question.now_ns)
    asked_releases = reader.ahead(lambda _: find_releases_of(question))
    others = {
        contributor.subject: ask_ahead(contributor, question)
        for contributor in (FIELDS, LEVELS, TAG_VALUES)
    }
    gathered = gather_findings(
        {
            **others,
            NEW_VERSIONS.subject: lambda: find_worse_releases(
                asked_releases.result(), question.now_ns
            ),
            SLICES.subject: lambda: _choose_worse(question, asked_slices.result()),
        }
    )
    return MonitorState(
        gathered.findings,
        gathered.missing,
        checked,
        None if SLICES.subject in gathered.missing else asked_slices.result(),
        [] if NEW_VERSIONS.subject in gathered.missing else asked_releases.result(),
        question.now_ns,
        gathered.failed,
    )
