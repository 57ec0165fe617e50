"""Requests: runs that are not inside another run, with the runs inside each and their sums."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Final

from otel_ml.records import Inside, WorstScore
from otel_ml_collector.resolution import choose_words
from otel_ml_collector.runs.answers import (
    RunsPage,
    RunSummary,
    SpanOutline,
    add_up,
    has_tokens,
    make_span_outline,
    summarise,
)
from otel_ml_collector.runs.find import NO_CALLS, RunsQuery, add_open, find_runs
from otel_ml_collector.runs.logs import add_contents
from otel_ml_collector.same_calls import CallRun
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of, winners
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import (
    OF_TRACES,
    find_places,
    outlines,
    read_last_scores,
    read_trace,
    read_words,
)
from otel_ml_collector.store.scores import find_lower_judges

_INSIDE: Final = 20_000
_KIDS: Final = 500
# Log records are read for this many first calls, and as many last calls, inside a request.
_NEAR: Final = 10


def find_roots(reader: Reader, query: RunsQuery, now_ns: int) -> RunsPage:
    """List runs as `find_runs` does; for requests and traces, add the sums of the runs inside.

    Raises:
        BadInput: Filter or cursor is wrong.
    """
    page = find_runs(reader, query, now_ns)
    if not query.is_of_tops:
        return page
    inside = find_inside(reader, page.runs, are_traces=query.traces)
    return page.model_copy(update={"inside": inside})


def find_inside(
    reader: Reader, roots: Sequence[RunSummary], *, are_traces: bool = False
) -> dict[str, Inside]:
    """Add up the tokens and cost of the finished runs inside each of some requests.

    Also finds the worst score of each judge inside a request. If a request has no input or output
    of its own, also finds the first input and the last output inside it.

    Args:
        reader: The store.
        roots: The requests, all of one project.
        are_traces: Whether each of them represents its whole trace. Then it also sums up the spans
            that are inside none of them because a span between has not arrived.

    Returns:
        The sums by run ID of the request. Empty if the traces of all requests have more than 20,000
            spans together.
    """
    if not roots:
        return {}
    known = {root.run_id for root in roots}
    traces = sorted({root.trace_id for root in roots})
    project = roots[0].project
    kinds = find_record_kinds(reader, project)
    scored = None
    if kinds.scores:
        ask = partial(read_last_scores, has_keyed=kinds.keyed_scores)
        scored = reader.ahead(ask, project, traces, _INSIDE)
    parameters = {"project": project, "traces": traces, "limit": _INSIDE + 1}
    rows = reader.rows(outlines(IDS, OF_TRACES), parameters)
    spans = {
        run_id_of(row): make_span_outline(row, row["trace_id"], project)
        for row in (rows if len(rows) <= _INSIDE else ())
    }
    inside: defaultdict[str, list[SpanOutline]] = defaultdict(list)
    tops: dict[str, str] = {root: root for root in known}
    last_first = sorted(roots, key=attrgetter("start_time", "run_id"), reverse=True)
    home = {root.trace_id: root.run_id for root in last_first} if are_traces else {}
    for span in spans.values():
        way = [span.run_id]
        while way[-1] not in tops and (above := spans.get(way[-1])) is not None:
            if above.parent_run_id is None or len(way) > len(spans):
                break
            way.append(above.parent_run_id)
        trace_id = span.run_id[:32]
        tops |= dict.fromkeys(way, tops.get(way[-1], home.get(trace_id, "")))
        inside[tops[span.run_id]].append(span)
    scores = _find_worst(reader, project, tops, scored.result() if scored else [])
    facts = {
        root: replace(sum_up(root, inside[root]), scores=scores.get(root, {}))
        for root in known
        if inside[root]
    }
    without_words = [
        root
        for root in roots
        if root.run_id in facts and (is_empty(root.inputs) or is_empty(root.outputs))
    ]
    return facts | _add_shown_words(reader, without_words, facts, inside)


def is_empty(value: object) -> bool:
    """Return whether an input or output, or its preview, is empty."""
    return value is None or value in ("", {}, [])


def _find_worst(
    reader: Reader, project: str, tops: Mapping[str, str], rows: Sequence[Row]
) -> dict[str, dict[str, WorstScore]]:
    """Find the worst score of each judge in a request and the runs inside it, by request."""
    worst: defaultdict[str, dict[str, WorstScore]] = defaultdict(dict)
    scored = {row["judge"] for row in rows if row["score"] is not None}
    lower = find_lower_judges(reader, project, scored)

    def place(row: Row) -> tuple[bool, float]:
        score = row["score"]
        if score is None:
            return True, float(row["passed"] is not False)
        return False, -score if row["judge"] in lower else score

    for row in sorted(rows, key=place):  # rows without a score last
        run_id = run_id_of(row)
        if root := tops.get(run_id):
            score = WorstScore(run_id, row["score"], row["passed"])
            worst[root].setdefault(row["judge"], score)
    return worst


def _add_shown_words(
    reader: Reader,
    roots: Sequence[RunSummary],
    insides: Mapping[str, Inside],
    inside: Mapping[str, Sequence[SpanOutline]],
) -> dict[str, Inside]:
    """Find the first question and last answer inside, for requests that recorded none."""
    above = dict[str, str]()
    calls: list[SpanOutline] = []
    for root in roots:
        for span in inside[root.run_id]:
            if span.run_id != root.run_id and span.kind not in NO_CALLS:
                above[span.run_id] = root.run_id
                calls.append(span)
    if not above:
        return {}
    traces = sorted({root.trace_id for root in roots})
    project = roots[0].project
    words = {run_id_of(row): row for row in read_words(reader, project, traces, _INSIDE)}
    calls.sort(key=attrgetter("start_ns"))
    if find_record_kinds(reader, project).contents:
        words |= _read_logged_words(reader, project, calls, above, words)
    words_of: defaultdict[str, list[CallRun]] = defaultdict(list)
    for span in calls:
        if (row := words.get(span.run_id)) is not None:
            call = CallRun(
                bytes.fromhex(span.run_id.partition("-")[2]),
                b"",
                span.kind,
                span.start_ns,
                inputs_preview=row["asked"],
                outputs_preview=row["answered"],
            )
            words_of[above[span.run_id]].append(call)
    complete: dict[str, Inside] = {}
    for root in roots:
        asked, answered = choose_words(
            words_of[root.run_id],
            is_asked=not is_empty(root.inputs),
            is_answered=not is_empty(root.outputs) or root.outcome == "error",
        )
        complete[root.run_id] = replace(
            insides[root.run_id],
            asked=asked.inputs_preview if asked else "",
            asked_run_id=f"{root.trace_id}-{asked.span_id.hex()}" if asked else "",
            answered=answered.outputs_preview if answered else "",
            answered_run_id=f"{root.trace_id}-{answered.span_id.hex()}" if answered else "",
        )
    return complete


def _read_logged_words(
    reader: Reader,
    project: str,
    calls: Sequence[SpanOutline],
    above: Mapping[str, str],
    words: Mapping[str, Row],
) -> dict[str, Row]:
    """Read questions and answers from log records, for the first and last calls of each request.

    `calls` are sorted, oldest first; `above` has the request of each call. The result has rows as
    `words` has, for the calls with a question or answer.
    """
    by_root: defaultdict[str, list[SpanOutline]] = defaultdict(list)
    for call in calls:
        by_root[above[call.run_id]].append(call)
    near = (
        call
        for inside in by_root.values()
        for call in {item.run_id: item for item in (*inside[:_NEAR], *inside[-_NEAR:])}.values()
    )
    rows: list[Row] = []
    for call in near:
        trace_id, _, span_id = call.run_id.partition("-")
        own = words.get(call.run_id, {"asked": "", "answered": ""})
        texts = {"inputs_preview": own["asked"], "outputs_preview": own["answered"]}
        about = {"kind": call.kind, "outcome": "", "session": "", "user": ""}
        rows.append({"trace_id": trace_id, "span_id": span_id, **about, **texts})
    add_contents(reader, project, rows)
    return {
        run_id_of(row): row | {"asked": row["inputs_preview"], "answered": row["outputs_preview"]}
        for row in rows
        if row["inputs_preview"] or row["outputs_preview"]
    }


def sum_up(root: str, spans: Sequence[SpanOutline]) -> Inside:
    """Add up tokens and cost of a run and of the runs inside it; `spans` has all of these."""
    calls = [span for span in spans if span.kind not in NO_CALLS and span.run_id != root]
    above = {call.parent_run_id for call in calls}
    asked = [call for call in calls if call.kind == "model" and call.run_id not in above]
    total = add_up(spans)
    is_least = any(
        item.names_provider and not has_tokens(item.tokens) and not item.is_resolved
        for item in asked
    )
    has_sum = has_tokens(total.tokens) or total.cost is not None
    return Inside(len(calls), total.tokens, total.cost, is_least and has_sum)


def find_calls_inside(reader: Reader, run: RunSummary, now_ns: int) -> list[tuple[RunSummary, int]]:
    """Find the calls inside a run, in the order of its trace, each with its depth; at most 500."""
    rows: list[Row] = []
    for place in find_places(reader, run.trace_id):
        if place.project == run.project:
            ended = winners(read_trace(reader, place, None, None, 2 * _KIDS))
            rows += add_open(reader, place, ended, now_ns)
    below: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
    for item in sorted(summarise(reader, run.project, rows), key=attrgetter("start_ns")):
        below[item.parent_run_id].append(item)
    calls_inside: list[tuple[RunSummary, int]] = []
    waiting = [(item, 1) for item in reversed(below.pop(run.run_id, []))]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        item, level = waiting.pop()
        is_call = item.kind not in NO_CALLS and not item.record_of
        if is_call and len(calls_inside) < _KIDS:
            calls_inside.append((item, level))
        waiting += [(kid, level + is_call) for kid in reversed(below.pop(item.run_id, []))]
    return calls_inside
