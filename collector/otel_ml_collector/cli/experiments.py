"""The commands of experiments: run them (evaluate, replay), list, compare and name those stored.

A function runs in this process. They need no packages of a collector, and evaluate needs none.
"""

import functools
import math
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
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
    from otel_ml.statistics.verdict import JudgeOutcome

_READY: Final = ("exact", "contains", "matches", "is_json", "close", "f1_words")
_ALIASED: Final = re.compile(r".+@[A-Za-z_][\w.-]*", re.DOTALL)
_FIGURES: Final = Vocabulary(
    "condition",
    "fail-if",
    {
        **dict.fromkeys(("errors", "regressions", "flaky", "cost", "runs"), ""),
        **dict.fromkeys(("pass_rate", "score", "difference"), "judge"),
    },
    frozenset({"worse", "maybe-worse"}),
)
_CONDITIONS: Final = _FIGURES.written


# What each command that makes an experiment takes, in the order of its help.
_OPTIONS: Final = (
    click.option(
        "--judge",
        "judges",
        multiple=True,
        metavar="FILE.py:JUDGE",
        help=f"a judge or function of yours, or one of {', '.join(_READY)}; may be repeated",
    ),
    click.option("--name", metavar="NAME", help="under which experiments gather"),
    click.option("--repeats", type=click.IntRange(1), default=1, show_default=True),
    click.option("--concurrency", type=click.IntRange(1), default=1, show_default=True),
    click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="of one call"),
    click.option(
        "--cluster",
        metavar="EXPR",
        help="""such as 'tags["document"]': what belongs together [the session of source runs]""",
    ),
    click.option(
        "--margin", "margins", multiple=True, metavar="JUDGE=NUMBER", help="least difference"
    ),
    click.option("--lower-is-better", multiple=True, metavar="JUDGE", help="turn a judge round"),
    click.option(
        "--resume",
        metavar="auto|ID",
        default=None,
        help="go on with an experiment that did not end",
    ),
    click.option("--partial", is_flag=True, help="compare also under 90 % of common items"),
    click.option(
        "--fail-if",
        "conditions",
        multiple=True,
        metavar="CONDITION",
        help=f"{_CONDITIONS}; worse where there is a baseline and none is given",
    ),
    click.option("--save", type=click.Path(dir_okay=False), help="write the result, as a baseline"),
    click.option("--markdown", type=click.Path(dir_okay=False), help="write a report"),
    click.option("--junit", type=click.Path(dir_okay=False), help="write JUnit's XML"),
    click.option(
        "--json", "json_", type=click.Path(dir_okay=False), help="write the verdict as JSON"
    ),
    click.option("--project", metavar="PROJECT", help="[OTEL_ML_PROJECT]"),
    click.option("--endpoint", metavar="URL", help="collector to record in [OTEL_ML_ENDPOINT]"),
)


def _take_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of all that make an experiment."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    epilog="Ends with status 0; 1 when a --fail-if holds; 2 when it could not be run; 130 when it "
    "was interrupted."
)
@click.argument("function", metavar="FILE.py:FUNCTION")
@click.option(
    "--dataset",
    required=True,
    metavar="FILE|NAME",
    help=".jsonl, .csv or .parquet, or one that the collector has, such as qa or qa:v3",
)
@click.option("--limit", type=click.IntRange(1), help="run at most so many items, always the same")
@click.option("--sample", type=click.FloatRange(0, 1), default=1.0, help="run this share of them")
@click.option(
    "--baseline",
    metavar="FILE|EXPERIMENT",
    help="what --save wrote, or an experiment by its id, as answer:v3 or answer@alias, or by a tag",
)
@_take_options
def evaluate(function: str, dataset: str, judges: Sequence[str], **options: Any) -> int:
    """Run a function over a data set, let judges score it, and compare with a baseline."""
    from otel_ml.reader.errors import ReaderError  # takes 0.1 s, as what is imported below

    conditions = _conditions(options, has_baseline=bool(options["baseline"]))
    target, asked = _load(function, "function"), [load_judge(text) for text in judges]
    reports = _take_reports(options)
    client = open_client(options.pop("project"), options.pop("endpoint"))
    try:
        result = client.evaluate(target, dataset, asked, **options)
    except (ValueError, OSError, ImportError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    return _conclude(client, result, conditions, reports)


@click.command(
    epilog="Ends with status 0; 1 when a --fail-if holds; 2 when it could not be run; 130 when it "
    "was interrupted."
)
@click.argument("function", metavar="FILE.py:FUNCTION")
@click.option(
    "--where",
    required=True,
    metavar="EXPR",
    help="""which runs, such as 'model == "answer" and last("7d")'""",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="take at most so many runs, the newest",
)
@click.option(
    "--stub",
    multiple=True,
    metavar="NAME",
    help="a traced function that is not called: the record answers; may be repeated",
)
@click.option(
    "--on-miss",
    type=click.Choice(["raise", "call"]),
    default="raise",
    show_default=True,
    help="what a stubbed function does with what was not recorded",
)
@_take_options
def replay(function: str, where: str, judges: Sequence[str], **options: Any) -> int:
    """Run recorded inputs on today's code, and compare with the recorded outputs."""
    from otel_ml.experiments.replay import plan_replay  # takes 0.1 s
    from otel_ml.reader.errors import ReaderError

    conditions = _conditions(options, has_baseline=True)
    target, asked = _load(function, "function"), [load_judge(text) for text in judges]
    reports = _take_reports(options)
    client = open_client(options.pop("project"), options.pop("endpoint"))
    try:
        plan = plan_replay(client._recorder.in_force, target, where, asked, options)  # type: ignore[arg-type]  # of its keys
        click.echo(str(plan), err=True)
        result = plan.run()
    except (ValueError, LookupError, OSError, ImportError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    return _conclude(client, result, conditions, reports)


def _conditions(options: dict[str, Any], *, has_baseline: bool) -> "list[_Condition]":
    """Take the conditions out of the options: worse where there is a baseline and none is given."""
    texts = options.pop("conditions") or (("worse",) if has_baseline else ())
    conditions = [_Condition(text) for text in texts]
    for condition in conditions:
        if condition.needs_baseline and not has_baseline:
            raise CommandFailed(f"Invalid --fail-if {condition.text!r}: expected --baseline", USAGE)
    return conditions


def _take_reports(options: dict[str, Any]) -> Mapping[str, str | None]:
    """Take the reports out of the options, and make the others those of the SDK."""
    options["margin"] = dict(map(_read_margin, options.pop("margins"))) or None
    options["resume"] = options["resume"] or False
    return {name: options.pop(name) for name in ("save", "markdown", "junit", "json_")}


def _conclude(
    client: "Client",
    result: "Result",
    conditions: "Sequence[_Condition]",
    reports: Mapping[str, str | None],
) -> int:
    """Write the result of an experiment; returns the exit status."""
    held = [condition.text for condition in conditions if condition.holds(result)]
    _write_reports(result, reports)
    click.echo(str(result))
    client.close()
    return INTERRUPTED if result.is_interrupted else _end(held)


def _end(held: Sequence[str]) -> int:
    """Name the conditions that hold; returns the exit status."""
    for text in held:
        click.echo(f"otel-ml: --fail-if {text}", err=True)
    return NOTHING if held else DONE


@click.command(
    epilog="Ends with status 0; 1 when a --fail-if holds; 2 when it could not be compared."
)
@click.argument("baseline", metavar="BASELINE")
@click.argument("experiments", metavar="EXPERIMENT|VERSION...", nargs=-1, required=True)
@click.option(
    "--fail-if", "conditions", multiple=True, metavar="CONDITION", help=f"{_CONDITIONS}; [worse]"
)
@click.option("--markdown", type=click.Path(dir_okay=False), help="write a report")
@click.option("--json", "json_", type=click.Path(dir_okay=False), help="write the verdict as JSON")
@click.option("--project", metavar="PROJECT", help="[OTEL_ML_PROJECT]")
@click.option("--endpoint", metavar="URL", help="collector to ask [OTEL_ML_ENDPOINT]")
def compare(
    baseline: str,
    experiments: Sequence[str],
    conditions: Sequence[str],
    **options: Any,
) -> int:
    """Compare experiments, or versions of a model, with a baseline, as their pages do.

    Each is an experiment, by its name (the newest finished of that name) or the id of its run,
    as `otel-ml experiments` lists them, or a version such as answer:v3 or answer@champion:
    experiments of both versions on one data set decide, else their recorded runs. The baseline
    recorded is the recorded runs that an experiment replays.
    """
    from otel_ml.experiments.stored_results import find_named, load_result
    from otel_ml.reader import Reader
    from otel_ml.reader.errors import ReaderError

    asked = [_Condition(text) for text in conditions or ("worse",)]
    results: Sequence[Result | VersionResult]
    try:
        with Reader(options["project"], endpoint=options["endpoint"]) as reader:
            if any(map(_is_version, (baseline, *experiments))):
                sides = reader.compare([baseline, *experiments], baseline)["sides"][1:]
                results = [VersionResult(side, baseline) for side in sides]
            else:
                beside: Result | str = RECORDED
                if baseline != RECORDED:
                    beside = load_result(find_named(reader, baseline).run_id, "none", reader=reader)
                ids = [find_named(reader, experiment).run_id for experiment in experiments]
                results = [load_result(run_id, beside, reader=reader) for run_id in ids]
    except (ValueError, LookupError, OSError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    held = [item.text for result in results for item in asked if item.holds(result)]
    write_text(options["markdown"], "\n".join(result.to_markdown() for result in results))
    texts = [result.to_json() for result in results]
    write_text(options["json_"], texts[0] if len(texts) == 1 else f"[{','.join(texts)}]")
    click.echo("\n".join(map(str, results)))
    return _end(held)


def _is_version(text: str) -> bool:
    """Tell whether a text names a version of a model, by its number or an alias."""
    return NUMBERED.fullmatch(text) is not None or _ALIASED.fullmatch(text) is not None


@click.group()
def baseline() -> None:
    """Name an experiment, so that evaluate --baseline finds it."""


@baseline.command("set", epilog=HELP)
@click.argument("experiment", metavar="EXPERIMENT")
@click.option("--name", default="baseline", show_default=True, help="the tag that it gets")
@click.option("--project", metavar="PROJECT", help="[OTEL_ML_PROJECT]")
@click.option("--endpoint", metavar="URL", help="collector to tell [OTEL_ML_ENDPOINT]")
def set_baseline(experiment: str, name: str, project: str | None, endpoint: str | None) -> int:
    """Tag an experiment; of several with the same tag the newest is the baseline."""
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
        raise CommandFailed(f"The tag did not arrive: {delivery.reason}", USAGE)
    click.echo(f"{name} is {run.name} on {run.dataset}, {run.start_time[:16]} UTC")
    return DONE


def open_client(project: str | None, endpoint: str | None) -> "Client":
    """Open the client that records; it is disabled without a named or running collector."""
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
    """Import a user's judge or function by FILE.py:NAME, or take a built-in judge by its name.

    Raises:
        CommandFailed: There is no such thing, or its module raises.
    """
    if text in _READY:
        from otel_ml.judges import ready  # takes 0.1 s

        value = getattr(ready, text)
        return value() if text == "close" else value
    if ":" not in text:
        from otel_ml.arguments import suggest  # takes 0.1 s

        raise CommandFailed(
            f"Invalid judge {text!r}: {suggest(text, _READY)} One of yours is FILE.py:NAME", USAGE
        )
    return _load(text, "judge")


@functools.cache
def import_named(name: str) -> Any:
    """Import a file, or a module by its name, as if it stood in the current directory."""
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
    """Import an object named as ``FILE.py:NAME`` or ``package.module:NAME``.

    Raises:
        CommandFailed: There is no such thing, or its module raises.
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
    """Name the functions and classes that a module or a class itself has, in their order."""
    own = getattr(holder, "__name__", None)
    return [
        name
        for name, value in getattr(holder, "__dict__", {}).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", own) == own
    ]


def write_text(path: str | None, text: str) -> None:
    """Write a report to the given path; do nothing without a path.

    Raises:
        CommandFailed: The file cannot be written.
    """
    if path:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise unwritten(error) from error


def unwritten(error: OSError) -> CommandFailed:
    """Say which file cannot be written, and why."""
    return CommandFailed(f"{error.filename} cannot be written: {error.strerror}", USAGE)


def _write_reports(result: "Result", reports: Mapping[str, str | None]) -> None:
    writers: dict[str, Callable[[], str]] = {
        "markdown": result.to_markdown,
        "junit": result.to_junit,
        "json_": result.to_json,
    }
    for name, path in reports.items():
        if name != "save":
            write_text(path, writers[name]() if path else "")
        elif path:
            try:
                result.save(path)
            except OSError as error:
                raise unwritten(error) from error


class _Condition:
    """When the command fails: a condition over the result's figures.

    Raises:
        CommandFailed: It is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        try:
            self._condition = parse_figures(self.text, _FIGURES)
        except BadInput as error:
            raise self._refused(str(error), error.column) from error

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares with a baseline."""
        return any(verdicts_of(self._condition))

    def holds(self, result: "Result | VersionResult") -> bool:
        """Tell whether it holds.

        Raises:
            CommandFailed: It names what the result has not.
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
            raise self._refused(f"versions have no {figure.name}", figure.column)
        if figure.name == "cost":
            return result.cost
        return len(getattr(result, figure.name))

    def _of_judge(self, figure: Figure, result: "Result | VersionResult") -> float:
        outcome = result.judges.get(figure.of)
        if outcome is None:
            near = suggest(figure.of, result.judges)
            raise self._refused(f"expected a judge that was asked: {near}", figure.column)
        if figure.name == "difference":
            if outcome.difference is None:
                raise self._refused(f"there is no difference of {figure.of!r}", figure.column)
            return outcome.difference.value
        number = outcome.rate if figure.name == "pass_rate" else outcome.score
        return math.nan if number is None else number

    def _refused(self, reason: str, column: int | None) -> CommandFailed:
        from otel_ml.reader.errors import point_at  # takes 0.1 s

        place = f"\n{point_at(self.text, column)}" if column is not None else ""
        return CommandFailed(f"Invalid --fail-if {self.text!r}: {reason}{place}", USAGE)


def _is_verdict(word: str, result: "Result | VersionResult") -> bool:
    if word == "worse":
        return any(outcome.word == "worse" for outcome in result.judges.values())
    return not all(outcome.is_no_worse for outcome in result.judges.values())


class VersionResult:
    """A version of a model beside its baseline, by experiments or recorded runs of both.

    Args:
        side: One of the `sides` of the API's comparison.
        baseline: The reference of the baseline, such as ``answer:v1``.
    """

    def __init__(self, side: Mapping[str, Any], baseline: str) -> None:
        self._version = side["version"]
        self._verdict = self._version["verdict"]
        self.name: str = side["reference"]
        self.baseline = baseline

    @property
    def runs(self) -> int:
        """How many recorded runs it has."""
        return int(self._version["runs"])

    @property
    def errors(self) -> int:
        """How many of these failed."""
        return int(self._version["errors"])

    @property
    def word(self) -> str:
        """The verdict, of the worst judge; empty where both are of different models."""
        return str(self._verdict["word"]) if self._verdict else ""

    @cached_property
    def judges(self) -> Mapping[str, "JudgeOutcome"]:
        """Return the outcome of each judge."""
        from otel_ml.statistics.verdict import JudgeOutcome  # takes 0.1 s

        return {
            judge["judge"]: JudgeOutcome(
                judge["digest"],
                judge["is_rate"],
                _estimate(judge["candidate"]),
                _estimate(judge["baseline"]),
                _estimate(judge["difference"]),
                judge["margin"],
                judge["word"],
                "; ".join(judge["reasons"]),
                judge["lower_is_better"],
                judge["sentence"],
            )
            for judge in (self._verdict or {}).get("judges", ())
        }

    @property
    def sentences(self) -> list[str]:
        """Return the sentences of the verdict, by judge, then on latency, tokens and cost."""
        if not self._verdict:
            return ["there is no verdict on versions of two models"]
        judged = [f"{name}: {judge.sentence}" for name, judge in self.judges.items()]
        amounts = [f"{amount['name']}: {amount['sentence']}" for amount in self._verdict["amounts"]]
        return [
            *self._verdict["reasons"],
            *(judged or ["no judge has spoken of both"]),
            *amounts,
            *self._made_of,
        ]

    @property
    def _made_of(self) -> list[str]:
        """Name the experiments that decide, and the verdict of production beside them."""
        now, before = self._verdict["experiment"], self._verdict["baseline_experiment"]
        if now is None:
            return ["of recorded runs, which are not paired"]
        production = self._verdict["production"]
        word = production["word"] if production["judges"] else "no judge has spoken of both"
        return [
            f"of experiments on {now['dataset']}: {now['name']} beside {before['name']}, "
            f"{self._verdict['common']:,} items in common",
            f"in production: {word}",
        ]

    def to_json(self) -> str:
        """Return the version with its verdict as JSON text, as the API answers it."""
        return orjson.dumps(self._version, option=orjson.OPT_INDENT_2).decode()

    def to_markdown(self) -> str:
        """Return the verdict and its sentences as a Markdown list."""
        lines = [f"**{self.name}** beside {self.baseline}: {self.word or 'no verdict'}", ""]
        return "\n".join([*lines, *(f"* {sentence}" for sentence in self.sentences)]) + "\n"

    def __str__(self) -> str:
        """Return the verdict, with a line for each judge."""
        lines = [f"{self.name} beside {self.baseline}: {self.word or 'no verdict'}"]
        return "\n".join([*lines, *(f"  {sentence}" for sentence in self.sentences)])


def _estimate(facts: Mapping[str, Any] | None) -> "Estimate | None":
    from otel_ml.statistics.intervals import Estimate

    if facts is None:
        return None
    low = -math.inf if facts["low"] is None else facts["low"]
    high = math.inf if facts["high"] is None else facts["high"]
    return Estimate(facts["value"], low, high, facts["n"], facts["clusters"])
