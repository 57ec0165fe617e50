"""The commands evaluate, replay, compare and baseline.

`evaluate` and `replay` run the user's function in this process. No command needs the collector's
packages, and `evaluate` works without a collector.
"""

import functools
import math
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from otel_ml.attributes import NUMBERED, RECORDED
from otel_ml_collector.cli.failure import (
    DONE,
    HELP,
    INTERRUPTED,
    NOTHING,
    USAGE,
    CommandFailed,
)
from otel_ml_collector.cli.share import write_shared
from otel_ml_collector.errors import BadInput, suggest
from otel_ml_collector.filter.figures import (
    Figure,
    Vocabulary,
    holds,
    parse_figures,
    verdicts_of,
)

if TYPE_CHECKING:
    from otel_ml.client import Client
    from otel_ml.experiments.result import Result
    from otel_ml.statistics.intervals import Estimate
    from otel_ml.statistics.report import JudgeResult

_READY: Final = ("exact", "contains", "matches", "is_json", "close", "f1_words")
_ALIASED: Final = re.compile(r".+@\w[\w.-]*", re.DOTALL)
_FIGURES: Final = Vocabulary(
    "condition",
    "fail-if",
    {
        **dict.fromkeys(("errors", "regressions", "flaky", "cost", "runs"), ""),
        **dict.fromkeys(("pass_rate", "score", "difference"), "judge"),
    },
    frozenset({"worse", "maybe-worse", "not-enough-data"}),
)
_CONDITIONS: Final = (
    "Exit with status 1 if this condition holds: worse, maybe-worse (a worse result is not "
    "ruled out), not-enough-data, or a comparison such as 'errors > 3'. A comparison can use "
    f"{', '.join(_FIGURES.forms[:-1])} and {_FIGURES.forms[-1]}"
)
_SIDES: Final = ("before", "after")
_ENDS: Final = (
    "Exit status: 0 if successful; 1 if a --fail-if condition holds; 2 if the experiment could not "
    "run; 130 if it was interrupted."
)

_SHARE_HELP: Final = (
    "Write the experiment as one HTML file, see `otel-ml share`. Without a collector, one is "
    "started for the time of the command"
)


# Options that evaluate and replay share, in the order of the help.
_OPTIONS: Final = (
    click.option(
        "--judge",
        "judges",
        multiple=True,
        metavar="FILE.py:JUDGE",
        help="Judge that scores the outputs: your own judge or function, or a built-in one "
        f"({', '.join(_READY)}); may be repeated",
    ),
    click.option(
        "--name",
        metavar="NAME",
        help="Name of the experiment (default: made from function and data set)",
    ),
    click.option(
        "--repeats",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Number of times to run each item",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Items to run at the same time",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=float,
        metavar="SECONDS",
        help="Time limit for each call of the function",
    ),
    click.option(
        "--cluster",
        metavar="EXPR",
        help="""Field that groups items, such as 'tags["document"]'. Items with the same value """
        """count as one observation (default: the session of the run that the item was """
        """created from)""",
    ),
    click.option(
        "--margin",
        "margins",
        multiple=True,
        metavar="JUDGE=NUMBER",
        help="Smallest difference that matters for a judge, such as exact=0.05; may be repeated",
    ),
    click.option(
        "--lower-is-better",
        multiple=True,
        metavar="JUDGE",
        help="Judge whose lower scores are better; may be repeated",
    ),
    click.option(
        "--resume",
        metavar="auto|ID",
        default=None,
        help="Continue an unfinished experiment. Give its run ID, or auto to let the command find "
        "the experiment",
    ),
    click.option(
        "--partial",
        is_flag=True,
        help="Compare even if fewer than 90 % of the items are shared with the baseline",
    ),
    click.option(
        "--fail-if",
        "conditions",
        multiple=True,
        metavar="CONDITION",
        help=f"{_CONDITIONS} (default: worse, if there is a baseline)",
    ),
    click.option(
        "--save",
        type=click.Path(dir_okay=False),
        help="Write the result to a file that --baseline can read",
    ),
    click.option("--markdown", type=click.Path(dir_okay=False), help="Write a Markdown report"),
    click.option("--share", type=click.Path(dir_okay=False), help=_SHARE_HELP),
    click.option("--junit", type=click.Path(dir_okay=False), help="Write a JUnit XML report"),
    click.option(
        "--json", "json_", type=click.Path(dir_okay=False), help="Write the verdict as JSON"
    ),
    click.option(
        "--project",
        metavar="PROJECT",
        help="Project for the experiment (default: $OTEL_ML_PROJECT)",
    ),
    click.option(
        "--endpoint", metavar="URL", help="Address of the collector (default: $OTEL_ML_ENDPOINT)"
    ),
)


def _take_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that evaluate and replay share to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(epilog=_ENDS)
@click.argument("function", metavar="FILE.py:FUNCTION")
@click.option(
    "--dataset",
    required=True,
    metavar="FILE|NAME",
    help="Data set: a .jsonl, .csv or .parquet file, or the name of a stored one, such as qa or "
    "qa:v3",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Run at most this many items; the same items are chosen each time",
)
@click.option(
    "--sample",
    type=click.FloatRange(0, 1),
    default=1.0,
    help="Share of the items to run, such as 0.1 [1]",
)
@click.option(
    "--baseline",
    metavar="FILE|EXPERIMENT",
    help="Baseline to compare with: a file that --save wrote, or an experiment. Name the "
    "experiment by its run ID, its function version (answer:v3, answer@alias) or one of its tags",
)
@_take_options
def evaluate(function: str, dataset: str, judges: Sequence[str], **options: Any) -> int:
    """Run a function on each item of a data set, score the outputs, and compare with a baseline."""
    from otel_ml.reader.errors import ReaderError  # takes 0.1 s, like the imports below

    conditions = _conditions(options, has_baseline=bool(options["baseline"]))
    target, asked = _load(function, "function"), [load_judge(text) for text in judges]
    reports = _take_reports(options)
    with _open_recording(options, reports) as (client, is_brief):
        try:
            if is_brief:
                options["baseline"] = _record_baseline(client, options["baseline"])
            result = client.evaluate(target, dataset, asked, **options)
        except (ValueError, OSError, ImportError, ReaderError) as error:
            raise CommandFailed(str(error), USAGE) from error
        if not result.runs and not result.is_interrupted:
            client.close()
            raise CommandFailed(f"Data set {dataset!r} has no items to run", USAGE)
        return _conclude(client, result, conditions, reports, is_brief=is_brief)


@click.command(epilog=_ENDS)
@click.argument("function", metavar="FILE.py:FUNCTION")
@click.option(
    "--where",
    required=True,
    metavar="EXPR",
    help="""Runs to replay: a filter such as 'model == "answer" and last("7d")'""",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Replay at most this many runs, the newest first",
)
@click.option(
    "--stub",
    multiple=True,
    metavar="NAME",
    help="Traced function that should not run. Its calls return the recorded outputs instead; may "
    "be repeated",
)
@click.option(
    "--on-miss",
    type=click.Choice(["raise", "call"]),
    default="raise",
    show_default=True,
    help="What to do if a --stub function is called with inputs that were not recorded: raise an "
    "error, or call the function",
)
@_take_options
def replay(function: str, where: str, judges: Sequence[str], **options: Any) -> int:
    """Run a function on the inputs of recorded runs, and compare with the recorded outputs."""
    from otel_ml.experiments.replay import plan_replay  # takes 0.1 s
    from otel_ml.reader.errors import ReaderError

    conditions = _conditions(options, has_baseline=True)
    target, asked = _load(function, "function"), [load_judge(text) for text in judges]
    reports = _take_reports(options)
    with _open_recording(options, reports) as (client, is_brief):
        try:
            plan = plan_replay(client._recorder.in_force, target, where, asked, options)  # type: ignore[arg-type]  # of its keys
            click.echo(str(plan), err=True)
            result = plan.run()
        except (ValueError, LookupError, OSError, ImportError, ReaderError) as error:
            raise CommandFailed(str(error), USAGE) from error
        return _conclude(client, result, conditions, reports, is_brief=is_brief)


def _conditions(options: dict[str, Any], *, has_baseline: bool) -> "list[_Condition]":
    """Remove the --fail-if texts from the options and parse them.

    Args:
        options: The command's options.
        has_baseline: Whether there is a baseline. If so, the default condition is ``worse``.

    Raises:
        CommandFailed: A condition is invalid, or needs a baseline that is missing.
    """
    texts = options.pop("conditions") or (("worse",) if has_baseline else ())
    conditions = [_Condition(text) for text in texts]
    for condition in conditions:
        if condition.needs_baseline and not has_baseline:
            raise CommandFailed(
                f"Invalid --fail-if {condition.text!r}: a verdict needs --baseline", USAGE
            )
    return conditions


def _take_reports(options: dict[str, Any]) -> Mapping[str, str | None]:
    """Remove the reports' paths from the options, and convert the others for the SDK.

    Returns:
        The path of each report by its name; None for a report that is not wanted.
    """
    options["margin"] = dict(map(_read_margin, options.pop("margins"))) or None
    options["resume"] = options["resume"] or False
    return {name: options.pop(name) for name in ("save", "markdown", "share", "junit", "json_")}


def _conclude(
    client: "Client",
    result: "Result",
    conditions: "Sequence[_Condition]",
    reports: Mapping[str, str | None],
    *,
    is_brief: bool,
) -> int:
    """Print the result of an experiment and write its reports; returns the exit status.

    Args:
        client: The client.
        result: The result.
        conditions: The conditions that set the exit status.
        reports: The path of each report.
        is_brief: Whether the collector ends with the command, so that no report may name its pages.
    """
    held = [condition.text for condition in conditions if condition.holds(result)]
    if reports["share"]:
        _share_result(client, result, reports["share"])
    if is_brief:
        result.experiment = replace(result.experiment, page="")
        if result.baseline is not None:
            result.baseline.experiment = replace(result.baseline.experiment, id="")
    _write_reports(result, reports)
    click.echo(str(result))
    client.close()
    return INTERRUPTED if result.is_interrupted else _end(held)


@contextmanager
def _open_recording(
    options: dict[str, Any], reports: Mapping[str, str | None]
) -> "Iterator[tuple[Client, bool]]":
    """Open a client. If a file is wanted and there is no collector, one is started meanwhile.

    Returns:
        The client, and whether its collector ends with the command.

    Raises:
        CommandFailed: The project or the endpoint is invalid, or the collector does not start.
    """
    from otel_ml.launched import LaunchError, launch  # takes 0.1 s

    project, endpoint = options.pop("project"), options.pop("endpoint")
    client = open_client(project, endpoint)
    if client._recorder.enabled or not reports["share"]:
        yield client, False
        return
    with tempfile.TemporaryDirectory(prefix="otel-ml-") as folder:
        try:
            launched = launch(folder)
        except LaunchError as error:
            raise CommandFailed(f"--share needs a collector: {error}", USAGE) from error
        try:
            yield open_client(project, launched.url), True
        finally:
            launched.stop()


def _record_baseline(client: "Client", baseline: str | None) -> "Result | str | None":
    """Record a baseline that is a file in the collector, so that the file of the experiment has it.

    Returns:
        The recorded baseline. Any other baseline is returned as it is.

    Raises:
        ValueError: The file is not a saved result.
        OSError: The file cannot be read.
    """
    from otel_ml.experiments.recorded_result import record_result  # takes 0.1 s
    from otel_ml.experiments.result import Result

    if baseline is None or not Path(baseline).is_file():
        return baseline
    return record_result(client._recorder.in_force, Result.read(baseline))


def _share_result(client: "Client", result: "Result", target: str) -> None:
    """Write an experiment as one HTML file.

    Raises:
        CommandFailed: The experiment is not recorded, or the file cannot be read or written.
    """
    if not result.stored_id:
        raise CommandFailed("--share needs a collector that records the experiment", USAGE)
    client.flush()
    route = client._recorder.in_force.route
    others = [] if result.baseline is None else [result.baseline.stored_id]
    parameters = {"baseline": next(filter(None, others), None)}
    place = route.endpoint, route.api_key
    write_shared(place, route.project, ("experiment", result.stored_id), target, parameters)


def _end(held: Sequence[str]) -> int:
    """Print the --fail-if conditions that hold; returns the exit status."""
    for text in held:
        click.echo(f"otel-ml: --fail-if {text}", err=True)
    return NOTHING if held else DONE


@click.command(
    epilog="Exit status: 0 if successful; 1 if a --fail-if condition holds; 2 if the comparison is "
    "not possible."
)
@click.argument("baseline", metavar="BASELINE")
@click.argument("experiments", metavar="EXPERIMENT|VERSION...", nargs=-1, required=True)
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help=f"{_CONDITIONS} (default: worse)",
)
@click.option("--markdown", type=click.Path(dir_okay=False), help="Write a Markdown report")
@click.option(
    "--share",
    type=click.Path(dir_okay=False),
    help="Write the comparison as one HTML file, see `otel-ml share`",
)
@click.option("--json", "json_", type=click.Path(dir_okay=False), help="Write the verdict as JSON")
@click.option(
    "--where",
    metavar="EXPR",
    default="",
    help="Only recorded runs that match this filter, for versions",
)
@click.option(
    "--by",
    metavar="TAG",
    default="",
    help="Also compare recorded runs for each value of a tag, such as country, for versions",
)
@click.option(
    "--project", metavar="PROJECT", help="Project of the experiments (default: $OTEL_ML_PROJECT)"
)
@click.option(
    "--endpoint", metavar="URL", help="Address of the collector (default: $OTEL_ML_ENDPOINT)"
)
def compare(
    baseline: str,
    experiments: Sequence[str],
    conditions: Sequence[str],
    **options: Any,
) -> int:
    """Compare experiments or versions of a model with a baseline.

    Name an experiment by its name (the newest finished one is used) or by its run ID, as
    `otel-ml experiments` lists them. Name a version by its number or alias, such as answer:v3 or
    answer@champion.

    If two versions have experiments on the same data set, these experiments are compared. Otherwise
    the recorded runs of the versions are compared. To compare an experiment of `otel-ml replay`
    with the runs that it replayed, use the word `recorded` as BASELINE.
    """
    from otel_ml.experiments.stored_results import find_named, load_result
    from otel_ml.reader import Reader
    from otel_ml.reader.errors import ReaderError

    asked = [_Condition(text) for text in conditions or ("worse",)]
    results: Sequence[Result | VersionResult]
    try:
        with Reader(options["project"], endpoint=options["endpoint"]) as reader:
            project, sides = reader.project, [baseline, *experiments]
            if any(map(_is_version, (baseline, *experiments))):
                answer = reader.compare(
                    [baseline, *experiments], baseline, where=options["where"], by=options["by"]
                )
                versions = [VersionResult(side, baseline) for side in answer["sides"][1:]]
                for version in versions:
                    version.check_model()
                results = versions
            elif options["where"] or options["by"]:
                raise CommandFailed("--where and --by are only for versions of a model", USAGE)
            else:
                baseline_results: Result | str = RECORDED
                if baseline != RECORDED:
                    baseline_results = load_result(
                        find_named(reader, baseline).run_id, "none", reader=reader
                    )
                ids = [find_named(reader, experiment).run_id for experiment in experiments]
                results = [load_result(run_id, baseline_results, reader=reader) for run_id in ids]
                first = (
                    RECORDED if isinstance(baseline_results, str) else baseline_results.stored_id
                )
                sides = [first, *ids]
    except (ValueError, LookupError, OSError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    held = [item.text for result in results for item in asked if item.holds(result)]
    write_text(options["markdown"], "\n".join(result.to_markdown() for result in results))
    if options["share"]:
        write_shared((options["endpoint"], None), project, ("compared", sides), options["share"])
    texts = [result.to_json() for result in results]
    write_text(options["json_"], texts[0] if len(texts) == 1 else f"[{','.join(texts)}]")
    click.echo("\n".join(map(str, results)))
    return _end(held)


def _is_version(text: str) -> bool:
    """Tell whether a text names a model version by number or alias: ``answer:v3``, ``answer@x``."""
    return NUMBERED.fullmatch(text) is not None or _ALIASED.fullmatch(text) is not None


@click.group()
def baseline() -> None:
    """Choose the experiment that `otel-ml evaluate --baseline` compares others with."""


@baseline.command("set", epilog=HELP, short_help="Tag an experiment as the baseline.")
@click.argument("experiment", metavar="EXPERIMENT")
@click.option("--name", default="baseline", show_default=True, help="Tag for the experiment")
@click.option(
    "--project", metavar="PROJECT", help="Project of the experiment (default: $OTEL_ML_PROJECT)"
)
@click.option(
    "--endpoint", metavar="URL", help="Address of the collector (default: $OTEL_ML_ENDPOINT)"
)
def set_baseline(experiment: str, name: str, project: str | None, endpoint: str | None) -> int:
    """Tag an experiment as the baseline.

    If several experiments have the tag, the newest of them is the baseline.
    """
    from otel_ml.client import Client
    from otel_ml.experiments.stored_results import find_named
    from otel_ml.reader import Reader
    from otel_ml.reader.errors import ReaderError

    try:
        with Reader(project, endpoint=endpoint) as reader:
            run = find_named(reader, experiment)
        client = Client(project, endpoint=endpoint)
        client.about(run_id=run.run_id).tag({name: True})
    except (ValueError, LookupError, OSError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    delivery = client.flush()
    client.close()
    if not delivery:
        raise CommandFailed(f"The tag could not be stored: {delivery.reason}", USAGE)
    click.echo(
        f"{name} is now the experiment {run.name} on {run.dataset} of {run.start_time[:16]} UTC"
    )
    return DONE


def open_client(project: str | None, endpoint: str | None) -> "Client":
    """Return a client that records to the collector.

    If no endpoint is named and no collector answers at the default one, the client is disabled.

    Raises:
        CommandFailed: The project or the endpoint is invalid.
    """
    from otel_ml.client import Client  # takes 0.1 s
    from otel_ml.export.settings import is_endpoint_named, resolve
    from otel_ml_collector.cli.place import is_collector

    try:
        client = Client(project, endpoint=endpoint)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from error
    if not is_endpoint_named(endpoint) and not is_collector(resolve(None, "", None).page):
        client._recorder.enabled = False
    return client


def _read_margin(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError as error:
        raise CommandFailed(f"Invalid --margin {text!r}: expected JUDGE=NUMBER", USAGE) from error


def load_judge(text: str) -> Any:
    """Import a judge or function by ``FILE.py:NAME``, or return a built-in judge by its name.

    Raises:
        CommandFailed: The judge does not exist, or the import of its module raises.
    """
    if text in _READY:
        from otel_ml.judges import ready  # takes 0.1 s

        value = getattr(ready, text)
        return value() if text == "close" else value
    if ":" not in text:
        from otel_ml.arguments import suggest  # takes 0.1 s

        raise CommandFailed(
            f"Invalid judge {text!r}: {suggest(text, _READY)} For your own judge, use FILE.py:NAME",
            USAGE,
        )
    return _load(text, "judge")


@functools.cache
def import_named(name: str) -> Any:
    """Import a Python file by its path, or a module by its name.

    The file's folder, or for a module the current folder, is added to ``sys.path``. A file or
    module is imported once.

    Raises:
        CommandFailed: The file does not exist.
    """
    path = Path(name)
    folder = path.resolve().parent if path.suffix == ".py" else Path.cwd()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if path.suffix != ".py":
        return import_module(name)
    if not path.is_file():
        raise CommandFailed(f"There is no file {name}", USAGE)
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    spec = util.spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise CommandFailed(f"{name} cannot be imported", USAGE)
    module = util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _load(text: str, what: str) -> Any:
    """Import an object by ``FILE.py:NAME`` or ``package.module:NAME``.

    Raises:
        CommandFailed: The object does not exist, or the import of its module raises.
    """
    module, colon, name = text.rpartition(":")
    if not colon or not module or not name:
        raise CommandFailed(f"Invalid {what} {text!r}: expected FILE.py:NAME", USAGE)
    try:
        value = import_named(module)
    except CommandFailed:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        raise CommandFailed(f"{module} cannot be imported: {error!r}", USAGE) from error
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError as error:
            from otel_ml.arguments import suggest  # takes 0.1 s

            near = suggest(part, _callables_of(value))
            raise CommandFailed(f"{module} has no {name}: {near}", USAGE) from error
    return value


def _callables_of(holder: Any) -> list[str]:
    """Return the names of public callables that a module or class itself defines, in order."""
    own = getattr(holder, "__name__", None)
    return [
        name
        for name, value in getattr(holder, "__dict__", {}).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", own) == own
    ]


def write_text(path: str | None, text: str) -> None:
    """Write a report to a file; do nothing without a path.

    Raises:
        CommandFailed: The file cannot be written.
    """
    if path:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritten(error) from error


def unwritten(error: OSError) -> CommandFailed:
    """Return the error that names the file that cannot be written, and the reason."""
    return CommandFailed(f"{error.filename} cannot be written: {error.strerror}", USAGE)


def _write_reports(result: "Result", reports: Mapping[str, str | None]) -> None:
    writers: dict[str, Callable[[], str]] = {
        "markdown": result.to_markdown,
        "junit": result.to_junit,
        "json_": result.to_json,
    }
    for name, write in writers.items():
        if path := reports[name]:
            write_text(path, write())
    if path := reports["save"]:
        try:
            result.save(path)
        except OSError as error:
            raise unwritten(error) from error


class _Condition:
    """A --fail-if condition on the figures of a result, such as ``errors > 3``.

    Raises:
        CommandFailed: The text is not a condition.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        try:
            self._condition = parse_figures(self.text, _FIGURES)
        except BadInput as error:
            raise self._refused(str(error), error.column) from error

    @property
    def needs_baseline(self) -> bool:
        """Whether the condition asks for a verdict, which needs a baseline."""
        return any(verdicts_of(self._condition))

    def holds(self, result: "Result | VersionResult") -> bool:
        """Tell whether the condition holds for a result.

        Raises:
            CommandFailed: The condition names a figure or judge that the result does not have.
        """
        return holds(
            self._condition,
            lambda figure: self._number(figure, result),
            lambda word: _is_verdict(word, result),
        )

    def _number(self, figure: Figure, result: "Result | VersionResult") -> float:
        if figure.of:
            return self._of_judge(figure, result)
        if figure.name == "errors":
            return result.errors
        if isinstance(result, VersionResult):
            if figure.name == "runs":
                return result.runs
            raise self._refused(
                f"{figure.name} exists for experiments only, not for versions", figure.column
            )
        if figure.name == "cost":
            return result.cost
        return len(getattr(result, figure.name))

    def _of_judge(self, figure: Figure, result: "Result | VersionResult") -> float:
        outcome = result.judges.get(figure.of)
        if outcome is None:
            near = suggest(figure.of, result.judges)
            raise self._refused(f"judge {figure.of!r} did not score: {near}", figure.column)
        if figure.name == "difference":
            compared = outcome.comparison
            if compared is None or compared.difference is None:
                raise self._refused(
                    f"judge {figure.of!r} has no difference from a baseline", figure.column
                )
            return compared.difference.value
        number = outcome.rate if figure.name == "pass_rate" else outcome.score
        if number is None and 0 < result.errors == _count_runs(result):
            if figure.name == "pass_rate":
                return 0.0
            raise self._refused(
                f"judge {figure.of!r} has no score, because every call failed", figure.column
            )
        return math.nan if number is None else number

    def _refused(self, reason: str, column: int | None) -> CommandFailed:
        from otel_ml.reader.errors import point_at  # takes 0.1 s

        place = f"\n{point_at(self.text, column)}" if column is not None else ""
        return CommandFailed(f"Invalid --fail-if {self.text!r}: {reason}{place}", USAGE)


def _is_verdict(word: str, result: "Result | VersionResult") -> bool:
    if word == "not-enough-data":
        overall = result.word if isinstance(result, VersionResult) else result.verdict
        return "not enough data" in {overall, *(one.word for one in result.judges.values())}
    if isinstance(result, VersionResult) and result.word == "worse":
        return True  # also if only latency, tokens or cost are worse
    if result.have_failures_risen or any(one.word == "worse" for one in result.judges.values()):
        return True
    return word != "worse" and not all(one.is_no_worse for one in result.judges.values())


def _count_runs(result: "Result | VersionResult") -> int:
    return result.runs if isinstance(result, VersionResult) else len(result.runs)


class VersionResult:
    """The result of comparing a version of a model with a baseline version.

    Experiments of both versions are compared or, if there are none, their recorded runs.

    Args:
        side: One of the `sides` in the API's answer on a comparison.
        baseline: The baseline version, such as ``answer:v1``.
    """

    def __init__(self, side: Mapping[str, Any], baseline: str) -> None:
        self._version = side["version"]
        self._pairs = side["pairs"]
        self._verdict = self._version["verdict"]
        self.name: str = side["reference"]
        self.baseline = baseline

    def check_model(self) -> None:
        """Check that the version and its baseline belong to one model.

        Raises:
            CommandFailed: They are versions of different models, so there is no verdict.
        """
        if not self._verdict:
            raise CommandFailed(
                f"Cannot compare {self.name} with {self.baseline}: they are versions of different "
                "models",
                USAGE,
            )

    @property
    def runs(self) -> int:
        """How many recorded runs the version has."""
        return int(self._version["runs"])

    @property
    def errors(self) -> int:
        """How many recorded runs of the version failed."""
        return int(self._version["errors"])

    @property
    def word(self) -> str:
        """The overall verdict."""
        return str(self._verdict["word"])

    @property
    def have_failures_risen(self) -> bool:
        """Whether more calls fail than with the baseline version."""
        failures = self._verdict["failures"]
        return failures is not None and failures["word"] == "worse"

    @cached_property
    def judges(self) -> Mapping[str, "JudgeResult"]:
        """The comparison by each judge, by the judge's name."""
        return {judge["name"]: _read_judge(judge) for judge in self._verdict["judges"]}

    @property
    def sentences(self) -> list[str]:
        """The sentences of the verdict: for each judge, then on latency, tokens and cost."""
        return [*self._figures, *_write_pairs(self._pairs)]

    @property
    def _figures(self) -> list[str]:
        """The sentences of the verdict, without those about pairs."""
        judged = [f"{judge['name']}: {judge['sentence']}" for judge in self._verdict["judges"]]
        amounts = [f"{amount['name']}: {amount['sentence']}" for amount in self._verdict["amounts"]]
        failures, missing = self._verdict["failures"], self._verdict["missing"]
        if not judged and self._verdict["word"] == "not enough data" and not amounts:
            judged = [self._verdict["sentence"]]
        return [
            *self._verdict["reasons"],
            *([f"failed calls: {failures['sentence']}"] if failures else []),
            *([f"missing outputs: {missing['sentence']}"] if missing else []),
            *(judged or ["no judge scored both versions"]),
            *amounts,
            *(f"for whom: {item['sentence']}" for item in self._verdict["for_whom"]),
            *(_write_value(item) for item in self._verdict["by"]),
            *self._made_of,
        ]

    @property
    def _made_of(self) -> list[str]:
        """Where the data come from: experiments, with the verdict on production, or runs."""
        lines = [f"data: {self._verdict['heading']}"]
        production, paired = self._verdict["production"], self._verdict["paired"]
        if production is not None:
            word = production["word"] if production["judges"] else "no judge scored both versions"
            lines.append(f"recorded runs: {word}")
        if paired is not None:
            dataset = self._verdict["experiment"]["dataset"]
            lines.append(f"experiments on {dataset}: {paired['word']}: {paired['sentence']}")
        return lines

    def to_json(self) -> str:
        """Return the API's data on the version, with the verdict and pairs, as JSON text."""
        facts = {**self._version, "pairs": self._pairs}
        return orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        """Return the verdict, a table of judges, the other figures and up to five pairs."""
        from otel_ml.statistics.report import (  # takes 0.1 s
            NAMED_IN_MARKDOWN,
            cut_cell,
            write_judges,
            write_table,
        )

        lines = [f"**{self.name}** vs {self.baseline}: {self.word}", ""]
        if self.judges:
            compared = [judge.comparison for judge in self.judges.values() if judge.comparison]
            lines += [*write_judges(compared), ""]
        lines += map(_write_item, self._figures)
        changed = [pair for pair in (self._pairs or {}).get("pairs", ()) if pair["is_changed"]]
        if changed:
            sides = [
                [
                    cut_cell(pair["inputs"]),
                    *(cut_cell(pair[side]["error"] or pair[side]["outputs"]) for side in _SIDES),
                ]
                for pair in changed[:NAMED_IN_MARKDOWN]
            ]
            lines += ["", f"{self._pairs['sentence']}:", ""]
            lines += write_table(["input", self.baseline, self.name], sides)
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        """Return the verdict, with a line for each judge."""
        lines = [f"{self.name} vs {self.baseline}: {self.word}"]
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.sentences)])


def _write_value(item: Mapping[str, Any]) -> str:
    """Write the comparison of two versions for one value of a tag: the worst figure."""
    figure = next(iter(item["figures"]), None)
    if figure is None:
        return f"{item['value']}: not enough data"
    return f"{item['value']}: {figure['name']}: {figure['sentence']}"


def _write_item(sentence: str) -> str:
    """Write a sentence as an item of a Markdown list. An indented one is an item below another."""
    text = sentence.lstrip()
    return f"{sentence[: len(sentence) - len(text)]}* {text}"


def _write_pairs(pairs: Mapping[str, Any] | None) -> list[str]:
    """Write what two versions returned for equal inputs. Empty if they had none."""
    if not pairs or not pairs["pairs"]:
        return []
    changed = [pair["text"] for pair in pairs["pairs"] if pair["is_changed"]]
    return [f"pairs: {pairs['sentence']}", *(f"  {text}" for text in changed)]


def _read_judge(facts: Mapping[str, Any]) -> "JudgeResult":
    """Read the comparison by a judge from the API's answer, without the caveats, which are text."""
    from otel_ml.statistics.comparison import (  # takes 0.1 s
        Basis,
        Direction,
        FigureComparison,
        FigureSide,
        Method,
        Unit,
    )
    from otel_ml.statistics.intervals import CONFIDENCE
    from otel_ml.statistics.report import JudgeResult

    candidate = _estimate(facts["candidate"])
    comparison = FigureComparison(
        subject=facts["name"],
        unit=Unit.PASSES if facts["is_rate"] else Unit.SCORE,
        direction=Direction.of(lower_is_better=facts["lower_is_better"]),
        baseline=FigureSide("", _estimate(facts["baseline"])),
        candidate=FigureSide("", candidate),
        difference=_estimate(facts["difference"]),
        margin=facts["margin"],
        word=facts["word"],
        basis=Basis(
            method=Method.PAIRED,
            confidence=CONFIDENCE,
            counted="items",
            cluster=None,
            waits_for=None,
            needed=facts["needed"],
            smallest=None,
            caveats=(),
        ),
    )
    return JudgeResult(
        facts["judge_version"],
        facts["is_rate"],
        facts["lower_is_better"],
        candidate,
        0,
        comparison,
    )


def _estimate(facts: Mapping[str, Any] | None) -> "Estimate | None":
    from otel_ml.statistics.intervals import Estimate

    if facts is None:
        return None
    low = -math.inf if facts["low"] is None else facts["low"]
    high = math.inf if facts["high"] is None else facts["high"]
    return Estimate(facts["value"], low, high, facts["n"], facts["clusters"])
