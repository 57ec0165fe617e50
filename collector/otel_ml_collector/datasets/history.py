"""Results of items in the newest experiments, to find items whose results differ."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, Final, Literal

from pydantic import Field

from otel_ml.records import DatasetItem, ListedExperiment
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import read_cursor, write_place
from otel_ml_collector.errors import Missing
from otel_ml_collector.evaluations.datasets import (
    LINES,
    PAGE,
    DatasetItems,
    count_stored,
    find_version_before,
    list_items,
    make_version,
    read_items,
    read_manifests,
)
from otel_ml_collector.evaluations.experiments import find_experiments
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.owners import own_dataset
from otel_ml_collector.store.experiments import (
    MOST_RUNS,
    ItemsState,
    item_parameters,
    judge_items,
    read_item_runs,
    read_state,
)
from otel_ml_collector.store.reader import Reader, Row, run_id_of
from otel_ml_collector.store.sql import Sql

_EXPERIMENTS: Final = 6
Mark = Literal["passed", "failed", "differed", "no score", "not in it"]
Show = Literal["all", "never", "always", "mixed", "flaky", "changed", "runs"]

_WITHIN: Final = Sql("SELECT left(line, length(line) - 65), right(line, 64) FROM ({lines})").fill(
    lines=LINES
)
_COUNTS: Final = Sql("""
    SELECT countIf(passed > 0 AND failed = 0) AS always,
      countIf(passed = 0 AND failed > 0) AS never,
      countIf(passed > 0 AND failed > 0) AS mixed, countIf(is_flaky) AS flaky
    FROM ({judged})""")
_SOME: Final = Sql("""
    SELECT item, item_digest FROM ({judged})
    WHERE {which} AND item > {after:String} ORDER BY item LIMIT {limit:UInt32}""")
_WHICH: Final[Mapping[Show, Sql]] = {
    "always": Sql("passed > 0 AND failed = 0"),
    "never": Sql("passed = 0 AND failed > 0"),
    "mixed": Sql("passed > 0 AND failed > 0"),
    "flaky": Sql("is_flaky"),
}
_FROM_RUNS: Final = Sql("""
    SELECT left(line, length(line) - 65) AS item, right(line, 64) AS item_digest FROM ({lines})
    WHERE item > {after:String} AND item_digest IN (
      SELECT digest FROM items WHERE project = {project:String} AND source_run != '')
    ORDER BY item LIMIT {limit:UInt32}""").fill(lines=LINES)


class DatasetHistory(AnswerBody):
    """The results of a data set version's items in the last experiments.

    An item with different results in its repeats counts as both passed and failed. Runs without
    pass or fail do not count.
    """

    experiments: list[ListedExperiment] = Field(
        description="The newest six experiments with results, oldest first; fewer if they are "
        "very large"
    )
    always: int = Field(description="Number of items that passed each time")
    never: int = Field(description="Number of items that failed each time")
    mixed: int = Field(
        description="Number of items that passed sometimes and failed sometimes. Only such "
        "items show differences between versions"
    )
    flaky: int = Field(
        description="Number of items whose repeated runs differ within one experiment"
    )
    left_out: int = Field(
        description="Experiments that were left out because all together have more than "
        f"{MOST_RUNS:,} runs"
    )
    marks: dict[str, list[Mark]] = Field(
        description="Results of the requested items in each experiment, by item id"
    )


class ItemHistory:
    """Reads the results of a data set version's items in the last experiments.

    Args:
        reader: The store.
        project: The project of the data set.
        row: The stored record of the version: its name, number and digest. `version_row` in
            `evaluations.datasets` reads it.
        now_ns: The current time in nanoseconds since 1970, to detect experiments that crashed.
    """

    def __init__(self, reader: Reader, project: str, row: Row, now_ns: int) -> None:
        self._reader = reader
        self._project = project
        self._name = row["name"]
        self._now_ns = now_ns
        self._row = row

    @cached_property
    def _last(self) -> tuple[Sequence[ListedExperiment], int]:
        where = f"dataset == {quoted(self._name)}"
        listed = find_experiments(
            self._reader, self._project, self._now_ns, where=where, limit=_EXPERIMENTS
        )
        return choose_last(listed.experiments)

    @property
    def _experiments(self) -> Sequence[ListedExperiment]:
        return self._last[0]

    @property
    def _is_doubled(self) -> bool:
        return any(experiment.doubled for experiment in self._experiments)

    @cached_property
    def _state(self) -> ItemsState:
        """The state of these experiments and of the version's items, as a cache key."""
        ids = [experiment.run_id for experiment in self._experiments]
        start_ns = min(experiment.start_ns for experiment in self._experiments)
        return read_state(self._reader, self._project, ids, start_ns, self._owner)

    @property
    def _owner(self) -> str:
        return own_dataset(self._name, self._row["digest"])

    def find_digests(self, items: Sequence[str]) -> dict[str, str | None]:
        """Return the digests of items by ID; None for an item that the version does not have."""
        digests = read_manifests(self._reader, self._project, [self._row])[self._row["digest"]]
        return {item: digests.get(item) for item in items}

    def find_item(self, item: str) -> DatasetItem:
        """Read one item of the version.

        Raises:
            Missing: The version has no such item.
        """
        digest = self.find_digests([item])[item]
        if digest is None:
            raise Missing(f"Data set {self._name!r} has no item {item!r} in this version")
        return read_items(self._reader, self._project, [(item, digest)])[0]

    def find(self, items: Mapping[str, str | None]) -> DatasetHistory:
        """Count all items by result, and list the results of the given items (digests by ID)."""
        experiments, left_out = self._last
        if not experiments:
            return DatasetHistory(
                experiments=[], always=0, never=0, mixed=0, flaky=0, left_out=left_out, marks={}
            )
        asked = self._parameters(experiments)
        counts = self._count(asked)
        marks = self._find_marks(items) if items else {}
        facts = {"experiments": experiments, "left_out": left_out, "marks": marks}
        return DatasetHistory.model_validate({**counts, **facts})

    def _find_marks(self, items: Mapping[str, str | None]) -> dict[str, list[Mark]]:
        """Return the result of some items in each experiment, by the newest score of each judge."""
        ids = [experiment.run_id for experiment in self._experiments]
        start_ns = min(experiment.start_ns for experiment in self._experiments)
        runs, scores = read_item_runs(self._reader, self._project, ids, start_ns, [*items])
        newest: defaultdict[str, dict[str, bool | None]] = defaultdict(dict)
        for row in sorted(scores, key=itemgetter("time_ns")):
            newest[run_id_of(row)][row["judge"]] = row["passed"]
        words: defaultdict[tuple[str, str], list[bool | None]] = defaultdict(list)
        for row in runs:
            if items[row["item"]] == row["item_digest"]:
                marks = [item for item in newest[run_id_of(row)].values() if item is not None]
                word = all(marks) if marks else None
                is_answered = row["outcome"] == "ok"
                words[row["item"], row["experiment"]].append(word if is_answered else False)
        return {item: [_mark_of(words.get((item, run_id))) for run_id in ids] for item in items}

    def _count(self, asked: Mapping[str, Any]) -> Row:
        """Count items by their results. The counts are cached by state."""
        sql = _COUNTS.fill(judged=judge_items(_WITHIN, is_doubled=self._is_doubled))
        return self._reader.memory.work_out(
            ("history", self._project, self._state, self._is_doubled, repr(asked)),
            lambda: self._reader.rows(sql, asked)[0],
            len,
        )

    def find_items(
        self, show: Show = "all", limit: int = PAGE, cursor: str | None = None
    ) -> DatasetItems:
        """Read the items of the version, or only some of them, ordered by ID.

        Args:
            show: Which items to read. ``all``: all items. ``changed``: items that are new or
                different from the version before. ``runs``: items that were made from recorded
                runs. Four values select items by their results in the last experiments:
                ``always`` (passed each time), ``never`` (failed each time), ``mixed`` (passed
                sometimes and failed sometimes) and ``flaky`` (passed and failed within one
                experiment).
            limit: Maximum number of items.
            cursor: The `next_cursor` of the previous page; None for the first page.

        Raises:
            BadInput: The cursor is invalid.
        """
        reader, project, row = self._reader, self._project, self._row
        if show == "all":
            return list_items(reader, project, row, limit=limit, cursor=cursor)
        (after,) = read_cursor(cursor, str) if cursor else ("",)
        if show == "changed":
            lines = self._find_changed(after, limit + 1)
        else:
            lines = self._find_lines(show, after, limit + 1)
        return DatasetItems(
            version=make_version(row, count_stored(reader, project, [row])),
            items=read_items(reader, project, lines[:limit]),
            next_cursor=write_place([lines[limit - 1][0]]) if len(lines) > limit else None,
        )

    def _find_changed(self, after: str, limit: int) -> list[tuple[str, str]]:
        rows = [self._row]
        if older := find_version_before(self._reader, self._project, self._row):
            rows.append(older)
        manifests = read_manifests(self._reader, self._project, rows)
        newer, *older_manifests = (manifests[row["digest"]] for row in rows)
        before = older_manifests[0] if older_manifests else {}
        differ = [item for item in newer if item > after and before.get(item) != newer[item]]
        return [(item, newer[item]) for item in sorted(differ)[:limit]]

    def _find_lines(self, show: Show, after: str, limit: int) -> list[tuple[str, str]]:
        """Read lines of the list of items: IDs and digests, after an ID."""
        experiments = [] if show == "runs" else self._experiments
        if show != "runs" and not experiments:
            return []
        sql = _FROM_RUNS
        if show != "runs":
            judged = judge_items(_WITHIN, is_doubled=self._is_doubled)
            sql = _SOME.fill(judged=judged, which=_WHICH[show])
        wanted = {"after": after, "limit": limit}
        rows = self._reader.rows(sql, self._parameters(experiments) | wanted)
        return [(row["item"], row["item_digest"]) for row in rows]

    def _parameters(self, experiments: Sequence[ListedExperiment]) -> dict[str, Any]:
        start_ns = min((experiment.start_ns for experiment in experiments), default=0)
        ids = [experiment.run_id for experiment in experiments]
        asked = item_parameters(self._project, ids, start_ns, self._state if ids else None)
        return asked | {"owners": [self._owner]}


def choose_last(listed: Sequence[ListedExperiment]) -> tuple[list[ListedExperiment], int]:
    """Choose the newest experiments, so that together they have at most 250,000 runs.

    Experiments without results are ignored. If an experiment would bring the total above 250,000
    runs, it is left out, but older and smaller ones can still be chosen.

    Args:
        listed: Experiments, newest first.

    Returns:
        The chosen experiments, oldest first; and how many experiments were left out for their size.
    """
    having = [listing for listing in listed if listing.done]
    listed_experiments: list[ListedExperiment] = []
    for item in having:
        if sum(other.done for other in [*listed_experiments, item]) <= MOST_RUNS:
            listed_experiments.insert(0, item)
    return listed_experiments, len(having) - len(listed_experiments)


def _mark_of(words: Sequence[bool | None] | None) -> Mark:
    """Combine the results of an item's repeats: passed, failed, differed or none."""
    if words is None:
        return "not in it"
    if True in words and False in words:
        return "differed"
    if False in words:
        return "failed"
    return "passed" if True in words else "no score"
