"""Lists that fetch their pages as you iterate, and the list of runs."""

import inspect
import weakref
from collections import deque
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from itertools import islice
from operator import index as whole_number
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, overload

import orjson

from otel_ml.arguments import check_integer, check_text
from otel_ml.attributes import CAPTURE
from otel_ml.notebook import Card, HasCard, note, page_address, shorten, table
from otel_ml.orders import BY_TIME, NEWEST, OLDEST
from otel_ml.reader.api import Api, Question
from otel_ml.reader.display import QUICK_QUESTION, FileSource, html_in_time, show_file
from otel_ml.reader.errors import ReaderError
from otel_ml.reader.moments import write_ns
from otel_ml.reader.records import (
    INSIDE,
    Artifact,
    Figures,
    Run,
    Sums,
    Whole,
    made_run,
    made_sums,
)

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types
    import pyarrow as pa

Item = TypeVar("Item")
Format = Literal["jsonl", "csv", "parquet"]

_PAGE: Final = 500
_MOST_GROUPS: Final = 50
_COLUMNS_CHARS: Final = 65_536
# Maximum size of the payloads that are fetched together for a page of runs.
_PAGE_BYTES: Final = 32 * 1024 * 1024
_PATIENT: Final = Question(())
# Rows that a notebook shows.
SHOWN: Final = 20
_RUN_COLUMNS: Final = ("run", "start", "model", "outcome", "latency", "inputs", "outputs", "scores")
# Columns to fetch for all runs of a page at once, and the parts of a run that they contain.
_Columns = tuple[tuple[str, ...], frozenset[str]]
_PAYLOAD: Final[_Columns] = (
    ("inputs", "outputs", "params"),
    frozenset({"inputs", "outputs", "params"}),
)
_STATEMENTS: Final[_Columns] = (
    ("evaluations", "attributes"),
    frozenset({"evaluations", "capture"}),
)
_WHOLE: Final[_Columns] = (_PAYLOAD[0] + _STATEMENTS[0], _PAYLOAD[1] | _STATEMENTS[1])


@dataclass(frozen=True, slots=True)
class Wanted:
    """The arguments of `Reader.runs`: which runs to list, and in which order.

    Attributes:
        where: A filter. Empty for all runs.
        start: Only runs that started at or after this time (RFC 3339). None for any time.
        end: Only runs that started before this time (RFC 3339). None for any time.
        tz: IANA time zone of dates in the filter and in `start` and `end`. Empty for UTC.
        limit: Maximum number of runs. None for all.
        order: One of the orders in `otel_ml.orders`, such as ``newest``.
        roots: Whether to list only outermost runs, which no other run called.
        traces: Whether to list one entry per trace: its top span, such as an HTTP request.
    """

    project: str
    where: str = ""
    start: str | None = None
    end: str | None = None
    limit: int | None = None
    order: str = NEWEST
    roots: bool = False
    traces: bool = False
    tz: str = ""

    @property
    def bounds(self) -> dict[str, object]:
        """Query parameters for filter and time range. They are the same for lists and exports."""
        times = {"start": self.start, "end": self.end, "tz": self.tz or None}
        return {"where": self.where or None, **times}


class PagedList(HasCard, Generic[Item]):
    """A lazy list that fetches its pages from the collector as you iterate.

    Nothing is cached: each iteration sends the requests again. `len()` reads all pages. An index
    or a slice fetches only what it needs; a slice returns a plain list.
    """

    _key: str  # key of the items in a page of the API

    def __init__(self) -> None:
        self._begun = _Begun()

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield the pages of the list as the API returns them."""
        raise NotImplementedError

    def _plain_pages(self) -> Iterator[dict[str, Any]]:
        """Yield pages for counting, without the expensive columns."""
        return self.pages()

    def _items_of(self, page: dict[str, Any]) -> Iterator[Item]:
        """Create the items of a page."""
        raise NotImplementedError

    def _first(self, count: int) -> "PagedList[Item]":
        """Return the list of at most `count` first items."""
        raise NotImplementedError

    def _last(self, count: int) -> "Iterator[Item]":
        """Yield the item at position ``-count``. Yields nothing if there are fewer items."""
        last = deque(self, count)
        return islice(last, 1 if len(last) == count else 0)

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the items in order."""
        begun = _Begun()
        walk = self._walk(begun)
        begun.walk = weakref.ref(walk)
        self._begun = begun
        return walk

    def __len__(self) -> int:
        """Return the number of items. Reads all pages.

        `list()` asks for the length after it has created an iterator and before the first item.
        That iterator then gets the pages that were counted, so that each page is fetched once.
        """
        begun = self._begun
        if not begun.is_new:
            return sum(len(page[self._key]) for page in self._plain_pages())
        counted = deque(self.pages())
        length = sum(len(page[self._key]) for page in counted)
        begun.pages = counted  # the iterator consumes them
        return length

    def __bool__(self) -> bool:
        """Return whether there is at least one item."""
        return any(page[self._key] for page in self._first(1).pages())

    @overload
    def __getitem__(self, at: int, /) -> Item: ...

    @overload
    def __getitem__(self, at: slice, /) -> list[Item]: ...

    def __getitem__(self, at: int | slice, /) -> Item | list[Item]:
        """Return the item at an index, or the items of a slice.

        The items before it are fetched too.

        Raises:
            IndexError: There are fewer items.
            TypeError: The index is neither an integer nor a slice of integers.
        """
        if isinstance(at, slice):
            begin, end = at.start or 0, at.stop
            is_near = end is not None and min(begin, end) >= 0
            return [*iter(self._first(end) if is_near else self)][at]
        place = whole_number(at)
        if place >= 0:
            items = [*islice(self._first(place + 1), place, None)]
        else:
            items = [*self._last(-place)]
        if not items:
            raise IndexError(f"Invalid index {place}: the list has fewer {self._key}")
        return items[0]

    __reversed__ = None  # would take one request per item

    def _walk(self, begun: "_Begun") -> Generator[Item, None, None]:
        if begun.pages is None:
            for page in self.pages():
                yield from self._items_of(page)
        else:
            while begun.pages:
                yield from self._items_of(begun.pages.popleft())


class Runs(PagedList[Run]):
    """The list of runs that `Reader.runs` returns. Pages are fetched as you iterate.

    Nothing is cached: each iteration sends the requests again. No run appears twice or is skipped
    if new runs are stored meanwhile. Inputs, outputs and params are fetched when you first use
    them, for a whole page at once.

    ``len(runs)`` sends one request per 500 runs. ``runs[0]`` and ``runs[-1]`` fetch one run.
    ``runs[i]`` and ``runs[:i]`` fetch the runs up to `i`. A slice is a plain list. A notebook shows
    the first 20 runs as a table.
    """

    _key = "runs"

    def __init__(
        self,
        api: Api,
        wanted: Wanted,
        load: Callable[[Artifact], Any],
        *,
        parts: Sequence[_Columns] = (_PAYLOAD, _STATEMENTS),
    ) -> None:
        super().__init__()
        self._api = api
        self._wanted = wanted
        self._load = load
        self._parts = parts

    def _last(self, count: int) -> Iterator[Run]:
        if self._wanted.limit is not None or self._wanted.order not in BY_TIME:
            return super()._last(count)
        order = OLDEST if self._wanted.order == NEWEST else NEWEST
        return islice(self._with(order=order, limit=count), count - 1, None)

    @property
    def _card(self) -> Card:
        wanted = self._wanted
        limit = "" if wanted.limit is None else f"at most {wanted.limit:,}"
        times = {"start": wanted.start, "end": wanted.end, "tz": wanted.tz}
        asked = {"where": wanted.where, **times}
        order = None if wanted.order == NEWEST else wanted.order
        tops = {"roots": "1"} if wanted.roots else {"traces": "1"} if wanted.traces else {}
        page = page_address(self._api.page, wanted.project, "runs", **asked, order=order, **tops)
        return Card("Runs", wanted.project, (wanted.where, limit), page)

    def _repr_html_(self) -> str:
        wanted = self._wanted
        if wanted.limit == 0:
            return html_in_time(self._card, self._api.page, self._newest_html)
        limit = SHOWN if wanted.limit is None else min(SHOWN, wanted.limit)
        asked = {**wanted.bounds, **self._tops, "order": wanted.order, "limit": limit}
        source = FileSource(self._api, (wanted.project, "run-list"), asked)
        return show_file(source, self._card, self._newest_html)

    def _newest_html(self) -> str:
        page: dict[str, Any] = next(self._pages(QUICK_QUESTION), {"runs": [], "next_cursor": None})
        runs = [*self._items_of(page)]
        inside = page.get("inside", {})
        rows = [(run.page, _cells(run, inside.get(run.run_id, {}))) for run in runs[:SHOWN]]
        is_all = page["next_cursor"] is None or len(runs) == self._wanted.limit
        if not rows:
            return note("No runs")
        left = f"{len(runs) - SHOWN:,} more{'' if is_all else ' at least'}"
        return table(_RUN_COLUMNS, rows) + (note(left) if len(runs) > SHOWN else "")

    def sums(self) -> Figures:
        """Return the totals of all matching runs: errors, latency, tokens, cost and scores.

        Sends one request. The `limit` of the list does not apply. A call that several
        instrumentations recorded counts once. If you passed `roots` or `traces` to `Reader.runs`,
        the totals also include the calls inside the listed runs.
        """
        return self.by("").total

    def by(self, group: str) -> Sums:
        """Return totals for all matching runs and for each group of runs. See `sums`.

        Sends one request.

        Args:
            group: The field or tag to group by, such as ``model``, ``provider_model``, ``user``,
                ``session`` or ``tags["client"]``.

        Raises:
            BadQuery: Runs cannot be grouped by this field.
        """
        return made_sums(self.ask_sums(group))

    def ask_sums(self, group: str, groups: int | None = None) -> dict[str, Any]:
        """Return the totals as JSON from the API. If `group` is empty, it contains no groups.

        Args:
            group: The field or tag to group by.
            groups: Maximum number of groups, up to 50. Default: 20.
        """
        check_text("group", group, may_be_empty=True)
        if groups is not None:
            check_integer("groups", groups, 1, _MOST_GROUPS)
        asked = {**self._wanted.bounds, **self._tops, "group": group or None, "groups": groups}
        path = ("projects", self._wanted.project, "sums")
        sums: dict[str, Any] = self._api.get(*path, **asked)
        return sums

    @property
    def _tops(self) -> dict[str, object]:
        wanted = self._wanted
        return {
            "roots": "true" if wanted.roots else None,
            "traces": "true" if wanted.traces else None,
        }

    def to_arrow(self, columns: str = "") -> "pa.Table":
        """Return an Arrow table of the runs that have ended.

        Args:
            columns: Comma-separated column names, such as ``run_id,model,inputs``. Default: the
                main columns, without inputs and outputs. ``*`` for all columns.

        Raises:
            ImportError: pyarrow is not installed.
            ReaderError: The collector does not answer.
        """
        check_text("columns", columns, _COLUMNS_CHARS, may_be_empty=True)
        import pyarrow as pa  # optional
        import pyarrow.parquet as pq

        wanted = self._wanted
        is_all = wanted.limit is None and not (wanted.roots or wanted.traces)
        listed = None if is_all and wanted.order in BY_TIME else list(self)
        if listed:
            wanted = _narrowed(wanted, [run.start_ns for run in listed])
        if wanted.traces:  # an export includes plain spans only if its filter has a kind
            any_kind = 'kind != "judge"'
            where = f"({wanted.where}) and {any_kind}" if wanted.where.strip() else any_kind
            wanted = replace(wanted, where=where)
        names = _with_id(columns)
        body = pa.BufferOutputStream()
        for part in export(self._api, wanted, "parquet", names):
            body.write(part)
        # pyarrow's own memory and no threads: a thread that releases a Python object while the
        # process exits aborts it.
        file = pq.ParquetFile(pa.BufferReader(body.getvalue()), pre_buffer=False)
        table = file.read(use_threads=False)
        if listed is not None:
            table = _chosen(table, [run.run_id for run in listed])
        elif wanted.order == NEWEST:
            table = _taken(table, range(table.num_rows - 1, -1, -1))
        return table if names == columns else table.drop_columns(["run_id"])

    def to_pandas(self, columns: str = "") -> "pd.DataFrame":
        """Return a pandas DataFrame of the runs that have ended. Tags and scores are dicts.

        Args:
            columns: Comma-separated column names, such as ``run_id,model,inputs``. Default: the
                main columns, without inputs and outputs. ``*`` for all columns.

        Raises:
            ImportError: pandas or pyarrow is not installed.
            ReaderError: The collector does not answer.
        """
        return self.to_arrow(columns).to_pandas(maps_as_pydicts="lossy")

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield the pages of the list as the API returns them."""
        return self._pages(_PATIENT)

    def _pages(self, how: Question) -> Iterator[dict[str, Any]]:
        wanted, cursor = self._wanted, None
        path = ("projects", wanted.project, "runs")
        left = wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            asked = {**wanted.bounds, "order": wanted.order, "limit": size, "cursor": cursor}
            asked |= self._tops
            page = self._api.ask(replace(how, path=path, parameters=asked))
            yield page
            left = None if left is None else left - len(page["runs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _first(self, count: int) -> "Runs":
        limit = self._wanted.limit
        return self._with(limit=count if limit is None else min(count, limit))

    def _with(self, **changes: Any) -> "Runs":
        return Runs(self._api, replace(self._wanted, **changes), self._load, parts=self._parts)

    def with_whole_runs(self) -> "Runs":
        """Return the same list, but fetch inputs, outputs and all other parts with each page.

        Use it if you read inputs, outputs, params or evaluations of every run: it sends fewer
        requests.
        """
        return Runs(self._api, self._wanted, self._load, parts=(_WHOLE,))

    def _items_of(self, page: dict[str, Any]) -> Iterator[Run]:
        summaries: list[dict[str, Any]] = page["runs"]
        fetched = _Page(self._api, self._wanted, summaries, self._parts)
        if self._wanted.roots or self._wanted.traces:
            inside = page.get("inside", {})
            fetched.known.update(
                {
                    summary["run_id"]: {INSIDE: inside.get(summary["run_id"])}
                    for summary in summaries
                }
            )
        whole = Whole(fetched.fetch, self._load, fetched.known, self._api)
        for summary in summaries:
            yield made_run(summary, whole)


@dataclass(slots=True)
class _Begun:
    """The most recent iteration over a list.

    Attributes:
        walk: Weak reference to the iterator.
        pages: Pages that the iterator yields from. None if it fetches the pages itself.
    """

    walk: "weakref.ref[Generator[Any, None, None]] | None" = None
    pages: "deque[dict[str, Any]] | None" = None

    @property
    def is_new(self) -> bool:
        """Whether the iterator is alive and has not yielded an item yet."""
        walk = None if self.walk is None else self.walk()
        return walk is not None and inspect.getgeneratorstate(walk) == inspect.GEN_CREATED


class _Page:
    """Fetches parts of runs, such as inputs, for all runs of one page at once.

    If such a request fails or lacks a part, the part is fetched for each run separately.

    Args:
        api: The collector.
        wanted: The list to which the page belongs.
        summaries: The runs of the page.
        parts: Sets of columns. One request fetches all columns of a set.
    """

    def __init__(
        self,
        api: Api,
        wanted: Wanted,
        summaries: list[dict[str, Any]],
        parts: Sequence[_Columns],
    ) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self._api = api
        self._wanted = wanted
        self._starts = {run["run_id"]: run["start_ns"] for run in summaries}
        # A request per run is faster for one run, and for runs that are far apart in time.
        is_alone = not summaries[1:] or wanted.order not in BY_TIME
        self._left = [] if is_alone else [*parts]

    def fetch(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Return a part of a run. The first call fetches that part for all runs of the page."""
        for columns, makes in self._left:
            if name in makes:
                self._left = [item for item in self._left if item[1] is not makes]
                self._fetch_together(columns)
                if name in self.known.get(run_id, {}):
                    return self.known[run_id]
        return fetch_part(self._api, self._wanted.project, run_id, name)

    def _fetch_together(self, columns: Sequence[str]) -> None:
        wanted = _narrowed(self._wanted, self._starts.values())
        size = 0
        try:
            for line in lines_of(
                export(self._api, wanted, "jsonl", ",".join(("run_id", *columns)))
            ):
                run = orjson.loads(line)
                if "attributes" in columns:
                    run["capture"] = _capture_of(run.pop("attributes"))
                if run["run_id"] in self._starts:
                    self.known.setdefault(run.pop("run_id"), {}).update(run)
                size += len(line)
                if size > _PAGE_BYTES:
                    return
        except ReaderError:  # for example too many exports: each run is then fetched separately
            return


def _capture_of(attributes: object) -> Mapping[str, Sequence[str]]:
    """Return the parts that were not fully recorded, with the reasons, from a run's attributes."""
    attribute = attributes.get(CAPTURE) if isinstance(attributes, dict) else None
    capture = orjson.loads(attribute) if isinstance(attribute, str) else attribute
    parts = capture if isinstance(capture, dict) else {}
    return {part: [why] if isinstance(why, str) else why for part, why in parts.items()}


def fetch_part(api: Api, project: str, run_id: str, name: str) -> dict[str, Any]:
    """Fetch a part of one run, such as ``outputs``. The result may contain other parts too."""
    if name != INSIDE:
        return fetch_run(api, project, run_id)
    answer = api.get("projects", project, "runs", where=f'run_id == "{run_id}"', roots="true")
    return {INSIDE: answer.get("inside", {}).get(run_id)}


def fetch_run(api: Api, project: str, run_id: str) -> dict[str, Any]:
    """Return one run of a project with all of its data."""
    run: dict[str, Any] = api.get("projects", project, "runs", run_id)
    return run


def export(api: Api, wanted: Wanted, kind: Format, columns: str = "") -> Iterator[bytes]:
    """Yield the bytes of an export file of all finished runs that match, the oldest run first."""
    asked = {"format": kind, **wanted.bounds, "columns": columns or None}
    return api.stream(Question(("projects", wanted.project, "export"), asked))


def lines_of(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Split a stream of bytes into lines, without the line ends."""
    begun: list[bytes] = []
    for part in parts:
        first, *others = part.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
    if any(begun):
        yield b"".join(begun)


def _cells(run: Run, inside: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the table row of a run.

    A root without text of its own shows the text of the calls inside it.
    """
    worst = {judge: score["score"] for judge, score in inside.get("scores", {}).items()}
    scores = {**run.scores, **{judge: value for judge, value in worst.items() if value is not None}}
    version = "" if run.version is None else f" v{run.version}"
    return (
        run.run_id.rpartition("-")[2],
        f"{run.start:%Y-%m-%d %H:%M:%S} UTC",
        f"{shorten(run.model or run.name)}{version}",
        run.outcome,
        "" if run.latency_ms is None else f"{run.latency_ms:,.1f} ms",
        run.inputs_preview or inside.get("asked", ""),
        run.outputs_preview or inside.get("answered", ""),
        ", ".join(f"{name} {score:g}" for name, score in scores.items()),
    )


def _narrowed(wanted: Wanted, starts: Collection[int]) -> Wanted:
    """Limit a list to the range of these start times, so that an export reads less."""
    return replace(wanted, start=write_ns(min(starts)), end=write_ns(max(starts) + 1))


def _with_id(columns: str) -> str:
    """Add ``run_id`` to the columns, because rows are matched to runs by it."""
    names = [name.strip() for name in columns.split(",")]
    return columns if not columns.strip() or {"*", "run_id"} & {*names} else f"run_id,{columns}"


def _chosen(table: "pa.Table", ids: list[str]) -> "pa.Table":
    places = {run_id: place for place, run_id in enumerate(table["run_id"].to_pylist())}
    return _taken(table, [places[run_id] for run_id in ids if run_id in places])


def _taken(table: "pa.Table", places: Sequence[int]) -> "pa.Table":
    import pyarrow as pa  # already loaded: the argument is one of its tables

    return table.take(pa.array(places, pa.int64()))
