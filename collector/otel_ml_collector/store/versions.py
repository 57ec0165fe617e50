"""Numbers of model versions, their order of first arrival, and their aliases."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from otel_ml_collector.store.connection import EVERY_NAME
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql

# Version numbers by name, digest and structure.
Numbers = dict[tuple[str, str, str], int]
_UNREAD: Final = Sql("''")

# A version is a definition plus an output structure. Runs without a structure count as the first
# structure of their definition. All structures after the first count as one, because outputs with
# varying structure say nothing about the code. In a store that is older than this rule, structures
# that arrived before it keep separate numbers, up to the 33rd. Late, repeated and reordered
# deliveries change nothing: only first arrivals count, and they are kept forever.
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

# The same without numbers, which `number_versions` adds. The numbers of a name do not depend on
# other names.
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
    """Add to rows of `VERSIONS` the `number` from `NUMBERED_VERSIONS`."""
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
    """Group the structures of a definition that count as one."""
    named_rows = sorted(
        (row for row in structures if row["structure"]), key=itemgetter("first_ns", "structure")
    )
    separate = max(2, 1 + sum(row["first_ns"] < row["ruled_ns"] for row in named_rows))
    slots: defaultdict[int, list[Row]] = defaultdict(list)
    slots[1] += [row for row in structures if not row["structure"]]
    for place, row in enumerate(named_rows, 1):
        slots[min(_MOST_STRUCTURES, place, separate)].append(row)
    return {slot: value for slot, value in slots.items() if value}


# The current version of each alias: the last move counts. A removed alias has none.
CURRENT_ALIASES: Final = Sql("""
SELECT model, alias, last.1 AS digest, last.3 AS by, last.4 AS source, last.5 AS time_ns
FROM (
  SELECT model, alias,
    argMax((digest, is_removed, by, source, time_ns), (time_ns, record_id)) AS last
  FROM aliases FINAL WHERE project = {project:String} GROUP BY model, alias
)
WHERE NOT last.2""")


def read_versions(reader: Reader, project: str, kind: str, names: Sequence[str]) -> list[Row]:
    """Read the numbered versions of models or judges, with one row for each structure."""
    definition = Sql("max(definition)")
    rows = _read_numbered(reader, project, [kind], names, definition) if names else []
    return sorted(
        rows, key=lambda row: (row["name"], row["number"], row["structure"] == "", row["first_ns"])
    )


def _read_numbered(
    reader: Reader,
    project: str,
    kinds: Sequence[str],
    names: Sequence[str] | None,
    definition: Sql = _UNREAD,
) -> list[Row]:
    """Read versions with their numbers, of some names or all. Deleted versions are left out."""
    named = Sql("1") if names is None else Sql("name IN {names:Array(String)}")
    sql = VERSIONS.fill(definition=definition, named=named)
    parameters = {"project": project, "kinds": list(kinds), "names": list(names or [])}
    return [row for row in number_versions(reader.rows(sql, parameters)) if row["last_ns"] > 0]


def read_version_starts(
    reader: Reader, project: str, kind: str, names: Collection[str]
) -> dict[str, list[int]]:
    """Return when each version of some models or judges first arrived, by name, oldest first.

    Returns:
        For each name, the times in nanoseconds since 1970: the first for version 1, and so on. A
        name without versions is left out.
    """
    starts: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for row in _read_numbered(reader, project, [kind], sorted(names)) if names else ():
        of_name = starts[row["name"]]
        of_name[row["number"]] = min(of_name.get(row["number"], row["first_ns"]), row["first_ns"])
    return {name: sorted(of_name.values()) for name, of_name in starts.items()}


def read_aliases(reader: Reader, project: str, model: str, limit: int) -> list[Row]:
    """Read the last changes of the aliases of a model's versions, newest first."""
    sql = Sql("""
        SELECT alias, digest, is_removed, by, source, time_ns FROM aliases FINAL
        WHERE project = {project:String} AND model = {model:String}
        ORDER BY time_ns DESC, record_id DESC LIMIT {limit:UInt32}
        """)
    return reader.rows(sql, {"project": project, "model": model, "limit": limit})


def read_current_aliases(reader: Reader, project: str, model: str) -> list[Row]:
    """Read the current aliases of a model's versions, in order of the versions."""
    sql = Sql("""
        SELECT alias, digest, false AS is_removed, by, source, time_ns FROM ({current})
        WHERE model = {model:String} ORDER BY alias
        """).fill(current=CURRENT_ALIASES)
    return reader.rows(sql, {"project": project, "model": model})


def version_numbers(reader: Reader, project: str, kind: str, names: Iterable[str]) -> Numbers:
    """Return the numbers of versions by (name, digest, structure)."""
    return read_version_numbers(reader, project, {kind: names})[kind]


def read_version_numbers(
    reader: Reader, project: str, names: Mapping[str, Iterable[str]]
) -> dict[str, Numbers]:
    """Return the version numbers of the named models and judges.

    A version has a digest of its definition and a structure of its output. So the result looks
    like `{"model": {("triage", "9f2c", "41ab"): 2}}`: version 2 of `triage` has the digest `9f2c`
    and the structure `41ab`. Numbers that are not cached are read from the store, with one query
    for all names.

    Args:
        reader: The store.
        project: The project.
        names: The names to look up, by kind, such as `{"model": ["triage"]}`.
    """
    wanted = {(kind, name) for kind, named in names.items() for name in named if name}
    known = {key: reader.memory.numbers(project, *key) for key in wanted}
    missing = sorted({name for (_, name), value in known.items() if value is None})
    if missing:
        generation = reader.memory.generation
        facts: dict[tuple[str, str], dict[tuple[str, ...], int]] = {
            key: {} for key in wanted if key[1] in missing
        }
        for row in _read_numbered(reader, project, list(names), missing):
            if (row["kind"], row["name"]) in facts:
                version = row["digest"], row["structure"]
                facts[row["kind"], row["name"]][version] = row["number"]
        reader.memory.keep_numbers(project, facts, generation)
        known |= facts
    numbers: dict[str, Numbers] = {kind: {} for kind in names}
    for (kind, name), versions in known.items():
        for (digest, structure), number in (versions or {}).items():
            numbers[kind][name, digest, structure] = number
    return numbers


# The version number of a run, from known versions in parameters; 0 for all others.
NUMBER: Final = Sql("""transform(concat(toString(digest), ':', toString(structure)),
  {versions:Array(String)}, {numbers:Array(UInt32)}, toUInt32(0))""")


def of_versions(reader: Reader, project: str, model: str) -> dict[str, Any]:
    """Return the parameters of a query about versions of a model, including those of `NUMBER`."""
    numbers = version_numbers(reader, project, "model", [model])
    return {
        "project": project,
        "model": model,
        "versions": [f"{digest}:{structure}" for _, digest, structure in numbers] or [""],
        "numbers": list(numbers.values()) or [0],
    }


def all_version_numbers(reader: Reader, project: str, kind: str) -> Numbers:
    """Return the numbers of all versions of a project's models, or of its judges."""
    known = reader.memory.numbers(project, kind, EVERY_NAME)
    if known is not None:
        return {(name, digest, structure): at for (name, digest, structure), at in known.items()}
    generation = reader.memory.generation
    numbers: Numbers = {
        (row["name"], row["digest"], row["structure"]): row["number"]
        for row in _read_numbered(reader, project, [kind], None)
    }
    kept = dict[tuple[str, ...], int](numbers.items())
    reader.memory.keep_numbers(project, {(kind, EVERY_NAME): kept}, generation)
    return numbers
