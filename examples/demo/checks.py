"""Checks that ``--once`` makes before it exits with status 0."""

from typing import Final

from examples.demo.records import Json, Records

_RUNS: Final = 300
_VERSIONS: Final = 2
_ERRORS: Final = 1
_JUDGES: Final = 2
_POINTS: Final = 10
_ARTIFACTS: Final = 2
_WORSE: Final = 1
_FIRED: Final = 1
_FOR_WHOM: Final = 1


def find_missing(records: Records) -> list[str]:
    """Return a line for each kind of record that the API shows too rarely."""
    versions = list(records.versions.values())
    judges = {
        judge["judge"] for found in versions for version in found for judge in version["judges"]
    }
    verdicts = [found["verdict"] for found in records.experiments if found["verdict"]]
    for_whom = [release for release in records.releases if release["for_whom"]]
    firings = [firing for found in records.alerts for firing in found["firings"]]
    checks = (
        ("runs", _RUNS, sum(project["runs"] for project in records.projects)),
        ("versions of one model", _VERSIONS, max(map(len, versions), default=0)),
        ("errors", _ERRORS, sum(project["errors"] for project in records.projects)),
        ("judges", _JUDGES, len(judges)),
        ("artifacts", _ARTIFACTS, sum(project["artifacts"] for project in records.projects)),
        ("experiments that got worse", _WORSE, sum(one["word"] == "worse" for one in verdicts)),
        ("versions that are worse for one client", _FOR_WHOM, len(for_whom)),
        ("alerts that would have fired and ended", _FIRED, sum(map(_is_over, firings))),
        (
            "points of one metric",
            _POINTS,
            max((len(series.points) for series in records.series), default=0),
        ),
    )
    return [
        f"{what}: the API shows {count}, expected at least {least}"
        for what, least, count in checks
        if count < least
    ]


def _is_over(firing: Json) -> bool:
    return firing["end"] is not None
