"""Tests of choosing the judge and judge version for a project's headline."""

from otel_ml.records import Tokens
from otel_ml_collector.figures import choose_judges
from otel_ml_collector.stats import JudgeFigures, RunFigures


def make_figures(*judges: tuple[str, int, int]) -> RunFigures:
    """Make figures of judges, each with its name, its version and how many runs it scored."""
    return RunFigures(
        runs=1_000,
        errors=0,
        error_share=0.0,
        p50_ms=None,
        p90_ms=None,
        p95_ms=None,
        p99_ms=None,
        tokens=Tokens(),
        cost=None,
        judges=[
            JudgeFigures(
                judge=name,
                version=version,
                digest=f"{version}",
                evaluations=runs,
                failed=0,
                mean_score=None,
                pass_rate=0.9,
            )
            for name, version, runs in judges
        ],
    )


def test_trial_is_no_headline() -> None:
    """A newer version that scored only a few stored runs does not replace the live one."""
    (judge,) = choose_judges(make_figures(("grounded", 1, 900), ("grounded", 2, 100)), 2)
    assert (judge.version, judge.evaluations) == (1, 900)


def test_newest_version_that_is_live() -> None:
    """The newest version is chosen once it scored at least half as many runs."""
    (judge,) = choose_judges(make_figures(("grounded", 1, 900), ("grounded", 2, 450)), 2)
    assert judge.version == 2


def test_judges_of_most_runs() -> None:
    """The judges that scored the most runs come first."""
    figures = make_figures(("a", 1, 10), ("b", 1, 30), ("c", 1, 20))
    assert [judge.judge for judge in choose_judges(figures, 2)] == ["b", "c"]
