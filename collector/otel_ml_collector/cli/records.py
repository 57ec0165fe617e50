"""The commands that read records: projects, runs, models, metrics, export, open."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import uuid4

import click

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
_PART_S: Final = 120.0  # a filter may leave out nearly all for a while
_PROJECT_COLUMNS: Final = (
    *("project", "runs", "errors", "other_spans", "artifacts", "last_start_time"),
)
_RUN_COLUMNS: Final = (
    *("start_time", "model", "version", "outcome", "latency_ms", "tokens", "cost", "scores"),
    *("tags", "inputs", "outputs", "run_id"),
)
_SUM_COLUMNS: Final = ("runs", "errors", "p95_ms", "tokens", "cost")
# What a terminal that is too narrow is not shown; what went in and out, and the id, stay.
_FIRST_TO_GO: Final = (
    *("start_time", "version", "tags", "cost", "tokens", "scores", "latency_ms", "outcome"),
    "model",
)
# What filters say and neither lists nor exports have under that name.
_OF_FILTERS: Final = frozenset(
    {"start", "end", "latency", "input", "output", "parent", "attributes", "resource", "cached"}
)
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
_POINTS: Final = ("name", "step", "time_ns", "value")
_MOST_SESSIONS: Final = 1_000
_GROUPS: Final = 50
_FEW_BYTES: Final = 65_536  # an export of no runs is smaller
_OF_WHOLES: Final = frozenset({"params", "metrics", "attributes", "resource"})
_TOKENS: Final = "_tokens"


@click.command(epilog=HELP)
@with_place
@with_form
def projects(asked: PlaceOptions, form: Layout) -> int:
    """List the projects that the key may read, the one that ran last first."""
    with asked.open() as place:
        answer = place.api().get("projects")
        return write_rows(answer["projects"], answer, form, _PROJECT_COLUMNS)


def _read_order(text: str) -> str:
    try:
        return read_order(text)
    except ValueError as error:
        raise BadSetting(str(error)) from error


def _with_listing(command: Command) -> Command:
    """Give a command of which runs a list is, and in which order, as ``listing``."""
    options: list[Command] = [
        click.option("--limit", type=int, default=50, metavar="N", help="at most so many [50]"),
        click.option(
            "--order",
            metavar="ORDER",
            default=NEWEST,
            callback=lambda _context, _option, text: _read_order(text),
            help=f"what comes first: {ORDER_NAMES} [{NEWEST}]",
        ),
        click.option("--roots", is_flag=True, help="only runs that stand inside no other one"),
        click.option(
            "--traces", is_flag=True, help="only what stands at the top of a trace with a call"
        ),
    ]
    return taking(options, {"limit", "order", "roots", "traces"}, "listing", dict)(command)


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@_with_listing
@click.option("--sums", is_flag=True, help="what all that match amount to, each call once")
@click.option(
    "--by",
    metavar="GROUP",
    default="",
    help="the same by model, provider_model, user, session or a tag such as 'tags[\"client\"]'",
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
    """List runs, newest first unless told; `otel-ml export` writes all of them, with payload.

    A column is one of the answer of the API, or a field of the filters such as 'tags["client"]' or
    inputs.question.
    """
    if not 1 <= listing["limit"] <= _MOST_RECORDS:
        raise BadSetting(
            f"Invalid --limit {listing['limit']}: expected 1 to {_MOST_RECORDS}; "
            "otel-ml export writes all runs"
        )
    with asked.open() as place, place.reader(project) as reader:
        stored_runs = reader.runs(**listing, **asdict(within))
        with check_project(place.api(), project) as check:
            if sums or by:
                return _write_sums(form, stored_runs, check, by)
            return _write_runs(form, stored_runs, check)


def _write_sums(form: Layout, found: "Runs", check: Callable[[object], None], by: str) -> int:
    """Write the sums of runs: a line for all, or a line for each group and the rest."""
    answer = found.ask_sums(by)
    check(answer["total"]["runs"])
    if not by:
        return write_rows([answer["total"]], answer, form, _SUM_COLUMNS)
    groups = [(group["label"], group["where"], group["total"]) for group in answer["groups"]]
    if answer["rest"]:
        groups.append((f"{answer['left']:,} more", None, answer["rest"]))
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
            _stand_for(run, answer.get("inside", {}).get(run["run_id"])) for run in answer["runs"]
        ]
        return write_rows(shown, answer, form, _RUN_COLUMNS, _FIRST_TO_GO)
    if form.kind == "json" and form.columns:
        answer["runs"] = [{name: run.get(name) for name in form.columns} for run in answer["runs"]]
    return write_rows(answer["runs"], answer, form, _RUN_COLUMNS, _FIRST_TO_GO)


def _stand_for(run: dict[str, Any], inside: Mapping[str, Any] | None) -> dict[str, Any]:
    """Show a root with the sums of itself and the calls inside it, and the worst scores."""
    if inside is None:
        return run
    worst = {judge: score["score"] for judge, score in inside.get("scores", {}).items()}
    return {
        **run,
        "inputs": run["inputs"] or inside.get("asked"),
        "outputs": run["outputs"] or inside.get("answered"),
        "tokens": inside["tokens"],
        "cost": inside["cost"],
        "scores": run["scores"]
        | {name: value for name, value in worst.items() if value is not None},
    }


def _is_of_filters(column: str) -> bool:
    return column in _OF_FILTERS or not (column.isidentifier() or column == "*")


def _add_columns(rows: list[dict[str, Any]], columns: Sequence[str], found: "Runs") -> None:
    """Add to runs the columns that are named as in filters.

    Raises:
        CommandFailed: There is no such field.
    """
    if not rows:
        return
    fields = {name: _field_of(name, rows) for name in columns if name not in rows[0]}
    is_whole = any(map(_is_of_whole, fields.values()))
    wholes = {run.run_id: run for run in found} if is_whole else {}
    for row in rows:
        for name, field in fields.items():
            row[name] = _read(row, wholes.get(row["run_id"]), field)


def _is_of_whole(field: Field) -> bool:
    """Tell whether a list has only a preview of it, or nothing."""
    return field.name in _OF_WHOLES or (bool(field.path) and field.name in {"inputs", "outputs"})


def _field_of(column: str, rows: Sequence[Mapping[str, Any]]) -> Field:
    """Read a column as a field of the filter language."""
    try:
        return read_field(column)
    except BadInput as error:
        known = ", ".join(sorted(rows[0]))
        raise CommandFailed(
            f"Unknown column {column!r}: expected some of {known}, or a field of the filters such "
            'as tags["client"]',
            USAGE,
        ) from error


def _read(row: Mapping[str, Any], whole: Any, field: Field) -> object:
    """Read a field of the filter language of a run; None where it is absent."""
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
    """Read a table of Arrow as plain values, times as the API writes them."""
    from otel_ml.reader.moments import write_ns  # heavy

    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    if "start_time" in table.column_names:
        for row, time_ns in zip(rows, table["start_time"].cast("int64").to_pylist(), strict=True):
            row["start_time"] = write_ns(time_ns)
    return rows


def _write_evaluation(evaluation: Mapping[str, Any]) -> str:
    """Write an evaluation in a line: its judge, its source, and each value that it has."""
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
@click.option("--limit", type=int, default=50, metavar="N", help="at most so many [50]")
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
    """List sessions, the one of the latest run first, or the turns of one, oldest first.

    With --where, --start or --end those of which a run matches; figures are of all of their runs.
    What people say of the session as a whole follows its turns, on the standard error.
    """
    if not 1 <= limit <= _MOST_SESSIONS:
        raise BadSetting(f"Invalid --limit {limit}: expected 1 to {_MOST_SESSIONS}")
    if session and within:
        raise BadSetting("A session has turns: expected no --where, --start or --end beside it")
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
    help="list the versions of this model, or one: churn:v3, churn@champion",
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
    """List models, the one that ran last first, or the versions of one, newest first.

    With --where, --start or --end it counts the runs that match: of the last 24 hours, or of whole
    days from --start on, at most 190.
    """
    model = model or name
    if model and within:
        raise BadSetting("A model lists versions: expected no --where, --start or --end beside it")
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            path = ("projects", project, "models")
            if within:
                bucket = "1d" if within.start else None
                answer = api.get(
                    *("projects", project, "stats"),
                    bucket=bucket,
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
        return write_rows(rows, answer, form, usual)


def _read_versions(api: "Api", project: str, model: str) -> Any:
    """Read the versions of a model; of ``churn:v3`` or ``churn@champion`` only that version."""
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
            text = f"No version of {named!r} is called {alias!r}"
            raise CommandFailed(text, NOT_FOUND) from None
        return {"versions": versions}


@click.command(epilog=HELP)
@click.argument("model", metavar="MODEL")
@click.argument("field", metavar="[FIELD]", required=False)
@click.option("--last", default="24h", help="the judged window: 1h, 24h or 7d", show_default=True)
@click.option("--than", default="28d", help="28d, version, dataset:NAME, or two days with a /")
@click.option("--where", default="", help="a filter on the runs")
@with_project
@with_place
@with_form
def fields(
    asked: PlaceOptions, project: str, model: str, field: str | None, form: Layout, **options: str
) -> int:
    """List the fields of a model and say which drifted, or report one of them.

    Judged is the newest day, or hour, that is over. Broken data stands first, then a model that
    changed, then other traffic.
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
        return write_rows(rows, answer, form, usual)


@click.command(epilog=HELP)
@click.argument("model", metavar="[MODEL]", required=False)
@with_project
@with_place
@with_form
def release(asked: PlaceOptions, project: str, model: str | None, form: Layout) -> int:
    """Say whether new versions of models are worse than what ran before them.

    Of each model, or of one, the newest version, release of the service and provider's model that
    began in the last 14 days. Worse is said as soon as it is sure; until then it says how many runs
    there are, and about how many it takes.
    """
    with asked.open() as place:
        api = place.api()
        path = ("releases",) if model is None else ("models", model, "release")
        with check_project(api, project) as check:
            answer = api.get("projects", project, *path)
            check(answer["releases"])
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
        return write_rows(rows, answer, form, _RELEASE_COLUMNS)


@click.command(epilog=HELP)
@with_project
@with_place
@click.option("--last", type=click.Choice(["1h", "24h", "7d", "30d"]), default="24h", help="[24h]")
@click.option("--than", type=click.Choice(["24h", "7d", "28d"]), default="28d", help="[28d]")
@with_form
def findings(asked: PlaceOptions, project: str, *, last: str, than: str, form: Layout) -> int:
    """Say what is wrong in a project, or other than before, the worst first.

    Broken data, models that changed, slices that do worse than the rest, other traffic: of the runs
    of the --last so many hours or days, held against so many before --than.
    """
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            answer = api.get("projects", project, "findings", last=last, than=than)
            check(answer["findings"])
        if answer["missing"]:
            click.echo(f"Not answered in time: {', '.join(answer['missing'])}", err=True)
        return write_rows(answer["findings"], answer, form, _FINDING_COLUMNS)


@click.command(epilog=HELP)
@with_place
@with_project
@with_filter
@click.option("--figure", metavar="NAME", default="", help="errors, a judge, drift PATH [all]")
@click.option("--pairs", is_flag=True, help="two conditions at once, where worse than each alone")
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
    """Say which values of tags and labels do worse than the rest, by runs lost.

    Of the last 24 hours, or from --start on. Each value is held against all other runs of its
    model.
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
@click.option("--version", type=click.IntRange(1), metavar="N", help="whose inputs are listed")
@click.option("--against", type=click.IntRange(1), metavar="N", help="what it is compared with")
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
    """Say how alike the answers of a model's versions to the same inputs are.

    Of the newest 10,000 runs of each version those with equal inputs: the share of inputs that were
    answered differently, and how likely two runs of one input agree. A sentence compares two
    versions; --json has the inputs too, each with the filter of its runs.
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
@click.option("--where", metavar="EXPR", default="", help="""such as 'dataset == "qa"'""")
@click.option(
    "--limit", type=click.IntRange(1, _MOST_RECORDS), default=20, metavar="N", help="[20]"
)
@with_form
def experiments(asked: PlaceOptions, project: str, *, where: str, limit: int, form: Layout) -> int:
    """List experiments, the newest first; `otel-ml compare` says whether one is better."""
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
@click.option("--remove", is_flag=True, help="take the alias away")
@click.option("--by", metavar="WHO", default="", help="who moves it [the key's name]")
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
    """Move an alias such as champion to a version of a model, or list its moves.

    VERSION is a small number such as 3 or v3. Without it the moves are listed, the last one first.
    """
    if remove and (version or not name):
        raise BadSetting("--remove takes an alias away: expected one, and no version")
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
@click.option("--run", "run_id", metavar="RUN", help="the points of this run")
@click.option("--name", metavar="NAME", help="of this metric alone")
@click.option("--points", type=int, default=1_000, metavar="N", help="at most, a metric [1000]")
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
    """List the runs that logged metrics, or the points of one run."""
    if run_id and within:
        raise BadSetting("--run is one run: expected no --where, --start or --end beside it")
    path = ("projects", project, "metrics")
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            if run_id:
                answer = api.get(*path, run_id=run_id, name=name, points=points)
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
@click.option("--project", metavar="P", envvar="OTEL_ML_PROJECT", help="[any]")
@click.argument("run", metavar="RUN")
def open_run(asked: PlaceOptions, project: str | None, run: str) -> int:
    """Print the address of a run's page, and open it in a browser when somebody looks.

    RUN is its id, or the part behind the dash that narrow tables show.
    """
    with asked.open() as place:
        if not place.is_served:
            text = f"No collector serves {place.name}, so there are no pages: start otel-ml serve"
            raise CommandFailed(text, UNREACHABLE)
        api = place.api()
        named = (
            [project]
            if project
            else [project["project"] for project in api.get("projects")["projects"]]
        )
        where = f"run_id == {run!r}" if "-" in run else f"{run!r} in run_id"
        pages = [
            f"{api.page}/projects/{quote(name, safe='')}/runs/{run['run_id']}"
            for name in named
            for run in api.get("projects", name, "runs", where=f'{where} and kind != ""', limit=2)[
                "runs"
            ]
        ]
        if len(pages) != 1:
            many = "no run" if not pages else "more than one run"
            raise CommandFailed(f"There is {many} {run!r}", NOT_FOUND)
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
    type=click.Choice(("jsonl", "csv", "parquet")),
    help="[as the file's name ends, else jsonl]",
)
@click.option("--columns", metavar="A,B", default="", help="these, or * for all with payload")
@click.option("--output", metavar="FILE", help="the same as FILE")
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
    """Write the runs that have ended into FILE, oldest first, or on the output.

    A file is there when it is whole, or not at all.
    """
    target = Path(file or output or "-")
    ending = target.suffix.removeprefix(".")
    kind = kind or (ending if ending in {"csv", "parquet"} else "jsonl")
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
    """Write to the output; to a terminal as text that does nothing to it. Returns the bytes."""
    if not sys.stdout.isatty():
        return sum(sys.stdout.buffer.write(part) for part in parts)
    from otel_ml.reader.listing import lines_of  # heavy

    lines = (show_unseen(line.decode("utf-8", "replace")) + "\n" for line in lines_of(parts))
    return sum(map(sys.stdout.write, lines))


def _watched(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Tell how far it is, where somebody looks."""
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
