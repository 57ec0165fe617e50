"""SQL that finds runs by run ID, trace key or tag, such as those of late-arriving records.

`resolution.name_owners` decides which runs a key or a tag means.
"""

from typing import Final

from otel_ml_collector.store.sql import EMPTY, Sql

# `RUN` splits the run ID in an owner into two columns. `BY_IDS` selects runs by ID.
RUN: Final = Sql("""toFixedString(unhex(substring(owner, 1, 32)), 16) AS trace_id,
  toFixedString(unhex(substring(owner, 34)), 8) AS span_id""")
BY_IDS: Final = Sql("""(trace_id, span_id) IN (
  SELECT {run} FROM (SELECT arrayJoin({ids:Array(String)}) AS owner))""").fill(run=RUN)
# The value of a tag as text for filters. Numbers and booleans are written as in JSON.
TAG_TEXT: Final = Sql("if(startsWith({value}, '\"'), JSONExtractString({value}), {value})")
# The runs of trace keys and tags, one owner per row.
NAMED_RUNS: Final = Sql("""
    SELECT trace_id, span_id, arrayJoin(owners) AS owner FROM settled FINAL
    WHERE project = {project:String} AND notEmpty(owners)""")
# Runs whose traces have a trace key that passes a test. Use `WITH_WHOLE_KEY` for tests that compare
# whole keys: they can use an index.
WITH_KEY: Final = Sql("""trace_id IN (SELECT trace_id FROM trace_keys
  WHERE project = {project:String} AND key != lower(hex(trace_id)) AND {test})""")
WITH_WHOLE_KEY: Final = Sql("""trace_id IN (SELECT trace_id FROM trace_index
  WHERE project = {project:String} AND key != lower(hex(trace_id)) AND {test})""")
WITHOUT_KEY: Final = Sql("""trace_id NOT IN (SELECT trace_id FROM trace_keys
  WHERE project = {project:String})""")


def join_keyed(columns: Sql, records: Sql, among: Sql = EMPTY) -> Sql:
    """Write the SQL that joins late-arriving records to the runs that they belong to.

    Only records that name a trace key or a tag instead of a run ID are joined. An example is a
    metric that was sent for all runs with a tag.

    Args:
        columns: The columns of a record.
        records: The records, as ``FROM metrics WHERE ...``.
        among: A condition on `start_ns`, `trace_id` and `span_id` of the runs.

    Returns:
        SQL that selects `trace_id`, `span_id` and these columns.
    """
    return Sql("""
        SELECT about.trace_id, about.span_id, record.* EXCEPT (owner)
        FROM ({named}) AS about
        INNER JOIN (SELECT owner, {columns} {records}) AS record
          ON record.owner = about.owner""").fill(
        named=NAMED_RUNS + Sql(" AND ") + among if among else NAMED_RUNS,
        columns=columns,
        records=records,
    )
