"""Remembers projects whose runs need no resolution, so that nothing is stored or read for them.

Resolution decides which of several records of one call counts, and which session, user and
experiment a run inherits from its trace.
"""

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from otel_ml.records import Run
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import NAMES, form_of, may_lack_words
from otel_ml_collector.same_calls import (
    CALLS,
    has_facts,
    may_be_inside,
    may_be_nested,
    may_be_second,
)
from otel_ml_collector.store.annotations import (
    ANNOTATED,
    QUIET,
    find_annotated_projects,
    may_be_annotated,
)
from otel_ml_collector.store.call_runs import (
    HAS_FACTS,
    IN_PROJECTS,
    LACKS_WORDS,
    NAMES_ANY,
    NAMING,
    REMOTE_TOOL,
    divide,
    read_rows,
)
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.counted import DELIVERIES, OF_PROJECT
from otel_ml_collector.store.resolutions import SHARED
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql
from otel_ml_collector.store.tables import RESPONSE_ID

# Markers in a project's set of scopes: the instrumentations that record its calls. "bare": several
# runs of one scope may record the same call. "unread": older calls were not read yet.
_BARE: Final = "bare"
_UNREAD: Final = "unread"
# Number of newest rows of calls that show which scopes record a project's calls. A call that later
# records changed has several rows.
_NEWEST: Final = 3_000
# Maximum number of runs, and of projects, that one query reads.
_READ_AT_ONCE: Final = 100_000
_PROJECTS_AT_ONCE: Final = 5_000
# Number of recent calls that are kept, to find calls directly inside other calls.
_MOST_PLACES: Final = 20_000
_HAS_CONTENT: Final = Sql("inputs_preview != '' OR outputs_preview != ''")


def _newest_scopes(wanted: Sql, newest: Sql) -> Sql:
    """Write the SQL for the instrumentations of the newest calls of one or more projects."""
    calls = Sql("""
        SELECT project, start_ns, trace_id, span_id, parent_span_id, kind, provider_model,
          input_tokens, output_tokens, cost, process, {remote_tool} AS is_remote_tool,
          NOT ({says}) AND {response} = '' AND process = '' AS is_account,
          {lacks_words} AND outputs_preview != '' AND parent_span_id != toFixedString('', 8)
            AS lacks_question
        FROM {deliveries} WHERE {wanted} AND {has_facts} ORDER BY start_ns DESC {newest}""").fill(
        deliveries=DELIVERIES,
        wanted=wanted,
        has_facts=HAS_FACTS,
        remote_tool=REMOTE_TOOL,
        newest=newest,
        says=_HAS_CONTENT,
        response=RESPONSE_ID,
        lacks_words=LACKS_WORDS,
    )
    return Sql("""
        SELECT DISTINCT toString(project) AS project, scope FROM (
          SELECT project, scope FROM payloads
          WHERE {wanted} AND (project, start_ns, trace_id, span_id) IN (
            SELECT project, start_ns, trace_id, span_id FROM ({calls}))
          UNION ALL
          SELECT project, '{bare}' FROM ({calls})
          WHERE is_remote_tool OR lacks_question OR (kind IN ('model', 'embedding') AND if(
            input_tokens IS NULL AND output_tokens IS NULL AND cost IS NULL,
            provider_model != '', is_account)) LIMIT 1 BY project
          UNION ALL
          SELECT project, '{bare}' FROM ({calls})
          WHERE process = '' AND (project, trace_id, span_id) IN (
            SELECT project, trace_id, parent_span_id FROM {deliveries}
            WHERE {wanted} AND kind != 'span' AND process = ''
            ORDER BY start_ns DESC {newest}) LIMIT 1 BY project
          UNION ALL
          SELECT project, '{shared}' FROM settled WHERE {wanted} AND counts LIMIT 1 BY project)
        """).fill(
        deliveries=DELIVERIES,
        wanted=wanted,
        newest=newest,
        calls=calls,
        bare=Sql(_BARE),
        shared=Sql(SHARED),
    )


def _newest_forms(wanted: Sql, newest: Sql) -> Sql:
    """Write the SQL for which of session, user and experiment the newest runs name or inherit."""
    return Sql("""
        SELECT DISTINCT toString(project) AS project, {forms} FROM (
          SELECT project, {naming} FROM {deliveries} WHERE {wanted} ORDER BY start_ns DESC {newest}
          UNION ALL
          SELECT project, {naming} FROM open_runs WHERE {wanted}
          UNION ALL
          SELECT project, '', '', '' FROM settled WHERE {wanted} AND ({any}) LIMIT 1 BY project
          UNION ALL
          SELECT project, {naming} FROM settled WHERE {wanted} AND ({any}) LIMIT 1 BY project)
        """).fill(
        deliveries=DELIVERIES,
        wanted=wanted,
        newest=newest,
        naming=NAMING,
        any=NAMES_ANY,
        forms=join_sql(
            ", ", [Sql("{n} != '' AS has_{n}").fill(n=identifier(name, NAMES)) for name in NAMES]
        ),
    )


# For one project, only its newest rows are read; for several, all of their rows.
_OF_ONE: Final = (OF_PROJECT, Sql("LIMIT {most}").fill(most=_NEWEST))
_OF_SEVERAL: Final = (IN_PROJECTS, Sql("LIMIT {most} BY project").fill(most=_NEWEST))
_RUNS_BY_PROJECT: Final = Sql("""
    SELECT toString(project) AS project, count() AS runs FROM {deliveries} WHERE {wanted}
    GROUP BY project""").fill(deliveries=DELIVERIES, wanted=IN_PROJECTS)


class PlainProjects:
    """Remembers in which projects no run depends on other runs of its trace.

    In other projects, each trace is checked: several records of one call count only once, and a run
    inherits the session, user and experiment of its trace. A project needs no check if all of these
    are true:

    * Only one instrumentation records its calls.
    * Either all runs name a session, or none does. The same is true for user and experiment.
    * No tag, score or other record was sent for a trace key or for all runs with a tag.

    Args:
        client: Client of the thread that calls `learn`.
        memory: Cached facts about projects.
    """

    def __init__(self, client: StoreClient, memory: Memory) -> None:
        self._client = client
        self._memory = memory
        self._guard = threading.Lock()
        self._scopes: dict[str, set[str]] = {}
        # The spans of recent calls, and the parents of recent runs, oldest first.
        self._spans: dict[tuple[str, bytes, bytes], None] = {}
        self._parents: dict[tuple[str, bytes, bytes], None] = {}
        # The combinations of session, user and experiment that runs of a project name. With only
        # one combination, no run inherits a name.
        self._forms: defaultdict[str, set[tuple[bool, bool, bool]]] = defaultdict(set)

    def note(self, records: Records, projects: Iterable[str]) -> Collection[str]:
        """Remember which instrumentations sent runs, and which names these runs have.

        The names are those of the session, user and experiment.

        `is_plain` uses these facts to decide whether runs of a project depend on each other.

        Args:
            records: The stored records.
            projects: Projects with changed traces.

        Returns:
            The projects in which several instrumentations may record the same call.
        """
        scopes: defaultdict[str, set[str]] = defaultdict(set)
        forms: defaultdict[str, set[tuple[bool, bool, bool]]] = defaultdict(set)
        for run in chain(records.runs, records.open_runs):
            forms[run.project].add(form_of(run))
        for run in records.runs:
            if has_facts(run):
                scopes[run.project].add(run.scope if run.kind in CALLS else run.kind)
            if may_be_second(run) or (
                run.inputs_preview == "" and run.parent_span_id and may_lack_words(run)
            ):
                scopes[run.project].add(_BARE)
        with self._guard:
            for run in records.runs:
                if may_be_inside(run) and self._is_nested(run):
                    scopes[run.project].add(_BARE)
            for project in projects:
                self._scopes.setdefault(project, {_UNREAD}).update(scopes.get(project, ()))
                self._forms[project] |= forms[project]
            return {project for project in scopes if not self.counts_plainly(project)}

    def _is_nested(self, run: Run) -> bool:
        """Remember a run, and return whether it is directly inside a call, or a call around one.

        A call with a step inside, such as a chain or a tool, may report the sum of other calls.
        """
        of_trace = run.project, run.trace_id
        span, parent = (*of_trace, run.span_id), (*of_trace, run.parent_span_id)
        is_nested = parent in self._spans
        if may_be_nested(run) and has_facts(run):
            is_nested = is_nested or span in self._parents
            self._spans[span] = None
        if run.parent_span_id:
            self._parents[parent] = None
        for places in (self._spans, self._parents):
            if len(places) > _MOST_PLACES:
                del places[next(iter(places))]
        return is_nested

    def is_plain(self, project: str) -> bool:
        """Return whether no run of a project needs a resolution."""
        is_named_alike = len(self._forms[project]) <= 1
        is_quiet = not may_be_annotated(self._memory, project)
        return self.counts_plainly(project) and is_named_alike and is_quiet

    def counts_plainly(self, project: str) -> bool:
        """Return whether only one instrumentation records the calls of a project."""
        known = self._scopes.get(project, {_UNREAD})
        return self._memory.is_alone and len(known) <= 1 and known.isdisjoint({_UNREAD, _BARE})

    def learn(self, projects: Iterable[str]) -> None:
        """Read, once per project, the instrumentations and names of its newest runs."""
        if not self._memory.is_alone:
            return
        unread = sorted(project for project in projects if _UNREAD in self._scopes[project])
        for part in divide(unread):
            annotated = find_annotated_projects(self._client, part)
            for project in part:
                self._memory.note(project, [ANNOTATED if project in annotated else QUIET])
        for together in self._gather_small(unread):
            form = _OF_ONE if len(together) == 1 else _OF_SEVERAL
            values = {"projects": together, "project": together[0]}
            scopes = read_rows(self._client, _newest_scopes(*form), values)
            forms = read_rows(self._client, _newest_forms(*form), values)
            for row in scopes:
                if row["scope"] == SHARED:
                    self._memory.note(row["project"], [SHARED])
            with self._guard:
                for row in scopes:
                    self._scopes[row["project"]] |= {row["scope"]} - {SHARED}
                for row in forms:
                    has_session, has_user, has_experiment = (
                        bool(row[f"has_{name}"]) for name in NAMES
                    )
                    self._forms[row["project"]].add((has_session, has_user, has_experiment))
                for project in together:
                    self._scopes[project].discard(_UNREAD)

    def _gather_small(self, projects: Sequence[str]) -> Iterator[list[str]]:
        """Group projects with few runs. A large project is a group of its own."""
        if len(projects) <= 1:
            yield from [[*projects]] if projects else []
            return
        rows = [
            row
            for part in divide(projects)
            for row in read_rows(self._client, _RUNS_BY_PROJECT, {"projects": part})
        ]
        sizes = {row["project"]: row["runs"] for row in rows}
        part: list[str] = []
        read = 0
        for project in sorted(projects, key=lambda project: sizes.get(project, 0)):
            read += sizes.get(project, 0)
            if part and (read > _READ_AT_ONCE or len(part) == _PROJECTS_AT_ONCE):
                yield part
                part, read = [], sizes.get(project, 0)
            part.append(project)
        yield part
