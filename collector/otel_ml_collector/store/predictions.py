"""Joins predictions of runs to the newest ground truth.

Ground truth belongs to a run ID, trace key or tag and is joined at query time, so the order of
arrival does not matter. Predictions of past days are materialized so that payloads are read only
once. Ground truth is not part of them, so it can arrive at any time.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final, Literal

import orjson

from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.store.counted import DELIVERIES, RECORDED, UNIT, Bounds, CountedRuns
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import RecordKinds, truths
from otel_ml_collector.store.rollup import STATES
from otel_ml_collector.store.sql import EMPTY, Sql, StoreClient, join_sql, parameter
from otel_ml_collector.store.tables import COPY, INHERITED_PAYLOAD, fill_payloads
from otel_ml_collector.times import DAY_NS, MINUTE_NS

TARGET: Final = "target"
PredictionKind = Literal["class", "number", "ranking"]

# Maximum length of a prediction in bytes, enough for the name of a class. Longer text becomes its
# first 32 characters and a hash.
_LONGEST: Final = 64
_WHOLE_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)\.0+", re.ASCII)
_WORD_OF: Final = Sql("""multiIf(
    {raw} IN ('', 'null'), '',
    startsWith({raw}, '"'), JSONExtractString({raw}),
    JSONType({raw}) IN ('Int64', 'UInt64', 'Double'), toString(JSONExtractFloat({raw})),
    {raw})""")
_CUT: Final = Sql("""if(length({text} AS text_of_{n}) <= {longest}, text_of_{n},
    concat(substringUTF8(text_of_{n}, 1, 32), '… ', lower(hex(sipHash64(text_of_{n})))))""")
# A number, a text with a number, or a bool, which is 1 or 0.
_NUMBER_OF: Final = Sql("""multiIf(
    JSONType({raw}) IN ('Int64', 'UInt64', 'Double') AND isFinite(JSONExtractFloat({raw})),
    toNullable(JSONExtractFloat({raw})),
    {raw} IN ('true', 'false'), toNullable(toFloat64({raw} = 'true')),
    JSONType({raw}) = 'String' AND match(JSONExtractString({raw}), '^\\s*[-+]?[0-9.]')
      AND isFinite(toFloat64OrNull(trimBoth(JSONExtractString({raw})))),
    toFloat64OrNull(trimBoth(JSONExtractString({raw}))),
    NULL)""")
# What a class means: 1, 1.0, "1", true and "True" are one class, as `1 == True` in Python. Texts
# such as "01" or "1.10" are no numbers, because they are names as a rule: of postcodes, versions.
_MEANING_OF: Final = Sql("""multiIf(
    {word} IN ('true', 'True', 'TRUE'), '1',
    {word} IN ('false', 'False', 'FALSE', '-0', '-0.0'), '0',
    match({word}, '^-?(0|[1-9][0-9]*)\\.0+$'), splitByChar('.', {word})[1],
    {word})""")
# Whether the prediction is a list or an object (123 is a brace) and the ground truth is not, or the
# other way round.
_IS_UNLIKE: Final = Sql("""(actual_word != ''
    AND (substring(run.predicted, 1, 1) IN ('[', char(123)))
      != (substring(actual_word, 1, 1) IN ('[', char(123))))""")
_ITEMS_OF: Final = Sql("""arrayMap(item -> {text}, if(JSONType({raw}) = 'Array',
    JSONExtractArrayRaw({raw}), [{raw}]))""")
# The prediction of a run as text (`predicted`) and number (`amount`), and its ground truth as text
# (`actual`, empty without ground truth) and number (`truth`). Two texts are equal if they mean the
# same class; `predicted_word` and `actual_word` are the texts as recorded. `truth_ns` is when the
# ground truth was first recorded. `unlike` is whether there is ground truth that cannot be compared
# with the prediction; `actual` is then empty.
COLUMNS: Final = Sql("""start_ns, trace_id, span_id, model, digest, structure, unit, predicted,
  amount, actual, truth, truth_ns, predicted_word, actual_word, unlike""")
# The columns that are known without ground truth, and the items of a ranking.
_PREDICTION_COLUMNS: Final = Sql("""
  start_ns, trace_id, span_id, model, digest, structure, unit, predicted,
  amount, items""")
_PREDICTIONS: Final = Sql("""
  SELECT run.start_ns AS start_ns, run.trace_id AS trace_id, run.span_id AS span_id,
    run.model AS model, run.digest AS digest, run.structure AS structure, run.unit AS unit,
    {predicted} AS predicted, {amount} AS amount, {items} AS items
  FROM (
    SELECT start_ns, trace_id, span_id, {copy} AS copy, toString(model) AS model,
      toString(digest) AS digest, toString(structure) AS structure,
      cityHash64({unit}) AS unit
    FROM {recorded} WHERE {counted} AND {of_model}
  ) AS run
  INNER JOIN (
    SELECT start_ns, trace_id, span_id, rank, {raw} AS raw, {chance} AS chance
    FROM ({payloads}) WHERE raw NOT IN ('', 'null')
  ) AS payload ON payload.start_ns = run.start_ns AND payload.trace_id = run.trace_id
    AND payload.span_id = run.span_id AND payload.rank = run.copy
  WHERE predicted != ''""")
_PAYLOADS: Final = Sql("""
    SELECT * FROM payloads WHERE {bounds}
      AND start_ns IN (SELECT start_ns FROM {deliveries} WHERE {bounds} AND {of_model})""")
_KEPT: Final = Sql("""
  SELECT {columns} FROM predictions
  WHERE project = {project:String} AND rule = {rule:String}
    AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
    AND (day_ns, computed_ns) IN (
      SELECT arrayJoin(arrayZip({kept_days:Array(Int64)}, {kept_at:Array(Int64)})))""").fill(
    columns=_PREDICTION_COLUMNS
)
_JOINED: Final = Sql("""
  SELECT run.start_ns AS start_ns, run.trace_id AS trace_id, run.span_id AS span_id,
    run.model AS model, run.digest AS digest, run.structure AS structure, run.unit AS unit,
    {meaning} AS predicted, {amount} AS amount, {unlike} AS unlike,
    if(unlike, '', {actual_meaning}) AS actual, {truth} AS truth,
    if(actual = '', 0, truths.first_ns) AS truth_ns,
    run.predicted AS predicted_word, {word} AS actual_word
  FROM ({predictions}) AS run
  {join} JOIN ({truths}) AS truths
    ON truths.trace_id = run.trace_id AND truths.span_id = run.span_id""")
_NOT_KEPT: Final = Sql("""intDiv(start_ns, {day_ns}) * {day_ns}
  NOT IN {kept_days:Array(Int64)}""").fill(day_ns=DAY_NS)
# The same, without ground truth if all predictions are numbers and no ground truth is one, or the
# other way round. All runs of a query decide together, because a class such as "other" may be next
# to classes that are numbers. Each bit tells that a run has such a prediction or ground truth.
_IS_FINITE: Final = Sql("ifNull(isFinite(toFloat64OrNull({text})), 0)")
_BITS: Final = Sql("""if(meant = '', 0,
  if({predicted}, 1, 2) + if({actual}, 4, 8))""").fill(
    predicted=_IS_FINITE.fill(text=Sql("predicted")), actual=_IS_FINITE.fill(text=Sql("meant"))
)
_OF_ONE_TYPE: Final = Sql("""
  SELECT start_ns, trace_id, span_id, model, digest, structure, unit, predicted, amount,
    is_unlike OR (differs AND meant != '') AS unlike, if(differs, '', meant) AS actual, truth,
    if(differs, 0, told_ns) AS truth_ns, predicted_word, actual_word
  FROM (
    SELECT *, groupBitOr({bits}) OVER ({group}) IN (1 + 8, 2 + 4) AS differs
    FROM (
      SELECT * EXCEPT (unlike, actual, truth_ns), unlike AS is_unlike, actual AS meant,
        truth_ns AS told_ns
      FROM ({rows})))""")

_WINDOW: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
# The part of a window that is not on a materialized day.
_REST: Final = Bounds(start=Sql("{unkept:Int64}"), end=Sql("{end:Int64}"), days=_NOT_KEPT)

# Changes with `_NUMBER_OF`, so that stored predictions are computed again.
_NUMBER_READING: Final = "numbers, texts and bools"
_QUIET_NS: Final = MINUTE_NS
_REPLACED_NS: Final = 10 * MINUTE_NS
_MOST_DAYS: Final = 1_000
# Seconds. The next call, half a minute later, continues: the collector has other work.
_BUDGET_S: Final = 10.0
_DOCUMENTS: Final = Sql("""
SELECT project, argMax(body, version) AS text FROM documents WHERE kind = {kind:String}
GROUP BY project, name HAVING text != '' ORDER BY project, name""")
_PREDICTED: Final = Sql("""
SELECT project, rule, day_ns, max(predicted_ns) AS predicted_ns FROM predicted
GROUP BY project, rule, day_ns""")
_DUE: Final = Sql("""
SELECT states.project, wanted.rule, states.day_ns
FROM ({states}) AS states
INNER JOIN (
  SELECT pair.1 AS project, pair.2 AS rule FROM (
    SELECT arrayJoin(arrayZip({projects:Array(String)}, {rules:Array(String)})) AS pair)
) AS wanted ON wanted.project = states.project
LEFT JOIN ({predicted}) AS predicted ON predicted.project = states.project
  AND predicted.rule = wanted.rule AND predicted.day_ns = states.day_ns
WHERE states.marked_ns >= predicted.predicted_ns
  AND states.marked_ns < toUnixTimestamp64Nano(now64(9)) - {settled_ns}
  AND states.day_ns + {over_ns} < toUnixTimestamp64Nano(now64(9))
ORDER BY states.day_ns DESC, states.project, wanted.rule LIMIT {most}""").fill(
    states=STATES.fill(ours=Sql("project IN {projects:Array(String)}")),
    predicted=_PREDICTED,
    settled_ns=_QUIET_NS,
    over_ns=DAY_NS + _QUIET_NS,
    most=_MOST_DAYS,
)
_KEPT_DAYS: Final = Sql("""
SELECT states.day_ns AS day_ns, predicted.predicted_ns AS predicted_ns
FROM ({states}) AS states
INNER JOIN (
  SELECT day_ns, max(predicted_ns) AS predicted_ns FROM predicted
  WHERE project = {project:String} AND rule = {rule:String} GROUP BY day_ns
) AS predicted ON predicted.day_ns = states.day_ns
WHERE predicted.predicted_ns > states.marked_ns
  AND states.day_ns + {day_ns} > {start:Int64} AND states.day_ns < {end:Int64}
ORDER BY day_ns""").fill(states=STATES.fill(ours=Sql("project = {project:String}")), day_ns=DAY_NS)
_STORE_NOW: Final = Sql("SELECT toUnixTimestamp64Nano(now64(9))")
_REPLACED: Final = Sql("""FROM predictions WHERE project = {project:String}
  AND rule = {rule:String} AND day_ns = {day:Int64} AND computed_ns < {before:Int64}""")
# Predictions for prediction targets that were deleted or changed.
_ORPHANS: Final = Sql("""
SELECT project, rule, max(predicted_ns) AS newest_ns FROM ({predicted})
WHERE (project, rule) NOT IN (
  SELECT arrayJoin(arrayZip({projects:Array(String)}, {rules:Array(String)})))
GROUP BY project, rule HAVING newest_ns < {before:Int64} LIMIT {most}""").fill(
    predicted=_PREDICTED, most=_MOST_DAYS
)
_ORPHANED: Final = tuple(
    Sql("""DELETE FROM {table} WHERE project = {project:String}
      AND rule = {rule:String} AND {time} <= {newest:Int64}""").fill(table=table, time=time)
    for table, time in (
        (Sql("predicted"), Sql("predicted_ns")),
        (Sql("predictions"), Sql("computed_ns")),
    )
)
# Do not wait for these deletes: nothing depends on them.
_LATER: Final = {"lightweight_deletes_sync": 0}


@dataclass(frozen=True, slots=True)
class PredictionRule:
    """Maps a model's prediction to the ground truth, such as `outputs.class` to `churned`.

    Attributes:
        name: Name of the prediction target.
        version: Version number of the saved prediction target; 0 if it is not saved.
        model: The model. If empty, the rule applies to all models with this ground truth.
        truth: Name of the ground truth.
        path: Keys and indexes that lead to the prediction in the outputs.
        chance: Keys and indexes that lead to the probability of the positive class. None if the
            model returns no probability.
        k: For a ranking, the number of first entries that count.
    """

    name: str
    version: int
    model: str
    kind: PredictionKind
    truth: str
    path: Sequence[str | int]
    chance: Sequence[str | int] | None
    k: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of the parameters of `write_rows`."""
        steps = {
            f"{name}_{place}": step + (step >= 0) if isinstance(step, int) else step
            for name, path in (("path", self.path), ("chance", self.chance or ()))
            for place, step in enumerate(path)
        }
        return {**steps, "model": self.model, "truth": self.truth, "k": self.k}

    @property
    def key(self) -> str:
        """A hash of everything that its predictions depend on. The name has no effect."""
        k = self.k if self.kind == "ranking" else 0
        parts = [self.model, self.kind, [*self.path], self.chance and [*self.chance], k]
        if self.kind == "number" or self.chance:
            parts.append(_NUMBER_READING)
        return sha256(orjson.dumps(parts)).hexdigest()[:16]


def read_rule(name: str, version: int, body: Mapping[str, Any]) -> PredictionRule:
    """Read a rule from the stored document of a prediction target."""
    return PredictionRule(
        name=name,
        version=version,
        model=body["model"],
        kind=body["kind"],
        truth=body["truth"] or name,
        path=body["path"],
        chance=body["chance"],
        k=body["k"],
    )


@dataclass(frozen=True, slots=True)
class KeptDays:
    """The days of a window for which stored predictions of a prediction target are up to date.

    Attributes:
        days: For the start of each such day, the time at which its predictions were computed. Both
            are in nanoseconds since 1970.
        start_ns: Start of the window.
        key: Identifies the definition of the prediction target: the `key` of its `PredictionRule`.
    """

    days: Mapping[int, int]
    start_ns: int
    key: str

    @property
    def parameters(self) -> dict[str, Any]:
        """The query parameters of `write_rows` for these days.

        `unkept` is the start of the first day without stored predictions. Runs are read from then.
        """
        first_ns = self.start_ns
        while (day_ns := first_ns // DAY_NS * DAY_NS) in self.days:
            first_ns = day_ns + DAY_NS
        return {
            "kept_days": [*self.days],
            "kept_at": [*self.days.values()],
            "unkept": first_ns,
            "rule": self.key,
        }


def read_kept_days(
    reader: Reader, project: str, rule: PredictionRule, start_ns: int, end_ns: int
) -> KeptDays:
    """Read the days of a window whose materialized predictions are up to date."""
    values = {"project": project, "rule": rule.key, "start": start_ns, "end": end_ns}
    rows = reader.rows(_KEPT_DAYS, values) if rule.model else []
    return KeptDays({row["day_ns"]: row["predicted_ns"] for row in rows}, start_ns, rule.key)


def write_rows(
    rule: PredictionRule, counted: CountedRuns, kinds: RecordKinds, kept: KeptDays | None = None
) -> Sql:
    """Write the SQL for the predictions of runs, each with its ground truth.

    The query needs the parameters `project`, `start` and `end`, and the `parameters` of `rule` and
    of `kept`. `start` and `end` limit the start time of the runs.

    Args:
        rule: The prediction target.
        counted: Condition on the runs to include, for example without a second record of the same
            call. A time limit in this condition is not used.
        kinds: Which kinds of records the project has.
        kept: The days whose predictions are already stored. If None, all predictions are computed
            from the outputs of the runs.

    Returns:
        SQL that selects the time, IDs, model version, prediction and ground truth of each run
            (`COLUMNS`).
    """
    has_kept = kept is not None and bool(kept.days)
    predictions = _write_predictions(
        rule,
        replace(counted, bounds=_REST if has_kept else _WINDOW),
        inherits=kinds.same_calls,
    )
    if has_kept:
        predictions = join_sql(" UNION ALL ", [_KEPT, predictions])
    amount, word, truth, unlike = _TRUTHS[rule.kind]
    rows = _JOINED.fill(
        predictions=predictions,
        amount=amount,
        meaning=_MEANING_OF.fill(word=Sql("run.predicted")),
        word=word,
        actual_meaning=_MEANING_OF.fill(word=Sql("actual_word")),
        truth=truth,
        unlike=unlike,
        # Without a prediction target, select only runs that have ground truth.
        join=Sql("LEFT") if rule.model else Sql("INNER"),
        truths=truths(Sql("{truth:String}"), kinds),
    )
    if rule.kind != "class":
        return rows
    group = EMPTY if rule.model else Sql("PARTITION BY model")
    return _OF_ONE_TYPE.fill(bits=_BITS, group=group, rows=rows)


def _write_predictions(rule: PredictionRule, counted: CountedRuns, *, inherits: bool = True) -> Sql:
    """Write the SQL that computes the predictions of runs from their payloads.

    Args:
        rule: The definition of the prediction target.
        counted: Which runs to include.
        inherits: Whether a run may get its payload from another record of the call.

    Returns:
        SQL that selects `_PREDICTION_COLUMNS`.
    """
    bounds = counted.bounds.sql
    of_model = Sql("model = {model:String}") if rule.model else Sql("model != ''")
    payloads = _PAYLOADS.fill(bounds=bounds, deliveries=DELIVERIES, of_model=of_model)
    if inherits:
        payloads = fill_payloads(payloads, {"outputs": INHERITED_PAYLOAD["outputs"]}, bounds)
    predicted, amount, items = _FORMS[rule.kind]
    return _PREDICTIONS.fill(
        predicted=predicted,
        amount=amount,
        items=items,
        copy=COPY,
        unit=UNIT,
        recorded=RECORDED,
        counted=counted.sql,
        of_model=of_model,
        raw=_at("path", rule.path) if rule.version else _NAMED,
        chance=Sql("NULL")
        if rule.chance is None
        else _NUMBER_OF.fill(raw=_at("chance", rule.chance)),
        payloads=payloads,
    )


def list_jobs(client: StoreClient, changes: StoreChanges) -> Sequence[BackgroundJob]:
    """List the job that stores the predictions of past days."""
    return [
        BackgroundJob(
            lambda: keep_due(client, changes.clock),
            30.0,
            "Predictions could not be materialized",
            has_work=changes.after_writes(),
        )
    ]


def keep_due(client: StoreClient, clock: Callable[[], float]) -> int:
    """Compute and store the predictions of past days whose runs changed, newest days first.

    Queries then need not read the payloads of these days. A day is left out until its runs have not
    changed for a minute. The function returns after about ten seconds, even if days are left. The
    next call computes them.

    Args:
        client: Client of this thread.
        clock: Returns a time in seconds, to measure the ten seconds.

    Returns:
        Number of computed days. A day of two prediction targets counts twice.
    """
    began_s = clock()
    documents = client.query(_DOCUMENTS, {"kind": TARGET}).result_rows
    rules = {
        (project, rule.key): rule
        for project, text in documents
        for rule in [read_rule("", 0, orjson.loads(text))]
    }
    wanted = {"projects": [key[0] for key in rules], "rules": [key[1] for key in rules]}
    due = client.query(_DUE, wanted).result_rows if rules else []
    done = 0
    for project, key, day_ns in due:
        keep_day(client, project, rules[project, key], day_ns)
        done += 1
        if clock() - began_s > _BUDGET_S:
            return done
    _drop_orphans(client, wanted)
    return done


def keep_day(client: StoreClient, project: str, rule: PredictionRule, day_ns: int) -> None:
    """Compute and store the predictions of a day's runs. Calling it again is harmless."""
    now_ns = client.query(_STORE_NOW).result_rows[0][0]
    values = {
        **rule.parameters,
        "project": project,
        "rule": rule.key,
        "day": day_ns,
        "start": day_ns,
        "end": day_ns + DAY_NS,
        "computed": now_ns,
        "before": now_ns - _REPLACED_NS,
    }
    rows = Sql("""
        INSERT INTO predictions (project, rule, day_ns, computed_ns, {columns})
        SELECT {project:String}, {rule:String}, {day:Int64}, {computed:Int64}, {columns}
        FROM ({predictions})""").fill(
        columns=_PREDICTION_COLUMNS, predictions=_write_predictions(rule, CountedRuns(_WINDOW))
    )
    client.command(rows, values)
    state = [[project, rule.key, day_ns, now_ns]]
    client.insert("predicted", state, column_names=["project", "rule", "day_ns", "predicted_ns"])
    if client.query(Sql("SELECT 1 ") + _REPLACED + Sql(" LIMIT 1"), values).result_rows:
        client.command(Sql("DELETE ") + _REPLACED, values, settings=dict(_LATER))


def _drop_orphans(client: StoreClient, wanted: Mapping[str, Any]) -> None:
    """Delete stored predictions of prediction targets that were deleted or changed."""
    before_ns = client.query(_STORE_NOW).result_rows[0][0] - _REPLACED_NS
    for project, rule, newest_ns in client.query(
        _ORPHANS, {**wanted, "before": before_ns}
    ).result_rows:
        values = {"project": project, "rule": rule, "newest": newest_ns}
        for orphaned in _ORPHANED:
            client.command(orphaned, values, settings=dict(_LATER))


# Without a prediction target: the part of the output that is named like the ground truth, if there
# is one, else the whole output.
_NAMED: Final = Sql("""if(JSONHas(outputs, {truth:String}) AND JSONType(outputs) = 'Object',
      JSONExtractRaw(outputs, {truth:String}), outputs)""")


def _at(name: Literal["path", "chance"], path: Sequence[str | int]) -> Sql:
    """Write the SQL for the JSON text at a path of the outputs. The steps are query parameters."""
    if not path:
        return Sql("outputs")
    steps = [
        parameter(f"{name}_{place}", "Int64" if isinstance(step, int) else "String")
        for place, step in enumerate(path)
    ]
    return Sql("JSONExtractRaw(outputs, {steps})").fill(steps=join_sql(", ", steps))


def read_meaning(word: str) -> str:
    """Return what a class means, as `_MEANING_OF` does in SQL."""
    if word in {"true", "True", "TRUE"}:
        return "1"
    if word in {"false", "False", "FALSE", "-0", "-0.0"}:
        return "0"
    return word.partition(".")[0] if _WHOLE_NUMBER.fullmatch(word) else word


def list_words(word: str) -> list[str]:
    """List the texts that mean the same class as a word; the word itself comes first."""
    meaning = read_meaning(word)
    others = {"1": ("true", "True", "TRUE"), "0": ("false", "False", "FALSE")}.get(meaning, ())
    number = (f"{meaning}.0",) if _WHOLE_NUMBER.fullmatch(f"{meaning}.0") else ()
    return [*dict.fromkeys((word, meaning, *number, *others))]


def _word(raw: Sql, n: int) -> Sql:
    return _CUT.fill(text=_WORD_OF.fill(raw=raw), n=n, longest=_LONGEST)


def _items(raw: Sql) -> Sql:
    return _ITEMS_OF.fill(text=_WORD_OF.fill(raw=Sql("item")), raw=raw)


_RAW: Final = Sql("payload.raw")
_RAW_TRUTH: Final = Sql("truths.newest")
_NO_NUMBER: Final = Sql("CAST(NULL AS Nullable(Float64))")
_NO_ITEMS: Final = Sql("CAST([] AS Array(String))")
_IS_NUMBER: Final = Sql("if(isNull({number}), '', '1')")
# By kind, from the payload: the prediction as text, its number, and the items of a ranking. The
# number of a class is its probability.
_FORMS: Final[Mapping[PredictionKind, tuple[Sql, Sql, Sql]]] = {
    "class": (
        _word(_RAW, 1),
        Sql("if(payload.chance BETWEEN 0 AND 1, toNullable(payload.chance), NULL)"),
        _NO_ITEMS,
    ),
    "number": (
        _IS_NUMBER.fill(number=_NUMBER_OF.fill(raw=_RAW)),
        _NUMBER_OF.fill(raw=_RAW),
        _NO_ITEMS,
    ),
    "ranking": (
        Sql("if(JSONType({raw}) = 'Array', '1', '')").fill(raw=_RAW),
        _NO_NUMBER,
        Sql("arraySlice({items}, 1, {k:UInt32})").fill(items=_items(_RAW)),
    ),
}
_IS_GIVEN: Final = Sql("{raw} NOT IN ('', 'null')").fill(raw=_RAW_TRUTH)
# By kind, after joining ground truth: the number of the prediction, the ground truth as text and as
# number, and whether they cannot be compared. The number of a ranking is the share of its first k
# items that are relevant.
_TRUTHS: Final[Mapping[PredictionKind, tuple[Sql, Sql, Sql, Sql]]] = {
    "class": (
        Sql("run.amount"),
        _word(_RAW_TRUTH, 2),
        _NO_NUMBER,
        _IS_UNLIKE,
    ),
    "number": (
        Sql("run.amount"),
        _IS_NUMBER.fill(number=_NUMBER_OF.fill(raw=_RAW_TRUTH)),
        _NUMBER_OF.fill(raw=_RAW_TRUTH),
        Sql("{given} AND isNull({number})").fill(
            given=_IS_GIVEN, number=_NUMBER_OF.fill(raw=_RAW_TRUTH)
        ),
    ),
    "ranking": (
        Sql("""toNullable(length(arrayIntersect(
            arrayMap(item -> {meaning}, run.items), arrayMap(item -> {meaning}, {relevant})
          )) / {k:UInt32})""").fill(
            meaning=_MEANING_OF.fill(word=Sql("item")), relevant=_items(_RAW_TRUTH)
        ),
        Sql("if({given}, '1', '')").fill(given=_IS_GIVEN),
        _NO_NUMBER,
        Sql("0"),
    ),
}
