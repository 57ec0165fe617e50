"""The small numbers of model versions, their rank by first arrival, and the names that move."""

from typing import Final

from otel_ml_collector.store.sql import Sql

# A version is a definition and an output structure. Runs without structure count as the first
# structure of their definition; from the second one on they are one, because outputs whose
# structure varies say nothing of the code. A store that is older than this rule keeps its numbers:
# of what it had then, structures count apart up to the 33rd. Late, repeated and reordered
# deliveries change nothing: only first arrivals count, and those are kept for ever.
_NUMBERED: Final = Sql("""
SELECT
  kind, name, digest, structure, first_ns, last_ns, definition, slot,
  dense_rank() OVER (PARTITION BY kind, name ORDER BY slot_first_ns, digest, slot) AS number
FROM (
  SELECT *, min(first_ns) OVER (PARTITION BY kind, name, digest, slot) AS slot_first_ns
  FROM (
    SELECT *, if(structure = '', 1, least(33, row_number() OVER (
      PARTITION BY kind, name, digest, structure = '' ORDER BY first_ns, structure),
      greatest(2, 1 + countIf(first_ns < (SELECT toInt64(max(value)) FROM store_meta
        WHERE name = 'two_structures')) OVER (PARTITION BY kind, name, digest, structure = '')
      ))) AS slot
    FROM (
      SELECT kind, name, digest, structure, min(first_arrived_ns) AS first_ns,
        max(last_seen_ns) AS last_ns, max(definition) AS definition
      FROM model_versions WHERE {ours}
      GROUP BY kind, name, digest, structure
    )
  )
)
""")

NUMBERED_VERSIONS: Final = _NUMBERED.fill(ours=Sql("project = {project:String}"))
# The same for some models and judges alone: what a version's number is depends on no other name.
NUMBERED_OF_NAMES: Final = _NUMBERED.fill(
    ours=Sql("""project = {project:String} AND kind IN {kinds:Array(String)}
        AND name IN {names:Array(String)}""")
)
# Which version a name is of: the last move holds, and one that takes it away leaves none.
CURRENT_ALIASES: Final = Sql("""
SELECT model, alias, last.1 AS digest, last.3 AS by, last.4 AS source, last.5 AS time_ns
FROM (
  SELECT model, alias,
    argMax((digest, is_removed, by, source, time_ns), (time_ns, record_id)) AS last
  FROM aliases FINAL WHERE project = {project:String} GROUP BY model, alias
)
WHERE NOT last.2""")
