"""Sums of slices: of which runs, by which figures, in which slices, in one question to the store.

The store answers with a row for each slice, so the answer is bounded however many runs there are.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Query

from otel_ml.statistics.slices import FAULT_MARGIN, FigureKind
from otel_ml_collector.api.parameters import End, Start, Where
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.store.apart import Apart, all_late_tags, find_apart
from otel_ml_collector.store.counted import RECORDED, Bounds, counted, named, shares
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Window, write_nothing
from otel_ml_collector.store.scores import IN_WINDOW, all_scores, newest_scores
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, join_sql, parameter
from otel_ml_collector.store.versions import all_version_numbers
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.web import view

MOST_DIMENSIONS: Final = 50
MOST_VALUES: Final = 200
# A tag with more values than that tells single runs apart, as an id does.
MOST_DISTINCT: Final = 1_000
LEAST_RUNS: Final = 30
# A smaller slice is not even shown as one of too few runs.
_LEAST_SHOWN: Final = 10
_MOST_MODELS: Final = 10
_MOST_JUDGES: Final = 8
# Of runs that are in more slices together than that, a share of the traces is counted.
_MOST_MEMBERSHIPS: Final = 250_000
MOST_ROWS: Final = 50_000
# The name of a slice of a column begins so in the store; no tag's does.
FIELD_MARK: Final = "\x01"
# Of the traces every so many-th is counted.
_SAMPLE: Final = Sql("cityHash64(trace_id) % {every:UInt32} = 0")
_LABELED: Final = ("environment", "release", "provider_model", "outcome")
_LEFT_OUT: Final = ("session", "user")

_IN_TIME: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
_FIELD_TOKENS: Final = Sql("""
  concat('\\x01version=', digest, ':', structure), concat('\\x01environment=', environment),
  concat('\\x01release=', release), concat('\\x01provider_model=', provider_model),
  concat('\\x01outcome=', outcome)""")
# A logarithm is kept to a 64th and a score to a millionth, so that sums are the same in any order.
_LOG: Final = Sql("round((log({value}) - {centre}) * 64) / 64")
_NO_INPUTS: Final = write_nothing(Sql("inputs_preview"))


@dataclass(frozen=True, slots=True)
class FigureColumn:
    """A figure that slices are compared by: how the store reads it of a run.

    Attributes:
        name: As the answer calls it, such as `errors`, or the name of a judge.
        value: SQL of its number; of an amount its logarithm.
        given: SQL that is true for the runs that have it.
        margin: A difference below it does not matter; None for that of its kind.
        judge, digest: Whose figure it is; empty for none.
        place: Of a judge's figure the place in the join of scores.
    """

    name: str
    kind: FigureKind
    lower_is_better: bool
    value: Sql
    given: Sql
    margin: float | None = None
    judge: str = ""
    digest: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True)
class SlicesQuery:
    """A question of slices; API, page and command line take it as parameters.

    Attributes:
        where: Which runs, the slices and the rest alike.
        figure: Only this one: errors, missing inputs, latency, cost, or a judge.
        start_ns, end_ns: Starts of the runs; the last 24 hours unless told.
        pairs: Whether slices are two conditions at once, of those that stand out alone.
    """

    project: str
    where: Where = ""
    figure: Annotated[
        str, Query(max_length=200, description="Such as `errors`, `latency` or a judge")
    ] = ""
    start_ns: Start = None
    end_ns: End = None
    pairs: Annotated[
        bool, Query(description="Two conditions at once, where worse than each alone")
    ] = False

    def window(self, now_ns: int) -> Window:
        """Return the time that is asked about.

        Raises:
            BadInput: It ends before it begins.
        """
        end_ns = now_ns + 1 if self.end_ns is None else self.end_ns
        start_ns = max(end_ns - DAY_NS, 0) if self.start_ns is None else self.start_ns
        if end_ns <= start_ns:
            raise BadInput("The end is not after the start: expected a later one", "end")
        return Window(start_ns, end_ns)


@dataclass(frozen=True, slots=True)
class AskedRuns:
    """Which runs are counted.

    Attributes:
        every: Of the traces every so many-th is counted.
        runs: How many runs there are in all.
        models: Those with most of them.
    """

    condition: Condition
    window: Window
    apart: Apart
    every: int
    runs: int
    models: Sequence[str]
    values: Mapping[str, Any]

    @classmethod
    def of(cls, reader: Reader, query: SlicesQuery, window: Window) -> "AskedRuns":
        """Count the runs of each model, and choose which are looked at."""
        apart = find_apart(reader, query.project)
        condition, _ = compile_where(
            reader, query.project, query.where, is_bounded=True, apart=apart
        )
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
            recorded=RECORDED, bounds=_IN_TIME.sql, condition=condition.sql, most=_MOST_MODELS
        )
        rows = reader.rows(sql, values)
        members = sum(row["tags"] + (len(_LABELED) + 1) * row["runs"] for row in rows)
        every = max(-(-members // _MOST_MEMBERSHIPS), 1)
        models = [row["model"] for row in rows]
        return cls(
            condition=condition,
            window=window,
            apart=apart,
            every=every,
            runs=sum(row["runs"] for row in rows),
            models=models,
            values={**values, "models": models, "every": every},
        )

    @property
    def sql(self) -> Sql:
        """The condition on runs."""
        return Sql("{bounds} AND ({condition}) AND model IN {models:Array(String)} {sampled}").fill(
            bounds=_IN_TIME.sql,
            condition=self.condition.sql,
            sampled=Sql("AND {sample}").fill(sample=_SAMPLE) if self.every > 1 else EMPTY,
        )

    @property
    def score_sql(self) -> Sql:
        """The condition on scores: those of the runs that are counted."""
        if self.every == 1:
            return IN_WINDOW
        return Sql("{in_window} AND {sample}").fill(in_window=IN_WINDOW, sample=_SAMPLE)

    @property
    def tokens(self) -> Sql:
        """The slices of a run: its tags, the newest also if they came late, and its labels."""
        tags = Sql("tag_kv")
        if self.apart.tags:
            tags = Sql("""arrayConcat(
              arrayFilter(kv -> NOT arrayExists(tag -> startsWith(kv, concat(tag.1, '='))
                AND tag.3 >= start_ns + latency_ns, late), tag_kv),
              arrayMap(tag -> concat(tag.1, '=', tag.2), arrayFilter(tag ->
                tag.3 >= start_ns + latency_ns OR NOT mapContains(tags, tag.1), late)))""")
        return Sql("arrayConcat({tags}, [{fields}])").fill(tags=tags, fields=_FIELD_TOKENS)

    @property
    def source(self) -> Sql:
        """The runs, with the columns that their tokens need."""
        return self.with_joins(EMPTY)

    def with_joins(self, joins: Sql) -> Sql:
        """Write the runs, with the columns that their tokens need, joined to others."""
        late = EMPTY
        if self.apart.tags:
            late = Sql("""LEFT JOIN ({late}) AS late_tag
              ON late_trace = trace_id AND late_span = span_id""").fill(
                late=all_late_tags(self.apart)
            )
        return Sql("{recorded} {late} {shares} {joins} {chosen}").fill(
            recorded=RECORDED,
            joins=joins,
            late=late,
            shares=shares(_IN_TIME.sql) if self.apart.settled else EMPTY,
            # Chosen before their tags are read, which are most of what is read.
            chosen=Sql("PREWHERE {sample}").fill(sample=_SAMPLE) if self.every > 1 else EMPTY,
        )


def choose_figures(reader: Reader, query: SlicesQuery, asked: AskedRuns) -> list[FigureColumn]:
    """List the figures: those of every run, then each judge's newest version with most to say.

    Raises:
        BadInput: The figure that is asked for is none.
    """
    cost = counted("cost") if asked.apart.settled else Sql("cost")
    answered = Sql("outcome != 'error'")
    columns = [
        FigureColumn(
            "errors", "rate", True, Sql("outcome = 'error'"), Sql("1"), margin=FAULT_MARGIN
        ),
        FigureColumn("missing inputs", "rate", True, _NO_INPUTS, Sql("1"), margin=FAULT_MARGIN),
        FigureColumn(
            "latency",
            "amount",
            True,
            _LOG.fill(value=Sql("latency_ns / 1e6"), centre=CENTRES["latency"]),
            answered + Sql(" AND latency_ns > 0"),
        ),
        FigureColumn(
            "cost",
            "amount",
            True,
            _LOG.fill(value=Sql("ifNull({cost}, 1)").fill(cost=cost), centre=CENTRES["cost"]),
            answered + Sql(" AND ifNull({cost}, 0) > 0").fill(cost=cost),
        ),
    ]
    columns += _judge_figures(reader, query.project, asked)
    if query.figure:
        wanted = [column for column in columns if query.figure in {column.name, column.judge}]
        if not wanted:
            known = ", ".join(dict.fromkeys(column.name for column in columns))
            text = f"Invalid figure {query.figure[:80]!r}: expected one of {known}"
            raise BadInput(text, "figure")
        return wanted
    return columns


# Logarithms are kept about these: of milliseconds and of dollars.
CENTRES: Final[Mapping[str, int]] = {"latency": 6, "cost": -6}


def _judge_figures(reader: Reader, project: str, asked: AskedRuns) -> list[FigureColumn]:
    """List the figures of the judges that said most, each version by itself."""
    sql = Sql("""
        SELECT judge, judge_version, count() AS n, count(passed) AS judged,
          countIf(isNotNull(score) AND (isNull(passed) OR score != toFloat64(passed))) AS scored
        FROM ({newest}) WHERE NOT failed GROUP BY judge, judge_version
        ORDER BY n DESC, judge, judge_version LIMIT {most}
        """).fill(
        newest=newest_scores(all_scores(asked.score_sql, is_told=asked.apart.told_scores)),
        most=_MOST_JUDGES,
    )
    columns: list[FigureColumn] = []
    for row in reader.rows(sql, asked.values):
        judge, digest = row["judge"], row["judge_version"]
        if row["judged"]:
            columns.append(_judge_column(judge, "rate", judge, digest, len(columns)))
        if row["scored"]:
            name = f"{judge} score" if row["judged"] else judge
            columns.append(_judge_column(name, "score", judge, digest, len(columns)))
    return columns


def _judge_column(name: str, kind: FigureKind, judge: str, digest: str, place: int) -> FigureColumn:
    """Make a figure of a judge, which the join of `_join_scores` gives."""
    value = Sql("said_{place}").fill(place=place)
    if kind == "score":
        value = Sql("round(least(greatest({value}, -1e9), 1e9) * 1e6) / 1e6").fill(value=value)
    return FigureColumn(
        name,
        kind,
        lower_is_better=False,
        value=value,
        given=Sql("gave_{place}").fill(place=place),
        judge=judge,
        digest=digest,
        place=place,
    )


@dataclass(frozen=True, slots=True)
class SliceCondition:
    """The condition that the runs of a slice meet: one value of one dimension, or two of them."""

    parts: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """As a person reads it: ``client = Remax``."""
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
        return " and ".join(_write_part(name, value) for name, value in self.parts)


def _write_part(name: str, value: str) -> str:
    if not name.startswith(FIELD_MARK):
        return f"tags[{view.quoted(name)}] == {view.quoted(value)}"
    field = name.removeprefix(FIELD_MARK)
    return f"{field} == {value if field == 'version' else view.quoted(value)}"


@dataclass(frozen=True, slots=True)
class SliceDimensions:
    """The slices that are looked at, by their numbers from 1 on.

    Attributes:
        ids: The number of each label of the store; several labels may be one version.
        slices: By number and model; where the model does not matter it is empty.
        left_out: The names that are no dimensions.
    """

    ids: Mapping[str, int]
    slices: Mapping[tuple[int, str], SliceCondition]
    left_out: Sequence[str] = ()

    def of(self, number: int, model: str) -> SliceCondition | None:
        """Return the slice of a number; of a pair that of both of its parts."""
        first, second = divmod(number, PAIR)
        if first:
            parts = [self.of(part, model) for part in (first, second)]
            return SliceCondition(tuple(part for item in parts if item for part in item.parts))
        return self.slices.get((number, ""), self.slices.get((number, model)))


# The number of a pair is that of its first part times this, and that of its second.
PAIR: Final = 2**32


def find_dimensions(reader: Reader, query: SlicesQuery, asked: AskedRuns) -> SliceDimensions:
    """Find the largest values of the largest dimensions."""
    sql = Sql("""
        SELECT name, groupArray({values})((token, runs)) AS labels, sum(runs) AS given,
          count() AS distinct_values
        FROM (
          SELECT arrayJoin(arrayDistinct({tokens})) AS token, count() AS runs,
            substring(token, 1, position(token, '=') - 1) AS name
          FROM {source} WHERE {asked} GROUP BY token
          HAVING NOT endsWith(token, '=') AND token != '\\x01version=:'
            AND NOT startsWith(token, '{response}')
          ORDER BY runs DESC, token
        )
        GROUP BY name ORDER BY given DESC, name LIMIT {most}
        """).fill(
        values=MOST_VALUES,
        tokens=asked.tokens,
        source=asked.source,
        asked=asked.sql,
        response=Sql(RESPONSE),
        most=4 * MOST_DIMENSIONS,
    )
    left_out = [name for name in _LEFT_OUT if getattr(asked.apart, f"{name}s")]
    ids: dict[str, int] = {}
    slices: dict[tuple[int, str], SliceCondition] = {}
    numbers = _number_versions(reader, query.project)
    known: dict[object, int] = {}
    dimensions = 0
    for row in reader.rows(sql, asked.values) if asked.models else ():
        if row["distinct_values"] > MOST_DISTINCT:
            left_out.append(row["name"].removeprefix(FIELD_MARK))
            continue
        if dimensions >= MOST_DIMENSIONS:
            left_out.append(row["name"].removeprefix(FIELD_MARK))
            continue
        dimensions += 1
        for label, runs in row["labels"]:
            value = label[len(row["name"]) + 1 :]
            versions: Sequence[tuple[str, str]] = [("", value)]
            if row["name"] == f"{FIELD_MARK}version":
                versions = numbers.get(value, ())
            if runs < _LEAST_SHOWN or not versions:
                continue
            number = known.setdefault((row["name"], *versions), len(known) + 1)
            ids[label] = number
            for model, text in versions:
                slices[number, model] = SliceCondition(((row["name"], text),))
    return SliceDimensions(ids, slices, left_out)


def _number_versions(reader: Reader, project: str) -> dict[str, list[tuple[str, str]]]:
    """Return the model and the number of each version, by its label in the store."""
    numbers: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for (model, digest, structure), number in sorted(
        all_version_numbers(reader, project, "model").items()
    ):
        numbers[f"{digest}:{structure}"].append((model, str(number)))
    return numbers


# The runs that are counted: the numbers of the slices that they are in, and their figures.
_COUNTED: Final = Sql("""
  SELECT model, {unit} AS unit, arrayFilter(id -> id > 0, arrayDistinct(arrayMap(token ->
      transform(token, {labels:Array(String)}, {numbers:Array(UInt64)}, toUInt64(0)),
      {tokens}))) AS own_ids, {ids} AS ids, {figures}
  FROM {source} WHERE {asked}""")
_IDS: Final = Sql("arrayPushFront(own_ids, toUInt64(0))")
_PAIR_IDS: Final = Sql("""arrayPushFront(arrayFilter(pair -> has({pairs:Array(UInt64)}, pair),
  arrayDistinct(arrayFlatten(arrayMap(first -> arrayMap(second ->
    least(first, second) * toUInt64(4294967296) + greatest(first, second), own_ids), own_ids)))),
  toUInt64(0))""")
_FIGURE: Final = Sql("""({given}) AS h{place},
  if(h{place}, assumeNotNull(toFloat64({value})), 0) AS v{place}""")
# Each session in each of its slices, beside the sums of all its runs. A run's numbers of slices are
# taken apart from it before they are joined, else each would carry all others along.
_IN_UNITS: Final = Sql("""
  SELECT model, unit, id, count() AS members_in, {sums}
  FROM (
    SELECT model, unit, {totals}, member.1 AS ids, {members}
    FROM (
      SELECT model, unit, {whole}, groupArray(tuple(ids, {columns})) AS members
      FROM ({runs}) GROUP BY model, unit
    )
    ARRAY JOIN members AS member
  )
  ARRAY JOIN ids AS id
  GROUP BY model, unit, id""")
_WHOLE: Final = Sql("sum(h{place}) AS a{place}, sum(v{place}) AS b{place}")
_SUMS: Final = Sql("""sum(h{place}) AS n{place}, sum(v{place}) AS t{place},
  sum(v{place} * v{place}) AS q{place}, any(a{place}) AS c{place}, any(b{place}) AS d{place}""")
_MEMBER: Final = Sql("member.{h} AS h{place}, member.{v} AS v{place}")
# In the order of `ClusterMoments`.
_MOMENTS: Final = Sql("""[toFloat64(countIf(n{place} > 0)),
  toFloat64(countIf(n{place} > 0 AND n{place} = c{place})),
  toFloat64(sum(n{place})), sum(t{place}), toFloat64(sum(n{place} * n{place})),
  sum(t{place} * n{place}), sum(t{place} * t{place}),
  toFloat64(sum(n{place} * c{place})), sum(t{place} * c{place}),
  sum(n{place} * d{place}), sum(t{place} * d{place}), sum(q{place}),
  toFloat64(countIf(t{place} > 0)), toFloat64(countIf(t{place} < n{place}))] AS m{place}""")


def count_slices(
    reader: Reader,
    asked: AskedRuns,
    figures: Sequence[FigureColumn],
    dimensions: SliceDimensions,
    pairs: Sequence[int] | None = None,
) -> list[Row]:
    """Ask the one question: the moments of each figure, by model and slice.

    Args:
        reader: The store.
        asked: Which runs.
        figures: By what they are compared.
        dimensions: The slices.
        pairs: Numbers of pairs, in place of the slices alone.

    Returns:
        Rows with `model`, `id` (the number of the slice, 0 for all runs of the model), `runs`, and
        of each figure its moments.
    """
    session = named(Sql("session")) if asked.apart.named else Sql("session")
    runs = _COUNTED.fill(
        unit=Sql("if({s} != '', cityHash64({s}), cityHash64(trace_id))").fill(s=session),
        tokens=asked.tokens,
        ids=_IDS if pairs is None else _PAIR_IDS,
        figures=join_sql(
            ", ",
            [
                _FIGURE.fill(given=figure.given, value=figure.value, place=place)
                for place, figure in enumerate(figures)
            ],
        ),
        source=asked.with_joins(_join_scores(asked, figures)),
        asked=asked.sql,
    )
    places = range(len(figures))
    in_units = _IN_UNITS.fill(
        sums=join_sql(", ", [_SUMS.fill(place=at) for at in places]),
        totals=join_sql(", ", [Sql("a{place}, b{place}").fill(place=at) for at in places]),
        members=join_sql(
            ", ", [_MEMBER.fill(h=2 * at + 2, v=2 * at + 3, place=at) for at in places]
        ),
        whole=join_sql(", ", [_WHOLE.fill(place=at) for at in places]),
        columns=join_sql(", ", [Sql("h{place}, v{place}").fill(place=at) for at in places]),
        runs=runs,
    )
    sql = Sql("""
        SELECT model, id, sum(members_in) AS runs, {moments} FROM ({in_units})
        GROUP BY model, id ORDER BY model, id LIMIT {most}
        """).fill(
        moments=join_sql(", ", [_MOMENTS.fill(place=at) for at in places]),
        in_units=in_units,
        most=MOST_ROWS,
    )
    values = {
        **asked.values,
        "labels": list(dimensions.ids) or [""],
        "numbers": list(dimensions.ids.values()) or [0],
        "pairs": list(pairs or [0]),
    }
    for figure in figures:
        if figure.judge:
            values |= {
                f"judge_{figure.place}": figure.judge,
                f"digest_{figure.place}": figure.digest,
            }
    return reader.rows(sql, values)


_SAID: Final = Sql("""anyIf(toFloat64({column}), {is_its}) AS said_{place},
  countIf({is_its} AND isFinite(ifNull(toFloat64({column}), nan))) > 0 AS gave_{place}""")
_IS_ITS: Final = Sql("judge = {judge} AND judge_version = {digest}")


def _join_scores(asked: AskedRuns, figures: Sequence[FigureColumn]) -> Sql:
    """Write the join of the newest scores of the runs; empty without a figure of a judge."""
    of_judges = [figure for figure in figures if figure.judge]
    if not of_judges:
        return EMPTY
    columns = [
        _SAID.fill(
            column=Sql("passed") if item.kind == "rate" else Sql("score"),
            is_its=_IS_ITS.fill(
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
        newest=newest_scores(all_scores(asked.score_sql, is_told=asked.apart.told_scores)),
    )
