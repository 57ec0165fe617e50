"""Which models of which projects have a new version."""

from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql


def list_new_versions(reader: Reader, since_ns: int, limit: int) -> list[Row]:
    """List the models whose newest version arrived last.

    Returns:
        Rows of ``project``, ``name`` and ``newest_ns``, the newest first; models that have had
        but one version are not among them.
    """
    return reader.rows(
        Sql("""
        SELECT project, name, max(first_ns) AS newest_ns
        FROM (
          SELECT project, name, digest, structure, min(first_arrived_ns) AS first_ns
          FROM model_versions WHERE kind = 'model' AND {readable}
          GROUP BY project, name, digest, structure
        )
        GROUP BY project, name
        HAVING uniqExact(digest) > 1 AND newest_ns >= {since_ns:Int64}
        ORDER BY newest_ns DESC, project, name LIMIT {limit:UInt32}
        """).fill(readable=READABLE),
        {"since_ns": since_ns, "limit": limit},
    )
