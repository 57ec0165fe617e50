"""Exports the runs of a project, of any size, in flat memory: batch after batch of columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa

from otel_ml_collector.artifacts.find import find_artifacts
from otel_ml_collector.export.columns import LATE, TOLD, TYPES
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.records import text_of
from otel_ml_collector.runs.late import Said, find_said
from otel_ml_collector.runs.series import find_series, values_of
from otel_ml_collector.runs.shape import make_summary
from otel_ml_collector.store.apart import find_apart
from otel_ml_collector.store.exported import Stretch, find_stretch_end, read_stretch
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import run_id_of, winners
from otel_ml_collector.store.runs import Key, read_late_tags, read_runs
from otel_ml_collector.store.targets import find_holders, has_targets

# How many runs are read at once: the first time few, then as many as make a batch of this size.
_FIRST: Final = 500
_MOST: Final = 25_000
_BATCH_BYTES: Final = 16 * 1024 * 1024
# Where a filter leaves out most, a stretch holds more runs than are asked for.
_WIDEST: Final = 64
_LATE_AT_ONCE: Final = 1_000
_PLACE: Final = ("start_ns", "run_id")


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What to export: runs that have ended, oldest first.

    Attributes:
        columns: In their order; see `export_columns`.
        json_tags: Give tags as JSON text, so that numbers stay numbers.
    """

    project: str
    where: str
    start_ns: int
    end_ns: int
    columns: Sequence[str]
    json_tags: bool


def schema_of(query: ExportQuery) -> pa.Schema:
    """Return names and types of the columns of all batches."""
    types = TYPES | ({"tags": pa.string()} if query.json_tags else {})
    return pa.schema([(name, types[name]) for name in query.columns])


def export_runs(reader: Reader, query: ExportQuery) -> Iterator[pa.Table]:
    """Read the runs that match, batch after batch, each run once.

    A run that is stored meanwhile is in it when it started after the place that is reached.

    Raises:
        BadQuery: The filter is wrong.
    """
    limit, width, start_ns = _FIRST, 1, query.start_ns
    while start_ns < query.end_ns:
        reach = limit * width
        end_ns = find_stretch_end(reader, query.project, start_ns, query.end_ns, reach)
        found = 0
        for batch in _read_until(reader, query, (start_ns, end_ns), limit):
            found += batch.num_rows
            limit = _fitting(batch)
            yield batch
        if found < reach // 4:
            width = min(2 * width, _WIDEST)
        start_ns = end_ns


def _read_until(
    reader: Reader, query: ExportQuery, times: tuple[int, int], limit: int
) -> Iterator[pa.Table]:
    """Read the runs of a stretch, in one batch where they are no more than expected."""
    condition, _ = compile_where(reader, query.project, query.where, is_bounded=True)
    after: Key | None = None
    while True:
        stretch = Stretch(query.project, condition, *times, after, limit + 1)
        batch, after = _read_batch(reader, query, stretch)
        if batch.num_rows:
            yield batch
        if batch.num_rows < stretch.limit:
            return


def _fitting(batch: pa.Table) -> int:
    """Choose how many runs to read next by how large these were."""
    fitting: int = _BATCH_BYTES * batch.num_rows // max(batch.nbytes, 1)
    return int(min(max(fitting, 1), 4 * batch.num_rows, _MOST))


def _read_batch(
    reader: Reader, query: ExportQuery, stretch: Stretch
) -> tuple[pa.Table, Key | None]:
    """Read a batch with the columns that are asked for, and behind which run the next one is."""
    asked = list(dict.fromkeys([*_stored(query.columns), *_PLACE]))
    table = read_stretch(reader, stretch, asked, json_tags=query.json_tags)
    schema = schema_of(query)
    if not table.num_rows:
        return schema.empty_table(), None
    keys = [
        Key.of(*place) for place in zip(*(table[name].to_pylist() for name in _PLACE), strict=True)
    ]
    columns = {name: table[name] for name in asked}
    if "start_time" in query.columns:
        columns["start_time"] = table["start_ns"]
    columns |= _find_late(reader, query, keys, columns)
    arrays = [_cast(columns[name], schema.field(name).type) for name in query.columns]
    return pa.table(arrays, schema=schema), keys[-1]


def _stored(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in TOLD and name != "start_time"]


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind) else column.cast(kind)


def _find_late(
    reader: Reader, query: ExportQuery, keys: Sequence[Key], columns: dict[str, pa.ChunkedArray]
) -> dict[str, pa.ChunkedArray]:
    """Find the columns that what was told apart from spans has a say in, for all runs of a batch.

    Of a project where nothing was, this is two short questions.
    """
    told = [name for name in query.columns if name in TOLD]
    late = [name for name in query.columns if name in LATE]
    chosen = keys if told else _named(reader, query.project, keys) if late else []
    if not chosen:
        return {}
    places = {key.run_id: place for place, key in enumerate(keys)}
    values = {name: columns[name].to_pylist() for name in late}
    values |= {name: [None] * len(keys) for name in told}
    for first in range(0, len(chosen), _LATE_AT_ONCE):
        part = chosen[first : first + _LATE_AT_ONCE]
        for run_id, found in _tell(reader, query, part, told).items():
            if run_id in places:
                for name in values:
                    values[name][places[run_id]] = found[name]
    types = schema_of(query)
    return {
        name: pa.chunked_array([pa.array(values[name], types.field(name).type)]) for name in values
    }


def _named(reader: Reader, project: str, keys: Sequence[Key]) -> Sequence[Key]:
    """Choose the runs of which something may be told: all, where records name keys or tags."""
    if has_targets(reader, project):
        return keys
    if not find_apart(reader, project).tags:
        return []
    chosen: list[Key] = []
    for first in range(0, len(keys), _LATE_AT_ONCE):
        part = keys[first : first + _LATE_AT_ONCE]
        rows = read_late_tags(reader, project, [key.run_id for key in part])
        tagged = {row["owner"] for row in rows}
        chosen += [key for key in part if key.run_id in tagged]
    return chosen


def _tell(
    reader: Reader, query: ExportQuery, keys: Sequence[Key], told: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Read what is told of some runs, by run id."""
    rows = winners(read_runs(reader, query.project, keys))
    said = find_said(reader, query.project, rows)
    summaries = [make_summary(row, said[run_id_of(row)]) for row in rows]
    found = {run.run_id: _late_values(run, json_tags=query.json_tags) for run in summaries}
    if told:
        for run_id, whole in _whole_values(reader, query.project, rows, said).items():
            found[run_id] |= whole
    return found


def _late_values(run: RunSummary, *, json_tags: bool) -> dict[str, Any]:
    texts = [(name, text_of(value)) for name, value in run.tags.items()]
    return {
        "trace_key": run.trace_key,
        "tags": _json(run.tags) if json_tags else texts,
        "scores": list(run.scores.items()),
        "passed": list(run.passed.items()),
        "failed_judges": run.failed_judges,
    }


def _whole_values(
    reader: Reader, project: str, rows: Sequence[Row], said: dict[str, Said]
) -> dict[str, dict[str, Any]]:
    owners = sorted({owner for one in said.values() for owner in one.owners})
    measured, logged = find_holders(reader, project, owners)
    return {
        run_id: {
            "evaluations": _json(about.evaluations),
            "metrics": _json(
                values_of(find_series(reader, project, about.owners))
                if measured.intersection(about.owners)
                else {}
            ),
            "artifacts": _json(
                [one.model_dump() for one in find_artifacts(reader, project, about.owners)]
                if logged.intersection(about.owners)
                else []
            ),
        }
        for row in rows
        for run_id in (run_id_of(row),)
        for about in (said[run_id],)
    }


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
