"""Judges that fail on most runs, as messages about a project."""

from typing import Final

from otel_ml_collector import wording
from otel_ml_collector.filter.writing import write_judge_field
from otel_ml_collector.problems.news import ProjectFinding
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.stats import JudgeFigures, StatsQuery, cut_past, find_stats
from otel_ml_collector.store.facts import read_evaluations
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.scores import find_often_failed_judges
from otel_ml_collector.verdicts.verdicts import JudgeVersionName

# A judge that failed on fewer runs than this is not mentioned.
_LEAST_FAILED: Final = 10
_ERROR_CHARS: Final = 160


def find_judge_news(reader: Reader, project: str, now_ns: int) -> list[ProjectFinding]:
    """Describe the judges whose newest version failed on most of its runs in the last 24 hours."""
    window = cut_past(reader, "24h", now_ns).window
    judges = find_often_failed_judges(reader, project, window, _LEAST_FAILED)
    if not judges:  # as in most projects
        return []
    query = StatsQuery(project, where="", group="", window=window, step_ns=None, groups=1)
    newest: dict[str, JudgeFigures] = {}
    for figures in find_stats(reader, query).total.judges:  # newest version first
        newest.setdefault(figures.judge, figures)
    return [
        _describe_judge(reader, project, figures, now_ns)
        for figures in newest.values()
        if figures.judge in judges
        and figures.failed >= _LEAST_FAILED
        and figures.failed * 2 > figures.evaluations
    ]


def find_newest_error(
    reader: Reader, project: str, judge: JudgeVersionName, now_ns: int
) -> tuple[str, str]:
    """Find the newest run on which a version of a judge failed.

    Returns:
        ID of the run, and the error of the judge; both empty if there is no such run.
    """
    where = write_judge_field(judge.judge, judge.version, judge.digest, "failed")
    for run in find_runs(reader, RunsQuery(project, where, limit=1), now_ns).runs:
        errors = [
            row["error"]
            for row in read_evaluations(reader, project, [run.run_id])
            if (row["judge"], row["version"]) == (judge.judge, judge.digest) and row["error"]
        ]
        return run.run_id, errors[-1] if errors else ""
    return "", ""


def _describe_judge(
    reader: Reader, project: str, figures: JudgeFigures, now_ns: int
) -> ProjectFinding:
    run_id, error = find_newest_error(reader, project, figures, now_ns)
    named = f'"{figures.judge}"{"" if figures.version is None else f" v{figures.version}"}'
    amount = f"{wording.count(figures.failed)} of {wording.count(figures.evaluations)}"
    if figures.failed == figures.evaluations:
        amount = f"all {wording.count(figures.failed)}"
    title = f"Judge {named} fails on {amount} runs of the last 24 h"
    text = f": {wording.shorten(error, _ERROR_CHARS)}" if error else ""
    return ProjectFinding(
        word="judge fails",
        is_wrong=True,
        subject=figures.judge,
        sentence=f"{title}{text}",
        title=title,
        text=text,
        by="judge",
        size=figures.failed,
        where=write_judge_field(figures.judge, figures.version, figures.digest, "failed"),
        runs=figures.failed,
        time=None,
        run_id=run_id,
    )
