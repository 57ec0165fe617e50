"""Where rows of what was deleted stand: conditions on each table, as fixed text with parameters.

Parameters are ``project``, ``target``, ``deleted`` (the time that names the deletion) and, of a
run, ``trace`` and ``span``.
"""

from typing import Final

from otel_ml_collector.owners import KEY, RESPONSE, TAG
from otel_ml_collector.store.verdict import MODEL, PROJECT, RUN, SESSION, USER

_PROJECT: Final = "project = {project:String}"
_TARGET: Final = "{target:String}"
_DELETED: Final = f"{_PROJECT} AND deleted_ns = {{deleted:Int64}}"
_TRACES: Final = f"(SELECT trace_id FROM deleted_runs WHERE {_DELETED})"  # noqa: S608 - fixed text; values are parameters
_RUNS: Final = f"""(start_ns, trace_id, span_id) IN (
  SELECT start_ns, trace_id, span_id FROM deleted_runs WHERE {_DELETED})"""  # noqa: S608 - fixed text; values are parameters
# A trace is gone when none of its runs is left.
_GONE_TRACES: Final = f"""
  trace_id IN {_TRACES}
  AND trace_id NOT IN (SELECT trace_id FROM runs WHERE {_PROJECT} AND trace_id IN {_TRACES})
  AND trace_id NOT IN (SELECT trace_id FROM open_runs WHERE {_PROJECT} AND trace_id IN {_TRACES})
"""  # noqa: S608 - fixed text; values are parameters
_OWNERS: Final = f"""owner IN (
  SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM deleted_runs WHERE {_DELETED}
  UNION ALL SELECT owner FROM deleted_owners WHERE {_DELETED})"""  # noqa: S608 - fixed text; values are parameters
_GONE_KEYS: Final = f"""(({_GONE_TRACES}) OR concat('{KEY}', key) IN (
  SELECT owner FROM deleted_owners WHERE {_DELETED}))"""  # noqa: S608 - fixed text; values are parameters
_OF_MODEL: Final = f"""(startsWith(owner, 'model:')
  AND substring(owner, position(owner, ':', 7) + 1) = {_TARGET}
  AND time_ns <= {{deleted:Int64}})"""

# What belongs to a session or a user: its runs, and those of the same traces that say nothing.
_OF_TRACES: Final = """trace_id IN (
  SELECT trace_id FROM runs WHERE {project} AND {name} = {target}
  UNION ALL SELECT trace_id FROM open_runs WHERE {project} AND {name} = {target})
  AND {name} IN ('', {target})"""
# Which runs and open runs a deletion means.
MEANT: Final = {
    RUN: "trace_id = toFixedString(unhex({trace:String}), 16)"
    " AND span_id = toFixedString(unhex({span:String}), 8)",
    SESSION: _OF_TRACES.format(project=_PROJECT, name="session", target=_TARGET),
    USER: _OF_TRACES.format(project=_PROJECT, name="user", target=_TARGET),
    MODEL: f"model = {_TARGET}",
    PROJECT: "1",
}
# What shows that a model or a project is there, beside its runs.
TRACES_OF: Final = {
    MODEL: [("model_versions", f"kind = 'model' AND name = {_TARGET} AND last_seen_ns > 0")],
    PROJECT: [
        ("model_versions", "last_seen_ns > 0"),
        ("metrics", "1"),
        ("late_tags", "1"),
        ("late_logs", "1"),
        ("objects", "1"),
        ("artifacts", "1"),
    ],
}
# Names what goes; while it is still there.
FILL: Final = [
    f"""
    INSERT INTO deleted_runs (project, trace_id, span_id, start_ns, deleted_ns)
    SELECT DISTINCT project, trace_id, span_id, start_ns, {{deleted:Int64}}
    FROM {table} WHERE {_PROJECT} AND """  # noqa: S608 - fixed text; values are parameters
    for table in ("runs", "open_runs")
] + [
    f"""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT DISTINCT project, concat('{TAG}', arrayJoin(
      arrayFilter(text -> startsWith(text, '{RESPONSE}'), tag_kv))), {{deleted:Int64}}
    FROM runs WHERE {_PROJECT} AND """  # noqa: S608 - fixed text; values are parameters
]
# And the keys of traces of which nothing is left then.
FILL_KEYS: Final = f"""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT DISTINCT project, concat('{KEY}', key), {{deleted:Int64}} FROM trace_index
    WHERE {_PROJECT} AND {_GONE_TRACES} AND key NOT IN (
      SELECT key FROM trace_index
      WHERE {_PROJECT} AND trace_id != toFixedString('', 16) AND NOT ({_GONE_TRACES}))"""  # noqa: S608 - fixed text; values are parameters

_BEFORE: Final = "arrived_ns <= {deleted:Int64}"
_NAMED: Final = "sha256 IN (SELECT sha256 FROM objects WHERE {project} AND ({gone}))"
_NAMED_STILL: Final = "sha256 NOT IN (SELECT sha256 FROM objects WHERE {project} AND NOT ({gone}))"


def runs_first(kind: str) -> list[tuple[str, str]]:
    """Say where runs stand that are deleted: without them no list tells of the rest."""
    condition = _BEFORE if kind == PROJECT else _RUNS
    return [("runs", condition), ("open_runs", condition)]


def conditions(kind: str) -> list[tuple[str, str]]:
    """Say where the rest of what is deleted stands, table after table, traces last.

    Doing it again, and from the start, changes nothing but what was left.
    """
    if kind == PROJECT:
        return _all_of_project()
    owners = f"({_OWNERS} OR {_OF_MODEL})" if kind == MODEL else _OWNERS
    named = _NAMED.format(project=_PROJECT, gone=owners)
    still = _NAMED_STILL.format(project=_PROJECT, gone=owners)
    return [
        ("payloads", _RUNS),
        ("scores_by_judge", _RUNS),
        ("artifacts", f"{named} AND {still}"),
        ("artifact_chunks", f"{named} AND {still}"),
        ("objects", owners),
        ("metrics", owners),
        ("late_tags", owners),
        ("late_logs", owners),
        ("trace_keys", _GONE_KEYS),
        ("trace_index", _GONE_KEYS),
    ]


def _all_of_project() -> list[tuple[str, str]]:
    before = [
        "payloads",
        "artifacts",
        "artifact_chunks",
        "objects",
        "metrics",
        "late_tags",
        "late_logs",
        "processes",
    ]
    left = f"(SELECT trace_id FROM runs WHERE {_PROJECT} UNION ALL SELECT trace_id FROM open_runs"  # noqa: S608 - fixed text; values are parameters
    return [
        *((table, _BEFORE) for table in before),
        ("views", "saved_ns <= {deleted:Int64}"),
        ("daily_runs", "computed_ns <= {deleted:Int64}"),
        ("daily_scores", "computed_ns <= {deleted:Int64}"),
        ("scores_by_judge", "time_ns <= {deleted:Int64}"),
        ("arrivals", f"process NOT IN (SELECT process FROM processes WHERE {_PROJECT})"),  # noqa: S608 - fixed text; values are parameters
        ("trace_keys", f"trace_id NOT IN {left} WHERE {_PROJECT})"),
        ("trace_index", f"trace_id NOT IN {left} WHERE {_PROJECT})"),
    ]


# A model that is deleted keeps the numbers of its versions and nothing else: back to old code
# gives the old number, and no list tells of a version that was never seen since.
FORGET_VERSIONS: Final = {
    MODEL: "kind = 'model' AND name = {target:String}",
    PROJECT: "1",
}
