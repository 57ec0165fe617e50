"""Which runs were stored a short while ago, so that a redelivery of them is not stored again."""

from dataclasses import replace
from typing import Final

from otel_ml_collector.records import Records, Run

_IDS: Final = 100_000


class Recent:
    """Keeps the ranks of at least the last 100,000 stored runs; used by one thread.

    An optimisation only: a run that it has forgotten is stored again, and read as one.
    """

    def __init__(self, ids: int = _IDS) -> None:
        self._limit = ids
        self._ranks: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def leave_news(self, records: Records, ranks: dict[bytes, int]) -> Records:
        """Leave out the runs that are stored already, with the same rank or a higher one.

        Args:
            records: The records of one request; they are not changed.
            ranks: The runs of the group so far; those of the request are added.

        Returns:
            What is new, without anything when nothing is.
        """
        runs = [run for run in records.runs if self._is_news(run, ranks)]
        if len(runs) == len(records.runs):
            return records
        news = replace(records, runs=runs)
        return news if len(news) else Records()

    def remember(self, ranks: dict[bytes, int]) -> None:
        """Note the runs of a group that is stored."""
        if len(self._ranks) + len(ranks) > self._limit:
            self._older, self._ranks = self._ranks, {}
        self._ranks.update(ranks)

    def _is_news(self, run: Run, ranks: dict[bytes, int]) -> bool:
        key = run.trace_id + run.span_id + run.project.encode()
        for known in (ranks, self._ranks, self._older):
            if known.get(key, -1) >= run.rank:
                return False
        ranks[key] = run.rank
        return True
