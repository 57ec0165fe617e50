"""Reads the fields of recorded runs, and summarizes the values of each field as a sketch.

A field is one value in the inputs, outputs or params, or a measured value such as the latency. It
is identified by its path, such as `inputs.customer.age`. The filter language uses the same paths,
so a page can link a value to the list of runs that have it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from json import dumps
from typing import Any, Final, Literal

import orjson

from otel_ml.statistics.fields import CELLS, HIDDEN, TABLES, FieldSketch, merge_fields, sketch_field
from otel_ml.statistics.projections import (
    NORM,
    PROJECTIONS,
    Projected,
    is_embedding,
    project,
)
from otel_ml_collector.store.reader import Row

Section = Literal["inputs", "outputs", "params", "run", "errors"]
SECTIONS: Final[tuple[Section, ...]] = ("inputs", "outputs", "params")
MOST_FIELDS: Final = 100
# Maximum number of table columns, in addition to `MOST_FIELDS`.
MOST_COLUMNS: Final = 50
# Maximum number of table cells per model and hour. Cells of the first runs are used.
_MOST_CELLS: Final = 100_000
MOST_DEPTH: Final = 4
# Maximum number of paths per model and hour. Keys that are IDs create a path each.
_MOST_PATHS: Final = 1_000
_LONGEST_PATH: Final = 200
# Maximum number of characters that are read of a text.
_MOST_CHARS: Final = 20_000
# Measured values of every run. Failed runs also have `error_type`.
FIGURES: Final = (
    "latency_ms",
    "first_token_ms",
    "stream_chunks",
    "input_tokens",
    "output_tokens",
    "cost",
    "outcome",
)
_ERROR_TYPE: Final = "error_type"
# Values that JSON cannot represent have a tag: docs/wire.md. The parts of these types are JSON.
_TAG: Final = "$"
_TAGGED: Final = "v"
_IN_PARTS: Final = frozenset({"fields", "member", "tuple", "set", "frozenset"})
_REDACTED: Final = "[redacted]"
# These are texts, because JSON has no infinite numbers.
_INFINITE: Final = ("Infinity", "-Infinity")
# `shape` of an array or a table, `size` of an image.
_SIZES: Final = ("shape", "size")
_PROJECTIONS: Final = "projections"
# In tables, `cells` has the values of evenly spread rows, by column. An array that is shown
# completely has `values`.
_TABLE_CELLS: Final = "cells"
_TABLE_ROWS: Final = "values"
_Version = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ColumnCells:
    """The sampled cells of a table column. None is a missing value."""

    values: tuple[object, ...]

    @property
    def present(self) -> list[object]:
        """The cells that have a value."""
        return [value for value in self.values if value is not None]


def section_of(path: str) -> Section:
    """Return the part of a run to which a field belongs: ``inputs`` for ``inputs.age``.

    A run without this part does not count as a run in which the field is missing. For example, the
    age is not missing in a run without inputs.
    """
    for section in SECTIONS:
        if path.startswith(section) and path[len(section) : len(section) + 1] in ("", ".", "["):
            return section
        if path.startswith(f"len({section}"):
            return section
    return "errors" if path == _ERROR_TYPE else "run"


def read_values(section: Section, text: str) -> Iterator[tuple[str, object]]:
    """Parse a payload from JSON, and yield its values like `walk_values`; none if it is invalid."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    yield from walk_values(section, parsed)


def walk_values(section: Section, payload: object) -> Iterator[tuple[str, object]]:
    """Yield each number, text and bool of a run's inputs, outputs or parameters, with its path.

    For example, inputs with an age yield ``("inputs.age", 41)``.

    * A list yields its length, with the path ``len(inputs.items)``. If it is a conversation, the
      values of its last message follow. If it is a long list of numbers, it is treated as an
      embedding, and a summary of it follows. Other elements are left out.
    * For an array, table or image, the sender sends a description instead of all values. It yields
      the shape or size, numbers such as the brightness of an image, and a sample of the cells of
      each table column (`ColumnCells`).
    * A value that the sender redacted or shortened is yielded as None.

    Args:
        section: First step of all paths: ``inputs``, ``outputs`` or ``params``.
        payload: The inputs, outputs or parameters, parsed from JSON.
    """
    yield from _walk(section, payload, 0)


def _walk(path: str, value: Any, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        if _TAG not in value:
            if depth < MOST_DEPTH:
                for key, member in value.items():
                    step = write_step(key)
                    is_read = (key == _PROJECTIONS and NORM in value) or (
                        key == _TABLE_CELLS and _is_described(value)
                    )  # `_walk_described` reads these
                    if len(path) + len(step) <= _LONGEST_PATH and not is_read:
                        yield from _walk(path + step, member, depth + 1)
            yield from _walk_described(path, value)
        elif value[_TAG] in _IN_PARTS and _TAGGED in value:
            yield from _walk(f"{path}.{_TAGGED}", value[_TAGGED], depth)
        else:
            yield path, None
    elif isinstance(value, list):
        yield f"len({path})", len(value)
        if is_embedding(value):
            yield path, project(value)
        if depth < MOST_DEPTH and value and isinstance(value[-1], dict) and "role" in value[-1]:
            yield from _walk(f"{path}[-1]", value[-1], depth + 1)
    elif isinstance(value, str):
        yield path, None if _REDACTED in value else value[:_MOST_CHARS]
    elif value is not None:
        yield path, value


def _walk_described(path: str, value: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield table columns, sizes and embedding from the description of an array, table or image."""
    if not _is_described(value):
        return
    for name, cells in _list_columns(value):
        step = path + write_step(_TABLE_CELLS) + write_step(name)
        if len(step) <= _LONGEST_PATH:
            yield step, cells
    for name in _SIZES:
        sizes = value.get(name)
        if isinstance(sizes, list) and len(sizes) <= MOST_DEPTH:
            yield from (
                (f"{path}.{name}[{place}]", size)
                for place, size in enumerate(sizes)
                if isinstance(size, int)
            )
    norm, projections = value.get(NORM), value.get(_PROJECTIONS)
    if (
        isinstance(norm, float)
        and isinstance(projections, list)
        and len(projections) == PROJECTIONS
        and is_embedding([norm, *projections])
    ):
        yield path, Projected(norm, tuple(projections))


def _is_described(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("type"), str)


def _list_columns(value: Mapping[str, Any]) -> Iterator[tuple[str, ColumnCells | None]]:
    """List the columns of a described table with their cells; None for a redacted column."""
    columns = value.get(_TABLE_CELLS)
    if not isinstance(columns, dict):
        shape, rows = value.get("shape"), value.get(_TABLE_ROWS)
        is_table = isinstance(shape, list) and len(shape) == 2 and isinstance(rows, list)  # noqa: PLR2004 - rows and columns
        if not is_table or not all(isinstance(row, list) for row in rows or ()):
            return
        columns = {
            str(place): [*column]
            for place, column in enumerate(zip(*(rows or ()), strict=False))
            if place <= MOST_COLUMNS
        }
        if len(columns) > MOST_COLUMNS:  # such as a picture
            return
    for name, cells in list(columns.items())[:MOST_COLUMNS]:
        if isinstance(cells, list):
            yield name, ColumnCells(tuple(map(_read_cell, cells)))
        else:
            yield name, None


def _read_cell(cell: object) -> object:
    if isinstance(cell, str):
        return None if _REDACTED in cell or cell in _INFINITE else cell
    return cell if isinstance(cell, (int, float)) else None


def write_step(key: str) -> str:
    """Write a key of a mapping as a step of a path: ``.age``, ``["mean age"]``."""
    return f".{key}" if key.isidentifier() else f"[{dumps(key, ensure_ascii=False)}]"


@dataclass(slots=True)
class _Gathered:
    """Values of the runs of a version in one hour, before they are summarized."""

    sections: Counter[str] = field(default_factory=Counter)
    values: defaultdict[str, tuple[list[object], list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )
    hidden: Counter[str] = field(default_factory=Counter)
    cells: Counter[str] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, value: object, session: str) -> None:
        if value is None:
            self.hidden[path] += 1
            return
        values, sessions = self.values[path]
        if isinstance(value, ColumnCells):
            present = value.present
            values += present
            sessions += [session] * len(present)
            self.cells[path] += len(value.values)
            self.tables[path] += 1
        else:
            values.append(value)
            sessions.append(session)

    def count_runs(self, path: str) -> int:
        """Count the runs that have a field. For a column, count the runs with that table column."""
        values, _ = self.values.get(path, ((), ()))
        return self.tables.get(path, len(values)) + self.hidden[path]


@dataclass(frozen=True, slots=True)
class VersionFields:
    """The fields of the runs of one model version in a period, with a summary of their values.

    Attributes:
        sections: Numbers of runs under five keys. `run`: all runs. `errors`: runs that failed.
            `inputs`, `outputs`, `params`: runs that have inputs, outputs or parameters.
        fields: Summary of the values of each field, by path, such as ``inputs.age``.
    """

    sections: Mapping[str, int]
    fields: Mapping[str, FieldSketch]

    def filled(self, paths: Iterable[str]) -> dict[str, FieldSketch]:
        """Return the summaries of some fields, each with the number of expected values.

        For example, if 100 runs have inputs and 90 of them have ``inputs.age``, then `runs` of this
        field is 100, and the age is missing in 10 % of them. In each summary, `runs` is:

        * For a field of the inputs, outputs or parameters: number of runs with inputs, outputs or
          parameters.
        * For a table column: number of cells.
        * For a measured value, such as the latency, or a score: number of runs with the value. None
          are counted as missing.

        Args:
            paths: Paths of the fields, such as ``inputs.age``.
        """
        return {path: self._fill(path, self.fields.get(path, FieldSketch())) for path in paths}

    def _fill(self, path: str, own: FieldSketch) -> FieldSketch:
        section = section_of(path)
        if own.types.get(CELLS):
            runs = own.types[CELLS] + own.types.get(HIDDEN, 0)
        elif section in SECTIONS:
            runs = self.sections.get(section, 0)
        else:
            runs = sum(own.types.values())
        return replace(own, runs=runs)


def merge_versions(parts: Iterable[VersionFields]) -> VersionFields:
    """Merge the summaries of versions or hours, and keep the 100 fields that the most runs have."""
    sections: Counter[str] = Counter()
    fields: defaultdict[str, list[FieldSketch]] = defaultdict(list)
    for part in parts:
        sections.update(part.sections)
        for path, sketch in part.fields.items():
            fields[path].append(sketch)
    merged = {path: merge_fields(sketches) for path, sketches in fields.items()}
    return VersionFields(dict(sections), _keep_most(merged))


def _keep_most(fields: Mapping[str, FieldSketch]) -> dict[str, FieldSketch]:
    """Keep all measured values, and those fields of payloads that the most runs have."""
    columns = {path for path, own in fields.items() if own.types.get(CELLS)}
    counts = {
        path: own.types[TABLES] if path in columns else sum(own.types.values())
        for path, own in fields.items()
    }
    return {path: fields[path] for path in _choose_most(counts, columns)}


def _choose_most(counts: Mapping[str, int], columns: Set[str]) -> list[str]:
    """Choose the fields to keep: those of payloads by number of runs, and columns separately."""
    own = sorted(
        (path for path in counts if section_of(path) in SECTIONS),
        key=lambda path: (-counts[path], path),
    )
    most = [path for path in own if path not in columns][:MOST_FIELDS]
    most += [path for path in own if path in columns][:MOST_COLUMNS]
    return sorted({*most, *(path for path in counts if section_of(path) not in SECTIONS)})


def sketch_runs(
    rows: Iterable[Row], scores: Mapping[str, Iterable[tuple[str, object]]]
) -> dict[_Version, VersionFields]:
    """Summarize the values of each field in the runs of one hour, for each model version.

    Args:
        rows: Runs with `run_id`, `model`, `digest`, `structure`, `session`, `inputs`, `outputs`,
            `params`, `error_type` and the measured values in `FIGURES`, such as `latency_ms`. If
            there are too many fields or table cells, only the first ones are used. To get the same
            result each time, pass the runs in the same order.
        scores: For each run ID, the scores of the run as pairs (path, value). The path names the
            judge and its version.

    Returns:
        The summaries by version. A version is (model, digest, structure).
    """
    by_version: defaultdict[_Version, _Gathered] = defaultdict(_Gathered)
    known: defaultdict[str, set[str]] = defaultdict(set)
    cells: Counter[str] = Counter()
    for row in rows:
        model = row["model"]
        is_full = cells[model] >= _MOST_CELLS
        gathered = by_version[model, row["digest"], row["structure"]]
        gathered.sections["run"] += 1
        gathered.sections["errors"] += row["outcome"] == "error"
        gathered.sections.update(section for section in SECTIONS if row[section])
        for path, value in chain(_walk_run(row), scores.get(row["run_id"], ())):
            if isinstance(value, ColumnCells):
                if is_full:
                    continue
                cells[model] += len(value.values)
            if path in known[model] or len(known[model]) < _MOST_PATHS:
                known[model].add(path)
                gathered.add(path, value, row["session"])
    return _sketch_gathered(by_version)


def sketch_payloads(payloads: Iterable[Mapping[Section, object]]) -> VersionFields:
    """Summarize the fields of payloads that belong to no run, such as data set items."""
    gathered = _Gathered()
    for place, sections in enumerate(payloads):
        for section, payload in sections.items():
            if payload is not None:
                gathered.sections[section] += 1
                for path, value in walk_values(section, payload):
                    gathered.add(path, value, str(place))
    return _sketch_gathered({("", "", ""): gathered})["", "", ""]


def _walk_run(row: Row) -> Iterator[tuple[str, object]]:
    """Yield the measured values of a run and the values of its payloads, each with its path."""
    for figure in FIGURES:
        if row[figure] is not None:
            yield figure, row[figure]
    if row["outcome"] == "error" and row[_ERROR_TYPE]:
        yield _ERROR_TYPE, row[_ERROR_TYPE]
    for section in SECTIONS:
        if row[section]:
            yield from read_values(section, row[section])


def _sketch_gathered(by_version: Mapping[_Version, _Gathered]) -> dict[_Version, VersionFields]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    columns: set[str] = set()
    for (model, _, _), gathered in by_version.items():
        columns |= gathered.tables.keys()
        for path in gathered.values.keys() | gathered.hidden.keys():
            counts[model][path] += gathered.count_runs(path)
    kept = {model: set(_choose_most(of_model, columns)) for model, of_model in counts.items()}
    return {
        version: VersionFields(
            dict(gathered.sections),
            {
                path: sketch_field(
                    *gathered.values.get(path, ((), ())),
                    runs=0,
                    hidden=gathered.hidden[path],
                    cells=gathered.cells[path],
                    tables=gathered.tables[path],
                )
                for path in sorted(gathered.values.keys() | gathered.hidden.keys())
                if path in kept[version[0]]
            },
        )
        for version, gathered in by_version.items()
    }
