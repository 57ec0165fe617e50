"""Commands that read records, such as projects, runs, sessions, models, findings and export."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from difflib import unified_diff
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import click

from otel_ml.addresses import write_segment
from otel_ml.counts import write_count
from otel_ml.notebook import show_unseen
from otel_ml.orders import NEWEST, ORDER_NAMES, read_order
from otel_ml_collector.cli.failure import (
    DONE,
    HELP,
    NOT_FOUND,
    NOTHING,
    UNREACHABLE,
    USAGE,
    CommandFailed,
)
from otel_ml_collector.cli.options import Command, taking
from otel_ml_collector.cli.output import (
    Layout,
    check_columns,
    open_file,
    refuse_terminal,
    with_form,
    write_csv,
    write_parquet,
    write_rows,
)
from otel_ml_collector.cli.place import (
    PlaceOptions,
    Within,
    check_project,
    with_filter,
    with_place,
    with_project,
)
from otel_ml_collector.errors import BadInput, BadSetting
from otel_ml_collector.filter.grammar import Field, read_field, step_into

if TYPE_CHECKING:
    from otel_ml.reader import Runs
    from otel_ml.reader.api import Api

_MOST_RECORDS: Final = 10_000
_PART_S: Final = 120.0  # with a selective filter, the next rows of an export can take long
_PROJECT_COLUMNS: Final = (
    *("project", "runs", "errors", "other_spans", "artifacts", "last_start_time"),
)
_RUN_COLUMNS: Final = (
    *("start_time", "model", "version", "outcome", "latency_ms", "tokens", "cost", "scores"),
    *("tags", "inputs", "outputs", "run_id"),
)
_SUM_COLUMNS: Final = ("runs", "errors", "p95_ms", "tokens", "cost")
# Columns that a narrow terminal hides, in this order. Inputs, outputs and the ID are always shown.
_FIRST_TO_GO: Final = (
    *("start_time", "version", "tags", "cost", "tokens", "scores", "latency_ms", "outcome"),
    "model",
)
# Fields of filters that lists and exports do not have under the same name.
_OF_FILTERS: Final = frozenset(
    {"start", "end", "latency", "input", "output", "parent", "attributes", "resource", "cached"}
)
# Columns of an export that lists have under another name.
_PREVIEWS: Final = {"inputs_preview": "inputs", "outputs_preview": "outputs"}
_SESSION_COLUMNS: Final = (
    *("last_time", "session", "user", "turns", "runs", "errors", "tokens", "cost", "asked"),
)
_TURN_COLUMNS: Final = (
    *("start_time", "outcome", "latency_ms", "tokens", "cost", "scores", "asked", "answered"),
    "run_id",
)
_EXPERIMENT_COLUMNS: Final = (
    *("start_time", "outcome", "name", "function", "version", "dataset", "dataset_version"),
    *("done", "errors", "verdict", "values", "run_id"),
)
_MODEL_COLUMNS: Final = (
    *("model", "kind", "runs", "errors", "versions", "latest_version", "last_start_time"),
)
_VERSION_COLUMNS: Final = (
    *(
        "version",
        "aliases",
        "digest",
        "runs",
        "errors",
        "p50_ms",
        "p95_ms",
        "judges",
        "metrics",
        "tags",
    ),
    "first_seen_time",
)
_RELEASE_COLUMNS: Final = ("candidate", "baseline", "figure", "word", "sentence", "runs", "since")
_FINDING_COLUMNS: Final = ("kind", "model", "sentence", "where")
_SLICE_COLUMNS: Final = ("model", "slice", "runs", "excess", "word", "sentence")
_FIRST_OF_SLICES: Final = ("word", "runs", "excess", "model")
_VARIABILITY_COLUMNS: Final = (
    *("version", "inputs", "repeated", "differing", "agreement", "left_out"),
)
_FIELD_COLUMNS: Final = ("field", "kind", "n", "missing", "word", "change", "sentence", "since")
_PART_COLUMNS: Final = ("part", "reference", "window", "distance", "margin", "usual", "word")
_MOVES: Final = ("time", "alias", "version", "is_removed", "by", "source", "digest")
_COUNTED: Final = ("model", "runs", "errors", "error_share", "p50_ms", "p90_ms", "p99_ms", "cost")
_OWNER_COLUMNS: Final = ("run_id", "model", "names", "points", "last_time")
_EXPORTED: Final = ("jsonl", "csv", "parquet")
_POINTS: Final = ("name", "step", "time_ns", "value")
_MOST_SESSIONS: Final = 1_000
_RUNS: Final = 50
_GROUPS: Final = 50
_FEW_BYTES: Final = 65_536  # larger than an export without runs, which has only a header
_OF_WHOLES: Final = frozenset({"params", "metrics", "attributes", "resource"})
_TOKENS: Final = "_tokens"


@click.command(epilog=HELP)
@with_place
@with_form
def projects(asked: PlaceOptions, form: Layout) -> int:
    """List the projects that your key may read, most recently used first."""
    with asked.open() as place:
        answer = place.api().get("projects")
        return write_rows(answer["projects"], answer, form, _PROJECT_COLUMNS)


def _read_order(text: str) -> str:
    try:
        return read_order(text)
    except ValueError as error:
        raise BadSetting(str(error)) from error


def _with_listing(command: Command) -> Command:
    """Add --limit, --order, --roots and --traces to a command and pass them as ``listing``."""
    options: list[Command] = [
        click.option(
            "--limit",
            type=int,
            metavar="N",
            help="Maximum number of runs to list [50], or of groups with --by [20]",
        ),
        click.option(
            "--order",
            metavar="ORDER",
            default=NEWEST,
            callback=lambda _context, _option, text: _read_order(text),
            help=f"Which runs come first: {ORDER_NAMES} [{NEWEST}]",
        ),
        click.option(
            "--roots",
            is_flag=True,
            help="List only requests, which are runs that are not inside another run",
        ),
        click.option(
            "--traces",
            is_flag=True,
            help="List traces instead of runs: the top span of each trace with a model call",
        ),
    ]
    return taking(options, {"limit", "order", "roots", "traces"}, "listing", dict)(command)


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@_with_listing
@click.option(
    "--sums",
    is_flag=True,
    help="Show totals of all matching runs instead of a list. With --roots or --traces, all calls "
    "inside the requests are included, and the columns runs and errors count calls",
)
@click.option(
    "--by",
    metavar="GROUP",
    default="",
    help="Show totals by model, provider_model, user, session or a tag such as 'tags[\"client\"]'",
)
@with_form
def runs(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    listing: Mapping[str, Any],
    sums: bool,
    by: str,
    form: Layout,
) -> int:
    """List runs, newest first.

    --columns accepts the columns of the table and any field of the filter language, such as
    'tags["client"]' or inputs.question. To write all runs with full inputs and outputs to a file,
    use `otel-ml export`.
    """
    limit = listing["limit"]
    most, more = (_GROUPS, "") if by else (_MOST_RECORDS, "; to write all runs, use otel-ml export")
    if limit is not None and not 1 <= limit <= most:
        raise BadSetting(f"Invalid --limit {limit}: expected 1 to {most}{more}")
    with asked.open() as place, place.reader(project) as reader:
        listing = {**listing, "limit": None if by else limit or _RUNS}
        stored_runs = reader.runs(**listing, **asdict(within))
        with check_project(place.api(), project) as check:
            if sums or by:
                return _write_sums(form, stored_runs, check, by, limit=limit)
            return _write_runs(form, stored_runs, check)


def _write_sums(
    form: Layout, found: "Runs", check: Callable[[object], None], by: str, *, limit: int | None
) -> int:
    """Write totals of runs: one line for all runs, or one for each group and one for the others."""
    answer = found.ask_sums(by, limit if by else None)
    check(answer["total"]["runs"])
    if not by:
        return write_rows([answer["total"]], answer, form, _SUM_COLUMNS)
    groups = [(group["label"], group["where"], group["total"]) for group in answer["groups"]]
    if answer["rest"]:
        groups.append((write_count(answer["left"], "other"), None, answer["rest"]))
    rows = [{by: label, **total, "where": where} for label, where, total in groups]
    return write_rows(rows, answer, form, (by, *_SUM_COLUMNS, "where"))


def _write_runs(form: Layout, found: "Runs", check: Callable[[object], None]) -> int:
    if form.kind in {"csv", "parquet"} and not any(map(_is_of_filters, form.columns)):
        if form.kind == "parquet":
            refuse_terminal()
        table = found.to_arrow(",".join(form.columns))
        check(table.num_rows)
        if form.kind == "csv":
            write_csv(_rows_of(table), table.column_names)
        else:
            write_parquet(table)
        return DONE if table.num_rows else NOTHING
    answer: dict[str, Any] = {"runs": [], "next_cursor": None}
    for page in found.pages():
        inside = {**answer.get("inside", {}), **page.get("inside", {})}
        answer = {**page, "runs": [*answer["runs"], *page["runs"]], "inside": inside}
    check(answer["runs"])
    _add_columns(answer["runs"], form.columns, found)
    check_columns(answer["runs"], form.columns)
    if form.kind == "table":
        shown = [
            _with_inside(run, answer.get("inside", {}).get(run["run_id"])) for run in answer["runs"]
        ]
        return write_rows(shown, answer, form, _RUN_COLUMNS, _FIRST_TO_GO)
    if form.kind == "json" and form.columns:
        answer["runs"] = [{name: run.get(name) for name in form.columns} for run in answer["runs"]]
    return write_rows(answer["runs"], answer, form, _RUN_COLUMNS, _FIRST_TO_GO)


def _with_inside(run: dict[str, Any], inside: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a request's row with totals and lowest scores that include the calls inside it."""
    if inside is None:
        return run
    texts = {
        "inputs": run["inputs"] or inside.get("asked"),
        "outputs": run["outputs"] or inside.get("answered"),
    }
    worst = {judge: score["score"] for judge, score in inside.get("scores", {}).items()}
    return {
        **run,
        **texts,
        **{name: texts[column] for name, column in _PREVIEWS.items() if name in run},
        "tokens": inside["tokens"],
        "cost": inside["cost"],
        "scores": run["scores"]
        | {name: value for name, value in worst.items() if value is not None},
    }


def _is_of_filters(column: str) -> bool:
    return column in _OF_FILTERS or not (column.isidentifier() or column == "*")


def _add_columns(rows: list[dict[str, Any]], columns: Sequence[str], found: "Runs") -> None:
    """Add columns to runs: previews as in an export, and fields of the filter language.

    Raises:
        CommandFailed: The filter language has no such field.
    """
    if not rows:
        return
    for name, column in _PREVIEWS.items():
        if name in columns:
            for row in rows:
                row[name] = row[column]
    fields = {name: _field_of(name, rows) for name in columns if name not in rows[0]}
    is_whole = any(map(_is_of_whole, fields.values()))
    full_runs = {run.run_id: run for run in found} if is_whole else {}
    for row in rows:
        for name, field in fields.items():
            row[name] = _read(row, full_runs.get(row["run_id"]), field)


def _is_of_whole(field: Field) -> bool:
    """Return whether a column needs the full run, because lists lack this field or shorten it."""
    return field.name in _OF_WHOLES or (bool(field.path) and field.name in {"inputs", "outputs"})


def _field_of(column: str, rows: Sequence[Mapping[str, Any]]) -> Field:
    """Return the field of the filter language that a column names."""
    try:
        return read_field(column)
    except BadInput as error:
        known = ", ".join(sorted(rows[0]))
        raise CommandFailed(
            f"Unknown column {column!r}: expected one of {known}, or a filter field such as "
            'tags["client"]',
            USAGE,
        ) from error


def _read(row: Mapping[str, Any], whole: Any, field: Field) -> object:
    """Return a run's value of a filter field; None if the run has none."""
    from otel_ml_collector.times import to_rfc3339

    name = field.name
    if name == "start":
        return row["start_time"]
    if name == "end":
        latency_ms = row["latency_ms"]
        return None if latency_ms is None else to_rfc3339(row["start_ns"] + round(latency_ms * 1e6))
    if name == "latency":
        return row["latency_ms"]
    if name.endswith(_TOKENS):
        return row["tokens"][name.removesuffix(_TOKENS)]
    value: Any = getattr(whole, name, None) if _is_of_whole(field) else row.get(name)
    return step_into(value, field.path)


def _rows_of(table: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table as dicts, with times in RFC 3339 as in the API."""
    from otel_ml.reader.moments import write_ns  # heavy

    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    if "start_time" in table.column_names:
        for row, time_ns in zip(rows, table["start_time"].cast("int64").to_pylist(), strict=True):
            row["start_time"] = write_ns(time_ns)
    return rows


def _write_evaluation(evaluation: Mapping[str, Any]) -> str:
    """Return an evaluation as one line: judge, source, label, pass or fail, score, explanation."""
    passed, score = evaluation["passed"], evaluation["score"]
    values = (
        evaluation["label"],
        "" if passed is None else "pass" if passed else "fail",
        "" if score is None else f"{score:g}",
        evaluation["explanation"],
    )
    source = " ".join(filter(None, (evaluation["source"], evaluation["annotator"])))
    return show_unseen(f"{evaluation['judge']} ({source}): {', '.join(filter(None, values))}")


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--limit", type=int, default=50, metavar="N", help="Maximum number of sessions to list [50]"
)
@click.argument("session", metavar="[SESSION]", required=False)
@with_form
def sessions(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    limit: int,
    session: str | None,
    form: Layout,
) -> int:
    """List sessions, most recently used first, or the turns of one session, oldest first.

    With --where, --start, --end or --last, only sessions with a matching run are listed. Their
    figures still cover all runs of the session. If you name a session, the feedback about it is
    printed to standard error, after its turns.
    """
    if not 1 <= limit <= _MOST_SESSIONS:
        raise BadSetting(f"Invalid --limit {limit}: expected 1 to {_MOST_SESSIONS}")
    if session and within:
        raise BadSetting(
            "--where, --start, --end and --last cannot be used with a session: all its turns are "
            "listed"
        )
    with asked.open() as place:
        api = place.api()
        if session:
            with place.reader(project) as reader:
                answer = reader.session(session)
            status = write_rows(answer["conversation"], answer, form, _TURN_COLUMNS, _FIRST_TO_GO)
            if form.kind == "table":
                for evaluation in answer["evaluations"]:
                    click.echo(_write_evaluation(evaluation), err=True)
            return status
        with check_project(api, project) as check:
            answer = api.get("projects", project, "sessions", limit=limit, **asdict(within))
            check(answer["sessions"])
            return write_rows(answer["sessions"], answer, form, _SESSION_COLUMNS, _FIRST_TO_GO)


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--model",
    metavar="NAME",
    help="Same as NAME",
)
@click.argument("name", metavar="[NAME]", required=False)
@with_form
def models(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    model: str | None,
    name: str | None,
    form: Layout,
) -> int:
    """List models, most recently used first, or the versions of one model, newest first.

    NAME is a model (churn) or one of its versions (churn:v3 or churn@champion).

    You see how many runs each model had in the last 24 hours. With --where, --start, --end or
    --last, the runs that match are counted instead.
    """
    model = model or name
    if model and within:
        raise BadSetting(
            "--where, --start, --end and --last cannot be used with a model: all its versions are "
            "listed"
        )
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            path = ("projects", project, "models")
            if within:
                answer = api.get(
                    *("projects", project, "stats"),
                    bucket="all",
                    groups=_GROUPS,
                    group="model",
                    **asdict(within),
                )
                rows = [{"model": group["group"], **group["total"]} for group in answer["groups"]]
                usual: Sequence[str] = _COUNTED
            elif model:
                answer = _read_versions(api, project, model)
                rows, usual = answer["versions"], _VERSION_COLUMNS
                if form.kind == "table":
                    rows = [
                        {**row, "judges": _scores(row["judges"]), "metrics": row["last_metrics"]}
                        for row in rows
                    ]
            else:
                answer = api.get(*path)
                rows, usual = answer["models"], _MODEL_COLUMNS
            check(rows)
        status = write_rows(rows, answer, form, usual)
        if model and form.kind == "table":
            _write_constants(api, project, answer["versions"])
        return status


def _write_constants(api: "Api", project: str, versions: Sequence[Mapping[str, Any]]) -> None:
    """Write how the constants of a single version, such as prompts, differ from the one before."""
    if len(versions) != 1 or versions[0]["version"] == 1:
        return
    from otel_ml.reader.errors import NotFound

    [new] = versions
    number = new["version"] - 1
    try:
        old = api.get("projects", project, "models", new["model"], "versions", str(number))
    except NotFound:
        return
    before, after = (side["definition"]["constants"] for side in (old, new))
    for name in sorted(before.keys() | after.keys()):
        texts = [_write_constant(side, name) for side in (before, after)]
        if texts[0] != texts[1]:
            click.echo()
            lines = unified_diff(
                texts[0].splitlines(),
                texts[1].splitlines(),
                f"{name} v{number}",
                f"{name} v{number + 1}",
                n=_CONTEXT_LINES,
                lineterm="",
            )
            click.echo("\n".join(lines))


_CONTEXT_LINES: Final = 10_000


def _write_constant(constants: Mapping[str, Any], name: str) -> str:
    value = constants.get(name, "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def _read_versions(api: "Api", project: str, model: str) -> Any:
    """Return the API's answer on the versions of a model.

    For ``churn:v3`` or ``churn@champion``, it contains only that version.
    """
    from otel_ml.reader.errors import NotFound

    path = ("projects", project, "models")
    try:
        return api.get(*path, model, "versions")
    except NotFound:
        named, _, number = model.rpartition(":v")
        if named and number.isascii() and number.isdecimal():
            return {"versions": [api.get(*path, named, "versions", number)]}
        named, _, alias = model.rpartition("@")
        if not named:
            raise
        answer = api.get(*path, named, "versions")
        versions = [version for version in answer["versions"] if alias in version["aliases"]]
        if not versions:
            text = f"No version of model {named!r} has the alias {alias!r}"
            raise CommandFailed(text, NOT_FOUND) from None
        return {"versions": versions}


@click.command(epilog=HELP)
@click.argument("model", metavar="MODEL")
@click.argument("field", metavar="[FIELD]", required=False)
@click.option(
    "--last",
    metavar="LENGTH",
    default="24h",
    help="Period to check for drift: 1h, 24h or 7d",
    show_default=True,
)
@click.option(
    "--than",
    metavar="BASELINE",
    default="reference",
    help="Baseline: 28d (the 28 days before), reference (the model's reference table, or 28d if it "
    "has none), version (the previous version), version:3 (version 3), dataset:NAME, "
    "profile:NAME, or dates such as 2026-11-01/2026-11-08",
    show_default=True,
)
@click.option("--where", metavar="EXPR", default="", help="Only runs that match this filter")
@with_project
@with_place
@with_form
def fields(
    asked: PlaceOptions, project: str, model: str, field: str | None, form: Layout, **options: str
) -> int:
    """Show which inputs, outputs, scores and other fields of a model have drifted.

    The newest finished day (or hour) is compared with a baseline. The list starts with broken data,
    followed by changes of the model and changes of the traffic. With FIELD, such as
    inputs.question, you see each property of this field, such as the length of its texts.
    """
    with asked.open() as place:
        api = place.api()
        path = ("fields",) if field is None else ("fields", field)
        with check_project(api, project) as check:
            answer = api.get("projects", project, *path, model=model, **options)
            rows, usual = (
                (answer["fields"], _FIELD_COLUMNS)
                if field is None
                else (answer["parts"], _PART_COLUMNS)
            )
            check(rows)
            if not rows:
                # The API refuses a model without versions, as for other commands.
                api.get("projects", project, "models", model, "versions")
        if answer.get("runs") == 0:
            click.echo(_explain_no_runs(model, options["last"], answer["start"]), err=True)
        return write_rows(rows, answer, form, usual)


def _explain_no_runs(model: str, last: str, start: str) -> str:
    """Say that there is nothing to compare yet, and which runs can be compared earlier."""
    if last == "1h":
        return f"{model} has no runs in the newest finished hour, from {start[11:16]} UTC."
    period = "day" if last == "24h" else "7 days"
    return (
        f"{model} has no runs in the newest finished {period}, from {start[:10]} UTC. To compare "
        "the runs of the newest finished hour, use --last 1h."
    )


@click.command(epilog=HELP)
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--where", metavar="EXPR", help="Only runs that match this filter")
@with_project
@with_place
@with_form
def release(
    asked: PlaceOptions, project: str, *, model: str | None, where: str | None, form: Layout
) -> int:
    """Check whether new versions of models are worse than the versions before them.

    This checks changes of the last 14 days: a new version of a model, a new release of the service,
    or a new LLM. Without MODEL, all models are checked. "Worse" is reported as soon as it is
    certain. Until then, you see the number of runs so far, and about how many are needed.

    Above the table, you see for whom a version is worse: the tag values, such as one client, that
    changed for the worse. All values of all tags are compared.
    """
    with asked.open() as place:
        api = place.api()
        path = ("releases",) if model is None else ("models", model, "release")
        with check_project(api, project) as check:
            answer = api.get("projects", project, *path, where=where)
            check(answer["releases"])
            if model is not None and not answer["releases"]:
                # The API refuses a model without versions, as for other commands.
                api.get("projects", project, "models", model, "versions")
        rows = [
            {
                **figure,
                "figure": figure["name"],
                "candidate": item["candidate"]["name"],
                "baseline": item["baseline"]["name"],
            }
            for item in answer["releases"]
            for figure in item["figures"]
            or [{"name": "", "word": item["word"], "sentence": item["sentence"]}]
        ]
        if form.kind == "table":
            for item in answer["releases"]:
                for part in item["for_whom"]:
                    click.echo(f"{part['sentence']}.", err=True)
        return write_rows(rows, answer, form, _RELEASE_COLUMNS)


@click.command(epilog=HELP)
@with_project
@with_place
@click.option(
    "--last",
    type=click.Choice(["1h", "24h", "7d", "30d"]),
    default="24h",
    help="Period to check, until now [24h]",
)
@click.option(
    "--than",
    type=click.Choice(["24h", "7d", "28d"]),
    default="28d",
    help="Length of the baseline, which ends where the checked period starts [28d]",
)
@with_form
def findings(asked: PlaceOptions, project: str, *, last: str, than: str, form: Layout) -> int:
    """List the problems of a project, the worst first.

    Problems are broken data, changed models, changed traffic, and groups of runs that do worse than
    all other runs. The last 24 hours are compared with the 28 days before them. To change these
    periods, use --last and --than. The page Monitor also shows firing alerts, new errors, crashed
    runs and failing judges.
    """
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            answer = api.get("projects", project, "findings", last=last, than=than)
            check(answer["findings"])
        if answer["missing"]:
            click.echo(f"Not checked in time: {', '.join(answer['missing'])}", err=True)
        if not answer["findings"]:
            click.echo(
                "No problems found. Firing alerts, new errors, crashed runs and failing judges are "
                "on the page Monitor.",
                err=True,
            )
        has_command = any(finding["command"] for finding in answer["findings"])
        if has_command:
            click.echo(
                "Before you run a command, evaluate its baseline on the same data set.", err=True
            )
        columns = (*_FINDING_COLUMNS, "command") if has_command else _FINDING_COLUMNS
        return write_rows(answer["findings"], answer, form, columns)


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--figure",
    metavar="NAME",
    default="",
    help="Compare only this figure: errors, a judge's name, or drift of a field, such as "
    "'drift inputs.language'",
)
@click.option(
    "--pairs",
    is_flag=True,
    help="Also list pairs of values, such as client and region, that do worse together than alone",
)
@with_form
def slices(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    figure: str,
    pairs: bool,
    form: Layout,
) -> int:
    """List tag values and labels whose runs do worse than all other runs of the same model.

    The list is sorted by the number of additional failures: how many runs failed, minus how many
    would have failed at the rate of all other runs. Without --start and --last, the runs of the
    last 24 hours are compared.
    """
    with asked.open() as place:
        api = place.api()
        more = {"figure": figure, "pairs": "true" if pairs else None}
        with check_project(api, project) as check:
            answer = api.get("projects", project, "slices", **asdict(within), **more)
            check(answer["slices"])
        rows = [{**item, "slice": item["name"]} for item in answer["slices"]]
        return write_rows(rows, answer, form, _SLICE_COLUMNS, _FIRST_OF_SLICES)


@click.command(epilog=HELP)
@click.argument("model")
@click.option(
    "--version",
    type=click.IntRange(1),
    metavar="N",
    help="With --json: list the inputs of this version",
)
@click.option("--against", type=click.IntRange(1), metavar="N", help="Version to compare with")
@with_project
@with_place
@with_form
def variability(
    asked: PlaceOptions,
    project: str,
    *,
    model: str,
    version: int | None,
    against: int | None,
    form: Layout,
) -> int:
    """Show how often a model answers the same input differently.

    For each version, the newest 10,000 runs are grouped by input. You see the share of repeated
    inputs with different answers. You also see the probability that two runs with the same input
    give the same answer. If two versions have enough runs, you see which one is more consistent.
    --json also lists the inputs, each with a filter for its runs.
    """
    with asked.open() as place, place.reader(project) as reader:
        answer = reader.variability(model, version, against)
        if answer["comparison"] and form.kind == "table":
            click.echo(answer["comparison"]["sentence"], err=True)
        rows = [
            {
                **version,
                **{
                    name: version[name] and version[name]["value"]
                    for name in ("differing", "agreement")
                },
                "left_out": ", ".join(f"{n} {why}" for why, n in version["left_out"].items()),
            }
            for version in answer["versions"]
        ]
        return write_rows(rows, answer, form, _VARIABILITY_COLUMNS)


@click.command(epilog=HELP)
@with_place
@with_project
@click.option(
    "--where",
    metavar="EXPR",
    default="",
    help="Only experiments that match this filter, such as 'dataset == \"qa\"'",
)
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_RECORDS),
    default=20,
    metavar="N",
    help="Maximum number of experiments to list [20]",
)
@with_form
def experiments(asked: PlaceOptions, project: str, *, where: str, limit: int, form: Layout) -> int:
    """List experiments, newest first. To see whether one is better, use `otel-ml compare`."""
    with asked.open() as place, place.reader(project) as reader:
        rows = [
            asdict(experiment)
            for experiment in reader.experiments(where, limit=limit, verdicts=True)
        ]
        with check_project(place.api(), project) as check:
            check(rows)
        return write_rows(rows, {"experiments": rows}, form, _EXPERIMENT_COLUMNS)


@click.command(epilog=HELP)
@with_place
@with_project
@click.option("--remove", is_flag=True, help="Remove the alias from the model")
@click.option(
    "--by", metavar="WHO", default="", help="Who moves the alias (default: name of your API key)"
)
@click.argument("model", metavar="MODEL")
@click.argument("name", metavar="[ALIAS]", required=False)
@click.argument("version", metavar="[VERSION]", required=False)
@with_form
def alias(
    asked: PlaceOptions,
    project: str,
    *,
    remove: bool,
    by: str,
    model: str,
    name: str | None,
    version: str | None,
    form: Layout,
) -> int:
    """Give a version of a model an alias such as champion, or list the changes of aliases.

    VERSION is a number such as 3 or v3. If another version has the alias, the alias moves to
    VERSION. Without VERSION, the changes of the model's aliases are listed, newest first.
    """
    if remove and (version or not name):
        raise BadSetting("Invalid arguments for --remove: expected MODEL and ALIAS, no VERSION")
    with asked.open() as place:
        api = place.api()
        path = ("projects", project, "models", model, "aliases")
        with check_project(api, project) as check:
            if name and (version or remove):
                from otel_ml.reader.api import Question  # heavy

                moved = {"alias": name, "version": _number_of(version), "by": by, "source": "cli"}
                answer = api.ask(Question(path, method="POST", body={**moved, "id": uuid4().hex}))
            else:
                answer = api.get(*path)
            rows = [item for item in answer["history"] if name in {None, item["alias"]}]
            check(answer["history"] or model)
        return write_rows(rows, answer, form, _MOVES)


def _number_of(version: str | None) -> int | None:
    if version is None:
        return None
    number = version.removeprefix("v")
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise BadSetting(f"Invalid version {version!r}: expected a number such as 3 or v3")
    return int(number)


def _scores(judges: list[dict[str, object]]) -> dict[str, object]:
    return {
        str(judge["judge"]) + (f":v{judge['version']}" if judge.get("version") else ""): judge[
            "mean_score"
        ]
        for judge in judges
    }


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="List the metric values that this run logged, step by step",
)
@click.option("--name", metavar="NAME", help="Show only this metric; needs --run")
@click.option(
    "--points",
    type=int,
    default=1_000,
    metavar="N",
    help="Maximum number of points per metric, with --run [1000]",
)
@with_form
def metrics(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    run_id: str | None,
    name: str | None,
    points: int,
    form: Layout,
) -> int:
    """List the runs that logged metrics, or the metric points of one run."""
    if run_id and within:
        raise BadSetting("--where, --start, --end and --last cannot be used with --run")
    path = ("projects", project, "metrics")
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            if run_id:
                answer = api.get(*path, run_id=run_id, name=name, points=points)
                if not answer["series"]:
                    api.get("projects", project, "runs", run_id)  # refuses an unknown run
                rows = [
                    {"run_id": series["run_id"], "name": series["name"], **point}
                    for series in answer["series"]
                    for point in series["points"]
                ]
            else:
                answer = api.get(*path)
                if within:
                    stored_runs = place.reader(project).runs(limit=_MOST_RECORDS, **asdict(within))
                    known = {run.run_id for run in stored_runs}
                    answer["runs"] = [run for run in answer["runs"] if run["run_id"] in known]
                rows = answer["runs"]
            check(rows)
        return write_rows(rows, answer, form, _POINTS if run_id else _OWNER_COLUMNS)


@click.command("open", epilog=HELP)
@with_place
@click.option(
    "--project",
    metavar="P",
    envvar="OTEL_ML_PROJECT",
    help="Project of the run (default: any project)",
)
@click.argument("run", metavar="RUN")
def open_run(asked: PlaceOptions, project: str | None, run: str) -> int:
    """Print the address of a run's page and open it in your browser.

    RUN is the run ID, or the part of the run ID after the dash. Narrow tables show only this part.
    The browser opens only if the output is a terminal.
    """
    with asked.open() as place:
        if not place.is_served:
            text = f"No collector serves {place.name}, so runs have no pages: start otel-ml serve"
            raise CommandFailed(text, UNREACHABLE)
        api = place.api()
        named = (
            [project]
            if project
            else [project["project"] for project in api.get("projects")["projects"]]
        )
        where = f"run_id == {run!r}" if "-" in run else f"{run!r} in run_id"
        pages = [
            f"{api.page}/projects/{write_segment(name)}/runs/{run['run_id']}"
            for name in named
            for run in api.get("projects", name, "runs", where=f'{where} and kind != ""', limit=2)[
                "runs"
            ]
        ]
        if len(pages) != 1:
            text = f"There is no run {run!r}" if not pages else f"Several runs match {run!r}"
            raise CommandFailed(text, NOT_FOUND)
        sys.stdout.write(f"{pages[0]}\n")
        sys.stdout.flush()
        if sys.stdout.isatty():
            click.launch(pages[0])
    return DONE


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option(
    "--format",
    "kind",
    type=click.Choice(_EXPORTED),
    help="File format (default: the ending of FILE, or jsonl)",
)
@click.option(
    "--columns",
    metavar="A,B",
    default="",
    help="Columns to write; * for all, including full inputs and outputs",
)
@click.option("--output", metavar="FILE", help="Same as FILE")
@click.argument("file", metavar="[FILE]", required=False)
def export(
    asked: PlaceOptions,
    project: str,
    within: Within,
    *,
    kind: Any,
    columns: str,
    output: str | None,
    file: str | None,
) -> int:
    """Write finished runs to FILE, or to standard output, oldest first.

    FILE appears only when the export is complete.
    """
    target = Path(file or output or "-")
    ending = target.suffix.removeprefix(".")
    if kind is None and ending not in ("", *_EXPORTED):
        raise BadSetting(
            f"Invalid file {target.name!r}: expected a name that ends in "
            f"{', '.join(f'.{item}' for item in _EXPORTED)}, or --format"
        )
    kind = kind or ending or _EXPORTED[0]
    with asked.open() as place, place.reader(project, _PART_S) as reader:
        is_output = str(target) == "-"
        if is_output and kind == "parquet":
            refuse_terminal()
        parts = reader.export(kind, columns=columns, **asdict(within))
        with check_project(place.api(), project) as check:
            if is_output:
                check(_write_out(parts) > _FEW_BYTES)
                return DONE
            with open_file(target) as opened:
                size = sum(opened.write(part) for part in _watched(parts))
                check(size > _FEW_BYTES)
    return DONE


def _write_out(parts: Iterator[bytes]) -> int:
    """Write parts of an export to standard output.

    On a terminal, control characters are written as visible text.

    Returns:
        The number of bytes, or of characters on a terminal.
    """
    if not sys.stdout.isatty():
        return sum(sys.stdout.buffer.write(part) for part in parts)
    from otel_ml.reader.listing import lines_of  # heavy

    lines = (show_unseen(line.decode("utf-8", "replace")) + "\n" for line in lines_of(parts))
    return sum(map(sys.stdout.write, lines))


def _watched(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the parts of an export, and show their progress if standard error is a terminal."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield from parts
        return
    from rich.console import Console  # takes 0.1 s
    from rich.progress import DownloadColumn, Progress, TimeElapsedColumn, TransferSpeedColumn

    columns = (DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        for part in parts:
            yield part
            progress.advance(task, len(part))
