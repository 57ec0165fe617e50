"""Tests of the doctor's checks that need no collector."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.cli.doctor import (
    DoctorLine,
    find_disk,
    find_variables,
    find_within,
)

PAGE = "http://localhost:4318"


def test_line() -> None:
    """A line has a status, a finding and what to do about it."""
    assert str(DoctorLine("ok", "key", "It works")) == "ok    It works"
    assert (
        str(DoctorLine("fail", "key", "It is wrong", "make one")) == "fail  It is wrong -> make one"
    )


def test_hanging_check() -> None:
    """A check that does not end is reported after its timeout and abandoned."""
    go_on = threading.Event()

    def hang() -> list[DoctorLine]:
        go_on.wait(20)
        return []

    assert find_within("key", hang, 0.05) == [
        DoctorLine("fail", "key", "The check key took longer than 0.05 s")
    ]
    go_on.set()


def test_broken_check() -> None:
    """A check that raises an error is reported after its own findings."""

    def break_down() -> Iterator[DoctorLine]:
        yield DoctorLine("ok", "key", "It works")
        raise ValueError("no way")

    assert find_within("key", break_down) == [
        DoctorLine("ok", "key", "It works"),
        DoctorLine(
            "fail",
            "key",
            "The check key raised an error: ValueError: no way",
            "report this line as a bug",
        ),
    ]


@pytest.mark.parametrize(
    ("least", "status", "todo"),
    [
        ("1", "ok", ""),
        (str(2**62), "fail", f"free disk space: below {2**62} bytes the collector accepts no data"),
    ],
)
def test_disk(tmp_path: Path, least: str, status: str, todo: str) -> None:
    """The free disk space of a local data directory is compared with the collector's minimum."""
    environment = {"OTEL_ML_DATA_DIR": str(tmp_path), "OTEL_ML_MIN_FREE_DISK_BYTES": least}
    [found] = find_disk(PAGE, environment)
    assert (found.status, found.todo) == (status, todo)
    assert found.what.endswith(f" GiB free for the data directory {tmp_path}")


def test_tight_disk(tmp_path: Path) -> None:
    """A disk close to the minimum is a warning."""
    least = shutil.disk_usage(tmp_path).free // 2
    environment = {"OTEL_ML_DATA_DIR": str(tmp_path), "OTEL_ML_MIN_FREE_DISK_BYTES": str(least)}
    [found] = find_disk(PAGE, environment)
    assert (found.status, found.todo) == ("warn", "free disk space soon")


@pytest.mark.parametrize(
    ("page", "environment"),
    [
        ("http://collector.example:4318", {"OTEL_ML_DATA_DIR": "/"}),
        (PAGE, {"OTEL_ML_DATA_DIR": "/missing"}),
        (PAGE, {"OTEL_ML_STORE": "clickhouse://localhost"}),
    ],
    ids=["elsewhere", "missing", "server"],
)
def test_no_disk_of_ours(page: str, environment: dict[str, str]) -> None:
    """The disk is not checked for a remote collector, a store server or a missing directory."""
    assert list(find_disk(page, environment)) == []


def test_wrong_settings() -> None:
    """Settings that the collector would reject are reported with its own message."""
    assert list(find_disk(PAGE, {"OTEL_ML_HTTP": "h"})) == [
        DoctorLine(
            "fail",
            "settings",
            "Invalid OTEL_ML_HTTP 'h': expected HOST:PORT with a port from 0 to 65535",
            "correct it, then run otel-ml check",
        )
    ]


def test_secrets() -> None:
    """Only the names of variables with keys are shown, and addresses without passwords."""
    environment = {
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=hush",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/key.pem",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hush@host:4318",
        "OTEL_ML_API_KEY": "hush",
        "OTEL_SERVICE_NAME": "",
        "PATH": "/bin",
    }
    assert list(find_variables(environment)) == [
        DoctorLine(
            "ok",
            "variables",
            "Environment variables: OTEL_EXPORTER_OTLP_CLIENT_KEY=/key.pem, "
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://me:***@host:4318, "
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS=***, OTEL_ML_API_KEY=***",
        )
    ]
