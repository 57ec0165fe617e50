"""The command that asks a judge about stored runs; its code runs in this process."""

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
    epilog="Ends with status 0; 2 when it could not be run; 130 when it was interrupted: what was "
    "written stays, and the same command goes on from there."
)
@click.argument("judge", metavar="FILE.py:JUDGE")
@click.option(
    "--where",
    metavar="EXPR",
    required=True,
    help="""which runs, such as 'model == "answer" and last("7d")'""",
)
@click.option("--start", metavar="TIME", help="of runs that began then or later")
@click.option("--end", metavar="TIME", help="of runs that began before")
@click.option("--limit", type=click.IntRange(1), help="judge at most so many, the newest")
@click.option("--sample", type=click.FloatRange(0, 1), default=1.0, help="judge this share of them")
@click.option(
    "--against",
    metavar="VERSION",
    default="newest",
    show_default=True,
    help="the version to compare with, such as v2; none for none",
)
@click.option("--rate", metavar="N/m", help="judge at most so many a second, minute or hour")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True)
@click.option("--write", is_flag=True, help="store each evaluation as soon as it is made")
@click.option("--json", "json_", type=click.Path(dir_okay=False), help="write what came of it")
@click.option("--project", metavar="PROJECT", help="[OTEL_ML_PROJECT]")
@click.option("--endpoint", metavar="URL", help="collector to ask [OTEL_ML_ENDPOINT]")
def judge(judge: str, **options: Any) -> int:
    """Ask a judge about stored runs: how would it score them, and which runs would turn?

    It shows agreement and pass rates beside an earlier version of the judge before anything is
    written. Runs that this version has judged are not judged again.
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
            runs = reader.runs(options["where"], start=options["start"], end=options["end"])
            progress = _Progress(_say_beforehand(reader, asked, len(runs), rate, options))
            backfill = client.judge(
                runs, asked, against=against, rate=rate, progress=progress.show, **shares
            )
            progress.end()
    except LookupError as error:
        raise CommandFailed("No collector answers: expected one, or --endpoint", USAGE) from error
    except (ValueError, ReaderError) as error:
        raise CommandFailed(str(error), USAGE) from error
    click.echo(str(backfill))
    _save(backfill, options["json_"])
    _store(backfill, is_written=options["write"])
    client.close()
    return INTERRUPTED if backfill.is_interrupted else DONE


def _read_rate(text: str) -> float:
    """Read how many runs a minute."""
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]):
        raise CommandFailed(f"Invalid --rate {text!r}: expected such as 60/m or 2/s", USAGE)
    return float(match[1]) * _A_MINUTE[match[2]]


def _say_beforehand(
    reader: "Reader", judge: "Judge", matching: int, rate: float | None, options: Any
) -> int:
    """Print the number of runs to be judged, the least time it takes, and about its cost.

    Returns:
        How many runs are to be judged.
    """
    from otel_ml.reader import NotFound  # takes 0.1 s

    count: int = min(round(matching * options["sample"]), options["limit"] or matching)
    items = [
        f"{matching:,} runs match",
        f"{count:,} to be judged, {options['concurrency']} at once",
    ]
    if rate is not None:
        items.append(f"at {rate:g} a minute that takes {math.ceil(count / rate):,} minutes")
    try:
        versions = reader.judge_versions(judge.name)
    except NotFound:
        versions = []
    priced = next((version for version in versions if version["priced"]), None)
    if priced is not None:
        each = priced["cost"] / priced["priced"]
        items.append(f"an answer has cost {each:.4g} $: about {each * count:.2f} $ in all")
    click.echo("; ".join(items), err=True)
    return count


def _save(backfill: "Backfill", path: str | None) -> None:
    """Write what came of it into a file, where there is a path.

    Raises:
        CommandFailed: The file cannot be written.
    """
    if path:
        try:
            backfill.save(path)
        except OSError as error:
            raise unwritten(error) from error


def _store(backfill: "Backfill", *, is_written: bool) -> None:
    """Store the evaluations that are not stored yet, if the user agrees.

    Raises:
        CommandFailed: It did not arrive.
    """
    new = len(backfill.runs) - backfill.stored
    if not new:
        return
    if not is_written:
        is_asked = sys.stdin.isatty() and sys.stdout.isatty()
        if not (is_asked and click.confirm(f"Store {new:,} evaluations?", err=True)):
            click.echo("Nothing is stored: --write stores it", err=True)
            return
    delivery = backfill.write()
    if not delivery:
        raise CommandFailed(f"Not all evaluations arrived: {delivery.reason}", USAGE)
    click.echo(f"{new:,} evaluations are stored: {backfill.url}", err=True)


class _Progress:
    """A line on a terminal that says how many runs are judged, of how many."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._judged = 0
        self._next_s = 0.0
        self._is_shown = sys.stderr.isatty()

    def show(self, _: "RejudgedRun") -> None:
        """Count a run."""
        self._judged += 1
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _SHOW_EVERY_S
            self._write()

    def end(self) -> None:
        """End the line."""
        if self._is_shown:
            self._write()
            click.echo("", err=True)

    def _write(self) -> None:
        click.echo(f"\r{self._judged:,} of {self._count:,} judged", nl=False, err=True)
