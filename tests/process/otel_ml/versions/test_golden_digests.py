"""Digests are the same on every Python version and in every release."""

import subprocess
import sys

import pytest

from tests.process.otel_ml.versions.golden_digests import differences
from tests.support.folders import ROOT


def test_digests_stay() -> None:
    """The digest of each function's source equals the recorded one."""
    assert differences() == []


@pytest.mark.parametrize("flags", [["-W", "error"], ["-O"], ["-OO"], ["-B", "-I"]])
def test_digests_do_not_depend_on_flags(flags: list[str]) -> None:
    """The digests do not depend on Python's flags."""
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
