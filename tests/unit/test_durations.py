"""Tests of the durations that runs of the tests keep."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.durations import compare, main, write_table
from tests.support.durations import (
    TABLE,
    find_longest,
    keep_run,
    print_modules,
    read_seconds,
    write_seconds,
)

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
A, B, C = (f"tests/unit/test_{letter}.py" for letter in "abc")


def test_newest_run_of_each_name(tmp_path: Path) -> None:
    """A folder stands for its newest run of each name, without nightly runs."""
    keep_run(tmp_path, "test", {f"{A}::test_x[a::b]": 1.5}, NOON)
    keep_run(tmp_path, "test", {f"{A}::test_x[a::b]": 2.25}, NOON + timedelta(seconds=1))
    keep_run(tmp_path, "rest", {f"{B}::test_y": 0.125}, NOON)
    keep_run(tmp_path, "nightly-2-alone", {f"{B}::test_y": 99.0}, NOON + timedelta(days=1))
    assert read_seconds(tmp_path) == {f"{A}::test_x[a::b]": 2.25, f"{B}::test_y": 0.125}
    assert read_seconds(tmp_path / "test-20261129T120000.tsv") == {f"{A}::test_x[a::b]": 1.5}


def test_old_runs_are_deleted(tmp_path: Path) -> None:
    """Ten runs of each name stay."""
    for hour in range(12):
        keep_run(tmp_path, "test", {A: 1.0}, NOON + timedelta(hours=hour))
    keep_run(tmp_path, "rest", {A: 1.0}, NOON)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "rest-20261129T120000.tsv",
        *(f"test-20261129T{hour}0000.tsv" for hour in range(14, 24)),
    ]


def test_longest_of_the_newest_runs(tmp_path: Path) -> None:
    """The modules above 5 s come first, the longest first, as the newest runs of CI timed them."""
    keep_run(tmp_path, "test", {f"{A}::test_x": 900.0, f"{B}::test_x": 0.1}, NOON)
    later = {f"{A}::test_x": 4.9, f"{B}::test_x": 700.0, f"{C}::test_x": 500.0, f"{C}::t": 400.0}
    keep_run(tmp_path, "test", later, NOON + timedelta(hours=1))
    assert find_longest(tmp_path, at_night=False)[:2] == [C, B]
    assert A not in find_longest(tmp_path, at_night=False)


def test_longest_at_night(tmp_path: Path) -> None:
    """Nightly runs are ordered by nightly durations."""
    keep_run(tmp_path, "test", {f"{A}::test_x": 900.0}, NOON)
    keep_run(tmp_path, "nightly-6-beside", {f"{B}::test_x": 800.0}, NOON)
    assert find_longest(tmp_path, at_night=True)[0] == B
    assert find_longest(tmp_path, at_night=False)[0] == A


def test_table_without_a_run(tmp_path: Path) -> None:
    """Without a kept run, the committed table decides."""
    assert find_longest(tmp_path / "none", at_night=False) == list(read_seconds(TABLE))


def test_table_needs_both_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is not written from a part of the tests of CI."""
    keep_run(tmp_path, "test", {f"{A}::test_x": 900.0}, NOON)
    assert write_table(tmp_path) == 2
    assert capsys.readouterr().err == "durations: no kept run of rest: make test-all\n"


def test_expensive_modules() -> None:
    """A run prints its most expensive modules with their share."""
    lines: list[str] = []
    print_modules({f"{A}::x": 10.0, f"{B}::x": 20.0, f"{B}::y": 70.0}, lines.append)
    assert lines == [
        "The 2 most expensive of 2 modules, with their share of 100 s:",
        "  share  seconds  tests  module",
        f"  90.0%     90.0      2  {B}",
        f"  10.0%     10.0      1  {A}",
    ]


def test_thirty_modules() -> None:
    """A run prints at most 30 modules."""
    lines: list[str] = []
    print_modules({f"tests/unit/test_{n}.py::x": 1.0 for n in range(1_200)}, lines.append)
    assert lines[0] == ("The 30 most expensive of 1,200 modules, with their share of 1,200 s:")
    assert len(lines) == 32


def test_comparison() -> None:
    """The comparison sums each tier, and lists changed, removed and added modules."""
    process = "tests/process/test_d.py"
    before = {f"{A}::x": 10.0, f"{B}::x": 1.0, f"{process}::x": 29.0}
    after = {f"{A}::x": 5.0, f"{B}::x": 1.0, f"{B}::y": 1.5, f"{C}::x": 0.5}
    assert compare(before, after) == [
        "   before     after  ratio",
        "   40.0 s     8.0 s   0.20  all",
        "   29.0 s     0.0 s   0.00  tests/process",
        "   11.0 s     8.0 s   0.73  tests/unit",
        "\nThe 30 modules that changed most:",
        f"   10.0 s     5.0 s   0.50  {A}",
        f"    1.0 s     2.5 s   2.50  {B}",
        "\nModules only before:",
        f"   29.0 s  {process}",
        "\nModules only after:",
        f"    0.5 s  {C}",
    ]


def test_command_compares_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command compares two files."""
    for name, spent_s in (("a", 4.0), ("b", 3.0)):
        write_seconds(tmp_path / name, {f"{A}::x": spent_s})
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "    4.0 s     3.0 s   0.75  all\n" in capsys.readouterr().out


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names a file that does not exist."""
    assert main([str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
