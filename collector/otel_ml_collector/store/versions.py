"""The small numbers of model versions, their rank by first arrival, and the names that move."""

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.sql import Sql

# A version is a definition and an output structure. Runs without structure count as the first
# structure of their definition; from the second one on they are one, because outputs whose
# structure varies say nothing of the code. A store that is older than this rule keeps its numbers:
# of what it had then, structures count apart up to the 33rd. Late, repeated and reordered
# deliveries change nothing: only first arrivals count, and those are kept for ever.
NUMBERED_VERSIONS: Final = Sql("""
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
      FROM model_versions WHERE project = {project:String}
      GROUP BY kind, name, digest, structure
    )
  )
)
""")

# The same without numbers: `number_versions` gives them. What a
# version's number is depends on no other name.
VERSIONS: Final = Sql("""
SELECT kind, name, digest, structure, min(first_arrived_ns) AS first_ns,
  max(last_seen_ns) AS last_ns, {definition} AS definition,
  (SELECT toInt64(max(value)) FROM store_meta WHERE name = 'two_structures') AS ruled_ns
FROM model_versions
WHERE project = {project:String} AND kind IN {kinds:Array(String)} AND {named}
GROUP BY kind, name, digest, structure
""")
_MOST_STRUCTURES: Final = 33


def number_versions(rows: Sequence[Row]) -> list[Row]:
    """Add to rows of `VERSIONS` the `number` that `NUMBERED_VERSIONS` gives them."""
    definitions: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        definitions[row["kind"], row["name"], row["digest"]].append(row)
    slots: defaultdict[tuple[str, str], list[tuple[int, str, int, list[Row]]]] = defaultdict(list)
    for (kind, name, digest), structures in definitions.items():
        for slot, of_slot in _slots(structures).items():
            first_ns = min(row["first_ns"] for row in of_slot)
            slots[kind, name].append((first_ns, digest, slot, of_slot))
    return [
        {**row, "number": number}
        for of_name in slots.values()
        for number, (*_, of_slot) in enumerate(sorted(of_name, key=itemgetter(0, 1, 2)), 1)
        for row in of_slot
    ]


def _slots(structures: Sequence[Row]) -> dict[int, list[Row]]:
    """Put the structures of one definition together that count as one."""
    told = sorted(
        (row for row in structures if row["structure"]), key=itemgetter("first_ns", "structure")
    )
    apart = max(2, 1 + sum(row["first_ns"] < row["ruled_ns"] for row in told))
    slots: defaultdict[int, list[Row]] = defaultdict(list)
    slots[1] += [row for row in structures if not row["structure"]]
    for place, row in enumerate(told, 1):
        slots[min(_MOST_STRUCTURES, place, apart)].append(row)
    return {slot: found for slot, found in slots.items() if found}


# Which version a name is of: the last move holds, and one that takes it away leaves none.
CURRENT_ALIASES: Final = Sql("""
SELECT model, alias, last.1 AS digest, last.3 AS by, last.4 AS source, last.5 AS time_ns
FROM (
  SELECT model, alias,
    argMax((digest, is_removed, by, source, time_ns), (time_ns, record_id)) AS last
  FROM aliases FINAL WHERE project = {project:String} GROUP BY model, alias
)
WHERE NOT last.2""")
