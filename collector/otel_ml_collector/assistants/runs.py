"""The tools overview, find_runs, statistics, errors and complete_filter."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final, ParamSpec, TypeVar

from otel_ml.orders import BY_TIME, NEWEST, ORDER_NAMES, read_order
from otel_ml.records import LABELS
from otel_ml.statistics.comparison import WORST_FIRST, Word
from otel_ml_collector.alerts.find import AlertState, find_firing
from otel_ml_collector.assistants.answers import Digest, DigestTable, Own, moment, number
from otel_ml_collector.assistants.call import (
    ToolCall,
    short_id,
    write_scores,
)
from otel_ml_collector.assistants.definitions import OVERVIEW_S
from otel_ml_collector.assistants.experiments import experiment_table
from otel_ml_collector.assistants.find import count_behind
from otel_ml_collector.completion import CompletionQuery, find_completion
from otel_ml_collector.errors import BadInput, InternalError, StoreTimeout
from otel_ml_collector.evaluations.experiments import find_experiments
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.findings.find import CONTRIBUTORS, NEW_VERSIONS
from otel_ml_collector.findings.findings import make_question, order_findings
from otel_ml_collector.findings.releases import Release, find_releases, write_release
from otel_ml_collector.log import contained
from otel_ml_collector.measures.projects import find_projects
from otel_ml_collector.measures.questions import count_projects
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.errors import ErrorGroups, find_error_groups
from otel_ml_collector.runs.find import RunsQuery, cursor_of, find_runs
from otel_ml_collector.stats import (
    JudgeFigures,
    RunFigures,
    RunStats,
    StatsQuery,
    find_stats,
)
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from otel_ml_collector.web.view import link_to
from otel_ml_collector.windows import Window
from otel_ml_collector.wording import numbered, write_error

_Asked = ParamSpec("_Asked")
_Part = TypeVar("_Part")
_USUAL: Final = ("run", "start", "model", "outcome", "ms", "scores", "tags", "input", "output")
_ALONE: Final = ("scores", "tags")  # default columns that are left out if no run has a value
_STEPS_NS: Final = {"15m": 15 * MINUTE_NS, "1h": HOUR_NS, "1d": DAY_NS}
_BY_NAME: Final = re.compile(r"""(tags|scores)\[(?:"([^"]+)"|'([^']+)')\]""")
_IN_OVERVIEW: Final = 5
_EXPERIMENTS: Final = 3
_DAYS: Final = 30
_LISTED_RUNS: Final = 50
_COMPLETIONS: Final = 1_000
_IS_EXPERIMENT: Final = 'kind == "experiment"'
_FIGURES: Final = ("runs", "errors", "p50_ms", "p90_ms", "p99_ms", "tokens", "cost", "judges")


def _error_of(run: RunSummary) -> str:
    return write_error(run.error_type, run.error_message)


_CELLS: Final[Mapping[str, Callable[[RunSummary], object]]] = {
    "run": lambda run: short_id(run.run_id),
    "start": lambda run: moment(run.start_time),
    "model": lambda run: numbered(run.model, run.version),
    "outcome": lambda run: Own(run.outcome),
    "ms": lambda run: run.latency_ms,
    "scores": write_scores,
    "tags": lambda run: [f"{name}={value}" for name, value in run.tags.items()],
    "input": lambda run: run.inputs,
    "output": lambda run: _error_of(run) if run.outcome == "error" else run.outputs,
    "error": _error_of,
    "cost": lambda run: run.cost,
    "tokens": lambda run: [run.tokens.input, run.tokens.output],
    "session": lambda run: run.session,
    "user": lambda run: run.user,
    **{name: attrgetter(name) for name in LABELS},
    "kind": lambda run: Own(run.kind),
    "trace": lambda run: Own(run.trace_id),
    "name": lambda run: run.name,
}


def list_runs(call: ToolCall) -> Digest:
    """Answer a call of the tool find_runs."""
    order, names = _read_order(call.given["order"]), call.given["columns"]
    columns = [(name, _cell(name)) for name in names or _USUAL]
    if call.given["cursor"] and order not in BY_TIME:
        raise BadInput("cursor: only the orders newest and oldest have pages: use limit", "cursor")
    query = call.query(call.limit, order=order, cursor=call.given["cursor"])
    runs = find_runs(call.reader, query, call.now_ns).runs
    total = count_behind(call.reader, query, call.now_ns) if runs else 0

    def go_on(shown: int) -> Mapping[str, Any] | None:
        if order not in BY_TIME:
            return call.more_rows(_LISTED_RUNS)(shown)
        return call.go_on(cursor=cursor_of(runs[shown - 1])) if shown else None

    if not names:
        columns = [
            (name, cell)
            for name, cell in columns
            if name not in _ALONE or any(cell(run) for run in runs)
        ]
    rows = [[cell(run) for _, cell in columns] for run in runs]
    shown_names = [name for name, _ in columns]
    if "run" in shown_names:  # if two runs have the same short ID, show their full IDs
        at = shown_names.index("run")
        short = Counter(row[at] for row in rows)
        for row, run in zip(rows, runs, strict=True):
            if short[row[at]] > 1:
                row[at] = Own(run.run_id)
    return Digest(
        table=DigestTable(shown_names, rows, total, go_on),
        url=call.runs_page(order=None if order == NEWEST else order),
        hint="" if runs or call.given["cursor"] else call.explain_nothing(),
        chars=call.chars,
    )


def _read_order(text: str) -> str:
    try:
        return read_order(text)
    except ValueError as error:
        raise BadInput(f"order: {text[:80]!r}: expected one of {ORDER_NAMES}", "order") from error


def _cell(name: str) -> Callable[[RunSummary], object]:
    """Return the function that reads a column's value from a run.

    Raises:
        BadInput: The column does not exist.
    """
    if name in _CELLS:
        return _CELLS[name]
    match = _BY_NAME.fullmatch(name)
    if match is None:
        raise BadInput(
            f"columns: {name[:80]!r}: expected some of {', '.join(_CELLS)}, "
            'tags["client"], scores["exact"]',
            "columns",
        )
    key = match[2] or match[3]
    if match[1] == "tags":
        return lambda run: None if key not in run.tags else str(run.tags[key])
    return lambda run: run.scores.get(key)


def count(call: ToolCall) -> Digest:
    """Answer a call of the tool statistics."""
    bucket, group = call.given["bucket"], call.given["group"]
    stats = _find_stats(call, group, bucket, call.limit)
    columns = [*(["group"] if group else []), *(["start"] if bucket else []), *_FIGURES]
    rows: list[list[object]] = []
    for item in stats.groups:
        named: list[object] = [item.group] if group else []
        if bucket:
            rows += [[*named, moment(at.start_time), *_figures(at)] for at in item.buckets]
        else:
            rows.append([*named, *_figures(item.total)])
    total = None if bucket else stats.groups_found

    def go_on(shown: int) -> Mapping[str, Any] | None:
        if bucket and not group:  # sorted by time: the follow-up call starts at the next bucket
            return call.go_on(since=str(rows[shown][0]))
        return call.more_rows(_LISTED_RUNS)(shown)

    parts: dict[str, object] = {}
    if group or bucket:
        parts["total"] = dict(zip(_FIGURES, _figures(stats.total), strict=True))
    return Digest(
        parts,
        DigestTable(columns, rows, max(total or 0, len(rows)), go_on),
        url=call.runs_page(),
        hint="" if stats.total.runs else call.explain_nothing(),
        chars=call.chars,
    )


def _find_stats(call: ToolCall, group: str, bucket: str, groups: int) -> RunStats:
    step_ns = _STEPS_NS.get(bucket)
    query = StatsQuery(call.project, call.where, group, call.window, step_ns, groups)
    return find_stats(call.reader, query)


def _figures(run_figures: RunFigures) -> list[object]:
    tokens = (
        None
        if run_figures.tokens.input is None
        else [run_figures.tokens.input, run_figures.tokens.output]
    )
    judges = [_judge(judge) for judge in run_figures.judges]
    return [
        run_figures.runs,
        run_figures.errors,
        run_figures.p50_ms,
        run_figures.p90_ms,
        run_figures.p99_ms,
        tokens,
        run_figures.cost,
        judges,
    ]


def _judge(judge_figures: JudgeFigures) -> str:
    """Return a judge's figures as text, such as ``exact:v2 mean 0.61 passed 0.58 n=120``."""
    words = [judge_figures.name]
    if judge_figures.mean_score is not None:
        words.append(f"mean {number(judge_figures.mean_score)}")
    if judge_figures.pass_rate is not None:
        words.append(f"passed {number(judge_figures.pass_rate)}")
    return " ".join([*words, f"n={judge_figures.evaluations}"])


def group_errors(call: ToolCall) -> Digest:
    """Answer a call of the tool errors."""
    error_groups = find_error_groups(call.reader, call.query(), call.now_ns, call.limit)
    table = _errors(call, error_groups)
    table.go_on = call.more_rows(_LISTED_RUNS)
    hint = ""
    if not error_groups.groups:
        runs = _find_stats(call, "", "", 1).total.runs
        hint = f"none of {runs} runs failed" if runs else call.explain_nothing()
    return Digest(
        {"errors_in_all": error_groups.errors},
        table,
        url=call.runs_page() if call.where else call.page("runs", where='outcome == "error"'),
        hint=hint,
        chars=call.chars,
    )


def _errors(call: ToolCall, error_groups: ErrorGroups) -> DigestTable:
    columns = ("type", "message", "runs", "share", "first", "last", "versions", "new", "example")
    rows = [
        [
            group.error_type,
            group.shape,
            group.runs,
            group.runs / error_groups.errors,
            moment(to_rfc3339(group.first_ns)),
            moment(to_rfc3339(group.last_ns)),
            list(group.versions),
            group.is_new,
            short_id(group.run_id),
        ]
        for group in error_groups.groups
    ]
    return DigestTable(columns, rows, error_groups.found)


def read_overview(call: ToolCall) -> Digest:
    """Answer a call of the tool overview.

    After the totals, all parts are searched for at the same time. Parts that take too long are left
    out, and named in the answer.
    """
    if not call.project:
        return _list_projects(call)
    parts = _Parts(call)
    reader, limited = parts.reader, replace(call, reader=parts.reader)
    # The totals are the most important part. Nothing else is searched for until they are found.
    versions = parts.ask("versions", _find_stats, limited, "version", "", _IN_OVERVIEW)()
    if versions is not None and not versions.total.runs:
        asked_experiments = parts.ask("experiments", _newest_experiments, limited)
        asked_reason = parts.ask("older runs", limited.explain_nothing)
        experiments, reason = asked_experiments(), asked_reason()
        shown = {"experiments": experiments} if experiments and experiments.rows else {}
        return Digest(parts.name_missing(shown), url=call.runs_page(), hint=reason or parts.hint)
    # The first parts start first if all threads are busy.
    asked_firing = parts.ask("firing", find_firing, reader, call.project, call.now_ns)
    asked_errors = parts.ask(
        "errors", find_error_groups, reader, call.query(), call.now_ns, _IN_OVERVIEW
    )
    asked_experiments = parts.ask("experiments", _newest_experiments, limited)
    asked_releases = parts.ask("releases", find_releases, reader, call.project, call.now_ns)
    question = make_question(reader, call.project, call.now_ns)
    asked_findings = [
        parts.ask(contributor.subject, contributor.find, question)
        for contributor in CONTRIBUTORS
        # New versions have their own table, which also lists versions that are not worse.
        if contributor is not NEW_VERSIONS
    ]
    firing, errors, experiments = asked_firing(), asked_errors(), asked_experiments()
    releases = asked_releases()
    findings = [finding for asked in asked_findings for finding in asked() or ()]
    answer: dict[str, object] = {"firing": _list_firing(firing)} if firing else {}
    if versions is not None:
        answer |= _total_versions(call, versions)
    if findings:
        answer["findings"] = DigestTable(
            ("kind", "says", "where"),
            [
                [finding.kind, finding.sentence, finding.where]
                for finding in order_findings(findings)[:_IN_OVERVIEW]
            ],
            len(findings),
        )
    if releases:
        answer |= _list_releases(releases)
    if errors and errors.groups:
        table = _errors(call, errors)
        table.go_on = lambda shown: call.go_on("errors", limit=_LISTED_RUNS)
        answer["errors"] = table
    if experiments and experiments.rows:
        answer["experiments"] = experiments
    return Digest(parts.name_missing(answer), url=call.runs_page(), hint=parts.hint)


class _Parts:
    """The parts of an overview: each is searched for on another thread, all with one time limit.

    Args:
        call: The call of the tool. The time limit counts from the arrival of its request.

    Attributes:
        reader: The call's reader, whose queries end at the time limit.
        missing: The parts that were not found in time, or whose search failed.
    """

    def __init__(self, call: ToolCall) -> None:
        self._deadline_s = call.arrived_s + OVERVIEW_S
        self.reader = call.reader.until(self._deadline_s)
        self.missing: list[str] = []

    def ask(
        self, name: str, find: Callable[_Asked, _Part], *args: _Asked.args, **kwargs: _Asked.kwargs
    ) -> Callable[[], _Part | None]:
        """Start to search for a part.

        Returns:
            A function that waits for the part, and returns None if it is missing. It raises
            `BadInput` if the filter of the call is invalid, and `Unavailable` if the store does not
            answer at all.
        """
        asked = self.reader.ahead(lambda _: find(*args, **kwargs))

        def wait() -> _Part | None:
            try:
                with contained(name, FutureTimeout):
                    left_s = max(self._deadline_s - time.monotonic(), 0)
                    return asked.result(None if math.isinf(left_s) else left_s)
            except (StoreTimeout, InternalError, FutureTimeout):
                asked.cancel()
                self.missing.append(name)
                return None

        return wait

    def name_missing(self, answer: Mapping[str, object]) -> dict[str, object]:
        """Return an answer that begins with the names of the missing parts, if there are any."""
        missing = {"not_looked_at": [Own(name) for name in self.missing]} if self.missing else {}
        return {**missing, **answer}

    @property
    def hint(self) -> str:
        """What to do about missing parts; empty if there are none."""
        if not self.missing:
            return ""
        return f"not_looked_at took longer than {OVERVIEW_S:g} s or failed: call overview again"


def _total_versions(call: ToolCall, versions: RunStats) -> dict[str, object]:
    """Return the figures of all runs, and a table of the versions."""
    wanted = ("runs", "errors", "p50_ms", "p99_ms", "tokens", "cost")
    figures = dict(zip(_FIGURES, _figures(versions.total), strict=True))
    return {
        "totals": {name: figures[name] for name in wanted},
        "versions": DigestTable(
            ("version", "runs", "errors", "p50_ms", "p99_ms", "judges"),
            [
                [
                    group.group,
                    group.total.runs,
                    group.total.errors,
                    group.total.p50_ms,
                    group.total.p99_ms,
                    [_judge(judge) for judge in group.total.judges],
                ]
                for group in versions.groups
            ],
            versions.groups_found,
            lambda shown: call.go_on("statistics", group="version", limit=_LISTED_RUNS),
        ),
    }


def _list_releases(releases: Sequence[Release]) -> dict[str, object]:
    """Return a table of new versions, and the commands that evaluate the worse ones."""
    table = DigestTable(
        ("new", "before", "word", "says", "changed"),
        [
            [
                release.candidate.name,
                release.baseline.name,
                release.word,
                write_release(release) if release.for_whom else release.sentence,
                release.change,
            ]
            for release in sorted(releases, key=lambda release: WORST_FIRST.index(release.word))
        ],
    )
    commands = [item.command for item in releases if item.word == Word.WORSE and item.command]
    return {"releases": table, "evaluate": list(dict.fromkeys(commands)) or None}


def _list_firing(alerts: Sequence[AlertState]) -> DigestTable:
    """Return a table of the alert rules that fire or have an error, with their worst slices."""
    rows = []
    for alert in alerts[:_IN_OVERVIEW]:
        worst = next((part for part in alert.slices if part.state == "firing"), None)
        state = f"{alert.state}, muted" if alert.is_muted else alert.state
        rows.append(
            [
                alert.rule.name,
                state,
                alert.rule.when,
                worst.value if worst else None,
                ", ".join(
                    filter(
                        None,
                        ((worst.name, worst.text) if worst else (alert.reason,)) + (alert.note,),
                    )
                ),
                alert.since,
                worst.where if worst else alert.rule.where,
            ]
        )
    columns = ("alert", "state", "when", "value", "for", "since", "where")
    return DigestTable(columns, rows, len(alerts))


def _list_projects(call: ToolCall) -> Digest:
    """Answer a call of overview that names no project: list the key's projects.

    Each project has its runs and errors.

    Raises:
        BadInput: There is a filter; filters need a project.
    """
    if call.where:
        raise BadInput("project: missing: a filter applies to the runs of one project", "project")
    parts = _Parts(call)
    asked_projects = parts.ask("projects", find_projects, parts.reader)
    asked_counts = parts.ask("runs", count_projects, parts.reader, call.window.cut(None))
    found, counts = asked_projects() or [], asked_counts()
    counted = {row["project"]: row for row in counts or ()}
    nothing: Row = dict.fromkeys(("runs", "errors"), None if counts is None else 0)
    rows: list[list[object]] = [
        [item.project, part["runs"], part["errors"], moment(item.last_start_time)]
        for item in found[:_LISTED_RUNS]
        for part in (counted.get(item.project, nothing),)
    ]
    nobody = "" if rows else "no project has any runs: the page shows how to send some"
    return Digest(
        parts.name_missing({}),
        table=DigestTable(("project", "runs", "errors", "last_run"), rows, len(found)),
        url=f"{call.base}{link_to()}",
        hint=parts.hint or nobody,
        chars=call.chars,
    )


def _newest_experiments(call: ToolCall) -> DigestTable:
    columns = ("experiment", "name", "start", "version", "dataset", "verdict", "done")
    if not find_record_kinds(call.reader, call.project).experiments:
        return DigestTable(columns, [])
    experiments = find_experiments(call.reader, call.project, call.now_ns, limit=_EXPERIMENTS)
    table = experiment_table(call, columns, experiments.experiments)
    every = RunsQuery(call.project, _IS_EXPERIMENT)
    table.total = count_behind(call.reader, every, call.now_ns)
    table.go_on = lambda shown: call.go_on("find_experiments")
    return table


def complete(call: ToolCall) -> Digest:
    """Answer a call of the tool complete_filter."""
    text = call.given["text"]
    problem = None
    try:
        compile_filter(text)
    except BadInput as error:
        problem = str(error)
    end_ns = call.now_ns + AHEAD_NS
    window = Window(max(end_ns - _DAYS * DAY_NS, 0), end_ns)
    completion = find_completion(
        call.reader, CompletionQuery(call.project, text, window, _COMPLETIONS)
    )
    items = completion.items
    shown = [
        [
            item.text,
            Own(item.kind),
            item.count,
            Own(item.about) if item.about else None,
            item.insert,
        ]
        for item in items[: call.limit]
    ]
    return Digest(
        {"is_valid": problem is None, "problem": Own(problem) if problem else None},
        DigestTable(
            ("text", "kind", "count", "meaning", "insert"),
            shown,
            len(items),
            call.more_rows(100),
        ),
        url=call.page("runs", where="" if problem else text),
        chars=call.chars,
    )
