"""``otel-ml runs``: lists runs, as a table, JSON, CSV or Parquet."""

import argparse
from typing import TYPE_CHECKING, Any, Final

from otel_ml_collector.cli.failure import DONE, NOTHING
from otel_ml_collector.cli.reading import (
    add_command,
    add_filter,
    add_format,
    add_project,
    columns_of,
    open_reader,
)
from otel_ml_collector.errors import BadSetting

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from otel_ml.reader import Runs

_LIMIT: Final = 50
_MOST: Final = 10_000
_COLUMNS: Final = (
    *("start_time", "model", "version", "outcome", "latency_ms", "scores", "tags"),
    *("inputs", "outputs", "run_id"),
)


def add_parser(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program."""
    description = "Lists runs, newest first. `otel-ml export` writes all of them, with payload."
    parser = add_command(commands, "runs", "list runs", description, run)
    add_project(parser)
    add_filter(parser)
    parser.add_argument(
        "--limit", type=int, default=_LIMIT, metavar="N", help=f"at most so many [{_LIMIT}]"
    )
    parser.add_argument("--order", choices=("desc", "asc"), default="desc", help="[desc]")
    add_format(parser)


def run(flags: argparse.Namespace) -> int:
    """List the runs.

    Raises:
        BadSetting: A flag is wrong.
        CommandFailed: They cannot be read.
    """
    if not 1 <= flags.limit <= _MOST:
        raise BadSetting(
            f"Invalid --limit {flags.limit}: expected 1 to {_MOST}; otel-ml export writes all runs"
        )
    with open_reader(flags) as reader:
        from otel_ml_collector.cli.asking import asking  # heavy

        wanted: dict[str, Any] = {name: getattr(flags, name) for name in ("start", "end", "order")}
        runs = reader.runs(flags.where, limit=flags.limit, **wanted)
        with asking():
            return _write(flags, runs)


def _write(flags: argparse.Namespace, runs: "Runs") -> int:
    from otel_ml_collector.cli import output  # heavy

    if flags.format in {"csv", "parquet"}:
        if flags.format == "parquet":
            output.refuse_terminal()
        table = runs.to_arrow(flags.columns)
        if flags.format == "csv":
            output.write_csv(_rows_of(table), table.column_names)
        else:
            output.write_parquet(table)
        return DONE if table.num_rows else NOTHING
    answer: dict[str, Any] = {"runs": [], "next_cursor": None}
    for page in runs.pages():
        answer["runs"] += page["runs"]
        answer["next_cursor"] = page["next_cursor"]
    named = columns_of(flags)
    if flags.format == "json" and named:
        output.check_columns(answer["runs"], named)
        answer["runs"] = [{name: one.get(name) for name in named} for one in answer["runs"]]
    return output.write_rows(answer["runs"], answer, flags.format, named or _COLUMNS)


def _rows_of(table: Any) -> list[dict[str, Any]]:
    """Read a table of Arrow as plain values, times as the API writes them."""
    from otel_ml.reader.moments import write_ns  # heavy

    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    if "start_time" in table.column_names:
        for row, time_ns in zip(rows, table["start_time"].cast("int64").to_pylist(), strict=True):
            row["start_time"] = write_ns(time_ns)
    return rows
