"""Prints tables of projects, runs, versions, scores, metrics and experiments."""

from collections.abc import Iterable
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from examples.demo.records import Json, Records

_DIGEST_CHARS: Final = 8


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
    judges = sorted({judge for run in runs for judge in run["scores"]})
    columns = ("model", "client", "outcome", "#ms", *(f"#{judge}" for judge in judges), "inputs")
    table = _make_table(title, *columns)
    table.expand, table.columns[-1].ratio = True, 1  # the inputs column fills the remaining width
    for run in runs:
        model = _name(run["model"], run["version"])
        client = run["tags"].get("client")
        outcome = run["error_type"] or run["outcome"]
        scores = [run["scores"].get(judge) for judge in judges]
        _add(table, model, client, outcome, run["latency_ms"], *scores, run["inputs"])
    return table


def _make_versions(records: Records) -> Table:
    columns = ("project", "model", "#runs", "#errors", "#p50 ms", "#p95 ms", "digest")
    table = _make_table("Model versions", *columns)
    for (project, model), versions in records.versions.items():
        for version in versions:
            _add(
                table,
                project,
                _name(model, version["version"]),
                version["runs"],
                version["errors"],
                version["p50_ms"],
                version["p95_ms"],
                version["digest"][:_DIGEST_CHARS],
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
    table = _make_table("Metrics", "project", "run", "metric", "#points", "#first", "#last")
    for series in records.series:
        first, last = series.points[0]["value"], series.points[-1]["value"]
        _add(table, series.project, series.model, series.name, len(series.points), first, last)
    return table


def _make_experiments(records: Records) -> Table:
    columns = ("experiment", "function", "judge", "#before", "#now", "verdict")
    table = _make_table("Experiments", *columns)
    for found in records.experiments:
        one, verdict = found["experiment"], found["verdict"]
        by_judge = {judge["judge"]: judge for judge in verdict["judges"]} if verdict else {}
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
        table.add_column(name, justify="left" if name == column else "right", no_wrap=True)
    return table


def _add(table: Table, *cells: str | float | None) -> None:
    table.add_row(*map(_show, cells))


def _show(cell: str | float | None) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}"
    return "–" if cell is None else str(cell)


def _name(model: str, version: int | None) -> str:
    return model if version is None else f"{model}:v{version}"
