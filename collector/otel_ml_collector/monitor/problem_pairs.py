"""Pairs of examples of a problem: the same input, answered by the baseline and the new version."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.monitor.right_answers import find_right_answers, name_kinds
from otel_ml_collector.problems.problems import Sign
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.reader import Reader, Row, run_id_of
from otel_ml_collector.store.variability import read_inputs
from otel_ml_collector.times import DAY_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.web.render import PageRoute, show_page
from otel_ml_collector.windows import Window

_SHOWN_PAIRS: Final = 5
# Number of pairs that are read, to show those with the largest change. They are read in parts,
# because a filter has at most 4,000 characters.
_MOST_CANDIDATES: Final = 60
_PAIRS_AT_ONCE: Final = 30
_COMPARED_CHARS: Final = 500
# Runs whose inputs are read. Without these limits, a project with large payloads waits long.
_MOST_RUNS: Final = 200
_MOST_BASELINE_RUNS: Final = 2_000
_DIGESTS_AT_ONCE: Final = 40  # a filter has at most 4,000 characters
_BASELINE_NS: Final = 30 * DAY_NS
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

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the address."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ExamplePair:
    """A run of the baseline and a run of the new version with the same input."""

    before: RunSummary
    after: RunSummary

    def measure_change(self, judge: str) -> tuple[bool, float, float]:
        """Measure how much the two outputs differ, for sorting.

        Returns:
            Whether only one of the runs passed or succeeded, how much the scores of the judge
            differ, and how much the beginnings of the outputs differ, from 0 to 1.
        """
        runs = self.before, self.after
        passed = {run.outcome == "ok" and run.passed.get(judge, True) for run in runs}
        scores = [run.scores.get(judge, 0.0) for run in runs]
        before, after = ((run.outputs or "")[:_COMPARED_CHARS] for run in runs)
        alike = SequenceMatcher(None, before, after, autojunk=False).ratio()
        return len(passed) > 1, abs(scores[1] - scores[0]), 1 - alike


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
    """Show pairs in place of the examples of a problem. Without pairs, the examples stay."""
    now_ns = time.time_ns()
    pairs = find_pairs(reader, project, query, now_ns)
    if not pairs:
        return Response(status_code=_NO_CONTENT)
    right = find_right_answers(reader, [pair.after for pair in pairs], query.measured, now_ns)
    context = {"pairs": pairs, "asked": query, "right": right, "column": name_kinds(right)}
    return show_page(request, "problem_pairs.html", context)


def find_pairs(
    reader: Reader, project: str, query: PairsQuery, now_ns: int
) -> Sequence[ExamplePair]:
    """Find up to five inputs that both versions received, with one run of each version.

    For each input, the newest run of the baseline and the newest run of the new version are
    returned. Of the newest 60 inputs, those with the largest change of the output come first.

    Raises:
        BadInput: A filter or a time is invalid.
    """
    start_ns, end_ns = from_rfc3339(query.start, "start"), from_rfc3339(query.end, "end")
    window = Window(start_ns, end_ns)
    condition, _ = compile_where(reader, project, query.where, is_bounded=True)
    after = read_inputs(reader, project, condition, window, _MOST_RUNS)
    if not after:
        return ()
    window = Window(max(start_ns - _BASELINE_NS, 0), end_ns)
    before: dict[str, Row] = {}
    inputs = [*after]
    for first in range(0, len(inputs), _DIGESTS_AT_ONCE):
        digests = ", ".join(map(quoted, inputs[first : first + _DIGESTS_AT_ONCE]))
        where = narrow(query.before, f"inputs_digest in ({digests},)")
        condition, _ = compile_where(reader, project, where, is_bounded=True)
        before |= read_inputs(reader, project, condition, window, _MOST_BASELINE_RUNS)
        if len(before) >= _MOST_CANDIDATES:
            break
    both = [digest for digest in after if digest in before][:_MOST_CANDIDATES]
    pairs: list[ExamplePair] = []
    for first in range(0, len(both), _PAIRS_AT_ONCE):
        part = both[first : first + _PAIRS_AT_ONCE]
        pairs += _read_pairs(reader, project, [(before[key], after[key]) for key in part], now_ns)
    pairs.sort(key=lambda pair: pair.measure_change(query.measured), reverse=True)
    return pairs[:_SHOWN_PAIRS]


def _read_pairs(
    reader: Reader, project: str, rows: Sequence[tuple[Row, Row]], now_ns: int
) -> list[ExamplePair]:
    """Read the runs of some pairs, in the same order."""
    keys = [(run_id_of(before), run_id_of(after)) for before, after in rows]
    ids = [run_id for pair in keys for run_id in pair]
    started = [row["start_ns"] for pair in rows for row in pair]
    asked = RunsQuery(
        project,
        f"run_id in ({', '.join(map(quoted, ids))},)",
        limit=len(ids),
        start_ns=min(started),
        end_ns=max(started) + 1,
    )
    runs = {run.run_id: run for run in find_runs(reader, asked, now_ns).runs}
    return [ExamplePair(runs[one], runs[two]) for one, two in keys if one in runs and two in runs]
