"""Tests of the lines that show what an installer and a run of the tests do."""

from pathlib import Path

import pytest

from tests.support.heartbeat import name_packages, read_fetched, read_size
from tests.support.progress import write_progress


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("  Downloading numpy-2.3.1-cp311-cp311-linux.whl (16.5 MB)", {"numpy 2.3.1": 16.5e6}),
        ("  Using cached grpcio_tools-1.6-cp311-any.whl (58 kB)", {"grpcio-tools 1.6": 58e3}),
        ("  Downloading http://a.example/x/celery-5.6.tar.gz (1,024 B)", {"celery 5.6": 1024}),
        ("Downloading chdb (2.0MiB)", {"chdb": 2 * 2**20}),
        ("Get:7 http://a.example b/main amd64 nodejs amd64 18.2 [320 kB]", {"nodejs": 320e3}),
        ("  Downloading numpy-2.3.1-cp311-cp311-linux.whl.metadata (60 kB)", {}),
        ("Get:1 http://a.example b InRelease [151 kB]", {}),
        ("Collecting numpy==2.3.1", {}),
    ],
)
def test_line_of_an_installer(line: str, package: dict[str, float]) -> None:
    """The lines of pip, uv and apt-get name the packages that they fetch, and their size."""
    assert read_fetched(line) == package


def test_largest_packages_are_named() -> None:
    """A line names five packages, the largest first, and counts the others."""
    assert name_packages({"a 1": 12_340.0, "b 2": 5e8}) == "b 2 (500.0 MB), a 1 (12 kB)"
    assert name_packages({f"p{number}": 1e6 * number for number in range(1, 8)}) == (
        "p7 (7.0 MB), p6 (6.0 MB), p5 (5.0 MB), p4 (4.0 MB), p3 (3.0 MB)"
        " and 2 smaller ones (3.0 MB)"
    )


def test_installed_size(tmp_path: Path) -> None:
    """The size of a package is that of its files; files without a size do not count."""
    record = tmp_path / "RECORD"
    record.write_text('a.py,sha256=x,100\n"b,c.py",sha256=x,20\nRECORD,,\n')
    assert read_size(record) == 120


def test_progress() -> None:
    """The line counts tests, and names a test that runs for long."""
    assert write_progress(4.6, 0, 0, []) == "     5 s: collecting tests"
    assert write_progress(45, 1_234, 8_726, [("a", 4.9)]) == "    45 s: 1,234 of 8,726 tests"
    assert write_progress(45, 0, 9, [("tests/a.py::b", 61.2), ("tests/c.py::d", 7)]) == (
        "    45 s: 0 of 9 tests; for 61 s in tests/a.py::b"
    )
