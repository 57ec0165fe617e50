"""Keeps the runs that a judge scored anew on disk, so that memory use does not grow with them."""

import math
import sqlite3
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, overload

from otel_ml.experiments.rows import RejudgedRun
from otel_ml.judges.answer import Judgement
from otel_ml.statistics.intervals import EachCluster
from otel_ml.statistics.judge_change import (
    JudgeVersionChange,
    compare_pass_counts,
    compare_score_sums,
)
from otel_ml.statistics.scored_runs import JudgeScore

# A temporary file that SQLite deletes; 4 MiB are cached in memory. The view `heard` contains the
# runs that both versions scored without an error.
_CREATE: Final = """
PRAGMA cache_size = -4096;
PRAGMA temp_store = FILE;
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE runs (
    place INTEGER PRIMARY KEY, run_id TEXT, start_ns INTEGER, cluster TEXT, is_stored INTEGER,
    turn INTEGER, is_twice INTEGER, passed_before INTEGER, score_before REAL,
    failed_before INTEGER, version_before TEXT, judge TEXT, version TEXT, score REAL,
    passed INTEGER, label BLOB, explanation BLOB, error BLOB, latency_ms REAL, is_cached INTEGER,
    cost REAL, against TEXT
);
CREATE INDEX flips ON runs (turn, place) WHERE turn > 0;
CREATE VIEW heard AS SELECT * FROM runs WHERE is_twice AND NOT failed_before AND error IS NULL;
BEGIN;
"""
_ADD: Final = "INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_TURNS: Final = {"": 0, "to fail": 1, "to pass": 2}
_COUNT: Final = """
SELECT count(*), coalesce(sum(is_stored), 0), count(error), count(passed),
    coalesce(sum(passed), 0)
FROM runs"""
_FIRST_ERROR: Final = "SELECT error FROM runs WHERE error IS NOT NULL ORDER BY place LIMIT 1"
_COSTS: Final = "SELECT cost FROM runs WHERE cost IS NOT NULL"
_HEARD: Final = "SELECT count(*), count(passed_before), count(passed) FROM heard"
# Groups clusters by how many of their runs passed both times, only before, only now and never.
_PASSES: Final = """
SELECT both, first, second, neither, count(*) FROM (
    SELECT sum(passed_before AND passed) AS both, sum(passed_before AND NOT passed) AS first,
        sum(passed AND NOT passed_before) AS second,
        sum(NOT passed AND NOT passed_before) AS neither
    FROM heard WHERE passed_before IS NOT NULL AND passed IS NOT NULL GROUP BY cluster
) GROUP BY both, first, second, neither"""
_SCORED: Final = "SELECT count(score_before), count(score) FROM heard"
_SCORES_BEFORE: Final = "SELECT score_before FROM heard WHERE score_before IS NOT NULL"
_SCORES: Final = """
SELECT cluster, score_before, score FROM heard
WHERE score_before IS NOT NULL AND score IS NOT NULL ORDER BY cluster"""


@dataclass(frozen=True, slots=True)
class RejudgedCounts:
    """Counts of the stored runs that `Client.judge` scored again.

    Attributes:
        runs: Number of runs.
        stored: Number of these runs that this judge version had scored before.
        errors: Number of runs on which the judge failed.
        decided: Number of runs that the judge marked as passed or failed.
        passed: Number of runs that passed.
    """

    runs: int
    stored: int
    errors: int
    decided: int
    passed: int


class _Database:
    """A temporary SQLite database on disk. It is deleted as soon as nothing refers to it."""

    def __init__(self) -> None:
        # Any thread may read: SQLite serializes access.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.executescript(_CREATE)
        weakref.finalize(self, self._connection.close)

    def ask(self, statement: str, *values: object) -> Iterator[tuple[Any, ...]]:
        return self._connection.execute(statement, values)


class _StoredRuns(Sequence[RejudgedRun]):
    """A sequence of runs that are read from disk on each access."""

    _count: str
    _list: str

    def __init__(self, database: _Database) -> None:
        self._database = database

    @overload
    def __getitem__(self, index: int) -> RejudgedRun: ...
    @overload
    def __getitem__(self, index: slice) -> list[RejudgedRun]: ...
    def __getitem__(self, index: int | slice) -> RejudgedRun | list[RejudgedRun]:
        """Return a run, or a list of runs for a slice."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return next(self._read(1, places))
        if not places:
            return []
        first = min(places[0], places[-1])
        runs = list(self._read(abs(places[-1] - places[0]) + 1, first))
        return [runs[place - first] for place in places]

    def __len__(self) -> int:
        """Return the number of runs."""
        [(count,)] = self._database.ask(self._count)
        return int(count)

    def __iter__(self) -> Iterator[RejudgedRun]:
        """Iterate over the runs in their order."""
        return self._read(-1, 0)

    def _read(self, limit: int, offset: int) -> Iterator[RejudgedRun]:
        for row in self._database.ask(self._list, limit, offset):  # keeps the database open
            yield _run(row)


class _Flips(_StoredRuns):
    """Runs whose result flips: first those that now fail, then those that now pass."""

    _count = "SELECT count(*) FROM runs WHERE turn > 0"
    _list = "SELECT * FROM runs WHERE turn > 0 ORDER BY turn, place LIMIT ? OFFSET ?"


class RejudgedRuns(_StoredRuns):
    """The runs that a judge scored again, as a sequence that is read from disk on each access.

    Attributes:
        flips: Runs whose result changed: first those that now fail, then those that now pass.
    """

    _count = "SELECT count(*) FROM runs"
    _list = "SELECT * FROM runs ORDER BY place LIMIT ? OFFSET ?"

    def __init__(self) -> None:
        super().__init__(_Database())
        self.flips: Sequence[RejudgedRun] = _Flips(self._database)

    def keep(self, place: int, run: RejudgedRun) -> None:
        """Add a run at its position in the list.

        Raises:
            sqlite3.OperationalError: The disk of the temporary folder is full.
        """
        before, after = run.before, run.after
        former = (
            (False, None, None, False, "")
            if before is None
            else (True, before.passed, before.score, before.failed, before.version)
        )
        self._database.ask(
            _ADD,
            *(place, run.run_id, run.start_ns, run.cluster, run.is_stored, _TURNS[run.turn]),
            *(*former, after.judge, after.version, after.score, after.passed),
            *map(_encode, (after.label, after.explanation, after.error)),
            *(after.latency_ms, after.cached, after.cost, after.against),
        )

    @property
    def counts(self) -> RejudgedCounts:
        """Counts of all kept runs."""
        [counts] = self._database.ask(_COUNT)
        return RejudgedCounts(*counts)

    @property
    def first_error(self) -> str | None:
        """Error of the judge on the first run that it failed to score. None if it never failed."""
        return _decode(next(self._database.ask(_FIRST_ERROR), (None,))[0])

    @property
    def cost(self) -> float | None:
        """Cost of the scores in US dollars. None if no cost is known."""
        costs = (cost for (cost,) in self._database.ask(_COSTS))
        first = next(costs, None)
        return None if first is None else math.fsum(chain((first,), costs))

    def compare(self) -> JudgeVersionChange | None:
        """Compare the two judge versions on the runs that both scored.

        The result is None if there are no such runs. Counting happens in SQLite, so it needs little
        memory even for millions of runs.
        """
        [(runs, before, after)] = self._database.ask(_HEARD)
        if not runs:
            return None
        if before or after:
            clusters = {
                (both, first, second, neither): count
                for both, first, second, neither, count in self._database.ask(_PASSES)
            }
            return compare_pass_counts(
                clusters, missing=((runs - before) / runs, (runs - after) / runs)
            )
        return self._compare_scores(runs)

    def _compare_scores(self, runs: int) -> JudgeVersionChange:
        [(before, after)] = self._database.ask(_SCORED)
        sums, sizes = (array("d"), array("d"), array("d")), array("q")
        for _, rows in groupby(self._database.ask(_SCORES), itemgetter(0)):
            pairs = [(first, second) for _, first, second in rows]
            sums[0].append(math.fsum(first for first, _ in pairs))
            sums[1].append(math.fsum(second for _, second in pairs))
            sums[2].append(math.fsum(second - first for first, second in pairs))
            sizes.append(len(pairs))
        first, second, change = (EachCluster(part, sizes) for part in sums)
        return compare_score_sums(
            (first, second, change),
            deviation=self._deviation(before),
            is_clustered=max(sizes, default=1) > 1,
            missing=((runs - before) / runs, (runs - after) / runs),
        )

    def _deviation(self, n: int) -> float:
        """Return the standard deviation of the `n` scores of the earlier version.

        0 if `n` is below 2.
        """
        if n <= 1:
            return 0.0
        mean = math.fsum(score for (score,) in self._database.ask(_SCORES_BEFORE)) / n
        squares = ((score - mean) ** 2 for (score,) in self._database.ask(_SCORES_BEFORE))
        return math.sqrt(math.fsum(squares) / (n - 1))


def _encode(text: str | None) -> bytes | None:
    """Return a text as bytes, including lone surrogates, which are not valid UTF-8."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _decode(text: bytes | None) -> str | None:
    return None if text is None else text.decode("utf-8", "surrogatepass")


def _flag(number: int | None) -> bool | None:
    return None if number is None else bool(number)


def _run(row: tuple[Any, ...]) -> RejudgedRun:
    _, run_id, start_ns, cluster, is_stored, _, is_twice, *more = row
    passed_before, score_before, failed_before, version_before, judge, version, *of_now = more
    score, passed, label, explanation, error, latency_ms, is_cached, cost, against = of_now
    before = JudgeScore(_flag(passed_before), score_before, version_before, bool(failed_before))
    after = Judgement(
        judge,
        version,
        score,
        _flag(passed),
        _decode(label),
        _decode(explanation),
        _decode(error),
        latency_ms,
        bool(is_cached),
        cost,
        against,
    )
    return RejudgedRun(
        run_id, start_ns, cluster, before if is_twice else None, after, bool(is_stored)
    )
