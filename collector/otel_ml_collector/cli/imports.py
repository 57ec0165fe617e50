"""The commands ``otel-ml import ...``: load history into a project."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from otel_ml.addresses import write_segment
from otel_ml.counts import write_count
from otel_ml_collector.cli.failure import DONE, HELP, NOTHING, UNREACHABLE, CommandFailed
from otel_ml_collector.cli.place import PlaceOptions, Workplace, with_place, with_project
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from otel_ml.imports import TableImport
    from otel_ml.imports.tool_import import ToolExport

_TABLE: Final = "table"
_KEEP_LINES: Final = "\b"  # click does not wrap a paragraph that begins with this
_SHOW_EVERY_S: Final = 0.2
_LINE_EVERY_S: Final = 10.0
_BAR: Final = 24
_SAVE_S: Final = 300.0


class _Imports(click.Group):
    """The group ``import``, where the name of a file means ``import table``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the subcommand ``table`` in front of arguments that start with none."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = [_TABLE, *args]
        return super().parse_args(ctx, args)


@click.group(
    "import",
    cls=_Imports,
    subcommand_metavar="FILE | COMMAND [OPTIONS]",
    help=f"""Load history into a project.

    {_KEEP_LINES}
    otel-ml import predictions.parquet --project churn --model churn \\
      --time scored_at --outputs churned --truth actually_churned

    `otel-ml import FILE` is short for `otel-ml import table FILE`. To see the options, run
    `otel-ml import table --help`. Imported runs are marked as history, so that they never fire an
    alert. If you import a file twice, each record is stored once.
    """,
)
def import_() -> None:
    """Load history into a project."""


def _split(_context: click.Context, _option: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _pairs(
    _context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, sign, column = text.partition("=")
        if not (sign and name and column):
            raise click.BadParameter(f"expected {option.metavar}, such as quality=rating")
        pairs[name] = column
    return pairs


def _column(name: str, help_text: str) -> Callable[[Any], Any]:
    return click.option(name, metavar="COLUMN", help=help_text)


def _rejected_option(stem: str) -> Callable[[Any], Any]:
    return click.option(
        "--rejected",
        metavar="FILE",
        help="File for records that cannot be imported "
        f"(default: {stem}.rejected.jsonl in the current folder)",
    )


@import_.command(_TABLE, epilog=HELP, short_help="Import predictions from a table.")
@with_place
@with_project
@click.option("--model", required=True, metavar="NAME", help="Model that made the predictions")
@_column(
    "--time",
    "Column with the time of each prediction; --timezone applies to times without a time zone",
)
@click.option(
    "--inputs",
    metavar="A,B,…",
    callback=_split,
    help="Columns with the inputs of the model (default: all columns that no other option names)",
)
@click.option(
    "--outputs", metavar="A,B,…", callback=_split, help="Columns with the outputs of the model"
)
@click.option(
    "--truth",
    metavar="COLUMN",
    help="Column with the ground truth of the first output. For several outputs, write "
    "OUTPUT=COLUMN,…",
)
@click.option(
    "--tags",
    metavar="A,B,…",
    callback=_split,
    help="Columns to store as tags, by which you can filter and compare predictions",
)
@_column("--session", "Column that groups predictions into sessions, such as the customer")
@_column("--user", "Column with the user of each prediction")
@_column("--version", "Column with the version of the model")
@_column(
    "--id",
    "Column with an ID that is unique in the table (default: made from the content of the row)",
)
@_column("--latency-ms", "Column with the duration of each prediction in milliseconds")
@click.option(
    "--score",
    "scores",
    metavar="NAME=COLUMN",
    multiple=True,
    callback=_pairs,
    help="Name of a judge, and the column with the scores of this judge; may be repeated",
)
@click.option("--timezone", metavar="NAME", help="Time zone of times that do not name one [UTC]")
@click.option(
    "--as-reference",
    is_flag=True,
    help="Store no runs. The table, such as training data, becomes the reference against which "
    "drift of later runs is measured",
)
@_rejected_option("TABLE")
@click.argument("file", metavar="FILE")
def import_table(
    asked: PlaceOptions,
    project: str,
    *,
    file: str,
    model: str,
    truth: str | None,
    rejected: str | None,
    **roles: Any,
) -> int:
    """Import the predictions in FILE, a .parquet, .csv or .jsonl file: each row becomes a run.

    The run has the time, inputs, outputs, tags and ground truth of its row. Missing values are left
    out. If the import is interrupted, run the same command again in the same folder to continue it.
    """
    from otel_ml.client import Client  # takes 0.1 s
    from otel_ml.imports.sender import ImportStopped

    stem = Path(file).name
    with asked.open(makes=True) as place:
        client = Client(project, endpoint=place.endpoint, api_key=place.key, join=False)
        shown = _ProgressLine(stem)
        options = {name: value for name, value in roles.items() if value}
        if truth:
            options["truth"] = _read_truth(truth)
        try:
            done = client.import_table(
                file,
                model=model,
                rejected=rejected or f"{stem}.rejected.jsonl",
                progress_file=f"{stem}.import-progress",
                on_progress=shown.show,
                **options,
            )
        except ImportStopped as error:
            raise CommandFailed(
                f"{error}. Run the same command again to continue", UNREACHABLE
            ) from error
        except (ValueError, ImportError, OSError) as error:
            raise BadSetting(str(error)) from error
        finally:
            shown.end()
            client.close()
        _report(done, project, model, place.endpoint if place.is_served else "")
        return DONE if done else NOTHING


def _with_files(command: Callable[..., int]) -> Any:
    """Add the options of a command that imports the files of a tool."""
    for option in (
        click.argument("files", metavar="FILE…", nargs=-1, required=True),
        _rejected_option("FILE"),
        with_place,
    ):
        command = option(command)
    return command


@import_.command("otlp-json", epilog=HELP, short_help="Import files of an OpenTelemetry Collector.")
@click.option(
    "--project",
    metavar="P",
    help="Project in which to store all records (default: the project that each record names)",
)
@_with_files
def import_otlp_json(
    asked: PlaceOptions, project: str | None, *, files: tuple[str, ...], rejected: str | None
) -> int:
    """Import FILEs that the file exporter of the OpenTelemetry Collector wrote.

    Spans and log records keep their times, IDs, resources and scopes. Metrics are not imported. The
    files may be compressed with gzip. If the import is interrupted, run the same command again in
    the same folder to continue it.
    """
    from otel_ml.imports.otlp_json import OtlpFiles  # takes 0.1 s

    paths = [Path(file) for file in files]
    return _import(asked, lambda: OtlpFiles(paths, project), project, paths[0].name, rejected)


@import_.command("phoenix", epilog=HELP, short_help="Import exports of Arize Phoenix.")
@with_project
@_with_files
def import_phoenix(
    asked: PlaceOptions, project: str, *, files: tuple[str, ...], rejected: str | None
) -> int:
    """Import FILEs that were exported from Arize Phoenix: spans, annotations and data sets.

    A file can be the table that get_spans_dataframe or get_span_annotations_dataframe returns,
    saved as Parquet or JSON Lines. It can also be a response of the REST API, or a downloaded data
    set. Pass annotations together with their spans. If the import is interrupted, run the same
    command again in the same folder to continue it.
    """
    from otel_ml.imports.phoenix import PhoenixExport  # takes 0.1 s

    paths = [Path(file) for file in files]
    return _import(asked, lambda: PhoenixExport(paths, project), project, paths[0].name, rejected)


@import_.command("langfuse", epilog=HELP, short_help="Import exports of Langfuse.")
@with_project
@_with_files
def import_langfuse(
    asked: PlaceOptions, project: str, *, files: tuple[str, ...], rejected: str | None
) -> int:
    """Import FILEs that Langfuse exported: traces, observations, scores and items of data sets.

    Pass all files of an export in one command, because their records refer to each other. The files
    can be JSON, JSON Lines or CSV, and may be compressed with gzip. If the import is interrupted,
    run the same command again in the same folder to continue it.
    """
    from otel_ml.imports.langfuse import LangfuseFiles  # takes 0.1 s

    paths = [Path(file) for file in files]
    return _import(asked, lambda: LangfuseFiles(paths, project), project, paths[0].name, rejected)


@import_.command("mlflow", epilog=HELP, short_help="Import traces, runs and data sets of MLflow.")
@with_place
@with_project
@click.option(
    "--uri",
    required=True,
    metavar="URI",
    help="Tracking URI of MLflow: a server, a database such as sqlite:///mlflow.db, or a folder",
)
@click.option("--experiment", metavar="E", help="Name or ID of one experiment (default: all)")
@_rejected_option("mlflow")
def import_mlflow(
    asked: PlaceOptions, project: str, *, uri: str, experiment: str | None, rejected: str | None
) -> int:
    """Import the traces, assessments, data sets and runs of MLflow 3.

    MLflow must be installed in the same Python environment as otel-ml. Runs are imported with their
    metrics, params and models. If the import is interrupted, run the same command again in the same
    folder to continue it.
    """

    def read() -> "ToolExport":
        try:
            from otel_ml.integrations.mlflow_export import MlflowExport  # takes seconds
        except ImportError as error:
            raise BadSetting(
                f"Cannot read MLflow: {error}. Install it with pip install mlflow"
            ) from error
        return MlflowExport(uri, experiment, project)

    return _import(asked, read, project, "mlflow", rejected)


def _import(
    asked: PlaceOptions,
    read: "Callable[[], ToolExport]",
    project: str | None,
    stem: str,
    rejected: str | None,
) -> int:
    """Import what a tool exported, and print the result.

    Args:
        asked: Where to import it.
        read: Opens the export.
        project: Project of all records; None for the project that each record names.
        stem: Begins the names of the files with progress and rejected records.
        rejected: File for rejected records; None for the usual name.
    """
    from otel_ml.imports.sender import ImportStopped  # takes 0.1 s
    from otel_ml.imports.tool_import import import_export
    from otel_ml.outlet import Route

    with asked.open(makes=True) as place:
        shown = _ProgressLine(stem, "records")
        key = place.key or os.environ.get("OTEL_ML_API_KEY")
        try:
            export = read()
            done = import_export(
                export,
                Route(project or "", key, place.endpoint),
                rejected=Path(rejected or f"{stem}.rejected.jsonl"),
                progress_file=Path(f"{stem}.import-progress"),
                on_progress=lambda records: shown.show(records, None),
            )
            datasets = _save_datasets(export, place, project) if project else 0
        except ImportStopped as error:
            raise CommandFailed(
                f"{error}. Run the same command again to continue", UNREACHABLE
            ) from error
        except (ValueError, ImportError, OSError) as error:
            raise BadSetting(str(error)) from error
        finally:
            shown.end()
        counts = [
            write_count(count, records.removesuffix("s")) for records, count in done.stored.items()
        ]
        if datasets:
            counts.append(write_count(datasets, "data set"))
        click.echo(f"Imported {_join_words(counts)} in {done.seconds:,.1f} s")
        if done.resumed:
            click.echo(
                f"{write_count(done.resumed, 'record was', 'records were')} read before the import "
                "was interrupted"
            )
        for records, count in done.left_out.items():
            click.echo(f"Not imported: {write_count(count, records.removesuffix('s'))}")
        if absent := export.absent():
            click.echo(f"Not in the export: {', '.join(absent)}")
        _report_rejected(done.rejected, done.rejected_file)
        if place.is_served and project:
            click.echo(f"{place.endpoint.rstrip('/')}/projects/{write_segment(project)}")
        return DONE if done else NOTHING


def _save_datasets(export: "ToolExport", place: Workplace, project: str) -> int:
    """Save the data sets of an export. Return how many there are."""
    from otel_ml.client import Client  # takes 0.1 s
    from otel_ml.experiments.dataset import Dataset
    from otel_ml.imports.sender import ImportStopped

    saved = 0
    client = Client(project, endpoint=place.endpoint, api_key=place.key, join=False)
    try:
        for made in export.read_datasets():
            client.save(Dataset(made.name, made.rows, made.description))
            if not client.flush(_SAVE_S) or client.stats().lost:
                raise ImportStopped(f"Data set {made.name} is not stored")
            saved += 1
    finally:
        client.close()
    return saved


def _join_words(words: Sequence[str]) -> str:
    """Join words with commas, and "and" before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _read_truth(text: str) -> str | dict[str, str]:
    if "=" not in text:
        return text
    parts = [part.partition("=") for part in text.split(",")]
    return {output.strip(): column.strip() for output, _, column in parts}


class _ProgressLine:
    """Shows how many rows are imported, on standard error: a bar, or a line every 10 s."""

    def __init__(self, name: str, unit: str = "rows") -> None:
        self._name = name
        self._unit = unit
        self._began_s = time.monotonic()
        self._is_bar = sys.stderr.isatty()
        self._shown_s = self._began_s if not self._is_bar else 0.0
        self._first: int | None = None
        self._is_open = False

    def show(self, rows: int, total: int | None) -> None:
        """Show a state, unless the last one is recent."""
        now_s = time.monotonic()
        if self._first is None:  # rows stored by an earlier import do not count for the speed
            self._first, self._began_s = rows, self._began_s
        every_s = _SHOW_EVERY_S if self._is_bar else _LINE_EVERY_S
        if now_s - self._shown_s < every_s and rows != total:
            return
        self._shown_s = now_s
        speed = (rows - self._first) / max(now_s - self._began_s, 0.001)
        of_total = f" of {total:,}" if total else ""
        text = f"{self._name}: {rows:,}{of_total} {self._unit}, {speed:,.0f} {self._unit}/s"
        if self._is_bar:
            full = round(_BAR * rows / total) if total else 0
            bar = f"[{'#' * full}{'.' * (_BAR - full)}] " if total else ""
            sys.stderr.write(f"\r\x1b[K{bar}{text}")
            self._is_open = True
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Finish the line."""
        if self._is_open:
            sys.stderr.write("\n")
            self._is_open = False


def _report(done: "TableImport", project: str, model: str, endpoint: str) -> None:
    """Print what was imported."""
    if done.reference:
        click.echo(
            f"{write_count(done.rows, 'row is', 'rows are')} the reference of {model}: "
            "drift is now measured from them"
        )
    else:
        speed = (done.rows - done.resumed) / max(done.seconds, 0.001)
        click.echo(
            f"Imported {done.stored:,} of {write_count(done.rows, 'row')} in {done.seconds:,.1f} s "
            f"({speed:,.0f} rows/s)"
        )
    if done.resumed:
        click.echo(f"{done.resumed:,} of them were stored before the import was interrupted")
    if done.targets:
        click.echo(
            f"{write_count(done.truths, 'row has', 'rows have')} ground truth; "
            f"quality is measured for {', '.join(done.targets)}"
        )
    for note in done.notes:
        click.echo(note, err=True)
    _report_rejected(
        {f"rows: {reason}": count for reason, count in done.rejected.items()}, done.rejected_file
    )
    if endpoint:
        click.echo(f"{endpoint.rstrip('/')}/projects/{write_segment(project)}/monitor")


def _report_rejected(rejected: Mapping[str, int], file: Path | None) -> None:
    for reason, count in sorted(rejected.items(), key=_most_first):
        click.echo(f"Rejected {count:,} {reason}", err=True)
    if file is not None:
        click.echo(f"The rejected {next(iter(rejected)).partition(':')[0]} are in {file}", err=True)


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
