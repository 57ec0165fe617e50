"""Unusual values in one run: fields with rare or new values, and worse slices that it belongs to.

Fields are compared with stored summaries (sketches) of the values of the 28 days before, so the
payloads of other runs are not read.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from otel_ml.counts import write_count, write_number
from otel_ml.statistics import floats
from otel_ml.statistics.comparison import Word
from otel_ml.statistics.distances import quantile
from otel_ml.statistics.field_drift import write_share
from otel_ml.statistics.fields import TABLES, FieldSketch
from otel_ml.statistics.sketches import Sketch, bounds_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.slices import RunSlice, find_slices
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.store.counted import RECORDED, Bounds
from otel_ml_collector.store.field_values import (
    SECTIONS,
    VersionFields,
    merge_versions,
    section_of,
    sketch_runs,
    write_step,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.sketches import (
    SketchQuestion,
    read_sample,
    read_sketched_days,
    read_sketches,
)
from otel_ml_collector.store.sql import Condition, Sql
from otel_ml_collector.times import DAY_NS, LATEST_NS
from otel_ml_collector.web.amounts import write_column
from otel_ml_collector.web.payload import Members, ShownMember, alone, make_payload
from otel_ml_collector.web.render import PageRoute, show_page

_DAYS: Final = 28
# Minimum number of values: fewer do not show what is usual.
_LEAST: Final = 100
# A number is unusual if at most this share of values is beyond it; other values are rare below this
# share.
_TAIL: Final = 0.005
# Values with more words are sentences, and new sentences are usual.
_CODE_WORDS: Final = 3
_MOST_FIELDS: Final = 20
_MOST_SLICES: Final = 5
_THIS_RUN: Final = Sql("""trace_id = toFixedString(unhex({run_trace:String}), 16)
  AND span_id = toFixedString(unhex({run_span:String}), 8)""")
_IS_IN: Final = Sql("""
  SELECT 1 FROM {recorded} WHERE {bounds} AND {this} AND ({condition}) LIMIT 1""")

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class UnusualField:
    """A field of a run with an unusual value.

    Attributes:
        path: Path of the field, as in filters.
        value: The value of the run; empty if the run does not have the field.
        sentence: Why it is unusual.
    """

    path: str
    value: str
    sentence: str


@dataclass(frozen=True, slots=True)
class UnusualRun:
    """What is unusual about a run: its values, and the slices that it belongs to.

    Attributes:
        runs: Number of runs that it was compared with. If they are too few, nothing is reported.
        slices: Slices that contain the run, such as its client, and that were worse than all other
            runs in the 24 hours around its start.
        ranges: What is usual for fields with numbers, by path.
    """

    runs: int
    fields: list[UnusualField]
    slices: list[RunSlice]
    ranges: Mapping[str, str]

    @property
    def is_enough(self) -> bool:
        """Whether there are enough runs to report unusual values."""
        return self.runs >= _LEAST


def find_unusual(reader: Reader, run: Run) -> UnusualRun:
    """Find what is unusual in a run of a model."""
    model = run.model or ""
    bounds = Bounds(start=Sql("{first:Int64}"), end=Sql("{until:Int64}"))
    rows = read_sample(
        reader.rows,
        run.project,
        (run.start_ns, run.start_ns + 1),
        find_counted(reader, run.project, bounds),
        Condition(_THIS_RUN, _ids_of(run)),
        model=model,
        most=1,
    )
    own = next(iter(sketch_runs(rows, {}).values()), None)  # None if the run does not count
    # The run is compared with the runs of its model in the 28 days before its day.
    day_ns = run.start_ns // DAY_NS * DAY_NS
    days = {
        day: computed_ns
        for day, computed_ns in read_sketched_days(reader, run.project).items()
        if day_ns - _DAYS * DAY_NS <= day < day_ns
    }
    of_model = Condition(Sql("model = {of_model:String}"), {"of_model": model})
    question = SketchQuestion(run.project, days, 0, day_ns, LATEST_NS, condition=of_model)
    usual = merge_versions(read_sketches(reader, question).get(model, {}).values())
    fields = [*compare_with_usual(own, usual)] if own else []
    ranges = {path: _write_usual(field) for path, field in usual.fields.items()}
    return UnusualRun(usual.sections.get("run", 0), fields, _find_own(reader, run), ranges)


def _write_usual(before: FieldSketch) -> str:
    """Write the usual range of numbers, or the only usual value; empty if it is unknown."""
    if before.n < _LEAST or before.kind != "number":
        return ""
    low, high = usual_range(before.number)
    texts = write_column([low, high])
    return f"usually {texts[0]}" if texts[0] == texts[1] else f"usually {texts[0]} to {texts[1]}"


def find_usual_members(unusual: UnusualRun, run: Run) -> Mapping[str, Members]:
    """List the values of a run's input and output with what is usual, the unusual ones first.

    Returns:
        The lists by the name of the part of the page. A part without such a list is left out.
    """
    sentences = {field.path: field.sentence for field in unusual.fields}
    lists: dict[str, Members] = {}
    for key, section, value in (
        ("input", "inputs", run.inputs),
        ("output", "outputs", run.outputs),
    ):
        payload = make_payload(value)
        if not isinstance(payload.shown, Members):
            continue
        inner = alone(value)
        is_inner = inner is not value and isinstance(value, Mapping)
        path = section + (write_step(next(iter(value))) if is_inner else "")
        members = [
            _add_usual(member, path + write_step(member.name), sentences, unusual.ranges)
            for member in payload.shown.short
        ]
        members.sort(key=lambda member: not member.is_unusual)
        lists[key] = replace(payload.shown, short=members)
    return lists


def _add_usual(
    member: ShownMember, path: str, sentences: Mapping[str, str], ranges: Mapping[str, str]
) -> ShownMember:
    sentence = sentences.get(path, "")
    note = ranges.get(path, "") or sentence
    return replace(member, path=path, note=note, is_unusual=bool(sentence))


def _ids_of(run: Run) -> dict[str, Any]:
    trace, _, span = run.run_id.partition("-")
    return {"run_trace": trace, "run_span": span}


def compare_with_usual(own: VersionFields, usual: VersionFields) -> Iterator[UnusualField]:
    """Yield the unusual fields of a run, ordered by path.

    Args:
        own: The fields of this run.
        usual: The fields of all runs of the reference.
    """
    for path, field in sorted(own.fields.items()):
        runs = usual.sections.get(section_of(path), 0)
        # The top of the page shows these already.
        if runs < _LEAST or not field.n or path in {"outcome", "error_type"}:
            continue
        before = usual.fields.get(path)
        if before is None or not before.n:
            yield UnusualField(
                path, _value_of(field), f"new field, not in the last {write_count(runs, 'run')}"
            )
        elif before.n >= _LEAST and (unusual := _describe(field, before)):
            yield UnusualField(path, *unusual)
    for path, before in sorted(usual.fields.items()):
        section = section_of(path)
        runs = usual.sections.get(section, 0)
        is_lacking = path not in own.fields and own.sections.get(section, 0)
        having = before.types.get(TABLES, before.n)
        if section in SECTIONS and is_lacking and runs >= _LEAST and having >= (1 - _TAIL) * runs:
            others = "all" if having >= runs else f"{write_share(having / runs)} of"
            yield UnusualField(path, "", f"missing here, present in {others} other runs")


def _value_of(field: FieldSketch) -> str:
    if field.number.low is not None:
        return write_number(field.number.low)
    return next(iter(field.category.values), "")


def _describe(field: FieldSketch, before: FieldSketch) -> tuple[str, str] | None:
    """Return which value is unusual, and why; None if all values are usual."""
    if before.kind == "number":
        if field.number.low is None or field.number.high is None:
            return _value_of(field), "not a number, usually it is one"
        # They can differ if the field is a column of a table.
        for number in (field.number.low, field.number.high):
            if sentence := _describe_number(number, before.number, ""):
                return write_number(number), sentence
    is_free = _is_free_text(before)
    if before.kind == "category" and not is_free:
        # A column of a table has many values. The one that is rarest in other runs is reported.
        values = field.category.values
        usual = before.category
        value = min(values, key=lambda text: usual.values.get(text, 0), default=None)
        if value is not None:
            count = usual.values.get(value, 0)
            if _share_of_rare(usual, count) >= _TAIL:
                return None
            if not count and not usual.rest:
                return value, f"not seen in the last {write_count(usual.n, 'run')}"
            share = (count or 1) / usual.n
            if share < _TAIL:
                return value, f"rare: in {write_share(share)} of runs"
    if before.kind == "text" or is_free:
        words, usual_words = field.text.parts.get("words"), before.text.parts.get("words")
        if words and usual_words and words.low is not None:
            sentence = _describe_number(words.low, usual_words, " words")
            return (_value_of(field), sentence) if sentence else None
    return None


def _is_free_text(before: FieldSketch) -> bool:
    """Return whether a field's values are sentences, also if each of them occurs often."""
    words = before.text.parts.get("words")
    return words is not None and bool(words.n) and quantile(words, 0.5) > _CODE_WORDS


def _share_of_rare(usual: Sketch, count: int) -> float:
    """Return the share of runs whose value is at most as frequent as a value with this count.

    For a new value, it is the share of runs whose value occurs once: another new value is expected
    that often (Good, The population frequencies of species, Biometrika 40, 1953).
    """
    most = max(count, 1)
    return floats.add(item for item in usual.values.values() if item <= most) / usual.n


def _describe_number(value: float, usual: Sketch, unit: str) -> str:
    low, high = usual_range(usual)
    if low <= value <= high:
        return ""
    side = "low" if value < low else "high"
    own = f"{write_number(value)}{unit}, " if unit else ""
    return f"{own}{side} (usually {write_number(low)} to {write_number(high)}{unit})"


def usual_range(sketch: Sketch) -> tuple[float, float]:
    """Return the usual range of numbers: without about 0.5 % of the values at each end."""
    ordered = sorted((bounds_of(key), count) for key, (count, _, _) in sketch.bins.items())
    least = sketch.n * _TAIL

    def first_beyond(bins: Iterable[tuple[tuple[float, float], int]], side: int) -> float:
        seen = 0
        for bounds, count in bins:
            seen += count
            if seen > least:
                return bounds[side]
        return 0.0

    low, high = first_beyond(ordered, 0), first_beyond(reversed(ordered), 1)
    if sketch.low is not None and sketch.high is not None:
        low, high = max(low, sketch.low), min(high, sketch.high)
    return low, high


def _find_own(reader: Reader, run: Run) -> list[RunSlice]:
    """Find the slices that contain the run and were worse in the 24 hours around its start."""
    query = SlicesQuery(
        run.project,
        f"model == {quoted(run.model or '')}",
        start_ns=max(run.start_ns - DAY_NS // 2, 0),
        end_ns=run.start_ns + DAY_NS // 2,
    )
    slices = find_slices(reader, query, run.start_ns + DAY_NS // 2).slices
    worse = [item for item in slices if item.word == Word.WORSE][: 4 * _MOST_SLICES]
    own: list[RunSlice] = []
    for item in worse:
        condition, _ = compile_where(reader, run.project, item.condition, is_bounded=True)
        sql = _IS_IN.fill(
            recorded=RECORDED,
            bounds=Bounds(start=Sql("{start:Int64}"), end=Sql("{end:Int64}")).sql,
            this=_THIS_RUN,
            condition=condition.sql,
        )
        values: Mapping[str, Any] = {
            "project": run.project,
            "start": run.start_ns,
            "end": run.start_ns + 1,
            **_ids_of(run),
            **condition.parameters,
        }
        if reader.rows(sql, values):
            own.append(item)
        if len(own) == _MOST_SLICES:
            break
    return own


@pages.get("/projects/{project:path}/run-unusual/{run_id}")
def show_unusual(
    request: Request,
    project: str,
    run_id: Annotated[str, Path(max_length=64)],
    reader: FromReader,
) -> Response:
    """Show what is unusual in a run: a part that loads after the run's page."""
    run = find_run(reader, run_id, project, now_ns=LATEST_NS)
    unusual = find_unusual(reader, run) if run.model and run.last_heard_ns is None else None
    members = find_usual_members(unusual, run) if unusual and unusual.is_enough else {}
    facts = {"unusual": unusual, "run": run, "members": members, "most": _MOST_FIELDS}
    return show_page(request, "run_unusual.html", facts)
