"""Newly recorded runs that obey a filter, in the order in which they were stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.runs.shape import summarise
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.recorded import Recorded, read_recorded
from otel_ml_collector.store.rows import run_id_of, winners


@dataclass(frozen=True, slots=True)
class News:
    """A run that was recorded, and when it was stored."""

    arrived_ns: int
    run: RunSummary


def check_where(reader: Reader, project: str, where: str) -> None:
    """Compile a filter, to refuse a wrong one before anything is answered.

    Raises:
        BadQuery: The filter is wrong.
    """
    compile_where(reader, project, where, is_bounded=True)


def find_news(reader: Reader, project: str, where: str, recorded: Sequence[Recorded]) -> list[News]:
    """Find those of some runs that match and were not here before, in the order of the runs.

    A delivery of a run that was stored already, or of one that has another one by now, is none.
    """
    condition, _ = compile_where(reader, project, where, is_bounded=True)
    rows = read_recorded(reader, project, [one.key for one in recorded], condition)
    first: dict[str, int] = {}
    for row in rows:
        run_id = run_id_of(row)
        first[run_id] = min(first.get(run_id, row["arrived_ns"]), row["arrived_ns"])
    best = {run_id_of(row): row for row in winners(rows)}
    new = {
        run_id: one.arrived_ns
        for one in recorded
        for run_id in (one.key.run_id,)
        if run_id in best and best[run_id]["matches"] and first[run_id] == one.arrived_ns
    }
    runs = summarise(reader, project, [best[run_id] for run_id in new])
    return [News(new[run.run_id], run) for run in runs]
