"""The command ``otel-ml judge``: score recorded runs. The judge's code runs in this process."""

import math
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from otel_ml_collector.cli.experiments import load_judge, open_client, unwritten
from otel_ml_collector.cli.failure import DONE, INTERRUPTED, USAGE, CommandFailed

if TYPE_CHECKING:
    from otel_ml.experiments.backfill import Backfill
    from otel_ml.experiments.rows import RejudgedRun
    from otel_ml.judges.judge import Judge
    from otel_ml.reader import Reader

_RATE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/(s|m|h))?")
_A_MINUTE: Final = {"s": 60.0, "m": 1.0, "h": 1 / 60, None: 1.0}
_SHOW_EVERY_S: Final = 0.2


@click.command(
    epilog="Exit status: 0 if successful; 2 if the command could not run; 130 if it was "
    "interrupted. Stored scores are kept, and the same command continues from there."
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
    help="Time zone of days and of times without an offset, such as Europe/Berlin [UTC]",
)
@click.option("--limit", type=click.IntRange(1), help="Score at most this many runs, the newest")
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
    help="Version of the judge to compare with, such as v2; 'none' compares with no version",
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
@click.option("--project", metavar="PROJECT", help="Project of the runs [OTEL_ML_PROJECT]")
@click.option("--endpoint", metavar="URL", help="Address of the collector [OTEL_ML_ENDPOINT]")
def judge(judge: str, **options: Any) -> int:
    """Score recorded runs with a judge, and compare the scores with an earlier version of it.

    You see the pass rates, the agreement of both versions, and the runs that would flip. Nothing is
    stored until you confirm or pass --write. Runs that this version has already scored are skipped.
    """
    from otel_ml.experiments.stored_results import open_reader  # takes 0.1 s, as what is below
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
        f"{matching:,} runs match",
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
        click.echo(f"\r{self._judged:,} of {self._count:,} runs scored", nl=False, err=True)
