"""The tool read: shows a run, trace, version, experiment, data set or judge, or a part of one."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import orjson

from otel_ml.statistics.comparison import FAILED_CALLS
from otel_ml_collector.assistants.answers import (
    LEAF_CHARS,
    READ_CHARS,
    USUAL_CHARS,
    Digest,
    DigestTable,
    Excerpt,
    Own,
    brief,
    leaves,
    moment,
    step_into,
    take,
)
from otel_ml_collector.assistants.call import ToolCall, short_id
from otel_ml_collector.assistants.experiments import interval_cells
from otel_ml_collector.assistants.references import Reference, find_reference
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations import (
    experiment_comparison,
    experiment_items,
    experiments,
)
from otel_ml_collector.evaluations.datasets import find_items, find_versions
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment
from otel_ml_collector.judges.find import find_judge_versions
from otel_ml_collector.judges.strictness import find_strictness
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.find import TracePage, find_run
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.versions.find import find_version
from otel_ml_collector.versions.variability import find_variability
from otel_ml_collector.windows import Window
from otel_ml_collector.wording import numbered, write_error

_TREE_LINES: Final = 40
_READ_SPANS: Final = 2_000
_MOST_ROWS: Final = 50
_FEW: Final = 10
_MOST_ITEMS: Final = 100_000
_EVER: Final = "1970-01-01"
_WORST: Final = 5
_OUTSIDE: Final = 1_500  # characters of an answer in addition to the text of the part
_STEP: Final = re.compile(r"""\.?([^.\[\]]+)|\[(\d{1,9})\]|\[(?:"([^"]*)"|'([^']*)')\]""")
# Embedded binary data, which answers replace by its type and length.
_DATA: Final = re.compile(
    r"data:([\w.+-]{1,40}/[\w.+-]{1,40})(?:;[\w=.-]{1,60}){0,4};base64,([A-Za-z0-9+/_=-]{40,})",
    re.ASCII,
)
_BLOB: Final = re.compile(r"[A-Za-z0-9+/_-]{400,}={0,2}", re.ASCII)
_OF_RUNS: Final = ("inputs", "outputs", "params", "attributes", "resource", "events", "metrics")


def read(call: ToolCall) -> Digest:
    """Answer a call of the tool read."""
    reference = find_reference(call.reader, call.project, call.given["ref"])
    answer = _REFERENCE_READERS[reference.kind](call, reference)
    if not call.given["part"]:
        wanted = int(call.given["chars"]) + _OUTSIDE if "chars" in call.asked else USUAL_CHARS
        answer.chars = min(max(wanted, USUAL_CHARS), READ_CHARS)
    return answer


def _chars(call: ToolCall) -> int:
    """Return how long an answer may be that shows a part, in characters."""
    return min(int(call.given["chars"]) + _OUTSIDE, READ_CHARS)


def _open_part(call: ToolCall, value: object, url: str, name: Own | str) -> Digest:
    """Answer with a part of a record as text, starting at the character ``start``.

    If the text continues after the excerpt, ``next`` is the call that reads on.
    """
    text = without_media(value if isinstance(value, str) else _to_json(value))
    start, wanted = int(call.given["start"]), int(call.given["chars"])
    while True:
        shown, used, _ = take(text[start : start + wanted], wanted)
        size = len(orjson.dumps(shown, default=str).decode("utf-8", "replace"))
        if size <= READ_CHARS - _OUTSIDE:
            break
        wanted = wanted * (READ_CHARS - _OUTSIDE) // size
    end = start + used
    return Digest(
        {
            "what": Own("part"),
            "name": name,
            "part": Own(call.given["part"]),
            "chars": len(text),
            "text": Excerpt(text[start:end], len(text) - end),
        },
        url=url,
        hint="" if start < len(text) or not text else f"start: the part has {len(text)} characters",
        go_on=_from(call, end) if end < len(text) and used else None,
        chars=READ_CHARS,
    )


def _from(call: ToolCall, start: int) -> Mapping[str, Any]:
    """Return the follow-up call that continues to read from a position."""
    arguments = {**call.asked, "project": call.project, "start": start}
    return {"tool": call.tool, "arguments": arguments}


def _to_json(value: object) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (TypeError, ValueError):  # nested too deeply, or a surrogate
        return "\n".join(f"{path}: {brief(leaf)}" for path, leaf in leaves(value))


def without_media(text: str) -> str:
    """Replace base64 data, such as images and audio, by its type and size."""
    if "base64," in text:
        text = _DATA.sub(lambda m: f"({m[1]}, {len(m[2]) * 3 // 4:,} bytes)", text)
    match = _BLOB.search(text)
    blob = match[0] if match else ""
    # Long base64 has upper-case and lower-case letters and digits; long words and numbers do not.
    if all(any(map(test, blob)) for test in (str.isupper, str.islower, str.isdigit)):
        return _BLOB.sub(lambda m: f"(binary, {len(m[0]) * 3 // 4:,} bytes)", text)
    return text


def _find_part(value: Mapping[str, object], part: str) -> object:
    """Return the part of a record at a path such as ``outputs.items[0]``.

    Raises:
        BadInput: The record has no such part.
    """
    try:
        return step_into(value, read_steps(part))
    except LookupError as error:
        known = ", ".join(name for name, value in value.items() if value not in (None, "", {}, []))
        raise BadInput(
            f"part: there is no {part[:80]!r} here: expected some of {known}", "part"
        ) from error


def read_steps(part: str) -> list[str | int]:
    """Split a path such as ``outputs.items[0]`` into keys and indexes.

    Raises:
        LookupError: The text is not a path.
    """
    steps: list[str | int] = []
    at = 0
    while at < len(part):
        match = _STEP.match(part, at)
        if match is None:
            raise LookupError(part)
        steps.append(
            int(match[2])
            if match[2]
            else next(group for group in match.groups() if group is not None)
        )
        at = match.end()
    return steps


def _read_run(call: ToolCall, reference: Reference) -> Digest:
    run = find_run(call.reader, reference.name, call.project, now_ns=call.now_ns)
    if run.kind == "experiment" and call.given["part"] in {None, "rows"}:
        return _read_experiment(call, run)
    url = call.page("runs", run.run_id)
    part = call.given["part"]
    if part == "children":
        return Digest({}, _children(call, run, _MOST_ROWS), url=url, chars=_chars(call))
    if part == "source":
        if run.version is None:
            raise BadInput("part: the run has no version, so there is no source to show", "part")
        version = find_version(call.reader, call.project, run.model, run.version)
        name = numbered(run.model, run.version)
        return _open_part(call, version.definition.source or "", url, name)
    if part:
        return _open_part(call, _find_part(_parts_of(run), part), url, short_id(run.run_id))
    error = None
    if run.outcome == "error":
        error = {"type": run.error_type, "message": run.error_message}
        if _traceback(run):
            error["traceback"] = Own("part: error.traceback")
    children = _children(call, run, _FEW)
    return Digest(
        {
            "what": Own("run"),
            "run": Own(run.run_id),
            "model": numbered(run.model, run.version),
            "name": run.name if run.name != run.model else None,
            "kind": Own(run.kind),
            "outcome": Own(run.outcome),
            "start": moment(run.start_time),
            "ms": run.latency_ms,
            "parent": short_id(run.parent_run_id) if run.parent_run_id else None,
            "session": run.session or None,
            "user": run.user or None,
            "tags": [f"{name}={brief(value)}" for name, value in run.tags.items()] or None,
            "tokens": None
            if run.tokens.input is None
            else {"input": run.tokens.input, "output": run.tokens.output},
            "cost": run.cost,
            "error": error,
            "payload": DigestTable(("part", "value"), _payload(run), chars=LEAF_CHARS),
            "scores": _scores(run),
            "children": children if children.rows else None,
        },
        url=url,
    )


def _payload(run: Run) -> list[list[object]]:
    items = [*leaves(run.inputs, "inputs"), *leaves(run.outputs, "outputs")]
    if isinstance(run.params, dict):
        items += leaves(run.params, "params")
    return [[path, _shown(leaf)] for path, leaf in items if leaf is not None]


def _shown(leaf: object) -> object:
    if isinstance(leaf, Own) or not isinstance(leaf, str):
        return brief(leaf) if isinstance(leaf, dict | list) else leaf
    return without_media(leaf)


def _scores(run: Run) -> DigestTable | None:
    rows = [
        [
            numbered(evaluation.judge, evaluation.version),
            evaluation.score,
            evaluation.passed,
            evaluation.label or None,
            evaluation.explanation or evaluation.error or None,
            Own(evaluation.source),
        ]
        for evaluation in reversed(run.evaluations)
    ]
    columns = ("judge", "score", "passed", "label", "explanation", "source")
    return DigestTable(columns, rows, chars=LEAF_CHARS) if rows else None


def _parts_of(run: Run) -> dict[str, object]:
    error = {"type": run.error_type, "message": run.error_message, "traceback": _traceback(run)}
    return {
        **{name: getattr(run, name) for name in _OF_RUNS},
        "error": {name: value for name, value in error.items() if value},
        "lines": "\n".join(f"{line.severity}: {line.message}" for line in run.logs),
    }


def _traceback(run: Run) -> str:
    for event in run.events if isinstance(run.events, list) else ():
        attributes = event.get("attributes") if isinstance(event, dict) else None
        text = attributes.get("exception.stacktrace") if isinstance(attributes, dict) else None
        if isinstance(text, str) and text:
            return text
    return ""


def _children(call: ToolCall, run: RunSummary, limit: int) -> DigestTable:
    """Return a table of the runs directly below a run.

    If the call reads the part ``children``, the table begins at the argument ``start``.
    """
    page = TracePage(limit=_READ_SPANS, parent=run.run_id)
    columns = ("run", "name", "kind", "outcome", "ms", "output")
    try:
        trace = find_trace(call.reader, run.trace_id, call.project, now_ns=call.now_ns, page=page)
    except Missing:
        return DigestTable(columns, [])
    start = int(call.given["start"]) if call.given["part"] else 0
    rows = [
        [
            short_id(run.run_id),
            run.name,
            Own(run.kind),
            Own(run.outcome),
            run.latency_ms,
            write_error(run.error_type, run.error_message)
            if run.outcome == "error"
            else run.outputs,
        ]
        for run in trace.runs[start : start + limit]
    ]

    def go_on(shown: int) -> Mapping[str, Any]:
        arguments = {"ref": run.run_id, "part": "children", "project": call.project}
        place = {"start": start + shown} if call.given["part"] else {}
        return {"tool": call.tool, "arguments": {**arguments, **place}}

    return DigestTable(columns, rows, max(len(trace.runs) - start, 0), go_on)


def _read_trace(call: ToolCall, reference: Reference) -> Digest:
    trace = find_trace(
        call.reader,
        reference.name,
        call.project,
        now_ns=call.now_ns,
        page=TracePage(limit=_READ_SPANS),
    )
    runs = trace.runs
    failed = sum(run.outcome == "error" for run in runs)
    rows = outline(runs)
    folded = sum(int(row[-1]) for row in rows)
    columns = ("depth", "run", "name", "outcome", "ms", "times")

    def more(shown: int) -> Mapping[str, Any]:
        where = f'trace_id == "{runs[0].trace_id}" and kind != ""'
        arguments = {"project": call.project, "where": where, "since": _EVER, "order": "oldest"}
        return {"tool": "find_runs", "arguments": arguments}

    return Digest(
        {
            "what": Own("trace"),
            "trace": reference.name,
            "runs": len(runs),
            "errors": failed,
            "lines": DigestTable(columns, rows, len(rows) + len(runs) - folded, more),
        },
        url=call.page("runs", runs[0].run_id) if runs else call.page("runs"),
        hint=f"only the first {_READ_SPANS:,} spans are outlined" if trace.truncated else "",
    )


def outline(runs: Sequence[RunSummary]) -> list[list[Any]]:
    """Outline a trace in at most 40 lines.

    Failed runs and the critical path are kept; other runs fill the remaining lines.

    Returns:
        One row for each line: depth, run, name, outcome, latency in ms, and the number of
        similar runs that the line represents.
    """
    ids = {run.run_id for run in runs}
    below: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
    for run in runs:
        below[run.parent_run_id if run.parent_run_id in ids else None].append(run)
    # The critical path: from each run to the child that ended last.
    kept: set[str] = set()
    level: Sequence[RunSummary] = below[None]
    while level and len(kept) < _TREE_LINES // 2:
        last = max(level, key=lambda run: run.start_ns + (run.latency_ms or 0.0) * 1e6)
        if last.run_id in kept:
            break
        kept.add(last.run_id)
        level = below.get(last.run_id, ())
    above = {run.run_id: run.parent_run_id for run in runs}
    for run in runs:
        way = [run.run_id] if run.outcome == "error" else []
        while (
            way
            and (over := above.get(way[-1])) in ids
            and over not in kept
            and len(way) < _TREE_LINES
        ):
            way.append(str(over))
        if len(kept) + len(way) <= _TREE_LINES:
            kept.update(way)
    lines: list[tuple[bool, list[Any]]] = []
    waiting = [(item, 0) for item in reversed(_fold(below[None], kept, below))]
    while waiting:  # not recursive, because a trace can be deeper than Python's stack
        (run, times), depth = waiting.pop()
        row = [depth, short_id(run.run_id), run.name, Own(run.outcome), run.latency_ms, times]
        lines.append((run.run_id in kept, row))
        inner = _fold(below.get(run.run_id, []), kept, below)
        waiting += [(item, depth + 1) for item in reversed(inner)]
    room = _TREE_LINES - sum(is_kept for is_kept, _ in lines)
    shown = []
    for is_kept, row in (
        sorted(lines, key=lambda line: line[1][0]) if len(lines) > _TREE_LINES else lines
    ):
        if not is_kept and room <= 0:
            continue
        room -= not is_kept
        shown.append(id(row))
    return [row for _, row in lines if id(row) in {*shown}][:_TREE_LINES]


def _fold(
    runs: Sequence[RunSummary],
    kept: set[str],
    below: Mapping[str | None, Sequence[RunSummary]],
) -> list[tuple[RunSummary, int]]:
    """Group consecutive siblings with the same name, unless they have children or are kept.

    Args:
        runs: Siblings in their order.
        kept: IDs of runs that get a line of their own.
        below: The children of each run, by the run's ID.

    Returns:
        The first run and the size of each group.
    """

    def key(run: RunSummary) -> tuple[str, str]:
        is_alone = run.run_id in kept or bool(below.get(run.run_id))
        return run.name, run.run_id if is_alone else ""

    return [
        (group[0], len(group)) for group in (list(group) for _, group in groupby(runs, key=key))
    ]


def _read_version(call: ToolCall, reference: Reference) -> Digest:
    version = find_version(call.reader, call.project, reference.name, reference.number)
    definition = version.definition
    name = f"{version.model}:v{version.version}"
    url = call.page("models", version.model, to=version.version)
    if call.given["part"]:
        parts = {
            "source": definition.source or "",
            "params": definition.params,
            "helpers": dict(definition.helpers),
            "constants": dict(definition.constants),
            "signature": definition.signature,
        }
        return _open_part(call, _find_part(parts, call.given["part"]), url, name)
    params = leaves(definition.params, "params") if definition.params else []
    params += leaves(dict(definition.constants), "constants") if definition.constants else []
    # Whether the same input gets the same answer; None if no input was repeated.
    same_inputs = None
    variability = find_variability(
        call.reader, call.project, version.model, version=version.version, limit=1
    )
    own = next(item for item in variability.versions if item.version == version.version)
    if own.agreement is not None and own.differing is not None:
        same_inputs = {
            "inputs": own.inputs,
            "runs": own.repeated,
            "answered_differently": own.differing.value,
            "two_runs_agree": own.agreement.value,
            "comparison": variability.comparison.sentence if variability.comparison else None,
            "least_alike": Own(variability.groups[0].where) if variability.groups else None,
        }
    return Digest(
        {
            "what": Own("version"),
            "version": name,
            "first_seen": moment(version.first_seen_time),
            "aliases": list(version.aliases) or None,
            "statistics": {
                name: getattr(version, name) for name in ("runs", "errors", "p50_ms", "p95_ms")
            },
            "judges": DigestTable(
                ("judge", "evaluations", "mean", "passed"),
                [
                    [
                        judge.name,
                        judge.evaluations,
                        judge.mean_score,
                        judge.passed / judge.judged if judge.judged else None,
                    ]
                    for judge in version.judges
                ],
            )
            if version.judges
            else None,
            "same_inputs": same_inputs,
            "params": DigestTable(
                ("part", "value"), [[path, _shown(value)] for path, value in params]
            )
            if params
            else None,
            "source": _beginning(call, definition.source or ""),
        },
        url=url,
    )


def _beginning(call: ToolCall, source: str) -> object:
    """Return the beginning of a source; ``part="source"`` reads all of it."""
    shown, used, _ = take(source, _OUTSIDE)
    del shown
    return Excerpt(source[:used], len(source) - used) if source else None


def _read_experiment(call: ToolCall, run: Run) -> Digest:
    start = min(int(call.given["start"]), _MOST_ITEMS)
    compared = experiment_comparison.compare(
        call.reader,
        AskedExperiment(call.project, run.run_id, call.now_ns),
        most=start + _MOST_ROWS,
    )
    detail = experiments.describe(call.reader, call.project, compared)
    experiment, verdict = detail.experiment, detail.verdict
    url = call.page("experiments", run.run_id)
    columns = ("item", "state", "outcome", "scores", "output", "run")
    if call.given["part"] == "rows":
        items = experiment_comparison.items_of(compared, "all")
        rows = _item_rows(call, compared, items[start : start + _MOST_ROWS])
        left = experiment_comparison.count_items(compared, "all") - start
        table = DigestTable(columns, rows, left, lambda shown: _from(call, start + shown))
        return Digest({"what": Own("experiment")}, table, url=url, chars=_chars(call))
    has_worse = experiment_comparison.count_items(compared, "regression") > 0
    sort: experiment_comparison.Show = "regression" if has_worse else "error"
    worst = experiment_comparison.items_of(compared, sort)

    def every(shown: int) -> Mapping[str, Any]:
        arguments = {"ref": run.run_id, "part": "rows", "project": call.project}
        return {"tool": call.tool, "arguments": arguments}

    judges = [[judge.name, *interval_cells(judge.value)] for judge in detail.judges]
    return Digest(
        {
            "what": Own("experiment"),
            "experiment": Own(experiment.run_id),
            "name": experiment.name,
            "function": numbered(experiment.function, experiment.version),
            "dataset": numbered(experiment.dataset, experiment.dataset_version),
            "start": moment(experiment.start_time),
            "outcome": Own(experiment.outcome),
            "progress": {
                "done": experiment.done,
                "wanted": experiment.items * experiment.repeats,
                "errors": experiment.errors,
            },
            "baseline": short_id(verdict.baseline.run_id) if verdict else None,
            "verdict": Own(verdict.word) if verdict else None,
            "because": [
                *([f"{FAILED_CALLS}: {verdict.failures.sentence}"] if verdict.failures else []),
                *(f"{each.name} {each.sentence}" for each in verdict.judges),
            ]
            if verdict
            else None,
            "judges": DigestTable(("judge", "value", "low", "high", "n"), judges)
            if judges
            else None,
            "worst": DigestTable(
                columns,
                _item_rows(call, compared, worst[:_WORST]),
                experiment_comparison.count_items(compared, sort),
                every,
            )
            if worst
            else None,
        },
        url=url,
    )


def _item_rows(
    call: ToolCall, compared: experiment_comparison.Compared, items: Sequence[str]
) -> list[list[object]]:
    rows: list[list[object]] = []
    for row in experiment_items.make_rows(call.reader, call.project, compared, items):
        first = row.runs[0]
        scores = [f"{judge} {score.score}" for judge, score in first.scores.items()]
        state = Own(row.state) if row.state else None
        output = write_error(first.error_type, first.error_message) or first.outputs
        run = short_id(first.run_id)
        rows.append([row.item, state, Own(first.outcome), scores, output, run])
    return rows


def _read_dataset(call: ToolCall, reference: Reference) -> Digest:
    start = min(int(call.given["start"]), _MOST_ITEMS)
    page = find_items(
        call.reader, call.project, reference.name, reference.number, limit=start + _FEW
    )
    version = page.version
    rows = [[item.id, _line(item.inputs), _line(item.expected)] for item in page.items[start:]]
    versions = find_versions(call.reader, call.project, reference.name, limit=1).versions
    table = DigestTable(
        ("item", "inputs", "expected"),
        rows,
        version.items - start,
        lambda shown: _from(call, start + shown) if shown else None,
    )
    return Digest(
        {
            "what": Own("dataset"),
            "name": f"{version.name}:v{version.version}",
            "description": version.description or None,
            "versions": versions[0].version if versions else version.version,
            "items": table,
        },
        url=call.page("datasets", version.name, version=version.version),
    )


def _line(value: object) -> str | None:
    """Return a payload as one line of paths and values; None and text stay as they are."""
    if value is None or isinstance(value, str):
        return None if value is None else without_media(value)
    return ", ".join(
        f"{path}={brief(leaf)}" if path else brief(leaf) for path, leaf in leaves(value)
    )


def _read_judge(call: ToolCall, reference: Reference) -> Digest:
    day = Window(max(call.now_ns - DAY_NS, 0), call.now_ns).cut(None)
    versions = find_judge_versions(call.reader, call.project, reference.name, day)
    version = next(version for version in versions if version.version == reference.number)
    definition = version.definition
    url = call.page("judges", reference.name)
    if call.given["part"]:
        parts = {"source": definition.source or "", "criterion": definition.criterion}
        return _open_part(call, _find_part(parts, call.given["part"]), url, version.name)
    strictness = None
    if version.version is not None and version.version > 1:
        strictness = find_strictness(
            call.reader, call.project, reference.name, version.version, version.version - 1
        )
    columns = ("judge", "evaluations", "broke", "mean", "pass_rate", "p50_ms", "cost")
    rows = [
        [
            version.name,
            version.evaluations,
            version.errors,
            version.mean_score,
            version.pass_rate,
            version.p50_ms,
            version.cost,
        ]
        for version in versions
    ]
    return Digest(
        {
            "what": Own("judge"),
            "name": version.name,
            "description": definition.description or None,
            "criterion": definition.criterion,
            "comparison": strictness.sentence if strictness and strictness.runs else None,
            "versions": DigestTable(columns, rows),
            "source": _beginning(call, definition.source or ""),
        },
        url=url,
    )


_REFERENCE_READERS: Final[Mapping[str, Callable[[ToolCall, Reference], Digest]]] = {
    "run": _read_run,
    "trace": _read_trace,
    "model": _read_version,
    "dataset": _read_dataset,
    "judge": _read_judge,
}
