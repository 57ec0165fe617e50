"""The benchmarks of a full project write the figures that they announce, here with few runs."""

from pathlib import Path

import pytest

from tests.bench import full
from tests.bench.beside import Tree
from tests.bench.dataset_full import FullDataset
from tests.bench.dataset_load import load
from tests.bench.load import Load, send_load
from tests.support.collector import running
from tests.support.folders import ROOT


def test_questions(capsys: pytest.CaptureFixture[str]) -> None:
    """The report compares lists of a full and a plain project, and statements per page."""
    full.report_queries(runs=2_000, times=2)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line]
    figures = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    plain, beside, ratio = map(float, figures["latest 50 of a project"][:3])
    assert plain > 0
    assert beside > 0
    assert ratio == pytest.approx(beside / plain, abs=0.5)
    assert 0 < int(figures["API: runs"][0]) < int(figures["API: runs"][1])


def test_month(tmp_path: Path) -> None:
    """A full month has late tags, keys, second records, experiments and separate sessions."""
    load(tmp_path, 2_000, FullDataset)
    with running(tmp_path) as collector:

        def count(where: str) -> int:
            asked = {"where": where, "limit": 1_000}
            return len(collector.get("/projects/project%200/runs", **asked)["runs"])

        assert count('tags["reviewed"] == "yes"') > 5
        assert count('record_of != ""') > 20
        assert count('experiment != ""') > 0
        assert count('session != ""') > 500
        assert count('trace_key != ""') > 0


def test_ingest(capsys: pytest.CaptureFixture[str]) -> None:
    """The report compares projects with several scopes to projects with one scope."""
    full.report_ingest(rounds=2, seconds=0.5)
    lines = capsys.readouterr().out.splitlines()
    summed = [line.split("|")[1].strip() for line in lines if "all rounds" in line]
    assert summed == ["4, all rounds", "32, all rounds"]


def test_late_scores(tmp_path: Path) -> None:
    """A load with late scores gives every fourth run of all but its last requests a score."""
    with running(tmp_path) as collector:
        load = Load(collector.endpoint, "scored", 1, 64, 60.0, requests=3, is_scored=True)
        assert send_load(load).accepted == 3 * 64
        asked = {"where": 'scores["grounded"] >= 0', "limit": 1_000}
        assert len(collector.get("/projects/scored/runs", **asked)["runs"]) == 2 * 64 // 4


def test_beside() -> None:
    """Lists of a full project can be compared with those of another commit."""
    found = full.measure_queries(Tree("now", ROOT), runs=2_000, times=2)
    title = "latest 50 of a project"
    plain, beside = (found[f"{title}, {kind}: p50, ms"] for kind in ("plain", "full"))
    assert found[f"{title}: full ÷ plain"] == beside / plain
