"""Run failed tests again, one by one.

Several hundred tests compare times, and the speed of a machine may change several times within an
hour. A test that also fails alone is wrong. One that passes alone was too slow or found a rare
race; its name is printed last, so that somebody investigates.

``python -m tests.alone``, right after pytest and in the same folder.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.sampling import EVERY_CASE

FAILED: Final = Path(".pytest_cache", "v", "cache", "lastfailed")
MOST: Final = 12  # more failures have another cause than the machine's speed


def main() -> int:
    """Run the failed tests; return the exit status."""
    failed = list(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if not 0 < len(failed) <= MOST or not all("::" in test for test in failed):
        return 1
    print(f"== {len(failed)} tests failed beside others. They run again, alone:", flush=True)  # noqa: T201
    environment = {**os.environ, EVERY_CASE: "1"}
    shown = ("-p", "tests.support.progress", "-o", "console_output_style=classic")
    command = [sys.executable, "-m", "pytest", *shown, *failed]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status == 0:
        print("== Passed alone only. Look at their failures above:", *failed, sep="\n   ")  # noqa: T201
    return status


if __name__ == "__main__":
    sys.exit(main())
