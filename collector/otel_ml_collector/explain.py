"""Prints the SQL that runs for a filter: ``python -m otel_ml_collector.explain 'cost > 1'``.

The functions that answer requests run their queries on an empty store in a temporary folder, so the
printed statements are the real ones. Values are parameters, printed below each statement.
"""

import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Final

import click

from otel_ml_collector.cli.failure import USAGE, point_at_error
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.measures.statistics import read_scored_runs
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.store.experiments import count_alike, item_parameters
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import RecordKinds
from otel_ml_collector.store.runs import Key, read_runs
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from otel_ml_collector.windows import Window

_PROJECT: Final = "project"
_ITEMS: Final = 30
_MOST_SCORED: Final = 10_000


class ListeningReader(Reader):
    """A reader that records its queries.

    Attributes:
        asked: Each statement once, with the parameter values of its first query.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: dict[Sql, dict[str, Any]] = {}

    def _within(self, sql: Sql, parameters: Mapping[str, Any]) -> tuple[Sql, dict[str, Any]]:
        sql, values = super()._within(sql, parameters)
        self.asked.setdefault(sql, values)
        return sql, values


def ask_list(reader: Reader, where: str, now_ns: int) -> None:
    """Query the newest runs that match, and the rows of one run."""
    find_runs(reader, RunsQuery(_PROJECT, where), now_ns)
    read_runs(reader, _PROJECT, [Key(now_ns, "0" * 32, "0" * 16)])


def ask_statistic(reader: Reader, where: str, now_ns: int) -> None:
    """Query the statistics of a month by version."""
    end_ns = (now_ns // DAY_NS + 1) * DAY_NS
    window = Window(end_ns - _ITEMS * DAY_NS, end_ns)
    find_stats(reader, StatsQuery(_PROJECT, where, "version", window, DAY_NS, 10))


def ask_verdict(reader: Reader, where: str, now_ns: int) -> None:
    """Run the queries of a comparison: in production, and of experiments on a data set."""
    condition, _ = compile_where(reader, _PROJECT, where)
    read_scored_runs(reader, _PROJECT, condition, Window(0, now_ns), _MOST_SCORED)
    experiments = [f"{'0' * 32}-{number:016x}" for number in (1, 2)]
    asked = item_parameters(_PROJECT, experiments, now_ns)
    count_alike(reader, asked, experiments[0], most=_ITEMS)


QUESTIONS: Final[Mapping[str, Callable[[Reader, str, int], None]]] = {
    "list": ask_list,
    "statistic": ask_statistic,
    "verdict": ask_verdict,
}


@contextmanager
def open_empty(*, is_full: bool) -> Iterator[ListeningReader]:
    """Open an empty store whose project is assumed to have no record kinds, or all of them."""
    with tempfile.TemporaryDirectory() as folder:
        connections = connect(f"chdb://{folder}")
        try:
            every = [field.name for field in fields(RecordKinds)] if is_full else []
            connections.memory.note(_PROJECT, every, is_complete=True)
            reader = ListeningReader(connections)
            yield reader
            reader.close()
        finally:
            connections.close()


def explain(reader: ListeningReader, question: str, where: str) -> str:
    """Return the statements of a query in `QUESTIONS` as text.

    Raises:
        BadInput: The filter is wrong.
    """
    reader.asked.clear()
    QUESTIONS[question](reader, where, time.time_ns())
    return "\n\n".join(
        f"-- {question}, {number} of {len(reader.asked)}\n"
        + textwrap.dedent(str(sql)).strip()
        + "".join(f"\n-- {name} = {value!r}" for name, value in values.items())
        for number, (sql, values) in enumerate(reader.asked.items(), 1)
    )


@click.command(help="Print the SQL that runs for WHERE, a filter, which may be empty.")
@click.argument("where", default="")
@click.option("--of", "question", type=click.Choice([*QUESTIONS]), help="One question alone.")
@click.option(
    "--full", is_flag=True, help="Of a project with late tags, scores of keys, experiments and all."
)
def main(where: str, question: str | None, full: bool) -> None:
    """Print the SQL statements of one query, or of all queries."""
    with open_empty(is_full=full) as reader:
        try:
            for name in [question] if question else QUESTIONS:
                click.echo(explain(reader, name, where) + "\n")
        except BadInput as error:
            click.echo(point_at_error(error, where), err=True)
            sys.exit(USAGE)


if __name__ == "__main__":
    main()
