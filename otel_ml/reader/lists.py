"""Lists of experiments, judges and sessions that notebooks show as tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from otel_ml.notebook import Card, note, page_address, shorten, table
from otel_ml.reader.api import Api, Question
from otel_ml.reader.display import QUICK_QUESTION, html_in_time
from otel_ml.reader.listing import SHOWN, PagedList
from otel_ml.reader.records import StoredExperiment, made, made_experiment
from otel_ml.records import ListedExperiment

_PAGE: Final = 100
_EXPERIMENT_COLUMNS: Final = (
    "experiment",
    "start",
    "function",
    "data set",
    "runs",
    "verdict",
    "judges",
)
_JUDGES: Final = ("judge", "version", "said", "pass rate", "mean score", "others")
_SESSIONS: Final = ("session", "user", "last", "turns", "runs", "errors", "asked", "judges")


class Experiments(PagedList[StoredExperiment]):
    """The list that `Reader.experiments` returns. Pages are fetched as you iterate.

    Nothing is cached: each iteration sends the requests again. ``len(experiments)`` reads all
    pages. An index or a slice fetches only what it needs; a slice returns a plain list. A notebook
    shows the first 20 experiments and their verdicts. It sends one request for them, and waits at
    most 3 s.
    """

    _key = "experiments"

    def __init__(
        self, api: Api, project: str, where: str, limit: int | None, *, verdicts: bool
    ) -> None:
        super().__init__()
        self._api = api
        self._project = project
        self._where = where
        self._limit = limit
        self._verdicts = verdicts

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield the pages of the list as the API returns them."""
        cursor, left = None, self._limit
        path = ("projects", self._project, "experiments")
        while left is None or left > 0:
            asked = {**self._asked(left, verdicts=self._verdicts), "cursor": cursor}
            page = self._api.ask(Question(path, asked))
            rows = page["experiments"]
            yield page
            left = None if left is None else left - len(rows)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _plain_pages(self) -> Iterator[dict[str, Any]]:
        plain = Experiments(self._api, self._project, self._where, self._limit, verdicts=False)
        return plain.pages()

    def _items_of(self, page: dict[str, Any]) -> Iterator[StoredExperiment]:
        return (made_experiment(row, self._api, self._project) for row in page["experiments"])

    def _first(self, count: int) -> "Experiments":
        limit = count if self._limit is None else min(count, self._limit)
        return Experiments(self._api, self._project, self._where, limit, verdicts=self._verdicts)

    def _asked(self, limit: int | None, *, verdicts: bool) -> dict[str, object]:
        return {
            "where": self._where or None,
            "limit": _PAGE if limit is None else max(min(limit, _PAGE), 1),
            "verdicts": "true" if verdicts else None,
        }

    @property
    def _card(self) -> Card:
        limit = "" if self._limit is None else f"at most {self._limit:,}"
        page = page_address(self._api.page, self._project, "experiments", where=self._where)
        return Card("Experiments", self._project, (self._where, limit), page)

    def _repr_html_(self) -> str:
        return html_in_time(self._card, self._api.page, self._newest_html)

    def _newest_html(self) -> str:
        limit = SHOWN if self._limit is None else min(SHOWN, self._limit)
        asked = self._asked(limit, verdicts=True)
        path = ("projects", self._project, "experiments")
        page = self._api.ask(replace(QUICK_QUESTION, path=path, parameters=asked))
        listed = [made(ListedExperiment, experiment) for experiment in page["experiments"]][:limit]
        if not listed:
            return note("No experiments")
        rows = [
            (
                page_address(self._api.page, self._project, "experiments", listing.run_id),
                _experiment_cells(listing),
            )
            for listing in listed
        ]
        is_all = page["next_cursor"] is None or limit == self._limit
        return table(_EXPERIMENT_COLUMNS, rows) + ("" if is_all else note("There are more"))


class Rows(list[dict[str, Any]]):
    """A plain list of dicts, as the API returns them. Notebooks show it as a table."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        columns: Sequence[str],
        cells: Callable[[Mapping[str, Any]], tuple[str, Sequence[str]]],
    ) -> None:
        super().__init__(rows)
        self._columns = columns
        self._cells = cells

    def _repr_html_(self) -> str:
        left = len(self) - SHOWN
        shown = table(self._columns, map(self._cells, self[:SHOWN]))
        return shown + (note(f"{left:,} more") if left > 0 else "")


def list_judges(rows: Sequence[dict[str, Any]], base: str, project: str) -> Rows:
    """Return the judges as `Rows`. `base` is the base address of the collector's web pages."""

    def cells(row: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
        name, newest = row["judge"], row.get("newest") or {}
        version = newest.get("version")
        return page_address(base, project, "judges", name), (
            shorten(name),
            "" if version is None else f"v{version}",
            f"{newest.get('evaluations') or 0:,}",
            _rate(newest.get("pass_rate")),
            _number(newest.get("mean_score")),
            f"{len(row.get('others') or ()):,}",
        )

    return Rows(rows, _JUDGES, cells)


def list_sessions(rows: Sequence[dict[str, Any]], base: str, project: str) -> Rows:
    """Return the sessions as `Rows`. `base` is the base address of the collector's web pages."""

    def cells(row: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
        name = row["session"]
        judges = [
            f"{judge['judge']} {_rate(judge.get('pass_rate')) or _number(judge.get('mean_score'))}"
            for judge in row.get("judges") or ()
        ]
        return page_address(base, project, "sessions", name), (
            shorten(name),
            shorten(row.get("user") or ""),
            f"{(row.get('last_time') or '')[:19].replace('T', ' ')} UTC",
            *(f"{row.get(count) or 0:,}" for count in ("turns", "runs", "errors")),
            shorten(row.get("asked") or ""),
            ", ".join(judges),
        )

    return Rows(rows, _SESSIONS, cells)


def _experiment_cells(listed_experiment: ListedExperiment) -> tuple[str, ...]:
    version, dataset = (
        "" if number is None else f" v{number}"
        for number in (listed_experiment.version, listed_experiment.dataset_version)
    )
    return (
        shorten(listed_experiment.name),
        f"{listed_experiment.start_time[:19].replace('T', ' ')} UTC",
        f"{shorten(listed_experiment.function)}{version}",
        f"{shorten(listed_experiment.dataset)}{dataset}",
        f"{listed_experiment.done:,}",
        listed_experiment.verdict,
        ", ".join(f"{judge} {value:.3g}" for judge, value in listed_experiment.values.items()),
    )


def _rate(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
