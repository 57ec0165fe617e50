"""Digests that must stay as they are: on every Python, in every release."""

import subprocess
import sys

import pytest

from tests.process.otel_ml.versions.golden_digests import differences
from tests.support.folders import ROOT


def test_digests_stay() -> None:
    """Each function's digest is that of its source, and the one that is written down."""
    assert differences() == []


@pytest.mark.parametrize("flags", [["-W", "error"], ["-O"], ["-OO"], ["-B", "-I"]])
def test_digests_do_not_depend_on_flags(flags: list[str]) -> None:
    """However Python is started, the digests are the same."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['golden']"
    module = "tests.process.otel_ml.versions.golden_digests"
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__')"
    result = subprocess.run(
        [sys.executable, *flags, "-c", f"{script}; {run}"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
