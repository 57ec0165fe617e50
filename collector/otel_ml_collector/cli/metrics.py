"""``otel-ml metrics``: lists the runs that logged metrics, or the points of one run."""

import argparse
from typing import TYPE_CHECKING, Any, Final

from otel_ml_collector.cli.reading import (
    add_command,
    add_filter,
    add_format,
    add_project,
    columns_of,
    open_api,
    open_reader,
    project_of,
)
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_RUNS: Final = ("run_id", "model", "names", "points", "last_time")
_POINTS: Final = ("name", "step", "time_ns", "value")
_MANY: Final = 1_000
_MOST: Final = 10_000


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = "Lists the runs that logged metrics, or the points of one run."
    parser = add_command(commands, "metrics", "list metrics and their points", description, run)
    add_project(parser)
    add_filter(parser)
    parser.add_argument("--run", metavar="RUN_ID", dest="run_id", help="the points of this run")
    parser.add_argument("--name", metavar="NAME", help="of this metric alone")
    parser.add_argument(
        "--points", type=int, default=_MANY, metavar="N", help=f"at most, a metric [{_MANY}]"
    )
    add_format(parser)


def run(flags: argparse.Namespace) -> int:
    """List them.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: They cannot be read.
    """
    if flags.run_id and (flags.where or flags.start or flags.end):
        raise BadSetting("--run is one run: expected no --where, --start or --end beside it")
    path = ("projects", project_of(flags), "metrics")
    api = open_api(flags)
    from otel_ml_collector.cli.asking import asking  # heavy
    from otel_ml_collector.cli.output import write_rows

    with asking():
        if not flags.run_id:
            answer = api.get(*path)
            if flags.where or flags.start or flags.end:
                answer["runs"] = _matching(flags, answer["runs"])
            return write_rows(answer["runs"], answer, flags.format, columns_of(flags) or _RUNS)
        answer = api.get(*path, run_id=flags.run_id, name=flags.name, points=flags.points)
        rows = [
            {"run_id": series["run_id"], "name": series["name"], **point}
            for series in answer["series"]
            for point in series["points"]
        ]
        return write_rows(rows, answer, flags.format, columns_of(flags) or _POINTS)


def _matching(flags: argparse.Namespace, owners: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave those that the newest runs that match are among."""
    with open_reader(flags) as reader:
        runs = reader.runs(flags.where, start=flags.start, end=flags.end, limit=_MOST)
        known = {run.run_id for run in runs}
    return [owner for owner in owners if owner["run_id"] in known]
