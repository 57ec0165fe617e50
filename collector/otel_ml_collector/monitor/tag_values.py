"""Values of tags that are new or gone: slices that are there in one window only."""

from collections import defaultdict
from typing import Final

from otel_ml_collector.monitor.findings import Finding, FindingsQuestion
from otel_ml_collector.monitor.slice_sums import (
    FIELD_MARK,
    LEAST_RUNS,
    MOST_DISTINCT,
    MOST_ROWS,
    AskedRuns,
    SliceCondition,
    SlicesQuery,
)
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.web import view

# A value is new, or gone, that all windows of the reference agree about, and so many of these.
_LEAST_WINDOWS: Final = 7
# Values of a tag of which more are new come and go, such as dates.
_MOST_NEW: Final = 0.2
_MOST_TOLD: Final = 5
_CHANGED_DIMENSIONS: Final = frozenset({f"{FIELD_MARK}environment"})


def contribute(question: FindingsQuestion) -> list[Finding]:
    """Find the values of tags and of the environment that are there in one window only."""
    window, reference = question.window, question.reference
    length_ns = window.end_ns - window.start_ns
    if (reference.end_ns - reference.start_ns) // length_ns < _LEAST_WINDOWS:
        return []
    both = Window(reference.start_ns, window.end_ns)
    asked = AskedRuns.of(question.reader, SlicesQuery(question.project), both)
    sql = Sql("""
        SELECT model, token, substring(token, 1, position(token, '=') - 1) AS name,
          countIf(place < 0) AS now, uniqExactIf(place, place >= 0) AS windows, count() AS runs
        FROM (
          SELECT model, arrayJoin(arrayPushFront(arrayDistinct({tokens}), '')) AS token,
            if(start_ns >= {since:Int64}, -1,
              intDiv({since:Int64} - 1 - start_ns, {length:Int64})) AS place
          FROM {source} WHERE {asked}
        )
        WHERE token = '' OR (NOT endsWith(token, '=') AND NOT startsWith(token, '{response}'))
        GROUP BY model, token ORDER BY runs DESC, model, token LIMIT {most}
        """).fill(
        tokens=asked.tokens,
        source=asked.source,
        asked=asked.sql,
        response=Sql(RESPONSE),
        most=MOST_ROWS,
    )
    rows = (
        question.reader.rows(sql, {**asked.values, "since": window.start_ns, "length": length_ns})
        if asked.models
        else []
    )
    every = {row["model"]: row for row in rows if not row["token"]}
    values: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row["name"] and (row["name"] in _CHANGED_DIMENSIONS or row["name"][0] != FIELD_MARK):
            values[row["model"], row["name"]].append(row)
    findings = []
    for (model, _), value in values.items():
        of_model = every[model]
        new = [row for row in value if not row["windows"]]
        usual = [row for row in value if row["windows"] == of_model["windows"]]
        if of_model["windows"] < _LEAST_WINDOWS or not of_model["now"] or not usual:
            continue
        if len(value) <= MOST_DISTINCT and len(new) <= max(_MOST_NEW * len(value), 1):
            gone = [row for row in usual if not row["now"]]
            for row in [*new, *gone][:_MOST_TOLD]:
                finding = _make_change(question, asked, row, of_model)
                if finding is not None:
                    findings.append(finding)
    return findings


def _make_change(
    question: FindingsQuestion, asked: AskedRuns, row: Row, of_model: Row
) -> Finding | None:
    """Make the finding of a value that is new or gone; None where too few runs say so."""
    window, reference = question.window, question.reference
    is_new = not row["windows"]
    its = SliceCondition(((row["name"], row["token"][len(row["name"]) + 1 :]),))
    runs = row["now"] * asked.every
    if not is_new:
        # How many there would be, by its share of the runs before.
        before = of_model["runs"] - of_model["now"]
        runs = round(row["runs"] / before * of_model["now"] * asked.every)
    if runs < LEAST_RUNS or (is_new and row["now"] < LEAST_RUNS):
        return None
    where = f"model == {view.quoted(row['model'])} and {its.where}"
    looked = reference if is_new else window
    if asked.every > 1:  # some of its runs may be among those that were not counted
        others = AskedRuns.of(
            question.reader,
            SlicesQuery(question.project, where, start_ns=looked.start_ns, end_ns=looked.end_ns),
            looked,
        )
        if others.runs:
            return None
    days = (reference.end_ns - reference.start_ns) // DAY_NS
    before_words = f"in the {days} days before"
    sentence = (
        f"{its.name} is new in {row['model']}: {runs:,} runs, none {before_words}"
        if is_new
        else f"{its.name} is gone from {row['model']}: about {runs:,} runs would be usual, as "
        f"{before_words}, and there is none"
    )
    at = window if is_new else reference
    return Finding("traffic", sentence, row["model"], where, at.start_ns, at.end_ns, float(runs))
