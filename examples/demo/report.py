"""Prints tables of projects, runs, versions, scores, metrics and experiments."""

from collections.abc import Iterable
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from examples.demo.records import Json, Records

# Larger numbers are shown without decimals.
_DECIMALS_BELOW: Final = 1_000


def print_report(console: Console, records: Records) -> None:
    """Print one table for each kind of record."""
    for table in (
        _make_projects(records),
        _make_runs("Newest runs of models and chains", records.newest.values()),
        _make_runs("Failed runs", records.errors.values()),
        _make_versions(records),
        _make_scores(records),
        _make_metrics(records),
        _make_experiments(records),
    ):
        console.print(table)


def _make_projects(records: Records) -> Table:
    table = _make_table("Projects", "project", "#runs", "#errors", "#models")
    for project in records.projects:
        name = project["project"]
        _add(table, name, project["runs"], project["errors"], len(records.models[name]))
    return table


def _make_runs(title: str, pages: Iterable[list[Json]]) -> Table:
    runs = [run for page in pages for run in page]
    table = _make_table(title, "model", "outcome", "#ms", "#passed", "inputs")
    table.expand, table.columns[-1].ratio = True, 1  # the inputs column fills the remaining width
    for run in runs:
        model = _name(run["model"], run["version"])
        outcome = run["error_type"] or run["outcome"]
        passed = [*run["passed"].values()]
        judged = f"{sum(passed)} of {len(passed)}" if passed else None
        _add(table, model, outcome, run["latency_ms"], judged, run["inputs"])
    return table


def _make_versions(records: Records) -> Table:
    table = _make_table("Model versions", "project", "model", "#runs", "#errors", "#p95 ms")
    for (project, model), versions in records.versions.items():
        for version in versions:
            _add(
                table,
                project,
                _name(model, version["version"]),
                version["runs"],
                version["errors"],
                version["p95_ms"],
            )
    return table


def _make_scores(records: Records) -> Table:
    table = _make_table("Scores", "project", "model", "judge", "#scores", "#mean", "#passed")
    for (project, model), versions in records.versions.items():
        for version in versions:
            for judge in version["judges"]:
                _add(
                    table,
                    project,
                    _name(model, version["version"]),
                    _name(judge["judge"], judge["version"]),
                    judge["evaluations"],
                    judge["mean_score"],
                    f"{judge['passed']} of {judge['judged']}",
                )
    return table


def _make_metrics(records: Records) -> Table:
    table = _make_table("Metrics", "project", "run", "metric", "#first", "#last")
    for series in records.series:
        first, last = series.points[0]["value"], series.points[-1]["value"]
        _add(table, series.project, series.model, series.name, first, last)
    return table


def _make_experiments(records: Records) -> Table:
    columns = ("experiment", "function", "judge", "#before", "#now", "verdict")
    table = _make_table("Experiments", *columns)
    for found in records.experiments:
        one, verdict = found["experiment"], found["verdict"]
        by_judge = {judge["name"]: judge for judge in verdict["judges"]} if verdict else {}
        for judge in found["judges"]:
            compared = by_judge.get(judge["judge"], {"baseline": None, "word": "no baseline"})
            before, now = (
                side and side["value"] for side in (compared["baseline"], judge["value"])
            )
            function = _name(one["function"], one["version"])
            _add(table, one["name"], function, judge["judge"], before, now, compared["word"])
    return table


def _make_table(title: str, *columns: str) -> Table:
    """Return an empty table. Columns whose names start with ``#`` are right-aligned numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        name = column.removeprefix("#")
        # Only long names of models are wrapped. Other cells are shortened.
        table.add_column(
            name, justify="left" if name == column else "right", no_wrap=name != "model"
        )
    return table


def _add(table: Table, *cells: str | float | None) -> None:
    table.add_row(*map(_show, cells))


def _show(cell: str | float | None) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}" if abs(cell) < _DECIMALS_BELOW else f"{cell:,.0f}"
    return "–" if cell is None else str(cell)


def _name(model: str, version: int | None) -> str:
    return model if version is None else f"{model}:v{version}"
