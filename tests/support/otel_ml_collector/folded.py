"""Compares the columns of `runs` that other records change with the table `settled`."""

from typing import Final, NamedTuple

from otel_ml.records import TOKENS
from otel_ml_collector.resolution import NAMES
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from otel_ml_collector.store.tables import SHOWN
from tests.support.otel_ml_collector.stores import Store

_AMOUNTS: Final = (*TOKENS, "cost")
_CALL: Final = tuple(name for name in SHOWN if name not in _AMOUNTS)
_NAMES_KNOWN: Final = {*_AMOUNTS, *_CALL, *NAMES}
_DIFFERS: Final = join_sql(
    " OR ",
    [
        Sql("run.record_of != other.record_of OR run.record_trace != other.record_trace"),
        Sql("run.others != other.others OR run.owners != other.owners"),
        Sql(
            "run.is_counted != (kind NOT IN ('span', 'judge', 'experiment')"
            " AND other.record_of = toFixedString('', 8)"
            " AND run.experiment = '' AND other.experiment = '')"
        ),
        *(
            Sql("NOT (run.counted_{n} <=> if(other.counts, other.{n}, run.{n}))").fill(
                n=identifier(name, _NAMES_KNOWN)
            )
            for name in _AMOUNTS
        ),
        *(
            Sql("NOT (run.final_{n} <=> if(is_main, other.{n}, run.{n}))").fill(
                n=identifier(name, _NAMES_KNOWN)
            )
            for name in _CALL
        ),
        *(
            Sql("run.trace_{n} != other.{n}").fill(n=identifier(name, _NAMES_KNOWN))
            for name in NAMES
        ),
    ],
)
_SQL: Final = Sql("""
    SELECT lower(hex(run.trace_id)) AS trace, lower(hex(run.span_id)) AS span, run.*, other.*
    FROM (SELECT *, {counted}, is_counted, final_provider, final_provider_model,
      final_inputs_preview, final_outputs_preview, final_first_token_ms, final_stream_chunks
      FROM runs FINAL) AS run
    LEFT JOIN (
      SELECT *, counts AND others NOT IN ('', '[]') AS is_main FROM settled FINAL) AS other
    USING (project, start_ns, trace_id, span_id)
    WHERE {differs}""").fill(
    differs=_DIFFERS,
    counted=join_sql(
        ", ",
        [Sql("counted_{n}").fill(n=identifier(name, _NAMES_KNOWN)) for name in _AMOUNTS],
    ),
)


def finish(store: Store, watch: CallResolver) -> None:
    """Resolve everything that is stored, and write all changed rows."""
    while watch.run_pass() or store.connections.memory.updates.has_pending:
        pass


def find_differing(store: Store) -> list[Row]:
    """Return the runs whose row differs from their resolution in `settled`."""
    return store.reader.rows(_SQL, {})


class RowCounts(NamedTuple):
    """How many runs are stored, and in how many of their rows are values of other runs."""

    runs: int
    folded: int


def count_rows(store: Store) -> RowCounts:
    """Count the rows of the table `runs`, each run once."""
    sql = Sql("SELECT count() AS runs, countIf(folded_ns > 0) AS folded FROM runs FINAL")
    [row] = store.reader.rows(sql, {})
    return RowCounts(**row)
