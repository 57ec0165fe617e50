"""The commands ``otel-ml judge ...``: score recorded runs, and keep rubric judges.

The code of a judge runs in this process. The collector itself asks the language model of a rubric
judge.
"""

import math
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import tomllib

from otel_ml.counts import write_count
from otel_ml_collector.cli.experiments import load_judge, open_client, unwritten
from otel_ml_collector.cli.failure import DONE, HELP, INTERRUPTED, USAGE, CommandFailed
from otel_ml_collector.cli.output import Layout, with_form, write_rows
from otel_ml_collector.cli.place import PlaceOptions, check_project, with_place, with_project
from otel_ml_collector.errors import BadSetting, Missing
from otel_ml_collector.judges.ready_rubrics import (
    READY_RUBRICS,
    ReadyRubric,
    read_ready_rubric,
)

if TYPE_CHECKING:
    from otel_ml.experiments.backfill import Backfill
    from otel_ml.experiments.rows import RejudgedRun
    from otel_ml.judges.judge import Judge
    from otel_ml.reader import Reader

_RATE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/(s|m|h))?")
_A_MINUTE: Final = {"s": 60.0, "m": 1.0, "h": 1 / 60, None: 1.0}
_SHOW_EVERY_S: Final = 0.2
_TRY_S: Final = 150.0  # longer than the collector's own limit for a trial
_SCORE: Final = "score"
_IN_MINUTES_S: Final = 60.0
_IN_HOURS_S: Final = 3_600.0
_JUDGE_COLUMNS: Final = ("name", "state", "model", "connection", "where", "sample", "calls_today")
_READY_COLUMNS: Final = ("name", "answer", "examples", "description")
_CHECKED_COLUMNS: Final = (
    *("example", "label", "answer", "outputs", "explanation", "error", "latency_ms", "cost"),
)
_SEEN_CHARS: Final = 300
_TRIED_COLUMNS: Final = ("run_id", "answer", "label", "explanation", "error", "latency_ms", "cost")


class JudgeCommands(click.Group):
    """The commands ``otel-ml judge``. Without the name of a command, ``score`` is run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line. ``FILE.py:JUDGE`` and options of ``score`` can come first."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [_SCORE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=JudgeCommands)
def judge() -> None:
    """Score recorded runs with a judge, or manage rubric judges.

    `otel-ml judge FILE.py:JUDGE --where EXPR` is short for `otel-ml judge score ...`. It runs your
    own judge in this process.

    The other commands manage rubric judges. A rubric judge is a language model that scores runs by
    written instructions (the rubric), so you write no code. The collector scores new runs with it.
    """


@judge.command(
    _SCORE,
    short_help="Score recorded runs with a judge in Python.",
    epilog="Exit status: 0 if successful; 2 if the command could not run; 130 if it was "
    "interrupted. Stored scores are kept, and the same command continues from there.",
)
@click.argument("judge", metavar="FILE.py:JUDGE")
@click.option(
    "--where",
    metavar="EXPR",
    required=True,
    help="""Runs to score: a filter such as 'model == "answer" and last("7d")'""",
)
@click.option(
    "--start",
    metavar="TIME",
    help="Only runs that started at this time or later, such as 2026-11-20",
)
@click.option("--end", metavar="TIME", help="Only runs that started before this time")
@click.option(
    "--tz",
    metavar="ZONE",
    help="Time zone of dates, and of times without an offset, such as Europe/Berlin [UTC]",
)
@click.option("--limit", type=click.IntRange(1), help="Score only this many of the newest runs")
@click.option(
    "--sample",
    type=click.FloatRange(0, 1),
    default=1.0,
    help="Share of the runs to score, such as 0.1 [1]",
)
@click.option(
    "--against",
    metavar="VERSION",
    default="newest",
    show_default=True,
    help="Version of the judge to compare with, such as v2, or 'none' for no comparison",
)
@click.option("--rate", metavar="N/m", help="Maximum runs per second, minute or hour, such as 60/m")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="Runs to score at the same time",
)
@click.option("--write", is_flag=True, help="Store each score as soon as it is known")
@click.option(
    "--json", "json_", type=click.Path(dir_okay=False), help="Write the scores to a JSON file"
)
@click.option(
    "--project", metavar="PROJECT", help="Project of the runs (default: $OTEL_ML_PROJECT)"
)
@click.option(
    "--endpoint", metavar="URL", help="Address of the collector (default: $OTEL_ML_ENDPOINT)"
)
def score(judge: str, **options: Any) -> int:
    """Score recorded runs with a judge, and compare the scores with those of an earlier version.

    You see both pass rates, how often both versions agree, and the runs whose result would change.
    Nothing is stored until you confirm or pass --write. Runs that this version has already scored
    are skipped.
    """
    from otel_ml.experiments.stored_results import open_reader  # takes 0.1 s, like those below
    from otel_ml.judges.ready import as_judge
    from otel_ml.reader.errors import ReaderError

    rate = None if options["rate"] is None else _read_rate(options["rate"])
    asked = as_judge(load_judge(judge))
    client = open_client(options["project"], options["endpoint"])
    shares = {name: options[name] for name in ("limit", "sample", "concurrency", "write")}
    against = None if options["against"] == "none" else options["against"]
    try:
        with open_reader(client._recorder) as reader:
            times = {name: options[name] for name in ("start", "end", "tz")}
            runs = reader.runs(options["where"], **times)
            progress = _Progress(_print_plan(reader, asked, len(runs), rate, options))
            backfill = client.judge(
                runs, asked, against=against, rate=rate, progress=progress.show, **shares
            )
            progress.end()
    except LookupError as error:
        raise CommandFailed(
            "No collector answers: start one with otel-ml serve, or choose one with --endpoint URL",
            USAGE,
        ) from error
    except (ValueError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    click.echo(str(backfill))
    _save(backfill, options["json_"])
    _store(backfill, is_written=options["write"])
    client.close()
    return INTERRUPTED if backfill.is_interrupted else DONE


@judge.command("list", epilog=HELP, short_help="List rubric judges and their state.")
@with_place
@with_project
@with_form
def list_rubric_judges(asked: PlaceOptions, project: str, *, form: Layout) -> int:
    """List a project's rubric judges, with their state and today's calls."""
    with asked.open() as place:
        api = place.api()
        with check_project(api, project) as check:
            answer = api.get("projects", project, "rubric-judges")
            check(answer["judges"])
        return write_rows(answer["judges"], answer, form, _JUDGE_COLUMNS)


@judge.command(epilog=HELP, short_help="Show a rubric judge.")
@with_place
@with_project
@click.argument("name")
@with_form
def show(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Show a rubric judge: its rubric, model, filter of runs, limits and state."""
    with asked.open() as place:
        answer = place.api().get("projects", project, "rubric-judges", name)
        return write_rows(_list_fields(answer), answer, form, ("field", "value"))


@judge.command(epilog=HELP, short_help="Save a rubric judge from a file.")
@with_place
@with_project
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_form
def save(asked: PlaceOptions, project: str, *, name: str, file: Path, form: Layout) -> int:
    """Save the judge NAME from a TOML file that sets its instruction, model, connection and so on.

    A change of the rubric or the model makes a new judge version.
    """
    body = _read_rubric_file(file)
    return _change(asked, project, name, form, body)


@judge.command("on", epilog=HELP, short_help="Turn a rubric judge on.")
@with_place
@with_project
@click.argument("name")
@with_form
def turn_on(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Turn a judge on, so that it scores new runs from now on."""
    return _change(asked, project, name, form, action="on")


@judge.command("off", epilog=HELP, short_help="Turn a rubric judge off.")
@with_place
@with_project
@click.argument("name")
@with_form
def turn_off(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Turn a judge off. Its scores are kept."""
    return _change(asked, project, name, form, action="off")


@judge.command(epilog=HELP, short_help="Delete a rubric judge.")
@with_place
@with_project
@click.argument("name")
@with_form
def delete(asked: PlaceOptions, project: str, *, name: str, form: Layout) -> int:
    """Delete a judge. Its scores are kept."""
    return _change(asked, project, name, form, method="DELETE")


@judge.command("try", epilog=HELP, short_help="Try a rubric judge on recorded runs.")
@with_place
@with_project
@click.option(
    "--runs", type=click.IntRange(1, 100), default=20, metavar="N", help="Number of runs [20]"
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a judge to try instead of the saved judge",
)
@click.argument("name")
@with_form
def try_out(
    asked: PlaceOptions, project: str, *, name: str, runs: int, file: Path | None, form: Layout
) -> int:
    """Try the judge NAME on the newest runs that match its filter. No score is stored.

    You see the judge's answers next to the labels of reviewers, starting with the runs on which
    they disagree. You also see what the judge would cost per day, and what the model saw of the
    first run. The column ``shown`` has this for each run.
    """
    from otel_ml.reader.api import Question  # heavy

    question = Question(
        ("projects", project, "rubric-judges", name, "try"),
        method="POST",
        body={"runs": runs, "judge": None if file is None else _read_rubric_file(file)},
        is_repeatable=False,
    )
    with asked.open() as place:
        answer = place.api(_TRY_S).ask(question)
    if form.kind == "table":
        click.echo(_write_trial(answer), err=True)
        click.echo(_write_shown(answer["runs"]), err=True, nl=bool(answer["runs"]))
    return write_rows(answer["runs"], answer, form, _TRIED_COLUMNS)


@judge.command("backfill", epilog=HELP, short_help="Score recorded runs with a rubric judge.")
@with_place
@with_project
@click.option(
    "--last",
    default="30d",
    metavar="LENGTH",
    show_default=True,
    help="How far back to score runs, such as 7d",
)
@click.option(
    "--where",
    metavar="EXPR",
    help="Only runs that match this filter (default: the filter of the judge)",
)
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the runs to score, such as 0.1. Default: the judge's share of new runs",
)
@click.option("--runs", type=click.IntRange(1), metavar="N", help="Score only the newest N runs")
@click.option(
    "--dollars",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Maximum cost in US dollars (default: 1.5 times the estimate)",
)
@click.option("--yes", is_flag=True, help="Start the backfill without asking")
@click.option("--status", "action", flag_value="GET", help="Show how far the backfill has come")
@click.option("--stop", "action", flag_value="DELETE", help="Stop the backfill; scores are kept")
@click.argument("name")
@with_form
def backfill(
    asked: PlaceOptions,
    project: str,
    *,
    name: str,
    yes: bool,
    action: str | None,
    form: Layout,
    **wanted: Any,
) -> int:
    """Score past runs with the judge NAME. The collector does this in the background.

    First, you see the number of runs, and the estimated tokens, cost and duration. The backfill
    starts when you confirm, or at once with --yes. It stops at a maximum number of calls and
    dollars.
    """
    from otel_ml.reader.api import Question  # heavy

    path = ("projects", project, "rubric-judges", name)
    with asked.open() as place:
        api = place.api(_TRY_S)
        if action is not None:
            answer = api.ask(Question((*path, "backfill"), method=action))
            return write_rows(_list_fields(answer), answer, form, ("field", "value"))
        question = Question((*path, "backfill-plan"), method="POST", body=wanted)
        plan = api.ask(question)
        click.echo(_write_backfill_plan(plan), err=True)
        if plan["confirm"] is None:
            return DONE
        is_asked = sys.stdin.isatty() and sys.stdout.isatty()
        if not yes and not is_asked:
            raise CommandFailed("Nothing was started: use --yes to start it", USAGE)
        if not yes and not click.confirm("Start it?", err=True):
            click.echo("Nothing was started", err=True)
            return DONE
        started = Question(
            (*path, "backfill"), method="POST", body=plan["confirm"], is_repeatable=False
        )
        answer = api.ask(started)
    return write_rows(_list_fields(answer), answer, form, ("field", "value"))


@judge.command("ready", epilog=HELP, short_help="List ready-made rubrics, or print one.")
@click.argument("name", required=False)
@with_form
def print_ready(*, name: str | None, form: Layout) -> int:
    """List the ready-made rubrics. With NAME, print that rubric as a TOML file for `judge save`.

    Replace the placeholders MODEL and CONNECTION in the file before you save it.
    """
    if name is not None:
        click.echo(_read_ready(name).text, nl=False)
        return DONE
    rows = []
    for ready in map(read_ready_rubric, READY_RUBRICS):
        form_of_answer = ready.document.get("answer", "pass")
        row = {"name": ready.name, "answer": form_of_answer, "examples": len(ready.examples)}
        rows.append({**row, "description": ready.description})
    return write_rows(rows, {"rubrics": rows}, form, _READY_COLUMNS)


@judge.command("check-ready", epilog=HELP, short_help="Test a ready-made rubric on examples.")
@with_place
@with_project
@click.option(
    "--connection",
    metavar="NAME",
    help="Connection to the language model, from the collector's setting judge_connections",
)
@click.option(
    "--model", metavar="MODEL", help="Language model to use, by the name that its provider gives it"
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a judge to test on these examples instead, such as your changed copy of the "
    "rubric",
)
@click.argument("name")
@with_form
def check_ready(
    asked: PlaceOptions,
    project: str,
    *,
    name: str,
    connection: str | None,
    model: str | None,
    file: Path | None,
    form: Layout,
) -> int:
    """Test the ready-made rubric NAME with a language model on 40 labelled examples.

    Each ready-made rubric contains its own examples. You see how often the model agrees with their
    labels. Then you see the examples, first those on which the model disagrees. No score is stored.
    The collector calls the model through the connection that --connection names.
    """
    from otel_ml.reader.api import Question  # heavy

    ready = _read_ready(name)
    if file is None and (connection is None or model is None):
        raise CommandFailed("Expected --connection and --model, or --file", USAGE)
    given = {"connection": connection, "model": model}
    body = ready.document if file is None else _read_rubric_file(file)
    body |= {field: value for field, value in given.items() if value is not None}
    question = Question(
        ("projects", project, "rubric-judges", name, "check"),
        method="POST",
        body={"ready": name, "judge": body},
        is_repeatable=False,
    )
    with asked.open() as place:
        answer = place.api(_TRY_S).ask(question)
    if form.kind == "table":
        click.echo(_write_check(answer), err=True)
    return write_rows(answer["examples"], answer, form, _CHECKED_COLUMNS)


def _read_ready(name: str) -> ReadyRubric:
    """Read a ready rubric.

    Raises:
        CommandFailed: There is no such rubric.
    """
    try:
        return read_ready_rubric(name)
    except Missing as error:
        raise CommandFailed(str(error), USAGE) from error


def _change(
    asked: PlaceOptions,
    project: str,
    name: str,
    form: Layout,
    body: Mapping[str, Any] | None = None,
    *,
    action: str = "",
    method: str = "",
) -> int:
    from otel_ml.reader.api import Question  # heavy

    path = ("projects", project, "rubric-judges", name, *filter(None, (action,)))
    method = method or ("POST" if action else "PUT")
    sent = {} if action else body
    with asked.open() as place:
        answer = place.api().ask(Question(path, method=method, body=sent))
    return write_rows(_list_fields(answer), answer, form, ("field", "value"))


def _list_fields(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"field": name, "value": value}
        for name, value in answer.items()
        if value not in (None, [], {}, "")
    ]


def _read_rubric_file(file: Path) -> dict[str, Any]:
    """Read a judge from a TOML file.

    Raises:
        BadSetting: The file is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"The file {file} cannot be read: {error}") from error


def _write_shown(runs: Sequence[Mapping[str, Any]]) -> str:
    """Write what the model saw of the first run of a trial; empty without a run."""
    lines = [
        f"  {name}: {text[:_SEEN_CHARS]}{'…' if len(text) > _SEEN_CHARS else ''}"
        for run in runs[:1]
        for name, text in run["shown"].items()
    ]
    return "\n".join([f"The model saw of {run['run_id']}:" for run in runs[:1]] + lines)


def _write_trial(trial: Mapping[str, Any]) -> str:
    """Write the summary of a trial."""
    items = [f"{trial['passed']} of {trial['answered']} pass"]
    if trial["labelled"]:
        items.append(f"agrees with reviewers in {trial['agreed']} of {trial['labelled']}")
    if trial["errors"]:
        items.append(f"{trial['errors']} errors")
    if trial["median_ms"] is not None:
        items.append(f"{trial['median_ms'] / 1e3:.1f} s per answer")
    if trial["cost_per_day"] is not None:
        items.append(
            f"about $ {trial['cost_per_day']:.2f} per day for "
            f"{write_count(trial['runs_per_day'], 'run')} "
            f"($ {trial['cost_per_run']:.4g} each)"
        )
    return f"{'; '.join(items)}. No score was stored."


def _write_backfill_plan(plan: Mapping[str, Any]) -> str:
    """Write what a backfill will need."""
    if plan["confirm"] is None:
        return "There are no runs to score: none match, or all have a score of this version"
    items = [f"{write_count(plan['runs'], 'run')} of the past would be scored"]
    limit = write_count(plan["confirm"]["most_calls"], "call")
    if plan["cost"] is None:
        items.append("the price of the model is unknown")
    else:
        items.append(f"about $ {plan['cost']:.4g} in total")
        limit += f" and $ {plan['confirm']['most_dollars']:.4g}"
    source = f"{plan['measured']:,} {plan['based_on']}"
    if plan["based_on"] == "size of runs":
        source = f"the size of {write_count(plan['measured'], 'run')}"
    items += [
        f"about {plan['input_tokens']:,} tokens in and {plan['output_tokens']:,} out, estimated "
        f"from {source}",
        f"about {_write_seconds(plan['duration_s'])}",
        f"at most {limit}",
    ]
    return f"{'; '.join(items)}."


def _write_seconds(seconds: float) -> str:
    """Write a duration in the unit that a reader would choose."""
    if seconds < 2 * _IN_MINUTES_S:
        return f"{math.ceil(seconds)} s"
    if seconds < 2 * _IN_HOURS_S:
        return f"{math.ceil(seconds / _IN_MINUTES_S)} min"
    return f"{seconds / _IN_HOURS_S:,.1f} h"


def _write_check(check: Mapping[str, Any]) -> str:
    """Write the summary of a check on examples."""
    items = [f"{check['agreed']} of {check['answered']} answers agree with the labels"]
    if check["agreement"] is not None:
        rate = check["agreement"]
        items = [f"{items[0]}: {rate['value']:.0%} ({rate['low']:.0%} to {rate['high']:.0%})"]
    if check["kappa"] is not None:
        items.append(f"kappa {check['kappa']['value']:.2f}")
    if check["errors"]:
        items.append(f"errors: {check['errors']}")
    if check["median_ms"] is not None:
        items.append(f"{check['median_ms'] / 1e3:.1f} s per answer")
    if check["cost"] is not None:
        items.append(f"$ {check['cost']:.4g} in total")
    return f"{'; '.join(items)}. No score was stored."


def _read_rate(text: str) -> float:
    """Parse a rate such as ``60/m``, ``2/s`` or ``60``; returns runs per minute."""
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]):
        raise CommandFailed(
            f"Invalid --rate {text!r}: expected a rate such as 2/s, 60/m or 100/h", USAGE
        )
    return float(match[1]) * _A_MINUTE[match[2]]


def _print_plan(
    reader: "Reader", judge: "Judge", matching: int, rate: float | None, options: Any
) -> int:
    """Print how many runs will be scored, the minimum duration, and the estimated cost.

    Args:
        reader: The project's reader.
        judge: The judge that will score.
        matching: Number of runs that match the filter.
        rate: Most runs per minute; None for no limit.
        options: The command's options.

    Returns:
        The number of runs that will be scored.
    """
    from otel_ml.reader import NotFound  # takes 0.1 s

    count: int = min(round(matching * options["sample"]), options["limit"] or matching)
    items = [
        f"{write_count(matching, 'run matches', 'runs match')}",
        f"{count:,} will be scored, {options['concurrency']} at a time",
    ]
    if rate is not None:
        items.append(f"at least {math.ceil(count / rate):,} min at {rate:g} per minute")
    try:
        versions = reader.judge_versions(judge.name)
    except NotFound:
        versions = []
    priced = next((version for version in versions if version["priced"]), None)
    if priced is not None:
        each = priced["cost"] / priced["priced"]
        items.append(f"about $ {each * count:.2f} in total ($ {each:.4g} per run so far)")
    click.echo("; ".join(items), err=True)
    return count


def _save(backfill: "Backfill", path: str | None) -> None:
    """Write the scores to a file; do nothing without a path.

    Raises:
        CommandFailed: The file cannot be written.
    """
    if path:
        try:
            backfill.save(path)
        except OSError as error:
            raise unwritten(error) from error


def _store(backfill: "Backfill", *, is_written: bool) -> None:
    """Store the scores that are not stored yet, if the user confirms or ``--write`` was given.

    Raises:
        CommandFailed: Some scores did not arrive at the collector.
    """
    new = len(backfill.runs) - backfill.stored
    if not new:
        return
    if not is_written:
        is_asked = sys.stdin.isatty() and sys.stdout.isatty()
        if not (is_asked and click.confirm(f"Store {new:,} scores?", err=True)):
            click.echo("Nothing was stored: use --write to store the scores", err=True)
            return
    delivery = backfill.write()
    if not delivery:
        raise CommandFailed(f"Not all scores arrived: {delivery.reason}", USAGE)
    click.echo(f"{new:,} scores stored: {backfill.url}", err=True)


class _Progress:
    """A line on a terminal with the number of runs scored so far."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._judged = 0
        self._next_s = 0.0
        self._is_shown = sys.stderr.isatty()

    def show(self, _: "RejudgedRun") -> None:
        """Count one more run and update the line, at most every 0.2 s."""
        self._judged += 1
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _SHOW_EVERY_S
            self._write()

    def end(self) -> None:
        """Write the final number and end the line."""
        if self._is_shown:
            self._write()
            click.echo("", err=True)

    def _write(self) -> None:
        click.echo(
            f"\r{self._judged:,} of {write_count(self._count, 'run')} scored", nl=False, err=True
        )
