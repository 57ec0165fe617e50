"""Tag values that are new or have disappeared."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.findings import Finding, FindingsQuestion
from otel_ml_collector.findings.slice_sums import (
    FIELD_MARK,
    LEAST_RUNS,
    MOST_DISTINCT,
    MOST_ROWS,
    AskedRuns,
    SliceCondition,
    SlicesQuery,
)
from otel_ml_collector.measures.statistics import read_days
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.verdicts.claims import name_slice

# A value counts as new or gone only if at least 7 windows of the reference agree.
_LEAST_WINDOWS: Final = 7
# If a larger share of the values is new, values of this tag come and go, such as dates.
_MOST_NEW: Final = 0.2
_MOST_NAMED: Final = 5
# This many counted values take as much room in the cache as a row of another answer.
_VALUES_A_ROW: Final = 8
_VALUES_OF_TAGS: Final = Sql("""
  SELECT model, token, uniqExact(place) AS windows, count() AS runs
  FROM (
    SELECT model, arrayJoin(arrayPushFront(arrayDistinct({tokens}), '')) AS token,
      intDiv({end:Int64} - 1 - start_ns, {length:Int64}) AS place
    FROM {source} WHERE {asked}
  )
  WHERE token = '' OR (NOT endsWith(token, '=') AND NOT startsWith(token, '{response}'))
  GROUP BY model, token ORDER BY runs DESC, model, token LIMIT {most}""")


class _Times(NamedTuple):
    """Number of windows and of counted runs in which a value occurs."""

    windows: int
    runs: int


_NEVER: Final = _Times(0, 0)


@dataclass(frozen=True, slots=True)
class _Counted:
    """The tag values of the runs of some time.

    Attributes:
        every: One of this many traces was read; counts are multiplied by it.
        models: Number of runs of each model.
        values: For each model and tag, the count of each value, most frequent first.
    """

    every: int
    models: dict[str, _Times] = field(default_factory=dict)
    values: defaultdict[tuple[str, str], dict[str, _Times]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def of(self, model: str, tag: str) -> Mapping[str, _Times]:
        """Return the values of a tag of a model; none if the model does not have the tag."""
        return self.values.get((model, tag), {})


def contribute(question: FindingsQuestion) -> list[Finding]:
    """Find values of tags and environments that are new or have disappeared."""
    window, reference = question.window, question.reference
    length_ns = window.end_ns - window.start_ns
    if (reference.end_ns - reference.start_ns) // length_ns < _LEAST_WINDOWS:
        return []
    asked = AskedRuns.of(question.reader, SlicesQuery(question.project), window)
    if not asked.models:
        return []
    now = _count_values(question.reader, asked, length_ns)
    before = _count_before(question, asked)
    findings = []
    for model, tag in sorted(before.values):
        of_model = before.models[model]
        old, own = before.of(model, tag), now.of(model, tag)
        usual = [value for value, times in old.items() if times.windows == of_model.windows]
        if of_model.windows < _LEAST_WINDOWS or model not in now.models or not usual:
            continue
        new = [value for value in own if value not in old]
        distinct = len(old) + len(new)
        if distinct <= MOST_DISTINCT and len(new) <= max(_MOST_NEW * distinct, 1):
            gone = [value for value in usual if value not in own]
            for value in [*new, *gone][:_MOST_NAMED]:
                its = _Value(model, tag, value)
                finding = _make_change(question, its, before, now)
                if finding is not None:
                    findings.append(finding)
    return findings


def _count_values(reader: Reader, asked: AskedRuns, length_ns: int) -> _Counted:
    """Count tag values in consecutive windows of this length, up to the end of the asked time."""
    sql = _VALUES_OF_TAGS.fill(
        tokens=asked.tokens,
        source=asked.source,
        asked=asked.sql,
        response=Sql(RESPONSE),
        most=MOST_ROWS,
    )
    made = _Counted(asked.every)
    for row in reader.rows(sql, {**asked.values, "length": length_ns}):
        model, times = row["model"], _Times(row["windows"], row["runs"])
        tag, _, value = row["token"].partition("=")
        if not row["token"]:
            made.models[model] = times
        elif tag and (tag == f"{FIELD_MARK}environment" or tag[0] != FIELD_MARK):
            made.values[model, tag][value] = times
    return made


def _count_before(question: FindingsQuestion, asked: AskedRuns) -> _Counted:
    """Count tag values in the windows of the reference, for models that have runs now.

    If all of its days are complete and computed, the answer is kept until one of them changes. Late
    tags do not change a day, so with late tags the values are read each time.
    """
    reader, project, reference = question.reader, question.project, question.reference
    length_ns = question.window.end_ns - question.window.start_ns

    def count() -> _Counted:
        runs = AskedRuns.of(reader, SlicesQuery(project), reference)
        runs = replace(runs, values={**runs.values, "models": asked.models})
        return _count_values(reader, runs, length_ns)

    last_ns = -(-reference.end_ns // DAY_NS) * DAY_NS
    if last_ns > question.now_ns or asked.kinds.tags:
        return count()
    days = tuple(
        (day_ns, known_ns)
        for day_ns, known_ns in read_days(reader, project).items()
        if reference.start_ns - DAY_NS < day_ns < last_ns
    )
    if any(known_ns is None for _, known_ns in days):
        return count()
    return reader.memory.work_out(
        (
            "tag values",
            project,
            reference,
            length_ns,
            (*sorted(asked.models),),
            asked.condition.sql,
            days,
        ),
        count,
        lambda made: sum(map(len, made.values.values())) // _VALUES_A_ROW,
    )


class _Value(NamedTuple):
    """A value of a tag of a model."""

    model: str
    tag: str
    value: str


def _make_change(
    question: FindingsQuestion, its: _Value, before: _Counted, now: _Counted
) -> Finding | None:
    """Make the finding of a new or missing value; None if there are too few runs."""
    window, reference = question.window, question.reference
    key = its.model, its.tag
    old = before.of(*key).get(its.value, _NEVER)
    is_new = not old.runs
    condition = SliceCondition(((its.tag, its.value),))
    if is_new:
        counted = now.of(*key)[its.value].runs
        if counted < LEAST_RUNS:
            return None
        runs = counted * now.every
    else:
        # The expected number of runs, by the share of the value before.
        share = old.runs / before.models[its.model].runs
        runs = round(share * now.models[its.model].runs * now.every)
    if runs < LEAST_RUNS:
        return None
    where = f"model == {quoted(its.model)} and {condition.where}"
    looked, every = (reference, before.every) if is_new else (window, now.every)
    if every > 1:  # the sample may have missed its runs
        others = AskedRuns.of(
            question.reader,
            SlicesQuery(question.project, where, start_ns=looked.start_ns, end_ns=looked.end_ns),
            looked,
        )
        if others.runs:
            return None
    days = (reference.end_ns - reference.start_ns) // DAY_NS
    value = name_slice(its.tag.removeprefix(FIELD_MARK), its.value)
    if is_new:
        title = f"{its.model} has runs of a new {value}"
        text = f": {runs:,}, none in the {days} days before"
    else:
        title = f"{its.model} has no more runs of {value}"
        text = f": about {runs:,} would be usual, as in the {days} days before"
    at = window if is_new else reference
    return Finding(
        kind="traffic",
        sentence=f"{title}{text}",
        model=its.model,
        where=where,
        start_ns=at.start_ns,
        end_ns=at.end_ns,
        size=float(runs),
        title=title,
        measure="traffic",
        condition=condition.where,
    )
