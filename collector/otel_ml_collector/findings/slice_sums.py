"""Reads the runs once, and sums each figure of each slice.

The store returns the counted runs (a sample in very large projects), each with its slices and
figures. They are grouped here, in Arrow columns, because reading tags is most of the store's work.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, overload

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import Query

from otel_ml.statistics.comparison import FigureKind
from otel_ml.statistics.slices import FAULT_MARGIN, ClusterMoments
from otel_ml_collector.api.parameters import End, Start, Where
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_tests
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.measures.measures import (
    COST,
    ERRORS,
    LATENCY,
    MISSING_INPUTS,
    TOKENS,
    rounded,
    with_amounts,
)
from otel_ml_collector.measures.units import find_request_ms
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import UNIT, Bounds, recorded_runs
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import RecordKinds, find_record_kinds
from otel_ml_collector.store.scores import (
    IN_WINDOW,
    NEAR_REQUESTS,
    all_scores,
    in_traces,
    version_scores,
)
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, join_sql, parameter
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import all_version_numbers, version_numbers
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

MOST_DIMENSIONS: Final = 50
MOST_VALUES: Final = 200
# A tag with more values than this identifies single runs, like an ID.
MOST_DISTINCT: Final = 1_000
LEAST_RUNS: Final = 30
# Slices with fewer runs are not shown, not even as "too few".
_LEAST_SHOWN: Final = 10
_MOST_MODELS: Final = 10
_MOST_JUDGES: Final = 8
# If the slices have more runs than this in total, only a sample of the traces is counted.
_MOST_MEMBERSHIPS: Final = 250_000
MOST_ROWS: Final = 50_000
# Maximum number of runs per query, even if a few traces have nearly all runs.
MOST_READ: Final = 1_000_000
# Prefix that marks slices of a column in the store. No tag begins with it.
FIELD_MARK: Final = "\x01"
_VERSION_MARK: Final = f"{FIELD_MARK}version="
# Number of runs that show whether a tag has the same values as the version.
_LOOKED_AT: Final = 5_000
# One of every `every` traces is counted.
_SAMPLE: Final = Sql("cityHash64(trace_id) % {every:UInt32} = 0")
_LABELED: Final = ("environment", "release", "provider_model", "outcome")

_IN_TIME: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
# A failed call often reports the requested LLM, such as `gpt-4o`. A successful call reports the one
# that answered, such as `gpt-4o-2024-08-06`. So labels with `_UNANSWERED` count failed calls, after
# `_OWN_NAME` those whose model has the name of the LLM.
_UNANSWERED: Final = f"{FIELD_MARK}unanswered="
_OWN_NAME, _OTHER_NAME = "1", "0"
_FIELD_TOKENS: Final = Sql("""
  concat('\\x01version=', digest, ':', structure), concat('\\x01environment=', environment),
  concat('\\x01release=', release), concat('\\x01provider_model=', provider_model),
  concat('\\x01unanswered=',
    if(outcome = 'error', concat(toString(provider_model = model), provider_model), '')),
  concat('\\x01outcome=', outcome)""")
# The key that joins a run with its records from other tables.
RUN_NUMBER: Final = Sql("cityHash64(trace_id, span_id)")


@dataclass(frozen=True, slots=True)
class FigureColumn:
    """A figure by which slices are compared, such as latency, and the SQL that reads it.

    Attributes:
        name: The name in the response: for example `errors`, or the name of a judge.
        value: SQL expression for the value of one run: for errors, 1 if the run failed. For
            amounts such as latency, the logarithm of the amount. NULL if the run has no value.
        margin: The smallest difference between slices that matters. If None, the default for this
            kind of figure.
        judge, digest: Name of the judge, and digest of the judge's version. Empty if the figure is
            not from a judge.
        place: A number that makes names in the SQL unique, for a judge's figure. The names of the
            figure's columns and parameters end with this number, such as `judge_2`.
        target: Name of the prediction target, if the figure compares predictions with ground truth.
            Otherwise empty. The ground truth is read by a separate query.
    """

    name: str
    kind: FigureKind
    lower_is_better: bool
    value: Sql
    margin: float | None = None
    judge: str = ""
    digest: str = ""
    place: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class SlicesQuery:
    """A request to compare slices, each with all other runs.

    A slice is a group of runs, such as those with `client = Remax`. The API, the web page and the
    command line take the attributes as parameters.

    Attributes:
        where: A filter. Runs that do not match it are ignored.
        figure: If given, slices are compared only by this figure: for example `errors`, `latency`,
            the name of a judge, `truth churned` for the prediction target `churned`, or
            `drift inputs.age` for the field `inputs.age`.
        start_ns, end_ns: Only runs that began in this period are counted, in nanoseconds since
            1970. By default, the period ends now, and begins 24 hours before its end.
        pairs: Whether to include combinations of two slices that do worse than either alone.
    """

    project: str
    where: Where = ""
    figure: Annotated[
        str,
        Query(
            max_length=400,
            description="What to compare: such as `errors`, `latency`, the name of a judge, "
            "`truth churned` for a prediction target, or `drift inputs.language` for a field",
        ),
    ] = ""
    start_ns: Start = None
    end_ns: End = None
    pairs: Annotated[
        bool,
        Query(description="Include combinations of two slices that do worse than either alone"),
    ] = False

    def window(self, now_ns: int) -> Window:
        """Return the time range of the query.

        Raises:
            BadInput: It ends before it begins.
        """
        end_ns = now_ns + 1 if self.end_ns is None else self.end_ns
        start_ns = max(end_ns - DAY_NS, 0) if self.start_ns is None else self.start_ns
        if end_ns <= start_ns:
            raise BadInput("The end is not after the start: choose a later end", "end")
        return Window(start_ns, end_ns)


@dataclass(frozen=True, slots=True)
class AskedRuns:
    """The runs that are counted when slices are compared.

    A slice is a group of runs, such as those with `client = Remax`. Only runs of the 10 models with
    the most runs are counted. If there are too many of these runs, a sample is counted.

    Attributes:
        condition: The filter of the runs, as an SQL condition.
        window: The period. Only runs that began in it are counted.
        kinds: Kinds of records that the project has besides its runs, such as tags that arrived
            after their run. The SQL does not look for records of other kinds.
        every: Sampling interval: 1 counts all traces, 10 counts about every tenth trace.
        runs: Number of matching runs of the models in `models`, before sampling.
        models: Names of the up to 10 models with the most runs.
        values: The parameters of the SQL, by name.
        is_sample: Whether the filter chooses a sample of the runs, apart from `every`. Then scores
            of other runs are not read.
    """

    condition: Condition
    window: Window
    kinds: RecordKinds
    every: int
    runs: int
    models: Sequence[str]
    values: Mapping[str, Any]
    is_sample: bool = False

    @classmethod
    def of(cls, reader: Reader, query: SlicesQuery, window: Window) -> "AskedRuns":
        """Count the runs of each model, and choose the models and the sampling rate."""
        return cls.of_tests(reader, query, window, ())[0]

    @classmethod
    def of_tests(
        cls, reader: Reader, query: SlicesQuery, window: Window, tests: Sequence[str]
    ) -> "tuple[AskedRuns, list[Sql]]":
        """Choose the runs like `of`, and compile further filters that are tested on each run.

        Raises:
            BadInput: A filter is invalid.
        """
        kinds = find_record_kinds(reader, query.project)
        condition, written = compile_tests(reader, query.project, query.where, tests, kinds)
        values = {
            "project": query.project,
            "start": window.start_ns,
            "end": window.end_ns,
            **condition.parameters,
        }
        sql = Sql("""
            SELECT model, count() AS runs, sum(tag_kv.size0) AS tags
            FROM {recorded} WHERE {bounds} AND ({condition}) AND model != ''
            GROUP BY model ORDER BY runs DESC, model LIMIT {most}
            """).fill(
            recorded=recorded_runs(),
            bounds=_IN_TIME.sql,
            condition=condition.sql,
            most=_MOST_MODELS,
        )
        rows = reader.rows(sql, values)
        members = sum(row["tags"] + (len(_LABELED) + 1) * row["runs"] for row in rows)
        every = max(-(-members // _MOST_MEMBERSHIPS), 1)
        models = [row["model"] for row in rows]
        asked = cls(
            condition=condition,
            window=window,
            kinds=kinds,
            every=every,
            runs=sum(row["runs"] for row in rows),
            models=models,
            values={**values, "models": models, "every": every},
        )
        return asked, written

    @property
    def sql(self) -> Sql:
        """The condition on runs."""
        return Sql("{bounds} AND ({condition}) AND model IN {models:Array(String)} {sampled}").fill(
            bounds=_IN_TIME.sql,
            condition=self.condition.sql,
            sampled=Sql("AND {sample}").fill(sample=_SAMPLE) if self.every > 1 else EMPTY,
        )

    @property
    def sample(self) -> Sql:
        """The condition on traces."""
        return _SAMPLE if self.every > 1 else Sql("1")

    @property
    def score_sql(self) -> Sql:
        """The condition on scores: only scores of counted runs."""
        if self.is_sample:
            # Scores are most of the work: of a million runs, this halves the CPU time of the query.
            return in_traces(
                Sql("SELECT trace_id FROM {runs} WHERE {asked}").fill(
                    runs=recorded_runs(), asked=self.sql
                )
            )
        if self.every == 1:
            return IN_WINDOW
        return Sql("{in_window} AND {sample}").fill(in_window=IN_WINDOW, sample=_SAMPLE)

    @property
    def tokens(self) -> Sql:
        """The slices of a run: its labels and its newest tags, including late-arriving ones."""
        tags = Sql("tag_kv")
        if self.kinds.tags:
            tags = Sql("""arrayConcat(
              arrayFilter(kv -> NOT arrayExists(tag -> startsWith(kv, concat(tag, '=')),
                mapKeys(late_tags)), tag_kv),
              arrayMap((tag, value) -> concat(tag, '=', {text}),
                mapKeys(late_tags), mapValues(late_tags)))""").fill(
                text=TAG_TEXT.fill(value=Sql("value"))
            )
        return Sql("arrayConcat({tags}, [{fields}])").fill(tags=tags, fields=_FIELD_TOKENS)

    @property
    def source(self) -> Sql:
        """The runs."""
        return self.with_joins(EMPTY)

    def with_joins(self, joins: Sql) -> Sql:
        """Write the source of the runs with further joins."""
        return Sql("{recorded} {joins} {chosen}").fill(
            recorded=recorded_runs(),
            joins=joins,
            # The sample is taken before tags are read, because tags are most of the data.
            chosen=Sql("PREWHERE {sample}").fill(sample=_SAMPLE) if self.every > 1 else EMPTY,
        )


def choose_figures(
    reader: Reader,
    query: SlicesQuery,
    asked: AskedRuns,
    truths: Sequence[FigureColumn] = (),
) -> list[FigureColumn]:
    """List the figures by which slices are compared, such as errors, latency and judges.

    A judge has separate figures for each of its versions. The 8 judge versions with the most scores
    are listed.

    Args:
        reader: The store, with the rights of the caller.
        query: The request. If it names a figure or a judge, only its figures are returned.
        asked: The runs that are counted.
        truths: Figures that compare predictions with ground truth, to add at the end of the list.

    Raises:
        BadInput: The requested figure does not exist.
    """
    columns = [
        FigureColumn(
            measure.name,
            measure.kind,
            measure.lower_is_better,
            measure.compared,
            margin=FAULT_MARGIN if measure.kind == "rate" else None,
        )
        for measure in (ERRORS, MISSING_INPUTS, LATENCY, COST)
    ]
    columns += _judge_figures(reader, query.project, asked)
    columns += truths
    if query.figure:
        wanted = [column for column in columns if query.figure in {column.name, column.judge}]
        if not wanted:
            known = ", ".join(dict.fromkeys(column.name for column in columns))
            text = f"Invalid figure {query.figure[:80]!r}: expected one of {known}"
            raise BadInput(text, "figure")
        return wanted
    return columns


# Number of runs that is enough for medians.
_RUNS_OF_REQUESTS: Final = 20_000


def find_requests_ms(reader: Reader, asked: AskedRuns) -> dict[str, float]:
    """Return for each model the median duration of the requests that call it, in ms."""
    if not asked.models:
        return {}
    every = asked.every * max(-(-asked.runs // asked.every // _RUNS_OF_REQUESTS), 1)
    return find_request_ms(reader, asked.sql, asked.values, every, Sql("toString(model)"))


def _judge_figures(reader: Reader, project: str, asked: AskedRuns) -> list[FigureColumn]:
    """List the figures of the judges with the most scores, each version separately.

    The newest version of a judge has its name, and any other one a name with its number. Scores
    without a version, such as labels of reviewers, are not listed if a judge's version has figures.
    """
    sql = Sql("""
        SELECT judge, judge_version, count() AS n, count(passed) AS judged,
          countIf(isNotNull(score) AND (isNull(passed) OR score != toFloat64(passed))) AS scored
        FROM ({newest}) WHERE NOT failed GROUP BY judge, judge_version
        ORDER BY n DESC, judge, judge_version LIMIT {most}
        """).fill(
        newest=_read_newest(reader, asked),
        most=_MOST_JUDGES,
    )
    rows = reader.rows(sql, asked.values)
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        versions[row["judge"]].append(row["judge_version"])
    numbers = version_numbers(reader, project, "judge", versions.keys())
    columns: list[FigureColumn] = []
    for row in rows:
        judge, digest = row["judge"], row["judge_version"]
        _, newest = max((numbers.get((judge, item, ""), 0), item) for item in versions[judge])
        if newest and not digest:
            continue
        suffix = "" if digest == newest else f" v{numbers.get((judge, digest, ''), digest[:12])}"
        if row["judged"]:
            columns.append(
                make_judge_column(f"{judge}{suffix}", "rate", judge, digest, len(columns))
            )
        if row["scored"]:
            name = f"{judge} score{suffix}" if row["judged"] else f"{judge}{suffix}"
            columns.append(make_judge_column(name, "score", judge, digest, len(columns)))
    return columns


def _read_newest(reader: Reader, asked: AskedRuns) -> Sql:
    """Write the SQL for the newest scores, with those of requests for the functions inside."""
    scores = all_scores(asked.score_sql, has_keyed=asked.kinds.keyed_scores)
    return version_scores(reader, scores, NEAR_REQUESTS, asked.values)


def make_judge_column(
    name: str, kind: FigureKind, judge: str, digest: str, place: int
) -> FigureColumn:
    """Make a figure of a judge, which is read through the join of `_join_scores`."""
    value = Sql("score_{place}").fill(place=place)
    if kind == "score":
        value = rounded(value)
    return FigureColumn(
        name,
        kind,
        lower_is_better=False,
        value=Sql("if(gave_{place}, {value}, NULL)").fill(place=place, value=value),
        judge=judge,
        digest=digest,
        place=place,
    )


@dataclass(frozen=True, slots=True)
class SliceCondition:
    """The condition that defines a slice: a value of one dimension, or values of two."""

    parts: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """The name for readers: ``client = Remax``."""
        return " and ".join(
            f"{name.removeprefix(FIELD_MARK)} = {value}" for name, value in self.parts
        )

    @property
    def dimension(self) -> str:
        """The names of its dimensions."""
        return " and ".join(name.removeprefix(FIELD_MARK) for name, _ in self.parts)

    @property
    def where(self) -> str:
        """The filter of its runs."""
        conditions = []
        for name, value in self.parts:
            field = name.removeprefix(FIELD_MARK)
            left = f"tags[{quoted(name)}]" if field == name else field
            conditions.append(f"{left} == {value if left == 'version' else quoted(value)}")
        return " and ".join(conditions)


@dataclass(frozen=True, slots=True)
class SliceDimensions:
    """The slices that are compared, such as all runs with `client = Remax`.

    Each slice has a number, starting with 1. The store returns each run with labels, such as
    `client=Remax`, which show to which slices it belongs.

    Attributes:
        ids: Maps each label to the number of a slice. Several labels can belong to the same slice,
            because the store can have more than one label for a model version.
        slices: The slices, by their number and the name of their model. The name is empty for most
            slices, because they are the same for all models. Slices of model versions have a name,
            because one label can be version 2 of one model and version 3 of another.
        left_out: Names of tags and fields that are not used for slices, because they have too many
            values, identify people or sessions, or are beyond the limit of 50 names.
        same_as_version: Tags and fields of which each value belongs to one version of a model, with
            the model. They are no slices of that model: a version is compared as a release.
    """

    ids: Mapping[str, int]
    slices: Mapping[tuple[int, str], SliceCondition]
    left_out: Sequence[str] = ()
    same_as_version: Collection[tuple[str, str]] = ()

    @property
    def version_tags(self) -> list[str]:
        """Names of the tags and fields that repeat the version of a model."""
        return sorted({name.removeprefix(FIELD_MARK) for name, _ in self.same_as_version})

    def of(self, number: int, model: str) -> SliceCondition | None:
        """Return the slice with a number. A pair is the combination of its two slices."""
        first, second = divmod(number, PAIR)
        if first:
            parts = [self.of(part, model) for part in (first, second)]
            if not all(parts):
                return None
            return SliceCondition(tuple(part for item in parts if item for part in item.parts))
        item = self.slices.get((number, ""), self.slices.get((number, model)))
        if item is not None and (item.parts[0][0], model) in self.same_as_version:
            return None
        return item


# The number of a pair is the number of its first part times this, plus the number of its second.
PAIR: Final = 2**32


def find_dimensions(
    reader: Reader, query: SlicesQuery, asked: AskedRuns, runs: pa.Table
) -> SliceDimensions:
    """Choose the slices to compare: the most frequent values of each tag and field.

    At most 50 tags and fields are used, with up to 200 values each.
    """
    left_out = [name for name in ("session", "user") if getattr(asked.kinds, f"{name}s")]
    ids: dict[str, int] = {}
    slices: dict[tuple[int, str], SliceCondition] = {}
    numbers = _number_versions(reader, query.project)
    known: dict[object, int] = {}
    dimensions = 0
    counts = pc.value_counts(pc.list_flatten(runs["labels"]))
    unanswered: dict[str, int] = {}
    names: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for label, count in zip(
        counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True
    ):
        name, _, value = label.partition("=")
        if label.startswith(_UNANSWERED):
            unanswered[value] = count
        # A version of ":" means none.
        elif value and label != f"{_VERSION_MARK}:" and not label.startswith(RESPONSE):
            names[name].append((label, count))
    llm = f"{FIELD_MARK}provider_model"
    if llm in names:
        names[llm] = _drop_unanswered(names[llm], unanswered)
    # Names with the most runs come first, and within a name the labels with the most runs.
    largest = sorted(names.items(), key=lambda item: (-sum(n for _, n in item[1]), item[0]))
    for name, labels in largest[: 4 * MOST_DIMENSIONS]:
        if len(labels) > MOST_DISTINCT or dimensions >= MOST_DIMENSIONS:
            left_out.append(name.removeprefix(FIELD_MARK))
            continue
        dimensions += 1
        labels.sort(key=lambda item: (-item[1], item[0]))
        for label, count in labels[:MOST_VALUES]:
            value = label[len(name) + 1 :]
            versions: Sequence[tuple[str, str]] = [("", value)]
            if name == f"{FIELD_MARK}version":
                versions = numbers.get(value, ())
            if count < _LEAST_SHOWN or not versions:
                continue
            number = known.setdefault((name, *versions), len(known) + 1)
            ids[label] = number
            for model, text in versions:
                slices[number, model] = SliceCondition(((name, text),))
    return SliceDimensions(ids, slices, left_out, _find_copies(runs))


def _find_copies(runs: pa.Table) -> set[tuple[str, str]]:
    """Find the tags and fields of which each value belongs to one version, with their models.

    At most about 5,000 runs are looked at, which are spread over all. Rare values and versions do
    not count.
    """
    step = max(runs.num_rows // _LOOKED_AT, 1)
    seen = runs.select(["of_model", "labels"]).take(
        pa.array(range(0, runs.num_rows, step), type=pa.int64())
    )
    versions: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for model, labels in zip(seen["of_model"].to_pylist(), seen["labels"].to_pylist(), strict=True):
        # Failed calls have no output structure, so it is left out.
        definitions = [
            label.partition(":")[0] if label.startswith(_VERSION_MARK) else label
            for label in labels
        ]
        version = next((label for label in definitions if label.startswith(_VERSION_MARK)), "")
        for label in definitions:
            versions[model, label][version] += 1
    of_model: defaultdict[str, set[str]] = defaultdict(set)
    single: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for (model, label), counts in versions.items():
        if counts.total() < _LEAST_SHOWN:
            continue
        name = label.partition("=")[0]
        if name == _VERSION_MARK[:-1]:
            of_model[model].add(label)
        else:
            single[name, model].append(len(counts) == 1)
    return {
        (name, model)
        for (name, model), own in single.items()
        if len(of_model[model]) > 1 and len(own) > 1 and all(own)
    }


def _drop_unanswered(
    labels: Sequence[tuple[str, int]], unanswered: Mapping[str, int]
) -> list[tuple[str, int]]:
    """Leave out LLMs that occur only in failed calls, if their names are only requested names.

    `unanswered` has the numbers of failed calls, by the LLM after `_OWN_NAME` or `_OTHER_NAME`.
    """
    counts = {label.partition("=")[2]: (label, count) for label, count in labels}
    own = {name: unanswered.get(f"{_OWN_NAME}{name}", 0) for name in counts}
    answered = [
        name
        for name, (_, count) in counts.items()
        if own[name] + unanswered.get(f"{_OTHER_NAME}{name}", 0) < count
    ]
    return [
        label
        for name, label in counts.items()
        if name in answered or (own[name] < label[1] and not is_requested_name(name, answered))
    ]


def is_requested_name(llm: str, answered: Iterable[str]) -> bool:
    """Return whether a name such as `gpt-4o` is the short form of a dated LLM name.

    A program requests `gpt-4o`, and the provider answers with `gpt-4o-2024-08-06`. Successful calls
    are recorded under the dated name. Failed calls are recorded under the requested name, so the
    same LLM appears under two names.

    Args:
        llm: Name of an LLM that is recorded only for failed calls.
        answered: Names of the LLMs that are recorded for successful calls.
    """
    requested = llm.rpartition("/")[2].removesuffix("-latest")
    is_dated = re.compile(rf"{re.escape(requested)}[-@:]\d[\d.-]*")
    return any(is_dated.fullmatch(name.rpartition("/")[2]) for name in answered)


def _number_versions(reader: Reader, project: str) -> dict[str, list[tuple[str, str]]]:
    """Return the model and the number of each version, by its label in the store."""
    numbers: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for (model, digest, structure), number in sorted(
        all_version_numbers(reader, project, "model").items()
    ):
        numbers[f"{digest}:{structure}"].append((model, str(number)))
    return numbers


# The counted runs, with their slices by label and their figures. A session with two models is two
# units.
_COUNTED: Final = Sql("""
  {amounts} SELECT toString(model) AS of_model, cityHash64(model, {unit}) AS unit, {run} AS run,
    arrayDistinct({tokens}) AS labels, {figures} {columns}
  FROM {source} WHERE {asked} LIMIT {most}""")
_FIGURE: Final = Sql("""isNotNull({value}) AS h{place},
  ifNull(toFloat64({value}), 0) AS v{place}""")


def read_counted(
    reader: Reader,
    asked: AskedRuns,
    figures: Sequence[FigureColumn],
    truths: Mapping[str, pa.Table],
    columns: Sql = EMPTY,
) -> pa.Table:
    """Read one row per run: the slices of the run, and the values that are compared.

    A slice is a group of runs, such as those with `client = Remax`. A figure is a value of each
    run by which slices are compared, such as the latency.

    Args:
        reader: The store, with the rights of the caller.
        asked: Which runs to read.
        figures: The figures to read.
        truths: How good the predictions of the runs were, from `read_truths`. The key is the name
            of a figure. Each table has the columns `run` (a hash of the run's trace ID and span ID)
            and `value`.
        columns: Further columns to read, each after a comma.

    Returns:
        A table with these columns:

            * `of_model`: Name of the model.
            * `unit`: A hash that all runs of a model in the same session share. Without a session,
              all runs of the model in the same trace share it. Runs with the same hash are not
              statistically independent.
            * `run`: The hash of the run's trace ID and span ID; 0 if `truths` is empty.
            * `labels`: The slices of the run, such as `client=Remax`.
            * `h0`, `h1`, …: Whether the run has a value for the first figure, the second figure,
              and so on.
            * `v0`, `v1`, …: The value; 0 if the run has none.
    """
    amounts = RunAmounts(asked.kinds.resolved)
    has_cost = any(figure.value in (COST.compared, TOKENS.compared) for figure in figures)
    joins = _join_scores(reader, asked, figures)
    if has_cost:
        joins += amounts.sum_inside(asked.sql)
    # The values of this figure are filled in after the query.
    sql = _COUNTED.fill(
        amounts=with_amounts(amounts, inside=has_cost),
        unit=UNIT,
        tokens=asked.tokens,
        run=RUN_NUMBER if truths else Sql("0"),
        figures=join_sql(
            ", ",
            [
                _FIGURE.fill(value=figure.value, place=place)
                if not figure.target
                else Sql("false AS h{place}, toFloat64(0) AS v{place}").fill(place=place)
                for place, figure in enumerate(figures)
            ],
        ),
        columns=columns,
        source=asked.with_joins(joins),
        asked=asked.sql,
        most=MOST_READ,
    )
    values = dict(asked.values)
    for figure in figures:
        if figure.judge:
            values |= {
                f"judge_{figure.place}": figure.judge,
                f"digest_{figure.place}": figure.digest,
            }
    runs = reader.arrow(sql, values)
    for place, figure in enumerate(figures):
        if figure.target:  # runs without ground truth have no such figure
            of_target = truths[figure.name]
            known = of_target["run"].combine_chunks()
            places = pc.index_in(runs["run"].combine_chunks(), value_set=known)
            value = pc.fill_null(of_target["value"].combine_chunks().take(places), 0.0)
            for name, column in ((f"h{place}", pc.is_valid(places)), (f"v{place}", value)):
                runs = runs.set_column(runs.column_names.index(name), name, column)
    return runs


def count_slices(
    runs: pa.Table,
    figures: Sequence[FigureColumn],
    dimensions: SliceDimensions,
    pairs: Sequence[int] | None = None,
) -> list[Row]:
    """Compute the sums by which slices are compared, such as the number of failed runs.

    A slice is a group of runs, such as those with `client = Remax`.

    Args:
        runs: The result of `read_counted`.
        figures: The figures by which slices are compared, such as errors and latency.
        dimensions: The slices.
        pairs: IDs of pairs of slices. If given, the sums are computed for the runs that are in both
            slices of a pair, instead of for single slices.

    Returns:
        A row for each model and slice, with these keys:

            * `model`: Name of the model.
            * `id`: ID of the slice or pair; 0 for all runs of the model.
            * `runs`: Number of runs.
            * `m0`, `m1`, …: The sums for the first figure, the second figure, and so on. Each is a
              tuple in the order of the fields of `ClusterMoments`.
    """
    ids, places = list_members(runs, dimensions)
    if pairs is not None:
        ids, places = _pair_members(ids, places, pairs)
    return sum_members(runs, ids, places, len(figures))


@overload
def round_sum(value: float) -> float: ...


@overload
def round_sum(value: float | None) -> float | None: ...


def round_sum(value: float | None) -> float | None:
    """Round to nine digits. Further digits depend on the order in which numbers were added."""
    return None if value is None else float(f"{value:.9g}")


def sum_members(runs: pa.Table, ids: pa.Array, places: pa.Array, figures: int) -> list[Row]:
    """Compute the sums of `count_slices` for given members of slices.

    Args:
        runs: A table with the columns of `read_counted`, except `run` and `labels`.
        ids: Numbers of slices.
        places: For each of them, the index of a run that is in the slice.
        figures: Number of figures in `runs`.
    """
    # All runs of a model are a slice too.
    ids = pa.concat_arrays([pa.repeat(pa.scalar(0, pa.int64()), runs.num_rows), ids])
    places = pa.concat_arrays([pa.array(range(runs.num_rows), pa.int64()), places])
    sums = _sum_units(runs, ids, places, range(figures))
    models = runs["of_model"].combine_chunks().dictionary_encode().dictionary.to_pylist()
    counted = sums.group_by(["model", "id"]).aggregate(
        [(name, "sum") for name in sums.column_names if name not in {"model", "id"}]
    )
    names = [[f"{name}{place}_sum" for name in ClusterMoments._fields] for place in range(figures)]
    moments = [
        zip(*(counted[name].to_pylist() for name in of_figure), strict=True) for of_figure in names
    ]
    heads = (counted[name].to_pylist() for name in ("model", "id", "members_sum"))
    rows = [
        {"model": models[model], "id": number, "runs": members}
        | {f"m{place}": sums for place, sums in enumerate(of_figures)}
        for model, number, members, *of_figures in zip(*heads, *moments, strict=True)
    ]
    return sorted(rows, key=lambda row: (row["model"], row["id"]))


def list_members(runs: pa.Table, dimensions: SliceDimensions) -> tuple[pa.Array, pa.Array]:
    """List which runs are in which slices, as two arrays: slice numbers and indexes of runs."""
    labels = runs["labels"].combine_chunks()
    each = pc.list_flatten(labels).dictionary_encode()
    numbers = [dimensions.ids.get(label, 0) for label in each.dictionary.to_pylist()]
    ids = pa.array(numbers, pa.int64()).take(each.indices)
    is_slice = pc.greater(ids, 0)
    places = pc.list_parent_indices(labels).cast(pa.int64())
    return ids.filter(is_slice), places.filter(is_slice)


def _pair_members(
    ids: pa.Array, places: pa.Array, pairs: Sequence[int]
) -> tuple[pa.Array, pa.Array]:
    """List which runs are in both slices of a pair."""
    parts = {part for pair in pairs for part in divmod(pair, PAIR)}
    members: defaultdict[int, set[int]] = defaultdict(set)
    for number, place in zip(ids.to_pylist(), places.to_pylist(), strict=True):
        if number in parts:
            members[number].add(place)
    both = [
        (pair, place)
        for pair in pairs
        for place in sorted(members[pair // PAIR] & members[pair % PAIR])
    ]
    return (
        pa.array([pair for pair, _ in both], pa.int64()),
        pa.array([place for _, place in both], pa.int64()),
    )


def _sum_units(runs: pa.Table, ids: pa.Array, places: pa.Array, figures: Sequence[int]) -> pa.Table:
    """Sum the figures of each session, in each of its slices and over all its runs.

    Returns:
        A row for each session and slice: `model`, `id` (number of the slice), `members` (number of
            runs), and the contribution to each moment.
    """
    units = runs["unit"].combine_chunks().dictionary_encode().indices
    models = runs["of_model"].combine_chunks().dictionary_encode().indices
    columns: dict[str, pa.Array] = {"unit": units, "model": models}
    for at in figures:
        value = runs[f"v{at}"].combine_chunks()
        columns |= {
            f"n{at}": runs[f"h{at}"].combine_chunks().cast(pa.float64()),
            f"t{at}": value,
            f"q{at}": pc.multiply(value, value),
        }
    every = pa.table(columns)
    whole = every.group_by("unit").aggregate(
        [("model", "min"), *((f"{name}{at}", "sum") for at in figures for name in "nt")]
    )
    whole = whole.sort_by("unit")  # so that the number of a unit is its index
    members = every.select([name for name in columns if name != "model"]).take(places)
    summed = (
        members.append_column("id", ids)
        .group_by(["id", "unit"])
        .aggregate(
            [([], "count_all"), *((f"{name}{at}", "sum") for at in figures for name in "ntq")]
        )
    )
    of_unit = whole.take(summed["unit"])
    sums = {
        "model": of_unit["model_min"],
        "id": summed["id"],
        "members": summed["count_all"],
    }
    for at in figures:
        n, t, squares = (summed[f"{name}{at}_sum"] for name in "ntq")
        n_of_unit, t_of_unit = of_unit[f"n{at}_sum"], of_unit[f"t{at}_sum"]
        has_any = pc.greater(n, 0)
        # The contribution of each session to the moments, one column for each moment.
        moments = ClusterMoments(
            clusters=has_any.cast(pa.float64()),
            whole=pc.and_(has_any, pc.equal(n, n_of_unit)).cast(pa.float64()),
            n=n,
            t=t,
            nn=pc.multiply(n, n),
            tn=pc.multiply(t, n),
            tt=pc.multiply(t, t),
            n_of_all=pc.multiply(n, n_of_unit),
            t_of_all=pc.multiply(t, n_of_unit),
            n_to_all=pc.multiply(n, t_of_unit),
            t_to_all=pc.multiply(t, t_of_unit),
            squares=squares,
            with_event=pc.greater(t, 0).cast(pa.float64()),
            without_event=pc.less(t, n).cast(pa.float64()),
            all_events=pc.and_(pc.greater(t, 0), pc.equal(t, t_of_unit)).cast(pa.float64()),
            all_others=pc.and_(
                pc.less(t, n), pc.equal(pc.subtract(n, t), pc.subtract(n_of_unit, t_of_unit))
            ).cast(pa.float64()),
        )
        sums |= {f"{name}{at}": column for name, column in moments._asdict().items()}
    return pa.table(sums)


_SCORE_COLUMNS_OF: Final = Sql("""anyIf(toFloat64({column}), {is_its}) AS score_{place},
  countIf({is_its} AND isFinite(ifNull(toFloat64({column}), nan))) > 0 AS gave_{place}""")


def _join_scores(reader: Reader, asked: AskedRuns, figures: Sequence[FigureColumn]) -> Sql:
    """Write the join of the newest scores of the runs; empty if no figure is from a judge."""
    of_judges = [figure for figure in figures if figure.judge]
    if not of_judges:
        return EMPTY
    columns = [
        _SCORE_COLUMNS_OF.fill(
            column=Sql("passed") if item.kind == "rate" else Sql("score"),
            is_its=Sql("judge = {judge} AND judge_version = {digest}").fill(
                judge=parameter(f"judge_{item.place}", "String"),
                digest=parameter(f"digest_{item.place}", "String"),
            ),
            place=item.place,
        )
        for item in of_judges
    ]
    return Sql("""
        LEFT JOIN (
          SELECT trace_id AS scored_trace, span_id AS scored_span, {columns}
          FROM ({newest}) WHERE NOT failed GROUP BY trace_id, span_id
        ) AS scored ON scored_trace = trace_id AND scored_span = span_id""").fill(
        columns=join_sql(", ", columns),
        newest=_read_newest(reader, asked),
    )
