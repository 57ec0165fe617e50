"""Compiles a filter to SQL: a condition on `runs` that passes its values as parameters.

The kind of a field decides how its comparison is written. All comparisons with the same payload
(inputs, outputs or attributes) read it only once.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import orjson

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import (
    FIELD_NAMES,
    FIELDS,
    OF_ITEMS,
    RECORD_OF,
    Kind,
    nearest,
)
from otel_ml_collector.filter.grammar import (
    Ago,
    Both,
    Constant,
    Duration,
    Either,
    FieldComparison,
    Not,
    Tree,
    bad,
    comparisons_of,
    fields_of,
    parse,
)
from otel_ml_collector.owners import RESPONSE, RESPONSE_CHARS, TRACE_KEY_CHARS
from otel_ml_collector.store.counted import (
    DELIVERIES,
    IS_REPEAT,
    MAIN_RECORD,
    NAMED,
    OF_CALL,
    Bounds,
    named,
)
from otel_ml_collector.store.digests import WORDS_CHARS, digest, is_whole, words_digest
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import (
    CONTENTS,
    EVERYTHING,
    RecordKinds,
    find_counted,
    find_record_kinds,
    points,
    scores,
)
from otel_ml_collector.store.scores import ANYTHING, newest_of, pass_newest
from otel_ml_collector.store.sql import (
    ALWAYS,
    EMPTY,
    Condition,
    Search,
    Sql,
    all_of,
    compact,
    identifier,
    join_sql,
    parameter,
)
from otel_ml_collector.store.tables import (
    COPY,
    COUNTING,
    INHERITED_PAYLOAD,
    LACKING,
    RESPONSE_ID,
    TOKENS_PER_SECOND,
    InheritedColumn,
    count_for_others,
    fill_payloads,
)
from otel_ml_collector.store.targets import TAG_TEXT, WITH_KEY, WITH_WHOLE_KEY, WITHOUT_KEY
from otel_ml_collector.store.versions import CURRENT_ALIASES, NUMBERED_VERSIONS
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.windows import UTC_ZONE, find_day

# Characters of SQL per filter. ClickHouse reads at most 262,144 bytes of a query
# (`max_query_size`), and values are passed separately.
_MAX_SQL: Final = 230_000
# Time window of the query. It decides which parts and granules are read.
_BOUNDS: Final = Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}"))
_WINDOW: Final = _BOUNDS.sql
_HALF: Final = re.compile("[\ud800-\udfff]")
_WORD: Final = re.compile("[0-9A-Za-z]{4}")
_TRACE_ID_CHARS: Final = 32
_EXACT: Final = 2**53
_SqlType = Literal[
    "String", "Int64", "Float64", "Bool", "Array(String)", "Array(Float64)", "Array(Bool)"
]
_SIGNS: Final = {
    "==": Sql("="),
    "!=": Sql("!="),
    "<": Sql("<"),
    "<=": Sql("<="),
    ">": Sql(">"),
    ">=": Sql(">="),
    "in": Sql("IN"),
    "not in": Sql("NOT IN"),
}
_EQUALITY: Final = frozenset({"==", "!=", "in", "not in"})
_CONTAINS: Final = frozenset({"contains", "not contains"})
_AFFIRMED: Final = {"!=": "==", "not in": "in", "not contains": "contains"}
_PAYLOAD_KINDS: Final = frozenset({Kind.PAYLOAD, Kind.JSON, Kind.REASON, Kind.DIGEST})
_INPUTS_COLUMN: Final = Sql("inputs")
_KEYS: Final = frozenset({"run_id", "trace_id", "parent_run_id", "trace_key"})

_NOW: Final = Sql("toUnixTimestamp64Nano(now64(9))")
_VERSION: Final = Sql("""(model, digest, structure) IN (
  SELECT name, digest, structure FROM ({versions}) WHERE kind = 'model' AND number {test})""")
_ALIASED: Final = Sql("""(model, digest) IN (
  SELECT model, digest FROM ({aliases}) WHERE {test})""")
_IDS: Final = {
    "trace_id": Sql("lower(hex(trace_id))"),
    "run_id": Sql("concat(lower(hex(trace_id)), '-', lower(hex(span_id)))"),
    "parent_run_id": Sql("""if(parent_span_id = toFixedString('', 8), '',
      concat(lower(hex(trace_id)), '-', lower(hex(parent_span_id))))"""),
}
_LENGTHS: Final = frozenset({"latency", "latency_ms", "first_token_ms"})
# Numeric fields that have no column of the same name.
_NUMBERS: Final = {
    "latency": Sql("nullIf(latency_ns, 0) / 1e6"),
    "latency_ms": Sql("nullIf(latency_ns, 0) / 1e6"),
    "tokens_per_second": TOKENS_PER_SECOND,
}
# The last part of a type name, such as ``RateLimitError`` in ``openai.RateLimitError``.
_LAST_NAME: Final = Sql(r"extract(error_type, '(\\w+)\\W*$')")
_ID_TIMES: Final = Sql("""(start_ns >= (SELECT min(start_ns) {times})
  AND start_ns <= (SELECT max(end_ns) {times}) AND {found})""")
# Column of the scores that each field reads.
_SCORE_COLUMNS: Final = {
    "scores": "score",
    "passed": "passed",
    "failed": "failed",
    "judge_version": "judge_version",
}
# The columns of `runs` that hold the newest label, ground truth and report under each name.
_WORD_COLUMNS: Final = {
    "label": Sql("final_labels"),
    "truth": Sql("final_truth"),
    "agent": Sql("final_reports"),
}
# Columns of `runs` with the newest score of each judge.
_ROW_COLUMNS: Final = {"scores": Sql("final_scores"), "passed": Sql("final_passed")}
# Maximum length of a path: a judge and one of its versions, as in ``scores["grounded"][2]``.
_JUDGE_STEPS: Final = 2
_JUDGE_DIGESTS: Final = Sql("""(SELECT digest FROM ({versions})
  WHERE kind = 'judge' AND name = {label} AND number {test})""")
_LAST_POINT: Final = Sql("""if(countIf(mode != 'single') > 0,
  argMaxIf(if(mode = 'clear', nan, value), (time_ns, record_id, position), mode != 'single'),
  argMin(value, (time_ns, record_id, position)))""")

# Key of a run's own row in `payloads` or `open_runs`.
_PAYLOAD_KEY: Final = Sql("start_ns, trace_id, span_id, rank")
_HAS_PAYLOAD: Final = Sql("""(start_ns, trace_id, span_id, {copy}) IN (
  SELECT {key} FROM payloads WHERE {window} AND {tests} {also_tested}
  UNION ALL
  SELECT {key} FROM (SELECT *, '' AS outputs FROM open_runs WHERE {window}) AS open
  WHERE {tests}
  {late})""")
# Payloads completed with values that the run inherits from other records of its call.
_FILLED: Final = Sql("SELECT {key} FROM ({filled}) WHERE {tests}")
_OF_COUNTING: Final = Sql("SELECT * FROM payloads WHERE {window} AND {counts}")
# A run that has both of these fields inherits neither from another record of its call.
_CONTENTS_FIELDS: Final = frozenset({"inputs", "outputs"})
# Payloads completed with inputs and outputs that arrived as log records.
_FROM_LOGS: Final = Sql("""
  SELECT {key} FROM (
    SELECT * REPLACE (if(inputs = '', logged_inputs, inputs) AS inputs,
      if(outputs = '', logged_outputs, outputs) AS outputs)
    FROM (SELECT * FROM payloads WHERE {window} AND (inputs = '' OR outputs = '')) AS payload
    INNER JOIN ({contents}) AS logged USING (trace_id, span_id)) AS whole
  WHERE {tests}""")
_ALSO: Final = Sql("AND start_ns IN (SELECT start_ns FROM {deliveries} WHERE {window} AND {rest})")
# Attributes with the finish reason. The first one may hold a list, the others hold one text.
REASONS: Final = (
    Sql("gen_ai.response.finish_reasons"),
    Sql("gen_ai.response.finish_reason"),
    Sql("ai.response.finishReason"),
    Sql("llm.finish_reason"),
)
_PROBE: Final = Sql("SELECT match({project:String}, {pattern:String}) AS one")
_ROOT_TEXT: Final = Sql("if(JSONType({at}) = 'String', JSONExtractString({at}), {at})")
_JSON_NUMBER: Final = Sql(
    "JSONType({at}) IN ('Int64', 'UInt64', 'Double') AND JSONExtractFloat({at}) "
)
# A text contains a part of it, a list one of its texts, an object one of its keys.
_JSON_CONTAINS: Final = Sql("""multiIf(
  JSONType({at}) = 'String', position(JSONExtractString({at}), {wanted}) > 0,
  JSONType({at}) = 'Object', JSONHas({at}, {wanted}),
  JSONType({at}) = 'Array', arrayExists(item -> JSONType(item) = 'String'
    AND JSONExtractString(item) = {wanted}, JSONExtractArrayRaw({at})),
  0)""")
# True in Python's sense: not empty, not 0 and not null.
_JSON_TRUE: Final = Sql("""multiIf(
  JSONType({at}) = 'Bool', JSONExtractBool({at}),
  JSONType({at}) = 'String', JSONExtractString({at}) != '',
  JSONType({at}) IN ('Array', 'Object'), JSONLength({at}) > 0,
  JSONType({at}) IN ('Int64', 'UInt64', 'Double'), JSONExtractFloat({at}) != 0,
  0)""")


def reasons_of(attributes: Sql) -> Sql:
    """Write the SQL of the finish reasons, from attributes that hold a list or a single text."""
    texts = [
        Sql("JSONExtractString({at}, '{name}')").fill(at=attributes, name=name) for name in REASONS
    ]
    return Sql("""arrayConcat(
      JSONExtract({first}, 'Array(String)'),
      arrayFilter(text -> text != '' AND NOT startsWith(text, '['), [{texts}]))""").fill(
        first=texts[0], texts=join_sql(", ", texts)
    )


def inherit_reasons(column: Sql) -> InheritedColumn:
    """Write the SQL by which attributes inherit finish reasons from another record of the call."""
    reasons = reasons_of(Sql("attributes"))
    return InheritedColumn(
        reasons,
        Sql("notEmpty({reasons})").fill(reasons=reasons),
        Sql("""if(notEmpty({own}) OR empty(inherited_{column}), own.{column},
          JSONMergePatch(if(own.{column} = '', '{}', own.{column}), toJSONString(
            map('gen_ai.response.finish_reasons', toJSONString(inherited_{column})))))""").fill(
            own=reasons_of(Sql("own.{column}").fill(column=column)), column=column
        ),
    )


_INHERITED: Final = INHERITED_PAYLOAD | {"attributes": inherit_reasons(Sql("attributes"))}


def compile_filter(
    where: str, kinds: RecordKinds = EVERYTHING, zone: ZoneInfo = UTC_ZONE
) -> tuple[Tree | None, Condition]:
    """Compile a filter to an SQL condition on rows of the table `runs`.

    Args:
        where: An expression of the filter language, such as ``latency_ms > 2000``. If empty, the
            condition is always true.
        kinds: Kinds of records that the project has besides its runs, such as tags that arrived
            after their run. The SQL does not look for records of other kinds.
        zone: Time zone for days, and for times without a UTC offset.

    Returns:
        The parsed filter, and the condition. Your query must pass the parameters of the condition.
        It must also pass ``project``, and its time window as ``start`` and ``end``.

    Raises:
        BadInput: The filter is invalid, names an unknown field, or compares a field with a value of
            the wrong type.
    """
    tree = parse(where)
    return tree, _compile(tree, kinds, zone)


def _compile(tree: Tree | None, kinds: RecordKinds, zone: ZoneInfo) -> Condition:
    if tree is None:
        return ALWAYS
    comparisons = list(comparisons_of(tree))
    for comparison in comparisons:
        _check(comparison)
    compiler = _Compiler(kinds, zone)
    sql = compiler.write(tree)
    if len(sql) > _MAX_SQL and len(sql := compact(sql)) > _MAX_SQL:
        raise bad("The filter has too many parts", 0)
    search = compiler.search(tree)
    return Condition(sql, compiler.values, any(map(_is_of_payload, comparisons)), search)


def compile_where(
    reader: Reader,
    project: str,
    where: str,
    *,
    is_bounded: bool = False,
    kinds: RecordKinds | None = None,
    hides: bool = True,
) -> tuple[Condition, bool]:
    """Compile the text of a filter, like `compile_tree`.

    Raises:
        BadInput: The filter is invalid.
    """
    return compile_tree(
        reader, project, parse(where), is_bounded=is_bounded, kinds=kinds, hides=hides
    )


def compile_tree(
    reader: Reader,
    project: str,
    tree: Tree | None,
    *,
    is_bounded: bool = False,
    kinds: RecordKinds | None = None,
    hides: bool = True,
    also: Tree | None = None,
) -> tuple[Condition, bool]:
    """Compile a filter to the SQL condition on the recorded calls that match it.

    Plain spans, such as HTTP requests, and calls of judges are left out, unless the filter uses the
    field ``kind``. If one call was recorded several times, only one of its records matches. Runs of
    experiments, which are on items of data sets, are left out. Each of these two rules is off if
    the filter uses a field about such runs.

    Args:
        reader: The store.
        project: The project.
        tree: The parsed filter; None for all runs.
        is_bounded: Whether the query is limited to a time range.
        kinds: Which kinds of records the project has besides its runs, such as tags that arrived
            after their run. The SQL skips all other kinds. If None, they are read from the store.
        hides: Whether the condition leaves out repeated records and runs of experiments. Pass False
            if your query leaves them out itself.
        also: A second filter that must hold too. If it is given, plain spans and calls of judges
            are included.

    Returns:
        The condition, and whether there is any filter (`tree` or `also`). With a filter, expect
        that most runs do not match, and choose a query plan for that.

    Raises:
        BadInput: The filter is invalid.
    """
    fields = fields_of(tree)
    parts = [part for part in (tree, also) if part is not None]
    conditions = list[Condition]()
    if parts:
        whole = parts[0] if len(parts) == 1 else Both(parts)
        kinds = kinds or find_record_kinds(reader, project)
        conditions.append(_compile(whole, kinds, reader.zone))
        check_patterns(reader, project, tree, is_bounded=is_bounded)
    counted = find_counted(
        reader,
        project,
        _BOUNDS,
        repeats=not hides or RECORD_OF in fields,
        items=not hides or not fields.isdisjoint(OF_ITEMS),
        kinds="kind" in fields or also is not None,
    )
    conditions = [*map(Condition, counted.conditions), *conditions]
    return all_of(conditions) if conditions else ALWAYS, bool(parts)


def compile_tests(
    reader: Reader, project: str, where: str, tests: Sequence[str], kinds: RecordKinds
) -> tuple[Condition, list[Sql]]:
    """Compile a filter that selects runs, and further filters to test on each selected run.

    For example, select all runs of a model, and test for each whether it was slow.

    Args:
        reader: The store.
        project: The project.
        where: The filter that selects runs. If empty, all recorded calls are selected.
        tests: The further filters. They do not leave out any runs. You can use the result of each
            as a boolean column of your query.
        kinds: Kinds of records that the project has besides its runs, such as tags that arrived
            after their run. The SQL does not look for records of other kinds.

    Returns:
        The condition that selects the runs, with the parameters of all filters. Also a list with an
        SQL expression for each test, which is true or false, never null.

    Raises:
        BadInput: The filter or a test is invalid.
    """
    tree, trees = parse(where), [parse(test) for test in tests]
    for part in (tree, *trees):
        for comparison in comparisons_of(part):
            _check(comparison)
        check_patterns(reader, project, part, is_bounded=True)
    compiler = _Compiler(kinds, reader.zone)
    written = [compiler.write(part) if part is not None else Sql("1") for part in (tree, *trees)]
    fields = fields_of(tree)
    counted = find_counted(
        reader,
        project,
        _BOUNDS,
        repeats=RECORD_OF in fields,
        items=not fields.isdisjoint(OF_ITEMS),
        kinds="kind" in fields,
    )
    conditions = all_of([*map(Condition, counted.conditions), Condition(written[0])])
    return replace(conditions, parameters=compiler.values), written[1:]


def check_patterns(reader: Reader, project: str, tree: Tree | None, *, is_bounded: bool) -> None:
    """Refuse invalid regular expressions, and those that would be matched against every run.

    Raises:
        BadInput: A regular expression is invalid, or no other condition limits the runs.
    """
    patterns = [
        comparison for comparison in comparisons_of(tree) if comparison.operator == "matches"
    ]
    if not patterns:
        return
    if tree is not None and not (is_bounded or _is_narrow(tree)):
        raise bad(
            'matches would read every run: combine it (and) with a time range such as last("24h"), '
            'or with a condition such as tags["client"] == "bigshot"',
            patterns[0].field.column,
        )
    for pattern in patterns:
        try:
            reader.rows(_PROBE, {"project": project, "pattern": pattern.value})
        except BadInput as error:
            raise bad(str(error), pattern.column) from error


def _is_narrow(tree: Tree) -> bool:
    """Return whether an index or the start time limits the runs that a filter must read."""
    if isinstance(tree, Both):
        return any(map(_is_narrow, tree.parts))
    if isinstance(tree, Either):
        return all(map(_is_narrow, tree.parts))
    if isinstance(tree, Not):
        return False
    if tree.field.name == "start":
        return tree.operator in {">", ">=", "within"}
    if tree.field.name in _KEYS or _kind(tree) is Kind.TAG:
        return tree.operator in {"==", "in"}
    return _is_indexed(tree) and _WORD.search(str(tree.value)) is not None


class _Compiler:
    """Writes the SQL of one filter, and collects its parameters.

    Attributes:
        values: The parameters, by name.
    """

    def __init__(self, kinds: RecordKinds, zone: ZoneInfo) -> None:
        self._kinds = kinds
        self._zone = zone
        self._written: dict[int, Sql] = {}
        self._tests: dict[int, Sql] = {}
        self.values: dict[str, Any] = {}

    def write(self, tree: Tree) -> Sql:
        """Translate a parsed filter, or a part of it, to SQL.

        The SQL is true or false for each run, never null, so that it can be negated with ``NOT``.
        If the same object is passed again, the same SQL with the same parameters is returned.
        """
        if (sql := self._written.get(id(tree))) is None:
            sql = self._written[id(tree)] = self._write(tree)
        return sql

    def _write(self, tree: Tree) -> Sql:
        if isinstance(tree, FieldComparison):
            return self._compare(tree)
        if isinstance(tree, Not):
            return Sql("NOT ({part})").fill(part=self.write(tree.part))
        return self._join(tree.parts, " AND " if isinstance(tree, Both) else " OR ")

    def search(self, tree: Tree) -> Search | None:
        """Write the search for runs by words of payloads; None if the filter requires no words."""
        tested, others = _divide(tree.parts if isinstance(tree, Both) else [tree])
        if not any(map(_is_indexed, tested)):
            return None
        tests = join_sql(" AND ", [self._test_payload(part) for part in tested])
        rest = self._all(others) if others else Sql("1")
        late = _late_payloads(_in_brackets(tests), self._kinds, tested)
        return Search(
            tests + Sql(" ") + _test_also(self._light(others)), rest, join_sql(" UNION ALL ", late)
        )

    def _join(self, parts: Sequence[Tree], word: Literal[" AND ", " OR "]) -> Sql:
        """Join conditions. Conditions on payloads come last and read them once."""
        tested, others = _divide(parts)
        written = [_in_brackets(self.write(part)) for part in others]
        if tested:
            tests = join_sql(word, [self._test_payload(part) for part in tested])
            is_found = word == " OR " or any(map(_is_indexed, tested))
            light = EMPTY if is_found else self._light(others)
            found = _has_payload(_in_brackets(tests), light, self._kinds, tested)
            written.append(_in_brackets(found))
        return join_sql(word, written)

    def _all(self, parts: Sequence[Tree]) -> Sql:
        return join_sql(" AND ", [_in_brackets(self.write(part)) for part in parts])

    def _light(self, parts: Sequence[Tree]) -> Sql:
        """Join the conditions that read no payload."""
        return self._all(
            [part for part in parts if not any(map(_is_of_payload, comparisons_of(part)))]
        )

    def _value(self, sql_type: _SqlType, value: object) -> Sql:
        """Add a value to the parameters. Return its placeholder in the SQL."""
        name = f"f{len(self.values)}"
        self.values[name] = value
        return parameter(name, sql_type)

    def _compare(self, tree: FieldComparison) -> Sql:
        match _kind(tree):
            case Kind.PAYLOAD | Kind.JSON | Kind.REASON | Kind.DIGEST:
                return _has_payload(self._test_payload(tree), EMPTY, self._kinds, [tree])
            case Kind.TAG:
                return self._tag(tree)
            case Kind.SCORE | Kind.PASSED | Kind.JUDGE_VERSION:
                return self._write_score(tree)
            case Kind.METRIC:
                return self._metric(tree)
            case Kind.WORD:
                return self._word(tree)
            case Kind.TIME:
                return self._time(tree)
            case Kind.NUMBER | Kind.DURATION:
                return self._number(tree)
            case Kind.TEXT:
                return self._text(tree)

    def _number(self, tree: FieldComparison) -> Sql:
        _refuse_path(tree, _kind(tree).value)
        name = tree.field.name
        if name == "version" and any(isinstance(value, str) for value in _values_of(tree)):
            return self._alias(tree)
        test = self._test_number(tree)
        if name == "version":
            return _VERSION.fill(versions=NUMBERED_VERSIONS, test=test)
        return Sql("ifNull({column} {test}, 0)").fill(column=self._column(name), test=test)

    def _column(self, name: str) -> Sql:
        """Write a field's value. Another record of the same call may provide it."""
        if self._kinds.same_calls and name in OF_CALL:
            return OF_CALL[name]
        return _NUMBERS.get(name) or Sql("`{name}`").fill(name=identifier(name, FIELD_NAMES))

    def _alias(self, tree: FieldComparison) -> Sql:
        """Write a condition on the version that an alias such as ``champion`` points to now."""
        if tree.operator not in _EQUALITY:
            raise bad("Expected == != or in: an alias has no order", tree.column)
        affirmed = _affirm(tree)
        test = self._test_text(affirmed, Sql("alias"))
        sql = _ALIASED.fill(aliases=CURRENT_ALIASES, test=test)
        return sql if affirmed == tree else Sql("(digest != '' AND NOT {f})").fill(f=sql)

    def _test_number(self, tree: FieldComparison) -> Sql:
        """Write the operator and the value that follow a number."""
        if tree.operator in _CONTAINS or tree.operator == "matches":
            raise bad("Expected == != < <= > >= or in: this is a number", tree.column)
        numbers = [_number_of(tree, value) for value in _values_of(tree)]
        is_list = tree.operator in {"in", "not in"}
        value = (
            self._value("Array(Float64)", numbers)
            if is_list
            else self._value("Float64", numbers[0])
        )
        return _SIGNS[tree.operator] + Sql(" ") + value

    def _time(self, tree: FieldComparison) -> Sql:
        """Write a condition on the start or the end of a run."""
        _refuse_path(tree, "time")
        if tree.operator == "within" and isinstance(tree.value, Ago):
            start, end = self._moment(tree), _NOW
            if tree.value.day:
                day = find_day(tree.value.day, time.time_ns(), self._zone)
                end = self._value("Int64", day.end_ns)
            return Sql("(start_ns >= {start} AND start_ns < {end})").fill(start=start, end=end)
        if tree.operator not in {"<", "<=", ">", ">="}:
            raise bad("Expected < <= > or >=: this is a time", tree.column)
        test = Sql("ifNull(start_ns + nullIf(latency_ns, 0) {sign} {moment}, 0)")
        if tree.field.name == "start":
            test = Sql("start_ns {sign} {moment}")
        return test.fill(sign=_SIGNS[tree.operator], moment=self._moment(tree))

    def _moment(self, tree: FieldComparison) -> Sql:
        """Write the time to compare a field with; for a day, its start."""
        match tree.value:
            case Ago(day=""):
                return _NOW + Sql(" - ") + self._value("Int64", tree.value.length_ns)
            case Ago():
                day = find_day(tree.value.day, time.time_ns(), self._zone)
                return self._value("Int64", day.start_ns)
            case str():
                try:
                    return self._value("Int64", from_rfc3339(tree.value, "where", self._zone))
                except BadInput as error:
                    raise bad(str(error), tree.column) from error
            case tuple():
                shown = "several"
            case _:
                shown = _shown(tree.value)
        expected = 'Expected a time such as "2026-11-01" or last("24h")'
        raise bad(f"{expected}, found {shown}", tree.column)

    def _text(self, tree: FieldComparison) -> Sql:
        """Write a condition on a text of a run's row, including IDs and keys."""
        _refuse_path(tree, "text")
        if tree.field.name == "trace_key":
            return self._trace_key(tree)
        if tree.field.name == RECORD_OF:
            return self._record_of(tree)
        if tree.field.name == "response_id":
            return self._response(tree)
        if tree.field.name == "error_type" and tree.operator in _EQUALITY:
            return self._error_type(tree)
        column = _IDS.get(tree.field.name)
        if column is None:
            column = self._column(tree.field.name)
            if self._kinds.named and tree.field.name in NAMED:
                column = named(identifier(tree.field.name, NAMED))
            return self._test_text(tree, column)
        sql = self._test_text(tree, column)
        ids = [value for value in _values_of(tree) if isinstance(value, str)]
        if tree.operator not in {"==", "in"} or "" in ids:
            return sql
        # For equality, read only the time range of the traces with these IDs.
        traces = self._value("Array(String)", sorted({value[:_TRACE_ID_CHARS] for value in ids}))
        times = Sql("FROM trace_index WHERE project = {project:String} AND key IN ") + traces
        return _ID_TIMES.fill(times=times, found=sql)

    def _record_of(self, tree: FieldComparison) -> Sql:
        """Write a condition on `record_of`: the run that counts instead of a repeated record.

        For most runs, this field is empty.
        """
        column = Sql("if({repeat}, {main}, '')").fill(repeat=IS_REPEAT, main=MAIN_RECORD)
        return self._test_text(tree, column)

    def _response(self, tree: FieldComparison) -> Sql:
        """Write a condition on the provider's response ID, which is stored among the tags."""
        shares = self._kinds.same_calls
        if tree.operator not in {"==", "in"} or "" in _values_of(tree):
            return self._test_text(tree, OF_CALL["response_id"] if shares else RESPONSE_ID)
        for value in _values_of(tree):
            _check_text(value, tree.column)
        ids = [str(value)[:RESPONSE_CHARS] for value in _values_of(tree)]
        tokens = self._value("Array(String)", [f"{RESPONSE}{text}" for text in ids])
        own = Sql("hasAny(tag_kv, {tokens})").fill(tokens=tokens)
        if not shares:
            return own
        return Sql("({own} OR call_response_id IN {ids})").fill(
            own=own, ids=self._value("Array(String)", ids)
        )

    def _error_type(self, tree: FieldComparison) -> Sql:
        """Write a condition on an error type. Its full name or its last part must match."""
        affirmed = _affirm(tree)
        sql = Sql("({whole} OR ({last} AND error_type != ''))").fill(
            whole=self._test_text(affirmed, Sql("error_type")),
            last=self._test_text(affirmed, _LAST_NAME),
        )
        return _negate(tree, sql)

    def _trace_key(self, tree: FieldComparison) -> Sql:
        """Write a condition on trace keys. One match is enough; no key counts as empty text."""
        if tree.operator in _EQUALITY:
            for value in _values_of(tree):
                _check_text(value, tree.column)
            keys = [str(value)[:TRACE_KEY_CHARS] for value in _values_of(tree)]
            sql = WITH_WHOLE_KEY.fill(test=Sql("key IN ") + self._value("Array(String)", keys))
            is_empty = "" in keys
        else:
            affirmed = "contains" if tree.operator == "not contains" else tree.operator
            sql = WITH_KEY.fill(test=self._test_text(replace(tree, operator=affirmed), Sql("key")))
            is_empty = tree.operator != "matches" and _text_of(tree) == ""
        if is_empty:
            sql = Sql("({found} OR {without})").fill(found=sql, without=WITHOUT_KEY)
        return _negate(tree, sql)

    def _test_text(self, tree: FieldComparison, column: Sql) -> Sql:
        """Write a test of an SQL expression that is a text and never null."""
        for value in _values_of(tree):
            _check_text(value, tree.column)
        if tree.operator in {"in", "not in"}:
            values = self._value("Array(String)", [str(value) for value in _values_of(tree)])
            return column + Sql(" ") + _SIGNS[tree.operator] + Sql(" ") + values
        if tree.operator not in {*_EQUALITY, *_CONTAINS, "matches"}:
            raise bad("Expected ==, !=, in or matches: texts cannot be ordered here", tree.column)
        text = self._value("String", _text_of(tree))
        if tree.operator == "matches":
            return Sql("match({column}, {text})").fill(column=column, text=text)
        if tree.operator in _CONTAINS:
            sign = Sql(">") if tree.operator == "contains" else Sql("=")
            sql = Sql("position({column}, {text}) {sign} 0")
            return sql.fill(column=column, text=text, sign=sign)
        return column + Sql(" ") + _SIGNS[tree.operator] + Sql(" ") + text

    def _tag(self, tree: FieldComparison) -> Sql:
        """Write a condition on a tag. Equality uses the index, and order compares numbers.

        The condition is false for a run without the tag. Late tags replace the run's own.
        """
        key = tree.field.key
        if key is None:
            return self._has_tag(tree)
        label = self._value("String", key)
        affirmed = _affirm(tree)
        own, late = self._test_tag(affirmed, key, label)
        if tree.operator in _AFFIRMED:
            own = Sql("(mapContains(tags, {label}) AND NOT {own})").fill(label=label, own=own)
            late = Sql("NOT ({late})").fill(late=late)
        if not self._kinds.tags:
            return own
        return Sql("if(mapContains(late_tags, {label}), {late}, {own})").fill(
            label=label, late=late, own=own
        )

    def _test_tag(self, tree: FieldComparison, key: str, label: Sql) -> tuple[Sql, Sql]:
        """Write two tests: one for a run's own tag, and one for the newest late tag."""
        stored = Sql("tags[{label}]").fill(label=label)
        newest = Sql("late_tags[{label}]").fill(label=label)
        if tree.operator in _EQUALITY:
            wanted = _values_of(tree)
            if any(isinstance(value, Ago | Duration) for value in wanted):
                raise bad("Expected a text, a number, True or False, found a time", tree.column)
            texts = [text for value in wanted for text in _tag_texts(value)]
            tokens = self._value("Array(String)", [f"{key}={text}" for text in texts])
            # Search both stored forms, ``3`` and ``"3"``, for either of them.
            forms = [form for text in texts for form in (text, orjson.dumps(text).decode())]
            values = self._value("Array(String)", forms)
            own = Sql("hasAny(tag_kv, {tokens})").fill(tokens=tokens)
            return own, newest + Sql(" IN ") + values
        if tree.operator in _CONTAINS or tree.operator == "matches":
            own = self._test_text(tree, TAG_TEXT.fill(value=stored))
            late = self._test_text(tree, TAG_TEXT.fill(value=newest))
            return Sql("(mapContains(tags, {label}) AND {own})").fill(label=label, own=own), late
        number = Sql("ifNull(toFloat64OrNull(trim(BOTH '\"' FROM {text})) {test}, 0)")
        test = self._test_number(tree)
        return number.fill(text=stored, test=test), number.fill(text=newest, test=test)

    def _has_tag(self, tree: FieldComparison) -> Sql:
        """Write a condition that a run has a tag of some name: ``"client" in tags``."""
        label = self._value("String", _key_of(tree))
        sql = Sql("mapContains(tags, {label})").fill(label=label)
        if self._kinds.tags:
            sql = Sql("({found} OR mapContains(late_tags, {label}))").fill(found=sql, label=label)
        return _negate(tree, sql)

    def _write_score(self, tree: FieldComparison) -> Sql:
        """Write a condition on the newest score of a judge, of a judge version or of a reviewer."""
        if sql := self._write_row_score(tree):
            return sql
        kind, path = _kind(tree), tree.field.path
        score_column = _SCORE_COLUMNS[tree.field.name]
        newest = newest_of(score_column)
        versions = 1 if kind is Kind.JUDGE_VERSION else _JUDGE_STEPS
        if not 0 < len(path) <= versions or not isinstance(path[0], str):
            label = self._value("String", _key_of(tree))
            sign = Sql("!= ''") if kind is Kind.JUDGE_VERSION else Sql("IS NOT NULL")
            return _negate(tree, self._scored(label, score_column, newest + Sql(" ") + sign))
        label = self._value("String", path[0])
        if kind is Kind.JUDGE_VERSION:
            return self._scored(label, score_column, self._test_judge_version(tree, label, newest))
        test = self._test_number(tree) if kind is Kind.SCORE else self._test_passed(tree)
        version = ANYTHING if len(path) == 1 else self._of_version(path[1], label)
        return self._scored(label, score_column, newest + Sql(" ") + test, version)

    def _write_row_score(self, tree: FieldComparison) -> Sql | None:
        """Write the condition on the columns of `runs`; None if they lack what it compares."""
        name, path = tree.field.name, tree.field.path
        if name == "failed":
            if tree.operator != "==" or tree.value is not True or len(path) != 1:
                return None
            judge = self._value("String", path[0])
            return Sql("has(final_failed, {judge})").fill(judge=judge)
        column = _ROW_COLUMNS.get(name)
        if column is None or len(path) > 1 or not all(isinstance(step, str) for step in path):
            return None
        if not path:
            judge = self._value("String", _key_of(tree))
            has_judge = Sql("mapContains({column}, {judge})").fill(column=column, judge=judge)
            return _negate(tree, has_judge)
        judge = self._value("String", path[0])
        test = self._test_number(tree) if name == "scores" else self._test_passed(tree)
        return Sql("(mapContains({column}, {judge}) AND {column}[{judge}] {test})").fill(
            column=column, judge=judge, test=test
        )

    def _scored(self, label: Sql, text: str, test: Sql, version: Sql = ANYTHING) -> Sql:
        """Write a test of the newest score of a judge, or of one judge version."""
        return pass_newest(scores(label, self._kinds, text), test, version)

    def _of_version(self, version: str | int, label: Sql) -> Sql:
        """Write a test for the scores of one judge version, by its number or digest."""
        if isinstance(version, str):
            return Sql("judge_version = ") + self._value("String", version)
        number = Sql("= ") + self._value("Int64", version)
        return Sql("judge_version IN ") + _judge_digests(label, number)

    def _test_passed(self, tree: FieldComparison) -> Sql:
        values = _values_of(tree)
        if tree.operator not in _EQUALITY or not all(isinstance(value, bool) for value in values):
            raise bad("Expected == True or == False", tree.column)
        if tree.operator in {"in", "not in"}:
            wanted = self._value("Array(Bool)", list(values))
        else:
            wanted = self._value("Bool", values[0])
        return _SIGNS[tree.operator] + Sql(" ") + wanted

    def _test_judge_version(self, tree: FieldComparison, label: Sql, newest: Sql) -> Sql:
        """Write a test of a judge's version, by number or digest. Some scores have neither."""
        values = _values_of(tree)
        is_text = any(isinstance(value, str) for value in values) or tree.operator == "matches"
        if is_text or tree.operator in _CONTAINS:
            test = self._test_text(tree, newest)
            return Sql("({newest} != '' AND {test})").fill(newest=newest, test=test)
        return newest + Sql(" IN ") + _judge_digests(label, self._test_number(tree))

    def _metric(self, tree: FieldComparison) -> Sql:
        """Write a condition on the last value of a metric."""
        key = tree.field.key
        label = self._value("String", _key_of(tree) if key is None else key)
        test = Sql("1")
        if key is not None:
            test = Sql("ifNull({last} {test}, 0)").fill(
                last=_LAST_POINT, test=self._test_number(tree)
            )
        sql = Sql("""(trace_id, span_id) IN (
          SELECT trace_id, span_id FROM ({points}) GROUP BY trace_id, span_id
          HAVING {test})""").fill(points=points(label, self._kinds), test=test)
        return _negate(tree, sql) if key is None else sql

    def _word(self, tree: FieldComparison) -> Sql:
        """Write a condition on the newest ground truth, label or report of some name."""
        key, *path = tree.field.path or (None,)
        column = _WORD_COLUMNS[tree.field.name]
        label = self._value("String", key if isinstance(key, str) else _key_of(tree))
        has_word = Sql("mapContains({column}, {n})").fill(column=column, n=label)
        if not isinstance(key, str):
            return _negate(tree, has_word)
        newest = Sql("{column}[{n}]").fill(column=column, n=label)
        return Sql("({has_word} AND {test})").fill(
            has_word=has_word, test=self._test_path(tree, newest, path)
        )

    def _test_payload(self, tree: FieldComparison) -> Sql:
        """Write the test of a comparison with a payload; false for a missing or null value."""
        if (sql := self._tests.get(id(tree))) is None:
            sql = self._tests[id(tree)] = self._write_payload_test(tree)
        return sql

    def _write_payload_test(self, tree: FieldComparison) -> Sql:
        if _kind(tree) is Kind.REASON:
            return self._test_reasons(tree)
        if _kind(tree) is Kind.DIGEST:
            return self._test_digest(tree)
        column, path = identifier(tree.field.name, FIELD_NAMES), tree.field.path
        if not path and _kind(tree) is Kind.PAYLOAD:
            if tree.operator in _CONTAINS:
                # LIKE uses the index on the words of the JSON text.
                inner = orjson.dumps(_text_of(tree)).decode()[1:-1]
                sign = Sql("LIKE") if tree.operator == "contains" else Sql("NOT LIKE")
                test = sign + Sql(" ") + self._value("String", _like(inner))
                return Sql("({at} != '' AND {at} {test})").fill(at=column, test=test)
            if tree.operator == "matches":
                test = self._test_text(tree, _ROOT_TEXT.fill(at=column))
                return Sql("({at} != '' AND {test})").fill(at=column, test=test)
        return self._test_path(tree, column, path)

    def _test_reasons(self, tree: FieldComparison) -> Sql:
        """Write the test of the finish reasons. If there are several answers, one must match."""
        _refuse_path(tree, "text")
        affirmed = _affirm(tree)
        reasons = reasons_of(Sql("attributes"))
        test_reasons = Sql("arrayExists(reason -> {test}, {reasons})").fill(
            test=self._test_text(affirmed, Sql("reason")), reasons=reasons
        )
        if affirmed == tree:
            return test_reasons
        return Sql("(notEmpty({reasons}) AND NOT {found})").fill(
            reasons=reasons, found=test_reasons
        )

    def _test_digest(self, tree: FieldComparison) -> Sql:
        """Write the test of the inputs' digest. Inputs that were cut or hidden have no digest."""
        _refuse_path(tree, "text")
        if tree.operator not in _EQUALITY:
            raise bad("Expected ==, != or in: digests can only be compared as a whole", tree.column)
        for value in _values_of(tree):
            _check_text(value, tree.column)
        digests = [str(value) for value in _values_of(tree)]
        # Compare the digest of the words first. For most runs it differs, so the whole digest need
        # not be computed.
        test = Sql("({words} IN {first} AND {digest} IN {whole})").fill(
            words=words_digest(_INPUTS_COLUMN),
            first=self._value("Array(String)", [item[:WORDS_CHARS] for item in digests]),
            digest=digest(_INPUTS_COLUMN),
            whole=self._value("Array(String)", digests),
        )
        found = test if _affirm(tree) == tree else Sql("NOT {test}").fill(test=test)
        return Sql("({whole} AND {found})").fill(whole=is_whole(_INPUTS_COLUMN), found=found)

    def _test_path(self, tree: FieldComparison, column: Sql, path: Sequence[str | int]) -> Sql:
        """Write the test of the value at a JSON path. It is false if there is no value."""
        # ClickHouse counts positions in lists from 1, and backwards from -1.
        steps = [
            self._value("String", step)
            if isinstance(step, str)
            else self._value("Int64", step + 1 if step >= 0 else step)
            for step in path
        ]
        at = join_sql(", ", [column, *steps])
        # ClickHouse would also find a member of an object by number. Here a number is a position in
        # a list.
        lists = [
            Sql("JSONType({at}) = 'Array'").fill(at=join_sql(", ", [column, *steps[:place]]))
            for place, step in enumerate(path)
            if isinstance(step, int)
        ]
        sql = self._test_json(tree, at)
        if tree.operator in _AFFIRMED:
            negation = Sql("JSONType({at}) != 'Null' AND NOT ({found})")
            sql = negation.fill(at=at, found=sql)
        return _in_brackets(join_sql(" AND ", [*lists, _in_brackets(sql)]))

    def _test_json(self, tree: FieldComparison, at: Sql) -> Sql:
        if tree.operator in _EQUALITY:
            equal = [self._equals_json(tree, value, at) for value in _values_of(tree)]
            return join_sql(" OR ", equal) if equal else Sql("0")
        if tree.operator in _CONTAINS:
            return _JSON_CONTAINS.fill(at=at, wanted=self._value("String", _text_of(tree)))
        if tree.operator == "is":
            return _JSON_TRUE.fill(at=at)
        if tree.operator == "matches":
            test = self._test_text(tree, Sql("JSONExtractString({at})").fill(at=at))
            return Sql("JSONType({at}) = 'String' AND {test}").fill(at=at, test=test)
        return _JSON_NUMBER.fill(at=at) + self._test_number(tree)

    def _equals_json(self, tree: FieldComparison, value: Constant, at: Sql) -> Sql:
        if isinstance(value, Ago | Duration):
            raise bad("Expected a text, a number, True or False, found a time", tree.column)
        if isinstance(value, bool):
            test = Sql("JSONType({at}) = 'Bool' AND JSONExtractBool({at}) = ").fill(at=at)
            return test + self._value("Bool", value)
        if isinstance(value, str):
            test = Sql("JSONType({at}) = 'String' AND JSONExtractString({at}) = ").fill(at=at)
            return test + self._value("String", value)
        return _JSON_NUMBER.fill(at=at) + Sql("= ") + self._value("Float64", value)


def _judge_digests(label: Sql, test: Sql) -> Sql:
    """Write the SQL for the digests of a judge's versions with these numbers."""
    return _JUDGE_DIGESTS.fill(versions=NUMBERED_VERSIONS, label=label, test=test)


def _has_payload(
    tests: Sql, rest: Sql, kinds: RecordKinds, comparisons: Sequence[FieldComparison]
) -> Sql:
    """Write a condition on a run's payload. Only payloads of runs that pass `rest` are read."""
    more = [Sql(" UNION ALL ") + keys for keys in _late_payloads(tests, kinds, comparisons)]
    return _HAS_PAYLOAD.fill(
        copy=COPY,
        key=_PAYLOAD_KEY,
        window=_WINDOW,
        tests=tests,
        also_tested=_test_also(rest),
        late=join_sql("", more),
    )


def _late_payloads(
    tests: Sql, kinds: RecordKinds, comparisons: Sequence[FieldComparison]
) -> list[Sql]:
    """Write the searches in content that did not arrive in the run's own payload.

    Returns:
        SQL that selects keys of payloads: by log records, and by other records of the same call.
    """
    found = []
    if kinds.contents:
        found.append(
            _FROM_LOGS.fill(key=_PAYLOAD_KEY, window=_WINDOW, contents=CONTENTS, tests=tests)
        )
    is_of_contents = {tree.field.name for tree in comparisons} <= _CONTENTS_FIELDS
    if kinds.lacking if is_of_contents else kinds.same_calls:
        counting = LACKING if is_of_contents else COUNTING
        rows = _OF_COUNTING.fill(window=_WINDOW, counts=count_for_others(_WINDOW, counting))
        filled = fill_payloads(rows, _INHERITED, _WINDOW, counting)
        found.append(_FILLED.fill(key=_PAYLOAD_KEY, filled=filled, tests=tests))
    return found


def _test_also(rest: Sql) -> Sql:
    """Write the test that limits payloads to those of runs with a further condition."""
    return _ALSO.fill(deliveries=DELIVERIES, window=_WINDOW, rest=rest) if rest else EMPTY


def _in_brackets(part: Sql) -> Sql:
    return Sql("({part})").fill(part=part)


def _affirm(tree: FieldComparison) -> FieldComparison:
    """Return the comparison without its ``not``, which `_negate` puts back."""
    return replace(tree, operator=_AFFIRMED.get(tree.operator, tree.operator))


def _negate(tree: FieldComparison, sql: Sql) -> Sql:
    return Sql("NOT ") + sql if tree.operator in _AFFIRMED else sql


def _divide(parts: Sequence[Tree]) -> tuple[list[FieldComparison], list[Tree]]:
    """Divide conditions into comparisons with a payload and all others."""
    tested = [part for part in parts if isinstance(part, FieldComparison) and _is_of_payload(part)]
    others = [
        part for part in parts if not (isinstance(part, FieldComparison) and _is_of_payload(part))
    ]
    return tested, others


def _kind(tree: FieldComparison) -> Kind:
    return FIELD_NAMES[tree.field.name].kind


def _is_of_payload(tree: FieldComparison) -> bool:
    return _kind(tree) in _PAYLOAD_KINDS


def _is_indexed(tree: FieldComparison) -> bool:
    """Return whether an index finds the words of a payload, so that only some payloads are read."""
    return _kind(tree) is Kind.PAYLOAD and not tree.field.path and tree.operator == "contains"


def _check(tree: FieldComparison) -> None:
    """Refuse an unknown field, and a text with half of a surrogate pair.

    An escape can write such a half, but no stored text contains one.
    """
    name = tree.field.name
    if name not in FIELD_NAMES:
        near = nearest(name)
        right = f"did you mean {near}?" if near else f"expected one of {', '.join(FIELDS)}"
        hint = "" if near else f'; a tag is tags["{name}"]'
        raise bad(f"Unknown field {name!r}: {right}{hint}", tree.field.column)
    for part in (*tree.field.path, *_values_of(tree)):
        if isinstance(part, str) and _HALF.search(part):
            raise bad("Expected a text of characters, found half of a character", tree.column)


def _refuse_path(tree: FieldComparison, what: str) -> None:
    if tree.field.path:
        raise bad(f"{tree.field.name} has no parts: it is a {what}", tree.field.column)


def _check_text(value: Constant, column: int) -> None:
    if not isinstance(value, str):
        raise bad(f"Expected a text in quotes, found {_shown(value)}", column)


def _key_of(tree: FieldComparison) -> str:
    """Return the searched name, such as ``client`` in ``"client" in tags``."""
    if tree.field.path or tree.operator not in _CONTAINS:
        raise bad(f'Expected a key as in {tree.field.name}["name"]', tree.field.column)
    return _text_of(tree)


def _values_of(tree: FieldComparison) -> tuple[Constant, ...]:
    return tree.value if isinstance(tree.value, tuple) else (tree.value,)


def _text_of(tree: FieldComparison) -> str:
    """Return the only value of a comparison, which must be a text."""
    (value,) = _values_of(tree)
    _check_text(value, tree.column)
    return str(value)


def _number_of(tree: FieldComparison, value: Constant) -> float:
    """Return the number to compare a field with; milliseconds for a duration."""
    if isinstance(value, Duration) and tree.field.name in _LENGTHS:
        return value.length_ns / 1e6
    if tree.field.name == "latency":
        expected = "Expected a length of time such as 200ms or 1.5s"
        raise bad(f"{expected}, found {_shown(value)}", tree.column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad(f"Expected a number, found {_shown(value)}", tree.column)
    return value


def _tag_texts(value: Constant) -> list[str]:
    """Write a tag's value in its stored form. ``3`` and ``3.0`` are the same number."""
    texts = [value if isinstance(value, str) else orjson.dumps(value).decode()]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        texts.append(str(int(value)))
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < _EXACT:
        texts.append(orjson.dumps(float(value)).decode())
    return texts


def _shown(value: Constant) -> str:
    """Return a value as error messages show it."""
    if isinstance(value, Duration):
        return "a length of time"
    return "a time" if isinstance(value, Ago) else repr(value)[:60]


def _like(text: str) -> str:
    r"""Write the pattern of LIKE that finds a text anywhere. ``%``, ``_`` and ``\`` are escaped."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
