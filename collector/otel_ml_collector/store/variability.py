"""Queries about runs with equal inputs: their outputs and scores.

Nothing of this is stored. Digests of the payloads are computed for each query.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.store.counted import OF_PROJECT, RECORDED, show_calls
from otel_ml_collector.store.digests import digest, is_cut, is_short, is_whole, words_number
from otel_ml_collector.store.experiments import FINISHED_CALLS, FIRST_ENDED
from otel_ml_collector.store.reader import IDS, Reader, Row
from otel_ml_collector.store.record_kinds import CONTENTS, find_counted, find_record_kinds
from otel_ml_collector.store.runs import FILTERED
from otel_ml_collector.store.scores import SCORED_LAST
from otel_ml_collector.store.sql import EMPTY, Condition, Sql
from otel_ml_collector.store.tables import COPY, INHERITED_PAYLOAD, fill_payloads
from otel_ml_collector.store.versions import NUMBER, of_versions
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.windows import Window

_INPUTS_TEXT: Final = Sql("inputs")
_OUTPUTS_TEXT: Final = Sql("outputs")
# Runs of the requested versions, from a start time on.
_OF_VERSIONS: Final = Sql("""
    SELECT * FROM (
      SELECT start_ns, trace_id, span_id, {copy} AS copy, outcome, {number} AS number
      FROM {recorded}
      WHERE {counted} AND model = {model:String} AND start_ns >= {oldest:Int64})
    WHERE number IN {wanted:Array(UInt32)}""")
# Start of the oldest run to include. Only this query reads older runs, and few columns of them.
_OLDEST: Final = Sql("""
    SELECT min(start_ns) AS oldest FROM (
      SELECT number, start_ns FROM ({runs})
      ORDER BY number, start_ns DESC LIMIT {most:UInt32} BY number)""")
_RUNS_OF_VERSIONS: Final = Sql("""
    SELECT start_ns, trace_id, span_id, copy, outcome, number, '' AS item FROM ({runs})
    ORDER BY number, start_ns DESC, trace_id, span_id LIMIT {most:UInt32} BY number""")
# Runs of an experiment. Their items are compared instead of their inputs.
_RUNS_OF_ITEMS: Final = Sql("""
    SELECT start_ns, trace_id, span_id, {copy} AS copy, outcome, toUInt32(0) AS number,
      concat(item_digest, ' ', item) AS item
    FROM (SELECT * FROM {recorded} WHERE {ours} {first})
    ORDER BY item, repeat LIMIT {most:UInt32}""").fill(
    recorded=RECORDED, ours=FINISHED_CALLS, first=FIRST_ENDED, copy=COPY
)
_PAYLOADS_OF: Final = Sql("""SELECT * FROM payloads WHERE project = {project:String} AND {these}""")
_WITH_LOG_CONTENTS: Final = Sql("""
    SELECT * REPLACE (if(inputs = '', logged_inputs, inputs) AS inputs,
      if(outputs = '', logged_outputs, outputs) AS outputs)
    FROM ({payloads}) AS payload LEFT JOIN ({contents}) AS logged USING (trace_id, span_id)""")
# Why a run is left out; empty if its inputs and outputs are complete.
_LEFT_OUT_REASON: Final = Sql("""multiIf(
    {of_inputs} inputs = '', 'without inputs',
    {of_inputs} {cut_inputs}, 'with cut or hidden inputs',
    {of_inputs} {short_inputs}, 'with shortened inputs',
    outputs = '', 'without outputs', {cut_outputs}, 'with cut or hidden outputs',
    {short_outputs}, 'with shortened outputs', '')""")
# Counts runs by item, or by the words of their inputs. For a group with several runs, it returns
# their keys.
_GROUPS_BY_WORDS: Final = Sql("""
    SELECT number, reason, sum(size) AS runs,
      arrayFlatten(groupArrayIf(starts, size > 1 AND reason = '')) AS starts,
      arrayFlatten(groupArrayIf(spans, size > 1 AND reason = '')) AS spans
    FROM (
      SELECT number, reason, key, count() AS size, groupArrayIf(start_ns, reason = '') AS starts,
        groupArrayIf(reinterpretAsUInt64(span_id), reason = '') AS spans
      FROM (
        SELECT number, start_ns, span_id,
          multiIf(outcome != 'ok', 'without an answer', NOT is_here, 'without a payload', why)
            AS reason,
          multiIf(reason != '', 0, item != '', sipHash64(item), words) AS key
        FROM ({runs}) AS run
        LEFT ANY JOIN (
          SELECT start_ns, trace_id, span_id, rank AS copy, true AS is_here, {reason} AS why,
            {words} AS words
          FROM ({payloads})
        ) AS payload USING (start_ns, trace_id, span_id, copy)
      )
      GROUP BY number, reason, key
    )
    GROUP BY number, reason ORDER BY number, reason""")
_REPEATED_ANSWERS: Final = Sql("""
    SELECT number, start_ns, {ids}, reinterpretAsUInt64(span_id) AS span,
      if(item = '', of_inputs, item) AS input, answer
    FROM ({runs}) AS run
    INNER ANY JOIN (
      SELECT start_ns, trace_id, span_id, rank AS copy, {digest} AS of_inputs, {answer} AS answer
      FROM ({payloads})
    ) AS payload USING (start_ns, trace_id, span_id, copy)
    WHERE start_ns IN {starts:Array(Int64)}
    ORDER BY start_ns DESC, trace_id, span_id""")
_BY_START_AND_SPAN: Final = Sql("""start_ns IN {starts:Array(Int64)}
  AND reinterpretAsUInt64(span_id) IN {spans:Array(UInt64)}""")
_THESE: Final = Sql("{ours} AND {these}").fill(ours=OF_PROJECT, these=_BY_START_AND_SPAN)
_SHOWN_RUNS: Final = Sql("SELECT * FROM {recorded} WHERE {these}").fill(
    recorded=RECORDED, these=_THESE
)
# Runs of two sides of a comparison whose inputs have the same words, at most `most` of each side.
_OLDEST_OF_SIDES: Final = Sql("""
    SELECT minIf(start_ns, is_after) AS after, minIf(start_ns, NOT is_after) AS before FROM (
      SELECT start_ns, {after} AS is_after FROM {recorded} WHERE {of_sides}
      ORDER BY start_ns DESC LIMIT {most:UInt32} BY is_after)""")
_SHARED_WORDS: Final = Sql("""
    SELECT arraySlice(arrayReverseSort(groupArrayIf(run, is_after)), 1, {each:UInt32}) AS after,
      arraySlice(arrayReverseSort(groupArrayIf(run, NOT is_after)), 1, {each:UInt32}) AS before
    FROM (
      SELECT (start_ns, reinterpretAsUInt64(span_id)) AS run, {after} AS is_after,
        {words} AS words
      FROM {recorded}
      WHERE {of_sides} AND start_ns >= if({after}, {after_from:Int64}, {before_from:Int64})
        AND inputs_preview != '')
    GROUP BY words HAVING after != [] AND before != []
    ORDER BY after[1] DESC LIMIT {inputs:UInt32}""")
# Inputs that were cut have no digest.
_DIGESTS_OF: Final = Sql("""
    SELECT {ids}, start_ns, span, outcome, error_type, asked, answered, input, answer FROM (
      SELECT start_ns, trace_id, span_id, reinterpretAsUInt64(span_id) AS span, {copy} AS copy,
        outcome, error_type, inputs_preview AS asked, outputs_preview AS answered
      FROM {recorded} WHERE {these}) AS run
    INNER ANY JOIN (
      SELECT start_ns, trace_id, span_id, rank AS copy, {digest} AS input, {answer} AS answer
      FROM ({payloads}) WHERE {whole}
    ) AS payload USING (start_ns, trace_id, span_id, copy)
    ORDER BY start_ns DESC, trace_id, span_id""")
_BETWEEN: Final = Sql("""project = {project:String}
  AND start_ns >= {start:Int64} AND start_ns < {end:Int64}""")
_BEFORE_SIDE: Final = Sql(
    "({side} AND start_ns >= {before_start:Int64} AND start_ns < {before_end:Int64})"
)
_AFTER_SIDE: Final = Sql(
    "({side} AND start_ns >= {after_start:Int64} AND start_ns < {after_end:Int64})"
)
_PAIR_SIDES: Final = ("before", "after")
# Limits of `read_shared_inputs`, for each side and, among runs whose inputs have the same words,
# for each input. Without them, a project with many runs or large payloads waits long.
_RUNS_OF_SIDE: Final = 20_000
_RUNS_OF_INPUT: Final = 100
_LEAST_OF_INPUT: Final = 3
_PAYLOADS_OF_SIDE: Final = 600
_PREVIEWS: Final = Sql("""
    SELECT {ids}, kind, outcome, inputs_preview, outputs_preview FROM ({runs})""")


@dataclass(frozen=True, slots=True)
class InputAnswers:
    """Several runs with the same input.

    Attributes:
        key: Digest of the inputs. In an experiment, digest and ID of the data set item.
        runs: Rows with `trace_id`, `span_id`, `span`, `start_ns` and `answer` (digest of the
            outputs), newest first.
        scores: Scores of these runs, as rows with `judge`, `judge_version`, `score`, `passed`, and
            `failed` (whether the judge raised an error).
    """

    key: str
    runs: list[Row] = field(default_factory=list)
    scores: list[Row] = field(default_factory=list)

    @property
    def answers(self) -> Counter[str]:
        """Number of runs with each answer, most frequent first."""
        counts = Counter(row["answer"] for row in self.runs)
        return Counter(dict(counts.most_common()))


@dataclass(frozen=True, slots=True)
class AnsweredInputs:
    """The runs of a model version, grouped by input, to see whether equal inputs get equal outputs.

    Attributes:
        runs: Number of runs that were read, including those in `left_out`.
        left_out: Number of runs that could not be compared, by reason.
        repeated: The inputs that occur in several runs, with these runs.
    """

    runs: int
    left_out: Mapping[str, int]
    repeated: Sequence[InputAnswers]


_NO_ANSWERS: Final = AnsweredInputs(0, {}, ())


def read_version_answers(
    reader: Reader, project: str, model: str, wanted: Sequence[int], most: int
) -> dict[int, AnsweredInputs]:
    """Read how each version of a model answered the inputs that it received several times.

    Args:
        reader: The store.
        project: The project.
        model: Name of the model.
        wanted: Numbers of the versions.
        most: Maximum number of runs that are read for each version, newest first.

    Returns:
        The runs and answers of each version, by its number.
    """
    runs = _OF_VERSIONS.fill(
        number=NUMBER, recorded=RECORDED, counted=find_counted(reader, project).sql, copy=COPY
    )
    asked: dict[str, Any] = {
        **of_versions(reader, project, model),
        "project": project,
        "wanted": list(wanted),
        "most": most,
        "oldest": 0,
    }
    [row] = reader.rows(_OLDEST.fill(runs=runs), asked)
    asked["oldest"] = row["oldest"]
    newest = _RUNS_OF_VERSIONS.fill(runs=runs)
    answers = _read_answers(reader, project, newest, asked, by_item=False)
    return {number: answers.get(number, _NO_ANSWERS) for number in wanted}


def read_item_answers(
    reader: Reader, project: str, asked: Mapping[str, Any], most: int
) -> AnsweredInputs:
    """Read the answers to the data set items that an experiment ran several times.

    Args:
        reader: The store.
        project: The project.
        asked: The query parameters that select the runs of the experiment, from `item_parameters`.
        most: Maximum number of runs that are read.
    """
    answers = _read_answers(reader, project, _RUNS_OF_ITEMS, {**asked, "most": most}, by_item=True)
    return answers.get(0, _NO_ANSWERS)


def read_shown(reader: Reader, project: str, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """Read the previews of inputs and outputs of runs, by trace ID and span ID.

    Several instrumentations can record the same call. If a preview is then empty in the record that
    counts for the call, it is filled from the other records. Inputs and outputs that arrived as log
    records are not included.
    """
    asked = {"project": project, "starts": _of(rows, "start_ns"), "spans": _of(rows, "span")}
    runs = _SHOWN_RUNS
    if find_record_kinds(reader, project).same_calls:
        runs = show_calls(runs)
    shown = reader.rows(_PREVIEWS.fill(ids=IDS, runs=runs), asked)
    return {(row["trace_id"], row["span_id"]): row for row in shown}


def read_shared_inputs(
    reader: Reader,
    project: str,
    sides: tuple[Condition, Sql, Sql],
    windows: tuple[Window, Window],
    most: int,
) -> list[tuple[Row, Row]]:
    """Read the inputs that occur on both sides of a comparison, with one run of each side.

    Of each side, the newest 20,000 runs are read, without their payloads. The payloads of at most
    1,200 runs show which inputs are equal.

    Args:
        reader: The store.
        project: The project.
        sides: The condition on the runs of either side, then whether a run is of the baseline, and
            whether it is of the other side.
        windows: Period in which the runs of the baseline began, and that of the other side.
        most: Maximum number of inputs. Those that the other side received last are read.

    Returns:
        For each input, the newest run of the baseline and of the other side, as rows with
        `trace_id`, `span_id`, `start_ns`, `outcome`, `error_type`, previews as `asked` and
        `answered`, and the digest of the output as `answer`. The input that was received last comes
        first.
    """
    condition, is_before, is_after = sides
    asked: dict[str, Any] = {
        **condition.parameters,
        "project": project,
        "start": min(window.start_ns for window in windows),
        "end": max(window.end_ns for window in windows),
        "before_start": windows[0].start_ns,
        "before_end": windows[0].end_ns,
        "after_start": windows[1].start_ns,
        "after_end": windows[1].end_ns,
    }
    of_sides = Sql("{bounds} AND ({condition}) AND ({before} OR {after})").fill(
        bounds=_BETWEEN,
        condition=condition.sql,
        before=_BEFORE_SIDE.fill(side=is_before),
        after=(after := _AFTER_SIDE.fill(side=is_after)),
    )
    filled = {"recorded": RECORDED, "after": after, "of_sides": of_sides}
    [oldest] = reader.rows(_OLDEST_OF_SIDES.fill(**filled), {**asked, "most": _RUNS_OF_SIDE})
    if not oldest["after"] or not oldest["before"]:
        return []
    asked |= {
        "after_from": oldest["after"],
        "before_from": oldest["before"],
        "each": _RUNS_OF_INPUT,
        "inputs": most,
    }
    words = words_number(Sql("inputs_preview"))
    groups = reader.rows(_SHARED_WORDS.fill(**filled, words=words), asked)
    if not groups:
        return []
    # Different inputs can have the same words, so several runs of each group are read.
    each = max(_PAYLOADS_OF_SIDE // len(groups), _LEAST_OF_INPUT)
    runs = {tuple(run): name for row in groups for name in _PAIR_SIDES for run in row[name][:each]}
    sql = _DIGESTS_OF.fill(
        ids=IDS,
        recorded=RECORDED,
        these=_THESE,
        copy=COPY,
        digest=digest(_INPUTS_TEXT),
        answer=digest(_OUTPUTS_TEXT),
        whole=is_whole(_INPUTS_TEXT),
        payloads=_payloads_of(reader, project, _BY_START_AND_SPAN),
    )
    keys = {
        "project": project,
        "starts": sorted({start_ns for start_ns, _ in runs}),
        "spans": sorted({span for _, span in runs}),
    }
    newest: dict[str, dict[str, Row]] = {name: {} for name in _PAIR_SIDES}
    for row in reader.rows(sql, keys):
        side = runs.get((row["start_ns"], row["span"]))
        if side is not None:
            newest[side].setdefault(row["input"], row)
    before = newest["before"]
    return [(before[key], row) for key, row in newest["after"].items() if key in before][:most]


def _of(rows: Iterable[Row], name: str) -> list[int]:
    return sorted({row[name] for row in rows})


def _read_answers(
    reader: Reader, project: str, runs: Sql, asked: Mapping[str, Any], *, by_item: bool
) -> dict[int, AnsweredInputs]:
    """Read runs with equal inputs by version.

    First, the words of the inputs are compared; then, the inputs themselves. With `by_item`, runs
    of the same item have equal inputs.
    """
    asked = {"start": 0, "end": 2**62, **asked, "project": project}
    of_runs = Sql("start_ns IN (SELECT start_ns FROM ({runs}))").fill(runs=runs)
    reason = _LEFT_OUT_REASON.fill(
        of_inputs=Sql("false AND") if by_item else EMPTY,
        cut_inputs=is_cut(_INPUTS_TEXT),
        short_inputs=is_short(_INPUTS_TEXT),
        cut_outputs=is_cut(_OUTPUTS_TEXT),
        short_outputs=is_short(_OUTPUTS_TEXT),
    )
    sql = _GROUPS_BY_WORDS.fill(
        runs=runs,
        reason=reason,
        words=words_number(_INPUTS_TEXT),
        payloads=_payloads_of(reader, project, of_runs),
    )
    rows = reader.rows(sql, asked, FILTERED)
    read_inputs, left_out = Counter[int](), defaultdict[int, dict[str, int]](dict)
    for row in rows:
        read_inputs[row["number"]] += row["runs"]
        if row["reason"]:
            left_out[row["number"]][row["reason"]] = row["runs"]
    alike = {
        "starts": sorted({start for row in rows for start in row["starts"]}),
        "spans": sorted({span for row in rows for span in row["spans"]}),
    }
    repeated = _read_repeated(reader, project, runs, asked | alike) if alike["spans"] else {}
    return {
        number: AnsweredInputs(n, left_out[number], repeated.get(number, []))
        for number, n in read_inputs.items()
    }


def _read_repeated(
    reader: Reader, project: str, runs: Sql, asked: Mapping[str, Any]
) -> dict[int, list[InputAnswers]]:
    sql = _REPEATED_ANSWERS.fill(
        ids=IDS,
        runs=runs,
        digest=digest(_INPUTS_TEXT),
        answer=digest(_OUTPUTS_TEXT),
        payloads=_payloads_of(reader, project, _BY_START_AND_SPAN),
    )
    groups: dict[tuple[int, str], InputAnswers] = {}
    for row in reader.rows(sql, asked):
        key = row["number"], row["input"]
        groups.setdefault(key, InputAnswers(row["input"])).runs.append(row)
    several = {key: group for key, group in groups.items() if len(group.runs) > 1}
    of_run = {
        (row["trace_id"], row["span_id"]): group for group in several.values() for row in group.runs
    }
    rows = [row for group in several.values() for row in group.runs]
    if rows:
        starts = _of(rows, "start_ns")
        facts = {
            "project": project,
            "first": starts[0] - HOUR_NS,
            "last": starts[-1] + HOUR_NS,
            "spans": _of(rows, "span"),
        }
        for row in reader.rows(SCORED_LAST, facts):
            of = row["trace_id"].hex(), row["span_id"].hex()
            if of in of_run:
                of_run[of].scores.append(row)
    repeated: defaultdict[int, list[InputAnswers]] = defaultdict(list)
    for (number, _), group in several.items():
        repeated[number].append(group)
    return repeated


def _payloads_of(reader: Reader, project: str, these: Sql) -> Sql:
    """Write the SQL for payloads, with values from log records and other records of a call."""
    kinds = find_record_kinds(reader, project)
    payloads = _PAYLOADS_OF.fill(these=these)
    if kinds.same_calls:
        inherited = {name: INHERITED_PAYLOAD[name] for name in ("inputs", "outputs")}
        payloads = fill_payloads(payloads, inherited, OF_PROJECT)
    return (
        _WITH_LOG_CONTENTS.fill(payloads=payloads, contents=CONTENTS)
        if kinds.contents
        else payloads
    )
