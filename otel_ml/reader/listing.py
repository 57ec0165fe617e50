"""Lists of runs: page after page while they are read, or as one table."""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from otel_ml.arguments import check_text
from otel_ml.reader.api import Api, Question
from otel_ml.reader.errors import ReaderError
from otel_ml.reader.moments import write_ns
from otel_ml.reader.records import Artifact, Run, Whole, made_run

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # it carries no types
    import pyarrow as pa

Order = Literal["desc", "asc"]
Format = Literal["jsonl", "csv", "parquet"]

_PAGE: Final = 500
_COLUMNS_CHARS: Final = 65_536
# What a page of runs may take when their payloads are fetched together.
_PAGE_BYTES: Final = 32 * 1024 * 1024
_PAYLOAD: Final = ("inputs", "outputs", "params")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs.

    Attributes:
        where: A filter; empty for all.
        start: They started then or later: RFC 3339, None for any.
        end: They started before then.
        limit: At most so many; None for all.
        order: By start, newest or oldest first.
    """

    project: str
    where: str = ""
    start: str | None = None
    end: str | None = None
    limit: int | None = None
    order: Order = "desc"

    @property
    def bounds(self) -> dict[str, object]:
        """The parameters that lists and exports have in common."""
        return {"where": self.where or None, "start": self.start, "end": self.end}


class Runs:
    """A list of runs, read page by page while one goes over it; each time anew.

    Runs that are stored meanwhile neither repeat nor hide one. Within a page the inputs, outputs
    and params of all runs are fetched together when the first of them is asked for.
    """

    def __init__(self, api: Api, wanted: Wanted, load: Callable[[Artifact], Any]) -> None:
        self._api = api
        self._wanted = wanted
        self._load = load

    def __iter__(self) -> Iterator[Run]:
        """Give the runs in their order."""
        for page in self.pages():
            yield from self._runs_of(page["runs"])

    def to_arrow(self, columns: str = "") -> "pa.Table":
        """Make a table of Arrow of the runs that have ended, with the columns of an export.

        Args:
            columns: Names with commas, ``*`` for all with payload; unless told those of a list.

        Raises:
            ImportError: pyarrow is not installed.
            ReaderError: The collector has no answer.
        """
        check_text("columns", columns, _COLUMNS_CHARS, may_be_empty=True)
        import pyarrow.parquet as pq  # optional

        wanted = self._wanted
        listed = None if wanted.limit is None else list(self)
        if listed:
            wanted = _narrowed(wanted, [run.start_ns for run in listed])
        names = _with_id(columns)
        body = b"".join(export(self._api, wanted, "parquet", names))
        table = pq.read_table(io.BytesIO(body))
        if listed is not None:
            table = _chosen(table, [run.run_id for run in listed])
        elif wanted.order == "desc":
            table = _taken(table, range(table.num_rows - 1, -1, -1))
        return table if names == columns else table.drop_columns(["run_id"])

    def to_pandas(self, columns: str = "") -> "pd.DataFrame":
        """Make a table of pandas; see `to_arrow`. Tags and scores become dicts.

        Raises:
            ImportError: pandas or pyarrow is not installed.
            ReaderError: The collector has no answer.
        """
        return self.to_arrow(columns).to_pandas(maps_as_pydicts="lossy")

    def pages(self) -> Iterator[dict[str, Any]]:
        """Give the pages of the list as the API answers them."""
        wanted, cursor = self._wanted, None
        path = ("projects", wanted.project, "runs")
        left = wanted.limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            asked = {**wanted.bounds, "order": wanted.order, "limit": size, "cursor": cursor}
            page = self._api.ask(Question(path, asked))
            yield page
            left = None if left is None else left - len(page["runs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _runs_of(self, summaries: list[dict[str, Any]]) -> Iterator[Run]:
        page = _Page(self._api, self._wanted, summaries)
        whole = Whole(page.fetch, self._load, page.known)
        for summary in summaries:
            yield made_run(summary, whole)


class _Page:
    """The payloads of one page: fetched together once, then run by run where one is missing."""

    def __init__(self, api: Api, wanted: Wanted, summaries: list[dict[str, Any]]) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self._api = api
        self._wanted = wanted
        self._starts = {run["run_id"]: run["start_ns"] for run in summaries}
        self._is_fetched = len(summaries) < 2  # noqa: PLR2004 - one is quicker by itself

    def fetch(self, run_id: str, name: str) -> Mapping[str, Any]:
        """Read what a run has under a name; of the payload the first time what fits of all."""
        if name in _PAYLOAD and not self._is_fetched:
            self._is_fetched = True
            self._fetch_together()
            if name in self.known.get(run_id, {}):
                return self.known[run_id]
        return fetch_run(self._api, self._wanted.project, run_id)

    def _fetch_together(self) -> None:
        wanted = _narrowed(self._wanted, self._starts.values())
        size = 0
        try:
            for line in lines_of(
                export(self._api, wanted, "jsonl", ",".join(("run_id", *_PAYLOAD)))
            ):
                run = orjson.loads(line)
                if run["run_id"] in self._starts:
                    self.known.setdefault(run.pop("run_id"), {}).update(run)
                size += len(line)
                if size > _PAGE_BYTES:
                    return
        except ReaderError:  # such as too many exports at once: each run is fetched by itself
            return


def fetch_run(api: Api, project: str, run_id: str) -> dict[str, Any]:
    """Read one run of a project with everything that is known of it."""
    run: dict[str, Any] = api.get("projects", project, "runs", run_id)
    return run


def export(api: Api, wanted: Wanted, kind: Format, columns: str = "") -> Iterator[bytes]:
    """Read the runs that have ended as the parts of one file, the oldest first."""
    asked = {"format": kind, **wanted.bounds, "columns": columns or None}
    return api.stream(Question(("projects", wanted.project, "export"), asked))


def lines_of(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Cut the parts of a text into its lines, without their ends."""
    begun: list[bytes] = []
    for part in parts:
        first, *others = part.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
    if any(begun):
        yield b"".join(begun)


def _narrowed(wanted: Wanted, starts: Collection[int]) -> Wanted:
    """Narrow the time to that of runs that are listed already."""
    return replace(wanted, start=write_ns(min(starts)), end=write_ns(max(starts) + 1))


def _with_id(columns: str) -> str:
    """Ask for the id too, by which runs are chosen."""
    names = [name.strip() for name in columns.split(",")]
    return columns if not columns.strip() or {"*", "run_id"} & {*names} else f"run_id,{columns}"


def _chosen(table: "pa.Table", ids: list[str]) -> "pa.Table":
    places = {run_id: place for place, run_id in enumerate(table["run_id"].to_pylist())}
    return _taken(table, [places[run_id] for run_id in ids if run_id in places])


def _taken(table: "pa.Table", places: Sequence[int]) -> "pa.Table":
    import pyarrow as pa  # who has a table has loaded it

    return table.take(pa.array(places, pa.int64()))
