"""Data sets: items to run a function on, identified by their content."""

import csv
import logging
import math
import os
import time
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import orjson

from otel_ml import attributes as names
from otel_ml.arguments import (
    check_callable,
    check_mapping,
    check_optional_text,
    check_text,
    invalid,
    show,
)
from otel_ml.capture.description import type_name
from otel_ml.counts import write_count
from otel_ml.errors import quiet
from otel_ml.experiments.value_text import write_value
from otel_ml.export.answer import REFUSED
from otel_ml.items import (
    ID_WANTED,
    REASON_CHARS,
    digest_item,
    digest_version,
    find_documents,
    is_item_id,
    name_items,
    refer_document,
    write_version,
)
from otel_ml.late import late
from otel_ml.metrics import make_data_points, point_attributes
from otel_ml.notebook import Card, HasCard, note, table
from otel_ml.process import marking
from otel_ml.recorder import Recorder
from otel_ml.records import ACTUAL_NAME, DatasetVersion
from otel_ml.tags import tag_attributes, tags_of
from otel_ml.updates import POINTS
from otel_ml.wire import Event, HasSubject, Subject

if TYPE_CHECKING:
    from otel_ml import artifact, types
    from otel_ml.reader import api
    from otel_ml.reader import errors as unread
    from otel_ml.reader import reader as reading
    from otel_ml.reader.reader import Reader
else:
    api = late("reader.api")
    artifact = late("artifact")
    types = late("types")
    reading = late("reader.reader")
    unread = late("reader.errors")

_logger = logging.getLogger(__name__)

Expected = Callable[[Any], object] | Literal["outputs", "actual"] | None

_DESCRIPTION_CHARS: Final = 65_536
_TAG_CHARS: Final = 16
_SHOWN_ITEMS: Final = 20
_ITEM_BYTES: Final = 1024 * 1024
_ROOM_EVERY: Final = 5_000
_ASK_S: Final = 10.0
_CELL_CHARS: Final = 80
_NAMED_ITEMS: Final = 5
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
_JSON_LEAVES: Final = frozenset({str, bool, type(None)})
# Keys of a row that are not inputs.
_ROW_PARTS: Final = frozenset({"inputs", "expected", "id", "tags", "source_run", "source_session"})
_EXPECTED_ROWS: Final = "a list of inputs, or of mappings with the key inputs"
_EXPECTED_RUNS: Final = "runs from reader.runs(...) or otel_ml.testing.record"
_TABLE_MODULES: Final = ("pandas.", "polars.", "pyarrow.")
_EXPECTED_TAGS: Final = "a mapping of names to values"
_EXPECTED: Final = "None, 'outputs', 'actual', or a function of a run"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a data set: inputs for a function, and the correct answer if it is known.

    Attributes:
        id: Id of the item within its data set.
        inputs: Arguments for the function under test.
        expected: The correct answer. None if unknown.
        tags: Tag values by name. Experiments also show results per tag value.
        source_run: Id of the recorded run that the item was created from. Empty if there is none.
        digest: Hash of inputs, expected answer and tags: 64 hex digits.
        is_named: Whether you chose the id. If False, the id is a hash of the inputs.
        source_session: Session of the source run, or empty. Items of the same session are not
            independent, and confidence intervals take this into account.
    """

    id: str
    inputs: Any
    expected: Any = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    source_run: str = ""
    digest: str = ""
    is_named: bool = False
    source_session: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two data sets: ids of added, removed and changed items."""

    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    changed: Sequence[str] = ()

    def __str__(self) -> str:
        """Return the number of added, removed and changed items, such as ``+2 −0 ~1``."""
        return f"+{len(self.added)} −{len(self.removed)} ~{len(self.changed)}"


class Dataset(HasCard, HasSubject):
    """A named, immutable list of items. It exists only in this process until you save or use it.

    Args:
        name: Name of the data set. All its versions have this name.
        data: The items, one per row. If a row is a mapping, it can have the keys ``inputs``,
            ``expected``, ``id`` and ``tags``. All other keys become inputs. If a row is not a
            mapping, it is used as the inputs. Values can be anything that `Run.log` accepts.
        description: What the data set is for.

    Attributes:
        items: The items in their order.
        digest: Hash of the content, 64 hex digits. The same items give the same hash on every
            machine, and so the same version.
        left_out: Number of runs that `from_runs` skipped, by reason. Empty for other data sets.
        duplicates: Ids of items that occurred more than once with the same content. They are kept
            once.

    Raises:
        ValueError: An argument is invalid, or two different items have the same id.
    """

    def __init__(self, name: str, data: Iterable[Any] = (), description: str = "") -> None:
        self.name = check_text("name", name)
        self.description = check_text(
            "description", description, _DESCRIPTION_CHARS, may_be_empty=True
        )
        check_rows("data", data, _EXPECTED_ROWS)
        items = [_item(row, at) for at, row in enumerate(data)]
        self.items: tuple[Item, ...] = _named(items)
        counts = Counter(item.id for item in items if item.is_named)
        self.duplicates = [item for item, count in counts.items() if count > 1]
        self._by_id = {item.id: item for item in self.items}
        self.digest = digest_version({item.id: item.digest for item in self.items})
        self.left_out: Mapping[str, int] = {}

    @classmethod
    def read(cls, path: str | os.PathLike[str], name: str | None = None) -> "Dataset":
        """Read a data set from a file with one item per line or row.

        The file can be ``.jsonl``, ``.csv`` or ``.parquet``.

        Args:
            path: The file. Its columns can be ``inputs``, ``expected``, ``id`` and ``tags``. All
                other columns become inputs with the column's name. In a CSV file the cells of
                ``inputs`` and ``tags`` are JSON.
            name: Name of the data set. Default: the file's name without its suffix.

        Raises:
            ValueError: The file has another suffix, or a line is not a valid item.
            OSError: The file cannot be read.
            ImportError: The file is Parquet and pyarrow is not installed.
        """
        if not issubclass(type(path), str | os.PathLike) or not os.fspath(path):
            raise invalid("path", path, "the path of a .jsonl, .csv or .parquet file")
        check_optional_text("name", name)
        file = Path(path)
        reader = _FILE_READERS.get(file.suffix.lower())
        if reader is None:
            raise invalid("path", os.fspath(path), "a .jsonl, .csv or .parquet file")
        return cls(name or file.stem, reader(file))

    @classmethod
    def from_frame(
        cls,
        name: str,
        frame: Any,
        inputs: Sequence[str] | None = None,
        expected: str | None = None,
        *,
        id: str | None = None,
        tags: Sequence[str] = (),
        description: str = "",
    ) -> "Dataset":
        """Create a data set from a pandas, polars or pyarrow table. Missing values become None.

        Args:
            name: Name of the data set.
            frame: The table, with one row per item.
            inputs: Names of the columns that become inputs of the function under test. Default: all
                columns except `expected`, `id` and `tags`.
            expected: Name of the column with the correct answers.
            id: Name of the column with the item ids.
            tags: Names of the columns that become tags of the items.
            description: What the data set is for.

        Raises:
            ValueError: `frame` is not a table, a column does not exist, or two different items have
                the same id.
        """
        rows = _rows_of(frame)
        for argument, given in (("expected", expected), ("id", id)):
            check_optional_text(argument, given)
        named = (("inputs", () if inputs is None else inputs), ("tags", tags))
        for argument, several in named:
            if not issubclass(type(several), list | tuple):
                raise invalid(argument, several, "a list of columns")
            for column in several:
                check_text(argument, column)
        others = {expected, id, *tags}

        def read(row: Mapping[str, Any]) -> dict[str, Any]:
            chosen = [cell for cell in row if cell not in others] if inputs is None else inputs
            made: dict[str, Any] = {
                "inputs": {item: _cell_of(row, item, "inputs") for item in chosen}
            }
            made["expected"] = None if expected is None else _cell_of(row, expected, "expected")
            made["tags"] = {tag: _cell_of(row, tag, "tags") for tag in tags}
            if id is not None:
                made["id"] = str(_cell_of(row, id, "id"))
            return made

        return cls(name, map(read, rows), description)

    @classmethod
    def from_runs(
        cls, name: str, runs: Iterable[Any], expected: Expected = None, description: str = ""
    ) -> "Dataset":
        """Create a data set from recorded runs, with one item per run.

        Each item keeps the id and the session of its run. A run is skipped if its inputs or its
        correct answer were not recorded completely. `left_out` counts the skipped runs by reason.

        Args:
            name: Name of the data set.
            runs: Runs from `otel_ml.reader.Reader.runs` or `otel_ml.testing.record`.
            expected: Where the correct answer comes from: ``"outputs"`` for the recorded output,
                ``"actual"`` for the ground truth of the run, or a function that takes a run and
                returns the answer. None for no answer.
            description: What the data set is for.

        Raises:
            ValueError: An argument is invalid.
            ReaderError: The collector does not answer.
        """
        is_word = issubclass(type(expected), str) and expected in {"outputs", "actual"}
        if not (expected is None or is_word):
            check_callable("expected", expected, _EXPECTED)
        check_rows("runs", runs, _EXPECTED_RUNS)
        left_out: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        for run in runs:
            row = _row_of(run, expected)
            if isinstance(row, str):
                left_out[row] += 1
            else:
                rows.append(row)
        made = cls(name, rows, description)
        made.left_out = dict(left_out)
        return made

    @classmethod
    def load(cls, name: str, *, reader: "Reader | None" = None) -> "Dataset":
        """Load a data set from the collector.

        Arrays, tables and images have the same type as when they were saved.

        Args:
            name: A name with a version, such as ``qa:v3``. A name alone, such as ``qa``, loads the
                newest version whose items are all stored.
            reader: Client to read with. Default: one that environment variables configure.

        Raises:
            NotFound: There is no such data set.
            ValueError: There is no such version, some of its items are not stored, or the content
                of an item was cut when it was recorded.
            ReaderError: The collector does not answer.
        """
        check_text("name", name)
        if reader is None:
            with reading.Reader() as made:
                return cls.load(name, reader=made)
        if not issubclass(type(reader), reading.Reader):
            raise invalid("reader", reader, "a Reader, or None")
        numbered = names.NUMBERED.fullmatch(name)
        bare, number = (numbered[1], int(numbered[2])) if numbered else (name, 0)
        chosen = choose_version(reader.dataset_versions(bare), number)
        if chosen is None:
            raise ValueError(f"Data set {bare!r} has no version {number}")
        if not chosen.is_complete:
            raise ValueError(
                f"Data set {bare}:v{chosen.version} is incomplete "
                f"({chosen.stored:,} of {write_count(chosen.items, 'item')})"
            )
        items = [*reader.dataset_items(bare, chosen.version)]
        cut = [item.id for item in items if not item.is_whole]
        if cut:
            raise ValueError(
                f"Items of {bare}:v{chosen.version} were not recorded completely: "
                + ", ".join(cut[:_NAMED_ITEMS])
            )
        rows = [
            Item(
                item.id,
                item.inputs,
                item.expected,
                item.tags,
                item.source_run or "",
                item.digest,
                is_named=True,
                source_session=item.source_session or "",
            )
            for item in items
        ]
        return cls(bare, rows, chosen.description)

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the items in their order."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def __getitem__(self, item_id: str, /) -> Item:
        """Return the item with this id.

        Raises:
            KeyError: There is no such item.
        """
        return self._by_id[item_id]

    def __eq__(self, other: object) -> bool:
        """Return whether name and content are equal."""
        return isinstance(other, Dataset) and self._known_by == other._known_by

    def __hash__(self) -> int:
        """Return a hash of name and content."""
        return hash(self._known_by)

    def __add__(self, other: "Dataset") -> "Dataset":
        """Join two data sets. An item that is in both appears once.

        Raises:
            ValueError: Two different items have the same id.
        """
        if not isinstance(other, Dataset):
            return NotImplemented
        here = Counter(map(_mark, self.items))
        added = []
        for item in other.items:
            if here[_mark(item)]:
                here[_mark(item)] -= 1
            else:
                added.append(item)
        described = " ".join(filter(None, dict.fromkeys([self.description, other.description])))
        return Dataset(f"{self.name}+{other.name}", [*self.items, *added], described)

    def diff(self, before: "Dataset") -> Changes:
        """Compare this data set with an older one.

        Args:
            before: The older data set.

        Returns:
            Ids of the items that were added, removed or changed since `before`.

        Raises:
            ValueError: `before` is not a data set.
        """
        if not issubclass(type(before), Dataset):
            raise invalid("before", before, "a Dataset")
        theirs = before._by_id
        return Changes(
            added=[item.id for item in self.items if item.id not in theirs],
            removed=[item.id for item in before.items if item.id not in self._by_id],
            changed=[
                item.id
                for item in self.items
                if item.id in theirs and theirs[item.id].digest != item.digest
            ],
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the items as table rows, with one column per input and a column ``expected``.

        If an item's inputs are a single value instead of a mapping, the column is named ``inputs``.
        """
        return [
            {
                **(item.inputs if isinstance(item.inputs, Mapping) else {"inputs": item.inputs}),
                "expected": item.expected,
            }
            for item in self.items
        ]

    @property
    def tag(self) -> str:
        """Name of this version, ``name@digest``, with the first 16 digits of its hash.

        It is computed without a collector.
        """
        return f"{self.name}@{self.digest[:_TAG_CHARS]}"

    @property
    def _known_by(self) -> tuple[str, str]:
        return self.name, self.digest

    @property
    def _subject(self) -> Subject:
        return Subject("dataset", self.name, self.digest)

    @property
    def _card(self) -> Card:
        count = len(self.items)
        text = f"{count:,} item{'s' * (count != 1)}"
        return Card("Dataset", self.name, (text, self.digest[:_TAG_CHARS]))

    def _repr_html_(self) -> str:
        rows = [
            ("", (item.id, *(_cell(part) for part in (item.inputs, item.expected, item.tags))))
            for item in self.items[:_SHOWN_ITEMS]
        ]
        shown = table(("id", "inputs", "expected", "tags"), rows)
        left = len(self.items) - len(rows)
        more = note(f"and {left:,} more") if left else ""
        return self._card.html + shown + more


def choose_version(versions: Sequence[DatasetVersion], number: int) -> DatasetVersion | None:
    """Select a version of a data set by its number, or the newest complete version.

    Args:
        versions: The versions, the newest first.
        number: The version number. 0 selects the newest version whose items are all stored. If
            there is no such version, it selects the newest one.

    Returns:
        The version. None if there is none with this number.
    """
    if number:
        return next((version for version in versions if version.version == number), None)
    newest = (version for version in versions if version.is_newest)
    return next(newest, versions[0] if versions else None)


def choose_items(dataset: Dataset, limit: int | None, sample: float) -> tuple[Item, ...]:
    """Select some items of a data set. The same arguments always select the same items.

    Args:
        dataset: The data set.
        limit: Maximum number of items. None for no limit.
        sample: Share of the items, from 0 to 1. If `limit` is also given, the smaller number
            applies.

    Returns:
        The items in the order of the data set.
    """
    count = len(dataset.items)
    wanted = min(count if limit is None else limit, math.ceil(count * sample))
    if wanted == count:
        return dataset.items
    by_digest = sorted(dataset.items, key=lambda item: (item.digest, item.id))
    chosen = {item.id for item in by_digest[:wanted]}
    return tuple(item for item in dataset.items if item.id in chosen)


class TypedValue(NamedTuple):
    """An array, table or image in an item, with the SHA-256 of its stored content."""

    sha256: str
    value: Any


def content_of(value: Any, documents: list[TypedValue]) -> Any:
    """Convert an item's inputs or expected answer to JSON, to store and to hash it.

    Arrays, tables, images and other objects are stored separately. In the JSON, each of them is
    replaced by the SHA-256 of its content.

    Args:
        value: The inputs or the expected answer. Any type.
        documents: List to which the separately stored objects are appended.
    """
    kind = type(value)
    if kind in _JSON_LEAVES:
        return value
    if kind is int and _INT64_MIN <= value <= _UINT64_MAX:
        return value
    if kind is float and math.isfinite(value):
        return value
    if kind is list:
        return [content_of(item, documents) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: content_of(value, documents) for key, value in value.items()}
    data = types.wrap(value)
    typed_value = TypedValue(sha256(types.dump(data)).hexdigest(), value)
    documents.append(typed_value)
    return refer_document(data.type_name, typed_value.sha256)


def fresh(value: Any) -> Any:
    """Copy the lists and dicts in a data set item's value before a function is called with it.

    So the function cannot change the item.
    """
    kind = type(value)
    if kind is dict:
        return {key: fresh(value) for key, value in value.items()}
    return [fresh(item) for item in value] if kind is list else value


def check_rows(argument: str, given: object, expected: str) -> None:
    """Check that an argument is a list or another iterable of rows.

    Args:
        argument: Name of the argument, for the error message.
        given: Its value.
        expected: What is expected instead, for the error message.

    Raises:
        ValueError: The argument is a text, a mapping, a table, or not iterable.
    """
    kind = type(given)
    is_none = issubclass(kind, str | bytes | Mapping) or type_name(given).startswith(_TABLE_MODULES)
    if is_none or not issubclass(kind, Iterable):
        raise invalid(argument, given, expected)


def _item(row: Any, at: int) -> Item:
    """Read one row. A row without an id gets one later."""
    if type(row) is Item:
        return row if row.digest else _made(row)
    if not issubclass(type(row), Mapping):
        return _made(Item("", fresh(row)))
    entries: dict[Any, Any] = dict(row)
    rest = {key: entries[key] for key in entries if key not in _ROW_PARTS}
    if "inputs" in entries:
        inputs = entries["inputs"]
        if rest and issubclass(type(inputs), Mapping):
            inputs = {**rest, **inputs}
        elif rest:
            raise ValueError(
                f"Invalid row {at + 1} with inputs {show(inputs)} and the columns "
                f"{show([*rest])}: expected inputs as a dict, or no other columns"
            )
    else:
        inputs = rest
    tags = entries.get("tags")
    item = Item(
        _id_of(entries.get("id"), at),
        fresh(dict(inputs) if issubclass(type(inputs), Mapping) else inputs),
        fresh(entries.get("expected")),
        {} if tags is None else tags_of(check_mapping("tags", tags, _EXPECTED_TAGS)),
        check_text("source_run", entries.get("source_run") or "", may_be_empty=True),
        source_session=check_text(
            "source_session", entries.get("source_session") or "", may_be_empty=True
        ),
    )
    return _made(item)


def _made(item: Item) -> Item:
    documents: list[TypedValue] = []
    inputs, expected, tags = (
        content_of(part, documents) for part in (item.inputs, item.expected, dict(item.tags))
    )
    try:
        digest = digest_item(inputs, expected, tags)
    except TypeError as error:  # a lone surrogate
        raise ValueError(f"Invalid item {item.id!r}: expected valid Unicode text") from error
    return replace(item, digest=digest, is_named=bool(item.id))


def _id_of(given: object, at: int) -> str:
    if given is None or given == "":
        return ""
    text = str(given) if type(given) is int else given
    if not is_item_id(text):
        raise ValueError(f"Invalid id {show(given)} of row {at + 1}: expected {ID_WANTED}")
    return str(text)


def _named(items: Sequence[Item]) -> tuple[Item, ...]:
    """Give ids to the items that have none. Equal items with one id are kept once.

    Raises:
        ValueError: Two different items have the same id. The message shows both.
    """
    known: dict[str, Item] = {}
    kept: list[Item] = []
    for item in items:
        if item.is_named:
            first = known.setdefault(item.id, item)
            if first.digest != item.digest:
                raise ValueError(
                    f"Two different items have the id {item.id!r}: "
                    f"{_cell(first.inputs)} (digest {first.digest[:_TAG_CHARS]}) and "
                    f"{_cell(item.inputs)} (digest {item.digest[:_TAG_CHARS]})"
                )
            if first is not item:
                continue
        kept.append(item)
    if not all(item.is_named for item in kept):
        ids = name_items(
            [
                (item.id if item.is_named else "", content_of(item.inputs, []), item.digest)
                for item in kept
            ]
        )
        kept = [
            item if item.is_named else replace(item, id=name)
            for item, name in zip(kept, ids, strict=True)
        ]
    # Equal items get one source run, whatever their order: the store keeps one of them.
    sources: dict[str, tuple[str, str]] = {}
    for item in kept:
        own = item.source_session, item.source_run
        sources[item.digest] = max(own, sources.get(item.digest, own))
    return tuple(
        item
        if (item.source_session, item.source_run) == (session, run)
        else replace(item, source_run=run, source_session=session)
        for item in kept
        for session, run in (sources[item.digest],)
    )


def _mark(item: Item) -> tuple[str, str]:
    return item.id if item.is_named else "", item.digest


def _cell(value: object) -> str:
    """Return a value as one short line of text."""
    text = write_value(value)
    return text if len(text) <= _CELL_CHARS else f"{text[: _CELL_CHARS - 1]}…"


def _read_jsonl(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            # Excel and PowerShell start a UTF-8 file with a byte order mark.
            line = text.removeprefix(BOM_UTF8) if number == 1 else text
            if line.strip():
                try:
                    yield orjson.loads(line)
                except ValueError as error:
                    raise ValueError(f"Line {number} of {path} is not JSON: {error}") from error


def _read_csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check_names(filter(None, reader.fieldnames or ()), str(path))
        for number, row in enumerate(reader, 1):
            entries: dict[str, Any] = dict(row)
            if None in entries:
                raise ValueError(f"Row {number} of {path} has more cells than the header")
            for part in ("inputs", "tags"):
                if entries.get(part):
                    try:
                        entries[part] = orjson.loads(entries[part])
                    except ValueError as error:
                        raise ValueError(f"Row {number} of {path}: {part} is not JSON") from error
                else:
                    entries.pop(part, None)
            yield entries


def _read_parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import parquet  # optional, and few files are Parquet
    except ImportError as error:
        raise ImportError("Reading Parquet needs pyarrow: run pip install pyarrow") from error
    yield from _rows_of(parquet.read_table(path))


_FILE_READERS: Final[Mapping[str, Callable[[Path], Iterator[Any]]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _rows_of(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a pandas, polars or pyarrow table.

    Raises:
        ValueError: The value is no such table, or two of its columns have the same name.
    """
    package = type(frame).__module__.partition(".")[0]
    if package == "pandas" and type(frame).__name__ == "DataFrame":
        _check_names(frame.columns, "the table")
        return cast("list[dict[str, Any]]", frame.to_dict("records"))
    if package == "polars" and type(frame).__name__ == "DataFrame":
        return cast("list[dict[str, Any]]", frame.to_dicts())
    if package == "pyarrow" and type(frame).__name__ == "Table":
        _check_names(frame.column_names, "the table")
        return cast("list[dict[str, Any]]", frame.to_pylist())
    raise invalid("frame", frame, "a pandas, polars or pyarrow table")


def _check_names(names: Iterable[Any], table: str) -> None:
    """Check that no two columns have one name, because a row keeps only one of their cells."""
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"Columns of {table} have the same name {show(doubled[0])}")


def _cell_of(row: Mapping[str, Any], name: str, argument: str) -> Any:
    if name not in row:
        raise invalid(argument, name, f"one of the columns {show([*row])}")
    value = row[name]
    is_missing = type(value).__name__ in {"NAType", "NaTType"}
    return None if is_missing or (type(value) is float and math.isnan(value)) else value


def _row_of(run: Any, expected: Expected) -> dict[str, Any] | str:
    """Return the row of a run, or the reason why the run is skipped."""
    if not hasattr(type(run), "inputs"):
        raise invalid("runs", run, _EXPECTED_RUNS)
    inputs = run.inputs
    if inputs is None:
        return "without inputs"
    capture = capture_of(run)
    if cut := write_cut(capture, "inputs"):
        return cut
    right: Any = None
    if expected == "outputs":
        if run.outcome != "ok" or capture.get("outputs"):
            return "without a whole output"
        right = run.outputs
    elif expected == "actual":
        truth = getattr(run, "truth", {})
        if ACTUAL_NAME not in truth:
            return "without ground truth"
        right = truth[ACTUAL_NAME]
    elif callable(expected):
        right = expected(run)
    run_id = getattr(run, "run_id", None) or run.id
    return {
        "inputs": inputs,
        "expected": right,
        "tags": dict(run.tags),
        "source_run": run_id,
        "source_session": getattr(run, "session", None),
    }


def capture_of(run: Any) -> Mapping[str, Sequence[str]]:
    """Return which parts of a run, such as inputs, were recorded incompletely, with the reasons."""
    if hasattr(type(run), "capture"):  # a run from a reader
        read: Mapping[str, Sequence[str]] = run.capture
        return read
    attribute = run.attributes.get(names.CAPTURE)
    capture = orjson.loads(attribute) if isinstance(attribute, str) else attribute
    return capture if isinstance(capture, dict) else {}


def write_cut(capture: Mapping[str, Sequence[str]], part: str) -> str:
    """Return why a part of a run is incomplete, such as ``inputs truncated``; empty if complete."""
    return f"{part} {' and '.join(capture[part])}" if capture.get(part) else ""


def send_dataset(recorder: Recorder, dataset: Dataset, reason: str = "") -> None:
    """Send a data set to the collector, unless this process sent it in the last 5 minutes.

    Args:
        recorder: Sends the records.
        dataset: The data set.
        reason: Why this version was created. With a reason, the data set is always sent.
    """
    # The digest does not cover the sessions, so send the data set again if they changed.
    sessions = hash(tuple(item.source_session for item in dataset.items))
    key = ("dataset", dataset.name, dataset.digest, sessions)
    if recorder.active() is None:
        return
    is_due = recorder.check_due(key, time.time_ns()) is None
    if not (is_due or reason):
        return
    with quiet("dataset"), marking({names.EXPERIMENT_NAME: dataset.name}):
        for number, item in enumerate(dataset.items if is_due else (), 1):
            record, events = _record(recorder, item)
            recorder.send_record("item", None, record, events)
            if number % _ROOM_EVERY == 0:
                recorder.make_room()
        digests = {item.id: item.digest for item in dataset.items}
        shown = recorder.redaction.shown
        version, records = write_version(
            dataset.name, digests, shown(dataset.description), shown(reason)
        )
        for parts in records:
            at_ns = time.time_ns()
            sent = [(names.ARTIFACT_EVENT, part, at_ns) for part in parts]
            recorder.send_record("update", None, version, sent)
        return
    recorder.forget(key)


def _record(recorder: Recorder, item: Item) -> tuple[dict[str, Any], list[Event]]:
    """Return an item as a record: its parts as JSON, its typed values as artifacts."""
    values: list[TypedValue] = []
    notes: dict[str, list[str]] = {}
    at_ns = time.time_ns()
    events: list[Event] = []
    facts: dict[str, Any] = {names.ITEM_DIGEST: item.digest}
    for part, attribute, value in (
        ("inputs", names.INPUTS, item.inputs),
        ("expected", names.ITEM_EXPECTED, item.expected),
    ):
        content = content_of(value, values)
        text, left_out = recorder.redaction.encode(content, _ITEM_BYTES)
        facts[attribute] = text
        by_hash = {value.sha256: value.value for value in values}
        for path, digest in find_documents(content, part) if values else ():
            if digest in by_hash:
                made = artifact.make_artifact(
                    path, by_hash[digest], recorder.redaction, is_typed=True
                )
                left_out |= {*made.notes}
                event = dict(made.facts)
                if made.document is not None:
                    event[names.ARTIFACT_URI] = recorder.upload(made.sha256, made.document) or ""
                events.append((names.ARTIFACT_EVENT, event, at_ns))
        if left_out:
            notes[part] = sorted(left_out)
    if item.tags:
        facts.update(tag_attributes(recorder.redaction.values(item.tags)))
    if item.source_run:
        facts[names.ITEM_SOURCE_RUN] = item.source_run
    if item.source_session:
        facts[names.ITEM_SOURCE_SESSION] = item.source_session
    if notes:
        facts[names.CAPTURE] = orjson.dumps(notes).decode()
    return facts, events


def send_data_metrics(recorder: Recorder, dataset: Dataset, metrics: Mapping[str, float]) -> None:
    """Send data metrics: numbers that describe a data set. Sends the data set too if needed."""
    if recorder.active() is None:
        return
    send_dataset(recorder, dataset)
    with quiet("dataset"):
        points = make_data_points(metrics)
        facts = {
            names.TARGET_MODEL: dataset.name,
            names.TARGET_VERSION: dataset.digest,
            names.TARGET_KIND: "dataset",
        }
        for start in range(0, len(points), POINTS):
            part = point_attributes(points[start : start + POINTS])
            recorder.send_record("update", None, {**facts, **part})


def save(recorder: Recorder, dataset: Dataset, timeout_s: float, reason: str) -> str:
    """Send a data set to the collector and wait until it is stored.

    Args:
        recorder: Sends the records.
        dataset: The data set.
        timeout_s: Longest time to wait, in seconds.
        reason: Why this version was created. May be empty.

    Returns:
        Name and version, such as ``qa:v3``. If the collector does not answer, the version is a
        hash, such as ``qa@1f2e3d4c5b6a7988``.

    Raises:
        ValueError: The reason is not a text, or too long.
    """
    check_text("reason", reason, REASON_CHARS, may_be_empty=True)
    send_dataset(recorder, dataset, reason)
    delivery = recorder.flush(timeout_s, is_hasty=True)
    if not (delivery and recorder.page):
        if not delivery and delivery.reason != REFUSED:  # the exporter has logged a refusal
            _logger.warning("Data set %s is not stored yet: %s", dataset.tag, delivery.reason)
        return dataset.tag
    route = recorder.route
    asked = api.Api(route.endpoint, route.api_key, _ASK_S)
    try:
        answer = asked.get("projects", route.project, "datasets", dataset.name, "versions")
    except unread.ReaderError as error:
        _logger.warning("Version number of data set %s is unknown: %s", dataset.tag, error)
        return dataset.tag
    finally:
        asked.close()
    numbers = [
        version["version"] for version in answer["versions"] if version["digest"] == dataset.digest
    ]
    return f"{dataset.name}:v{numbers[0]}" if numbers else dataset.tag
