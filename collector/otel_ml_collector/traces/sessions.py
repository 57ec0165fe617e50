"""Sessions: the conversations of a project, and the turns of a session; JSON API and pages.

A turn is a trace of the session. Its top runs are those not below another run of the session. The
question is the input of the first top run, the answer is the output of the last one. If these are
empty, the first question and the last answer below are used.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from otel_ml.orders import OLDEST
from otel_ml.records import Evaluation, Tokens
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import (
    TIMES,
    Cursor,
    End,
    FromReader,
    Limit,
    Since,
    Where,
    read_cursor,
    write_place,
)
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.filter.writing import quoted
from otel_ml_collector.measures.questions import Grouping
from otel_ml_collector.owners import own_session
from otel_ml_collector.runs.answers import RunSummary, add_up, find_owner_evaluations
from otel_ml_collector.runs.find import RunsQuery, find_runs, find_whole_runs
from otel_ml_collector.runs.traces import outline_of
from otel_ml_collector.stats import (
    MAX_GROUPS,
    JudgeFigures,
    RunFigures,
    StatsQuery,
    find_stats,
)
from otel_ml_collector.store.counted import DELIVERIES, IS_CALL, OF_PROJECT, RECORDED, named
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.record_kinds import find_counted, find_record_kinds
from otel_ml_collector.store.runs import OF_TRACES
from otel_ml_collector.store.sql import Condition, Sql
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.traces.conversation import find_answers, find_sent
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Window

_RUNS_OF_SESSION: Final = 1_000
_LISTED_SESSIONS: Final = 50
# The answers of this many turns of a page are read whole; the other turns have previews.
_WHOLE_ANSWERS: Final = 50
_AGENT: Final = "agent"
_CALLED_KINDS: Final = frozenset({"tool", "retriever"})
_BELONGS: Final = named(Sql("session"))
# The sessions of one page. They can be many and long, so they are not part of a filter's text.
_WANTED: Final = Sql("session IN {wanted:Array(String)}")
_LATEST: Final = Sql("""
    SELECT belongs AS session, max(start_ns) AS last_ns FROM (
      SELECT start_ns, {belongs} AS belongs
      FROM {recorded}
      WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
        AND ({condition})
    ) WHERE belongs != '' GROUP BY belongs
    HAVING (last_ns, session) < ({after_ns:Int64}, {after:String}) OR {is_first:Bool}
    ORDER BY last_ns DESC, session DESC LIMIT {limit:UInt32}""")
_FACTS: Final = Sql("""
    SELECT belongs AS session, uniqExactIf(trace_id, is_call) AS turns,
      minIf(start_ns, is_call) AS first_ns, maxIf(start_ns, is_call) AS last_ns,
      maxIf(start_ns + latency_ns, is_call) AS end_ns,
      argMinIf(user, start_ns, user != '') AS user,
      argMinIf(inputs_preview,
        (inputs_preview = '', parent_span_id != toFixedString('', 8), start_ns), is_call) AS asked
    FROM (
      SELECT *, {belongs} AS belongs, {is_call} AS is_call FROM {recorded}
      WHERE {counted} AND {these}
    ) GROUP BY belongs HAVING countIf(is_call) > 0""")

_NEIGHBOURS: Final = Sql("""
    WITH all_of AS (
      SELECT belongs AS session, max(start_ns) AS last_ns FROM (
        SELECT start_ns, {belongs} AS belongs FROM {recorded}
        WHERE project = {project:String} AND start_ns < {end:Int64} AND ({condition})
      ) WHERE belongs != '' GROUP BY belongs),
    (SELECT max(last_ns) FROM all_of WHERE session = {session:String}) AS mine
    SELECT
      argMinIf(session, (last_ns, session), (last_ns, session) > (mine, {session:String})) AS newer,
      argMaxIf(session, (last_ns, session), (last_ns, session) < (mine, {session:String})) AS older
    FROM all_of""")


# In a busy project, the newest hour or day has enough sessions. Older runs are read only if needed.
_LAST_NS: Final = (HOUR_NS, DAY_NS, 30 * DAY_NS)
# Up to this many traces of a session are looked up first, so that other queries can name them.
_MOST_TRACES: Final = 2_000
_TRACES: Final = Sql("""
    SELECT DISTINCT lower(hex(naming.trace_id)) AS trace_id FROM (
      SELECT trace_id FROM {deliveries} WHERE {ours} AND {wanted}
      UNION ALL SELECT trace_id FROM open_runs WHERE {ours} AND {wanted}
    ) AS naming LIMIT {limit:UInt32}""").fill(
    deliveries=DELIVERIES, ours=OF_PROJECT, wanted=_WANTED
)
_BELONGING: Final = Sql("{belongs} IN {wanted:Array(String)}").fill(belongs=_BELONGS)
_THESE: Final = OF_TRACES + Sql(" AND ") + _BELONGING


class SessionFigures(AnswerBody):
    """Figures of a session; the same sums as in the statistics of its runs."""

    session: str
    user: str = Field(description="The first user that a run or span names; empty if none")
    turns: int = Field(description="Number of traces")
    runs: int
    errors: int = Field(description="Number of failed runs")
    start_time: str
    start_ns: int
    last_time: str = Field(description="Start time of the last run")
    end_ns: int = Field(
        description="End time of the run that ended last, in nanoseconds since the epoch"
    )
    asked: str = Field(description="Preview of the first input")
    tokens: Tokens
    cost: float | None = Field(
        description="Total cost in US dollars of the runs whose cost is known"
    )
    judges: list[JudgeFigures]


class SessionsPage(AnswerBody):
    """Sessions, those with the latest run first."""

    sessions: list[SessionFigures]
    next_cursor: str | None


class CalledTool(AnswerBody):
    """A tool, retriever or sub-agent that was called for an answer."""

    run_id: str
    kind: str = Field(description="`tool`, `retriever`, or `agent` for a sub-agent")
    name: str
    depth: int = Field(
        description="Number of sub-agents around the call; 0 for a call of the turn's own agent"
    )
    inputs: str
    outputs: str
    outcome: str
    error_type: str
    latency_ms: float | None


class Turn(AnswerBody):
    """A turn: the question and the answer."""

    trace_id: str
    run_id: str = Field(description="The first run without a parent run")
    answer_run_id: str = Field(
        description="The last run without a parent run. Its output is the answer"
    )
    start_time: str
    start_ns: int
    latency_ms: float | None = Field(
        description="Time from the start of the turn to the end of its last run; null while a run "
        "has not ended"
    )
    asked: str
    answered: str
    outcome: str = Field(description="Outcome of the run that answered")
    error_type: str
    error_message: str
    calls: list[CalledTool]
    scores: dict[str, float] = Field(
        description="The last score of each judge, from any run of the turn"
    )
    passed: dict[str, bool]
    runs: int
    tokens: Tokens
    cost: float | None


class Session(SessionFigures):
    """A session with its turns, oldest first."""

    evaluations: list[Evaluation] = Field(
        description="Evaluations of the session as a whole, oldest first. They do not belong to "
        "its runs"
    )
    conversation: list[Turn] = Field(
        description="A turn with many runs can continue on the next page"
    )
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class SessionsQuery:
    """Selects sessions that have a matching run in the window."""

    project: str
    where: Where = ""
    limit: Limit = _LISTED_SESSIONS
    cursor: Cursor = None
    start_ns: Since = 0
    end_ns: End = None


def find_sessions(reader: Reader, query: SessionsQuery, now_ns: int) -> SessionsPage:
    """List sessions, those with the latest run first; figures cover all of their runs.

    Raises:
        BadInput: Filter or cursor is wrong.
    """
    kinds = find_record_kinds(reader, query.project)
    if "session" not in kinds.names:
        return SessionsPage(sessions=[], next_cursor=None)
    condition, is_filtered = compile_where(
        reader, query.project, query.where, is_bounded=query.start_ns > 0, kinds=kinds
    )
    after_ns, after = 0, ""
    if query.cursor:
        after_ns, after = read_cursor(query.cursor, int, str, numbers=TIMES)
    parameters = {
        "project": query.project,
        "end": now_ns + AHEAD_NS if query.end_ns is None else query.end_ns,
        "after_ns": after_ns,
        "after": after,
        "is_first": query.cursor is None,
        "limit": query.limit + 1,
        **condition.parameters,
    }
    from_ns = min(now_ns, parameters["end"], after_ns if query.cursor else now_ns)
    rows: list[Row] = []
    # For a filter with few matches, reading part of the time takes as long as reading all of it.
    for start_ns in [query.start_ns] if is_filtered else _find_starts(query, from_ns):
        sql = _LATEST.fill(
            recorded=RECORDED,
            belongs=_BELONGS,
            condition=condition.sql,
        )
        rows = reader.rows(sql, {**parameters, "start": start_ns})
        if len(rows) > query.limit:
            break
    page = rows[: query.limit]
    figures = _find_figures(reader, query.project, [row["session"] for row in page])
    more = len(rows) > query.limit
    return SessionsPage(
        sessions=[figures[row["session"]] for row in page if row["session"] in figures],
        next_cursor=write_place([page[-1]["last_ns"], page[-1]["session"]]) if more else None,
    )


def _find_starts(query: SessionsQuery, from_ns: int) -> list[int]:
    """Return the starts of the windows to read: a short one before a time, then longer ones.

    Each window ends now, so it has the last run of each session in it, and sessions with an
    earlier last run cannot come before these.
    """
    starts = [from_ns - length_ns for length_ns in _LAST_NS]
    return [*(start_ns for start_ns in starts if start_ns > query.start_ns), query.start_ns]


def find_session(
    reader: Reader, project: str, session: str, now_ns: int, cursor: str | None = None
) -> Session:
    """Read a session and its conversation. Each turn of the conversation is one trace.

    The conversation has the first 1,000 runs of the session, or up to 1,000 runs after a cursor.

    Raises:
        BadInput: The cursor is wrong.
        Missing: No run of the project names this session.
    """
    return _read_session(reader, project, session, now_ns, cursor)[0]


def _read_session(
    reader: Reader, project: str, session: str, now_ns: int, cursor: str | None
) -> tuple[Session, Sequence[RunSummary]]:
    """Read a session, and the runs of its turns."""
    where = f"session == {quoted(session)}"
    query = RunsQuery(project, where, _RUNS_OF_SESSION, cursor, order=OLDEST)
    figures = reader.ahead(_find_figures, project, [session])
    evaluations = reader.ahead(find_owner_evaluations, project, own_session(session))
    runs = find_runs(reader, query, now_ns)
    known = figures.result().get(session) or _of_open(session, runs.runs)
    if known is None:
        raise Missing(f"There is no session {session[:80]!r}")
    traces: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for run in runs.runs:
        traces[run.trace_id].append(run)
    turns = [_make_turn(of_trace, now_ns) for of_trace in traces.values()]
    stored_session = Session(
        **dict(known),
        evaluations=evaluations.result(),
        conversation=turns,
        next_cursor=runs.next_cursor,
    )
    return stored_session, runs.runs


def find_neighbours(reader: Reader, project: str, session: str, now_ns: int) -> tuple[str, str]:
    """Find the newer and the older session in the list; empty at its ends."""
    kinds = find_record_kinds(reader, project)
    if "session" not in kinds.names:
        return "", ""
    condition, _ = compile_where(reader, project, "", kinds=kinds)
    sql = _NEIGHBOURS.fill(
        recorded=RECORDED,
        belongs=_BELONGS,
        condition=condition.sql,
    )
    parameters = {
        "project": project,
        "session": session,
        "start": 0,
        "end": now_ns + AHEAD_NS,
        **condition.parameters,
    }
    (row,) = reader.rows(sql, parameters)
    return row["newer"], row["older"]


def _find_figures(
    reader: Reader, project: str, sessions: Sequence[str]
) -> dict[str, SessionFigures]:
    """Find the figures of the ended runs of some sessions, by session."""
    session_figures: dict[str, SessionFigures] = {}
    for first in range(0, len(sessions), MAX_GROUPS):
        wanted = sessions[first : first + MAX_GROUPS]
        these = _find_runs(reader, project, wanted)
        facts = _read_facts(reader, project, these)
        if not facts:
            continue
        window = Window(
            min(row["first_ns"] for row in facts), max(row["last_ns"] for row in facts) + 1
        )
        query = StatsQuery(
            project=project,
            where="",
            group="session",
            window=window,
            step_ns=None,
            groups=len(wanted),
            also=these,
            by=Grouping(_BELONGS),
            only=wanted,
        )
        totals = {group.group: group.total for group in find_stats(reader, query).groups}
        session_figures |= {
            row["session"]: _make_figures(row, totals[row["session"]]) for row in facts
        }
    return session_figures


def _find_runs(reader: Reader, project: str, wanted: Sequence[str]) -> Condition:
    """Write the condition on the runs of some sessions: by their traces, if these are not many."""
    parameters = {"project": project, "wanted": list(wanted), "limit": _MOST_TRACES + 1}
    traces = [row["trace_id"] for row in reader.rows(_TRACES, parameters)]
    if len(traces) > _MOST_TRACES:
        return Condition(_BELONGING, {"wanted": list(wanted)})
    return Condition(_THESE, {"wanted": list(wanted), "traces": traces})


def _read_facts(reader: Reader, project: str, these: Condition) -> list[Row]:
    sql = _FACTS.fill(
        recorded=RECORDED,
        belongs=_BELONGS,
        these=these.sql,
        is_call=IS_CALL,
        counted=find_counted(reader, project, repeats=True, kinds=True).sql,
    )
    return reader.rows(sql, {"project": project, **these.parameters})


def _make_figures(row: Row, total: RunFigures) -> SessionFigures:
    return SessionFigures(
        session=row["session"],
        user=row["user"],
        turns=row["turns"],
        runs=total.runs,
        errors=total.errors,
        start_time=to_rfc3339(row["first_ns"]),
        start_ns=row["first_ns"],
        last_time=to_rfc3339(row["last_ns"]),
        end_ns=row["end_ns"],
        asked=row["asked"],
        tokens=total.tokens,
        cost=total.cost,
        judges=total.judges,
    )


def _of_open(session: str, runs: Sequence[RunSummary]) -> SessionFigures | None:
    """Make the figures of a session without a finished run; None if it has no runs at all."""
    if not runs:
        return None
    return SessionFigures(
        session=session,
        user=next((run.user for run in runs if run.user), ""),
        turns=len({run.trace_id for run in runs}),
        runs=0,
        errors=0,
        start_time=runs[0].start_time,
        start_ns=runs[0].start_ns,
        last_time=runs[-1].start_time,
        end_ns=runs[-1].start_ns,
        asked=runs[0].inputs,
        tokens=Tokens(),
        cost=None,
        judges=[],
    )


def _make_turn(runs: Sequence[RunSummary], now_ns: int) -> Turn:
    known = {run.run_id for run in runs}
    tops = [run for run in runs if run.parent_run_id not in known]
    first, last = tops[0], tops[-1]
    ends = [run.start_ns / 1e6 + run.latency_ms for run in tops if run.latency_ms is not None]
    total = add_up(outline_of(runs, now_ns))
    return Turn(
        trace_id=first.trace_id,
        run_id=first.run_id,
        answer_run_id=last.run_id,
        start_time=first.start_time,
        start_ns=first.start_ns,
        latency_ms=max(ends) - first.start_ns / 1e6 if len(ends) == len(tops) else None,
        asked=first.inputs or next((run.inputs for run in runs if run.inputs), ""),
        answered=_find_answer(last, runs),
        outcome=last.outcome,
        error_type=last.error_type,
        error_message=last.error_message,
        calls=_list_calls(runs),
        scores={judge: score for run in runs for judge, score in run.scores.items()},
        passed={judge: passed for run in runs for judge, passed in run.passed.items()},
        runs=len(runs),
        tokens=total.tokens,
        cost=total.cost,
    )


def _list_calls(runs: Sequence[RunSummary]) -> list[CalledTool]:
    """List the tools, retrievers and sub-agents of a turn, each sub-agent before its own calls."""
    places = {run.run_id: place for place, run in enumerate(runs)}
    calls = []
    for run in runs:
        agents: list[int] = []  # those around the run, the innermost first
        above = places.get(run.parent_run_id or "")
        for _ in runs:  # ends, even if the parents form a circle
            if above is None:
                break
            if runs[above].kind == _AGENT:
                agents.append(above)
            above = places.get(runs[above].parent_run_id or "")
        if run.kind in _CALLED_KINDS or (run.kind == _AGENT and agents):
            inner = agents[-2::-1]  # the outermost is the turn's own agent
            calls.append(([*inner, places[run.run_id]], run))
    return [
        CalledTool(
            run_id=run.run_id,
            kind=run.kind,
            name=run.model or run.name,
            depth=len(order) - 1,
            inputs=run.inputs,
            outputs=run.outputs or "",
            outcome=run.outcome,
            error_type=run.error_type,
            latency_ms=run.latency_ms,
        )
        for order, run in sorted(calls, key=itemgetter(0))
    ]


def _find_answer(last: RunSummary, runs: Sequence[RunSummary]) -> str:
    """Return the answer of a turn: of the run at the top, else of the last call below it."""
    if last.outputs or last.outcome == "error":
        return last.outputs or ""
    calls = [run for run in runs if run.outputs and run.kind not in _CALLED_KINDS]
    return calls[-1].outputs or "" if calls else ""


_Query = Annotated[SessionsQuery, Depends()]

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@api.get("/projects/{project:path}/sessions")
def get_sessions(query: _Query, reader: FromReader) -> SessionsPage:
    """List the sessions with a matching run, those with the latest run first.

    Figures cover all runs of a session, whether they match or not.
    """
    return find_sessions(reader, query, time.time_ns())


@api.get("/projects/{project:path}/sessions/{session:path}")
def get_session(project: str, session: str, reader: FromReader, cursor: Cursor = None) -> Session:
    """Read a session with its turns, oldest first."""
    return find_session(reader, project, session, time.time_ns(), cursor)


@pages.get("/projects/{project:path}/sessions", response_class=FramedPage)
def list_sessions(request: Request, query: _Query, reader: FromReader) -> Response:
    """Show the sessions of a project."""
    sessions = find_sessions(reader, query, time.time_ns())
    context = {
        "where": query.where,
        "kept": {},
        "is_roots": False,
        "is_traces": False,
        "is_sessions": True,
        "choices": None,
        "wants_counts": True,
        "sessions": sessions.sessions,
        "next_cursor": sessions.next_cursor,
        "is_first": query.cursor is None,
        "api": view.api_address(
            "projects", query.project, "sessions", where=query.where, cursor=query.cursor
        ),
        "python": python_call("sessions", query.where),
    }
    return show_page(request, "sessions.html", context)


@pages.get("/projects/{project:path}/sessions/{session:path}", response_class=FramedPage)
def show_session(
    *,
    request: Request,
    project: str,
    session: str,
    reader: FromReader,
    cursor: Cursor = None,
    raw: Annotated[str, Query(max_length=1)] = "",
) -> Response:
    """Show a session: its turns in order, each with question and answer."""
    context = describe_session(reader, project, session, cursor=cursor, is_raw=bool(raw))
    return show_page(request, "session.html", context)


def describe_session(
    reader: Reader, project: str, session: str, *, cursor: Cursor = None, is_raw: bool = False
) -> dict[str, Any]:
    """Find everything that the page of a session shows."""
    now_ns = time.time_ns()
    neighbours = reader.ahead(find_neighbours, project, session, now_ns)
    page, runs = _read_session(reader, project, session, now_ns, cursor)
    shown = page.conversation[:_WHOLE_ANSWERS]
    asking = {run.trace_id: run.run_id for run in reversed(runs) if run.kind == "model"}
    read = {turn.answer_run_id for turn in shown} | {turn.run_id for turn in shown}
    read |= {asking[turn.trace_id] for turn in shown if turn.trace_id in asking}
    whole = [*find_whole_runs(reader, [run for run in runs if run.run_id in read], now_ns)]
    answers = find_answers(whole)
    sent = find_sent(whole)
    newer, older = neighbours.result()
    return {
        "newer": newer,
        "older": older,
        "session": page,
        "failures": count_failures(page.conversation),
        "length_ms": (page.end_ns - page.start_ns) / 1e6,
        "answers": answers,
        # Of a chain, only the model call inside has the images as messages.
        "sent": {
            turn.run_id: sent.get(turn.run_id) or sent.get(asking.get(turn.trace_id, ""), ())
            for turn in shown
        },
        "is_raw": is_raw,
        "cursor": cursor,
        "is_first": cursor is None,
        "api": view.api_address("projects", project, "sessions", session, cursor=cursor),
        "python": python_call("session", session),
    }


def count_failures(turns: Sequence[Turn]) -> list[tuple[str, int, bool]]:
    """Count failed turns of a session by reason, the most frequent reason first.

    Returns:
        A tuple for each reason: error type or name of the judge that the turn did not pass, number
        of turns, and whether the reason is a judge.
    """
    failures: Counter[tuple[str, bool]] = Counter()
    for turn in turns:
        if turn.outcome == "error":
            failures[turn.error_type.rpartition(".")[2] or "error", False] += 1
        failures.update((judge, True) for judge, passed in turn.passed.items() if not passed)
    return [(name, turns, is_judge) for (name, is_judge), turns in failures.most_common()]
