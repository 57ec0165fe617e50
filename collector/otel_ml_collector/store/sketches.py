"""Sketches by hour and day: summaries of inputs, outputs and figures, stored for comparisons.

They are made from the runs that count. Like totals of the rollup, the sketches of a day are valid
if they were made after the last mark of the day. Nothing is computed when runs arrive.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import orjson

from otel_ml.statistics.fields import FieldSketch
from otel_ml.statistics.projections import NORM, PROJECTED
from otel_ml.statistics.sketches import TEXT_PARTS, Kind, Sketch, join_noise
from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.log import going_on
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import RECORDED, UNIT, Bounds, CountedRuns
from otel_ml_collector.store.field_values import (
    VersionFields,
    merge_versions,
    sketch_runs,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rollup import STATES
from otel_ml_collector.store.scores import SCORES, all_scores, newest_scores
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql, StoreClient
from otel_ml_collector.store.tables import INHERITED_PAYLOAD, fill_payloads
from otel_ml_collector.times import DAY_NS, HOUR_NS, LATEST_NS, MINUTE_NS

# Maximum number of runs of a model in the sketch of an hour. They are chosen by span ID.
MOST_RUNS: Final = 20_000
# Maximum bytes of payloads in memory at once, and so of an hour.
_MOST_BYTES: Final = 64_000_000
_LEAST_RUNS: Final = 100
# Maximum number of models in an hour: those with the most runs.
_MOST_MODELS: Final = 200
_MOST_DAYS: Final = 1_000
# Seconds. The next call, half a minute later, continues: the collector has other work.
_BUDGET_S: Final = 10.0
_QUIET_NS: Final = MINUTE_NS
_KEPT_NS: Final = 10 * MINUTE_NS
# Value of `hour_ns` in the rows of a whole day.
ALL_DAY: Final = -1
# Rows of a field that are not part of its sketch: the types of its values, and the number of runs
# that have its section.
_TYPES: Final = "types"
_SECTION: Final = "section"
_KINDS: Final[Mapping[str, Kind]] = {
    "number": "number",
    "category": "category",
    "text": "text",
    "words": "number",
    "characters": "number",
    "scripts": "category",
    "digits": "number",
    "capitals": "number",
    "vocabulary": "vocabulary",
    "embedding": "embedding",
    **dict.fromkeys((NORM, *PROJECTED), "number"),
}
_WHOLE: Final = ("number", "category", "text", "embedding")
# Fractions are rounded to 1/1024, so that their sum is the same in any order.
_FRACTION: Final = 1024
# Same order as in the sampling of judges: the span ID times an odd constant, modulo 2**64.
_PLACE: Final = Sql("""reinterpretAsUInt64(reverse(toString(runs.span_id)))
  * toUInt64(11400714819323198485)""")

Asks = Callable[[Sql, Mapping[str, Any]], Iterable[Row]]

_BOUNDS: Final = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
_BUCKET: Final = Sql("intDiv(start_ns, {step:Int64}) * {step:Int64}")
_COUNTS: Final = Sql("""
SELECT {bucket} AS bucket_ns, toString(model) AS of_model, count() AS runs
FROM {recorded} WHERE {counted} AND model != '' AND ({wanted})
GROUP BY bucket_ns, of_model ORDER BY bucket_ns, runs DESC, of_model
LIMIT {most} BY bucket_ns""")
_SIZES: Final = Sql("""
SELECT {bucket} AS bucket_ns, count() AS payloads,
  sum(length(inputs) + length(outputs) + length(params)) AS bytes
FROM payloads FINAL WHERE {among} GROUP BY bucket_ns""").fill(bucket=_BUCKET, among=_BOUNDS.sql)
_CHOSEN: Final = Sql("""
  FROM {recorded}
  WHERE {counted} AND model IN {models:Array(String)} AND ({wanted})
  ORDER BY {bucket}, model, {place}, start_ns, trace_id
  LIMIT {most:UInt32} BY {bucket}, model""")
_RUNS: Final = Sql("""
SELECT run.*, payload.inputs AS inputs, payload.outputs AS outputs, payload.params AS params
FROM (
  SELECT {bucket} AS bucket_ns, start_ns, trace_id, span_id, toString(model) AS model,
    toString(digest) AS digest,
    toString(structure) AS structure, {place} AS place,
    {unit} AS session,
    concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
    nullIf(latency_ns, 0) / 1e6 AS latency_ms, first_token_ms, stream_chunks,
    toString(outcome) AS outcome,
    toString(error_type) AS error_type, {input_tokens} AS input_tokens,
    {output_tokens} AS output_tokens, {cost} AS cost
  {chosen}
) AS run
LEFT JOIN ({payloads}) AS payload ON payload.start_ns = run.start_ns
  AND payload.trace_id = run.trace_id AND payload.span_id = run.span_id
ORDER BY run.bucket_ns, run.model, run.place, run.start_ns, run.trace_id""")
_PAYLOADS: Final = Sql("""
  SELECT project, start_ns, trace_id, span_id, rank, inputs, outputs, params FROM payloads FINAL
  WHERE {among} AND (start_ns, trace_id, span_id) IN (
    SELECT start_ns, trace_id, span_id {chosen})""")
# The newest score of each judge version. If there is only a pass or fail, it is 1 or 0.
_SCORES: Final = Sql("""
SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id, toString(judge) AS judge,
  toString(judge_version) AS judge_version, ifNull(score, toFloat64(passed)) AS value
FROM ({newest}) WHERE NOT failed AND isFinite(value)
ORDER BY run_id, judge, judge_version LIMIT 1000000""").fill(
    newest=newest_scores(
        all_scores(
            Sql("(start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns < {until:Int64}))")
        )
    )
)
_HAS_SCORES: Final = Sql("""
SELECT 1 FROM {scores} WHERE project = {project:String}
  AND (start_ns = 0 OR (start_ns >= {first:Int64} AND start_ns < {until:Int64})) LIMIT 1""").fill(
    scores=SCORES
)
_DUE: Final = Sql("""
SELECT project, day_ns, now_ns
FROM (SELECT *, toUnixTimestamp64Nano(now64(9)) AS now_ns FROM ({states}))
WHERE marked_ns >= sketched_ns AND marked_ns < now_ns - {settled_ns}
  AND day_ns + {over_ns} < now_ns
ORDER BY day_ns DESC, project LIMIT {most}""").fill(
    states=STATES.fill(ours=Sql("1")),
    settled_ns=_QUIET_NS,
    over_ns=DAY_NS + _QUIET_NS,
    most=_MOST_DAYS,
)
_STALE: Final = Sql("""FROM sketches WHERE project = {project:String} AND day_ns = {day:Int64}
  AND computed_ns < {before:Int64}""")
_COLUMNS: Final = (
    *("project", "day_ns", "computed_ns", "hour_ns", "model", "digest", "structure"),
    *("field", "part", "n", "clustered", "low", "high", "bins", "places", "squares", "counts"),
)
_INSERT_ROWS: Final = 5_000


class SketchJob:
    """Computes the sketches of past days whose runs have not changed for a minute.

    A sketch is a stored summary of the values of a field, such as a histogram. The newest days come
    first. Days that failed come last, so that they do not block others.

    Args:
        client: Client of the thread that runs the job.
        memory: Cached facts about projects. Those about a day are removed when it has new sketches.
        clock: Returns the time in seconds.
    """

    def __init__(self, client: StoreClient, memory: Memory, clock: Callable[[], float]) -> None:
        self._client = client
        self._memory = memory
        self._clock = clock
        self._failures: Counter[tuple[str, int]] = Counter()

    def list_jobs(self, changes: StoreChanges) -> Sequence[BackgroundJob]:
        """List the job that computes the sketches of days that changed."""
        return [
            BackgroundJob(
                self.run,
                30.0,
                "Sketches of fields could not be computed",
                has_work=changes.after_writes(),
            )
        ]

    def run(self) -> int:
        """Compute the sketches of all days that need it, for about ten seconds.

        A sketch is a stored summary of the values of a field, such as a histogram. The next call
        continues with the days that are left.

        Returns:
            Number of days whose sketches were computed.

        Raises:
            Exception: A day failed. This is the error of the first one; the days after it were
                computed too.
        """
        began_s = self._clock()
        due = [(project, day_ns) for project, day_ns, _ in self._client.query(_DUE).result_rows]
        self._failures = Counter({day: self._failures[day] for day in due if day in self._failures})
        done = 0
        troubles: list[Exception] = []
        for day in sorted(due, key=lambda day: self._failures[day]):
            failed = len(troubles)
            with going_on(troubles.append):
                sketch_day(self._client, self._memory, *day, read_store_time(self._client))
            if len(troubles) > failed:
                self._failures[day] += 1
            else:
                done += 1
                del self._failures[day]
            if self._clock() - began_s > _BUDGET_S:
                break
        if troubles:
            raise troubles[0]
        return done


def read_store_time(client: StoreClient) -> int:
    """Return the time of the store's clock, in nanoseconds since 1970."""
    now_ns: int = client.query(Sql("SELECT toUnixTimestamp64Nano(now64(9))")).result_rows[0][0]
    return now_ns


def sketch_day(client: StoreClient, memory: Memory, project: str, day_ns: int, now_ns: int) -> None:
    """Compute and store the sketches of a day. Calling it again replaces them.

    A sketch is a summary of the values of a field, such as a histogram.

    Args:
        client: Client of this thread.
        memory: Cached facts about projects. Those about this day are removed.
        project: The project.
        day_ns: Start of the day.
        now_ns: Time of the store's clock before anything is read.
    """

    def ask(sql: Sql, parameters: Mapping[str, Any]) -> Iterable[Row]:
        return client.query(sql, dict(parameters)).named_results()

    runs = CountedRuns(_BOUNDS)
    of_day: defaultdict[tuple[str, str, str], list[VersionFields]] = defaultdict(list)
    rows: list[list[Any]] = []
    key = (project, day_ns, now_ns)
    for hour_ns, fields in read_fields(ask, project, (day_ns, day_ns + DAY_NS), runs):
        for version, of_hour in fields.items():
            of_day[version].append(of_hour)
            rows += _write_rows((*key, hour_ns, *version), of_hour)
    for version, of_hours in of_day.items():
        rows += _write_rows((*key, ALL_DAY, *version), merge_versions(of_hours))
    for first in range(0, len(rows), _INSERT_ROWS):
        # If the answer is lost, the insert is sent again. With this token, the server stores it
        # once.
        settings = {
            "insert_deduplicate": 1,
            "insert_deduplication_token": orjson.dumps([*key, first]).decode(),
        }
        part = rows[first : first + _INSERT_ROWS]
        client.insert("sketches", part, column_names=_COLUMNS, settings=settings)
    client.insert(
        "daily", [[project, day_ns, now_ns]], column_names=["project", "day_ns", "sketched_ns"]
    )
    memory.forget_days([project])
    stale = {"project": project, "day": day_ns, "before": now_ns - _KEPT_NS}
    if client.query(Sql("SELECT 1 ") + _STALE + Sql(" LIMIT 1"), stale).result_rows:
        client.command(Sql("DELETE ") + _STALE, stale, settings={"lightweight_deletes_sync": 0})


def read_fields(
    ask: Asks,
    project: str,
    span: tuple[int, int],
    runs: CountedRuns,
    condition: Condition = ALWAYS,
    *,
    step_ns: int = HOUR_NS,
    most: int = MOST_RUNS,
) -> Iterator[tuple[int, dict[tuple[str, str, str], VersionFields]]]:
    """Compute the sketches of a time range from its runs, one time bucket after the other.

    A sketch is a summary of the values of a field, such as a histogram.

    Args:
        ask: Runs a query.
        project: The project.
        span: Start and end of the range, in nanoseconds since 1970.
        runs: Selects the runs that count in statistics. Each query reads only a part of the time
            range. The parameters `first` and `until` of this SQL are the start and end of the part.
        condition: A further condition on the runs.
        step_ns: Length of a bucket.
        most: Maximum number of runs that are read for a bucket and model.

    Yields:
        The start of a bucket, and the sketches of all fields in it, by model, digest of the model
        version, and structure of the values.
    """
    parameters = {
        **_write_span(project, span, condition),
        "step": step_ns,
    }
    counts = _COUNTS.fill(
        bucket=_BUCKET,
        recorded=RECORDED,
        counted=runs.sql,
        wanted=condition.sql,
        most=_MOST_MODELS,
    )
    buckets: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row in ask(counts, parameters):
        buckets[row["bucket_ns"]][row["of_model"]] = row["runs"]
    sizes = {row["bucket_ns"]: row for row in ask(_SIZES, parameters)} if buckets else {}
    has_scores = bool([*ask(_HAS_SCORES, parameters)])
    for batch in _make_batches(buckets, sizes, most):
        of_batch = {
            **parameters,
            "first": max(batch.buckets[0], span[0]),
            "until": min(batch.buckets[-1] + step_ns, span[1]),
            "most": batch.limit,
        }
        scores = _read_scores(ask, of_batch) if has_scores else {}
        fields: defaultdict[int, dict[tuple[str, str, str], VersionFields]] = defaultdict(dict)
        for models in batch.models:
            rows = ask(_write_runs(runs, condition), {**of_batch, "models": models})
            for bucket_ns, of_bucket in groupby(rows, key=itemgetter("bucket_ns")):
                fields[bucket_ns] |= sketch_runs(of_bucket, scores)
        yield from sorted(fields.items())


@dataclass(slots=True)
class _Batch:
    """Buckets that are read with one query.

    Attributes:
        limit: Maximum number of runs of a bucket and model.
        models: The models.
    """

    buckets: list[int]
    limit: int
    models: list[list[str]]


def _make_batches(
    buckets: Mapping[int, Mapping[str, int]], sizes: Mapping[int, Row], most: int
) -> Iterator[_Batch]:
    """Combine neighbouring buckets while they have few runs and fit into memory."""
    batch: _Batch | None = None
    runs, size = 0, 0.0
    for bucket_ns, counts in sorted(buckets.items()):
        payloads = sizes.get(bucket_ns)
        mean = payloads["bytes"] / payloads["payloads"] if payloads else 0.0
        limit = _choose_limit([*counts.values()], mean, most)
        entering = sum(min(count, limit) for count in counts.values())
        runs, size = runs + entering, size + entering * mean
        if batch and batch.limit == limit and runs <= MOST_RUNS and size <= _MOST_BYTES:
            batch.buckets.append(bucket_ns)
            batch.models[0] = [*dict.fromkeys([*batch.models[0], *counts])]
            continue
        if batch:
            yield batch
        batch = _Batch([bucket_ns], limit, [*_group_models(counts, limit)])
        runs, size = entering, entering * mean
        if len(batch.models) > 1:
            yield batch
            batch = None
    if batch:
        yield batch


def read_sample(
    ask: Asks,
    project: str,
    span: tuple[int, int],
    runs: CountedRuns,
    condition: Condition,
    *,
    model: str,
    most: int,
) -> list[Row]:
    """Read a sample of a model's runs with payloads and figures, chosen by span ID."""
    parameters = {
        **_write_span(project, span, condition),
        "step": LATEST_NS,
        "models": [model],
        "most": most,
    }
    return [*ask(_write_runs(runs, condition), parameters)]


def _write_span(project: str, span: tuple[int, int], condition: Condition) -> dict[str, Any]:
    return {
        "project": project,
        "first": span[0],
        "until": span[1],
        "start": span[0],
        "end": span[1],
        **condition.parameters,
    }


def _choose_limit(models: Sequence[int], mean_bytes: float, most: int) -> int:
    """Choose how many runs of each model to read for an hour, so that they fit into memory."""
    limit = most
    while limit > _LEAST_RUNS and (
        sum(min(runs, limit) for runs in models) * mean_bytes > _MOST_BYTES
    ):
        limit //= 2
    return limit


def _group_models(models: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Group models whose runs are read with one query."""
    group: list[str] = []
    runs = 0
    for model, count in models.items():
        if group and runs + min(count, limit) > MOST_RUNS:
            yield group
            group, runs = [], 0
        group.append(model)
        runs += min(count, limit)
    yield group


def _write_runs(runs: CountedRuns, condition: Condition) -> Sql:
    amounts = RunAmounts(is_resolved=True)
    chosen = _CHOSEN.fill(
        recorded=RECORDED,
        counted=runs.sql,
        wanted=condition.sql,
        place=_PLACE,
        bucket=_BUCKET,
    )
    return _RUNS.fill(
        bucket=_BUCKET,
        place=_PLACE,
        unit=UNIT,
        input_tokens=amounts.read("input_tokens"),
        output_tokens=amounts.read("output_tokens"),
        cost=amounts.cost,
        chosen=chosen,
        payloads=fill_payloads(
            _PAYLOADS.fill(among=_BOUNDS.sql, chosen=chosen), INHERITED_PAYLOAD, _BOUNDS.sql
        ),
    )


def _read_scores(ask: Asks, parameters: Mapping[str, Any]) -> dict[str, list[tuple[str, object]]]:
    scores: defaultdict[str, list[tuple[str, object]]] = defaultdict(list)
    for row in ask(_SCORES, parameters):
        scores[row["run_id"]].append((score_path(row["judge"], row["judge_version"]), row["value"]))
    return scores


def score_path(judge: str, digest: str) -> str:
    """Return the field name for scores of a judge version, with its digest after an @."""
    return f'scores["{judge}"]' + (f"@{digest}" if digest else "")


def _write_rows(key: tuple[Any, ...], of: VersionFields) -> Iterator[list[Any]]:
    for section, runs in of.sections.items():
        yield [*key, section, _SECTION, runs, 0.0, None, None, {}, {}, {}, {}]
    for path, field in of.fields.items():
        yield [*key, path, _TYPES, field.n, 0.0, None, None, {}, {}, {}, dict(field.types)]
        for kind in _WHOLE:
            sketch = field.of_kind(kind)
            if sketch.n:
                yield _write_sketch((*key, path, kind), sketch)
                for part, of_part in sketch.parts.items():
                    yield _write_sketch((*key, path, part), of_part)


def _write_sketch(key: tuple[Any, ...], sketch: Sketch) -> list[Any]:
    return [
        *key,
        sketch.n,
        round(sketch.clustered * _FRACTION) / _FRACTION,
        sketch.low,
        sketch.high,
        {at: count for at, (count, _, _) in sketch.bins.items()},
        {at: places for at, (_, places, _) in sketch.bins.items() if places},
        {at: squares for at, (_, _, squares) in sketch.bins.items() if squares},
        dict(sketch.values),
    ]


@dataclass(frozen=True, slots=True)
class SketchQuestion:
    """A query for stored sketches: days, time range, bucket length and condition.

    A sketch is a summary of the values of a field, such as a histogram.

    Attributes:
        days: The days to read. Maps the start of a day to the time when its sketches were computed.
            Both are in nanoseconds since 1970.
        start_ns, end_ns: Start and end of the range to read, in nanoseconds since 1970. Used only
            if `is_hourly`; otherwise whole `days` are read.
        step_ns: Length of a bucket.
        is_hourly: Whether a bucket is shorter than a day.
        condition: A condition on `model`, `digest`, `structure` and `field`.
    """

    project: str
    days: Mapping[int, int]
    start_ns: int
    end_ns: int
    step_ns: int
    is_hourly: bool = False
    condition: Condition = ALWAYS


_BUCKETS: Final = Sql("""
SELECT toString(model) AS of_model, {bucket} AS bucket, toString(field) AS path,
  toString(part) AS of_part, sum(n) AS values, sum(clustered) AS alike,
  min(low) AS lowest, max(high) AS highest, sumMap(bins) AS of_bins, sumMap(places) AS of_places,
  sumMap(squares) AS of_squares, sumMap(counts) AS of_counts
FROM sketches
WHERE project = {project:String} AND (day_ns, computed_ns) IN (
    SELECT arrayJoin(arrayZip({days:Array(Int64)}, {computed:Array(Int64)})))
  AND {hours} AND ({condition})
GROUP BY of_model, bucket, path, of_part
ORDER BY of_model, bucket, path, of_part LIMIT 400000""")
_HOURS: Final = Sql("hour_ns >= {start:Int64} AND hour_ns < {end:Int64}")
_DAYS: Final = Sql("hour_ns = {all_day}").fill(all_day=ALL_DAY)


def read_sketched_days(reader: Reader, project: str) -> dict[int, int]:
    """Read which days of a project have up-to-date sketches, with the time when they were made."""
    sql = Sql("""
        SELECT day_ns, sketched_ns FROM ({states}) WHERE sketched_ns > marked_ns ORDER BY day_ns
        """).fill(states=STATES.fill(ours=Sql("project = {project:String}")))
    return {row["day_ns"]: row["sketched_ns"] for row in reader.rows(sql, {"project": project})}


def read_sketches(reader: Reader, question: SketchQuestion) -> dict[str, dict[int, VersionFields]]:
    """Read the fields of models by bucket. Number of a bucket: its start / its length."""
    if not question.days:
        return {}
    at = Sql("hour_ns") if question.is_hourly else Sql("day_ns")
    sql = _BUCKETS.fill(
        bucket=Sql("intDiv({at}, {step:Int64})").fill(at=at),
        hours=_HOURS if question.is_hourly else _DAYS,
        condition=question.condition.sql,
    )
    parameters = {
        "project": question.project,
        "days": [*question.days],
        "computed": [*question.days.values()],
        "start": question.start_ns,
        "end": question.end_ns,
        "step": question.step_ns,
        **question.condition.parameters,
    }
    rows: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in reader.rows(sql, parameters):
        rows[row["of_model"], row["bucket"]].append(row)
    read: defaultdict[str, dict[int, VersionFields]] = defaultdict(dict)
    for (model, bucket), of_bucket in rows.items():
        read[model][bucket] = _read_rows(of_bucket)
    return read


def _read_rows(rows: Iterable[Row]) -> VersionFields:
    sections: dict[str, int] = {}
    types: dict[str, Mapping[str, int]] = {}
    sketches: defaultdict[str, dict[str, Sketch]] = defaultdict(dict)
    for row in rows:
        path, part = row["path"], row["of_part"]
        if part == _SECTION:
            sections[path] = row["values"]
        elif part == _TYPES:
            types[path] = row["of_counts"]
        else:
            sketches[path][part] = _read_sketch(_KINDS[part], row)
    return VersionFields(
        sections, {path: _read_field(of_types, sketches[path]) for path, of_types in types.items()}
    )


def _read_sketch(kind: Kind, row: Row) -> Sketch:
    places, squares = row["of_places"], row["of_squares"]
    return Sketch(
        kind,
        row["values"],
        clustered=row["alike"],
        low=row["lowest"],
        high=row["highest"],
        bins={
            key: (count, places.get(key, 0), squares.get(key, 0))
            for key, count in row["of_bins"].items()
        },
        values=join_noise(row["of_counts"]),
    )


def _read_field(types: Mapping[str, int], sketches: Mapping[str, Sketch]) -> FieldSketch:
    text = sketches.get("text", Sketch("text"))
    embedding = sketches.get("embedding", Sketch("embedding"))
    parts = {name: sketch for name, sketch in sketches.items() if name in TEXT_PARTS}
    projected = {
        name: sketch
        for name, sketch in sketches.items()
        if name not in _WHOLE and name not in TEXT_PARTS
    }
    return FieldSketch(
        0,
        dict(types),
        sketches.get("number", Sketch("number")),
        sketches.get("category", Sketch("category")),
        Sketch("text", text.n, 0, text.clustered, parts=parts),
        Sketch("embedding", embedding.n, 0, embedding.clustered, parts=projected),
    )
