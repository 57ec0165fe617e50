"""Counts of the values of runs' fields and tags, for the facets of a list."""

from typing import Any, Final

from otel_ml_collector.store.counted import NAMED, RECORDED, named
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Condition, Sql, identifier
from otel_ml_collector.store.targets import TAG_TEXT

# The values of at most so many runs are counted: of the newest ones.
_COUNTED_RUNS: Final = 500_000
_COUNT_VALUES: Final = Sql("""
    SELECT facet, value, runs, sum(runs) OVER (PARTITION BY facet) AS of_facet,
      count() OVER (PARTITION BY facet) AS different
    FROM (
      SELECT pair.1 AS facet, pair.2 AS value, count() AS runs
      FROM (
        SELECT arrayConcat([
            ('outcome', toString(outcome)), ('model', toString(model)),
            ('version', concat(toString(digest), ':', toString(structure), ':', toString(model))),
            ('user', toString({user})), ('session', toString({session}))
          ], arrayMap((name, text) -> (concat('tag:', name), {tag}), mapKeys(tags),
            mapValues(tags))) AS pairs
        FROM {recorded}
        WHERE project = {project:String} AND start_ns >= {start:Int64}
          AND start_ns < {end:Int64} AND ({condition})
        ORDER BY start_ns DESC LIMIT {most:UInt32}
      ) ARRAY JOIN pairs AS pair
      WHERE value != '' AND length(value) <= 200
      GROUP BY facet, value
    )
    ORDER BY of_facet DESC, facet, runs DESC, value
    LIMIT {values:UInt32} BY facet LIMIT 2000""")


def count_facet_values(
    reader: Reader, project: str, condition: Condition, window_ns: tuple[int, int], *, most: int
) -> list[Row]:
    """Count the values of the matching runs: of outcome, model, version, user, session and tags.

    Args:
        reader: The store.
        project: The project.
        condition: Which runs count.
        window_ns: When they start: from, and before.
        most: Maximum number of values of each facet, the most frequent first.

    Returns:
        `facet`, `value` and `runs`, and for its facet: the number of all runs with a value
        (`of_facet`) and of different values (`different`). The facet of a tag is its name after
        ``tag:``, a version is its digest, structure and model.
    """
    names = {name: named(identifier(name, NAMED)) for name in NAMED}
    sql = _COUNT_VALUES.fill(
        recorded=RECORDED,
        condition=condition.sql,
        tag=TAG_TEXT.fill(value=Sql("text")),
        **names,
    )
    values: dict[str, Any] = {
        "project": project,
        "start": window_ns[0],
        "end": window_ns[1],
        "most": _COUNTED_RUNS,
        "values": most,
        **condition.parameters,
    }
    return reader.rows(sql, values)
