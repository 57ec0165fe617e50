"""Tests that a tool checks the compatibility promised by records.proto."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.folders import ROOT

FILE: Final = "otel_ml_collector/v1/records.proto"
CALL: Final = "rpc PutRecords(PutRecordsRequest) returns (PutRecordsResponse);"


def check(folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Compare a changed copy of the proto with the released one, like `make check-proto`."""
    shutil.copytree(ROOT / "proto", folder / "proto")
    path = folder / "proto" / FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    buf = Path(sys.executable).with_name("buf")
    return subprocess.run(
        [buf, "breaking", "proto", "--against", "proto/released.json"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_check_is_made() -> None:
    """The Makefile, which CI uses, compares the proto with the released one."""
    text = (ROOT / "Makefile").read_text()
    assert "buf breaking proto --against proto/released.json" in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("string user = 21;", "string end_user = 21;", "changed name"),
        ("string user = 21;", "string user = 99;", "was deleted"),
        ("  string user = 21;\n", "", "was deleted"),
        ("string user = 21;", "bytes user = 21;", "changed type"),
        ("string user = 21;", "repeated string user = 21;", "changed cardinality"),
        (CALL, "", "was deleted"),
        ("package otel_ml_collector.v1;", "package otel_ml_collector.v2;", "package changed"),
    ],
    ids=["renamed", "renumbered", "removed", "retyped", "repeated", "call", "package"],
)
def test_breaking_change(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A change that breaks clients or servers fails the check, which names the change."""
    checked = check(tmp_path, old, new)
    assert checked.returncode != 0
    assert said in checked.stdout
    assert FILE in checked.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string user = 21;", "string user = 21;"),
        ("string user = 21;", "string user = 21;\n  string tenant = 1000;"),
        ("message Tag {", "message Later {}\n\nmessage Tag {"),
    ],
    ids=["nothing", "field", "message"],
)
def test_change_that_breaks_nobody(tmp_path: Path, old: str, new: str) -> None:
    """An unchanged proto and new fields and messages pass."""
    checked = check(tmp_path, old, new)
    assert (checked.returncode, checked.stdout) == (0, "")
